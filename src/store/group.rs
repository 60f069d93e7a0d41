//! Group commit: concurrent writes that become durable together.
//!
//! Writers take turns on one transaction; each runs in a savepoint of its own,
//! and the last one in the queue commits for all, so one sync serves a group. That
//! writer also follows the log for all, and then tells them. There is no thread for
//! it: drafts run on their callers' threads and may borrow from them.
//!
//! Invariants: no caller learns of a write before it is durable, and a writer that
//! has read a neighbour's uncommitted write waits for the neighbour. A failed
//! commit fails every write of the group; a failed draft is rolled back alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::own_entries::{KeptEntries, OwnEntries, WholeEntry};
use super::turn_mutex::{TurnGuard, TurnMutex};
use super::{Abort, StoreError};
use crate::domain::PartnerKey;
use crate::trace;

/// How long a writer waits for its turn.
const TURN: Duration = Duration::from_secs(30);
/// The most writes that share one sync; bounds how long the first one waits.
const GROUP_MAX: usize = 100;
/// How long a written but uncommitted member waits before it commits itself.
const GROUP_WAIT: Duration = Duration::from_millis(2);
/// How often a draft is run again because another writer came between.
const ATTEMPTS: usize = 10;

/// What a draft left to commit.
pub(super) struct Written {
    /// The version it made, if it put anything into the log.
    pub version: Option<u64>,
    /// Whether it put anything at all.
    pub anything: bool,
    /// That entry of the log, if it was kept.
    pub entry: Option<(PartnerKey, WholeEntry)>,
}

/// Why a whole group was not committed, or may not have been.
#[derive(Clone)]
pub(super) enum CommitFailure {
    Full,
    Busy,
    Stopped {
        reason: Arc<str>,
    },
    Unreachable {
        reason: Arc<str>,
    },
    ReadOnly {
        reason: Arc<str>,
    },
    Unknown {
        reason: Arc<str>,
    },
    /// Nothing was written, for a reason that does not pass.
    Failed {
        reason: Arc<str>,
    },
}

impl From<CommitFailure> for StoreError {
    fn from(failure: CommitFailure) -> StoreError {
        match failure {
            CommitFailure::Full => StoreError::Full,
            CommitFailure::Busy => StoreError::Busy,
            CommitFailure::Stopped { reason } => StoreError::Stopped { reason },
            CommitFailure::Unreachable { reason } => StoreError::Unreachable { reason },
            CommitFailure::ReadOnly { reason } => StoreError::ReadOnly { reason },
            CommitFailure::Unknown { reason } => StoreError::Unknown { reason },
            CommitFailure::Failed { reason } => StoreError::TakenBack { reason },
        }
    }
}

/// A connection that writes, as a group needs it.
pub(super) trait Engine {
    /// Why it takes no writes at all, once that is so.
    fn refuses(&self) -> Option<StoreError> {
        None
    }
    fn begin(&mut self) -> Result<(), StoreError>;
    fn rollback(&mut self) -> Result<(), StoreError>;
    fn savepoint(&mut self) -> Result<(), StoreError>;
    /// Ends the savepoint, with what was done since.
    fn keep(&mut self) -> Result<(), StoreError>;
    /// Ends the savepoint, without.
    fn undo(&mut self) -> Result<(), StoreError>;
    /// Whether the engine gave up the whole transaction, given how the last
    /// draft ended.
    fn lost(&mut self, draft: Option<&Abort>) -> Option<CommitFailure>;
    fn commit(&mut self) -> Result<(), CommitFailure>;
    /// What is to be done after a commit that nobody needs to wait for.
    fn rest(&mut self) {}
}

pub(super) struct GroupCommit<E> {
    open: TurnMutex<OpenGroup<E>>,
    own: Arc<OwnEntries>,
    /// Held while a group ends, so that no member misses the notification.
    ending: Mutex<()>,
    committed: Condvar,
}

