//! The accept loop, driven over real sockets on 127.0.0.1.
//!
//! Times are short and compared generously: a limit must not act before its
//! time and must act soon after it, also on a busy machine.

// Which line of a table it was is part of a test's answer.
#![allow(clippy::print_stdout)]

use std::{
    fs::File,
    future::pending,
    io::{self, Read, Seek},
    net::SocketAddr,
    pin::Pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Frame;
use rollcall::http::server::{Certificate, Limits, OverTls, Peer, Served, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

#[path = "it/authority.rs"]
mod authority;

use authority::Authority;

const LIMITS: Limits = Limits {
    header_timeout: Duration::from_secs(5),
    body_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(5),
    write_timeout: Duration::from_secs(5),
    connections_max: 100,
    connections_per_address_max: None,
    header_bytes_max: 16 * 1024,
    shutdown_grace: Duration::from_secs(5),
};

/// The limit that a test is about.
const SHORT: Duration = Duration::from_millis(600);

/// Long for anything that is not waiting for a limit of `LIMITS`, on a busy machine
/// too.
const PROMPT: Duration = Duration::from_secs(3);
/// A while in which nothing is to happen.
const PAUSE: Duration = Duration::from_millis(300);

const GET_HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

// A client that asks and hangs up.

#[tokio::test]
async fn answers_and_names_the_peer() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    client.send("GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let own = client.stream.local_addr().expect("a local address");
    assert_eq!(client.answer().await.body, own.to_string());
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = start(LIMITS).await;
    let answer = server.ask("GET /hello HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn http_1_0_may_keep_alive() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "hello");
    }
}

#[tokio::test]
async fn half_closed_client_is_answered() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.stream.shutdown().await.expect("half-close");
    assert_eq!(client.answer().await.body, "slow");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    let echo = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send(&format!("{GET_HELLO}{echo}{GET_HELLO}{GET_HELLO}")).await;
    for expected in ["hello", "abc", "hello", "hello"] {
        assert_eq!(client.answer().await.body, expected);
    }
}

#[tokio::test]
async fn pipelined_garbage_is_refused_after_the_answers_before_it() {
    let server = start(LIMITS).await;
    let answers = server.ask(&format!("{GET_HELLO}{GET_HELLO}garbage\r\n\r\n")).await;
    let (good, refusal) = answers.split_at(answers.find("HTTP/1.1 400").expect("a refusal"));
    assert_eq!(good.matches("\r\n\r\nhello").count(), 2, "{answers}");
    check_envelope(refusal, 400, "BAD_REQUEST");
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    client.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("abc").await;
    assert_eq!(client.answer().await.body, "abc");
}

#[tokio::test]
async fn small_writes_do_not_wait_for_acknowledgements() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    // With Nagle's algorithm each answer waits 40 ms for a delayed acknowledgement,
    // always; on a busy machine it may wait for the processor, sometimes.
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let begin = Instant::now();
        for _ in 0..20 {
            client.send("GET /drip HTTP/1.1\r\nHost: a\r\n\r\n").await;
            client.expect_end_of("0\r\n\r\n").await;
        }
        best = best.min(begin.elapsed());
        if best < Duration::from_millis(500) {
            return;
        }
    }
    panic!("{best:?}");
}

// A client that is late.

