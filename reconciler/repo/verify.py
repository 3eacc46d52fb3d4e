"""Which commits may be the desired state where only signed ones may (`verify:` in reconciler.yaml).

git checks the signature (`git verify-commit`), against nothing but the keys that the operator names: OpenPGP keys in a
keyring made for this one question, SSH keys in a file of allowed signers, never the user's own and never any that lie in
the commit that is judged. The programs are fixed whatever a repository's configuration says, nothing is fetched from key
servers, and what `git replace` put in a commit's place is not looked at. A signature vouches for the commit's tree and
history, so the newest commit alone is judged.

Keys are read anew whenever a commit is judged, so that one which was taken back counts no more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from reconciler.clock import Clock, utc
from reconciler.core.value import dataclass
from reconciler.errors import ReconcileError, UsageError
from reconciler.repo.git import GIT_TIMEOUT_S
from reconciler.repo.refs import revision
from reconciler.repo.source import Head, Source, Watching

#: One key, or file of keys, may have so many bytes.
MAX_KEY_BYTES: Final = 1 << 20

_PGP: Final = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_PRIVATE: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_SSH_TYPE: Final = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+")
_WORD: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')
_UNTIL: Final = re.compile(r'valid-before="?(\d{8}(?:\d{4}(?:\d{2})?)?)(Z?)"?', re.IGNORECASE)
_FROM: Final = re.compile(r'valid-after="?(\d{8}(?:\d{4}(?:\d{2})?)?)(Z?)"?', re.IGNORECASE)

#: What gpg is told in its own folder: to ask no server and start no daemon, whatever the system's settings say.
_GPG_SETTINGS: Final = "no-auto-key-retrieve\nno-auto-key-import\ndisable-dirmngr\nno-autostart\nbatch\nno-tty\n"

#: What is wrong, by the status lines that gpg writes (gnupg's doc/DETAILS); the first that stands there counts. `{who}` is
#: the key's id and, where gpg knows it, its owner.
_PGP_FAULTS: Final = (
    ("NO_PUBKEY", "it is signed with the key {who}, which verify.keys does not hold"),
    ("BADSIG", "its signature is not of this content, although it names the key {who}"),
    ("REVKEYSIG", "the key {who} that signed it has been revoked"),
    ("EXPKEYSIG", "the key {who} that signed it has expired"),
    ("EXPSIG", "its signature, by the key {who}, has expired"),
)
_SSH_KEY: Final = re.compile(r"with (\S+) key (SHA256:[A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class Keys:
    """Public keys: OpenPGP blocks with their place in the settings, and lines of allowed signers with what is wrong with
    their time (empty: nothing)."""

    pgp: tuple[tuple[str, bytes], ...]
    ssh: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.pgp, self.ssh)).encode()).hexdigest()


class Verifier:
    """Judges commits by the keys that `keys` names: paths relative to `folder`, or the keys themselves. Raises UsageError
    where they are no keys, or a program that checks them is missing."""

    def __init__(self, keys: Sequence[str], folder: Path, clock: Clock) -> None:
        self._keys = keys
        self._folder = folder
        self._clock = clock
        self._judged: tuple[str, str, str] = ("", "", "")
        found = self._read()
        _check_programs(found)
        with _place(found):
            pass

    def refusal(self, git_dir: Path, commit: str) -> str:
        """Why the commit is not accepted, as a clause; empty where it is."""
        try:
            found = self._read()
            if self._judged[:2] != (commit, found.digest):
                self._judged = (commit, found.digest, _judge(git_dir, commit, found))
        except ReconcileError as error:
            return str(error).rstrip(".")
        return self._judged[2]

    def _read(self) -> Keys:
        pgp: list[tuple[str, bytes]] = []
        ssh: list[tuple[str, str]] = []
        for number, text in enumerate(self._keys):
            where = f"verify.keys[{number}]"
            content = _content(where, text, self._folder)
            if _PRIVATE.search(content):
                raise UsageError(f"{where} is a private key; name the public one")
            lines = [] if _PGP in content else list(_signers(where, content, self._clock.now().wall_ms))
            ssh += lines
            if not lines:
                pgp.append((where, content))
        return Keys(tuple(pgp), tuple(ssh))


class VerifiedSource:
    """A source of which only what the verifier accepts is believed: a commit that is refused leaves the last one that was
    accepted."""

    def __init__(self, source: Source, verifier: Verifier) -> None:
        self._source = source
        self._verifier = verifier
        self._accepted = Head()

    @property
    def name(self) -> str:
        return self._source.name

    def head(self) -> Head:
        found = self._source.head()
        if not found.commit or found.repository is None:
            return found
        why = self._verifier.refusal(found.repository.git_dir, found.commit)
        if not why:
            self._accepted = found
            return found
        why = refused(found.repository.git_dir, found.commit, why)
        return replace(self._accepted, why=why, refused=revision(found.name, found.commit))

    def watch(self, wake: Callable[[], None]) -> Watching:
        return self._source.watch(wake)

    def ask(self) -> None:
        self._source.ask()

    def close(self) -> None:
        self._source.close()


def _content(where: str, text: str, folder: Path) -> bytes:
    """The bytes of a key that stands in the settings, or of the file that is named there."""
    said = text.strip()
    if "-----BEGIN" in said or _key_of(_words(said)) is not None:
        return text.encode()
    try:
        with open(folder / said, "rb") as file:
            content = file.read(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{where}: the file '{said[:200]}' cannot be read: {reason}") from None
    if len(content) > MAX_KEY_BYTES:
        raise UsageError(f"{where}: the file '{said[:200]}' is larger than {MAX_KEY_BYTES >> 20} MiB")
    return content


# --- SSH ------------------------------------------------------------------------------------------------------------


def _signers(where: str, content: bytes, now_ms: int) -> Iterator[tuple[str, str]]:
    """The lines of allowed signers (ssh-keygen(1)) in a text of such lines, or of public keys; none where it is neither."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return
    for number, line in enumerate(lines, 1):
        words = _words(line.strip())
        if not words or words[0].startswith("#"):
            continue
        at = _key_of(words)
        if at is None:
            raise UsageError(f"{where}: line {number} is no public key, of OpenPGP or SSH, and no allowed signer")
        who = words[0] if at else _principal(words[2:])
        options = [one for one in words[1:at] if at]
        yield " ".join([who, *options, *words[at : at + 2]]), _out_of_time(options, now_ms)


