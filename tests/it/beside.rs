//! Commands beside a server, bad files, and bad clients: what goes wrong from
//! outside is said or ended, and whoever did nothing wrong does not notice.
//!
//! Limits are compared generously, since machines are busy; the figures are
//! printed and shown with `--nocapture`.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::{Account, EntityChange, Time, Verb, change::Edit};
use rollcall::store::{LogEntry, WriteTarget};

use crate::process::{Asking, Client, PARTNER, Place, Ran, Server, Times, command, ended, run, signal};

const ACCOUNTS: &str = "/api/v1/partner/accounts?per_page=1";
const NUMBERS: &str = "/api/v1/partner/numbers?per_page=100";
const NUMBERS_ALL: &str = "/api/v1/partner/numbers";

// A server shows what commands commit.

/// From a command's end until the server shows what it did.
fn until(shown: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    crate::until::until(Duration::from_secs(10), || "the server does not show it".to_owned(), shown);
    begin.elapsed()
}

#[test]
fn a_server_shows_what_a_command_commits_at_once() {
    let place = Place::new();
    let server = place.serve();
    let client = server.client();
    let small = (1..=15).map(|turn| {
        let name = format!("MA_new_{turn}");
        place.must(&["account", "create", "--partner", PARTNER, "--auth-id", &name, "--name", "x"]);
        until(|| client.list(ACCOUNTS).0 == turn)
    });
    let small = Times::new(small.collect());
    let large = (1..=6).map(|cost| {
        let file = place.blocks("blocks.csv", 33_145_000_000, 10, cost);
        place.must(&["import", &file, "--partner", PARTNER]);
        until(|| client.list(NUMBERS).1.first().is_some_and(|row| row["monthly_cost"].as_f64() == Some(cost as f64)))
    });
    let large = Times::new(large.collect());
    for times in [&small, &large] {
        assert!(times.at(1.0) <= Duration::from_secs(1), "{times}");
    }
    place.verify(Some(&server));
    println!("an account shown after its command: {small}\n10,000 numbers shown after their import: {large}");
}

#[test]
fn commands_that_write_at_once_all_succeed() {
    const EACH: u64 = 6;
    let place = Place::new();
    let server = place.serve();
    place.must(&["partner", "create", "--auth-id", "PA_B", "--name", "B"]);
    let commands = |lane: u64, turn: u64| -> Vec<String> {
        let name = format!("MA_{lane}_{turn}");
        let text = match lane {
            0 | 1 => format!("account create --partner {PARTNER} --auth-id {name} --name x"),
            2 => format!("key create --partner {PARTNER} --name {name}"),
            3 if turn.is_multiple_of(2) => "partner suspend --auth-id PA_B".to_owned(),
            3 => "partner resume --auth-id PA_B".to_owned(),
            _ => {
                let file = place.blocks(&format!("{name}.csv"), 33_100_000_000 + lane * 1_000_000, 1, turn + 1);
                format!("import {file} --partner {PARTNER}")
            }
        };
        text.split(' ').map(str::to_owned).collect()
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..6 {
            let (place, commands) = (&place, &commands);
            scope.spawn(move || {
                for turn in 0..EACH {
                    let arguments = commands(lane, turn);
                    let ran = place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
                    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
                    assert!(!ran.err.contains("locked") && !ran.err.contains("busy"), "{}", ran.err);
                }
            });
        }
    });
    let took = begin.elapsed();
    place.verify(Some(&server));
    assert_eq!(place.snapshot().len(), 2_000);
    println!("{} commands by six at once in {took:?}", 6 * EACH);
}

#[test]
fn commands_that_find_no_database_at_once_make_one() {
    for _ in 0..3 {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("sqlite:{}", folder.path().join("new.db").display());
        std::thread::scope(|scope| {
            for at in 0..8 {
                let database = &database;
                scope.spawn(move || {
                    let name = format!("PA_{at}");
                    let ran = run(command(database, &["partner", "create", "--auth-id", &name, "--name", "x"]));
                    assert_eq!(ran.code, Some(0), "{}", ran.err);
                });
            }
        });
        let ran = run(command(&database, &["verify"]));
        assert!(ran.code == Some(0) && ran.out.contains("8 partners"), "{ran:?}");
    }
}

