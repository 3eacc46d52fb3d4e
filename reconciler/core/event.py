"""One line of a job's log, as logfmt (design, section 4), and back.

A line is one line whatever its values hold: line ends, control characters, and the marks that turn the direction of
text around are escaped, so that no message can forge an event or hide a part of one in a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from reconciler.clock import iso
from reconciler.core.state import EventName

#: The order of the fields after `time` and `event`; others follow, sorted.
FIELDS: Final = ("run", "unit", "rows", "added", "removed", "omitted", "msg", "commit", "author")
_KNOWN: Final = frozenset(FIELDS)
#: A value is cut off, with an ellipsis, after this many characters.
VALUE_LIMIT: Final = 8_192

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_.:@/+,%~-]+")
_PAIR: Final = re.compile(r'([A-Za-z][A-Za-z0-9_.-]*)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?: |$)')
_ESCAPED: Final = re.compile(r"\\(u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_LONG: Final = {short[1]: char for char, short in _SHORT.items()}
#: Unicode's control, format, line and paragraph separator, surrogate, private and unassigned characters.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})


def logfmt(time_ms: int, event: EventName | str, fields: Mapping[str, str | int | None]) -> str:
    """The line, without a line end. Fields that are None or empty are left out; `msg` is always quoted."""
    parts = [f"time={iso(time_ms)}", _pair("event", str(event))]
    others = fields.keys() - _KNOWN
    for name in (*FIELDS, *sorted(others)) if others else FIELDS:
        value = fields.get(name)
        if value is not None and value != "":
            parts.append(f"msg={_value('msg', str(value))}" if name == "msg" else _pair(name, str(value)))
    return " ".join(parts)


def parse_logfmt(line: str) -> dict[str, str]:
    """The fields of a line that `logfmt` wrote, in their order. Raises ValueError for any other."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(line):
        pair = _PAIR.match(line, at)
        if pair is None:
            raise ValueError(f"not logfmt from character {at + 1} on")
        name, quoted, bare = pair.groups()
        if name in fields:
            raise ValueError(f"{name} stands twice")
        fields[name] = bare if quoted is None else _ESCAPED.sub(_unescaped, quoted)
        at = pair.end()
    return fields


def escaped(text: str) -> str:
    """The text on one line, without a character that is not seen as what it is."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text  # as most are
    return "".join(_escaped(char) for char in text)


@lru_cache(maxsize=1024)  # what happens at once has the same cause
def _pair(name: str, text: str) -> str:
    assert _NAME.fullmatch(name), f"{name!r} is no field name"
    return f"{name}={_value(name, text)}"


def _value(name: str, text: str) -> str:
    if len(text) > VALUE_LIMIT:
        text = text[: VALUE_LIMIT - 1] + "…"
    return text if name != "msg" and _BARE.fullmatch(text) else f'"{escaped(text)}"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if unicodedata.category(char) not in _UNSEEN:
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code not in _LONG:
        raise ValueError(f"unknown escape \\{code}")
    return _LONG[code]
