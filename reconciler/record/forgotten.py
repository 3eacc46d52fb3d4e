"""Requests to forget a person: who is meant as long as that is needed, how far each has come, and a receipt for every
place that something was removed from. Afterwards nothing says who it was but keyed hashes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Any, Final, Literal

from reconciler.core.document import canonical
from reconciler.core.value import dataclass
from reconciler.record.refusals import BUSY_MS

Step = Literal["find", "messages", "profiles", "files", "wipe", "done"]
What = Literal["messages", "rejects", "profiles", "destination", "sent"]

#: What stands in a text of the record where an identifier stood.
BLANK: Final = "(forgotten)"

#: How long writing the file anew waits for a reader.
SCRUB_MS: Final = 100

#: The free texts of the record: table, key, columns. What a destination answered may repeat an identifier.
_TEXTS: Final = (
    ("event", "id", ("message",)),
    ("run", "id", ("message", "output")),
    ("job", "id", ("last_error", "waiting", "awaiting")),
    ("approval", "job", ("message",)),
)


@dataclass(frozen=True, slots=True)
class Work:
    """Who is meant, in clear. `identifiers` are (key, value), the one that was asked for first; `ids` those of all
    profiles that they may have been; `files` must be gone from the disk before the request is done."""

    identifiers: tuple[tuple[str, str], ...]
    ids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest:
    """One request. `known` says whether anything was known of the person; None until that was looked up. `work` is None
    once all is done that this machine can do by itself."""

    id: int
    at_ms: int
    by: str
    step: Step
    known: bool | None
    done_ms: int | None
    work: Work | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of a request in one place. `name` is a stream's or a job's. `at_ms` None: it is outstanding. `members`
    are the ids that a destination is to remove, while it is outstanding."""

    request: int
    what: What
    name: str
    count: int = 0
    at_ms: int | None = None
    note: str = ""
    members: tuple[str, ...] = ()


#: The statuses of jobs that show such a text are out of date.
_MARK_DIRTY: Final = (
    "UPDATE resource SET dirty = 1 WHERE id IN (SELECT job FROM run WHERE message = ?1 UNION "
    "SELECT id FROM job WHERE ?1 IN (last_error, waiting, awaiting))"
)


