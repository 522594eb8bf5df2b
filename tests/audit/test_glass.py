"""What the verifier says of break-glass, and of other acts than runs."""

from collections.abc import Callable

import pytest

from audit.verify import act_hash, installed_policies, policy_hash
from tests.audit.tale import DAY, GLASS, PLAN, POLICY, REQUEST, Tale


@pytest.fixture
def tale() -> Tale:
    made = Tale()
    made.people()
    made.set_up("u-bob", "commander")
    made.at = 3 * DAY
    return made


def test_a_run_by_break_glass_that_was_reviewed_is_in_order(tale: Tale) -> None:
    tale.opened()
    tale.glass()
    tale.started(break_glass=True)
    tale.reviewed("u-carol")
    facts = tale.facts()
    assert f"the break-glass of u-bob for request {REQUEST} was found justified by u-carol." in facts[0]
    assert "Of these 1 by break-glass, without approvals." in facts


@pytest.mark.parametrize(
    ("tell", "words"),
    [
        (lambda t: (t.glass(subject_hash="b" * 64), t.started(break_glass=True)), "glass was broken for bbb"),
        (lambda t: (t.glass(), _wait(t, 16), t.started(break_glass=True)), "after its break-glass had ended"),
        (lambda t: (t.glass(expires_at=t.instant(60)), t.started(break_glass=True)), "for longer than 900 s"),
        (lambda t: (t.glass(by="svc:worker"), t.started(break_glass=True)), "not broken by a person"),
        (lambda t: (t.tell("approval.break_glass", "u-carol", **_said(t)), t.started(break_glass=True)), "by a person"),
        (lambda t: (t.glass(auth_time=t.instant(-9)), t.started(break_glass=True)), "without a sign-in of the last"),
        (lambda t: (t.glass(by="u-carol"), _end(t), t.started(break_glass=True)), "no right to break"),
        (
            lambda t: (t.glass(by="u-carol", role="approver"), t.started(break_glass=True)),
            "lets no approver break glass",
        ),
        (lambda t: (t.glass(auth_time=t.instant(9)), t.started(break_glass=True)), "without a sign-in of the last"),
        (lambda t: (t.glass(**_terms(POLICY)), t.started(break_glass=True)), "lets no commander break glass"),
        (lambda t: (t.glass(**_terms(GLASS | {"version": 2})), t.started(break_glass=True)), "was not in force"),
        (lambda t: (_unreviewed(t), t.glass(), t.started(break_glass=True)), "still had no review"),
        (
            lambda t: (t.glass(), t.started(break_glass=True), t.started(run="run-2", break_glass=True)),
            "for another run",
        ),
        (lambda t: (t.glass(), t.started()), "without consuming the approvals"),
        (
            lambda t: (t.glass(policy=POLICY, policy_hash="c" * 64), t.started(break_glass=True)),
            "states another policy",
        ),
    ],
)
def test_a_run_beside_its_break_glass_is_found(tale: Tale, tell: Callable[[Tale], None], words: str) -> None:
    tale.set_up("u-carol", "commander", grant="soon-over")
    _end_all(tale) if "no right" in words else None
    tale.opened(expires_at=tale.instant(DAY))
    tell(tale)
    found = tale.problems()
    assert found, "nothing was found"
    assert all(words in sentence and not lacking for sentence, lacking in found), found


def _wait(tale: Tale, minutes: float) -> None:
    tale.at += minutes


def _end(tale: Tale) -> None:
    tale.at += 0.2


def _end_all(tale: Tale) -> None:
    for grant in ("soon-over", "u-carol-approver"):
        tale.tell("role.end", "u-ada", grant=grant)
    tale.at += 1


def _terms(policy: dict[str, object]) -> dict[str, object]:
    return {"policy": policy, "policy_hash": policy_hash(policy)}


def _unreviewed(tale: Tale) -> None:
    """Another use, four days before, whose review nobody made."""
    tale.glass(request="request-0", review_due=tale.instant(5 * DAY), review_limit=tale.instant(-DAY))


def _said(tale: Tale) -> dict[str, object]:
    tale.glass()
    return tale.acts.pop().data


def test_break_glass_of_which_nothing_is_on_record_is_lacking(tale: Tale) -> None:
    tale.opened()
    tale.started(break_glass=True)
    ((sentence, lacking),) = tale.problems()
    assert ("break-glass, which is not in the record" in sentence, lacking) == (True, True)


