"""What git knows of the root, asked of plain `git` and, where a pass with nothing to do must stay cheap, read from
git's own files: HEAD, refs, and the marks that git leaves while it works.

Nothing here writes: `--no-optional-locks` keeps even the index as it was, no hook, pager, signature check, file-system
monitor or lazy fetch runs, and variables of a git that may have started us (`GIT_DIR` in a hook) are not handed on.
A repository that git refuses to read (`safe.directory`) is a `GitUnusable` with git's own words.
"""

from __future__ import annotations

import os
import posixpath
import re
from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from reconciler.core.value import dataclass
from reconciler.errors import ReconcileError
from reconciler.repo.names import is_hidden, is_ours, is_spec_path

#: One git command may take this long, in seconds.
GIT_TIMEOUT_S: Final = 120

#: A blob above this size is not a spec, and is skipped; the same limit as for files.
MAX_BLOB_BYTES: Final = 1 << 20

#: Beyond this many paths a command is given the whole root instead.
MAX_ARGUMENTS: Final = 200

#: What git leaves in its folder while it works, and what that means.
BUSY_MARKS: Final[Mapping[str, str]] = {
    "index.lock": "git's index.lock stands; if no git command is running, remove it",
    "HEAD.lock": "git's HEAD.lock stands; if no git command is running, remove it",
    "MERGE_HEAD": "a merge is in progress",
    "rebase-merge": "a rebase is in progress",
    "rebase-apply": "a rebase is in progress",
    "CHERRY_PICK_HEAD": "a cherry-pick is in progress",
    "REVERT_HEAD": "a revert is in progress",
    "BISECT_LOG": "a bisect is in progress",
}

_COMMAND: Final = (
    "git", "--no-optional-locks", "--literal-pathspecs", "--no-pager",
    "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "core.hooksPath=/dev/null",
    "-c", "log.showSignature=false", "-c", "log.showRoot=true", "-c", "log.mailmap=true",
)  # fmt: skip
_STRANGERS: Final = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_TRACE", "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS", "GIT_CEILING_DIRECTORIES",
})  # fmt: skip
#: The modes of a link and of a submodule in a tree, as git writes them.
LINK: Final = "120000"
SUBMODULE: Final = "160000"
#: So many links are followed to find out where one leads; the kernel follows no more either.
LINKS_DEEP: Final = 40
#: A whole hash.
OBJECT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SYMBOLIC_DEPTH: Final = 5


