//! What a process's sudden end leaves behind, and a disk without room.
//!
//! Real processes are killed with SIGKILL at random moments, 50 in all, while
//! a server that was there before goes on answering. Every time: what was
//! acknowledged is there, nothing is half there, `rollcall verify` finds
//! nothing, and the next start is clean.
//!
//! `ROLLCALL_CRASH_ROUNDS=1000` kills a thousand instead of fifty. The figures
//! are shown with `--nocapture`.
//!
//! SIGKILL leaves the kernel's caches alone, so a missing sync would not show;
//! that there is one is seen in a trace of system calls.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::domain::{E164, EntityChange, Logged, PartnerId, Scope, Time, Verb};
use rollcall::inventory::Snapshot;
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::{NewKey, Service, ServiceError};
use rollcall::store::{self, Location, Open, Store, StoreError};

use crate::process::{
    Asking, Client, PARTNER, Place, Random, Server, ended, partner, run, run_and_kill, signal, wait_for_handler,
};

/// How many processes a test kills, of all that are killed.
fn rounds(of_fifty: u64) -> u64 {
    let all = std::env::var("ROLLCALL_CRASH_ROUNDS").ok().map(|text| text.parse().expect("a number of rounds"));
    (all.unwrap_or(50_u64) * of_fifty).div_ceil(50)
}

/// A database that is served all the time, and one that only commands use, so
/// that each has to recover what the one before it left.
struct Pair {
    places: [Place; 2],
    server: Server,
    asking: Asking,
}

impl Pair {
    fn new(check: impl Fn(&Client) + Send + 'static) -> Pair {
        let places = [Place::new(), Place::new()];
        let server = places[0].serve();
        let asking = Asking::start(server.client(), Duration::from_millis(5), check);
        Pair { places, server, asking }
    }

    fn place(&self, round: u64) -> &Place {
        &self.places[(round % 2) as usize]
    }

    fn verify(&self, round: u64) {
        self.place(round).verify(round.is_multiple_of(2).then_some(&self.server));
    }

    /// The server never stopped answering, and starts again.
    fn finish(self, what: &str) {
        let answers = self.asking.finish();
        let (took, code) = self.server.stop();
        assert_eq!(code, Some(0), "after {took:?}");
        for place in &self.places {
            let server = place.serve();
            place.verify(Some(&server));
        }
        println!("{what}; the server beside: {answers}");
    }
}

fn log_after(store: &dyn Store, snapshot: &Snapshot, version: u64) -> Vec<Logged> {
    store.log(snapshot.key, version, usize::MAX >> 1).expect("a log")
}

// Imports.

/// How many numbers an import has: two steps of its writing.
const NUMBERS: u64 = 16_000;

/// The one cost of all numbers, as a client sees it.
fn check_one_cost(client: &Client) {
    let (total, rows) = client.list("/api/v1/partner/numbers?per_page=100");
    assert!(total == 0 || total == NUMBERS, "{total} numbers");
    assert_eq!(rows.len() as u64, total.min(100));
    let costs: BTreeSet<String> = rows.iter().map(|row| row["monthly_cost"].to_string()).collect();
    assert!(costs.len() < 2, "a half import: {costs:?}");
}

