"""An incident that nobody has wakes one after the other until somebody says that they have it."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.actions import deactivate_user
from accounts.erasure.actions import erase_person
from incidents import actions, status
from incidents.errors import IncidentError
from incidents.models import Incident, IncidentRole, RoleHolding
from incidents.oncall import contacts, escalations, policies, rotations
from incidents.oncall.models import Call, Escalation, Rotation, State
from incidents.oncall.queries import panel
from incidents.telling import maintenance
from incidents.telling.models import Maintenance, Message, MessageState
from tests.accounts.people import person
from tests.incidents.oncall.made import TEST, Called, build, called, later, past, said
from tests.monitoring.world import make_endpoint


@pytest.fixture
def home(db: None) -> Called:
    made = build()
    made.set_policy(made.step("ada"), made.step("ben", seconds=600))
    return made


def test_the_first_step_is_called_at_once_and_the_second_when_nobody_answers(home: Called) -> None:
    # given
    incident = home.incident()
    one = home.begun(incident)
    # when the first step is taken, and looked at again before its time
    assert escalations.turn(escalation_id=one.pk)
    assert not escalations.turn(escalation_id=one.pk)
    # then one person is called, once, by a message in the outbox
    assert called(one) == [(0, 1, "ada")]
    message = Message.objects.get()
    assert message.words["subject"] == "Severity 2: INC-7 Letters go to the wrong people"
    assert "/on-call/answer/" in message.words["link"]
    one.refresh_from_db()
    assert timedelta(seconds=290) < one.due_at - timezone.now() <= timedelta(seconds=300)
    # when their time is over
    escalations.turn(escalation_id=later(one).pk)
    # then the next is called
    assert called(one) == [(0, 1, "ada"), (0, 2, "ben")]
    assert [data["called"] for data in said(incident, "escalation.call")] == [
        [home.people["ada"].pseudonym],
        [home.people["ben"].pseudonym],
    ]


def test_after_the_last_step_they_begin_anew_and_then_everybody_is_called_again_and_again(home: Called) -> None:
    one = home.begun(home.incident())
    for _ in range(6):
        escalations.turn(escalation_id=later(one).pk)
    everybody = [(0, 0, "ada"), (0, 0, "ben"), (0, 0, "eve")]
    assert called(one) == [(0, 1, "ada"), (0, 2, "ben"), (0, 1, "ada"), (0, 2, "ben"), *everybody, *everybody]
    assert Message.objects.count() == 10
    one.refresh_from_db()
    assert one.due_at - timezone.now() > timedelta(minutes=29)


def test_who_answers_has_the_incident_and_what_waits_is_not_sent(home: Called) -> None:
    # given
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    # when
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    # then
    one.refresh_from_db()
    incident.refresh_from_db()
    assert (one.state, one.taken_by) == (State.TAKEN, home.people["ada"])
    assert incident.acknowledged_at is not None
    assert RoleHolding.objects.get(role=IncidentRole.COMMANDER).user == home.people["ada"]
    assert Message.objects.get().state == MessageState.CANCELLED
    assert Call.objects.get().answered_at is not None
    assert len(said(incident, "escalation.acknowledge")) == len(said(incident, "incident.acknowledge")) == 1
    # and nobody else can take it, nor does asking again change anything
    with pytest.raises(IncidentError, match="Ada has it already"):
        escalations.acknowledge(escalation=one, user=home.people["ben"], actor=home.actor("ben"))
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    assert len(said(incident, "escalation.acknowledge")) == 1


def test_who_acknowledges_on_the_incidents_own_page_is_found_by_the_clock(home: Called) -> None:
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    assert escalations.due(timezone.now()) == []
    actions.acknowledge(incident=incident, user=home.people["eve"], actor=home.actor("eve"))
    assert escalations.due(timezone.now()) == [one.pk]
    escalations.turn(escalation_id=one.pk)
    one.refresh_from_db()
    assert (one.state, one.taken_by) == (State.TAKEN, home.people["eve"])
    assert said(incident, "escalation.taken") == [
        {"holder": home.people["eve"].pseudonym, "by": "incident.acknowledge"}
    ]


def test_who_has_it_and_gives_no_sign_is_called_again_and_who_does_something_is_not(home: Called) -> None:
    # given somebody who took it
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    # when its time comes while they have done something
    past(one, minutes=20)
    actions.post_update(
        incident=incident, conditions="I look.", actions="", needs="", user=home.people["ada"], actor=home.actor("ada")
    )
    assert not escalations.turn(escalation_id=one.pk)
    # then nobody is called, and it is looked at again half an hour after that
    one.refresh_from_db()
    assert one.due_at > timezone.now() + timedelta(minutes=29)
    assert called(one) == [(0, 1, "ada")]
    # when nothing is done for longer than the policy allows
    Escalation.objects.filter(pk=one.pk).update(silence_seconds=0, due_at=Now(), taken_at=Now())
    escalations.turn(escalation_id=one.pk)
    # then the steps begin anew, and an answer is asked for anew
    one.refresh_from_db()
    assert (one.state, one.wave) == (State.WAKING, 1)
    assert called(one)[-1] == (1, 1, "ada")
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    one.refresh_from_db()
    assert one.state == State.TAKEN
    assert len(said(incident, "incident.acknowledge")) == 1


def test_what_is_handed_over_calls_the_other_at_once_and_then_the_policys_steps(home: Called) -> None:
    # given
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    # when
    escalations.hand_over(
        escalation=one, to=home.people["eve"], user=home.people["ada"], actor=home.actor("ada"), reason="My shift ends."
    )
    # then
    assert called(one)[-1] == (1, 1, "eve")
    escalations.turn(escalation_id=later(one).pk)
    assert called(one)[-1] == (1, 2, "ada")
    # and who takes it commands from then on
    escalations.acknowledge(escalation=one, user=home.people["eve"], actor=home.actor("eve"))
    assert RoleHolding.objects.get(role=IncidentRole.COMMANDER, until=None).user == home.people["eve"]


def test_nobody_can_hand_it_to_one_who_may_not_work_on_it(home: Called) -> None:
    one = home.begun(home.incident())
    with pytest.raises(IncidentError, match="can't take it"):
        escalations.hand_over(
            escalation=one, to=person("vera", "viewer"), user=home.people["ada"], actor=home.actor("ada")
        )
    one.refresh_from_db()
    assert (one.wave, called(one)) == (0, [])


def test_the_next_can_be_called_at_once_by_who_waits_and_by_who_has_it(home: Called) -> None:
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    escalations.call_now(escalation=one, actor=home.actor("eve"))
    assert called(one) == [(0, 1, "ada"), (0, 2, "ben")]
    escalations.acknowledge(escalation=one, user=home.people["ben"], actor=home.actor("ben"))
    escalations.call_now(escalation=one, actor=home.actor("ben"), reason="I need another.")
    assert called(one)[-1] == (1, 1, "ada")
    one.refresh_from_db()
    assert one.state == State.WAKING


def test_an_incident_that_becomes_worse_wakes_people_by_the_policy_for_that(home: Called) -> None:
    # given one that somebody has
    home.set_policy(home.step("eve"), name="Worst", severities=[1])
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    assert escalations.unbegun(timezone.now()) == []
    # when
    incident.refresh_from_db()
    actions.set_severity(incident=incident, severity=1, reason="", actor=home.actor("ada"))
    assert escalations.unbegun(timezone.now()) == [incident.pk]
    other = home.begun(incident)
    escalations.turn(escalation_id=other.pk)
    # then
    one.refresh_from_db()
    assert (one.state, other.policy.name, called(other)) == (State.ENDED, "Worst", [(0, 1, "eve")])
    assert escalations.begin(incident_id=incident.pk) is None


def test_what_is_over_calls_nobody_any_more(home: Called) -> None:
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    Incident.objects.filter(pk=incident.pk).update(state="resolved")
    assert escalations.due(timezone.now()) == [one.pk]
    escalations.turn(escalation_id=one.pk)
    one.refresh_from_db()
    assert (one.state, one.due_at) == (State.ENDED, None)
    assert Message.objects.get().state == MessageState.CANCELLED
    assert escalations.due(timezone.now() + timedelta(days=1)) == escalations.unbegun(timezone.now()) == []
    with pytest.raises(IncidentError, match="It is over"):
        escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))


def test_a_step_that_reaches_nobody_is_on_record_and_the_next_is_called_at_once(home: Called) -> None:
    deactivate_user(user=home.people["ada"], by=None, actor=TEST)
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    assert called(one) == [(0, 2, "ben")]
    assert said(incident, "escalation.call")[0]["missed"] == [f"person:{home.people['ada'].pseudonym}"]


@pytest.mark.parametrize(("empty", "repeats"), [(1, 1), (2, 1), (1, 5), (3, 0)])
def test_where_no_step_of_any_round_reaches_anybody_everybody_is_called_at_once(
    home: Called, empty: int, repeats: int
) -> None:
    home.set_policy(*[home.step("ada", seconds=3600)] * empty, repeats=repeats)
    deactivate_user(user=home.people["ada"], by=None, actor=TEST)
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    assert called(one) == [(0, 0, "ben"), (0, 0, "eve")]
    one.refresh_from_db()
    assert one.due_at - timezone.now() <= timedelta(seconds=escalations.EVERYBODY_SECONDS)


def test_a_step_of_which_no_call_can_be_sent_is_not_waited_for(home: Called) -> None:
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    assert not escalations.turn(escalation_id=one.pk)
    # when the one address of the first step is given up
    Message.objects.update(state=MessageState.GIVEN_UP)
    assert escalations.due(timezone.now()) == [one.pk]
    assert escalations.turn(escalation_id=one.pk)
    # then the next is called, and waited for
    assert called(one) == [(0, 1, "ada"), (0, 2, "ben")]
    assert escalations.due(timezone.now()) == []
    assert not escalations.turn(escalation_id=one.pk)
    # and when nobody of any step can be called, everybody is, once until it is time again
    for _ in range(5):
        Message.objects.update(state=MessageState.GIVEN_UP)
        escalations.turn(escalation_id=one.pk)
    assert called(one)[2:] == [(0, 1, "ada"), (0, 2, "ben"), (0, 0, "ada"), (0, 0, "ben"), (0, 0, "eve")]


def test_a_target_that_can_not_be_read_is_missed_and_the_others_are_called(home: Called) -> None:
    layer = {"people": [home.people["eve"].pseudonym], "begins": "2026-01-05T09:00", "hours": 168, "windows": []}
    rota = rotations.set_rotation(team="letters", name="First", zone="Europe/Berlin", layers=[layer], actor=TEST)
    step = home.step("ada")
    home.set_policy(step | {"targets": [f"rotation:{rota.pk}", *step["targets"]]}, name="With a rotation")
    Rotation.objects.update(zone="Europe/Nowhere")
    incident = home.incident()
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)
    assert called(one) == [(0, 1, "ada")]
    assert said(incident, "escalation.call")[0]["missed"] == [f"rotation:{rota.pk}"]
    with pytest.raises(IncidentError, match="between the years 2000 and 2100"):
        rotations.set_rotation(
            team="letters", name="Late", zone="America/New_York", layers=[layer | {"begins": "9999-12-31T23:00"}],
            actor=TEST,
        )  # fmt: skip


def test_incidents_for_which_nobody_is_woken_hide_none_for_which_somebody_is(
    home: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a policy for all teams that is for severity 4, and one of a team for severity 1
    policies.retire_policy(policy=home.policy, actor=TEST)
    home.set_policy(home.step("eve"), name="Mild", severities=[4])
    home.set_policy(home.step("ada"), name="Theirs", team="another", severities=[1])
    monkeypatch.setattr(escalations, "MOST", 2)
    for number in range(1, 5):
        home.incident(number=number, severity=1)
    mild = [home.incident(number=number, severity=4) for number in range(5, 10)]
    # when, then
    now = timezone.now()
    found = [pk for turn in range(3) for pk in escalations.unbegun(now + timedelta(seconds=10 * turn))]
    assert sorted(found) == [one.pk for one in mild]


def test_without_a_policy_for_it_nobody_is_woken(home: Called) -> None:
    mild = home.incident(severity=3)
    assert escalations.unbegun(timezone.now()) == []
    assert escalations.begin(incident_id=mild.pk) is None


def test_two_who_begin_it_begin_it_once(home: Called) -> None:
    incident = home.incident()
    assert escalations.unbegun(timezone.now()) == [incident.pk]
    home.begun(incident)
    assert escalations.begin(incident_id=incident.pk) is None
    assert escalations.unbegun(timezone.now()) == []


def test_a_policy_is_kept_only_where_each_step_calls_somebody(home: Called) -> None:
    with pytest.raises(IncidentError, match="Step 2 calls nobody"):
        home.set_policy(home.step("ada"), {"targets": [], "seconds": 60})
    with pytest.raises(IncidentError, match="which is nobody here"):
        home.set_policy({"targets": ["rotation:99"], "seconds": 60})
    with pytest.raises(IncidentError, match="between 10 seconds"):
        home.set_policy(home.step("ada", seconds=1))
    assert len(policies.in_use()) == 1


def test_nobody_is_woken_while_a_maintenance_of_the_endpoint_is_under_way(home: Called) -> None:
    # given work on the endpoint, announced on a status page
    endpoint = make_endpoint()
    page = status.create_page(slug="services", name="Services", description="", public=True, actor=TEST)
    part = status.add_component(page=page, name="Letters", endpoint=endpoint, actor=TEST)
    now = timezone.now()
    window = maintenance.plan(
        page=page, title="New disks", text="Slow for an hour.", components=[part], starts_at=now,
        ends_at=now + timedelta(hours=1), by=None, actor=TEST,
    )  # fmt: skip
    maintenance.wake(maintenance_id=window.pk)
    incident = home.incident(endpoint=endpoint)
    # when, then
    assert escalations.begin(incident_id=incident.pk) is None
    assert panel(incident, home.people["ada"])["said"] == "Nobody is woken while “New disks” is under way."
    # when it has ended and the incident is still open
    Maintenance.objects.update(state="completed")
    assert escalations.unbegun(now) == [incident.pk]
    assert escalations.begin(incident_id=incident.pk) is not None


def test_an_erased_person_is_called_no_more_and_their_addresses_are_gone(home: Called) -> None:
    ada = home.people["ada"]
    way = contacts.add_contact(
        kind="webhook", address="https://example.org/hook", name="Ada's pager", user=ada, actor=TEST
    )[0]
    one = home.begun(home.incident())
    erase_person(user=ada, by=None, reason="She asked for it.", actor=TEST)
    escalations.turn(escalation_id=one.pk)
    assert called(one) == [(0, 2, "ben")]
    way.receiver.refresh_from_db()
    way.refresh_from_db()
    assert (way.receiver.address, bytes(way.receiver.secret), way.name) == ("", b"", "[erased]")
