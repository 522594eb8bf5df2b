"""The reads of the registry that are more than one line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Prefetch, Q, QuerySet
from django.db.models.functions import Now
from django.utils.text import get_text_list
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from registry.manifest import read_manifest
from registry.models import Alias, Deployment, Endpoint, FreezeWindow, Health, Host, Model, Placement, Version

HOW: dict[str, str] = {
    Health.UNKNOWN: _("was not observed"),
    Health.WRONG_VERSION: _("serves something else"),
    Health.WRONG_OUTPUT: _("gives wrong answers to the golden test"),
    Health.UNREACHABLE: _("is unreachable"),
    Health.NOT_READY: _("is not ready"),
}


def live_versions(endpoint: Endpoint) -> dict[Host, Version]:
    """What was last entered to be live on each host of the endpoint."""
    return _by_host(Deployment.objects.filter(endpoint=endpoint, until=None))


def version_live_at(endpoint: Endpoint, when: datetime) -> dict[Host, Version]:
    """What answered on each host of the endpoint at that moment."""
    return _by_host(Deployment.objects.filter(endpoint=endpoint).filter(covers(when)))


def covers(when: datetime) -> Q:
    """The condition that a deployment's span holds the moment."""
    return Q(since__lte=when) & (Q(until=None) | Q(until__gt=when))


def _by_host(live: QuerySet[Deployment]) -> dict[Host, Version]:
    found = live.select_related("host", "version__model").defer("version__manifest").order_by("host__name")
    return {row.host: row.version for row in found}


@dataclass(frozen=True)
class Sentence:
    """The answer of a page, and its tone."""

    text: str
    tone: str

    @property
    def word(self) -> str:
        """The tone as the word on a chip."""
        return {"ok": gettext("as it should"), "bad": gettext("not as it should"), "busy": "moving"}.get(
            self.tone, gettext("not known")
        )


def placements_of(endpoints: Iterable[Endpoint]) -> dict[int, list[Placement]]:
    """The placements of each endpoint, by its id, in one query."""
    found: dict[int, list[Placement]] = {endpoint.pk: [] for endpoint in endpoints}
    rows = Placement.objects.filter(endpoint__in=list(found)).select_related("host", "desired").order_by("host__name")
    for row in rows.defer("desired__manifest", "desired__documentation"):
        found[row.endpoint_id].append(row)
    return found


def freezes_of(endpoints: Iterable[Endpoint]) -> dict[int, list[FreezeWindow]]:
    """The freezes of each endpoint that are in force (`begun`) or planned, by its id, in one query."""
    found: dict[int, list[FreezeWindow]] = {endpoint.pk: [] for endpoint in endpoints}
    for window in FreezeWindow.objects.standing(Now()).filter(endpoint__in=list(found)):
        found[window.endpoint_id].append(window)
    return found


def sentence_of(endpoint: Endpoint, placements: Sequence[Placement], freezes: Sequence[FreezeWindow] = ()) -> Sentence:
    """What the endpoint serves where, and what is wrong with it, as one would say it on a call. `freezes`: those that
    stand, the first to begin first."""
    counted = [row for row in placements if row.host.drained_at is None]
    if not counted:
        return Sentence(gettext("No host serves %(endpoint)s yet.") % {"endpoint": endpoint.name}, "unknown")
    wanted = {row.desired.number for row in counted if row.desired is not None}
    if not wanted:
        return Sentence(
            gettext("Nothing has been released to %(endpoint)s yet.") % {"endpoint": endpoint.name}, "unknown"
        )
    parts = []
    for number in sorted(wanted):
        meant = [row for row in counted if row.desired is not None and row.desired.number == number]
        serving = sum(row.health == Health.SERVING for row in meant)
        total = len(counted) if len(wanted) == 1 else len(meant)
        parts.append(
            ngettext(
                "version %(number)s on %(serving)s of %(total)s host",
                "version %(number)s on %(serving)s of %(total)s hosts",
                total,
            )
            % {"number": number, "serving": serving, "total": total}
        )
    named = {"endpoint": endpoint.name, "parts": get_text_list(parts, gettext("and"))}
    trouble = [row for row in counted if row.health != Health.SERVING]
    if trouble:
        text = gettext("%(endpoint)s serves %(parts)s; %(trouble)s.") % {**named, "trouble": _trouble(trouble)}
    else:
        text = gettext("%(endpoint)s serves %(parts)s.") % named
    if frozen := _freeze_sentence(freezes):
        text = f"{text} {frozen}"
    unseen = [row for row in trouble if row.health == Health.UNKNOWN]
    bad = len(trouble) > len(unseen)
    return Sentence(text, "bad" if bad else "unknown" if unseen else "busy" if len(wanted) > 1 else "ok")


def _freeze_sentence(freezes: Sequence[FreezeWindow]) -> str:
    """Until when nothing changes, where one freeze takes over from another before it ends."""
    if not freezes:
        return ""
    in_force = [window.until for window in freezes if window.begun]
    if not in_force:
        return gettext("Changes will be frozen from %(starts)s UTC on.") % {
            "starts": f"{freezes[0].starts:%Y-%m-%d %H:%M}"
        }
    end = max(in_force)
    for window in freezes:
        if window.starts is not None and window.starts <= end:
            end = max(end, window.until)
    return gettext("Changes are frozen until %(end)s UTC.") % {"end": f"{end:%Y-%m-%d %H:%M}"}


def _trouble(rows: Sequence[Placement]) -> str:
    if len(rows) > 2:
        kinds = {HOW[row.health] for row in rows}
        what = kinds.pop() if len(kinds) == 1 else gettext("is not as it should be")
        return gettext("%(rows)s: each %(what)s") % {"rows": ", ".join(row.host.name for row in rows), "what": what}
    return get_text_list([f"{row.host.name} {_how(row)}" for row in rows], gettext("and"))


