"""Legal holds: what a dispute or an authority needs is neither erased nor pruned while one stands."""

import datetime
import json
from collections.abc import Callable, Iterable

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.english import in_english
from audit.models import AuditEvent, AuditHold, AuditPrivate, AuditSubjectKey, HoldKind
from audit.names import display
from audit.readings.changes import environments_of
from audit.readings.records import place_of
from audit.verify import names_model

IncidentsOf = Callable[[str], Iterable[str]]
"""Takes a model's slug and returns the references of its incidents."""

Knower = Callable[[str], str]
"""Takes what somebody typed and returns the reference that is meant; empty where there is none."""

LOCK = 0x6C617374_686F6C64
COMMITTED = b'"reason_commit":"'

_incidents_of: list[IncidentsOf] = []
_knowers: dict[str, Knower] = {}


class Held(Exception):
    """A legal hold keeps it. The message says which, and what to do."""

    def __init__(self, hold: AuditHold) -> None:
        self.hold = hold
        super().__init__(
            gettext("A legal hold on the %(hold)s keeps this %(until)s Lift the hold first.")
            % {"hold": in_words(hold), "until": _how_long(hold)}
        )


class HoldError(ValueError):
    """The hold can't be placed or lifted; the message says why."""


def register_incidents(resolver: IncidentsOf) -> None:
    """Tell which incidents a model has; for ``AppConfig.ready`` of the floor that knows."""
    if resolver not in _incidents_of:
        _incidents_of.append(resolver)


def register_known(kind: str, knower: Knower) -> None:
    """Tell which persons, incidents or models there are; for ``AppConfig.ready`` of the floors that know."""
    _knowers[kind] = knower


def settle(*, shared: bool = False) -> None:
    """Wait until nobody places a hold, erases or prunes, and keep them waiting until the caller's transaction ends.

    Call it before holds are asked for by what erases: a hold that was placed first is then seen, and one that is placed
    later is told what is gone. ``shared``: for what prunes, which may go on beside others that prune.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}(%s)", [LOCK])


def in_words(hold: AuditHold) -> str:
    """Such as `incident INC-3`; a person by name while that is known."""
    ref = display([hold.ref])[hold.ref] if hold.kind == HoldKind.SUBJECT else hold.ref
    return f"{in_english(hold.get_kind_display).lower()} {ref}"


def _how_long(hold: AuditHold) -> str:
    return (
        gettext("until %(until)s UTC.") % {"until": f"{hold.until:%Y-%m-%d %H:%M}"}
        if hold.until
        else gettext("until it is lifted.")
    )


@transaction.atomic
def place(*, kind: str, ref: str, reason: str, actor: Actor, until: datetime.datetime | None = None) -> AuditHold:
    """Keep everything about one person (by pseudonym or user name), incident (its reference) or model (its slug).

    It keeps what is there when it stands: ``data.erased`` of its event says how many texts about it were gone before.
    Raises HoldError without a reason, for an unknown kind, for what is not there, for a person who was erased, or for
    an end that has passed.
    """
    settle()
    if kind not in HoldKind.values or not ref.strip():
        raise HoldError(gettext("Say on what the hold is placed: a person, an incident or a model, and which."))
    if not reason.strip():
        raise HoldError(gettext("Say in a sentence why the hold is placed. Your reason is recorded."))
    if until is not None and until <= database_now():
        raise HoldError(gettext("The hold would have ended already. Choose a later end, or none."))
    ref = _meant(kind, ref.strip())
    event = record(
        action="hold.place",
        target=Target(kind, ref),
        actor=actor,
        data={"until": until, "erased": _gone(kind, ref)},
        reason=reason.strip(),
        subject=ref if kind == HoldKind.SUBJECT else "",
    )
    return AuditHold.objects.create(kind=kind, ref=ref, event=event, placed_by=actor.id, until=until)


def _meant(kind: str, typed: str) -> str:
    """The reference that was meant: a hold on what is not there would keep nothing, and nobody would notice."""
    ref = _knowers[kind](typed) if kind in _knowers else typed
    if not ref:
        raise HoldError(
            gettext("There is no %(holdkind)s %(typed)s. Nothing is held.")
            % {"holdkind": str(HoldKind(kind).label).lower(), "typed": typed}
        )
    erased = AuditSubjectKey.objects.filter(pk=ref, erased_at__isnull=False).first()
    if kind == HoldKind.SUBJECT and erased is not None:
        raise HoldError(
            gettext(
                "%(ref)s was erased at %(erased_at)s UTC: there is no text left to keep. Nothing is held. To keep "
                "what others wrote, place a hold on the incident or the model."
            )
            % {"ref": ref, "erased_at": f"{erased.erased_at:%Y-%m-%d %H:%M:%S}"}
        )
    return ref


def _gone(kind: str, ref: str) -> int:
    """How many texts about an incident, or the incidents of a model, were erased before."""
    refs = [ref] if kind == HoldKind.INCIDENT else _incidents(ref) if kind == HoldKind.MODEL else []
    if not refs:
        return 0
    there = AuditPrivate.objects.filter(event=OuterRef("pk"), subject__erased_at=None)
    written = AuditEvent.objects.filter(incident__in=refs).alias(committed=place_of(COMMITTED))
    return written.filter(~Exists(there), committed__gt=0).count()


@transaction.atomic
def lift(*, hold: AuditHold, reason: str, actor: Actor) -> None:
    """End a hold now. Raises HoldError without a reason, or where it ended before."""
    if not reason.strip():
        raise HoldError(gettext("Say in a sentence why the hold is lifted. Your reason is recorded."))
    if not active().filter(pk=hold.pk).update(lifted_at=Now(), lifted_by=actor.id):
        raise HoldError(
            gettext("The hold on the %(in_words)s ended before. Nothing was changed.") % {"in_words": in_words(hold)}
        )
    record(
        action="hold.lift",
        target=Target(hold.kind, hold.ref),
        actor=actor,
        data={"placed": str(hold.event.event_uuid)},
        reason=reason.strip(),
        subject=hold.ref if hold.kind == HoldKind.SUBJECT else "",
    )


def active() -> QuerySet[AuditHold]:
    """The holds that stand now, newest first, by the database's clock."""
    return AuditHold.objects.filter(Q(until=None) | Q(until__gt=Now()), lifted_at=None).select_related("event")


