-- The digest of what the partner's rows say, as of its version (domain/row_digest.rs).
-- Null where a release before this one wrote them: the next load makes it.
ALTER TABLE partner ADD COLUMN row_digest BYTEA;

-- A node of the release before moves a partner on and knows of no digest; then
-- there is none, rather than that of another version.
CREATE FUNCTION row_digest_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.row_digest := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER row_digest_forget BEFORE UPDATE ON partner FOR EACH ROW
WHEN (NEW.version <> OLD.version AND NEW.row_digest IS NOT DISTINCT FROM OLD.row_digest)
EXECUTE FUNCTION row_digest_forget();
