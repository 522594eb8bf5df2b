"""Composed versions: a version with one part of another. What a part is, which tensors a wish names, and the writing.

A composed version is an ordinary version with its own manifest and digest. Weights of which only layers are taken are
written piece by piece into the store, never held in memory whole.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from django.utils.translation import gettext, ngettext

from audit.canonical import canonical_bytes
from registry import content, fitting, store, tensors
from registry.errors import RegistryError
from registry.manifest import FORMAT, Manifest, ManifestFile, read_manifest
from registry.models import Composition, CompositionKind, CompositionState, Version, VersionFile

WEIGHTS, ADAPTER = "weights", "adapter"


@dataclass(frozen=True)
class Wish:
    """A version `base` with a part of `other`: the component `kind` whole, or the named tensors of the weights."""

    base: Version
    other: Version
    kind: str
    tensors: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 that stands for the wish: the same parts of the same versions have the same."""
        facts = {"base": self.base.digest, "other": self.other.digest, "kind": self.kind, "tensors": list(self.tensors)}
        return hashlib.sha256(canonical_bytes(facts)).hexdigest()

    @property
    def component(self) -> str:
        return WEIGHTS if self.kind == CompositionKind.LAYERS else self.kind


def wish_for(*, base: Version, other: Version, kind: str, patterns: Iterable[str] = ()) -> Wish:
    """What is meant by a kind and, for layers, names or patterns such as `embeddings.*` (case matters).

    Reads the headers of the two files of weights, not the weights. Raises RegistryError with a sentence for versions
    that don't belong together, a part that one lacks or both share, and a pattern that names no tensor.
    """
    if base.model_id != other.model_id or base.pk == other.pk:
        raise RegistryError(gettext("Choose two different versions of one model."))
    if kind not in CompositionKind.values:
        raise RegistryError(
            gettext("There is no part %(kind)r. There are: %(names)s.")
            % {"kind": kind, "names": ", ".join(CompositionKind.values)}
        )
    try:
        fitting.same_signature(base.signature, other.signature, (_named(base), _named(other)))
    except fitting.DoesNotFit as error:
        raise RegistryError(str(error)) from None
    if kind == CompositionKind.LAYERS:
        return Wish(base, other, kind, _chosen(base, other, [text for text in patterns if text]))
    mine, theirs = _digests(base, kind), _digests(other, kind)
    if not theirs and not (mine and kind == ADAPTER):
        raise RegistryError(
            gettext("%(big)s has no %(kind)s. Choose another part, or another version.")
            % {"big": _big(_named(other)), "kind": kind}
        )
    if mine == theirs:
        raise RegistryError(
            gettext("%(big)s and %(named)s have the same %(kind)s. Choose another part.")
            % {"big": _big(_named(base)), "named": _named(other), "kind": kind}
        )
    return Wish(base, other, kind)


def _chosen(base: Version, other: Version, patterns: Sequence[str]) -> tuple[str, ...]:
    """The names that the patterns stand for, sorted. Raises RegistryError naming the first tensor that won't do."""
    if not patterns:
        raise RegistryError(gettext("Name the layers to take: tensors, or patterns such as embeddings.*"))
    before, after = tensors_of(base), tensors_of(other)
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in before if fnmatchcase(name, pattern)]
        if not found:
            raise RegistryError(
                gettext("No tensor of %(named)s is named by %(pattern)r.") % {"named": _named(base), "pattern": pattern}
            )
        chosen.update(found)
    for name in sorted(chosen):
        objection = tensors.unlike(name, before[name][1], after[name][1] if name in after else None)
        if objection:
            raise RegistryError(objection)
    return tuple(sorted(chosen))


def tensors_of(version: Version) -> dict[str, tuple[str, tensors.Entry]]:
    """Name -> (SHA-256 of the file, place) of each tensor in the version's weights. Raises RegistryError."""
    found: dict[str, tuple[str, tensors.Entry]] = {}
    files = VersionFile.objects.filter(version=version, component=WEIGHTS, artifact__media_type=content.SAFETENSORS)
    for file in files:
        if not store.holds(file.artifact_id):
            raise RegistryError(
                gettext("%(path)s of %(named)s is not in the store. Upload it again.")
                % {"path": file.path, "named": _named(version)}
            )
        try:
            index = tensors.read_index(store.local(file.artifact_id))
        except tensors.NotSafetensors as error:
            raise RegistryError(
                gettext("%(path)s of %(named)s can't be read: %(error)s")
                % {"path": file.path, "named": _named(version), "error": error}
            ) from None
        found |= {name: (file.artifact_id, entry) for name, entry in index.items()}
    if not found:
        raise RegistryError(
            gettext("%(big)s has no weights in safetensors, so no layers can be taken.")
            % {"big": _big(_named(version))}
        )
    return found


def write(wish: Wish) -> bytes:
    """Write what is new into the store and return the manifest of the composed version.

    Files are checked against their digests before anything of them is used. Raises RegistryError for parts that don't
    fit together, and what registry.store raises for files that are missing, damaged or too large.
    """
    base, other = (read_manifest(bytes(version.manifest)) for version in (wish.base, wish.other))
    if wish.kind == CompositionKind.LAYERS:
        files = [_spliced(file, wish) if file.component == WEIGHTS else file for file in base.files]
    else:
        files = [file for file in base.files if file.component != wish.kind]
        files += other.component(wish.kind)
    manifest = _manifest(base, files)
    if wish.base.environment.get("engine", content.BUNDLED) == content.BUNDLED:
        _check_fit(read_manifest(manifest), wish)
    return manifest


