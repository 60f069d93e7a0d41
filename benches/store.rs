//! What the database and the memory cost: importing, starting, writing beside
//! readers, and what is resident: `cargo bench --bench store`. Parts alone: single
//! writes, `cargo bench --bench store -- writes`; memory, `-- memory`; the past of a
//! million changes, `-- past`, in an empty database of PostgreSQL
//! `-- past postgres://…`.
//!
//! Everything happens in a folder of its own below the system's temporary one,
//! so that decides which disk is measured.

#![allow(clippy::print_stdout)]

mod shared;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rollcall::domain::change::Edit;
use rollcall::domain::{
    Actor, E164, EntityChange, KeyId, Logged, NetChange, NumberChange, PartnerId, PartnerKey, RowDigest, Time, Verb,
};
use rollcall::inventory::Window;
use rollcall::service::background::net_changes;
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::{Replica, Service};
use rollcall::store::people::{PeopleDraft, PeopleLook, PeopleStore, Prune};
use rollcall::store::{
    self, Abort, Document, DocumentWalk, Draft, Leased, Load, Loaded, Location, LogEntry, LogHead, LogPiece, LogReads,
    LoggedChange, NetChangeTable, Open, Over, Past, Replayed, SideDraft, SideTables, Store, StoreError, StoredJob,
    WriteTarget,
};

use rustix::time::ClockId;
use shared::{Numbers, Random, at_least, at_most, heading, micros, now, reassign, record, reported, skipped, verbs};

