"""Ports of 127.0.0.1. Those from 32768 on are given to outgoing connections: a client that waits for a server there
can end up connected to itself, so none of ours is that high."""

import random
import socket

LOWEST, HIGHEST = 15000, 32000


def is_free(port: int) -> bool:
    """Whether a server can listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(*, not_in: frozenset[int] = frozenset()) -> int:
    """A port that nobody listens on, drawn at random. Raises RuntimeError after 200 taken ones."""
    for _ in range(200):
        port = random.randint(LOWEST, HIGHEST)
        if port not in not_in and is_free(port):
            return port
    raise RuntimeError(f"No free port between {LOWEST} and {HIGHEST}.")
