"""Bringing a version onto a host and into its memory without touching traffic, each act with its intent and outcome."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from audit.actions import Actor, Target, record, service_actor
from incidents.rollback import fleet
from incidents.rollback.alone import once_alone
from incidents.rollback.fleet import Remote
from incidents.rollback.shared import emptied_beside
from registry.models import Endpoint, Host, Version
from registry.serving.base import ServingError

logger = logging.getLogger(__name__)
WORKER = service_actor("rollback")


class NotPrepared(Exception):
    """The version could not be made warm on the host; the message is a sentence."""


def make_ready(*, remote: Remote, version: Version, incident_ref: str, cause: str, actor: Actor) -> None:
    """Bring the version's files onto a host whose memory can't hold it beside what is served. Idempotent."""
    if not fleet.is_staged(remote.look(), version):
        act("stage", lambda: remote.stage(version), remote, version, incident_ref, cause, actor)


def keep_fallback_warm(endpoint_id: Any) -> list[str]:
    """Bring the version that the endpoint falls back on into the memory of each host that serves; the names of those
    that hold it now. A host that can't is named in the log: the preflight of a plan tries it again, and says so. Done
    once, when it is named; what becomes of the version that was named before: incidents.rollback.fallback."""
    endpoint = Endpoint.objects.select_related("model", "fallback").get(pk=endpoint_id)
    version, held = endpoint.fallback, []
    if version is None:
        return []
    for row in endpoint.placements.filter(host__drained_at=None).select_related("host").order_by("host__name"):
        try:
            remote = fleet.reach(row.host, endpoint)
            make_warm(
                endpoint=endpoint, remote=remote, version=version, incident_ref="", cause="fallback", actor=WORKER
            )
            held.append(row.host.name)
        except (NotPrepared, ServingError) as error:
            logger.warning("rollback.fallback.cold host=%s error=%s", row.host.name, error)
    return held


def check_memory(endpoint: Endpoint, host: Host) -> None:
    """Raises NotPrepared where a run of another endpoint is emptying the machine for its own version."""
    for other in emptied_beside(endpoint, {host.name}).values():
        raise NotPrepared(f"A run of {other} empties {host.name} for its own version. Wait for its end and try again.")


def make_warm(
    *, endpoint: Endpoint, remote: Remote, version: Version, incident_ref: str, cause: str, actor: Actor
) -> None:
    """Stage and load `version` beside what is served. Idempotent. `cause` says for which plan or ranking.

    Raises NotPrepared, or the ServingError of a host that does not answer.
    """
    reads_back = remote.driver.capabilities.digest_read_back
    seen = remote.look()
    if not fleet.is_staged(seen, version):
        act("stage", lambda: remote.stage(version), remote, version, incident_ref, cause, actor)
    if not fleet.is_loaded(seen, version, read_back=reads_back):
        check_memory(endpoint, remote.host)
        act("load", lambda: remote.load(version), remote, version, incident_ref, cause, actor)
    if not fleet.is_loaded(remote.look(), version, read_back=reads_back):
        raise NotPrepared(
            f"{remote.host.name} said that version {version.number} is loaded, but what is in its memory is not it."
        )


def act(
    name: str,
    call: Callable[[], None],
    remote: Remote,
    version: Version,
    incident_ref: str,
    cause: str,
    actor: Actor,
) -> None:
    """One call that changes what a host holds, its intent on record before it and its outcome after it."""
    data = {"host": remote.host.name, "step": name, "version": version.digest, "cause": cause}
    put = partial(record, target=Target("host", remote.host.name), actor=actor, incident=incident_ref)
    with once_alone(remote, name):
        put(action="rollback.prepare.intent", outcome="intent", data=data)
        try:
            call()
        except ServingError as error:
            failed = data | {"error": type(error).__name__}
            put(action="rollback.prepare.outcome", outcome="failed", data=failed, reason=str(error))
            raise
    put(action="rollback.prepare.outcome", data=data)
