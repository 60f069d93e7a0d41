//! Drafts that return a value.
//!
//! A store only needs to know whether to commit, so what a draft returns is kept
//! here until its write has ended.

use super::people::{PeopleReads, PeopleWrites};
use super::{Abort, LogEntry, SideWrites, Store, StoreError, Transaction, WriteTarget};
use crate::domain::{PartnerKey, Time};

/// The error of a draft: the store's, or a refusal of its own.
pub trait DraftError: From<StoreError> {
    fn store(self) -> Result<StoreError, Self>;
}

impl DraftError for StoreError {
    fn store(self) -> Result<StoreError, StoreError> {
        Ok(self)
    }
}

/// The value of a draft, and what becomes of the writes that led to it.
pub enum Decision<T> {
    Commit(T),
    RollBack(T),
}

/// The result of a write and the version it made; no version if it changed nothing.
#[derive(Debug)]
pub struct Done<T> {
    pub value: T,
    pub version: Option<u64>,
}

/// How the last run of a draft ended.
struct DraftOutcome<T, E>(Option<Result<T, E>>);

impl<T, E: DraftError> DraftOutcome<T, E> {
    /// Keeps the outcome of one run of a draft; returns whether the store commits its writes.
    fn note(&mut self, drafted: Result<Decision<T>, E>) -> Result<(), Abort> {
        let (outcome, told) = match drafted.map_err(E::store) {
            Ok(Decision::Commit(value)) => (Ok(value), Ok(())),
            Ok(Decision::RollBack(value)) => (Ok(value), Err(Abort::Refused)),
            Err(Err(refusal)) => (Err(refusal), Err(Abort::Refused)),
            Err(Ok(error)) => return Err(Abort::Store(error)),
        };
        self.0 = Some(outcome);
        told
    }

    /// What the write returns, once the store has ended it.
    fn end<R: Default>(self, written: Result<R, Abort>) -> Result<(T, R), E> {
        match (written, self.0) {
            (Err(Abort::Store(error)), _) => Err(error.into()),
            (written, Some(outcome)) => Ok((outcome?, written.unwrap_or_default())),
            (_, None) => Err(StoreError::Exists.into()),
        }
    }
}

impl dyn Store + '_ {
    /// Runs a write and returns what its draft decided, once that is durable. A
    /// draft may run again from the start.
    pub fn draft<T: Send, E: DraftError + Send>(
        &self,
        target: WriteTarget,
        entry: LogEntry,
        mut draft: impl FnMut(&mut dyn Transaction) -> Result<Decision<T>, E> + Send,
    ) -> Result<Done<T>, E> {
        let mut outcome = DraftOutcome(None);
        let written = self.write(target, entry, Box::new(|transaction| outcome.note(draft(transaction))));
        let (value, version) = outcome.end(written)?;
        Ok(Done { value, version })
    }

    /// The same beside the log.
    pub fn draft_beside<T: Send, E: DraftError + Send>(
        &self,
        key: PartnerKey,
        at: Time,
        mut draft: impl FnMut(&mut dyn SideWrites) -> Result<Decision<T>, E> + Send,
    ) -> Result<T, E> {
        let mut outcome = DraftOutcome(None);
        let written = self.write_beside(key, at, Box::new(|transaction| outcome.note(draft(transaction))));
        Ok(outcome.end(written)?.0)
    }

    /// The same of users.
    pub fn draft_people<T, E: DraftError>(
        &self,
        mut draft: impl FnMut(&mut dyn PeopleWrites) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut outcome = DraftOutcome(None);
        let written = self.people_write(&mut |people| outcome.note(draft(people).map(Decision::Commit)));
        Ok(outcome.end(written)?.0)
    }

    /// Reads users as of one moment.
    pub fn read_people<T>(
        &self,
        mut look: impl FnMut(&mut dyn PeopleReads) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut seen = None;
        self.people_read(&mut |people| look(people).map(|value| seen = Some(value)))?;
        seen.ok_or_else(|| StoreError::Corrupt { what: "a look at users that did not happen".to_owned() })
    }
}
