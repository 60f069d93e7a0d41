//! Where changes become durable, and how nodes hear of them.
//!
//! A store keeps rows (what is) and the log (what was done), both written in
//! one transaction that locks the partner first. So a partner's versions are
//! in commit order and have no gaps, and a follower that reads "versions after
//! mine" misses nothing. What [`Store::write`] has returned survives a power
//! cut.
//!
//! Blocking on purpose: the engine decides how it waits, and callers that must
//! not block go through `service`. Deliberately absent: listing. Every list is
//! answered by `inventory`.

mod beside;
mod draft;
mod entities;
mod group;
pub mod health;
mod history;
pub mod log;
pub mod migrate;
mod net_change;
mod own_entries;
pub mod people;
pub mod postgres;
mod rows;
mod runs;
mod sql;
pub mod sqlite;
mod tally;
mod transaction;
mod turn_mutex;
pub mod waiting;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use self::beside::SideTables;
pub use self::draft::{Decision, Done, DraftError};
pub use self::history::LogReads;
pub use self::net_change::NetChangeTable;
pub use self::own_entries::WholeEntry;
use crate::domain::change::Digest;
use crate::domain::runs::runs as runs_of;
use crate::domain::shown::quoted;
use crate::domain::{
    Account, AccountId, Acknowledgement, Actor, Application, ApplicationId, Dates, E164, EntityChange, KeptDigest, Key,
    KeyId, NumberChange, NumberRun, Partner, PartnerId, PartnerKey, Record, RowDigest, RunChange, Setting, Time, Trunk,
    TrunkId, Verb,
};

/// What can go wrong below the verbs.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "there is no database at {}; create one with `rollcall partner create` or `rollcall serve --create`",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} is empty and no database: restore a backup with `rollcall restore`, or make a new one with \
         `rollcall serve --create`",
        path.display()
    )]
    Empty { path: PathBuf },
    /// Files beside the database that another user makes keep its owner out.
    #[error(
        "the database {} belongs to the user {owner}, and this is {user}; run it as that user: \
         sudo -u {owner} rollcall …",
        path.display()
    )]
    Owner { path: PathBuf, owner: String, user: String },
    #[error(
        "another server is using the file {} by another name, and using two names at once would damage it: use the \
         name that the server has, or stop the server",
        path.display()
    )]
    OtherName { path: PathBuf },
    #[error(
        "the write-ahead log {} belongs to another database than {}, which is whole without it; move the log to \
         another folder",
        log.display(), path.display()
    )]
    ForeignLog { path: PathBuf, log: PathBuf },
    #[error(
        "the database {} is at schema {found}, and reading it takes {known}; a server of this release brings it up \
         when it starts",
        path.display()
    )]
    Older { path: PathBuf, found: i64, known: i64 },
    #[error("there is no folder {} to keep the database {} in; create it first", folder.display(), path.display())]
    NoFolder { folder: PathBuf, path: PathBuf },
    /// Even reading needs to write: the files beside it say who reads what.
    #[error("cannot open the database {}; this user must be able to write it and its folder", path.display())]
    Unopened {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot write the backup {}", path.display())]
    Backup {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{database} is not a Rollcall database")]
    Foreign { database: String },
    #[error(
        "the database {database} is at schema {found}, newer than this program knows ({known}); use a newer rollcall"
    )]
    Newer { database: String, found: i64, known: i64 },
    #[error("another writer or reader has held the database for too long; try again")]
    Busy,
    #[error("the disk that holds the database is full")]
    Full,
    #[error("the database failed")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the database could not be read or written")]
    Io(#[source] std::io::Error),
    #[error("the database has a row that cannot be understood: {what}")]
    Corrupt { what: String },
    /// The rows are not those that were written.
    #[error(
        "the rows of partner {partner} do not agree with the digest that is kept with them, so they are not used; \
         `rollcall verify` says more"
    )]
    Damaged { partner: Arc<str> },
    /// `reason` is how the engine put it.
    #[error("the database writer has stopped ({reason}); restart the program")]
    Stopped { reason: Arc<str> },
    /// No connection, or none that answers in time; nothing was written.
    #[error("the database does not answer ({reason})")]
    Unreachable { reason: Arc<str> },
    /// The engine answers and takes no writes: a standby, or an operator's wish.
    #[error("the database takes no writes at the moment ({reason})")]
    ReadOnly { reason: Arc<str> },
    /// The connection ended within a commit, or the commit is not on as many
    /// machines as it has to be.
    #[error("whether the change was made is not known ({reason}); look before you make it again")]
    Unknown { reason: Arc<str> },
    /// What the draft had read is no longer so, or two writers waited for each
    /// other; nothing was written.
    #[error("another write came between ({reason}); try again")]
    Again { reason: Arc<str> },
    /// The database refused what one or more writes had put together, for a reason that
    /// does not pass.
    #[error("the database refused the write and those that shared its commit ({reason}); nothing was written")]
    TakenBack { reason: Arc<str> },
    #[error("the database failed")]
    Postgres(#[source] Box<tokio_postgres::Error>),
    #[error("the partner exists already")]
    Exists,
    #[error("{what}")]
    Unsupported { what: &'static str },
}

impl StoreError {
    /// Whether it can pass without anybody's doing: the same may be asked
    /// again.
    pub fn passing(&self) -> bool {
        use StoreError::*;
        matches!(
            self,
            Busy | Full | Again { .. } | Stopped { .. } | Unreachable { .. } | ReadOnly { .. } | Unknown { .. }
        )
    }
}

/// Why a write was not done.
#[derive(Debug)]
pub enum Abort {
    /// The draft itself decided against it; it keeps its reason.
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Abort {
        Abort::Store(error)
    }
}

/// Which partner a write is about.
#[derive(Clone, Debug)]
pub enum WriteTarget {
    Partner(PartnerKey),
    /// One that the write creates; refused as `Abort::Refused` if it exists.
    New(PartnerId),
}

/// What goes into the log beside the changes themselves.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEntry {
    pub at: Time,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub verb: Verb,
    /// Where the request came from: for the audit trail alone, so it is not in
    /// what is read from the log.
    pub from: Option<IpAddr>,
}

