"""Composed versions: asked for by a person, made once by a worker, and given their golden test by a rehearsal."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record, service_actor
from audit.canonical import canonical_bytes
from audit.dispatch import send_on_commit
from registry import content, store
from registry.actions.known import register_version, stored_artifact
from registry.composing import Wish, part_of, wish_for, write
from registry.errors import AlreadyThere, RegistryError
from registry.golden import check_golden
from registry.models import Artifact, Composition, CompositionKind, CompositionState, LineageKind, Version

TAKES_AT_MOST = datetime.timedelta(minutes=30)
MAX_ATTEMPTS = 3
NAMES_IN_EVENT = 200
WORKER = service_actor("registry")
WAITING = CompositionState.WAITING


def ask_composition(
    *, base: Version, other: Version, kind: str, patterns: tuple[str, ...] = (), incident_ref: str = "", actor: Actor
) -> Composition:
    """Have a version composed of `base` and a part of `other`; what was asked for before is given as it is, and tried
    anew only where it was refused.

    Wakes `registry.compose`. Raises RegistryError with a sentence, as registry.composing.wish_for does.
    """
    wish = wish_for(base=base, other=other, kind=kind, patterns=patterns)
    known = Composition.objects.filter(parts_digest=wish.digest)
    try:
        with transaction.atomic():
            if known.exclude(state=CompositionState.REFUSED).exists():
                return known.get()
            fresh = {"state": WAITING, "reason": "", "attempts": 0, "incident_ref": incident_ref, "asked_by": actor.id}
            refused = known.filter(state=CompositionState.REFUSED)
            if not refused.update(due_at=Now(), asked_at=Now(), done_at=None, **fresh):
                Composition.objects.create(
                    model=base.model,
                    base=base,
                    other=other,
                    kind=kind,
                    tensors=list(wish.tensors),
                    parts_digest=wish.digest,
                    **fresh,
                )
            asked = known.get()
            record(
                action="version.compose.order",
                target=Target("model", base.model.slug),
                actor=actor,
                incident=incident_ref,
                data=_facts(asked),
            )
            send_on_commit("registry.compose", [asked.pk], queue="compute")
            return asked
    except IntegrityError:
        return known.get()


def compose(*, composition_id: int) -> bool:
    """Make what was asked for. False when it is made, or another worker is at it."""
    claimed = Composition.objects.filter(pk=composition_id, state=WAITING, due_at__lte=Now()).update(
        due_at=Now() + TAKES_AT_MOST, attempts=F("attempts") + 1
    )
    if not claimed:
        return False
    asked = Composition.objects.select_related("model", "base", "other").get(pk=composition_id)
    version, reason = None, "It did not come to an end in three attempts."
    if asked.attempts <= MAX_ATTEMPTS:
        try:
            version, reason = _made(asked), ""
        except (ValueError, store.ArtifactMissing) as error:
            reason = str(error)[:500]
    state = CompositionState.REFUSED if version is None else CompositionState.DONE
    with transaction.atomic():
        done = Composition.objects.filter(pk=composition_id, state=WAITING)
        if not done.update(state=state, reason=reason, version=version, done_at=Now()):
            return False
        name = f"{asked.model.slug}/{version.number}" if version else f"{asked.model.slug}/{asked.base.number}"
        record(
            action="version.compose",
            target=Target("version", name, version.digest if version else ""),
            actor=WORKER,
            incident=asked.incident_ref,
            outcome="success" if version else "failed",
            reason=reason,
            data=_facts(asked) | {"digest": version.digest if version else ""},
        )
    return True


def _facts(asked: Composition) -> dict[str, Any]:
    return {
        "model": asked.model.slug,
        "base": asked.base.digest,
        "other": asked.other.digest,
        "kind": str(asked.kind),
        "tensors": asked.tensors[:NAMES_IN_EVENT],
        "tensor_count": len(asked.tensors),
        "parts": asked.parts_digest,
        "asked_by": asked.asked_by,
    }


def _made(asked: Composition) -> Version:
    """Raises ValueError with a sentence (RegistryError and its like), and store.ArtifactMissing."""
    wish = Wish(asked.base, asked.other, asked.kind, tuple(asked.tensors))
    manifest = write(wish)
    digest, _ = store.digest_of(manifest)
    known = Version.objects.filter(digest=digest, model=asked.model).first()
    if known is not None:
        return known
    # What goes in is read by the preprocessing: whose preprocessing it is, of that one the inputs' profile and the
    # holdout set are written in the same codebook. What comes out is nobody's before it is rehearsed.
    reader = asked.other if asked.kind == CompositionKind.PREPROCESSING else asked.base
    try:
        return register_version(
            model=asked.model,
            manifest=manifest,
            files={},
            profile=_inputs_profile(reader),
            holdout=_stored(reader.holdout),
            environment=asked.base.environment,
            documentation=_tensors_taken(asked),
            parents=[(asked.base, LineageKind.COMPOSED), (asked.other, LineageKind.COMPOSED)],
            reason_taken="composed",
            actor=WORKER,
        )
    except AlreadyThere:
        return Version.objects.get(digest=digest)


def _tensors_taken(asked: Composition) -> str:
    """For layers, a list of their names in Markdown; what else was taken, the lineage and the files say."""
    if not asked.tensors:
        return ""
    names = [f"- `{name}`" for name in asked.tensors[:NAMES_IN_EVENT]]
    more = len(asked.tensors) - len(names)
    rest = [f"- and {more} more"] if more else []
    return "\n".join([f"# Tensors of version {asked.other.number}", "", *names, *rest])


def _inputs_profile(version: Version) -> bytes | None:
    data = _stored(version.profile)
    if data is None:
        return None
    profile = json.loads(data)
    profile.pop("outputs", None)
    if version.holdout_id is not None:
        # What its inputs matter to another network is no news of this one, which is measured on that set.
        profile.pop("importance", None)
    return canonical_bytes(profile)


def _stored(artifact: Artifact | None) -> bytes | None:
    if artifact is None:
        return None
    with store.open_verified(artifact.sha256) as file:
        return file.read()


def record_rehearsal(
    *, version: Version, golden: bytes, metrics: Mapping[str, Any], incident_ref: str = "", actor: Actor
) -> None:
    """Give a composed version its golden test and figures, once. `metrics` has `rehearsal`, and `holdout` where the
    version has a holdout set.

    Raises RegistryError for a version that was not composed or has a golden test, and GoldenInvalid.
    """
    if part_of(version) is None:
        raise RegistryError(
            gettext("Version %(number)s was not composed here; only such a one is rehearsed.")
            % {"number": version.number}
        )
    check_golden(golden, version.signature)
    artifact = stored_artifact(golden, content.JSON)
    with transaction.atomic():
        given = Version.objects.filter(pk=version.pk, golden=None).update(golden=artifact, metrics=dict(metrics))
        if not given:
            raise RegistryError(gettext("Version %(number)s has a golden test already.") % {"number": version.number})
        record(
            action="version.rehearse",
            target=Target("version", f"{version.model.slug}/{version.number}", version.digest),
            actor=actor,
            incident=incident_ref,
            data={"digest": version.digest, "golden": artifact.sha256, "metrics": _without_floats(metrics)},
        )
    version.refresh_from_db(fields=["golden", "metrics"])


def _without_floats(metrics: Mapping[str, Any]) -> Any:
    """The figures with their decimals as the texts that JSON writes, which is what the log can hold."""
    return json.loads(json.dumps(metrics), parse_float=str)
