//! What asking and writing cost beside much that is there or was: answers cost
//! what is in them, writes what they change, and reading the log what fits in a
//! piece of it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Database, Key, Server};

use super::{limit, whole};

const MB: f64 = 1_000_000.0;

fn number(at: u64) -> String {
    format!("+9122{:08}", 30_000_000 + at)
}

/// A server with these rows.
fn server(rows: &str) -> (Server, Key) {
    let database = Database::empty();
    database.partner("PA_1", "One", &[]);
    assert_eq!(database.import("PA_1", rows)["rejected"], 0);
    let key = database.key("PA_1", &["--scope", "manage"]);
    (Server::start(database, &["--rate-limit", "0"]), key)
}

/// The middle of how long a page takes.
fn page(server: &Server, key: &Key, query: &str, total: u64) -> Duration {
    let mut times: Vec<Duration> = (0..41)
        .map(|_| {
            let began = Instant::now();
            let answer = server.get(&format!("/api/v1/partner/numbers?{query}")).auth(key).check(200);
            let took = began.elapsed();
            assert_eq!(answer.json()["meta"]["total"], json!(total), "{query}");
            took
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_tag_costs_what_its_answer_costs() {
    let numbers = if whole() { 1_000_000 } else { 20_000 };
    let rows: String = (0..numbers).map(|at| format!("{},t{at};common\n", number(at))).collect();
    let (server, key) = server(&format!("number,tags\n{rows}"));
    let alone = page(&server, &key, "per_page=20", numbers);
    for (query, total) in [("tag=common", numbers), ("tag=t4711", 1), ("tag=nobody", 0)] {
        let took = page(&server, &key, &format!("per_page=20&{query}"), total);
        println!("{query} among {numbers} numbers with a tag each: {took:.1?}, without a filter {alone:.1?}");
        assert!(took.as_secs_f64() <= limit(0.005), "{query}: {took:?}");
    }
}

/// The processor time that a server has used.
fn cpu(server: &Server) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process_id())).expect("a process");
    let nanos = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(nanos).sum())
}

/// The processor time of a write, over many.
fn write(server: &Server, key: &Key) -> Duration {
    let rounds = if whole() { 1_000 } else { 60 };
    let one = |at: u64| {
        let what = if at.is_multiple_of(2) { "add" } else { "remove" };
        let address = format!("/api/v1/manage/numbers/{}/tags", number(at / 2 % 50));
        server.request("POST", &address).auth(key).json(&json!({ what: ["written"] })).check(200);
    };
    (0..20).for_each(one);
    let before = cpu(server);
    (20..20 + rounds).for_each(one);
    (cpu(server) - before) / u32::try_from(rounds).expect("few")
}

#[test]
fn a_write_costs_the_same_beside_many_accounts_and_tags() {
    let few = 100;
    let (accounts, sets) = if whole() { (200_000, 100_000) } else { (10_000, 10_000) };
    let of_accounts = |many: u64| -> String {
        let rows: String = (0..many).map(|at| format!("{},MA_{at},5,INR\n", number(at))).collect();
        format!("number,account_auth_id,monthly_cost,currency\n{rows}")
    };
    // Each set was seen once and is used by no number any more.
    let of_sets = |many: u64| -> String { (0..many).map(|at| format!("{},once{at}\n", number(at))).collect() };
    let (server, key) = self::server(&of_accounts(few));
    let alone = write(&server, &key);
    drop(server);
    let check = |what: &str, beside: Duration| {
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        println!("a write {what}: {beside:.1?} of processor, with {few} {alone:.1?}, {ratio:.2} times");
        assert!(ratio <= limit(1.5), "{what}: {ratio:.2} times");
    };
    let (server, key) = self::server(&of_accounts(accounts));
    check(&format!("with {accounts} accounts"), write(&server, &key));
    drop(server);
    let database = Database::empty();
    database.partner("PA_1", "One", &[]);
    database.import("PA_1", &format!("number,tags\n{}", of_sets(sets)));
    let rows: String = (0..sets).map(|at| format!("{},\n", number(at))).collect();
    database.import("PA_1", &format!("number,tags\n{rows}"));
    database.import("PA_1", &of_accounts(few));
    let key = database.key("PA_1", &["--scope", "manage"]);
    let server = Server::start(database, &["--rate-limit", "0"]);
    check(&format!("after {sets} sets of tags"), write(&server, &key));
}