#[test]
fn killed_imports_are_all_or_nothing() {
    let mut random = Random::new();
    let pair = Pair::new(check_one_cost);
    let import = |place: &Place, cost: u64| {
        let file = place.blocks("blocks.csv", 33_145_000_000, NUMBERS / 1_000, cost);
        // Other accounts every time, so that the import makes accounts too.
        let text = std::fs::read_to_string(&file).expect("the file").replace("MA_", &format!("MA_{cost}_"));
        std::fs::write(&file, text).expect("written");
        let mut command = place.import(&file);
        command.arg("--move");
        command
    };
    let mut span = Duration::ZERO;
    for place in &pair.places {
        assert_eq!(run(import(place, 0)).code, Some(0));
        let begin = Instant::now();
        assert_eq!(run(import(place, 1)).code, Some(0));
        span = span.max(begin.elapsed());
    }
    let (rounds, mut committed, mut acknowledged) = (rounds(14), 0, 0);
    for round in 0..rounds {
        let place = pair.place(round);
        let before = place.snapshot();
        let cost = round + 2;
        let ran = run_and_kill(import(place, cost), span / 4 + random.moment(span));
        let after = place.snapshot();
        let now = Time::now();
        let costs: BTreeSet<i64> = after.iter(now).map(|number| number.cost().expect("a cost").minor / 100).collect();
        let made = after.accounts.iter().filter(|account| account.auth_id.as_str().starts_with(&format!("MA_{cost}_")));
        let made = made.count();
        assert_eq!(after.len() as u64, NUMBERS, "round {round}");
        assert_eq!(costs.len(), 1, "round {round}: a half import, costs {costs:?}");
        let done = costs.contains(&(cost as i64));
        let log = log_after(&*place.store(), &after, before.version);
        if done {
            committed += 1;
            assert_eq!((made, after.version), (7, before.version + 1), "round {round}");
            let change = &log[0].change;
            assert_eq!((log.len(), change.numbers.len() as u64, change.verb), (1, NUMBERS, Verb::Import));
        } else {
            assert_eq!((made, after.version, log.len()), (0, before.version, 0), "round {round}");
            assert_eq!(after.digest(), before.digest(), "round {round}");
        }
        if ran.out.contains("\"rows\"") {
            acknowledged += 1;
            assert!(done, "round {round}: reported, and not there: {}", ran.out);
        }
        pair.verify(round);
    }
    pair.finish(&format!("{rounds} imports killed, {committed} after the commit, {acknowledged} after their report"));
}

// Single writes by commands.

#[test]
fn killed_commands_keep_what_they_printed() {
    let mut random = Random::new();
    let pair = Pair::new(|client| {
        let (status, body) = client.get("/api/v1/partner/accounts", "*/*").expect("an answer");
        assert!(status == 200 || status == 403 && body.contains("suspended"), "{status}: {body}");
    });
    let begin = Instant::now();
    pair.places[0].must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_first", "--name", "x"]);
    let span = begin.elapsed();
    let (rounds, mut committed, mut acknowledged) = (rounds(14), 0, 0);
    for round in 0..rounds {
        let place = pair.place(round);
        let before = place.snapshot();
        let name = format!("MA_{round}");
        let arguments: &[&str] = match (round / 2 % 3, before.partner.suspended_at) {
            (0, _) => &["account", "create", "--partner", PARTNER, "--auth-id", &name, "--name", "x", "--json"],
            (1, _) => &["key", "create", "--partner", PARTNER, "--name", &name, "--json"],
            (_, None) => &["partner", "suspend", "--auth-id", PARTNER, "--json"],
            (_, Some(_)) => &["partner", "resume", "--auth-id", PARTNER, "--json"],
        };
        let ran = run_and_kill(place.command(arguments), random.moment(span * 3 / 2));
        let after = place.snapshot();
        let log = log_after(&*place.store(), &after, before.version);
        assert_eq!(after.version, before.version + log.len() as u64, "round {round}");
        let rows_differ = match (&log[..], arguments[0]) {
            ([], _) => after.digest() != before.digest(),
            ([_], "account") => after.accounts.get(&name).is_none(),
            ([_], "key") => !after.keys.iter().any(|key| *key.name == *name),
            ([_], _) => after.partner.suspended_at.is_some() == before.partner.suspended_at.is_some(),
            _ => panic!("round {round}: one command made {} changes", log.len()),
        };
        assert!(!rows_differ, "round {round}: rows and log differ after {arguments:?}");
        committed += log.len();
        if ran.out.ends_with("}\n") {
            acknowledged += 1;
            assert_eq!(log.len(), 1, "round {round}: printed, and not there: {}", ran.out);
        }
        pair.verify(round);
    }
    pair.finish(&format!("{rounds} commands killed, {committed} after the commit, {acknowledged} after their result"));
}

// Single writes, many at once, by a process that uses the library.

