"""Kinds of rules, without a database: what each says of series whose answer is known."""

import numpy as np
import pytest

from monitoring.rules.answers import Condition
from monitoring.rules.bins import DAY, HOUR, MINUTE, SECOND, WEEK, bins_of
from monitoring.rules.conditions import judge, moments
from monitoring.rules.fields import UnfitRule
from monitoring.rules.machine import Standing, What, firings, follow
from monitoring.rules.models import AlertRuleKind, Phase
from monitoring.rules.spec import BURNS, Spec, checked

START = 1_760_000_400 * SECOND // HOUR * HOUR + HOUR


def spec(kind, *, window=MINUTE, hold=0, clear=0, no_data_after=None, reduce="mean", **params):
    return Spec(
        kind, checked(kind, params, window_seconds=window // SECOND), reduce, window, hold, clear, no_data_after
    )


def series(values, *, start=START, step=MINUTE, n=100):
    """One bin for each value that is not None, the first of them one step after the start."""
    return bins_of(
        [
            (start + (i + 1) * step, 1, n, value, value * n, value, value)
            for i, value in enumerate(values)
            if value is not None
        ]
    )


def answers(rule, values, *, start=START, step=MINUTE):
    bins = series(values, start=start, step=step)
    return judge(rule, bins, moments(rule, start, start + len(values) * step))


def spans(rule, values):
    """(what, fired, ended) of what came of one value a minute, in minutes from the start."""
    _, changes = follow(rule, Standing(), answers(rule, values))
    return [
        (one.what.value, (one.fired - START) // MINUTE, None if one.ended is None else (one.ended - START) // MINUTE)
        for one in firings(changes)
    ]


def test_a_static_rule_fires_when_it_was_beyond_its_limit_for_long_enough_and_not_before():
    rule = spec("static", limit=10.0, hold=2 * MINUTE)

    assert spans(rule, [5, 11, 12, 5, 11, 12, 13, 5]) == [("fire", 7, 8)]


def test_a_value_between_clear_limit_and_limit_neither_fires_nor_ends_what_fires():
    rule = spec("static", limit=10.0)
    with_gap = Spec(rule.kind, {**rule.params, "clear": 8.0}, "mean", MINUTE, 0, 2 * MINUTE, None)

    assert spans(with_gap, [9, 11, 9, 9, 9, 9, 7, 7, 7, 7]) == [("fire", 2, 9)]
    assert spans(with_gap, [9, 9, 9]) == []


def test_no_data_is_a_state_of_its_own_that_neither_fires_nor_resolves():
    rule = spec("static", limit=10.0)
    judged = answers(rule, [5, None, None])
    standing, changes = follow(rule, Standing(), judged)

    assert judged.condition.tolist() == [Condition.CLEAR, Condition.NO_DATA, Condition.NO_DATA]
    assert (standing.phase, changes) == (Phase.NO_DATA, [])
    assert spans(rule, [11, None, None, None, 5]) == [("fire", 1, 5)]


def test_no_data_raises_an_alert_of_its_own_after_its_time_where_the_rule_says_so():
    rule = spec("static", limit=10.0, no_data_after=2 * MINUTE)

    assert spans(rule, [5, None, None, None, None, 5]) == [("unheard", 4, 6)]
    assert spans(rule, [5, None, None, 5, None, None, 5]) == []


def test_the_mean_of_a_window_is_weighed_by_observations_and_the_others_are_of_values():
    rows = [(START + MINUTE, 1, 10, 1.0, 10.0, 1.0, 1.0), (START + 2 * MINUTE, 2, 30, 6.0, 90.0, 2.0, 4.0)]
    found = {
        reduce: judge(
            spec("static", limit=9.0, window=2 * MINUTE, reduce=reduce), bins_of(rows), np.array([START + 2 * MINUTE])
        )
        for reduce in ("mean", "sum", "low", "high")
    }

    assert {name: judged.value.tolist() for name, judged in found.items()} == {
        "mean": [2.5], "sum": [7.0], "low": [1.0], "high": [4.0],
    }  # fmt: skip


def test_a_burn_rule_needs_both_windows_at_its_factor():
    pair = BURNS["page-fast"]
    rule = spec(
        "burn", window=5 * MINUTE, objective=pair["objective"], long_seconds=pair["long_seconds"], factor=pair["factor"]
    )
    quiet, bad = [0.0005] * 60, [0.02] * 60

    rising = answers(rule, quiet + bad)
    fell = answers(rule, bad + quiet)

    # The hour's mean reaches 1.44 % once (60 - k) * 0.05 % + k * 2 % does: after 43 minutes.
    first = np.flatnonzero(rising.condition == Condition.BREACH)[0]
    assert first + 1 == 60 + 43
    # As soon as the last five minutes are well, it is over, however bad the hour was.
    assert np.flatnonzero(fell.condition == Condition.BREACH)[-1] + 1 == 61
    assert fell.value[58] == pytest.approx(20.0)


def test_a_burn_rule_over_a_share_that_went_right_counts_what_did_not():
    rule = spec("burn", objective=0.9, long_seconds=120, factor=2.0, counts="good")

    assert answers(rule, [0.95, 0.95, 0.8, 0.8]).value == pytest.approx([0.5, 0.5, 1.25, 2.0])


def test_a_seasonal_rule_knows_each_hour_by_the_same_hour_of_the_weeks_before():
    busy = [100.0 + (minute % 7) for minute in range(60)]
    calm = [10.0 + (minute % 7) for minute in range(60)]
    start = START - 3 * WEEK
    rows = []
    for week in range(3):
        for hour, values in enumerate((calm, busy)):
            at = start + week * WEEK + hour * HOUR
            rows += [(at + (i + 1) * MINUTE, 1, 1, v, v, v, v) for i, v in enumerate(values)]
    now = [(START + (i + 1) * MINUTE, 1, 1, 103.0, 103.0, 103.0, 103.0) for i in range(120)]
    rule = spec("seasonal", weeks=3, factor=4.0, floor=5.0)

    judged = judge(rule, bins_of(rows + now), moments(rule, START, START + 2 * HOUR))

    assert set(judged.condition[:60].tolist()) == {Condition.BREACH}
    assert set(judged.condition[60:].tolist()) == {Condition.CLEAR}
    # Every fifth minute of i % 7, three weeks alike: median 13, median absolute deviation 2.
    assert judged.high[0] == pytest.approx(
        np.median(calm[4::5]) + 4 * 1.4826 * np.median(np.abs(np.array(calm[4::5]) - np.median(calm[4::5])))
    )


def test_a_seasonal_rule_without_two_weeks_to_compare_with_says_so_and_never_that_all_is_well():
    rule = spec("seasonal", weeks=4, factor=4.0, floor=1.0)
    judged = answers(rule, [5.0] * 10)

    assert set(judged.condition.tolist()) == {Condition.UNKNOWN}
    assert follow(rule, Standing(), judged)[0].phase == Phase.LEARNING


def test_a_control_chart_fires_by_the_rules_that_it_was_given_by_number_against_frozen_limits():
    frozen = {"centre": 50.0, "sigma": 1.0, "points": 30}
    values = [50.2, 49.8] * 6 + [50.5] * 9

    by_run = answers(spec("control", numbers=[2], **frozen), values)
    by_limit = answers(spec("control", numbers=[1], **frozen), [*values, 53.5])

    # Nelson's rule 2: nine in a row on one side of the centre, of which the ninth completes it.
    assert np.flatnonzero(by_run.condition == Condition.BREACH).tolist() == [20]
    assert np.flatnonzero(by_limit.condition == Condition.BREACH).tolist() == [21]


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("static", {}, "limit must be a number."),
        ("static", {"limit": 1.0, "clear": 2.0}, "The clear limit must not lie beyond the limit: 2 is above 1."),
        ("static", {"limit": 1.0, "often": 3}, "A rule of kind static has no often; it has clear, direction, limit."),
        ("seasonal", {"floor": 0}, "floor must be a number above 0."),
        ("burn", {"objective": 1.0}, "objective must be a number from 0 to 0.999999."),
        ("control", {"numbers": [9]}, "numbers must be a list of rules from 1 to 8."),
        ("gut-feeling", {}, "There is no kind of rule gut-feeling; there are static, seasonal, burn, control."),
    ],
)
def test_params_that_make_no_rule_are_refused_with_a_sentence(kind, params, said):
    with pytest.raises(UnfitRule) as refused:
        checked(kind, params, window_seconds=300)

    assert str(refused.value) == said


def test_the_burn_windows_are_those_of_the_workbook():
    spent = {name: pair["factor"] * pair["long_seconds"] / (30 * DAY // SECOND) for name, pair in BURNS.items()}

    assert {name: round(share, 4) for name, share in spent.items()} == {
        "page-fast": 0.02, "page-slow": 0.05, "ticket": 0.1,
    }  # fmt: skip
    assert AlertRuleKind.BURN == "burn"
    assert What.FIRE == "fire"
