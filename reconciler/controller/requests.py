"""What a person asks of the controller that writes the record: a file in `<state>/requests/`, and the answer beside it.

    NAME.json          asked: written whole, then renamed to this; its asker holds a lock on it as long as it waits
    NAME.taken         the controller is at it
    NAME.answer.json   what came of it
    doorbell           a FIFO that the controller listens on; a byte wakes it

The lock says whether anybody still waits: a request whose asker is gone is discarded, never done behind its back. A
request that a dying controller had taken is done again by the next one, or by its asker; so a deed must bear being done
twice. Without a controller the asker takes the record's lock and does it itself. Where no FIFO can be made, a request
waits until the loop wakes by itself, 10 s at most.

A request is at most 64 KiB; its asker waits for 30 s; 100 are served in one turn of the loop; an answer that nobody
fetched goes after an hour. Who asks is the owner of the file, whatever the file says.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Clock, Now, pause
from reconciler.core.forgotten import keyed_hash
from reconciler.core.value import dataclass
from reconciler.errors import Blocked, Locked, ReconcileError, RecordUnusable, UsageError
from reconciler.record.holder import controller_at_work

if TYPE_CHECKING:
    from reconciler.controller.building import Builder
    from reconciler.controller.lives import Lives
    from reconciler.core.provider import Catalogue
    from reconciler.record.store import Record

FOLDER: Final = "requests"
DOORBELL: Final = "doorbell"
ASKED: Final = ".json"
TAKEN: Final = ".taken"
ANSWER: Final = ".answer.json"
#: Bytes of a request or an answer.
MAX_BYTES: Final = 64 * 1024
#: Requests that are served in one turn of the loop.
MAX_AT_ONCE: Final = 100
#: How long an answer waits for somebody who fetches it.
ANSWER_KEPT_MS: Final = 3_600_000
#: How long an asker waits, and how often it looks.
PATIENCE_S: Final = 30.0
LOOK_S: Final = 0.02
#: Of a name that a refused request gave, so many characters are noted.
MAX_NAME: Final = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`do` names the deed, `arguments` are what it needs to know (JSON-able), `by` is who asks."""

    do: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""

    def text(self, name: str) -> str:
        """An argument that is a text. Raises UsageError."""
        value = self.arguments.get(name)
        if not isinstance(value, str) or not value:
            raise UsageError(f"the request '{self.do}' does not say its '{name}'")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request. `code` is the exit code of the command that asked; `message` whole sentences; `facts` are for
    the asker's own use (JSON-able). `then` is what is to be done to the world once the record holds what was done.
    `again`: it was done when it was asked for before, and is noted no second time."""

    message: str
    code: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[], None] | None = None
    again: bool = False

    def checked(self) -> Answer:
        """Itself, where it was done. Raises Blocked, UsageError or ReconcileError for a refusal."""
        if self.code:
            raise _REFUSALS.get(self.code, ReconcileError)(self.message)
        return self


_REFUSALS: Final[Mapping[int, type[ReconcileError]]] = {one.exit_code: one for one in (UsageError, Blocked)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """How a deed stands in the audit log: the kind of thing that it is done to, the argument that names it, and those that
    say what exactly was asked. `secret` names an argument that stands there as a keyed hash, under that of the argument
    which says what kind of identifier it is."""

    kind: str = ""
    name: str = ""
    says: tuple[str, ...] = ()
    secret: tuple[str, str] | None = None


#: The acts of persons. What only looks is not among them; of a deed that is not, only its own name is noted.
ACTS: Final[Mapping[str, Act | None]] = {
    "approve": Act(kind="Job", name="job", says=("digest",)),
    "approve-prune": Act(says=("digest",)),
    "approve-upload": Act(kind="Stream", name="stream", says=("digest",)),
    "undelete": Act(kind="Job", name="job"),
    "retry": Act(kind="Job", name="job", says=("what",)),
    "forget": Act(secret=("key", "value")),
    "stream-drop": Act(kind="Stream", name="name"),
    "rebuild": Act(),
    "rebuild-look": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a deed works with. `builder` is None where no loop runs that could follow a build. `look` has the loop look at
    once at what is declared, `fold` at what was accepted over HTTP."""

    record: Record
    lives: Lives
    catalogue: Callable[[], Catalogue]
    builder: Builder | None = None
    look: Callable[[], None] = lambda: None
    fold: Callable[[], None] = lambda: None


