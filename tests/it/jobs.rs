//! Jobs over the real server: created, looked at, run, stopped, undone, and
//! interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::domain::Action;
use rollcall::domain::quarantine::Quarantine;
use rollcall::service::background::jobs::runner::{JobRunner, JobSettings};
use rollcall::service::background::jobs::{BatchStep, JobSelection, JobState, NewJob};
use rollcall::service::background::lease::Leases;
use rollcall::service::{Replica, Service, VerbOutcome, WriteOutcome};
use rollcall::store::Store;
use serde_json::{Value, json};

use crate::harness::{Answer, Database, Key, Request, Server, keys};
use crate::until::{found, until};
use crate::{cluster, fixture};

const JOBS: &str = "/api/v1/manage/jobs";
const NUMBERS: &str = "/api/v1/manage/numbers";
const ROW_KEYS: [&str; 5] = ["number", "result", "reason", "monthly_cost_change", "version"];
const JOB_KEYS: [&str; 20] = [
    "id",
    "state",
    "verb",
    "params",
    "filter",
    "total",
    "done",
    "changed",
    "unchanged",
    "failed",
    "monthly_cost_change",
    "preview",
    "created_at",
    "started_at",
    "ended_at",
    "rate",
    "seconds_left",
    "by",
    "undo_of",
    "error",
];
/// How long a small job may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A server on the sample, and a key of `ONE` that may write.
struct Managed {
    server: Server,
    key: Key,
}

impl Managed {
    fn sample() -> Managed {
        Managed::of(Database::sample(), "PA_ONE", "")
    }

    fn of(database: Database, partner: &str, settings: &str) -> Managed {
        let key = database.key(partner, &["--scope", "manage"]);
        let file = database.write("rollcall.toml", settings);
        let file = file.to_str().expect("UTF-8").to_owned();
        Managed { server: Server::start(database, &["--config", &file, "--rate-limit", "0"]), key }
    }

    /// A partner with blocks of a thousand available numbers, 500 INR each.
    fn blocks(thousands: u64, settings: &str) -> Managed {
        let database = Database::empty();
        database.partner("PA_BIG", "Big", &[]);
        fill(&database, "PA_BIG", 33_145_000_000, thousands);
        Managed::of(database, "PA_BIG", settings)
    }

    fn post(&self, path: &str, body: Value) -> Request<'_> {
        self.server.request("POST", path).auth(&self.key).json(&body)
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path).auth(&self.key).send()
    }

    #[track_caller]
    fn create(&self, body: Value) -> Value {
        data(self.post(JOBS, body).send(), 201)
    }

    #[track_caller]
    fn order(&self, id: &Value, what: &str) -> Value {
        data(self.post(&format!("{JOBS}/{}/{what}", text(id)), json!({})).send(), 200)
    }

    #[track_caller]
    fn job(&self, id: &Value) -> Value {
        let job = data(self.get(&format!("{JOBS}/{}", text(id))), 200);
        assert_eq!(keys(&job), JOB_KEYS, "{job}");
        job
    }

    /// Waits for its end.
    #[track_caller]
    fn ended(&self, id: &Value) -> Value {
        let over = || Some(self.job(id)).filter(|job| !["queued", "running"].contains(&text(&job["state"])));
        let job = found(SOON, || format!("still {}", self.job(id)), over);
        assert_eq!((&job["rate"], &job["seconds_left"]), (&Value::Null, &Value::Null), "{job}");
        job
    }

    #[track_caller]
    fn done(&self, body: Value) -> Value {
        let job = self.create(body);
        let job = self.ended(&job["id"]);
        assert_eq!(job["state"], "done", "{job}");
        job
    }

    /// All rows, or those with one result.
    #[track_caller]
    fn rows(&self, id: &Value, result: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for page in 1.. {
            let query = format!("{JOBS}/{}/rows?per_page=100&page={page}&result={result}", text(id));
            let body = self.get(&query).check(200).json();
            rows.extend(body["data"].as_array().expect("rows").clone());
            if rows.len() as u64 >= body["meta"]["total"].as_u64().expect("a total") {
                assert_eq!(body["meta"]["total"], rows.len(), "{query}");
                break;
            }
        }
        rows.iter().for_each(|row| assert_eq!(keys(row), ROW_KEYS));
        rows
    }

    /// `number result reason` of each row.
    #[track_caller]
    fn told(&self, id: &Value) -> Vec<String> {
        let line = |row: &Value| {
            let reason = row["reason"].as_str().unwrap_or("-");
            format!("{} {} {reason}", text(&row["number"]), text(&row["result"]))
        };
        self.rows(id, "").iter().map(line).collect()
    }

    fn store(&self) -> std::sync::Arc<dyn Store> {
        self.server.database.store()
    }
}

fn fill(database: &Database, partner: &str, first: u64, thousands: u64) {
    database.run(&["account", "create", "--partner", partner, "--auth-id", "MA_1", "--name", "First"]).done();
    let mut rows = "number,account_auth_id,monthly_cost,currency\n".to_owned();
    for block in 0..thousands {
        let start = first + block * 10_000;
        rows.push_str(&format!("+{start}-+{},,500.00,INR\n", start + 999));
    }
    database.import(partner, &rows);
}

#[track_caller]
fn data(answer: Answer, status: u16) -> Value {
    answer.check(status).json()["data"].clone()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}

