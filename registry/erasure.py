"""What an erased person wrote, in the rows of the registry: why something was frozen, held or quarantined."""

from collections.abc import Sequence

from audit.erasure import ERASED, Written
from registry.models import FreezeWindow, Host, Model, Version


def erase(subject: str, written: Sequence[Written]) -> dict[str, int]:
    """Put ERASED for the person's words; counts by table."""
    counts = {"registry_freezewindow": 0, "registry_host": 0, "registry_version": 0}
    for one in written:
        ref, words = one.event.target_id, one.text[:300]
        if one.event.action == "endpoint.freeze":
            frozen = FreezeWindow.objects.filter(endpoint__slug=ref, reason=words)
            counts["registry_freezewindow"] += frozen.update(reason=ERASED)
        elif one.event.action == "host.hold":
            counts["registry_host"] += Host.objects.filter(name=ref, held_reason=words).update(held_reason=ERASED)
        elif one.event.action == "version.quarantine":
            slug, _, number = ref.rpartition("/")
            marked = Version.objects.filter(model__slug=slug, number=number, quarantine_reason=words)
            counts["registry_version"] += marked.update(quarantine_reason=ERASED)
    return counts


def model_slug(typed: str) -> str:
    """The model's slug where there is such a model, else empty."""
    return Model.objects.filter(slug=typed).values_list("slug", flat=True).first() or ""
