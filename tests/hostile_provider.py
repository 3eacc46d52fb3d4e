"""A provider that breaks every rule of the conformance suite, one job type a rule.

`honest-import` and `honest-export` keep them all; every other job type is one of the two with one thing wrong. The table
`HOSTILE` says which rule must catch it, and in which words.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from reconciler.core.provider import Context, Intent, JobType, Method, Provider, Unit
from reconciler.errors import Fatal


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    stream: str
    path: str


def schema(stream: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["stream", "path"],
        "properties": {
            "stream": {"type": "string", "description": "The stream", "x-stream": stream},
            "path": {"type": "string", "description": "The file"},
        },
    }


Run = Callable[[Context], Iterator[Any]]


def things_of(context: Context) -> list[Any]:
    try:
        found: list[Any] = json.loads(context.path(context.config.path).read_text())
    except FileNotFoundError:
        raise Fatal(f"there is no {context.config.path}") from None
    return found


def land(context: Context, things: list[Any], cursor: Any, **more: Any) -> Unit:
    table = context.data.read_json(json.dumps(things).encode(), "").table
    return Unit(cursor=cursor, rows=len(things), segments=context.data.stage(context.config.stream, table), **more)


def honest_import(context: Context) -> Iterator[Unit]:
    things, done = things_of(context), context.cursor or 0
    while done < len(things):
        some = things[done : done + 2]
        done += len(some)
        yield land(context, some, done)


def send(context: Context, key: str, texts: list[str]) -> None:
    with context.path(context.config.path).open("a") as inbox:
        inbox.write(json.dumps({"key": key, "texts": texts}) + "\n")


def texts_of(context: Context, first: int, stop: int) -> list[str]:
    return [text for _, some in context.stream(context.config.stream).json_messages(first, stop) for text in some]


def batch(context: Context, first: int, stop: int) -> Intent:
    return Intent(key=f"{context.run}-{first}", first=first, last=stop - 1, digest="0" * 64)


def export(context: Context, *, key: Callable[[Context, Intent], str], early: bool = False) -> Iterator[Unit]:
    """Two messages a batch; with `early`, each is sent before its intent is committed."""
    if not context.path(context.config.path).parent.is_dir():
        raise Fatal(f"there is no folder for {context.config.path}")
    done = context.cursor or 0
    for intent in context.open_intents:
        send(context, key(context, intent), texts_of(context, intent.first, intent.last + 1))
        done = intent.last + 1
        yield Unit(cursor=done, rows=intent.last + 1 - intent.first, closes=(intent.key,))
    while done < (end := context.stream(context.config.stream).end):
        intent = batch(context, done, min(done + 2, end))
        if early:
            send(context, f"{context.attempt}-{done}", texts_of(context, intent.first, intent.last + 1))
        context.intend([intent])
        if not early:
            send(context, key(context, intent), texts_of(context, intent.first, intent.last + 1))
        done = intent.last + 1
        yield Unit(cursor=done, rows=intent.last + 1 - intent.first, closes=(intent.key,))


def honest_export(context: Context) -> Iterator[Unit]:
    return export(context, key=lambda _, intent: intent.key)


def units(change: Callable[[Context, Unit], Any]) -> Run:
    """The honest import with every unit changed."""

    def run(context: Context) -> Iterator[Any]:
        for unit in honest_import(context):
            yield change(context, unit)

    return run


def first(act: Callable[[Context], object]) -> Run:
    """The honest import after something else."""

    def run(context: Context) -> Iterator[Any]:
        act(context)
        yield from honest_import(context)

    return run


def token(context: Context) -> str:
    return context.credentials["token"].reveal()


def fail(error: BaseException) -> None:
    raise error


def tells_secrets_in_errors(context: Context) -> Iterator[Unit]:
    try:
        yield from honest_import(context)
    except Fatal as error:
        raise Fatal(f"{error}; the token was {token(context)}") from None


def tells_stories_in_errors(context: Context) -> Iterator[Unit]:
    try:
        yield from honest_import(context)
    except Fatal as error:
        raise Fatal(f"{error}\nand then\nthere was more") from None


def succeeds_always(context: Context) -> Iterator[Unit]:
    try:
        yield from honest_import(context)
    except Fatal:
        return


def forgets(context: Context) -> Iterator[Unit]:
    yield land(context, things_of(context), None)


def runs_ahead(context: Context) -> Iterator[Unit]:
    """Every cursor says that all is done."""
    things, done = things_of(context), context.cursor or 0
    for at in range(done, len(things), 2):
        yield land(context, things[at : at + 2], len(things))


def falls_behind(context: Context) -> Iterator[Unit]:
    """Only the last cursor moves."""
    things, done = things_of(context), context.cursor or 0
    for at in range(done, len(things), 2):
        last = at + 2 >= len(things)
        yield land(context, things[at : at + 2], len(things) if last else done)


def gives_up_when_asked_to_stop(context: Context) -> Iterator[Unit]:
    for unit in honest_import(context):
        if context.stopping():
            return
        yield unit


def does_nothing(context: Context) -> Iterator[Unit]:
    things_of(context)
    yield from ()


def writes_elsewhere(context: Context) -> None:
    (context.path(".") / "stray.txt").write_text("here I was")


def removes(context: Context) -> None:
    context.path("note.txt").unlink(missing_ok=True)


def lands_its_token(context: Context) -> Iterator[Unit]:
    fresh = context.cursor is None
    yield from honest_import(context)
    if fresh:
        yield land(context, [{"token": token(context)}], len(things_of(context)))


def new_keys(context: Context) -> Iterator[Unit]:
    return export(context, key=lambda context, intent: f"{context.attempt}-{intent.key}")


def too_early(context: Context) -> Iterator[Unit]:
    return export(context, key=lambda _, intent: intent.key, early=True)


def intends_twice(context: Context) -> Iterator[Unit]:
    context.intend([batch(context, 0, 1), batch(context, 0, 1)])
    yield Unit(cursor=1)


def leaves_open(context: Context) -> Iterator[Unit]:
    for unit in honest_export(context):
        yield replace(unit, closes=())


def drops_open_ones(context: Context) -> Iterator[Unit]:
    """Closes what an earlier attempt left open, without having sent it."""
    for intent in context.open_intents:
        yield Unit(cursor=intent.last + 1, closes=(intent.key,))
    done = max([context.cursor or 0, *(one.last + 1 for one in context.open_intents)])
    yield from honest_export(_Fresh(context, done))  # type: ignore[arg-type]


class _Fresh:
    """The context without open intents, and with another cursor."""

    def __init__(self, inner: Context, cursor: int) -> None:
        self._inner, self.cursor, self.open_intents = inner, cursor, ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@dataclass(frozen=True)
class Hostile:
    """A job type's run, the rule that catches it, and the words in which it does so."""

    run: Run
    rule: str
    words: str
    export: bool = False


