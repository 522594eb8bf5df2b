"""What the defaults promise: a long stream of real people without a fault raises no alert, and a fault does at once."""

import pytest

from monitoring.models import Alert, Window
from tests.monitoring.stream import alerts_of, play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version, swap_codes

pytestmark = [pytest.mark.django_db, pytest.mark.faults]
QUIET = 64


def test_sixty_four_windows_of_later_years_raise_no_alert_and_the_fault_after_them_does_within_two():
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    watch(endpoint)

    for index in range(QUIET):
        play(endpoint, hosts, index, rows=200, year=2017 if index < QUIET // 2 else 2018)

    assert Window.objects.filter(rows=600, labelled=600).count() == QUIET
    assert alerts_of(endpoint) == []

    for index in (QUIET, QUIET + 1):
        play(endpoint, hosts, index, rows=200, year=2018, accuracy=0.71, latency_ms=10.0, change=swap_codes)

    assert sorted(alerts_of(endpoint)) == [
        ("accuracy", "1", "firing"),
        ("input_drift", "1", "firing"),
        ("latency", "1", "firing"),
    ]
    assert set(Alert.objects.values_list("started_at", flat=True)) == {START + WINDOW * QUIET}