/// The most memory that a process had, in bytes, as long as it is there.
fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1_024.0)
}

/// Forgets how much memory a process had before.
fn forget_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("our own process");
}

/// Runs a command to its end and tells the most memory that it had.
fn peak_of(mut command: Command) -> f64 {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let mut most = 0.0;
    loop {
        most = peak(child.id()).unwrap_or(most);
        if let Some(status) = child.try_wait().expect("our own child") {
            assert!(status.success(), "{command:?}: {status}");
            return most;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_long_log_is_read_in_pieces() {
    let (imports, numbers) = if whole() { (100, 100_000) } else { (8, 10_000) };
    let rows = |cost: u64| -> String {
        let rows: String = (0..numbers).map(|at| format!("{},MA_{},{cost},INR\n", number(at), at % 50)).collect();
        format!("number,account_auth_id,monthly_cost,currency\n{rows}")
    };
    let (server, key) = server(&rows(0));
    let database = server.database.clone();
    let index = peak_of(database.command(&["export", "--partner", "PA_1"]));
    let once = peak_of(database.command(&["verify"]));

    // It does not see them come one by one.
    server.signal("STOP");
    for cost in 1..=imports {
        assert_eq!(database.import("PA_1", &rows(cost))["updated"], json!(numbers));
    }
    let before = server.rss_bytes();
    forget_peak(server.process_id());
    server.signal("CONT");
    let caught_up = |server: &Server| {
        let answer = server.get("/api/v1/partner/numbers?per_page=1").auth(&key).check(200);
        let cost = answer.json()["data"][0]["monthly_cost"].as_f64().expect("a cost");
        cost == imports as f64
    };
    server.within(Duration::from_secs(300), caught_up);
    let check = |what: &str, more: f64, of: f64| {
        let more = more.max(0.0);
        println!(
            "{what}, {imports} imports of {numbers} numbers: {:.1} MB more than the {:.1} MB of the index",
            more / MB,
            of / MB
        );
        assert!(more <= limit(64.0 * MB), "{what}: {more} bytes");
    };
    check("a follower", peak(server.process_id()).expect("its memory") - before, before);

    let verified = peak_of(database.command(&["verify"]));
    println!("verify of one import: {:.1} MB", once / MB);
    check("verify", verified - once.max(index), index);

    let before = server.rss_bytes();
    forget_peak(server.process_id());
    let answer = server.get("/api/v1/partner/changes?per_page=100").auth(&key).check(200);
    let version = answer.header("inventory-version").expect("a version").to_owned();
    let changes = answer.json();
    for change in changes["data"].as_array().expect("a list") {
        let version = &change["version"];
        server.get(&format!("/api/v1/partner/changes/{version}?per_page=100")).auth(&key).check(200);
    }
    check("change pages", peak(server.process_id()).expect("its memory") - before, before);

    let before = server.rss_bytes();
    forget_peak(server.process_id());
    server.request("POST", &format!("/api/v1/manage/changes/{version}/undo")).auth(&key).check(200);
    check("undo", peak(server.process_id()).expect("its memory") - before, before);

    let token = database.write("token", &key.auth_token);
    let mirror = Database::empty();
    mirror.partner("PA_M", "Mirror", &[]);
    let (url, token) = (server.url(), token.to_str().expect("a path").to_owned());
    let sync =
        ["sync", "--from", &url, "--auth-id", "PA_1", "--token-file", &token, "--partner", "PA_M", "--attempts", "1"];
    peak_of(mirror.command(&sync));
    let again = peak_of(mirror.command(&sync));
    check("sync without news", again - index, index);
}
