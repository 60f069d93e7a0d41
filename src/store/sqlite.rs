//! The embedded store: one SQLite file, any number of processes.
//!
//! Write-ahead log and `synchronous=FULL`, so a commit that returned survives
//! a power cut. Concurrent writes of one process are committed in groups: each
//! runs in its own savepoint, and one sync serves all. Commands may write the
//! file beside a server, which sees it by `PRAGMA data_version`.
//!
//! Invariant: after a failed sync this process acknowledges nothing more
//! (`StoreError::Stopped`), because the content of the file is then unknown: the
//! kernel does not retry those writes, and reports success. The next process has
//! the write-ahead log, and starts by writing all of it into the file again.

mod cells;
mod file;
mod restore;
mod runs;
mod scratch;
mod sql;

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, Error, ErrorCode, MAIN_DB, OpenFlags, Row, ffi};

use self::cells::RowImages;
use self::file::{FileId, ServeLock, beside, served_by_another_name};
pub use self::restore::{Restored, brought_up, restore};
use self::runs::RunWriter;
use self::sql::SqliteSql;
use super::entities::{ENTITIES, EntityTable};
use super::group::{CommitFailure, Engine, GroupCommit, Written};
use super::health::Health;
use super::history::{LOG_INTEGRITY, LargeChangeStore, LargeChanges};
use super::own_entries::OwnEntries;
use super::people::tables::prune as prune_step;
use super::people::{PeopleDraft, PeopleLook, PeopleStore, Prune};
use super::rows::*;
use super::runs::{OVERLAPS, bounds};
use super::sql::{Sql, SqlStore, bind};
use super::transaction::{OpenPartner, SqlTransaction};
use super::waiting::may_wait;
use super::{
    Abort, Draft, FollowNow, Load, Loaded, LogEntry, LogHead, NumberBatch, Open, SideDraft, Store, StoreError,
    Transaction, WholeEntry, WriteTarget, numbers_named,
};
use crate::domain::{PartnerKey, RowDigest, Time};

/// "Roll" in the file's header: this is a Rollcall database.
const APPLICATION_ID: i64 = 0x526f_6c6c;
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_writes.sql"),
    include_str!("../../migrations/sqlite/0003_dialect.sql"),
    include_str!("../../migrations/sqlite/0004_checks.sql"),
    include_str!("../../migrations/sqlite/0005_settings.sql"),
    include_str!("../../migrations/sqlite/0006_people.sql"),
    include_str!("../../migrations/sqlite/0007_account_numbers.sql"),
    include_str!("../../migrations/sqlite/0009_destinations.sql"),
    include_str!("../../migrations/sqlite/0010_row_digest.sql"),
    include_str!("../../migrations/sqlite/0011_runs.sql"),
    include_str!("../../migrations/sqlite/0012_net_change.sql"),
    include_str!("../../migrations/sqlite/0013_document.sql"),
];
/// The schema at which numbers are rows of `number_run`.
const RUNS: usize = 10;
/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(30);
/// How long housekeeping waits for a writer. Nothing depends on it: what was
/// not done is done the next time. Anything else waits for [`BUSY`], since an
/// import in another process holds the database for seconds.
const BUSY_HOUSEKEEPING: Duration = Duration::from_millis(500);
/// A write that leaves nothing behind but a lease that is over.
const PROBE: &str = "INSERT INTO lease (name, holder, until) VALUES ('probe', '', ?1) ON CONFLICT (name) \
                     DO UPDATE SET until = ?1";
/// How many pages the write-ahead log has before it is moved into the file: 16 MB in new
/// files, so that a page which changes often is moved seldom.
const CHECKPOINT_PAGES: c_int = 8_000;
/// How many connections are kept for reads that wait for nothing.
const READERS_MAX: usize = 4;
/// How many rows of numbers are loaded at a time: enough that their images are few,
/// few enough that they stay in the processor's cache until they are taken.
const BATCH_ROWS: usize = 4_096;

pub struct SqliteStore {
    path: PathBuf,
    access: FileAccess,
    file: FileId,
    writers: GroupCommit<SqliteWriter>,
    own: Arc<OwnEntries>,
    follower: Mutex<SqliteFollower>,
    /// Connections that are not reading just now.
    readers: Mutex<Vec<Connection>>,
    large_changes: LargeChanges,
    health: Health,
}