@pytest.mark.parametrize(
    ("review", "after", "words", "wrong"),
    [
        (lambda t: None, 60, "is not reviewed yet; the review is owed until", False),
        (lambda t: None, 2 * DAY, "was not reviewed by anybody who took no part", True),
        (lambda t: t.reviewed("u-bob"), 2 * DAY, "was not reviewed by anybody who took no part", True),
        (lambda t: t.reviewed("u-dora"), 2 * DAY, "was not reviewed", True),
        (lambda t: t.reviewed("u-carol", participants=["u-carol"]), 2 * DAY, "was not reviewed", True),
        (lambda t: t.reviewed("svc:worker"), 2 * DAY, "was not reviewed", True),
        (lambda t: t.reviewed("u-carol", by="u-ada"), 2 * DAY, "was not reviewed", True),
        (lambda t: (_wait(t, 30 * 60), t.reviewed("u-carol")), 0, "by u-carol, after the time for it had ended", False),
        (lambda t: t.reviewed("u-carol", verdict="not_justified"), 0, "was found not justified by u-carol", False),
    ],
    ids=["owed", "never", "himself", "proposer", "participant", "program", "other-name", "late", "unjustified"],
)
def test_break_glass_is_reviewed_by_who_took_no_part(
    tale: Tale, review: Callable[[Tale], None], after: float, words: str, wrong: bool
) -> None:
    tale.opened()
    tale.glass()
    tale.started(break_glass=True)
    review(tale)
    tale.at += after
    tale.tell("incident.update", "u-dora")
    told = [sentence for sentence, _ in tale.problems()] if wrong else tale.facts()
    assert words in told[0], told


def test_a_review_that_a_part_of_the_log_may_lack_is_lacking(tale: Tale) -> None:
    tale.opened()
    tale.glass()
    tale.at += 2 * DAY
    tale.tell("incident.update", "u-dora")
    assert [lacking for _, lacking in tale.problems(complete=False)] == [True]


# Acts

ACT = {"act": "act-1", "kind": "unquarantine", "model": "income", "number": 3}
ACT_HASH = act_hash(ACT)
LIFTING = installed_policies()["unquarantine-any-production"]
LIFT_TERMS = {"policy": LIFTING, "policy_hash": policy_hash(LIFTING)}


def performed(tale: Tale, **more: object) -> None:
    about = {"act": "act-1", "kind": "unquarantine", "act_hash": ACT_HASH, "request": REQUEST}
    tale.tell("act.perform", **about | {"policy_hash": policy_hash(LIFTING)} | more)


def test_an_act_with_the_approvals_of_its_policy_is_in_order(tale: Tale) -> None:
    facts = {"act": "act-1", "kind": "unquarantine", "act_hash": ACT_HASH, "request": REQUEST}
    tale.tell("act.propose", "u-dora", document=ACT, **facts)
    tale.opened(subject_hash=ACT_HASH, **LIFT_TERMS)
    tale.decided("u-bob", "commander", subject_hash=ACT_HASH)
    tale.decided("u-carol", "approver", subject_hash=ACT_HASH)
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"), subject_hash=ACT_HASH)
    performed(tale)
    assert tale.facts()[0] == "Acts: 1, each with the approvals its policy demanded, of that very plan."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"act_hash": "b" * 64}, "without consuming the approvals"),
        ({"policy_hash": "b" * 64}, "under another policy"),
        ({"request": "request-2"}, "request request-2 is not in the record"),
        ({"kind": "promotion"}, "of kind promotion was approved under the policy unquarantine-any-production"),
    ],
)
def test_an_act_beside_its_approvals_is_found(tale: Tale, change: dict[str, str], words: str) -> None:
    tale.opened(subject_hash=ACT_HASH, **LIFT_TERMS)
    tale.decided("u-bob", "commander", subject_hash=ACT_HASH)
    tale.decided("u-carol", "approver", subject_hash=ACT_HASH)
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"), subject_hash=ACT_HASH)
    performed(tale, **change)
    assert words in tale.problems()[0][0]


def test_approvals_of_a_run_do_not_serve_for_an_act_as_well(tale: Tale) -> None:
    tale.approved()
    tale.started()
    performed(tale, act_hash=PLAN)
    assert all("was used for another run as well" in sentence for sentence, _ in tale.problems())


def test_an_act_whose_hash_is_not_its_own_is_found(tale: Tale) -> None:
    facts = {"act": "act-1", "kind": "unquarantine", "act_hash": "b" * 64, "request": REQUEST}
    tale.tell("act.propose", "u-dora", document=ACT, **facts)
    assert "not the one whose hash was put to the approvers" in tale.problems()[0][0]
