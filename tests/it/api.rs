//! The Partner API: what the specification says, and what was decided where
//! it is silent, on both endpoints wherever it applies.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{
    ACCOUNTS, ALL, Answer, CUSTOMER, Database, GLOBAL, Key, ONE, Request, SEED, Server, TWO, keys, letter,
};

const CUSTOMER_KEYS: [&str; 12] = [
    "number",
    "number_type",
    "country",
    "region",
    "status",
    "application_id",
    "application_name",
    "trunk_id",
    "monthly_cost",
    "currency",
    "assigned_at",
    "expires_at",
];

/// The letters of what `MA_1` holds.
const OF_MA_1: &str = "abhij";

/// What a command commits shows within this.
const SHOWS_WITHIN: Duration = Duration::from_millis(200);

fn global_keys() -> Vec<&'static str> {
    let (first, rest) = CUSTOMER_KEYS.split_at(1);
    [first, &["account_auth_id", "account_name"], rest].concat()
}

/// Only the wanted letters, in their order.
fn only(wanted: &str, of: &str) -> String {
    wanted.chars().filter(|&letter| of.contains(letter)).collect()
}

/// Asks both endpoints as `ONE`: the global one must show these rows, the
/// customer's those of them that `MA_1` holds, each with the exact total.
#[track_caller]
fn check_rows(server: &Server, query: &str, expected: &str) {
    for (path, expected) in [(GLOBAL, expected.to_owned()), (CUSTOMER, only(expected, OF_MA_1))] {
        let answer = server.get(&format!("{path}?{query}")).auth(&ONE).check(200);
        assert_eq!(answer.letters(), expected, "{path}?{query}");
        assert_eq!(answer.json()["meta"]["total"], expected.len(), "{path}?{query}");
    }
}