SECRET = "test_no_secret_shows"
MAKES = "test_a_run_makes_units_that_can_be_committed"
CUT = "test_a_run_cut_off_anywhere_brings_everything_about_once"
FAILS = "test_a_run_that_fails_says_so_in_a_line"
WRITES = "test_a_run_writes_only_where_it_may"

HOSTILE: Mapping[str, Hostile] = {
    "prints-secrets": Hostile(
        first(lambda context: print("token:", token(context))), SECRET, "a secret shows in the log"
    ),
    "whispers-secrets": Hostile(
        first(lambda context: print(json.dumps(token(context)), file=sys.stderr)), SECRET, "a secret shows in the log"
    ),
    "logs-secrets": Hostile(first(lambda context: context.log(token(context))), SECRET, "a secret shows in the log"),
    "tells-secrets": Hostile(
        units(lambda context, unit: replace(unit, message=f"with {token(context)}")),
        SECRET,
        "a secret shows in a unit or intent",
    ),
    "keeps-secrets": Hostile(
        units(lambda context, unit: replace(unit, cursor=token(context))), SECRET, "a secret shows in a unit or intent"
    ),
    "fails-with-secrets": Hostile(tells_secrets_in_errors, SECRET, "a secret shows in an error"),
    "lands-secrets": Hostile(lands_its_token, SECRET, "a secret shows in a message"),
    "yields-garbage": Hostile(units(lambda _, unit: {"rows": 3}), MAKES, "yielded a dict, which is no Unit"),
    "yields-none": Hostile(units(lambda _, unit: None), MAKES, "yielded a NoneType, which is no Unit"),
    "odd-cursor": Hostile(units(lambda _, unit: replace(unit, cursor={1, 2})), MAKES, "a unit's cursor is not JSON"),
    "odd-number": Hostile(
        units(lambda _, unit: replace(unit, cursor=float("nan"))), MAKES, "a unit's cursor is not JSON"
    ),
    "huge-cursor": Hostile(
        units(lambda _, unit: replace(unit, cursor="x" * 2_000_000)),
        MAKES,
        "a unit's cursor is larger than 1048576 bytes",
    ),
    "huge-message": Hostile(
        units(lambda _, unit: replace(unit, message="x" * 1_000_000)), MAKES, "a unit's message is over 4000"
    ),
    "huge-log": Hostile(
        first(lambda context: context.log("x" * 1_000_000)), MAKES, "a line of the log is longer than 4000 letters"
    ),
    "two-lines": Hostile(
        units(lambda _, unit: replace(unit, message="a\nevent=Failed")), MAKES, "a unit's message is more than one line"
    ),
    "miscounts": Hostile(
        units(lambda _, unit: replace(unit, rows=99)), MAKES, "a unit counts 99 rows, and its segments hold 2"
    ),
    "negative": Hostile(
        units(lambda _, unit: replace(unit, omitted=-1)), MAKES, "a unit's counts are not natural numbers"
    ),
    "omits-silently": Hostile(
        units(lambda _, unit: replace(unit, omitted=1)), MAKES, "a unit omits rows and names no rejects file"
    ),
    "names-nothing": Hostile(
        units(lambda _, unit: replace(unit, rejects=("rejects/none.ndjson",))),
        MAKES,
        "a unit names the file rejects/none.ndjson, which is not there",
    ),
    "closes-nothing": Hostile(
        units(lambda _, unit: replace(unit, closes=("k",))), MAKES, "a unit closes k, which is not open"
    ),
    "does-nothing": Hostile(does_nothing, MAKES, "a run with something to do made no unit"),
    "odd-error": Hostile(first(lambda _: fail(KeyError("a"))), MAKES, "raised KeyError, which is no RunError"),
    "odder-error": Hostile(first(lambda _: fail(GeneratorExit())), MAKES, "raised GeneratorExit, which is no RunError"),
    "sleeps": Hostile(first(lambda _: time.sleep(60)), MAKES, "made no unit within 0.5 s"),
    "exits": Hostile(first(lambda _: sys.exit(3)), MAKES, "ended the process with exit code 3"),
    "exits-at-once": Hostile(first(lambda _: os._exit(4)), MAKES, "ended the process with exit code 4"),
    "reads-others": Hostile(
        first(lambda context: context.stream("other")), MAKES, "read the stream 'other', which its config does not name"
    ),
    "forgets": Hostile(forgets, "test_a_second_run_finds_nothing", "a second run brought the same about again"),
    "runs-ahead": Hostile(runs_ahead, CUT, "the run lost"),
    "falls-behind": Hostile(falls_behind, CUT, "messages about twice"),
    "gives-up": Hostile(
        gives_up_when_asked_to_stop,
        "test_a_run_stops_at_its_next_unit",
        "a run that was asked to stop ended without a unit, and left work undone",
    ),
    "succeeds-always": Hostile(succeeds_always, FAILS, "a run in a spoilt world ended with completed"),
    "tells-stories": Hostile(tells_stories_in_errors, FAILS, "an error's text is not one line"),
    "writes-elsewhere": Hostile(first(writes_elsewhere), WRITES, "a run wrote root/stray.txt, where it may not"),
    "removes": Hostile(first(removes), WRITES, "a run removed root/note.txt"),
    "new-keys": Hostile(new_keys, CUT, "messages about twice", export=True),
    "too-early": Hostile(too_early, CUT, "messages about twice", export=True),
    "drops-open-ones": Hostile(drops_open_ones, CUT, "the run lost", export=True),
    "intends-twice": Hostile(intends_twice, MAKES, "was intended twice", export=True),
    "leaves-open": Hostile(leaves_open, MAKES, "a run that completed left intents open", export=True),
}


def _job_type(name: str, run: Run, export: bool) -> JobType:
    return JobType(
        name=name,
        type="export" if export else "import",
        title=name,
        schema=schema("reads" if export else "writes"),
        config=Config.model_validate,
        run=run,
        authorization="required",
    )


PROVIDER = Provider(
    name="hostile",
    title="Breaks every rule",
    methods=(Method(name="token", title="A token", fields={"token": "The token"}),),
    job_types=(
        _job_type("honest-import", honest_import, False),
        _job_type("honest-export", honest_export, True),
        *(_job_type(name, hostile.run, hostile.export) for name, hostile in HOSTILE.items()),
    ),
)
