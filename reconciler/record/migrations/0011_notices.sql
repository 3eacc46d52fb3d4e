-- What is told to people who look elsewhere. A trouble is there for as long as it lasts; a notice of it waits for each rule until it
-- was delivered, and is kept a while afterwards, so that the same is not told again.

CREATE TABLE trouble (
    key      TEXT PRIMARY KEY,
    what     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    path     TEXT NOT NULL,
    message  TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    person   TEXT NOT NULL,
    commit_  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notice (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    rule      TEXT NOT NULL,
    key       TEXT NOT NULL,
    recovered INTEGER NOT NULL CHECK (recovered IN (0, 1)),
    trouble   TEXT NOT NULL CHECK (json_valid(trouble)),
    at_ms     INTEGER NOT NULL,
    due_ms    INTEGER,          -- when to try to deliver it; NULL: it was delivered, or there was no need
    tries     INTEGER NOT NULL DEFAULT 0,
    told_ms   INTEGER           -- when it was delivered
) STRICT;
CREATE INDEX notice_due ON notice (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX notice_told ON notice (rule, key, told_ms) WHERE told_ms IS NOT NULL;

-- The last outcome that a forge was told, or is to be told, of a commit.
CREATE TABLE commit_status (
    forge       TEXT NOT NULL,
    commit_     TEXT NOT NULL,
    branch      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('success', 'failure')),
    description TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    due_ms      INTEGER,
    tries       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (forge, commit_)
) STRICT, WITHOUT ROWID;