const WRITERS: usize = 8;
/// Where the writing child finds the database, and what makes its names new.
const DATABASE: &str = "ROLLCALL_CRASH_DATABASE";
const ROUND: &str = "ROLLCALL_CRASH_ROUND";
/// The partner that is suspended and resumed; the other one's key is in use.
const OTHER: &str = "PA_B";

/// A write that the child said was done.
#[derive(Debug)]
struct Acknowledged {
    kind: String,
    id: String,
    version: u64,
}

impl Acknowledged {
    fn parse(line: &str) -> Option<Acknowledged> {
        let mut words = line.strip_prefix("ack ")?.split(' ');
        let (kind, id) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Acknowledged { kind, id, version: words.next()?.parse().ok()? })
    }

    /// Whether rows and log have it.
    fn is_in(&self, snapshot: &Snapshot, logged: &Logged) -> bool {
        let entities = &logged.change.entities;
        match self.kind.as_str() {
            "account" => {
                let named =
                    |e: &EntityChange| matches!(e, EntityChange::Account(e) if e.after.auth_id.as_str() == self.id);
                entities.iter().any(named) && snapshot.accounts.get(&self.id).is_some()
            }
            "key" => {
                let named = |e: &EntityChange| matches!(e, EntityChange::Key(e) if e.after.id.as_str() == self.id);
                entities.iter().any(named) && snapshot.keys.get(&self.id).is_some()
            }
            "number" => {
                let number: E164 = self.id.parse().expect("a number");
                let row = snapshot.get(number, Time::now());
                logged.change.numbers.iter().any(|change| change.number == number)
                    && row.is_some_and(|row| row.version() == self.version)
            }
            "suspended" | "resumed" => {
                let suspended = self.kind == "suspended";
                let set = |e: &EntityChange| matches!(e, EntityChange::Partner(e) if e.after.suspended_at.is_some() == suspended);
                entities.iter().any(set)
            }
            kind => panic!("nothing writes {kind}"),
        }
    }
}

#[test]
fn acknowledged_writes_survive_the_writer() {
    let mut random = Random::new();
    let pair = Pair::new(|client| {
        let (total, rows) = client.list("/api/v1/partner/numbers?per_page=100");
        assert_eq!(rows.len() as u64, total.min(100));
    });
    for place in &pair.places {
        place.must(&["partner", "create", "--auth-id", OTHER, "--name", "B"]);
    }
    let (rounds, mut acknowledged, mut silent) = (rounds(14), 0, 0);
    for round in 0..rounds {
        let place = pair.place(round);
        let other: PartnerId = OTHER.parse().expect("an id");
        let service = Service::new(place.store(), crate::fixture::operator());
        let before = [partner(), other].map(|id| service.snapshot(&id, true).expect("a partner"));

        let mut child = Command::new(std::env::current_exe().expect("the path of this test"))
            .args(["--ignored", "--exact", "crash::writing_child", "--nocapture"])
            .env(DATABASE, &place.database)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.starts_with("ack ") {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("a line"), 0, "the child does not write");
        }
        std::thread::sleep(random.moment(Duration::from_millis(120)));
        child.kill().expect("our own child");
        let mut text = line;
        output.read_to_string(&mut text).expect("what it said");
        child.wait().expect("its end");

        let acks: Vec<Acknowledged> = text.lines().filter_map(Acknowledged::parse).collect();
        let told = text.lines().filter(|line| line.starts_with("ack ")).count();
        assert_eq!(acks.len(), told, "a line was not understood: {text}");
        let mut logged = 0;
        for before in before {
            let after = service.snapshot(&before.partner.auth_id, true).expect("a partner");
            let log = log_after(&**service.store(), &after, before.version);
            assert_eq!(after.version, before.version + log.len() as u64, "round {round}: a gap");
            logged += log.len();
            let of_other = before.partner.auth_id.as_str() == OTHER;
            for ack in acks.iter().filter(|ack| of_other == ["suspended", "resumed"].contains(&&*ack.kind)) {
                let entry = log.iter().find(|entry| entry.change.version == ack.version);
                let there = entry.is_some_and(|entry| ack.is_in(&after, entry));
                assert!(there, "round {round}: lost {ack:?}; rows are at {}", after.version);
            }
        }
        // Each writer has at most one write on its way.
        assert!(logged >= acks.len() && logged <= acks.len() + WRITERS, "{logged} of {} acknowledged", acks.len());
        acknowledged += acks.len();
        silent += logged - acks.len();
        pair.verify(round);
    }
    assert!(acknowledged as u64 > rounds, "too few writes to tell anything");
    pair.finish(&format!(
        "{rounds} times {WRITERS} writers killed: {acknowledged} writes acknowledged and there, {silent} there unsaid"
    ));
}

