"""What was found on an engine, line by line."""

from collections.abc import Iterator

from registry.adopting.looking import Seen


def lines(seen: Seen) -> Iterator[str]:
    """For a terminal: each model with its versions, what a rollback could do, what is missing."""
    count = len(seen.models)
    yield f"{seen.engine} {seen.release}".strip() + f" at {seen.url}: {count} model{'' if count == 1 else 's'}"
    for sentence in [*seen.lacks, *seen.capabilities]:
        yield f"  {sentence}"
    for model in seen.models:
        yield f"{model.name}"
        for one in model.versions:
            kind = "opaque" if one.opaque else "with its files"
            known = ", registered already" if one.known else ""
            yield f"  {one.label}: {one.state}, {kind}, {one.digest[:12]}{known}; golden test: {one.captured}"
            yield f"    reference for drift: {one.referred}"
        for sentence in model.skipped:
            yield f"  left out: {sentence}"
        for sentence in model.could():
            yield f"  could: {sentence}"
        for sentence in model.missing():
            yield f"  missing: {sentence}"
