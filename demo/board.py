"""What the three things to try have come to, kept as files: the demo writes, the page reads and asks. No Django."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

TITLES = {
    "lie": "Make a host lie about its weights",
    "kill": "Kill the worker in the middle of a change",
    "tamper": "Tamper with the log",
}
EXPLAINED = {
    "lie": "The weights in one host's memory are put in another order. The host goes on claiming the digest that was "
    "released to it, and answers every request with 200.",
    "kill": "A release is approved and started; the worker that carries it out is killed (SIGKILL) between two steps "
    "of the first host.",
    "tamper": "Somebody with the password of the database's owner takes the guard off a table, writes into the record "
    "that another person approved the rollback, and puts the guard back. The log stays broken afterwards.",
}


@dataclass
class Tried:
    """How far one is: ready, asked, running, found or failed; what was seen, and where (label, address)."""

    state: str = "ready"
    lines: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


class Board:
    """One folder. Only the demo writes what has come of it; anybody may ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, Tried]:
        """All three, by name."""
        found = {name: Tried() for name in TITLES}
        path = self.folder / "board.json"
        if path.exists():
            found |= {name: Tried(**entry) for name, entry in json.loads(path.read_bytes()).items()}
        for name in TITLES:
            if self._asked(name).exists():
                found[name] = Tried("asked")
        return found

    def write(self, entries: dict[str, Tried]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "board.part"
        temporary.write_text(json.dumps({name: asdict(entry) for name, entry in entries.items()}))
        temporary.replace(self.folder / "board.json")

    def ask(self, name: str) -> None:
        """Ask the demo to do it. Raises KeyError for a name that is none of the three."""
        if name not in TITLES:
            raise KeyError(name)
        self._asked(name).touch()

    def take(self) -> str | None:
        """The name of one that was asked for, which thereby no longer is; None when nothing was."""
        for name in TITLES:
            if self._asked(name).exists():
                self._asked(name).unlink()
                return name
        return None

    def _asked(self, name: str) -> Path:
        return self.folder / f"ask-{name}"