#[tokio::test]
async fn silent_connection_is_closed_without_an_answer() {
    let server = start(Limits { header_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    let (closed, bytes) = server.while_prompt(client.closed()).await;
    check_around(closed, SHORT);
    assert_eq!(bytes, "");
}

#[tokio::test]
async fn dribbled_head_ends_at_the_timeout_in_total() {
    let server = start(Limits { header_timeout: SHORT, ..LIMITS }).await;
    let client = server.connect().await;
    let (closed, bytes) = server.while_prompt(client.dribble("GET /hello HTTP/1.1\r\nX: ")).await;
    check_around(closed, SHORT);
    check_envelope(&bytes, 408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn dribbled_second_head_ends_at_the_timeout_in_total() {
    let server = start(Limits { header_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    client.send(GET_HELLO).await;
    client.answer().await;
    sleep(SHORT * 2).await; // Between requests, only the idle limit counts.
    let (closed, bytes) = server.while_prompt(client.dribble("GET /hello HTTP/1.1\r\nX: ")).await;
    check_around(closed, SHORT);
    check_envelope(&bytes, 408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn idle_connection_is_closed_without_an_answer() {
    let server = start(Limits { idle_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        sleep(SHORT / 2).await; // Each request begins the wait anew.
        client.send(GET_HELLO).await;
        assert_eq!(client.answer().await.body, "hello");
    }
    let (closed, bytes) = server.while_prompt(client.closed()).await;
    check_around(closed, SHORT);
    assert_eq!(bytes, "");
}

#[tokio::test]
async fn empty_line_after_an_answer_begins_no_request() {
    let server = start(Limits { idle_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    client.send(GET_HELLO).await;
    assert_eq!(client.answer().await.body, "hello");
    let since = Instant::now();
    client.send("\r\n").await;
    assert_eq!(server.while_prompt(client.closed()).await.1, "");
    check_around(since.elapsed(), SHORT);
}

#[tokio::test]
async fn dribbled_body_is_answered_408() {
    let server = start(Limits { body_timeout: SHORT, ..LIMITS }).await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let client = server.connect().await;
    let (closed, bytes) = server.while_prompt(client.dribble(head)).await;
    check_around(closed, SHORT);
    check_envelope(&bytes, 408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn body_that_keeps_coming_is_not_cut() {
    let server = start(Limits { body_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    let half = "a".repeat(10_000);
    client.send(&format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{half}")).await;
    sleep(SHORT + PAUSE).await; // The time is the test: a body may take longer than its limit.
    client.send(&half).await;
    assert_eq!(client.answer().await.body.len(), 20_000);
}

#[tokio::test]
async fn body_that_came_and_then_stops_is_answered_408() {
    let server = start(Limits { body_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    let half = "a".repeat(10_000);
    let since = Instant::now();
    client.send(&format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{half}")).await;
    check_envelope(&client.closed().await.1, 408, "REQUEST_TIMEOUT");
    check_around(since.elapsed(), SHORT + Duration::from_secs(1));
}

#[tokio::test]
async fn dribbled_chunked_body_is_answered_408() {
    let server = start(Limits { body_timeout: SHORT, ..LIMITS }).await;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n";
    let client = server.connect().await;
    let (closed, bytes) = server.while_prompt(client.dribble(head)).await;
    check_around(closed, SHORT);
    check_envelope(&bytes, 408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn service_may_take_longer_than_any_limit() {
    let short = Duration::from_millis(100);
    let limits = Limits { header_timeout: short, body_timeout: short, idle_timeout: short, ..LIMITS };
    let server = start(Limits { write_timeout: short, ..limits }).await;
    let mut client = server.connect().await;
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(client.answer().await.body, "slow");
}

#[tokio::test]
async fn reader_that_stops_is_cut_and_holds_no_more_than_the_buffers() {
    let server = start(Limits { write_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let gone = async {
        until(|| server.flood.dropped.load(SeqCst)).await;
    };
    let begin = Instant::now();
    server.while_prompt(gone).await;
    check_around(begin.elapsed(), SHORT);
    // What the kernel took for both ends, and what hyper holds.
    let produced = server.flood.bytes.load(SeqCst);
    assert!(produced < 32 << 20, "{produced} bytes were produced for nobody");
}

#[tokio::test]
async fn slow_reader_exerts_backpressure_and_lives() {
    let server = start(Limits { write_timeout: SHORT, ..LIMITS }).await;
    let mut client = server.connect().await;
    client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
    let end = Instant::now() + SHORT * 3;
    while Instant::now() < end {
        sleep(SHORT / 6).await;
        let mut part = 0;
        while part < 4 << 20 {
            part += client.stream.read(&mut buffer).await.expect("more of the answer");
        }
        read += part as u64;
        let ahead = server.flood.bytes.load(SeqCst) - read.min(server.flood.bytes.load(SeqCst));
        assert!(ahead < 32 << 20, "{ahead} bytes ahead of the reader");
    }
    assert!(!server.flood.dropped.load(SeqCst));
}

// A request that the service never sees.

#[track_caller]
fn check_envelope(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(["1.1", "1.0"].iter().any(|version| head.starts_with(&format!("HTTP/{version} {status} "))), "{answer}");
    for expected in [
        "content-type: application/json",
        "x-request-id: req_1",
        "connection: close",
        &format!("content-length: {}", body.len()),
    ] {
        let found = head.lines().filter(|line| line.eq_ignore_ascii_case(expected)).count();
        assert_eq!(found, 1, "{expected:?} in {answer}");
    }
    assert_eq!(body, format!(r#"{{"status":"error","error":{{"code":"{code}"}}}}"#));
}

async fn check_refused(request: &str, status: u16, code: &str) {
    let server = start(LIMITS).await;
    check_envelope(&server.ask(request).await, status, code);
    // The same on a connection that has been answered before.
    let mut client = server.connect().await;
    client.send(GET_HELLO).await;
    assert_eq!(client.answer().await.body, "hello");
    client.send(request).await;
    check_envelope(&client.closed().await.1, status, code);
}

#[tokio::test]
async fn garbage_is_refused() {
    check_refused("garbage\r\n\r\n", 400, "BAD_REQUEST").await;
    check_refused("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", 400, "BAD_REQUEST").await;
    check_refused("GET /a b HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn bad_header_is_refused() {
    check_refused("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "BAD_REQUEST").await;
    check_refused("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, "BAD_REQUEST").await;
    check_refused("GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn unknown_version_is_refused() {
    check_refused("GET / HTTP/9.9\r\n\r\n", 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn http_2_is_refused() {
    check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn ambiguous_length_is_refused() {
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    let both = format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{GET_HELLO}");
    check_refused(&both, 400, "BAD_REQUEST").await;
    let both = format!("{head}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n{GET_HELLO}");
    check_refused(&both, 400, "BAD_REQUEST").await;
    check_refused(&format!("\r\n\r\n{both}"), 400, "BAD_REQUEST").await;
    let two = format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    check_refused(&two, 400, "BAD_REQUEST").await;
}

/// What two readers could understand in two ways is refused; `\n` stands for
/// the end of a line.
#[tokio::test]
async fn heads_and_bodies_that_are_not_plain_are_refused() {
    const REFUSED: &[(u16, &str)] = &[
        // RFC 9112, section 3.2: one host, and a host that can be one.
        (400, "GET /hello HTTP/1.1\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a\nHost: a\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a\nhost: b\n\n"),
        (400, "GET /hello HTTP/1.0\nHost: a\nHost: b\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a, b\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a b\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: user@a\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a/b\n\n"),
        (400, "GET http://a/hello HTTP/1.1\n\n"),
        (400, "POST /echo HTTP/1.1\nContent-Length: 3\n\nabc"),
        // Section 5: no folded lines, no space before a colon, no empty name.
        (400, "GET /hello HTTP/1.1\nHost: a\nA: b\n c\n\n"),
        (400, "GET /hello HTTP/1.1\nHost : a\n\n"),
        (400, "GET /hello HTTP/1.1\n Host: a\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a\n: b\n\n"),
        (400, "GET /hello HTTP/1.1\nHost: a\nA: b\0c\n\n"),
        (400, "GET /hello  HTTP/1.1\nHost: a\n\n"),
        (400, "GET /hello HTTP/1.1 \nHost: a\n\n"),
        // Section 6.1: chunked, once, in HTTP/1.1, without a length.
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\nabcd"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, chunked\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, gzip\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: identity\n\nabcd"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: \"chunked\"\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked;q=1\n\n0\n\n"),
        (501, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding:\n\n0\n\n"),
        (400, "POST /echo HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n"),
        (400, "POST /echo HTTP/1.0\nHost: a\nTransfer-Encoding: gzip\n\n0\n\n"),
        (400, "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\nContent-Length: 3\n\nabc"),
        // Section 6.2: one length, in digits.
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 3, 3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: +3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: -3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 0x3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 3 3\n\nabc"),
        (400, "POST /echo HTTP/1.1\nHost: a\nContent-Length:\n\nabc"),
        (413, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 18446744073709551615\n\nabc"),
        (413, "POST /echo HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999999\n\nabc"),
    ];
    for (status, request) in REFUSED {
        let code = match status {
            413 => "TOO_LARGE",
            501 => "NOT_IMPLEMENTED",
            _ => "BAD_REQUEST",
        };
        println!("{status} {request:?}");
        check_refused(&request.replace('\n', "\r\n"), *status, code).await;
    }
}

#[tokio::test]
async fn chunks_that_are_not_well_formed_end_their_request_and_their_connection() {
    for chunks in [
        "g\n",
        "-1\nabc\n0\n\n",
        "+3\nabc\n0\n\n",
        "0x3\nabc\n0\n\n",
        "fffffffffffffffff\nabc",
        "3\nabcd\n0\n\n",
        " \n",
        "\n",
    ] {
        let server = start(LIMITS).await;
        let head = "POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n";
        let answer = server.ask(&format!("{head}{chunks}{GET_HELLO}").replace('\n', "\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("hello"), "{chunks:?}: {answer}");
    }
}

#[tokio::test]
async fn plain_heads_are_taken_as_they_may_be_written() {
    for (request, expected) in [
        ("GET /hello HTTP/1.1\nHost:\n\n", "hello"),
        ("GET /hello HTTP/1.1\nhost: [2001:db8::1]:8080\n\n", "hello"),
        ("\nGET /hello HTTP/1.1\nHost: a\n\n", "hello"),
        ("POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: CHUNKED \n\n3;a=b\nabc\n0\n\n", "abc"),
        ("POST /echo HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n03\nabc\n0\nA: b\n\n", "abc"),
        // Of two hosts the target's counts.
        ("GET http://b:8080/host HTTP/1.1\nHost: a\n\n", "b:8080"),
        ("GET /host HTTP/1.1\nHost: a\n\n", "a"),
    ] {
        let server = start(LIMITS).await;
        let mut client = server.connect().await;
        client.send(&request.replace('\n', "\r\n")).await;
        assert_eq!(client.answer().await.body, expected, "{request:?}");
    }
}

#[tokio::test]
async fn ambiguous_length_is_refused_when_the_head_comes_in_pieces() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    let pieces = ["POST /echo HTTP/1.1\r\nConte", "nt-Length: 3\r\nTransfer-", "Encoding: chunked\r\n\r\n0\r\n\r\n"];
    for piece in pieces {
        client.send(piece).await;
        // The time is the test: without it, the pieces come as one.
        sleep(Duration::from_millis(20)).await;
    }
    check_envelope(&client.closed().await.1, 400, "BAD_REQUEST");
}

#[tokio::test]
async fn chunked_body_is_read() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "abc");
    client.send(GET_HELLO).await;
    assert_eq!(client.answer().await.body, "hello");
}

#[tokio::test]
async fn head_too_large_is_refused() {
    let long = "a".repeat(20_000);
    check_refused(&format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"), 431, "TOO_LARGE").await;
    check_refused(&format!("GET / HTTP/1.1\r\nA: {long}"), 431, "TOO_LARGE").await;
    check_refused(&format!("GET /{long} HTTP/1.1\r\n\r\n"), 414, "TOO_LARGE").await;
    check_refused(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)), 431, "TOO_LARGE").await;
    // Far more than is read: the refusal must survive it.
    let long = "a".repeat(1_000_000);
    check_refused(&format!("GET / HTTP/1.1\r\nA: {long}"), 431, "TOO_LARGE").await;
}

#[tokio::test]
async fn target_too_long_is_refused_whatever_the_limit() {
    let server = start(Limits { header_bytes_max: 100_000, ..LIMITS }).await;
    let long = "a".repeat(70_000);
    let answer = server.ask(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    check_envelope(&answer, 414, "TOO_LARGE");
}

#[tokio::test]
async fn early_answer_survives_an_unread_body() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    let body = "a".repeat(4 << 20);
    let request = format!("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.stream.write_all(request.as_bytes()).await.expect("the server reads on");
    let answer = client.answer().await;
    assert_eq!(answer.body, "ignored");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    assert_eq!(client.fill().await.expect("an end, not a reset"), 0);
}

#[tokio::test]
async fn unread_body_in_a_packet_of_its_own_keeps_the_connection() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    for line in ["POST /ignore", "GET /hello", "POST /nowhere", "DELETE /echo"] {
        client.send(&format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")).await;
        sleep(Duration::from_millis(50)).await;
        client.send("abc").await;
        let answer = client.answer().await;
        assert!(!answer.head.contains("connection: close"), "{line}: {}", answer.head);
    }
    client.send(GET_HELLO).await;
    assert_eq!(client.answer().await.body, "hello");
}

#[tokio::test]
async fn unread_body_that_may_not_come_is_answered_with_the_end_of_the_connection() {
    let server = start(Limits { body_timeout: SHORT, ..LIMITS }).await;
    for (headers, waits) in [
        ("Content-Length: 3", true),
        ("Content-Length: 3\r\nExpect: 100-continue", false),
        ("Content-Length: 5000", false),
        ("Transfer-Encoding: chunked", false),
    ] {
        let mut client = server.connect().await;
        let asked = Instant::now();
        client.send(&format!("POST /ignore HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.body, "ignored", "{headers}");
        assert!(answer.head.contains("connection: close"), "{headers}: {}", answer.head);
        assert!(asked.elapsed() >= SHORT || !waits, "{headers}");
        assert_eq!(client.fill().await.expect("an end, not a reset"), 0, "{headers}");
    }
}

#[tokio::test]
async fn refused_request_ends_at_once_whatever_of_its_body_has_come() {
    let server = start(LIMITS).await;
    for body in ["", "ab", "abc"] {
        let asked = Instant::now();
        let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 3\r\n\r\n{body}");
        check_envelope(&server.ask(&request).await, 400, "BAD_REQUEST");
        assert!(asked.elapsed() < LIMITS.body_timeout, "{body:?}: the connection waited for the body");
    }
}

// A service that fails.

#[tokio::test]
async fn panic_is_answered_500_and_hurts_nobody_else() {
    let server = start(LIMITS).await;
    let mut other = server.connect().await;
    other.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = server.ask("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    check_envelope(&answer, 500, "INTERNAL");
    assert_eq!(other.answer().await.body, "slow");
    server.check_prompt().await;
}

#[tokio::test]
async fn panic_in_a_body_cuts_the_connection_only() {
    let server = start(LIMITS).await;
    let mut client = server.connect().await;
    client.send("GET /panic-body HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (_, bytes) = client.closed().await;
    assert!(!bytes.contains("0\r\n\r\n"), "seems complete: {bytes}");
    server.check_prompt().await;
}

// Too many clients.

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let server = start(Limits { connections_max: 2, ..LIMITS }).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for client in [&mut first, &mut second] {
        client.send(GET_HELLO).await;
        client.answer().await;
    }
    let mut third = server.connect().await;
    third.send(GET_HELLO).await;
    assert!(timeout(PAUSE, third.answer()).await.is_err(), "answered beyond the cap");
    drop(first);
    let answer = timeout(PROMPT, third.answer()).await;
    assert_eq!(answer.expect("a place was free").body, "hello");
    second.send(GET_HELLO).await;
    assert_eq!(second.answer().await.body, "hello");
}

#[tokio::test]
async fn connections_beyond_the_cap_of_an_address_are_turned_away() {
    let server = start(Limits { connections_per_address_max: Some(1), ..LIMITS }).await;
    let mut first = server.connect().await;
    first.send(GET_HELLO).await;
    first.answer().await;
    let mut second = server.connect().await;
    check_envelope(&second.closed().await.1, 503, "UNAVAILABLE");
    drop(first);
    // Its place is free once the server has seen its end.
    let answered = async {
        loop {
            let mut next = server.connect().await;
            next.send(GET_HELLO).await;
            if next.answer().await.body == "hello" {
                return;
            }
        }
    };
    timeout(PROMPT * 3, answered).await.expect("a place was free");
}

/// Run in a process of its own, since descriptors are counted by process.
#[test]
fn full_descriptor_table_neither_spins_nor_lasts() {
    let this = std::env::current_exe().expect("the path of this test");
    let status = Command::new("sh")
        .args(["-c", r#"ulimit -n 64 && exec "$0" --ignored --exact in_few_descriptors"#])
        .arg(this)
        .status();
    assert!(status.expect("a shell").success());
}

#[tokio::test]
#[ignore = "run by full_descriptor_table_neither_spins_nor_lasts"]
async fn in_few_descriptors() {
    let server = start(LIMITS).await;
    let mut clients = Vec::new();
    // Opened now, since later there is no descriptor left.
    let mut stat = File::open("/proc/self/stat").expect("the statistics of this process");
    while let Ok(client) = TcpStream::connect(server.address).await {
        clients.push(client);
        // The server shares this process's descriptors, and takes its half of them meanwhile.
        sleep(Duration::from_millis(2)).await;
    }
    let before = cpu_ticks(&mut stat);
    sleep(Duration::from_secs(1)).await;
    let ticks = cpu_ticks(&mut stat) - before;
    assert!(ticks < 20, "{ticks} ticks of CPU in a second of being full");
    clients.clear();
    sleep(Duration::from_millis(1500)).await; // The longest pause is a second.
    server.check_prompt().await;
}

/// User and system time of this process, usually in hundredths of a second.
fn cpu_ticks(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().expect("the beginning of the file");
    stat.read_to_string(&mut text).expect("the statistics");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11].parse::<u64>().expect("user ticks") + fields[12].parse::<u64>().expect("system ticks")
}

// The end of the server.

#[tokio::test]
async fn shutdown_closes_idle_connections_at_once_and_finishes_the_rest() {
    let server = start(LIMITS).await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.send(GET_HELLO).await;
    idle.answer().await;
    let mut busy = server.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.begun().await;
    let (address, served) = server.stop();
    for client in [&mut silent, &mut idle] {
        let (closed, bytes) = client.closed().await;
        assert!(closed < PROMPT, "an idle connection took {closed:?} to close");
        assert_eq!(bytes, "");
    }
    assert!(TcpStream::connect(address).await.is_err(), "still accepting");
    let answer = busy.answer().await;
    assert_eq!(answer.body, "slow");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    drop(busy);
    let served = timeout(PROMPT, served).await.expect("nothing was left to do");
    assert_eq!(served.expect("no panic"), Served { cut: 0 });
}

#[tokio::test]
async fn shutdown_cuts_what_outlasts_the_grace() {
    let server = start(Limits { shutdown_grace: SHORT, ..LIMITS }).await;
    let mut stuck = server.connect().await;
    stuck.send("GET /forever HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.begun().await;
    let begin = Instant::now();
    let (_, served) = server.stop();
    assert_eq!(served.await.expect("no panic"), Served { cut: 1 });
    check_around(begin.elapsed(), SHORT);
    assert_eq!(stuck.closed().await.1, "");
}

// Within TLS.

/// An authority whose certificate a server shows.
fn certified() -> (Authority, Arc<Certificate>) {
    let authority = Authority::new();
    authority.issue("named first");
    let certificate = Certificate::load(&authority.cert(), &authority.key()).expect("usable");
    (authority, Arc::new(certificate))
}

/// A client's side of TLS: its versions, and the protocols that it offers.
async fn within(
    server: &Harness,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate")).expect("added");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let name = ServerName::from(server.address.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// One answer with a length.
async fn answer_within(stream: &mut TlsStream<TcpStream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if body.len() >= length {
                return Answer { head: head.to_owned(), body: body.to_owned() };
            }
        }
        assert_ne!(stream.read_buf(&mut read).await.expect("more of the answer"), 0, "closed after {text:?}");
    }
}

/// All that comes until the server closes, which it says first.
async fn rest_within(stream: &mut TlsStream<TcpStream>) -> String {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.expect("an end that was announced");
    String::from_utf8(read).expect("text")
}

#[tokio::test]
async fn tls_is_spoken_in_both_versions_and_noted() {
    let (authority, certificate) = certified();
    let server = start_with(LIMITS, Some(certificate)).await;
    for versions in [BOTH, &[&TLS13], &[&TLS12]] {
        let mut stream = within(&server, &authority, versions, &[b"h2", b"http/1.1"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..2 {
            assert_eq!(answer_within(&mut stream, "GET /tls HTTP/1.1\r\nHost: a\r\n\r\n").await.body, "tls");
        }
        let body = "a".repeat(300_000);
        let echo = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(answer_within(&mut stream, &echo).await.body, body);
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
        assert!(rest_within(&mut stream).await.ends_with("hello"));
    }
    within(&server, &authority, BOTH, &[]).await.expect("without ALPN");
    within(&server, &authority, BOTH, &[b"h2"]).await.expect_err("HTTP/2 is not spoken");
    within(&server, &Authority::new(), BOTH, &[]).await.expect_err("not trusted");
    let plain = start(LIMITS).await;
    assert!(plain.ask("GET /tls HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.ends_with("plain"));
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (authority, certificate) = certified();
    let server = start_with(LIMITS, Some(certificate.clone())).await;
    let shows = |stream: &TlsStream<TcpStream>, name: &str| {
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
        shown.windows(name.len()).any(|window| window == name.as_bytes())
    };
    let mut old = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    assert!(shows(&old, "named first"));
    authority.issue("named second");
    certificate.reload().expect("usable");
    let new = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    assert!(shows(&new, "named second"));
    authority::write(&authority.key(), "garbage");
    certificate.reload().expect_err("not usable");
    let newer = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    assert!(shows(&newer, "named second"), "the one before stays");
    assert_eq!(answer_within(&mut old, GET_HELLO).await.body, "hello", "it goes on");
}

#[tokio::test]
async fn http_in_the_clear_is_refused_on_a_tls_port() {
    let (authority, certificate) = certified();
    let server = start_with(LIMITS, Some(certificate)).await;
    for request in [GET_HELLO, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc"] {
        let mut client = server.connect().await;
        client.send(request).await;
        let (closed, text) = client.closed().await;
        assert!(closed < PROMPT, "{closed:?}");
        check_envelope(&text, 426, "BAD_REQUEST");
    }
    // What is nothing at all is closed, and so is a handshake that is none.
    for garbage in ["\u{1}\u{2}\u{3}", "hello", "\u{16}\u{3}\u{1}\u{0}\u{5}hello", "\u{16}aaaaaaaaaaaaaaaaaaaaaaaa"] {
        let mut client = server.connect().await;
        client.send(garbage).await;
        let (closed, text) = client.closed().await;
        assert!(closed < PROMPT, "{garbage:?}: {closed:?}");
        assert!(!text.contains("HTTP"), "{garbage:?}: {text}");
    }
    within(&server, &authority, BOTH, &[]).await.expect("others go on");
}

#[tokio::test]
async fn slow_handshake_is_cut_off() {
    let (authority, certificate) = certified();
    let server = start_with(Limits { header_timeout: SHORT, ..LIMITS }, Some(certificate)).await;
    // Nothing; the first byte and no more; and a byte now and then.
    let mut silent = server.connect().await;
    check_around(silent.closed().await.0, SHORT);
    let mut begun = server.connect().await;
    begun.send("\u{16}").await;
    check_around(begun.closed().await.0, SHORT);
    let client = server.connect().await;
    check_around(client.dribble("\u{16}\u{3}\u{1}\u{1}\u{0}").await.0, SHORT);
    // The handshake and the head have one limit together.
    let mut stream = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    let since = Instant::now();
    stream.write_all(b"GET /hello HTTP/1.1\r\nX: ").await.expect("sent");
    check_envelope(&rest_within(&mut stream).await, 408, "REQUEST_TIMEOUT");
    assert!(since.elapsed() < SHORT * 2 + PROMPT, "{:?}", since.elapsed());
}

#[tokio::test]
async fn handshakes_have_their_place_among_the_connections() {
    let (authority, certificate) = certified();
    let limits = Limits { header_timeout: SHORT, connections_max: 2, ..LIMITS };
    let server = start_with(limits, Some(certificate)).await;
    let since = Instant::now();
    // The server accepts connections in the order in which they came.
    let _silent = [server.connect().await, server.connect().await];
    let mut stream = within(&server, &authority, BOTH, &[]).await.expect("a handshake, once there is room");
    assert!(since.elapsed() > SHORT / 2, "{:?}", since.elapsed());
    assert_eq!(answer_within(&mut stream, GET_HELLO).await.body, "hello");
}

#[tokio::test]
async fn who_does_not_read_is_cut_within_tls_too() {
    let (authority, certificate) = certified();
    let server = start_with(Limits { write_timeout: SHORT, ..LIMITS }, Some(certificate)).await;
    let mut stream = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    stream.write_all(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let since = Instant::now();
    timeout(SHORT * 20, until(|| server.flood.dropped.load(SeqCst))).await.expect("it is cut");
    assert!(since.elapsed() > SHORT - Duration::from_millis(20), "{:?}", since.elapsed());
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.expect_err("an answer that was cut must not seem complete");
}

#[tokio::test]
async fn idle_tls_connection_is_told_of_the_end() {
    let (authority, certificate) = certified();
    let server = start_with(Limits { idle_timeout: SHORT, ..LIMITS }, Some(certificate)).await;
    let mut stream = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    assert_eq!(answer_within(&mut stream, GET_HELLO).await.body, "hello");
    let since = Instant::now();
    assert_eq!(rest_within(&mut stream).await, "");
    check_around(since.elapsed(), SHORT);
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_within_tls() {
    let (authority, certificate) = certified();
    let server = start_with(LIMITS, Some(certificate)).await;
    let mut silent = server.connect().await;
    let mut idle = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    answer_within(&mut idle, GET_HELLO).await;
    let mut busy = within(&server, &authority, BOTH, &[]).await.expect("a handshake");
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    server.begun().await;
    let (_, served) = server.stop();
    assert!(silent.closed().await.0 < PROMPT, "a handshake that never came is not waited for");
    assert_eq!(rest_within(&mut idle).await, "");
    assert!(rest_within(&mut busy).await.ends_with("slow"));
    drop((idle, busy));
    let served = timeout(PROMPT * 3, served).await.expect("nothing was left to do");
    assert_eq!(served.expect("no panic"), Served { cut: 0 });
}

// The harness.

struct Harness {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Served>,
    flood: Arc<Flood>,
}

async fn start(limits: Limits) -> Harness {
    start_with(limits, None).await
}

async fn start_with(limits: Limits, tls: Option<Arc<Certificate>>) -> Harness {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let flood = Arc::new(Flood::default());
    let (stop, stopped) = oneshot::channel();
    let router = router(Arc::clone(&flood));
    let served = tokio::spawn(async move {
        let server = Server { name: "test", limits, refusal, refused: None, tls, admitted: None };
        let stopped = async {
            if stopped.await.is_err() {
                pending().await
            }
        };
        server.serve(listener, router, stopped).await
    });
    Harness { address, stop, served, flood }
}

/// Returns once a condition holds; the caller limits the time.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        sleep(Duration::from_millis(5)).await;
    }
}

fn router(flood: Arc<Flood>) -> Router {
    let (slow_flood, endless_flood) = (Arc::clone(&flood), Arc::clone(&flood));
    let slow = move || async move {
        slow_flood.begun.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(800)).await;
        "slow"
    };
    let endless = move || async move {
        endless_flood.begun.fetch_add(1, SeqCst);
        pending::<()>().await
    };
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/peer", get(|Extension(Peer(peer)): Extension<Peer>| async move { peer.to_string() }))
        .route(
            "/tls",
            get(|tls: Option<Extension<OverTls>>| async move { if tls.is_some() { "tls" } else { "plain" } }),
        )
        .route("/host", get(|headers: HeaderMap| async move { headers[header::HOST].as_bytes().to_vec() }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/ignore", post(|| async { "ignored" }))
        .route("/slow", get(slow.clone()).post(move |_: Bytes| slow()))
        .route("/forever", get(endless))
        .route("/flood", get(|| async { Body::new(FloodBody(flood)) }))
        .route("/drip", get(|| async { Body::new(Drip { left: 3, tired: false }) }))
        .route("/panic", get(|| async { panic!("as asked") as &str }))
        .route("/panic-body", get(|| async { Body::new(Panic { begun: false }) }))
}

fn refusal(status: StatusCode) -> Response<Bytes> {
    let code = match status.as_u16() {
        400 | 426 => "BAD_REQUEST",
        408 => "REQUEST_TIMEOUT",
        413 | 414 | 431 => "TOO_LARGE",
        501 => "NOT_IMPLEMENTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        _ => panic!("no refusal has the status {status}"),
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-request-id", "req_1")
        .body(format!(r#"{{"status":"error","error":{{"code":"{code}"}}}}"#).into())
        .expect("a valid answer")
}

impl Harness {
    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        Client { stream, read: Vec::new(), since: Instant::now() }
    }

    /// All that comes back until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.closed().await.1
    }

    /// Until a slow handler has begun with a request.
    async fn begun(&self) {
        let begun = until(|| self.flood.begun.load(SeqCst) > 0);
        timeout(PROMPT * 3, begun).await.expect("a handler begins");
    }

    async fn check_prompt(&self) {
        let answered = async {
            let mut client = self.connect().await;
            client.send(GET_HELLO).await;
            assert_eq!(client.answer().await.body, "hello");
        };
        timeout(PROMPT, answered).await.expect("a prompt answer");
    }

    /// Waits for `work` while others ask and must be answered.
    async fn while_prompt<T>(&self, work: impl Future<Output = T>) -> T {
        let others = async {
            loop {
                self.check_prompt().await;
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = timeout(Duration::from_secs(10), work) => done.expect("an end of the wait"),
            () = others => unreachable!("they ask for ever"),
        }
    }

    fn stop(self) -> (SocketAddr, JoinHandle<Served>) {
        self.stop.send(()).expect("a running server");
        (self.address, self.served)
    }
}

#[track_caller]
fn check_around(elapsed: Duration, limit: Duration) {
    let early = limit - Duration::from_millis(20);
    assert!(elapsed > early && elapsed < limit * 2 + PROMPT, "{elapsed:?} for a limit of {limit:?}");
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    /// When it connected or last sent or got anything.
    since: Instant,
}

struct Answer {
    head: String,
    body: String,
}

impl Client {
    async fn send(&mut self, text: &str) {
        // A server that has refused may close before it has read everything.
        let _ = self.stream.write_all(text.as_bytes()).await;
        self.since = Instant::now();
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let wait = Duration::from_secs(10);
        timeout(wait, self.stream.read_buf(&mut self.read)).await.expect("something within 10 s")
    }

    /// One answer with a length.
    async fn answer(&mut self) -> Answer {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.expect("a length").parse().expect("a number");
                if rest.len() >= length {
                    self.read.drain(..head.len() + 4 + length);
                    self.since = Instant::now();
                    return Answer { head: head.to_owned(), body: rest[..length].to_owned() };
                }
            }
            assert_ne!(self.fill().await.expect("more of the answer"), 0, "closed after {text:?}");
        }
    }

    /// These bytes and nothing else.
    async fn expect(&mut self, text: &str) {
        while self.read.len() < text.len() {
            assert_ne!(self.fill().await.expect("more"), 0, "closed");
        }
        assert_eq!(String::from_utf8_lossy(&self.read), text);
        self.read.clear();
    }

    /// Any bytes that end like this.
    async fn expect_end_of(&mut self, text: &str) {
        while !self.read.ends_with(text.as_bytes()) {
            assert_ne!(self.fill().await.expect("more"), 0, "closed");
        }
        self.read.clear();
    }

    /// Waits for the server to close: how long it took, and what it said.
    async fn closed(&mut self) -> (Duration, String) {
        while let Ok(1..) = self.fill().await {}
        (self.since.elapsed(), String::from_utf8_lossy(&self.read).into_owned())
    }

    /// Sends this and then a byte at a time: when the server closed, and what it said.
    async fn dribble(mut self, text: &str) -> (Duration, String) {
        self.send(text).await;
        let since = self.since;
        loop {
            match timeout(Duration::from_millis(50), self.fill()).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return (since.elapsed(), String::from_utf8_lossy(&self.read).into_owned()),
                Err(_) => self.send("a").await,
            }
        }
    }
}

#[derive(Default)]
struct Flood {
    bytes: AtomicU64,
    dropped: AtomicBool,
    /// Requests that a slow handler has begun with.
    begun: AtomicU64,
}

/// A body without an end.
struct FloodBody(Arc<Flood>);

impl http_body::Body for FloodBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        static CHUNK: [u8; 16 * 1024] = [b'a'; 16 * 1024];
        self.0.bytes.fetch_add(CHUNK.len() as u64, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

impl Drop for FloodBody {
    fn drop(&mut self) {
        self.0.dropped.store(true, SeqCst);
    }
}

/// A body whose parts leave in separate writes.
struct Drip {
    left: usize,
    tired: bool,
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.tired = !self.tired;
        if self.tired {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"drop")))))
    }
}

/// A body that panics after its first part.
struct Panic {
    begun: bool,
}

impl http_body::Body for Panic {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        assert!(!self.begun, "as asked");
        self.begun = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part")))))
    }
}
