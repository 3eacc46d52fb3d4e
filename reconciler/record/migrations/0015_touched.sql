-- The names of what has changed on either side, declared or made true, since the two were last found to be equal: only these are
-- compared, so that finding out that nothing differs costs nothing. What is changed notes itself; what was compared and is equal is
-- taken out again.

CREATE TABLE touched (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
INSERT INTO touched
SELECT d.kind, d.name FROM document d LEFT JOIN resource r ON r.kind = d.kind AND r.name = d.name
WHERE r.id IS NULL OR r.life <> 'live' OR r.digest <> d.digest OR r.metadata_digest <> d.metadata_digest OR r.path <> d.path
UNION SELECT kind, renamed_from FROM document WHERE renamed_from <> ''
UNION SELECT kind, name FROM resource r WHERE NOT EXISTS (SELECT 1 FROM document d WHERE d.kind = r.kind AND d.name = r.name);

-- Not OR IGNORE: what a trigger does about a conflict is decided by the statement that set it off.
CREATE TRIGGER document_is_declared AFTER INSERT ON document BEGIN
    INSERT INTO touched SELECT NEW.kind, NEW.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = NEW.kind AND name = NEW.name);
    INSERT INTO touched SELECT NEW.kind, NEW.renamed_from WHERE NEW.renamed_from <> ''
    AND NOT EXISTS (SELECT 1 FROM touched WHERE kind = NEW.kind AND name = NEW.renamed_from);
END;
CREATE TRIGGER document_is_declared_no_more AFTER DELETE ON document BEGIN
    INSERT INTO touched SELECT OLD.kind, OLD.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = OLD.kind AND name = OLD.name);
    INSERT INTO touched SELECT OLD.kind, OLD.renamed_from WHERE OLD.renamed_from <> ''
    AND NOT EXISTS (SELECT 1 FROM touched WHERE kind = OLD.kind AND name = OLD.renamed_from);
END;
CREATE TRIGGER resource_is_new AFTER INSERT ON resource BEGIN
    INSERT INTO touched SELECT NEW.kind, NEW.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = NEW.kind AND name = NEW.name);
END;
CREATE TRIGGER resource_is_gone AFTER DELETE ON resource BEGIN
    INSERT INTO touched SELECT OLD.kind, OLD.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = OLD.kind AND name = OLD.name);
END;
CREATE TRIGGER resource_is_another AFTER UPDATE OF kind, name, path, life, digest, metadata_digest ON resource BEGIN
    INSERT INTO touched SELECT OLD.kind, OLD.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = OLD.kind AND name = OLD.name);
    INSERT INTO touched SELECT NEW.kind, NEW.name
    WHERE NOT EXISTS (SELECT 1 FROM touched WHERE kind = NEW.kind AND name = NEW.name);
END;
