//! What strangers can make a server keep in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::harness::{Database, Server};

use super::{limit, whole};

const MB: f64 = 1_000_000.0;

/// A server, asked once so that what it makes for the first request is there.
fn server() -> Server {
    let database = Database::sample();
    let config = database.write("edge.toml", "[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let server = Server::start(database, &["--config", config.to_str().expect("a path")]);
    server.get("/readyz").check(200);
    assert_eq!(sign_in(&server, "192.0.2.1"), 401);
    server
}

fn form(address: &str, length: usize) -> String {
    format!(
        "POST /console/sign-in HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: same-origin\r\nX-Forwarded-For: {address}\r\n\
         X-Forwarded-Proto: https\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// The status of a sign-in of an unknown person from an address.
fn sign_in(server: &Server, address: &str) -> u16 {
    let body = "email=somebody%40example.com&password=not+the+password";
    server.send("POST", format!("{}{body}", form(address, body.len())).as_bytes()).status
}

#[test]
fn unfinished_forms_of_strangers_cost_little() {
    let server = server();
    let before = server.rss_bytes();
    let long = 4 << 20;
    let mut open = Vec::new();
    for at in 0..150 {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        stream.write_all(form(&format!("198.51.100.{at}"), long).as_bytes()).expect("sent");
        // It is refused before it is read, so writing it may fail.
        let _ = stream.write_all(&vec![b'a'; if whole() { long - 50 } else { 256 << 10 }]);
        open.push(stream);
    }
    let mut answer = [0; 13];
    for stream in &mut open {
        if stream.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 413 ");
        }
    }
    // As much as a stranger may send, and never its end.
    for at in 0..150 {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        stream.write_all(form(&format!("203.0.113.{at}"), 16 << 10).as_bytes()).expect("sent");
        stream.write_all(&[b'a'; (16 << 10) - 50]).expect("sent");
        open.push(stream);
    }
    server.get("/livez").check(200);
    let cost = server.rss_bytes() - before;
    println!("300 unfinished forms: {:.1} MB more than the {:.1} MB before", cost / MB, before / MB);
    assert!(cost < limit(32.0 * MB), "{cost} bytes");
}

#[test]
fn a_flood_of_sign_ins_leaves_little_behind() {
    let server = server();
    let before = server.rss_bytes();
    let (rounds, at_once) = if whole() { (6, 150) } else { (2, 20) };
    let mut statuses = Vec::new();
    for round in 0..rounds {
        thread::scope(|scope| {
            let server = &server;
            let tries = (0..at_once).map(|at| scope.spawn(move || sign_in(server, &format!("10.{round}.0.{at}"))));
            let tries: Vec<_> = tries.collect();
            statuses.extend(tries.into_iter().map(|one| one.join().expect("an answer")));
        });
    }
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!(tried > 0 && statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
    let cost = server.rss_bytes() - before;
    println!(
        "{} sign-ins, {tried} of them hashed: {:.1} MB more than the {:.1} MB after one",
        statuses.len(),
        cost / MB,
        before / MB
    );
    // Two threads that hash keep 19 MiB each, and one of them has it already.
    assert!(cost < limit(64.0 * MB).min(64.0 * MB), "{cost} bytes");
}
