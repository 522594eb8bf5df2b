"""The test harness itself: who the tests are, and that what one test commits no other test sees."""

import pytest
from django.db import connection


@pytest.mark.django_db
def test_tests_connect_as_the_applications_login():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        user, database = cursor.fetchone()
    assert user == "lastgood_app"
    assert database.startswith("lastgood_")
    assert database != "lastgood_template"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", [1, 2])
def test_committed_rows_are_gone_in_the_next_test(attempt):
    from accounts.models import User

    assert User.objects.count() == 0
    User.objects.create(username="committed")
