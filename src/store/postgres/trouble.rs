//! Maps the driver's errors to store errors.

use std::error::Error as _;
use std::sync::Arc;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;
use crate::store::group::CommitFailure;

/// An error with its causes, in one line.
pub(super) fn reason(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    text
}

/// What went wrong with a statement, as the store tells it.
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub(in crate::store) fn trouble(error: Error) -> StoreError {
    let Some(state) = error.code() else {
        let io = error.source().is_some_and(|cause| cause.is::<std::io::Error>());
        return match io || error.is_closed() {
            true => StoreError::Unreachable { reason: reason(&error).into() },
            false => StoreError::Postgres(Box::new(error)),
        };
    };
    let said: Arc<str> = reason(&error).into();
    told(state, said).unwrap_or_else(|| StoreError::Postgres(Box::new(error)))
}

/// What a state of the engine means to its callers, where it means anything
/// but that a statement was wrong.
fn told(state: &SqlState, reason: Arc<str>) -> Option<StoreError> {
    // Class 08: connection exception; 53: insufficient resources; 57P: operator
    // intervention.
    let unreachable = ["08", "53", "57P"].iter().any(|class| state.code().starts_with(class));
    Some(match *state {
        SqlState::DISK_FULL => StoreError::Full,
        _ if unreachable => StoreError::Unreachable { reason },
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => StoreError::Unreachable { reason },
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => StoreError::Busy,
        // The transaction took longer than an operator allows.
        _ if state.code() == "25P04" => StoreError::Busy,
        SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::ReadOnly { reason },
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => StoreError::Unknown { reason },
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::UNIQUE_VIOLATION
        | SqlState::EXCLUSION_VIOLATION => StoreError::Again { reason },
        _ => return None,
    })
}

/// What a commit that failed means for those who wait for it.
pub(super) fn commit_failure(error: StoreError) -> CommitFailure {
    match error {
        StoreError::Full => CommitFailure::Full,
        StoreError::ReadOnly { reason } => CommitFailure::ReadOnly { reason },
        StoreError::Busy | StoreError::Again { .. } => CommitFailure::Busy,
        // It was sent, and nobody said what became of it.
        StoreError::Unreachable { reason } => CommitFailure::Unknown { reason },
        error => CommitFailure::Unknown { reason: error.to_string().into() },
    }
}

/// What an error before the commit means for all whose writes it takes back.
pub(super) fn uncommitted(error: &StoreError) -> CommitFailure {
    match error {
        StoreError::Full => CommitFailure::Full,
        StoreError::ReadOnly { reason } => CommitFailure::ReadOnly { reason: reason.clone() },
        StoreError::Unreachable { reason } => CommitFailure::Unreachable { reason: reason.clone() },
        StoreError::Busy | StoreError::Again { .. } => CommitFailure::Busy,
        error => {
            let said = match error {
                StoreError::Postgres(error) => reason(error),
                error => error.to_string(),
            };
            CommitFailure::Failed { reason: said.into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the engine says, as its callers are answered.
    #[test]
    fn states_are_typed_errors() {
        let kind = |code| match told(&SqlState::from_code(code), "it says so".into()) {
            Some(StoreError::Busy) => "busy",
            Some(StoreError::Full) => "full",
            Some(StoreError::ReadOnly { .. }) => "read-only",
            Some(StoreError::Unreachable { .. }) => "unreachable",
            Some(StoreError::Again { .. }) => "again",
            Some(StoreError::Unknown { .. }) => "unknown",
            None => "failed",
            other => panic!("{other:?}"),
        };
        for (code, expected) in [
            ("53100", "full"),
            ("53000", "unreachable"),
            ("53200", "unreachable"),
            ("53300", "unreachable"),
            ("53400", "unreachable"),
            ("08006", "unreachable"),
            ("57P01", "unreachable"),
            ("57P02", "unreachable"),
            ("57P03", "unreachable"),
            ("57P05", "unreachable"),
            ("25P03", "unreachable"),
            ("25P04", "busy"),
            ("55P03", "busy"),
            ("57014", "busy"),
            ("25006", "read-only"),
            ("40001", "again"),
            ("40P01", "again"),
            ("23505", "again"),
            ("23P01", "again"),
            ("40003", "unknown"),
            ("42601", "failed"),
            ("23503", "failed"),
            ("XX001", "failed"),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }
}
