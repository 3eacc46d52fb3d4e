"""What the intake says: JSON, and one sentence for whatever is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.web.limits import NAMED_ROWS, REASON_CHARACTERS

#: How long a sender waits who comes at a bad time, in seconds.
RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A row that cannot be taken: its line from 1, and why. In an array its `unit` is the `element`, from 1 too."""

    line: int
    reason: str
    unit: str = "line"

    @property
    def json(self) -> dict[str, Any]:
        return {self.unit: self.line, "reason": self.reason[:REASON_CHARACTERS]}


class Refused(Exception):
    """The request is refused: its status, a sentence, the rows that are to blame, and when to come again."""

    def __init__(
        self, status: int, message: str, *, rows: Sequence[Row] = (), bad: int = 0, retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.rows = rows
        self.bad = bad or len(rows)
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    @property
    def body(self) -> dict[str, Any]:
        said: dict[str, Any] = {"error": str(self)}
        if self.rows:
            said |= {"bad": self.bad, "errors": [row.json for row in self.rows[:NAMED_ROWS]]}
        return said


class Gone(Exception):
    """The sender has gone away before its body had come: nobody waits for an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `dumps` would make one each time


def encoded(body: Mapping[str, Any]) -> bytes:
    return _encode(body).encode("utf-8", "backslashreplace")


def busy(message: str, retry_after_s: int = RETRY_S) -> Refused:
    """429: the same request may fit later."""
    return Refused(429, message, retry_after_s=retry_after_s)


def unable(message: str, retry_after_s: int = RETRY_S) -> Refused:
    """503: nothing was accepted, and it is not the sender's fault."""
    return Refused(503, message, retry_after_s=retry_after_s)
