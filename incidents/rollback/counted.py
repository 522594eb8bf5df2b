"""How many live requests a version has answered on a host, by the engine's own count and never by more than that.

Some engines count Lastgood's own probes among the requests. A fleet without traffic would pass for one that answers
well, if nobody took them off again.
"""

import datetime
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.utils.translation import gettext

from audit.clock import database_now
from incidents.rollback.fleet import Remote
from incidents.rollback.models import HostStep, Run, StepState
from incidents.rollback.state import LostRace, change
from registry.golden import BATCH_ROWS
from registry.models import Placement
from registry.serving import driver_for
from registry.serving.base import Capabilities, ModelObservation, VersionState


def counts(seen: ModelObservation) -> dict[str, int]:
    """How many requests each version has answered on the host, by the engine's own count."""
    return {name: held.requests for name, held in seen.versions.items()}


def since_done(
    step: HostStep, held: VersionState | None, can: Capabilities, golden: Mapping[str, Any] | None
) -> tuple[int, int]:
    """(requests, failures) of a version since the host's step was done; all of them where the engine was started again.

    Where the engine counts probes too, those of the run (`keep_asked`) are taken off, and as many golden tests as the
    reconciler may have asked meanwhile: rather too many than one too few.
    """
    if held is None:
        return 0, 0
    requests = held.requests - int(step.baseline.get("requests", 0))
    failures = held.failures - int(step.baseline.get("failures", 0))
    if requests < 0:
        requests, failures = held.requests, held.failures
    failures = max(0, failures)
    if can.probes_apart:
        return requests, failures
    return max(failures, requests - int(step.baseline.get("asked", 0)) - _by_reconciler(step, golden)), failures


def keep_asked(step: HostStep, remote: Remote) -> None:
    """Add to the step what was asked of the host by way of `remote` since this was called last, where the engine counts
    that among its requests."""
    asked = len(remote.asked)
    remote.asked.clear()
    if asked and not remote.driver.capabilities.probes_apart:
        with suppress(LostRace):
            change(step, baseline={**step.baseline, "asked": int(step.baseline.get("asked", 0)) + asked})


def in_words(run: Run, step: HostStep, placement: Placement | None) -> list[str]:
    """What the engine itself says each version answered before the run, until its step was done, and since: sentences.

    An engine that was started again counts from nothing; then only what it counts now is said. One that counts the
    requests of all versions as one gets one sentence, and it is said where golden tests are among them.
    """
    before, after = step.baseline.get("before", {}), step.baseline.get("after", {})
    observed = placement.observation.get("versions", {}) if placement else {}
    latest = {name: held["requests"] for name, held in observed.items() if "requests" in held}
    can = driver_for(step.host.engine).capabilities
    among = [] if can.probes_apart else [gettext("golden tests are among them")]
    if not can.counts_by_version:
        if not before | after:
            return []
        sums = [{"": sum(counts.values())} if counts else {} for counts in (before, after, latest)]
        told = gettext("all versions, which the engine does not tell apart: %(growth)s")
        return ["; ".join([told % {"growth": _growth("", *sums)}, *among])]
    numbers = [str(version.number) for version in (run.plan.from_version, run.plan.to_version) if version is not None]
    told = gettext("version %(number)s: %(growth)s")
    return [
        "; ".join([told % {"number": number, "growth": _growth(number, before, after, latest)}, *among])
        for number in numbers
        if number in before | after
    ]


def _growth(name: str, before: Mapping[str, int], after: Mapping[str, int], latest: Mapping[str, int]) -> str:
    words = [gettext("%(before)s before") % {"before": f"{before.get(name, 0):,}"}]
    if name in after:
        words.append(
            gettext("%(grown)s while it was changed") % {"grown": f"{max(0, after[name] - before.get(name, 0)):,}"}
        )
    now = latest.get(name)
    if name in after and now is not None:
        words.append(
            gettext("%(now)s since") % {"now": f"{now - after[name]:,}"}
            if now >= after[name]
            else gettext("%(now)s since the host's restart") % {"now": f"{now:,}"}
        )
    return ", ".join(words)


def _by_reconciler(step: HostStep, golden: Mapping[str, Any] | None) -> int:
    """Requests of the golden tests that are asked of every host at their interval, whoever acts on it."""
    if golden is None or StepState.DONE not in step.marks:
        return 0
    rows = len(next(iter(golden["inputs"].values())))
    seconds = (database_now() - datetime.datetime.fromisoformat(step.marks[StepState.DONE])).total_seconds()
    return (1 + int(seconds / settings.LASTGOOD_GOLDEN_SECONDS)) * math.ceil(rows / BATCH_ROWS)
