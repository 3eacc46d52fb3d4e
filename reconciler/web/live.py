"""`POST /collect/json/{stream}`: live messages. The answer comes once they are on the disk, all of them or none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from reconciler.data.journal import Entry
from reconciler.web.answers import Answer, Refused
from reconciler.web.body import JSON_TYPES, Receive, check_type, declared, is_packed, whole
from reconciler.web.desk import Desk, Pending, digest_of
from reconciler.web.messages import messages_of

#: A larger body is gone through beside the loop, so that the others are not kept waiting.
BESIDE_BYTES: Final = 64 << 10
_WHAT: Final = "A body of live messages"


async def collect(desk: Desk, stream: str, headers: Mapping[str, str], query: str, receive: Receive) -> Answer:
    """Raises Refused, Gone."""
    sender = await desk.senders.sender(headers.get("authorization", ""))
    await desk.senders.check_stream(stream)
    if query:
        raise Refused(400, "There are no parameters here; those of /collect/bulk are for bulk bodies.")
    check_type(headers, JSON_TYPES)
    packed = is_packed(headers)
    limit = desk.limits.json_bytes
    length = declared(headers, limit, _WHAT)
    key = desk.key(headers, sender, f"json/{stream}")
    desk.check_backlog(bulk=False)
    with desk.reading(limit if packed or length is None else length):
        body = await whole(receive, packed=packed, limit=limit, piece_s=desk.limits.body_s)
        return await _accept(desk, stream, key, body)


async def _accept(desk: Desk, stream: str, key: bytes, body: bytes) -> Answer:
    if not key:
        return Answer(202, await _land(desk, stream, body, b"", b""))
    digest = digest_of("", body)
    known = desk.keys.answer(key, digest, desk.clock.now().wall_ms)
    if known is not None:
        return _again(known)
    before = desk.pending.get(key)
    if before is not None:
        if before.digest != digest:
            raise Refused(422, "This idempotency key was used for another request; use a new one for a new body.")
        return _again(await asyncio.shield(before.answer))
    return Answer(202, await _first(desk, stream, key, digest, body))


async def _first(desk: Desk, stream: str, key: bytes, digest: bytes, body: bytes) -> dict[str, Any]:
    """The first request with this key; those that come meanwhile wait for its answer."""
    pending = desk.pending[key] = Pending(digest, asyncio.get_running_loop().create_future())
    pending.answer.add_done_callback(_heard)
    try:
        answer = await _land(desk, stream, body, key, digest)
        pending.answer.set_result(answer)
        return answer
    except BaseException as error:
        refused = error if isinstance(error, Refused) else Refused(503, "The request broke off.", retry_after_s=1)
        pending.answer.set_exception(refused)
        raise
    finally:
        del desk.pending[key]


async def _land(desk: Desk, stream: str, body: bytes, key: bytes, digest: bytes) -> dict[str, Any]:
    """Returns once the messages are on the disk: what is answered."""
    count, lines = messages_of(body) if len(body) <= BESIDE_BYTES else await asyncio.to_thread(messages_of, body)
    entry = Entry(stream, desk.clock.now().wall_ms, count, key.hex(), digest.hex())
    answer = {"accepted": count}
    payload = entry.payload(lines)
    await desk.commits.commit(payload, (key, digest, answer) if key else None)
    desk.added(len(payload))
    desk.metrics.accepted(stream, "live", count, len(body))
    return answer


def _again(answer: dict[str, Any]) -> Answer:
    return Answer(202, answer, {"Idempotency-Replayed": "true"})


def _heard(future: asyncio.Future[dict[str, Any]]) -> None:
    """An error that nobody waits for has been told to the first sender."""
    if not future.cancelled():
        future.exception()
