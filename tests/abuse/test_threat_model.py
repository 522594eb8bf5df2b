"""The table of docs/threat-model.md: every abuse once, and every test that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
MINE = re.compile(r"^test_abuse_((?:\d+_)+)")


def rows() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, *cells in ROW.findall((ROOT / "docs" / "threat-model.md").read_text()):
        found.setdefault(int(number), []).append(cells[-1])
    return found


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def numbers_of(name: str) -> set[int]:
    """The abuses after which a test is called."""
    found = MINE.match(name)
    return {int(number) for number in found[1].strip("_").split("_")} if found else set()


def test_every_abuse_stands_in_the_table_once_with_a_test_called_after_it_or_a_reason() -> None:
    found = rows()
    assert sorted(found) == list(range(1, 71))
    assert [number for number, cells in found.items() if len(cells) != 1] == []
    called = {number: [name for _, name in NAMED.findall(cell)] for number, [cell] in found.items()}
    without = [number for number, names in called.items() if not any(number in numbers_of(name) for name in names)]
    assert without == [23]
    assert all(not called[number] and len(found[number][0]) > 40 for number in without)


def test_every_test_that_the_table_names_exists() -> None:
    named = [entry for [cell] in rows().values() for entry in NAMED.findall(cell)]
    assert len(named) > 90
    assert [entry for entry in named if not (ROOT / entry[0]).is_file() or entry[1] not in names_in(entry[0])] == []


def test_no_test_is_called_after_an_abuse_that_is_not_in_the_table() -> None:
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    numbers = {number for file in files for name in names_in(file) for number in numbers_of(name)}
    assert numbers == set(rows()) - {23}
