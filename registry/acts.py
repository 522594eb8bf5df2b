"""Changes of the registry that a policy may put under approval: lifting a quarantine, moving `champion`, a new host.

Each function does the change at once where no active policy names its kind, and returns the act that waits for its
approvals where one does.
"""

import uuid
from typing import Any

from django.utils.translation import gettext

from accounts.approvals import acts
from accounts.approvals.models import Act, SubjectKind
from accounts.approvals.subjects import diff_row
from accounts.models import User
from audit.actions import Actor
from audit.canonical import instant
from registry import actions, sealing
from registry.models import Alias, Environment, Host, Model, Version
from registry.serving.allow import AddressRefused


def environment_of(model: Model) -> str:
    """Production where the model serves an endpoint there, else staging."""
    live = model.endpoints.filter(environment=Environment.PRODUCTION).exists()
    return str(Environment.PRODUCTION if live else Environment.STAGING)


def lift_quarantine(*, version: Version, reason: str, user: User, actor: Actor) -> Version | Act:
    """Raises RegistryError where there is none, or no reason; acts.ActRefused."""
    if version.quarantined_at is None:
        raise actions.RegistryError(gettext("%(version)s is not quarantined.") % {"version": version})
    if not reason.strip():
        raise actions.RegistryError(gettext("Say why the version may be used again."))
    asked = acts.ask(
        kind=SubjectKind.UNQUARANTINE,
        body={**_version_facts(version), "quarantined_at": instant(version.quarantined_at)},
        title=f"Lift the quarantine of {version.model.slug} version {version.number}",
        reason=reason,
        user=user,
        actor=actor,
        **_scope(version.model),
    )
    if asked is not None:
        return asked
    actions.lift_quarantine(version=version, reason=reason, actor=actor)
    return version


def move_alias(*, model: Model, name: str, version: Version, user: User, actor: Actor, reason: str = "") -> Alias | Act:
    """Moving `champion` may need approvals; other names move at once. Raises RegistryError, acts.ActRefused."""
    if name == Alias.CHAMPION and version.model_id == model.pk:
        before = _champion(model)
        if before != version:
            asked = acts.ask(
                kind=SubjectKind.PROMOTION,
                body={**_version_facts(version), "from": before.digest if before else ""},
                title=f"Name version {version.number} champion of {model.slug}",
                reason=reason,
                user=user,
                actor=actor,
                **_scope(model),
            )
            if asked is not None:
                return asked
    return actions.move_alias(model=model, name=name, version=version, actor=actor, reason=reason)


def register_host(
    *,
    name: str,
    engine: str = "bundled",
    address: str,
    control_token: str,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    user: User,
    actor: Actor,
) -> Host | Act:
    """Raises as actions.register_host does, and acts.ActRefused. A token that waits is sealed; nobody is shown it."""
    actions.check_host(name=name, engine=engine, address=address, options=options)
    identity = uuid.uuid4()
    asked = acts.ask(
        kind=SubjectKind.HOST_REGISTRATION,
        body={
            "host": {"name": name, "engine": engine, "address": address.rstrip("/")},
            "labels": {key: str(value) for key, value in (labels or {}).items()},
            "options": dict(options or {}),
        },
        title=f"Register the host {name} at {address.rstrip('/')}",
        reason="",
        user=user,
        actor=actor,
        identity=identity,
        sealed=sealing.seal(control_token, _place(identity)),
    )
    if asked is not None:
        return asked
    return actions.enter_host(
        name=name,
        engine=engine,
        address=address,
        control_token=control_token,
        labels=labels,
        options=options,
        actor=actor,
    )


def _scope(model: Model) -> dict[str, str]:
    """Which policy is asked for, and whose roles count."""
    return {
        "risk_tier": model.risk_tier,
        "environment": environment_of(model),
        "model": model.slug,
        "team": model.team,
    }


def _version_facts(version: Version) -> dict[str, Any]:
    return {"model": version.model.slug, "number": version.number, "digest": version.digest}


def _version(body: dict[str, Any]) -> Version:
    return Version.objects.select_related("model").get(digest=body["digest"], model__slug=body["model"])


def _champion(model: Model) -> Version | None:
    alias = Alias.objects.filter(model=model, name=Alias.CHAMPION).select_related("version__model").first()
    return alias.version if alias is not None else None


def _place(identity: uuid.UUID) -> str:
    """What the sealed token of a waiting host is bound to."""
    return f"accounts_act:sealed:{identity}"


