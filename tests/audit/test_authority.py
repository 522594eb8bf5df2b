"""What the verifier says of roles: who gave them, when they count, for what, and who was lent one."""

from collections.abc import Callable

import pytest

from tests.audit.tale import DAY, Tale


@pytest.fixture
def tale() -> Tale:
    made = Tale()
    made.people()
    return made


def test_roles_that_two_administrators_gave_and_that_rested_are_in_order(tale: Tale) -> None:
    tale.proposed()
    tale.confirmed()
    tale.approved()
    tale.started()
    assert tale.facts()[1:] == [
        "Seats: 2, each filled by a person who held the role; 1 rest on roles that a program on the machine itself had "
        "set up, the others on two administrators."
    ]


def test_a_role_that_was_to_rest_for_an_hour_only_is_said(tale: Tale) -> None:
    tale.proposed()
    tale.confirmed(rest=3600)
    tale.approved()
    tale.started()
    assert tale.facts()[-1] == "Roles that were to rest for less than 24 hours: 1."


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda t: t.tell("role.grant", "u-ada", user="u-bob", role="commander"), "made so by one person alone"),
        (lambda t: (t.proposed(), t.confirmed(by="u-ada")), "not proposed and confirmed by two other people"),
        (lambda t: (t.proposed(), t.confirmed(by="u-bob")), "not proposed and confirmed by two other people"),
        (lambda t: (t.proposed(by="u-bob"), t.confirmed(proposer="u-bob")), "not proposed and confirmed by two other"),
        (lambda t: (t.proposed(by="svc:x"), t.confirmed(proposer="svc:x")), "not proposed and confirmed by two other"),
        (lambda t: (_was(t), t.proposed(), t.confirmed(by="u-carol")), "given by u-carol, who was no administrator"),
        (lambda t: (_was(t), t.proposed(by="u-carol"), t.confirmed(proposer="u-carol")), "who was no administrator"),
        (lambda t: (t.proposed(), t.confirmed(by="u-bert", proposer="u-carol")), "in the name of somebody else"),
        (lambda t: (t.proposed(role="approver"), t.confirmed()), "is not what was proposed"),
        (lambda t: (t.proposed(scope={"models": ["income"]}), t.confirmed()), "is not what was proposed"),
        (lambda t: (t.proposed(), t.tell("role.refuse", "u-bert", grant="g-bob"), t.confirmed()), "had been refused"),
        (lambda t: (t.proposed(), t.confirmed(counts_from=t.instant())), "counted before it had rested for 86400 s"),
        (lambda t: (t.proposed(), t.confirmed(rest=10 * DAY * 60)), "counts from 2026-03-11"),
        (lambda t: t.set_up("u-bob", "commander", scope={"models": ["other"]}), "for other teams or models only"),
        (
            lambda t: (t.set_up("u-bob", "commander"), t.tell("role.end", grant="u-bob-commander", user="u-bob")),
            "u-bob as commander was ended at",
        ),
        (
            lambda t: (t.set_up("u-bob", "commander"), t.tell("role.end", user="u-bob", role="commander")),
            "u-bob as commander was ended at",
        ),
        (
            lambda t: (t.tell("role.end", grant="u-bert-administrator"), _wait(t), t.proposed(), t.confirmed()),
            "given by u-bert, who was no administrator",
        ),
    ],
)
def test_a_seat_filled_by_a_role_that_does_not_count_is_found(
    tale: Tale, give: Callable[[Tale], None], words: str
) -> None:
    give(tale)
    tale.approved()
    tale.started()
    (found,) = tale.problems()
    assert found[0].startswith("run run-1 was started with an approval by u-bob that does not count: ")
    assert (words in found[0], found[1]) == (True, False), found[0]


def _was(tale: Tale) -> None:
    """Carol was an administrator once."""
    tale.set_up("u-carol", "administrator", grant="was")
    tale.tell("role.end", "u-ada", grant="was")
    _wait(tale)


def _wait(tale: Tale) -> None:
    tale.at += 5


@pytest.mark.parametrize("scope", [{}, {"models": ["income"]}, {"teams": ["risk"]}, {"teams": ["x", "risk"]}])
def test_a_role_for_the_model_or_its_team_counts(tale: Tale, scope: dict[str, list[str]]) -> None:
    tale.set_up("u-bob", "commander", scope=scope)
    tale.approved()
    tale.started()
    assert tale.problems() == []


def test_a_role_that_ended_between_approval_and_start_is_found_and_one_given_anew_counts(tale: Tale) -> None:
    tale.set_up("u-bob", "commander")
    tale.approved()
    tale.tell("role.end", grant="u-bob-commander", user="u-bob", role="commander")
    tale.at += 1
    tale.started()
    assert ["was ended at" in sentence for sentence, _ in tale.problems()] == [True]

    again = tale.acts.pop()
    tale.set_up("u-bob", "commander", grant="again")
    tale.acts.append(again._replace(at=tale.instant(1), leaf=99))
    assert tale.problems() == []


