//! The store of several nodes: a PostgreSQL database, any number of processes.
//!
//! Every write locks its partner's row first, so a partner's writes are in one
//! order on all nodes and its versions have no gaps; different partners never
//! wait for each other, but where both are after the same number. Concurrent
//! writes of one process to one partner are committed in groups. Followers ask
//! the primary, and only it.
//!
//! Invariants: a write is acknowledged when its commit is durable as the server
//! is set up to make it, with a synchronous standby on that as well; a commit
//! of which that is not known is `StoreError::Unknown` and never "done".
//! Deliberately absent: listening for notifications, which would halve the
//! rate of commits to save some milliseconds; reading from standbys; backups,
//! which PostgreSQL does better.

mod address;
mod beside;
mod cells;
mod connect;
pub(super) mod core;
mod each;
mod load;
mod people;
mod pooler;
mod put;
mod runs;
mod schema;
mod shelf;
pub mod switch;
mod transaction;
mod trouble;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use parking_lot::Mutex;

pub use self::address::Address;
pub(super) use self::trouble::trouble;

use self::beside::SideTables;
use self::core::{COMMIT, Core, PooledConnection, rows as ask};
use self::people::PgPeople;
use self::schema::TableForm;
use self::shelf::{PgShelf, version_at};
use self::transaction::Lane;
use super::group::GroupCommit;
use super::health::{Health, Surveyed, row_name};
use super::people::{PeopleDraft, PeopleLook, PeopleStore, Prune};
use super::rows::*;
use super::{
    Abort, Document, DocumentWalk, Draft, Incarnation, Leased, Load, Loaded, LogEntry, LogHead, LogPiece, LoggedChange,
    Open, Over, Past, Replayed, Store, StoreError, StoredJob, WriteTarget, history, rows,
};
use crate::domain::{E164, EntityChange, KeyId, PartnerId, PartnerKey, RowDigest, Time};

/// How long the database may take to say where its logs end, before it counts
/// as gone.
const PULSE: Duration = Duration::from_millis(1_000);
/// How long a write to people waits for others of this process.
const TURN: Duration = Duration::from_secs(30);
/// How often a write to people is run again because another came between.
const ATTEMPTS: usize = 10;
/// "Roll", "peop": writes to people are one after another.
const PEOPLE_LOCK: i64 = 0x526f_6c6c_7065_6f70;

/// Where the logs end, and whether writes are taken at all.
const HEADS: &str = "SELECT partner, version, head, (current_setting('transaction_read_only') = 'on')::int::bigint \
                     FROM partner ORDER BY partner";

pub struct PgStore {
    core: Arc<Core>,
    /// The writers of each partner that was written to.
    lanes: Mutex<HashMap<PartnerKey, Arc<GroupCommit<Lane>>>>,
    follower: Mutex<PostgresFollower>,
    /// Of those who write to people, one has a connection.
    people: Mutex<()>,
}

#[derive(Default)]
struct PostgresFollower {
    /// Whether this process follows at all.
    asked: bool,
    link: Option<PooledConnection>,
    /// As it was last told.
    heads: Option<Vec<LogHead>>,
    incarnation: Option<Incarnation>,
}

impl PgStore {
    pub fn open(address: Address, open: Open) -> Result<PgStore, StoreError> {
        let store = PgStore::open_to_fill(address, open)?;
        let copy = "SELECT to_regclass('rollcall_copy') IS NOT NULL";
        let rows = store.core.read(|link| store.core.rows(link, copy, &[]))?;
        match rows.first().is_some_and(|row| row.get(0)) {
            true => Err(StoreError::Unsupported {
                what: "a copy into this database has not come to its end; go on with `rollcall migrate`",
            }),
            false => Ok(store),
        }
    }

    /// The same of a database into which another is being copied.
    pub(super) fn open_to_fill(address: Address, open: Open) -> Result<PgStore, StoreError> {
        let core = Arc::new(Core::new(address)?);
        pooler::refuse(&core)?;
        schema::prepare(&core, open)?;
        Ok(PgStore { core, lanes: Mutex::default(), follower: Mutex::default(), people: Mutex::default() })
    }

