//! Calls, by real datagrams and real requests, against the real program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{self, Database};
use crate::process::{self, PARTNER, Place, Server};
use crate::until::found;

pub const SETTINGS: &str =
    "sip = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\ndestination_networks = [\"127.0.0.0/8\"]\n";

/// Number, code, cause and cause of Q.850 of every case of a number.
pub const CASES: [(&str, u16, &str, Option<u64>); 10] = [
    ("alice", 404, "not_a_number", Some(28)),
    ("+912271260000", 404, "unknown", Some(1)),
    ("+912271260001", 404, "unassigned", Some(1)),
    ("+912271260002", 404, "unassigned", Some(1)),
    ("+912271260003", 480, "expired", Some(20)),
    ("+912271260004", 480, "suspended", Some(20)),
    ("+912271260005", 404, "unrouted", Some(3)),
    ("+912271260006", 404, "no_destination", Some(3)),
    ("+912271260007", 480, "destinations_off", Some(20)),
    ("+912271260008", 302, "routed", None),
];

/// An inventory with a number of every case; routed ones go to `uris`.
pub fn place(uris: &[String]) -> Place {
    let place = Place::new();
    let file = place.path("numbers.csv");
    let rows = "number,account_auth_id,application_id,expires_at\n\
                +912271260001,,,\n+912271260002,MA_1,,\n+912271260003,MA_1,app_1,2020-01-01T00:00:00Z\n\
                +912271260004,MA_1,app_1,\n+912271260005,MA_1,,\n+912271260006,MA_1,app_none,\n\
                +912271260007,MA_1,app_off,\n+912271260008,MA_1,app_1,\n+912271260009,MA_1,app_1,\n";
    std::fs::write(&file, rows).expect("written");
    let file = file.to_str().expect("UTF-8");
    place.must(&["import", file, "--partner", PARTNER, "--monthly-cost", "1", "--currency", "EUR"]);
    place.must(&["number", "suspend", "+912271260004", "--partner", PARTNER]);
    place.must(&["number", "release", "+912271260002", "--yes", "--partner", PARTNER]);
    // Before the server starts, which would hear of it a moment later.
    let key = manager(&place);
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let on = |uri: &String| json!({ "uri": uri, "priority": 10, "weight": 10, "enabled": true });
    let routed: Vec<Value> =
        uris.iter().enumerate().map(|(at, uri)| json!({ "uri": uri, "priority": 10 * (at + 1) })).collect();
    let off: Vec<Value> = uris
        .iter()
        .take(1)
        .map(on)
        .map(|mut one| {
            one["enabled"] = false.into();
            one
        })
        .collect();
    for (id, destinations) in [("app_1", routed), ("app_off", off)] {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent
            .patch(server.url(&format!("/api/v1/manage/applications/{id}")))
            .header("X-Auth-ID", PARTNER)
            .header("X-Auth-Token", &key)
            .header("Content-Type", "application/json")
            .send(json!({ "destinations": destinations }).to_string())
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{:?}", answer.body_mut().read_to_string());
    }
    server.stop();
    place
}

pub fn manager(place: &Place) -> String {
    let text = place.must(&["key", "create", "--partner", PARTNER, "--name", "m", "--scope", "manage", "--json"]);
    let key: Value = serde_json::from_str(&text).expect("JSON");
    key["auth_token"].as_str().expect("a token").to_owned()
}

/// Where the faces of a server listen.
pub fn faces(server: &Server) -> (SocketAddr, SocketAddr) {
    faces_of(|| server.log())
}

/// The same by what a server has logged.
pub fn faces_of(log: impl Fn() -> String) -> (SocketAddr, SocketAddr) {
    let look = || {
        let log = log();
        let after = |mark: &str| log.split(mark).nth(1).and_then(|rest| rest.split([' ', '/']).next()?.parse().ok());
        let http = log
            .lines()
            .rev()
            .find(|line| line.contains("/route/"))
            .and_then(|line| line.split("listening on http://").nth(1)?.split('/').next()?.parse().ok());
        after("listening on sip:").zip(http)
    };
    found(Duration::from_secs(20), || format!("no faces: {}", log()), look)
}

pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    socket
}

