//! The past: a number's history, the changes of a partner as pages and as a
//! stream, and the inventory as it was, over the real server; and going back,
//! against a model that remembers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rollcall::domain::change::Edit;
use rollcall::domain::net_change::net_body;
use rollcall::domain::{
    Account, Application, E164, EntityChange, NetChange, NumberChange, Partner, PartnerKey, Record, RunChange, State,
    Tags, Time, Verb,
};
use rollcall::inventory::flat::Flat;
use rollcall::inventory::{Filter, Order, Snapshot, Window};
use rollcall::service::background::net_changes::{self, NetChangesMade};
use rollcall::service::{Replica, Service};
use rollcall::store::{Abort, LogEntry, Store, StoreError, WriteTarget};
use serde_json::{Value, json};

use crate::fixture::{self, NOW, held, new_partner, number, stock, time};
use crate::harness::{Answer, CUSTOMER, Database, GLOBAL, Key, ONE, Server, TWO, keys};
use crate::process::{self, PARTNER, Place};
use crate::until::until;

const CHANGES: &str = "/api/v1/partner/changes";

/// The keys of a number as it was, in their order.
const IMAGE: [&str; 16] = [
    "state",
    "account_auth_id",
    "application_id",
    "trunk_id",
    "number_type",
    "country",
    "region",
    "monthly_cost",
    "currency",
    "assigned_at",
    "expires_at",
    "since",
    "quarantine_ends_at",
    "reserved_until",
    "reserved_for",
    "tags",
];

fn history(number: &str) -> String {
    format!("/api/v1/partner/numbers/{number}/history")
}

/// One verb by the management API, which has to succeed.
#[track_caller]
fn verb(server: &Server, key: &Key, number: &str, verb: &str, body: Value) -> Answer {
    let path = format!("/api/v1/manage/numbers/{number}/{verb}");
    server.request("POST", &path).auth(key).json(&body).check(200)
}

#[track_caller]
fn stock_by_api(server: &Server, key: &Key, number: &str) {
    let body = json!({ "number": number, "monthly_cost": 12.5, "currency": "GBP" });
    server.request("POST", "/api/v1/manage/numbers").auth(key).json(&body).check(201);
}

/// A server on the sample, and a key of `ONE` that may write.
fn managed() -> (Server, Key) {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    (Server::start(database, &[]), key)
}

#[track_caller]
fn list(answer: &Answer) -> Vec<Value> {
    answer.json()["data"].as_array().unwrap_or_else(|| panic!("no list: {answer:?}")).clone()
}

fn column<'a>(rows: &'a [Value], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str().unwrap_or("null")).collect()
}

// A number's history.

