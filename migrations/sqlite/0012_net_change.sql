-- What the changes of a span of versions did together, so that an inventory of the
-- past is found in spans instead of entries. Derived from the log: a row may be
-- deleted at any time, and a server makes it again. Where the log is as quick, a row
-- has its versions alone.
CREATE TABLE net_change (
    partner       INTEGER NOT NULL,
    last_version  INTEGER NOT NULL,
    first_version INTEGER NOT NULL,
    at            INTEGER, -- of the first of these changes
    previous      BLOB,    -- the digest of the change before the first
    head          BLOB,    -- the digest of the last
    entities      TEXT,    -- those of each change in their order: a JSON array
    body          BLOB,    -- what they did to numbers: domain/net_change.rs
    sha256        BLOB,    -- of all of it
    PRIMARY KEY (partner, last_version)
) STRICT;
