//! The real program, for tests: a database of its own, commands on it, a
//! server on a free port, and a client that sees every byte.
//!
//! ```ignore
//! let server = Server::sample();                       // the inventory below
//! let answer = server.get("/api/v1/partner/numbers").auth(&ONE).send();
//! answer.check(200);
//! server.database.import("PA_ONE", "number\n+442079460199\n");
//! ```
//!
//! What always holds:
//! - Every answer is checked as it arrives, whatever the test is about: its
//!   request id, the error envelope, the headers of the tenant's answers, and
//!   that nothing in it belongs to another partner ([`Database::partner`]).
//! - When a [`Server`] goes, its index, the rows and the log agree, and it
//!   stops on SIGTERM with exit code 0 within ten seconds.
//! - Processes are ended by their id.
//!
//! With `ROLLCALL_TEST_ENGINE=postgres` databases are PostgreSQL's, each a fresh
//! one in a server of the tests' own ([`Cluster::shared`]), and the tests are
//! the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use rollcall::store::{self, Location, Open, Store};
use serde_json::Value;

use super::cluster::{self, Cluster, on_postgres};
use super::network::Namespace;
use crate::until::until;

pub const CUSTOMER: &str = "/api/v1/partner/accounts/MA_1/numbers";
pub const GLOBAL: &str = "/api/v1/partner/numbers";
pub const ACCOUNTS: &str = "/api/v1/partner/accounts";

/// How long anything that should be prompt may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

// The sample inventory: three partners, whose ids overlap.

/// A partner with one number of each kind. The last three digits of its
/// numbers are 101 to 112, so tests call them `a` to `l` ([`Answer::letters`]).
pub static ONE: LazyLock<Key> = LazyLock::new(|| SAMPLE.keys[0].clone());
/// A partner with some of the same ids, for whom nothing of `ONE` exists.
pub static TWO: LazyLock<Key> = LazyLock::new(|| SAMPLE.keys[1].clone());
/// The specification's own samples: 147 numbers, three of `MA_48149cf4`. The
/// first of them stands in messages and in the description as an example.
pub static SEED: LazyLock<Key> = LazyLock::new(|| SAMPLE.keys[2].clone());

/// The letters of `ONE`'s numbers, all of them.
pub const ALL: &str = "abcdefghijkl";

pub const ONE_CSV: &str = "\
number,account_auth_id,account_name,application_id,application_name,trunk_id,state,monthly_cost,currency,assigned_at,expires_at,number_type,country,region,tags,quarantine_ends_at,reserved_until,reserved_for
+6837101,MA_1,\"Primus, One\",,,,active,10.00,NZD,2026-03-01T00:00:00Z,,local,NU,,,,,
+12025550102,MA_1,\"Primus, One\",app_1,\"Primus \"\"IVR\"\", main\",trunk_1,active,1.50,USD,2026-01-10T08:00:00Z,2099-01-02T00:00:00Z,local,US,Washington,vip,,,
+80012345103,MA_2,Primus Two,,,trunk_2,active,1.250,KWD,2026-01-11T00:00:00Z,,tollfree,,,,,,
+81312345104,MA_2,Primus Two,app_2,Primus Queue,,active,500,JPY,2026-01-12T00:00:00Z,2099-01-01T00:00:00Z,local,JP,Tokyo,,,,
+442079460105,,,,,,available,,,,,local,GB,London,,,,
+442079460106,,,,,,quarantined,,,,,local,GB,London,,2099-01-01T00:00:00Z,,
+442079460107,,,,,,reserved,,,,,local,GB,London,,,2099-01-01T00:00:00Z,MA_2
+912271265108,MA_1,\"Primus, One\",app_1,,trunk_1,active,500.00,INR,2026-02-01T10:00:00Z,,local,IN,Mumbai,vip;night,,,
+912271265109,MA_1,\"Primus, One\",,,trunk_1,suspended,500.00,INR,2026-01-15T09:00:00Z,2099-06-01T00:00:00Z,local,IN,Mumbai,,,,
+912271265110,MA_1,\"Primus, One\",app_2,,trunk_2,active,750.00,INR,2019-01-01T00:00:00Z,2020-01-01T00:00:00Z,local,IN,Mumbai,night,,,
+919820000111,MA_2,Primus Two,app_1,,trunk_1,active,250.00,INR,2026-01-20T00:00:00Z,,mobile,IN,Maharashtra,,,,
+883510000012112,MA_3,Primus ग्राहक,app_3,,,active,0.00,EUR,2025-12-31T23:59:59Z,,local,,\"Zürich, West\",,,,
,MA_4,Primus Empty,,,,no_number,,,,,,,,,,,
";

