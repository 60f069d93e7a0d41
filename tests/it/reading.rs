//! What a question reads of the database: what its answer needs, however long the log is and
//! whatever lies beside it. The kernel counts what a process reads from files.

use std::time::Duration;

use rusqlite::params;

use crate::harness::{Database, Server, no_file};
use crate::pages::Pages;
use crate::until::until;

/// How many bytes a question may read: a thirtieth of the log and of each long document.
const READ_MAX: u64 = 500_000;
const NUMBERS: u64 = 16_000;

fn bytes_read(server: &Server) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{}/io", server.id())).expect("a process");
    let line = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("what it has read");
    line.parse().expect("a number")
}

#[test]
fn a_question_reads_what_its_answer_needs() {
    if no_file() {
        return;
    }
    let database = Database::empty();
    database.partner("PA_A", "A", &[]);
    let key = database.key("PA_A", &["--scope", "manage"]);
    // Each number is of a group of 10,000 of its own, and so in a part of the log of its own.
    let tags: Vec<String> = (0..20).map(|tag| format!("{tag:02}-{}", "long-as-tags-may-be".repeat(2))).collect();
    let row = |at: u64| format!("+{},MA_{},1.5,INR,{}\n", 912_220_000_000 + at * 10_000, at % 7, tags.join(";"));
    let rows: String = (0..NUMBERS).map(row).collect();
    database.import("PA_A", &format!("number,account_auth_id,monthly_cost,currency,tags\n{rows}"));
    let raw = rusqlite::Connection::open(database.path()).expect("opened");
    let long: i64 = raw.query_row("SELECT sum(length(body)) FROM change_part", [], |row| row.get(0)).expect("asked");
    assert!(long as u64 > 30 * READ_MAX, "the log has {long} bytes only");
    let insert = "INSERT INTO document (partner, kind, id, body) VALUES (1, ?1, 'long', ?2)";
    for kind in ["a", "told", "zzz"] {
        raw.execute(insert, params![kind, "x".repeat(long as usize)]).expect("written");
    }
    drop(raw);
    let server = Server::start(database, &[]);
    let pages = Pages::owner(&server, "PA_A", "UTC");
    let number = 912_220_000_000 + 1_234 * 10_000_u64;
    let questions = [
        format!("/api/v1/partner/numbers/{number}/history"),
        format!("/api/v1/partner/numbers/{number}/routing"),
        "/api/v1/partner/changes".to_owned(),
        "/api/v1/partner/changes?per_page=100".to_owned(),
        "/api/v1/partner/changes/2".to_owned(),
        "/api/v1/partner/changes/2?page=150".to_owned(),
        "/api/v1/manage/jobs".to_owned(),
        "/api/v1/manage/webhooks".to_owned(),
        pages.base.clone(),
        format!("{}/numbers", pages.base),
        format!("{}/numbers/{number}", pages.base),
        format!("{}/changes", pages.base),
        format!("{}/changes/2", pages.base),
    ];
    // A server that has begun goes through the log once for itself.
    let quiet = || {
        let before = bytes_read(&server);
        std::thread::sleep(Duration::from_millis(500));
        bytes_read(&server) - before < READ_MAX / 10
    };
    until(Duration::from_secs(60), || "the server still reads for itself".to_owned(), quiet);
    let mut too_much = Vec::new();
    for question in &questions {
        let ask = || match question.starts_with("/api/") {
            true => server.request("GET", question).auth(&key).check(200),
            false => pages.get(question).check(200),
        };
        // The first finds out where the numbers of large changes are, which is kept.
        ask();
        let read = |_| {
            let before = bytes_read(&server);
            ask();
            bytes_read(&server) - before
        };
        let read = (0..3).map(read).min().expect("three of them");
        println!("{read:>9} bytes {question}");
        if read > READ_MAX {
            too_much.push(format!("{question} reads {read} bytes"));
        }
    }
    assert!(too_much.is_empty(), "{too_much:#?}");
}
