"""What an answer's status means for a run: one table for imports, exports and checks.

RateLimited is patience that the other side asks for, and no error (design, section 3): 429, and 403 and 503 that name a
time. Retriable may mend by itself. Everything else is Fatal: the request would be refused the same way again.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, RateLimited, Retriable, RunError
from reconciler.providers.http.client import Answer, label

#: Longer than this no `Retry-After` holds a job.
MAX_RETRY_AFTER_S: Final = 24 * 3600.0
#: Of the answer's body in a message, and so much of it is looked at for that.
MAX_EXCERPT: Final = 200
MAX_LOOKED_AT: Final = 16 * MAX_EXCERPT

#: 408 and 425 ask for the same request again, 409 is a key whose first request is still being worked on
#: (draft-ietf-httpapi-idempotency-key-header).
_TRY_AGAIN: Final = frozenset({408, 409, 425})
_HINTS: Final = {
    401: "the credentials are not accepted",
    403: "the credentials do not allow this",
    404: "there is nothing at this address",
    405: "this address does not take such a request",
    410: "what was at this address is gone",
    415: "the server does not take this kind of body; if `compression` is set, try without it",
}


def failure(method: str, answer: Answer, now_ms: int, redactor: Redactor) -> RunError:
    """The error that an answer stands for; what it says is quoted without the secrets that it may echo."""
    said = excerpt(answer, redactor)
    text = f"{method} {label(answer.url)}: answered {answer.status}"
    if hint := _HINTS.get(answer.status):
        text += f", {hint}"
    if said:
        text += f": {said}"
    wait_s = retry_after_s(answer.headers.get("retry-after", ""), now_ms)
    if answer.status == 429 or (answer.status in (403, 503) and wait_s is not None):
        return RateLimited(text, retry_after_s=wait_s)
    if answer.status >= 500 or answer.status in _TRY_AGAIN:
        return Retriable(text, retry_after_s=wait_s)
    return Fatal(text)


def retry_after_s(value: str, now_ms: int) -> float | None:
    """The seconds that a `Retry-After` asks for (RFC 9110, 10.2.3: a number of seconds, or a date), at most
    `MAX_RETRY_AFTER_S`; None where it says nothing that can be read."""
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now_ms / 1000
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def excerpt(answer: Answer, redactor: Redactor) -> str:
    """The beginning of what the answer says, on one line, without control characters. Secrets are taken out before
    anything is cut."""
    text = answer.body[:MAX_LOOKED_AT].decode("utf-8", "replace")
    text = redactor.redact_beginning(text) if len(answer.body) > MAX_LOOKED_AT else redactor.redact(text)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= MAX_EXCERPT else text[: MAX_EXCERPT - 1] + "…"
