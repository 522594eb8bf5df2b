"""What serves: endpoints, hosts, what shall be live where, and what was."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit
from registry import sealing
from registry.actions.known import save_checked
from registry.errors import AlreadyThere, RegistryError
from registry.models import Deployment, Endpoint, FreezeWindow, Host, Model, Placement, Version
from registry.serving import driver_for
from registry.serving.allow import check_address
from registry.serving_access import token_place

FOLDERS = frozenset({"repository", "seen_as"})
MAX_FREEZE = datetime.timedelta(days=30)
LOOK_AFTER_SWITCH = datetime.timedelta(seconds=2)
"""Who switched a host has just read it back and asked it the golden test. The look from outside comes a moment later,
when that worker has the other hosts of its wave behind it."""


@transaction.atomic
def register_endpoint(*, slug: str, name: str, model: Model, actor: Actor, **settled: Any) -> Endpoint:
    """A new endpoint of the model. `settled`: environment, soak_seconds, watch_seconds, wave_soak_seconds,
    undo_seconds, min_hosts_serving. Raises AlreadyThere, RegistryError."""
    if Endpoint.objects.filter(slug=slug).exists():
        raise AlreadyThere(gettext("There is an endpoint %(slug)s already. Choose another name.") % {"slug": slug})
    endpoint = Endpoint(slug=slug, name=name, model=model, **settled)
    save_checked(endpoint)
    facts = {"model": model.slug, "environment": endpoint.environment, "soak_seconds": endpoint.soak_seconds}
    record(action="endpoint.register", target=Target("endpoint", slug), actor=actor, data=facts)
    return endpoint


def register_host(
    *,
    name: str,
    engine: str,
    address: str,
    control_token: str,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    actor: Actor,
) -> Host:
    """A machine that may serve. The token is sealed, and shown to nobody again. `options` are those of its engine.

    Raises registry.serving.allow.AddressRefused for an address outside of the allowed networks, AlreadyThere, and
    RegistryError for an engine without a driver, or options that it does not have.
    """
    check_host(name=name, engine=engine, address=address, options=options)
    return enter_host(
        name=name,
        engine=engine,
        address=address,
        control_token=control_token,
        labels=labels,
        options=options,
        actor=actor,
    )


def check_host(*, name: str, engine: str, address: str, options: dict[str, str] | None = None) -> None:
    """Whether the host could be registered; its address may be looked up for it. Raises as `register_host` does."""
    check_address(address, settings.LASTGOOD_HOST_NETWORKS)
    try:
        driver = driver_for(engine)
    except LookupError as error:
        raise RegistryError(str(error.args[0])) from None
    _check_options(engine, driver.options, options or {})
    if Host.objects.filter(name=name).exists():
        raise AlreadyThere(gettext("There is a host %(name)s already. Choose another name.") % {"name": name})


def _check_options(engine: str, known: Mapping[str, str], given: dict[str, str]) -> None:
    strangers = sorted(given.keys() - known.keys())
    if strangers:
        has = ", ".join(sorted(known)) or "none"
        raise RegistryError(
            gettext("The engine %(engine)s has no option %(strangers)s. Its options: %(has)s.")
            % {"engine": engine, "strangers": strangers[0], "has": has}
        )
    for name, value in given.items():
        if name in FOLDERS:
            _check_folder(name, value)
        else:
            check_address(value, settings.LASTGOOD_HOST_NETWORKS)
    if "repository" in known and "repository" not in given:
        raise RegistryError(
            gettext("A host of the engine %(engine)s needs the option repository: %(repository)s.")
            % {"engine": engine, "repository": known["repository"]}
        )


def _check_folder(name: str, value: str) -> None:
    """A worker writes below it, so it must lie where whoever runs Lastgood has said that hosts' files are."""
    folder = Path(value)
    if not folder.is_absolute() or ".." in folder.parts:
        raise RegistryError(gettext("The option %(name)s must be a path from the root, without '..'.") % {"name": name})
    roots = [Path(root).resolve() for root in settings.LASTGOOD_REPOSITORIES]
    if name == "repository" and not any(folder.resolve().is_relative_to(root) for root in roots):
        raise RegistryError(
            gettext(
                "%(value)s lies in none of the folders where engines' model repositories may be. Whoever runs "
                "Lastgood names them in LASTGOOD_REPOSITORIES."
            )
            % {"value": value}
        )


