"""Files that are whole or not there: written under a temporary name, fsynced, renamed, and the folder fsynced. What the product
keeps for itself nobody else may read; what it is asked to write for others has the permissions that the user gives new files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from reconciler.errors import Retriable

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700


@contextmanager
def replaced(path: Path, temporary: Path, *, is_private: bool = True) -> Iterator[Path]:
    """Yields the temporary path to write; a private file is there already, and whoever writes goes on with that one. On leaving
    well, what was written there is at `path` and on the disk. On an error nothing is left. Folders are made. Raises Retriable
    where the disk refuses."""
    with whole_or_nothing(path, temporary, is_private=is_private):
        yield temporary
        _put(temporary, path, is_private=is_private)
        fsync(path.parent)


@contextmanager
def whole_or_nothing(path: Path, temporary: Path, *, is_private: bool = True) -> Iterator[None]:
    """While the file of this path is made: its folder is there, and the temporary file where it is private, and an error leaves
    nothing. Raises Retriable where the disk refuses."""
    try:
        make_folder(path.parent, is_private=is_private)
        if is_private:
            _begin(temporary)
        yield
    except OSError as error:
        _discard(temporary)
        raise Retriable(f"cannot write {path.name}: {error.strerror or error}") from error
    except BaseException:
        _discard(temporary)
        raise


class Shelf:
    """Files of one folder that are put on the disk one after the other while the next is written. None counts before
    `settle` has returned. Left on an error, those that are not on the disk yet are gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shelf")
        self._unsettled: list[tuple[Path, Future[None]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        for temporary, _ in self._unsettled:
            _discard(temporary)

    def put(self, temporary: Path, path: Path) -> None:
        """Begins to make a whole file, which nobody writes to any more, the one at this path."""
        self._unsettled.append((temporary, self._thread.submit(_put, temporary, path)))

    def settle(self) -> None:
        """Waits until all files are at their paths and on the disk. Raises Retriable where the disk refuses."""
        name = self._folder.name
        try:
            for temporary, done in self._unsettled:
                name = temporary.stem
                done.result()
            if self._unsettled:
                fsync(self._folder)
        except OSError as error:
            raise Retriable(f"cannot write {name}: {error.strerror or error}") from error
        self._unsettled.clear()


def _begin(temporary: Path) -> None:
    """An empty file that nobody else may read, before anything is in it."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)  # one that was left may have been readable
    finally:
        os.close(descriptor)


def _put(temporary: Path, path: Path, *, is_private: bool = True) -> None:
    if is_private:
        temporary.chmod(FILE_MODE)
    fsync(temporary)
    os.replace(temporary, path)


def make_folder(folder: Path, *, is_private: bool = True) -> None:
    """Makes a folder and its parents, each of them on the disk before it is used."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=FOLDER_MODE if is_private else 0o777, exist_ok=True)
        try:
            fsync(new.parent)
        except OSError:
            with suppress(OSError):  # somebody may have put something into it
                new.rmdir()  # whoever finds it takes it to be on the disk
            raise


def private(path: str, flags: int) -> int:
    """An `opener` of files that nobody else may read."""
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
