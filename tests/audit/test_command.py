import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django.fixtures import Settings

from audit.models import AuditEvent
from audit.note import read_key_file
from audit.queries import separated
from audit.verify import verify_bundle
from tests.audit.log import at_work, event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase


def test_the_key_is_made_once_and_its_public_part_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.key"
    for _ in range(2):
        call_command("audit", "key", file=str(path))
    first, second = capsys.readouterr().out.split()
    assert first == second == read_key_file(path).vkey


def test_without_a_path_no_key_is_made(settings: Settings) -> None:
    settings.LASTGOOD_LOG_KEY_FILE = ""
    with pytest.raises(CommandError, match="Set LASTGOOD_LOG_KEY_FILE"):
        call_command("audit", "key")


@pytest.fixture
def vkey(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[str]:
    """A signed log of three events, one of them of INC-1; its public key."""
    for incident in ("", "INC-1", ""):
        event(incident=incident)
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    yield sequencer.signer.vkey
    connections["sequencer"].close()


def test_an_export_is_written_verified_and_on_record(vkey: str, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    with at_work(tmp_path):
        call_command("audit", "export", str(path), incident="INC-1")
    verdict = verify_bundle(str(path), vkey)
    assert (verdict.status(), verdict.bad, verdict.lacking) == (0, [], [])
    exported = AuditEvent.objects.latest("id")
    assert (exported.action, exported.actor) == ("audit.export", "svc:manage")


@pytest.mark.parametrize(
    "scope", [{"incident": "INC-1", "model": "m"}, {"person": "u-a", "since": "2026-01-01T00:00Z"}]
)
def test_an_export_is_of_one_thing(vkey: str, tmp_path: Path, scope: dict[str, str]) -> None:
    with pytest.raises(CommandError, match="one of them"):
        call_command("audit", "export", str(tmp_path / "out.zip"), **scope)
    assert AuditEvent.objects.count() == 3


def test_an_export_that_nobody_signs_is_handed_out_and_says_so(
    vkey: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connections["sequencer"].close()
    call_command("audit", "export", str(tmp_path / "out.zip"), incident="INC-1")
    assert "did not sign a receipt in time" in capsys.readouterr().out
    assert verify_bundle(str(tmp_path / "out.zip"), vkey).status() == 2


def test_a_failed_export_leaves_no_file_and_no_record(vkey: str, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    with pytest.raises(CommandError, match="No event"):
        call_command("audit", "export", str(path), incident="INC-404")
    assert not path.exists()
    assert AuditEvent.objects.count() == 3


@pytest.mark.parametrize("moment", ["yesterday", "2026-03-01T14:05:00"])
def test_a_moment_without_a_time_zone_is_refused(vkey: str, tmp_path: Path, moment: str) -> None:
    with pytest.raises(CommandError, match="write it like 2026-03-01T14:05:00Z"):
        call_command("audit", "export", str(tmp_path / "out.zip"), since=moment)


def test_a_span_is_exported_by_moments(vkey: str, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    second = AuditEvent.objects.order_by("id")[1]
    with at_work(tmp_path):
        call_command("audit", "export", str(path), since=second.occurred_at.isoformat())
    assert verify_bundle(str(path), vkey).status() == 0
    with zipfile.ZipFile(path) as bundle:
        assert len(bundle.read("events.jsonl").splitlines()) == 2


@pytest.mark.django_db(databases=["default", "owner"])
def test_keys_are_apart_only_where_this_process_could_not_use_them(settings: Settings, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"
    settings.LASTGOOD_LOG_KEY_FILE = ""
    assert separated()
    settings.LASTGOOD_LOG_KEY_FILE = str(tmp_path / "log.key")
    assert separated(), "a key that is not there gives nobody power"
    (tmp_path / "log.key").write_text("key")
    assert not separated()
    settings.LASTGOOD_LOG_KEY_FILE = ""
    (tmp_path / "var" / "secrets").mkdir(parents=True)
    assert not separated()


def test_an_application_that_logs_in_as_the_owner_is_not_apart(
    committed_db: CommittedDatabase, settings: Settings, tmp_path: Path
) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"
    assert separated()
    default = connections["default"]
    application = default.settings_dict["USER"], default.settings_dict["PASSWORD"]
    owner = connections["owner"].settings_dict
    try:
        default.close()
        default.settings_dict.update(USER=owner["USER"], PASSWORD=owner["PASSWORD"])
        assert not separated()
    finally:
        default.close()
        default.settings_dict.update(USER=application[0], PASSWORD=application[1])
