"""Addresses at which serving hosts fetch models' files: the bucket's own, signed by its keys, and Lastgood's.

Both are good for one file and for a quarter of an hour. LASTGOOD_ARTIFACTS_ADDRESS says under which address hosts reach
Lastgood; where it is not set, nothing is offered, and files are sent to the hosts.
"""

from functools import partial

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.urls import reverse

from registry import store
from registry.models import Version
from registry.serving.base import FetchingDriver, HostAddress, ServingDriver, Source

VALID_SECONDS = 900
SALT = "lastgood artifact 1"


def offered() -> bool:
    """Whether hosts are told to fetch files."""
    return bool(settings.LASTGOOD_ARTIFACTS_ADDRESS)


def way_to(*, fetches: bool) -> str:
    """How files get to a host, for people; `fetches`: its own settings let it fetch."""
    if not offered():
        return "a worker sends them: LASTGOOD_ARTIFACTS_ADDRESS is not set"
    if not fetches:
        return "a worker sends them: LASTGOOD_HOST_FETCH_NETWORKS is not set on the host"
    bucket = f"{store.address()}, else from " if store.in_bucket() else ""
    return f"it fetches them from {bucket}{settings.LASTGOOD_ARTIFACTS_ADDRESS}; what it can't reach is sent"


def sources(sha256: str) -> list[Source]:
    """The addresses of a file, valid from now. Raises ArtifactUnavailable where the bucket's keys can't be had."""
    signed = store.signed_address(sha256, VALID_SECONDS)
    own = settings.LASTGOOD_ARTIFACTS_ADDRESS + reverse("artifact", args=[sha256])
    return [*([Source(signed)] if signed else []), Source(own, TimestampSigner(salt=SALT).sign(sha256))]


def permits(token: str, sha256: str) -> bool:
    """Whether the token is one of ours for that file, and not too old."""
    try:
        return TimestampSigner(salt=SALT).unsign(token, max_age=VALID_SECONDS) == sha256
    except BadSignature:
        return False


def have_fetched(driver: ServingDriver, address: HostAddress, version: Version) -> None:
    """Have a host fetch what it lacks of a version, smallest file first. One that it can't have in that way, and what
    comes after it, is left to `driver.stage` to send: sources that are away are waited for once."""
    if not offered() or not isinstance(driver, FetchingDriver):
        return
    for sha256, size in version.files.values_list("artifact_id", "artifact__size").order_by("artifact__size"):
        if not driver.fetch(address, sha256, size, partial(sources, sha256)):
            return
