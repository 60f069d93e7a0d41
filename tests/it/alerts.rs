//! Schedules and alerts: a real server and a real mail server, and the rules
//! of what is told when, driven by a clock of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rollcall::checks::Check;
use rollcall::domain::change::Edit;
use rollcall::domain::{Acknowledgement, EntityChange, NumberChange, PartnerId, PartnerKey, Record, Time, Verb};
use rollcall::mail::{MailSettings, MailTls, Mailer};
use rollcall::service::background::lease::Leases;
use rollcall::service::background::schedules::runner::{ScheduleRunner, letters_due, runs_due};
use rollcall::service::background::schedules::{EmailDelivery, SchedulePatch, ScheduleView, Sending};
use rollcall::service::{Replica, Service, ServiceError, VerbOutcome, WriteOutcome};
use rollcall::store::{DocumentWalk, Store, WriteTarget};
use serde_json::{Value, json};

use crate::fixture;
use crate::harness::{Answer, Database, Key, ONE, Server, keys};
use crate::smtp::{Manners, PASSWORD, Part, Receiver, Taken, USER};
use crate::until::until;

const SCHEDULES: &str = "/api/v1/manage/schedules";
const DESK: &str = "desk@example.net";
const BOSS: &str = "boss@example.org";

// By HTTP, SMTP and command.

/// Settings that name the receiver, as `change` has them.
pub fn settings(database: &Database, receiver: &Receiver, change: impl FnOnce(String) -> String) -> String {
    let password = database.write("password", &format!("{PASSWORD}\n"));
    let ca = database.write("ca.pem", &receiver.pem);
    let text = format!(
        "[mail]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"starttls\"\nuser = \"{USER}\"\n\
         password_file = \"{}\"\nfrom = \"Rollcall <rollcall@example.com>\"\nca_file = \"{}\"\ntimeout_ms = 10000\n",
        receiver.address.port(),
        password.display(),
        ca.display()
    );
    database.write("rollcall.toml", &change(text)).display().to_string()
}

/// The sample with a server that can write letters, and a key that may manage.
fn serve(receiver: &Receiver, change: impl FnOnce(String) -> String) -> (Server, Key) {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let config = settings(&database, receiver, change);
    (Server::start(database, &["--config", &config]), key)
}

fn create(server: &Server, key: &Key, body: &Value) -> String {
    let made = server.request("POST", SCHEDULES).auth(key).json(body).check(201).json();
    made["data"]["id"].as_str().expect("an id").to_owned()
}

fn one(server: &Server, key: &Key, id: &str) -> Value {
    server.get(&format!("{SCHEDULES}/{id}")).auth(key).check(200).json()["data"].clone()
}

fn ask(server: &Server, key: &Key, id: &str) -> Answer {
    server.request("POST", &format!("{SCHEDULES}/{id}/run")).auth(key).check(200)
}

/// Asks for a report and waits until each recipient was tried.
#[track_caller]
fn tried(server: &Server, key: &Key, id: &str) -> Value {
    ask(server, key, id);
    let mut last = Value::Null;
    server.within(Duration::from_secs(30), |server| {
        last = one(server, key, id)["runs"][0].clone();
        let recipients = last["recipients"].as_array().cloned().unwrap_or_default();
        !recipients.is_empty() && recipients.iter().all(|one| one["attempts"].as_u64() > Some(0))
    });
    last
}

