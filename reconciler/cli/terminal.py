"""Everything that reaches a terminal goes through here, because what is printed was written by others.

Names, titles and messages come out of files, vendors' answers and commit metadata: control characters and
bidirectional overrides in them are shown as escapes, never obeyed. An output that is closed, is no UTF-8 or has no
colours changes what is shown, and never what is done: a pass goes on when nobody listens any more.
"""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO

#: The width that text is made for where the terminal does not say.
WIDTH: Final = 80
#: No column of a table is cut below this many cells.
NARROWEST: Final = 8

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_STYLES: Final = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
#: What stands in for a character that the output's encoding does not have.
_ASCII: Final = {
    "→": "->",
    "…": "...",
    "—": "-",
    "·": "-",
    "✓": "ok",
    "✗": "x",
    **dict(zip("▁▂▃▄▅▆▇█", "__--==##", strict=True)),
}

#: Colours by status and by event, the same in every command.
COLOURS: Final = {
    "Running": "cyan",
    "Sleeping": "blue",
    "Failed": "red",
    "Paused": "yellow",
    "Completed": "green",
    "Error": "red",
    "Synced": "green",
    "Started": "cyan",
    "Deleted": "red",
    "Interrupted": "yellow",
    "active": "green",
    "stale": "yellow",
    "dead": "red",
}


def escape(text: str) -> str:
    """One line of text that a terminal shows as it is: control characters, bidirectional overrides and lone
    surrogates as `\\n`, `\\x1b`, `\\u202e`."""
    if text.isascii() and text.isprintable():  # most are, and that is quickly asked
        return text
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    return _NAMED.get(char) or (f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")


def json_text(value: Any) -> str:
    """Indented JSON of one value, itself safe to print."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", _json_escaped, text)


def json_line(value: Any) -> str:
    """JSON of one value in one line of ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": ")).replace("\x7f", "\\u007f")


def _json_escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(char) for char in text)


def _cells_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, ending in `…` where something is left out."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _cells_of(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


