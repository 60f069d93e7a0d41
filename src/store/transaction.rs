//! One write: the reads and writes of a draft, inside its savepoint, and at its end
//! the log entry.
//!
//! It is the same on both engines but for the rows of numbers ([`NumberRows`]).
//! The partner is locked, or its database is, before this begins.

use std::collections::{BTreeMap, HashMap};

use super::beside::SideRows;
use super::entities::{ACCOUNTS, ACKNOWLEDGEMENTS, APPLICATIONS, EntityTable, KEYS, SETTINGS, TRUNKS, entity_row};
use super::group::Written;
use super::log::{self, Chain, Encoded, Readers};
use super::own_entries::{EntryChanges, WholeEntry};
use super::people::{AuditEntry, PeopleWrites, audit_of};
use super::rows::*;
use super::sql::{Sql, bind};
use super::tally::RowTally;
use super::{
    Abort, Answered, Document, LogEntry, LogHead, NumberPuts, OwnedRun, PartnerReads, RoutesInUse, SideWrites,
    StoreError, StoredJob, Transaction, WriteTarget,
};
use crate::domain::change::{Edit, GENESIS};
use crate::domain::row_digest::{KeptDigest, RowDigest};
use crate::domain::{
    Account, AccountId, Acknowledgement, Application, ApplicationId, E164, EntityChange, Key, KeyId, NumberRun,
    Partner, PartnerKey, RunChange, Setting, State, Time, Trunk, TrunkId,
};

/// A partner as a write finds it.
pub(super) struct OpenPartner {
    pub head: LogHead,
    pub row_digest: KeptDigest,
    /// When the change at its head was logged.
    pub last: Option<Time>,
    /// What its row says, where that can be read.
    pub partner: Option<Partner>,
    pub known: KnownEntities,
}

/// Entities as the writes of one transaction have read them.
#[derive(Default)]
pub(super) struct KnownEntities {
    accounts: EntitiesById<Account>,
    applications: EntitiesById<Application>,
    trunks: EntitiesById<Trunk>,
    settings: EntitiesById<Setting>,
}

type EntitiesById<T> = HashMap<String, Option<T>>;

/// How many entities of a kind are kept.
const KNOWN_MAX: usize = 1_000;

impl OpenPartner {
    /// One that the write creates.
    pub fn new() -> OpenPartner {
        let head = LogHead { key: PartnerKey(0), version: 0, digest: GENESIS };
        OpenPartner {
            head,
            row_digest: KeptDigest::Sealed(RowDigest::default()),
            last: None,
            partner: None,
            known: KnownEntities::default(),
        }
    }
}

/// How an engine stores the rows of numbers.
pub(super) trait NumberRows<S> {
    /// The columns of a row's first and last number, and its table.
    fn table(&self) -> (&'static str, &'static str);
    fn owners(&mut self, sql: &S, key: PartnerKey, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError>;
    /// Writes the entry that some changes have in the log, and moves the partner on.
    fn put_entry(&mut self, sql: &S, row: EntryRow<'_>) -> Result<(), StoreError>;
    /// Writes the rows and the log of changes, which are sorted, each number once.
    fn put(&mut self, sql: &S, log: &mut LogDraft, changes: &[RunChange]) -> Result<(), StoreError>;
    /// Adds the row of a new partner.
    fn create(sql: &S, partner: &Partner) -> Result<PartnerKey, StoreError>;
}

/// The counts of an account's numbers, as the name of what changes of its numbers change.
pub(super) fn counted_numbers(account: &str) -> String {
    format!("account_numbers/{account}")
}

/// What one write is in the log.
pub(super) struct EntryRow<'a> {
    pub partner: PartnerKey,
    pub version: u64,
    pub entry: &'a LogEntry,
    /// The changes of entities, encoded.
    pub entities: &'a str,
    /// The digest of the entry before it, and its own.
    pub previous: &'a [u8; 32],
    pub digest: &'a [u8; 32],
    pub row_digest: Option<&'a [u8]>,
}

/// What a write puts into the log, and what it does to the digest of the partner's
/// rows.
pub(super) struct LogDraft {
    /// The time of the write, which is that of the partner's last change if a clock
    /// went back.
    pub at: Time,
    /// `None` of a write beside the log.
    entry: Option<LogEntry>,
    pub head: LogHead,
    pub tally: RowTally,
    chain: Chain,
    parts: i64,
    changes: EntryChanges,
}

impl LogDraft {
    pub fn version(&self) -> u64 {
        self.head.version + 1
    }

