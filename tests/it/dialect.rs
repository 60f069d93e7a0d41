//! The second dialect: what the platform's SDKs read and send.

use serde_json::Value;

use crate::harness::{Answer, CUSTOMER, Database, GLOBAL, Key, ONE, Server, keys};

/// What a strict client takes: these keys, and no other.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    items: Vec<Item>,
    page: u64,
    per_page: u64,
    total: u64,
    account_auth_id: String,
}

/// A null is an `Option`'s; what is none is always there.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Item {
    id: String,
    account_id: Option<String>,
    e164: String,
    country: Option<String>,
    region: Option<String>,
    capabilities: Capabilities,
    status: String,
    setup_fee: Option<f64>,
    monthly_fee: Option<f64>,
    currency: Option<String>,
    application_id: Option<String>,
    trunk_group_id: Option<String>,
    voice_enabled: bool,
    tags: Vec<String>,
    purchased_at: Option<String>,
    created_at: String,
    updated_at: String,
    is_blocked: bool,
    last_billing_date: Option<String>,
    next_billing_date: Option<String>,
    source: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    voice: bool,
    sms: bool,
    mms: bool,
    fax: bool,
}

const ENVELOPE: [&str; 5] = ["items", "page", "per_page", "total", "account_auth_id"];

const ITEM: [&str; 21] = [
    "id",
    "account_id",
    "e164",
    "country",
    "region",
    "capabilities",
    "status",
    "setup_fee",
    "monthly_fee",
    "currency",
    "application_id",
    "trunk_group_id",
    "voice_enabled",
    "tags",
    "purchased_at",
    "created_at",
    "updated_at",
    "is_blocked",
    "last_billing_date",
    "next_billing_date",
    "source",
];

/// The sample, and a key of `ONE`'s for this dialect.
fn sample() -> (Server, Key) {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--dialect", "items"]);
    (Server::start(database, &[]), key)
}

#[track_caller]
fn check_item(item: &Value) -> Item {
    assert_eq!(keys(item), ITEM);
    let item: Item = serde_json::from_value(item.clone()).unwrap_or_else(|error| panic!("{error}: {item}"));
    let Capabilities { voice, sms, mms, fax } = item.capabilities;
    assert_eq!((voice, sms, mms, fax, item.voice_enabled), (true, false, false, false, true));
    assert_eq!((&item.id, item.source.as_str()), (&item.e164, "rollcall"));
    assert_eq!(item.is_blocked, item.status == "suspended");
    assert!(item.created_at <= item.updated_at && item.last_billing_date.is_none() && item.next_billing_date.is_none());
    assert!(item.setup_fee.is_none_or(|fee| fee == 0.0) && item.setup_fee.is_some() == item.currency.is_some());
    item
}

/// The envelope of an answer, once the strict client has taken it.
#[track_caller]
fn strict(answer: &Answer) -> Envelope {
    let body = answer.json();
    assert_eq!(keys(&body), ENVELOPE);
    for item in body["items"].as_array().expect("items") {
        check_item(item);
    }
    serde_json::from_value(body).expect("a strict client takes it")
}

fn numbers(envelope: &Envelope) -> Vec<String> {
    envelope.items.iter().map(|item| item.e164.clone()).collect()
}

#[test]
fn a_strict_client_takes_every_answer() {
    let (server, key) = sample();
    for query in [
        "",
        "per_page=5",
        "page=2&per_page=5",
        "page=99",
        "per_page=1",
        "search=9122712",
        "search=000000",
        "application_id=app_1",
        "application_id=nobody",
        "status=suspended",
        "assigned=false",
        "country=IN&routed=true",
        "tag=vip",
        "sort=-expires_at",
        "sort=monthly_cost&page=2&per_page=3",
        "after=%2B442079460106",
        "after=%2B999999999999999",
        "expires_before=2026-01-01T00:00:00Z",
    ] {
        for (path, owner) in [(GLOBAL, "PA_ONE"), (CUSTOMER, "MA_1")] {
            let ours = server.get(&format!("{path}?{query}")).auth(&ONE).check(200);
            let theirs = server.get(&format!("{path}?{query}")).auth(&key).check(200);
            let envelope = strict(&theirs);
            assert_eq!(numbers(&envelope), ours.numbers(), "{path}?{query}: the same rows in the same order");
            let meta = &ours.json()["meta"];
            let paging =
                [&meta["total"], &meta["page"], &meta["per_page"]].map(|value| value.as_u64().expect("a count"));
            assert_eq!([envelope.total, envelope.page, envelope.per_page], paging, "{path}?{query}");
            assert_eq!(envelope.account_auth_id, owner, "{path}?{query}");
            // All but the shape is as it was.
            assert_eq!(theirs.header("link"), ours.header("link"), "{path}?{query}");
            for name in ["content-type", "cache-control", "vary"] {
                assert_eq!(theirs.header(name), ours.header(name), "{path}?{query}");
            }
        }
    }
}