/// How connections to the file are opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileAccess {
    Write,
    /// Beside processes that may write.
    Read,
    /// The file has no write-ahead log, so no process has it open: the engine
    /// reads it without locks and makes no files beside it.
    ReadAlone,
}

struct SqliteWriter {
    connection: Connection,
    path: PathBuf,
    file: FileId,
    /// How many pages the write-ahead log had at the last commit.
    log_pages: Arc<AtomicI32>,
    /// Why no more writes are taken, once that is so.
    stopped: Option<Arc<str>>,
    /// The partner that the last write of the open transaction was to, as it left it.
    partner: Option<(PartnerKey, OpenPartner)>,
}

struct SqliteFollower {
    connection: Connection,
    data_version: i64,
}

/// What a result code of the engine means to its callers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ErrorClass {
    Busy,
    Full,
    ReadOnly,
    Unreachable,
    Other,
}

/// <https://www.sqlite.org/rescode.html>
fn trouble(code: ErrorCode, extended: c_int) -> ErrorClass {
    match code {
        // The index of the write-ahead log cannot grow, which takes a full disk.
        ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => ErrorClass::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => ErrorClass::Busy,
        ErrorCode::DiskFull => ErrorClass::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => ErrorClass::ReadOnly,
        // Nothing was read or written: descriptors or memory are used up, or a
        // file is out of reach.
        ErrorCode::CannotOpen | ErrorCode::OutOfMemory => ErrorClass::Unreachable,
        _ => ErrorClass::Other,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        let reason = || error.to_string().into();
        match error.sqlite_error_code() {
            Some(code) => match trouble(code, error.sqlite_error().map_or(0, |error| error.extended_code)) {
                ErrorClass::Busy => StoreError::Busy,
                ErrorClass::Full => StoreError::Full,
                ErrorClass::ReadOnly => StoreError::ReadOnly { reason: reason() },
                ErrorClass::Unreachable => StoreError::Unreachable { reason: reason() },
                ErrorClass::Other => StoreError::Sqlite(error),
            },
            None => match error {
                // The engine is well; what it has is not what we put there.
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..) => corrupt(error.to_string()),
                _ => StoreError::Sqlite(error),
            },
        }
    }
}

impl From<rusqlite::Error> for Abort {
    fn from(error: rusqlite::Error) -> Abort {
        Abort::Store(error.into())
    }
}

