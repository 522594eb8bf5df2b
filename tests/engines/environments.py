"""The virtual environments of the serving engines: one each, made once, kept until what they hold is changed here."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from tests.conftest import ROOT
from tests.debian import program

PLACE = ROOT / ".venv-engines"
TORCH = "torch==2.13.0"
STEPS: dict[str, list[list[str]]] = {
    # Triton's Python backend needs numpy 1; the wheel brings the server, and nothing of what it depends on is needed.
    "triton": [["numpy==1.26.4"], ["--no-deps", "nvidia-pytriton==0.7.0"]],
    "mlserver": [["mlserver==1.7.1", "uvloop==0.21.0"]],
    "torchserve": [
        shlex.split(os.environ.get("TORCH") or TORCH),
        ["torchserve==0.12.0", "torch-model-archiver==0.12.0", "pyyaml==6.0.3", "psutil==7.2.2", "numpy==2.4.6"],
    ],
}


def environment(engine: str) -> Path:
    """The engine's environment, made where it is not there yet. Raises CalledProcessError with pip's words above."""
    return _all_at_once()[engine].result()


@cache
def _all_at_once() -> dict[str, Future[Path]]:
    """The three are made side by side: most of the time one or the other waits for the network."""
    pool = ThreadPoolExecutor(len(STEPS))
    return {engine: pool.submit(_made, engine) for engine in STEPS}


def _made(engine: str) -> Path:
    place = PLACE / engine
    stamp = place / ".made"
    state = hashlib.sha256(repr((STEPS[engine], sys.version)).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != state:
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        for step in STEPS[engine]:
            pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *step]
            subprocess.run(pip, check=True)
        stamp.write_text(state)
    return place


def packages(place: Path) -> Path:
    """The environment's site-packages."""
    return next((place / "lib").glob("python3.*/site-packages"))


def java() -> str:
    """The Java that TorchServe runs on."""
    return program("java", "default-jre-headless")
