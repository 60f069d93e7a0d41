-- Two roles for a database in PostgreSQL: one that owns the tables and brings
-- them up to date, and one that nodes run as, which can do what a node does and
-- cannot change what it did. As a superuser, in the database:
--
--   createdb rollcall
--   psql rollcall --set ON_ERROR_STOP=1 --file roles.sql
--
-- Then let the owner make the tables, and run this again: it may be run as
-- often as one likes, and has to be after an upgrade that adds a table.
-- Passwords: \password rollcall_owner, \password rollcall.
BEGIN;

SELECT 'CREATE ROLE rollcall_owner LOGIN' WHERE to_regrole('rollcall_owner') IS NULL \gexec
SELECT 'CREATE ROLE rollcall LOGIN' WHERE to_regrole('rollcall') IS NULL \gexec

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO rollcall_owner, rollcall', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO rollcall_owner;
GRANT USAGE ON SCHEMA public TO rollcall;

-- What a node may do to each table. A table that is not named is not touched.
CREATE TEMPORARY TABLE allowed (name text PRIMARY KEY, rights text NOT NULL) ON COMMIT DROP;
INSERT INTO allowed VALUES
    -- The log: what was done stays as it was written.
    ('change', 'SELECT, INSERT'),
    ('change_part', 'SELECT, INSERT'),
    -- Derived from it: the owner may delete a row, and a node makes it again.
    ('net_change', 'SELECT, INSERT'),
    -- Entries are let go of after 400 days; deleting locks them first, which
    -- takes the right to update something.
    ('audit', 'SELECT, INSERT, DELETE, UPDATE (id)'),
    -- What is, and is never deleted: numbers and the log refer to it.
    ('partner', 'SELECT, INSERT, UPDATE'),
    ('account', 'SELECT, INSERT, UPDATE'),
    ('application', 'SELECT, INSERT, UPDATE'),
    ('trunk', 'SELECT, INSERT, UPDATE'),
    ('api_key', 'SELECT, INSERT, UPDATE'),
    ('app_user', 'SELECT, INSERT, UPDATE'),
    -- Deleted once it is over (the settings in [retention]).
    ('acknowledgement', 'SELECT, INSERT, UPDATE, DELETE'),
    ('setting', 'SELECT, INSERT, UPDATE, DELETE'),
    ('job', 'SELECT, INSERT, UPDATE, DELETE'),
    ('job_batch', 'SELECT, INSERT, UPDATE, DELETE'),
    -- What comes and goes.
    ('number', 'SELECT, INSERT, UPDATE, DELETE'),
    ('holder', 'SELECT, INSERT, UPDATE, DELETE'),
    ('number_run', 'SELECT, INSERT, UPDATE, DELETE'),
    ('holder_run', 'SELECT, INSERT, UPDATE, DELETE'),
    ('document', 'SELECT, INSERT, UPDATE, DELETE'),
    ('answered', 'SELECT, INSERT, UPDATE, DELETE'),
    ('lease', 'SELECT, INSERT, UPDATE, DELETE'),
    ('session', 'SELECT, INSERT, UPDATE, DELETE'),
    ('set_up_link', 'SELECT, INSERT, UPDATE, DELETE'),
    ('recovery_code', 'SELECT, INSERT, DELETE'),
    ('sign_in_source', 'SELECT, INSERT, UPDATE, DELETE'),
    -- Triggers of the owner keep the counts and the locks.
    ('account_numbers', 'SELECT'),
    ('holder_group', 'SELECT'),
    -- At which schema the tables are.
    ('rollcall_schema', 'SELECT');

SELECT format('REVOKE ALL ON TABLE public.%I FROM rollcall', tablename),
       format('GRANT %s ON TABLE public.%I TO rollcall', rights, tablename)
FROM pg_tables JOIN allowed ON name = tablename WHERE schemaname = 'public' \gexec
-- With SELECT, as pg_dump needs it.
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO rollcall;

COMMIT;

-- What is missing here is a table of a newer version than this file.
SELECT relname AS "no rights for rollcall on" FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT has_table_privilege('rollcall', oid, 'SELECT');
