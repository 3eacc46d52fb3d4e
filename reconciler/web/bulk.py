"""`POST /collect/bulk/csv/{stream}` and `/collect/bulk/json/{stream}`: backfills. A body goes to a file as it comes, is gone
through in a process of the lowest priority, and is accepted whole: then it waits for the controller, behind no live message
and before none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from hashlib import blake2b
from multiprocessing import get_context
from typing import Any, Final

from reconciler.core.backfill import digest_of_upload
from reconciler.data.journal import Bulk, Format, body_path, bulk_path, next_number, publish
from reconciler.web.answers import Answer, Refused, Row, unable
from reconciler.web.body import CSV_TYPES, JSON_TYPES, Receive, check_type, declared, is_packed, pieces, too_large
from reconciler.web.checking import check, prepare
from reconciler.web.commits import wake
from reconciler.web.desk import Desk, Pending
from reconciler.web.limits import NAMED_ROWS
from reconciler.web.query import Query, query_of

#: A body is written in pieces of this size, and synced as often: live messages share the disk.
WRITE_BYTES: Final = 1 << 20
SYNC_BYTES: Final = 8 << 20
_WHAT: Final = "A bulk body"
_TYPES: Final[Mapping[Format, tuple[str, ...]]] = {"csv": CSV_TYPES, "json": JSON_TYPES}


class Checker:
    """The process that goes through bodies, one at a time; made when the first one comes, and anew after it died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def check(self, bulk: Bulk, path: str) -> dict[str, Any]:
        """What `checking.check` finds. Raises Refused (503) where the process died."""
        if self._pool is None:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=prepare, initargs=(os.getpid(),))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, check, asdict(bulk), path)
        except BrokenProcessPool:
            self._pool = None
            raise unable("The process that goes through bulk bodies has died; send the body again.") from None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


async def collect(
    desk: Desk, checker: Checker, format: Format, stream: str, headers: Mapping[str, str], query: str, receive: Receive
) -> Answer:
    """Raises Refused, Gone."""
    sender = await desk.senders.sender(headers.get("authorization", ""))
    await desk.senders.check_stream(stream)
    options = query_of(query, format)
    check_type(headers, _TYPES[format])
    packed = is_packed(headers)
    declared(headers, desk.limits.bulk_bytes, _WHAT)
    key = desk.key(headers, sender, f"bulk/{format}/{stream}")
    desk.check_backlog(bulk=True)
    desk.check_disk()
    with desk.uploading():
        return await _take(desk, checker, _bulk(desk, format, stream, options, packed), options, key, query, receive)


def _bulk(desk: Desk, format: Format, stream: str, options: Query, packed: bool) -> Bulk:
    return Bulk(
        stream=stream,
        format=format,
        received_ms=desk.clock.now().wall_ms,
        gzip=packed,
        timestamp_field=options.timestamp_field,
        timestamp_format=options.timestamp_format or desk.senders.time_format(stream, options.timestamp_field),
        headers=options.headers,
        delimiter=options.delimiter,
        append=dict(options.append or {}),
        droperrors=options.droperrors,
        filename=options.filename,
    )


async def _take(
    desk: Desk, checker: Checker, bulk: Bulk, options: Query, key: bytes, query: str, receive: Receive
) -> Answer:
    number = await asyncio.to_thread(next_number, desk.folder)
    path = body_path(desk.folder, number)
    try:
        size, digest = await _write(desk, str(path), query, receive)
        bulk = replace(bulk, size=size, key=key.hex(), digest=digest.hex() if key else "")
        async with _alone(desk, key, digest) as known:
            if known is not None:
                return Answer(202, known, {"Idempotency-Replayed": "true"})
            found = await checker.check(bulk, str(path))
            _refuse_bad(found, bulk)
            if options.dryrun:
                would = _awaited(bulk.stream, found["messages"], desk.senders.limit(bulk.stream))
                return Answer(200, {"dryrun": True, "messages": found["messages"], **_omitted(found), **would})
            bulk = replace(bulk, messages=found["messages"], omitted=found["omitted"])
            waits = _awaited(bulk.stream, bulk.messages, desk.senders.limit(bulk.stream), _named(number, bulk))
            answer = {"accepted": found["messages"], **_omitted(found), **waits}
            bulk = replace(bulk, answer=answer)
            await _publish(desk, number, bulk)
            desk.metrics.accepted(bulk.stream, "bulk", bulk.messages, size)
            return Answer(202, answer)
    finally:
        if not bulk_path(desk.folder, number).exists():
            path.unlink(missing_ok=True)


async def _publish(desk: Desk, number: int, bulk: Bulk) -> None:
    """From here on the body is accepted, and its key known."""

    def finish() -> None:
        publish(desk.folder, number, bulk)
        if bulk.key:
            desk.keys.note([(bytes.fromhex(bulk.key), bytes.fromhex(bulk.digest), bulk.answer)], bulk.received_ms)
            with contextlib.suppress(OSError):  # it is accepted, and knows its key itself; the log is owed it
                desk.keys.sync()

    await _beside(finish)
    wake(desk.folder)


