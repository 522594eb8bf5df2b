"""The fixed words, each asked of what was seen: does the evidence speak for it, against it, or leave it open?

The order matters: the first that the evidence speaks for is what it looks like. A host is asked about first, since a
bad one spoils every other comparison, and the version before what is sent, since another version that cures it says
more than any drift."""

from dataclasses import dataclass

from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from incidents.diagnosing.seen import BUSIER, CURED, SLOWER, Data, Seen, share

FOR, AGAINST, OPEN = "for", "against", "open"
ENOUGH_LABELS = 100

HOST, VERSION, LOAD = gettext_noop("a bad host"), gettext_noop("a bad version"), gettext_noop("load")
UPSTREAM, SHIFT = gettext_noop("upstream data"), gettext_noop("a population shift")
LABELS, NOT_ENOUGH = gettext_noop("suspect labels"), gettext_noop("not enough data")
STANDS = {FOR: _("for"), AGAINST: _("against"), OPEN: _("open")}


@dataclass(frozen=True)
class Hypothesis:
    """One of the fixed words, whether the evidence speaks for it, against it or leaves it open, and that evidence."""

    word: str
    stands: str
    because: str

    @property
    def called(self) -> str:
        """The word as the reader's language has it."""
        return gettext(self.word)

    @property
    def answer(self) -> str:
        return str(STANDS[self.stands])


def hypotheses(seen: Seen) -> list[Hypothesis]:
    """One for each of the fixed words."""
    return [_host(seen), _version(seen), _load(seen), _upstream(seen), _shift(seen), _labels(seen), _not_enough(seen)]


def _host(seen: Seen) -> Hypothesis:
    odd = seen.odd_hosts
    if odd and seen.dropped == "yes" and seen.only_slow_or_silent_hosts:
        return Hypothesis(
            HOST,
            AGAINST,
            gettext("%(values)s; but that makes no answer wrong, and they are wrong alike.")
            % {"values": "; ".join(odd.values())},
        )
    if odd:
        return Hypothesis(HOST, FOR, f"{'; '.join(odd.values())}.")
    hosts = seen.of("odd-hosts").get("hosts", {})
    if seen.all_fail_golden and len(seen.itself["golden"]) > 1:
        return Hypothesis(HOST, AGAINST, gettext("every host fails the golden test, so it is not one of them."))
    if len(hosts) < 2 and not seen.itself.get("golden"):
        return Hypothesis(HOST, OPEN, gettext("there are too few hosts with answers to compare."))
    said = gettext("no host stands out of %(hosts)s; they are hit alike.")
    if seen.reproduced:
        said = gettext("no host stands out of %(hosts)s; they are hit alike and answer again as they answered.")
    return Hypothesis(HOST, AGAINST, said % {"hosts": max(len(hosts), 1)})


def _version(seen: Seen) -> Hypothesis:
    if seen.all_fail_golden and not seen.odd_hosts:
        return Hypothesis(
            VERSION, FOR, gettext("no host answers its golden test: what is in memory is not what was registered.")
        )
    if seen.broken_promise:
        return Hypothesis(VERSION, FOR, f"{seen.broken_promise}.")
    if seen.cures:
        return Hypothesis(VERSION, FOR, f"{_same_rows(seen)}.")
    if seen.by_itself is not None and seen.by_itself >= SLOWER and seen.is_slow:
        return Hypothesis(
            VERSION,
            FOR,
            gettext("on one host, asked in turns, it takes %(by_itself)s times as long as another version.")
            % {"by_itself": f"{seen.by_itself:.1f}"},
        )
    if seen.is_slow and seen.by_itself is None and not seen.was_fast and (seen.busier or 1.0) < BUSIER:
        return Hypothesis(
            VERSION,
            FOR,
            gettext("it answers %(slower)s times slower than before, under no more traffic.")
            % {"slower": f"{seen.slower:.1f}"},
        )
    if seen.better and seen.selected:
        said = gettext("%(rows)s, but which labels are known depends on what was answered.")
        return Hypothesis(VERSION, OPEN, said % {"rows": _same_rows(seen)})
    if seen.better and seen.drop is not None and seen.dropped != "yes":
        said = (
            gettext("%(rows)s, but it is right as often as before.")
            if seen.dropped == "no"
            else gettext("%(rows)s, but that it is right less often is not sure.")
        )
        return Hypothesis(VERSION, AGAINST if seen.dropped == "no" else OPEN, said % {"rows": _same_rows(seen)})
    if seen.better:
        lost = gettext("%(found)s, but that wins back %(cured)s only of what was lost") % {
            "found": _same_rows(seen),
            "cured": share(seen.cured),
        }
        return Hypothesis(VERSION, AGAINST, f"{lost}.")
    if seen.better is False:
        return Hypothesis(
            VERSION, AGAINST, gettext("no other version does better: %(found)s.") % {"found": _same_rows(seen)}
        )
    if seen.dropped == "no" and not seen.is_slow:
        return Hypothesis(VERSION, AGAINST, gettext("it is right as often as before, and as fast."))
    if seen.tried:
        return Hypothesis(
            VERSION,
            OPEN,
            gettext("the rows are too few to tell the versions apart: %(found)s.") % {"found": _same_rows(seen)},
        )
    return Hypothesis(VERSION, OPEN, gettext("no other version has been tried on the same labelled inputs."))