#: Does what is asked, inside a transaction of the record. Raises ReconcileError to refuse it. Done twice, it is as if done once.
Deed = Callable[[Desk, Request, Now], Answer]


def do(deeds: Mapping[str, Deed], desk: Desk, request: Request, now: Now) -> Answer:
    """Does what is asked, whole or not at all; the audit log tells of both. Raises RecordUnusable."""
    deed = deeds.get(request.do)
    if deed is None:
        return Answer(message=f"this reconcile knows no request '{request.do}'", code=UsageError.exit_code)
    try:
        with desk.record.transaction():
            answer = deed(desk, request, now)
            note(desk.record, request, answer, now)
    except RecordUnusable:
        raise
    except ReconcileError as error:
        answer = Answer(message=str(error), code=error.exit_code)
        note(desk.record, request, answer, now)
        return answer
    if answer.then is not None:
        answer.then()
    return answer


def note(record: Record, request: Request, answer: Answer, now: Now) -> None:
    """The request in the audit log, done or refused."""
    from reconciler.core.audit import DONE, MAX_REASON, REFUSED, Deed

    act = ACTS.get(request.do, Act())
    if act is None or answer.again:
        return
    arguments = {name: value for name, value in request.arguments.items() if isinstance(value, str)}
    says = [f"{name} {arguments[name]}" for name in act.says if name in arguments]
    says += [f"{name} {value}" for name, value in sorted(answer.facts.items()) if name in ("request", "build")]
    if act.secret is not None:
        key, value = (arguments.get(name, "") for name in act.secret)
        says.append(f"hash {keyed_hash(str(record.setting('secret_key')), key, value)}")
    deed = Deed(
        time_ms=now.wall_ms,
        action=request.do,
        actor=request.by,
        kind=act.kind,
        name=arguments.get(act.name, "")[:MAX_NAME],
        reason=", ".join(says)[:MAX_REASON],
        outcome=REFUSED if answer.code else DONE,
    )
    with record.transaction():
        record.audit.append(record.audit.with_what_is_there([deed]))


# --- the controller's side ------------------------------------------------------------------------------------------


