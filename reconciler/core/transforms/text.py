"""What the transforms do to text of any script: edges, invisible characters, case, letters.

Unicode's own tables decide, never a language: `I` becomes `i` also for a Turkish reader, `İ` becomes `i` with a dot
above (U+0307), a capital sigma at a word's end becomes `ς`, and `ß` stays. The vendors' own libraries do the same, so
what we hash is what they hash. Composed and decomposed spellings of one text are made the same (NFC).
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

#: A value longer than this is none that a vendor takes: it normalises to nothing.
MAX_LENGTH: Final = 1000

#: Zero-width joiner and non-joiner: inside a word of Persian, Hindi or Malayalam they are spelling.
_JOINERS: Final = "\u200c\u200d"
#: Text or emoji presentation: says how the character before it is drawn.
_PRESENTATION: Final = "\ufe0e\ufe0f"
_EDGE: Final = re.compile(r"\s+")
_ASCII_KEPT: Final = {ord(letter): None for letter in map(chr, range(128)) if not letter.isalnum()}
_WHITE: Final = {ord(letter): None for letter in string.whitespace}


def trim(value: str) -> str:
    """Without white space, control and invisible characters (byte order marks, direction marks) at both ends."""
    first, last = 0, len(value)
    while first < last and _is_blank(value[first]):
        first += 1
    while last > first and _is_blank(value[last - 1]):
        last -= 1
    return value[first:last]


def _is_blank(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf")


def visible(value: str) -> str:
    """Composed (NFC), trimmed, and without what cannot be seen but for joiners inside. Empty where it is too long."""
    if len(value) > MAX_LENGTH:
        return ""
    if not value.isascii():
        value = unicodedata.normalize("NFC", value)
        value = "".join(letter for letter in value if letter in _JOINERS or unicodedata.category(letter) != "Cf")
    return trim(value)


def lower(value: str) -> str:
    """In lower case, and composed again: a letter's lower case may be two characters."""
    return value.lower() if value.isascii() else unicodedata.normalize("NFC", value.lower())


def without_space(value: str) -> str:
    """Without white space anywhere."""
    return value.translate(_WHITE) if value.isascii() else _EDGE.sub("", value)


def single_spaced(value: str) -> str:
    """One space for each run of white space."""
    return _EDGE.sub(" ", value)


def letters(value: str) -> str:
    """The letters, marks and digits of any script; no punctuation, symbols or space. A joiner stays between two letters.
    Empty where there is no letter and no digit."""
    if value.isascii():
        return value.translate(_ASCII_KEPT)
    kept = [letter for letter in value if letter in _JOINERS or _is_kept(letter)]
    joined = "".join(letter for at, letter in enumerate(kept) if letter not in _JOINERS or _joins(kept, at))
    return joined if any(letter.isalnum() for letter in joined) else ""


def _is_kept(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN" and letter not in _PRESENTATION


def _joins(kept: list[str], at: int) -> bool:
    before, after = kept[at - 1 : at], kept[at + 1 : at + 2]
    return bool(before and after) and not {*before, *after} & set(_JOINERS)


def plain(value: str) -> str:
    """Compatibility forms as their plain ones (NFKC): full-width letters and digits as the ASCII that they stand for."""
    return value if value.isascii() else unicodedata.normalize("NFKC", value)
