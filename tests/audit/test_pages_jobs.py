"""The pages made for an auditor's jobs, read from a log that tells of one rollback and what went before it."""

import csv
import datetime
import io
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from accounts.models import User
from audit.actions import Actor, Target, record, service_actor, under
from audit.duties import Clock, load
from audit.models import AuditEvent
from audit.readings import changes, glass, holders, live
from audit.readings.behind import authority_of
from audit.readings.records import read
from tests.audit import story
from tests.audit.log import ALICE, BOB, CAROL
from tests.audit.test_pages import page_of, signed_in

pytestmark = pytest.mark.django_db
SETUP = service_actor("createadmin")
ENDPOINT = "employment-production"


def put(action: str, target: Target, data: dict[str, Any], actor: Actor = SETUP, **more: Any) -> AuditEvent:
    return record(action=action, target=target, actor=actor, data=data, **more)


def switch(host: str, number: str, run: str = "", cause: str = "release") -> None:
    data = {"endpoint": ENDPOINT, "host": host, "from": "", "to": number * 64, "number": number, "cause": cause}
    put("deployment.switch", Target("endpoint", ENDPOINT), data | {"run": run, "gates_off": False})


def grant(user: str, role: str, **more: Any) -> None:
    put("role.grant", Target("user", user), {"grant": f"g-{user}", "user": user, "role": role, "scope": {}} | more)


def tell() -> None:
    """An endpoint, two switches by hand, an approved rollback, and what it switched."""
    put("endpoint.register", Target("endpoint", ENDPOINT), {"model": "employment", "environment": "production"})
    grant("u-bob", "commander")
    grant("u-carol", "approver")
    switch("gpu-1", "1")
    switch("gpu-1", "2")
    story.whole()
    story.put("rollback.gate.answer", {"run": story.RUN, "answer": "pass"})
    story.put("rollback.run.switched", {"run": story.RUN})
    switch("gpu-1", "1", run=story.RUN, cause="rollback")


@pytest.fixture
def told() -> None:
    tell()


def rows_of(client: Client, view: str, **asked: str) -> list[dict[str, str]]:
    answer = client.post(f"/audit/export/{view}.csv", asked)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def test_changes_to_production_tell_who_proposed_and_approved_and_what_was_tested(told: None) -> None:
    run, second, first = changes.told(read(changes.changes_in(None, None)))
    assert (run.kind, run.subject, run.environment, run.outcome) == (
        "rollback", ENDPOINT, "production", "all hosts switched",
    )  # fmt: skip
    assert (run.proposer, [(one.by, one.role) for one in run.approvers]) == (
        "u-alice", [("u-bob", "commander"), ("u-carol", "approver")],
    )  # fmt: skip
    assert (run.apart, run.findings, [one.action for one in run.tests]) == (True, [], ["rollback.gate.answer"])
    assert [one.event.text("number") for one in (first, second)] == ["1", "2"]
    assert second.findings == ["It was not part of an approved run."]


def test_a_run_without_approvals_or_approved_by_its_proposer_is_a_finding() -> None:
    story.started(request="nothing", gates_off=True)
    story.opened(request="own", proposer="u-bob")
    story.consumed(request="own", seats=[{"by": "u-bob", "role": "commander"}])
    story.started(request="own", run="run-2")
    own, bare = changes.told(read(changes.changes_in(None, None)))
    assert bare.findings == [
        "The log holds no approval that was used for it.", "Its gates were switched off.",
        "No preflight, gate or watch is on record for it.",
    ]  # fmt: skip
    assert own.findings[0] == "Who proposed it is among those who approved it."


def test_the_page_of_changes_and_its_csv_say_the_same(told: None) -> None:
    client = signed_in()
    page = page_of(client, "/audit/changes/")
    assert "3 changes in this span; 2 raise a question." in page
    assert "no approval asked for" in page
    assert "all hosts switched" in page
    assert "Nothing was changed in this span." in page_of(client, "/audit/changes/?until=2020-01-01T00:00:00")
    rows = rows_of(client, "changes")
    assert [row["requester is not approver"] for row in rows] == ["yes", "not asked for", "not asked for"]
    assert rows[0]["approved by"] == "u-bob as commander; u-carol as approver"
    taken = AuditEvent.objects.latest("id")
    assert taken.action == "audit.view.export"
    assert read(AuditEvent.objects.filter(pk=taken.pk))[0].data["rows"] == 3


