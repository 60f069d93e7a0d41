-- Partner key first in every table, except that `number` holds each number
-- once: the primary key is what makes "at most one partner holds it" true.
-- There are no listing indexes: every list is answered from memory.

CREATE TABLE partner (
    partner      INTEGER PRIMARY KEY,
    auth_id      TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    suspended_at INTEGER,
    version      INTEGER NOT NULL,  -- of the last change; versions have no gaps
    head         BLOB    NOT NULL   -- SHA-256 of the last change
) STRICT;

CREATE TABLE account (
    partner     INTEGER NOT NULL REFERENCES partner,
    auth_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    archived_at INTEGER,
    PRIMARY KEY (partner, auth_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE application (
    partner     INTEGER NOT NULL REFERENCES partner,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    account     TEXT,                -- none: serves all accounts of the partner
    created_at  INTEGER NOT NULL,
    archived_at INTEGER,
    PRIMARY KEY (partner, id),
    FOREIGN KEY (partner, account) REFERENCES account (partner, auth_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    partner     INTEGER NOT NULL REFERENCES partner,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    account     TEXT,
    created_at  INTEGER NOT NULL,
    archived_at INTEGER,
    PRIMARY KEY (partner, id),
    FOREIGN KEY (partner, account) REFERENCES account (partner, auth_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    partner      INTEGER NOT NULL REFERENCES partner,
    id           TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    token_sha256 BLOB    NOT NULL UNIQUE,
    scopes       TEXT    NOT NULL,   -- read,manage
    networks     TEXT    NOT NULL,   -- CIDR,CIDR…; empty: any
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,            -- outside the log; written once a minute
    PRIMARY KEY (partner, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE number (
    number      INTEGER PRIMARY KEY, -- E.164 digits
    partner     INTEGER NOT NULL,
    version     INTEGER NOT NULL,    -- the partner's version that last changed it
    state       TEXT    NOT NULL,    -- available reserved active suspended quarantined
    account     TEXT,                -- who holds it, or whom it is reserved for
    application TEXT,
    trunk       TEXT,
    number_type TEXT    NOT NULL,
    country     TEXT,
    region      TEXT,
    cost        INTEGER,             -- a month, in minor units of currency
    currency    TEXT,
    assigned_at INTEGER,
    expires_at  INTEGER,
    since       INTEGER NOT NULL,    -- in this state since
    until       INTEGER,             -- end of a reservation or a quarantine
    tags        TEXT                 -- a JSON array
) STRICT;

-- The log. `previous` is the SHA-256 of the partner's change before this one,
-- so a rewritten past is noticed.
CREATE TABLE change (
    partner    INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    request_id TEXT,
    verb       TEXT    NOT NULL,
    entities   TEXT    NOT NULL,     -- JSON: what happened to accounts, keys…
    previous   BLOB    NOT NULL,
    PRIMARY KEY (partner, version)
) STRICT, WITHOUT ROWID;

-- What a change did to numbers, one row for each group of 10,000 that it
-- touched. `subject` is the number itself where there is just one, else minus
-- the group, so a number's history is two look-ups.
CREATE TABLE change_part (
    partner INTEGER NOT NULL,
    version INTEGER NOT NULL,
    part    INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    body    TEXT    NOT NULL,        -- JSON: see store/log.rs
    PRIMARY KEY (partner, version, part)
) STRICT, WITHOUT ROWID;

CREATE INDEX change_part_history ON change_part (partner, subject);
