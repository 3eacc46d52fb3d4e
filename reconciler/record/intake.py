"""How far each journal of the intake is on the streams. A unit of intake is committed as a run's is: its segments, its
mark and its counts in one transaction, so a message lands once, whatever dies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from reconciler.core.document import canonical
from reconciler.core.provider import Staged
from reconciler.core.value import dataclass
from reconciler.record.streams import Streams

#: Files of what was left out that are kept: the newest.
KEPT_REJECTS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """A journal as the record knows it. `mark` None is its beginning; `whole`: all of it is on its streams."""

    journal: int
    mark: Any = None
    units: int = 0
    rows: int = 0
    omitted: int = 0
    whole: bool = False


class Intake:
    """The `intake` and `intake_reject` tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._streams = Streams(connection)

    def journals(self) -> dict[int, JournalRow]:
        """Every journal of which something was put on a stream, and whose file may still be there."""
        rows = self._sql.execute("SELECT * FROM intake ORDER BY journal")
        return {
            row["journal"]: JournalRow(
                journal=row["journal"],
                mark=json.loads(row["mark"]),
                units=row["units"],
                rows=row["rows"],
                omitted=row["omitted"],
                whole=bool(row["whole"]),
            )
            for row in rows
        }

    def commit(
        self, before: JournalRow, mark: Any, segments: Sequence[Staged], rejects: Sequence[str],
        *, rows: int, omitted: int, whole: bool, now_ms: int,
    ) -> bool:  # fmt: skip
        """A unit that goes on from `before`, inside the caller's transaction. False where the journal has been taken
        further meanwhile: nothing of it is recorded then."""
        known = self.journals().get(before.journal, JournalRow(journal=before.journal))
        if (known.units, known.mark) != (before.units, before.mark) or known.whole:
            return False
        self._sql.execute(
            "INSERT INTO intake (journal, mark, units, rows, omitted, whole) VALUES (?1, ?2, 1, ?3, ?4, ?5) "
            "ON CONFLICT (journal) DO UPDATE SET mark = ?2, units = units + 1, rows = rows + ?3, omitted = omitted + ?4, "
            "whole = ?5",
            (before.journal, canonical(mark), rows, omitted, whole),
        )
        self._streams.append(segments, now_ms)
        self._sql.executemany(
            "INSERT INTO intake_reject (file, journal) VALUES (?, ?)", [(file, before.journal) for file in rejects]
        )
        return True

    def forget(self, journals: Collection[int]) -> None:
        """Journals whose files are gone for good."""
        self._sql.executemany("DELETE FROM intake WHERE journal = ?", [(one,) for one in journals])

    def reject_files(self) -> set[str]:
        """The files of what was left out, relative to the data folder."""
        return {str(row[0]) for row in self._sql.execute("SELECT file FROM intake_reject")}

    def trim_rejects(self) -> list[str]:
        """Keeps the newest files of what was left out; those that went, which are the caller's to remove."""
        rows = self._sql.execute(
            "DELETE FROM intake_reject WHERE file NOT IN "
            "(SELECT file FROM intake_reject ORDER BY journal DESC, file DESC LIMIT ?) RETURNING file",
            (KEPT_REJECTS,),
        )
        return [str(row[0]) for row in rows.fetchall()]
