"""Who answers for what was bypassed gets an e-mail, by a real mail server, and again where it was not there."""

import email
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.handlers import Message as Reading
from django.db.models import F

from accounts.approvals import due, notices
from accounts.approvals.models import ApprovalRequest, GlassNotice
from accounts.models import User
from accounts.tasks import tell_of_broken_glass
from audit.clock import database_now
from tests.accounts.people import a_request, person, recorded
from tests.accounts.test_break_glass import smash
from tests.mail import mail_server
from tests.ports import free_port

pytestmark = pytest.mark.django_db


class Post(Reading):
    """Keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.taken.append(message)


@pytest.fixture
def mail(settings: Any) -> Iterator[Post]:
    post = Post()
    with mail_server(post, settings, public_url="https://lastgood.example.org"):
        yield post


@pytest.fixture
def people() -> dict[str, User]:
    return {name: person(name, role) for name, role in (
        ("rita", "responder"), ("carla", "commander"), ("kofi", "commander"), ("amir", "approver"), ("vera", "viewer"),
    )}  # fmt: skip


@pytest.fixture
def broken(people: dict[str, User]) -> ApprovalRequest:
    request = a_request(people["rita"], incident="INC-7")
    smash(people["carla"], request)
    return request


def send_all() -> None:
    for pk in due.notices_to_send(database_now()):
        tell_of_broken_glass(pk)


def told() -> list[tuple[str, str]]:
    return [(row["outcome"], row["data"]["to"]) for row in recorded("approval.break_glass.tell")]


def test_everybody_whose_role_the_policies_name_is_told_at_once_and_once(
    mail: Post, broken: ApprovalRequest, people: dict[str, User]
) -> None:
    send_all()
    send_all()
    assert sorted(str(message["To"]) for message in mail.taken) == ["amir@example.org", "kofi@example.org"]
    message = email.message_from_bytes(mail.taken[0].as_bytes())
    text = message.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert email.header.make_header(email.header.decode_header(message["Subject"])) == f"Break-glass: {broken.title}"
    assert "Carla broke glass" in text
    assert "Loans are refused wrongly, and nobody else answers." in text
    assert f"https://lastgood.example.org/approvals/{broken.pk}/break-glass/" in text
    assert sorted(told()) == sorted(("success", people[name].pseudonym) for name in ("amir", "kofi"))
    assert not GlassNotice.objects.filter(sent_at=None).exists()


def test_a_mail_server_that_is_away_is_tried_again_and_each_failure_is_on_record(
    broken: ApprovalRequest, people: dict[str, User], settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", free_port(), False
    send_all()
    assert due.notices_to_send(database_now()) == []
    assert {outcome for outcome, _ in told()} == {"failed"}
    assert set(GlassNotice.objects.values_list("attempts", "sent_at")) == {(1, None)}
    for _ in range(len(notices.WAITS)):
        GlassNotice.objects.exclude(next_try_at=None).update(next_try_at=database_now())
        send_all()
    assert set(GlassNotice.objects.values_list("attempts", "next_try_at")) == {(len(notices.WAITS), None)}
    ends = [row["data"]["given_up"] for row in recorded("approval.break_glass.tell") if row["data"]["given_up"]]
    assert ends == [True, True]


def test_a_notice_to_somebody_whose_address_is_gone_is_not_told_as_sent(
    mail: Post, broken: ApprovalRequest, people: dict[str, User]
) -> None:
    User.objects.update(email="")
    for _ in range(len(notices.WAITS)):
        GlassNotice.objects.exclude(next_try_at=None).update(next_try_at=database_now())
        send_all()
    assert mail.taken == []
    assert {outcome for outcome, _ in told()} == {"failed"}
    assert set(GlassNotice.objects.values_list("sent_at", "next_try_at")) == {(None, None)}
    ends = [row["data"]["why"] for row in recorded("approval.break_glass.tell") if row["data"]["given_up"]]
    assert ends == ["NoRecipient", "NoRecipient"]


def test_a_notice_that_waits_goes_out_when_the_server_is_back(
    broken: ApprovalRequest, mail: Post, settings: Any
) -> None:
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, free_port()
    send_all()
    settings.EMAIL_PORT = port
    send_all()
    assert mail.taken == []
    GlassNotice.objects.update(next_try_at=F("next_try_at") - notices.datetime.timedelta(seconds=notices.WAITS[0]))
    send_all()
    assert len(mail.taken) == 2


def test_abuse_31_a_title_with_line_breaks_makes_no_header(
    mail: Post, broken: ApprovalRequest, people: dict[str, User]
) -> None:
    ApprovalRequest.objects.update(title="Roll back\r\nBcc: all@example.com\n\nhello")
    send_all()
    assert [message["Bcc"] for message in mail.taken] == [None, None]
    assert str(mail.taken[0]["Subject"]) == "Break-glass: Roll back Bcc: all@example.com hello"


def test_who_holds_the_role_for_other_models_only_and_who_has_no_address_gets_none(
    mail: Post, people: dict[str, User]
) -> None:
    User.objects.filter(pk=people["kofi"].pk).update(email="")
    request = a_request(people["rita"], model="letters")
    smash(people["carla"], request)
    send_all()
    assert [str(message["To"]) for message in mail.taken] == ["amir@example.org"]
