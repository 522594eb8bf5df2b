"""What an operator does to an engine without Lastgood, and what the engine says of itself."""

import json
from typing import Any

from tests.engines.story import Story


def post(story: Story, path: str, body: Any = None) -> tuple[int, str]:
    # MLServer drops the connection of a request that it answered with 500.
    answer = story.server.http.post(path, json={} if body is None else body, headers={"Connection": "close"})
    return answer.status_code, answer.text


def index(story: Story) -> dict[str, str]:
    """Version -> state, as the index says."""
    listed = json.loads(post(story, "/v2/repository/index")[1])
    return {
        entry.get("version", ""): entry["state"]
        for entry in listed
        if entry["name"] == story.model and "state" in entry
    }


def load_by_hand(story: Story, versions: list[int]) -> tuple[int, str]:
    """What an operator types: load the model with a version policy."""
    config = story.server.config | {"version_policy": {"specific": {"versions": versions}}}  # type: ignore[attr-defined]
    return post(story, f"/v2/repository/models/{story.model}/load", {"parameters": {"config": json.dumps(config)}})


def slot(story: Story, version: str) -> int:
    return int(story.server.file_on_disk(story.model, version, story.made[int(version)]).parent.name)


def named(manifest: bytes) -> dict[str, str]:
    components = json.loads(manifest)["components"].values()
    return {entry["path"]: entry["sha256"] for entries in components for entry in entries}


def management(story: Story, method: str, path: str) -> int:
    url = story.address.options["management"] + path
    return story.server.http.request(method, url, timeout=120).status_code
