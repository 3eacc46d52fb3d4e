"""The data hands of an enrichment (`reconciler.core.enrichment`): identifiers of profiles, reference rows and the memory
of what was said are joined in DuckDB, whose memory is bounded; what does not fit goes to disk.

A file of the memory is Parquet with one row an identifier: `high` and `low` (128 bits of the keyed digest of its value),
`digest` (64 bits of that of what was said last) and `at_ms` (negative where the asking failed). Of several files the later
one knows better. Digests are numbers, because a join of texts would take four times the memory, and keyed (SHA-256 over a
secret of the record and the text), so that nobody learns from a file whom it speaks of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.enrichment import ENRICHED_AT, Due, News, Reference
from reconciler.core.profile import Identity, ProfileRules, ProfileSet
from reconciler.core.provider import Block, Locate
from reconciler.core.suggest import did_you_mean
from reconciler.core.value import dataclass
from reconciler.data.durable import replaced
from reconciler.data.engine import workspace
from reconciler.data.names import sql_string
from reconciler.data.profiles.columns import identifier
from reconciler.data.profiles.read import ProfileReader
from reconciler.data.render import json_messages
from reconciler.data.segments import TEMPORARY, job_file
from reconciler.errors import Fatal, Retriable

#: So many files of the memory are kept before they are put together.
MAX_FILES: Final = 16

#: So many identifiers are joined at one time for each MiB of memory.
PART_ROWS_PER_MB: Final = 2_000

#: The profiles of a set as a SELECT: one row a profile, with its values of each key in a list `key:<identity>`, in order
#: of their first commit.
View = Callable[[ProfileSet, Sequence[str]], str]

_MEMORY: Final = pa.schema(
    [("high", pa.uint64()), ("low", pa.uint64()), ("digest", pa.uint64()), ("at_ms", pa.int64())]
)
_EMPTY: Final = "SELECT 0::UBIGINT AS high, 0::UBIGINT AS low, 0::UBIGINT AS digest, 0 AS at_ms, 0 AS age WHERE false"


@dataclass(frozen=True, slots=True)
class Digests:
    """The keyed digests of one record."""

    key: str

    def bits(self, text: str, number: int) -> str:
        """SQL: the first (0) or second (1) 64 bits of the digest of a text, as a number."""
        return f"('0x' || substr(sha256({sql_string(self.key)} || {text}), {1 + 16 * number:d}, 16))::UBIGINT"

    def subject(self, text: str) -> str:
        """SQL: the two columns by which the memory knows an identifier."""
        return f"{self.bits(text, 0)} AS high, {self.bits(text, 1)} AS low"

    def subject_of(self, value: str) -> tuple[int, int]:
        """The same of one identifier."""
        found = hashlib.sha256((self.key + value).encode()).digest()
        return int.from_bytes(found[:8], "big"), int.from_bytes(found[8:16], "big")


def open_enrichment(
    data_dir: Path, *, job: str, run: int, attempt: int, unit: Callable[[], int], rules: ProfileRules,
    ask: Callable[[], ProfileSet], key: str, memory_mb: int,
) -> EnrichmentHands:  # fmt: skip
    """The hands of one attempt of a run. `unit` tells the number of the unit that is being made; `ask` brings the
    profiles in which everything is built that was committed before. `key` is the record's, for digests."""

    def view(profiles: ProfileSet, keys: Sequence[str]) -> str:
        return ProfileReader(data_dir, profiles, rules).view_sql([], keys)

    return EnrichmentHands(
        data_dir,
        Profiles(rules, ask, view),
        lambda what: job_file(job, run, attempt, unit(), what),
        Digests(key),
        memory_mb=memory_mb,
    )