@transaction.atomic
def enter_host(
    *,
    name: str,
    engine: str,
    address: str,
    control_token: str,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    actor: Actor,
) -> Host:
    """Enter a host that was checked. Raises AlreadyThere, RegistryError."""
    if Host.objects.filter(name=name).exists():
        raise AlreadyThere(gettext("There is a host %(name)s already. Choose another name.") % {"name": name})
    host = Host(name=name, engine=engine, address=address.rstrip("/"), labels=labels or {}, options=options or {})
    save_checked(host)
    _seal_token(host, control_token)
    facts = {
        "engine": engine,
        "address": host.address,
        "labels": {k: str(v) for k, v in host.labels.items()},
        "options": dict(host.options),
    }
    record(action="host.register", target=Target("host", name), actor=actor, data=facts)
    return host


@transaction.atomic
def replace_token(*, host: Host, control_token: str, actor: Actor) -> None:
    """Seal another control token for the host."""
    _seal_token(host, control_token)
    record(action="host.token_replace", target=Target("host", host.name), actor=actor)


def _seal_token(host: Host, control_token: str) -> None:
    sealed = sealing.seal(control_token, token_place(host)) if control_token else b""
    Host.objects.filter(pk=host.pk).update(control_token_sealed=sealed)
    host.control_token_sealed = sealed


@transaction.atomic
def place(*, endpoint: Endpoint, host: Host, actor: Actor) -> Placement:
    """Let the host serve the endpoint; it is observed at once. Raises AlreadyThere, and RegistryError where the machine
    serves the model for another endpoint: it has one default per model, so that a plan for a staging endpoint would
    change what production answers, under staging's approvals."""
    Model.objects.select_for_update().get(pk=endpoint.model_id)
    others = Placement.objects.filter(host__address=host.address, endpoint__model=endpoint.model_id)
    other = others.exclude(endpoint=endpoint).select_related("endpoint").first()
    if other is not None:
        raise RegistryError(
            gettext("%(address)s serves this model for %(slug)s. Use another host.")
            % {"address": host.address, "slug": other.endpoint.slug}
        )
    placement, made = Placement.objects.get_or_create(endpoint=endpoint, host=host)
    if not made:
        raise AlreadyThere(gettext("%(name)s serves %(slug)s already.") % {"name": host.name, "slug": endpoint.slug})
    touch(endpoint)
    facts = {"endpoint": endpoint.slug, "host": host.name}
    record(action="placement.add", target=Target("endpoint", endpoint.slug), actor=actor, data=facts)
    return placement


