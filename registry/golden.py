"""Golden tests: inputs whose outputs are known, asked of a host to see what it really answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.translation import gettext

from audit import strictjson
from registry import store
from registry.models import Version
from registry.serving.base import HostAddress, ServingDriver

FORMAT = "lastgood-golden/1"
BATCH_ROWS = 512
INFINITE = Decimal("Infinity")


class GoldenInvalid(ValueError):
    """A golden test that can't be used. The message names the part."""


@dataclass(frozen=True)
class GoldenResult:
    """How a host answered. `mismatches` counts rows, `worst_difference` is over outputs that have a tolerance, and
    `digest_answered` is the digest that the host named ("" where its answers named different ones)."""

    passed: bool
    n: int
    worst_difference: Decimal
    mismatches: int
    digest_answered: str


def run_golden(
    driver: ServingDriver, address: HostAddress, model_slug: str, version_number: str | None, golden: Mapping[str, Any]
) -> GoldenResult:
    """Ask for the golden inputs and compare. None for `version_number` asks whatever answers unversioned requests.

    An output given as texts (decimals) may differ by its tolerance; one given as whole numbers must be the same.
    Raises registry.serving.base.ServingError.
    """
    inputs: Mapping[str, Sequence[Any]] = golden["inputs"]
    rows = len(next(iter(inputs.values())))
    answers: dict[str, list[Any]] = {name: [] for name in golden["outputs"]}
    digests = set()
    for start in range(0, rows, BATCH_ROWS):
        batch = {name: values[start : start + BATCH_ROWS] for name, values in inputs.items()}
        prediction = driver.infer(address, model_slug, batch, version=version_number, request_id="golden")
        digests.add(prediction.digest)
        for name, column in answers.items():
            column.extend(prediction.outputs.get(name, ()))
    wrong, worst = _compare(golden, answers, rows)
    digest = digests.pop() if len(digests) == 1 else ""
    return GoldenResult(not wrong and bool(digest), rows, worst, len(wrong), digest)


def _compare(golden: Mapping[str, Any], answers: Mapping[str, list[Any]], rows: int) -> tuple[set[int], Decimal]:
    """The rows that differ, and the worst difference among outputs with a tolerance."""
    worst, wrong = Decimal(0), set()
    for name, expected in golden["outputs"].items():
        found, tolerance = answers[name], tolerance_of(golden, name)
        if len(found) != rows:
            return set(range(rows)), INFINITE
        for row, (want, got) in enumerate(zip(expected, found, strict=True)):
            if not isinstance(want, str):
                if want != got:
                    wrong.add(row)
                continue
            difference = _difference(want, got)
            worst = max(worst, difference)
            if difference > tolerance:
                wrong.add(row)
    return wrong, worst


def tolerance_of(golden: Mapping[str, Any], output: str) -> Decimal:
    """By how much the output may differ: one tolerance is that of all outputs; of several by name, an output without
    one has to be exact."""
    given = golden["tolerance"]
    return Decimal(given.get(output, 0) if isinstance(given, dict) else given)


def _difference(want: str, got: object) -> Decimal:
    try:
        difference = abs(Decimal(want) - Decimal(str(got)))
    except InvalidOperation:
        return INFINITE
    return difference if difference.is_finite() else INFINITE


def golden_of(version: Version) -> dict[str, Any] | None:
    """The version's golden test, checked against its digest; None when it has none.

    Raises registry.store.ArtifactMissing and ArtifactDamaged.
    """
    if version.golden_id is None:
        return None
    with store.open_verified(version.golden_id) as file:
        golden: dict[str, Any] = strictjson.parse(file.read())
    return golden


def check_golden(data: bytes, signature: Mapping[str, Any]) -> dict[str, Any]:
    """Read a golden test that fits a signature. Raises GoldenInvalid."""
    try:
        golden = strictjson.parse(data)
    except strictjson.NotStrictJson as error:
        raise GoldenInvalid(gettext("The golden test is not JSON: %(error)s.") % {"error": error}) from None
    if not isinstance(golden, dict) or golden.get("format") != FORMAT:
        raise GoldenInvalid(
            gettext("The golden test must be an object whose format is %(FORMAT)s.") % {"FORMAT": FORMAT}
        )
    wanted = {str(entry["name"]) for entry in signature["inputs"]}
    known = {str(entry["name"]) for entry in signature["outputs"]}
    inputs, outputs = golden.get("inputs"), golden.get("outputs")
    if not isinstance(inputs, dict) or set(inputs) != wanted:
        raise GoldenInvalid(
            gettext("The golden test must give exactly the inputs %(wanted)s.") % {"wanted": ", ".join(sorted(wanted))}
        )
    if not isinstance(outputs, dict) or not outputs or not set(outputs) <= known:
        raise GoldenInvalid(
            gettext("The golden test must give outputs among %(known)s.") % {"known": ", ".join(sorted(known))}
        )
    columns = [*inputs.values(), *outputs.values()]
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns}
    if len(lengths) != 1 or lengths <= {-1, 0}:
        raise GoldenInvalid(gettext("The golden test's columns must be lists of one length, with at least one row."))
    _check_numbers(golden)
    return golden


def _check_numbers(golden: Mapping[str, Any]) -> None:
    given = golden.get("tolerance")
    tolerances = given if isinstance(given, dict) else dict.fromkeys(golden["outputs"], given)
    strange = sorted(tolerances.keys() - golden["outputs"].keys())
    if strange:
        raise GoldenInvalid(
            gettext("The golden test has a tolerance for %(strange)s, and gives no such output.")
            % {"strange": ", ".join(strange)}
        )
    texts = [value for column in golden["outputs"].values() for value in column if isinstance(value, str)]
    for text in [*tolerances.values(), *texts]:
        try:
            finite = isinstance(text, str) and Decimal(text).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            raise GoldenInvalid(
                gettext('The golden test\'s %(text)r is not a decimal written as text, such as "0.0005".')
                % {"text": text}
            )
    if any(Decimal(text) < 0 for text in tolerances.values()):
        raise GoldenInvalid(gettext("The golden test's tolerance is negative; nothing could pass it."))