@asynccontextmanager
async def _alone(desk: Desk, key: bytes, digest: bytes) -> AsyncIterator[dict[str, Any] | None]:
    """Holds the key, if there is one, and gives what it was answered before. Raises Refused: 409 where another request
    with this key is being answered, 422 where it came with another body."""
    if not key:
        yield None
        return
    if key in desk.pending:
        raise Refused(409, "A request with this idempotency key is being answered; ask again later.", retry_after_s=5)
    known = desk.keys.answer(key, digest, desk.clock.now().wall_ms)
    desk.pending[key] = Pending(digest, asyncio.get_running_loop().create_future())
    try:
        yield known
    finally:
        del desk.pending[key]


async def _write(desk: Desk, path: str, query: str, receive: Receive) -> tuple[int, bytes]:
    """The body in its file, and on the disk: its size and digest. Memory holds a piece of it."""
    made = blake2b(query.encode("utf-8", "surrogatepass") + b"\0", digest_size=16)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size = synced = 0
        held = bytearray()
        async for piece in pieces(receive, desk.limits.body_s):
            held += piece
            size += len(piece)
            if size > desk.limits.bulk_bytes:
                raise too_large(desk.limits.bulk_bytes, _WHAT)
            if len(held) >= WRITE_BYTES:
                part, held = bytes(held), bytearray()
                sync = size - synced >= SYNC_BYTES
                synced = size if sync else synced
                await _beside(_write_part, fd, part, made.update, sync)
                if sync:
                    desk.check_disk()
        await _beside(_write_part, fd, bytes(held), made.update, True)
        return size, made.digest()
    finally:
        os.close(fd)


async def _beside(work: Callable[..., None], *arguments: Any) -> None:
    """In a thread; it is over when this is, whatever happens to the request."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await task
        raise


def _write_part(fd: int, part: bytes, update: Callable[[bytes], None], sync: bool) -> None:
    update(part)
    view = memoryview(part)
    while view:
        view = view[os.write(fd, view) :]
    if sync:
        os.fdatasync(fd)


def _refuse_bad(found: Mapping[str, Any], bulk: Bulk) -> None:
    """Raises Refused for what is not accepted as it is: 400 where it is no whole gzip, as of live messages, else 422."""
    if found["damaged"]:
        raise Refused(400, "The body is no gzip that is whole, although its Content-Encoding says so.")
    rows = _rows(found)
    if found["error"]:
        raise Refused(422, f"Nothing was accepted: {_here(found['error'])}.", rows=rows, bad=found["omitted"])
    if found["omitted"] and not bulk.droperrors:
        first = f"{rows[0].unit} {rows[0].line}: {rows[0].reason}"
        what = "a row is" if found["omitted"] == 1 else f"{found['omitted']:,} rows are"
        hint = f"mend {'it' if found['omitted'] == 1 else 'them'}, or leave bad rows out with droperrors=true"
        raise Refused(
            422, f"Nothing was accepted: {what} malformed ({first}); {hint}.", rows=rows, bad=found["omitted"]
        )
    if not found["messages"]:
        raise Refused(422, "The body holds no message.", rows=rows, bad=found["omitted"])


def _named(number: int, bulk: Bulk) -> str:
    """By what a person approves it."""
    return digest_of_upload(number, bulk.stream, bulk.received_ms, bulk.size, bulk.messages)


def _awaited(stream: str, messages: int, limit: int, digest: str = "") -> dict[str, Any]:
    """That a body waits for a person, where it holds more than its stream takes unasked."""
    if messages <= limit:
        return {}
    over = f"{messages:,} messages are more than backfill.maxMessages ({limit:,}) of stream {stream}"
    if not digest:
        return {"approval": {"maxMessages": limit, "message": f"{over}: the upload would wait for approval."}}
    said = f"{over}: the upload is kept, and waits for approval; `reconcile approve {stream} {digest}` puts it on the stream."
    return {"approval": {"digest": digest, "maxMessages": limit, "message": said}}


def _rows(found: Mapping[str, Any]) -> list[Row]:
    return [Row(number, _here(reason), found["unit"]) for number, reason in found["errors"]]


def _here(reason: str) -> str:
    """What is said of a job's config, in the names of the query."""
    return reason.replace("timestampField", "timestamp_field").replace("timestampFormat: ", "timestamp_format=")


def _omitted(found: Mapping[str, Any]) -> dict[str, Any]:
    errors = [row.json for row in _rows(found)[:NAMED_ROWS]]
    return {"omitted": found["omitted"]} | ({"errors": errors} if errors else {})
