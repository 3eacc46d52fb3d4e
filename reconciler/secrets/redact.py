"""Takes secrets out of text before it is written anywhere: as they are, and in the encodings in which they usually
travel.

What is found is replaced by `***`. A secret of several lines is also looked for line by line. Known limits: a secret of
one to three characters is replaced only where it stands as a word of its own (replacing every `a` would garble
the text and so give the secret away), and in no encoding; a secret that a program has cut in pieces, compressed
or encrypted is not recognised.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

from reconciler.core.provider import Secret

MASK: Final = "***"
#: Shorter secrets are replaced only as words of their own.
MIN_LENGTH: Final = 4
#: Fewer letters of base64 than this are too common to be replaced.
MIN_BASE64: Final = 8


class Redactor:
    """Replaces every secret in texts. Built once a run; `redact` costs one pass of a regular expression."""

    def __init__(self, secrets: Mapping[str, Secret] | Iterable[Secret]) -> None:
        given = secrets.values() if isinstance(secrets, Mapping) else secrets
        values = sorted({secret.reveal() for secret in given} - {""})
        needles = {needle for value in values for needle in _needles(value)}
        pairs = itertools.permutations((value for value in values if "\n" not in value), 2)
        needles |= {needle for user, password in pairs for needle in _base64s(f"{user}:{password}")}
        short = {value for value in values if len(value) < MIN_LENGTH}
        self._text = _compiled(needles - short, short)
        self._bytes = re.compile(self._text.pattern.encode("utf-8", "surrogateescape")) if self._text else None

    def redact(self, text: str) -> str:
        """The text with `***` in place of every secret."""
        return self._text.sub(MASK, text) if self._text else text

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for UTF-8 bytes, which need not be valid."""
        return self._bytes.sub(MASK.encode(), data) if self._bytes else data


def _compiled(needles: Iterable[str], short: Iterable[str]) -> re.Pattern[str] | None:
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
    for safe in ("", "/", "/:@!$&'()*+,;="):
        percent = quote(data, safe=safe)
        yield from (percent, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), percent))
    yield quote_plus(data)
    yield from (html.escape(value), html.escape(value, quote=False))
    yield value.encode("unicode_escape").decode("ascii")


def _base64s(value: str) -> Iterator[str]:
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