class Profiles:
    """The profiles of a run, asked for once. `ask` brings the set, `view` makes a SELECT over it."""

    def __init__(self, rules: ProfileRules, ask: Callable[[], ProfileSet], view: View) -> None:
        self.rules = rules
        self._ask = ask
        self._view = view

    @cached_property
    def set(self) -> ProfileSet:
        return self._ask()

    def values(self, identity: str, *, first: bool) -> str:
        """SQL: the values of an identity, every one or the first of each profile, in a column `value`."""
        if not self.set.files:
            return "SELECT '' AS value WHERE false"
        column = '"key:' + identity.replace('"', '""') + '"'
        value = f"{column}[1]" if first else f"unnest({column})"
        return f"SELECT DISTINCT {value} AS value FROM ({self._view(self.set, [identity])}) WHERE len({column}) > 0"

    def identity(self, stream: str, column: str, identity: str) -> Identity:
        """The rule by which messages of the stream say who they are about. Raises Fatal where there is none: what is
        written would reach nobody."""
        if identity not in self.rules.keys:
            raise Fatal(f"no stream speaks of the identity {identity!r}{did_you_mean(identity, self.rules.keys)}")
        found = self.declared(stream, column, identity)
        if found is not None:
            return found
        raise Fatal(
            f"the stream {stream} does not say that its column {column!r} is the identity {identity!r}, so what is "
            f"written there would reach nobody; declare `{{key: {identity}, from: {column}}}` under its `identity`"
        )

    def declared(self, stream: str, column: str, identity: str) -> Identity | None:
        """The same; None where the stream does not say so."""
        rules = next((one for one in self.rules.streams if one.name == stream), None)
        alike = (one for one in (rules.identity if rules else ()) if (one.key, one.column) == (identity, column))
        return next(alike, None)


class EnrichmentHands:
    """Implements `Enrichment`. `new_file` names a new file of the job's own, relative to the data folder."""

    def __init__(
        self, data_dir: Path, profiles: Profiles, new_file: Callable[[str], str], digests: Digests, *, memory_mb: int
    ) -> None:
        self._data_dir = data_dir
        self._profiles = profiles
        self._new_file = new_file
        self._digests = digests
        self._memory_mb = memory_mb

    def build(self) -> int:
        return self._profiles.set.build

    # --- a reference ---

    def news(
        self, blocks: Callable[[], Iterator[Block]], reference: Reference, memory: Sequence[str], *, at_ms: int
    ) -> Iterator[News]:
        look = self._profiles.declared if reference.everyone else self._profiles.identity
        rule = look(reference.stream, reference.column, reference.identity)
        steps = () if rule is None else rule.normalize
        with workspace(self._data_dir, memory_mb=self._memory_mb) as connection:
            reader = _ReferenceReader(connection, reference, steps, self._digests)
            reader.index(blocks())
            people = "" if reference.everyone else self._subjects(reference.identity)
            reader.choose(people, lambda part: self._memory_sql(memory, part=part), self._memory_mb * PART_ROWS_PER_MB)
            yield from reader.chosen(blocks(), at_ms)

    def _subjects(self, identity: str) -> str:
        """SQL: everybody whom there is a profile of."""
        return f"SELECT {self._digests.subject('value')} FROM ({self._profiles.values(identity, first=False)})"

    # --- whom to look up ---

    def due(
        self, stream: str, column: str, identity: str, memory: Sequence[str],
        *, before_ms: int, limit: int, attempt: int = 1,
    ) -> Due:  # fmt: skip
        self._profiles.identity(stream, column, identity)
        values = self._profiles.values(identity, first=True)
        people = f"SELECT value, {self._digests.subject('value')} FROM ({values})"
        due = (
            f"SELECT value, coalesce(digest, 0) AS digest, at_ms FROM ({people}) "
            f"LEFT JOIN ({self._memory_sql(memory)}) USING (high, low) "
            f"WHERE value <> '' AND (at_ms IS NULL OR at_ms <= {before_ms:d})"
        )
        with workspace(self._data_dir, memory_mb=self._memory_mb) as connection:
            connection.execute(f"CREATE TEMP TABLE due AS {due}")
            rows = connection.execute(
                "SELECT value, digest, coalesce(at_ms < 0, false) AS failed FROM due "
                f"ORDER BY failed, abs(coalesce(at_ms, 0)), {'value' if attempt == 1 else f'md5(value || {attempt:d})'} "
                f"LIMIT {limit:d}"
            ).fetchall()
            ((every,),) = connection.execute("SELECT count(*) FROM due").fetchall()
        found = tuple((value, digest) for value, digest, _ in rows)
        return Due(found, every - len(found), frozenset(value for value, _, failed in rows if failed))

    # --- the memory ---

    def entries(self, found: Sequence[tuple[str, int, int]]) -> pa.Table:
        rows = [(*self._digests.subject_of(value), digest, at_ms) for value, digest, at_ms in found]
        columns = zip(*rows, strict=True) if rows else [()] * len(_MEMORY)
        return pa.table(
            [pa.array(one, field.type) for one, field in zip(columns, _MEMORY, strict=True)], schema=_MEMORY
        )

    def remember(self, entries: Sequence[pa.Table], memory: Sequence[str]) -> tuple[str, ...]:
        given = pa.concat_tables([one.cast(_MEMORY) for one in entries]) if entries else _MEMORY.empty_table()
        file = self._new_file("memory.parquet")
        path = self._data_dir / file
        with replaced(path, path.with_name(path.name + TEMPORARY)) as temporary:
            if len(memory) < MAX_FILES:
                pq.write_table(given, temporary, compression="zstd")
                return (*memory, file)
            self._fold(given, memory, temporary)
        return (file,)

    def _fold(self, given: pa.Table, memory: Sequence[str], into: Path) -> None:
        with workspace(self._data_dir, memory_mb=self._memory_mb) as connection:
            connection.register("given", given)
            newest = f"SELECT high, low, digest, at_ms, {len(memory):d} AS age FROM given"
            sql = self._memory_sql(memory, newest)
            connection.execute(
                f"COPY (SELECT high, low, digest, at_ms FROM ({sql})) TO {sql_string(str(into))} "
                "(FORMAT parquet, USE_TMP_FILE false, COMPRESSION zstd)"
            )

    def _memory_sql(self, memory: Sequence[str], *more: str, part: str = "true") -> str:
        """SQL: what the memory knows of each subject (of a part of them), the last word alone."""
        parts = [
            f"SELECT high, low, digest, at_ms, {age:d} AS age "
            f"FROM read_parquet({sql_string(str(self._path(file)))}) WHERE {part}"
            for age, file in enumerate(memory)
        ]
        every = " UNION ALL ".join([*parts, *more]) or _EMPTY
        return (
            "SELECT high, low, arg_max(digest, age) AS digest, arg_max(at_ms, age) AS at_ms "
            f"FROM ({every}) GROUP BY high, low"
        )

    def _path(self, file: str) -> Path:
        path = self._data_dir.resolve() / file
        if not path.is_file():
            raise Fatal(f"{file}, in which the job remembers what it has written, is gone; `restart` begins anew")
        return path


