//! The embedded store: one SQLite file, any number of processes.
//!
//! Write-ahead log and `synchronous=FULL`, so a commit that returned survives
//! a power cut. Concurrent writes of one process are committed in groups: each
//! runs in its own savepoint, and one sync serves all. Commands may write the
//! file beside a server, which sees it by `PRAGMA data_version`.
//!
//! Invariant: after a failed sync nothing more is acknowledged by this process
//! (`StoreError::Stopped`), because what the file holds is then unknown.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::log::{self, Chain};
use super::{
    Abort, Batch, BatchRow, Draft, Entry, Head, Holding, Load, Loaded, Open, Store, StoreError, Target, Transaction,
};
use crate::domain::change::{Edit, GENESIS};
use crate::domain::{
    Account, AccountId, Actor, Application, ApplicationId, Change, Country, Currency, Dates, E164, EntityChange, Key,
    KeyId, Logged, Money, NumberChange, NumberType, Partner, PartnerId, PartnerKey, Record, Scope, State, Tags, Time,
    Trunk, TrunkId, Verb,
};

/// "Roll" in the file's header: this is a Rollcall database.
const APPLICATION_ID: i64 = 0x526f_6c6c;
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_initial.sql")];
/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(30);
/// How long notes of when keys were used wait for a writer.
const BUSY_USES: Duration = Duration::from_millis(500);
/// The most writes that share one sync; bounds how long the first one waits.
const GROUP_MAX: usize = 100;
/// How long a written but uncommitted member waits before it commits itself.
const GROUP_WAIT: Duration = Duration::from_millis(2);
/// From how many wanted numbers in one group of 10,000 a range scan beats
/// looking each up.
const SCAN_FROM: usize = 64;
/// How many numbers are loaded at a time: enough that their images are few,
/// few enough that they stay in the processor's cache until they are taken.
const BATCH_ROWS: usize = 4_096;

pub struct SqliteStore {
    path: PathBuf,
    /// Writers that wait for the connection.
    queued: AtomicUsize,
    writer: Mutex<Writer>,
    outcomes: Mutex<Outcomes>,
    committed: Condvar,
    follower: Mutex<Follower>,
}

struct Writer {
    connection: Connection,
    /// The group that the next write joins, counted from 1.
    group: u64,
    /// How many writes of the open transaction wait for its commit. The
    /// transaction is open exactly when this is not 0.
    members: usize,
    /// Why no more writes are taken, once that is so.
    stopped: Option<Arc<str>>,
}

/// How groups ended. The newest few failures are remembered until their
/// members have read them.
#[derive(Default)]
struct Outcomes {
    /// Groups up to this one have ended.
    ended: u64,
    failed: BTreeMap<u64, Failure>,
}

/// Why a whole group was not committed.
#[derive(Clone)]
enum Failure {
    Full,
    Busy,
    Stopped { reason: Arc<str> },
}

struct Follower {
    connection: Connection,
    data_version: i64,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Sqlite(error),
        }
    }
}

impl From<rusqlite::Error> for Abort {
    fn from(error: rusqlite::Error) -> Abort {
        Abort::Store(error.into())
    }
}

impl SqliteStore {
    pub fn open(path: &Path, open: Open) -> Result<SqliteStore, StoreError> {
        match OpenOptions::new().read(true).open(path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_dir() => return Err(StoreError::Io(std::io::ErrorKind::IsADirectory.into())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match open {
                Open::Existing => return Err(StoreError::Missing { path: path.to_owned() }),
                Open::Create => create_private(path).map_err(|error| no_folder(path, error))?,
            },
            Err(error) => return Err(StoreError::Io(error)),
        }
        let connection = prepare(path).map_err(|error| match error {
            StoreError::Sqlite(source) => match source.sqlite_error_code() {
                Some(ErrorCode::NotADatabase) => StoreError::Foreign { path: path.to_owned() },
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                    StoreError::Unopened { path: path.to_owned(), source }
                }
                _ => StoreError::Sqlite(source),
            },
            error => error,
        })?;
        let follower = Follower { connection: connect(path)?, data_version: -1 };
        Ok(SqliteStore {
            path: path.to_owned(),
            queued: AtomicUsize::new(0),
            writer: Mutex::new(Writer { connection, group: 1, members: 0, stopped: None }),
            outcomes: Mutex::default(),
            committed: Condvar::new(),
            follower: Mutex::new(follower),
        })
    }

    fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        self.queued.fetch_add(1, Ordering::SeqCst);
        let writer = self.writer.try_lock_for(BUSY);
        self.queued.fetch_sub(1, Ordering::SeqCst);
        let writer = writer.ok_or(StoreError::Busy)?;
        match &writer.stopped {
            Some(reason) => Err(StoreError::Stopped { reason: reason.clone() }),
            None => Ok(writer),
        }
    }

    /// Ends the open group, if there is one, and tells its members.
    fn commit(&self, writer: &mut Writer) {
        if writer.members == 0 {
            return;
        }
        let result = writer.connection.execute_batch("COMMIT");
        let failure = match result {
            Ok(()) => None,
            Err(error) => {
                // Whatever is left of the transaction must not leak into the next.
                let rolled_back =
                    writer.connection.is_autocommit() || writer.connection.execute_batch("ROLLBACK").is_ok();
                Some(match StoreError::from(error) {
                    StoreError::Full if rolled_back => Failure::Full,
                    StoreError::Busy if rolled_back => Failure::Busy,
                    error => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "a commit failed; no more writes are taken"
                        );
                        let reason: Arc<str> = match &error {
                            StoreError::Sqlite(cause) => cause.to_string().into(),
                            error => error.to_string().into(),
                        };
                        writer.stopped = Some(reason.clone());
                        Failure::Stopped { reason }
                    }
                })
            }
        };
        self.end_group(writer, failure);
    }

    /// Tells the members of the group how it ended, and begins the next.
    fn end_group(&self, writer: &mut Writer, failure: Option<Failure>) {
        let mut outcomes = self.outcomes.lock();
        outcomes.ended = writer.group;
        if let Some(failure) = failure {
            outcomes.failed.insert(writer.group, failure);
            if outcomes.failed.len() > 1_000 {
                outcomes.failed.pop_first();
            }
        }
        writer.group += 1;
        writer.members = 0;
        self.committed.notify_all();
    }

    /// Waits until a group has ended, and commits it if nobody else does.
    fn wait(&self, group: u64) -> Result<(), StoreError> {
        loop {
            let mut outcomes = self.outcomes.lock();
            if outcomes.ended < group {
                self.committed.wait_for(&mut outcomes, GROUP_WAIT);
            }
            if outcomes.ended >= group {
                return match outcomes.failed.get(&group) {
                    None => Ok(()),
                    Some(Failure::Full) => Err(StoreError::Full),
                    Some(Failure::Busy) => Err(StoreError::Busy),
                    Some(Failure::Stopped { reason }) => Err(StoreError::Stopped { reason: reason.clone() }),
                };
            }
            drop(outcomes);
            // The one who was expected to commit may have given up waiting.
            if let Some(mut writer) = self.writer.try_lock()
                && writer.group == group
            {
                self.commit(&mut writer);
            }
        }
    }

    /// A connection that reads tables once, from end to end: what it keeps in
    /// its cache it never meets again, and the memory stays with the process.
    fn reader(&self) -> Result<Connection, StoreError> {
        let connection = connect(&self.path)?;
        connection.pragma_update(None, "cache_size", -2_048)?;
        Ok(connection)
    }
}

/// Makes an empty file that only its owner can read: it will hold the digests
/// of credentials and the names of customers.
pub fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes the uses and commits.
fn put_key_uses(connection: &Connection, uses: &[(PartnerKey, KeyId, Time)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE api_key SET last_used_at = max(coalesce(last_used_at, ?3), ?3) WHERE partner = ?1 AND id = ?2",
    )?;
    for (partner, id, time) in uses {
        statement.execute(params![partner.0, id.as_str(), time.seconds()])?;
    }
    connection.execute_batch("COMMIT")
}

/// Why a file could not be made, if it is for want of its folder.
fn no_folder(path: &Path, error: std::io::Error) -> StoreError {
    match path.parent() {
        Some(folder) if error.kind() == std::io::ErrorKind::NotFound && !folder.exists() => {
            StoreError::NoFolder { folder: folder.to_owned(), path: path.to_owned() }
        }
        _ => StoreError::Io(error),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect_bare(path)?;
    configure(&connection)?;
    Ok(connection)
}

fn connect_bare(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Turning a new file into WAL mode takes a lock that the engine does not
    // wait for, and several commands may find the same new file.
    let deadline = Instant::now() + BUSY;
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        if !busy || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -65_536)
}

/// Opens a database, makes sure that it is ours, and brings it to this
/// program's schema.
fn prepare(path: &Path) -> Result<Connection, StoreError> {
    // Looked at before anything is set: setting the journal mode writes, and to
    // a file that is not ours nothing is written.
    let mut connection = connect_bare(path)?;
    let found = schema(&connection, path)?;
    configure(&connection)?;
    // Only then under the write lock, or whoever only reads would have to wait
    // for whoever writes.
    if found < MIGRATIONS.len() as i64 {
        migrate(&mut connection, path)?;
    }
    Ok(connection)
}

/// The version of a database's schema, 0 if it is empty; refused if it is not
/// ours, or newer than this program.
fn schema(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    // One moment, since another process may be making the tables.
    let transaction = connection.unchecked_transaction()?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Brings a database to this program's schema, in one transaction.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let lock = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been here since.
    let found: i64 = lock.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for migration in &MIGRATIONS[found as usize..] {
        lock.execute_batch(migration)?;
    }
    if found < known {
        lock.pragma_update(None, "application_id", APPLICATION_ID)?;
        lock.pragma_update(None, "user_version", known)?;
    }
    Ok(lock.commit()?)
}