/// Who has a number.
#[derive(Clone, PartialEq, Debug)]
pub enum Ownership {
    /// Nobody.
    Free,
    /// The partner that asks; `version` last changed it.
    Ours { record: Record, version: u64 },
    /// Another partner; which one is nobody's business.
    Foreign,
}

/// Who has some numbers that follow each other.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnedRun {
    pub run: NumberRun,
    pub owner: Ownership,
}

impl OwnedRun {
    /// The owners of single numbers, which ascend, as runs.
    pub fn all(numbers: &[E164], owners: &[Ownership]) -> Vec<OwnedRun> {
        let mut owned: Vec<OwnedRun> = Vec::new();
        for (&number, owner) in numbers.iter().zip(owners) {
            match owned.last_mut() {
                Some(OwnedRun { run, owner: last })
                    if run.first.digits() + run.count == number.digits() && last == owner =>
                {
                    run.count += 1;
                }
                _ => owned.push(OwnedRun { run: NumberRun { first: number, count: 1 }, owner: owner.clone() }),
            }
        }
        owned
    }
}

/// The reads of one write, all within one partner, which nobody else changes
/// meanwhile. A preview answers them from a snapshot.
pub trait PartnerReads {
    /// The version that this write makes, if it changes anything.
    fn version(&self) -> u64;
    /// The time under which it is logged: the entry's, or that of the
    /// partner's last change where a clock went back, so that the log's times
    /// never decrease.
    fn at(&self) -> Time;
    /// `None` while the write is creating the partner.
    fn partner(&mut self) -> Result<Option<Partner>, StoreError>;
    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError>;
    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, StoreError>;
    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError>;
    fn key(&mut self, id: &KeyId) -> Result<Option<Key>, StoreError>;
    fn acknowledgement(&mut self, finding: &str) -> Result<Option<Acknowledgement>, StoreError>;
    fn setting(&mut self, id: &str) -> Result<Option<Setting>, StoreError>;
    /// Who has these runs of numbers, which must be sorted: all numbers that are
    /// wanted, in order, in runs of one owner.
    fn owners(&mut self, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError>;
    /// The same of single numbers, which must be sorted.
    fn numbers(&mut self, wanted: &[E164]) -> Result<Vec<Ownership>, StoreError> {
        let owned = self.owners(&runs_of(wanted.iter().copied()))?;
        let each = |OwnedRun { run, owner }: OwnedRun| std::iter::repeat_n(owner, run.count as usize);
        Ok(owned.into_iter().flat_map(each).collect())
    }
    /// How many numbers of the account are active and have not expired at `now`,
    /// counted up to `enough` or a little further. From counts that are kept
    /// with the numbers: it reads `enough` rows at most.
    fn active_numbers(&mut self, account: &AccountId, now: Time, enough: u64) -> Result<u64, StoreError>;
}

/// What the rules of numbers need, of a write or of its preview.
pub trait NumberPuts: PartnerReads {
    /// Writes changes of runs of numbers, sorted, each number once. A number that is
    /// put again in one transaction is one change in the log, from the first
    /// `before` to the last `after`.
    fn put_runs(&mut self, changes: &[RunChange]) -> Result<(), StoreError>;
    /// The same of single numbers.
    fn put_numbers(&mut self, changes: &[NumberChange]) -> Result<(), StoreError> {
        self.put_runs(&RunChange::all(changes.iter().cloned()))
    }
}

/// The writes beside the log, which has no entry of them.
pub trait SideWrites: PartnerReads {
    /// What was answered under an idempotency key at or after `since`.
    fn answered(&mut self, key: &str, since: Time) -> Result<Option<Answered>, StoreError>;
    /// Keeps the answer to this write under its idempotency key, in the place
    /// of an older one.
    fn put_answered(&mut self, key: &str, answered: &Answered) -> Result<(), StoreError>;
    fn job(&mut self, id: &str) -> Result<Option<StoredJob>, StoreError>;
    /// Writes a job's head, new or changed; outside the log.
    fn put_job(&mut self, job: &StoredJob) -> Result<(), StoreError>;
    fn job_batch(&mut self, job: &str, batch: u64) -> Result<Option<String>, StoreError>;
    /// Writes a batch of a job that is there, in the place of an older one.
    fn put_job_batch(&mut self, job: &str, batch: u64, body: &str) -> Result<(), StoreError>;
    fn document(&mut self, kind: &str, id: &str) -> Result<Option<Document>, StoreError>;
    /// Writes a document, new or changed; outside the log.
    fn put_document(&mut self, kind: &str, document: &Document) -> Result<(), StoreError>;
    /// Forgets a document, if it is there.
    fn drop_document(&mut self, kind: &str, id: &str) -> Result<(), StoreError>;
    /// Writes an entry of the audit trail for what this write changes outside the
    /// log; it exists only if the write is committed.
    fn put_audit(&mut self, entry: &people::AuditEntry) -> Result<(), StoreError>;
}

/// The reads and writes of one write transaction.
///
/// What is put is written at once as rows and log, under the version that the
/// transaction will have; all of it happens, or nothing. A change to credentials
/// is in the audit trail with it ([`people::audit_of`]).
pub trait Transaction: NumberPuts + SideWrites {
    fn put_entity(&mut self, change: EntityChange) -> Result<(), StoreError>;
    /// Whether the account holds a number, or one is reserved for it at `now`.
    /// From the same counts.
    fn has_numbers(&mut self, account: &AccountId, now: Time) -> Result<bool, StoreError>;
    /// The numbers that the account holds or that are reserved for it, in
    /// order. Reads them all.
    fn numbers_of(&mut self, account: &AccountId) -> Result<Vec<E164>, StoreError>;
    /// To which applications and trunks numbers of the partner route. Reads all
    /// of the partner's numbers.
    fn routes_in_use(&mut self) -> Result<RoutesInUse, StoreError>;
}

/// To what numbers of a partner route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutesInUse {
    pub applications: BTreeSet<ApplicationId>,
    pub trunks: BTreeSet<TrunkId>,
}