def on_model(slug: str) -> AuditHold | None:
    """A hold that stands on the model itself."""
    return active().filter(kind=HoldKind.MODEL, ref=slug).first()


def on_incident(ref: str) -> AuditHold | None:
    """A hold that stands on the incident, or on the model that it is about."""
    return held_incidents().get(ref)


def held_incidents() -> dict[str, AuditHold]:
    """Every incident that a hold keeps, with the hold."""
    held: dict[str, AuditHold] = {}
    for hold in active().filter(kind__in=[HoldKind.INCIDENT, HoldKind.MODEL]):
        held |= dict.fromkeys([hold.ref] if hold.kind == HoldKind.INCIDENT else _incidents(hold.ref), hold)
    return held


def _incidents(model: str) -> list[str]:
    return [ref for resolver in _incidents_of for ref in resolver(model)]


def hold_on_subject(subject: str) -> AuditHold | None:
    """A hold on the person, or on an incident or a model for which the person wrote something that is still there."""
    own = active().filter(kind=HoldKind.SUBJECT, ref=subject).first()
    if own:
        return own
    held = held_incidents()
    texts = AuditPrivate.objects.filter(subject=subject, event__incident__in=list(held))
    ref = texts.values_list("event__incident", flat=True).first() if held else None
    if ref:
        return held[ref]
    model_of = _held_model_of()
    wrote = AuditPrivate.objects.filter(subject=subject).values_list("event__canon", flat=True)
    return next(filter(None, map(model_of, map(bytes, wrote.iterator(chunk_size=1000)))), None) if model_of else None


def _held_model_of() -> Callable[[bytes], AuditHold | None] | None:
    """Finds the hold on the model that a record is about, by itself and not by an incident; None where none stands."""
    standing = list(active().filter(kind=HoldKind.MODEL))
    if not standing:
        return None
    known = environments_of()
    endpoints = {hold.ref: {slug for slug, (model, _) in known.items() if model == hold.ref} for hold in standing}

    def found(canon: bytes) -> AuditHold | None:
        record = json.loads(canon)
        return next((hold for hold in standing if names_model(record, hold.ref, endpoints[hold.ref])), None)

    return found


def hold_on_event(event: AuditEvent) -> AuditHold | None:
    """A hold on the incident or the model of an event, or on the person under whose key its text is sealed."""
    if event.incident and (hold := on_incident(event.incident)):
        return hold
    model_of = _held_model_of()
    if model_of and (hold := model_of(bytes(event.canon))):
        return hold
    subject = AuditPrivate.objects.filter(pk=event.pk).values_list("subject", flat=True).first()
    return active().filter(kind=HoldKind.SUBJECT, ref=subject).first() if subject else None
