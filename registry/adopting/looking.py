"""Looking at a running engine: what is there, what was captured, what a rollback could do with it and what is missing.

Nothing is changed, on the engine or here.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from audit.canonical import canonical_bytes
from registry.adopting.asking import capture, live_of
from registry.adopting.capture import NotCaptured, kinds_of
from registry.adopting.references import LEAST_ROWS, Live
from registry.manifest import DATATYPES, FORMAT
from registry.models import Host, Version
from registry.serving import driver_for
from registry.serving.allow import check_address
from registry.serving.base import HostAddress, ServingError
from registry.serving.foreign import FoundEngine, FoundModel, FoundVersion, detect, fetch_files, read

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,48}")


@dataclass
class SeenVersion:
    """A version that would be registered. `opaque`: by what the engine said of it, since it gave no files; `captured`
    and `referred` say how its golden test and its reference for drift were made, or why there is none."""

    found: FoundVersion
    manifest: bytes
    files: dict[str, bytes]
    golden: bytes | None
    opaque: bool
    captured: str
    number: int | None
    reference: bytes | None = None
    referred: str = ""
    known: bool = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def label(self) -> str:
        return f"version {self.found.name}" if self.found.name else "its version"

    @property
    def state(self) -> str:
        return "serves" if self.found.is_default else "loaded" if self.found.ready else "not loaded"


@dataclass
class SeenModel:
    """A model that would be registered, with what a rollback could do and what is missing for it, as sentences."""

    name: str
    slug: str
    fence: int
    versions: list[SeenVersion]
    skipped: list[str] = field(default_factory=list)

    @property
    def serving(self) -> SeenVersion | None:
        return next((one for one in self.versions if one.found.is_default), None)

    def could(self) -> list[str]:
        """What a rollback of the model could do on this host now."""
        others = [one for one in self.versions if not one.found.is_default and not one.opaque]
        opaque = [one.label for one in self.versions if not one.found.is_default and one.opaque]
        if self.serving is None:
            return ["Nothing of it serves, so there is nothing to roll back."]
        if not others and opaque:
            return [
                f"It serves {self.serving.label}. The engine has {' and '.join(opaque)} as well: a plan can go back "
                "there once the files of both are registered."
            ]
        if not others:
            return [f"It serves {self.serving.label}, and there is no other version that could be gone back to."]
        return [
            f"Go back to {one.label}: {'it is in memory, so one switch' if one.found.ready else 'it is loaded first'}."
            for one in others
        ]

    def missing(self) -> list[str]:
        """What would have to be given before a rollback is judged as one that was registered with everything."""
        found = []
        if any(one.opaque for one in self.versions):
            found.append("The files of opaque versions: register them with their files, and release one by a plan.")
        if any(one.golden is None for one in self.versions):
            found.append("A golden test of each version: give rows, and look again.")
        elif any("made up" in one.captured for one in self.versions):
            found.append("Rows of real traffic for the golden tests: those made up say only that nothing has changed.")
        if any(one.reference is None for one in self.versions):
            found.append(
                "A reference for drift of each version: give rows of real traffic, at least "
                f"{LEAST_ROWS}, or look again once the bundled host has answered so many."
            )
        return [*found, "A holdout set with known labels, against which accuracy is judged."]


@dataclass
class Seen:
    """All that was found at an address."""

    url: str
    engine: str
    release: str
    lacks: list[str]
    models: list[SeenModel]
    capabilities: list[str]
    host_known: bool


def address_for(url: str, token: str, options: Mapping[str, str]) -> HostAddress:
    """Where an engine is, with every address checked. Raises registry.serving.allow.AddressRefused."""
    check_address(url, settings.LASTGOOD_HOST_NETWORKS)
    for name, value in options.items():
        if name in ("management", "metrics"):
            check_address(value, settings.LASTGOOD_HOST_NETWORKS)
    return HostAddress(url.rstrip("/"), token, tuple(settings.LASTGOOD_HOST_NETWORKS), dict(options))


def look(
    *,
    url: str,
    token: str = "",
    engine: str = "",
    options: Mapping[str, str] | None = None,
    rows: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
) -> Seen:
    """Read an engine and ask each loaded version a few rows: those given for its model, else ones made up.

    Raises registry.serving.base.ServingError, registry.serving.allow.AddressRefused.
    """
    address = address_for(url, token, options or {})
    named, release = (engine, "") if engine else detect(address)
    found = read(named, release, address)
    models = [_model(found, address, one, (rows or {}).get(one.name)) for one in found.models]
    return Seen(
        url=address.url,
        engine=found.engine,
        release=found.release,
        lacks=found.lacks,
        models=models,
        capabilities=driver_for(found.engine).capabilities.lacking(),
        host_known=Host.objects.filter(address=address.url).exists(),
    )


def _model(
    found: FoundEngine, address: HostAddress, model: FoundModel, rows: Mapping[str, Sequence[Any]] | None
) -> SeenModel:
    slug = model.name.lower().replace("_", "-").replace(".", "-")
    seen = SeenModel(model.name, slug, model.fence, [])
    if not SLUG.fullmatch(slug) or (found.engine == "bundled" and slug != model.name):
        seen.skipped.append(f"{model.name} can't be the name of a model here: small letters, digits and dashes can.")
        return seen
    live = live_of(found.engine, address, model)
    for version in sorted(model.versions, key=lambda one: (not one.name.isdecimal(), int_or_zero(one.name), one.name)):
        try:
            seen.versions.append(_version(found, address, model, slug, version, rows, live))
        except (NotCaptured, ServingError) as error:
            seen.skipped.append(f"Version {version.name or 'without a name'}: {error}")
    known = set(
        Version.objects.filter(digest__in=[one.digest for one in seen.versions]).values_list("digest", flat=True)
    )
    for one in seen.versions:
        one.known = one.digest in known
    return seen


def int_or_zero(name: str) -> int:
    return int(name) if name.isdecimal() and len(name) < 10 else 0


def _version(
    found: FoundEngine,
    address: HostAddress,
    model: FoundModel,
    slug: str,
    version: FoundVersion,
    rows: Mapping[str, Sequence[Any]] | None,
    live: Live | None,
) -> SeenVersion:
    got = capture(found.engine, address, model.name, version, rows, live)
    number = int_or_zero(version.name) or None
    if found.engine == "bundled":
        if number is None:
            raise NotCaptured(f"it is called {version.name!r}, and versions here are whole numbers.")
        try:
            fetch_files(address, model.name, version)
        except ServingError as error:
            raise NotCaptured(f"its files can't be had: {error}") from error
        manifest, files = version.manifest, version.files
    else:
        if rows and not got.outputs and version.signature is None:
            raise NotCaptured(f"rows were given for it, and it was not asked them with success: {got.golden_told}")
        manifest, files = _opaque(found, address, model.name, slug, version, rows, got.outputs)
        number = number if found.engine == "triton" else None
    opaque = found.engine != "bundled"
    return SeenVersion(
        version, manifest, files, got.golden, opaque, got.golden_told, number, got.reference, got.reference_told
    )


def _opaque(
    found: FoundEngine,
    address: HostAddress,
    model: str,
    slug: str,
    version: FoundVersion,
    rows: Mapping[str, Sequence[Any]] | None,
    outputs: Mapping[str, Sequence[Any]],
) -> tuple[bytes, dict[str, bytes]]:
    """A manifest whose one file is what the engine said of the version. Raises NotCaptured without a signature."""
    if version.signature is not None:
        sides = {
            side: [{"name": one["name"], "datatype": one["datatype"]} for one in entries]
            for side, entries in version.signature.items()
        }
    elif rows and outputs:
        sides = {"inputs": kinds_of(rows), "outputs": kinds_of(outputs)}
    else:
        raise NotCaptured("the engine does not say what it takes and gives; give rows for the model, and look again.")
    unknown = [one["datatype"] for entries in sides.values() for one in entries if one["datatype"] not in DATATYPES]
    if unknown:
        raise NotCaptured(f"it takes or gives {unknown[0]}, which is no datatype here.")
    said = {"engine": found.engine, "at": address.url, "model": model, "version": version.name}
    description = canonical_bytes(said | {name: str(value) for name, value in version.said.items() if name != "state"})
    sha256 = hashlib.sha256(description).hexdigest()
    file = {"path": "engine.json", "sha256": sha256, "size": len(description)}
    manifest = {"format": FORMAT, "model": slug, "components": {"described": [file]}, "signature": sides}
    return canonical_bytes(manifest), {sha256: description}
