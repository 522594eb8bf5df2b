"""Why nobody is told of an alert, in words. Floors above bring the words for what they know of."""

from collections.abc import Callable

Words = Callable[[str], str]
_words: dict[str, Words] = {
    "silence": lambda mark: f"Silence {mark} holds it back.",
    "alert": lambda mark: f"It hangs below alert {mark}, which says that its host is down.",
}


def register(kind: str, words: Words) -> None:
    """Have `words(mark)` asked for the sentence where an alert is suppressed by `<kind>:<mark>`."""
    _words[kind] = words


def sentence(suppressed_by: str) -> str:
    """Why an alert is suppressed; "" for one that is not."""
    kind, _, mark = suppressed_by.partition(":")
    words = _words.get(kind)
    return words(mark) if words is not None else suppressed_by and f"Held back by {suppressed_by}."
