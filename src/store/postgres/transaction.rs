//! One write: a partner's transaction as a group has it, and the reads and
//! writes of a draft inside it.
//!
//! A partner's row is locked first, so whatever is read after that stays as it
//! is until the commit, on all nodes; versions are in commit order for the same
//! reason. Statements that need nothing of each other's results are sent
//! together and cost one way there and back.

use std::sync::Arc;

use futures_util::future::join3;

use super::core::{COMMIT, Core, Params, PooledConnection};
use super::each::{self, EachEdits};
use super::put::{Put, puts};
use super::runs::{RunEdits, RunRows};
use super::schema::{FORM_LOCK, TableForm};
use super::sql::PgSql;
use super::trouble::{commit_failure, trouble};
use crate::domain::change::GENESIS;
use crate::domain::{Group, KeptDigest, NumberRun, Partner, PartnerKey, RunChange, Time};
use crate::store::group::{CommitFailure, Engine, Written};
use crate::store::log::Encoded;
use crate::store::rows::*;
use crate::store::sql::{Sql, bind};
use crate::store::transaction::{LogDraft, Moved, NumberRows, OpenPartner, SqlTransaction};
use crate::store::{Abort, LogEntry, OwnedRun, StoreError, Transaction, WriteTarget};

/// How many runs of numbers are written in one statement.
const STEP: usize = 5_000;

/// How many partners can be created between two takeovers without meeting keys
/// of the next.
const KEYS_A_TIMELINE: i64 = 1_000_000;

const SAVEPOINT: &str = "SAVEPOINT draft";
const RELEASE: &str = "RELEASE draft";
const RELEASE_AND_SAVEPOINT: &str = "RELEASE draft; SAVEPOINT draft";

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
        let mut transaction = SqlTransaction::begin(sql, numbers, &self.target, &session.partner, entry)?;
        draft(&mut transaction)?;
        let (written, moved) = transaction.finish()?;
        if let Some(Moved { head, row_digest, at, partner }) = moved {
            let row_digest = KeptDigest::read(row_digest.as_deref(), head.key, head.version, &head.digest);
            session.partner = OpenPartner { head, row_digest, last: Some(at), partner };
        }
        Ok(written)
    }

    /// Changes what is sent ahead of the next statement; what it was.
    fn send_ahead(&self, change: impl FnOnce(&'static str) -> &'static str) -> &'static str {
        let Some(session) = &self.session else { return "" };
        let mut ahead = session.link.ahead.lock();
        let before = *ahead;
        *ahead = change(before);
        before
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
                (TableForm::read(row, 4)?, OpenPartner { head, row_digest, last, partner })
            }
        };
        self.session = Some(OpenTransaction { link, form, partner, lost: None });
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        self.core.batch(&session.link, "ROLLBACK")?;
        session.link.torn = false;
        Ok(())
    }

    /// Sent with the first statement of the draft.
    fn savepoint(&mut self) -> Result<(), StoreError> {
        self.send_ahead(|ahead| if ahead.is_empty() { SAVEPOINT } else { RELEASE_AND_SAVEPOINT });
        Ok(())
    }

    /// Sent with the next member's savepoint, or with the commit.
    fn keep(&mut self) -> Result<(), StoreError> {
        self.send_ahead(|ahead| if ahead == SAVEPOINT { "" } else { RELEASE });
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        // Where the draft sent nothing, its savepoint was not sent either.
        match self.send_ahead(|ahead| if ahead == RELEASE_AND_SAVEPOINT { RELEASE } else { "" }) {
            "" => self.end("ROLLBACK TO draft; RELEASE draft"),
            _ => Ok(()),
        }
    }

    fn lost(&mut self, draft: Option<&Abort>) -> Option<CommitFailure> {
        let session = self.session.as_mut()?;
        if let Some(Abort::Store(StoreError::Unreachable { reason })) = draft {
            session.lost.get_or_insert(CommitFailure::Unreachable { reason: reason.clone() });
        }
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

/// What becomes of the rows of numbers.
enum NumberEdits<'a> {
    Each(Box<EachEdits<'a>>),
    Runs(Box<RunEdits<'a>>),
}

const PARTS: &str = "INSERT INTO change_part (partner, version, part, subject, body) \
                     SELECT $1, $2, * FROM unnest($3::bigint[], $4::bigint[], $5::text[])";

/// The rows of numbers in one write.
struct PgNumbers {
    form: TableForm,
    runs: RunRows,
}

impl PgNumbers {
    /// What becomes of the rows of some changes, which the tally counts.
    fn edits<'c>(
        &mut self,
        PgSql { core, link }: &PgSql<'_>,
        log: &mut LogDraft,
        changes: &'c [RunChange],
    ) -> Result<NumberEdits<'c>, StoreError> {
        let key = log.head.key;
        let edits = match self.form {
            TableForm::Each => {
                each::read_stored(core, link, key, changes, &mut log.tally)?;
                NumberEdits::Each(Box::new(EachEdits::of(changes)))
            }
            TableForm::Runs => {
                self.runs.read_stored(core, link, key, changes, &mut log.tally)?;
                let mut edits = self.runs.edits(changes)?;
                self.runs.hold(core, link, key, changes, &mut edits)?;
                NumberEdits::Runs(Box::new(edits))
            }
        };
        log.tally.runs(changes, log.version());
        Ok(edits)
    }

    /// Writes rows and log of some changes, sorted, each number once.
    fn put_some(&mut self, sql: &PgSql<'_>, log: &mut LogDraft, changes: &[RunChange]) -> Result<(), StoreError> {
        let edits = self.edits(sql, log, changes)?;
        let (key, version) = (log.head.key.0, log.version() as i64);
        let (losers, lost_at): (Vec<&str>, Vec<i64>) =
            log.losses(changes).into_iter().map(|(account, at)| (account, at.seconds())).unzip();
        let (mut parts, mut subjects, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Encoded { subject, body }) in log.parts(changes) {
            parts.push(at);
            subjects.push(subject);
            bodies.push(body);
        }
        let mut put = Vec::new();
        match &edits {
            NumberEdits::Each(edits) => edits.puts(&key, &version, &mut put),
            NumberEdits::Runs(edits) => edits.puts(&key, &version, &mut put),
        }
        if !losers.is_empty() {
            let sql = "UPDATE account SET lost_at = greatest(lost_at, t.at) FROM ( \
                       SELECT at, (SELECT ctid FROM account AS a WHERE a.partner = $1 AND a.auth_id = t.auth_id) AS place \
                       FROM unnest($2::text[], $3::bigint[]) AS t (auth_id, at) OFFSET 0) AS t WHERE account.ctid = t.place";
            put.push(Put { sql, params: vec![&key, &losers, &lost_at], rows: None });
        }
        put.push(Put { sql: PARTS, params: vec![&key, &version, &parts, &subjects, &bodies], rows: None });
        puts(sql.core, sql.link, &put).map(|_| ())
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
