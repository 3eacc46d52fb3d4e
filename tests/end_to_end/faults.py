"""Faults of the system that a test begins and ends while a real daemon runs: errors of reading, writing, syncing, renaming,
opening and watching, and a wall clock that is off. They come from `shim.c`, compiled once and put before the C library."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.programs import program

WRITE, SYNC, RENAME, READ, OPEN, WATCH = 1, 2, 4, 8, 16, 32
_LAYOUT: Final = struct.Struct("=iiiiiiq96s")
_CLOCK: Final = struct.Struct("=q")
_FAILED_AT: Final = 16
_CLOCK_AT: Final = 24


@cache
def _shim() -> Path:
    """The compiled library; its folder goes with the machine's temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="shim-"))
    made = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [program("gcc"), "-shared", "-fPIC", "-O1", "-w", "-o", str(made), str(source), "-ldl"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return made


class Faults:
    """What goes wrong for the programs that are given `env`. Nothing does at first."""

    def __init__(self, folder: Path) -> None:
        path = folder / "faults"
        path.write_bytes(b"\0" * _LAYOUT.size)
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _LAYOUT.size)
        self.env = {"LD_PRELOAD": str(_shim()), "FAULTS_FILE": str(path)}

    @property
    def failed(self) -> int:
        """How many calls have failed since the last fault began."""
        return int(struct.unpack_from("=i", self._map, _FAILED_AT)[0])

    def begin(self, error: int, calls: int, path: str = "", *, every: int = 1) -> None:
        """From now on each n-th of these calls on files with `path` in theirs fails."""
        self.end()
        clock = _CLOCK.unpack_from(self._map, _CLOCK_AT)[0]
        self._map[4:] = _LAYOUT.pack(0, calls, every, 0, 0, 0, clock, path.encode())[4:]
        struct.pack_into("=i", self._map, 0, error)

    def end(self) -> None:
        struct.pack_into("=i", self._map, 0, 0)

    def shift_clock(self, seconds: int) -> None:
        """The wall clock is off by so much from now on."""
        _CLOCK.pack_into(self._map, _CLOCK_AT, seconds)

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()
        self._file.close()


def may_mount() -> bool:
    """Whether this user may mount a file system of memory."""
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode:
        return False
    subprocess.run(["umount", "/mnt"], check=True)
    return True


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of so much memory at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
