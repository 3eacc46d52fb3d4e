"""What is wrong with one value of one document, before its place in the file is known; and the words for it.

An issue names its value by path (`("spec", "dependsOn", 1)`); the careful parser knows where in the file each path
stands and makes a `Problem` of it. The text form of a path is `spec.dependsOn[1]`; a key that is no plain word stands
in quotes, escaped as JSON, so that no key can pretend to be another path or move a terminal's cursor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from reconciler.core.value import dataclass

Path = tuple[str | int, ...]

#: Characters of a found value that a message repeats at most.
MAX_SHOWN: Final = 60
#: And characters that are searched for what must not be shown.
MAX_SEARCHED: Final = 4096

_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PART: Final = re.compile(r'\[(?P<index>[0-9]+)\]|\.?(?P<quoted>"(?:[^"\\]|\\.)*")|\.?(?P<word>[A-Za-z0-9_-]+)')
#: Who an address says is coming, up to the last sign that may end it: a password may hold any other.
_USER: Final = re.compile(r"://(?:[^/?#@\s:]*:\S*@|[^/?#\s]*@)")
#: What may be a credential in an address's query.
_QUERY: Final = re.compile(r"([?&][^=&#\s?]*(?:key|token|secret|password)=)[^&#\s]+", re.IGNORECASE)
_OFFSET: Final = re.compile(r" \(at character ([0-9]{1,6})\)\Z")


@dataclass(frozen=True, slots=True)
class Issue:
    """`on_key` says that the key is wrong, not its value. A path may lead to what is missing; its place is then that of
    the mapping which lacks it."""

    path: Path
    message: str
    on_key: bool = False


def field_text(path: Iterable[str | int]) -> str:
    """`spec.dependsOn[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            dot = "." if text else ""
            text += dot + (part if _WORD.fullmatch(part) else json.dumps(clip(part)))
    return text


def field_path(text: str) -> Path:
    """The path of a text that `field_text` made."""
    parts: list[str | int] = []
    for match in _PART.finditer(text):
        if match["index"] is not None:
            parts.append(int(match["index"]))
        else:
            parts.append(match["word"] if match["word"] is not None else str(json.loads(match["quoted"])))
    return tuple(parts)


def with_offset(message: str, offset: int) -> str:
    """A message about a character of a text, counted from 0: it says which, until the text's place in a file is known."""
    return f"{message} (at character {offset + 1})" if offset else message


def without_offset(message: str) -> tuple[str, int]:
    """A message as it was before `with_offset`, and the character."""
    match = _OFFSET.search(message)
    return (message[: match.start()], int(match[1]) - 1) if match else (message, 0)


def clip(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def quoted(text: str) -> str:
    """A text from outside as messages show it: in single quotes, cut, with nothing unprintable, and without what may be a
    password in an address, or in its query."""
    # A password that begins in what is searched may end beyond it.
    searched = text if len(text) <= MAX_SEARCHED else text[:MAX_SEARCHED] + "@"
    open_ = _QUERY.sub(r"\1***", _USER.sub("://***@", searched))
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in clip(open_))
    return f"'{shown}'"


def found(value: Any) -> str:
    """What was found, in words: `'maybe'`, `12`, `nothing`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return clip(str(value))
        case str():
            return quoted(value)
        case dict():
            return "a mapping"
        case _:
            return "a list"


def one_of(names: Iterable[str]) -> str:
    """`a, b or c`, in the order given."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def both_of(names: Iterable[str]) -> str:
    """`a, b and c`, in the order given."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
