"""What Lastgood calls beside the serving hosts: the servers of on-call calendars. It sends no webhooks."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.utils import timezone

from accounts.models import Roster
from accounts.rosters.actions import set_roster
from tests.accounts.test_rosters import an_hour_ago, calendar, shift
from tests.faults.town import PATIENT, Town
from tests.incidents.rollback.fleet import SETUP
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.faults


class Calendars:
    """A server whose `/slow` sends a byte now and then, until it is told to be well."""

    def __init__(self) -> None:
        self.well = False
        self.asked: list[str] = []
        self.body = calendar(shift("carla", an_hour_ago(), 8)).encode()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                for byte in outer.body[:60] if self.path == "/slow" and not outer.well else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.5)
                self.wfile.write(outer.body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def calendars() -> Iterator[Calendars]:
    made = Calendars()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_f37_a_server_that_is_slow_or_down_is_asked_again_and_holds_up_one_worker_at_most(
    town: Town, calendars: Calendars
) -> None:
    slow = set_roster(team="slow", address=f"{calendars.url}/slow", actor=SETUP)
    down = set_roster(team="down", address=f"http://127.0.0.1:{free_port()}/", actor=SETUP)
    town.clock(LASTGOOD_CALENDAR_NETWORKS="127.0.0.0/8")
    town.worker("intake", "intake", LASTGOOD_CALENDAR_NETWORKS="127.0.0.0/8")
    until(lambda: "/slow" in calendars.asked, seconds=PATIENT)
    good = set_roster(team="good", address=f"{calendars.url}/good", actor=SETUP)

    until(lambda: not Roster.objects.filter(problem="", read_at=None).exists(), seconds=PATIENT)

    slow.refresh_from_db()
    down.refresh_from_db()
    good.refresh_from_db()
    assert slow.problem == "The answer came too slowly."
    assert down.problem.startswith("No answer: ")
    assert (good.problem, calendars.asked.count("/slow")) == ("", 1)
    assert good.read_at is not None
    assert min(slow.next_read_at, down.next_read_at) > timezone.now()

    calendars.well = True
    Roster.objects.filter(pk=slow.pk).update(next_read_at=timezone.now())
    until(lambda: Roster.objects.get(pk=slow.pk).problem == "", seconds=PATIENT)
