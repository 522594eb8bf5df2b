"""docs/fault-matrix.md says what the tests do."""

from tests.faults.document import PAGE, missing, page


def test_the_fault_matrix_in_the_docs_is_the_one_that_is_tested() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.faults.document"


def test_every_test_that_the_fault_matrix_names_is_there() -> None:
    assert missing() == []
