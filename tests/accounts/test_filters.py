"""What a list's filters make of the query of an address."""

import pytest

from tests.api.programs import anybody

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/monitors/"


@pytest.mark.parametrize("said", ["4.7", "yes", "0", "TRUE", "", "true&enabled=no"])
def test_a_filter_of_true_or_false_refuses_anything_else_by_its_name(said):
    answer = anybody().client.get(f"{ADDRESS}?enabled={said}")

    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "enabled", "detail": "Send true or false, or leave it out."}]


@pytest.mark.parametrize("said", ["", "?enabled=true", "?enabled=False"])
def test_a_filter_takes_true_and_false_and_may_be_left_out(said):
    assert anybody().client.get(f"{ADDRESS}{said}").status_code == 200


def test_a_page_without_a_number_is_refused_and_a_search_for_nothing_finds_nothing():
    client = anybody().client

    assert client.get(f"{ADDRESS}?page=").json()["errors"][0]["field"] == "page"
    assert client.get("/api/v1/search/").json() == []


def test_an_empty_time_counts_as_not_given_and_one_that_is_no_time_is_refused():
    client = anybody().client

    assert client.get("/api/v1/audit/events/?until=").status_code == 200
    assert client.get("/api/v1/audit/events/?until=noon").status_code == 400
