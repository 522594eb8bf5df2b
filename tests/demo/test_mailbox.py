"""The demo's mail server takes letters as Django sends them, and keeps them to be read."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from demo import mailbox
from demo.mailbox import Letter, Mailbox
from tests.ports import free_port


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Mailbox]:
    made = Mailbox(free_port(), tmp_path / "letters")
    made.open()
    yield made
    made.close()


def letter(to: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "lastgood@localhost", to, "Severity 1: Täglich schlechter"
    message.set_content(text)
    return message


def test_a_letter_is_read_as_it_was_written_with_its_link(box: Mailbox) -> None:
    text = "Wörter.\n.a line that begins with a dot\nFollow https://example.org/answer/" + "x" * 90 + "\n"
    with smtplib.SMTP("127.0.0.1", box.port, timeout=10) as server:
        server.send_message(letter("rosa@example.org", text))
        server.send_message(letter("kofi@example.org", "Nothing to follow."))
    [found] = box.letters("rosa@example.org")
    assert (found.to, found.subject) == (("rosa@example.org",), "Severity 1: Täglich schlechter")
    assert found.text.splitlines() == text.splitlines()
    assert found.link("/answer/") == "https://example.org/answer/" + "x" * 90
    assert [one.link("/answer/") for one in box.letters("kofi@example.org")] == [""]
    assert sorted(file.name for file in box.folder.iterdir()) == ["001.eml", "002.eml"]


def test_what_it_does_not_know_or_is_too_long_is_refused_and_kept_nowhere(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MOST_BYTES", 100)
    with smtplib.SMTP("127.0.0.1", box.port, timeout=10) as server:
        assert server.docmd("STARTTLS")[0] == 502
        with pytest.raises(smtplib.SMTPDataError) as refused:
            server.send_message(letter("rosa@example.org", "word " * 100))
    assert refused.value.smtp_code == 552
    assert box.letters() == []


def test_a_link_is_found_by_a_part_of_it() -> None:
    two = Letter(("a@example.org",), "", "https://example.org/confirm/1 or https://example.org/unsubscribe/2")
    assert (two.link("/unsubscribe/"), two.link("/other/")) == ("https://example.org/unsubscribe/2", "")
