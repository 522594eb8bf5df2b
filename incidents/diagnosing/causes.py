"""The fixed words, each asked of what was seen: does the evidence speak for it, against it, or leave it open?

The order matters: the first that the evidence speaks for is what it looks like. A host is asked about first, since a
bad one spoils every other comparison, and the version before what is sent, since another version that cures it says
more than any drift."""

from dataclasses import dataclass

from incidents.diagnosing.seen import BUSIER, CURED, SLOWER, Seen, share

FOR, AGAINST, OPEN = "for", "against", "open"
ENOUGH_LABELS = 100

HOST, VERSION, LOAD = "a bad host", "a bad version", "load"
UPSTREAM, SHIFT, LABELS, NOT_ENOUGH = "upstream data", "a population shift", "suspect labels", "not enough data"


@dataclass(frozen=True)
class Hypothesis:
    """One of the fixed words, whether the evidence speaks for it, against it or leaves it open, and that evidence."""

    word: str
    stands: str
    because: str


def hypotheses(seen: Seen) -> list[Hypothesis]:
    """One for each of the fixed words."""
    return [_host(seen), _version(seen), _load(seen), _upstream(seen), _shift(seen), _labels(seen), _not_enough(seen)]


def _host(seen: Seen) -> Hypothesis:
    odd = seen.odd_hosts
    if odd and seen.dropped == "yes" and seen.only_slow_or_silent_hosts:
        return Hypothesis(
            HOST, AGAINST, f"{'; '.join(odd.values())}; but that makes no answer wrong, and they are wrong alike."
        )
    if odd:
        return Hypothesis(HOST, FOR, f"{'; '.join(odd.values())}.")
    hosts = seen.of("odd-hosts").get("hosts", {})
    if seen.all_fail_golden and len(seen.itself["golden"]) > 1:
        return Hypothesis(HOST, AGAINST, "every host fails the golden test, so it is not one of them.")
    if len(hosts) < 2 and not seen.itself.get("golden"):
        return Hypothesis(HOST, OPEN, "there are too few hosts with answers to compare.")
    again = " and answer again as they answered" if seen.reproduced else ""
    return Hypothesis(HOST, AGAINST, f"no host stands out of {max(len(hosts), 1)}; they are hit alike{again}.")


def _version(seen: Seen) -> Hypothesis:
    if seen.all_fail_golden and not seen.odd_hosts:
        return Hypothesis(
            VERSION, FOR, "no host answers its golden test: what is in memory is not what was registered."
        )
    if seen.broken_promise:
        return Hypothesis(VERSION, FOR, f"{seen.broken_promise}.")
    if seen.cures:
        return Hypothesis(VERSION, FOR, f"{_same_rows(seen)}.")
    if seen.by_itself is not None and seen.by_itself >= SLOWER and seen.is_slow:
        return Hypothesis(
            VERSION,
            FOR,
            f"on one host, asked in turns, it takes {seen.by_itself:.1f} times as long as another version.",
        )
    if seen.is_slow and seen.by_itself is None and not seen.was_fast and (seen.busier or 1.0) < BUSIER:
        return Hypothesis(
            VERSION, FOR, f"it answers {seen.slower:.1f} times slower than before, under no more traffic."
        )
    if seen.better and seen.drop is not None and seen.dropped != "yes":
        fell = "it is right as often as before" if seen.dropped == "no" else "that it is right less often is not sure"
        return Hypothesis(VERSION, AGAINST if seen.dropped == "no" else OPEN, f"{_same_rows(seen)}, but {fell}.")
    if seen.better:
        lost = f"{_same_rows(seen)}, but that wins back {share(seen.cured)} only of what was lost"
        return Hypothesis(VERSION, AGAINST, f"{lost}.")
    if seen.better is False:
        return Hypothesis(VERSION, AGAINST, f"no other version does better: {_same_rows(seen)}.")
    if seen.dropped == "no" and not seen.is_slow:
        return Hypothesis(VERSION, AGAINST, "it is right as often as before, and as fast.")
    if seen.tried:
        return Hypothesis(VERSION, OPEN, f"the rows are too few to tell the versions apart: {_same_rows(seen)}.")
    return Hypothesis(VERSION, OPEN, "no other version has been tried on the same labelled inputs.")


def _same_rows(seen: Seen) -> str:
    replay = seen.tried
    pairs = replay["paired"]
    theirs = share(replay["candidate"]["accuracy"])
    return (
        f"on the same {replay['labelled']:,} inputs another version is right in {theirs}, "
        f"version {seen.from_version} in {share(replay['live']['accuracy'])} "
        f"({100 * pairs['low']:+.1f} to {100 * pairs['high']:+.1f} points)"
    )


def _load(seen: Seen) -> Hypothesis:
    if seen.slower is None:
        return Hypothesis(LOAD, OPEN, "there is no latency from before to compare with.")
    if not seen.is_slow:
        return Hypothesis(LOAD, AGAINST, "it answers about as fast as before.")
    if seen.by_itself is not None and seen.by_itself >= SLOWER:
        return Hypothesis(LOAD, AGAINST, "it is slower than another version on the same host at the same time.")
    if (seen.busier or 1.0) >= BUSIER:
        return Hypothesis(
            LOAD, FOR, f"it answers {seen.slower:.1f} times slower, under {seen.busier:.1f} times the traffic."
        )
    if seen.odd_hosts:
        return Hypothesis(LOAD, AGAINST, "it is slow where one host is.")
    if seen.was_fast:
        return Hypothesis(
            LOAD, FOR, "the same version was fast before, under as much traffic: the machines have other work."
        )
    return Hypothesis(LOAD, AGAINST, "it is slower, though there is no more traffic than before.")