    /// Whether neighbours with equal values are one row.
    pub(super) fn stores_runs(&self) -> Result<bool, StoreError> {
        Ok(self.core.read(|link| TableForm::of(&self.core, link))? == TableForm::Runs)
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    fn lane(&self, key: PartnerKey) -> Arc<GroupCommit<Lane>> {
        let make = || Arc::new(GroupCommit::new(Lane::new(self.core.clone(), WriteTarget::Partner(key))));
        self.lanes.lock().entry(key).or_insert_with(make).clone()
    }

    /// Statements that are a transaction each: a process that is stopped
    /// between two of them locks nothing.
    fn alone<T>(&self, work: impl FnOnce(SideTables<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut link = self.core.reader()?;
        link.torn = true;
        let result = work(SideTables { core: &self.core, link: &link });
        link.torn = result.is_err();
        result
    }

    fn beside<T>(&self, work: impl FnOnce(SideTables<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.core.read(|link| work(SideTables { core: &self.core, link }))
    }

    fn shelf<T>(
        &self,
        key: PartnerKey,
        work: impl FnOnce(&PgShelf<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.core.read(|link| work(&PgShelf { core: &self.core, link, key }))
    }

    /// The rows of one table that cannot be understood, read one by one.
    fn surveyed(
        &self,
        sql: &str,
        name: &[usize],
        read: impl Fn(&tokio_postgres::Row) -> Result<(), StoreError>,
    ) -> Result<Surveyed, StoreError> {
        let mut surveyed = Surveyed::default();
        self.core.read(|link| {
            self.core.run(async {
                let none: [&str; 0] = [];
                let mut rows = pin!(link.client.query_raw(sql, none).await.map_err(trouble)?);
                while let Some(row) = rows.try_next().await.map_err(trouble)? {
                    match read(&row) {
                        Ok(()) => {}
                        Err(StoreError::Corrupt { what }) => surveyed.add(row_name(&row, name), what),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
        })?;
        Ok(surveyed)
    }

    /// One write to people, alone over all processes.
    fn people_once(&self, draft: PeopleDraft<'_>) -> Result<(), Abort> {
        let core = &*self.core;
        let _turn = self.people.try_lock_for(TURN).ok_or(StoreError::Busy)?;
        let mut link = core.writer()?;
        link.torn = true;
        link.warned();
        core.batch(&link, "BEGIN ISOLATION LEVEL READ COMMITTED")?;
        let locked = core.rows(&link, "SELECT pg_advisory_xact_lock($1)", &[&PEOPLE_LOCK]).map(|_| ());
        let result = locked.map_err(Abort::from).and_then(|()| draft(&mut PgPeople { core, link: &link }));
        let ended = core.batch(&link, if result.is_ok() { COMMIT } else { "ROLLBACK" });
        link.torn = ended.is_err();
        result?;
        ended.map_err(|error| StoreError::from(trouble::commit_failure(error)))?;
        match link.warned() {
            true => Err(StoreError::Unknown { reason: "the database warned while it committed".into() }.into()),
            false => Ok(()),
        }
    }
}

impl PeopleStore for PgStore {
    fn people_read(&self, look: PeopleLook<'_>) -> Result<(), StoreError> {
        let core = &*self.core;
        core.read(|link| {
            // What is read belongs together.
            core.batch(link, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            look(&mut PgPeople { core, link })?;
            core.batch(link, "COMMIT")
        })
    }

    fn people_write(&self, draft: PeopleDraft<'_>) -> Result<(), Abort> {
        let mut result = self.people_once(draft);
        for _ in 1..ATTEMPTS {
            if !matches!(result, Err(Abort::Store(StoreError::Again { .. }))) {
                break;
            }
            result = self.people_once(draft);
        }
        self.core.health.ended(&result, true);
        result
    }

    fn people_prune(&self, prune: &Prune) -> Result<(), StoreError> {
        // In steps, so that writers wait for no more than one of them.
        while self.core.housekeep(|link| people::prune(&self.core, link, prune))? > 0 {}
        Ok(())
    }
}

impl Store for PgStore {
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError> {
        load::load(&self.core, what, take)
    }

    fn heads(&self, always: bool) -> Result<Option<Vec<LogHead>>, StoreError> {
        let follower = &mut *self.follower.lock();
        if !std::mem::replace(&mut follower.asked, true) {
            self.core.start_pulse();
        }
        let kept = &mut follower.link;
        let found = self.core.pulse(PULSE, async {
            let link = match kept.take().filter(|link| !link.client.is_closed()) {
                Some(link) => kept.insert(link),
                None => kept.insert(self.core.reader_now().await?),
            };
            // Unless it answers, nobody else shall have it.
            link.torn = true;
            let found = ask(link, HEADS, &[]).await?;
            link.torn = false;
            Ok((link.incarnation, found))
        });
        if found.is_err() {
            follower.link = None;
        }
        let (incarnation, found) = found?;
        follower.incarnation = Some(incarnation);
        *self.core.known.incarnation.lock() = Some(incarnation);
        self.core.note_read_only(found.first().is_some_and(|row| matches!(row.int(3), Ok(1))));
        // What is no digest is that of no entry, so the partner is loaded, and
        // what is wrong with it is said there.
        let head = |row: &tokio_postgres::Row| {
            let digest = digest(row, 2).unwrap_or_default();
            Ok(LogHead { key: PartnerKey(row.int(0)?), version: row.int(1)? as u64, digest })
        };
        let heads: Vec<LogHead> = found.iter().map(head).collect::<Result<_, StoreError>>()?;
        if !always && follower.heads.as_ref() == Some(&heads) {
            return Ok(None);
        }
        follower.heads = Some(heads.clone());
        Ok(Some(heads))
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.follower.lock().incarnation
    }

    fn writable(&self) -> bool {
        self.core.writable()
    }

    fn partner(&self, auth_id: &PartnerId) -> Result<Option<PartnerKey>, StoreError> {
        let sql = format!("SELECT partner, {PARTNER} FROM partner WHERE auth_id = $1");
        let rows = self.core.read(|link| self.core.rows(link, &sql, &[&auth_id.as_str()]))?;
        let Some(row) = rows.first() else { return Ok(None) };
        read_partner(row, 1)?;
        Ok(Some(PartnerKey(row.int(0)?)))
    }

    fn version(&self, key: PartnerKey) -> Result<u64, StoreError> {
        let sql = "SELECT version FROM partner WHERE partner = $1";
        let rows = self.core.read(|link| self.core.rows(link, sql, &[&key.0]))?;
        Ok(rows.first().map(|row| row.int(0)).transpose()?.unwrap_or(0) as u64)
    }

    fn follow(
        &self,
        key: PartnerKey,
        after: u64,
        through: u64,
        take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.shelf(key, |shelf| history::follow(shelf, key, after, through, take))
    }

    fn keep_row_digests(&self, made: &[(LogHead, RowDigest)], replace: bool) -> Result<u64, StoreError> {
        let keys: Vec<i64> = made.iter().map(|(head, _)| head.key.0).collect();
        let versions: Vec<i64> = made.iter().map(|(head, _)| head.version as i64).collect();
        let heads: Vec<&[u8]> = made.iter().map(|(head, _)| &head.digest[..]).collect();
        let sealed: Vec<Vec<u8>> =
            made.iter().map(|(head, digest)| digest.sealed(head.key, head.version, &head.digest)).collect();
        // The first byte of a digest names the format, so the program recognizes another release's.
        let sql = "UPDATE partner SET row_digest = t.sealed \
                   FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[]) AS t (partner, version, head, sealed) \
                   WHERE partner.partner = t.partner AND partner.version = t.version AND partner.head = t.head \
                   AND ($5 OR partner.row_digest IS NULL OR substr(partner.row_digest, 1, 1) <> '\\x01'::bytea)";
        self.core.housekeep(|link| self.core.execute(link, sql, &[&keys, &versions, &heads, &sealed, &replace]))
    }

    fn write(&self, target: WriteTarget, entry: LogEntry, mut draft: Draft<'_>) -> Result<Option<u64>, Abort> {
        self.core.health.undamaged(&target)?;
        let write = |lane: &mut Lane| lane.write(entry.clone(), &mut draft);
        let result = match &target {
            WriteTarget::Partner(key) => self.lane(*key).member(write),
            WriteTarget::New(_) => GroupCommit::new(Lane::new(self.core.clone(), target)).member(write),
        };
        self.core.health.ended(&result, matches!(result, Ok(Some(_))));
        result
    }

    fn mentions(
        &self,
        key: PartnerKey,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
    ) -> Result<(), StoreError> {
        self.shelf(key, |shelf| history::mentions(shelf, through, mention, take))
    }

    fn history(&self, key: PartnerKey, number: E164) -> Result<Vec<Past>, StoreError> {
        self.shelf(key, |shelf| history::history(shelf, number))
    }

    fn list(
        &self,
        key: PartnerKey,
        after: u64,
        limit: usize,
        skip: u64,
        numbers: usize,
    ) -> Result<Vec<LoggedChange>, StoreError> {
        self.shelf(key, |shelf| history::list(shelf, after, limit, skip, numbers))
    }

    fn replay(
        &self,
        key: PartnerKey,
        through: u64,
        take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.shelf(key, |shelf| history::replay(shelf, through, take))
    }

    fn version_at(&self, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
        self.core.read(|link| version_at(&self.core, link, key, time))
    }

    fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<StoredJob>, u64), StoreError> {
        self.beside(|beside| beside.jobs(key, skip, limit))
    }

    fn job(&self, key: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.beside(|beside| beside.job(key, id))
    }

    fn job_batches(
        &self,
        key: PartnerKey,
        id: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        self.beside(|beside| beside.batches(key, id, from, limit))
    }

    fn open_jobs(&self) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError> {
        self.beside(|beside| beside.open_jobs())
    }

    fn document(&self, key: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.beside(|beside| beside.document(key, kind, id))
    }

    fn documents(
        &self,
        key: PartnerKey,
        kind: &str,
        walk: DocumentWalk<'_>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.beside(|beside| beside.documents(key, kind, walk, limit))
    }

    fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<(PartnerKey, Document)>, StoreError> {
        self.beside(|beside| beside.due(kind, now, limit))
    }

    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        self.alone(|beside| beside.lease(name, holder, seconds))
    }

    fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.alone(|beside| beside.end_lease(name, holder))
    }

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.beside(|beside| beside.leaseholder(name))
    }

    fn delete_over(&self, over: &Over) -> Result<u64, StoreError> {
        self.core.housekeep(|link| SideTables { core: &self.core, link }.delete_over(over))
    }

    fn forget_answered(&self, before: Time) -> Result<(), StoreError> {
        // In steps, so that writers wait for no more than one of them.
        while self.core.housekeep(|link| SideTables { core: &self.core, link }.forget(before))? > 0 {}
        Ok(())
    }

    fn key_uses(&self) -> Result<Vec<(PartnerKey, KeyId, Time)>, StoreError> {
        let sql = "SELECT partner, id, last_used_at FROM api_key WHERE last_used_at IS NOT NULL ORDER BY partner, id";
        let uses = self.core.read(|link| self.core.rows(link, sql, &[]))?;
        let used = |row: &tokio_postgres::Row| {
            Ok((PartnerKey(row.int(0)?), KeyId::stored(row.text(1)?), time_of(row.int(2)?)?))
        };
        let mut read = Vec::new();
        for row in &uses {
            read.extend(self.core.health.readable("api_key", || row_name(row, &[0, 1]), used(row))?);
        }
        Ok(read)
    }

    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Result<(), StoreError> {
        let partners: Vec<i64> = uses.iter().map(|(partner, _, _)| partner.0).collect();
        let ids: Vec<&str> = uses.iter().map(|(_, id, _)| id.as_str()).collect();
        let times: Vec<i64> = uses.iter().map(|(_, _, time)| time.seconds()).collect();
        let sql = "UPDATE api_key SET last_used_at = greatest(last_used_at, t.at) \
                   FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS t (partner, id, at) \
                   WHERE api_key.partner = t.partner AND api_key.id = t.id";
        self.core.housekeep(|link| self.core.execute(link, sql, &[&partners, &ids, &times])).map(|_| ())
    }

    fn health(&self) -> &Health {
        &self.core.health
    }

    fn survey(&self) -> Result<(), StoreError> {
        let mut found = BTreeMap::new();
        for EntityTable { table, columns, .. } in ENTITIES {
            let sql = format!("SELECT partner, {columns} FROM {table}");
            found.insert(table, self.surveyed(&sql, &[0, 1], |row| read_entity(table, row).map(|_| ()))?);
        }
        for rows::SideTable { table, from, columns, name } in rows::BESIDE {
            let sql = format!("SELECT {columns} FROM {from}");
            found.insert(table, self.surveyed(&sql, name, |row| rows::understood(table, row))?);
        }
        self.core.health.surveyed(found);
        Ok(())
    }

    fn probe(&self) {
        let sql = "INSERT INTO lease (name, holder, until) VALUES ('probe', '', clock_timestamp()) \
                   ON CONFLICT (name) DO UPDATE SET until = clock_timestamp()";
        let result = self.core.housekeep(|link| self.core.execute(link, sql, &[])).map_err(Abort::from);
        self.core.health.ended(&result, true);
    }

    fn backup(&self, _: &Path) -> Result<(), StoreError> {
        let what = "a PostgreSQL database is backed up by pg_dump or pg_basebackup; docs/operations.md says how";
        Err(StoreError::Unsupported { what })
    }

    fn clock(&self) -> Result<Option<Time>, StoreError> {
        let rows = self
            .core
            .read(|link| self.core.rows(link, "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint", &[]))?;
        Ok(rows.first().map(|row| row.get(0)).and_then(Time::new))
    }

    fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let mut wrong = Vec::new();
        // What a replay from the first entry to the head would not meet.
        let form = self.core.read(|link| TableForm::of(&self.core, link))?;
        let numbers: &[(&str, &str)] = match form {
            TableForm::Each => each::INTEGRITY,
            TableForm::Runs => runs::INTEGRITY,
        };
        let log = [
            (
                "log entries are beyond their partner's version",
                "SELECT count(*) FROM change LEFT JOIN partner USING (partner) \
                 WHERE change.version > coalesce(partner.version, 0)",
            ),
            (
                "parts of the log belong to no entry",
                "SELECT count(*) FROM change_part LEFT JOIN change USING (partner, version) WHERE change.verb IS NULL",
            ),
            (
                "batches belong to no job",
                "SELECT count(*) FROM job_batch LEFT JOIN job ON job.partner = job_batch.partner AND id = job \
                 WHERE id IS NULL",
            ),
        ];
        for (what, sql) in log.iter().chain(numbers) {
            let rows = self.core.read(|link| self.core.rows(link, sql, &[]))?;
            let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        Ok(wrong)
    }

    fn shared(&self) -> bool {
        true
    }

    fn has_earlier_tables(&self) -> Result<bool, StoreError> {
        self.stores_runs().map(|runs| !runs)
    }

    /// As many as want to.
    fn serve_lock(&self) -> Result<Option<Box<dyn Send + Sync>>, StoreError> {
        Ok(Some(Box::new(())))
    }
}
