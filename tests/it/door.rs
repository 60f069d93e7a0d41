//! Single values at every entrance: what a cell becomes, or why it is refused,
//! whether it comes in a file, in the console's paste box, over the API, from
//! the command line or from another server.

use std::fmt::Write as _;

use rollcall::store::Open;
use serde_json::{Value, json};

use crate::client::{Odd, answer, parameter};
use crate::console_import::Browser;
use crate::fixture;
use crate::harness::{Database, Key, Server};

/// A cell that names numbers, and what it becomes.
struct Cell {
    text: &'static str,
    becomes: Becomes,
}

enum Becomes {
    /// These numbers, from the first to the last.
    Numbers(u64, u64),
    /// Nothing: a part of the reason.
    Refused(&'static str),
}

const fn one(text: &'static str, number: u64) -> Cell {
    Cell { text, becomes: Becomes::Numbers(number, number) }
}

const fn block(text: &'static str, first: u64, last: u64) -> Cell {
    Cell { text, becomes: Becomes::Numbers(first, last) }
}

const fn refused(text: &'static str, reason: &'static str) -> Cell {
    Cell { text, becomes: Becomes::Refused(reason) }
}

const CELLS: &[Cell] = &[
    one("+912271264217", 912_271_264_217),
    one("+91 22-7126.4218", 912_271_264_218),
    one("\u{202a}+912271264219\u{202c}", 912_271_264_219),
    one("\u{ff0b}912271264220", 912_271_264_220),
    one("+91\u{2011}22\u{2011}7126\u{200b}4221", 912_271_264_221),
    one("+91-9876543210", 919_876_543_210),
    one("+1 (212) 555-0100", 12_125_550_100),
    one("+49 30/901820", 4_930_901_820),
    one("+39 06 1234 5678", 390_612_345_678),
    block("+33142687000-99", 33_142_687_000, 33_142_687_099),
    block("+33 1 42 68 72 00-09", 33_142_687_200, 33_142_687_209),
    block("+33142687300/09", 33_142_687_300, 33_142_687_309),
    block("+912271264300..310", 912_271_264_300, 912_271_264_310),
    block("+912271264400 to 409", 912_271_264_400, 912_271_264_409),
    block("+912271264500\u{2013}09", 912_271_264_500, 912_271_264_509),
    block("+912271264600-+912271264609", 912_271_264_600, 912_271_264_609),
    refused("+44 (0)20 7946 0958", "has a trunk zero; did you mean +442079460958?"),
    refused("+4402079460959", "has a trunk zero; did you mean +442079460959?"),
    refused("+49 (0)30 901821", "has a trunk zero; did you mean +4930901821?"),
    refused("+34 0911234567", "has a trunk zero; did you mean +34911234567?"),
    refused("+7 (8) 495 123-45-67", "has a trunk prefix; did you mean +74951234567?"),
    refused("+52 1 55 1234 5678", "mobile digit; did you mean +525512345678?"),
    refused("+54 11 15 2345 6789", "mobile digit; did you mean +5491123456789?"),
    refused("+4402079460900-09", "has a trunk zero; did you mean +442079460900..09?"),
    refused("+4930555000-9", "could be the number +49305550009 or the block +4930555000 to +4930555009"),
    refused("+999-1234567", "could be the number +9991234567 or a block"),
    refused("+33142687099-00", "is a block whose end 00 is not larger"),
    refused("+912271264300..299", "is a block whose end 299 is not larger"),
    refused("9.12271E+11", "is in scientific notation"),
    refused("+91227126x217", "must be + and 7 to 15 digits"),
];

impl Cell {
    /// The numbers that it becomes.
    fn numbers(&self) -> Vec<String> {
        match self.becomes {
            Becomes::Numbers(first, last) => (first..=last).map(|digits| format!("+{digits}")).collect(),
            Becomes::Refused(_) => Vec::new(),
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self.becomes {
            Becomes::Numbers(..) => None,
            Becomes::Refused(reason) => Some(reason),
        }
    }
}

/// All numbers that the cells become, in order.
fn all_numbers() -> Vec<String> {
    let mut numbers: Vec<String> = CELLS.iter().flat_map(Cell::numbers).collect();
    numbers.sort_unstable_by_key(|number| (number.len(), number.clone()));
    numbers
}

fn database() -> Database {
    let database = Database::empty();
    database.partner("PA_D", "Door", &[]);
    database
}

/// The numbers that the partner has.
fn stored(database: &Database) -> Vec<String> {
    let rows = database.export("PA_D");
    rows.lines().skip(1).filter_map(|row| row.split(',').next()).map(str::to_owned).collect()
}

/// Imports a file, leaving out what is refused, and the report.
fn import(database: &Database, name: &str, text: &str, flags: &[&str]) -> Value {
    let file = database.write(name, text);
    let file = file.to_str().expect("a path").to_owned();
    let known = ["import", &file, "--partner", "PA_D", "--on-error", "skip", "--json"];
    database.run(&[&known[..], flags].concat()).json()
}

/// What an import says of each line, from `first_line` on; empty where it says
/// nothing.
fn reasons(report: &Value, first_line: u64, rows: usize) -> Vec<String> {
    let mut found = vec![String::new(); rows];
    for error in report["errors"].as_array().expect("errors") {
        let line = error["line"].as_u64().expect("a line");
        let text = error["message"].as_str().expect("a message");
        let place = &mut found[usize::try_from(line - first_line).expect("a place")];
        writeln!(place, "{text}").expect("memory");
    }
    found
}

#[track_caller]
fn check_reasons(entrance: &str, found: &[String]) {
    for (cell, found) in CELLS.iter().zip(found) {
        match cell.reason() {
            Some(reason) => assert!(found.contains(reason), "{entrance}: {:?}: {found:?} is not {reason:?}", cell.text),
            None => assert_eq!(found, "", "{entrance}: {:?}", cell.text),
        }
    }
}

fn as_csv() -> String {
    CELLS.iter().fold("number,region\n".to_owned(), |text, cell| format!("{text}{},Here\n", cell.text))
}

fn as_ndjson() -> String {
    CELLS.iter().map(|cell| format!("{}\n", json!({ "number": cell.text, "region": "Here" }))).collect()
}

#[test]
fn a_number_is_the_same_in_every_format() {
    let array = json!(CELLS.iter().map(|cell| json!({ "number": cell.text })).collect::<Vec<_>>()).to_string();
    for (name, text, first_line) in
        [("cells.csv", as_csv(), 2), ("cells.ndjson", as_ndjson(), 1), ("cells.json", array, 1)]
    {
        let database = database();
        let report = import(&database, name, &text, &[]);
        check_reasons(name, &reasons(&report, first_line, CELLS.len()));
        assert_eq!(stored(&database), all_numbers(), "{name}");
    }
}

#[test]
fn a_number_is_the_same_in_the_paste_box() {
    let server = Server::start(database(), &[]);
    let manager = Browser::sign_up(&server, "PA_D", "manager");
    let text: String = CELLS.iter().map(|cell| format!("{}\n", cell.text)).collect();
    let page = manager.paste(&server, &text);
    let shown = manager.settled(&server, &page);
    for reason in CELLS.iter().filter_map(Cell::reason) {
        let html = reason.replace('?', "");
        assert!(shown.contains(&html), "{reason:?} is not in {shown}");
    }
    manager.post(&server, &format!("{page}/run"), "").check(303);
    manager.settled(&server, &page);
    assert_eq!(stored(&server.database), all_numbers());
}

#[test]
fn a_number_is_the_same_over_the_api() {
    let database = database();
    let key = database.key("PA_D", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    for cell in CELLS {
        let body = json!({ "number": cell.text, "monthly_cost": 1, "currency": "EUR" });
        let answer = server.request("POST", "/api/v1/manage/numbers").auth(&key).json(&body).send();
        match cell.reason() {
            None => drop(answer.check(201)),
            Some(reason) => {
                let answer = answer.check(422);
                assert!(answer.text().contains(reason), "{:?}: {}", cell.text, answer.text());
                let errors = answer.json()["error"]["details"]["errors"].clone();
                assert_eq!(errors[0]["field"], "number", "{:?}", cell.text);
            }
        }
    }
    assert_eq!(stored(&server.database), all_numbers());
}

#[test]
fn a_number_is_the_same_on_the_command_line() {
    let database = database();
    for cell in CELLS {
        let args = ["number", "add", cell.text, "--partner", "PA_D", "--monthly-cost", "1", "--currency", "EUR"];
        let ran = database.run(&args);
        match cell.reason() {
            None => drop(ran.check(0)),
            Some(reason) => assert!(ran.stderr.contains(reason), "{:?}: {}", cell.text, ran.stderr),
        }
    }
    assert_eq!(stored(&database), all_numbers());
}

#[test]
fn a_number_is_the_same_in_a_file_of_numbers() {
    let database = database();
    import(&database, "cells.csv", &as_csv(), &["--monthly-cost", "1", "--currency", "EUR"]);
    let job = |lines: String| {
        let file = database.write("numbers.txt", &lines);
        let file = file.to_str().expect("a path");
        let known = ["job", "create", "--partner", "PA_D", "--verb", "tag", "--param", "add=x", "--json"];
        database.run(&[&known[..], &["--numbers-file", file]].concat())
    };
    let wrong: Vec<&Cell> = CELLS.iter().filter(|cell| cell.reason().is_some()).collect();
    let ran = job(wrong.iter().map(|cell| format!("{}\n", cell.text)).collect()).check(2);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("line ")).collect();
    let (spelt, misspelt): (Vec<_>, Vec<_>) = wrong.iter().enumerate().partition(|(_, cell)| {
        // Digits that could be stored are looked for before they are refused.
        cell.reason().is_some_and(|reason| !reason.contains("did you mean") || cell.text.contains('-'))
    });
    assert_eq!(said.len(), spelt.len(), "{}", ran.stderr);
    for ((at, cell), said) in spelt.iter().zip(said) {
        let start = format!("line {}: {}", at + 1, cell.text);
        assert!(said.contains(&start) && said.contains(cell.reason().unwrap_or_default()), "{start}: {said}");
    }
    let ran = job(misspelt.iter().map(|(_, cell)| format!("{}\n", cell.text)).collect()).check(2);
    for (at, (_, cell)) in misspelt.iter().enumerate() {
        let start = format!("line {}: {} {}", at + 1, cell.text, "has a");
        assert!(ran.stderr.contains(&start), "{start}: {}", ran.stderr);
    }
    // Digits without a + name a number that is there.
    let mut good: String =
        CELLS.iter().filter(|cell| cell.reason().is_none()).map(|cell| format!("{}\n", cell.text)).collect();
    good = good.replace("+912271264217", "912271264217");
    let done = job(format!("\u{feff}{good}\n")).done().json();
    assert_eq!(done["total"], all_numbers().len(), "{done}");
}

/// An upstream with these rows.
fn upstream(rows: Vec<Value>) -> Odd {
    Odd::new(move |_, target| {
        let accounts = target.contains("/accounts");
        let rows = if accounts { &[][..] } else { &rows[..] };
        let per_page = parameter(target, "per_page").expect("a size");
        let page = json!({ "data": rows, "meta": { "total": rows.len(), "page": 1, "per_page": per_page } });
        match accounts {
            true => answer("404 Not Found", "", "{}"),
            false => answer("200 OK", "", &page.to_string()),
        }
    })
}

fn sync(database: &Database, odd: &Odd) -> Value {
    let token = database.write("token", "secret");
    let token = token.to_str().expect("a path");
    let known = ["sync", "--from", &odd.url(), "--auth-id", "PA_ODD", "--token-file", token, "--partner", "PA_D"];
    database.run(&[&known[..], &["--attempts", "2", "--json"]].concat()).json()
}

#[test]
fn a_number_is_the_same_from_another_server() {
    let row = |number: &str, account: &str| json!({ "number": number, "account_auth_id": account, "status": "active", "monthly_cost": 1, "currency": "EUR" });
    let odd = upstream(vec![
        row("+442079460958", "MA_1"),
        row("+4402079460959", "MA_1"),
        row("+5215512345678", "MA_1"),
        row("+912271264217", "NULL"),
        row("+912271264218", "MA_1\u{200b}"),
        row("+912271264219", ".."),
        row("+9991234567", "MA 1"),
    ]);
    let database = database();
    let report = sync(&database, &odd);
    assert_eq!((&report["came"], &report["refused"]), (&json!(2), &json!(5)), "{report}");
    let reasons = report["errors"].to_string();
    for reason in [
        "has a trunk zero; did you mean +442079460959?",
        "mobile digit; did you mean +525512345678?",
        "is a word for nothing",
        "U+200B",
        "cannot be an id",
    ] {
        assert!(reasons.contains(reason), "{reason:?} is not in {reasons}");
    }
    assert_eq!(stored(&database), ["+9991234567", "+442079460958"]);
}

/// Ids that something new may have, and ids that it may not.
const IDS: &[(&str, Option<&str>)] = &[
    ("MA_1", None),
    ("a b'\"%2F+", None),
    ("new", None),
    ("0", None),
    ("NA", None),
    ("Nullable", None),
    (".", Some("cannot be an id")),
    ("..", Some("cannot be an id")),
    ("MA\u{200b}_1", Some("U+200B")),
    ("\u{202a}MA_1", Some("U+202A")),
    ("NULL", Some("is a word for nothing")),
    ("None", Some("is a word for nothing")),
    ("\\N", Some("is a word for nothing")),
    ("undefined", Some("is a word for nothing")),
    ("tbd", Some("is a word for nothing")),
    ("--", Some("is a word for nothing")),
];

#[test]
fn an_id_is_the_same_at_every_entrance() {
    let row = |at: usize, id: &str| json!({ "number": format!("+{}", 912_271_264_300_u64 + at as u64), "account_auth_id": id, "monthly_cost": "1", "currency": "EUR" });
    let rows: Vec<Value> = IDS.iter().enumerate().map(|(at, (id, _))| row(at, id)).collect();
    let mut csv = "number,account_auth_id,monthly_cost,currency\n".to_owned();
    for (at, (id, _)) in IDS.iter().enumerate() {
        let quoted = id.replace('"', "\"\"");
        csv.push_str(&format!("+{},\"{quoted}\",1,EUR\n", 912_271_264_300_u64 + at as u64));
    }
    let ndjson: String = rows.iter().map(|row| format!("{row}\n")).collect();
    for (name, text, first_line) in [("a.csv", csv, 2), ("a.ndjson", ndjson, 1), ("a.json", json!(rows).to_string(), 1)]
    {
        let database = database();
        let report = import(&database, name, &text, &[]);
        let found = reasons(&report, first_line, IDS.len());
        for ((id, reason), found) in IDS.iter().zip(&found) {
            match reason {
                Some(reason) => assert!(found.contains(reason), "{name}: {id:?}: {found:?}"),
                None => assert_eq!(found, "", "{name}: {id:?}"),
            }
        }
        let cautions = report["cautions"].to_string();
        assert_eq!(cautions.matches("may be a word for nothing").count(), 2, "{name}: {cautions}");
        // What is there is no longer doubtful.
        let again = import(&database, name, &text, &[]);
        assert!(!again["cautions"].to_string().contains("may be a word"), "{name}: {again}");
    }
    let database = database();
    let key = database.key("PA_D", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    for (id, reason) in IDS {
        let body = json!({ "account_auth_id": id, "name": "Somebody" });
        let answer = server.request("POST", "/api/v1/manage/accounts").auth(&key).json(&body).send();
        match reason {
            None => drop(answer.check(201)),
            Some(reason) => assert!(answer.check(422).text().contains(reason), "{id:?}"),
        }
    }
    let database = self::database();
    for (id, reason) in IDS {
        let args = ["account", "create", "--partner", "PA_D", &format!("--auth-id={id}"), "--name", "Somebody"];
        let ran = database.run(&args);
        match reason {
            None => drop(ran.check(0)),
            Some(reason) => assert!(ran.stderr.contains(reason), "{id:?}: {}", ran.stderr),
        }
    }
}

#[test]
fn a_word_for_nothing_is_refused_in_every_column() {
    let database = database();
    let header = "number,account_auth_id,account_name,application_id,application_name,trunk_id,status,monthly_cost,\
                  currency,assigned_at,expires_at,number_type,country,region,tags";
    let good =
        ["MA_1", "One", "app_1", "App", "trunk_1", "active", "1", "EUR", "2026-01-01", "", "local", "IN", "Here", "a"];
    let mut text = format!("{header}\n");
    for at in 0..good.len() {
        for word in ["NULL", "n/a", "#N/A", "NaN"] {
            let mut cells = good;
            cells[at] = word;
            text.push_str(&format!("+{},{}\n", 912_271_264_300 + text.lines().count(), cells.join(",")));
        }
    }
    let rows = text.lines().count() - 1;
    let report = import(&database, "words.csv", &text, &[]);
    for (at, found) in reasons(&report, 2, rows).iter().enumerate() {
        assert!(
            found.contains("is a word for nothing"),
            "row {at} ({}): {found:?}",
            text.lines().nth(at + 1).expect("a row")
        );
    }
    assert_eq!(stored(&database), [] as [&str; 0]);
}

#[test]
fn what_is_stored_already_is_found_shown_and_released() {
    let database = database();
    import(&database, "a.csv", "number,account_auth_id,monthly_cost,currency\n+442079460958,MA_1,1,EUR\n", &[]);
    // As an older version stored them.
    let store = fixture::open(database.path(), Open::Existing);
    let partner = store.heads(true).expect("heads").expect("asked for")[0].key;
    fixture::put_account(&*store, partner, "MA_1\u{200b}");
    let old = fixture::created(4_402_079_460_959, fixture::held("MA_1\u{200b}"));
    fixture::put(&*store, partner, &[old]);
    drop(store);
    let again = "number,account_auth_id,tags\n+44 (0)20 7946 0959,MA_1\u{200b},old\n";
    let report = import(&database, "again.csv", again, &[]);
    assert_eq!((&report["updated"], &report["rejected"]), (&json!(1), &json!(0)), "{report}");
    let key = database.key("PA_D", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    for spelling in [
        "442079460958",
        "+442079460958",
        "%2B442079460958",
        "+44%2020%207946%200958",
        "+44-20-7946-0958",
        "%E2%80%AA+442079460958",
        "%EF%BC%8B44(20)7946.0958",
    ] {
        let target = format!("/api/v1/partner/numbers/{spelling}");
        let answer = server.get(&target).auth(&key).check(200);
        assert_eq!(answer.json()["data"]["number"], "+442079460958", "{spelling}");
        server.get(&format!("{target}/history")).auth(&key).check(200);
    }
    let unknown = server.get("/api/v1/partner/numbers/+442079460959").auth(&key).check(404).masked();
    for spelling in ["442079460959", "+44x", "00442079460958", "+33142687000-99", "%20"] {
        let answer = server.get(&format!("/api/v1/partner/numbers/{spelling}")).auth(&key).check(404);
        assert_eq!(answer.masked(), unknown, "{spelling}");
    }
    server.database.run(&["number", "show", "44 20 7946 0958", "--partner", "PA_D"]).done();
    server.database.run(&["history", "+44-20-7946-0958", "--partner", "PA_D"]).done();
    let of_account = server.get("/api/v1/partner/accounts/MA_1%E2%80%8B/numbers").auth(&key).check(200);
    assert_eq!(of_account.numbers(), ["+4402079460959"]);
    let body = json!({ "confirm_last": true });
    for spelling in ["44%2020%207946%200958", "+44%20(0)20%207946%200959"] {
        let target = format!("/api/v1/manage/numbers/{spelling}/release");
        server.request("POST", &target).auth(&key).json(&body).check(200);
    }
}

#[test]
fn a_day_is_its_first_moment_in_the_zone_that_is_named() {
    let days = [
        ("2027-03-01", Ok(["2027-03-01T00:00:00Z", "2027-02-28T18:30:00Z"])),
        ("2027-03-01T00:00:00Z", Ok(["2027-03-01T00:00:00Z"; 2])),
        ("2027-03-01 10:00:00 UTC", Ok(["2027-03-01T10:00:00Z"; 2])),
        ("2027-03-01 10:00:00+00", Ok(["2027-03-01T10:00:00Z"; 2])),
        ("2027-03-01 10:00:00 +0530", Ok(["2027-03-01T04:30:00Z"; 2])),
        ("2027-03-01 10:00:00+05:30", Ok(["2027-03-01T04:30:00Z"; 2])),
        ("9999-12-31", Err("stands for no end; leave the cell empty, and the number auto-renews")),
        ("9999-12-31T00:00:00Z", Err("stands for no end")),
        ("9999-12-31 23:59:59", Err("stands for no end")),
        ("12000-01-01", Err("stands for no end")),
        ("2027-02-30", Err("is a day that does not exist")),
        ("2027-02-30T00:00:00Z", Err("is on a day that does not exist")),
        ("2027-03-01 10:00:00", Err("must be a time with its zone")),
    ];
    for (zone, flags) in [(0, &[][..]), (1, &["--zone", "Asia/Kolkata"])] {
        for (name, first_line) in [("days.csv", 2), ("days.ndjson", 1)] {
            let database = database();
            let mut text = if first_line == 2 {
                "number,account_auth_id,monthly_cost,currency,expires_at\n".to_owned()
            } else {
                String::new()
            };
            for (at, (day, _)) in days.iter().enumerate() {
                let number = 912_271_264_300 + at;
                match first_line {
                    2 => text.push_str(&format!("+{number},MA_1,1,EUR,{day}\n")),
                    _ => text.push_str(&format!(
                        "{}\n",
                        json!({ "number": format!("+{number}"), "account_auth_id": "MA_1", "monthly_cost": 1, "currency": "EUR", "expires_at": day })
                    )),
                }
            }
            let report = import(&database, name, &text, flags);
            let rows = database.export("PA_D");
            for (at, found) in reasons(&report, first_line, days.len()).iter().enumerate() {
                let (day, expected) = &days[at];
                let row = rows.lines().find(|row| row.starts_with(&format!("+{}", 912_271_264_300 + at)));
                match expected {
                    Ok(expected) => {
                        assert!(row.is_some_and(|row| row.contains(expected[zone])), "{name} {day}: {row:?} {found}");
                    }
                    Err(reason) => assert!(row.is_none() && found.contains(reason), "{name} {day}: {row:?} {found}"),
                }
            }
        }
    }
}

#[test]
fn the_api_takes_times_only() {
    let database = database();
    import(&database, "a.csv", "number,account_auth_id,monthly_cost,currency\n+442079460958,MA_1,1,EUR\n", &[]);
    let key: Key = database.key("PA_D", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let renew = |expires_at: &str| {
        let body = json!({ "expires_at": expires_at });
        server.request("POST", "/api/v1/manage/numbers/+442079460958/renew").auth(&key).json(&body).send()
    };
    renew("2099-03-01T00:00:00Z").check(200);
    for (text, reason) in [
        ("2099-03-01", "must be a time such as"),
        ("2099-03-01T00:00:00", "must be a time with its zone"),
        ("2099-02-30T00:00:00Z", "is on a day that does not exist"),
        ("9999-12-31T00:00:00Z", "stands for no end; leave it empty (null in JSON), and the number auto-renews"),
        ("9999-12-31", "stands for no end"),
    ] {
        let answer = renew(text).check(422);
        assert!(answer.text().contains(reason), "{text}: {}", answer.text());
    }
}

#[test]
fn a_filter_takes_several_values() {
    let database = database();
    let rows = "number,account_auth_id,monthly_cost,currency,status,number_type,country\n\
                +442079460950,MA_1,1,EUR,active,local,GB\n\
                +442079460951,MA_1,1,EUR,suspended,local,GB\n\
                +919876543210,MA_1,1,EUR,active,mobile,IN\n\
                +33801234567,MA_1,1,EUR,active,tollfree,FR\n";
    import(&database, "a.csv", rows, &[]);
    let key = database.key("PA_D", &[]);
    let server = Server::start(database, &[]);
    let total = |query: &str| {
        let answer = server.get(&format!("/api/v1/partner/numbers?{query}")).auth(&key).check(200).json();
        (answer["meta"]["total"].as_u64().expect("a total"), answer["meta"]["page"].as_u64().expect("a page"))
    };
    for (query, expected) in [
        ("status=active,suspended", 4),
        ("status=suspended", 1),
        ("number_type=local,mobile", 3),
        ("number_type=tollfree,mobile&country=IN,FR", 2),
        ("country=GB,IN", 3),
        ("routed=true,false", 4),
        ("assigned=false,true", 4),
        ("search=%E2%80%AA%2B9198%E2%80%AC", 1),
        ("search=98%E2%80%9176", 1),
        ("search=%EF%BC%8B44", 2),
        ("search=9%E0%A5%A7", 0),
        ("after=%2B442079460950&page=1", 4),
        ("region=a,b", 0),
    ] {
        assert_eq!(total(query), (expected, 1), "{query}");
    }
    for (query, expected) in [
        ("status=active,", "status INVALID"),
        ("status=,", "status INVALID"),
        ("status=active,active", "status REPEATED"),
        ("status=active,expired", "status INVALID"),
        ("number_type=local,%20mobile", "number_type INVALID"),
        ("country=IN,India", "country INVALID"),
        ("country=IN,IN", "country REPEATED"),
        ("sort=number,expires_at", "sort INVALID"),
        ("after=%2B442079460950&page=2", "after CONFLICT"),
        ("search=000000000000000000000000000000000", "search TOO_LONG"),
        ("expires_before=9999-12-31T00:00:00Z", "expires_before INVALID"),
    ] {
        let answer = server.get(&format!("/api/v1/partner/numbers?{query}")).auth(&key).check(422);
        assert_eq!(answer.fields(), [expected], "{query}");
    }
}
