//! Calls by the million: broken datagrams, every number of a large inventory, and
//! what becomes of calls while the database is gone.

// The messages that the reader's own tests have.
#[path = "../../../src/sip/torture/messages.rs"]
mod messages;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rollcall::domain::{E164, Time};
use rollcall::inventory::Snapshot;
use rollcall::routing::{self, Case, RoutingSettings};
use rollcall::service::Replica;
use rollcall::sip::{self, RequestFault};
use serde_json::{Value, json};

use crate::calls::{self, SETTINGS, ask, faces, faces_of, header, place, request};
use crate::cluster::{Cluster, QUICK};
use crate::harness::{self, Database};
use crate::process::{PARTNER, Place};

use super::{limit, whole};
use crate::until::until;
use messages::{MESSAGES, TORTUROUS, mutated, wire};

/// Calls on the way at once; fewer than a receive buffer holds.
const WINDOW: usize = 32;
/// An answer that has to come does so by then, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn socket_on(address: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((address, 0))).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

fn sockets() -> Vec<UdpSocket> {
    (0..WINDOW).map(|_| socket_on([127, 0, 0, 1])).collect()
}

/// Nothing has arrived.
#[track_caller]
fn silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("set");
    let received = socket.recv(&mut [0; 100]);
    assert!(received.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{received:?}");
    socket.set_nonblocking(false).expect("set");
}

// ---- broken datagrams

/// With a Via on top by which the answer comes back here.
fn by_us(message: &[u8]) -> Vec<u8> {
    let end = message.windows(2).position(|pair| pair == b"\r\n").expect("a line") + 2;
    let via = b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKus;rport\r\n";
    [&message[..end], via, &message[end..]].concat()
}

fn to(number: &str) -> Vec<u8> {
    request("INVITE", number, "fuzz").into_bytes()
}

fn any_message(next: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
    match next(6) {
        0 => by_us(&wire(TORTUROUS)),
        1 | 2 => to("+912271260008"),
        3 => to("00912271260009;user=phone"),
        4 => to(calls::CASES[next(calls::CASES.len())].0),
        _ => by_us(&wire(MESSAGES[next(MESSAGES.len())].1)),
    }
}

/// The digits that an INVITE asks for, read without the program's own reader.
fn called(datagram: &[u8]) -> Option<String> {
    let text: String = datagram.iter().map(|&byte| char::from(byte)).collect();
    let line = text.trim_start().lines().next()?.to_owned();
    let uri = line.strip_prefix("INVITE ")?.rsplit_once(' ')?.0.to_owned();
    let (scheme, rest) = uri.split_once(':')?;
    let user = match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => rest.split_once('@')?.0.split(':').next()?,
        "tel" => rest,
        _ => return None,
    };
    let mut digits = String::new();
    let mut rest = user.split(';').next()?;
    while let Some(first) = rest.chars().next() {
        let (one, after) = match rest.strip_prefix('%') {
            Some(escape) => (char::from(u8::from_str_radix(escape.get(..2)?, 16).ok()?), &escape[2..]),
            None => (first, &rest[first.len_utf8()..]),
        };
        rest = after;
        if !"-.()".contains(one) {
            digits.push(one);
        }
    }
    let digits = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00")).unwrap_or(&digits).to_owned();
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Whether an answer is right: of this request, small, and a 302 only to the
/// destination of a number that is routed.
#[track_caller]
fn check_answer(datagram: &[u8], answer: &[u8]) -> u16 {
    let shown = || String::from_utf8_lossy(datagram).into_owned();
    let text = String::from_utf8_lossy(answer);
    let code = sip::status(answer).unwrap_or_else(|| panic!("no status: {text}\n\n{}", shown()));
    let contacts: Vec<&str> = text.split("\r\n").filter(|line| line.starts_with("Contact: ")).collect();
    let more: usize = contacts.iter().map(|line| line.len() + 2).sum();
    let allowed = datagram.len() + more + sip::ANSWER_EXTRA_MAX;
    assert!(answer.len() <= allowed, "{} bytes in place of {allowed}: {text}\n\n{}", answer.len(), shown());
    if code == 302 {
        let digits = called(datagram).unwrap_or_default();
        assert!(["912271260008", "912271260009"].contains(&digits.as_str()), "a wrong 302: {text}\n\n{}", shown());
        assert_eq!(contacts, [format!("Contact: <sip:+{digits}@127.0.0.1:6001>;q=1.0")], "{}", shown());
    } else {
        assert!(contacts.is_empty(), "{text}\n\n{}", shown());
    }
    code
}

