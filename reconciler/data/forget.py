"""Forgetting people in the data folder: which messages are theirs, segments and rejects without them, and how messages
that arrive again are told from new ones.

Whose a message is, is read as a build reads it: by the identity rules of its stream, normalised the same. A segment is
written anew with an empty place where a message was (`_received` is null there), so every other message keeps its
position, and a stream does not fall into pieces however many people are forgotten. Bad rows are text: a line goes that
shows an identifier, whatever its case; one of fewer than six characters only where it stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.core.forgotten import SEPARATOR, Shown, Sought
from reconciler.core.messages import SegmentRef
from reconciler.core.profile import ProfileRules, ProfileSet, StreamRules
from reconciler.core.provider import Staged
from reconciler.core.value import dataclass
from reconciler.data.durable import replaced
from reconciler.data.engine import query, workspace
from reconciler.data.ledger import DEBT, REMOVAL, State
from reconciler.data.names import META, RECEIVED, placeholders, raw, sql_string
from reconciler.data.profiles.columns import identifier, own_time
from reconciler.data.profiles.messages import STREAM_SLOTS, Messages
from reconciler.data.segments import TEMPORARY
from reconciler.data.store import hollow

Positions = npt.NDArray[np.int64]

#: Cores that a search may use.
THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Found:
    """The messages of a stream that are to go: their positions, in order, and for each whose request it is."""

    positions: Positions
    requests: Positions

    def counts(self) -> dict[int, int]:
        """How many messages for each request."""
        numbers, counts = np.unique(self.requests, return_counts=True)
        return {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}

    def within(self, segment: SegmentRef) -> Found:
        low, high = np.searchsorted(self.positions, [segment.first, segment.first + segment.rows])
        return Found(self.positions[low:high], self.requests[low:high])


# --- who and what ---------------------------------------------------------------------------------------------------


def identify(
    data_dir: Path, profiles: ProfileSet, rules: ProfileRules, key: str, value: str, *, memory_mb: int
) -> tuple[bool, list[tuple[str, str]]]:
    """Whether anybody is known by this identifier, and all that are to be forgotten with it: those of the profile or,
    where there is none (or the value is void), the identifier itself in every spelling that the streams give it."""
    from reconciler.data.profiles.read import ProfileReader

    with workspace(data_dir, memory_mb=memory_mb, threads=THREADS) as connection:
        spelled = [(key, one) for one in spellings(rules, key, value)]
        if not profiles.files:
            return False, spelled
        reader = ProfileReader(data_dir, profiles, rules)
        for _, one in spelled:
            found = reader.lookup(connection, key, one)
            if found is not None:
                return True, list(dict.fromkeys([*found.identifiers, *spelled]))
    return False, spelled


def spellings(rules: ProfileRules, key: str, value: str) -> list[str]:
    """The value as it is, and as each stream normalises it."""
    ways = {one.normalize: None for stream in rules.streams for one in stream.identity if one.key == key}
    if not ways:
        return [value]
    given = pa.table({"v": pa.array([value], pa.string())})
    asked = [f"{identifier(given.schema.field('v'), 'v', way)} AS s{index}" for index, way in enumerate(ways)]
    found = query(f"SELECT {', '.join(asked)} FROM given", given=given).to_pylist()[0]
    return list(dict.fromkeys([value, *(one for one in found.values() if one is not None)]))


def find(
    data_dir: Path, rules: ProfileRules, segments: Mapping[str, Sequence[SegmentRef]], sought: Sequence[Sought],
    *, memory_mb: int,
) -> Iterator[tuple[str, Found]]:  # fmt: skip
    """For each stream that holds any, the messages of those who are sought."""
    given = pa.table({
        "key": [one.key for one in sought], "value": [one.value for one in sought],
        "at_us": [one.at_ms * 1000 for one in sought], "request": [one.request for one in sought],
    })  # fmt: skip
    for slot, stream in enumerate(rules.streams):
        mine = segments.get(stream.name, ())
        if not mine:
            continue
        with workspace(data_dir, memory_mb=memory_mb, threads=THREADS) as connection:
            connection.register("given", given)
            messages = Messages(data_dir, rules, slot, {})
            said = messages.sql(connection, mine, 0, mine[-1].first + mine[-1].rows, only=_named_sql(stream))
            rows: pa.Table = connection.sql(_found_sql(stream, said)).to_arrow_table()
        if rows.num_rows:
            positions, requests = (rows.column(name).to_numpy() for name in ("position", "request"))
            yield stream.name, Found(positions, requests)


def _named_sql(stream: StreamRules) -> str:
    """Whether a message carries any identifier that is sought: few do, and only those are held."""
    wanted = "SELECT value FROM given WHERE key = "
    return " OR ".join(f"i{index} IN ({wanted}{sql_string(one.key)})" for index, one in enumerate(stream.identity))


def _found_sql(stream: StreamRules, messages: str) -> str:
    """A message is from before a request where it was received before, or says that it happened before."""
    parts = [
        f"SELECT p, request FROM said JOIN given ON value = i{index} AND key = {sql_string(one.key)} "
        "WHERE least(r * 1000, t) < at_us"
        for index, one in enumerate(stream.identity)
    ]
    return (
        f"WITH said AS MATERIALIZED ({messages}) SELECT p // {STREAM_SLOTS} AS position, min(request) AS request "
        f"FROM ({' UNION ALL '.join(parts)}) GROUP BY p ORDER BY p"
    )


# --- segments -------------------------------------------------------------------------------------------------------


def hollowed(
    data_dir: Path, rows: Iterable[tuple[SegmentRef, Staged]], found: Found, name: Callable[[], str]
) -> Iterator[tuple[str, Staged, Found]]:
    """Each segment that holds some of what was found, written anew without that: the old file, the new segment, and
    what is gone from it. `name` makes the path of a new file."""
    for segment, old in rows:
        gone = found.within(segment)
        if len(gone.positions):
            yield segment.file, hollow(data_dir, old, name(), _staying(gone.positions - segment.first)), gone


def _staying(gone: Positions) -> Callable[[int, int], pa.Array]:
    def keep(first: int, count: int) -> pa.Array:
        mask = np.ones(count, dtype=bool)
        low, high = np.searchsorted(gone, [first, first + count])
        mask[gone[low:high] - first] = False
        return pa.array(mask)

    return keep


# --- what arrives again ---------------------------------------------------------------------------------------------


class Landing:
    """What a run lands passes through here once anybody is forgotten. `hashes` says, by keyed hash of an identifier,
    from before when its messages are dropped."""

    def __init__(self, rules: ProfileRules, hashes: Mapping[str, int], secret_key: str) -> None:
        self._rules = {one.name: one for one in rules.streams}
        self._gone = pa.table({
            "hash": pa.array(hashes.keys(), pa.string()),
            "at_us": pa.array([at_ms * 1000 for at_ms in hashes.values()], pa.int64()),
        })  # fmt: skip
        self._hmac = hmac_sql(secret_key)
        self._dropped = 0

    def sift(self, stream: str, table: pa.Table) -> pa.Table:
        """A table as it is to land (`store.with_meta`), without the messages of those who are forgotten."""
        rules = self._rules.get(stream)
        if rules is None or not table.num_rows:
            return table
        sql, given = self._dropped_sql(rules, table)
        dropped = query(sql, given=given, gone=self._gone) if sql else None
        if dropped is None or not dropped.num_rows:
            return table
        self._dropped += dropped.num_rows
        mask = np.ones(table.num_rows, dtype=bool)
        mask[dropped.column("n").to_numpy()] = False
        return table.filter(pa.array(mask))

    def take_dropped(self) -> int:
        """How many messages were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _dropped_sql(self, rules: StreamRules, table: pa.Table) -> tuple[str, pa.Table]:
        """The numbers of the rows to drop, as a query over the columns that it needs; empty where nothing identifies."""
        fields = {raw(field.name): field for field in table.schema if field.name not in META}
        identities = [one for one in rules.identity if one.column in fields]
        columns = dict.fromkeys([one.column for one in identities])
        if rules.timestamp_field in fields:
            columns[rules.timestamp_field] = None
        taken = [fields[name].name for name in columns]
        given = table.select([RECEIVED, "_timestamp", *taken]).rename_columns(["r", "t", *placeholders(len(taken))])
        given = given.append_column("n", pa.array(range(table.num_rows), pa.int64()))
        place = {name: f"c{index}" for index, name in enumerate(columns)}
        own = "NULL::BIGINT"
        if rules.timestamp_field in place:
            own = own_time(fields[rules.timestamp_field], place[rules.timestamp_field], rules.timestamp_format)
        when = f"least(epoch_us(r), coalesce({own}, epoch_us(t), epoch_us(r)))"
        parts = []
        for one in identities:
            value = identifier(fields[one.column], place[one.column], one.normalize)
            text = f"{sql_string(one.key)} || chr({ord(SEPARATOR)}) || v"
            parts.append(
                f"SELECT n, happened, {self._hmac(text)} AS hash FROM "
                f"(SELECT n, {value} AS v, {when} AS happened FROM given) WHERE v IS NOT NULL"
            )
        if not parts:
            return "", given
        return (
            f"SELECT DISTINCT n FROM ({' UNION ALL '.join(parts)}) JOIN gone USING (hash) WHERE happened < at_us",
            given,
        )


