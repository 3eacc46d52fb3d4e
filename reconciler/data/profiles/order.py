"""The order of messages as one number: by time, then receipt, then position, then stream.

`latest` and `first` compare messages millions of times, and DuckDB compares numbers of 128 bits several times faster than
structs. Years 1 to 9999 take 59 of 127 bits; the other 68 hold the receipt (from the earliest of the build on) and the
place, which suffices for a thousand million messages a stream in streams that are a dozen years old. Where it does not,
a struct is the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.messages import SegmentRef
from reconciler.core.value import dataclass
from reconciler.data.names import RECEIVED
from reconciler.data.timestamps import FIRST_US, LAST_US

#: Places are position times this plus the stream's number: so many streams can have an identity.
STREAM_SLOTS: Final = 1 << 16
_SLOT_BITS: Final = 16

_TIME_BITS: Final = (LAST_US - FIRST_US).bit_length()
_BITS: Final = 127

#: So many units of a column of times are a millisecond.
_IN_MS: Final = {"ms": 1, "us": 1_000}


@dataclass(frozen=True, slots=True)
class Order:
    """`t`, `r` and `p` are those of `Messages.sql`. `first_ms` is the earliest receipt; bits of 0 say that the order is a
    struct."""

    first_ms: int = 0
    receipt_bits: int = 0
    position_bits: int = 0
    stream_bits: int = 0

    @property
    def is_narrow(self) -> bool:
        """Whether a commit is a number of 64 bits."""
        return self.receipt_bits > 0 and self.commit_bits < 63

    @property
    def commit_bits(self) -> int:
        """How wide a commit is; 0 where the order is a struct."""
        return self.receipt_bits + self._place_bits

    @property
    def _place_bits(self) -> int:
        return self.position_bits + self.stream_bits

    def of(self, slot: int) -> str:
        """The order of a message of the stream with this number."""
        if not self.receipt_bits:
            return "{'t': t, 'r': r, 'p': p}"
        shift = self.commit_bits
        return f"((t - {FIRST_US})::HUGEINT << {shift}) | {self.commit(slot)}"

    def commit(self, slot: int) -> str:
        """The order of the same by its commit alone."""
        if not self.receipt_bits:
            return "r::HUGEINT << 64 | p"
        wide = "" if self.is_narrow else "::HUGEINT"
        place = f"((p >> {_SLOT_BITS}) << {self.stream_bits}) | {slot}"
        return f"((r - {self.first_ms}){wide} << {self._place_bits}) | {place}"

    def receipt_and_place(self, commit: str) -> str:
        """A commit as `r << 64 | p`, which has the same order in every build."""
        if not self.receipt_bits:
            return commit
        return f"{self._receipt(commit)}::HUGEINT << 64 | {self._place(commit)}"

    def commit_parts(self, commit: str) -> tuple[str, str]:
        """`r` and `p` of a commit."""
        if not self.receipt_bits:
            return f"(({commit}) >> 64)::BIGINT", f"(({commit}) & {(1 << 64) - 1}::HUGEINT)::BIGINT"
        return self._receipt(commit), self._place(commit)

    def parts(self, order: str) -> tuple[str, str, str]:
        """`t`, `r` and `p` of an order."""
        if not self.receipt_bits:
            return f"({order}).t", f"({order}).r", f"({order}).p"
        shift = self.commit_bits
        commit = f"(({order}) & {(1 << shift) - 1}::HUGEINT){'::BIGINT' if self.is_narrow else ''}"
        return f"(({order}) >> {shift})::BIGINT + {FIRST_US}", self._receipt(commit), self._place(commit)

    def _receipt(self, commit: str) -> str:
        return f"((({commit}) >> {self._place_bits})::BIGINT + {self.first_ms})"

    def _place(self, commit: str) -> str:
        place = f"(({commit}) & {(1 << self._place_bits) - 1})::BIGINT"
        return f"((({place} >> {self.stream_bits}) << {_SLOT_BITS}) | ({place} & {(1 << self.stream_bits) - 1}))"


def order_of(data_dir: Path, segments: Iterable[SegmentRef], streams: int) -> Order:
    """An order for the messages of these segments. What is wrong with a segment is told by those who read it."""
    first, last, stop = 1 << 62, 0, 1
    for segment in segments:
        found = _receipts(data_dir / segment.file)
        if found is None:
            return Order()
        first, last = min(first, found[0]), max(last, found[1])
        stop = max(stop, segment.first + segment.rows)
    if last < first:
        return Order()
    made = Order(first, max(1, (last - first).bit_length()), stop.bit_length(), max(1, (streams - 1).bit_length()))
    fits = _TIME_BITS + made.receipt_bits + made.position_bits + made.stream_bits <= _BITS
    return made if fits else Order()


def _receipts(path: Path) -> tuple[int, int] | None:
    """The first and last receipt of a segment's messages, as its row groups count them; None where they do not. The numbers
    are read as they are stored: pyarrow makes times of them with pandas, where that is installed, which takes a quarter of
    a second to import."""
    try:
        with pq.ParquetFile(path) as file:
            metadata, kind = file.metadata, file.schema_arrow.field(RECEIVED).type
    except (OSError, pa.ArrowException):
        return None
    if not pa.types.is_timestamp(kind) or kind.unit not in _IN_MS:
        return None
    names: Sequence[str] = metadata.schema.names
    column = names.index(RECEIVED)
    found = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not (statistics.has_min_max or statistics.num_values == 0):
            return None
        if statistics.num_values:
            found += [int(one) // _IN_MS[kind.unit] for one in (statistics.min_raw, statistics.max_raw)]
    return (max(0, min(found) - 1), max(0, max(found)) + 1) if found else (0, 0)