#[test]
fn a_report_goes_to_each_recipient_alone() {
    let receiver = Receiver::start(Manners::default());
    let (server, key) = serve(&receiver, |text| text);
    let body = json!({ "name": "Weekly", "recipients": [DESK, BOSS, "DESK@example.net"], "alerts": false });
    let id = create(&server, &key, &body);
    let run = tried(&server, &key, &id);
    let taken = receiver.wait(2);
    assert_eq!(taken.len(), 2, "{taken:?}");
    let mut ids = Vec::new();
    for Taken { from, to, data, encrypted, user } in &taken {
        assert!(*encrypted && user.as_deref() == Some(USER) && from == "rollcall@example.com");
        let (own, other) = if to == &[DESK] { (DESK, BOSS) } else { (BOSS, DESK) };
        assert_eq!(to, &[own]);
        assert!(!data.contains(other), "{data}");
        let letter = Part::parse(data);
        assert_eq!(letter.header("to"), Some(own));
        assert_eq!(letter.header("auto-submitted"), Some("auto-generated"));
        assert_eq!(letter.header("bcc").or(letter.header("cc")), None);
        assert!(letter.header("date").is_some());
        ids.push(letter.header("message-id").expect("an id").to_owned());
        let subject = letter.words("subject");
        let expected = "Rollcall: 1 customer without an active number, 1 number expired, 2 numbers with nowhere to go \
                        (Primus Partner)";
        assert_eq!(subject, expected);
        let kinds: Vec<String> = letter.leaves().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["text/plain; charset=utf-8", "text/html; charset=utf-8", "text/csv; charset=utf-8"]);
        let (text, html, csv) = (letter.leaf("text/plain"), letter.leaf("text/html"), letter.leaf("text/csv"));
        for part in
            ["+912271265110", "Primus Empty (MA_4)", "1 number expired, new", "assign the customer a number", &id]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
        assert!(text.contains("of Primus, One (MA_1), since 2020-01-01 00:00  [NEW]"), "{text}");
        for part in ["<html lang=\"en\">", "<th scope=\"col\"", "<h1"] {
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
        for part in ["<script", "<style", "<img", "<link", "http:", "https:", "class="] {
            assert!(!html.contains(part), "{part:?} is in {html}");
        }
        assert_eq!(csv.lines().count(), 5, "{csv}");
        assert!(csv.contains("\"Primus, One\""), "{csv}");
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!((&run["why"], &run["findings"], &run["new"]), (&json!("asked"), &json!(4), &json!(4)));
    let all_sent = |run: &Value| run["recipients"].as_array().expect("a list").iter().all(|one| one["state"] == "sent");
    server.within(Duration::from_secs(10), |server| all_sent(&one(server, &key, &id)["runs"][0]));
    // What was told is not new the next time.
    let config = server.database.file("rollcall.toml").display().to_string();
    server.database.run(&["schedule", "run", &id, "--partner", "PA_ONE", "--config", &config]).done();
    server.within(Duration::from_secs(30), |server| {
        let view = one(server, &key, &id);
        view["runs"].as_array().map(Vec::len) == Some(2) && all_sent(&view["runs"][0])
    });
    let view = one(&server, &key, &id);
    assert_eq!((&view["last_run"]["findings"], &view["last_run"]["new"]), (&json!(4), &json!(0)));
    assert!(!Part::parse(&receiver.wait(4)[3].data).leaf("text/plain").contains("[NEW]"));
    let metrics = server.get("/metrics").check(200);
    assert!(metrics.text().contains(r#"rollcall_mails_total{result="sent"}"#), "{}", metrics.text());
    // Asked again within the minute, it waits, and says who asked.
    ask(&server, &key, &id);
    // The time is the test: a runner looks every second.
    std::thread::sleep(Duration::from_millis(1_500));
    let waits = one(&server, &key, &id);
    assert_eq!((&waits["asked_by"], receiver.taken().len()), (&json!(format!("key:{}", key.key_id)), 4));
    // The password, and addresses, are nobody's business who reads logs.
    let log = server.log();
    assert!(!log.contains(PASSWORD) && !log.contains(DESK) && !log.contains(BOSS), "{log}");
}

#[test]
fn one_refusal_is_about_one_recipient() {
    let receiver = Receiver::start(Manners { refused: vec![BOSS.to_owned()], ..Manners::default() });
    let (server, key) = serve(&receiver, |text| text);
    let id = create(&server, &key, &json!({ "name": "Weekly", "recipients": [BOSS, DESK] }));
    let run = tried(&server, &key, &id);
    assert_eq!(receiver.wait(1)[0].to, [DESK]);
    let refused = &run["recipients"][0];
    assert_eq!(
        (&refused["to"], &refused["state"], &refused["next_at"]),
        (&json!(BOSS), &json!("failed"), &Value::Null)
    );
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("no such user")), "{refused}");
    assert_eq!(run["recipients"][1]["state"], "sent");
    let log = server.log();
    assert!(log.contains("no such user") && !log.contains(BOSS), "{log}");
}

/// What a schedule shows where the server cannot be used: nothing was sent, it
/// waits, and why.
#[track_caller]
fn check_unusable(manners: Manners, change: impl FnOnce(String) -> String, what: &str) -> (Receiver, String) {
    let receiver = Receiver::start(manners);
    let (server, key) = serve(&receiver, change);
    let id = create(&server, &key, &json!({ "name": "Weekly", "recipients": [DESK, BOSS] }));
    let run = tried(&server, &key, &id);
    for recipient in run["recipients"].as_array().expect("a list") {
        assert_eq!(recipient["state"], "waiting", "{run}");
        assert!(recipient["next_at"].is_string());
        let error = recipient["error"].as_str().expect("why");
        // The machines here are not the tenant's business.
        assert!(error.contains(what) && !error.contains("127.0.0.1"), "{error}");
    }
    assert!(receiver.taken().is_empty());
    // The log is read behind the server's back, a little later than it is written.
    server.within(Duration::from_secs(10), |server| {
        let log = server.log();
        log.contains("was not sent") && log.contains(what)
    });
    (receiver, server.log())
}

#[test]
fn a_certificate_that_is_not_trusted_gets_no_letter() {
    let without_ca = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with("ca_file"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let (receiver, _) = check_unusable(Manners::default(), without_ca, "certificate is not trusted");
    assert!(receiver.lines(true).is_empty(), "{:?}", receiver.lines(true));
}

#[test]
fn an_offer_of_tls_that_was_taken_out_ends_it() {
    let (receiver, _) = check_unusable(Manners { stripped: true, ..Manners::default() }, |text| text, "STARTTLS");
    for line in receiver.lines(false) {
        assert!(line.starts_with("EHLO") || line == "QUIT", "{line}");
    }
}

#[test]
fn answers_put_before_the_encrypted_ones_end_it() {
    for injected in 1..4 {
        let manners = Manners { injected, ..Manners::default() };
        let (receiver, _) = check_unusable(manners, |text| text, "between us and the mail server");
        for line in receiver.lines(true) {
            assert!(["EHLO", "NOOP", "QUIT"].iter().any(|verb| line.starts_with(verb)), "{line}");
        }
    }
}

#[test]
fn a_run_that_was_missed_is_made_up_for_at_the_start() {
    let receiver = Receiver::start(Manners::default());
    let database = Database::sample();
    let config = settings(&database, &receiver, |text| text);
    let create = ["schedule", "create", "--partner", "PA_ONE", "--name", "Weekly", "--to", DESK, "--alerts", "false"];
    database.run(&[&create[..], &["--config", &config]].concat()).done();
    // As it is after weeks without a server.
    let raw = rusqlite::Connection::open(database.path()).expect("the database opens");
    let missed = "UPDATE document SET due = 1767258000, body = json_set(body, '$.next', '2026-01-01T09:00:00Z')";
    assert_eq!(raw.execute(&format!("{missed} WHERE kind = 'schedule'"), []).expect("written"), 1);
    drop(raw);
    let mut server = Server::start(database, &["--config", &config]);
    let letter = Part::parse(&receiver.wait(1)[0].data);
    assert!(letter.leaf("text/plain").contains("This is the report"), "{letter:?}");
    server.kill_and_start(&["--config", &config]);
    // The time is the test: a runner looks every second.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.taken().len(), 1);
}

#[test]
fn a_wrong_password_is_told_to_whoever_runs_the_server() {
    let wrong = |text: String| text.replace(USER, "somebody");
    let (_, log) = check_unusable(Manners::default(), wrong, "sign in");
    assert!(log.contains("wrong password"), "{log}");
}

#[test]
fn a_mail_server_that_says_nothing_holds_up_no_run() {
    let receiver = Receiver::start(Manners { silent: true, ..Manners::default() });
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let other = database.key("PA_TWO", &["--scope", "manage"]);
    let config = settings(&database, &receiver, |text| text.replace("10000", "3000"));
    let server = Server::start(database, &["--config", &config]);
    let first = create(&server, &key, &json!({ "name": "Weekly", "recipients": [DESK] }));
    let second = create(&server, &other, &json!({ "name": "Weekly", "recipients": [BOSS] }));
    ask(&server, &key, &first);
    ask(&server, &other, &second);
    server.within(Duration::from_secs(20), |server| {
        [(&key, &first), (&other, &second)].iter().all(|(key, id)| one(server, key, id)["last_run"]["told"] == true)
    });
    server.within(Duration::from_secs(30), |server| {
        let error = one(server, &key, &first)["runs"][0]["recipients"][0]["error"].clone();
        error.as_str().is_some_and(|error| error.contains("cannot be reached"))
    });
    // It stops in time while a letter is on its way: the harness sees to that.
    let third = create(&server, &key, &json!({ "name": "Weekly", "recipients": [DESK] }));
    let before = receiver.ignored();
    ask(&server, &key, &third);
    until(Duration::from_secs(30), || "no letter is on its way".to_owned(), || receiver.ignored() > before);
}

#[test]
fn commands_do_the_same() {
    let receiver = Receiver::start(Manners { wrapped: true, ..Manners::default() });
    let database = Database::sample();
    let config = settings(&database, &receiver, |text| text.replace("\"starttls\"", "\"tls\""));
    let run = |args: &[&str]| database.run(&[args, &["--partner", "PA_ONE", "--config", &config]].concat());
    let made = run(&[
        "schedule",
        "create",
        "--name",
        "Nightly",
        "--cron",
        "0 2 * * *",
        "--zone",
        "europe/berlin",
        "--to",
        DESK,
        "--to",
        BOSS,
        "--check",
        "unrouted,expired",
        "--json",
    ])
    .done()
    .json();
    let id = made["id"].as_str().expect("an id");
    assert_eq!((&made["zone"], &made["checks"]), (&json!("Europe/Berlin"), &json!(["unrouted", "expired"])));
    assert_eq!(made["next_runs"].as_array().map(Vec::len), Some(3));
    let sent = run(&["schedule", "run", id, "--json"]).done().json();
    assert_eq!((&sent["why"], &sent["findings"]), (&json!("asked"), &json!(3)));
    assert_eq!(receiver.wait(2).len(), 2);
    receiver.manners(|manners| manners.refused = vec![BOSS.to_owned()]);
    let some = run(&["schedule", "run", id]).check(3).stdout;
    assert!(some.contains("no such user") && some.contains("sent"), "{some}");
    let shown = run(&["schedule", "show", id]).done().stdout;
    for part in ["next runs", "last run", DESK, "failed"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    assert!(run(&["schedule", "list"]).done().stdout.contains("Nightly"));
    run(&["schedule", "edit", id]).check(2);
    let refused = run(&["schedule", "edit", id, "--cron", "0 0 30 2 *", "--to", "nobody"]).check(1).stderr;
    assert!(refused.contains("never happens") && refused.contains("--to nobody"), "{refused}");
    let off = run(&["schedule", "edit", id, "--off", "--to-nobody", "--json"]).done().json();
    assert_eq!((&off["next_runs"], &off["recipients"]), (&json!([]), &json!([])));
    assert!(off["off"]["reason"].as_str().is_some_and(|reason| reason.contains("command:")), "{off}");
    run(&["schedule", "remove", id]).done();
    assert!(run(&["schedule", "show", id]).check(1).stderr.contains(id));
    let next = database.run(&["schedule", "next", "30 2 * * *", "--zone", "Asia/Kolkata"]).done().stdout;
    assert_eq!(next.matches("T02:30:00+05:30").count(), 3, "{next}");

    let test = database.run(&["mail", "test", "--to", DESK, "--config", &config]).done();
    for part in ["connected to", "encrypted", "signed in as rollcall", "queued as TEST1"] {
        assert!(test.stderr.contains(part), "{part:?} is not in {}", test.stderr);
    }
    let refused = database.run(&["mail", "test", "--to", BOSS, "--config", &config, "--json"]).check(1).json();
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("no such user")), "{refused}");
    database.run(&["mail", "test", "--to", "nobody", "--config", &config]).check(2);
    assert!(database.run(&["mail", "test", "--to", DESK]).check(1).stderr.contains("mail.host"));
    for (from, to, part) in [
        ("tls = \"tls\"", "tls = \"tsl\"", "tls"),
        ("127.0.0.1", "mail.example.net\"\ntls = \"none\"\n#", "this machine"),
        ("Rollcall <rollcall@example.com>", "Rollcall", "mail.from"),
    ] {
        let text = std::fs::read_to_string(&config).expect("text").replace(from, to).replace("\ntls = \"tls\"", "\n");
        let text = if part == "tls" { text } else { text.replace("tsl", "tls") };
        let bad = database.write("bad.toml", &text).display().to_string();
        let refused = database.run(&["config", "check", "--config", &bad]).check(78).stderr;
        assert!(refused.contains(part), "{part:?} is not in {refused}");
    }
}

#[test]
fn what_is_asked_for_is_read_strictly_and_for_one_partner() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let other = database.key("PA_TWO", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let post = |body: Value| server.request("POST", SCHEDULES).auth(&key).json(&body);
    for (body, expected) in [
        (json!({}), "name MISSING"),
        (json!({ "name": "" }), "name INVALID"),
        (json!({ "name": "x", "cron": "0 9 * *" }), "cron INVALID"),
        (json!({ "name": "x", "cron": "0 0 30 2 *" }), "cron INVALID"),
        (json!({ "name": "x", "zone": "Berlin" }), "zone INVALID"),
        (json!({ "name": "x", "recipients": "desk@example.net" }), "recipients INVALID"),
        (json!({ "name": "x", "recipients": [DESK, "a@b\r\nBcc: c@d.net"] }), "recipients[1] INVALID"),
        (json!({ "name": "x", "checks": ["nonsense"] }), "checks[0] INVALID"),
        (json!({ "name": "x", "within": "soon" }), "within INVALID"),
        (json!({ "name": "x", "within": "1s" }), "within OUT_OF_RANGE"),
        (json!({ "name": "x", "report": "never" }), "report INVALID"),
        (json!({ "name": "x", "alerts": "yes" }), "alerts INVALID"),
        (json!({ "name": "x", "to": [DESK] }), "to UNKNOWN"),
        (json!({ "name": "x", "off": true }), "off UNKNOWN"),
    ] {
        assert_eq!(post(body.clone()).check(422).fields(), [expected], "{body}");
    }
    let made = post(json!({ "name": "Weekly" })).header("Idempotency-Key", "a").check(201);
    let again = post(json!({ "name": "Weekly" })).header("Idempotency-Key", "a").check(201);
    assert_eq!(made.json(), again.json());
    let view = &made.json()["data"];
    assert_eq!((&view["cron"], &view["zone"], &view["within"]), (&json!("0 9 * * 1"), &json!("UTC"), &json!("14d")));
    let id = view["id"].as_str().expect("an id");
    let list = server.get(SCHEDULES).auth(&key).check(200).json();
    assert_eq!(list["meta"], json!({ "total": 1, "page": 1, "per_page": 20 }));

    // Another partner's is as unknown as one that nobody has.
    assert_eq!(server.get(SCHEDULES).auth(&other).check(200).json()["meta"]["total"], 0);
    let place = format!("{SCHEDULES}/{id}");
    for (method, tail, body) in
        [("GET", "", None), ("PATCH", "", Some(json!({ "name": "x" }))), ("DELETE", "", None), ("POST", "/run", None)]
    {
        let send = |place: &str, key: &Key| {
            let request = server.request(method, &format!("{place}{tail}")).auth(key);
            match &body {
                Some(body) => request.json(body).send(),
                None => request.send(),
            }
        };
        let (foreign, nobodys) = (send(&place, &other), send(&format!("{SCHEDULES}/sc_000000000000"), &other));
        assert_eq!(foreign.status, 404);
        assert_eq!(foreign.masked(), nobodys.masked());
        assert_eq!(send(&place, &ONE).status, 403, "a key that may only read");
    }
    let edit = |body: Value| server.request("PATCH", &place).auth(&key).json(&body);
    assert_eq!(edit(json!({})).check(422).fields(), ["name MISSING"]);
    let off = edit(json!({ "off": true })).check(200).json();
    assert!(off["data"]["off"]["reason"].as_str().is_some_and(|reason| reason.contains(&key.key_id)), "{off}");
    assert_eq!(off["data"]["next_runs"], json!([]));
    let on = edit(json!({ "off": false, "zone": "Asia/Kolkata", "cron": "30 8 * * MON-FRI" })).check(200).json();
    assert!(on["data"]["next_runs"][0]["local"].as_str().is_some_and(|local| local.ends_with("T08:30:00+05:30")));
    // What happened to it is in the log, with who did it.
    let changes = server.get("/api/v1/partner/changes?per_page=100").auth(&key).check(200);
    assert!(changes.text().contains("schedule_create") && changes.text().contains("schedule_edit"));

    let preview = |query: &str| server.get(&format!("{SCHEDULES}/preview?{query}")).auth(&key);
    let runs = preview("cron=30+2+*+*+*&zone=asia/kolkata").check(200).json()["data"].clone();
    assert_eq!((keys(&runs), &runs["zone"]), (vec!["cron", "zone", "next_runs"], &json!("Asia/Kolkata")));
    assert_eq!(preview("cron=x&zone=y").check(422).fields(), ["cron INVALID", "zone INVALID"]);
    assert_eq!(preview("crom=x").check(422).fields(), ["crom UNKNOWN"]);
    assert_eq!(preview("zone=UTC&zone=UTC").check(422).fields(), ["zone REPEATED"]);

    server.request("DELETE", &place).auth(&key).check(200);
    server.request("DELETE", &place).auth(&key).check(404);
    for at in 0..50 {
        post(json!({ "name": format!("{at}") })).check(201);
    }
    assert_ne!(post(json!({ "name": "one too many" })).send().status, 201);
}

#[test]
fn the_documented_examples_work() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let document: Value = server.get("/openapi.json").check(200).json();
    let id = create(&server, &key, &json!({ "name": "Weekly", "recipients": [DESK] }));
    let mut tried = 0;
    for (path, method) in [
        (SCHEDULES.to_owned(), "post"),
        (SCHEDULES.to_owned(), "get"),
        (format!("{SCHEDULES}/preview"), "get"),
        (format!("{SCHEDULES}/{{id}}"), "get"),
        (format!("{SCHEDULES}/{{id}}"), "patch"),
        (format!("{SCHEDULES}/{{id}}/run"), "post"),
        (format!("{SCHEDULES}/{{id}}"), "delete"),
    ] {
        let operation = &document["paths"][&path][method];
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let request = server.request(&method.to_uppercase(), &path.replace("{id}", &id)).auth(&key);
        let answer = if body.is_null() { request.send() } else { request.json(body).send() };
        let documented = &operation["responses"][answer.status.to_string()];
        let example = &documented["content"]["application/json"]["example"]["data"];
        let data = &answer.json()["data"];
        let first = |value: &Value| if value.is_array() { value[0].clone() } else { value.clone() };
        assert_eq!(keys(&first(example)), keys(&first(data)), "{method} {path}: {answer:?}");
        tried += 1;
    }
    assert_eq!(tried, 7);
}

