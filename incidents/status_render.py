"""A status page as HTML, as Statuspage's v2 summary, and as an Atom feed. Nothing internal is in any of them: no host,
no endpoint, no reference of an incident beyond its number."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from incidents.models import ComponentState, Incident, PostStatus, StatusComponent, StatusPage, StatusPost
from incidents.status import overall
from incidents.status_history import days, spans, uptime

PAST = timedelta(days=14)
ATOM = "http://www.w3.org/2005/Atom"
WORDS = {
    ComponentState.OPERATIONAL: ("none", "Everything works as it should"),
    ComponentState.DEGRADED: ("minor", "Something does not work as well as it should"),
    ComponentState.PARTIAL_OUTAGE: ("major", "Part of it does not work"),
    ComponentState.MAJOR_OUTAGE: ("critical", "It does not work"),
    ComponentState.MAINTENANCE: ("maintenance", "Under maintenance"),
}


def page_context(page: StatusPage) -> dict[str, Any]:
    """What `status/page.html` shows, in four queries."""
    now = timezone.now()
    components = list(page.components.all())
    posts = list(page.posts.select_related("incident").order_by("-at", "-id"))
    told = _by_incident(posts)
    state = overall(page)
    return {
        "page": page,
        "state": state,
        "sentence": WORDS[ComponentState(state)][1],
        "components": [_component(component, posts, now) for component in components],
        "open": [entry for entry in told if entry["status"] != PostStatus.RESOLVED],
        "past": [entry for entry in told if entry["status"] == PostStatus.RESOLVED and entry["at"] > now - PAST],
        "written_at": now,
        "base": settings.LASTGOOD_PUBLIC_URL,
    }


def _component(component: StatusComponent, posts: list[StatusPost], now: datetime) -> dict[str, Any]:
    changes = [
        (post.at, post.component_state)
        for post in posts
        if component.endpoint_id is not None and post.incident.endpoint_id == component.endpoint_id
    ]
    history = spans(changes, born=component.created_at, now=now)
    return {
        "name": component.name,
        "state": component.state,
        "label": component.get_state_display(),
        "since": component.since,
        "days": days(history, now=now),
        "share": uptime(history),
    }


def _by_incident(posts: Iterable[StatusPost]) -> list[dict[str, Any]]:
    """One entry per incident, newest first, with its posts newest first."""
    grouped: dict[int, list[StatusPost]] = {}
    for post in posts:
        grouped.setdefault(post.incident_id, []).append(post)
    return [
        {
            "number": mine[0].incident.number,
            "status": mine[0].status,
            "label": mine[0].get_status_display(),
            "at": mine[0].at,
            "started_at": mine[-1].at,
            "next_update_at": mine[0].next_update_at,
            "posts": mine,
        }
        for mine in grouped.values()
    ]


def page_html(page: StatusPage) -> str:
    """The page as a file that works on any web server: the stylesheet lies beside it."""
    return render_to_string("status/page.html", page_context(page) | {"stylesheet": "status.css", "refresh": 60})


def address(page: StatusPage) -> str:
    return f"{settings.LASTGOOD_PUBLIC_URL}{reverse('status-page', args=[page.slug])}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(page: StatusPage) -> dict[str, Any]:
    """Statuspage's /api/v2/summary.json: components, unresolved incidents, overall status."""
    posts = list(page.posts.select_related("incident").order_by("-at", "-id"))
    indicator, description = WORDS[ComponentState(overall(page))]
    updated = max((post.at for post in posts), default=page.published_at or timezone.now())
    components = list(page.components.all())
    return {
        "page": {
            "id": page.slug,
            "name": page.name,
            "url": address(page),
            "time_zone": "Etc/UTC",
            "updated_at": _iso(updated),
        },
        "components": [_component_json(page, component, at) for at, component in enumerate(components, start=1)],
        "incidents": [
            _incident_json(page, entry["posts"][0].incident, entry["posts"], components)
            for entry in _by_incident(posts)
            if entry["status"] != PostStatus.RESOLVED
        ],
        "scheduled_maintenances": [],
        "status": {"indicator": indicator, "description": description},
    }


