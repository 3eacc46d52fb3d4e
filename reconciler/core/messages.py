"""What a run and its controller say to each other, as values; `reconciler.runner` carries them over a socket.

    controller -> run    Order once, then an Answer to every Unit and every set of Intents, and perhaps a Stop
    run -> controller    Units, Intents, Wanted, Output, SecretSeen; last Ended; and from the fork server Began and Exited

A message that carries units or intents is answered before the run goes on, so at most one is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal

from reconciler.core.provider import Intent, Unit
from reconciler.core.value import dataclass

#: The provider of orders that no spec asks for: the product's own upkeep of its data folder. No spec can name it.
MAINTENANCE: Final = "-maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRef:
    """A committed segment: its file relative to the data folder, and the position of its first message."""

    file: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything a run may know. JSON-able by `dataclasses.asdict`.

    `path` is the spec file's, relative to the root. `root` is the folder that its paths may lead into besides
    `allow_paths`, `folder` where relative ones start from (None: the spec's own folder); empty where there is none.
    `config` and `credentials` (references, never values) are of the normalised spec. `streams` lists, for each stream that
    the job reads, its segments in order of position.
    `columns` are the types that the Stream's spec declares. `secret_key` is hex; secrets are reported by HMAC-SHA256
    under it. `writes` names the streams that its units may add to; None leaves that to the record; `times` says of those in
    which field a message's own time stands, and in which format, as their specs do. `audience` is that
    of an audience export: `{"name": …, "where": …}`; `profiles` are the rules of all profiles (`rules_spec`), where the
    job reads them. `approved` are the digests of differences that a person has approved for it, `own_files` the files
    that its units keep (`Unit.keeps`). `memory_mb` bounds what its queries may hold in memory.
    A run of another `lane` than the live one gives way to those of that; one that would add more than `max_messages`
    waits for approval before its first unit, or, where that is not known, before the unit that is too much after `landed`
    others (None: whatever it adds). `forgotten` says for keyed hashes of identifiers
    from before when messages are dropped (ms), `identities` are the rules by which those are told (`rules_spec`), and
    `forgotten_members` whom the destination of an audience is to remove, whatever the mode. `secret_variables` are the
    variables of the environment in which secrets stand, anybody's: no provider's code finds them there.
    """

    job: str
    run: int
    attempt: int
    generation: int
    root: str
    path: str
    provider: str
    job_type: str
    config: Mapping[str, Any]
    authorization: str = ""
    method: str = ""
    credentials: Mapping[str, Any] = field(default_factory=dict)
    cursor: Any = None
    unit: int = 1
    omitted: int = 0
    open_intents: tuple[Intent, ...] = ()
    streams: Mapping[str, tuple[SegmentRef, ...]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    data_dir: str = ""
    allow_paths: tuple[str, ...] = ()
    allow_exec: bool = False
    secret_key: str = ""
    timeout_s: float | None = None
    writes: tuple[str, ...] | None = None
    times: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    audience: Mapping[str, Any] | None = None
    profiles: Sequence[Any] = ()
    approved: tuple[str, ...] = ()
    own_files: tuple[str, ...] = ()
    memory_mb: int = 1024
    forgotten: Mapping[str, int] = field(default_factory=dict)
    identities: Sequence[Any] = ()
    forgotten_members: tuple[str, ...] = ()
    lane: str = "live"
    max_messages: int | None = None
    landed: int = 0
    secret_variables: tuple[str, ...] = ()
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Began:
    """A process was made for the run: the first message of an attempt. `start_ticks` is field 22 of /proc/PID/stat;
    pid and start time together name a process for as long as the machine is up."""

    run: int
    attempt: int
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Produced:
    """A unit to be committed."""

    run: int
    attempt: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Intended:
    """Intents to be committed."""

    run: int
    attempt: int
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The run waits for profiles in which every unit is built that was committed before it asked. The answer brings
    them as `ProfileSet` fields."""

    run: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The controller's answer to the one open unit, set of intents or wish of a run. Not accepted means superseded: the
    run ends itself. `value` fulfils a wish, `refusal` says why it cannot be fulfilled."""

    run: int
    accepted: bool = True
    value: Any = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A line of captured output, already redacted."""

    run: int
    text: str


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """The keyed digest of one credential that the run resolved."""

    run: int
    authorization: str
    field: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run says that it ended. `message` is redacted. `stopped` is a run that ended early because it was asked
    to; `found_nothing` a success without a unit; `held` one that a guard ended, until a person approves the difference
    whose digest is `approval`."""

    run: int
    attempt: int
    how: Literal["succeeded", "stopped", "retriable", "fatal", "limited", "held"]
    message: str = ""
    retry_after_s: float | None = None
    found_nothing: bool = False
    approval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """A run's process is gone. Without an `Ended` before it, it died by itself: an error. `timed_out` and `killed`
    say that the runner killed it: after its timeout, or 30 s after a stop. The `pid` is 0 where there was none yet."""

    run: int
    attempt: int
    pid: int
    exit_code: int | None
    signal: int | None
    peak_kib: int
    cpu_s: float
    timed_out: bool = False
    killed: bool = False


FromRun = Began | Produced | Intended | Wanted | Output | SecretSeen | Ended | Exited
