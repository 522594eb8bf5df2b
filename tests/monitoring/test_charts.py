from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from monitoring.chart_views import asked_by
from monitoring.charts import Span
from monitoring.charts.judged import _drift_title
from monitoring.charts.metrics import _present
from monitoring.models import Answer

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(minute):
    return START + timedelta(minutes=minute)


def points(*minutes):
    return [SimpleNamespace(at=at(minute)) for minute in minutes]


def test_a_version_that_did_not_answer_for_some_windows_leaves_a_gap():
    over = Span(None, at(0), at(60), {at(minute): "1" for minute in range(0, 60, 5)})

    parts = over.stretches(points(0, 5, 10, 40, 45))

    assert [[point.at for point in part] for part in parts] == [[at(0), at(5), at(10)], [at(40), at(45)]]


def test_windows_without_any_traffic_are_no_gap_of_one_version():
    over = Span(None, at(0), at(60), {at(0): "1", at(5): "1", at(40): "1"})

    assert len(over.stretches(points(0, 5, 40))) == 1


def test_a_line_that_ended_hours_before_the_others_is_none_of_the_present():
    lines = {"h1": points(0, 1, 2, 3), "h2": points(*range(0, 181)), "slow": points(0, 60, 120)}

    assert _present(lines) == (["h2", "slow"], ["h1"])


@pytest.mark.parametrize(
    ("answer", "drifted", "said"),
    [
        (None, [], "The inputs of version 5 were not judged against its training data here; largest."),
        (Answer.NOT_ENOUGH, [], "The inputs of version 5 were not judged against its training data here; largest."),
        (Answer.OK, [], "The inputs are like version 5's training data; largest."),
        (Answer.BREACH, ["AGEP"], "AGEP is unlike the training data of version 5."),
    ],
)
def test_inputs_that_nothing_judged_are_not_called_like_the_training_data(answer, drifted, said):
    found = SimpleNamespace(answer=answer, data={"drifted": drifted}) if answer else None

    assert _drift_title(Span(None, at(0), at(60), {at(0): "5"}), found, "largest") == said


@pytest.mark.parametrize("since", ["0001-01-01T00:00", "0001-01-01T00:00+05:00", "9999-12-31T23:00"])
def test_a_span_beyond_all_calendars_is_none(since):
    asked = asked_by({"since": since, "until": "0001-01-02T00:00"})

    assert (asked.since, bool(asked.problem)) == (None, True)