/// The answer to an accepted write, kept with it so that a retry gets it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// SHA-256 of what was asked.
    pub fingerprint: [u8; 32],
    pub status: u16,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}

/// A job as the store sees it: what it is about is `service::job`'s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredJob {
    pub id: String,
    pub created_at: Time,
    /// Whether a server still has work to do on it.
    pub open: bool,
    pub body: String,
}

/// Something kept beside the log, which can be replaced and forgotten. What it
/// says is the business of those who keep documents of its kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Unique within the partner and the kind; not empty.
    pub id: String,
    /// When somebody shall look at it, if ever.
    pub due: Option<Time>,
    pub body: String,
}

impl Document {
    /// A document that holds this value as JSON.
    pub fn of(id: &str, due: Option<Time>, value: &impl serde::Serialize) -> Document {
        let body = serde_json::to_string(value).expect("plain values serialise");
        Document { id: id.to_owned(), due, body }
    }

    /// The value that it holds; `what` names it in the error.
    pub fn read<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, StoreError> {
        let corrupt = |error| StoreError::Corrupt { what: format!("{what} {}: {error}", self.id) };
        serde_json::from_str(&self.body).map_err(corrupt)
    }
}

/// Which way to go through documents, in the order of their ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DocumentWalk<'a> {
    Up { after: Option<&'a str> },
    Down { before: Option<&'a str> },
}

/// What one change did to one number.
#[derive(Clone, PartialEq, Debug)]
pub struct Past {
    pub version: u64,
    pub entry: LogEntry,
    pub change: NumberChange,
}

/// A change as it is listed: with the first of its numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct LoggedChange {
    pub version: u64,
    pub entry: LogEntry,
    pub entities: Vec<EntityChange>,
    /// In number order, each number once.
    pub numbers: Vec<NumberChange>,
    /// How many numbers it changed, in all.
    pub total: u64,
}

