"""Bringing a version onto a host and into its memory without touching traffic, each act with its intent and outcome."""

from collections.abc import Callable
from functools import partial

from audit.actions import Actor, Target, record
from incidents.rollback import fleet
from incidents.rollback.fleet import Remote
from registry.models import Version
from registry.serving.base import ServingError


class NotPrepared(Exception):
    """The version could not be made warm on the host; the message is a sentence."""


def make_ready(*, remote: Remote, version: Version, incident_ref: str, cause: str, actor: Actor) -> None:
    """Bring the version's files onto a host whose memory can't hold it beside what is served. Idempotent."""
    if not fleet.is_staged(remote.look(), version):
        act("stage", lambda: remote.stage(version), remote, version, incident_ref, cause, actor)


def make_warm(*, remote: Remote, version: Version, incident_ref: str, cause: str, actor: Actor) -> None:
    """Stage and load `version` beside what is served. Idempotent. `cause` says for which plan or ranking.

    Raises NotPrepared, or the ServingError of a host that does not answer.
    """
    reads_back = remote.driver.capabilities.digest_read_back
    seen = remote.look()
    if not fleet.is_staged(seen, version):
        act("stage", lambda: remote.stage(version), remote, version, incident_ref, cause, actor)
    if not fleet.is_loaded(seen, version, read_back=reads_back):
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
    put(action="rollback.prepare.intent", outcome="intent", data=data)
    try:
        call()
    except ServingError as error:
        failed = data | {"error": type(error).__name__}
        put(action="rollback.prepare.outcome", outcome="failed", data=failed, reason=str(error))
        raise
    put(action="rollback.prepare.outcome", data=data)
