-- The documents that take another's name, of which there are few: found without reading all.

CREATE INDEX document_renamed ON document (kind, renamed_from) WHERE renamed_from <> '';
