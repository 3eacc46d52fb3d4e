"""A real daemon in a process of its own, told about by the lines that it prints."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

#: No line for this long means that the daemon hangs. A disk that others write to may hold an fsync for most of a minute.
PATIENCE_S = 120


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(extra or {})}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reconciler", *arguments]


def reconcile(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(env), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def jobs(root: Path) -> dict[str, dict[str, Any]]:
    """`reconcile list -o json`, by name."""
    ended = reconcile("list", "-o", "json", "--root", str(root))
    assert ended.returncode == 0, ended.stderr
    return {job["name"]: job for job in json.loads(ended.stdout)}


class Daemon:
    """`reconcile --watch` over a root. Leaving the context kills it."""

    def __init__(self, root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._rest = b""
        self.process = subprocess.Popen(
            command("--watch", "--root", str(root), *arguments),
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def wait_for(self, *words: str, patience_s: float = PATIENCE_S) -> str:
        """The first line from now on that holds all the words."""
        return self.wait_until(lambda line: all(word in line for word in words), patience_s=patience_s)

    def wait_until(self, holds: Callable[[str], bool], *, patience_s: float = PATIENCE_S) -> str:
        while True:
            line = self._line(patience_s)
            if line is None:
                raise AssertionError("the daemon said nothing more:\n" + "\n".join(self.lines[-30:]))
            if holds(line):
                return line

    def _line(self, patience_s: float) -> str | None:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self.process.stdout], [], [], patience_s)
            piece = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not piece:
                return None
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        self.lines.append(line.decode("utf-8", "replace"))
        return self.lines[-1]

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Reads on until it says no more; the exit code."""
        while self._line(PATIENCE_S) is not None:
            pass
        return self._reap()

    def _reap(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
