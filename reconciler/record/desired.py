"""The desired half of the record: documents and problems, file by file, as the last believed look found them.

A look only brings the files that changed; what they declared before is replaced whole. On a connection that cannot
write, `overlay()` shadows the tables with temporary ones, so that a plan runs the very same statements.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from reconciler.core.document import Document, Kind, canonical, digest_of_text
from reconciler.errors import Problem
from reconciler.record.database import transaction

Origin = Literal["file", "across", "reading", "policy"]

#: Documents that are held come after those that the file declares.
HELD_ORDINAL: Final = 1_000_000
#: What sorts them behind those of other files too. A column of the result, so that in a preview, where documents come from two
#: tables, SQLite need not copy both.
_IS_HELD: Final = "held <> '' AS is_held"

_COLUMNS: Final = (
    "path, ordinal, kind, name, line, title, description, labels, renamed_from, digest, work_digest, "
    "metadata_digest, spec"
)
#: Of a preview: the documents of the files that it has seen change are its own, and hide what these files declared; the others
#: stay where they are. Names are noted as the record's triggers note them.
_OVERLAY: Final = (
    "CREATE TEMP TABLE own_document AS SELECT * FROM main.document WHERE 0",
    "CREATE INDEX temp.own_document_by_name ON own_document (kind, name)",
    "CREATE INDEX temp.own_document_by_path ON own_document (path)",
    "CREATE TEMP TABLE own_path (path TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE problem AS SELECT * FROM main.problem",
    "CREATE TEMP TABLE touched AS SELECT * FROM main.touched",
    "CREATE UNIQUE INDEX temp.touched_once ON touched (kind, name)",
    """CREATE TEMP VIEW document AS
    SELECT * FROM main.document WHERE path NOT IN (SELECT path FROM own_path) UNION ALL SELECT * FROM own_document""",
    """CREATE TEMP TRIGGER document_is_declared INSTEAD OF INSERT ON document BEGIN
    INSERT INTO own_document VALUES (
        NEW.path, NEW.ordinal, NEW.kind, NEW.name, NEW.line, NEW.title, NEW.description, NEW.labels, NEW.renamed_from,
        NEW.digest, NEW.work_digest, NEW.metadata_digest, NEW.spec, NEW.held, NEW.invalid
    );
    INSERT OR IGNORE INTO touched VALUES (NEW.kind, NEW.name);
    INSERT OR IGNORE INTO touched SELECT NEW.kind, NEW.renamed_from WHERE NEW.renamed_from <> '';
END""",
    """CREATE TEMP TRIGGER document_is_declared_no_more INSTEAD OF DELETE ON document BEGIN
    INSERT INTO own_document SELECT * FROM main.document
        WHERE path = OLD.path AND NOT EXISTS (SELECT 1 FROM own_path WHERE path = OLD.path);
    INSERT OR IGNORE INTO own_path VALUES (OLD.path);
    DELETE FROM own_document WHERE path = OLD.path AND ordinal = OLD.ordinal;
    INSERT OR IGNORE INTO touched VALUES (OLD.kind, OLD.name);
    INSERT OR IGNORE INTO touched SELECT OLD.kind, OLD.renamed_from WHERE OLD.renamed_from <> '';
END""",
    """CREATE TEMP TRIGGER document_is_judged INSTEAD OF UPDATE OF invalid ON document BEGIN
    INSERT INTO own_document SELECT * FROM main.document
        WHERE path = OLD.path AND NOT EXISTS (SELECT 1 FROM own_path WHERE path = OLD.path);
    INSERT OR IGNORE INTO own_path VALUES (OLD.path);
    UPDATE own_document SET invalid = NEW.invalid WHERE path = OLD.path AND ordinal = OLD.ordinal;
