"""What an approver sees of a plan: registered with the approvals, which stand on a lower floor and know no plans."""

from django.urls import reverse

from accounts.approvals.models import ApprovalRequest
from accounts.approvals.subjects import Subject, register
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import ACTIVE_RUN_STATES, Plan, PlanKind, Run
from incidents.rollback.queries import candidate_of, check_rows, plan_rows, plan_terms, plans

KINDS = (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL)


def plan_subject(request: ApprovalRequest) -> Subject:
    """The plan of the request: what changes, host by host, on what evidence, what its preflight found."""
    plan = plans().get(pk=request.subject_ref)
    checks = check_rows(plan.preflights.select_related("host"))
    return Subject(
        title=request.title,
        sentence=consequence(plan),
        template_name="rollback/parts/plan.html",
        context={
            "plan": plan,
            "plan_rows": plan_rows(plan),
            "plan_terms": plan_terms(plan),
            "preflight_rows": checks,
            "candidate": candidate_of(plan),
        },
        url=reverse("plan-detail", args=[plan.pk]),
        going=Run.objects.filter(plan=plan, state__in=ACTIVE_RUN_STATES).exists(),
    )


def consequence(plan: Plan) -> str:
    """What approving does, in a sentence, with the order of the hosts as the document has it."""
    before = f" instead of version {plan.from_version.number}" if plan.from_version else ""
    waves = PlanDocument.read(bytes(plan.document)).waves
    first, total = waves[0].hosts, sum(len(wave.hosts) for wave in waves)
    how = f"first on {', '.join(first)}, then on the rest" if len(waves) > 1 else "on all of its hosts at once"
    if total == 1:
        how = f"on its only host, {first[0]}"
    return f"If it is approved, {plan.endpoint.slug} will answer with version {plan.to_version.number}{before}, {how}."


def register_all() -> None:
    for kind in KINDS:
        register(str(kind), plan_subject)
