"""The messages of one stream as SQL: who each is about, when it was, and what it contributes.

A segment's schema is its own, so segments are grouped by the fields that the rules name, these are read from each group
in their declared types, and the groups follow one another. Positions are those of the record: a segment's first one and
the row's number in its file, which compaction keeps.

DuckDB reads the files itself, but for segments whose schema it would not read as they were written (names that differ
only in case, nested values): those pass through Arrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.language import input_expression
from reconciler.core.language.reading import Once
from reconciler.core.language.types import type_of
from reconciler.core.messages import SegmentRef
from reconciler.core.profile import Attribute, ProfileRules, StreamRules
from reconciler.core.value import dataclass
from reconciler.data.names import META, raw, sql_string
from reconciler.data.profiles import columns
from reconciler.data.profiles.columns import quoted
from reconciler.data.profiles.merges import Merge
from reconciler.data.profiles.order import STREAM_SLOTS as STREAM_SLOTS
from reconciler.errors import Fatal, Retriable

_T: Final = pa.types

#: DuckDB's own columns of a file that it reads; a segment with such a column passes through Arrow.
_VIRTUAL: Final = ("file_index", "file_row_number", "filename")

#: In generated SQL: a text, or a quoted name.
_TOKENS: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")

_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a stream's messages give one attribute: `index` is the attribute's number among all, `sql` is over `c<n>`."""

    index: int
    attribute: Attribute
    sql: str


