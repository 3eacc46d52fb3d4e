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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from reconciler.core.provider import JobType, Provider, Secret
from reconciler.core.redact import Redactor
from reconciler.errors import RunError
from reconciler.testing.bench import MAX_LINE, BenchContext, Ledger, Nonconformance, Place, is_json, require

__all__ = ["Attempt", "BenchContext", "Ledger", "Nonconformance", "Place", "ProviderConformance", "attempt"]

#: So many steps are died at; a world that takes more is too large for a conformance test.
MAX_STEPS: Final = 60

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Cut(BaseException):
    """The controller dies here."""


class _Late(BaseException):
    """The time limit has passed."""


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
            raise Cut


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
    except Cut:
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

    def people(self) -> Sequence[Mapping[str, Any]]:
        """Who is in the audience that an export reads: `id`, the key `email` (a list), the attribute `plan`."""
        return [{"id": f"{number:032x}", "email": [f"p{number}@x.org"], "plan": "gold"} for number in range(7)]

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
        require(found is not None, f"there is no job type {self.job_type!r}")
        assert found is not None
        return found

    def model(self, place: Place) -> Any:
        return self.the_job_type().config(dict(self.config(place)))

    def streams(self, place: Place, access: str) -> frozenset[str]:
        """The streams that the config names for reading, or for writing."""
        properties = self.the_job_type().schema.get("properties", {})
        named = {name for name, rules in properties.items() if rules.get("x-stream") == access}
        return frozenset(str(value) for name, value in self.config(place).items() if name in named)

    def reads_audience(self) -> bool:
        """Whether the config names an audience."""
        return any("x-audience" in rules for rules in self.the_job_type().schema.get("properties", {}).values())

    @contextlib.contextmanager
    def place(self, folder: Path) -> Iterator[Place]:
        root, data_dir = folder / "root", folder / "root" / ".reconciler" / "data"
        data_dir.mkdir(parents=True)
        place = Place(root=root, data_dir=data_dir, credentials=self.credentials(), ledger=Ledger(data_dir))
        with place.exit:
            self.prepare(place)
            for stream in sorted(self.streams(place, "reads")):
                place.put(stream, self.messages())
            if self.reads_audience():
                place.enroll(self.people())
            yield place

    def outcome(self, place: Place) -> Counter[str]:
        """What a run has brought about: messages landed, and messages that arrived."""
        landed = [text for stream in sorted(self.streams(place, "writes")) for text in place.texts(stream)]
        sent = self.arrived(place) if self.the_job_type().type == "export" else []
        return Counter(landed + sent)

    def completed(self, place: Place, *, new_run: bool = True) -> Attempt:
        """A run to its end, in one attempt."""
        made = attempt(self, place, new_run=new_run)
        require(made.how == "completed", f"a run that must succeed ended with {made.how}: {made.error}")
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
            require(_NAME.fullmatch(name) is not None, f"the name {name!r} is no DNS-1123 label")

    def test_the_schema_is_a_json_schema(self) -> None:
        import jsonschema

        schema = self.the_job_type().schema
        require(is_json(dict(schema)), "the schema is not JSON")
        try:
            jsonschema.Draft202012Validator.check_schema(dict(schema))
        except jsonschema.SchemaError as error:
            raise Nonconformance(f"the schema is no JSON Schema: {error.message}") from error
        require(schema.get("type") == "object", "the schema does not ask for an object")
        require(schema.get("additionalProperties") is False, "the schema lets unknown fields through")
        for name, rules in schema.get("properties", {}).items():
            require(bool(rules.get("description")), f"the field {name} has no description")
            require(
                rules.get("x-stream", "reads") in ("reads", "writes"), f"x-stream of {name} is neither reads nor writes"
            )

    def test_the_model_takes_what_the_schema_takes(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            for config in _variants(dict(self.config(place)), self.the_job_type().schema):
                fine = self._accepts_model(config) or not self._accepts_schema(config)
                require(fine, f"the schema takes what the model refuses: {json.dumps(config)[:300]}")
            require(self._accepts_schema(self.config(place)), "the schema refuses the config that works")

    def test_a_run_makes_units_that_can_be_committed(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            made = self.completed(place)
            require(made.units > 0, "a run with something to do made no unit")
            require(not place.ledger.open, "a run that completed left intents open")
            require(bool(self.outcome(place)), "a run with something to do brought nothing about")

    def test_a_second_run_finds_nothing(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            self.completed(place)
            before = self.outcome(place)
            made = self.completed(place)
            require(self.outcome(place) == before, "a second run brought the same about again")
            require(self.whole or made.units == 0, "a second run, with nothing to do, made a unit")

    def test_a_run_cut_off_anywhere_brings_everything_about_once(self, tmp_path: Path) -> None:
        expected = self.expected(tmp_path / "whole")
        for number in range(1, MAX_STEPS + 1):
            with self.place(tmp_path / str(number)) as place:
                cut = attempt(self, place, new_run=True, dies_at=number)
                if cut.how == "completed":
                    return
                require(cut.how == "cut", f"the run failed at step {number}: {cut.error}")
                self.completed(place, new_run=False)
                self._require_same(expected, self.outcome(place), f"cut off at step {number}")
                require(not place.ledger.open, f"cut off at step {number}, the run left intents open")
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
            require(made.how in ("stopped", "completed"), f"a run that was asked to stop ended with {made.error}")
            require(made.units <= 2, "a run that was asked to stop went on after its next unit")
            whole_way = made.how == "stopped" or self.outcome(place) == expected
            require(whole_way, "a run that was asked to stop ended without a unit, and left work undone")
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
                require(all(redactor.redact(text) == text for text in texts), f"a secret shows in {where}")
            for path in sorted(place.data_dir.rglob("*")):
                data = path.read_bytes() if path.is_file() else b""
                require(redactor.redact_bytes(data) == data, f"a secret shows in the file {path.name}")

    def test_a_run_that_fails_says_so_in_a_line(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            self.spoil(place)
            made = attempt(self, place, new_run=True)
            require(made.error is not None, f"a run in a spoilt world ended with {made.how}")
            text = str(made.error)
            require(0 < len(text) <= MAX_LINE and "\n" not in text, "an error's text is not one line")

    def test_a_run_writes_only_where_it_may(self, tmp_path: Path) -> None:
        with self.place(tmp_path) as place:
            allowed = [place.data_dir, *self.may_write(place)]
            before = _files(tmp_path, allowed)
            self.completed(place)
            changed = sorted(name for name, seen in _files(tmp_path, allowed).items() if before.pop(name, None) != seen)
            require(not changed, f"a run wrote {', '.join(changed)}, where it may not")
            require(not before, f"a run removed {', '.join(sorted(before))}")

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
            require(not odd, f"{when}, the run {what.format(odd.total())}, such as {next(iter(odd), '')[:200]}")


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
