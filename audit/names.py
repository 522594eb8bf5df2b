"""Names for pseudonyms. The log knows pseudonyms only; the floor that knows people registers how to name them."""

from collections.abc import Callable, Iterable, Mapping

Resolver = Callable[[Iterable[str]], Mapping[str, str]]
"""Takes pseudonyms and returns the names of those that it knows."""

_resolvers: list[Resolver] = []


def register(resolver: Resolver) -> None:
    """Add a resolver; called from ``AppConfig.ready``. Registering the same one again changes nothing."""
    if resolver not in _resolvers:
        _resolvers.append(resolver)


def display(ids: Iterable[str]) -> dict[str, str]:
    """A name for each id: what a resolver says, a program's own name, else the pseudonym itself."""
    wanted = set(ids)
    names = {one: _plain(one) for one in wanted}
    for resolver in _resolvers:
        names |= {one: name for one, name in resolver(wanted).items() if name}
    return names


def _plain(identity: str) -> str:
    if identity.startswith("svc:"):
        return f"Lastgood ({identity.removeprefix('svc:')})"
    return "somebody not signed in" if identity == "anonymous" else identity
