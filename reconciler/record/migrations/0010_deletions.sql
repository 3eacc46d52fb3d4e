-- Deletions that can be undone: the rows of the job stay, with life 'orphaned'.

CREATE TABLE deletion (
    job          INTEGER PRIMARY KEY REFERENCES resource (id) ON DELETE CASCADE,
    at_ms        INTEGER NOT NULL,
    commit_      TEXT NOT NULL,
    revision     TEXT NOT NULL,
    keeps        INTEGER NOT NULL CHECK (keeps IN (0, 1)),     -- a job declared again goes on from its cursor (orphan)
    approved     INTEGER NOT NULL CHECK (approved IN (0, 1)),  -- by a person, so it counts against no budget
    undeleted_ms INTEGER,                                      -- it waits for its spec, and is not deleted meanwhile
    undeleted_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX deletion_at ON deletion (at_ms);

-- The set of deletions that is over the budget, and whether a person has approved exactly that one.
CREATE TABLE prune (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    digest      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    jobs        TEXT NOT NULL CHECK (json_valid(jobs)),  -- by name: since when each is held back
    known       INTEGER,                                 -- how many jobs there were; NULL where it is only approved so far
    spent       INTEGER NOT NULL CHECK (spent >= 0),     -- what had gone just before, and counts as long as this stands
    revision    TEXT NOT NULL,
    asked_ms    INTEGER NOT NULL,
    approved_ms INTEGER,
    approved_by TEXT NOT NULL DEFAULT ''
) STRICT;
