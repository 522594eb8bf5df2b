"""The outbox: a row for each message to each subscriber, written in the transaction of what it tells. Whoever carries
messages out (`carry`) finds them there, and so does the clock."""

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record
from audit.dispatch import send_on_commit
from incidents.errors import IncidentError
from incidents.models import StatusPost
from incidents.telling.models import Kind, Message, MessageState, Subscriber, SubscriberState


def tell(post: StatusPost) -> None:
    """A message about the post to each subscriber of its page, and of one of its components where they chose some.
    Readers outside asked for letters of a public page: while it is for others, none are written to them."""
    named = [int(one["id"]) for one in post.affected]
    active = Subscriber.objects.filter(page=post.page_id, state=SubscriberState.ACTIVE)
    if not post.page.public:
        active = active.exclude(kind=Kind.EMAIL)
    told = active.filter(Q(components=None) | Q(components__in=named)).distinct().values_list("pk", "ref")
    _put(Message(key=f"post:{post.pk}:{ref}", subscriber_id=pk, post=post) for pk, ref in told.iterator())


def ask_to_confirm(subscriber: Subscriber) -> None:
    _put([Message(key=f"confirm:{subscriber.ref}", subscriber=subscriber)])


def note(*, key: str, subscriber: Subscriber, words: dict[str, object]) -> Message:
    """A message that is about no post: once for one key. Call it in the transaction of what it tells."""
    _put([Message(key=key, subscriber=subscriber, words=words)])
    return Message.objects.get(key=key)


def _put(messages: object) -> None:
    made = Message.objects.bulk_create(messages, batch_size=1000, ignore_conflicts=True)  # type: ignore[arg-type]
    if made:
        send_on_commit("telling.carry", [0], queue="intake")


def cancel_for(subscriber: Subscriber) -> int:
    """What still waits for a subscriber is not sent any more."""
    waiting = Message.objects.filter(subscriber=subscriber, state=MessageState.WAITING)
    return waiting.update(state=MessageState.CANCELLED)


@transaction.atomic
def replay(*, message: Message, actor: Actor, reason: str) -> None:
    """Send a message again that was taken or given up, under the same id. Raises IncidentError without a reason, while
    it waits, and where its subscriber is told no more."""
    if not reason.strip():
        raise IncidentError(gettext("Say in a sentence why it is sent again. Your reason is recorded."))
    told = message.subscriber.state == SubscriberState.ACTIVE
    over = (MessageState.SENT, MessageState.GIVEN_UP)
    done = told and Message.objects.filter(pk=message.pk, state__in=over).update(
        state=MessageState.WAITING, attempts=0, next_try_at=Now(), sent_at=None
    )
    if not done:
        raise IncidentError(
            gettext("Only what was taken or given up can be sent again, and only to who is still told.")
        )
    record(
        action="status.replay_message",
        target=Target("status_message", str(message.pk)),
        actor=actor,
        data={"key": message.key, "page": message.subscriber.page.slug if message.subscriber.page else ""},
        reason=reason.strip(),
    )
    send_on_commit("telling.carry", [0], queue="intake")
