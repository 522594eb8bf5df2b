"""Rows of predictions: one person's data each. Reading them needs a right of its own and a reason, and is recorded."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.canonical import instant
from monitoring.windows import batches_within, load_predictions
from registry.models import Endpoint

MOST_ROWS = 1000
MOST_FOUND = 500_000
LONGEST_SPAN = timedelta(days=31)


class ReadingRefused(ValueError):
    """The rows are not read; the message says what would be acceptable."""


@dataclass(frozen=True)
class Rows:
    """The oldest `rows` of the span, each a dict by column, and how many the span has."""

    columns: list[str]
    rows: list[dict[str, Any]]
    found: int


def read_rows(
    *,
    endpoint: Endpoint,
    since: datetime,
    until: datetime,
    reason: str,
    actor: Actor,
    version: str = "",
    host: str = "",
    limit: int = 100,
) -> Rows:
    """Predictions of [since, until) with inputs, answers and labels; on record before they are given out.

    Raises ReadingRefused without a reason, for a span that is empty, longer than 31 days or of more predictions than
    MOST_FOUND, and for more than MOST_ROWS rows; monitoring.store.StoreDamaged where a file is not what was written.
    """
    if not reason.strip():
        raise ReadingRefused(gettext("Say in a sentence why you read rows about people. Your reason is recorded."))
    if not since < until <= since + LONGEST_SPAN:
        raise ReadingRefused(
            gettext("The span must end after it begins, at most %(days)s days later.") % {"days": LONGEST_SPAN.days}
        )
    if not 1 <= limit <= MOST_ROWS:
        raise ReadingRefused(gettext("Between 1 and %(most_rows)s rows are read at once.") % {"most_rows": MOST_ROWS})
    only = ({"version": version} if version else {}) | ({"host__name": host} if host else {})
    batches = batches_within(endpoint, since, until).filter(**only)
    held = batches.aggregate(rows=Sum("rows"))["rows"] or 0
    if held > MOST_FOUND:
        raise ReadingRefused(
            gettext("That span holds up to %(held)s predictions. Choose a shorter one, or a version or host.")
            % {"held": f"{held:,}"}
        )
    table = load_predictions(endpoint, since, until, [version] if version else None, [host] if host else None)
    given = table.slice(0, limit)
    with transaction.atomic():
        record(
            action="predictions.read",
            target=Target("endpoint", endpoint.slug),
            actor=actor,
            data={
                "since": instant(since),
                "until": instant(until),
                "version": version,
                "host": host,
                "rows": given.num_rows,
                "found": table.num_rows,
            },
            reason=reason.strip(),
        )
    return Rows(given.column_names, _plain(given), table.num_rows)


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON can say them: moments as ISO 8601, numbers that are none as null."""
    return [{name: _value(value) for name, value in row.items()} for row in table.to_pylist()]


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
