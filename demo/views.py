"""The demo's own page, served only while `LASTGOOD_DEMO` names the folder of its board: three things to try."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.permissions import require
from demo.board import EXPLAINED, TITLES, Board

WORDS = {"asked": "begins", "running": "under way", "found": "found", "failed": "not found"}
CHIPS = {"asked": "pending", "running": "running", "found": "done", "failed": "failed"}


def panel(request: HttpRequest) -> dict[str, Any]:
    """For every template: that this is the demo."""
    return {"demo_panel": True}


def board() -> Board:
    return Board(Path(settings.LASTGOOD_DEMO))


@login_required
@require_GET
def tries(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    return render(request, "demo/tries.html", _context())


@login_required
@require_GET
def entries(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    return render(request, "demo/entries.html", _context())


@login_required
@require_POST
def ask(request: HttpRequest, name: str) -> HttpResponse:
    """Whoever is signed in may: the demo's people are all played by one reader."""
    require(request, "view")
    if name not in TITLES:
        raise Http404("That is not one of the three.")
    if not _busy(board().read()):
        board().ask(name)
    return redirect("demo-tries")


def _busy(found: dict[str, Any]) -> bool:
    return any(entry.state in ("asked", "running") for entry in found.values())


def _context() -> dict[str, Any]:
    found = board().read()
    rows = [
        {
            "name": name,
            "title": TITLES[name],
            "explained": EXPLAINED[name],
            "state": entry.state,
            "word": WORDS.get(entry.state, ""),
            "chip": CHIPS.get(entry.state, ""),
            "lines": entry.lines,
            "links": entry.links,
            "offered": name != "tamper" or not entry.lines,
        }
        for name, entry in found.items()
    ]
    broken = bool(found["tamper"].lines)
    sentence = "The log was tampered with, and says so. To start afresh: Ctrl-C, then make demo." if broken else ""
    head = {"sentence": sentence or "Break it on purpose, and see how it is found.", "tone": "bad" if broken else ""}
    return {"entries": rows, "busy": _busy(found), **head}
