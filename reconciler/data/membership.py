"""The members of an audience as a file: all of them, or what one plan has changed.

Every field is text, as it was mapped; numbers and truth values in NDJSON stay what they are. The rows stand in order of
the member's id (of the plan for changes), so that the same members make the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.document import canonical
from reconciler.core.members import ACTIONS, Ledger
from reconciler.data.durable import replaced
from reconciler.data.export import write_text
from reconciler.data.jsontext import whole
from reconciler.data.ledger import LEFT, State, ledger_sql, parquet
from reconciler.data.names import sql_string
from reconciler.data.render import csv_lines

#: Rows that are written at a time.
BLOCK_ROWS: Final = 65_536


def write_membership(
    db: Any, data_dir: Path, path: Path, kind: Literal["csv", "ndjson", "parquet"], ledger: Ledger, plan: str,
    fields: Sequence[str], options: Mapping[str, Any], *, changes: bool, temporary: str,
) -> int:  # fmt: skip
    """Writes the members to `path` and returns how many rows that are. `plan` is the one that the ledger does not hold
    yet, empty where it holds all. Options as for the export of a stream. Raises Retriable where the disk refuses."""
    selected = _changes_sql(data_dir, plan) if changes else _members_sql(data_dir, ledger, plan)
    with replaced(path, path.with_name(temporary), is_private=False) as unfinished:
        if kind == "ndjson":
            return write_text(unfinished, _json_lines(db, selected, changes=changes), path, options)
        columns = _columns(fields, changes=changes)
        tables = db.sql(f"SELECT {', '.join(columns)} FROM ({selected})").to_arrow_reader(BLOCK_ROWS)
        if kind == "csv":
            return write_text(unfinished, _csv_lines(tables, options), path, options)
        return _parquet(unfinished, tables, options)


def _changes_sql(data_dir: Path, plan: str) -> str:
    names = " ".join(f"WHEN {code} THEN {sql_string(action)}" for code, action in enumerate(ACTIONS))
    return (
        f"SELECT CASE action {names} END AS action, payload, previous FROM {parquet(data_dir, plan, numbered=True)} "
        f"WHERE action < {len(ACTIONS)} ORDER BY file_row_number"
    )


def _members_sql(data_dir: Path, ledger: Ledger, plan: str) -> str:
    """Everyone whom the ledger will hold, once the plan is folded into it; whom it holds, without a plan."""
    held = f"state IN ({State.SENT:d}, {State.NOTED:d}) AND source <> {LEFT} AND payload IS NOT NULL"
    old = ledger_sql(data_dir, ledger.files, ["id", "source", "state", "payload"])
    if not plan:
        return f"SELECT payload FROM ({old}) WHERE {held} ORDER BY id"
    new = parquet(data_dir, plan)
    return (
        f"SELECT payload FROM (SELECT id, payload FROM ({old}) ANTI JOIN (SELECT id FROM {new}) USING (id) WHERE {held} "
        f"UNION ALL SELECT id, payload FROM {new} WHERE {held}) ORDER BY id"
    )


def _columns(fields: Sequence[str], *, changes: bool) -> list[str]:
    """The mapped fields as text columns; of changes the action before them, and after them, as JSON, the identifiers by
    which a member was known before."""
    made = [f'json_extract_string(payload, {sql_string("$." + canonical(one))}) AS "{one}"' for one in fields]
    return ["action", *made, "previous"] if changes else made


def _json_lines(db: Any, selected: str, *, changes: bool) -> Iterator[tuple[int, pa.Array]]:
    line = "payload"
    if changes:
        previous = "CASE WHEN previous IS NULL THEN '' ELSE ',\"previous\":' || previous END"
        line = f"'{{\"action\":\"' || action || '\",' || substr(payload, 2, length(payload) - 2) || {previous} || '}}'"
    for batch in db.sql(f"SELECT {line} || chr(10) AS line FROM ({selected})").to_arrow_reader(BLOCK_ROWS):
        yield batch.num_rows, whole(pa.chunked_array([batch.column(0)]))


def _csv_lines(tables: pa.RecordBatchReader, options: Mapping[str, Any]) -> Iterator[tuple[int, pa.Array]]:
    delimiter, quote = options.get("delimiter", ","), options.get("quote", '"')
    if options.get("header", True):
        names = pa.table([pa.array([one]) for one in tables.schema.names], names=tables.schema.names)
        yield 0, whole(csv_lines(names, delimiter, quote))
    for batch in tables:
        yield batch.num_rows, whole(csv_lines(pa.Table.from_batches([batch]), delimiter, quote))


def _parquet(path: Path, tables: pa.RecordBatchReader, options: Mapping[str, Any]) -> int:
    asked = options.get("compression", "auto")
    rows = 0
    with pq.ParquetWriter(path, tables.schema, compression="zstd" if asked == "auto" else asked) as out:
        for batch in tables:
            out.write_batch(batch)
            rows += batch.num_rows
    return rows
