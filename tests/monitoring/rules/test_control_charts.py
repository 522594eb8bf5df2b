"""Control charts as rules: limits frozen from a stated period, each chart judged, shown and told in words."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from monitoring.drift.control import cusum, ewma, freeze, proportions, rates, xbar_s
from monitoring.models import Alert
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.rules.actions import draft
from monitoring.rules.answers import Condition, Judged
from monitoring.rules.charts import chart as figure_of
from monitoring.rules.control import expected
from monitoring.rules.fields import UnfitRule
from monitoring.rules.models import AlertRule
from monitoring.rules.preview import preview
from monitoring.rules.spec import in_words
from monitoring.series import series_for
from registry.models import Endpoint, Host
from tests.monitoring.rules.test_rule_pages import STATIC, client_of, person
from tests.monitoring.rules.world import MINUTE, ask, now, points, rule
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
STABLE, AFTER = 300, 60


@dataclass
class Load:
    """An endpoint with a point a minute until `end`: of the stable period's about 50 with sigma 2, then about 53."""

    endpoint: Endpoint
    values: np.ndarray
    end: datetime

    @property
    def stable(self) -> dict[str, str]:
        until = self.end - AFTER * MINUTE
        return {"since": (until - STABLE * MINUTE).isoformat(), "until": until.isoformat()}

    def rule(self, chart: str, *, metric: str = "load", **fields) -> AlertRule:
        params = {"chart": chart, **self.stable, **fields.pop("params", {})}
        return rule(self.endpoint, **{"name": chart, "metric": metric, "kind": "control", "params": params, **fields})

    def judged(self, one: AlertRule, minutes: int = AFTER) -> Judged:
        return preview(one, until=self.end, days=minutes / 1440).told[0].judged


@pytest.fixture
def load():
    rng, end = np.random.default_rng(4), now()
    end -= timedelta(minutes=end.minute % 5)
    values = np.concatenate((rng.normal(50, 2, STABLE), rng.normal(53, 2, AFTER)))
    endpoint = make_endpoint()
    points(endpoint, values.tolist(), until=end, name="load")
    return Load(endpoint, values, end)


def sent(load, name, values, n, unit="", host: Host | None = None):
    """A point a minute until the load's end, each with so many rows behind it."""
    key = (name, host, "1", "")
    series = series_for(load.endpoint, {key: unit})[key]
    at = moments([load.end - (len(values) - 1 - i) * MINUTE for i in range(len(values))])
    whole = np.full(len(values), series, np.int64)
    keep(load.endpoint.pk, Points(series=whole, at=at, value=np.asarray(values, np.float64), n=np.asarray(n, np.int64)))


def breaches(found):
    return np.flatnonzero(found.condition == Condition.BREACH).tolist()


def test_a_moving_averages_limits_are_frozen_and_it_finds_the_shift_when_the_librarys_does(load):
    one = load.rule("ewma")

    found, limits, stable = load.judged(one), one.params, load.values[:STABLE]
    whole = ewma(load.values, target=limits["centre"], sigma=limits["sigma"], exact=False)

    assert limits["centre"] == pytest.approx(stable.mean())
    assert limits["sigma"] == pytest.approx(np.abs(np.diff(stable)).mean() / 1.128)
    assert (limits["points"], limits["weight"], limits["width"]) == (STABLE, 0.2, 2.962)
    # what lies more than forty points back weighs less than a ten-thousandth
    assert found.value == pytest.approx(whole.points[-AFTER:], abs=1e-3)
    assert found.high[0] == pytest.approx(whole.upper[0])
    assert breaches(found) == [place - STABLE for place in whole.out if place >= STABLE]
    assert breaches(found)


def test_a_cumulative_sum_signals_when_the_librarys_does_and_is_told_in_sigmas(load):
    one = load.rule("cusum")

    found, limits = load.judged(one), one.params
    whole = cusum(load.values, target=limits["centre"], sigma=limits["sigma"])

    assert breaches(found)[0] == whole.signals[0] - STABLE
    assert (found.low[0], found.high[0], found.value.max()) == (-5.0, 5.0, 10.0)
    ask(one, since=load.end - AFTER * MINUTE)
    summary = Alert.objects.get().summary
    assert summary.startswith("cusum: the cumulative sum of load is ")
    assert summary.endswith(f"sigma, beyond 5: its mean has moved from {limits['centre']:.4g}.")


