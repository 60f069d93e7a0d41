//! What numbers cost and what is invoiced, by the real program: over imports,
//! the management API and its undo, and over a past made through the store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use rollcall::domain::change::Edit;
use rollcall::domain::setting::{AfterExpiry, BILLING, Billing, BillingChoice};
use rollcall::domain::{Choice, E164, EntityChange, NumberChange, PartnerKey, Record, Setting, State, Time, Verb};
use rollcall::store::{LogEntry, Replayed, Store, WriteTarget};
use serde_json::{Value, json};

use crate::fixture;
use crate::harness::{Answer, Database, Key, ONE, Ran, SEED, Server, TWO, keys, run};
use crate::pages::Pages;

const COSTS: &str = "/api/v1/partner/costs";

fn data(answer: &Answer) -> Vec<Value> {
    answer.json()["data"].as_array().expect("a list").clone()
}

/// `account currency total` of each group.
fn totals(answer: &Answer) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let row =
        |group: &Value| format!("{} {} {}", text(&group["account_auth_id"]), text(&group["currency"]), group["total"]);
    data(answer).iter().map(row).collect()
}

#[test]
fn a_month_of_the_specifications_sample() {
    let server = Server::sample();
    let get = |query: &str| server.get(&format!("{COSTS}?{query}")).auth(&SEED).check(200);
    let answer = get("month=2026-02");
    // Amounts have their currency's decimals, to the byte.
    let line = r#"{"number":"+912271264217","from":"2026-02-01","until":"2026-02-28","days":28,"rate":500.00,"amount":500.00,"expired_on":null}"#;
    let start = format!(
        r#"{{"data":[{{"account_auth_id":"MA_48149cf4","account_name":"Credresolve","currency":"INR","total":1500.00,"lines":[{line},"#
    );
    assert!(answer.text().starts_with(&start), "{}", answer.text());
    let end = concat!(
        r#"]}],"meta":{"total":2,"page":1,"per_page":20,"month":"2026-02","through":"2026-02-28","proration":"full","#,
        r#""after_expiry":"charge","zone":"UTC","begins_at":"2026-02-01T00:00:00Z","ends_at":"2026-03-01T00:00:00Z","#,
        r#""draft":false,"totals":[{"currency":"INR","amount":73500.00}]}}"#
    );
    assert!(answer.text().ends_with(end), "{}", answer.text());
    // The others were assigned on January 15: half of January, by the days.
    let january = get("month=2026-01&proration=days");
    let groups = data(&january);
    assert_eq!(groups.len(), 1);
    assert_eq!((&groups[0]["lines"][0]["days"], &groups[0]["lines"][0]["amount"]), (&json!(17), &json!(274.19)));
    assert!(january.text().contains(r#""total":39483.36"#), "144 lines of 274.19: {}", january.text());
    assert_eq!(data(&get("month=2025-12")), Vec::<Value>::new());

    // One account, a page of groups, and the whole as a stream.
    let one = get("month=2026-02&account_auth_id=MA_48149cf4");
    assert_eq!(data(&one), data(&answer)[..1]);
    assert_eq!(one.json()["meta"]["totals"], json!([{ "currency": "INR", "amount": 1500.00 }]));
    assert_eq!(data(&get("month=2026-02&account_auth_id=MA_none")), Vec::<Value>::new());
    let second = get("month=2026-02&page=2&per_page=1");
    assert_eq!((data(&second), &second.json()["meta"]["total"]), (data(&answer)[1..].to_vec(), &json!(2)));
    assert_eq!(data(&get("month=2026-02&page=9&per_page=1")), Vec::<Value>::new());
    let stream = |accept: &str| {
        server.get(&format!("{COSTS}?month=2026-02")).auth(&SEED).header("Accept", accept).check(200).text().to_owned()
    };
    let csv = stream("text/csv");
    assert_eq!(csv.lines().count(), 148);
    assert_eq!(
        csv.lines().nth(1),
        Some("MA_48149cf4,Credresolve,+912271264217,2026-02-01,2026-02-28,28,500.00,500.00,INR,")
    );
    let rows: Vec<Value> =
        stream("application/x-ndjson").lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(rows.len(), 147);
    assert_eq!(keys(&rows[0]).join(","), csv.lines().next().expect("a header"));
}

#[test]
fn currencies_are_apart_and_tenants_too() {
    let server = Server::sample();
    let one = server.get(&format!("{COSTS}?month=2026-03")).auth(&ONE).check(200);
    // Suspended and expired numbers are held; stock and reservations are not.
    assert_eq!(
        totals(&one),
        [
            "MA_1 INR 1750.0",
            "MA_1 NZD 10.0",
            "MA_1 USD 1.5",
            "MA_2 INR 250.0",
            "MA_2 JPY 500",
            "MA_2 KWD 1.25",
            "MA_3 EUR 0.0"
        ]
    );
    assert!(one.text().contains(r#""currency":"KWD","amount":1.250"#), "{}", one.text());
    let two = server.get(&format!("{COSTS}?month=2026-03")).auth(&TWO).check(200);
    assert_eq!(totals(&two), ["MA_1 EUR 6.0", "MA_Secundus EUR 3.0"]);
    // The bill that is kept from the last question is not given to others.
    for _ in 0..2 {
        for (key, expected) in [(&ONE, &one), (&TWO, &two)] {
            let again = server.get(&format!("{COSTS}?month=2026-03")).auth(key).check(200);
            assert_eq!(again.text(), expected.text());
        }
    }
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let server = Server::sample();
    for (query, expected) in [
        ("", "month MISSING"),
        ("month=", "month INVALID"),
        ("month=2026-2", "month INVALID"),
        ("month=2026-02-01", "month INVALID"),
        ("month=9998-01", "month OUT_OF_RANGE"),
        ("month=2026-02&month=2026-02", "month REPEATED"),
        ("month=2026-02&proration=half", "proration INVALID"),
        ("month=2026-02&page=0", "page OUT_OF_RANGE"),
        ("month=2026-02&per_page=101", "per_page OUT_OF_RANGE"),
        ("month=2026-02&status=active", "status UNKNOWN"),
    ] {
        let answer = server.get(&format!("{COSTS}?{query}")).auth(&ONE).check(422);
        assert_eq!(answer.fields(), [expected], "{query}");
    }
    server.get(&format!("{COSTS}?month=2026-02")).check(401);
    server.get(&format!("{COSTS}?month=2026-02&account_auth_id=&proration=")).auth(&ONE).check(200);
}

/// A line of today, if the number has one: its account, days and amount.
fn today(server: &Server, key: &Key, number: &str) -> Option<(String, u64, String)> {
    let month = &jiff::Timestamp::now().to_string()[..7];
    let answer = server.get(&format!("{COSTS}?month={month}")).auth(key).check(200);
    data(&answer).iter().find_map(|group| {
        let lines = group["lines"].as_array().expect("lines");
        let line = lines.iter().find(|line| line["number"] == number)?;
        let account = group["account_auth_id"].as_str().expect("an account").to_owned();
        Some((account, line["days"].as_u64().expect("days"), line["amount"].to_string()))
    })
}

#[test]
fn verbs_and_undo_show_in_the_costs_of_this_month() {
    let database = crate::harness::Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let number = "+442079460105";
    let post = |path: &str, body: Value| server.request("POST", path).auth(&key).json(&body).send();
    let verb = |verb: &str, body: Value| {
        post(&format!("/api/v1/manage/numbers/{number}/{verb}"), body).check(200).json()["data"]["version"].clone()
    };
    let undo = |version: &Value| post(&format!("/api/v1/manage/changes/{version}/undo"), json!({})).check(200);
    let held = |account: &str, amount: &str| Some((account.to_owned(), 1, amount.to_owned()));
    assert_eq!(today(&server, &key, number), None);
    let assigned = verb("assign", json!({ "account_auth_id": "MA_1", "monthly_cost": 7.25, "currency": "GBP" }));
    assert_eq!(today(&server, &key, number), held("MA_1", "7.25"));
    verb("suspend", json!({}));
    assert_eq!(today(&server, &key, number), held("MA_1", "7.25"), "suspended is held");
    verb("cost", json!({ "monthly_cost": 8, "currency": "GBP" }));
    assert_eq!(today(&server, &key, number), held("MA_1", "8.0"), "the day has the rate of its end");
    let released = verb("release", json!({ "confirm_last": true }));
    assert_eq!(today(&server, &key, number), None, "given back on the same day");
    undo(&released);
    assert_eq!(today(&server, &key, number), held("MA_1", "8.0"));
    let transferred = verb("transfer", json!({ "account_auth_id": "MA_2" }));
    assert_eq!(today(&server, &key, number), held("MA_2", "8.0"), "the day is that of who has it at its end");
    undo(&transferred);
    assert_eq!(today(&server, &key, number), held("MA_1", "8.0"));
    assert_ne!(assigned, released);

    // The tag changes with the log, and not without it.
    let month = &jiff::Timestamp::now().to_string()[..7];
    let target = format!("{COSTS}?month={month}");
    let tag = |server: &Server| server.get(&target).auth(&key).check(200).header("etag").expect("a tag").to_owned();
    let before = tag(&server);
    server.get(&target).auth(&key).header("If-None-Match", &before).check(304);
    verb("resume", json!({}));
    assert_ne!(tag(&server), before);
    server.get(&target).auth(&key).header("If-None-Match", &before).check(200);
}

/// A partner with a past.
struct Past {
    database: fixture::Database,
    store: Arc<dyn Store>,
    key: PartnerKey,
}

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

impl Past {
    fn new() -> Past {
        let database = fixture::Database::chosen();
        let store = database.open();
        let key = fixture::new_partner(&*store, "PA_PAST");
        for account in ["MA_1", "MA_2", "MA_<b>"] {
            fixture::put_account(&*store, key, account);
        }
        Past { database, store, key }
    }

    /// One entry of this time.
    fn put(&self, at: &str, changes: &[(u64, Option<Record>, Option<Record>)]) {
        let changes: Vec<NumberChange> = changes
            .iter()
            .map(|(digits, before, after)| NumberChange {
                number: fixture::number(*digits),
                before: before.clone(),
                after: after.clone(),
            })
            .collect();
        let entry = LogEntry { at: time(at), ..fixture::entry(Verb::Import) };
        let write = fixture::draft(|transaction| Ok(transaction.put_numbers(&changes)?));
        self.store.write(WriteTarget::Partner(self.key), entry, write).expect("written");
    }

    /// What the partner chose for its bills, each at its time.
    fn choose(&self, choices: &[(&str, &str, AfterExpiry)]) {
        let mut before: Option<Setting> = None;
        for until in 1..=choices.len() {
            let choice = |(at, zone, after_expiry): &(&str, &str, AfterExpiry)| BillingChoice {
                chosen_at: time(at),
                zone: (*zone).into(),
                after_expiry: *after_expiry,
            };
            let at = time(choices[until - 1].0);
            let choice = Choice::Billing(Billing { choices: choices[..until].iter().map(choice).collect() });
            let after = Setting { id: BILLING.into(), created_at: at, removed_at: None, choice };
            let entry = LogEntry { at, ..fixture::entry(Verb::SettingsEdit) };
            let change = EntityChange::Setting(Edit { before: before.clone(), after: after.clone() });
            let write = fixture::draft(|transaction| Ok(transaction.put_entity(change.clone())?));
            self.store.write(WriteTarget::Partner(self.key), entry, write).expect("written");
            before = Some(after);
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args), "")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(args).args(["--partner", "PA_PAST"]).env_remove("ROLLCALL_CONFIG");
        command.env("ROLLCALL_DATABASE", self.database.address());
        command
    }

    fn costs(&self, month: &str, flags: &[&str]) -> Ran {
        self.run(&[&["costs", "--month", month], flags].concat()).done()
    }

    /// Lines as CSV has them, without their header and the accounts' names.
    fn lines(&self, month: &str, flags: &[&str]) -> Vec<String> {
        let csv = self.costs(month, &[&["--format", "csv"], flags].concat()).stdout;
        let short = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            [&cells[..1], &cells[2..]].concat().join(" ").trim_end().to_owned()
        };
        csv.lines().skip(1).map(short).collect()
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.database.file(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    }
}

fn held(account: &str, since: &str, minor: i64) -> Record {
    let cost = Some(fixture::money(minor, "EUR"));
    Record { assigned_at: Some(time(since)), since: time(since), cost, ..fixture::held(account) }
}

const A: u64 = 442_079_460_001;
const B: u64 = 442_079_460_002;

#[test]
fn last_march_stays_last_march() {
    let past = Past::new();
    let first = held("MA_1", "2026-03-03T10:00:00Z", 3_100);
    past.put("2026-03-05T00:00:00Z", &[(A, None, Some(first.clone()))]);
    let moved = held("MA_2", "2026-03-10T09:00:00Z", 3_100);
    past.put("2026-03-10T09:00:00Z", &[(A, Some(first), Some(moved.clone()))]);
    let dearer = Record { cost: Some(fixture::money(6_200, "EUR")), ..moved.clone() };
    past.put("2026-03-16T23:00:00Z", &[(A, Some(moved), Some(dearer.clone()))]);
    past.put("2026-03-20T01:00:00Z", &[(A, Some(dearer.clone()), None)]);
    let days = [
        "MA_1 +442079460001 2026-03-03 2026-03-09 7 31.00 7.00 EUR",
        "MA_2 +442079460001 2026-03-10 2026-03-15 6 31.00 6.00 EUR",
        "MA_2 +442079460001 2026-03-16 2026-03-19 4 62.00 8.00 EUR",
    ];
    let full = [
        "MA_1 +442079460001 2026-03-03 2026-03-09 7 31.00 31.00 EUR",
        "MA_2 +442079460001 2026-03-10 2026-03-15 6 31.00 31.00 EUR",
        "MA_2 +442079460001 2026-03-16 2026-03-19 4 62.00 0.00 EUR",
    ];
    let check = || {
        assert_eq!(past.lines("2026-03", &["--proration", "days"]), days);
        assert_eq!(past.lines("2026-03", &[]), full);
    };
    check();
    let json = past.costs("2026-03", &["--format", "json"]);
    assert_eq!(json.json()["meta"]["totals"], json!([{ "currency": "EUR", "amount": 62.0 }]));
    // All that comes later, even where it speaks of March.
    past.put("2026-04-02T00:00:00Z", &[(A, None, Some(dearer.clone()))]);
    past.put("2026-04-03T00:00:00Z", &[(A, Some(dearer), None)]);
    check();
    assert_eq!(
        past.lines("2026-04", &["--proration", "days"]),
        ["MA_2 +442079460001 2026-04-02 2026-04-02 1 62.00 2.07 EUR"]
    );
    // But who was never heard of before had a number in March.
    past.put("2026-05-01T00:00:00Z", &[(B, None, Some(held("MA_1", "2026-03-31T23:59:59Z", 100)))]);
    let line = "MA_1 +442079460002 2026-03-31 2026-03-31 1 1.00 1.00 EUR".to_owned();
    assert!(past.lines("2026-03", &[]).contains(&line));
    assert_eq!(past.lines("2026-04", &["--account", "MA_1"]).len(), 1);
    assert_eq!(fixture::differences(&*past.store), Vec::<String>::new());
}

#[test]
fn months_and_days_are_those_of_the_partners_zone() {
    let past = Past::new();
    past.choose(&[("2026-01-10T00:00:00Z", "Asia/Kolkata", AfterExpiry::Charge)]);
    // The first of March there, at half past one in the night.
    past.put("2026-02-28T20:00:00Z", &[(A, None, Some(held("MA_1", "2026-02-28T20:00:00Z", 3_100)))]);
    assert_eq!(past.lines("2026-02", &[]), Vec::<String>::new());
    let whole = "MA_1 +442079460001 2026-03-01 2026-03-31 31 31.00 31.00 EUR";
    assert_eq!(
        (past.lines("2026-03", &[]), past.lines("2026-03", &["--proration", "days"])),
        (vec![whole.to_owned()], vec![whole.to_owned()])
    );
    let meta = past.costs("2026-03", &["--format", "json"]).json()["meta"].clone();
    assert_eq!(
        (&meta["zone"], &meta["begins_at"], &meta["ends_at"], &meta["draft"]),
        (&json!("Asia/Kolkata"), &json!("2026-02-28T18:30:00Z"), &json!("2026-03-31T18:30:00Z"), &json!(false))
    );
    // The month of the change began where the last one of UTC ended.
    let january = past.costs("2026-01", &["--format", "json"]).json()["meta"].clone();
    let february = past.costs("2026-02", &["--format", "json"]).json()["meta"].clone();
    assert_eq!((&january["zone"], &january["ends_at"]), (&json!("UTC"), &json!("2026-02-01T00:00:00Z")));
    assert_eq!((&february["zone"], &february["begins_at"]), (&json!("Asia/Kolkata"), &json!("2026-02-01T00:00:00Z")));
    assert_eq!(february["ends_at"], meta["begins_at"]);
    let html = past.costs("2026-02", &["--format", "html"]).stdout;
    assert!(html.contains("The zone is new: the month begins at 2026-02-01T00:00:00Z"), "{html}");
    // A call in the night belongs to the month of the zone as well.
    let calls = [
        record(1, "2026-03-31T18:29:59Z", true, A, "1"),
        record(2, "2026-03-31T18:30:00Z", true, A, "2"),
        record(3, "2026-02-28T20:00:00Z", true, A, "4"),
    ];
    let file = past.file("calls.ndjson", calls.join("\n"));
    let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--json"]).done();
    assert_eq!((&ran.json()["data"][0]["calls"]["amount"], &ran.json()["meta"]["outside"]), (&json!(5.0), &json!(1)));
}

#[test]
fn what_is_charged_after_an_expiry_says_so_or_stops() {
    let past = Past::new();
    let at = "2026-01-05T00:00:00Z";
    let ends = Record { expires_at: Some(time("2026-02-20T10:00:00Z")), ..held("MA_1", at, 2_800) };
    past.put(at, &[(A, None, Some(ends))]);
    past.choose(&[
        ("2026-03-15T00:00:00Z", "UTC", AfterExpiry::Stop),
        ("2026-05-31T23:59:59Z", "UTC", AfterExpiry::Charge),
    ]);
    let check = |month: &str, full: &[&str], days: &[&str]| {
        assert_eq!(past.lines(month, &[]), full, "{month}");
        assert_eq!(past.lines(month, &["--proration", "days"]), days, "{month} by days");
    };
    // The rental month of February 5 began before the end; its days did not all.
    check(
        "2026-02",
        &["MA_1 +442079460001 2026-02-01 2026-02-28 28 28.00 28.00 EUR"],
        &["MA_1 +442079460001 2026-02-01 2026-02-28 28 28.00 28.00 EUR 2026-02-20"],
    );
    let march = ["MA_1 +442079460001 2026-03-01 2026-03-31 31 28.00 28.00 EUR 2026-02-20"];
    check("2026-03", &march, &march);
    check("2026-04", &[], &[]);
    check("2026-05", &[], &[]);
    // Charged again, it begins anew on that day.
    let june = ["MA_1 +442079460001 2026-06-01 2026-06-30 30 28.00 28.00 EUR 2026-02-20"];
    check("2026-06", &june, &june);
    for format in ["table", "html"] {
        let text = past.costs("2026-03", &["--format", format]).stdout;
        assert!(text.contains("charged after it expired on 2026-02-20"), "{text}");
    }
    // Its calls are its holder's all the same.
    let file = past.file("calls.ndjson", record(1, "2026-04-10T00:00:00Z", true, A, "1"));
    let ran = past.run(&["invoice", "--month", "2026-04", "--cdrs", &file, "--json"]).done();
    let invoice = &ran.json()["data"][0];
    assert_eq!((&invoice["account_auth_id"], &invoice["total"]), (&json!("MA_1"), &json!(1.0)));
}

#[test]
fn a_choice_counts_from_the_next_month_through_every_door() {
    let database = crate::harness::Database::sample();
    let key = database.key("PA_SEED", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let shown = || server.get("/api/v1/partner/settings/billing").auth(&SEED).check(200).json()["data"].clone();
    let month = &jiff::Timestamp::now().to_string()[..7];
    let costs = || server.get(&format!("{COSTS}?month={month}")).auth(&SEED).check(200).text().to_owned();
    let before = costs();
    assert_eq!(
        (&shown()["zone"], &shown()["after_expiry"], &shown()["next"]),
        (&json!("UTC"), &json!("charge"), &json!(null))
    );
    let choose = |body: Value| server.request("PATCH", "/api/v1/manage/settings/billing").auth(&key).json(&body).send();
    for (body, expected) in [
        (json!({}), "zone MISSING"),
        (json!({ "zone": "Berlin" }), "zone INVALID"),
        (json!({ "after_expiry": "never" }), "after_expiry INVALID"),
        (json!({ "zone": "UTC", "since": "now" }), "since UNKNOWN"),
    ] {
        assert_eq!(choose(body.clone()).check(422).fields()[0], expected, "{body}");
    }
    let chosen = choose(json!({ "zone": "asia/kolkata", "after_expiry": "stop" })).check(200).json()["data"].clone();
    assert_eq!(chosen, shown());
    assert_eq!((&chosen["zone"], &chosen["month"]), (&json!("UTC"), &json!(month)));
    assert_eq!((&chosen["next"]["zone"], &chosen["next"]["begins_at"]), (&json!("Asia/Kolkata"), &chosen["ends_at"]));
    assert_eq!(costs(), before, "this month's bill stays as it is");
    // Only the rule, by the command; the zone stays chosen.
    let said = server.database.run(&["partner", "billing", "PA_SEED", "--after-expiry", "charge"]).done().stdout;
    assert!(said.contains("days of Asia/Kolkata") && said.contains("until they are given back"), "{said}");
    let json = server.database.run(&["partner", "billing", "PA_SEED", "--json"]).done().json();
    assert_eq!((&json["next"]["zone"], &json["next"]["after_expiry"]), (&json!("Asia/Kolkata"), &json!("charge")));
    server.database.run(&["partner", "billing", "PA_SEED", "--zone", "Berlin"]).check(1);
    server.database.run(&["partner", "billing", "PA_SEED", "--after-expiry", "maybe"]).check(2);
    // Taken back before it counts, it never did.
    server.database.run(&["partner", "billing", "PA_SEED", "--zone", "UTC"]).done();
    let json = server.database.run(&["partner", "billing", "PA_SEED", "--json"]).done().json();
    assert_eq!(json["next"], json!(null));
}

#[test]
fn a_month_that_goes_on_is_a_draft() {
    let past = Past::new();
    let now = Time::now();
    let since = now.plus(-1).to_string();
    past.put(&since, &[(A, None, Some(held("MA_1", &since, 150)))]);
    let month = &since[..7];
    let file = past.file("calls.ndjson", record(1, &since, true, A, "1"));
    let out = past.database.file("drafts");
    let out = out.to_str().expect("a path");
    let ran = past.run(&["invoice", "--month", month, "--cdrs", &file, "--out", out]).done();
    assert!(ran.stderr.contains(&format!("draft: {month} has not ended in UTC")), "{}", ran.stderr);
    let read = |name: &str| std::fs::read_to_string(format!("{out}/{name}")).expect("a file");
    assert!(read(&format!("invoices-{month}.csv")).lines().skip(1).all(|line| line.ends_with(",draft")));
    let json: Value = serde_json::from_str(&read(&format!("invoices-{month}.json"))).expect("JSON");
    assert_eq!(keys(&json), ["meta", "data", "unattributed"]);
    assert_eq!((&json["meta"]["draft"], &json["meta"]["zone"]), (&json!(true), &json!("UTC")));
    let page = read(&format!("invoice-{month}-MA_1.html"));
    for part in ["Draft invoice", "has not ended", "Date: ", "days of UTC"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let (total, line) = (page.find("<strong>2.50 EUR</strong>"), page.find("+442079460001"));
    assert!(total.expect("a total") < line.expect("a line"), "{page}");
    let costs = past.costs(month, &[]);
    assert!(costs.stderr.contains("draft"), "{}", costs.stderr);
}

#[test]
fn records_that_cannot_be_used_are_listed_and_left_out_where_that_is_asked_for() {
    let past = with_two_numbers();
    let mut lines = calls();
    lines.push(record(9, "2026-03-12T10:00:00Z", true, A, "1").replace("EUR", "Euro"));
    lines.push(record(10, "2026-03-12 15:30:00", true, A, "2"));
    lines.push("not JSON".to_owned());
    lines.push(record(11, "2026-03-12T10:00:00Z", true, A, "null").replace(r#""billsec":61"#, r#""billsec":0"#));
    let file = past.file("calls.ndjson", lines.join("\n"));
    let invoice =
        |more: &[&str]| past.run(&[&["invoice", "--month", "2026-03", "--cdrs", &file, "--json"], more].concat());
    let refused = invoice(&[]).check(1);
    for part in ["line 9: currency \"Euro\"", "line 10: start_time", "--cdr-zone", "line 11: ", "3 of 12 call records"]
    {
        assert!(refused.stderr.contains(part), "{} lacks {part}", refused.stderr);
    }
    assert_eq!(refused.stdout, "");
    let ran = invoice(&["--on-error", "skip"]).check(3);
    assert!(ran.stderr.contains("3 call records are on no invoice"), "{}", ran.stderr);
    assert_eq!((&ran.json()["meta"]["records"], &ran.json()["meta"]["skipped"]), (&json!(12), &json!(3)));
    let zoned = invoice(&["--on-error", "skip", "--cdr-zone", "Asia/Kolkata"]).check(3);
    assert_eq!(zoned.json()["meta"]["skipped"], json!(2));
    let calls_of = |ran: &Ran| ran.json()["data"][0]["calls"]["calls"].clone();
    assert_eq!((calls_of(&ran), calls_of(&zoned)), (json!(2), json!(3)));
    invoice(&["--cdr-zone", "Kolkata"]).check(2);
}

#[test]
fn reports_have_no_formulas() {
    let past = Past::new();
    let name = "=HYPERLINK(\"evil\")";
    fixture::put_account(&*past.store, past.key, name);
    past.put("2026-03-01T00:00:00Z", &[(A, None, Some(held(name, "2026-03-01T00:00:00Z", 150)))]);
    let calls = past.file("calls.ndjson", record(1, "2026-03-10T00:00:00Z", true, A, "1"));
    let reports: [(&[&str], i32); 3] = [
        (&["costs", "--month", "2026-03", "--format", "csv"], 0),
        (&["invoice", "--month", "2026-03", "--cdrs", &calls], 0),
        (&["check", "--format", "csv", "--check", "unrouted"], 3),
    ];
    for (report, code) in reports {
        let csv = past.run(report).check(code).stdout;
        assert!(
            !csv.contains("\n=") && !csv.contains("\"=") && csv.contains("\"'=HYPERLINK(\"\"evil\"\")\","),
            "{csv}"
        );
        let raw = past.run(&[report, &["--raw"]].concat()).check(code).stdout;
        assert_eq!(raw, csv.replace("'=", "="), "{report:?}");
    }
    let json = past.costs("2026-03", &["--format", "json"]).json();
    assert_eq!(json["data"][0]["account_auth_id"], json!(name));
}

#[test]
fn costs_are_printed_for_people_and_for_programs() {
    let past = Past::new();
    let free =
        Record { state: State::Available, account: None, assigned_at: None, ..held("MA_1", "2026-03-01T00:00:00Z", 1) };
    past.put(
        "2026-03-01T00:00:00Z",
        &[
            (A, None, Some(held("MA_1", "2026-03-01T00:00:00Z", 150))),
            (B, None, Some(held("MA_<b>", "2026-03-15T12:00:00Z", 250))),
            (B + 1, None, Some(free)),
        ],
    );
    let table = past.costs("2026-03", &[]).stdout;
    let expected = "\
MA_1 MA_1 (EUR)
number         from        until       days  rate  amount
+442079460001  2026-03-01  2026-03-31    31  1.50  1.50
total                                              1.50 EUR

MA_<b> MA_<b> (EUR)
number         from        until       days  rate  amount
+442079460002  2026-03-15  2026-03-31    17  2.50  2.50
total                                              2.50 EUR
";
    assert_eq!(table, expected);
    let html = past.costs("2026-03", &["--format", "html"]).stdout;
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    assert!(html.contains("MA_&lt;b&gt;") && !html.contains("<b>") && !html.contains("<script"), "{html}");
    assert!(html.contains(r#"<td class="n">2.50 EUR"#), "{html}");
    let json = past.run(&["costs", "--month", "2026-03", "--json"]).done();
    assert_eq!(json.json()["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(past.costs("2026-01", &[]).stdout, "");
    past.run(&["costs", "--month", "2026-3"]).check(2);
    past.run(&["costs", "--month", "9998-01"]).check(1);
    let other = run(past.command(&["costs", "--month", "2026-03", "--proration", "half"]), "");
    assert_eq!(other.code, 2);
}

#[test]
fn a_replay_is_the_log() {
    let past = Past::new();
    let block: Vec<(u64, Option<Record>, Option<Record>)> =
        (0..25_000).map(|at| (A + at, None, Some(held("MA_1", "2026-03-01T00:00:00Z", 100)))).collect();
    past.put("2026-03-02T00:00:00Z", &block);
    let record = held("MA_2", "2026-03-03T00:00:00Z", 200);
    // One write that puts numbers of one group in several batches, one twice.
    let entry = LogEntry { at: time("2026-03-03T00:00:00Z"), ..fixture::entry(Verb::Import) };
    let change = |digits: u64, before: &Option<Record>, after: Option<Record>| NumberChange {
        number: fixture::number(digits),
        before: before.clone(),
        after,
    };
    let had = block[0].2.clone();
    let write = fixture::draft(|transaction| {
        transaction.put_numbers(&[change(A, &had, Some(record.clone())), change(A + 2, &had, None)])?;
        transaction
            .put_numbers(&[change(A, &Some(record.clone()), had.clone()), change(A + 1, &had, Some(record.clone()))])?;
        Ok(())
    });
    past.store.write(WriteTarget::Partner(past.key), entry, write).expect("written");
    past.put("2026-03-04T00:00:00Z", &[(A + 1, Some(record), None)]);
    for through in [0, 1, 4, 5, 6, 7, 100] {
        let mut replayed: Vec<(Time, E164, Option<Record>)> = Vec::new();
        let mut entities = 0;
        let take = &mut |entry: &LogEntry, piece: Replayed<'_>| {
            match piece {
                Replayed::Entities(all) => entities += all.len(),
                Replayed::Numbers { first, count, after } => {
                    let numbers = first.digits()..first.digits() + count;
                    replayed.extend(numbers.map(|digits| (entry.at, fixture::number(digits), after.cloned())));
                }
            }
            Ok(())
        };
        past.store.replay(past.key, through, take).expect("replayed");
        let log = past.store.log(past.key, 0, 100).expect("a log");
        let log = log.iter().map(|logged| &logged.change).filter(|change| change.version <= through);
        let mut expected = Vec::new();
        let mut named = 0;
        for change in log {
            named += change.entities.len();
            expected.extend(change.numbers.iter().map(|one| (change.at, one.number, one.after.clone())));
        }
        assert_eq!(entities, named, "through {through}");
        assert!(replayed == expected, "through {through}");
    }
}

/// A call record as the platform has it.
fn record(id: u64, start: &str, inbound: bool, number: u64, cost: &str) -> String {
    let (from, to) = if inbound { (919_999_000_000, number) } else { (number, 919_999_000_000) };
    let direction = if inbound { "inbound" } else { "outbound" };
    format!(
        r#"{{"uuid":"00000000-0000-4000-8000-{id:012x}","start_time":"{start}","call_direction":"{direction}","from_number":"+{from}","to_number":"+{to}","cost":{cost},"streaming_cost":0,"total_cost":{cost},"currency":"EUR","billsec":61}}"#
    )
}

fn page(records: &[String], page: u64, has_next: bool, total_cost: &str) -> String {
    format!(
        r#"{{"data":[{}],"pagination":{{"page":{page},"per_page":100,"total":9,"pages":1,"has_next":{has_next}}},"summary":{{"total_cost":{total_cost}}}}}"#,
        records.join(",")
    )
}

fn with_two_numbers() -> Past {
    let past = Past::new();
    let a = held("MA_1", "2026-03-01T00:00:00Z", 1_000);
    let b = held("MA_<b>", "2026-03-10T12:00:00Z", 2_000);
    past.put("2026-03-10T12:00:00Z", &[(A, None, Some(a.clone())), (B, None, Some(b))]);
    past.put("2026-03-20T12:00:00Z", &[(A, Some(a), Some(held("MA_2", "2026-03-20T12:00:00Z", 1_000)))]);
    past
}

/// Eight calls, one of them twice: 1.0035 in all, 0.5 of it nobody's and 0.25
/// of April.
fn calls() -> Vec<String> {
    vec![
        record(1, "2026-03-20T11:59:59Z", true, A, "0.001"),
        record(2, "2026-03-20T12:00:00Z", true, A, "0.002"),
        record(3, "2026-03-25T00:00:00Z", false, A, "0.0005"),
        record(4, "2026-03-31T23:59:59Z", false, B, "0.2"),
        record(5, "2026-03-10T11:59:59Z", false, B, "0.5"),
        record(4, "2026-03-31T23:59:59Z", false, B, "0.2"),
        record(6, "2026-04-01T00:00:00Z", false, B, "0.25"),
        record(7, "2026-03-11T00:00:00Z", true, B, "0.05"),
    ]
}

const INVOICES: &str = "\
MA_1,EUR,total,,,,,,,,,10.00,,final
MA_1,EUR,calls,,,,,,1,61,0.001,0.00,,final
MA_1,EUR,rental,+442079460001,2026-03-01,2026-03-19,19,10.00,,,,10.00,,final
MA_1,EUR,number_calls,+442079460001,,,,,1,61,0.001,,,final
MA_2,EUR,total,,,,,,,,,10.00,,final
MA_2,EUR,calls,,,,,,2,122,0.0025,0.00,,final
MA_2,EUR,rental,+442079460001,2026-03-20,2026-03-31,12,10.00,,,,10.00,,final
MA_2,EUR,number_calls,+442079460001,,,,,2,122,0.0025,,,final
MA_<b>,EUR,total,,,,,,,,,20.25,,final
MA_<b>,EUR,calls,,,,,,2,122,0.25,0.25,,final
MA_<b>,EUR,rental,+442079460002,2026-03-10,2026-03-31,22,20.00,,,,20.00,,final
MA_<b>,EUR,number_calls,+442079460002,,,,,2,122,0.25,,,final
,EUR,unattributed,,,,,,1,61,0.5,,,final
";

/// The rows of the CSV without the accounts' names.
fn short(csv: &str) -> String {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_end().split(',').collect();
        [&cells[..1], &cells[2..]].concat().join(",") + "\n"
    };
    csv.lines().skip(1).map(row).collect()
}

#[test]
fn rental_and_calls_are_one_invoice() {
    let past = with_two_numbers();
    let good = page(&calls(), 1, false, "1.0035");
    let lines = calls().join("\n");
    let packed = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines.as_bytes()).expect("packed");
        gzip.finish().expect("packed")
    };
    let pages = page(&calls()[..3], 1, true, "1.0035") + &page(&calls()[3..], 2, false, "1.0035");
    let each = page(&calls()[..3], 1, true, "0.0035") + &page(&calls()[3..], 2, false, "1");
    let mut csv = "uuid,start_time,call_direction,from_number,to_number,total_cost,currency,billsec\n".to_owned();
    for call in calls() {
        let call: Value = serde_json::from_str(&call).expect("a call");
        let text = |name: &str| call[name].as_str().expect("a text").to_owned();
        let cells = ["uuid", "start_time", "call_direction", "from_number", "to_number"].map(text);
        csv.push_str(&format!("{},{},EUR,61\n", cells.join(","), call["total_cost"]));
    }
    for (name, text) in [
        ("page.json", good.as_bytes()),
        ("pages.json", pages.as_bytes()),
        ("each.json", each.as_bytes()),
        ("calls.ndjson", lines.as_bytes()),
        ("calls.ndjson.gz", &packed),
        ("calls.csv", csv.as_bytes()),
    ] {
        let file = past.file(name, text);
        let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file]).done();
        assert_eq!(short(&ran.stdout), INVOICES, "{name}");
        assert!(ran.stderr.contains("8 call records: 1 repeated, 1 outside 2026-03"), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("1 calls (0.5 EUR) are on no invoice"), "{name}: {}", ran.stderr);
    }
    // A record that is understood in part is on no invoice, and says where it is.
    let another = calls()[0].replace("0.001", "0.009");
    let sideways = calls()[1].replace("\"inbound\"", "\"outbound-api\"").replace("000000000002", "000000000009");
    let file = past.file("wrong.ndjson", format!("{lines}\n{another}\n{sideways}\n"));
    let said =
        ["line 9: its uuid is that of line 1, which says something else", "line 10: call_direction \"outbound-api\""];
    for (mode, code) in [("abort", 1), ("skip", 3)] {
        let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--on-error", mode]).check(code);
        assert!(said.iter().all(|said| ran.stderr.contains(said)), "{mode}: {}", ran.stderr);
        assert_eq!(short(&ran.stdout), if code == 3 { INVOICES } else { "" }, "{mode}");
    }
    let only =
        past.run(&["invoice", "--month", "2026-03", "--cdrs", &past.file("page.json", &good), "--account", "MA_2"]);
    assert_eq!(only.done().stdout.lines().count(), 6);
}

#[test]
fn a_sum_that_differs_from_the_platforms_is_said() {
    let past = with_two_numbers();
    let check = |text: &str, code: i32, expected: &str| {
        let file = past.file("calls.json", text);
        let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--json"]).check(code);
        assert!(ran.stderr.contains(expected), "{} lacks {expected}", ran.stderr);
        ran.json()["meta"].clone()
    };
    let meta = check(
        &page(&calls(), 1, false, "1.2035"),
        3,
        "add up to 1.0035, the platform's summary says 1.2035: -0.2 apart",
    );
    assert_eq!(meta["summary"], json!({ "total_cost": 1.2035, "difference": -0.2, "agrees": false }));
    assert_eq!((&meta["records"], &meta["repeated"], &meta["outside"]), (&json!(8), &json!(1), &json!(1)));
    assert_eq!(meta["found"], json!([{ "currency": "EUR", "cost": 1.0035 }]));
    let meta = check(&page(&calls(), 1, false, "1.0035"), 0, "8 call records");
    assert_eq!(meta["summary"]["agrees"], true);
    check(&page(&calls(), 1, true, "1.0035"), 3, "the last page says that there is a next one");
    let mixed = [calls(), vec![record(9, "2026-03-11T00:00:00Z", true, B, "1").replace("EUR", "USD")]].concat();
    check(&page(&mixed, 1, false, "2.0035"), 3, "several currencies, which cannot be added");
    let uneven =
        calls().join("\n").replace(r#""streaming_cost":0,"total_cost":0.5"#, r#""streaming_cost":1,"total_cost":0.5"#);
    check(&uneven, 0, "1 calls: total_cost is not cost and streaming_cost together");
}

#[test]
fn a_page_for_each_customer() {
    let past = with_two_numbers();
    let file = past.file("page.json", page(&calls(), 1, false, "1.0035"));
    let folder = past.database.file("out");
    let out = folder.to_str().expect("a path");
    past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--out", out]).done();
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "invoice-2026-03-MA_%3Cb%3E.html",
            "invoice-2026-03-MA_1.html",
            "invoice-2026-03-MA_2.html",
            "invoices-2026-03.csv",
            "invoices-2026-03.json",
        ]
    );
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    assert_eq!(short(&read("invoices-2026-03.csv")), INVOICES);
    let json: Value = serde_json::from_str(&read("invoices-2026-03.json")).expect("JSON");
    let row = &json["data"][2];
    assert_eq!(keys(row), ["account_auth_id", "account_name", "currency", "total", "rental", "calls"]);
    assert_eq!(
        (&row["total"], &row["calls"]["cost"], &row["calls"]["amount"]),
        (&json!(20.25), &json!(0.25), &json!(0.25))
    );
    assert_eq!(json["unattributed"], json!([{ "currency": "EUR", "calls": 1, "seconds": 61, "cost": 0.5 }]));
    let page = read("invoice-2026-03-MA_%3Cb%3E.html");
    for part in ["MA_&lt;b&gt;", "20.25 EUR", "+442079460002", "0:02:02", "PA_PAST"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    for part in ["<b>", "<script", "http", "MA_1", "+442079460001"] {
        assert!(!page.contains(part), "{part} in {page}");
    }
    past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--format", "html"]).check(2);
}

#[test]
fn records_that_cannot_be_read_make_no_invoice() {
    let past = with_two_numbers();
    let refused = |text: &str, expected: &str| {
        let file = past.file("bad", text);
        let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file]).check(1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(expected), "{} lacks {expected}", ran.stderr);
    };
    let good = calls();
    refused("", "empty");
    refused(&good.join("\n").replace("0.0005", "\"x\""), "line 3: cost \"x\" must be a plain decimal number");
    refused(&good.join("\n").replace("0.0005", "\"x\""), "1 of 8 call records cannot be used");
    refused(&page(&good, 1, false, "1.0035").replace("0.5,\"str", "\"x\",\"str"), "record 5 (line 1): cost \"x\"");
    refused(&page(&good, 1, false, "1.0035")[..900], "not JSON at line 1");
    refused("<html>Bad gateway</html>", "no column uuid");
    past.run(&["invoice", "--month", "2026-03", "--cdrs", "nowhere.json"]).check(1);
    past.run(&["invoice", "--month", "2026-03"]).check(2);
    past.run(&["invoice", "--month", "2026-03", "--cdr-url", "http://127.0.0.1:9/cdrs"]).check(2);
}

/// Answers requests in turn, then goes; gives back what was asked.
fn platform(answers: Vec<(u16, &'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/cdrs?start_date=2026-03-01", listener.local_addr().expect("an address"));
    let serve = move || {
        let mut asked = Vec::new();
        for (status, header, body) in answers {
            let (stream, _) = listener.accept().expect("a client");
            let mut head = String::new();
            let mut reader = BufReader::new(&stream);
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).expect("a request") == 0 {
                    break;
                }
            }
            asked.push(head);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} OK\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            (&stream).write_all(answer.as_bytes()).expect("the client reads");
        }
        asked
    };
    (url, std::thread::spawn(serve))
}

#[test]
fn the_platforms_pages_are_walked() {
    let past = with_two_numbers();
    let token = past.file("token", "secret-token\n");
    let invoice = |url: &str| {
        past.run(&["invoice", "--month", "2026-03", "--cdr-url", url, "--auth-id", "PA_OTHER", "--token-file", &token])
    };
    let pages = || vec![page(&calls()[..5], 1, true, "1.0035"), page(&calls()[5..], 2, false, "1.0035")];
    let ok = |body: String| (200, "Content-Type: application/json\r\n", body);
    let busy = || (429, "Retry-After: 1\r\n", "{}".to_owned());
    let [one, two] = <[String; 2]>::try_from(pages()).expect("two pages");
    let (url, platform_asked) =
        platform(vec![busy(), ok(one.clone()), (503, "Retry-After: 0\r\n", String::new()), ok(two)]);
    let ran = invoice(&url).done();
    assert_eq!(short(&ran.stdout), INVOICES);
    let asked = platform_asked.join().expect("the platform");
    let targets: Vec<&str> = asked.iter().filter_map(|head| head.split_whitespace().nth(1)).collect();
    let target = |page: u64| format!("/cdrs?start_date=2026-03-01&page={page}&per_page=100");
    assert_eq!(targets, [target(1), target(1), target(2), target(2)]);
    for head in &asked {
        let head = head.to_ascii_lowercase();
        assert!(head.contains("x-auth-id: pa_other") && head.contains("x-auth-token: secret-token"), "{head}");
    }
    // An upstream that fails is an error and never a month without calls.
    let moved = (302, "Location: http://127.0.0.1:9/elsewhere\r\n", String::new());
    let stuck = page(&[], 1, true, "0");
    for (answers, expected) in [
        (vec![(401, "", "{}".to_owned())], "page 1 of the call records"),
        (vec![moved], "it answers 302"),
        (vec![ok("[]".to_owned())], "has no pagination"),
        (vec![ok("<html></html>".to_owned())], "no column"),
        (vec![ok(one.clone()), ok(one.clone())], "the answer is page 1"),
        (vec![ok(stuck)], "says that there is a next one"),
        (vec![ok(one.clone()), (404, "", String::new())], "page 2 of the call records"),
    ] {
        let (url, platform_asked) = platform(answers);
        let ran = invoice(&url).check(1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(expected), "{} lacks {expected}", ran.stderr);
        assert!(!ran.stderr.contains("secret-token"));
        platform_asked.join().expect("the platform");
    }
}

#[test]
fn many_records_take_little_time_and_memory() {
    const RECORDS: u64 = 300_000;
    let past = with_two_numbers();
    let mut text = String::with_capacity(RECORDS as usize * 300);
    for id in 0..RECORDS {
        let second = 1_774_000_000 + id as i64;
        let start = Time::new(second).expect("a time").to_string();
        text.push_str(&record(id, &start, id % 2 == 0, if id % 3 == 0 { A } else { B }, "0.0001"));
        text.push('\n');
        // Every tenth again, at once or much later.
        if id % 10 == 0 {
            text.push_str(&record(id, &start, id % 2 == 0, if id % 3 == 0 { A } else { B }, "0.0001"));
            text.push('\n');
        }
    }
    let file = past.file("many.ndjson", &text);
    let started = std::time::Instant::now();
    let ran = past.run(&["invoice", "--month", "2026-03", "--cdrs", &file, "--json"]).done();
    println!("{} records in {:?}", RECORDS + RECORDS / 10, started.elapsed());
    let meta = &ran.json()["meta"];
    assert_eq!((meta["records"].as_u64(), meta["repeated"].as_u64()), (Some(RECORDS / 10 * 11), Some(RECORDS / 10)));
    assert_eq!(meta["found"], json!([{ "currency": "EUR", "cost": 30 }]));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let by_account: BTreeMap<String, u64> = ran.json()["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["account_auth_id"].to_string(), row["calls"]["calls"].as_u64().expect("calls")))
        .collect();
    let attributed: u64 = by_account.values().sum();
    let lost = ran.json()["unattributed"][0]["calls"].as_u64().unwrap_or_default();
    assert_eq!(attributed + lost + meta["outside"].as_u64().expect("a count"), RECORDS);
}

/// Two of the largest amounts are more than an amount can be. Their sum is exact wherever
/// one is shown, before and after a change.
#[test]
fn sums_beyond_the_largest_amount_are_exact_everywhere() {
    const LARGEST: &str = "92233720368547758.07";
    const SUM: &str = "184467440737095516.14";
    const READABLE: &str = "184,467,440,737,095,516.14";
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let numbers = ["+912271268801", "+912271268802"];
    let rows = |cost: &str| {
        let rows = numbers.map(|number| format!("{number},MA_BIG,Big,{cost},INR\n"));
        format!("number,account_auth_id,account_name,monthly_cost,currency\n{}", rows.concat())
    };
    let file = database.write("rows.csv", &rows(LARGEST));
    let import = |more: &[&str]| {
        let args = ["import", file.to_str().expect("a path"), "--partner", "PA_ONE"];
        database.run(&[&args[..], more].concat()).done().stdout
    };
    assert!(import(&["--dry-run"]).contains(&format!("held numbers cost {SUM} INR more")));
    assert!(import(&["--json"]).contains(&format!("\"up\":{SUM}")));
    std::fs::write(&file, rows("0")).expect("written");
    assert!(import(&["--dry-run", "--json"]).contains(&format!("\"down\":{SUM}")));

    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_ONE", "UTC");
    for page in ["", "/customers", "/customers/MA_BIG"] {
        assert!(pages.page(page).contains(READABLE), "{page}");
    }
    let month = Time::now().to_string()[..7].to_owned();
    let listed = server.get(&format!("{COSTS}?month={month}&account_auth_id=MA_BIG")).auth(&ONE).check(200);
    assert!(listed.text().contains(&format!("\"total\":{SUM}")), "{}", listed.text());
    let body = json!({
        "verb": "cost", "numbers": numbers, "params": { "monthly_cost": 0, "currency": "INR" }, "preview": true,
    });
    let job = server.request("POST", "/api/v1/manage/jobs").auth(&key).json(&body).send().check(201).json();
    let id = job["data"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/manage/jobs/{id}");
    server.within(std::time::Duration::from_secs(20), |server| {
        server.get(&path).auth(&key).send().json()["data"]["state"] == "previewed"
    });
    let said = server.get(&path).auth(&key).check(200);
    assert!(said.text().contains(&format!("\"INR\":-{SUM}")), "{}", said.text());
    let shown = server.database.run(&["job", "show", &id, "--partner", "PA_ONE"]).done().stdout;
    assert!(shown.contains(&format!("-{SUM} INR a month")), "{shown}");
}
