"""The process that listens (`reconcile --watch --listen HOST:PORT`), from the daemon's side.

The daemon binds the address, so that a wrong or taken one is its own error, and gives the socket to a process of its own
together with a lock. That process needs nothing more from the daemon: it goes on answering when the daemon is busy,
stopped or dead. A daemon that starts and finds one takes it over where it serves the same address by the same program and
environment, and replaces it where not. It starts one anew when it has died, and ends it when it ends itself.

What it may accept it reads from `rules.json`: names of streams with what they say of uploads, and references to tokens,
never a token. `heartbeat` says when the daemon last looked; through the pipe `wake` comes word that there is something to
fold, or that the file `pushes` has grown: a repository was pushed to, and the daemon is to look.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.clock import Clock, Now, pause
from reconciler.controller.hands import Hands
from reconciler.core.backfill import max_messages_of
from reconciler.core.document import canonical
from reconciler.data.durable import private
from reconciler.data.journal import INTAKE, PUSHES
from reconciler.errors import ReconcileError, UsageError
from reconciler.runner.processes import start_ticks

if TYPE_CHECKING:
    from reconciler.record.store import Record

#: How what the process says of a secret that cannot be had begins, and how much of it is passed on at a time.
COMPLAINTS: Final = ("authorization ", "hooks.")
MAX_PASSED_ON: Final = 16_384
#: The provider whose authorizations are tokens of senders.
PROVIDER: Final = "collect"
#: What must be installed to listen.
NEEDED: Final = ("starlette", "uvicorn", "prometheus_client")
#: How long the process may take to answer what it is answering, and be gone.
GONE_WITHIN_S: Final = 15.0
#: How long a process that was just started may take to say who it is.
BORN_WITHIN_MS: Final = 5_000
#: Connections that wait to be accepted; they wait here also while the process is started anew.
BACKLOG: Final = 1024
#: A process that died is started again at once, and after one that lived shorter than this, ever later.
LIVED_MS: Final = 5_000
SHORTEST_WAIT_MS: Final = 250
LONGEST_WAIT_MS: Final = 30_000
#: The log of the process is begun anew when it is larger at a start.
LOG_BYTES: Final = 1 << 20

_BOOT: Final = (
    "import sys; sys.path[:] = {path!r}; from reconciler.web.serve import main; main({fd}, {lock}, {state!r})"
)


@dataclass(slots=True)
class _Process:
    """The process that listens: a handle that names it for good, and its object where it is this daemon's child."""

    pid: int
    handle: int
    born_ms: int
    child: subprocess.Popen[bytes] | None = None


