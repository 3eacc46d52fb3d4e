-- The lane of backfills has slots of its own: the few jobs in it are found without reading the queue of all others.
CREATE INDEX resource_backfill ON resource (id) WHERE spec ->> '$.lane' = 'backfill';

-- How many messages of a run have no time of their own, where it matters.
ALTER TABLE run ADD COLUMN untimed INTEGER NOT NULL DEFAULT 0 CHECK (untimed >= 0);
