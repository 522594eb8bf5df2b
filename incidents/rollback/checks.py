"""Checks: a question, one of three answers, what was seen and what was expected; stored, and on record."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from audit.actions import Actor, Target, record
from incidents.rollback.models import Check, CheckAnswer, Run, Wave
from monitoring.judging.answers import POWER_FLOOR, Judged
from monitoring.judging.counts import ErrorShare, PromisedErrors
from registry.golden import GoldenResult
from registry.models import Host

UNSEEN_SHARE = 0.1
"""A share of failing requests that must not pass unseen."""
FEWEST_REQUESTS = math.ceil(math.log(1 - POWER_FLOOR) / math.log(1 - UNSEEN_SHARE))
"""Without one failure, as many requests (16) are the fewest in which that share would have shown."""

ONE_SIDED = 0.025
"""The chance of a false finding on either side of a limit: that of a 95 % interval."""


@dataclass(frozen=True)
class Answered:
    """A question with its answer, not stored yet. `wait` asks to be asked again when there is more data, after `again`
    seconds."""

    name: str
    question: str
    answer: CheckAnswer
    observed: str = ""
    expected: str = ""
    interval: str = ""
    host: Host | None = None
    wait: bool = False
    again: float = 0.2

    @property
    def facts(self) -> dict[str, str]:
        named = {"name": self.name, "answer": str(self.answer), "observed": self.observed, "expected": self.expected}
        return {**named, **({"host": self.host.name} if self.host else {})}


def keep(*, run: Run, stage: str, answers: Iterable[Answered], wave: Wave | None = None) -> None:
    """Store the latest answer to each question of a stage; an earlier answer to the same question is replaced, and
    stays in the log where it decided something."""
    asked = {(answered.host.pk if answered.host else None, answered.name): answered for answered in answers}
    named = Check.objects.filter(run=run, wave=wave, stage=stage, name__in={name for _, name in asked})
    changed = []
    for check in named.select_for_update():
        answered = asked.pop((check.host_id, check.name), None)
        if answered is not None and _put(check, answered):
            changed.append(check)
    Check.objects.bulk_update(changed, _KEPT)
    new = []
    for answered in asked.values():
        check = Check(run=run, wave=wave, host=answered.host, stage=stage, name=answered.name)
        _put(check, answered)
        new.append(check)
    Check.objects.bulk_create(new)


_KEPT = ("question", "answer", "observed", "expected", "interval")


def _put(check: Check, answered: Answered) -> bool:
    """Write an answer into its row, unsaved; whether the row is another than before."""
    before = [getattr(check, name) for name in _KEPT]
    check.question, check.answer = answered.question[:300], str(answered.answer)
    check.observed, check.expected = answered.observed[:300], answered.expected[:300]
    check.interval = answered.interval[:100]
    return before != [getattr(check, name) for name in _KEPT]


def put_on_record(*, run: Run, action: str, answers: list[Answered], actor: Actor, data: dict[str, Any]) -> None:
    """One event for a set of answers, in the caller's transaction."""
    record(
        action=action,
        target=Target("run", str(run.id)),
        actor=actor,
        incident=run.plan.incident_ref,
        outcome="success" if verdict(answers) == CheckAnswer.PASS else "failed",
        data={"run": str(run.id), "checks": [answered.facts for answered in answers], **data},
    )


def verdict(answers: Iterable[Answered]) -> CheckAnswer:
    """Fail when one fails, else inconclusive when one is, else pass."""
    found = {answered.answer for answered in answers}
    for answer in (CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE):
        if answer in found:
            return answer
    return CheckAnswer.PASS


