"""What the events of an escalation say in an incident's timeline, with the names behind the pseudonyms."""

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext as _

Data = Mapping[str, Any]
Names = Mapping[str, str]


def people_in(data: Data) -> set[str]:
    """The pseudonyms that the sentences below name."""
    return {str(one) for one in [*data.get("called", []), *([data["holder"]] if data.get("holder") else [])]}


def _holder(data: Data, names: Names) -> str:
    key = str(data.get("holder", ""))
    return names.get(key, key) or _("Somebody")


def _call(data: Data, names: Names) -> str:
    who = [*(names.get(one, one) for one in data.get("called", [])), *data.get("channels", [])]
    step = _("step %(step)s") % {"step": data["step"]} if data.get("step") else _("everybody")
    if not who:
        return _("Nobody could be reached by %(step)s") % {"step": step}
    return _("Called by %(step)s: %(people)s") % {"step": step, "people": ", ".join(who)}


SENTENCES: dict[str, Callable[[Data, Names], str]] = {
    "escalation.begin": lambda d, n: (
        (
            _("The policy %(policy)s begins to call people anew, because it is worse than it was thought")
            if d.get("why") == "raised"
            else _("The policy %(policy)s begins to call people")
        )
        % {"policy": d.get("policy")}
    ),
    "escalation.call": _call,
    "escalation.acknowledge": lambda d, n: _("Answered the call: has it"),
    "escalation.taken": lambda d, n: _("%(holder)s has it, as what they did shows") % {"holder": _holder(d, n)},
    "escalation.silent": lambda d, n: (
        _("%(holder)s gave no sign for %(minutes)s min")
        % {"holder": _holder(d, n), "minutes": int(d.get("seconds", 0)) // 60}
    ),
    "escalation.hand_over": lambda d, n: _("Handed over to %(holder)s, who is called") % {"holder": _holder(d, n)},
    "escalation.escalate": lambda d, n: _("Had the next called at once"),
    "escalation.end": lambda d, n: _("Nobody is called any more"),
}
