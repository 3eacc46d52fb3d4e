-- Problems that a policy finds are kept apart from the others: they are judged anew for a changed file, or all for a changed policy.

CREATE TABLE problem_ (
    path    TEXT NOT NULL,
    line    INTEGER NOT NULL,
    column_ INTEGER NOT NULL,
    field   TEXT NOT NULL,
    message TEXT NOT NULL,
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    origin  TEXT NOT NULL CHECK (origin IN ('file', 'across', 'reading', 'policy'))
) STRICT;
INSERT INTO problem_ SELECT path, line, column_, field, message, kind, name, origin FROM problem;
DROP TABLE problem;
ALTER TABLE problem_ RENAME TO problem;
CREATE INDEX problem_by_path ON problem (path);
CREATE INDEX problem_by_name ON problem (kind, name);
