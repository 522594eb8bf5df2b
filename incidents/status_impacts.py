"""What each component of a page is and was, read from the posts: the newest word of each incident or maintenance on a
component holds until that incident is resolved, or that maintenance is over."""

from collections import defaultdict
from collections.abc import Iterable

from django.db.models import Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from incidents.models import (
    ComponentState,
    Incident,
    PostStatus,
    Quality,
    StatusComponent,
    StatusPage,
    StatusPost,
    WindowStatus,
)
from incidents.status_history import Told, worst

OVER = {PostStatus.RESOLVED, WindowStatus.COMPLETED, WindowStatus.CANCELLED}


def shown(page: StatusPage) -> QuerySet[StatusComponent]:
    """The components that the page shows, groups among them, in their order."""
    return page.components.filter(retired_at=None)


def hit(page: StatusPage, incident: Incident) -> list[StatusComponent]:
    """The components behind which the incident's endpoint, or its model, stands."""
    if incident.endpoint is None:
        return []
    meant = Q(endpoint=incident.endpoint) | Q(model=incident.endpoint.model_id)
    return list(shown(page).filter(meant))


def told_before(page: StatusPage, incident: Incident) -> list[StatusComponent]:
    """The components, still shown, of which something was told with the incident."""
    named = {int(one["id"]) for post in page.posts.filter(incident=incident) for one in post.affected}
    return list(shown(page).filter(pk__in=named, is_group=False))


def pages_showing(incident: Incident) -> QuerySet[StatusPage]:
    if incident.endpoint is None:
        return StatusPage.objects.none()
    meant = Q(endpoint=incident.endpoint) | Q(model=incident.endpoint.model_id)
    return StatusPage.objects.filter(pk__in=StatusComponent.objects.filter(meant, retired_at=None).values("page"))


def told_of(posts: Iterable[StatusPost]) -> dict[int, list[Told]]:
    """By component, for how long each incident and maintenance said what of it. Posts in any order."""
    found: dict[int, list[Told]] = defaultdict(list)
    now: dict[tuple[int | None, int | None], dict[int, Told]] = defaultdict(dict)
    for post in sorted(posts, key=lambda post: (post.at, post.pk)):
        said = now[post.incident_id, post.maintenance_id]
        named = {int(one["id"]): str(one["new"]) for one in post.affected}
        for component in list(said) if post.status in OVER else named.keys() & said.keys():
            before = said.pop(component)
            found[component].append(Told(before.start, post.at, before.state))
        if post.status not in OVER:
            said |= {component: Told(post.at, None, state) for component, state in named.items()}
    for said in now.values():
        for component, told in said.items():
            found[component].append(told)
    return found


def open_posts(page: StatusPage) -> QuerySet[StatusPost]:
    """All posts of the page's incidents and maintenances that are not over."""
    by_incident = page.posts.filter(incident=OuterRef("incident")).order_by("-at", "-id")
    by_window = page.posts.filter(maintenance=OuterRef("maintenance")).order_by("-at", "-id")
    last = Coalesce(Subquery(by_incident.values("status")[:1]), Subquery(by_window.values("status")[:1]))
    return page.posts.annotate(last=last).exclude(last__in=OVER)


def settle(page: StatusPage) -> None:
    """Set each component to the worst that is told of it now, and each group to the worst of its members. Call it in a
    transaction that has changed the page's row, so that two can't settle it at once."""
    posts = list(open_posts(page))
    states: dict[int, list[str]] = {
        key: [one.state for one in told if one.end is None] for key, told in told_of(posts).items()
    }
    qualities: dict[int, set[str]] = defaultdict(set)
    newest: dict[tuple[int | None, int | None, int], str] = {}
    for post in sorted(posts, key=lambda post: (post.at, post.pk)):
        for one in post.affected:
            newest[post.incident_id, post.maintenance_id, int(one["id"])] = str(one.get("quality", ""))
    for (_, _, component), quality in newest.items():
        qualities[component].add(quality)
    components = list(page.components.all())
    settled = {
        one.pk: (worst(states.get(one.pk, [])), _quality(qualities[one.pk])) for one in components if not one.is_group
    }
    for group in components:
        if group.is_group:
            inside = [one for one in components if one.group_id == group.pk and one.retired_at is None]
            settled[group.pk] = (
                worst(settled[one.pk][0] for one in inside if not one.is_group),
                _quality({settled[one.pk][1] for one in inside if not one.is_group}),
            )
    for component in components:
        state, quality = settled[component.pk]
        if component.state != state:
            page.components.filter(pk=component.pk).update(state=state, quality=quality, since=Now())
        elif component.quality != quality:
            page.components.filter(pk=component.pk).update(quality=quality)


def _quality(told: set[str]) -> str:
    return next((str(one) for one in (Quality.DEGRADED, Quality.FALLBACK) if one in told), "")


def overall(page: StatusPage) -> str:
    """The worst state of the page's components, by Statuspage's order."""
    return worst(component.state for component in page.components.all() if component.retired_at is None)


def next_position(page: StatusPage) -> int:
    return int(page.components.aggregate(last=Max("position"))["last"] or 0) + 1


def as_told(components: Iterable[StatusComponent], state: str, quality: str) -> list[dict[str, object]]:
    """What a post keeps of the components that it names."""
    return [
        {"id": one.pk, "name": one.name, "old": one.state, "new": str(state), "quality": str(quality)}
        for one in components
    ]


def operational(status: str, state: str) -> bool:
    """Whether a state may be told at the end of an incident or a maintenance."""
    return status not in OVER or state == ComponentState.OPERATIONAL
