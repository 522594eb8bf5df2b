"""What a running stack leaves in `var/` so that a person's `manage.py` command meets the same database."""

import json
import os
from collections.abc import MutableMapping
from pathlib import Path

ENVIRONMENT = "run/environment.json"
STARTERS = frozenset({"up"})


def borrow_environment(root: Path, argv: list[str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Where no DATABASE_URL is given and a stack runs in LASTGOOD_VAR, take over the environment of its commands."""
    var = Path(environ.get("LASTGOOD_VAR") or root / "var")
    if environ.get("DATABASE_URL") or (len(argv) > 1 and argv[1] in STARTERS):
        return
    try:
        borrowed: dict[str, str] = json.loads((var / ENVIRONMENT).read_text())
    except FileNotFoundError:
        return
    for name, value in borrowed.items():
        environ.setdefault(name, value)
