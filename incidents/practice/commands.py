"""How a host is brought to a version without Lastgood: command lines for its engine, as the engine's driver calls it.

They need `curl`, and `jq` for engines whose own numbers have to be looked up. Where files have to be in place first,
the lines say so. Tests run them against real engines.
"""

from collections.abc import Mapping

from registry.serving import DRIVERS
from registry.serving.base import Goal


def lines_for(engine: str, url: str, options: Mapping[str, str], goal: Goal, fence: int) -> list[str]:
    """The lines for one host; for an engine that has none, a sentence as a comment."""
    driver = DRIVERS.get(engine)
    if driver is None:
        return [f"# {engine}: by the engine's own tools, to the files whose SHA-256 are listed above."]
    # In a subshell, each line only when all before it went well.
    return ["(", "set -eu", *driver.by_hand(url.rstrip("/"), options, goal, fence), ")"]
