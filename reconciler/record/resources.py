"""What was made true of each document: identity, generation, who and when. The verbs of a plan end here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from reconciler.core.document import Document, canonical, digest_of_text
from reconciler.core.value import dataclass
from reconciler.record.database import transaction
from reconciler.record.desired import JobDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who caused a change, and which commit: `author` is a person's name, `commit` a hash or empty."""

    author: str
    commit: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRow:
    """An Authorization, Stream or Audience (or the part of a Job that all kinds have)."""

    id: int
    kind: str
    name: str
    life: str
    path: str
    title: str
    description: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    digest: str
    generation: int
    created_ms: int
    created_by: str
    updated_ms: int
    updated_by: str
    revision: str
    condition: str
    condition_ms: int
    status_digest: str


class Chore(NamedTuple):
    """Files beside a spec that are to be moved, or removed where `new_name` is empty."""

    id: int
    kind: str
    name: str
    path: str
    new_name: str
    new_path: str


#: The columns that come out of a document, and those that a change of it sets; digest is compared before it is set.
_SAID: Final = "name, path, title, description, labels, digest, work_digest, metadata_digest, spec"
_CHANGED: Final = f"{_SAID}, revision, type, updated_ms, updated_by"
_INSERT: Final = f"INSERT INTO resource (kind, {_CHANGED}, created_ms, created_by)"
_LIVES_AGAIN: Final = (
    "ON CONFLICT (kind, name) DO UPDATE SET life = 'live', dirty = 1, generation = generation + (digest <> excluded.digest), "
    + ", ".join(f"{name} = excluded.{name}" for name in _CHANGED.split(", "))
)
_CREATE: Final = f"{_INSERT} VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) {_LIVES_AGAIN} RETURNING id"
#: What is declared is in the record already: it is copied there, all in one statement (each of its own takes twice as long).
#: A row of the list is path, ordinal, revision, type and author. (A cross join keeps its order.)
_COPY: Final = (
    f"{_INSERT} SELECT d.kind, {', '.join(f'd.{name}' for name in _SAID.split(', '))}, one.value ->> 2, one.value ->> 3, ?2, "
    "one.value ->> 4, ?2, one.value ->> 4 FROM json_each(?1) one CROSS JOIN document d "
    f"ON d.path = one.value ->> 0 AND d.ordinal = one.value ->> 1 WHERE true {_LIVES_AGAIN}"
)
_UPDATE: Final = (
    "UPDATE resource SET dirty = 1, generation = generation + (digest <> ?6), "
    + ", ".join(f"{name} = ?{number}" for number, name in enumerate(_CHANGED.split(", "), start=1))
    + " WHERE id = ?14"
)


