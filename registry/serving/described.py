"""What a driver would call for an act, in words: method, address and body. Nothing is called here.

Each engine's module says why it calls what it calls; tests hold these lines against calls that were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NEXT = "-next"


@dataclass(frozen=True)
class Call:
    """One call. `method` is an HTTP method, or `write` for files put into an engine's repository."""

    method: str
    url: str
    body: str = ""


@dataclass(frozen=True)
class Act:
    """An act on a host: its name, the model, the version by number and digest, the fence, and a share's percent."""

    name: str
    model: str
    version: str
    digest: str
    fence: int
    percent: int = 0


def calls_of(engine: str, url: str, options: Mapping[str, str], act: Act) -> list[Call]:
    """The calls that the engine's driver makes for an act that is not true yet. Raises LookupError for an engine or an
    act that is not known."""
    makers = {"bundled": _bundled, "triton": _triton, "torchserve": _torchserve, "mlserver": _mlserver}
    return makers[engine](url.rstrip("/"), options, act)


def _bundled(url: str, options: Mapping[str, str], act: Act) -> list[Call]:
    model = f"{url}/lastgood/v1/models/{act.model}"
    version = f"{model}/versions/{act.version}"
    fence = f"fence {act.fence}"
    named = f"version {act.version}, digest {act.digest[:12]}, {fence}"
    return {
        "stage": [
            Call("PUT", f"{url}/lastgood/v1/blobs/…", "each file that the host lacks"),
            Call("PUT", version, f"the manifest {act.digest[:12]}"),
        ],
        "load": [Call("POST", f"{version}/load")],
        "unload": [Call("POST", f"{version}/unload")],
        "switch": [Call("POST", f"{model}/default", named)],
        "share": [Call("POST", f"{model}/share", f"{act.percent} %, {named}")],
        "shadow": [Call("POST", f"{model}/shadow", f"{act.percent} %, {named}")],
        "drain": [Call("POST", f"{model}/service", f"serving false, {fence}")],
        "bring_back": [Call("POST", f"{model}/service", f"serving true, {fence}")],
        "golden": [Call("POST", f"{url}/v2/models/{act.model}/versions/{act.version}/infer", "the golden inputs")],
        "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
    }[act.name]


def _written(options: Mapping[str, str], act: Act) -> list[Call]:
    return [Call("write", f"{options.get('repository', '')}/{act.model}", f"the files of version {act.version}")]


def _triton(url: str, options: Mapping[str, str], act: Act) -> list[Call]:
    load = f"{url}/v2/repository/models/{act.model}/load"
    numbered = f"{url}/v2/models/{act.model}/versions/(its number there)/infer"
    return {
        "stage": _written(options, act),
        "load": [Call("POST", load, f"version policy: what is loaded, and version {act.version}")],
        "unload": [Call("POST", load, f"version policy: what is loaded, without version {act.version}")],
        "switch": [Call("POST", load, f"version policy: version {act.version}, without what lies above")],
        "golden": [Call("POST", numbered, "the golden inputs")],
        "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
    }[act.name]


def _torchserve(url: str, options: Mapping[str, str], act: Act) -> list[Call]:
    models = f"{options.get('management', url).rstrip('/')}/models"
    version = f"{models}/{act.model}/(its version there)"
    return {
        "stage": _written(options, act),
        "load": [Call("POST", models, f"url {act.digest[:12]}….mar, one worker"), Call("PUT", version, "one worker")],
        "unload": [Call("DELETE", version)],
        "switch": [Call("PUT", f"{version}/set-default")],
        "golden": [Call("POST", f"{url}/predictions/{act.model}/(its version there)", "the golden inputs")],
        "postcheck": [Call("POST", f"{url}/predictions/{act.model}", "the golden inputs")],
    }[act.name]


def _mlserver(url: str, options: Mapping[str, str], act: Act) -> list[Call]:
    models = f"{url}/v2/repository/models/{act.model}"
    settings = f"{options.get('repository', '')}/{act.model}"
    return {
        "stage": _written(options, act),
        "load": [Call("write", f"{settings}{NEXT}", "its settings"), Call("POST", f"{models}{NEXT}/load")],
        "unload": [Call("POST", f"{models}{NEXT}/unload")],
        "switch": [
            Call("write", settings, "its settings"),
            Call("POST", f"{models}/load"),
            Call("POST", f"{models}{NEXT}/unload"),
        ],
        "golden": [Call("POST", f"{url}/v2/models/{act.model}{NEXT}/infer", "the golden inputs")],
        "postcheck": [Call("POST", f"{url}/v2/models/{act.model}/infer", "the golden inputs")],
    }[act.name]
