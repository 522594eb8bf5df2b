"""What the verifier says of runs that started by themselves: under which policy, by which rule, within which limits."""

from typing import Any

import pytest

from audit import verify
from audit.verify import installed_policies, policy_hash
from tests.audit.tale import DAY, PLAN, REQUEST, Tale

POLICY = installed_policies()["rollback-high-production"] | {"version": 2}
RULE = {
    "number": 1, "severity": 2, "from_hour": 0, "to_hour": 24, "error_budget": "0.050000", "dwell_seconds": 3600,
    "most": 2, "window_seconds": 86400, "drill_days": 30,
}  # fmt: skip
LIVE, BACK = "e" * 64, "f" * 64
REPLAYED = {
    "accuracy": "0.820000", "low": "0.800000", "high": "0.840000", "live_accuracy": "0.700000", "live_low": "0.680000",
    "live_high": "0.720000", "difference_low": "0.090000",
}  # fmt: skip
TARGET = {"from": LIVE, "to": BACK, "replayed": REPLAYED, "validated": {"by": "drill", "drill": "d-1"}}
GIVEN = RULE | {"incident_severity": 1, "armed_by": "u-bob", "target": TARGET}
TERMS = {"policy": POLICY, "policy_hash": policy_hash(POLICY)}


class Automatic(Tale):
    """One administrator alone put a policy into force that lets rollbacks start by themselves; Bob armed a rule."""

    def begin(self, *, allowed: bool = True, by: str = "u-bob", trips: bool = False) -> None:
        self.set_up("u-ada", "administrator")
        self.set_up("u-bob", "commander")
        self.tell("model.register", "u-ada", target="income", risk_tier="high")
        self.tell("endpoint.register", "u-ada", target="income-production", model="income", environment="production")
        self.tell("policy.replace", "u-ada", **TERMS, automatic_allowed=allowed, alone=True, edited_by="u-ada")
        self.tell("version.register", "u-ada", target="income/1", digest=BACK, golden="9" * 64)
        self.at = 3 * DAY
        self.tell("practice.drill.pass", "svc:practice", target="income-staging", drill="d-1", digest=BACK)
        self.ranked()
        self.tell("practice.rule.set", by, target="income", rule=RULE)
        if trips:
            self.tell("practice.rule.trip", "svc:practice", target="income", rule=RULE)

    def ranked(
        self, *, promised: str = "0.810000", eligible: bool = True, place: str = "income-production", **replayed: str
    ) -> None:
        """Targets were ranked for what is served at `place`; `replayed` are figures that differ from REPLAYED."""
        row = {"version": 1, "digest": BACK, "eligible": eligible, "replayed": REPLAYED | replayed}
        self.tell("rollback.ranking.answer", "svc:worker", target=place, promised=promised, candidates=[row])

    def run_by_itself(self, number: int = 1, *, leave: dict[str, Any] | None = None, **start: Any) -> None:
        self.at += 1
        about = {"request": f"{REQUEST}-{number}", "subject_hash": PLAN}
        self.opened(**about, **TERMS)
        if leave is not None:
            facts = GIVEN | leave
            self.tell("approval.automatic", "svc:practice", **about, rule=facts)
        more = {"run": f"run-{number}", "request": about["request"], "policy_hash": policy_hash(POLICY)}
        self.started(
            **more
            | {"automatic": True, "from": LIVE, "to": BACK, "endpoint": "income-production", "approvals": []}
            | start
        )


def found(tale: Tale) -> list[str]:
    assert all(not lacking for _, lacking in tale.problems())
    return [sentence for sentence, _ in tale.problems()]


@pytest.fixture
def tale() -> Automatic:
    made = Automatic()
    made.begin()
    return made


def test_a_rollback_that_its_policy_and_its_rule_let_start_is_in_order_and_told(tale: Automatic) -> None:
    tale.run_by_itself(leave={})
    assert found(tale) == []
    assert "Of these 1 by themselves, as their policies allowed." in tale.facts()


def test_a_second_after_the_dwell_is_in_order_and_one_sooner_or_too_many_are_found(tale: Automatic) -> None:
    tale.run_by_itself(leave={})
    tale.at += 61
    tale.run_by_itself(2, leave={})
    assert found(tale) == []
    tale.at += 30
    tale.run_by_itself(3, leave={})
    assert found(tale) == ["run run-3 was started by itself more often than its rule allows"]


def test_one_sooner_than_the_dwell_is_found(tale: Automatic) -> None:
    tale.run_by_itself(leave={})
    tale.at += 30
    tale.run_by_itself(2, leave={})
    assert found(tale) == ["run run-2 was started by itself sooner after the one before than its rule allows"]


