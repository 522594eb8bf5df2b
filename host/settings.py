"""The host's settings, read once from the environment. docs/host.md lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from host.sources import SETTING as FETCH_NETWORKS
from host.sources import Network


class SettingsError(ValueError):
    """A setting is missing or has a value that can't be used. The message says which and what to do."""


@dataclass(frozen=True)
class Settings:
    """`server` is Lastgood's base URL, empty for a host that logs no predictions. Sizes are in bytes."""

    name: str
    port: int
    bind: str
    state: Path
    token: str
    server: str
    ingest_token: str
    endpoint: str
    log_batch_rows: int
    log_batch_seconds: float
    log_spool_bytes: int
    max_blob_bytes: int
    fetch_networks: tuple[Network, ...]

    @property
    def logs_predictions(self) -> bool:
        return bool(self.server and self.ingest_token and self.endpoint)


def _number(env: Mapping[str, str], name: str, default: str, low: float, high: float) -> float:
    text = env.get(name) or default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name} is {text!r}; set it to a number from {low:g} to {high:g}.")
    return value


def _networks(env: Mapping[str, str], name: str) -> tuple[Network, ...]:
    words = [word.strip() for word in env.get(name, "").split(",") if word.strip()]
    try:
        return tuple(ip_network(word) for word in words)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}. Set it to networks such as 10.0.0.0/8, between commas.") from None


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises SettingsError, whose message is for the person who starts the host."""
    for name in ("LASTGOOD_HOST_NAME", "LASTGOOD_HOST_PORT", "LASTGOOD_HOST_STATE", "LASTGOOD_HOST_TOKEN"):
        if not env.get(name):
            raise SettingsError(f"{name} is not set; set it before starting the host.")
    server, token, endpoint = (
        env.get(name, "") for name in ("LASTGOOD_SERVER", "LASTGOOD_INGEST_TOKEN", "LASTGOOD_HOST_ENDPOINT")
    )
    if server and not (token and endpoint):
        raise SettingsError(
            "LASTGOOD_SERVER is set, so LASTGOOD_INGEST_TOKEN and LASTGOOD_HOST_ENDPOINT must be set, too; "
            "or unset it for a host that logs no predictions."
        )
    if server and not server.startswith(("http://", "https://")):
        raise SettingsError(f"LASTGOOD_SERVER is {server!r}; set it to a URL that begins with http:// or https://.")
    return Settings(
        name=env["LASTGOOD_HOST_NAME"],
        port=int(_number(env, "LASTGOOD_HOST_PORT", "", 1, 65535)),
        bind=env.get("LASTGOOD_HOST_BIND") or "127.0.0.1",
        state=Path(env["LASTGOOD_HOST_STATE"]),
        token=env["LASTGOOD_HOST_TOKEN"],
        server=server.rstrip("/"),
        ingest_token=token,
        endpoint=endpoint,
        log_batch_rows=int(_number(env, "LASTGOOD_LOG_BATCH_ROWS", "500", 1, 100_000)),
        log_batch_seconds=_number(env, "LASTGOOD_LOG_BATCH_SECONDS", "2", 0.01, 3600),
        log_spool_bytes=int(_number(env, "LASTGOOD_LOG_SPOOL_BYTES", str(256 * 2**20), 2**16, 2**50)),
        max_blob_bytes=int(_number(env, "LASTGOOD_HOST_MAX_BLOB_BYTES", str(64 * 2**30), 2**10, 2**50)),
        fetch_networks=_networks(env, FETCH_NETWORKS),
    )