// By a clock of the test's.

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// A partner with one account, whose numbers are routed.
struct World {
    database: fixture::Database,
    store: Arc<dyn Store>,
    service: Service,
    key: PartnerKey,
    begin: Time,
}

const ACCOUNT: &str = "MA_1";

impl World {
    fn new() -> World {
        let database = fixture::Database::new();
        let store = database.open();
        let key = fixture::new_partner(&*store, "PA_ONE");
        fixture::put_account(&*store, key, ACCOUNT);
        let application = fixture::application("app_1", None);
        let entry = fixture::entry(Verb::ApplicationCreate);
        let put = fixture::draft(|transaction| {
            Ok(transaction.put_entity(EntityChange::Application(Edit::created(application.clone())))?)
        });
        store.write(WriteTarget::Partner(key), entry, put).expect("written");
        fixture::put(&*store, key, &[fixture::created(33_100_000_000, routed(None))]);
        let service = service(&store);
        World { database, store, service, key, begin: Time::now() }
    }

    fn schedule(&self, wanted: &SchedulePatch) -> String {
        let name = Some("Weekly".into());
        let recipients = wanted.recipients.clone().or_else(|| Some(vec![DESK.to_owned()]));
        let wanted = SchedulePatch { name, recipients, ..wanted.clone() };
        shown(self.service.schedule_create(self.key, &wanted)).id.to_string()
    }

