"""Judging a span at once says what judging it moment by moment says, whatever the series, the rule and the pieces."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.rules.bins import DAY, HOUR, MINUTE, SECOND, bins_of
from monitoring.rules.conditions import judge, moments, needed
from monitoring.rules.machine import Standing, follow
from monitoring.rules.spec import Spec

START = 1_760_000_400 * SECOND // HOUR * HOUR
MINUTES = 90

FROZEN = {"centre": st.just(4.0), "sigma": st.just(1.5), "points": st.just(30)}
RUNS = {
    "runs": st.sampled_from(["nelson", "western-electric"]), "numbers": st.sampled_from([[1], [1, 2, 3, 4]]), **FROZEN,
}  # fmt: skip

KINDS = {
    "static": st.fixed_dictionaries({
        "direction": st.sampled_from(["above", "below"]), "limit": st.just(5.0), "clear": st.just(5.0),
    }),
    "burn": st.fixed_dictionaries({
        "objective": st.just(0.5), "long_seconds": st.sampled_from([600, 1200]), "factor": st.sampled_from([2.0, 8.0]),
        "clear_factor": st.just(2.0), "counts": st.just("bad"),
    }),
    "control": st.one_of(
        st.fixed_dictionaries({"chart": st.sampled_from(["individuals", "xbar", "s"]), **RUNS}),
        st.fixed_dictionaries({"chart": st.sampled_from(["p", "u"]), **RUNS, "centre": st.just(0.4)}),
        st.fixed_dictionaries({"chart": st.just("ewma"), "weight": st.sampled_from([0.2, 1.0]), "width": st.just(2.0),
                               **FROZEN}),
        st.fixed_dictionaries({"chart": st.just("cusum"), "k": st.just(0.5), "h": st.sampled_from([1.0, 4.0]),
                               **FROZEN}),
    ),
    "seasonal": st.fixed_dictionaries({
        "direction": st.sampled_from(["both", "above"]), "weeks": st.just(2), "factor": st.just(2.0),
        "clear_factor": st.just(1.0), "floor": st.just(0.5),
    }),
}  # fmt: skip


@st.composite
def rules(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    params = draw(KINDS[kind])
    subgroups = params.get("chart") in ("xbar", "s")
    lengths = st.sampled_from([0, MINUTE, 4 * MINUTE])
    return Spec(
        kind=kind,
        params=params | ({"size": 3} if subgroups else {}),
        reduce=draw(st.sampled_from(["mean", "sum", "low", "high"])),
        window=3 * MINUTE if subgroups else draw(st.sampled_from([MINUTE, 3 * MINUTE, 5 * MINUTE])),
        hold=draw(lengths),
        clear=draw(lengths),
        no_data_after=draw(st.sampled_from([None, 3 * MINUTE])),
    )


values = st.floats(0, 10, width=32).map(float)


@st.composite
def histories(draw, spec):
    """Bins of some of the minutes that the rule looks at, thinly before the span and thickly in it."""
    rows = []
    for index in sorted(draw(st.sets(st.integers(1, MINUTES), max_size=MINUTES))):
        rows.append((START + index * MINUTE, draw(values), draw(st.integers(1, 50))))
    if spec.kind == "seasonal":
        for week in (1, 2):
            for index in sorted(draw(st.sets(st.integers(1, 120), min_size=20, max_size=40))):
                rows.append((START - week * 7 * DAY + index * MINUTE, draw(values), 1))
    return bins_of([(at, 1, n, value, value * n, value, value) for at, value, n in rows])


def seen(bins, spans):
    """Only what the spans hold, as reading them from the database gives it."""
    rows = [
        row for row in zip(*(column.tolist() for column in bins), strict=True) if any(a < row[0] <= b for a, b in spans)
    ]
    return bins_of(rows)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_preview_says_what_judging_piece_by_piece_would_have_said(data):
    spec = data.draw(rules())
    bins = data.draw(histories(spec))
    at = moments(spec, START, START + MINUTES * MINUTE)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(at)), max_size=6)) | {0, len(at)})

    whole = judge(spec, seen(bins, needed(spec, int(at[0]), int(at[-1]))), at)
    standing, changes = follow(spec, Standing(), whole)

    stepped, told, index = Standing(), [], []
    for first, after in pairwise(cuts):
        piece = at[first:after]
        read = seen(bins, needed(spec, int(piece[0]), int(piece[-1])))
        judged = judge(spec, read, piece)
        stepped, found = follow(spec, stepped, judged)
        told += [(one.what, one.at, one.since) for one in found]
        index += judged.condition.tolist()

    assert index == whole.condition.tolist()
    assert told == [(one.what, one.at, one.since) for one in changes]
    assert stepped == standing
