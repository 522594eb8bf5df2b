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


def test_every_abuse_stands_in_the_table_once_with_a_test_or_a_reason() -> None:
    found = rows()
    assert sorted(found) == list(range(1, 71))
    assert [number for number, cells in found.items() if len(cells) != 1] == []
    without_test = [number for number, [cell] in found.items() if not NAMED.search(cell)]
    assert without_test == [23]
    assert all(len(found[number][0]) > 40 for number in without_test)


def test_every_test_that_the_table_names_exists() -> None:
    named = [entry for [cell] in rows().values() for entry in NAMED.findall(cell)]
    assert len(named) > 90
    assert [entry for entry in named if not (ROOT / entry[0]).is_file() or entry[1] not in names_in(entry[0])] == []


def test_every_test_that_is_called_after_an_abuse_is_of_one_in_the_table() -> None:
    numbers: set[int] = set()
    for path in sorted((ROOT / "tests" / "abuse").glob("test_*.py")):
        for name in names_in(str(path.relative_to(ROOT))):
            if found := MINE.match(name):
                numbers |= {int(number) for number in found[1].strip("_").split("_")}
    assert numbers <= set(rows())
    assert len(numbers) > 50
