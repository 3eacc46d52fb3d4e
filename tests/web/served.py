"""A real intake process on loopback, without a daemon: what is declared is written down by the test."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from reconciler.clock import Clock
from reconciler.data.journal import INTAKE, Bulk, Entry, body_path, bulk_of, entry_of, frames, listing
from reconciler.runner.processes import start_ticks

TOKEN = "a-token-of-the-shop"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
CSV = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/csv"}
NDJSON = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}

_BOOT = """
import json, socket, sys
from pathlib import Path
from reconciler.web.limits import Limits
from reconciler.web.serve import serve
serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), Limits(**json.loads(sys.argv[3])))
"""


class Served:
    """The process, and a client of it. Leaving the context kills it."""

    def __init__(self, state: Path, **limits: Any) -> None:
        self.state = state
        self.folder = state / INTAKE
        self.folder.mkdir(parents=True, exist_ok=True)
        self._limits = json.dumps(limits)
        if not (self.folder / "rules.json").exists():
            self.declare()
            self.look()
        self.start()

    def declare(self, *streams: str, token: dict[str, Any] | None = None, **more: Any) -> None:
        """What a controller would write down."""
        (self.state / "token").write_text(TOKEN)
        senders = {"shop": {"folder": str(self.state), "credentials": {"token": token or {"file": "token"}}}}
        told = {
            "allow_exec": False, "streams": list(streams or ("orders", "customers")),
            "senders": senders, "floor": 0, **more,
        }  # fmt: skip
        temporary = self.folder / "rules.json.tmp"
        temporary.write_text(json.dumps(told))
        temporary.rename(self.folder / "rules.json")

    def look(self, ago_s: int = 0, pid: int | None = None) -> None:
        """The heartbeat of a controller that looked so long ago: this process, or one that was."""
        looked_ms, ticks = Clock().now().wall_ms - ago_s * 1000, start_ticks(os.getpid())
        (self.folder / "heartbeat").write_text(f"{looked_ms} {pid or os.getpid()} {ticks}\n")

    def start(self) -> None:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            self.port = listening.getsockname()[1]
            arguments = [str(listening.fileno()), str(self.state), self._limits]
            with (self.state / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, *arguments], pass_fds=[listening.fileno()], stdout=log, stderr=log
                )
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def post(self, path: str, content: Any, headers: dict[str, str] | None = None, **more: str) -> httpx.Response:
        return self.client.post(path, content=content, headers={**(headers or HEADERS), **more})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self.client.close()

    def terminate(self) -> None:
        """As a daemon ends it."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) in (0, -signal.SIGTERM)

    def peak_kib(self) -> int:
        """The most memory that it has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    # --- what it left ---

    def entries(self) -> list[tuple[Entry, list[Any]]]:
        """The requests in the live journals, with their messages."""
        found = [entry_of(payload) for one in listing(self.folder).live for _, payload in frames(one.path)]
        return [(entry, [json.loads(line) for line in lines.splitlines()]) for entry, lines in found]

    def messages(self, stream: str = "orders") -> list[Any]:
        return [message for entry, messages in self.entries() if entry.stream == stream for message in messages]

    def bulks(self) -> list[tuple[Bulk, bytes]]:
        found = listing(self.folder).bulk
        return [(bulk_of(one.path), body_path(self.folder, one.number).read_bytes()) for one in found]

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def is_gone(handle: int, patience_s: float = 60) -> bool:
    """Whether the process of a pidfd ends within that time."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(patience_s * 1000))
