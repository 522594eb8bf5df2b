"""What is done on hosts when another version, or none, is named to fall back on."""

import logging
from typing import Any

from django.db import transaction

from incidents.rollback import fleet
from incidents.rollback.trials import UNLOADED, is_busy, needed_by, unloaded
from registry.models import Endpoint, Host, Version
from registry.serving.base import ServingError

logger = logging.getLogger(__name__)


def let_go(endpoint_id: Any, version_id: Any) -> list[str]:
    """Take a version that was named to fall back on out of the memory of each host where nothing else needs it; the
    names of the hosts that it left.

    Done once: a host that does not answer now, or that a run or a trial is at, keeps it, which costs memory and nothing
    else.
    """
    endpoint = Endpoint.objects.select_related("model").get(pk=endpoint_id)
    version = Version.objects.get(pk=version_id)
    rows = endpoint.placements.filter(host__drained_at=None).select_related("host").order_by("host__name")
    left = []
    for host in (row.host for row in rows):
        try:
            if _is_needed(endpoint, host, version):
                continue
            if unloaded(fleet.reach(host, endpoint), version, "", "fallback over") == UNLOADED:
                left.append(host.name)
        except ServingError as error:
            logger.warning("rollback.fallback.kept host=%s error=%s", host.name, error)
    return left


def _is_needed(endpoint: Endpoint, host: Host, version: Version) -> bool:
    with transaction.atomic():
        now = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        return is_busy(now.pk) or bool(needed_by(now, host, version))
