"""What is asked about snapshots."""

from typing import Any

from registry.models import Version
from registry.snapshots.content import Change, described, differences
from registry.snapshots.models import Snapshot


def against(snapshot: Snapshot, other: Snapshot | None) -> list[Change]:
    """What differs from the snapshot to another one, or to what is now."""
    return differences(snapshot.content, other.content if other is not None else described(snapshot.endpoint))


def version_to_restore(snapshot: Snapshot) -> Version | None:
    """The version that most hosts served then, where it is still registered under the same digest."""
    named: dict[str, Any] | None = snapshot.content["default"]
    if named is None:
        return None
    return Version.objects.filter(model=snapshot.endpoint.model, digest=named["digest"]).first()
