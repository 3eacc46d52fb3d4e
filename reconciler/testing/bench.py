"""What a conformance test runs a provider on: real data hands, a record in memory that checks what reaches it, and the
context of one attempt."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Clock
from reconciler.core.enrichment import Enrichment
from reconciler.core.members import Members
from reconciler.core.messages import SegmentRef
from reconciler.core.profile import ProfileFile, ProfileRules, ProfileSet
from reconciler.core.provider import Data, Intent, Json, Secret, Staged, StreamReader, Unit
from reconciler.runner.paths import Paths

if TYPE_CHECKING:
    from reconciler.data.members import Selection

#: A unit's message and a line of the log are lines, not documents.
MAX_LINE: Final = 4000
#: A cursor is written with every unit.
MAX_CURSOR: Final = 1024 * 1024
#: What the memory of a comparison may come to.
MEMORY_MB: Final = 256

_CLOCK: Final = Clock()


class Nonconformance(AssertionError):
    """A provider broke a rule; the text says which."""


# --- a record in memory ---------------------------------------------------------------------------------------------


class Ledger:
    """What the record would hold: committed units, the cursor, open intents, and each stream's segments.

    Everything that reaches it is checked: what a real controller would choke on is a `Nonconformance` here.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.cursor: Json = None
        self.units: list[Unit] = []
        self.run_of: list[int] = []
        self.keeps: tuple[str, ...] = ()
        self.open: dict[str, Intent] = {}
        self.keys: dict[str, Intent] = {}
        self.segments: dict[str, list[SegmentRef]] = {}

    def intend(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            require(isinstance(intent, Intent), f"intended a {type(intent).__name__}, which is no Intent")
            require(intent.key not in self.keys, f"the key {intent.key} was intended twice")
            require(intent.first <= intent.last, f"the intent {intent.key} ends before it begins")
            require(is_json(intent.detail), f"the detail of intent {intent.key} is not JSON")
            self.keys[intent.key] = self.open[intent.key] = replace(intent, detail=_copied(intent.detail))

    def commit(self, unit: Unit, run: int) -> None:
        self._check(unit)
        self.cursor = _copied(unit.cursor)
        for staged in unit.segments:
            self.land(staged)
        for key in unit.closes:
            del self.open[key]
        self.intend(unit.intends)
        self._sweep(unit, run)
        self.units.append(unit)
        self.run_of.append(run)

    def _sweep(self, unit: Unit, run: int) -> None:
        """Removes what of the job's own files no unit keeps, and no attempt of this run may just be writing."""
        from reconciler.data.segments import JOBS

        self.keeps = self.keeps if unit.keeps is None else unit.keeps
        for path in (self._data_dir / JOBS).glob("*/*"):
            is_staged = path.name.startswith(f"{run}-")
            if path.relative_to(self._data_dir).as_posix() not in self.keeps and not is_staged:
                path.unlink()

    def omitted_by(self, run: int) -> int:
        return sum(unit.omitted for unit, of in zip(self.units, self.run_of, strict=True) if of == run)

    def land(self, staged: Staged) -> None:
        known = self.segments.setdefault(staged.stream, [])
        first = known[-1].first + known[-1].rows if known else 0
        known.append(SegmentRef(file=staged.file, first=first, rows=staged.rows))

    def _check(self, unit: Unit) -> None:
        require(isinstance(unit, Unit), f"yielded a {type(unit).__name__}, which is no Unit")
        require(is_json(unit.cursor), "a unit's cursor is not JSON")
        require(len(json.dumps(unit.cursor)) <= MAX_CURSOR, f"a unit's cursor is larger than {MAX_CURSOR} bytes")
        counts = (unit.rows, unit.added, unit.removed, unit.omitted)
        require(all(type(one) is int and one >= 0 for one in counts), "a unit's counts are not natural numbers")
        require(isinstance(unit.message, str) and len(unit.message) <= MAX_LINE, f"a unit's message is over {MAX_LINE}")
        require("\n" not in unit.message, "a unit's message is more than one line")
        for key in unit.closes:
            require(key in self.open, f"a unit closes {key}, which is not open")
        if unit.segments:
            landed = sum(staged.rows for staged in unit.segments)
            require(unit.rows == landed, f"a unit counts {unit.rows} rows, and its segments hold {landed}")
        for file in (*(staged.file for staged in unit.segments), *unit.rejects, *(unit.keeps or ())):
            require((self._data_dir / file).is_file(), f"a unit names the file {file}, which is not there")
        require(not unit.omitted or bool(unit.rejects), "a unit omits rows and names no rejects file")


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise Nonconformance(rule)


def is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _copied(value: Json) -> Json:
    """What comes out of a record is never the object that went in, and has its names sorted."""
    return json.loads(json.dumps(value, sort_keys=True))


# --- a place to run in ----------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A fresh world for one job: `root` holds the spec and its files, `data_dir` the data folder. A subject keeps what
    it needs for its world (a server) in `extra`, and what is to happen at the end in `exit`."""

    root: Path
    data_dir: Path
    credentials: Mapping[str, str]
    ledger: Ledger
    run: int = 0
    attempt: int = 0
    lines: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    selection: Selection | None = None
    approved: set[str] = field(default_factory=set)
    rules: ProfileRules = field(default_factory=ProfileRules)  # what streams say of people, where a subject says it
    builds: int = 0
    forgotten: tuple[str, ...] = ()  # members that a destination is to hold no more, whatever the mode

    def stream(self, name: str) -> StreamReader:
        from reconciler.data.stream import open_stream

        return open_stream(self.data_dir, name, tuple(self.ledger.segments.get(name, ())), {})

    def texts(self, name: str) -> list[str]:
        """The messages of a stream as JSON texts, in order."""
        reader = self.stream(name)
        return [text for _, texts in reader.json_messages(0, reader.end) for text in texts]

    def put(self, name: str, messages: Sequence[Mapping[str, Any]], job: str = "source") -> None:
        """Puts messages on a stream, as an import of another job would."""
        body = json.dumps(list(messages)).encode()
        self.run += 1
        data = _data(self, job, lambda: 1)
        for staged in data.stage(name, data.read_json(body, "").table):
            self.ledger.land(staged)

    def enroll(
        self, people: Sequence[Mapping[str, Any]], *, keys: Sequence[str] = ("email",),
        types: Mapping[str, str] | None = None, where: str = "true", reads_now: bool = False,
    ) -> None:  # fmt: skip
        """Makes these the profiles, in the place of all before: `id`, a list of values for each of `keys`, and a value
        for each attribute of `types` (text, unless its type says otherwise). `where` is DuckDB's SQL, as a condition
        that has been read."""
        from reconciler.data.members import Selection

        self.builds += 1
        types = {"plan": "text"} if types is None else types
        file = write_people(self.data_dir, people, keys, types)
        attributes = tuple(name for name in types if f'"attribute:{name}"' in where)
        self.selection = Selection(
            lambda _attributes, _keys: f"SELECT * FROM read_parquet('{file}')",
            where,
            attributes,
            reads_now,
            types,
            keys,
        )


def write_people(
    data_dir: Path, people: Sequence[Mapping[str, Any]], keys: Sequence[str], types: Mapping[str, str]
) -> Path:
    """Profiles as a file in the data folder."""
    from reconciler.data.engine import workspace

    lines = "".join(json.dumps(one, default=str) + "\n" for one in people)
    folder = data_dir / "people"
    folder.mkdir(exist_ok=True)
    source, file = folder / "people.ndjson", folder / "people.parquet"
    source.write_text(lines, "utf-8")
    sql_types = {"text": "VARCHAR", "integer": "BIGINT", "list(text)": "VARCHAR[]"}
    columns = (
        {"id": "VARCHAR"}
        | dict.fromkeys(keys, "VARCHAR[]")
        | {one: sql_types.get(types[one], types[one]) for one in types}
    )
    names = [f'"{one}" AS "key:{one}"' for one in keys] + [f'"{one}" AS "attribute:{one}"' for one in types]
    with workspace(data_dir, memory_mb=MEMORY_MB) as db:
        db.execute(
            f"COPY (SELECT id, {', '.join(names)} FROM read_json('{source}', format = 'newline_delimited', columns = "
            f"{columns})) TO '{file}' (FORMAT parquet)"
        ).fetchall()
    return file


def _data(place: Place, job: str, unit: Callable[[], int]) -> Data:
    from reconciler.data.hands import open_data

    return open_data(place.data_dir, job=job, run=place.run, attempt=place.attempt, unit=unit, received_ms=_now_ms)


def _alive_ms() -> int:
    return _CLOCK.now().alive_ms


def _now_ms() -> int:
    return _CLOCK.now().wall_ms


class BenchContext:
    """The `Context` of one attempt. `step` is called before and after every commit, and may raise."""

    def __init__(self, place: Place, config: Any, method: str, reads: frozenset[str], step: Callable[[], None]) -> None:
        self.job = "conformance"
        self.run, self.attempt = place.run, place.attempt
        self.config = config
        self.method = method
        self.credentials: Mapping[str, Secret] = {name: Secret(value) for name, value in place.credentials.items()}
        self.cursor = _copied(place.ledger.cursor)
        self.omitted = place.ledger.omitted_by(place.run)
        self.open_intents = tuple(place.ledger.open.values())
        self.approved = frozenset(place.approved)
        self.asked_to_stop = False
        self._place, self.step = place, step
        paths = Paths(str(place.root), str(place.root), (), str(place.data_dir.parent))
        self.path, self.expand = paths.path, paths.expand
        self._readers = {name: place.stream(name) for name in sorted(reads)}
        self.unit = place.ledger.run_of.count(place.run) + 1
        self.data = _data(place, self.job, lambda: self.unit)

    def stream(self, name: str) -> StreamReader:
        if name not in self._readers:
            raise Nonconformance(f"read the stream {name!r}, which its config does not name with x-stream: reads")
        return self._readers[name]

    def time_format(self, stream: str, column: str) -> str:
        rules = next((one for one in self._place.rules.streams if one.name == stream), None)
        return rules.timestamp_format if rules is not None and rules.timestamp_field == column else "iso8601"

    @cached_property
    def members(self) -> Members:
        from reconciler.data.members import MemberHands
        from reconciler.data.segments import job_file

        selection = self._place.selection
        if selection is None:
            raise Nonconformance("reads an audience, which no property of its config names with x-audience: reads")
        return MemberHands(
            self._place.data_dir, job=self.job, audience="people", run=self.run, memory_mb=MEMORY_MB,
            name=lambda what: job_file(self.job, self.run, self.attempt, self.unit, what), selection=lambda: selection,
            forgotten=self._place.forgotten,
        )  # fmt: skip

    def enrichment(self) -> Enrichment:
        from reconciler.data.enrich import Digests, EnrichmentHands, Profiles
        from reconciler.data.segments import job_file

        place, selection = self._place, self._place.selection
        if selection is None:
            raise Nonconformance("asks whom there is to enrich, and nobody is enrolled")
        made = ProfileSet(
            build=place.builds, files=(ProfileFile(file="", kind="", part=0, build=place.builds, rows=0, size=0),)
        )
        return EnrichmentHands(
            place.data_dir, Profiles(place.rules, lambda: made, lambda _, keys: selection.view((), keys)),
            lambda what: job_file(self.job, self.run, self.attempt, self.unit, what), Digests("bench"), memory_mb=MEMORY_MB,
        )  # fmt: skip

    def intend(self, intents: Sequence[Intent]) -> None:
        self.step()
        self._place.ledger.intend(intents)
        self.step()

    def advance(self, unit: Unit) -> None:
        """After a commit: the next unit begins where this one ended."""
        self.cursor = _copied(unit.cursor)
        self.omitted += unit.omitted
        self.unit += 1
        self.open_intents = tuple(self._place.ledger.open.values())

    now_ms = staticmethod(_now_ms)
    alive_ms = staticmethod(_alive_ms)

    def log(self, text: str) -> None:
        require(len(text) <= MAX_LINE, f"a line of the log is longer than {MAX_LINE} letters")
        self._place.lines.append(text)

    def stopping(self) -> bool:
        return self.asked_to_stop
