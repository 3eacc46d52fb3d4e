"""A thread that wakes the loop when the tree may have changed. It never says what changed: the loop looks. Which paths were
named is a hint of where to look first (`hints.py`).

What we write ourselves never wakes it, nor does anything hidden. Beside the root it watches git's own folder, because a
commit changes no file of the tree and yet decides what is absent, and the folder that holds the root, for the policy.
A watch may fail (the system's limit of watches, a root that does not exist) or go blind (the root replaced by another
folder): then `healthy` is false until the watch has been set up anew, and the controller's periodic look covers the
time between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reconciler.core.policy import FILE_NAME as POLICY_NAME
from reconciler.repo.git import Repository
from reconciler.repo.hints import Hints
from reconciler.repo.names import is_hidden, is_ours, is_spec

#: The loop is woken when nothing more has happened for QUIET_MS, and after MOST_MS at the latest.
QUIET_MS: Final = 50
MOST_MS: Final = 500

#: The same for the policy and for git's marks beside a work tree, which nobody waits for at the keyboard: a watch wakes up so
#: often though nothing happens.
UNHURRIED_MS: Final = 250

#: How often a watch checks that its folder is still the one it watches, and how long after a failure it tries again.
CHECK_MS: Final = 1_000
AGAIN_S: Final = 5.0

#: After so many checks in which nothing happened a watch wakes up LEISURE times as seldom, until something happens again.
CHECKS_TO_REST: Final = 60
LEISURE: Final = 5

#: How long `close` waits for a thread; it ends within CHECK_MS unless the system hangs.
CLOSE_S: Final = 5.0

#: The system forgets what happens once its queue is full (16,384 events by default, some of them of the same file) and says
#: so to nobody: where so much comes at once, what was named is no hint.
MANY_EVENTS: Final = 1_000

#: The files of git's that change when HEAD or the work tree does.
_GIT_NAMES: Final = frozenset(
    {"HEAD", "index", "packed-refs", "MERGE_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply"}
)


#: The files beside `refs/` that change when a ref does, and the folder of refs in git's table form.
_REF_NAMES: Final = frozenset({"HEAD", "packed-refs", "reftable"})


class _Watch:
    """Watches from `_start` until `close()`. `wake` is called from threads of the watch, and must not block."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._eyes: list[_Eye] = []

    def _start(self, *eyes: _Eye) -> None:
        self._eyes = list(eyes)
        for eye in self._eyes:
            eye.start()

    @property
    def healthy(self) -> bool:
        """Whether a change would be noticed now."""
        return all(eye.healthy for eye in self._eyes)

    @property
    def trouble(self) -> str:
        """Why it is not healthy, as a clause; empty where it is, or has not begun yet."""
        return next((eye.trouble for eye in self._eyes if eye.trouble), "")

    def close(self) -> None:
        """Ends the threads; nothing wakes afterwards."""
        self._stop.set()
        for eye in self._eyes:
            eye.join(CLOSE_S)


class Watch(_Watch):
    """Of the specs below a root, and of git's marks where it lies in a work tree. `hints` are told which paths below the root
    were named."""

    def __init__(self, root: Path, wake: Callable[[], None], hints: Hints | None = None) -> None:
        super().__init__()
        repository = Repository.open(root)
        eyes = [
            _Eye(root, wake, self._stop, _tells_of_specs(root), recursive=True, hints=hints),
            _Eye(root.absolute().parent, wake, self._stop, _tells_of_policy, recursive=False, quiet_ms=UNHURRIED_MS),
        ]
        if repository is not None:
            eyes.append(
                _Eye(repository.git_dir, wake, self._stop, _tells_of_git, recursive=False, quiet_ms=UNHURRIED_MS)
            )
        self._start(*eyes)