    /// The parts of the log that changes make, each with its place.
    pub fn parts(&mut self, changes: &[RunChange], readers: Readers) -> Vec<(i64, Encoded)> {
        self.changes.add(changes);
        let mut parts = Vec::new();
        for part in log::encode(changes, readers) {
            self.chain.part(part.subject, &part.body);
            parts.push((self.parts, part));
            self.parts += 1;
        }
        parts
    }

    /// When accounts lose active numbers by changes.
    pub fn losses<'c>(&self, changes: &'c [RunChange]) -> BTreeMap<&'c str, Time> {
        let mut losses = BTreeMap::new();
        for (account, at) in changes.iter().filter_map(|change| change.loss(self.at)) {
            let last = losses.entry(account.as_str()).or_insert(at);
            *last = at.max(*last);
        }
        losses
    }
}

/// A write that has moved its partner on.
pub(super) struct Moved {
    pub head: LogHead,
    pub row_digest: Option<Vec<u8>>,
    pub at: Time,
    pub partner: Option<Partner>,
    pub known: KnownEntities,
}

impl From<Moved> for OpenPartner {
    fn from(moved: Moved) -> OpenPartner {
        let Moved { head, row_digest, at, partner, known } = moved;
        let row_digest = KeptDigest::read(row_digest.as_deref(), head.key, head.version, &head.digest);
        OpenPartner { head, row_digest, last: Some(at), partner, known }
    }
}

pub(super) struct SqlTransaction<S, N> {
    sql: S,
    numbers: N,
    creating: bool,
    /// As the transaction has it so far.
    partner: Option<Partner>,
    /// The digest of the partner's rows as it was.
    row_digest: KeptDigest,
    log: LogDraft,
    /// Empty once the write has put an entity.
    known: KnownEntities,
    entities: Vec<EntityChange>,
    /// Whether anything was put beside the log.
    beside: bool,
}

impl<S: Sql, N: NumberRows<S>> SqlTransaction<S, N> {
    pub fn begin(
        sql: S,
        numbers: N,
        target: &WriteTarget,
        partner: &mut OpenPartner,
        (at, entry): (Time, Option<LogEntry>),
    ) -> Result<SqlTransaction<S, N>, Abort> {
        let taken = "SELECT 1 FROM partner WHERE auth_id = ?1";
        if let WriteTarget::New(auth_id) = target
            && sql.first(taken, bind![auth_id.as_str()], |_| Ok(()))?.is_some()
        {
            return Err(Abort::Refused);
        }
        let at = partner.last.map_or(at, |last| at.max(last));
        let (tally, chain, changes, entities) = Default::default();
        let log = LogDraft { at, entry, head: partner.head, tally, chain, parts: 0, changes };
        let creating = matches!(target, WriteTarget::New(_));
        // A write that ends without a change leaves nothing known, which costs the
        // next one its reads.
        let known = std::mem::take(&mut partner.known);
        let (row_digest, partner) = (partner.row_digest, partner.partner.clone());
        Ok(SqlTransaction { sql, numbers, creating, partner, row_digest, log, known, entities, beside: false })
    }

    /// Writes the log entry, if anything was put, and moves the partner on.
    pub fn finish(self) -> Result<(Written, Option<Moved>), StoreError> {
        let SqlTransaction { mut sql, mut numbers, partner, row_digest, log, known, entities, beside, .. } = self;
        if log.parts == 0 && entities.is_empty() {
            return Ok((Written { version: None, anything: beside, entry: None }, None));
        }
        let version = log.version();
        let LogDraft { at, entry, head, tally, chain, parts: _, changes } = log;
        let entry = entry.ok_or_else(|| corrupt("a write beside the log changed what the log has".to_owned()))?;
        let entry = LogEntry { at, ..entry };
        let key = head.key;
        let text = log::encode_entities(&entities);
        let digest = chain.finish(key, version, &entry, &text, &head.digest);
        let row_digest = row_digest.moved_on(tally.done(), key, version, &digest);
        numbers.put_entry(
            &sql,
            EntryRow {
                partner: key,
                version,
                entry: &entry,
                entities: &text,
                previous: &head.digest,
                digest: &digest,
                row_digest: row_digest.as_deref(),
            },
        )?;
        if let Some(audit) = audit_of(key, &entry, &entities) {
            sql.put_audit(&audit)?;
        }
        let whole = |numbers| WholeEntry { version, entry, entities, previous: head.digest, digest, numbers };
        let entry = changes.all().map(|numbers| (key, whole(numbers)));
        let head = LogHead { key, version, digest };
        let written = Written { version: Some(version), anything: true, entry };
        Ok((written, Some(Moved { head, row_digest, at, partner, known })))
    }

