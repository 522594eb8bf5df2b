"""The reference profile of a version, read from its artifact, with the importance of its inputs."""

import json
from dataclasses import replace
from functools import lru_cache

from monitoring.drift.profile import Profile
from monitoring.importance.models import Importance, ImportanceState
from registry import store
from registry.models import Version

OUTPUTS = "outputs"


def profiles_of(version: Version) -> tuple[Profile, Profile] | None:
    """The profiles of the version's inputs and outputs on its training data; None when it came without. The inputs'
    weights are those that came in it, else those that were measured (one query).

    Raises ValueError when the artifact is not a profile, and what registry.store raises when it is not what was stored.
    """
    if not version.profile_id:
        return None
    inputs, outputs = _read(version.profile_id)
    if inputs.weights:
        return inputs, outputs
    return _weighed(version.profile_id, tuple(sorted(measured_weights(version).items()))), outputs


def weights_of(version: Version) -> dict[str, float]:
    """What its inputs matter, also of a version without a profile: as it came in one, else as it was measured (one
    query). Raises as profiles_of."""
    return given_weights(version) or measured_weights(version)


def given_weights(version: Version) -> dict[str, float]:
    """The importance that came in the version's profile; empty where none did. Raises as profiles_of."""
    return _read(version.profile_id)[0].weights if version.profile_id else {}


def measured_weights(version: Version) -> dict[str, float]:
    """The importance that was measured here; empty where it was not, or nothing came of it. One query."""
    done = Importance.objects.filter(version_id=version.pk, state=ImportanceState.DONE)
    return dict(done.values_list("weights", flat=True).first() or {})


@lru_cache(maxsize=64)
def _weighed(sha256: str, weights: tuple[tuple[str, float], ...]) -> Profile:
    return replace(_read(sha256)[0], weights=dict(weights))


@lru_cache(maxsize=64)
def _read(sha256: str) -> tuple[Profile, Profile]:
    with store.open_verified(sha256) as file:
        document = json.loads(file.read())
    outputs = document.get(OUTPUTS) or {}
    if "format" not in outputs:
        outputs = {"format": document.get("format"), "rows": document.get("rows"), "columns": outputs}
    return Profile.from_json(document), Profile.from_json(outputs)