/// Both endpoints answer 422 with these errors.
#[track_caller]
fn check_invalid(server: &Server, query: &str, expected: &[&str]) {
    for path in [GLOBAL, CUSTOMER] {
        let answer = server.get(&format!("{path}?{query}")).auth(&ONE).check(422);
        assert_eq!(answer.fields(), expected, "{path}?{query}");
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A time as the API writes it, whole seconds from now.
fn seconds_ahead(seconds: i64) -> (String, f64) {
    let at = jiff::Timestamp::from_second(unix_now() as i64 + seconds).expect("a time");
    (at.to_string(), at.as_second() as f64)
}

// The bodies.

#[test]
fn the_customer_sample_of_the_specification() {
    let server = Server::sample();
    let answer = server.get("/api/v1/partner/accounts/MA_48149cf4/numbers?page=1&per_page=20").auth(&SEED).check(200);
    let row = concat!(
        r#"{"number":"+912271264217","number_type":"local","country":"IN","region":"Mumbai","status":"active","#,
        r#""application_id":"app_abc123","application_name":"Main IVR","trunk_id":"trunk_xyz","#,
        r#""monthly_cost":500.00,"currency":"INR","assigned_at":"2026-02-01T10:00:00Z","expires_at":null}"#,
    );
    let meta = r#""meta":{"total":3,"page":1,"per_page":20}}"#;
    let text = answer.text();
    assert!(text.starts_with(&format!("{{\"data\":[{row},")), "{text}");
    assert!(text.ends_with(&format!("],{meta}")), "{text}");
    assert_eq!(answer.numbers(), ["+912271264217", "+912271264219", "+912271264220"]);

    let searched = server.get("/api/v1/partner/accounts/MA_48149cf4/numbers?search=1264217").auth(&SEED).check(200);
    assert_eq!(searched.text(), format!("{{\"data\":[{row}],\"meta\":{{\"total\":1,\"page\":1,\"per_page\":20}}}}"));
}

#[test]
fn the_global_sample_of_the_specification() {
    let server = Server::sample();
    let answer = server.get("/api/v1/partner/numbers?page=1&per_page=50").auth(&SEED).check(200);
    assert!(answer.text().ends_with(r#"],"meta":{"total":147,"page":1,"per_page":50}}"#), "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["data"].as_array().map(Vec::len), Some(50));
    // The sample is abbreviated: its members, in its order, among the others.
    let samples = [
        [
            r#""number":"+912271264217""#,
            r#""account_auth_id":"MA_48149cf4""#,
            r#""account_name":"Credresolve""#,
            r#""status":"active""#,
            r#""application_id":"app_abc123""#,
            r#""monthly_cost":500.00"#,
            r#""currency":"INR""#,
            r#""assigned_at":"2026-02-01T10:00:00Z""#,
        ],
        [
            r#""number":"+912271264218""#,
            r#""account_auth_id":"MA_99ab12c3""#,
            r#""account_name":"Acme Outbound""#,
            r#""status":"active""#,
            r#""application_id":"app_def456""#,
            r#""monthly_cost":500.00"#,
            r#""currency":"INR""#,
            r#""assigned_at":"2026-01-15T09:00:00Z""#,
        ],
    ];
    let mut rest = answer.text();
    for member in samples.iter().flatten() {
        let at = rest.find(member).unwrap_or_else(|| panic!("{member} in: {rest}"));
        rest = &rest[at + member.len()..];
    }
    assert_eq!(&body["data"][1]["number"], "+912271264218", "the sample's rows are the first two");
}

#[test]
fn exactly_these_keys_in_this_order() {
    let server = Server::sample();
    for (path, expected) in [(CUSTOMER, CUSTOMER_KEYS.to_vec()), (GLOBAL, global_keys())] {
        let body = server.get(path).auth(&ONE).check(200).json();
        assert_eq!(keys(&body), ["data", "meta"]);
        assert_eq!(keys(&body["meta"]), ["total", "page", "per_page"]);
        for row in body["data"].as_array().expect("rows") {
            assert_eq!(keys(row), expected, "{path}");
        }
    }
    let one = server.get("/api/v1/partner/numbers/+912271265108").auth(&ONE).check(200);
    assert_eq!(keys(&one.json()), ["data"]);
    assert_eq!(keys(&one.json()["data"]), [global_keys(), vec!["tags"]].concat());
}

#[test]
fn values_are_written_as_literals() {
    let server = Server::sample();
    let stock = concat!(
        r#"{"number":"+442079460105","account_auth_id":null,"account_name":null,"number_type":"local","country":"GB","#,
        r#""region":"London","status":"suspended","application_id":null,"application_name":null,"trunk_id":null,"#,
        r#""monthly_cost":null,"currency":null,"assigned_at":null,"expires_at":null}"#,
    );
    let check = |search: &str, expected: &str| {
        let answer = server.get(&format!("{GLOBAL}?search={search}")).auth(&ONE).check(200);
        assert!(answer.text().contains(expected), "{expected} in {}", answer.text());
    };
    check("1265108", r#""monthly_cost":500.00,"currency":"INR","#);
    check("45104", r#""monthly_cost":500,"currency":"JPY","#);
    check("45103", r#""monthly_cost":1.250,"currency":"KWD","#);
    check("550102", r#""monthly_cost":1.50,"currency":"USD","#);
    check("12112", r#""monthly_cost":0.00,"currency":"EUR","#);
    check("550102", r#""assigned_at":"2026-01-10T08:00:00Z","expires_at":"2099-01-02T00:00:00Z"}"#);
    check("550102", r#""application_id":"app_1","application_name":"Primus \"IVR\", main","trunk_id":"trunk_1","#);
    check("45103", r#""number_type":"tollfree","country":null,"region":null,"#);
    check("0000111", r#""number_type":"mobile","country":"IN","#);
    check("12112", r#""account_name":"Primus ग्राहक","#);
    check("460105", stock);
    check("460106", r#""account_auth_id":null,"#);
    check("460107", r#""account_auth_id":null,"#);
    check("265109", r#""status":"suspended","#);
    // Expired, though nobody suspended it.
    check("265110", r#""status":"suspended","#);
    check("265108", r#""status":"active","#);
}

#[test]
fn a_new_name_shows_on_every_row_that_has_it() {
    let server = Server::sample();
    let names = |server: &Server| {
        let rows = |target: &str| server.get(target).auth(&ONE).check(200).json()["data"].clone();
        let row = |rows: &Value, number: &str| {
            let row =
                rows.as_array().expect("rows").iter().find(|row| row["number"] == number).expect("the row").clone();
            (row["account_name"].clone(), row["application_name"].clone())
        };
        // Two answers, between which the change may come.
        let (global, customer) = (rows(GLOBAL), rows(CUSTOMER));
        let (_, of_customer) = row(&customer, "+12025550102");
        [row(&global, "+12025550102"), row(&global, "+919820000111"), (Value::Null, of_customer)]
    };
    let named = |account: &str, application: &str| {
        let (account, application) = (Value::from(account), Value::from(application));
        let two = Value::from("Primus Two");
        [(account, application.clone()), (two, application.clone()), (Value::Null, application)]
    };
    let old = "Primus \"IVR\", main";
    // What is kept of a row is kept from here on.
    for _ in 0..2 {
        assert_eq!(names(&server), named("Primus, One", old));
    }
    // Neither row is in the file: only what they refer to.
    let (account, application) = ("Primus \\ \"1\"", "Primus / ✓");
    let row = "number,account_auth_id,account_name,application_id,application_name,trunk_id\n+912271265108,MA_1";
    let text = format!("{row},\"{}\",app_1,{application},trunk_1\n", account.replace('"', "\"\""));
    server.database.import("PA_ONE", &text);
    let new = named(account, application);
    server.within(SHOWS_WITHIN * 5, |server| names(server) == new);
}

#[test]
fn rows_come_in_the_order_of_the_number_as_an_integer() {
    let server = Server::sample();
    check_rows(&server, "", ALL);
    let numbers = server.get(GLOBAL).auth(&ONE).check(200).numbers();
    assert_eq!(numbers.first().map(String::len), Some(8), "the shortest comes first: {numbers:?}");
    assert_eq!(numbers.last().map(String::len), Some(16), "the longest comes last: {numbers:?}");
}

// Paging.

#[test]
fn pages() {
    let server = Server::sample();
    let check = |query: &str, expected: &str, page: u64, per_page: u64| {
        let answer = server.get(&format!("{GLOBAL}?{query}")).auth(&ONE).check(200);
        assert_eq!(answer.letters(), expected, "{query}");
        let meta = format!(r#""meta":{{"total":12,"page":{page},"per_page":{per_page}}}}}"#);
        assert!(answer.text().ends_with(&meta), "{query}: {}", answer.text());
    };
    check("", ALL, 1, 20);
    check("page=1", ALL, 1, 20);
    check("per_page=5", "abcde", 1, 5);
    check("per_page=5&page=2", "fghij", 2, 5);
    check("page=3&per_page=5", "kl", 3, 5);
    check("page=4&per_page=5", "", 4, 5);
    check("per_page=1", "a", 1, 1);
    check("per_page=100", ALL, 1, 100);
    check("page=01&per_page=005", "abcde", 1, 5);
    check("page=18446744073709551615", "", u64::MAX, 20);
    check("page=18446744073709551615&per_page=100", "", u64::MAX, 100);
    // The same on a customer's list.
    let answer = server.get(&format!("{CUSTOMER}?page=2&per_page=2")).auth(&ONE).check(200);
    assert_eq!((answer.letters().as_str(), &answer.json()["meta"]["total"]), ("hi", &Value::from(5)));
    let answer = server.get(&format!("{CUSTOMER}?page=9")).auth(&ONE).check(200);
    assert_eq!(answer.text(), r#"{"data":[],"meta":{"total":5,"page":9,"per_page":20}}"#);
}

#[test]
fn paging_that_cannot_be_is_refused_and_named() {
    let server = Server::sample();
    for name in ["page", "per_page"] {
        for value in
            ["0", "-1", "abc", "", "1.0", "%2B1", "+1", "1e1", "%20", "1%20", "0x1", "%D9%A1", "18446744073709551616"]
        {
            check_invalid(&server, &format!("{name}={value}"), &[&format!("{name} OUT_OF_RANGE")]);
        }
        check_invalid(&server, &format!("{name}=1&{name}=1"), &[&format!("{name} REPEATED")]);
    }
    check_invalid(&server, "per_page=101", &["per_page OUT_OF_RANGE"]);
    check_invalid(&server, "page=0&per_page=101", &["page OUT_OF_RANGE", "per_page OUT_OF_RANGE"]);
    check_invalid(&server, "search=1&search=1", &["search REPEATED"]);

    let answer = server.get(&format!("{GLOBAL}?per_page=500")).auth(&ONE).check(422);
    let expected = concat!(
        r#"{"status":"error","error":{"code":"VALIDATION_ERROR","message":"per_page must be between 1 and 100","#,
        r#""details":{"errors":[{"field":"per_page","code":"OUT_OF_RANGE","message":"must be between 1 and 100","value":"500"}]}},"#,
        r#""timestamp":"TIME","requestId":"ID"}"#,
    );
    assert_eq!(answer.masked(), expected);
}

#[test]
fn after_a_number() {
    let server = Server::sample();
    let check = |path: &str, query: &str, expected: &str, total: u64| {
        let answer = server.get(&format!("{path}?{query}")).auth(&ONE).check(200);
        assert_eq!(answer.letters(), expected, "{path}?{query}");
        assert_eq!(answer.json()["meta"]["total"], total, "{path}?{query}");
        assert_eq!(answer.json()["meta"]["page"], 1, "{path}?{query}");
    };
    check(GLOBAL, "after=%2B442079460106", "ghijkl", 12);
    check(GLOBAL, "after=+442079460106", "ghijkl", 12);
    check(GLOBAL, "after=%20442079460106&per_page=2", "gh", 12);
    check(CUSTOMER, "after=%2B442079460106", "hij", 5);
    // A number that is not there is a place all the same.
    check(GLOBAL, "after=%2B442079460999", "hijkl", 12);
    check(GLOBAL, "after=%2B999999999999999", "", 12);
    check(GLOBAL, "after=%2B1000000", ALL, 12);
    check(GLOBAL, "after=%2B442079460106&status=suspended", "gij", 5);
    check(GLOBAL, "after=", ALL, 12);
    check(GLOBAL, "after=%2B442079460106&sort=number", "ghijkl", 12);
    for value in [
        "442079460106",
        "abc",
        "%2B",
        "%2B0442079460",
        "%2B1",
        "%2B9999999999999999",
        "++442079460106",
        "%2B44207946010x",
    ] {
        check_invalid(&server, &format!("after={value}"), &["after INVALID"]);
    }
    // Generated clients always send the first page.
    let first = server.get(&format!("{GLOBAL}?page=1&after=%2B442079460106")).auth(&ONE).check(200);
    assert_eq!(first.json()["meta"]["page"], 1);
    check_invalid(&server, "page=2&after=%2B442079460106", &["after CONFLICT"]);
    for sort in ["-number", "assigned_at", "-assigned_at", "expires_at", "monthly_cost"] {
        check_invalid(&server, &format!("after=%2B442079460106&sort={sort}"), &["after CONFLICT"]);
    }
}

#[test]
fn links_lead_to_the_pages_around() {
    let server = Server::sample();
    let check = |path: &str, query: &str, expected: [Option<&str>; 4]| {
        let answer = server.get(&format!("{path}?{query}")).auth(&ONE).check(200);
        for (relation, expected) in ["next", "prev", "first", "last"].into_iter().zip(expected) {
            let expected = expected.map(|query| format!("{path}?{query}"));
            assert_eq!(answer.link(relation), expected, "{relation} of {path}?{query}");
        }
    };
    check(GLOBAL, "", [None, None, Some("page=1"), Some("page=1")]);
    check(
        GLOBAL,
        "per_page=5",
        [Some("after=%2B442079460105&per_page=5"), None, Some("page=1&per_page=5"), Some("page=3&per_page=5")],
    );
    check(
        GLOBAL,
        "page=2&per_page=5",
        [
            Some("after=%2B912271265110&per_page=5"),
            Some("page=1&per_page=5"),
            Some("page=1&per_page=5"),
            Some("page=3&per_page=5"),
        ],
    );
    check(
        GLOBAL,
        "page=3&per_page=5",
        [None, Some("page=2&per_page=5"), Some("page=1&per_page=5"), Some("page=3&per_page=5")],
    );
    // From past the end, back to where there are rows.
    check(
        GLOBAL,
        "page=9&per_page=5",
        [None, Some("page=3&per_page=5"), Some("page=1&per_page=5"), Some("page=3&per_page=5")],
    );
    check(GLOBAL, "search=000000", [None, None, Some("search=000000&page=1"), Some("search=000000&page=1")]);
    check(
        GLOBAL,
        "after=%2B442079460105&per_page=4",
        [
            Some("after=%2B912271265109&per_page=4"),
            Some("after=%2B6837101&per_page=4"),
            Some("page=1&per_page=4"),
            Some("page=3&per_page=4"),
        ],
    );
    check(GLOBAL, "after=%2B6837101", [None, Some("page=1"), Some("page=1"), Some("page=1")]);
    // Where `after` makes no sense, pages.
    check(
        GLOBAL,
        "sort=-expires_at&per_page=5",
        [
            Some("sort=-expires_at&page=2&per_page=5"),
            None,
            Some("sort=-expires_at&page=1&per_page=5"),
            Some("sort=-expires_at&page=3&per_page=5"),
        ],
    );
    // Filters are kept, as they were meant.
    check(
        CUSTOMER,
        "country=IN&search=+9122&region=Mumbai&per_page=2",
        [
            Some("country=IN&search=+9122&region=Mumbai&after=%2B912271265109&per_page=2"),
            None,
            Some("country=IN&search=+9122&region=Mumbai&page=1&per_page=2"),
            Some("country=IN&search=+9122&region=Mumbai&page=2&per_page=2"),
        ],
    );
    check(
        GLOBAL,
        "region=Z%C3%BCrich,%20West",
        [None, None, Some("region=Z%C3%BCrich%2C+West&page=1"), Some("region=Z%C3%BCrich%2C+West&page=1")],
    );
    // Links work as they are.
    for start in
        ["per_page=5", "per_page=1&sort=-monthly_cost", "status=suspended&per_page=2", "search=%2B91&per_page=1"]
    {
        let sorted = start.split('&').filter(|part| !part.starts_with("per_page")).collect::<Vec<_>>().join("&");
        let whole = server.get(&format!("{GLOBAL}?{sorted}")).auth(&ONE).check(200).letters();
        assert_eq!(
            walk(&server, &format!("{GLOBAL}?{start}"), &ONE),
            whole.chars().map(String::from).collect::<Vec<_>>()
        );
    }
}

/// All rows of a list by `Link: rel=next`, as letters where they have one.
fn walk(server: &Server, target: &str, key: &Key) -> Vec<String> {
    let mut next = Some(target.to_owned());
    let mut seen = Vec::new();
    while let Some(target) = next {
        let answer = server.get(&target).auth(key).check(200);
        seen.extend(answer.numbers());
        next = answer.link("next");
        assert!(seen.len() < 10_000, "the walk does not end");
    }
    match key.auth_id == ONE.auth_id {
        true => seen.iter().map(|number| letter(number).to_string()).collect(),
        false => seen,
    }
}

#[test]
fn a_walk_gives_every_row_once() {
    let server = Server::sample();
    let whole = server.get(&format!("{GLOBAL}?per_page=100")).auth(&SEED).check(200).numbers();
    for per_page in [1, 7, 49, 100] {
        let walked = walk(&server, &format!("{GLOBAL}?per_page={per_page}"), &SEED);
        assert_eq!(walked.len(), 147, "per_page {per_page}");
        assert_eq!(walked[..100], whole, "per_page {per_page}");
        assert!(walked.iter().zip(&walked[1..]).all(|(a, b)| a < b), "ascending, so each once");
    }
    let of_account = walk(&server, "/api/v1/partner/accounts/MA_48149cf4/numbers?per_page=2", &SEED);
    assert_eq!(of_account, ["+912271264217", "+912271264219", "+912271264220"]);
}

#[test]
fn a_walk_neither_skips_nor_repeats_while_another_process_imports() {
    let server = Server::sample();
    let before = walk(&server, &format!("{GLOBAL}?per_page=100"), &SEED);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let imports = scope.spawn(|| {
            // New rows in front, in between and behind, and a changed one.
            for round in 0..8 {
                let rows = format!(
                    "number,tags\n+91227126410{round},new\n+9122712642{}00,new\n+91227126499{round},new\n+912271264230,t{round}\n",
                    17 + round
                );
                assert_eq!(server.database.import("PA_SEED", &rows)["imported"], 3);
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut walks = 0;
        loop {
            let last = done.load(Ordering::SeqCst);
            let walked = walk(&server, &format!("{GLOBAL}?per_page=9"), &SEED);
            let untouched: Vec<_> = walked.iter().filter(|number| before.contains(number)).cloned().collect();
            assert_eq!(untouched, before, "walk {walks}");
            walks += 1;
            if last {
                break;
            }
        }
        imports.join().expect("the imports");
    });
    server.within(SHOWS_WITHIN, |server| {
        let all = server.get(&format!("{GLOBAL}?per_page=1")).auth(&SEED).check(200);
        all.json()["meta"]["total"] == 147 + 24
    });
}

// Filters.

#[test]
fn search_finds_part_of_the_number() {
    let server = Server::sample();
    for (search, expected) in [
        ("", ALL),
        ("9122712", "hij"),
        ("265108", "h"),
        ("912271265108", "h"),
        ("108", "h"),
        ("0", "abcdefghijkl"),
        ("0000", "kl"),
        ("00000", "l"),
        // A plus anchors, however it is written.
        ("%2B91", "hijk"),
        ("+91", "hijk"),
        ("%2091", "hijk"),
        ("+912271265108", "h"),
        ("+22", ""),
        ("22", "hij"),
        ("%2B", ALL),
        ("+", ALL),
        // What people write between digits is dropped.
        ("(022)%207126-5", ""),
        ("22%207126-5", "hij"),
        ("22.7126.5", "hij"),
        ("(22)7126", "hij"),
        ("%2B91%2022%207126%205108", "h"),
        ("+91-22-7126-5108", "h"),
        ("-.()", ALL),
        // Percent-encoded digits are digits.
        ("%39%31%32%32", "hij"),
        // What cannot occur in a number matches nothing.
        ("abc", ""),
        ("9122a", ""),
        ("%25", ""),
        ("9%25", ""),
        ("_", ""),
        ("*", ""),
        ("%E0%A5%AF%E0%A5%A7", ""),
        ("%D9%A9", ""),
        ("91%2B22", ""),
        ("%2B%2B91", ""),
        ("%00", ""),
        ("%FF", ""),
        ("1e3", ""),
        ("9122712651080", ""),
        ("1234567890123456", ""),
        ("%27%20OR%201=1", ""),
        // 32 characters, of which most are dropped; and 32 of two bytes each.
        ("9122712---------------------5108", ""),
        ("91227126------------------- 5108", "h"),
        (
            "%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9",
            "",
        ),
    ] {
        check_rows(&server, &format!("search={}", search.replace(' ', "%20")), expected);
    }
    check_invalid(&server, &format!("search={}", "1".repeat(33)), &["search TOO_LONG"]);
    check_invalid(&server, &format!("search={}", "%C3%A9".repeat(33)), &["search TOO_LONG"]);
    check_rows(&server, &format!("search={}", "1".repeat(32)), "");
    check_rows(&server, &format!("search={}", "%C3%A9".repeat(32)), "");
    check_rows(&server, &format!("search={}108", "-".repeat(29)), "h");
    check_invalid(&server, &format!("search={}108", "-".repeat(30)), &["search TOO_LONG"]);
}

#[test]
fn filters() {
    let server = Server::sample();
    for (query, expected) in [
        ("application_id=app_1", "bhk"),
        ("application_id=app_2", "dj"),
        ("application_id=", ALL),
        ("application_id=app_nobody_has", ""),
        ("application_id=app_Secundus", ""),
        ("application_id=APP_1", ""),
        ("application_id=app_", ""),
        ("application_id=app_1%00", ""),
        ("application_id=%FF", ""),
        ("status=active", "abcdhkl"),
        ("status=suspended", "efgij"),
        ("status=", ALL),
        ("number_type=mobile", "k"),
        ("number_type=tollfree", "c"),
        ("number_type=local", "abdefghijl"),
        ("number_type=", ALL),
        ("country=IN", "hijk"),
        ("country=FR", ""),
        ("country=", ALL),
        ("region=Mumbai", "hij"),
        ("region=mumbai", ""),
        ("region=Mum", ""),
        ("region=Z%C3%BCrich,+West", "l"),
        ("region=", ALL),
        ("trunk_id=trunk_1", "bhik"),
        ("trunk_id=trunk_2", "cj"),
        ("trunk_id=trunk_Secundus", ""),
        ("trunk_id=", ALL),
        ("routed=true", "bdhjkl"),
        ("routed=false", "acefgi"),
        ("routed=", ALL),
        ("assigned=true", "abcdhijkl"),
        ("assigned=false", "efg"),
        ("assigned=", ALL),
        ("expires_before=2099-01-02T00:00:00Z", "dj"),
        ("expires_before=2099-01-02T00:00:00.000Z", "dj"),
        ("expires_before=2099-01-02T00:00:00.5Z", "bdj"),
        ("expires_before=2099-01-02T00:00:01Z", "bdj"),
        ("expires_before=", ALL),
        ("expires_after=2099-01-02T00:00:00Z", "i"),
        ("expires_after=2099-01-02T00:00:00.5Z", "i"),
        ("expires_after=2099-01-01T23:59:59.5Z", "bi"),
        ("expires_after=2000-01-01T00:00:00Z", "bdij"),
        ("expires_after=", ALL),
        ("expires_after=2098-12-31T00:00:00Z&expires_before=2099-01-02T05:30:00%2B05:30", "d"),
        ("assigned_before=2026-01-01T00:00:00Z", "jl"),
        ("assigned_before=", ALL),
        ("assigned_after=2026-01-20T00:00:00Z", "ah"),
        ("assigned_after=", ALL),
        ("tag=vip", "bh"),
        ("tag=night", "hj"),
        ("tag=VIP", ""),
        ("tag=vip;night", ""),
        ("tag=", ALL),
        ("sort=", ALL),
        // Together they narrow.
        ("country=IN&status=active&routed=true", "hk"),
        ("search=9122&tag=night&status=suspended", "j"),
        ("status=active&assigned=false", ""),
    ] {
        check_rows(&server, query, expected);
    }
    for (query, expected) in [
        ("account_auth_id=MA_1", "abhij"),
        ("account_auth_id=MA_2", "cdk"),
        ("account_auth_id=MA_4", ""),
        ("account_auth_id=MA_nobody", ""),
        ("account_auth_id=MA_Secundus", ""),
        ("account_auth_id=", ALL),
        ("account_auth_id=MA_1&assigned=false", ""),
    ] {
        let answer = server.get(&format!("{GLOBAL}?{query}")).auth(&ONE).check(200);
        assert_eq!(answer.letters(), expected, "{query}");
        assert_eq!(answer.json()["meta"]["total"], expected.len(), "{query}");
    }
}

#[test]
fn filters_with_values_they_cannot_have() {
    let server = Server::sample();
    for (name, values) in [
        (
            "status",
            &["Active", "expired", "available", "quarantined", "active,", "active,%20suspended", "1", "%20active"][..],
        ),
        ("number_type", &["toll_free", "LOCAL", "fixed"]),
        ("country", &["in", "IND", "ZZ", "I", "91", "%FF%FE"]),
        ("routed", &["1", "yes", "True", "null"]),
        ("assigned", &["0", "no", "FALSE"]),
        ("expires_before", &["2026-02-01", "tomorrow", "1769940000", "2026-02-30T00:00:00Z", "2026-02-01T10:00:00"]),
        ("expires_after", &["2026-13-01T00:00:00Z", "2026-02-01T24:00:00Z"]),
        ("assigned_before", &["02/03/2026", "2026-02-01%2010:00:00"]),
        ("assigned_after", &["-1", "now"]),
        ("sort", &["name", "Number", "--number", "number,expires_at", "-", "%2Bnumber", "number%20desc"]),
    ] {
        for value in values {
            check_invalid(&server, &format!("{name}={value}"), &[&format!("{name} INVALID")]);
        }
    }
    check_invalid(&server, "status=x&country=y&sort=z", &["status INVALID", "country INVALID", "sort INVALID"]);
}

#[test]
fn sorting_puts_nulls_last_and_breaks_ties_by_number() {
    let server = Server::sample();
    for (sort, expected) in [
        ("number", "abcdefghijkl"),
        ("-number", "lkjihgfedcba"),
        ("assigned_at", "jlbcdikhaefg"),
        ("-assigned_at", "ahkidcbljefg"),
        ("expires_at", "jdbiacefghkl"),
        ("-expires_at", "ibdjacefghkl"),
        ("monthly_cost", "lcbakdhijefg"),
        ("-monthly_cost", "jdhikabclefg"),
    ] {
        check_rows(&server, &format!("sort={sort}"), expected);
    }
    check_rows(&server, "sort=-monthly_cost&country=IN", "jhik");
    let answer = server.get(&format!("{GLOBAL}?sort=-monthly_cost&per_page=3&page=2")).auth(&ONE).check(200);
    assert_eq!(answer.letters(), "ika");
}

#[test]
fn an_unknown_parameter_is_refused_with_the_known_ones() {
    let server = Server::sample();
    let known = "page, per_page, after, as_of, search, application_id, status, number_type, country, region, trunk_id, \
        routed, assigned, expires_before, expires_after, assigned_before, assigned_after, called_before, tag, sort";
    let with_account = known.replace("routed,", "account_auth_id, routed,");
    for (path, known) in [(CUSTOMER, known), (GLOBAL, &with_account), (ACCOUNTS, "page, per_page, search")] {
        for name in ["limit", "Page", "PAGE", "pages", "offset", "%00", "per_page%20", "%FF"] {
            let answer = server.get(&format!("{path}?{name}=1")).auth(&ONE).check(422);
            let message = answer.json()["error"]["details"]["errors"][0]["message"].as_str().map(str::to_owned);
            assert_eq!(message.as_deref(), Some(&*format!("is not a parameter; known are {known}")), "{path}?{name}=1");
        }
        let answer = server.get(&format!("{path}?nonsense")).auth(&ONE).check(422);
        assert_eq!(answer.fields(), ["nonsense UNKNOWN"]);
    }
    let answer = server.get(&format!("{CUSTOMER}?account_auth_id=MA_1")).auth(&ONE).check(422);
    assert_eq!(answer.fields(), ["account_auth_id UNKNOWN"]);
    let answer = server.get("/api/v1/partner/numbers/+912271265108?page=1").auth(&ONE).check(422);
    assert_eq!(answer.fields(), ["page UNKNOWN"]);
    // What is not a parameter at all is no parameter.
    server.get(&format!("{GLOBAL}?")).auth(&ONE).check(200);
    server.get(&format!("{GLOBAL}?&&")).auth(&ONE).check(200);
}

// Whether an answer has changed.

#[test]
fn if_none_match() {
    let server = Server::sample();
    let single = "/api/v1/partner/numbers/+912271265108";
    for path in [CUSTOMER, GLOBAL, ACCOUNTS, single] {
        let full = server.get(path).auth(&ONE).check(200);
        let tag = full.header("etag").expect("a tag").to_owned();
        let ask = |value: &str| server.get(path).auth(&ONE).header("If-None-Match", value).send();
        let known = [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            format!("\"a\",W/{tag} , \"b\""),
            "*".to_owned(),
        ];
        for value in known {
            let answer = ask(&value).check(304);
            assert_eq!(answer.header("etag"), Some(&*tag));
            assert_eq!(answer.header("content-type"), None);
        }
        for value in ["\"x\"", "", "W/\"x\"", tag.trim_matches('"'), &tag.to_uppercase()] {
            assert_eq!(ask(value).check(200).body, full.body, "If-None-Match: {value}");
        }
        let head = server.request("HEAD", path).auth(&ONE).header("If-None-Match", &tag).check(304);
        assert_eq!(head.header("etag"), Some(&*tag));
        // A second line counts as well.
        server.get(path).auth(&ONE).header("If-None-Match", "\"x\"").header("If-None-Match", &tag).check(304);
        // The tag opens nothing by itself.
        server.get(path).header("If-None-Match", &tag).check(401);
        server.get(path).auth(&TWO).header("If-None-Match", &tag).send();
    }
    // Another tenant's tag is not this one's.
    let tag = |key| server.get(GLOBAL).auth(key).check(200).header("etag").map(str::to_owned);
    assert_ne!(tag(&ONE), tag(&TWO));
    // An error is an error.
    server.get(&format!("{GLOBAL}?page=0")).auth(&ONE).header("If-None-Match", "*").check(422);
    server.get("/api/v1/partner/accounts/MA_none/numbers").auth(&ONE).header("If-None-Match", "*").check(404);
}

#[test]
fn the_entity_tag_differs_by_format() {
    let server = Server::sample();
    let tag = |accept: &str| {
        let answer = server.get(GLOBAL).auth(&ONE).header("Accept", accept).check(200);
        answer.header("etag").expect("a tag").to_owned()
    };
    let tags = [tag("application/json"), tag("text/csv"), tag("application/x-ndjson")];
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    let answer = server.get(GLOBAL).auth(&ONE).header("Accept", "text/csv").header("If-None-Match", &tags[1]).send();
    answer.check(304);
    server.get(GLOBAL).auth(&ONE).header("Accept", "text/csv").header("If-None-Match", &tags[0]).check(200);
}

#[test]
fn the_entity_tag_changes_with_every_write_and_only_then() {
    let server = Server::sample();
    let tag = |server: &Server| server.get(GLOBAL).auth(&ONE).check(200).header("etag").expect("a tag").to_owned();
    let mut last = tag(&server);
    assert_eq!(tag(&server), last);
    let mut changed = |what: &str| {
        server.within(SHOWS_WITHIN * 5, |server| tag(server) != last);
        last = tag(&server);
        assert_eq!(tag(&server), last, "{what}");
    };
    let other = server.get(GLOBAL).auth(&TWO).check(200).header("etag").map(str::to_owned);
    server.database.import("PA_ONE", "number,tags\n+912271265108,changed\n");
    changed("a changed number");
    server.database.import("PA_ONE", "number\n+442079460113\n");
    changed("a new number");
    server
        .database
        .run(&["account", "create", "--partner", "PA_ONE", "--auth-id", "MA_5", "--name", "Primus Five"])
        .done();
    changed("a new account");
    // Nobody else's tag moved.
    assert_eq!(server.get(GLOBAL).auth(&TWO).check(200).header("etag").map(str::to_owned), other);
    let before = tag(&server);
    assert_eq!(server.database.import("PA_ONE", "number,tags\n+912271265108,changed\n")["unchanged"], 1);
    // The time is the test: a change would show within it.
    std::thread::sleep(SHOWS_WITHIN);
    assert_eq!(tag(&server), before, "an import that changes nothing");
}

#[test]
fn a_number_expires_to_the_second_and_the_tag_with_it() {
    let server = Server::sample();
    let (text, at) = seconds_ahead(6);
    server.database.import("PA_ONE", &format!("number,expires_at\n+912271265108,{text}\n"));
    let target = format!("{CUSTOMER}?search=1265108");
    server.within(SHOWS_WITHIN * 5, |server| server.get(&target).auth(&ONE).check(200).text().contains(&text));
    let (mut active, mut suspended) = (None, None);
    while suspended.is_none() || unix_now() < at + 0.1 {
        let asked = unix_now();
        let answer = server.get(&target).auth(&ONE).check(200);
        let answered = unix_now();
        let status = answer.json()["data"][0]["status"].as_str().expect("a status").to_owned();
        let tag = answer.header("etag").expect("a tag").to_owned();
        if answered < at {
            assert_eq!(status, "active", "before its end");
        }
        if asked >= at {
            assert_eq!(status, "suspended", "{} s after its end", asked - at);
        }
        let seen = if status == "active" { &mut active } else { &mut suspended };
        assert_eq!(seen.get_or_insert(tag.clone()), &tag, "one tag while {status}");
        assert!(asked < at + 20.0, "it never expired");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_ne!(active.expect("it was active first"), suspended.expect("then suspended"));
    let answer = server.get(&format!("{CUSTOMER}?status=active&search=1265108")).auth(&ONE).check(200);
    assert_eq!(answer.letters(), "");
    let accounts = server.get(ACCOUNTS).auth(&ONE).check(200).json();
    assert_eq!(accounts["data"][0]["numbers"], serde_json::json!({ "total": 5, "active": 2, "suspended": 3 }));
}

// Formats.

#[test]
fn the_format_is_negotiated() {
    let server = Server::sample();
    let json = "application/json";
    let csv = "text/csv; charset=utf-8; header=present";
    let ndjson = "application/x-ndjson";
    for (accept, expected) in [
        ("application/json", json),
        ("*/*", json),
        ("", json),
        ("text/html", json),
        ("nonsense", json),
        ("text/csv", csv),
        ("Text/CSV", csv),
        ("text/csv;q=0.9, application/json;q=0.8", csv),
        ("text/csv;q=0.8, application/json;q=0.9", json),
        ("application/json;q=0.1,application/x-ndjson; q=0.2", ndjson),
        ("text/csv;q=0", json),
        ("text/csv;q=0, application/x-ndjson;q=0.001", ndjson),
        ("text/csv;header=present;q=0.5, application/json;q=0.4", csv),
        ("application/x-ndjson, text/csv;q=0.5, */*;q=0.1", ndjson),
        ("text/html, application/xhtml+xml, */*;q=0.8", json),
    ] {
        for path in [CUSTOMER, GLOBAL] {
            let answer = server.get(path).auth(&ONE).header("Accept", accept).check(200);
            assert_eq!(answer.header("content-type"), Some(expected), "Accept: {accept}");
        }
    }
    let none = server.get(GLOBAL).auth(&ONE).check(200);
    assert_eq!(none.header("content-type"), Some(json), "without Accept");
    // Errors are JSON whatever was asked for.
    let error = server.get(&format!("{GLOBAL}?page=0")).auth(&ONE).header("Accept", "text/csv").check(422);
    assert_eq!(error.code(), "VALIDATION_ERROR");
}

#[test]
fn csv_has_the_whole_filtered_result() {
    let server = Server::sample();
    let csv = |target: &str, key: &Key| {
        let answer = server.get(target).auth(key).header("Accept", "text/csv").check(200);
        assert_eq!(answer.header("link"), None, "there are no pages");
        answer.text().to_owned()
    };
    let header = format!("{}\r\n", CUSTOMER_KEYS.join(","));
    assert_eq!(
        csv(&format!("{CUSTOMER}?tag=vip"), &ONE),
        header.clone()
            + "+12025550102,local,US,Washington,active,app_1,\"Primus \"\"IVR\"\", main\",trunk_1,1.50,USD,2026-01-10T08:00:00Z,2099-01-02T00:00:00Z\r\n"
            + "+912271265108,local,IN,Mumbai,active,app_1,\"Primus \"\"IVR\"\", main\",trunk_1,500.00,INR,2026-02-01T10:00:00Z,\r\n"
    );
    assert_eq!(csv(&format!("{CUSTOMER}?search=abc"), &ONE), header, "the header also when nothing matches");
    let global = format!("{}\r\n", global_keys().join(","));
    assert_eq!(
        csv(&format!("{GLOBAL}?search=460105"), &ONE),
        global.clone() + "+442079460105,,,local,GB,London,suspended,,,,,,,\r\n"
    );
    assert_eq!(csv(&format!("{GLOBAL}?tag=none"), &ONE), global);
    // All of it, whatever the page; and what it says is what JSON says.
    for query in ["", "?per_page=2", "?page=3&per_page=2"] {
        let text = csv(&format!("{GLOBAL}{query}"), &SEED);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().expect("a header").iter().collect::<Vec<_>>(), global_keys());
        let numbers: Vec<String> = reader.records().map(|row| row.expect("a row")[0].to_owned()).collect();
        assert_eq!(numbers, walk(&server, &format!("{GLOBAL}?per_page=100"), &SEED), "{query}");
    }
    let sorted = csv(&format!("{GLOBAL}?sort=-monthly_cost&assigned=true"), &ONE);
    let letters: String = sorted.lines().skip(1).map(|line| letter(line.split(',').next().expect("a cell"))).collect();
    assert_eq!(letters, "jdhikabcl");
    let after = csv(&format!("{GLOBAL}?after=%2B912271265110"), &ONE);
    assert_eq!(after.lines().count(), 3, "{after}");
}

#[test]
fn ndjson_has_the_rows_of_json() {
    let server = Server::sample();
    for path in [CUSTOMER, GLOBAL] {
        for query in ["", "?status=active", "?search=abc", "?sort=-expires_at"] {
            let target = format!("{path}{query}");
            let lines = server.get(&target).auth(&ONE).header("Accept", "application/x-ndjson").check(200);
            let json = server.get(&target).auth(&ONE).check(200);
            let rows: Vec<&str> = lines.text().split_terminator('\n').collect();
            let start = format!("{{\"data\":[{}],", rows.join(","));
            assert!(json.text().starts_with(&start), "{target}");
            assert!(lines.text().is_empty() || lines.text().ends_with('\n'), "{target}");
        }
    }
}

#[test]
fn a_long_stream_is_whole() {
    let server = Server::sample();
    server.database.import("PA_ONE", "number,country,region,number_type\n+3312000000-+3312004999,FR,Paris,local\n");
    server.within(SHOWS_WITHIN * 5, |server| {
        server.get(&format!("{GLOBAL}?per_page=1")).auth(&ONE).check(200).json()["meta"]["total"] == 5012
    });
    let stream = server.get(&format!("{GLOBAL}?country=FR")).auth(&ONE).header("Accept", "text/csv").check(200);
    assert_eq!(stream.text().lines().count(), 5001);
    assert!(stream.text().ends_with("\r\n"));
    assert!(stream.text().contains("\r\n+3312004999,"), "to the last");
}

#[test]
fn head_has_the_headers_of_get() {
    let server = Server::sample();
    let single = "/api/v1/partner/numbers/+912271265108";
    let targets = [
        (GLOBAL, "*/*"),
        (CUSTOMER, "*/*"),
        (GLOBAL, "text/csv"),
        (CUSTOMER, "application/x-ndjson"),
        (ACCOUNTS, "*/*"),
        (single, "*/*"),
        ("/api/v1/partner/numbers?page=0", "*/*"),
        ("/api/v1/partner/nothing", "*/*"),
        ("/livez", "*/*"),
        ("/openapi.json", "*/*"),
    ];
    for (target, accept) in targets {
        let headers = |method: &str| {
            let answer = server.request(method, target).auth(&ONE).header("Accept", accept).send();
            // How a body is framed is said only with one; a body's id and time vary.
            let same = |name: &str| !["date", "x-request-id", "transfer-encoding"].contains(&name);
            let headers = answer.headers.iter().filter(|(name, _)| same(name)).cloned();
            (answer.status, headers.collect::<Vec<_>>())
        };
        assert_eq!(headers("HEAD"), headers("GET"), "{target} as {accept}");
    }
}

// What is refused.

#[test]
fn other_methods_are_refused() {
    let server = Server::sample();
    let single = "/api/v1/partner/numbers/+912271265108";
    for path in
        [GLOBAL, CUSTOMER, ACCOUNTS, single, "/api/v1/partner/costs", "/livez", "/readyz", "/metrics", "/openapi.json"]
    {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"] {
            for request in [server.request(method, path), server.request(method, path).auth(&ONE)] {
                let answer = request.check(405);
                assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
                assert_eq!(answer.code(), "METHOD_NOT_ALLOWED", "{method} {path}");
            }
        }
    }
    let body = "POST /api/v1/partner/numbers HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let answer = server.send("POST", body.as_bytes());
    answer.check_always("POST", GLOBAL);
    answer.check(405);
}

#[test]
fn credentials_that_open_nothing_are_all_answered_alike() {
    let server = Server::sample();
    let expired = server.database.key("PA_ONE", &["--expires", &seconds_ahead(8).0]);
    let revoked = server.database.key("PA_ONE", &[]);
    let all = |server: &Server, status: u16| {
        [&expired, &revoked].iter().all(|key| server.get(GLOBAL).auth(key).send().status == status)
    };
    // Both open first: a key that the server has not heard of yet is refused
    // too, and would be taken for one that has ended.
    server.within(SHOWS_WITHIN * 15, |server| all(server, 200));
    server.database.run(&["key", "revoke", "--partner", "PA_ONE", &revoked.key_id]).done();
    server.within(SHOWS_WITHIN * 30, |server| all(server, 401));
    let token = ONE.auth_token.as_str();
    let flipped = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
    let ask = |headers: &[(&str, &str)]| {
        let empty = server.get(CUSTOMER);
        headers.iter().fold(empty, |request, (name, value)| request.header(name, value))
    };
    let (id, secret) = ("X-Auth-ID", "X-Auth-Token");
    let causes: Vec<(&str, Request<'_>)> = vec![
        ("nothing", ask(&[])),
        ("no token", ask(&[(id, "PA_ONE")])),
        ("no id", ask(&[(secret, token)])),
        ("empty", ask(&[(id, ""), (secret, "")])),
        ("unknown partner", ask(&[(id, "PA_NONE"), (secret, token)])),
        ("another partner's token", ask(&[(id, "PA_ONE"), (secret, &TWO.auth_token)])),
        ("another partner's id", ask(&[(id, "PA_TWO"), (secret, token)])),
        ("a wrong token", ask(&[(id, "PA_ONE"), (secret, "nonsense")])),
        ("a wrong last character", ask(&[(id, "PA_ONE"), (secret, &flipped)])),
        ("half a token", ask(&[(id, "PA_ONE"), (secret, &token[..20])])),
        ("more than a token", ask(&[(id, "PA_ONE"), (secret, &format!("{token}0"))])),
        ("another case", ask(&[(id, "pa_one"), (secret, token)])),
        ("the key's id", ask(&[(id, "PA_ONE"), (secret, &ONE.key_id)])),
        ("not ASCII", ask(&[(id, "PÄ_ONE"), (secret, "té")])),
        ("expired", ask(&[]).auth(&expired)),
        ("revoked", ask(&[]).auth(&revoked)),
        ("bearer only", ask(&[("Authorization", &format!("Bearer {token}"))])),
    ];
    let expected = concat!(
        r#"{"status":"error","error":{"code":"INVALID_CREDENTIALS","message":"invalid or missing credentials"},"#,
        r#""timestamp":"TIME","requestId":"ID"}"#,
    );
    for (cause, request) in causes {
        let answer = request.check(401);
        assert_eq!(answer.masked(), expected, "{cause}");
        let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        let all =
            ["content-type", "cache-control", "vary", "x-request-id", "server", "connection", "content-length", "date"];
        assert_eq!(names, all, "{cause}");
    }
    // Before anything else is looked at.
    for path in [
        GLOBAL,
        ACCOUNTS,
        "/api/v1/partner/numbers/+1",
        "/api/v1/partner/numbers?page=0",
        "/api/v1/partner/accounts/x/numbers",
    ] {
        assert_eq!(server.get(path).check(401).masked(), expected, "{path}");
    }
}

#[test]
fn credentials_are_sent_once_and_bearer_is_ignored() {
    let server = Server::sample();
    for (name, value) in [
        ("X-Auth-ID", "PA_ONE"),
        ("X-Auth-Token", ONE.auth_token.as_str()),
        ("x-auth-id", "PA_TWO"),
        ("X-AUTH-TOKEN", ""),
    ] {
        let answer = server.get(GLOBAL).auth(&ONE).header(name, value).check(400);
        assert_eq!(answer.code(), "BAD_REQUEST", "{name} twice");
    }
    for bearer in ["Bearer nonsense", &format!("Bearer {}", TWO.auth_token), "Basic eDp5"] {
        let answer = server.get(GLOBAL).auth(&ONE).header("Authorization", bearer).check(200);
        assert_eq!(answer.letters(), ALL);
    }
    // Header names in any case.
    let answer = server.get(GLOBAL).header("x-auth-id", "PA_ONE").header("X-AUTH-TOKEN", &ONE.auth_token).check(200);
    assert_eq!(answer.letters(), ALL);
}

/// How long after the command ended the server showed it: the best of three,
/// since a busy machine can only make it longer.
fn shows_after(server: &Server, rounds: [(&[&str], u16); 6], key: &Key) -> Duration {
    let mut best = Duration::MAX;
    for (args, status) in rounds {
        server.database.run(args).done();
        let since = Instant::now();
        server.within(SHOWS_WITHIN * 20, |server| server.get(GLOBAL).auth(key).send().status == status);
        best = best.min(since.elapsed());
    }
    best
}

#[test]
fn a_suspended_partner_is_out_at_once_and_can_come_back() {
    let server = Server::sample();
    let suspend = &["partner", "suspend", "--auth-id", "PA_ONE"][..];
    let resume = &["partner", "resume", "--auth-id", "PA_ONE"][..];
    let rounds = [(suspend, 403), (resume, 200), (suspend, 403), (resume, 200), (suspend, 403), (resume, 200)];
    let best = shows_after(&server, rounds, &ONE);
    assert!(best < SHOWS_WITHIN, "after {best:?}");
    server.database.run(suspend).done();
    server.within(SHOWS_WITHIN * 20, |server| server.get(GLOBAL).auth(&ONE).send().status == 403);
    let single = "/api/v1/partner/numbers/+912271265108";
    for path in [GLOBAL, CUSTOMER, ACCOUNTS, single, "/api/v1/partner/accounts/none/numbers"] {
        let answer = server.get(path).auth(&ONE).check(403);
        assert_eq!(answer.code(), "ACCOUNT_INACTIVE", "{path}");
    }
    // Only to its own credentials is that said, and only of itself.
    let wrong = server.get(GLOBAL).header("X-Auth-ID", "PA_ONE").header("X-Auth-Token", "nonsense").check(401);
    assert_eq!(wrong.code(), "INVALID_CREDENTIALS");
    server.get(GLOBAL).auth(&TWO).check(200);
    server.get("/livez").check(200);
}

#[test]
fn a_revoked_key_is_out_at_once_and_others_stay() {
    let server = Server::sample();
    let mut best = Duration::MAX;
    // A busy machine is slow now and then; the program would be always.
    for _ in 0..20 {
        if best < SHOWS_WITHIN {
            break;
        }
        let key = server.database.key("PA_ONE", &[]);
        let since = Instant::now();
        server.within(SHOWS_WITHIN * 20, |server| server.get(GLOBAL).auth(&key).send().status == 200);
        let created = since.elapsed();
        server.database.run(&["key", "revoke", "--partner", "PA_ONE", &key.key_id]).done();
        let since = Instant::now();
        server.within(SHOWS_WITHIN * 20, |server| server.get(GLOBAL).auth(&key).send().status == 401);
        best = best.min(created.max(since.elapsed()));
    }
    assert!(best < SHOWS_WITHIN, "after {best:?}");
    server.get(GLOBAL).auth(&ONE).check(200);
}

#[test]
fn keys_have_scopes_an_end_and_networks() {
    let server = Server::sample();
    let (end, at) = seconds_ahead(8);
    let database = &server.database;
    let here = database.key("PA_ONE", &["--network", "192.0.2.0/24", "--network", "127.0.0.0/8"]);
    let elsewhere = database.key("PA_ONE", &["--network", "192.0.2.0/24", "--network", "2001:db8::/32"]);
    let read = database.key("PA_ONE", &["--scope", "read"]);
    let manage = database.key("PA_ONE", &["--scope", "manage"]);
    let ends = database.key("PA_ONE", &["--expires", &end]);
    for key in [&here, &read, &manage, &ends] {
        server.within(SHOWS_WITHIN * 5, |server| server.get(GLOBAL).auth(key).send().status == 200);
        server.get(ACCOUNTS).auth(key).check(200);
    }
    for path in [GLOBAL, CUSTOMER, ACCOUNTS] {
        let answer = server.get(path).auth(&elsewhere).check(403);
        assert_eq!(answer.code(), "FORBIDDEN");
        // Nobody here is a trusted proxy, so this is a claim of a stranger.
        server.get(path).auth(&elsewhere).header("X-Forwarded-For", "192.0.2.7").check(403);
        server.get(path).auth(&here).header("X-Forwarded-For", "198.51.100.7").check(200);
    }
    loop {
        let asked = unix_now();
        let status = server.get(GLOBAL).auth(&ends).send().status;
        if unix_now() < at {
            assert_eq!(status, 200, "before its end");
        }
        if asked >= at {
            assert_eq!(status, 401, "after its end");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--network", "192.0.2.0/24"]);
    let config = database.write("proxy.toml", "[http]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n");
    let server = Server::start(database, &["--config", config.to_str().expect("a path")]);
    let ask = |forwarded: &str| server.get(GLOBAL).auth(&key).header("X-Forwarded-For", forwarded).send().status;
    assert_eq!(ask("192.0.2.7"), 200);
    assert_eq!(ask("192.0.2.7, 10.1.1.1"), 200);
    assert_eq!(ask("198.51.100.1, 192.0.2.7"), 200, "left of the first stranger is a stranger's claim");
    assert_eq!(ask("192.0.2.7, 198.51.100.1"), 403);
    assert_eq!(ask("198.51.100.1"), 403);
    assert_eq!(ask("nonsense"), 403);
    let lines =
        server.get(GLOBAL).auth(&key).header("X-Forwarded-For", "192.0.2.7").header("X-Forwarded-For", "10.0.0.1");
    lines.check(200);
}

// Tenants.

#[test]
fn the_foreign_and_the_unknown_are_not_told_apart() {
    let server = Server::sample();
    let expected = concat!(
        r#"{"status":"error","error":{"code":"NOT_FOUND","message":"there is nothing here"},"#,
        r#""timestamp":"TIME","requestId":"ID"}"#,
    );
    for path in [
        "/api/v1/partner/accounts/MA_Secundus/numbers",
        "/api/v1/partner/accounts/MA_48149cf4/numbers",
        "/api/v1/partner/accounts/MA_nobody/numbers",
        "/api/v1/partner/accounts/PA_ONE/numbers",
        "/api/v1/partner/accounts/MA_1%00/numbers",
        "/api/v1/partner/accounts/%FF%FE/numbers",
        "/api/v1/partner/accounts/MA_1%2F/numbers",
        "/api/v1/partner/accounts/%2E%2E/numbers",
        "/api/v1/partner/accounts/../numbers",
        "/api/v1/partner/accounts/MA_1/../MA_1/numbers",
        "/api/v1/partner/accounts//numbers",
        "/api/v1/partner/accounts/MA_1/numbers/",
        "/api/v1/partner/accounts/ma_1/numbers",
        "/api/v1/partner/accounts/MA_Secundus",
        "/api/v1/partner/accounts/ma_1",
        "/api/v1/partner/accounts/%FF%FE",
        "/api/v1/partner/accounts/",
        "/api/v1/partner/applications/app_none",
        "/api/v1/partner/trunks/%2E%2E",
        "//api/v1/partner/numbers",
        "/api//v1/partner/numbers",
        "/api/v1/partner/numbers/",
        "/api/v1/partner//numbers",
        "/api/v1/partner/Numbers",
        "/api/v1/partner/numbers/+4989100001",
        "/api/v1/partner/numbers/%2B4989100004",
        "/api/v1/partner/numbers/+4989100999",
        "/api/v1/partner/numbers/912271265999",
        "/api/v1/partner/numbers/0912271265108",
        "/api/v1/partner/numbers/+9122",
        "/api/v1/partner/numbers/abc",
        "/api/v1/partner/numbers/%00",
        "/api/v1/partner/numbers/%FF",
        "/api/v1/partner/numbers/+91227126510%38x",
        "/api/v1/partner",
        "/api/v2/partner/numbers",
        "/nothing/here",
        "/nothing<script>",
        "/%00",
        "/%",
        "/%zz",
        "/..",
        "/.git/config",
        "*",
    ] {
        let answer = server.get(path).auth(&ONE).send();
        if path.contains('<') {
            // Not a target at all.
            assert_eq!(answer.check(400).code(), "BAD_REQUEST");
            continue;
        }
        let answer = answer.check(404);
        assert_eq!(answer.masked(), expected, "{path}");
        // What is told where a partner was let in is the same for all it asks.
        assert!(answer.header("inventory-version").is_none_or(|version| version == "3"), "{answer:?}");
        let names = answer.headers.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "inventory-version");
        let all =
            ["content-type", "cache-control", "vary", "x-request-id", "server", "connection", "content-length", "date"];
        assert_eq!(names.collect::<Vec<_>>(), all, "{path}");
    }
    // Equal also when parameters are wrong, which a known account would say.
    for account in ["MA_Secundus", "MA_nobody"] {
        let path = format!("/api/v1/partner/accounts/{account}/numbers?page=0");
        assert_eq!(server.get(&path).auth(&ONE).check(404).masked(), expected);
    }
}

#[test]
fn overlapping_ids_stay_apart() {
    let server = Server::sample();
    let total = |target: &str, key: &Key| server.get(target).auth(key).check(200).json()["meta"]["total"].clone();
    assert_eq!((total(GLOBAL, &ONE), total(GLOBAL, &TWO)), (12.into(), 4.into()));
    assert_eq!((total(CUSTOMER, &ONE), total(CUSTOMER, &TWO)), (5.into(), 2.into()));
    for filter in ["application_id=app_1", "trunk_id=trunk_1", "account_auth_id=MA_1", "status=active", "search=1"] {
        let target = format!("{GLOBAL}?{filter}");
        let numbers = server.get(&target).auth(&TWO).check(200).numbers();
        assert!(
            !numbers.is_empty() && numbers.iter().all(|number| number.starts_with("+4989")),
            "{filter}: {numbers:?}"
        );
        let numbers = server.get(&target).auth(&ONE).check(200).numbers();
        assert!(
            !numbers.is_empty() && numbers.iter().all(|number| !number.starts_with("+4989")),
            "{filter}: {numbers:?}"
        );
    }
    let row = server.get("/api/v1/partner/numbers/+4989100001").auth(&TWO).check(200).json();
    assert_eq!(row["data"]["application_name"], "Secundus IVR");
    let row = server.get("/api/v1/partner/numbers/+912271265108").auth(&ONE).check(200).json();
    assert_eq!(row["data"]["application_name"], "Primus \"IVR\", main");
    for accept in ["text/csv", "application/x-ndjson"] {
        let answer = server.get(GLOBAL).auth(&TWO).header("Accept", accept).check(200);
        assert_eq!(answer.text().matches("+4989").count(), 4, "{accept}");
    }
}

#[test]
fn partners_on_one_connection_stay_apart() {
    let server = Server::sample();
    let ask = |key: &Key, last: &str| {
        format!(
            "GET {GLOBAL} HTTP/1.1\r\nHost: a\r\n{last}X-Auth-ID: {}\r\nX-Auth-Token: {}\r\n\r\n",
            key.auth_id, key.auth_token
        )
    };
    // Sent at once, answered one after the other.
    let requests = [ask(&ONE, ""), ask(&TWO, ""), ask(&ONE, ""), ask(&TWO, "Connection: close\r\n")].concat();
    let mut stream = std::net::TcpStream::connect(server.address()).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(requests.as_bytes()).expect("the server reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("four answers");
    let answers: Vec<&str> = text.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
    assert_eq!(answers.len(), 4, "{text}");
    for (at, answer) in answers.iter().enumerate() {
        let (own, other) = if at % 2 == 0 { ("Primus", "Secundus") } else { ("Secundus", "Primus") };
        assert!(answer.contains(own) && !answer.contains(other), "answer {at}: {answer}");
    }
}

#[test]
fn partners_stay_apart_while_both_are_read_and_written() {
    let server = Server::sample();
    let before = |key: &Key| server.get(GLOBAL).auth(key).check(200).json()["meta"]["total"].as_u64().expect("a total");
    assert_eq!((before(&ONE), before(&TWO)), (12, 4));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The client looks for the other's names in every answer.
        for (key, path) in [(&ONE, GLOBAL), (&TWO, GLOBAL), (&ONE, CUSTOMER), (&TWO, CUSTOMER)] {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    for accept in ["application/json", "text/csv"] {
                        server.get(&format!("{path}?per_page=100")).auth(key).header("Accept", accept).check(200);
                    }
                    server.get(ACCOUNTS).auth(key).check(200);
                }
            });
        }
        for round in 0..5 {
            let rows = "number,account_auth_id,account_name,monthly_cost,currency\n";
            server.database.import("PA_ONE", &format!("{rows}+4420794601{round}0,MA_1,Primus New,1.00,GBP\n"));
            server.database.import("PA_TWO", &format!("{rows}+498910001{round},MA_1,Secundus New,1.00,EUR\n"));
        }
        done.store(true, Ordering::SeqCst);
    });
    server.within(SHOWS_WITHIN * 5, |_| (before(&ONE), before(&TWO)) == (17, 9));
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let server = Server::sample();
    let mut ids = std::collections::HashSet::new();
    for target in ["/livez", "/nothing", GLOBAL, "/metrics"].iter().cycle().take(40) {
        // One that the client claims is not taken over.
        let answer =
            server.get(target).header("X-Request-Id", "req_000000000000").header("Origin", "http://a.test").send();
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert!(id != "req_000000000000" && ids.insert(id), "{target}");
    }
}

#[test]
fn long_and_odd_requests() {
    let server = Server::sample();
    let long = |bytes: usize| format!("{GLOBAL}?search={}", "1".repeat(bytes));
    for bytes in [8_001, 20_000, 60_000, 100_000] {
        let answer = server.get(&long(bytes)).auth(&ONE).check(414);
        assert_eq!(answer.code(), "TOO_LARGE", "{bytes}");
    }
    server.get(&long(5_000)).auth(&ONE).check(422);
    server.get(&format!("/{}", "a".repeat(9_000))).check(414);
    let answer = server.get(GLOBAL).auth(&ONE).header("X-Padding", &"x".repeat(40_000)).check(431);
    assert_eq!(answer.code(), "TOO_LARGE");
    for bytes in [
        &b"nonsense\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n",
    ] {
        let answer = server.send("GET", bytes);
        answer.check_always("GET", "");
        assert_eq!(answer.check(400).code(), "BAD_REQUEST", "{bytes:?}");
    }
}

// Limits.

#[test]
fn a_key_has_its_rate() {
    let database = Database::sample();
    let other = database.key("PA_ONE", &[]);
    let server = Server::start(database, &["--rate-limit", "5"]);
    let mut limited = None;
    for _ in 0..200 {
        let answer = server.get(GLOBAL).auth(&ONE).send();
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let limited = limited.expect("200 requests are more than 5 a second");
    assert_eq!(limited.code(), "RATE_LIMIT_EXCEEDED");
    let wait: u64 = limited.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(limited.json()["error"]["details"], serde_json::json!({ "retryAfter": wait }));
    assert!(limited.header("ratelimit").is_some_and(|left| left.starts_with("\"requests\";r=0;t=")), "{limited:?}");
    // Nobody else is limited, and each is told how much it has left.
    let left = |answer: Answer| {
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=10;w=2"), "{answer:?}");
        let left = answer.header("ratelimit").and_then(|left| left.strip_prefix("\"requests\";r=")?.split(';').next());
        left.and_then(|left| left.parse::<u32>().ok()).expect("what is left")
    };
    let first = left(server.get(GLOBAL).auth(&other).check(200));
    let second = left(server.get("/api/v1/partner/numbers?page=0").auth(&other).check(422));
    assert!(first < 10 && second < 10, "{first}, {second}");
    assert_eq!(server.get("/livez").check(200).header("ratelimit"), None);
    server.get(GLOBAL).auth(&TWO).check(200);
    server.get("/livez").check(200);
    // As long as the answer said.
    std::thread::sleep(Duration::from_secs(wait));
    server.get(GLOBAL).auth(&ONE).check(200);
}

#[test]
fn failed_authentication_has_its_rate() {
    let server = Server::sample();
    let mut statuses = Vec::new();
    for _ in 0..150 {
        statuses.push(server.get(GLOBAL).header("X-Auth-ID", "PA_ONE").header("X-Auth-Token", "guess").send());
        if statuses.last().is_some_and(|answer| answer.status == 429) {
            break;
        }
    }
    let limited = statuses.pop().expect("an answer");
    assert!(statuses.len() >= 50, "the burst is allowed: {}", statuses.len());
    assert!(statuses.iter().all(|answer| answer.status == 401));
    assert_eq!(limited.code(), "RATE_LIMIT_EXCEEDED");
    let wait: u64 = limited.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert_eq!(limited.json()["error"]["details"], serde_json::json!({ "retryAfter": wait }));
    // Those with a key do not suffer for it.
    server.get(GLOBAL).auth(&ONE).check(200);
}

#[test]
fn a_limit_of_zero_is_off() {
    let database = Database::sample();
    let config = database.write("off.toml", "[limits]\nfailed_auth_per_second = 0\n");
    let server = Server::start(database, &["--rate-limit", "0", "--config", config.to_str().expect("a path")]);
    for _ in 0..100 {
        server.get(GLOBAL).check(401);
        server.get(&format!("{GLOBAL}?per_page=1")).auth(&ONE).check(200);
    }
}

// The other endpoints.

#[test]
fn accounts_with_their_numbers() {
    let server = Server::sample();
    let body = server.get(ACCOUNTS).auth(&ONE).check(200).json();
    assert_eq!(keys(&body), ["data", "meta"]);
    assert_eq!(body["meta"].to_string(), r#"{"total":4,"page":1,"per_page":20}"#);
    let rows: Vec<(String, [u64; 3])> = body["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            assert_eq!(keys(row), ["account_auth_id", "account_name", "created_at", "numbers"]);
            assert_eq!(keys(&row["numbers"]), ["total", "active", "suspended"]);
            let name = format!(
                "{} {}",
                row["account_auth_id"].as_str().expect("id"),
                row["account_name"].as_str().expect("name")
            );
            (name, ["total", "active", "suspended"].map(|count| row["numbers"][count].as_u64().expect("a count")))
        })
        .collect();
    let expected = [
        ("MA_1 Primus, One", [5, 3, 2]),
        ("MA_2 Primus Two", [3, 3, 0]),
        ("MA_3 Primus ग्राहक", [1, 1, 0]),
        ("MA_4 Primus Empty", [0, 0, 0]),
    ];
    assert_eq!(rows, expected.map(|(name, counts)| (name.to_owned(), counts)));
    let page = server.get(&format!("{ACCOUNTS}?per_page=3&page=2")).auth(&ONE).check(200).json();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["meta"].to_string(), r#"{"total":4,"page":2,"per_page":3}"#);
    let past = server.get(&format!("{ACCOUNTS}?page=18446744073709551615")).auth(&ONE).check(200).json();
    assert_eq!(past["data"].as_array().map(Vec::len), Some(0));
    for query in ["page=0", "per_page=101", "page=", "page=1&page=1"] {
        server.get(&format!("{ACCOUNTS}?{query}")).auth(&ONE).check(422);
    }
    // An account without numbers has an empty list, not 404.
    let none = server.get("/api/v1/partner/accounts/MA_4/numbers").auth(&ONE).check(200);
    assert_eq!(none.text(), r#"{"data":[],"meta":{"total":0,"page":1,"per_page":20}}"#);
}

#[test]
fn one_number_with_its_tags() {
    let server = Server::sample();
    for path in ["/api/v1/partner/numbers/+912271265108", "/api/v1/partner/numbers/%2B912271265108"] {
        let answer = server.get(path).auth(&ONE).check(200);
        let row = concat!(
            r#"{"data":{"number":"+912271265108","account_auth_id":"MA_1","account_name":"Primus, One","number_type":"local","#,
            r#""country":"IN","region":"Mumbai","status":"active","application_id":"app_1","#,
            r#""application_name":"Primus \"IVR\", main","trunk_id":"trunk_1","monthly_cost":500.00,"currency":"INR","#,
            r#""assigned_at":"2026-02-01T10:00:00Z","expires_at":null,"tags":["night","vip"]}}"#,
        );
        assert_eq!(answer.text(), row);
    }
    let stock = server.get("/api/v1/partner/numbers/+442079460105").auth(&ONE).check(200).json();
    assert_eq!(
        (&stock["data"]["tags"], &stock["data"]["status"]),
        (&Value::Array(Vec::new()), &Value::from("suspended"))
    );
}

#[test]
fn what_operators_ask() {
    let server = Server::sample();
    for _ in 0..3 {
        server.get(GLOBAL).auth(&ONE).check(200);
        server.get(CUSTOMER).check(401);
    }
    assert_eq!(server.get("/livez").check(200).json()["status"], "ok");
    let ready = server.get("/readyz").check(200).json();
    assert_eq!(
        keys(&ready),
        [
            "status",
            "degraded",
            "role",
            "version",
            "lag",
            "age_seconds",
            "poisoned",
            "unreadable",
            "writable",
            "build",
            "stuck_workers"
        ]
    );
    assert_eq!((&ready["role"], &ready["lag"], &ready["poisoned"]), (&"writer".into(), &0.into(), &0.into()));
    assert_eq!((&ready["status"], &ready["degraded"]), (&Value::from("ok"), &Value::from(false)));
    assert_eq!(ready["stuck_workers"], serde_json::json!([]));
    let metrics = server.get("/metrics").check(200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a value")
    };
    assert_eq!(value("rollcall_partners "), 3.0);
    assert_eq!(value("rollcall_numbers "), 163.0);
    assert_eq!(Some(value("rollcall_version ")), ready["version"].as_f64());
    for name in ["rollcall_lag_changes ", "rollcall_resyncs_total ", "rollcall_poisoned_rows "] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    assert_eq!(value("rollcall_http_requests_total{status=\"2xx\"}"), 5.0);
    assert_eq!(value("rollcall_auth_failures_total "), 3.0);
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        // The client looks for the names in rows; here also those of partners.
        let answer = server.get(path).check(200);
        let text = answer.text();
        for name in ["PA_ONE", "PA_TWO", "Primus", "MA_1", "app_1", "912271265", &ONE.key_id] {
            assert!(!text.contains(name), "{name} in {path}: {text}");
        }
    }
}

// The description.

#[test]
fn the_description_is_the_one_in_the_repository() {
    let server = Server::sample();
    let served = server.get("/openapi.json").check(200);
    assert_eq!(served.header("content-type"), Some("application/json"));
    let printed = server.database.run(&["openapi"]).done().stdout;
    let committed = include_str!("../../openapi.json");
    assert!(printed == committed, "openapi.json is stale: cargo run -- openapi > openapi.json");
    assert!(served.text() == committed, "the served description is another");
    assert_eq!(served.json()["openapi"], "3.1.0");
}

/// The keys of a value, all the way down; of a list, those of its first item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map_or(Value::Null, shape),
        _ => Value::Null,
    }
}

#[test]
fn every_documented_path_answers_as_its_example() {
    let server = Server::sample();
    let document: Value = server.get("/openapi.json").check(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let mut examples = 0;
    // What writes is tried in `manage`.
    for (path, operations) in paths.iter().filter(|(path, _)| !path.starts_with("/api/v1/manage/")) {
        assert_eq!(keys(operations), ["get"], "{path}");
        let operation = &operations["get"];
        let mut target = path.clone();
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path") {
            let name = parameter["name"].as_str().expect("a name");
            target = target.replace(&format!("{{{name}}}"), parameter["example"].as_str().expect("an example"));
        }
        let plain = target.clone();
        let mut required: Vec<String> = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["required"] == true {
                let text = |key: &str| parameter[key].as_str().expect("a text").to_owned();
                server.get(&target).auth(&SEED).check(422);
                required.push(format!("{}={}", text("name"), text("example")));
            }
        }
        let with = |other: &str| {
            let name = other.split('=').next().unwrap_or_default();
            let kept = required.iter().filter(|one| !one.starts_with(&format!("{name}=")));
            let all: Vec<&str> = kept.map(String::as_str).chain(Some(other)).filter(|one| !one.is_empty()).collect();
            if all.is_empty() { plain.clone() } else { format!("{plain}?{}", all.join("&")) }
        };
        let target = with("");
        for (content_type, documented) in operation["responses"]["200"]["content"].as_object().expect("content") {
            // A stream has no end; `past` reads it.
            if content_type == "text/event-stream" {
                continue;
            }
            // The first changes of a partner are of itself and its keys.
            let target = if path == "/api/v1/partner/changes" { format!("{target}?after=2") } else { target.clone() };
            let answer = server.get(&target).auth(&SEED).header("Accept", content_type).check(200);
            let served = answer.header("content-type").expect("a type");
            assert!(served.starts_with(content_type), "{path}: {served}");
            let example = &documented["example"];
            match content_type.as_str() {
                "application/json" if path != "/openapi.json" => {
                    let (example, real) = (shape(example), shape(&answer.json()));
                    assert_eq!(example.to_string(), real.to_string(), "{path}: the same keys in the same order");
                }
                "text/csv" => {
                    let header = example.as_str().expect("text");
                    assert!(answer.text().starts_with(header) && header.ends_with("\r\n"), "{path}: {header}");
                }
                "application/x-ndjson" => {
                    let line: Value = serde_json::from_str(example.as_str().expect("text")).expect("a row");
                    let real: Value =
                        serde_json::from_str(answer.text().lines().next().expect("a row")).expect("a row");
                    assert_eq!(keys(&line), keys(&real), "{path}");
                }
                _ => continue,
            }
            examples += 1;
        }
        // Every documented parameter is taken.
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let value = match name {
                // At the example's time there was no sample.
                "as_of" => seconds_ahead(0).0,
                _ => parameter["example"].as_str().unwrap_or("1").replace('+', "%2B"),
            };
            server.get(&with(&format!("{name}={value}"))).auth(&SEED).check(200);
        }
        // Documented errors, as they are.
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let shared = &document["components"]["responses"][status];
            let response = if response["$ref"].is_null() { response } else { shared };
            let request = match status.as_str() {
                "401" => server.get(&target),
                "404" if path.contains("{e164}") => server.get(&path.replace("{e164}", "+999")).auth(&SEED),
                "404" => server.get("/api/v1/partner/accounts/MA_none/numbers").auth(&SEED),
                "422" => server.get(&with("nonsense=1")).auth(&SEED),
                _ => continue,
            };
            let answer = request.send();
            assert_eq!(answer.status.to_string(), *status, "{path}");
            let mut example = shape(&response["content"]["application/json"]["example"]);
            if let Some(details) = shape(&answer.json())["error"].get("details") {
                // The example leaves the list of errors out.
                example["error"]["details"] = details.clone();
            }
            assert_eq!(example.to_string(), shape(&answer.json()).to_string(), "{path} {status}");
            examples += 1;
        }
    }
    assert!(examples >= 20, "{examples}");
}

#[test]
fn the_description_names_exactly_what_is_refused_and_taken() {
    let server = Server::sample();
    let document: Value = server.get("/openapi.json").check(200).json();
    for (path, target) in [
        ("/api/v1/partner/numbers", GLOBAL),
        ("/api/v1/partner/accounts", ACCOUNTS),
        ("/api/v1/partner/costs", "/api/v1/partner/costs"),
    ] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().expect("parameters");
        let queried = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let names: Vec<&str> = queried.filter_map(|parameter| parameter["name"].as_str()).collect();
        let answer: Answer = server.get(&format!("{target}?nonsense=1")).auth(&ONE).check(422);
        let message = format!("known are {}", names.join(", "));
        assert!(answer.text().contains(&message), "{message} in {}", answer.text());
    }
}

/// Each list beside numbers, with the fields of its ids and names.
const ENTITIES: [(&str, &str, &str); 3] = [
    ("/api/v1/partner/accounts", "account_auth_id", "account_name"),
    ("/api/v1/partner/applications", "application_id", "application_name"),
    ("/api/v1/partner/trunks", "trunk_id", "trunk_name"),
];

#[test]
fn lists_beside_numbers_count_as_the_lists_of_numbers_do() {
    let server = Server::sample();
    for (list, id, name) in ENTITIES {
        let body = server.get(list).auth(&ONE).check(200).json();
        let rows = body["data"].as_array().expect("rows");
        assert!(!rows.is_empty(), "{list}");
        assert_eq!(body["meta"]["total"], rows.len(), "{list}");
        for row in rows {
            let key = row[id].as_str().expect("an id");
            let single = server.get(&format!("{list}/{key}")).auth(&ONE).check(200).json();
            assert_eq!(single["data"], *row, "{list}/{key}");
            for (count, status) in [("total", ""), ("active", "&status=active"), ("suspended", "&status=suspended")] {
                let numbers = server.get(&format!("{GLOBAL}?{id}={key}{status}")).auth(&ONE).check(200).json();
                assert_eq!(row["numbers"][count], numbers["meta"]["total"], "{list}/{key} {count}");
            }
            // Part of the id or of the name, in any case, finds it.
            for text in [key.to_uppercase(), row[name].as_str().expect("a name").to_lowercase()] {
                let search: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let found = server.get(&format!("{list}?search={search}")).auth(&ONE).check(200).json();
                let found = found["data"].as_array().expect("rows");
                assert!(found.iter().any(|one| one[id] == row[id]), "{list}?search={search}");
            }
        }
        let none = server.get(&format!("{list}?search=zzzz")).auth(&ONE).check(200).json();
        assert_eq!(none["meta"]["total"], 0);
        server.get(&format!("{list}?search={}", "x".repeat(201))).auth(&ONE).check(422);
        server.get(&format!("{list}?sort=number")).auth(&ONE).check(422);
        server.get(&format!("{list}/none")).auth(&ONE).check(404);
        // Another partner's is as unknown as none.
        let theirs = server.get(list).auth(&TWO).check(200).json();
        for row in theirs["data"].as_array().expect("rows") {
            let key = row[id].as_str().expect("an id");
            if !rows.iter().any(|own| own[id] == row[id]) {
                server.get(&format!("{list}/{key}")).auth(&ONE).check(404);
            }
        }
    }
}

#[test]
fn only_listed_origins_may_call_the_api() {
    let mut config = tempfile::NamedTempFile::new().expect("a temporary file");
    config.write_all(b"[http]\ncors_origins = [\"https://app.example\"]\n").expect("written");
    let server = Server::start(Database::sample(), &["--config", config.path().to_str().expect("text")]);
    // As a browser sends it: what the harness checks of every answer holds for requests without an origin.
    let ask = |method: &str, target: &str, origin: &str, more: &str| {
        let head = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        server.send(method, format!("{method} {target} {head}Origin: {origin}\r\n{more}\r\n").as_bytes())
    };
    let preflight =
        |origin: &str, target: &str| ask("OPTIONS", target, origin, "Access-Control-Request-Method: GET\r\n");
    let allowed = preflight("https://app.example", GLOBAL);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, Some("https://app.example")));
    assert!(allowed.header("access-control-allow-headers").is_some_and(|names| names.contains("X-Auth-Token")));
    for (origin, target) in [
        ("https://other.example", GLOBAL),
        ("http://app.example", GLOBAL),
        ("https://app.example.other", GLOBAL),
        ("null", GLOBAL),
        ("https://app.example", "/console"),
        ("https://app.example", "/metrics"),
    ] {
        let answer = preflight(origin, target);
        assert_ne!(answer.status, 204, "{origin} {target}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin} {target}");
    }
    // Errors are readable too, and a cache keeps origins apart.
    let credentials = format!("X-Auth-ID: {}\r\nX-Auth-Token: {}\r\n", ONE.auth_id, ONE.auth_token);
    for (credentials, status) in [(&*credentials, 200), ("", 401)] {
        let answer = ask("GET", GLOBAL, "https://app.example", credentials);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
        assert!(answer.headers("vary").iter().any(|names| names.contains("origin")), "{:?}", answer.headers("vary"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // Every header that the description names can be read.
    let described = ask("GET", "/openapi.json", "https://app.example", "");
    let exposed = described.header("access-control-expose-headers").expect("a list").to_lowercase();
    let exposed: Vec<&str> = exposed.split(", ").collect();
    let (document, mut count) = (described.json(), 0);
    for operations in document["paths"].as_object().expect("paths").values() {
        let responses = operations.as_object().expect("operations").values().map(|operation| &operation["responses"]);
        for response in responses.flat_map(|responses| responses.as_object().expect("responses").values()) {
            for name in response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase()) {
                assert!(exposed.contains(&&*name), "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count}");
    let plain = server.get(GLOBAL).auth(&ONE).check(200);
    assert_eq!(plain.header("access-control-allow-origin"), None);
}