#[test]
fn broken_datagrams_get_no_wrong_answer_and_strangers_none() {
    let place = place(&["sip:127.0.0.1:6001".to_owned()]);
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}askers = [\"127.0.0.1/32\"]\n"));
    let (at, _) = faces(&server);
    let sockets = sockets();
    let stranger = socket_on([127, 0, 0, 2]);
    let mut buffer = vec![0; 65_535];
    // The messages of RFC 4475 as they stand, to the code.
    for (name, text, fault) in MESSAGES {
        let datagram = by_us(&wire(text));
        stranger.send_to(&datagram, at).expect("sent");
        sockets[0].send_to(&datagram, at).expect("sent");
        let length = sockets[0].recv(&mut buffer).unwrap_or_else(|error| panic!("{name}: {error}"));
        let code = check_answer(&datagram, &buffer[..length]);
        let expected: &[u16] = match fault {
            Some(RequestFault::Malformed(_)) => &[400],
            Some(RequestFault::Method) => &[405],
            Some(RequestFault::Scheme) => &[416],
            Some(RequestFault::Extension) => &[420],
            Some(RequestFault::Version) => &[505],
            None if text.trim_start().starts_with("OPTIONS") => &[200],
            None => &[404],
        };
        // The control characters of `intmeth` are in its To, which may be refused.
        assert!(expected.contains(&code) || *name == "intmeth", "{name}: {code}");
    }
    // An answer is not sent to a stranger whom an asker names.
    let port = stranger.local_addr().expect("an address").port();
    let named = request("OPTIONS", "x", "maddr").replace("127.0.0.1:9;", &format!("h:{port};maddr=127.0.0.2;"));
    assert!(ask(&sockets[0], at, &named).starts_with("SIP/2.0 200 "));
    let count: u64 = if whole() { 10_000_000 } else { 100_000 };
    let began = Instant::now();
    let (mut strange, mut codes) = (MESSAGES.len() as u64, BTreeMap::<u16, u64>::new());
    let mut due: Vec<(usize, Vec<u8>)> = Vec::new();
    for number in 0..count {
        let turn = (number % WINDOW as u64) as usize;
        let datagram = mutated(number, any_message);
        let socket = &sockets[turn];
        let here = socket.local_addr().expect("an address");
        let answered = sip::read(&datagram).is_ok_and(|request| {
            sip::destination(&request.top, here, |address| address.to_string() == "127.0.0.1") == here
        });
        // What leads elsewhere may lead to a service of this machine.
        let elsewhere = !answered && sip::read(&datagram).is_ok();
        if !elsewhere {
            socket.send_to(&datagram, at).expect("sent");
        }
        if number % 16 == 0 {
            stranger.send_to(&datagram, at).expect("sent");
            strange += 1;
        }
        if answered {
            due.push((turn, datagram));
        }
        if turn + 1 == WINDOW || number + 1 == count {
            for (turn, datagram) in due.drain(..) {
                let length = sockets[turn].recv(&mut buffer).unwrap_or_else(|error| {
                    panic!("{error}: no answer to {}", String::from_utf8_lossy(&datagram));
                });
                *codes.entry(check_answer(&datagram, &buffer[..length])).or_default() += 1;
            }
        }
    }
    println!("{count} broken datagrams in {:.1?}: {codes:?}, {strange} of a stranger's", began.elapsed());
    assert!(codes.get(&302).is_some_and(|&routed| routed > count / 50), "{codes:?}");
    assert!(codes.values().sum::<u64>() < count, "none was left unanswered");
    // A stranger's datagrams have been read once they are counted.
    let counted = format!("why=\"not_an_asker\"}} {strange}\n");
    let metrics = || server.client().get("/metrics", "text/plain").expect("an answer").1;
    until(PATIENCE, || format!("not {counted}{}", metrics()), || metrics().contains(&counted));
    silent(&stranger);
    sockets.iter().for_each(silent);
    assert!(ask(&sockets[0], at, &request("OPTIONS", "x", "last")).starts_with("SIP/2.0 200 "));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