/// A write: looks at what is, and puts what shall be. It may run again from the
/// start if the engine has to retry, so it keeps nothing from an earlier run.
pub type Draft<'a> = Box<dyn FnMut(&mut dyn Transaction) -> Result<(), Abort> + Send + 'a>;

/// The same beside the log.
pub type SideDraft<'a> = Box<dyn FnMut(&mut dyn SideWrites) -> Result<(), Abort> + Send + 'a>;

/// Brings an index up to what was committed.
pub type FollowNow = Box<dyn Fn() + Send + Sync>;

/// How much [`Store::load`] reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// One partner, or all.
    pub only: Option<PartnerKey>,
    /// Whether numbers too; without them it is quick.
    pub numbers: bool,
}

/// What [`Store::load`] hands over: partners, their entities, and then the
/// numbers of all of them in number order.
pub enum Loaded {
    Partner {
        head: LogHead,
        /// The digest of all of its rows.
        row_digest: KeptDigest,
        partner: Partner,
    },
    /// And when it last lost an active number, if it is known to have.
    Account(PartnerKey, Account, Option<Time>),
    Application(PartnerKey, Application),
    Trunk(PartnerKey, Trunk),
    Key(PartnerKey, Key),
    Acknowledgement(PartnerKey, Acknowledgement),
    Setting(PartnerKey, Setting),
    Numbers(NumberBatch),
    /// In the place of a row that cannot be understood: whose it is, if that
    /// much can be told, and what is wrong with it. Everything else is handed
    /// over as if it were not there.
    Poison {
        key: Option<PartnerKey>,
        table: &'static str,
        /// The first and the last number of the row, if it is one of numbers.
        numbers: Option<(E164, E164)>,
        what: String,
    },
}

/// Some numbers as they are stored: neighbours with equal values are one row, and
/// equal values of several rows are one image, because reading them, and looking up
/// the ids in them, is most of a start.
#[derive(Default)]
pub struct NumberBatch {
    /// What rows refer to by index: whose a number is, and all that is known
    /// of it but its dates, which are those of any of its rows.
    pub images: Vec<(PartnerKey, Record)>,
    pub rows: Vec<BatchRow>,
}

#[derive(Clone, Copy, Debug)]
pub struct BatchRow {
    pub first: E164,
    /// The last of its numbers, which have no gap.
    pub last: E164,
    pub version: u64,
    pub image: u32,
    pub dates: Dates,
}

impl BatchRow {
    pub fn numbers(&self) -> impl Iterator<Item = E164> + use<> {
        (self.first.digits()..=self.last.digits()).filter_map(E164::new)
    }
}

/// The numbers of a row, as sentences about it begin.
pub fn numbers_named((first, last): (E164, E164)) -> String {
    if first == last { format!("number {first}") } else { format!("numbers {first} to {last}") }
}