const PARTNER: &str = "PA_1";
/// How many numbers the database has.
const NUMBERS: usize = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, path] = &arguments[..]
        && flag == RESIDENT
    {
        return tell_resident(Path::new(path));
    }
    if let [_, flag, path, writers] = &arguments[..]
        && flag == VERBS
    {
        return do_verbs(Path::new(path), writers.parse().expect("how many write"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    if arguments.iter().any(|word| word == "writes") {
        let (file, path) = (folder.path().join("numbers.csv"), folder.path().join("rollcall.db"));
        csv(&file, &shared::blocks(NUMBERS));
        import(&database(&path), &file, NUMBERS);
        return write(folder.path(), &path);
    }
    if arguments.iter().any(|word| word == "past") {
        let (file, path) = (folder.path().join("numbers.csv"), folder.path().join("rollcall.db"));
        let address = arguments.iter().find(|word| word.starts_with("postgres"));
        let location = address.map_or(Location::Sqlite(path), |address| address.parse().expect("an address"));
        let store = created(&location);
        csv(&file, &shared::blocks(NUMBERS));
        import(&store, &file, NUMBERS);
        return long_past(&store);
    }
    if arguments.iter().any(|word| word == "memory") {
        return memory(folder.path());
    }
    let path = import_and_start(folder.path(), "1 M numbers in blocks", &shared::blocks(NUMBERS));
    let imported = Time::now();
    write(folder.path(), &path);
    past(&path, imported);
    read_beside_changes(&path);
    long_past(&open(&path));
    remove(&path);
    match shared::drawn(NUMBERS) {
        Ok(numbers) => {
            let what = "1 M numbers drawn from the blocks of France";
            remove(&import_and_start(folder.path(), what, &numbers));
        }
        Err(why) => skipped("numbers drawn from the blocks of France", &why),
    }
    blocks_alike(folder.path());
    memory(folder.path());
}

/// A new database with a partner in it.
fn database(path: &Path) -> Arc<dyn Store> {
    created(&Location::Sqlite(path.to_owned()))
}

fn created(location: &Location) -> Arc<dyn Store> {
    let store = store::open(location, Open::Create).expect("a database");
    let auth_id = PARTNER.parse().expect("an id");
    service(&store).partner_create(auth_id, "P".into()).expect("a partner");
    store
}

fn open(path: &Path) -> Arc<dyn Store> {
    store::open(&Location::Sqlite(path.to_owned()), Open::Existing).expect("a database")
}

fn service(store: &Arc<dyn Store>) -> Service {
    Service::new(store.clone(), Actor::Command { user: "bench".to_owned() })
}

/// The numbers as a file that people might have.
fn csv(path: &Path, numbers: &[(u64, u64)]) {
    let mut text = "number,account_auth_id,application_id,status,number_type,country,region,monthly_cost,currency,\
                    assigned_at,expires_at\n"
        .to_owned();
    let mut random = Random(3);
    for &(digits, holder) in numbers {
        let record = record(holder, &mut random);
        let application = record.application.map(|id| id.to_string()).unwrap_or_default();
        let expires_at = record.expires_at.map(|time| time.to_string()).unwrap_or_default();
        let (state, number_type) = (record.state, record.number_type);
        let assigned_at = record.assigned_at.expect("held");
        let account = shared::account_id(holder);
        writeln!(
            text,
            "+{digits},{account},{application},{state},{number_type},IN,Mumbai,500.00,INR,{assigned_at},{expires_at}"
        )
        .expect("memory");
    }
    std::fs::write(path, text).expect("written");
}

/// The same table for the other engine, with the number as its key.
const RIVAL: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE number (number INTEGER PRIMARY KEY, \
                     account TEXT, application TEXT, status TEXT, number_type TEXT, country TEXT, region TEXT, cost TEXT, \
                     currency TEXT, assigned_at TEXT, expires_at TEXT);";

/// Leaves the database that was imported.
fn import_and_start(folder: &Path, what: &str, numbers: &Numbers) -> PathBuf {
    heading(what);
    let file = folder.join("numbers.csv");
    csv(&file, numbers);
    let mut ours = f64::INFINITY;
    let mut theirs = f64::INFINITY;
    let path = folder.join("rollcall.db");
    for _ in 0..3 {
        remove(&path);
        let store = database(&path);
        ours = ours.min(micros(|| import(&store, &file, NUMBERS)));
        drop(store);
        if let Some(took) = rival(folder, &file) {
            theirs = theirs.min(took);
        }
    }
    reported("import of 1 M rows, durable, with log", ours / 1e6, "s");
    if theirs.is_finite() {
        reported("`.import` of sqlite3, WAL and FULL, into one table", theirs / 1e6, "s");
        at_least("import's speed ÷ that of sqlite3", theirs / ours, "times", 0.5, 1.0);
    } else {
        skipped("import's speed ÷ that of sqlite3", "there is no sqlite3 command");
    }
    let bytes = std::fs::metadata(&path).expect("the file").len();
    reported("the file, with the log of the import", bytes as f64 / NUMBERS as f64, "bytes a number");
    start(&path);
    path
}

/// Numbers in blocks whose neighbours have equal values, from a file with a line
/// for each of them. Aims: a tenth of what one row a number took.
fn blocks_alike(folder: &Path) {
    heading("10 M numbers in blocks of 100 to 10,000 with 3 % holes, with equal values");
    let numbers = shared::blocks(10 * NUMBERS);
    let (file, path) = (folder.join("blocks.csv"), folder.join("blocks.db"));
    let mut text =
        "number,account_auth_id,status,number_type,country,region,monthly_cost,currency,assigned_at\n".to_owned();
    for block in numbers.chunk_by(|a, b| a.0 + 1 == b.0 && a.1 == b.1) {
        let (first, last, account) = (block[0].0, block[block.len() - 1].0, shared::account_id(block[0].1));
        writeln!(text, "+{first}..+{last},{account},active,local,IN,Mumbai,500.00,INR,2026-01-01T00:00:00Z")
            .expect("memory");
    }
    std::fs::write(&file, text).expect("written");
    let store = database(&path);
    at_most("import", micros(|| import(&store, &file, numbers.len())) / 1e6, "s", 20.0, 2.0);
    drop(store);
    let bytes = std::fs::metadata(&path).expect("the file").len();
    at_most("the file, with the log of the import", bytes as f64 / 1e6, "MB", 310.0, 310.0);
    at_most("start", micros(|| drop(Replica::load(open(&path)).expect("loads"))) / 1e6, "s", 6.0, 0.6);
    remove(&path);
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-serve"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

fn import(store: &Arc<dyn Store>, file: &Path, numbers: usize) {
    let options = ImportOptions::default();
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let partner = PARTNER.parse().expect("an id");
    let report = service(store).import(&partner, &|| Ok(Box::new(File::open(file)?)), &options, &watch);
    let report = report.expect("imported");
    assert!(report.written && report.imported as usize == numbers, "{report:?}");
}

/// How long the tool of the other engine takes with the same file.
fn rival(folder: &Path, file: &Path) -> Option<f64> {
    let path = folder.join("rival.db");
    let mut done = false;
    let took = micros(|| {
        let import = format!(".import --csv --skip 1 {} number", file.display());
        let run = Command::new("sqlite3").arg(&path).args([RIVAL, &import]).stdin(Stdio::null()).output();
        done = run.is_ok_and(|output| output.status.success());
    });
    if done {
        let count = rusqlite::Connection::open(&path)
            .and_then(|rival| rival.query_row("SELECT count(*) FROM number", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.expect("a count"), NUMBERS as i64);
    }
    remove(&path);
    done.then_some(took)
}

fn start(path: &Path) {
    let mut nodes = Vec::new();
    // Of both: what it used of processors, on all threads together.
    let mut used = [f64::INFINITY; 2];
    let using = |used: &mut f64, work: &mut dyn FnMut()| {
        let before = shared::processor_micros(ClockId::ProcessCPUTime);
        work();
        *used = used.min(shared::processor_micros(ClockId::ProcessCPUTime) - before);
    };
    let [ours_used, bare_used] = &mut used;
    let (ours, bare) = shared::best_of_two(
        5,
        || {
            using(ours_used, &mut || {
                let replica = Replica::load(open(path)).expect("loads");
                nodes = replica.nodes();
            });
        },
        || {
            using(bare_used, &mut || {
                let connection = rusqlite::Connection::open(path).expect("a database");
                let sql = "SELECT first, last, partner, version, state, account, application, trunk, number_type, country, \
                       region, cost, currency, assigned_at, expires_at, since, until, tags FROM number_run ORDER BY first";
                let mut statement = connection.prepare(sql).expect("a statement");
                let mut rows = statement.query([]).expect("rows");
                let mut bytes = 0;
                while let Some(row) = rows.next().expect("a row") {
                    for column in 0..18 {
                        bytes += match row.get_ref(column).expect("a column") {
                            rusqlite::types::ValueRef::Text(text) => text.len(),
                            rusqlite::types::ValueRef::Null => 0,
                            _ => 8,
                        };
                    }
                }
                std::hint::black_box(bytes);
            });
        },
    );
    let [ours_used, bare_used] = used;
    assert_eq!(nodes[0].snapshot().len(), NUMBERS);
    reported("start with 1 M numbers", ours / 1e6, "s");
    reported("a bare SELECT of the same columns", bare / 1e6, "s");
    at_most("start ÷ SELECT", ours / bare, "times", 2.0, 1.1);
    reported("start ÷ SELECT, in time of processors", ours_used / bare_used, "times");
}

/// How many threads write at the same time, and how much each.
const WRITERS: usize = 32;
const WRITES_EACH: usize = 60;

/// Numbers that are there, so that every write has one of its own.
fn targets(count: usize) -> Vec<E164> {
    let numbers = shared::blocks(NUMBERS);
    numbers.iter().step_by(NUMBERS / count).take(count).filter_map(|&(digits, _)| E164::new(digits)).collect()
}

fn write(folder: &Path, path: &Path) {
    heading("durable single assigns and releases");
    let store = open(path);
    let targets = targets(WRITERS * WRITES_EACH);
    // Each round moves the numbers to another account.
    let mut round = 0;
    let raw = folder.join("raw");
    let mut file = OpenOptions::new().create(true).append(true).open(&raw).expect("a file");
    const SYNCS: usize = 300;
    let (ours, bare) = shared::best_of_two(
        5,
        || {
            round += 1;
            std::thread::scope(|scope| {
                for targets in targets.chunks(WRITES_EACH) {
                    let service = verbs(store.clone());
                    scope.spawn(move || {
                        targets.iter().for_each(|&number| reassign(&service, PartnerKey(1), number, round))
                    });
                }
            });
        },
        || {
            for _ in 0..SYNCS {
                file.write_all(&[b'x'; 200]).and_then(|()| file.sync_data()).expect("written");
            }
        },
    );
    let (ours, bare) = (2.0 * targets.len() as f64 / ours * 1e6, SYNCS as f64 / bare * 1e6);
    reported(&format!("with {WRITERS} writers"), ours, "/s");
    reported("raw synced writes, one after another", bare, "/s");
    at_least("assigns ÷ raw synced writes", ours / bare, "times", 5.0, 10.0);
    let before = shared::processor_micros(ClockId::ProcessCPUTime);
    (0..SYNCS).for_each(|_| file.write_all(&[b'x'; 200]).and_then(|()| file.sync_data()).expect("written"));
    let each = (shared::processor_micros(ClockId::ProcessCPUTime) - before) / SYNCS as f64;
    reported("processors' time of a raw synced write", each, "µs");
    drop(file);
    let _ = std::fs::remove_file(raw);
    cost(&store, &targets);
    drop(store);
    synced(folder, path, WRITERS);
    synced(folder, path, 1);
}

/// The argument that makes this program one that writes and nothing else.
const VERBS: &str = "--verbs";

fn do_verbs(path: &Path, writers: usize) {
    let store = open(path);
    let targets = targets(WRITERS * WRITES_EACH);
    std::thread::scope(|scope| {
        for targets in targets.chunks(WRITES_EACH).take(writers) {
            let service = verbs(store.clone());
            scope.spawn(move || targets.iter().for_each(|&number| reassign(&service, PartnerKey(1), number, 400)));
        }
    });
}

/// The synced bytes of a verb, as the system calls of a process tell: one sync
/// serves all verbs of a group.
fn synced(folder: &Path, path: &Path, writers: usize) {
    let trace = folder.join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=pwrite64,fdatasync,fsync", "-o"]).arg(&trace);
    command.arg(std::env::current_exe().expect("this program")).arg(VERBS).arg(path).arg(writers.to_string());
    let what = format!("syncs of a process, {writers} writers");
    if !command.stdin(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skipped(&what, "there is no strace");
    }
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let (mut bytes, mut syncs, mut idle, mut written) = (0_u64, 0_u64, 0_u64, false);
    for line in text.lines() {
        // A call that another thread interrupts is two lines: the first has its begin, the
        // second its result.
        let result = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next()?.parse::<u64>().ok());
        if line.contains("pwrite64") {
            bytes += result.unwrap_or_default();
            written |= line.contains("pwrite64(");
        } else if line.contains("sync(") {
            syncs += 1;
            idle += u64::from(!written);
            written = false;
        }
    }
    let count = (2 * writers * WRITES_EACH) as f64;
    reported(&format!("verbs a sync, {writers} writers"), count / syncs as f64, "");
    // A checkpoint syncs the write-ahead log once more before it copies pages from it.
    reported(&format!("syncs after no write, as of checkpoints, {writers} writers"), idle as f64, "");
    reported(&format!("bytes written a verb, {writers} writers"), bytes as f64 / count, "bytes");
}

/// What a durable verb costs in time of processors, with the index after it.
fn cost(store: &Arc<dyn Store>, targets: &[E164]) {
    let replica = Arc::new(Replica::load(store.clone()).expect("loads"));
    let mut round = 200;
    let mut used = |writers: usize, each: usize| {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            round += 1;
            let before = shared::processor_micros(ClockId::ProcessCPUTime);
            std::thread::scope(|scope| {
                for targets in targets.chunks(each).take(writers) {
                    let service = verbs(store.clone()).replica(replica.clone());
                    scope.spawn(move || {
                        targets.iter().for_each(|&number| reassign(&service, PartnerKey(1), number, round))
                    });
                }
            });
            let took = shared::processor_micros(ClockId::ProcessCPUTime) - before;
            best = best.min(took / (2 * writers * each) as f64);
        }
        best
    };
    at_most(&format!("processors' time of a verb, {WRITERS} writers"), used(WRITERS, WRITES_EACH), "µs", 40.0, 30.0);
    at_most("processors' time of a verb, one writer", used(1, 10 * WRITES_EACH), "µs", 60.0, 45.0);
}

/// What the inventory of an earlier moment costs, by the changes since then.
fn past(path: &Path, at: Time) {
    heading("the inventory before many single changes");
    let replica = Replica::load(open(path)).expect("loads");
    let current = replica.nodes()[0].snapshot();
    let ask = || replica.as_of(current.clone(), at, &AtomicBool::new(true)).expect("a past").version;
    let (mut version, mut again) = (0, 0);
    let first = micros(|| version = ask());
    let changes = (current.version - version) as f64;
    reported("changes that are taken back", changes, "");
    at_most("a change taken back; so many s for a million", first / changes, "µs", 1.0, 0.5);
    at_most("the same moment once more", micros(|| again = ask()) / 1e3, "ms", 1.0, 0.1);
    assert_eq!(again, version);
}

/// How many single changes there are since the moment that is asked about.
const CHANGES: u64 = 1_000_000;

/// The inventory before a million single changes, as it is asked for: the first page.
fn long_past(store: &Arc<dyn Store>) {
    heading("the inventory before 1,000,000 single changes of numbers drawn from 1 M");
    let before = Time::now();
    // Answers are by the second.
    std::thread::sleep(Duration::from_millis(1_100));
    let took = micros(|| change_one_by_one(store));
    reported("making them", took / 1e6, "s");
    let ask = || {
        let replica = Replica::load(store.clone()).expect("loads");
        let current = replica.nodes()[0].snapshot();
        let changes = current.version;
        let mut changed = 0;
        let took = micros(|| {
            let past = replica.as_of(current, before, &AtomicBool::new(true)).expect("a past");
            let (filter, order) = shared::ask("assigned", "true", "");
            std::hint::black_box(past.select(&filter, order, Window::Page { skip: 0, rows: 20 }, before).total);
            changed = changes - past.version;
        });
        (changed, took)
    };
    let (changed, by_log) = ask();
    assert!(changed >= CHANGES, "{changed} changes");
    reported("the first page, by the log alone", by_log / 1e6, "s");
    let used = shared::processor_micros(ClockId::ProcessCPUTime);
    let version = store.version(PartnerKey(1)).expect("a version");
    net_changes::keep_all(&**store, PartnerKey(1), version, net_changes::SPAN).expect("kept");
    let used = shared::processor_micros(ClockId::ProcessCPUTime) - used;
    reported("keeping net changes, processors' time a change", used / changed as f64, "µs");
    let spans = store.net_change_spans(PartnerKey(1), 0, version).expect("spans");
    let net = |last: u64| store.net_change(PartnerKey(1), last).expect("reads").expect("a row");
    let bytes: usize = spans.iter().map(|(_, last)| net(*last).body.len()).sum();
    reported("bytes a change that they take", bytes as f64 / changed as f64, "bytes");
    let took = (0..3).map(|_| ask().1).fold(f64::INFINITY, f64::min);
    at_most("as_of before 1,000,000 single changes, first page", took / 1e6, "s", 1.0, 0.5);
}

/// A million versions: each gives a number, drawn among all of them, to another account
/// under other dates.
fn change_one_by_one(store: &Arc<dyn Store>) {
    let replica = Replica::load(store.clone()).expect("loads");
    let current = replica.nodes()[0].snapshot();
    let rows: Vec<_> = current.iter(now()).map(|row| (row.number(), row.record())).collect();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            // Each writer has numbers of its own.
            let mut rows: Vec<_> = rows.iter().skip(writer).step_by(WRITERS).cloned().collect();
            scope.spawn(move || {
                let mut random = Random(writer as u64);
                for _ in 0..CHANGES / WRITERS as u64 {
                    let at = random.below(rows.len() as u64) as usize;
                    let (number, before) = &rows[at];
                    let after = shared::dated_record(random.below(shared::ACCOUNTS), &mut random);
                    let change = NumberChange { number: *number, before: Some(before.clone()), after: Some(after) };
                    let actor = Actor::Command { user: "bench".to_owned() };
                    let entry = LogEntry { at: Time::now(), actor, request_id: None, verb: Verb::Transfer, from: None };
                    let put: Draft<'_> =
                        Box::new(|transaction| Ok(transaction.put_numbers(std::slice::from_ref(&change))?));
                    store.write(WriteTarget::Partner(PartnerKey(1)), entry, put).expect("written");
                    rows[at].1 = change.after.expect("a record");
                }
            });
        }
    });
}

