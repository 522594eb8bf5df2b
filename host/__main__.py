"""Start the host: `python -m host`, with the settings of docs/host.md in the environment."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import torch
import uvicorn

from host.app import Host
from host.problems import ArtifactRefused
from host.settings import Settings, SettingsError, read_settings
from host.store import StateInUse


def main(make: Callable[[Settings], Host] = Host) -> int:
    """Serve what `make` makes of the settings until SIGTERM or SIGINT. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    try:
        settings = read_settings()
        host = make(settings)
    except (SettingsError, StateInUse, ArtifactRefused) as error:
        sys.stderr.write(f"The host can't start. {error}\n")
        return 2
    uvicorn.run(
        host,
        host=settings.bind,
        port=settings.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
