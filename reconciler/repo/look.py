"""What a look at the tree says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.document import Kind
from reconciler.core.value import dataclass
from reconciler.errors import Problem
from reconciler.repo.index import Row

if TYPE_CHECKING:  # a look that finds nothing new imports no parser
    from reconciler.repo.parse import Parsed


class FileSeen(NamedTuple):
    """A file whose content differs from what the controller was last told."""

    path: str
    digest: str
    parsed: Parsed


class Gone(NamedTuple):
    """A document that was declared at `path` and that no file seen declares now."""

    path: str
    kind: Kind
    name: str


class Absence(StrEnum):
    """What it means that a document is gone (design, section 3). ABSENT: it was taken out. IN_HEAD: gone from disk
    but not from HEAD, so it stays until a commit says so. WAIT: this look cannot tell; a later one will. UNKNOWN: what
    its file holds cannot be parsed, so it may be there."""

    ABSENT = "absent"
    IN_HEAD = "in HEAD"
    WAIT = "wait"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """`reason` is for the plan: a clause without a full stop."""

    absence: Absence
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The difference between the tree and what was last settled. Every tuple is sorted by path.

    `whole`: this record was told nothing yet, so `changed` is every file. `vanished` are files that were settled and
    are not there. `held` are files whose new content does not count yet: neither changed nor vanished. `problems` are
    those of reading; those of parsing are in `changed`. `torn`
    says why the tree may be in the making: act on no absence. `again_ms`: something was left open, look again after so
    long. `settled`: the listing equals that of an earlier look, so long ago that nobody is at work. `files` and
    `touched` are for `Tree.settle`. `mark` says which commit the desired state is once the look is taken, for the record
    to keep beside it; empty where it is a folder's. `unseen`: nothing could be looked at, so all stays as it was.
    """

    whole: bool
    changed: tuple[FileSeen, ...]
    vanished: tuple[str, ...]
    held: tuple[str, ...]
    problems: tuple[Problem, ...]
    head: str | None
    torn: str | None
    again_ms: int | None
    settled: bool
    files: Mapping[str, Row]
    touched: tuple[str, ...]
    mark: str = ""
    unseen: bool = False

    @property
    def count(self) -> int:
        """How many spec files there are."""
        return len(self.files)

    @property
    def invalid(self) -> tuple[str, ...]:
        """The unchanged files whose content has problems."""
        others = {*(seen.path for seen in self.changed), *self.held}
        return tuple(sorted(path for path, row in self.files.items() if row.invalid and path not in others))

    @property
    def unreadable(self) -> bool:
        """Whether anything could not be read: then nothing is deleted."""
        return bool(self.problems)

    @property
    def nothing_new(self) -> bool:
        """Whether nothing differs from what was settled, and nothing was left open."""
        return not (self.whole or self.changed or self.vanished or self.held or self.problems or self.torn)
