-- What writes over HTTP keep beside rows and log: the answers that a retry
-- gets again, and the jobs that go on after their request.

-- Rows with a rowid, so that bodies are only ever appended; the random keys of
-- clients then touch nothing but a small index.
CREATE TABLE answered (
    partner     INTEGER NOT NULL REFERENCES partner,
    key         TEXT    NOT NULL,     -- the client's idempotency key
    fingerprint BLOB    NOT NULL,     -- SHA-256 of what was asked
    at          INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    etag        TEXT,
    body        BLOB    NOT NULL,
    PRIMARY KEY (partner, key)
) STRICT;

-- For letting go of the old ones.
CREATE INDEX answered_at ON answered (at);

CREATE TABLE job (
    partner    INTEGER NOT NULL REFERENCES partner,
    id         TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    open       INTEGER NOT NULL,      -- 1 while a server has work to do on it
    body       TEXT    NOT NULL,      -- JSON
    PRIMARY KEY (partner, id)
) STRICT, WITHOUT ROWID;

-- A server looks for the open ones at its start; there are few.
CREATE INDEX job_open ON job (created_at) WHERE open = 1;

CREATE TABLE job_batch (
    partner INTEGER NOT NULL,
    job     TEXT    NOT NULL,
    batch   INTEGER NOT NULL,
    body    TEXT    NOT NULL,         -- JSON
    PRIMARY KEY (partner, job, batch),
    FOREIGN KEY (partner, job) REFERENCES job (partner, id)
) STRICT;
