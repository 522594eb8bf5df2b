"""Plans, their preflight, the runs that carry them out host by host, gates and watches."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import ApprovalRequest
from registry.models import Endpoint, Host, Model, Version


class PlanKind(models.TextChoices):
    ROLLBACK = "rollback", _("Rollback")
    RELEASE = "release", _("Release")
    DRILL = "drill", _("Drill")
    CONVERGE = "converge", _("Converge")
    DRAIN = "drain", _("Drain")
    FREEZE = "freeze", _("Freeze")


STEERING_KINDS = [PlanKind.DRAIN, PlanKind.FREEZE]
"""Kinds that change no version anywhere: where requests go, and what may be deployed."""
ASIDE_KINDS = [PlanKind.CONVERGE, *STEERING_KINDS]
"""Kinds whose runs say nothing of the version that an endpoint goes to: those before and after them stay the last."""


class PlanState(models.TextChoices):
    DRAFT = "draft", _("Draft")
    PREFLIGHTED = "preflighted", _("Preflight passed")
    AWAITING = "awaiting_approval", _("Waiting for approvals")
    STARTED = "started", _("Started")
    VOID = "void", _("Void")


class Plan(models.Model):
    """One exact change of what an endpoint serves. `document` holds the canonical bytes whose hash people approve."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10, choices=PlanKind)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="plans")
    from_version = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    to_version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    incident_ref = models.CharField(max_length=40, blank=True)
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.TextField(blank=True)
    document = models.BinaryField()
    plan_hash = models.CharField(max_length=64)
    evidence = models.JSONField(
        default=dict, help_text="What was shown beside the plan; its digest is in the document."
    )
    state = models.CharField(max_length=20, choices=PlanState, default=PlanState.DRAFT)
    void_reason = models.CharField(max_length=500, blank=True)
    moved = models.JSONField(default=list, help_text="Sentences: what had moved when it was voided for it.")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who wrote the plan that this one replaces.",
    )
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    start_on_approval = models.BooleanField(default=True, help_text="Starts by itself once the last seat is filled.")
    preflight_due_at = models.DateTimeField(null=True, blank=True, help_text="Empty when no preflight is owed.")
    preflight_attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=PlanState.values), name="rollback_plan_state_known")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.plan_hash[:12]}"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class CheckAnswer(models.TextChoices):
    PASS = "pass", _("Pass")
    FAIL = "fail", _("Fail")
    INCONCLUSIVE = "inconclusive", _("Inconclusive")


class Candidate(models.Model):
    """A version that an endpoint could go to, what speaks for and against it, and how it did on replayed traffic."""

    incident_ref = models.CharField(max_length=40)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    eligible = models.BooleanField()
    reasons = models.JSONField(default=list, help_text="Sentences: why it is eligible, or why not.")
    replay = models.JSONField(default=dict, help_text="Rows, accuracy with interval, of this and of the live version.")
    rank = models.PositiveIntegerField()
    computed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["rank"]
        constraints = [
            models.UniqueConstraint(fields=["incident_ref", "to_version"], name="rollback_candidate_once"),
        ]

    def __str__(self) -> str:
        return f"{self.incident_ref} -> {self.to_version_id}"