pub fn request(method: &str, user: &str, call: &str) -> String {
    format!(
        "{method} sip:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{call};rport\r\n\
         From: <sip:a@127.0.0.1>;tag=a\r\nTo: <sip:{user}@127.0.0.1>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

pub fn ask(socket: &UdpSocket, at: SocketAddr, text: &str) -> String {
    socket.send_to(text.as_bytes(), at).expect("sent");
    let mut buffer = [0; 65_535];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, at);
    String::from_utf8(buffer[..length].to_vec()).expect("text")
}

pub fn get(at: SocketAddr, path: &str) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://{at}{path}")).call().expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let text = answer.body_mut().read_to_string().expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn both_faces_the_command_and_the_explanation_agree_in_every_case() {
    let place = place(&["sip:127.0.0.1:6001".to_owned(), "sip:main@127.0.0.1:6002;transport=tcp".to_owned()]);
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let (sip, http) = faces(&server);
    let socket = socket();
    for (user, code, cause, q850) in CASES {
        let answer = ask(&socket, sip, &request("INVITE", user, "c1"));
        assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{answer}");
        assert_eq!(header(&answer, "X-Rollcall-Cause"), Some(cause), "{answer}");
        assert_eq!(header(&answer, "Reason"), q850.map(|q850| format!("Q.850;cause={q850}")).as_deref(), "{answer}");
        let line = get(http, &format!("/route/{}?call_id=c1", user.replace('+', "%2B")));
        assert_eq!(
            (&line["code"], &line["cause"], &line["q850"]),
            (&json!(code), &json!(cause), &json!(q850)),
            "{line}"
        );
        let ran = place.run(&["route", "test", user, "--at", &sip.to_string(), "--json"]);
        assert_eq!(ran.code, Some(if code == 302 { 0 } else { 3 }), "{}{}", ran.out, ran.err);
        let printed: Value = serde_json::from_str(&ran.out).expect("JSON");
        assert_eq!((&printed["code"], &printed["cause"]), (&json!(code), &json!(cause)), "{printed}");
        if code == 302 {
            let contacts: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("Contact: ")).collect();
            let expected =
                ["<sip:+912271260008@127.0.0.1:6001>;q=1.0", "<sip:main@127.0.0.1:6002;transport=tcp>;q=0.9"];
            assert_eq!(contacts, expected);
            let uris = [
                json!({ "uri": "sip:+912271260008@127.0.0.1:6001" }),
                json!({ "uri": "sip:main@127.0.0.1:6002;transport=tcp" }),
            ];
            assert_eq!(line["routes"], json!(uris));
            assert_eq!(printed["routes"], json!(uris));
            let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
            let expected = [
                "version",
                "code",
                "reason",
                "cause",
                "q850",
                "routing",
                "routes",
                "number",
                "account_auth_id",
                "application_id",
                "trunk_id",
                "inventory_version",
                "age",
            ];
            assert_eq!(keys, expected);
            assert_eq!(
                (&line["account_auth_id"], &line["application_id"], &line["trunk_id"]),
                (&json!("MA_1"), &json!("app_1"), &Value::Null)
            );
        }
        if let Ok((200, body)) =
            server.client().get(&format!("/api/v1/partner/numbers/{user}/routing"), "application/json")
        {
            let explained: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(
                (&explained["data"]["code"], &explained["data"]["cause"]),
                (&json!(code), &json!(cause)),
                "{body}"
            );
        } else {
            assert!(code == 404, "{user} is not explained");
        }
    }
    // A retransmission is answered alike, to the byte.
    let twice = [(); 2].map(|()| ask(&socket, sip, &request("INVITE", "+912271260008", "same")));
    assert_eq!(twice[0], twice[1]);
    // What is counted names no number.
    let (_, metrics) = server.client().get("/metrics", "text/plain").expect("an answer");
    for series in [
        "rollcall_route_answers_total{face=\"sip\",code=\"302\",cause=\"routed\"} 4",
        "rollcall_route_answers_total{face=\"http\",code=\"480\",cause=\"suspended\"} 1",
        "rollcall_route_seconds_bucket{face=\"sip\"",
        "rollcall_route_dropped_total{face=\"sip\",why=\"ack\"}",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    let (_, other) = server.client().get("/readyz", "application/json").expect("an answer");
    assert!(!metrics.contains("91227126") && !other.contains("91227126"));
}

#[test]
fn requests_that_are_no_call_are_answered_as_the_standard_says() {
    let place = Place::new();
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let (sip, _) = faces(&server);
    let socket = socket();
    let check = |text: String, status: &str, line: &str| {
        let answer = ask(&socket, sip, &text);
        assert!(answer.starts_with(status) && answer.contains(line), "{answer}");
    };
    check(request("OPTIONS", "x", "1"), "SIP/2.0 200 OK\r\n", "\r\nAllow: INVITE, ACK, CANCEL, OPTIONS\r\n");
    check(request("REGISTER", "x", "2"), "SIP/2.0 405 ", "\r\nAllow: INVITE, ACK, CANCEL, OPTIONS\r\n");
    let more = |more: &str| request("INVITE", "x", "3").replace("Max-Forwards", &format!("{more}\r\nMax-Forwards"));
    check(more("Require: 100rel"), "SIP/2.0 420 ", "\r\nUnsupported: 100rel\r\n");
    check(request("INVITE", "x", "4").replacen("SIP/2.0", "SIP/3.0", 1), "SIP/2.0 505 ", "");
    check(request("INVITE", "x", "5").replace("Call-ID: 5\r\n", ""), "SIP/2.0 400 ", "Call-ID is missing");
    check(request("INVITE", "x", "6").replace("sip:x@127.0.0.1 SIP", "mailto:x SIP"), "SIP/2.0 416 ", "");
    // What is never answered, with something after it that is.
    for silent in [
        request("ACK", "x", "7"),
        request("CANCEL", "x", "8"),
        "\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\n\r\n".to_owned(),
    ] {
        socket.send_to(silent.as_bytes(), sip).expect("sent");
    }
    check(request("OPTIONS", "x", "last"), "SIP/2.0 200 OK\r\n", "Call-ID: last\r\n");
}

