"""Build `.venv` once and keep it: python3 config/install.py [--test] [--root DIRECTORY]

Run by path with the standard library alone, by any Python from 3.11 on. It builds again only when pyproject.toml,
constraints.txt or what was asked for has changed. torch comes first and is never replaced: the one that TORCH names
(what pip shall install, such as a wheel on disk), else one that is there, else PyPI's.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class InstallError(SystemExit):
    """Ends the program with a sentence that says what to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", action="store_true", help="what the tests need as well, a browser included")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args()
    wanted = os.environ.get("TORCH", "").strip()
    stamp = options.root / ".venv" / (".lastgood-test" if options.test else ".lastgood")
    state = fingerprint(options.root, wanted)
    if stamp.exists() and stamp.read_text() == state:
        return
    python = make_environment(options.root)
    install_torch(python, wanted)
    install_rest(python, options.root, test=options.test)
    if options.test:
        install_browser(python)
    stamp.write_text(state)


def fingerprint(root: Path, wanted: str) -> str:
    """Changes with everything that the environment is built from."""
    parts = [(root / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, wanted.encode(), sys.version.encode()])).hexdigest()


def make_environment(root: Path) -> str:
    """Make `.venv` where there is none, and return its Python. Raises InstallError where that can't be done."""
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        if sys.version_info < (3, 11):  # noqa: UP036  this file may be run by any Python
            raise InstallError("Lastgood needs Python 3.11 or newer: make PYTHON=python3.11 ...")
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            raise InstallError("Python's venv is missing. As root: apt-get install -y python3-venv") from None
        venv.create(root / ".venv", with_pip=True)
    return str(python)


def install_torch(python: str, wanted: str) -> None:
    """The torch that was asked for, else the one that is there, else PyPI's default build."""
    if wanted:
        pip(python, *shlex.split(wanted))
    elif not has_torch(python):
        pip(python, TORCH)


def has_torch(python: str) -> bool:
    """Whether the environment has a torch of whatever build, without the seconds that importing it takes."""
    question = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([python, "-c", question], check=False).returncode == 0


def install_rest(python: str, root: Path, *, test: bool) -> None:
    """Everything but torch, at the pinned versions. torch stands in neither list, so that pip can't touch it."""
    requirements, constraints = everything_but_torch(root, test=test)
    file = root / ".venv" / "constraints.txt"
    file.write_text("\n".join(constraints) + "\n")
    pip(python, "--constraint", str(file), *requirements)


def everything_but_torch(root: Path, *, test: bool) -> tuple[list[str], list[str]]:
    """The requirements of pyproject.toml and the lines of constraints.txt, without torch's own."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + (project["optional-dependencies"]["test"] if test else [])
    constraints = (root / "constraints.txt").read_text().splitlines()
    return [line for line in requirements if not is_torch(line)], [line for line in constraints if not is_torch(line)]


def is_torch(line: str) -> bool:
    return re.match(r"torch\b(?!-)", line.strip(), re.IGNORECASE) is not None


def install_browser(python: str) -> None:
    """A Chromium for the browser tests: the system's, Debian's by apt where root may, else Playwright's own."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
        for command in (["apt-get", "update"], install):
            subprocess.run(command, env=env, check=False)
        if answers("chromium"):
            return
    run([python, "-m", "playwright", "install", "chromium"])


def answers(browser: str) -> bool:
    """Whether the browser starts at all; on Ubuntu apt's package may be a snap that does not."""
    found = shutil.which(browser)
    return found is not None and subprocess.run([found, "--version"], check=False).returncode == 0


def pip(python: str, *arguments: str) -> None:
    run([python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *arguments])


def run(command: list[str]) -> None:
    """Run it. Raises InstallError with the command that failed."""
    if subprocess.run(command, check=False).returncode != 0:
        raise InstallError(f"This failed, see above: {shlex.join(command)}")


if __name__ == "__main__":
    main()
