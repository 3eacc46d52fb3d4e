"""What a provider is, and what a run may do: the protocol between a provider, the process that runs it, and the
controller that commits its units.

A provider is a module that exposes `PROVIDER: Provider`. `JobType.run(context)` is a generator of units: each unit it
yields is committed whole before the generator goes on (its data, cursor, counts and event in one transaction), and a
run that is cut off goes on from the cursor of its last committed unit. A run never sees the record: everything it may
know is in its `Context`.

The data hands (`context.data`) are those of `reconciler.data`; they are a protocol here so that a provider imports only
`reconciler.core` and `reconciler.errors`. Tables are `pyarrow.Table`, typed `Any` because the core imports no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.enrichment import Enrichment
    from reconciler.core.members import Members

Table = Any
Json = Any
TypeName = Literal["import", "export", "enrichment"]


class Secret:
    """A resolved secret: it never prints, pickles or compares as its value; `reveal()` is the one way in."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")


# --- what a run hands to the controller -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A segment file that is whole and fsynced, and that no row names yet.

    `file` is relative to the data folder. `schema` is the digest of its raw columns' names and types: only segments
    of one schema are compacted together. `untimed` counts the messages without a time of their own; None where the
    run said nothing of times. `digest` is the SHA-256 of the file's bytes; empty where nobody has computed it.
    """

    stream: str
    file: str
    rows: int
    size: int
    schema: str
    min_timestamp_ms: int | None = None
    max_timestamp_ms: int | None = None
    untimed: int | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What an export is about to send, committed before a byte leaves.

    `first` and `last` are stream positions, inclusive. `digest` is the SHA-256 hex of the body (of the file's planned
    name for a file export). `detail` is whatever the provider needs to send exactly the same again.
    """

    key: str
    first: int
    last: int
    digest: str
    detail: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The smallest piece of a run that is committed whole.

    `rows` counts messages landed or sent; `omitted` what was left out with a reason; `added` and `removed` members
    (audience exports). `cursor` replaces the job's cursor. `moved` says whether the cursor moved (which closes the
    window of errors). `closes` are the keys of the intents whose outcome this is. `rejects` are files, relative to
    the data folder, that hold what was omitted. `message` is one line for the log. `keeps` are all files of the job's own
    (`jobs/<job>/…` in the data folder) that its cursor names from now on, the others are swept; None leaves that as it is.
    `intends` is what an export sends next, committed in the same transaction: one commit then ends some batches and
    begins others.
    """

    cursor: Json
    rows: int = 0
    added: int = 0
    removed: int = 0
    omitted: int = 0
    segments: tuple[Staged, ...] = ()
    closes: tuple[str, ...] = ()
    rejects: tuple[str, ...] = ()
    message: str = ""
    moved: bool = True
    keeps: tuple[str, ...] | None = None
    intends: tuple[Intent, ...] = ()


# --- what the data hands give a run ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reject:
    """One bad row: where it stood (line or record number from 1, as `line`), why it is bad, and its text as it came."""

    line: int
    reason: str
    text: str


#: Where rows of a block's table stood in the file, and their text: (line, text) for each row number.
Locate = Callable[[Sequence[int]], Sequence[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a file: its good rows as a table of raw columns, its bad ones, and the mark from which reading goes
    on after it (JSON-able, opaque to the provider). A block without rows or rejects only brings a mark that spares a
    later run work. `note` is one clause for the log where the file was not read as expected."""

    table: Table
    rejects: tuple[Reject, ...]
    mark: Json
    note: str = ""
    locate: Locate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampRule:
    """Which raw column holds a message's own time, and how it is written: `iso8601` (default), `epoch_s`, `epoch_ms`,
    or a strptime pattern. A time without an offset is UTC. `is_optional`: messages name their own columns, as JSON does,
    so that those without it have no time; a column that is missing is an error otherwise."""

    field: str
    format: str = "iso8601"
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is new in a file: `size` bytes of it on disk, and how many messages those are, `exact` or by a sample of
    them. `messages` is None where only the size was asked for."""

    size: int
    messages: int | None = None
    exact: bool = False


class StreamReader(Protocol):
    """A stream as it stood when the run began: positions `0 <= p < end`, in order. Raw columns as they came."""

    name: str
    end: int

    def tables(self, first: int, stop: int, *, meta: bool = False, rows: int = 65_536) -> Iterator[tuple[int, Table]]:
        """Tables of at most `rows` messages for positions `first <= p < stop`, each with its first position. Each
        table has the columns and types of the segment it comes from. With `meta` also `_timestamp`, `_received`,
        `_job`, `_run`, `_unit`."""
        ...

    def unified(self, first: int, stop: int, *, meta: bool = False, rows: int = 65_536) -> Iterator[Table]:
        """The same messages with one schema for all: columns that come and go are null where they were absent, types
        widen without loss, or to text."""
        ...

    def schema(self, first: int, stop: int, *, meta: bool = False) -> Any:
        """The one `pyarrow.Schema` that `unified` yields."""
        ...

    def json_messages(self, first: int, stop: int, *, rows: int = 65_536) -> Iterator[tuple[int, list[str]]]:
        """The same messages as JSON object texts (UTF-8 text, raw columns as they came), each list with its first
        position. The text of a message never changes, whatever compaction does."""
        ...


class Data(Protocol):
    """The data hands. Every method that reads yields blocks of bounded memory; none passes rows through Python one at
    a time except for rows it rejects. Those of a file whose reader is told a `timestamp` have been checked for it."""

    def read_csv(
        self,
        path: Path,
        mark: Json,
        *,
        delimiter: str,
        quote: str,
        encoding: str,
        header: bool,
        columns: Sequence[str] | None,
        compression: str,
        timestamp: TimestampRule | None = None,
    ) -> Iterator[Block]: ...

    def read_ndjson(
        self, path: Path, mark: Json, *, encoding: str, compression: str, timestamp: TimestampRule | None = None
    ) -> Iterator[Block]: ...

    def read_parquet(self, path: Path, mark: Json, *, timestamp: TimestampRule | None = None) -> Iterator[Block]: ...

    def measure(
        self,
        path: Path,
        mark: Json,
        *,
        format: Literal["csv", "ndjson", "parquet"],
        sample: bool,
        delimiter: str = ",",
        quote: str = '"',
        encoding: str = "utf-8",
        header: bool = True,
        columns: Sequence[str] | None = None,
        compression: str = "auto",
    ) -> Measure:
        """What reading the file behind the mark would bring, without reading it whole: by one stat, and with `sample`
        by its beginning, or a Parquet file's own count. Raises as reading does."""
        ...

    def read_json(self, body: bytes, records: str) -> Block:
        """The records of one JSON document: `records` is a dotted path to an array of objects, empty where the body is
        the array (or one object) itself. A member that is not an object is a reject. Raises Retriable for a body that
        is not JSON and Fatal where the path leads to no array."""
        ...

    def pluck(self, body: bytes, path: str) -> Json:
        """The value at a dotted path of a JSON document; None where there is none."""
        ...

    def stage(self, stream: str, table: Table, *, timestamp: TimestampRule | None = None) -> tuple[Staged, ...]:
        """Writes a table (or a list of them, neighbours of one schema together) as new segments and fsyncs them. Empty
        for tables without rows. The received time, job, run and unit are the context's.
        Values of the timestamp column that cannot be read must have been rejected before
        (`check_timestamps`)."""
        ...

    def check_timestamps(self, block: Block, rule: TimestampRule) -> Block:
        """Moves rows whose timestamp is present but cannot be read into the block's rejects. Raises Fatal where the
        column itself is missing."""
        ...

    def stage_rejects(self, source: str, rejects: Iterable[Reject]) -> str:
        """Writes bad rows with their reasons (NDJSON: source, line, reason, text), fsynced; its path relative to the
        data folder."""
        ...

    def write_file(
        self,
        path: Path,
        format: Literal["csv", "ndjson", "parquet"],
        reader: StreamReader,
        first: int,
        stop: int,
        *,
        meta: bool,
        options: Mapping[str, Any],
    ) -> int:
        """Writes messages under a temporary name beside `path`, fsyncs, renames, fsyncs the folder; the rows written."""
        ...


