//! A database that holds back a table, or its writer, while strangers, people
//! and keys ask.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, database_name};
use crate::harness::{Database, Key, Server, no_file};
use crate::pages::Pages;

use super::limit;

const PATIENCE: Duration = Duration::from_secs(1);
/// How many ask at once with made-up cookies.
const STRANGERS: usize = 8;

/// What must be answered within [`PATIENCE`] whatever the database does; the
/// longest of it.
fn longest(server: &Server, key: &Key) -> Duration {
    let mut longest = Duration::ZERO;
    for (path, keyed) in [("/livez", false), ("/readyz", false), ("/api/v1/partner/numbers", true)] {
        let began = Instant::now();
        let request = server.get(path);
        let request = if keyed { request.auth(key) } else { request };
        request.check(200);
        longest = longest.max(began.elapsed());
    }
    longest
}

/// Asks while strangers with made-up cookies and a person with a session wait
/// for pages.
fn longest_beside(server: &Server, key: &Key, cookie: &str) -> Duration {
    const PAGES: [&str; 4] =
        ["/console/p/PA_L", "/console/p/PA_L/changes", "/console/p/PA_L/jobs", "/console/p/PA_L/users"];
    let sent = server.sent();
    std::thread::scope(|scope| {
        for stranger in 0..STRANGERS {
            scope.spawn(move || {
                page(server, "/console/p/PA_L", &format!("rollcall=strangerstrangerstranger{stranger}"))
            });
        }
        for path in PAGES {
            scope.spawn(move || page(server, path, cookie));
        }
        server.once_sent(sent + (STRANGERS + PAGES.len()) as u64);
        longest(server, key)
    })
}

/// Asks for a page of the console, whatever the answer is.
fn page(server: &Server, path: &str, cookie: &str) {
    let host = server.address();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
    let answer = server.send("GET", ask.as_bytes());
    assert!(matches!(answer.status, 200 | 303 | 429 | 503), "{path}: {}", answer.status);
}

fn check(what: &str, took: Duration, alone: Duration) {
    println!("{what}: longest answer {took:.1?}, alone {alone:.1?}");
    assert!(took.as_secs_f64() <= limit(PATIENCE.as_secs_f64()), "{what}: {took:?}");
}

fn made(database: &Database) -> Key {
    database.partner("PA_L", "Locked", &[]);
    database.import("PA_L", "number\n+912271264217\n+912271264218\n");
    database.key("PA_L", &[])
}

#[test]
fn a_locked_table_stops_nobody_who_needs_none() {
    let Some(cluster) = Cluster::shared() else { return };
    let address = cluster.database();
    let name = database_name(&address).to_owned();
    let database = Database::on(&address);
    let key = made(&database);
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let alone = longest(&server, &key);
    let tables = cluster.psql(
        &name,
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    );
    assert!(tables.lines().count() > 5, "{tables}");
    for table in tables.lines() {
        let mut session = cluster.session(&name);
        session.run("BEGIN");
        session.run(&format!("LOCK TABLE \"{table}\" IN ACCESS EXCLUSIVE MODE"));
        let took = longest_beside(&server, &key, pages.cookie());
        session.run("ROLLBACK");
        check(&format!("{table} locked"), took, alone);
    }
}

#[test]
fn a_writer_that_is_held_stops_no_reader() {
    if no_file() {
        return;
    }
    let database = Database::empty();
    let key = made(&database);
    let path = database.path().to_owned();
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_L", "UTC");
    let alone = longest(&server, &key);
    let holder = rusqlite::Connection::open(path).expect("the database");
    holder.execute_batch("BEGIN IMMEDIATE").expect("the writer's lock");
    let took = longest_beside(&server, &key, pages.cookie());
    holder.execute_batch("ROLLBACK").expect("given back");
    check("SQLite's writer held", took, alone);
}
