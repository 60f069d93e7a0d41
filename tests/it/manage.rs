//! The management API: the verbs over the real server, and what holds for
//! every write: one holder, done once, nothing half done.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::harness::{Answer, Database, Key, ONE, Request, Server, keys};

const NUMBERS: &str = "/api/v1/manage/numbers";
/// An available number of `ONE`.
const FREE: &str = "+442079460105";
/// One that `MA_1` holds, active and unrouted: `a`.
const HELD: &str = "+6837101";
const LATER: &str = "2098-01-01T00:00:00Z";

/// The sample with a key that may write.
struct Managed {
    server: Server,
    key: Key,
}

impl Managed {
    fn sample() -> Managed {
        let database = Database::sample();
        let key = database.key("PA_ONE", &["--scope", "manage"]);
        Managed { server: Server::start(database, &[]), key }
    }

    fn post(&self, path: &str, body: Value) -> Request<'_> {
        self.server.request("POST", path).auth(&self.key).json(&body)
    }

    fn verb(&self, number: &str, verb: &str, body: Value) -> Answer {
        self.post(&format!("{NUMBERS}/{number}/{verb}"), body).send()
    }

    fn patch(&self, path: &str, body: Value) -> Answer {
        self.server.request("PATCH", path).auth(&self.key).json(&body).send()
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path).auth(&self.key).send()
    }

    fn number(&self, number: &str) -> Value {
        self.get(&format!("/api/v1/partner/numbers/{number}")).check(200).json()["data"].clone()
    }
}

#[track_caller]
fn data(answer: Answer) -> Value {
    answer.check(200).json()["data"].clone()
}

#[track_caller]
fn conflict(answer: Answer) -> Value {
    let answer = answer.check(409);
    assert_eq!(answer.code(), "CONFLICT");
    answer.json()["error"]["details"].clone()
}