    fn partner_key(&self) -> PartnerKey {
        self.log.head.key
    }

    /// The entity of the partner that has an id.
    fn entity<T>(
        &self,
        table: EntityTable,
        id: &str,
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let EntityTable { table, name, columns, .. } = table;
        let sql = format!("SELECT {columns} FROM {table} WHERE partner = ?1 AND {name} = ?2");
        // Changes of entities are sent at once, whatever the name.
        self.sql.first_named(table, &sql, bind![self.partner_key(), id], read)
    }

    /// The same of one that writes read again and again.
    fn known<T: Clone>(
        &mut self,
        kind: impl Fn(&mut KnownEntities) -> &mut EntitiesById<T>,
        table: EntityTable,
        id: &str,
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if let Some(known) = kind(&mut self.known).get(id) {
            return Ok(known.clone());
        }
        let found = self.entity(table, id, read)?;
        let known = kind(&mut self.known);
        if self.entities.is_empty() && known.len() < KNOWN_MAX {
            known.insert(id.to_owned(), found.clone());
        }
        Ok(found)
    }

    /// Notes that something is put beside the log.
    fn aside(&mut self) -> &mut S {
        self.beside = true;
        &mut self.sql
    }
}

impl<S: Sql, N: NumberRows<S>> PartnerReads for SqlTransaction<S, N> {
    fn version(&self) -> u64 {
        self.log.version()
    }

    fn at(&self) -> Time {
        self.log.at
    }

    fn partner(&mut self) -> Result<Option<Partner>, StoreError> {
        if self.creating || self.partner.is_some() {
            return Ok(self.partner.clone());
        }
        let sql = format!("SELECT {PARTNER} FROM partner WHERE partner = ?1");
        self.sql.first(&sql, bind![self.partner_key()], |row| read_partner(row, 0))
    }

    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        self.known(|known| &mut known.accounts, ACCOUNTS, id.as_str(), |row| read_account(row, 0))
    }

    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        self.known(|known| &mut known.applications, APPLICATIONS, id.as_str(), |row| read_application(row, 0))
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        self.known(|known| &mut known.trunks, TRUNKS, id.as_str(), |row| read_trunk(row, 0))
    }

    fn key(&mut self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        self.entity(KEYS, id.as_str(), |row| read_key(row, 0))
    }

    fn acknowledgement(&mut self, finding: &str) -> Result<Option<Acknowledgement>, StoreError> {
        self.entity(ACKNOWLEDGEMENTS, finding, |row| read_acknowledgement(row, 0))
    }

    fn setting(&mut self, id: &str) -> Result<Option<Setting>, StoreError> {
        self.known(|known| &mut known.settings, SETTINGS, id, |row| read_setting(row, 1))
    }

    fn owners(&mut self, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
        let owned = self.numbers.owners(&self.sql, self.log.head.key, wanted)?;
        self.log.tally.read(&owned);
        Ok(owned)
    }

    fn active_numbers(&mut self, account: &AccountId, now: Time, enough: u64) -> Result<u64, StoreError> {
        let sql = "SELECT numbers FROM account_numbers WHERE partner = ?1 AND account = ?2 AND state = ?3 \
                   AND ends > ?4 ORDER BY ends DESC LIMIT ?5";
        let mut counted = 0;
        let values = bind![self.partner_key(), account.as_str(), State::Active.as_str(), now, enough];
        self.sql.query_named(&counted_numbers(account.as_str()), sql, values, &mut |row| {
            counted += row.int(0)?.max(0) as u64;
            Ok(counted < enough)
        })?;
        Ok(counted)
    }
}

impl<S: Sql, N: NumberRows<S>> NumberPuts for SqlTransaction<S, N> {
    fn put_runs(&mut self, changes: &[RunChange]) -> Result<(), StoreError> {
        self.numbers.put(&self.sql, &mut self.log, changes)
    }
}

impl<S: Sql, N: NumberRows<S>> SideWrites for SqlTransaction<S, N> {
    fn answered(&mut self, key: &str, since: Time) -> Result<Option<Answered>, StoreError> {
        self.sql.answered(self.partner_key(), key, since)
    }

