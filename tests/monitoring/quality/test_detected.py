"""The page of quality and its API say when errors became more, and what tells inputs taken together apart."""

from html import unescape

import pytest

from monitoring.models import Finding, RuleKind
from tests.monitoring.detectors.test_joint_drift import ages_of_others
from tests.monitoring.quality.test_quality import span
from tests.monitoring.stream import play, watch
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import make_endpoint, make_hosts, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint():
    """Four good windows of version 1, then one with more errors by people whose ages are somebody else's."""
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1")
    make_version(endpoint, 1, held_out=True)
    watch(endpoint)
    for index in range(4):
        play(endpoint, hosts, index, rows=400, accuracy=0.9)
    play(endpoint, hosts, 4, rows=600, accuracy=0.65, change=ages_of_others)
    return endpoint


def test_the_page_and_the_api_tell_what_both_detectors_found(endpoint, client):
    sign_in(client, "viewer")
    values = {"endpoint": endpoint.slug, **span(0, 5), "a_version": "1"}

    html = unescape(client.get(f"/monitoring/endpoints/{endpoint.slug}/quality/", values).content.decode())
    concept, joint = client.get("/api/v1/quality/", values).json()["detectors"]

    findings = {one.rule.kind: one for one in Finding.objects.filter(host=None, window__rows=600)}
    for told, kind, windows in ((concept, RuleKind.CONCEPT_DRIFT, 4), (joint, RuleKind.JOINT_DRIFT, 5)):
        found = findings[kind]
        assert (told["rule"], told["answer"], told["value"], told["limit"]) == (
            kind, "breach", found.value, found.limit,
        )  # fmt: skip
        assert (told["windows"], told["beyond"]) == (windows, 1)
        assert found.sentence in html
        assert found.data["false_alarms"] in html
        assert f"1 of {windows} judged windows of the span were beyond the limit." in html
    assert {name: bool(at) for name, at in concept["signals"].items()} == {
        "ADWIN": True, "DDM": True, "HDDM-A": True, "HDDM-W": True, "Page-Hinkley": True,
    }  # fmt: skip
    assert "AGEP" in joint["telling"][0]["column"]
    assert 'id="quality-joint"' in html


def test_a_span_without_judged_windows_says_so(endpoint, client):
    sign_in(client, "viewer")
    Finding.objects.filter(rule__kind__in=[RuleKind.CONCEPT_DRIFT, RuleKind.JOINT_DRIFT]).delete()

    html = client.get(f"/monitoring/endpoints/{endpoint.slug}/quality/", span(0, 5)).content.decode()

    assert html.count("The rule judged no window of this span.") == 2
