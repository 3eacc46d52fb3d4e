"""A spec file's bytes as text, and its text as documents: what the fast and the careful parser both begin with.

A file is UTF-8 (a byte order mark at its beginning is ignored), of at most 1 MiB. Lines end in LF or CRLF. Documents
begin at `---` and end at `...` at the beginning of a line, which in YAML mean nothing else wherever they stand; so each
document is parsed alone, and an error in one hides none of the others. A document without content is no document; it
still counts in the `ordinal` of those after it where it began with `---`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from reconciler.core.value import dataclass

#: A spec file may have so many bytes.
MAX_BYTES: Final = 1 << 20
#: A spec file may hold so many documents.
MAX_DOCUMENTS: Final = 10_000
#: Lists and mappings in one another, the document itself included.
MAX_DEPTH: Final = 64
#: Characters that YAML 1.2 does not allow, or that YAML 1.1 and 1.2 take for different things (the line breaks of
#: Unicode, a carriage return alone). Named by what is left out, which takes a tenth of the time to compile.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_MARKER: Final = re.compile(r"^(---|\.\.\.)(?=[ \t\n]|\Z)", re.MULTILINE)
_CONTENT: Final = re.compile(r"^(?!---[ \t]*(?:#.*)?$)[ \t]*[^ \t\n#]", re.MULTILINE)


class NotText(ValueError):
    """The bytes are no spec file at all. `line` and `column` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one document, with its marker. `line` counts from 1: that of the text's first character, and
    `content` that of the first line with content."""

    ordinal: int
    line: int
    content: int
    text: str


def decode(content: bytes) -> str:
    """The text, with LF alone. Raises NotText."""
    if len(content) > MAX_BYTES:
        raise NotText(1, 1, f"expected at most 1 MiB, found {len(content):,} bytes; split the file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(content, error.start) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _not_utf8(content: bytes, at: int) -> NotText:
    before = content[:at]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return NotText(line, column, "expected UTF-8, found UTF-16; save the file as UTF-8")
    return NotText(line, column, f"expected UTF-8, found the byte 0x{content[at]:02x}")


def split(text: str) -> list[Chunk]:
    """The documents with content, in order. Raises NotText where there are too many."""
    if not text.startswith(("---", "...")) and "\n---" not in text and "\n..." not in text:
        pieces = [(0, text)]
    else:
        bounds = [0, *(match.start() for match in _MARKER.finditer(text)), len(text)]
        pieces = [(start, text[start:stop]) for start, stop in pairwise(bounds) if start < stop]
    chunks: list[Chunk] = []
    ordinal, line, counted = 0, 1, 0
    for start, piece in pieces:
        line += text.count("\n", counted, start)
        counted = start
        marked = piece.startswith("---")
        body = piece if not piece.startswith("...") else " " * 3 + piece[3:]
        match = _CONTENT.search(body)
        if len(chunks) == MAX_DOCUMENTS and match is not None:
            raise NotText(line, 1, f"expected at most {MAX_DOCUMENTS:,} documents in one file; split the file")
        if match is not None:
            chunks.append(Chunk(ordinal, line, line + body.count("\n", 0, match.start()), body))
        ordinal += 1 if marked or match is not None else 0
    return chunks