#[test]
#[ignore = "run by acknowledged_writes_survive_the_writer, in a process of its own"]
fn writing_child() {
    let (Some(database), Ok(round)) = (std::env::var_os(DATABASE), std::env::var(ROUND)) else { return };
    let store = store::open(&Location::Sqlite(PathBuf::from(database)), Open::Existing).expect("a database");
    let service = Service::new(store, crate::fixture::operator());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (service, round) = (service.clone(), round.parse::<u64>().expect("a round"));
            scope.spawn(move || {
                for turn in 0.. {
                    let (kind, id, version) = write_something(&service, round, writer, turn);
                    // One write call, so that lines of two writers do not mix.
                    let line = format!("ack {kind} {id} {}\n", version.expect("something new"));
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a reader");
                }
            });
        }
    });
}

/// One write that is new; its kind, what it is about, and its version.
fn write_something(service: &Service, round: u64, writer: usize, turn: u64) -> (&'static str, String, Option<u64>) {
    let name: Arc<str> = format!("MA_{round}_{writer}_{turn}").into();
    match writer {
        0 => {
            let other = OTHER.parse().expect("an id");
            let suspended = service.snapshot(&other, false).expect("a partner").partner.suspended_at.is_some();
            let done = service.partner_suspend(&other, !suspended).expect("written");
            (if suspended { "resumed" } else { "suspended" }, OTHER.to_owned(), done.version)
        }
        1 => {
            let new = NewKey {
                name,
                scopes: vec![Scope::Read],
                expires_at: None,
                networks: Vec::new(),
                dialect: Default::default(),
            };
            let done = service.key_create(&partner(), new).expect("written");
            ("key", done.value.0.id.to_string(), done.version)
        }
        2 => {
            let number = format!("+33145{:06}", round * 10_000 + turn);
            let file = format!("number\n{number}\n");
            let options = ImportOptions::default();
            let cancel = Default::default();
            let watch = Watch { progress: &|_| (), cancel: &cancel };
            let source = || Ok(Box::new(std::io::Cursor::new(file.clone())) as Box<dyn Read>);
            let report = service.import(&partner(), &source, &options, &watch).expect("written");
            assert_eq!(report.imported, 1);
            // An import does not say its version; nobody else touches this number.
            let snapshot = service.snapshot(&partner(), true).expect("a partner");
            let number: E164 = number.parse().expect("a number");
            let version = snapshot.get(number, Time::now()).map(|row| row.version());
            ("number", number.to_string(), version)
        }
        _ => {
            let id = name.parse().expect("an id");
            let done = service.account_create(&partner(), id, name.clone()).expect("written");
            ("account", name.to_string(), done.version)
        }
    }
}

// Servers.