def test_break_glass_is_listed_with_its_review_and_overdue_without() -> None:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    use = {"request": "r-1", "subject_hash": story.PLAN, "role": "commander", "review_due": now + day}
    target = Target("approval_request", "r-1")
    put("approval.break_glass", target, use | {"review_limit": now + 3 * day}, ALICE, incident="INC-1")
    story.started(request="r-1", break_glass=True)
    only = glass.uses()[0]
    assert (only.state_at(now), only.state_at(now + 2 * day)) == ("owed", "overdue")
    assert [one.text("run") for one in only.starts] == [story.RUN]
    change = changes.told(read(changes.changes_in(None, None)))[0]
    assert change.findings[:2] == [
        "It was started by break-glass, without the approvals.",
        "Nobody has reviewed that yet.",
    ]
    client = signed_in()
    assert "1 review is owed" in page_of(client, "/audit/break-glass/")
    put("approval.break_glass.review", target, {"request": "r-1", "verdict": "justified", "by": "u-carol"}, CAROL)
    assert "Break-glass was used 1 time, each reviewed." in page_of(client, "/audit/break-glass/")
    assert rows_of(client, "break-glass")[0]["verdict"] == "justified"


def test_who_could_approve_follows_proposals_rest_loans_and_ends() -> None:
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    grant("u-bob", "commander")
    proposed = {"grant": "g-2", "user": "u-carol", "role": "approver", "scope": {"models": ["employment"]}}
    put("role.propose", Target("role_grant", "g-2"), proposed | {"proposer": "u-a1"}, ALICE)
    confirmed = proposed | {"proposer": "u-a1", "by": "u-a2", "counts_from": now + 24 * hour}
    assert [held.state_at(now + hour) for held in holders.holdings() if held.user == "u-carol"] == ["proposed"]
    put("role.confirm", Target("role_grant", "g-2"), confirmed, BOB)
    loan = {"delegation": "d-1", "grant": "g-u-bob", "from": "u-bob", "to": "u-dan", "role": "commander", "scope": {}}
    put("delegation.create", Target("delegation", "d-1"), loan | {"starts": now + hour, "ends": now + 3 * hour}, BOB)
    by_user = {held.user: held for held in holders.holdings()}
    carol, dan = by_user["u-carol"], by_user["u-dan"]
    assert (carol.state_at(now + hour), carol.state_at(now + 25 * hour), carol.where) == (
        "resting", "counts", "models employment",
    )  # fmt: skip
    assert [dan.state_at(now + hours * hour) for hours in (0.5, 2, 4)] == ["resting", "counts", "ended"]
    put("role.end", Target("user", "u-bob"), {"grant": "g-u-bob", "user": "u-bob", "role": "commander"})
    ended = {held.user: held for held in holders.holdings()}
    assert (ended["u-bob"].state_at(now + hour), ended["u-dan"].state_at(now + 2 * hour)) == ("ended", "ended")
    page = page_of(signed_in(), "/audit/approvers/")
    assert "rests" in page
    assert "proposed and confirmed: u-a1 and u-a2" in page


def test_versions_live_over_time_are_told_by_host(told: None) -> None:
    spans = live.spans_of(ENDPOINT)
    assert [(span.number, span.until is None, span.run) for span in spans] == [
        ("1", True, story.RUN), ("2", False, ""), ("1", False, ""),
    ]  # fmt: skip
    assert spans[1].until == spans[0].since
    drawn = live.drawing(spans, spans[-1].since, spans[0].since + datetime.timedelta(hours=1))
    assert drawn.hosts == [("gpu-1", 15)]
    assert drawn.bars[0].x + drawn.bars[0].width == pytest.approx(1000)
    client = signed_in()
    assert "version 1 answers now; 3 spans on 1 host here" in page_of(client, "/audit/versions/")
    assert [row["version"] for row in rows_of(client, "versions", endpoint=ENDPOINT)] == ["1", "2", "1"]


def test_duties_are_quoted_and_their_gaps_are_said() -> None:
    client = signed_in()
    page = page_of(client, "/audit/duties/")
    for duty in load().duties:
        assert duty.recorded
        assert duty.gaps
        assert escape(duty.title) in page
    assert "not later than 72 hours after having become aware of it" in page
    assert len(rows_of(client, "duties")) == len(load().duties)
    ids = [clock.id for _, clock in load().clocks]
    assert len(set(ids)) == len(ids)
    assert all(clock.starts in {*ids, "awareness", "classification"} for _, clock in load().clocks)


