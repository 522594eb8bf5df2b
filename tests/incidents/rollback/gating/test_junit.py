"""A JUnit report is read for what its test cases hold, and refused where it is anything else."""

import pytest

from incidents.rollback.gating import junit
from incidents.rollback.gating.junit import ReportRefused, read_report

MIXED = b"""<?xml version="1.0"?><testsuites tests="9" failures="0"><testsuite name="a">
<testcase classname="shop.test_buy" name="test_pays"/>
<testcase classname="shop.test_buy" name="test_returns"><failure message="expected 3, got 4">trace</failure></testcase>
<testcase classname="shop" name="test_slow"><skipped message="no GPU"/></testcase>
<testsuite><testcase name="test_inner"><error>boom
 at line 3</error></testcase></testsuite></testsuite></testsuites>"""
BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""


def test_cases_are_counted_by_what_they_hold_and_not_by_what_the_suite_claims() -> None:
    report = read_report(MIXED)

    assert (report.passed, report.failed, report.errors, report.skipped) == (1, 1, 1, 1)
    assert report.failures == [
        {"name": "shop.test_buy.test_returns", "message": "expected 3, got 4"},
        {"name": "test_inner", "message": "boom\n at line 3"},
    ]
    assert report.sentence == "1 failed, 1 with errors, 1 passed, 1 skipped"


def test_a_case_with_a_failure_and_an_error_is_counted_once() -> None:
    report = read_report(b"<testsuite><testcase name='x'><failure/><error/></testcase></testsuite>")

    assert (report.failed, report.errors, report.passed) == (0, 1, 0)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BOMB, "declares a document type or entities"),
        (b'<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite/>', "declares a document type or entities"),
        (b"not xml", "is no XML"),
        (b"", "is no XML"),
        (b"<html/>", "begins with <html>"),
        (b"<testsuite>" + b" " * junit.MOST_BYTES, "longer than"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ReportRefused, match=why):
        read_report(data)
