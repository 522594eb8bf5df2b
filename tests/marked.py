"""Texts of a Django template that a person reads, and whether each is marked for translation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

DJANGO = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
READ = ("aria-label", "title", "placeholder", "alt")
"""Attributes that are read out or shown."""
HANDED = ("sentence", "title", "how", "label", "action", "action_label", "what", "summary", "text", "heading",
          "do", "meaning", "drift", "of", "name")  # fmt: skip
"""What an included part is handed, and shows."""
NAMES = ("Lastgood", "/readyz")
"""The same in every language."""
UNREAD = ("script", "style", "code", "pre", "kbd", "svg")
WORDED = re.compile(r"""\|(default|default_if_none|yesno|pluralize)(?::(_\()?("[^"]*"|'[^']*'))?""")
ARGUMENT = re.compile(r"""(\b\w+)=("[^"]*"|'[^']*')""")


@dataclass(frozen=True)
class Piece:
    """A piece of a template: `kind` is text, variable, tag (of Django), html, or a value (text inside of an attribute
    that is read)."""

    kind: str
    source: str
    start: int


def pieces(template: str) -> Iterator[Piece]:
    """The template in pieces, without what nobody reads and what is marked already."""
    at, hidden = 0, ""
    while at < len(template):
        found = DJANGO.match(template, at)
        if found:
            piece = Piece("variable" if found[0].startswith("{{") else "tag", found[0], at)
        elif re.match(r"<[a-zA-Z/!]", template[at : at + 2]):
            piece = Piece("html", template[at : _end_of_tag(template, at)], at)
        else:
            end = re.compile(r"\{[%{#]|<[a-zA-Z/!]").search(template, at)
            piece = Piece("text", template[at : end.start() if end else len(template)], at)
        at += len(piece.source)
        word = re.match(r"(?:\{%|<)\s*(/?\w+)", piece.source)
        name = word[1] if word and piece.kind in ("tag", "html") else ""
        if hidden:
            hidden = "" if name in (f"end{hidden}", f"/{hidden}") else hidden
        elif name in ("comment", "blocktranslate", *UNREAD):
            hidden = "" if piece.source.endswith("/>") else name
            yield from [piece] if name != "comment" else []
        elif piece.kind == "html":
            yield piece
            yield from _values(piece)
        else:
            yield piece


def _end_of_tag(template: str, at: int) -> int:
    quote = ""
    while at < len(template):
        found = DJANGO.match(template, at)
        if found:
            at = found.end()
            continue
        sign = template[at]
        at += 1
        if sign == quote:
            quote = ""
        elif not quote and sign in "\"'":
            quote = sign
        elif not quote and sign == ">":
            break
    return at


def _values(tag: Piece) -> Iterator[Piece]:
    """The values of a tag's attributes that are read, each in its pieces, with an empty piece of html around them."""
    for found in re.finditer(rf"\s(?:{'|'.join(READ)})=\"", tag.source):
        at = end = found.end()
        while tag.source[end] != '"':
            inner = DJANGO.match(tag.source, end)
            end = inner.end() if inner else end + 1
        yield Piece("html", "", tag.start + at)
        hidden = False
        while at < end:
            inner = DJANGO.match(tag.source, at)
            if inner:
                text = inner[0]
                kind = "variable" if text.startswith("{{") else "tag"
            else:
                following = DJANGO.search(tag.source, at, end)
                text, kind = tag.source[at : following.start() if following else end], "value"
            if kind == "tag" and "blocktranslate" in text:
                hidden = not text.startswith("{% end")
            elif not hidden:
                yield Piece(kind, text, tag.start + at)
            at += len(text)
        yield Piece("html", "", tag.start + end)


def has_words(text: str) -> bool:
    return text.strip() not in NAMES and bool(re.search(r"[^\W\d_]", re.sub(r"&#?\w+;", "", text)))


def unmarked(template: str) -> list[str]:
    """What of the template is read, and is not marked."""
    found = []
    for piece in pieces(template):
        if piece.kind in ("text", "value") and has_words(piece.source):
            found.append(" ".join(piece.source.split()))
        if piece.kind == "tag" and piece.source.startswith("{% include"):
            found += [f"{name}={value}" for name, value in ARGUMENT.findall(piece.source)
                      if name in HANDED and has_words(value)]  # fmt: skip
        if piece.kind in ("tag", "variable", "html") and not piece.source.startswith("{% blocktranslate"):
            for inner in DJANGO.findall(piece.source):
                found += [f"{name}:{value}" for name, marked, value in WORDED.findall(inner)
                          if not marked and (name == "pluralize" or has_words(value))]  # fmt: skip
    return found
