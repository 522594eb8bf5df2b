"""How a host is brought to a version without Lastgood: command lines for its engine, as the engine's driver calls it.

They need `curl`, and `jq` for engines whose own numbers have to be looked up. Where files have to be in place first,
the lines say so. Tests run those for the bundled host against a real one.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.serving import mlserver, repository, torchserve, triton

POST = "curl -fsS -X POST"


@dataclass(frozen=True)
class Goal:
    """A version as commands name it: model, number, digest, the files as (SHA-256, place in the store), and the
    manifest's own file beside the runbook."""

    model: str
    number: int
    digest: str
    files: Sequence[tuple[str, str]]
    manifest: str


def lines_for(engine: str, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    """The lines for one host; for an engine that has none, a sentence as a comment."""
    makers = {"bundled": _bundled, "triton": _triton, "torchserve": _torchserve, "mlserver": _mlserver}
    if engine not in makers:
        return [f"# {engine}: by the engine's own tools, to the files whose SHA-256 are listed above."]
    # In a subshell, each line only when all before it went well.
    return ["(", "set -eu", *makers[engine](url.rstrip("/"), options, goal, fence), ")"]


def _bundled(url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    model = f"{url}/lastgood/v1/models/{goal.model}"
    version = f"{model}/versions/{goal.number}"
    named = f'{{"version": "{goal.number}", "digest": "{goal.digest}", "fence": {fence}}}'
    auth = '-H "Authorization: Bearer $TOKEN"'
    puts = [
        f"curl -fsS -o /dev/null -I {auth} {url}/lastgood/v1/blobs/{sha256} || "
        f"curl -fsS -X PUT {auth} -T {shlex.quote(place)} {url}/lastgood/v1/blobs/{sha256}"
        for sha256, place in goal.files
    ]
    return [
        "# TOKEN: the control token of this host",
        *puts,
        f"curl -fsS -X PUT {auth} -T {shlex.quote(goal.manifest)} {version}",
        f"{POST} {auth} {version}/load",
        f"{POST} {auth} -H 'Content-Type: application/json' -d {shlex.quote(named)} {model}/default",
        f"# what it answers with now: {goal.digest}",
        f"curl -fsS {auth} {url}/lastgood/v1/state",
    ]


def _triton(url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    folder = f"{options.get('repository', 'REPOSITORY')}/{goal.model}"
    policy = "{parameters: {config: (.version_policy = {specific: {versions: [$n]}} | tojson)}}"
    return [
        "# the folder of this version: its number there is N",
        f'N=$(basename $(dirname $(sha256sum {folder}/*/{repository.MANIFEST} | awk \'$1 == "{goal.digest}" '
        "{print $2}' | head -1)))",
        f'test -f "{folder}/$N/{triton.CONFIG}"',
        f'BODY=$(jq -c --argjson n "$N" {shlex.quote(policy)} "{folder}/$N/{triton.CONFIG}")',
        f"{POST} -H 'Content-Type: application/json' -d \"$BODY\" {url}/v2/repository/models/{goal.model}/load",
        f"{POST} -d '{{}}' {url}/v2/repository/index",
    ]


def _torchserve(url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    models = f"{options.get('management', url).rstrip('/')}/models"
    archive = f"{goal.digest}{torchserve.ARCHIVE}"
    number = f"V=$(curl -fsS {models}/{goal.model}/all | jq -r '.[] | select(.modelUrl == \"{archive}\").modelVersion')"
    load = f"url={archive}&model_name={goal.model}&initial_workers=1&synchronous=true"
    return [
        "# TorchServe's own number of this version is V; empty: it is not loaded",
        number,
        f"[ -n \"$V\" ] || {POST} '{models}?{load}'",
        number,
        'test -n "$V"',
        f"curl -fsS -X PUT '{models}/{goal.model}/'$V'?min_worker=1&synchronous=true'",
        f"curl -fsS -X PUT {models}/{goal.model}/$V/set-default",
        f"curl -fsS {models}/{goal.model}",
    ]


def _mlserver(url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    root = options.get("repository", "REPOSITORY")
    stored = f"{mlserver.STORE}/{goal.model}/{goal.number}"
    live = f"{root}/{goal.model}/{mlserver.SETTINGS}"
    seen = f"{options.get('seen_as', root)}/{stored}"
    marked = f'.name = "{goal.model}" | .platform = "{mlserver.PLATFORM}/{goal.number}/{goal.digest}" | '
    marked += f'.parameters = (.parameters // {{}} | del(.version)) + {{uri: "{seen}"}}'
    return [
        f"echo '{goal.digest}  {root}/{stored}/{repository.MANIFEST}' | sha256sum -c -",
        f"jq {shlex.quote(marked)} {root}/{stored}/{mlserver.OWN_SETTINGS} > {live}.new",
        f"mv {live}.new {live}",
        f"{POST} -H 'Content-Type: application/json' -d '{{}}' {url}/v2/repository/models/{goal.model}/load",
        f"curl -fsS {url}/v2/models/{goal.model}",
    ]
