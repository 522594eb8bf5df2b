"""Log lines that say what happened and nothing that somebody typed can pretend to be another line."""

import logging
import re

# Control characters, escape sequences with them, and what turns the direction of reading (CVE-2021-42574).
DECEIVING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class OneLine(logging.Formatter):
    """One event, one line; a traceback goes below it, its lines indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = DECEIVING.sub(_escaped, record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join("    " + DECEIVING.sub(_escaped, line) for line in lines)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
