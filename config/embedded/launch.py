"""Become the program that a JSON file describes, and die with the parent.

Usage: python -I launch.py SPEC.json, with {"argv": [...], "env": {...}, "cwd": "/", "user": "lastgood" | null,
"nice": 0, "death_signal": 15}. The environment is exactly `env`; secrets therefore stand in no command line and in no
supervisor's configuration. Run by path and built on the standard library alone, so that it starts in milliseconds.
"""

import ctypes
import json
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main(spec_path: str) -> None:
    parent = os.getppid()
    with open(spec_path, encoding="utf-8") as file:
        spec = json.load(file)
    libc = ctypes.CDLL(None, use_errno=True)
    os.nice(spec["nice"])
    os.chdir(spec["cwd"])
    if spec["user"]:
        account = pwd.getpwnam(spec["user"])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    # After setuid, which clears it. A parent that died before this line would never send the signal.
    if libc.prctl(PR_SET_PDEATHSIG, spec["death_signal"], 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606  becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1])