@dataclass(eq=False)
class Terminal:
    """Standard output and error of one command. `None` streams are closed ones."""

    out: TextIO | None
    err: TextIO | None
    colour: bool = False
    interactive: bool = False
    failure: OSError | None = None  # the first error of writing that was not a reader gone away

    @classmethod
    def of(cls, out: TextIO | None, err: TextIO | None, *, no_color: bool) -> Terminal:
        """The terminal of these streams: interactive where `out` is one, in colour where it is and nobody minds
        (https://no-color.org)."""
        interactive = out is not None and _is_tty(out) and os.environ.get("TERM", "") != "dumb"
        colour = interactive and not no_color and not os.environ.get("NO_COLOR")
        for stream in (out, err):
            _soften(stream)
        return cls(out=out, err=err, colour=colour, interactive=interactive)

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none to ask."""
        if not self.interactive:
            return WIDTH
        import shutil  # it loads what compresses archives

        return max(20, shutil.get_terminal_size((WIDTH, 24)).columns)

    @property
    def is_open(self) -> bool:
        return self.out is not None

    def paint(self, text: str, *styles: str) -> str:
        """The text in colour where colours are wanted."""
        codes = [str(_STYLES[style]) for style in styles if style]
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colour and codes else text

    def status(self, text: str, word: str | None = None) -> str:
        """The text in the colour of a status or event (`word`, the text itself where it is not given)."""
        return self.paint(text, COLOURS.get(text.strip() if word is None else word, ""))

    def print(self, line: str = "") -> None:
        """One line, escaped by whoever made it, on standard output."""
        self.out = self._write(self.out, line)

    def print_all(self, lines: Iterable[str]) -> None:
        """Many lines, which are seen at once where each need not be waited for."""
        self.out = self._write(self.out, *lines)

    def warn(self, line: str) -> None:
        """One line on standard error."""
        self.err = self._write(self.err, line)

    def json(self, value: Any) -> None:
        self.print(json_text(value))

    def bytes(self, content: bytes) -> None:
        """Exactly these on standard output, whatever its encoding is."""
        if self.out is None:
            return
        try:
            self.out.flush()
            self.out.buffer.write(content)
            self.out.buffer.flush()
        except (OSError, ValueError) as error:
            self.give_up(self.out, error)
            self.out = None

    def flush(self) -> None:
        for name in ("out", "err"):
            stream: TextIO | None = getattr(self, name)
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError) as error:
                if stream is not None:
                    self.give_up(stream, error)
                setattr(self, name, None)

    @contextmanager
    def never_waiting(self) -> Iterator[None]:
        """Inside, nobody waits for whoever reads what is printed (`outlet`)."""
        from reconciler.cli.outlet import outlets_of  # only a daemon prints for so long

        before = self.out, self.err
        *made, outlets = outlets_of(*before)
        self.out, self.err = made
        try:
            yield
        finally:
            outlets.close()
            self.out = None if self.out is None else before[0]  # a stream that was given up stays so
            self.err = None if self.err is None else before[1]

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], *, colours: str = "", whole: Sequence[str] = ()
    ) -> None:
        """Aligned columns. In an interactive terminal the widest are cut until they fit, those named `whole` last; elsewhere
        nothing is cut. `colours` names the column whose words are statuses."""
        lines = [[escape(cell) for cell in row] for row in rows]
        widths = [max(cells(one) for one in column) for column in zip(header, *lines, strict=True)]
        if self.interactive:
            fit(widths, self.width, last=[header.index(one) for one in whole])
        painted = header.index(colours) if colours else -1
        self.print(self.paint(_row(header, widths), "bold"))
        for line in lines:
            word = line[painted].split()[0] if painted >= 0 and line[painted] else ""
            self.print(_row(line, widths, paint=(painted, lambda text, word=word: self.status(text, word))))

    def _write(self, stream: TextIO | None, *lines: str) -> TextIO | None:
        if stream is None:
            return None
        try:
            for line in lines:
                stream.write(_encodable(line, stream) + "\n")
            stream.flush()
        except (OSError, ValueError) as error:
            self.give_up(stream, error)
            return None
        return stream

    def give_up(self, stream: TextIO, error: OSError | ValueError) -> None:
        """A reader that went away (`| head`) is no failure; a full disk is. What is still buffered goes nowhere, so
        that the interpreter does not stumble over it when it ends."""
        if isinstance(error, OSError) and error.errno != errno.EPIPE and self.failure is None:
            self.failure = error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def fit(widths: list[int], width: int, gap: int = 2, last: Sequence[int] = ()) -> None:
    """Narrows the widest columns, the first one and then those of `last` after all others, until a row fits `width` or no
    column can give any more."""
    kept = [0, *last]
    while sum(widths) + gap * (len(widths) - 1) > width:
        order = sorted(range(len(widths)), key=lambda index: (widths[index], index), reverse=True)
        giving = [*(one for one in order if one not in kept), *kept]
        index = next((one for one in giving if widths[one] > NARROWEST), None)
        if index is None:
            return
        widths[index] -= 1


def _row(line: Sequence[str], widths: Sequence[int], paint: tuple[int, Any] = (-1, None)) -> str:
    last = len(line) - 1
    parts = []
    for index, (cell, width) in enumerate(zip(line, widths, strict=True)):
        text = cut(cell, width)
        pad = "" if index == last else " " * (width - cells(text))
        parts.append((paint[1](text) if index == paint[0] else text) + pad)
    return "  ".join(parts).rstrip()


def _is_tty(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


def _soften(stream: TextIO | None) -> None:
    """What the stream's encoding lacks is escaped, not an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _encodable(line: str, stream: TextIO) -> str:
    if line.isascii():
        return line
    try:
        line.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "".join(_ASCII.get(char, char) for char in line)
    return line
