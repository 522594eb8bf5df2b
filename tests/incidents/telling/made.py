"""A status page with two components that people set, and an incident to tell of."""

from dataclasses import dataclass

from django.utils import timezone

from audit.actions import service_actor
from incidents import status
from incidents.models import Incident, StatusComponent, StatusPage, StatusPost
from incidents.telling import subscribers
from incidents.telling.models import Kind, Message, Subscriber, SubscriberState

TEST = service_actor("test")


@dataclass
class Told:
    page: StatusPage
    letters: StatusComponent
    offers: StatusComponent
    incident: Incident

    def post(self, text: str = "We look into it.", *, status_: str = "investigating", state: str = "partial_outage",
             of: StatusComponent | None = None) -> StatusPost:  # fmt: skip
        over = status_ == "resolved"
        return status.post(
            page=self.page, incident=self.incident, status=status_, text=text, by=None, actor=TEST,
            component_state="operational" if over else state, components=[of or self.letters],
        )  # fmt: skip

    def subscriber(self, address: str, kind: str = Kind.EMAIL, *components: StatusComponent) -> Subscriber:
        if kind == Kind.WEBHOOK:
            return subscribers.add_webhook(page=self.page, address=address, components=components, actor=TEST)[0]
        made = Subscriber.objects.create(page=self.page, kind=kind, address=address, state=SubscriberState.ACTIVE)
        made.components.set(components)
        return made

    def only(self) -> Message:
        return Message.objects.select_related("subscriber__page", "post__incident").get()


def build() -> Told:
    page = status.create_page(slug="services", name="Services", description="", public=True, actor=TEST)
    letters, offers = (status.add_component(page=page, name=name, actor=TEST) for name in ("Letters", "Offers"))
    incident = Incident.objects.create(
        number=7, ref="INC-7", title="x", severity=2, group_key="x", detected_at=timezone.now()
    )
    return Told(page, letters, offers, incident)
