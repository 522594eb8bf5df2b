"""Could we roll back now? To what, how fast, and tested when: of every endpoint in production, from what is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.approvals.models import ApprovalPolicy
from accounts.approvals.policy import FILL_ANY, seat, seats_of
from accounts.approvals.queries import NoPolicy, policy_for
from accounts.holdings import Holding, holdings
from audit.clock import database_now
from audit.english import in_english
from incidents.practice import timing
from incidents.practice.models import Drill, DrillState
from incidents.practice.targets import Aim, targets_of
from incidents.rollback import memory
from incidents.rollback.models import ACTIVE_RUN_STATES, PlanKind, Run
from registry import store
from registry.models import Endpoint, Environment, FreezeWindow, Health, Placement, Version, VersionFile
from registry.queries import freezes_of, placements_of
from registry.serving import driver_for

READY, UNTESTED, NOT_READY = "ready", "untested", "not_ready"
WORDS = {READY: _("ready"), UNTESTED: _("not drilled"), NOT_READY: _("can't")}
TONES = {READY: "ok", UNTESTED: "warn", NOT_READY: "bad"}


@dataclass(frozen=True)
class Readiness:
    """How ready an endpoint is to go to `version`.

    `hindrances` say why it could not be done now, `notes` what to know of it. `predicted` is from the last
    approval until the last host is checked, `load_seconds` beforehand where it is not in memory everywhere; None where
    nothing was measured yet. `needs` is what a load of it is expected to take of a host's memory, by kind of host.
    `drill` is the last one that passed, `fresh` whether that is not too long ago.
    """

    endpoint: Endpoint
    live: Version | None
    version: Version | None
    why: str
    hindrances: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    predicted: timing.Predicted | None = None
    load_seconds: float | None = None
    needs: list[str] = field(default_factory=list)
    warm: bool = False
    drill: Drill | None = None
    fresh: bool = False

    @property
    def state(self) -> str:
        if self.version is None or self.hindrances:
            return NOT_READY
        return READY if self.fresh else UNTESTED

    @property
    def word(self) -> str:
        return WORDS[self.state]

    @property
    def tone(self) -> str:
        return TONES[self.state]

    @property
    def seconds(self) -> float | None:
        return None if self.predicted is None else self.predicted.seconds

    @property
    def spread(self) -> str:
        """Such as “38 s to 55 s by the last 9 runs”; empty where fewer than two were measured."""
        known = self.predicted
        if known is None or known.runs < 2:
            return ""
        told = gettext("%(low)s to %(high)s by the last %(runs)s runs")
        return told % {"low": spell(known.low), "high": spell(known.high), "runs": known.runs}

    @property
    def duration(self) -> str:
        """Such as “about 40 s”; empty where nothing was measured."""
        if self.seconds is None:
            return ""
        if self.load_seconds and not self.warm:
            return gettext("about %(seconds)s, once it is loaded (about %(load)s)") % {
                "seconds": spell(self.seconds),
                "load": spell(self.load_seconds),
            }
        return gettext("about %(seconds)s") % {"seconds": spell(self.seconds)}

    @property
    def tested(self) -> str:
        """When it was drilled last, in a sentence."""
        if self.drill is None or self.drill.ended_at is None:
            return gettext("It was never drilled.")
        if self.fresh:
            return gettext("Drilled on %(day)s at %(endpoint)s.") % self._drilled
        return gettext("Drilled last on %(day)s at %(endpoint)s, which is too long ago.") % self._drilled

    @property
    def _drilled(self) -> dict[str, str]:
        if self.drill is None or self.drill.ended_at is None:
            return {}
        return {"day": f"{self.drill.ended_at:%Y-%m-%d}", "endpoint": self.drill.endpoint.slug}

    @property
    def sentence(self) -> str:
        """The answer in a sentence, such as “Ready, about 40 s: drilled on 2026-11-20 at income-staging.”"""
        if self.version is None:
            return self.why
        if self.hindrances:
            return self.hindrances[0]
        if self.fresh:
            named = {**self._drilled, "duration": self.duration}
            if self.duration:
                return gettext("Ready, %(duration)s: drilled on %(day)s at %(endpoint)s.") % named
            return gettext("Ready: drilled on %(day)s at %(endpoint)s.") % named
        if self.duration:
            told = gettext("Not tested, %(duration)s. %(tested)s")
            return told % {"duration": self.duration, "tested": self.tested}
        return gettext("Not tested. %(tested)s") % {"tested": self.tested}


def spell(seconds: float | None) -> str:
    """A length of time as one says it."""
    value = seconds or 0.0
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


@dataclass(frozen=True)
class Known:
    """Everything that the answers rest on, read at once for all endpoints."""

    now: datetime
    placements: dict[int, list[Placement]]
    freezes: dict[int, list[FreezeWindow]]
    busy: dict[int, Run]
    drills: dict[int, Drill]
    courses: dict[int, list[timing.Course]]
    policies: dict[tuple[str, str], ApprovalPolicy | None]
    holdings: list[Holding]
    files: dict[int, list[VersionFile]]
    lacking: set[str]
    rates: dict[int, float]
    memory: memory.Known


def production() -> list[Endpoint]:
    endpoints = Endpoint.objects.filter(environment=Environment.PRODUCTION).select_related("model")
    return list(endpoints.order_by("slug"))


def board() -> list[Readiness]:
    """Every endpoint in production, those that could not be rolled back first; the same number of queries for any
    number of endpoints."""
    endpoints = production()
    aims = targets_of(endpoints)
    known = gather(endpoints, [aim.version for aim in aims.values() if aim.version is not None])
    rows = [_judge(endpoint, aims[endpoint.pk], known) for endpoint in endpoints]
    return sorted(rows, key=lambda row: ([NOT_READY, UNTESTED, READY].index(row.state), row.endpoint.slug))


def readiness(endpoint: Endpoint) -> Readiness:
    """Of one endpoint, to the version that it would go back to."""
    aim = targets_of([endpoint])[endpoint.pk]
    return _judge(endpoint, aim, gather([endpoint], [aim.version] if aim.version else []))


def readiness_of(version: Version, endpoint: Endpoint) -> Readiness:
    """Of one endpoint to a given version."""
    return readiness_of_all([version], endpoint)[version.pk]


def readiness_of_all(versions: Sequence[Version], endpoint: Endpoint) -> dict[int, Readiness]:
    """Of one endpoint to each of several versions, by the version's key."""
    live = targets_of([endpoint])[endpoint.pk].live
    known = gather([endpoint], versions)
    return {version.pk: _judge(endpoint, Aim(live, version, ""), known) for version in versions}


