//! What a power cut leaves: every write that was acknowledged.
//!
//! The real store runs on a disk (`tests/disk`) that loses its power at a
//! random call. What was not synced by then is dropped, torn or kept sector by
//! sector, in any order, and so are entries of the directory. Several writers
//! commit in groups, another connection checkpoints in between, and what is
//! left is opened again, on such a disk as well, up to three times in a row;
//! sometimes the process was killed instead.
//!
//! `ROLLCALL_POWER_SEEDS=1000` tries a thousand seeds instead of forty. A seed
//! fixes when the power goes and what is left, though not which thread runs
//! when. The figures are shown with `--nocapture`.
//!
//! A binary of its own: the disk takes the place of SQLite's file system for
//! the whole process.

#[allow(dead_code, clippy::print_stderr, reason = "shared with the other tests, which need more of it")]
#[path = "it/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
#[path = "it/fixture.rs"]
mod fixture;
#[path = "it/until.rs"]
mod until;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollcall::domain::change::Edit;
use rollcall::domain::{EntityChange, Logged, NumberChange, PartnerKey, Verb};
use rollcall::store::{
    self, Abort, Answered, Load, Loaded, Location, Open, Ownership, Store, StoreError, StoredJob, WriteTarget,
};
use weak_disk::{Disk, Event, Plan, Random, Syncs};

use fixture::*;

const DATABASE: &str = "rollcall.db";
const LOG: &str = "rollcall.db-wal";
const PARTNERS: [&str; 2] = ["PA_1", "PA_2"];
const WRITERS: u64 = 4;

/// How many seeds a test tries, of forty.
fn seeds(of_forty: u64) -> u64 {
    let all = std::env::var("ROLLCALL_POWER_SEEDS").ok().map(|text| text.parse().expect("a number of seeds"));
    (all.unwrap_or(40_u64) * of_forty).div_ceil(40)
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
struct Ack {
    partner: &'static str,
    /// `None` if it put nothing into the log.
    version: Option<u64>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Partner,
    Account(String),
    Numbers(Vec<NumberChange>),
    /// Numbers, and the answer under this idempotency key.
    Answered(Vec<NumberChange>, String),
    Answer(String),
    Job(StoredJob),
}

fn answer(key: &str) -> Answered {
    Answered { fingerprint: [7; 32], status: 201, etag: None, body: key.as_bytes().to_vec() }
}

fn open(directory: &Path) -> Result<Arc<dyn Store>, StoreError> {
    store::open(&Location::Sqlite(directory.join(DATABASE)), Open::Create)
}

fn stopped(error: &Abort) -> bool {
    matches!(error, Abort::Store(StoreError::Stopped { .. }))
}

// Life until the power goes.

/// One process on a disk.
struct Life<'a> {
    directory: &'a Path,
    disk: &'a Disk,
    /// What makes its names new.
    number: u64,
    seed: u64,
    /// Whether a failed sync may go unnoticed by those who write: a checkpoint
    /// is tried again, and until then the log has everything.
    goes_on: bool,
    acks: &'a Mutex<Vec<Ack>>,
}