class Preflight(models.Model):
    """One question asked of the fleet before traffic is touched, and its answer."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="preflights")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    name = models.SlugField(max_length=60)
    question = models.CharField(max_length=300)
    answer = models.CharField(max_length=12, choices=CheckAnswer)
    observed = models.CharField(max_length=300, blank=True)
    expected = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.answer}"


class RunState(models.TextChoices):
    RUNNING = "running", _("Running")
    HALTED = "halted", _("Halted, waiting for a person")
    STOPPED = "stopped", _("Stopped by a person")
    COMPENSATING = "compensating", _("Going back")
    SWITCHED = "switched", _("All hosts switched")
    FAILED = "failed", _("Failed")
    COMPENSATED = "compensated", _("Gone back")


ACTIVE_RUN_STATES = [RunState.RUNNING, RunState.HALTED, RunState.COMPENSATING]


class Run(models.Model):
    """The carrying-out of a started plan. At most one active run per endpoint; a lease says which worker moves it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    plan = models.OneToOneField(Plan, on_delete=models.PROTECT, related_name="run")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="runs")
    state = models.CharField(max_length=14, choices=RunState, default=RunState.RUNNING)
    state_reason = models.CharField(max_length=500, blank=True)
    halt_code = models.SlugField(max_length=30, blank=True, help_text="Why it halted, for programs.")
    fence = models.PositiveBigIntegerField()
    lease_holder = models.CharField(max_length=80, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=Now())
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    started_at = models.DateTimeField(db_default=Now())
    switched_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    undo_due_at = models.DateTimeField(null=True, blank=True, help_text="When the old version may leave the hosts.")
    attempts = models.PositiveIntegerField(default=0)
    version = models.PositiveIntegerField(default=1, help_text="Grows with each change: the ETag of the lanes.")

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint"],
                condition=Q(state__in=["running", "halted", "compensating"]),
                name="rollback_one_active_run",
            ),
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="rollback_run_state_known"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class WaveState(models.TextChoices):
    PENDING = "pending", _("Waiting")
    RUNNING = "running", _("Running")
    SOAKING = "soaking", _("Soaking")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class Wave(models.Model):
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="waves")
    index = models.PositiveIntegerField()
    name = models.CharField(max_length=40)
    state = models.CharField(max_length=8, choices=WaveState, default=WaveState.PENDING)
    soak_until = models.DateTimeField(null=True, blank=True)
    gate_passed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["run_id", "index"]
        constraints = [models.UniqueConstraint(fields=["run", "index"], name="rollback_wave_once")]

    def __str__(self) -> str:
        return self.name


class StepState(models.TextChoices):
    PENDING = "pending", _("Waiting")
    LOCKED = "locked", _("Locked")
    PREFLIGHT = "preflight", _("Checked")
    STAGED = "staged", _("Staged")
    DRAINED = "drained", _("Out of service")
    EMPTIED = "emptied", _("Old version unloaded")
    LOADED = "loaded", _("Loaded")
    GOLDEN_OK = "golden_ok", _("Golden test passed")
    SHADOWED = "shadowed", _("Asked beside what answers")
    COMPARED = "compared", _("Compared with what answers")
    SHARED = "shared", _("Takes a share of the traffic")
    IN_SERVICE = "in_service", _("Back in service")
    SWITCHED = "switched", _("Switched")
    POSTCHECK_OK = "postcheck_ok", _("Checked after the switch")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    COMPENSATING = "compensating", _("Going back")
    RESTORED = "restored", _("Restored")
    UNREACHABLE = "unreachable", _("Unreachable")


class HostStep(models.Model):
    """Where one host is in one run. `marks` maps each state reached to the time it was reached, `notes` to what was
    seen then; `baseline` holds the host's counters when the step was done, from which the gate counts."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="steps")
    wave = models.ForeignKey(Wave, on_delete=models.PROTECT, related_name="steps")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=14, choices=StepState, default=StepState.PENDING)
    state_reason = models.CharField(max_length=500, blank=True)
    before_digest = models.CharField(max_length=64, blank=True)
    intent = models.CharField(max_length=20, blank=True, help_text="The call that is committed to but not yet proven.")
    intent_deadline = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    switch_calls = models.PositiveIntegerField(default=0)
    steer_calls = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Calls that take the host out of service, bring it back, share its requests or mirror them.",
    )
    marks = models.JSONField(default=dict)
    notes = models.JSONField(default=dict)
    baseline = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["wave_id", "id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "host"], name="rollback_step_once"),
            models.CheckConstraint(condition=Q(state__in=StepState.values), name="rollback_step_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.host_id} {self.state}"


class Check(models.Model):
    """One question of a gate, of a host's step or of the watch: three answers, with what was seen and expected."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="checks")
    wave = models.ForeignKey(Wave, on_delete=models.PROTECT, null=True, blank=True, related_name="checks")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    stage = models.CharField(max_length=12, help_text="golden, postcheck, shadow, share, gate, watch")
    name = models.SlugField(max_length=60)
    question = models.CharField(max_length=300)
    answer = models.CharField(max_length=12, choices=CheckAnswer)
    observed = models.CharField(max_length=300, blank=True)
    expected = models.CharField(max_length=300, blank=True)
    interval = models.CharField(max_length=100, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.name}: {self.answer}"


