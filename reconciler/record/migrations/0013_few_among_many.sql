-- What is true of few resources among many is found without reading all of them.

CREATE INDEX resource_orphaned ON resource (name) WHERE life = 'orphaned';
CREATE INDEX resource_troubled ON resource (id) WHERE troubled = 1;