class Messages:
    """The messages of one stream. `slot` is the stream's number in the rules, by name."""

    def __init__(self, data_dir: Path, rules: ProfileRules, slot: int, merges: Mapping[str, Merge]) -> None:
        self.rules: StreamRules = rules.streams[slot]
        self.slot = slot
        self.keys = [rules.keys.index(one.key) for one in self.rules.identity]
        self._data_dir = data_dir
        self._columns: list[str] = []
        numbers = {name: index for index, name in enumerate(rules.attributes)}
        self.contributions = [
            Contribution(numbers[one.name], one, self._input(one, merges[one.name]))
            for one in self.rules.attributes
            if one.name in merges
        ]

    def _input(self, attribute: Attribute, merge: Merge) -> str:
        expression = input_expression(self.rules, attribute)
        if expression is None:
            return merge.input("TRUE")
        return merge.input(_renamed(expression.sql, {name: self._number(name) for name in expression.columns}))

    def _number(self, column: str) -> str:
        """The name under which a raw column stands, so that names which differ in case alone are told apart."""
        if column not in self._columns:
            self._columns.append(column)
        return f"c{self._columns.index(column)}"

    def sql(self, connection: Any, segments: Sequence[SegmentRef], first: int, stop: int, only: str = "") -> str:
        """A query of the messages at `first <= position < stop`: `i<n>` for each identity; `r` and `t`, when it was
        received (ms) and happened (us); `p`, position and stream in one; `u`, whether it has no time of its own; `x<n>`
        for each attribute by number. `only` is a condition over the `i<n>`. It can be run once: what passes through
        Arrow passes once. Empty where there are none. Raises Retriable where a segment is missing, Fatal where one is
        damaged."""
        everything = self.texts_sql(connection, segments, first, stop)
        if not everything:
            return ""
        layers = Layers(everything)
        columns = [f"{value} AS i{index}" for index, value in enumerate(self.identifiers(layers.once))]
        inputs = [f"x{one.index}" for one in self.contributions]
        found = layers.select([*columns, "r", "t", "p", "u", *inputs])
        return f"SELECT * FROM ({found}) WHERE {only}" if only else found

    def texts_sql(self, connection: Any, segments: Sequence[SegmentRef], first: int, stop: int) -> str:
        """The same, with `s<n>` in the place of `i<n>`: the text from which `identifiers` makes the identifier."""
        groups: dict[tuple[bool, str], tuple[dict[str, pa.Field], list[SegmentRef]]] = {}
        for segment in segments:
            if segment.first < stop and segment.first + segment.rows > first:
                schema = self._schema(segment)
                wanted = self._wanted(schema)
                alike = pa.schema(list(wanted.values())).to_string(show_field_metadata=True)
                groups.setdefault((_is_plain(schema, wanted.values()), alike), (wanted, []))[1].append(segment)
        parts = [
            self._group(connection, group, wanted, first, stop, plain=plain)
            for (plain, _), (wanted, group) in groups.items()
        ]
        inputs = "".join(f", {one.sql} AS x{one.index}" for one in self.contributions)
        texts = "".join(f"s{index}, " for index in range(len(self.keys)))
        return f"SELECT {texts}r, t, p, u{inputs} FROM ({' UNION ALL '.join(parts)})" if parts else ""

    def identifiers(self, once: Once) -> list[str]:
        """Each identifier over the `s<n>`; `once` is that of `Layers`."""
        return [columns.normalized(f"s{index}", one.normalize, once) for index, one in enumerate(self.rules.identity)]

    def nothing(self) -> str:
        """A query of no messages, with the columns of `texts_sql`."""
        texts = "".join(f"NULL::VARCHAR AS s{index}, " for index in range(len(self.keys)))
        typed = "".join(
            f", NULL::{type_of(self.rules.columns.get(name, 'text')).sql} AS c{index}"
            for index, name in enumerate(self._columns)
        )
        inputs = "".join(f", {one.sql} AS x{one.index}" for one in self.contributions)
        return f"""
            SELECT * EXCLUDE (z){inputs} FROM (
                SELECT {texts}0::BIGINT AS r, 0::BIGINT AS t, 0::BIGINT AS p, false AS u, 0 AS z{typed} WHERE false)"""

    # --- segments ---

    def _schema(self, segment: SegmentRef) -> pa.Schema:
        try:
            with pq.ParquetFile(self._data_dir / segment.file) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
        except FileNotFoundError:
            raise Retriable(f"segment {segment.file} of stream {self.rules.name} is missing") from None
        except (pa.ArrowException, OSError) as error:
            raise Fatal(f"segment {segment.file} of stream {self.rules.name} is damaged: {error}") from None
        if rows != segment.rows:
            found = f"it holds {rows} messages instead of {segment.rows}"
            raise Fatal(f"segment {segment.file} of stream {self.rules.name} is damaged: {found}")
        return schema

    def _wanted(self, schema: pa.Schema) -> dict[str, pa.Field]:
        """The fields that the rules name, by raw name, sorted."""
        fields = {raw(field.name): field for field in schema if field.name not in META}
        return {name: fields[name] for name in sorted(self._named()) if name in fields}

    def _group(
        self, connection: Any, segments: Sequence[SegmentRef], wanted: Mapping[str, pa.Field], first: int, stop: int,
        *, plain: bool,
    ) -> str:  # fmt: skip
        """Messages of segments that are alike in the fields that are wanted; whether DuckDB reads them as they are."""
        if plain:
            source, place = self._by_duckdb(segments)
            names = [quoted(field.name) for field in wanted.values()]
        else:
            source, place = self._by_arrow(connection, segments, wanted), "a"
            names = [f"a{index}" for index in range(len(wanted))]
        raws = "".join(f", {name} AS b{index}" for index, name in enumerate(names))
        layers = Layers(
            f"SELECT _received, _timestamp, {place} AS a{raws} FROM {source} WHERE {_part(segments, place, first, stop)}"
        )
        places = {name: f"b{index}" for index, name in enumerate(wanted)}
        return layers.select(list(self._selected(wanted, places, layers.once)))

    def _named(self) -> set[str]:
        identities = {one.column for one in self.rules.identity}
        return {*identities, *self._columns, *([self.rules.timestamp_field] if self.rules.timestamp_field else [])}

    def _selected(self, fields: Mapping[str, pa.Field], names: Mapping[str, str], once: Once) -> Iterator[str]:
        own = "NULL::BIGINT"
        if self.rules.timestamp_field in fields:
            name = self.rules.timestamp_field
            own = once(columns.own_time(fields[name], names[name], self.rules.timestamp_format, once))
        yield "greatest(epoch_ms(_received), 0) AS r"
        yield f"coalesce({own}, epoch_us(_timestamp), epoch_us(_received)) AS t"
        yield f"a * {STREAM_SLOTS} + {self.slot} AS p"
        yield f"{own} IS NULL AND _timestamp IS NULL AS u"
        for index, one in enumerate(self.rules.identity):
            field = fields.get(one.column, pa.field(one.column, pa.null()))
            yield f"{columns.as_text(field, names.get(one.column, 'NULL'))} AS s{index}"
        for index, name in enumerate(self._columns):
            field = fields.get(name, pa.field(name, pa.null()))
            wanted = self.rules.columns.get(name, "text")
            value = columns.typed(field, names.get(name, "NULL"), wanted, once)
            if name == self.rules.timestamp_field and self.rules.timestamp_format != "iso8601":
                value = columns.of_time(own, wanted) or value
            yield f"{value} AS c{index}"

    def _by_duckdb(self, segments: Sequence[SegmentRef]) -> tuple[str, str]:
        files = ", ".join(sql_string(str(self._data_dir.resolve() / one.file)) for one in segments)
        firsts = ", ".join(str(one.first) for one in segments)
        source = f"read_parquet([{files}], union_by_name = false)"
        if len(segments) == 1:
            return source, f"{firsts}::BIGINT + file_row_number::BIGINT"
        return source, f"([{firsts}]::BIGINT[])[file_index::BIGINT + 1] + file_row_number::BIGINT"

    def _by_arrow(self, connection: Any, segments: Sequence[SegmentRef], fields: Mapping[str, pa.Field]) -> str:
        """The position as `a`, the raw columns as `a<n>`."""
        taken = [field for name in ("_received", "_timestamp") for field in [pa.field(name, _META[name])]]
        renamed = [field.with_name(f"a{index}").remove_metadata() for index, field in enumerate(fields.values())]
        schema = pa.schema([pa.field("a", pa.int64()), *taken, *renamed])
        stored = [*(field.name for field in taken), *(field.name for field in fields.values())]

        def batches() -> Iterator[pa.RecordBatch]:
            for segment in segments:
                position = segment.first
                with pq.ParquetFile(self._data_dir / segment.file) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=stored, use_threads=False):
                        places = pa.array(range(position, position + batch.num_rows), pa.int64())
                        values = [batch.column(name) for name in stored]
                        arrays = [
                            places,
                            *(one.cast(field.type) for one, field in zip(values, list(schema)[1:], strict=True)),
                        ]
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                        position += batch.num_rows

        name = f"arrow_{self.slot}_{segments[0].first}"
        connection.register(name, pa.RecordBatchReader.from_batches(schema, batches()))
        return name