END""",
)
_INSERT: Final = f"INSERT INTO document ({_COLUMNS}, held) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


class JobDocument(NamedTuple):
    """Where a job is declared, and what its spec says besides `config`, as JSON: that is the same for many."""

    name: str
    path: str
    ordinal: int
    terms: str


class Desired:
    """Documents and problems by file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def overlay(self) -> None:
        """From here on what this connection changes is its own; it costs what is changed, not what there is."""
        if self._sql.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'document'").fetchone():
            return
        for statement in _OVERLAY:
            self._sql.execute(statement)

    def replace_file(
        self,
        path: str,
        documents: Iterable[Document],
        problems: Iterable[Problem],
        held: Iterable[tuple[Document, str]] = (),
    ) -> None:
        """What `path` declares now; what it declared before is gone, but for the `held` documents, whose absence is not
        certain: they stay desired, each with the reason."""
        self.replace_files([(path, documents, problems, held)])

    def replace_files(
        self,
        files: Sequence[tuple[str, Iterable[Document], Iterable[Problem], Iterable[tuple[Document, str]]]],
    ) -> None:
        """The same of many files: path, documents, problems, and what is held."""
        paths = json.dumps([path for path, *_ in files])
        rows = [(*_row(document), "") for _, documents, _, _ in files for document in documents]
        rows += [
            (*_row(replace(document, ordinal=HELD_ORDINAL + number)), reason)
            for *_, held in files
            for number, (document, reason) in enumerate(held)
        ]
        with transaction(self._sql):
            self._sql.execute("DELETE FROM document WHERE path IN (SELECT value FROM json_each(?))", (paths,))
            self._sql.execute(
                "DELETE FROM problem WHERE origin = 'file' AND path IN (SELECT value FROM json_each(?))", (paths,)
            )
            self._sql.executemany(_INSERT, rows)
            self._insert_problems([problem for _, _, problems, _ in files for problem in problems], "file")

    def documents_of(self, paths: Iterable[str]) -> dict[str, list[Document]]:
        """What each of these files declared when it was last believed, by path."""
        found: dict[str, list[Document]] = {path: [] for path in paths}
        rows = self._sql.execute(
            "SELECT * FROM document WHERE path IN (SELECT value FROM json_each(?)) ORDER BY path, ordinal",
            (json.dumps(list(found)),),
        )
        for row in rows:
            found[row[0]].append(document_of(row))
        return found

    def declared_elsewhere(self, kind: str, name: str, paths: Container[str]) -> bool:
        """Whether a file that is not among `paths` declares a document of that name."""
        rows = self._sql.execute("SELECT path FROM document WHERE kind = ? AND name = ? AND held = ''", (kind, name))
        return any(row[0] not in paths for row in rows)

    def files_of(self, kind: str, name: str) -> set[str]:
        """The files that declare a document of that name, be it wrongly; or may, as they did and cannot be parsed now."""
        rows = self._sql.execute(
            "SELECT path FROM document WHERE kind = ?1 AND name = ?2 AND held = '' UNION "
            "SELECT path FROM problem WHERE kind = ?1 AND name = ?2 UNION "
            "SELECT document.path FROM document JOIN problem USING (path) WHERE document.kind = ?1 AND document.name = ?2 "
            "AND held <> '' AND origin = 'file' AND problem.name = ''",
            (kind, name),
        )
        return {str(row[0]) for row in rows}

    def held(self) -> list[tuple[Document, str]]:
        """Documents that no file declares any more and whose absence is not certain, with the reason. They are few, so they
        are found by their own index, and sorted (the sign keeps SQLite from reading all in order instead)."""
        rows = self._sql.execute("SELECT * FROM document WHERE held <> '' ORDER BY +kind, +name")
        return [(document_of(row), str(row["held"])) for row in rows]

    def held_paths(self) -> set[str]:
        """The files of those documents."""
        return {str(row[0]) for row in self._sql.execute("SELECT DISTINCT path FROM document WHERE held <> ''")}

    def problems_of(self, origin: Origin) -> list[Problem]:
        """Those of one origin, by path."""
        rows = self._sql.execute(
            "SELECT path, line, column_, field, message, kind, name FROM problem WHERE origin = ? ORDER BY path, line, column_",
            (origin,),
        )
        return [Problem(*row) for row in rows]

    def replace_problems(self, problems: Iterable[Problem], origin: Origin) -> None:
        """All problems of one origin: `across` files, or of `reading` the tree."""
        with transaction(self._sql):
            self._sql.execute("DELETE FROM problem WHERE origin = ?", (origin,))
            self._insert_problems(problems, origin)

    def replace_problems_of(self, paths: Iterable[str], problems: Iterable[Problem], origin: Origin) -> None:
        """The problems of one origin in some files."""
        with transaction(self._sql):
            self._sql.executemany(
                "DELETE FROM problem WHERE origin = ? AND path = ?", [(origin, path) for path in sorted(set(paths))]
            )
            self._insert_problems(problems, origin)

    def mark_invalid(self) -> None:
        """Exactly the documents of which a problem across files or a policy speaks by name are invalid. In an overlay, a
        document that is new has a null there."""
        broken = "SELECT kind, name FROM problem WHERE origin IN ('across', 'policy') AND name <> ''"
        with transaction(self._sql):
            self._sql.execute(f"UPDATE document SET invalid = 0 WHERE invalid = 1 AND (kind, name) NOT IN ({broken})")
            self._sql.execute(f"UPDATE document SET invalid = 1 WHERE invalid IS NOT 1 AND (kind, name) IN ({broken})")

    def paths(self) -> set[str]:
        """Every file that declared something, or that had a problem of its own."""
        rows = self._sql.execute("SELECT path FROM document UNION SELECT path FROM problem WHERE origin = 'file'")
        return {str(row[0]) for row in rows}

    def documents(self, *, besides: Container[str] = ()) -> Iterator[Document]:
        """Every document, invalid ones too, by path and ordinal; but for those of some files."""
        for row in self._sql.execute("SELECT * FROM document ORDER BY path, ordinal"):
            if row[0] not in besides:
                yield document_of(row)

    def documents_of_kind(self, kind: Kind) -> list[Document]:
        """The same of one kind."""
        rows = self._sql.execute("SELECT * FROM document WHERE kind = ? ORDER BY path, ordinal", (kind,))
        return list(map(document_of, rows))

    def digest(self) -> str:
        """Over all that is declared, wherever it stands in its file: names, paths, specs and metadata, and what is held or
        invalid."""
        digest = hashlib.sha256()
        for row in self._sql.execute(
            "SELECT kind, name, path, renamed_from, digest, metadata_digest, held, coalesce(invalid, 0) FROM document "
            "ORDER BY kind, name, path, digest, metadata_digest"
        ):
            digest.update(canonical(list(row)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]

    def document(self, kind: str, name: str) -> Document | None:
        """The first document of that name: one that a file declares comes before one that is only held, as in
        `Differences.pairs`, so that what is enacted is what was planned."""
        row = self._sql.execute(
            f"SELECT *, {_IS_HELD} FROM document WHERE kind = ? AND name = ? ORDER BY is_held, path, ordinal LIMIT 1",
            (kind, name),
        ).fetchone()
        return None if row is None else document_of(row)

    def jobs(self, names: Iterable[str]) -> list[JobDocument]:
        """The first document of each of these jobs, by name, as `document` has it."""
        rows = self._sql.execute(
            f"SELECT name, path, ordinal, json_remove(spec, '$.config'), {_IS_HELD} FROM document WHERE kind = 'Job' "
            "AND name IN (SELECT value FROM json_each(?)) ORDER BY name, is_held, path, ordinal",
            (json.dumps(list(names)),),
        )
        found: dict[str, JobDocument] = {}
        for *said, _ in rows:
            found.setdefault(said[0], JobDocument(*said))
        return list(found.values())

    def backfills(self, names: Iterable[str]) -> list[Document]:
        """The jobs among `names` that are in the lane of backfills, by name."""
        rows = self._sql.execute(
            f"SELECT *, {_IS_HELD} FROM document WHERE kind = 'Job' AND name IN (SELECT value FROM json_each(?)) "
            "AND spec ->> '$.lane' = 'backfill' ORDER BY name, is_held, path, ordinal",
            (json.dumps(list(names)),),
        )
        found: dict[str, Document] = {}
        for row in rows:
            one = document_of(row)
            found.setdefault(one.name, one)
        return list(found.values())

    def problems(self) -> list[Problem]:
        """Every problem, in file order."""
        rows = self._sql.execute(
            "SELECT DISTINCT path, line, column_, field, message, kind, name FROM problem "
            "ORDER BY path, line, column_, field, message"
        )
        return [Problem(*row) for row in rows]

    def _insert_problems(self, problems: Iterable[Problem], origin: Origin) -> None:
        self._sql.executemany(
            "INSERT INTO problem (path, line, column_, field, message, kind, name, origin) VALUES (?,?,?,?,?,?,?,?)",
            [(p.path, p.line, p.column, p.field, p.message, p.kind, p.name, origin) for p in problems],
        )


def _row(document: Document) -> tuple[Any, ...]:
    spec = canonical(document.spec)
    return (
        document.path,
        document.ordinal,
        document.kind,
        document.name,
        document.line,
        document.title,
        document.description,
        canonical(dict(document.labels)),
        document.renamed_from,
        digest_of_text(spec),
        document.work_digest,
        document.metadata_digest,
        spec,
    )


def document_of(row: sqlite3.Row) -> Document:
    """The document of a row that begins with the columns of `document`. Read by position: by name, each is looked for."""
    path, ordinal, kind, name, line, title, description, labels, renamed_from, _, _, _, spec = row[:13]
    return Document(
        kind=kind,
        name=name,
        path=path,
        ordinal=ordinal,
        line=line,
        title=title,
        description=description,
        labels=json.loads(labels),
        renamed_from=renamed_from,
        spec=json.loads(spec),
    )
