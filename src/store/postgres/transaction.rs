//! One write: a partner's transaction as a group has it, and the reads and
//! writes of a draft inside it.
//!
//! A partner's row is locked first, so whatever is read after that stays as it
//! is until the commit, on all nodes; versions are in commit order for the same
//! reason. Statements that need nothing of each other's results are sent
//! together and cost one way there and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join3;
use tokio_postgres::Row;

use super::connect::Link;
use super::core::{COMMIT, Core, Params, PooledConnection};
use super::each::{self, EachEdits};
use super::put::{Put, puts};
use super::runs::{self, RunEdits, RunRows};
use super::schema::{FORM_LOCK, TableForm};
use super::sql::PgSql;
use super::trouble::{commit_failure, trouble};
use crate::domain::change::{Edit, GENESIS};
use crate::domain::row_digest::{KeptDigest, RowDigest};
use crate::domain::{
    self, Account, AccountId, Acknowledgement, Application, ApplicationId, E164, EntityChange, Group, Key, KeyId,
    NumberChange, NumberRun, Partner, PartnerId, PartnerKey, RunChange, Setting, State, Time, Trunk, TrunkId,
};
use crate::store::beside::SideRows;
use crate::store::group::{CommitFailure, Engine, Written};
use crate::store::log::{self, Chain};
use crate::store::people::{AuditEntry, PeopleWrites, audit_of};
use crate::store::rows::*;
use crate::store::tally::RowTally;
use crate::store::{
    Abort, Answered, Document, LogEntry, LogHead, OwnedRun, Ownership, RoutesInUse, StoreError, StoredJob, Transaction,
    WriteTarget,
};

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
    /// The partner's, with what the group has written so far.
    head: LogHead,
    /// The digest of the partner's rows, the same way.
    row_digest: KeptDigest,
    /// When the change at its head was logged.
    last: Option<Time>,
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
        entry: LogEntry,
        draft: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Written, Abort> {
        let Some(session) = &mut self.session else {
            return Err(StoreError::Unreachable { reason: "the transaction has ended".into() }.into());
        };
        let mut transaction = PgTransaction::begin(&self.core, session, &self.target, entry)?;
        draft(&mut transaction)?;
        let (written, head, row_digest, at) = transaction.finish()?;
        if written.version.is_some() {
            (session.head, session.row_digest, session.last) = (head, row_digest, Some(at));
        }
        Ok(written)
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
        let (form, head, row_digest, last) = match &self.target {
            WriteTarget::New(_) => {
                // The form stays as it is until the transaction ends.
                self.core.batch(&link, &format!("{BEGIN}; {FORM_LOCK}"))?;
                let form = TableForm::of(&self.core, &link)?;
                let head = LogHead { key: PartnerKey(0), version: 0, digest: GENESIS };
                (form, head, KeptDigest::Sealed(RowDigest::default()), None)
            }
            WriteTarget::Partner(key) => {
                let lock = "SELECT partner, version, head, row_digest, (SELECT runs FROM rollcall_schema WHERE one = 1) \
                            FROM partner WHERE partner = $1 FOR NO KEY UPDATE";
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
                (TableForm::read(row, 4)?, head, read_row_digest(row, 3, &head), last)
            }
        };
        self.session = Some(OpenTransaction { link, form, head, row_digest, last, lost: None });
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        self.core.batch(&session.link, "ROLLBACK")?;
        session.link.torn = false;
        Ok(())
    }

    fn savepoint(&mut self) -> Result<(), StoreError> {
        self.end("SAVEPOINT draft")
    }

    fn keep(&mut self) -> Result<(), StoreError> {
        self.end("RELEASE draft")
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK TO draft; RELEASE draft")
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

/// A draft's view of its session.
struct PgTransaction<'s> {
    core: &'s Core,
    session: &'s OpenTransaction,
    /// Its time is that of the partner's last change, if a clock went back.
    entry: LogEntry,
    /// The partner's name while it is being created.
    creating: Option<PartnerId>,
    head: LogHead,
    chain: Chain,
    parts: i64,
    entities: Vec<EntityChange>,
    /// What is done to the digest of the partner's rows.
    tally: RowTally,
    runs: RunRows,
    /// Whether anything was put beside the log.
    beside: bool,
}

