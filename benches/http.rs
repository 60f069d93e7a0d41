//! What an answer of the whole server costs, against a constant one of the
//! same bytes: `cargo bench --bench http [-- SECONDS [NUMBERS]]`.
//!
//! The server is the real one, `rollcall serve` in a process of its own over a
//! database of its own, of whose two partners the first has 1,000,000 numbers.
//! It has one route more: `/constant/…` answers a recording of what the page
//! answered, so accept loop, connection, router, `Edge` and every byte on the
//! wire are the same, and what differs is what the page does: key check, limits,
//! query, index and writing.
//!
//! Cost is the processor time of the server's process as the kernel counts it,
//! user and system, by request. The server has one worker thread, and the
//! client polls: waking a thread that sleeps costs more than an answer, and how
//! often that happens hangs on who of the two is faster. Questions are measured
//! in turns, round after round, and the median counts, because machines are
//! shared; of a ratio, the median of the rounds' ratios.
//!
//! Then the same server, whole, over a million Indian numbers at random, which is what
//! a platform's export has: each answer is to another question.

#![allow(clippy::print_stdout)]

mod shared;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use rollcall::cli::serve;
use rollcall::config::Config;
use rollcall::demo;
use rollcall::domain::user::Role;
use rollcall::domain::{Actor, PartnerId, Scope, Time};
use rollcall::http::App;
use rollcall::inventory::Snapshot;
use rollcall::service::people::{self, NewUser, People, UserActor};
use rollcall::service::{NewKey, Service};
use rollcall::store::{self, Location, Open};
use tower_service::Service as _;

/// The demo's first partner gets three fifths of these.
const NUMBERS: u64 = 1_666_667;
/// So many that the server always has something to do.
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 9;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("serve") => server(Path::new(&args[2]), &read_questions()),
        _ => {
            let mut figures = args.iter().filter_map(|arg| arg.parse::<f64>().ok());
            measure(figures.next().unwrap_or(0.5));
            scattered(figures.next().map_or(1_000_000, |numbers| numbers as usize));
        }
    }
}

/// What is asked, how many ms of processors an answer may take, the aim, and how the
/// address of a question is made.
type ScatteredQuestion = (&'static str, f64, f64, fn(&mut shared::Random) -> String);

const SCATTERED: [ScatteredQuestion; 5] = [
    ("four digits", 0.4, 0.1, |random| format!("/api/v1/partner/numbers?search={:04}", random.below(10_000))),
    ("first page", 0.4, 0.05, |_| "/api/v1/partner/numbers".to_owned()),
    ("deep page", 0.4, 0.05, |random| format!("/api/v1/partner/numbers?page={}", 1 + random.below(49_000))),
    ("an account's page", 0.4, 0.05, |random| {
        format!("/api/v1/partner/accounts/MA_0/numbers?page={}", 1 + random.below(4_000))
    }),
    ("three digits within an account of 96,000", 0.3, 0.1, |random| {
        format!("/api/v1/partner/accounts/MA_0/numbers?search={:03}", random.below(1_000))
    }),
];

/// Questions about scattered numbers, each with a date of its own.
fn scattered(size: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("scattered.db").display());
    let file = folder.path().join("scattered.csv");
    let numbers = shared::indian(size);
    std::fs::write(&file, shared::server::csv_of(&numbers, shared::dated_record)).expect("written");
    let token = shared::server::fill(&database, &file);
    let server = shared::server::Server::start(&database);
    shared::heading(&format!(
        "{} Indian numbers at random, 16 connections: time of processors an answer",
        numbers.len()
    ));
    for (what, most, aim, path) in SCATTERED {
        let asked = || {
            let (before, begun) = (server.processor_s(), Instant::now());
            let rate = shared::server::ask(&[&server], &token, 16, 3, path);
            ((server.processor_s() - before) * 1e3 / (rate * begun.elapsed().as_secs_f64()), rate)
        };
        // The first questions make the lists of digits.
        asked();
        let (millis, rate) = asked();
        shared::at_most(what, millis, "ms", most, aim);
        shared::reported(&format!("{what}, beside its clients"), rate, "requests/s");
    }
}