    fn put_answered(&mut self, key: &str, answered: &Answered) -> Result<(), StoreError> {
        let (partner, at) = (self.partner_key(), self.at());
        self.aside().put_answered(partner, key, at, answered)
    }

    fn job(&mut self, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.sql.job(self.partner_key(), id)
    }

    fn put_job(&mut self, job: &StoredJob) -> Result<(), StoreError> {
        let partner = self.partner_key();
        self.aside().put_job(partner, job)
    }

    fn job_batch(&mut self, job: &str, batch: u64) -> Result<Option<String>, StoreError> {
        self.sql.batch(self.partner_key(), job, batch)
    }

    fn put_job_batch(&mut self, job: &str, batch: u64, body: &str) -> Result<(), StoreError> {
        let partner = self.partner_key();
        self.aside().put_batch(partner, job, batch, body)
    }

    fn document(&mut self, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.sql.document(self.partner_key(), kind, id)
    }

    fn put_document(&mut self, kind: &str, document: &Document) -> Result<(), StoreError> {
        let partner = self.partner_key();
        self.aside().put_document(partner, kind, document)
    }

    fn drop_document(&mut self, kind: &str, id: &str) -> Result<(), StoreError> {
        let partner = self.partner_key();
        self.aside().drop_document(partner, kind, id)
    }

    fn put_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.aside().put_audit(entry)
    }
}

impl<S: Sql, N: NumberRows<S>> Transaction for SqlTransaction<S, N> {
    fn put_entity(&mut self, change: EntityChange) -> Result<(), StoreError> {
        self.known = KnownEntities::default();
        match &change {
            EntityChange::Partner(Edit { before: None, after }) => {
                self.log.head.key = N::create(&self.sql, after)?;
            }
            EntityChange::Partner(Edit { after, .. }) => {
                let sql = "UPDATE partner SET name = ?2, suspended_at = ?3 WHERE partner = ?1";
                self.sql.run(sql, bind![self.partner_key(), &after.name, after.suspended_at])?;
                self.partner = Some(after.clone());
            }
            other => {
                if let Some((table, values)) = entity_row(other) {
                    self.sql.run(table.upsert(), &[bind![self.partner_key()], &values[..]].concat())?;
                }
            }
        }
        self.log.tally.entity(&change);
        self.entities.push(change);
        Ok(())
    }

    fn has_numbers(&mut self, account: &AccountId, now: Time) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM account_numbers WHERE partner = ?1 AND account = ?2 AND numbers > 0 \
                   AND (state IN (?3, ?4) OR state = ?5 AND ends > ?6) LIMIT 1";
        let [active, suspended, reserved] = HOLDING.map(|state| state.as_str());
        let values = bind![self.partner_key(), account.as_str(), active, suspended, reserved, now];
        Ok(self.sql.first(sql, values, |_| Ok(()))?.is_some())
    }

    fn numbers_of(&mut self, account: &AccountId) -> Result<Vec<E164>, StoreError> {
        let (span, table) = self.numbers.table();
        let sql = format!(
            "SELECT {span} FROM {table} WHERE partner = ?1 AND account = ?2 AND state IN (?3, ?4, ?5) ORDER BY 1"
        );
        let [active, suspended, reserved] = HOLDING.map(|state| state.as_str());
        let mut numbers = Vec::new();
        self.sql.query(&sql, bind![self.partner_key(), account.as_str(), active, suspended, reserved], &mut |row| {
            let (first, last) = super::runs::bounds(row, 0, 1)?;
            numbers.extend((first.digits()..=last.digits()).filter_map(E164::new));
            Ok(true)
        })?;
        Ok(numbers)
    }

    fn routes_in_use(&mut self) -> Result<RoutesInUse, StoreError> {
        let (_, table) = self.numbers.table();
        let sql = format!("SELECT DISTINCT application, trunk FROM {table} WHERE partner = ?1");
        let mut used = RoutesInUse::default();
        self.sql.query(&sql, bind![self.partner_key()], &mut |row| {
            used.applications.extend(row.text_if(0)?.map(ApplicationId::stored));
            used.trunks.extend(row.text_if(1)?.map(TrunkId::stored));
            Ok(true)
        })?;
        Ok(used)
    }
}

/// In these states a number is an account's; in the last one until a time.
const HOLDING: [State; 3] = [State::Active, State::Suspended, State::Reserved];
