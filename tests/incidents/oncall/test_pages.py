"""The pages of on-call, by the people who use them."""

import re
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from accounts import oncall
from accounts.models import User
from incidents.models import Incident
from incidents.oncall import duty, escalations
from incidents.oncall.models import Contact, Escalation, Override, Policy, Rotation
from incidents.oncall.rotations import set_rotation
from monitoring.models import Alert
from tests.accounts.people import bearer, person
from tests.incidents.oncall.made import TEST, Called, build, called


@pytest.fixture
def home(db: None) -> Called:
    made = build()
    made.people["root"] = person("root", "administrator")
    made.people["vera"] = person("vera", "viewer")
    return made


def client(user: User) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def test_an_administrator_makes_a_rotation_and_a_responder_takes_a_turn(home: Called) -> None:
    root, ada, ben = home.people["root"], home.people["ada"], home.people["ben"]
    # given a rotation of two, made on its pages
    typed = {"team": "letters", "name": "primary", "zone": "Europe/Berlin"}
    assert client(root).post("/on-call/rotations/new/", typed).status_code == 302
    made = Rotation.objects.get()
    layer = {"people": "ada, ben", "begins": "2026-01-05T09:00", "hours": 168}
    page = client(root).post(f"/on-call/rotations/{made.pk}/layers/", layer)
    assert page.status_code == 302
    made.refresh_from_db()
    assert made.layers == [
        {"people": [ada.pseudonym, ben.pseudonym], "begins": "2026-01-05T09:00", "hours": 168, "windows": []}
    ]
    now = timezone.now()
    assert oncall.now("letters") == [User.objects.get(pseudonym=duty.on_call(made, now))]
    # when a responder takes the next hour
    turn = {"person": "eve", "reason": "The other is ill."}
    wall = timezone.localtime(now, timezone.get_fixed_timezone(0)) + timedelta(hours=3)
    times = {"starts": f"{wall - timedelta(hours=4):%Y-%m-%dT%H:%M}", "ends": f"{wall:%Y-%m-%dT%H:%M}"}
    page = client(ada).post(f"/on-call/rotations/{made.pk}/overrides/", turn | times)
    # then she is on call, there and for approvals, until it is taken back
    assert page.status_code == 302
    assert oncall.now("letters") == [home.people["eve"]]
    shown = client(home.people["vera"]).get(f"/on-call/rotations/{made.pk}/")
    assert b"letters: primary: Eve is on call now" in shown.content
    assert b"The other is ill." in shown.content
    client(ada).post(f"/on-call/overrides/{Override.objects.get().pk}/remove/")
    assert home.people["eve"] not in oncall.now("letters")


def test_a_viewer_changes_nothing(home: Called) -> None:
    vera = client(home.people["vera"])
    for address in ("/on-call/rotations/new/", "/on-call/policies/new/", "/on-call/channels/"):
        assert vera.post(address, {"team": "x", "name": "x", "zone": "UTC"}).status_code == 403
    assert not Rotation.objects.exists()
    assert not Policy.objects.exists()
    assert vera.get("/on-call/").status_code == 200


def test_gaps_are_shown_with_their_days(home: Called) -> None:
    made = Rotation.objects.create(team="letters", name="primary", zone="UTC", layers=[])
    page = client(home.people["vera"]).get("/on-call/")
    assert b"Nobody from" in page.content
    assert b"No escalation policy is set: an incident wakes nobody." in page.content
    assert str(made).encode() in page.content


def test_a_policy_is_set_and_changed_on_its_page_and_steps_without_anybody_are_left_out(home: Called) -> None:
    root, ada = home.people["root"], home.people["ada"]
    typed = {
        "name": "Ours", "severities": ["1", "2"], "repeats": "1", "silence_minutes": "30",
        "step1-targets": [f"person:{ada.pseudonym}"], "step1-minutes": "5", "step3-targets": ["everybody"],
        "step3-minutes": "1.5",
    }  # fmt: skip
    assert client(root).post("/on-call/policies/new/", typed).status_code == 302
    policy = Policy.objects.get()
    assert policy.steps == [
        {"targets": [f"person:{ada.pseudonym}"], "seconds": 300},
        {"targets": ["everybody"], "seconds": 90},
    ]
    assert (policy.severities, policy.silence_seconds) == ([1, 2], 1800)
    page = client(root).get(f"/on-call/policies/{policy.pk}/")
    assert b'value="1.5"' in page.content
    # a change from an outdated page is refused
    Policy.objects.update(version=5)
    refused = client(root).post(f"/on-call/policies/{policy.pk}/", typed | {"version": "1", "name": "Other"})
    assert refused.status_code == 400
    assert Policy.objects.get().name == "Ours"
    assert b"Ada" in client(home.people["vera"]).get("/on-call/").content


def test_what_nobody_has_is_on_top_of_the_first_page_with_who_was_called(home: Called) -> None:
    # given one incident for which a policy calls somebody, and a worse one for which none does
    home.set_policy(home.step("ada"))
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    mild = home.incident(8, severity=3)
    # when
    page = client(home.people["ben"]).get("/").content.decode()
    # then
    assert page.index("Nobody has it") < page.index("What is wrong now")
    assert "Called: Ada; nobody has answered." in page
    assert "Nobody is woken: no escalation policy is for severity 3 here." in page
    # when somebody takes it there
    client(home.people["ben"]).post(f"/on-call/escalations/{one.pk}/take/")
    Incident.objects.filter(pk=mild.pk).update(state="resolved")
    assert "Nobody has it" not in client(home.people["ben"]).get("/").content.decode()
    assert Escalation.objects.get().taken_by == home.people["ben"]