// ---- every number

const FIRST: u64 = 4_930_000_000_000;
/// Each number is of the kind that its place says, in turns.
const KINDS: [(&str, Case); 14] = [
    ("", Case::Unknown),
    (",,,available,,,,", Case::Unassigned),
    (",,,quarantined,,2099-01-01T00:00:00Z,,", Case::Unassigned),
    (",,,reserved,,,2099-01-01T00:00:00Z,MA_1", Case::Unassigned),
    ("MA_1,app_1,,active,2099-01-01T00:00:00Z,,,", Case::Routed),
    ("MA_1,app_1,,active,2020-01-01T00:00:00Z,,,", Case::Expired),
    ("MA_1,app_1,,suspended,,,,", Case::Suspended),
    ("MA_1,app_1,trunk_1,suspended,2020-01-01T00:00:00Z,,,", Case::Expired),
    ("MA_1,,trunk_1,active,,,,", Case::Unrouted),
    ("MA_1,app_none,,active,,,,", Case::NoDestination),
    ("MA_1,app_off,trunk_1,active,,,,", Case::DestinationsOff),
    ("MA_1,app_none,trunk_1,active,,,,", Case::Routed),
    // Of the partner that is suspended.
    ("MA_1,app_1,,active,,,,", Case::PartnerSuspended),
    (",,,available,,,,", Case::Unassigned),
];
const OF_THE_OTHER: [usize; 2] = [12, 13];
/// So many of the first numbers of a kind come to an end of their own.
const FEW: u64 = 5;
const RETIRED: usize = 1;
const UNREADABLE: usize = 4;

fn kind_of(at: u64) -> (usize, Case) {
    let (kind, turn) = ((at % KINDS.len() as u64) as usize, at / KINDS.len() as u64);
    match kind {
        RETIRED if turn < FEW => (kind, Case::Unknown),
        UNREADABLE if turn < FEW => (kind, Case::RowUnreadable),
        _ => (kind, KINDS[kind].1),
    }
}