impl Life<'_> {
    /// Writes until the disk fails; then the store too, as far as there is one.
    fn live(&self) -> Result<Arc<dyn Store>, StoreError> {
        let store = open(self.directory)?;
        // As a server does.
        let _lock = store.serve_lock()?.expect("it is alone");
        let keys = match self.partners(&*store) {
            Ok(keys) => keys,
            Err(error) => {
                assert!(self.disk.is_cut() || self.disk.has_failed(), "{error:?}");
                return Ok(store);
            }
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let checkpoints = scope.spawn(|| self.checkpoint(&over));
            let writers: Vec<_> = (0..WRITERS)
                .map(|at| {
                    let (store, keys) = (&store, &keys);
                    scope.spawn(move || Writer::new(self, &**store, keys, at).write())
                })
                .collect();
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            over.store(true, Ordering::SeqCst);
            checkpoints.join().expect("no panic");
            ended.into_iter().for_each(|ended| ended.expect("no panic"));
        });
        Ok(store)
    }

    fn ack(&self, partner: &'static str, version: Option<u64>, what: What) {
        self.acks.lock().expect("no panic").push(Ack { partner, version, what });
    }

    /// Makes the partners that are not there yet.
    fn partners(&self, store: &dyn Store) -> Result<BTreeMap<&'static str, PartnerKey>, Abort> {
        for name in PARTNERS {
            let body = partner(name);
            let made = store.write(
                WriteTarget::New(body.auth_id.clone()),
                entry(Verb::PartnerCreate),
                draft(|transaction| Ok(transaction.put_entity(EntityChange::Partner(Edit::created(body.clone())))?)),
            );
            match made {
                Ok(version) => self.ack(name, version, What::Partner),
                Err(Abort::Refused) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(partners(store)?)
    }

    /// In half of all lives another connection, as another process would have,
    /// moves the log into the file whenever it may; in the others that is left
    /// to who writes.
    fn checkpoint(&self, over: &AtomicBool) {
        let mut random = Random::new(self.seed);
        if random.one_in(2) {
            return;
        }
        let Ok(connection) = rusqlite::Connection::open(self.directory.join(DATABASE)) else { return };
        // It gives way to everybody.
        connection.busy_timeout(Duration::ZERO).expect("set");
        while !over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_micros(random.below(8_000)));
            let how = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][random.below(4) as usize];
            let sql = format!("PRAGMA wal_checkpoint({how})");
            if let Err(error) = connection.query_row(&sql, [], |_| Ok(()))
                && error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
            {
                // As the store does.
                let left = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
                connection.set_db_config(left, true).expect("set");
                return;
            }
        }
    }
}

fn partners(store: &dyn Store) -> Result<BTreeMap<&'static str, PartnerKey>, StoreError> {
    let mut keys = BTreeMap::new();
    store.load(Load { only: None, numbers: false }, &mut |loaded| {
        if let Loaded::Partner { head, partner, .. } = loaded {
            let known = PARTNERS.into_iter().find(|name| *name == partner.auth_id.as_str());
            keys.insert(known.expect("nobody makes others"), head.key);
        }
        Ok(())
    })?;
    Ok(keys)
}

struct Writer<'a> {
    life: &'a Life<'a>,
    store: &'a dyn Store,
    keys: &'a BTreeMap<&'static str, PartnerKey>,
    at: u64,
    random: Random,
    turn: u64,
    /// Its next new number, and one that it has, of which partner.
    next: u64,
    has: Option<(&'static str, u64)>,
}

impl<'a> Writer<'a> {
    fn new(life: &'a Life<'a>, store: &'a dyn Store, keys: &'a BTreeMap<&'static str, PartnerKey>, at: u64) -> Self {
        let random = Random::new(life.seed << 8 | at);
        let next = 10_000_000_000 + life.number * 100_000_000 + at * 10_000_000;
        Writer { life, store, keys, at, random, turn: 0, next, has: None }
    }

    /// Writes until that fails, and once more.
    fn write(mut self) {
        loop {
            let failed_before = self.life.disk.has_failed();
            let partner = PARTNERS[self.random.below(2) as usize];
            self.turn += 1;
            match self.one(partner) {
                Ok((partner, version, what)) => {
                    assert!(!failed_before || self.life.goes_on, "acknowledged after a failed sync: {what:?}");
                    self.life.ack(partner, version, what);
                }
                Err(error) => {
                    let (cut, failed) = (self.life.disk.is_cut(), self.life.disk.has_failed());
                    assert!(cut || failed, "without a reason: {error:?}");
                    assert!(cut || stopped(&error), "{error:?}");
                    assert!(self.one(partner).is_err(), "written after {error:?}");
                    return;
                }
            }
        }
    }