def _how(row: Placement) -> str:
    if row.health == Health.WRONG_VERSION and row.desired is not None:
        if row.observed_version and row.observed_version != str(row.desired.number):
            return gettext("serves version %(observed_version)s instead of version %(desired)s") % {
                "observed_version": row.observed_version,
                "desired": row.desired.number,
            }
        return gettext("serves other content under that version")
    return HOW[row.health]


def is_moving(placements: Sequence[Placement]) -> bool:
    """Whether hosts shall serve different versions, as they do in the middle of a run."""
    return len({row.desired_id for row in placements}) > 1


def deployments() -> QuerySet[Deployment]:
    """Spans with what pages show of them, newest first."""
    return Deployment.objects.select_related("endpoint", "host", "version").defer("version__manifest")


def models_overview() -> QuerySet[Model]:
    """Models with their number of versions, newest version and aliases."""
    aliases = Prefetch("aliases", queryset=Alias.objects.select_related("version").defer("version__manifest"))
    return (
        Model.objects.annotate(version_count=Count("versions"), newest=Max("versions__number"))
        .prefetch_related(aliases, "endpoints")
        .order_by("name")
    )


def versions_of(model: Model) -> list[Version]:
    """The model's versions, newest first, with aliases, parents and open deployments."""
    live = Prefetch(
        "deployments", queryset=Deployment.objects.filter(until=None).select_related("endpoint"), to_attr="live_spans"
    )
    found = Version.objects.filter(model=model).defer("manifest", "documentation")
    rows = list(found.prefetch_related("aliases", "parents__parent", live).order_by("-number"))
    for row in rows:
        row.live_on = _live_on(row.live_spans)
    return rows


def _live_on(spans: Iterable[Deployment]) -> list[tuple[Endpoint, int]]:
    """Endpoint and number of hosts, for each endpoint on which the spans are open."""
    counted: dict[Endpoint, int] = {}
    for span in spans:
        counted[span.endpoint] = counted.get(span.endpoint, 0) + 1
    return sorted(counted.items(), key=lambda item: item[0].slug)


def model_sentence(model: Model, versions: Sequence[Version]) -> Sentence:
    """Which version is champion, which is last-good, what is quarantined."""
    if not versions:
        return Sentence(gettext("%(model)s has no version yet.") % {"model": model.name}, "unknown")
    names = {alias.name: version.number for version in versions for alias in version.aliases.all()}
    live = sorted({version.number for version in versions if version.live_on})
    if len(live) == 1:
        clauses = [gettext("%(model)s is live with version %(live)s") % {"model": model.name, "live": live[0]}]
    elif live:
        listed = get_text_list([str(number) for number in live], gettext("and"))
        clauses = [gettext("%(model)s is live with versions %(listed)s") % {"model": model.name, "listed": listed}]
    else:
        clauses = [gettext("%(model)s is not live anywhere") % {"model": model.name}]
    good = names.get(Alias.LAST_GOOD)
    soaked = gettext("version %(good)s is last-good") if good else gettext("no version is last-good yet")
    clauses.append(soaked % {"good": good})
    marked = [version for version in versions if version.quarantined_at and version.number in live]
    if marked:
        clauses.append(gettext("version %(number)s, which is live, is quarantined") % {"number": marked[0].number})
    text = f"{'; '.join(clauses)}."
    return Sentence(text, "warn" if marked else "ok" if live else "quiet")


@dataclass(frozen=True)
class Difference:
    """Two versions side by side: rows of parts/plan_diff.html, and how many of them differ."""

    left: Version
    right: Version
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def differing(self) -> int:
        return sum(row["before"] != row["after"] for row in self.rows)


def compare(left: Version, right: Version) -> Difference:
    """What differs between two versions: files by digest, signature, figures, hyperparameters, environment."""
    rows: list[dict[str, str]] = []
    for group, facts in (
        ("Files", _files),
        ("Signature", _signature),
        ("Figures", lambda version: dict(flat(version.metrics))),
        ("Hyperparameters", lambda version: dict(flat(version.hyperparameters))),
        ("Environment", lambda version: dict(flat(version.environment))),
        ("Origin", _origin),
    ):
        before, after = facts(left), facts(right)
        rows += [
            {"group": group, "label": label, "before": before.get(label, ""), "after": after.get(label, "")}
            for label in [*before, *(label for label in after if label not in before)]
        ]
    return Difference(left, right, rows)


def _files(version: Version) -> dict[str, str]:
    manifest = read_manifest(bytes(version.manifest))
    return {f"{file.component}/{file.path}": f"{file.sha256[:16]} ({file.size} bytes)" for file in manifest.files}


def _signature(version: Version) -> dict[str, str]:
    sides = (("input", "inputs"), ("output", "outputs"))
    return {f"{word} {entry['name']}": entry["datatype"] for word, side in sides for entry in version.signature[side]}


def _origin(version: Version) -> dict[str, str]:
    origin = {
        gettext("code commit"): version.code_commit,
        gettext("training data"): version.training_data_digest[:16],
        gettext("profile"): (version.profile_id or "")[:16],
        gettext("golden test"): (version.golden_id or "")[:16],
        gettext("holdout set"): (version.holdout_id or "")[:16],
    }
    return {name: text for name, text in origin.items() if text}


def flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested JSON as (path, text) pairs, as in ("holdout accuracy", "0.812")."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{path} {key}".strip())]
    if isinstance(value, list):
        return [(path, ", ".join(str(item) for item in value))]
    return [(path, f"{value:.6g}" if isinstance(value, float) else str(value))]