class RefWatch(_Watch):
    """Of the refs of a repository, whose work tree begins at `top` or that is bare and lies there. The work tree is not
    looked at. A linked work tree keeps its HEAD in a folder of its own."""

    def __init__(self, top: Path, wake: Callable[[], None]) -> None:
        super().__init__()
        repository = Repository.at(top, "")
        git_dir, common_dir = (repository.git_dir, repository.common_dir) if repository else (top / ".git",) * 2
        folders = {os.path.realpath(one): one for one in (git_dir, common_dir)}
        eyes = [_Eye(one, wake, self._stop, _tells_of_refs, recursive=False) for one in folders.values()]
        eyes += [
            _Eye(common_dir / name, wake, self._stop, _is_no_lock, recursive=True)
            for name in ("refs", "reftable")
            if name == "refs" or (common_dir / name).is_dir()
        ]
        self._start(*eyes)


class _Eye(threading.Thread):
    """Watches one folder."""

    def __init__(
        self, folder: Path, wake: Callable[[], None], stop: threading.Event, tells: Callable[[str], bool], *,
        recursive: bool, hints: Hints | None = None, quiet_ms: int = QUIET_MS,
    ) -> None:  # fmt: skip
        super().__init__(name=f"watch {folder.name}", daemon=True)
        self._hints = hints or Hints()
        self._silences = 0  # checks in which nothing had happened since there was news
        self.healthy = False
        self.trouble = ""
        self._folder = folder.absolute()
        self._wake = wake
        self._stop_wanted = stop
        self._tells = tells
        self._recursive = recursive
        self._quiet_ms = quiet_ms

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:
                self.trouble = f"{self._folder} cannot be watched: {error}"
            self.healthy = False
            self._hints.fall()
            if not self._stop_wanted.is_set():
                self._wake()  # what happened unseen is found by looking
                self._stop_wanted.wait(AGAIN_S if self.trouble else 0)

    def _watch(self) -> None:
        """Returns when asked to stop, or when the folder is no longer the one that is watched."""
        from watchfiles._rust_notify import RustNotify  # what `watchfiles.watch` wraps, whose pace is fixed

        watched, self._silences = _identity(self._folder), 0
        with RustNotify([str(self._folder)], False, False, 0, self._recursive, True) as notifier:
            while True:
                told = notifier.watch(MOST_MS, self._pace_ms(), CHECK_MS, self._stop_wanted)
                if self._stop_wanted.is_set() or _identity(self._folder) != watched:
                    return
                self._hear(told if isinstance(told, set) else set())

    def _pace_ms(self) -> int:
        if self._silences < CHECKS_TO_REST:
            return self._quiet_ms
        return min(LEISURE * self._quiet_ms, CHECK_MS)

    def _hear(self, told: set[tuple[int, str]]) -> None:
        """What has happened since, or that nothing has."""
        if not self.healthy:  # what happened before it stood is found by looking
            self._hints.stand()
            self.healthy, self.trouble = True, ""
            self._wake()
        if len(told) > MANY_EVENTS:
            self._hints.lose()
        paths = [path for _, path in told if self._tells(path)]
        skip = len(os.fspath(self._folder).rstrip("/")) + 1
        self._hints.name(path[skip:] for path in paths)
        if paths:
            self._silences = 0
            self._wake()
        elif not told:  # what we write ourselves is neither news nor silence: the record is below the root
            self._silences += 1


def _identity(folder: Path) -> tuple[int, int]:
    """Which folder this is. Raises FileNotFoundError where it is none."""
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino


def _tells_of_specs(root: Path) -> Callable[[str], bool]:
    """Whether an event may concern a spec below `root`: a spec file, a folder, or something that is gone (a folder
    that is moved away tells only of itself)."""
    skip = len(os.fspath(root.absolute()).rstrip("/")) + 1

    def tells(path: str) -> bool:
        *folders, name = path[skip:].split("/")
        if is_ours(name) or is_hidden(name) or any(map(is_hidden, folders)):
            return False
        return is_spec(name) or os.path.isdir(path) or not os.path.lexists(path)

    return tells


def _tells_of_policy(path: str) -> bool:
    return os.path.basename(path) == POLICY_NAME


def _tells_of_git(path: str) -> bool:
    return os.path.basename(path) in _GIT_NAMES


def _tells_of_refs(path: str) -> bool:
    return os.path.basename(path) in _REF_NAMES


def _is_no_lock(path: str) -> bool:
    return not path.endswith(".lock")