#[test]
fn readers_see_a_large_import_whole_or_not_at_all() {
    const OLD: u64 = 1_000;
    const NEW: u64 = 101_000;
    let place = Place::new();
    let server = place.serve();
    place.must(&["import", &place.blocks("old.csv", 33_100_000_000, 1, 1), "--partner", PARTNER]);
    until(|| server.client().list(NUMBERS).0 == OLD);
    let json = |client: &Client| {
        let (total, rows) = client.list(NUMBERS);
        assert!([OLD, NEW].contains(&total), "{total} numbers: half an import");
        assert_eq!(rows.len(), 100);
        // The last page is whole as well, or past the end.
        let (total, rows) = client.list(&format!("{NUMBERS}&page={}", NEW / 100));
        assert_eq!(rows.len(), if total == NEW { 100 } else { 0 });
    };
    let stream = |client: &Client| {
        let (status, body) = client.get(NUMBERS_ALL, "text/csv").expect("an answer");
        let rows = body.lines().count() as u64 - 1;
        assert!(status == 200 && [OLD, NEW].contains(&rows), "{status}, {rows} rows");
    };
    let pause = Duration::from_millis(1);
    let asking = [
        Asking::start(server.client(), pause, json),
        Asking::start(server.client(), pause, json),
        Asking::start(server.client(), pause, json),
        Asking::start(server.client(), Duration::from_millis(200), stream),
    ];
    let file = place.blocks("new.csv", 33_200_000_000, 100, 1);
    let begin = Instant::now();
    place.must(&["import", &file, "--partner", PARTNER]);
    let took = begin.elapsed();
    let shown = until(|| server.client().list(NUMBERS).0 == NEW);
    // The time is the test: readers and streams go on after the import as well.
    std::thread::sleep(Duration::from_millis(300));
    let [pages, _, _, streams] = asking.map(Asking::finish);
    place.verify(Some(&server));
    println!("100,000 numbers in {took:?}, shown {shown:?} later; two pages: {pages}; streams: {streams}");
}

// A writer that does not end.

#[test]
fn a_writer_that_does_not_end_holds_up_writers_only() {
    let place = Place::new();
    let server = place.serve();
    assert_eq!(server.client().list(NUMBERS).0, 0); // A use of the key, to be written down at the end.
    let (store, release) = (place.store(), AtomicBool::new(false));
    let (held, holding) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let key = place.snapshot().key;
            let entry = LogEntry {
                at: Time::now(),
                actor: crate::fixture::operator(),
                request_id: None,
                verb: Verb::AccountCreate,
                from: None,
            };
            let draft = Box::new(|transaction: &mut dyn rollcall::store::Transaction| {
                let id = "MA_late".parse().expect("an id");
                let account = Account { auth_id: id, name: "late".into(), created_at: Time::now(), archived_at: None };
                transaction.put_entity(EntityChange::Account(Edit::created(account)))?;
                let _ = held.send(());
                let begin = Instant::now();
                while !release.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            });
            store.write(WriteTarget::Partner(key), entry, draft).expect("written at last")
        });
        // However this ends, the writer must.
        let _release = Release(&release);
        holding.recv_timeout(Duration::from_secs(10)).expect("the lock is held");
        let create = ["account", "create", "--partner", PARTNER, "--auth-id", "MA_x", "--name", "x"];
        let begin = Instant::now();
        let mut waiting = place.command(&create).spawn().expect("the program runs");

        // What only reads does not wait.
        let backup = place.path("backup.db");
        let reading: [&[&str]; 6] = [
            &["partner", "list"],
            &["key", "list", "--partner", PARTNER],
            &["account", "list", "--partner", PARTNER],
            &["export", "--partner", PARTNER],
            &["verify", "--url", &server.url("")],
            &["backup", backup.to_str().expect("UTF-8")],
        ];
        for arguments in reading {
            let begin = Instant::now();
            place.must(arguments);
            assert!(begin.elapsed() < Duration::from_secs(20), "{arguments:?} took {:?}", begin.elapsed());
        }
        assert_eq!(server.client().list(ACCOUNTS).0, 0, "not committed, and shown");
        // Nor does the end of a server, nor its start.
        let (took, code) = server.stop();
        assert!(code == Some(0) && took < Duration::from_secs(10), "ended with {code:?} after {took:?}");
        let starting = Instant::now();
        let server = place.serve();
        assert!(starting.elapsed() < Duration::from_secs(10), "started after {:?}", starting.elapsed());

        // Another writer gives up after 30 s, and says why.
        let code = ended(&mut waiting, Duration::from_secs(45));
        let waited = begin.elapsed();
        let mut said = String::new();
        waiting.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("another writer") && said.contains("rollcall.db") && said.contains("try again"),
            "{said}"
        );
        assert!(waited > Duration::from_secs(25), "gave up after {waited:?}");

        release.store(true, Ordering::Relaxed);
        assert_eq!(writer.join().expect("no panic"), Some(3));
        until(|| server.client().list(ACCOUNTS).0 == 1);
        place.must(&create);
        place.verify(Some(&server));
        println!("a writer gave up after {waited:?}; the server stopped in {took:?} meanwhile");
    });
}