def test_a_clock_counts_hours_months_and_the_earlier_of_two() -> None:
    begun = datetime.datetime(2027, 1, 31, 12, tzinfo=datetime.UTC)
    assert Clock("a", "", "awareness", hours=72).due(begun, begun) == begun + datetime.timedelta(days=3)
    assert Clock("b", "", "awareness", months=1).due(begun, begun).isoformat() == "2027-02-28T12:00:00+00:00"
    aware = begun - datetime.timedelta(hours=22)
    assert Clock("c", "", "classification", hours=4, cap_hours=24).due(begun, aware) == begun + datetime.timedelta(
        hours=2
    )


def test_a_cell_that_would_be_a_formula_is_made_harmless() -> None:
    put("host.register", Target("host", "=cmd"), {"engine": "bundled"}, ALICE)
    assert rows_of(signed_in(), "changes")[0]["of"].startswith("host =")
    put("alias.move", Target("alias", "m/champion"), {"alias": "=1+1", "from": "", "to": "", "number": 1}, ALICE)
    assert rows_of(signed_in(name="bea"), "changes")[0]["detail"] == "alias =1+1; number 1"


VIEWS = ("changes", "break-glass", "approvers", "versions", "duties", "clocks")


@pytest.mark.parametrize("role", [None, "viewer", "commander", "administrator"])
def test_who_is_no_auditor_opens_none_of_them_and_takes_nothing_away(role: str | None) -> None:
    client = signed_in(role)
    for view in VIEWS:
        assert client.get(f"/audit/{view}/").status_code == 403
        taken = "/audit/clocks.csv" if view == "clocks" else f"/audit/export/{view}.csv"
        assert client.post(taken).status_code == 403
    assert not AuditEvent.objects.filter(action="audit.view.export").exists()
    assert AuditEvent.objects.filter(action="access.deny").count() == 2 * len(VIEWS)


def test_an_auditor_finds_no_button_but_search_export_and_reveal(told: None) -> None:
    client = signed_in()
    story_event = AuditEvent.objects.get(action="rollback.run.start")
    for path in ["/audit/", *(f"/audit/{view}/" for view in VIEWS), f"/audit/events/{story_event.event_uuid}/"]:
        page = page_of(client, path)
        targets = {part.split('"')[0] for part in page.split('method="post" action="')[1:]}
        assert {target for target in targets if not target.startswith(("/audit/", "/accounts/logout/"))} == set(), path
        assert User.objects.count() == 1


def performed(name: str) -> None:
    act = {"act": name, "kind": "unquarantine", "act_hash": "e" * 64, "request": "r-5", "policy_hash": "f" * 64}
    put("act.perform", Target("act", name), act)


def test_what_an_act_under_approval_did_is_told_with_its_approvals_and_once() -> None:
    story.opened(request="r-5", subject_hash="e" * 64, act_kind="unquarantine")
    story.consumed(request="r-5", subject_hash="e" * 64)
    performed("a-5")
    with under(act="a-5"):
        put("version.quarantine_lift", Target("version", "employment/2"), {})
    put("version.quarantine_lift", Target("version", "employment/3"), {}, ALICE)
    alone, approved = changes.told(read(changes.changes_in(None, None)))
    assert (approved.kind, approved.subject, approved.needed) == ("unquarantine", "version employment/2", True)
    assert [one.by for one in approved.approvers] == ["u-bob", "u-carol"]
    assert (alone.subject, alone.needed) == ("version employment/3", False)
    lifted = AuditEvent.objects.get(target_id="employment/2")
    assert authority_of(lifted).change is not None
    assert authority_of(AuditEvent.objects.get(target_id="employment/3")).change is None


def test_two_acts_of_one_program_at_once_each_keep_what_they_did() -> None:
    """All events that come back from a backup have one transaction id between them, and moments may lie close."""
    performed("a-5")
    performed("a-6")
    for act, number in (("a-6", 3), ("a-5", 2)):
        with under(act=act):
            put("version.quarantine_lift", Target("version", f"employment/{number}"), {})
    put("version.quarantine_lift", Target("version", "employment/4"), {})
    told = {change.event.target: change.subject for change in changes.told(read(changes.changes_in(None, None)))}
    assert told == {
        "employment/4": "version employment/4",
        "a-6": "version employment/3",
        "a-5": "version employment/2",
    }


def test_a_moment_that_cannot_be_read_makes_no_table(told: None) -> None:
    client = signed_in()
    answer = client.post("/audit/export/approvers.csv", {"at": "last tuesday"}, follow=True)
    assert "Enter a valid date/time." in answer.content.decode()
    assert not AuditEvent.objects.filter(action="audit.view.export").exists()
