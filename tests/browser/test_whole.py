"""From an open incident to a verified rollback in real browsers, and every main page as its readers find it.

The tests share one running product and build on each other: they run in the order in which they stand here.
"""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Response, expect

from accounts.models import ApprovalDecision
from audit.models import AuditEvent
from audit.queries import status
from demo.artifacts import MODEL
from demo.registration import COMPONENT, STATUS_PAGE
from demo.scenario import run_verifier
from demo.stage import ENDPOINT
from incidents.models import Review, StatusPage, StatusPost
from incidents.rollback.models import Plan, Run, Watch
from monitoring.models import Window
from registry.models import Version
from tests.browser.conftest import People
from tests.browser.product import Product
from tests.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SLOW_MS = 90_000
ON_VIOLATION = "addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective, e.blockedURI))"
REASON = "Version 1 did better on the incident's own traffic."


def approvals_of(plan: Plan) -> list[str]:
    given = ApprovalDecision.objects.filter(request_id=plan.request_id, decision="approve")
    return sorted(given.values_list("by__username", flat=True))


def approve(page: Page, plan: Plan) -> None:
    """Read the plan, open the question, answer it."""
    page.goto(f"/approvals/{plan.request_id}/")
    page.locator("#approve > summary").click()
    expect(page.locator("#approve-question")).to_be_visible()
    page.locator("#approve").get_by_role("button", name="Approve").click()
    expect(page.get_by_text("You approved it.").first).to_be_visible()


def test_a_responder_takes_the_incident_and_proposes_the_version_that_was_ranked_first(
    product: Product, people: People
) -> None:
    rosa = people.window("rosa")
    rosa.goto("/")
    rosa.get_by_role("link", name=product.incident.ref).first.click()
    rosa.get_by_role("button", name="I have it").click()
    expect(rosa.locator("#next-step")).to_contain_text("Say how bad it is")

    rosa.locator("#triage select[name=impact]").select_option("1")
    rosa.locator("#triage select[name=urgency]").select_option("1")
    rosa.locator("#triage textarea[name=assessment]").fill("It began with version 2.")
    rosa.locator("#triage").get_by_role("button", name="Triage").click()
    expect(rosa.locator("#next-step")).to_contain_text("version 1 is ranked first", timeout=SLOW_MS)

    candidate = rosa.locator("#candidates .confirm").first
    candidate.locator("summary").click()
    candidate.locator("textarea").fill(REASON)
    candidate.get_by_role("button", name="Propose the rollback to version 1").click()
    expect(rosa.locator("#next-step")).to_contain_text("waits for 2 more approvals of 2", timeout=SLOW_MS)

    plan = Plan.objects.get(incident_ref=product.incident.ref)
    assert (plan.to_version, plan.from_version, plan.proposer.username) == (product.good, product.bad, "rosa")


def test_enter_approves_nothing_and_the_proposer_is_told_who_may(product: Product, people: People) -> None:
    plan = Plan.objects.get(incident_ref=product.incident.ref)
    kofi = people.window("kofi")
    kofi.goto(f"/approvals/{plan.request_id}/")
    kofi.keyboard.press("Enter")
    kofi.locator("#approve > summary").focus()
    kofi.keyboard.press("Enter")
    expect(kofi.locator("#approve-question")).to_be_visible()
    kofi.locator("#approve-question").click()
    kofi.keyboard.press("Enter")
    kofi.reload()
    expect(kofi.get_by_text("You approved it.")).to_have_count(0)

    rosa = people.window("rosa")
    rosa.goto(f"/approvals/{plan.request_id}/")
    expect(rosa.locator(".page-head-action")).to_contain_text("You proposed this, so you can't approve it.")
    expect(rosa.locator("#approve")).to_have_count(0)
    assert approvals_of(plan) == []
    assert not Run.objects.filter(plan=plan).exists()


