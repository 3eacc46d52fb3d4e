"""What the process that listens makes of a disk that refuses: what it says is what is there, and keys outlive their journal."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Clock
from reconciler.data.journal import bulk_of, listing
from reconciler.web import bulk
from reconciler.web.app import Endpoint
from reconciler.web.desk import Desk
from reconciler.web.keys import Keys
from reconciler.web.limits import Limits
from reconciler.web.serve import _open_desk

TOKEN = "a-token-of-the-shop"
BODY = b"id\n1\n2\n"
ACCEPTED = {"accepted": 2, "omitted": 0}


@pytest.fixture(scope="module")
def checker() -> Iterator[bulk.Checker]:
    made = bulk.Checker()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "intake"
    made.mkdir()
    (tmp_path / "token").write_text(TOKEN)
    senders = {"shop": {"folder": str(tmp_path), "credentials": {"token": {"file": "token"}}}}
    rules = {"allow_exec": False, "streams": ["orders"], "senders": senders, "floor": 0}
    (made / "rules.json").write_text(json.dumps(rules))
    return made


def refuse(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def refusing(real: Callable[[int], None], which: Callable[[int], bool]) -> Callable[[int], None]:
    return lambda fd: refuse() if which(fd) else real(fd)


def is_key_log(fd: int) -> bool:
    return "/keys-" in os.readlink(f"/proc/self/fd/{fd}")


def is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def served(folder: Path, checker: bulk.Checker, story: Callable[[Callable[[], Any]], Any]) -> None:
    """One life of the process, to which the story sends the same upload under the same key."""

    async def live() -> None:
        desk = _open_desk(folder, Limits(free_bytes=0))
        await desk.senders.read(0)
        desk.commits.start()
        await story(lambda: sent(desk, checker))
        await desk.commits.close()

    asyncio.run(live())


async def sent(desk: Desk, checker: bulk.Checker) -> tuple[int, Any, bool]:
    """The status and the body of the answer, and whether it was given before."""
    told: list[Any] = []

    async def work(stream: str, headers: Any, query: str, receive: Any) -> Any:
        return await bulk.collect(desk, checker, "csv", stream, headers, query, receive)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"idempotency-key", b"once")]
    scope: Any = {
        "method": "POST", "headers": headers, "query_string": b"", "path_params": {"stream": "orders"},
    }  # fmt: skip
    await Endpoint("csv", lambda: desk, work)(scope, receive, send)
    begin, content = told
    return begin["status"], json.loads(content["body"]), b"idempotency-replayed" in dict(begin["headers"])


def test_an_upload_is_accepted_and_told_so_though_the_log_of_keys_refuses_to_note_its_key(
    folder: Path, checker: bulk.Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_a_bad_disk(send: Any) -> None:
        monkeypatch.setattr(os, "fdatasync", refusing(os.fdatasync, is_key_log))
        assert await send() == (202, ACCEPTED, False)
        assert await send() == (202, ACCEPTED, True)
        monkeypatch.undo()

    async def later(send: Any) -> None:
        assert await send() == (202, ACCEPTED, True)

    served(folder, checker, on_a_bad_disk)
    served(folder, checker, later)
    [kept] = listing(folder).bulk
    assert bulk_of(kept.path).messages == 2


def test_an_upload_that_is_refused_because_its_folder_cannot_be_synced_is_not_there(
    folder: Path, checker: bulk.Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_published(fd: int) -> bool:
        return is_folder(fd) and bool(listing(folder).bulk)

    async def story(send: Any) -> None:
        monkeypatch.setattr(os, "fsync", refusing(os.fsync, is_published))
        assert await send() == (503, {"error": "The disk refuses: Input/output error."}, False)
        assert not list(folder.glob("bulk-*"))
        monkeypatch.undo()
        assert await send() == (202, ACCEPTED, False)

    served(folder, checker, story)
    assert len(listing(folder).bulk) == 1


@pytest.mark.parametrize("what", ["cannot be made", "is not in its folder for certain"])
def test_keys_of_which_the_log_cannot_be_begun_hold_their_journal_until_they_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    key, digest, now_ms = bytes(16), bytes(range(16)), Clock().now().wall_ms
    keys = Keys(tmp_path, Limits())
    log = tmp_path / f"keys-{now_ms // 3_600_000}.log"
    if what == "cannot be made":
        log.mkdir()
    else:
        monkeypatch.setattr(os, "fsync", refusing(os.fsync, is_folder))
    keys.note([(key, digest, {"accepted": 1})], now_ms)
    assert keys.answer(key, digest, now_ms) == {"accepted": 1}
    for _ in range(2):
        with pytest.raises(OSError, match=r"Is a directory|Input/output error"):
            keys.sync()
    monkeypatch.undo()
    if log.is_dir():
        log.rmdir()
    keys.sync()
    keys.close()
    others = Keys(tmp_path, Limits())
    others.load(listing(tmp_path), now_ms)
    assert others.answer(key, digest, now_ms) == {"accepted": 1}
