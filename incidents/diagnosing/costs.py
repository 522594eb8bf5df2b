"""What errors of a model cost, by the formula that its owner sets: three amounts, each edition on record."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor, Target, record
from incidents.diagnosing.models import CostFormula
from incidents.errors import IncidentError
from registry.models import Model

LARGEST = Decimal("999999999")


class CostRefused(IncidentError):
    """The formula is as it was; the sentence says why."""


@dataclass(frozen=True)
class Terms:
    """Amounts in `currency` (three capital letters): of one wrong positive answer, of one wrong negative answer, and of
    an hour of degraded service."""

    currency: str
    wrong_positive: Decimal
    wrong_negative: Decimal
    degraded_hour: Decimal

    def check(self) -> None:
        """Raises CostRefused."""
        if not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise CostRefused(gettext("Name the currency by its three letters, such as EUR."))
        for amount in (self.wrong_positive, self.wrong_negative, self.degraded_hour):
            if not 0 <= amount <= LARGEST:
                raise CostRefused(gettext("Each amount lies between 0 and %(largest)s.") % {"largest": f"{LARGEST:,}"})

    def facts(self) -> dict[str, str]:
        """As it stands in the record and in evidence, without floats."""
        amounts = {name: f"{getattr(self, name):f}" for name in ("wrong_positive", "wrong_negative", "degraded_hour")}
        return {"currency": self.currency} | amounts

    def cost(self, *, positive: float, negative: float, seconds: float) -> float:
        """Of so many answers wrongly positive and wrongly negative, within so many seconds."""
        answers = float(self.wrong_positive) * positive + float(self.wrong_negative) * negative
        return answers + float(self.degraded_hour) * seconds / 3600

    def said(self, amount: float) -> str:
        return f"{amount:,.0f} {self.currency}"


def terms_of(data: Mapping[str, Any]) -> Terms | None:
    """The formula as evidence holds it; None where there was none."""
    if not data:
        return None
    amounts = (Decimal(data[name]) for name in ("wrong_positive", "wrong_negative", "degraded_hour"))
    return Terms(str(data["currency"]), *amounts)


def formula_of(model: Model) -> CostFormula | None:
    """The model's formula in force. One query."""
    return CostFormula.objects.filter(model=model, replaced_at=None).select_related("model", "set_by").first()


def in_force(model: Model) -> Terms | None:
    formula = formula_of(model)
    if formula is None:
        return None
    return Terms(formula.currency, formula.wrong_positive, formula.wrong_negative, formula.degraded_hour)


def set_formula(*, model: Model, terms: Terms, reason: str, user: User, actor: Actor) -> CostFormula:
    """Put a formula into force for a model, in place of the one before. What was examined before keeps the figures that
    held then. Raises PermissionDenied, CostRefused."""
    require(user, "registry.write", model=model.slug, team=model.team)
    terms.check()
    if not reason.strip():
        raise CostRefused(gettext("Say in a sentence where the amounts come from; it goes on record."))
    try:
        with transaction.atomic():
            CostFormula.objects.filter(model=model, replaced_at=None).update(replaced_at=Now())
            newest = CostFormula.objects.filter(model=model).aggregate(newest=Max("number"))["newest"] or 0
            formula = CostFormula.objects.create(
                model=model, number=newest + 1, reason=reason[:500], set_by=user, currency=terms.currency,
                wrong_positive=terms.wrong_positive, wrong_negative=terms.wrong_negative,
                degraded_hour=terms.degraded_hour,
            )  # fmt: skip
            record(
                action="diagnosing.cost.set",
                target=Target("model", model.slug, str(formula.number)),
                actor=actor,
                reason=reason,
                data={"formula": terms.facts()},
            )
            return formula
    except IntegrityError as error:
        raise CostRefused(gettext("Somebody set a formula at the same moment. Look again.")) from error