/// The 99.9th percentile of reads, in microseconds, over a second.
fn slowest(mut read: impl FnMut()) -> f64 {
    let mut taken: Vec<u32> = Vec::with_capacity(4_000_000);
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        for _ in 0..64 {
            let start = Instant::now();
            read();
            taken.push(start.elapsed().as_nanos() as u32);
        }
    }
    let at = taken.len() * 999 / 1_000;
    let (_, slow, _) = taken.select_nth_unstable(at);
    f64::from(*slow) / 1e3
}

/// A store that lets the replica see its newest changes at a set pace. They
/// were written before, so that what is measured beside a reader is a replica
/// reading and applying them, and not the threads that wrote them.
struct Paced {
    store: Arc<dyn Store>,
    /// Where the log ends after each change still to be seen, and since when
    /// they are let out.
    heads: Mutex<(Instant, Vec<LogHead>)>,
}

const CHANGES_PER_S: f64 = 1_000.0;

impl Paced {
    /// Lets out, from now on, all that was written after a version.
    fn let_out(&self, after: u64) {
        let log = self.store.log(PartnerKey(1), after, usize::MAX >> 1).expect("a log");
        let head = |entry: &Logged| LogHead { key: PartnerKey(1), version: entry.change.version, digest: entry.digest };
        *self.heads.lock() = (Instant::now(), log.iter().map(head).collect());
    }
}