const TWO_CSV: &str = "\
number,account_auth_id,account_name,application_id,application_name,trunk_id,state,monthly_cost,currency,assigned_at,expires_at
+4989100001,MA_1,Secundus One,app_1,Secundus IVR,trunk_1,active,3.00,EUR,2026-02-01T10:00:00Z,
+4989100002,MA_1,Secundus One,app_Secundus,Secundus Other,trunk_Secundus,active,3.00,EUR,2026-02-01T10:00:00Z,2099-02-02T00:00:00Z
+4989100003,MA_Secundus,Secundus Two,app_Secundus,,trunk_1,suspended,3.00,EUR,2026-02-01T10:00:00Z,
+4989100004,,,,,,available,,,,
";

/// Kind, country and region are left to be derived.
const SEED_CSV: &str = "\
number,account_auth_id,account_name,application_id,application_name,trunk_id,status,monthly_cost,currency,assigned_at,expires_at
+912271264217,MA_48149cf4,Credresolve,app_abc123,Main IVR,trunk_xyz,active,500.00,INR,2026-02-01T10:00:00Z,
+912271264218,MA_99ab12c3,Acme Outbound,app_def456,Outbound,trunk_xyz,active,500.00,INR,2026-01-15T09:00:00Z,
+912271264219,MA_48149cf4,Credresolve,,,,active,500.00,INR,2026-02-01T10:00:00Z,
+912271264220,MA_48149cf4,Credresolve,,,,active,500.00,INR,2026-02-01T10:00:00Z,
+912271264221-+912271264363,MA_99ab12c3,Acme Outbound,app_def456,Outbound,trunk_xyz,active,500.00,INR,2026-01-15T09:00:00Z,
";

/// For tests about what only SQLite has: its file.
pub fn no_file() -> bool {
    let no_file = on_postgres().is_some();
    if no_file {
        // It is run on SQLite, so nothing is missed.
        eprintln!("skipped: it is about SQLite's file");
    }
    no_file
}

type Markers = Vec<(String, Vec<String>)>;

/// What copies are made of.
enum Original {
    File(Vec<u8>),
    /// A database's name.
    Template(String),
}

struct Sample {
    original: Original,
    keys: Vec<Key>,
    markers: Markers,
}

/// Made once by the program itself, then copied.
static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let database = Database::empty();
    let partners = [
        ("PA_ONE", "Primus Partner", ONE_CSV, &["Primus", "app_3", "+9122712651", "+44207946010"][..]),
        ("PA_TWO", "Secundus Partner", TWO_CSV, &["Secundus", "+4989100"]),
        ("PA_SEED", "Tertius Partner", SEED_CSV, &["Acme Outbound", "app_def456", "+91227126422"]),
    ];
    let mut keys = Vec::new();
    for (auth_id, name, rows, markers) in partners {
        database.partner(auth_id, name, markers);
        keys.push(database.key(auth_id, &[]));
        let report = database.import(auth_id, rows);
        assert_eq!(report["rejected"], 0, "{report}");
    }
    let markers = database.markers.lock().expect("the markers").clone();
    let original = match &database.place {
        At::File(path) => Original::File(std::fs::read(path).expect("the sample database")),
        At::Postgres { address, .. } => {
            let sample = cluster::database_name(address);
            Original::Template(on_postgres().expect("chosen").copy(sample))
        }
    };
    Sample { original, keys, markers }
});