class Listening:
    """Keeps the process that listens, or sees to it that there is none. Belongs to the daemon's one thread."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._folder = hands.settings.state / INTAKE
        self._address = address(hands.settings.listen) if hands.settings.listen else None
        self._socket: socket.socket | None = None
        self._process: _Process | None = None
        self._pipe = -1
        self._told = ""
        self._has_looked = False
        self._retry_ms = 0
        self._wait_ms = 0
        self._pushes = 0
        self._heard = 0

    def open(self, now: Now) -> None:
        """Takes over the process that an earlier daemon left, or starts one; without an address, ends what is left.
        Raises UsageError where the address cannot be had, ReconcileError where a process of another cannot be ended."""
        if self._address is None:
            if (self._folder / "lock").exists():
                self._replace()
            return
        check_installed()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._open_pipe()
        self._pushes = self._pushed()
        self._heard = self._log_size()
        self.tell()
        if not self._take_over(now):
            self._start(now)
        self._hands.listener.notice(f"Listening on {self._place()} for messages.")

    def _place(self) -> str:
        """The address; of port 0 the one that was given."""
        if self._socket is None or self._address is None:
            return self._hands.settings.listen
        return f"{self._hands.settings.listen.rpartition(':')[0]}:{self._socket.getsockname()[1]}"

    def fds(self) -> tuple[int, ...]:
        """Readable when there is something to fold, or the process has died."""
        handles = () if self._process is None else (self._process.handle,)
        return handles if self._pipe < 0 else (self._pipe, *handles)

    def keep(self, now: Now) -> None:
        """Its turn: a process that has died is started anew."""
        if self._address is None:
            return
        if self._process is not None and self._has_died(self._process):
            self._bury(now)
        if self._process is None and now.alive_ms >= self._retry_ms:
            self._start_again(now)

    def take_wakes(self) -> bool:
        """Whether word has come, since this was last asked, that there is something to fold."""
        came = False
        if self._pipe >= 0:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._pipe, 4096):
                    came = True
        return came

    def take_push(self) -> bool:
        """Whether a repository was pushed to since this was last asked."""
        before, self._pushes = self._pushes, self._pushed() if self._address is not None else 0
        return before != self._pushes

    def _pushed(self) -> int:
        try:
            return os.stat(self._folder / PUSHES).st_size
        except FileNotFoundError:
            return 0

    def due_in_ms(self, now: Now) -> int | None:
        """When a process that died is to be started again; None where none has."""
        return None if self._process is not None or self._address is None else max(1, self._retry_ms - now.alive_ms)

    def looked(self, now: Now) -> None:
        """The daemon has looked: what is declared is told, and that somebody looks."""
        self._has_looked = True
        if self._address is not None:
            self.tell()
            _write(self._folder / "heartbeat", f"{now.wall_ms} {os.getpid()} {start_ticks(os.getpid())}\n")
            self._pass_on()

    def _pass_on(self) -> None:
        """What the process has said of secrets that cannot be had, since it was last passed on."""
        size = self._log_size()
        before, self._heard = (self._heard if self._heard <= size else 0), size
        if size == before:
            return
        with open(self._log, "rb") as log:
            log.seek(before)
            said = log.read(MAX_PASSED_ON).decode("utf-8", "replace")
        for line in said.splitlines():
            if line.startswith(COMPLAINTS):
                self._hands.listener.notice(line)

    @property
    def _log(self) -> Path:
        return self._folder / "intake.log"

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def tell(self) -> None:
        """Writes down what may be accepted, where it has changed."""
        text = canonical(self._rules())
        if text != self._told:
            _write(self._folder / "rules.json", text)
            self._told = text

    def close(self) -> None:
        """Ends the process, once what it is answering is answered."""
        if self._process is not None:
            process, self._process = self._process, None
            _end(process)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._address = None

    def let_go(self) -> None:
        """The process goes on without this daemon, for the next one to take over."""
        if self._process is not None:
            os.close(self._process.handle)
            self._process = None
        self._address = None
        self.close()

    # --- what is told -----------------------------------------------------------------------------------------------

    def _rules(self) -> dict[str, Any]:
        record, settings = self._hands.record, self._hands.settings
        senders = {
            one.name: {"folder": _absolute(settings.folder_of(one.path)), "credentials": one.spec["credentials"]}
            for one in record.resources.resources("Authorization")
            if one.spec["provider"] == PROVIDER
        }
        streams = record.resources.resources("Stream")
        hook = settings.push_secret
        return {
            "trouble": trouble(record),
            "push": None if hook is None else {"folder": str(settings.folder.resolve()), "secret": dict(hook)},
            "allow_exec": settings.allow_exec,
            "streams": [one.name for one in streams],
            "limits": {one.name: max_messages_of(one.spec) for one in streams if "backfill" in one.spec},
            "times": {one.name: one.spec["timestamp"] for one in streams if "format" in one.spec.get("timestamp", {})},
            "senders": senders,
            "known": self._has_looked or bool(streams or senders),
            "floor": int(record.setting("journals", 0)),
        }

    def _open_pipe(self) -> None:
        """Opened both ways, so that it never ends because nobody writes."""
        path = self._folder / "wake"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    # --- the process ------------------------------------------------------------------------------------------------

    def _start(self, now: Now) -> None:
        assert self._address is not None
        lock = self._lock()
        try:
            if self._socket is None:
                self._socket = _bound(self._address)
            _note(lock, self._identity())  # the process adds who it is itself: this daemon may die before it could
            child = self._spawn(lock, self._socket)
        finally:
            os.close(lock)
        self._process = _Process(child.pid, os.pidfd_open(child.pid), now.alive_ms, child)

    def _start_again(self, now: Now) -> None:
        try:
            self._start(now)
        except ReconcileError as error:
            self._put_off(now)
            self._hands.listener.notice(f"nothing listens: {error}")

    def _put_off(self, now: Now) -> None:
        self._wait_ms = min(max(SHORTEST_WAIT_MS, 2 * self._wait_ms), LONGEST_WAIT_MS)
        self._retry_ms = now.alive_ms + self._wait_ms

    def _spawn(self, lock: int, listening: socket.socket) -> subprocess.Popen[bytes]:
        path = [os.path.abspath(one) for one in sys.path]
        state = str(self._hands.settings.state.resolve())
        boot = _BOOT.format(path=path, fd=listening.fileno(), lock=lock, state=state)
        fresh = self._log_size() > LOG_BYTES
        with open(self._log, "wb" if fresh else "ab", opener=private) as said:
            return subprocess.Popen(
                [sys.executable, "-P", "-c", boot],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[listening.fileno(), lock],
                start_new_session=True,
            )

    def _lock(self) -> int:
        """The lock of whoever listens, which goes to the process that is started: it is held as long as that lives.
        Raises ReconcileError where another one holds it."""
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ReconcileError(f"another process already listens for {self._hands.settings.state}") from None
        return lock

    def _identity(self) -> dict[str, Any]:
        """What a process must have in common with this daemon, so that it may go on for it. References to tokens may
        name any variable of the environment."""
        key = bytes.fromhex(str(self._hands.record.setting("secret_key")))
        names = sorted(os.environb.items())
        environment = hmac.new(key, repr(names).encode(), hashlib.sha256).hexdigest()
        return {"listen": self._hands.settings.listen, "version": __version__, "environment": environment}

    def _take_over(self, now: Now) -> bool:
        """Whether the process that an earlier daemon left goes on; one that differs is ended."""
        left = _left(self._folder)
        if left is None:
            return False
        told, process = left
        if all(told.get(name) == value for name, value in self._identity().items()):
            process.born_ms = now.alive_ms
            self._process = process
            return True
        _end(process)
        return False

    def _replace(self) -> None:
        left = _left(self._folder)
        if left is not None:
            _end(left[1])

    def _has_died(self, process: _Process) -> bool:
        return _is_readable(process.handle, 0)

    def _bury(self, now: Now) -> None:
        assert self._process is not None
        process, self._process = self._process, None
        os.close(process.handle)
        code = "" if process.child is None else f" (exit code {process.child.wait()})"
        if now.alive_ms - process.born_ms < LIVED_MS:
            self._put_off(now)
        else:
            self._wait_ms = 0
        said = f"the process that listens has died{code}; it is started again; see {self._log}"
        self._hands.listener.notice(said)


def trouble(record: Record) -> str:
    """What is wrong with where the specs come from; empty where nothing is."""
    reading = record.desired.problems_of("reading")
    return next((problem.message for problem in reading if problem.path == "."), "")


def is_held(folder: Path) -> bool:
    """Whether a process listens, whoever started it."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _left(folder: Path) -> tuple[dict[str, Any], _Process] | None:
    """The process that holds the lock, and what is noted of it."""
    lock = folder / "lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _noted(lock)
    finally:
        os.close(descriptor)