    /// Puts numbers as they shall be.
    fn put(&self, digits: u64, before: Option<Record>, after: Option<Record>) {
        let number = fixture::number(digits);
        fixture::put(&*self.store, self.key, &[NumberChange { number, before, after }]);
    }

    /// Looks every hour, from one hour after the beginning to another.
    fn hours(&self, hours: std::ops::Range<i64>) {
        for hour in hours {
            self.look(self.begin.plus(hour * HOUR));
        }
    }

    fn look(&self, now: Time) -> usize {
        runs_due(&self.service, now).expect("looked")
    }

    /// When each run told, why, and the letter's text.
    fn told(&self) -> Vec<(Time, String, String)> {
        let up = DocumentWalk::Up { after: None };
        let all = self.store.documents(self.key, "mail", up, 1_000).expect("documents");
        let read = |document: &rollcall::store::Document| {
            let delivery: EmailDelivery = serde_json::from_str(&document.body).expect("a delivery");
            let digest = self.store.document(self.key, "digest", &document.id).expect("read").expect("a letter");
            let digest: Value = serde_json::from_str(&digest.body).expect("a letter");
            (delivery.ran.at, delivery.ran.why.to_string(), digest["text"].as_str().expect("text").to_owned())
        };
        let mut told: Vec<_> = all.iter().map(read).collect();
        told.sort();
        told
    }