impl PeopleStore for Paced {
    fn people_read(&self, look: PeopleLook<'_>) -> Result<(), StoreError> {
        self.store.people_read(look)
    }

    fn people_write(&self, draft: PeopleDraft<'_>) -> Result<(), Abort> {
        self.store.people_write(draft)
    }

    fn people_prune(&self, prune: &Prune) -> Result<(), StoreError> {
        self.store.people_prune(prune)
    }
}

impl LogReads for Paced {
    fn partner(&self, auth_id: &PartnerId) -> Result<Option<PartnerKey>, StoreError> {
        self.store.partner(auth_id)
    }

    fn version(&self, key: PartnerKey) -> Result<u64, StoreError> {
        self.store.version(key)
    }

    fn follow(
        &self,
        key: PartnerKey,
        after: u64,
        through: u64,
        take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.store.follow(key, after, through, take)
    }

    fn mentions(
        &self,
        key: PartnerKey,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
    ) -> Result<(), StoreError> {
        self.store.mentions(key, through, mention, take)
    }

    fn history(&self, key: PartnerKey, number: E164) -> Result<Vec<Past>, StoreError> {
        self.store.history(key, number)
    }

    fn entries(&self, key: PartnerKey, after: u64, limit: usize) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        self.store.entries(key, after, limit)
    }

    fn list(
        &self,
        key: PartnerKey,
        after: u64,
        limit: usize,
        skip: u64,
        numbers: usize,
    ) -> Result<Vec<LoggedChange>, StoreError> {
        self.store.list(key, after, limit, skip, numbers)
    }

    fn replay(
        &self,
        key: PartnerKey,
        through: u64,
        take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.store.replay(key, through, take)
    }

    fn version_at(&self, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
        self.store.version_at(key, time)
    }
}