class _ReferenceReader:
    """Reads a reference twice: first every row's identifier and digest, then, once the join has chosen, the rows
    themselves. Nothing of the reference is held in between but that index."""

    def __init__(self, connection: Any, reference: Reference, steps: Sequence[str], digests: Digests) -> None:
        self._connection = connection
        self._reference = reference
        self._steps = steps
        self._digests = digests
        self._seen: set[str] = set()
        self._missing: set[str] = set()
        connection.execute(
            "CREATE TEMP TABLE rows_of_reference (high UBIGINT, low UBIGINT, digest UBIGINT, place BIGINT)"
        )

    def index(self, blocks: Iterator[Block]) -> None:
        at = 0
        for block in blocks:
            if block.table.num_rows:
                table = self._said(block.table)
                at, first = at + block.table.num_rows, at
                if self._reference.column not in table.column_names:
                    continue
                self._register(table)
                subject, digest = self._digests.subject("value"), self._digests.bits("c1", 0)
                value = self._value(table.schema.field(self._reference.column))
                self._connection.execute(
                    f"INSERT INTO rows_of_reference SELECT {subject}, {digest}, place + {first:d} "
                    f"FROM (SELECT {value} AS value, c1, place FROM given) WHERE value IS NOT NULL"
                )
        if at and (never := sorted(self._missing - self._seen)):
            raise Fatal(f"the reference has no column {never[0]!r}{did_you_mean(never[0], self._seen)}")

    def _value(self, column: pa.Field) -> str:
        """SQL: the identifier of a row. Where every row lands, one that its stream makes nothing of is one as it is."""
        value = identifier(column, "c0", self._steps)
        return f"coalesce({value}, {identifier(column, 'c0', ())})" if self._reference.everyone else value

    def choose(self, people: str, memory: Callable[[str], str], part_rows: int) -> None:
        """Of each identifier the last row, where it belongs to one of `people` (empty: to anybody) and says what the
        `memory` of a part does not know. Parts of about `part_rows` identifiers are joined one after the other, because
        a join's table must fit into memory."""
        run = self._connection.execute
        run("CREATE TEMP TABLE chosen (high UBIGINT, low UBIGINT, digest UBIGINT, place BIGINT)")
        run(f"CREATE TEMP TABLE people AS {people or 'SELECT 0::UBIGINT AS high, 0::UBIGINT AS low'}")
        ((rows,),) = run(
            "SELECT greatest((SELECT count(*) FROM rows_of_reference), (SELECT count(*) FROM people))"
        ).fetchall()
        parts = rows // part_rows + 1
        for number in range(parts):
            part = f"high % {parts:d} = {number:d}"
            known = f"SEMI JOIN (SELECT * FROM people WHERE {part}) USING (high, low)" if people else ""
            run(
                "INSERT INTO chosen WITH last_rows AS (SELECT high, low, arg_max(digest, place) AS digest, "
                f"max(place) AS place FROM rows_of_reference WHERE {part} GROUP BY high, low) "
                f"SELECT * FROM last_rows {known} ANTI JOIN ({memory(part)}) USING (high, low, digest)"
            )

    def chosen(self, blocks: Iterator[Block], at_ms: int) -> Iterator[News]:
        at = 0
        for block in blocks:
            count = block.table.num_rows
            rows = self._chosen_between(at, at + count)
            if rows.num_rows:
                table = self._said(block.table.take(rows.column("place")))
                self._require_same(table, rows.column("digest"))
                locate = _locate(block, rows.column("place").to_pylist())
                yield News(Block(self._stamped(table), (), None, locate=locate), self._entries(rows, at_ms))
            at += count

    def _chosen_between(self, first: int, stop: int) -> pa.Table:
        found: pa.Table = self._connection.sql(
            f"SELECT high, low, digest, place - {first:d} AS place FROM chosen "
            f"WHERE place >= {first:d} AND place < {stop:d} ORDER BY place"
        ).to_arrow_table()
        return found

    def _said(self, table: pa.Table) -> pa.Table:
        """The columns that become a message. Where rows need not have the same ones, a block may lack some."""
        reference = self._reference
        wanted = [reference.column, *(table.column_names if reference.columns is None else reference.columns)]
        self._seen.update(table.column_names)
        self._missing.update(missing := [name for name in wanted if name not in table.column_names])
        if missing and not reference.has_gaps:
            raise Fatal(f"the reference has no column {missing[0]!r}{did_you_mean(missing[0], table.column_names)}")
        if reference.at and ENRICHED_AT in wanted:
            raise Fatal(
                f"the reference has a column {ENRICHED_AT!r}, which says when a message was written; "
                "name it as `timestampField`, or leave it out of `columns`"
            )
        return table.select([name for name in dict.fromkeys(wanted) if name not in missing])

    def _register(self, table: pa.Table) -> None:
        """The rows for a query: `c0` the identifier's column, `c1` the message's text, `place` the row's number."""
        keys, texts = table.column(self._reference.column), json_messages(table, table.column_names)
        places = pa.array(range(table.num_rows), pa.int64())
        self._connection.register("given", pa.table({"c0": keys, "c1": texts, "place": places}))

    def _require_same(self, table: pa.Table, digests: pa.ChunkedArray) -> None:
        self._register(table)
        now = self._connection.sql(
            f"SELECT {self._digests.bits('c1', 0)} AS digest FROM given ORDER BY place"
        ).to_arrow_table()
        if now.column("digest").to_pylist() != digests.to_pylist():
            raise Retriable("the reference has changed while it was read")

    def _stamped(self, table: pa.Table) -> pa.Table:
        if not self._reference.at:
            return table
        return table.append_column(ENRICHED_AT, pa.repeat(pa.scalar(self._reference.at), table.num_rows))

    @staticmethod
    def _entries(rows: pa.Table, at_ms: int) -> pa.Table:
        times = pa.repeat(pa.scalar(at_ms, pa.int64()), rows.num_rows)
        return pa.table([rows.column(name) for name in ("high", "low", "digest")] + [times], schema=_MEMORY)


def _locate(block: Block, places: Sequence[int]) -> Locate:
    """Where the chosen rows of a block stood, and what they were."""
    whole = block.locate
    assert whole is not None, "whatever is read from a file can tell"
    return lambda rows: whole([places[row] for row in rows])