#[test]
fn a_killed_server_hurts_no_writer_and_starts_again() {
    let mut random = Random::new();
    let place = Place::new();
    let (rounds, mut written) = (rounds(8), 0);
    for round in 0..rounds {
        let server = place.serve();
        let (kill_after, file) = (random.moment(Duration::from_millis(300)), format!("{round}.csv"));
        let file = place.blocks(&file, 33_145_000_000, 5, round + 1);
        std::thread::scope(|scope| {
            let importing = scope.spawn(|| run(place.import(&file)));
            let creating = scope.spawn(|| {
                for turn in 0..4 {
                    let name = format!("MA_{round}_{turn}");
                    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", &name, "--name", "x"]);
                }
            });
            std::thread::sleep(kill_after);
            server.kill();
            let imported = importing.join().expect("no panic");
            assert_eq!(imported.code, Some(0), "round {round}: {}", imported.err);
            creating.join().expect("no panic");
        });
        written += 5;
        place.verify(None);
        // Starting proves that the place of the one server is free again.
        let server = place.serve();
        place.verify(Some(&server));
        let snapshot = place.snapshot();
        let costs: BTreeSet<i64> = snapshot.iter(Time::now()).filter_map(|row| row.cost()).map(|c| c.minor).collect();
        assert_eq!(costs, BTreeSet::from([100 * (round as i64 + 1)]));
        for turn in 0..4 {
            assert!(snapshot.accounts.get(&format!("MA_{round}_{turn}")).is_some(), "round {round}: {turn} is lost");
        }
        let (took, code) = server.stop();
        assert_eq!(code, Some(0), "after {took:?}");
    }
    println!("{rounds} servers killed under {written} writes; all of them are there, and each restart was clean");
}

#[test]
fn there_is_one_server_at_a_time() {
    let place = Place::new();
    let server = place.serve();
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("another server") && second.err.contains("rollcall.db"), "{}", second.err);
    server.kill();
    place.verify(Some(&place.serve()));
}

// Ctrl-C.

#[test]
fn ctrl_c_during_an_import_writes_nothing() {
    let place = Place::new();
    let before = place.snapshot().digest();
    let file = place.blocks("large.csv", 33_100_000_000, 300, 1);
    // Once while reading, once between reading and writing, once while writing.
    let mut interrupted = 0;
    let mut worst = Duration::ZERO;
    for wait_ms in [0, 300, 700] {
        let mut child = place.import(&file).spawn().expect("the program runs");
        wait_for_handler(&child);
        std::thread::sleep(Duration::from_millis(wait_ms));
        let begin = Instant::now();
        signal(&child, "INT");
        let code = ended(&mut child, Duration::from_secs(30));
        worst = worst.max(begin.elapsed());
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
        if code == Some(0) {
            // It was faster than we were; the next start has nothing to test.
            break;
        }
        interrupted += 1;
        assert_eq!(code, Some(1), "after {wait_ms} ms: {said}");
        assert!(said.contains("nothing was written"), "after {wait_ms} ms: {said}");
        assert_eq!(place.snapshot().digest(), before, "after {wait_ms} ms");
        place.verify(None);
    }
    assert!(interrupted > 0, "every import was over before the first Ctrl-C");
    println!("{interrupted} imports interrupted, the slowest to end took {worst:?}");
}

// No room.

