from datetime import timedelta

import pytest

from monitoring.charts import thinned
from monitoring.markers import markers
from monitoring.models import Alert, Rule
from registry.models import Deployment
from tests.monitoring.world import START, make_endpoint, make_hosts, make_version


@pytest.mark.django_db
def test_the_hosts_of_one_run_are_one_marker_at_the_first_switch():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    one, two = (make_version(endpoint, number, profiled=False) for number in (1, 2))
    for index, host in enumerate(hosts):
        at = START + timedelta(seconds=index)
        back = at + timedelta(minutes=5)
        Deployment.objects.create(
            endpoint=endpoint, host=host, version=two, since=at, until=back, cause="release", run_ref="r1"
        )
        Deployment.objects.create(endpoint=endpoint, host=host, version=one, since=back, cause="rollback", run_ref="r2")

    found = markers(endpoint, START, START + timedelta(hours=1))

    assert [(m.at, m.label, m.kind) for m in found] == [
        (START, "v2 deployed", "deployment"),
        (START + timedelta(minutes=5), "rollback to v1", "rollback"),
    ]


@pytest.mark.django_db
def test_the_alerts_of_one_minute_are_one_marker_at_the_first_of_them():
    endpoint = make_endpoint()
    for number, (kind, seconds) in enumerate((("latency", 9), ("input_drift", 5), ("accuracy", 70))):
        rule = Rule.objects.create(endpoint=endpoint, kind=kind)
        at = START + timedelta(seconds=seconds)
        alert = Alert.objects.create(
            fingerprint=str(number), source="rule", rule=rule, endpoint=endpoint, severity=2, started_at=at
        )
        Alert.objects.filter(pk=alert.pk).update(fired_at=at)

    found = markers(endpoint, START, START + timedelta(hours=1))

    assert [(m.at, m.label, m.kind) for m in found] == [
        (START + timedelta(seconds=5), "alerts: input drift, latency", "alert"),
        (START + timedelta(seconds=70), "alert: accuracy", "alert"),
    ]


def test_a_long_series_is_thinned_to_its_extremes_in_order():
    series = [0.0] * 10_000
    series[7_321] = 5.0
    series[42] = -3.0

    kept = thinned(list(enumerate(series)), lambda item: item[1], most=100)

    assert len(kept) <= 100
    assert (42, -3.0) in kept
    assert (7_321, 5.0) in kept
    assert [index for index, _ in kept] == sorted(index for index, _ in kept)


def test_a_short_series_is_kept_whole():
    assert thinned([3, 1, 2], float, most=3) == [3, 1, 2]
