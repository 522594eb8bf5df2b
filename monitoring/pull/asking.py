"""Asking a source: PromQL in, series out, within limits on time, size and number.

The API is "Range Queries" in Prometheus' manual; Thanos, Mimir and VictoriaMetrics answer it alike.
"""

import base64
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.conf import settings

from accounts.outgoing import AddressRefused, Answer, FetchFailed, ask
from audit import strictjson
from monitoring.pull.models import Credential, Source
from registry import sealing

SETTING = "LASTGOOD_PULL_NETWORKS"
SECONDS, MOST_BYTES = 10.0, 8 * 2**20
MOST_LINES = 500
MOST_POINTS = 11_000
"""Prometheus itself gives no more points of a series in one answer."""

ROUNDED = timedelta(milliseconds=1)
"""Moments are asked for in milliseconds; what lies further outside of a range was not asked for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PullFailed(OSError):
    """A source or a page of figures did not give what was asked of it. The message says why, for people."""


@dataclass(frozen=True)
class Line:
    """One series of an answer: its labels without the metric's own name, and finite values, oldest first."""

    labels: dict[str, str]
    samples: list[tuple[datetime, float]]


def query_range(source: Source, promql: str, since: datetime, until: datetime, step: timedelta) -> list[Line]:
    """What the expression came to at `since`, and every `step` after it up to `until`; nothing of any other time.

    Raises PullFailed: the source was ended, its address is not allowed, it gave no answer in 10 s, it refused the
    expression, or the answer is not one, is longer than 8 MiB, or has more than 500 series.
    """
    if source.ended_at is not None:
        raise PullFailed(f"The source {source.name} was ended.")
    if step <= timedelta() or until < since or (until - since) / step >= MOST_POINTS:
        raise PullFailed(f"A range must end after it begins, and have fewer than {MOST_POINTS:,} steps.")
    asked = urlencode({
        "query": promql, "start": f"{since.timestamp():.3f}", "end": f"{until.timestamp():.3f}",
        "step": f"{step.total_seconds():.3f}", "timeout": f"{SECONDS:g}s",
    })  # fmt: skip
    try:
        answer = ask(
            "POST", f"{source.address.rstrip('/')}/api/v1/query_range",
            networks=settings.LASTGOOD_PULL_NETWORKS, content=asked.encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", **_credentials(source)},
            seconds=SECONDS, limit=MOST_BYTES, setting=SETTING,
        )  # fmt: skip
    except (AddressRefused, FetchFailed, sealing.SealBroken) as error:
        raise PullFailed(f"{source.name}: {error}") from error
    within = (since - ROUNDED, until + ROUNDED)
    return [
        Line(one.labels, [(at, value) for at, value in one.samples if within[0] <= at <= within[1]])
        for one in _lines(source, answer)
    ]


def step_for(since: datetime, until: datetime, most: int) -> timedelta:
    """The shortest step of whole seconds, at least one, with which the span has at most `most` steps."""
    return timedelta(seconds=max(1, math.ceil((until - since).total_seconds() / most)))


def place_of(source: Source) -> str:
    """What the source's sealed secret is bound to."""
    return f"pull_source:secret_sealed:{source.pk}"


def _credentials(source: Source) -> dict[str, str]:
    if source.credential == Credential.NONE:
        return {}
    secret = sealing.unseal(bytes(source.secret_sealed), place_of(source))
    if source.credential == Credential.BEARER:
        return {"Authorization": f"Bearer {secret}"}
    both = base64.b64encode(f"{source.username}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {both}"}


def _lines(source: Source, answer: Answer) -> list[Line]:
    if answer.status in (401, 403):
        raise PullFailed(f"{source.name} refused the credential (status {answer.status}).")
    try:
        told = strictjson.parse(answer.body)
    except strictjson.NotStrictJson as error:
        raise PullFailed(f"{source.name} answered {answer.status} with what is not JSON: {error}.") from error
    try:
        if told["status"] != "success":
            said = " ".join(str(told.get("error") or "no reason given").split())[:300]
            raise PullFailed(f"{source.name} refused the query (status {answer.status}): {said}")
        data = told["data"]
        if data["resultType"] != "matrix":
            raise PullFailed(f"{source.name} answered with a {data['resultType']!s:.30}, not with a range.")
        if len(data["result"]) > MOST_LINES:
            raise PullFailed(
                f"The answer of {source.name} has {len(data['result'])} series; at most {MOST_LINES} are taken. "
                "Sum them in the query."
            )
        return [_line(one) for one in data["result"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PullFailed(f"{source.name} answered {answer.status} in no form that Prometheus' API has.") from error


def _line(one: dict) -> Line:
    labels = {str(name): str(value) for name, value in one["metric"].items() if name != "__name__"}
    found = ((_EPOCH + timedelta(milliseconds=round(float(at) * 1000)), float(value)) for at, value in one["values"])
    return Line(labels, [(at, value) for at, value in found if math.isfinite(value)])