class Forgotten:
    """The `forget_request`, `forgotten` and `forget_receipt` tables. Whatever changes them is inside the caller's
    transaction, unless it says otherwise."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    # --- requests ---

    def ask(self, key: str, value: str, by: str, now_ms: int) -> int:
        """A new request; its id."""
        work = canonical({"identifiers": [[key, value]], "ids": [], "files": []})
        cursor = self._sql.execute(
            "INSERT INTO forget_request (at_ms, by_, step, work) VALUES (?, ?, 'find', ?)", (now_ms, by, work)
        )
        return int(cursor.lastrowid or 0)

    def requests(self) -> list[ForgetRequest]:
        """All of them, oldest first."""
        return [_request(row) for row in self._sql.execute("SELECT * FROM forget_request ORDER BY id")]

    def request(self, request: int) -> ForgetRequest | None:
        row = self._sql.execute("SELECT * FROM forget_request WHERE id = ?", (request,)).fetchone()
        return None if row is None else _request(row)

    def under_way(self) -> list[ForgetRequest]:
        """Those of which this machine has something left to do, oldest first."""
        rows = self._sql.execute("SELECT * FROM forget_request WHERE step <> 'done' ORDER BY id")
        return [_request(row) for row in rows]

    def found(self, request: int, known: bool, work: Work, hashes: Iterable[str], at_ms: int) -> None:
        """It is known who is meant: from here on, messages of theirs from before `at_ms` are dropped when they arrive."""
        self._advance(request, "messages", work)
        self._sql.execute("UPDATE forget_request SET known = ? WHERE id = ?", (known, request))
        self._sql.executemany(
            "INSERT INTO forgotten (hash, at_ms) VALUES (?, ?) "
            "ON CONFLICT (hash) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
            [(one, at_ms) for one in hashes],
        )

    def advance(self, requests: Iterable[int], step: Step) -> None:
        self._sql.executemany("UPDATE forget_request SET step = ? WHERE id = ?", [(step, one) for one in requests])

    def add_files(self, requests: Iterable[int], files: Sequence[str]) -> None:
        """Files that hold what is to go, and are replaced."""
        for one in requests:
            row = self._sql.execute("SELECT work FROM forget_request WHERE id = ?", (one,)).fetchone()
            work = json.loads(row[0])
            work["files"] = sorted({*work["files"], *files})
            self._sql.execute("UPDATE forget_request SET work = ? WHERE id = ?", (canonical(work), one))

    def blank(self, request: int) -> None:
        """Who is meant is not said in clear any more."""
        self._sql.execute("UPDATE forget_request SET work = NULL WHERE id = ?", (request,))

    def finish(self, request: int, now_ms: int) -> None:
        self._sql.execute("UPDATE forget_request SET step = 'done', done_ms = ? WHERE id = ?", (now_ms, request))

    def _advance(self, request: int, step: Step, work: Work) -> None:
        text = canonical({
            "identifiers": [list(one) for one in work.identifiers], "ids": list(work.ids), "files": list(work.files),
        })  # fmt: skip
        self._sql.execute("UPDATE forget_request SET step = ?, work = ? WHERE id = ?", (step, text, request))

    # --- what stays ---

    def hashes(self) -> dict[str, int]:
        """For each keyed hash the moment before which its messages are dropped."""
        return {str(row[0]): int(row[1]) for row in self._sql.execute("SELECT hash, at_ms FROM forgotten")}

    def count(self) -> int:
        return int(self._sql.execute("SELECT count(*) FROM forgotten").fetchone()[0])

    # --- receipts ---

    def receipts(self, request: int) -> list[Receipt]:
        rows = self._sql.execute("SELECT * FROM forget_receipt WHERE request = ? ORDER BY what, name", (request,))
        return [_receipt(row) for row in rows]

    def note(self, receipt: Receipt) -> None:
        """A receipt; one that is there already counts what comes, and takes the rest from the new one."""
        members = canonical(list(receipt.members)) if receipt.members else None
        self._sql.execute(
            "INSERT INTO forget_receipt (request, what, name, count, at_ms, note, members) VALUES (?,?,?,?,?,?,?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count, at_ms = excluded.at_ms, note = excluded.note, "
            "members = excluded.members",
            (receipt.request, receipt.what, receipt.name, receipt.count, receipt.at_ms, receipt.note, members),
        )

    def settle(self, request: int, now_ms: int) -> None:
        """What was removed here is gone from the disk: its receipts say when."""
        self._sql.execute(
            "UPDATE forget_receipt SET at_ms = ? WHERE request = ? AND at_ms IS NULL AND what <> 'destination'",
            (now_ms, request),
        )

    def outstanding(self) -> list[Receipt]:
        """The destinations that still hold somebody, by job."""
        rows = self._sql.execute(
            "SELECT * FROM forget_receipt WHERE what = 'destination' AND at_ms IS NULL ORDER BY name, request"
        )
        return [_receipt(row) for row in rows]

    def members_to_remove(self, job: str) -> tuple[str, ...]:
        """The ids that a job's destination is to remove, whatever its mode; sorted."""
        rows = self._sql.execute(
            "SELECT DISTINCT value FROM forget_receipt, json_each(members) "
            "WHERE what = 'destination' AND at_ms IS NULL AND name = ? ORDER BY value",
            (job,),
        )
        return tuple(str(row[0]) for row in rows)

    def removed(self, request: int, job: str, note: str, now_ms: int) -> None:
        """A destination holds nothing of the person any more, or will never say."""
        self._sql.execute(
            "UPDATE forget_receipt SET at_ms = ?, note = ?, members = NULL "
            "WHERE request = ? AND what = 'destination' AND name = ?",
            (now_ms, note, request, job),
        )

    def rename(self, old: str, new: str) -> None:
        """A job has another name, and its ledger with it: what is outstanding at its destination is so under that name. What
        was said there of the same request spoke of another job's ledger."""
        for receipt in self.outstanding():
            if receipt.name == old:
                self._sql.execute(
                    "DELETE FROM forget_receipt WHERE request = ? AND what = 'destination' AND name = ?",
                    (receipt.request, old),
                )
                self.note(replace(receipt, name=new))

    def ledgers(self, jobs: Iterable[str] | None = None) -> dict[str, Any]:
        """The cursors of all exports that keep a ledger, by job, whether live, purged or orphaned; of `jobs` only, where
        given."""
        wanted = None if jobs is None else canonical(sorted(set(jobs)))
        rows = self._sql.execute(
            "SELECT name, cursor FROM resource JOIN job USING (id) WHERE cursor ->> '$.ledger' IS NOT NULL "
            "AND (?1 IS NULL OR name IN (SELECT value FROM json_each(?1))) ORDER BY name",
            (wanted,),
        )
        return {str(row[0]): json.loads(row[1]) for row in rows}

    # --- texts, and the file itself ---

    def blank_texts(self, shows: Any) -> int:
        """Free texts that show an identifier (`shows(text)`) are blanked; how many. Logs are the caller's."""
        blanked = 0
        for table, key, columns in _TEXTS:
            for column in columns:
                rows = self._sql.execute(f"SELECT {key}, {column} FROM {table} WHERE coalesce({column}, '') <> ''")
                found = [row[0] for row in rows if shows(row[1])]
                self._sql.executemany(
                    f"UPDATE {table} SET {column} = ? WHERE {key} = ?", [(BLANK, one) for one in found]
                )
                blanked += len(found)
        if blanked:
            self._sql.execute(_MARK_DIRTY, (BLANK,))
        return blanked

    def scrub(self) -> bool:
        """Writes the record anew, so that no page of its files holds what was deleted; False where a reader stands in
        the way, or there is no room for it now. Outside any transaction."""
        self._sql.execute(f"PRAGMA busy_timeout = {SCRUB_MS}")  # the loop does not wait for a reader
        try:
            self._sql.execute("VACUUM")
            row = self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
        finally:
            self._sql.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        return int(row[0]) == 0


def _request(row: sqlite3.Row) -> ForgetRequest:
    return ForgetRequest(
        id=row["id"],
        at_ms=row["at_ms"],
        by=row["by_"],
        step=row["step"],
        known=None if row["known"] is None else bool(row["known"]),
        done_ms=row["done_ms"],
        work=None if row["work"] is None else _work(json.loads(row["work"])),
    )


def _work(value: dict[str, Any]) -> Work:
    return Work(
        identifiers=tuple((one[0], one[1]) for one in value["identifiers"]),
        ids=tuple(value["ids"]),
        files=tuple(value["files"]),
    )


def _receipt(row: sqlite3.Row) -> Receipt:
    return Receipt(
        request=row["request"],
        what=row["what"],
        name=row["name"],
        count=row["count"],
        at_ms=row["at_ms"],
        note=row["note"],
        members=tuple(json.loads(row["members"])) if row["members"] else (),
    )
