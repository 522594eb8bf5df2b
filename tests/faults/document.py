"""Writes docs/fault-matrix.md from the tests: `python -m tests.faults.document`.

Which test stands for which fault is read from the tests' names (`test_f28_...`), from the cases of the matrix, and from
`ELSEWHERE` for tests that are older than the numbers.
"""

import ast
import re
from pathlib import Path

from tests.faults.matrix.edges import CASES, NOT_ENUMERATED, STORIES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "fault-matrix.md"
FAULTS: dict[int, tuple[str, str]] = {
    1: ("kill -9 of a web process after the commit, before the message", "the run starts within 30 s, once"),
    2: ("a message is sent twice", "one execution"),
    3: ("kill of a worker before it has claimed", "sent again"),
    4: ("kill after the claim, before the intent", "the lease runs out; no host was called"),
    5: ("kill after the intent, before the call", "observed, then called once"),
    6: ("kill after the host switched, before the outcome", "read back as switched; not switched again"),
    7: ("kill during the check after the switch", "the check is made again, the switch is not"),
    8: ("kill after the outcome, before the message is acknowledged", "a second delivery does nothing"),
    9: ("kill in COMMIT; SIGTERM and SIGQUIT in the middle", "the outcome is read back"),
    10: ("Redis flushed in the middle of a run", "the run completes"),
    11: ("Redis comes back and the worker is deaf", "the consumer is started again within 60 s"),
    12: ("a task longer than the visibility timeout", "one execution"),
    13: ("the same message delivered fifty times", "one execution"),
    14: ("the database comes back without its last commits", "the hosts' newer fence is found; a person decides"),
    15: ("the database is away in the middle of a run", "no call without an intent; goes on afterwards"),
    16: ("the database's disk is full", "actions are refused; no half record"),
    17: ("the database is restored from an old backup", "loud; the sequencer refuses to sign"),
    18: ("a host is unreachable before the switch", "left out or halted, as the plan says"),
    19: ("a host is unreachable in the middle of the switch", "unknown: nothing is repeated before it was read"),
    20: ("a host acts late, after the timeout", "its old fence is refused"),
    21: ("a host lies about its version", "digest and golden test disagree: failed"),
    22: ("right version, wrong weights", "the golden test fails"),
    23: ("a part of the fleet is left", "said so; the incident can't be closed"),
    24: ("the target of the rollback is bad too", "the canary fails; no other host is touched"),
    25: ("a file is missing or damaged", "the preflight fails before any host"),
    26: ("two commanders start the same plan", "one run; the other is told 409"),
    27: ("two plans, one fleet", "the second is refused until the first has ended"),
    28: ("the approval is revoked or runs out before the start", "refused"),
    29: ("an approver loses the role before the start", "refused"),
    30: ("the fleet moved after the approval", "refused"),
    31: ("the clocks of workers are wrong by ten minutes", "the database's clock governs"),
    32: ("the database's clock jumps back", "leases by the database, order by leaf"),
    33: ("a lease's holder sleeps past its lease", "the host refuses it"),
    34: ("the sequencer is killed in a batch; two sequencers", "contiguous leaves, one root a size"),
    35: ("a long transaction holds the horizon back", "alarm; nothing lost"),
    36: ("a witness is down, or is shown two histories", "said so; alarm"),
    37: (
        "a server that Lastgood calls beside the hosts is down or slow: that of an on-call calendar, for webhooks are "
        "only received",
        "tried again; no worker starves",
    ),
    38: ("a host is killed or rebooted in the middle of the switch", "its new boot is observed"),
    39: ("the application is deployed anew during a run", "the run survives"),
    40: ("a source of metrics falls silent", "no data, never healthy"),
    41: ("an adoption is killed after anything that it registers", "adopted again it is whole, and nothing is twice"),
    42: (
        "every program is killed, and an engine without a fence is changed by hand",
        "it is held and asked about, not undone",
    ),
}
ELSEWHERE: dict[int, list[str]] = {
    3: ["matrix: run: wave:pending>running, before call"],
    4: ["matrix: run: intent:switch, before commit"],
    5: ["matrix: run: intent:switch, after commit", "matrix: run: step:golden_ok>switched, before call"],
    6: ["matrix: run: step:golden_ok>switched, before commit"],
    7: ["matrix: run: step:switched>postcheck_ok, before call"],
    8: ["matrix: run: run:running>switched, after commit"],
    10: ["test_a_flushed_broker_loses_nothing"],
    13: ["test_fifty_deliveries_of_the_same_message_switch_once"],
    18: [
        "test_a_host_that_is_down_is_left_out_within_the_budget",
        "test_more_hosts_down_than_tolerated_halt_the_run",
        "matrix: run that halts: run:running>halted, before commit",
    ],
    21: [
        "test_abuse_38_a_switch_that_is_answered_200_and_not_done_is_not_believed",
        "test_a_state_that_is_made_up_does_not_get_past_the_post_check",
    ],
    24: ["test_a_version_that_turns_out_wrong_on_the_canary_reaches_no_other_host"],
    25: ["test_a_damaged_artifact_is_found_before_any_host_is_asked"],
    42: [
        "test_what_was_done_by_hand_while_all_programs_were_dead_is_held_asked_about_and_recorded",
        "test_files_that_an_operator_brought_while_all_programs_were_dead_are_held_and_told_of",
    ],
    22: [
        "test_preflight_finds_other_weights_under_the_right_digest",
        "test_abuse_38_a_run_halts_before_it_switches_a_host_with_other_weights",
    ],
}
HEAD = """# The fault matrix

Written by `python -m tests.faults.document` from the tests; do not edit it by hand. `make test-faults` plays it: real
processes are killed, stopped and started again, and what came of it is judged from the hosts' own logs and the exported
record alone: no host is switched twice under one fence, no run is lost, no switch lacks an intent on record in a run
that was approved, no host is left on a version other than the run's two, and every event that was acknowledged is in
the log.

Fencing is what stands behind the word "late". It holds for engines that keep a fence; the plan of one that does not
says so, and there an earlier call's deadline is waited for instead.

## Faults by number

| | what happens | what must come of it | tested by |
|---|---|---|---|
"""
EDGES = """
## Deaths at every persisted edge

{cases} deaths by kill -9: each edge before its call to a host, after the call and before the commit, and after the
commit. The clock and another worker go on from there.

| story | edges |
|---|---|
"""
EXCUSED = """
Legal moves at which nothing is killed, and why:

| why | moves |
|---|---|
"""