impl SqliteWriter {
    fn new(path: &Path, access: FileAccess, mut connection: Connection) -> Result<SqliteWriter, StoreError> {
        // In the place of the engine's own hook, which checkpoints within a
        // commit and says nothing if that fails.
        let log_pages = Arc::new(AtomicI32::new(0));
        let pages = log_pages.clone();
        connection.wal_hook(Some(move |_: &mut Wal, log_pages: c_int| {
            pages.store(log_pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let file = FileId::of(path).map_err(StoreError::Io)?;
        let stopped = (access != FileAccess::Write).then(|| "it was opened to be read".into());
        Ok(SqliteWriter { connection, path: path.to_owned(), file, log_pages, stopped, partner: None })
    }

    /// Runs a statement whose text is always the same.
    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Takes no more writes once the file has left its path: the next process
    /// that opens the path would not find them.
    fn in_place(&mut self) -> Result<(), CommitFailure> {
        let Some(why) = self.file.moved_from(&self.path) else { return Ok(()) };
        tracing::error!("{why}; no more writes are taken");
        let reason: Arc<str> = why.into();
        self.stopped = Some(reason.clone());
        Err(CommitFailure::Stopped { reason })
    }

    /// Takes no more writes, after what may have been a failed sync.
    fn stop(&mut self, what: &str, error: &StoreError) -> Arc<str> {
        tracing::error!(error = error as &dyn std::error::Error, "{what} failed; no more writes are taken");
        let reason: Arc<str> = match error {
            StoreError::Sqlite(cause) => cause.to_string().into(),
            error => error.to_string().into(),
        };
        self.stopped = Some(reason.clone());
        reason
    }
}

impl Engine for SqliteWriter {
    fn refuses(&self) -> Option<StoreError> {
        let stopped = self.stopped.clone();
        let reason = stopped.or_else(|| self.file.moved_from(&self.path).map(Arc::from))?;
        Some(StoreError::Stopped { reason })
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.partner = None;
        self.run("BEGIN IMMEDIATE")
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK")
    }

    fn savepoint(&mut self) -> Result<(), StoreError> {
        self.run("SAVEPOINT draft")
    }

    fn keep(&mut self) -> Result<(), StoreError> {
        self.run("RELEASE draft")
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        self.partner = None;
        self.run("ROLLBACK TO draft")?;
        self.run("RELEASE draft")
    }

    /// As the engine does when the disk is full.
    fn lost(&mut self, draft: Option<&Abort>) -> Option<CommitFailure> {
        if !self.connection.is_autocommit() {
            return None;
        }
        Some(match draft {
            Some(Abort::Store(StoreError::Full)) => CommitFailure::Full,
            Some(Abort::Store(StoreError::Busy)) => CommitFailure::Busy,
            Some(Abort::Store(StoreError::ReadOnly { reason })) => CommitFailure::ReadOnly { reason: reason.clone() },
            _ => {
                let reason: Arc<str> = "the database gave up a transaction".into();
                self.stopped = Some(reason.clone());
                CommitFailure::Stopped { reason }
            }
        })
    }

    fn commit(&mut self) -> Result<(), CommitFailure> {
        if let Err(failure) = self.in_place() {
            if let Err(error) = self.run("ROLLBACK") {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot roll back");
            }
            return Err(failure);
        }
        let Err(error) = self.run("COMMIT") else { return Ok(()) };
        // Whatever is left of the transaction must not leak into the next.
        let rolled_back = self.connection.is_autocommit() || self.run("ROLLBACK").is_ok();
        Err(match error {
            StoreError::Full if rolled_back => CommitFailure::Full,
            StoreError::Busy if rolled_back => CommitFailure::Busy,
            StoreError::ReadOnly { reason } if rolled_back => CommitFailure::ReadOnly { reason },
            error => CommitFailure::Stopped { reason: self.stop("a commit", &error) },
        })
    }

    /// Moves the write-ahead log into the file once it has grown.
    fn rest(&mut self) {
        if self.stopped.is_some() || self.log_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return;
        }
        if let Err(error) = checkpoint(&self.connection, CheckpointMode::PASSIVE) {
            self.stop("a checkpoint", &error);
        }
    }
}

/// Moves the write-ahead log into the file, or what of it may be. It is not
/// waited for, nor for room: the log keeps what it has.
fn checkpoint(connection: &Connection, mode: CheckpointMode) -> Result<(), StoreError> {
    match connection.wal_checkpoint_v2(Some(MAIN_DB), mode).map_err(StoreError::from) {
        Ok(_) | Err(StoreError::Busy | StoreError::Full) => Ok(()),
        Err(error) => Err(error),
    }
}

impl SqliteStore {
    pub fn open(path: &Path, open: Open) -> Result<SqliteStore, StoreError> {
        let access = admit(path, open)?;
        let named = |error| named(path, error);
        let writer = prepare(path, access, open)
            .and_then(|connection| SqliteWriter::new(path, access, connection))
            .map_err(named)?;
        let follower = SqliteFollower {
            connection: connect(path, access).map_err(|error| named(error.into()))?,
            data_version: -1,
        };
        let own: Arc<OwnEntries> = Arc::default();
        Ok(SqliteStore {
            path: path.to_owned(),
            access,
            file: writer.file,
            writers: GroupCommit::new(writer, own.clone()),
            own,
            follower: Mutex::new(follower),
            readers: Mutex::default(),
            large_changes: LargeChanges::default(),
            health: Health::default(),
        })
    }

    /// Runs and commits a write outside the log, in a transaction of its own,
    /// after waiting for other writers for at most `patience`.
    fn aside<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(SqliteSql<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        may_wait();
        let mut open = self.writers.alone(patience)?;
        let writer = &mut open.engine;
        writer.connection.busy_timeout(patience)?;
        let begun = writer.connection.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from);
        writer.connection.busy_timeout(BUSY)?;
        self.health.wrote_unless(begun.as_ref().err());
        begun?;
        let worked = work(SqliteSql { connection: &writer.connection, health: &self.health });
        let committed = worked.and_then(|value| Ok(writer.connection.execute_batch("COMMIT").map(|()| value)?));
        if committed.is_err() && !writer.connection.is_autocommit() {
            writer.connection.execute_batch("ROLLBACK")?;
        }
        self.health.wrote_unless(committed.as_ref().err());
        match &committed {
            Ok(_) => writer.rest(),
            Err(error @ StoreError::Sqlite(_)) => {
                writer.stop("a commit", error);
            }
            Err(_) => {}
        }
        committed
    }

    /// Runs one write, which logs nothing without an entry.
    fn put(
        &self,
        target: &WriteTarget,
        at: Time,
        entry: Option<LogEntry>,
        draft: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), Abort>,
    ) -> Result<Option<u64>, Abort> {
        may_wait();
        self.health.undamaged(target)?;
        let result = self.writers.member(|writer| {
            let sql = SqliteSql { connection: &writer.connection, health: &self.health };
            let same = |key: &PartnerKey| matches!(target, WriteTarget::Partner(wanted) if wanted == key);
            let known = writer.partner.take().filter(|(key, _)| same(key));
            let mut partner = known.map_or_else(|| open_partner(&sql, target), |(_, partner)| Ok(partner))?;
            let mut transaction =
                SqlTransaction::begin(sql, RunWriter::default(), target, &mut partner, (at, entry.clone()))?;
            draft(&mut transaction)?;
            let (written, moved) = transaction.finish()?;
            let partner = moved.map_or(partner, OpenPartner::from);
            writer.partner = Some((partner.head.key, partner));
            Ok(written)
        });
        self.health.ended(&result, matches!(result, Ok(Some(_))));
        result
    }

    /// A connection that reads tables once, from end to end: what it keeps in
    /// its cache it never meets again, and the memory stays with the process.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        if let Some(why) = self.file.moved_from(&self.path) {
            return Err(StoreError::Stopped { reason: why.into() });
        }
        let connection = connect(&self.path, self.access)?;
        connection.pragma_update(None, "cache_size", -2_048)?;
        Ok(connection)
    }
}