def _noted(lock: Path) -> tuple[dict[str, Any], _Process] | None:
    """Raises ReconcileError where the lock does not say who holds it."""
    try:
        told = _told(lock)
        handle = os.pidfd_open(told["pid"])
    except ProcessLookupError:
        return None
    except (ValueError, KeyError, TypeError, OSError):
        raise ReconcileError(f"a process holds {lock}, and it cannot be told which; end it, and start again") from None
    if start_ticks(told["pid"]) != told["start_ticks"]:
        os.close(handle)
        return None
    return told, _Process(told["pid"], handle, 0)


def _told(lock: Path) -> dict[str, Any]:
    """What is noted; a process that has just been started takes a moment to say who it is."""
    told: dict[str, Any] = {}
    clock = Clock()
    while "pid" not in told and clock.now().alive_ms < BORN_WITHIN_MS:
        told = json.loads(lock.read_bytes())
        if "pid" not in told:
            pause(0.05)
    return told


def _end(process: _Process) -> None:
    """Asks it to end, kills it where it does not, and waits until it is gone."""
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.handle, number)
            if _is_readable(process.handle, GONE_WITHIN_S):
                break
        if process.child is not None:
            process.child.wait()
    finally:
        os.close(process.handle)


def _absolute(folder: Path | None) -> str:
    return "" if folder is None else str(folder.resolve())


def _is_readable(handle: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _note(lock: int, told: dict[str, Any]) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, canonical(told).encode(), 0)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8", opener=private) as file:
        file.write(text)
    os.replace(temporary, path)


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT`; an IPv6 address stands in brackets. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"--listen takes HOST:PORT, for example 127.0.0.1:8080, not '{text}'")
    return host, int(port)


def check_installed() -> None:
    """Raises UsageError where a library is missing that only listening needs."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--listen needs {', '.join(missing)}; install them with: pip install 'reconciler[listen]'")


def _bound(where: tuple[str, int]) -> socket.socket:
    """A socket that listens there. Raises UsageError."""
    host, port = where
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(resolved)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return bound