@transaction.atomic
def record_switch(
    *,
    endpoint: Endpoint,
    host: Host,
    version: Version,
    cause: str,
    run_ref: str = "",
    incident_ref: str = "",
    gates_off: bool = False,
    actor: Actor,
) -> Deployment:
    """Enter that the host was switched to the version: the open span ends, a new one begins, and the version is what
    shall serve there. When the version's span is open already, it stays, and only what is desired is made sure of.

    Raises RegistryError when the host does not serve the endpoint, or the version is of another model.
    """
    if version.model_id != endpoint.model_id:
        raise RegistryError(
            gettext("%(version)s is of another model than %(slug)s serves.")
            % {"version": version, "slug": endpoint.slug}
        )
    look_at = Now() + min(LOOK_AFTER_SWITCH, datetime.timedelta(seconds=settings.LASTGOOD_OBSERVE_SECONDS))
    placed = Placement.objects.filter(endpoint=endpoint, host=host).update(
        desired=version, observe_due_at=look_at, golden_due_at=look_at
    )
    if not placed:
        raise RegistryError(
            gettext("%(name)s does not serve %(slug)s. Place it there first.")
            % {"name": host.name, "slug": endpoint.slug}
        )
    touch(endpoint)
    live = Deployment.objects.filter(endpoint=endpoint, host=host, until=None).select_related("version").first()
    if live is not None and live.version_id == version.pk:
        return live
    before = live.version if live is not None else None
    moment = database_now()
    if live is not None:
        Deployment.objects.filter(pk=live.pk, until=None).update(until=moment)
    opened = Deployment.objects.create(
        endpoint=endpoint,
        host=host,
        version=version,
        since=moment,
        cause=cause,
        run_ref=run_ref,
        incident_ref=incident_ref,
        gates_off=gates_off,
    )
    record(
        action="deployment.switch",
        target=Target("endpoint", endpoint.slug),
        actor=actor,
        incident=incident_ref,
        data={
            "endpoint": endpoint.slug,
            "host": host.name,
            "from": before.digest if before else "",
            "to": version.digest,
            "number": version.number,
            "cause": cause,
            "run": run_ref,
            "gates_off": gates_off,
        },
    )
    return opened


@transaction.atomic
def freeze(
    *,
    endpoint: Endpoint,
    until: datetime.datetime,
    reason: str,
    actor: Actor,
    starts: datetime.datetime | None = None,
) -> FreezeWindow:
    """Let nothing change on the endpoint until then, at most 30 days ahead; from `starts` on, where it is planned.

    It stands beside the freezes that are there. Raises RegistryError without a reason.
    """
    _check_span(until, reason, "frozen")
    if starts is not None and starts >= until:
        raise RegistryError(gettext("A freeze ends after it has begun. Choose a later end."))
    planned = starts if starts is not None and starts > database_now() else None
    touch(endpoint)
    window = FreezeWindow.objects.create(
        endpoint=endpoint, starts=planned, until=until, reason=reason[:300], by=actor.id
    )
    data = {"window": window.pk, "until": until} | ({"from": planned} if planned else {})
    target = Target("endpoint", endpoint.slug)
    record(action="endpoint.freeze", target=target, actor=actor, data=data, reason=reason)
    return window


@transaction.atomic
def lift(*, endpoint: Endpoint, window: int, actor: Actor, reason: str = "") -> None:
    """End the freeze of that id, or call it off where it is planned; the others stay.

    Raises RegistryError when the endpoint has no such freeze, or it is over or lifted.
    """
    touch(endpoint)
    if not endpoint.freezes.filter(pk=window, lifted_at=None, until__gt=Now()).update(lifted_at=Now()):
        raise RegistryError(
            gettext("%(slug)s is not frozen by %(window)s: it is over, or lifted. Choose another.")
            % {"slug": endpoint.slug, "window": window}
        )
    target = Target("endpoint", endpoint.slug)
    record(action="endpoint.lift", target=target, actor=actor, data={"window": window}, reason=reason)


