//! One write: the reads and writes of a draft, inside its savepoint, and at
//! its end the log entry.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::runs::{self, RunWriter};
use super::sql::SqliteSql;
use crate::domain::change::{Edit, GENESIS};
use crate::domain::row_digest::{KeptDigest, RowDigest};
use crate::domain::{
    self, Account, AccountId, Acknowledgement, Application, ApplicationId, E164, EntityChange, Key, KeyId,
    NumberChange, NumberRun, Partner, PartnerId, PartnerKey, RunChange, Setting, State, Time, Trunk, TrunkId,
};
use crate::store::beside::SideRows;
use crate::store::group::Written;
use crate::store::health::Health;
use crate::store::log::{self, Chain};
use crate::store::people::{AuditEntry, PeopleWrites, audit_of};
use crate::store::rows::*;
use crate::store::runs::bounds;
use crate::store::tally::RowTally;
use crate::store::{
    Abort, Answered, Document, LogEntry, LogHead, OwnedRun, Ownership, RoutesInUse, StoreError, StoredJob, Transaction,
    WriteTarget,
};

/// One write, inside its savepoint.
pub(super) struct SqliteTransaction<'c> {
    connection: &'c Connection,
    health: &'c Health,
    /// Its time is that of the partner's last change, if a clock went back.
    entry: LogEntry,
    /// The partner's name while it is being created.
    creating: Option<PartnerId>,
    head: LogHead,
    chain: Chain,
    parts: i64,
    entities: Vec<EntityChange>,
    /// The digest of the partner's rows as it was, and what is done to it.
    row_digest: KeptDigest,
    tally: RowTally,
    runs: RunWriter,
    /// Whether anything was put beside the log.
    beside: bool,
}

impl<'c> SqliteTransaction<'c> {
    pub(super) fn begin(
        connection: &'c Connection,
        health: &'c Health,
        target: &WriteTarget,
        mut entry: LogEntry,
    ) -> Result<SqliteTransaction<'c>, Abort> {
        let (creating, head, row_digest) = match target {
            WriteTarget::Partner(key) => {
                let read = |row: &Row<'_>| {
                    let head = read_head(row)?;
                    Ok((head, time_if(row.int_if(3)?)?, read_row_digest(row, 4, &head)))
                };
                let found = connection
                    .prepare_cached(
                        "SELECT partner, version, head, at, row_digest FROM partner \
                         LEFT JOIN change USING (partner, version) WHERE partner = ?1",
                    )?
                    .query_row([key.0], |row| Ok(read(row)))
                    .optional()?;
                let found: Option<Result<_, StoreError>> = found;
                let (head, last, row_digest) = found.ok_or_else(|| corrupt(format!("partner {key} is gone")))??;
                entry.at = entry.at.max(last.unwrap_or(entry.at));
                (None, head, row_digest)
            }
            WriteTarget::New(auth_id) => {
                let taken = connection
                    .prepare_cached("SELECT 1 FROM partner WHERE auth_id = ?1")?
                    .exists([auth_id.as_str()])?;
                if taken {
                    return Err(Abort::Refused);
                }
                let head = LogHead { key: PartnerKey(0), version: 0, digest: GENESIS };
                (Some(auth_id.clone()), head, KeptDigest::Sealed(RowDigest::default()))
            }
        };
        Ok(SqliteTransaction {
            connection,
            health,
            entry,
            creating,
            head,
            chain: Chain::new(),
            parts: 0,
            entities: Vec::new(),
            row_digest,
            tally: RowTally::default(),
            runs: RunWriter::default(),
            beside: false,
        })
    }

    /// Writes the log entry, if anything was put, and moves the partner on.
    pub(super) fn finish(mut self) -> Result<Written, StoreError> {
        if self.parts == 0 && self.entities.is_empty() {
            return Ok(Written { version: None, anything: self.beside });
        }
        let version = self.version();
        let (key, entry) = (self.head.key, &self.entry);
        let entities = log::encode_entities(&self.entities);
        let digest = std::mem::take(&mut self.chain).finish(key, version, entry, &entities, &self.head.digest);
        self.connection
            .prepare_cached(
                "INSERT INTO change (partner, version, at, actor, request_id, verb, entities, previous) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                key.0,
                version as i64,
                entry.at.seconds(),
                entry.actor.to_string(),
                entry.request_id,
                entry.verb.as_str(),
                entities,
                self.head.digest,
            ])?;
        self.connection
            .prepare_cached("UPDATE partner SET version = ?2, head = ?3, row_digest = ?4 WHERE partner = ?1")?
            .execute(params![
                key.0,
                version as i64,
                digest,
                self.row_digest.moved_on(self.tally.done(), key, version, &digest)
            ])?;
        if let Some(audit) = audit_of(key, entry, &self.entities) {
            self.sql().put_audit(&audit)?;
        }
        Ok(Written { version: Some(version), anything: true })
    }
}

