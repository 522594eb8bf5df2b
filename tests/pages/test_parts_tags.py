"""Tags and filters behind the parts."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import time_machine
from django.apps import apps
from django.template.loader import render_to_string

from audit.templatetags import amounts, parts

NOW = datetime(2026, 11, 21, 2, 31, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "tone"),
    [
        ("operational", "ok"),
        ("last-good", "ok"),
        ("Degraded Performance", "warn"),
        ("firing", "bad"),
        ("major_outage", "bad"),
        ("mitigating", "busy"),
        ("closed", "quiet"),
        ("bad", "bad"),
        ("", "unknown"),
        (None, "unknown"),
        ("never heard of", "unknown"),
    ],
)
def test_a_states_word_has_its_tone_and_an_undeclared_word_is_never_ok(word, tone):
    assert parts.tone(word) == tone


def test_no_state_word_is_declared_with_two_tones():
    declared = [word for words in parts._STATES.values() for word in words.split()]
    assert sorted(declared) == sorted(set(declared))


@pytest.mark.parametrize(
    ("answer", "tone"),
    [("pass", "ok"), ("fail", "bad"), ("inconclusive", "warn"), ("pending", "quiet"), ("maybe", "unknown")],
)
def test_inconclusive_does_not_look_like_pass(answer, tone):
    assert parts.answer_tone(answer) == tone


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1204, "1\u202f204"),
        (-1234567, "\u22121\u202f234\u202f567"),
        (0.5, "0.5"),
        (3.14159, "3.142"),
        (Decimal("2"), "2"),
        (None, "–"),
        ("x", "–"),
        (float("nan"), "–"),
        (-0.0001, "0"),
    ],
)
def test_numbers_have_thin_spaces_and_a_true_minus(value, text):
    assert amounts.number_filter(value) == text


def test_percent_and_signed_differences():
    assert amounts.percent(0.7341) == "73.4\u202f%"
    assert amounts.percent(Decimal("0.999964"), 2) == "100.00\u202f%"
    assert amounts.percent(None) == "–"
    assert amounts.signed(7.04) == "+7.0"
    assert amounts.signed(-7.04) == "\u22127.0"
    assert amounts.signed(0) == "0.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0042, "4\u202fms"),
        (0.9996, "1.0\u202fs"),
        (2.44, "2.4\u202fs"),
        (59.96, "1\u202fmin 0\u202fs"),
        (192, "3\u202fmin 12\u202fs"),
        (7500, "2\u202fh 05\u202fmin"),
        (timedelta(days=2, hours=3), "2\u202fd 3\u202fh"),
        (None, "–"),
        (-3, "\u22123.0\u202fs"),
    ],
)
def test_durations_have_one_or_two_units(value, text):
    assert amounts.duration(value) == text


@time_machine.travel(NOW, tick=False)
def test_since_shows_relative_and_exact_time_in_utc():
    html = amounts.since(NOW - timedelta(minutes=16, seconds=56))
    assert "16\u202fmin ago" in html
    assert "02:14:04 UTC" in html
    assert 'datetime="2026-11-21T02:14:04.000+00:00"' in html


@time_machine.travel(NOW, tick=False)
def test_since_names_the_date_of_another_day_and_reads_iso_text_and_epochs():
    assert "2026-11-20 02:31:00 UTC" in amounts.since(NOW - timedelta(days=1))
    assert "in 5\u202fmin" in amounts.since((NOW + timedelta(minutes=5)).isoformat())
    assert "just now" in amounts.since(NOW.timestamp())
    assert amounts.since("yesterday") == "–"
    assert amounts.since(None) == "–"


@time_machine.travel(NOW, tick=False)
def test_until_counts_down_and_stops_at_zero():
    assert amounts.until(NOW + timedelta(minutes=4, seconds=8.2)) == "4:09"
    assert amounts.until(NOW + timedelta(hours=1, minutes=2, seconds=33)) == "1:02:33"
    assert amounts.until(NOW - timedelta(seconds=1)) == "0:00"
    assert amounts.elapsed(NOW - timedelta(seconds=151)) == "2:31"


def test_a_digest_is_shortened_without_its_algorithm():
    assert amounts.digest("sha256:3f9c1d27a8e45b60") == "3f9c1d27"
    assert amounts.digest("3f9c1d27a8e45b60", "12") == "3f9c1d27a8e4"
    assert amounts.digest("") == "–"


def test_bytes_are_in_binary_units():
    assert amounts.filesize_short(900) == "900\u202fB"
    assert amounts.filesize_short(1536) == "1.5\u202fKiB"
    assert amounts.filesize_short(139 * 2**30) == "139.0\u202fGiB"


def test_a_spark_line_is_one_svg_with_a_gap_a_limit_and_a_text():
    svg = ElementTree.fromstring(amounts.spark([1, 2, None, 3, 4], 2.5, "rising"))
    assert svg.get("aria-label") == "rising"
    assert [len(line.get("points").split()) for line in svg.findall("polyline")] == [2, 2]
    assert svg.find("line").get("y1") == svg.find("line").get("y2") == "14.0"
    assert (svg.find("circle").get("cx"), svg.find("circle").get("cy")) == ("117.0", "3.0")


def test_a_spark_line_without_numbers_says_so_and_a_label_is_escaped():
    assert "no data" in amounts.spark([None, float("nan")])
    assert "<script>" not in amounts.spark([1, 2], None, '"><script>')


def test_the_longest_known_beginning_of_an_action_chooses_its_icon():
    assert parts.action_icon("rollback.step.outcome") == "server"
    assert parts.action_icon("rollback.run.start") == "route"
    assert parts.action_icon("nobody.knows") == "circle"


def test_a_lane_says_in_words_how_far_it_is():
    steps = [
        {"name": "lock", "state": "done"},
        {"name": "switch", "state": "failed"},
        {"name": "done", "state": "waiting"},
    ]
    assert parts.rail_text(steps) == "1 of 3 steps done, failed: switch"
    assert parts.not_begun(steps) == ["done"]
    assert [step["name"] for step in parts.begun(steps)] == ["lock", "switch"]


def test_role_names_of_somebody_without_roles_are_empty():
    assert parts.role_names(object()) == []


def test_every_state_of_every_table_has_a_tone_of_its_own():
    named = {"state", "status", "health", "outcome", "result", "verdict"}
    undeclared = [
        f"{model._meta.label}.{field.name}: {value}"
        for model in apps.get_models()
        if model.__module__.split(".")[0] in {"audit", "accounts", "registry", "monitoring", "incidents"}
        for field in model._meta.get_fields()
        if field.name in named and getattr(field, "choices", None)
        for value, _ in field.choices
        if value and parts.tone(value) == "unknown" and value not in {"unknown", "not_enough_data"}
    ]
    assert undeclared == []


def test_the_points_of_a_chart_without_an_address_are_in_the_page_and_a_gap_and_a_formula_are_neither_lost_nor_run():
    figure = {
        "data": [
            {"name": "=1+1", "x": ["2026-11-22T10:00:00", "b"], "y": [None, -0.5]},
            {"type": "heatmap", "x": ["c"], "y": ["AGEP"], "z": [[0.25]]},
            {"name": "", "meta": {"tone": "accent"}, "x": [1], "y": [2]},
        ]
    }

    html = render_to_string("parts/chart.html", {"id": "one", "title": "It.", "summary": "All.", "figure": figure})

    [address] = re.findall(r'<a href="data:text/csv;charset=utf-8,([^"]+)" download="one.csv">CSV</a>', html)
    assert unquote(address).split("\r\n") == [
        '"line","x","y"',
        '"\'=1+1","2026-11-22T10:00:00",',
        '"\'=1+1","b",-0.5',
        '"AGEP","c",0.25',
        '"accent",1,2',
        "",
    ]


def test_a_chart_with_an_address_for_its_points_leads_there_and_one_without_a_figure_has_none_to_take():
    drawn = {"id": "one", "title": "It.", "summary": "All.", "figure": {"data": []}, "csv": "/numbers/", "query": "a=1"}

    assert '<a href="/numbers/?a=1" download>CSV</a>' in render_to_string("parts/chart.html", drawn)
    assert "CSV" not in render_to_string("parts/chart.html", {"id": "one", "title": "It.", "summary": "No data."})
