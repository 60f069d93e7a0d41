-- How many numbers an account has, by state and by the second at which that
-- ends by itself (expires_at, or until; 9223372036854775807 if it does not).
-- So "has it another active number now?" reads a row or two, whatever the size
-- of the inventory. Written with the numbers, in their transaction.
CREATE TABLE account_numbers (
    partner INTEGER NOT NULL,
    account TEXT    NOT NULL,     -- who holds them, or whom they are reserved for
    state   TEXT    NOT NULL,
    ends    INTEGER NOT NULL,
    numbers INTEGER NOT NULL,     -- never 0: that row goes
    PRIMARY KEY (partner, account, state, ends)
) STRICT, WITHOUT ROWID;

INSERT INTO account_numbers
SELECT partner, account, state, coalesce(expires_at, until, 9223372036854775807), count(*)
FROM number WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4;
