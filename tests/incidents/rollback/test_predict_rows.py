"""Many rows are asked in batches, several at once, and come back in their order."""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from incidents.rollback.live import BATCH_ROWS, IN_FLIGHT, predict
from registry.models import Version
from registry.serving.base import HostUnreachable

ASKED = Version(number=1, signature={"inputs": [], "outputs": [{"name": "y", "datatype": "INT64"}]})


class Host:
    """Answers each row with its own value; the first batch only once another has been asked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.second = threading.Event()

    def infer(self, batch: dict[str, list[Any]], version: Version) -> Any:
        self.sizes.append(len(batch["x"]))
        if batch["x"][0] == 0:
            assert self.second.wait(30)
        else:
            self.second.set()
        return SimpleNamespace(outputs={"y": batch["x"]})


def test_answers_stand_in_the_order_of_the_rows_though_a_later_batch_is_answered_first() -> None:
    rows, host = 2 * BATCH_ROWS + 7, Host()

    answers = predict(host, ASKED, {"x": list(range(rows))}, rows)  # type: ignore[arg-type]

    assert answers.dtype == np.float64
    assert answers.tolist() == list(range(rows))
    assert sorted(host.sizes) == [7, BATCH_ROWS, BATCH_ROWS]
    assert IN_FLIGHT == 2


def test_a_batch_that_fails_fails_all() -> None:
    class Gone:
        def infer(self, batch: dict[str, list[Any]], version: Version) -> Any:
            raise HostUnreachable("gone")

    with pytest.raises(HostUnreachable):
        predict(Gone(), ASKED, {"x": [1] * (3 * BATCH_ROWS)}, 3 * BATCH_ROWS)  # type: ignore[arg-type]


def test_no_rows_are_no_answers() -> None:
    assert len(predict(Host(), ASKED, {"x": []}, 0)) == 0  # type: ignore[arg-type]
