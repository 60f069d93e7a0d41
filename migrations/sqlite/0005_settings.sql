-- What a partner has chosen, in the log as well.
CREATE TABLE setting (
    partner INTEGER NOT NULL REFERENCES partner,
    id      TEXT    NOT NULL,
    body    TEXT    NOT NULL,     -- JSON
    PRIMARY KEY (partner, id)
) STRICT, WITHOUT ROWID;

-- What is kept beside the log, and not in it: secrets, deliveries, how far
-- something has come.
CREATE TABLE document (
    partner INTEGER NOT NULL REFERENCES partner,
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    due     INTEGER,              -- when somebody shall look at it, if ever
    body    TEXT    NOT NULL,
    PRIMARY KEY (partner, kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX document_due ON document (kind, due) WHERE due IS NOT NULL;

-- Who of several processes does something that one shall do.
CREATE TABLE lease (
    name   TEXT    NOT NULL PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When an account last lost an active number; null if it never did, or before
-- this was written down.
ALTER TABLE account ADD COLUMN lost_at INTEGER;
