"""`enrich-join`: what a reference file says of people, as messages on a stream.

A row becomes a message where its key is an identifier of a profile, and where it is new or has changed since its last
message. Of two rows with one key the last counts. Nothing is unsaid: a row that goes leaves what it said.

The cursor is `{"files": <a mark for each file>, "build": <of the profiles>, "shape": <digest of the config>, "memory":
[<files of the job's own>]}`. Where none of the first three has changed nothing is read; else the reference is read whole,
twice, because a row that has not changed may be the first one for a profile that is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler.clock import iso
from reconciler.core.document import digest_of
from reconciler.core.enrichment import ENRICHED_AT, Enrichment, News, Reference
from reconciler.core.provider import Block, Context, Json, Reject, Table, TimestampRule, Unit
from reconciler.errors import Fatal, Retriable
from reconciler.providers.cursors import fields_of, texts_of
from reconciler.providers.files.imports import SPARED, SPARED_BYTES, size_of

#: A unit is committed once it holds about this much.
UNIT_BYTES: Final = 8 << 20

_BEGINNING: Final[Mapping[str, Any]] = {"files": {}, "build": 0, "shape": "", "memory": []}


def run(context: Context) -> Iterator[Unit]:
    """The units of an enrichment from a reference."""
    join = _Join(context, context.enrichment())
    if join.has_work():
        yield from join.units()
    else:
        yield from join.spared()


@dataclass
class _Batch:
    """What the next unit is made of."""

    news: list[News] = field(default_factory=list)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)
    size: int = 0


@dataclass
class _Reading:
    """What one reading of the whole reference found. The first one counts: what has changed by the second one is found
    by the next run, against these marks."""

    marks: dict[str, Json] = field(default_factory=dict)
    bad: dict[str, list[Reject]] = field(default_factory=dict)
    size: int = 0


class _Join:
    def __init__(self, context: Context, hands: Enrichment) -> None:
        self._context = context
        self._config = context.config
        self._hands = hands
        self._sources = context.expand(self._config.path)
        self._before = fields_of(
            context.cursor or dict(_BEGINNING), "enrich-join", {"files": dict, "build": int, "shape": str}
        )
        self._memory = texts_of(self._before.get("memory"), "enrich-join")
        self._shape = digest_of(self._config.model_dump(mode="json"))
        self._build = 0
        self._spared: dict[str, Json] = {}
        self._spared_bytes = 0
        self._readings: list[_Reading] = []
        self._omitted = context.omitted
        self._at = ""  # the file that is being read
        self._rule = self._timestamp()

    def _timestamp(self) -> TimestampRule:
        config = self._config
        if config.timestamp_field is None:
            return TimestampRule(field=ENRICHED_AT)
        written = config.timestamp_format or self._context.time_format(config.stream, config.timestamp_field)
        return TimestampRule(field=config.timestamp_field, format=written)

    # --- whether there is anything to do

    def has_work(self) -> bool:
        self._files_moved = self._have_files_moved()
        self._build = 0 if self._config.match == "all" else self._hands.build()
        known = (self._before["build"], self._before["shape"])
        return self._files_moved or known != (self._build, self._shape)

    def _have_files_moved(self) -> bool:
        """Whether a file has come, gone or changed. One that was read again and is as it was (it was young when its mark
        was made) has not; its new mark is noted, with which no other run need read it for that."""
        marks = self._before["files"]
        if {name for name, _ in self._sources} != marks.keys():
            return True
        for name, path in self._sources:
            block = next(_naming(name, self._open(path, marks[name])), None)
            if block and (block.table.num_rows or block.rejects or block.note):
                return True
            if block:
                self._spared[name] = block.mark
                self._spared_bytes += size_of(path)
        return False

    # --- reading

    def _open(self, path: Path, mark: Json) -> Iterator[Block]:
        config, data = self._config, self._context.data
        match config.format:
            case "parquet":
                return data.read_parquet(path, mark)
            case "ndjson":
                return data.read_ndjson(path, mark, encoding=config.encoding, compression=config.compression)
            case _:
                return data.read_csv(
                    path, mark, delimiter=config.delimiter, quote=config.quote, encoding=config.encoding, header=True,
                    columns=None, compression=config.compression,
                )  # fmt: skip

    def _blocks(self) -> Iterator[Block]:
        """The whole reference. Raises Fatal where more rows are bad than may be."""
        reading = _Reading()
        self._readings.append(reading)
        for name, path in self._sources:
            for block in _naming(name, self._open(path, None)):
                reading.marks[name] = block.mark
                reading.size += block.table.nbytes
                if block.rejects:
                    reading.bad.setdefault(name, []).extend(block.rejects)
                    self._within_limit(sum(map(len, reading.bad.values())), name, block.rejects[0])
                self._at = name
                yield block

    def _within_limit(self, more: int, name: str, last: Reject) -> None:
        allowed = self._config.max_rejects
        if self._omitted + more > allowed:
            raise Fatal(f"{name}:{last.line}: {last.reason}; maxRejects is {allowed}")

    # --- units

    def spared(self) -> Iterator[Unit]:
        """The new marks of files that are as they were, where so much was read for them that it is worth a commit."""
        if self._spared_bytes >= SPARED_BYTES:
            files = {**self._before["files"], **self._spared}
            cursor = {**self._before, "files": files, "memory": list(self._memory)}
            yield Unit(cursor=cursor, message=SPARED, moved=False, keeps=self._memory)

    def units(self) -> Iterator[Unit]:
        batch = _Batch()
        for news in self._hands.news(self._blocks, self._reference(), self._memory, at_ms=self._context.now_ms()):
            if batch.size >= UNIT_BYTES:
                yield self._unit(batch, last=False)
                batch = _Batch()
            self._add(batch, news)
        reading = self._readings[0]
        if batch.news or (self._files_moved and reading.bad) or reading.size >= SPARED_BYTES:
            yield self._unit(batch, last=True)

    def _reference(self) -> Reference:
        config = self._config
        return Reference(
            stream=config.stream,
            column=config.column,
            identity=config.key.identity,
            columns=config.columns and (*config.columns, *filter(None, [config.timestamp_field])),
            everyone=config.match == "all",
            at="" if config.timestamp_field else iso(self._context.now_ms()),
            has_gaps=config.format == "ndjson",
        )

    def _add(self, batch: _Batch, news: News) -> None:
        if self._config.timestamp_field:
            block = self._context.data.check_timestamps(news.block, self._rule)
            news = News(block, news.entries)
        batch.news.append(news)
        batch.size += news.block.table.nbytes
        if news.block.rejects:
            batch.rejects.setdefault(self._at, []).extend(news.block.rejects)
            self._within_limit(sum(map(len, batch.rejects.values())), self._at, news.block.rejects[0])

    def _unit(self, batch: _Batch, *, last: bool) -> Unit:
        """`last` ends a reading: only then are its files and profiles done with."""
        tables: list[Table] = [one.block.table for one in batch.news if one.block.table.num_rows]
        rejects = dict(batch.rejects)
        if last and self._files_moved:
            rejects |= {name: rejects.get(name, []) + bad for name, bad in self._readings[0].bad.items()}
        segments = self._context.data.stage(self._config.stream, tables, timestamp=self._rule) if tables else ()
        if batch.news:
            self._memory = self._hands.remember([one.entries for one in batch.news], self._memory)
        omitted = sum(map(len, rejects.values()))
        self._omitted += omitted
        rows = sum(segment.rows for segment in segments)
        return Unit(
            cursor=self._cursor(last),
            rows=rows,
            omitted=omitted,
            segments=segments,
            rejects=tuple(dict.fromkeys([self._context.data.stage_rejects(*one) for one in rejects.items()])),
            message=_message(rows, omitted),
            moved=bool(batch.news or omitted),
            keeps=self._memory,
        )

    def _cursor(self, last: bool) -> Json:
        now = {"files": self._readings[0].marks, "build": self._build, "shape": self._shape}
        done = now if last else self._before
        return {**done, "memory": list(self._memory)}


def _naming(name: str, blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks; errors say which file it was."""
    try:
        yield from blocks
    except Fatal as error:
        raise Fatal(f"{name}: {error}") from None
    except Retriable as error:
        raise Retriable(f"{name}: {error}", retry_after_s=error.retry_after_s) from None


def _message(rows: int, omitted: int) -> str:
    parts = ["1 row is new or has changed" if rows == 1 else f"{rows} rows are new or have changed"] if rows else []
    if omitted:
        parts.append("1 bad row" if omitted == 1 else f"{omitted} bad rows")
    return "; ".join(parts) or SPARED