impl NetChangeTable for Paced {
    fn net_change_ends(&self, key: PartnerKey) -> Result<Vec<u64>, StoreError> {
        self.store.net_change_ends(key)
    }

    fn net_change_spans(&self, key: PartnerKey, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        self.store.net_change_spans(key, after, through)
    }

    fn net_change(&self, key: PartnerKey, last: u64) -> Result<Option<NetChange>, StoreError> {
        self.store.net_change(key, last)
    }

    fn put_net_change(&self, key: PartnerKey, net: &NetChange) -> Result<(), StoreError> {
        self.store.put_net_change(key, net)
    }

    fn put_log_span(&self, key: PartnerKey, first: u64, last: u64) -> Result<(), StoreError> {
        self.store.put_log_span(key, first, last)
    }
}

impl SideTables for Paced {
    fn survey(&self) -> Result<(), StoreError> {
        self.store.survey()
    }

    fn delete_over(&self, over: &Over) -> Result<u64, StoreError> {
        self.store.delete_over(over)
    }

    fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<StoredJob>, u64), StoreError> {
        self.store.jobs(key, skip, limit)
    }

    fn job(&self, key: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.store.job(key, id)
    }

    fn job_batches(
        &self,
        key: PartnerKey,
        id: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        self.store.job_batches(key, id, from, limit)
    }

    fn open_jobs(&self) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError> {
        self.store.open_jobs()
    }

    fn document(&self, key: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(key, kind, id)
    }

    fn documents(
        &self,
        key: PartnerKey,
        kind: &str,
        walk: DocumentWalk<'_>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.documents(key, kind, walk, limit)
    }

    fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<(PartnerKey, Document)>, StoreError> {
        self.store.due(kind, now, limit)
    }

    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        self.store.lease(name, holder, seconds)
    }

    fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.store.end_lease(name, holder)
    }

    fn forget_answered(&self, before: Time) -> Result<(), StoreError> {
        self.store.forget_answered(before)
    }

    fn key_uses(&self) -> Result<Vec<(PartnerKey, KeyId, Time)>, StoreError> {
        self.store.key_uses()
    }

    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Result<(), StoreError> {
        self.store.put_key_uses(uses)
    }

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.store.leaseholder(name)
    }
}