#[test]
fn values_are_those_of_the_other_dialect() {
    let (server, key) = sample();
    let check = |search: &str, begins: &str, ends: &str| {
        let answer = server.get(&format!("{GLOBAL}?search={search}")).auth(&key).check(200);
        assert!(answer.text().starts_with(&format!("{{\"items\":[{begins}")), "{begins}\nin {}", answer.text());
        assert!(answer.text().contains(ends), "{ends}\nin {}", answer.text());
    };
    check(
        "550102",
        concat!(
            r#"{"id":"+12025550102","account_id":"MA_1","e164":"+12025550102","country":"US","region":"Washington","#,
            r#""capabilities":{"voice":true,"sms":false,"mms":false,"fax":false},"status":"active","setup_fee":0.00,"#,
            r#""monthly_fee":1.50,"currency":"USD","application_id":"app_1","trunk_group_id":"trunk_1","voice_enabled":true,"#,
            r#""tags":["vip"],"purchased_at":"2026-01-10T08:00:00Z","created_at":""#,
        ),
        concat!(
            r#""is_blocked":false,"last_billing_date":null,"next_billing_date":null,"source":"rollcall"}],"#,
            r#""page":1,"per_page":20,"total":1,"account_auth_id":"PA_ONE"}"#,
        ),
    );
    check(
        "45103",
        r#"{"id":"+80012345103","account_id":"MA_2","#,
        r#""setup_fee":0.000,"monthly_fee":1.250,"currency":"KWD","#,
    );
    check("45104", r#"{"id":"+81312345104","#, r#""setup_fee":0,"monthly_fee":500,"currency":"JPY","#);
    check(
        "460105",
        r#"{"id":"+442079460105","account_id":null,"e164":"+442079460105","country":"GB","region":"London","#,
        concat!(
            r#""status":"suspended","setup_fee":null,"monthly_fee":null,"currency":null,"application_id":null,"#,
            r#""trunk_group_id":null,"voice_enabled":true,"tags":[],"purchased_at":null,"created_at":""#,
        ),
    );
    // Paused, and expired.
    check("265109", r#"{"id":"+912271265109","#, r#""is_blocked":true,"#);
    check("265110", r#"{"id":"+912271265110","#, r#""is_blocked":true,"#);
}

#[test]
fn streams_have_the_same_columns() {
    let (server, key) = sample();
    for path in [GLOBAL, CUSTOMER] {
        let expected = server.get(&format!("{path}?per_page=100")).auth(&key).check(200);
        let csv = server.get(path).auth(&key).header("Accept", "text/csv").check(200);
        assert_eq!(csv.text().lines().next(), Some(ITEM.join(",").as_str()));
        let mut reader = csv::Reader::from_reader(csv.text().as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        assert_eq!(rows.iter().map(|row| row[2].to_owned()).collect::<Vec<_>>(), numbers(&strict(&expected)), "{path}");
        assert!(rows.iter().all(|row| (&row[5], &row[12], &row[20]) == ("voice", "true", "rollcall")), "{path}");

        let lines = server.get(path).auth(&key).header("Accept", "application/x-ndjson").check(200);
        let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
        assert_eq!(Value::from(lines), expected.json()["items"], "{path}");
    }
}

#[test]
fn the_dialects_are_never_mixed() {
    let (server, key) = sample();
    for path in [GLOBAL, CUSTOMER] {
        for accept in ["application/json", "text/csv", "application/x-ndjson"] {
            let ask = |key: &Key| server.get(path).auth(key).header("Accept", accept);
            let ours = ask(&ONE).check(200);
            let theirs = ask(&key).check(200);
            for word in ["e164", "monthly_fee", "\"items\"", "trunk_group_id"] {
                assert!(!ours.text().contains(word), "{path} {accept}: {word}");
            }
            for word in ["number_type", "monthly_cost", "\"data\"", "\"meta\"", "trunk_id\"", "expires_at"] {
                assert!(!theirs.text().contains(word), "{path} {accept}: {word}");
            }
            // So an answer that was kept is no answer to the other key.
            let (our_tag, their_tag) = (ours.header("etag").expect("a tag"), theirs.header("etag").expect("a tag"));
            assert_ne!(our_tag, their_tag, "{path} {accept}");
            ask(&ONE).header("If-None-Match", our_tag).check(304);
            ask(&key).header("If-None-Match", their_tag).check(304);
            ask(&key).header("If-None-Match", our_tag).check(200);
            ask(&ONE).header("If-None-Match", their_tag).check(200);
        }
    }
    // What is Rollcall's own has one shape, and errors have the platform's.
    for path in ["/api/v1/partner/applications", "/api/v1/partner/trunks", "/api/v1/partner/numbers/+912271265108"] {
        let [ours, theirs] = [&ONE, &key].map(|key| server.get(path).auth(key).check(200));
        assert_eq!(ours.text(), theirs.text(), "{path}");
    }
    assert_eq!(server.get("/api/v1/partner/accounts/MA_none/numbers").auth(&key).check(404).code(), "NOT_FOUND");
}

#[test]
fn accounts_have_the_envelope_and_the_keys_that_the_sdks_read() {
    let (server, key) = sample();
    let answer = server.get("/api/v1/partner/accounts?page=2&per_page=3&search=ma_").auth(&key).check(200).json();
    assert_eq!(keys(&answer), ["accounts", "total", "page", "size"]);
    assert_eq!((&answer["total"], &answer["page"], &answer["size"]), (&4.into(), &2.into(), &3.into()));
    let row = &answer["accounts"][0];
    assert_eq!(keys(row), ["name", "id", "auth_id", "is_active", "created_at", "partner_id"]);
    assert_eq!(
        (&row["auth_id"], &row["is_active"], &row["partner_id"]),
        (&"MA_4".into(), &true.into(), &"PA_ONE".into())
    );
}

#[test]
fn the_sdks_own_parameters_are_taken() {
    let (server, key) = sample();
    let check = |path: &str, query: &str, expected: [u64; 3], rows: usize| {
        let envelope = strict(&server.get(&format!("{path}?{query}")).auth(&key).check(200));
        assert_eq!([envelope.page, envelope.per_page, envelope.total], expected, "{path}?{query}");
        assert_eq!(envelope.items.len(), rows, "{path}?{query}");
    };
    check(GLOBAL, "limit=5", [1, 5, 12], 5);
    check(GLOBAL, "limit=5&offset=0", [1, 5, 12], 5);
    check(GLOBAL, "offset=10&limit=5", [3, 5, 12], 2);
    check(GLOBAL, "offset=20", [2, 20, 12], 0);
    check(GLOBAL, "offset=0&after=%2B999999999999999", [1, 20, 12], 0);
    check(GLOBAL, "per_page=4&offset=4", [2, 4, 12], 4);
    check(GLOBAL, "page=2&limit=5", [2, 5, 12], 5);
    check(GLOBAL, "include_subaccounts=true", [1, 20, 12], 12);
    check(CUSTOMER, "include_subaccounts=true", [1, 20, 5], 5);
    check(CUSTOMER, "include_subaccounts=false&search=9122", [1, 20, 3], 3);
    check(GLOBAL, "include_subaccounts=", [1, 20, 12], 12);
    let linked = server.get(&format!("{GLOBAL}?offset=5&limit=5&country=IN")).auth(&key).check(200);
    assert_eq!(linked.link("first"), Some(format!("{GLOBAL}?country=IN&page=1&per_page=5")));

    let check = |query: &str, expected: &[&str]| {
        let answer = server.get(&format!("{GLOBAL}?{query}")).auth(&key).check(422);
        assert_eq!(answer.fields(), expected, "{query}");
    };
    check("include_subaccounts=false", &["include_subaccounts INVALID"]);
    check("include_subaccounts=yes", &["include_subaccounts INVALID"]);
    check("limit=0", &["limit OUT_OF_RANGE"]);
    check("limit=101", &["limit OUT_OF_RANGE"]);
    check("offset=-1", &["offset OUT_OF_RANGE"]);
    check("limit=5&offset=3", &["offset CONFLICT"]);
    check("limit=5&per_page=5", &["limit CONFLICT"]);
    check("page=1&offset=0", &["offset CONFLICT"]);
    check("offset=20&after=%2B442079460106", &["after CONFLICT"]);
    check("limit=5&limit=5", &["limit REPEATED"]);
    check("nonsense=1", &["nonsense UNKNOWN"]);
    check("size=5", &["size UNKNOWN"]);
    let known = server.get(&format!("{GLOBAL}?nonsense=1")).auth(&key).check(422);
    assert!(known.text().contains("sort, limit, offset, include_subaccounts"), "{}", known.text());
    // The other dialect knows none of them.
    for query in ["limit=5", "offset=0", "include_subaccounts=true"] {
        server.get(&format!("{GLOBAL}?{query}")).auth(&ONE).check(422);
        server.get(&format!("/api/v1/partner/accounts?{query}")).auth(&key).check(422);
    }
}

#[test]
fn an_answer_is_a_file_to_import() {
    let (server, key) = sample();
    let answer = server.get(&format!("{GLOBAL}?per_page=100")).auth(&key).check(200);
    let mut formats = vec![answer.text().to_owned()];
    for accept in ["text/csv", "application/x-ndjson"] {
        formats.push(server.get(GLOBAL).auth(&key).header("Accept", accept).check(200).text().to_owned());
    }
    for text in formats {
        let database = Database::empty();
        database.partner("PA_COPY", "Copy", &[]);
        let report = database.import("PA_COPY", &text);
        assert_eq!((&report["imported"], &report["rejected"]), (&12.into(), &0.into()), "{report}");
        assert_eq!(report["export"], "Vobiz", "{report}");
        let copied = database.key("PA_COPY", &["--dialect", "items"]);
        let copy = Server::start(database, &[]);
        let copied = copy.get(&format!("{GLOBAL}?per_page=100")).auth(&copied).check(200);
        let bare = |answer: &Answer| {
            let mut items = answer.json()["items"].as_array().expect("items").clone();
            for item in &mut items {
                let item = item.as_object_mut().expect("an object");
                // Of the copy, which came into its state today.
                item.remove("created_at");
                item.remove("updated_at");
            }
            items
        };
        assert_eq!(bare(&copied), bare(&answer));
    }
}

#[test]
fn a_keys_dialect_is_kept_and_shown() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--dialect", "items"]);
    let list = database.run(&["key", "list", "--partner", "PA_ONE", "--json"]).done().json();
    let of = |id: &str| {
        list["data"].as_array().expect("keys").iter().find(|one| one["key_id"] == id).expect("the key").clone()
    };
    assert_eq!(of(&key.key_id)["dialect"], "items");
    assert_eq!(of(&ONE.key_id)["dialect"], "data");
    let table = database.run(&["key", "list", "--partner", "PA_ONE"]).done().stdout;
    assert!(table.contains("DIALECT") && table.contains("items"), "{table}");
    database.run(&["key", "create", "--partner", "PA_ONE", "--name", "x", "--dialect", "xml"]).check(2);
    // Revoking it changes nothing else, and the log has it.
    database.run(&["key", "revoke", "--partner", "PA_ONE", &key.key_id]).done();
    let list = database.run(&["key", "list", "--partner", "PA_ONE", "--json"]).done().stdout;
    assert!(list.contains(r#""dialect":"items""#), "{list}");
    database.verify(None);
}
