"""The one text of a JSON value, for what is signed: the JSON Canonicalization Scheme (RFC 8785), so that a program in any
language can make the same bytes again.

Keys are sorted by their UTF-16 code units, nothing stands between tokens, and a number is written as ECMAScript writes
it. In one point it is wider than the RFC: an integer beyond 2^53 is written out in full, never rounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring
from typing import Any, Final

#: JSON's strings exactly as the RFC wants them: short escapes, `\\u00xx` for other control characters, nothing else.
_string: Final[Callable[[str], str]] = encode_basestring
#: ECMAScript writes exponents from here on (Number::toString, ECMA-262).
_LARGEST_PLAIN: Final = 1e21
_SMALLEST_PLAIN: Final = 1e-6


def canonical_json(value: Any) -> str:
    """The text of a value of dictionaries, lists, strings, numbers, true, false and null. Raises ValueError for NaN and
    infinities, TypeError for anything else."""
    return "".join(_pieces(value))


def canonical_digest(value: Any) -> str:
    """The first 32 hexadecimal digits of SHA-256 over that text as UTF-8."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield _string(value)
        case None:
            yield "null"
        case bool():
            yield "true" if value else "false"
        case int():
            yield str(int(value))
        case float():
            yield _number(value)
        case Mapping():
            yield from _object(value)
        case list() | tuple():
            separator = "["
            for one in value:
                yield separator
                yield from _pieces(one)
                separator = ","
            yield "[]" if separator == "[" else "]"
        case _:
            raise TypeError(f"a {type(value).__name__} has no JSON text")


def _object(value: Mapping[str, Any]) -> Iterator[str]:
    separator = "{"
    for name in sorted(value, key=_utf16):
        yield f"{separator}{_string(name)}:"
        yield from _pieces(value[name])
        separator = ","
    yield "{}" if separator == "{" else "}"


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """A float as ECMAScript's Number::toString writes it; the digits are the shortest that read back as the same."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("JSON has no NaN and no infinity")
    if value == 0:
        return "0"
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = digits.partition(".")
    part = "" if part == "0" else part
    point = len(whole) + int(exponent or 0)
    figures = (whole + part).lstrip("0")
    point -= len(whole + part) - len(figures)
    figures = figures.rstrip("0")
    return ("-" if value < 0 else "") + _laid_out(figures, point, abs(value))


def _laid_out(figures: str, point: int, size: float) -> str:
    """`figures` with the decimal point after the first `point` of them."""
    if size >= _LARGEST_PLAIN or size < _SMALLEST_PLAIN:
        mantissa = figures[0] + (f".{figures[1:]}" if len(figures) > 1 else "")
        return f"{mantissa}e{point - 1:+d}"
    if point >= len(figures):
        return figures + "0" * (point - len(figures))
    return f"{figures[:point]}.{figures[point:]}" if point > 0 else f"0.{'0' * -point}{figures}"
