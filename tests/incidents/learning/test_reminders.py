"""Reminders go to whoever they concern by the outbox, once for each key, and stop when there is nothing left to do."""

from datetime import datetime, timedelta

import pytest

from accounts.models import User
from audit.clock import database_now
from incidents import reviews, status
from incidents.learning import actions, reminders
from incidents.learning.models import Reminder, Signature
from incidents.models import ActionItem, Incident, Review, RoleHolding, StatusPost
from incidents.telling.models import Message
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")
DAY = timedelta(days=1)


def drafted(world: World) -> Review:
    return Review.objects.create(incident=world.incident(), summary="It answered worse.", causes="A bad release.")


def item_of(world: World, review: Review, due: datetime) -> ActionItem:
    return reviews.add_action_item(
        review=review, text="Test the encoder.", owner=world.users["kofi"], due_on=due.date(), actor=world.actor("rosa")
    )


def sent() -> list[tuple[str, str]]:
    found = Message.objects.filter(post=None).select_related("subscriber").order_by("key")
    return [(one.subscriber.address, str((one.words or {})["subject"])) for one in found]


def test_the_owner_of_an_action_item_is_reminded_once_before_and_once_after_it_is_due(world: World) -> None:
    # given an item that is due in two days
    review, now = drafted(world), database_now()
    item, ref = item_of(world, review, now + 2 * DAY), review.incident.ref
    assert "Your action item: Test the encoder." in world.client("kofi").get("/").content.decode()
    # when the clock asks again and again, and a second worker does the same
    assert reminders.items_due(now) == [item.pk]
    assert reminders.remind_of_item(item_id=item.pk, now=now) is True
    assert reminders.remind_of_item(item_id=item.pk, now=now) is False
    assert reminders.items_due(now) == []
    later = now + 4 * DAY
    assert reminders.items_due(later) == [item.pk]
    assert reminders.remind_of_item(item_id=item.pk, now=later) is True
    assert reminders.items_due(later) == []
    # then two messages wait in the outbox for the address of the owner's account, and both are on record
    assert sent() == [
        ("kofi@example.org", f"Action item of {ref}: overdue"),
        ("kofi@example.org", f"Action item of {ref}: soon"),
    ]
    message = Message.objects.get(key=f"reminder:item:{item.pk}:overdue")
    assert message.words is not None
    assert message.words["link"].endswith(f"/reviews/{ref}/")
    assert len(events(review.incident, "review.remind")) == 2


def test_what_is_done_is_not_reminded_of(world: World) -> None:
    review, now = drafted(world), database_now()
    item = item_of(world, review, now)
    reviews.finish_action_item(item=item, actor=world.actor("kofi"))
    assert reminders.items_due(now) == []
    assert reminders.remind_of_item(item_id=item.pk, now=now) is False
    assert not Reminder.objects.exists()
    assert not Message.objects.exists()


def test_who_has_no_address_is_reminded_on_the_first_page_alone(world: World) -> None:
    review, now = drafted(world), database_now()
    item = item_of(world, review, now)
    User.objects.filter(pk=world.users["kofi"].pk).update(email="")
    assert reminders.remind_of_item(item_id=item.pk, now=now) is True
    assert reminders.items_due(now) == []
    assert not Message.objects.exists()


def test_who_was_asked_to_sign_is_reminded_once_and_only_of_what_can_be_signed(world: World) -> None:
    review, now = drafted(world), database_now()
    accept, sign = (
        actions.ask(review=review, kind=kind, user=world.users["vera"], actor=world.actor("rosa"))
        for kind in ("acceptance", "sign_off")
    )
    assert reminders.signatures_due(now + 2 * DAY) == []
    # a draft can't be signed off yet; what was asked can be accepted
    assert reminders.signatures_due(now + 4 * DAY) == [accept.pk]
    assert reminders.remind_of_signature(signature_id=sign.pk, now=now + 4 * DAY) is False
    assert reminders.remind_of_signature(signature_id=accept.pk, now=now + 4 * DAY) is True
    reviews.publish(review=review, actor=world.actor("kofi"))
    assert reminders.signatures_due(now + 4 * DAY) == [sign.pk]
    Signature.objects.filter(pk=sign.pk).update(answer="yes")
    assert reminders.signatures_due(now + 4 * DAY) == []
    assert sent() == [("vera@example.org", f"Review of {review.incident.ref}: your answer is waited for")]


def test_who_speaks_to_the_readers_is_reminded_of_an_update_that_is_late(world: World) -> None:
    # given an update that was promised within half an hour
    page, incident, now = world.status_page(), world.incident(), database_now()
    first = status.post(
        page=page, incident=incident, status="investigating", component_state="degraded_performance", text="Slow.",
        components=list(page.components.all()), next_update_at=now + timedelta(minutes=30), by=None,
        actor=world.actor("rosa"),
    )  # fmt: skip
    late = now + timedelta(minutes=32)
    assert reminders.updates_due(late) == []
    RoleHolding.objects.create(incident=incident, role="commander", user=world.users["kofi"])
    RoleHolding.objects.create(incident=incident, role="communications", user=world.users["rosa"])
    assert reminders.updates_due(now + timedelta(minutes=29)) == []
    assert reminders.updates_due(late) == [first.pk]
    # when it is late, whoever holds communications is told, not the commander, and once
    assert reminders.remind_of_update(post_id=first.pk, now=late) is True
    assert reminders.remind_of_update(post_id=first.pk, now=late) is False
    assert sent() == [("rosa@example.org", f"{incident.ref}: the next update is late")]
    assert len(events(incident, "incident.remind")) == 1
    # and nobody is told of one of another day, of an incident that is over, or of one that came
    Reminder.objects.all().delete()
    assert reminders.updates_due(now + 2 * DAY) == []
    Incident.objects.filter(pk=incident.pk).update(state="resolved")
    assert reminders.updates_due(late) == []
    Incident.objects.filter(pk=incident.pk).update(state="mitigating")
    assert reminders.updates_due(late) == [first.pk]
    StatusPost.objects.create(page=page, incident=incident, status="monitoring", text="Better.", affected=[])
    assert reminders.updates_due(late) == []
