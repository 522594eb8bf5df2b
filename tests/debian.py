"""Programs of Debian's packages that tests run: found, or installed where one may."""

import os
import shutil
import subprocess

import pytest

WAIT = ("-o", "DPkg::Lock::Timeout=300")
"""Two workers of one run may want to install at once."""


def program(name: str, package: str) -> str:
    """The program's path. As root it is installed by apt where it is missing; who may not is told how, and skips."""
    if not shutil.which(name) and os.geteuid() == 0 and shutil.which("apt-get"):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", *WAIT, *command], env=env, check=False)
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed. As root: apt-get install -y --no-install-recommends {package}")
    return found
