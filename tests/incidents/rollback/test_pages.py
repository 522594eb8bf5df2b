"""The plan's page, the live lanes and the people's buttons."""

from typing import Any

from django.test import Client
from django.urls import reverse

from incidents.rollback import advance
from incidents.rollback.models import Plan, Run, RunState
from tests.incidents.rollback.fleet import Fleet


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_a_plan_page_says_what_changes_and_what_was_checked(fleet: Fleet) -> None:
    plan = fleet.awaiting()

    page = signed_in(fleet.viewer).get(reverse("plan-detail", args=[plan.pk]))

    text = page.content.decode()
    assert page.status_code == 200
    assert "from version 2 to version 1" in text
    assert plan.plan_hash[:12] in text
    assert "Does version 1 on h1 give the golden outputs?" in text
    assert reverse("approval-detail", args=[plan.request_id]) in text
    assert "Give this plan up" not in text


def test_the_approvers_page_shows_the_plan(fleet: Fleet) -> None:
    plan = fleet.awaiting()

    page = signed_in(fleet.approver).get(reverse("approval-detail", args=[plan.request_id]))

    text = page.content.decode()
    assert page.status_code == 200
    assert "will answer with version 1 instead of version 2" in text
    assert "h3" in text


def test_the_lanes_answer_304_until_the_run_moves(fleet: Fleet) -> None:
    run = fleet.started()
    client = signed_in(fleet.commander)
    address = reverse("run-lanes", args=[run.pk])

    first = client.get(address)
    unchanged = client.get(address, headers={"If-None-Match": first["ETag"]})
    advance.advance(run.pk)
    moved = client.get(address, headers={"If-None-Match": first["ETag"]})

    assert (first.status_code, unchanged.status_code, moved.status_code) == (200, 304, 200)
    assert "0 of 3 hosts switched" in first.content.decode()
    assert "3 of 3 hosts switched" in moved.content.decode()
    assert moved.content.decode().count('data-step="done"') >= 24


def test_the_lanes_take_the_same_number_of_queries_however_many_checks(
    fleet: Fleet, django_assert_max_num_queries: Any
) -> None:
    run = fleet.finished()
    client = signed_in(fleet.commander)

    with django_assert_max_num_queries(12):
        client.get(reverse("run-lanes", args=[run.pk]))


def test_one_proposes_by_the_form(fleet: Fleet) -> None:
    client = signed_in(fleet.responder)
    wish = {
        "kind": "rollback",
        "endpoint": fleet.endpoint.slug,
        "to_version": fleet.good.pk,
        "incident_ref": "",
        "reason": "Wrong about too many.",
    }

    assert client.get(reverse("plan-propose")).status_code == 200
    answer = client.post(reverse("plan-propose"), wish)

    plan = Plan.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("plan-detail", args=[plan.pk]))
    assert (plan.proposer, plan.to_version, plan.from_version) == (fleet.responder, fleet.good, fleet.bad)


def test_a_person_stops_a_run_by_the_form_and_another_may_not(fleet: Fleet) -> None:
    run = fleet.started()
    address = reverse("run-act", args=[run.pk, "stop"])

    refused = signed_in(fleet.viewer).post(address, {"reason": "No."})
    run.refresh_from_db()
    assert (refused.status_code, run.state) == (403, RunState.RUNNING)

    without_reason = signed_in(fleet.commander).post(address, {})
    run.refresh_from_db()
    assert (without_reason.status_code, run.state) == (302, RunState.RUNNING)

    signed_in(fleet.commander).post(address, {"reason": "Wrong incident."})
    assert Run.objects.get(pk=run.pk).state == RunState.STOPPED


def test_strangers_are_sent_to_sign_in(fleet: Fleet) -> None:
    plan = fleet.propose()

    assert Client().get(reverse("plan-detail", args=[plan.pk])).status_code == 302