class Inbox:
    """The requests that a controller serves. A context manager: inside it, its doorbell is heard."""

    def __init__(self, state: Path, deeds: Mapping[str, Deed]) -> None:
        self._folder = state / FOLDER
        self._deeds = deeds
        self._bell: int | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """What becomes readable when somebody asks; empty where no FIFO could be made."""
        return () if self._bell is None else (self._bell,)

    def serve(self, desk: Desk, now: Now) -> int:
        """Does what is asked, oldest first, and answers; how many requests were done or refused."""
        self._hush()
        served = 0
        for path in self._asked()[:MAX_AT_ONCE]:
            served += self._serve(path, desk, now)
        if served:
            self._sweep(now)
        return served

    def __enter__(self) -> Inbox:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob(f"*{TAKEN}"):
            with suppress(FileNotFoundError):  # its asker has just taken it back
                path.rename(path.with_suffix(ASKED))
        self._bell = _hang(self._folder / DOORBELL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bell is not None:
            (self._folder / DOORBELL).unlink(missing_ok=True)
            os.close(self._bell)
            self._bell = None

    def _hush(self) -> None:
        with suppress(BlockingIOError):
            while self._bell is not None and os.read(self._bell, 4096):
                pass

    def _asked(self) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        found = [self._folder / one for one in names if one.endswith(ASKED) and not one.endswith(ANSWER)]
        return sorted(found, key=_written_s)

    def _serve(self, path: Path, desk: Desk, now: Now) -> int:
        taken = path.with_suffix(TAKEN)
        read = _read_request(path)
        try:
            if read is None:
                path.unlink()
                return 0
            path.rename(taken)
        except OSError:  # taken back, or nothing that an asker has put there
            return 0
        answer = do(self._deeds, desk, read, now) if isinstance(read, Request) else read
        with suppress(OSError):  # a full disk: what was done is done, and its asker is told that there is no answer
            said = {"message": answer.message, "code": answer.code, "facts": dict(answer.facts)}
            _put(self._folder, path.stem + ANSWER, said)
            taken.unlink(missing_ok=True)
        return 1

    def _sweep(self, now: Now) -> None:
        for path in (*self._folder.glob(f"*{ANSWER}"), *self._folder.glob(".*.tmp")):
            if now.wall_ms - _written_s(path) * 1000 > ANSWER_KEPT_MS:
                path.unlink(missing_ok=True)


def _hang(path: Path) -> int | None:
    """The doorbell's descriptor. It is open for writing too, so that it never ends when an asker closes it."""
    try:
        if not (path.exists() and stat.S_ISFIFO(path.lstat().st_mode)):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a file system without FIFOs
        return None


def _written_s(path: Path) -> float:
    """When a file was written, in seconds."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_request(path: Path) -> Request | Answer | None:
    """The request, or why it cannot be read; None where nobody waits for it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or not _is_locked(fd):
            return None
        return _request_of(os.read(fd, MAX_BYTES + 1), user_name(about.st_uid))
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    """Whether the asker still holds its request."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _request_of(text: bytes, by: str) -> Request | Answer:
    refused = Answer(message="the request cannot be read", code=UsageError.exit_code)
    if len(text) > MAX_BYTES:
        return refused
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return refused
    match value:
        case {"do": str(do), "arguments": dict(arguments)}:
            return Request(do=do, arguments=arguments, by=by)
        case _:
            return refused


def user_name(uid: int) -> str:
    """The name of a user of this machine; the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _put(folder: Path, name: str, value: Mapping[str, Any]) -> None:
    """A file that is there whole, or not at all, readable by its owner alone."""
    fd = _written(folder / f".{name}.tmp", value)
    os.close(fd)
    os.replace(folder / f".{name}.tmp", folder / name)


def _written(path: Path, value: Mapping[str, Any]) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.write(fd, json.dumps(value).encode("ascii"))
    os.fsync(fd)
    return fd


# --- the asker's side -----------------------------------------------------------------------------------------------


class Asked:
    """A request that was put before the controller. Closing it takes it back, or its answer away."""

    def __init__(self, state: Path, request: Request) -> None:
        folder = state / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._asked, self._taken, self._answer = (folder / f"{name}{one}" for one in (ASKED, TAKEN, ANSWER))
        beside = folder / f".{name}.tmp"
        self._fd = _written(beside, {"do": request.do, "arguments": dict(request.arguments)})
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.replace(beside, self._asked)
        _ring(folder / DOORBELL)

    def answer(self) -> Answer | None:
        """The answer, once it is there."""
        try:
            text = self._answer.read_bytes()[: MAX_BYTES + 1]
        except FileNotFoundError:
            return None
        value = json.loads(text)
        return Answer(message=str(value["message"]), code=int(value["code"]), facts=value["facts"])

    def take_back(self) -> bool:
        """Whether the request is as if it had never been asked: no controller will do it."""
        return _unlinked(self._asked)

    def take_over(self) -> bool:
        """Whether the request is left to the asker. Only where no controller is at work."""
        if self._answer.exists() or not (_unlinked(self._asked) or _unlinked(self._taken)):
            return False
        self.close()
        return True

    def close(self) -> None:
        for path in (self._asked, self._answer):
            path.unlink(missing_ok=True)
        os.close(self._fd)


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _ring(path: Path) -> None:
    """Wakes the controller, where one listens."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    with suppress(OSError):
        os.write(fd, b"r")
    os.close(fd)


def ask(state: Path, request: Request, alone: Callable[[], Answer], *, patience_s: float = PATIENCE_S) -> Answer:
    """What comes of a request: the controller at work is asked; where there is none, `alone` does it, which raises Locked
    if one has just begun. Raises Blocked where the controller does not answer in time."""
    asked: Asked | None = None
    clock = Clock()
    try:
        while clock.now().alive_ms < patience_s * 1000:
            if controller_at_work(state) is None and (asked is None or asked.take_over()):
                asked = None
                with suppress(Locked):
                    return alone()
            asked = asked or Asked(state, request)
            answer = asked.answer()
            if answer is not None:
                return answer
            pause(LOOK_S)
        raise Blocked(_unanswered(state, asked, patience_s))
    finally:
        if asked is not None:
            asked.close()


def _unanswered(state: Path, asked: Asked | None, patience_s: float) -> str:
    who = f"the reconcile that is at work on {state} (pid {controller_at_work(state)})"
    if asked is None or asked.take_back():
        return f"{who} has not answered within {patience_s:g} s; nothing was done"
    return f"{who} has taken the request and not answered within {patience_s:g} s; look whether it was done before you ask again"