impl LargeChangeStore for SqliteStore {
    fn large_changes(&self) -> &LargeChanges {
        &self.large_changes
    }
}

impl SqlStore for SqliteStore {
    type Sql<'c> = SqliteSql<'c>;

    /// On a connection that is kept for the next read. Never the follower's,
    /// because writers wait for what it reads.
    fn read<T>(&self, work: impl FnOnce(SqliteSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        may_wait();
        let kept = self.readers.lock().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => self.reader()?,
        };
        let result = work(SqliteSql { connection: &connection, health: &self.health });
        let mut readers = self.readers.lock();
        if result.is_ok() && readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }

    fn alone<T>(&self, work: impl FnOnce(SqliteSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.aside(BUSY, work)
    }

    fn housekeep<T>(&self, work: impl FnOnce(SqliteSql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.aside(BUSY_HOUSEKEEPING, work)
    }
}

impl Drop for SqliteStore {
    /// Once stopped, it leaves the write-ahead log to the next process: the
    /// engine would move the rest of it into the file and delete it, and what
    /// it moved before may be what was not synced. Where another file has the
    /// path, the write-ahead log of that name is that file's.
    fn drop(&mut self) {
        let writer = self.writers.get_mut();
        if writer.refuses().is_none() {
            return;
        }
        let others = self.readers.get_mut().iter().chain([&self.follower.get_mut().connection]);
        for connection in others.chain([&writer.connection]) {
            if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot leave the write-ahead log as it is");
            }
        }
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

fn unopened(path: &Path, code: c_int, reason: &str) -> StoreError {
    // The system's word is clearer than the engine's.
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => StoreError::Io(error),
        _ => {
            let source = Error::SqliteFailure(ffi::Error::new(code), Some(reason.to_owned()));
            StoreError::Unopened { path: path.to_owned(), source }
        }
    }
}

/// The partner of a write as it is now.
fn open_partner(sql: &SqliteSql<'_>, target: &WriteTarget) -> Result<OpenPartner, StoreError> {
    let WriteTarget::Partner(key) = target else { return Ok(OpenPartner::new()) };
    let query = concat!(
        "SELECT partner, version, head, at, row_digest, ",
        partner_columns!(),
        " FROM partner LEFT JOIN change USING (partner, version) WHERE partner = ?1"
    );
    let found = sql.first(query, bind![*key], |row| {
        let (head, last) = (read_head(row)?, time_if(row.int_if(3)?)?);
        let (row_digest, partner) = (read_row_digest(row, 4, &head), read_partner(row, 5).ok());
        Ok(OpenPartner { head, row_digest, last, partner, known: Default::default() })
    })?;
    found.ok_or_else(|| corrupt(format!("partner {key} is gone")))
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

/// That a write-ahead log with changes was removed, if it can be known. To be
/// asked before the database is opened: the engine then makes a new log.
pub(super) fn lost_log(path: &Path) -> Option<String> {
    let pages = file::lost_pages(path)?;
    Some(format!(
        "the write-ahead log {} was removed while it had {pages} pages that the database lacks; unless another file \
         took the place of the database, the newest changes are lost: if you have the log, stop and put it back, \
         otherwise compare with the newest backup",
        beside(path, "-wal").display()
    ))
}

/// Whether a server of this user could write the database. Nothing is opened for
/// writing, and nothing is made.
pub(super) fn check_writable(path: &Path) -> Result<(), StoreError> {
    admit(path, Open::Existing)?;
    let file = file::resolved(path);
    let folder = scratch::folder_of(&file);
    for place in [file.as_path(), folder] {
        if let Err(error) = nix::unistd::access(place, nix::unistd::AccessFlags::W_OK) {
            return Err(unopened(path, ffi::SQLITE_READONLY, error.desc()));
        }
    }
    Ok(())
}

/// Whether the file may be opened as asked for, and how. Nothing is opened:
/// closing a descriptor would give up the locks of another store of this
/// process.
fn admit(path: &Path, open: Open) -> Result<FileAccess, StoreError> {
    let missing = || StoreError::Missing { path: path.to_owned() };
    let found = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(StoreError::Io(std::io::ErrorKind::IsADirectory.into())),
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && open == Open::Create => {
            create_private(path).map_err(|error| no_folder(path, error))?;
            return Ok(FileAccess::Write);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(StoreError::Io(error)),
    };
    if served_by_another_name(path) {
        return Err(StoreError::OtherName { path: path.to_owned() });
    }
    let logged = beside(path, "-wal").exists();
    if found.len() == 0 && !logged && open != Open::Create {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    match open {
        Open::Read if logged => Ok(FileAccess::Read),
        Open::Read => Ok(FileAccess::ReadAlone),
        Open::Existing | Open::Create => {
            file::owned(path, &found)?;
            match log_is_foreign(path) {
                true => Err(StoreError::ForeignLog { path: path.to_owned(), log: beside(path, "-wal") }),
                false => Ok(FileAccess::Write),
            }
        }
    }
}

/// Whether the write-ahead log beside the file is of another database. The
/// engine asks nothing of the kind and would move it into the file. So the
/// partners as they are with the log are held against those without it: a log
/// that belongs here makes versions higher. Beside a server the file alone may
/// be half written, so one look is not enough.
fn log_is_foreign(path: &Path) -> bool {
    const LOOKS: usize = 3;
    (0..LOOKS).all(|look| {
        if look > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        log_looks_foreign(path)
    })
}

fn log_looks_foreign(path: &Path) -> bool {
    let log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let Some(alone) = log.then(|| partners(path, FileAccess::ReadAlone).ok()).flatten() else { return false };
    match partners(path, FileAccess::Read) {
        Ok(with_log) => alone.iter().any(|(key, (name, version))| {
            with_log.get(key).is_none_or(|(name_now, version_now)| name_now != name || version_now < version)
        }),
        Err(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt),
    }
}

/// The id and the version of each partner, by key.
fn partners(path: &Path, access: FileAccess) -> rusqlite::Result<BTreeMap<i64, (String, i64)>> {
    let connection = connect_bare(path, access)?;
    let mut statement = connection.prepare("SELECT partner, auth_id, version FROM partner")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    rows.collect()
}

/// Names the file, where the engine's error says no more than that it failed.
fn named(path: &Path, error: StoreError) -> StoreError {
    let source = match error {
        StoreError::Sqlite(source) => source,
        StoreError::ReadOnly { reason } => return unopened(path, ffi::SQLITE_READONLY, &reason),
        StoreError::Unreachable { reason } => return unopened(path, ffi::SQLITE_CANTOPEN, &reason),
        error => return error,
    };
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { database: path.display().to_string() },
        Some(ErrorCode::DatabaseCorrupt) if log_is_foreign(path) => {
            StoreError::ForeignLog { path: path.to_owned(), log: beside(path, "-wal") }
        }
        _ => StoreError::Sqlite(source),
    }
}

fn connect(path: &Path, access: FileAccess) -> rusqlite::Result<Connection> {
    let connection = connect_bare(path, access)?;
    match access {
        FileAccess::Write => configure(&connection)?,
        FileAccess::Read | FileAccess::ReadAlone => connection.set_prepared_statement_cache_capacity(64),
    }
    Ok(connection)
}

fn connect_bare(path: &Path, access: FileAccess) -> rusqlite::Result<Connection> {
    let connection = match access {
        FileAccess::Write => {
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        }
        FileAccess::Read => {
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        }
        FileAccess::ReadAlone => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(unlocked(path), flags)?
        }
    };
    connection.busy_timeout(BUSY)?;
    // A plan that may depend on a value is made again for each value: of a write's time
    // an eighth.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// The URI by which the engine reads a file that nothing writes.
fn unlocked(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Of a new file. A verb changes a row in each of seven pages, and what is synced for
    // it is pages.
    connection.pragma_update(None, "page_size", 2_048)?;
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
    // The engine goes through the table of cached pages at each commit that split a page,
    // so few pages are kept; but a large transaction keeps 64 MB of its changes before it
    // writes them into the log.
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "cache_spill", 32_768)
}

/// Opens a database, makes sure that it is ours, and brings it to this
/// program's schema.
fn prepare(path: &Path, access: FileAccess, open: Open) -> Result<Connection, StoreError> {
    // Looked at before anything is set: setting the journal mode writes, and to
    // a file that is not ours nothing is written.
    let mut connection = connect_bare(path, access)?;
    let found = schema(&connection, path)?;
    if found == 0 && open != Open::Create {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    if access != FileAccess::Write {
        return match found < MIGRATIONS.len() as i64 {
            true => Err(StoreError::Older { path: path.to_owned(), found, known: MIGRATIONS.len() as i64 }),
            false => Ok(connection),
        };
    }
    configure(&connection)?;
    // The write lock is taken only now, so that a reader does not wait for a writer.
    if found < MIGRATIONS.len() as i64 {
        // A server of an earlier release works on the tables as they are.
        if found > 0 && ServeLock::taken(path).map_err(StoreError::Io)? {
            let what = "a server of an earlier release is using the database; restart it with this release first";
            return Err(StoreError::Unsupported { what });
        }
        migrate(&mut connection, path)?;
    }
    // Who was here before may have ended after a failed sync, and what is in
    // the log then be nowhere but in the kernel's memory. Moved into the file
    // it is written and synced again, before anything is added to it. Beside
    // other processes this does what it can without waiting, and they have done
    // it.
    connection.busy_timeout(Duration::ZERO)?;
    checkpoint(&connection, CheckpointMode::TRUNCATE)?;
    connection.busy_timeout(BUSY)?;
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
        return Err(StoreError::Foreign { database: path.display().to_string() });
    }
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { database: path.display().to_string(), found, known });
    }
    Ok(found)
}

