-- Profiles: the files that a build has made, listed as segments are; and what jobs keep in files of their own.

CREATE TABLE profile_set (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    build    INTEGER NOT NULL,                          -- the number of the build that made it
    rules    TEXT NOT NULL,                             -- the digest of the rules it was built by
    spec     TEXT NOT NULL CHECK (json_valid(spec)),    -- those rules: they alone can read its files
    built    TEXT NOT NULL CHECK (json_valid(built)),   -- for each stream the position up to which it is in
    facts    TEXT NOT NULL CHECK (json_valid(facts)),   -- what the build counted
    built_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE profile_file (
    file       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    part       INTEGER NOT NULL,
    build      INTEGER NOT NULL,
    rows       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    retired_ms INTEGER  -- replaced by a later build; its file goes once no reader can hold it
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_file_retired ON profile_file (retired_ms) WHERE retired_ms IS NOT NULL;

-- What a job keeps for itself beside its cursor: the ledger of an audience export, and the batches it is about to send.
CREATE TABLE job_file (
    file TEXT PRIMARY KEY,
    job  INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX job_file_of ON job_file (job);

-- The difference that a guard holds back, and whether a person has approved exactly that one.
CREATE TABLE approval (
    job         INTEGER PRIMARY KEY REFERENCES resource (id) ON DELETE CASCADE,
    digest      TEXT NOT NULL,
    message     TEXT NOT NULL,
    asked_ms    INTEGER NOT NULL,
    approved_ms INTEGER,
    approved_by TEXT NOT NULL DEFAULT ''
) STRICT;

ALTER TABLE job ADD COLUMN awaiting TEXT;  -- what a guard holds the owed run back for, in words

-- How large each audience was after a build; thinned out with time.
CREATE TABLE audience_size (
    name           TEXT NOT NULL,
    at_ms          INTEGER NOT NULL,
    size           INTEGER NOT NULL,
    next_change_ms INTEGER,
    PRIMARY KEY (name, at_ms)
) STRICT, WITHOUT ROWID;
