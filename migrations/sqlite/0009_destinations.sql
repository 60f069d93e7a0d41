-- Where the calls to numbers go: a JSON array of SIP URIs with priority, weight
-- and a switch; null where there is none. `answer_url` is only handed on.
ALTER TABLE application ADD COLUMN destinations TEXT;
ALTER TABLE application ADD COLUMN answer_url TEXT;
ALTER TABLE trunk ADD COLUMN destinations TEXT;
