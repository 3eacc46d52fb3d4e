"""The clothing in which a secret travels, and a search for every piece of it in whatever bytes there are."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

CLOTHING: Final[Mapping[str, Callable[[str], str]]] = {
    "raw": lambda secret: secret,
    "json": json.dumps,
    "json-utf8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "percent": lambda secret: quote(secret, safe=""),
    "percent-path": quote,
    "form": quote_plus,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64-url": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64-within": lambda secret: base64.b64encode(f"a:{secret}".encode()).decode(),
    "base64-percent": lambda secret: quote(base64.b64encode(secret.encode()), safe=""),
    "hex": lambda secret: secret.encode().hex(),
    "hex-upper": lambda secret: secret.encode().hex().upper(),
    "html": html.escape,
    "repr": repr,
    "repr-bytes": lambda secret: repr(secret.encode()),
    "lower": str.lower,
    "upper": str.upper,
}
#: So many bytes in a row are no coincidence: a secret that was cut off shows too.
PIECE: Final = 14


def pieces(secret: str) -> Iterator[bytes]:
    """Every run of so many bytes of a secret in any clothing, and of each of its lines."""
    for part in {secret, *secret.splitlines()}:
        for wear in CLOTHING.values():
            worn = wear(part).strip("\"'").encode()
            yield from (worn[at : at + PIECE] for at in range(max(len(worn) - PIECE, 0) + 1) if len(worn) >= PIECE)


class Search:
    """Looks for secrets in bytes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._owner = {piece: secret for secret in secrets for piece in pieces(secret)}

    def found(self, data: bytes) -> set[str]:
        """The secrets of which a piece is in the data."""
        seen = {data[at : at + PIECE] for at in range(len(data) - PIECE + 1)}
        return {self._owner[piece] for piece in seen & self._owner.keys()}
