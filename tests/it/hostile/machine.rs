//! A machine that gives little: few descriptors, and a log that nobody reads.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Database, Server};

use super::whole;

#[test]
fn a_crowd_takes_no_descriptor_that_files_need() {
    let database = Database::empty();
    database.partner("PA_1", "One", &[]);
    database.import("PA_1", "number\n+912271264217\n");
    let key = database.key("PA_1", &[]);
    let serve = database.command(&["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let server = Server::start_as(database, command);
    let crowd: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(server.address()).ok()).collect();
    assert!(crowd.len() > 60, "{} came", crowd.len());
    // Meanwhile it follows what another process writes.
    server.database.import("PA_1", "number\n+912271264218\n");
    drop(crowd);
    let all = |server: &Server| server.get("/api/v1/partner/numbers").auth(&key).send().numbers().len() == 2;
    server.within(Duration::from_secs(5), all);
    server.database.verify(Some(&server.url()));
    let log = server.log();
    assert!(log.contains("this process may open 64 files and sockets: at most 32 connections are taken"), "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
}

#[test]
fn a_log_that_is_not_read_stops_no_request() {
    let database = Database::sample();
    let mut command = database.command(&["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"]);
    command.env("RUST_LOG", "trace");
    let mut server = Server::start_stuck(database, command);
    let mut longest = Duration::ZERO;
    // Several times what a pipe holds.
    for _ in 0..if whole() { 20_000 } else { 2_000 } {
        let began = Instant::now();
        server.get("/api/v1/partner/numbers").check(401);
        longest = longest.max(began.elapsed());
    }
    println!("beside a log that is not read: longest answer {longest:.1?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!(server.stop(), Some(0));
}
