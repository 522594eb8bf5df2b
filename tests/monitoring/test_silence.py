"""A source that falls silent: it is said that there is no data, and nothing is taken for well."""

from datetime import timedelta

import pytest
from django.test import Client
from time_machine import TimeMachineFixture

from accounts.actions import create_user
from audit.actions import service_actor
from monitoring.models import Alert, Monitor, Window
from monitoring.objection import not_judged_yet
from monitoring.queries import silent_since
from registry.models import Endpoint, Version
from tests.monitoring.stream import judge, play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint() -> Endpoint:
    """Two windows with traffic, and two in which nothing came."""
    made, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(made, 1)
    watch(made, for_windows=2, clear_windows=2)
    for index in range(2):
        play(made, hosts, index, rows=600, accuracy=0.6)
    return made


def fall_silent(endpoint: Endpoint) -> None:
    for index in range(2, 6):
        judge(endpoint, index)


def test_f40_an_alert_is_not_over_because_its_source_fell_silent(endpoint: Endpoint) -> None:
    assert Alert.objects.get(rule__kind="accuracy").state == "firing"

    fall_silent(endpoint)

    assert Alert.objects.get(rule__kind="accuracy").state == "firing"


def test_f40_no_data_is_said_since_the_last_window_that_had_some(endpoint: Endpoint) -> None:
    now = START + 2 * WINDOW
    assert silent_since([endpoint], now) == {}

    fall_silent(endpoint)

    assert silent_since([endpoint], START + 6 * WINDOW) == {endpoint.pk: START + 2 * WINDOW}


def test_f40_windows_that_are_no_longer_judged_are_silence_as_well(endpoint: Endpoint) -> None:
    assert silent_since([endpoint], START + 4 * WINDOW) == {}

    assert silent_since([endpoint], START + 6 * WINDOW) == {endpoint.pk: START + 2 * WINDOW}


def test_f40_silence_does_not_end_by_lasting(endpoint: Endpoint) -> None:
    fall_silent(endpoint)

    assert silent_since([endpoint], START + timedelta(days=40)) == {endpoint.pk: START + 2 * WINDOW}


def test_f40_an_endpoint_that_was_never_judged_is_silent_since_it_is_watched() -> None:
    endpoint = make_endpoint()
    watch(endpoint)

    assert silent_since([endpoint], START + 4 * WINDOW) == {}
    assert silent_since([endpoint], START + 5 * WINDOW) == {endpoint.pk: START}

    Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START + WINDOW)
    Monitor.objects.update(next_window_at=START + WINDOW)
    assert silent_since([endpoint], START + 5 * WINDOW) == {endpoint.pk: START}


def test_f40_a_silent_version_does_not_become_last_good(endpoint: Endpoint) -> None:
    fall_silent(endpoint)
    version = Version.objects.get(model=endpoint.model, number=1)
    endpoint.soak_seconds = 240

    said = not_judged_yet(endpoint, version, START)

    assert said == "Its traffic until 12:04:00 UTC has not been judged yet."


def test_f40_pages_say_no_data_and_never_quiet(
    endpoint: Endpoint, client: Client, time_machine: TimeMachineFixture
) -> None:
    Alert.objects.update(state="resolved", ended_at=START + 2 * WINDOW)
    fall_silent(endpoint)
    time_machine.move_to(START + 6 * WINDOW + timedelta(seconds=5))
    viewer = create_user(
        username="vera", email="vera@example.org", full_name="Vera", password="a long enough secret 4711",
        roles=["viewer"], actor=service_actor("test"),
    )  # fmt: skip
    client.force_login(viewer, backend="django.contrib.auth.backends.ModelBackend")

    home = client.get("/").content.decode()
    charts = client.get(f"/monitoring/endpoints/{endpoint.slug}/charts/").content.decode()

    assert f"No incident is open, but there is no data from {endpoint.name}." in home
    assert "no data since 2026-11-21 12:02" in home
    assert "quiet" not in home
    assert "no data since" in charts