def test_two_people_approve_and_everybody_sees_three_hosts_switch_and_be_verified(
    product: Product, people: People
) -> None:
    ref = product.incident.ref
    plan = Plan.objects.get(incident_ref=ref)
    watching = people.window("vera")
    watching.goto(f"/incidents/{ref}/")
    expect(watching.locator(".lane")).to_have_count(0)

    approve(people.window("kofi"), plan)
    expect(watching.locator("#next-step")).to_contain_text("one more approval of 2")
    assert not Run.objects.filter(plan=plan).exists()
    approve(people.window("ana", width=390), plan)

    expect(watching.locator(".lane")).to_have_count(3, timeout=SLOW_MS)
    expect(watching.locator(".lane .lane-now .chip[data-tone=ok]")).to_have_count(3, timeout=SLOW_MS)
    expect(watching.locator(".lane .lane-end.serving", has_text="v1")).to_have_count(3, timeout=SLOW_MS)
    expect(watching.locator("#next-step")).to_contain_text("The rollback is verified", timeout=SLOW_MS)
    assert approvals_of(plan) == ["ana", "kofi"]
    run = Run.objects.get(plan=plan)
    assert sorted(run.steps.values_list("host__name", "state")) == [
        ("gpu-a", "done"), ("gpu-b", "done"), ("gpu-c", "done"),
    ]  # fmt: skip
    assert Watch.objects.get(run=run).state == "passed"
    assert set(run.checks.values_list("answer", flat=True)) == {"pass"}


def test_no_request_was_lost_and_the_bad_version_answers_no_more(product: Product) -> None:
    before = product.traffic.answered_by["2"]
    until(lambda: product.traffic.answered_by["1"] > 600, seconds=60)

    assert product.traffic.failures == []
    assert product.traffic.answered_by["2"] == before
    assert Version.objects.get(pk=product.bad.pk).quarantined_at is None, "its undo window is open for ten minutes"


def test_the_commander_resolves_it_and_the_readers_of_the_status_page_are_told(
    product: Product, people: People
) -> None:
    ref = product.incident.ref
    kofi = people.window("kofi")
    kofi.goto(f"/incidents/{ref}/")
    kofi.locator("#resolve textarea[name=reason]").fill("Accuracy is back to what version 1 had.")
    kofi.get_by_role("button", name=f"Resolve {ref}").click()
    expect(kofi.locator("#next-step")).to_contain_text("It is over. Write down what was learned.")

    reader = people.window()
    until(lambda: StatusPost.objects.filter(incident__ref=ref, status="resolved").exists(), seconds=60)
    until(lambda: StatusPage.objects.filter(slug=STATUS_PAGE, publish_due_at=None).exists(), seconds=60)
    reader.goto(f"/status/{STATUS_PAGE}/")
    expect(reader.locator(".banner")).to_have_attribute("data-tone", "ok")
    expect(reader.get_by_role("heading", name=COMPONENT, exact=True)).to_be_visible()
    assert ref not in reader.content()


def pages_of(product: Product) -> dict[str, list[str]]:
    """Every main page as somebody reads it whose work it is; "" is a reader who is not signed in."""
    ref, plan = product.incident.ref, Plan.objects.get(incident_ref=product.incident.ref)
    event = AuditEvent.objects.filter(action="approval.consume").get()
    window = Window.objects.filter(findings__answer="breach").first()
    assert window is not None
    until(lambda: Review.objects.filter(incident__ref=ref).exclude(summary="").exists(), seconds=60)
    return {
        "kofi": [
            "/", "/incidents/", f"/incidents/{ref}/", f"/incidents/{ref}/timeline/", f"/incidents/{ref}/update/",
            "/approvals/", f"/approvals/{plan.request_id}/", f"/rollback/plans/{plan.pk}/",
            "/endpoints/", f"/endpoints/{ENDPOINT}/", f"/monitoring/endpoints/{ENDPOINT}/charts/",
            f"/monitoring/endpoints/{ENDPOINT}/windows/", f"/monitoring/windows/{window.pk}/",
            "/models/", f"/models/{MODEL}/", f"/models/{MODEL}/2/",
            f"/reviews/{ref}/", "/status/", "/account/tokens/", "/nothing-here/",
        ],
        "idris": [
            "/audit/", f"/audit/events/{event.event_uuid}/", "/audit/checkpoint/", "/audit/changes/",
            "/audit/approvers/", "/audit/versions/", "/audit/duties/", "/audit/clocks/", f"/incidents/{ref}/duties/",
            "/monitoring/deliveries/",
        ],
        "": ["/accounts/login/", f"/status/{STATUS_PAGE}/"],
    }  # fmt: skip


