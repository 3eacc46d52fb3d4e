"""The rows of a plan, read back by number in the order in which they are sent."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.members import Rows


class Texts(Sequence[Any]):
    """Texts of a column, made into Python's own when one of them is asked for. A slice of it is as lazy."""

    def __init__(self, column: pa.ChunkedArray, texts: list[Any] | None = None) -> None:
        self._column = column
        self._texts = texts

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            if (start, stop) == (0, len(self)):
                return self
            texts = self._texts and self._texts[start:stop]
            return Texts(self._column.slice(start, max(stop - start, 0)), texts)
        return self._all()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def _all(self) -> list[Any]:
        if self._texts is None:
            self._texts = self._column.to_numpy().tolist()  # `to_pylist` takes twice as long
        return self._texts


class PlanReader:
    """Reads a plan's rows by number, one row group at a time: what is asked for comes in order, or nearly."""

    def __init__(self, data_dir: Path, plan: str) -> None:
        self.plan = plan
        self._file = pq.ParquetFile(data_dir / plan)
        sizes = [self._file.metadata.row_group(one).num_rows for one in range(self._file.metadata.num_row_groups)]
        self._starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        self._group = -1
        self._columns: list[pa.ChunkedArray] = []

    def rows(self, first: int, stop: int) -> Rows:
        parts = []
        while first < stop:
            group = bisect_right(self._starts, first) - 1
            self._load(group)
            count = min(stop, self._starts[group + 1]) - first
            parts.append([one.slice(first - self._starts[group], count) for one in self._columns])
            first += count
        if not parts:
            return Rows([], [], [])
        return Rows(*map(Texts, parts[0] if len(parts) == 1 else map(_joined, *parts)))

    def _load(self, group: int) -> None:
        if group != self._group:
            self._columns = self._file.read_row_group(group, columns=["id", "payload", "previous"]).columns
            self._group = group


def _joined(*columns: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for one in columns for chunk in one.chunks])
