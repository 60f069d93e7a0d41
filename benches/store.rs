//! What the database costs: importing, starting, and writing beside readers:
//! `cargo bench --bench store`.

#![allow(clippy::print_stdout)]

mod shared;

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rollcall::domain::{Actor, plan};
use rollcall::intake;
use rollcall::service::import::{ImportOptions, OnError, Watch};
use rollcall::service::{Replica, Service};
use rollcall::store::{self, Location, Open, Store};

use shared::{Numbers, Random, at_least, at_most, heading, micros, record, reported, skipped};

const PARTNER: &str = "PA_1";
/// How many numbers the database has.
const NUMBERS: usize = 1_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    import_and_start(folder.path(), "1 M numbers in blocks", &shared::blocks(NUMBERS));
    match shared::drawn(NUMBERS) {
        Ok(numbers) => import_and_start(folder.path(), "1 M numbers drawn from the blocks of France", &numbers),
        Err(why) => skipped("numbers drawn from the blocks of France", &why),
    }
}

/// A new database with a partner in it.
fn database(path: &Path) -> Arc<dyn Store> {
    let store = store::open(&Location::Sqlite(path.to_owned()), Open::Create).expect("a database");
    let auth_id = PARTNER.parse().expect("an id");
    service(&store).partner_create(auth_id, "P".into()).expect("a partner");
    store
}

fn service(store: &Arc<dyn Store>) -> Service {
    Service::new(store.clone(), Actor::Command { user: "bench".to_owned() })
}

/// The numbers as a file that people might have.
fn csv(path: &Path, numbers: &[(u64, u64)]) {
    let mut text = "number,account_auth_id,application_id,status,number_type,country,region,monthly_cost,currency,\
                    assigned_at,expires_at\n"
        .to_owned();
    let mut random = Random(3);
    for &(digits, holder) in numbers {
        let record = record(holder, &mut random);
        let application = record.application.map(|id| id.to_string()).unwrap_or_default();
        let expires_at = record.expires_at.map(|time| time.to_string()).unwrap_or_default();
        let (state, number_type) = (record.state, record.number_type);
        let assigned_at = record.assigned_at.expect("held");
        let account = shared::account_id(holder);
        writeln!(
            text,
            "+{digits},{account},{application},{state},{number_type},IN,Mumbai,500.00,INR,{assigned_at},{expires_at}"
        )
        .expect("memory");
    }
    std::fs::write(path, text).expect("written");
}

/// The same table for the other engine, with the number as its key.
const RIVAL: &str = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE number (number INTEGER PRIMARY KEY, \
                     account TEXT, application TEXT, status TEXT, number_type TEXT, country TEXT, region TEXT, cost TEXT, \
                     currency TEXT, assigned_at TEXT, expires_at TEXT);";

fn import_and_start(folder: &Path, what: &str, numbers: &Numbers) {
    heading(what);
    let file = folder.join("numbers.csv");
    csv(&file, numbers);
    let mut ours = f64::INFINITY;
    let mut theirs = f64::INFINITY;
    let path = folder.join("rollcall.db");
    for _ in 0..3 {
        remove(&path);
        let store = database(&path);
        ours = ours.min(micros(|| import(&store, &file)));
        drop(store);
        if let Some(took) = rival(folder, &file) {
            theirs = theirs.min(took);
        }
    }
    reported("import of 1 M rows, durable, with log", ours / 1e6, "s");
    if theirs.is_finite() {
        reported("`.import` of sqlite3, WAL and FULL, into one table", theirs / 1e6, "s");
        at_least("import's speed ÷ that of sqlite3", theirs / ours, "times", 0.5, 1.0);
    } else {
        skipped("import's speed ÷ that of sqlite3", "there is no sqlite3 command");
    }
    start(&path);
    remove(&path);
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-serve"] {
        let mut name = path.to_owned().into_os_string();
        name.push(suffix);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

fn import(store: &Arc<dyn Store>, file: &Path) {
    let options = ImportOptions {
        intake: intake::Options { national: plan::national, ..intake::Options::default() },
        monthly_cost: None,
        on_error: OnError::Abort,
        move_held: false,
        dry_run: false,
    };
    let watch = Watch { progress: &|_| {}, cancel: &AtomicBool::new(false) };
    let partner = PARTNER.parse().expect("an id");
    let report = service(store).import(&partner, &|| Ok(Box::new(File::open(file)?)), &options, &watch);
    let report = report.expect("imported");
    assert!(report.written && report.imported as usize == NUMBERS, "{report:?}");
}

/// How long the tool of the other engine takes with the same file.
fn rival(folder: &Path, file: &Path) -> Option<f64> {
    let path = folder.join("rival.db");
    let mut done = false;
    let took = micros(|| {
        let import = format!(".import --csv --skip 1 {} number", file.display());
        let run = Command::new("sqlite3").arg(&path).args([RIVAL, &import]).stdin(Stdio::null()).output();
        done = run.is_ok_and(|output| output.status.success());
    });
    if done {
        let count = rusqlite::Connection::open(&path)
            .and_then(|rival| rival.query_row("SELECT count(*) FROM number", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.expect("a count"), NUMBERS as i64);
    }
    remove(&path);
    done.then_some(took)
}

fn start(path: &Path) {
    let open = || store::open(&Location::Sqlite(path.to_owned()), Open::Existing).expect("a database");
    let mut nodes = Vec::new();
    let (ours, bare) = shared::best_of_two(
        5,
        || {
            let replica = Replica::load(open()).expect("loads");
            nodes = replica.nodes();
        },
        || {
            let connection = rusqlite::Connection::open(path).expect("a database");
            let sql = "SELECT number, partner, version, state, account, application, trunk, number_type, country, region, \
                       cost, currency, assigned_at, expires_at, since, until, tags FROM number ORDER BY number";
            let mut statement = connection.prepare(sql).expect("a statement");
            let mut rows = statement.query([]).expect("rows");
            let mut bytes = 0;
            while let Some(row) = rows.next().expect("a row") {
                for column in 0..17 {
                    bytes += match row.get_ref(column).expect("a column") {
                        rusqlite::types::ValueRef::Text(text) => text.len(),
                        rusqlite::types::ValueRef::Null => 0,
                        _ => 8,
                    };
                }
            }
            bytes
        },
    );
    assert_eq!(nodes[0].snapshot().len(), NUMBERS);
    reported("start with 1 M numbers", ours / 1e6, "s");
    reported("a bare SELECT of the same columns", bare / 1e6, "s");
    at_most("start ÷ SELECT", ours / bare, "times", 2.0, 1.1);
}