def _component_json(page: StatusPage, component: StatusComponent, position: int) -> dict[str, Any]:
    return {
        "id": f"{page.slug}-{component.pk}",
        "name": component.name,
        "status": component.state,
        "created_at": _iso(component.created_at),
        "updated_at": _iso(component.since),
        "position": position,
        "description": None,
        "showcase": True,
        "start_date": component.created_at.date().isoformat(),
        "group_id": None,
        "page_id": page.slug,
        "group": False,
        "only_show_if_degraded": False,
    }


def _incident_json(
    page: StatusPage, incident: Incident, posts: list[StatusPost], components: list[StatusComponent]
) -> dict[str, Any]:
    hit = [component for component in components if component.endpoint_id == incident.endpoint_id]
    name = f"{', '.join(component.name for component in hit) or page.name}: {_title(posts[-1])}"
    identity = f"{page.slug}-{incident.number}"
    monitoring = next((post.at for post in posts if post.status == PostStatus.MONITORING), None)
    return {
        "id": identity,
        "name": name,
        "status": posts[0].status,
        "created_at": _iso(posts[-1].at),
        "updated_at": _iso(posts[0].at),
        "monitoring_at": _iso(monitoring),
        "resolved_at": None,
        "impact": WORDS[ComponentState(posts[0].component_state)][0],
        "shortlink": f"{address(page)}#incident-{incident.number}",
        "started_at": _iso(posts[-1].at),
        "page_id": page.slug,
        "incident_updates": [_update_json(identity, post) for post in posts],
        "components": [
            _component_json(page, component, at) for at, component in enumerate(components, start=1) if component in hit
        ],
    }


def _update_json(identity: str, post: StatusPost) -> dict[str, Any]:
    return {
        "id": f"{identity}-{post.pk}",
        "status": post.status,
        "body": post.text,
        "incident_id": identity,
        "created_at": _iso(post.at),
        "updated_at": _iso(post.at),
        "display_at": _iso(post.at),
        "affected_components": None,
        "deliver_notifications": False,
        "custom_tweet": None,
        "tweet_id": None,
    }


def _title(first: StatusPost) -> str:
    return ComponentState(first.component_state).label.lower()


def feed(page: StatusPage) -> str:
    """An Atom feed (RFC 4287) with one entry per post, newest first; ids and times are those of the posts."""
    ET.register_namespace("", ATOM)
    root = ET.Element(f"{{{ATOM}}}feed")
    posts = list(page.posts.order_by("-at", "-id")[:50])
    born = min((component.created_at for component in page.components.all()), default=page.published_at)
    updated = posts[0].at if posts else born or timezone.now()
    _put(root, "id", address(page))
    _put(root, "title", page.name)
    _put(root, "updated", updated.isoformat())
    ET.SubElement(root, f"{{{ATOM}}}link", {"rel": "alternate", "href": address(page)})
    ET.SubElement(root, f"{{{ATOM}}}link", {"rel": "self", "href": f"{address(page)}feed.atom"})
    _put(ET.SubElement(root, f"{{{ATOM}}}author"), "name", page.name)
    for post in posts:
        entry = ET.SubElement(root, f"{{{ATOM}}}entry")
        _put(entry, "id", f"{address(page)}#post-{post.pk}")
        _put(entry, "title", f"{post.get_status_display()}: {post.get_component_state_display()}")
        _put(entry, "updated", post.at.isoformat())
        _put(entry, "content", post.text)
        ET.SubElement(entry, f"{{{ATOM}}}link", {"rel": "alternate", "href": f"{address(page)}#post-{post.pk}"})
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _put(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, f"{{{ATOM}}}{name}").text = text