/// Credentials, as `rollcall key create --json` gave them.
#[derive(Clone, Debug)]
pub struct Key {
    pub auth_id: String,
    pub auth_token: String,
    pub key_id: String,
}

/// Where a database is.
enum At {
    File(PathBuf),
    Postgres {
        address: String,
        /// Where it is removed in the end; `None` goes with its server.
        from: Option<&'static Cluster>,
    },
}

/// A database of its own, a folder beside it, and commands on it.
pub struct Database {
    directory: tempfile::TempDir,
    place: At,
    markers: Mutex<Markers>,
}

impl Database {
    fn at(place: impl FnOnce(&Path) -> At) -> Database {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let place = place(directory.path());
        Database { directory, place, markers: Mutex::default() }
    }

    /// A place for a database; `partner` makes it.
    pub fn empty() -> Database {
        match on_postgres() {
            None => Database::at(|folder| At::File(folder.join("rollcall.db"))),
            Some(cluster) => Database::at(|_| At::Postgres { address: cluster.database(), from: Some(cluster) }),
        }
    }

    /// The database that a URI names, which goes with its server.
    pub fn on(address: &str) -> Database {
        Database::at(|_| At::Postgres { address: address.to_owned(), from: None })
    }

    /// The sample inventory of `ONE`, `TWO` and `SEED`.
    pub fn sample() -> Database {
        let database = match (&SAMPLE.original, on_postgres()) {
            (Original::Template(name), Some(cluster)) => {
                let address = cluster.address(&cluster.copy(name));
                Database::at(|_| At::Postgres { address, from: Some(cluster) })
            }
            (Original::Template(_), None) => unreachable!("the engine stays what it is"),
            (Original::File(file), _) => {
                let database = Database::empty();
                std::fs::write(database.path(), file).expect("a copy of the sample");
                database
            }
        };
        *database.markers.lock().expect("the markers") = SAMPLE.markers.clone();
        database
    }

    /// SQLite's file. Tests that ask begin with [`no_file`].
    #[track_caller]
    pub fn path(&self) -> &Path {
        match &self.place {
            At::File(path) => path,
            At::Postgres { address, .. } => panic!("{address} is no file"),
        }
    }

    /// As `--database` takes it.
    pub fn address(&self) -> String {
        match &self.place {
            At::File(path) => format!("sqlite:{}", path.display()),
            At::Postgres { address, .. } => address.clone(),
        }
    }

    /// The same database through the library, as another process has it.
    pub fn store(&self) -> Arc<dyn Store> {
        let location: Location = self.address().parse().expect("a location");
        store::open(&location, Open::Create).expect("the database opens")
    }