struct Release<'a>(&'a AtomicBool);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// Files that are not what they should be.

/// It failed as a program should: with code 1, one message that has all these
/// parts, and nothing on stdout.
#[track_caller]
fn check_failed(ran: &Ran, parts: &[&str]) {
    check_ended(ran, 1, parts);
}

#[track_caller]
fn check_ended(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.out.is_empty() && ran.err.contains("error: "), "{ran:?}");
    for part in parts {
        assert!(ran.err.contains(part), "{part:?} is not in: {}", ran.err);
    }
    for part in ["panicked", "backtrace", ".rs:"] {
        assert!(!ran.err.contains(part), "{part:?} is in: {}", ran.err);
    }
}

/// Reading, writing and serving all refuse this file, and leave it alone.
#[track_caller]
fn check_refused(path: &Path, parts: &[&str]) {
    let before = std::fs::read(path).map_err(|error| error.kind());
    let database = format!("sqlite:{}", path.display());
    let name = path.to_str().expect("UTF-8");
    let parts: Vec<&str> = parts.iter().copied().chain([name]).collect();
    for arguments in [
        &["key", "list", "--partner", PARTNER] as &[&str],
        &["account", "create", "--partner", PARTNER, "--auth-id", "MA_x", "--name", "x"],
        &["partner", "create", "--auth-id", "PA_C", "--name", "x"],
        &["verify"],
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        check_failed(&run(command(&database, arguments)), &parts);
    }
    let after = std::fs::read(path).map_err(|error| error.kind());
    assert!(after == before, "{name} was changed");
}

#[test]
fn a_file_that_is_no_database_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);

    let text = path("notes.txt");
    std::fs::write(&text, "not a database\n".repeat(1_000)).expect("written");
    check_refused(&text, &["not a Rollcall database"]);

    let other = path("other.db");
    rusqlite::Connection::open(&other).expect("made").execute_batch("CREATE TABLE t (x)").expect("made");
    check_refused(&other, &["not a Rollcall database"]);

    let newer = path("newer.db");
    assert_eq!(
        run(command(&format!("sqlite:{}", newer.display()), &["partner", "create", "--auth-id", "P", "--name", "x"]))
            .code,
        Some(0)
    );
    rusqlite::Connection::open(&newer).expect("opened").execute_batch("PRAGMA user_version = 99").expect("written");
    check_refused(&newer, &["schema 99", "use a newer rollcall"]);

    check_refused(folder.path(), &["directory"]);
}

#[test]
fn a_damaged_database_is_named() {
    let place = Place::new();
    place.must(&["import", &place.blocks("blocks.csv", 33_100_000_000, 5, 1), "--partner", PARTNER]);
    let mut bytes = std::fs::read(&place.database).expect("the file");
    let half = bytes.len() / 2;
    bytes[4_096..half].fill(0x5a);
    std::fs::write(&place.database, bytes).expect("written");
    let name = place.database.to_str().expect("UTF-8");
    check_failed(&place.run(&["export", "--partner", PARTNER]), &[name]);
    check_failed(&place.run(&["serve", "--listen", "127.0.0.1:0"]), &[name]);
    let verified = place.run(&["verify"]);
    assert!(matches!(verified.code, Some(1 | 3)), "{verified:?}");
}

