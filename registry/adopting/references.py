"""References for drift from answers of a running engine. How one is built, the floor above tells: it knows the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.adopting.capture import row_count

LEAST_ROWS = 100
"""Of fewer rows no reference is made: a column is not judged against fewer."""

Columns = Mapping[str, Sequence[Any]]
Builder = Callable[[Columns, Columns, Mapping[str, Any]], bytes]
_builders: list[Builder] = []


@dataclass(frozen=True)
class Live:
    """Rows that were answered live, as an engine kept them: by which version, from when to when."""

    version: str
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    since: str = ""
    until: str = ""

    @property
    def rows(self) -> int:
        return row_count(self.inputs)


def register(builder: Builder) -> None:
    """Tell how a reference is built; for ``AppConfig.ready``. It gets inputs, outputs and what is to be written in it
    of where they come from, and gives a version's profile. Raises ValueError for columns of which none can be made."""
    if builder not in _builders:
        _builders.append(builder)


def reference_from(inputs: Columns, outputs: Columns, told: Mapping[str, Any]) -> bytes | None:
    """The profile of a version that gave those outputs for those inputs; None where nothing here can build one.

    Raises ValueError.
    """
    return _builders[0](inputs, outputs, told) if _builders else None
