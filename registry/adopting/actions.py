"""Registering what was found on a running engine: models, versions, golden tests, the host, and what serves there."""

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from accounts.approvals.models import Act
from accounts.models import User
from audit.actions import Actor, Target, record
from registry import acts, store
from registry.actions import (
    AlreadyThere,
    RegistryError,
    complete_adopted,
    place,
    record_switch,
    register_endpoint,
    register_host,
    register_model,
    register_version,
)
from registry.adopting.looking import Seen, SeenModel, SeenVersion
from registry.models import Deployment, Endpoint, Environment, Host, Model, Placement, Version
from registry.serving.allow import AddressRefused

BY_ITSELF = frozenset({"bundled"})
"""Engines whose versions Lastgood can steer as it finds them: it has their files, and reads back what is in memory."""


@dataclass
class Adopted:
    """What was registered, and what was left out and why, as sentences."""

    made: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def adopt(
    seen: Seen,
    *,
    name: str,
    team: str,
    environment: str = Environment.STAGING,
    token: str = "",
    options: dict[str, str] | None = None,
    user: User | None,
    actor: Actor,
) -> Adopted:
    """Register what `looking.look` found; what is registered already is left as it is, so it can be done again.

    `name` is the host's. `user` is None for a program on the machine itself; where a policy puts hosts under approval,
    a person's host waits for it, and nothing is placed on it until then. Nothing is called on the engine. Raises
    RegistryError.
    """
    done = Adopted()
    host = _host(seen, name=name, token=token, options=options or {}, user=user, actor=actor, done=done)
    for model in seen.models:
        done.left += [f"{model.name}: {sentence}" for sentence in model.skipped]
        if model.versions:
            _adopt_model(seen, model, host, team=team, environment=environment, actor=actor, done=done)
    record(
        action="engine.adopt",
        target=Target("host", name),
        actor=actor,
        data={"address": seen.url, "engine": seen.engine, "made": len(done.made), "left": len(done.left)},
    )
    return done


def _host(
    seen: Seen,
    *,
    name: str,
    token: str,
    options: dict[str, str],
    user: User | None,
    actor: Actor,
    done: Adopted,
) -> Host | None:
    known = Host.objects.filter(address=seen.url).first()
    if known is not None:
        return known
    terms: dict[str, Any] = {
        "name": name,
        "engine": seen.engine,
        "address": seen.url,
        "control_token": token,
        "options": options,
        "actor": actor,
    }
    try:
        made = register_host(**terms) if user is None else acts.register_host(**terms, user=user)
    except (RegistryError, AddressRefused) as error:
        done.left.append(f"The host {name}: {error}")
        return None
    if isinstance(made, Act):
        done.left.append(f"The host {name} waits for its approvals. Adopt the engine again once it is registered.")
        return None
    done.made.append(f"the host {name}")
    return made


def _adopt_model(
    seen: Seen, found: SeenModel, host: Host | None, *, team: str, environment: str, actor: Actor, done: Adopted
) -> None:
    model = Model.objects.filter(slug=found.slug).first()
    if model is None:
        model = register_model(slug=found.slug, name=found.name, team=team, actor=actor)
        done.made.append(f"the model {found.slug}")
    versions = {one.found.name: _adopt_version(seen, model, one, actor, done) for one in found.versions}
    endpoint = _endpoint(model, environment, actor, done)
    if endpoint is None or host is None:
        return
    if seen.engine not in BY_ITSELF:
        done.left.append(
            f"{endpoint.slug} on {host.name}: what serves there was not brought by Lastgood, which would take it for "
            "wrong and replace it. Place the endpoint there, and release a version with its files by a plan."
        )
        return
    serving = versions.get(found.serving.found.name) if found.serving else None
    if serving is None:
        done.left.append(f"{endpoint.slug} on {host.name}: what serves there could not be registered.")
        return
    _place(endpoint, host, serving, found.fence, actor, done)


def _adopt_version(seen: Seen, model: Model, one: SeenVersion, actor: Actor, done: Adopted) -> Version | None:
    known = Version.objects.filter(digest=one.digest).select_related("model").first()
    if known is not None:
        given = complete_adopted(version=known, golden=one.golden, profile=one.reference, actor=actor)
        done.made += [f"the {what} of version {known.number} of {model.slug}" for what in given]
        return known
    try:
        made = register_version(
            model=model,
            manifest=one.manifest,
            files={sha256: store.local(sha256) if store.holds(sha256) else data for sha256, data in one.files.items()},
            golden=one.golden,
            profile=one.reference,
            documentation=_documented(seen, one),
            environment={"engine": seen.engine, "adopted": seen.url, **({"opaque": True} if one.opaque else {})},
            reason_taken="adopted",
            number=one.number,
            actor=actor,
        )
    except (AlreadyThere, ValueError) as error:
        done.left.append(f"{model.slug}, {one.label}: {error}")
        return None
    done.made.append(f"version {made.number} of {model.slug}{', opaque' if one.opaque else ''}")
    return made


def _documented(seen: Seen, one: SeenVersion) -> str:
    """What its readers have to know of where it comes from."""
    told = f"Adopted from {seen.engine} at {seen.url}, where it was {one.label} ({one.state}). "
    told += f"Golden test: {one.captured}. Reference for drift: {one.referred}."
    if one.opaque:
        told += " The engine gave no files: this version stands for what it said of it, and can't be deployed."
    return told


def _endpoint(model: Model, environment: str, actor: Actor, done: Adopted) -> Endpoint | None:
    slug = f"{model.slug}-{environment}"
    endpoint = Endpoint.objects.filter(slug=slug).first()
    if endpoint is None:
        endpoint = register_endpoint(
            slug=slug, name=f"{model.name}, {environment}", model=model, environment=environment, actor=actor
        )
        done.made.append(f"the endpoint {slug}")
    elif endpoint.model_id != model.pk:
        done.left.append(f"The endpoint {slug} serves another model. Register one for {model.slug}.")
        return None
    return endpoint


def _place(endpoint: Endpoint, host: Host, serving: Version, fence: int, actor: Actor, done: Adopted) -> None:
    """Let the endpoint be served there by what serves there already, under fences that the host has not seen."""
    if Placement.objects.filter(endpoint=endpoint, host=host).exists():
        return
    try:
        with transaction.atomic():
            place(endpoint=endpoint, host=host, actor=actor)
            Endpoint.objects.filter(pk=endpoint.pk).update(fence=Greatest(F("fence"), fence))
            if not Deployment.objects.filter(endpoint=endpoint, host=host, until=None).exists():
                record_switch(endpoint=endpoint, host=host, version=serving, cause="adopted", actor=actor)
    except RegistryError as error:
        done.left.append(f"{endpoint.slug} on {host.name}: {error}")
        return
    done.made.append(f"{endpoint.slug} on {host.name}, which serves version {serving.number}")