/// One figure, what it must be at least, and what it should be.
fn line(what: &str, value: f64, unit: &str, at_least: Option<f64>, aim: Option<f64>) {
    let goal = |word: &str, goal: Option<f64>| goal.map_or(String::new(), |goal| format!("   {word} {goal:.2}"));
    let missed = at_least.is_some_and(|least| value < least);
    let (least, aim) = (goal("at least", at_least), goal("aim", aim));
    println!("  {what:<48} {value:>10.2} {unit}{least}{aim}{}", if missed { "   MISSED" } else { "" });
}

/// A request that is measured.
#[derive(Clone)]
struct Question {
    name: &'static str,
    head: String,
}

impl Question {
    fn new(name: &'static str, target: &str, key: &Key) -> Question {
        let (id, token) = (&key.auth_id, &key.auth_token);
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: application/json\r\n\
             X-Auth-ID: {id}\r\nX-Auth-Token: {token}\r\n\r\n"
        );
        Question { name, head }
    }
}

struct Key {
    auth_id: String,
    auth_token: String,
}

// The parent: it makes the database, asks and measures.

fn measure(seconds: f64) {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("rollcall.db");
    let started = Instant::now();
    let (key, snapshot) = make(&database);
    let account = snapshot.accounts.iter().zip(snapshot.counts(Time::now()));
    let (account, _) = account.max_by_key(|(_, counts)| counts.active).expect("an account");
    println!("\n{} numbers imported in {:.1} s", snapshot.len(), started.elapsed().as_secs_f64());

    let of_account = format!("/api/v1/partner/accounts/{}/numbers", account.auth_id);
    let global = "/api/v1/partner/numbers";
    let deep = snapshot.len() / 20 / 2;
    let pages = [
        ("account page, 20 rows", format!("{of_account}?page=2&per_page=20")),
        ("account page, 100 rows", format!("{of_account}?page=2&per_page=100")),
        ("first page of all", global.to_owned()),
        ("deep page of all", format!("{global}?page={deep}")),
        ("4-digit search", format!("{global}?search=7126")),
    ];
    let recorded: Vec<String> = pages[..2].iter().map(|(_, target)| target.clone()).collect();
    drop(snapshot);
    let server = Server::start(&database, &key, &recorded);
    println!("{CONNECTIONS} connections unless said otherwise, {ROUNDS} rounds of {seconds} s");

    let constant = |at: usize| {
        let query = recorded[at].split_once('?').expect("a query").1;
        Question::new("constant", &format!("/constant/{at}?{query}"), &key)
    };
    let page = |at: usize| Question::new(pages[at].0, &pages[at].1, &key);
    for (at, at_least, aim) in [(0, 0.80, 0.90), (1, 0.70, 0.80)] {
        let (constant, page) = (constant(at), page(at));
        let (same, bytes) = (server.body(&constant), server.body(&page));
        assert!(same == bytes, "the recording is not the page");
        println!("\n{}, {} bytes", page.name, bytes.len());
        let turns = server.turns(&[constant, page], CONNECTIONS, seconds);
        line("constant", median(turns.iter().map(|turn| turn[0].cpu_us)), "µs CPU", None, None);
        line("page", median(turns.iter().map(|turn| turn[1].cpu_us)), "µs CPU", None, None);
        let ratio = median(turns.iter().map(|turn| turn[0].cpu_us / turn[1].cpu_us));
        line("constant ÷ page", ratio, "", Some(at_least), Some(aim));
    }

    println!("\nother questions");
    let others: Vec<Question> = (2..pages.len()).map(page).collect();
    let turns = server.turns(&others, CONNECTIONS, seconds);
    for (at, question) in others.iter().enumerate() {
        line(question.name, median(turns.iter().map(|turn| turn[at].cpu_us)), "µs CPU", None, None);
    }

    println!("\nthe console's page of 50 rows against the API's");
    let json = Question::new("JSON", &format!("{global}?per_page=50"), &key);
    let cookie = sign_in(&database);
    let target = format!("/console/p/{}/numbers", key.auth_id);
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nCookie: rollcall={cookie}\r\n\r\n");
    let html = Question { name: "HTML", head };
    let body = server.body(&html);
    assert!(body.windows(10).any(|part| part == b"data-copy="), "the console's page has no rows");
    println!("  {} bytes of HTML", body.len());
    let turns = server.turns(&[json, html], CONNECTIONS, seconds);
    line("JSON", median(turns.iter().map(|turn| turn[0].cpu_us)), "µs CPU", None, None);
    line("HTML", median(turns.iter().map(|turn| turn[1].cpu_us)), "µs CPU", None, None);
    // At most 5 times, which is at least a fifth.
    let ratio = median(turns.iter().map(|turn| turn[0].cpu_us / turn[1].cpu_us));
    line("JSON ÷ HTML", ratio, "", Some(0.2), Some(0.4));

    println!("\nan account's page of 20 rows");
    for connections in [1, 8] {
        let turns = server.turns(&[constant(0), page(0)], connections, seconds);
        let connections =
            if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
        line(&connections, median(turns.iter().map(|turn| turn[1].per_second)), "requests/s", None, None);
        let of_constant = median(turns.iter().map(|turn| turn[0].per_second));
        line(&format!("{connections}, constant"), of_constant, "requests/s", None, None);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The demo, imported, and a key to its first partner.
fn make(database: &Path) -> (Key, Snapshot) {
    let store = store::open(&Location::Sqlite(database.to_owned()), Open::Create).expect("a database");
    let service = Service::new(store, Actor::Command { user: "bench".to_owned() });
    let (watched, cancel) = (|_| {}, AtomicBool::new(false));
    demo::populate(&service, &|_| None, NUMBERS, Time::now(), &watched, &cancel).expect("imported");
    let partner: PartnerId = demo::partners()[0].auth_id.clone();
    let new = NewKey {
        name: "bench".into(),
        scopes: vec![Scope::Read],
        expires_at: None,
        networks: Vec::new(),
        dialect: Default::default(),
    };
    let (_, token) = service.key_create(&partner, new).expect("a key").value;
    let key = Key { auth_id: partner.to_string(), auth_token: token.reveal().to_owned() };
    (key, service.snapshot(&partner, true).expect("a snapshot"))
}

/// Somebody of the platform, signed in: their session's token.
fn sign_in(database: &Path) -> String {
    let store = store::open(&Location::Sqlite(database.to_owned()), Open::Existing).expect("a database");
    let people = People::new(store, people::SignInSettings::default());
    let new = NewUser {
        email: "bench@example.com".to_owned(),
        name: None,
        role: Role::Administrator,
        partner: None,
        zone: Some("Asia/Kolkata".to_owned()),
    };
    let (_, link) = people.user_create(UserActor::Command(&Actor::Server), new).expect("a user");
    let link = link.rsplit('/').next().expect("a token");
    people.set_up(link, "nine patient lighthouses", std::net::Ipv4Addr::LOCALHOST.into()).expect("signed in").token
}

/// The child process.
struct Server {
    child: Child,
    address: SocketAddr,
}

/// What a turn of one question cost.
struct Turn {
    cpu_us: f64,
    per_second: f64,
}

impl Server {
    fn start(database: &Path, key: &Key, recorded: &[String]) -> Server {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.env("TOKIO_WORKER_THREADS", "1");
        command.arg("serve").arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        // The pipe stays open: the server ends with whoever holds it.
        let stdin = child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{}\n{}", key.auth_id, key.auth_token).expect("written");
        recorded.iter().for_each(|target| writeln!(stdin, "{target}").expect("written"));
        writeln!(stdin).expect("written");
        let stdout = BufReader::new(child.stdout.as_mut().expect("a pipe"));
        let address = stdout.lines().next().expect("a line").expect("text").parse().expect("an address");
        Server { child, address }
    }

    /// What the server answers, after the headers.
    fn body(&self, question: &Question) -> Vec<u8> {
        let mut client = Client::connect(self.address);
        let started = Instant::now();
        client.send(question);
        while !client.answered() {
            assert!(started.elapsed() < Duration::from_secs(10), "the server does not answer");
        }
        client.body().to_vec()
    }

    /// Measures questions in turns, round after round, after a first round
    /// that does not count.
    fn turns(&self, questions: &[Question], connections: usize, seconds: f64) -> Vec<Vec<Turn>> {
        let round = |_| questions.iter().map(|question| self.turn(question, connections, seconds)).collect();
        (0..=ROUNDS).map(round).skip(1).collect()
    }

    fn turn(&self, question: &Question, connections: usize, seconds: f64) -> Turn {
        let mut clients: Vec<Client> = (0..connections).map(|_| Client::connect(self.address)).collect();
        clients.iter_mut().for_each(|client| client.send(question));
        let (cpu, started) = (self.cpu(), Instant::now());
        let mut asked = 0_u64;
        while started.elapsed().as_secs_f64() < seconds {
            for client in &mut clients {
                if client.answered() {
                    client.send(question);
                    asked += 1;
                }
            }
        }
        let (cpu, elapsed) = (self.cpu() - cpu, started.elapsed());
        let asked = asked as f64;
        Turn { cpu_us: cpu.as_secs_f64() * 1e6 / asked, per_second: asked / elapsed.as_secs_f64() }
    }

    /// The processor time that the server has used, user and system.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process of Linux");
        // The name, in parentheses, may have spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        // In hundredths of a second, on every Linux there is.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection that is kept alive.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    have: usize,
    body_at: usize,
    /// The length of the answer, once its head is there.
    whole: Option<usize>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        Client { stream, answer: vec![0; 1 << 16], have: 0, body_at: 0, whole: None }
    }

    fn send(&mut self, question: &Question) {
        (self.have, self.whole) = (0, None);
        self.stream.write_all(question.head.as_bytes()).expect("room for a request");
    }

    /// Reads what has come. Whether it is the whole answer, which must be good.
    fn answered(&mut self) -> bool {
        match self.stream.read(&mut self.answer[self.have..]) {
            Ok(0) => panic!("the server hung up"),
            Ok(read) => self.have += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("cannot read: {error}"),
        }
        if self.whole.is_none() {
            self.whole = self.head(self.have);
        }
        self.whole.is_some_and(|whole| self.have >= whole)
    }

    /// How long the answer is, once its head is there.
    fn head(&mut self, have: usize) -> Option<usize> {
        let read = &self.answer[..have];
        self.body_at = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&read[..self.body_at]).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        Some(self.body_at + length.parse::<usize>().expect("a number"))
    }

    fn body(&self) -> &[u8] {
        &self.answer[self.body_at..self.have]
    }
}

