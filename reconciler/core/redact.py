"""Takes secrets out of text before it is written anywhere: as they are, and in the encodings in which they usually
travel.

What is found is replaced by `***`. A secret of several lines is also looked for line by line, and a long run of letters
and digits in it by itself. Where a text is to be cut, it is redacted first: half a secret is not recognised any more.
Known limits: a secret of one to three characters is replaced only where it stands as a word of its own (replacing every
`a` would garble the text and so give the secret away), and in no encoding; a secret that a program has cut in pieces,
compressed or encrypted is not recognised.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final
from urllib.parse import quote, quote_plus

from reconciler.core.provider import Secret

MASK: Final = "***"
#: Shorter secrets are replaced only as words of their own.
MIN_LENGTH: Final = 4
#: Fewer letters of base64 than this are too common to be replaced; a shorter secret is looked for in its own case only.
MIN_BASE64: Final = 8
#: A secret of so many characters stands nowhere by chance.
NO_CHANCE: Final = 16

#: A long run of characters that no encoding of text changes, whatever it does to those around it, twice over or more.
_PLAIN: Final = re.compile(rf"[0-9A-Za-z_.~-]{{{NO_CHANCE},}}")
#: What stays as it is in a percent-encoded text: nothing, what Python's `quote` and other languages leave, and what
#: stays in a path and in a query (https://url.spec.whatwg.org/#percent-encoded-bytes).
_PRINTED: Final = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_SAFE: Final = (
    "",
    "/",
    "/:@!$&'()*+,;=",
    _PRINTED.translate(str.maketrans("", "", '"#<>?`{}')),
    _PRINTED.translate(str.maketrans("", "", '"#<>')),
)


class Redactor:
    """Replaces every secret in texts. Built once a run; `redact` costs one pass of a regular expression.

    `longest` is the length of the longest text that is looked for.
    """

    def __init__(self, secrets: Mapping[str, Secret] | Iterable[Secret]) -> None:
        given = secrets.values() if isinstance(secrets, Mapping) else secrets
        values = sorted({secret.reveal() for secret in given} - {""})
        short = {value for value in values if len(value) < MIN_LENGTH}
        needles = _all_needles(values) - short
        self.longest = max(map(len, needles | short), default=0)
        self._text = _compiled(needles, short)
        self._bytes = re.compile(self._text.pattern.encode("utf-8", "surrogateescape")) if self._text else None
        self._long = [value for value in values if len(value) >= NO_CHANCE]
        self._only_long = len(self._long) == len(values)

    def redact(self, text: str) -> str:
        """The text with `***` in place of every secret."""
        return self._text.sub(MASK, text) if self._text else text

    def redact_beginning(self, text: str) -> str:
        """The same for the beginning of a longer text: without its end, which may be the beginning of a secret."""
        redacted = self.redact(text)
        return redacted[: max(len(redacted) - self.longest, 0)]

    def shows_in(self, text: str) -> bool:
        """Whether a secret stands in the text that is too long to be there by chance."""
        telling = self._text if self._only_long else self._of_long_ones
        return telling is not None and telling.search(text) is not None

    @cached_property
    def _of_long_ones(self) -> re.Pattern[str] | None:
        return _compiled(_all_needles(self._long))

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for UTF-8 bytes, which need not be valid."""
        return self._bytes.sub(MASK.encode(), data) if self._bytes else data


def _all_needles(values: Sequence[str]) -> set[str]:
    """Every text to look for: each secret's own, and what basic authorization makes of two."""
    pairs = itertools.permutations((value for value in values if "\n" not in value), 2)
    own = {needle for value in values for needle in _needles(value)}
    return own | {needle for user, password in pairs for needle in _base64s(f"{user}:{password}")}


def _compiled(needles: Iterable[str], short: Iterable[str] = ()) -> re.Pattern[str] | None:
    """The longest first, so that no part of a longer one is left standing."""
    parts = [re.escape(needle) for needle in sorted(needles, key=lambda one: (-len(one), one))]
    parts += [rf"(?<![0-9A-Za-z_]){re.escape(one)}(?![0-9A-Za-z_])" for one in sorted(short)]
    return re.compile("|".join(parts)) if parts else None


def _needles(value: str) -> Iterator[str]:
    """A secret in every encoding, and each of its lines as it is and escaped."""
    for part in dict.fromkeys([value, value.strip(), *(line.strip() for line in value.splitlines())]):
        if len(part) >= MIN_LENGTH:
            yield part
            yield from _escaped(part)
        if len(part) >= MIN_BASE64:  # as the name of a host, a header or a key of an environment
            yield from (part.lower(), part.upper())
    yield from _PLAIN.findall(value)
    if len(value) >= MIN_LENGTH:
        data = value.encode("utf-8", "surrogatepass")
        yield from (data.hex(), data.hex().upper(), data.hex(":"))
        yield from _base64s(value)


def _escaped(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogatepass")
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield json.dumps(value).replace("/", "\\/")[1:-1]
    for written in (repr(value), repr(data)[1:]):
        inner = written[1:-1]
        yield from (inner, inner.replace("\\'", "'"), inner.replace('"', '\\"'), inner.replace("\\", "\\\\"))
    for safe in _SAFE:
        percent = quote(data, safe=safe)
        kept = re.sub(r"%25(?=[0-9A-Fa-f]{2})", "%", percent)  # where what looks quoted is not quoted again
        for one in (percent, kept, kept.replace("%25", "%")):
            yield from (one, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), one))
    yield quote_plus(data)
    yield from (html.escape(value), html.escape(value, quote=False))
    yield value.encode("unicode_escape").decode("ascii")


def _base64s(value: str) -> Iterator[str]:
    """Base64 of a value, as it is and percent-encoded."""
    for one in _bare_base64s(value):
        yield from (one, quote(one, safe=""), quote(one))


def _bare_base64s(value: str) -> Iterator[str]:
    """Base64, standard and for URLs, of the value alone, and of the value inside of something longer: after none, one
    or two other bytes, without the letters that depend on its neighbours."""
    data = value.encode("utf-8", "surrogatepass")
    yield from (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode())
    for before in range(3):
        padded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        first = (0, 2, 3)[before]
        last = len(padded) - (1 if (before + len(data)) % 3 else 0)
        core = padded[first:last]
        if len(core) >= MIN_BASE64:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))
