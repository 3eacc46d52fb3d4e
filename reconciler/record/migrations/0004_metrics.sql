-- What each job has moved, by time (UTC): sums at three grains, added to by the transaction that commits a unit.
-- Minutes and hours pass; days stay for ever.

CREATE TABLE metric (
    job      INTEGER NOT NULL REFERENCES resource (id) ON DELETE CASCADE,
    grain    TEXT NOT NULL CHECK (grain IN ('minute', 'hour', 'day')),
    start_ms INTEGER NOT NULL,  -- of the minute, hour or day
    rows     INTEGER NOT NULL,
    added    INTEGER NOT NULL,
    removed  INTEGER NOT NULL,
    omitted  INTEGER NOT NULL,
    PRIMARY KEY (job, grain, start_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX metric_passing ON metric (grain, start_ms) WHERE grain <> 'day';

-- When the newest message of a stream arrived, and the usual time between two arrivals: what says whether it is alive.
ALTER TABLE stream ADD COLUMN arrived_ms INTEGER;
ALTER TABLE stream ADD COLUMN gap_ms INTEGER;

-- What the record still knows of earlier units.
INSERT INTO metric (job, grain, start_ms, rows, added, removed, omitted)
SELECT run.job, 'day', unit.committed_ms - unit.committed_ms % 86400000,
       sum(unit.rows), sum(unit.added), sum(unit.removed), sum(unit.omitted)
FROM unit JOIN run ON run.id = unit.run
WHERE unit.rows + unit.added + unit.removed + unit.omitted > 0
GROUP BY run.job, unit.committed_ms / 86400000;

UPDATE stream SET arrived_ms = (
    SELECT max(unit.committed_ms) FROM unit JOIN run ON run.id = unit.run JOIN resource ON resource.id = run.job
    WHERE unit.rows > 0 AND resource.type IN ('import', 'enrichment') AND resource.spec ->> '$.config.stream' = stream.name
);