def _words(line: str) -> list[str]:
    return _WORD.findall(line) if len(line) <= MAX_KEY_BYTES else []


def _key_of(words: Sequence[str]) -> int | None:
    """Where an SSH key stands among the words of a line: its type, then its base64; None where none does."""
    for at, (kind, text) in enumerate(pairwise(words)):
        if at > 2:
            return None
        if _SSH_TYPE.fullmatch(kind):
            try:
                return at if base64.b64decode(text, validate=True)[4:].startswith(kind.encode()) else None
            except binascii.Error:
                return None
    return None


def _principal(comment: Sequence[str]) -> str:
    """The name of a bare key's owner, without what would be a pattern."""
    return re.sub(r"[^\w@.+-]", "", comment[0] if comment else "") or "signer"


def _out_of_time(options: Sequence[str], now_ms: int) -> str:
    """What is wrong with a signer now. git would ask for the commit's own time, which whoever signs may choose."""
    for option in options:
        until, since = _UNTIL.search(option), _FROM.search(option)
        if until and _time(until) <= utc(now_ms):
            return "has expired"
        if since and _time(since) > utc(now_ms):
            return "is not valid yet"
    return ""


def _time(found: re.Match[str]) -> datetime:
    """ssh-keygen(1): YYYYMMDD or YYYYMMDDHHMM[SS], local time without a Z."""
    text = found[1].ljust(14, "0")
    time = datetime.strptime(text, "%Y%m%d%H%M%S")
    return time.replace(tzinfo=UTC) if found[2] else time.astimezone()


# --- judging --------------------------------------------------------------------------------------------------------


def _judge(git_dir: Path, commit: str, keys: Keys) -> str:
    header = _signature(git_dir, commit)
    if not header:
        return "it is not signed"
    if "PGP" not in header and "SSH" not in header:
        return f"its signature is of a kind that is not accepted ({header.strip('- ')[:60]}); sign with GPG or SSH"
    with _place(keys) as place:
        options = {
            "gpg.program": "gpg",
            "gpg.openpgp.program": "gpg",
            "gpg.ssh.program": "ssh-keygen",
            "gpg.x509.program": "false",
            "gpg.minTrustLevel": "undefined",
            "gpg.ssh.allowedSignersFile": str(place / "signers"),
            "gpg.ssh.revocationFile": str(place / "revoked"),
        }
        settings = [word for name, value in sorted(options.items()) for word in ("-c", f"{name}={value}")]
        done = _run(["git", *settings, *_at(git_dir), "verify-commit", "--raw", commit], place)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    return _pgp_fault(said, done.returncode) if "PGP" in header else _ssh_fault(said, done.returncode, keys)


