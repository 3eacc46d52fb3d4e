"""Conformance: what every provider must hold, as a pytest class that a provider's own tests subclass.

    class TestMyImport(ProviderConformance):
        provider, job_type = PROVIDER, "import-things"

        def prepare(self, place):                 # a fresh world for one run: files, a server …
            (place.root / "things.json").write_text("[]")

        def config(self, place):                  # a config that works in it
            return {"path": "things.json", "stream": "things"}

        def spoil(self, place):                   # … and a world in which the run must fail
            (place.root / "things.json").unlink()

An export also puts messages on its stream (`messages`) and says what has arrived (`arrived`).

The suite runs the provider in this process, against the real data hands and a record in memory (`Ledger`), dies at
every step that a controller could die at, and looks at what is left. A provider that breaks a rule fails with a
`Nonconformance` that names the rule. Nothing here is a fake of the product's own parts but the record.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from reconciler.clock import Clock
from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Data, Intent, JobType, Json, Provider, Secret, Staged, StreamReader, Unit
from reconciler.core.redact import Redactor
from reconciler.errors import RunError
from reconciler.runner.paths import Paths

#: A unit's message and a line of the log are lines, not documents.
MAX_LINE: Final = 4000
#: A cursor is written with every unit.
MAX_CURSOR: Final = 1024 * 1024
#: So many steps are died at; a world that takes more is too large for a conformance test.
MAX_STEPS: Final = 60

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Nonconformance(AssertionError):
    """A provider broke a rule; the text says which."""


class _Cut(BaseException):
    """The controller dies here."""


class _Late(BaseException):
    """The time limit has passed."""


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
        self.open: dict[str, Intent] = {}
        self.keys: dict[str, Intent] = {}
        self.segments: dict[str, list[SegmentRef]] = {}

    def intend(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            _require(isinstance(intent, Intent), f"intended a {type(intent).__name__}, which is no Intent")
            _require(intent.key not in self.keys, f"the key {intent.key} was intended twice")
            _require(intent.first <= intent.last, f"the intent {intent.key} ends before it begins")
            _require(_is_json(intent.detail), f"the detail of intent {intent.key} is not JSON")
            self.keys[intent.key] = self.open[intent.key] = replace(intent, detail=_copied(intent.detail))

    def commit(self, unit: Unit, run: int) -> None:
        self._check(unit)
        self.cursor = _copied(unit.cursor)
        for staged in unit.segments:
            self.land(staged)
        for key in unit.closes:
            del self.open[key]
        self.units.append(unit)
        self.run_of.append(run)

    def omitted_by(self, run: int) -> int:
        return sum(unit.omitted for unit, of in zip(self.units, self.run_of, strict=True) if of == run)

    def land(self, staged: Staged) -> None:
        known = self.segments.setdefault(staged.stream, [])
        first = known[-1].first + known[-1].rows if known else 0
        known.append(SegmentRef(file=staged.file, first=first, rows=staged.rows))

    def _check(self, unit: Unit) -> None:
        _require(isinstance(unit, Unit), f"yielded a {type(unit).__name__}, which is no Unit")
        _require(_is_json(unit.cursor), "a unit's cursor is not JSON")
        _require(len(json.dumps(unit.cursor)) <= MAX_CURSOR, f"a unit's cursor is larger than {MAX_CURSOR} bytes")
        counts = (unit.rows, unit.added, unit.removed, unit.omitted)
        _require(all(type(one) is int and one >= 0 for one in counts), "a unit's counts are not natural numbers")
        _require(
            isinstance(unit.message, str) and len(unit.message) <= MAX_LINE, f"a unit's message is over {MAX_LINE}"
        )
        _require("\n" not in unit.message, "a unit's message is more than one line")
        for key in unit.closes:
            _require(key in self.open, f"a unit closes {key}, which is not open")
        if unit.segments:
            landed = sum(staged.rows for staged in unit.segments)
            _require(unit.rows == landed, f"a unit counts {unit.rows} rows, and its segments hold {landed}")
        for file in (*(staged.file for staged in unit.segments), *unit.rejects):
            _require((self._data_dir / file).is_file(), f"a unit names the file {file}, which is not there")
        _require(not unit.omitted or bool(unit.rejects), "a unit omits rows and names no rejects file")


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise Nonconformance(rule)


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _copied(value: Json) -> Json:
    """What comes out of a record is never the object that went in."""
    return json.loads(json.dumps(value))


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


def _data(place: Place, job: str, unit: Callable[[], int]) -> Data:
    from reconciler.data.hands import open_data

    return open_data(place.data_dir, job=job, run=place.run, attempt=place.attempt, unit=unit, received_ms=_now_ms)


def _now_ms() -> int:
    return Clock().now().wall_ms


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
        self.approved: frozenset[str] = frozenset()
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

    def log(self, text: str) -> None:
        _require(len(text) <= MAX_LINE, f"a line of the log is longer than {MAX_LINE} letters")
        self._place.lines.append(text)

    def stopping(self) -> bool:
        return self.asked_to_stop


# --- one attempt ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended: `completed`, `stopped`, `cut`, or with a `RunError`; `units` are those it committed."""

    how: str
    units: int
    error: RunError | None = None


