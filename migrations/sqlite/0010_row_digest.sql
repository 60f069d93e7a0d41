-- The digest of what the partner's rows say, as of its version (domain/row_digest.rs).
-- Null where a release before this one wrote them: the next load makes it.
ALTER TABLE partner ADD COLUMN row_digest BLOB;
