-- Findings of the checks that somebody has seen and wants no more of, for now.
CREATE TABLE acknowledgement (
    partner INTEGER NOT NULL REFERENCES partner,
    finding TEXT    NOT NULL,     -- its id, which names one occurrence
    note    TEXT,
    until   INTEGER,              -- it comes back then; never, if there is none
    by      TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (partner, finding)
) STRICT, WITHOUT ROWID;
