"""What the events of an escalation say in an incident's timeline, with the names behind the pseudonyms."""

from collections.abc import Callable, Mapping
from typing import Any

Data = Mapping[str, Any]
Names = Mapping[str, str]


def people_in(data: Data) -> set[str]:
    """The pseudonyms that the sentences below name."""
    return {str(one) for one in [*data.get("called", []), *([data["holder"]] if data.get("holder") else [])]}


def _holder(data: Data, names: Names) -> str:
    key = str(data.get("holder", ""))
    return names.get(key, key) or "Somebody"


def _call(data: Data, names: Names) -> str:
    who = [*(names.get(one, one) for one in data.get("called", [])), *data.get("channels", [])]
    step = "everybody" if not data.get("step") else f"step {data['step']}"
    if not who:
        return f"Nobody could be reached by {step}"
    return f"Called by {step}: {', '.join(who)}"


BEGUN = {"opened": "", "raised": " anew, because it is worse than it was thought"}
SENTENCES: dict[str, Callable[[Data, Names], str]] = {
    "escalation.begin": lambda d, n: (
        f"The policy {d.get('policy')} begins to call people" + BEGUN.get(str(d.get("why")), "")
    ),
    "escalation.call": _call,
    "escalation.acknowledge": lambda d, n: "Answered the call: has it",
    "escalation.taken": lambda d, n: f"{_holder(d, n)} has it, as what they did shows",
    "escalation.silent": lambda d, n: f"{_holder(d, n)} gave no sign for {int(d.get('seconds', 0)) // 60} min",
    "escalation.hand_over": lambda d, n: f"Handed over to {_holder(d, n)}, who is called",
    "escalation.escalate": lambda d, n: "Had the next called at once",
    "escalation.end": lambda d, n: "Nobody is called any more",
}
