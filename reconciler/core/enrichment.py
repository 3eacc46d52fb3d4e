"""What an enrichment asks of the data hands: whom there is to enrich, and what it has said of them already.

An enrichment writes attributes as messages, so that profiles built anew keep them. So that it says nothing twice, the
job keeps a *memory* in files of its own: one entry for each identifier, with the digest of what was said last and when.
The memory holds keyed digests of identifiers, never the identifiers. Its files are named by the cursor; each unit adds one, and
now and then they are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from reconciler.core.provider import Block, Table
from reconciler.core.value import dataclass

#: The column of a message that says when it was written, where the source brings no time of its own: ISO 8601, UTC.
ENRICHED_AT: Final = "enriched_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Rows that say something of people: `column` holds a value of the identity `identity`; `columns` are what is said
    (None: every column). `stream` is where the messages go, `everyone` lets rows through that no profile is known for.
    `at` goes into the column `enriched_at` of each message; empty: there is none. `has_gaps`: rows need not all have the
    same columns, but a column that none has is an error."""

    stream: str
    column: str
    identity: str
    columns: tuple[str, ...] | None
    everyone: bool
    at: str
    has_gaps: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """Messages to land (a block that can tell where its rows stood), and what to remember of them once they have."""

    block: Block
    entries: Table


@dataclass(frozen=True, slots=True)
class Due:
    """Identifiers to look up, each with the digest of what was said of it last (0: nothing), those never asked for first
    and those that `failed` when they were asked for last at the end; `left` is how many more there are."""

    values: tuple[tuple[str, int], ...]
    left: int
    failed: frozenset[str] = frozenset()


class Enrichment(Protocol):
    """The hands of one enrichment. Profiles are asked for when they are first needed, and are those in which every unit
    is built that was committed before."""

    def build(self) -> int:
        """The number of the build that made the profiles: where it is the same, so are they."""
        ...

    def news(
        self, blocks: Callable[[], Iterator[Block]], reference: Reference, memory: Sequence[str], *, at_ms: int
    ) -> Iterator[News]:
        """What the reference says that the memory does not know. `blocks` is read twice; of several rows with one
        identifier the last counts. Raises Fatal where a column or the identity is missing, and Retriable where the two
        readings differ."""
        ...

    def due(
        self, stream: str, column: str, identity: str, memory: Sequence[str],
        *, before_ms: int, limit: int, attempt: int = 1,
    ) -> Due:  # fmt: skip
        """The first value of the identity of each profile, where it was not looked up after `before_ms`. Of those that
        are due for equally long, each `attempt` begins with others: the first with the least values."""
        ...

    def entries(self, found: Sequence[tuple[str, int, int]]) -> Table:
        """Entries of (value, digest of what was said in 64 bits, milliseconds). The milliseconds are negative where the
        asking failed: such an identifier stays due."""
        ...

    def remember(self, entries: Sequence[Table], memory: Sequence[str]) -> tuple[str, ...]:
        """Writes entries, fsynced, as a new file of the memory; all files that belong to it from then on."""
        ...