#[test]
fn a_path_that_leads_nowhere_is_named_with_what_to_do() {
    let place = Place::new();
    let nowhere = place.path("missing").join("rollcall.db");
    let database = format!("sqlite:{}", nowhere.display());
    let nowhere = nowhere.to_str().expect("UTF-8");
    for arguments in [
        &["partner", "create", "--auth-id", "PA_C", "--name", "x"] as &[&str],
        &["serve", "--listen", "127.0.0.1:0", "--create"],
    ] {
        check_ended(&run(command(&database, arguments)), 78, &[nowhere, "folder"]);
    }
    check_failed(&run(command(&database, &["partner", "list"])), &[nowhere, "rollcall partner create"]);

    for (target, parts) in [
        (place.path("missing").join("backup.db"), &["No such file"] as &[&str]),
        (place.database.join("backup.db"), &["Not a directory"]),
        (place.database.clone(), &["exists"]),
    ] {
        let target = target.to_str().expect("UTF-8");
        check_failed(&place.run(&["backup", target]), &[parts, &[target]].concat());
    }
    let missing = place.path("missing.csv");
    let missing = missing.to_str().expect("UTF-8");
    check_failed(&place.run(&["import", missing, "--partner", PARTNER]), &[missing, "No such file"]);
    check_ended(&place.run(&["partner", "list", "--config", missing]), 78, &[missing, "No such file"]);

    let server = place.serve();
    let second = Place::new();
    check_failed(&second.run(&["serve", "--listen", &server.address]), &["cannot listen on", &server.address]);
    place.verify(Some(&server));
}

#[test]
fn a_read_only_disk_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "rollcall-test"]).arg(folder.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=8m,mode=700") {
        crate::cluster::skipped("mounting is not permitted here");
        return;
    }
    let _mounted = Mounted(folder.path());
    let place = Place::within(folder.path());
    assert!(mount("remount,ro"), "remounted");
    let name = place.database.to_str().expect("UTF-8");
    let target = place.path("backup.db");
    for arguments in [
        &["key", "create", "--partner", PARTNER, "--name", "x"] as &[&str],
        &["serve", "--listen", "127.0.0.1:0"],
        &["backup", target.to_str().expect("UTF-8")],
    ] {
        check_failed(&place.run(arguments), &[name, "must be able to write it and its folder"]);
    }
    place.verify(None);
    assert!(mount("remount,rw"), "remounted");
    place.verify(Some(&place.serve()));
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_database_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&place.database, closed).expect("our own file");
    if std::fs::File::open(&place.database).is_ok() {
        crate::cluster::skipped("this user may read everything");
        return;
    }
    let name = place.database.to_str().expect("UTF-8");
    check_failed(&place.run(&["key", "list", "--partner", PARTNER]), &[name, "denied"]);
    check_failed(&place.run(&["serve", "--listen", "127.0.0.1:0"]), &[name, "denied"]);
}

// Clients that do not do their part.

const SHORT: &str = "[http]\nheader_timeout_ms = 500\nidle_timeout_ms = 700\nwrite_timeout_ms = 1000\n";

struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Raw {
        let stream = TcpStream::connect(&server.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Raw(stream)
    }

    fn ask(server: &Server, path: &str, accept: &str) -> Raw {
        let mut raw = Raw::connect(server);
        let token = &server.token;
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n");
        let head = format!("{head}X-Auth-ID: {PARTNER}\r\nX-Auth-Token: {token}\r\n\r\n");
        raw.0.write_all(head.as_bytes()).expect("sent");
        raw
    }

    /// All that comes until the server closes, in pieces with pauses between.
    fn rest(&mut self, piece: usize, pause: Duration) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return all,
                Ok(bytes) => all.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("not closed after {} bytes: {error}", all.len()),
            }
            std::thread::sleep(pause);
        }
    }
}

/// The end of a chunked body that is whole.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn with_numbers(thousands: u64, settings: &str) -> (Place, Server) {
    let place = Place::new();
    place.must(&["import", &place.blocks("all.csv", 33_100_000_000, thousands, 1), "--partner", PARTNER]);
    let server = place.serve_with(settings);
    (place, server)
}

