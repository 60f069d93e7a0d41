//! The real program on a database of its own: commands, a server, a client.
//!
//! Every process started here is ended by its own id, at the latest on drop.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::until::{found, until};
use parking_lot::Mutex;
use rollcall::domain::PartnerId;
use rollcall::inventory::Snapshot;
use rollcall::service::Service;
use rollcall::store::{self, Location, Open, Store};

pub const PARTNER: &str = "PA_A";

/// A folder with a database in it, of one partner and one key.
pub struct Place {
    folder: tempfile::TempDir,
    pub database: PathBuf,
    pub token: String,
}

impl Place {
    pub fn new() -> Place {
        Place::within(&std::env::temp_dir())
    }

    pub fn within(parent: &Path) -> Place {
        let folder = tempfile::tempdir_in(parent).expect("a folder");
        let database = folder.path().join("rollcall.db");
        let mut place = Place { folder, database, token: String::new() };
        place.must(&["partner", "create", "--auth-id", PARTNER, "--name", "A"]);
        place.token = place.key();
        place
    }

    /// A new key's token.
    pub fn key(&self) -> String {
        let text = self.must(&["key", "create", "--partner", PARTNER, "--name", "test", "--json"]);
        let key: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        key["auth_token"].as_str().expect("a token").to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of blocks of a thousand numbers, all at one cost, ten
    /// thousand apart, so that an import writes them in several steps.
    pub fn blocks(&self, name: &str, first: u64, thousands: u64, cost: u64) -> String {
        let mut text = "number,account_auth_id,monthly_cost,currency\n".to_owned();
        for block in 0..thousands {
            let start = first + block * 10_000;
            text.push_str(&format!("+{start}-+{},MA_{},{cost}.00,EUR\n", start + 999, block % 7));
        }
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file of numbers without neighbours, so that each is a row of its own.
    pub fn scattered(&self, name: &str, first: u64, count: u64) -> String {
        let mut text = "number,account_auth_id,monthly_cost,currency\n".to_owned();
        for at in 0..count {
            text.push_str(&format!("+{},MA_{},1.00,EUR\n", first + at * 3, at / 1_000 % 7));
        }
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&format!("sqlite:{}", self.database.display()), arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// Runs a command that has to succeed; what it printed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
        ran.out
    }

    pub fn import(&self, file: &str) -> Command {
        self.command(&["import", file, "--partner", PARTNER, "--json"])
    }

    /// The database through the library.
    pub fn store(&self) -> Arc<dyn Store> {
        store::open(&Location::Sqlite(self.database.clone()), Open::Existing).expect("a database")
    }

    pub fn snapshot(&self) -> Snapshot {
        let actor = crate::fixture::operator();
        Service::new(self.store(), actor).snapshot(&partner(), true).expect("a partner")
    }

    #[track_caller]
    pub fn verify(&self, server: Option<&Server>) {
        let url = server.map(|server| server.url(""));
        let mut arguments = vec!["verify"];
        arguments.extend(url.iter().flat_map(|url| ["--url", url.as_str()]));
        let ran = self.run(&arguments);
        assert_eq!(ran.code, Some(0), "verify: {}{}", ran.out, ran.err);
    }

    pub fn serve(&self) -> Server {
        self.serve_with("")
    }

    /// Serves with these settings on top of the defaults.
    pub fn serve_with(&self, settings: &str) -> Server {
        let file = self.path("rollcall.toml");
        std::fs::write(&file, settings).expect("written");
        let file = file.to_str().expect("UTF-8");
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0", "--config", file];
        Server::start(self.command(&arguments), &self.token)
    }
}

pub fn partner() -> PartnerId {
    PARTNER.parse().expect("an id")
}

pub fn command(database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("ROLLCALL_CONFIG").env_remove("RUST_LOG").env("ROLLCALL_DATABASE", database);
    // A panic must not hide for want of a backtrace.
    command.env("RUST_BACKTRACE", "1");
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub fn run(mut command: Command) -> Ran {
    command.output().expect("the program runs").into()
}

/// Starts a process and kills it with SIGKILL after a while, unless it has
/// ended by itself. What it printed until then is kept.
pub fn run_and_kill(mut command: Command, after: Duration) -> Ran {
    let mut child = command.spawn().expect("the program runs");
    std::thread::sleep(after);
    child.kill().expect("our own child");
    child.wait_with_output().expect("its output").into()
}

/// Sends a signal other than SIGKILL to a child of ours that has not been waited for.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status();
    assert!(status.expect("a shell").success(), "kill -{name}");
}

/// Waits until a child handles SIGINT itself: before that, a signal ends it as
/// the system does.
pub fn wait_for_handler(child: &Child) {
    const SIGINT: u64 = 1 << (2 - 1);
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
        // A child that has ended handles nothing, and is not waited for.
        mask.is_empty()
            || status.contains("State:\tZ")
            || u64::from_str_radix(mask.trim(), 16).unwrap_or(0) & SIGINT != 0
    };
    until(Duration::from_secs(60), || "it does not handle SIGINT".to_owned(), caught);
}

/// Waits for a child's end, but not for ever.
#[track_caller]
pub fn ended(child: &mut Child, within: Duration) -> Option<i32> {
    found(within, || "still running".to_owned(), || child.try_wait().expect("our own child")).code()
}

/// A running `rollcall serve`.
pub struct Server {
    pub child: Child,
    pub address: String,
    pub token: String,
    log: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

impl Server {
    fn start(mut command: Command, token: &str) -> Server {
        let mut child = command.spawn().expect("the program runs");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (heard, listening) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    let address = address.split_whitespace().next().unwrap_or_default();
                    let _ = heard.send(address.to_owned());
                }
                kept.lock().push_str(&format!("{line}\n"));
            }
        });
        let address = listening.recv_timeout(Duration::from_secs(20));
        let address = address.unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start: {}", log.lock())
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(20))).build().into();
        Server { child, address, token: token.to_owned(), log, agent }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub fn client(&self) -> Client {
        Client { agent: self.agent.clone(), base: self.url(""), token: self.token.clone() }
    }

    /// SIGTERM; how long it took to end, and the exit code.
    pub fn stop(mut self) -> (Duration, Option<i32>) {
        let begin = Instant::now();
        signal(&self.child, "TERM");
        let code = ended(&mut self.child, Duration::from_secs(40));
        (begin.elapsed(), code)
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("its end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.lock());
        }
    }
}