def _columns(seen: Seen) -> str:
    return "; ".join(str(one["because"]) for one in seen.moved[:3]) or "what is sent has changed"


def _upstream(seen: Seen) -> Hypothesis:
    if seen.sent == "unknown":
        return Hypothesis(UPSTREAM, OPEN, "there are too few rows to compare what is sent with before.")
    if seen.sent != "upstream":
        what = "what is sent is as it was before" if seen.sent == "same" else "the columns moved together, as people do"
        return Hypothesis(UPSTREAM, AGAINST, f"{what}.")
    if seen.cures:
        return Hypothesis(UPSTREAM, AGAINST, f"{_columns(seen)}; but another version does well on the same inputs.")
    if seen.dropped == "no" and not seen.broken:
        return Hypothesis(UPSTREAM, AGAINST, f"{_columns(seen)}; but it is right as often as before.")
    if seen.dropped == "no":
        return Hypothesis(UPSTREAM, FOR, f"{_columns(seen)}; it is right about as often as before, so far.")
    if seen.dropped == "yes":
        none = "no version does well on it" if seen.better is False else "and it is right less often since"
        return Hypothesis(UPSTREAM, FOR, f"{_columns(seen)}; {none}.")
    if seen.weighty or seen.answers_moved:
        return Hypothesis(UPSTREAM, FOR, f"{_columns(seen)}; the labels don't tell yet what that costs.")
    return Hypothesis(UPSTREAM, AGAINST, f"{_columns(seen)}; but the model hardly reads it, and answers as before.")


def _shift(seen: Seen) -> Hypothesis:
    if seen.sent == "unknown":
        return Hypothesis(SHIFT, OPEN, "there are too few rows to compare who asks with before.")
    if seen.sent != "shift":
        what = "who asks is as before" if seen.sent == "same" else "a column is broken, which people don't do"
        return Hypothesis(SHIFT, AGAINST, f"{what}.")
    if seen.cures:
        return Hypothesis(SHIFT, AGAINST, f"{_columns(seen)}; but another version does well on the same people.")
    if seen.dropped == "no":
        return Hypothesis(SHIFT, AGAINST, f"{_columns(seen)}; but it is right as often as before.")
    if seen.dropped == "yes":
        return Hypothesis(SHIFT, FOR, f"{_columns(seen)}; many columns moved together, and it is right less often.")
    return Hypothesis(
        SHIFT, FOR if seen.weighty else OPEN, f"{_columns(seen)}; labels don't tell yet whether it matters."
    )


def _labels(seen: Seen) -> Hypothesis:
    quality = seen.quality
    if not seen.labelled:
        return Hypothesis(LABELS, OPEN, "there are no labelled answers.")
    adjusted = quality.get("adjusted", "")
    if quality.get("mixed_otherwise") and not seen.cures and adjusted and float(adjusted) < 0.02:
        return Hypothesis(
            LABELS, FOR,
            f"{share(quality['positive'])} of the labels are positive, before {share(quality['positive_before'])}, and "
            "the answers are as before; within each class it is as right as it was.",
        )  # fmt: skip
    if seen.dropped != "yes":
        return Hypothesis(LABELS, AGAINST if seen.dropped == "no" else OPEN, "the labels agree with it as before."
                          if seen.dropped == "no" else "they don't show yet that it is right less often.")  # fmt: skip
    if seen.cures:
        return Hypothesis(LABELS, AGAINST, "the same labels agree with another version.")
    if seen.sent in ("upstream", "shift"):
        return Hypothesis(LABELS, AGAINST, "what is sent has changed too, not the labels alone.")
    wrong_hosts = bool(seen.odd_hosts) and not seen.only_slow_or_silent_hosts
    if wrong_hosts or seen.broken_promise or seen.all_fail_golden:
        return Hypothesis(LABELS, AGAINST, "the hosts' answers themselves are wrong.")
    same = "what is sent is as before" if seen.sent == "same" else "nothing else is known to have changed"
    if seen.better is False:
        return Hypothesis(LABELS, FOR, f"{same}, and by these labels every version has become worse at once.")
    own = quality.get("own", {})
    if seen.reproduced and own.get("n", 0) >= ENOUGH_LABELS and seen.sent == "same":
        return Hypothesis(
            LABELS, FOR, "the same version, sent the same and answering the same, agreed with the labels an hour ago."
        )
    return Hypothesis(LABELS, OPEN, f"{same}; whether another version agrees with the labels is not known.")


def _not_enough(seen: Seen) -> Hypothesis:
    n, late = seen.labelled, bool(seen.quality.get("late"))
    if n < ENOUGH_LABELS and not seen.is_slow and not seen.broken_promise and not seen.all_fail_golden:
        why = "; far fewer have come than before, so they may be late" if late else ""
        return Hypothesis(NOT_ENOUGH, FOR, f"{n} answers since it began have a label, {ENOUGH_LABELS} are needed{why}.")
    return Hypothesis(NOT_ENOUGH, AGAINST, f"{n:,} answers since it began have a label.")


__all__ = ["AGAINST", "CURED", "FOR", "OPEN", "Hypothesis", "hypotheses"]