def tests() -> dict[str, str]:
    """Name of each test function -> its file, relative to the repository."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = str(path.relative_to(ROOT))
    return found


def missing() -> list[str]:
    """Tests and cases that `ELSEWHERE` names and that are not there."""
    known = {*tests(), *(f"matrix: {case.name}" for case in CASES)}
    return [name for names in ELSEWHERE.values() for name in names if name not in known]


def covered() -> dict[int, list[str]]:
    """Fault -> what tests it."""
    found: dict[int, list[str]] = {number: list(ELSEWHERE.get(number, [])) for number in FAULTS}
    for name in tests():
        if match := re.match(r"test_f(\d\d)_", name):
            found[int(match[1])].append(name)
    return found


def page() -> str:
    rows = []
    for number, names in covered().items():
        fault, wanted = FAULTS[number]
        by = "<br>".join(f"`{name}`" for name in names) or "not tested as such"
        rows.append(f"| F{number} | {fault} | {wanted} | {by} |\n")
    stories = [f"| {story} | {', '.join(f'`{edge}`' for edge in edges)} |\n" for story, edges in STORIES.items()]
    reasons: dict[str, list[str]] = {}
    for edge, why in NOT_ENUMERATED.items():
        reasons.setdefault(why, []).append(edge)
    excused = [f"| {why} | {', '.join(f'`{edge}`' for edge in edges)} |\n" for why, edges in reasons.items()]
    return HEAD + "".join(rows) + EDGES.format(cases=len(CASES)) + "".join(stories) + EXCUSED + "".join(excused)


if __name__ == "__main__":
    PAGE.write_text(page())