impl Store for SqliteStore {
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut connection = self.reader()?;
        let transaction = connection.transaction()?;
        let only = what.only.map(|key| key.0);
        let filter = "WHERE ?1 IS NULL OR partner = ?1";

        let mut statement = transaction
            .prepare(&format!("SELECT partner, version, head, {PARTNER} FROM partner {filter} ORDER BY partner"))?;
        let mut rows = statement.query([only])?;
        while let Some(row) = rows.next()? {
            let partner = read_partner(row, 3)?;
            take(Loaded::Partner { head: read_head(row)?, partner })?;
        }
        let mut statement = transaction
            .prepare(&format!("SELECT partner, {ACCOUNT} FROM account {filter} ORDER BY partner, auth_id"))?;
        let mut rows = statement.query([only])?;
        while let Some(row) = rows.next()? {
            take(Loaded::Account(PartnerKey(row.get(0)?), read_account(row, 1)?))?;
        }
        let mut statement =
            transaction.prepare(&format!("SELECT partner, {ROUTE} FROM application {filter} ORDER BY partner, id"))?;
        let mut rows = statement.query([only])?;
        while let Some(row) = rows.next()? {
            take(Loaded::Application(PartnerKey(row.get(0)?), read_application(row, 1)?))?;
        }
        let mut statement =
            transaction.prepare(&format!("SELECT partner, {ROUTE} FROM trunk {filter} ORDER BY partner, id"))?;
        let mut rows = statement.query([only])?;
        while let Some(row) = rows.next()? {
            take(Loaded::Trunk(PartnerKey(row.get(0)?), read_trunk(row, 1)?))?;
        }
        let mut statement =
            transaction.prepare(&format!("SELECT partner, {KEY} FROM api_key {filter} ORDER BY partner, id"))?;
        let mut rows = statement.query([only])?;
        while let Some(row) = rows.next()? {
            take(Loaded::Key(PartnerKey(row.get(0)?), read_key(row, 1)?))?;
        }
        if !what.numbers {
            return Ok(());
        }
        let mut statement = transaction
            .prepare(&format!("SELECT number, partner, version, {RECORD} FROM number {filter} ORDER BY number"))?;
        let mut rows = statement.query([only])?;
        let mut images = Images::default();
        let mut batch = Batch::default();
        while let Some(row) = rows.next()? {
            let image = images.place(row, &mut batch)?;
            let (number, version) = (number_of(row.get(0)?)?, row.get::<_, i64>(2)? as u64);
            batch.rows.push(BatchRow { number, version, image, dates: read_dates(row, 3)? });
            if batch.rows.len() == BATCH_ROWS {
                take(Loaded::Numbers(std::mem::take(&mut batch)))?;
                images.clear();
            }
        }
        take(Loaded::Numbers(batch))
    }

    fn heads(&self, always: bool) -> Result<Option<Vec<Head>>, StoreError> {
        let mut follower = self.follower.lock();
        let data_version = follower.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if data_version == follower.data_version && !always {
            return Ok(None);
        }
        let mut heads = Vec::new();
        {
            let mut statement = follower.connection.prepare_cached("SELECT partner, version, head FROM partner")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                heads.push(read_head(row)?);
            }
        }
        follower.data_version = data_version;
        Ok(Some(heads))
    }

    fn log(&self, key: PartnerKey, after: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        let follower = self.follower.lock();
        let connection = &follower.connection;
        let mut changes = connection.prepare_cached(
            "SELECT version, at, actor, request_id, verb, entities, previous FROM change \
             WHERE partner = ?1 AND version > ?2 ORDER BY version LIMIT ?3",
        )?;
        let mut parts = connection.prepare_cached(
            "SELECT subject, body FROM change_part WHERE partner = ?1 AND version = ?2 ORDER BY part",
        )?;
        let mut log = Vec::new();
        let mut rows = changes.query(params![key.0, after as i64, limit as i64])?;
        while let Some(row) = rows.next()? {
            let version: i64 = row.get(0)?;
            let actor: String = row.get(2)?;
            let verb: String = row.get(4)?;
            let entities: String = row.get(5)?;
            let previous = row.get(6)?;
            let entry = Entry {
                at: time_of(row.get(1)?)?,
                actor: Actor::parse(&actor).ok_or_else(|| corrupt(format!("actor {actor:?}")))?,
                request_id: row.get(3)?,
                verb: Verb::parse(&verb).ok_or_else(|| corrupt(format!("verb {verb:?}")))?,
            };
            let mut chain = Chain::new();
            let mut numbers = Vec::new();
            let mut bodies = parts.query(params![key.0, version])?;
            while let Some(part) = bodies.next()? {
                let body = text(part, 1)?;
                chain.part(part.get(0)?, body);
                log::decode(body, &mut numbers)?;
            }
            // Parts of a large change come in batches, each sorted.
            // A number that was put twice is one change, from the first image
            // to the last; the sort is stable.
            numbers.sort_by_key(|change: &NumberChange| change.number);
            numbers.dedup_by(|later, first| {
                let same = later.number == first.number;
                if same {
                    first.after = later.after.take();
                }
                same
            });
            let digest = chain.finish(key, version as u64, &entry, &entities, &previous);
            let Entry { at, actor, request_id, verb } = entry;
            let entities = log::decode_entities(&entities)?;
            let change =
                Change { partner: key, version: version as u64, at, actor, request_id, verb, entities, numbers };
            log.push(Logged { change, previous, digest });
        }
        Ok(log)
    }

    fn write(&self, target: Target, entry: Entry, mut draft: Draft<'_>) -> Result<Option<u64>, Abort> {
        let mut writer = self.lock_writer()?;
        if writer.members == 0 {
            writer.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        writer.connection.execute_batch("SAVEPOINT draft")?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut transaction = SqliteTransaction::begin(&writer.connection, &target, entry)?;
            draft(&mut transaction)?;
            Ok::<_, Abort>(transaction.finish()?)
        }));
        let keep = matches!(result, Ok(Ok(Some(_))));
        let group = writer.group;
        let mut ended = Ok(());
        // Even a draft that changed nothing may have been decided by what a
        // neighbour wrote, which is not durable yet.
        let joins = writer.members > 0;
        if writer.connection.is_autocommit() {
            // The engine gave up the whole transaction, as it does when the
            // disk is full; the other members' writes are gone with it.
            let failure = match &result {
                Ok(Err(Abort::Store(StoreError::Full))) => Failure::Full,
                Ok(Err(Abort::Store(StoreError::Busy))) => Failure::Busy,
                _ => {
                    let reason: Arc<str> = "the database gave up a transaction".into();
                    writer.stopped = Some(reason.clone());
                    Failure::Stopped { reason }
                }
            };
            self.end_group(&mut writer, Some(failure));
        } else {
            let end = if keep { "RELEASE draft" } else { "ROLLBACK TO draft; RELEASE draft" };
            ended = writer.connection.execute_batch(end);
            if keep && ended.is_ok() {
                writer.members += 1;
            } else if writer.members == 0 {
                writer.connection.execute_batch("ROLLBACK")?;
            }
        }
        // Whoever is queued joins the group; the last one in line commits for
        // all.
        if self.queued.load(Ordering::SeqCst) == 0 || writer.members >= GROUP_MAX {
            self.commit(&mut writer);
        }
        drop(writer);
        let version = result.unwrap_or_else(|panic| resume_unwind(panic))?;
        ended?;
        if version.is_some() || joins {
            self.wait(group)?;
        }
        Ok(version)
    }

    fn key_uses(&self) -> Result<Vec<(PartnerKey, KeyId, Time)>, StoreError> {
        let connection = self.reader()?;
        let mut statement =
            connection.prepare("SELECT partner, id, last_used_at FROM api_key WHERE last_used_at IS NOT NULL")?;
        let mut rows = statement.query([])?;
        let mut uses = Vec::new();
        while let Some(row) = rows.next()? {
            uses.push((PartnerKey(row.get(0)?), KeyId::stored(text(row, 1)?), time_of(row.get(2)?)?));
        }
        Ok(uses)
    }

    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Result<(), StoreError> {
        // Not worth waiting for: they are offered again. Whoever calls has a log
        // to follow, or is asked to end.
        let mut writer = self.writer.try_lock_for(BUSY_USES).ok_or(StoreError::Busy)?;
        if let Some(reason) = &writer.stopped {
            return Err(StoreError::Stopped { reason: reason.clone() });
        }
        self.commit(&mut writer);
        writer.connection.busy_timeout(BUSY_USES)?;
        let begun = writer.connection.execute_batch("BEGIN IMMEDIATE");
        writer.connection.busy_timeout(BUSY)?;
        begun?;
        let written = put_key_uses(&writer.connection, uses);
        if written.is_err() && !writer.connection.is_autocommit() {
            writer.connection.execute_batch("ROLLBACK")?;
        }
        let written = written.map_err(StoreError::from);
        if let Err(StoreError::Sqlite(cause)) = &written {
            // Perhaps a failed sync; see the invariant above.
            writer.stopped = Some(cause.to_string().into());
        }
        written
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::Backup { path: to.to_owned(), source };
        // Written beside its name and renamed, so that a file with this name
        // is always a whole backup.
        let directory = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let scratch = tempfile::Builder::new().prefix(".rollcall-backup-").tempdir_in(directory).map_err(failed)?;
        let part = scratch.path().join("backup.db");
        create_private(&part).map_err(failed)?;
        let name = part.to_str().ok_or_else(|| corrupt(format!("the path {} is not UTF-8", part.display())))?;
        self.reader()?.execute("VACUUM INTO ?1", [name])?;
        File::open(&part).and_then(|file| file.sync_all()).map_err(failed)?;
        std::fs::hard_link(&part, to).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
        let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut wrong: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
        // What a replay from the first entry to the head would not meet.
        for (what, sql) in [
            (
                "log entries are beyond their partner's version",
                "SELECT count(*) FROM change LEFT JOIN partner USING (partner) WHERE change.version > coalesce(partner.version, 0)",
            ),
            (
                "parts of the log belong to no entry",
                "SELECT count(*) FROM change_part LEFT JOIN change USING (partner, version) WHERE change.version IS NULL",
            ),
            (
                "numbers belong to no partner",
                "SELECT count(*) FROM number LEFT JOIN partner USING (partner) WHERE partner.auth_id IS NULL",
            ),
        ] {
            let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        Ok(wrong)
    }

    fn serve_lock(&self) -> Result<Option<Box<dyn Send + Sync>>, StoreError> {
        let mut path = self.path.clone().into_os_string();
        path.push("-serve");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(StoreError::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::Io(error)),
        }
    }
}

