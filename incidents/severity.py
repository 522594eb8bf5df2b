"""Severity from impact and urgency by a table that administrators edit; 1 is worst. Each edition stays on record."""

from itertools import pairwise

from django.db import IntegrityError, transaction
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import Impact, Urgency
from incidents.working.models import SeverityMatrix

Cells = list[list[int]]
FIRST: Cells = [[1, 2, 3], [2, 3, 3], [3, 4, 4]]
"""What counts until somebody edits it: rows by impact, columns by urgency, the worst first."""


def matrix() -> tuple[int, Cells]:
    """The number of the edition that counts, 0 before the first edit, and its cells."""
    newest = SeverityMatrix.objects.first()
    return (newest.edition, newest.cells) if newest else (0, FIRST)


def severity_of(impact: int, urgency: int) -> int:
    return matrix()[1][Impact(impact) - 1][Urgency(urgency) - 1]


def _check(cells: Cells) -> None:
    shaped = len(cells) == len(Impact) and all(len(row) == len(Urgency) for row in cells)
    if not shaped or any(value not in (1, 2, 3, 4) for row in cells for value in row):
        raise IncidentError(gettext("The table has three rows of three severities, each 1, 2, 3 or 4; 1 is worst."))
    down = all(above <= below for column in zip(*cells, strict=True) for above, below in pairwise(column))
    along = all(left <= right for row in cells for left, right in pairwise(row))
    if not (down and along):
        raise GuardFailed(
            "matrix_in_order",
            gettext(
                "What affects fewer, or can wait longer, may not be more severe. Look at rows and columns: they grow."
            ),
        )


@transaction.atomic
def set_matrix(*, cells: Cells, reason: str, user: User, actor: Actor, seen_edition: int) -> SeverityMatrix:
    """Have another table count from now on. Incidents keep the severity that they have until they are triaged again.

    Raises Conflict when somebody edited it since `seen_edition`, and GuardFailed for a table in which less is worse.
    """
    _check(cells)
    edition, now = matrix()
    if not reason.strip():
        raise IncidentError(gettext("Say in a sentence why the table changes."))
    if cells == now:
        raise IncidentError(gettext("That is the table which counts already. Nothing was changed."))
    if edition != seen_edition:
        raise Conflict(edition)
    try:
        with transaction.atomic():
            made = SeverityMatrix.objects.create(edition=edition + 1, cells=cells, by=user)
    except IntegrityError:
        raise Conflict(edition + 1) from None
    record(
        action="severity_matrix.set",
        target=Target("severity_matrix", "impact-urgency", str(made.edition)),
        actor=actor,
        data={"cells": cells, "before": now},
        reason=reason,
    )
    return made
