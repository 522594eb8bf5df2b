"""What cannot happen because the code that could do it is not there, and what a line of a log cannot pretend."""

import ast
import inspect
import io
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist

from audit.models import AuditEvent
from config.logs import OneLine

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("accounts", "audit", "config", "host", "incidents", "monitoring", "registry")
RUNS_WHAT_IT_READS = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "torch.load", "torch.jit.load",
    "joblib.load", "marshal.loads", "yaml.load", "yaml.unsafe_load", "shelve.open", "dill.loads", "cloudpickle.loads",
}  # fmt: skip
UNPACKS = {"extractall", "unpack_archive", "extract"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the product: where, what is called, and the call."""
    for app in PRODUCT:
        for path in sorted((ROOT / app).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), node


def test_abuse_26_44_45_50_nothing_runs_or_unpacks_what_it_reads() -> None:
    seen, found = 0, []
    for where, name, call in calls():
        seen += 1
        wide = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in RUNS_WHAT_IT_READS or name.split(".")[-1] in UNPACKS:
            found.append(f"{where} {name}")
        if wide.get("shell") == "True" or wide.get("allow_pickle") == "True":
            found.append(f"{where} {name} {wide}")

    assert seen > 5000
    # A backup is our own archive; its reader checks every name before it takes one out.
    assert [entry for entry in found if not entry.startswith("config/backup")] == []


def test_abuse_45_torch_is_asked_for_no_file_by_name() -> None:
    imported = [
        ast.unparse(node)
        for app in PRODUCT
        for path in (ROOT / app).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "torch"
    ]
    assert not [line for line in imported if "load" in line]


def test_abuse_28_no_search_takes_a_pattern() -> None:
    asked = re.compile(r"__i?regex\b|RegexpMatch|SIMILAR TO| ~\*? ")
    found = [
        str(path.relative_to(ROOT))
        for app in PRODUCT
        for path in (ROOT / app).rglob("*.py")
        if "migrations" not in path.parts and asked.search(path.read_text())
    ]
    assert found == []


def tasks() -> list[Any]:
    current_app.loader.import_default_modules()
    return [task for name, task in sorted(current_app.tasks.items()) if not name.startswith("celery.")]


OF_NO_ROW = {
    "monitoring.drop_partition": ["name"],
    "monitoring.make_partition": ["name"],
    "monitoring.take_spooled": ["name"],
    "monitoring.forget_refusals": ["day"],
    "snapshots.sweep": ["day"],
}
"""What these are about has no row, and so no id: a partition, a file, a day."""


def test_abuse_58_a_task_takes_ids_and_leaves_no_result() -> None:
    found = {task.name: [*inspect.signature(task.run).parameters] for task in tasks()}
    assert len(found) > 15
    others = {name: names for name, names in found.items() if not all(one.endswith(("_id", "_ids")) for one in names)}
    assert others == OF_NO_ROW
    assert all(found.values())
    assert (settings.CELERY_TASK_SERIALIZER, settings.CELERY_ACCEPT_CONTENT) == ("json", ["json"])
    assert settings.CELERY_TASK_IGNORE_RESULT
    assert current_app.conf.result_backend is None
    assert current_app.conf.worker_enable_remote_control is False


@pytest.mark.django_db
def test_abuse_59_a_message_about_what_is_not_there_does_nothing() -> None:
    before = AuditEvent.objects.count()
    for task in tasks():
        made_up = [
            999_999_999 if parameter.annotation is int else str(uuid.uuid4())
            for parameter in inspect.signature(task.run).parameters.values()
        ]
        with suppress(ObjectDoesNotExist, ValueError):
            task.run(*made_up)
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize(
    "typed",
    [
        "name\n2026-11-21 00:00:00 INFO audit role.grant user=mallory",
        "name\r\nINFO forged",
        "\x1b[2J\x1b[1;31mred",
        "invoice\u202egnp.exe",
        "a\u2028b",
        "a\x00b",
        "a\u2066b\u2069",
    ],
)
def test_abuse_30_what_somebody_typed_is_one_line_in_plain_sight(typed: str) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(OneLine("{asctime} {levelname} {message}", style="{"))
    logger = logging.getLogger("abuse")
    logger.handlers = [handler]
    logger.propagate = False

    logger.warning("delivery.unparseable error=%s", typed)
    try:
        raise ValueError(typed)
    except ValueError:
        logger.exception("failed")

    first, second, *traceback = said.getvalue().rstrip("\n").split("\n")
    assert first.isprintable()
    assert "delivery.unparseable" in first
    assert second.endswith("ERROR failed")
    assert all(line.startswith("    ") and line.isprintable() for line in traceback)
    formatter = settings.LOGGING["formatters"]["line"]
    assert formatter["()"] == "config.logs.OneLine"


def test_abuse_69_every_dependency_has_one_exact_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    names = [line.split("==")[0].lower() for line in lines]
    assert len(names) == len(set(names)) > 80
