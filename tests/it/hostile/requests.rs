//! Requests that cost more than they are worth, and doors that are not public.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::calls;
use crate::harness::{Database, GLOBAL, ONE, Server};

use super::limit;

/// The longest list of problems, in bytes.
const ANSWER_BYTES_MAX: f64 = 16_384.0;
/// What is answered at once.
const PROMPT_S: f64 = 1.0;

#[test]
fn however_much_is_wrong_the_answer_is_short() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let keys: Vec<String> = (0..60_000).map(|at| format!("\"k{at}\":1")).collect();
    let body = format!("{{{}}}", keys.join(","));
    let answer = server.request("POST", "/api/v1/manage/accounts").auth(&key).body(&body).check(422);
    println!("60,000 unknown keys: an answer of {} bytes", answer.text().len());
    // A bound of the format, which needs no allowance for a busy machine.
    assert!((answer.text().len() as f64) < ANSWER_BYTES_MAX, "{}", answer.text().len());
    let error = &answer.json()["error"];
    let listed = error["details"]["errors"].as_array().expect("a list").len();
    assert_eq!(error["details"]["more"], 60_002 - listed);
    assert!(error["message"].as_str().is_some_and(|text| text.contains(" more")), "{error}");
    assert_eq!(answer.text().matches("known are").count(), 1, "the list is given once");

    let query: Vec<String> = (0..900).map(|at| format!("p{at}=1")).collect();
    let answer = server.get(&format!("{GLOBAL}?{}", query.join("&"))).auth(&ONE).check(422);
    assert!((answer.text().len() as f64) < ANSWER_BYTES_MAX, "{}", answer.text().len());
    let answer = server.get(&format!("{GLOBAL}?{}=1", "%00".repeat(2_000))).auth(&ONE).check(422);
    assert!((answer.text().len() as f64) < ANSWER_BYTES_MAX, "{}", answer.text().len());
}

#[test]
fn what_is_refused_is_refused_at_once() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let timed = |what: &str, expected: u16, ask: &dyn Fn() -> u16| {
        let started = Instant::now();
        assert_eq!(ask(), expected, "{what}");
        let took = started.elapsed();
        println!("{what}: {expected} after {took:?}");
        // A wait for the version would be at least two seconds.
        assert!(took.as_secs_f64() < limit(PROMPT_S).min(1.9), "{what}: {took:?}");
    };
    for length in ["10000000000", "18446744073709551615"] {
        timed(&format!("a length of {length}"), 413, &|| {
            let mut stream = TcpStream::connect(server.address()).expect("a connection");
            let head = format!(
                "POST /api/v1/manage/accounts HTTP/1.1\r\nHost: a\r\nX-Auth-ID: {}\r\nX-Auth-Token: {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
                key.auth_id, key.auth_token
            );
            stream.write_all(head.as_bytes()).expect("sent");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).expect("an answer");
            String::from_utf8_lossy(&answer[9..]).parse().expect("a status")
        });
    }
    for (target, expected) in [
        (format!("{GLOBAL}?page=0"), 422),
        (format!("{GLOBAL}?nonsense=1"), 422),
        ("/api/v1/partner/changes?after=x".to_owned(), 422),
        ("/api/v1/partner/numbers/nonsense".to_owned(), 404),
        ("/api/v1/partner/accounts/MA_nobody/numbers?page=0".to_owned(), 404),
    ] {
        timed(&target, expected, &|| {
            let request = server.get(&target).auth(&ONE).header("Inventory-Version-At-Least", "99999999");
            request.send().status
        });
    }
    for (name, value) in [("Idempotency-Key", "k\tk"), ("Idempotency-Key", "é"), ("If-Match", ""), ("If-Match", "abc")]
    {
        let request = server.request("POST", "/api/v1/manage/accounts").auth(&key).header(name, value).body("{}");
        assert_eq!(request.check(422).fields(), [format!("{name} INVALID")], "{value:?}");
    }
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let database = Database::sample();
    let config = database.write("private.toml", &format!("[http]\nprivate_listen = \"{free}\"\n"));
    let server = Server::start(database, &["--config", config.to_str().expect("a path")]);
    let private = |target: &str| {
        let mut stream = TcpStream::connect(free).expect("the private listener");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer[9..12].parse::<u16>().expect("a status")
    };
    for (target, at_private, from_here, from_elsewhere) in [
        ("/metrics", 200, 200, 404),
        ("/digest", 200, 200, 404),
        ("/livez", 200, 200, 200),
        (GLOBAL, 404, 401, 401),
        ("/console/sign-in", 404, 200, 200),
    ] {
        assert_eq!(private(target), at_private, "{target}");
        assert_eq!(server.get(target).send().status, from_here, "{target}");
        let proxied = server.get(target).header("X-Forwarded-For", "192.0.2.1").send().status;
        assert_eq!(proxied, from_elsewhere, "{target}");
    }
    assert!(server.log().contains(&format!("listening on http://{free} for /metrics and /digest")), "{}", server.log());
}

#[test]
fn every_listener_refuses_the_same_heads() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let database = Database::sample();
    let settings =
        format!("[http]\nprivate_listen = \"{free}\"\n[routing]\nhttp = [\"127.0.0.1:0\"]\nsip = [\"127.0.0.1:0\"]\n");
    let config = database.write("listeners.toml", &settings);
    let server = Server::start(database, &["--config", config.to_str().expect("a path")]);
    let (_, face) = calls::faces_of(|| server.log());
    let status = |at: std::net::SocketAddr, head: &str| {
        let mut stream = TcpStream::connect(at).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[9..]).parse::<u16>().expect("a status")
    };
    let public = server.address();
    for (listener, at, target) in
        [("public", public, "/livez"), ("private", free, "/livez"), ("route", face, "/route/+912271264217?call_id=1")]
    {
        for (headers, expected) in [
            ("Host: a\r\n", 200),
            ("Host:\r\n", 200),
            ("", 400),
            ("Host: a\r\nHost: a\r\n", 400),
            ("Host: a b\r\n", 400),
            ("Host: u@a\r\n", 400),
            ("Host: a\r\nTransfer-Encoding: gzip\r\n", 501),
            ("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
            ("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
            ("Host: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
            ("Host: a\r\nContent-Length: x\r\n", 400),
            ("Host: a\r\nContent-Length: 18446744073709551615\r\n", 413),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
            assert_eq!(status(at, &head), expected, "{listener}: {headers:?}");
        }
    }
}
