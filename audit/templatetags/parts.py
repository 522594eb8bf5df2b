"""Tags and filters behind `templates/parts/`: states as tone and icon, times, numbers, durations, spark lines.

They live on the lowest floor so that every app's templates may load them (`{% load parts %}`). Nothing here reads the
database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms, template
from django.forms import BoundField
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

register = template.Library()

NARROW_SPACE = "\u202f"
MINUS = "\u2212"
NOTHING = mark_safe("\u2013")

TONES = ("ok", "warn", "bad", "busy", "unknown", "quiet")
_STATES = {
    "ok": """
        operational pass passed ok success succeeded done ready serving healthy verified approved approve granted
        filled resolved active good last-good last_good eligible golden_ok postcheck_ok switched live in_control
        stable anchored processed judged published
        notified justified confirmed
        in_service
        completed sent taken
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
        dismissed scheduled overtaken
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


# Times


@register.simple_tag
def server_time_ms() -> int:
    """The server's clock in milliseconds since the epoch; scripts correct the browser's clock by it."""
    return int(timezone.now().timestamp() * 1000)


def _moment(value: object) -> datetime | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def in_words(seconds: float) -> str:
    """A length of time in one unit, rounded down, as in "3 min": never more precise than a person reads it."""
    seconds = abs(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)}{NARROW_SPACE}{unit}"
    return f"{int(seconds)}{NARROW_SPACE}s"


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def exact_utc(moment: datetime) -> str:
    """`14:05:09 UTC`, with the date in front when it is not today's."""
    same_day = moment.date() == timezone.now().astimezone(UTC).date()
    return moment.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M:%S UTC")


@register.filter
def since(value: object) -> SafeString:
    """A `<time>`: relative, with the exact time in UTC beside it. Takes a datetime, ISO text or epoch seconds."""
    moment = _moment(value)
    if moment is None:
        return NOTHING
    seconds = (timezone.now() - moment).total_seconds()
    if -1 < seconds < 1:
        relative = _("just now")
    else:
        relative = (_("in %(time)s") if seconds < 0 else _("%(time)s ago")) % {"time": in_words(seconds)}
    return format_html(
        '<time class="since" datetime="{}" title="{}">'
        '<span data-relative>{}</span> <span class="exact">{}</span></time>',
        moment.isoformat(timespec="milliseconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
        relative,
        exact_utc(moment),
    )


@register.filter
def at(value: object) -> SafeString:
    """A `<time>` with the exact UTC only."""
    moment = _moment(value)
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="at" datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
        exact_utc(moment),
    )


@register.filter
def iso(value: object) -> str:
    """ISO 8601 with milliseconds in UTC; empty where there is no time."""
    moment = _moment(value)
    return moment.isoformat(timespec="milliseconds") if moment else ""


@register.filter
def until(value: object) -> str:
    """Time left until a moment as `4:09` or `1:02:33`; `0:00` when it has passed."""
    moment = _moment(value)
    if moment is None:
        return NOTHING
    return _clock(max(0, math.ceil((moment - timezone.now()).total_seconds())))


@register.filter
def elapsed(value: object) -> str:
    """Time gone since a moment as `2:31` or `1:02:31`."""
    moment = _moment(value)
    return NOTHING if moment is None else _clock(max(0, int((timezone.now() - moment).total_seconds())))


