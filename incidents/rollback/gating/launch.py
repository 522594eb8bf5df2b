"""Started as a program of its own, outside of Lastgood: sets limits on itself, then becomes the command of a suite.

Arguments: the parent's process id, bytes of address space, bytes of any one file, then the command. It imports nothing
of Lastgood and runs isolated (`python -I -S`).
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
NO_PROGRAM = 127


def main(arguments: list[str]) -> int:
    parent, memory, largest_file = (int(word) for word in arguments[:3])
    command = arguments[3:]
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return NO_PROGRAM  # the worker died before the signal was asked for
    os.umask(0o077)
    for what, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, largest_file), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (limit, limit))
    try:
        os.execv(command[0], command)  # noqa: S606  that there is no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]} can't be run: {error.strerror}\n")
        return NO_PROGRAM


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
