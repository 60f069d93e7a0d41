//! Whether a pooler stands before the database that gives each transaction
//! another session, as PgBouncer's transaction mode does.
//!
//! Behind one, locks and settings of a session are another client's, and
//! prepared statements are unknown or taken: some writes fail, and a follower
//! sees nothing. So it is refused at start. A pooler that keeps a session for
//! each client is no different from the database.

use tokio_postgres::error::SqlState;

use super::core::{Core, PooledConnection};
use crate::store::StoreError;

/// How often it is looked at: other clients of a pooler may take the session
/// that would have shown it.
const LOOKS: usize = 3;

const REFUSAL: &str = "a connection pooler in transaction mode stands before the database (PgBouncer's pool_mode = \
                       transaction): each transaction gets another session, so locks and prepared statements do not \
                       hold. Set pool_mode = session, or name PostgreSQL itself";

pub(super) fn refuse(core: &Core) -> Result<(), StoreError> {
    match pooled(core) {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Unsupported { what: REFUSAL }),
        // Another client's prepared statements are in the session, or ours are
        // in another.
        Err(StoreError::Postgres(error))
            if matches!(
                error.code(),
                Some(&SqlState::DUPLICATE_PSTATEMENT | &SqlState::INVALID_SQL_STATEMENT_NAME)
            ) =>
        {
            Err(StoreError::Unsupported { what: REFUSAL })
        }
        Err(error) => Err(error),
    }
}

fn pooled(core: &Core) -> Result<bool, StoreError> {
    let (mut one, mut two) = (core.reader()?, core.reader()?);
    (one.torn, two.torn) = (true, true);
    let first = session(core, &one)?;
    for _ in 0..LOOKS {
        core.batch(&two, "BEGIN")?;
        // The other connection rests, so its session is the next to be given.
        let pooled = session(core, &two)? == first || session(core, &one)? != first;
        core.batch(&two, "ROLLBACK")?;
        if pooled {
            return Ok(true);
        }
    }
    (one.torn, two.torn) = (false, false);
    Ok(false)
}

/// The process that answers a connection. Nothing is prepared for it.
fn session(core: &Core, link: &PooledConnection) -> Result<String, StoreError> {
    core.simple(link, "SELECT pg_backend_pid()")
}