@register.filter
def duration(value: object) -> str:
    """Seconds or a timedelta as `840 ms`, `2.4 s`, `3 min 12 s` or `2 h 05 min`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if seconds is None:
        return NOTHING
    sp = NARROW_SPACE
    sign, seconds = (MINUS, -seconds) if seconds < 0 else ("", seconds)
    if seconds < 0.9995:
        return f"{sign}{seconds * 1000:.0f}{sp}ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.1f}{sp}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{sign}{whole // 60}{sp}min {whole % 60}{sp}s"
    if whole < 86400:
        return f"{sign}{whole // 3600}{sp}h {whole % 3600 // 60:02}{sp}min"
    return f"{sign}{whole // 86400}{sp}d {whole % 86400 // 3600}{sp}h"


# Numbers


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@register.filter(name="number")
def number_filter(value: object, places: object = None) -> str:
    """A number with thin spaces between thousands and a true minus.

    `places` fixes the decimals; without it there are as few as an exact value needs, at most 3.
    """
    number = _number(value)
    if number is None:
        return NOTHING
    if places is not None:
        text = f"{abs(number):,.{int(str(places))}f}"
    elif isinstance(value, (int, Decimal)) and number == int(number):
        text = f"{abs(int(value)):,}"
    else:
        text = f"{abs(number):,.3f}".rstrip("0").rstrip(".")
    negative = number < 0 and text.strip("0.,") != ""
    return (MINUS if negative else "") + text.replace(",", NARROW_SPACE)


@register.filter
def percent(value: object, places: object = 1) -> str:
    """A share (0.734) as a percentage (`73.4 %`)."""
    number = _number(value)
    return NOTHING if number is None else f"{number_filter(number * 100, places)}{NARROW_SPACE}%"


@register.filter
def signed(value: object, places: object = 1) -> str:
    """A number that always shows its sign, for differences."""
    number = _number(value)
    if number is None:
        return NOTHING
    text = number_filter(number, places)
    return text if number < 0 or not text.strip("0.") else f"+{text}"


@register.filter
def filesize_short(value: object) -> str:
    """Bytes in binary units: `1.4 GiB`."""
    number = _number(value)
    if number is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number_filter(number, 0 if unit == 'B' else 1)}{NARROW_SPACE}{unit}"
        number /= 1024
    return f"{number_filter(number, 1)}{NARROW_SPACE}TiB"


@register.filter
def digest(value: object, length: object = 8) -> str:
    """The first characters of a digest (8 unless told), without its `sha256:`."""
    whole = str(value or "").removeprefix("sha256:")
    return whole[: int(str(length or 8))] if whole else NOTHING


# Spark lines

SPARK_WIDTH, SPARK_HEIGHT, SPARK_PAD = 120, 28, 3


def _runs(points: Sequence[tuple[float, float] | None]) -> Iterable[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for point in points:
        if point is None:
            if run:
                yield run
            run = []
        else:
            run.append(point)
    if run:
        yield run


@register.simple_tag
def spark(values: Sequence[object] | None, limit: object = None, label: str = "") -> SafeString:
    """A spark line as inline SVG: a missing value is a gap, `limit` a dashed line, the last value a dot.

    `label` is its text alternative.
    """
    numbers = [_number(value) for value in values or []]
    known = [number for number in numbers if number is not None]
    if not known:
        return mark_safe('<span class="spark-none">no data</span>')
    bound = _number(limit)
    scale = [*known, *([] if bound is None else [bound])]
    low, spread = min(scale), (max(scale) - min(scale)) or 1.0

    def y(number: float) -> float:
        return round(SPARK_HEIGHT - SPARK_PAD - (number - low) / spread * (SPARK_HEIGHT - 2 * SPARK_PAD), 1)

    step = (SPARK_WIDTH - 2 * SPARK_PAD) / max(1, len(numbers) - 1)
    points = [None if n is None else (round(SPARK_PAD + i * step, 1), y(n)) for i, n in enumerate(numbers)]
    last_x, last_y = next(point for point in reversed(points) if point is not None)
    line = '<line class="spark-limit" x1="0" x2="{}" y1="{}" y2="{}"/>'
    return format_html(
        '<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'aria-label="{text}">{limit}{lines}<circle cx="{x}" cy="{y}" r="2"/></svg>',
        width=SPARK_WIDTH,
        height=SPARK_HEIGHT,
        text=label or f"from {number_filter(known[0])} to {number_filter(known[-1])}",
        limit="" if bound is None else format_html(line, SPARK_WIDTH, y(bound), y(bound)),
        lines=format_html_join(
            "",
            '<polyline points="{}"/>',
            ((" ".join(f"{px},{py}" for px, py in run),) for run in _runs(points) if len(run) > 1),
        ),
        x=last_x,
        y=last_y,
    )


# Charts and forms


@register.simple_tag
def figure_json(figure: object, chart_id: str) -> SafeString:
    """A chart's figure as `<script type="application/json">`: data, which a Content-Security-Policy lets stand."""
    return json_script(figure, f"{chart_id}-figure")


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
