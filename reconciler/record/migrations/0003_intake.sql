-- Intake: how far the controller has put each journal on the streams. A journal without a row is at its beginning; the row
-- goes after the journal's file. `mark` is where folding goes on: a byte offset of a live journal, a reader's mark of a body.

CREATE TABLE intake (
    journal INTEGER PRIMARY KEY CHECK (journal >= 1),  -- the journal's number, which never repeats
    mark    TEXT NOT NULL CHECK (json_valid(mark)),
    units   INTEGER NOT NULL DEFAULT 0 CHECK (units >= 0),
    rows    INTEGER NOT NULL DEFAULT 0 CHECK (rows >= 0),
    omitted INTEGER NOT NULL DEFAULT 0 CHECK (omitted >= 0),
    whole   INTEGER NOT NULL DEFAULT 0 CHECK (whole IN (0, 1))  -- all of it is on the streams, and nothing more will come
) STRICT;

-- What was left out of the streams although it was accepted, with the reasons: files of the data folder.
CREATE TABLE intake_reject (
    file    TEXT PRIMARY KEY,
    journal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
