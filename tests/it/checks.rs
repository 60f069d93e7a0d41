//! The checks: on inventories with known faults they find exactly those, by the
//! index, over HTTP and by command.

use proptest::prelude::*;
use rollcall::checks::{self, Check, CheckOptions};
use rollcall::domain::change::Edit;
use rollcall::domain::{Acknowledgement, EntityChange, State, Time};
use rollcall::service::verbs::checks::{findings as reported, summary};
use rollcall::service::{Service, replica};
use rollcall::store::Load;
use serde_json::{Value, json};

use crate::fixture;
use crate::harness::{Answer, Database, Key, ONE, Server, keys};

const CHECKS: &str = "/api/v1/partner/checks";
const SUMMARY: &str = "/api/v1/partner/checks/summary";

/// `check account number` of each finding.
#[track_caller]
fn found(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let rows = body["data"].as_array().expect("a list");
    for row in rows {
        let expected =
            ["id", "check", "severity", "account_auth_id", "number", "since", "meaning", "action", "evidence"];
        assert_eq!(keys(row), expected, "{row}");
        assert!(row["meaning"].as_str().is_some_and(|text| text.contains("call")), "{row}");
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    rows.iter()
        .map(|row| format!("{} {} {}", text(&row["check"]), text(&row["account_auth_id"]), text(&row["number"])))
        .collect()
}

fn ahead(days: i64) -> String {
    Time::now().plus(days * 86_400).to_string()
}

const FAULTS: [&str; 4] =
    ["no_active_number MA_4 -", "expired MA_1 +912271265110", "unrouted MA_1 +6837101", "unrouted MA_2 +80012345103"];

#[test]
fn the_sample_has_its_faults_and_no_others() {
    let server = Server::sample();
    let all = server.get(CHECKS).auth(&ONE).check(200);
    assert_eq!(found(&all), FAULTS);
    assert_eq!(all.json()["meta"], json!({ "total": 4, "page": 1, "per_page": 20 }));
    let again = server.get(CHECKS).auth(&ONE).header("If-None-Match", all.header("etag").expect("a tag")).send();
    assert_eq!(again.status, 304);
    let summary = server.get(SUMMARY).auth(&ONE).check(200).json();
    let counts = json!({
        "no_active_number": 1, "expired": 1, "unrouted": 2, "vanished": 0, "expiring": 0,
        "no_destination": 0, "archived_route": 0, "doubtful_number": 0, "suspended": 0, "appeared": 0,
    });
    assert_eq!(summary, json!({ "data": counts, "meta": { "total": 4 } }));
    let metrics = server.get("/metrics").check(200);
    assert!(metrics.text().contains(r#"rollcall_findings{check="unrouted"}"#), "{}", metrics.text());

    let ask = |query: &str| found(&server.get(&format!("{CHECKS}?{query}")).auth(&ONE).check(200));
    assert_eq!(ask("check=unrouted"), FAULTS[2..]);
    assert_eq!(ask("account_auth_id=MA_1"), [FAULTS[1], FAULTS[2]]);
    assert_eq!(ask("account_auth_id=MA_Secundus"), [""; 0]);
    assert_eq!(ask("per_page=1&page=2"), [FAULTS[1]]);
    assert_eq!(ask("page=9"), [""; 0]);
    for (query, expected) in [
        ("check=nonsense", "check INVALID"),
        ("within=soon", "within INVALID"),
        ("within=14d&within=15d", "within REPEATED"),
        ("acknowledged=maybe", "acknowledged INVALID"),
        ("per_page=101", "per_page OUT_OF_RANGE"),
        ("search=1", "search UNKNOWN"),
    ] {
        assert_eq!(server.get(&format!("{CHECKS}?{query}")).auth(&ONE).check(422).fields(), [expected]);
    }
    assert_eq!(server.get(&format!("{SUMMARY}?page=1")).auth(&ONE).check(422).fields(), ["page UNKNOWN"]);
    server.get(CHECKS).check(401);
}

#[test]
fn expiries_are_seen_ahead_and_suspensions_after_a_while() {
    let database = Database::sample();
    let old = ahead(-40);
    let rows = format!(
        "number,account_auth_id,application_id,state,monthly_cost,currency,expires_at,since\n\
         +4930100001,MA_3,app_3,active,1,EUR,{},\n\
         +4930100002,MA_3,app_3,active,1,EUR,{},\n\
         +4930100003,MA_3,app_3,suspended,1,EUR,,{old}\n\
         +4930100004,MA_3,app_3,suspended,1,EUR,,\n",
        ahead(10),
        ahead(20)
    );
    assert_eq!(database.import("PA_ONE", &rows)["rejected"], 0);
    let server = Server::start(database, &[]);
    let ask = |query: &str| found(&server.get(&format!("{CHECKS}?account_auth_id=MA_3&{query}")).auth(&ONE).check(200));
    assert_eq!(ask(""), ["expiring MA_3 +4930100001", "suspended MA_3 +4930100003"]);
    assert_eq!(ask("within=21d&check=expiring"), ["expiring MA_3 +4930100001", "expiring MA_3 +4930100002"]);
    assert_eq!(ask("within=9d&check=expiring"), [""; 0]);
    assert_eq!(ask("suspended_for=0s&check=suspended").len(), 2);
    assert_eq!(ask("suspended_for=41d&check=suspended"), [""; 0]);

    let check =
        |flags: &[&str]| server.database.run(&[&["check", "--partner", "PA_ONE", "--account", "MA_3"], flags].concat());
    let table = check(&[]).check(3);
    assert!(table.stdout.contains("expiring (1)") && table.stdout.contains("+4930100001"), "{}", table.stdout);
    let json = check(&["--json", "--within", "21d"]).check(3).json();
    assert_eq!(json["meta"]["total"], 3);
    let csv = check(&["--format", "csv", "--check", "suspended"]).check(3).stdout;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("id,check,severity,account_auth_id,number,since,meaning,action\r\n"), "{csv}");
    check(&["--check", "expired"]).check(0);
    server.database.run(&["check", "--partner", "PA_NONE"]).check(1);
}

/// Wherever it is shown, there are as many.
#[test]
fn suspended_numbers_that_end_are_counted_alike_everywhere() {
    let database = Database::sample();
    let rows = format!(
        "number,account_auth_id,application_id,state,monthly_cost,currency,expires_at\n\
         +4930100001,MA_3,app_3,active,1,EUR,{soon}\n\
         +4930100002,MA_3,app_3,suspended,1,EUR,{soon}\n\
         +4930100003,MA_3,app_3,suspended,1,EUR,{later}\n\
         +4930100004,,,available,1,EUR,\n",
        soon = ahead(6),
        later = ahead(30)
    );
    assert_eq!(database.import("PA_ONE", &rows)["rejected"], 0);
    let server = Server::start(database, &[]);
    let expected = ["expiring MA_3 +4930100001", "expiring MA_3 +4930100002"];
    assert_eq!(found(&server.get(&format!("{CHECKS}?check=expiring")).auth(&ONE).check(200)), expected);
    assert_eq!(server.get(SUMMARY).auth(&ONE).check(200).json()["data"]["expiring"], 2);
    let filter = format!("assigned=true&expires_after={}&expires_before={}", ahead(0), ahead(14));
    let listed = server.get(&format!("/api/v1/partner/numbers?{filter}")).auth(&ONE).check(200).json();
    assert_eq!(listed["meta"]["total"], 2);
    assert!(server.get("/metrics").check(200).text().contains("rollcall_findings{check=\"expiring\"} 2"));
    let here = server.database.run(&["check", "--partner", "PA_ONE", "--check", "expiring", "--json"]).check(3).json();
    assert_eq!(here["meta"]["total"], 2);
    let token = server.database.write("token", &ONE.auth_token);
    let token = token.to_str().expect("a path");
    let url = ["check", "--url", &server.url(), "--auth-id", "PA_ONE", "--token-file", token, "--json"];
    let there = server.database.run(&[&url[..], &["--check", "expiring"]].concat()).check(3).json();
    assert_eq!(there["meta"]["total"], 2);
}

#[test]
fn what_routes_to_the_archived_and_what_looks_stored_wrongly_is_found() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    {
        // As they were stored before such numbers were refused.
        let store = database.store();
        let partner = Service::new(store.clone(), fixture::operator()).partner_key(&"PA_ONE".parse().expect("an id"));
        let wrong = [4_402_079_460_958, 44_163_296_000_099, 91_227_126_421_799];
        let stored = wrong.map(|digits| fixture::created(digits, fixture::stock("old")));
        fixture::put(&*store, partner.expect("a partner"), &stored);
    }
    let server = Server::start(database, &[]);
    let doubtful = |query: &str| {
        let answer = server.get(&format!("{CHECKS}?check=doubtful_number{query}")).auth(&key).check(200);
        let meant = |row: &Value| row["evidence"]["probably_meant"].as_str().expect("text").to_owned();
        let meant: Vec<String> = answer.json()["data"].as_array().expect("a list").iter().map(meant).collect();
        (found(&answer), meant)
    };
    let (rows, meant) = doubtful("");
    assert_eq!(
        rows,
        ["doubtful_number - +4402079460958", "doubtful_number - +44163296000099", "doubtful_number - +91227126421799"]
    );
    assert_eq!(meant, ["+442079460958", "+441632960000-+441632960099", "+912271264217-+912271264299"]);
    assert_eq!(doubtful("&account_auth_id=MA_1").0, [""; 0]);

    let patch = |path: &str, archived: bool| {
        let body = json!({ "archived": archived });
        server.request("PATCH", &format!("/api/v1/manage/{path}")).auth(&key).json(&body).check(200)
    };
    let archived = || found(&server.get(&format!("{CHECKS}?check=archived_route")).auth(&key).check(200));
    let routed = |query: &str| {
        let rows = server.get(&format!("/api/v1/partner/numbers?assigned=true&{query}")).auth(&key).check(200).json();
        let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
        let row = |row: &Value| format!("archived_route {} {}", text(row, "account_auth_id"), text(row, "number"));
        rows["data"].as_array().expect("rows").iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(archived(), [""; 0]);
    let expected = routed("application_id=app_1");
    assert!(!expected.is_empty());
    patch("applications/app_1", true);
    assert_eq!(archived(), expected);
    let first = server.get(&format!("{CHECKS}?check=archived_route")).auth(&key).check(200).json()["data"][0].clone();
    assert_eq!((&first["severity"], &first["evidence"]["archived"]), (&json!("warning"), &json!("application")));
    patch("applications/app_1", false);
    assert_eq!(archived(), [""; 0]);
    let ran = server.database.run(&["check", "--partner", "PA_ONE", "--check", "doubtful_number"]).check(3);
    assert!(ran.stdout.contains("doubtful_number (3): ") && ran.stdout.contains("+4402079460958"), "{}", ran.stdout);
    let metrics = server.get("/metrics").check(200);
    assert!(metrics.text().contains("rollcall_findings{check=\"archived_route\"}"), "{}", metrics.text());
}

#[test]
fn since_when_an_account_has_no_number_is_in_the_log() {
    let (server, key) = managed();
    let verb = |number: &str, verb: &str, body: Value| {
        server
            .request("POST", &format!("/api/v1/manage/numbers/{number}/{verb}"))
            .auth(&key)
            .json(&body)
            .check(200)
            .json()
    };
    let since = || {
        let query = format!("{CHECKS}?check=no_active_number&account_auth_id=MA_3");
        server.get(&query).auth(&key).check(200).json()["data"][0]["since"].clone()
    };
    assert_eq!(since(), Value::Null, "it has one");
    let rows = server.get("/api/v1/partner/numbers?account_auth_id=MA_3").auth(&key).check(200).json();
    let numbers: Vec<String> = rows["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["number"].as_str().expect("text").to_owned())
        .collect();
    let before = Time::now();
    for number in &numbers {
        verb(number, "release", json!({ "confirm_last": true }));
    }
    // It holds nothing any more, so nothing that it holds tells.
    let since = since();
    let at: Time = since.as_str().expect("a time").parse().expect("a time");
    assert!(at >= before && at <= Time::now(), "{at}");
    let again = server.database.run(&["check", "--partner", "PA_ONE", "--account", "MA_3", "--json"]).check(3).json();
    assert_eq!(again["data"][0]["since"], since);
}

#[test]
fn what_moved_in_a_mirror_is_found_for_two_weeks() {
    use rollcall::domain::NumberRun;
    use rollcall::domain::change::Edit;
    use rollcall::domain::setting::{MovedNumbers, Movement, Unnamed};
    use rollcall::domain::{Choice, EntityChange, Mirror, Setting, Verb};
    let database = fixture::Database::new();
    let store = database.open();
    let key = fixture::new_partner(&*store, "PA_1");
    fixture::put_account(&*store, key, "MA_1");
    let numbers: Vec<_> = (0..3).map(|at| fixture::created(4_930_000_000 + at, fixture::held("MA_1"))).collect();
    fixture::put(&*store, key, &numbers);
    let at = fixture::time(fixture::NOW);
    let of = |way, first, count| MovedNumbers {
        way,
        at,
        account: Some("MA_1".parse().expect("an id")),
        runs: vec![NumberRun { first: fixture::number(first), count }],
    };
    let mirror = Mirror {
        url: "http://a".into(),
        auth_id: "PA_UP".into(),
        looked_at: at,
        // One is there that went, and one is gone that came.
        moved: vec![of(Movement::Vanished, 4_930_000_002, 3), of(Movement::Appeared, 4_930_000_001, 3)],
        unnamed: vec![Unnamed { way: Movement::Vanished, at, count: 7 }],
    };
    let setting = |removed_at| Setting {
        id: "mirror".into(),
        created_at: at,
        removed_at,
        choice: Choice::Mirror(mirror.clone()),
    };
    let put = |before: Option<Setting>, after: Setting| {
        let change = EntityChange::Setting(Edit { before, after });
        let draft = fixture::draft(|transaction| Ok(transaction.put_entity(change.clone())?));
        store.write(rollcall::store::WriteTarget::Partner(key), fixture::entry(Verb::Sync), draft).expect("written");
    };
    let find = |account: Option<&str>, seconds: i64| -> Vec<String> {
        let load = Load { only: None, numbers: true };
        let snapshot = replica::load(&*store, load).expect("loads").remove(&key).expect("it");
        let checks = vec![Check::Vanished, Check::Appeared];
        let account = account.map(|id| id.parse().expect("an id"));
        let found =
            checks::run(&snapshot, &CheckOptions { checks, account, ..CheckOptions::default() }, at.plus(seconds));
        let text = |finding: &checks::Finding| match (finding.number, finding.evidence().first()) {
            (Some(number), _) => format!("{} {number}", finding.check),
            (None, evidence) => format!("{} {evidence:?}", finding.check),
        };
        found.iter().map(text).collect()
    };
    put(None, setting(None));
    let all = [
        "vanished Some((\"numbers\", \"7\"))",
        "vanished +4930000003",
        "vanished +4930000004",
        "appeared +4930000001",
        "appeared +4930000002",
    ];
    assert_eq!(find(None, 0), all);
    assert_eq!(find(None, checks::MOVED_SECONDS - 1), all, "the last second");
    assert_eq!(find(None, checks::MOVED_SECONDS), [""; 0]);
    assert_eq!(find(Some("MA_1"), 0), all[1..]);
    assert_eq!(find(Some("MA_2"), 0), [""; 0]);
    put(Some(setting(None)), setting(Some(at)));
    assert_eq!(find(None, 0), [""; 0]);
}

/// The sample with a key that may write.
fn managed() -> (Server, Key) {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    (Server::start(database, &[]), key)
}

#[test]
fn what_is_acknowledged_is_quiet_until_its_time() {
    let (server, key) = managed();
    let all = server.get(CHECKS).auth(&key).check(200).json();
    let id = all["data"][2]["id"].as_str().expect("an id").to_owned();
    let acknowledge = |id: &str, body: Value| {
        server.request("POST", &format!("/api/v1/manage/checks/{id}/acknowledge")).auth(&key).json(&body).send()
    };
    let soon = Time::now().plus(3).to_string();
    let done = acknowledge(&id, json!({ "note": "the route comes on Monday", "until": soon })).check(200).json();
    assert_eq!((&done["data"]["id"], &done["data"]["until"]), (&json!(id), &json!(soon)));
    let ask = |query: &str| server.get(&format!("{CHECKS}?{query}")).auth(&key).check(200);
    assert_eq!(found(&ask("")).len(), 3, "it is quiet");
    assert_eq!(server.get(SUMMARY).auth(&key).check(200).json()["data"]["unrouted"], 1);
    let quiet = ask("acknowledged=true");
    assert_eq!(found(&quiet), [FAULTS[2]]);
    let evidence = &quiet.json()["data"][0]["evidence"]["acknowledged"];
    assert_eq!(
        (&evidence["note"], &evidence["by"]),
        (&json!("the route comes on Monday"), &json!(format!("key:{}", key.key_id)))
    );
    server.within(std::time::Duration::from_secs(10), |_| found(&ask("")).len() == 4);

    // For good; and again, which changes nothing.
    acknowledge(&id, json!({})).check(200);
    assert_eq!(found(&ask("")).len(), 3);
    let version = |server: &Server| server.get("/digest").check(200).json()["data"][0]["version"].clone();
    let before = version(&server);
    acknowledge(&id, json!({})).check(200);
    assert_eq!(version(&server), before);
    assert_eq!(
        acknowledge(&id, json!({ "until": "2020-01-01T00:00:00Z" })).check(422).fields(),
        ["until OUT_OF_RANGE"]
    );
    acknowledge("nonsense", json!({})).check(404);
    server.request("POST", &format!("/api/v1/manage/checks/{id}/acknowledge")).auth(&ONE).json(&json!({})).check(403);
    // What is dealt with is gone, and another occurrence is another finding.
    server.database.verify(Some(&server.url()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Against a plain look at every row.
    #[test]
    fn the_checks_find_what_a_scan_finds(
        rows in prop::collection::btree_map(4_930_000_000_u64..4_930_000_200, (0..3_usize, any::<bool>(), prop::option::of(-3..20_i64), any::<bool>()), 0..60),
        within in 0..15_i64,
    ) {
        let database = fixture::Database::new();
        let store = database.open();
        let key = fixture::new_partner(&*store, "PA_1");
        for account in ["MA_0", "MA_1", "MA_2", "MA_3"] {
            fixture::put_account(&*store, key, account);
        }
        let now = fixture::time(1_770_000_000);
        let made: Vec<_> = rows
            .iter()
            .map(|(&digits, &(account, routed, expires, suspended))| {
                let mut record = fixture::held(&format!("MA_{account}"));
                record.application = routed.then(|| "app_1".parse().expect("an id"));
                record.expires_at = expires.map(|days| now.plus(days * 86_400));
                record.state = if suspended { State::Suspended } else { State::Active };
                record.since = now.plus(-(digits as i64 % 60) * 86_400);
                (digits, record)
            })
            .collect();
        let application = fixture::application("app_1", None);
        let created = EntityChange::Application(Edit::created(application));
        let write = fixture::draft(|transaction| Ok(transaction.put_entity(created.clone())?));
        store
            .write(rollcall::store::WriteTarget::Partner(key), fixture::entry(rollcall::domain::Verb::Import), write)
            .expect("written");
        let changes: Vec<_> = made.iter().map(|(digits, record)| fixture::created(*digits, record.clone())).collect();
        fixture::put(&*store, key, &changes);
        let snapshot = replica::load(&*store, Load { only: None, numbers: true }).expect("loads").remove(&key).expect("it");

        let options = CheckOptions { within: within * 86_400, ..CheckOptions::default() };
        let mut expected = Vec::new();
        let active = |record: &rollcall::domain::Record| {
            record.state == State::Active && record.expires_at.is_none_or(|end| end > now)
        };
        for account in 0..4 {
            let id = format!("MA_{account}");
            let any = made.iter().any(|(_, record)| record.account.as_ref().is_some_and(|it| it.as_str() == id) && active(record));
            if !any {
                expected.push((Check::NoActiveNumber, Some(id), None));
            }
        }
        for (digits, record) in &made {
            let number = Some(fixture::number(*digits));
            let account = record.account.as_ref().map(ToString::to_string);
            let mut add = |check| expected.push((check, account.clone(), number));
            if record.expires_at.is_some_and(|end| end <= now) {
                add(Check::Expired);
            }
            if active(record) && record.application.is_none() {
                add(Check::Unrouted);
            }
            // The last second of the window is part of it; suspended or not.
            if record.expires_at.is_some_and(|end| end > now && end.seconds() - now.seconds() <= within * 86_400) {
                add(Check::Expiring);
            }
            if record.state == State::Suspended && now.seconds() - record.since.seconds() >= 30 * 86_400 {
                add(Check::Suspended);
            }
        }
        expected.sort();
        let findings = checks::run(&snapshot, &options, now);
        let found: Vec<_> = findings
            .iter()
            .map(|finding| (finding.check, finding.account.as_ref().map(ToString::to_string), finding.number))
            .collect();
        prop_assert_eq!(&found, &expected);
        let ids: std::collections::HashSet<String> = findings.iter().map(|finding| finding.id()).collect();
        prop_assert_eq!(ids.len(), findings.len());
        prop_assert_eq!(checks::counts(&findings).values().sum::<u64>() as usize, findings.len());
        // From any one on, and counted without reading them.
        let found = checks::find(&snapshot, &options, now);
        prop_assert_eq!(found.counts(), checks::counts(&findings));
        for skip in 0..=found.len() + 1 {
            prop_assert!(found.iter(skip).eq(findings.iter().skip(skip as usize).cloned()), "from {}", skip);
        }

        // Some are acknowledged: for good, until later, and no more; and one that is gone.
        let ids = reported(&snapshot, &options, None, now).into_iter().map(|seen| seen.id).step_by(2);
        let ends = [None, Some(now.plus(60)), Some(now.plus(-60))];
        let seen = ids.chain(["fi_gone".to_owned()]).zip(ends.into_iter().cycle()).map(|(id, until)| {
            let (finding, by) = (id.as_str().into(), "user:1".into());
            Edit::created(Acknowledgement { finding, note: None, until, by, at: now })
        });
        let seen: Vec<_> = seen.map(EntityChange::Acknowledgement).collect();
        let write =
            fixture::draft(|transaction| Ok(seen.iter().cloned().try_for_each(|one| transaction.put_entity(one))?));
        store
            .write(rollcall::store::WriteTarget::Partner(key), fixture::entry(rollcall::domain::Verb::Import), write)
            .expect("written");
        let snapshot = replica::load(&*store, Load { only: None, numbers: true }).expect("loads").remove(&key).expect("it");
        let summed = summary(&snapshot, &options, now, 3);
        let (set_aside, open): (Vec<_>, Vec<_>) =
            reported(&snapshot, &options, None, now).into_iter().partition(|seen| seen.acknowledged.is_some());
        prop_assert_eq!(summed.open, checks::counts(open.iter().map(|seen| &seen.finding)));
        prop_assert_eq!(summed.acknowledged, checks::counts(set_aside.iter().map(|seen| &seen.finding)));
        prop_assert_eq!(&summed.first, &open[..open.len().min(3)]);
    }
}
