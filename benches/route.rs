//! What an answer to a call costs: `cargo bench --bench route [-- whole]`.
//!
//! The SIP face and the HTTP face answer over loopback in this process; what the
//! client's thread uses of processors is taken off. What it is compared with runs
//! beside it and is asked the same: Kamailio's constant answer (`sl_send_reply`),
//! and Kamailio that looks the number up by the HTTP face, in Redis and in
//! PostgreSQL, with one worker and one connection that stays open. What other
//! processes use of processors is read from /proc, that of their children
//! included. What is not installed is left out, with the reason. `whole` measures
//! 10 M numbers besides, which take minutes to make. `profile NUMBERS` answers by
//! SIP alone from that many numbers, for a profiler.

// The cluster says on standard error what it skips.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "../tests/it/cluster.rs"]
mod cluster;
mod shared;
#[path = "../tests/it/until.rs"]
mod until;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rollcall::config::Config;
use rollcall::domain::{Actor, ApplicationId, Destination, Destinations, PartnerId, RouteKind, Time};
use rollcall::face::Faces;
use rollcall::routing::RoutingSettings;
use rollcall::service::replica::routing::RouteRequest;
use rollcall::service::verbs::entities::EntityPatch;
use rollcall::service::verbs::import::{ImportOptions, Watch};
use rollcall::service::{Replica, Service};
use rollcall::sip;
use rollcall::store::{self, Location, Open};
use rustix::time::ClockId;

use shared::{at_least, at_most, heading, micros, reported, skipped};

const CALLS: usize = 100_000;
/// Calls on the way at once; fewer than a receive buffer holds.
const WINDOW: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|arg| arg == "resident") {
        return println!("{}", resident(&arguments[at + 1], Path::new(&arguments[at + 2])));
    }
    if let Some(at) = arguments.iter().position(|arg| arg == "profile") {
        return profile(arguments.get(at + 1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000));
    }
    let whole = arguments.iter().any(|arg| arg == "whole");
    let small = World::new(10_000, 1);
    let million = World::new(1_000_000, 1);

    heading("one answer without a socket: read, judge, write");
    let one = million.answer_micros();
    reported("10 k numbers", small.answer_micros(), "µs");
    reported("1 M numbers", one, "µs");

    heading("one answer over loopback, processor time");
    let base = small.by_sip();
    let sip = million.by_sip();
    reported("10 k numbers", base, "µs");
    reported("1 M numbers", sip, "µs");
    let bare = echoed(&million);
    reported("the same datagrams received and sent back unread", bare, "µs");
    at_least("SIP answers a second of one core", 1e6 / sip, "", 100_000.0, 200_000.0);
    reported("of that, the kernel's part", 100.0 * bare / sip, "%");
    let many = World::new(1_000_000, 100);
    at_most("1 M of 100 partners ÷ 1 M of one", many.by_sip() / sip, "times", 1.5, 1.2);
    drop(many);
    if whole {
        let large = World::new(10_000_000, 1);
        at_most("10 M ÷ 10 k", large.by_sip() / base, "times", 1.2, 1.1);
    } else {
        skipped("10 M ÷ 10 k", "cargo bench --bench route -- whole");
    }
    match million.faces_bytes() {
        Ok((replica, faces)) => {
            reported("memory beyond the inventory of what follows it", replica, "B/number");
            at_most("memory beyond that of both faces", faces, "B/number", 1.0, 0.5);
        }
        Err(why) => skipped("memory of both faces", &why),
    }

    heading("Kamailio that asks, 1 M numbers, processor time with what it asks");
    let constant = match kamailio(&million, "", "sl_send_reply(\"404\", \"Not Found\");", "SIP/2.0 404", &|| 0.0) {
        Ok((constant, _)) => constant,
        Err(why) => return skipped("Kamailio", &why),
    };
    reported("constant answers a second of one core", 1e6 / constant, "");
    at_most("SIP face ÷ Kamailio's constant answer", sip / constant, "times", 0.25, 0.15);
    let line = |name: &str, cost: Cost| {
        reported(&format!("{name}: Kamailio alone ÷ constant"), cost.0 / constant, "times");
        reported(&format!("{name}: with what it asks ÷ constant"), (cost.0 + cost.1) / constant, "times");
    };
    let by_http = by_http(&million);
    let Ok(http) = by_http else { return skipped("Kamailio with the HTTP face", &by_http.err().unwrap_or_default()) };
    line("HTTP face", http);
    for (name, cost, least) in [("Redis", by_redis(&million), 1.25), ("PostgreSQL", by_postgres(&million), 0.6)] {
        match cost {
            Ok(cost) => {
                line(name, cost);
                at_most(&format!("HTTP face ÷ {name}, Kamailio alone"), http.0 / cost.0, "times", least, least);
                let (ours, theirs) = (http.0 + http.1, cost.0 + cost.1);
                at_most(&format!("HTTP face ÷ {name}, both processes"), ours / theirs, "times", least, least);
            }
            Err(why) => skipped(&format!("Kamailio with {name}"), &why),
        }
    }
}

