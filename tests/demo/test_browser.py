"""The person without a browser fills in a form as a browser would, and says what the page said when it can't."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest

from demo.browser import Form, PageError, Person
from tests.ports import free_port

SIGN_IN = """<form method="post" action="/accounts/login/"><input type="hidden" name="csrfmiddlewaretoken" value="t0">
<input name="login"><input name="password" type="password">
<button type="submit" name="go" value="1">Sign in</button></form>"""
STEP_UP = """<form method="post" action="/accounts/reauthenticate/"><input name="password" type="password"></form>"""
PLAN = """<script>var hidden = "not text";</script><style>p {}</style><h1>Two &amp; two</h1>
<form action="/search/"><input name="q" value="old"></form>
<form method="post" action="decide/">
<input type="hidden" name="hash" value="abc"><input type="hidden" name="decision" value="deny"></form>
<form method="post" action="decide/">
  <input type="hidden" name="hash" value="abc"><input type="hidden" name="decision" value="approve">
  <input type="checkbox" name="read" checked><input type="checkbox" name="sure" value="yes">
  <input type="radio" name="how" value="a"><input type="radio" name="how" value="b" checked>
  <select name="wave"><option value="1">one</option><option value="2" selected>two</option></select>
  <select name="host"><option value="first">first</option><option value="other">other</option></select>
  <select name="whom" multiple><option value="1">Ada</option><option value="2">Kofi</option></select>
  <textarea name="reason">As it
was</textarea><input type="file" name="upload"><input type="submit" name="press" value="x">
</form>"""


class Site(BaseHTTPRequestHandler):
    """Signs in who knows the password `open`, and asks once for a step-up before a decision is taken."""

    posts: list[tuple[str, dict[str, list[str]], str]] = []
    proved = False

    def do_GET(self) -> None:
        pages = {"/accounts/login/": SIGN_IN, "/plans/1/": PLAN, "/accounts/reauthenticate/": STEP_UP}
        self.answer(pages.get(self.path, "<p>Welcome</p>"), 500 if self.path == "/broken/" else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = parse_qs(body, keep_blank_values=True)
        Site.posts.append((self.path, fields, self.headers.get("Origin", "")))
        if self.path == "/accounts/login/" and fields["password"] != ["open"]:
            return self.answer(SIGN_IN + "<p>The name or the password is wrong.</p>")
        if self.path == "/accounts/reauthenticate/":
            Site.proved = True
        if self.path == "/plans/1/decide/" and not Site.proved:
            return self.go("/accounts/reauthenticate/")
        if self.path == "/export/":
            return self.answer("bytes of a file", kind="application/zip")
        return self.go("/") if self.path == "/accounts/login/" else self.answer("<p>Noted.</p>")

    def answer(self, text: str, status: int = 200, kind: str = "text/html") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def go(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Site.posts, Site.proved = [], False
    server = HTTPServer(("127.0.0.1", free_port()), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_form_is_sent_with_what_a_browser_would_send_and_after_a_step_up_once_more(site: str) -> None:
    with Person(site, "kofi", "open") as kofi:
        page = kofi.read("/plans/1/")
        answer = kofi.send(page.form("decide", decision="approve"), reason="Read it.")

    assert answer.text == "Noted."
    decided = [fields for path, fields, _ in Site.posts if path == "/plans/1/decide/"]
    sent = {
        "hash": ["abc"], "decision": ["approve"], "read": ["on"], "how": ["b"], "wave": ["2"], "host": ["first"],
        "reason": ["Read it."],
    }  # fmt: skip
    assert decided == [sent, sent]
    assert ("/accounts/reauthenticate/", {"password": ["open"]}) in [(path, fields) for path, fields, _ in Site.posts]
    assert {origin for _, _, origin in Site.posts} == {site}


def test_what_a_page_says_leaves_scripts_and_styles_out(site: str) -> None:
    with Person(site, "kofi", "open") as kofi:
        page = kofi.read("/plans/1/")

    assert page.text.startswith("Two & two")
    assert "hidden" not in page.text
    assert [form.method for form in page.forms] == ["get", "post", "post"]
    assert page.form("decide").fields == {"hash": "abc", "decision": "deny"}
    assert page.form("search") == Form(f"{site}/search/", "get", {"q": "old"})


def test_what_a_field_offers_is_read_and_several_of_it_are_sent(site: str) -> None:
    with Person(site, "kofi", "open") as kofi:
        page = kofi.read("/plans/1/")
        kofi.send(page.form("decide", decision="approve"), whom=page.choices("whom"))
        assert (page.choice("whom", "Kofi"), page.choices("how"), page.choices("none")) == ("2", ["a", "b"], [])
        with pytest.raises(PageError, match="does not offer Vera as whom"):
            page.choice("whom", "Vera")
    assert Site.posts[-1][1]["whom"] == ["1", "2"]


def test_a_wrong_password_is_said_with_the_words_of_the_page(site: str) -> None:
    with pytest.raises(PageError, match=r"kofi could not sign in.*The name or the password is wrong"):
        Person(site, "kofi", "guessed").__enter__()


def test_a_form_that_is_not_there_and_a_broken_page_are_named(site: str) -> None:
    with Person(site, "kofi", "open") as kofi:
        page = kofi.read("/plans/1/")
        with pytest.raises(PageError, match=r"/plans/1/ offers no form for decide \{'decision': 'revoke'\}"):
            page.form("decide", decision="revoke")
        with pytest.raises(PageError, match=r"/broken/ answered 500"):
            kofi.read("/broken/")


def test_a_download_is_the_file_itself_and_a_page_instead_of_it_is_an_error(site: str) -> None:
    with Person(site, "idris", "open") as idris:
        assert idris.download(Form(f"{site}/export/", "post")) == b"bytes of a file"
        with pytest.raises(PageError, match="and no file"):
            idris.download(Form(f"{site}/other/", "post"))
