"""A review as Markdown and as a page of its own, for people who can't reach Lastgood."""

from typing import Any

from django.template.loader import render_to_string

from audit.english import english
from audit.queries import timeline
from incidents.models import Review
from incidents.narrative import moments
from incidents.reviews import intervals


def export_context(review: Review) -> dict[str, Any]:
    incident = review.incident
    return {
        "review": review,
        "incident": incident,
        "intervals": intervals(incident),
        "moments": moments(timeline(incident.ref)),
        "items": list(review.action_items.select_related("owner")),
        "evidence": list(incident.evidence.all()),
        "sections": sections(review),
        "causes": list(review.contributing.all()),
        "signatures": list(review.signatures.select_related("user")),
    }


def sections(review: Review) -> list[tuple[str, str]]:
    """Heading and text of each section, in the order in which they are read."""
    return [
        ("What happened", review.summary),
        ("What it did to people", review.impact),
        ("Why", review.causes),
        ("What went well", review.went_well),
        ("What went badly", review.went_badly),
    ]


@english()
def as_html(review: Review) -> str:
    return render_to_string("reviews/export.html", export_context(review))


@english()
def as_markdown(review: Review) -> str:
    found = export_context(review)
    incident = review.incident
    parts = [f"# Review of {incident.ref}: {_plain(incident.title)}", ""]
    parts += [f"Severity {incident.severity}, {review.get_state_display().lower()}.", ""]
    for heading, text in found["sections"]:
        parts += [f"## {heading}", "", text.strip() or "Nothing was written.", ""]
    parts += ["## Contributing causes", ""]
    parts += [_cause(one) for one in found["causes"]] or ["None was named."]
    parts += ["", "## Signed and accepted by", ""]
    parts += [_signed(one) for one in found["signatures"]] or ["Nobody was asked."]
    parts += ["", "## Times", "", "| Span | Seconds |", "| --- | ---: |"]
    parts += [f"| {span.name} | {'' if span.seconds is None else span.seconds} |" for span in found["intervals"]]
    parts += ["", "## Action items", ""]
    parts += [_item(item) for item in found["items"]] or ["None."]
    parts += ["", "## Timeline", "", "| Time (UTC) | Who | What | Leaf |", "| --- | --- | --- | ---: |"]
    parts += [
        f"| {moment.at:%Y-%m-%d %H:%M:%S} | {_cell(moment.who)} | {_cell(moment.what)} | "
        f"{'' if moment.leaf is None else moment.leaf} |"
        for moment in found["moments"]
    ]
    if review.checkpoint:
        parts += ["", "## The log when this was published", "", "```", review.checkpoint.rstrip("\n"), "```"]
    return "\n".join(parts) + "\n"


def _item(item: Any) -> str:
    owner = f", {item.owner}" if item.owner else ", nobody yet"
    due = f", by {item.due_on}" if item.due_on else ""
    return f"- [{'x' if item.done_at else ' '}] {_plain(item.text)}{owner}{due}"


def _cause(one: Any) -> str:
    return f"- {one.get_kind_display()}{f': {_plain(one.note)}' if one.note else ''}"


def _signed(one: Any) -> str:
    said = f"- {one.user}, {one.get_kind_display().lower()}: {one.get_answer_display().lower()}"
    words = f" ({_plain(one.words)})" if one.words else ""
    return f"{said}{words}{f', {one.answered_at:%Y-%m-%d %H:%M:%S} UTC' if one.answered_at else ''}"


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