#[test]
fn a_list_is_done_row_by_row_with_reasons() {
    let managed = Managed::sample();
    let numbers = json!([
        "+442079460107", // reserved for MA_2
        "+442079460105", // available, but without a cost
        "+912271264217", // another partner's
        "+999999999999", // nobody's
        "+6837101",      // MA_1 has it
        "+442079460106", // in quarantine
    ]);
    let created = managed.create(json!({
        "verb": "assign", "numbers": numbers,
        "params": { "account_auth_id": "MA_2", "monthly_cost": 12.50, "currency": "GBP" },
    }));
    assert!(text(&created["id"]).starts_with("job_"));
    assert_eq!(created["state"], "queued");
    assert_eq!(created["params"]["monthly_cost"], json!(12.5));
    let job = managed.ended(&created["id"]);
    for (field, expected) in [("total", 6), ("done", 6), ("changed", 2), ("unchanged", 0), ("failed", 4)] {
        assert_eq!(job[field], expected, "{field} of {job}");
    }
    assert_eq!(job["monthly_cost_change"], json!({ "GBP": 25.0 }));
    assert_eq!(job["by"], format!("key:{}", managed.key.key_id));
    let told = managed.told(&job["id"]);
    let parts = [
        "+6837101 failed is active since 2026-",
        "+442079460105 changed -",
        "+442079460106 failed is quarantined since",
        "+442079460107 changed -",
        "+912271264217 failed is not one of yours",
        "+999999999999 failed is not one of yours",
    ];
    assert_eq!(told.len(), parts.len(), "{told:?}");
    for (line, part) in told.iter().zip(parts) {
        assert!(line.starts_with(part), "{part:?} is not the start of {line:?}");
    }
    // What it did is one version, under the creator's name and the job's id.
    let changed = managed.rows(&job["id"], "changed");
    let versions: BTreeSet<u64> = changed.iter().filter_map(|row| row["version"].as_u64()).collect();
    assert_eq!(versions.len(), 1);
    assert!(changed.iter().all(|row| row["monthly_cost_change"] == json!({ "GBP": 12.5 })));
    let failed = managed.get(&format!("{JOBS}/{}/rows?result=failed&per_page=2&page=2", text(&job["id"]))).check(200);
    assert!(failed.text().ends_with(r#""meta":{"total":4,"page":2,"per_page":2}}"#), "{}", failed.text());
    assert_eq!(failed.numbers(), ["+912271264217", "+999999999999"]);
    assert_eq!(managed.rows(&job["id"], "pending").len(), 0);
}

/// Every verb on numbers that the partner does not have: a job's preview, its run and
/// the verb on the number alone say the same.
#[test]
fn rows_of_absent_numbers_say_what_the_verb_says() {
    let managed = Managed::sample();
    let other = managed.server.database.key("PA_TWO", &["--scope", "manage"]);
    let stock = |key: &Key, number: &str| {
        let body = json!({ "number": number, "monthly_cost": 2, "currency": "EUR" });
        managed.server.request("POST", NUMBERS).auth(key).json(&body).send().check(201);
    };
    let [retired, moved, foreign, unknown] = ["+493020000", "+493020001", "+912271264217", "+999999999999"];
    for number in [retired, moved] {
        stock(&managed.key, number);
        managed.post(&format!("{NUMBERS}/{number}/retire"), json!({})).send().check(200);
    }
    stock(&other, moved); // Which the first partner must not learn.
    let to = json!({ "account_auth_id": "MA_1" });
    let later = json!({ "expires_at": "2090-01-01T00:00:00Z" });
    let cases = [
        ("assign", to.clone()),
        ("transfer", to),
        ("release", json!({})),
        ("suspend", json!({})),
        ("resume", json!({})),
        ("route", json!({ "application_id": null })),
        ("renew", later.clone()),
        ("reserve", json!({ "account_auth_id": "MA_1", "until": later["expires_at"] })),
        ("unreserve", json!({})),
        ("retire", json!({})),
        ("tags", json!({ "add": ["t"] })),
        ("cost", json!({ "monthly_cost": 3, "currency": "EUR" })),
    ];
    for (verb, params) in cases {
        let numbers = json!([retired, moved, foreign, unknown]);
        let body = |preview: bool| json!({ "verb": verb, "params": params, "numbers": numbers, "preview": preview });
        let preview = managed.create(body(true));
        let run = managed.done(body(false));
        let (preview, run) = (managed.rows(&preview["id"], ""), managed.rows(&run["id"], ""));
        for (would, did) in preview.iter().zip(&run) {
            let number = text(&did["number"]);
            let alone = managed.post(&format!("{NUMBERS}/{number}/{verb}"), params.clone()).send();
            let (result, would_result, reason) = match alone.status {
                200 => ("unchanged", "unchanged", String::new()),
                404 => ("failed", "would_fail", "is not one of yours".to_owned()),
                409 => {
                    let details = &alone.json()["error"]["details"];
                    let (state, since) = (text(&details["state"]), text(&details["since"]));
                    ("failed", "would_fail", format!("is {state} since {since}: bring it into stock again first"))
                }
                status => panic!("{verb} {number}: {status} {}", alone.text()),
            };
            let known = number == retired || number == moved;
            let expected = if known && verb == "retire" {
                200
            } else if known {
                409
            } else {
                404
            };
            assert_eq!(alone.status, expected, "{verb} {number}");
            assert_eq!((text(&did["result"]), text(&would["result"])), (result, would_result), "{verb} {number}");
            for row in [would, did] {
                assert_eq!(row["reason"].as_str().unwrap_or_default(), reason, "{verb} {number}");
            }
        }
        assert_eq!((preview.len(), run.len()), (4, 4), "{verb}");
    }
}

#[test]
fn what_is_wrong_with_a_job_is_named_with_its_place() {
    let managed = Managed::sample();
    let check = |body: Value, expected: &[&str]| {
        let answer = managed.post(JOBS, body.clone()).send().check(422);
        assert_eq!(answer.fields(), expected, "{body}: {}", answer.text());
    };
    let list = json!(["+6837101"]);
    check(json!({}), &["verb MISSING", "numbers MISSING"]);
    check(json!({ "verb": "delete", "numbers": list }), &["verb INVALID"]);
    check(json!({ "verb": "suspend" }), &["numbers MISSING"]);
    check(json!({ "verb": "suspend", "numbers": list, "filter": {} }), &["filter CONFLICT"]);
    check(json!({ "verb": "suspend", "numbers": [] }), &["numbers MISSING"]);
    check(json!({ "verb": "suspend", "numbers": "+6837101" }), &["numbers INVALID"]);
    check(json!({ "verb": "suspend", "numbers": list, "when": "now" }), &["when UNKNOWN"]);
    check(json!({ "verb": "suspend", "numbers": list, "params": { "x": 1 } }), &["params.x UNKNOWN"]);
    check(json!({ "verb": "renew", "numbers": list }), &["params.expires_at MISSING"]);
    check(
        json!({ "verb": "renew", "numbers": list, "params": { "expires_at": "soon" } }),
        &["params.expires_at INVALID"],
    );
    check(
        json!({ "verb": "assign", "numbers": list, "params": { "account_auth_id": "MA_Secundus" } }),
        &["params.account_auth_id UNKNOWN"],
    );
    check(
        json!({ "verb": "suspend", "numbers": ["+6837101", "06837102", 7, "+6837101"] }),
        &["numbers[1] INVALID", "numbers[2] INVALID", "numbers[3] REPEATED"],
    );
    check(json!({ "verb": "suspend", "filter": { "colour": "red" } }), &["filter.colour UNKNOWN"]);
    check(json!({ "verb": "suspend", "filter": { "sort": "number" } }), &["filter.sort UNKNOWN"]);
    check(json!({ "verb": "suspend", "filter": { "assigned": "true" } }), &["filter.assigned INVALID"]);
    check(json!({ "verb": "suspend", "filter": { "status": "on" } }), &["filter.status INVALID"]);
    // A filter that is empty by mistake would be about everything.
    check(json!({ "verb": "suspend", "filter": { "account_auth_id": "" } }), &["filter.account_auth_id INVALID"]);
    check(json!({ "verb": "suspend", "filter": { "account_auth_id": null } }), &["filter.account_auth_id INVALID"]);
    check(json!({ "verb": "suspend", "filter": { "search": "+" } }), &["filter.search INVALID"]);
    let many: Vec<String> = (0..10_001).map(|at| format!("+4420790{at:05}")).collect();
    check(json!({ "verb": "suspend", "numbers": many }), &["numbers TOO_LONG"]);
    let all = managed.create(json!({ "verb": "suspend", "numbers": many[..10_000], "preview": true }));
    assert_eq!(
        all["preview"],
        json!({ "would_change": 0, "unchanged": 0, "would_fail": 10_000, "monthly_cost_change": {} })
    );
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn a_filter_freezes_its_numbers_and_a_preview_says_what_the_run_does() {
    let managed = Managed::sample();
    // All of MA_1's, by the API's own filters: a, b, h, i, j.
    let body = json!({
        "verb": "release", "filter": { "account_auth_id": "MA_1", "assigned": true }, "preview": true,
        "params": { "confirm_last": true },
    });
    let before = managed.server.database.export("PA_ONE");
    let preview = managed.create(body);
    assert_eq!(preview["state"], "previewed");
    assert_eq!(preview["filter"], json!({ "account_auth_id": "MA_1", "assigned": true }));
    let saved = json!({ "INR": -1750.0, "NZD": -10.0, "USD": -1.5 });
    let said = json!({ "would_change": 5, "unchanged": 0, "would_fail": 0, "monthly_cost_change": saved });
    assert_eq!(preview["preview"], said);
    assert_eq!(preview["done"], 0);
    // The time is the test: a runner that took it would do so within this.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(managed.job(&preview["id"])["state"], "previewed", "it waits to be run");
    assert_eq!(managed.server.database.export("PA_ONE"), before, "nothing happened");
    let told: Vec<String> = managed.told(&preview["id"]);
    assert!(told.iter().all(|line| line.ends_with("would_change -")), "{told:?}");
    assert_eq!(managed.rows(&preview["id"], "would_change").len(), 5);
    assert_eq!(managed.rows(&preview["id"], "pending").len(), 0);
    // A number that MA_1 gets now is not part of it.
    let late = managed.post(
        &format!("{NUMBERS}/+442079460105/assign"),
        json!({ "account_auth_id": "MA_1", "monthly_cost": 1, "currency": "GBP" }),
    );
    late.check(200);

    assert_eq!(managed.order(&preview["id"], "run")["state"], "queued");
    let job = managed.ended(&preview["id"]);
    assert_eq!((&job["changed"], &job["failed"]), (&json!(5), &json!(0)));
    assert_eq!(job["monthly_cost_change"], saved, "what it said");
    assert_eq!(job["preview"], said, "what it said is kept");
    let left = managed.get("/api/v1/partner/accounts/MA_1/numbers").check(200).numbers();
    assert_eq!(left, ["+442079460105"]);
    // Run twice, it is done once.
    assert_eq!(managed.order(&preview["id"], "run")["state"], "done");
}

#[test]
fn a_run_decides_anew() {
    let managed = Managed::sample();
    let numbers = json!(["+912271265108", "+912271265109", "+919820000111"]);
    let preview = managed.create(json!({ "verb": "suspend", "numbers": numbers, "preview": true }));
    let said = |job: &Value| [&job["preview"]["would_change"], &job["preview"]["unchanged"]].map(Value::as_u64);
    assert_eq!(said(&preview), [Some(2), Some(1)]);
    // Meanwhile one is released, and one does it by itself.
    managed.post(&format!("{NUMBERS}/+912271265108/release"), json!({})).check(200);
    managed.post(&format!("{NUMBERS}/+919820000111/suspend"), json!({})).check(200);
    managed.post(&format!("{NUMBERS}/+912271265109/resume"), json!({})).check(200);
    managed.order(&preview["id"], "run");
    let job = managed.ended(&preview["id"]);
    let told = managed.told(&job["id"]);
    assert!(told[0].starts_with("+912271265108 failed is quarantined since"), "{told:?}");
    assert_eq!(told[1..], ["+912271265109 changed -", "+919820000111 unchanged -"]);
}

#[test]
fn the_last_active_number_of_an_account_stays() {
    let managed = Managed::sample();
    // MA_1 has a, b and h active; i is suspended and j has expired.
    let body = json!({ "verb": "release", "filter": { "account_auth_id": "MA_1" }, "preview": true });
    let preview = managed.create(body);
    assert_eq!(preview["preview"]["would_fail"], 1, "{preview}");
    let refused = managed.rows(&preview["id"], "would_fail");
    assert!(text(&refused[0]["reason"]).contains("last active number of account MA_1"), "{refused:?}");
    managed.order(&preview["id"], "run");
    let job = managed.ended(&preview["id"]);
    assert_eq!((&job["changed"], &job["failed"]), (&json!(4), &json!(1)));
    assert_eq!(managed.rows(&job["id"], "failed")[0]["number"], refused[0]["number"]);
}

/// Every column but those that an undo may not restore: none.
fn exported(managed: &Managed, partner: &str) -> String {
    managed.server.database.export(partner)
}

#[test]
fn an_undo_restores_exactly_and_can_be_undone() {
    let managed = Managed::sample();
    let verbs = [
        ("release", json!({ "confirm_last": true })),
        (
            "assign",
            json!({ "account_auth_id": "MA_2", "expires_at": "2098-01-01T00:00:00Z", "monthly_cost": 3, "currency": "EUR" }),
        ),
        ("transfer", json!({ "account_auth_id": "MA_2", "trunk_id": null, "confirm_last": true })),
        ("suspend", json!({})),
        ("resume", json!({})),
        ("route", json!({ "application_id": "app_2", "trunk_id": null })),
        ("renew", json!({ "expires_at": "2098-01-01T00:00:00Z" })),
        ("reserve", json!({ "account_auth_id": "MA_1", "until": "2098-01-01T00:00:00Z" })),
        ("unreserve", json!({})),
        ("tags", json!({ "add": ["new"], "remove": ["vip"] })),
        ("cost", json!({ "monthly_cost": 7, "currency": "EUR" })),
        ("retire", json!({})),
    ];
    for (verb, params) in verbs {
        let before = exported(&managed, "PA_ONE");
        let job = managed.done(json!({ "verb": verb, "params": params, "filter": {} }));
        assert!(job["changed"].as_u64() > Some(0), "{job}");
        let after = exported(&managed, "PA_ONE");
        assert_ne!(before, after, "{verb}");
        let preview =
            data(managed.post(&format!("{JOBS}/{}/undo", text(&job["id"])), json!({ "preview": true })).send(), 201);
        assert_eq!(preview["preview"]["would_change"], job["changed"], "{preview}");
        let undo = data(managed.post(&format!("{JOBS}/{}/undo", text(&job["id"])), json!({})).send(), 201);
        assert_eq!((&undo["verb"], &undo["undo_of"], &undo["total"]), (&json!("undo"), &job["id"], &job["changed"]));
        let undo = managed.ended(&undo["id"]);
        assert_eq!((&undo["changed"], &undo["failed"]), (&job["changed"], &json!(0)), "{verb}");
        assert_eq!(exported(&managed, "PA_ONE"), before, "{verb} undone");
        let redo = data(managed.post(&format!("{JOBS}/{}/undo", text(&undo["id"])), json!({})).send(), 201);
        managed.ended(&redo["id"]);
        assert_eq!(exported(&managed, "PA_ONE"), after, "{verb} done again");
        let again = data(managed.post(&format!("{JOBS}/{}/undo", text(&redo["id"])), json!({})).send(), 201);
        managed.ended(&again["id"]);
        assert_eq!(exported(&managed, "PA_ONE"), before, "{verb} undone again");
    }
}

#[test]
fn an_undo_leaves_what_somebody_changed_since() {
    let managed = Managed::sample();
    let job = managed.done(json!({ "verb": "suspend", "filter": { "account_auth_id": "MA_1", "status": "active" } }));
    assert_eq!(job["changed"], 3);
    managed.post(&format!("{NUMBERS}/+6837101/tags"), json!({ "add": ["mine"] })).check(200);
    managed.server.database.run(&["number", "release", "+912271265108", "--partner", "PA_ONE", "--yes"]).done();
    let undo = data(managed.post(&format!("{JOBS}/{}/undo", text(&job["id"])), json!({})).send(), 201);
    let undo = managed.ended(&undo["id"]);
    assert_eq!((&undo["changed"], &undo["failed"]), (&json!(1), &json!(2)));
    let told = managed.told(&undo["id"]);
    let mine = format!("+6837101 failed changed since, by key:{} (tag) at version", managed.key.key_id);
    assert!(told[0].starts_with(&mine), "{told:?}");
    assert_eq!(told[1], "+12025550102 changed -");
    assert!(told[2].starts_with("+912271265108 failed changed since, by command:"), "{told:?}");
    // A second undo finds all of it changed.
    let second = data(managed.post(&format!("{JOBS}/{}/undo", text(&job["id"])), json!({})).send(), 201);
    assert_eq!(managed.ended(&second["id"])["failed"], 3);
}

#[test]
fn states_that_do_not_allow_it_are_conflicts() {
    let managed = Managed::sample();
    let preview = || managed.create(json!({ "verb": "suspend", "numbers": ["+6837101"], "preview": true }));
    let check = |job: &Value, what: &str, state: &str| {
        let answer = managed.post(&format!("{JOBS}/{}/{what}", text(&job["id"])), json!({})).send().check(409);
        let details = answer.json()["error"]["details"].clone();
        assert_eq!((&details["job"], &details["state"]), (&job["id"], &json!(state)), "{details}");
    };
    let cancelled = preview();
    check(&cancelled, "undo", "previewed");
    assert_eq!(managed.order(&cancelled["id"], "cancel")["state"], "cancelled");
    assert_eq!(managed.order(&cancelled["id"], "cancel")["state"], "cancelled", "twice is the same");
    check(&cancelled, "run", "cancelled");
    check(&cancelled, "undo", "cancelled");
    assert_eq!(managed.told(&cancelled["id"]), ["+6837101 pending -"]);
    let done = managed.done(json!({ "verb": "resume", "numbers": ["+6837101"] }));
    check(&done, "cancel", "done");
    check(&done, "undo", "done");
    assert_eq!(managed.told(&done["id"]), ["+6837101 unchanged -"]);
    // Nothing matches: done at once.
    let none = managed.done(json!({ "verb": "resume", "filter": { "tag": "nowhere" } }));
    assert_eq!((&none["total"], &none["done"]), (&json!(0), &json!(0)));
    // Newest first.
    let list = managed.get(&format!("{JOBS}?per_page=2")).check(200).json();
    assert_eq!(list["meta"], json!({ "total": 3, "page": 1, "per_page": 2 }));
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    let listed = managed.get(&format!("{JOBS}?per_page=100")).check(200).json();
    let ids: BTreeSet<&str> = listed["data"].as_array().expect("jobs").iter().map(|job| text(&job["id"])).collect();
    let known = [&cancelled, &done, &none].map(|job| text(&job["id"]));
    assert_eq!(ids, BTreeSet::from(known));
}

#[test]
fn a_retried_order_is_one_order() {
    let managed = Managed::sample();
    let send =
        |path: &str, body: &Value, key: &str| managed.post(path, body.clone()).header("Idempotency-Key", key).send();
    let body = json!({ "verb": "suspend", "numbers": ["+6837101"], "preview": true });
    let first = send(JOBS, &body, "one").check(201);
    let again = send(JOBS, &body, "one").check(201);
    assert_eq!(first.text(), again.text());
    assert_eq!(managed.get(JOBS).check(200).json()["meta"]["total"], 1);
    let other = json!({ "verb": "resume", "numbers": ["+6837101"] });
    assert_eq!(send(JOBS, &other, "one").check(422).fields(), ["Idempotency-Key CONFLICT"]);
    let id = first.json()["data"]["id"].clone();
    let run = format!("{JOBS}/{}/run", text(&id));
    let ran = send(&run, &json!({}), "two").check(200);
    managed.ended(&id);
    assert_eq!(send(&run, &json!({}), "two").check(200).text(), ran.text(), "as it was answered then");
    let undo = format!("{JOBS}/{}/undo", text(&id));
    let undone = send(&undo, &json!({}), "three").check(201);
    managed.ended(&undone.json()["data"]["id"]);
    assert_eq!(send(&undo, &json!({}), "three").check(201).text(), undone.text());
    assert_eq!(managed.get(JOBS).check(200).json()["meta"]["total"], 2);
}

#[test]
fn a_job_is_its_partners_alone() {
    let managed = Managed::sample();
    let other = managed.server.database.key("PA_TWO", &["--scope", "manage"]);
    let reader = managed.server.database.key("PA_ONE", &[]);
    let job = managed.done(json!({ "verb": "suspend", "numbers": ["+6837101", "+4989100001"] }));
    let id = text(&job["id"]);
    let mut unknown = BTreeSet::new();
    for id in [id, "job_none"] {
        for (method, path) in [("GET", ""), ("GET", "/rows"), ("POST", "/run"), ("POST", "/cancel"), ("POST", "/undo")]
        {
            let request = managed.server.request(method, &format!("{JOBS}/{id}{path}")).auth(&other);
            unknown.insert(request.check(404).masked());
            managed.server.request(method, &format!("{JOBS}/{id}{path}")).auth(&reader).check(403);
        }
    }
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    let list = managed.server.get(JOBS).auth(&other).check(200).json();
    assert_eq!(list["meta"]["total"], 0);
    // Their number was not touched.
    let row = managed.server.get("/api/v1/partner/numbers/+4989100001").auth(&other).check(200).json();
    assert_eq!(row["data"]["status"], "active");
    assert_eq!(
        managed.server.request("PUT", JOBS).auth(&managed.key).check(405).header("allow"),
        Some("GET, HEAD, POST")
    );
    let query = managed.get(&format!("{JOBS}/{id}/rows?result=good&x=1")).check(422);
    assert_eq!(query.fields(), ["result INVALID", "x UNKNOWN"]);
}

/// What the log says a job did: how often each number was changed, and the
/// versions that changed any.
pub fn logged(store: &dyn Store, job: &str) -> (BTreeMap<u64, u64>, Vec<u64>) {
    let key = store.heads(true).expect("heads").expect("asked for always")[0].key;
    let (mut numbers, mut versions) = (BTreeMap::new(), Vec::new());
    for logged in store.log(key, 0, 1_000_000).expect("the log") {
        if logged.change.request_id.as_deref() == Some(job) {
            versions.push(logged.change.version);
            logged.change.numbers.iter().for_each(|change| *numbers.entry(change.number.digits()).or_default() += 1);
        }
    }
    (numbers, versions)
}

#[test]
fn batches_are_versions_and_pages_find_their_rows() {
    let managed = Managed::blocks(2, "[jobs]\nbatch_rows = 300\n");
    let job = managed.done(json!({
        "verb": "assign", "filter": { "assigned": false }, "params": { "account_auth_id": "MA_1" },
    }));
    assert_eq!((&job["changed"], &job["monthly_cost_change"]), (&json!(2_000), &json!({ "INR": 1_000_000.0 })));
    let (numbers, versions) = logged(&*managed.store(), text(&job["id"]));
    assert_eq!((numbers.len(), versions.len()), (2_000, 7));
    let rows = managed.rows(&job["id"], "changed");
    assert_eq!(rows.len(), 2_000);
    let found: Vec<String> = rows.iter().map(|row| text(&row["number"]).to_owned()).collect();
    assert!(found.is_sorted());
    for (page, first) in [(1, 0), (9, 800), (20, 1_900)] {
        let path = format!("{JOBS}/{}/rows?per_page=100&page={page}", text(&job["id"]));
        assert_eq!(managed.get(&path).check(200).numbers(), found[first..first + 100], "page {page}");
    }
    let past = managed.get(&format!("{JOBS}/{}/rows?page=400", text(&job["id"]))).check(200).json();
    assert_eq!((&past["data"], &past["meta"]["total"]), (&json!([]), &json!(2_000)));
}

#[test]
fn a_cancelled_job_stops_between_rows_and_what_it_did_can_be_undone() {
    let managed = Managed::blocks(40, "[jobs]\nbatch_rows = 100\n");
    let before = exported(&managed, "PA_BIG");
    let job = managed.create(json!({ "verb": "assign", "filter": {}, "params": { "account_auth_id": "MA_1" } }));
    let begin = Instant::now();
    loop {
        let job = managed.job(&job["id"]);
        if job["done"].as_u64() > Some(500) {
            assert!(job["rate"].as_f64() > Some(0.0), "{job}");
            assert!(job["seconds_left"].as_u64().is_some(), "{job}");
            break;
        }
        assert!(begin.elapsed() < SOON, "{job}");
    }
    let asked = Instant::now();
    let cancelled = managed.order(&job["id"], "cancel");
    let took = asked.elapsed();
    let done = cancelled["done"].as_u64().expect("a count");
    assert!(done < 40_000, "{cancelled}");
    // The time is the test: a batch that went on would be seen within this.
    std::thread::sleep(Duration::from_millis(300));
    let job = managed.job(&job["id"]);
    assert_eq!((&job["state"], &job["done"]), (&json!("cancelled"), &json!(done)), "not one more");
    println!("cancelled after {done} rows, within {took:?}");
    let held = managed.get("/api/v1/partner/accounts/MA_1/numbers").check(200).json();
    assert_eq!(held["meta"]["total"], done);
    let pending = managed.get(&format!("{JOBS}/{}/rows?result=pending", text(&job["id"]))).check(200).json();
    assert_eq!(pending["meta"]["total"], 40_000 - done);
    assert_eq!(pending["data"].as_array().map(Vec::len), Some(20));
    let undo = data(managed.post(&format!("{JOBS}/{}/undo", text(&job["id"])), json!({})).send(), 201);
    assert_eq!(managed.ended(&undo["id"])["changed"], done);
    assert_eq!(exported(&managed, "PA_BIG"), before);
}

#[test]
fn a_killed_server_goes_on_with_its_job_and_does_each_row_once() {
    let managed = Managed::blocks(20, "[jobs]\nbatch_rows = 200\n");
    let job = managed.create(json!({ "verb": "assign", "filter": {}, "params": { "account_auth_id": "MA_1" } }));
    let id = text(&job["id"]).to_owned();
    let mut managed = managed;
    let file = managed.server.database.file("rollcall.toml").to_str().expect("UTF-8").to_owned();
    let mut kills = 0;
    // Where there may be other servers, the next one waits for the lease.
    let most = if cluster::on_postgres().is_some() { 2 } else { 5 };
    let begin = Instant::now();
    loop {
        let now = managed.job(&json!(id));
        if now["state"] == "done" {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{now}");
        if kills < most && now["done"].as_u64() >= Some(kills * 3_000 + 500) {
            kills += 1;
            managed.server.kill_and_start(&["--config", &file, "--rate-limit", "0"]);
        }
    }
    assert!(kills >= 2, "killed {kills} times");
    let (numbers, versions) = logged(&*managed.store(), &id);
    assert_eq!(numbers.len(), 20_000);
    assert!(numbers.values().all(|&times| times == 1), "each row once");
    assert_eq!(versions.len(), 100);
    let job = managed.job(&json!(id));
    assert_eq!((&job["changed"], &job["failed"]), (&json!(20_000), &json!(0)));
    println!("killed {kills} times in the middle of 20,000 rows");
}

#[test]
fn a_big_job_does_not_hold_up_another_partners_click() {
    let database = Database::empty();
    database.partner("PA_BIG", "Big", &[]);
    database.partner("PA_SMALL", "Small", &[]);
    fill(&database, "PA_BIG", 33_145_000_000, 60);
    fill(&database, "PA_SMALL", 49_301_000_000, 1);
    let other = database.key("PA_SMALL", &["--scope", "manage"]);
    let managed = Managed::of(database, "PA_BIG", "");
    let click = |at: u64| {
        let begin = Instant::now();
        let body = json!({ "monthly_cost": at + 1, "currency": "INR" });
        managed.server.request("POST", &format!("{NUMBERS}/+49301000000/cost")).auth(&other).json(&body).check(200);
        begin.elapsed()
    };
    let idle = (0..20).map(click).max().expect("clicks");
    let assign = json!({ "verb": "assign", "filter": {}, "params": { "account_auth_id": "MA_1" } });
    let jobs = [managed.create(assign.clone()), managed.create(assign.clone()), managed.create(assign)];
    // Another partner's job takes its turn, too.
    let small = managed.server.request("POST", JOBS).auth(&other).json(&json!({
        "verb": "assign", "filter": { "assigned": false }, "params": { "account_auth_id": "MA_1" },
    }));
    let small = data(small.send(), 201);
    let (mut clicks, mut small_done) = (Vec::new(), None);
    let begin = Instant::now();
    for at in 20.. {
        clicks.push(click(at));
        let path = format!("{JOBS}/{}", text(&small["id"]));
        if small_done.is_none() && managed.server.get(&path).auth(&other).check(200).json()["data"]["state"] == "done" {
            small_done = Some(begin.elapsed());
        }
        let open = managed.job(&jobs[0]["id"]);
        if open["state"] == "done" {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "{open}");
    }
    clicks.sort_unstable();
    let at = |share: f64| clicks[((clicks.len() - 1) as f64 * share) as usize];
    println!(
        "60,000 rows of one partner: {} clicks of another, median {:?}, p99 {:?}, worst {:?} (idle worst {idle:?}); its job of 1,000 was done after {small_done:?}",
        clicks.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(small_done.is_some(), "the small job did not wait for the big one");
    assert!(at(0.5) < Duration::from_secs(2), "{:?}", at(0.5));
    // Those that are done by now are refused; either way they do nothing more.
    for job in &jobs[1..] {
        managed.post(&format!("{JOBS}/{}/cancel", text(&job["id"])), json!({})).send();
    }
}

/// The description's examples, sent in a sensible order, are answered as it
/// says.
#[test]
fn the_documented_examples_work() {
    let managed = Managed::of(Database::sample(), "PA_SEED", "");
    managed
        .post(
            NUMBERS,
            json!({ "number": "+912271264400", "number_end": "+912271264499", "monthly_cost": 450, "currency": "INR" }),
        )
        .check(201);
    let document: Value = managed.get("/openapi.json").check(200).json();
    let example = |operation: &Value| operation["requestBody"]["content"]["application/json"]["example"].clone();
    let check = |path: &str, method: &str, status: &str, answer: &Value| {
        let documented =
            &document["paths"][path][method]["responses"][status]["content"]["application/json"]["example"];
        assert_eq!(shape(documented), shape(answer), "{method} {path}");
    };
    let create = example(&document["paths"][JOBS]["post"]);
    let created = managed.post(JOBS, create).send().check(201).json();
    check(JOBS, "post", "201", &created);
    assert_eq!(
        created["data"]["preview"],
        json!({ "would_change": 100, "unchanged": 0, "would_fail": 0, "monthly_cost_change": { "INR": 45_000.0 } })
    );
    let id = created["data"]["id"].clone();
    check(JOBS, "get", "200", &managed.get(JOBS).check(200).json());
    let (one, real) = (format!("{JOBS}/{{id}}"), format!("{JOBS}/{}", text(&id)));
    check(&one, "get", "200", &managed.get(&real).check(200).json());
    let rows = managed.get(&format!("{real}/rows?per_page=1&result=would_change")).check(200).json();
    check(&format!("{one}/rows"), "get", "200", &rows);
    check(&format!("{one}/run"), "post", "200", &managed.post(&format!("{real}/run"), json!({})).check(200).json());
    managed.ended(&id);
    managed.post(&format!("{real}/undo"), json!({})).check(201);
}

/// The keys of a value at every depth, and in their order.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}:{}", shape(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => list.first().map(shape).unwrap_or_default(),
        _ => String::new(),
    }
}

// The command line.

#[test]
fn commands_do_jobs_with_and_without_a_server() {
    let database = Database::sample();
    let args = |rest: &[&'static str]| [&["job"], rest, &["--partner", "PA_ONE"]].concat();
    let before = database.export("PA_ONE");
    let preview = database
        .run(&args(&[
            "create",
            "--verb",
            "suspend",
            "--filter",
            "account_auth_id=MA_1",
            "--filter",
            "status=active",
            "--dry-run",
            "--json",
        ]))
        .done()
        .json();
    assert_eq!((&preview["state"], &preview["preview"]["would_change"]), (&json!("previewed"), &json!(3)));
    assert_eq!(database.export("PA_ONE"), before);
    let id: &'static str = text(&preview["id"]).to_owned().leak();
    let ran = database.run(&args(&["run", id])).done();
    assert!(ran.stdout.contains("3 changed, 0 unchanged, 0 failed"), "{}", ran.stdout);
    let undone = database.run(&args(&["undo", id, "--json"])).done().json();
    assert_eq!((&undone["state"], &undone["undo_of"]), (&json!("done"), &json!(id)));
    assert_eq!(database.export("PA_ONE"), before);

    let asked = database.run(&args(&["create", "--verb", "release", "--filter", "account_auth_id=MA_3"])).check(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let wrong = database.run(&args(&["create", "--verb", "assign", "--all", "--param", "account=MA_1"])).check(2);
    assert!(wrong.stderr.contains("--param account is not known"), "{}", wrong.stderr);
    assert_eq!(database.export("PA_ONE"), before);

    let server = Server::start(database, &[]);
    let file = server.database.write("numbers.txt", "+6837101\n\n+999999999999\n");
    let file: &'static str = file.to_str().expect("UTF-8").to_owned().leak();
    let ran = server.database.run(&args(&[
        "create",
        "--verb",
        "tags",
        "--param",
        "add=a,b",
        "--numbers-file",
        file,
        "--json",
    ]));
    let job = ran.check(3).json();
    assert_eq!((&job["state"], &job["changed"], &job["failed"]), (&json!("done"), &json!(1), &json!(1)));
    let id: &'static str = text(&job["id"]).to_owned().leak();
    let rows = server.database.run(&args(&["rows", id, "--result", "failed"])).done().stdout;
    assert_eq!(rows, "+999999999999     failed        is not one of yours\n");
    assert!(server.database.run(&args(&["show", id])).done().stdout.contains("is done"));
    assert_eq!(server.database.run(&args(&["list", "--json"])).done().json()["data"].as_array().map(Vec::len), Some(4));
    let refused = server.database.run(&args(&["cancel", id])).check(1);
    assert!(refused.stderr.contains("it has ended"), "{}", refused.stderr);
}

/// A node of several on one database, with its jobs done by a runner. The days
/// of its quarantine show in what it did.
fn node(database: &fixture::Database, name: &str, days: u32) -> (Service, JobRunner) {
    let store = database.open();
    let replica = Arc::new(Replica::load(store.clone()).expect("loaded"));
    let leases = Leases::named(store.clone(), name, Duration::from_secs(1));
    let quarantine = Quarantine { default_days: days, ..Quarantine::default() };
    let service = Service::new(store, fixture::operator()).batch_rows(10).quarantine(quarantine);
    let service = service.replica(replica).leases(leases);
    let runner = JobRunner::start(&service, JobSettings { workers: 2, per_partner: 2 });
    (service, runner)
}

#[test]
fn one_of_two_nodes_does_jobs_and_the_other_takes_over() {
    const ROWS: u64 = 2_000;
    let database = fixture::Database::new();
    let store = database.open();
    let key = fixture::new_partner(&*store, "PA_ONE");
    fixture::put_account(&*store, key, "MA_1");
    let numbers: Vec<_> = (0..ROWS).map(|at| fixture::created(33_100_000_000 + at, fixture::held("MA_1"))).collect();
    fixture::put(&*store, key, &numbers);

    // One that died in the middle has the lease until its time is over.
    let dead = Service::new(database.open(), fixture::operator()).batch_rows(10);
    let dead = dead.quarantine(Quarantine { default_days: 3, ..Quarantine::default() });
    let wanted = JobSelection::Filter(Box::default(), "{}".to_owned());
    let action = Action::Release { confirm_last: true };
    let new = NewJob { action, params: "{}".to_owned(), wanted, preview: false };
    let id = match dead.job_create(key, &new) {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => job.id,
        other => panic!("not created: {other:?}"),
    };
    (0..3).for_each(|_| assert_eq!(dead.job_step(key, &id, Instant::now()).expect("a step"), BatchStep::More));
    assert!(store.lease("jobs", "dead", 3).expect("a lease").held());
    let died = Instant::now();
    let done = || dead.job(key, &id).expect("a job").tally.rows();
    let (_first, one) = node(&database, "first", 1);
    let (second, two) = node(&database, "second", 2);
    let whose = || store.leaseholder("jobs").expect("asked");
    until(SOON, || "nobody takes over".to_owned(), || whose().as_deref() != Some("dead"));
    let began = died.elapsed();
    let wait = |rows: u64| until(SOON * 2, || format!("{} rows by {:?}", done(), whose()), || done() >= rows);
    wait(31);
    assert!(Duration::from_secs(1) < began && died.elapsed() < SOON, "{began:?}, {:?}", died.elapsed());
    // It ends in the middle as well, and says so; progress is seen from anywhere.
    let (ending, other) = match whose().as_deref() {
        Some("first") => ((one, 1), (two, 2)),
        Some("second") => ((two, 2), (one, 1)),
        whose => panic!("{whose:?}"),
    };
    wait(100);
    ending.0.stop();
    let between = second.job(key, &id).expect("a job").tally.rows();
    wait(ROWS);
    other.0.stop();

    let job = second.job(key, &id).expect("a job");
    assert_eq!((job.state, job.tally.changed), (JobState::Done, ROWS));
    let (rows, _) = logged(&*store, &id);
    assert_eq!(rows.len() as u64, ROWS);
    assert!(rows.values().all(|&times| times == 1), "each row once");
    let days: Vec<i64> = store
        .log(key, 0, 10_000)
        .expect("the log")
        .iter()
        .filter(|logged| logged.change.request_id.as_deref() == Some(&*id))
        .flat_map(|logged| logged.change.numbers.iter().filter_map(|change| change.after.as_ref()))
        .map(|record| (record.until.expect("a quarantine").seconds() - record.since.seconds()) / 86_400)
        .collect();
    let runs: Vec<i64> = days.chunk_by(|one, two| one == two).map(|run| run[0]).collect();
    let taken_over = [3, ending.1, other.1];
    assert!(runs == taken_over || (between == ROWS && runs == taken_over[..2]), "{runs:?}");
    assert!(between < ROWS, "it was not stopped in the middle");
}

#[test]
fn a_job_is_run_and_cancelled_from_any_node() {
    let database = fixture::Database::new();
    let store = database.open();
    let key = fixture::new_partner(&*store, "PA_ONE");
    fixture::put_account(&*store, key, "MA_1");
    let numbers: Vec<_> = (0..30_000).map(|at| fixture::created(33_100_000_000 + at, fixture::held("MA_1"))).collect();
    fixture::put(&*store, key, &numbers);
    let (_doing, one) = node(&database, "doing", 1);
    let (asking, two) = node(&database, "asking", 2);
    assert_eq!(store.leaseholder("jobs").expect("asked").as_deref(), Some("doing"));
    let wanted = JobSelection::Filter(Box::default(), "{}".to_owned());
    let new = NewJob { action: Action::Suspend, params: "{}".to_owned(), wanted, preview: true };
    let id = match asking.job_create(key, &new) {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => job.id,
        other => panic!("not created: {other:?}"),
    };
    asking.job_run(key, &id).expect("it may run");
    let job = || asking.job(key, &id).expect("a job");
    until(SOON, || "nobody does it".to_owned(), || job().tally.rows() > 0);
    asking.job_cancel(key, &id).expect("it may end");
    let done = job().tally.rows();
    assert_eq!(job().state, JobState::Cancelled);
    assert!(done < 30_000, "it was over before");
    // The time is the test: a row that went on would be seen within this.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(job().tally.rows(), done, "not a row more");
    one.stop();
    two.stop();
}

#[test]
fn a_job_that_is_done_is_in_the_lists_of_its_node() {
    let managed = Managed::sample();
    let numbers = json!(["+912271265108", "+919820000111"]);
    for round in 0..12 {
        let (verb, status) = if round % 2 == 0 { ("suspend", "suspended") } else { ("resume", "active") };
        let id = managed.create(json!({ "verb": verb, "numbers": numbers }))["id"].clone();
        let begin = Instant::now();
        // Asked without a pause, so that the first answer that says so is seen.
        let answer = loop {
            let answer = managed.get(&format!("{JOBS}/{}", text(&id))).check(200);
            if answer.json()["data"]["state"] == "done" {
                break answer;
            }
            assert!(begin.elapsed() < SOON, "still {}", answer.text());
        };
        let listed = managed.get("/api/v1/partner/numbers?search=%2B91").check(200).json();
        let rows = listed["data"].as_array().expect("rows");
        let statuses = rows.iter().filter(|row| numbers.as_array().expect("numbers").contains(&row["number"]));
        assert!(statuses.clone().all(|row| row["status"] == status), "round {round}: {listed}");
        // The header names a version at which every node shows as much.
        let made = managed.rows(&id, "changed").iter().filter_map(|row| row["version"].as_u64()).max();
        let named = answer.header("inventory-version").and_then(|version| version.parse::<u64>().ok());
        assert!(made.is_some() && named >= made, "{named:?} {made:?}");
    }
}
