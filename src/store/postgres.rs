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
mod cells;
mod connect;
pub(super) mod core;
mod each;
mod edits;
mod load;
mod pooler;
mod put;
mod runs;
mod schema;
mod sql;
pub mod switch;
mod transaction;
mod trouble;
mod unsent;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::address::Address;
pub(super) use self::trouble::trouble;

use self::core::{COMMIT, Core, PooledConnection, rows as ask};
use self::schema::TableForm;
use self::sql::PgSql;
use self::transaction::Lane;
use super::group::GroupCommit;
use super::health::Health;
use super::history::{LOG_INTEGRITY, LargeChangeStore, LargeChanges};
use super::own_entries::OwnEntries;
use super::people::tables::prune as prune_step;
use super::people::{PeopleDraft, PeopleLook, PeopleStore, Prune};
use super::rows::*;
use super::sql::SqlStore;
use super::{
    Abort, Draft, FollowNow, Incarnation, Load, Loaded, LogEntry, LogHead, Open, SideDraft, Store, StoreError,
    Transaction, WholeEntry, WriteTarget,
};
use crate::domain::{PartnerKey, RowDigest, Time};

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
/// 1 in the last column: the session takes no writes, as it began with such a default; 2: nor
/// does the server, which is a standby.
const HEADS: &str = "SELECT partner, version, head, ((current_setting('transaction_read_only') = 'on')::int \
                     + pg_is_in_recovery()::int)::bigint FROM partner ORDER BY partner";

pub struct PgStore {
    core: Arc<Core>,
    /// The writers of each partner that was written to.
    lanes: Mutex<HashMap<PartnerKey, Arc<GroupCommit<Lane>>>>,
    own: Arc<OwnEntries>,
    follower: Mutex<PostgresFollower>,
    large_changes: LargeChanges,
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
        let (lanes, own, follower, people) = Default::default();
        Ok(PgStore { core, lanes, own, follower, people, large_changes: LargeChanges::default() })
    }

    /// Whether neighbours with equal values are one row.
    pub(super) fn stores_runs(&self) -> Result<bool, StoreError> {
        Ok(self.core.read(|link| TableForm::of(&self.core, link))? == TableForm::Runs)
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    fn lane(&self, key: PartnerKey) -> Arc<GroupCommit<Lane>> {
        let lane = || Lane::new(self.core.clone(), WriteTarget::Partner(key));
        let make = || Arc::new(GroupCommit::new(lane(), self.own.clone()));
        self.lanes.lock().entry(key).or_insert_with(make).clone()
    }

    /// Runs one write, which logs nothing without an entry.
    fn put(
        &self,
        target: WriteTarget,
        at: Time,
        entry: Option<LogEntry>,
        draft: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Option<u64>, Abort> {
        self.core.health.undamaged(&target)?;
        let write = |lane: &mut Lane| lane.write((at, entry.clone()), draft);
        let result = match &target {
            WriteTarget::Partner(key) => self.lane(*key).member(write),
            WriteTarget::New(_) => GroupCommit::new(Lane::new(self.core.clone(), target), Arc::default()).member(write),
        };
        self.core.health.ended(&result, matches!(result, Ok(Some(_))));
        result
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
        let result = locked.map_err(Abort::from).and_then(|()| draft(&mut PgSql { core, link: &link }));
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

impl LargeChangeStore for PgStore {
    fn large_changes(&self) -> &LargeChanges {
        &self.large_changes
    }
}

impl SqlStore for PgStore {
    type Sql<'c> = PgSql<'c>;

    fn read<T>(&self, work: impl FnOnce(PgSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.core.read(|link| work(PgSql { core: &self.core, link }))
    }

    /// Each statement is a transaction: a process that is stopped between two of
    /// them locks nothing.
    fn alone<T>(&self, work: impl FnOnce(PgSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.read(work)
    }

    fn housekeep<T>(&self, work: impl FnOnce(PgSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.core.housekeep(|link| work(PgSql { core: &self.core, link }))
    }
}

impl PeopleStore for PgStore {
    fn people_read(&self, look: PeopleLook<'_>) -> Result<(), StoreError> {
        let core = &*self.core;
        core.read(|link| {
            // What is read belongs together.
            core.batch(link, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            look(&mut PgSql { core, link })?;
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
        while self.housekeep(|sql| prune_step(&sql, prune))? > 0 {}
        Ok(())
    }
}

impl Store for PgStore {
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError> {
        load::load(&self.core, what, take)
    }

    fn heads(&self, always: bool) -> Result<Option<Vec<LogHead>>, StoreError> {
        let follower = &mut *self.follower.lock();
        // A caller that asks once would not notice that the database answers again, and one
        // stall would end all that it does.
        if !always && !std::mem::replace(&mut follower.asked, true) {
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
        let read_only = found.first().and_then(|row| row.int(3).ok()).unwrap_or_default();
        self.core.note_read_only(read_only > 0);
        // A default may have been reset since, which only another session sees.
        if read_only == 1
            && let Some(mut link) = follower.link.take()
        {
            link.torn = true;
        }
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
        self.put(target, entry.at, Some(entry), &mut |transaction| draft(transaction))
    }

    fn write_beside(&self, key: PartnerKey, at: Time, mut draft: SideDraft<'_>) -> Result<(), Abort> {
        self.put(WriteTarget::Partner(key), at, None, &mut |transaction| draft(transaction)).map(|_| ())
    }

    fn after_shared_commits(&self, follow: FollowNow) {
        self.own.followed_by(follow);
    }

    fn own_entries(&self, key: PartnerKey, after: u64, through: u64) -> Vec<WholeEntry> {
        self.own.take(key, after, through)
    }

    fn health(&self) -> &Health {
        &self.core.health
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
        let form = self.core.read(|link| TableForm::of(&self.core, link))?;
        let numbers: &[(&str, &str)] = match form {
            TableForm::Each => each::INTEGRITY,
            TableForm::Runs => runs::INTEGRITY,
        };
        for (what, sql) in LOG_INTEGRITY.iter().chain(numbers) {
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
