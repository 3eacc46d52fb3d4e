"""From a reference to its secret: `{env: NAME}`, `{file: PATH}`, `{exec: [COMMAND, …]}`.

Only a run resolves secrets (design, section 5). No message here holds a value, nor what a command printed: only what
was referred to, and what was wrong with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import selectors
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.core.provider import Secret
from reconciler.errors import Fatal

#: Of one secret, wherever it comes from.
MAX_SECRET_BYTES: Final = 64 * 1024
#: How long a command may take.
EXEC_TIMEOUT_S: Final = 30.0


def resolve(
    references: Mapping[str, Mapping[str, Any]], *, base_dir: Path | None, allow_exec: bool
) -> Mapping[str, Secret]:
    """The secrets of an authorization, by field. `base_dir` is the spec's folder: relative files are looked for, and
    commands run, there; None where a spec has none. Line ends at the end of a value are dropped. Raises Fatal, naming the
    field, where a value is missing, empty, larger than `MAX_SECRET_BYTES` or not UTF-8, or where a command may not be run."""
    return {
        name: _resolve(f"credentials.{name}", references[name], base_dir, allow_exec) for name in sorted(references)
    }


def keyed_digest(secret: Secret, key_hex: str) -> str:
    """HMAC-SHA256 of a secret under the record's key, in hexadecimal digits: equal digests are equal secrets, and
    without the key a digest says nothing."""
    return hmac.new(bytes.fromhex(key_hex), secret.reveal().encode(), hashlib.sha256).hexdigest()


def _resolve(where: str, reference: Mapping[str, Any], base_dir: Path | None, allow_exec: bool) -> Secret:
    match dict(reference):
        case {"env": str(name), **rest} if not rest:
            raw = _from_env(where, name)
        case {"file": str(path), **rest} if not rest:
            raw = _from_file(where, path, base_dir)
        case {"exec": [*command], **rest} if not rest and command and all(isinstance(word, str) for word in command):
            raw = _from_exec(where, command, base_dir, allow_exec)
        case _:
            raise Fatal(f"{where}: expected one of env, file or exec")
    return _made(where, raw)


def _made(where: str, raw: bytes) -> Secret:
    if len(raw) > MAX_SECRET_BYTES:
        raise Fatal(f"{where}: the value is larger than {MAX_SECRET_BYTES // 1024} KiB")
    try:
        value = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Fatal(f"{where}: the value is not UTF-8") from None  # the cause would quote it
    if not value:
        raise Fatal(f"{where}: the value is empty")
    return Secret(value)


def _from_env(where: str, name: str) -> bytes:
    value = os.environb.get(os.fsencode(name))
    if value is None:
        raise Fatal(f"{where}: the environment variable {name} is not set")
    return value


def _from_file(where: str, path: str, base_dir: Path | None) -> bytes:
    """A regular file's content. A pipe or a device is refused: it might never end, or never begin."""
    if base_dir is None and not os.path.isabs(path):
        raise Fatal(
            f"{where}: the file {path} is relative, and the spec comes from a commit; name a folder with --data-root"
        )
    full = base_dir / path if base_dir else Path(path)
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise Fatal(f"{where}: the file {path} cannot be read: {reason}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Fatal(f"{where}: {path} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)


def _from_exec(where: str, command: Sequence[str], base_dir: Path | None, allow_exec: bool) -> bytes:
    """What a command prints. No shell is involved; what it says on standard error is thrown away, because commands
    that fail like to print what they were given."""
    if not allow_exec:
        raise Fatal(f"{where}: commands are run only with --allow-exec")
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=base_dir or "/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a command"
        raise Fatal(f"{where}: the command {command[0]} cannot be run: {reason}") from None
    assert process.stdout is not None
    try:
        output = _output(process, where, command[0])
    except BaseException:
        _kill(process)
        raise
    finally:
        process.stdout.close()
    if process.returncode:
        raise Fatal(f"{where}: the command {command[0]} ended with exit code {process.returncode}")
    return output


def _output(process: subprocess.Popen[bytes], where: str, name: str) -> bytes:
    """Standard output to its end, and the process's end. Raises Fatal after the timeout or over the limit."""
    assert process.stdout is not None
    clock = Clock()
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := EXEC_TIMEOUT_S - clock.now().alive_ms / 1000) > 0:
            if not selector.select(left_s):
                continue
            piece = os.read(process.stdout.fileno(), MAX_SECRET_BYTES + 1)
            output += piece
            if len(output) > MAX_SECRET_BYTES:
                raise Fatal(f"{where}: the command {name} printed more than {MAX_SECRET_BYTES // 1024} KiB")
            if not piece and _has_ended(process, left_s):
                return output
    raise Fatal(f"{where}: the command {name} took longer than {EXEC_TIMEOUT_S:g} s")


def _has_ended(process: subprocess.Popen[bytes], left_s: float) -> bool:
    try:
        process.wait(left_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the command with what it has started in its process group, which may have outlived it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