@transaction.atomic
def name_fallback(*, endpoint: Endpoint, version: Version | None, reason: str, actor: Actor) -> None:
    """Name the version that the endpoint keeps warm on every host, to be fallen back on; None for none any more. The
    one that was named before may leave their memory.

    It changes no answer: falling back is a plan. Raises RegistryError without a reason, for a version of another model,
    and for one that is quarantined.
    """
    if not reason.strip():
        raise RegistryError(gettext("Say why this version, or none, is the one to fall back on."))
    if version is not None and version.model_id != endpoint.model_id:
        raise RegistryError(
            gettext("%(version)s is of another model than %(slug)s serves.")
            % {"version": version, "slug": endpoint.slug}
        )
    if version is not None and version.quarantined_at is not None:
        raise RegistryError(
            gettext("%(version)s is quarantined: nobody should fall back on it.") % {"version": version}
        )
    before = Endpoint.objects.select_for_update().select_related(None).get(pk=endpoint.pk).fallback_id
    Endpoint.objects.filter(pk=endpoint.pk).update(fallback=version, version=F("version") + 1)
    endpoint.refresh_from_db(fields=["fallback", "version"])
    digests = dict(Version.objects.filter(pk=before).values_list("pk", "digest"))
    data = {"fallback": version.digest if version else "", "before": digests.get(before, "")}
    record(action="endpoint.fallback", target=Target("endpoint", endpoint.slug), actor=actor, data=data, reason=reason)
    if version is not None:
        send_on_commit("rollback.keep_warm", [endpoint.pk], queue="rollback")
    if before is not None and before != endpoint.fallback_id:
        send_on_commit("rollback.let_go", [endpoint.pk, before], queue="rollback")


@transaction.atomic
def hold(*, host: Host, until: datetime.datetime, reason: str, actor: Actor) -> None:
    """Let nobody converge the host until then; it is still observed."""
    _check_span(until, reason, "held")
    Host.objects.filter(pk=host.pk).update(held_until=until, held_reason=reason[:300])
    _changed(host, "host.hold", actor, reason, {"until": until})


@transaction.atomic
def release(*, host: Host, reason: str, actor: Actor) -> None:
    """End a hold. Raises RegistryError when there is none."""
    if not Host.objects.filter(pk=host.pk, held_until__isnull=False).update(held_until=None, held_reason=""):
        raise RegistryError(gettext("%(name)s is not held.") % {"name": host.name})
    _changed(host, "host.release", actor, reason, {})


@transaction.atomic
def drain(*, host: Host, reason: str, actor: Actor) -> None:
    """Mark that traffic was taken off the host: it no longer counts as one that shall serve.

    Lastgood does not steer traffic; whoever drains it does that in the load balancer. Raises RegistryError without a
    reason, or when the host is drained.
    """
    if not reason.strip():
        raise RegistryError(gettext("Say why the host is drained."))
    if not Host.objects.filter(pk=host.pk, drained_at=None).update(drained_at=Now()):
        raise RegistryError(gettext("%(name)s is drained already.") % {"name": host.name})
    _changed(host, "host.drain", actor, reason, {})


@transaction.atomic
def bring_back(*, host: Host, reason: str, actor: Actor) -> None:
    """Mark that the host takes traffic again. Raises RegistryError when it was not drained."""
    if not Host.objects.filter(pk=host.pk, drained_at__isnull=False).update(drained_at=None):
        raise RegistryError(gettext("%(name)s is not drained.") % {"name": host.name})
    _changed(host, "host.bring_back", actor, reason, {})


def touch(endpoint: Endpoint) -> None:
    """Raise the endpoint's ETag."""
    Endpoint.objects.filter(pk=endpoint.pk).update(version=F("version") + 1)


def _check_span(until: datetime.datetime, reason: str, word: str) -> None:
    if not reason.strip():
        raise RegistryError(gettext("Say why it is %(word)s.") % {"word": word})
    now = database_now()
    if not now < until <= now + MAX_FREEZE:
        raise RegistryError(
            gettext("It can be %(word)s until a moment from now on, at most %(days)s days ahead.")
            % {"word": word, "days": MAX_FREEZE.days}
        )


def _changed(host: Host, action: str, actor: Actor, reason: str, data: dict[str, Any]) -> None:
    """Put a change of the host on record, and show it on the pages of its endpoints: placements are always written
    before their endpoint, so that no two writers wait for each other."""
    Placement.objects.filter(host=host).update(observe_due_at=Now())
    Endpoint.objects.filter(placements__host=host).update(version=F("version") + 1)
    host.refresh_from_db(fields=["held_until", "held_reason", "drained_at"])
    record(action=action, target=Target("host", host.name), actor=actor, reason=reason, data=data)