_META: Final = {"_received": pa.timestamp("ms", "UTC"), "_timestamp": pa.timestamp("us", "UTC")}


class Layers:
    """A query inside a query inside a query, so that what is used twice is computed once: `once` names a value over the
    columns of `base` and over names that it has given before."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._levels: list[dict[str, str]] = []

    def once(self, sql: str) -> str:
        if _NAME.fullmatch(sql):
            return sql
        level = 1 + max((int(found) for found in _LEVEL.findall(sql)), default=-1)
        while len(self._levels) <= level:
            self._levels.append({})
        names = self._levels[level]
        return names.setdefault(sql, f"l{level}_{len(names)}")

    def select(self, columns: Sequence[str]) -> str:
        query = self._base
        for names in self._levels:
            query = f"SELECT *, {', '.join(f'{sql} AS {name}' for sql, name in names.items())} FROM ({query})"
        return f"SELECT {', '.join(columns)} FROM ({query})"


#: What `Layers` names.
_LEVEL: Final = re.compile(r"\bl(\d+)_\d+\b")
_NAME: Final = re.compile(r"[bs]\d+|l\d+_\d+")


def _part(segments: Sequence[SegmentRef], place: str, first: int, stop: int) -> str:
    """The condition on a row to be within the range, and there at all: where `_received` is null, the message is gone."""
    if all(first <= one.first and one.first + one.rows <= stop for one in segments):
        return "_received IS NOT NULL"
    return f"_received IS NOT NULL AND {place} >= {first} AND {place} < {stop}"


def _is_plain(schema: pa.Schema, wanted: Any) -> bool:
    """Whether DuckDB reads what is wanted of such a file as Arrow does."""
    folded = [name.lower() for name in schema.names]
    if len(set(folded)) < len(folded) or any(name in folded for name in _VIRTUAL):
        return False
    return all(_is_simple(field.type) for field in wanted)


def _is_simple(kind: pa.DataType) -> bool:
    return (
        _T.is_string(kind)
        or _T.is_boolean(kind)
        or _T.is_integer(kind)
        or _T.is_float32(kind)
        or _T.is_float64(kind)
        or _T.is_decimal128(kind)
        or (_T.is_timestamp(kind) and kind.unit in ("ms", "us"))
        or _T.is_date32(kind)
        or _T.is_null(kind)
    )


def _renamed(sql: str, names: Mapping[str, str]) -> str:
    """The SQL with quoted names replaced; texts stay as they are."""
    by_quoted = {quoted(name): new for name, new in names.items()}
    return _TOKENS.sub(lambda found: by_quoted.get(found.group(), found.group()), sql)
