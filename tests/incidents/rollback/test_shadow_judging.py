"""What a comparison of two versions says, and how surely."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from incidents.rollback.models import CheckAnswer
from incidents.rollback.shadow.judging import answers, bernstein, level_of, too_few
from incidents.rollback.shadow.terms import Terms
from registry.serving.mirrored import Mirrored

ASKED = Terms(["h1"], 600, 100, 1000, Decimal("0.05"), Decimal("0.05"), Decimal("0.01"), Decimal(0))
SEEN = Mirrored(
    taken=1100,
    dropped=100,
    requests=1000,
    rows=2000,
    differing=60,
    moved_sum=20.0,
    moved_squares=1.0,
    live_scores=(2000,),
    shadow_scores=(2000,),
)
PASS, FAIL, OPEN = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE


def said(figures: Mirrored, look: int = 1) -> list[CheckAnswer]:
    return [answered.answer for answered in answers(figures, ASKED, 3, look)]


def test_what_is_surely_within_each_limit_passes() -> None:
    assert said(SEEN) == [PASS, PASS, PASS]


@pytest.mark.parametrize(("differing", "answer"), [(75, PASS), (82, OPEN), (118, OPEN), (130, FAIL)])
def test_the_share_of_other_outputs_has_exact_bounds(differing: int, answer: CheckAnswer) -> None:
    assert said(replace(SEEN, differing=differing))[0] == answer


def test_one_failure_in_a_hundred_is_too_few_to_pass_and_many_fail() -> None:
    assert said(replace(SEEN, requests=99, failures=1))[1] == OPEN
    assert said(replace(SEEN, requests=900, failures=100))[1] == FAIL
    assert said(replace(SEEN, requests=100))[1] == OPEN, "none of 100 does not show that it is at most 1 %"


def test_scores_that_surely_move_further_fail() -> None:
    assert said(replace(SEEN, moved_sum=400.0, moved_squares=90.0))[2] == FAIL
    assert said(replace(SEEN, moved_sum=90.0, moved_squares=10.0))[2] == OPEN


def test_a_regression_is_not_asked_how_far_its_scores_move() -> None:
    assert said(replace(SEEN, live_scores=(0,), shadow_scores=(0,))) == [PASS, PASS]


def test_all_looks_together_err_in_at_most_5_percent() -> None:
    assert sum(level_of(look) for look in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)
    assert level_of(1) == 0.025


def test_the_bounds_of_a_mean_hold_for_a_skewed_one() -> None:
    random, missed = np.random.default_rng(4), 0
    for _ in range(400):
        values = random.random(500) ** 12
        found = bernstein(float(values.sum()), float((values**2).sum()), 500, 0.025)
        missed += not found.low <= 1 / 13 <= found.high
    assert missed <= 20


def test_figures_of_hosts_add_up() -> None:
    both = SEEN.plus(replace(SEEN, moved_largest=0.5, live_scores=()))
    assert (both.rows, both.moved_sum, both.moved_largest, both.live_scores) == (4000, 40.0, 0.5, (2000,))
    assert Mirrored.of(both.facts) == both


def test_too_few_rows_say_how_many_are_needed() -> None:
    answered = too_few(SEEN, ASKED, 4000, 3)
    assert (answered.answer, answered.wait) == (OPEN, True)
    assert answered.observed == "2,000 of 4,000 rows compared; 100 of 1,100 requests dropped"
