"""What several questions asked together come to."""

from dataclasses import dataclass

import pytest

from monitoring.judging.answers import Judged, decide, judge_all, overall, p_text


@dataclass(frozen=True)
class Found:
    """A question whose p-value is known, and that says at which level it was judged."""

    p: float | None

    def judge(self, alpha: float = 0.05) -> Judged:
        significant = self.p is not None and self.p <= alpha
        return Judged("fail" if significant else "pass", f"{alpha:.6g}", "as given", p=self.p)


def test_holm_rejects_as_its_textbook_example_does():
    """Holm's steps for p = 0.01, 0.04, 0.03, 0.005 at 0.05: 0.0125, 0.0167, then 0.025 stops at 0.03."""
    answers = judge_all([Found(0.01), Found(0.04), Found(0.03), Found(0.005)])
    assert [answer.answer for answer in answers] == ["fail", "pass", "pass", "fail"]
    assert [answer.sentence for answer in answers] == ["0.0166667", "0.025", "0.025", "0.0125"]


def test_one_question_is_judged_at_the_level_itself():
    [answer] = judge_all([Found(0.028)])
    assert (answer.answer, answer.sentence) == ("fail", "0.05")


def test_the_order_of_the_questions_changes_no_answer():
    questions = [Found(0.001), Found(0.2), Found(0.02), Found(0.02)]
    there = [answer.answer for answer in judge_all(questions)]
    back = [answer.answer for answer in judge_all(questions[::-1])]
    assert there == back[::-1]


def test_a_question_without_data_takes_nothing_from_the_others():
    answers = judge_all([Found(None), Found(0.04)])
    assert [answer.answer for answer in answers] == ["pass", "fail"]
    assert judge_all([]) == []


@pytest.mark.parametrize(
    ("significant", "within", "power", "answer"),
    [
        (True, False, 0.1, "fail"),
        (True, True, 0.99, "pass"),
        (False, False, 0.8, "pass"),
        (False, False, 0.79, "inconclusive"),
        (False, True, 0.1, "pass"),
    ],
)
def test_what_decides(significant, within, power, answer):
    assert decide(significant=significant, within=within, power=power, floor=0.8) == answer


def test_without_any_power_nothing_passes_however_low_the_floor():
    assert decide(significant=False, within=False, power=0.0, floor=0.0) == "inconclusive"


def test_one_failure_fails_and_nothing_asked_is_no_pass():
    good, bad, open_ = (Judged(answer, "", "") for answer in ("pass", "fail", "inconclusive"))
    assert overall([good, open_, bad]) == "fail"
    assert overall([good, open_]) == "inconclusive"
    assert overall([good, good]) == "pass"
    assert overall([]) == "inconclusive"


def test_p_values_as_people_read_them():
    assert p_text(0.028142) == "p = 0.028"
    assert p_text(1e-9) == "p below 0.001"