impl Store for Paced {
    fn health(&self) -> &rollcall::store::health::Health {
        self.store.health()
    }

    fn probe(&self) {
        self.store.probe();
    }

    fn heads(&self, _: bool) -> Result<Option<Vec<LogHead>>, StoreError> {
        let heads = self.heads.lock();
        let due = (heads.0.elapsed().as_secs_f64() * CHANGES_PER_S) as usize;
        Ok(due.min(heads.1.len()).checked_sub(1).map(|at| vec![heads.1[at]]))
    }

    fn load(&self, what: Load, take: &mut dyn FnMut(Loaded) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.store.load(what, take)
    }

    fn keep_row_digests(&self, made: &[(LogHead, RowDigest)], replace: bool) -> Result<u64, StoreError> {
        self.store.keep_row_digests(made, replace)
    }

    fn write_beside(&self, key: PartnerKey, at: Time, draft: SideDraft<'_>) -> Result<(), Abort> {
        self.store.write_beside(key, at, draft)
    }

    fn write(&self, target: WriteTarget, entry: LogEntry, draft: Draft<'_>) -> Result<Option<u64>, Abort> {
        self.store.write(target, entry, draft)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.store.backup(to)
    }

    fn integrity(&self) -> Result<Vec<String>, StoreError> {
        self.store.integrity()
    }

