"""On-call rosters: read from a calendar with repeating shifts; the last good one counts while no newer can be read."""

import datetime
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts import oncall
from accounts.actions import AccountError
from accounts.due import rosters_to_read
from accounts.models import Roster, Shift, User
from accounts.rosters.actions import read_roster, remove_roster, set_roster
from accounts.rosters.calendars import CalendarUnreadable, duties_in
from accounts.tasks import read_a_roster
from tests.accounts.people import PASSWORD, SETUP, person, recorded
from tests.api.programs import Program, problem_of
from tests.ports import free_port

UTC = datetime.UTC


def calendar(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\r\nUID:{number}\r\n{event}END:VEVENT\r\n" for number, event in enumerate(events))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{body}END:VCALENDAR\r\n"


def shift(title: str, starts: datetime.datetime, hours: int, *lines: str) -> str:
    times = [f"DT{name}:{at:%Y%m%dT%H%M%SZ}" for name, at in (
        ("START", starts), ("END", starts + datetime.timedelta(hours=hours)),
    )]  # fmt: skip
    return "".join(f"{line}\r\n" for line in [f"SUMMARY:{title}", *times, *lines])


def test_shifts_that_repeat_are_spread_out_and_one_that_was_moved_is_where_it_was_moved_to() -> None:
    monday = datetime.datetime(2026, 3, 2, 8, tzinfo=UTC)
    weekly = shift("carla", monday, 9, "RRULE:FREQ=WEEKLY;COUNT=4", "EXDATE:20260309T080000Z")
    text = calendar(weekly, shift("Vera", monday + datetime.timedelta(days=7), 9))
    found = duties_in(text, monday, monday + datetime.timedelta(days=60))
    assert [(duty.title, duty.starts.day, duty.ends.hour) for duty in found] == [
        ("carla", 2, 17), ("Vera", 9, 17), ("carla", 16, 17), ("carla", 23, 17),
    ]  # fmt: skip


def test_a_zone_and_its_summer_time_and_a_whole_day_are_understood() -> None:
    zoned = (
        "SUMMARY:carla\r\nDTSTART;TZID=Europe/Berlin:20260328T080000\r\nDTEND;TZID=Europe/Berlin:20260328T160000\r\n"
    )
    text = calendar(f"{zoned}RRULE:FREQ=DAILY;COUNT=2\r\n", "SUMMARY:vera\r\nDTSTART;VALUE=DATE:20260401\r\n")
    start = datetime.datetime(2026, 3, 1, tzinfo=UTC)
    hours = [(duty.starts.hour, duty.ends.hour) for duty in duties_in(text, start, start + datetime.timedelta(days=60))]
    assert hours == [(7, 15), (6, 14), (0, 0)]


def test_people_are_named_by_attendees_or_by_an_address_in_the_title() -> None:
    at = datetime.datetime(2026, 3, 2, 8, tzinfo=UTC)
    text = calendar(
        shift("First line", at, 8, "ATTENDEE;CN=Carla:mailto:carla@example.org", "ATTENDEE:MAILTO:vera@example.org"),
        shift("On call: bo@example.org", at, 8),
        shift("Away", at, 8, "STATUS:CANCELLED"),
    )
    found = {duty.title: duty.addresses for duty in duties_in(text, at, at + datetime.timedelta(days=1))}
    assert found == {
        "First line": ("carla@example.org", "vera@example.org"),
        "On call: bo@example.org": ("bo@example.org",),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>Sign in</html>",
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n",
        calendar("SUMMARY:carla\r\n"),
        calendar(shift("carla", datetime.datetime(2026, 3, 2, tzinfo=UTC), 1, "RRULE:FREQ=SECONDLY")),
        calendar("SUMMARY:carla\r\nDTSTART:20260302T080000Z\r\nRRULE:FREQ=SOMETIMES\r\n"),
        "x" * (2**20 + 1),
    ],
)
def test_what_is_no_calendar_is_refused(text: str) -> None:
    start = datetime.datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(CalendarUnreadable):
        assert duties_in(text, start, start + datetime.timedelta(days=60)) is None


@pytest.fixture
def staff(db: Any) -> dict[str, User]:
    cache.clear()
    return {
        name: person(name, role)
        for name, role in {"ada": "administrator", "carla": "commander", "vera": "viewer"}.items()
    }


def an_hour_ago() -> datetime.datetime:
    return timezone.now() - datetime.timedelta(hours=1)


def test_who_is_on_call_now_is_who_the_calendar_names_now(staff: dict[str, User]) -> None:
    later = timezone.now() + datetime.timedelta(hours=7)
    text = calendar(shift("Carla", an_hour_ago(), 8), shift("vera", later, 8), shift("Nobody Known", an_hour_ago(), 8))
    set_roster(team="ml", calendar=text, actor=SETUP)
    assert oncall.now("ml") == [staff["carla"]]
    assert oncall.now("text") == []
    [roster] = oncall.rosters()
    assert [(entry.name, entry.user) for entry in roster.current] == [
        ("Carla", staff["carla"]), ("Nobody Known", None),
    ]  # fmt: skip
    assert [entry.user for entry in roster.coming] == [staff["vera"]]
    User.objects.filter(pk=staff["carla"].pk).update(is_active=False)
    assert oncall.now("ml") == []
    remove_roster(roster=roster, actor=SETUP)
    assert (Shift.objects.count(), len(recorded("roster.remove"))) == (0, 1)


