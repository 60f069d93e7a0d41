//! TLS from outside: the real program with its certificate, asked by clients
//! that trust its authority.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use parking_lot::Mutex;
use rollcall::config::Config;
use rollcall::http::server::{OverTls, Peer};
use rollcall::http::{App, Secure};
use rollcall::service::Replica;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use super::authority::{Authority, write};
use super::fixture;
use super::harness::{Database, ONE, Server};
use crate::until::until;

/// `rollcall serve` with TLS, ended on drop.
struct Served {
    address: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Served {
    fn start(database: &Database, authority: &Authority) -> Served {
        let (cert, key) = (authority.cert(), authority.key());
        let mut command = database.command(&["serve", "--listen", "127.0.0.1:0", "--tls-cert"]);
        command.arg(cert).arg("--tls-key").arg(key);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("text") > 0, "ended: {}", log.lock());
            log.lock().push_str(&line);
            if let Some((_, rest)) = line.split_once("listening on https://") {
                break rest.split_whitespace().next().and_then(|text| text.parse().ok()).expect("an address");
            }
        };
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                kept.lock().push_str(&line);
                line.clear();
            }
        });
        Served { address, child, log }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn hang_up(&self, expected: &str) {
        let said = self.log.lock().matches(expected).count();
        let sent = std::process::Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        until(
            Duration::from_secs(10),
            || format!("{}", self.log.lock()),
            || self.log.lock().matches(expected).count() != said,
        );
    }

    /// A connection, by a client that trusts this authority.
    fn connect(&self, authority: &Authority) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate")).expect("added");
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(self.address.ip());
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(self.address).expect("accepted");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        StreamOwned::new(client, stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One question on a connection that stays open; the status line, and the name
/// in the certificate that it began with.
fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> (String, String) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|text| text.parse().ok());
    stream.read_exact(&mut vec![0; length.expect("a length")]).expect("the body");
    let shown = stream.conn.peer_certificates().expect("a certificate")[0].to_vec();
    let shown = String::from_utf8_lossy(&shown);
    let name = ["first", "second", "third"].iter().find(|name| shown.contains(&format!("named {name}")));
    (head.lines().next().unwrap_or_default().to_owned(), name.expect("a name").to_string())
}

const FINE: &str = "HTTP/1.1 200 OK";

#[test]
fn clients_that_trust_the_authority_are_answered() {
    let authority = Authority::new();
    authority.issue("named first");
    let database = Database::sample();
    let server = Served::start(&database, &authority);
    let agent = |pem: &str| {
        let root = ureq::tls::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
        let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
        ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build())
    };
    let url = format!("{}{}", server.url(), super::harness::GLOBAL);
    let asked = |agent: &ureq::Agent| {
        let request = agent.get(&url).header("X-Auth-ID", &ONE.auth_id).header("X-Auth-Token", &ONE.auth_token);
        request.call().map(|mut answer| {
            let told = answer.headers().get("strict-transport-security").and_then(|value| value.to_str().ok());
            assert_eq!(told, Some("max-age=31536000"));
            answer.body_mut().read_to_string().expect("a body")
        })
    };
    let body = asked(&agent(&authority.pem())).expect("answered");
    assert!(body.contains("\"total\":12"), "{body}");
    let mut clear = TcpStream::connect(server.address).expect("accepted");
    clear.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut answer = String::new();
    clear.read_to_string(&mut answer).expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("ask it by https"), "{answer}");
    let stranger = Authority::new();
    let error = asked(&agent(&stranger.pem())).expect_err("not trusted").to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn sighup_serves_the_new_certificate_and_old_connections_go_on() {
    let authority = Authority::new();
    authority.issue("named first");
    let database = Database::sample();
    let server = Served::start(&database, &authority);
    let mut old = server.connect(&authority);
    assert_eq!(ask(&mut old), (FINE.to_owned(), "first".to_owned()));

    authority.issue("named second");
    assert_eq!(ask(&mut server.connect(&authority)).1, "first", "not before it is asked to");
    server.hang_up("read the certificate again");
    assert_eq!(ask(&mut server.connect(&authority)), (FINE.to_owned(), "second".to_owned()));
    assert_eq!(ask(&mut old), (FINE.to_owned(), "first".to_owned()), "it goes on");

    // What cannot be used is said, and changes nothing.
    let (cert, key) = (authority.cert(), authority.key());
    let other = Authority::new();
    other.issue("named third");
    let good = [std::fs::read_to_string(&cert).expect("text"), std::fs::read_to_string(&key).expect("text")];
    let others_key = std::fs::read_to_string(other.key()).expect("text");
    for (cert_text, key_text) in
        [("", &*good[1]), ("garbage", &good[1]), (&good[0], "garbage"), (&good[0], &others_key)]
    {
        write(&cert, cert_text);
        write(&key, key_text);
        server.hang_up("the one before stays");
        assert_eq!(ask(&mut server.connect(&authority)).1, "second");
    }
    std::fs::remove_file(&cert).expect("removed");
    server.hang_up("the one before stays");
    authority.issue("named third");
    server.hang_up("read the certificate again");
    assert_eq!(ask(&mut server.connect(&authority)).1, "third");
    assert_eq!(ask(&mut old).1, "first");
}

