"""The page with the three things to try: it asks, and the demo does."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.actions import create_user
from audit.actions import service_actor
from demo.board import Board, Tried

pytestmark = pytest.mark.urls("tests.demo.urls")


@pytest.fixture
def board(tmp_path: Path, settings: Any) -> Board:
    settings.LASTGOOD_DEMO = str(tmp_path)
    return Board(tmp_path)


@pytest.fixture
def vera(db: None, client: Client) -> Client:
    fields = {"username": "vera", "email": "vera@example.org", "full_name": "Vera", "password": "a long sentence"}
    client.force_login(create_user(**fields, roles=["viewer"], actor=service_actor("test")))
    return client


def test_a_button_asks_for_one_thing_and_another_can_not_begin_before_it_is_over(board: Board, vera: Client) -> None:
    page = vera.get("/demo/").content.decode()
    assert page.count("Try it") == 3

    assert vera.post("/demo/lie/").status_code == 302
    vera.post("/demo/kill/")

    assert {name: entry.state for name, entry in board.read().items()} == {
        "lie": "asked",
        "kill": "ready",
        "tamper": "ready",
    }
    assert "Try it" not in vera.get("/demo/").content.decode()
    assert [board.take(), board.take()] == ["lie", None]


def test_what_was_found_is_shown_with_where_it_is_seen(board: Board, vera: Client) -> None:
    lines = ["Found after 4.1 s by the golden test: 64 of 64 golden rows are answered wrongly."]
    board.write({"lie": Tried("found", lines, [("what each host serves", "/endpoints/e/")])})

    page = vera.get("/demo/entries/").content.decode()

    assert lines[0] in page
    assert '<a href="/endpoints/e/">what each host serves</a>' in page
    assert page.count("Try it") == 2
    assert page.count("Once more") == 1


def test_a_log_that_was_tampered_with_is_said_on_top_and_is_not_offered_again(board: Board, vera: Client) -> None:
    board.write({"tamper": Tried("found", ["Leaf 7 now says otherwise."])})

    page = vera.get("/demo/").content.decode()

    assert "The log was tampered with, and says so. To start afresh: Ctrl-C, then make demo." in page
    assert page.count("Try it") + page.count("Once more") == 2


def test_a_name_that_is_none_of_the_three_is_not_found_and_asks_for_nothing(board: Board, vera: Client) -> None:
    assert vera.post("/demo/other/").status_code == 404
    assert list(board.folder.iterdir()) == []


def test_nobody_signed_in_is_sent_to_sign_in(board: Board, client: Client, db: None) -> None:
    assert client.post("/demo/lie/").headers["Location"].startswith("/accounts/login/")
    assert board.take() is None
