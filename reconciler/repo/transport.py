"""How git speaks with a repository elsewhere: in a closed environment, within limits, with secrets that stand nowhere.

Nothing of the user's or the system's git settings counts, no hook, prompt, submodule or other protocol than the
address's. A password is in a file without a name that only git's own children inherit, and is given only to the site it is
for, whatever redirects lead elsewhere; it stands on no command line, in no variable, in no file of the clone. ssh takes a
key from a file alone: it is private, and removed with the session. What git says is redacted before it is repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path
from typing import Final

from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor
from reconciler.core.remote import Address
from reconciler.core.value import dataclass
from reconciler.errors import UsageError
from reconciler.repo.git import GitUnusable

#: A fetch may take this long, and a first one, which brings the whole history, so long; in seconds.
FETCH_TIMEOUT_S: Final = 600
CLONE_TIMEOUT_S: Final = 3600
#: Below so many bytes a second for so long, a transfer is given up.
SLOWEST: Final = 100
STALL_S: Final = 60
#: A connection over ssh must be made within this time, and answer within four of the second.
CONNECT_S: Final = 20
#: Of what git says, so much is read, and so much of a line repeated.
SAID_BYTES: Final = 64 * 1024
LINE_CHARACTERS: Final = 300

#: What a token is sent with where no user is named: the forges that heed a user's name beside a token take this one.
TOKEN_USER: Final = "x-access-token"

#: The only variables of ours that git is given, beside those that are made here.
_KEPT: Final = (
    "PATH", "TMPDIR", "LD_LIBRARY_PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",
    "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
)  # fmt: skip

#: git's settings for all that is done here. They stand in the place of the user's own.
_SETTINGS: Final = f"""\
[core]
	hooksPath = /dev/null
	fsmonitor = false
	askPass =
[safe]
	directory = *
[credential]
	helper =
[http]
	followRedirects = initial
	lowSpeedLimit = {SLOWEST}
	lowSpeedTime = {STALL_S}
[fetch]
	recurseSubmodules = false
[submodule]
	recurse = false
[gc]
	autoDetach = false
[maintenance]
	auto = false
[advice]
	detachedHead = false
"""

#: Lines of git's that say less than others, or nothing of what is wrong.
_DULL: Final = re.compile(
    r"(warning|hint|notice): |(fatal: )?(Could not read from remote repository|the remote end hung up)|"
    r"Please make sure you have|and the repository exists|From |error: RPC failed|\s*$|Warning: ",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """`password` may be a token. `known_hosts` are lines of a file of that name (ssh)."""

    username: str = ""
    password: Secret | None = None
    bearer: Secret | None = None
    ssh_key: Secret | None = None
    known_hosts: str = ""

    @property
    def secrets(self) -> list[Secret]:
        return [one for one in (self.password, self.bearer, self.ssh_key) if one is not None]


@dataclass(slots=True)
class Session:
    """git with the credentials at hand, for as long as the transport holds it open."""

    transport: Transport
    environment: Mapping[str, str]
    descriptors: Sequence[int]
    redactor: Redactor

    def run(self, git_dir: Path, *arguments: str, stdin: bytes = b"", timeout_s: int = FETCH_TIMEOUT_S) -> bytes:
        """git's answer. Raises GitUnusable with what it said, redacted."""
        return self.transport.run(self, git_dir, arguments, stdin, timeout_s)


