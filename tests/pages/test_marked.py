"""Texts in templates are marked for translation, and come out in the reader's language where there is one."""

import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.apps import apps
from django.conf import settings as django_settings
from django.template.loader import get_template, render_to_string
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import trans_real

from audit.scripts import TEXTS
from incidents.models import ComponentState
from incidents.status_render import WORDS
from tests.marked import unmarked
from tests.marked_code import files_of_pages, said_by, unmarked_in_python, unsaid_in

APPS = ("accounts", "audit", "registry", "monitoring", "incidents")
BASE = Path(django_settings.BASE_DIR)
TEMPLATES = BASE / "templates"
KEPT_IN_ENGLISH = {
    "does not apply", "sent late", "reviewed late",  # names of states, by which code tells them apart
    "Given up.",  # a reason that goes on record
}  # fmt: skip
FOR_PROGRAMS = {"audit/views/tables.py"}
"""Tables that are taken away as CSV."""


def test_every_text_of_every_template_is_marked() -> None:
    found = {path.relative_to(TEMPLATES): path.read_text() for path in TEMPLATES.rglob("*.html")}
    assert len(found) > 180
    assert {str(path): left for path, text in found.items() if (left := unmarked(text))} == {}


def test_every_template_can_be_read() -> None:
    names = [str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html")]
    assert {name for name in names if get_template(name) is None} == set()


@pytest.mark.parametrize(
    ("template", "left"),
    [
        ('<p>{% translate "Yes" %} · {{ n }}</p>', []),
        ("<p>Nobody has it</p>", ["Nobody has it"]),
        ('<a title="{{ who }} has it">{{ who }}</a>', ["has it"]),
        ('{% include "a.html" with label="nobody" state="ok" %}', ['label="nobody"']),
        ('{% include "a.html" with label=_("nobody") state="ok" %}', []),
        ('{{ who|default:"nobody" }}{{ who|default:_("nobody") }}', ['default:"nobody"']),
        ("{% blocktranslate %}{{ n }} alerts{% endblocktranslate %}{{ n|pluralize }}", ["pluralize:"]),
        ('<p aria-label="{% blocktranslate %}All of {{ n }}{% endblocktranslate %}"><code>rm</code></p>', []),
        ("{% comment %}For who writes it.{% endcomment %}<style>a { b: c }</style>&nbsp;12 %", []),
    ],
)
def test_what_is_not_marked_is_found(template: str, left: list[str]) -> None:
    assert unmarked(template) == left


def test_every_sentence_of_views_forms_reads_charts_and_tags_is_marked() -> None:
    files = {str(path.relative_to(BASE)): path for path in files_of_pages(BASE, APPS)}
    assert len(files) > 80
    left = {
        name: found
        for name, path in files.items()
        if name not in FOR_PROGRAMS
        and (found := [text for text in unmarked_in_python(path.read_text()) if text not in KEPT_IN_ENGLISH])
    }
    assert left == {}


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('said = gettext("%(n)s hosts serve") % {"n": n}', []),
        ('said = f"{n} hosts serve"', ["{} hosts serve"]),
        ('return "Nobody has it."', ["Nobody has it."]),
        ('LABELS = {"a": _("Nobody has it"), "b": "Somebody has it"}', ["Somebody has it"]),
        ('def f() -> "a b":\n    """It says so."""\n    return f"{n} ms"', []),
        ('header = ("median seconds", "who has it")', []),
        ('HttpResponse(text, content_type="text/csv; charset=utf-8")', []),
        ("said = f\"{n} {'is late' if n else 'has come'}\"", ["is late", "has come"]),
    ],
)
def test_what_is_not_marked_in_python_is_found(source: str, left: list[str]) -> None:
    assert unmarked_in_python(source) == left


def test_every_text_of_the_scripts_is_said_in_the_readers_language() -> None:
    scripts = {path.name: path.read_text() for path in (BASE / "static" / "js").glob("*.js")}
    assert len(scripts) >= 5
    assert {name: left for name, script in scripts.items() if (left := unsaid_in(script))} == {}
    assert set().union(*(said_by(script) for script in scripts.values())) == set(TEXTS)


