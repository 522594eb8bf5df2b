"""Names for pseudonyms. The log knows pseudonyms only; the floor that knows people registers how to name them."""

from collections.abc import Callable, Iterable, Mapping

from django.utils.translation import gettext

Resolver = Callable[[Iterable[str]], Mapping[str, str]]
"""Takes pseudonyms and returns the names of those that it knows."""

Finder = Callable[[str], Iterable[str]]
"""Takes a name, or a part of one, and returns the pseudonyms of the people who bear it."""

_resolvers: list[Resolver] = []
_finders: list[Finder] = []


def register(resolver: Resolver) -> None:
    """Add a resolver; called from ``AppConfig.ready``. Registering the same one again changes nothing."""
    if resolver not in _resolvers:
        _resolvers.append(resolver)


def register_finder(finder: Finder) -> None:
    """Add a finder; called from ``AppConfig.ready``. Registering the same one again changes nothing."""
    if finder not in _finders:
        _finders.append(finder)


def find(text: str) -> list[str]:
    """The pseudonyms of the people whose name contains the text, and of the one whose pseudonym it is."""
    return sorted({one for finder in _finders for one in finder(text)}) if text.strip() else []


def display(ids: Iterable[str]) -> dict[str, str]:
    """A name for each id: what a resolver says, a program's own name, else the pseudonym itself."""
    wanted = set(ids)
    names = {one: _plain(one) for one in wanted}
    people = {one for one in wanted if not one.startswith("svc:") and one != "anonymous"}
    for resolver in _resolvers if people else []:
        names |= {one: name for one, name in resolver(people).items() if name}
    return names


def _plain(identity: str) -> str:
    if identity.startswith("svc:"):
        return f"Lastgood ({identity.removeprefix('svc:')})"
    return gettext("somebody not signed in") if identity == "anonymous" else identity
