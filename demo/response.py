"""What the demo's people do around an incident, on the product's own pages: called, working, telling, learning."""

from datetime import UTC, datetime, timedelta

from demo.browser import Page, PageError, Person
from demo.mailbox import Letter
from demo.registration import MODEL, STATUS_PAGE, TEAM

READER = "reader@example.org"
RUNBOOK = "worse-after-release"
STEPS = (
    "Look at which version answers, and since when.",
    "Compare the versions on the incident's own people.",
    "Ask the owners of the extract what changed.",
)
TASK = "Ask the owners of the extract which codes changed."


def _done(page: Page, said: str) -> Page:
    if said not in page.text:
        raise PageError(f"{page.url} does not say {said!r}. It says: {page.text[:800]}")
    return page


def set_up_on_call(admin: Person, responder: str, name: str) -> None:
    """A rotation in which it is the responder's turn, and a policy: who is on call, then everybody."""
    page = admin.read("/on-call/rotations/new/")
    page = admin.send(page.form("/on-call/rotations/new/"), team=TEAM, name="primary", zone="Europe/Berlin")
    begins = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M}"
    page = admin.send(page.form("/layers/"), people=responder, begins=begins, hours="168")
    _done(page, f"{name} is on call now")
    rotation = page.url.rstrip("/").rpartition("/")[2]
    page = admin.read("/on-call/policies/new/")
    steps = {"step1-targets": [f"rotation:{rotation}"], "step1-minutes": "0.5"}
    steps |= {"step2-targets": ["everybody"], "step2-minutes": "5"}
    form = page.form("/on-call/policies/new/")
    admin.send(form, name="Whoever is on call, then everybody", team=TEAM, severities=["1", "2", "3"], **steps)


def write_runbook(commander: Person) -> None:
    page = commander.read("/runbooks/new/")
    body = "Where a version does worse than the one before it.\n\n" + "".join(f"- [ ] {step}\n" for step in STEPS)
    form = page.form("/runbooks/new/")
    page = commander.send(form, slug=RUNBOOK, title="Worse after a release", model=MODEL, kind="", body=body)
    _done(page, "is in the library")


def plan_maintenance(admin: Person) -> None:
    """Announced for tomorrow: one that is under way would keep its alerts from waking anybody."""
    page = admin.read(f"/status/{STATUS_PAGE}/maintenance/")
    day = datetime.now(UTC) + timedelta(days=1)
    form = page.form(f"/status/{STATUS_PAGE}/maintenance/")
    component = page.choices("components")[0]
    page = admin.send(
        form,
        title="New network cards",
        text="The hosts are taken out of service one after the other; letters go out all the time.",
        starts_at=f"{day:%Y-%m-%dT22:00}",
        ends_at=f"{day:%Y-%m-%dT23:00}",
        components=[component],
    )
    _done(page, "are told of New network cards")


def subscribe(reader: Person) -> None:
    page = reader.read(f"/status/{STATUS_PAGE}/subscribe/")
    reader.send(page.form("/subscribe/"), address=READER)


def confirm(reader: Person, letter: Letter) -> None:
    page = reader.read(letter.link("/confirm/"))
    reader.send(page.form("/confirm/"))


def answer_call(person: Person, letter: Letter) -> None:
    """Follow the link of the letter that woke them, and say that they have it."""
    page = person.read(letter.link("/on-call/answer/"))
    _done(person.send(page.form("/take/")), "You have it.")


def call_roll(commander: Person, ref: str) -> None:
    page = commander.read(f"/incidents/{ref}/")
    commander.send(page.form(f"/incidents/{ref}/roll-call/"))


def say_seen(person: Person, ref: str) -> None:
    page = person.read(f"/incidents/{ref}/")
    _done(person.send(page.form(f"/incidents/{ref}/seen/")), "It is on record that you have seen")


def work(person: Person, ref: str) -> None:
    """Take up the runbook and tick its steps off; write a task down and have it done."""
    address = f"/incidents/{ref}/work/"
    page = person.read(address)
    person.send(page.form(f"/incidents/{ref}/runbook/", runbook=RUNBOOK))
    for _ in STEPS:
        page = person.read(address)
        person.send(page.form(f"/incidents/{ref}/tick/"))
    page = person.read(address)
    person.send(page.form(f"/incidents/{ref}/task/"), text=TASK)
    page = person.read(address)
    person.send(page.form(f"/incidents/{ref}/task-done/"), reason="They renumbered the codes of one question.")


def name_causes(person: Person, ref: str) -> None:
    page = person.read(f"/reviews/{ref}/")
    person.send(
        page.form(f"/reviews/{ref}/causes/"),
        is_bad_release="on",
        note_bad_release="Version 1 does better on the same people.",
        is_training_serving_skew="on",
        note_training_serving_skew="The extract that version 2 was trained on is not what the service is asked with.",
    )


def ask_to_sign(person: Person, ref: str, name: str, kind: str) -> None:
    """Ask somebody to sign the review off (`sign_off`), or to accept how the service answers now (`acceptance`)."""
    page = person.read(f"/reviews/{ref}/")
    chosen = page.choice("user", name)
    person.send(page.form(f"/reviews/{ref}/ask/"), kind=kind, user=chosen)


def sign(person: Person, ref: str, words: str) -> None:
    page = person.read(f"/reviews/{ref}/")
    _done(person.send(page.form(f"/reviews/{ref}/signatures/"), accepted="yes", words=words), "is on record")


def read_analytics(person: Person) -> str:
    """What the page of figures says first."""
    page = person.read("/incidents/analytics/")
    _done(page, "incident")
    return next(part for part in page.parts if "in this span" in part)
