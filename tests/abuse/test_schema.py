"""Every operation of the API's description, with what it allows and what it does not: no answer breaks its promise.

The requests are drawn by Schemathesis from docs/openapi.yaml with a fixed seed, and sent within one transaction to the
program as it is served. Half of the names in addresses are made up, half are of things that are there.
"""

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup

from incidents.models import Incident, Review
from incidents.rollback.models import Plan, Run
from monitoring.actions import watch_endpoint
from monitoring.models import Delivery, Rule, Window
from registry.models import Version
from tests.api.programs import SETUP, anybody
from tests.incidents.world import World
from tests.pages.test_query_counts import world

__all__ = ["world"]

DESCRIPTION = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "2"))
# What fits the description can still be refused: for what it names, for the state of that, or for who asks.
REFUSALS = ["400", "412", "413", "422"]
CONFIG = {
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "429", *REFUSALS],
        },
        "negative_data_rejection": {"expected-statuses": ["4xx"]},
    }
}


@schemathesis.serializer("application/vnd.apache.arrow.stream", "application/x-ndjson")
def as_it_is(context: Any, value: Any) -> bytes:
    """Streams are bytes, whatever is in them."""
    return value if isinstance(value, bytes) else repr(value).encode(errors="replace")


def described() -> Any:
    loaded = schemathesis.openapi.from_path(DESCRIPTION, config=SchemathesisConfig.from_dict(CONFIG))
    loaded.app = in_savepoints(get_wsgi_application())
    return loaded


def in_savepoints(application: Any) -> Any:
    """The program, with each request's work undone in the database where the answer was a refusal, as each request on a
    connection of its own would leave nothing behind."""

    def serve(environ: Any, start_response: Any) -> Any:
        refused: list[bool] = []

        def start(status: str, *more: Any) -> Any:
            refused.append(status[0] in "45")
            return start_response(status, *more)

        mark = transaction.savepoint()
        answer = application(environ, start)
        (transaction.savepoint_rollback if refused[-1] else transaction.savepoint_commit)(mark)
        return answer

    return serve


def names(world: World) -> dict[str, dict[str, object]]:
    """The names of things that are there, by the first part of the address."""
    incident = Incident.objects.earliest("pk")
    Review.objects.create(incident=incident)
    world.run(incident)
    plan = Plan.objects.exclude(request=None).earliest("pk")
    watch_endpoint(endpoint=world.endpoint, actor=SETUP)
    return {
        "models": {"slug": world.endpoint.model.slug},
        "versions": {"id": str(Version.objects.earliest("pk").pk)},
        "endpoints": {"slug": world.endpoint.slug},
        "hosts": {"name": "h1"},
        "monitors": {"endpoint": world.endpoint.slug},
        "rules": {"id": str(Rule.objects.earliest("pk").pk)},
        "windows": {"id": str(getattr(Window.objects.first(), "pk", 1))},
        "deliveries": {"id": str(Delivery.objects.earliest("received_at").pk)},
        "incidents": {"ref": incident.ref},
        "reviews": {"ref": incident.ref},
        "status-pages": {"slug": "services"},
        "plans": {"id": str(plan.pk)},
        "runs": {"id": str(Run.objects.earliest("pk").pk)},
        "approvals": {"id": str(plan.request_id)},
        "users": {"username": "rosa"},
        "tokens": {"id": str(uuid.uuid4())},
    }


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """The test's transaction is the connection's; Django would close it after each request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.django_db
@pytest.mark.usefixtures("_one_connection")
def test_abuse_43_no_operation_breaks_a_promise_of_its_description(world: World) -> None:
    there, headers, broken = names(world), {"Authorization": anybody().client.defaults["HTTP_AUTHORIZATION"]}, []
    for found in described().get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                with transaction.atomic():
                    tried(operation, mode, there.get(operation.path.split("/")[3], {}), headers)()
                    transaction.set_rollback(True)
            except (Exception, FailureGroup) as error:  # all that is broken is told at once
                notes = "\n".join(getattr(error, "__notes__", []))
                broken.append(f"{operation.label} [{mode.value}]: {str(error)[:1500]}\n{notes[:600]}")

    assert not broken, f"{len(broken)} promises broken:\n\n" + "\n\n".join(broken)


def tried(
    operation: Any, mode: GenerationMode, there: dict[str, object], headers: dict[str, str]
) -> Callable[[], None]:
    """A function that sends some requests of one mode and checks the answers."""

    @seed(20261121)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def send(case: Any, real: bool) -> None:
        if real and mode is GenerationMode.POSITIVE:
            for name in set(case.path_parameters or {}) & set(there):
                case.path_parameters[name] = there[name]
        with transaction.atomic(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.call_and_validate(headers=headers)

    return send
