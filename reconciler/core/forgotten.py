"""People who asked to be forgotten, as values: who is sought, and what stays so that nothing of them comes back.

What stays is a keyed hash of each identifier and the moment of the request. A message from before that moment which
carries such an identifier is dropped when it arrives again; a later one is a new relationship, and is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.core.profile import ProfileRules, profile_rules, rules_spec
from reconciler.core.value import dataclass

#: Between key and value in what is hashed; no key contains it.
SEPARATOR: Final = "\x1f"

#: Identifiers that can be remembered as forgotten: each run that lands messages about people is told of all of them.
MAX_REMEMBERED: Final = 100_000

#: What came of a request at the destination of a job that is gone for good.
GONE: Final = "the job's ledger is gone, and its destination was not told"

#: A shorter identifier is only found in a text where it stands alone.
SHORT: Final = 6


@dataclass(frozen=True, slots=True)
class Sought:
    """An identifier whose messages are to go, as far as they are from before `at_ms`; `request` is whose."""

    request: int
    key: str
    value: str
    at_ms: int


def keyed_hash(secret_key: str, key: str, value: str) -> str:
    """HMAC-SHA256 of an identifier under the record's key (hex), in hexadecimal digits."""
    text = f"{key}{SEPARATOR}{value}".encode()
    return hmac.new(bytes.fromhex(secret_key), text, hashlib.sha256).hexdigest()


def identity_rules(specs: Iterable[tuple[str, Mapping[str, Any]]]) -> ProfileRules:
    """How messages of the streams in these specs say who they are about, and when; nothing else."""
    rules = profile_rules(specs)
    return ProfileRules(streams=tuple(replace(one, columns={}, attributes=()) for one in rules.streams))


def identities_of(rules: ProfileRules) -> Sequence[Any]:
    """Identity rules as JSON, for an order; `profile_rules` reads them."""
    return tuple(rules_spec(rules))


# --- texts ----------------------------------------------------------------------------------------------------------


class Shown:
    """Whether a text shows any of some values, whatever its case."""

    def __init__(self, values: Iterable[str]) -> None:
        folded = {_folded(one) for one in values}
        long = [re.escape(one) for one in folded if len(one) >= SHORT]
        short = [rf"(?<!\w){re.escape(one)}(?!\w)" for one in folded if 0 < len(one) < SHORT]
        self._pattern = re.compile("|".join(sorted([*long, *short], key=len, reverse=True)) or r"(?!)")
        digits = [re.escape(one) for one in folded if one.isdecimal() and len(one) >= SHORT]
        self._digits = re.compile("|".join(digits) or r"(?!)")

    def within(self, text: str) -> bool:
        """Also where the text is JSON that escapes it, or where a number is written with spaces and the like."""
        for one in {text, _unescaped(text)}:
            folded = _folded(one)
            if self._pattern.search(folded) or self._digits.search(_PUNCTUATION.sub("", folded)):
                return True
        return False


_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL)
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PUNCTUATION: Final = re.compile(r"[ ()+./\u00a0-]")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _unescaped(text: str) -> str:
    """What JSON's escapes in a text stand for."""
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _CONTROL.get(found[2], found[2]), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