#[test]
fn a_server_does_not_start_without_what_it_was_told_to_show() {
    let authority = Authority::new();
    authority.issue("named first");
    let other = Authority::new();
    other.issue("named second");
    let database = Database::sample();
    let (cert, key) = (authority.cert(), authority.key());
    let (cert, key) = (cert.to_str().expect("a path"), key.to_str().expect("a path"));
    let others = other.key();
    let missing = database.file("none.pem");
    let refused = |cert: &str, key: &str, expected: &str| {
        let ran = database.run(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key]).check(78);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    };
    refused(cert, others.to_str().expect("a path"), "cannot be used");
    refused(missing.to_str().expect("a path"), key, "cannot read the certificate");
    refused(cert, missing.to_str().expect("a path"), "cannot read the key");
    refused(key, key, "no certificate");
    database.run(&["serve", "--tls-cert", cert]).check(2);
    let half = database.write("half.toml", &format!("[http]\ntls_key = {key:?}\n"));
    let ran = database.run(&["serve", "--config", half.to_str().expect("a path")]).check(78);
    assert!(ran.stderr.contains("both a certificate"), "{}", ran.stderr);
}

#[test]
fn sighup_does_not_end_a_server_without_tls() {
    let server = Server::sample();
    server.signal("HUP");
    server.within(Duration::from_secs(10), |server| server.log().contains("SIGHUP: read the settings again"));
    server.get("/livez").check(200);
}

#[test]
fn http_in_the_clear_for_everybody_is_warned_of() {
    let warned = |settings: &str, address: &str| {
        let database = Database::sample();
        let settings = database.write("settings.toml", settings);
        let mut command = database.command(&["serve", "--listen", address, "--config"]);
        command.arg(settings);
        let server = Server::start_as(database, command);
        server.get("/livez").check(200);
        server.log().contains("travel in the clear")
    };
    assert!(warned("", "0.0.0.0:0"));
    assert!(!warned("", "127.0.0.1:0"));
    assert!(!warned("[http]\ntrusted_proxies = [\"192.0.2.0/24\"]\n", "0.0.0.0:0"));
}

#[test]
fn how_private_a_request_came() {
    let database = fixture::Database::new();
    let replica = Arc::new(Replica::load(database.open()).expect("loads"));
    let mut config = Config::default();
    config.http.trusted_proxies =
        vec!["192.0.2.0/24".parse().expect("a network"), "127.0.0.9/32".parse().expect("one")];
    let app = App::new(replica, &config);
    let check = |peer: &str, tls: bool, headers: &[(&str, &str)], expected: Secure| {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("a request");
        let peer: IpAddr = peer.parse().expect("an address");
        request.extensions_mut().insert(Peer(SocketAddr::from((peer, 1))));
        if tls {
            request.extensions_mut().insert(OverTls);
        }
        assert_eq!(app.secure(&request), expected, "{peer} {tls} {headers:?}");
    };
    let (proto, four) = ("X-Forwarded-Proto", "X-Forwarded-For");
    check("203.0.113.1", true, &[], Secure::Tls);
    check("203.0.113.1", false, &[], Secure::Plain);
    check("203.0.113.1", false, &[(proto, "https")], Secure::Plain);
    check("192.0.2.1", false, &[(proto, "https"), (four, "203.0.113.1")], Secure::TrustedProxy);
    check("192.0.2.1", false, &[(proto, "HTTPS")], Secure::TrustedProxy);
    check("::ffff:192.0.2.1", false, &[(proto, "https")], Secure::TrustedProxy);
    check("192.0.2.1", false, &[(proto, "http")], Secure::Plain);
    check("192.0.2.1", false, &[], Secure::Plain);
    // What a client says before the proxy adds its own word.
    check("192.0.2.1", false, &[(proto, "https, http")], Secure::Plain);
    check("192.0.2.1", false, &[(proto, "https"), (proto, "http")], Secure::Plain);
    check("127.0.0.1", false, &[], Secure::Loopback);
    check("::1", false, &[], Secure::Loopback);
    // A proxy on this machine that nobody named.
    check("127.0.0.1", false, &[(four, "203.0.113.1")], Secure::Plain);
    check("127.0.0.1", false, &[(proto, "https")], Secure::Plain);
    check("127.0.0.1", false, &[("Forwarded", "for=203.0.113.1")], Secure::Plain);
    check("127.0.0.9", false, &[(proto, "https"), (four, "203.0.113.1")], Secure::TrustedProxy);
    check("127.0.0.9", false, &[(proto, "http"), (four, "203.0.113.1")], Secure::Plain);
    check("127.0.0.9", false, &[], Secure::Loopback);
}
