"""A commander's whole decision without a mouse: triage, the plan, and the approval of another person."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as product
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.approvals.actions import open_request
from accounts.approvals.queries import policy_for
from accounts.models import ApprovalDecision
from incidents.models import Incident
from incidents.rollback.models import CheckAnswer, Plan, PlanState, Preflight
from registry.models import Host, Version
from tests.host.artifacts import make_model
from tests.incidents import world as worlds
from tests.incidents.world import World
from tests.pages.test_query_counts import serves

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]
PASSWORD = "correct horse battery staple"
FOCUS = "const at = document.activeElement; return (at.labels?.[0] ?? at).textContent.trim().replace(/\\s+/g, ' ')"


@pytest.fixture
def town(settings: Any, tmp_path: Path) -> tuple[World, Incident]:
    """Version 2 answers worse on three hosts, and version 1 is ranked as the target."""
    settings.LASTGOOD_VAR = tmp_path
    world = worlds.build()
    for number in (1, 2):
        manifest, _ = make_model(tmp_path / f"made-{number}", number, model="employment")
        Version.objects.filter(number=number).update(manifest=manifest, signature=json.loads(manifest)["signature"])
    for host in Host.objects.all():
        serves(world, host)
    incident = world.incident()
    world.candidate(incident)
    return world, incident


def window(chromium: Browser, server: LiveServer, world: World, who: str) -> Page:
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, base_url=server.url, reduced_motion="reduce"
    )
    cookie = world.client(who).cookies["sessionid"].value
    context.add_cookies([{"name": product.SESSION_COOKIE_NAME, "value": cookie, "url": server.url}])
    return context.new_page()


def go_to(page: Page, name: str) -> None:
    """Tab until what bears that name, or begins with it, has the focus, and see that the focus can be seen."""
    passed = []
    for _ in range(150):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(f"(() => {{ {FOCUS} }})()")[:60])
        if passed[-1].startswith(name[:60]):
            ring = page.evaluate(
                "(() => { const s = getComputedStyle(document.activeElement);"
                " return s.outlineStyle !== 'none' || s.boxShadow !== 'none' })()"
            )
            assert ring, f"The focus on {name} can't be seen."
            return
    raise AssertionError(f"No way by Tab to {name}; there were {passed}.")


def press(page: Page, name: str) -> None:
    go_to(page, name)
    page.keyboard.press("Enter")


def asked_for(plan: Plan, world: World) -> None:
    """What the worker does with a plan that was proposed: its preflight passes, and its approvers are asked."""
    for host in Host.objects.all():
        Preflight.objects.create(plan=plan, host=host, name="reachable", question="?", answer=CheckAnswer.PASS)
    model = world.endpoint.model
    policy = policy_for(subject_kind="rollback", risk_tier=model.risk_tier, environment=world.endpoint.environment)
    request = open_request(
        policy=policy, subject_kind="rollback", subject_ref=str(plan.pk), subject_hash=plan.plan_hash,
        title="Roll back to version 1", incident_ref=plan.incident_ref, proposer=plan.proposer,
        actor=world.actor("rosa"),
    )  # fmt: skip
    Plan.objects.filter(pk=plan.pk).update(request=request, state=PlanState.AWAITING)


def test_an_incident_is_triaged_planned_and_approved_without_a_mouse(
    chromium: Browser, live_server: LiveServer, town: tuple[World, Incident]
) -> None:
    world, incident = town

    # a responder takes the incident, says how bad it is, and proposes the version that is ranked first
    rosa = window(chromium, live_server, world, "rosa")
    rosa.goto(f"/incidents/{incident.ref}/")
    rosa.wait_for_load_state("networkidle")
    press(rosa, "I have it")
    expect(rosa.locator("#next-step")).to_contain_text("Say how bad it is")
    go_to(rosa, "How many are affected")
    rosa.keyboard.press("ArrowDown")
    go_to(rosa, "What happens while we wait")
    rosa.keyboard.press("ArrowDown")
    go_to(rosa, "What do you think it is")
    rosa.keyboard.type("It began with version 2.")
    press(rosa, "Triage")
    expect(rosa.locator("#next-step")).to_contain_text("version 1 is ranked first")
    incident.refresh_from_db()
    assert (incident.state, incident.assessment) == ("triaged", "It began with version 2.")
    press(rosa, "Propose a rollback to version 1")
    rosa.keyboard.press("Tab")
    rosa.keyboard.type("Version 1 did better.")
    press(rosa, "Propose the rollback to version 1")
    expect(rosa.get_by_text("The plan is written down")).to_be_visible()
    plan = Plan.objects.get(incident_ref=incident.ref)
    assert (plan.proposer, plan.to_version) == (world.users["rosa"], world.good)
    rosa.context.close()

    # its approver comes to it from the first page, proves who they are, and approves
    asked_for(plan, world)
    plan.refresh_from_db()
    kofi = window(chromium, live_server, world, "kofi")
    kofi.goto("/")
    kofi.wait_for_load_state("networkidle")
    press(kofi, "Your approval")
    expect(kofi).to_have_url(f"{live_server.url}/approvals/{plan.request_id}/")
    press(kofi, "Approve…")
    press(kofi, "Approve")
    expect(kofi.get_by_label("Password")).to_be_visible()
    kofi.wait_for_load_state("networkidle")
    if not kofi.evaluate("document.activeElement.type === 'password'"):
        go_to(kofi, "Password")
    kofi.keyboard.type(PASSWORD)
    kofi.keyboard.press("Enter")
    expect(kofi.get_by_text("You approved it.").first).to_be_visible()
    kofi.context.close()
    assert list(ApprovalDecision.objects.values_list("by__username", "decision")) == [("kofi", "approve")]
