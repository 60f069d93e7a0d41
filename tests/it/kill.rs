//! `kill -9` under eight writers of the management API, each with idempotency
//! keys: no acknowledged write is lost, no retried one is done twice, and the
//! server is ready again. The same where PostgreSQL is killed as well, all of its
//! processes at once, in both forms of its tables.
//!
//! Each writer has one number and turns it between active and suspended, so
//! every write that is done makes one entry in that number's history, and one
//! that is done twice, or not at all, shows. What was in the air at the kill is
//! tried again under its key after somebody else has written over it.
//!
//! The whole proof: 300 rounds over a million numbers, with the figures:
//! `ROLLCALL_KILL_ROUNDS=300 ROLLCALL_KILL_NUMBERS=1000000 cargo test --release
//! --test it kill:: -- --nocapture`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::domain::{E164, Verb};
use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::harness::{Database, Key};
use crate::process::Random;
use crate::switch;

const WRITERS: usize = 8;

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A server that is going to be killed.
struct Victim {
    process: Child,
    address: SocketAddr,
    /// From its start to the first `/readyz` that says ok.
    ready_after: Duration,
}

impl Victim {
    fn start(database: &Database) -> Victim {
        let started = Instant::now();
        let mut command: Command = database.command(&["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(lines.read_line(&mut line).expect("a log") > 0, "the server ended before it listened");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split_whitespace().next().expect("an address").parse().expect("an address");
            }
        };
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let ready = send(address, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(ready.is_some_and(|(status, _)| status == 200), "ready when it listens");
        Victim { process, address, ready_after: started.elapsed() }
    }

    fn kill(mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("it ended");
    }
}

/// The status and body of an answer; `None` if it did not come.
fn send(address: SocketAddr, request: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).ok()?;
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let body = raw[end + 4..].to_vec();
    (body.len() == length).then_some((status, body))
}

fn write(address: SocketAddr, key: &Key, number: &str, verb: &str, retry: &str) -> Option<(u16, Vec<u8>)> {
    let request = format!(
        "POST /api/v1/manage/numbers/{number}/{verb} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-Auth-ID: {}\r\nX-Auth-Token: {}\r\nIdempotency-Key: {retry}\r\nContent-Length: 0\r\n\r\n",
        key.auth_id, key.auth_token
    );
    send(address, &request)
}

fn data(body: &[u8]) -> Value {
    serde_json::from_slice::<Value>(body).expect("JSON")["data"].clone()
}

/// What one writer knows of its number.
struct Writer {
    number: String,
    /// Writes that were done, as far as was acknowledged.
    done: u64,
    turn: u64,
    suspended: bool,
    /// The version of the last acknowledged write.
    version: u64,
    /// Whether the database is killed as well: without it a node refuses, or does not
    /// know.
    refused: bool,
    /// What was asked for when the server died: verb and key.
    in_the_air: Option<(&'static str, String)>,
}

fn verb(suspended: bool) -> &'static str {
    if suspended { "resume" } else { "suspend" }
}

impl Writer {
    fn next(&mut self) -> (&'static str, String) {
        self.turn += 1;
        (verb(self.suspended), format!("{}-{}", self.number, self.turn))
    }

    fn acknowledged(&mut self, body: &[u8]) {
        let row = data(body);
        self.suspended = !self.suspended;
        assert_eq!(row["state"], if self.suspended { "suspended" } else { "active" }, "{row}");
        let version = row["version"].as_u64().expect("a version");
        assert!(version > self.version, "{} came after {}", version, self.version);
        (self.version, self.done) = (version, self.done + 1);
    }

    fn run(&mut self, address: SocketAddr, key: &Key, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let (verb, retry) = self.next();
            match write(address, key, &self.number, verb, &retry) {
                Some((200, body)) => self.acknowledged(&body),
                Some((status, body)) if status != 503 || !self.refused => {
                    panic!("{status}: {}", String::from_utf8_lossy(&body))
                }
                Some(_) | None => {
                    self.in_the_air = Some((verb, retry));
                    return;
                }
            }
        }
    }

    /// What was acknowledged is there. Then what was in the air is tried again,
    /// after its number was turned once more, so that doing it twice would show.
    fn recover(&mut self, address: SocketAddr, key: &Key) -> bool {
        let request = format!(
            "GET /api/v1/partner/numbers/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Auth-ID: {}\r\nX-Auth-Token: {}\r\n\r\n",
            self.number, key.auth_id, key.auth_token
        );
        let (status, body) = send(address, &request).expect("an answer");
        assert_eq!(status, 200);
        let suspended = data(&body)["status"] == "suspended";
        let Some((asked, retry)) = self.in_the_air.take() else {
            assert_eq!(suspended, self.suspended, "{}: what was acknowledged is there", self.number);
            return false;
        };
        let happened = suspended != self.suspended;
        if happened {
            (self.suspended, self.done) = (suspended, self.done + 1);
            let (verb, other) = self.next();
            let (status, body) = write(address, key, &self.number, verb, &other).expect("an answer");
            assert_eq!(status, 200);
            self.acknowledged(&body);
            let (status, _) = write(address, key, &self.number, asked, &retry).expect("an answer");
            assert_eq!(status, 200, "the answer of then");
        } else {
            let (status, body) = write(address, key, &self.number, asked, &retry).expect("an answer");
            assert_eq!(status, 200);
            self.acknowledged(&body);
        }
        happened
    }
}

