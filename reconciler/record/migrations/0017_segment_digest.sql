-- SHA-256 of the bytes of a segment's file, by which a changed one is found; empty where it was written before this was noted.

ALTER TABLE segment ADD COLUMN digest TEXT NOT NULL DEFAULT '';