/// Answers by SIP from this many numbers for some seconds, to be looked at by a
/// profiler: `perf record -g -p PID`.
fn profile(count: usize) {
    let world = World::new(count, 1);
    println!("process {} answers from {count} numbers", std::process::id());
    reported("an answer without a socket", world.answer_micros(), "µs");
    for _ in 0..5 {
        reported("an answer over loopback", world.by_sip(), "µs");
    }
}

/// Microseconds of Kamailio's, and of what it asks.
type Cost = (f64, f64);

/// Partners with numbers that are routed to two destinations.
struct World {
    folder: tempfile::TempDir,
    replica: Arc<Replica>,
    numbers: Vec<u64>,
}

impl World {
    fn new(count: usize, partners: usize) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let store =
            store::open(&Location::Sqlite(folder.path().join("rollcall.db")), Open::Create).expect("a database");
        let service = Service::new(store.clone(), Actor::Command { user: "bench".to_owned() });
        let numbers = shared::blocks(count);
        for (at, some) in numbers.chunks(numbers.len().div_ceil(partners)).enumerate() {
            let auth_id = format!("PA_{at}").parse().expect("an id");
            service.partner_create(auth_id, "P".into()).expect("a partner");
            let mut text = "number,account_auth_id,application_id,monthly_cost,currency\n".to_owned();
            for (digits, _) in some {
                text.push_str(&format!("+{digits},MA_1,app_1,500.00,INR\n"));
            }
            let file = folder.path().join("numbers.csv");
            std::fs::write(&file, text).expect("written");
            let auth_id = format!("PA_{at}").parse().expect("an id");
            let key = service.partner_key(&auth_id).expect("a partner");
            import(&service, &auth_id, &file);
            let uri = |text: &str| Destination::new(text.parse().expect("a URI"));
            let both = vec![uri("sip:ivr-1.example"), uri("sip:ivr-2.example;transport=tcp")];
            let changes =
                EntityPatch { destinations: Some(Destinations::new(both).expect("two")), ..EntityPatch::default() };
            let application: ApplicationId = "app_1".parse().expect("an id");
            service.route_edit(key, (RouteKind::Application, application.as_str()), &changes).expect("changed");
        }
        let replica = Arc::new(Replica::load(store).expect("loads"));
        World { folder, replica, numbers: numbers.into_iter().map(|(digits, _)| digits).collect() }
    }

    fn invite(&self, call: usize, from: SocketAddr) -> String {
        let number = self.numbers[call.wrapping_mul(2_654_435_761) % self.numbers.len()];
        format!(
            "INVITE sip:+{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+33170001234@127.0.0.1>;tag={call}\r\nTo: <sip:+{number}@127.0.0.1>\r\n\
             Call-ID: {call}@127.0.0.1\r\nCSeq: 1 INVITE\r\nContact: <sip:c@{from}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// Both faces, or none: HTTP by one thread, SIP by as many as it has.
    fn with_faces<T>(&self, listening: bool, work: impl FnOnce(&Faces) -> T) -> T {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut config = Config::default();
        if listening {
            config.routing.sip = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            config.routing.http = config.routing.sip.clone();
        }
        let faces = runtime.block_on(async { Faces::start(&self.replica, &config) }).expect("they listen");
        let done = work(&faces);
        runtime.block_on(faces.stop());
        done
    }

    /// Microseconds of an answer of the SIP face.
    fn by_sip(&self) -> f64 {
        self.with_faces(true, |faces| ours(|| calls(faces.sip_at[0], self, "SIP/2.0 302")))
    }

    /// What a number costs in memory beyond the inventory itself: in what follows
    /// the database, the directory of groups among it, and beyond that in the
    /// faces. Each is a process of its own.
    fn faces_bytes(&self) -> Result<(f64, f64), String> {
        let measured = |what: &str| {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(program);
            command.args(["resident", what]).arg(self.folder.path().join("rollcall.db"));
            let output = command.output().map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse::<f64>().map_err(|error| format!("{text}: {error}"))
        };
        let [inventory, replica, faces] = ["inventory", "replica", "faces"].map(measured);
        let (inventory, replica, faces, count) = (inventory?, replica?, faces?, self.numbers.len() as f64);
        Ok(((replica - inventory) / count, (faces - replica) / count))
    }

    fn answer_micros(&self) -> f64 {
        let from = SocketAddr::from(([127, 0, 0, 1], 5_060));
        let invites: Vec<String> = (0..CALLS).map(|call| self.invite(call, from)).collect();
        let (seed, settings) = (sip::TagSeed([1; 32]), RoutingSettings::default());
        let mut out = Vec::new();
        let mut routed = 0;
        let all = shared::best(5, || {
            for invite in &invites {
                let Ok(request) = sip::read(invite.as_bytes()) else { unreachable!("it is a request") };
                let asked = RouteRequest { user: request.uri.user, call_id: Some(request.call_id), now: Time::now() };
                self.replica.route(&settings, asked, |answer| {
                    routed += usize::from(answer.line.code == 302);
                    let said = sip::SipAnswer::plain(answer.line.code, answer.line.reason);
                    sip::write(&mut out, &request, from, &seed, &said, answer.routes.iter());
                });
                black_box(&out);
            }
        });
        assert_eq!(routed % CALLS, 0, "a call is not routed");
        all / CALLS as f64
    }
}

/// What this process has resident, without pages of files: those of the program
/// itself come with the code that runs.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1_024
}