    fn one(&mut self, partner: &'static str) -> Result<(&'static str, Option<u64>, What), Abort> {
        let name = format!("{}_{}_{}", self.life.number, self.at, self.turn);
        match self.random.below(8) {
            0 => {
                let id = format!("MA_{name}");
                let body = account(&id);
                let version = self.put(partner, |transaction| {
                    transaction.put_entity(EntityChange::Account(Edit::created(body.clone())))
                })?;
                Ok((partner, version, What::Account(id)))
            }
            1 => {
                let version = self.put(partner, |transaction| transaction.put_answered(&name, &answer(&name)))?;
                Ok((partner, version, What::Answer(name)))
            }
            2 => {
                let job = StoredJob { id: name.clone(), created_at: time(NOW), open: true, body: name };
                let version = self.put(partner, |transaction| {
                    transaction.put_job(&job)?;
                    transaction.put_job_batch(&job.id, 0, &job.body)
                })?;
                Ok((partner, version, What::Job(job)))
            }
            3 if self.has.is_some() => {
                let (partner, digits) = self.has.expect("just asked");
                let mut changes = Vec::new();
                let version = self.put(partner, |transaction| {
                    let Ownership::Ours { record, .. } = transaction.numbers(&[number(digits)])?.remove(0) else {
                        panic!("{digits} was acknowledged, and is not there")
                    };
                    changes =
                        vec![NumberChange { number: number(digits), before: Some(record), after: Some(stock(&name)) }];
                    transaction.put_numbers(&changes)
                })?;
                Ok((partner, version, What::Numbers(changes)))
            }
            kind => {
                let count = [1, 1, 1, 10, 20, 150][self.random.below(6) as usize];
                let (first, end) = (self.next, self.next + count);
                self.next = end;
                let changes: Vec<NumberChange> = (first..end).map(|digits| created(digits, stock(&name))).collect();
                let with_answer = kind < 6;
                let version = self.put(partner, |transaction| {
                    if with_answer {
                        transaction.put_answered(&name, &answer(&name))?;
                    }
                    transaction.put_numbers(&changes)
                })?;
                self.has = Some((partner, first));
                Ok((partner, version, if with_answer { What::Answered(changes, name) } else { What::Numbers(changes) }))
            }
        }
    }

    fn put(
        &self,
        partner: &str,
        mut body: impl FnMut(&mut dyn store::Transaction) -> Result<(), StoreError> + Send,
    ) -> Result<Option<u64>, Abort> {
        let key = self.keys[partner];
        self.store.write(WriteTarget::Partner(key), entry(Verb::Import), draft(|transaction| Ok(body(transaction)?)))
    }
}

// What is left.

type Files = BTreeMap<OsString, Vec<u8>>;

fn lay_out(files: &Files) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("written");
    }
    directory
}

/// What is wrong with what was left, and how many writes it has that nobody
/// acknowledged.
fn survey(files: &Files, acks: &[Ack]) -> (Vec<String>, u64) {
    // Not on a weak disk; opening it changes it.
    let directory = lay_out(files);
    let store = match open(directory.path()) {
        Ok(store) => store,
        Err(error) => return (vec![format!("it does not open: {error:?}")], 0),
    };
    let mut wrong = differences(&*store);
    let keys = match partners(&*store) {
        Ok(keys) => keys,
        Err(error) => return (vec![format!("it does not load: {error:?}")], 0),
    };
    let (mut logged, mut versions) = (0, 0);
    for name in PARTNERS {
        let acks: Vec<&Ack> = acks.iter().filter(|ack| ack.partner == name).collect();
        let Some(&key) = keys.get(name) else {
            wrong.extend(acks.iter().map(|ack| format!("lost, with its partner: {ack:?}")));
            continue;
        };
        let log = match store.log(key, 0, usize::MAX >> 1) {
            Ok(log) => log,
            Err(error) => return (vec![format!("its log does not read: {error:?}")], 0),
        };
        logged += log.len() as u64;
        versions += acks.iter().filter(|ack| ack.version.is_some()).count() as u64;
        let answers = answers(&*store, key, &acks);
        let lost = acks.iter().filter(|ack| !is_there(&*store, key, &log, &answers, ack));
        wrong.extend(lost.map(|ack| format!("lost: {ack:?}")));
    }
    // It goes on from here.
    if let Some(&key) = keys.get(PARTNERS[0])
        && put_account(&*store, key, "MA_after").is_none()
    {
        wrong.push("it takes no more writes".to_owned());
    }
    (wrong, logged.saturating_sub(versions))
}

