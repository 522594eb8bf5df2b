from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.models import Alert
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
