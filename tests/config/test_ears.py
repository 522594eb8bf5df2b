"""A worker that hears nothing while messages wait is found; one that is busy, or has nothing to do, is left alone."""

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.ears import Ears
from tests.waiting import until

QUEUE = "ears-of-a-test"


def client() -> redis.Redis:
    made = redis.Redis.from_url(settings.REDIS_URL)
    made.delete(QUEUE)
    return made


def test_messages_that_wait_before_idle_hands_are_a_sign_of_deafness() -> None:
    ears, broker = Ears([QUEUE], hands=2, deaf_after=0.2), client()
    assert not ears.look(broker)
    broker.lpush(QUEUE, "a message")

    assert not ears.look(broker)
    until(lambda: ears.look(broker), seconds=60)
    ears.received()
    assert not ears.look(broker)
    broker.delete(QUEUE)


def test_a_worker_with_all_hands_full_is_not_deaf() -> None:
    ears, broker = Ears([QUEUE], hands=1, deaf_after=0), client()
    broker.lpush(QUEUE, "a message")
    ears.began()

    assert not any(ears.look(broker) for _ in range(5))
    broker.delete(QUEUE)


def test_a_broker_that_is_away_says_nothing_of_the_ears() -> None:
    ears = Ears([QUEUE], hands=1, deaf_after=0)
    away = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))

    assert not any(ears.look(away) for _ in range(3))
