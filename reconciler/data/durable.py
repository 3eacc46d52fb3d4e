"""Files that are whole or not there: written under a temporary name, fsynced, renamed, and the folder fsynced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.errors import Retriable


@contextmanager
def replaced(path: Path, temporary: Path) -> Iterator[Path]:
    """Yields the temporary path to write; on leaving well, what was written there is at `path` and on the disk. On an
    error nothing is left. Folders are made. Raises Retriable where the disk refuses."""
    try:
        make_folder(path.parent)
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except OSError as error:
        _discard(temporary)
        raise Retriable(f"cannot write {path.name}: {error.strerror or error}") from error
    except BaseException:
        _discard(temporary)
        raise


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, each of them on the disk before it is used."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        fsync(new.parent)


def fsync(path: Path) -> None:
    """What was written to this file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