    fn whys(&self) -> Vec<String> {
        self.told().into_iter().map(|(_, why, _)| why).collect()
    }

    fn view(&self, id: &str, now: Time) -> ScheduleView {
        self.service.schedule(self.key, id, now).expect("a schedule")
    }
}

fn service(store: &Arc<dyn Store>) -> Service {
    let replica = Arc::new(Replica::load(store.clone()).expect("loaded"));
    Service::new(store.clone(), fixture::operator()).replica(replica)
}

#[track_caller]
fn shown(outcome: Result<WriteOutcome, ServiceError>) -> ScheduleView {
    match outcome {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Schedule { view, .. }, .. }) => *view,
        other => panic!("{other:?}"),
    }
}

/// A number that works, until a time.
fn routed(end: Option<Time>) -> Record {
    let application = Some("app_1".parse().expect("an id"));
    Record { application, expires_at: end, ..fixture::held(ACCOUNT) }
}

fn unrouted() -> Record {
    Record { application: None, ..routed(None) }
}

/// Once a year, so that only alerts are told.
fn yearly() -> SchedulePatch {
    let wanted = SchedulePatch { cron: Some("0 9 1 1 *".to_owned()), ..SchedulePatch::default() };
    // Not within the weeks that a test goes through.
    let month = Time::now().plus(180 * DAY).to_string()[5..7].to_owned();
    SchedulePatch { cron: Some(format!("0 9 1 {month} *")), ..wanted }
}

#[test]
fn an_expiring_number_is_told_three_times() {
    let world = World::new();
    let id = world.schedule(&yearly());
    let end = world.begin.plus(20 * DAY + 1_234);
    world.put(33_100_000_001, None, Some(routed(Some(end))));
    // It ends, so that it is told once more, as expired.
    world.hours(0..21 * 24);
    let told = world.told();
    let left: Vec<i64> = told.iter().map(|(at, ..)| (end.seconds() - at.seconds()).div_euclid(HOUR)).collect();
    assert_eq!(told.len(), 4, "{left:?}");
    // At 14 and 7 days with that day's look; at 1 day and at its end within the hour.
    assert!((13 * 24 - 1..=14 * 24).contains(&left[0]), "{left:?}");
    assert!((6 * 24 - 1..=7 * 24).contains(&left[1]), "{left:?}");
    assert!((22..=24).contains(&left[2]) && (-2..=0).contains(&left[3]), "{left:?}");
    assert!(told.iter().all(|(_, why, _)| why == "alert"));
    for ((_, _, text), part) in told.iter().zip(["[NEW]", "[WITHIN 7 DAYS]", "[WITHIN A DAY]", "1 number expired"]) {
        assert!(text.contains(part) && text.contains("+33100000001"), "{part:?} is not in {text}");
    }
    // It looks every hour all the while.
    let looked = world.view(&id, world.begin).state.and_then(|state| state.looked_at).expect("it looked");
    assert!(looked >= world.begin.plus(20 * DAY + 22 * HOUR));
}

