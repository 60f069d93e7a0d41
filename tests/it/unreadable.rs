//! A row that cannot be understood, in each table that there is: it is left
//! out, counted, and stops nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::cluster;
use super::harness::{Database, GLOBAL, ONE, Server, TWO};

/// A partner that was loaded again is tried after a hundred times what that took, which is a minute on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A row of a table that this program would not have written, of the first
/// partner where it is a partner's.
enum Spoiled {
    Row(&'static str),
    /// Counted as one of the numbers that loads leave out.
    Number(&'static str),
    /// Not surveyed: the log stops its own partner, and `verify` compares the
    /// holders of numbers.
    No,
}
use Spoiled::{No, Number, Row};

const TABLES: [(&str, Spoiled); 27] = [
    (
        "account",
        Row("INSERT INTO account (partner, auth_id, name, created_at) VALUES (1, 'MA_BAD', 'x', -99999999999999)"),
    ),
    (
        "account_numbers",
        Row("INSERT INTO account_numbers (partner, account, state, ends, numbers) VALUES (1, 'MA_BAD', 'lost', 0, 1)"),
    ),
    (
        "acknowledgement",
        Row("INSERT INTO acknowledgement (partner, finding, by, at) VALUES (1, 'fi_x', 'somebody', 999999999999999)"),
    ),
    (
        "answered",
        Row("INSERT INTO answered (partner, key, fingerprint, at, status, body) \
             VALUES (1, 'k', zeroblob(3), 0, 200, zeroblob(1))"),
    ),
    (
        "api_key",
        Row("INSERT INTO api_key (partner, id, name, token_sha256, scopes, networks, created_at, dialect) \
             VALUES (1, 'key_bad', 'x', zeroblob(32), 'everything', '', 0, 'data')"),
    ),
    (
        "app_user",
        Row("INSERT INTO app_user (id, email, name, role, partner, zone, created_at) \
             VALUES ('us_bad', 'a@a.test', 'x', 'emperor', 1, 'UTC', 0)"),
    ),
    (
        "application",
        Row("INSERT INTO application (partner, id, name, created_at) VALUES (1, 'bad', 'x', -99999999999999)"),
    ),
    ("audit", Row("INSERT INTO audit (at, who, what, address) VALUES (0, 'x', 'y', 'nowhere')")),
    ("change", No),
    ("change_part", No),
    (
        "document",
        Row(
            "INSERT INTO document (partner, kind, id, due, body) VALUES (1, 'schedule', 'sd_bad', -99999999999999, '{}')",
        ),
    ),
    ("holder", No),
    ("holder_group", No),
    ("holder_run", No),
    (
        "job",
        Row("INSERT INTO job (partner, id, created_at, open, body) VALUES (1, 'job_bad', 999999999999999, 1, '{}')"),
    ),
    ("job_batch", Row("INSERT INTO job_batch (partner, job, batch, body) VALUES (1, 'job_bad', 0, 'nothing')")),
    (
        "lease",
        Row("INSERT INTO lease (name, holder, until) VALUES ('jobs', 'nobody', far) \
             ON CONFLICT (name) DO UPDATE SET holder = 'nobody', until = far"),
    ),
    // Read by `verify` and by questions about the past, which do without.
    ("net_change", No),
    (
        "number",
        Number(
            "INSERT INTO number (number, partner, version, state, number_type, since) \
                VALUES (442079460999, 1, 1, 'lost', 'local', 0)",
        ),
    ),
    // `number` is a view of it.
    ("number_run", No),
    (
        "partner",
        Row("INSERT INTO partner (partner, auth_id, name, created_at, version, head) \
                     VALUES (77, 'PA_BAD', 'x', -99999999999999, 0, zeroblob(32))"),
    ),
    ("recovery_code", Row("INSERT INTO recovery_code (\"user\", sha256) VALUES ('us_bad', zeroblob(5))")),
    (
        "session",
        Row("INSERT INTO session (sha256, \"user\", created_at, seen_at, address, code_due) \
             VALUES (zeroblob(32), 'us_bad', 0, 0, 'nowhere', 0)"),
    ),
    (
        "set_up_link",
        Row("INSERT INTO set_up_link (sha256, \"user\", created_at, expires_at) \
                         VALUES (zeroblob(32), 'us_bad', 0, 999999999999999)"),
    ),
    ("setting", Row("INSERT INTO setting (partner, id, body) VALUES (1, 'wh_bad', 'nothing')")),
    ("sign_in_source", Row("INSERT INTO sign_in_source (\"user\", address, at) VALUES ('us_bad', 'nowhere', 0)")),
    ("trunk", Row("INSERT INTO trunk (partner, id, name, created_at) VALUES (1, 'bad', 'x', -99999999999999)")),
];

/// Takes those rows away again; what refers to others goes first.
const MENDED: [&str; 20] = [
    "DELETE FROM account_numbers WHERE account = 'MA_BAD'",
    "DELETE FROM account WHERE auth_id = 'MA_BAD'",
    "DELETE FROM acknowledgement WHERE finding = 'fi_x'",
    "DELETE FROM answered WHERE key = 'k'",
    "DELETE FROM api_key WHERE id = 'key_bad'",
    "DELETE FROM application WHERE id = 'bad'",
    "DELETE FROM trunk WHERE id = 'bad'",
    "DELETE FROM audit WHERE address = 'nowhere'",
    "DELETE FROM document WHERE id = 'sd_bad'",
    "DELETE FROM job_batch WHERE job = 'job_bad'",
    "DELETE FROM job WHERE id = 'job_bad'",
    "DELETE FROM lease WHERE holder = 'nobody'",
    "DELETE FROM number WHERE state = 'lost'",
    "DELETE FROM recovery_code WHERE \"user\" = 'us_bad'",
    "DELETE FROM session WHERE \"user\" = 'us_bad'",
    "DELETE FROM set_up_link WHERE \"user\" = 'us_bad'",
    "DELETE FROM sign_in_source WHERE \"user\" = 'us_bad'",
    "DELETE FROM app_user WHERE id = 'us_bad'",
    "DELETE FROM setting WHERE id = 'wh_bad'",
    "DELETE FROM partner WHERE partner = 77",
];

/// In an order in which rows may refer to those before.
fn spoil(database: &Database) {
    let first = ["partner", "app_user", "job"];
    let order = first.iter().chain(TABLES.iter().map(|(table, _)| table).filter(|table| !first.contains(table)));
    for table in order {
        let Some((_, Row(sql) | Number(sql))) = TABLES.iter().find(|(name, _)| name == table) else { continue };
        execute(database, sql);
    }
}

fn execute(database: &Database, sql: &str) -> String {
    match cluster::on_postgres() {
        Some(cluster) => {
            let mut sql = sql.replace("far", "'infinity'");
            for length in [1, 3, 5, 32] {
                let bytes = format!("decode(repeat('00', {length}), 'hex')");
                sql = sql.replace(&format!("zeroblob({length})"), &bytes);
            }
            cluster.psql(cluster::database_name(&database.address()), &sql)
        }
        None => {
            let raw = rusqlite::Connection::open(database.path()).expect("opens");
            raw.pragma_update(None, "foreign_keys", "OFF").expect("set");
            let sql = sql.replace("far", "9223372036854775807");
            raw.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            String::new()
        }
    }
}

fn schema(database: &Database) -> BTreeSet<String> {
    let names = match cluster::on_postgres() {
        Some(cluster) => cluster.psql(
            cluster::database_name(&database.address()),
            "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        ),
        None => rusqlite::Connection::open(database.path())
            .and_then(|raw| {
                let sql = "SELECT group_concat(name, ' ') FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                raw.query_row(sql, [], |row| row.get(0))
            })
            .expect("names"),
    };
    names.split_whitespace().map(str::to_owned).collect()
}

/// Another partner's list and job, and the list of people.
fn goes_on(server: &Server) {
    server.get(GLOBAL).auth(&TWO).check(200);
    let key = server.database.key("PA_TWO", &["--scope", "manage"]);
    server.within(PATIENCE, |server| server.get(GLOBAL).auth(&key).send().status == 200);
    let body = json!({ "verb": "suspend", "numbers": ["+4989100001"], "preview": false });
    let job = server.request("POST", "/api/v1/manage/jobs").auth(&key).json(&body).check(201).json();
    let job = format!("/api/v1/manage/jobs/{}", job["data"]["id"].as_str().expect("an id"));
    server.within(PATIENCE, |server| server.get(&job).auth(&key).check(200).json()["data"]["state"] == "done");
    let users = server.database.run(&["user", "list"]).check(0);
    assert!(!users.stdout.contains("us_bad"), "{}", users.stdout);
}

#[test]
fn a_row_of_any_table_that_cannot_be_understood_stops_nobody_else() {
    let database = Database::sample();
    let known: BTreeSet<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    for table in schema(&database) {
        let about_itself = ["rollcall_schema"].contains(&table.as_str());
        assert!(about_itself || known.contains(table.as_str()), "table {table} has no unreadable row here");
    }
    let mut server = Server::start(database, &[]);
    server.within(PATIENCE, |server| server.get("/readyz").check(200).json()["poisoned"] == 0);
    spoil(&server.database);
    let surveyed: Vec<&str> =
        TABLES.iter().filter(|(_, spoiled)| matches!(spoiled, Row(_))).map(|(table, _)| *table).collect();
    // A lease is not unreadable: it lasts too long, and keeps nobody from work.
    let counted = |table: &&str| *table != "lease";
    server.within(PATIENCE, |server| {
        let ready = server.get("/readyz").check(200).json();
        surveyed.iter().filter(|table| counted(table)).all(|table| ready["unreadable"][*table] == 1)
    });
    goes_on(&server);
    let metrics = server.get("/metrics").check(200);
    for table in surveyed.iter().filter(|table| counted(table)) {
        let line = format!("rollcall_unreadable_rows{{table=\"{table}\"}} 1\n");
        assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
    }
    let log = server.log();
    assert_eq!(log.matches("a row of table job cannot be understood").count(), 1, "logged once: {log}");
    // Nor does a server that begins with them.
    server.kill_and_start(&[]);
    goes_on(&server);
    server.get(GLOBAL).auth(&ONE).check(200);
    let ready = server.get("/readyz").check(200).json();
    assert_eq!(ready["unreadable"]["number"], 1, "{ready}");
    // Once they are gone, nothing counts any more.
    MENDED.iter().for_each(|sql| drop(execute(&server.database, sql)));
    server.within(PATIENCE, |server| server.get("/readyz").check(200).json()["poisoned"] == 0);
}
