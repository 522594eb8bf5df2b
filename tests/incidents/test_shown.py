"""What an approver is shown of the incident beside the plan."""

from datetime import timedelta

from accounts.approvals.evidence import show, shown
from accounts.approvals.models import ApprovalRequest
from incidents.shown import incident_sections
from monitoring.models import Answer, Finding, Rule, Window
from tests.accounts.people import a_request
from tests.incidents.world import World


def breaches(world: World, values: list[float]) -> None:
    rule = Rule.objects.filter(endpoint=world.endpoint, kind="accuracy").first()
    assert rule is not None
    for number, value in enumerate(values):
        start = world.began + timedelta(minutes=number)
        window = Window.objects.create(
            endpoint=world.endpoint, start=start, end=start + timedelta(minutes=1), due_at=start
        )
        Finding.objects.create(
            rule=rule,
            window=window,
            version="2",
            answer=Answer.BREACH if value < 0.75 else Answer.OK,
            value=value,
            limit=0.75,
            rows=300,
            sentence=f"Version 2 is right in {value:.1%} of 300.",
        )


def test_the_frozen_evidence_and_the_course_of_each_breach_are_shown(world: World) -> None:
    incident = world.incident()
    Finding.objects.all().delete()
    breaches(world, [0.81, 0.74, 0.7])
    claims = list(incident.evidence.values_list("claim", flat=True))

    found, course = incident_sections(ApprovalRequest(incident_ref=incident.ref))

    assert (found["title"], found["rows"]) == (f"What was found in {incident.ref}", claims)
    [row] = course["rows"]
    assert (row["values"], row["number"], row["limit"]) == ([0.81, 0.74, 0.7], "0.7", "limit 0.75")
    assert row["claim"] == "Version 2 is right in 70.0% of 300."


def test_they_are_part_of_what_the_digest_covers(world: World) -> None:
    incident = world.incident()
    request = a_request(world.users["rosa"], kind="converge", incident=incident.ref)
    digest, body = show(request, world.users["kofi"])
    assert body == shown(request, digest)
    assert body["sections"][0]["title"] == f"What was found in {incident.ref}"


def test_a_request_without_an_incident_has_none(world: World) -> None:
    assert incident_sections(ApprovalRequest(incident_ref="")) == []
    assert incident_sections(ApprovalRequest(incident_ref="INC-99")) == []