fn every_kind(count: u64) -> Place {
    let place = Place::new();
    place.must(&["partner", "create", "--auth-id", "PA_S", "--name", "S"]);
    let header = "number,account_auth_id,application_id,trunk_id,state,expires_at,quarantine_ends_at,reserved_until,\
                  reserved_for,monthly_cost,currency\n";
    let (mut own, mut other) = (header.to_owned(), header.to_owned());
    for at in 0..count {
        let (kind, _) = kind_of(at);
        let row = KINDS[kind].0;
        let text = if OF_THE_OTHER.contains(&kind) { &mut other } else { &mut own };
        if !row.is_empty() {
            text.push_str(&format!("+{},{row},1,EUR\n", FIRST + at));
        }
    }
    for (partner, text) in [(PARTNER, own), ("PA_S", other)] {
        let file = place.path("numbers.csv");
        std::fs::write(&file, text).expect("written");
        place.must(&["import", file.to_str().expect("UTF-8"), "--partner", partner]);
        let add = |kind: &str, id: &str, uri: &str, more: &[&str]| {
            place.must(&[&[kind, "destination", "add", id, uri, "--partner", partner], more].concat());
        };
        add("application", "app_1", "sip:ivr-1.example", &[]);
        add("application", "app_1", "sip:ivr-2.example;transport=tcp", &["--priority", "20"]);
        if partner == PARTNER {
            add("application", "app_off", "sip:off.example", &[]);
            place.must(&["application", "destination", "disable", "app_off", "sip:off.example", "--partner", PARTNER]);
            add("trunk", "trunk_1", "sip:desk@trunk.example", &[]);
        }
    }
    let few = |kind: usize| (0..FEW).map(move |turn| FIRST + turn * KINDS.len() as u64 + kind as u64);
    for number in few(RETIRED) {
        place.must(&["number", "retire", &format!("+{number}"), "--yes", "--partner", PARTNER]);
    }
    place.must(&["partner", "suspend", "PA_S"]);
    let raw = rusqlite::Connection::open(&place.database).expect("the database opens");
    for number in few(UNREADABLE) {
        raw.execute("UPDATE number SET state = 'nonsense' WHERE number = ?1", [number as i64]).expect("changed");
        let changed = "SELECT state = 'nonsense' FROM number WHERE number = ?1";
        assert_eq!(raw.query_row(changed, [number as i64], |row| row.get(0)), Ok(true), "{number}");
    }
    place
}

/// What an answer says: code, cause, Q.850 and destinations.
type Said = (u16, String, Option<u64>, Vec<String>);

fn said_by_sip(answer: &str) -> Said {
    let code = sip::status(answer.as_bytes()).expect("a status");
    let cause = header(answer, "X-Rollcall-Cause").expect("a cause").to_owned();
    let q850 = header(answer, "Reason").map(|reason| {
        let digits = reason.strip_prefix("Q.850;cause=").expect("of Q.850");
        digits.parse().expect("a number")
    });
    let contacts = answer.lines().filter_map(|line| line.strip_prefix("Contact: <")?.split('>').next());
    (code, cause, q850, contacts.map(str::to_owned).collect())
}

fn said_by_http(line: &Value) -> Said {
    let routes = line["routes"].as_array().expect("routes").iter();
    let uri = |route: &Value| route["uri"].as_str().expect("a URI").to_owned();
    let code = line["code"].as_u64().expect("a code") as u16;
    (code, line["cause"].as_str().expect("a cause").to_owned(), line["q850"].as_u64(), routes.map(uri).collect())
}

/// The HTTP face on one connection, asked for many numbers at a time.
struct Http(BufReader<TcpStream>);

impl Http {
    fn new(at: SocketAddr) -> Http {
        let stream = TcpStream::connect(at).expect("a connection");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Http(BufReader::new(stream))
    }

