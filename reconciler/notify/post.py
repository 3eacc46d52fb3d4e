"""One request, and what its answer means: what mends by itself is Retriable, what a person must mend is Fatal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from reconciler.clock import Clock
from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, RateLimited, Retriable
from reconciler.notify.excerpts import MAX_READ, excerpt

TIMEOUT_S: Final = 20
#: `Retry-After` is believed up to so many seconds.
MAX_WAIT_S: Final = 24 * 60 * 60


def post(url: str, body: bytes, headers: Mapping[str, str], secrets: Mapping[str, Secret]) -> None:
    """A JSON body. No redirect is followed: a token goes where the settings say, and nowhere else. No error holds one of
    the `secrets`, nor a part of one, whatever the other side repeats."""
    said = {"Content-Type": "application/json", "User-Agent": "reconcile", "Accept-Encoding": "identity", **headers}
    try:
        with (
            httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=said) as answer,
        ):
            if not answer.is_success:
                _refuse(answer, excerpt(_beginning(answer), Redactor(secrets)))
    except httpx.TimeoutException as error:
        raise Retriable(f"no answer within {TIMEOUT_S} s") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
        raise Fatal("the address is not one that can be asked") from error
    except httpx.HTTPError as error:
        raise Retriable(f"the request failed: {type(error).__name__}") from error


def _beginning(answer: httpx.Response) -> bytes:
    """Up to MAX_READ bytes of what the answer says; nothing where they do not come in time."""
    said, clock = b"", Clock()
    for piece in answer.iter_raw():
        said += piece
        if len(said) >= MAX_READ:
            break
        if clock.alive_ms() >= TIMEOUT_S * 1000:
            return b""
    return said


def _refuse(answer: httpx.Response, said: str) -> None:
    message = f"answered {answer.status_code}{f': {said}' if said else ''}"
    if answer.status_code == 429 or (answer.status_code == 403 and _is_limited(answer)):
        raise RateLimited(message, retry_after_s=_wait_s(answer))
    if answer.status_code in (408, 425) or answer.status_code >= 500:
        raise Retriable(message, retry_after_s=_wait_s(answer))
    raise Fatal(message)


def _is_limited(answer: httpx.Response) -> bool:
    """GitHub's way to say that a limit is reached
    (https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api)."""
    return answer.headers.get("x-ratelimit-remaining") == "0" or "Retry-After" in answer.headers


def _wait_s(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(min(int(text), MAX_WAIT_S)) if text.isascii() and text.isdigit() else None