    fn shared(&self) -> bool {
        self.store.shared()
    }

    fn serve_lock(&self) -> Result<Option<Box<dyn Send + Sync>>, StoreError> {
        self.store.serve_lock()
    }
}

/// Reads of the index while a real replica applies a thousand changes a second,
/// against the same reads while nothing happens. The machine has other things
/// to do as well, so of several rounds the best pair counts.
fn read_beside_changes(path: &Path) {
    heading("reading an account page while 1,000 changes a second are applied, best pair of 7 rounds");
    let store = Arc::new(Paced { store: open(path), heads: Mutex::new((Instant::now(), Vec::new())) });
    let replica = Replica::load(store.clone()).expect("loads");
    let node = replica.node(PARTNER).expect("the partner");
    let (filter, order) = shared::ask("account_auth_id", &shared::account_id(7), "");
    let page = Window::Page { skip: 0, rows: 20 };
    let mut read = || {
        let snapshot = node.snapshot();
        std::hint::black_box(snapshot.select(&filter, order, page, now()).total);
    };
    let targets = targets(600);
    let (mut idle, mut busy, mut applied) = (1.0, f64::INFINITY, 0.0);
    for round in 0..7 {
        let quiet = slowest(&mut read);
        let before = node.snapshot().version;
        std::thread::scope(|scope| {
            for targets in targets.chunks(targets.len().div_ceil(WRITERS)) {
                let service = verbs(store.clone());
                scope.spawn(move || {
                    targets.iter().for_each(|&number| reassign(&service, PartnerKey(1), number, 100 + round))
                });
            }
        });
        store.let_out(before);
        let stop = AtomicBool::new(false);
        let slow = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    replica.follow();
                    // As the server's settings have it.
                    std::thread::sleep(Duration::from_millis(25));
                }
            });
            let slow = slowest(&mut read);
            stop.store(true, Ordering::Relaxed);
            slow
        });
        if slow / quiet < busy / idle {
            (idle, busy, applied) = (quiet, slow, (node.snapshot().version - before) as f64);
        }
        // What is left of them, before the next round.
        std::thread::sleep(Duration::from_millis(300));
        replica.follow();
    }
    reported("changes applied in the second", applied, "");
    reported("99.9th percentile, idle", idle, "µs");
    reported("99.9th percentile, beside changes", busy, "µs");
    at_most("beside changes ÷ idle", busy / idle, "times", 2.0, 1.2);
}

