"""Lists of incidents that people keep: the filters of an address under a name."""

from urllib.parse import parse_qsl, urlencode

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record
from incidents.errors import IncidentError
from incidents.working.models import SavedView

FILTERS = ("q", "state", "severity", "endpoint")


def _filters(query: str) -> str:
    """Only what filters, in the order in which it came."""
    return urlencode([(name, value) for name, value in parse_qsl(query.lstrip("?")) if name in FILTERS and value])


@transaction.atomic
def save_view(*, user: User, name: str, query: str, shared: bool = False, actor: Actor) -> SavedView:
    """Keep the list under a name; one of that name is replaced. The log holds neither name nor filters: they are a
    person's own words."""
    kept = _filters(query)
    if not kept:
        raise IncidentError(gettext("Filter the list first; a view without filters is the list itself."))
    if len(kept) > 500:
        raise IncidentError(gettext("The filters are too long to keep. Shorten the text."))
    try:
        with transaction.atomic():
            view, _ = SavedView.objects.update_or_create(
                user=user, name=name.strip(), defaults={"query": kept, "shared": shared}
            )
    except IntegrityError:
        raise IncidentError(gettext("You saved a view of that name at the same moment. Load the page again.")) from None
    record(
        action="incident_view.save", target=Target("incident_view", str(view.pk)), actor=actor, data={"shared": shared}
    )
    return view


@transaction.atomic
def drop_view(*, user: User, pk: int, actor: Actor) -> None:
    """Forget one of the person's own views."""
    if not SavedView.objects.filter(pk=pk, user=user).delete()[0]:
        raise IncidentError(gettext("You have no such view. Who saved a shared one drops it."))
    record(action="incident_view.drop", target=Target("incident_view", str(pk)), actor=actor, data={})


def views_for(user: User) -> QuerySet[SavedView]:
    """The person's own and what others share."""
    return SavedView.objects.filter(Q(user=user) | Q(shared=True)).select_related("user")
