//! What the driver's errors mean to those who asked.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;
use crate::store::group::Failure;

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
    let reason = || reason(&error).into();
    // Class 08: connection exception; 57P: operator intervention.
    if state.code().starts_with("08") || state.code().starts_with("57P") {
        return StoreError::Unreachable { reason: reason() };
    }
    match *state {
        SqlState::DISK_FULL => StoreError::Full,
        SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED => StoreError::Busy,
        SqlState::TOO_MANY_CONNECTIONS
        | SqlState::OUT_OF_MEMORY
        | SqlState::INSUFFICIENT_RESOURCES
        | SqlState::CONFIGURATION_LIMIT_EXCEEDED
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => StoreError::Unreachable { reason: reason() },
        SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::ReadOnly { reason: reason() },
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::UNIQUE_VIOLATION => {
            StoreError::Again { reason: reason() }
        }
        _ => StoreError::Postgres(Box::new(error)),
    }
}

/// What a commit that failed means for those who wait for it.
pub(super) fn commit_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Full => Failure::Full,
        StoreError::ReadOnly { reason } => Failure::ReadOnly { reason },
        StoreError::Busy | StoreError::Again { .. } => Failure::Busy,
        // It was sent, and nobody said what became of it.
        StoreError::Unreachable { reason } => Failure::Unknown { reason },
        error => Failure::Unknown { reason: error.to_string().into() },
    }
}
