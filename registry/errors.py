class RegistryError(ValueError):
    """A change of the registry that can't be made; the message says what to do instead."""


class AlreadyThere(RegistryError):
    """The thing, or another one of its name, is known already."""
