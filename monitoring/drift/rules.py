"""Run rules on a series of standardised points: Nelson's eight (1984) and Western Electric's four (1956).

Points are z = (x - centre) / sigma, shape (n,). NaN is a point without data; it breaks every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RuleHit:
    """One unbroken episode in which a rule held: `at` first completed it, `points` are all that make it."""

    rule: str
    meaning: str
    at: int
    points: tuple[int, ...]


@dataclass(frozen=True)
class _Rule:
    name: str
    meaning: str
    length: int
    find: Callable[[NDArray[np.float64], int], list[tuple[Mask, Mask]]]
    """Gives, for each side, where a run of `length` ends and which points may belong to it, both of shape (n,)."""


def nelson(z: ArrayLike, rules: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8)) -> list[RuleHit]:
    """Apply Nelson's rules, given by number, in the order of their first point. Raises KeyError for no such rule."""
    return _apply(z, [_NELSON[number] for number in rules])


def western_electric(z: ArrayLike, rules: Sequence[int] = (1, 2, 3, 4)) -> list[RuleHit]:
    """Apply the Western Electric zone rules, given by number. Raises KeyError for no such rule."""
    return _apply(z, [_WESTERN_ELECTRIC[number] for number in rules])


def _apply(z: ArrayLike, rules: Sequence[_Rule]) -> list[RuleHit]:
    series = np.asarray(z, dtype=np.float64)
    hits = []
    for rule in rules:
        for ends, members in rule.find(series, rule.length):
            hits.extend(_episodes(rule, np.flatnonzero(ends), members))
    return sorted(hits, key=lambda hit: (hit.at, hit.rule))


def _episodes(rule: _Rule, ends: NDArray[np.intp], members: Mask) -> list[RuleHit]:
    """Join runs that overlap or touch into one hit, so that a long shift is told once."""
    hits = []
    for group in np.split(ends, np.flatnonzero(np.diff(ends) > 1) + 1) if len(ends) else []:
        first, last = int(group[0]) - rule.length + 1, int(group[-1])
        points = tuple(int(i) for i in range(max(first, 0), last + 1) if members[i])
        hits.append(RuleHit(rule.name, rule.meaning, int(group[0]), points))
    return hits


def _count(mask: Mask, length: int) -> NDArray[np.int64]:
    """How many of the last `length` points are in the mask; zero where there are not that many yet."""
    counts = np.zeros(len(mask), dtype=np.int64)
    if len(mask) >= length:
        counts[length - 1 :] = sliding_window_view(mask, length).sum(axis=1)
    return counts


def _all_beyond(limit: float) -> Callable[[NDArray[np.float64], int], list[tuple[Mask, Mask]]]:
    """`length` points in a row beyond `limit` on one side."""

    def find(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
        return [(_count(side, length) == length, side) for side in (z > limit, z < -limit)]

    return find


def _most_beyond(limit: float) -> Callable[[NDArray[np.float64], int], list[tuple[Mask, Mask]]]:
    """All but one of `length` points in a row beyond `limit` on one side, the last of them among these."""

    def find(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
        known = _count(~np.isnan(z), length) == length
        return [((_count(side, length) >= length - 1) & side & known, side) for side in (z > limit, z < -limit)]

    return find


def _trend(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
    step = np.diff(z, prepend=np.nan)
    everything = np.ones(len(z), dtype=bool)
    return [(_count(side, length - 1) == length - 1, everything) for side in (step > 0, step < 0)]


def _alternating(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
    step = np.diff(z, prepend=np.nan)
    turns = np.zeros(len(z), dtype=bool)
    turns[1:] = np.sign(step[1:]) * np.sign(step[:-1]) < 0
    return [(_count(turns, length - 2) == length - 2, np.ones(len(z), dtype=bool))]


def _within(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
    inside = np.abs(z) < 1
    return [(_count(inside, length) == length, inside)]


def _outside(z: NDArray[np.float64], length: int) -> list[tuple[Mask, Mask]]:
    outside = np.abs(z) > 1
    both = (_count(z > 1, length) > 0) & (_count(z < -1, length) > 0)
    return [((_count(outside, length) == length) & both, outside)]


_NELSON = {
    1: _Rule("nelson-1", "1 point more than 3 sigma from the centre", 1, _all_beyond(3)),
    2: _Rule("nelson-2", "9 points in a row on one side of the centre", 9, _all_beyond(0)),
    3: _Rule("nelson-3", "6 points in a row rising, or falling", 6, _trend),
    4: _Rule("nelson-4", "14 points in a row alternating up and down", 14, _alternating),
    5: _Rule("nelson-5", "2 of 3 points more than 2 sigma out on one side", 3, _most_beyond(2)),
    6: _Rule("nelson-6", "4 of 5 points more than 1 sigma out on one side", 5, _most_beyond(1)),
    7: _Rule("nelson-7", "15 points in a row within 1 sigma of the centre", 15, _within),
    8: _Rule("nelson-8", "8 points in a row more than 1 sigma out, on both sides", 8, _outside),
}

_WESTERN_ELECTRIC = {
    1: _Rule("western-electric-1", "1 point more than 3 sigma from the centre", 1, _all_beyond(3)),
    2: _Rule("western-electric-2", "2 of 3 points more than 2 sigma out on one side", 3, _most_beyond(2)),
    3: _Rule("western-electric-3", "4 of 5 points more than 1 sigma out on one side", 5, _most_beyond(1)),
    4: _Rule("western-electric-4", "8 points in a row on one side of the centre", 8, _all_beyond(0)),
}