impl NumberBatch {
    /// Each number with its partner, its version and its whole record.
    pub fn records(&self) -> impl Iterator<Item = (PartnerKey, E164, u64, Record)> {
        self.rows.iter().flat_map(|row| {
            let (key, image) = &self.images[row.image as usize];
            let Dates { assigned_at, expires_at, since, until } = row.dates;
            let record = Record { assigned_at, expires_at, since, until, ..image.clone() };
            row.numbers().map(move |number| (*key, number, row.version, record.clone()))
        })
    }
}

/// Which database answers, of those that may stand under one address. Versions
/// and digests tell two of them apart once they differ; this does before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// The cluster of databases, named when it was made. Another one is
    /// another database, restored or put in the place of the first.
    pub system: u64,
    /// How often another machine of the cluster took over. It only grows: a
    /// lower one is a machine that was left behind.
    pub timeline: u32,
}

/// How a request for a lease ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leased {
    /// Another holder has it.
    Refused,
    /// The holder did not have it before. The lease lasts from `at`.
    Acquired { at: Instant },
    /// The holder had it, and no other holder has had it in between, even if
    /// it had run out.
    Renewed { at: Instant },
}

impl Leased {
    pub fn held(self) -> bool {
        match self {
            Leased::Refused => false,
            Leased::Acquired { .. } | Leased::Renewed { .. } => true,
        }
    }
}

/// A partner's place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogHead {
    pub key: PartnerKey,
    pub version: u64,
    pub digest: Digest,
}

/// What [`Store::replay`] hands over of one entry of the log.
pub enum Replayed<'a> {
    Entities(&'a [EntityChange]),
    /// What the entry made of `count` numbers from `first` on; `None` if they
    /// left. In number order, each number once.
    Numbers {
        first: E164,
        count: u64,
        after: Option<&'a Record>,
    },
}

/// What is over and is deleted in time. The log keeps what it says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Over {
    /// Ended jobs that were created before a time, with their rows. A partner's
    /// jobs stay while one of its jobs is open: that one may undo an ended one.
    Jobs { created_before: Time },
    /// Acknowledgements that ended before a time.
    Acknowledgements { ended_before: Time },
    /// Settings of a partner by their ids, which are never used again.
    Settings { partner: PartnerKey, ids: Vec<String> },
}

/// What [`Store::follow`] hands over: of each entry its beginning, its numbers
/// in pieces of a few megabytes, its end.
pub enum LogPiece {
    Entry {
        version: u64,
        entry: LogEntry,
        entities: Vec<EntityChange>,
        /// The digest of the entry before this one.
        previous: Digest,
    },
    /// Sorted within the piece. A number is in one piece of an entry. A run has at
    /// most a group of 10,000 numbers.
    Numbers(Vec<RunChange>),
    End {
        /// The digest of the entry, computed from what was read.
        digest: Digest,
    },
}

/// [`Store::follow`] for a reader that may end it with an error of its own.
pub fn follow<E: From<StoreError>>(
    store: &dyn Store,
    key: PartnerKey,
    (after, through): (u64, u64),
    mut take: impl FnMut(LogPiece) -> Result<(), E>,
) -> Result<(), E> {
    let mut ended = None;
    let followed = store.follow(key, after, through, &mut |piece| {
        take(piece).map_err(|error| {
            ended = Some(error);
            StoreError::Corrupt { what: "the reader of the log ended it".to_owned() }
        })
    });
    match ended {
        Some(error) => Err(error),
        None => Ok(followed?),
    }
}

