"""Texts in Python and in scripts that a person reads, and whether each is marked for translation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MARKS = {"gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy", "_"}
NOT_SHOWN = {"compile", "sub", "fullmatch", "execute", "in_english", "RawSQL", "extra", "extend_schema", "info"}
"""Calls whose texts no page shows: patterns, SQL, lines of a log, and what is English on purpose."""
READ_BY_PROGRAMS = re.compile(r"[a-z]+/[a-z]|attachment;|(private|public|no-store|no-cache)\b|form-|bytes |<|\n")
"""Headers, classes of CSS and markup."""
SENTENCE = re.compile(r"[A-Za-z]{2,}[,;:]? (\w|\{)|\} [A-Za-z]{2,}")
UNITS = re.compile(r"(\{\}|\W|\d|\b(min|ms|s|h|MiB|KiB|GiB|UTC|PSI|AUC|SEV|bytes)\b)*")
SHOWN_IN = ("views.py", "forms.py", "queries.py")
FOLDERS = {"views", "charts", "templatetags"}
SAY = re.compile(r"\bsay\(\s*\"((?:[^\"\\]|\\.)*)\"")
QUOTED = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|`((?:[^`\\]|\\.)*)`")


def files_of_pages(base: Path, apps: tuple[str, ...]) -> Iterator[Path]:
    """The modules that pages are made of: views, forms, reads, charts and tags."""
    for path in sorted(found for app in apps for found in (base / app).rglob("*.py")):
        inside = path.relative_to(base)
        if path.name in SHOWN_IN or path.name.endswith("_views.py") or FOLDERS & set(inside.parts[1:-1]):
            yield path


def unmarked_in_python(source: str) -> list[str]:
    """Texts of two words and more that are not marked, as they stand, with {} for what is put in."""
    finder = _Finder()
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in MARKS | NOT_SHOWN:
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else it is a docstring
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        # The columns of a CSV file are for programs.
        if not any(isinstance(target, ast.Name) and target.id == "header" for target in node.targets):
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pieces = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        self._judge("".join(str(piece) for piece in pieces))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._judge(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def _judge(self, text: str) -> None:
        if SENTENCE.search(text) and not READ_BY_PROGRAMS.match(text) and not UNITS.fullmatch(text):
            self.found.append(text)


def said_by(script: str) -> set[str]:
    """What a script says through `say`."""
    return {found.replace('\\"', '"') for found in SAY.findall(script)}


def unsaid_in(script: str) -> list[str]:
    """Sentences of a script that it does not say through `say`."""
    code = re.sub(r"^\s*//.*$|\s// .*$", "", SAY.sub("", script), flags=re.MULTILINE)
    quoted = (double or back for double, back in QUOTED.findall(code))
    return [text for text in quoted if re.match(r"[A-Z][a-z]+ \w", text)]