@pytest.mark.parametrize(
    ("begin", "run", "words"),
    [
        ({"allowed": False}, {"leave": {}}, "which lets nothing start so"),
        ({"by": "u-ada"}, {"leave": {}}, None),
        ({"by": "svc:worker"}, {"leave": {}}, "by a rule that no person had armed"),
        ({"trips": True}, {"leave": {}}, "when its rule was no longer armed"),
        ({}, {"leave": None}, "without a leave for plan"),
        ({}, {"leave": {"most": 9}}, "by another rule than the one in force"),
        ({}, {"leave": {"incident_severity": 3}}, "for an incident less severe"),
        ({}, {"leave": {}, "kind": "release"}, "which a release may not be"),
        ({}, {"leave": {}, "plan_hash": "b" * 64}, "without a leave for plan"),
    ],
    ids=["policy", "no-commander", "program", "tripped", "no-leave", "rule", "severity", "release", "plan"],
)
def test_what_should_not_have_started_by_itself_is_found(begin: Any, run: Any, words: str | None) -> None:
    tale = Automatic()
    tale.begin(**begin)
    tale.run_by_itself(**run)
    if words is None:
        [(sentence, lacking)] = tale.problems()
        assert lacking
        assert "u-ada was made commander" in sentence
    else:
        assert words in found(tale)[0]


def test_a_denial_wins(tale: Automatic) -> None:
    about = {"request": f"{REQUEST}-1", "subject_hash": PLAN}
    tale.at += 1
    tale.opened(**about, **TERMS)
    tale.tell("approval.automatic", "svc:practice", **about, rule=GIVEN)
    tale.decided("u-bob", "commander", **about | {"decision": "deny"})
    tale.started(
        run="run-1", request=about["request"], policy_hash=policy_hash(POLICY), automatic=True,
        **{"from": LIVE}, to=BACK, endpoint="income-production",
    )  # fmt: skip
    assert found(tale) == ["run run-1 was started by itself although u-bob had denied it"]


def test_without_a_rule_on_record_nothing_may(tale: Automatic) -> None:
    tale.acts = [act for act in tale.acts if act.action != "practice.rule.set"]
    tale.run_by_itself(leave={})
    assert found(tale) == ["run run-1 was started by itself, and nothing on record set a rule for income"]


def test_every_act_that_is_judged_gets_past_the_reader() -> None:
    judged = [*verify.EFFECTS, *verify.NEEDED_DATA, *verify.RULE]
    assert [action for action in judged if not action.startswith(verify.RELEVANT)] == []


def test_too_many_on_two_endpoints_of_the_model_are_found(tale: Automatic) -> None:
    for number, place in enumerate(("a", "b", "c"), start=1):
        tale.ranked(place=f"income-{place}")
        tale.run_by_itself(number, leave={}, endpoint=f"income-{place}")
    assert found(tale) == ["run run-3 was started by itself more often than its rule allows"]


def test_one_sooner_than_the_dwell_after_an_approved_one_is_found() -> None:
    tale = Automatic()
    tale.set_up("u-carol", "approver")
    tale.begin()
    about = {"request": f"{REQUEST}-9", "subject_hash": PLAN}
    tale.opened(**about, **TERMS)
    for person, role in (("u-bob", "commander"), ("u-carol", "approver")):
        tale.decided(person, role, **about)
    tale.consumed(("u-bob", "commander"), ("u-carol", "approver"), **about)
    tale.started(
        run="run-9", request=about["request"], policy_hash=policy_hash(POLICY), endpoint="income-production",
    )  # fmt: skip
    tale.at += 10
    tale.run_by_itself(leave={})
    assert found(tale) == ["run run-1 was started by itself sooner after the one before than its rule allows"]


def test_a_rule_that_is_disarmed_between_the_leave_and_the_start_is_found(tale: Automatic) -> None:
    about = {"request": f"{REQUEST}-1", "subject_hash": PLAN}
    tale.opened(**about, **TERMS)
    tale.tell("approval.automatic", "svc:practice", **about, rule=GIVEN)
    tale.at += 1
    tale.tell("practice.rule.disarm", "u-bob", target="income", rule=RULE)
    tale.at += 1
    tale.started(
        run="run-1", request=about["request"], policy_hash=policy_hash(POLICY), automatic=True,
        **{"from": LIVE}, to=BACK, endpoint="income-production",
    )  # fmt: skip
    [sentence] = found(tale)
    assert "when its rule was no longer armed" in sentence


def test_a_leave_outside_of_the_hours_of_the_rule_is_found(tale: Automatic) -> None:
    night = RULE | {"from_hour": 9, "to_hour": 17}
    tale.tell("practice.rule.set", "u-bob", target="income", rule=night)
    tale.run_by_itself(leave=night)
    [sentence] = found(tale)
    assert "outside of the hours of its rule" in sentence


