"""What is vendored is what its manifest says; templates and scripts keep to the Content-Security-Policy."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from audit.templatetags import parts

ROOT = Path(settings.BASE_DIR)
STATIC = ROOT / "static"
VENDOR = STATIC / "vendor"
MANIFEST = json.loads((VENDOR / "MANIFEST.json").read_text())
TEMPLATES = sorted(
    path for folder in (ROOT / "templates", *ROOT.glob("*/templates")) for path in folder.rglob("*.html")
)


@pytest.mark.parametrize("package", MANIFEST, ids=lambda package: package["name"])
def test_vendored_files_are_the_ones_in_the_manifest(package):
    assert (VENDOR / package["licence_file"]).read_text().strip()
    for file in package["files"]:
        assert hashlib.sha256((VENDOR / file["path"]).read_bytes()).hexdigest() == file["sha256"], file["path"]


def test_nothing_is_vendored_without_an_entry_in_the_manifest():
    listed = {(VENDOR / file["path"]).resolve() for package in MANIFEST for file in package["files"]}
    listed |= {(VENDOR / package["licence_file"]).resolve() for package in MANIFEST}
    present = {path.resolve() for path in VENDOR.rglob("*") if path.is_file() and path.name != "MANIFEST.json"}
    assert present - listed == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_template_has_no_inline_style_script_or_handler(path):
    html = re.sub(r"{% comment %}.*?{% endcomment %}", "", path.read_text(), flags=re.S)
    assert not re.search(r"\sstyle\s*=", html)
    assert not re.search(r"\son[a-z]+\s*=", html)
    assert not re.search(r"<style\b", html)
    for tag in re.findall(r"<script\b[^>]*>", html):
        assert "src=" in tag or 'type="application/json"' in tag


@pytest.mark.parametrize("path", sorted((ROOT / "templates" / "parts").glob("*.html")), ids=lambda path: path.name)
def test_a_part_says_at_its_top_what_it_takes(path):
    head = path.read_text()[:400]
    assert re.match(r"({% load [^%]+%})?{% comment %}", head)


def test_every_icon_that_is_asked_for_is_in_the_sprite():
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text()))
    asked = {name for path in TEMPLATES for name in re.findall(r'{% icon "([^"]+)"', path.read_text())}
    asked |= (
        set(parts._ICONS.values())
        | set(parts._ACTION_ICONS.values())
        | {"circle", "circle-dashed", "sev-1", "sev-2", "sev-3", "sev-4"}
    )
    assert asked - symbols == set()


def test_own_stylesheets_stay_small():
    assert len((STATIC / "lastgood.css").read_text().splitlines()) < 600
    assert len((STATIC / "status.css").read_bytes()) < 9500