class Context(Protocol):
    """All that a run may know and do."""

    job: str
    run: int
    attempt: int
    unit: int  # the number of the unit that is being made, from 1 over all attempts of the run
    config: Any  # the job type's config model, validated
    cursor: Json  # of the last committed unit; None at the beginning
    omitted: int  # by the units of this run that are committed, over all attempts
    method: str  # the authorization's method, "" where there is none
    credentials: Mapping[str, Secret]
    open_intents: tuple[Intent, ...]  # committed but without an outcome: to be sent again first
    approved: frozenset[str]  # the digests of differences that a person approved for this job (see NeedsApproval)
    data: Data

    @property
    def members(self) -> Members:
        """The audience that an export reads, and its ledger. Raises Fatal where the job reads none."""
        ...

    def path(self, text: str) -> Path:
        """A path of the spec, relative to the spec's folder, resolved; for a glob, its fixed part. Raises Fatal where
        it leaves the root and every `--allow-path`. Checked again on the real path, so a symlink does not escape."""
        ...

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        """The files of a path or glob, sorted, each with its text relative to the spec's folder. A glob may match
        nothing; a plain path that is missing raises Fatal."""
        ...

    def stream(self, name: str) -> StreamReader: ...

    def time_format(self, stream: str, column: str) -> str:
        """How a column says a message's own time where the config does not say: as the Stream that the job writes to
        declares, where it is that one's `timestamp.field`; else `iso8601`."""
        ...

    def enrichment(self) -> Enrichment:
        """The hands of an enrichment, for a job type with `reads_profiles`."""
        ...

    def intend(self, intents: Sequence[Intent]) -> None:
        """Returns once the controller has committed them. Where it refuses it does not return: the run's process ends,
        and no code of the provider runs any more."""
        ...

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        ...

    def alive_ms(self) -> int:
        """Milliseconds of a clock that only goes forward, whatever becomes of wall time: for measuring how long."""
        ...

    def log(self, text: str) -> None:
        """One line into the captured output of the run, redacted."""
        ...

    def stopping(self) -> bool:
        """True once the run has been asked to stop at its next unit. A generator may then finish its unit early."""
        ...


