"""Messages as nearly all of them come, read by orjson and by what regular expressions and bytes do in C: a few hundred
nanoseconds each. What is refused here is not said to be wrong: `messages` reads it again, carefully, and says what it is.

orjson accepts less than Python's own parser does (no NaN, no half of a surrogate pair, nothing but UTF-8), so what it takes is
JSON. Three things it does not tell, and they are looked for apart: a key that stands there twice, a number that Python
would not read, and how deep a message is nested.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from reconciler.web.limits import MAX_DEPTH

_WHITE: Final = b" \t\r\n"
_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")
_COMMA: Final = frozenset((b",",))

#: An object with no more than two levels of objects in it, if no string in it holds a brace.
_OBJECT: Final = re.compile(rb"\{[^{}]*+(?:\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}[^{}]*+)*+\}")
#: A key that does not end right before its colon; and a quote or a colon that is written as an escape.
_LOOSE: Final = re.compile(rb'"[ \t\r\n]++:')
_ESCAPED: Final = re.compile(rb"\\u00(?:22|3[aA])")
#: More digits than Python reads as an integer.
_LONG: Final = re.compile(rb"[0-9]{4301}")
_LONG_BYTES: Final = 4301
#: A message that is no longer cannot be nested too deeply.
_SHORT: Final = 2 * MAX_DEPTH


def quickly(body: bytes) -> tuple[Sequence[bytes], set[str]] | None:
    """The text of each message, without line breaks, and all their keys. None where anything raises a question."""
    try:
        texts, values = _read(body.strip(_WHITE))
    except orjson.JSONDecodeError:
        return None
    if not texts or set(map(type, values)) != {dict} or not all(map(_is_plain, texts)) or _may_repeat(body, values):
        return None
    return texts, set().union(*values)


def _read(body: bytes) -> tuple[list[bytes], list[Any]]:
    """The texts and what they say; no texts where that cannot be told so quickly. Raises JSONDecodeError."""
    if body.startswith(b"["):
        return _of_array(_unbroken(body))  # in a string there can be no break
    if b"\n" not in body:
        return [_unbroken(body)], [orjson.loads(body)]
    try:
        return [_unbroken(body)], [orjson.loads(body)]
    except orjson.JSONDecodeError:
        lines = [_unbroken(line) for one in body.split(b"\n") if (line := one.strip(_WHITE))]
        return lines, list(map(orjson.loads, lines))


def _of_array(body: bytes) -> tuple[list[bytes], list[Any]]:
    """Cut at what stands between the first two. As many objects as there are braces that open have one each, so that every
    cut is between two elements. Else texts that are an object each, with commas between them, are the elements, whatever is
    in them."""
    end = body.find(b"}")
    cut = b"},{" if body[end + 1 : end + 3] == b",{" else b"}, {"
    texts = body[1:-1].strip(_WHITE).replace(cut, b"}\n{").split(b"\n")
    if body.count(b"{") == len(texts):
        values = orjson.loads(body)
        if len(values) == len(texts):
            return texts, values
    texts = _OBJECT.findall(body)
    between = [one.strip(_WHITE) for one in _OBJECT.split(body)]
    are_elements = between[0] == b"[" and between[-1] == b"]" and _COMMA.issuperset(between[1:-1])
    return (texts, list(map(orjson.loads, texts))) if are_elements else ([], [])


def _unbroken(text: bytes) -> bytes:
    return text.translate(_BREAKS) if b"\n" in text or b"\r" in text else text


def _may_repeat(body: bytes, values: Sequence[Any]) -> bool:
    """Whether a key may stand twice in an object. Every key ends in a quote and a colon, and so do some texts; written out
    again, all texts that are left do as before, and of a key that stood there twice only one is left."""
    pairs = body.count(b'":')
    if pairs != body.count(b":") and _LOOSE.search(body):
        return True
    if pairs == sum(map(len, values)):
        return False
    return _ESCAPED.search(body) is not None or pairs != orjson.dumps(values).count(b'":')


def _is_plain(text: bytes) -> bool:
    """Whether a message is neither nested too deeply nor has too long a number, without a look at what is in it."""
    size = len(text)
    if size <= _SHORT:
        return True
    return text.count(b"{") + text.count(b"[") <= MAX_DEPTH and (size < _LONG_BYTES or not _LONG.search(text))
