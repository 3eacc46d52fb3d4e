"""Every error that a caller treats differently, and the place of an error in a spec.

    ReconcileError                 what a user can do something about; `exit_code` is the command's
    ├── UsageError                 2  the command was called wrongly
    ├── SpecInvalid                1  specs with problems; carries every one of them
    ├── Blocked                    5  a guard stands in the way: a stale plan, a deletion budget
    │   └── Locked                 5  another controller writes this record
    ├── RecordUnusable             1  the record is damaged, or newer than this program
    │   └── RecordUnwritable       1  the disk or another process is in its way; a daemon waits until that has passed
    └── RunError                   1  a run ended badly; the kinds differ in what follows
        ├── Retriable                 tried again with exponential backoff
        ├── Fatal                     tried again at `retry.max` at once: nothing will mend by itself
        ├── RateLimited               not an error (design, section 3): the job sleeps
        └── NeedsApproval             not an error: a guard holds it until a person approves

Anything else that reaches the command line is our bug: exit code 3, one line and a report file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: In the place of a file, in a problem: the specs, or the newest of them, cannot be had at all.
SOURCE_PATH: Final = "."


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with one place of one file.

    `path` is relative to the root with forward slashes; `line` and `column` count from 1. `field` is the dotted
    path of the field (`spec.schedule.every`), empty where the whole file or document is meant. `kind` and `name`
    name the document it stands in, where they could be read.
    """

    path: str
    line: int
    column: int
    field: str
    message: str
    kind: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.path}:{self.line}:{self.column}: error: {where}{self.message}"


class ReconcileError(Exception):
    """Something that the user can act on; its text is one or more whole sentences."""

    exit_code = 1


class UsageError(ReconcileError):
    """The command was called wrongly."""

    exit_code = 2


class SpecInvalid(ReconcileError):
    """Specs with problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Blocked(ReconcileError):
    """A guard stands in the way."""

    exit_code = 5


class Locked(Blocked):
    """Another controller writes this record."""


class RecordUnusable(ReconcileError):
    """The record cannot be used; the message names the way to repair it."""


class RecordUnwritable(RecordUnusable):
    """The disk, or somebody else who holds it, is in the way of the record. `what` says so, `help_` what helps."""

    def __init__(self, what: str, help_: str) -> None:
        super().__init__(f"{what}, and nothing is lost: {help_}")
        self.what = what


class RunError(ReconcileError):
    """A run ended badly. The message may reach logs and statuses: it never holds a secret."""


class Retriable(RunError):
    """Trying again may help."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Fatal(RunError):
    """Nothing will mend by itself: bad credentials, a missing file, a changed format."""


class RateLimited(RunError):
    """The other side asks for patience: 429, `Retry-After`, a quota."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NeedsApproval(RunError):
    """A guard holds the run until a person approves what it would do; `digest` names exactly that."""

    def __init__(self, message: str, *, digest: str) -> None:
        super().__init__(message)
        self.digest = digest
