"""Reading rules, alerts and silences."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from monitoring.models import Alert, AlertState, Finding, MetricSeries, Rule, RuleKind
from monitoring.rules import worth
from monitoring.rules.control.params import chart_of
from monitoring.rules.models import AlertRule, AlertRuleKind, Phase, RuleStanding, Scope, Silence
from registry.models import Endpoint

WORST_FIRST = (
    Phase.FIRING, Phase.UNHEARD, Phase.PENDING, Phase.NO_DATA, Phase.LEARNING, Phase.NEW, Phase.OK,
)  # fmt: skip

TONES = {
    Phase.FIRING: "bad", Phase.UNHEARD: "bad", Phase.PENDING: "warn", Phase.NO_DATA: "unknown", Phase.OK: "ok",
    Phase.LEARNING: "unknown", Phase.NEW: "unknown",
}  # fmt: skip
"""No data is never told as well."""


@dataclass(frozen=True)
class RuleRow:
    """A rule with where it stands: its worst phase over hosts, and how many hosts stand there."""

    rule: AlertRule
    phase: Phase
    hosts: int

    @property
    def tone(self) -> str:
        return TONES[self.phase]

    @property
    def asks(self) -> str:
        """Its kind in words; of a control chart, which."""
        is_chart = self.rule.kind == AlertRuleKind.CONTROL
        return str(chart_of(self.rule.params).label) if is_chart else self.rule.get_kind_display()


def rules(endpoint: Endpoint | None = None) -> QuerySet[AlertRule]:
    """The rules that are asked, of one endpoint or of all, by endpoint and name."""
    found = AlertRule.objects.filter(retired_at=None).select_related("endpoint__model")
    found = found.order_by("endpoint__name", "name", "pk")
    return found if endpoint is None else found.filter(endpoint=endpoint)


def with_standing(found: Iterable[AlertRule]) -> list[RuleRow]:
    """Each rule with its worst phase. One query for all."""
    listed = list(found)
    phases: dict[int, list[Phase]] = {}
    for rule, phase in RuleStanding.objects.filter(rule__in=listed).values_list("rule", "phase"):
        phases.setdefault(rule, []).append(Phase(phase))
    rows = []
    for rule in listed:
        stands = phases.get(rule.pk) or [Phase.NEW]
        worst = min(stands, key=WORST_FIRST.index)
        rows.append(RuleRow(rule, worst, stands.count(worst) if rule.scope == Scope.HOSTS else 0))
    return rows


def shown(value: object) -> str:
    """A number as pages show it, in four digits; "" for anything else."""
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def standings(rule: AlertRule) -> list[tuple[RuleStanding, str, list[str]]]:
    """Where the rule stands with each host (or the endpoint), the worst first: each with its tone, and its value, lower
    and upper limit as texts."""
    found = RuleStanding.objects.filter(rule=rule).select_related("host")
    ordered = sorted(found, key=lambda one: (WORST_FIRST.index(Phase(one.phase)), one.host.name if one.host else ""))
    return [(one, TONES[Phase(one.phase)], [shown(one.value), shown(one.low), shown(one.high)]) for one in ordered]


def metrics_of(endpoint: Endpoint) -> list[str]:
    """The names of the metrics that the endpoint has."""
    named = MetricSeries.objects.filter(endpoint=endpoint).order_by("name")
    return list(named.values_list("name", flat=True).distinct())


def detectors() -> list[tuple[str, str]]:
    """The detectors whose findings a rule can be about, with their names."""
    return [(kind.value, kind.label) for kind in RuleKind]


@dataclass(frozen=True)
class DetectorRow:
    """A detector of an endpoint, what its alerts came to, and what was measured of its false alarms, in sentences; ""
    before it judged a window."""

    rule: Rule
    worth: str
    false_alarms: str


def with_worth(endpoint: Endpoint) -> list[DetectorRow]:
    """The detectors that the endpoint's windows are judged by, by name. At most four queries for each."""
    rows = []
    for rule in Rule.objects.filter(endpoint=endpoint, enabled=True).order_by("kind"):
        judged = Finding.objects.filter(rule=rule, host=None).order_by("-window__start")
        measured = judged.values_list("data__false_alarms", flat=True).first()
        rows.append(DetectorRow(rule, worth.of(rule).sentence, measured or ""))
    return rows


def firing(endpoint: Endpoint | None = None) -> QuerySet[Alert]:
    """What fires now, told and suppressed, the newest first."""
    found = Alert.objects.filter(state=AlertState.FIRING).select_related("endpoint", "host", "rule", "alert_rule")
    found = found.order_by("severity", "-fired_at", "-pk")
    return found if endpoint is None else found.filter(endpoint=endpoint)


def silences(now: datetime) -> tuple[list[Silence], QuerySet[Silence]]:
    """Those that hold now, each with `held`: what it holds back; and the others, the newest end first."""
    holding = list(Silence.objects.filter(starts_at__lte=now, ends_at__gt=now).select_related("made_by"))
    for one in holding:
        one.held = Alert.objects.filter(  # type: ignore[attr-defined]
            state=AlertState.FIRING, suppressed_by=f"silence:{one.pk}"
        ).count()
    over = Silence.objects.exclude(Q(starts_at__lte=now) & Q(ends_at__gt=now)).select_related("made_by")
    return holding, over


def in_words(silence: Silence) -> str:
    """What a silence is about, as host=gpu-1, rule=latency."""
    return ", ".join(f"{name}={value}" for name, value in sorted(silence.matchers.items()))