def test_subgroups_are_the_parts_of_a_window_and_their_limits_those_of_freeze(load):
    groups = load.values.reshape(-1, 5)
    limits = freeze(groups[: STABLE // 5])
    means, spreads = xbar_s(groups[STABLE // 5 :], limits)

    shared = {"size": 5, "runs": "nelson", "numbers": [1]}
    xbar = load.rule("xbar", window_seconds=300, params=shared)
    s = load.rule("s", window_seconds=300, params=shared)

    assert (xbar.params["centre"], xbar.params["sigma"]) == pytest.approx((limits.centre, limits.sigma))
    assert (xbar.params["points"], xbar.params["size"]) == (STABLE // 5, 5)
    assert load.judged(xbar).value == pytest.approx(means.points)
    assert breaches(load.judged(xbar)) == means.out
    assert means.out
    assert load.judged(s).value == pytest.approx(spreads.points)
    assert load.judged(s).high == pytest.approx(spreads.upper)


def test_a_subgroup_that_lacks_a_value_is_no_data(load):
    one = load.rule("xbar", window_seconds=300, params={"size": 5})
    points(load.endpoint, [50, None, 51, 52, 50], until=load.end + 5 * MINUTE, name="load")

    found = preview(one, until=load.end + 5 * MINUTE, days=5 / 1440).told[0].judged

    assert found.condition.tolist() == [Condition.NO_DATA]


def test_a_share_of_counted_rows_has_limits_that_follow_each_windows_rows(load):
    rng = np.random.default_rng(2)
    rows = rng.integers(200, 2_000, STABLE + AFTER)
    hits = np.concatenate((rng.binomial(rows[:STABLE], 0.02), rng.binomial(rows[STABLE:], 0.05)))
    sent(load, "error_share", hits / rows, rows)
    one = load.rule("p", metric="error_share", params={"runs": "nelson", "numbers": [1]})

    found = load.judged(one)
    whole = proportions(hits[STABLE:], rows[STABLE:], centre=hits[:STABLE].sum() / rows[:STABLE].sum())

    assert one.params["centre"] == pytest.approx(hits[:STABLE].sum() / rows[:STABLE].sum())
    assert one.params["sample"] == pytest.approx(rows[:STABLE].mean())
    assert found.high == pytest.approx(whole.upper)
    assert breaches(found) == whole.out
    assert whole.out


@pytest.mark.parametrize("of_hosts", [False, True])
def test_counts_for_each_unit_are_those_of_two_metrics_and_of_all_hosts_where_only_hosts_send_them(load, of_hosts):
    rng = np.random.default_rng(2)
    requests = rng.integers(2_000, 9_000, STABLE + AFTER)
    errors = np.concatenate((rng.poisson(0.01 * requests[:STABLE]), rng.poisson(0.03 * requests[STABLE:])))
    once = np.ones(STABLE + AFTER)
    if of_hosts:
        for host, part in zip(make_hosts("gpu-1", "gpu-2"), (0.25, 0.75), strict=True):
            sent(load, "failures_per_second", part * errors / 60, once, "1/s", host)
            sent(load, "requests_per_second", part * requests / 60, once, "1/s", host)
    else:
        sent(load, "failures_per_second", errors / 60, once, "1/s")
        sent(load, "requests_per_second", requests / 60, once, "1/s")
    params = {"per": "requests_per_second", "runs": "nelson", "numbers": [1]}
    one = load.rule("u", metric="failures_per_second", params=params)

    found = load.judged(one)
    centre = errors[:STABLE].sum() / requests[:STABLE].sum()
    whole = rates(errors[STABLE:], requests[STABLE:], centre=centre)

    assert one.params["centre"] == pytest.approx(centre)
    assert found.value == pytest.approx(whole.points)
    assert breaches(found) == whole.out
    assert whole.out
    assert "failures_per_second for each of requests_per_second" in str(figure_of(preview(one, until=load.end, days=1)))


def test_each_says_in_words_what_it_asks_and_from_when_its_limits_are(load):
    sent(load, "error_share", np.linspace(0.01, 0.03, STABLE + AFTER), np.full(STABLE + AFTER, 1_000))
    since, until = (f"{datetime.fromisoformat(load.stable[name]):%Y-%m-%d %H:%M}" for name in ("since", "until"))

    said = {
        "ewma": in_words(load.rule("ewma")),
        "cusum": in_words(load.rule("cusum")),
        "xbar": in_words(load.rule("xbar", window_seconds=300)),
        "p": in_words(load.rule("p", metric="error_share", params={"numbers": [1]})),
    }

    assert "as a moving average (EWMA, weight 0.2), lies more than 2.962 of its own sigmas from 50" in said["ewma"]
    assert "as two cumulative sums (CUSUM) of what lies more than 0.5 sigma above or below 50" in said["cusum"]
    assert "as the mean of a subgroup of 5 values, breaks Nelson's rules 1, 2, 3 about 50" in said["xbar"]
    assert "as a share of counted rows, breaks Nelson's rule 1 about 0.01" in said["p"]
    assert f"The limits are frozen from 300 points of {since} to {until} UTC." in said["ewma"]


def test_theory_says_how_many_points_lie_between_two_false_alarms(load):
    sent(load, "error_share", np.full(STABLE + AFTER, 0.02), np.full(STABLE + AFTER, 1_000))

    found = {
        "ewma": expected.sentence(load.rule("ewma")),
        "cusum": expected.sentence(load.rule("cusum")),
        "individuals": expected.sentence(load.rule("individuals", params={"numbers": [1]})),
        "p": expected.sentence(load.rule("p", metric="error_share", params={"numbers": [1]})),
    }

    assert found["ewma"] == (
        "By theory (independent, normal values) one point in 500 is out of control by chance: about one in 8 h."
    )
    assert "one point in 465 " in found["cusum"]
    assert "one point in 370 " in found["individuals"]
    # Of 1,000 rows at 2 %, fewer than 7 or more than 33 happen about once in 300 windows: a binomial leans.
    assert "(independent rows, windows of their mean size) one window in 3" in found["p"]


@pytest.mark.parametrize(
    ("chart", "fields", "said"),
    [
        ("u", {"params": {"per": "nothing"}}, "The stable period has 0 points of load; limits need 20."),
        ("xbar", {"window_seconds": 240}, "A window of 4 min can't be cut into 5 values of whole minutes."),
        ("p", {}, "load is no share of rows: a p-chart needs values from 0 to 1."),
        ("p", {"reduce": "high"}, "Of a p- or u-chart the values of a window come to their mean, weighed by rows."),
        ("ewma", {"params": {"weight": 0.01}}, "weight must be a number from 0.05 to 1."),
        ("cusum", {"metric": "flat"}, "The value never changed in the stable period, so it has no sigma."),
        ("moving", {}, "chart must be individuals, xbar, s, p, u, ewma or cusum."),
        ("ewma", {"params": {"since": "yesterday"}}, "Say from when to when it was stable, as 2026-11-01T00:00+00:00"),
        ("ewma", {"params": {"numbers": [1]}}, "A rule of kind control has no numbers; it has centre, chart,"),
    ],
)
def test_a_chart_that_cannot_be_is_refused_with_a_sentence(load, chart, fields, said):
    points(load.endpoint, [5.0] * (STABLE + AFTER), until=load.end, name="flat")
    given = {"name": "x", "metric": "load", "kind": "control", "window_seconds": 60, **fields}
    given["params"] = {"chart": chart, **load.stable, **fields.get("params", {})}

    with pytest.raises(UnfitRule) as refused:
        draft(endpoint=load.endpoint, **given)

    assert str(refused.value).startswith(said)
    assert AlertRule.objects.count() == 0


def test_a_rule_that_was_written_before_there_were_several_charts_is_one_of_single_values(load):
    one = load.rule("individuals", params={"runs": "nelson", "numbers": [2]})
    before = load.judged(one)
    del one.params["chart"]

    assert load.judged(one).condition.tolist() == before.condition.tolist()
    assert "breaks Nelson's rule 2 about 50" in in_words(one)


OWN = {
    "individuals": {"runs": "nelson", "numbers": "1, 2"},
    "xbar": {"runs": "nelson", "numbers": "1", "size": "5", "window": "5"},
    "s": {"runs": "western-electric", "numbers": "1", "size": "5", "window": "5"},
    "p": {"runs": "nelson", "numbers": "1", "metric": "error_share"},
    "u": {"runs": "nelson", "numbers": "1", "per": "", "metric": "error_share"},
    "ewma": {"weight": "0.3", "width": "3"},
    "cusum": {"k": "0.25", "h": "8"},
}


@pytest.mark.parametrize("chart", sorted(OWN))
def test_each_chart_is_written_previewed_and_changed_on_a_form_of_its_own(load, chart):
    admin = client_of(person("ada", "administrator"))
    sent(load, "error_share", np.linspace(0.01, 0.03, STABLE + AFTER), np.full(STABLE + AFTER, 1_000))
    form = {**STATIC, "metric": "load", "kind": f"control:{chart}", "endpoint": load.endpoint.slug, **load.stable,
            **OWN[chart]}  # fmt: skip

    blank = admin.get(f"/monitoring/rules/new/?endpoint={load.endpoint.slug}&kind=control:{chart}").content.decode()
    seen = admin.post("/monitoring/rules/new/", {**form, "preview": ""}).content.decode()
    assert AlertRule.objects.count() == 0
    admin.post("/monitoring/rules/new/", {**form, "save": ""})
    made = AlertRule.objects.get()
    edited = admin.get(f"/monitoring/rules/{made.pk}/edit/").content.decode()
    admin.post(f"/monitoring/rules/{made.pk}/edit/", {**form, "severity": "1", "save": "", "reason": "It matters."})
    changed = AlertRule.objects.get()

    assert 'name="since"' in blank
    assert ('name="scope"' in blank, f'value="control:{chart}"' in blank) == (False, True)
    assert "By theory (independent" in seen
    assert "Run over its stable period, " in seen
    assert made.params["chart"] == chart
    assert all(f'name="{name}"' in edited for name in OWN[chart] if name != "metric")
    assert (changed.severity, changed.params) == (1, made.params)
