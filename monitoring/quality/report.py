"""The quality of a version's answers over a span, put together: what the page and the API show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from audit.clock import database_now
from monitoring.comparing.columns import NothingThere, main_number
from monitoring.comparing.sides import Asked, asked_by
from monitoring.drift.fairness import GroupRate
from monitoring.drift.groups import GroupAccuracy
from monitoring.drift.profile import Kind
from monitoring.drift.slices import Slice
from monitoring.profiles import profiles_of
from monitoring.quality import groups, skew
from monitoring.quality.delay import Delay, delay
from monitoring.quality.detected import Detected, detected
from monitoring.quality.groups import Calibrated, SliceDrift
from monitoring.quality.performance import Performance, performance
from monitoring.quality.reading import Rows, answered_at, label_delays, rows_of
from monitoring.quality.skew import Skew
from monitoring.references import versions_of
from monitoring.sketches import FEATURE, kinds_of
from registry.models import Alias, Endpoint, Version


@dataclass(frozen=True)
class Quality:
    """Everything that is told of a version's answers. `rows` and `before` are what was read."""

    asked: Asked
    version: str
    rows: Rows
    before: Rows
    performance: Performance
    delay: Delay
    rates: list[GroupRate]
    calibrations: list[Calibrated]
    accuracies: list[GroupAccuracy]
    worst: Slice | None
    slices: list[SliceDrift]
    skew: Skew
    detected: list[Detected]

    @property
    def sentence(self) -> str:
        """The answer first."""
        return gettext("Version %(version)s: %(sentence)s") % {
            "version": self.version,
            "sentence": self.performance.sentence,
        }

    @property
    def unlike(self) -> list[GroupRate]:
        """The rates in which a group is treated unlike all others."""
        return [one for one in self.rates if one.outcome == "drift"]

    @property
    def drifting(self) -> list[SliceDrift]:
        """The groups whose inputs differ from the same group's in the time before."""
        return [one for one in self.slices if one.drifted]

    @property
    def read(self) -> str:
        """What was read, as a sentence."""
        left = (
            gettext(", the newest of %(count)s") % {"count": f"{len(self.rows) + self.rows.left_out:,}"}
            if self.rows.left_out
            else ""
        )
        return gettext("From %(count)s answers%(left)s, held against %(count2)s of the time before.") % {
            "count": f"{len(self.rows):,}",
            "left": left,
            "count2": f"{len(self.before):,}",
        }

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        whole = self.performance.whole
        estimated = whole.estimated
        return {
            "endpoint": self.asked.endpoint.slug, "version": self.version, "sentence": self.sentence,
            "since": self.rows.since, "until": self.rows.until, "rows": len(self.rows), "left_out": self.rows.left_out,
            "accuracy": _interval(whole.accuracy), "log_loss": _interval(whole.loss), "labelled": whole.labelled,
            "estimated_accuracy": _interval((estimated.accuracy, estimated.low, estimated.high) if estimated else None),
            "estimate_basis": self.performance.basis,
            "label_delay": {"sentence": self.delay.sentence, "labelled": self.delay.labelled,
                            "median_seconds": self.delay.median, "p95_seconds": self.delay.p95,
                            "by_age": [asdict(one) for one in self.delay.aged]},
            "groups": [_rate_json(one) for one in self.rates],
            "calibrations": [asdict(one) | {"off": one.off} for one in self.calibrations],
            "accuracy_by_group": [_accuracy_json(one) for one in self.accuracies],
            "worst_slice": self.worst.sentence if self.worst else None,
            "drift_in_slices": [_slice_json(one) for one in self.slices],
            "skew": {"sentence": self.skew.sentence, "offline": self.skew.offline,
                     "first": self.skew.first_of_all.column if self.skew.first_of_all else None,
                     "answers_sentence": self.skew.answers_sentence,
                     "answers": [asdict(one) for one in self.skew.answers],
                     "columns": [asdict(one) for one in self.skew.columns]},
            "detectors": [one.to_json() for one in self.detected],
        }  # fmt: skip