#[test]
fn numbers_that_come_near_together_are_one_letter() {
    let world = World::new();
    world.schedule(&yearly());
    for at in 1..=60 {
        world.put(33_100_000_000 + at, None, Some(routed(Some(world.begin.plus(20 * DAY + at as i64 * 60)))));
    }
    world.hours(0..10 * 24);
    let told = world.told();
    assert_eq!(told.len(), 1);
    let text = &told[0].2;
    assert!(text.contains("60 numbers expire within 14 days"), "{text}");
    assert_eq!(text.matches("[NEW]").count(), 50);
    assert!(text.contains("… and 10 more. All of them: rollcall check --partner PA_ONE --check expiring --within 14d"));
}

#[test]
fn what_is_new_is_told_once_and_again_if_it_comes_back() {
    let world = World::new();
    world.schedule(&yearly());
    world.hours(0..5);
    assert_eq!(world.told().len(), 0);
    // Calls fail: within the hour.
    world.put(33_100_000_001, None, Some(unrouted()));
    world.hours(5..60);
    let told = world.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].0 <= world.begin.plus(7 * HOUR) && told[0].2.contains("+33100000001 of MA_1 (MA_1)"));
    // Another: only that one is told.
    world.put(33_100_000_002, None, Some(unrouted()));
    world.hours(60..90);
    let told = world.told();
    assert_eq!(told.len(), 2);
    assert!(told[1].2.contains("+33100000002") && !told[1].2.contains("+33100000001"), "{}", told[1].2);
    assert!(told[1].2.contains("Open in all: 2 numbers with nowhere to go"), "{}", told[1].2);
    // Dealt with, and broken again.
    world.put(33_100_000_001, Some(unrouted()), Some(routed(None)));
    world.hours(90..100);
    world.put(33_100_000_001, Some(routed(None)), Some(unrouted()));
    world.hours(100..130);
    assert_eq!(world.told().len(), 3);
    assert!(world.told()[2].2.contains("+33100000001"));
}

#[test]
fn what_is_acknowledged_is_left_out() {
    let world = World::new();
    world.schedule(&SchedulePatch { report: Some(rollcall::domain::setting::ReportPolicy::Always), ..yearly() });
    world.put(33_100_000_001, None, Some(unrouted()));
    let snapshot = world.service.snapshot(&"PA_ONE".parse::<PartnerId>().expect("an id"), true).expect("a snapshot");
    let findings = rollcall::checks::run(&snapshot, &Default::default(), world.begin);
    let finding = findings.iter().find(|finding| finding.check == Check::Unrouted).expect("unrouted");
    let until = Some(world.begin.plus(30 * HOUR));
    let noted = world.service.acknowledge(world.key, &finding.id(), None, until);
    assert!(matches!(
        noted,
        Ok(WriteOutcome::Done { shown: VerbOutcome::Acknowledgement(Acknowledgement { .. }), .. })
    ));
    world.hours(0..29);
    assert_eq!(world.told().len(), 0);
    // Its time is over: it is news.
    world.hours(29..60);
    assert_eq!(world.whys(), ["alert"]);
}

#[test]
fn a_report_is_weekly_and_missed_ones_are_made_up_for_once() {
    let world = World::new();
    world.put(33_100_000_001, None, Some(unrouted()));
    let id = world.schedule(&SchedulePatch { alerts: Some(false), ..SchedulePatch::default() });
    // Two weeks to the hour have two Mondays, whenever they begin.
    world.hours(0..14 * 24 + 1);
    let told = world.told();
    assert_eq!(world.whys(), ["report", "report"]);
    assert_eq!(told[1].0.seconds() - told[0].0.seconds(), 7 * DAY);
    assert!(told[0].2.contains("[NEW]") && !told[1].2.contains("[NEW]"));
    // Nobody looks for five weeks and an hour.
    let later = world.begin.plus(50 * DAY + HOUR);
    assert_eq!(world.look(later), 1);
    assert_eq!(world.look(later.plus(1)), 0);
    assert_eq!(world.look(later.plus(60)), 0);
    assert_eq!(world.whys().len(), 3);
    let next = world.view(&id, later).state.and_then(|state| state.next).expect("a next run");
    assert!(next > later && next <= later.plus(7 * DAY));
    assert_eq!(world.look(next.plus(-1)), 0);
    assert_eq!(world.look(next), 1);
}

#[test]
fn nothing_found_is_told_only_if_wanted() {
    let world = World::new();
    let quiet = world.schedule(&SchedulePatch { cron: Some("0 * * * *".to_owned()), ..SchedulePatch::default() });
    world.hours(0..5);
    assert_eq!(world.told().len(), 0);
    let last = world.view(&quiet, world.begin).state.and_then(|state| state.last).expect("a run");
    assert!(!last.told && last.findings == 0);
    let always = Some(rollcall::domain::setting::ReportPolicy::Always);
    shown(world.service.schedule_edit(
        world.key,
        &quiet,
        &SchedulePatch { report: always, ..SchedulePatch::default() },
    ));
    world.hours(5..7);
    let told = world.told();
    assert!(!told.is_empty() && told.iter().all(|(_, _, text)| text.contains("found nothing")), "{told:?}");
}

#[test]
fn what_rests_tells_nothing() {
    let world = World::new();
    world.put(33_100_000_001, None, Some(unrouted()));
    let id = world.schedule(&SchedulePatch {
        cron: Some("0 * * * *".to_owned()),
        off: Some(true),
        ..SchedulePatch::default()
    });
    world.hours(0..50);
    assert_eq!(world.told().len(), 0);
    // It may be asked for, and goes on resting.
    shown(world.service.schedule_ask(world.key, &id));
    world.hours(50..80);
    assert_eq!(world.whys(), ["asked"]);
    shown(world.service.schedule_edit(world.key, &id, &SchedulePatch { off: Some(false), ..SchedulePatch::default() }));
    let partner: PartnerId = "PA_ONE".parse().expect("an id");
    world.service.partner_suspend(&partner, true).expect("suspended");
    world.hours(80..100);
    assert_eq!(world.told().len(), 1, "a suspended partner is told nothing");
    world.service.partner_suspend(&partner, false).expect("resumed");
    world.hours(100..103);
    assert!(world.told().len() > 1);
    world.service.schedule_remove(world.key, &id).expect("removed");
    assert_eq!(world.told().len(), 0, "letters of what is gone are not kept");
    world.hours(103..110);
    assert_eq!(world.told().len(), 0);
}

