-- From now on the numbers are in `number_run` and `holder_run`. A node of the
-- release before finds no table to write to.
ALTER TABLE number RENAME TO number_each;

-- For people: one row a number. The program reads `number_run`.
CREATE VIEW number AS
SELECT partner, number, version, assigned_at, expires_at, since, until, cost, state, account, application, trunk,
    number_type, country, region, currency, tags
FROM number_run
-- A damaged `last` then makes no endless view.
CROSS JOIN LATERAL generate_series(first, least(last, first + 999999)) AS number;

-- The roles that read the earlier table read the view.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT DISTINCT grantee FROM pg_class, aclexplode(relacl) WHERE oid = 'number_each'::regclass
        AND privilege_type = 'SELECT' AND grantee <> 0
    LOOP
        EXECUTE format('GRANT SELECT ON number TO %s', one.grantee::regrole);
    END LOOP;
END
$$;

DROP TABLE number_each;
DROP TABLE holder;
DROP FUNCTION account_numbers_count();

-- A repair by hand: the number leaves its row, which is split around it. Which
-- partner has the number is in `holder_run` and stays.
CREATE FUNCTION number_edit() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    held number_run;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT * INTO held FROM number_run WHERE partner = OLD.partner AND first <= OLD.number
        ORDER BY first DESC LIMIT 1;
        IF NOT FOUND OR held.last < OLD.number THEN
            RETURN NULL;
        END IF;
        IF held.first < OLD.number THEN
            UPDATE number_run SET last = OLD.number - 1 WHERE partner = held.partner AND first = held.first;
        ELSE
            DELETE FROM number_run WHERE partner = held.partner AND first = held.first;
        END IF;
        IF held.last > OLD.number THEN
            held.first := OLD.number + 1;
            INSERT INTO number_run SELECT held.*;
        END IF;
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
    END IF;
    IF (SELECT last FROM number_run WHERE partner = NEW.partner AND first <= NEW.number ORDER BY first DESC LIMIT 1)
        >= NEW.number THEN
        RAISE EXCEPTION 'the number is in another row' USING ERRCODE = 'unique_violation';
    END IF;
    INSERT INTO number_run (partner, first, last, version, assigned_at, expires_at, since, until, cost, state, account,
        application, trunk, number_type, country, region, currency, tags)
    VALUES (NEW.partner, NEW.number, NEW.number, NEW.version, NEW.assigned_at, NEW.expires_at, NEW.since, NEW.until,
        NEW.cost, NEW.state, NEW.account, NEW.application, NEW.trunk, NEW.number_type, NEW.country, NEW.region,
        NEW.currency, NEW.tags);
    RETURN NEW;
END
$$;

CREATE TRIGGER number_edit INSTEAD OF INSERT OR UPDATE OR DELETE ON number
FOR EACH ROW EXECUTE FUNCTION number_edit();

-- Keeps `account_numbers`, as its owner: a node needs no right to write there.
-- `gone` is what a statement took from the table or replaced, `come` what it put
-- there.
CREATE FUNCTION account_numbers_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), sum(last - first + 1)
        FROM come WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (partner, account, state, ends) DO UPDATE SET numbers = counted.numbers + excluded.numbers;
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), -sum(last - first + 1)
        FROM gone WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (partner, account, state, ends) DO UPDATE SET numbers = counted.numbers + excluded.numbers;
    ELSE
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, ends, sum(step)
        FROM (
            SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807) AS ends,
                last - first + 1 AS step
            FROM come
            UNION ALL
            SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), first - last - 1
            FROM gone
        ) AS steps
        WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4 HAVING sum(step) <> 0 ORDER BY 1, 2, 3, 4
        ON CONFLICT (partner, account, state, ends) DO UPDATE SET numbers = counted.numbers + excluded.numbers;
    END IF;
    DELETE FROM account_numbers AS counted USING (
        SELECT DISTINCT partner, account, state, coalesce(expires_at, until, 9223372036854775807) AS ends FROM gone
    ) AS gone
    WHERE (counted.partner, counted.account, counted.state, counted.ends)
        = (gone.partner, gone.account, gone.state, gone.ends) AND counted.numbers = 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER account_numbers_come AFTER INSERT ON number_run
REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();
CREATE TRIGGER account_numbers_gone AFTER DELETE ON number_run
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();
CREATE TRIGGER account_numbers_stay AFTER UPDATE ON number_run
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();

-- Rows of `holder_run` have no number in common. An exclusion constraint would say
-- the same, at a multiple of the cost: its index is a GiST. Each group of 10,000 that
-- a row was ever put in has a row in `holder_group`. A group that is new has no other
-- rows: whoever puts some there waits for this transaction. Once a transaction has the
-- locks of the others, it sees all rows that were put there.
CREATE FUNCTION holder_run_apart() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    groups bigint[];
    known  bigint[];
    taken  holder_run;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- A row that only shrank needs nothing.
        SELECT array_agg(number_group ORDER BY number_group) INTO groups FROM (
            SELECT DISTINCT generate_series(
                CASE WHEN gone.last < come.last THEN gone.last + 1 ELSE come.first END / 10000, come.last / 10000
            ) AS number_group
            FROM come LEFT JOIN gone USING (first)
            WHERE gone.last IS NULL OR gone.last < come.last OR gone.partner <> come.partner
        ) AS wanted;
        IF groups IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        SELECT array_agg(number_group ORDER BY number_group) INTO groups FROM (
            SELECT first / 10000 AS number_group FROM come
            UNION
            SELECT generate_series(first / 10000 + 1, last / 10000) FROM come WHERE first / 10000 < last / 10000
        ) AS wanted;
    END IF;
    WITH made AS (
        INSERT INTO holder_group SELECT unnest(groups) ON CONFLICT DO NOTHING RETURNING number_group
    )
    SELECT array_agg(number_group) INTO known
    FROM (SELECT unnest(groups) AS number_group EXCEPT ALL SELECT number_group FROM made) AS before;
    -- Those of one statement.
    SELECT first, last, partner INTO taken
    FROM (SELECT *, lag(last) OVER (ORDER BY first) AS before FROM come) AS run WHERE first <= before LIMIT 1;
    IF NOT FOUND AND known IS NOT NULL THEN
        PERFORM FROM holder_group WHERE number_group = ANY (known) ORDER BY number_group FOR UPDATE;
        SELECT * INTO taken FROM come
        WHERE (first / 10000 < last / 10000 OR first / 10000 IN (SELECT unnest(known))) AND first <= (
            SELECT last FROM holder_run AS other WHERE other.first <= come.last AND other.first <> come.first
            ORDER BY other.first DESC LIMIT 1
        ) LIMIT 1;
    END IF;
    IF taken.first IS NOT NULL THEN
        RAISE EXCEPTION 'the numbers % to % violate the rule that a number has one partner', taken.first, taken.last
        USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER holder_run_come AFTER INSERT ON holder_run
REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION holder_run_apart();
CREATE TRIGGER holder_run_stay AFTER UPDATE ON holder_run
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION holder_run_apart();

-- A program that does not know this form does not open the database.
UPDATE rollcall_schema SET runs = 1, needs = greatest(needs, 5);
