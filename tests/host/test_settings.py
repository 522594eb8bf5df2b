from pathlib import Path

import pytest

from host.settings import SettingsError, read_settings

ENOUGH = {
    "LASTGOOD_HOST_NAME": "gpu-1",
    "LASTGOOD_HOST_PORT": "9001",
    "LASTGOOD_HOST_STATE": "/srv/host",
    "LASTGOOD_HOST_TOKEN": "word",
}
LOGGING = {"LASTGOOD_SERVER": "https://lastgood/", "LASTGOOD_INGEST_TOKEN": "t", "LASTGOOD_HOST_ENDPOINT": "e"}


def test_a_host_needs_four_settings_and_logs_nothing_without_a_server() -> None:
    settings = read_settings(ENOUGH)

    assert (settings.bind, settings.port, settings.state) == ("127.0.0.1", 9001, Path("/srv/host"))
    assert not settings.logs_predictions


def test_a_host_with_a_server_logs_predictions() -> None:
    settings = read_settings(ENOUGH | LOGGING)

    assert settings.logs_predictions
    assert settings.server == "https://lastgood"
    assert (settings.log_batch_rows, settings.log_batch_seconds) == (500, 2.0)


@pytest.mark.parametrize("name", ENOUGH)
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        read_settings({**ENOUGH, name: ""})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"LASTGOOD_HOST_PORT": "http"}, "LASTGOOD_HOST_PORT is 'http'; set it to a number from 1 to 65535"),
        ({"LASTGOOD_HOST_PORT": "70000"}, "LASTGOOD_HOST_PORT"),
        ({"LASTGOOD_LOG_BATCH_SECONDS": "nan"}, "LASTGOOD_LOG_BATCH_SECONDS"),
        ({"LASTGOOD_LOG_BATCH_ROWS": "0"}, "LASTGOOD_LOG_BATCH_ROWS"),
        ({"LASTGOOD_SERVER": "https://lastgood"}, "LASTGOOD_INGEST_TOKEN and LASTGOOD_HOST_ENDPOINT must be set"),
        (LOGGING | {"LASTGOOD_SERVER": "lastgood:80"}, "begins with http"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_settings(ENOUGH | changes)