@dataclass(slots=True)
class Transport:
    """The way to one address. `folder` is private, and holds what lives only for a session. `credentials` is asked at the
    beginning of each, and may raise."""

    address: Address
    folder: Path
    credentials: Callable[[], Credentials]
    _process: subprocess.Popen[bytes] | None = None
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Speaks with the remote. Raises what `credentials` raises."""
        found = self.credentials()
        with ExitStack() as stack:
            environment = self._environment() | {"GIT_ALLOW_PROTOCOL": self.address.scheme}
            settings: dict[str, str] = {}
            descriptors: list[int] = []
            if found.password is not None:
                said = f"username={found.username or TOKEN_USER}\npassword={found.password.reveal()}\n"
                descriptors.append(stack.enter_context(_nameless(said)))
                helper = f'!f() {{ test "$1" = get && cat /proc/self/fd/{descriptors[-1]}; }}; f'
                settings[f"credential.{self.address.site}.helper"] = helper
            if found.bearer is not None:
                said = (
                    f'[http "{self.address.site}/"]\n\textraHeader = "Authorization: Bearer {found.bearer.reveal()}"\n'
                )
                descriptors.append(stack.enter_context(_nameless(said)))
                settings |= {"include.path": f"/proc/self/fd/{descriptors[-1]}", "http.followRedirects": "false"}
            if self.address.scheme == "ssh":
                environment |= {"GIT_SSH_VARIANT": "ssh", "GIT_SSH_COMMAND": self._ssh(found, stack)}
                if found.ssh_key is None and "SSH_AUTH_SOCK" in os.environ:
                    environment["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
            yield Session(self, environment | _as_variables(settings), descriptors, Redactor(found.secrets))

    def local(self) -> Session:
        """Speaks with nobody: what git does within the clone."""
        return Session(self, self._environment() | {"GIT_ALLOW_PROTOCOL": ""}, (), Redactor(()))

    def close(self) -> None:
        """Ends what runs now, from any thread; nothing runs afterwards."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _kill(self._process)

    def sweep(self) -> None:
        """Removes what a session left that was killed."""
        for left in self.folder.glob("session-*"):
            shutil.rmtree(left, ignore_errors=True)

    # --- the environment --------------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        settings = self.folder / "gitconfig"
        if not settings.exists() or settings.read_text("utf-8") != _SETTINGS:
            write_private(settings, _SETTINGS)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return kept | {
            "LC_ALL": "C.UTF-8", "LANGUAGE": "C", "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(settings), "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1", "GCM_INTERACTIVE": "never",
        }  # fmt: skip

    def _ssh(self, found: Credentials, stack: ExitStack) -> str:
        """The command for ssh. Without a key of ours it is the user's ssh, with his agent and his known hosts; it never
        asks, and never trusts a host that it does not know."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes", "PermitLocalCommand=no",
                   f"ConnectTimeout={CONNECT_S}", f"ServerAliveInterval={CONNECT_S}", "ServerAliveCountMax=3"]  # fmt: skip
        words = ["ssh"]
        if found.ssh_key is not None or found.known_hosts:
            private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="session-", dir=self.folder)))
            if found.ssh_key is not None:
                key = write_private(private / "key", found.ssh_key.reveal().rstrip("\n") + "\n")
                words += ["-F", "none"]
                options += ["IdentitiesOnly=yes", "IdentityAgent=none", f"IdentityFile={_ssh_word(key)}"]
            if found.known_hosts:
                hosts = write_private(private / "known_hosts", found.known_hosts.rstrip("\n") + "\n")
                options += [f"UserKnownHostsFile={_ssh_word(hosts)}", "GlobalKnownHostsFile=/dev/null"]
        return shlex.join([*words, *(word for option in options for word in ("-o", option))])

    # --- running ----------------------------------------------------------------------------------------------------

    def run(
        self, session: Session, git_dir: Path, arguments: Sequence[str], stdin: bytes, timeout_s: int
    ) -> bytes:  # fmt: skip
        """For sessions: one command, to its end or that of its time."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as asked:
            asked.write(stdin)
            asked.seek(0)
            process = self._start(session, [f"--git-dir={git_dir}", *arguments], asked.fileno(), said.fileno())
            try:
                answer, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise GitUnusable(f"'{_name(arguments)}' did not end within {timeout_s} seconds.") from None
            finally:
                self._end(process)
            said.seek(0)
            words = said.read(SAID_BYTES).decode("utf-8", "replace")
        if self._closed:
            raise GitUnusable(f"'{_name(arguments)}' was interrupted.")
        if process.returncode != 0:
            raise GitUnusable(f"'{_name(arguments)}' failed: {_reason(session.redactor.redact(words))}.")
        return answer

    def _start(self, session: Session, arguments: Sequence[str], stdin: int, stderr: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise GitUnusable("The clone is closed.")
            try:
                self._process = subprocess.Popen(
                    ["git", "--no-pager", *arguments], env=session.environment, cwd=self.folder, stdin=stdin,
                    stdout=subprocess.PIPE, stderr=stderr, pass_fds=list(session.descriptors), start_new_session=True,
                    umask=0o077,
                )  # fmt: skip
            except FileNotFoundError as error:
                raise GitUnusable("The program 'git' was not found.", missing=True) from error
            except OSError as error:
                raise GitUnusable(f"'git' could not be started: {error.strerror}.") from error
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """A command that was given up goes with all that it has started."""
        with self._lock:
            _kill(process)
            self._process = None
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _nameless(text: str) -> Iterator[int]:
    """A file in memory, without a name."""
    descriptor = os.memfd_create("reconcile", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode())
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> Path:
    """A file that nobody else may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _ssh_word(path: Path) -> str:
    """A path as ssh's options take it."""
    text = os.fspath(path)
    if '"' in text:
        raise UsageError(f"ssh cannot be given a file in a folder whose name holds a quote: {text}")
    return '"' + text.replace("%", "%%") + '"'


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """git's settings as variables of its environment, which its children inherit."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(sorted(settings.items())):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def _name(arguments: Sequence[str]) -> str:
    """`git fetch`: the command without what goes before it."""
    words = iter(arguments)
    name = next(words)
    while name == "-c":
        next(words)
        name = next(words)
    return f"git {name}"


def _reason(said: str) -> str:
    """The line that says most of what is wrong."""
    lines = [line.strip() for line in said.replace("\r", "\n").splitlines() if line.strip()]
    telling = [line for line in lines if not _DULL.match(line)]
    words = (telling or lines or ["it gave no reason"])[0]
    if words.endswith(":") and len(telling) > 1:
        words = f"{words} {telling[1]}"
    words = re.sub(r"^(?:(?:fatal|error|remote|ERROR): ?)+", "", words).strip() or "it gave no reason"
    return "".join(one if one.isprintable() else "?" for one in words)[:LINE_CHARACTERS].rstrip(".")
