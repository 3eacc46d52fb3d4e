-- The record: what was made true (design, section 5). One writer, the controller; SQLite enforces what the planner promises.
-- Times are milliseconds since the Unix epoch. JSON columns hold canonical JSON.

CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Desired: what the files declared at the last look that was believed.
CREATE TABLE document (
    path            TEXT NOT NULL,
    ordinal         INTEGER NOT NULL CHECK (ordinal >= 0),
    kind            TEXT NOT NULL CHECK (kind IN ('Job', 'Authorization', 'Stream', 'Audience')),
    name            TEXT NOT NULL,
    line            INTEGER NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    labels          TEXT NOT NULL CHECK (json_valid(labels)),
    renamed_from    TEXT NOT NULL,
    digest          TEXT NOT NULL,
    work_digest     TEXT NOT NULL,
    metadata_digest TEXT NOT NULL,
    spec            TEXT NOT NULL CHECK (json_valid(spec)),
    held            TEXT NOT NULL DEFAULT '',  -- no file declares it any more, but its absence is not certain: why
    invalid         INTEGER NOT NULL DEFAULT 0 CHECK (invalid IN (0, 1)),  -- by a rule across files
    PRIMARY KEY (path, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_by_name ON document (kind, name);
CREATE INDEX document_held ON document (path) WHERE held <> '';

-- What is wrong with the files, so that a pass in which nothing changed still says so.
CREATE TABLE problem (
    path    TEXT NOT NULL,
    line    INTEGER NOT NULL,
    column_ INTEGER NOT NULL,
    field   TEXT NOT NULL,
    message TEXT NOT NULL,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    origin  TEXT NOT NULL CHECK (origin IN ('file', 'across', 'reading'))
) STRICT;
CREATE INDEX problem_by_path ON problem (path);
CREATE INDEX problem_by_name ON problem (kind, name);

-- Observed: what was made true.
CREATE TABLE resource (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    kind            TEXT NOT NULL CHECK (kind IN ('Job', 'Authorization', 'Stream', 'Audience')),
    name            TEXT NOT NULL,
    life            TEXT NOT NULL DEFAULT 'live' CHECK (life IN ('live', 'purged', 'orphaned', 'archived')),
    path            TEXT NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    labels          TEXT NOT NULL CHECK (json_valid(labels)),
    digest          TEXT NOT NULL,
    work_digest     TEXT NOT NULL,
    metadata_digest TEXT NOT NULL,
    spec            TEXT NOT NULL CHECK (json_valid(spec)),
    type            TEXT NOT NULL DEFAULT '' CHECK (type IN ('', 'import', 'export', 'enrichment')),  -- of a Job
    generation      INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1),
    observed        INTEGER NOT NULL DEFAULT 0,  -- the generation that the latest run was started under
    created_ms      INTEGER NOT NULL,
    created_by      TEXT NOT NULL,
    updated_ms      INTEGER NOT NULL,
    updated_by      TEXT NOT NULL,
    revision        TEXT NOT NULL DEFAULT '',    -- the commit that the spec was last made true from
    condition_      TEXT NOT NULL DEFAULT '',    -- the Ready condition's status and reason, as last written
    condition_ms    INTEGER NOT NULL DEFAULT 0,
    status_digest   TEXT NOT NULL DEFAULT '',    -- of the status file, as last written
    troubled        INTEGER NOT NULL DEFAULT 0 CHECK (troubled IN (0, 1)),  -- its status speaks of problems of its spec
    dirty           INTEGER NOT NULL DEFAULT 1 CHECK (dirty IN (0, 1)),  -- its status file is not up to date
    UNIQUE (kind, name)
) STRICT;
CREATE INDEX resource_dirty ON resource (id) WHERE dirty = 1;
CREATE INDEX resource_by_path ON resource (path);

-- The life of a job: JobState in reconciler/core/state.py, column by field; and its totals.
CREATE TABLE job (
    id                    INTEGER PRIMARY KEY REFERENCES resource (id) ON DELETE CASCADE,
    status                TEXT NOT NULL CHECK (status IN ('Running', 'Sleeping', 'Failed', 'Paused', 'Completed')),
    reason                TEXT CHECK (reason IS NULL OR reason IN ('Scheduled', 'Backoff', 'RateLimited', 'QuietHours',
                              'WaitingForDependency', 'WaitingForSlot', 'Interrupted', 'AwaitingApproval', 'AwaitingConsent')),
    since_ms              INTEGER NOT NULL,
    held_status           TEXT,
    held_reason           TEXT,
    held_since_ms         INTEGER,
    owed                  TEXT CHECK (owed IS NULL OR owed IN ('schedule', 'dependency', 'change', 'rerun', 'restart')),
    owed_since_ms         INTEGER,
    tick_at_ms            INTEGER,
    not_before_ms         INTEGER,
    run                   INTEGER,
    attempt               INTEGER NOT NULL CHECK (attempt >= 0),
    last_start_ms         INTEGER,
    last_success_ms       INTEGER,
    last_outcome          TEXT,
    errors                INTEGER NOT NULL CHECK (errors >= 0),
    errors_since_ms       INTEGER,
    errors_since_alive_ms INTEGER,
    last_error            TEXT,
    limits                INTEGER NOT NULL CHECK (limits >= 0),
    interruptions         INTEGER NOT NULL CHECK (interruptions >= 0),
    announced             INTEGER NOT NULL CHECK (announced IN (0, 1)),
    expired               INTEGER NOT NULL CHECK (expired IN (0, 1)),
    queued_ms             INTEGER,
    cause                 TEXT CHECK (cause IS NULL OR cause IN ('schedule', 'dependency', 'change', 'rerun', 'restart')),
    stopping              TEXT CHECK (stopping IS NULL OR stopping IN ('stopped', 'superseded')),
    wake_at_ms            INTEGER,             -- when the controller must next consider it; NULL: only when something happens
    waiting               TEXT NOT NULL DEFAULT '',  -- what it waits for, in words
    cursor                TEXT CHECK (cursor IS NULL OR json_valid(cursor)),
    rows                  INTEGER NOT NULL DEFAULT 0,
    added                 INTEGER NOT NULL DEFAULT 0,
    removed               INTEGER NOT NULL DEFAULT 0,
    omitted               INTEGER NOT NULL DEFAULT 0,
    CHECK ((reason IS NOT NULL) = (status = 'Sleeping')),
    CHECK (status <> 'Running' OR run IS NOT NULL),
    CHECK ((held_status IS NOT NULL) = (status = 'Paused'))
) STRICT;
CREATE INDEX job_wake ON job (wake_at_ms) WHERE wake_at_ms IS NOT NULL;
CREATE INDEX job_queue ON job (queued_ms) WHERE queued_ms IS NOT NULL;
CREATE INDEX job_final ON job (since_ms) WHERE status IN ('Failed', 'Paused', 'Completed');

CREATE TABLE dependency (
    job  INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (name, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_of ON dependency (job);

CREATE TABLE run (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job         INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    generation  INTEGER NOT NULL,
    attempt     INTEGER NOT NULL CHECK (attempt >= 1),
    live        INTEGER NOT NULL CHECK (live IN (0, 1)),  -- a process is at work on it
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    outcome     TEXT CHECK (outcome IS NULL OR outcome IN
                    ('succeeded', 'errored', 'rate-limited', 'interrupted', 'stopped', 'superseded', 'failed')),
    message     TEXT NOT NULL DEFAULT '',
    units       INTEGER NOT NULL DEFAULT 0,
    rows        INTEGER NOT NULL DEFAULT 0,
    added       INTEGER NOT NULL DEFAULT 0,
    removed     INTEGER NOT NULL DEFAULT 0,
    omitted     INTEGER NOT NULL DEFAULT 0,
    pid         INTEGER,
    pid_start   INTEGER,
    exit_code   INTEGER,
    signal      INTEGER,
    peak_kib    INTEGER,
    cpu_s       REAL,
    output      TEXT NOT NULL DEFAULT '',
    CHECK (live = 0 OR outcome IS NULL)
) STRICT;
CREATE UNIQUE INDEX run_never_overlaps ON run (job) WHERE live = 1;
CREATE INDEX run_by_job ON run (job, id);

CREATE TABLE unit (
    run          INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL CHECK (number >= 1),
    attempt      INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    rows         INTEGER NOT NULL CHECK (rows >= 0),
    added        INTEGER NOT NULL CHECK (added >= 0),
    removed      INTEGER NOT NULL CHECK (removed >= 0),
    omitted      INTEGER NOT NULL CHECK (omitted >= 0),
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- What an export has committed itself to send; closed by the unit that holds its outcome.
CREATE TABLE intent (
    key        TEXT PRIMARY KEY,
    job        INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    run        INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    detail     TEXT CHECK (detail IS NULL OR json_valid(detail))
) STRICT, WITHOUT ROWID;
CREATE INDEX intent_by_job ON intent (job, ordinal);

CREATE TABLE event (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    path    TEXT NOT NULL,  -- of the spec at that time: where the log is
    time_ms INTEGER NOT NULL,
    event   TEXT NOT NULL,
    run     INTEGER,
    unit    INTEGER,
    rows    INTEGER,
    added   INTEGER,
    removed INTEGER,
    omitted INTEGER,
    message TEXT NOT NULL DEFAULT '',
    commit_ TEXT NOT NULL DEFAULT '',
    author  TEXT NOT NULL DEFAULT '',
    logged  INTEGER NOT NULL DEFAULT 0 CHECK (logged IN (0, 1))
) STRICT;
CREATE INDEX event_by_name ON event (kind, name, id);
CREATE INDEX event_unlogged ON event (id) WHERE logged = 0;

-- A stream is the sequence of its segments; positions are given here, at commit, and never change.
CREATE TABLE stream (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL DEFAULT 0 CHECK (next >= 0)  -- the position of the next message
) STRICT, WITHOUT ROWID;

CREATE TABLE segment (
    file       TEXT PRIMARY KEY,
    stream     TEXT NOT NULL REFERENCES stream (name),
    first      INTEGER NOT NULL CHECK (first >= 0),
    rows       INTEGER NOT NULL CHECK (rows > 0),
    size       INTEGER NOT NULL,
    schema_    TEXT NOT NULL,
    min_ts_ms  INTEGER,
    max_ts_ms  INTEGER,
    retired_ms INTEGER  -- replaced by compaction; its file goes once no reader can hold it
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX segment_position ON segment (stream, first) WHERE retired_ms IS NULL;
CREATE INDEX segment_retired ON segment (retired_ms) WHERE retired_ms IS NOT NULL;

CREATE TABLE reject (
    file TEXT PRIMARY KEY,
    job  INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    run  INTEGER NOT NULL,
    unit INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
    authorization TEXT NOT NULL,
    field         TEXT NOT NULL,
    digest        TEXT NOT NULL,  -- keyed: HMAC-SHA256 under a key of this record
    seen_ms       INTEGER NOT NULL,
    PRIMARY KEY (authorization, field)
) STRICT, WITHOUT ROWID;

-- What is still to be done to the files beside the specs: a log to be moved with its spec, files of a thing that is gone.
CREATE TABLE chore (
    id       INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    path     TEXT NOT NULL,
    new_name TEXT NOT NULL DEFAULT '',  -- empty: to be removed
    new_path TEXT NOT NULL DEFAULT ''
) STRICT;
