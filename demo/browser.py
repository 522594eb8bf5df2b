"""A person at a browser, without the browser: signs in, reads pages, fills in the forms that it finds there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx


class PageError(RuntimeError):
    """A page or a form was not what a person would have expected; the message names the page."""


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """Collects forms with the values that a browser would send when nothing is changed, and the page's messages."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.choices: dict[str, list[tuple[str, str]]] = {}
        self._select, self._several = "", False
        self._option: tuple[str, str] | None = None
        self._textarea = ""
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(urljoin(self.base, given.get("action", "")), given.get("method", "get").lower()))
        elif tag in ("script", "style"):
            self._silent += 1
        elif self.forms:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        fields, name = self.forms[-1].fields, given.get("name", "")
        if tag == "input" and name:
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio"):
                self.choices.setdefault(name, []).append((given.get("value", "on"), ""))
                if "checked" in given:
                    fields[name] = given.get("value", "on")
            elif kind not in ("submit", "button", "file"):
                fields[name] = given.get("value", "")
        elif tag == "select":
            self._select, self._several = name, "multiple" in given
        elif tag == "option" and self._select:
            self._option = (self._select, given.get("value", ""))
            if "selected" in given or (self._select not in fields and not self._several):
                fields[self._select] = given.get("value", "")
        elif tag == "textarea" and name:
            self._textarea = name
            fields[name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""
        elif tag in ("script", "style"):
            self._silent -= 1

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1].fields[self._textarea] += data
            return
        if self._option is not None:
            name, value = self._option
            self.choices.setdefault(name, []).append((value, data.strip()))
            self._option = None
        if not self._silent and data.strip():
            self.text.append(data.strip())


@dataclass
class Page:
    url: str
    status: int
    forms: list[Form]
    parts: list[str]
    offered: dict[str, list[tuple[str, str]]]

    @property
    def text(self) -> str:
        return " ".join(self.parts)

    def choices(self, name: str) -> list[str]:
        """The values that are offered for a field of that name."""
        return [value for value, _ in self.offered.get(name, [])]

    def choice(self, name: str, label: str) -> str:
        """The value of the choice that is called so. Raises PageError where there is none."""
        found = next((value for value, words in self.offered.get(name, []) if label in words), None)
        if found is None:
            raise PageError(f"{self.url} does not offer {label} as {name}.")
        return found

    def form(self, part_of_action: str, **having: str) -> Form:
        """The first form whose address contains `part_of_action` and whose fields already hold `having`."""
        for form in self.forms:
            if part_of_action in form.action and all(form.fields.get(name) == value for name, value in having.items()):
                return form
        raise PageError(f"{self.url} offers no form for {part_of_action} {having or ''}. It says: {self.text[:600]}")


class Person:
    """One signed-in person with a session of their own."""

    def __init__(self, server: str, username: str, password: str) -> None:
        self.server = server
        self.username = username
        self._password = password
        self._http = httpx.Client(base_url=server, follow_redirects=True, timeout=30, headers={"Accept": "text/html"})

    def __enter__(self) -> "Person":
        page = self.read("/accounts/login/")
        page = self.send(page.form("/accounts/login/"), login=self.username, password=self._password)
        if "/accounts/login" in page.url:
            raise PageError(f"{self.username} could not sign in. The page says: {page.text[:400]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read(self, address: str) -> Page:
        return self._page(self._http.get(address))

    def send(self, form: Form, **values: str | list[str]) -> Page:
        """Submit a form, as found, with these fields filled in; step up with the password where that is asked for."""
        page = self._submit(form, values)
        if "/reauthenticate" in page.url:
            self._submit(page.form("reauthenticate"), {"password": self._password})
            page = self._submit(form, values)
        return page

    def _submit(self, form: Form, values: Mapping[str, str | list[str]]) -> Page:
        headers = {"Referer": form.action, "Origin": self.server}
        fields: dict[str, Any] = form.fields | dict(values)
        token = self._http.cookies.get("csrftoken")
        if token and "csrfmiddlewaretoken" in fields:
            fields = fields | {"csrfmiddlewaretoken": fields["csrfmiddlewaretoken"] or token}
        return self._page(self._http.post(form.action, data=fields, headers=headers))

    def download(self, form: Form, **values: str) -> bytes:
        """Submit a form whose answer is a file."""
        headers = {"Referer": form.action, "Origin": self.server}
        response = self._http.post(form.action, data=form.fields | values, headers=headers)
        if response.status_code != 200 or "text/html" in response.headers.get("content-type", ""):
            raise PageError(f"{form.action} answered {response.status_code} and no file.")
        return response.content

    def _page(self, response: httpx.Response) -> Page:
        if response.status_code >= 500:
            raise PageError(f"{response.url} answered {response.status_code}.")
        parser = _Forms(str(response.url))
        parser.feed(response.text)
        return Page(str(response.url), response.status_code, parser.forms, parser.text, parser.choices)
