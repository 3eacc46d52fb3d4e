"""Every limit of the intake, in one place. What is over one is refused with 413 where it can never fit, and with 429 and a
`Retry-After` where it may fit later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, unless the name says otherwise.

    `json_bytes` is one body of live messages, unpacked; `hook_bytes` the body of a forge's request (GitHub's own
    limit); `bulk_bytes` one bulk body, as it comes. `in_flight_bytes` are the bodies of live messages that are being
    read at one time, `uploads` the bulk bodies. `backlog_bytes` are live journals and `bulk_backlog_bytes` bulk
    bodies that the controller has not folded yet. `free_bytes` always stay free on the disk. `keys` idempotency keys
    are remembered, each for `key_s` seconds. A body of live messages must have come within `body_s` seconds, and so
    must the head of every request; of a bulk body, each piece. A live journal is closed after `journal_s` seconds,
    full or not: it goes once its messages are on their streams, and with it the last that is kept of them elsewhere.
    """

    json_bytes: int = 10 * MIB
    hook_bytes: int = 25 * MIB
    bulk_bytes: int = 16 * GIB
    in_flight_bytes: int = 64 * MIB
    uploads: int = 4
    backlog_bytes: int = 1 * GIB
    bulk_backlog_bytes: int = 32 * GIB
    free_bytes: int = 256 * MIB
    keys: int = 2_000_000
    key_s: int = 24 * 3600
    body_s: float = 60.0
    journal_s: float = 600.0


#: The head of a request: its first line and its headers.
HEAD_BYTES: Final = 64 << 10

#: Different top-level keys of one request, how deep a message is nested, and rows times keys: what `reconciler.data.lines`
#: takes in one block, so that what was accepted can land.
MAX_KEYS: Final = 2_000
MAX_DEPTH: Final = 128
MAX_CELLS: Final = 50_000_000
#: Bad rows that an answer names; it counts the others.
NAMED_ROWS: Final = 20
#: Characters of the text in which an answer says what is wrong with a row.
REASON_CHARACTERS: Final = 300
#: Connections at one time.
CONNECTIONS: Final = 1_000
#: How long the end of the process waits for requests that are being answered.
GRACE_S: Final = 10
