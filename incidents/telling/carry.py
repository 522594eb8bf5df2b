"""Carries messages out of the outbox. One process does at a time; in it each receiver is served by one thread at most,
in the order of its messages, so that a receiver that is slow or away keeps nobody else waiting."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from audit.locks import held
from incidents.telling.letters import Outcome, send
from incidents.telling.models import Attempt, Kind, Message, MessageState, Subscriber, SubscriberState
from incidents.telling.subscribers import end

log = logging.getLogger(__name__)

LOCK = 0x7E11
CLAIM = timedelta(seconds=60)
"""Longer than any attempt takes; who died with a claim holds it no longer than this."""
THREADS = {Kind.EMAIL: 4, Kind.WEBHOOK: 12, Kind.PAGER: 4, Kind.CHAT: 8}
"""How many receivers of a kind are served at once: the mail server is one for all e-mail."""
WAITS = (5, 30, 120, 600, 1800, 3600)
"""Seconds after each failed attempt; after the last the message is given up."""
LONGEST_WAIT = 3600
CALL_WAITS = (5, 10, 20, 40, 60, 60, 60, 60, 60, 60)
"""The same for what calls somebody to an incident: it is of no use an hour later, and no receiver may defer it."""


def has_waiting(now: datetime) -> bool:
    return _receivers(now).exists()


def _receivers(now: datetime | Now) -> QuerySet[Subscriber]:
    """Receivers whom nobody serves, and whose oldest message may go out now."""
    waiting = Message.objects.filter(subscriber=OuterRef("pk"), state=MessageState.WAITING)
    later = waiting.filter(next_try_at__gt=now)
    return Subscriber.objects.filter(Exists(waiting), ~Exists(later), busy_until__lte=now).exclude(
        state=SubscriberState.ENDED
    )


def carry(*, seconds: float = 20.0) -> int:
    """Send what waits, for at most about so many seconds; returns how many attempts were made. 0 where another process
    does it."""
    with held(LOCK, 0) as mine:
        return _carry(time.monotonic() + seconds) if mine else 0


def _carry(deadline: float) -> int:
    made, running = 0, dict[Future[None], Message]()
    with ThreadPoolExecutor(sum(THREADS.values()), thread_name_prefix="telling") as pool:
        while True:
            if time.monotonic() < deadline:
                for kind, most in THREADS.items():
                    serving = [message.subscriber for message in running.values()]
                    free = most - sum(receiver.kind == kind for receiver in serving)
                    for message in _claimed(kind, free, besides=[receiver.pk for receiver in serving]):
                        running[pool.submit(_attempt, message)] = message
                        made += 1
            if not running:
                return made
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                future.result()


def _claimed(kind: str, most: int, besides: Iterable[int] = ()) -> list[Message]:
    """The oldest message of each of some receivers, who are held against everybody else. `besides`: keys of receivers
    whom this process serves at the moment, for however long that takes."""
    if most < 1:
        return []
    claimed = []
    # Who is called to an incident goes before everybody who reads a status page, however many those are.
    free = (
        _receivers(Now())
        .filter(kind=kind)
        .exclude(pk__in=list(besides))
        .order_by(F("page").asc(nulls_first=True), "busy_until")
    )
    for pk in free.values_list("pk", flat=True)[:most]:
        if Subscriber.objects.filter(pk=pk, busy_until__lte=Now()).update(busy_until=Now() + CLAIM):
            waiting = Message.objects.filter(subscriber=pk, state=MessageState.WAITING)
            message = waiting.select_related("subscriber__page", "post__incident").order_by("created_at", "key").first()
            if message is not None:
                claimed.append(message)
            else:
                _let_go(pk)
    return claimed


def _attempt(message: Message) -> None:
    try:
        began = time.monotonic()
        outcome = _sent(message)
        _keep(message, outcome, round((time.monotonic() - began) * 1000))
    finally:
        connections.close_all()


def _sent(message: Message) -> Outcome:
    """One that nobody foresaw is an attempt like others: given up in the end, and nobody else waits for it."""
    try:
        return send(message)
    except Exception as error:
        log.exception("telling.attempt.failed message=%s", message.pk)
        return Outcome(False, f"It could not be sent: {type(error).__name__}.")


@transaction.atomic
def _keep(message: Message, outcome: Outcome, took_ms: int) -> None:
    """What the receiver answered, and what comes of it; the receiver is free for the next."""
    # The subscriber's row before the message's, as whoever ends a subscription takes them.
    _let_go(message.subscriber_id)
    Attempt.objects.create(message=message, took_ms=took_ms, taken=outcome.taken, answer=outcome.answer[:300])
    mine = Message.objects.filter(pk=message.pk, state=MessageState.WAITING)
    waits, longest = (WAITS, LONGEST_WAIT) if message.words is None else (CALL_WAITS, max(CALL_WAITS))
    if outcome.taken:
        mine.update(state=MessageState.SENT, attempts=F("attempts") + 1, sent_at=Now())
    elif outcome.final or message.attempts >= len(waits):
        mine.update(state=MessageState.GIVEN_UP, attempts=F("attempts") + 1)
    else:
        seconds = min(longest, max(waits[message.attempts], outcome.after))
        mine.update(attempts=F("attempts") + 1, next_try_at=Now() + timedelta(seconds=seconds))
    if outcome.gone:
        end(subscriber=message.subscriber, how="gone")


def _let_go(pk: int) -> None:
    Subscriber.objects.filter(pk=pk).update(busy_until=Now())