class _Steps:
    """Counts the moments at which a controller can die, and dies at the one that is asked for."""

    def __init__(self, dies_at: int = 0) -> None:
        self.taken = 0
        self._dies_at = dies_at

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self._dies_at:
            raise _Cut


def attempt(
    subject: ProviderConformance, place: Place, *, new_run: bool, dies_at: int = 0, stop_after: int = 0
) -> Attempt:
    """Runs the job once in its place. The controller dies at step `dies_at` (a step is before or after a commit); the
    run is asked to stop once `stop_after` units are committed."""
    if new_run:
        place.run, place.attempt = place.run + 1, 0
    place.attempt += 1
    context = BenchContext(
        place, subject.model(place), subject.method, subject.streams(place, "reads"), _Steps(dies_at)
    )
    output = io.StringIO()
    before = len(place.ledger.units)
    with _limited(subject.limit_s), _no_exit(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            how, error = _ending(lambda: _produce(subject, place, context, stop_after), subject.limit_s)
        finally:
            place.lines += output.getvalue().splitlines()
    return Attempt(how, len(place.ledger.units) - before, error)


def _produce(subject: ProviderConformance, place: Place, context: BenchContext, stop_after: int) -> str:
    """One unit after the other, each committed before the provider goes on."""
    units = subject.the_job_type().run(context)
    done = 0
    try:
        for unit in units:
            context.step()
            place.ledger.commit(unit, place.run)
            done += 1
            context.step()
            if context.asked_to_stop:
                return "stopped"
            context.advance(unit)
            context.asked_to_stop = done == stop_after
    finally:
        getattr(units, "close", lambda: None)()
    return "completed"


def _ending(produce: Callable[[], str], limit_s: float) -> tuple[str, RunError | None]:
    try:
        return produce(), None
    except _Cut:
        return "cut", None
    except RunError as error:
        return "failed", error
    except (Nonconformance, KeyboardInterrupt):
        raise
    except _Late:
        raise Nonconformance(f"made no unit within {limit_s:g} s") from None
    except SystemExit as error:
        raise Nonconformance(f"ended the process with exit code {error.code}") from error
    except BaseException as error:
        raise Nonconformance(f"raised {type(error).__name__}, which is no RunError") from error


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises `_Late` in the main thread when the time has passed."""

    def late(*_: object) -> NoReturn:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left_s:
            signal.setitimer(signal.ITIMER_REAL, left_s)


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    """`os._exit` would end the test run and say nothing."""
    real = os._exit

    def refuse(status: int) -> NoReturn:
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = real


# --- the suite ------------------------------------------------------------------------------------------------------


class ProviderConformance:
    """Subclass it, name the subclass `Test…`, and say what is to be tested; every method is one rule."""

    provider: ClassVar[Provider]
    job_type: ClassVar[str]
    method: ClassVar[str] = ""
    #: Whether every run does all of its work anew by its nature, as the export of a whole stream to a file does.
    whole: ClassVar[bool] = False
    #: How long one attempt may take.
    limit_s: ClassVar[float] = 30.0

    # what a subclass says

    def prepare(self, place: Place) -> None:
        """Makes the world that the config speaks of."""

    def config(self, place: Place) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """A config that works in this world."""
        raise self._unsaid("config")

    def spoil(self, place: Place) -> None:  # noqa: ARG002 - for subclasses
        """Changes the world so that a run must fail."""
        raise self._unsaid("spoil")

    def credentials(self) -> Mapping[str, str]:
        """A secret for every field of the method."""
        method = self.provider.method(self.method) if self.method else None
        names = [*method.fields, *method.optional] if method else []
        return {name: f"canary-{name}-c5a1e0" for name in names}

    def messages(self) -> Sequence[Mapping[str, Any]]:
        """What stands on the stream that an export reads."""
        return [{"id": number, "name": f"message {number}"} for number in range(7)]

    def arrived(self, place: Place) -> list[str]:  # noqa: ARG002 - for subclasses
        """For an export: a text for every message that the other side holds, repeats under one key counted once."""
        raise self._unsaid("arrived")

    def may_write(self, place: Place) -> Sequence[Path]:  # noqa: ARG002 - for subclasses
        """For an export to files: the folders, besides the data folder, that a run may write to."""
        return ()

    # what is worked out from it

    def _unsaid(self, what: str) -> Nonconformance:
        return Nonconformance(f"{type(self).__name__} does not say its `{what}`")

    def the_job_type(self) -> JobType:
        found = self.provider.job_type(self.job_type)
        _require(found is not None, f"there is no job type {self.job_type!r}")
        assert found is not None
        return found

    def model(self, place: Place) -> Any:
        return self.the_job_type().config(dict(self.config(place)))

    def streams(self, place: Place, access: str) -> frozenset[str]:
        """The streams that the config names for reading, or for writing."""
        properties = self.the_job_type().schema.get("properties", {})
        named = {name for name, rules in properties.items() if rules.get("x-stream") == access}
        return frozenset(str(value) for name, value in self.config(place).items() if name in named)

    @contextlib.contextmanager
    def place(self, folder: Path) -> Iterator[Place]:
        root, data_dir = folder / "root", folder / "root" / ".reconciler" / "data"
        data_dir.mkdir(parents=True)
        place = Place(root=root, data_dir=data_dir, credentials=self.credentials(), ledger=Ledger(data_dir))
        with place.exit:
            self.prepare(place)
            for stream in sorted(self.streams(place, "reads")):
                place.put(stream, self.messages())
            yield place

    def outcome(self, place: Place) -> Counter[str]:
        """What a run has brought about: messages landed, and messages that arrived."""
        landed = [text for stream in sorted(self.streams(place, "writes")) for text in place.texts(stream)]
        sent = self.arrived(place) if self.the_job_type().type == "export" else []
        return Counter(landed + sent)

    def completed(self, place: Place, *, new_run: bool = True) -> Attempt:
        """A run to its end, in one attempt."""
        made = attempt(self, place, new_run=new_run)
        _require(made.how == "completed", f"a run that must succeed ended with {made.how}: {made.error}")
        return made

    def expected(self, folder: Path) -> Counter[str]:
        """What one run to its end brings about."""
        with self.place(folder) as place:
            self.completed(place)
            return self.outcome(place)

    # the rules

    def test_every_name_is_a_dns_label(self) -> None:
        methods, job_types = self.provider.methods, self.provider.job_types
        names = [self.provider.name, *(one.name for one in methods), *(one.name for one in job_types)]
        for name in names:
            _require(_NAME.fullmatch(name) is not None, f"the name {name!r} is no DNS-1123 label")

    def test_the_schema_is_a_json_schema(self) -> None:
        import jsonschema

        schema = self.the_job_type().schema
        _require(_is_json(dict(schema)), "the schema is not JSON")
        try:
            jsonschema.Draft202012Validator.check_schema(dict(schema))
        except jsonschema.SchemaError as error:
            raise Nonconformance(f"the schema is no JSON Schema: {error.message}") from error
        _require(schema.get("type") == "object", "the schema does not ask for an object")
        _require(schema.get("additionalProperties") is False, "the schema lets unknown fields through")
        for name, rules in schema.get("properties", {}).items():
            _require(bool(rules.get("description")), f"the field {name} has no description")
            _require(
                rules.get("x-stream", "reads") in ("reads", "writes"), f"x-stream of {name} is neither reads nor writes"
            )

    def test_the_model_takes_what_the_schema_takes(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            for config in _variants(dict(self.config(place)), self.the_job_type().schema):
                fine = self._accepts_model(config) or not self._accepts_schema(config)
                _require(fine, f"the schema takes what the model refuses: {json.dumps(config)[:300]}")
            _require(self._accepts_schema(self.config(place)), "the schema refuses the config that works")

    def test_a_run_makes_units_that_can_be_committed(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            made = self.completed(place)
            _require(made.units > 0, "a run with something to do made no unit")
            _require(not place.ledger.open, "a run that completed left intents open")
            _require(bool(self.outcome(place)), "a run with something to do brought nothing about")

    def test_a_second_run_finds_nothing(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            self.completed(place)
            before = self.outcome(place)
            made = self.completed(place)
            _require(self.outcome(place) == before, "a second run brought the same about again")
            _require(self.whole or made.units == 0, "a second run, with nothing to do, made a unit")

    def test_a_run_cut_off_anywhere_brings_everything_about_once(self, tmp_path: Path) -> None:
        expected = self.expected(tmp_path / "whole")
        for number in range(1, MAX_STEPS + 1):
            with self.place(tmp_path / str(number)) as place:
                cut = attempt(self, place, new_run=True, dies_at=number)
                if cut.how == "completed":
                    return
                _require(cut.how == "cut", f"the run failed at step {number}: {cut.error}")
                self.completed(place, new_run=False)
                self._require_same(expected, self.outcome(place), f"cut off at step {number}")
                _require(not place.ledger.open, f"cut off at step {number}, the run left intents open")
        raise Nonconformance(f"the run takes more than {MAX_STEPS} steps, too many for a test")

    def test_a_run_cut_off_again_and_again_brings_everything_about_once(self, tmp_path: Path) -> None:
        expected = self.expected(tmp_path / "whole")
        with self.place(tmp_path / "cut") as place:
            for number in range(MAX_STEPS):
                made = attempt(self, place, new_run=number == 0, dies_at=2 + number % 3)
                if made.how == "completed":
                    break
            self.completed(place, new_run=False)
            self._require_same(expected, self.outcome(place), "cut off again and again")

    def test_a_run_stops_at_its_next_unit(self, tmp_path: Path) -> None:
        expected = self.expected(tmp_path / "whole")
        with self.place(tmp_path / "stopped") as place:
            made = attempt(self, place, new_run=True, stop_after=1)
            _require(made.how in ("stopped", "completed"), f"a run that was asked to stop ended with {made.error}")
            _require(made.units <= 2, "a run that was asked to stop went on after its next unit")
            whole_way = made.how == "stopped" or self.outcome(place) == expected
            _require(whole_way, "a run that was asked to stop ended without a unit, and left work undone")
            self.completed(place)
            self._require_same(expected, self.outcome(place), "stopped and run again")

    def test_no_secret_shows(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            self.completed(place)
            self.spoil(place)
            failed = attempt(self, place, new_run=True)
            redactor = Redactor(Secret(value) for value in place.credentials.values())
            seen = [repr(unit) for unit in place.ledger.units] + [repr(one) for one in place.ledger.keys.values()]
            landed = list(self.outcome(place)) if self.the_job_type().type == "import" else []
            error = [str(failed.error)]
            everything = {"a unit or intent": seen, "the log": place.lines, "an error": error, "a message": landed}
            for where, texts in everything.items():
                _require(all(redactor.redact(text) == text for text in texts), f"a secret shows in {where}")
            for path in sorted(place.data_dir.rglob("*")):
                data = path.read_bytes() if path.is_file() else b""
                _require(redactor.redact_bytes(data) == data, f"a secret shows in the file {path.name}")

    def test_a_run_that_fails_says_so_in_a_line(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            self.spoil(place)
            made = attempt(self, place, new_run=True)
            _require(made.error is not None, f"a run in a spoilt world ended with {made.how}")
            text = str(made.error)
            _require(0 < len(text) <= MAX_LINE and "\n" not in text, "an error's text is not one line")

    def test_a_run_writes_only_where_it_may(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            allowed = [place.data_dir, *self.may_write(place)]
            before = _files(tmp_path, allowed)
            self.completed(place)
            changed = sorted(name for name, seen in _files(tmp_path, allowed).items() if before.pop(name, None) != seen)
            _require(not changed, f"a run wrote {', '.join(changed)}, where it may not")
            _require(not before, f"a run removed {', '.join(sorted(before))}")

    def _accepts_schema(self, config: Mapping[str, Any]) -> bool:
        import jsonschema

        return bool(jsonschema.Draft202012Validator(dict(self.the_job_type().schema)).is_valid(dict(config)))

    def _accepts_model(self, config: Mapping[str, Any]) -> bool:
        try:
            self.the_job_type().config(dict(config))
        except (ValueError, RunError):
            return False
        return True

    @staticmethod
    def _require_same(expected: Counter[str], found: Counter[str], when: str) -> None:
        for odd, what in (
            (expected - found, "lost {} messages"),
            (found - expected, "brought {} messages about twice"),
        ):
            _require(not odd, f"{when}, the run {what.format(odd.total())}, such as {next(iter(odd), '')[:200]}")


def _variants(config: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The config, and every way to break it by one field: missing, unknown, of another type, empty, far too large."""
    yield config
    yield {**config, "noSuchField": 1}
    for name in schema.get("properties", {}):
        yield {key: value for key, value in config.items() if key != name}
        for value in ("", "text", 0, -1, 10**9, 1.5, True, [], ["a"], {}, {"a": 1}):
            yield {**config, name: value}


def _files(folder: Path, allowed: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """The files below a folder and outside of the allowed ones, each with its time and size."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and not any(path.is_relative_to(one) for one in allowed)
    }