def _same_rows(seen: Seen) -> str:
    replay = seen.tried
    pairs = replay["paired"]
    theirs = share(replay["candidate"]["accuracy"])
    return gettext(
        "on the same %(labelled)s inputs another version is right in %(theirs)s, version "
        "%(from_version)s in %(accuracy)s (%(low)s to %(high)s points)"
    ) % {
        "labelled": f"{replay['labelled']:,}",
        "theirs": theirs,
        "from_version": seen.from_version,
        "accuracy": share(replay["live"]["accuracy"]),
        "low": f"{100 * pairs['low']:+.1f}",
        "high": f"{100 * pairs['high']:+.1f}",
    }


def _load(seen: Seen) -> Hypothesis:
    if seen.slower is None:
        return Hypothesis(LOAD, OPEN, gettext("there is no latency from before to compare with."))
    if not seen.is_slow:
        return Hypothesis(LOAD, AGAINST, gettext("it answers about as fast as before."))
    if seen.by_itself is not None and seen.by_itself >= SLOWER:
        return Hypothesis(
            LOAD, AGAINST, gettext("it is slower than another version on the same host at the same time.")
        )
    if (seen.busier or 1.0) >= BUSIER:
        return Hypothesis(
            LOAD,
            FOR,
            gettext("it answers %(slower)s times slower, under %(busier)s times the traffic.")
            % {"slower": f"{seen.slower:.1f}", "busier": f"{seen.busier:.1f}"},
        )
    if seen.odd_hosts:
        return Hypothesis(LOAD, AGAINST, gettext("it is slow where one host is."))
    if seen.was_fast:
        return Hypothesis(
            LOAD, FOR, gettext("the same version was fast before, under as much traffic: the machines have other work.")
        )
    return Hypothesis(LOAD, AGAINST, gettext("it is slower, though there is no more traffic than before."))


def _columns(seen: Seen) -> str:
    return "; ".join(str(one["because"]) for one in seen.moved[:3]) or gettext("what is sent has changed")


def _upstream(seen: Seen) -> Hypothesis:
    if seen.sent == "unknown":
        return Hypothesis(UPSTREAM, OPEN, gettext("there are too few rows to compare what is sent with before."))
    if seen.sent != "upstream":
        what = (
            gettext("what is sent is as it was before")
            if seen.sent == "same"
            else gettext("the columns moved together, as people do")
        )
        return Hypothesis(UPSTREAM, AGAINST, f"{what}.")
    if seen.cures:
        return Hypothesis(
            UPSTREAM,
            AGAINST,
            gettext("%(found)s; but another version does well on the same inputs.") % {"found": _columns(seen)},
        )
    if seen.dropped == "no" and not seen.broken:
        return Hypothesis(
            UPSTREAM, AGAINST, gettext("%(found)s; but it is right as often as before.") % {"found": _columns(seen)}
        )
    if seen.dropped == "no":
        return Hypothesis(
            UPSTREAM,
            FOR,
            gettext("%(found)s; it is right about as often as before, so far.") % {"found": _columns(seen)},
        )
    if seen.dropped == "yes":
        none = (
            gettext("no version does well on it")
            if seen.better is False
            else gettext("and it is right less often since")
        )
        return Hypothesis(UPSTREAM, FOR, f"{_columns(seen)}; {none}.")
    if seen.weighty or seen.answers_moved:
        return Hypothesis(
            UPSTREAM, FOR, gettext("%(found)s; the labels don't tell yet what that costs.") % {"found": _columns(seen)}
        )
    return Hypothesis(
        UPSTREAM,
        AGAINST,
        gettext("%(found)s; but the model hardly reads it, and answers as before.") % {"found": _columns(seen)},
    )


