"""The verbs on sources, stored queries and scrapes: make one, change it, end it."""

import re
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.outgoing import AddressRefused, allowed_addresses, split_address
from audit.actions import Actor, Target, record
from audit.clock import database_now
from monitoring.pull.asking import SETTING, PullFailed, place_of, query_range
from monitoring.pull.models import Credential, Exporter, Query, Scrape, Source
from registry import sealing
from registry.models import Endpoint, Host

STEPS = (15, 3600)
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,59}")
AT_FIRST = timedelta(days=1)
"""So far back a new query fills its series."""


class PullRefused(ValueError):
    """The change is not made. The message says what to do instead."""


def create_source(
    *,
    name: str,
    address: str,
    actor: Actor,
    credential: str = Credential.NONE,
    username: str = "",
    secret: str = "",
    host_label: str = "instance",
) -> Source:
    """A server to ask. Its secret is sealed and never shown. Raises PullRefused for an address that is not allowed, a
    name that is taken, and a credential without its parts."""
    _check(address)
    _check_credential(credential, username, secret)
    with transaction.atomic():
        source, created = Source.objects.get_or_create(
            name=name, defaults={"address": address, "host_label": host_label[:60]}
        )
        if not created:
            raise PullRefused(
                gettext("There is a source %(name)s already. Change its credential, or choose another name.")
                % {"name": name}
            )
        _seal(source, credential, username, secret)
        record(
            action="metric_source.create",
            target=Target("metric_source", name),
            actor=actor,
            data={"address": address, "credential": str(credential)},
        )
    return source


@transaction.atomic
def set_credential(*, source: Source, credential: str, actor: Actor, username: str = "", secret: str = "") -> None:
    """Replace what the source is asked with. Raises PullRefused where it was ended, or parts are missing."""
    _check_credential(credential, username, secret)
    if not Source.objects.select_for_update().filter(pk=source.pk, ended_at=None).exists():
        raise PullRefused(gettext("The source %(name)s was ended. Make one of another name.") % {"name": source.name})
    _seal(source, credential, username, secret)
    data = {"credential": str(credential)}
    record(action="metric_source.credential", target=Target("metric_source", source.name), actor=actor, data=data)


@transaction.atomic
def end_source(*, source: Source, actor: Actor) -> None:
    """Ask it nothing any more; what came stays. Its queries end with it. Raises PullRefused when it was ended."""
    if not Source.objects.filter(pk=source.pk, ended_at=None).update(ended_at=Now(), secret_sealed=b""):
        raise PullRefused(gettext("The source %(name)s was ended before.") % {"name": source.name})
    queries = Query.objects.filter(source=source, ended_at=None).update(ended_at=Now())
    data = {"queries": queries}
    record(action="metric_source.end", target=Target("metric_source", source.name), actor=actor, data=data)


def create_query(
    *,
    source: Source,
    endpoint: Endpoint,
    name: str,
    promql: str,
    actor: Actor,
    step_seconds: int = 60,
    unit: str = "",
) -> Query:
    """Have the expression's answers kept as the endpoint's metric `name`, from a day ago on.

    The source is asked first, so that nothing is stored that it does not understand. Raises PullRefused with what it
    said, and where the name is no metric's, the step not from 15 s to an hour, or the endpoint pulls that name already.
    """
    if not NAME.fullmatch(name):
        raise PullRefused(
            gettext("A metric's name has letters, digits and underscores, at most 60, and begins with no digit.")
        )
    if not STEPS[0] <= step_seconds <= STEPS[1]:
        raise PullRefused(
            gettext("The step must be from %(steps)s to %(steps_2)s seconds.")
            % {"steps": STEPS[0], "steps_2": STEPS[1]}
        )
    now, step = database_now(), timedelta(seconds=step_seconds)
    try:
        query_range(source, promql, now - 5 * step, now, step)
    except PullFailed as error:
        raise PullRefused(str(error)) from error
    try:
        with transaction.atomic():
            query = Query.objects.create(
                source=source, endpoint=endpoint, name=name, promql=promql, step_seconds=step_seconds,
                unit=unit[:20], done_until=now - AT_FIRST,
            )  # fmt: skip
            data = {"source": source.name, "endpoint": endpoint.slug, "name": name, "promql": promql}
            record(action="metric_query.create", target=Target("metric_query", str(query.pk)), actor=actor, data=data)
    except IntegrityError as error:
        raise PullRefused(
            gettext("%(slug)s pulls %(name)s already. End that query first.") % {"slug": endpoint.slug, "name": name}
        ) from error
    return query


