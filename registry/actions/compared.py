"""How the weights of two versions differ: asked for by a person, computed once by a worker."""

import datetime
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.dispatch import send_on_commit
from registry import store
from registry.content import SAFETENSORS
from registry.errors import RegistryError
from registry.models import ComparisonState, TensorComparison, Version, VersionFile
from registry.tensors import NotSafetensors, TensorDifference, differences

TAKES_AT_MOST = datetime.timedelta(minutes=30)
MAX_ATTEMPTS = 3
WAITING = ComparisonState.WAITING


def ask_comparison(*, left: Version, right: Version, actor: Actor) -> TensorComparison:
    """Have two versions compared tensor by tensor; one that was asked for before is given as it is. Wakes
    `registry.compare_tensors`. Raises RegistryError for versions of different models, or one and the same."""
    if left.model_id != right.model_id or left.pk == right.pk:
        raise RegistryError(gettext("Choose two different versions of one model."))
    known = TensorComparison.objects.filter(left=left, right=right)
    try:
        with transaction.atomic():
            if known.exists():
                return known.get()
            asked = TensorComparison.objects.create(left=left, right=right)
            record(
                action="version.compare",
                target=Target("version", f"{right.model.slug}/{right.number}", right.digest),
                actor=actor,
                data={"model": right.model.slug, "left": left.digest, "right": right.digest},
            )
            send_on_commit("registry.compare_tensors", [asked.pk], queue="compute")
            return asked
    except IntegrityError:
        return known.get()


def compute_comparison(*, comparison_id: int) -> bool:
    """Compute what was asked for. False when it is done, or another worker is at it."""
    claimed = TensorComparison.objects.filter(pk=comparison_id, state=WAITING, due_at__lte=Now()).update(
        due_at=Now() + TAKES_AT_MOST, attempts=F("attempts") + 1
    )
    if not claimed:
        return False
    asked = TensorComparison.objects.select_related("left", "right").get(pk=comparison_id)
    state, reason, rows = ComparisonState.DONE, "", []
    if asked.attempts > MAX_ATTEMPTS:
        state, reason = ComparisonState.REFUSED, "It did not come to an end in three attempts."
    else:
        try:
            rows = [row.as_json() for row in _rows(asked.left, asked.right)]
        except (NotSafetensors, store.ArtifactMissing, RegistryError) as error:
            state, reason = ComparisonState.REFUSED, str(error)[:300]
    done = TensorComparison.objects.filter(pk=comparison_id, state=WAITING)
    return bool(done.update(state=state, reason=reason, rows=rows, done_at=Now()))


def _rows(left: Version, right: Version) -> list[TensorDifference]:
    """Of each file of weights that both have by name; a name that one lacks counts as all its tensors."""
    before, after = _weights(left), _weights(right)
    shared = [name for name in before if name in after]
    if not shared:
        raise RegistryError(gettext("The two versions have no file of safetensors under one name."))
    found = []
    for name in shared:
        if before[name] != after[name] or len(shared) == 1:
            found += list(differences(_path(before[name]), _path(after[name])))
    return found


def _weights(version: Version) -> dict[str, str]:
    files = VersionFile.objects.filter(version=version, artifact__media_type=SAFETENSORS)
    return dict(files.values_list("path", "artifact_id"))


def _path(sha256: str) -> Path:
    return store.local(sha256)
