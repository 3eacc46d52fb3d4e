-- A commit's outcome may be pending too: a window of the policy holds it back.

CREATE TABLE commit_status_now (
    forge       TEXT NOT NULL,
    commit_     TEXT NOT NULL,
    branch      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('success', 'failure', 'pending')),
    description TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    due_ms      INTEGER,
    tries       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (forge, commit_)
) STRICT, WITHOUT ROWID;
INSERT INTO commit_status_now SELECT * FROM commit_status;
DROP TABLE commit_status;
ALTER TABLE commit_status_now RENAME TO commit_status;