/// What is resident of a process with an inventory alone, or with all that
/// answers calls from it.
fn resident(what: &str, file: &Path) -> u64 {
    let store = store::open(&Location::Sqlite(file.to_owned()), Open::Existing).expect("a database");
    if what == "inventory" {
        let service = Service::new(store, Actor::Command { user: "bench".to_owned() });
        let snapshot = service.snapshot(&"PA_0".parse().expect("an id"), true).expect("a partner");
        let bytes = anonymous_bytes();
        drop(snapshot);
        return bytes;
    }
    let replica = Arc::new(Replica::load(store).expect("loads"));
    let world = World { folder: tempfile::tempdir().expect("a folder"), replica, numbers: Vec::new() };
    world.with_faces(what == "faces", |_| anonymous_bytes())
}

fn import(service: &Service, partner: &PartnerId, file: &Path) {
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let open = || Ok(Box::new(File::open(file)?) as _);
    let report = service.import(partner, &open, &ImportOptions::default(), &watch).expect("imported");
    assert!(report.written, "{report:?}");
}

/// What this process has used of processors, without the client's thread.
fn ours_so_far() -> f64 {
    shared::processor_micros(ClockId::ProcessCPUTime) - shared::processor_micros(ClockId::ThreadCPUTime)
}

/// Microseconds of this process's processor time a call, without the client's.
fn ours(client: impl Fn()) -> f64 {
    let round = || {
        let before = ours_so_far();
        client();
        (ours_so_far() - before) / CALLS as f64
    };
    (0..3).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// The least that any answer by this socket costs: a thread that reads nothing
/// and sends as many bytes back as an answer has.
fn echoed(world: &World) -> f64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = socket.local_addr().expect("an address");
    let answer = format!("SIP/2.0 302 {}", "x".repeat(ANSWER_BYTES));
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((1.., from)) = socket.recv_from(&mut buffer) {
            socket.send_to(answer.as_bytes(), from).expect("sent");
        }
    });
    let cost = ours(|| calls(at, world, "SIP/2.0 302"));
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], at)).expect("sent");
    thread.join().expect("its end");
    cost
}

