"""Nothing changes rows without an event: each function that writes records one, or is a part of those that do."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

APPS = ("accounts", "registry", "monitoring", "incidents")
WRITES = {"create", "update", "delete", "bulk_create", "bulk_update", "get_or_create", "update_or_create", "save"}
ELSEWHERE = {
    "_asking_of": "keeps where a registered gate stands in a wave; its answer goes on record with the wave's gate",
    "erase": "called by audit.erasure, which records the erasure with the rows of each table",
    "erase_account": "called by audit.erasure, which records the erasure with the rows of each table",
    "roles_changed": "notes when a person's roles change next, and that their pages are new; the role is recorded",
    "series_for": "names a series at its first point",
    "show": "keeps what a page has shown; whoever decides on it records its digest",
}
"""Functions that record nothing themselves, and why that is right."""


@dataclass(frozen=True)
class Found:
    """A function of the apps: where it stands, which functions it calls by name, and whether it writes rows itself."""

    path: Path
    name: str
    calls: frozenset[str]
    writes: bool


@cache
def functions() -> list[Found]:
    """Every function of the apps, but those of migrations and of commands."""
    found = []
    for path in (path for app in APPS for path in (ROOT / app).rglob("*.py")):
        if not {"migrations", "management"} & set(path.parts):
            nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
            found += [_found(path.relative_to(ROOT), node) for node in nodes]
    return found


def _found(path: Path, node: ast.FunctionDef) -> Found:
    called = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    attributes = [one for one in called if isinstance(one, ast.Attribute)]
    writes = any(one.attr in WRITES and ".objects" in ast.unparse(one) for one in attributes)
    of_modules = [one.attr for one in attributes if isinstance(one.value, ast.Name) and one.attr not in WRITES]
    return Found(
        path, node.name, frozenset([*(one.id for one in called if isinstance(one, ast.Name)), *of_modules]), writes
    )


def recording() -> set[str]:
    """Names of functions that record an event, themselves or by what they call."""
    names, before = {"record"}, 0
    while len(names) != before:
        before = len(names)
        names |= {one.name for one in functions() if one.calls & names}
    return names


def test_what_changes_rows_is_on_record() -> None:
    records = recording()
    callers: dict[str, set[str]] = {}
    for one in functions():
        for callee in one.calls:
            callers.setdefault(callee, set()).add(one.name)

    def covered(name: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether it records, or every function that calls it is covered."""
        if name in records or name in ELSEWHERE:
            return True
        above = callers.get(name, set()) - seen - {name}
        return bool(above) and all(covered(one, seen | {name}) for one in above)

    silent = [one for one in functions() if one.writes and not one.calls & records and not covered(one.name)]
    assert [f"{one.path}: {one.name}" for one in silent] == []


def test_no_exception_is_idle() -> None:
    assert set(ELSEWHERE) <= {one.name for one in functions() if one.writes}