#[test]
fn a_number_goes_through_its_life() {
    let managed = Managed::sample();
    let number = "+442079460150";
    let created = managed
        .post(NUMBERS, json!({ "number": number, "monthly_cost": 12.5, "currency": "GBP", "tags": ["gold", "new"] }));
    let created = created.check(201);
    let row = created.json()["data"].clone();
    assert_eq!((&row["state"], &row["status"]), (&json!("available"), &json!("suspended")));
    assert_eq!(
        (&row["country"], &row["region"], &row["number_type"]),
        (&json!("GB"), &json!("London"), &json!("local"))
    );
    assert!(created.text().contains(r#""monthly_cost":12.50,"currency":"GBP""#), "{}", created.text());
    assert_eq!(row["tags"], json!(["gold", "new"]));

    let reserved = data(managed.verb(number, "reserve", json!({ "account_auth_id": "MA_1", "until": LATER })));
    assert_eq!((&reserved["state"], &reserved["reserved_until"]), (&json!("reserved"), &json!(LATER)));
    let back = data(managed.verb(number, "unreserve", json!({})));
    assert_eq!((&back["state"], &back["reserved_for"]), (&json!("available"), &Value::Null));

    let assigned = json!({
        "account_auth_id": "MA_2", "application_id": "app_2", "trunk_id": "trunk_1",
        "expires_at": LATER, "monthly_cost": 7.25, "currency": "EUR",
    });
    let assigned = data(managed.verb(number, "assign", assigned));
    for (field, expected) in [
        ("state", "active"),
        ("status", "active"),
        ("account_auth_id", "MA_2"),
        ("account_name", "Primus Two"),
        ("application_id", "app_2"),
        ("trunk_id", "trunk_1"),
        ("expires_at", LATER),
        ("currency", "EUR"),
    ] {
        assert_eq!(assigned[field], expected, "{field}");
    }
    assert_eq!(managed.number(number)["account_auth_id"], "MA_2", "the next read sees it");

    let routed = data(managed.verb(number, "route", json!({ "application_id": "app_1", "trunk_id": null })));
    assert_eq!((&routed["application_id"], &routed["trunk_id"]), (&json!("app_1"), &Value::Null));
    let routed = data(managed.verb(number, "route", json!({ "application_id": null })));
    assert_eq!(routed["application_id"], Value::Null);
    let renewed = data(managed.verb(number, "renew", json!({ "expires_at": null })));
    assert_eq!(renewed["expires_at"], Value::Null);
    assert_eq!(data(managed.verb(number, "suspend", json!({})))["state"], "suspended");
    assert_eq!(data(managed.verb(number, "resume", json!({})))["state"], "active");
    let tagged = data(managed.verb(number, "tags", json!({ "add": ["blue"], "remove": ["new"] })));
    assert_eq!(tagged["tags"], json!(["blue", "gold"]));
    let priced = managed.verb(number, "cost", json!({ "monthly_cost": 500, "currency": "JPY" })).check(200);
    assert!(priced.text().contains(r#""monthly_cost":500,"currency":"JPY""#), "{}", priced.text());

    let released = data(managed.verb(number, "release", json!({})));
    assert_eq!((&released["state"], &released["account_auth_id"]), (&json!("quarantined"), &Value::Null));
    let ends: jiff::Timestamp = released["quarantine_ends_at"].as_str().expect("a time").parse().expect("a time");
    let days = (ends.as_second() - jiff::Timestamp::now().as_second()) as f64 / 86_400.0;
    assert!((89.9..=90.0).contains(&days), "90 days: {days}");
    let retired = data(managed.verb(number, "retire", json!({})));
    assert_eq!(retired["state"], "retired");
    managed.get(&format!("/api/v1/partner/numbers/{number}")).check(404);
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn setting_what_is_already_so_writes_nothing() {
    let managed = Managed::sample();
    let tags = json!({ "add": ["x"] });
    let first = data(managed.verb(HELD, "tags", tags.clone()));
    let version = |row: &Value| row["version"].as_u64().expect("a version");
    for (verb, body) in [
        ("tags", tags),
        ("tags", json!({ "remove": ["never there"] })),
        ("resume", json!({})),
        ("route", json!({ "application_id": null, "trunk_id": null })),
        ("renew", json!({ "expires_at": null })),
        ("cost", json!({ "monthly_cost": 10, "currency": "NZD" })),
        ("assign", json!({ "account_auth_id": "MA_1" })),
        ("transfer", json!({ "account_auth_id": "MA_1" })),
    ] {
        let again = data(managed.verb(HELD, verb, body));
        assert_eq!(version(&again), version(&first), "{verb} changed nothing");
    }
    for number in ["+912271265109", "+442079460106"] {
        let verb = if number.ends_with('9') { "suspend" } else { "release" };
        let before = managed.number(number);
        data(managed.verb(number, verb, json!({})));
        assert_eq!(managed.number(number), before);
    }
}

/// State × verb, over HTTP: what the table in `domain::action` says.
#[test]
fn every_verb_in_every_state() {
    let rows = [
        // verb, then available, reserved (for MA_2), active, suspended, quarantined, retired
        ("assign", [200, 409, 409, 409, 409, 409]),
        ("transfer", [409, 409, 200, 200, 409, 409]),
        ("release", [409, 409, 200, 200, 200, 409]),
        ("suspend", [409, 409, 200, 200, 409, 409]),
        ("resume", [409, 409, 200, 200, 409, 409]),
        ("route", [409, 409, 200, 200, 409, 409]),
        ("renew", [409, 409, 200, 200, 409, 409]),
        ("reserve", [200, 409, 409, 409, 409, 409]),
        ("unreserve", [200, 200, 409, 409, 409, 409]),
        ("retire", [200, 409, 409, 409, 200, 200]),
        ("tags", [200, 200, 200, 200, 200, 409]),
        ("cost", [200, 200, 200, 200, 200, 409]),
    ];
    let states = ["available", "reserved", "active", "suspended", "quarantined", "retired"];
    let managed = Managed::sample();
    let price = json!({ "monthly_cost": 3, "currency": "EUR" });
    for (row, (verb, expected)) in rows.into_iter().enumerate() {
        for (column, state) in states.into_iter().enumerate() {
            let number = format!("+4930{:05}", 20_000 + row * 10 + column);
            let stock = json!({ "number": number, "monthly_cost": 2, "currency": "EUR" });
            managed.post(NUMBERS, stock).check(201);
            let to = |account: &str| json!({ "account_auth_id": account });
            let steps: &[(&str, Value)] = match state {
                "available" => &[],
                "reserved" => &[("reserve", json!({ "account_auth_id": "MA_2", "until": LATER }))],
                "active" => &[("assign", to("MA_2"))],
                "suspended" => &[("assign", to("MA_2")), ("suspend", json!({}))],
                "quarantined" => &[("assign", to("MA_2")), ("release", json!({}))],
                _ => &[("retire", json!({}))],
            };
            for (step, body) in steps {
                managed.verb(&number, step, body.clone()).check(200);
            }
            let body = match verb {
                "assign" | "transfer" => to("MA_1"),
                "route" => json!({ "application_id": "app_1" }),
                "renew" => json!({ "expires_at": LATER }),
                "reserve" => json!({ "account_auth_id": "MA_1", "until": LATER }),
                "tags" => json!({ "add": ["t"] }),
                "cost" => price.clone(),
                _ => json!({}),
            };
            let answer = managed.verb(&number, verb, body);
            assert_eq!(answer.status, expected[column], "{verb} of a number that is {state}: {answer:?}");
            if answer.status == 409 {
                let details = conflict(answer);
                assert_eq!(details["state"], state, "{verb}: {details}");
                assert!(details["since"].is_string(), "{verb} of {state}: {details}");
                assert_eq!(details["by"], format!("key:{}", managed.key.key_id), "{verb} of {state}: {details}");
            }
        }
    }
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn two_writers_on_one_number_100_times() {
    let managed = Managed::sample();
    let block = json!({ "number": "+4930300000", "number_end": "+4930300099", "monthly_cost": 1, "currency": "EUR" });
    assert_eq!(managed.post(NUMBERS, block).check(201).json()["data"]["numbers"], 100);
    for round in 0..100 {
        let number = format!("+49303000{round:02}");
        let start = Barrier::new(2);
        let won = std::thread::scope(|scope| {
            let writer = |account: &'static str| {
                let (managed, start, number) = (&managed, &start, &number);
                scope.spawn(move || {
                    start.wait();
                    let answer = managed.verb(number, "assign", json!({ "account_auth_id": account }));
                    (account, answer.status)
                })
            };
            let (one, two) = (writer("MA_1"), writer("MA_2"));
            [one.join().expect("answered"), two.join().expect("answered")]
        });
        let mut statuses = won.map(|(_, status)| status);
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}: {won:?}");
        let winner = won.iter().find(|(_, status)| *status == 200).expect("one of them").0;
        assert_eq!(managed.number(&number)["account_auth_id"], winner, "round {round}");
    }
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn the_last_active_number_needs_to_be_confirmed() {
    let managed = Managed::sample();
    let number = "+883510000012112";
    let details = conflict(managed.verb(number, "release", json!({})));
    assert_eq!(details["needs"], "confirm_last");
    assert_eq!(managed.number(number)["account_auth_id"], "MA_3");
    assert_eq!(data(managed.verb(number, "release", json!({ "confirm_last": true })))["state"], "quarantined");
    // A suspended one is not among the active.
    data(managed.verb("+912271265109", "release", json!({})));
    // MA_1 has three active ones left (a fourth has expired); all but the last go.
    for number in [HELD, "+12025550102"] {
        data(managed.verb(number, "release", json!({})));
    }
    conflict(managed.verb("+912271265108", "release", json!({})));
    data(managed.verb("+912271265110", "release", json!({})));
}

#[test]
fn a_transfer_moves_a_number_with_all_that_it_has() {
    let managed = Managed::sample();
    let number = "+12025550102";
    let before = managed.number(number);
    let moved = data(managed.verb(number, "transfer", json!({ "account_auth_id": "MA_2" })));
    assert_eq!((&moved["account_auth_id"], &moved["account_name"]), (&json!("MA_2"), &json!("Primus Two")));
    assert_ne!(moved["assigned_at"], before["assigned_at"], "assigned to this account now");
    for field in
        ["status", "application_id", "trunk_id", "monthly_cost", "currency", "expires_at", "number_type", "region"]
    {
        assert_eq!(moved[field], before[field], "{field}");
    }
    let history = managed.get(&format!("/api/v1/partner/numbers/{number}/history")).check(200).text().to_owned();
    assert!(history.contains("moved from MA_1 to MA_2") && history.contains(r#""verb":"transfer""#), "{history}");
    let again = data(managed.verb(number, "transfer", json!({ "account_auth_id": "MA_2" })));
    assert_eq!(again["version"], moved["version"], "it is there already");
    let elsewhere = json!({ "account_auth_id": "MA_2", "application_id": null });
    let details = conflict(managed.verb(number, "transfer", elsewhere));
    assert_eq!(details["hint"], "the account holds it already; set its route instead");
    let cleared = data(managed.verb(number, "transfer", json!({ "account_auth_id": "MA_1", "application_id": null })));
    assert_eq!((&cleared["application_id"], &cleared["trunk_id"]), (&Value::Null, &before["trunk_id"]));
    let routed = json!({ "account_auth_id": "MA_2", "application_id": "app_2", "trunk_id": null });
    let routed = data(managed.verb(number, "transfer", routed));
    assert_eq!((&routed["application_id"], &routed["trunk_id"]), (&json!("app_2"), &Value::Null));

    // Suspended and expired numbers move as they are.
    for number in ["+912271265109", "+912271265110"] {
        let before = managed.number(number);
        let moved = data(managed.verb(number, "transfer", json!({ "account_auth_id": "MA_3" })));
        assert_eq!((&moved["status"], &moved["expires_at"]), (&before["status"], &before["expires_at"]), "{number}");
    }
    // Undone, it is as it was; that as well.
    let version = &routed["version"];
    data(managed.post(&format!("/api/v1/manage/changes/{version}/undo"), json!({})).send());
    assert_eq!(managed.number(number)["account_auth_id"], "MA_1");
    managed.server.database.verify(Some(&managed.server.url()));
}

/// The fields that a 409 says the new account may not use.
fn unusable(answer: &Answer) -> String {
    let details = &answer.json()["error"]["details"];
    let errors = details["errors"].as_array().expect("a list of errors");
    let fields: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
    fields.join(" ")
}

#[test]
fn a_transfer_is_refused_with_both_routes_and_the_last_number() {
    let managed = Managed::sample();
    let database = &managed.server.database;
    let number = "+912271265108";
    for what in ["application", "trunk"] {
        let id = format!("{what}_own");
        database.run(&[what, "create", &id, "--partner", "PA_ONE", "--name", "Own", "--account", "MA_1"]).done();
    }
    let own = json!({ "application_id": "application_own", "trunk_id": "trunk_own" });
    data(managed.verb(number, "route", own.clone()));
    let mut given = own;
    given["account_auth_id"] = json!("MA_2");
    for body in [json!({ "account_auth_id": "MA_2" }), given] {
        let answer = managed.verb(number, "transfer", body.clone()).check(409);
        assert_eq!(
            (answer.code(), unusable(&answer)),
            ("CONFLICT".to_owned(), "application_id trunk_id".to_owned()),
            "{body}"
        );
        for part in ["application_own", "trunk_own", "MA_1", "MA_2", number] {
            assert!(answer.text().contains(part), "{part}: {}", answer.text());
        }
    }
    let half = json!({ "account_auth_id": "MA_2", "trunk_id": null });
    assert_eq!(unusable(&managed.verb(number, "transfer", half).check(409)), "application_id");
    assert_eq!(managed.number(number)["account_auth_id"], "MA_1", "nothing was done");
    let clear = json!({ "account_auth_id": "MA_2", "application_id": null, "trunk_id": null });
    assert_eq!(data(managed.verb(number, "transfer", clear))["account_auth_id"], "MA_2");

    for (body, expected) in [
        (json!({}), "account_auth_id MISSING"),
        (json!({ "account_auth_id": "MA_none" }), "account_auth_id UNKNOWN"),
        (json!({ "account_auth_id": "MA_Secundus" }), "account_auth_id UNKNOWN"),
        (json!({ "account_auth_id": "MA_2", "application_id": "app_Secundus" }), "application_id UNKNOWN"),
        (json!({ "account_auth_id": "MA_2", "trunk_id": "trunk_none" }), "trunk_id UNKNOWN"),
        (json!({ "account_auth_id": "MA_2", "expires_at": null }), "expires_at UNKNOWN"),
    ] {
        assert_eq!(managed.verb(HELD, "transfer", body.clone()).check(422).fields(), [expected], "{body}");
    }
    // An archived account gets no numbers from any holder.
    data(managed.patch("/api/v1/manage/accounts/MA_4", json!({ "archived": true })));
    let archived = managed.verb(HELD, "transfer", json!({ "account_auth_id": "MA_4" })).check(422);
    assert_eq!(archived.fields(), ["account_auth_id CONFLICT"]);
    data(managed.patch("/api/v1/manage/applications/app_1", json!({ "archived": true })));
    let kept = managed.verb("+12025550102", "transfer", json!({ "account_auth_id": "MA_2" })).check(409);
    assert_eq!(unusable(&kept), "application_id");

    let last = "+883510000012112";
    let answer = managed.verb(last, "transfer", json!({ "account_auth_id": "MA_1" })).check(409);
    assert_eq!(answer.json()["error"]["details"]["needs"], "confirm_last");
    assert!(answer.text().contains("transfer it with confirm_last=true"), "{}", answer.text());
    let ran = |flags: &[&str]| {
        database.run(&[&["number", "transfer", last, "--partner", "PA_ONE", "--account", "MA_1"], flags].concat())
    };
    assert!(ran(&[]).check(1).stderr.contains("--confirm-last"), "by its option");
    let moved = ran(&["--confirm-last", "--no-application", "--json"]).done().json();
    assert_eq!((&moved["account_auth_id"], &moved["application_id"]), (&json!("MA_1"), &Value::Null));
    database.verify(Some(&managed.server.url()));
}

#[test]
fn what_a_verb_names_must_be_the_partners_and_fit() {
    let managed = Managed::sample();
    let database = &managed.server.database;
    database
        .run(&["application", "create", "app_own", "--partner", "PA_ONE", "--name", "Own", "--account", "MA_2"])
        .done();
    for (verb, body, expected) in [
        ("assign", json!({ "account_auth_id": "MA_none" }), "account_auth_id UNKNOWN"),
        ("assign", json!({ "account_auth_id": "MA_Secundus" }), "account_auth_id UNKNOWN"),
        ("assign", json!({ "account_auth_id": "MA_1", "application_id": "app_Secundus" }), "application_id UNKNOWN"),
        ("assign", json!({ "account_auth_id": "MA_1", "application_id": "app_own" }), "application_id CONFLICT"),
        ("assign", json!({ "account_auth_id": "MA_1", "trunk_id": "trunk_9" }), "trunk_id UNKNOWN"),
        ("assign", json!({ "account_auth_id": "MA_1" }), "monthly_cost MISSING"),
        ("assign", json!({ "account_auth_id": "MA_1", "monthly_cost": 1 }), "currency MISSING"),
        (
            "assign",
            json!({ "account_auth_id": "MA_1", "monthly_cost": 1.005, "currency": "EUR" }),
            "monthly_cost INVALID",
        ),
        ("assign", json!({}), "account_auth_id MISSING"),
        ("reserve", json!({ "account_auth_id": "MA_1" }), "until MISSING"),
        ("reserve", json!({ "account_auth_id": "MA_1", "until": "2020-01-01T00:00:00Z" }), "until OUT_OF_RANGE"),
    ] {
        let answer = managed.verb(FREE, verb, body.clone()).check(422);
        assert_eq!(answer.fields(), [expected], "{verb} {body}");
    }
    for (verb, body, expected) in [
        ("route", json!({}), "application_id MISSING"),
        ("route", json!({ "application_id": "app_own" }), "application_id CONFLICT"),
        ("route", json!({ "application_id": 7 }), "application_id INVALID"),
        ("renew", json!({}), "expires_at MISSING"),
        ("renew", json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at OUT_OF_RANGE"),
        ("renew", json!({ "expires_at": "tomorrow" }), "expires_at INVALID"),
        ("renew", json!({ "expires": null }), "expires_at MISSING"),
        ("suspend", json!({ "reason": "x" }), "reason UNKNOWN"),
        ("tags", json!({}), "add MISSING"),
        ("tags", json!({ "add": "x" }), "add INVALID"),
        ("tags", json!({ "add": ["x"], "remove": ["x"] }), "remove CONFLICT"),
        ("cost", json!({ "monthly_cost": "3", "currency": "EUR" }), "monthly_cost INVALID"),
        ("cost", json!({ "monthly_cost": -3, "currency": "EUR" }), "monthly_cost INVALID"),
        ("cost", json!({ "monthly_cost": 3, "currency": "XAU" }), "currency INVALID"),
    ] {
        let answer = managed.verb(HELD, verb, body.clone()).check(422);
        assert_eq!(answer.fields()[0], expected, "{verb} {body}");
    }
    // Foreign and unknown, in the same words.
    let words = |account: &str| {
        let answer = managed.verb(FREE, "assign", json!({ "account_auth_id": account })).check(422);
        answer.masked().replace(account, "ID")
    };
    assert_eq!(words("MA_Secundus"), words("MA_nowhere"));
}

#[test]
fn bodies_are_read_strictly() {
    let managed = Managed::sample();
    let path = format!("{NUMBERS}/{HELD}/tags");
    let send = |body: &str| managed.server.request("POST", &path).auth(&managed.key).body(body).send();
    send("{").check(400);
    send(r#"{"add":["x"],"add":["y"]}"#).check(400);
    send(&format!("{}{}", r#"{"add":"#.repeat(30), "1")).check(400);
    send("[]").check(422);
    send(&format!(r#"{{"add":["{}"]}}"#, "x".repeat(1 << 20))).check(413);
    let plain = managed.server.request("POST", &path).auth(&managed.key);
    let plain = plain.header("Content-Type", "text/plain").header("Content-Length", "0").send();
    assert_eq!(plain.status, 422, "no body is an object without keys: {plain:?}");
    assert_eq!(managed.number(HELD)["tags"], json!([]), "nothing was half done");
    let answer = managed.server.request("GET", &path).auth(&managed.key).check(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    managed.verb(HELD, "explode", json!({})).check(404);
    managed.verb("nonsense", "suspend", json!({})).check(404);
    managed.post(&format!("{path}?x=1"), json!({ "add": ["x"] })).check(422);
}

#[test]
fn writes_need_the_scope_and_the_tenant() {
    let managed = Managed::sample();
    let path = format!("{NUMBERS}/{HELD}/suspend");
    managed.server.request("POST", &path).json(&json!({})).check(401);
    let refused = managed.server.request("POST", &path).auth(&ONE).json(&json!({})).check(403);
    assert_eq!(refused.code(), "FORBIDDEN");
    let other = managed.server.database.key("PA_TWO", &["--scope", "manage"]);
    managed.server.within(std::time::Duration::from_secs(5), |server| {
        server.get("/api/v1/partner/numbers").auth(&other).send().status == 200
    });
    let ask = |number: &str, verb: &str| {
        let path = format!("{NUMBERS}/{number}/{verb}");
        managed.server.request("POST", &path).auth(&other).json(&json!({})).check(404).masked()
    };
    assert_eq!(ask(HELD, "suspend"), ask("+12025550199", "suspend"), "foreign and unknown are alike");
    assert_eq!(ask(HELD, "retire"), ask("+12025550199", "retire"));
    let taken = managed.server.request("POST", NUMBERS).auth(&other);
    let taken = taken.json(&json!({ "number": HELD, "monthly_cost": 1, "currency": "EUR" })).check(409);
    assert_eq!(keys(&taken.json()["error"]["details"]), ["number"], "nobody's business who has it");
    assert_eq!(managed.number(HELD)["status"], "active");
}

#[test]
fn a_stale_tag_is_refused_and_says_what_differs() {
    let managed = Managed::sample();
    let path = format!("/api/v1/partner/numbers/{HELD}");
    let seen = managed.get(&path).header("etag").expect("a tag").to_owned();
    let write = |tag: &str, verb: &str, body: Value| {
        managed.post(&format!("{NUMBERS}/{HELD}/{verb}"), body).header("If-Match", tag).send()
    };
    let routed = write(&seen, "route", json!({ "application_id": "app_1" })).check(200);
    let tag = routed.header("etag").expect("a tag").to_owned();
    assert_ne!(tag, seen);
    assert_eq!(managed.get(&path).header("etag"), Some(&*tag), "the same tag as the number's own");
    let stale = write(&seen, "suspend", json!({})).check(412);
    assert_eq!(stale.code(), "PRECONDITION_FAILED");
    let details = &stale.json()["error"]["details"];
    assert_eq!(details["changed"], json!([{ "field": "application_id", "was": null, "is": "app_1" }]), "{details}");
    assert_eq!(details["by"], format!("key:{}", managed.key.key_id));
    write("\"nonsense\"", "suspend", json!({})).check(412);
    write("*", "suspend", json!({})).check(200);
    write(&format!("\"x\", {tag}"), "resume", json!({})).check(412);
}

#[test]
fn a_client_that_knows_an_older_entity_changes_nothing() {
    let managed = Managed::sample();
    let schedule = managed.post("/api/v1/manage/schedules", json!({ "name": "S" })).check(201).json();
    let schedule = format!("schedules/{}", schedule["data"]["id"].as_str().expect("an id"));
    let (partner, manage) = ("/api/v1/partner", "/api/v1/manage");
    let name = |name: &str| json!({ "name": name });
    let to = |uri: &str| json!({ "destinations": [{ "uri": uri }] });
    let zone = |zone: &str| json!({ "zone": zone });
    for (read, path, first, second) in [
        (partner, "accounts/MA_1", name("A"), name("B")),
        (partner, "applications/app_1", to("sip:a.example"), to("sip:b-1.example")),
        (partner, "trunks/trunk_1", to("sip:a.example"), to("sip:b-1.example")),
        (partner, "settings/billing", zone("Asia/Tokyo"), zone("Europe/Paris")),
        (manage, &schedule, name("A"), name("B")),
    ] {
        let read = || managed.get(&format!("{read}/{path}")).check(200);
        let patch = |tag: &str, body: &Value| {
            managed
                .server
                .request("PATCH", &format!("{manage}/{path}"))
                .auth(&managed.key)
                .header("If-Match", tag)
                .json(body)
        };
        let seen = read().header("etag").expect("a tag").to_owned();
        // What others change does not make it stale.
        managed.verb(HELD, "tags", json!({ "add": [path] })).check(200);
        let written = patch(&seen, &first).check(200);
        let shown = read().json();
        let stale = patch(&seen, &second).check(412);
        assert_eq!(stale.code(), "PRECONDITION_FAILED", "{path}");
        assert_eq!(read().json(), shown, "{path}: nothing was changed");
        let tag = written.header("etag").expect("a tag").to_owned();
        patch(&format!("W/{tag}"), &second).check(412);
        patch(&format!("{seen}, W/{tag}"), &second).check(412);
        patch(&format!("{seen}, {tag}"), &second).check(200);
        patch("*", &first).check(200);
        let tag = read().header("etag").expect("a tag").to_owned();
        patch(&tag, &second).check(200);
    }
    let path = format!("{manage}/{schedule}");
    let seen = managed.get(&path).header("etag").expect("a tag").to_owned();
    managed.patch(&path, name("C")).check(200);
    let remove = |tag: &str| managed.server.request("DELETE", &path).auth(&managed.key).header("If-Match", tag).send();
    remove(&seen).check(412);
    remove(managed.get(&path).header("etag").expect("a tag")).check(200);
}

/// No write ignores the header: where the description does not name it, it is refused.
#[test]
fn if_match_is_obeyed_where_it_is_described_and_refused_elsewhere() {
    let managed = Managed::sample();
    let document = managed.get("/openapi.json").check(200).json();
    let (mut obeyed, mut refused) = (0, 0);
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            let described = parameters.any(|one| one["name"] == "If-Match");
            assert_eq!(described, operation["responses"].get("412").is_some(), "{method} {path}");
            if method == "get" {
                assert!(!described, "{path}");
                continue;
            }
            let target = path.replace("{e164}", "+12025550199").replace("{version}", "2").replace(['{', '}'], "");
            let request = managed.server.request(&method.to_uppercase(), &target).auth(&managed.key);
            let answer = request.header("If-Match", "\"1-x\"").json(&json!({})).send();
            let about_it = answer.status == 422 && answer.fields() == ["If-Match UNKNOWN"];
            assert_eq!(about_it, !described, "{method} {path}: {answer:?}");
            *(if described { &mut obeyed } else { &mut refused }) += 1;
        }
    }
    assert!(obeyed >= 20 && refused >= 15, "{obeyed} {refused}");
}

#[test]
fn what_is_wrong_is_counted_and_repeated_without_secrets() {
    let managed = Managed::sample();
    let wrong: Vec<String> = (0..300).map(|at| format!("bad{at}")).collect();
    let refused = managed.post("/api/v1/manage/jobs", json!({ "verb": "suspend", "numbers": wrong })).check(422).json();
    let (details, message) = (&refused["error"]["details"], refused["error"]["message"].as_str().expect("a message"));
    let listed = details["errors"].as_array().expect("errors").len();
    assert_eq!(details["more"], 300 - listed);
    assert!(message.ends_with("; and 299 more"), "{message}");
    let query: Vec<String> = (0..300).map(|at| format!("x{at}=1")).collect();
    let refused = managed.get(&format!("/api/v1/partner/numbers?{}", query.join("&"))).check(422).json();
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.ends_with("; and 299 more"), "{message}");
    let jobs = "/api/v1/manage/jobs".to_owned();
    let verb = |verb: &str| format!("{NUMBERS}/{HELD}/{verb}");
    let (schedules, webhooks) = ("/api/v1/manage/schedules".to_owned(), "/api/v1/manage/webhooks".to_owned());
    for (path, body, field, value) in [
        (verb("tags"), json!({ "add": ["ok", "a;b"] }), "add[1] INVALID", json!("a;b")),
        (verb("renew"), json!({ "months": "1" }), "months INVALID", json!("1")),
        (verb("release"), json!({ "confirm_last": 1 }), "confirm_last INVALID", json!("1")),
        (verb("release"), json!({ "confirm_last": null }), "confirm_last INVALID", json!(null)),
        (schedules, json!({ "name": "S", "within": "0d" }), "within OUT_OF_RANGE", json!("0d")),
        (jobs, json!({ "verb": "suspend", "filter": { "status": "" } }), "filter.status INVALID", json!("")),
        (
            webhooks,
            json!({ "name": "W", "url": "https://u:hunter2@x.example" }),
            "url INVALID",
            json!("https://…@x.example"),
        ),
    ] {
        let refused = managed.post(&path, body).check(422);
        assert_eq!(refused.fields(), [field]);
        assert_eq!(refused.json()["error"]["details"]["errors"][0]["value"], value, "{field}");
    }
    for body in [
        json!({ "answer_url": "https://user:hunter2@x.example" }),
        json!({ "destinations": [{ "uri": "sip:alice:hunter2@x.example" }] }),
        json!({ "destinations": [{ "uri": "https://alice:hunter2@x.example" }] }),
    ] {
        let refused = managed.patch("/api/v1/manage/applications/app_1", body).check(422);
        assert!(!refused.text().contains("hunter2"), "{}", refused.text());
    }
    for query in ["within=3651d", "suspended_for=99999999999999999999d"] {
        let refused = managed.get(&format!("/api/v1/partner/checks?{query}")).check(422);
        let field = query.split('=').next().unwrap_or_default();
        assert_eq!(refused.fields(), [format!("{field} OUT_OF_RANGE")]);
        assert!(refused.text().contains("must be from 0s to 3650d"), "{}", refused.text());
    }
}

#[test]
fn a_retry_is_done_once_and_answered_alike() {
    let managed = Managed::sample();
    let path = format!("{NUMBERS}/{FREE}/assign");
    let body = json!({ "account_auth_id": "MA_1", "monthly_cost": 4, "currency": "EUR" });
    let send =
        |key: &str, path: &str, body: &Value| managed.post(path, body.clone()).header("Idempotency-Key", key).send();
    let first = send("k1", &path, &body).check(200);
    let again = send("k1", &path, &body).check(200);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("etag"), again.header("etag"));
    // Even when it would be refused by now.
    managed.verb(FREE, "suspend", json!({})).check(200);
    assert_eq!(send("k1", &path, &body).check(200).body, first.body);
    conflict(send("k2", &path, &body));
    let other = json!({ "account_auth_id": "MA_2", "monthly_cost": 4, "currency": "EUR" });
    assert_eq!(send("k1", &path, &other).check(422).fields(), ["Idempotency-Key CONFLICT"]);
    assert_eq!(
        send("k1", &format!("{NUMBERS}/{HELD}/assign"), &body).check(422).fields(),
        ["Idempotency-Key CONFLICT"]
    );
    // A refused write may be tried again under its key.
    let resume = format!("{NUMBERS}/{FREE}/resume");
    send("k2", &resume, &json!({})).check(200);
    send("", &resume, &json!({})).check(422);
    send(&"k".repeat(256), &resume, &json!({})).check(422);
    managed.post(&resume, json!({})).header("Idempotency-Key", "a").header("Idempotency-Key", "b").check(400);
}

#[test]
fn twins_at_the_same_moment_are_one_write() {
    let managed = Managed::sample();
    for round in 0..20 {
        let start = Barrier::new(4);
        let (key, tag) = (format!("twin-{round}"), format!("t{round}"));
        let bodies: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let twins: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let request = managed.post(&format!("{NUMBERS}/{HELD}/tags"), json!({ "add": [tag] }));
                        request.header("Idempotency-Key", &key).check(200).body
                    })
                })
                .collect();
            twins.into_iter().map(|twin| twin.join().expect("answered")).collect()
        });
        assert!(bodies.iter().all(|body| *body == bodies[0]), "round {round}");
    }
    let tags = managed.number(HELD)["tags"].as_array().map(Vec::len);
    assert_eq!(tags, Some(20));
}

#[test]
fn blocks_come_in_whole_or_not_at_all() {
    let managed = Managed::sample();
    let block = |first: &str, last: &str| {
        managed
            .post(NUMBERS, json!({ "number": first, "number_end": last, "monthly_cost": 1, "currency": "EUR" }))
            .send()
    };
    let done = block("+4930400000", "+4930400999").check(201).json()["data"].clone();
    assert_eq!(done["numbers"], 1_000);
    let details = conflict(block("+4930400999", "+4930401999"));
    assert_eq!((&details["number"], &details["state"]), (&json!("+4930400999"), &json!("available")));
    managed.get("/api/v1/partner/numbers/+4930401000").check(404);
    assert_eq!(block("+4930400999", "+4930400998").check(422).fields(), ["number_end OUT_OF_RANGE"]);
    assert_eq!(block("+4930400999", "+49304009990").check(422).fields(), ["number_end OUT_OF_RANGE"]);
    assert_eq!(block("+4930000000", "+4939999999").check(422).fields(), ["number_end OUT_OF_RANGE"]);
    assert_eq!(block("0301234", "+4939999999").check(422).fields(), ["number INVALID"]);
    // TWO's number in the middle of it.
    conflict(block("+4989100000", "+4989100009"));
    managed.get("/api/v1/partner/numbers/+4989100000").check(404);
}

#[test]
fn accounts_applications_and_trunks() {
    let managed = Managed::sample();
    let made = |path: &str, body: Value| managed.post(path, body).send();
    let account =
        made("/api/v1/manage/accounts", json!({ "account_auth_id": "MA_new", "name": "Primus Neu" })).check(201);
    assert_eq!(account.json()["data"]["account_auth_id"], "MA_new");
    conflict(made("/api/v1/manage/accounts", json!({ "account_auth_id": "MA_new", "name": "Other" })));
    let owned = json!({ "application_id": "app_new", "name": "Neu", "account_auth_id": "MA_new" });
    made("/api/v1/manage/applications", owned.clone()).check(201);
    conflict(made("/api/v1/manage/applications", owned));
    made("/api/v1/manage/trunks", json!({ "trunk_id": "trunk_new", "name": "Neu" })).check(201);
    let foreign = json!({ "trunk_id": "trunk_x", "name": "X", "account_auth_id": "MA_Secundus" });
    assert_eq!(made("/api/v1/manage/trunks", foreign).check(422).fields(), ["account_auth_id UNKNOWN"]);

    let assign = json!({ "account_auth_id": "MA_new", "application_id": "app_new", "trunk_id": "trunk_new",
        "monthly_cost": 1, "currency": "EUR" });
    data(managed.verb(FREE, "assign", assign));
    let renamed = managed.patch("/api/v1/manage/applications/app_new", json!({ "name": "Neuer" }));
    assert_eq!(data(renamed)["name"], "Neuer");
    assert_eq!(managed.number(FREE)["application_name"], "Neuer");
    data(managed.patch("/api/v1/manage/trunks/trunk_new", json!({ "archived": true })));
    let again = managed.verb(HELD, "route", json!({ "trunk_id": "trunk_new" })).check(422);
    assert_eq!(again.fields(), ["trunk_id CONFLICT"]);
    assert_eq!(managed.number(FREE)["trunk_id"], "trunk_new", "what it has stays");

    managed.patch("/api/v1/manage/accounts/MA_none", json!({ "name": "x" })).check(404);
    managed.patch("/api/v1/manage/accounts/MA_Secundus", json!({ "name": "x" })).check(404);
    assert_eq!(managed.patch("/api/v1/manage/accounts/MA_new", json!({})).check(422).fields(), ["name MISSING"]);
    assert_eq!(
        managed.patch("/api/v1/manage/accounts/MA_new", json!({ "name": "" })).check(422).fields(),
        ["name INVALID"]
    );
    // Archiving returns its numbers, and what was reserved for it.
    managed.verb("+442079460107", "unreserve", json!({})).check(200);
    data(managed.verb("+442079460107", "reserve", json!({ "account_auth_id": "MA_new", "until": LATER })));
    let archived = data(managed.patch("/api/v1/manage/accounts/MA_new", json!({ "archived": true })));
    assert_eq!(archived["archived"], true);
    let states = [FREE, "+442079460107"].map(|number| {
        let tags = managed.verb(number, "tags", json!({ "add": ["seen"] }));
        data(tags)["state"].clone()
    });
    assert_eq!(states, [json!("quarantined"), json!("available")]);
    let again = managed.verb(
        "+442079460107",
        "assign",
        json!({ "account_auth_id": "MA_new", "monthly_cost": 1, "currency": "EUR" }),
    );
    assert_eq!(again.check(422).fields(), ["account_auth_id CONFLICT"]);
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn undo_restores_exactly_and_refuses_what_changed_since() {
    let managed = Managed::sample();
    let export = || managed.server.database.export("PA_ONE");
    let before = export();
    let undo = |version: &Value| managed.post(&format!("/api/v1/manage/changes/{version}/undo"), json!({})).send();
    let number = "+12025550102";
    let released = data(managed.verb(number, "release", json!({})));
    let undone = data(undo(&released["version"]));
    assert_eq!((&undone["undone"], &undone["refused"]), (&json!(1), &json!(0)));
    assert_eq!(export(), before, "account, routing, status and expiry are as they were");
    // An undo can be undone, and that as well.
    let version = undone["version"].clone();
    let again = data(undo(&version));
    assert_eq!(managed.number(number)["account_auth_id"], Value::Null);
    data(undo(&again["version"]));
    assert_eq!(export(), before);

    managed.patch("/api/v1/manage/accounts/MA_1", json!({ "archived": true })).check(200);
    let tagged = data(managed.verb("+6837101", "tags", json!({ "add": ["mine"] })));
    let version = tagged["version"].as_u64().expect("a version") - 1;
    let partly = data(undo(&json!(version)));
    assert_eq!((&partly["undone"], &partly["refused"]), (&json!(4), &json!(1)));
    let row = &partly["rows"][0];
    assert_eq!(row["number"], "+6837101");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("changed since")), "{row}");
    assert_eq!(row["by"], format!("key:{}", managed.key.key_id));

    let all = conflict(undo(&json!(version)));
    assert_eq!(all["rows"].as_array().map(Vec::len), Some(5));
    undo(&json!(999_999)).check(404);
    undo(&json!("x")).check(404);
    conflict(undo(&json!(1)));
    managed.server.database.verify(Some(&managed.server.url()));
}

#[test]
fn a_number_that_somebody_else_took_stays_theirs() {
    let managed = Managed::sample();
    let retired = data(managed.verb(FREE, "retire", json!({})));
    managed.server.database.import("PA_TWO", &format!("number,state\n{FREE},available\n"));
    let path = format!("/api/v1/manage/changes/{}/undo", retired["version"].as_u64().expect("a version"));
    let rows = conflict(managed.post(&path, json!({})).send())["rows"].clone();
    assert_eq!(rows[0]["reason"], "the number is no longer free", "{rows}");
    assert_eq!(conflict(managed.verb(FREE, "suspend", json!({})))["state"], "retired");
}

#[test]
fn commands_are_the_same_verbs() {
    let managed = Managed::sample();
    let database = &managed.server.database;
    let number = |args: &[&str]| database.run(&[&["number"], args, &["--partner", "PA_ONE", "--json"]].concat());
    let added = number(&["add", "+4930500000", "--to", "+4930500004", "--monthly-cost", "2.50", "--currency", "EUR"]);
    assert_eq!(added.done().json()["numbers"], 5);
    let target = "+4930500002";
    let dry = number(&["assign", target, "--account", "MA_2", "--application", "app_1", "--dry-run"]).done();
    assert_eq!(dry.json()["account_auth_id"], "MA_2");
    assert!(dry.stderr.contains("nothing was done"), "{}", dry.stderr);
    managed.server.within(std::time::Duration::from_secs(5), |_| {
        managed.get(&format!("/api/v1/partner/numbers/{target}")).status == 200
    });
    assert_eq!(managed.number(target)["account_auth_id"], Value::Null);
    let assigned = number(&["assign", target, "--account", "MA_2", "--application", "app_1"]).done();
    let version = assigned.json()["version"].as_u64().expect("a version");
    managed.server.within(std::time::Duration::from_secs(5), |_| managed.number(target)["account_auth_id"] == "MA_2");
    let refused = number(&["assign", target, "--account", "MA_1"]).check(1);
    assert!(refused.stderr.contains("is active since"), "{}", refused.stderr);
    let unsure = number(&["release", target]).check(2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    number(&["release", target, "--yes"]).done();
    assert_eq!(number(&["show", target]).done().json()["state"], "quarantined");
    let undone = database.run(&["undo", &(version + 1).to_string(), "--partner", "PA_ONE", "--yes", "--json"]).done();
    assert_eq!(undone.json()["undone"], 1);
    assert_eq!(number(&["show", target]).done().json()["account_auth_id"], "MA_2");
    let trunk = database.run(&["trunk", "create", "trunk_9", "--partner", "PA_ONE", "--name", "Nine", "--json"]);
    assert_eq!(trunk.done().json()["id"], "trunk_9");
    number(&["route", target, "--trunk", "trunk_9", "--no-application"]).done();
    let archived = database.run(&["account", "archive", "--partner", "PA_ONE", "--auth-id", "MA_2", "--yes"]).done();
    assert!(archived.stdout.contains("archived"), "{}", archived.stdout);
    database.verify(Some(&managed.server.url()));
}

/// The description's examples are one number's life: sent in their order, each
/// is answered as it says.
#[test]
fn the_documented_examples_work_in_their_order() {
    let database = Database::sample();
    let key = database.key("PA_SEED", &["--scope", "manage"]);
    let server = Server::start(database, &[]);
    let document: Value = server.get("/openapi.json").check(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let mut tried = 0;
    // Those have tests of their own.
    let own = |path: &str| ["/jobs", "/schedules", "/webhooks"].iter().any(|own| path.contains(own));
    for (path, operations) in paths.iter().filter(|(path, _)| path.starts_with("/api/v1/manage/") && !own(path)) {
        for (method, operation) in operations.as_object().expect("operations") {
            let mut target = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path")
            {
                let name = parameter["name"].as_str().expect("a name");
                let example = match name {
                    // What can be undone here: the last change.
                    "version" => {
                        let partner = server.get("/digest").check(200).json();
                        let last =
                            partner["data"].as_array().into_iter().flatten().filter_map(|one| one["version"].as_u64());
                        last.max().expect("a version").to_string()
                    }
                    _ => parameter["example"].as_str().expect("an example").to_owned(),
                };
                target = target.replace(&format!("{{{name}}}"), &example);
            }
            let content = &operation["requestBody"]["content"]["application/json"];
            let schema = content["schema"]["properties"].as_object().expect("properties");
            for key in keys(&content["example"]) {
                assert!(schema.contains_key(key), "{path} does not document {key}");
            }
            // Nobody, then one who may only read.
            server.request(&method.to_uppercase(), &target).json(&content["example"]).check(401);
            server
                .request(&method.to_uppercase(), &target)
                .auth(&crate::harness::SEED)
                .json(&content["example"])
                .check(403);
            let answer = server.request(&method.to_uppercase(), &target).auth(&key).json(&content["example"]).send();
            let documented = &operation["responses"][answer.status.to_string()];
            assert!(answer.status < 300 && !documented.is_null(), "{method} {target}: {answer:?}");
            let example = &documented["content"]["application/json"]["example"]["data"];
            assert_eq!(keys(example), keys(&answer.json()["data"]), "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried >= 19, "{tried}");
}

#[test]
fn the_description_can_be_read_as_a_page() {
    let server = Server::sample();
    let page = server.get("/docs").check(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{policy}");
    let html = page.text();
    for part in ["<script", "style=", "src=\"http", "href=\"http", "url(", "onclick"] {
        assert!(!html.contains(part), "the page has {part}");
    }
    let document: Value = server.get("/openapi.json").check(200).json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
        for operation in operations.as_object().expect("operations").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert_eq!(html.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
    }
    let style = server.get("/docs/style.css").check(200);
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
}
