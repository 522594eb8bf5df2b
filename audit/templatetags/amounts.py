"""Times, lengths of time, numbers and digests as people read them, and spark lines. They are loaded with `parts`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

register = template.Library()

NARROW_SPACE = "\u202f"
MINUS = "\u2212"
NOTHING = mark_safe("\u2013")


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
        return format_html('<span class="spark-none">{}</span>', _("no data"))
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
        text=label
        or _("from %(first)s to %(last)s") % {"first": number_filter(known[0]), "last": number_filter(known[-1])},
        limit="" if bound is None else format_html(line, SPARK_WIDTH, y(bound), y(bound)),
        lines=format_html_join(
            "",
            '<polyline points="{}"/>',
            ((" ".join(f"{px},{py}" for px, py in run),) for run in _runs(points) if len(run) > 1),
        ),
        x=last_x,
        y=last_y,
    )


@register.simple_tag
def bars(counts: Sequence[int], label: str) -> SafeString:
    """A distribution as inline SVG: a bar for each bin, as high as its share of the largest. `label` is its text
    alternative."""
    most, width = max([*counts, 1]), SPARK_WIDTH / max(1, len(counts))
    heights = [round(count / most * (SPARK_HEIGHT - 1), 1) for count in counts]
    return format_html(
        '<svg class="bars" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{text}">{rects}'
        '<line x1="0" x2="{w}" y1="{h}" y2="{h}"/></svg>',
        w=SPARK_WIDTH,
        h=SPARK_HEIGHT,
        text=label,
        rects=format_html_join(
            "",
            '<rect x="{}" y="{}" width="{}" height="{}"/>',
            (
                (round(index * width, 1), SPARK_HEIGHT - height, round(width - 1, 1), height)
                for index, height in enumerate(heights)
            ),
        ),
    )
