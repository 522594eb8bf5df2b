"""Refusals, as RFC 9457 problems that also carry the Open Inference Protocol's `error` member."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """An answer other than success. `detail` is a sentence for the person who reads it; `extra` adds members."""

    def __init__(self, status: int, type_: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type_
        self.detail = detail
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The JSON object to send as `application/problem+json`."""
        return {
            "type": self.type,
            "title": self.type.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            **self.extra,
        }


class ArtifactRefused(ValueError):
    """A file of a version is not what the host serves. The message is a sentence that names the file and the fault."""
