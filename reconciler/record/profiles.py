"""Profiles: which files they consist of, and up to which positions their messages are in. A file that no row names is
garbage; one that a later build has replaced stays until no reader can hold it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from reconciler.core.document import canonical
from reconciler.core.profile import ProfileFile, ProfileRules, ProfileSet, profile_rules, rules_spec
from reconciler.core.value import dataclass
from reconciler.core.words import DAY_MS, HOUR_MS
from reconciler.record.database import transaction

#: Sizes older than the first are kept one for each of the second: an hour, a day.
_THINNED: Final = ((2 * DAY_MS, HOUR_MS), (60 * DAY_MS, DAY_MS))


@dataclass(frozen=True, slots=True)
class AudiencePoint:
    """The size of an audience at a moment, and when it next changes though nothing arrives."""

    at_ms: int
    size: int
    next_change_ms: int | None


class Profiles:
    """The `profile_set` and `profile_file` tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def current(self) -> ProfileSet:
        """The set that serves; an empty one before the first build."""
        row = self._sql.execute("SELECT build, rules, built, facts FROM profile_set").fetchone()
        if row is None:
            return ProfileSet()
        return ProfileSet(
            build=row["build"],
            rules=row["rules"],
            built=json.loads(row["built"]),
            facts=json.loads(row["facts"]),
            files=self._files(),
        )

    def built_ms(self) -> int | None:
        """When the last build was committed."""
        row = self._sql.execute("SELECT built_ms FROM profile_set").fetchone()
        return None if row is None else int(row[0])

    def rules(self) -> ProfileRules:
        """The rules by which the set that serves was built; no others can read its files."""
        row = self._sql.execute("SELECT spec FROM profile_set").fetchone()
        return ProfileRules() if row is None else profile_rules((name, spec) for name, spec in json.loads(row["spec"]))

    def swap(self, new: ProfileSet, rules: ProfileRules, now_ms: int) -> None:
        """Makes a build's result the one that serves. Inside the caller's transaction."""
        keep = {one.file for one in new.files}
        gone = [one.file for one in self._files() if one.file not in keep]
        self._sql.executemany(
            "UPDATE profile_file SET retired_ms = ? WHERE file = ?", [(now_ms, file) for file in gone]
        )
        self._sql.executemany(
            "INSERT INTO profile_file (file, kind, part, build, rows, size) "
            "VALUES (:file, :kind, :part, :build, :rows, :size) ON CONFLICT (file) DO NOTHING",
            [asdict(one) for one in new.files],
        )
        self._sql.execute(
            "INSERT OR REPLACE INTO profile_set (one, build, rules, spec, built, facts, built_ms) "
            "VALUES (1, ?, ?, ?, ?, ?, ?)",
            (
                new.build,
                new.rules,
                canonical(rules_spec(rules)),
                canonical(dict(new.built)),
                canonical(dict(new.facts)),
                now_ms,
            ),
        )

    def note_sizes(self, sizes: Mapping[str, tuple[int, int | None]], now_ms: int) -> None:
        """How large each audience is now, and when it next changes by itself; what is old is thinned out, what is of no
        audience any more goes. Inside the caller's transaction."""
        self._sql.execute(
            "DELETE FROM audience_size WHERE name NOT IN (SELECT value FROM json_each(?))", (canonical(sorted(sizes)),)
        )
        self._sql.executemany(
            "INSERT OR REPLACE INTO audience_size (name, at_ms, size, next_change_ms) VALUES (?, ?, ?, ?)",
            [(name, now_ms, size, next_ms) for name, (size, next_ms) in sizes.items()],
        )
        for after_ms, grain_ms in _THINNED:
            self._sql.execute(
                "DELETE FROM audience_size WHERE at_ms < ? AND EXISTS (SELECT 1 FROM audience_size later WHERE "
                "later.name = audience_size.name AND later.at_ms > audience_size.at_ms AND "
                "later.at_ms / ? = audience_size.at_ms / ?)",
                (now_ms - after_ms, grain_ms, grain_ms),
            )

    def next_changes(self) -> dict[str, int]:
        """When each audience next changes though nothing arrives, by the latest count; without those that never do."""
        rows = self._sql.execute(
            "SELECT name, next_change_ms FROM audience_size a WHERE next_change_ms IS NOT NULL AND "
            "at_ms = (SELECT max(at_ms) FROM audience_size b WHERE b.name = a.name)"
        )
        return {str(row[0]): int(row[1]) for row in rows}

    def sizes(self, name: str, since_ms: int = 0) -> list[AudiencePoint]:
        """How an audience grew, in order of time."""
        rows = self._sql.execute(
            "SELECT at_ms, size, next_change_ms FROM audience_size WHERE name = ? AND at_ms >= ? ORDER BY at_ms",
            (name, since_ms),
        )
        return [AudiencePoint(*row) for row in rows]

    def drop_retired(self, before_ms: int) -> list[str]:
        """The replaced files that no reader can hold any more; their rows are gone, the files are the caller's."""
        due = self._sql.execute("SELECT 1 FROM profile_file WHERE retired_ms <= ? LIMIT 1", (before_ms,)).fetchone()
        if due is None:  # asked at every turn of the loop
            return []
        with transaction(self._sql):
            rows = self._sql.execute("DELETE FROM profile_file WHERE retired_ms <= ? RETURNING file", (before_ms,))
            return [str(row[0]) for row in rows.fetchall()]

    def named_files(self) -> set[str]:
        """Every profile file that a row names."""
        return {str(row[0]) for row in self._sql.execute("SELECT file FROM profile_file")}

    def _files(self) -> tuple[ProfileFile, ...]:
        rows = self._sql.execute(
            "SELECT file, kind, part, build, rows, size FROM profile_file WHERE retired_ms IS NULL ORDER BY file"
        )
        return tuple(ProfileFile(**dict(row)) for row in rows)
