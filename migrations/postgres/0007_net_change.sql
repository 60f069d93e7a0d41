-- What the changes of a span of versions did together, so that an inventory of the
-- past is found in spans instead of entries. Derived from the log: a row may be
-- deleted at any time, and a server makes it again. Where the log is as quick, a row
-- has its versions alone.
CREATE TABLE net_change (
    partner       BIGINT NOT NULL,
    last_version  BIGINT NOT NULL,
    first_version BIGINT NOT NULL,
    at            BIGINT, -- of the first of these changes
    previous      BYTEA,  -- the digest of the change before the first
    head          BYTEA,  -- the digest of the last
    entities      TEXT,   -- those of each change in their order: a JSON array
    body          BYTEA,  -- what they did to numbers: domain/net_change.rs
    sha256        BYTEA,  -- of all of it
    PRIMARY KEY (partner, last_version)
);

-- It is dense already, and taken apart at once whenever it is read.
ALTER TABLE net_change ALTER COLUMN body SET STORAGE EXTERNAL;

-- The roles that read and write the log may use this.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT acl.* FROM pg_class, aclexplode(relacl) AS acl WHERE oid = 'change'::regclass
    LOOP
        IF one.grantee = 0 THEN
            EXECUTE format('GRANT %s ON TABLE net_change TO PUBLIC', one.privilege_type);
        ELSE
            EXECUTE format('GRANT %s ON TABLE net_change TO %s', one.privilege_type, one.grantee::regrole);
        END IF;
    END LOOP;
END
$$;
