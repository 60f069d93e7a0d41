-- How many numbers an account has, by state and by the second at which that
-- ends by itself (expires_at, or until; 9223372036854775807 if it does not).
-- So "has it another active number now?" reads a row or two, whatever the size
-- of the inventory.
--
-- Triggers keep the counts, so that nodes of the release before keep them too
-- while nodes are upgraded one by one. They run as the owner of the schema: a
-- node needs no right to write here.
CREATE TABLE account_numbers (
    partner BIGINT NOT NULL,
    account TEXT COLLATE "C" NOT NULL,  -- who holds them, or whom they are reserved for
    state   TEXT COLLATE "C" NOT NULL,
    ends    BIGINT NOT NULL,
    numbers BIGINT NOT NULL,            -- never 0: that row goes
    PRIMARY KEY (partner, account, state, ends)
);

-- Nobody writes numbers between the count and the triggers.
LOCK TABLE number IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO account_numbers
SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), count(*)
FROM number WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4;

-- `gone` is what a statement took from the table or replaced, `come` what it
-- put there.
CREATE FUNCTION account_numbers_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), count(*)
        FROM come WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (partner, account, state, ends) DO UPDATE SET numbers = counted.numbers + excluded.numbers;
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), -count(*)
        FROM gone WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (partner, account, state, ends) DO UPDATE SET numbers = counted.numbers + excluded.numbers;
    ELSE
        INSERT INTO account_numbers AS counted
        SELECT partner, account, state, ends, sum(step)
        FROM (
            SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807) AS ends, 1 AS step FROM come
            UNION ALL
            SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), -1 FROM gone
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

CREATE TRIGGER account_numbers_come AFTER INSERT ON number
REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();
CREATE TRIGGER account_numbers_gone AFTER DELETE ON number
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();
CREATE TRIGGER account_numbers_stay AFTER UPDATE ON number
REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION account_numbers_count();