class Answers:
    """What the server of calendars answers with."""

    status, body = 200, b""


@pytest.fixture
def calendars(settings: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(Answers.status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(Answers.body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    settings.LASTGOOD_CALENDAR_NETWORKS = ["127.0.0.0/8"]
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/ml.ics"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_calendar_at_an_address_is_read_again_and_the_last_good_one_counts(
    staff: dict[str, User], calendars: str
) -> None:
    Answers.status, Answers.body = 200, calendar(shift("carla", an_hour_ago(), 8)).encode()
    roster = set_roster(team="ml", address=calendars, actor=SETUP)
    assert rosters_to_read(timezone.now()) == [str(roster.pk)]
    read_a_roster(str(roster.pk))
    assert oncall.now("ml") == [staff["carla"]]
    assert rosters_to_read(timezone.now()) == []
    read_a_roster(str(roster.pk))
    assert len(recorded("roster.read")) == 1

    for status, body in ((500, b""), (302, b""), (200, b"<html>Sign in</html>"), (200, b"\xff\xfe")):
        Answers.status, Answers.body = status, body
        read_a_roster(str(roster.pk))
        assert Roster.objects.get().problem
        assert oncall.now("ml") == [staff["carla"]]
    assert [leaf["outcome"] for leaf in recorded("roster.read")] == ["success", "failed"]

    Answers.status, Answers.body = 200, calendar(shift("vera", an_hour_ago(), 8)).encode()
    read_a_roster(str(roster.pk))
    assert (oncall.now("ml"), Roster.objects.get().problem) == ([staff["vera"]], "")
    assert rosters_to_read(timezone.now() + datetime.timedelta(minutes=16)) == [str(roster.pk)]


def test_an_address_outside_of_the_allowed_networks_is_not_asked(staff: dict[str, User], settings: Any) -> None:
    settings.LASTGOOD_CALENDAR_NETWORKS = ["public"]
    roster = set_roster(team="ml", address="http://169.254.169.254/latest/", actor=SETUP)
    read_roster(roster_id=roster.pk, actor=SETUP)
    assert "none of the allowed networks" in Roster.objects.get().problem


@pytest.mark.parametrize(
    "wish",
    [
        {"team": "", "address": "https://x.example/a.ics"},
        {"team": "ml"},
        {"team": "ml", "address": "file:///etc/passwd"},
        {"team": "ml", "calendar": "nothing"},
        {"team": "ml", "address": "https://x.example/", "calendar": "both"},
    ],
)
def test_a_roster_that_can_not_be_is_refused(wish: dict[str, str], db: Any) -> None:
    with pytest.raises(AccountError):
        set_roster(**wish, actor=SETUP)
    assert not Roster.objects.exists()


def browser(name: str) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": name, "password": PASSWORD})
    return client


def test_the_page_says_who_is_on_call_and_an_administrator_hands_in_a_file(staff: dict[str, User]) -> None:
    text = calendar(shift("carla", an_hour_ago(), 8), shift("Nobody Known", an_hour_ago(), 8))
    file = SimpleUploadedFile("ml.ics", text.encode(), content_type="text/calendar")
    assert browser("carla").post("/people/rosters/", {"team": "ml", "file": file}).status_code == 403
    file.seek(0)
    html = browser("ada").post("/people/rosters/", {"team": "ml", "file": file}, follow=True).content.decode()
    assert "The roster of ml is set." in html
    html = browser("vera").get("/people/rosters/").content.decode()
    assert "Carla" in html
    assert "not known here" in html
    assert "Set a team" not in html
    refused = browser("ada").post("/people/rosters/", {"team": "ml", "address": "ftp://x"})
    assert "must begin with http" in refused.content.decode()
    browser("ada").post(f"/people/rosters/{Roster.objects.get().pk}/remove/")
    assert not Roster.objects.exists()


def test_a_program_sets_and_reads_a_roster(staff: dict[str, User]) -> None:
    ada, vera = Program(staff["ada"]), Program(staff["vera"])
    text = calendar(shift("carla", an_hour_ago(), 8))
    problem_of(ada.ask("POST", "/api/v1/rosters/", {"team": "ml", "calendar": "nothing"}), 422, "roster-refused")
    made = ada.ask("POST", "/api/v1/rosters/", {"team": "ml", "calendar": text})
    assert made.status_code == 201, made.content
    place = f"/api/v1/rosters/{made.json()['id']}/"
    assert [entry["user"] for entry in vera.ask("GET", place).json()["current"]] == ["carla"]
    assert ada.ask("DELETE", place).status_code == 204
    problem_of(ada.ask("GET", place), 404, "not-found")
