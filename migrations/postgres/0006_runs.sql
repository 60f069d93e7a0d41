-- Neighbouring numbers with equal values as one row, `first` to `last`. Rows of a
-- partner do not overlap. `version` is a value like the others, so a number's
-- version stays that of its own last change.
--
-- Numbers are in these tables once `rollcall_schema.runs` is 1, in a new database
-- from the beginning. Until then they are in `number` and `holder`, one row each,
-- which nodes of the release before read; `rollcall migrate-schema` brings them
-- here.
CREATE TABLE number_run (
    partner     BIGINT NOT NULL,
    first       BIGINT NOT NULL,   -- E.164 digits
    last        BIGINT NOT NULL,   -- equal to `first` for one number
    version     BIGINT NOT NULL,   -- the partner's version that last changed them
    assigned_at BIGINT,
    expires_at  BIGINT,
    since       BIGINT NOT NULL,   -- in this state since
    until       BIGINT,            -- end of a reservation or a quarantine
    cost        BIGINT,            -- a month, in minor units of currency
    state       TEXT   NOT NULL,   -- available reserved active suspended quarantined
    account     TEXT,              -- the holder, or the account of the reservation
    application TEXT,
    trunk       TEXT,
    number_type TEXT   NOT NULL,
    country     TEXT,
    region      TEXT,
    currency    TEXT,
    tags        TEXT,              -- a JSON array
    PRIMARY KEY (partner, first),
    CHECK (first <= last)
);

-- Which partner has a number: neighbours are one row, whatever is known about
-- them. The only table of numbers that is about all partners. A trigger keeps its
-- rows apart, which is why a number has at most one partner.
CREATE TABLE holder_run (
    first   BIGINT PRIMARY KEY,
    last    BIGINT NOT NULL,
    partner BIGINT NOT NULL,
    CHECK (first <= last)
);

-- A row for each group of 10,000 numbers in which a row of `holder_run` was put: its
-- lock makes transactions that put rows there wait for each other.
CREATE TABLE holder_group (
    number_group BIGINT PRIMARY KEY
);

ALTER TABLE rollcall_schema ADD COLUMN runs BIGINT NOT NULL DEFAULT 0;

-- Equal to `until` where the holder reads both forms: a node of the release
-- before writes `until` alone.
ALTER TABLE lease ADD COLUMN runs_until TIMESTAMPTZ;

-- The roles that use the earlier tables may use these.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT 'number_run' AS made, acl.* FROM pg_class, aclexplode(relacl) AS acl WHERE oid = 'number'::regclass
        UNION ALL
        SELECT 'holder_run', acl.* FROM pg_class, aclexplode(relacl) AS acl WHERE oid = 'holder'::regclass
    LOOP
        IF one.grantee = 0 THEN
            EXECUTE format('GRANT %s ON TABLE %I TO PUBLIC', one.privilege_type, one.made);
        ELSE
            EXECUTE format('GRANT %s ON TABLE %I TO %s', one.privilege_type, one.made, one.grantee::regrole);
        END IF;
    END LOOP;
END
$$;