    /// A file beside the database.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file beside the database.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// `rollcall` in this folder and on this database, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.current_dir(self.directory.path()).args(args);
        for name in ["ROLLCALL_CONFIG", "ROLLCALL_PARTNER", "RUST_LOG", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("ROLLCALL_DATABASE", self.address());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args), "")
    }

    /// Runs a command with `stdin` on its standard input.
    pub fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        run(self.command(args), stdin)
    }

    /// Creates a partner. `markers` are texts that only its own rows, names
    /// and ids contain: from then on, no answer to anyone else may contain one,
    /// unless the question did.
    pub fn partner(&self, auth_id: &str, name: &str, markers: &[&str]) {
        self.run(&["partner", "create", "--auth-id", auth_id, "--name", name]).done();
        let markers = markers.iter().map(|&marker| marker.to_owned()).collect();
        self.markers.lock().expect("the markers").push((auth_id.to_owned(), markers));
    }

    /// Creates a key, with further flags such as `--expires`.
    pub fn key(&self, partner: &str, flags: &[&str]) -> Key {
        let args = [&["key", "create", "--partner", partner, "--name", "test", "--json"], flags].concat();
        let key = self.run(&args).done().json();
        let text = |name: &str| key[name].as_str().expect("a text").to_owned();
        Key { auth_id: text("auth_id"), auth_token: text("auth_token"), key_id: text("key_id") }
    }

    /// Imports rows from a file and returns the report.
    pub fn import(&self, partner: &str, rows: &str) -> Value {
        let mut file = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file");
        file.write_all(rows.as_bytes()).expect("written");
        let path = file.path().to_str().expect("a path");
        self.run(&["import", path, "--partner", partner, "--json"]).done().json()
    }

    /// A partner's whole inventory as the database has it.
    pub fn export(&self, partner: &str) -> String {
        self.run(&["export", "--partner", partner]).done().stdout
    }

    /// Fails unless file, log and rows agree, and with `url` the live index.
    #[track_caller]
    pub fn verify(&self, url: Option<&str>) {
        let url: Vec<&str> = url.iter().flat_map(|url| ["--url", url]).collect();
        let ran = self.run(&[&["verify"], &url[..]].concat());
        assert_eq!(ran.code, 0, "verify found: {}{}", ran.stdout, ran.stderr);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let At::Postgres { address, from: Some(cluster) } = &self.place
            && !std::thread::panicking()
        {
            cluster.forget(cluster::database_name(address));
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(mut command: Command, stdin: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A command that does not read its input may have gone by now.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    let code = output.status.code().expect("no signal ended it");
    Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    /// Fails unless it exited with this code.
    #[track_caller]
    pub fn check(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn done(self) -> Ran {
        self.check(0)
    }

    /// Its result, one line of JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line: {}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// `rollcall serve` on a free port. See the top of this file for its end.
pub struct Server {
    pub database: Arc<Database>,
    address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    /// Where it runs, if that is not this machine.
    within: Option<Arc<Namespace>>,
    /// How many requests were sent as bytes.
    sent: AtomicU64,
}

/// What becomes of a server's log once it listens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Read,
    /// The pipe has no reader.
    Closed,
    /// The pipe is open, and nobody reads it.
    Stuck,
}

/// A process that listens, and whoever reads its log.
struct Running {
    address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Running {
    fn begin(mut command: Command, read: Log) -> Running {
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut process = started.expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut text = String::new();
        let address = loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("the log is text");
            text.push_str(&line);
            if read == 0 {
                let code = process.wait().expect("the server ended");
                panic!("the server ended with {code} before it listened: {text}");
            }
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let address = rest.split_whitespace().next().expect("an address");
                break address.parse().expect("an address and a port");
            }
        };
        let log = Arc::new(Mutex::new(text));
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            if read == Log::Stuck {
                // The end of this process closes it.
                return std::mem::forget(lines);
            }
            let mut line = String::new();
            while read == Log::Read && lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                kept.lock().expect("the log").push_str(&line);
                line.clear();
            }
        });
        Running { address, process, log, reader }
    }
}

impl Server {
    /// The process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Serves the sample inventory.
    pub fn sample() -> Server {
        Server::start(Database::sample(), &[])
    }

    /// Serves a database, with further flags such as `--rate-limit`.
    pub fn start(database: impl Into<Arc<Database>>, flags: &[&str]) -> Server {
        let database = database.into();
        let mut command = database.command(&["serve", "--create", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        Server::start_as(database, command)
    }

    /// The same with a command made by the test, for another environment.
    pub fn start_as(database: impl Into<Arc<Database>>, command: Command) -> Server {
        Server::spawn(database.into(), command, Log::Read)
    }

    /// The same, but once it listens nobody reads its log: the pipe is closed.
    pub fn start_unread(database: Database, command: Command) -> Server {
        Server::spawn(database.into(), command, Log::Closed)
    }

    /// The same, but the pipe stays open, and what is written there is not read.
    pub fn start_stuck(database: Database, command: Command) -> Server {
        Server::spawn(database.into(), command, Log::Stuck)
    }

    fn spawn(database: Arc<Database>, command: Command, read_log: Log) -> Server {
        let Running { address, process, log, reader } = Running::begin(command, read_log);
        Server { database, address, process, log, reader: Some(reader), within: None, sent: AtomicU64::new(0) }
    }

    /// Serves from a namespace; its clients are on this machine.
    pub fn start_within(database: impl Into<Arc<Database>>, within: Arc<Namespace>, flags: &[&str]) -> Server {
        let database = database.into();
        let mut command = database.command(&["serve", "--listen", "0.0.0.0:0"]);
        command.args(flags);
        let mut server = Server::spawn(database, within.within(&command), Log::Read);
        server.address.set_ip(within.clients().parse().expect("an address"));
        server.within = Some(within);
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that the server has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    pub fn get(&self, target: &str) -> Request<'_> {
        self.request("GET", target)
    }

    /// A request with any method and target, sent exactly as they are given.
    pub fn request(&self, method: &str, target: &str) -> Request<'_> {
        let (method, target) = (method.to_owned(), target.to_owned());
        Request { server: self, method, target, headers: Vec::new(), body: None, partner: None }
    }

    /// Sends bytes as they are, closes that half, and reads the answer.
    pub fn send(&self, method: &str, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream.write_all(bytes).expect("the server reads");
        self.sent.fetch_add(1, Ordering::SeqCst);
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).expect("the server answers and closes");
        Answer::parse(method, &raw)
    }

