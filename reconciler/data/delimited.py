"""Delimited text (CSV) as tables of text columns: nothing is guessed, `00123` and `NA` and an empty field stay as they came.

Arrow parses a block whole. Only a block in which it finds a bad row is gone through record by record, to know which
rows are bad, why and on which line: rows that are not valid text, that have the wrong number of columns, or whose
quote is never closed. Blank lines are no rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from reconciler.core.provider import Reject
from reconciler.data.blocks import RECORD_BYTES, Parsed, Tail, newlines
from reconciler.data.names import MAX_COLUMNS, distinct, placeholders, repeated
from reconciler.data.records import Dialect, open_quote, records, whole
from reconciler.errors import Fatal

#: The csv module refuses longer fields than this. It splits a first record, which may be one of data; so a record's own limit
#: is the limit of its fields.
MAX_NAME: Final = 131_072
csv.field_size_limit(RECORD_BYTES)

#: Arrow takes these bytes at the beginning of whatever it is given for a mark and drops them; here they are a field's.
_MARK: Final = b"\xef\xbb\xbf"


@dataclass
class Delimited:
    """One CSV file. `columns` are the names where there is no header, or in the place of those in it. `is_strict`: a
    header may not name a column twice; else the second one gets a name of its own."""

    dialect: Dialect
    header: bool
    columns: Sequence[str] | None
    names: Sequence[str] = ()
    returns: bool = True
    is_strict: bool = False

    def begin(self, data: bytes, final: bool) -> int | None:
        start = len(data) - len(data.lstrip(b"\r\n"))
        found = self.dialect.record.match(data, start)
        cut_short = found is None or found.end() == len(data)
        if cut_short and not final:
            return None
        line = newlines(data[:start]) + 1
        if found is None:
            raise Fatal(f"line {line}: a quote is opened in the first record and never closed")
        self.names = self._names(found.group(), line)
        return found.end() if self.header else 0

    def _names(self, record: bytes, line: int) -> Sequence[str]:
        try:
            text = record.decode()
        except UnicodeDecodeError:
            if self.header:
                raise Fatal(f"line {line}: the header is not valid text in the file's encoding") from None
            text = record.decode(errors="replace")
        found = self._split(text, line)
        if len(found) > MAX_COLUMNS:
            raise Fatal(f"line {line}: {len(found)} columns; a file may have {MAX_COLUMNS}")
        if self.header and any(len(name) > MAX_NAME for name in found):
            raise Fatal(f"line {line}: the name of a column is longer than {MAX_NAME} characters")
        twice = repeated(found) if self.is_strict and self.header else None
        if twice is not None:
            raise Fatal(f"line {line}: the header names the column {twice!r} twice")
        if self.columns is None:
            return distinct(found if self.header else [""] * len(found))
        if self.header and found and len(found) != len(self.columns):
            raise Fatal(f"line {line}: the header has {len(found)} columns, and `columns` names {len(self.columns)}")
        return distinct(self.columns)

    def _split(self, text: str, line: int) -> list[str]:
        quoting: Any = {"quotechar": self.dialect.quote} if self.dialect.quote else {"quoting": csv.QUOTE_NONE}
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter, **quoting)
        try:
            return next(rows, [])
        except csv.Error as error:
            raise Fatal(f"line {line}: the first record cannot be read: {error}") from None

    def boundary(self, data: bytes, final: bool) -> int:
        return len(data) if final else whole(data, self.dialect)

    def tail(self, data: bytes) -> Tail:
        if open_quote(data, self.dialect):
            return "quote"
        return "" if data.endswith((b"\r", b"\n")) else "open"

    def parse(self, data: bytes, line: int) -> Parsed:
        try:
            found = None if open_quote(data, self.dialect) else (self._table(data), ())
        except pa.ArrowInvalid:
            found = None
        table, rejects = found or self._carefully(data, line)
        return Parsed(table, rejects, lambda rows: self._located(data, line, rejects, rows))

    def _located(
        self, data: bytes, line: int, rejects: Sequence[Reject], rows: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        bad = {reject.line for reject in rejects}
        good = [span for span in self._spans(data, line)[0] if span[2] not in bad]
        return [(number, _text(data[start:end])) for start, end, number in (good[row] for row in rows)]

    def _table(self, data: bytes, skipped: Any = None) -> pa.Table:
        names = placeholders(len(self.names))
        if not data.lstrip(b"\r\n"):
            return pa.table([pa.array([], pa.string()) for _ in names], names=list(self.names))
        _expect_text(data)
        if data.startswith(_MARK):
            data = _MARK + data
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char=self.dialect.quote or False,
                newlines_in_values=True,
                invalid_row_handler=skipped,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        return table.rename_columns(list(self.names))

    def _carefully(self, data: bytes, line: int) -> tuple[pa.Table, tuple[Reject, ...]]:
        """The same, record by record where it must be."""
        spans, rejects = self._spans(data, line)
        good, unreadable = _readable(data, spans)
        rejects += unreadable
        wrong: list[tuple[int, str]] = []

        def skip(row: pa.csv.InvalidRow) -> str:
            wrong.append((row.actual_columns, row.text))
            return "skip"

        table = self._table(b"".join(data[start:end] for start, end, _ in good), skip)
        rejects += _found_again(data, good, wrong, len(self.names))
        return table, tuple(sorted(rejects, key=lambda reject: reject.line))

    def _spans(self, data: bytes, line: int) -> tuple[list[tuple[int, int, int]], list[Reject]]:
        """Start, end and line of each record, blank lines left out; and what follows an open quote as a reject."""
        spans, end = [], 0
        for start, end in records(data, self.dialect):
            record = data[start:end]
            if record.strip(b"\r\n"):
                spans.append((start, end, line))
            line += newlines(record)
        if end == len(data):
            return spans, []
        return spans, [Reject(line, "a quote is opened and never closed", _text(data[end:]))]


def _expect_text(data: bytes) -> None:
    """Raises ArrowInvalid for what is not valid UTF-8. Asked once of a whole block, not of each value as Arrow would: a
    value ends at an ASCII character, and so never inside another one."""
    ends = pa.py_buffer(np.array([0, len(data)], dtype=np.int64))
    pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(data)]).cast(pa.large_string())


def _readable(data: bytes, spans: Iterable[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], list[Reject]]:
    """The records that are valid UTF-8, and the others as rejects."""
    good, rejects = [], []
    for span in spans:
        start, end, line = span
        try:
            data[start:end].decode()
            good.append(span)
        except UnicodeDecodeError:
            rejects.append(Reject(line, "not valid text in the file's encoding", _text(data[start:end])))
    return good, rejects


def _found_again(
    data: bytes, spans: Sequence[tuple[int, int, int]], wrong: Sequence[tuple[int, str]], expected: int
) -> list[Reject]:
    """The rows that Arrow refused, in its order, each found again by its text: rows of one text are refused alike."""
    rejects: list[Reject] = []
    left = iter(spans)
    for count, text in wrong:
        for start, end, line in left:
            if data[start:end].rstrip(b"\r\n").decode() == text:
                rejects.append(
                    Reject(line, f"expected {expected} {'column' if expected == 1 else 'columns'}, found {count}", text)
                )
                break
    assert len(rejects) == len(wrong)
    return rejects


def _text(record: bytes) -> str:
    return record.rstrip(b"\r\n").decode(errors="backslashreplace")