class Resources:
    """The `resource` table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def resource(self, kind: str, name: str) -> ResourceRow | None:
        row = self._sql.execute("SELECT * FROM resource WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return None if row is None else _resource(row)

    def resources(self, kind: str) -> list[ResourceRow]:
        """Live ones by name."""
        rows = self._sql.execute("SELECT * FROM resource WHERE kind = ? AND life = 'live' ORDER BY name", (kind,))
        return [_resource(row) for row in rows]

    def dirty(self, kind: str) -> list[ResourceRow]:
        rows = self._sql.execute(
            "SELECT * FROM resource WHERE dirty = 1 AND kind = ? AND life = 'live' ORDER BY path, name", (kind,)
        )
        return [_resource(row) for row in rows]

    def is_dirty(self, resource_id: int) -> bool:
        """Whether its status is out of date."""
        return bool(self._sql.execute("SELECT dirty FROM resource WHERE id = ?", (resource_id,)).fetchone()[0])

    def clear_dirty_without_status(self) -> None:
        """Kinds that have no status file are never out of date."""
        self._sql.execute("UPDATE resource SET dirty = 0 WHERE dirty = 1 AND kind IN ('Stream', 'Audience')")

    def any(self) -> bool:
        """Whether anything was ever made true, and is known of still."""
        return self._sql.execute("SELECT 1 FROM resource LIMIT 1").fetchone() is not None

    def count(self, kind: str) -> int:
        row = self._sql.execute("SELECT count(*) FROM resource WHERE kind = ? AND life = 'live'", (kind,)).fetchone()
        return int(row[0])

    def create(self, document: Document, by: By, now_ms: int, *, type: str = "") -> int:
        """A new resource, or one that comes back to life under its old id (an orphan, an archived stream)."""
        values = (document.kind, *_said(document), by.revision, type, now_ms, by.author, now_ms, by.author)
        return int(self._sql.execute(_CREATE, values).fetchone()[0])

    def create_jobs(self, declared: Sequence[tuple[JobDocument, By, str]], now_ms: int) -> dict[str, int]:
        """The same of many jobs as they are declared, each with its type; their ids by name."""
        rows = [(one.path, one.ordinal, by.revision, type, by.author) for one, by, type in declared]
        self._sql.execute(_COPY, (json.dumps(rows), now_ms))
        found = self._sql.execute(
            "SELECT name, id FROM resource WHERE kind = 'Job' AND name IN (SELECT value FROM json_each(?))",
            (json.dumps([one.name for one, _, _ in declared]),),
        )
        return {str(name): int(id_) for name, id_ in found}

    def update(self, resource_id: int, document: Document, by: By, now_ms: int, *, type: str = "") -> None:
        """What the document says now; `type` is its job type's (import, export, enrichment). The generation
        rises when its digest differs from what was there."""
        self._sql.execute(_UPDATE, (*_said(document), by.revision, type, now_ms, by.author, resource_id))

    def move(self, resource_id: int, name: str, path: str) -> None:
        """Another name or file of the same thing; its events go with it, and its files beside the spec are to follow. Which
        status stands there then is for whoever writes the next one to see."""
        with transaction(self._sql):
            row = self._sql.execute("SELECT kind, name, path FROM resource WHERE id = ?", (resource_id,)).fetchone()
            self._sql.execute(
                "UPDATE resource SET name = ?, path = ?, dirty = 1, status_digest = '' WHERE id = ?",
                (name, path, resource_id),
            )
            self._sql.execute(
                "UPDATE event SET name = ?, path = ? WHERE kind = ? AND name = ?",
                (name, path, row["kind"], row["name"]),
            )
            self._sql.execute(
                "INSERT INTO chore (kind, name, path, new_name, new_path) VALUES (?, ?, ?, ?, ?)", (*row, name, path)
            )

    def clear_away(self, kind: str, name: str, path: str) -> None:
        """The files beside the spec of a thing that is gone are to be removed."""
        self._sql.execute("INSERT INTO chore (kind, name, path) VALUES (?, ?, ?)", (kind, name, path))

    def chores(self) -> list[Chore]:
        """What is still to be done to the files beside the specs, oldest first."""
        rows = self._sql.execute("SELECT id, kind, name, path, new_name, new_path FROM chore ORDER BY id")
        return [Chore(*row) for row in rows]

    def done(self, chore: Chore) -> None:
        self._sql.execute("DELETE FROM chore WHERE id = ?", (chore.id,))

    def delete(self, resource_id: int) -> None:
        """The resource, and all that hangs on it (cursor, runs, intents)."""
        self._sql.execute("DELETE FROM resource WHERE id = ?", (resource_id,))

    def give_way(self, kind: str, name: str) -> None:
        """A kept cursor of that name makes room for what is renamed to it."""
        self._sql.execute("DELETE FROM resource WHERE kind = ? AND name = ? AND life = 'orphaned'", (kind, name))

    def set_life(self, resource_id: int, life: str) -> None:
        self._sql.execute("UPDATE resource SET life = ?, dirty = 1 WHERE id = ?", (life, resource_id))

    def referrers(self, kind: str, name: str) -> list[str]:
        """Live jobs whose spec refers to an Authorization, Stream or Audience of that name."""
        field = {
            "Authorization": "$.authorization",
            "Stream": "$.config.stream",
            "Audience": "$.config.audience",
        }.get(kind)
        if field is None:
            return []
        rows = self._sql.execute(
            "SELECT name FROM resource WHERE kind = 'Job' AND life = 'live' AND spec ->> ? = ? ORDER BY name",
            (field, name),
        )
        return [str(row[0]) for row in rows]


def _said(document: Document) -> tuple[str, ...]:
    """The values of `_SAID`."""
    spec = canonical(document.spec)
    return (
        document.name,
        document.path,
        document.title,
        document.description,
        canonical(dict(document.labels)),
        digest_of_text(spec),
        document.work_digest,
        document.metadata_digest,
        spec,
    )


def _resource(row: sqlite3.Row) -> ResourceRow:
    return ResourceRow(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        life=row["life"],
        path=row["path"],
        title=row["title"],
        description=row["description"],
        labels=json.loads(row["labels"]),
        spec=json.loads(row["spec"]),
        digest=row["digest"],
        generation=row["generation"],
        created_ms=row["created_ms"],
        created_by=row["created_by"],
        updated_ms=row["updated_ms"],
        updated_by=row["updated_by"],
        revision=row["revision"],
        condition=row["condition_"],
        condition_ms=row["condition_ms"],
        status_digest=row["status_digest"],
    )
