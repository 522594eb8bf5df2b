"""What a host of another engine is registered with beside its address."""

from pathlib import Path
from typing import Any

import pytest

from registry.actions import RegistryError, register_host
from registry.models import Host
from registry.serving.allow import AddressRefused
from registry.serving_access import address_of
from tests.registry.world import ALICE

pytestmark = pytest.mark.django_db


@pytest.fixture
def repositories(settings: Any, tmp_path: Path) -> Path:
    """The folder in which repositories may be."""
    (tmp_path / "models" / "gpu-1").mkdir(parents=True)
    settings.LASTGOOD_REPOSITORIES = [str(tmp_path / "models")]
    return tmp_path / "models"


def register(engine: str = "triton", **options: str) -> Host:
    return register_host(
        name="gpu-1", engine=engine, address="http://127.0.0.1:8000", control_token="", options=options, actor=ALICE
    )


def test_the_driver_is_given_what_the_host_was_registered_with(repositories: Path) -> None:
    host = register(repository=str(repositories / "gpu-1"), metrics="http://127.0.0.1:8002")

    options = address_of(host).options

    assert options == {"repository": str(repositories / "gpu-1"), "metrics": "http://127.0.0.1:8002"}
    assert address_of(host).beside("metrics").url == "http://127.0.0.1:8002"


@pytest.mark.parametrize(
    ("engine", "options", "sentence"),
    [
        ("triton", {}, "needs the option repository"),
        ("bundled", {"repository": "/srv"}, "has no option repository. Its options: none"),
        ("triton", {"repository": "models"}, "must be a path from the root"),
        ("triton", {"repository": "{root}/../etc"}, "must be a path from the root"),
        ("triton", {"repository": "/etc"}, "LASTGOOD_REPOSITORIES"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    repositories: Path, engine: str, options: dict[str, str], sentence: str
) -> None:
    given = {name: value.format(root=repositories) for name, value in options.items()}

    with pytest.raises(RegistryError, match=sentence):
        register(engine, **given)

    assert not Host.objects.exists()


def test_a_link_out_of_the_folder_is_refused(repositories: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (repositories / "gpu-2").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RegistryError, match="LASTGOOD_REPOSITORIES"):
        register(repository=str(repositories / "gpu-2"))


def test_an_address_among_the_options_must_be_an_allowed_one(repositories: Path) -> None:
    with pytest.raises(AddressRefused):
        register(repository=str(repositories / "gpu-1"), metrics="http://169.254.169.254")

    assert not Host.objects.exists()