class GitUnusable(ReconcileError):
    """git could not answer. `missing` says that there is no git program at all."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Moment:
    """git's state at one moment, as far as its own files tell: the commit, why the work tree may be in the making
    (None where it is not), marks that differ after any command that wrote, and when the last of them did."""

    head: str | None
    busy: str | None
    marks: tuple[int, ...]
    touched_ns: int


class Reading(NamedTuple):
    """What is read of a commit, by paths relative to the root. `blobs` are the specs. `over` are, for each that is read through
    links, these links and the file: whoever changed one of them changed the spec."""

    blobs: dict[str, str]
    over: dict[str, tuple[str, ...]]
    submodules: list[str]

    def add(self, path: str, blob: str, over: tuple[str, ...]) -> None:
        self.blobs[path] = blob
        self.over[path] = over


@dataclass(frozen=True, slots=True)
class Repository:
    """The git work tree that the root lies in. `prefix` is the root's path within it: empty, or ending in a slash.
    Paths that go in and come out are relative to the root."""

    top: Path
    git_dir: Path
    common_dir: Path
    prefix: str

    @classmethod
    def open(cls, root: Path) -> Repository | None:
        """The repository that holds `root`, None where it is in no work tree. Starts no process."""
        try:
            real = root.resolve(strict=True)
        except OSError:
            return None
        for top in (real, *real.parents):
            git_dir = _git_dir(top / ".git")
            if git_dir is not None:
                prefix = real.relative_to(top).as_posix()
                return cls(top, git_dir, _common_dir(git_dir), "" if prefix == "." else f"{prefix}/")
        return None

    @classmethod
    def around(cls, root: Path) -> Repository | None:
        """The repository, bare ones too, that a folder lies in by its path, whether or not it is on disk: where a commit
        is read, what the work tree holds at that path says nothing. Starts no process."""
        path = Path(os.path.abspath(root))
        for top in (path, *path.parents):
            prefix = path.relative_to(top).as_posix()
            found = cls.at(top, "" if prefix == "." else f"{prefix}/")
            if found is not None:
                return found
        return cls.open(root)

    @classmethod
    def at(cls, top: Path, prefix: str) -> Repository | None:
        """The repository whose work tree begins at `top`, or that is bare and lies there."""
        git_dir = _git_dir(top / ".git")
        if git_dir is None and (top / "HEAD").is_file() and (top / "objects").is_dir() and (top / "refs").is_dir():
            git_dir = top
        return None if git_dir is None else cls(top, git_dir, _common_dir(git_dir), prefix)

    # --- read from git's own files ----------------------------------------------------------------------------------

    def moment(self) -> Moment:
        """Costs a listing and two stats; a repository that has gone has no head."""
        try:
            names = set(os.listdir(self.git_dir))
            folder = os.stat(self.git_dir)
        except OSError:
            return Moment(None, None, (), 0)
        busy = next((text for mark, text in BUSY_MARKS.items() if mark in names), None)
        try:
            index = os.stat(self.git_dir / "index")
        except OSError:
            return Moment(self.head(), busy, (folder.st_mtime_ns,), folder.st_mtime_ns)
        marks = (folder.st_mtime_ns, index.st_mtime_ns, index.st_ino, index.st_size)
        return Moment(self.head(), busy, marks, max(folder.st_mtime_ns, index.st_ctime_ns))

    def head(self) -> str | None:
        """The commit that HEAD names; None for a branch without commits."""
        text = _line(self.git_dir / "HEAD")
        if text == "ref: refs/heads/.invalid":  # refs are kept in a form of their own, which only git reads
            return self._resolve("HEAD")
        return self._followed(text)

    def ref(self, name: str) -> str | None:
        """The object that a ref of this whole name (`refs/heads/main`) leads to; None where there is no such ref."""
        if (self.common_dir / "reftable").is_dir():
            return self._resolve(name)
        return self._followed(f"ref: {name}")

    def _followed(self, text: str) -> str | None:
        """The object that the text of a ref's file leads to."""
        for _ in range(_SYMBOLIC_DEPTH):
            if not text.startswith("ref:"):
                return text if OBJECT.fullmatch(text) else None
            ref = text[4:].strip()
            if ".." in ref or not ref.startswith("refs/"):
                return None
            text = _line(self.git_dir / ref) or _line(self.common_dir / ref) or self._packed(ref)
        return None

    def branch(self) -> str:
        """The branch's short name; `HEAD` where it is detached."""
        text = _line(self.git_dir / "HEAD")
        return text[4:].strip().removeprefix("refs/heads/") if text.startswith("ref:") else "HEAD"

    def revision(self) -> str:
        """`main@sha1:…`, empty for a branch without commits."""
        head = self.head()
        if head is None:
            return ""
        return f"{self.branch()}@{'sha1' if len(head) == 40 else 'sha256'}:{head}"

    def shallow(self) -> frozenset[str]:
        """The commits at which history was cut off: they seem to have made every file they hold."""
        try:
            return frozenset((self.common_dir / "shallow").read_text("ascii").split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def _packed(self, ref: str) -> str:
        try:
            packed = (self.common_dir / "packed-refs").read_bytes()
        except OSError:
            return ""
        wanted = b" " + os.fsencode(ref) + b"\n"
        end = packed.find(wanted)
        return packed[packed.rfind(b"\n", 0, end) + 1 : end].decode("ascii", "replace") if end >= 0 else ""

    def _resolve(self, name: str) -> str | None:
        try:
            answer = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", name)
            return answer.decode("ascii").strip() or None
        except GitUnusable:
            return None

    # --- asked of git -----------------------------------------------------------------------------------------------

    def read(self, commit: str) -> Reading:
        """What a walk of the root would read of a commit: its spec files, and what links lead to that is not read without
        them. Raises GitUnusable for a commit that is gone, and where this clone lacks what a link says."""
        files: dict[str, str] = {}
        links: dict[str, str] = {}
        submodules: dict[str, str] = {}
        for path, mode, blob in self._listed(commit):
            (links if mode == LINK else submodules if mode == SUBMODULE else files)[path] = blob
        found = Reading({path: blob for path, blob in files.items() if is_spec_path(path)}, {}, sorted(submodules))
        if links:
            targets = {path: os.fsdecode(target) for path, target in self.contents(links).items()}
            if len(targets) < len(links):
                raise GitUnusable(f"Links of commit {commit[:12]} are not in this clone, which is partial (promisor).")
            _follow(found, files, targets, self.prefix)
        return found

    def _listed(self, commit: str) -> Iterator[tuple[str, str, str]]:
        """The files, links and submodules of a commit's tree below the root: path, mode and id."""
        scope = ("--", self.prefix) if self.prefix else ()
        for line in self.run("ls-tree", "-r", "-z", "--full-tree", commit, *scope).split(b"\0"):
            about, _, name = line.partition(b"\t")
            path = os.fsdecode(name)
            if name and path.startswith(self.prefix):
                mode, _, blob = about.decode("ascii").split(" ")
                yield path[len(self.prefix) :], mode, blob

    def below(self, name: bytes) -> str | None:
        """A path of git's as one relative to the root; None for one that is not below it."""
        path = os.fsdecode(name)
        return path[len(self.prefix) :] if path.startswith(self.prefix) else None

    def is_on_disk(self, path: str) -> bool:
        """Whether there is anything at a path of the work tree; a link that leads nowhere is nothing."""
        return os.path.exists(self.top / (self.prefix + path))

    def ways(self, path: str) -> set[str]:
        """What the way to a path of the work tree goes over, by its name and as links there lead: also where nothing is at its
        end. Whoever took away one of these took away the path."""
        leads = self.below(os.fsencode(os.path.relpath(os.path.realpath(self.top / (self.prefix + path)), self.top)))
        ends = (path, leads or path)
        return {
            "/".join(names[:count]) for names in (end.split("/") for end in ends) for count in range(1, len(names) + 1)
        }

    def differing(self, paths: Iterable[str] | None = None) -> set[str]:
        """The tracked files whose content on disk is not that of HEAD, missing ones among them: of `paths`, or of the
        whole root."""
        some = sorted(set(paths)) if paths is not None else None
        if some is not None and len(some) <= MAX_ARGUMENTS:
            if not some:
                return set()
            scope = [self.prefix + path for path in some]
        else:
            scope = [self.prefix] if self.prefix else ["."]
        answer = self.run("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", *scope)
        found = {path for entry in answer.split(b"\0") if (path := self.below(entry[3:])) is not None}
        return found if some is None else found & set(some)

    def contents(self, blobs: Mapping[str, str]) -> dict[str, bytes]:
        """The bytes of `blobs` (path to id), in one call. What is too large for a spec is left out."""
        ids = sorted(set(blobs.values()))
        answer = self.run("cat-file", "--batch", stdin="".join(f"{one}\n" for one in ids).encode()) if ids else b""
        bytes_of = dict(_batch(answer))
        return {path: bytes_of[blob] for path, blob in sorted(blobs.items()) if blob in bytes_of}

    def is_ancestor(self, older: str, newer: str) -> bool:
        try:
            self.run("merge-base", "--is-ancestor", older, newer)
        except GitUnusable:
            return False
        return True

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """git's answer. Raises GitUnusable with the first line of what it said."""
        import subprocess

        try:
            done = subprocess.run(
                self._command(arguments), input=stdin, capture_output=True, env=environment(), timeout=GIT_TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise GitUnusable("The program 'git' was not found.", missing=True) from error
        except subprocess.TimeoutExpired as error:
            raise GitUnusable(f"'git {arguments[0]}' did not end within {GIT_TIMEOUT_S} seconds.") from error
        except OSError as error:
            raise GitUnusable(f"'git' could not be started: {error.strerror}.") from error
        if done.returncode != 0:
            raise GitUnusable(complaint(arguments[0], done.stderr))
        return done.stdout

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        """A fixed program, no shell; where arguments are paths, they stand after `--`."""
        return [*_COMMAND, "-C", os.fspath(self.top), *arguments]

    def stream(self, *arguments: str, stdin: IO[bytes] | None = None) -> Generator[bytes, None, None]:
        """git's answer piece by piece; a caller that stops early ends git. `stdin` is a file that git reads."""
        import subprocess
        import threading

        try:
            process = subprocess.Popen(
                self._command(arguments), env=environment(), stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise GitUnusable("The program 'git' was not found.", missing=True) from error
        except OSError as error:
            raise GitUnusable(f"'git' could not be started: {error.strerror}.") from error
        patience = threading.Timer(GIT_TIMEOUT_S, process.kill)
        patience.daemon = True
        patience.start()
        assert process.stdout is not None
        try:
            while piece := os.read(process.stdout.fileno(), 1 << 16):
                yield piece
            if process.wait() != 0:
                raise GitUnusable(f"'git {arguments[0]}' failed or took longer than {GIT_TIMEOUT_S} seconds.")
        finally:
            patience.cancel()
            process.kill()
            process.stdout.close()
            process.wait()


def environment() -> dict[str, str]:
    """The environment of a git that answers for this root alone, in English, without asking or fetching."""
    kept = {name: value for name, value in os.environ.items() if name not in _STRANGERS}
    return kept | {"LC_ALL": "C.UTF-8", "LANGUAGE": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


def complaint(command: str, stderr: bytes) -> str:
    """One sentence out of what git wrote on its error output."""
    said = stderr.decode("utf-8", "replace").strip().splitlines()
    first = next((line.removeprefix("fatal: ").strip() for line in said if line.strip()), "it gave no reason")
    return f"'git {command}' failed: {first.rstrip('.')}."


def _follow(found: Reading, files: Mapping[str, str], targets: Mapping[str, str], prefix: str) -> None:
    """Adds what links lead to, as `walk` follows them. `files` (path to blob) and `targets` (what each link says) are all
    below the root, which lies at `prefix`."""
    names = sorted([*files, *targets])
    followed: set[str] = set()
    links: list[tuple[str, str, tuple[str, ...]]]  # the name that is read, where it lies, and the links before it
    links = [(path, path, ()) for path in targets if not (is_ours(path) or _is_hidden_path(path))]
    while links:
        onward = []
        for path, link, before in sorted(links):
            leads, others = _led(link, targets, prefix)
            over = (*before, *others)
            if leads in files:
                if is_spec_path(path) and not is_spec_path(leads):
                    found.add(path, files[leads], (*over, leads))
            elif leads not in followed and _is_hidden_path(leads) and not link.startswith(f"{leads}/"):
                followed.add(leads)
                for inner in _within(names, leads):
                    read = f"{path}/{inner[len(leads) + 1 :]}"
                    if inner in targets and not (is_ours(read) or _is_hidden_path(read)):
                        onward.append((read, inner, over))
                    elif inner in files and is_spec_path(read):
                        found.add(read, files[inner], (*over, inner))
        links = onward


def _led(path: str, targets: Mapping[str, str], prefix: str) -> tuple[str, list[str]]:
    """Where a link leads within a commit, and the links on the way; empty where that is out of the root, or nowhere."""
    over: list[str] = []
    for _ in range(LINKS_DEEP):
        names = path.split("/")
        heads = ("/".join(names[:count]) for count in range(1, len(names) + 1))
        link = next((one for one in heads if one in targets), None)
        if link is None:
            return path, over
        over.append(link)
        folder = posixpath.dirname(prefix + link)
        leads = posixpath.normpath(posixpath.join(folder, targets[link], path[len(link) + 1 :]))
        if not leads.startswith(prefix):
            break
        path = leads[len(prefix) :]
    return "", over


def _within(names: Sequence[str], folder: str) -> Sequence[str]:
    """Those of sorted paths that lie below a folder."""
    return names[bisect_left(names, f"{folder}/") : bisect_left(names, f"{folder}0")]  # "0" comes after "/"


def _is_hidden_path(path: str) -> bool:
    return is_hidden(path) or "/." in path


def _git_dir(dot_git: Path) -> Path | None:
    """The folder behind `.git`, which is a file in a linked work tree or a submodule."""
    if dot_git.is_file():
        text = _line(dot_git)
        if not text.startswith("gitdir:"):
            return None
        dot_git = dot_git.parent / text[7:].strip()
    return dot_git if (dot_git / "HEAD").is_file() else None


def _common_dir(git_dir: Path) -> Path:
    shared = _line(git_dir / "commondir")
    return git_dir / shared if shared else git_dir


def _line(path: Path) -> str:
    """The first line of a small file of git's; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.readline(4096)).strip()
    except OSError:
        return ""


def _batch(answer: bytes) -> Iterator[tuple[str, bytes]]:
    """The blobs in an answer of `cat-file --batch`: `id type size LF content LF`, or `id missing LF`."""
    at = 0
    while (end := answer.find(b"\n", at)) >= 0:
        about = answer[at:end].split(b" ")
        at = end + 1
        if len(about) == 3:
            size = int(about[2])
            if about[1] == b"blob" and size <= MAX_BLOB_BYTES:
                yield about[0].decode("ascii"), answer[at : at + size]
            at += size + 1
