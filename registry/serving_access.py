"""From rows to what a serving driver takes: a host's address with its token, its driver, a version's files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from django.conf import settings

from registry import sealing, store
from registry.models import Host, Version
from registry.serving import driver_for
from registry.serving.allow import check_address
from registry.serving.base import HostAddress, ServingDriver


def token_place(host: Host) -> str:
    """What a host's sealed token is bound to."""
    return f"registry_host:control_token_sealed:{host.pk}"


def address_of(host: Host) -> HostAddress:
    """The host's address, checked against the allowed networks anew, with its control token.

    Raises registry.serving.allow.AddressRefused, and registry.sealing.SealBroken.
    """
    check_address(host.address, settings.LASTGOOD_HOST_NETWORKS)
    sealed = bytes(host.control_token_sealed)
    token = sealing.unseal(sealed, token_place(host)) if sealed else ""
    return HostAddress(host.address, token, tuple(settings.LASTGOOD_HOST_NETWORKS), host.options)


def driver_of(host: Host) -> ServingDriver:
    """Raises LookupError for an engine that Lastgood can't drive."""
    return driver_for(host.engine)


def blobs_of(version: Version) -> Mapping[str, Path]:
    """SHA-256 -> path on this machine, of every file in the version's manifest. A file is brought here when its path is
    asked for, which raises what store.local does."""
    return _Blobs(version)


class _Blobs(Mapping[str, Path]):
    def __init__(self, version: Version) -> None:
        self._version = str(version)
        self._names = list(version.files.values_list("artifact_id", flat=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, sha256: str) -> Path:
        if sha256 not in self._names:
            raise KeyError(sha256)
        try:
            return store.local(sha256)
        except store.ArtifactMissing:
            raise store.ArtifactMissing(
                f"The file {sha256[:12]} of {self._version} is not in the store. Upload it again."
            ) from None
