"""The installer's rule for torch: what was asked for, else what is there, else PyPI's. Nothing replaces it later."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from config.install import everything_but_torch, has_torch, install_rest, install_torch, is_torch
from tests.conftest import ROOT

# pip may not ask any index: a build that is there is kept without looking for another.
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python environment of the test's own, without network."""
    for name, value in NO_INDEX.items():
        monkeypatch.setenv(name, value)
    venv.create(tmp_path / ".venv", with_pip=True)
    return str(tmp_path / ".venv" / "bin" / "python")


def wheel(directory: Path, name: str, version: str) -> Path:
    """A real, if empty, wheel."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def version_of(python: str, name: str) -> str:
    program = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_torch_is_the_pinned_one_unless_another_is_asked_for_or_there(python, tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as failed:
        install_torch(python, "")
    assert "--quiet torch==2.13.0" in str(failed.value)
    assert not has_torch(python)

    install_torch(python, str(wheel(tmp_path, "torch", "2.12.1+cpu")))
    assert has_torch(python)
    install_torch(python, "")
    assert version_of(python, "torch") == "2.12.1+cpu"

    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["torch>=2.13,<2.14", "needed"]\noptional-dependencies = {test = []}\n'
    )
    (tmp_path / "constraints.txt").write_text("needed==1.0\ntorch==2.13.0\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel(tmp_path, "needed", "1.0").parent))
    install_rest(python, tmp_path, test=False)
    assert version_of(python, "needed") == "1.0"
    assert version_of(python, "torch") == "2.12.1+cpu"


def test_torch_stands_in_neither_list():
    requirements, constraints = everything_but_torch(ROOT, test=True)
    assert not [line for line in requirements + constraints if line.startswith("torch")]
    assert "Django>=5.2,<5.3" in requirements
    assert "Django==5.2.19" in constraints
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [("torch==2.13.0", True), ("Torch>=2", True), ("torch-geometric==1", False), ("pytorch", False)],
)
def test_only_torch_itself_is_torch(line, expected):
    assert is_torch(line) is expected


def test_every_requirement_is_pinned():
    requirements, constraints = everything_but_torch(ROOT, test=True)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in constraints if "==" in line}
    names = {requirement.split("[")[0].split(">")[0].lower() for requirement in requirements}
    assert names <= pinned


def test_a_second_install_does_nothing(tmp_path):
    from config.install import fingerprint

    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".lastgood").write_text(fingerprint(tmp_path, ""))
    env = {"PATH": "/nowhere", **NO_INDEX}
    script = str(ROOT / "config" / "install.py")
    subprocess.run([sys.executable, script, "--root", str(tmp_path)], env=env, check=True)
    assert [path.name for path in (tmp_path / ".venv").iterdir()] == [".lastgood"]
