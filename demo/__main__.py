"""`make demo`: play the story, show where to watch it, and stay up; with ONCE=1 play it alone and report."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from demo.board import TITLES, Board
from demo.build import FAULTS, cached
from demo.registration import PEOPLE, STATUS_PAGE, draw_password
from demo.scenario import Offer, Scenario, ScenarioFailed, Told
from demo.stage import COMPRESSED, ROOT, Stage, compressed_clocks
from demo.tries import Tries

VAR = ROOT / "var"
START = time.monotonic()
CHOSEN_FAULTS = tuple(name for name in FAULTS if name != "none")


def say(line: str) -> None:
    print(f"[{time.monotonic() - START:6.1f} s] {line}", flush=True)


class Keys:
    """What the reader types, line by line; nothing where there is no terminal."""

    def __init__(self, *, listen: bool) -> None:
        self.lines: queue.Queue[str] = queue.Queue()
        if listen:
            threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.lines.put(line.strip())

    def pressed(self) -> str | None:
        """The next line; None when none was typed."""
        try:
            return self.lines.get_nowait()
        except queue.Empty:
            return None


class Invitation(Offer):
    """At a terminal: the reader may approve in the browser; whoever does not within the time is stood in for."""

    def __init__(self, seconds: float, keys: Keys) -> None:
        self.seconds = seconds
        self.keys = keys

    def approve(self, plan: Any, told: Told) -> None:
        address = f"{told.server}/approvals/{plan.request_id}/"
        print(f"\n  Your turn: sign in as kofi (then as ana), password {told.password}, and approve at\n  {address}")
        print(
            f"  In {self.seconds:.0f} s, or when you press Enter, the demo's people approve it themselves.\n",
            flush=True,
        )
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline and self.keys.pressed() is None:
            if _approvals(plan) >= 2:
                return
            time.sleep(0.5)
        self._stand_in(plan, told)

    def _stand_in(self, plan: Any, told: Told) -> None:
        from accounts.models import ApprovalDecision
        from demo import people
        from demo.browser import Person

        given = set(ApprovalDecision.objects.filter(request_id=plan.request_id).values_list("by__username", flat=True))
        for username in ("kofi", "ana"):
            if username not in given and _approvals(plan) < 2:
                with Person(told.server, username, told.password) as person:
                    people.approve(person, plan.request_id)


def _approvals(plan: Any) -> int:
    from accounts.models import ApprovalDecision

    return ApprovalDecision.objects.filter(request_id=plan.request_id, decision="approve").count()


def introduce(told: Told, once: bool) -> None:
    """Address and sign-ins first, so that the story can be watched from its beginning."""
    print(f"\nLastgood: {told.server}  (ready in about 15 s)\nSign in with the password {told.password} as:")
    for username, (name, _, what) in PEOPLE.items():
        print(f"  {username:6} {name}, {what}")
    print(f"Status page, no sign-in: {told.server}/status/{STATUS_PAGE}/")
    print(f"\nThe fault, put in on purpose: {FAULTS[told.fault]}.\nClocks that are compressed for the demo:")
    for words in compressed_clocks():
        print(f"  - {words}")
    print("" if once else "Ctrl-C stops everything.\n", flush=True)


def play(told: Told, stage: Stage, offer: Offer) -> tuple[Scenario, dict[str, Any]]:
    """The whole story, and its report. Raises ScenarioFailed."""
    from demo.report import report

    build = subprocess.Popen([sys.executable, "-m", "demo.build", str(VAR / "demo-cache"), told.fault], cwd=ROOT)
    try:
        stage.open()
        _use(stage)
        say("training both versions on CPU, unless they are kept from an earlier run")
        if build.wait(timeout=150) != 0:
            raise ScenarioFailed("The models could not be trained; the lines above say why.")
    finally:
        if build.poll() is None:
            build.kill()
    packages = cached(VAR / "demo-cache", told.fault)
    scenario = Scenario(stage, told, packages, say, offer)
    scenario.prepare()
    scenario.put_the_fault_in()
    scenario.see_it()
    scenario.decide()
    scenario.roll_back()
    scenario.close()
    proof = scenario.prove(VAR / "demo-audit.zip")
    return scenario, report(stage, told, packages, proof)


def try_alone(tries: Tries, names: list[str]) -> dict[str, Any]:
    """Those of the three that TRY names, one after the other: what each has come to."""
    return {name: {"found": tries.play(name), "lines": tries.entries[name].lines} for name in names}


def offer_tries(tries: Tries, told: Told, keys: Keys, alive: Any) -> None:
    """The menu, and the page's buttons, until Ctrl-C."""
    numbered = dict(zip("123", TITLES, strict=True))
    menu = "".join(f"  {number}  {TITLES[name]}\n" for number, name in numbered.items())
    print(f"\nIt stays up at {told.server} until Ctrl-C. Three things to try, here (a number and Enter) or at")
    print(f"{told.server}/demo/:\n{menu}", flush=True)
    while alive():
        name = tries.board.take() or numbered.get(keys.pressed() or "")
        if name:
            if name == "tamper" and tries.entries[name].lines:
                say("The log is tampered with already. To start afresh: Ctrl-C, then make demo.")
                continue
            tries.play(name)
            print(f"\n{menu}", flush=True)
        time.sleep(0.2)


