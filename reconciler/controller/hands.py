"""The controller's collaborators, given to its constructor: everything that it does to the world goes through one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.clock import Clock
    from reconciler.controller.settings import Listener, Settings
    from reconciler.controller.wakeups import Wakeups
    from reconciler.core.messages import FromRun, Order
    from reconciler.core.provider import Catalogue
    from reconciler.record.store import Record
    from reconciler.repo.history import Origin
    from reconciler.repo.look import Gone, Look, Verdict
    from reconciler.repo.parse import Parsed
    from reconciler.repo.policy_file import PolicySeen
    from reconciler.repo.source import Watching
    from reconciler.repo.write import Writer


class Specs(Protocol):
    """What the specs are read from: the files of a folder (`repo.tree.Tree`), or a commit (`repo.commit.CommitTree`)."""

    settle_ms: int

    def look(self, now_ms: int, grace_ms: int | None = None, *, hinted: bool = False) -> Look: ...

    def settle(self, look: Look, keep: Iterable[str] = (), identity: str = "") -> None: ...

    def parsed(self, look: Look, paths: Iterable[str] | None = None) -> dict[str, Parsed]: ...

    def contents(self, paths: Iterable[str]) -> dict[str, bytes]: ...

    def has_news(self, most: int) -> bool:
        """Whether a glance shows that the next look will find something new, and `most` files at most. May say no, where
        only a look can tell."""
        ...

    def absent(self, look: Look, gone: Iterable[Gone]) -> dict[Gone, Verdict]: ...

    def policy(self, expected: bool) -> PolicySeen: ...

    def watch(self, wake: Callable[[], None]) -> Watching: ...

    def ask(self) -> None:
        """Word has come of a push: what the specs come from is to be asked at once."""
        ...

    def close(self) -> None: ...


class Runner(Protocol):
    """What runs a run: local processes, or (later) a distributed engine."""

    def prepare(self) -> None:
        """Runs come soon."""
        ...

    def start(self, order: Order) -> None: ...

    def make_ahead(self) -> None:
        """There is time to make ready for the next start."""
        ...

    def answer(self, run: int, accepted: bool, value: Any = None, refusal: str = "") -> None:
        """To the one open Produced, Intended or Wanted of that run."""
        ...

    def stop(self, run: int) -> None:
        """At its next unit; it is killed 30 s later."""
        ...

    def kill(self, run: int) -> None:
        """At once."""
        ...

    def active(self) -> tuple[int, ...]: ...

    def fileno(self) -> int: ...

    def messages(self, timeout_s: float) -> Sequence[FromRun]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """All of them. `chance` draws from [0, 1). `end_leftover` ends the process of an earlier controller's run by pid and
    start time, if it is still that one. `catalogue` is asked for only when something runs or is parsed. `wakeups` makes
    what the loop waits on, for as long as it runs."""

    settings: Settings
    record: Record
    tree: Specs
    origin: Origin
    writer: Writer
    runner: Runner
    end_leftover: Callable[[int, int], bool]
    clock: Clock
    chance: Callable[[], float]
    listener: Listener
    catalogue: Callable[[], Catalogue]
    wakeups: Callable[[], Wakeups]