def test_a_sentence_that_a_script_does_not_say_is_found() -> None:
    script = 'place.textContent = "Nobody has it."; say("Somebody has it."); // Somebody else has it.'
    assert (unsaid_in(script), said_by(script)) == (["Nobody has it."], {"Somebody has it."})


def compiled(texts: dict[str, str]) -> bytes:
    """A catalogue in the form of gettext's .mo files (GNU gettext manual, 10.3)."""
    texts = {"": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"} | texts
    ids, strings = ([one.encode() for one in side] for side in zip(*sorted(texts.items()), strict=True))
    at, table, data = 28 + 16 * len(ids), b"", b""
    for one in [*ids, *strings]:
        table += struct.pack("<II", len(one), at + len(data))
        data += one + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(ids), 28, 28 + 8 * len(ids), 0, at) + table + data


def test_a_catalogue_of_another_language_reaches_templates_and_labels(settings: Any, tmp_path: Path) -> None:
    # given a catalogue of two sentences and a form for one and for many
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    said = {
        "Services": "Dienste",
        "As of %(written_at)s.": "Stand: %(written_at)s.",
        "It does not work": "Es geht nicht",
        "Major outage": "Ausfall",
        "no data": "keine Daten",
    }
    (folder / "django.mo").write_bytes(compiled(said))
    settings.LANGUAGES, settings.LOCALE_PATHS = [("en", "English"), ("de", "Deutsch")], [tmp_path]
    months = [{"first": None, "share": "", "over": True}] * 2
    component = {"name": "Letters", "state": "major_outage", "label": ComponentState.MAJOR_OUTAGE.label, "days": [],
                 "months": months}  # fmt: skip
    context = {
        "page": {"name": "Our <services>"}, "state": "major_outage", "sentence": WORDS[ComponentState.MAJOR_OUTAGE][1],
        "components": [component], "written_at": None, "stylesheet": "status.css",
    }  # fmt: skip
    kept = dict(trans_real._translations)
    trans_real._translations.clear()
    try:
        # when the page is written in that language, and in ours
        with translation.override("de"):
            german = render_to_string("status/page.html", context)
        english = render_to_string("status/page.html", context)
    finally:
        trans_real._translations.clear()
        trans_real._translations.update(kept)
    # then what the catalogue knows is said in it, the rest in ours, and names stay as they are
    assert all(f"{word}<" in german for word in ("Dienste", "Ausfall", "keine Daten", "Es geht nicht"))
    assert "Stand: " in german
    assert "As of " not in german
    assert "Our &lt;services&gt;" in german
    assert all(f"{word}<" in english for word in ("Services", "Major outage", "no data", "It does not work"))


def forms_of_the_product() -> list[type[forms.BaseForm]]:
    base = Path(django_settings.BASE_DIR)
    files = [path for app in APPS for path in (base / app).rglob("*.py") if "forms.Form)" in path.read_text()]
    modules = [import_module(".".join(path.relative_to(base).with_suffix("").parts)) for path in files]
    own = [(one, module) for module in modules for one in vars(module).values() if isinstance(one, type)]
    return [one for one, module in own if issubclass(one, forms.BaseForm) and one.__module__ == module.__name__]


def test_every_field_has_a_label_that_can_be_translated() -> None:
    found = forms_of_the_product()
    assert len(found) > 100
    left = [
        f"{form.__module__}.{form.__name__}.{name}"
        for form in found
        for name, field in form.base_fields.items()
        if not isinstance(field.widget, forms.HiddenInput)
        for text in (field.label, field.help_text or _("none"))
        if not isinstance(text, Promise)
    ]
    assert left == []


def test_every_label_of_a_choice_can_be_translated() -> None:
    choices = [field.choices for model in apps.get_models() for field in model._meta.get_fields()
               if model.__module__.split(".")[0] in APPS and getattr(field, "choices", None)]  # fmt: skip
    assert len(choices) > 40
    assert [label for each in choices for _value, label in each if not isinstance(label, Promise)] == []
