"""What we wrote beside a spec, read back: for whoever asks whether it is still as it was. Nothing is followed that is a
link, and nothing is made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from reconciler.core.document import Kind
from reconciler.repo.names import LOG_SUFFIXES, log_name, status_name

#: No status, and no log, is longer.
MAX_BYTES: Final = 4 << 20


class Written:
    """The files below `base`: the root, or the folder that statuses are written to instead."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def status_path(self, spec_path: str, name: str, kind: Kind = "Job") -> Path:
        return self._base / os.path.dirname(spec_path) / status_name(kind, name)

    def log_path(self, spec_path: str, name: str, kind: Kind = "Job") -> Path:
        return self._base / os.path.dirname(spec_path) / log_name(kind, name)

    def status(self, spec_path: str, name: str, kind: Kind = "Job") -> bytes | None:
        """The content of a status; None where there is none, or no regular file."""
        return content_of(self.status_path(spec_path, name, kind))

    def log(self, spec_path: str, name: str) -> tuple[list[bytes], bool]:
        """The lines of a log, oldest first, with those that were rotated; and whether older ones may be gone."""
        path = self.log_path(spec_path, name)
        olders = list(_rotated(path))
        pieces = [content_of(one) for one in (*olders, path)]
        lines = b"".join(piece for piece in pieces if piece is not None).split(b"\n")
        return (lines if lines[-1] else lines[:-1]), pieces[0] is not None


def _rotated(path: Path) -> Iterator[Path]:
    """The rotated logs, oldest first."""
    for suffix in reversed(LOG_SUFFIXES[1:]):
        yield path.with_name(path.name.removesuffix(LOG_SUFFIXES[0]) + suffix)


def content_of(path: Path) -> bytes | None:
    """The bytes of a regular file that is no link, as far as MAX_BYTES; None where there is none."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return file.read(MAX_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    return None