def test_an_alert_that_no_incident_has_is_on_top_of_the_first_page(home: Called) -> None:
    Alert.objects.create(
        fingerprint="a" * 64, source="rule", severity=2, summary="Version 2 is worse.", started_at=timezone.now(),
        fired_at=Now() - timedelta(minutes=1),
    )  # fmt: skip
    page = client(home.people["vera"]).get("/").content.decode()
    assert "Alert: Version 2 is worse." in page
    assert "no incident has it yet" in page


def test_a_viewer_answers_no_call_and_who_is_called_may_hand_it_over(home: Called) -> None:
    home.set_policy(home.step("ada"))
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    assert client(home.people["vera"]).post(f"/on-call/escalations/{one.pk}/take/").status_code == 403
    client(home.people["ada"]).post(f"/on-call/escalations/{one.pk}/hand-over/", {"to": "eve", "reason": "I drive."})
    assert called(one) == [(0, 1, "ada"), (1, 1, "eve")]
    page = client(home.people["eve"]).get("/on-call/mine/")
    assert page.status_code == 200


def test_a_person_enters_tries_and_removes_a_way_and_nobody_elses(home: Called) -> None:
    typed = {
        "kind": "webhook", "address": "https://example.org/hook", "name": "My pager", "least_severity": "2",
        "quiet_severity": "1", "zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_until": "06:00",
    }  # fmt: skip
    page = client(home.people["ada"]).post("/on-call/mine/", typed)
    assert b"whsec_" in page.content
    way = Contact.objects.get()
    assert (way.user, way.least_severity, way.zone) == (home.people["ada"], 2, "Europe/Berlin")
    assert client(home.people["ben"]).post(f"/on-call/ways/{way.pk}/remove/").status_code == 404
    client(home.people["ada"]).post(f"/on-call/ways/{way.pk}/test/")
    assert way.receiver.messages.get().words["type"] == "oncall.test"
    client(home.people["ada"]).post(f"/on-call/ways/{way.pk}/remove/")
    way.receiver.refresh_from_db()
    assert way.receiver.address == ""


def test_programs_set_rotations_and_policies_and_answer_calls(home: Called, client: Client) -> None:
    root = bearer(home.people["root"], "admin", "view")
    ada = bearer(home.people["ada"], "view", "incident.respond")
    named = [home.people["ada"].pseudonym, home.people["ben"].pseudonym]
    layer = {"people": named, "begins": "2026-01-05T09:00", "hours": 12}
    body = {"team": "letters", "name": "primary", "zone": "Europe/Berlin", "layers": [layer]}
    made = client.post("/api/v1/on-call/rotations/", body, "application/json", headers=root)
    assert made.status_code == 201, made.content
    assert made.json()["on_call"] in ("ada", "ben")
    key = made.json()["id"]
    asked = {"since": "2026-03-28T20:00:00Z", "until": "2026-03-30T20:00:00Z"}
    turns = client.get(f"/api/v1/on-call/rotations/{key}/turns/", asked, headers=ada).json()
    assert [turn["starts"] for turn in turns] == [
        "2026-03-28T20:00:00Z", "2026-03-29T07:00:00Z", "2026-03-29T19:00:00Z", "2026-03-30T07:00:00Z",
        "2026-03-30T19:00:00Z",
    ]  # fmt: skip
    body = {"name": "Ours", "severities": [2], "steps": [{"targets": [f"rotation:{key}"], "seconds": 60}]}
    policy = client.post("/api/v1/on-call/policies/", body, "application/json", headers=root)
    assert policy.status_code == 201, policy.content
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    listed = client.get("/api/v1/escalations/", {"state": "waking"}, headers=ada).json()
    assert listed["results"][0]["incident"] == "INC-7"
    assert len(listed["results"][0]["calls"]) == 1
    answer = client.post(f"/api/v1/escalations/{one.pk}/acknowledge/", headers=ada)
    assert (answer.status_code, answer.json()["taken_by"]) == (200, "ada")
    vera = bearer(home.people["vera"], "view")
    assert client.post(f"/api/v1/escalations/{one.pk}/call-now/", headers=vera).status_code == 403


def test_the_turns_of_a_rotation_are_shown_by_its_own_clock(home: Called) -> None:
    layer = {"people": [home.people["ada"].pseudonym], "begins": "2026-01-05T09:00", "hours": 168}
    window = {"days": [0, 1, 2, 3, 4, 5, 6], "start": "09:00", "until": "17:00"}
    turns = set_rotation(
        team="letters", name="days", zone="Asia/Kolkata", layers=[layer | {"windows": [window]}], actor=TEST
    )
    page = client(home.people["ada"]).get(f"/on-call/rotations/{turns.pk}/").content.decode()
    assert re.search(r"<td>\w{3} \d\d \w{3} 09:00</td><td>\w{3} \d\d \w{3} 17:00</td>", page)
    mine = client(home.people["ada"]).get("/on-call/mine/").content.decode()
    assert re.search(r"\d\d \w{3} 09:00 to \w{3} \d\d \w{3} 17:00", mine)
