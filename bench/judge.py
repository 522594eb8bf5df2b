"""How often a healthy canary fails and a sick one is found, by our judge and by Kayenta's rule on the same data.

``judge_false_alarm_phi0/05/08``: the most of RUNS pairs of equal series (mean 100, sd 5, autoregressive) of 10, 20, 30
and 60 intervals that fail, in percent; at most 7. ``judge_detection_sparse_errors``: of how many of 50 intervals with
an error a canary fails against a clean baseline; at most 5. ``judge_detection_shift_phi0``: in how many percent of
pairs of 30 intervals a shift of 5 % is found; at least as many as by Kayenta's rule. ``judge_detection_shift_phi05/08``
state the same where neighbours are alike, with how many are called inconclusive; what is found there is not held to a
target but to being above the false alarms.

Kayenta's rule is written here from its description: the two-sided Mann-Whitney test with tie-corrected sigma and
continuity correction, inverted by Brent's method (1e-4) to the Hodges-Lehmann estimate and its 98 % interval; high
where the interval lies above a quarter of the estimate, low where below, and the ratio of the means agrees (one whose
control's mean is 0 is ignored). RUNS=200 makes it quick. The seed is fixed: two runs print the same figures.
"""

import os
import sys
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from bench.report import machine, report
from monitoring.judging.counts import error_intervals
from monitoring.judging.series import Level

RUNS = int(os.environ.get("RUNS", "1000"))
LENGTHS = (10, 20, 30, 60)
PHIS = {"phi0": 0.0, "phi05": 0.5, "phi08": 0.8}
MEAN, SD, SHIFT = 100.0, 5.0, 5.0
MOST_FALSE_ALARMS = 7.0
KAYENTA_CONFIDENCE = 0.98
BRENT = 1e-4


def main() -> int:
    on = machine()
    met = True
    false = {}
    for number, (name, phi) in enumerate(PHIS.items()):
        ours, theirs, _ = tried(phi, 0.0, LENGTHS, seed=100 + number)
        false[name] = ours[30]
        peers = {"Kayenta's rule": max(theirs.values()), "by length": ours, "Kayenta's rule by length": theirs}
        met &= report(
            f"judge_false_alarm_{name}", max(ours.values()), "%", MOST_FALSE_ALARMS, at_least=False, on=on, peers=peers
        )
    theirs_fail = first_found(lambda errors: kayenta(np.zeros(50), errors) != "Pass")
    first = first_found(lambda errors: error_intervals(np.zeros(50), errors).judge().answer == "fail")
    peers = {"Kayenta's rule": theirs_fail}
    met &= report("judge_detection_sparse_errors", first, "of 50", 5, at_least=False, on=on, peers=peers)
    for number, (name, phi) in enumerate(PHIS.items()):
        ours, theirs, unsure = tried(phi, SHIFT, LENGTHS, seed=200 + number)
        least = theirs[30] if phi == 0 else false[name]
        peers = {
            "Kayenta's rule": theirs[30],
            "by length": ours,
            "Kayenta's rule by length": theirs,
            "inconclusive by length": unsure,
        }
        met &= report(f"judge_detection_shift_{name}", ours[30], "%", least, at_least=True, on=on, peers=peers)
    return 0 if met else 1


def tried(
    phi: float, shift: float, lengths: tuple[int, ...], *, seed: int
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """By length, in percent of RUNS: what fails by our judge, by Kayenta's rule, and is inconclusive by ours."""
    rng = np.random.default_rng(seed)
    ours, theirs, unsure = {}, {}, {}
    for n in lengths:
        baseline, canary = MEAN + SD * series(rng, phi, n), MEAN + SD * series(rng, phi, n) + shift
        answers = [Level("metric", a, b).judge().answer for a, b in zip(baseline, canary, strict=True)]
        ours[n] = percent(answers.count("fail"))
        unsure[n] = percent(answers.count("inconclusive"))
        theirs[n] = percent(sum(kayenta(a, b) != "Pass" for a, b in zip(baseline, canary, strict=True)))
    return ours, theirs, unsure


def series(rng: np.random.Generator, phi: float, n: int) -> np.ndarray:
    """RUNS stationary first-order autoregressions of unit variance, shape (RUNS, n)."""
    values = rng.normal(size=(RUNS, n))
    for t in range(1, n):
        values[:, t] = phi * values[:, t - 1] + np.sqrt(1 - phi * phi) * values[:, t]
    return values


def first_found(found: Callable[[np.ndarray], bool]) -> int:
    """The least number of 50 intervals with one error, spread evenly, from which on every number is found."""
    found_at = [found(with_errors(count)) for count in range(51)]
    return max((count for count, seen in enumerate(found_at) if not seen), default=-1) + 1


def with_errors(count: int) -> np.ndarray:
    errors = np.zeros(50)
    errors[np.linspace(0, 49, count).round().astype(int)] = 1
    return errors


def percent(count: int) -> float:
    return round(100 * count / RUNS, 1)


def kayenta(control: np.ndarray, experiment: np.ndarray) -> str:
    """Pass, High or Low, with the rule's defaults: direction either, nothing removed, any ratio of means but 1."""
    if np.array_equal(control, experiment):
        return "Pass"
    if np.ptp(control) == 0 and np.ptp(experiment) == 0:
        rng = np.random.default_rng(0)
        control, experiment = (values + rng.normal(0, 1e-5, len(values)) for values in (control, experiment))
    low, estimate, high = mann_whitney(experiment, control)
    ratio = experiment.mean() / control.mean() if control.mean() and experiment.mean() else np.nan
    bound = 0.25 * abs(estimate)
    if low > bound and not ratio < 1:
        return "High"
    if high < -bound and not ratio > 1:
        return "Low"
    return "Pass"


def mann_whitney(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """The 98 % interval's lower end, the Hodges-Lehmann estimate of x - y, and the upper end."""
    least, most = float(x.min() - y.max()), float(x.max() - y.min())
    quantile = float(special.ndtri(0.5 + KAYENTA_CONFIDENCE / 2))

    def root(target: float, corrected: bool) -> float:
        def distance(shift: float) -> float:
            return standardised(x - shift, y, corrected) - target

        at_least, at_most = distance(least), distance(most)
        if at_least <= 0:
            return least
        if at_most >= 0:
            return most
        return float(optimize.brentq(distance, least, most, xtol=BRENT))

    return root(quantile, True), root(0.0, False), root(-quantile, True)


def standardised(x: np.ndarray, y: np.ndarray, corrected: bool) -> float:
    """Mann-Whitney's U of x over y less its mean, in standard deviations that know of ties."""
    n, m = len(x), len(y)
    difference = np.sign(x[:, None] - y[None, :]).sum() / 2
    _, ties = np.unique(np.concatenate([x, y]), return_counts=True)
    variance = n * m / 12 * (n + m + 1 - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 0.0
    return float((difference - (np.sign(difference) * 0.5 if corrected else 0.0)) / np.sqrt(variance))


if __name__ == "__main__":
    sys.exit(main())
