"""The table of docs/permissions.md, read: who may ask for what. There is no other list of addresses or of who may."""

import re
from dataclasses import dataclass
from pathlib import Path

from accounts.models import Role

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "permissions.md"
API = "/api/v1/"
YES, NO = "+", "–"
NOBODY, TOKEN = "nobody", "token"
ROW = re.compile(r"^\| `(GET|HEAD|POST|PUT|PATCH|DELETE) (/\S*)` \|(.*)\|$", re.MULTILINE)
HEADER = re.compile(r"^\| Route \|(.*)\|$", re.MULTILINE)
NOBODYS = {
    "pk": "00000000-0000-4000-8000-000000000000",
    "id": "00000000-0000-4000-8000-000000000000",
    "item": "999999",
    "size": "999999",
    "number": "999999",
    "role": "viewer",
    "sha256": "ab" * 32,
    "digest": "ab" * 32,
}


@dataclass(frozen=True)
class Row:
    """One method of one address, and who may ask for it."""

    method: str
    template: str
    cells: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def is_api(self) -> bool:
        return self.template.startswith(API)

    @property
    def place(self) -> str:
        """The address as the API's own description calls it."""
        return self.template.removeprefix(API)

    @property
    def may(self) -> dict[str, bool]:
        """Of nobody and of each role: whether it may."""
        return {who: cell == YES for who, cell in self.cells if who != TOKEN}

    @property
    def scopes(self) -> list[str]:
        """The scopes with any one of which a program may; none where it needs none, or where no token is asked for."""
        return re.findall(r"`([a-z._]+)`", dict(self.cells)[TOKEN])

    @property
    def parameters(self) -> list[str]:
        return [part.partition("}")[0] for part in self.template.split("{")[1:]]

    def path(self, **names: object) -> str:
        """The address; what is not named is the name of nothing."""
        known = {name: str(names.get(name, NOBODYS.get(name, "nobody"))) for name in self.parameters}
        if "checkpoints" in self.template:
            known = dict.fromkeys(known, "999999")
        return self.template.format(**known)


def columns(text: str) -> list[str]:
    found = HEADER.search(text)
    assert found, "docs/permissions.md has no table that begins with the column Route"
    return [cell.strip().lower() for cell in found[1].split("|")]


def rows() -> list[Row]:
    text = DOCUMENT.read_text()
    heads = columns(text)
    made = []
    for method, template, cells in ROW.findall(text):
        values = [cell.strip() for cell in cells.split("|")]
        assert len(values) == len(heads), f"{method} {template} has {len(values)} cells, the table {len(heads)} columns"
        made.append(Row(method, template, tuple(zip(heads, values, strict=True))))
    return made


ROLES = [str(role) for role in Role.values]
ROWS = rows()