/// Asks a server on connections of its own.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    /// The status and the body, or why there is no answer.
    pub fn get(&self, path: &str, accept: &str) -> Result<(u16, String), ureq::Error> {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("X-Auth-ID", PARTNER)
            .header("X-Auth-Token", &self.token)
            .header("Accept", accept)
            .call()?;
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body).map_err(ureq::Error::Io)?;
        Ok((response.status().as_u16(), body))
    }

    /// An answer that has to be a list: its total and its rows.
    #[track_caller]
    pub fn list(&self, path: &str) -> (u64, Vec<serde_json::Value>) {
        let (status, body) = self.get(path, "application/json").expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        let mut body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let total = body["meta"]["total"].as_u64().expect("a total");
        let serde_json::Value::Array(rows) = body["data"].take() else { panic!("{path}: no list") };
        (total, rows)
    }
}

/// Asks a server all the time until dropped or asked for the figures, each
/// answer being checked.
pub struct Asking {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Asking {
    pub fn start(client: Client, pause: Duration, check: impl Fn(&Client) + Send + 'static) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                check(&client);
                times.push(begin.elapsed());
                std::thread::sleep(pause);
            }
            times
        });
        Asking { stop, thread: Some(thread) }
    }

    /// Ends the asking; how long each answer took. Panics if a check did.
    pub fn finish(mut self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("joined once");
        Times::new(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Durations in order.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        assert!(!times.is_empty(), "nothing was timed");
        Times(times)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, worst] = [0.5, 0.99, 1.0].map(|share| self.at(share).as_secs_f64() * 1_000.0);
        write!(f, "{} timed, median {median:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms", self.len())
    }
}

/// Random numbers, by xorshift; the seed is printed, so that a failure tells it.
pub struct Random(pub u64);

impl Random {
    pub fn new() -> Random {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("random bytes");
        let seed = u64::from_le_bytes(bytes) | 1;
        println!("seed {seed}");
        Random(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// A moment between none and a whole span.
    pub fn moment(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(span.as_micros() as u64))
    }
}
