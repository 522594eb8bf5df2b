"""What incidents add up to: exact medians, rates and counts, their page, file and API."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.models import AuditEvent
from incidents.learning.figures import BLAMED, Chosen, Stage, figures
from incidents.learning.models import ContributingCause
from incidents.models import ActionItem, Incident, IncidentAlert, Review
from incidents.rollback.models import Run, RunState, Watch, WatchState
from monitoring.models import Alert
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")
AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPAN = Chosen(since=AT - timedelta(days=40), until=AT + timedelta(days=1))


def past(world: World, number: int, at: datetime, **minutes: int) -> Incident:
    """A resolved incident whose impact began at `at`; minutes of each time from there."""
    fields = {"detected": 1, "acknowledged": 3, "decided": 8, "mitigated": 20, "resolved": 60} | minutes
    return Incident.objects.create(
        number=number, ref=f"INC-{number}", title="Past", state="resolved", severity=2, endpoint=world.endpoint,
        from_version="2", group_key=f"past-{number}", impact_started_at=at,
        **{f"{name}_at": at + value * MINUTE for name, value in fields.items()},
    )  # fmt: skip


def test_medians_are_those_of_who_reached_the_stage(world: World) -> None:
    past(world, 901, AT, resolved=30)
    past(world, 902, AT, resolved=60)
    past(world, 903, AT, resolved=300)
    Incident.objects.filter(number=903).update(acknowledged_at=None)
    found = figures(SPAN, AT.date())
    stages = {stage.name: stage for stage in found.stages}
    assert (stages["resolve"].median, stages["resolve"].p90, stages["resolve"].n) == (3600, 15120, 3)
    assert (stages["acknowledge"].median, stages["acknowledge"].n, stages["acknowledge"].missing) == (120, 2, 1)
    assert (stages["decide"].median, stages["detect"].median, stages["mitigate"].median) == (300, 60, 1200)
    assert (stages["verify"].median, stages["verify"].missing) == (None, 3)
    assert stages["resolve"].bins == [0, 0, 0, 1, 1, 1, 0]


def test_a_bin_holds_its_lower_edge() -> None:
    assert Stage("x", [0, 59, 60, 299, 300, 86_400], 0).bins == [2, 2, 1, 0, 0, 0, 1]


def test_months_models_severities_and_causes_are_told_apart(world: World) -> None:
    first = past(world, 901, AT - timedelta(days=30), resolved=10)
    past(world, 902, AT, resolved=20)
    review = Review.objects.create(incident=first)
    for kind in ("data_drift", "bad_release"):
        ContributingCause.objects.create(review=review, kind=kind)
    found = figures(SPAN, AT.date())
    assert [(month, count, row["resolve"]) for month, count, row in found.months] == [
        ("2026-02", 1, 600), ("2026-03", 1, 1200)
    ]  # fmt: skip
    by = dict(found.by)
    assert by["model"] == [("employment", 2, 900)]
    assert [row[1:] for row in by["cause"]] == [(1, 600), (1, 600), (1, 1200)]
    only = Chosen(since=SPAN.since, until=SPAN.until, cause="data_drift")
    assert figures(only, AT.date()).count == 1


def test_rollbacks_that_helped_did_not_and_were_avoided(world: World) -> None:
    for number, state in ((901, WatchState.PASSED), (902, WatchState.FAILED)):
        run = world.run(past(world, number, AT), state=RunState.SWITCHED, watch=state)
        Run.objects.filter(pk=run.pk).update(switched_at=AT)
        Watch.objects.filter(run=run).update(ended_at=AT + 5 * MINUTE)
    past(world, 903, AT)
    found = figures(SPAN, AT.date())
    assert vars(found.rollbacks) == {"helped": 1, "did_not": 1, "undecided": 0, "avoided": 1}
    verify = next(stage for stage in found.stages if stage.name == "verify")
    assert (verify.median, verify.n) == (300, 1)


def release(world: World, number: int, state: str, at: datetime) -> None:
    plan = world.plan(
        past(world, number, AT - timedelta(days=90)), kind="release", to_version=world.bad, plan_hash=f"{number:064x}"
    )
    run = Run.objects.create(plan=plan, endpoint=world.endpoint, fence=number, state=state)
    Run.objects.filter(pk=run.pk).update(started_at=at)


def test_a_release_failed_where_it_went_back_or_was_blamed_within_a_day(world: World) -> None:
    release(world, 801, RunState.COMPENSATED, AT)
    release(world, 802, RunState.SWITCHED, AT - timedelta(days=20))
    release(world, 803, RunState.SWITCHED, AT - timedelta(days=10))
    past(world, 901, AT - timedelta(days=10) + BLAMED / 2)
    past(world, 902, AT - timedelta(days=20) + 2 * BLAMED)
    changes = figures(SPAN, AT.date()).changes
    assert (changes.releases, changes.failed, changes.rate) == (3, 2, pytest.approx(2 / 3))


def test_alerts_and_overdue_items_are_counted(world: World) -> None:
    incident = world.incident()
    world.incident()
    world.alert(suppressed_by="silence:1", state="resolved")
    world.alert(state="resolved")
    review = Review.objects.create(incident=incident)
    item = ActionItem.objects.create(review=review, text="Late.", due_on=AT.date())
    ActionItem.objects.create(review=review, text="Not yet.", due_on=AT.date() + timedelta(days=9))
    now = datetime.now(UTC)
    found = figures(Chosen(now - timedelta(days=1), now + timedelta(days=1)), AT.date() + timedelta(days=1))
    noise = found.noise
    assert (noise.alerts, noise.opened, noise.joined, noise.held_back, noise.untaken) == (4, 1, 1, 1, 1)
    assert (found.items_open, found.items_overdue, found.overdue) == (2, 1, [item])


def test_an_alert_held_back_after_its_incident_took_it_is_counted_once(world: World) -> None:
    incident = world.incident()
    Alert.objects.update(suppressed_by="silence:1")
    now = datetime.now(UTC)
    span = Chosen(now - timedelta(days=1), now + timedelta(days=1))
    noise = figures(span, AT.date()).noise
    assert (noise.alerts, noise.opened, noise.held_back, noise.untaken) == (1, 1, 0, 0)
    # given that the alert which opened it fired before the span, and three others joined since
    Alert.objects.update(fired_at=now - timedelta(days=2))
    for _ in range(3):
        IncidentAlert.objects.create(incident=incident, alert=world.alert(state="resolved"))
    noise = figures(span, AT.date()).noise
    assert (noise.alerts, noise.opened, noise.joined, noise.untaken) == (3, 0, 3, 0)


def test_more_overdue_items_are_counted_than_are_listed(world: World) -> None:
    review = Review.objects.create(incident=past(world, 901, AT))
    ActionItem.objects.bulk_create(ActionItem(review=review, text=f"{n}", due_on=AT.date()) for n in range(53))
    found = figures(SPAN, AT.date() + timedelta(days=1))
    assert (found.items_overdue, len(found.overdue)) == (53, 50)
    assert world.client("vera").get("/api/v1/incident-analytics/").json()["items_overdue"] == 53
    assert "53 overdue; the 50" in world.client("vera").get("/incidents/analytics/").content.decode()


def test_a_release_younger_than_a_day_and_a_false_alarm_count_for_nothing(world: World) -> None:
    now = datetime.now(UTC)
    release(world, 801, RunState.SWITCHED, now - BLAMED / 2)
    release(world, 802, RunState.SWITCHED, AT)
    blamed = past(world, 901, AT + BLAMED / 2)
    span = Chosen(SPAN.since, now + timedelta(days=1))
    changes = figures(span, AT.date()).changes
    assert (changes.releases, changes.failed, changes.young) == (1, 1, 1)
    review = Review.objects.create(incident=blamed, state="published")
    ContributingCause.objects.create(review=review, kind="false_alarm")
    assert figures(span, AT.date()).changes.failed == 0


def test_a_review_without_a_cause_is_told_apart_from_no_review(world: World) -> None:
    Review.objects.create(incident=past(world, 901, AT))
    past(world, 902, AT)
    assert sorted(row[0] for row in dict(figures(SPAN, AT.date()).by)["cause"]) == ["no cause named", "not reviewed"]


def test_the_page_the_file_and_the_api_tell_the_same(world: World) -> None:
    past(world, 901, AT, resolved=30)
    asked = {"since": "2026-03-01", "until": "2026-03-31", "model": "employment"}
    html = world.client("vera").get("/incidents/analytics/", asked).content.decode()
    assert "1 incident in this span; half of those mitigated took at most 20 min" in html
    assert 'id="distribution-figure"' in html
    told = world.client("vera").get("/api/v1/incident-analytics/", asked).json()
    assert told["stages"][-1]["median"] == 1800
    assert world.client("vera").post("/incidents/analytics.csv").status_code == 403
    answer = world.client("idris").post("/incidents/analytics.csv?since=2026-03-01&until=2026-03-31")
    lines = answer.content.decode().splitlines()
    assert lines[1].split(",")[:2] == ['"2026-03"', '"1"']
    assert AuditEvent.objects.filter(action="audit.view.export").count() == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "x", "until": "2026-99-99"},
        {"severity": "9", "cause": "luck"},
        {"model": "no"},
        {"until": "9999-12-31"},
        {"since": "0001-01-01"},
    ],
)
def test_whatever_is_asked_is_answered(world: World, asked: dict[str, str]) -> None:
    assert world.client("vera").get("/incidents/analytics/", asked).status_code == 200