def _perform_unquarantine(act: Act, body: dict[str, Any], actor: Actor) -> None:
    version = _version(body)
    if version.quarantined_at is None or instant(version.quarantined_at) != body["quarantined_at"]:
        raise acts.ActRefused(
            "moved", gettext("%(version)s is no longer quarantined as it was. Propose it again.") % {"version": version}
        )
    try:
        actions.lift_quarantine(version=version, reason=act.reason, actor=actor)
    except actions.RegistryError as error:
        raise acts.ActRefused("refused", str(error)) from error


def _perform_promotion(act: Act, body: dict[str, Any], actor: Actor) -> None:
    version = _version(body)
    # The model is locked as move_alias locks it, so that what was read is what is replaced.
    model = Model.objects.select_for_update().get(pk=version.model_id)
    before = _champion(model)
    version.refresh_from_db(fields=["quarantined_at"])
    if version.quarantined_at is not None:
        raise acts.ActRefused(
            "moved",
            gettext("%(version)s was quarantined since. Its quarantine has to be lifted first.") % {"version": version},
        )
    if (before.digest if before else "") != body["from"]:
        raise acts.ActRefused(
            "moved", gettext("The champion of %(slug)s was moved since. Propose it again.") % {"slug": model.slug}
        )
    actions.move_alias(model=model, name=Alias.CHAMPION, version=version, actor=actor, reason=act.reason)


def _prepare_host(body: dict[str, Any]) -> None:
    try:
        actions.check_host(**body["host"], options=body["options"])
    except (AddressRefused, actions.RegistryError) as error:
        raise acts.ActRefused("refused", str(error)) from error


def _perform_host(act: Act, body: dict[str, Any], actor: Actor) -> None:
    try:
        token = sealing.unseal(bytes(act.sealed), _place(act.id))
        actions.enter_host(
            **body["host"], labels=body["labels"], options=body["options"], control_token=token, actor=actor
        )
    except (sealing.SealBroken, actions.RegistryError) as error:
        raise acts.ActRefused("refused", str(error)) from error


def _quarantine_rows(body: dict[str, Any]) -> list[dict[str, str]]:
    name = gettext("%(model)s version %(number)s (%(digest)s)") % {
        "model": body["model"],
        "number": body["number"],
        "digest": body["digest"][:12],
    }
    return [
        diff_row(
            name,
            "quarantined",
            gettext("since %(quarantined_at)s UTC") % {"quarantined_at": body["quarantined_at"][:19].replace("T", " ")},
            "no",
        )
    ]


def _promotion_rows(body: dict[str, Any]) -> list[dict[str, str]]:
    before = Version.objects.filter(digest=body["from"]).first() if body["from"] else None
    now = (
        gettext("version %(before)s (%(digest)s)") % {"before": before.number, "digest": before.digest[:12]}
        if before
        else gettext("no version")
    )
    return [
        diff_row(
            body["model"],
            "champion",
            now,
            gettext("version %(number)s (%(digest)s)") % {"number": body["number"], "digest": body["digest"][:12]},
        )
    ]


def _host_rows(body: dict[str, Any]) -> list[dict[str, str]]:
    named = (
        body["host"]
        | {gettext("label %(key)s") % {"key": key}: value for key, value in body["labels"].items()}
        | body["options"]
    )
    return [diff_row(body["host"]["name"], label, "", value) for label, value in named.items()]


def register_all() -> None:
    acts.register(
        acts.ActKind(
            kind=SubjectKind.UNQUARANTINE,
            perform=_perform_unquarantine,
            rows=_quarantine_rows,
            consequence=lambda body: (
                gettext("Plans may go to %(model)s version %(number)s again.")
                % {"model": body["model"], "number": body["number"]}
            ),
        )
    )
    acts.register(
        acts.ActKind(
            kind=SubjectKind.PROMOTION,
            perform=_perform_promotion,
            rows=_promotion_rows,
            consequence=lambda body: (
                gettext("Version %(number)s becomes the champion of %(model)s.")
                % {"number": body["number"], "model": body["model"]}
            ),
        )
    )
    acts.register(
        acts.ActKind(
            kind=SubjectKind.HOST_REGISTRATION,
            perform=_perform_host,
            prepare=_prepare_host,
            rows=_host_rows,
            consequence=lambda body: (
                gettext("Endpoints may be placed on %(name)s, which is then called there.")
                % {"name": body["host"]["name"]}
            ),
        )
    )