def hmac_sql(secret_key: str) -> Callable[[str], str]:
    """HMAC-SHA256 (RFC 2104) under a key (hex) as SQL over a text, in hexadecimal digits."""
    key = bytes.fromhex(secret_key).ljust(64, b"\0")
    assert len(key) == 64, "a key of at most one block"
    inner, outer = (bytes(byte ^ pad for byte in key).hex() for pad in (0x36, 0x5C))
    return lambda text: f"sha256(unhex('{outer}') || unhex(sha256(unhex('{inner}') || encode({text}))))"


# --- bad rows -------------------------------------------------------------------------------------------------------


def clean_rejects(data_dir: Path, files: Iterable[str], values: Iterable[str]) -> int:
    """Removes the lines that show a value from files of bad rows; how many. A file stays, though nothing be left in it,
    and is written anew only where something goes. Raises Retriable where the disk refuses."""
    shown = Shown(values)
    return sum(_clean(data_dir / file, shown) for file in files)


def _clean(path: Path, shown: Shown) -> int:
    removed = 0
    try:
        removed = sum(shown.within(text) for _, text in _lines(path))
    except FileNotFoundError:
        return 0
    if removed:
        with replaced(path, path.with_name(path.name + TEMPORARY)) as temporary, temporary.open("wb") as out:
            out.writelines(line for line, text in _lines(path) if not shown.within(text))
    return removed


