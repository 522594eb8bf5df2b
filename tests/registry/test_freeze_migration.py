"""A database with freezes in the columns of its endpoints is brought to rows, and back."""

import datetime

from django.core.management import call_command
from django.utils import timezone

from registry import actions
from registry.models import FreezeWindow
from tests.conftest import CommittedDatabase
from tests.registry.world import ALICE, events, make_endpoint, make_registered_model

COLUMNS = "SELECT frozen_from, frozen_until, frozen_reason FROM registry_endpoint ORDER BY slug"


def test_freezes_go_into_columns_and_come_back_as_rows(committed_db: CommittedDatabase) -> None:
    model = make_registered_model()
    one, two, _ = (make_endpoint(model, slug=slug) for slug in ("one", "two", "unfrozen"))
    now, hour = timezone.now(), datetime.timedelta(hours=1)
    for endpoint, starts, hours in ((one, None, 2), (one, None, 4), (one, now + hour, 9), (two, now + 2 * hour, 3)):
        actions.freeze(
            endpoint=endpoint, starts=starts, until=now + hours * hour, reason=f"{hours} hours.", actor=ALICE
        )
    later = actions.freeze(endpoint=two, starts=now + 5 * hour, until=now + 6 * hour, reason="Later.", actor=ALICE)
    actions.lift(endpoint=two, window=later.pk, reason="No.", actor=ALICE)

    call_command("migrate", "registry", "0006", verbosity=0)
    held = committed_db.execute(COLUMNS)
    call_command("migrate", "registry", verbosity=0)

    assert held == [(None, now + 4 * hour, "4 hours."), (now + 2 * hour, now + 3 * hour, "3 hours."), (None, None, "")]
    rows = FreezeWindow.objects.order_by("endpoint__slug").values_list("starts", "until", "reason", "by", "lifted_at")
    assert list(rows) == [(*row, ALICE.id, None) for row in held[:2]]
    assert len(events("endpoint.freeze")) == 5
