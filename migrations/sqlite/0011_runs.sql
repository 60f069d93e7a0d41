-- Neighbouring numbers with equal values are one row, `first` to `last`. Rows do
-- not overlap. `version` is a value like the others: numbers of different changes
-- are different rows, so a number's version stays that of its own last change.
-- The row of number n: WHERE first <= n AND last >= n ORDER BY first DESC LIMIT 1.
ALTER TABLE number RENAME TO number_each;

CREATE TABLE number_run (
    first       INTEGER PRIMARY KEY, -- E.164 digits
    last        INTEGER NOT NULL,    -- equal to `first` for one number
    partner     INTEGER NOT NULL,
    version     INTEGER NOT NULL,    -- the partner's version that last changed them
    state       TEXT    NOT NULL,    -- available reserved active suspended quarantined
    account     TEXT,                -- the holder, or the account of the reservation
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
    tags        TEXT,                -- a JSON array
    CHECK (first <= last)
) STRICT;

-- For people: one row a number. The program reads `number_run`.
CREATE VIEW number AS
WITH RECURSIVE each AS (
    SELECT first AS number, * FROM number_run
    UNION ALL
    SELECT number + 1, first, last, partner, version, state, account, application, trunk, number_type, country,
        region, cost, currency, assigned_at, expires_at, since, until, tags
    FROM each WHERE number < min(last, first + 999999) -- a damaged `last` then makes no endless view
)
SELECT number, partner, version, state, account, application, trunk, number_type, country, region, cost, currency,
    assigned_at, expires_at, since, until, tags
FROM each;

-- A repair by hand: the number leaves its row, which is split around it.
CREATE TRIGGER number_delete INSTEAD OF DELETE ON number BEGIN
    INSERT INTO number_run
    SELECT OLD.number + 1, last, partner, version, state, account, application, trunk, number_type, country, region,
        cost, currency, assigned_at, expires_at, since, until, tags
    FROM number_run
    WHERE first = (SELECT max(first) FROM number_run WHERE first <= OLD.number) AND last > OLD.number;
    UPDATE number_run SET last = OLD.number - 1
    WHERE first = (SELECT max(first) FROM number_run WHERE first < OLD.number) AND last >= OLD.number;
    DELETE FROM number_run WHERE first = OLD.number;
END;

CREATE TRIGGER number_insert INSTEAD OF INSERT ON number BEGIN
    SELECT RAISE(ABORT, 'the number is in another row')
    WHERE (SELECT last FROM number_run WHERE first <= NEW.number ORDER BY first DESC LIMIT 1) >= NEW.number;
    INSERT INTO number_run VALUES (NEW.number, NEW.number, NEW.partner, NEW.version, NEW.state, NEW.account,
        NEW.application, NEW.trunk, NEW.number_type, NEW.country, NEW.region, NEW.cost, NEW.currency, NEW.assigned_at,
        NEW.expires_at, NEW.since, NEW.until, NEW.tags);
END;

CREATE TRIGGER number_update INSTEAD OF UPDATE ON number BEGIN
    -- With OR IGNORE the number would go, and not come back.
    SELECT RAISE(ABORT, 'a number lacks a value')
    WHERE NEW.number IS NULL OR NEW.partner IS NULL OR NEW.version IS NULL OR NEW.state IS NULL
        OR NEW.number_type IS NULL OR NEW.since IS NULL;
    INSERT INTO number_run
    SELECT OLD.number + 1, last, partner, version, state, account, application, trunk, number_type, country, region,
        cost, currency, assigned_at, expires_at, since, until, tags
    FROM number_run
    WHERE first = (SELECT max(first) FROM number_run WHERE first <= OLD.number) AND last > OLD.number;
    UPDATE number_run SET last = OLD.number - 1
    WHERE first = (SELECT max(first) FROM number_run WHERE first < OLD.number) AND last >= OLD.number;
    DELETE FROM number_run WHERE first = OLD.number;
    SELECT RAISE(ABORT, 'the number is in another row')
    WHERE (SELECT last FROM number_run WHERE first <= NEW.number ORDER BY first DESC LIMIT 1) >= NEW.number;
    INSERT INTO number_run VALUES (NEW.number, NEW.number, NEW.partner, NEW.version, NEW.state, NEW.account,
        NEW.application, NEW.trunk, NEW.number_type, NEW.country, NEW.region, NEW.cost, NEW.currency, NEW.assigned_at,
        NEW.expires_at, NEW.since, NEW.until, NEW.tags);
END;