def _shift(seen: Seen) -> Hypothesis:
    if seen.sent == "unknown":
        return Hypothesis(SHIFT, OPEN, gettext("there are too few rows to compare who asks with before."))
    if seen.sent != "shift":
        what = (
            gettext("who asks is as before")
            if seen.sent == "same"
            else gettext("a column is broken, which people don't do")
        )
        return Hypothesis(SHIFT, AGAINST, f"{what}.")
    if seen.cures:
        return Hypothesis(
            SHIFT,
            AGAINST,
            gettext("%(found)s; but another version does well on the same people.") % {"found": _columns(seen)},
        )
    if seen.dropped == "no":
        return Hypothesis(
            SHIFT, AGAINST, gettext("%(found)s; but it is right as often as before.") % {"found": _columns(seen)}
        )
    if seen.dropped == "yes":
        return Hypothesis(
            SHIFT,
            FOR,
            gettext("%(found)s; many columns moved together, and it is right less often.") % {"found": _columns(seen)},
        )
    return Hypothesis(
        SHIFT,
        FOR if seen.weighty else OPEN,
        gettext("%(found)s; labels don't tell yet whether it matters.") % {"found": _columns(seen)},
    )


def _labels(seen: Seen) -> Hypothesis:
    quality = seen.quality
    if not seen.labelled:
        return Hypothesis(LABELS, OPEN, gettext("there are no labelled answers."))
    if seen.selected:
        return Hypothesis(LABELS, FOR, _by_answer(*seen.selected))
    adjusted = quality.get("adjusted", "")
    if quality.get("mixed_otherwise") and not seen.cures and adjusted and float(adjusted) < 0.02:
        return Hypothesis(
            LABELS,
            FOR,
            gettext(
                "%(positive)s of the labels are positive, before %(before)s, and the answers are as before; within "
                "each class it is as right as it was."
            )
            % {"positive": share(quality["positive"]), "before": share(quality["positive_before"])},
        )
    if seen.dropped != "yes":
        if seen.dropped == "no":
            return Hypothesis(LABELS, AGAINST, gettext("the labels agree with it as before."))
        return Hypothesis(LABELS, OPEN, gettext("they don't show yet that it is right less often."))
    if seen.cures:
        return Hypothesis(LABELS, AGAINST, gettext("the same labels agree with another version."))
    if seen.sent in ("upstream", "shift"):
        return Hypothesis(LABELS, AGAINST, gettext("what is sent has changed too, not the labels alone."))
    wrong_hosts = bool(seen.odd_hosts) and not seen.only_slow_or_silent_hosts
    if wrong_hosts or seen.broken_promise or seen.all_fail_golden:
        return Hypothesis(LABELS, AGAINST, gettext("the hosts' answers themselves are wrong."))
    same = (
        gettext("what is sent is as before")
        if seen.sent == "same"
        else gettext("nothing else is known to have changed")
    )
    if seen.better is False:
        return Hypothesis(
            LABELS,
            FOR,
            gettext("%(same)s, and by these labels every version has become worse at once.") % {"same": same},
        )
    own = quality.get("own", {})
    if seen.reproduced and own.get("n", 0) >= ENOUGH_LABELS and seen.sent == "same":
        return Hypothesis(
            LABELS,
            FOR,
            gettext("the same version, sent the same and answering the same, agreed with the labels an hour ago."),
        )
    return Hypothesis(
        LABELS, OPEN, gettext("%(same)s; whether another version agrees with the labels is not known.") % {"same": same}
    )


def _by_answer(most: Data, least: Data) -> str:
    said = gettext(
        "labels have come for %(now)s of the answers %(most)s and for %(now_least)s of the answers %(least)s, before "
        "for %(before)s and %(before_least)s: what is known says little of the rest."
    )
    return said % {
        "most": f"{float(most['answer']):g}",
        "least": f"{float(least['answer']):g}",
        "now": share(most["now"]),
        "now_least": share(least["now"]),
        "before": share(most["before"]),
        "before_least": share(least["before"]),
    }


def _not_enough(seen: Seen) -> Hypothesis:
    n, late = seen.labelled, bool(seen.quality.get("late"))
    if n < ENOUGH_LABELS and not seen.is_slow and not seen.broken_promise and not seen.all_fail_golden:
        said = gettext("%(n)s answers since it began have a label, %(enough)s are needed.")
        if late:
            said = gettext(
                "%(n)s answers since it began have a label, %(enough)s are needed; far fewer have come than before, so "
                "they may be late."
            )
        return Hypothesis(NOT_ENOUGH, FOR, said % {"n": n, "enough": ENOUGH_LABELS})
    return Hypothesis(NOT_ENOUGH, AGAINST, gettext("%(n)s answers since it began have a label.") % {"n": f"{n:,}"})


__all__ = ["AGAINST", "CURED", "FOR", "OPEN", "Hypothesis", "hypotheses"]
