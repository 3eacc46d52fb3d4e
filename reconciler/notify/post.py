"""One request, and what its answer means: what mends by itself is Retriable, what a person must mend is Fatal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from reconciler.errors import Fatal, RateLimited, Retriable

TIMEOUT_S: Final = 20
#: Characters of an answer that an error repeats at most.
MAX_SHOWN: Final = 200
#: `Retry-After` is believed up to so many seconds.
MAX_WAIT_S: Final = 24 * 60 * 60


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """A JSON body. No redirect is followed: a token goes where the settings say, and nowhere else."""
    said = {"Content-Type": "application/json", "User-Agent": "reconcile", **headers}
    try:
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
            answer = client.post(url, content=body, headers=said)
    except httpx.TimeoutException as error:
        raise Retriable(f"no answer within {TIMEOUT_S} s") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
        raise Fatal("the address is not one that can be asked") from error
    except httpx.HTTPError as error:
        raise Retriable(f"the request failed: {type(error).__name__}") from error
    _judge(answer)


def _judge(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    said = " ".join(answer.text[:MAX_SHOWN].split())
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
