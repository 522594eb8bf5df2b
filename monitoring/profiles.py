"""The reference profile of a version, read from its artifact."""

import json
from functools import lru_cache

from monitoring.drift.profile import Profile
from registry import store
from registry.models import Version

OUTPUTS = "outputs"


def profiles_of(version: Version) -> tuple[Profile, Profile] | None:
    """The profiles of the version's inputs and outputs on its training data; None when it came without.

    Raises ValueError when the artifact is not a profile, and what registry.store raises when it is not what was stored.
    """
    return _read(version.profile_id) if version.profile_id else None


@lru_cache(maxsize=64)
def _read(sha256: str) -> tuple[Profile, Profile]:
    with store.open_verified(sha256) as file:
        document = json.loads(file.read())
    outputs = document.get(OUTPUTS) or {}
    if "format" not in outputs:
        outputs = {"format": document.get("format"), "rows": document.get("rows"), "columns": outputs}
    return Profile.from_json(document), Profile.from_json(outputs)