/// Hands over the rows of numbers, which are sorted. Where rows claim the same
/// numbers, nothing tells which of them is right, so none of them is used. With
/// `only`, rows of other partners are looked at and not handed over.
fn load_numbers(
    mut rows: rusqlite::Rows<'_>,
    only: Option<i64>,
    take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut images = RowImages::default();
    let mut batch = NumberBatch::default();
    let mut claimed = None;
    while let Some(row) = rows.next()? {
        let numbers = bounds(row, 0, 17).ok();
        let overlaps = numbers.is_some_and(|(first, _)| claimed.is_some_and(|claimed| first <= claimed));
        claimed = claimed.max(numbers.map(|(_, last)| last));
        let before = batch.rows.pop_if(|before| overlaps && numbers.is_some_and(|(first, _)| first <= before.last));
        if let Some(before) = before {
            let key = batch.images[before.image as usize].0;
            let numbers = (before.first, before.last);
            let what = format!("{}: {OVERLAPS}", numbers_named(numbers));
            take(Loaded::Poison { key: Some(key), table: "number", numbers: Some(numbers), what })?;
        }
        if only.is_some_and(|only| row.int(1).is_ok_and(|partner| partner != only)) {
            continue;
        }
        if batch.rows.len() == BATCH_ROWS {
            take(Loaded::Numbers(std::mem::take(&mut batch)))?;
            images.clear();
        }
        match images.number(row, &mut batch) {
            Ok(_) if overlaps => take(poisoned_run(corrupt(OVERLAPS.to_owned()), row)?)?,
            Ok(run) => batch.rows.push(run),
            Err(error) => take(poisoned_run(error, row)?)?,
        }
    }
    take(Loaded::Numbers(batch))
}

