"""Status documents as YAML that a person likes to read, and that every YAML 1.1 and 1.2 reader reads alike.

Block style; a string is plain only where no reader could take it for anything else. A general emitter costs fifty times
as much, and statuses are written by the thousand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

#: Begins with a letter, holds nothing with a meaning in YAML; a colon, a comma or a hash only inside a word.
_PLAIN: Final = re.compile(r"[A-Za-z](?:[\w ./@+()%=;$'\"-]|(?<! )#|[:,](?=[^\s:#,\[\]{}]))*", re.ASCII)
_MEANT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

#: What a double-quoted scalar must escape beyond what JSON does: control characters, line separators, halves of pairs.
_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")

#: Made once: `json.dumps` with other than its defaults makes an encoder for each value.
_JSON: Final = json.JSONEncoder(ensure_ascii=False)


def to_yaml(document: Mapping[str, Any]) -> str:
    """The YAML text of a JSON-able mapping, ending in a line feed; keys in the order given."""
    lines: list[str] = []
    _mapping(document, "", "", lines)
    return "\n".join((*lines, "")) if lines else "{}\n"


def scalar_text(text: str, *, quoted: bool = False) -> str:
    """One string as YAML on one line, quoted where it must be, or where that is asked for."""
    return _quoted(text) if quoted else _string(text)


def _mapping(value: Mapping[str, Any], first: str, indent: str, lines: list[str]) -> None:
    """Adds the lines of a mapping; the first begins with `first`, the others with `indent`."""
    for key, item in value.items():
        kind = type(item)  # most are of these; asking whether it is a Mapping costs more
        if kind is str:
            lines.append(f"{first}{_string(key)}: {_string(item)}")
        elif kind is int or item is None:
            lines.append(f"{first}{_string(key)}: {'null' if item is None else item}")
        elif isinstance(item, (str, int, float)):
            lines.append(f"{first}{_string(key)}: {_scalar(item)}")
        elif item and isinstance(item, Mapping):
            lines.append(f"{first}{_string(key)}:")
            _mapping(item, f"{indent}  ", f"{indent}  ", lines)
        elif item and isinstance(item, (list, tuple)):
            lines.append(f"{first}{_string(key)}:")
            _sequence(item, f"{indent}  ", f"{indent}  ", lines)
        else:
            lines.append(f"{first}{_string(key)}: {_scalar(item)}")
        first = indent


def _sequence(value: Sequence[Any], first: str, indent: str, lines: list[str]) -> None:
    for item in value:
        if item and isinstance(item, Mapping):
            _mapping(item, f"{first}- ", f"{indent}  ", lines)
        elif item and isinstance(item, (list, tuple)):
            _sequence(item, f"{first}- ", f"{indent}  ", lines)
        else:
            lines.append(f"{first}- {_scalar(item)}")
        first = indent


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    return "{}" if isinstance(value, Mapping) else "[]"


@lru_cache(maxsize=4096)  # keys, states and reasons are the same in every status
def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text[-1] != " " and text.lower() not in _MEANT:
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return _ESCAPED.sub(_escape, _JSON.encode(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"  # half a pair is no character


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{e}{exponent}"  # YAML 1.1 wants the point
