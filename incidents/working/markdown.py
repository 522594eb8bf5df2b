"""Markdown that people wrote, as HTML that can do nothing: raw HTML is text, and what comes out is cleaned besides."""

import re
from functools import cache

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

TAGS = {
    "p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "strong", "em", "code", "pre", "blockquote", "a",
    "table", "thead", "tbody", "tr", "th", "td", "s",
}  # fmt: skip
SCHEMES = {"http", "https", "mailto"}
STEP = re.compile(r"^\s*[-*+] \[[ xX]\] +(?P<text>\S.*)$", re.MULTILINE)
MOST_STEPS, STEP_LENGTH = 100, 500


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def render(text: str) -> SafeString:
    """HTML of CommonMark with tables. Links lead to http, https and mail alone, or within Lastgood; images are left
    out: they would ask another server while somebody reads."""
    html = _reader().render(STEP.sub(lambda found: f"- {found['text']}", text))
    # The page has its own h1; a runbook's headings stand below it.
    return _clean(html.replace("<h1>", "<h2>").replace("</h1>", "</h2>"))


def render_line(text: str) -> SafeString:
    """As `render`, of one line, without a paragraph around it: emphasis, code and links."""
    return _clean(_reader().renderInline(text))


def _clean(html: str) -> SafeString:
    cleaned = nh3.clean(
        html,
        tags=TAGS,
        attributes={"a": {"href", "title"}},
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(cleaned)  # noqa: S308  nh3 has cleaned it


def steps(text: str) -> list[str]:
    """The task lines, in their order."""
    return [found["text"].strip()[:STEP_LENGTH] for found in STEP.finditer(text)][:MOST_STEPS]
