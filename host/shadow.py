"""Beginning, renewing and ending a shadow, under a fence. docs/host.md describes the wire."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from host.fleet import Fleet, Model, note, stale
from host.mirror import Session
from host.problems import Problem
from host.store import Target

LONGEST_SECONDS = 3600
BY_CALLER = "its caller ended it"


def wish(value: dict[str, Any]) -> tuple[int, float, float]:
    """The share of requests, the seconds to its end and the tolerance of a call. Raises Problem 400."""
    percent, seconds, tolerance = value.get("percent"), value.get("seconds"), value.get("tolerance", 0)
    if type(percent) is not int or not 0 < percent <= 100:
        raise Problem(400, "bad-request", "A shadow needs 'percent', a whole number from 1 to 100.")
    if type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_SECONDS:
        raise Problem(400, "bad-request", f"A shadow needs 'seconds' until its end, at most {LONGEST_SECONDS}.")
    if type(tolerance) not in (int, float) or not 0 <= tolerance < math.inf:
        raise Problem(400, "bad-request", "A shadow's 'tolerance' is a number of at least 0.")
    return percent, float(seconds), float(tolerance)


async def begin(fleet: Fleet, name: str, target: Target, asked: tuple[int, float, float], fence: int) -> Model:
    """Mirror a share of the requests that the default answers to a loaded version, or renew that. Neither the default
    nor any answer changes, and a restart of the host ends it.

    Under one fence there is one shadow, and none after it was ended or after the switch: 409 `stale-fence`. `not-ready`
    and `digest-mismatch` as in a switch; `is-default` where the version is the default itself.
    """
    (percent, seconds, tolerance), model, slot = asked, fleet.model(name), fleet.slot(name, target.version)
    async with model.lock:
        old, session = model.pointer, fleet.shadows.sessions.get(name)
        facts = {"version": target.version, "digest": target.digest, "percent": percent, "fence": fence}
        default = old.default
        same = session is not None and default is not None and session.is_for(target, default, tolerance, fence)
        used = session is not None and session.fence == fence and (not same or bool(session.ended))
        if fence < old.fence or (fence == old.fence and (old.fenced is not None or used)):
            note("shadow-refused", model, **facts)
            raise stale(fence, old)
        if default is None:
            raise Problem(409, "not-ready", f"{name} has no default version whose requests could be mirrored.")
        if default.digest == target.digest:
            raise Problem(409, "is-default", f"Version {target.version} is the default of {name}: it answers already.")
        await fleet.check_target(slot, target)
        if fence != old.fence:
            await fleet.keep(model, replace(old, fence=fence, fenced=None))
        until = time.monotonic() + seconds
        if same and session is not None:
            session.percent, session.until = percent, until
        else:
            session = Session(slot, target, default, tolerance, fence, percent, until)
            fleet.shadows.put(name, session)
            note("shadow", model, against=default.digest, **facts)
        return model


async def end(fleet: Fleet, name: str, fence: int) -> Model:
    """End the model's shadow; where there is none, only the fence is taken down. 409 `stale-fence` for a lower one."""
    model = fleet.model(name)
    async with model.lock:
        old, session = model.pointer, fleet.shadows.sessions.get(name)
        if fence < old.fence:
            note("shadow-refused", model, end=True, fence=fence)
            raise stale(fence, old)
        if fence != old.fence:
            await fleet.keep(model, replace(old, fence=fence, fenced=None))
        if session is not None and not session.ended:
            session.ended = BY_CALLER
            note("shadow-end", model, digest=session.target.digest, fence=fence)
        return model
