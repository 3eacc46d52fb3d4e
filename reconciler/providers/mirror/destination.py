"""What a destination is to the base: how a batch becomes bytes, how it is sent, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from reconciler.core.members import Action, Rows
from reconciler.core.mirror import Replay
from reconciler.core.provider import Intent, Json
from reconciler.core.value import dataclass
from reconciler.errors import RunError


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a plan of one action, and the intent that stands for them. It answers for all rows from `begin` to before
    `stop`: those of `numbers`, and those of `refused`, which an answer has named with a reason before."""

    intent: Intent
    action: Action
    numbers: Sequence[int]
    rows: Rows
    refused: Mapping[int, str]
    body: bytes

    @property
    def begin(self) -> int:
        return self.intent.first

    @property
    def stop(self) -> int:
        return self.intent.last + 1


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch is there, but for the rows that the answer names (index in the batch: reason)."""

    but: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing of the batch is there, because of what it holds. `named` are the rows to blame, where the answer says."""

    reason: str
    named: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unsent:
    """Nothing of the batch is there, for a reason that has to do with no row: it was never connected, a limit was
    reached, the credentials are wrong."""

    error: RunError


Reply = Accepted | Refused | Unsent


class Destination(Protocol):
    """One place that members are sent to, batch by batch."""

    batch_size: int
    max_bytes: int  # a batch ends before its fields grow over this
    max_rejects: int | None  # so many refused members are omitted over a run; None: any number, but not 25 in a row
    replays: Mapping[Action, Replay]

    def details(self, action: Action) -> Json:
        """What a body is made of beside the rows, for the intent."""
        ...

    def body(self, action: Action, details: Json, rows: Rows) -> bytes:
        """The same bytes for the same arguments, for ever."""
        ...

    def send(self, batch: Batch) -> Reply:
        """Raises a RunError where nobody knows whether the batch arrived."""
        ...
