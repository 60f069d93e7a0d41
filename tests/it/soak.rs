//! Readers and a writer at a real server for a while: nothing is lost, nothing
//! torn, and nothing is kept.
//!
//! The short version runs with all tests; a minute of it is
//! `cargo test --release --test it soak -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use crate::process::{Asking, Client, PARTNER, Place, Server};

const NUMBERS: u64 = 20_000;

/// How much more memory than at the start a server may end with, in bytes: a
/// quarter of what it had, for what an allocator leaves between its pieces, and
/// what a handful of connections hold.
fn allowed(before: u64) -> u64 {
    before / 4 + (16 << 20)
}

/// What is resident of a server's memory; `None` where no system tells.
fn resident(server: &Server) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// Pages, filters, searches and walks. Each import changes the cost of all
/// numbers at once, so a page with two costs would be of two moments.
fn ask(client: &Client, turn: &std::cell::Cell<u64>) {
    turn.set(turn.get() + 1);
    let page = turn.get() % (NUMBERS / 100) + 1;
    let paths = [
        format!("/api/v1/partner/numbers?per_page=100&page={page}"),
        "/api/v1/partner/accounts/MA_3/numbers?per_page=20".to_owned(),
        format!("/api/v1/partner/numbers?search={:04}", turn.get() % 10_000),
        "/api/v1/partner/numbers?status=active&sort=-monthly_cost".to_owned(),
    ];
    let path = &paths[(turn.get() % paths.len() as u64) as usize];
    let (total, rows) = client.list(path);
    assert!(path.contains("search") || path.contains("accounts") || total == NUMBERS, "{path}: {total}");
    assert!(rows.windows(2).all(|pair| pair[0]["monthly_cost"] == pair[1]["monthly_cost"]), "{path}: {rows:?}");
}

fn soak(span: Duration) {
    let place = Place::new();
    let files = [1, 2].map(|cost| place.blocks(&format!("cost{cost}.csv"), 33_145_000_000, NUMBERS / 1_000, cost));
    place.must(&["import", &files[0], "--partner", PARTNER]);
    let server = place.serve();
    let write = |turn: usize| place.must(&["import", &files[turn % 2], "--partner", PARTNER]);
    let start = || -> Vec<Asking> {
        let asking = |_| {
            let turn = std::cell::Cell::new(0);
            Asking::start(server.client(), Duration::from_millis(1), move |client| ask(client, &turn))
        };
        (0..3).map(asking).collect()
    };
    // What a server needs once it has done everything it does.
    let readers = start();
    for turn in 1..=4 {
        write(turn);
    }
    for reader in readers {
        reader.finish();
    }
    let before = resident(&server);

    let readers = start();
    let begin = Instant::now();
    let mut writes = 0;
    while begin.elapsed() < span {
        writes += 1;
        write(writes);
    }
    let times: Vec<_> = readers.into_iter().map(Asking::finish).collect();
    place.verify(Some(&server));
    println!("{writes} imports of {NUMBERS} numbers beside readers: {}", times[0]);

    match (before, resident(&server)) {
        (Some(before), Some(after)) => {
            let [mb_before, mb_after] = [before, after].map(|bytes| bytes >> 20);
            println!("resident before {mb_before} MB, after {mb_after} MB");
            assert!(after <= before + allowed(before), "resident before {mb_before} MB, after {mb_after} MB");
        }
        _ => println!("resident memory was not compared: there is no /proc"),
    }
}

#[test]
fn readers_and_a_writer_for_a_few_seconds() {
    soak(Duration::from_secs(4));
}

#[test]
#[ignore = "takes a minute"]
fn readers_and_a_writer_for_a_minute() {
    soak(Duration::from_secs(60));
}