/// What is killed.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    Server,
    Database,
    Both,
}

/// Kills servers, and perhaps their database, under writers of these numbers and
/// checks what is left. The last of the numbers is written by nobody else.
fn prove(database: &Database, key: &Key, numbers: &[u64], rounds: u64, cluster: Option<&Cluster>) {
    let writer = |digits: &u64| Writer {
        number: format!("+{digits}"),
        done: 0,
        turn: 0,
        suspended: false,
        version: 0,
        refused: cluster.is_some(),
        in_the_air: None,
    };
    let mut writers: Vec<Writer> = numbers.iter().map(writer).collect();
    let mut probe = writers.pop().expect("a number");
    let mut random = Random::new();
    let mut ready = Vec::new();
    let (mut in_the_air, mut happened) = (0, 0);
    let mut victim = Some(Victim::start(database));
    for round in 0..rounds {
        let kill = match (cluster, round % 3) {
            (None, _) | (_, 0) => Kill::Server,
            (_, 1) => Kill::Database,
            (_, _) => Kill::Both,
        };
        let stop = AtomicBool::new(false);
        let address = victim.as_ref().expect("a server").address;
        std::thread::scope(|scope| {
            for writer in &mut writers {
                let stop = &stop;
                scope.spawn(move || writer.run(address, key, stop));
            }
            std::thread::sleep(Duration::from_millis(20) + random.moment(Duration::from_millis(300)));
            if kill != Kill::Database
                && let Some(victim) = victim.take()
            {
                victim.kill();
            }
            if let Some(cluster) = cluster.filter(|_| kill != Kill::Server) {
                cluster.kill9();
            }
            stop.store(true, Ordering::Relaxed);
        });
        if let Some(cluster) = cluster.filter(|_| kill != Kill::Server) {
            cluster.start();
        }
        if round % 50 == 0 {
            database.verify(None);
        }
        let victim = &*victim.get_or_insert_with(|| {
            let victim = Victim::start(database);
            ready.push(victim.ready_after);
            victim
        });
        // After its own write a node has all that was committed before.
        let (verb, retry) = probe.next();
        super::until::until(
            Duration::from_secs(60),
            || "the server writes again".to_owned(),
            || match write(victim.address, key, &probe.number, verb, &retry) {
                Some((200, body)) => {
                    probe.acknowledged(&body);
                    true
                }
                other => {
                    assert!(matches!(other, Some((503, _))), "{other:?}");
                    false
                }
            },
        );
        in_the_air += writers.iter().filter(|writer| writer.in_the_air.is_some()).count();
        happened += writers.iter_mut().filter_map(|writer| writer.recover(victim.address, key).then_some(())).count();
    }
    victim.expect("a server").kill();
    database.verify(None);
    // Every write that was done is in the number's history once.
    let store = database.store();
    let partner = store.partner(&key.auth_id.parse().expect("an id")).expect("asked").expect("a partner");
    let mut acknowledged = 0;
    for writer in writers.iter().chain([&probe]) {
        let number: E164 = writer.number.parse().expect("a number");
        let history = store.history(partner, number).expect("a history");
        let turns =
            history.iter().filter(|past| matches!(past.entry.verb, Verb::Suspend | Verb::Resume)).count() as u64;
        assert_eq!(turns, writer.done, "{}: each write once", writer.number);
        acknowledged += turns;
    }
    ready.sort_unstable();
    println!(
        "{rounds} kills under {WRITERS} writers: {acknowledged} writes done, 0 lost; \
         {in_the_air} were in the air, {happened} of them had happened, 0 done twice; ready again after {:.2} s \
         (median), {:.2} s (longest)",
        ready[ready.len() / 2].as_secs_f64(),
        ready.last().expect("a round").as_secs_f64(),
    );
}

#[test]
fn killed_servers_lose_nothing_and_do_nothing_twice() {
    let (rounds, numbers) = (setting("ROLLCALL_KILL_ROUNDS", 12), setting("ROLLCALL_KILL_NUMBERS", 5_000));
    let database = Database::empty();
    database.partner("PA_ONE", "One", &[]);
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let mut rows = "number,account_auth_id,monthly_cost,currency\n".to_owned();
    for at in 0..numbers.div_ceil(1_000) {
        let first = 4_930_000_000_000 + at * 1_000;
        rows.push_str(&format!("+{first}-+{},MA_1,1.00,EUR\n", first + 999));
    }
    assert_eq!(database.import("PA_ONE", &rows)["rejected"], 0);
    let written: Vec<u64> = (0..=WRITERS as u64).map(|at| 4_930_000_000_000 + at * 111).collect();
    prove(&database, &key, &written, rounds, None);
}

#[test]
fn killed_databases_lose_nothing_in_either_form() {
    let Some(cluster) = Cluster::new(&[]) else { return };
    let key = switch::key();
    for switched in [false, true] {
        let address = cluster.database();
        cluster.restore(cluster::database_name(&address), switch::LAST_RELEASE);
        let database = Database::on(&address);
        drop(database.store());
        if switched {
            database.run(&["migrate-schema"]).done();
        }
        let written: Vec<u64> = (0..=WRITERS as u64).map(|at| 912_271_264_701 + at * 20).collect();
        prove(&database, &key, &written, setting("ROLLCALL_KILL_ROUNDS", 3), Some(&cluster));
    }
}
