//! One write: a partner's transaction as a group has it, and the reads and
//! writes of a draft inside it.
//!
//! A partner's row is locked first, so whatever is read after that stays as it
//! is until the commit, on all nodes; versions are in commit order for the same
//! reason. Statements that need nothing of each other's results are sent
//! together and cost one way there and back.

use std::sync::Arc;

use futures_util::future::join3;
use parking_lot::MutexGuard;

use super::core::{COMMIT, Core, Params, PooledConnection};
use super::each::{self, EachEdits};
use super::runs::RunRows;
use super::schema::{FORM_LOCK, TableForm};
use super::sql::PgSql;
use super::trouble::{commit_failure, trouble, uncommitted};
use super::unsent::{Ahead, Unsent};
use crate::domain::change::GENESIS;
use crate::domain::{Group, NumberRun, Partner, PartnerKey, RunChange, Time};
use crate::store::group::{CommitFailure, Engine, Written};
use crate::store::log::Readers;
use crate::store::rows::*;
use crate::store::sql::{Sql, bind};
use crate::store::transaction::{EntryRow, LogDraft, NumberRows, OpenPartner, SqlTransaction};
use crate::store::{Abort, LogEntry, OwnedRun, StoreError, Transaction, WriteTarget};

/// How many runs of numbers are written in one statement.
const STEP: usize = 5_000;

/// How many partners can be created between two takeovers without meeting keys
/// of the next.
const KEYS_A_TIMELINE: i64 = 1_000_000;

/// A partner's writers, of whom a group at a time has a session.
pub(super) struct Lane {
    core: Arc<Core>,
    target: WriteTarget,
    session: Option<OpenTransaction>,
}

/// An open transaction.
pub(super) struct OpenTransaction {
    link: PooledConnection,
    /// In which tables the numbers are, until it ends.
    form: TableForm,
    /// With what the group has written so far.
    partner: OpenPartner,
    /// Why nothing more can be done in it.
    lost: Option<CommitFailure>,
}

impl Lane {
    pub fn new(core: Arc<Core>, target: WriteTarget) -> Lane {
        Lane { core, target, session: None }
    }

    /// Runs a draft, and moves the partner on if it put anything.
    pub fn write(
        &mut self,
        entry: (Time, Option<LogEntry>),
        draft: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Written, Abort> {
        let Some(session) = &mut self.session else {
            return Err(StoreError::Unreachable { reason: "the transaction has ended".into() }.into());
        };
        let sql = PgSql { core: &self.core, link: &session.link };
        let numbers = PgNumbers { form: session.form, runs: RunRows::default() };
        let mut transaction = SqlTransaction::begin(sql, numbers, &self.target, &mut session.partner, entry)?;
        draft(&mut transaction)?;
        let (written, moved) = transaction.finish()?;
        if let Some(moved) = moved {
            session.partner = moved.into();
        }
        Ok(written)
    }

    /// What was not sent.
    fn ahead(&self) -> Option<MutexGuard<'_, Ahead>> {
        Some(self.session.as_ref()?.link.ahead.lock())
    }

    /// Runs a statement that ends something; if it fails, so has all.
    fn end(&mut self, sql: &str) -> Result<(), StoreError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let result = self.core.batch(&session.link, sql);
        if let Err(error) = &result {
            session.lost = Some(CommitFailure::Unreachable { reason: error.to_string().into() });
        }
        result
    }
}

