"""The demo's menu: a number and Enter, or a button of its page, plays one of the three; no log is broken twice."""

from pathlib import Path

import pytest

from demo.__main__ import Keys, offer_tries
from demo.board import TITLES, Board, Tried
from demo.scenario import Told


class Played:
    """Takes note of what was to be played."""

    def __init__(self, folder: Path) -> None:
        self.board = Board(folder)
        self.entries = {name: Tried() for name in TITLES}
        self.names: list[str] = []

    def play(self, name: str) -> bool:
        self.names.append(name)
        self.entries[name] = Tried("found", ["It was found."])
        return True


def offered(tries: Played, typed: list[str], looks: int) -> None:
    keys = Keys(listen=False)
    for line in typed:
        keys.lines.put(line)
    left = iter(range(looks))
    offer_tries(tries, Told("recode", "x", "http://127.0.0.1:1"), keys, lambda: next(left, None) is not None)


def test_numbers_and_buttons_play_what_they_stand_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tries = Played(tmp_path)
    tries.board.ask("tamper")

    offered(tries, ["2", "9", "", "1"], looks=6)

    assert tries.names == ["tamper", "kill", "lie"]
    menu = capsys.readouterr().out
    assert "  1  Make a host lie about its weights\n  2  Kill the worker in the middle of a change\n" in menu
    assert "http://127.0.0.1:1/demo/" in menu


def test_a_log_that_is_broken_is_not_broken_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tries = Played(tmp_path)

    offered(tries, ["3", "3"], looks=3)

    assert tries.names == ["tamper"]
    assert "To start afresh: Ctrl-C, then make demo." in capsys.readouterr().out
