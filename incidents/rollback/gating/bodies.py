"""What a registered gate asks, checked: `check(kind, body)` returns the body with every default written out.

Bodies are in the documents that people approve, so they hold whole numbers and decimal strings, no floats and no
secrets.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any

from django.utils.translation import gettext

from accounts.outgoing import AddressRefused, split_address
from audit.canonical import CanonicalError, canonical_bytes, exact
from incidents.rollback.gating.models import GateKind

METHODS = ("GET", "POST")
DIRECTIONS = ("up", "down", "either")
COMPARISONS = ("before_after", "canary_baseline")
MOST_SECONDS = 3600
MOST_ARGUMENTS, MOST_CHARACTERS = 50, 4000


class GateRefused(ValueError):
    """The gate can't be registered, asked or answered. `code` is for programs; the message says what to do next."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


EXAMPLES: dict[str, dict[str, Any]] = {
    GateKind.SERIES: {
        "source": "prometheus",
        "query": 'sum(rate(orders_total{host=~"$hosts"}[1m]))',
        "baseline_query": 'sum(rate(orders_total{host=~"$others"}[1m]))',
        "compare": "canary_baseline",
        "worse": "down",
        "matters": "0.05",
        "step_seconds": 15,
        "window_seconds": 900,
        "patience_seconds": 900,
    },
    GateKind.HTTP: {
        "method": "GET",
        "url": "https://shop.example.org/health",
        "status": 200,
        "pointer": "/model/version",
        "equals": "$version",
        "seconds": 10,
    },
    GateKind.HARDWARE: {
        "figure": "lastgood_host_gpu_memory_free_bytes",
        "at_least": "2000000000",
    },
    GateKind.SUITE: {
        "argv": ["/opt/checks/.venv/bin/pytest", "-q", "--junitxml", "$report", "/opt/checks/tests"],
        "seconds": 600,
        "memory_mib": 2048,
        "files": {},
    },
    GateKind.ACCEPTANCE: {"people": ["username"], "needed": 1, "patience_seconds": 3600},
}
"""A body of each kind, as a page shows it."""


def check(kind: str, body: Any) -> dict[str, Any]:
    """The body with its defaults. Raises GateRefused with a sentence on what is wrong with it."""
    if kind not in CHECKS:
        raise _malformed(
            gettext("There is no kind of gate %(kind)r. Choose %(kinds)s.") % {"kind": kind, "kinds": ", ".join(CHECKS)}
        )
    if not isinstance(body, Mapping):
        raise _malformed(gettext("A gate's body is a JSON object."))
    unknown = sorted(set(body) - KNOWN[kind])
    if unknown:
        raise _malformed(
            gettext("A gate of the kind %(kind)s has no %(unknown)r. It knows %(known)s.")
            % {"kind": kind, "unknown": unknown[0], "known": ", ".join(sorted(KNOWN[kind]))}
        )
    return CHECKS[kind](body)


def digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a gate's facts. Raises GateRefused for what JSON can't hold exactly."""
    try:
        return hashlib.sha256(canonical_bytes(exact(dict(facts), "gate"))).hexdigest()
    except CanonicalError as error:
        raise _malformed(str(error)) from error


def _series(body: Mapping[str, Any]) -> dict[str, Any]:
    compare = _one_of(body, "compare", COMPARISONS, "before_after")
    baseline = _text(body, "baseline_query", "")
    if (compare == "canary_baseline") != bool(baseline):
        raise _malformed(gettext("Give `baseline_query` with `compare` = canary_baseline, and with nothing else."))
    step = _whole(body, "step_seconds", 15, 1, 3600)
    window = _whole(body, "window_seconds", 60 * step, 8 * step, 30 * 86_400)
    return {
        "source": _text(body, "source"),
        "query": _text(body, "query"),
        "baseline_query": baseline,
        "compare": compare,
        "worse": _one_of(body, "worse", DIRECTIONS, "either"),
        "matters": _decimal(body, "matters", "0.05"),
        "step_seconds": step,
        "window_seconds": window,
        "patience_seconds": _whole(body, "patience_seconds", window, 1, 86_400),
    }


def _http(body: Mapping[str, Any]) -> dict[str, Any]:
    url = _text(body, "url")
    try:
        split_address(url)
    except AddressRefused as error:
        raise _malformed(str(error)) from error
    limits = {name: _decimal(body, name) for name in ("at_least", "at_most") if name in body}
    if "equals" in body:
        limits["equals"] = str(body["equals"]) if not isinstance(body["equals"], bool) else str(body["equals"]).lower()
    pointer = _text(body, "pointer", "")
    if pointer and not pointer.startswith("/"):
        raise _malformed(gettext("A JSON pointer begins with a slash, such as /model/version."))
    if bool(limits) != ("pointer" in body):
        raise _malformed(gettext("Give `pointer` together with `equals`, `at_least` or `at_most`."))
    found = {
        "method": _one_of(body, "method", METHODS, "GET"),
        "url": url,
        "content": _text(body, "content", ""),
        "status": _whole(body, "status", 200, 100, 599),
        "seconds": _whole(body, "seconds", 10, 1, 60),
    }
    return found | ({"pointer": pointer} | limits if limits else {})


def _hardware(body: Mapping[str, Any]) -> dict[str, Any]:
    limits = {name: _decimal(body, name) for name in ("at_least", "at_most") if name in body}
    if not limits:
        raise _malformed(gettext("Give `at_least` or `at_most`, as numbers in the figure's own unit."))
    return {"figure": _text(body, "figure"), **limits}


def _suite(body: Mapping[str, Any]) -> dict[str, Any]:
    argv = body.get("argv")
    if not isinstance(argv, Sequence) or isinstance(argv, str) or not argv or len(argv) > MOST_ARGUMENTS:
        raise _malformed(
            gettext("`argv` is a list of 1 to %(most)s arguments, the program first.") % {"most": MOST_ARGUMENTS}
        )
    if not all(isinstance(word, str) and word and "\0" not in word for word in argv):
        raise _malformed(gettext("Each argument is a text, and none is empty."))
    if sum(map(len, argv)) > MOST_CHARACTERS:
        raise _malformed(
            gettext("The arguments are longer than %(most)s characters. Put them into a file of yours.")
            % {"most": MOST_CHARACTERS}
        )
    if not PurePosixPath(argv[0]).is_absolute():
        raise _malformed(gettext("The program is named by its whole path: no shell and no PATH looks for it."))
    files = body.get("files", {})
    if not isinstance(files, Mapping) or not all(_names_file(path, sha256) for path, sha256 in files.items()):
        raise _malformed(gettext("`files` maps whole paths to SHA-256 digests (64 hex digits)."))
    return {
        "argv": list(argv),
        "seconds": _whole(body, "seconds", 600, 1, MOST_SECONDS),
        "memory_mib": _whole(body, "memory_mib", 2048, 64, 65_536),
        "files": dict(files),
    }


def _names_file(path: Any, sha256: Any) -> bool:
    return PurePosixPath(str(path)).is_absolute() and re.fullmatch("[0-9a-f]{64}", str(sha256)) is not None


def _acceptance(body: Mapping[str, Any]) -> dict[str, Any]:
    people = body.get("people")
    named = isinstance(people, Sequence) and not isinstance(people, str) and bool(people)
    if not named or not all(isinstance(one, str) and one for one in people or ()):
        raise _malformed(gettext("`people` is a list of user names, at least one."))
    assert people is not None
    if len(set(people)) != len(people):
        raise _malformed(gettext("Each person is named once."))
    return {
        "people": list(people),
        "needed": _whole(body, "needed", len(people), 1, len(people)),
        "patience_seconds": _whole(body, "patience_seconds", 3600, 1, 7 * 86_400),
    }


CHECKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    GateKind.SERIES: _series,
    GateKind.HTTP: _http,
    GateKind.HARDWARE: _hardware,
    GateKind.SUITE: _suite,
    GateKind.ACCEPTANCE: _acceptance,
}
KNOWN: dict[str, set[str]] = {
    GateKind.SERIES: set(EXAMPLES[GateKind.SERIES]),
    GateKind.HTTP: {"method", "url", "content", "status", "seconds", "pointer", "equals", "at_least", "at_most"},
    GateKind.HARDWARE: {"figure", "at_least", "at_most"},
    GateKind.SUITE: {"argv", "seconds", "memory_mib", "files"},
    GateKind.ACCEPTANCE: {"people", "needed", "patience_seconds"},
}


def patience(kind: str, body: Mapping[str, Any]) -> int:
    """Seconds for which the gate may be asked before a person has to decide. A suite may be begun twice."""
    if kind == GateKind.SUITE:
        return 2 * int(body["seconds"]) + 60
    return int(body.get("patience_seconds", 30))


def _malformed(sentence: str) -> GateRefused:
    return GateRefused("malformed", sentence)


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or (default is None and not value.strip()) or len(value) > MOST_CHARACTERS:
        raise _malformed(
            gettext("`%(name)s` is a text of at most %(most)s characters.") % {"name": name, "most": MOST_CHARACTERS}
        )
    return value


def _one_of(body: Mapping[str, Any], name: str, known: Sequence[str], default: str) -> str:
    value = body.get(name, default)
    if value not in known:
        raise _malformed(gettext("`%(name)s` is one of %(known)s.") % {"name": name, "known": ", ".join(known)})
    return str(value)


def _whole(body: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _malformed(
            gettext("`%(name)s` is a whole number from %(least)s to %(most)s.")
            % {"name": name, "least": least, "most": most}
        )
    return value


def _decimal(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise _malformed(gettext("`%(name)s` is a number, best as a text such as “0.05”.") % {"name": name})
    return format(number, "f")
