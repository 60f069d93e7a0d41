//! The database of the release before, in this program: nothing is lost, its keys
//! open it, and its log goes on.

use std::io::Read;

use serde_json::{Value, json};

use super::cluster::{self, on_postgres};
use super::harness::{Database, Key, Server};

/// The keys of the two fixtures.
const SQLITE_TOKEN: &str = "rollcall_jwhat3mtbrzz19vycwfngcywcnrqxj520wghxyg";
const POSTGRES_TOKEN: &str = "rollcall_6961p2c1h2gy8fmhsyze1gs877eevjm13mna5fm";

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let file = std::fs::File::open(path).expect("a fixture");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// The database as the older program left it, and its key.
fn old() -> (Database, Key) {
    let database = Database::empty();
    let auth_token = match on_postgres() {
        None => {
            std::fs::write(database.path(), fixture("rollcall-0.1.0.db.gz")).expect("written");
            SQLITE_TOKEN
        }
        Some(cluster) => {
            let dump = database.file("old.sql");
            std::fs::write(&dump, fixture("rollcall-0.1.0.sql.gz")).expect("written");
            let mut psql = cluster.client("psql");
            let name = cluster::database_name(&database.address()).to_owned();
            let given = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &name, "-f"];
            let output = psql.args(given).arg(&dump).output().expect("psql");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            POSTGRES_TOKEN
        }
    };
    let key_id = String::new();
    (database, Key { auth_id: "PA_A".to_owned(), auth_token: auth_token.to_owned(), key_id })
}

fn rows(answer: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("nobody").to_owned();
    let rows = answer["data"].as_array().expect("rows");
    rows.iter().map(|row| (text(row, "number"), text(row, "account_auth_id"))).collect()
}

#[test]
fn the_release_before_is_upgraded_whole() {
    let (database, key) = old();
    // The server brings the tables up to date; commands read them afterwards.
    let server = Server::start(database, &[]);
    server.database.verify(Some(&server.url()));
    let numbers = server.get("/api/v1/partner/numbers?per_page=5").auth(&key).send().check(200).json();
    assert_eq!(numbers["meta"]["total"], 105, "{numbers}");
    let expected = [
        ("+33142687000", "MA_3"),
        ("+912271264217", "MA_1"),
        ("+912271264218", "nobody"),
        ("+912271264219", "MA_2"),
        ("+912271264220", "MA_3"),
    ];
    assert_eq!(rows(&numbers), expected.map(|(number, account)| (number.to_owned(), account.to_owned())));
    let one = server.get("/api/v1/partner/numbers/%2B912271264217").auth(&key).send().check(200).json();
    assert_eq!((&one["data"]["trunk_id"], &one["data"]["monthly_cost"]), (&json!("trunk_1"), &json!(500.0)), "{one}");
    assert!(one["data"]["tags"].as_array().expect("tags").contains(&json!("vip")), "{one}");

    // The log is there from its first entry, and the past can be asked.
    let changes = server.get("/api/v1/partner/changes?per_page=100").auth(&key).send().check(200).json();
    let verbs: Vec<&str> =
        changes["data"].as_array().expect("changes").iter().filter_map(|one| one["verb"].as_str()).collect();
    for verb in ["import", "assign", "suspend", "release", "tag", "schedule_create", "webhook_create", "undo"] {
        assert!(verbs.contains(&verb), "no {verb} among {verbs:?}");
    }
    for list in ["schedules", "webhooks", "jobs"] {
        let listed = server.get(&format!("/api/v1/manage/{list}")).auth(&key).send().check(200).json();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{list}: {listed}");
    }

    // New work stands on the old, and the old can be undone.
    let resume = "/api/v1/manage/numbers/%2B912271264219/resume";
    server.request("POST", resume).auth(&key).json(&json!({})).send().check(200);
    let destinations = json!({ "destinations": [{ "uri": "sip:ivr.example.net" }] });
    server.request("PATCH", "/api/v1/manage/applications/app_1").auth(&key).json(&destinations).send().check(200);
    let routing = "/api/v1/partner/numbers/%2B912271264219/routing";
    let routed = server.get(routing).auth(&key).send().check(200).json();
    assert_eq!(routed["data"]["cause"], "routed", "{routed}");
    let released = changes["data"].as_array().expect("changes").iter().find(|one| one["verb"] == "release");
    let version = released.expect("a change")["version"].as_u64().expect("a version");
    let undo = format!("/api/v1/manage/changes/{version}/undo");
    let undone = server.request("POST", &undo).auth(&key).json(&json!({})).send().check(200).json();
    assert!(undone.to_string().contains("\"undone\":1"), "{undone}");
    server.database.verify(Some(&server.url()));
}
