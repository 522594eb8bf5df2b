"""The description of the API that programs are written against changes only on purpose."""

import difflib
from pathlib import Path

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tests.accounts.people import person

SNAPSHOT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"


def test_the_api_is_what_its_description_says() -> None:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    validate_schema(schema)
    now = OpenApiYamlRenderer().render(schema, renderer_context={}).decode()
    changes = list(difflib.unified_diff(SNAPSHOT.read_text().splitlines(), now.splitlines(), "snapshot", "now", n=0))
    assert not changes, "Look at the change; is it meant, run `manage.py spectacular --file docs/openapi.yaml`:\n" + (
        "\n".join(changes[:60])
    )


def test_nothing_in_the_description_had_to_be_guessed() -> None:
    GENERATOR_STATS.reset()

    SchemaGenerator().get_schema(request=None, public=True)

    assert not GENERATOR_STATS


def test_every_operation_has_a_name_of_its_own_and_tells_of_problems() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    operations = [operation for item in paths.values() for operation in item.values()]

    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {"runs_stop", "incidents_acknowledge", "approvals_decide", "me"} <= set(names)
    for operation in operations:
        for code in ("401", "403", "default"):
            assert list(operation["responses"][code]["content"]) == ["application/problem+json"], operation
        assert "Scope: `" in operation["description"], operation["operationId"]


def test_every_address_of_the_api_names_who_may_call_it() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    assert "/api/v1/approvals/{id}/decide/" in paths
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation.get("security"), f"{method} {path}"


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/api/docs/", "/api/schema/"])
def test_the_description_is_for_those_who_are_signed_in(client: Client, address: str) -> None:
    assert client.get(address).status_code == 401
    client.force_login(person("vera", "viewer"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(address).status_code == 200