pub trait Store: LogReads + NetChangeTable + SideTables + people::PeopleStore + Send + Sync + 'static {
    /// What there is, as of one moment: partners first. A row that cannot be
    /// understood is handed over as [`Loaded::Poison`] and is no failure.
    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError>;

    /// The faults in the structure of the file, as far as a quick check
    /// shows: it reads every page and compares no index. Nothing where there is
    /// no file.
    fn quick_check(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// The time of the database's own clock; `None` where it has none.
    fn clock(&self) -> Result<Option<Time>, StoreError> {
        Ok(None)
    }

    /// Where every partner's log ends; `None` if nothing was committed since
    /// the last call that returned something, unless `always`. Cheap enough to
    /// ask often.
    fn heads(&self, always: bool) -> Result<Option<Vec<LogHead>>, StoreError>;

    /// The database that answered last, as [`Store::heads`] found it; `None`
    /// where there is nothing to tell databases apart by. Asks nobody.
    fn incarnation(&self) -> Option<Incarnation> {
        None
    }

    /// Whether the database takes writes, as far as this process has seen: the
    /// last one says so. Asks nobody.
    fn writable(&self) -> bool {
        true
    }

    /// What this process knows of unreadable rows and of the last write.
    fn health(&self) -> &health::Health;

    /// Makes a small write, so that a store whose last write failed finds out
    /// whether writes succeed again.
    fn probe(&self);

    /// Keeps digests of partners' rows, each made at a head, where the partner
    /// is still there and no digest is kept; where one is, too, if `replace`.
    /// Returns how many were kept.
    fn keep_row_digests(&self, made: &[(LogHead, RowDigest)], replace: bool) -> Result<u64, StoreError>;

    /// Runs a write and returns the version it made, once that is durable;
    /// `None` if it put nothing into the log; what it put beside the log is
    /// durable too.
    fn write(&self, target: WriteTarget, entry: LogEntry, draft: Draft<'_>) -> Result<Option<u64>, Abort>;

    /// Runs a write beside the log, and returns once that is durable.
    fn write_beside(&self, key: PartnerKey, at: Time, draft: SideDraft<'_>) -> Result<(), Abort>;

    /// What is called after a commit that several writes share, before they return; from
    /// now on [`Store::own_entries`] has something. Of several the last one is kept.
    fn after_shared_commits(&self, _: FollowNow) {}

    /// The entries of the log directly after a version, up to another, that this
    /// process has committed and still has, for the one who follows in it. Others are
    /// in the log; each is handed over once.
    fn own_entries(&self, _key: PartnerKey, _after: u64, _through: u64) -> Vec<WholeEntry> {
        Vec::new()
    }

    /// Writes a consistent copy to a new file, while others read and write.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// What the engine itself finds wrong with its files.
    fn integrity(&self) -> Result<Vec<String>, StoreError>;

    /// Whether several servers may be on this database at once, and so have to
    /// agree on who does what.
    fn shared(&self) -> bool;

    /// Whether the tables still have the form that nodes of the release before
    /// need, until an operator switches them.
    fn has_earlier_tables(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Takes the place of the one server on this database, until dropped.
    /// `None` if another has it.
    fn serve_lock(&self) -> Result<Option<Box<dyn Send + Sync>>, StoreError>;
}

/// Where the database is: `sqlite:PATH`, or a `postgres://` URI as libpq has
/// them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    Sqlite(PathBuf),
    Postgres(Box<postgres::Address>),
}

impl std::str::FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Location, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Location::Sqlite(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Location::Postgres(Box::new(text.parse()?)))
            }
            // What may have a password is not said again.
            _ if !text.contains(['@', '=']) => {
                Err(format!("{} is not a database; write sqlite:PATH or postgres://USER@HOST/DATABASE", quoted(text)))
            }
            _ => Err("this is not a database; write sqlite:PATH or postgres://USER@HOST/DATABASE".to_owned()),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Location::Postgres(address) => write!(f, "{address}"),
        }
    }
}

/// What opening may do to a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// It must be there, and nothing of it is changed, nor written beside it.
    Read,
    /// It must be there.
    Existing,
    /// A new one is made where there is none.
    Create,
}

/// That a log with changes is missing beside a database that is not open yet.
pub fn lost_log(location: &Location) -> Option<String> {
    match location {
        Location::Sqlite(path) => sqlite::lost_log(path),
        Location::Postgres(_) => None,
    }
}

/// Whether a server of this user could write a database that is there. Nothing is
/// changed. A database of several servers says so itself when it is written.
pub fn check_writable(location: &Location) -> Result<(), StoreError> {
    match location {
        Location::Sqlite(path) => sqlite::check_writable(path),
        Location::Postgres(_) => Ok(()),
    }
}

pub fn open(location: &Location, open: Open) -> Result<Arc<dyn Store>, StoreError> {
    match location {
        Location::Sqlite(path) => Ok(Arc::new(sqlite::SqliteStore::open(path, open)?)),
        Location::Postgres(address) => Ok(Arc::new(postgres::PgStore::open((**address).clone(), open)?)),
    }
}