#[test]
fn two_nodes_make_each_run_once() {
    let world = World::new();
    world.put(33_100_000_001, None, Some(unrouted()));
    let always = Some(rollcall::domain::setting::ReportPolicy::Always);
    world.schedule(&SchedulePatch {
        cron: Some("*/30 * * * *".to_owned()),
        report: always,
        ..SchedulePatch::default()
    });
    let path = world.database.path();
    // Far from the ends of half hours, since clocks are not alike.
    let begin = fixture::time(world.begin.seconds().div_euclid(1_800) * 1_800 + 900);
    const RUNS: i64 = 12;
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for node in 0..3 {
            let (path, barrier) = (&path, &barrier);
            scope.spawn(move || {
                let store = fixture::open(path, rollcall::store::Open::Existing);
                let service = service(&store);
                for run in 1..=RUNS {
                    barrier.wait();
                    for _ in 0..4 {
                        // Their clocks do not agree.
                        runs_due(&service, begin.plus(run * 1_800 + node)).expect("looked");
                    }
                }
            });
        }
    });
    assert_eq!(world.told().len(), RUNS as usize, "{:?}", world.whys());
}

#[test]
fn one_of_two_nodes_looks_and_sends_and_the_other_takes_over() {
    let receiver = Receiver::start(Manners::default());
    let world = World::new();
    world.put(33_100_000_001, None, Some(unrouted()));
    let always = Some(rollcall::domain::setting::ReportPolicy::Always);
    let half_hours = Some("*/30 * * * *".to_owned());
    world.schedule(&SchedulePatch {
        cron: half_hours,
        report: always,
        alerts: Some(false),
        ..SchedulePatch::default()
    });
    let begin = world.begin.seconds().div_euclid(1_800) * 1_800;
    let clock = Arc::new(AtomicI64::new(begin));
    // The second's clock is a second ahead, so runs tell whose they are.
    let node = |name: &str, ahead: i64| {
        let store = world.database.open();
        let leases = Leases::named(store.clone(), name, Duration::from_secs(1));
        let service = service(&store).leases(leases);
        let clock = clock.clone();
        let now = move || fixture::time(clock.load(Ordering::SeqCst) + ahead);
        ScheduleRunner::start(&service, Some(mailer(&receiver, &world)), Arc::new(now))
    };
    let runs = || {
        let up = DocumentWalk::Up { after: None };
        let all = world.store.documents(world.key, "mail", up, 1_000).expect("documents");
        let delivery = |document: &rollcall::store::Document| serde_json::from_str(&document.body).expect("a delivery");
        let mut all: Vec<EmailDelivery> = all.iter().map(delivery).collect();
        all.sort_by_key(|delivery| delivery.ran.at);
        all
    };
    let sent = |delivery: &EmailDelivery| delivery.recipients.iter().all(|one| one.state == Sending::Sent);
    let run = |count: i64| {
        clock.store(begin + count * 1_800 + 60, Ordering::SeqCst);
        until(
            Duration::from_secs(30),
            || format!("run {count} is not made: {:?}", runs()),
            || runs().len() >= count as usize && runs().iter().all(sent),
        );
    };
    // One that died has it until its time is over.
    assert!(world.store.lease("schedules", "dead", 3).expect("a lease").held());
    let died = Instant::now();
    let first = node("first", 0);
    run(1);
    assert!((1..20).contains(&died.elapsed().as_secs()), "{:?}", died.elapsed());
    let second = node("second", 1);
    (2..=4).for_each(&run);
    first.stop();
    (5..=7).for_each(&run);
    second.stop();
    let whose: Vec<i64> = runs().iter().map(|delivery| delivery.ran.at.seconds() % 2).collect();
    assert_eq!(whose, [0, 0, 0, 0, 1, 1, 1], "each run once");
    assert_eq!(receiver.taken().len(), 7, "each letter once");
}

#[test]
fn who_died_while_looking_or_sending_holds_nobody_up_for_long() {
    let receiver = Receiver::start(Manners::default());
    let world = World::new();
    let mailer = mailer(&receiver, &world);
    let id = world.schedule(&yearly());
    world.put(33_100_000_001, None, Some(unrouted()));
    let now = world.begin.plus(2 * HOUR);
    let leased = |what: &str| {
        // As long as one that was claimed lasts, but for the waiting.
        assert!(world.store.lease(what, "dead", 1).expect("a lease").held());
    };
    leased(&format!("schedule:{}:{id}", world.key));
    assert_eq!(world.look(now), 0);
    until(Duration::from_secs(20), || "the lease of a dead node lasts".to_owned(), || world.look(now) == 1);
    let run =
        world.store.documents(world.key, "mail", DocumentWalk::Up { after: None }, 10).expect("read").remove(0).id;
    leased(&format!("mail:{}:{run}", world.key));
    assert_eq!(letters_due(&world.service, Some(&mailer), now).expect("nothing"), 0);
    let sent = || letters_due(&world.service, Some(&mailer), now).expect("sent") == 1;
    until(Duration::from_secs(20), || "the lease of a dead node lasts".to_owned(), sent);
}

