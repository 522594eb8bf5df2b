"""Chat and push services, by apprise: it knows their forms, we make the calls. Each of its plugins talks to the network
by the name `requests` in its own module; there stands ours, which connects as everything else here does: to addresses
within LASTGOOD_TELLING_NETWORKS, resolved once, without redirects, within a time.

A service whose plugin calls the network in another way is not among SERVICES. A plugin chooses the machine of a hosted
service itself (hooks.slack.com); that name is resolved and held against the networks as well.
"""

import functools
import threading
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext

from accounts.outgoing import AddressRefused, FetchFailed, ask
from incidents.telling import notes

SECONDS = 8.0
SERVICES = {
    "slack": "slack",
    "workflow": "workflows",
    "workflows": "workflows",
    "mmost": "mattermost",
    "mmosts": "mattermost",
    "ntfy": "ntfy",
    "ntfys": "ntfy",
    "opsgenie": "opsgenie",
    "discord": "discord",
    "gchat": "google_chat",
    "gotify": "gotify",
    "gotifys": "gotify",
    "pover": "pushover",
}
"""Schemes that may be entered, and the plugin's module: Slack, Teams (workflows), Mattermost, ntfy, Opsgenie, Discord,
Google Chat, Gotify, Pushover."""


class ChatRefused(ValueError):
    """The address leads to no service that may be told. The message says which may."""


@dataclass(frozen=True)
class Answer:
    """What came of it; `final`: no other attempt makes sense."""

    taken: bool
    said: str
    final: bool = False


_last = threading.local()


@functools.cache
def _client() -> Any:
    """What stands for the module `requests` in apprise's plugins."""
    import requests
    from requests.adapters import BaseAdapter
    from requests.structures import CaseInsensitiveDict

    class Pinned(BaseAdapter):
        def send(self, request: Any, *_: Any, **__: Any) -> Any:
            body = request.body or b""
            _last.said, _last.status = "", 0
            # httpx says the machine and the length itself, from the same address and body.
            ours = {"host", "content-length", "accept-encoding", "connection"}
            headers = {name: value for name, value in request.headers.items() if name.lower() not in ours}
            try:
                got = ask(
                    request.method, request.url, networks=settings.LASTGOOD_TELLING_NETWORKS, headers=headers,
                    content=body.encode() if isinstance(body, str) else bytes(body), seconds=SECONDS, limit=2**16,
                    setting="LASTGOOD_TELLING_NETWORKS",
                )  # fmt: skip
            except (AddressRefused, FetchFailed) as error:
                _last.said = str(error)
                raise requests.ConnectionError(str(error)) from error
            _last.said, _last.status = str(got.status), got.status
            answer = requests.Response()
            answer.status_code, answer.url, answer.request = got.status, request.url, request
            answer.headers, answer._content = CaseInsensitiveDict(got.headers), got.body
            return answer

        def close(self) -> None:
            pass

    def call(method: str, url: str, **options: Any) -> Any:
        session = requests.Session()
        session.trust_env = False
        session.mount("http://", Pinned())
        session.mount("https://", Pinned())
        return session.request(method, url, **(options | {"allow_redirects": False}))

    verbs = {verb: functools.partial(call, verb.upper()) for verb in ("get", "post", "put", "patch", "delete")}
    return SimpleNamespace(**(vars(requests) | verbs | {"request": call}))


def plugin(url: str) -> Any:
    """apprise's object for the address of a service. Raises ChatRefused, also where the address names a template:
    apprise would open that file, or ask for that address, by connections of its own."""
    scheme = urlsplit(url).scheme.lower()
    if scheme not in SERVICES:
        raise ChatRefused(
            gettext("Give an address of apprise's that begins with one of: %(names)s.") % {"names": ", ".join(SERVICES)}
        )
    from apprise import Apprise, AppriseAsset, AppriseAttachment

    module = import_module(f"apprise.plugins.{SERVICES[scheme]}")
    module.requests = _client()  # type: ignore[attr-defined]
    asset = AppriseAsset(
        async_mode=False, app_id="Lastgood", app_desc="Lastgood", app_url="", secure_logging=True,
        image_url_mask="", image_url_logo="",
    )  # fmt: skip
    made = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if made is None or type(made).__module__ != module.__name__:
        raise ChatRefused(
            gettext("apprise can't read this address; its documentation says how one for the service is written.")
        )
    if any(isinstance(value, AppriseAttachment) and len(value) for value in vars(made).values()):
        raise ChatRefused(gettext("Leave the template out of the address: what is said is written here."))
    return made


def shown(url: str) -> str:
    """The address as it may be shown: without what is secret. Raises ChatRefused, also for an address with several
    targets: where one of them fails, another attempt would tell the others again."""
    made = plugin(url)
    if len(made) != 1:
        raise ChatRefused(gettext("Name one channel, topic or user in an address, and enter one way for each."))
    return str(made.url(privacy=True)).partition("?")[0]


def say(url: str, words: notes.Words) -> Answer:
    """Tell one service. Raises nothing that a network or a service can cause."""
    _last.said, _last.status = "", 0
    try:
        taken = plugin(url).notify(
            title=str(words.get("subject", "")),
            body=notes.text(words),
            notify_type={"trigger": "failure", "resolve": "success"}.get(str(words.get("event")), "info"),
        )
    except ChatRefused as refused:
        return Answer(False, str(refused), final=True)
    said = _last.said or "The service gave no answer."
    return Answer(bool(taken), said, final=_last.status in (400, 401, 403, 404, 410))
