"""The process that listens. The controller starts it, with the socket that it is to listen on and the lock that says so;
it outlives a controller that dies, and the next one takes it over (`reconciler.controller.listening`). SIGTERM ends it:
nothing new is taken, what is being answered is answered, and all that was accepted is in the journal.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from reconciler.clock import Clock
from reconciler.data.journal import INTAKE, asked_to_close, listing, mend, sweep
from reconciler.runner.processes import hide_memory, name_process, start_ticks
from reconciler.web.app import application, heartbeat_ms
from reconciler.web.bulk import Checker
from reconciler.web.commits import Commits
from reconciler.web.desk import Desk
from reconciler.web.keys import Keys
from reconciler.web.limits import CONNECTIONS, GRACE_S, Limits
from reconciler.web.metrics import Metrics
from reconciler.web.protocol import Protocol
from reconciler.web.senders import Senders

#: So often it is looked what the controller asks for, and whether the state directory is still there.
MINDED_S: Final = 2.0


def main(listening: int, lock: int, state: str) -> None:
    """Serves until SIGTERM. `listening` is the descriptor of a bound socket; `lock` that of a lock, which is held as long
    as it is open, and says who listens."""
    _sign(lock)
    name_process("reconcile-web")
    hide_memory()
    with socket.socket(fileno=listening) as bound:
        serve(bound, Path(state), Limits(), lock)


def serve(bound: socket.socket, state: Path, limits: Limits, lock: int | None = None) -> None:
    """The same, with limits of one's own. Returns when it was told to end."""
    desk: list[Desk] = []
    checker = Checker()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        desk.append(_open_desk(state / INTAKE, limits))
        await desk[0].senders.read(0)
        desk[0].commits.start()
        minding = asyncio.create_task(_mind(lock, state / INTAKE, desk[0].commits))
        yield
        minding.cancel()
        checker.close()
        await desk[0].commits.close()

    config = uvicorn.Config(
        application(lambda: desk[0], checker, lifespan),
        http=Protocol,
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[bound])


async def _mind(lock: int | None, folder: Path, commits: Commits) -> None:
    """Closes a journal that the controller wants to be gone. Ends the process once its state directory has gone, or is
    another: nobody would ever fold what it accepts."""
    while lock is not None:
        await asyncio.sleep(MINDED_S)
        commits.close_by(asked_to_close(folder))
        try:
            there = os.path.samestat(os.stat(folder / "lock"), os.fstat(lock))
        except FileNotFoundError:
            there = False
        if not there:
            signal.raise_signal(signal.SIGTERM)
            return


def _sign(lock: int) -> None:
    """Adds to what the controller noted who this is."""
    told = json.loads(os.pread(lock, 1 << 16, 0))
    text = json.dumps({**told, "pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}).encode()
    os.pwrite(lock, text, 0)
    os.ftruncate(lock, len(text))


def _open_desk(folder: Path, limits: Limits) -> Desk:
    """Takes up what an earlier life left: its half-written end is cut off, its keys are known again."""
    clock = Clock()
    sweep(folder)
    before = listing(folder)
    for journal in before.live:
        if journal.open:
            mend(journal.path)
    keys = Keys(folder, limits)
    keys.load(before, clock.now().wall_ms)
    senders = Senders(folder / "rules.json", clock)
    commits = Commits(folder, _floor(folder), keys, clock, limits.journal_s)
    made = Desk(folder, limits, clock, senders, keys, commits, Metrics(clock))
    _add_gauges(made)
    return made


def _floor(folder: Path) -> int:
    """The last journal that the record knows of."""
    try:
        told: dict[str, Any] = json.loads((folder / "rules.json").read_bytes())
        return int(told["floor"])
    except (OSError, ValueError, KeyError):
        return 0


def _add_gauges(desk: Desk) -> None:
    metrics, commits = desk.metrics, desk.commits
    metrics.gauge("reconcile_intake_backlog_bytes", "Bytes of live journals.", lambda: desk.backlog[0])
    metrics.gauge("reconcile_intake_bulk_backlog_bytes", "Bytes of bulk bodies that wait.", lambda: desk.backlog[1])
    metrics.gauge("reconcile_intake_keys", "Idempotency keys remembered.", lambda: len(desk.keys))
    metrics.gauge("reconcile_intake_commits", "Groups synced to the journal.", lambda: commits.groups)
    metrics.gauge("reconcile_intake_pid", "The process that listens.", os.getpid)
    metrics.gauge(
        "reconcile_last_look_seconds",
        "When the controller last looked, Unix time.",
        lambda: (heartbeat_ms(desk) or 0) / 1000,
    )