#[test]
fn clients_that_stall_are_closed_and_others_do_not_notice() {
    let (place, server) = with_numbers(300, SHORT);
    let asking = Asking::start(server.client(), Duration::from_millis(2), |client| {
        assert_eq!(client.list(NUMBERS).0, 300_000);
    });
    let server = &server;
    let closed = |limit_ms: u64, begin: Instant| {
        let took = begin.elapsed();
        let limit = Duration::from_millis(limit_ms);
        assert!(took + Duration::from_millis(50) > limit, "closed after {took:?}, before {limit:?}");
        assert!(took < limit + Duration::from_secs(10), "closed after {took:?}, limit {limit:?}");
        took
    };
    let (dribbled, idle, silent) = std::thread::scope(|scope| {
        let never_reads = scope.spawn(|| {
            let mut raw = Raw::ask(server, NUMBERS_ALL, "text/csv");
            // The time is the test: longer than a reader may stand still.
            std::thread::sleep(Duration::from_secs(4));
            // Had it not been closed, all of it would come now.
            let got = raw.rest(1 << 16, Duration::ZERO);
            assert!(got.starts_with(b"HTTP/1.1 200") && !got.ends_with(LAST_CHUNK), "{} bytes, whole", got.len());
        });
        let dribbles = scope.spawn(|| {
            let (mut raws, begin): (Vec<Raw>, _) = ((0..20).map(|_| Raw::connect(server)).collect(), Instant::now());
            let open = |raw: &mut Raw| {
                raw.0.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
                raw.0.write_all(b"G").is_ok() && !matches!(raw.0.read(&mut [0; 512]), Ok(0..))
            };
            while !raws.is_empty() {
                raws.retain_mut(open);
                assert!(begin.elapsed() < Duration::from_secs(20), "{} still open", raws.len());
                std::thread::sleep(Duration::from_millis(20));
            }
            closed(500, begin)
        });
        let idle = scope.spawn(|| {
            let mut raw = Raw::ask(server, "/livez", "*/*");
            let begin = Instant::now();
            assert!(raw.rest(512, Duration::ZERO).starts_with(b"HTTP/1.1 200"));
            closed(700, begin)
        });
        let silent = scope.spawn(|| {
            let begin = Instant::now();
            let raws: Vec<Raw> = (0..200).map(|_| Raw::connect(server)).collect();
            // A burst beyond the backlog costs a second, when the kernel tries again.
            assert!(begin.elapsed() < Duration::from_millis(900), "connecting took {:?}", begin.elapsed());
            for mut raw in raws {
                assert!(raw.rest(512, Duration::ZERO).is_empty(), "something was said to a client that asked nothing");
            }
            closed(500, begin)
        });
        never_reads.join().expect("no panic");
        let [dribbled, idle, silent] = [dribbles, idle, silent].map(|thread| thread.join().expect("no panic"));
        (dribbled, idle, silent)
    });
    let answers = asking.finish();
    assert!(answers.at(0.99) < Duration::from_secs(1), "others waited: {answers}");
    place.verify(Some(server));
    println!("20 dribblers gone in {dribbled:?}, idle in {idle:?}, 200 silent in {silent:?}; others: {answers}");
}

#[test]
fn sigterm_finishes_a_stream_that_is_read() {
    let (_place, mut server) = with_numbers(100, "");
    let mut raw = Raw::ask(&server, NUMBERS_ALL, "text/csv");
    raw.0.read_exact(&mut [0; 1_000]).expect("the beginning");
    signal(&server.child, "TERM");
    let got = raw.rest(1 << 16, Duration::ZERO);
    assert!(got.ends_with(LAST_CHUNK), "cut after {} bytes", got.len());
    assert_eq!(ended(&mut server.child, Duration::from_secs(10)), Some(0));
    let lines: BTreeSet<&[u8]> = got.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"+33")).collect();
    assert!(lines.len() > 99_000, "{} rows", lines.len());
}

#[test]
fn sigterm_cuts_a_stream_that_takes_too_long() {
    let (place, server) = with_numbers(300, "");
    let mut raw = Raw::ask(&server, NUMBERS_ALL, "text/csv");
    raw.0.read_exact(&mut [0; 1_000]).expect("the beginning");
    let reading = std::thread::spawn(move || raw.rest(4_096, Duration::from_millis(20)));
    let log = || server.log();
    assert!(!log().contains("ERROR"), "{}", log());
    let (took, code) = server.stop();
    assert!(code == Some(0) && took < Duration::from_secs(10), "ended with {code:?} after {took:?}");
    assert!(took > Duration::from_secs(5), "the stream had only {took:?}");
    let got = reading.join().expect("no panic");
    assert!(!got.ends_with(LAST_CHUNK), "a cut stream looks whole");
    place.verify(None);
    println!("SIGTERM with a slow stream in flight: ended after {took:?}");
}