    /// How many requests were sent, answered or not.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Returns once so many requests were sent.
    #[track_caller]
    pub fn once_sent(&self, count: u64) {
        self.within(PATIENCE, |server| server.sent() >= count);
    }

    /// Asks until the answer is as wanted, at most for this long, or as long as a busy
    /// machine may take for what is prompt.
    #[track_caller]
    pub fn within(&self, limit: Duration, mut wanted: impl FnMut(&Server) -> bool) {
        until(limit.max(PATIENCE), || "the server does not do it".to_owned(), || wanted(self));
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// How much memory it has resident.
    pub fn rss_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1_024.0
    }

    /// Sends it a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill");
        assert!(sent.success(), "the server was there for {name}");
    }

    /// Asks it to stop, waits, and returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it with SIGKILL, and for good.
    pub fn kill(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("its end");
    }

    /// Ends it with SIGKILL, and goes on with another on the same database.
    pub fn kill_and_start(&mut self, flags: &[&str]) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("its end");
        let mut command = self.database.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        let next = Running::begin(command, Log::Read);
        (self.address, self.process, self.log, self.reader) = (next.address, next.process, next.log, Some(next.reader));
    }

    /// Waits for its end and returns the exit code; `None` if it does not end.
    pub fn wait(&mut self) -> Option<i32> {
        let asked = Instant::now();
        loop {
            match self.process.try_wait().expect("the server is ours") {
                Some(status) => return status.code(),
                None if asked.elapsed() > PATIENCE => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.process.kill();
            let _ = self.process.wait();
            eprintln!("the server's log:\n{}", self.log());
            return;
        }
        if self.process.try_wait().expect("the server is ours").is_none() {
            // Digests are told to the same machine only.
            let agrees = match &self.within {
                None => self.database.run(&["verify", "--url", &self.url()]),
                Some(within) => {
                    let url = format!("http://127.0.0.1:{}", self.address.port());
                    run(within.within(&self.database.command(&["verify", "--url", &url])), "")
                }
            };
            let code = self.stop();
            if code.is_none() {
                let _ = self.process.kill();
                let _ = self.process.wait();
            }
            assert_eq!(agrees.code, 0, "verify --url found: {}{}", agrees.stdout, agrees.stderr);
            assert_eq!(code, Some(0), "the server stops in time: {}", self.log());
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        assert!(!self.log().contains("panicked"), "{}", self.log());
        self.database.verify(None);
    }
}

/// A request in the making.
#[must_use]
pub struct Request<'a> {
    server: &'a Server,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    partner: Option<String>,
}