def _at(git_dir: Path) -> list[str]:
    return ["-c", "safe.directory=*", f"--git-dir={git_dir}"]


def _signature(git_dir: Path, commit: str) -> str:
    """The first line of the commit's signature; empty where it has none."""
    done = _run(["git", *_at(git_dir), "cat-file", "commit", commit], git_dir)
    if done.returncode != 0:
        raise ReconcileError(f"The commit {commit} cannot be read.")
    head = done.stdout.partition(b"\n\n")[0].decode("utf-8", "replace")
    return next(
        (one.partition(" ")[2] for one in head.split("\n") if one.startswith(("gpgsig ", "gpgsig-sha256 "))), ""
    )


def refused(git_dir: Path, commit: str, why: str) -> str:
    """Which commit is refused, whose it is, and why: a clause."""
    form = ["log", "-1", "--no-show-signature", "--no-mailmap", "--format=%an <%ae>", commit]
    done = _run(["git", *_at(git_dir), *form], git_dir)
    person = _printable(done.stdout.decode("utf-8", "replace").strip()) if done.returncode == 0 else "an unknown author"
    return f"commit {commit[:12]} by {person} is refused: {why}"


def _pgp_fault(said: str, code: int) -> str:
    status = {
        words[1]: words[2:] for line in said.splitlines() if (words := line.split())[:1] == ["[GNUPG:]"] and words[1:]
    }
    for name, fault in _PGP_FAULTS:
        if name in status:
            return fault.replace("{who}", _printable(" ".join(status[name])))
    if code == 0 and {"GOODSIG", "VALIDSIG"} <= status.keys():
        return ""
    return "its signature cannot be verified"


def _ssh_fault(said: str, code: int, keys: Keys) -> str:
    if code == 0 and said.startswith('Good "git" signature for '):
        return ""
    key = _SSH_KEY.search(said)
    if key is None:
        return "its signature is not of this content"
    late = next((fault for line, fault in keys.ssh if fault and _fingerprint(line) == key[2]), "")
    if late:
        return f"the {key[1]} key {key[2]} that signed it {late}"
    return f"it is signed with the {key[1]} key {key[2]}, which verify.keys does not hold"


def _fingerprint(line: str) -> str:
    text = line.rsplit(" ", 1)[1]
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(text)).digest()).decode().rstrip("=")


def _printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable())[:200]


# --- programs -------------------------------------------------------------------------------------------------------


@contextmanager
def _place(keys: Keys) -> Iterator[Path]:
    """A folder of this question's own that holds the keys: a keyring, and a file of allowed signers."""
    with tempfile.TemporaryDirectory(prefix="reconcile-keys-") as folder:
        place = Path(folder)
        (place / "gpg.conf").write_text(_GPG_SETTINGS, "ascii")
        (place / "signers").write_text("".join(f"{line}\n" for line, fault in keys.ssh if not fault), "utf-8")
        (place / "revoked").touch()
        for where, block in keys.pgp:
            done = _run(["gpg", "--batch", "--status-fd", "1", "--import"], place, block)
            if b"[GNUPG:] IMPORT_OK" not in done.stdout:
                raise UsageError(f"{where} is no public key, of OpenPGP or SSH")
        yield place


def _check_programs(keys: Keys) -> None:
    for wanted, program, package in ((keys.pgp, "gpg", "gnupg"), (keys.ssh, "ssh-keygen", "openssh-client")):
        if wanted and shutil.which(program) is None:
            raise UsageError(f"verify.keys needs the program {program}; install {package}")


def _run(command: Sequence[str], place: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, env=_environment(place), timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it did not end within {GIT_TIMEOUT_S} seconds"
        raise ReconcileError(f"'{command[0]}' could not be run: {reason}.") from error


def _environment(place: Path) -> Mapping[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(place), "GNUPGHOME": str(place),
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
