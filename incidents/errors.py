"""Why a verb of an incident was refused. Each message is a sentence that says what to do next."""

from django.utils.translation import gettext


class IncidentError(ValueError):
    """The verb can't be done now; nothing was changed."""


class Conflict(IncidentError):
    """Somebody changed the incident since it was read; `current` is its version now."""

    def __init__(self, current: int) -> None:
        super().__init__(
            gettext("Somebody changed this incident since you opened it. Look at the change, then send yours again.")
        )
        self.current = current


class GuardFailed(IncidentError):
    """A move that its guard does not let through. `guard` is the guard's name."""

    def __init__(self, guard: str, sentence: str) -> None:
        super().__init__(sentence)
        self.guard = guard
