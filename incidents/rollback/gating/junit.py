"""JUnit's XML, read as what it is: a file from a program that nobody here has written."""

from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml import ElementTree as SafeTree

MOST_BYTES = 4 * 2**20
MOST_TESTS = 100_000
MOST_FAILURES = 20
MOST_CHARACTERS = 300


class ReportRefused(ValueError):
    """The report can't be read; the message says why."""


@dataclass
class Report:
    """How many tests ended how, and the first failures with their messages."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "failed": self.failed,
            "errors": self.errors,
            "skipped": self.skipped,
            "failures": self.failures,
        }

    @property
    def sentence(self) -> str:
        wrong = f"{self.failed} failed, {self.errors} with errors, " if self.failed or self.errors else ""
        return f"{wrong}{self.passed} passed, {self.skipped} skipped"


def read_report(data: bytes) -> Report:
    """Count the test cases, each by what it holds: an error, a failure, a skip, or nothing, which is a pass. What the
    suites' own attributes claim is not read.

    Raises ReportRefused for what is no JUnit XML, is too long, or declares entities or a document type.
    """
    if len(data) > MOST_BYTES:
        raise ReportRefused(f"the report is longer than {MOST_BYTES} bytes")
    try:
        root = SafeTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise ReportRefused("the report declares a document type or entities, which no test report needs") from None
    except (SafeTree.ParseError, ValueError, RecursionError) as error:
        raise ReportRefused(f"the report is no XML: {error}") from error
    if _name(root) not in ("testsuites", "testsuite"):
        raise ReportRefused(f"the report is no JUnit report: it begins with <{_name(root)[:40]}>")
    report, seen = Report(), 0
    for case in root.iter():
        if _name(case) != "testcase":
            continue
        seen += 1
        if seen > MOST_TESTS:
            raise ReportRefused(f"the report has more than {MOST_TESTS} tests")
        _count(report, case)
    return report


def _count(report: Report, case: Element) -> None:
    found = {_name(child): child for child in reversed(case)}
    kind = next((name for name in ("error", "failure", "skipped") if name in found), "")
    if kind == "skipped":
        report.skipped += 1
    elif not kind:
        report.passed += 1
    else:
        report.errors += kind == "error"
        report.failed += kind == "failure"
        if len(report.failures) < MOST_FAILURES:
            name = ".".join(filter(None, [case.get("classname", ""), case.get("name", "")]))
            said = found[kind].get("message") or (found[kind].text or "").strip() or kind
            report.failures.append({"name": name[:MOST_CHARACTERS], "message": said[:MOST_CHARACTERS]})


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