impl Transaction for SqliteTransaction<'_> {
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
        let mut statement =
            self.connection.prepare_cached(&format!("SELECT {PARTNER} FROM partner WHERE partner = ?1"))?;
        let mut rows = statement.query([self.head.key.0])?;
        rows.next()?.map(|row| read_partner(row, 0)).transpose()
    }

    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let sql = format!("SELECT {ACCOUNT} FROM account WHERE partner = ?1 AND auth_id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, id.as_str()])?;
        rows.next()?.map(|row| read_account(row, 0)).transpose()
    }

    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        let sql = format!("SELECT {APPLICATION} FROM application WHERE partner = ?1 AND id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, id.as_str()])?;
        rows.next()?.map(|row| read_application(row, 0)).transpose()
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        let sql = format!("SELECT {TRUNK} FROM trunk WHERE partner = ?1 AND id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, id.as_str()])?;
        rows.next()?.map(|row| read_trunk(row, 0)).transpose()
    }

    fn key(&mut self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        let sql = format!("SELECT {KEY} FROM api_key WHERE partner = ?1 AND id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, id.as_str()])?;
        rows.next()?.map(|row| read_key(row, 0)).transpose()
    }

    fn acknowledgement(&mut self, finding: &str) -> Result<Option<Acknowledgement>, StoreError> {
        let sql = format!("SELECT {ACKNOWLEDGEMENT} FROM acknowledgement WHERE partner = ?1 AND finding = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, finding])?;
        rows.next()?.map(|row| read_acknowledgement(row, 0)).transpose()
    }

    fn setting(&mut self, id: &str) -> Result<Option<Setting>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT body FROM setting WHERE partner = ?1 AND id = ?2")?;
        let mut rows = statement.query(params![self.head.key.0, id])?;
        rows.next()?.map(|row| read_setting(row, 0)).transpose()
    }

    fn numbers(&mut self, wanted: &[E164]) -> Result<Vec<Ownership>, StoreError> {
        let owned = self.owners(&domain::runs::runs(wanted.iter().copied()))?;
        let each = |OwnedRun { run, owner }: OwnedRun| std::iter::repeat_n(owner, run.count as usize);
        Ok(owned.into_iter().flat_map(each).collect())
    }

    fn owners(&mut self, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
        let owned = runs::owners(self.connection, self.head.key, wanted)?;
        self.tally.read(&owned);
        Ok(owned)
    }

    fn put_entity(&mut self, change: EntityChange) -> Result<(), StoreError> {
        let key = self.head.key.0;
        match &change {
            EntityChange::Partner(Edit { before: None, after }) => {
                self.connection.execute(
                    "INSERT INTO partner (auth_id, name, created_at, suspended_at, version, head) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
                    params![after.auth_id.as_str(), &*after.name, after.created_at.seconds(), seconds(after.suspended_at), GENESIS],
                )?;
                self.head.key = PartnerKey(self.connection.last_insert_rowid());
            }
            EntityChange::Partner(Edit { after, .. }) => {
                self.connection.execute(
                    "UPDATE partner SET name = ?2, suspended_at = ?3 WHERE partner = ?1",
                    params![key, &*after.name, seconds(after.suspended_at)],
                )?;
            }
            EntityChange::Account(Edit { after, .. }) => {
                self.connection
                    .prepare_cached(
                        "INSERT INTO account (partner, auth_id, name, created_at, archived_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                         ON CONFLICT (partner, auth_id) DO UPDATE SET name = ?3, created_at = ?4, archived_at = ?5",
                    )?
                    .execute(params![
                        key,
                        after.auth_id.as_str(),
                        &*after.name,
                        after.created_at.seconds(),
                        seconds(after.archived_at)
                    ])?;
            }
            EntityChange::Application(Edit { before, after }) => {
                self.put_route(after.into())?;
                if before.as_ref().and_then(|before| before.answer_url.as_ref()) != after.answer_url.as_ref() {
                    self.connection
                        .prepare_cached("UPDATE application SET answer_url = ?3 WHERE partner = ?1 AND id = ?2")?
                        .execute(params![key, after.id.as_str(), after.answer_url.as_deref()])?;
                }
            }
            EntityChange::Trunk(Edit { after, .. }) => self.put_route(after.into())?,
            EntityChange::Acknowledgement(Edit { after, .. }) => {
                self.connection
                    .prepare_cached(
                        "INSERT INTO acknowledgement (partner, finding, note, until, by, at) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (partner, finding) \
                         DO UPDATE SET note = ?3, until = ?4, by = ?5, at = ?6",
                    )?
                    .execute(params![
                        key,
                        &*after.finding,
                        after.note.as_deref(),
                        seconds(after.until),
                        &*after.by,
                        after.at.seconds(),
                    ])?;
            }
            EntityChange::Setting(Edit { after, .. }) => {
                let body = serde_json::to_string(after).expect("a setting serialises");
                self.connection
                    .prepare_cached(
                        "INSERT INTO setting (partner, id, body) VALUES (?1, ?2, ?3) \
                         ON CONFLICT (partner, id) DO UPDATE SET body = ?3",
                    )?
                    .execute(params![key, &*after.id, body])?;
            }
            EntityChange::Key(Edit { after, .. }) => {
                let scopes: Vec<&str> = after.scopes.iter().map(|scope| scope.as_str()).collect();
                let networks: Vec<String> = after.networks.iter().map(ToString::to_string).collect();
                self.connection
                    .prepare_cached(
                        "INSERT INTO api_key (partner, id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at, dialect) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (partner, id) DO UPDATE \
                         SET name = ?3, scopes = ?5, networks = ?6, expires_at = ?8, revoked_at = ?9, dialect = ?10",
                    )?
                    .execute(params![
                        key,
                        after.id.as_str(),
                        &*after.name,
                        after.token_sha256,
                        scopes.join(","),
                        networks.join(","),
                        after.created_at.seconds(),
                        seconds(after.expires_at),
                        seconds(after.revoked_at),
                        after.dialect.as_str(),
                    ])?;
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
        let (key, version) = (self.head.key.0, self.version() as i64);
        for unread in self.tally.unread(changes) {
            for (run, version) in runs::versions(self.connection, unread)? {
                self.tally.learn(run, version);
            }
        }
        self.tally.runs(changes, self.version());
        self.runs.put(self.connection, self.head.key, self.head.version + 1, changes)?;
        self.put_losses(changes)?;
        self.put_counts(changes)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO change_part (partner, version, part, subject, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for part in log::encode(changes) {
            self.chain.part(part.subject, &part.body);
            insert.execute(params![key, version, self.parts, part.subject, part.body])?;
            self.parts += 1;
        }
        Ok(())
    }

    fn active_numbers(&mut self, account: &AccountId, now: Time, enough: u64) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT numbers FROM account_numbers WHERE partner = ?1 AND account = ?2 AND state = ?3 AND ends > ?4 \
             ORDER BY ends DESC",
        )?;
        let mut rows =
            statement.query(params![self.head.key.0, account.as_str(), State::Active.as_str(), now.seconds()])?;
        let mut counted = 0;
        while counted < enough
            && let Some(row) = rows.next()?
        {
            counted += row.get::<_, i64>(0)?.max(0) as u64;
        }
        Ok(counted)
    }

    fn has_numbers(&mut self, account: &AccountId, now: Time) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM account_numbers WHERE partner = ?1 AND account = ?2 AND numbers > 0 \
             AND (state IN (?3, ?4) OR state = ?5 AND ends > ?6)",
        )?;
        let [active, suspended, reserved] =
            [State::Active, State::Suspended, State::Reserved].map(|state| state.as_str());
        let found = params![self.head.key.0, account.as_str(), active, suspended, reserved, now.seconds()];
        Ok(statement.exists(found)?)
    }

    fn numbers_of(&mut self, account: &AccountId) -> Result<Vec<E164>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT first, last FROM number_run WHERE partner = ?1 AND account = ?2 AND state IN (?3, ?4, ?5) \
             ORDER BY first",
        )?;
        let mut rows = statement.query(params![
            self.head.key.0,
            account.as_str(),
            State::Active.as_str(),
            State::Suspended.as_str(),
            State::Reserved.as_str(),
        ])?;
        let mut numbers = Vec::new();
        while let Some(row) = rows.next()? {
            let (first, last) = bounds(row, 0, 1)?;
            numbers.extend((first.digits()..=last.digits()).filter_map(E164::new));
        }
        Ok(numbers)
    }

    fn routes_in_use(&mut self) -> Result<RoutesInUse, StoreError> {
        let mut used = RoutesInUse::default();
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT application, trunk FROM number_run WHERE partner = ?1")?;
        let mut rows = statement.query([self.head.key.0])?;
        while let Some(row) = rows.next()? {
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

impl SqliteTransaction<'_> {
    fn sql(&self) -> SqliteSql<'_> {
        SqliteSql { connection: self.connection, health: self.health }
    }

    /// Notes when accounts lost active numbers.
    fn put_losses(&self, changes: &[RunChange]) -> Result<(), StoreError> {
        let mut losses: BTreeMap<&AccountId, Time> = BTreeMap::new();
        for (account, at) in changes.iter().filter_map(|change| change.loss(self.entry.at)) {
            let last = losses.entry(account).or_insert(at);
            *last = at.max(*last);
        }
        let mut statement = self.connection.prepare_cached(
            "UPDATE account SET lost_at = max(coalesce(lost_at, ?3), ?3) WHERE partner = ?1 AND auth_id = ?2",
        )?;
        for (account, at) in losses {
            statement.execute(params![self.head.key.0, account.as_str(), at.seconds()])?;
        }
        Ok(())
    }

    /// Moves the counts of accounts' numbers on.
    fn put_counts(&self, changes: &[RunChange]) -> Result<(), StoreError> {
        let mut steps: BTreeMap<(&str, &str, i64), i64> = BTreeMap::new();
        for change in changes {
            for (record, step) in [(&change.before, -1), (&change.after, 1)] {
                if let Some(record) = record
                    && let Some(account) = &record.account
                {
                    let ends = record.expires_at.or(record.until).map_or(i64::MAX, Time::seconds);
                    let steps = steps.entry((account.as_str(), record.state.as_str(), ends)).or_default();
                    *steps += step * change.count as i64;
                }
            }
        }
        let mut add = self.connection.prepare_cached(
            "INSERT INTO account_numbers (partner, account, state, ends, numbers) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO UPDATE SET numbers = numbers + ?5",
        )?;
        let mut forget = self.connection.prepare_cached(
            "DELETE FROM account_numbers WHERE partner = ?1 AND account = ?2 AND state = ?3 AND ends = ?4 \
             AND numbers = 0",
        )?;
        for ((account, state, ends), step) in steps.into_iter().filter(|(_, step)| *step != 0) {
            add.execute(params![self.head.key.0, account, state, ends, step])?;
            if step < 0 {
                forget.execute(params![self.head.key.0, account, state, ends])?;
            }
        }
        Ok(())
    }

    fn put_route(&self, route: RouteRow<'_>) -> Result<(), StoreError> {
        let RouteRow { table, id, name, account, created_at, archived_at, destinations } = route;
        self.connection
            .prepare_cached(&format!(
                "INSERT INTO {table} (partner, id, name, account, created_at, archived_at, destinations) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 ON CONFLICT (partner, id) DO UPDATE SET name = ?3, account = ?4, archived_at = ?6, destinations = ?7"
            ))?
            .execute(params![self.head.key.0, id, name, account, created_at, archived_at, destinations])?;
        Ok(())
    }
}
