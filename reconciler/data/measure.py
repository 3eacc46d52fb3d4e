"""How much of a file is new, without reading it whole: a Parquet file says how many rows it has, a text file's beginning
says how long its records are.

A file that has been read before is judged by what one stat shows: the same file with more bytes has grown, another one
under the name lands whole. A text file that fits into the sample is counted as it will land; everything else is a good
guess, and says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.provider import Json, Measure
from reconciler.data.blocks import Format
from reconciler.data.content import Content, Look, is_untouched, look, opened
from reconciler.errors import Fatal

#: So much of a text file's content is looked at.
SAMPLE_BYTES: Final = 1 << 20

NOTHING: Final = Measure(size=0, messages=0, exact=True)


def measure_parquet(path: Path, mark: Json, *, sample: bool) -> Measure:
    """Of a Parquet file. Raises Retriable and Fatal, without the file's name."""
    if is_untouched(path, mark):
        return NOTHING
    size = look(path)[0]
    if not sample:
        return Measure(size=size)
    with opened(path) as file:
        try:
            rows = pq.read_metadata(pa.PythonFile(file, mode="r")).num_rows
        except (pa.ArrowException, OSError) as error:
            raise Fatal(f"not a readable Parquet file: {str(error).splitlines()[0]}") from None
    if mark is None:
        return Measure(size=size, messages=rows, exact=True)
    left = rows if mark.get("seen") else max(0, rows - mark["rows"])
    return Measure(size=round(size * left / rows) if rows else 0, messages=left)


def measure_text(
    path: Path, mark: Json, form: Format, *, compression: str, encoding: str, sample: bool
) -> Measure:  # fmt: skip
    """Of a text file of some format. Raises Retriable and Fatal, without the file's name."""
    if is_untouched(path, mark):
        return NOTHING
    found = look(path)
    start = _start(mark, found)
    if not sample:
        return Measure(size=max(0, found[0] - start))
    with opened(path) as file:
        content = Content(file, compression=compression, encoding=encoding)
        data = content.read(SAMPLE_BYTES)
        if content.at_end():
            return _counted(data, form, mark, found[0])
        return _guessed(data, form, start, found[0], _told(file))


def _start(mark: Json, found: Look) -> int:
    """Where in the content what is new begins."""
    if mark is None:
        return 0
    seen = mark.get("seen")
    is_same = seen is None or (seen[3] == found[3] and found[0] > seen[0])
    return int(mark["at"]) if is_same else 0


def _told(file: IO[bytes]) -> int:
    """How much of the file itself has been read to get the sample."""
    return max(1, file.tell())


def _counted(data: bytes, form: Format, mark: Json, size: int) -> Measure:
    """Of a content that is there as a whole: exactly what will land."""
    header = form.begin(data, True) or 0
    begin = header
    if mark is not None and hashlib.sha256(data[: mark["at"]]).hexdigest()[:32] == mark["digest"]:
        begin = max(header, mark["at"])
    rest = data[begin:]
    if not rest:
        return NOTHING
    if mark is not None and mark.get("tail") and begin > header:  # its last record has gone on
        rest = data[header:]
    rows = form.parse(rest, 1).table.num_rows
    share = len(rest) / len(data) if begin > header else 1
    return Measure(size=round(size * share), messages=rows, exact=True)


def _guessed(data: bytes, form: Format, start: int, size: int, read: int) -> Measure:
    """Of a longer content, by its beginning: `read` bytes of the file's `size` gave `data`."""
    header = form.begin(data, False)
    body = b"" if header is None else data[header:]
    body = body[: form.boundary(body, False)]
    rows = form.parse(body, 1).table.num_rows if body else 0
    whole = len(data) * size / read
    left = max(0.0, whole - max(start, header or 0))
    new = round(size * left / whole) if start else size
    return Measure(size=new, messages=round(left * rows / len(body)) if rows else None)


def measure(
    path: Path, mark: Json, text: Format | None, *, sample: bool, compression: str = "auto", encoding: str = "utf-8"
) -> Measure:  # fmt: skip
    """`Data.measure`; a Parquet file has no text format."""
    if text is None:
        return measure_parquet(path, mark, sample=sample)
    return measure_text(path, mark, text, compression=compression, encoding=encoding, sample=sample)
