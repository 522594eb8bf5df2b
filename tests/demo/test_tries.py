"""The whole demo, played alone, then broken on purpose in three ways: each is found."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.faults


def test_a_lying_host_a_killed_worker_and_a_tampered_log_are_found() -> None:
    env = os.environ | {"ONCE": "1", "TRY": "lie,kill,tamper", "LASTGOOD_PORT": str(free_port())}
    ran = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=900
    )

    assert ran.returncode == 0, ran.stderr[-1000:] + ran.stdout[-1500:]
    found = json.loads((ROOT / "var" / "demo-report.json").read_text())
    lines = {name: " ".join(tried["lines"]) for name, tried in found["tries"].items()}
    assert {name: tried["found"] for name, tried in found["tries"].items()} == dict.fromkeys(lines, True)
    assert "by the golden test: " in lines["lie"]
    assert "gpu-b has its own weights again" in lines["lie"]
    assert lines["kill"].count("its own log counts 1 switch under fence") == 3
    assert "The first bad leaf is" in lines["tamper"]
    assert "The bundle did not verify (exit 1)" in lines["tamper"]
    assert found["traffic"]["failed"] == 0