impl Engine for Lane {
    fn begin(&mut self) -> Result<(), StoreError> {
        let mut link = self.core.writer()?;
        // Until it has ended: whatever happens, nobody gets it in the middle.
        link.torn = true;
        // It may have warned of something before.
        link.warned();
        const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
        let (form, partner) = match &self.target {
            WriteTarget::New(_) => {
                // The form stays as it is until the transaction ends.
                self.core.batch(&link, &format!("{BEGIN}; {FORM_LOCK}"))?;
                (TableForm::of(&self.core, &link)?, OpenPartner::new())
            }
            WriteTarget::Partner(key) => {
                let lock = concat!(
                    "SELECT partner, version, head, row_digest, (SELECT runs FROM rollcall_schema WHERE one = 1), ",
                    partner_columns!(),
                    " FROM partner WHERE partner = $1 FOR NO KEY UPDATE"
                );
                // A statement sees what was committed before it began, so the
                // entry is looked for after the lock was got.
                let last = "SELECT change.at FROM partner JOIN change USING (partner, version) WHERE partner = $1";
                let client = &link.client;
                let (found, last) = self.core.run(async {
                    let lock = client.prepare_cached(lock).await.map_err(trouble)?;
                    let last = client.prepare_cached(last).await.map_err(trouble)?;
                    let params: Params<'_> = &[&key.0];
                    let begin = client.batch_execute(BEGIN);
                    let (lock, last) = (client.query_opt(&lock, params), client.query_opt(&last, params));
                    let (begun, found, last) = join3(begin, lock, last).await;
                    begun.map_err(trouble)?;
                    Ok((found.map_err(trouble)?, last.map_err(trouble)?))
                })?;
                let head = found.as_ref().map(read_head).transpose()?;
                let last = last.as_ref().map(|row| time_of(row.int(0)?)).transpose()?;
                let (Some(row), Some(head)) = (&found, head) else {
                    return Err(corrupt(format!("partner {key} is gone")));
                };
                let (row_digest, partner) = (read_row_digest(row, 3, &head), read_partner(row, 5).ok());
                (TableForm::read(row, 4)?, OpenPartner { head, row_digest, last, partner, known: Default::default() })
            }
        };
        self.session = Some(OpenTransaction { link, form, partner, lost: None });
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        *session.link.ahead.lock() = Ahead::default();
        self.core.batch(&session.link, "ROLLBACK")?;
        session.link.torn = false;
        Ok(())
    }

    /// Sent with the first write of the draft that is sent.
    fn savepoint(&mut self) -> Result<(), StoreError> {
        if let Some(mut ahead) = self.ahead() {
            ahead.savepoint();
        }
        Ok(())
    }

    fn keep(&mut self) -> Result<(), StoreError> {
        if let Some(mut ahead) = self.ahead() {
            ahead.keep();
        }
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        let sent = self.ahead().is_some_and(|mut ahead| ahead.undo());
        if sent { self.end("ROLLBACK TO draft; RELEASE draft") } else { Ok(()) }
    }

    fn lost(&mut self, draft: Option<&Abort>) -> Option<CommitFailure> {
        let session = self.session.as_mut()?;
        let told = match draft {
            Some(Abort::Store(StoreError::Unreachable { reason })) => {
                Some(CommitFailure::Unreachable { reason: reason.clone() })
            }
            _ => None,
        };
        let failed = session.link.ahead.lock().failed.take().map(logged);
        session.lost = session.lost.take().or(told).or(failed);
        if session.link.client.is_closed() {
            session.lost.get_or_insert(CommitFailure::Unreachable { reason: "the connection was lost".into() });
        }
        let lost = session.lost.clone();
        if lost.is_some() {
            // Dropped while torn: the connection is closed, and with it what
            // was begun.
            self.session = None;
        }
        lost
    }

    fn commit(&mut self) -> Result<(), CommitFailure> {
        let Some(mut session) = self.session.take() else {
            return Err(CommitFailure::Unreachable { reason: "the transaction has ended".into() });
        };
        if let Some(failure) = session.lost {
            return Err(failure);
        }
        // Before the commit is sent it is known whether all rows were as they were read.
        self.core.run(session.link.flush()).map_err(|error| logged(uncommitted(&error)))?;
        self.core.batch(&session.link, COMMIT).map_err(commit_failure)?;
        session.link.torn = false;
        // A wait for a standby that was given up is told as a warning; the
        // commit is on one machine then, and may be on no other.
        match session.link.warned() {
            true => Err(CommitFailure::Unknown { reason: "the database warned while it committed".into() }),
            false => Ok(()),
        }
    }
}

/// Tells the log of a failure that does not pass: it is somebody's to look after.
fn logged(failure: CommitFailure) -> CommitFailure {
    if let CommitFailure::Failed { reason } = &failure {
        tracing::error!(%reason, "the database refused a group of writes: {reason}");
    }
    failure
}

/// The rows of numbers in one write.
struct PgNumbers {
    form: TableForm,
    runs: RunRows,
}

