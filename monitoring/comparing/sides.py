"""What is held against what, as an address names it: two spans of an endpoint, each of a version or host if named."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from monitoring.models import Window, WindowState
from registry.models import Endpoint

MINUTE = "%Y-%m-%dT%H:%M"
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=92)
HOURS = {1: "1 h", 6: "6 h", 24: "24 h", 168: "7 days"}
DEFAULT_HOURS = 24
AGAINST = {
    "training": _("its training data"),
    "before": _("the time before"),
    "week": _("the same time a week before"),
    "side": _("another span, version or host"),
}
YEARS = range(1970, 2200)


class BadSide(ValueError):
    """A side that is none. The message says what would be one."""


@dataclass(frozen=True)
class Side:
    """What one version (any, where it is "") answered on one host (any) from `since` to `until`."""

    since: datetime
    until: datetime
    version: str = ""
    host: str = ""

    @property
    def words(self) -> str:
        """The side in a sentence, without its span."""
        version = (
            gettext("version %(version)s") % {"version": self.version} if self.version else gettext("all versions")
        )
        return gettext("%(version)s on %(host)s") % {"version": version, "host": self.host} if self.host else version

    @property
    def span(self) -> str:
        """From when to when, UTC."""
        until = f"{self.until:%H:%M}" if self.since.date() == self.until.date() else f"{self.until:%Y-%m-%d %H:%M}"
        return gettext("%(since)s to %(until)s UTC") % {"since": f"{self.since:%Y-%m-%d %H:%M}", "until": until}


@dataclass(frozen=True)
class Asked:
    """`now` is held against `before`; `before` is None where it is the training data of a version. `hours` says that
    the span slides: it ends at the newest judged window."""

    endpoint: Endpoint
    now: Side
    before: Side | None
    against: str
    hours: int | None = None
    column: str = ""

    def address(self, **changes: object) -> str:
        """The query of an address that asks for the same but for the changes."""
        one: dict[str, object] = {"a_version": self.now.version, "a_host": self.now.host}
        one |= (
            {"hours": self.hours}
            if self.hours
            else {"a_since": stamp(self.now.since), "a_until": stamp(self.now.until)}
        )
        told = {**one, "against": self.against}
        if self.before is not None:
            told |= {"b_version": self.before.version, "b_host": self.before.host}
            if self.against == "side":
                told |= {"b_since": stamp(self.before.since), "b_until": stamp(self.before.until)}
        told |= {"column": self.column, **changes}
        return urlencode({name: value for name, value in told.items() if value not in ("", None)})


def stamp(at: datetime) -> str:
    """A moment as an address has it, UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%S}" if at.second else f"{at:{MINUTE}}"


def newest_end(endpoint: Endpoint, now: datetime) -> datetime:
    """The end of the endpoint's newest judged window; `now` where there is none."""
    ends = Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED).values_list("end", flat=True)
    return ends.first() or now


def asked_by(endpoint: Endpoint, values: Mapping[str, str], now: datetime) -> Asked:
    """What an address asks for. Without spans: the last day up to the newest judged window. Raises BadSide."""
    names = {key: values.get(key, "").strip()[:50] for key in ("a_version", "a_host", "b_version", "b_host")}
    against = values.get("against", "") or ("side" if values.get("b_since") or values.get("b_version") else "training")
    if against not in AGAINST:
        raise BadSide(
            gettext("Compare with one of %(names)s; %(against)s is none of them.")
            % {"names": ", ".join(AGAINST), "against": against[:40]}
        )
    hours: int | None = None
    if values.get("a_since") or values.get("a_until"):
        since, until = _span(values, "a")
    else:
        text = values.get("hours", "") or str(DEFAULT_HOURS)
        if not text.isdecimal() or not 1 <= int(text) <= LONGEST // timedelta(hours=1):
            raise BadSide(gettext("The hours of a sliding span are a whole number from 1 to 2208."))
        hours, until = int(text), newest_end(endpoint, now)
        since = until - timedelta(hours=hours)
    side = Side(since, until, names["a_version"], names["a_host"])
    asked = Asked(endpoint, side, None, against, hours, values.get("column", "")[:200])
    if against == "training":
        return asked
    if against == "side" and (values.get("b_since") or values.get("b_until")):
        since, until = _span(values, "b")
    else:
        shift = {"before": until - since, "week": timedelta(days=7), "side": timedelta()}[against]
        since, until = since - shift, until - shift
    return replace(asked, before=Side(since, until, names["b_version"], names["b_host"]))


def _span(values: Mapping[str, str], side: str) -> tuple[datetime, datetime]:
    try:
        since, until = (moment(values.get(f"{side}_{end}", "")) for end in ("since", "until"))
    except ValueError as error:
        raise BadSide(gettext("A span needs a beginning and an end, such as 2026-11-21T12:00, in UTC.")) from error
    if not SHORTEST <= until - since <= LONGEST:
        raise BadSide(gettext("A span ends at least a minute after it begins, and at most 92 days."))
    return since, until


def moment(text: str) -> datetime:
    """A moment as an address has it; without an offset it is UTC. Raises ValueError, beyond calendars too."""
    found = datetime.fromisoformat(text)
    if found.year not in YEARS:
        raise ValueError(gettext("%(text)s lies beyond all calendars") % {"text": text})
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