    fn ask(&mut self, numbers: std::ops::Range<u64>) -> Vec<Said> {
        let one = |number| format!("GET /route/+{number}?call_id=c{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        let text: String = numbers.clone().map(one).collect();
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
        numbers.map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> Said {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a header");
            let line = line.to_ascii_lowercase();
            assert!(!line.starts_with("http/") || line.starts_with("http/1.1 200 "), "{line}");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        said_by_http(&serde_json::from_slice(&body).expect("JSON"))
    }
}

/// What the explanation says; a number that its partner never had has none. The
/// log is long, so who and when are left out of most.
fn explained(replica: &Replica, of: &Snapshot, number: E164, with_log: bool) -> Said {
    let (settings, now) = (RoutingSettings::default(), Time::now());
    let row = of.get(number, now);
    let explained = match with_log {
        true => replica.explain_route(&settings, of, number, now).expect("read"),
        false if row.is_none() && !replica.left_out(number) => None,
        false => Some(routing::explain(&settings, of, (number, row, !replica.left_out(number)), &[], now)),
    };
    let Some(explained) = explained else { return (404, "unknown".to_owned(), Some(1), Vec::new()) };
    let line = explained.line;
    let stops = explained.steps.iter().filter(|step| step.stops).count();
    assert_eq!(stops, usize::from(line.case != Case::Routed), "{number}: {:?}", explained.steps);
    let routes = explained.routes.iter().map(ToString::to_string).collect();
    (line.code, line.case.as_str().to_owned(), line.q850.map(u64::from), routes)
}

#[test]
fn every_number_is_answered_alike_by_both_faces_and_explained_so() {
    let count: u64 = if whole() { 1_000_000 } else { 20_000 };
    let place = every_kind(count);
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let (at, http) = faces(&server);
    let (sockets, mut http) = (sockets(), Http::new(http));
    let replica = Replica::load(place.store()).expect("loaded");
    let of = |auth_id: &str| {
        let nodes = replica.nodes();
        let found =
            nodes.iter().map(|node| node.snapshot()).find(|snapshot| snapshot.partner.auth_id.as_str() == auth_id);
        found.expect("a partner")
    };
    let (own, other) = (of(PARTNER), of("PA_S"));
    let mut buffer = [0; 4_096];
    let (mut seen, began) = (HashMap::<&str, u64>::new(), Instant::now());
    let mut took = [Duration::ZERO; 3];
    for first in (0..count).step_by(WINDOW) {
        let places = first..(first + WINDOW as u64).min(count);
        let start = Instant::now();
        for (socket, place) in sockets.iter().zip(places.clone()) {
            let number = FIRST + place;
            let text = request("INVITE", &format!("+{number}"), &format!("c{number}"));
            socket.send_to(text.as_bytes(), at).expect("sent");
        }
        let mut by_sip = Vec::new();
        for (socket, _) in sockets.iter().zip(places.clone()) {
            let length = socket.recv(&mut buffer).expect("an answer");
            by_sip.push(said_by_sip(std::str::from_utf8(&buffer[..length]).expect("text")));
        }
        took[0] += start.elapsed();
        let start = Instant::now();
        let by_http = http.ask(FIRST + places.start..FIRST + places.end);
        took[1] += start.elapsed();
        let start = Instant::now();
        for ((place, by_sip), by_http) in places.zip(by_sip).zip(by_http) {
            let (kind, case) = kind_of(place);
            let number = E164::new(FIRST + place).expect("a number");
            let of = if OF_THE_OTHER.contains(&kind) { &other } else { &own };
            let mut explained = explained(&replica, of, number, place < 2 * KINDS.len() as u64);
            // A partner's word on a number that nobody has: nothing, or its past.
            if case == Case::Unknown {
                explained.1 = case.as_str().to_owned();
            }
            let line = RoutingSettings::default().line(case);
            let expected = (line.code, line.case.as_str(), line.q850.map(u64::from));
            assert_eq!((by_sip.0, by_sip.1.as_str(), by_sip.2), expected, "{number}, by SIP");
            assert_eq!(by_http, by_sip, "{number}, by HTTP");
            assert_eq!(explained, by_sip, "{number}, explained");
            *seen.entry(line.case.as_str()).or_default() += 1;
        }
        took[2] += start.elapsed();
    }
    println!("{count} numbers in {:.1?} (SIP, HTTP, explained: {took:.1?}): {seen:?}", began.elapsed());
    // All but those that no number of an inventory is in.
    assert_eq!(seen.len(), Case::ALL.len() - 2, "{seen:?}");
}

// ---- the database is gone

const CALLS: usize = 10_000;
/// Numbers of each kind below.
const EACH: u64 = 200;
const SOON: u64 = 20;

/// Nodes with both faces on one database, asked by the places of their kinds.
struct Nodes {
    servers: Vec<harness::Server>,
    sip: Vec<SocketAddr>,
    key: harness::Key,
    database: Arc<Database>,
}

fn rows(kind: u64, count: u64, row: &str) -> String {
    (0..count).map(|at| format!("+{},{row},1,EUR\n", FIRST + kind * EACH + at)).collect()
}

const COLUMNS: &str = "number,account_auth_id,application_id,state,expires_at,monthly_cost,currency\n";
const STABLE: [(&str, u16); 4] =
    [("MA_1,app_1,active,", 302), ("MA_1,app_1,suspended,", 480), ("MA_1,,active,", 404), (",,available,", 404)];

impl Nodes {
    fn start(cluster: &Cluster, settings: &[&str]) -> Nodes {
        let database = Arc::new(Database::on(&cluster.database()));
        database.partner("PA_ONE", "One", &[]);
        let key = database.key("PA_ONE", &["--scope", "manage"]);
        let text: String = (0..).zip(STABLE).map(|(kind, (row, _))| rows(kind, EACH, row)).collect();
        assert_eq!(database.import("PA_ONE", &format!("{COLUMNS}{text}"))["rejected"], 0);
        for (uri, weight) in [("sip:ivr-1.example", "10"), ("sip:ivr-2.example", "10"), ("sip:ivr-3.example", "30")] {
            let add = ["application", "destination", "add", "app_1", uri, "--weight", weight, "--partner", "PA_ONE"];
            database.run(&add).done();
        }
        let serve = |(at, more): (usize, &&str)| {
            let config = database.write(&format!("node{at}.toml"), &format!("[routing]\n{SETTINGS}{more}"));
            harness::Server::start(database.clone(), &["--config", &config.display().to_string(), "--rate-limit", "0"])
        };
        let servers: Vec<_> = settings.iter().enumerate().map(serve).collect();
        let sip = servers.iter().map(|server| faces_of(|| server.log()).0).collect();
        Nodes { servers, sip, key, database }
    }

    fn suspend(&self, node: usize, number: u64) -> u16 {
        let path = format!("/api/v1/manage/numbers/+{number}/suspend");
        self.servers[node].request("POST", &path).auth(&self.key).json(&json!({})).send().status
    }
}

fn invite(number: u64, call: &str) -> String {
    request("INVITE", &format!("+{number}"), call)
}

fn code(answer: &str) -> u16 {
    sip::status(answer.as_bytes()).expect("a status")
}

fn unix() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

#[test]
fn calls_are_right_while_the_database_is_gone_and_suspensions_are_obeyed_at_once() {
    let Some(cluster) = Cluster::new(QUICK) else { return };
    let nodes = Nodes::start(&cluster, &["", "", "stale_max_ms = 1000\n"]);
    let asking = calls::socket();
    alike(&nodes, &asking);
    while_gone(&cluster, &nodes, &asking);
    cluster.start();
    let mut number = FIRST;
    let why = || "nothing can be written again".to_owned();
    until(Duration::from_secs(60), why, || nodes.suspend(0, number) == 200);
    let (mut here, mut elsewhere) = (0, Vec::new());
    for turn in 0..if whole() { EACH - 1 } else { 100 } {
        number = FIRST + 1 + turn;
        assert_eq!(nodes.suspend(0, number), 200);
        let began = Instant::now();
        let first = ask(&asking, nodes.sip[0], &invite(number, "s"));
        assert_eq!(header(&first, "X-Rollcall-Cause"), Some("suspended"), "+{number} on the node that was told");
        here += 1;
        while code(&ask(&asking, nodes.sip[1], &invite(number, "s"))) != 480 {
            assert!(began.elapsed() < PATIENCE, "+{number} is not suspended elsewhere");
        }
        elsewhere.push(began.elapsed());
    }
    elsewhere.sort();
    let worst = elsewhere[elsewhere.len() * 99 / 100];
    println!(
        "{here} suspensions were obeyed on that node's next packet; elsewhere after {:.1?} in the middle, {worst:.1?} at \
         the 99th percentile",
        elsewhere[elsewhere.len() / 2]
    );
    assert!(worst.as_secs_f64() <= limit(0.2), "{worst:.1?}");
    drop(nodes.database);
}

/// Two nodes answer a call alike, and so they do its retransmission.
fn alike(nodes: &Nodes, asking: &UdpSocket) {
    let mut firsts = HashMap::<String, u64>::new();
    for call in 0..200 {
        for kind in 0..STABLE.len() as u64 {
            let text = invite(FIRST + kind * EACH + call % EACH, &format!("call-{call}"));
            let answer = ask(asking, nodes.sip[0], &text);
            for at in [nodes.sip[1], nodes.sip[0], nodes.sip[1]] {
                assert_eq!(ask(asking, at, &text), answer, "at {at}");
            }
            if let Some(first) = answer.lines().find(|line| line.starts_with("Contact: ")) {
                *firsts.entry(first.split('@').nth(1).expect("a host").to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(firsts.len(), 3, "the Call-ID chooses: {firsts:?}");
}

fn while_gone(cluster: &Cluster, nodes: &Nodes, asking: &UdpSocket) {
    let soon = FIRST + STABLE.len() as u64 * EACH;
    let end = unix().ceil() + 12.0;
    let at = Time::new(end as i64).expect("a time");
    let rows = rows(STABLE.len() as u64, SOON, &format!("MA_1,app_1,active,{at}"));
    assert_eq!(nodes.database.import("PA_ONE", &format!("{COLUMNS}{rows}"))["rejected"], 0);
    for &at in &nodes.sip {
        while code(&ask(asking, at, &invite(soon + SOON - 1, "x"))) != 302 {
            assert!(unix() < end, "the import is not followed");
        }
    }
    cluster.kill9();
    let (sockets, mut calls, mut late) = (sockets(), 0, 0.0_f64);
    let mut buffer = [0; 4_096];
    let mut over = false;
    while calls < CALLS || !over {
        let number = |turn: usize| match turn % 5 {
            4 => soon + (calls / WINDOW) as u64 % SOON,
            kind => FIRST + kind as u64 * EACH + (calls + turn) as u64 % EACH,
        };
        let sent = unix();
        for (turn, socket) in sockets.iter().enumerate() {
            let text = invite(number(turn), &format!("{calls}-{turn}"));
            socket.send_to(text.as_bytes(), nodes.sip[turn % 2]).expect("sent");
        }
        for (turn, socket) in sockets.iter().enumerate() {
            let length = socket.recv(&mut buffer).expect("an answer");
            let got = sip::status(&buffer[..length]).expect("a status");
            match turn % 5 {
                4 if sent >= end => {
                    if got == 302 {
                        late = late.max(unix() - end);
                    }
                    assert!(got == 480 || sent < end + 1.0, "expired for {:.1} s, and {got}", sent - end);
                }
                4 => assert!(got == 302 || unix() >= end, "{got}, {:.1} s before the expiry", end - sent),
                kind => assert_eq!(got, STABLE[kind].1, "{}", number(turn)),
            }
        }
        calls += WINDOW;
        over = sent > end + 1.2;
        if calls > CALLS {
            // Enough calls; what is waited for is the expiry.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    println!("{calls} calls were right without PostgreSQL; the last 302 came {late:.2} s after the expiry");
    // A node that is to be fresh says that it is not.
    for method in ["INVITE", "OPTIONS"] {
        let answer = ask(asking, nodes.sip[2], &request(method, &format!("+{FIRST}"), "stale"));
        assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    }
    let answer = ask(asking, nodes.sip[2], &invite(FIRST, "stale"));
    assert_eq!(header(&answer, "X-Rollcall-Cause"), Some("not_ready"), "{answer}");
    let line = calls::get(faces_of(|| nodes.servers[2].log()).1, &format!("/route/+{FIRST}"));
    assert_eq!((&line["code"], &line["cause"]), (&json!(503), &json!("not_ready")));
    // Nothing can be written meanwhile.
    assert_eq!(nodes.suspend(0, FIRST), 503);
}
