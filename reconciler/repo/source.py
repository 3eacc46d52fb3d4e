"""Which commit is the desired state: the seam between a commit's tree (`commit.py`) and where commits come from.

A `Source` is asked at every look for the newest commit that it believes, and must answer at the cost of about one ref
read. `LocalSource` is a ref of the repository that the root lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from reconciler.core.value import dataclass
from reconciler.errors import UsageError
from reconciler.repo.git import GitUnusable, Repository
from reconciler.repo.refs import check_ref, resolve, unknown

#: How a source is written: `git:REF`.
SCHEME: Final = "git:"


class Watching(Protocol):
    """Something that wakes the loop until it is closed."""

    @property
    def trouble(self) -> str:
        """Why changes are not told of by the system, as a clause; empty where they are."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest commit that is believed, and the repository that holds it. `commit` is empty where there is none to be
    had just now: what was settled last then stays. `why`, a clause, says why there is none, or why a newer one is not
    believed; empty where all is well. `refused` is that newer one, as a revision."""

    repository: Repository | None = None
    commit: str = ""
    name: str = ""
    why: str = ""
    refused: str = ""


class Source(Protocol):
    """Where commits come from. `name` says what was asked for: where it is gone, but was settled before, that stays."""

    @property
    def name(self) -> str: ...

    def head(self) -> Head:
        """Asked at every look. Raises nothing."""
        ...

    def watch(self, wake: Callable[[], None]) -> Watching:
        """Calls `wake`, from any thread, whenever `head` may say something else."""
        ...

    def ask(self) -> None:
        """Word has come of a push: what is behind this is to be asked at once, without waiting for the answer."""
        ...

    def close(self) -> None: ...


def ref_of(text: str) -> str:
    """The REF of `git:REF`. Raises UsageError where the text is no source."""
    if not text.startswith(SCHEME):
        raise UsageError(f"the source '{text}' is unknown; expected git:REF, for example git:main")
    ref = text.removeprefix(SCHEME)
    check_ref(ref)
    return ref


class LocalSource:
    """A ref of the repository that `root` lies in, or would lie in: the root need not be on disk. Where that repository
    is, is settled once; what is in it is asked each time, so that a clone put in its place is followed. Raises UsageError
    where there is none, or `source` is no `git:REF`."""

    def __init__(self, root: Path, source: str) -> None:
        self._ref = self.name = ref_of(source)
        found = Repository.around(root)
        if found is None:
            raise UsageError(
                f"{root} lies in no git repository; --source {source} reads the specs from a commit of one"
            )
        self._top, self._prefix = found.top, found.prefix
        self._known: dict[str, str] = {}

    def head(self) -> Head:
        try:
            repository = Repository.at(self._top, self._prefix)
        except OSError as error:
            return Head(why=f"{self._top} cannot be read: {error.strerror}")
        if repository is None:
            return Head(why=f"there is no git repository at {self._top}")
        try:
            found = resolve(repository, self._ref, self._known)
        except GitUnusable as error:
            return Head(repository=repository, why=f"{self._ref} cannot be read: {error}".rstrip("."))
        if found is None:
            return Head(repository=repository, why=unknown(repository, self._ref))
        return Head(repository=repository, commit=found.commit, name=found.name)

    def watch(self, wake: Callable[[], None]) -> Watching:
        from reconciler.repo.watch import RefWatch  # only a daemon watches

        return RefWatch(self._top, wake)

    def ask(self) -> None:
        """Is read at every look."""

    def close(self) -> None:
        """Holds nothing open."""