def _spliced(file: ManifestFile, wish: Wish) -> ManifestFile:
    """The file with the wish's tensors in it; the file itself where it holds none of them."""
    before, after = tensors_of(wish.base), tensors_of(wish.other)
    mine = [name for name in wish.tensors if before[name][0] == file.sha256]
    sources = sorted({after[name][0] for name in mine})
    if not mine:
        return file
    if len(sources) > 1:
        raise RegistryError(
            gettext("The tensors of %(path)s lie in %(count)s files of %(named)s. Take fewer at once.")
            % {"path": file.path, "count": len(sources), "named": _named(wish.other)}
        )
    with store.open_verified(file.sha256), store.open_verified(sources[0]):
        sha256, size = store.put_new(tensors.spliced(store.local(file.sha256), store.local(sources[0]), mine))
    return ManifestFile(WEIGHTS, file.path, sha256, size)


def _manifest(base: Manifest, files: Iterable[ManifestFile]) -> bytes:
    components: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        entry = {"path": file.path, "sha256": file.sha256, "size": file.size}
        components.setdefault(file.component, []).append(entry)
    body = {"format": FORMAT, "model": base.model, "components": components, "signature": base.signature}
    return canonical_bytes(body)


def _check_fit(manifest: Manifest, wish: Wish) -> None:
    def named(component: str) -> str:
        whose = wish.other if component == wish.kind else wish.base
        return gettext("the %(component)s of version %(whose)s") % {
            "component": component if component != "config" else "architecture",
            "whose": whose.number,
        }

    def declared(component: str) -> fitting.Part:
        [file] = manifest.component(component)
        return fitting.Part(named(component), content.read_json(store.local(file.sha256), file.path))

    def held(component: str) -> tuple[str, Mapping[str, tensors.Entry]] | None:
        files = manifest.component(component)
        return (named(component), tensors.read_index(store.local(files[0].sha256))) if files else None

    weights = held(WEIGHTS)
    assert weights is not None
    try:
        fitting.check_fit(
            signature=manifest.signature,
            preprocessing=declared("preprocessing"),
            config=declared("config"),
            weights=weights,
            adapter=held(ADAPTER),
        )
    except fitting.DoesNotFit as error:
        raise RegistryError(str(error)) from None


def part_of(version: Version) -> dict[str, Any] | None:
    """What a composed version took from where, as a plan's document says it; None for one not composed here.

    `{"kind", "base": digest, "parts": [{"component", "from": digest, "tensors": [names]}]}`.
    """
    made = composition_of(version)
    if made is None:
        return None
    component = WEIGHTS if made.kind == CompositionKind.LAYERS else made.kind
    part = {"component": component, "from": made.other.digest, "tensors": list(made.tensors)}
    return {"kind": made.kind, "base": made.base.digest, "parts": [part]}


def composition_of(version: Version) -> Composition | None:
    """How the version came to be, where it was composed here: the first of several ways to the same bytes."""
    made = Composition.objects.filter(version=version, state=CompositionState.DONE, version__parents__kind="composed")
    return made.select_related("base", "other").order_by("pk").first()


def part_sentence(version: Version) -> str:
    """What the version is made of, in a sentence; "" for one that was not composed here."""
    made = composition_of(version)
    if made is None:
        return ""
    if made.kind == CompositionKind.LAYERS:
        count = len(made.tensors)
        what = ngettext("%(count)s tensor", "%(count)s tensors", count) % {"count": count}
    else:
        what = gettext("the %(kind)s") % {"kind": made.get_kind_display().lower()}
    return gettext("Version %(base)s with %(what)s of version %(other)s.") % {
        "base": made.base.number,
        "what": what,
        "other": made.other.number,
    }


def rehearsal_sentence(version: Version) -> str:
    """What is known of a composed version's outputs, and how much that is worth; "" before it was rehearsed."""
    told = version.metrics.get("rehearsal") if isinstance(version.metrics, dict) else None
    if not isinstance(told, dict) or version.golden_id is None:
        return ""
    hosts = list(told.get("hosts", []))
    agreed = gettext("which agreed") if len(hosts) > 1 else gettext("on one host only")
    said = gettext(
        "Its expected outputs were recorded on %(hosts)s at rehearsal (%(at)s), %(agreed)s; no training "
        "promised them. They show that hosts answer as at the rehearsal, not that it is right."
    ) % {"hosts": " and ".join(hosts), "at": told.get("at", "")[:10], "agreed": agreed}
    own = version.metrics.get("holdout")
    if not own:
        return gettext("%(said)s There are no held-out rows, so nothing says how often it is right.") % {"said": said}
    figures = [gettext("it is right in %(own)s") % {"own": _share(own)}]
    figures += [
        gettext("version %(number)s in %(share)s") % {"number": number, "share": _share(share)}
        for number, share in told.get("parents", {}).items()
    ]
    return gettext("%(said)s On %(n)s held-out rows, asked of one host: %(figures)s.") % {
        "said": said,
        "n": own["n"],
        "figures": ", ".join(figures),
    }


def _share(found: Mapping[str, Any]) -> str:
    share, low, high = (f"{100 * found[name]:.1f} %" for name in ("accuracy", "low", "high"))
    return gettext("%(share)s (%(low)s to %(high)s)") % {"share": share, "low": low, "high": high}


def _digests(version: Version, component: str) -> list[tuple[str, str]]:
    files = VersionFile.objects.filter(version=version, component=component)
    return sorted(files.values_list("path", "artifact_id"))


def _named(version: Version) -> str:
    return gettext("version %(version)s") % {"version": version.number}


def _big(text: str) -> str:
    return text[:1].upper() + text[1:]