/// One write, inside its savepoint.
struct SqliteTransaction<'c> {
    connection: &'c Connection,
    entry: Entry,
    /// The partner's name while it is being created.
    creating: Option<PartnerId>,
    head: Head,
    chain: Chain,
    parts: i64,
    entities: Vec<EntityChange>,
}

impl<'c> SqliteTransaction<'c> {
    fn begin(connection: &'c Connection, target: &Target, entry: Entry) -> Result<SqliteTransaction<'c>, Abort> {
        let (creating, head) = match target {
            Target::Partner(key) => {
                let head = connection
                    .prepare_cached("SELECT partner, version, head FROM partner WHERE partner = ?1")?
                    .query_row([key.0], read_head)
                    .optional()?;
                (None, head.ok_or_else(|| corrupt(format!("partner {key} is gone")))?)
            }
            Target::New(auth_id) => {
                let taken = connection
                    .prepare_cached("SELECT 1 FROM partner WHERE auth_id = ?1")?
                    .exists([auth_id.as_str()])?;
                if taken {
                    return Err(Abort::Refused);
                }
                (Some(auth_id.clone()), Head { key: PartnerKey(0), version: 0, digest: GENESIS })
            }
        };
        let (chain, entities) = (Chain::new(), Vec::new());
        Ok(SqliteTransaction { connection, entry, creating, head, chain, parts: 0, entities })
    }

    fn version(&self) -> u64 {
        self.head.version + 1
    }

    /// Writes the log entry, if anything was put, and moves the partner on.
    fn finish(self) -> Result<Option<u64>, StoreError> {
        if self.parts == 0 && self.entities.is_empty() {
            return Ok(None);
        }
        let version = self.version();
        let (key, entry) = (self.head.key, &self.entry);
        let entities = log::encode_entities(&self.entities);
        let digest = self.chain.finish(key, version, entry, &entities, &self.head.digest);
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
            .prepare_cached("UPDATE partner SET version = ?2, head = ?3 WHERE partner = ?1")?
            .execute(params![key.0, version as i64, digest])?;
        Ok(Some(version))
    }

    /// The holdings of `wanted`, which lie in one group of 10,000. No number
    /// is stored from the first of them up to `free_below`.
    fn group(
        &mut self,
        wanted: &[E164],
        free_below: &mut u64,
        seen: &mut Seen,
        out: &mut Vec<Holding>,
    ) -> Result<(), StoreError> {
        let key = self.head.key;
        let holding = |row: &Row<'_>, seen: &mut Seen| -> Result<Holding, StoreError> {
            Ok(if row.get::<_, i64>(1)? == key.0 {
                Holding::Ours(read_record(row, 2, seen)?)
            } else {
                Holding::Foreign
            })
        };
        if wanted.len() >= SCAN_FROM && wanted[wanted.len() - 1].digits() >= *free_below {
            let mut statement = self.connection.prepare_cached(&format!(
                "SELECT number, partner, {RECORD} FROM number WHERE number BETWEEN ?1 AND ?2 ORDER BY number"
            ))?;
            let (first, last) = (wanted[0].digits() as i64, wanted[wanted.len() - 1].digits() as i64);
            let mut rows = statement.query([first, last])?;
            let mut next = wanted.iter();
            while let Some(row) = rows.next()? {
                let number = number_of(row.get(0)?)?;
                for wanted in next.as_slice() {
                    if *wanted > number {
                        break;
                    }
                    next.next();
                    out.push(if *wanted == number { holding(row, seen)? } else { Holding::Free });
                }
            }
            out.extend(next.map(|_| Holding::Free));
            return Ok(());
        }
        // The row asked for, or else the next one: then all before it are free.
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT number, partner, {RECORD} FROM number WHERE number >= ?1 ORDER BY number LIMIT 1"
        ))?;
        for number in wanted {
            if number.digits() < *free_below {
                out.push(Holding::Free);
                continue;
            }
            let mut rows = statement.query([number.digits() as i64])?;
            let row = rows.next()?;
            let next = row.map(|row| number_of(row.get(0)?)).transpose()?;
            *free_below = next.map_or(u64::MAX, E164::digits);
            out.push(match row {
                Some(row) if next == Some(*number) => holding(row, seen)?,
                Some(_) | None => Holding::Free,
            });
        }
        Ok(())
    }
}

