//! Several nodes over one PostgreSQL: `cargo bench --bench nodes`.
//!
//! What a request costs on one node, two and three, under the same load; and a start,
//! against `psql` copying the same table into a file. Nodes, clients and database share
//! one machine, so what is compared is processor time, of the nodes alone, and not
//! answers a second. Then what writes, imports and rows cost in the database, and a
//! failover. Names of parts select them: `cargo bench --bench nodes -- writes holders`.
//!
//! The servers are made in folders of their own and stopped at the end. Skipped where
//! PostgreSQL is not installed (Debian: postgresql).

#![allow(clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "../tests/it/cluster.rs"]
mod cluster;
#[path = "nodes/database.rs"]
mod database;
mod shared;
#[path = "../tests/it/until.rs"]
mod until;

use std::time::Instant;

use cluster::{Cluster, QUICK};
use shared::server::{self, Server};
use shared::{Random, at_least, at_most, heading, reported};

const NUMBERS: usize = 1_000_000;
const ROUNDS: usize = 3;
const SPAN_S: u64 = 4;

const PARTS: [&str; 7] = ["start", "requests", "writes", "imports", "neighbours", "failover", "holders"];

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| PARTS.contains(&&**word)).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    if wanted("start") || wanted("requests") {
        nodes();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let Some(cluster) = Cluster::new(&["shared_buffers=512MB", "max_wal_size=4GB"]) else { return };
    if wanted("writes") {
        database::writes(&cluster);
    }
    if wanted("imports") {
        database::imports(&cluster, 300_000);
    }
    if wanted("neighbours") {
        database::neighbours(&cluster, folder.path());
    }
    if wanted("holders") {
        database::holders(&cluster);
    }
    drop(cluster);
    if wanted("failover") {
        database::failover(10_000_000);
    }
}

fn nodes() {
    heading("several nodes over one PostgreSQL, 1 M numbers");
    let Some(cluster) = Cluster::new(&[QUICK, &["shared_buffers=512MB"]].concat()) else { return };
    let database = cluster.database();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("numbers.csv");
    std::fs::write(&file, server::csv(NUMBERS)).expect("written");
    let token = server::fill(&database, &file);
    start(&cluster, &database, folder.path());
    requests(&database, &token);
}

fn start(cluster: &Cluster, database: &str, folder: &std::path::Path) {
    let name = cluster::database_name(database);
    let (mut copied, mut loaded) = (f64::INFINITY, f64::INFINITY);
    // Once to warm up both.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        let copy = format!("\\copy number_run TO '{}'", folder.join("numbers.copy").display());
        cluster.psql(name, &copy);
        let copy_s = begun.elapsed().as_secs_f64();
        let server = Server::start(database);
        let said = server.log.split_once("load_ms=").and_then(|(_, rest)| rest.split_whitespace().next());
        let load_s = said.and_then(|ms| ms.parse::<f64>().ok()).expect("it says how long it took") / 1e3;
        if round > 0 {
            (copied, loaded) = (copied.min(copy_s), loaded.min(load_s));
        }
    }
    reported("psql \\copy of the numbers into a file", copied, "s");
    reported("a start: everything read and indexed", loaded, "s");
    at_least("speed of a start ÷ that of \\copy", copied / loaded, "×", 0.5, 0.8);
}

fn requests(database: &str, token: &str) {
    let path: fn(&mut Random) -> String =
        |random| format!("/api/v1/partner/accounts/MA_{}/numbers?per_page=20", random.below(shared::ACCOUNTS));
    let mut alone = 0.0;
    for count in 1..=3 {
        let servers: Vec<Server> = (0..count).map(|_| Server::start(database)).collect();
        let all: Vec<&Server> = servers.iter().collect();
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let before: f64 = servers.iter().map(Server::processor_s).sum();
            let begun = Instant::now();
            let rate = server::ask(&all, token, 2, SPAN_S, path);
            let answers = rate * begun.elapsed().as_secs_f64();
            let used: f64 = servers.iter().map(Server::processor_s).sum::<f64>() - before;
            best = best.min(used / answers * 1e6);
        }
        reported(&format!("an account's page, {count} nodes: processor time a request"), best, "µs");
        match count {
            1 => alone = best,
            _ => at_most(&format!("{count} nodes ÷ one"), best / alone, "×", 1.1, 1.05),
        }
    }
}
