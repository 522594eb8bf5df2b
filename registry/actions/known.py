"""What is known: models, versions, the names that move between them, and what is quarantined."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.dispatch import send_on_commit
from registry import content, store
from registry.errors import AlreadyThere, RegistryError
from registry.golden import check_golden
from registry.manifest import Manifest, read_manifest
from registry.models import Alias, Artifact, Deployment, Endpoint, Lineage, LineageKind, Model, Version, VersionFile

MAX_DOCUMENTATION = 100_000


def save_checked(row: Any) -> None:
    """Insert a row that passes its own validation. Raises RegistryError with the field in the sentence."""
    try:
        # An empty list or object is a value; Django's validation takes it for a missing one.
        empty = [field.name for field in row._meta.fields if getattr(row, field.attname) in ([], {})]
        row.full_clean(exclude=empty, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        parts = [f"{field}: {' '.join(found)}" for field, found in error.message_dict.items()]
        raise RegistryError(" ".join(parts)) from None
    row.save(force_insert=True)


@transaction.atomic
def register_model(*, slug: str, name: str, team: str, actor: Actor, **described: Any) -> Model:
    """A new model. `described`: risk_tier, task, description, subject_noun, subject_noun_plural, error_meaning,
    group_columns. Raises AlreadyThere, RegistryError."""
    if Model.objects.filter(slug=slug).exists():
        raise AlreadyThere(
            gettext("There is a model %(slug)s already. Add a version to it, or choose another name.") % {"slug": slug}
        )
    model = Model(slug=slug, name=name, team=team, **described)
    save_checked(model)
    facts = {"name": name, "team": team, "risk_tier": model.risk_tier, "task": model.task}
    record(action="model.register", target=Target("model", slug), actor=actor, data=facts)
    return model


@dataclass(frozen=True)
class Extras:
    """The files that come with a version beside those of its manifest."""

    profile: bytes | None
    golden: bytes | None
    holdout: bytes | None

    def check(self, signature: Mapping[str, Any]) -> None:
        if self.profile is not None:
            content.check_profile(self.profile)
        if self.golden is not None:
            check_golden(self.golden, signature)
        if self.holdout is not None:
            content.check_holdout(self.holdout, [str(entry["name"]) for entry in signature["inputs"]])


def register_version(
    *,
    model: Model,
    manifest: bytes,
    files: Mapping[str, Path | bytes],
    profile: bytes | None = None,
    golden: bytes | None = None,
    holdout: bytes | None = None,
    metrics: Mapping[str, Any] | None = None,
    documentation: str = "",
    training_data_digest: str = "",
    code_commit: str = "",
    environment: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    parents: Iterable[tuple[Version, str]] = (),
    reason_taken: str = "release",
    number: int | None = None,
    actor: Actor,
) -> Version:
    """A new version of the model, with the next number, or a later one that is given. `files` maps SHA-256 to a path or
    bytes; one that the store holds already may be left out. `environment["engine"]` other than `bundled` takes files of
    any format unopened.

    Every digest is computed anew. Raises AlreadyThere for a manifest that is registered, and ValueError with a sentence
    (RegistryError, ManifestRefused, ContentRefused, GoldenInvalid) for everything that is not as it should be.
    """
    described = read_manifest(manifest)
    if described.model != model.slug:
        raise RegistryError(
            gettext("The manifest is of the model %(model)s, not of %(slug)s.")
            % {"model": described.model, "slug": model.slug}
        )
    if len(documentation) > MAX_DOCUMENTATION:
        raise RegistryError(
            gettext("The documentation is longer than %(max_documentation)s characters. Link to the rest.")
            % {"max_documentation": MAX_DOCUMENTATION}
        )
    digest, _ = store.digest_of(manifest)
    _refuse_known(digest)
    taken = dict(environment or {})
    sources = _sources(described, files)
    if taken.get("engine", content.BUNDLED) == content.BUNDLED:
        content.check_for_bundled(described, sources)
    extras = Extras(profile, golden, holdout)
    extras.check(described.signature)
    kinds = {sha256: content.media_type_of(source) for sha256, source in sources.items()}
    for sha256, source in sources.items():
        if isinstance(source, bytes):
            store.put_bytes(source)
        elif source != store.path(sha256):
            store.put_file(source)
    with transaction.atomic():
        locked = Model.objects.select_for_update().get(pk=model.pk)
        _refuse_known(digest)
        last = locked.versions.aggregate(last=Max("number"))["last"] or 0
        if number is not None and number <= last:
            raise AlreadyThere(
                gettext("%(slug)s has a version %(last)s; a new one has a later number than that.")
                % {"slug": model.slug, "last": last}
            )
        version = Version(
            model=locked,
            number=number or last + 1,
            digest=digest,
            manifest=manifest,
            signature=described.signature,
            code_commit=code_commit,
            environment=taken,
            training_data_digest=training_data_digest,
            hyperparameters=dict(hyperparameters or {}),
            metrics=dict(metrics or {}),
            documentation=documentation,
            reason_taken=reason_taken,
            profile=_artifact(profile, content.JSON),
            golden=_artifact(golden, content.JSON),
            holdout=_artifact(holdout, content.PARQUET),
            created_by=actor.id,
        )
        save_checked(version)
        _link_files(version, described, kinds)
        ancestry = _link_parents(version, parents)
        record(
            action="version.register",
            target=Target("version", f"{model.slug}/{version.number}", digest),
            actor=actor,
            data={
                "model": model.slug,
                "number": version.number,
                "digest": digest,
                "profile": version.profile_id,
                "golden": version.golden_id,
                "holdout": version.holdout_id,
                "training_data_digest": training_data_digest,
                "code_commit": code_commit,
                "reason_taken": reason_taken,
                "parents": ancestry,
            },
        )
        if holdout is not None:
            send_on_commit("importance.begin", [version.pk], queue="compute")
    version.refresh_from_db()
    return version


def complete_adopted(*, version: Version, golden: bytes | None, profile: bytes | None, actor: Actor) -> list[str]:
    """Give a version that was adopted from an engine the golden test, or the reference for drift, that it lacks: what
    it was given, in words. What it has is never replaced. Raises what `register_version` raises for such files."""
    if "adopted" not in version.environment:
        return []
    Extras(profile, golden, None).check(version.signature)
    offered = {"golden": ("golden test", golden), "profile": ("reference for drift", profile)}
    lacking = {name: what for name, what in offered.items() if getattr(version, f"{name}_id") is None}
    kept = {name: _artifact(data, content.JSON) for name, (_, data) in lacking.items() if data is not None}
    with transaction.atomic():
        given = {
            name: artifact.pk
            for name, artifact in kept.items()
            if artifact and Version.objects.filter(pk=version.pk, **{name: None}).update(**{name: artifact})
        }
        if given:
            facts = {"digest": version.digest, **given}
            record(action="version.complete", target=_target(version), actor=actor, data=facts)
    return [offered[name][0] for name in given]


def give_holdout(*, version: Version, holdout: bytes, actor: Actor) -> None:
    """Give a version the holdout set that it was registered without: Parquet with its inputs and the column `label`.
    Its importance is measured on it then. Raises AlreadyThere for a version that has one, which is never replaced, and
    ContentRefused."""
    _refuse_second_holdout(version)
    Extras(None, None, holdout).check(version.signature)
    artifact = stored_artifact(holdout, content.PARQUET)
    with transaction.atomic():
        if not Version.objects.filter(pk=version.pk, holdout=None).update(holdout=artifact):
            version.refresh_from_db(fields=["holdout"])
            _refuse_second_holdout(version)
        facts = {"digest": version.digest, "holdout": artifact.pk}
        record(action="version.complete", target=_target(version), actor=actor, data=facts)
        send_on_commit("importance.begin", [version.pk], queue="compute")
    version.refresh_from_db(fields=["holdout"])


def _refuse_second_holdout(version: Version) -> None:
    if version.holdout_id is not None:
        raise AlreadyThere(
            gettext(
                "Version %(number)s has a holdout set, and what was measured on it stands. Register another version to "
                "hold it against other rows."
            )
            % {"number": version.number}
        )


def _refuse_known(digest: str) -> None:
    known = Version.objects.filter(digest=digest).select_related("model").first()
    if known is not None:
        raise AlreadyThere(
            gettext("This manifest is registered already, as %(known)s of %(slug)s.")
            % {"known": known, "slug": known.model.slug}
        )


def _sources(manifest: Manifest, files: Mapping[str, Path | bytes]) -> dict[str, Path | bytes]:
    """SHA-256 -> where its bytes are, each checked against its digest and size."""
    found: dict[str, Path | bytes] = {}
    for file in manifest.files:
        if file.sha256 in files:
            source = files[file.sha256]
        elif store.holds(file.sha256):
            source = store.local(file.sha256)
        else:
            raise RegistryError(
                gettext("%(path)s (%(sha256)s) is missing. Upload it, then register again.")
                % {"path": file.path, "sha256": file.sha256[:12]}
            )
        sha256, size = store.digest_of(source)
        if sha256 != file.sha256:
            raise RegistryError(
                gettext("%(path)s is not what the manifest says: its SHA-256 is %(sha256)s.")
                % {"path": file.path, "sha256": sha256}
            )
        if size != file.size:
            raise RegistryError(
                gettext("%(path)s has %(size)s bytes; the manifest says %(size_2)s.")
                % {"path": file.path, "size": size, "size_2": file.size}
            )
        found[sha256] = source
    unnamed = sorted(set(files) - set(found))
    if unnamed:
        raise RegistryError(
            gettext("The manifest does not name the file %(unnamed)s. Leave it out, or name it.")
            % {"unnamed": unnamed[0][:12]}
        )
    return found


def _artifact(data: bytes | None, media_type: str) -> Artifact | None:
    return None if data is None else stored_artifact(data, media_type)


def stored_artifact(data: bytes, media_type: str) -> Artifact:
    """The bytes in the store, with the row that names them."""
    defaults = {"size": len(data), "media_type": media_type}
    return Artifact.objects.get_or_create(sha256=store.put_bytes(data), defaults=defaults)[0]


def _link_files(version: Version, manifest: Manifest, kinds: Mapping[str, str]) -> None:
    for file in manifest.files:
        defaults = {"size": file.size, "media_type": kinds[file.sha256]}
        Artifact.objects.get_or_create(sha256=file.sha256, defaults=defaults)
    VersionFile.objects.bulk_create(
        VersionFile(version=version, component=file.component, path=file.path, artifact_id=file.sha256)
        for file in manifest.files
    )


def _link_parents(version: Version, parents: Iterable[tuple[Version, str]]) -> list[str]:
    named = []
    for parent, kind in parents:
        if kind not in LineageKind.values:
            raise RegistryError(
                gettext("%(kind)r is no kind of descent. There are: %(names)s.")
                % {"kind": kind, "names": ", ".join(LineageKind.values)}
            )
        Lineage.objects.create(child=version, parent=parent, kind=kind)
        named.append(f"{kind} {parent.digest}")
    return named


@transaction.atomic
def move_alias(*, model: Model, name: str, version: Version, actor: Actor, reason: str = "") -> Alias:
    """Let the name stand for the version. Where it does already, nothing changes and nothing is recorded."""
    if version.model_id != model.pk:
        raise RegistryError(
            gettext("%(version)s belongs to another model. Choose a version of %(slug)s.")
            % {"version": version, "slug": model.slug}
        )
    if name == Alias.LAST_GOOD and version.quarantined_at is not None:
        raise RegistryError(gettext("%(version)s is quarantined, so it can't be last-good.") % {"version": version})
    Model.objects.select_for_update().get(pk=model.pk)
    alias = Alias.objects.filter(model=model, name=name).select_related("version").first()
    before = alias.version if alias is not None else None
    if alias is not None and before == version:
        return alias
    if alias is None:
        alias = Alias(model=model, name=name, version=version)
        save_checked(alias)
    else:
        Alias.objects.filter(pk=alias.pk).update(version=version, moved_at=Now())
    alias.refresh_from_db()
    moved = {"alias": name, "from": before.digest if before else "", "to": version.digest, "number": version.number}
    record(action="alias.move", target=Target("alias", f"{model.slug}/{name}"), actor=actor, data=moved, reason=reason)
    return alias


@transaction.atomic
def quarantine(*, version: Version, reason: str, actor: Actor) -> bool:
    """Mark the version as one that needs an approval to be deployed again. False when it was so marked already."""
    if not reason.strip():
        raise RegistryError(gettext("Say why the version is quarantined."))
    marked = Version.objects.filter(pk=version.pk, quarantined_at=None).update(
        quarantined_at=Now(), quarantine_reason=reason[:300]
    )
    if marked:
        record(action="version.quarantine", target=_target(version), actor=actor, reason=reason)
        version.refresh_from_db(fields=["quarantined_at", "quarantine_reason"])
    return bool(marked)


@transaction.atomic
def lift_quarantine(*, version: Version, reason: str, actor: Actor) -> None:
    """Take the mark away again, with a reason. Raises RegistryError when there is none."""
    if not reason.strip():
        raise RegistryError(gettext("Say why the version may be used again."))
    marked = Version.objects.filter(pk=version.pk, quarantined_at__isnull=False)
    if not marked.update(quarantined_at=None, quarantine_reason=""):
        raise RegistryError(gettext("%(version)s is not quarantined.") % {"version": version})
    record(action="version.quarantine_lift", target=_target(version), actor=actor, reason=reason)
    version.refresh_from_db(fields=["quarantined_at", "quarantine_reason"])


@transaction.atomic
def mark_soaked(*, version: Version, endpoint: Endpoint, actor: Actor) -> None:
    """The version has proved itself in production on the endpoint: it becomes its model's last-good.

    Raises RegistryError when it is quarantined, or not live on the endpoint.
    """
    if not Deployment.objects.filter(endpoint=endpoint, version=version, until=None).exists():
        raise RegistryError(
            gettext("%(version)s is not live on %(endpoint)s.") % {"version": version, "endpoint": endpoint}
        )
    if Version.objects.filter(pk=version.pk, soaked_at=None).update(soaked_at=Now()):
        record(action="version.soak", target=_target(version), actor=actor, data={"endpoint": endpoint.slug})
        version.refresh_from_db(fields=["soaked_at"])
    move_alias(model=endpoint.model, name=Alias.LAST_GOOD, version=version, actor=actor)


def _target(version: Version) -> Target:
    return Target("version", f"{version.model.slug}/{version.number}", version.digest)