def gather(endpoints: Sequence[Endpoint], versions: Sequence[Version]) -> Known:
    keys = [endpoint.pk for endpoint in endpoints]
    models = list({endpoint.model_id: endpoint.model for endpoint in endpoints}.values())
    files: dict[int, list[VersionFile]] = {version.pk: [] for version in versions}
    for entry in VersionFile.objects.filter(version__in=list(files)).select_related("artifact"):
        files[entry.version_id].append(entry)
    needed = {entry.artifact_id for entries in files.values() for entry in entries}
    needed |= {version.golden_id for version in versions if version.golden_id}
    tiers = {(endpoint.model.risk_tier, endpoint.environment) for endpoint in endpoints}
    passed = Drill.objects.filter(version__in=list(files), state=DrillState.PASSED).select_related("endpoint")
    busy = Run.objects.filter(endpoint__in=keys, state__in=ACTIVE_RUN_STATES).select_related("plan")
    return Known(
        now=database_now(),
        placements=placements_of(endpoints),
        freezes=freezes_of(endpoints),
        busy={run.endpoint_id: run for run in busy},
        drills={drill.version_id: drill for drill in passed.order_by("ended_at")},
        courses=timing.courses(models),
        policies={tier: _policy(*tier) for tier in tiers},
        holdings=holdings(),
        files=files,
        lacking=store.lacking(needed),
        rates=timing.load_rates(models),
        memory=memory.known_of(versions),
    )


def _policy(risk_tier: str, environment: str) -> ApprovalPolicy | None:
    try:
        return policy_for(subject_kind=PlanKind.ROLLBACK, risk_tier=risk_tier, environment=environment)
    except NoPolicy:
        return None


def _judge(endpoint: Endpoint, aim: Aim, known: Known) -> Readiness:
    version = aim.version
    if version is None:
        return Readiness(endpoint, aim.live, None, aim.why)
    placements = [row for row in known.placements[endpoint.pk] if row.host.drained_at is None]
    drill = known.drills.get(version.pk)
    limit = known.now - timedelta(days=settings.LASTGOOD_DRILL_FRESH_DAYS)
    size = sum(entry.artifact.size for entry in known.files[version.pk])
    warm = bool(placements) and all(holds(row, version) for row in placements)
    predicted = timing.predict(
        known.courses[endpoint.model_id],
        waves=1 if len(placements) < 2 else 2,
        soak_seconds=endpoint.wave_soak_seconds,
    )
    rate = known.rates.get(endpoint.model_id)
    blocked, notes = _of_hosts(endpoint, placements, version, known.memory)
    return Readiness(
        endpoint=endpoint,
        live=aim.live,
        version=version,
        why=aim.why,
        hindrances=[*_of_version(version, known), *blocked, *_of_now(endpoint, known), *_of_people(endpoint, known)],
        notes=notes,
        predicted=predicted,
        load_seconds=size / rate if rate and not warm else None,
        needs=list(dict.fromkeys(need_on(row, version, known.memory).sentence for row in placements)),
        warm=warm,
        drill=drill,
        fresh=drill is not None and drill.ended_at is not None and drill.ended_at >= limit,
    )


