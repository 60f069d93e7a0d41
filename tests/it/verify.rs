//! `rollcall verify` over many numbers that are few rows: its time and its memory
//! follow the rows, and a difference is named with its numbers and both digests.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rollcall::domain::{PartnerKey, RunChange, Verb};
use rollcall::store::{Store, WriteTarget};

use super::fixture::*;

/// Two tenths of a percent are holes.
const BLOCK: u64 = 9_980;
const FIRST: u64 = 911_000_000_000;
const NUMBERS: u64 = 40_000_000;
/// For 40 M numbers without optimization; a step for each of them takes longer.
const TIME_MAX: Duration = Duration::from_secs(20);
/// A byte for each number would be more above what the program takes anyway.
const MEMORY_MAX: u64 = 120_000_000;

fn in_blocks(store: &dyn Store, numbers: u64) -> PartnerKey {
    let key = new_partner(store, "PA_BLOCKS");
    let blocks: Vec<RunChange> = (0..numbers / 10_000)
        .map(|at| RunChange { first: number(FIRST + at * 10_000), count: BLOCK, before: None, after: Some(stock("a")) })
        .collect();
    for some in blocks.chunks(100) {
        let body = draft(|transaction| Ok(transaction.put_runs(some)?));
        store.write(WriteTarget::Partner(key), entry(Verb::Import), body).expect("written");
    }
    key
}

/// The program's exit code and output, its time, and the most memory it had.
fn verified(database: &Database) -> (Option<i32>, String, Duration, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.arg("verify").env("ROLLCALL_DATABASE", database.address());
    let began = Instant::now();
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
    let status = format!("/proc/{}/status", process.id());
    let (mut peak, mut ended) = (0, None);
    super::until::until(
        Duration::from_secs(300),
        || "the verification goes on".to_owned(),
        || {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak = peak.max(kilobytes.unwrap_or_default() * 1_024);
            ended = process.try_wait().expect("a process");
            ended.is_some()
        },
    );
    let took = began.elapsed();
    let output = process.wait_with_output().expect("its output");
    (ended.and_then(|status| status.code()), String::from_utf8(output.stdout).expect("text"), took, peak)
}

/// Forty million numbers, and a difference among them.
fn follows_the_rows(database: &Database) {
    let key = in_blocks(&*database.open(), NUMBERS);
    let (code, text, took, peak) = verified(database);
    assert_eq!(code, Some(0), "{text}");
    let numbers = NUMBERS / 10_000 * BLOCK;
    assert!(text.contains(&format!("{numbers} numbers")) && text.contains("all agree"), "{text}");
    println!("verify of {numbers} numbers in {} rows: {took:.1?}, {} MB", NUMBERS / 10_000, peak / 1_000_000);
    assert!(took < TIME_MAX && peak < MEMORY_MAX, "{took:?}, {peak} bytes");
    // A block that says something else, and one that is gone.
    let (first, last) = (FIRST + 120_000, FIRST + 120_000 + BLOCK - 1);
    let row = |first: u64| format!("partner = {} AND first = {first}", key.0);
    database.damage(&format!("UPDATE number_run SET region = 'Elsewhere' WHERE {}", row(first)));
    database.damage(&format!("DELETE FROM number_run WHERE {}", row(FIRST)));
    let (code, text, took, peak) = verified(database);
    assert_eq!(code, Some(3), "{text}");
    assert!(took < TIME_MAX && peak < MEMORY_MAX, "{took:?}, {peak} bytes");
    let named = |first: u64, last: u64| {
        format!("numbers +{first} to +{last} of partner PA_BLOCKS are not in the rows as the log says")
    };
    for line in [named(first, last), named(FIRST, FIRST + BLOCK - 1)] {
        assert!(text.lines().any(|other| other == line), "no {line:?} in {text}");
    }
    let digests = text.lines().find(|line| line.starts_with("the rows of partner PA_BLOCKS have the digest"));
    let words: Vec<&str> = digests.unwrap_or_default().split([' ', ',']).filter(|word| word.len() == 64).collect();
    assert!(words.len() == 2 && words[0] != words[1], "{text}");
}

#[test]
fn the_cost_follows_the_rows() {
    follows_the_rows(&Database::chosen());
}

#[test]
fn differences_are_named_by_runs() {
    /// Statements after the blocks +911000000000 to …9979 and +911000010000 to …19979,
    /// and the sentences about numbers.
    type Case = (&'static [&'static str], &'static [&'static str]);
    let cases: [Case; 5] = [
        (&[], &[]),
        (
            &["UPDATE number SET region = 'Elsewhere' WHERE number = 911000000005"],
            &["number +911000000005 of partner PA_BLOCKS is not"],
        ),
        (
            &["UPDATE number SET region = 'Elsewhere' WHERE number BETWEEN 911000000005 AND 911000000007"],
            &["numbers +911000000005 to +911000000007 of partner PA_BLOCKS are not"],
        ),
        // Neighbours that differ in different ways are one run of differences.
        (
            &[
                "UPDATE number SET region = 'Elsewhere' WHERE number = 911000009979",
                "DELETE FROM number WHERE number = 911000009978",
                "DELETE FROM number WHERE number = 911000010000",
            ],
            &[
                "numbers +911000009978 to +911000009979 of partner PA_BLOCKS are not",
                "number +911000010000 of partner PA_BLOCKS is not",
            ],
        ),
        (
            &["UPDATE number SET version = 1 WHERE number IN (911000000005, 911000000007, 911000000008)"],
            &[
                "number +911000000005 of partner PA_BLOCKS is not",
                "numbers +911000000007 to +911000000008 of partner PA_BLOCKS are not",
            ],
        ),
    ];
    for (statements, expected) in cases {
        let database = Database::chosen();
        let store = database.open();
        in_blocks(&*store, 20_000);
        for statement in statements {
            database.execute(statement).expect("changed");
        }
        let found = differences(&*store);
        let named: Vec<&String> = found.iter().filter(|line| line.contains("in the rows as the log")).collect();
        assert_eq!(named.len(), expected.len(), "{statements:?}: {found:?}");
        for (line, begins) in named.iter().zip(expected) {
            assert!(line.starts_with(begins), "{statements:?}: {line}");
        }
    }
}
