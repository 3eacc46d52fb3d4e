-- Requests to forget a person, and what came of each.

CREATE TABLE forget_request (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    by_     TEXT NOT NULL,
    step    TEXT NOT NULL CHECK (step IN ('find', 'messages', 'profiles', 'files', 'wipe', 'done')),
    work    TEXT CHECK (work IS NULL OR json_valid(work)),  -- who is meant, in clear; only while it is needed
    known   INTEGER CHECK (known IS NULL OR known IN (0, 1)),  -- whether anything was known; NULL until it was looked up
    done_ms INTEGER,
    CHECK ((step = 'done') = (done_ms IS NOT NULL)),
    CHECK (step <> 'done' OR work IS NULL)
) STRICT;
CREATE INDEX forget_under_way ON forget_request (id) WHERE step <> 'done';

-- What stays: HMAC-SHA256 under the record's secret key, over key, U+001F and normalised value. Messages from before
-- `at_ms` that carry such an identifier are dropped when they arrive again.
CREATE TABLE forgotten (
    hash  TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE forget_receipt (
    request INTEGER NOT NULL REFERENCES forget_request (id),
    what    TEXT NOT NULL CHECK (what IN ('messages', 'rejects', 'profiles', 'destination', 'sent')),
    name    TEXT NOT NULL,               -- of the stream or the job
    count   INTEGER NOT NULL DEFAULT 0,
    at_ms   INTEGER,                     -- when it was done; NULL: it is outstanding
    note    TEXT NOT NULL DEFAULT '',
    members TEXT CHECK (members IS NULL OR json_valid(members)),  -- a destination's: the ids to remove, while outstanding
    PRIMARY KEY (request, what, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX forget_outstanding ON forget_receipt (name) WHERE what = 'destination' AND at_ms IS NULL;

-- Places in a segment whose messages are gone: the positions of all others stay what they were.
ALTER TABLE segment ADD COLUMN holes INTEGER NOT NULL DEFAULT 0 CHECK (holes >= 0);
