"""A stream into a file. The cursor is `{"position": <the next one>, "run": <the last run that wrote>}`.

The file's name and positions are committed as an intent before it is written, so a run that dies between the renaming
of the file and the commit of its unit writes the same file again. `only: all` replaces the file, and so needs no more
than that; `only: new` never replaces a file but the one of its own open intent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Literal

from reconciler.core.provider import Context, Intent, StreamReader, Unit
from reconciler.errors import Fatal
from reconciler.providers.cursors import fields_of

Kind = Literal["csv", "ndjson", "parquet"]

#: The config fields that say how a file is written.
_OPTIONS: Final = ("delimiter", "quote", "header", "compression")


def export(kind: Kind, context: Context) -> Iterator[Unit]:
    """The units of an export: one file each."""
    reader = context.stream(context.config.stream)
    write = _all if context.config.only == "all" else _new
    return write(kind, context, reader)


def _all(kind: Kind, context: Context, reader: StreamReader) -> Iterator[Unit]:
    name = _name(context)
    intents = [_intent(context, name, 0, reader.end)] if reader.end else []
    if intents:
        context.intend(intents)
    rows = _write(kind, context, reader, name, 0, reader.end)
    keys = [intent.key for intent in (*context.open_intents, *intents)]
    yield _unit(context, name, rows, reader.end, keys)


def _new(kind: Kind, context: Context, reader: StreamReader) -> Iterator[Unit]:
    cursor = context.cursor or {"position": 0, "run": None}
    fields_of(cursor, "an export of files", {"position": int})
    written = {cursor.get("run")}
    position = cursor["position"]
    for intent in context.open_intents:
        planned = intent.detail
        rows = 0
        if planned["stream"] == context.config.stream:
            rows = _write(kind, context, reader, planned["path"], intent.first, intent.last + 1)
            position = max(position, intent.last + 1)
            written.add(planned["run"])
        yield _unit(context, planned["path"], rows, position, [intent.key], run=planned["run"])
    if position > reader.end:
        raise Fatal(f"stream {reader.name} ends at {reader.end}, before position {position}; `restart` exports it anew")
    if position == reader.end or context.run in written:
        return
    name = _name(context)
    if context.path(name).exists():
        raise Fatal(f"{name} is there already, and `only: new` replaces no file")
    intent = _intent(context, name, position, reader.end)
    context.intend([intent])
    rows = _write(kind, context, reader, name, position, reader.end)
    yield _unit(context, name, rows, reader.end, [intent.key])


def _name(context: Context) -> str:
    return str(context.config.path).replace("{run}", str(context.run))


def _intent(context: Context, name: str, first: int, stop: int) -> Intent:
    return Intent(
        key=f"{context.job}/{context.run}/{context.attempt}/{first}-{stop - 1}",
        first=first,
        last=stop - 1,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        detail={"path": name, "stream": context.config.stream, "run": context.run},
    )


def _write(kind: Kind, context: Context, reader: StreamReader, name: str, first: int, stop: int) -> int:
    config = context.config
    options: dict[str, Any] = {one: getattr(config, one) for one in _OPTIONS if hasattr(config, one)}
    return context.data.write_file(context.path(name), kind, reader, first, stop, meta=config.meta, options=options)


def _unit(context: Context, name: str, rows: int, position: int, keys: list[str], *, run: int | None = None) -> Unit:
    return Unit(
        cursor={"position": position, "run": context.run if run is None else run},
        rows=rows,
        closes=tuple(keys),
        message=f"wrote {name}",
    )


_KINDS: Final[tuple[Kind, ...]] = ("csv", "ndjson", "parquet")
RUNS: Final = {kind: partial(export, kind) for kind in _KINDS}