impl Transaction for SqliteTransaction<'_> {
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
        let sql = format!("SELECT {ROUTE} FROM application WHERE partner = ?1 AND id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.head.key.0, id.as_str()])?;
        rows.next()?.map(|row| read_application(row, 0)).transpose()
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        let sql = format!("SELECT {ROUTE} FROM trunk WHERE partner = ?1 AND id = ?2");
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

    fn numbers(&mut self, wanted: &[E164]) -> Result<Vec<Holding>, StoreError> {
        let mut free_below = 0;
        let mut seen = Seen::default();
        let mut out = Vec::with_capacity(wanted.len());
        for group in wanted.chunk_by(|a, b| a.digits() / 10_000 == b.digits() / 10_000) {
            self.group(group, &mut free_below, &mut seen, &mut out)?;
        }
        Ok(out)
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
                         ON CONFLICT (partner, auth_id) DO UPDATE SET name = ?3, archived_at = ?5",
                    )?
                    .execute(params![
                        key,
                        after.auth_id.as_str(),
                        &*after.name,
                        after.created_at.seconds(),
                        seconds(after.archived_at)
                    ])?;
            }
            EntityChange::Application(Edit {
                after: Application { id, name, account, created_at, archived_at },
                ..
            }) => {
                self.put_route("application", id.as_str(), name, account, *created_at, *archived_at)?;
            }
            EntityChange::Trunk(Edit { after: Trunk { id, name, account, created_at, archived_at }, .. }) => {
                self.put_route("trunk", id.as_str(), name, account, *created_at, *archived_at)?;
            }
            EntityChange::Key(Edit { after, .. }) => {
                let scopes: Vec<&str> = after.scopes.iter().map(|scope| scope.as_str()).collect();
                let networks: Vec<String> = after.networks.iter().map(ToString::to_string).collect();
                self.connection
                    .prepare_cached(
                        "INSERT INTO api_key (partner, id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (partner, id) \
                         DO UPDATE SET name = ?3, scopes = ?5, networks = ?6, expires_at = ?8, revoked_at = ?9",
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
                    ])?;
            }
        }
        self.entities.push(change);
        Ok(())
    }

    fn put_numbers(&mut self, changes: &[NumberChange]) -> Result<(), StoreError> {
        let (key, version) = (self.head.key.0, self.version() as i64);
        {
            let mut insert = self.connection.prepare_cached(&format!(
                "INSERT INTO number (number, partner, version, {RECORD}) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
            ))?;
            let mut update = self.connection.prepare_cached(
                "UPDATE number SET version = ?3, state = ?4, account = ?5, application = ?6, trunk = ?7, number_type = ?8, \
                 country = ?9, region = ?10, cost = ?11, currency = ?12, assigned_at = ?13, expires_at = ?14, since = ?15, \
                 until = ?16, tags = ?17 WHERE number = ?1 AND partner = ?2",
            )?;
            let mut delete = self.connection.prepare_cached("DELETE FROM number WHERE number = ?1 AND partner = ?2")?;
            for change in changes {
                let number = change.number.digits() as i64;
                let rows = match (&change.before, &change.after) {
                    (before, Some(record)) => {
                        let tags = (!record.tags.is_empty())
                            .then(|| serde_json::to_string(&record.tags).expect("tags serialise"));
                        let statement = if before.is_none() { &mut insert } else { &mut update };
                        statement.execute(params![
                            number,
                            key,
                            version,
                            record.state.as_str(),
                            record.account.as_ref().map(AccountId::as_str),
                            record.application.as_ref().map(ApplicationId::as_str),
                            record.trunk.as_ref().map(TrunkId::as_str),
                            record.number_type.as_str(),
                            record.country.as_ref().map(Country::code),
                            record.region.as_deref(),
                            record.cost.map(|cost| cost.minor),
                            record.cost.as_ref().map(|cost| cost.currency.code()),
                            seconds(record.assigned_at),
                            seconds(record.expires_at),
                            record.since.seconds(),
                            seconds(record.until),
                            tags,
                        ])?
                    }
                    (Some(_), None) => delete.execute([number, key])?,
                    (None, None) => 1,
                };
                if rows != 1 {
                    return Err(corrupt(format!("number {} changed under a write lock", change.number)));
                }
            }
        }
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
}

