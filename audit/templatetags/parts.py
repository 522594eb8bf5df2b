"""Tags and filters behind `templates/parts/`: states as tone and icon, lanes, charts and forms, and all of `amounts`.

They live on the lowest floor so that every app's templates may load them (`{% load parts %}`). Nothing here reads the
database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from django import forms, template
from django.forms import BoundField
from django.templatetags.static import static
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from audit.figures import as_csv
from audit.scripts import TEXTS
from audit.templatetags import amounts

register = template.Library()
register.filters.update(amounts.register.filters)
register.tags.update(amounts.register.tags)

TONES = ("ok", "warn", "bad", "busy", "unknown", "quiet")
_STATES = {
    "ok": """
        operational pass passed ok success succeeded done ready serving healthy verified approved approve granted
        filled resolved active good last-good last_good eligible golden_ok postcheck_ok switched live in_control
        stable anchored processed judged published
        notified justified confirmed
        in_service
        completed sent taken given
        armed accepted
    """,
    "warn": """
        degraded degraded_performance partial_outage warning warn inconclusive hold held paused stale expiring
        quarantined compensating draining mixed pending_approval awaiting_approval proposed waiting needs_person
        open_seat suppressed restored compensated
        tripped asked offered
    """,
    "bad": """
        failed fail error bad critical major_outage outage firing denied deny refused unreachable down revoked expired
        void voided stopped halted tampered missing drifted ineligible detected breached not_ready wrong_version
        wrong_output
        given_up waking
        unparseable breach
        not_justified
    """,
    "busy": """
        running mitigating monitoring verifying watching loading loaded staged locked preflight switching converging
        investigating identified triaged in_progress maintenance under_maintenance executing soaking current started
        busy intent open preflighted stored
        applies
        drained emptied shadowed compared shared
        considering
    """,
    "quiet": """
        closed draft reviewed archived retired cancelled canceled skipped superseded pending planned none idle
        consumed replaced quiet inactive off ended undone withdrawn
        dismissed scheduled overtaken nowhere
        declined dropped
    """,
}
_TONE_OF = {word: tone for tone, words in _STATES.items() for word in words.split()}
_TONE_OF |= {"unknown": "unknown", "not_enough_data": "unknown"}
_ICONS = {
    "ok": "circle-check",
    "warn": "alert-triangle",
    "bad": "alert-octagon",
    "busy": "progress",
    "unknown": "help-circle",
    "quiet": "circle",
}
_ACTION_ICONS = {
    "incident": "flag",
    "escalation": "bell",
    "alert": "bell",
    "finding": "chart-line",
    "rollback": "route",
    "rollback.plan": "file-text",
    "rollback.step": "server",
    "rollback.gate": "checkbox",
    "approval": "rubber-stamp",
    "session": "key",
    "user": "user",
    "token": "key",
    "status": "broadcast",
    "review": "clipboard-check",
    "version": "git-commit",
    "model": "box",
    "endpoint": "activity",
    "host": "server",
    "deployment": "rocket",
    "alias": "tag",
    "audit": "shield-check",
    "update": "message-circle",
    "note": "message-circle",
}
_ANSWERS = {"pass": "ok", "fail": "bad", "inconclusive": "warn", "pending": "quiet", "running": "busy"}


# States


@register.filter
def tone(state: object) -> str:
    """The tone (see `TONES`) of a state's word; a word that nobody declared is `unknown`, never `ok`."""
    word = str(getattr(state, "value", state) or "unknown").strip().lower().replace(" ", "_")
    return word if word in TONES else _TONE_OF.get(word, "unknown")


@register.filter
def answer_tone(answer: object) -> str:
    """The tone of a check's answer: pass, fail, inconclusive, pending or running."""
    return _ANSWERS.get(str(getattr(answer, "value", answer)).lower(), "unknown")


@register.filter
def message_tone(level: str) -> str:
    """The tone of a Django message level tag."""
    return {"success": "ok", "warning": "warn", "error": "bad"}.get(level, "busy")


@register.filter
def words(value: object) -> str:
    """A state's name as people write it: `pending_approval` becomes `pending approval`."""
    return str(getattr(value, "value", value) or "").replace("_", " ").replace("-", " ").strip()


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """One symbol of `static/icons.svg`. Without a label it is hidden from assistive technology."""
    href = f"{static('icons.svg')}#{name}"
    if label:
        return format_html('<svg class="icon" role="img" aria-label="{}"><use href="{}"></use></svg>', label, href)
    return format_html('<svg class="icon i-{}" aria-hidden="true"><use href="{}"></use></svg>', name, href)


