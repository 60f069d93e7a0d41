-- Partner key first in every key, but for `holder`, which has each number
-- once: its primary key is what makes "at most one partner holds it" true.
-- There are no listing indexes: every list is answered from memory.
--
-- Times are seconds since 1970, flags are 0 or 1, and what is ordered is
-- ordered by its bytes, as in the embedded database: one program reads both.

CREATE TABLE partner (
    partner      BIGINT PRIMARY KEY,
    auth_id      TEXT COLLATE "C" NOT NULL UNIQUE,
    name         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    suspended_at BIGINT,
    version      BIGINT NOT NULL,  -- of the last change; versions have no gaps
    head         BYTEA  NOT NULL   -- SHA-256 of the last change
) WITH (fillfactor = 50);          -- each change writes it anew, on the same page

CREATE TABLE account (
    partner     BIGINT NOT NULL REFERENCES partner,
    auth_id     TEXT COLLATE "C" NOT NULL,
    name        TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    archived_at BIGINT,
    lost_at     BIGINT,            -- when it last lost an active number
    PRIMARY KEY (partner, auth_id)
);

CREATE TABLE application (
    partner     BIGINT NOT NULL REFERENCES partner,
    id          TEXT COLLATE "C" NOT NULL,
    name        TEXT   NOT NULL,
    account     TEXT COLLATE "C",  -- none: serves all accounts of the partner
    created_at  BIGINT NOT NULL,
    archived_at BIGINT,
    PRIMARY KEY (partner, id),
    FOREIGN KEY (partner, account) REFERENCES account (partner, auth_id)
);

CREATE TABLE trunk (
    partner     BIGINT NOT NULL REFERENCES partner,
    id          TEXT COLLATE "C" NOT NULL,
    name        TEXT   NOT NULL,
    account     TEXT COLLATE "C",
    created_at  BIGINT NOT NULL,
    archived_at BIGINT,
    PRIMARY KEY (partner, id),
    FOREIGN KEY (partner, account) REFERENCES account (partner, auth_id)
);

CREATE TABLE api_key (
    partner      BIGINT NOT NULL REFERENCES partner,
    id           TEXT COLLATE "C" NOT NULL,
    name         TEXT   NOT NULL,
    token_sha256 BYTEA  NOT NULL UNIQUE,
    scopes       TEXT   NOT NULL,  -- read,manage
    networks     TEXT   NOT NULL,  -- CIDR,CIDR…; empty: any
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT,           -- outside the log; written once a minute
    dialect      TEXT   NOT NULL,
    PRIMARY KEY (partner, id)
);

CREATE TABLE acknowledgement (
    partner BIGINT NOT NULL REFERENCES partner,
    finding TEXT COLLATE "C" NOT NULL,
    note    TEXT,
    until   BIGINT,
    by      TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (partner, finding)
);

CREATE TABLE setting (
    partner BIGINT NOT NULL REFERENCES partner,
    id      TEXT COLLATE "C" NOT NULL,
    body    TEXT   NOT NULL,       -- JSON
    PRIMARY KEY (partner, id)
);

CREATE TABLE number (
    partner     BIGINT NOT NULL,
    number      BIGINT NOT NULL,   -- E.164 digits
    version     BIGINT NOT NULL,   -- the partner's version that last changed it
    assigned_at BIGINT,
    expires_at  BIGINT,
    since       BIGINT NOT NULL,   -- in this state since
    until       BIGINT,            -- end of a reservation or a quarantine
    cost        BIGINT,            -- a month, in minor units of currency
    state       TEXT   NOT NULL,   -- available reserved active suspended quarantined
    account     TEXT,              -- who holds it, or whom it is reserved for
    application TEXT,
    trunk       TEXT,
    number_type TEXT   NOT NULL,
    country     TEXT,
    region      TEXT,
    currency    TEXT,
    tags        TEXT,              -- a JSON array
    PRIMARY KEY (partner, number)
);

-- Which partner has a number: the only table that is about all of them.
CREATE TABLE holder (
    number  BIGINT PRIMARY KEY,
    partner BIGINT NOT NULL
);

-- The log. `previous` is the SHA-256 of the partner's change before this one,
-- so a rewritten past is noticed.
CREATE TABLE change (
    partner    BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    request_id TEXT,
    verb       TEXT   NOT NULL,
    entities   TEXT   NOT NULL,    -- JSON: what happened to accounts, keys…
    previous   BYTEA  NOT NULL,
    PRIMARY KEY (partner, version)
);