fn mailer(receiver: &Receiver, world: &World) -> Mailer {
    let write = |name: &str, text: &str| {
        let path = world.database.file(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let settings = MailSettings {
        host: "127.0.0.1".to_owned(),
        port: receiver.address.port(),
        tls: MailTls::StartTls,
        user: USER.to_owned(),
        password_file: write("password", PASSWORD),
        from: "rollcall@example.com".to_owned(),
        ca_file: write("ca.pem", &receiver.pem),
        timeout: Duration::from_secs(10),
    };
    Mailer::open(&settings).expect("usable")
}

#[test]
fn a_letter_is_tried_again_and_what_was_sent_is_not_sent_again() {
    let busy = [(BOSS.to_owned(), 2)].into();
    let receiver = Receiver::start(Manners { busy, ..Manners::default() });
    let world = World::new();
    let mailer = mailer(&receiver, &world);
    let recipients = Some(vec![BOSS.to_owned(), DESK.to_owned()]);
    let id = world.schedule(&SchedulePatch { recipients, ..yearly() });
    world.put(33_100_000_001, None, Some(unrouted()));
    let now = world.begin.plus(2 * HOUR);
    assert_eq!(world.look(now), 1);
    assert_eq!(letters_due(&world.service, Some(&mailer), now).expect("sent"), 1);
    let state = |now: Time| {
        let run = world.view(&id, now).runs.into_iter().next().expect("a run");
        run.recipients.into_iter().map(|one| (one.state, one.next, one.error.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(state(now), [(Sending::Waiting, Some(now.plus(60)), true), (Sending::Sent, None, false)]);
    // Another process goes on; it knows what was sent.
    let store = world.database.open();
    let next = service(&store);
    assert_eq!(letters_due(&next, Some(&mailer), now.plus(59)).expect("nothing"), 0);
    assert_eq!(letters_due(&next, Some(&mailer), now.plus(60)).expect("tried"), 0);
    assert_eq!(state(now)[0].1, Some(now.plus(360)));
    assert_eq!(letters_due(&next, Some(&mailer), now.plus(360)).expect("sent"), 1);
    assert_eq!(state(now), [(Sending::Sent, None, false), (Sending::Sent, None, false)]);
    assert_eq!(letters_due(&next, Some(&mailer), now.plus(DAY)).expect("nothing"), 0);
    let to: Vec<Vec<String>> = receiver.taken().into_iter().map(|taken| taken.to).collect();
    assert_eq!(to, [[DESK], [BOSS]]);
    // The letter itself is let go of.
    assert!(store.documents(world.key, "digest", DocumentWalk::Up { after: None }, 10).expect("read").is_empty());
}

#[test]
fn who_is_no_longer_a_recipient_is_not_written_to() {
    let busy = [(DESK.to_owned(), 1)].into();
    let receiver = Receiver::start(Manners { busy, ..Manners::default() });
    let world = World::new();
    let mailer = mailer(&receiver, &world);
    let id = world.schedule(&yearly());
    world.put(33_100_000_001, None, Some(unrouted()));
    let now = world.begin.plus(2 * HOUR);
    world.look(now);
    letters_due(&world.service, Some(&mailer), now).expect("tried");
    let nobody = SchedulePatch { recipients: Some(Vec::new()), ..SchedulePatch::default() };
    shown(world.service.schedule_edit(world.key, &id, &nobody));
    letters_due(&world.service, Some(&mailer), now.plus(60)).expect("tried");
    assert!(receiver.taken().is_empty());
    let run = world.view(&id, now).runs.into_iter().next().expect("a run");
    assert_eq!(run.recipients[0].state, Sending::Failed);
}

#[test]
fn letters_are_sent_once_however_many_send() {
    let receiver = Receiver::start(Manners::default());
    let world = World::new();
    let mailer = mailer(&receiver, &world);
    let recipients: Vec<String> = (0..20).map(|at| format!("r{at}@example.net")).collect();
    world.schedule(&SchedulePatch { recipients: Some(recipients), ..yearly() });
    world.put(33_100_000_001, None, Some(unrouted()));
    let now = world.begin.plus(2 * HOUR);
    world.look(now);
    let path = world.database.path();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = fixture::open(&path, rollcall::store::Open::Existing);
                let service = service(&store);
                for _ in 0..60 {
                    letters_due(&service, Some(&mailer), now).expect("sent");
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    letters_due(&world.service, Some(&mailer), now).expect("sent");
    let mut to: Vec<String> = receiver.taken().into_iter().flat_map(|taken| taken.to).collect();
    assert_eq!(to.len(), 20);
    to.sort();
    to.dedup();
    assert_eq!(to.len(), 20);
}

#[test]
fn names_are_text_wherever_they_are_shown() {
    let receiver = Receiver::start(Manners::default());
    let database = fixture::Database::new();
    let store = database.open();
    let service = Service::new(store.clone(), fixture::operator());
    let partner: PartnerId = "PA_X".parse().expect("an id");
    let name = "Büro <script>alert(1)</script> & Söhne\u{202e}";
    service.partner_create(partner.clone(), name.into()).expect("created");
    let key = service.partner_key(&partner).expect("a key");
    service.account_new(key, &"MA_<b>".parse().expect("an id"), &"<img src=x>".into()).expect("created");
    let wanted =
        SchedulePatch { name: Some("<i>".into()), recipients: Some(vec![DESK.to_owned()]), ..SchedulePatch::default() };
    let id = shown(service.schedule_create(key, &wanted)).id;
    let world = World { database, store, service, key, begin: Time::now() };
    let now = world.begin.plus(1);
    world.service.schedule_step(key, &id, now, true).expect("ran");
    assert_eq!(letters_due(&world.service, Some(&mailer(&receiver, &world)), now).expect("sent"), 1);
    let letter = Part::parse(&receiver.wait(1)[0].data);
    assert_eq!(
        letter.words("subject"),
        "Rollcall: 1 customer without an active number (Büro <script>alert(1)</script> & Söhne )"
    );
    let html = letter.leaf("text/html");
    for part in ["<script", "<img", "<b>", "<i>", "\u{202e}"] {
        assert!(!html.contains(part), "{part:?} is in {html}");
    }
    assert!(html.contains("&lt;img src=x&gt; (MA_&lt;b&gt;)"), "{html}");
}
