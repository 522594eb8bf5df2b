from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actions import service_actor
from monitoring.actions import watch_endpoint
from monitoring.models import Alert, Finding, Window
from registry.models import Endpoint
from registry.soak import Soaked, objection_to
from tests.monitoring.world import make_endpoint, make_version

pytestmark = pytest.mark.django_db


def fire(endpoint, version, **values):
    now = timezone.now()
    return Alert.objects.create(
        fingerprint="f", source="rule", endpoint=endpoint, version=version, summary="Worse.", started_at=now, **values
    )


def test_a_version_with_an_alert_since_it_went_live_is_objected_to_even_when_it_was_resolved():
    endpoint = make_endpoint()
    version = make_version(endpoint, 2, profiled=False)
    alert = fire(endpoint, "2", state="resolved")
    alert.refresh_from_db()

    said = objection_to(Soaked(endpoint, version, timezone.now() - timedelta(hours=1)))

    assert said == f"An alert of {alert.fired_at:%Y-%m-%d %H:%M} UTC is on record against it: Worse."


def test_alerts_of_other_versions_endpoints_and_times_are_no_objection():
    endpoint, other = make_endpoint(), make_endpoint("employment-staging")
    version = make_version(endpoint, 2, profiled=False)
    fire(endpoint, "1", state="resolved")
    fire(other, "2")

    assert objection_to(Soaked(endpoint, version, timezone.now() - timedelta(hours=1))) == ""
    assert objection_to(Soaked(other, version, timezone.now() + timedelta(minutes=1))) == ""


def test_an_outside_alert_about_the_endpoint_counts_against_the_version_that_is_live():
    endpoint = make_endpoint()
    fire(endpoint, "")

    found = Soaked(endpoint, make_version(endpoint, 2, profiled=False), timezone.now() - timedelta(hours=1))

    assert objection_to(found).endswith("is on record against it: Worse.")


def watched_endpoint_with_window(*, rows, ends_after):
    """An endpoint of an hour's soak, and its only judged window, which ends `ends_after` the deployment."""
    endpoint = make_endpoint()
    Endpoint.objects.filter(pk=endpoint.pk).update(soak_seconds=3600)
    endpoint.refresh_from_db()
    watch_endpoint(endpoint=endpoint, actor=service_actor("test"))
    since = timezone.now() - timedelta(hours=2)
    end = since + ends_after
    window = Window.objects.create(
        endpoint=endpoint, start=end - timedelta(minutes=5), end=end, due_at=end, state="judged", rows=rows
    )
    return endpoint, Soaked(endpoint, make_version(endpoint, 2, profiled=False), since), window


def test_a_soak_that_was_not_judged_to_its_end_is_no_soak():
    _, found, _ = watched_endpoint_with_window(rows=500, ends_after=timedelta(minutes=59))

    assert objection_to(found).endswith("has not been judged yet.")


def test_a_window_without_traffic_proves_nothing():
    _, found, _ = watched_endpoint_with_window(rows=0, ends_after=timedelta(minutes=65))

    assert objection_to(found).endswith("has not been judged yet.")


def test_a_soak_judged_to_its_end_under_traffic_meets_no_objection():
    _, found, _ = watched_endpoint_with_window(rows=500, ends_after=timedelta(minutes=65))

    assert objection_to(found) == ""


def test_a_newest_window_in_breach_is_objected_to_before_it_is_an_alert():
    endpoint, found, window = watched_endpoint_with_window(rows=500, ends_after=timedelta(minutes=65))
    rule = endpoint.rules.get(kind="accuracy")
    Finding.objects.create(rule=rule, window=window, version="2", answer="breach", sentence="9 points too low.")

    assert objection_to(found) == "Its newest window is in breach: 9 points too low."
