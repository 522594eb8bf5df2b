"""The error of people's accounts."""


class AccountError(ValueError):
    """A change of an account that can't be made; the message says what to do instead."""