#[test]
fn a_peer_that_is_no_asker_gets_no_byte() {
    let place = Place::new();
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}askers = [\"10.0.0.0/8\"]\n"));
    let (sip, http) = faces(&server);
    let socket = socket();
    socket.send_to(request("OPTIONS", "x", "1").as_bytes(), sip).expect("sent");
    let mut stream = TcpStream::connect(http).expect("a connection");
    let _ = stream.write_all(b"GET /route/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.is_empty(), "{bytes:?}");
    // The server has read the datagram once it counts it.
    let begin = Instant::now();
    while !server.client().get("/metrics", "text/plain").is_ok_and(|(_, text)| text.contains("not_an_asker\"} 1")) {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    socket.set_nonblocking(true).expect("set");
    assert!(socket.recv_from(&mut [0; 100]).is_err());
    let ran = place.run(&["route", "test", "+912271260008", "--at", &sip.to_string(), "--timeout-ms", "100"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("did not answer"), "{}", ran.err);
}

#[test]
fn a_node_that_ends_answers_calls_for_two_seconds_and_no_options() {
    let place = place(&["sip:127.0.0.1:6001".to_owned()]);
    let mut server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let (sip, http) = faces(&server);
    let socket = socket();
    process::signal(&server.child, "TERM");
    let asked = Instant::now();
    while !ask(&socket, sip, &request("OPTIONS", "x", "1")).starts_with("SIP/2.0 503 ") {
        assert!(asked.elapsed() < Duration::from_secs(10));
    }
    assert!(ask(&socket, sip, &request("INVITE", "+912271260008", "c")).starts_with("SIP/2.0 302 "));
    assert_eq!(get(http, "/route/+912271260008")["code"], 302);
    assert_eq!(process::ended(&mut server.child, Duration::from_secs(30)), Some(0));
    // Less what passed between the signal and the first question.
    assert!(asked.elapsed() >= Duration::from_millis(1_500));
}

/// The listener's own errors have the envelope of all errors, and every answer a request id.
#[test]
fn errors_of_the_http_face_are_errors_like_all_others() {
    let place = Place::new();
    let server = place.serve_with(&format!("[routing]\n{SETTINGS}"));
    let (_, at) = faces(&server);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for (method, path, status, code) in [
        ("GET", "/metrics", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("DELETE", "/route/+912271260008", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/route/+912271260008", 200, ""),
    ] {
        let asked = ureq::http::Request::builder().method(method).uri(format!("http://{at}{path}")).body(());
        let mut answer = agent.run(asked.expect("a request")).expect("an answer");
        assert_eq!(answer.status(), status, "{method} {path}");
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (id, allow) = (header("x-request-id").expect("an id"), header("allow"));
        assert_eq!(allow.as_deref(), (status == 405).then_some("GET, HEAD"), "{method} {path}");
        assert!(id.starts_with("req_"), "{id}");
        let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
        if status != 200 {
            assert_eq!((&body["status"], &body["error"]["code"]), (&json!("error"), &json!(code)), "{body}");
            assert_eq!(body["requestId"], id, "{body}");
            assert!(body["timestamp"].is_string() && body["error"]["message"].is_string(), "{body}");
        }
    }
}

/// The tag of To is the same before and after a restart, also of a node that was started
/// before there was a partner, as another node has it that is started later.
#[test]
fn a_node_that_was_started_first_gives_a_call_the_tag_that_others_give_it() {
    let database = Database::empty();
    let file = database.write("rollcall.toml", &format!("[routing]\n{SETTINGS}"));
    let flags = ["--config", file.to_str().expect("UTF-8")];
    let mut server = harness::Server::start(database, &flags);
    let socket = socket();
    let tag = |server: &harness::Server| {
        let (sip, _) = faces_of(|| server.log());
        let answer = ask(&socket, sip, &request("INVITE", "+912271260000", "call"));
        let tag = header(&answer, "To").and_then(|to| to.split(";tag=").nth(1));
        tag.unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let alone = tag(&server);
    assert_eq!(tag(&server), alone);
    server.database.partner("PA_FIRST", "First", &[]);
    let with_partner = || Some(tag(&server)).filter(|now| *now != alone);
    let first = found(Duration::from_secs(20), || "the tag is still that of no partner".to_owned(), with_partner);
    server.database.partner("PA_SECOND", "Second", &[]);
    server.kill_and_start(&flags);
    assert_eq!(tag(&server), first);
}

#[test]
fn a_taken_port_is_an_error_at_start() {
    let place = Place::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = taken.local_addr().expect("an address");
    let file = place.path("taken.toml");
    std::fs::write(&file, format!("[routing]\nsip = [\"{at}\"]\n")).expect("written");
    let ran = place.run(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(&format!("routing.sip cannot listen on {at}")), "{}", ran.err);
}
