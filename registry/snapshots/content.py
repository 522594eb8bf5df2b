"""What a snapshot holds, and how two of them differ."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from accounts.approvals.models import ApprovalPolicy
from accounts.approvals.policy import policy_hash
from audit.canonical import canonical_bytes
from registry.models import Deployment, Endpoint, Placement, Version, VersionFile

FORMAT = "lastgood-snapshot/1"
SETTINGS = ("soak_seconds", "watch_seconds", "wave_soak_seconds", "undo_seconds", "min_hosts_serving", "environment")


def described(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint as the database has it now: hosts (what should serve, what was seen, what is live), default,
    versions of its model with their files, names that move, configuration, policies, and the reference profile."""
    live = {
        row.host_id: row for row in Deployment.objects.filter(endpoint=endpoint, until=None).select_related("version")
    }
    placements = Placement.objects.filter(endpoint=endpoint).select_related("host", "desired").order_by("host__name")
    hosts = {row.host.name: _host(row, live.get(row.host_id)) for row in placements}
    serving = Counter(row.version_id for row in live.values()).most_common()
    versions = list(endpoint.model.versions.order_by("number"))
    default = next((version for version in versions if serving and version.pk == serving[0][0]), None)
    aliases = endpoint.model.aliases.select_related("version").order_by("name")
    return {
        "format": FORMAT,
        "endpoint": endpoint.slug,
        "model": endpoint.model.slug,
        "default": _named(default),
        "fallback": _named(endpoint.fallback),
        "aliases": {alias.name: _named(alias.version) for alias in aliases},
        "hosts": hosts,
        "versions": _versions(versions),
        "configuration": {name: getattr(endpoint, name) for name in SETTINGS}
        | {"risk_tier": endpoint.model.risk_tier, "team": endpoint.model.team},
        "policies": _policies(),
        "reference_profile": default.profile_id if default is not None else None,
    }


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content's canonical JSON."""
    return hashlib.sha256(canonical_bytes(content)).hexdigest()


def files_of(content: Mapping[str, Any]) -> set[str]:
    """SHA-256 of every file that the content names."""
    found: set[str] = set()
    for version in content["versions"].values():
        found |= {file["sha256"] for file in version["files"]}
        found |= {version[extra] for extra in ("profile", "golden", "holdout") if version[extra]}
    return found


def needed_files(content: Mapping[str, Any]) -> set[str]:
    """SHA-256 of the files of those versions by which the endpoint could be put back: what was live on a host, wanted
    there, named by an alias, or to be fallen back on."""
    named = [content["default"], content["fallback"], *content["aliases"].values()]
    for host in content["hosts"].values():
        named += [host["live"], host["desired"]]
    numbers = {str(version["number"]) for version in named if version}
    return files_of({"versions": {number: content["versions"][number] for number in numbers}})


def _host(placement: Placement, live: Deployment | None) -> dict[str, Any]:
    return {
        "engine": placement.host.engine,
        "desired": _named(placement.desired),
        "live": _named(live.version) if live is not None else None,
        "observed_digest": placement.observed_digest,
        "health": placement.health,
        "drained": placement.host.drained_at is not None,
    }


def _named(version: Version | None) -> dict[str, Any] | None:
    return None if version is None else {"number": version.number, "digest": version.digest}


def _versions(versions: list[Version]) -> dict[str, Any]:
    files: dict[int, list[dict[str, Any]]] = {version.pk: [] for version in versions}
    for row in VersionFile.objects.filter(version__in=versions).select_related("artifact"):
        entry = {"component": row.component, "path": row.path, "sha256": row.artifact_id, "size": row.artifact.size}
        files[row.version_id].append(entry)
    return {
        str(version.number): {
            "digest": version.digest,
            "quarantined": version.quarantined_at is not None,
            "soaked": version.soaked_at is not None,
            "files": files[version.pk],
            "profile": version.profile_id,
            "golden": version.golden_id,
            "holdout": version.holdout_id,
        }
        for version in versions
    }


def _policies() -> dict[str, Any]:
    hashes = sorted(policy_hash(policy) for policy in ApprovalPolicy.objects.filter(active=True))
    return {"count": len(hashes), "sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest()}


@dataclass(frozen=True)
class Change:
    """One thing that differs: `what` in words, and its values in the one and the other, "–" where there is none."""

    what: str
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs from one content to another, in the order in which a person wants to know it."""
    found = [
        Change(gettext("What most hosts serve"), _version(before["default"]), _version(after["default"])),
        *_by_name("Host", before["hosts"], after["hosts"], _host_words),
        *_by_name("Alias", before["aliases"], after["aliases"], _version),
        Change(gettext("Falls back on"), _version(before["fallback"]), _version(after["fallback"])),
        *_by_name("Version", before["versions"], after["versions"], _version_words),
        *_by_name("Setting", before["configuration"], after["configuration"], str),
        Change(gettext("Policies in force"), _policies_words(before["policies"]), _policies_words(after["policies"])),
        Change(gettext("Reference profile"), *(str(one["reference_profile"] or "–")[:12] for one in (before, after))),
    ]
    return [change for change in found if change.before != change.after]


def _by_name(what: str, before: Mapping[str, Any], after: Mapping[str, Any], words: Any) -> Iterator[Change]:
    for name in sorted({*before, *after}, key=lambda name: (len(name), name) if what == "Version" else (0, name)):
        one, other = (words(side[name]) if name in side else "–" for side in (before, after))
        yield Change(f"{what} {name.replace('_', ' ')}", one, other)


def _version(named: Mapping[str, Any] | None) -> str:
    return (
        "–"
        if named is None
        else gettext("version %(number)s (%(digest)s)") % {"number": named["number"], "digest": named["digest"][:12]}
    )


def _host_words(host: Mapping[str, Any]) -> str:
    words = [gettext("serves %(live)s") % {"live": _version(host["live"])}]
    if host["desired"] != host["live"]:
        words.append(gettext("should serve %(desired)s") % {"desired": _version(host["desired"])})
    if host["drained"]:
        words.append("drained")
    return ", ".join([*words, host["health"].replace("_", " ")])


def _version_words(version: Mapping[str, Any]) -> str:
    words = [version["digest"][:12], gettext("%(count)s files") % {"count": len(version["files"])}]
    return ", ".join(words + [word for word in ("quarantined", "soaked") if version[word]])


def _policies_words(policies: Mapping[str, Any]) -> str:
    return f"{policies['count']} ({policies['sha256'][:12]})"