// The child: the server, and one route more.

/// The key and the targets to record, up to an empty line.
fn read_questions() -> Vec<String> {
    let lines = std::io::stdin().lines().map(|line| line.expect("text"));
    lines.take_while(|line| !line.is_empty()).collect()
}

fn server(database: &Path, questions: &[String]) {
    // The server ends with the process that started it.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut config = Config { database: Location::Sqlite(database.to_owned()), ..Config::default() };
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    // Every request is counted against a limit, which none must reach.
    config.limits.requests_per_second = 10_000_000;
    config.limits.requests_burst = 10_000_000;
    let routes = |app: Arc<App>| {
        let router = serve::routes(app);
        let targets = questions[2..].iter().enumerate();
        targets.fold(router, |router, (at, target)| {
            let (headers, body) = record(router.clone(), &questions[0], &questions[1], target);
            let answer = move || {
                let mut response = Response::new(Body::from(body.clone()));
                *response.headers_mut() = headers.clone();
                std::future::ready(response)
            };
            router.route(&format!("/constant/{at}"), get(answer))
        })
    };
    let ready = |address| {
        println!("{address}");
        Ok(())
    };
    serve::serve(&config, Open::Existing, routes, serve::Hangup::Stop, ready).expect("served");
}

/// What the router answers to a target.
fn record(mut router: Router, auth_id: &str, auth_token: &str, target: &str) -> (HeaderMap, Bytes) {
    let request = Request::get(target).header("x-auth-id", auth_id).header("x-auth-token", auth_token);
    let request = request.body(Body::empty()).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (parts, body) = router.call(request).await.expect("an answer").into_parts();
        assert_eq!(parts.status, 200);
        (parts.headers, body.collect().await.expect("a body").to_bytes())
    })
}
