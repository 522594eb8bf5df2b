"""What is captured of one version on a running engine: a golden test, and a reference for drift, from its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from registry.adopting.capture import NotCaptured, golden_from, made_up, mixed, row_count
from registry.adopting.references import LEAST_ROWS, Live, reference_from
from registry.serving.base import HostAddress, ServingError
from registry.serving.foreign import FoundModel, FoundVersion, answered_lately, ask

BATCH_ROWS = 500

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Captured:
    """Golden test and reference where they could be made, and in words how, or why not; `outputs` to the rows asked."""

    golden: bytes | None
    golden_told: str
    reference: bytes | None
    reference_told: str
    outputs: dict[str, list[Any]] = field(default_factory=dict)


def live_of(engine: str, address: HostAddress, model: FoundModel) -> Live | None:
    """What the model's default answered last, where the engine keeps it. Raises HostUnreachable."""
    default = next((one for one in model.versions if one.is_default and one.ready), None)
    found = answered_lately(engine, address, model.name, default) if default else None
    if default is None or found is None:
        return None
    return Live(
        default.name, found["inputs"], found["outputs"], str(found.get("since") or ""), str(found.get("until") or "")
    )


def capture(
    engine: str, address: HostAddress, model: str, version: FoundVersion, rows: Columns | None, live: Live | None
) -> Captured:
    """Ask the version the rows that were given, else values of live requests, else rows that are made up."""
    if not version.ready:
        return Captured(None, "it is not loaded, so it was asked nothing", None, "none: it is not loaded")
    if live is not None and not _fits(live, version):
        live = None
    try:
        if rows is None and live is None and version.signature is None:
            raise NotCaptured("the engine does not say what it takes; give rows for it.")
        inputs = rows if rows is not None else mixed(live.inputs) if live else made_up(version.signature or {})
        how = "as given" if rows is not None else "of values that were asked live" if live else "made up"
        first = {name: list(values)[:BATCH_ROWS] for name, values in inputs.items()}
        outputs = ask(engine, address, model, version, first)
        golden = golden_from(first, outputs)
    except (NotCaptured, ServingError) as error:
        return Captured(None, f"no golden test: {error}", None, "none: it was not asked anything that it answered")
    reference, told = _reference(engine, address, model, version, rows, live)
    return Captured(golden, f"{row_count(first)} rows, {how}", reference, told, outputs)


def _fits(live: Live, version: FoundVersion) -> bool:
    asked = {str(entry["name"]) for entry in (version.signature or {}).get("inputs", ())}
    return set(live.inputs) == asked


def _reference(
    engine: str, address: HostAddress, model: str, version: FoundVersion, rows: Columns | None, live: Live | None
) -> tuple[bytes | None, str]:
    """A profile of rows of traffic and the version's answers to them, and in words of what, or why there is none."""
    inputs: Columns | None = rows if rows is not None else live.inputs if live else None
    if inputs is None:
        return None, "none: rows that are made up are no traffic"
    count = row_count(inputs)
    if count < LEAST_ROWS:
        had = f"{count} were given" if rows is not None else f"{count} were answered live"
        return None, f"none: {had}, and it takes {LEAST_ROWS}"
    told = {"rows": count, "at": datetime.now(UTC).isoformat(timespec="seconds"), "from": "rows given"}
    words = f"{count} rows, as given"
    try:
        if rows is None and live is not None:
            told |= {"from": f"live requests of version {live.version}", "since": live.since, "until": live.until}
            words = f"{count} rows that version {live.version} answered live, "
            words += f"{_minute(live.since)} to {_minute(live.until)} UTC"
        if rows is None and live is not None and live.version == version.name:
            outputs = live.outputs
        else:
            outputs = _asked_all(engine, address, model, version, inputs)
            words += ", asked of it too" if rows is None else ""
        return reference_from(inputs, outputs, told), words
    except (ServingError, ValueError) as error:
        return None, f"none: {error}"


def _minute(instant: str) -> str:
    """2026-05-01 14:05 of 2026-05-01T14:05:06.789+00:00."""
    return instant[:16].replace("T", " ")


def _asked_all(
    engine: str, address: HostAddress, model: str, version: FoundVersion, inputs: Columns
) -> dict[str, list[Any]]:
    """Answers to all rows, BATCH_ROWS at a time; outputs that are not one a row are left out. Raises ServingError."""
    count = row_count(inputs)
    found: dict[str, list[Any]] = {}
    for start in range(0, count, BATCH_ROWS):
        part = {name: list(values)[start : start + BATCH_ROWS] for name, values in inputs.items()}
        for name, values in ask(engine, address, model, version, part).items():
            found.setdefault(name, []).extend(values)
    return {name: values for name, values in found.items() if len(values) == count}
