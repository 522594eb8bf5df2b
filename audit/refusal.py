"""Why the log is not signed any more."""


class RefusesToSign(Exception):
    """The database's tree does not extend what was signed before. A person must look; the message says at what."""

    exit_status = 3