def _of_version(version: Version, known: Known) -> list[str]:
    said = []
    if version.quarantined_at is not None:
        said.append(
            gettext("Version %(version)s is quarantined: %(quarantine_reason)s")
            % {"version": version.number, "quarantine_reason": version.quarantine_reason}
        )
    if version.golden_id is None:
        said.append(
            gettext("Version %(version)s has no golden test, so nothing could prove what a host answers.")
            % {"version": version.number}
        )
    gone = [entry.path for entry in known.files[version.pk] if entry.artifact_id in known.lacking]
    gone += [gettext("its golden test")] if version.golden_id in known.lacking else []
    if gone:
        said.append(
            gettext("The artifact store lacks %(gone)s of version %(version)s. Upload it again.")
            % {"gone": ", ".join(gone), "version": version.number}
        )
    return said


def _of_hosts(
    endpoint: Endpoint, placements: Sequence[Placement], version: Version, known: memory.Known
) -> tuple[list[str], list[str]]:
    """What the hosts as last observed speak against it, and what is to be known of them."""
    if not placements:
        return [gettext("No host serves %(endpoint)s.") % {"endpoint": endpoint.slug}], []
    said, notes = [], []
    away = [row.host.name for row in placements if row.health in (Health.UNREACHABLE, Health.UNKNOWN)]
    spare = max(0, len(placements) - max(1, endpoint.min_hosts_serving))
    if len(away) > min(1, spare):
        said.append(
            gettext("%(away)s can't be reached, as last observed; a plan tolerates %(spare)s absent.")
            % {"away": ", ".join(away), "spare": min(1, spare)}
        )
    elif away:
        notes.append(gettext("%(away)s can't be reached, as last observed; a plan tolerates that.") % {"away": away[0]})
    full = [row.host for row in placements if is_full(row, version, known)]
    stuck = [host.name for host in full if not driver_for(host.engine).capabilities.drain]
    if stuck:
        said.append(
            gettext("The memory of %(stuck)s has no room for version %(version)s beside what is served.")
            % {"stuck": ", ".join(stuck), "version": version.number}
        )
    elif full:
        names = ", ".join(host.name for host in full)
        notes.append(
            gettext("The memory of %(names)s holds one version at a time: each is out of service while it changes.")
            % {"names": names}
        )
    return said, notes


def holds(placement: Placement, version: Version) -> bool:
    """Whether the host was last seen with the version in its memory."""
    held = placement.observation.get("versions", {}).values()
    return any(one.get("digest") == version.digest and one.get("state") == "ready" for one in held)


def need_on(placement: Placement, version: Version, known: memory.Known) -> memory.Need:
    """What the host's memory has to have free for it."""
    return known.need(version, engine=placement.host.engine, device=placement.observation.get("device", ""))


def is_full(placement: Placement, version: Version, known: memory.Known) -> bool:
    seen = placement.observation
    if seen.get("memory_total", 0) <= 0 or holds(placement, version):
        return False
    return bool(seen.get("memory_free", 0) < need_on(placement, version, known).bytes)


def _of_now(endpoint: Endpoint, known: Known) -> list[str]:
    said = []
    if (run := known.busy.get(endpoint.pk)) is not None:
        kind, state = in_english(run.plan.get_kind_display).lower(), in_english(run.get_state_display).lower()
        said.append(
            gettext("A %(kind)s of %(endpoint)s is %(state)s.")
            % {"kind": kind, "endpoint": endpoint.slug, "state": state}
        )
    frozen: list[Any] = [window for window in known.freezes[endpoint.pk] if window.begun]
    if frozen:
        said.append(
            gettext("%(endpoint)s is frozen until %(until)s UTC: %(reason)s")
            % {"endpoint": endpoint.slug, "until": f"{frozen[0].until:%Y-%m-%d %H:%M}", "reason": frozen[0].reason}
        )
    return said


def _of_people(endpoint: Endpoint, known: Known) -> list[str]:
    """Whether there are people for the seats of its approval policy."""
    tier = (endpoint.model.risk_tier, endpoint.environment)
    policy = known.policies[tier]
    if policy is None:
        return [
            gettext("No approval policy covers a rollback of a %(tier)s-risk model in %(environment)s.")
            % {"tier": tier[0], "environment": tier[1]}
        ]
    people: dict[str, set[str]] = {}
    named = {str(factor["role"]) for factor in policy.factors} | FILL_ANY
    for row in known.holdings:
        if row.role in named and row.covers(model=endpoint.model.slug, team=endpoint.model.team):
            people.setdefault(str(row.user_id), set()).add(row.role)
    seating = seat(seats_of(policy.required, policy.factors), {who: frozenset(held) for who, held in people.items()})
    if seating.complete:
        return []
    wanted = " and ".join(role or "approver" for role in seating.open_roles)
    return [
        gettext("The policy %(policy)s asks for people who are not there: %(wanted)s.")
        % {"policy": policy, "wanted": wanted}
    ]