/// The idempotency keys of these writes under which their answer is found.
fn answers<'a>(store: &dyn Store, key: PartnerKey, acks: &[&'a Ack]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let looking = draft(|transaction| {
        for ack in acks {
            if let What::Answered(_, idempotency) | What::Answer(idempotency) = &ack.what
                && transaction.answered(idempotency, time(0))? == Some(answer(idempotency))
            {
                found.insert(idempotency.as_str());
            }
        }
        Ok(())
    });
    store.write(WriteTarget::Partner(key), entry(Verb::Import), looking).expect("looks");
    found
}

fn is_there(store: &dyn Store, key: PartnerKey, log: &[Logged], answers: &BTreeSet<&str>, ack: &Ack) -> bool {
    let change = match ack.version {
        None => None,
        Some(version) => match log.get(version as usize - 1) {
            Some(logged) if logged.change.version == version => Some(&logged.change),
            _ => return false,
        },
    };
    let numbers = |numbers: &Vec<NumberChange>| change.is_some_and(|change| change.numbers == *numbers);
    match &ack.what {
        What::Partner => change.is_some_and(|change| change.verb == Verb::PartnerCreate),
        What::Account(id) => change.is_some_and(
            |change| matches!(&change.entities[..], [EntityChange::Account(edit)] if edit.after.auth_id.as_str() == id),
        ),
        What::Numbers(changes) => numbers(changes),
        What::Answered(changes, idempotency) => numbers(changes) && answers.contains(&**idempotency),
        What::Answer(idempotency) => answers.contains(&**idempotency),
        What::Job(job) => {
            let batch = vec![(0, job.body.clone())];
            store.job(key, &job.id).is_ok_and(|found| found.as_ref() == Some(job))
                && store.job_batches(key, &job.id, 0, 9).is_ok_and(|found| found == batch)
        }
    }
}

// Seeds.

#[derive(Debug, Default)]
struct Figures {
    lives: u64,
    calls: u64,
    acknowledged: u64,
    /// The most writes that are there although nobody said so.
    silent_most: u64,
    /// Lives in which a sync failed.
    failed: u64,
    /// Cuts while a checkpoint was writing into the file.
    in_checkpoints: u64,
    /// Lives that began with what a killed process had left.
    killed: u64,
    lost: Vec<String>,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The power is cut.
    Cut,
    /// It is killed: the next one finds everything that it wrote, and the disk
    /// has no more of it than before.
    Kill,
}

/// Runs up to `lives` processes one after the other, each until it can write no
/// more, and looks at what a power cut would leave of every one of them.
fn run(seed: u64, lives: u64, syncs: impl Fn(&mut Random) -> Syncs, figures: &mut Figures) {
    let mut random = Random::new(seed);
    let acks = Mutex::new(Vec::new());
    let mut before: Option<(tempfile::TempDir, Arc<Disk>, End)> = None;
    let lives = 1 + random.below(lives);
    for number in 0..lives {
        // Now and then while the database is being made.
        let cut_at = 1 + if random.one_in(5) { random.below(120) } else { random.below(4_000) };
        let plan = Plan { seed: random.bits(), cut_at, syncs: syncs(&mut random) };
        let goes_on = !matches!(plan.syncs, Syncs::OneFails { name: "-wal", .. });
        let (directory, disk) = match &before {
            None => (tempfile::tempdir().expect("a directory"), None),
            Some((_, disk, End::Cut)) => (lay_out(&disk.remains()), None),
            Some((_, disk, End::Kill)) => {
                figures.killed += 1;
                let directory = tempfile::tempdir().expect("a directory");
                let disk = disk.after_a_kill(directory.path(), plan.clone()).expect("watched");
                (directory, Some(disk))
            }
        };
        let disk = disk.unwrap_or_else(|| Disk::watch(directory.path(), plan).expect("watched"));
        let life = Life { directory: directory.path(), disk: &disk, number, seed: random.bits(), goes_on, acks: &acks };
        match life.live() {
            Ok(store) => {
                // A process that cannot write ends in good order or not.
                if random.one_in(2) {
                    disk.cut_power();
                }
                drop(store);
            }
            Err(error) => assert!(disk.is_cut() || disk.has_failed(), "seed {seed}: {error:?}"),
        }
        disk.cut_power();
        figures.lives += 1;
        figures.calls += disk.calls();
        figures.failed += u64::from(disk.has_failed());
        figures.in_checkpoints += u64::from(disk.has_pending(DATABASE));
        let acks = acks.lock().expect("no panic");
        let (wrong, silent) = survey(&disk.remains(), &acks);
        if !wrong.is_empty() {
            figures.lost.push(format!("seed {seed}, life {number} of {lives}: {wrong:#?}"));
            figures.acknowledged += acks.len() as u64;
            return;
        }
        // Each writer has at most one write on its way when it ends, and so has
        // whoever makes the partners.
        assert!(silent <= (number + 1) * (WRITERS + 1), "seed {seed}: {silent} writes more than acknowledged");
        figures.silent_most = figures.silent_most.max(silent);
        before = Some((directory, disk, if random.one_in(2) { End::Kill } else { End::Cut }));
    }
    figures.acknowledged += acks.lock().expect("no panic").len() as u64;
}