class WatchState(models.TextChoices):
    WATCHING = "watching", _("Watching")
    PASSED = "passed", _("Verified")
    FAILED = "failed", _("Verification failed")
    INCONCLUSIVE = "inconclusive", _("Inconclusive, waiting for a person")


class Watch(models.Model):
    """The watching of a switched run under live traffic until it is verified, or is found not to have helped."""

    run = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="watch")
    state = models.CharField(max_length=12, choices=WatchState, default=WatchState.WATCHING)
    state_reason = models.CharField(max_length=500, blank=True)
    until = models.DateTimeField()
    patience_until = models.DateTimeField(help_text="How long it waits for data that is not enough at `until`.")
    due_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    signed_off_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=WatchState.values), name="rollback_watch_state_known")
        ]

    def __str__(self) -> str:
        return f"watch of {self.run_id}"


class TrialPurpose(models.TextChoices):
    REHEARSAL = "rehearsal", _("Rehearsal")
    RANKING = "ranking", _("Ranking of targets")


class TrialState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


OPEN_TRIALS = [TrialState.WAITING, TrialState.RUNNING]


class Trial(models.Model):
    """Versions asked on an endpoint's hosts beside what is served: nothing is switched, and what was loaded for it
    leaves again. One at a time an endpoint, by a lease; a run that starts takes the endpoint from it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="trials")
    purpose = models.CharField(max_length=10, choices=TrialPurpose)
    version = models.ForeignKey(
        Version, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="That is rehearsed."
    )
    incident_ref = models.CharField(max_length=40, blank=True)
    state = models.CharField(max_length=8, choices=TrialState, default=TrialState.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    asked_by = models.CharField(max_length=60)
    asked_at = models.DateTimeField(db_default=Now())
    lease_holder = models.CharField(max_length=80, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-asked_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=TrialState.values), name="rollback_trial_state_known"),
            models.UniqueConstraint(
                fields=["endpoint", "version"],
                condition=Q(state__in=["waiting", "running"], version__isnull=False),
                name="rollback_one_open_rehearsal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} on {self.endpoint_id}"

    def concerned_models(self) -> "list[Model]":
        return [self.endpoint.model]


class TrialLoad(models.Model):
    """A version that a trial brought into a host's memory, and whether it has left it again. What was warm before has
    no row: it stays."""

    trial = models.ForeignKey(Trial, on_delete=models.PROTECT, related_name="loads")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="+")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    brought_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now(), help_text="When leaving is tried (again).")
    attempts = models.PositiveIntegerField(default=0)
    left_at = models.DateTimeField(null=True, blank=True)
    left_because = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "version"], condition=Q(left_at=None), name="rollback_one_trial_load"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version_id} on {self.host_id}"


class LoadMemory(models.Model):
    """What a host's memory gave to a version when it was loaded there, with nothing else coming or going meanwhile."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="+")
    engine = models.CharField(max_length=20, help_text="The host's at that time.")
    device = models.CharField(max_length=40, blank=True, help_text="What it computed on, such as cuda:0.")
    taken = models.PositiveBigIntegerField(help_text="Bytes.")
    measured_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-measured_at", "-id"]
        indexes = [models.Index(fields=["version", "engine", "device", "-measured_at"], name="loads_of_version")]

    def __str__(self) -> str:
        return f"{self.version_id} on {self.host_id}"
