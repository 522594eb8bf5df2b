"""A catalogue that is dropped in: people read their own language, programs and the record go on in English."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import translation
from django.utils.translation import trans_real

from accounts.models import Role, RoleGrant, User
from audit.english import english, in_english
from audit.models import AuditEvent, HoldKind
from config.celery import app
from config.languages import offered
from incidents.models import StatusPage
from incidents.status_render import Picture, page_html
from registry.models import Model
from tests.debian import program
from tests.pages.test_marked import compiled

SAID = {
    "Legal holds": "Sperren",
    "No legal hold stands.": "Keine Sperre gilt.",
    "Model": "Modell",
    "There is no %(holdkind)s %(typed)s. Nothing is held.": "Es gibt kein %(holdkind)s %(typed)s. Nichts ist gesperrt.",
    "The hold stands. Nothing about it is erased or pruned until it is lifted.": "Die Sperre gilt.",
    "%(time)s ago": "vor %(time)s",
}


@pytest.fixture
def german(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """The folder with a catalogue of a few texts, which is offered."""
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.mo").write_bytes(compiled(SAID))
    kept = dict(trans_real._translations)
    trans_real._translations.clear()
    settings.LOCALE_PATHS, settings.LANGUAGES = [tmp_path], offered(tmp_path)
    yield tmp_path
    trans_real._translations.clear()
    trans_real._translations.update(kept)


@pytest.fixture
def signed_in(db: None) -> Callable[[str], Client]:
    user = User.objects.create_user("ida", "ida@example.org", "correct horse battery")
    RoleGrant.objects.bulk_create(RoleGrant(user=user, role=role) for role in (Role.AUDITOR, Role.ADMINISTRATOR))
    Model.objects.create(slug="matcher", name="Matcher", team="jobs", risk_tier="low", task="binary_classification")

    def asking_for(language: str) -> Client:
        client = Client(headers={"accept-language": language})
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return asking_for


def test_each_catalogue_is_offered_under_the_name_that_its_readers_give_it(tmp_path: Path) -> None:
    for name in ("de", "pt_BR", "en", "tlh"):
        (tmp_path / name / "LC_MESSAGES").mkdir(parents=True)
        (tmp_path / name / "LC_MESSAGES" / "django.mo").touch()
    (tmp_path / "fr" / "LC_MESSAGES").mkdir(parents=True)
    assert offered(tmp_path) == [
        ("en", "English"), ("de", "Deutsch"), ("pt-br", "Português Brasileiro"), ("tlh", "tlh"),
    ]  # fmt: skip
    assert offered(tmp_path / "none") == [("en", "English")]


def test_a_person_reads_a_page_in_the_language_of_their_browser(
    german: Path, signed_in: Callable[[str], Client]
) -> None:
    answer = signed_in("de-AT, en;q=0.5").get("/audit/holds/")
    html = answer.content.decode()
    assert '<html lang="de">' in html
    assert "Keine Sperre gilt." in html
    assert (answer["Content-Language"], "Accept-Language" in answer["Vary"]) == ("de", True)
    # another reader, at the same server, reads theirs; without a catalogue it is English
    english_html = signed_in("fr").get("/audit/holds/").content.decode()
    assert '<html lang="en">' in english_html
    assert "No legal hold stands." in english_html


def test_a_refusal_is_told_in_the_readers_language_and_to_programs_in_english(
    german: Path, signed_in: Callable[[str], Client]
) -> None:
    client = signed_in("de")
    typed = {"kind": "model", "ref": "nothing", "reason": "A dispute."}
    page = client.post("/audit/holds/", typed).content.decode()
    assert "Es gibt kein modell nothing. Nichts ist gesperrt." in page
    answer = client.post("/api/v1/audit/holds/", typed, content_type="application/json")
    assert "There is no model nothing. Nothing is held." in answer.json()["detail"]
    assert "Content-Language" not in answer
    assert not AuditEvent.objects.filter(action="hold.place").exists()


def test_what_goes_on_record_is_english_whoever_does_it(german: Path, signed_in: Callable[[str], Client]) -> None:
    answer = signed_in("de").post(
        "/audit/holds/", {"kind": "model", "ref": "matcher", "reason": "A dispute."}, follow=True
    )
    assert "Die Sperre gilt." in answer.content.decode()
    record = bytes(AuditEvent.objects.get(action="hold.place").canon).decode()
    assert '"kind":"model"' in record
    assert "odell" not in record.replace("model", "")


def test_labels_of_the_record_are_english_in_any_language(german: Path) -> None:
    hold = HoldKind.MODEL

    @english()
    def written() -> str:
        return str(hold.label)

    with translation.override("de"):
        assert (str(hold.label), in_english(hold.label), in_english(lambda: hold.label), written()) == (
            "Modell", "Model", "Model", "Model",
        )  # fmt: skip
        assert translation.get_language() == "de"


def test_what_readers_outside_are_told_is_in_one_language_for_all(
    german: Path, signed_in: Callable[[str], Client]
) -> None:
    answer = signed_in("de").get("/status/")
    assert '<html lang="en">' in answer.content.decode()
    assert "Content-Language" not in answer


def test_texts_are_extracted_without_an_error(settings: Any, tmp_path: Path) -> None:
    program("xgettext", "gettext")
    settings.LOCALE_PATHS = [tmp_path]
    call_command("makemessages", locale=["de"], ignore_patterns=["var*", ".venv*", "tests", "bench"], verbosity=0)
    found = (tmp_path / "de" / "LC_MESSAGES" / "django.po").read_text()
    assert found.count("\nmsgid ") > 2000
    assert 'msgid "No legal hold stands."' in found
    assert 'msgid "%(n)s check passed"' in found


def test_a_worker_writes_in_english_and_status_pages_in_the_language_of_their_readers(
    german: Path, settings: Any, db: None
) -> None:
    settings.LANGUAGE_CODE = "de"
    page = StatusPage.objects.create(slug="services", name="Services of all", public=True)
    said = []

    @app.task(name="tests.say")
    def say() -> None:
        said.extend([str(HoldKind.MODEL.label), '<html lang="de">' in page_html(Picture(page))])

    with translation.override("de"):
        assert str(HoldKind.MODEL.label) == "Modell"
        say.apply()
    app.tasks.pop("tests.say")
    assert said == ["Model", True]