#[test]
fn acknowledged_writes_survive_power_cuts() {
    let seeds = seeds(40);
    let mut figures = Figures::default();
    for seed in 0..seeds {
        run(seed, 3, |_| Syncs::Kept, &mut figures);
    }
    println!("{seeds} seeds: {figures:?}");
    assert_eq!(figures.lost, [] as [&str; 0]);
    assert!(figures.in_checkpoints > 0, "no cut met a checkpoint");
}

#[test]
fn acknowledged_writes_survive_a_failed_sync() {
    let seeds = seeds(20);
    let mut figures = Figures::default();
    for seed in 0..seeds {
        let one_fails = |random: &mut Random| {
            let (name, below) = if random.one_in(3) { (".db", 20) } else { ("-wal", 300) };
            Syncs::OneFails { name, at: 1 + random.below(below) }
        };
        run(seed, 3, one_fails, &mut figures);
    }
    println!("{seeds} seeds: {figures:?}");
    assert_eq!(figures.lost, [] as [&str; 0]);
    assert!(figures.failed > seeds / 4, "too few syncs failed");
}

/// That the tests above can fail.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let seeds = seeds(5);
    let mut figures = Figures::default();
    for seed in 0..seeds {
        run(seed, 1, |_| Syncs::Ignored, &mut figures);
    }
    println!("{seeds} seeds, {} of them found out, {} writes", figures.lost.len(), figures.acknowledged);
    assert!(figures.lost.len() as u64 > seeds / 2, "only {} of {seeds} seeds lost anything", figures.lost.len());
}

#[test]
fn every_acknowledgement_follows_a_sync() {
    let directory = tempfile::tempdir().expect("a directory");
    let plan = Plan { seed: 1, cut_at: u64::MAX, syncs: Syncs::Kept };
    let disk = Disk::watch(directory.path(), plan).expect("watched");
    let store = open(directory.path()).expect("opens");
    let key = new_partner(&*store, PARTNERS[0]);
    for turn in 0..300 {
        let version = put(&*store, key, &[created(10_000_000 + turn, stock("t"))]);
        disk.note(version.expect("something new"));
    }
    let trace = disk.trace();
    let wrote = Event::Wrote(LOG.into());
    let synced = Event::Synced(LOG.into());
    let (mut noted, mut writes, mut pending) = (0, 0, false);
    for event in &trace {
        match event {
            Event::Noted(version) => {
                noted += 1;
                assert_eq!(*version, noted + 1);
                assert!(writes > 0 && !pending, "version {version} was acknowledged before it was synced");
                writes = 0;
            }
            event if *event == wrote => (writes, pending) = (writes + 1, true),
            event if *event == synced => pending = false,
            _ => {}
        }
    }
    println!("{noted} acknowledgements in a trace of {} events, each after a sync of its writes", trace.len());
}