pub(super) struct OpenGroup<E> {
    pub engine: E,
    /// The group that the next write joins.
    group: CommitGroup,
    /// How many writes of the open transaction wait for its commit. The
    /// transaction is open exactly when this is not 0.
    members: usize,
    /// What they put into the log, as far as it was kept.
    entries: KeptEntries,
}

/// How one group ended, once it has. Each member keeps a reference, so the
/// outcome lives until the last member has read it.
#[derive(Clone, Default)]
struct CommitGroup(Arc<OnceLock<Result<(), CommitFailure>>>);

impl<E: Engine> GroupCommit<E> {
    pub fn new(engine: E, own: Arc<OwnEntries>) -> GroupCommit<E> {
        let (group, members, entries) = Default::default();
        GroupCommit {
            open: TurnMutex::new(OpenGroup { engine, group, members, entries }),
            own,
            ending: Mutex::default(),
            committed: Condvar::new(),
        }
    }

    fn turn(&self) -> Result<TurnGuard<'_, OpenGroup<E>>, StoreError> {
        let open = self.open.try_lock_for(TURN).ok_or(StoreError::Busy)?;
        // An engine with writes that wait was asked before the first of them.
        let refused = if open.members == 0 { open.engine.refuses() } else { None };
        refused.map_or(Ok(open), Err)
    }

    /// Whether it takes writes, as far as is known. Who has it just now is
    /// writing.
    pub fn willing(&self) -> bool {
        self.open.try_lock().is_none_or(|open| open.engine.refuses().is_none())
    }

    /// The engine with no group open, for what is worth no long wait.
    pub fn alone(&self, patience: Duration) -> Result<TurnGuard<'_, OpenGroup<E>>, StoreError> {
        let mut open = self.open.try_lock_for(patience).ok_or(StoreError::Busy)?;
        drop(self.commit(&mut open));
        open.engine.refuses().map_or(Ok(open), Err)
    }

    /// The engine itself, of who has these groups alone.
    pub fn get_mut(&mut self) -> &mut E {
        &mut self.open.get_mut().engine
    }

    /// Runs one write as a member of the open group, or the first of a new one,
    /// and returns once that is durable.
    pub fn member(&self, mut work: impl FnMut(&mut E) -> Result<Written, Abort>) -> Result<Option<u64>, Abort> {
        let span = trace::child("store.write");
        let mut open = self.turn()?;
        let mut attempt = 1;
        let DraftRun { group, joined, result, ended } = loop {
            let tried = self.attempt(&mut open, &mut work)?;
            let again = matches!(tried.result, Ok(Err(Abort::Store(StoreError::Again { .. }))));
            if !again || tried.ended.is_err() || attempt == ATTEMPTS {
                break tried;
            }
            // The writer that came in between may wait for uncommitted writes of
            // this group.
            if tried.joined {
                drop(self.commit(&mut open));
            }
            attempt += 1;
        };
        // A queued writer joins the group; the last one in the queue commits for
        // all.
        let ended_group = if self.open.waiting() == 0 || open.members >= GROUP_MAX {
            let committing = trace::child("store.commit");
            committing.number("rollcall.writes", open.members as i64);
            self.commit(&mut open)
        } else {
            None
        };
        drop(open);
        if let Some(ended_group) = ended_group {
            ended_group.follow();
            drop(ended_group);
            // After everybody was told: it takes time, and they need not wait.
            if let Some(mut open) = self.open.try_lock().filter(|open| open.members == 0) {
                open.engine.rest();
            }
        }
        span.number("rollcall.attempts", attempt as i64);
        let written = match result.unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(written) => written,
            // A refusal may rest on what a neighbour wrote as well.
            Err(Abort::Refused) if joined && ended.is_ok() => {
                self.wait(&group)?;
                return Err(Abort::Refused);
            }
            Err(abort) => return Err(abort),
        };
        ended?;
        if written.anything || joined {
            self.wait(&group)?;
        }
        Ok(written.version)
    }

    fn attempt(
        &self,
        open: &mut OpenGroup<E>,
        work: &mut impl FnMut(&mut E) -> Result<Written, Abort>,
    ) -> Result<DraftRun, StoreError> {
        // Even a draft that changed nothing may have been decided by what a
        // neighbour wrote, which is not durable yet.
        let (group, joined) = (open.group.clone(), open.members > 0);
        let begun = if joined {
            open.engine.savepoint()
        } else {
            open.engine.rest();
            open.engine.begin()
        };
        let mut result = match begun {
            Ok(()) => catch_unwind(AssertUnwindSafe(|| work(&mut open.engine))),
            Err(error) if joined => Ok(Err(error.into())),
            Err(error) => return Err(error),
        };
        let abort = match &result {
            Ok(Err(abort)) => Some(abort),
            Ok(Ok(_)) | Err(_) => None,
        };
        let mut ended = Ok(());
        if let Some(failure) = open.engine.lost(abort) {
            // The other members' writes are gone with it.
            drop(self.end(open, Some(failure)));
        } else if let Ok(Ok(Written { anything: true, entry, .. })) = &mut result {
            if joined {
                ended = open.engine.keep();
            }
            if ended.is_ok() {
                open.members += 1;
                if let Some((key, entry)) = entry.take() {
                    open.entries.add(key, entry);
                }
            }
        } else {
            ended = if joined { open.engine.undo() } else { open.engine.rollback() };
        }
        Ok(DraftRun { group, joined, result, ended })
    }

    /// Ends the open group, if there is one.
    fn commit(&self, open: &mut OpenGroup<E>) -> Option<EndedGroup<'_, E>> {
        if open.members == 0 {
            return None;
        }
        let failure = open.engine.commit().err();
        Some(self.end(open, failure))
    }

    /// Begins the next group; how this one ended its members hear once what is returned
    /// is dropped.
    fn end(&self, open: &mut OpenGroup<E>, failure: Option<CommitFailure>) -> EndedGroup<'_, E> {
        let (members, entries) = (std::mem::take(&mut open.members), std::mem::take(&mut open.entries));
        if failure.is_none() {
            self.own.add(entries);
        }
        EndedGroup { of: self, group: std::mem::take(&mut open.group), members, failure }
    }

    /// Waits until a group has ended, and commits it if nobody else does.
    fn wait(&self, group: &CommitGroup) -> Result<(), StoreError> {
        loop {
            let mut ending = self.ending.lock();
            if group.0.get().is_none() {
                self.committed.wait_for(&mut ending, GROUP_WAIT);
            }
            drop(ending);
            if let Some(outcome) = group.0.get() {
                return outcome.clone().map_err(StoreError::from);
            }
            // The writer that was expected to commit may have given up waiting.
            if let Some(mut open) = self.open.try_lock()
                && Arc::ptr_eq(&open.group.0, &group.0)
            {
                drop(self.commit(&mut open));
            }
        }
    }
}

/// A group whose members have not been told how it ended; dropped, it tells them.
struct EndedGroup<'g, E> {
    of: &'g GroupCommit<E>,
    group: CommitGroup,
    members: usize,
    failure: Option<CommitFailure>,
}

impl<E> EndedGroup<'_, E> {
    /// Follows the log for all, where there are several: each would ask for the log
    /// itself otherwise, and wait for the others that do.
    fn follow(&self) {
        if self.members > 1 && self.failure.is_none() {
            self.of.own.follow();
        }
    }
}

impl<E> Drop for EndedGroup<'_, E> {
    fn drop(&mut self) {
        let _ending = self.of.ending.lock();
        self.group.0.get_or_init(|| self.failure.take().map_or(Ok(()), Err));
        self.of.committed.notify_all();
    }
}

/// How one run of a draft ended.
struct DraftRun {
    /// The group that it was run in.
    group: CommitGroup,
    /// Whether others had written in it before.
    joined: bool,
    result: std::thread::Result<Result<Written, Abort>>,
    /// Whether its savepoint or transaction could be ended.
    ended: Result<(), StoreError>,
}
