-- The saved plans that were applied, by their digests: none is applied twice.

CREATE TABLE applied_plan (
    digest TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    by_    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
