"""Saved plans as files: written whole or not at all, and read without trusting them.

A plan holds no secret, so everyone may read it (0644): an artefact of a CI job is handed from user to user. `-` is standard
output, and standard input.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.cli.terminal import Terminal
from reconciler.core.canonical_json import canonical_json
from reconciler.errors import UsageError

STREAM: Final = Path("-")
#: A plan of 100,000 creations takes some 30 MB.
MAX_BYTES: Final = 64 << 20


def write_plan(terminal: Terminal, path: Path, document: Mapping[str, Any]) -> None:
    """The canonical JSON of a plan (RFC 8785) and a line feed. Raises UsageError where the file cannot be written."""
    content = canonical_json(document).encode("utf-8", "surrogatepass") + b"\n"
    if len(content) > MAX_BYTES:
        size = f"{len(content) / (1 << 20):,.0f} MiB, and a plan that is applied may have {MAX_BYTES >> 20}"
        raise UsageError(f"--out: the plan is too large to be saved ({size}); use -o json to look at it")
    if path == STREAM:
        terminal.bytes(content)
        return
    try:
        _replace(path, content)
    except OSError as error:
        raise UsageError(f"--out: {path} cannot be written: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file (`--out -` writes to standard output)")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


def read_plan_file(path: Path) -> bytes:
    """The bytes of a plan's file. Raises UsageError where they cannot be had: a link is not followed, for what it leads to
    may change between two looks."""
    if path == STREAM:
        return _bounded(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "is a symbolic link; name the file itself" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise UsageError(f"{path} {why}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path} is no regular file (`-` reads standard input)")
    with os.fdopen(fd, "rb") as file:
        try:
            return _bounded(file.read(MAX_BYTES + 1), str(path))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _bounded(content: bytes, shown: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise UsageError(f"{shown} is larger than a plan may be ({MAX_BYTES >> 20} MiB)")
    return content
