-- The audit log: what was done, by whom, because of which commit and plan, each entry chained to the one before by hash
-- (reconciler/core/audit.py). It is only ever added to, and kept for ever: no purge, trim or deletion touches it.

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY CHECK (seq >= 1),
    time_ms    INTEGER NOT NULL,
    action     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    was        TEXT NOT NULL,     -- its name before a move
    path       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    commit_    TEXT NOT NULL,
    author     TEXT NOT NULL,
    revision   TEXT NOT NULL,
    plan       TEXT NOT NULL,     -- the digest of the plan's actions
    generation INTEGER NOT NULL,  -- of the thing afterwards; 0: it is gone
    digest     TEXT NOT NULL,     -- of its spec afterwards
    life       TEXT NOT NULL,     -- as in resource; empty: it is gone
    outcome    TEXT NOT NULL,
    prev       TEXT NOT NULL,
    hash       TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_name ON audit (name, seq);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END;