def settled(page: Page, address: str) -> Response:
    """Open the page and wait for everything that it draws later, such as charts."""
    answer = page.goto(address)
    assert answer is not None
    expect(page.locator("main, .page-public, body").first).to_be_visible()
    expect(page.get_by_text("drawing…")).to_have_count(0)
    return answer


def listen_to(page: Page, said: list[str]) -> None:
    """Note what the policy blocks and what scripts complain of; that an address is not there is no complaint."""
    page.add_init_script(ON_VIOLATION)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "404 (Not Found)" not in message.text:
            said.append(f"{page.url}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))


def hurdles(page: Page, address: str) -> list[str]:
    """What axe finds moderate or worse on the page that is open, and whether it scrolls sideways."""
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    found = [
        f"{address} {one['id']}: {node['html'][:300]}"
        for one in violations
        for node in one["nodes"]
        if one["impact"] != "minor"
    ]
    if page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
        found.append(f"{address} scrolls sideways")
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_can_be_read_by_everyone_and_no_script_breaks_the_policy(
    product: Product, people: People, width: int, scheme: str
) -> None:
    found: list[str] = []
    for username, addresses in pages_of(product).items():
        page = people.window(username, width=width, scheme=scheme)
        said: list[str] = []
        listen_to(page, said)
        for address in addresses:
            policy = settled(page, address).headers["content-security-policy"]
            if "script-src 'self'" not in policy or "unsafe" in policy:
                found.append(f"{address} has the policy {policy}")
            found += said  # before axe, whose own script is not the page's
            found += hurdles(page, address)
            said.clear()

    assert not found, "\n".join(found)


def test_no_web_process_has_loaded_torch_after_all_these_pages(product: Product) -> None:
    programs: dict[str, list[psutil.Process]] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended since it was listed
            env = process.environ()
            programs.setdefault(env.get("LASTGOOD_PROGRAM") or env.get("LASTGOOD_HOST_NAME", ""), []).append(process)

    assert has_torch(programs["gpu-a"][-1])
    assert len(programs["web"]) >= 3
    assert not any(has_torch(process) for process in programs["web"])


def has_torch(process: psutil.Process) -> bool:
    return any("libtorch" in region.path for region in process.memory_maps())


def test_the_auditor_exports_a_bundle_that_verifies_in_a_bare_python(
    product: Product, people: People, tmp_path: Path
) -> None:
    until(lambda: status().lag_events == 0, seconds=60)
    idris = people.window("idris")
    idris.goto("/audit/")
    for _ in range(2):  # the form stays usable after its first file
        with idris.expect_download() as download:
            idris.get_by_role("button", name="Export").click()
    bundle = tmp_path / "bundle.zip"
    download.value.save_as(bundle)

    done = run_verifier(bundle, status().vkey)

    assert done.stdout.splitlines()[-1] == "Whole: every check passed."
    assert "Runs: 1, each with the approvals its policy demanded" in done.stdout


def test_who_may_not_see_the_log_is_told_whom_to_ask(product: Product, people: People) -> None:
    vera = people.window("vera")
    answer = vera.goto("/audit/")

    assert answer is not None
    assert answer.status == 403
    expect(vera.locator("main")).to_contain_text("You may not read the log. Ask an auditor")