impl SqliteTransaction<'_> {
    fn put_route(
        &self,
        table: &str,
        id: &str,
        name: &str,
        account: &Option<AccountId>,
        created_at: Time,
        archived_at: Option<Time>,
    ) -> Result<(), StoreError> {
        let account = account.as_ref().map(AccountId::as_str);
        self.connection
            .prepare_cached(&format!(
                "INSERT INTO {table} (partner, id, name, account, created_at, archived_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (partner, id) DO UPDATE SET name = ?3, account = ?4, archived_at = ?6"
            ))?
            .execute(params![self.head.key.0, id, name, account, created_at.seconds(), seconds(archived_at)])?;
        Ok(())
    }
}

// The columns of each kind of row, in the order in which `read_…` takes them.
const PARTNER: &str = "auth_id, name, created_at, suspended_at";
const ACCOUNT: &str = "auth_id, name, created_at, archived_at";
const ROUTE: &str = "id, name, account, created_at, archived_at";
const KEY: &str = "id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at";
const RECORD: &str = "state, account, application, trunk, number_type, country, region, cost, currency, assigned_at, \
                      expires_at, since, until, tags";

/// From the columns `partner, version, head`.
fn read_head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { key: PartnerKey(row.get(0)?), version: row.get::<_, i64>(1)? as u64, digest: row.get(2)? })
}