@transaction.atomic
def end_query(*, query: Query, actor: Actor) -> None:
    """Pull it no more; what came stays. Raises PullRefused when it was ended before."""
    if not Query.objects.filter(pk=query.pk, ended_at=None).update(ended_at=Now()):
        raise PullRefused(gettext("The query %(name)s was ended before.") % {"name": query.name})
    record(
        action="metric_query.end",
        target=Target("metric_query", str(query.pk)),
        actor=actor,
        data={"endpoint": query.endpoint.slug, "name": query.name},
    )


def scrape_host(*, host: Host, exporter: str, address: str, actor: Actor, every_seconds: int = 15) -> Scrape:
    """Read the page of figures by the clock; a scrape of that exporter on the host is replaced. Raises PullRefused for
    an address that is not allowed, and for less than 5 s or more than an hour between readings."""
    _check(address)
    if exporter not in Exporter.values or not 5 <= every_seconds <= 3600:
        raise PullRefused(
            gettext("Choose one of %(names)s, and from 5 to 3600 seconds.") % {"names": ", ".join(Exporter.values)}
        )
    with transaction.atomic():
        scrape, _ = Scrape.objects.update_or_create(
            host=host, exporter=exporter,
            defaults={
                "address": address, "every_seconds": every_seconds, "ended_at": None, "counters": {}, "problem": "",
                "down_since": None, "answered_at": None, "next_at": database_now(),
            },
        )  # fmt: skip
        data = {"host": host.name, "exporter": exporter, "address": address}
        record(action="scrape.set", target=Target("scrape", str(scrape.pk)), actor=actor, data=data)
    return scrape


@transaction.atomic
def end_scrape(*, scrape: Scrape, actor: Actor) -> None:
    """Read it no more. Raises PullRefused when it was ended before."""
    if not Scrape.objects.filter(pk=scrape.pk, ended_at=None).update(ended_at=Now()):
        raise PullRefused(gettext("That page is read no more already."))
    data = {"host": scrape.host.name, "exporter": scrape.exporter}
    record(action="scrape.end", target=Target("scrape", str(scrape.pk)), actor=actor, data=data)


def floor_to(at: datetime, step: timedelta) -> datetime:
    """The latest whole multiple of `step` since 1970 that is not after `at`."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, at.tzinfo)


def _check(address: str) -> None:
    try:
        name, port = split_address(address)
        allowed_addresses(name, port, settings.LASTGOOD_PULL_NETWORKS, SETTING)
    except AddressRefused as error:
        raise PullRefused(str(error)) from error


def _check_credential(credential: str, username: str, secret: str) -> None:
    if credential not in Credential.values:
        raise PullRefused(gettext("A credential is one of %(names)s.") % {"names": ", ".join(Credential.values)})
    if credential != Credential.NONE and not secret:
        raise PullRefused(gettext("Enter the secret that the source asks for."))
    if credential == Credential.BASIC and (not username or ":" in username):
        raise PullRefused(gettext("Enter a user name, without a colon."))
    if not (secret.isascii() and secret.isprintable() and username.isprintable()):
        raise PullRefused(gettext("A secret has letters, digits and signs of ASCII alone."))


def _seal(source: Source, credential: str, username: str, secret: str) -> None:
    sealed = sealing.seal(secret, place_of(source)) if credential != Credential.NONE else b""
    named = username if credential == Credential.BASIC else ""
    Source.objects.filter(pk=source.pk).update(credential=credential, username=named[:100], secret_sealed=sealed)