impl Request<'_> {
    /// With a key's credentials.
    pub fn auth(self, key: &Key) -> Self {
        self.header("X-Auth-ID", &key.auth_id).header("X-Auth-Token", &key.auth_token)
    }

    /// With one more header; the same name twice is sent twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("X-Auth-ID") {
            self.partner = Some(value.to_owned());
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body(&body.to_string())
    }

    /// With a body that is said to be JSON.
    pub fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self.header("Content-Type", "application/json")
    }

    /// Sends it on a connection of its own and checks what every answer has.
    #[track_caller]
    pub fn send(self) -> Answer {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: rollcall.test\r\nConnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(self.body.as_deref().unwrap_or_default());
        let answer = self.server.send(&self.method, text.as_bytes());
        answer.check_always(&self.method, &self.target);
        let markers = self.server.database.markers.lock().expect("the markers").clone();
        for (partner, marker) in markers.iter().flat_map(|(partner, all)| all.iter().map(move |one| (partner, one))) {
            let own = answer.status != 401 && self.partner.as_ref() == Some(partner);
            let asked = self.body.as_deref().unwrap_or_default().contains(marker.as_str());
            if !own && !asked && !self.target.contains(marker.as_str()) {
                let shown = String::from_utf8_lossy(&answer.raw).contains(marker);
                assert!(!shown, "{} {} shows {marker:?} of {partner}: {answer:?}", self.method, self.target);
            }
        }
        answer
    }

    /// Sends it and fails unless the status is this.
    #[track_caller]
    pub fn check(self, status: u16) -> Answer {
        self.send().check(status)
    }
}