def _lines(path: Path) -> Iterator[tuple[bytes, str]]:
    """Each line, and all that it says."""
    with path.open("rb") as file:
        for line in file:
            try:
                row: Any = json.loads(line)
            except ValueError:
                row = line.decode("utf-8", "backslashreplace")
            yield line, "\n".join(map(str, row.values())) if isinstance(row, dict) else str(row)


# --- ledgers --------------------------------------------------------------------------------------------------------


def held(data_dir: Path, files: Sequence[str], ids: Sequence[str]) -> dict[str, int]:
    """Which of these members any of the files (of a ledger, or a plan) has a row of, or a debt, sorted, each with the
    earliest run that wrote one; 0 where that has tried to remove them, or what it did may have arrived. A file that was
    replaced meanwhile is taken to have none."""
    found: dict[str, int] = {}
    for file in files:
        for row in _rows_of(data_dir / file, ids):
            was_sent = row["state"] != State.MAYBE and not row["tried"].endswith(REMOVAL)
            run = row.get("run", 0) if was_sent else 0
            member = row["id"].partition(DEBT)[0]
            found[member] = min(run, found.get(member, run))
    return dict(sorted(found.items()))


def states(data_dir: Path, files: Sequence[str], plan: str, ids: Sequence[str]) -> set[State]:
    """What the destination holds of these members, by the files of a ledger, the later one winning; where a plan is being
    sent (else empty) also what they are to be made."""
    said = {row["id"]: State(row["state"]) for file in files for row in _rows_of(data_dir / file, ids)}
    planned = _rows_of(data_dir / plan, ids) if plan else ()
    return {*said.values(), *(State(row["state"]) for row in planned)}


def _rows_of(file: Path, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of these members, and of what they left behind; none where the file was replaced meanwhile."""
    wanted = pa.array(ids, pa.string())
    with suppress(FileNotFoundError), pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(columns=["id", "run", "state", "tried"], use_threads=False):
            whose = pc.replace_substring_regex(batch.column("id"), f"{DEBT}.*", "")
            yield from batch.filter(pc.is_in(whose, value_set=wanted)).to_pylist()