fn calls(at: SocketAddr, world: &World, expected: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let from = socket.local_addr().expect("an address");
    let mut buffer = [0; 4_096];
    for window in 0..CALLS / WINDOW {
        for call in 0..WINDOW {
            socket.send_to(world.invite(window * WINDOW + call, from).as_bytes(), at).expect("sent");
        }
        for _ in 0..WINDOW {
            let length = socket.recv(&mut buffer).expect("an answer");
            let answer = &buffer[..length];
            assert!(answer.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(answer));
        }
    }
}

/// Ends a process of ours.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// A port of TCP and UDP that is free now.
fn free() -> Result<SocketAddr, String> {
    let text = |error: std::io::Error| error.to_string();
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(text)
}

/// Microseconds that a call costs Kamailio with this configuration, and what
/// `beside` says that it costs others.
fn kamailio(
    world: &World,
    modules: &str,
    route: &str,
    expected: &str,
    beside: &dyn Fn() -> f64,
) -> Result<Cost, String> {
    let text = |error: std::io::Error| error.to_string();
    let (folder, free) = (tempfile::tempdir().map_err(text)?, free()?);
    let wanted =
        modules.split('"').filter(|name| name.ends_with(".so")).find(|name| !Path::new(MODULES).join(name).exists());
    if let Some(missing) = wanted {
        return Err(format!("Kamailio's {missing} is not installed"));
    }
    let file = folder.path().join("kamailio.cfg");
    let config = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\nlisten=udp:{free}\n\
         mpath=\"{MODULES}/\"\nloadmodule \"sl.so\"\nloadmodule \"pv.so\"\nloadmodule \"textops.so\"\n{modules}\n\
         request_route {{ {route} }}\n"
    );
    std::fs::write(&file, config).map_err(text)?;
    let log = folder.path().join("log");
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(&file).args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"]).arg(folder.path());
    command.arg("-P").arg(folder.path().join("pid")).stdout(Stdio::null()).stderr(File::create(&log).map_err(text)?);
    let proxy = Process(command.spawn().map_err(|error| format!("kamailio: {error}"))?);
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(text)?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(text)?;
    let (begin, from) = (Instant::now(), socket.local_addr().map_err(text)?);
    let mut buffer = [0; 4_096];
    loop {
        let _ = socket.send_to(world.invite(0, from).as_bytes(), free);
        if let Ok(length) = socket.recv(&mut buffer) {
            if buffer[..length].starts_with(expected.as_bytes()) {
                break;
            }
            return Err(format!("Kamailio answers {}", String::from_utf8_lossy(&buffer[..length])));
        }
        if begin.elapsed() > Duration::from_secs(10) {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("Kamailio does not answer: {}", log.lines().last().unwrap_or_default()));
        }
    }
    let round = || {
        let before = (family_micros(proxy.0.id()), beside());
        micros(|| calls(free, world, expected));
        let each = |now: f64, before: f64| (now - before) / CALLS as f64;
        (each(family_micros(proxy.0.id()), before.0), each(beside(), before.1))
    };
    let less = |one: Cost, other: Cost| if other.0 + other.1 < one.0 + one.1 { other } else { one };
    Ok((0..3).map(|_| round()).fold((f64::INFINITY, 0.0), less))
}

/// The destination of a number as the others keep it.
const URI: &str = "sip:ivr-1.example";
/// How large an answer of the SIP face is, about.
const ANSWER_BYTES: usize = 380;
const MOVED: &str = "append_to_reply(\"Contact: <$var(uri)>\\r\\n\"); sl_send_reply(\"302\", \"Moved Temporarily\");";

/// The line's keys are always in one order, so code and URI are the texts after
/// the sixth and the twenty-fifth quote: a reader of JSON costs as much again as
/// the rest of Kamailio's work.
fn by_http(world: &World) -> Result<Cost, String> {
    world.with_faces(true, |faces| {
        let modules = format!(
            "loadmodule \"http_client.so\"\nmodparam(\"http_client\", \"connection_timeout\", \
             1)\nmodparam(\"http_client\", \"keep_connections\", 1)\nmodparam(\"http_client\", \"httpcon\", \
             \"first=>http://{};timeout=1\")",
            faces.http_at[0]
        );
        let route = format!(
            "$var(path) = \"/route/\" + $(rU{{s.escape.param}}) + \"?call_id=\" + $(ci{{s.escape.param}}); \
             http_connect(\"first\", \"$var(path)\", \"\", \"\", \"$var(doc)\"); if ($(var(doc){{s.select,6,\"}}) != \
             \":302,\") {{ sl_send_reply(\"404\", \"Not Found\"); exit; }} \
             $var(uri) = $(var(doc){{s.select,25,\"}}); {MOVED}"
        );
        kamailio(world, &modules, &route, "SIP/2.0 302", &ours_so_far)
    })
}

