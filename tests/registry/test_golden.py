"""Golden tests are compared row by row; a hidden wrong number must not pass."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.golden import BATCH_ROWS, FORMAT, GoldenInvalid, GoldenResult, check_golden, run_golden
from registry.serving.base import HostAddress, Prediction
from tests.registry.world import golden_bytes

ADDRESS = HostAddress("http://127.0.0.1:9", "")


class Answering:
    """A driver's `infer` that answers from a list, and keeps what it was asked."""

    def __init__(self, outputs: Mapping[str, list[Any]], digests: Sequence[str] = ("d1",)) -> None:
        self.outputs, self.digests = outputs, digests
        self.asked: list[tuple[int, str | None]] = []

    def infer(
        self,
        address: HostAddress,
        model: str,
        inputs: Mapping[str, Any],
        version: str | None = None,
        request_id: str = "",
    ) -> Prediction:
        start = sum(rows for rows, _ in self.asked)
        rows = len(inputs["AGE"])
        self.asked.append((rows, version))
        outputs = {name: column[start : start + rows] for name, column in self.outputs.items()}
        return Prediction("1", self.digests[(len(self.asked) - 1) % len(self.digests)], outputs, 1.0)


def ask(outputs: Mapping[str, list[Any]], golden: bytes | None = None, **more: Any) -> GoldenResult:
    return run_golden(Answering(outputs, **more), ADDRESS, "toy", "1", json.loads(golden or golden_bytes()))


def test_the_same_answers_within_the_tolerance_pass() -> None:
    result = ask({"label": [1, 1], "score": [0.9995, 1.0]})

    assert result == GoldenResult(True, 2, Decimal("0.0005"), 0, "d1")


def test_a_score_beyond_the_tolerance_is_one_mismatch() -> None:
    result = ask({"label": [1, 1], "score": [0.99, 1.0]})

    assert (result.passed, result.mismatches, result.worst_difference) == (False, 1, Decimal("0.01"))


def test_a_wrong_label_with_a_right_score_does_not_pass() -> None:
    result = ask({"label": [0, 1], "score": [1.0, 1.0]})

    assert (result.passed, result.mismatches) == (False, 1)


def in_two_units(**tolerance: str) -> bytes:
    """A share and an amount in the thousands; a row where each is off by a thousandth of a unit."""
    outputs = {"share": ["0.500000", "0.250000"], "amount": ["52000.00", "48000.00"]}
    inputs = {"AGE": [30, 40]}
    return json.dumps({"format": FORMAT, "inputs": inputs, "outputs": outputs, "tolerance": tolerance}).encode()


@pytest.mark.parametrize(
    ("tolerance", "share", "amount", "mismatches"),
    [
        ({"share": "0.001", "amount": "10"}, 0.5005, 52009.0, 0),
        ({"share": "0.001", "amount": "10"}, 0.502, 52000.0, 1),
        ({"share": "0.001", "amount": "10"}, 0.5, 52011.0, 1),
        ({"amount": "10"}, 0.5, 52009.0, 0),
        ({"amount": "10"}, 0.500001, 52000.0, 1),
    ],
    ids=["each within its own", "the share beyond its own", "the amount beyond its own", "exact", "not exact"],
)
def test_each_output_has_a_tolerance_of_its_own_or_is_exact(
    tolerance: dict[str, str], share: float, amount: float, mismatches: int
) -> None:
    result = ask({"share": [share, 0.25], "amount": [amount, 48000.0]}, in_two_units(**tolerance))

    assert (result.passed, result.mismatches) == (not mismatches, mismatches)


SIGNATURE = {"inputs": [{"name": "AGE"}], "outputs": [{"name": "share"}, {"name": "amount"}]}


def test_tolerances_by_output_are_taken() -> None:
    assert check_golden(in_two_units(share="0.001"), SIGNATURE)["tolerance"] == {"share": "0.001"}


@pytest.mark.parametrize(
    ("tolerance", "why"),
    [
        ({"shares": "0.001"}, "a tolerance for shares, and gives no such output"),
        ({"share": "-0.001"}, "negative"),
        ({"share": "little"}, "'little' is not a decimal"),
    ],
)
def test_tolerances_that_can_not_be_used_are_refused(tolerance: dict[str, str], why: str) -> None:
    with pytest.raises(GoldenInvalid, match=why):
        check_golden(in_two_units(**tolerance), SIGNATURE)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None, "high"])
def test_what_is_not_a_number_does_not_pass(wrong: object) -> None:
    result = ask({"label": [1, 1], "score": [wrong, 1.0]})

    assert (result.passed, result.mismatches, result.worst_difference) == (False, 1, Decimal("Infinity"))


@pytest.mark.parametrize("outputs", [{"label": [1, 1]}, {"label": [1], "score": [1.0, 1.0]}])
def test_a_missing_output_or_row_fails_every_row(outputs: Mapping[str, list[Any]]) -> None:
    result = ask(outputs)

    assert (result.passed, result.mismatches) == (False, 2)


def test_many_rows_are_asked_for_in_batches_and_answers_of_two_versions_do_not_pass() -> None:
    rows = BATCH_ROWS + 1
    golden = {
        "inputs": {"AGE": [1] * rows}, "outputs": {"label": [1] * rows}, "tolerance": "0",
    }  # fmt: skip
    driver = Answering({"label": [1] * rows}, digests=("d1", "d2"))

    result = run_golden(driver, ADDRESS, "toy", None, golden)

    assert driver.asked == [(BATCH_ROWS, None), (1, None)]
    assert (result.passed, result.n, result.mismatches, result.digest_answered) == (False, rows, 0, "")


@given(
    st.lists(st.tuples(st.decimals("0", "1", places=6), st.integers(-2000, 2000)), min_size=1, max_size=30),
)
def test_it_passes_exactly_when_no_difference_is_beyond_the_tolerance(rows: list[tuple[Decimal, int]]) -> None:
    expected = [str(score) for score, _ in rows]
    found = [str(score + Decimal(millionths) / 1_000_000) for score, millionths in rows]
    golden = {"inputs": {"AGE": [1] * len(rows)}, "outputs": {"score": expected}, "tolerance": "0.001"}

    result = run_golden(Answering({"score": found}), ADDRESS, "toy", "1", golden)

    wrong = sum(abs(millionths) > 1000 for _, millionths in rows)
    assert (result.passed, result.mismatches) == (wrong == 0, wrong)
    assert result.worst_difference == Decimal(max(abs(millionths) for _, millionths in rows)) / 1_000_000
