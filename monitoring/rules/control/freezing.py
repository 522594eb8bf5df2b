"""Phase 1 of a control chart: its limits, frozen from the period that a person says was stable."""

from datetime import datetime
from typing import Any

import numpy as np
from django.utils.translation import gettext

from monitoring.drift.control import freeze, individuals_sigma
from monitoring.rules.bins import SECOND, Bins, Integers
from monitoring.rules.conditions import moments
from monitoring.rules.control.judging import counts, singles, subgroups
from monitoring.rules.control.params import COUNTED, LEAST_POINTS, SUBGROUPS, WITHOUT_RUNS, ControlChart, chart_of
from monitoring.rules.fields import UnfitRule
from monitoring.rules.models import AlertRule
from monitoring.rules.reading import microseconds, read
from monitoring.rules.spec import Spec, spec_of


def frozen(rule: AlertRule, since: datetime, until: datetime) -> dict[str, Any]:
    """The limits of a rule whose params hold the settings of its chart: `points`, `centre`, and `sigma` of one value,
    or `sample`, the mean size of a window, where rows are counted. Raises UnfitRule for a period that gives none."""
    spec = spec_of(rule)
    at = moments(spec, microseconds(since), microseconds(until))
    _enough(rule, len(at))
    bins = read(rule, [None], [(int(at[0]) - rule.window_seconds * SECOND, int(at[-1]))])[None]
    chart = chart_of(rule.params)
    how = _of_counts if chart in COUNTED else _of_subgroups if chart in SUBGROUPS else _of_singles
    limits = how(rule, spec, bins, at)
    if limits.get("sigma") == 0 and chart in WITHOUT_RUNS:
        raise UnfitRule(gettext("The value never changed in the stable period, so it has no sigma. Name another one."))
    return limits


def _enough(rule: AlertRule, known: int) -> None:
    if known < LEAST_POINTS:
        raise UnfitRule(
            gettext("The stable period has %(known)s points of %(metric)s; limits need %(least)s. Name a longer one.")
            % {"known": known, "metric": rule.metric, "least": LEAST_POINTS}
        )


def _of_singles(rule: AlertRule, spec: Spec, bins: Bins, at: Integers) -> dict[str, Any]:
    """Sigma is the mean moving range / 1.128."""
    values = singles(spec, bins, at)
    known = int(np.count_nonzero(~np.isnan(values)))
    _enough(rule, known)
    try:
        sigma = individuals_sigma(values)
    except ValueError as error:
        raise UnfitRule(gettext("The stable period has no two points in a row. Name another one.")) from error
    return {"centre": float(np.nanmean(values)), "sigma": sigma, "points": known}


def _of_subgroups(rule: AlertRule, spec: Spec, bins: Bins, at: Integers) -> dict[str, Any]:
    """Sigma is the mean standard deviation of whole subgroups / c4."""
    groups = subgroups(spec, bins, at)
    whole = groups[~np.isnan(groups).any(axis=1)]
    _enough(rule, len(whole))
    limits = freeze(whole)
    return {"centre": limits.centre, "sigma": limits.sigma, "points": len(whole)}


def _of_counts(rule: AlertRule, spec: Spec, bins: Bins, at: Integers) -> dict[str, Any]:
    """The centre is all that was counted, of all rows or units."""
    counted, sizes = counts(spec, bins, at)
    known = sizes > 0
    _enough(rule, int(np.count_nonzero(known)))
    counted, sizes = counted[known], sizes[known]
    share = chart_of(rule.params) == ControlChart.P
    if np.any(counted < 0) or (share and np.any(counted > sizes * (1 + 1e-9))):
        raise UnfitRule(
            gettext("%(metric)s is no share of rows: a p-chart needs values from 0 to 1.") % {"metric": rule.metric}
            if share
            else gettext("%(metric)s is below 0 at times: a u-chart needs counts.") % {"metric": rule.metric}
        )
    centre = float(counted.sum() / sizes.sum())
    if centre == 0 or (share and centre == 1):
        raise UnfitRule(gettext("All rows of the stable period were alike, so no limits follow. Name a longer one."))
    return {"centre": centre, "sample": float(sizes.mean()), "points": int(np.count_nonzero(known))}
