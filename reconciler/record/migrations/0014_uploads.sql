-- Bulk bodies that would add more to a stream than it takes unasked: each waits until a person approves it.

CREATE TABLE upload (
    journal     INTEGER PRIMARY KEY CHECK (journal >= 1),  -- the journal's number, which never repeats
    stream      TEXT NOT NULL,
    messages    INTEGER NOT NULL CHECK (messages >= 0),
    size        INTEGER NOT NULL CHECK (size >= 0),
    max_        INTEGER NOT NULL CHECK (max_ >= 1),  -- the stream's backfill.maxMessages
    timed       INTEGER NOT NULL CHECK (timed IN (0, 1)),  -- its messages have a time of their own
    digest      TEXT NOT NULL,
    asked_ms    INTEGER NOT NULL,
    approved_ms INTEGER,
    approved_by TEXT NOT NULL DEFAULT ''
) STRICT;
