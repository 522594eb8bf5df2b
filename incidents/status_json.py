"""Statuspage's public API, version 2: the same shapes under the same names, so that its readers read this as well."""

from datetime import datetime
from typing import Any

from audit.english import in_english
from incidents.models import ComponentState, PostStatus, Quality, StatusComponent, StatusPost, WindowStatus
from incidents.status_impacts import OVER
from incidents.status_render import WORDS, Picture, address
from incidents.telling.models import Maintenance

Json = dict[str, Any]


def bodies(picture: Picture) -> dict[str, Json]:
    """Every answer of the API by the path of its file."""
    head = {"page": _page(picture)}
    incidents = [_incident(picture, posts) for posts in picture.incidents]
    unresolved = [one for one in incidents if one["status"] != PostStatus.RESOLVED]
    windows = [_window(picture, one) for one in reversed(picture.windows) if one.state != WindowStatus.CANCELLED]
    upcoming = [one for one in windows if one["status"] == WindowStatus.SCHEDULED]
    active = [one for one in windows if one["status"] == WindowStatus.IN_PROGRESS]
    components = {"components": [component_json(picture, one) for one in picture.components]}
    indicator, description = WORDS[ComponentState(picture.state)]
    status = {"status": {"indicator": indicator, "description": str(description)}}
    found = {
        "summary": head
        | components
        | {"incidents": unresolved, "scheduled_maintenances": [*active, *upcoming]}
        | status,
        "status": head | status,
        "components": head | components,
        "incidents": head | {"incidents": incidents[:50]},
        "incidents/unresolved": head | {"incidents": unresolved},
        "scheduled-maintenances": head | {"scheduled_maintenances": windows[:50]},
        "scheduled-maintenances/upcoming": head | {"scheduled_maintenances": upcoming},
        "scheduled-maintenances/active": head | {"scheduled_maintenances": active},
    }
    return {f"api/v2/{name}.json": body for name, body in found.items()}


def summary(picture: Picture) -> Json:
    """Components, unresolved incidents, maintenance to come or under way, overall status."""
    return bodies(picture)["api/v2/summary.json"]


def iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _page(picture: Picture) -> Json:
    page = picture.page
    updated = picture.posts[0].at if picture.posts else page.published_at or picture.now
    return {
        "id": page.slug,
        "name": page.name,
        "url": address(page),
        "time_zone": "Etc/UTC",
        "updated_at": iso(updated),
    }


def _identity(picture: Picture, component: int) -> str:
    return f"{picture.page.slug}-{component}"


def component_json(picture: Picture, component: StatusComponent) -> Json:
    """`description` tells what is wrong with its quality, for which Statuspage has no state."""
    listed = component.group_id and any(one.pk == component.group_id for one in picture.components)
    quality = in_english(Quality(component.quality).label) if component.quality else ""
    made: Json = {
        "id": _identity(picture, component.pk),
        "name": component.name,
        "status": component.state,
        "created_at": iso(component.created_at),
        "updated_at": iso(component.since),
        "position": component.position,
        "description": ". ".join(part for part in (component.description, quality) if part) or None,
        "showcase": not component.is_group,
        "start_date": component.created_at.date().isoformat(),
        "group_id": _identity(picture, component.group_id) if listed and component.group_id else None,
        "page_id": picture.page.slug,
        "group": component.is_group,
        "only_show_if_degraded": False,
    }
    if component.is_group:
        made["components"] = [_identity(picture, one.pk) for one in picture.components if one.group_id == component.pk]
    return made


def _named(picture: Picture, keys: set[int]) -> list[Json]:
    return [component_json(picture, one) for one in picture.components if one.pk in keys]


def _told(picture: Picture, identity: str, posts: list[StatusPost]) -> Json:
    """What incidents and maintenances have in common."""
    return {
        "id": identity,
        "created_at": iso(posts[-1].at),
        "updated_at": iso(posts[0].at),
        "started_at": iso(posts[-1].at),
        "page_id": picture.page.slug,
        "incident_updates": [_update(picture, identity, post) for post in posts],
    }


def incident_json(picture: Picture, post: StatusPost) -> Json:
    """The incident or the maintenance that a post is about, as the API shows it."""
    if post.maintenance_id:
        return _window(picture, next(one for one in picture.windows if one.pk == post.maintenance_id))
    return _incident(picture, next(posts for posts in picture.incidents if posts[0].incident_id == post.incident_id))


def _incident(picture: Picture, posts: list[StatusPost]) -> Json:
    incident = posts[0].incident
    assert incident is not None
    keys = {int(one["id"]) for post in posts for one in post.affected}
    names = ", ".join(one.name for one in picture.components if one.pk in keys) or picture.page.name
    over = posts[0].status in OVER
    monitoring = next((post.at for post in posts if post.status == PostStatus.MONITORING), None)
    impacts = [ComponentState(post.component_state) for post in posts]
    state = next((one for one in WORDS_BY_WEIGHT if one in impacts), ComponentState.OPERATIONAL)
    return _told(picture, f"{picture.page.slug}-{incident.number}", posts) | {
        "name": f"{names}: {in_english(ComponentState(posts[-1].component_state).label).lower()}",
        "status": posts[0].status,
        "monitoring_at": iso(monitoring),
        "resolved_at": iso(posts[0].at) if over else None,
        "impact": WORDS[state][0],
        "shortlink": f"{address(picture.page)}#incident-{incident.number}",
        "components": _named(picture, keys),
    }


WORDS_BY_WEIGHT = (
    ComponentState.MAJOR_OUTAGE,
    ComponentState.PARTIAL_OUTAGE,
    ComponentState.DEGRADED,
    ComponentState.MAINTENANCE,
)


def _window(picture: Picture, window: Maintenance) -> Json:
    posts = picture.maintenances[window.pk]
    return _told(picture, f"{picture.page.slug}-m{window.pk}", posts) | {
        "name": window.title,
        "status": window.state,
        "monitoring_at": None,
        "resolved_at": iso(window.ended_at),
        "impact": "maintenance",
        "shortlink": f"{address(picture.page)}#maintenance-{window.pk}",
        "components": _named(picture, {one.pk for one in window.components.all()}),
        "scheduled_for": iso(window.starts_at),
        "scheduled_until": iso(window.ends_at),
    }


def _update(picture: Picture, identity: str, post: StatusPost) -> Json:
    return {
        "id": f"{identity}-{post.pk}",
        "status": post.status,
        "body": post.text,
        "incident_id": identity,
        "created_at": iso(post.at),
        "updated_at": iso(post.at),
        "display_at": iso(post.at),
        "affected_components": [
            {
                "code": _identity(picture, int(one["id"])),
                "name": one["name"],
                "old_status": one["old"],
                "new_status": one["new"],
            }
            for one in post.affected
        ]
        or None,
        "deliver_notifications": True,
        "custom_tweet": None,
        "tweet_id": None,
    }