def test_a_decision_that_names_another_persons_grant_is_lacking_one_of_its_own(tale: Tale) -> None:
    tale.set_up("u-bob", "commander")
    tale.approved(grant="u-bob-commander")
    tale.started()
    assert tale.problems() == [
        ("the record does not say that u-carol was made approver u-bob-commander", True),
    ]


def test_a_role_of_which_nothing_is_on_record_is_lacking(tale: Tale) -> None:
    tale.approved()
    tale.started()
    assert tale.problems() == [("the record does not say that u-bob was made commander", True)]


def test_a_confirmation_without_its_proposal_is_lacking(tale: Tale) -> None:
    tale.confirmed()
    tale.approved()
    tale.started()
    ((sentence, lacking),) = tale.problems()
    assert ("the proposal g-bob is not in the record before it" in sentence, lacking) == (True, True)


def test_who_is_excluded_from_a_request_does_not_count(tale: Tale) -> None:
    """Such as the last editor of the plan or of the policy."""
    tale.set_up("u-bob", "commander")
    tale.opened(excluded={"u-carol": "editor"})
    tale.decided("u-bob", "commander")
    tale.decided("u-carol", "approver")
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"))
    tale.started()
    assert tale.problems() == [("run run-1 was started with 1 valid approvals; its policy demands 2", False)]


# Loans


@pytest.fixture
def lending(tale: Tale) -> Tale:
    """The third day, with a commander; what Carol lends then may be used."""
    tale.set_up("u-bob", "commander")
    tale.at = 3 * DAY
    return tale


def test_a_lent_role_counts_within_its_time(lending: Tale) -> None:
    lending.lent()
    lending.approved(approver="u-eve", grant="d-1")
    lending.started()
    assert lending.problems() == []


@pytest.mark.parametrize(
    ("lend", "words"),
    [
        (lambda t: t.lent(starts=t.instant(9)), "only"),
        (lambda t: (t.lent(ends=t.instant(1)), _wait(t)), "counts from"),
        (lambda t: (t.lent(), t.tell("delegation.end", "u-carol", delegation="d-1"), _wait(t)), "was ended at"),
        (lambda t: (t.lent(), t.tell("role.end", grant="u-carol-approver"), _wait(t)), "u-carol as approver was ended"),
        (lambda t: t.lent(scope={"models": ["other"]}), "for other teams or models only"),
        (lambda t: t.tell("delegation.create", "u-eve", **_loan(t)), "was not lent by its holder"),
        (lambda t: (t.lent(), t.lent(by="u-eve", to="u-fay", delegation="d-2")), "u-eve, who lent it, was made"),
    ],
    ids=["early", "late", "ended", "lender-ended", "other-model", "not-the-lender", "lent-on"],
)
def test_a_lent_role_that_does_not_count_is_found(lending: Tale, lend: Callable[[Tale], None], words: str) -> None:
    lend(lending)
    last = lending.acts[-1].data
    to, loan = ("u-fay", "d-2") if last.get("delegation") == "d-2" else ("u-eve", "d-1")
    lending.approved(approver=to, grant=loan)
    lending.started()
    ((sentence, _),) = lending.problems()
    assert words in sentence, sentence


def _loan(tale: Tale) -> dict[str, object]:
    times = {"starts": tale.instant(), "ends": tale.instant(60)}
    return {"delegation": "d-1", "from": "u-carol", "to": "u-eve", "role": "approver", "scope": {}} | times


def test_lending_more_than_one_holds_is_found(lending: Tale) -> None:
    lending.set_up("u-gil", "approver", scope={"models": ["income"]})
    lending.lent(by="u-gil")
    lending.approved(approver="u-eve", grant="d-1")
    lending.started()
    assert "is more than held" in lending.problems()[0][0]


def test_who_lent_a_role_does_not_approve_beside_the_borrower(lending: Tale) -> None:
    lending.set_up("u-carol", "commander")
    lending.lent()
    lending.approved(commander="u-carol", approver="u-eve", grant="d-1")
    lending.started()
    assert "u-carol, who had lent the role, approved as well" in lending.problems()[0][0]


def test_two_who_borrowed_from_one_person_do_not_both_approve(lending: Tale) -> None:
    lending.set_up("u-carol", "commander")
    lending.lent()
    lending.lent(to="u-fay", role="commander", delegation="d-2")
    lending.opened()
    lending.decided("u-fay", "commander", grant="d-2")
    lending.decided("u-eve", "approver", grant="d-1")
    lending.consumed(("u-fay", "commander"), ("u-eve", "approver"))
    lending.started()
    assert "u-carol had lent the role to another, who approved as well" in lending.problems()[0][0]


def test_what_the_proposer_has_lent_does_not_approve(lending: Tale) -> None:
    lending.set_up("u-dora", "approver")
    lending.lent(by="u-dora")
    lending.approved(approver="u-eve", grant="d-1")
    lending.started()
    assert "u-dora, who had lent the role, was not to approve this" in lending.problems()[0][0]
