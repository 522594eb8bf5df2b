"""Who fills which seat, whatever roles people hold."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from accounts.approvals.policy import ANY, seat, seats_of

ROLES = ("commander", "approver", "responder")
people = st.dictionaries(st.sampled_from("abcdef"), st.frozensets(st.sampled_from(ROLES), min_size=1), max_size=5)
seats = st.lists(st.sampled_from([*ROLES, ANY]), min_size=1, max_size=4)


def fits(role: str, held: frozenset[str]) -> bool:
    return role == ANY or role in held


def most_that_can_sit(wanted: list[str], held: dict[str, frozenset[str]]) -> int:
    """By trying every order of people (padded with nobody), the slow and certain way."""
    padded = [*held, *[None] * len(wanted)]
    return max(
        sum(person is not None and fits(role, held[person]) for role, person in zip(wanted, order, strict=True))
        for order in set(permutations(padded, len(wanted)))
    )


@given(seats, people)
def test_as_many_seats_are_filled_as_can_be(wanted: list[str], held: dict[str, frozenset[str]]) -> None:
    assert len(wanted) - len(seat(wanted, held).open_roles) == most_that_can_sit(wanted, held)


@given(seats, people)
def test_nobody_sits_twice_or_where_the_role_is_not_held(wanted: list[str], held: dict[str, frozenset[str]]) -> None:
    seating = seat(wanted, held)
    sitting = [person for person in seating.by_seat if person is not None]
    assert len(sitting) == len(set(sitting))
    for role, person in zip(seating.seats, seating.by_seat, strict=True):
        assert person is None or fits(role, held[person])


@given(seats, people, st.frozensets(st.sampled_from(ROLES), min_size=1))
def test_one_more_person_never_empties_a_seat(
    wanted: list[str], held: dict[str, frozenset[str]], roles: frozenset[str]
) -> None:
    before, after = seat(wanted, held), seat(wanted, held | {"newcomer": roles})
    assert len(after.open_roles) <= len(before.open_roles)
    assert {person for person in before.by_seat if person} <= {person for person in after.by_seat if person}


def test_a_policy_has_a_seat_for_each_named_role_and_for_anybody_beyond() -> None:
    factors = [{"role": "commander", "count": 1}, {"role": "approver", "count": 2}]
    assert seats_of(4, factors) == ["commander", "approver", "approver", ANY]
    assert seats_of(2, []) == [ANY, ANY]