#[test]
fn a_life_is_told_and_outlives_the_number() {
    let (server, key) = managed();
    let number = "+442079460150";
    stock_by_api(&server, &key, number);
    verb(&server, &key, number, "reserve", json!({ "account_auth_id": "MA_1", "until": "2098-01-01T00:00:00Z" }));
    let assigned =
        json!({ "account_auth_id": "MA_1", "application_id": "app_1", "expires_at": "2097-01-01T00:00:00Z" });
    verb(&server, &key, number, "assign", assigned);
    verb(&server, &key, number, "route", json!({ "application_id": "app_2" }));
    verb(&server, &key, number, "suspend", json!({}));
    verb(&server, &key, number, "resume", json!({}));
    // What changes nothing is no history.
    verb(&server, &key, number, "resume", json!({}));
    let released = verb(&server, &key, number, "release", json!({}));
    let until = released.json()["data"]["quarantine_ends_at"].as_str().expect("a time").to_owned();

    let answer = server.get(&history(number)).auth(&ONE).check(200);
    let life = list(&answer);
    assert_eq!(column(&life, "verb"), ["stock", "reserve", "assign", "route", "suspend", "resume", "release"]);
    assert_eq!(
        column(&life, "summary"),
        [
            "came into stock",
            "reserved for MA_1 until 2098-01-01T00:00:00Z",
            "assigned to MA_1; routed to app_1; expires 2097-01-01T00:00:00Z",
            "routed from app_1 to app_2",
            "suspended",
            "resumed",
            &format!("released; in quarantine until {until}"),
        ]
    );
    let versions: Vec<u64> = life.iter().filter_map(|entry| entry["version"].as_u64()).collect();
    assert!(versions.len() == 7 && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    for pair in life.windows(2) {
        assert_eq!(pair[0]["after"], pair[1]["before"], "one image leads to the next");
    }
    for entry in &life {
        assert_eq!(keys(entry), ["version", "at", "verb", "actor", "request_id", "summary", "before", "after"]);
        assert_eq!(entry["actor"], format!("key:{}", key.key_id));
        assert!(entry["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{entry}");
        assert_eq!(keys(&entry["after"]), IMAGE);
    }
    assert_eq!(life[0]["before"], Value::Null);
    assert!(answer.text().contains(r#""monthly_cost":12.50,"currency":"GBP","#), "{}", answer.text());
    let of = |at: usize, name: &str| life[at]["after"][name].clone();
    assert_eq!(
        [of(1, "state"), of(1, "account_auth_id"), of(1, "reserved_for")],
        ["reserved".into(), Value::Null, json!("MA_1")]
    );
    assert_eq!([of(2, "account_auth_id"), of(2, "application_id")], ["MA_1", "app_1"]);
    assert_eq!([of(6, "state"), of(6, "account_auth_id")], [json!("quarantined"), Value::Null]);
    assert_eq!(of(6, "quarantine_ends_at"), until.as_str());

    verb(&server, &key, number, "retire", json!({}));
    server.get(&format!("/api/v1/partner/numbers/{number}")).auth(&ONE).check(404);
    let life = list(&server.get(&history(number)).auth(&ONE).check(200));
    let last = life.last().expect("an entry");
    assert_eq!((&last["verb"], &last["summary"], &last["after"]), (&json!("retire"), &json!("retired"), &Value::Null));

    // Whoever has it next has a life of its own to tell, and no other.
    let nothing = server.get(&history("+15005550000")).auth(&TWO).check(404).masked();
    assert_eq!(server.get(&history(number)).auth(&TWO).check(404).masked(), nothing);
    server.database.import("PA_TWO", &format!("number,monthly_cost,currency\n{number},9.00,EUR\n"));
    server.within(Duration::from_secs(2), |server| server.get(&history(number)).auth(&TWO).send().status == 200);
    let answer = server.get(&history(number)).auth(&TWO).check(200);
    assert_eq!(column(&list(&answer), "verb"), ["import"]);
    assert_eq!(list(&answer)[0]["before"], Value::Null);
    assert!(list(&answer)[0]["actor"].as_str().is_some_and(|actor| actor.starts_with("command:")), "{answer:?}");
    assert_eq!(list(&server.get(&history(number)).auth(&ONE).check(200)), life, "and the old one stays");
    for odd in ["abc", "+", "%2B442079460199", "+12345"] {
        assert_eq!(server.get(&history(odd)).auth(&ONE).check(404).masked(), nothing, "{odd}");
    }
    server.get(&history(number)).check(401);
    server.request("POST", &history(number)).auth(&ONE).check(405);
}

#[test]
fn history_comes_in_pages() {
    let (server, key) = managed();
    let number = "+12025550102";
    for at in 0..4 {
        verb(&server, &key, number, "tag", json!({ "add": [format!("tag-{at}")] }));
    }
    let check = |query: &str, expected: &[u64], meta: &str| {
        let answer = server.get(&format!("{}?{query}", history(number))).auth(&ONE).check(200);
        let tags: Vec<u64> =
            list(&answer).iter().map(|entry| entry["after"]["tags"].as_array().map_or(0, Vec::len) as u64).collect();
        assert_eq!(tags, expected, "{query}");
        assert!(answer.text().ends_with(&format!(r#""meta":{{{meta}}}}}"#)), "{}", answer.text());
    };
    check("", &[1, 2, 3, 4, 5], r#""total":5,"page":1,"per_page":20"#);
    check("per_page=2", &[1, 2], r#""total":5,"page":1,"per_page":2"#);
    check("per_page=2&page=3", &[5], r#""total":5,"page":3,"per_page":2"#);
    check("per_page=2&page=4", &[], r#""total":5,"page":4,"per_page":2"#);
    check("page=18446744073709551615&per_page=100", &[], r#""total":5,"page":18446744073709551615,"per_page":100"#);
    for (query, expected) in [
        ("per_page=101", "per_page OUT_OF_RANGE"),
        ("page=0", "page OUT_OF_RANGE"),
        ("search=1", "search UNKNOWN"),
        ("after=1", "after UNKNOWN"),
        ("as_of=2026-01-01T00:00:00Z", "as_of UNKNOWN"),
    ] {
        let answer = server.get(&format!("{}?{query}", history(number))).auth(&ONE).check(422);
        assert_eq!(answer.fields(), [expected]);
    }
    let answer = server.get(&history(number)).auth(&ONE).check(200);
    let tag = answer.header("etag").expect("a tag");
    server.get(&history(number)).auth(&ONE).header("If-None-Match", tag).check(304);
    verb(&server, &key, number, "tag", json!({ "add": ["more"] }));
    server.get(&history(number)).auth(&ONE).header("If-None-Match", tag).check(200);
}

// Changes.

#[test]
fn changes_are_walked_without_a_gap() {
    let (server, key) = managed();
    verb(
        &server,
        &key,
        "+442079460105",
        "assign",
        json!({ "account_auth_id": "MA_1", "monthly_cost": 5, "currency": "GBP" }),
    );
    let (mut after, mut walked) = (0, Vec::new());
    loop {
        let answer = server.get(&format!("{CHANGES}?after={after}&per_page=2")).auth(&ONE).check(200);
        let (body, rows) = (answer.json(), list(&answer));
        assert_eq!(keys(&body["meta"]), ["version", "next_after", "per_page"]);
        assert!(rows.len() <= 2);
        walked.extend(rows);
        match body["meta"]["next_after"].as_u64() {
            Some(next) => after = next,
            None => {
                let last = walked.last().expect("a change");
                assert_eq!(body["meta"]["version"], last["version"]);
                break;
            }
        }
    }
    let versions: Vec<u64> = walked.iter().filter_map(|change| change["version"].as_u64()).collect();
    assert_eq!(versions, (1..=walked.len() as u64).collect::<Vec<_>>());
    assert_eq!(list(&server.get(CHANGES).auth(&ONE).check(200)), walked, "one page has them all");
    for change in &walked {
        assert_eq!(
            keys(change),
            ["version", "at", "verb", "actor", "request_id", "entities_total", "entities", "numbers_total", "numbers"]
        );
    }
    assert_eq!(column(&walked, "verb"), ["partner_create", "key_create", "import", "key_create", "assign"]);
    let import = &walked[2];
    assert_eq!((&import["numbers_total"], import["numbers"].as_array().map(Vec::len)), (&json!(12), Some(12)));
    let row = &import["numbers"][0];
    assert_eq!(keys(row), ["number", "summary", "before", "after"]);
    assert_eq!((&row["number"], &row["before"]), (&json!("+6837101"), &Value::Null));
    let kinds: Vec<&str> = column(import["entities"].as_array().expect("a list"), "kind");
    assert!(kinds.contains(&"account") && kinds.contains(&"application") && kinds.contains(&"trunk"), "{kinds:?}");

    // Of a key, what it may do and how long; nothing that helps to guess it.
    let entity = &walked[3]["entities"][0];
    assert_eq!(keys(entity), ["kind", "id", "before", "after"]);
    assert_eq!((&entity["kind"], &entity["id"], &entity["before"]), (&json!("key"), &json!(key.key_id), &Value::Null));
    assert_eq!(
        entity["after"],
        json!({ "name": "test", "scopes": ["manage"], "networks": [], "expires_at": null, "revoked_at": null })
    );
    let text = server.get(CHANGES).auth(&ONE).check(200).text().to_owned();
    assert!(!text.contains("sha256") && !text.contains("token"), "{text}");

    // What a command commits is there, and an answer is known again.
    let answer = server.get(&format!("{CHANGES}?after=5")).auth(&ONE).check(200);
    assert_eq!(answer.text(), r#"{"data":[],"meta":{"version":5,"next_after":null,"per_page":20}}"#);
    let tag = answer.header("etag").expect("a tag").to_owned();
    server.get(&format!("{CHANGES}?after=5")).auth(&ONE).header("If-None-Match", &tag).check(304);
    server.database.run(&["account", "create", "--partner", "PA_ONE", "--auth-id", "MA_9", "--name", "Nine"]).done();
    server.within(Duration::from_secs(2), |server| {
        let answer = server.get(&format!("{CHANGES}?after=5")).auth(&ONE).header("If-None-Match", &tag).send();
        answer.status == 200 && column(&list(&answer), "verb") == ["account_create"]
    });
}

#[test]
fn what_cannot_be_asked_of_changes_is_refused() {
    let server = Server::sample();
    let version = server.get(CHANGES).auth(&ONE).check(200).json()["meta"]["version"].as_u64().expect("a version");
    for (query, expected) in [
        (format!("after={}", version + 1), "after OUT_OF_RANGE"),
        ("after=18446744073709551615".to_owned(), "after OUT_OF_RANGE"),
        ("after=-1".to_owned(), "after INVALID"),
        ("after=%2B1".to_owned(), "after INVALID"),
        ("after=abc".to_owned(), "after INVALID"),
        ("after=1&after=1".to_owned(), "after REPEATED"),
        ("per_page=0".to_owned(), "per_page OUT_OF_RANGE"),
        ("per_page=101".to_owned(), "per_page OUT_OF_RANGE"),
        ("page=1".to_owned(), "page UNKNOWN"),
        ("verb=assign".to_owned(), "verb UNKNOWN"),
    ] {
        for accept in ["application/json", "text/event-stream"] {
            let target = format!("{CHANGES}?{query}");
            let answer = server.get(&target).auth(&ONE).header("Accept", accept).check(422);
            assert_eq!(answer.fields(), [expected], "{query} as {accept}");
        }
    }
    let unknown = server.get(&format!("{CHANGES}?page=1")).auth(&ONE).check(422).text().to_owned();
    assert!(unknown.contains("known are after, per_page"), "{unknown}");
    for (last, expected) in [("abc", "INVALID"), ("", "INVALID"), ("-1", "INVALID"), ("999999", "OUT_OF_RANGE")] {
        let request = server.get(CHANGES).auth(&ONE).header("Accept", "text/event-stream");
        let answer = request.header("Last-Event-ID", last).check(422);
        assert_eq!(answer.fields(), [format!("Last-Event-ID {expected}")], "{last:?}");
    }
    server.get(&format!("{CHANGES}?after={version}")).auth(&ONE).check(200);
    server.get(CHANGES).check(401);
    server.request("POST", CHANGES).auth(&ONE).check(405);
}

#[test]
fn a_large_change_is_shown_in_part_and_paged() {
    let server = Server::sample();
    let rows: String = (1000..1250).map(|at| format!("+44207947{at},MA_{at},Number {at},1.00,GBP\n")).collect();
    server.database.import("PA_ONE", &format!("number,account_auth_id,account_name,monthly_cost,currency\n{rows}"));
    let version = {
        let mut version = Value::Null;
        server.within(Duration::from_secs(2), |server| {
            let changes = list(&server.get(&format!("{CHANGES}?after=3")).auth(&ONE).check(200));
            changes.first().is_some_and(|change| {
                version = change["version"].clone();
                let shown = |name: &str| change[name].as_array().map(Vec::len);
                assert_eq!((&change["numbers_total"], shown("numbers")), (&json!(250), Some(100)));
                assert_eq!((&change["entities_total"], shown("entities")), (&json!(250), Some(100)));
                true
            })
        });
        version
    };
    let path = format!("{CHANGES}/{version}");
    let (mut numbers, mut entities) = (Vec::new(), Vec::new());
    for page in 1..=4 {
        let answer = server.get(&format!("{path}?page={page}&per_page=100")).auth(&ONE).check(200);
        let body = answer.json();
        assert_eq!(keys(&body), ["data", "meta"]);
        assert_eq!(body["meta"], json!({ "total": 250, "page": page, "per_page": 100 }));
        assert_eq!((&body["data"]["numbers_total"], &body["data"]["entities_total"]), (&json!(250), &json!(250)));
        numbers.extend(
            column(body["data"]["numbers"].as_array().expect("a list"), "number").iter().map(ToString::to_string),
        );
        entities
            .extend(column(body["data"]["entities"].as_array().expect("a list"), "id").iter().map(ToString::to_string));
    }
    assert_eq!(numbers, (1000..1250).map(|at| format!("+44207947{at}")).collect::<Vec<_>>());
    entities.sort();
    assert_eq!(entities, (1000..1250).map(|at| format!("MA_{at}")).collect::<Vec<_>>());

    let nothing = server.get(&format!("{CHANGES}/999")).auth(&ONE).check(404).masked();
    for odd in ["0", "-1", "abc", "%2B1", "18446744073709551615", "18446744073709551616"] {
        assert_eq!(server.get(&format!("{CHANGES}/{odd}")).auth(&ONE).check(404).masked(), nothing, "{odd}");
    }
    // Each partner counts for itself: this one has no fourth change.
    assert_eq!(server.get(&path).auth(&TWO).check(404).masked(), nothing);
    let answer = server.get(&format!("{path}?per_page=0")).auth(&ONE).check(422);
    assert_eq!(answer.fields(), ["per_page OUT_OF_RANGE"]);
}

// The stream.

/// One event of a stream.
#[derive(Clone, PartialEq, Debug)]
struct Event {
    id: u64,
    data: Value,
}

/// A change stream, read chunk by chunk.
struct Stream {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Stream {
    /// Asks for a stream; the status and what there is to read.
    fn ask(address: &str, key: &Key, after: &str, last: Option<u64>) -> (u16, Stream) {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let request = format!(
            "GET {CHANGES}{after} HTTP/1.1\r\nHost: rollcall.test\r\nAccept: text/event-stream\r\n{last}\
             X-Auth-ID: {}\r\nX-Auth-Token: {}\r\n\r\n",
            key.auth_id, key.auth_token
        );
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "{head}");
        }
        let status = head[9..12].parse().expect("a status");
        if status == 200 {
            for line in
                ["content-type: text/event-stream", "transfer-encoding: chunked", "cache-control: private, no-store"]
            {
                assert!(head.to_lowercase().contains(line), "{line} in {head}");
            }
        }
        (status, Stream { reader, text: String::new() })
    }

    #[track_caller]
    fn open(address: &str, key: &Key, after: &str, last: Option<u64>) -> Stream {
        let (status, stream) = Stream::ask(address, key, after, last);
        assert_eq!(status, 200);
        stream
    }

    /// One more chunk; false at a proper end.
    fn chunk(&mut self) -> bool {
        let mut size = String::new();
        self.reader.read_line(&mut size).expect("a chunk");
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("a size: {size:?}"));
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).expect("a chunk");
        assert_eq!(&bytes[size..], b"\r\n");
        self.text.push_str(std::str::from_utf8(&bytes[..size]).expect("text"));
        size > 0
    }

    /// The next event; `None` at the end. Comments and settings are passed over.
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') || block == "retry: 1000" {
                    continue;
                }
                let lines: Vec<&str> = block.lines().collect();
                let [id, "event: change", data] = lines[..] else { panic!("not an event: {block}") };
                let id = id.strip_prefix("id: ").and_then(|id| id.parse().ok()).expect("an id");
                let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
                assert_eq!(data["version"], id);
                return Some(Event { id, data });
            }
            if !self.chunk() {
                assert_eq!(self.text, "", "nothing half told");
                return None;
            }
        }
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.next().expect("an event")).collect()
    }

    /// Fails unless it ends by itself, properly, within this.
    #[track_caller]
    fn check_ends(mut self, within: Duration) {
        let begin = Instant::now();
        while self.next().is_some() {}
        assert!(begin.elapsed() < within, "ended after {:?}", begin.elapsed());
    }
}

/// How soon a stream must tell what was committed, or end, on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

fn reader_of(place: &Place) -> Key {
    Key { auth_id: PARTNER.to_owned(), auth_token: place.token.clone(), key_id: String::new() }
}

fn account_by_command(place: &Place, auth_id: &str) {
    place.must(&["account", "create", "--partner", PARTNER, "--auth-id", auth_id, "--name", "An account"]);
}

#[test]
fn a_stream_loses_and_repeats_nothing_across_a_restart() {
    let place = Place::new();
    let key = reader_of(&place);
    account_by_command(&place, "MA_1");
    let server = place.serve();
    let mut stream = Stream::open(&server.address, &key, "?after=0", None);
    let begun = stream.take(3);
    account_by_command(&place, "MA_2");
    let live = stream.next().expect("what has just happened");
    assert_eq!(live.data["entities"][0]["id"], "MA_2");
    // A page says the same.
    let (_, body) = server.client().get(CHANGES, "application/json").expect("an answer");
    let page: Value = serde_json::from_str(&body).expect("JSON");
    let told: Vec<Value> = begun.iter().chain([&live]).map(|event| event.data.clone()).collect();
    assert_eq!(page["data"], json!(told));
    // The header wins over the parameter.
    let mut again = Stream::open(&server.address, &key, "?after=0", Some(live.id - 1));
    assert_eq!(again.next(), Some(live.clone()));
    drop(again);

    let (took, code) = server.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "stopping took {took:?} with a stream open");
    stream.check_ends(PROMPT);

    account_by_command(&place, "MA_3");
    account_by_command(&place, "MA_4");
    let server = place.serve();
    let mut stream = Stream::open(&server.address, &key, "", Some(live.id));
    account_by_command(&place, "MA_5");
    let rest = stream.take(3);
    assert_eq!(rest.iter().map(|event| event.id).collect::<Vec<_>>(), [live.id + 1, live.id + 2, live.id + 3]);
    let made: Vec<&str> = rest.iter().filter_map(|event| event.data["entities"][0]["id"].as_str()).collect();
    assert_eq!(made, ["MA_3", "MA_4", "MA_5"]);
    // From here on: nothing that was.
    let mut now = Stream::open(&server.address, &key, &format!("?after={}", live.id + 3), None);
    account_by_command(&place, "MA_6");
    assert_eq!(now.next().map(|event| event.id), Some(live.id + 4));
    assert_eq!(stream.next().map(|event| event.id), Some(live.id + 4));
    assert_eq!(Stream::ask(&server.address, &key, "", Some(live.id + 5)).0, 422);
    place.verify(Some(&server));
}

/// Many writers and readers at once: each reader gets every change once, in
/// order, however it comes back.
#[test]
fn streams_beside_writers_are_complete() {
    let place = Place::new();
    let key = reader_of(&place);
    let server = place.serve();
    const WRITES: u64 = 120;
    let store = place.store();
    let partner = store.heads(true).expect("heads").expect("asked for always")[0].key;
    let begun = store.heads(true).expect("heads").expect("asked for always")[0].version;
    let end = begun + 2 * WRITES;
    std::thread::scope(|scope| {
        for writer in 0..2_u64 {
            let store = &store;
            scope.spawn(move || {
                for at in 0..WRITES {
                    fixture::put(&**store, partner, &[fixture::created(911_000_000 + writer * 1_000 + at, stock("a"))]);
                }
            });
        }
        for reader in 0..3_u64 {
            let (server, key) = (&server, &key);
            scope.spawn(move || {
                let mut last = begun;
                while last < end {
                    let mut stream = Stream::open(&server.address, key, "", Some(last));
                    // Some hang up now and then.
                    for _ in 0..if reader == 0 { u64::MAX } else { 7 + 20 * reader } {
                        if last == end {
                            break;
                        }
                        let event = stream.next().expect("an event");
                        assert_eq!(event.id, last + 1);
                        last = event.id;
                    }
                }
            });
        }
    });
}

#[test]
fn a_key_has_only_so_many_streams() {
    let place = Place::new();
    let key = reader_of(&place);
    let other = Key { auth_token: place.key(), ..key.clone() };
    let server = place.serve_with("[limits]\nstreams_per_key = 2\n");
    let mut first = Stream::open(&server.address, &key, "", None);
    let second = Stream::open(&server.address, &key, "", None);
    let (status, mut refused) = Stream::ask(&server.address, &key, "", None);
    assert_eq!(status, 429);
    let mut body = [0; 400];
    let read = refused.reader.read(&mut body).expect("a body");
    let body = String::from_utf8_lossy(&body[..read]).into_owned();
    assert!(body.contains("RATE_LIMIT_EXCEEDED") && body.contains("2 change streams"), "{body}");
    // Another key has its own; pages have nothing to do with it.
    Stream::open(&server.address, &other, "", None).take(1);
    assert_eq!(server.client().get(CHANGES, "application/json").expect("an answer").0, 200);
    // A place is free again as soon as its client has gone, although nothing happens that
    // the server could fail to tell it.
    drop(second);
    first.take(3);
    let begin = Instant::now();
    while Stream::ask(&server.address, &key, "", None).0 != 200 {
        assert!(begin.elapsed() < Duration::from_secs(5), "the place was not given back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_stream_ends_when_its_key_does() {
    let (server, _) = managed();
    let address = server.address().to_string();
    let [revoked, staying, suspended] = [(); 3].map(|()| server.database.key("PA_ONE", &[]));
    let soon = jiff::Timestamp::from_second(Time::now().seconds() + 5).expect("a time").to_string();
    let expiring = server.database.key("PA_ONE", &["--expires", &soon]);
    let open = |key: &Key| {
        let mut stream = None;
        // The server hears of the key within a moment.
        server.within(Duration::from_secs(2), |_| {
            let (status, opened) = Stream::ask(&address, key, "?after=0", None);
            stream = Some(opened);
            status == 200
        });
        let mut stream = stream.expect("opened");
        stream.take(3);
        stream
    };
    let (ending, mut stays) = (open(&expiring), open(&staying));
    let cut = open(&revoked);
    server.database.run(&["key", "revoke", "--partner", "PA_ONE", &revoked.key_id]).done();
    cut.check_ends(PROMPT);
    ending.check_ends(Duration::from_secs(5) + PROMPT);
    assert_eq!(Stream::ask(&address, &revoked, "", None).0, 401);
    assert_eq!(Stream::ask(&address, &expiring, "", None).0, 401);
    // The others go on, and are told of it.
    let mut last = stays.next().expect("an event");
    while last.data["verb"] != "key_revoke" {
        last = stays.next().expect("an event");
    }
    assert_eq!(last.data["entities"][0]["id"], revoked.key_id.as_str());
    assert!(last.data["entities"][0]["after"]["revoked_at"].is_string());
    let held = open(&suspended);
    server.database.run(&["partner", "suspend", "--auth-id", "PA_ONE"]).done();
    held.check_ends(PROMPT);
    stays.check_ends(PROMPT);
}

fn rss_kb(server: &process::Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How many sockets a server has open.
fn sockets(server: &process::Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).expect("a process");
    let names = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_reader_that_stops_is_cut_and_costs_no_memory() {
    let place = Place::new();
    let key = reader_of(&place);
    let store = place.store();
    let partner = store.heads(true).expect("heads").expect("asked for always")[0].key;
    // About 25 MB of events, more than the kernel takes in between.
    for change in 0..300_u64 {
        let block: Vec<NumberChange> =
            (0..100).map(|at| fixture::created(912_000_000_000 + change * 10_000 + at, stock("a"))).collect();
        fixture::put(&*store, partner, &block);
    }
    // Longer than a busy machine keeps a reader that does read from reading.
    let server = place.serve_with("[http]\nwrite_timeout_ms = 5000\n");
    let mut reading = Stream::open(&server.address, &key, "", None);
    reading.take(302);
    let (before, others) = (rss_kb(&server), sockets(&server));
    let mut stalled: Vec<Stream> = (0..5).map(|_| Stream::open(&server.address, &key, "", None)).collect();
    let mut during = 0;
    let cut = || {
        during = during.max(rss_kb(&server));
        sockets(&server) <= others
    };
    until(Duration::from_secs(60), || "readers that stopped are not cut".to_owned(), cut);
    assert!(during < before + 30_000, "from {before} to {during} kB");
    for stream in &mut stalled {
        // What was on its way arrives; then a reset, which nobody takes for an end.
        let mut rest = Vec::new();
        stream.reader.read_to_end(&mut rest).expect_err("cut, not ended");
        assert!(rest.len() < 20_000_000, "{} bytes", rest.len());
    }
    // Nobody else noticed.
    account_by_command(&place, "MA_1");
    assert_eq!(reading.next().expect("an event").data["verb"], "account_create");
}

// The inventory as it was.

/// A database whose changes have the times that a test gives them.
struct Timed {
    database: Database,
    store: Arc<dyn Store>,
    partner: PartnerKey,
}

impl Timed {
    fn new() -> Timed {
        let database = Database::empty();
        let store = database.store();
        let partner = new_partner(&*store, "PA_1");
        Timed { database, store, partner }
    }

    fn write(&self, seconds: i64, entities: &[EntityChange], numbers: &[NumberChange]) {
        write(&*self.store, self.partner, time(NOW + seconds), entities, numbers);
    }

    fn serve(self) -> (Server, Key) {
        let key = self.database.key("PA_1", &[]);
        drop(self.store);
        (Server::start(self.database, &[]), key)
    }
}

fn write(store: &dyn Store, partner: PartnerKey, at: Time, entities: &[EntityChange], numbers: &[NumberChange]) {
    let entry = LogEntry { at, ..fixture::entry(Verb::Import) };
    let made = store.write(
        WriteTarget::Partner(partner),
        entry,
        fixture::draft(|transaction| {
            entities.iter().try_for_each(|entity| transaction.put_entity(entity.clone()))?;
            Ok(transaction.put_numbers(numbers)?)
        }),
    );
    made.expect("written");
}

fn edit(digits: u64, before: Option<Record>, after: Option<Record>) -> NumberChange {
    NumberChange { number: number(digits), before, after }
}

fn created_account(name: &str, auth_id: &str) -> (Account, EntityChange) {
    let account = Account { name: name.into(), ..fixture::account(auth_id) };
    (account.clone(), EntityChange::Account(Edit::created(account)))
}

fn at(seconds: i64) -> String {
    time(NOW + seconds).to_string()
}

#[test]
fn lists_are_as_they_were() {
    let timed = Timed::new();
    let (one, one_created) = created_account("Old name", "MA_1");
    let app = EntityChange::Application(Edit::created(fixture::application("app_1", None)));
    let [a, b, c] = [911_000_001, 911_000_002, 911_000_003];
    let routed = Record { application: "app_1".parse().ok(), ..held("MA_1") };
    let expiring = Record { expires_at: Some(time(NOW + 35)), ..routed.clone() };
    let quarantined = Record { state: State::Quarantined, until: Some(time(NOW + 55)), ..stock("a") };
    timed.write(10, &[one_created, app], &[edit(a, None, Some(stock("a"))), edit(b, None, Some(stock("b")))]);
    timed.write(20, &[], &[edit(a, Some(stock("a")), Some(held("MA_1")))]);
    // Two changes in one second: the last one counts.
    timed.write(30, &[], &[edit(b, Some(stock("b")), Some(routed.clone()))]);
    timed.write(30, &[], &[edit(b, Some(routed), Some(expiring.clone())), edit(c, None, Some(stock("c")))]);
    let renamed = Account { name: "New name".into(), ..one.clone() };
    let (_, two_created) = created_account("Two", "MA_2");
    timed.write(40, &[EntityChange::Account(Edit { before: Some(one), after: renamed }), two_created], &[]);
    timed.write(50, &[], &[edit(a, Some(held("MA_1")), Some(quarantined)), edit(c, Some(stock("c")), None)]);
    timed.write(60, &[], &[edit(b, Some(expiring), Some(held("MA_2")))]);
    let (server, key) = timed.serve();

    let ask = |path: &str, query: &str| server.get(&format!("{path}?{query}")).auth(&key).check(200);
    let check = |path: &str, query: &str, expected: &[u64]| {
        let answer = ask(path, query);
        let expected: Vec<String> = expected.iter().map(|digits| format!("+{digits}")).collect();
        assert_eq!(answer.numbers(), expected, "{path}?{query}");
        assert_eq!(answer.json()["meta"]["total"], expected.len(), "{path}?{query}");
    };
    // Asked in any order, from the past to the present and back.
    for round in [[10, 20, 30, 40, 50, 60, 0], [60, 0, 50, 10, 40, 20, 30]] {
        for seconds in round {
            let as_of = |rest: &str| format!("as_of={}{rest}", at(seconds));
            let (all, assigned, routed): (&[u64], &[u64], &[u64]) = match seconds {
                0 => (&[], &[], &[]),
                10 => (&[a, b], &[], &[]),
                20 => (&[a, b], &[a], &[]),
                30 | 40 => (&[a, b, c], &[a, b], &[b]),
                50 => (&[a, b], &[b], &[b]),
                _ => (&[a, b], &[b], &[]),
            };
            check(GLOBAL, &as_of(""), all);
            check(GLOBAL, &as_of("&assigned=true"), assigned);
            check(GLOBAL, &as_of("&application_id=app_1"), routed);
            check(GLOBAL, &as_of("&routed=true"), routed);
            if seconds > 0 {
                let of_one: &[u64] = if seconds == 60 { &[] } else { assigned };
                check(CUSTOMER, &as_of(""), of_one);
                let last: Vec<u64> = all.last().copied().into_iter().collect();
                let answer = ask(GLOBAL, &as_of("&sort=-number&per_page=1"));
                assert_eq!(answer.numbers(), last.iter().map(|digits| format!("+{digits}")).collect::<Vec<_>>());
                assert_eq!(answer.json()["meta"]["total"], all.len());
            }
        }
    }
    // Between changes it is as it was left.
    check(GLOBAL, &format!("as_of={}", at(29)), &[a, b]);
    check(GLOBAL, &format!("as_of={}", at(31)), &[a, b, c]);
    // What time does had been done by then, and no more.
    check(GLOBAL, &format!("as_of={}&status=active", at(34)), &[a, b]);
    check(GLOBAL, &format!("as_of={}&status=active", at(35)), &[a]);
    // Names are those of then.
    let names = |seconds: i64| {
        let answer = ask(GLOBAL, &format!("as_of={}&assigned=true", at(seconds)));
        column(&list(&answer), "account_name").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(30), ["Old name", "Old name"]);
    assert_eq!(names(40), ["New name", "New name"]);
    assert_eq!(names(60), ["Two"]);
    // Who did not exist yet is not there; who was gone by now still was.
    let other = "/api/v1/partner/accounts/MA_2/numbers";
    let nothing = server.get(&format!("{other}?as_of={}", at(39))).auth(&key).check(404).masked();
    check(other, &format!("as_of={}", at(40)), &[]);
    check(other, &format!("as_of={}", at(60)), &[b]);
    let never = server.get(&format!("/api/v1/partner/accounts/MA_9/numbers?as_of={}", at(40))).auth(&key);
    assert_eq!(never.check(404).masked(), nothing);
    assert_eq!(server.get(&format!("{CUSTOMER}?as_of={}", at(-1))).auth(&key).check(404).masked(), nothing);
    check(GLOBAL, &format!("as_of={}", at(-1)), &[]);
    check(GLOBAL, "as_of=0001-01-01T00:00:00Z", &[]);

    // Streams too.
    for (accept, expected) in [("text/csv", 4), ("application/x-ndjson", 3)] {
        let request = server.get(&format!("{GLOBAL}?as_of={}", at(30))).auth(&key).header("Accept", accept);
        let answer = request.check(200);
        assert_eq!(answer.text().lines().count(), expected, "{}", answer.text());
        assert!(answer.text().contains("Old name") && !answer.text().contains("New name"), "{}", answer.text());
    }
    let request = server.get(&format!("{GLOBAL}?as_of={}", at(-1))).auth(&key).header("Accept", "text/csv");
    assert_eq!(request.check(200).text().lines().count(), 1, "a header");

    // A walk stays in its time.
    let mut target = format!("{GLOBAL}?as_of={}&per_page=1", at(30).replace(':', "%3A"));
    let mut walked = Vec::new();
    loop {
        let answer = server.get(&target).auth(&key).check(200);
        for relation in ["next", "prev", "first", "last"] {
            let link = answer.link(relation);
            assert!(link.is_none_or(|link| link.contains("as_of=")), "{relation} of {target}");
        }
        walked.extend(answer.numbers());
        match answer.link("next") {
            Some(next) => target = next,
            None => break,
        }
    }
    assert_eq!(walked, [a, b, c].map(|digits| format!("+{digits}")));
}

#[test]
fn an_answer_about_the_past_is_known_again() {
    let timed = Timed::new();
    let (_, account) = created_account("One", "MA_1");
    timed.write(10, &[account], &[edit(911_000_001, None, Some(held("MA_1")))]);
    let (server, key) = timed.serve();
    let tag = |query: &str, accept: &str| {
        let answer = server.get(&format!("{GLOBAL}?{query}")).auth(&key).header("Accept", accept).check(200);
        answer.header("etag").expect("a tag").to_owned()
    };
    let [ten, eleven] = [10, 11].map(|seconds| format!("as_of={}", at(seconds)));
    // The key came later, so these are not the last version.
    let tags = [
        tag("", "application/json"),
        tag(&ten, "application/json"),
        tag(&ten, "text/csv"),
        tag(&eleven, "application/json"),
        tag(&format!("as_of={}", Time::now()), "application/json"),
    ];
    let mut distinct = tags.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), tags.len(), "{tags:?}");
    server.get(&format!("{GLOBAL}?{ten}")).auth(&key).header("If-None-Match", &tags[1]).check(304);
    server.get(&format!("{GLOBAL}?{ten}")).auth(&key).header("If-None-Match", &tags[0]).check(200);
    server.get(GLOBAL).auth(&key).header("If-None-Match", &tags[1]).check(200);
    // It stays what it was, whatever happens now.
    server.database.run(&["account", "create", "--partner", "PA_1", "--auth-id", "MA_7", "--name", "Seven"]).done();
    server.within(Duration::from_secs(2), |_| tag("", "application/json") != tags[0]);
    server.get(&format!("{GLOBAL}?{ten}")).auth(&key).header("If-None-Match", &tags[1]).check(304);
    // This second is the present.
    let now = server.get(&format!("{GLOBAL}?as_of={}", Time::now())).auth(&key).check(200);
    assert_eq!(now.body, server.get(GLOBAL).auth(&key).check(200).body);
}

#[test]
fn a_time_that_cannot_be_is_refused() {
    let server = Server::sample();
    let future = jiff::Timestamp::from_second(Time::now().seconds() + 60).expect("a time").to_string();
    for path in [GLOBAL, CUSTOMER] {
        for (value, expected) in [
            ("yesterday", "INVALID"),
            ("2026-02-01", "INVALID"),
            ("2026-02-30T00:00:00Z", "INVALID"),
            ("2026-02-01T10:00:00", "INVALID"),
            ("1770000000", "INVALID"),
            (future.as_str(), "OUT_OF_RANGE"),
            ("9998-12-31T23:59:59Z", "OUT_OF_RANGE"),
        ] {
            let answer = server.get(&format!("{path}?as_of={value}")).auth(&ONE).check(422);
            assert_eq!(answer.fields(), [format!("as_of {expected}")], "{value}");
        }
        let answer = server.get(&format!("{path}?as_of={}&as_of={}", at(0), at(0))).auth(&ONE).check(422);
        assert_eq!(answer.fields(), ["as_of REPEATED"]);
        // Empty means no filter, as everywhere.
        server.get(&format!("{path}?as_of=")).auth(&ONE).check(200);
    }
    for path in ["/api/v1/partner/accounts", "/api/v1/partner/numbers/+6837101"] {
        let answer = server.get(&format!("{path}?as_of={}", at(0))).auth(&ONE).check(422);
        assert_eq!(answer.fields(), ["as_of UNKNOWN"]);
    }
}

// Commands.

#[test]
fn commands_tell_the_same() {
    let database = Database::sample();
    let number = "+442079460105";
    database
        .run(&[
            "number",
            "assign",
            number,
            "--partner",
            "PA_ONE",
            "--account",
            "MA_1",
            "--monthly-cost",
            "5.00",
            "--currency",
            "GBP",
        ])
        .done();
    let ran = database.run(&["history", number, "--partner", "PA_ONE"]).done();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["VERSION", "AT", "VERB", "BY", "WHAT"]);
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert!(lines[1].contains("import") && lines[1].ends_with("came into stock"), "{}", lines[1]);
    assert!(lines[2].contains("assign") && lines[2].contains("assigned to MA_1"), "{}", lines[2]);
    let entries = database.run(&["history", number, "--partner", "PA_ONE", "--json"]).done().json();
    assert_eq!(column(entries["data"].as_array().expect("a list"), "verb"), ["import", "assign"]);
    assert_eq!(keys(&entries["data"][1]["after"]), IMAGE);
    for partner in ["PA_TWO", "PA_ONE"] {
        let number = if partner == "PA_TWO" { number } else { "+442079460999" };
        let ran = database.run(&["history", number, "--partner", partner]).check(1);
        assert!(ran.stderr.contains(number), "{}", ran.stderr);
    }

    let ran = database.run(&["changes", "--partner", "PA_ONE"]).done();
    assert_eq!(ran.stdout.lines().count(), 5, "{}", ran.stdout);
    assert!(ran.stdout.contains("and 11 more numbers") && ran.stdout.contains("assigned to MA_1"), "{}", ran.stdout);
    let changes =
        database.run(&["changes", "--partner", "PA_ONE", "--after", "1", "--limit", "2", "--json"]).done().json();
    assert_eq!(column(changes["data"].as_array().expect("a list"), "verb"), ["key_create", "import"]);
    assert_eq!(changes["meta"], json!({ "version": 4, "next_after": 3 }));
    let ran = database.run(&["changes", "--partner", "PA_ONE", "--limit", "2"]).done();
    assert!(ran.stderr.contains("--after 2"), "{}", ran.stderr);
    let ran = database.run(&["changes", "--partner", "PA_ONE", "--after", "4"]).done();
    assert_eq!(ran.stdout, "");
    database.run(&["changes", "--partner", "PA_X"]).check(1);
}

// Going back, against a model that remembers.

/// What the model remembers of a partner at a version.
#[derive(Clone, PartialEq, Debug)]
struct Then {
    at: i64,
    partner: Partner,
    accounts: BTreeMap<String, Account>,
    applications: BTreeMap<String, Application>,
    numbers: BTreeMap<u64, Record>,
}

/// Something to do; what it needs and does not find, it makes or leaves out.
#[derive(Clone, Debug)]
enum Step {
    Account {
        id: u8,
        name: u8,
        archived: bool,
    },
    Application {
        id: u8,
        name: u8,
    },
    Partner {
        suspended: bool,
    },
    /// Each: a number and what it shall be, of accounts and applications that
    /// are there.
    Numbers(Vec<(u64, u8, u8, u8)>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let digits = prop_oneof![3 => 911_000_995..911_001_005_u64, 1 => 1_000_000..1_000_003_u64, 1 => 911_000_000..911_003_000_u64];
    let numbers = prop::collection::vec((digits, 0..8_u8, 0..4_u8, 0..4_u8), 1..30);
    prop_oneof![
        2 => (0..4_u8, 0..3_u8, any::<bool>()).prop_map(|(id, name, archived)| Step::Account { id, name, archived }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(id, name)| Step::Application { id, name }),
        1 => any::<bool>().prop_map(|suspended| Step::Partner { suspended }),
        6 => numbers.prop_map(Step::Numbers),
    ]
}

/// What a step changes of what is.
fn changes(step: &Step, now: &mut Then) -> (Vec<EntityChange>, Vec<NumberChange>) {
    match step {
        Step::Account { id, name, archived } => {
            let id = format!("MA_{id}");
            let archived_at = archived.then(|| time(NOW));
            let after = Account { name: format!("Account {name}").into(), archived_at, ..fixture::account(&id) };
            let before = now.accounts.insert(id, after.clone());
            (vec![EntityChange::Account(Edit { before, after })], Vec::new())
        }
        Step::Application { id, name } => {
            let id = format!("app_{id}");
            let after = Application { name: format!("Application {name}").into(), ..fixture::application(&id, None) };
            let before = now.applications.insert(id, after.clone());
            (vec![EntityChange::Application(Edit { before, after })], Vec::new())
        }
        Step::Partner { suspended } => {
            let before = now.partner.clone();
            now.partner.suspended_at = suspended.then(|| time(NOW));
            (vec![EntityChange::Partner(Edit { before: Some(before), after: now.partner.clone() })], Vec::new())
        }
        Step::Numbers(wanted) => {
            let accounts: Vec<String> = now.accounts.keys().cloned().collect();
            let applications: Vec<String> = now.applications.keys().cloned().collect();
            let pick = |from: &[String], at: u8| from.get(usize::from(at) % from.len().max(1)).cloned();
            let wanted: BTreeMap<u64, (u8, u8, u8)> = wanted
                .iter()
                .map(|&(digits, kind, account, application)| (digits, (kind, account, application)))
                .collect();
            let mut edits = Vec::new();
            for (digits, (kind, account, application)) in wanted {
                let soon = Some(time(now.at + i64::from(account)));
                let holder = pick(&accounts, account);
                let application = pick(&applications, application).and_then(|id| id.parse().ok());
                let after = match (kind, &holder) {
                    (0, _) => None,
                    (1, _) => Some(stock(&format!("t{account}"))),
                    (2, _) => Some(Record { state: State::Quarantined, until: soon, ..stock("q") }),
                    (3, Some(id)) => {
                        Some(Record { state: State::Reserved, until: soon, account: id.parse().ok(), ..stock("r") })
                    }
                    (4, Some(id)) => Some(Record { expires_at: soon, ..held(id) }),
                    (5, Some(id)) => Some(Record { application, state: State::Suspended, ..held(id) }),
                    (_, Some(id)) => Some(Record { application, tags: Tags::new(["a", "b"]), ..held(id) }),
                    (_, None) => Some(Record { application, region: None, ..stock("n") }),
                };
                let before = now.numbers.get(&digits).cloned();
                if before == after {
                    continue;
                }
                match &after {
                    Some(after) => now.numbers.insert(digits, after.clone()),
                    None => now.numbers.remove(&digits),
                };
                edits.push(edit(digits, before, after));
            }
            (Vec::new(), edits)
        }
    }
}

/// A snapshot is what the model remembers, and finds what is in it.
#[track_caller]
fn check_then(snapshot: &Snapshot, then: &Then, now: Time) {
    assert_eq!(*snapshot.partner, then.partner);
    let accounts: Vec<&Account> = snapshot.accounts.sorted().collect();
    assert_eq!(accounts, then.accounts.values().collect::<Vec<_>>());
    assert_eq!(snapshot.accounts.len(), then.accounts.len());
    let applications: Vec<&Application> = snapshot.applications.sorted().collect();
    assert_eq!(applications, then.applications.values().collect::<Vec<_>>());
    let rows: BTreeMap<u64, Record> = snapshot.iter(now).map(|row| (row.number().digits(), row.record())).collect();
    assert_eq!(rows, then.numbers);
    assert_eq!(snapshot.len(), then.numbers.len());
    for row in snapshot.iter(now) {
        assert!(row.version() <= snapshot.version);
    }
    let counts: Vec<(u64, u64)> = snapshot.counts(now).iter().map(|counts| (counts.active, counts.suspended)).collect();
    assert_eq!(counts.len(), then.accounts.len());
    for (account, (active, suspended)) in snapshot.accounts.iter().zip(counts) {
        let held = then.numbers.values().filter(|record| record.holder() == Some(&account.auth_id)).count() as u64;
        assert_eq!(active + suspended, held, "{}", account.auth_id);
    }
    let flat = Flat::of(snapshot);
    for setting in [
        &[][..],
        &[("account_auth_id", "MA_0")],
        &[("account_auth_id", "MA_3"), ("status", "active")],
        &[("application_id", "app_0")],
        &[("assigned", "true"), ("sort", "-expires_at")],
        &[("status", "active")],
        &[("status", "suspended"), ("search", "1100")],
        &[("tag", "a")],
        &[("routed", "true"), ("sort", "-number")],
    ] {
        let (mut filter, mut order) = (Filter::default(), Order::default());
        for (name, value) in setting {
            filter.set(&mut order, name, value).expect("a filter");
        }
        let window = Window::Page { skip: 0, rows: 10_000 };
        let got = snapshot.select(&filter, order, window, now);
        let numbers: Vec<E164> = got.rows.iter().map(|row| row.number()).collect();
        let (total, start, expected) = flat.select(&filter, order, window, now);
        assert_eq!((got.total, got.start, numbers), (total, start, expected), "{setting:?}");
    }
}

/// Two snapshots are the same but for what going back cannot know.
#[track_caller]
fn check_same(past: &Snapshot, kept: &Snapshot) {
    assert_eq!((past.version, past.head), (kept.version, kept.head));
    assert!(past.keys.sorted().eq(kept.keys.sorted()) && past.trunks.sorted().eq(kept.trunks.sorted()));
    for seconds in -2..60 {
        assert_eq!(past.epoch(time(NOW + seconds)), kept.epoch(time(NOW + seconds)), "{seconds}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn going_back_finds_what_was(
        steps in prop::collection::vec((any_step(), 0..3_i64), 1..40),
        asked in prop::collection::vec(-1..45_i64, 12),
    ) {
        let database = fixture::Database::new();
        let store = database.open();
        let key = new_partner(&*store, "PA_1");
        let replica = Replica::load(store.clone()).expect("loads");
        let node = replica.node("PA_1").expect("loaded");
        let mut now = Then {
            at: NOW,
            partner: fixture::partner("PA_1"),
            accounts: BTreeMap::new(),
            applications: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        // By version, from 1 on.
        let mut thens = vec![now.clone()];
        let mut kept = vec![node.snapshot()];
        for (step, pause) in &steps {
            now.at += pause;
            let (entities, numbers) = changes(step, &mut now);
            write(&*store, key, time(now.at), &entities, &numbers);
            replica.follow();
            if node.snapshot().version as usize > thens.len() {
                thens.push(now.clone());
                kept.push(node.snapshot());
            }
        }
        let last = thens.len();
        prop_assert_eq!(node.snapshot().version as usize, last);

        // This node has seen it all happen; the other found it done.
        let other = Replica::load(database.open()).expect("loads");
        for replica in [&replica, &other] {
            let current = || replica.node("PA_1").expect("loaded").snapshot();
            for seconds in &asked {
                let moment = time(NOW + seconds);
                let past = replica.as_of(current(), moment, &AtomicBool::new(true)).expect("leads back");
                // Several changes may share a second: the last one counts.
                let version = thens.iter().rposition(|then| then.at <= moment.seconds()).map_or(0, |at| at + 1);
                prop_assert_eq!(past.version as usize, version, "at {}", seconds);
                if version == 0 {
                    prop_assert!(past.is_empty() && past.accounts.is_empty());
                    continue;
                }
                check_then(&past, &thens[version - 1], moment);
                check_same(&past, &kept[version - 1]);
            }
            // All the way, change by change.
            let mut past = Snapshot::clone(&current());
            let log = store.log(key, 0, 1_000).expect("reads");
            for logged in log.into_iter().rev() {
                let version = past.version as usize;
                check_then(&past, &thens[version - 1], time(thens[version - 1].at));
                check_same(&past, &kept[version - 1]);
                if version == 1 {
                    prop_assert!(past.reverted(logged).is_err(), "before the first change there is nobody");
                    break;
                }
                past = past.reverted(logged).expect("leads back");
            }
        }
        // And those that were kept are still what they were.
        for (snapshot, then) in kept.iter().zip(&thens) {
            check_then(snapshot, then, time(then.at));
        }
    }
}

#[test]
fn a_change_that_does_not_lead_back_is_refused() {
    use rollcall::inventory::Misfit;
    let database = fixture::Database::new();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    fixture::put(&*store, key, &[fixture::created(911_000_001, stock("a"))]);
    fixture::put(&*store, key, &[fixture::created(911_000_002, stock("a"))]);
    let replica = Replica::load(store.clone()).expect("loads");
    let current = || Snapshot::clone(&replica.node("PA_1").expect("loaded").snapshot());
    let log = store.log(key, 0, 10).expect("reads");
    let misfit = |logged| current().reverted(logged).err();
    assert_eq!(misfit(log[1].clone()), Some(Misfit::Gap { expected: 3, found: 2 }));
    let mut forged = log[2].clone();
    forged.digest = [7; 32];
    assert_eq!(misfit(forged), Some(Misfit::Chain { version: 3 }));
    let mut other = log[2].clone();
    other.change.numbers[0].after = Some(stock("b"));
    assert_eq!(misfit(other), Some(Misfit::Before { number: number(911_000_002) }));
    assert_eq!(current().reverted(log[2].clone()).expect("leads back").len(), 1);
}

// Going back by what spans of changes did together.

/// How many versions a span has here.
const SPAN: u64 = 16;

/// A step, or the same of neighbouring numbers.
fn any_step_or_block() -> impl Strategy<Value = Step> {
    let block = (911_000_960..911_001_010_u64, 1..60_u64, 0..8_u8, 0..4_u8, 0..4_u8);
    let block = block.prop_map(|(first, count, kind, account, application)| {
        Step::Numbers((first..first + count).map(|digits| (digits, kind, account, application)).collect())
    });
    prop_oneof![3 => any_step(), 1 => block]
}

/// A partner with a history of a version a second, and how many versions it has.
fn with_history(store: &dyn Store, steps: &[Step]) -> (PartnerKey, u64) {
    let key = new_partner(store, "PA_1");
    let (accounts, applications, numbers) = Default::default();
    let mut now = Then { at: NOW, partner: fixture::partner("PA_1"), accounts, applications, numbers };
    for step in steps {
        now.at += 1;
        let (entities, numbers) = changes(step, &mut now);
        // A step that changes nothing makes no version.
        let entities = match entities.is_empty() && numbers.is_empty() {
            true => changes(&Step::Partner { suspended: now.at % 2 == 0 }, &mut now).0,
            false => entities,
        };
        write(store, key, time(now.at), &entities, &numbers);
    }
    (key, store.version(key).expect("asks"))
}

/// The digest of the inventory at each version from `from` on, asked in that order so
/// that each is found from the present.
fn pasts(store: &Arc<dyn Store>, versions: impl Iterator<Item = u64>) -> Vec<(u64, String)> {
    let replica = Replica::load(store.clone()).expect("loads");
    let current = replica.node("PA_1").expect("loaded").snapshot();
    let past = |version: u64| {
        let moment = time(NOW + version as i64 - 1);
        let past = replica.as_of(current.clone(), moment, &AtomicBool::new(true)).expect("leads back");
        assert_eq!(past.version, version);
        (version, format!("{:?} {:?} {}", past.digest(), past.row_digest(), past.epoch(moment).is_some()))
    };
    versions.map(past).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(12),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn spans_lead_back_to_where_the_log_does(
        steps in prop::collection::vec(any_step_or_block(), 40..75),
        gone in 1..5_u64,
    ) {
        let database = fixture::Database::chosen();
        let store = database.open();
        let (key, version) = with_history(&*store, &steps);
        prop_assert_eq!(version, steps.len() as u64 + 1);
        let by_log = pasts(&store, 1..=version);
        net_changes::keep_all(&*store, key, version, SPAN).expect("kept");
        // Only complete spans have a row.
        let ends: Vec<u64> = (1..=version / SPAN).map(|at| at * SPAN).collect();
        prop_assert_eq!(store.net_change_ends(key).expect("asks"), ends.clone());
        let spans: Vec<(u64, u64)> = ends.iter().map(|last| (last - SPAN + 1, *last)).collect();
        prop_assert_eq!(store.net_change_spans(key, 0, version).expect("asks"), spans);
        prop_assert_eq!(pasts(&store, 1..=version), by_log.clone());
        prop_assert_eq!(fixture::differences(&*store), Vec::<String>::new());
        // Nor does it matter if a row is missing among others.
        if ends.contains(&(gone * SPAN)) {
            drop(store);
            let delete = format!("DELETE FROM net_change WHERE last_version = {}", gone * SPAN);
            let (_copy, store) = database.tampered(&delete);
            prop_assert_eq!(pasts(&store, 1..=version), by_log);
            net_changes::keep_all(&*store, key, version, SPAN).expect("kept");
            prop_assert_eq!(store.net_change_ends(key).expect("asks"), ends);
        }
    }
}

/// A history of 40 versions: an account, and numbers that come into stock.
fn plain_history(database: &fixture::Database) -> (PartnerKey, u64) {
    let numbers = |at: u64| Step::Numbers((0..3).map(|more| (911_000_000 + at * 2 + more, 6, 0, 0)).collect());
    let account = [Step::Account { id: 0, name: 0, archived: false }];
    let steps: Vec<Step> = account.into_iter().chain((0..38).map(numbers)).collect();
    with_history(&*database.open(), &steps)
}

#[test]
fn what_is_kept_of_a_span_is_read_instead_of_the_log() {
    let database = fixture::Database::chosen();
    let (key, version) = plain_history(&database);
    let by_log = pasts(&database.open(), 1..=version);
    net_changes::keep_all(&*database.open(), key, version, SPAN).expect("kept");
    // The parts of the log within the span are deleted, so a reader of the log would fail.
    let (_copy, store) = database.tampered("DELETE FROM change_part WHERE version > 18 AND version < 31");
    let before = by_log.iter().filter(|(version, _)| *version <= 16).cloned();
    assert_eq!(pasts(&store, 1..=16), before.collect::<Vec<_>>());
    let replica = Replica::load(store).expect("loads");
    let current = replica.node("PA_1").expect("loaded").snapshot();
    assert!(replica.as_of(current, time(NOW + 20), &AtomicBool::new(true)).is_err(), "the log leads to it alone");
}

#[test]
fn a_row_that_is_damaged_or_does_not_fit_is_not_used_and_is_reported() {
    let database = fixture::Database::chosen();
    let (key, version) = plain_history(&database);
    let by_log = pasts(&database.open(), 1..=version);
    net_changes::keep_all(&*database.open(), key, version, SPAN).expect("kept");
    for set in [
        "head = zeroblob(32)",
        "previous = sha256",
        "sha256 = zeroblob(32)",
        "body = zeroblob(32)",
        "at = at + 1",
        "entities = '[]'",
        "first_version = first_version + 1",
    ] {
        let (_copy, store) = database.tampered(&format!("UPDATE net_change SET {set} WHERE last_version = 16"));
        assert_eq!(pasts(&store, 1..=version), by_log, "{set}");
        let found = fixture::differences(&*store);
        assert!(matches!(&found[..], [one] if one.contains("the net change up to version 16 of partner")), "{found:?}");
    }
    // A row that is whole, of a log that is another.
    let (_copy, store) = database.tampered("DELETE FROM net_change WHERE last_version = 32");
    let kept = database.open().net_change(key, 32).expect("reads").expect("a row");
    let other = NetChange { head: [7; 32], ..kept.clone() };
    store.put_net_change(key, &other).expect("kept");
    assert_eq!(pasts(&store, 1..=version), by_log);
    let found = fixture::differences(&*store);
    assert!(matches!(&found[..], [one] if one.contains("does not fit the log")), "{found:?}");
    // And one whose numbers were never so.
    let (_copy, store) = database.tampered("DELETE FROM net_change WHERE last_version = 32");
    let never = RunChange { first: number(911_000_001), count: 2, before: None, after: Some(stock("never")) };
    store.put_net_change(key, &NetChange { body: net_body(kept.at, [&never]), ..kept }).expect("kept");
    assert_eq!(pasts(&store, 1..=version), by_log);
}

#[test]
fn the_log_is_read_where_a_span_has_very_much() {
    let database = fixture::Database::chosen();
    let store = database.open();
    let many = |at: u64| (0..600).map(|one| fixture::account(&format!("MA_{at}_{one}"))).collect::<Vec<_>>();
    let key = new_partner(&*store, "PA_1");
    for at in 1..2 * SPAN {
        let accounts = if at < SPAN { many(at) } else { vec![fixture::account(&format!("MA_{at}"))] };
        let created: Vec<_> = accounts.into_iter().map(|one| EntityChange::Account(Edit::created(one))).collect();
        write(&*store, key, time(NOW + at as i64), &created, &[]);
    }
    net_changes::keep_all(&*store, key, 2 * SPAN, SPAN).expect("kept");
    assert_eq!(store.net_change_ends(key).expect("asks"), [SPAN, 2 * SPAN]);
    assert_eq!(store.net_change_spans(key, 0, u64::MAX >> 1).expect("asks"), [(SPAN + 1, 2 * SPAN)]);
    let accounts = |version: u64| {
        let replica = Replica::load(store.clone()).expect("loads");
        let current = replica.node("PA_1").expect("loaded").snapshot();
        let moment = time(NOW + version as i64 - 1);
        replica.as_of(current, moment, &AtomicBool::new(true)).expect("leads back").accounts.len()
    };
    assert_eq!([accounts(2), accounts(SPAN), accounts(SPAN + 5)], [600, 600 * 15, 600 * 15 + 5]);
    assert_eq!(fixture::differences(&*store), [] as [&str; 0]);
}

/// What a server does, with spans as long as they are.
#[test]
fn a_server_keeps_a_row_for_each_complete_span() {
    let database = fixture::Database::chosen();
    let store = database.open();
    let key = new_partner(&*store, "PA_1");
    let versions = net_changes::SPAN + 3;
    let writers = 4;
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let store = &*store;
            scope.spawn(move || {
                let mut before = None;
                for at in (1 + writer..versions).step_by(writers as usize) {
                    let after = Some(stock(&format!("t{at}")));
                    let change = edit(911_000_000 + writer, before, after.clone());
                    let put = || {
                        let body =
                            fixture::draft(|transaction| Ok(transaction.put_numbers(std::slice::from_ref(&change))?));
                        store.write(WriteTarget::Partner(key), fixture::entry(Verb::Import), body)
                    };
                    // A busy machine lets a database answer late; then nothing was written.
                    while let Err(Abort::Store(StoreError::Unreachable { .. } | StoreError::Busy)) = put() {}
                    before = after;
                }
            });
        }
    });
    assert_eq!(store.version(key).expect("asks"), versions);
    let replica = Replica::load(store.clone()).expect("loads");
    let service = Service::new(store.clone(), fixture::operator());
    let stopping = service.keep_net_change(&replica, &AtomicBool::new(true)).expect("stops");
    assert_eq!((stopping, store.net_change_ends(key).expect("asks").len()), (NetChangesMade::None, 0));
    let go_on = AtomicBool::new(false);
    let made = [(); 2].map(|()| service.keep_net_change(&replica, &go_on).expect("made"));
    assert_eq!(made, [NetChangesMade::One, NetChangesMade::None]);
    assert_eq!(store.net_change_ends(key).expect("asks"), [net_changes::SPAN]);
    assert_eq!(fixture::differences(&*store), [] as [&str; 0]);
}
