"""Acts under approval: what is done in one transaction once those have agreed whom a policy names for its kind.

A plan of the rollback engine is carried out by a run; everything else that may need approvals is an act: moving
`champion`, lifting a quarantine, changing a policy, registering a host. The module that owns a kind registers how to
perform it. Where no policy names a kind, there is nothing to ask, and its owner performs it at once.
"""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.actions import LIVE, Refused, consume, open_request, reopen, withdraw
from accounts.approvals.models import ANYWHERE, Act, ApprovalRequest, RequestState
from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import NoPolicy, policy_for
from accounts.approvals.subjects import Subject
from accounts.approvals.subjects import register as register_subject
from accounts.models import User
from audit.actions import Actor, Target, record, service_actor, under
from audit.canonical import canonical_bytes, exact

FORMAT = "lastgood-act/1"
HASH_PREFIX = b"lastgood-act/1\0"
WORKER = service_actor("approvals")


class ActRefused(Exception):
    """The act can't be asked for or performed; nothing was done. `code` is for programs."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class ActKind:
    """How acts of a kind are performed and told; each function is given the document's body.

    `perform` runs in the transaction that uses the approval up and raises ActRefused where what it was approved for is
    no longer so. `prepare` runs before it, for what must not happen in a transaction. `rows` are what changes, as
    `parts/plan_diff.html` takes them.
    """

    kind: str
    perform: Callable[[Act, dict[str, Any], Actor], None]
    rows: Callable[[dict[str, Any]], list[dict[str, str]]]
    consequence: Callable[[dict[str, Any]], str]
    prepare: Callable[[dict[str, Any]], None] = lambda body: None


_kinds: dict[str, ActKind] = {}


def register(kind: ActKind) -> None:
    _kinds[str(kind.kind)] = kind
    register_subject(str(kind.kind), act_subject)


def act_hash(document: bytes) -> str:
    """SHA-256 over `lastgood-act/1`, a zero byte and the document's bytes, as 64 hex digits."""
    return hashlib.sha256(HASH_PREFIX + bytes(document)).hexdigest()


def ask(
    *,
    kind: str,
    body: dict[str, Any],
    title: str,
    reason: str,
    user: User,
    actor: Actor,
    risk_tier: str = ANYWHERE,
    environment: str = ANYWHERE,
    model: str = "",
    team: str = "",
    identity: uuid.UUID | None = None,
    sealed: bytes = b"",
) -> Act | None:
    """Put an act to its approvers. None where no active policy names the kind: its owner performs it at once.

    `sealed` is what the act needs and nobody may read; the document binds its digest. Raises ActRefused where the same
    act waits already.
    """
    try:
        policy = policy_for(subject_kind=kind, risk_tier=risk_tier, environment=environment)
    except NoPolicy:
        return None
    if Act.objects.filter(kind=kind, title=title, request__state__in=LIVE).exists():
        raise ActRefused(
            "already_asked",
            gettext("“%(title)s” waits for its approvals already. See the page of approvals.") % {"title": title},
        )
    identity = identity or uuid.uuid4()
    whole = {"format": FORMAT, "act": str(identity), "kind": str(kind), "proposer": user.pseudonym, **body}
    whole |= {"policy_hash": policy_hash(policy)}
    if sealed:
        whole["sealed_sha256"] = hashlib.sha256(sealed).hexdigest()
    document = canonical_bytes(exact(whole, "act"))
    with transaction.atomic():
        request = open_request(
            policy=policy,
            subject_kind=kind,
            subject_ref=str(identity),
            subject_hash=act_hash(document),
            title=title,
            incident_ref="",
            proposer=user,
            actor=actor,
            model=model,
            team=team,
            risk_tier=risk_tier,
            environment=environment,
        )
        act = Act.objects.create(
            id=identity,
            kind=kind,
            document=document,
            act_hash=request.subject_hash,
            sealed=sealed,
            title=title,
            reason=reason,
            proposer=user,
            request=request,
        )
        proposed = _facts(act) | {"document": json.loads(document)}
        record(action="act.propose", target=_target(act), actor=actor, reason=reason, data=proposed)
    return act


def decided(request_id: Any) -> bool:
    """Perform the act whose last seat was filled. True when this call performed it; safe to be called any number of
    times. What is refused is on record, and is asked again or closed."""
    act = Act.objects.select_related("request").filter(request=request_id).first()
    if act is None or act.performed_at is not None or act.request.state != RequestState.APPROVED:
        return False
    try:
        perform(act_id=act.id, actor=WORKER)
    except ActRefused as refused:
        if refused.code == "not_enough":
            reopen(request_id=act.request_id, actor=WORKER)
        elif refused.code != "already_performed":
            withdraw(request_id=act.request_id, reason=refused.sentence, actor=WORKER)
        return False
    return True


def perform(*, act_id: Any, actor: Actor) -> Act:
    """Use the approvals up and do what they were given for, in ONE transaction. A refusal is on record.

    Raises ActRefused.
    """
    act = Act.objects.get(pk=act_id)
    try:
        kind = _kinds[act.kind]
        kind.prepare(read(act))
        with transaction.atomic():
            return _perform(act_id, kind, actor)
    except (Refused, ActRefused) as error:
        if error.code != "already_performed":
            data = _facts(act) | {"refused": error.code}
            record(action="act.perform", target=_target(act), actor=actor, outcome="denied", data=data)
        raise ActRefused(error.code, error.sentence) from error


def _perform(act_id: Any, kind: ActKind, actor: Actor) -> Act:
    act = Act.objects.select_for_update(of=("self",)).select_related("request", "proposer").get(pk=act_id)
    if not Act.objects.filter(pk=act.pk, performed_at=None).update(performed_at=Now()):
        raise ActRefused("already_performed", gettext("It was done before; an act is performed once."))
    body = read(act)
    consume(request_id=act.request_id, subject_hash=act.act_hash, actor=actor)
    data = _facts(act) | {"policy_hash": act.request.policy_hash}
    record(action="act.perform", target=_target(act), actor=actor, data=data)
    with under(act=str(act.id), said_by=act.proposer.pseudonym):
        kind.perform(act, body, actor)
    return act


def read(act: Act) -> dict[str, Any]:
    """The act's document, only if it still hashes to what was approved, and is of this act. Raises ActRefused."""
    document = bytes(act.document)
    body: dict[str, Any] = json.loads(document)
    sealed = hashlib.sha256(bytes(act.sealed)).hexdigest() if act.sealed else ""
    named = {"act": str(act.id), "kind": act.kind, "sealed_sha256": sealed}
    if act_hash(document) != act.act_hash or any(body.get(name, "") != value for name, value in named.items()):
        raise ActRefused("hash_mismatch", gettext("The act is not the one that was proposed. Propose it again."))
    return body


def act_subject(request: ApprovalRequest) -> Subject:
    """What an approver sees of an act: what changes, from what to what, and why it is asked for."""
    act = Act.objects.get(request=request)
    body = json.loads(bytes(act.document))
    kind = _kinds[act.kind]
    return Subject(
        title=act.title,
        sentence=kind.consequence(body),
        sections=[{"title": gettext("What changes"), "kind": "diff", "rows": kind.rows(body)}],
        why=act.reason,
    )


def _target(act: Act) -> Target:
    return Target("act", str(act.id))


def _facts(act: Act) -> dict[str, Any]:
    return {"act": str(act.id), "kind": act.kind, "act_hash": act.act_hash, "request": str(act.request_id)}