fn by_redis(world: &World) -> Result<Cost, String> {
    let text = |error: std::io::Error| error.to_string();
    let at = free()?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &at.port().to_string(), "--save", "", "--appendonly", "no"]);
    let redis = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let redis = Process(redis.map_err(|error| format!("redis-server: {error}"))?);
    let begin = Instant::now();
    let stream = loop {
        match TcpStream::connect(at) {
            Ok(stream) => break stream,
            Err(error) if begin.elapsed() > Duration::from_secs(10) => return Err(format!("redis-server: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut answers = BufReader::new(stream.try_clone().map_err(text)?);
    for some in world.numbers.chunks(1_000) {
        let sets: String = some.iter().map(|number| format!("SET +{number} {URI}\r\n")).collect();
        (&stream).write_all(sets.as_bytes()).map_err(text)?;
        for _ in some {
            let mut line = String::new();
            answers.read_line(&mut line).map_err(text)?;
            if line != "+OK\r\n" {
                return Err(format!("redis-server: {line}"));
            }
        }
    }
    let modules = format!(
        "loadmodule \"ndb_redis.so\"\nmodparam(\"ndb_redis\", \"server\", \"name=r;addr=127.0.0.1;port={}\")",
        at.port()
    );
    let route = format!("redis_cmd(\"r\", \"GET $rU\", \"k\"); $var(uri) = $redis(k=>value); {}", found("$var(uri)"));
    kamailio(world, &modules, &route, "SIP/2.0 302", &|| family_micros(redis.0.id()))
}

fn by_postgres(world: &World) -> Result<Cost, String> {
    let Some(cluster) = cluster::Cluster::new(cluster::QUICK) else { return Err("it is not installed".to_owned()) };
    let database = cluster.database();
    let name = cluster::database_name(&database);
    cluster.psql(name, "CREATE TABLE route (number text PRIMARY KEY, uri text NOT NULL)");
    let file = world.folder.path().join("routes.csv");
    let rows: String = world.numbers.iter().map(|number| format!("+{number},{URI}\n")).collect();
    std::fs::write(&file, rows).map_err(|error| error.to_string())?;
    cluster.psql(name, &format!("\\copy route FROM '{}' WITH (FORMAT csv)", file.display()));
    cluster.psql(name, "VACUUM ANALYZE route");
    let server = std::fs::read_to_string(cluster.data().join("postmaster.pid")).map_err(|error| error.to_string())?;
    let server: u32 = server.lines().next().and_then(|line| line.parse().ok()).ok_or("it has no process")?;
    let modules = format!(
        "loadmodule \"db_postgres.so\"\nloadmodule \"sqlops.so\"\nmodparam(\"sqlops\", \"sqlcon\", \
         \"ca=>postgres://postgres:x@127.0.0.1:{}/{name}\")",
        cluster.port
    );
    let route = format!(
        "sql_query(\"ca\", \"SELECT uri FROM route WHERE number = '$rU'\", \"ra\"); $var(uri) = $dbr(ra=>[0,0]); \
         sql_result_free(\"ra\"); {}",
        found("$var(uri)")
    );
    kamailio(world, &modules, &route, "SIP/2.0 302", &|| family_micros(server))
}

/// The end of a look-up that gives a URI.
fn found(uri: &str) -> String {
    format!("if ({uri} == $null || {uri} == \"\") {{ sl_send_reply(\"404\", \"Not Found\"); exit; }} {MOVED}")
}

/// What a process and its children have used of processors.
fn family_micros(parent: u32) -> f64 {
    let ticks = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let pid: u32 = text.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let of: u32 = fields.get(1)?.parse().ok()?;
        let used = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        (pid == parent || of == parent).then_some(used)
    };
    let all: f64 = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(ticks).sum();
    // Linux counts in hundredths of a second.
    all * 10_000.0
}
