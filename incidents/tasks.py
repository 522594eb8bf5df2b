from typing import Any

from celery import shared_task

from audit.actions import service_actor
from audit.dispatch import each_of
from incidents import duties, follow, intake, reviews, status, status_files
from incidents.models import Incident


@shared_task(name="incidents.take_alert")
def take_alert(*alert_ids: int) -> None:
    intake.take_alerts(alert_ids)


@shared_task(name="incidents.take_beat")
def take_beat(beat_id: int) -> None:
    intake.take_beat(number=beat_id)


@shared_task(name="incidents.alert_resolved")
def alert_resolved(*alert_ids: int) -> None:
    each_of(lambda alert_id: intake.alert_resolved(alert_id=alert_id), alert_ids)


@shared_task(name="incidents.rank_candidates")
def rank_candidates(incident_id: int) -> None:
    from incidents.diagnosing.ranked import examine_and_rank
    from incidents.rollback import queries

    incident = Incident.objects.select_related("endpoint__model").get(pk=incident_id)
    if queries.candidates(incident.ref).exists():
        # A message that came twice; each ranking loads versions on the hosts.
        return
    examine_and_rank(incident=incident, actor=service_actor("incidents"))


@shared_task(name="incidents.warn_of_duty")
def warn_of_duty(duty_id: int) -> None:
    duties.warn(duty_id=duty_id)


@shared_task(name="incidents.follow_run")
def follow_run(run_id: Any) -> None:
    follow.follow_run(run_id=run_id)


@shared_task(name="incidents.follow_plan")
def follow_plan(plan_id: Any) -> None:
    follow.follow_plan(plan_id=plan_id)


@shared_task(name="incidents.publish_status")
def publish_status(incident_id: int) -> None:
    status.narrate(incident_id=incident_id)


@shared_task(name="incidents.publish_page")
def publish_page(page_id: int) -> None:
    status_files.publish_page(page_id=page_id)


@shared_task(name="incidents.draft_review")
def draft_review(incident_id: int) -> None:
    reviews.draft(incident_id=incident_id)
