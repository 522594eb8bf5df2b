"""Every template compiles: a misspelled tag is found here and not by a reader."""

from pathlib import Path

import pytest
from django.template import engines

from tests.conftest import ROOT

TEMPLATES = sorted(str(path.relative_to(ROOT / "templates")) for path in (ROOT / "templates").rglob("*.*"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_compiles(name):
    assert Path(engines["django"].get_template(name).origin.name) == ROOT / "templates" / name