def _use(stage: Stage) -> None:
    """Make this process one of the product's: the same settings, the application's own login."""
    import django

    os.environ.update(stage.stack.env)
    django.setup()


def conclude(found: dict[str, Any]) -> None:
    path = VAR / "demo-report.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    accuracy, seconds = found["accuracy"], found["seconds"]
    print(f"\nAccuracy before {accuracy['before']}, during {accuracy['during']}, after {accuracy['after']}.")
    print(f"Requests {found['traffic']['requests']}, failed {found['traffic']['failed']}.")
    for name, value in seconds.items():
        print(f"  {name.replace('_', ' ')}: {value} s")
    print(f"Compressed: {'; '.join(compressed_clocks()[len(COMPRESSED) :])}.")
    print("Used: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in found["used"].items()))
    print(f"Letters: {(VAR / 'demo' / 'letters').relative_to(ROOT)}")
    print(f"Log key: {found['audit']['log_key']}")
    print(f"Report: {path.relative_to(ROOT)}   bundle: var/demo-audit.zip", flush=True)


def main() -> int:
    once = os.environ.get("ONCE", "") not in ("", "0")
    fault = os.environ.get("FAULT") or "recode"
    if fault not in CHOSEN_FAULTS:
        print(f"There is no fault {fault!r}. Choose one of: {', '.join(CHOSEN_FAULTS)}.", file=sys.stderr)
        return 1
    wanted = [name for name in os.environ.get("TRY", "").split(",") if name]
    if not set(wanted) <= set(TITLES):
        print(f"TRY is {','.join(wanted)!r}. Choose from: {', '.join(TITLES)}.", file=sys.stderr)
        return 1
    VAR.mkdir(exist_ok=True)
    port = int(os.environ.get("LASTGOOD_PORT") or 8420)
    told = Told(fault, draw_password(), f"http://127.0.0.1:{port}")
    stage = Stage(VAR / "demo", port, say)
    introduce(told, once)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    at_terminal = not once and sys.stdin.isatty()
    keys = Keys(listen=at_terminal)
    try:
        scenario, found = play(told, stage, Invitation(120, keys) if at_terminal else Offer())
        tries = Tries(scenario, Board(stage.tries), say, patient=not once)
        found["tries"] = try_alone(tries, wanted)
        conclude(found)
        if not once:
            offer_tries(tries, told, keys, lambda: stage.stack.supervisor and stage.stack.supervisor.alive)
        if not all(tried["found"] for tried in found["tries"].values()):
            return _fail("not everything that was tried was found")
        return 0 if found["ok"] else _fail("not every check of the report holds")
    except KeyboardInterrupt:
        return 130 if once else 0
    except Exception as error:  # the last line of a failed demo says why, whatever it was
        if os.environ.get("LASTGOOD_TRACE"):
            raise
        return _fail(f"{type(error).__name__}: {error}")
    finally:
        say("stopping")
        stage.close()


def _fail(reason: str) -> int:
    (VAR / "demo-report.json").write_text(json.dumps({"ok": False, "reason": reason}, indent=2) + "\n")
    print(f"\nThe demo failed: {reason}\nLogs: {(VAR / 'demo' / 'log').relative_to(Path.cwd())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