class Prospect(Protocol):
    """What is known of a job before it runs: enough to say how much it would add, and nothing to do it with. No secret
    is resolved. A `Context` is one too."""

    job: str
    config: Any
    cursor: Json
    data: Data

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        """As `Context.expand`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would add: `messages`, read from `parts` (files) of `size` bytes in all. `exact` where they were
    counted. `digest` names exactly what would be read: an approval is of that."""

    messages: int
    size: int
    parts: int
    exact: bool
    digest: str


# --- what a provider is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to authorize: `fields` maps each credential's name to what it is, in words; all are required. Those of
    `optional` may be there as well."""

    name: str
    title: str
    fields: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One way to integrate with a provider.

    `schema` is the JSON Schema (2020-12) of `config`. Two annotations on a property have meaning here:
    `x-stream: reads|writes` (its value names a declared Stream) and `x-resetsCursor: true` (a changed value drops the
    cursor, and the plan says so). `config` makes the typed model out of a checked mapping. `authorization` says
    whether a Job needs one: `required`, `optional` or `none`. A property annotated with `x-audience: reads` names a
    declared Audience; its job type reads profiles, as does one with `reads_profiles`. One annotated with `x-path: true` is
    a path or glob on disk (`Context.path`, `Context.expand`). `estimate` says what a run of an
    import would add, changes nothing and needs no secret; None where that cannot be known beforehand.
    """

    name: str
    type: TypeName
    title: str
    schema: Mapping[str, Any]
    config: Callable[[Mapping[str, Any]], Any]
    run: Callable[[Context], Iterator[Unit]]
    authorization: Literal["required", "optional", "none"] = "none"
    reads_profiles: bool = False

    estimate: Callable[[Prospect], Estimate] | None = None

    @property
    def audience_field(self) -> str:
        """The config field that names an audience; empty where none does."""
        properties: Mapping[str, Mapping[str, Any]] = self.schema.get("properties", {})
        return next((name for name, schema in properties.items() if "x-audience" in schema), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A vendor or system. `check(method, credentials, uses)` tries an authorization against the real system, without
    changing anything there; `uses` are the (jobType, config) of the jobs that refer to it. It returns one line that
    says what was found, and raises Fatal or Retriable."""

    name: str
    title: str
    methods: tuple[Method, ...] = ()
    job_types: tuple[JobType, ...] = ()
    check: Callable[[str, Mapping[str, Secret], Sequence[tuple[str, Mapping[str, Any]]]], str] | None = None

    def job_type(self, name: str) -> JobType | None:
        return next((one for one in self.job_types if one.name == name), None)

    def method(self, name: str) -> Method | None:
        return next((one for one in self.methods if one.name == name), None)


Catalogue = Mapping[str, Provider]
