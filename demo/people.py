"""What the demo's people do, on the same pages and forms that a person uses."""

from typing import Any

from demo.browser import Page, PageError, Person

SAYS = {"own": "You proposed this, so", "approved": "You approved it"}


def triage(person: Person, ref: str) -> None:
    page = person.read(f"/incidents/{ref}/")
    assessment = "It began when version 2 was released; version 1 does better on the same people."
    person.send(page.form(f"/incidents/{ref}/triage/"), impact="1", urgency="1", assessment=assessment)


def propose(person: Person, ref: str, version: int) -> None:
    """Propose the target that the product ranked first."""
    page = person.read(f"/incidents/{ref}/")
    form = page.form(f"/incidents/{ref}/propose/", to_version=str(version))
    person.send(form, reason=f"Version {version} did better on the incident's own traffic.")


def open_decision(person: Person, request_id: Any, decision: str) -> Page:
    """Read the plan and send the decision on what was read."""
    page = person.read(f"/approvals/{request_id}/")
    return person.send(page.form("/approvals/", decision=decision))


def approve(person: Person, request_id: Any) -> None:
    page = open_decision(person, request_id, "approve")
    if SAYS["approved"] not in page.text:
        raise PageError(f"{person.username} could not approve. The page says: {page.text[:800]}")


def try_own_approval(person: Person, request_id: Any) -> bool:
    """The proposer sends the approval form all the same, as somebody would who edits the page. True when refused."""
    page = person.read(f"/approvals/{request_id}/")
    form = next((form for form in page.forms if "subject_hash" in form.fields), None)
    if form is None:
        return SAYS["own"].lower() in page.text.lower()
    answer = person.send(form, decision="approve")
    return SAYS["own"] in answer.text


def resolve(person: Person, ref: str) -> None:
    page = person.read(f"/incidents/{ref}/")
    person.send(page.form(f"/incidents/{ref}/resolve/"), reason="Accuracy is back to what version 1 had.")


def review(person: Person, ref: str) -> None:
    """Fill in what the log can't know; `publish` is a step of its own."""
    page = person.read(f"/reviews/{ref}/")
    page = person.send(
        page.form(f"/reviews/{ref}/edit/"),
        went_well="Monitoring saw it within seconds; the rollback dropped no request.",
        went_badly="The release gates were off, and offline validation shares the extract's mistake.",
    )
    page = person.read(f"/reviews/{ref}/")
    person.send(page.form(f"/reviews/{ref}/action-items/"), text="Validate new extracts against live inputs.")


def publish(person: Person, ref: str) -> None:
    page = person.read(f"/reviews/{ref}/")
    person.send(page.form(f"/reviews/{ref}/publish/"))


def export_log(person: Person) -> bytes:
    """The whole log, as the auditor takes it away."""
    page = person.read("/audit/")
    return person.download(page.form("/audit/export"))