/// A file system of 4 MB, until dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m,mode=700", "rollcall-test"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then(|| Small(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is, until the file is removed.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, because a failed test may have left something open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[track_caller]
fn check_says_full(ran: &crate::process::Ran) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("full") && ran.err.contains("rollcall.db"), "{}", ran.err);
    assert!(!ran.err.contains("panicked") && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let Some(small) = Small::mount() else {
        crate::cluster::skipped("mounting a small file system is not permitted here");
        return;
    };
    let place = Place::within(small.path());
    let server = place.serve();
    let little = place.blocks("little.csv", 33_145_000_000, 1, 1);
    let large = place.scattered("large.csv", 33_200_000_000, 50_000);
    assert_eq!(run(place.import(&little)).code, Some(0));
    place.verify(Some(&server));
    let answering = Asking::start(server.client(), Duration::from_millis(5), |client| {
        let (total, rows) = client.list("/api/v1/partner/numbers?per_page=100");
        assert_eq!((total, rows.len()), (1_000, 100));
    });

    // No room for anything, seen by commands and by one process that lives on.
    let service = Service::new(place.store(), crate::fixture::operator());
    let create = |id: &str| service.account_create(&partner(), id.parse().expect("an id"), id.into());
    let filler = small.fill();
    let (mut full, mut made) = (0, Vec::new());
    for turn in 0..200 {
        let id = format!("MA_full_{turn}");
        match create(&id) {
            Ok(_) => made.push(id), // What the write-ahead log had room for already.
            Err(ServiceError::Store(StoreError::Full)) => full += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(full > 100, "only {full} of 200 writes found the disk full");
    check_says_full(&place.run(&["key", "create", "--partner", PARTNER, "--name", "x", "--json"]));
    place.verify(Some(&server));

    // Room again: everything works, also in the process that failed.
    std::fs::remove_file(filler).expect("removed");
    create("MA_after").expect("there is room");
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_then", "--name", "x"]);

    // An import that is larger than the disk, and then one that is not.
    check_says_full(&run(place.import(&large)));
    place.verify(Some(&server));
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", "MA_last", "--name", "x"]);
    place.verify(Some(&server));
    let answers = answering.finish();
    let snapshot = place.snapshot();
    made.extend(["MA_after", "MA_then", "MA_last"].map(str::to_owned));
    let of_import = 1;
    assert_eq!(snapshot.accounts.len(), made.len() + of_import, "what was refused is there");
    assert!(made.iter().all(|id| snapshot.accounts.get(id).is_some()), "an acknowledged account is gone");
    drop(service);
    assert_eq!(server.stop().1, Some(0));
    place.verify(Some(&place.serve()));
    println!("{full} writes refused on a full disk; the server beside: {answers}");
}

#[test]
fn a_file_that_may_not_grow_is_said_and_survived() {
    let place = Place::new();
    let before = place.snapshot().digest();
    let file = place.scattered("large.csv", 33_200_000_000, 50_000);
    let mut limited = Command::new("sh");
    // Ignored, the signal becomes an error of the write.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_rollcall")]);
    limited.args(["import", &file, "--partner", PARTNER, "--json"]);
    limited.env("ROLLCALL_DATABASE", format!("sqlite:{}", place.database.display()));
    let ran = run_quietly(limited);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("rollcall.db") && !ran.err.contains("panicked") && ran.out.is_empty(), "{ran:?}");
    assert_eq!(place.snapshot().digest(), before);
    place.verify(None);
    assert_eq!(run(place.import(&file)).code, Some(0));
    place.verify(None);
}

fn run_quietly(mut command: Command) -> crate::process::Ran {
    command.stdin(Stdio::null());
    run(command)
}

// The sync that SIGKILL cannot show.

#[test]
fn a_key_is_synced_before_it_is_printed() {
    let place = Place::new();
    let trace = place.path("trace");
    let key = place.command(&["key", "create", "--partner", PARTNER, "--name", "x", "--json"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "200", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o"]).arg(&trace);
    strace.arg(key.get_program()).args(key.get_args());
    strace.envs(key.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let traced = strace.stdin(Stdio::null()).output();
    let Some(traced) = traced.ok().filter(|output| output.status.success()) else {
        crate::cluster::skipped("there is no strace here, or it may not trace");
        return;
    };
    let printed = String::from_utf8(traced.stdout).expect("UTF-8");
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let token = printed.split('"').find(|text| text.starts_with("rollcall_")).expect("a token");
    let calls: Vec<&str> = trace.lines().collect();
    let place_of = |found: &dyn Fn(&str) -> bool| calls.iter().position(|call| found(call));
    let shown = place_of(&|call| call.contains("write(1<") && call.contains(token)).expect("the token is printed");
    let wal = |call: &str| call.contains("rollcall.db-wal>");
    let before = &calls[..shown];
    let last_write = before.iter().rposition(|call| call.contains("pwrite64(") && wal(call));
    let last_sync = before.iter().rposition(|call| call.contains("sync(") && wal(call) && call.ends_with("= 0"));
    let (Some(last_write), Some(last_sync)) = (last_write, last_sync) else { panic!("nothing was synced:\n{trace}") };
    assert!(last_write < last_sync, "printed before the sync:\n{trace}");
    let commits = calls[shown..].iter().filter(|call| call.contains("pwrite64(") && wal(call)).count();
    assert_eq!(commits, 0, "written after it was printed:\n{trace}");
    println!("of {} calls: WAL written at {last_write}, synced at {last_sync}, printed at {shown}", calls.len());
}
