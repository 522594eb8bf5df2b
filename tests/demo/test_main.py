"""`python -m demo` says in one line what is wrong with how it was called."""

import os
import subprocess
import sys

from tests.conftest import ROOT


def test_an_unknown_fault_is_one_line_with_the_known_ones_and_status_1() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "FAULT": "meteor"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "There is no fault 'meteor'. Choose one of: recode, scale, slow.\n"
