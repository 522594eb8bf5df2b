"""Reading a page of figures by the clock, and keeping what it says for the endpoints of its host."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.outgoing import AddressRefused, FetchFailed, fetch
from audit.actions import Target, record, service_actor
from audit.clock import database_now
from monitoring.models import Monitor
from monitoring.pull.actions import PullRefused, scrape_host
from monitoring.pull.asking import SETTING
from monitoring.pull.figures import Figure, Reading, UnknownPage, read_page, since_before
from monitoring.pull.known import PORTS
from monitoring.pull.models import Exporter, Scrape
from monitoring.reading import PointRow
from monitoring.series import keep_points
from registry.models import Endpoint, Host

SECONDS, MOST_BYTES = 4.0, 4 * 2**20
UP = "host_up"
FORGOTTEN_AFTER = 10
"""A reading so many times `every_seconds` ago tells no rate: counters may have begun anew more than once since."""

SERVICE = service_actor("pull")


def scrape(scrape_id: int) -> int:
    """Read one page, and keep what it says. Returns how many points were kept.

    A page that does not come is no figure of anything: the point `host_up` says 0, everything else has a gap, and the
    scrape says since when and why.
    """
    now = database_now()
    due = Scrape.objects.filter(pk=scrape_id, ended_at=None, next_at__lte=now)
    found = due.select_related("host").first()
    if found is None or not due.update(next_at=now + timedelta(seconds=found.every_seconds)):
        return 0
    try:
        body = fetch(
            found.address, networks=settings.LASTGOOD_PULL_NETWORKS, seconds=SECONDS, limit=MOST_BYTES, setting=SETTING
        )
        page = read_page(found.exporter, body.decode())
    except (AddressRefused, FetchFailed, UnicodeDecodeError, UnknownPage) as error:
        return _down(found, str(error), database_now())
    return _up(found, page, database_now())


def unread_hosts() -> list[int]:
    """Hosts of watched endpoints that serve by Lastgood's own program and whose page nobody has ever set to be read."""
    watched = Monitor.objects.filter(enabled=True).values("endpoint")
    hosts = Host.objects.filter(engine=Exporter.BUNDLED, placements__endpoint__in=watched)
    read = Scrape.objects.filter(exporter=Exporter.BUNDLED).values("host")
    return list(hosts.exclude(pk__in=read).distinct().values_list("pk", flat=True)[:50])


def read_host(host_id: int) -> None:
    """Read the host's page of figures from now on. An address that is not allowed is left alone."""
    host = Host.objects.filter(pk=host_id).first()
    if host is None or Scrape.objects.filter(host=host, exporter=Exporter.BUNDLED).exists():
        return
    address = default_address(host, Exporter.BUNDLED)
    try:
        scrape_host(host=host, exporter=Exporter.BUNDLED, address=address, actor=SERVICE)
    except PullRefused as error:
        Scrape.objects.get_or_create(
            host=host, exporter=Exporter.BUNDLED,
            defaults={"address": address, "problem": str(error)[:500], "ended_at": database_now()},
        )  # fmt: skip


def default_address(host: Host, exporter: str) -> str:
    """Where the exporter's page is on the host's machine unless somebody moved it."""
    port, path = PORTS[exporter]
    parts = urlsplit(host.address)
    machine = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{parts.netloc if port is None else f'{machine}:{port}'}{path}"


def _up(found: Scrape, page: Reading, at: datetime) -> int:
    figures = list(page.values)
    before = found.answered_at
    if before is not None and at - before < FORGOTTEN_AFTER * timedelta(seconds=found.every_seconds):
        figures += since_before(page, found.counters, (at - before).total_seconds())
    figures.append(_is_up(found, 1.0))
    with transaction.atomic():
        if not _as_asked(found).update(answered_at=at, counters=page.counters, problem="", down_since=None):
            return 0
        kept = _keep(found.host, figures, at)
        if found.down_since is not None:
            _note(found, "")
    return kept


def _down(found: Scrape, problem: str, at: datetime) -> int:
    with transaction.atomic():
        if not _as_asked(found).update(problem=problem[:500], down_since=found.down_since or at):
            return 0
        kept = _keep(found.host, [_is_up(found, 0.0)], at)
        if found.down_since is None:
            _note(found, problem)
    return kept


def _as_asked(found: Scrape) -> QuerySet[Scrape]:
    """The scrape, unless it was ended or given another address while its page was read: then the page says nothing."""
    return Scrape.objects.filter(
        pk=found.pk, ended_at=None, address=found.address, answered_at=found.answered_at, down_since=found.down_since
    )


def _is_up(found: Scrape, value: float) -> Figure:
    return Figure(UP, value, "", column=f"exporter={found.exporter}")


def _keep(host: Host, figures: list[Figure], at: datetime) -> int:
    """Write the figures as points of each endpoint on the host; those of a model only to the endpoints of that one."""
    kept = 0
    for endpoint in Endpoint.objects.filter(placements__host=host).select_related("model").distinct():
        rows = [
            PointRow(one.name, at, one.value, one.n, host.name, one.version[:40], one.column, one.unit)
            for one in figures
            if one.model in ("", endpoint.model.slug)
        ]
        if rows:
            kept += keep_points(endpoint, host, rows)[0]
    return kept


def _note(found: Scrape, problem: str) -> None:
    record(
        action="scrape.read",
        target=Target("scrape", str(found.pk)),
        actor=SERVICE,
        data={"host": found.host.name, "exporter": found.exporter},
        reason=problem[:500],
        outcome="failed" if problem else "success",
    )
