"""Runbooks: the library, what fits an incident, steps ticked off, Markdown that can do nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from audit.models import AuditEvent
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import Incident
from incidents.working import runbooks
from incidents.working.markdown import render, render_line, steps
from incidents.working.models import Runbook, RunbookUse, Step
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")
BODY = "# Stale inputs\n\n- [ ] Ask the data team.\n- [x] Look at the *feed*.\n\nThen wait."


def written(world: World, slug: str = "stale-inputs", **fields: Any) -> Runbook:
    values = {"slug": slug, "title": slug.replace("-", " ").capitalize(), "body": BODY, "actor": world.actor("kofi")}
    return runbooks.write_runbook(**(values | fields))


def test_task_lines_are_steps_and_the_text_is_read_without_their_boxes() -> None:
    assert steps(BODY) == ["Ask the data team.", "Look at the *feed*."]
    html = render(BODY)
    assert "<h2>Stale inputs</h2>" in html
    assert "<li>Ask the data team.</li>" in html
    assert "[ ]" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "![x](https://elsewhere.example/seen.png)",
        '[x](https://a.example "\\" onmouseover=alert(1)")',
        "<a href='javascript:alert(1)'>x</a>",
    ],
)
@pytest.mark.parametrize("read", [render, render_line])
def test_markdown_can_do_nothing_but_be_read(read: Callable[[str], str], text: str) -> None:
    html = read(text)
    for bad in ("<script", "<img", 'href="javascript', 'href="data', 'href="vbscript', "src="):
        assert bad not in html.replace("&lt;img src=", "").replace("&lt;script", "")
    assert " onmouseover=alert" not in html.replace("&quot; onmouseover", "")


def test_what_fits_most_closely_is_offered_first(world: World) -> None:
    model = world.endpoint.model
    general, exact = written(world, "any"), written(world, "exact", model=model, kind="accuracy")
    written(world, "other-kind", model=model, kind="latency")
    runbooks.retire_runbook(runbook=written(world, "old"), reason="", actor=world.actor("kofi"))
    assert list(runbooks.fitting(world.incident())) == [exact, general]


def test_an_edit_of_what_somebody_changed_is_refused(world: World) -> None:
    runbook = written(world)
    fields: dict[str, Any] = {"title": "x", "model": None, "kind": "", "reason": "", "actor": world.actor("kofi")}
    runbooks.edit_runbook(runbook=runbook, body="Theirs.", seen_version=1, **fields)
    with pytest.raises(Conflict):
        runbooks.edit_runbook(runbook=runbook, body="Mine.", seen_version=1, **fields)
    assert Runbook.objects.get().body == "Theirs."
    assert AuditEvent.objects.filter(action="runbook.edit").count() == 1


def test_an_edit_says_which_version_was_read_and_a_retired_runbook_is_edited_no_more(world: World) -> None:
    runbook = written(world)
    typed = {"title": "x", "kind": "", "body": "Mine.", "reason": ""}
    kofi, address = world.client("kofi"), f"/runbooks/{runbook.slug}/edit/"
    assert kofi.post(address, typed).status_code == 400
    runbooks.retire_runbook(runbook=runbook, reason="", actor=world.actor("kofi"))
    refused = kofi.post(address, typed | {"version": 1})
    assert refused.status_code == 409
    assert "This runbook was retired." in refused.content.decode()
    assert Runbook.objects.get().body != "Mine."


def taken(world: World) -> tuple[Incident, RunbookUse]:
    incident = world.incident()
    use = runbooks.take_up(
        incident=incident, runbook=written(world), user=world.users["rosa"], actor=world.actor("rosa")
    )
    return incident, use


def test_a_step_is_ticked_off_once_and_stands_on_the_timeline(world: World) -> None:
    incident, use = taken(world)
    step = use.steps.get(position=1)
    rosa: dict[str, Any] = {"user": world.users["rosa"], "actor": world.actor("rosa")}
    runbooks.tick(step=step, **rosa)
    with pytest.raises(IncidentError, match="done already"):
        runbooks.tick(step=step, **rosa)
    assert Step.objects.get(pk=step.pk).done_by == world.users["rosa"]
    html = world.client("vera").get(f"/incidents/{incident.ref}/timeline/").content.decode()
    assert "Step 1 of runbook stale-inputs done" in html
    assert "Ask the data team." in html
    runbooks.tick(step=step, done=False, **rosa)
    assert Step.objects.get(pk=step.pk).done_at is None


def test_an_incident_keeps_the_runbook_as_it_was_taken_up(world: World) -> None:
    incident, use = taken(world)
    runbooks.edit_runbook(
        runbook=use.runbook, title="x", body="Nothing of it.", model=None, kind="", reason="", seen_version=1,
        actor=world.actor("kofi"),
    )  # fmt: skip
    assert RunbookUse.objects.get().body == BODY
    with pytest.raises(IncidentError, match="taken up already"):
        runbooks.take_up(incident=incident, runbook=use.runbook, user=world.users["rosa"], actor=world.actor("rosa"))
    assert len(events(incident, "incident.take_up_runbook")) == 1


def test_a_runbook_is_not_taken_up_where_it_is_over(world: World) -> None:
    incident = world.incident()
    Incident.objects.filter(pk=incident.pk).update(state="closed")
    incident.refresh_from_db()
    with pytest.raises(GuardFailed):
        runbooks.take_up(incident=incident, runbook=written(world), user=world.users["rosa"], actor=world.actor("rosa"))
    assert not RunbookUse.objects.exists()


def test_a_runbook_goes_through_the_pages(world: World) -> None:
    kofi, rosa = world.client("kofi"), world.client("rosa")
    typed = {"slug": "feed", "title": "The feed is late", "body": BODY, "kind": "", "model": ""}
    assert rosa.post("/runbooks/new/", typed).status_code == 403
    assert kofi.post("/runbooks/new/", typed)["Location"] == "/runbooks/feed/"
    assert "The feed is late" in rosa.get("/runbooks/").content.decode()
    incident = world.incident()
    assert "Take it up" in rosa.get(f"/incidents/{incident.ref}/work/").content.decode()
    assert rosa.post(f"/incidents/{incident.ref}/runbook/", {"runbook": "feed"}).status_code == 302
    step = Step.objects.get(position=2)
    assert rosa.post(f"/incidents/{incident.ref}/tick/", {"step": step.pk}).status_code == 302
    html = rosa.get(f"/incidents/{incident.ref}/work/").content.decode()
    assert "Rosa Example" in html
    assert "2. Look at the <em>feed</em>." in html
    assert kofi.post("/runbooks/feed/edit/", typed | {"version": 9}).status_code == 409
    assert kofi.post("/runbooks/feed/retire/").status_code == 302
    assert Runbook.objects.get().retired_at is not None


def test_a_step_of_another_incident_is_not_ticked_from_here(world: World) -> None:
    _, use = taken(world)
    other = world.incident(endpoint=None, rule=None, version="")
    answer = world.client("rosa").post(f"/incidents/{other.ref}/tick/", {"step": use.steps.first().pk})
    assert answer.status_code == 409
    assert not Step.objects.exclude(done_at=None).exists()


def test_runbooks_over_the_api(world: World) -> None:
    kofi, rosa = world.client("kofi"), world.client("rosa")
    sent: dict[str, Any] = {"content_type": "application/json"}
    body = {"slug": "feed", "title": "Feed", "body": BODY, "model": "employment"}
    assert kofi.post("/api/v1/runbooks/", body, **sent).status_code == 201
    stale = kofi.patch("/api/v1/runbooks/feed/", {"title": "x", "body": "y", "version": 7}, **sent)
    assert stale.status_code == 412
    base = f"/api/v1/incidents/{world.incident().ref}"
    use = rosa.post(f"{base}/runbooks/", {"runbook": "feed"}, **sent).json()
    ticked = rosa.post(f"{base}/steps/{use['steps'][0]['id']}/", {}, **sent).json()
    assert (ticked["position"], ticked["done_by"]) == (1, "rosa")
    assert rosa.post(f"{base}/steps/999999/", {}, **sent).status_code == 404
