"""What a controller is told at its start, and whom it tells what goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from reconciler.core.backfill import LIVE
from reconciler.core.prune import Budget
from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.notices import CommitStatusRule, NotifyRule
    from reconciler.core.planned import Plan
    from reconciler.core.prune import Pruning
    from reconciler.core.remote import Address
    from reconciler.errors import Problem
    from reconciler.record.events import Event

DEFAULT_SLOTS: Final = 8
DEFAULT_BACKFILL_SLOTS: Final = 1
DEFAULT_MAX_BACKLOG: Final = 1_000_000
DEFAULT_MEMORY_MB: Final = 1024
STATE_NAME: Final = ".reconciler"
#: The record's setting that says where statuses and logs are written, where that is not beside the specs.
WRITTEN_TO: Final = "written_to"
#: The record's setting that names the last event before that: what is told of later ones stands in the logs there.
WRITTEN_SINCE: Final = "written_since"


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A repository elsewhere. An empty `branch` is its default one; `prefix` is the folder of the specs in it, empty or
    ending in a slash. `credentials` are references, by field."""

    address: Address
    branch: str = ""
    prefix: str = ""
    interval_ms: int = 60_000
    username: str = ""
    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`root` holds the specs; `state` the record, the data and the lock. `allow_paths` are folders outside the root
    that a spec's `path` may lead into. `slots` bounds the live runs at one time, `backfill_slots` those of backfills
    beside them, `memory_mb` what a build of profiles, or a run that reads them, may hold in memory.
    While more than `max_backlog` messages wait to be built into profiles, backfills pause.
    `listen` is the HOST:PORT at which a daemon takes messages in. `push_secret` refers to the secret of its push hook;
    paths in such references start from `folder`, that of the operator's file. `budget` bounds what may be deleted without
    an approval.
    `source` is `git:REF` where the specs are read from a commit, empty where they are the files below `root`; relative
    paths in the specs of a commit start from `data_root`. `followed` is the repository elsewhere that the commits come
    from, if not from the one that `root` lies in. Only commits that are signed with one of `verify_keys` are accepted,
    where there are any. `again` are the options by which a command finds the same folders and settings, each after a space."""

    root: Path
    state: Path
    status_dir: Path | None = None
    slots: int = DEFAULT_SLOTS
    backfill_slots: int = DEFAULT_BACKFILL_SLOTS
    allow_paths: tuple[Path, ...] = ()
    allow_exec: bool = False
    memory_mb: int = DEFAULT_MEMORY_MB
    max_backlog: int = DEFAULT_MAX_BACKLOG
    listen: str = ""
    folder: Path = Path()
    push_secret: Mapping[str, Any] | None = None
    budget: Budget = field(default_factory=Budget)
    source: str = ""
    data_root: Path | None = None
    followed: Followed | None = None
    verify_keys: tuple[str, ...] = ()
    again: str = ""

    @property
    def needs_data_root(self) -> bool:
        """Whether a relative path in a spec leads nowhere."""
        return bool(self.source) and self.data_root is None

    @property
    def files_root(self) -> Path | None:
        """The folder that a spec's `path` may lead into, besides `allow_paths`; None where there is none."""
        return self.data_root if self.source else self.root

    def folder_of(self, spec_path: str) -> Path | None:
        """Where the relative paths in a spec start from: its own folder, or for a commit the data root."""
        return self.data_root if self.source else (self.root / spec_path).parent

    notify: tuple[NotifyRule, ...] = ()
    commit_statuses: tuple[CommitStatusRule, ...] = ()

    @property
    def keeps_statuses(self) -> bool:
        """Whether statuses lie in the state directory, which is nobody else's to read."""
        return self.status_dir is not None and self.status_dir.absolute().is_relative_to(self.state.absolute())

    def slots_of(self, lane: str) -> int:
        return self.slots if lane == LIVE else self.backfill_slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a pass did. `failures` are the jobs whose run ended in error, with the error. The plan says which deletions the
    budget holds back."""

    plan: Plan
    problems: tuple[Problem, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    ran: int = 0
    rows: int = 0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """Design, section 6: 130 where it was interrupted, 5 where deletions are blocked, 1 where a spec is invalid or a job
        ended in error."""
        if self.interrupted:
            return 130
        if self.plan.blocked is not None:
            return 5
        return 1 if self.problems or self.failures else 0


class Listener(Protocol):
    """A face that shows what goes on; it decides nothing, and what it raises ends the controller."""

    def ready(self) -> None:
        """The daemon watches, and ends cleanly from here on."""
        ...

    def problems(self, problems: Sequence[Problem]) -> None:
        """What is wrong with the specs, whenever that has changed under a daemon; nothing, where all is well again."""
        ...

    def blocked(self, prune: Pruning) -> None:
        """A daemon holds these deletions back until a person approves them; told once."""
        ...

    def event(self, event: Event) -> None: ...

    def events(self, events: Sequence[Event]) -> None:
        """Many that have happened by now, in their order."""
        ...

    def progress(self, job: str, run: int, rows: int, started_ms: int, now_ms: int) -> None: ...

    def finished(self, job: str, run: int) -> None: ...

    def notice(self, text: str) -> None: ...


class Silent:
    """Shows nothing."""

    def ready(self) -> None:
        pass

    def problems(self, problems: Sequence[Problem]) -> None:
        pass

    def blocked(self, prune: Pruning) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def events(self, events: Sequence[Event]) -> None:
        for event in events:
            self.event(event)

    def progress(self, job: str, run: int, rows: int, started_ms: int, now_ms: int) -> None:
        pass

    def finished(self, job: str, run: int) -> None:
        pass

    def notice(self, text: str) -> None:
        pass