fn read_partner(row: &Row<'_>, at: usize) -> Result<Partner, StoreError> {
    Ok(Partner {
        auth_id: PartnerId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        created_at: time_of(row.get(at + 2)?)?,
        suspended_at: time_if(row.get(at + 3)?)?,
    })
}

fn read_account(row: &Row<'_>, at: usize) -> Result<Account, StoreError> {
    Ok(Account {
        auth_id: AccountId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        created_at: time_of(row.get(at + 2)?)?,
        archived_at: time_if(row.get(at + 3)?)?,
    })
}

fn read_application(row: &Row<'_>, at: usize) -> Result<Application, StoreError> {
    Ok(Application {
        id: ApplicationId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        account: text_if(row, at + 2)?.map(AccountId::stored),
        created_at: time_of(row.get(at + 3)?)?,
        archived_at: time_if(row.get(at + 4)?)?,
    })
}

fn read_trunk(row: &Row<'_>, at: usize) -> Result<Trunk, StoreError> {
    Ok(Trunk {
        id: TrunkId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        account: text_if(row, at + 2)?.map(AccountId::stored),
        created_at: time_of(row.get(at + 3)?)?,
        archived_at: time_if(row.get(at + 4)?)?,
    })
}

fn read_key(row: &Row<'_>, at: usize) -> Result<Key, StoreError> {
    fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, StoreError> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| one(part).ok_or_else(|| corrupt(format!("{part:?} in a key")))).collect()
    }
    Ok(Key {
        id: KeyId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        token_sha256: row.get(at + 2)?,
        scopes: list(text(row, at + 3)?, Scope::parse)?,
        networks: list(text(row, at + 4)?, |network| network.parse().ok())?,
        created_at: time_of(row.get(at + 5)?)?,
        expires_at: time_if(row.get(at + 6)?)?,
        revoked_at: time_if(row.get(at + 7)?)?,
    })
}

/// The last value of each repeating column. Neighbouring numbers mostly share
/// them, and sharing one allocation is cheaper than making another.
#[derive(Default)]
struct Seen {
    account: Option<AccountId>,
    application: Option<ApplicationId>,
    trunk: Option<TrunkId>,
    region: Option<Arc<str>>,
    currency: Option<Currency>,
}

impl Seen {
    /// `slot` if it has this text, else what `make` makes of it, kept there.
    fn share<T: Clone>(
        slot: &mut Option<T>,
        text: Option<&str>,
        get: fn(&T) -> &str,
        make: fn(&str) -> T,
    ) -> Option<T> {
        let text = text?;
        match slot {
            Some(value) if get(value) == text => {}
            _ => *slot = Some(make(text)),
        }
        slot.clone()
    }
}

/// Which of the images of a batch a row has, told by the bytes of its columns:
/// they are compared before anything is made of them.
#[derive(Default)]
struct Images {
    seen: Seen,
    places: HashMap<Vec<u8>, u32>,
    /// The row before, which is mostly alike; no bytes if there is none.
    last: (Vec<u8>, u32),
    bytes: Vec<u8>,
}