@register.simple_tag
def tone_icon(state: object) -> SafeString:
    """The icon of a tone or of a state's word."""
    return icon(_ICONS[tone(state)])


@register.simple_tag
def severity_icon(severity: object) -> SafeString:
    """The shape of a severity, 1 (filled octagon) to 4 (outlined circle)."""
    return icon(f"sev-{severity}" if str(severity) in {"1", "2", "3", "4"} else "circle-dashed")


@register.filter
def action_words(action: object) -> str:
    """An audit action in words: `rollback.step.outcome` becomes `rollback step outcome`."""
    return str(action or "").replace(".", " ").replace("_", " ")


@register.filter
def action_icon(action: object) -> str:
    """The name of the icon for an audit action, by its longest known beginning."""
    parts = str(action or "").split(".")
    for length in range(len(parts), 0, -1):
        if found := _ACTION_ICONS.get(".".join(parts[:length])):
            return found
    return "circle"


@register.filter
def text(value: object) -> str:
    """A value as text, so that a template can compare version 1 with "1"."""
    return "" if value is None else str(value)


@register.filter
def of(names: dict[str, str], key: str) -> str:
    """What somebody is called; the key itself where nobody said."""
    return names.get(key, key)


def _get(step: Any, key: str) -> Any:
    return step.get(key) if isinstance(step, dict) else getattr(step, key, None)


@register.filter
def begun(steps: Sequence[Any]) -> list[Any]:
    """The steps of a lane that were begun."""
    return [step for step in steps if _get(step, "state") not in {"waiting", "skipped"}]


@register.filter
def not_begun(steps: Sequence[Any]) -> list[str]:
    """Names of the steps of a lane that were not begun."""
    return [_get(step, "name") for step in steps if _get(step, "state") in {"waiting", "skipped"}]


@register.simple_tag
def rail_text(steps: Sequence[Any]) -> str:
    """Text alternative of a lane: how many steps are done, and which is current or failed."""
    done = sum(_get(step, "state") == "done" for step in steps)
    now = [
        f"{_get(step, 'state')}: {_get(step, 'name')}"
        for step in steps
        if _get(step, "state") in {"current", "failed", "undone"}
    ]
    told = ngettext("%(done)s of %(count)s step done", "%(done)s of %(count)s steps done", len(steps))
    return ", ".join([told % {"done": done, "count": len(steps)}, *now])


@register.simple_tag(takes_context=True)
def nav_current(context: template.Context, path: str) -> SafeString:
    """The attribute that marks a navigation entry as the current one, or nothing."""
    request = context.get("request")
    here = request.path if request else ""
    current = here == path if path == "/" else here.startswith(path)
    return mark_safe(' aria-current="page"') if current else mark_safe("")


@register.filter
def role_names(user: Any) -> list[str]:
    """Names of the roles of a user; empty for one who has none or is not signed in."""
    roles = getattr(user, "role_names", None)
    if roles is None:
        return []
    return [words(role) for role in (roles() if callable(roles) else roles)]


# Charts and forms


@register.simple_tag
def figure_json(figure: object, chart_id: str) -> SafeString:
    """A chart's figure as `<script type="application/json">`: data, which a Content-Security-Policy lets stand."""
    return json_script(figure, f"{chart_id}-figure")


@register.simple_tag
def figure_csv(figure: Mapping[str, Any]) -> str:
    """A chart's points as a `data:` address to download: the very ones that are drawn, also of a figure that no address
    answers with again."""
    return f"data:text/csv;charset=utf-8,{quote(as_csv(figure))}"


@register.simple_tag
def script_texts() -> SafeString:
    """What the catalogue of the reader's language has of the texts of scripts, as data; nothing for English."""
    said = {text: gettext(text) for text in TEXTS if gettext(text) != text}
    return json_script(said, "said") if said else mark_safe("")


@register.filter
def is_check(field: BoundField) -> bool:
    """Whether a form field is a single check box, whose label stands behind it."""
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.simple_tag
def field_widget(field: BoundField) -> SafeString:
    """A field's input with the classes of its kind and, when it has errors, `aria-invalid`."""
    widget = field.field.widget
    if isinstance(widget, forms.CheckboxInput):
        kind = "form-check-input"
    elif isinstance(widget, (forms.RadioSelect, forms.CheckboxSelectMultiple)):
        return field.as_widget()
    else:
        kind = "form-select" if isinstance(widget, forms.Select) else "form-control"
    invalid = " is-invalid" if field.errors else ""
    return field.as_widget(attrs={"class": f"{widget.attrs.get('class', '')} {kind}{invalid}".strip()})
