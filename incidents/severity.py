"""Severity from impact and urgency; 1 is worst."""

from incidents.models import Impact, Urgency

MATRIX: dict[tuple[int, int], int] = {
    (Impact.HIGH, Urgency.HIGH): 1,
    (Impact.HIGH, Urgency.MEDIUM): 2,
    (Impact.HIGH, Urgency.LOW): 3,
    (Impact.MEDIUM, Urgency.HIGH): 2,
    (Impact.MEDIUM, Urgency.MEDIUM): 3,
    (Impact.MEDIUM, Urgency.LOW): 3,
    (Impact.LOW, Urgency.HIGH): 3,
    (Impact.LOW, Urgency.MEDIUM): 4,
    (Impact.LOW, Urgency.LOW): 4,
}


def severity_of(impact: int, urgency: int) -> int:
    return MATRIX[(Impact(impact), Urgency(urgency))]