def quality_of(endpoint: Endpoint, values: Mapping[str, str], now: datetime) -> Quality:
    """The report that an address asks for: sides are named as in monitoring.comparing.sides; `offline` is the version
    whose preprocessing the served inputs are held against (default: last-good, else the one that answered).

    Raises BadSide, NothingThere and monitoring.store.StoreDamaged.
    """
    asked = asked_by(endpoint, {"against": "before", **values, **_earlier(values)}, now)
    number = main_number(asked)
    if not number:
        raise NothingThere(
            gettext("Nothing was answered from %(span)s. Choose a span in which a version answered.")
            % {"span": asked.now.span}
        )
    asked = replace(asked, now=replace(asked.now, version=number))
    assert asked.before is not None
    rows = rows_of(endpoint, asked.now.since, asked.now.until, number)
    if not len(rows):
        raise NothingThere(
            gettext("Version %(number)s answered nothing from %(span)s. Choose another span.")
            % {"number": number, "span": asked.now.span}
        )
    # Before, another version may have answered: how people were answered then is what they are held to.
    earlier = asked.before.version or number
    before = rows_of(endpoint, asked.before.since, asked.before.until, earlier)
    version = versions_of(endpoint, [(number, "")]).get(number)
    kinds = {
        name.removeprefix(FEATURE): kind
        for name, kind in kinds_of(version, rows.table).items()
        if name.startswith(FEATURE)
    }
    features = [name for name in endpoint.model.group_columns if name in rows.columns]
    accuracies, worst = groups.accuracies(rows, before, _ordered(version, features, kinds))
    return Quality(
        asked, number, rows, before, performance(rows, before),
        delay(label_delays(endpoint, rows), answered_at(rows), database_now().timestamp()),
        groups.rates(rows, features), groups.calibrations(rows, features), accuracies, worst,
        groups.slice_drifts(rows, before, features, kinds),
        skew.skew(rows, number, *_offline(endpoint, values.get("offline", ""), version)),
        detected(endpoint, number, asked.now.since, asked.now.until),
    )  # fmt: skip


def _ordered(version: Version | None, features: list[str], kinds: Mapping[str, Kind]) -> list[str]:
    """The model's group columns first, then the inputs that matter most to the version."""
    profiles = profiles_of(version) if version else None
    weights = profiles[0].weights if profiles else {}
    return [*features, *sorted(set(kinds) - set(features), key=lambda name: (-weights.get(name, 0.0), name))]


def _earlier(values: Mapping[str, str]) -> dict[str, str]:
    """There is no other side than an earlier one here."""
    return {"against": "before"} if values.get("against", "") in ("", "training") else {}


def _offline(endpoint: Endpoint, number: str, served: Version | None) -> tuple[Version | None, Version | None]:
    """The version whose preprocessing the inputs are held against, and the one whose files answer once more: the one
    that is named, else last-good and the version itself."""
    versions = Version.objects.filter(model=endpoint.model_id)
    if number:
        named = versions.filter(number=int(number)).first() if number.isdecimal() and len(number) < 9 else None
        return named, named
    good = Alias.objects.filter(model=endpoint.model_id, name=Alias.LAST_GOOD).values_list("version", flat=True).first()
    found = {one.pk: one for one in versions.filter(pk__in=[pk for pk in (good, served and served.pk) if pk])}
    own = found.get(served.pk) if served else None
    return found.get(good) or own if good else own, own


def _interval(value: tuple[float, float, float] | None) -> dict[str, float] | None:
    return dict(zip(("value", "low", "high"), value, strict=True)) if value else None


def _rate_json(one: GroupRate) -> dict[str, Any]:
    return {
        "feature": one.feature, "group": str(one.group), "rate": one.rate, "rows": one.n, "value": one.value,
        "low": one.low, "high": one.high, "others": one.others, "p": one.p, "answer": one.outcome,
        "sentence": one.sentence,
    }  # fmt: skip


def _accuracy_json(one: GroupAccuracy) -> dict[str, Any]:
    return {
        "feature": one.feature, "group": str(one.group), "rows": one.n, "accuracy": one.accuracy, "low": one.low,
        "high": one.high, "before": one.reference_accuracy, "excess_errors": one.excess_errors, "answer": one.outcome,
    }  # fmt: skip


def _slice_json(one: SliceDrift) -> dict[str, Any]:
    return {
        "feature": one.feature, "group": one.group, "rows": one.rows, "rows_before": one.before,
        "drifted": [verdict.column for verdict in one.drifted],
    }  # fmt: skip
