"""Names and texts that are markup, script, a template or a format: shown as the letters that they are, everywhere."""

import re
from html.parser import HTMLParser

import pytest
from django.template import Context, Template
from django.utils.html import escape

from audit.templatetags.parts import figure_json
from incidents.actions import post_update
from incidents.models import Incident, Review, StatusPage
from incidents.reviews import SECTIONS, edit
from monitoring.models import Alert
from registry.models import Endpoint, Host, Model, Version
from tests.incidents.world import World
from tests.pages.test_query_counts import world

__all__ = ["world"]

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`</textarea></title>"
    "{{ 7|add:7 }}{% now 'Y' %}%(secret)s{0.__class__}"
)
MARKDOWN = """# Title
<script>alert(1)</script>
<img src=x onerror=alert(2)> <a href="javascript:alert(3)">raw</a> <svg onload=alert(4)></svg>
[click](javascript:alert(5)) [data](data:text/html;base64,PHNjcmlwdD4=) ![x](javascript:alert(6))
<iframe src="https://evil.example"></iframe> <style>*{display:none}</style> <form action="https://evil.example"><input></form>
"""
PAGES = ["/", "/incidents/", "/incidents/{ref}/", "/incidents/{ref}/timeline/", "/incidents/{ref}/live/", "/endpoints/",
         "/endpoints/{slug}/", "/models/", "/models/employment/", "/models/employment/1/", "/reviews/{ref}/",
         "/reviews/{ref}/export.html", "/status/", "/status/services/", "/approvals/",
         "/monitoring/endpoints/{slug}/charts/", "/monitoring/deliveries/"]  # fmt: skip


class Seen(HTMLParser):
    """What a browser would make of a page: elements that run or load, and attributes that do."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.dangerous: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("iframe", "object", "embed", "base") or (tag == "img" and given.get("src") == "x"):
            self.dangerous.append(tag)
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.dangerous.append("inline script")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.dangerous.append(f"{tag} {name}")
            if name in ("href", "src", "action") and re.match(r"\s*(javascript|data:text|vbscript)", value or "", re.I):
                self.dangerous.append(f"{tag} {name}={value}")


def dangers(html: str) -> list[str]:
    seen = Seen()
    seen.feed(html)
    seen.close()
    return seen.dangerous


@pytest.fixture
def hostile(world: World) -> World:
    """An incident in which everything that can be written freely is hostile."""
    made = world
    Model.objects.update(name=HOSTILE[:80], team=HOSTILE[:40], description=HOSTILE, error_meaning=HOSTILE[:100])
    Endpoint.objects.update(name=HOSTILE[:80])
    Version.objects.update(documentation=MARKDOWN, environment={HOSTILE: HOSTILE}, metrics={HOSTILE: HOSTILE})
    Host.objects.update(labels={HOSTILE: HOSTILE}, held_reason=HOSTILE[:300])
    incident = Incident.objects.earliest("pk")
    Alert.objects.update(summary=HOSTILE, labels={HOSTILE: HOSTILE}, annotations={"summary": HOSTILE})
    Incident.objects.update(title=HOSTILE[:200])
    StatusPage.objects.update(name=HOSTILE[:80], description=HOSTILE)
    post_update(
        incident=incident,
        conditions=HOSTILE,
        actions=HOSTILE,
        needs=HOSTILE,
        user=made.users["rosa"],
        actor=made.actor("rosa"),
    )
    Review.objects.get_or_create(incident=incident)
    review = Review.objects.get()
    texts = dict.fromkeys(SECTIONS, MARKDOWN + HOSTILE)
    edit(review=review, texts=texts, seen_version=review.version, actor=made.actor("rosa"))
    return made


def test_abuse_15_17_27_what_people_and_senders_write_is_inert_on_every_page(hostile: World) -> None:
    names = {"ref": Incident.objects.earliest("pk").ref, "slug": hostile.endpoint.slug}
    reader, shown = hostile.client("kofi"), 0
    for path in PAGES:
        answer = reader.get(path.format(**names))
        assert answer.status_code == 200, path
        html = answer.content.decode()
        assert dangers(html) == [], path
        assert ">14<" not in html, path
        shown += escape("<script>alert(1)</script>") in html
    assert shown > 6


def test_abuse_15_the_api_gives_it_as_json_and_says_so(hostile: World) -> None:
    answer = hostile.client("kofi").get("/api/v1/incidents/")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json()["results"][0]["title"].startswith("<script>")


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<!--<script>", "\u2028alert(1)", "]]>"])
def test_abuse_16_the_data_of_a_chart_can_not_leave_its_place(name: str) -> None:
    html = str(figure_json({"title": name, "data": [{"name": name, "x": [name]}]}, "drift"))
    assert html.count("<script") == html.count("</script>") == 1
    assert html.startswith("<script ")
    assert 'type="application/json"' in html
    assert "<!--" not in html


def test_abuse_27_a_text_is_never_taken_for_a_template() -> None:
    shown = Template("{{ text }}").render(Context({"text": HOSTILE}))
    assert "{{ 7|add:7 }}" in shown.replace("&#x27;", "'")
    assert "<script>" not in shown


def test_abuse_53_a_files_name_is_made_of_what_we_named_ourselves(hostile: World) -> None:
    ref = Incident.objects.earliest("pk").ref
    reader = hostile.client("kofi")
    for kind in ("md", "html"):
        answer = reader.get(f"/reviews/{ref}/export.{kind}")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="review-{ref}.{kind}"'
    assert reader.get('/reviews/x";y="/export.md').status_code == 404
    assert reader.get(f"/reviews/{ref}/export.md%0d%0aX:1").status_code in (400, 404)


def test_abuse_18_a_picture_with_a_script_is_no_picture_here(hostile: World) -> None:
    html = hostile.client("kofi").get("/models/employment/1/").content.decode()
    assert "&lt;svg onload=alert(4)&gt;" in html
    assert dangers(html) == []
    assert dangers("<svg onload=alert(4)></svg>") == ["svg onload"]
