"""Rules that people write over metrics and findings, where each of them stands, and silences."""

from functools import reduce
from operator import or_

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from registry.models import Endpoint, Host, Model


class AlertRuleKind(models.TextChoices):
    STATIC = "static", _("Above or below a limit")
    SEASONAL = "seasonal", _("Unlike the same hour of the weeks before")
    BURN = "burn", _("Burns its error budget")
    CONTROL = "control", _("Breaks rules of a control chart")


class Subject(models.TextChoices):
    METRIC = "metric", _("A metric")
    FINDING = "finding", _("The value of a detector's finding")


class Scope(models.TextChoices):
    ENDPOINT = "endpoint", _("The endpoint as a whole")
    HOSTS = "hosts", _("Each host by itself")


class Reduce(models.TextChoices):
    MEAN = "mean", _("Mean, weighed by observations")
    HIGH = "high", _("Highest value")
    LOW = "low", _("Lowest value")
    SUM = "sum", _("Sum")


class NoData(models.TextChoices):
    SHOW = "show", _("Show it")
    ALERT = "alert", _("Raise an alert")


class AlertRule(models.Model):
    """What is asked of a metric (or of a detector's findings) at an endpoint, and when the answer becomes an alert.

    Every `step` (monitoring/rules/spec.py) the values of the last `window_seconds` are reduced to one, which is held
    against the limits that `kind` and `params` give. It fires when it was beyond them for `for_seconds`, and is over
    when it was within the clear limit for `clear_seconds`. A window without a value is no answer: the rule then stands
    at "no data", which raises an alert of its own after `no_data_seconds` where `no_data` says so.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="alert_rules")
    name = models.CharField(max_length=100)
    subject = models.CharField(max_length=10, choices=Subject, default=Subject.METRIC)
    metric = models.CharField(max_length=60, help_text="Name of the series; of a detector, its kind.")
    column = models.CharField(
        max_length=200, blank=True, help_text="The series' column or labels; empty: those without."
    )
    version = models.CharField(max_length=40, blank=True, help_text="Of this version alone; empty: of all together.")
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.ENDPOINT)
    kind = models.CharField(max_length=10, choices=AlertRuleKind)
    params = models.JSONField(default=dict)
    reduce = models.CharField(max_length=10, choices=Reduce, default=Reduce.MEAN)
    window_seconds = models.PositiveIntegerField(default=300)
    for_seconds = models.PositiveIntegerField(default=300)
    clear_seconds = models.PositiveIntegerField(default=600)
    delay_seconds = models.PositiveIntegerField(default=60, help_text="Values may arrive this much later.")
    no_data = models.CharField(max_length=10, choices=NoData, default=NoData.SHOW)
    no_data_seconds = models.PositiveIntegerField(default=900)
    severity = models.PositiveSmallIntegerField(default=3)
    means_host_down = models.BooleanField(
        default=False, help_text="An alert of it says that the host is down; others of that host hang below it."
    )
    revision = models.PositiveIntegerField(default=1)
    next_at = models.DateTimeField(help_text="When the clock asks it next.")
    judged_until = models.DateTimeField(null=True, blank=True, help_text="The last moment that was judged.")
    created_at = models.DateTimeField(db_default=models.functions.Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "name"], condition=Q(retired_at=None), name="monitoring_alert_rule_name_once"
            ),
            models.CheckConstraint(condition=Q(severity__range=(1, 4)), name="monitoring_alert_rule_severity"),
            models.CheckConstraint(condition=Q(kind__in=AlertRuleKind.values), name="monitoring_alert_rule_kind_known"),
        ]
        indexes = [models.Index(fields=["next_at"], condition=Q(retired_at=None), name="monitoring_alert_rule_due")]

    def __str__(self) -> str:
        return self.name

    def concerned_models(self) -> list[Model]:
        """The model whose endpoint it watches."""
        return [self.endpoint.model]


class Phase(models.TextChoices):
    """Where a rule stands. Only OK says that all is well."""

    NEW = "new", _("Not judged yet")
    LEARNING = "learning", _("Too little to compare with")
    OK = "ok", _("Within the limit")
    PENDING = "pending", _("Beyond the limit, not yet for long enough")
    FIRING = "firing", _("Firing")
    NO_DATA = "no_data", _("No data")
    UNHEARD = "unheard", _("No data for too long")


class RuleStanding(models.Model):
    """Where a rule stands with the endpoint, or with one host of it: all that the next judging needs to know."""

    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="standings")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.NEW)
    since = models.DateTimeField(null=True, blank=True, help_text="When the phase began; of FIRING, the breach.")
    clear_since = models.DateTimeField(null=True, blank=True)
    value = models.FloatField(null=True, blank=True)
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    judged_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "host"], nulls_distinct=False, name="monitoring_standing_once")
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} {self.host_id or ''} {self.phase}"


class Silence(models.Model):
    """From a person, with a reason and an end: alerts that match are shown, and nobody is told of them.

    `matchers` maps names to the values that an alert must have, all of them: endpoint, model, host, version, rule,
    source, or a label that its sender gave it.
    """

    matchers = models.JSONField()
    reason = models.CharField(max_length=500)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField(db_default=models.functions.Now())
    ends_at = models.DateTimeField()

    class Meta:
        ordering = ["-ends_at"]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gte=F("starts_at")), name="monitoring_silence_ends_after_start")
        ]

    def __str__(self) -> str:
        return f"silence {self.pk}"

    def concerned_models(self) -> list[Model]:
        """The models that its matchers name, by themselves or by endpoint or host; all where they lead to none, since a
        sender's labels may name what is registered nowhere, at any model's alerts."""
        ways = {"model": "slug", "endpoint": "endpoints__slug", "host": "endpoints__placements__host__name"}
        named = {way: self.matchers[name] for name, way in ways.items() if name in self.matchers}
        if found := list(Model.objects.filter(**named).distinct()):
            return found
        meant = reduce(or_, (Q(**{way: value}) for way, value in named.items()), Q(pk=None))
        return list(Model.objects.filter(meant).distinct()) or list(Model.objects.all())