-- What a change did to numbers, one row for each group of 10,000 that it
-- touched. `subject` is the number itself where there is just one, else minus
-- the group, so a number's history is two look-ups.
CREATE TABLE change_part (
    partner BIGINT NOT NULL,
    version BIGINT NOT NULL,
    part    BIGINT NOT NULL,
    subject BIGINT NOT NULL,
    body    TEXT   NOT NULL,       -- JSON: see store/log.rs
    PRIMARY KEY (partner, version, part)
);

CREATE INDEX change_part_history ON change_part (partner, subject);

-- What writes keep beside rows and log.

CREATE TABLE answered (
    partner     BIGINT NOT NULL REFERENCES partner,
    key         TEXT COLLATE "C" NOT NULL,  -- the client's idempotency key
    fingerprint BYTEA  NOT NULL,   -- SHA-256 of what was asked
    at          BIGINT NOT NULL,
    status      BIGINT NOT NULL,
    etag        TEXT,
    body        BYTEA  NOT NULL,
    PRIMARY KEY (partner, key)
);

CREATE INDEX answered_at ON answered (at);

CREATE TABLE job (
    partner    BIGINT NOT NULL REFERENCES partner,
    id         TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    open       BIGINT NOT NULL,    -- 1 while a server has work to do on it
    body       TEXT   NOT NULL,    -- JSON
    PRIMARY KEY (partner, id)
);

CREATE INDEX job_open ON job (created_at) WHERE open = 1;

CREATE TABLE job_batch (
    partner BIGINT NOT NULL,
    job     TEXT COLLATE "C" NOT NULL,
    batch   BIGINT NOT NULL,
    body    TEXT   NOT NULL,       -- JSON
    PRIMARY KEY (partner, job, batch),
    FOREIGN KEY (partner, job) REFERENCES job (partner, id)
);

CREATE TABLE document (
    partner BIGINT NOT NULL REFERENCES partner,
    kind    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    due     BIGINT,                -- when somebody shall look at it, if ever
    body    TEXT   NOT NULL,
    PRIMARY KEY (partner, kind, id)
);

CREATE INDEX document_due ON document (kind, due) WHERE due IS NOT NULL;

-- By this database's clock, since nodes have their own.
CREATE TABLE lease (
    name   TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT        NOT NULL,
    until  TIMESTAMPTZ NOT NULL
);

-- People: outside every log.

CREATE TABLE app_user (
    id                TEXT COLLATE "C" PRIMARY KEY,
    email             TEXT COLLATE "C" NOT NULL UNIQUE,  -- in lower case
    name              TEXT   NOT NULL,
    role              TEXT   NOT NULL,  -- administrator owner manager viewer
    partner           BIGINT REFERENCES partner,
    zone              TEXT   NOT NULL,
    created_at        BIGINT NOT NULL,
    disabled_at       BIGINT,
    last_signed_in_at BIGINT,
    password          TEXT,        -- an Argon2id string; none until one was chosen
    totp_secret       BYTEA,       -- as it is: codes are computed from it
    totp_step         BIGINT,      -- of the last code that was accepted
    totp_offer        BYTEA,       -- shown, and not confirmed yet
    CHECK ((role = 'administrator') = (partner IS NULL)),
    CHECK ((totp_secret IS NULL) = (totp_step IS NULL))
);

CREATE INDEX app_user_partner ON app_user (partner);

CREATE TABLE recovery_code (
    "user" TEXT COLLATE "C" NOT NULL REFERENCES app_user,
    sha256 BYTEA NOT NULL,
    PRIMARY KEY ("user", sha256)
);

CREATE TABLE session (
    sha256     BYTEA  PRIMARY KEY, -- of its token
    "user"     TEXT COLLATE "C" NOT NULL REFERENCES app_user,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,    -- written at most once a minute
    address    TEXT   NOT NULL,
    code_due   BIGINT NOT NULL     -- 1: it opens nothing yet
);

CREATE INDEX session_user_index ON session ("user");

CREATE TABLE set_up_link (
    sha256     BYTEA  PRIMARY KEY,
    "user"     TEXT COLLATE "C" NOT NULL REFERENCES app_user,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX set_up_link_user ON set_up_link ("user");

-- From where people signed in before: what others do there does not hold
-- them up.
CREATE TABLE sign_in_source (
    "user"  TEXT COLLATE "C" NOT NULL REFERENCES app_user,
    address TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY ("user", address)
);

CREATE TABLE audit (
    id         BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL,
    partner    BIGINT,             -- whose people may read it
    who        TEXT   NOT NULL,
    what       TEXT   NOT NULL,
    about      TEXT,
    refused    TEXT,               -- why; none: accepted
    address    TEXT,
    request_id TEXT
);

CREATE INDEX audit_partner ON audit (partner, id);
CREATE INDEX audit_at ON audit (at);
