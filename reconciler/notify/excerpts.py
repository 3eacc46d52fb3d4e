"""What the other side has answered, as an error repeats it: its beginning, without a secret or a part of one."""

from __future__ import annotations

from typing import Final

from reconciler.core.redact import Redactor

#: So many bytes of an answer are looked at, and so many characters of them repeated at most.
MAX_READ: Final = 8192
MAX_SHOWN: Final = 200


def excerpt(said: bytes, redactor: Redactor) -> str:
    """On one line. Secrets are taken out before anything is cut; where the answer was cut already, its end may be the
    beginning of one."""
    text = said[:MAX_READ].decode("utf-8", "replace")
    text = redactor.redact_beginning(text) if len(said) >= MAX_READ else redactor.redact(text)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:MAX_SHOWN]