impl Images {
    /// From the columns `number, partner, version` and those of [`RECORD`].
    fn place(&mut self, row: &Row<'_>, batch: &mut Batch) -> Result<u32, StoreError> {
        self.bytes.clear();
        // How much of the row before it has been equal to; none once it differs.
        let mut same = Some(0);
        // All but the dates, of which almost every row has its own.
        for at in std::iter::once(1).chain(3..12).chain(std::iter::once(16)) {
            // Whatever the file holds, two rows with these bytes are the same.
            let (kind, cell) = match row.get_ref(at)? {
                ValueRef::Null => (0, &[][..]),
                ValueRef::Integer(value) => (1, &value.to_le_bytes()[..]),
                ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()[..]),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(bytes) => (4, bytes),
            };
            let [a, b, c, d] = (cell.len() as u32).to_le_bytes();
            let head = [kind, a, b, c, d];
            if let Some(from) = same {
                let last = &self.last.0;
                let middle = from + head.len();
                let end = middle + cell.len();
                if last.get(from..middle) == Some(&head) && last.get(middle..end) == Some(cell) {
                    same = Some(end);
                    continue;
                }
                self.bytes.extend_from_slice(&last[..from]);
                same = None;
            }
            self.bytes.extend_from_slice(&head);
            self.bytes.extend_from_slice(cell);
        }
        if same.is_some() {
            return Ok(self.last.1);
        }
        let place = match self.places.get(&self.bytes) {
            Some(place) => *place,
            None => {
                let place = batch.images.len() as u32;
                batch.images.push((PartnerKey(row.get(1)?), read_record(row, 3, &mut self.seen)?));
                self.places.insert(self.bytes.clone(), place);
                place
            }
        };
        std::mem::swap(&mut self.last.0, &mut self.bytes);
        self.last.1 = place;
        Ok(place)
    }

    /// The next batch has images of its own.
    fn clear(&mut self) {
        self.places.clear();
        self.last.0.clear();
    }
}

/// The dates of a record whose columns begin at `at`.
fn read_dates(row: &Row<'_>, at: usize) -> Result<Dates, StoreError> {
    Ok(Dates {
        assigned_at: time_if(row.get(at + 9)?)?,
        expires_at: time_if(row.get(at + 10)?)?,
        since: time_of(row.get(at + 11)?)?,
        until: time_if(row.get(at + 12)?)?,
    })
}

fn read_record(row: &Row<'_>, at: usize, seen: &mut Seen) -> Result<Record, StoreError> {
    let state = text(row, at)?;
    let number_type = text(row, at + 4)?;
    let cost = match (row.get::<_, Option<i64>>(at + 7)?, text_if(row, at + 8)?) {
        (Some(minor), Some(code)) => {
            let currency = match seen.currency {
                Some(currency) if currency.code() == code => currency,
                _ => code.parse().map_err(|_| corrupt(format!("currency {code:?}")))?,
            };
            seen.currency = Some(currency);
            Some(Money { minor, currency })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(corrupt("half an amount of money".to_owned())),
    };
    let country = match text_if(row, at + 5)? {
        Some(code) => Some(code.parse().map_err(|_| corrupt(format!("country {code:?}")))?),
        None => None,
    };
    let tags = match text_if(row, at + 13)? {
        Some(tags) => serde_json::from_str(tags).map_err(|_| corrupt(format!("tags {tags:?}")))?,
        None => Tags::default(),
    };
    let Dates { assigned_at, expires_at, since, until } = read_dates(row, at)?;
    Ok(Record {
        state: State::parse(state).ok_or_else(|| corrupt(format!("state {state:?}")))?,
        account: Seen::share(&mut seen.account, text_if(row, at + 1)?, AccountId::as_str, AccountId::stored),
        application: Seen::share(
            &mut seen.application,
            text_if(row, at + 2)?,
            ApplicationId::as_str,
            ApplicationId::stored,
        ),
        trunk: Seen::share(&mut seen.trunk, text_if(row, at + 3)?, TrunkId::as_str, TrunkId::stored),
        number_type: NumberType::parse(number_type).ok_or_else(|| corrupt(format!("number type {number_type:?}")))?,
        country,
        region: Seen::share(&mut seen.region, text_if(row, at + 6)?, |region| region, |text| text.into()),
        cost,
        assigned_at,
        expires_at,
        since,
        until,
        tags,
    })
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// A text column, borrowed from the row.
fn text<'r>(row: &'r Row<'_>, at: usize) -> Result<&'r str, StoreError> {
    text_if(row, at)?.ok_or_else(|| corrupt(format!("a null in column {at}")))
}

fn text_if<'r>(row: &'r Row<'_>, at: usize) -> Result<Option<&'r str>, StoreError> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        value => value.as_str().map(Some).map_err(|_| corrupt(format!("column {at} is not text"))),
    }
}

fn number_of(digits: i64) -> Result<E164, StoreError> {
    let number = u64::try_from(digits).ok().and_then(E164::new);
    number.ok_or_else(|| corrupt(format!("number {digits}")))
}

fn time_of(seconds: i64) -> Result<Time, StoreError> {
    Time::new(seconds).ok_or_else(|| corrupt(format!("time {seconds}")))
}

fn time_if(seconds: Option<i64>) -> Result<Option<Time>, StoreError> {
    seconds.map(time_of).transpose()
}

fn seconds(time: Option<Time>) -> Option<i64> {
    time.map(Time::seconds)
}