fn poisoned_run(error: StoreError, row: &Row<'_>) -> Result<Loaded, StoreError> {
    let several = bounds(row, 0, 17).ok().filter(|(first, last)| first < last);
    Ok(match (error, several) {
        (StoreError::Corrupt { what }, Some(numbers)) => {
            let what = format!("{}: {what}", numbers_named(numbers));
            Loaded::Poison { key: row.int(1).ok().map(PartnerKey), table: "number", numbers: Some(numbers), what }
        }
        (error, _) => poison(error, "number", row, 1)?,
    })
}

/// Brings a database to this program's schema, in one transaction.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let lock = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been here since.
    let found: i64 = lock.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { database: path.display().to_string(), found, known });
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        match at + 1 == RUNS {
            true => runs::migrate(&lock, migration)?,
            false => lock.execute_batch(migration)?,
        }
    }
    if found < known {
        lock.pragma_update(None, "application_id", APPLICATION_ID)?;
        lock.pragma_update(None, "user_version", known)?;
    }
    Ok(lock.commit()?)
}

impl PeopleStore for SqliteStore {
    fn people_read(&self, look: PeopleLook<'_>) -> Result<(), StoreError> {
        self.read(|mut sql| {
            // What is read belongs together.
            let _transaction = sql.connection.unchecked_transaction()?;
            look(&mut sql)
        })
    }