/// The argument that makes this program a process to be measured.
const RESIDENT: &str = "--resident";

/// Loads a database and says by how many bytes that made the process larger.
fn tell_resident(path: &Path) {
    let empty = shared::resident_bytes();
    let replica = Replica::load(open(path)).expect("loads");
    let numbers: usize = replica.nodes().iter().map(|node| node.snapshot().len()).sum();
    println!("{} {numbers}", shared::resident_bytes().saturating_sub(empty));
}

fn memory(folder: &Path) {
    heading("memory of a process that has loaded, above an empty one");
    resident(folder, "bytes a number, 10 M in blocks", &shared::blocks(10 * NUMBERS), 45.0, 20.0);
    resident(folder, "bytes a number, 1 M of India", &shared::indian(NUMBERS), 70.0, 60.0);
    resident(folder, "bytes a number, 1 M at random", &shared::scattered(NUMBERS), 100.0, 60.0);
}

fn resident(folder: &Path, what: &str, numbers: &[(u64, u64)], least: f64, aim: f64) {
    let path = folder.join("resident.db");
    let store = database(&path);
    let write = |verb, draft: Draft<'_>| {
        let actor = Actor::Command { user: "bench".to_owned() };
        let entry = LogEntry { at: now(), actor, request_id: None, verb, from: None };
        store.write(WriteTarget::Partner(PartnerKey(1)), entry, draft).expect("written");
    };
    let entities = |transaction: &mut dyn store::Transaction| {
        for at in 0..shared::ACCOUNTS {
            transaction.put_entity(EntityChange::Account(Edit::created(shared::account(at))))?;
            transaction.put_entity(EntityChange::Application(Edit::created(shared::application(at))))?;
        }
        Ok(())
    };
    write(Verb::Import, Box::new(entities));
    let mut random = Random(3);
    for numbers in numbers.chunks(200_000) {
        let created = |&(digits, holder): &(u64, u64)| NumberChange {
            number: E164::new(digits).expect("a number"),
            before: None,
            after: Some(record(holder, &mut random)),
        };
        let changes: Vec<NumberChange> = numbers.iter().map(created).collect();
        write(Verb::Import, Box::new(|transaction| Ok(transaction.put_numbers(&changes)?)));
    }
    drop(store);
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(RESIDENT).arg(&path).stdin(Stdio::null()).output().expect("runs");
    remove(&path);
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [bytes, loaded] = told[..] else {
        panic!("the process said {text:?} {}", String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(loaded as usize, numbers.len());
    at_most(what, bytes / loaded, "bytes", least, aim);
}
