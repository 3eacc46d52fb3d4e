"""A build of profiles: what is new in the streams, folded into what earlier builds have made.

    messages --fold--> signatures --join--> profiles <--look up-- messages whose values they show
                                    |
        what was known of their identifiers, and of which met which

A signature is what some messages of one stream have in common: all their identifiers, in full (`signatures`). Everything
that a profile shows folds from messages into signatures, from those into the states of profiles, and from the states of
many builds into one, in any grouping with the same outcome; so a build reads what is new, asks of old identifiers only
which profile they belong to, and writes what it touched. One thing cannot be folded away again: a value that turns out
to be void has joined what is not one. The profiles that it had joined are then built anew from their raw messages, all
of them.

Which identifiers meet is decided in numpy, over arrays as long as the build's identifiers (`NODE_BYTES` each), for which
DuckDB makes room; everything else is DuckDB's, and goes to disk beyond `memory_mb`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

import numpy as np

from reconciler.core.messages import SegmentRef
from reconciler.core.profile import BuildWork, ProfileFile, ProfileSet, rules_digest
from reconciler.data.engine import EngineError, limit_memory, memory_budget, workspace
from reconciler.data.profiles import arrays
from reconciler.data.profiles.components import components, owners
from reconciler.data.profiles.order import Order, order_of
from reconciler.data.profiles.signatures import BATCH_ROWS, Signatures
from reconciler.data.profiles.tables import DELTA, IDENTIFIER, MOVE, PAIR, Tables, Writer, merges, state_kind
from reconciler.errors import Fatal

#: The deltas are folded into a new base once they are more than so many, or hold more rows than these and more than
#: this share of the base's.
FOLD_DELTAS: Final = 16
FOLD_ROWS: Final = 50_000
FOLD_SHARE: Final = 0.25

#: Newly void values that the facts name.
NAMED_VOIDS: Final = 20

#: What numpy holds of each identifier that a build meets, while it is found out whose it is.
NODE_BYTES: Final = 40

#: What of that remains until all is written: whose it is, and whose first it is.
OWNER_BYTES: Final = 16

#: Of what DuckDB may use, the share from which it makes room.
_WORTH_ROOM: Final = 0.02

#: Later than any commit.
_NEVER: Final = np.iinfo(np.int64).max

#: Numbers of identifiers and profiles: the build's, and below it one of so many.
NUMBERS: Final = 1 << 32

Progress = Callable[[str, int, int], None]


def build(
    data_dir: Path, work: BuildWork, *, memory_mb: int, threads: int = 1, progress: Progress | None = None
) -> ProfileSet:
    """Brings a set of profiles up to `work.stops`, and returns the new set; the files of the old one stay. `progress`
    is told a step's name, how much of it is done, and of how much. Raises Retriable where a segment is missing or the
    disk refuses, Fatal where a segment is damaged or the rules cannot be followed."""
    budget = memory_budget(memory_mb)
    with workspace(data_dir, memory_mb=memory_mb, threads=threads) as connection:
        try:
            return _Build(connection, data_dir, work, budget, progress or _silent).made()
        except EngineError as error:  # a pattern of times that is none, memory or a disk that does not suffice
            raise Fatal(f"the profiles cannot be built: {str(error).splitlines()[0]}") from error


def _silent(step: str, done: int, total: int) -> None:
    del step, done, total


def _silently(done: int, total: int) -> None:
    del done, total


class _Build:
    """One build, over tables of a workspace."""

    def __init__(self, connection: Any, data_dir: Path, work: BuildWork, budget: int, progress: Progress) -> None:
        self._work = work
        self._budget = budget
        self._data_dir = data_dir
        self._progress = progress
        self._connection = connection
        self._tables = Tables(data_dir, work.base.files, list(merges(work.rules).values()))
        self._writer = Writer(connection, data_dir, work.build)
        self._first_number = work.build * NUMBERS
        self._signatures = self._of_sheet(0)
        self._streams = self._signatures.streams
        self._limits = _limits(work)
        self._order = Order()
        self._is_anew = False
        self._has_bad = False
        self._changed = 0

    def _of_sheet(self, number: int) -> Signatures:
        merges, sheet = self._tables.merges, self._tables.sheets[number]
        return Signatures(self._connection, self._data_dir, self._work, merges, sheet)

    def made(self) -> ProfileSet:
        if not self._streams:  # no stream speaks of people any more
            return _nobody(self._work)
        read = self._read_new(self._segments(anew=False))
        self._identify()
        voided = self._find_void()
        self._is_anew = bool(self._drop())
        if self._is_anew:
            self._read_new(self._segments(anew=True))
            self._signatures.read_dropped(partial(self._progress, "what is built anew"))
            self._identify_again()
        facts = self._join() | {"voided": voided}
        with self._writer:
            files = self._write()
        return ProfileSet(
            build=self._work.build,
            rules=rules_digest(self._work.rules),
            built={one.rules.name: self._signatures.span(one)[1] for one in self._streams},
            files=files,
            facts=self._facts(facts, *read),
        )

    def _do(self, sql: str) -> None:
        self._connection.execute(sql).fetchall()

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found

    def _number(self, sql: str) -> int:
        return int(self._ask(sql)[0][0] or 0)

    # --- messages into signatures ---

    def _segments(self, *, anew: bool) -> list[SegmentRef]:
        """The segments that are read: with messages that are new or, where profiles are built anew, all."""
        found = []
        for stream in self._streams:
            first, stop = self._signatures.span(stream)
            segments = self._work.streams.get(stream.rules.name, ())
            found += [one for one in segments if one.first < stop and (anew or one.first + one.rows > first)]
        return found

    def _read_new(self, segments: Sequence[SegmentRef]) -> tuple[int, int]:
        """Folds what is new, in the order of these segments; how many messages, and how many without a time."""
        self._order = order_of(self._data_dir, segments, len(self._streams))
        return self._signatures.read(self._order, partial(self._progress, "messages"))

    def _drop_tables(self, kind: str) -> None:
        for stream in self._streams:
            self._do(f"DROP TABLE {kind}_{stream.slot}")

    # --- signatures into identifiers, and which of them met ---

    def _identify(self) -> None:
        """`node`: the identifiers of all signatures, numbered from 0, with what is known of them. `link_<slot>`: the
        nodes of each signature. `pair`: the nodes that met."""
        self._progress("parts joined", 0, 1)
        self._do(f"CREATE OR REPLACE TABLE found AS {self._signatures.identifiers()}")
        self._signatures.link()
        self._do(f"CREATE OR REPLACE TABLE pair AS {self._pairs()}")
        self._drop_tables("link")
        self._recall()
        self._progress("parts joined", 1, 1)

    def _identify_again(self) -> None:
        """The same after more messages; identifiers that are new keep the numbers that they have been given."""
        self._do("CREATE TABLE numbered AS SELECT key, value, no FROM node WHERE NOT known")
        self._identify()
        self._do("""
            UPDATE node SET no = numbered.no FROM numbered
            WHERE numbered.key = node.key AND numbered.value = node.value""")

    def _pairs(self) -> str:
        parts = []
        for stream in self._streams:
            for one, other in combinations(range(len(stream.keys)), 2):
                low, high = sorted((one, other), key=lambda index: stream.keys[index])
                parts.append(
                    f"SELECT n{low} AS a, {stream.keys[low]}::SMALLINT AS ak, n{high} AS b, "
                    f"{stream.keys[high]}::SMALLINT AS bk "
                    f"FROM link_{stream.slot} WHERE n{low} IS NOT NULL AND n{high} IS NOT NULL AND n{low} <> n{high}"
                )
        nothing = "SELECT 0::BIGINT AS a, 0::SMALLINT AS ak, 0::BIGINT AS b, 0::SMALLINT AS bk WHERE false"
        return f"SELECT DISTINCT a, ak, b, bk FROM ({_union(parts) or nothing})"

    def _recall(self) -> None:
        """`node`, with the number of each identifier (`no`), whether it was `known`, the profile that it belonged to
        (`pk`; 0 where it is void, NULL where it is new), its first commit in this build (`k`), and over all builds (`r` and
        `p`); whether that has `moved`."""
        receipt, place = self._order.commit_parts("k")
        if not self._tables.has(IDENTIFIER):
            self._do(f"""
                CREATE OR REPLACE VIEW node AS
                SELECT n, key, value, k, {receipt} AS r, {place} AS p,
                    n + {self._first_number} AS no, false AS known, NULL::BIGINT AS pk, false AS moved
                FROM found""")  # the texts of all identifiers are held once
            return
        self._do(f"""
            CREATE OR REPLACE TABLE node AS
            WITH new AS (SELECT *, {self._order.receipt_and_place("k")} AS now FROM found), joined AS (
                SELECT new.*, old.no, old.pk, old.r::HUGEINT << 64 | old.p AS former
                FROM new LEFT JOIN {self._recalled()}
            ), dated AS (SELECT *, least(now, former) AS least FROM joined)
            SELECT n, key, value, k, (least >> 64)::BIGINT AS r, (least & {(1 << 64) - 1}::HUGEINT)::BIGINT AS p,
                coalesce(no, n + {self._first_number}) AS no, no IS NOT NULL AS known,
                coalesce(move.target, dated.pk) AS pk, coalesce(now < former, false) AS moved
            FROM dated LEFT JOIN ({self._tables.rows(MOVE)}) AS move ON move.pk = dated.pk""")

    def _recalled(self) -> str:
        """What is joined to `new`, as `old`: the last row of each identifier. A set that one build has made has one."""
        rows = self._tables.rows(IDENTIFIER)
        if len({one.build for one in self._tables.files if one.kind == IDENTIFIER}) == 1:
            return f"({rows}) AS old ON old.value = new.value AND old.key = new.key"
        return f"""(
            SELECT found.n, i.no, i.pk, i.r, i.p
            FROM found JOIN ({rows}) AS i ON i.value = found.value AND i.key = found.key
            QUALIFY row_number() OVER (PARTITION BY found.n ORDER BY i.build DESC) = 1) AS old USING (n)"""

    # --- what belongs to nobody ---

    def _find_void(self) -> list[dict[str, Any]]:
        """`fresh`: pairs that no build has seen; `void`: values that turn out to be. Returns some of the latter."""
        self._do("CREATE TABLE crowded (n BIGINT)")
        self._insert("crowded", n=self._crowded())
        self._meet()
        old = "pk <> 0 AND no IN (SELECT a FROM fresh UNION ALL SELECT b FROM fresh)"  # what met nobody new stays as it is
        self._do(f"""
            CREATE TABLE open AS SELECT no, key FROM node
            WHERE {old if self._tables.has(IDENTIFIER) else "false"}
            OR (pk IS NULL AND (known OR n IN (SELECT n FROM crowded)))""")
        limits = ", ".join(str(one) for one in self._limits) or "0"
        self._do(f"""
            CREATE TABLE void AS
            SELECT no, max(times) AS times, arg_max(other, times) AS other FROM (
                SELECT no, other, count(*) AS times FROM (
                    SELECT a AS no, bk AS other FROM fresh UNION ALL SELECT b, ak FROM fresh UNION ALL
                    SELECT a, bk FROM seen UNION ALL SELECT b, ak FROM seen
                ) SEMI JOIN open USING (no) GROUP BY no, other
            ) JOIN open USING (no) WHERE times > ([{limits}]::BIGINT[])[key + 1] GROUP BY no""")
        return self._named_voids()

    def _crowded(self) -> Any:
        """The nodes that have met so many now that they may be void; of those that are new, all that are."""
        counts = np.zeros(self._number("SELECT count(*) FROM node"), dtype=np.int32)
        for batch in self._connection.cursor().sql("SELECT a, b FROM pair WHERE ak <> bk").to_arrow_reader(BATCH_ROWS):
            for one in batch.columns:
                np.add.at(counts, arrays.of_arrow(one), np.int32(1))  # 20 times as fast as a number of another width
        return np.flatnonzero(counts > min(self._limits, default=0))

    def _meet(self) -> None:
        """`seen`: pairs of earlier builds in which an identifier stands that has met some other now; `fresh`."""
        if not self._tables.has(IDENTIFIER):
            first = self._first_number
            self._do(
                f"CREATE TABLE fresh AS SELECT a + {first} AS a, ak, b + {first} AS b, bk FROM pair WHERE ak <> bk"
            )
            self._do("CREATE TABLE seen AS SELECT * FROM fresh WHERE false")
            return
        self._do("""
            CREATE TABLE met AS
            SELECT x.no AS a, pair.ak, y.no AS b, pair.bk
            FROM pair JOIN node AS x ON x.n = pair.a JOIN node AS y ON y.n = pair.b
            WHERE pair.ak <> pair.bk AND NOT (coalesce(x.pk = 0, false) AND coalesce(y.pk = 0, false))""")
        self._do(f"CREATE TABLE seen AS {self._seen()}")
        self._do("CREATE TABLE fresh AS SELECT * FROM met ANTI JOIN seen USING (a, b)")

    def _seen(self) -> str:
        if not self._tables.has(PAIR):
            return "SELECT * FROM met WHERE false"
        self._do("""
            CREATE TABLE asked AS SELECT DISTINCT no FROM (SELECT a AS no FROM met UNION ALL SELECT b FROM met)
            SEMI JOIN (SELECT no FROM node WHERE known AND pk <> 0) USING (no)""")
        pairs = f"SELECT a, ak, b, bk FROM ({self._tables.pairs()})"  # read twice: either look passes most of them over
        return f"{pairs} WHERE a IN (SELECT no FROM asked) UNION {pairs} WHERE b IN (SELECT no FROM asked)"

    def _named_voids(self) -> list[dict[str, Any]]:
        keys = self._work.rules.keys
        found = self._ask(f"""
            SELECT node.key, node.value, void.other, void.times FROM void JOIN node USING (no)
            ORDER BY node.key, node.value LIMIT {NAMED_VOIDS}""")
        return [
            {"key": keys[key], "value": value, "key2": keys[other], "values": times}
            for key, value, other, times in found
        ]

    # --- what is built anew ---

    def _drop(self) -> int:
        """`dropped`: the profiles that a newly void value had joined; how many. `anew`: their identifiers, where there are
        any."""
        self._do("CREATE TABLE dropped AS SELECT DISTINCT pk FROM node JOIN void USING (no) WHERE pk IS NOT NULL")
        count = self._number("SELECT count(*) FROM dropped")
        if count:
            identifiers = self._tables.identifiers()
            self._do(f"CREATE TABLE anew AS SELECT key, value FROM ({identifiers}) SEMI JOIN dropped USING (pk)")
        return count

    # --- identifiers into profiles ---

    def _join(self) -> dict[str, int]:
        """`owner_of`, a function of SQL: the profile of a node, 0 where it is void; and `led_by`, the same where the node is
        the profile's first identifier of those that this build has met, else 0. `moved`: profiles that have become others."""
        nodes = self._number("SELECT count(*) FROM node")
        self._make_room(NODE_BYTES * nodes)
        void = self._scattered(
            nodes,
            "SELECT n, 1::BIGINT AS given FROM node LEFT JOIN void USING (no) WHERE pk = 0 OR times IS NOT NULL",
            bool,
        )
        kept = "SELECT n, pk AS given FROM node ANTI JOIN dropped USING (pk) ANTI JOIN void USING (no) WHERE pk > 0"
        before = self._scattered(nodes, kept, np.int64)
        bound = np.flatnonzero(before)
        before = before[bound]
        old, homes = np.unique(before, return_inverse=True)  # by sorting: to hash and to search takes ten times as long
        homes += nodes
        del before
        labels = components(nodes + len(old), chain(self._edges(void), [(bound, homes)]))
        self._read_void(void)
        owner, target, made = owners(labels, old, void, self._first_number)
        arrays.register(self._connection, "owner_of", owner.__getitem__)
        leads = self._leading(labels, void)
        self._changed = int(leads.sum())
        led = np.where(leads, owner, 0)
        arrays.register(self._connection, "led_by", led.__getitem__)
        del labels
        gone = target != old
        self._do("CREATE TABLE moved (pk BIGINT, target BIGINT)")
        self._insert("moved", pk=old[gone], target=target[gone])
        self._do("DROP TABLE pair")
        self._drop_tables("many")
        self._make_room(OWNER_BYTES * nodes)
        return {"made": made, "merged": int(gone.sum()), "dropped": self._number("SELECT count(*) FROM dropped")}

    def _make_room(self, size: int) -> None:
        """Leaves so many bytes to numpy. A few are within what the budget leaves to nobody, and to ask DuckDB takes a while."""
        if size > self._budget * _WORTH_ROOM:
            limit_memory(self._connection, max(self._budget // 2, self._budget - size))

    def _leading(self, labels: Any, void: Any) -> Any:
        """Which nodes are the first of their profiles: by first commit, then key, then value. Only what one message carried
        has one commit, so that the value decides only where a message has several of one key."""
        nodes, bits = len(void), len(self._work.rules.keys).bit_length()
        is_number = bool(self._order.receipt_bits) and all(len(set(one.keys)) == len(one.keys) for one in self._streams)
        if not is_number or self._order.commit_bits + bits >= 63:
            order = f"k::HUGEINT << {bits} | key" if is_number else "{'k': k, 'key': key, 'value': value}"
            owned = "SELECT *, owner_of(n) AS pk FROM found"
            first = f"SELECT arg_min(n, {order}) AS n, 1::BIGINT AS given FROM ({owned}) WHERE pk > 0 GROUP BY pk"
            return self._scattered(nodes, first, bool)
        commits = self._scattered(nodes, f"SELECT n, k << {bits} | key AS given FROM found", np.int64)
        commits[void] = _NEVER
        least = np.full(len(labels), _NEVER)
        np.minimum.at(least, labels[:nodes], commits)
        return (commits == least[labels[:nodes]]) & ~void

    def _read_void(self, void: Any) -> None:
        """Void identifiers that came with others are `bad`: what they came with says whose such messages are."""
        if not void.any():
            return
        self._do("CREATE TABLE voids (n BIGINT)")
        self._insert("voids", n=np.flatnonzero(void))
        self._do("""
            CREATE TABLE bad AS SELECT key, value FROM node SEMI JOIN voids USING (n)
            SEMI JOIN (SELECT a AS n FROM pair UNION ALL SELECT b FROM pair) AS met USING (n)""")
        self._has_bad = bool(self._number("SELECT count(*) FROM bad"))
        if self._has_bad:
            self._signatures.read_void()

    def _edges(self, void: Any) -> Iterator[tuple[Any, Any]]:
        """The pairs that met and of which none is void, in blocks."""
        pairs = self._connection.cursor().sql("SELECT a, b FROM pair")
        for batch in pairs.to_arrow_reader(max(BATCH_ROWS, len(void) // 8)):
            left, right = map(arrays.of_arrow, batch.columns)
            alive = ~(void[left] | void[right])
            yield left[alive], right[alive]

    def _scattered(self, nodes: int, sql: str, kind: Any) -> Any:
        """An array over all nodes, of what is `given` for some of them."""
        made = np.zeros(nodes, dtype=kind)
        for batch in self._connection.cursor().sql(sql).to_arrow_reader(BATCH_ROWS):
            n, given = map(arrays.of_arrow, batch.columns)
            made[n] = given
        return made

    def _insert(self, table: str, **columns: Any) -> None:
        self._connection.register("given", arrays.table(**columns))
        self._do(f"INSERT INTO {table} SELECT * FROM given")
        self._connection.unregister("given")

    # --- writing ---

    def _write(self) -> tuple[ProfileFile, ...]:
        part = DELTA if self._tables.files else 0
        files = [one for one in self._tables.files if one.kind != MOVE]
        pairs = self._writer.write(PAIR, part, "SELECT * FROM fresh ORDER BY a")
        states: list[ProfileFile] = []
        sheets = len(self._tables.sheets)
        for number in range(sheets):
            self._progress("parts written", number, sheets + 1)
            signatures = self._signatures if number == 0 else self._read_again(number)
            signatures.gather(anew=self._is_anew)
            size = len(self._tables.sheets[number])
            states += self._writer.write(state_kind(number), part, signatures.states(anew=self._is_anew), size)
        self._progress("parts written", sheets, sheets + 1)
        identifiers = self._writer.write(IDENTIFIER, part, self._identifiers())
        new = [*identifiers, *pairs, *states, *self._writer.write(MOVE, DELTA, self._moves())]
        return self._folded(files, new)

    def _identifiers(self) -> str:
        """Those that are new, void from now on, of a profile that was dropped, or committed earlier than was known."""
        return """
            SELECT node.no, node.key, node.value, node.r, node.p, owner_of(node.n) AS pk
            FROM node LEFT JOIN void USING (no) LEFT JOIN dropped ON dropped.pk = node.pk
            WHERE NOT node.known OR void.no IS NOT NULL OR dropped.pk IS NOT NULL OR node.moved"""

    def _read_again(self, sheet: int) -> Signatures:
        """The signatures of the same messages, with the states of another sheet."""
        signatures = self._of_sheet(sheet)
        signatures.read(self._order, _silently)
        if self._is_anew:
            signatures.read_dropped(_silently)
        if self._has_bad:
            signatures.read_void()
        return signatures

    def _moves(self) -> str:
        """All moves since the base: the old ones led on to where their targets are now, the new ones, and the profiles
        that were dropped."""
        return f"""
            WITH now AS (SELECT pk, target FROM moved UNION ALL SELECT pk, 0 FROM dropped)
            SELECT old.pk, coalesce(now.target, old.target) AS target
            FROM ({self._tables.rows(MOVE)}) AS old LEFT JOIN now ON now.pk = old.target
            UNION ALL SELECT pk, target FROM now"""

    def _folded(self, old: Sequence[ProfileFile], new: Sequence[ProfileFile]) -> tuple[ProfileFile, ...]:
        """The files of the set: with deltas, or as a new base where those have grown too many."""
        made: tuple[ProfileFile, ...] = (*old, *new)
        if _wants_folding(made):
            self._writer.settle()
            made = fold(Tables(self._data_dir, made, self._tables.merges), self._writer)
            self._writer.discard(new)
        self._writer.settle()
        sheets = len(self._tables.sheets)
        self._progress("parts written", sheets + 1, sheets + 1)
        return made

    # --- facts ---

    def _facts(self, facts: Mapping[str, Any], messages: int, untimed: int) -> dict[str, Any]:
        before = self._work.base.facts
        fresh, void = self._ask("""
            SELECT (SELECT count(*) FROM node WHERE NOT known), (SELECT count(*) FROM void)""")[0]
        return {
            "profiles": before.get("profiles", 0) + facts["made"] - facts["merged"] - facts["dropped"],
            "identifiers": before.get("identifiers", 0) + fresh,
            "void": before.get("void", 0) + void,
            "messages": before.get("messages", 0) + messages,
            "untimed": before.get("untimed", 0) + untimed,
            "changed": self._changed,
            "merged": facts["merged"],
            "voided": facts["voided"],
        }


def _nobody(work: BuildWork) -> ProfileSet:
    counts = dict.fromkeys(("profiles", "identifiers", "void", "messages", "untimed", "changed", "merged"), 0)
    return ProfileSet(build=work.build, rules=rules_digest(work.rules), facts={**counts, "voided": []})


def fold(tables: Tables, writer: Writer) -> tuple[ProfileFile, ...]:
    """A base that says what these tables say."""
    files = [
        *writer.write(IDENTIFIER, 0, tables.identifiers()),
        *writer.write(PAIR, 0, tables.pairs()),
    ]
    for number in range(len(tables.sheets)):
        files += writer.write(state_kind(number), 0, tables.sheet(number), len(tables.sheets[number]))
    return tuple(files)


def _wants_folding(files: Sequence[ProfileFile]) -> bool:
    deltas = [one for one in files if one.part == DELTA]
    rows, base = sum(one.rows for one in deltas), sum(one.rows for one in files if one.part != DELTA)
    return len({one.build for one in deltas}) > FOLD_DELTAS or rows > max(FOLD_ROWS, FOLD_SHARE * base)


def _limits(work: BuildWork) -> list[int]:
    """For each key how many values of another one its values may meet: the least that a stream says."""
    return [
        min(one.max_per_key for stream in work.rules.streams for one in stream.identity if one.key == key)
        for key in work.rules.keys
    ]


def _union(parts: Any) -> str:
    return " UNION ALL ".join(parts)
