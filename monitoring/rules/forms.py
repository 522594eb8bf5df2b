"""What is asked of a person who writes a rule, or silences alerts."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from monitoring.rules import queries
from monitoring.rules.control.params import COUNTED, WITHOUT_RUNS, ControlChart
from monitoring.rules.models import AlertRule, AlertRuleKind, NoData, Reduce, Scope, Subject
from monitoring.rules.spec import BURNS
from registry.models import Endpoint

FINDING = "finding:"
DAYS = ((1, _("the last day")), (7, _("the last 7 days")), (30, _("the last 30 days")))


def _number(label: str, help_text: str = "", **more: Any) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=help_text, widget=forms.NumberInput(attrs={"step": "any"}), **more)


def _minutes(label: str, initial: int, help_text: str = "", least: int = 0) -> forms.IntegerField:
    return forms.IntegerField(label=label, initial=initial, min_value=least, max_value=10_080, help_text=help_text)


def _choice(label: str, choices: Any, help_text: str = "") -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=choices, help_text=help_text)


class RuleForm(forms.Form):
    """The fields that rules of every kind have; lengths are minutes here. `KINDS` below add their own, and of a control
    chart those of its `chart`."""

    kind: str
    name = forms.CharField(max_length=100, label=_("Name"), help_text=_("It stands first in what people are told."))
    metric = forms.ChoiceField(
        label=_("About"), help_text=_("A metric of the endpoint, or the value of a detector's findings.")
    )
    column = forms.CharField(
        max_length=200,
        required=False,
        label=_("Column"),
        help_text=_("Of a metric that has one, such as psi: the input's name."),
    )
    version = forms.CharField(max_length=40, required=False, label=_("Version"), help_text=_("Empty: all together."))
    scope = _choice(_("Judged for"), Scope.choices)
    reduce = _choice(_("Values of a window come to their"), Reduce.choices)
    window = _minutes(_("Window, minutes"), 5, _("The values of so many minutes are taken together."), 1)
    hold = _minutes(_("Fires after, minutes beyond the limit"), 5)
    clear_after = _minutes(_("Ends after, minutes within it"), 10)
    no_data = _choice(
        _("When nothing comes"), NoData.choices, _("No data never counts as well; the rule then stands at: no data.")
    )
    no_data_after = _minutes(_("An alert for no data after, minutes"), 15, least=1)
    severity = _choice(_("Severity"), [(n, f"SEV {n}") for n in (1, 2, 3, 4)])
    means_host_down = forms.BooleanField(
        required=False,
        label=_("It says that the host is down"),
        help_text=_("Other alerts of that host then hang below this one, and nobody is told of each."),
    )

    def __init__(self, *args: Any, endpoint: Endpoint, kind: str, chart: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.endpoint, self.kind = endpoint, kind
        self.chart = ControlChart(chart or ControlChart.INDIVIDUALS) if kind == AlertRuleKind.CONTROL else None
        names = queries.metrics_of(endpoint)
        self.fields["metric"].choices = [  # type: ignore[attr-defined]
            (_("Metrics"), [(name, name) for name in names]),
            (_("Findings"), [(f"{FINDING}{name}", label) for name, label in queries.detectors()]),
        ]
        own = _control(self.chart) if self.chart else KINDS[kind]()
        shared = {name: self.fields.pop(name) for name in list(self.fields)}
        if self.chart:
            # The limits come from one series, and of counted rows nothing but their share can be plotted.
            for name in ("scope", "means_host_down", *(("reduce",) if self.chart in COUNTED else ())):
                del shared[name]
        for name in ("name", "metric", "column", "version", "scope"):
            if name in shared:
                self.fields[name] = shared.pop(name)
        self.fields.update(own)
        if "per" in own:
            own["per"].choices = [("", _("the rows behind each value")), *((name, name) for name in names)]  # type: ignore[attr-defined]
        self.fields.update(shared)
        self.initial.setdefault("severity", 3)

    @property
    def asked(self) -> str:
        """The choice that this form is of, as `kind_of` takes it."""
        return f"{self.kind}:{self.chart}" if self.chart else self.kind

    @property
    def shown(self) -> Any:
        """The same in words."""
        return self.chart.label if self.chart else AlertRuleKind(self.kind).label

    def said(self) -> dict[str, Any]:
        """The fields of the rule that a valid form describes."""
        given = self.cleaned_data
        metric = given["metric"]
        is_finding = metric.startswith(FINDING)
        return {
            "name": given["name"],
            "subject": Subject.FINDING if is_finding else Subject.METRIC,
            "metric": metric.removeprefix(FINDING),
            "column": given["column"],
            "version": given["version"],
            "scope": given.get("scope", Scope.ENDPOINT),
            "kind": self.kind,
            "params": _control_params(self.chart, given) if self.chart else _PARAMS[self.kind](given),
            "reduce": given.get("reduce", Reduce.MEAN),
            "window_seconds": 60 * given["window"],
            "for_seconds": 60 * given["hold"],
            "clear_seconds": 60 * given["clear_after"],
            "no_data": given["no_data"],
            "no_data_seconds": 60 * given["no_data_after"],
            "severity": int(given["severity"]),
            "means_host_down": given.get("means_host_down", False),
        }


def initial_of(rule: AlertRule) -> dict[str, Any]:
    """A rule as its form shows it."""
    prefix = FINDING if rule.subject == Subject.FINDING else ""
    lengths = {"window": "window", "hold": "for", "clear_after": "clear", "no_data_after": "no_data"}
    shown = {name: getattr(rule, f"{field}_seconds") // 60 for name, field in lengths.items()}
    same = ("name", "column", "version", "scope", "reduce", "no_data", "severity", "means_host_down")
    params = dict(rule.params)
    if rule.kind == AlertRuleKind.BURN:
        params |= {"objective": round(100 * params["objective"], 6), "long": int(params["long_seconds"]) // 60}
    if "numbers" in params:
        params |= {"numbers": ", ".join(str(number) for number in params["numbers"])}
    return {**{name: getattr(rule, name) for name in same}, "metric": f"{prefix}{rule.metric}", **shown, **params}


SIDES = [("above", _("Above the limit")), ("below", _("Below the limit"))]


def _static() -> dict[str, forms.Field]:
    return {
        "direction": _choice(_("Beyond is"), SIDES),
        "limit": _number(_("Limit")),
        "clear": _number(
            _("Clear limit"), _("Over only when it is no longer beyond this. Empty: the limit."), required=False
        ),
    }


def _seasonal() -> dict[str, forms.Field]:
    return {
        "direction": _choice(
            _("Beyond is"), [("both", _("Above or below")), ("above", _("Above")), ("below", _("Below"))]
        ),
        "weeks": forms.IntegerField(label=_("Weeks to compare with"), initial=4, min_value=2, max_value=8),
        "factor": _number(
            _("Deviations"), _("From the median; a deviation is 1.4826 times the median absolute one."), initial=4
        ),
        "floor": _number(_("At least"), _("In the metric's unit: a smaller difference is never beyond."), min_value=0),
    }


def _burn() -> dict[str, forms.Field]:
    page = BURNS["page-fast"]
    stated = "; ".join(
        gettext("%(factor)s over %(long_seconds)s and %(short_seconds)s min")
        % {
            "factor": f"{one['factor']:g}",
            "long_seconds": one["long_seconds"] // 60,
            "short_seconds": one["short_seconds"] // 60,
        }
        for one in BURNS.values()
    )
    return {
        "objective": _number(_("Objective, %"), _("The share that should go right, such as 99.9."), initial=99.9),
        "counts": _choice(_("The metric is the share that went"), [("bad", _("Wrong")), ("good", _("Right"))]),
        "long": _minutes(_("Long window, minutes"), int(page["long_seconds"]) // 60, least=2),
        "factor": _number(
            _("Burn rate"),
            _("The Site Reliability Workbook's: %(stated)s.") % {"stated": stated},
            initial=page["factor"],
        ),
    }


def _control(chart: ControlChart) -> dict[str, forms.Field]:
    when = _("As 2026-11-01T00:00+00:00. The limits are frozen from it.")
    return {
        **_SETTINGS.get(chart, dict)(),
        **({} if chart in WITHOUT_RUNS else _run_rules()),
        "since": forms.CharField(max_length=40, label=_("It was stable from"), help_text=when),
        "until": forms.CharField(max_length=40, label=_("until")),
    }


def _run_rules() -> dict[str, forms.Field]:
    return {
        "runs": _choice(
            _("Rules of"), [("nelson", _("Nelson (1 to 8)")), ("western-electric", _("Western Electric (1 to 4)"))]
        ),
        "numbers": forms.CharField(
            max_length=40,
            label=_("By number"),
            initial="1, 2, 3",
            help_text=_("1 is a point beyond 3 sigma; each further rule finds more and raises more false alarms."),
        ),
    }


def _subgroup() -> dict[str, forms.Field]:
    return {
        "size": forms.IntegerField(
            label=_("Values of a subgroup"),
            initial=5,
            min_value=2,
            max_value=60,
            help_text=_("The window is cut into so many parts of whole minutes, and each part comes to one value."),
        )
    }


def _per() -> dict[str, forms.Field]:
    units = _choice(
        _("Per"), (), _("The metric that counts the units, as requests_per_second for failures_per_second.")
    )
    units.required = False
    return {"per": units}


def _ewma() -> dict[str, forms.Field]:
    return {
        "weight": _number(
            _("Weight of the newest point"), _("0.05 to 1: a smaller one finds smaller shifts, later."), initial=0.2
        ),
        "width": _number(_("Limits, sigmas of the average"), initial=2.962),
    }


def _cusum() -> dict[str, forms.Field]:
    return {
        "k": _number(_("Slack k, sigmas"), _("Half of the shift that is to be found."), initial=0.5),
        "h": _number(_("Limit h, sigmas"), _("5 has one false alarm in 465 points, 4 one in 168."), initial=5),
    }


_SETTINGS: dict[ControlChart, Callable[[], dict[str, forms.Field]]] = {
    ControlChart.XBAR: _subgroup,
    ControlChart.S: _subgroup,
    ControlChart.U: _per,
    ControlChart.EWMA: _ewma,
    ControlChart.CUSUM: _cusum,
}


KINDS = {
    AlertRuleKind.STATIC: _static,
    AlertRuleKind.SEASONAL: _seasonal,
    AlertRuleKind.BURN: _burn,
}


def _burn_params(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "objective": round(given["objective"] / 100, 9),
        "counts": given["counts"],
        "long_seconds": 60 * given["long"],
        "factor": given["factor"],
    }


def _control_params(chart: ControlChart, given: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: given[name] for name in ("since", "until", *_SETTINGS.get(chart, dict)())}
    if chart not in WITHOUT_RUNS:
        words = given["numbers"].replace(",", " ").split()
        numbers = [int(word) for word in words if word.isdecimal()] if all(w.isdecimal() for w in words) else []
        own |= {"runs": given["runs"], "numbers": numbers}
    return {"chart": chart.value, **own}


def _given(*names: str) -> Any:
    return lambda given: {name: given[name] for name in names if given[name] is not None}


_PARAMS = {
    AlertRuleKind.STATIC: _given("direction", "limit", "clear"),
    AlertRuleKind.SEASONAL: _given("direction", "weeks", "factor", "floor"),
    AlertRuleKind.BURN: _burn_params,
}


def kind_choices() -> dict[str, list[tuple[str, Any]]]:
    """What a person can write a rule of: `kinds`, and `charts`, each control chart as control:<chart>."""
    charts = [(f"{AlertRuleKind.CONTROL}:{chart}", label) for chart, label in ControlChart.choices]
    return {"kinds": [(kind.value, kind.label) for kind in KINDS], "charts": charts}


def kind_of(asked: str) -> tuple[AlertRuleKind, str]:
    """The kind that a choice names and, of a control chart, which; a static rule for what is no choice."""
    kind, _sign, chart = asked.partition(":")
    if kind == AlertRuleKind.CONTROL:
        return AlertRuleKind.CONTROL, chart if chart in ControlChart.values else ControlChart.INDIVIDUALS.value
    return (AlertRuleKind(kind) if kind in KINDS else AlertRuleKind.STATIC), ""


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=2000, label=_("Why?"), help_text=_("It goes on record."))


class SilenceForm(forms.Form):
    endpoint = forms.CharField(max_length=50, required=False, label=_("Endpoint"))
    host = forms.CharField(max_length=50, required=False, label=_("Host"))
    rule = forms.CharField(
        max_length=100, required=False, label=_("Rule"), help_text=_("Its name, or accuracy, latency, …")
    )
    label = forms.CharField(
        max_length=200,
        required=False,
        label=_("A sender's label"),
        help_text=_("As alertname=DiskFull; several with commas."),
    )
    hours = forms.FloatField(label=_("For, hours"), initial=2, min_value=0.1, max_value=720)
    reason = forms.CharField(
        max_length=500, label=_("Why?"), help_text=_("It is shown beside each alert and goes on record.")
    )

    def clean_label(self) -> dict[str, str]:
        parts = [part.partition("=") for part in self.cleaned_data["label"].split(",") if part.strip()]
        if any(not sign or not name.strip() or not value.strip() for name, sign, value in parts):
            raise forms.ValidationError(
                _("Write a label as its name, an equals sign and its value, as alertname=DiskFull.")
            )
        return {name.strip(): value.strip() for name, _, value in parts}

    def matchers(self) -> dict[str, str]:
        """What the silence names."""
        own = {name: self.cleaned_data[name] for name in ("endpoint", "host", "rule") if self.cleaned_data[name]}
        return {**self.cleaned_data["label"], **own}

    def length(self) -> timedelta:
        """How long it lasts."""
        return timedelta(hours=self.cleaned_data["hours"])