impl PgNumbers {
    /// Writes rows and log of some changes, sorted, each number once.
    fn put_some(&mut self, sql: &PgSql<'_>, log: &mut LogDraft, changes: &[RunChange]) -> Result<(), StoreError> {
        let PgSql { core, link } = *sql;
        let (key, version) = (log.head.key, log.version() as i64);
        match self.form {
            TableForm::Each => {
                each::read_stored(core, link, key, changes, &mut log.tally)?;
                core.puts(link, EachEdits::of(changes, version).puts(&key.0))?;
            }
            TableForm::Runs => {
                self.runs.read_stored(core, link, key, changes, &mut log.tally)?;
                let rows = self.runs.edits(changes, version)?;
                let holders = self.runs.hold(core, link, key, changes)?;
                let holders = holders.puts(&key.0);
                if !holders.is_empty() {
                    core.puts(link, holders)?;
                }
                let waits = |unsent: &Unsent| unsent.has_numbers(rows.touched());
                if link.ahead.lock().any_unsent(waits) {
                    core.run(link.flush())?;
                }
                link.ahead.lock().own.add_rows(key.0, rows, changes);
            }
        }
        log.tally.runs(changes, version as u64);
        let mut ahead = link.ahead.lock();
        for (account, at) in log.losses(changes) {
            ahead.own.add_loss(account, at.seconds());
        }
        // A node of the release before reads the log for as long as it may write rows.
        let readers = match self.form {
            TableForm::Each => Readers::Any,
            TableForm::Runs => Readers::OfLikeImages,
        };
        for part in log.parts(changes, readers) {
            ahead.own.add_part(key.0, version, part);
        }
        let large = ahead.own.is_large();
        drop(ahead);
        if large { core.run(link.flush()) } else { Ok(()) }
    }
}

/// Changes in pieces of some thousand runs. A group of 10,000 is in one piece, so that
/// it is one part of the log.
fn pieces(changes: &[RunChange]) -> impl Iterator<Item = &[RunChange]> {
    let mut left = changes;
    std::iter::from_fn(move || {
        let mut end = STEP.min(left.len());
        let group = |change: &RunChange| Group::of_digits(change.next() - 1);
        while (1..left.len()).contains(&end) && group(&left[end - 1]) == Group::of(left[end].first) {
            end += 1;
        }
        let (piece, rest) = left.split_at(end);
        left = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

impl NumberRows<PgSql<'_>> for PgNumbers {
    fn table(&self) -> (&'static str, &'static str) {
        match self.form {
            TableForm::Each => ("number, number", "number"),
            TableForm::Runs => ("first, last", "number_run"),
        }
    }

    fn owners(&mut self, sql: &PgSql<'_>, key: PartnerKey, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
        match self.form {
            TableForm::Each => each::owners(sql.core, sql.link, key, wanted),
            TableForm::Runs => self.runs.owners(sql.core, sql.link, key, wanted),
        }
    }

    fn put_entry(&mut self, sql: &PgSql<'_>, row: EntryRow<'_>) -> Result<(), StoreError> {
        sql.link.ahead.lock().own.add_entry(row);
        Ok(())
    }

    fn put(&mut self, sql: &PgSql<'_>, log: &mut LogDraft, changes: &[RunChange]) -> Result<(), StoreError> {
        match self.form {
            TableForm::Each => each::pieces(changes).iter().try_for_each(|piece| self.put_some(sql, log, piece)),
            TableForm::Runs => pieces(changes).try_for_each(|piece| self.put_some(sql, log, piece)),
        }
    }

    fn create(sql: &PgSql<'_>, partner: &Partner) -> Result<PartnerKey, StoreError> {
        // After a takeover that forgot partners, theirs are not given to others:
        // nodes may still ask by them. Of two who take the same, one is run again.
        let timeline = i64::from(sql.link.incarnation.timeline);
        let first = (timeline - 1).max(0) * KEYS_A_TIMELINE + 1;
        let insert = "INSERT INTO partner (partner, auth_id, name, created_at, suspended_at, version, head) \
                      SELECT greatest(coalesce(max(partner), 0) + 1, ?6), ?1, ?2, ?3, ?4, 0, ?5 FROM partner \
                      RETURNING partner";
        let Partner { auth_id, name, created_at, suspended_at } = partner;
        let values = bind![auth_id.as_str(), name, *created_at, *suspended_at, &GENESIS, first];
        let key = sql.first(insert, values, |row| row.int(0))?;
        key.map(PartnerKey).ok_or_else(|| corrupt("a partner without a key".to_owned()))
    }
}