def test_a_leave_after_the_role_of_who_armed_the_rule_was_revoked_is_found(tale: Automatic) -> None:
    tale.tell("role.end", "u-ada", grant="u-bob-commander", user="u-bob", role="commander", scope={})
    tale.at += 1
    tale.run_by_itself(leave={})
    [sentence] = found(tale)
    assert "could not command any more" in sentence


def test_a_run_to_another_target_than_its_leave_states_is_found(tale: Automatic) -> None:
    tale.run_by_itself(leave={}, to="d" * 64)
    assert found(tale) == ["run run-1 was started by itself by a leave for another target than the one it went to"]


@pytest.mark.parametrize(
    ("ranking", "words"),
    [
        ({"live_high": "0.760100", "promised": "0.810000"}, "while the errors were within the budget of its rule"),
        ({"live_high": "0.780000", "promised": ""}, "while the errors were within the budget of its rule"),
        ({"difference_low": "-0.001000"}, "to a version that does not surely do better"),
        ({"eligible": False}, "no ranking on record says of"),
    ],
    ids=["promised", "as-the-target", "not-better", "not-eligible"],
)
def test_what_the_ranking_does_not_bear_out_is_found(tale: Automatic, ranking: Any, words: str) -> None:
    tale.ranked(**ranking)
    figures = {name: value for name, value in ranking.items() if name in REPLAYED}
    tale.at += 1
    tale.run_by_itself(leave={"target": TARGET | {"replayed": REPLAYED | figures}})
    [sentence] = found(tale)
    assert words in sentence


def test_errors_of_just_the_budget_are_in_order(tale: Automatic) -> None:
    tale.ranked(live_high="0.760000")
    tale.at += 1
    tale.run_by_itself(leave={"target": TARGET | {"replayed": REPLAYED | {"live_high": "0.760000"}}})
    assert found(tale) == []


def test_better_figures_than_the_ranking_had_are_found(tale: Automatic) -> None:
    tale.ranked(live_high="0.790000")
    tale.at += 1
    tale.run_by_itself(leave={})
    [sentence] = found(tale)
    assert f"no ranking on record says of {BACK} what its leave says" in sentence


def test_without_any_ranking_on_record_nothing_may(tale: Automatic) -> None:
    tale.acts = [act for act in tale.acts if act.action != "rollback.ranking.answer"]
    tale.run_by_itself(leave={})
    [sentence] = found(tale)
    assert "no ranking on record" in sentence


def soaked(tale: Automatic) -> None:
    tale.tell("version.soak", "svc:worker", target="income/1", endpoint="income-production")


@pytest.mark.parametrize(
    ("validated", "before", "fault"),
    [
        ({"by": "drill", "drill": "d-2"}, None, True),
        ({}, None, True),
        ({"by": "soak"}, None, True),
        ({"by": "soak"}, soaked, False),
    ],
    ids=["no-such-drill", "nothing", "never-soaked", "soaked"],
)
def test_a_target_that_nothing_validates_is_found(tale: Automatic, validated: Any, before: Any, fault: bool) -> None:
    if before is not None:
        before(tale)
    tale.run_by_itself(leave={"target": TARGET | {"validated": validated}})
    sentence = "run run-1 was started by itself to a version that nothing on record validates"
    assert found(tale) == ([sentence] if fault else [])


def test_a_drill_that_was_too_long_ago_does_not_validate(tale: Automatic) -> None:
    tale.at += 31 * DAY
    tale.ranked()
    tale.at += 1
    tale.run_by_itself(leave={})
    assert found(tale) == ["run run-1 was started by itself to a version that nothing on record validates"]


def test_having_soaked_without_a_golden_test_does_not_validate(tale: Automatic) -> None:
    tale.acts = [act._replace(data=act.data | {"golden": None}) if act.action == "version.register" else act
                 for act in tale.acts]  # fmt: skip
    soaked(tale)
    tale.run_by_itself(leave={"target": TARGET | {"validated": {"by": "soak"}}})
    assert found(tale) == ["run run-1 was started by itself to a version that nothing on record validates"]


def test_a_golden_test_that_an_adopted_version_was_given_later_validates(tale: Automatic) -> None:
    tale.acts = [act._replace(data=act.data | {"golden": None}) if act.action == "version.register" else act
                 for act in tale.acts]  # fmt: skip
    tale.tell("version.complete", "u-ada", target="income/1", digest=BACK, golden="9" * 64)
    soaked(tale)
    tale.run_by_itself(leave={"target": TARGET | {"validated": {"by": "soak"}}})
    assert found(tale) == []