/// An answer as it was on the wire. Header names are in lower case.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    raw: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl Answer {
    #[track_caller]
    fn parse(method: &str, raw: &[u8]) -> Answer {
        let shown = || String::from_utf8_lossy(raw);
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("not an HTTP answer: {:?}", shown()));
        let head = std::str::from_utf8(&raw[..end]).expect("the head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {:?}", shown()));
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("not a header: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: raw[end + 4..].to_vec(), raw: raw.to_vec() };
        if method == "HEAD" || status == 304 || status == 204 {
            assert!(answer.body.is_empty(), "an answer without a body has one: {:?}", shown());
        } else if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body);
        } else {
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            assert_eq!(length, Some(answer.body.len()), "content-length: {:?}", shown());
        }
        answer
    }

    /// The one value of a header; two are a failure.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() < 2, "{name} was sent {} times", all.len());
        all.first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub fn check(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The numbers of a list, in its order.
    #[track_caller]
    pub fn numbers(&self) -> Vec<String> {
        let body = self.json();
        let rows = body["data"].as_array().unwrap_or_else(|| panic!("no list: {body}"));
        rows.iter().map(|row| row["number"].as_str().expect("a number").to_owned()).collect()
    }

    /// The same as letters: `a` for a number that ends in 101.
    #[track_caller]
    pub fn letters(&self) -> String {
        self.numbers().iter().map(|number| letter(number)).collect()
    }

    /// The target of a `Link` relation.
    #[track_caller]
    pub fn link(&self, relation: &str) -> Option<String> {
        let links = self.header("link")?.split(", ");
        let found = links.filter_map(|link| link.strip_suffix(&format!("; rel=\"{relation}\"")));
        let found: Vec<&str> = found.collect();
        assert!(found.len() < 2, "{relation} twice: {found:?}");
        let target = found.first()?.strip_prefix('<').and_then(|target| target.strip_suffix('>'));
        Some(target.expect("a target in <>").to_owned())
    }

    /// What every answer has, whoever asked for whatever.
    #[track_caller]
    pub fn check_always(&self, method: &str, target: &str) {
        let id = self.header("x-request-id").unwrap_or_else(|| panic!("no request id: {method} {target} {self:?}"));
        let hex = id.strip_prefix("req_").unwrap_or_else(|| panic!("request id {id}"));
        assert!(hex.len() == 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "request id {id}");
        let cors = self.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
        assert_eq!(cors, None, "no CORS by default");
        let partner = target.starts_with("/api/v1/partner/");
        let managed = target.starts_with("/api/v1/manage/");
        if partner || managed || self.status >= 400 {
            assert_eq!(self.header("cache-control"), Some("private, no-cache"), "{method} {target}");
            // What may be compressed, for a client that asks, says so to each.
            let streams = ["application/x-ndjson", "text/event-stream"];
            let streamed =
                self.header("content-type").is_some_and(|kind| streams.iter().any(|one| kind.starts_with(one)));
            let read = matches!(method, "GET" | "HEAD") && matches!(self.status, 200 | 304);
            let coding = if read && !streamed { ", Accept-Encoding" } else { "" };
            let vary = format!("X-Auth-ID, X-Auth-Token, Accept{coding}");
            assert_eq!(self.header("vary"), Some(&*vary), "{method} {target}");
        }
        if partner && self.status < 400 {
            let tag = self.header("etag").expect("an entity tag");
            assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "entity tag {tag}");
        }
        match self.header("inventory-version") {
            Some(version) => {
                assert!(version.parse::<u64>().is_ok() && (partner || managed), "{method} {target} {self:?}")
            }
            None => assert!(!(partner || managed) || self.status >= 400, "no version: {method} {target} {self:?}"),
        }
        if self.status >= 400 {
            assert_eq!(self.header("content-type"), Some("application/json"), "{method} {target}");
            assert_eq!(self.header("etag"), None, "{method} {target}");
            if method != "HEAD" {
                self.check_envelope();
            }
        }
        let plain = self.header("content-encoding").is_none();
        if (partner || managed) && self.header("content-type") == Some("application/json") && method != "HEAD" && plain
        {
            check_compact(self.text());
        }
    }

    /// The platform's envelope: these keys in this order, and nothing else.
    #[track_caller]
    fn check_envelope(&self) {
        let body = self.json();
        assert_eq!(keys(&body), ["status", "error", "timestamp", "requestId"], "{body}");
        assert_eq!(body["status"], "error");
        let error = &body["error"];
        match error.get("details") {
            None => assert_eq!(keys(error), ["code", "message"], "{body}"),
            Some(_) => assert_eq!(keys(error), ["code", "message", "details"], "{body}"),
        }
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"));
        let time = body["timestamp"].as_str().expect("a timestamp");
        let shape = |c: char| if c.is_ascii_digit() { 'd' } else { c };
        assert_eq!(time.chars().map(shape).collect::<String>(), "dddd-dd-ddTdd:dd:dd.dddZ");
        if let Some(errors) = error.get("details").and_then(|details| details.get("errors")) {
            for error in errors.as_array().expect("a list of errors") {
                assert_eq!(keys(error), ["field", "code", "message", "value"], "{body}");
            }
        }
    }

    /// The body with what may differ between two equal answers masked.
    #[track_caller]
    pub fn masked(&self) -> String {
        let body = self.json();
        let text = |key: &str| body[key].as_str().expect("a text").to_owned();
        self.text().replace(&text("requestId"), "ID").replace(&text("timestamp"), "TIME")
    }

    /// `CODE` of an error.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("a code").to_owned()
    }

    /// `field CODE` of each error of a 422.
    #[track_caller]
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        assert_eq!(body["error"]["code"], "VALIDATION_ERROR", "{body}");
        let errors = body["error"]["details"]["errors"].as_array().expect("a list of errors");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        errors.iter().map(|error| format!("{} {}", text(&error["field"]), text(&error["code"]))).collect()
    }
}

/// `a` for a number of `ONE` that ends in 101, `b` for 102, …
pub fn letter(number: &str) -> char {
    let last: u8 = number[number.len() - 3..].parse().unwrap_or_else(|_| panic!("not one of ONE's: {number}"));
    assert!((101..=126).contains(&last), "not one of ONE's: {number}");
    char::from(b'a' + last - 101)
}

/// The keys of an object, in their order.
#[track_caller]
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().map(String::as_str).collect()
}

fn check_compact(json: &str) {
    let mut quoted = false;
    let mut escaped = false;
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c => assert!(quoted || !c.is_whitespace(), "not compact: {json}"),
        }
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk's size");
        let data = &body[end + 2..];
        out.extend_from_slice(&data[..size]);
        assert_eq!(&data[size..size + 2], b"\r\n", "a chunk ends");
        body = &data[size + 2..];
        if size == 0 {
            assert!(body.is_empty(), "nothing after the last chunk");
            return out;
        }
    }
}