def golden_answer(host: Host | None, result: GoldenResult, digest: str, where: str) -> Answered:
    """Whether the golden inputs gave the golden outputs, from the version that was asked."""
    question = f"Does {where} give the golden outputs?"
    expected = "every output within the tolerance, from the approved digest"
    if result.digest_answered and result.digest_answered != digest:
        observed = f"answered by {result.digest_answered[:12]} instead of {digest[:12]}"
        return Answered("golden", question, CheckAnswer.FAIL, observed, expected, host=host)
    observed = f"{result.n} rows, worst difference {result.worst_difference:.3g}"
    if result.passed:
        return Answered("golden", question, CheckAnswer.PASS, observed, expected, host=host)
    observed = f"{result.mismatches} of {result.n} rows differ, worst difference {result.worst_difference:.3g}"
    return Answered("golden", question, CheckAnswer.FAIL, observed, expected, host=host)


def percent(share: float | Decimal) -> str:
    return f"{100 * float(share):.1f} %"


def error_answer(
    *, failures: int, requests: int, max_share: Decimal, min_requests: int, host: Host | None, where: str
) -> Answered:
    """Pass when surely no more than `max_share` failed, or none did and UNSEEN_SHARE would have shown; fail when surely
    more did. Who asks for no requests (`min_requests` 0) takes none that failed for a pass."""
    question = f"Do requests to {where} succeed?"
    expected = f"at most {percent(max_share)} fail"
    needed = max(min_requests, FEWEST_REQUESTS) if min_requests and not failures else min_requests
    if requests < needed:
        observed = f"{requests} of {needed} requests needed for an answer"
        return Answered("errors", question, CheckAnswer.INCONCLUSIVE, observed, expected, "", host, wait=True)
    if requests == 0:
        return Answered("errors", question, CheckAnswer.PASS, "no live traffic here", expected, "", host)
    floor = POWER_FLOOR if min_requests else 0.0
    asked = PromisedErrors(min(failures, requests), requests, float(max_share), UNSEEN_SHARE, floor)
    judged = asked.judge(ONE_SIDED)
    answer = CheckAnswer(judged.answer)
    observed, interval = f"{failures} of {requests} failed", between(judged)
    return Answered(
        "errors", question, answer, observed, expected, interval, host, wait=answer == CheckAnswer.INCONCLUSIVE
    )


def compared_errors(
    *, new: Mapping[str, int], old: Mapping[str, int], max_more: Decimal, host: Host | None, where: str
) -> Answered:
    """Whether more requests fail than of the version beside it, on the same host in the same time (Fisher's exact
    test). Each has `requests` and `failures`. Pass when surely not by `max_more`."""
    judged = ErrorShare(
        min(old["failures"], old["requests"]),
        old["requests"],
        min(new["failures"], new["requests"]),
        new["requests"],
        matters=float(max_more),
    ).judge()
    answer = CheckAnswer(judged.answer)
    return Answered(
        "errors_beside",
        f"Do requests to {where} fail no more often than those to the version beside it?",
        answer,
        f"{new['failures']} of {new['requests']} failed, {old['failures']} of {old['requests']} beside it",
        f"less than {percent(max_more)} more",
        between(judged),
        host,
        wait=answer == CheckAnswer.INCONCLUSIVE,
    )


def between(judged: Judged) -> str:
    """The interval of an answer that is a share, in percent."""
    return "" if judged.low is None or judged.high is None else f"{percent(judged.low)} to {percent(judged.high)}"


def latency_answer(
    *, new_ms: float, old_ms: float, max_ratio: Decimal, floor_ms: Decimal, host: Host | None, where: str, n: int
) -> Answered:
    """Fail when it is slower by more than `max_ratio` and by more than `floor_ms`: both, so that noise of tiny times is
    no finding."""
    slower = new_ms > float(max_ratio) * old_ms and new_ms - old_ms > float(floor_ms)
    return Answered(
        "latency",
        f"Is {where} as fast as before?",
        CheckAnswer.FAIL if slower else CheckAnswer.PASS,
        f"{new_ms:.2f} ms (fastest of {n})",
        f"at most {float(max_ratio):g} times {old_ms:.2f} ms",
        host=host,
        wait=slower,
    )
