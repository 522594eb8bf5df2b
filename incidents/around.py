"""What people did about an incident and what is known of it: small, of several tables, and read in one query."""

from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Model, OuterRef, QuerySet
from django.db.models.functions import JSONObject

from accounts.models import User
from incidents.models import Evidence, Incident, RoleHolding, Update
from incidents.working.models import OfferState, RoleOffer, Sighting

SHOWN_UPDATES = 3
OF_A_PERSON = [field.attname for field in User._meta.concrete_fields if field.name != "password"]
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Around:
    """Present holders of roles; roles that are offered now; who said to have seen it, the first first; its evidence,
    the oldest first; its newest updates. Each with its people."""

    holdings: list[RoleHolding]
    offers: list[RoleOffer]
    sightings: list[Sighting]
    evidence: list[Evidence]
    updates: list[Update]


def around(incident: Incident) -> Around:
    """One query."""
    here = {"incident": OuterRef("pk")}
    holdings, offers, sightings, evidence, updates = (
        Incident.objects.filter(pk=incident.pk)
        .values_list(
            _told(RoleHolding.objects.filter(**here, until=None).order_by("pk"), "user"),
            _told(RoleOffer.objects.filter(**here, state=OfferState.OFFERED), "to", "by"),
            _told(Sighting.objects.filter(**here), "user"),
            _told(Evidence.objects.filter(**here)),
            _told(Update.objects.filter(**here)[:SHOWN_UPDATES], "by"),
        )
        .get()
    )
    return Around(
        holdings=[_row(RoleHolding, incident, told, "user") for told in holdings],
        offers=[_row(RoleOffer, incident, told, "to", "by") for told in offers],
        sightings=[_row(Sighting, incident, told, "user") for told in sightings],
        evidence=[_row(Evidence, incident, told) for told in evidence],
        updates=[_row(Update, incident, told, "by") for told in updates],
    )


def _told(rows: QuerySet[Any], *people: str) -> ArraySubquery:
    """The rows as JSON, with those whom they name."""
    named = {who: JSONObject(**{name: f"{who}__{name}" for name in OF_A_PERSON}) for who in people}
    own = {field.attname: field.attname for field in rows.model._meta.concrete_fields}
    return ArraySubquery(rows.values_list(JSONObject(**own, **named)))


def _row(model: type[M], incident: Incident, told: dict[str, Any], *people: str) -> M:
    row = _made(model, [field.attname for field in model._meta.concrete_fields], told)
    row.incident = incident  # type: ignore[attr-defined]
    for who in people:
        setattr(row, who, _made(User, OF_A_PERSON, told[who]) if told[f"{who}_id"] is not None else None)
    return row


def _made(model: type[M], names: list[str], told: dict[str, Any]) -> M:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return model.from_db("default", names, [fields[name].to_python(told[name]) for name in names])