/// What becomes of the rows of numbers.
enum NumberEdits<'a> {
    Each(Box<EachEdits<'a>>),
    Runs(Box<RunEdits<'a>>),
}

const PARTS: &str = "INSERT INTO change_part (partner, version, part, subject, body) \
                     SELECT $1, $2, * FROM unnest($3::bigint[], $4::bigint[], $5::text[])";

impl<'s> PgTransaction<'s> {
    fn begin(
        core: &'s Core,
        session: &'s OpenTransaction,
        target: &WriteTarget,
        mut entry: LogEntry,
    ) -> Result<PgTransaction<'s>, Abort> {
        let creating = match target {
            WriteTarget::Partner(_) => None,
            WriteTarget::New(auth_id) => {
                let sql = "SELECT 1 FROM partner WHERE auth_id = $1";
                if !core.rows(&session.link, sql, &[&auth_id.as_str()])?.is_empty() {
                    return Err(Abort::Refused);
                }
                Some(auth_id.clone())
            }
        };
        entry.at = entry.at.max(session.last.unwrap_or(entry.at));
        Ok(PgTransaction {
            core,
            session,
            entry,
            creating,
            head: session.head,
            chain: Chain::new(),
            parts: 0,
            entities: Vec::new(),
            tally: RowTally::default(),
            runs: RunRows::default(),
            beside: false,
        })
    }

    /// Writes the log entry, if anything was put, and moves the partner on.
    fn finish(mut self) -> Result<(Written, LogHead, KeptDigest, Time), StoreError> {
        let at = self.entry.at;
        let before = self.session.row_digest;
        if self.parts == 0 && self.entities.is_empty() {
            return Ok((Written { version: None, anything: self.beside }, self.head, before, at));
        }
        let version = self.version();
        let (key, entry) = (self.head.key, &self.entry);
        let entities = log::encode_entities(&self.entities);
        let digest = std::mem::take(&mut self.chain).finish(key, version, entry, &entities, &self.head.digest);
        let (stored, at_seconds, actor) = (version as i64, at.seconds(), entry.actor.to_string());
        let (verb, previous, next) = (entry.verb.as_str(), &self.head.digest[..], &digest[..]);
        let row_digest = before.moved_on(self.tally.done(), key, version, &digest);
        let put = [
            Put {
                sql: "INSERT INTO change (partner, version, at, actor, request_id, verb, entities, previous) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                params: vec![&key.0, &stored, &at_seconds, &actor, &entry.request_id, &verb, &entities, &previous],
                rows: Some(1),
            },
            Put {
                sql: "UPDATE partner SET version = $2, head = $3, row_digest = $4 WHERE partner = $1",
                params: vec![&key.0, &stored, &next, &row_digest],
                rows: Some(1),
            },
        ];
        puts(self.core, &self.session.link, &put)?;
        if let Some(audit) = audit_of(key, entry, &self.entities) {
            self.sql().put_audit(&audit)?;
        }
        let head = LogHead { key, version, digest };
        let row_digest = KeptDigest::read(row_digest.as_deref(), key, version, &digest);
        Ok((Written { version: Some(version), anything: true }, head, row_digest, at))
    }

    fn link(&self) -> &'s Link {
        &self.session.link
    }

    fn sql(&self) -> PgSql<'s> {
        PgSql { core: self.core, link: &self.session.link }
    }

    fn one<T>(
        &self,
        sql: &str,
        id: &str,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.core.rows(self.link(), sql, &[&self.head.key.0, &id])?;
        rows.first().map(read).transpose()
    }

    fn execute(&self, sql: &str, params: Params<'_>) -> Result<(), StoreError> {
        self.core.execute(self.link(), sql, params).map(|_| ())
    }

    fn put_route(&self, route: RouteRow<'_>) -> Result<(), StoreError> {
        let RouteRow { table, id, name, account, created_at, archived_at, destinations } = route;
        let sql = format!(
            "INSERT INTO {table} (partner, id, name, account, created_at, archived_at, destinations) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (partner, id) DO UPDATE SET name = $3, account = $4, archived_at = $6, destinations = $7"
        );
        let key = self.head.key.0;
        self.execute(&sql, &[&key, &id, &name, &account, &created_at, &archived_at, &destinations])
    }

    /// What becomes of the rows of some changes, which the tally counts.
    fn edits<'c>(&mut self, changes: &'c [RunChange]) -> Result<NumberEdits<'c>, StoreError> {
        let (core, link, key) = (self.core, self.link(), self.head.key);
        let edits = match self.session.form {
            TableForm::Each => {
                each::read_stored(core, link, key, changes, &mut self.tally)?;
                NumberEdits::Each(Box::new(EachEdits::of(changes)))
            }
            TableForm::Runs => {
                self.runs.read_stored(core, link, key, changes, &mut self.tally)?;
                let mut edits = self.runs.edits(changes)?;
                self.runs.hold(core, link, key, changes, &mut edits)?;
                NumberEdits::Runs(Box::new(edits))
            }
        };
        self.tally.runs(changes, self.version());
        Ok(edits)
    }

    /// Writes rows and log of some changes, sorted, each number once.
    fn put_some(&mut self, changes: &[RunChange]) -> Result<(), StoreError> {
        let edits = self.edits(changes)?;
        let (key, version) = (self.head.key.0, self.version() as i64);
        let mut losses: BTreeMap<&str, i64> = BTreeMap::new();
        for (account, at) in changes.iter().filter_map(|change| change.loss(self.entry.at)) {
            let last = losses.entry(account.as_str()).or_insert(at.seconds());
            *last = at.seconds().max(*last);
        }
        let (losers, lost_at): (Vec<&str>, Vec<i64>) = losses.into_iter().unzip();
        let (mut parts, mut subjects, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for part in log::encode(changes) {
            self.chain.part(part.subject, &part.body);
            parts.push(self.parts);
            subjects.push(part.subject);
            bodies.push(part.body);
            self.parts += 1;
        }
        let mut put = Vec::new();
        match &edits {
            NumberEdits::Each(edits) => edits.puts(&key, &version, &mut put),
            NumberEdits::Runs(edits) => edits.puts(&key, &version, &mut put),
        }
        if !losers.is_empty() {
            let sql = "UPDATE account SET lost_at = greatest(lost_at, t.at) FROM unnest($2::text[], $3::bigint[]) \
                       AS t (auth_id, at) WHERE partner = $1 AND account.auth_id = t.auth_id";
            put.push(Put { sql, params: vec![&key, &losers, &lost_at], rows: None });
        }
        put.push(Put { sql: PARTS, params: vec![&key, &version, &parts, &subjects, &bodies], rows: None });
        puts(self.core, self.link(), &put)
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

impl Transaction for PgTransaction<'_> {
    fn version(&self) -> u64 {
        self.head.version + 1
    }

    fn at(&self) -> Time {
        self.entry.at
    }

    fn partner(&mut self) -> Result<Option<Partner>, StoreError> {
        if self.creating.is_some() {
            return Ok(None);
        }
        let sql = format!("SELECT {PARTNER} FROM partner WHERE partner = $1");
        let rows = self.core.rows(self.link(), &sql, &[&self.head.key.0])?;
        rows.first().map(|row| read_partner(row, 0)).transpose()
    }

    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let sql = format!("SELECT {ACCOUNT} FROM account WHERE partner = $1 AND auth_id = $2");
        self.one(&sql, id.as_str(), |row| read_account(row, 0))
    }

    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        let sql = format!("SELECT {APPLICATION} FROM application WHERE partner = $1 AND id = $2");
        self.one(&sql, id.as_str(), |row| read_application(row, 0))
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        let sql = format!("SELECT {TRUNK} FROM trunk WHERE partner = $1 AND id = $2");
        self.one(&sql, id.as_str(), |row| read_trunk(row, 0))
    }

    fn key(&mut self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE partner = $1 AND id = $2");
        self.one(&sql, id.as_str(), |row| read_key(row, 0))
    }

    fn acknowledgement(&mut self, finding: &str) -> Result<Option<Acknowledgement>, StoreError> {
        let sql = format!("SELECT {ACKNOWLEDGEMENT} FROM acknowledgement WHERE partner = $1 AND finding = $2");
        self.one(&sql, finding, |row| read_acknowledgement(row, 0))
    }

    fn setting(&mut self, id: &str) -> Result<Option<Setting>, StoreError> {
        self.one("SELECT body FROM setting WHERE partner = $1 AND id = $2", id, |row| read_setting(row, 0))
    }

    fn numbers(&mut self, wanted: &[E164]) -> Result<Vec<Ownership>, StoreError> {
        let owned = self.owners(&domain::runs::runs(wanted.iter().copied()))?;
        let each = |OwnedRun { run, owner }: OwnedRun| std::iter::repeat_n(owner, run.count as usize);
        Ok(owned.into_iter().flat_map(each).collect())
    }

    fn owners(&mut self, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
        let (core, link, key) = (self.core, self.link(), self.head.key);
        let owned = match self.session.form {
            TableForm::Each => each::owners(core, link, key, wanted)?,
            TableForm::Runs => self.runs.owners(core, link, key, wanted)?,
        };
        self.tally.read(&owned);
        Ok(owned)
    }

    fn put_entity(&mut self, change: EntityChange) -> Result<(), StoreError> {
        let key = self.head.key.0;
        match &change {
            EntityChange::Partner(Edit { before: None, after }) => {
                // After a takeover that forgot partners, theirs are not given
                // to others: nodes may still ask by them. Of two who take the
                // same, one is run again.
                let timeline = i64::from(self.link().incarnation.timeline);
                let first = (timeline - 1).max(0) * KEYS_A_TIMELINE + 1;
                let sql = "INSERT INTO partner (partner, auth_id, name, created_at, suspended_at, version, head) \
                           SELECT greatest(coalesce(max(partner), 0) + 1, $6), $1, $2, $3, $4, 0, $5 FROM partner \
                           RETURNING partner";
                let params: Params<'_> = &[
                    &after.auth_id.as_str(),
                    &&*after.name,
                    &after.created_at.seconds(),
                    &seconds(after.suspended_at),
                    &&GENESIS[..],
                    &first,
                ];
                let rows = self.core.rows(self.link(), sql, params)?;
                let row = rows.first().ok_or_else(|| corrupt("a partner without a key".to_owned()))?;
                self.head.key = PartnerKey(row.int(0)?);
            }
            EntityChange::Partner(Edit { after, .. }) => {
                let sql = "UPDATE partner SET name = $2, suspended_at = $3 WHERE partner = $1";
                self.execute(sql, &[&key, &&*after.name, &seconds(after.suspended_at)])?;
            }
            EntityChange::Account(Edit { after, .. }) => self.execute(
                "INSERT INTO account (partner, auth_id, name, created_at, archived_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (partner, auth_id) DO UPDATE SET name = $3, created_at = $4, archived_at = $5",
                &[
                    &key,
                    &after.auth_id.as_str(),
                    &&*after.name,
                    &after.created_at.seconds(),
                    &seconds(after.archived_at),
                ],
            )?,
            EntityChange::Application(Edit { before, after }) => {
                self.put_route(after.into())?;
                if before.as_ref().and_then(|before| before.answer_url.as_ref()) != after.answer_url.as_ref() {
                    let sql = "UPDATE application SET answer_url = $3 WHERE partner = $1 AND id = $2";
                    self.execute(sql, &[&key, &after.id.as_str(), &after.answer_url.as_deref()])?;
                }
            }
            EntityChange::Trunk(Edit { after, .. }) => self.put_route(after.into())?,
            EntityChange::Acknowledgement(Edit { after, .. }) => self.execute(
                "INSERT INTO acknowledgement (partner, finding, note, until, by, at) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (partner, finding) DO UPDATE SET note = $3, until = $4, by = $5, at = $6",
                &[
                    &key,
                    &&*after.finding,
                    &after.note.as_deref(),
                    &seconds(after.until),
                    &&*after.by,
                    &after.at.seconds(),
                ],
            )?,
            EntityChange::Setting(Edit { after, .. }) => {
                let body = serde_json::to_string(after).expect("a setting serialises");
                self.execute(
                    "INSERT INTO setting (partner, id, body) VALUES ($1, $2, $3) \
                     ON CONFLICT (partner, id) DO UPDATE SET body = $3",
                    &[&key, &&*after.id, &body],
                )?;
            }
            EntityChange::Key(Edit { after, .. }) => {
                let scopes: Vec<&str> = after.scopes.iter().map(|scope| scope.as_str()).collect();
                let networks: Vec<String> = after.networks.iter().map(ToString::to_string).collect();
                self.execute(
                    "INSERT INTO api_key (partner, id, name, token_sha256, scopes, networks, created_at, expires_at, \
                     revoked_at, dialect) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (partner, id) \
                     DO UPDATE SET name = $3, scopes = $5, networks = $6, expires_at = $8, revoked_at = $9, dialect = $10",
                    &[
                        &key,
                        &after.id.as_str(),
                        &&*after.name,
                        &&after.token_sha256[..],
                        &scopes.join(","),
                        &networks.join(","),
                        &after.created_at.seconds(),
                        &seconds(after.expires_at),
                        &seconds(after.revoked_at),
                        &after.dialect.as_str(),
                    ],
                )?;
            }
        }
        self.tally.entity(&change);
        self.entities.push(change);
        Ok(())
    }

    fn put_numbers(&mut self, changes: &[NumberChange]) -> Result<(), StoreError> {
        self.put_runs(&RunChange::all(changes.iter().cloned()))
    }

    fn put_runs(&mut self, changes: &[RunChange]) -> Result<(), StoreError> {
        match self.session.form {
            TableForm::Each => each::pieces(changes).iter().try_for_each(|piece| self.put_some(piece)),
            TableForm::Runs => pieces(changes).try_for_each(|piece| self.put_some(piece)),
        }
    }

    fn active_numbers(&mut self, account: &AccountId, now: Time, enough: u64) -> Result<u64, StoreError> {
        let sql = "SELECT numbers FROM account_numbers WHERE partner = $1 AND account = $2 AND state = $3 \
                   AND ends > $4 ORDER BY ends DESC LIMIT $5";
        let active = State::Active.as_str();
        let limit = i64::try_from(enough).unwrap_or(i64::MAX);
        let params: Params<'_> = &[&self.head.key.0, &account.as_str(), &active, &now.seconds(), &limit];
        let rows = self.core.rows(self.link(), sql, params)?;
        rows.iter().try_fold(0, |counted, row| Ok(counted + row.int(0)?.max(0) as u64))
    }

    fn has_numbers(&mut self, account: &AccountId, now: Time) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM account_numbers WHERE partner = $1 AND account = $2 AND numbers > 0 \
                   AND (state = ANY ($3::text[]) OR state = $4 AND ends > $5) LIMIT 1";
        let held = [State::Active, State::Suspended].map(|state| state.as_str());
        let reserved = State::Reserved.as_str();
        let params: Params<'_> = &[&self.head.key.0, &account.as_str(), &&held[..], &reserved, &now.seconds()];
        Ok(!self.core.rows(self.link(), sql, params)?.is_empty())
    }

    fn numbers_of(&mut self, account: &AccountId) -> Result<Vec<E164>, StoreError> {
        let states = [State::Active, State::Suspended, State::Reserved].map(|state| state.as_str());
        let read = match self.session.form {
            TableForm::Each => each::numbers_of,
            TableForm::Runs => runs::numbers_of,
        };
        read(self.core, self.link(), self.head.key, account, &states)
    }

    fn routes_in_use(&mut self) -> Result<RoutesInUse, StoreError> {
        let sql = match self.session.form {
            TableForm::Each => each::ROUTES,
            TableForm::Runs => runs::ROUTES,
        };
        let mut used = RoutesInUse::default();
        for row in self.core.rows(self.link(), sql, &[&self.head.key.0])? {
            used.applications.extend(row.text_if(0)?.map(ApplicationId::stored));
            used.trunks.extend(row.text_if(1)?.map(TrunkId::stored));
        }
        Ok(used)
    }

    fn answered(&mut self, key: &str, since: Time) -> Result<Option<Answered>, StoreError> {
        self.sql().answered(self.head.key, key, since)
    }

    fn put_answered(&mut self, key: &str, answered: &Answered) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().put_answered(self.head.key, key, self.entry.at, answered)
    }

    fn job(&mut self, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.sql().job(self.head.key, id)
    }

    fn put_job(&mut self, job: &StoredJob) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().put_job(self.head.key, job)
    }

    fn job_batch(&mut self, job: &str, batch: u64) -> Result<Option<String>, StoreError> {
        self.sql().batch(self.head.key, job, batch)
    }

    fn put_job_batch(&mut self, job: &str, batch: u64, body: &str) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().put_batch(self.head.key, job, batch, body)
    }

    fn document(&mut self, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.sql().document(self.head.key, kind, id)
    }

    fn put_document(&mut self, kind: &str, document: &Document) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().put_document(self.head.key, kind, document)
    }

    fn drop_document(&mut self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().drop_document(self.head.key, kind, id)
    }

    fn put_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.beside = true;
        self.sql().put_audit(entry)
    }
}
