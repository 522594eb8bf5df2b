import threading

import pytest
from django.db import connection, connections
from django.test import Client

from audit.models import AuditEvent
from monitoring import intake
from monitoring.models import Delivery, PredictionBatch
from monitoring.reading import ARROW
from tests.monitoring.world import answers, ingest_token, make_endpoint, make_hosts, part, stream

URL = "/api/v1/ingest/predictions/"


@pytest.fixture
def bearer(db):
    return {"Authorization": f"Bearer {ingest_token()}"}


def post(client, body, bearer, *, query="?endpoint=employment-production&host=gpu-1", key="batch-1", url=URL):
    headers = {**bearer, **({"Idempotency-Key": key} if key else {})}
    return client.post(url + query, data=body, content_type=ARROW, headers=headers)


def test_a_delivery_is_stored_before_it_is_answered_and_read_afterwards(client: Client, bearer):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    body = stream(answers(part(2017, 0, 5)).table)

    response = post(client, body, bearer)

    delivery = Delivery.objects.get()
    assert response.status_code == 202
    assert response.json() == {"delivery": str(delivery.pk), "state": "stored"}
    assert (delivery.source, delivery.key, delivery.endpoint, delivery.host) == (
        "predictions",
        "batch-1",
        endpoint,
        host,
    )
    assert bytes(delivery.body) == body
    assert not PredictionBatch.objects.exists()


def test_the_same_key_twice_is_one_delivery_and_answers_200(client: Client, bearer):
    make_endpoint()
    make_hosts("gpu-1")
    body = stream(answers(part(2017, 0, 5)).table)
    first = post(client, body, bearer)

    second = post(client, body, bearer)

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["delivery"] == second.json()["delivery"]
    assert Delivery.objects.count() == 1


def test_without_a_key_the_body_is_the_key(client: Client, bearer):
    make_endpoint()
    make_hosts("gpu-1")
    one, other = (stream(answers(part(2017, at, 5)).table) for at in (0, 5))

    statuses = [post(client, body, bearer, key="").status_code for body in (one, other, one)]

    assert statuses == [202, 202, 200]
    assert Delivery.objects.count() == 2


def test_a_key_that_came_with_another_body_is_refused_since_one_of_them_would_be_lost(client: Client, bearer):
    make_endpoint()
    post(client, b"first", bearer, key="k")

    response = post(client, b"second", bearer, key="k")

    assert response.status_code == 409
    assert bytes(Delivery.objects.get().body) == b"first"


def test_the_same_body_for_two_endpoints_is_two_deliveries(client: Client, bearer):
    make_endpoint()
    make_endpoint("employment-staging")

    statuses = [
        post(client, b"same", bearer, key="", query=f"?endpoint={slug}").status_code
        for slug in ("employment-production", "employment-staging")
    ]

    assert statuses == [202, 202]
    assert Delivery.objects.count() == 2


def test_an_unreadable_body_is_taken_too_since_its_sender_cannot_mend_it(client: Client, bearer):
    make_endpoint()
    make_hosts("gpu-1")

    response = post(client, b"no arrow", bearer)

    assert response.status_code == 202
    assert bytes(Delivery.objects.get().body) == b"no arrow"


def test_a_body_over_the_limit_is_refused_with_413(client: Client, bearer, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    make_endpoint()

    at_limit, over = post(client, b"x" * 1000, bearer, key="a"), post(client, b"x" * 1001, bearer, key="b")

    assert (at_limit.status_code, over.status_code) == (202, 413)
    assert over.json()["detail"] == "A delivery has at most 1000 bytes. Send it in smaller parts."
    assert Delivery.objects.count() == 1


def test_an_empty_body_an_unknown_endpoint_and_a_long_key_are_refused(client: Client, bearer):
    make_endpoint()

    empty = post(client, b"", bearer)
    unknown = post(client, b"x", bearer, query="?endpoint=nowhere")
    long_key = post(client, b"x", bearer, key="k" * 101)

    assert (empty.status_code, unknown.status_code, long_key.status_code) == (400, 404, 400)
    assert unknown.json()["detail"] == "No endpoint is called 'nowhere'. Add ?endpoint=<slug> of one."
    assert not Delivery.objects.exists()


def test_a_host_that_nobody_registered_still_hands_in_its_predictions(client: Client, bearer):
    make_endpoint()

    response = post(
        client, stream(answers(part(2017, 0, 5)).table), bearer, query="?endpoint=employment-production&host=x"
    )

    assert response.status_code == 202
    assert Delivery.objects.get().host is None


def test_without_a_token_or_with_another_scope_nothing_is_stored(client: Client, bearer):
    from accounts.models import ApiToken

    make_endpoint()
    anonymous = post(client, b"x", {})
    ApiToken.objects.update(scopes=["view"])

    wrong_scope = post(client, b"x", bearer)

    assert (anonymous.status_code, wrong_scope.status_code) == (401, 403)
    assert not Delivery.objects.exists()


def test_a_database_that_is_down_is_answered_with_503_and_a_time_to_come_back(client: Client, committed_db, free_port):
    make_endpoint()
    bearer = {"Authorization": f"Bearer {ingest_token()}"}
    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = str(free_port())
    try:
        response = post(client, b"x", bearer)
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port

    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert not Delivery.objects.exists()
    assert post(client, b"x", bearer).status_code == 202


def test_twenty_copies_at_once_are_one_delivery_read_once(committed_db):
    endpoint, [host] = make_endpoint(), make_hosts("gpu-1")
    body = stream(answers(part(2017, 0, 50)).table)
    results = []

    def hand_in():
        delivery, created = intake.accept(
            source="predictions", key="k", endpoint=endpoint, host=host, content_type=ARROW, body=body
        )
        results.append((delivery.pk, created, intake.process(delivery.pk)))
        connections.close_all()

    threads = [threading.Thread(target=hand_in) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({pk for pk, _, _ in results}) == 1
    assert sum(created for _, created, _ in results) == 1
    assert sum(read for _, _, read in results) == 1
    assert PredictionBatch.objects.get().rows == 50
    assert not AuditEvent.objects.exists()
