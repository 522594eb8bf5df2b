"""Whatever the clocks of our programs say, leases and deadlines go by the database's."""

import datetime
import json
import re
import time
import uuid

import httpx
import pytest
from django.contrib.sessions.models import Session

from accounts.approvals.models import ApprovalDecision, ApprovalRequest
from accounts.models import User
from accounts.sessions import SessionStore
from audit.clock import database_now
from incidents.rollback.models import HostStep, Plan, Run, RunState
from monitoring.sources import create_source
from monitoring.webhooks import sign
from tests.faults.points import Point
from tests.faults.town import Town, caller
from tests.incidents.rollback.fleet import PASSWORD, SETUP

pytestmark = pytest.mark.faults


def test_f31_clocks_that_are_ten_minutes_off_change_nothing_and_are_told_of(town: Town) -> None:
    """The first worker, whose clock is ten minutes slow, dies with the lease; the next one's is ten minutes fast."""
    endpoint = town.endpoint()
    run = town.run(endpoint)
    town.clock(CLOCK_OFFSET="-600")
    dying = town.worker("slow", point=Point("step:golden_ok>switched", "before_commit"), CLOCK_OFFSET="-600")
    assert dying.wait(120) == -9
    town.worker("fast", CLOCK_OFFSET="600")

    town.wait_for([run])

    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED
    marks = [mark for step in HostStep.objects.filter(run=run) for mark in step.marks.values()]
    moments = [datetime.datetime.fromisoformat(mark) for mark in marks]
    assert max(moments) - min(moments) < datetime.timedelta(minutes=5)
    assert abs(database_now() - max(moments)) < datetime.timedelta(minutes=5)
    assert "clock.offset this machine's clock is -6" in town.said("clock")
    assert town.judge().wrong() == []


MINUTE = datetime.timedelta(minutes=1)


class Person:
    """A browser of somebody's, signed in at one web process; the session holds at all of them."""

    def __init__(self, url: str, user: User) -> None:
        self.web = httpx.Client(timeout=60)
        self.web.get(f"{url}/accounts/login/")
        answer = self.post(f"{url}/accounts/login/", login=user.username, password=PASSWORD)
        assert answer.headers["Location"] == "/"

    def post(self, address: str, **form: str) -> httpx.Response:
        return self.web.post(address, data=form | {"csrfmiddlewaretoken": self.web.cookies["csrftoken"]})

    def approve(self, url: str, plan: Plan) -> httpx.Response:
        address = f"{url}/approvals/{plan.request_id}/"
        shown = dict(re.findall(r'name="(subject_hash|evidence)" value="([0-9a-f]{64})"', self.web.get(address).text))
        return self.post(address, decision="approve", subject_hash=plan.plan_hash, evidence=shown["evidence"])

    @property
    def session(self) -> SessionStore:
        return SessionStore(self.web.cookies["sessionid"])

    def age(self, seconds: int) -> None:
        """Let so much time have gone by since the last proof."""
        session = self.session
        for entry in session["account_authentication_methods"]:
            entry["proved_at"] -= seconds
        session.save()


def asks_for_the_password(answer: httpx.Response) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith("/accounts/reauthenticate/")


def test_f31_two_web_processes_twenty_minutes_apart_judge_alike(town: Town) -> None:
    """Proofs of identity, sessions, expiry, freezes, signed messages: what one web process wrote, the other judges."""
    # A clock and a worker would void the plan, as they should, in the moment for which its approval has run out.
    town.end_programs()
    endpoint = town.endpoint(environment="production")
    plan = endpoint.awaiting(endpoint.good, start_on_approval=False)
    slow, fast = town.web("slow-web", CLOCK_OFFSET="-600"), town.web("fast-web", CLOCK_OFFSET="600")
    amir, carla = Person(slow, endpoint.approver), Person(fast, endpoint.commander)
    decisions = ApprovalDecision.objects.filter(request=plan.request_id)

    # A proof of just now counts at the other process; one of six minutes ago counts nowhere.
    amir.age(360)
    carla.age(360)
    for person in (amir, carla):
        assert all(asks_for_the_password(person.approve(url, plan)) for url in (slow, fast))
    assert not decisions.exists()
    amir.age(-360)
    carla.age(-360)
    assert amir.approve(fast, plan).headers["Location"] == f"/approvals/{plan.request_id}/"
    assert carla.approve(slow, plan).headers["Location"] == f"/approvals/{plan.request_id}/"
    assert sorted(decisions.values_list("by__username", flat=True)) == ["amir", "carla"]
    assert all(abs(row.auth_time - row.decided_at) < 2 * MINUTE for row in decisions)

    # A session ends at the same moment everywhere, as long after the sign-in as is set.
    rows = Session.objects.filter(session_key__in=[amir.web.cookies["sessionid"], carla.web.cookies["sessionid"]])
    assert all(abs(row.expire_date - database_now() - datetime.timedelta(hours=12)) < 2 * MINUTE for row in rows)
    rows.update(expire_date=database_now() + 5 * MINUTE)
    assert {amir.web.get(f"{url}/approvals/").status_code for url in (slow, fast)} == {200}
    Session.objects.filter(session_key=amir.web.cookies["sessionid"]).update(expire_date=database_now())
    assert {amir.web.get(f"{url}/approvals/").status_code for url in (slow, fast)} == {302}

    # An approval runs out by the database's clock: five minutes are left, and then none.
    asked = ApprovalRequest.objects.filter(pk=plan.request_id)
    asked.update(expires_at=database_now())
    for url in (slow, fast):
        answer = caller(url, endpoint.commander, "view", "plan.start")(f"plans/{plan.pk}/start/")
        assert (answer.status_code, Run.objects.filter(plan=plan).exists()) == (409, False)
    asked.update(expires_at=database_now() + 5 * MINUTE)
    answer = caller(fast, endpoint.commander, "view", "plan.start")(f"plans/{plan.pk}/start/")
    assert answer.status_code == 201, answer.text
    town.clock(CLOCK_OFFSET="600")
    town.worker("slow", CLOCK_OFFSET="-600")
    run = Run.objects.get(plan=plan)
    town.wait_for([run])
    run.refresh_from_db()
    assert run.state == RunState.SWITCHED
    assert abs(run.started_at - database_now()) < 5 * MINUTE

    # A freeze of an hour is one of an hour, wherever it was asked for.
    for url in (slow, fast):
        carla.post(f"{url}/endpoints/{endpoint.endpoint.slug}/freeze/", hours="1", in_hours="0", reason="Audit week.")
        until = endpoint.endpoint.freezes.latest("pk").until
        assert abs(until - database_now() - datetime.timedelta(hours=1)) < 2 * MINUTE

    # A message that was signed just now is taken by both, and one of six minutes ago by none.
    name, body = f"sender-{uuid.uuid4().hex[:8]}", json.dumps({"alerts": []}).encode()
    _, secret = create_source(name=name, actor=SETUP)
    for url in (slow, fast):
        taken = []
        for age in (0, 360):
            stamp, message = int(time.time()) - age, uuid.uuid4().hex
            headers = {"webhook-id": message, "webhook-timestamp": str(stamp), "content-type": "application/json"}
            headers["webhook-signature"] = sign(secret, message, stamp, body)
            taken.append(httpx.post(f"{url}/api/v1/ingest/alertmanager/{name}/", content=body, headers=headers))
        assert [answer.status_code for answer in taken] == [202, 401]
    assert town.judge().wrong() == []
