-- People who sign in. None of this is in a partner's log.
CREATE TABLE app_user (
    id                TEXT    NOT NULL PRIMARY KEY,
    email             TEXT    NOT NULL UNIQUE,  -- in lower case
    name              TEXT    NOT NULL,
    role              TEXT    NOT NULL,         -- administrator owner manager viewer
    partner           INTEGER REFERENCES partner,
    zone              TEXT    NOT NULL,
    created_at        INTEGER NOT NULL,
    disabled_at       INTEGER,
    last_signed_in_at INTEGER,
    password          TEXT,                     -- an Argon2id string; none until one was chosen
    totp_secret       BLOB,                     -- as it is: codes are computed from it
    totp_step         INTEGER,                  -- of the last code that was accepted
    totp_offer        BLOB,                     -- shown, and not confirmed yet
    CHECK ((role = 'administrator') = (partner IS NULL)),
    CHECK ((totp_secret IS NULL) = (totp_step IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX app_user_partner ON app_user (partner);

-- SHA-256 of each code that is left.
CREATE TABLE recovery_code (
    user   TEXT NOT NULL REFERENCES app_user,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (user, sha256)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    sha256     BLOB    NOT NULL PRIMARY KEY,    -- of its token
    user       TEXT    NOT NULL REFERENCES app_user,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,                -- written at most once a minute
    address    TEXT    NOT NULL,
    code_due   INTEGER NOT NULL                 -- 1: it opens nothing yet
) STRICT, WITHOUT ROWID;

CREATE INDEX session_user ON session (user);

CREATE TABLE set_up_link (
    sha256     BLOB    NOT NULL PRIMARY KEY,
    user       TEXT    NOT NULL REFERENCES app_user,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX set_up_link_user ON set_up_link (user);

-- From where people signed in before: what others do there does not hold
-- them up.
CREATE TABLE sign_in_source (
    user    TEXT    NOT NULL REFERENCES app_user,
    address TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (user, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    partner    INTEGER,                         -- whose people may read it
    who        TEXT    NOT NULL,
    what       TEXT    NOT NULL,
    about      TEXT,
    refused    TEXT,                            -- why; none: accepted
    address    TEXT,
    request_id TEXT
) STRICT;

CREATE INDEX audit_partner ON audit (partner, id);
CREATE INDEX audit_at ON audit (at);
