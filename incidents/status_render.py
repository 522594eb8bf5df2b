"""A status page as it is read: what it says now and said before, as HTML and as an Atom feed. Nothing internal is in
either: no host, no endpoint, no reference of an incident beyond its number."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Prefetch
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy

from audit.clock import database_now
from audit.english import outside
from incidents.models import ComponentState, StatusComponent, StatusPage, StatusPost, WindowStatus
from incidents.status_history import (
    Span,
    Tally,
    days,
    finished_months,
    first_day,
    month_of,
    month_tally,
    share,
    spans,
    uptime,
)
from incidents.status_impacts import OVER, overall, told_of
from incidents.status_readers import sends_letters

PAST = timedelta(days=14)
MONTHS = 12
ATOM = "http://www.w3.org/2005/Atom"
WORDS = {
    ComponentState.OPERATIONAL: ("none", gettext_lazy("Everything works as it should")),
    ComponentState.DEGRADED: ("minor", gettext_lazy("Something does not work as well as it should")),
    ComponentState.PARTIAL_OUTAGE: ("major", gettext_lazy("Part of it does not work")),
    ComponentState.MAJOR_OUTAGE: ("critical", gettext_lazy("It does not work")),
    ComponentState.MAINTENANCE: ("maintenance", gettext_lazy("Under maintenance")),
}


class Picture:
    """What a page says at one moment, read once for all of its forms."""

    def __init__(self, page: StatusPage) -> None:
        from incidents.telling.models import Maintenance, Month

        self.page = page
        self.now = database_now()
        frozen = Prefetch("months", Month.objects.order_by("first"), to_attr="frozen")
        self.components = list(page.components.filter(retired_at=None).prefetch_related(frozen))
        # Before the posts: what is planned in between then has posts without a window, never a window without posts.
        self.windows = list(Maintenance.objects.filter(page=page).prefetch_related("components"))
        self.posts = list(page.posts.select_related("incident").order_by("-at", "-id"))
        self.state = overall(page)

    @cached_property
    def incidents(self) -> list[list[StatusPost]]:
        """Posts by incident, the incident that was told of last first, each newest first."""
        return _by([post for post in self.posts if post.incident_id], "incident_id")

    @cached_property
    def maintenances(self) -> dict[int, list[StatusPost]]:
        """Posts of each maintenance by its key, newest first."""
        groups = _by([post for post in self.posts if post.maintenance_id], "maintenance_id")
        return {group[0].maintenance_id or 0: group for group in groups}

    @cached_property
    def histories(self) -> dict[int, list[Span]]:
        """The history of each component; a group's is the worst of its members'."""
        told = told_of(self.posts)
        found = {}
        for one in self.components:
            of = [row for row in self.components if row.group_id == one.pk] if one.is_group else [one]
            born = min((row.created_at for row in of), default=one.created_at)
            found[one.pk] = spans([said for row in of for said in told[row.pk]], born=born, now=self.now)
        return found


def _by(posts: Iterable[StatusPost], key: str) -> list[list[StatusPost]]:
    grouped: dict[int, list[StatusPost]] = {}
    for post in posts:
        grouped.setdefault(getattr(post, key), []).append(post)
    return list(grouped.values())


def page_context(picture: Picture) -> dict[str, Any]:
    """What `status/page.html` shows."""
    entries = [_entry(posts) for posts in picture.incidents]
    rows = {one.pk: _component(one, picture) for one in picture.components}
    for one in picture.components:
        if one.group_id in rows:
            rows[one.group_id]["members"].append(rows[one.pk])
    return {
        "page": picture.page,
        "state": picture.state,
        "sentence": WORDS[ComponentState(picture.state)][1],
        "components": [rows[one.pk] for one in picture.components if one.group_id not in rows],
        "open": [entry for entry in entries if entry["status"] not in OVER],
        "past": [one for one in entries if one["status"] in OVER and one["at"] > picture.now - PAST],
        "under_way": [one for one in picture.windows if one.state == WindowStatus.IN_PROGRESS],
        "planned": [one for one in picture.windows if one.state == WindowStatus.SCHEDULED],
        "maintained": [
            _entry(picture.maintenances[one.pk]) | {"title": one.title}
            for one in reversed(picture.windows)
            if one.state in OVER and (one.ended_at or one.ends_at) > picture.now - PAST
        ],
        "written_at": picture.now,
        "base": settings.LASTGOOD_PUBLIC_URL,
        "letters": picture.page.public and sends_letters(),
    }


def _component(component: StatusComponent, picture: Picture) -> dict[str, Any]:
    history = picture.histories[component.pk]
    return {
        "name": component.name,
        "description": component.description,
        "is_group": component.is_group,
        "members": [],
        "state": component.state,
        "label": component.get_state_display(),
        "quality": component.get_quality_display() if component.quality else "",
        "since": component.since,
        "days": days(history, now=picture.now),
        "share": uptime(history, since=first_day(picture.now)),
        "months": months(component, history, picture.now),
    }


def months(component: StatusComponent, history: list[Span], now: datetime) -> list[dict[str, Any]]:
    """The newest twelve months, newest first: finished ones as they were frozen, the present one until now. Each is
    `first` (a date), `share` as text, "" where nothing is known, and whether it is `over`."""
    frozen = {row.first: Tally(row.known, row.lost) for row in component.frozen} if not component.is_group else {}
    all_of_them = [*finished_months(born=component.created_at, now=now), month_of(now)][-MONTHS:]
    counted = [(first, frozen.get(first) or month_tally(history, first)) for first in reversed(all_of_them)]
    return [{"first": first, "share": share(of), "over": first < month_of(now)} for first, of in counted]


def _entry(posts: list[StatusPost]) -> dict[str, Any]:
    return {
        "number": posts[0].incident.number if posts[0].incident else None,
        "status": posts[0].status,
        "label": posts[0].get_status_display(),
        "at": posts[0].at,
        "started_at": posts[-1].at,
        "next_update_at": posts[0].next_update_at,
        "names": ", ".join(one["name"] for one in posts[-1].affected),
        "posts": posts,
    }


def page_html(picture: Picture) -> str:
    """The page as a file that works on any web server, in the language of readers outside: the stylesheet lies beside
    it."""
    with outside():
        return render_to_string("status/page.html", page_context(picture) | {"stylesheet": "status.css"})


def address(page: StatusPage) -> str:
    return f"{settings.LASTGOOD_PUBLIC_URL}{reverse('status-page', args=[page.slug])}"


def feed(picture: Picture) -> str:
    """An Atom feed (RFC 4287) with one entry per post, newest first; ids and times are those of the posts."""
    ET.register_namespace("", ATOM)
    root, page = ET.Element(f"{{{ATOM}}}feed"), picture.page
    posts = picture.posts[:50]
    born = min((component.created_at for component in picture.components), default=page.published_at)
    updated = posts[0].at if posts else born or picture.now
    _put(root, "id", address(page))
    _put(root, "title", page.name)
    _put(root, "updated", updated.isoformat())
    ET.SubElement(root, f"{{{ATOM}}}link", {"rel": "alternate", "href": address(page)})
    ET.SubElement(root, f"{{{ATOM}}}link", {"rel": "self", "href": f"{address(page)}feed.atom"})
    _put(ET.SubElement(root, f"{{{ATOM}}}author"), "name", page.name)
    for post in posts:
        entry = ET.SubElement(root, f"{{{ATOM}}}entry")
        _put(entry, "id", f"{address(page)}#post-{post.pk}")
        _put(entry, "title", headline(post))
        _put(entry, "updated", post.at.isoformat())
        _put(entry, "content", post.text)
        ET.SubElement(entry, f"{{{ATOM}}}link", {"rel": "alternate", "href": f"{address(page)}#post-{post.pk}"})
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def headline(post: StatusPost) -> str:
    """What a post tells in one line, for feeds and messages."""
    names = ", ".join(str(one["name"]) for one in post.affected)
    return f"{post.get_status_display()}: {names}" if names else str(post.get_status_display())


def _put(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, f"{{{ATOM}}}{name}").text = text
