"""The severity matrix: data that administrators edit, on record."""

import pytest

from audit.models import AuditEvent
from incidents import severity
from incidents.errors import Conflict, GuardFailed
from incidents.models import Impact, Urgency
from incidents.working.models import SeverityMatrix
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")
HARSHER = [[1, 1, 2], [1, 2, 3], [3, 4, 4]]


def put(world: World, cells: list[list[int]], seen: int = 0) -> SeverityMatrix:
    return severity.set_matrix(
        cells=cells,
        reason="People were harmed at severity 2.",
        user=world.users["ada"],
        actor=world.actor("ada"),
        seen_edition=seen,
    )


def test_an_edition_counts_from_then_on_and_is_on_record(world: World) -> None:
    assert severity.severity_of(Impact.HIGH, Urgency.MEDIUM) == 2
    put(world, HARSHER)
    assert severity.severity_of(Impact.HIGH, Urgency.MEDIUM) == 1
    (event,) = AuditEvent.objects.filter(action="severity_matrix.set")
    assert event.target_version == "1"


def test_less_is_never_more_severe(world: World) -> None:
    with pytest.raises(GuardFailed) as refused:
        put(world, [[1, 2, 3], [1, 1, 3], [1, 2, 2]][::-1])
    assert refused.value.guard == "matrix_in_order"
    assert not SeverityMatrix.objects.exists()


def test_two_editors_are_a_visible_conflict(world: World) -> None:
    put(world, HARSHER)
    with pytest.raises(Conflict):
        put(world, [[1, 1, 1], [1, 1, 1], [1, 1, 1]], seen=0)
    assert severity.matrix() == (1, HARSHER)


def form_of(cells: list[list[int]], edition: int) -> dict[str, object]:
    typed = {f"cell_{row}_{column}": cells[row - 1][column - 1] for row in (1, 2, 3) for column in (1, 2, 3)}
    return typed | {"edition": edition, "reason": "Learned from INC-1."}


def test_the_page_edits_it_for_an_administrator_alone(world: World) -> None:
    address = "/incidents/severity-matrix/"
    assert world.client("kofi").post(address, form_of(HARSHER, 0)).status_code == 403
    assert world.client("ada").post(address, form_of(HARSHER, 0)).status_code == 302
    again = world.client("ada").post(address, form_of([[1, 1, 1]] * 3, 0))
    assert again.status_code == 409
    assert "Somebody else edited the table" in again.content.decode()
    assert severity.matrix() == (1, HARSHER)
    assert "edition 1" in world.client("vera").get(address).content.decode()


def test_the_api_reads_and_edits_it(world: World) -> None:
    address = "/api/v1/severity-matrix/"
    assert world.client("vera").get(address).json() == {"edition": 0, "cells": severity.FIRST}
    body = {"edition": 0, "cells": HARSHER, "reason": "Learned."}
    answer = world.client("ada").post(address, body, content_type="application/json")
    assert (answer.status_code, answer.json()) == (201, {"edition": 1, "cells": HARSHER})