    fn people_write(&self, draft: PeopleDraft<'_>) -> Result<(), Abort> {
        let put = |writer: &mut SqliteWriter| {
            draft(&mut SqliteSql { connection: &writer.connection, health: &self.health })?;
            Ok(Written { version: None, anything: true, entry: None })
        };
        let result = self.writers.member(put).map(|_| ());
        self.health.ended(&result, result.is_ok());
        result
    }

    fn people_prune(&self, prune: &Prune) -> Result<(), StoreError> {
        // In steps, so that writers wait for no more than one of them.
        while self.housekeep(|sql| prune_step(&sql, prune))? > 0 {}
        Ok(())
    }
}

impl Store for SqliteStore {
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut connection = self.reader()?;
        let transaction = connection.transaction()?;
        let only = what.only.map(|key| key.0);
        let filter = "WHERE ?1 IS NULL OR partner = ?1";
        for entity in ENTITIES {
            let (EntityTable { table, name, .. }, columns) = (entity, entity.all());
            let mut statement =
                transaction.prepare(&format!("SELECT {columns} FROM {table} {filter} ORDER BY partner, {name}"))?;
            let mut rows = statement.query([only])?;
            while let Some(row) = rows.next()? {
                take(read_entity(table, row).or_else(|error| poison(error, table, row, 0))?)?;
            }
        }
        if !what.numbers {
            return Ok(());
        }
        // Of all partners: rows of others may claim the same numbers.
        let mut statement = transaction
            .prepare(&format!("SELECT first, partner, version, {RECORD}, last FROM number_run ORDER BY first"))?;
        load_numbers(statement.query([])?, only, take)
    }

    fn heads(&self, always: bool) -> Result<Option<Vec<LogHead>>, StoreError> {
        let mut follower = self.follower.lock();
        let data_version =
            follower.connection.prepare_cached("PRAGMA data_version")?.query_one([], |row| row.get(0))?;
        if data_version == follower.data_version && !always {
            return Ok(None);
        }
        let mut heads = Vec::new();
        {
            let mut statement = follower.connection.prepare_cached("SELECT partner, version, head FROM partner")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // What is no digest is that of no entry, so the partner is
                // loaded, and what is wrong with it is said there.
                let digest = digest(row, 2).unwrap_or_default();
                heads.push(LogHead { key: PartnerKey(row.int(0)?), version: row.int(1)? as u64, digest });
            }
        }
        follower.data_version = data_version;
        Ok(Some(heads))
    }

    fn after_shared_commits(&self, follow: FollowNow) {
        self.own.followed_by(follow);
    }

    fn own_entries(&self, key: PartnerKey, after: u64, through: u64) -> Vec<WholeEntry> {
        self.own.take(key, after, through)
    }

    fn writable(&self) -> bool {
        self.writers.willing() && self.health.writable()
    }

    fn keep_row_digests(&self, made: &[(LogHead, RowDigest)], replace: bool) -> Result<u64, StoreError> {
        // The first byte of a digest names the format, so the program recognizes another release's.
        let sql = "UPDATE partner SET row_digest = ?4 WHERE partner = ?1 AND version = ?2 AND head = ?3 \
                   AND (?5 OR row_digest IS NULL OR substr(row_digest, 1, 1) <> x'01')";
        self.alone(|writer| {
            made.iter().try_fold(0, |kept, (head, digest)| {
                let sealed = digest.sealed(head.key, head.version, &head.digest);
                Ok(kept + writer.run(sql, bind![head.key, head.version, &head.digest, &sealed, replace])?)
            })
        })
    }

    fn write(&self, target: WriteTarget, entry: LogEntry, mut draft: Draft<'_>) -> Result<Option<u64>, Abort> {
        self.put(&target, entry.at, Some(entry), &mut |transaction| draft(transaction))
    }

    fn write_beside(&self, key: PartnerKey, at: Time, mut draft: SideDraft<'_>) -> Result<(), Abort> {
        self.put(&WriteTarget::Partner(key), at, None, &mut |transaction| draft(transaction)).map(|_| ())
    }

    fn health(&self) -> &Health {
        &self.health
    }

    fn probe(&self) {
        let result = self.housekeep(|sql| sql.run(PROBE, bind![Time::now()])).map(|_| ()).map_err(Abort::from);
        self.health.ended(&result, true);
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let failed = |source| StoreError::Backup { path: to.to_owned(), source };
        // Written beside its name and renamed, so that a file with this name
        // is always a whole backup.
        let directory = scratch::folder_of(to);
        let scratch = scratch::make(directory).map_err(failed)?;
        let part = scratch.path().join(scratch::PART);
        create_private(&part).map_err(failed)?;
        let name = part.to_str().ok_or_else(|| corrupt(format!("the path {} is not UTF-8", part.display())))?;
        self.reader()?.execute("VACUUM INTO ?1", [name])?;
        File::open(&part).and_then(|file| file.sync_all()).map_err(failed)?;
        std::fs::hard_link(&part, to).map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    fn quick_check(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        let mut statement = connection.prepare("PRAGMA quick_check(5)")?;
        let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.reader()?;
        let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
        let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut wrong: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
        for &(what, sql) in LOG_INTEGRITY.iter().chain(runs::INTEGRITY) {
            let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        Ok(wrong)
    }

    fn shared(&self) -> bool {
        false
    }

    fn serve_lock(&self) -> Result<Option<Box<dyn Send + Sync>>, StoreError> {
        // A command that looks whether the file has a server holds the lock for a
        // moment.
        const TRIES: usize = 5;
        let mut lock = None;
        for tried in 0..TRIES {
            if tried > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            lock = ServeLock::take(&self.path).map_err(StoreError::Io)?;
            if lock.is_some() {
                break;
            }
        }
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send + Sync>))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    /// What the engine says, as its callers are answered.
    #[test]
    fn result_codes_are_typed_errors() {
        let kind = |code| match StoreError::from(Error::SqliteFailure(ffi::Error::new(code), None)) {
            StoreError::Busy => "busy",
            StoreError::Full => "full",
            StoreError::ReadOnly { .. } => "read-only",
            StoreError::Unreachable { .. } => "unreachable",
            StoreError::Sqlite(_) => "failed",
            other => panic!("{other:?}"),
        };
        for (code, expected) in [
            (ffi::SQLITE_BUSY, "busy"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "busy"),
            (ffi::SQLITE_LOCKED, "busy"),
            (ffi::SQLITE_PROTOCOL, "busy"),
            (ffi::SQLITE_FULL, "full"),
            (ffi::SQLITE_IOERR_SHMSIZE, "full"),
            (ffi::SQLITE_READONLY, "read-only"),
            (ffi::SQLITE_READONLY_DBMOVED, "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, "read-only"),
            (ffi::SQLITE_PERM, "read-only"),
            (ffi::SQLITE_CANTOPEN, "unreachable"),
            (ffi::SQLITE_NOMEM, "unreachable"),
            (ffi::SQLITE_IOERR_FSYNC, "failed"),
            (ffi::SQLITE_CORRUPT, "failed"),
            (ffi::SQLITE_NOTADB, "failed"),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }
}
