"""The system user that PostgreSQL runs as where Lastgood is started by root (PostgreSQL refuses root)."""

import os
import pwd
import shutil
import subprocess

NAME = "lastgood"


def database_user() -> str | None:
    """The name to run PostgreSQL as; None for the user that we are. Makes the system user once, without login or home.

    Raises RuntimeError where it can't be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        _make()
    return NAME


def give(path: str, user: str | None) -> None:
    """Make `user` the owner of this one file or directory."""
    if user:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)


def _make() -> None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise RuntimeError(f"PostgreSQL does not run as root and useradd is missing. Make a system user {NAME!r}.")
    command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    made = subprocess.run([*command, "--shell", "/usr/sbin/nologin", NAME], capture_output=True, text=True, check=False)
    if made.returncode not in (0, 9):  # 9: another start made it in the meantime
        raise RuntimeError(f"The system user {NAME!r} could not be made: {made.stderr.strip()}")
