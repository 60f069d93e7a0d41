//! Webhooks against real https receivers: what arrives, in which order, signed
//! by whom; and what happens when a receiver hangs, sends us elsewhere, never
//! stops talking, or fails for days.
//!
//! A receiver is a thread with a certificate of an authority that is made here.
//! Days pass by a clock that the test moves; the attempts are real ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rollcall::domain::action::{Action, Assignment};
use rollcall::domain::number::Tags;
use rollcall::domain::setting::DeliveryOrder;
use rollcall::domain::{AccountId, Actor, E164, Money, PartnerKey, Time};
use rollcall::service::background::lease::Leases;
use rollcall::service::background::webhooks::RETRIES;
use rollcall::service::background::webhooks::deliver::{GIVE_UP_SECONDS, NextTurn, Worked};
use rollcall::service::background::webhooks::runner::WebhookRunner;
use rollcall::service::background::webhooks::{
    DeliveryState, HELD_MAX, Hooks, NewWebhook, REFUSED_MAX, ShownWebhook, WebhookChanges, WebhookSettings,
};
use rollcall::service::verbs::numbers::{Expected, Stock};
use rollcall::service::{Replica, Service, ServiceError, VerbOutcome, WriteOutcome};
use rollcall::store::{self, Location, Open};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Answer, Database, Key, ONE, Request, Server, TWO, keys};
use crate::until::found;

const WEBHOOKS: &str = "/api/v1/manage/webhooks";
/// An available number of `ONE`.
const FREE: &str = "+442079460105";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

// Receivers.

/// An authority, and a certificate of it for this machine.
pub struct Authority {
    pub pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&own).expect("a certificate").pem();
    let issuer = Issuer::new(params, own);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    Authority { pem, certificate: leaf.der().clone(), key: key.serialize_der() }
});

/// What a receiver does with a request once it has read it.
#[derive(Clone, PartialEq, Debug)]
pub enum Manner {
    Status(u16),
    /// Keeps the connection and says nothing.
    Hang,
    /// Does not even shake hands.
    Mute,
    /// Shakes hands byte by byte, without an end.
    Tremble,
    Redirect(String),
    /// An answer without an end.
    Endless,
    /// A head that comes byte by byte.
    Dribble,
    /// Closes without an answer.
    Close,
    Say(String),
    /// 500 to events with one of these texts in them, 200 to all others.
    Refuse(Vec<String>),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Got {
    id: String,
    timestamp: i64,
    signatures: Vec<String>,
    headers: String,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The numbers of the change that it tells.
    fn numbers(&self) -> Vec<String> {
        let body = self.json();
        let all = body["data"]["numbers"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|one| Some(one["number"].as_str()?.to_owned())).collect()
    }

    fn version(&self) -> u64 {
        self.json()["version"].as_u64().expect("a version")
    }

    /// What this secret signs, as Standard Webhooks says.
    fn signed_by(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        mac.update(&self.body);
        let signature = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        self.signatures.contains(&signature)
    }
}

pub struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    manner: Arc<Mutex<Manner>>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    pub fn new(manner: Manner) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (got, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let receiver = Receiver { address, got, manner: Arc::new(Mutex::new(manner)), stop };
        let key = PrivateKeyDer::try_from(AUTHORITY.key.clone()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![AUTHORITY.certificate.clone()], key).expect("usable"));
        let (got, manner, stop) = (receiver.got.clone(), receiver.manner.clone(), receiver.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (config, got, manner, stop) = (config.clone(), got.clone(), manner.clone(), stop.clone());
                // What the other side does to the connection is not ours to judge.
                std::thread::spawn(move || drop(receive(stream, config, &got, &manner, &stop)));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("https://{}/hook?secret=no", self.address)
    }

    pub fn set(&self, manner: Manner) {
        *self.manner.lock().expect("a manner") = manner;
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("requests").clone()
    }

    /// The versions of the changes that it was told of.
    pub fn versions(&self) -> Vec<u64> {
        self.got().iter().map(Got::version).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.got().iter().map(|got| got.json()["type"].as_str().expect("a type").to_owned()).collect()
    }

    /// Waits until so many requests arrived.
    #[track_caller]
    fn wait(&self, count: usize) -> Vec<Got> {
        wait("requests", || (self.got().len() >= count).then(|| self.got()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

#[track_caller]
fn wait<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    found(PATIENCE, || format!("{what} did not come"), look)
}

fn receive(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    got: &Mutex<Vec<Got>>,
    manner: &Mutex<Manner>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let hang = || {
        while !stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    if *manner.lock().expect("a manner") == Manner::Mute {
        hang();
        return Ok(());
    }
    if *manner.lock().expect("a manner") == Manner::Tremble {
        let mut stream = stream;
        stream.write_all(&[22, 3, 3, 64, 0])?;
        while !stop.load(Ordering::SeqCst) {
            stream.write_all(&[2])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        return Ok(());
    }
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut raw = Vec::new();
    let end = loop {
        if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut part = [0; 4_096];
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => raw.extend_from_slice(&part[..read]),
        }
    };
    let headers = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
    let original = String::from_utf8_lossy(&raw[..end]).into_owned();
    let header = |name: &str| {
        let line = original.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
    };
    let length: usize = header("content-length").parse().unwrap_or_default();
    let mut body = raw[end + 4..].to_vec();
    while body.len() < length {
        let mut part = [0; 4_096];
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => body.extend_from_slice(&part[..read]),
        }
    }
    got.lock().expect("requests").push(Got {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap_or_default(),
        signatures: header("webhook-signature").split(' ').map(str::to_owned).collect(),
        headers,
        body,
    });
    let manner = match manner.lock().expect("a manner").clone() {
        Manner::Refuse(texts) => {
            let body = got.lock().expect("requests").last().map(|got| got.body.clone()).unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            Manner::Status(if texts.iter().any(|text| body.contains(&**text)) { 500 } else { 200 })
        }
        manner => manner,
    };
    match manner {
        Manner::Refuse(_) => {}
        Manner::Status(204) => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
        Manner::Status(status) => {
            stream.write_all(format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok").as_bytes())?;
        }
        Manner::Say(text) => {
            let length = text.len();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes())?;
        }
        Manner::Hang | Manner::Mute | Manner::Tremble => hang(),
        Manner::Redirect(to) => {
            stream
                .write_all(format!("HTTP/1.1 307 There\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")?;
            while !stop.load(Ordering::SeqCst) {
                stream.write_all(&[b'x'; 16_384])?;
            }
        }
        Manner::Dribble => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for at in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                stream.write_all(format!("X-{at}: 1\r\n").as_bytes())?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Manner::Close => return Ok(()),
    }
    stream.conn.send_close_notify();
    stream.flush()
}

// The real server.

/// A server whose webhooks may be on this machine.
struct Managed {
    server: Server,
    key: Key,
    config: String,
}

impl Managed {
    fn sample(settings: &str) -> Managed {
        Managed::allowing("[\"127.0.0.0/8\", \"::1/128\"]", settings)
    }

    fn allowing(networks: &str, settings: &str) -> Managed {
        let database = Database::sample();
        let key = database.key("PA_ONE", &["--scope", "manage"]);
        let authority = database.write("authority.pem", &AUTHORITY.pem);
        let config = database.write(
            "webhooks.toml",
            &format!("[webhooks]\nallow_networks = {networks}\nca_file = {authority:?}\n{settings}"),
        );
        let config = config.to_str().expect("a path").to_owned();
        Managed { server: Server::start(database, &["--config", &config]), key, config }
    }

    fn request(&self, method: &str, path: &str) -> Request<'_> {
        self.server.request(method, path).auth(&self.key)
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.request("POST", path).json(&body).send()
    }

    fn patch(&self, id: &str, body: Value) -> Value {
        self.request("PATCH", &format!("{WEBHOOKS}/{id}")).json(&body).check(200).json()["data"].clone()
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send()
    }

    /// A webhook's id and secret.
    #[track_caller]
    fn hook(&self, url: &str, events: &[&str]) -> (String, String) {
        let made = self.post(WEBHOOKS, json!({ "name": "Hook", "url": url, "events": events })).check(201).json();
        let text = |name: &str| made["data"][name].as_str().expect("a text").to_owned();
        (text("id"), text("secret"))
    }

    fn webhook(&self, id: &str) -> Value {
        self.get(&format!("{WEBHOOKS}/{id}")).check(200).json()["data"].clone()
    }

    fn deliveries(&self, id: &str) -> Vec<Value> {
        let list = self.get(&format!("{WEBHOOKS}/{id}/deliveries?per_page=100")).check(200).json();
        list["data"].as_array().expect("a list").clone()
    }

    /// Changes a number twice so many times.
    fn change(&self, times: usize) {
        self.change_of(FREE, times);
    }

    fn change_of(&self, number: &str, times: usize) {
        for at in 0..times {
            let tags = json!({ "add": [format!("t{at}")] });
            self.post(&format!("/api/v1/manage/numbers/{number}/tags"), tags).check(200);
            let tags = json!({ "remove": [format!("t{at}")] });
            self.post(&format!("/api/v1/manage/numbers/{number}/tags"), tags).check(200);
        }
    }

    fn command(&self, args: &[&str]) -> crate::harness::Ran {
        let all = [&["webhook"], args, &["--partner", "PA_ONE", "--config", &self.config]].concat();
        self.server.database.run(&all)
    }
}

#[track_caller]
fn check_order(versions: &[u64]) {
    assert!(versions.windows(2).all(|two| two[0] <= two[1]), "in order: {versions:?}");
}

#[test]
fn events_arrive_in_order_and_signed_under_both_secrets_during_a_rotation() {
    let managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Status(200));
    // By name, so that the look-up and the certificate's name are in it.
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let (id, secret) = managed.hook(&url, &[]);
    assert!(secret.starts_with("whsec_"), "{secret}");
    managed.change(3);
    let got = receiver.wait(6);
    for event in &got {
        assert!(event.signed_by(&secret));
        assert_eq!(event.signatures.len(), 1);
        assert!(event.headers.starts_with("post /hook http/1.1"), "{}", event.headers);
        assert!(event.headers.contains(&format!("host: localhost:{}", receiver.address.port())));
        assert!(event.headers.contains("content-type: application/json"));
        assert!((event.timestamp - Time::now().seconds()).abs() < 300, "{event:?}");
        let body = event.json();
        assert_eq!(keys(&body), ["id", "type", "at", "partner_auth_id", "version", "data"]);
        assert_eq!((&body["id"], &body["type"]), (&json!(event.id), &json!("tag")));
        assert_eq!(body["partner_auth_id"], "PA_ONE");
        // The data are those of the changes, byte for byte.
        let version = event.version();
        let changes = managed.get(&format!("/api/v1/partner/changes?after={}&per_page=1", version - 1)).check(200);
        assert_eq!(changes.json()["data"][0].to_string(), body["data"].to_string());
    }
    let first = got[0].version();
    assert_eq!(receiver.versions(), (first..first + 6).collect::<Vec<_>>());
    let mut ids: Vec<String> = got.iter().map(|got| got.id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each event has its own id");

    let rotated = managed.post(&format!("{WEBHOOKS}/{id}/rotate"), json!({})).check(200).json()["data"].clone();
    let second = rotated["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(second, secret);
    managed.change(1);
    for event in &receiver.wait(9)[6..] {
        // The rotation is a change like any other.
        assert!(event.signed_by(&secret) && event.signed_by(&second), "{event:?}");
        assert_eq!(event.signatures.len(), 2);
    }
    assert_eq!(receiver.kinds()[6..], ["webhook_edit", "tag", "tag"]);
    let third = managed.post(&format!("{WEBHOOKS}/{id}/rotate"), json!({})).check(200).json()["data"].clone();
    let third = third["secret"].as_str().expect("a secret").to_owned();
    let last = receiver.wait(10)[9].clone();
    assert!(last.signed_by(&second) && last.signed_by(&third) && !last.signed_by(&secret));
    check_order(&receiver.versions());

    // No secret is anywhere but in the answers that made it.
    let shown = [
        managed.get(WEBHOOKS).check(200).text().to_owned(),
        managed.webhook(&id).to_string(),
        format!("{:?}", managed.deliveries(&id)),
        managed.get("/api/v1/partner/changes?per_page=100").check(200).text().to_owned(),
        managed.command(&["show", &id, "--json"]).done().stdout,
        managed.command(&["list"]).done().stdout,
        managed.server.log(),
    ];
    for (at, text) in shown.iter().enumerate() {
        for secret in [&secret, &second, &third] {
            assert!(!text.contains(&secret[6..]), "a secret is shown, in place {at}");
        }
        assert!(!text.contains("whsec_"), "a secret is shown, in place {at}");
    }
    // What is counted is counted after it happened.
    let health = wait("the end", || {
        let health = managed.webhook(&id)["health"].clone();
        (health["pending"] == 0).then_some(health)
    });
    assert_eq!(health["failing_since"], Value::Null);
    wait("the metrics", || {
        let metrics = managed.server.get("/metrics").check(200);
        let counted = "rollcall_webhook_deliveries_total{outcome=\"delivered\"} 10\n";
        (metrics.text().contains(counted) && metrics.text().contains("rollcall_webhook_pending 0\n")).then_some(())
    });
    let said = managed.server.database.run(&["changes", "--partner", "PA_ONE"]).done().stdout;
    assert!(said.contains(&format!("webhook {id} got a new secret")), "{said}");
}

#[test]
fn receivers_that_hang_delay_nobody_else() {
    let managed = Managed::sample("timeout_ms = 4000\n");
    let hanging: Vec<Receiver> =
        [Manner::Hang, Manner::Mute, Manner::Dribble, Manner::Tremble].map(Receiver::new).into_iter().collect();
    let ids: Vec<String> = hanging.iter().map(|receiver| managed.hook(&receiver.url(), &["tag"]).0).collect();
    let good = Receiver::new(Manner::Status(204));
    managed.hook(&good.url(), &["tag"]);
    let started = Instant::now();
    managed.change(3);
    good.wait(6);
    // Not one of those that hang has come to its first end yet, on any machine
    // that is not much too slow; what matters is what they say afterwards.
    let took = started.elapsed();
    if took < Duration::from_secs(4) {
        for id in &ids {
            assert_eq!(managed.webhook(id)["health"]["last_failure_at"], Value::Null, "{took:?}");
        }
    }
    for id in &ids {
        let failed = wait("a failure", || {
            let webhook = managed.webhook(id);
            (!webhook["health"]["failing_since"].is_null()).then_some(webhook)
        });
        assert_eq!(failed["health"]["last_error"], "no answer in time", "{failed}");
        assert_eq!(failed["health"]["pending"], 6);
        let deliveries = managed.deliveries(id);
        assert_eq!(deliveries.len(), 1, "what waits stays in the log: {deliveries:?}");
        let took = deliveries[0]["attempts"][0]["took_ms"].as_u64().expect("a time");
        assert!((3_900..20_000).contains(&took), "{took} ms");
    }
    // The server stops in time although they hang; the harness looks.
}

#[test]
fn tests_are_few_at_a_time_and_end_with_the_server() {
    let mut managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Hang);
    let (id, _) = managed.hook(&receiver.url(), &["tag"]);
    let path = format!("{WEBHOOKS}/{id}/test");
    std::thread::scope(|scope| {
        let managed = &managed;
        let test = || managed.post(&path, json!({})).status;
        let going = [scope.spawn(test), scope.spawn(test)];
        receiver.wait(2);
        let refused = managed.post(&path, json!({})).check(429);
        assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("RATE_LIMIT_EXCEEDED", Some("15")));
        // Others have places of their own, and the rest goes on.
        managed.get(WEBHOOKS).check(200);
        managed.server.signal("TERM");
        for test in going {
            assert_eq!(test.join().expect("answered"), 503);
        }
    });
    assert_eq!(managed.server.wait(), Some(0), "it ends in time");
}

#[test]
fn redirects_and_endless_bodies_lead_nowhere() {
    let managed = Managed::sample("");
    let inside = Receiver::new(Manner::Status(200));
    let (to_inside, to_plain) = (inside.url(), "http://127.0.0.1:1/".to_owned());
    for to in [to_inside, to_plain, "https://169.254.169.254/latest/meta-data".to_owned()] {
        let receiver = Receiver::new(Manner::Redirect(to));
        let (id, _) = managed.hook(&receiver.url(), &["tag"]);
        let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
        assert_eq!(tested["state"], "failed");
        assert_eq!(tested["attempts"][0]["status"], 307);
        assert_eq!(tested["attempts"][0]["error"], "it answered 307; redirects are not followed");
        assert_eq!(receiver.got().len(), 1);
    }
    assert_eq!(inside.got().len(), 0, "nobody was sent there");

    let endless = Receiver::new(Manner::Endless);
    let (id, _) = managed.hook(&endless.url(), &["tag"]);
    let started = Instant::now();
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    assert_eq!((&tested["state"], &tested["attempts"][0]["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(tested["attempts"][0]["answer"], "x".repeat(500));

    let rude = Receiver::new(Manner::Say("fine\r\n\u{1b}[31m<script>\u{202e}evil\u{0}".to_owned()));
    let (id, _) = managed.hook(&rude.url(), &["tag"]);
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!(tested["attempts"][0]["answer"], "fine   [31m<script>evil");

    let closing = Receiver::new(Manner::Close);
    let (id, _) = managed.hook(&closing.url(), &["tag"]);
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!(tested["state"], "failed");
    assert_eq!(tested["attempts"][0]["status"], Value::Null);
}

#[test]
fn private_addresses_are_refused() {
    let managed = Managed::allowing("[]", "");
    for (url, part) in [
        ("http://example.com/hook", "https"),
        ("https://user:password@example.com/", "user"),
        ("https://example.com/#x", "fragment"),
        ("https://127.0.0.1/", "private"),
        ("https://10.0.0.1/", "private"),
        ("https://192.168.1.1:8443/", "private"),
        ("https://169.254.169.254/latest", "private"),
        ("https://100.64.0.1/", "private"),
        ("https://0.0.0.0/", "private"),
        ("https://224.0.0.1/", "private"),
        ("https://203.0.113.7/", "private"),
        ("https://[::1]/", "private"),
        ("https://[::]/", "private"),
        ("https://[::ffff:127.0.0.1]/", "private"),
        ("https://[64:ff9b::7f00:1]/", "private"),
        ("https://[fd00::1]/", "private"),
        ("https://[fe80::1]/", "private"),
        ("https://2130706433/", "name a host"),
        ("https://0x7f.1/", "name a host"),
        ("https://127.1/", "name a host"),
        ("https://localhost/", "private"),
    ] {
        let answer = managed.post(WEBHOOKS, json!({ "name": "Hook", "url": url })).check(422);
        assert_eq!(answer.fields(), ["url INVALID"], "{url}");
        assert!(answer.text().contains(part), "{url}: {}", answer.text());
        let ran = managed.command(&["create", "--name", "Hook", "--url", url]).check(2);
        assert!(ran.stderr.contains(part), "{url}: {}", ran.stderr);
    }
    // A name is looked up when it is used.
    let receiver = Receiver::new(Manner::Status(200));
    let url = format!("https://localhost:{}/", receiver.address.port());
    let database = &managed.server.database;
    let allowing = database.write("allowing.toml", "[webhooks]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\n");
    let create =
        ["webhook", "create", "--name", "Hook", "--event", "tag", "--json", "--partner", "PA_ONE", "--url", &url];
    let made = database.run(&[&create[..], &["--config", allowing.to_str().expect("a path")]].concat()).done().json();
    let id = made["id"].as_str().expect("an id").to_owned();
    managed.server.within(Duration::from_secs(10), |_| managed.get(&format!("{WEBHOOKS}/{id}")).status == 200);
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!(tested["state"], "failed");
    let error = tested["attempts"][0]["error"].as_str().expect("an error");
    assert!(error.starts_with("refused: the address is private"), "{error}");
    assert!(!error.contains("127.0.0.1") && !error.contains("::1"), "{error}");
    assert_eq!(receiver.got().len(), 0);
    let edit = managed.request("PATCH", &format!("{WEBHOOKS}/{id}")).json(&json!({ "url": "https://10.0.0.1/" }));
    assert_eq!(edit.check(422).fields(), ["url INVALID"]);
}

#[test]
fn a_stranger_with_the_wrong_certificate_is_not_told() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let config = database.write("webhooks.toml", "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\n");
    let config = config.to_str().expect("a path").to_owned();
    let managed = Managed { server: Server::start(database, &["--config", &config]), key, config };
    let receiver = Receiver::new(Manner::Status(200));
    let (id, _) = managed.hook(&receiver.url(), &["tag"]);
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!((&tested["state"], &tested["attempts"][0]["status"]), (&json!("failed"), &Value::Null));
    let error = tested["attempts"][0]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(receiver.got().len(), 0);
}

#[test]
fn requests_are_strict_conditional_and_done_once() {
    let managed = Managed::sample("per_partner = 3\n");
    let check = |body: Value, expected: &[&str]| {
        assert_eq!(managed.post(WEBHOOKS, body.clone()).check(422).fields(), expected, "{body}");
    };
    let url = "https://example.com/hook";
    check(json!({}), &["name MISSING", "url MISSING"]);
    check(json!({ "name": "A", "url": url, "secret": "x" }), &["secret UNKNOWN"]);
    check(json!({ "name": "", "url": 7 }), &["name INVALID", "url INVALID"]);
    check(json!({ "name": "A", "url": url, "events": "tag" }), &["events INVALID"]);
    check(json!({ "name": "A", "url": url, "events": ["tag", 7] }), &["events[1] INVALID"]);
    check(
        json!({ "name": "A", "url": url, "events": ["tag", "nonsense", "tag"] }),
        &["events[1] UNKNOWN", "events[2] REPEATED"],
    );
    // Once, whoever asks again, and with the same secret.
    let body = json!({ "name": "A", "url": url, "events": ["alert", "webhook.off", "assign"] });
    let once = || managed.request("POST", WEBHOOKS).header("Idempotency-Key", "k1").json(&body).check(201);
    let (first, second) = (once(), once());
    assert_eq!(first.text(), second.text());
    assert_eq!(first.header("etag"), second.header("etag"));
    let made = first.json()["data"].clone();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(managed.get(WEBHOOKS).check(200).json()["meta"]["total"], 1);
    let path = format!("{WEBHOOKS}/{id}");
    let read = managed.get(&path).check(200);
    let tag = read.header("etag").expect("a tag").to_owned();
    assert_eq!(first.header("etag"), Some(tag.as_str()));
    let edit = |tag: &str, name: &str| {
        managed.request("PATCH", &path).header("If-Match", tag).json(&json!({ "name": name })).send()
    };
    edit("\"1-webhook\"", "B").check(412);
    let edited = edit(&tag, "B").check(200);
    assert_eq!(edited.json()["data"]["name"], "B");
    assert_ne!(edited.header("etag"), Some(tag.as_str()));
    edit(&tag, "C").check(412);
    managed.request("DELETE", &path).header("If-Match", &tag).check(412);
    assert_eq!(managed.request("PATCH", &path).json(&json!({})).check(422).fields(), ["name MISSING"]);
    // Setting what is so writes nothing.
    let version = |managed: &Managed| {
        managed.get("/api/v1/partner/changes?per_page=1").check(200).json()["meta"]["version"].as_u64()
    };
    let before = version(&managed);
    managed.patch(&id, json!({ "name": "B", "enabled": true }));
    assert_eq!(version(&managed), before);
    // No more than a partner may have.
    managed.hook(url, &[]);
    let last = || {
        let body = json!({ "name": "C", "url": url });
        managed.request("POST", WEBHOOKS).header("Idempotency-Key", "k2").json(&body).check(201).text().to_owned()
    };
    assert_eq!(last(), last(), "a retry of the last one that fits");
    let refused = managed.post(WEBHOOKS, json!({ "name": "D", "url": url })).check(409);
    assert!(refused.text().contains("3 webhooks already"), "{}", refused.text());
    let removed = managed.request("DELETE", &path).check(200).json()["data"].clone();
    assert_eq!(keys(&removed), ["id", "name", "removed_at"]);
    managed.request("DELETE", &path).check(404);
    managed.hook(url, &[]);
    for method in ["PUT", "POST"] {
        let answer = managed.request(method, &path).check(405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, PATCH, DELETE"));
    }
}

#[test]
fn tenants_stay_apart() {
    let managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Status(200));
    let (id, _) = managed.hook(&receiver.url(), &[]);
    managed.change(1);
    receiver.wait(2);
    let delivery = wait("a delivery", || {
        let first = managed.deliveries(&id).into_iter().find(|one| one["state"] == "delivered")?;
        Some(first["id"].as_str()?.to_owned())
    });
    let other = managed.server.database.key("PA_TWO", &["--scope", "manage"]);
    wait("the key", || (managed.server.get(WEBHOOKS).auth(&other).send().status == 200).then_some(()));
    let paths = |id: &str, delivery: &str| {
        vec![
            ("GET", format!("{WEBHOOKS}/{id}")),
            ("PATCH", format!("{WEBHOOKS}/{id}")),
            ("DELETE", format!("{WEBHOOKS}/{id}")),
            ("POST", format!("{WEBHOOKS}/{id}/rotate")),
            ("POST", format!("{WEBHOOKS}/{id}/test")),
            ("GET", format!("{WEBHOOKS}/{id}/deliveries")),
            ("POST", format!("{WEBHOOKS}/{id}/deliveries/{delivery}/resend")),
            ("POST", format!("{WEBHOOKS}/{id}/deliveries/{delivery}/skip")),
            ("GET", format!("{WEBHOOKS}/{id}/blocking")),
            ("GET", format!("{WEBHOOKS}/{id}/failed")),
            ("POST", format!("{WEBHOOKS}/{id}/failed/resend")),
        ]
    };
    let foreign = paths(&id, &delivery);
    for ((method, foreign), (_, unknown)) in foreign.iter().zip(paths("wh_000000000000", "dl_0")) {
        let send = |path: &str, key: &Key| {
            let request = managed.server.request(method, path).auth(key);
            match *method {
                "GET" => request,
                "PATCH" => request.json(&json!({ "name": "Mine" })),
                _ => request.json(&json!({})),
            }
        };
        let (foreign_answer, unknown_answer) =
            (send(foreign, &other).check(404).masked(), send(&unknown, &other).check(404).masked());
        assert_eq!(foreign_answer, unknown_answer, "{method} {foreign}");
        send(foreign, &ONE).check(403);
        send(foreign, &TWO).check(403);
        managed.server.request(method, foreign).check(401);
    }
    let list = managed.server.get(WEBHOOKS).auth(&other).check(200);
    assert_eq!(list.json(), json!({ "data": [], "meta": { "total": 0 } }));
    assert_eq!(managed.webhook(&id)["name"], "Hook");
    // What happens to the other partner is not told.
    let before = receiver.got().len();
    managed
        .server
        .request("POST", "/api/v1/manage/accounts")
        .auth(&other)
        .json(&json!({
            "account_auth_id": "MA_77", "name": "Night",
        }))
        .check(201);
    managed.change(1);
    let got = receiver.wait(before + 2);
    assert!(got.iter().all(|got| got.json()["partner_auth_id"] == "PA_ONE"));
    let more = managed.post("/api/v1/manage/accounts", json!({ "account_auth_id": "MA_7", "name": "Day" }));
    more.check(201);
    assert_eq!(receiver.wait(before + 3).len(), before + 3);
}

#[test]
fn a_report_of_the_checks_is_an_event_to_who_wants_alerts() {
    let managed = Managed::sample("");
    let (told, others) = (Receiver::new(Manner::Status(200)), Receiver::new(Manner::Status(200)));
    let (_, secret) = managed.hook(&told.url(), &["alert"]);
    managed.hook(&others.url(), &["assign"]);
    let made = managed.post("/api/v1/manage/schedules", json!({ "name": "Weekly" })).check(201).json();
    let id = made["data"]["id"].as_str().expect("an id");
    managed.post(&format!("/api/v1/manage/schedules/{id}/run"), json!({})).check(200);
    let event = told.wait(1)[0].clone();
    assert!(event.signed_by(&secret));
    let event = event.json();
    assert_eq!((&event["type"], &event["data"]["schedule"]["id"]), (&json!("alert"), &json!(id)));
    // The sample's known faults.
    assert_eq!(event["data"]["total"], 4, "{event}");
    assert_eq!(event["data"]["news"].as_array().map(Vec::len), Some(4), "{event}");
    assert_eq!(others.got().len(), 0);
}

#[test]
fn events_can_be_chosen_resent_and_tried() {
    let managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Status(500));
    let (id, secret) = managed.hook(&receiver.url(), &["account_create"]);
    let account = |at: usize| {
        let body = json!({ "account_auth_id": format!("MA_9{at}"), "name": "Nine" });
        managed.post("/api/v1/manage/accounts", body).check(201);
    };
    managed.change(2);
    account(1);
    managed.change(2);
    account(2);
    let first = receiver.wait(1)[0].clone();
    assert_eq!(first.json()["type"], "account_create");
    let failing = wait("a failure", || {
        let webhook = managed.webhook(&id);
        (!webhook["health"]["failing_since"].is_null()).then_some(webhook)
    });
    assert_eq!(failing["health"]["pending"], 2, "{failing}");
    assert_eq!(failing["health"]["last_error"], "it answered 500");
    let front = managed.deliveries(&id);
    let place = front[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!((front.len(), &front[0]["state"]), (1, &json!("pending")));
    let waits = managed.post(&format!("{WEBHOOKS}/{id}/deliveries/{place}/resend"), json!({})).check(409);
    assert!(waits.text().contains("waits"), "{}", waits.text());
    // A test goes past what waits; when it is well, what waits goes at once.
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!((&tested["type"], &tested["state"]), (&json!("webhook.test"), &json!("failed")));
    receiver.set(Manner::Status(200));
    let tested = managed.post(&format!("{WEBHOOKS}/{id}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!(tested["state"], "delivered");
    wait("both accounts", || {
        let created = receiver.got().into_iter().filter(|got| got.json()["type"] == "account_create");
        let mut ids: Vec<String> = created.map(|got| got.json()["data"]["entities"][0]["id"].to_string()).collect();
        ids.dedup();
        (ids == ["\"MA_91\"", "\"MA_92\""]).then_some(())
    });
    // By the command, the way the server sends.
    let count = receiver.got().len();
    let by_command = managed.command(&["test", &id]).done().stdout;
    assert!(by_command.contains("is delivered: answered 200"), "{by_command}");
    let test = receiver.wait(count + 1)[count].clone();
    assert!(test.signed_by(&secret));
    assert_eq!(test.json()["type"], "webhook.test");
    assert_eq!(keys(&test.json()["data"]), ["webhook_id", "name"]);

    let settled = wait("all settled", || {
        let all = managed.deliveries(&id);
        all.iter().all(|one| one["state"] != "pending").then_some(all)
    });
    let delivered = settled.iter().find(|one| one["id"] == json!(place)).expect("the first");
    assert_eq!(delivered["state"], "delivered");
    assert!(delivered["attempts"].as_array().is_some_and(|attempts| attempts.len() >= 2), "{delivered}");
    let count = receiver.got().len();
    let again = managed.post(&format!("{WEBHOOKS}/{id}/deliveries/{place}/resend"), json!({})).check(201);
    let again = again.json()["data"].clone();
    assert_eq!((&again["state"], &again["resend_of"]), (&json!("pending"), &json!(place)));
    let repeated = receiver.wait(count + 1)[count].clone();
    assert_eq!((&repeated.id, &repeated.body), (&first.id, &first.body), "the same event, to the byte");
    // And from beside the server, which finds it.
    let listed = managed.command(&["deliveries", &id, "--json"]).done().json();
    assert!(listed["data"].as_array().is_some_and(|all| all.len() >= 4), "{listed}");
    managed.command(&["resend", &id, &place]).done();
    let repeated = receiver.wait(count + 2)[count + 1].clone();
    assert_eq!(repeated.id, first.id);

    // Off, it is told nothing; on again, what it missed.
    managed.patch(&id, json!({ "enabled": false }));
    let off = managed.webhook(&id);
    assert_eq!((&off["enabled"], &off["off"]["reason"]), (&json!(false), &json!("switched off on request")));
    let refused = managed.post(&format!("{WEBHOOKS}/{id}/deliveries/{place}/resend"), json!({})).check(409);
    assert!(refused.text().contains("switched off"), "{}", refused.text());
    account(3);
    let shown = managed.command(&["show", &id]).done().stdout;
    assert!(shown.contains("is off since") && shown.contains("waiting          1"), "{shown}");
    let count = receiver.got().len();
    managed.command(&["edit", &id, "--on"]).done();
    let missed = receiver.wait(count + 1)[count].clone();
    assert_eq!(missed.json()["data"]["entities"][0]["id"], "MA_93");
    let asked = managed.command(&["remove", &id]).check(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    managed.command(&["remove", &id, "--yes"]).done();
    wait("its end", || (managed.get(&format!("{WEBHOOKS}/{id}")).status == 404).then_some(()));
}

/// Another number of `ONE`, in stock, and how an event names both.
const OTHER: &str = "+442079460106";

fn of(number: &str) -> impl Fn(&Got) -> bool {
    move |got| got.numbers().iter().any(|one| one == number)
}

/// The requests about each number are in the order of its changes.
#[track_caller]
fn check_order_of(got: &[Got], number: &str) {
    let versions: Vec<u64> = got.iter().filter(|got| of(number)(got)).map(Got::version).collect();
    check_order(&versions);
}

#[test]
fn a_number_that_is_refused_holds_up_no_other_and_can_be_skipped_and_sent_again() {
    let managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Refuse(vec![FREE.to_owned()]));
    let (id, _) = managed.hook(&receiver.url(), &["tag"]);
    assert_eq!(managed.webhook(&id)["order"], "number");
    managed.change(2);
    managed.change_of(OTHER, 3);
    managed.change(1);
    wait("all of the other number", || (receiver.got().iter().filter(|got| of(OTHER)(got)).count() == 6).then_some(()));
    let path = format!("{WEBHOOKS}/{id}");
    let held = |count: u64| {
        wait("what is held back", || {
            let health = managed.webhook(&id)["health"].clone();
            (health["held"] == count && health["pending"] == count).then_some(())
        })
    };
    held(6);
    let blocking = |place: usize| {
        wait("what blocks", || {
            let all = managed.get(&format!("{path}/blocking")).check(200).json();
            let all = all["data"].as_array().expect("a list").clone();
            (all.len() == 1 && all[0]["state"] == "pending")
                .then(|| all[0].clone())
                .filter(|one| one["version"] == place)
        })
    };
    let refused: Vec<u64> = receiver.got().iter().filter(|got| of(FREE)(got)).map(Got::version).collect();
    let first = refused[0];
    assert!(refused.iter().all(|&version| version == first), "later ones wait: {refused:?}");
    let one = blocking(first as usize);
    assert_eq!(one["attempts"][0]["status"], 500);
    assert!(one["next_attempt_at"].is_string(), "{one}");
    let place = one["id"].as_str().expect("an id").to_owned();

    // Skipped, it is listed; the next one of its number is tried, and refused.
    let skipped = managed.post(&format!("{path}/deliveries/{place}/skip"), json!({})).check(200).json()["data"].clone();
    assert_eq!((&skipped["state"], &skipped["id"]), (&json!("skipped"), &json!(place)));
    blocking(first as usize + 1);
    let again = managed.post(&format!("{path}/deliveries/{place}/skip"), json!({})).check(409);
    assert!(again.text().contains("blocks no other"), "{}", again.text());
    managed.post(&format!("{path}/deliveries/dl_0/skip"), json!({})).check(404);
    let listed = managed.command(&["blocking", &id]).done().stdout;
    assert!(listed.contains("it answered 500"), "{listed}");
    managed.command(&["skip", &id]).done();
    blocking(first as usize + 2);
    let failed = managed.get(&format!("{path}/failed?per_page=1")).check(200).json();
    assert_eq!((&failed["meta"]["total"], &failed["data"][0]["state"]), (&json!(2), &json!("skipped")));
    assert_eq!(failed["data"][0]["version"], first + 1, "the newest first");
    assert_eq!(managed.webhook(&id)["health"]["failed"], 2);

    // It takes them again: what waits arrives in order, then what is sent again.
    receiver.set(Manner::Status(200));
    let tested = managed.post(&format!("{path}/test"), json!({})).check(201).json()["data"].clone();
    assert_eq!(tested["state"], "delivered");
    held(0);
    check_order_of(&receiver.got(), FREE);
    let count = receiver.got().len();
    let resent = managed.post(&format!("{path}/failed/resend"), json!({})).check(200).json()["data"].clone();
    assert_eq!(resent, json!({ "resent": 2, "left": 0 }));
    let got = receiver.wait(count + 2);
    assert_eq!([got[count].version(), got[count + 1].version()], [first, first + 1]);
    let all: std::collections::BTreeSet<u64> = got.iter().map(Got::version).collect();
    assert!((first..first + 12).all(|version| all.contains(&version)), "none is lost: {all:?}");
    let failed = managed.get(&format!("{path}/failed")).check(200).json();
    assert_eq!(failed["meta"]["total"], 0);
    let nothing = managed.command(&["resend", &id, "--all"]).done().stdout;
    assert!(nothing.contains("0 deliveries"), "{nothing}");
    managed.command(&["skip", &id]).check(1);

    // Each is in the audit trail.
    let mut trail = Vec::new();
    let store = managed.server.database.store();
    let read = store.people_read(&mut |people| {
        trail = people.audit(None, None, 100)?;
        Ok(())
    });
    read.expect("a trail");
    let about = |what: &str| trail.iter().filter(|one| &*one.entry.what == what && one.entry.refused.is_none()).count();
    assert_eq!((about("webhook.skip"), about("webhook.resend")), (2, 2), "{trail:?}");
    assert!(trail.iter().any(|one| one.entry.about.as_deref() == Some(&*format!("{id} {place}"))), "{trail:?}");

    // The other order is a choice, and stays one.
    assert_eq!(managed.patch(&id, json!({ "order": "endpoint" }))["order"], "endpoint");
    let wrong = managed.request("PATCH", &path).json(&json!({ "order": "random" })).check(422);
    assert_eq!(wrong.fields(), ["order INVALID"]);
    receiver.set(Manner::Refuse(vec![FREE.to_owned()]));
    let count = receiver.got().len();
    managed.change(1);
    managed.change_of(OTHER, 1);
    wait("a refusal", || (!managed.webhook(&id)["health"]["failing_since"].is_null()).then_some(()));
    assert!(receiver.got()[count..].iter().all(of(FREE)), "all others wait");
    managed.command(&["set", &id, "--order", "number"]).done();
    wait("the others", || receiver.got()[count..].iter().any(of(OTHER)).then_some(()));
    check_order_of(&receiver.got()[count..], OTHER);
}

#[test]
fn a_server_that_is_killed_keeps_the_order_of_each_number() {
    let mut managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Refuse(vec![FREE.to_owned()]));
    let (id, _) = managed.hook(&receiver.url(), &["tag"]);
    managed.change(2);
    managed.change_of(OTHER, 2);
    wait("the held ones", || (managed.webhook(&id)["health"]["held"] == 4).then_some(()));
    receiver.wait(5);
    let first = receiver.versions()[0];
    // Killed while one is being sent; what was held back is not forgotten.
    receiver.set(Manner::Hang);
    let count = receiver.got().len();
    managed.change_of(OTHER, 1);
    receiver.wait(count + 1);
    receiver.set(Manner::Status(200));
    let config = managed.config.clone();
    managed.server.kill_and_start(&["--config", &config]);
    managed.change(1);
    wait("all of them", || {
        let health = managed.webhook(&id)["health"].clone();
        (health["held"] == 0 && health["pending"] == 0).then_some(())
    });
    let got = receiver.got();
    check_order_of(&got, FREE);
    check_order_of(&got, OTHER);
    let all: std::collections::BTreeSet<u64> = got.iter().map(Got::version).collect();
    assert_eq!(all, (first..first + 12).collect());
}

#[test]
fn what_says_that_it_is_gone_is_switched_off_and_the_others_hear_of_it() {
    let managed = Managed::sample("");
    let (gone, other) = (Receiver::new(Manner::Status(410)), Receiver::new(Manner::Status(200)));
    let (id, _) = managed.hook(&gone.url(), &["tag"]);
    managed.hook(&other.url(), &["webhook.off", "webhook_edit"]);
    managed.change(1);
    let got = other.wait(2);
    assert_eq!(other.kinds(), ["webhook_edit", "webhook.off"]);
    assert_eq!(got[0].json()["data"]["actor"], "server");
    let data = got[1].json()["data"].clone();
    assert_eq!((&data["webhook_id"], &data["reason"]), (&json!(id), &json!("it answered 410 Gone")));
    assert_eq!(got[1].version(), got[0].version());
    let off = managed.webhook(&id);
    assert_eq!((&off["enabled"], &off["off"]["reason"]), (&json!(false), &json!("it answered 410 Gone")));
    assert_eq!(gone.got().len(), 1);
    let log = wait("the log", || Some(managed.server.log()).filter(|log| log.contains("was switched off")));
    assert!(!log.contains("secret=no") && !log.contains(&gone.url()), "addresses may be secret: {log}");
    wait("the metric", || {
        let metrics = managed.server.get("/metrics").check(200);
        metrics.text().contains("rollcall_webhooks_switched_off_total 1\n").then_some(())
    });
    // Switched on again, it goes on with the event that it refused.
    gone.set(Manner::Status(200));
    managed.patch(&id, json!({ "enabled": true }));
    let all = gone.wait(3);
    assert_eq!(all[0].id, all[1].id);
    check_order(&gone.versions());
}

#[test]
fn a_server_that_is_killed_while_it_sends_sends_again() {
    let mut managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Hang);
    managed.hook(&receiver.url(), &["tag"]);
    managed.change(2);
    // The first event has arrived, and was not answered.
    let first = receiver.wait(1)[0].clone();
    receiver.set(Manner::Status(200));
    let config = managed.config.clone();
    managed.server.kill_and_start(&["--config", &config]);
    managed.change(1);
    let got = receiver.wait(7);
    assert_eq!((&got[0].id, &got[1].id), (&first.id, &first.id), "at least once");
    assert_eq!(got[0].body, got[1].body);
    let from = first.version();
    assert_eq!(receiver.versions()[1..], (from..from + 6).collect::<Vec<_>>(), "in order, and all of them");
}

#[test]
fn the_documented_examples_are_what_is_answered() {
    let managed = Managed::sample("");
    let receiver = Receiver::new(Manner::Status(204));
    let document: Value = managed.get("/openapi.json").check(200).json();
    let shape = |value: &Value| {
        fn shape(value: &Value) -> String {
            match value {
                Value::Object(entries) => {
                    let entry = |(key, value): (&String, &Value)| format!("{key}:{}", shape(value));
                    format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
                }
                Value::Array(list) => list.first().map(shape).unwrap_or_default(),
                _ => String::new(),
            }
        }
        shape(value)
    };
    let check = |path: &str, method: &str, answer: &Answer| {
        let documented = &document["paths"][path][method]["responses"][answer.status.to_string()]["content"]["application/json"]
            ["example"];
        // What is an object in one and null in the other is said in the schema.
        let (documented, real) = (shape(documented), shape(&answer.json()));
        assert_eq!(documented, real, "{method} {path}");
    };
    let one = format!("{WEBHOOKS}/{{id}}");
    let create = document["paths"][WEBHOOKS]["post"]["requestBody"]["content"]["application/json"]["example"].clone();
    let made = managed.post(WEBHOOKS, create).check(201);
    check(WEBHOOKS, "post", &made);
    check(WEBHOOKS, "get", &managed.get(WEBHOOKS).check(200));
    let id = made.json()["data"]["id"].as_str().expect("an id").to_owned();
    let path = format!("{WEBHOOKS}/{id}");
    check(&one, "get", &managed.get(&path).check(200));
    let edit = document["paths"][&one]["patch"]["requestBody"]["content"]["application/json"]["example"].clone();
    check(&one, "patch", &managed.request("PATCH", &path).json(&edit).check(200));
    let rotate = managed.post(&format!("{path}/rotate"), json!({})).check(200);
    check(&format!("{one}/rotate"), "post", &rotate);
    managed.patch(&id, json!({ "url": receiver.url(), "events": [] }));
    receiver.wait(1);
    let tested = managed.post(&format!("{path}/test"), json!({})).check(201);
    check(&format!("{one}/test"), "post", &tested);
    let deliveries = managed.get(&format!("{path}/deliveries?page=1&per_page=1")).check(200);
    check(&format!("{one}/deliveries"), "get", &deliveries);
    assert_eq!(deliveries.json()["data"].as_array().map(Vec::len), Some(1));
    let place = tested.json()["data"]["id"].as_str().expect("an id").to_owned();
    let resent = managed.post(&format!("{path}/deliveries/{place}/resend"), json!({})).check(201);
    let resend = format!("{one}/deliveries/{{delivery}}/resend");
    check(&resend, "post", &resent);
    let all = managed.post(&format!("{path}/failed/resend"), json!({})).check(200);
    check(&format!("{one}/failed/resend"), "post", &all);
    let skip = managed.post(&format!("{path}/deliveries/{place}/skip"), json!({}));
    assert_eq!(skip.status, 409, "it was delivered");
    check(&one, "delete", &managed.request("DELETE", &path).check(200));
}

// The library, by a clock that the test moves.

const START: i64 = 2_000_000_000;
/// The first number that a rig has in stock.
const FIRST: u64 = 442_079_460_000;

fn cost(units: u64) -> Money {
    Money::parse(&format!("{units}.00"), "EUR".parse().expect("a currency")).expect("a cost")
}

struct Rig {
    service: Service,
    replica: Arc<Replica>,
    key: PartnerKey,
    clock: Arc<AtomicI64>,
    accounts: std::cell::Cell<usize>,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn new(settings: WebhookSettings) -> Rig {
        let directory = tempfile::tempdir().expect("a folder");
        let authority = directory.path().join("authority.pem");
        std::fs::write(&authority, &AUTHORITY.pem).expect("written");
        let clock = Arc::new(AtomicI64::new(START));
        let (service, replica) = open(&directory.path().join("rollcall.db"), &authority, settings, &clock);
        service.partner_create("PA_1".parse().expect("an id"), "One".into()).expect("created");
        replica.follow();
        let key = replica.nodes()[0].key;
        Rig { service, replica, key, clock, accounts: std::cell::Cell::new(0), _directory: directory }
    }

    fn hook(&self, receiver: &Receiver, events: &[&str]) -> String {
        self.hook_in(DeliveryOrder::Endpoint, receiver, events)
    }

    fn hook_in(&self, order: DeliveryOrder, receiver: &Receiver, events: &[&str]) -> String {
        let events = events.iter().map(|&event| event.into()).collect();
        let new = NewWebhook { name: "Hook".into(), url: receiver.url().into(), events, order };
        match self.service.webhook_create(self.key, &new).expect("created") {
            WriteOutcome::Done { shown: VerbOutcome::Webhook(shown), .. } => shown.setting.id.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// A change.
    fn change(&self) {
        let at = self.accounts.replace(self.accounts.get() + 1);
        let id = format!("MA_{at}").parse().expect("an id");
        self.service.account_new(self.key, &id, &"Name".into()).expect("created");
    }

    /// Numbers come into stock, and are named as events name them.
    fn stock(&self, count: u64) -> Vec<E164> {
        let first = FIRST;
        let stock = Stock {
            first: E164::new(first).expect("a number"),
            last: E164::new(first + count - 1).expect("a number"),
            cost: cost(1),
            number_type: None,
            country: None,
            region: None,
            tags: Tags::default(),
        };
        self.service.stock(self.key, &stock).expect("in stock");
        (first..first + count).filter_map(E164::new).collect()
    }

    /// A change of a number that nothing made before.
    fn touch(&self, number: E164) {
        let at = self.accounts.replace(self.accounts.get() + 1) as u64;
        self.service.act(self.key, number, &Action::Cost(cost(at + 2)), &Expected::Anything).expect("changed");
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    fn set(&self, now: i64) {
        self.clock.store(now, Ordering::SeqCst);
    }

    /// Does what is due for one webhook.
    fn work(&self, id: &str) -> NextTurn {
        loop {
            let Worked { next, .. } = self.service.webhook_step(self.key, id, 0).expect("a step");
            if next != NextTurn::Again {
                return next;
            }
        }
    }

    fn shown(&self, id: &str) -> ShownWebhook {
        self.service.webhook(self.key, id).expect("a webhook")
    }
}

fn open(path: &Path, authority: &Path, settings: WebhookSettings, clock: &Arc<AtomicI64>) -> (Service, Arc<Replica>) {
    let store = store::open(&Location::Sqlite(path.to_owned()), Open::Create).expect("a database");
    let replica = Arc::new(Replica::load(store.clone()).expect("loaded"));
    let settings = WebhookSettings {
        allow_networks: vec!["127.0.0.0/8".parse().expect("a network")],
        authorities: Some(authority.to_owned()),
        ..settings
    };
    let clock = clock.clone();
    let now = move || Time::new(clock.load(Ordering::SeqCst)).expect("a time");
    let hooks = Hooks::new(settings).clock(Arc::new(now));
    let service = Service::new(store, Actor::Command { user: "tester".to_owned() });
    (service.replica(replica.clone()).hooks(hooks), replica)
}

fn wait_of(next: NextTurn) -> i64 {
    match next {
        NextTurn::Wait(until) => until.seconds(),
        other => panic!("it waits, and not: {other:?}"),
    }
}

#[test]
fn a_receiver_that_fails_for_days_is_tried_by_the_table_and_then_switched_off() {
    let rig = Rig::new(WebhookSettings::default());
    let (failing, good) = (Receiver::new(Manner::Status(503)), Receiver::new(Manner::Status(200)));
    let (bad, well) = (rig.hook(&failing, &["account_create"]), rig.hook(&good, &[]));
    for _ in 0..6 {
        rig.change();
    }
    let (mut attempts, mut changes) = (Vec::new(), 6);
    let mut next = rig.work(&bad);
    loop {
        attempts.push(rig.now());
        assert_eq!(failing.got().len(), attempts.len(), "one attempt at a time");
        // The other one is told of everything at once.
        rig.change();
        changes += 1;
        assert_eq!(rig.work(&well), NextTurn::Idle);
        assert_eq!(good.kinds().iter().filter(|kind| *kind == "account_create").count(), changes);
        if next == NextTurn::Gone {
            break;
        }
        let until = wait_of(next);
        // Not a second earlier.
        rig.set(until - 1);
        assert_eq!(rig.work(&bad), next);
        assert_eq!(failing.got().len(), attempts.len());
        assert_eq!(rig.shown(&bad).health.failing_since.map(Time::seconds), Some(START));
        rig.set(until);
        next = loop {
            // After the last retry the next event is tried in the same moment.
            let before = failing.got().len();
            let Worked { next, .. } = rig.service.webhook_step(rig.key, &bad, 0).expect("a step");
            if next != NextTurn::Again {
                break next;
            }
            assert_eq!(failing.got().len(), before + 1);
            attempts.push(rig.now());
        };
    }
    // The table, event by event, until five days are over.
    let mut expected = Vec::new();
    let mut at = START;
    'days: loop {
        expected.push(at);
        for wait in RETRIES {
            at = (at + wait).min(START + GIVE_UP_SECONDS);
            expected.push(at);
            if at == START + GIVE_UP_SECONDS {
                break 'days;
            }
        }
    }
    assert_eq!(attempts, expected);
    let told: Vec<i64> = failing.got().iter().map(|got| got.timestamp).collect();
    assert_eq!(told, expected, "the timestamps are the attempts'");
    let mut ids: Vec<String> = failing.got().into_iter().map(|got| got.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 5, "in order: four were given up, the fifth was being tried");
    assert_eq!(failing.got()[..8].iter().filter(|got| got.id == ids[0]).count(), 8);

    // Switched off, by the server, in the log, and the other one knows.
    let off = rig.shown(&bad).webhook.off.expect("off");
    assert_eq!(off.at.seconds(), START + GIVE_UP_SECONDS);
    assert!(off.reason.starts_with("nothing but failures since"), "{}", off.reason);
    let kinds = good.kinds();
    assert_eq!(kinds[kinds.len() - 3..], ["webhook_edit", "webhook.off", "account_create"]);
    let log = rig.service.store().log(rig.key, 0, 1_000).expect("a log");
    let edit = log.iter().find(|logged| logged.change.verb.as_str() == "webhook_edit").expect("an edit");
    assert_eq!(edit.change.actor, Actor::Server);
    let (list, _) = rig.service.webhook_deliveries(rig.key, &bad, 0, 100).expect("deliveries");
    let states: Vec<DeliveryState> = list.iter().map(|one| one.delivery.state).collect();
    use DeliveryState::{Failed, Pending};
    assert_eq!(states, [Pending, Failed, Failed, Failed, Failed], "an outage keeps few deliveries");

    // On again, it goes on where it stopped.
    failing.set(Manner::Status(200));
    let before = failing.got().len();
    let on = WebhookChanges { enabled: Some(true), ..WebhookChanges::default() };
    rig.service.webhook_edit(rig.key, &bad, &on, &Expected::Anything).expect("switched on");
    assert_eq!(rig.work(&bad), NextTurn::Idle);
    let after: Vec<String> = failing.got()[before..].iter().map(|got| got.id.clone()).collect();
    assert_eq!(after[0], ids[4]);
    assert_eq!(after.len(), changes - 4, "all but those that were given up");
    check_order(&failing.versions());
    assert_eq!(rig.shown(&bad).health.failing_since, None);
}

#[test]
fn what_is_refused_is_held_back_for_its_own_numbers_whatever_happens() {
    let rig = Rig::new(WebhookSettings::default());
    let numbers = rig.stock(12);
    let receiver = Receiver::new(Manner::Status(200));
    let id = rig.hook_in(DeliveryOrder::Number, &receiver, &["cost"]);
    let first = rig.replica.snapshot(rig.key).expect("a partner").version + 1;
    let mut random = crate::process::Random::new();
    println!("seed {}", random.0);
    let mut changes = 0;
    for _ in 0..40 {
        let refused = numbers.iter().filter(|_| random.below(4) == 0).map(E164::to_string).collect();
        receiver.set(Manner::Refuse(refused));
        for _ in 0..random.below(12) {
            rig.touch(numbers[random.below(12) as usize]);
            changes += 1;
        }
        // Up to a few steps, as if the process ended after any of them.
        for _ in 0..random.below(30) {
            rig.service.webhook_step(rig.key, &id, 0).expect("a step");
        }
        rig.set(rig.now() + random.below(400) as i64);
    }
    receiver.set(Manner::Status(200));
    while rig.shown(&id).health.pending > 0 {
        if let NextTurn::Wait(until) | NextTurn::Held(until) = rig.work(&id) {
            rig.set(until.seconds());
        }
    }
    let got = receiver.got();
    for number in &numbers {
        check_order_of(&got, &number.to_string());
    }
    let all: std::collections::BTreeSet<u64> = got.iter().map(Got::version).collect();
    let (_, given_up) = rig.service.webhook_failed(rig.key, &id, 0, 10).expect("a list");
    assert_eq!(all.len() as u64, changes, "each was sent");
    assert_eq!(all.first().copied(), Some(first).filter(|_| changes > 0));
    println!("{changes} changes, {} requests, {given_up} given up", got.len());
    assert_eq!(rig.shown(&id).health.held, 0);
}

#[test]
fn entities_wait_for_each_other_and_numbers_for_entities_of_theirs() {
    let rig = Rig::new(WebhookSettings::default());
    let numbers = rig.stock(3);
    let receiver = Receiver::new(Manner::Refuse(vec!["\"MA_1\"".to_owned()]));
    let id = rig.hook_in(DeliveryOrder::Number, &receiver, &[]);
    let account = |text: &str| -> AccountId { text.parse().expect("an id") };
    let make = |text: &str| drop(rig.service.account_new(rig.key, &account(text), &"Name".into()).expect("created"));
    let assign = |number: E164, text: &str| {
        let assignment =
            Assignment { account: account(text), application: None, trunk: None, expires_at: None, cost: None };
        rig.service.act(rig.key, number, &Action::Assign(assignment), &Expected::Anything).expect("assigned");
    };
    make("MA_0");
    make("MA_1");
    make("MA_2");
    assign(numbers[0], "MA_1");
    assign(numbers[1], "MA_0");
    rig.touch(numbers[2]);
    assert!(matches!(rig.work(&id), NextTurn::Held(_)));
    let kinds = |receiver: &Receiver| receiver.kinds();
    assert_eq!(kinds(&receiver), ["account_create", "account_create", "assign", "cost"]);
    assert_eq!(rig.shown(&id).health.held, 3, "MA_1, MA_2, and the number of MA_1");
    receiver.set(Manner::Status(200));
    rig.set(rig.now() + RETRIES[0]);
    assert_eq!(rig.work(&id), NextTurn::Idle);
    let rest: Vec<u64> = receiver.versions()[4..].to_vec();
    check_order(&rest);
    assert_eq!(rest.len(), 3);
}

#[test]
fn no_more_is_held_back_than_there_is_room_for() {
    let rig = Rig::new(WebhookSettings::default());
    let numbers = rig.stock(REFUSED_MAX as u64 + 5);
    let receiver = Receiver::new(Manner::Status(500));
    let id = rig.hook_in(DeliveryOrder::Number, &receiver, &["cost"]);
    numbers.iter().for_each(|&number| rig.touch(number));
    assert!(matches!(rig.work(&id), NextTurn::Wait(_)), "what is new waits too");
    let health = rig.shown(&id).health;
    assert_eq!((health.held, health.pending), (REFUSED_MAX as u64, REFUSED_MAX as u64 + 5));
    assert_eq!(receiver.got().len(), REFUSED_MAX);
    // While nothing is taken, nothing is given up; once it is back, all of it
    // is sent at once.
    let mut passed = 0;
    for _ in 0..4 * RETRIES.len() {
        if let NextTurn::Wait(until) = rig.work(&id) {
            passed = until.seconds() - rig.now();
            rig.set(until.seconds());
        }
        if rig.now() > START + 3 * 86_400 {
            break;
        }
    }
    assert!(passed > 0);
    assert_eq!(rig.service.webhook_failed(rig.key, &id, 0, 10).expect("a list").1, 0);
    receiver.set(Manner::Status(200));
    let mut next = rig.work(&id);
    if let NextTurn::Wait(until) = next {
        rig.set(until.seconds());
        next = rig.work(&id);
    }
    assert_eq!(next, NextTurn::Idle);
    assert_eq!(rig.shown(&id).health.pending, 0);
}

#[test]
fn what_is_given_up_while_others_are_taken_is_listed_for_its_time() {
    let rig = Rig::new(WebhookSettings { keep: 20, failed_days: 90, ..WebhookSettings::default() });
    let numbers = rig.stock(2);
    let receiver = Receiver::new(Manner::Refuse(vec![numbers[0].to_string()]));
    let id = rig.hook_in(DeliveryOrder::Number, &receiver, &["cost"]);
    rig.touch(numbers[0]);
    for _ in 0..=RETRIES.len() {
        rig.set(rig.now() + 1);
        rig.touch(numbers[1]);
        match rig.work(&id) {
            NextTurn::Held(until) => rig.set(until.seconds()),
            next => assert_eq!(next, NextTurn::Idle, "it was given up"),
        }
    }
    let got = receiver.got();
    let refused = got.iter().filter(|got| of(&numbers[0].to_string())(got));
    let attempts: Vec<i64> = refused.map(|got| got.timestamp).collect();
    let spans: Vec<i64> = attempts.windows(2).map(|two| two[1] - two[0] - 1).collect();
    assert_eq!(spans[..], RETRIES[..], "by the table, and the second until somebody looks");
    // Many that are newer do not push it out; time does.
    for _ in 0..120 {
        rig.touch(numbers[1]);
    }
    assert_eq!(rig.work(&id), NextTurn::Idle);
    rig.service.webhook_prune(rig.key, &id).expect("pruned");
    let failed = || rig.service.webhook_failed(rig.key, &id, 0, 10).expect("a list");
    let (list, total) = failed();
    assert_eq!((total, list[0].delivery.state, list[0].delivery.attempts.len()), (1, DeliveryState::Failed, 8));
    let count = receiver.got().len();
    rig.service.webhook_resend(rig.key, &id, &list[0].id).expect("sent again");
    assert!(matches!(rig.work(&id), NextTurn::Held(_)));
    assert_eq!((receiver.got().len(), failed().1), (count + 1, 0));
    rig.service.webhook_skip(rig.key, &id, None).expect("skipped");
    assert_eq!(failed().1, 1);
    rig.set(rig.now() + 91 * 86_400);
    rig.service.webhook_prune(rig.key, &id).expect("pruned");
    assert_eq!((failed().0.len(), failed().1), (0, 0));
}

#[test]
fn silence_is_not_failure() {
    let rig = Rig::new(WebhookSettings::default());
    let receiver = Receiver::new(Manner::Status(500));
    let id = rig.hook(&receiver, &["account_create"]);
    rig.change();
    let mut next = rig.work(&id);
    for _ in RETRIES {
        rig.set(wait_of(next));
        next = rig.work(&id);
    }
    assert_eq!(next, NextTurn::Idle, "the only event was given up");
    // Weeks later another one fails: it gets its retries.
    rig.set(rig.now() + 30 * 86_400);
    rig.change();
    let until = wait_of(rig.work(&id));
    assert_eq!(until, rig.now() + RETRIES[0]);
    assert_eq!(rig.shown(&id).health.failing_since.map(Time::seconds), Some(rig.now()));
    receiver.set(Manner::Status(200));
    rig.set(until);
    assert_eq!(rig.work(&id), NextTurn::Idle);
}

#[test]
fn what_is_announced_is_queued_once_with_each_that_wants_it() {
    let rig = Rig::new(WebhookSettings::default());
    let receivers = [(); 4].map(|()| Receiver::new(Manner::Status(200)));
    let all = rig.hook(&receivers[0], &[]);
    let alerts = rig.hook(&receivers[1], &["alert"]);
    let others = rig.hook(&receivers[2], &["assign"]);
    let off = rig.hook(&receivers[3], &["alert"]);
    let changes = WebhookChanges { enabled: Some(false), ..WebhookChanges::default() };
    rig.service.webhook_edit(rig.key, &off, &changes, &Expected::Anything).expect("switched off");
    let version = rig.replica.snapshot(rig.key).expect("a partner").version;
    rig.change();
    rig.service.announce(rig.key, "alert", json!({ "findings": 3 })).expect("queued");
    rig.change();
    for id in [&all, &alerts, &others] {
        assert_eq!(rig.work(id), NextTurn::Idle, "{id}");
    }
    assert_eq!(rig.work(&off), NextTurn::Gone);
    // Among the changes in the order in which it happened.
    let kinds = receivers[0].kinds();
    assert_eq!(kinds[kinds.len() - 3..], ["account_create", "alert", "account_create"]);
    check_order(&receivers[0].versions());
    let got = receivers[1].got();
    assert_eq!(got.len(), 1);
    let body = got[0].json();
    assert_eq!((&body["data"], &body["version"]), (&json!({ "findings": 3 }), &json!(version + 1)));
    let same = receivers[0].got().into_iter().find(|got| got.json()["type"] == "alert").expect("an alert");
    assert_eq!((&same.id, &same.body), (&got[0].id, &got[0].body));
    assert_eq!((receivers[2].got().len(), receivers[3].got().len()), (0, 0));
    let refused = rig.service.announce(rig.key, "nonsense", json!({}));
    assert!(matches!(refused, Err(ServiceError::Refused(_))), "{refused:?}");
    // The partner's version is not touched by what is kept beside the log.
    assert_eq!(rig.service.store().log(rig.key, version + 2, 10).expect("a log").len(), 0);
}

#[test]
fn a_choice_that_changes_lets_go_of_what_was_being_tried() {
    let rig = Rig::new(WebhookSettings::default());
    let receiver = Receiver::new(Manner::Status(500));
    let id = rig.hook(&receiver, &[]);
    rig.change();
    wait_of(rig.work(&id));
    let changes = WebhookChanges { events: Some(vec!["alert".into()]), ..WebhookChanges::default() };
    rig.service.webhook_edit(rig.key, &id, &changes, &Expected::Anything).expect("edited");
    rig.set(rig.now() + RETRIES[0]);
    assert_eq!(rig.work(&id), NextTurn::Idle);
    assert_eq!(receiver.got().len(), 1);
    let (list, total) = rig.service.webhook_deliveries(rig.key, &id, 0, 10).expect("deliveries");
    assert_eq!((total, list[0].delivery.state), (1, DeliveryState::Dropped));
    assert_eq!(rig.shown(&id).health.pending, 0);
}

#[test]
fn deliveries_are_pruned_by_number_and_by_age() {
    let rig = Rig::new(WebhookSettings { keep: 20, keep_days: 30, ..WebhookSettings::default() });
    let receiver = Receiver::new(Manner::Status(200));
    let id = rig.hook(&receiver, &["account_create"]);
    for _ in 0..120 {
        rig.change();
    }
    assert_eq!(rig.work(&id), NextTurn::Idle);
    let (list, total) = rig.service.webhook_deliveries(rig.key, &id, 0, 1_000).expect("deliveries");
    assert_eq!(list.len() as u64, total);
    assert!((20..=20 + 64).contains(&total), "{total}");
    let newest = receiver.got().last().expect("an event").id.clone();
    assert_eq!(list[0].delivery.event, newest, "the newest are kept, and come first");
    rig.service.webhook_prune(rig.key, &id).expect("pruned");
    assert_eq!(rig.service.webhook_deliveries(rig.key, &id, 0, 1_000).expect("deliveries").1, 20);
    rig.set(rig.now() + 31 * 86_400);
    rig.change();
    assert_eq!(rig.work(&id), NextTurn::Idle);
    rig.service.webhook_prune(rig.key, &id).expect("pruned");
    let (list, total) = rig.service.webhook_deliveries(rig.key, &id, 0, 1_000).expect("deliveries");
    assert_eq!((list.len(), total), (1, 1));
    // Of one that is removed nothing stays.
    rig.service.webhook_remove(rig.key, &id, &Expected::Anything).expect("removed");
    let kind = format!("delivery:{id}");
    let left = |kind: &str, id: &str| rig.service.store().document(rig.key, kind, id).expect("a look");
    assert_eq!(left("webhook", &id), None);
    assert_eq!(left("webhook_secret", &id), None);
    let walk = rollcall::store::DocumentWalk::Up { after: None };
    assert_eq!(rig.service.store().documents(rig.key, &kind, walk, 10).expect("a look"), []);
}

/// A node of several: its leases are short, and its clock is ahead of the
/// rig's, so that receivers see who it is.
fn node(rig: &Rig, name: &str, ahead: i64) -> (Service, Arc<Replica>) {
    let directory = rig._directory.path();
    let clock = Arc::new(AtomicI64::new(START + ahead));
    // Attempts fail within a second, so that leases are short.
    let settings = WebhookSettings { timeout: Duration::from_secs(1), ..WebhookSettings::default() };
    let (service, replica) = open(&directory.join("rollcall.db"), &directory.join("authority.pem"), settings, &clock);
    let leases = Leases::named(service.store().clone(), name, Duration::from_secs(1));
    (service.leases(leases), replica)
}

#[test]
fn one_of_two_nodes_delivers_and_the_other_takes_over() {
    const AHEAD: i64 = 1_000;
    let rig = Rig::new(WebhookSettings::default());
    let receiver = Receiver::new(Manner::Status(200));
    let (first, one) = node(&rig, "first", 0);
    let (second, two) = node(&rig, "second", AHEAD);
    let id = rig.hook(&receiver, &["account_create"]);
    let changes = |count: usize| {
        for _ in 0..count {
            rig.change();
            one.follow();
            two.follow();
        }
    };
    let by_second =
        |from: usize| receiver.got()[from..].iter().map(|got| got.timestamp >= START + AHEAD).collect::<Vec<_>>();

    // One that died has it until its time is over.
    assert!(rig.service.store().lease("webhooks", "dead", 3).expect("a lease").held());
    let died = Instant::now();
    changes(1);
    let delivering = WebhookRunner::start(&first, one.clone(), 4);
    receiver.wait(1);
    assert!((1..20).contains(&died.elapsed().as_secs()), "{:?}", died.elapsed());

    let waiting = WebhookRunner::start(&second, two.clone(), 4);
    changes(5);
    receiver.wait(6);
    assert_eq!(by_second(0), [false; 6]);

    // It waits for a retry when the other one gets the lease.
    receiver.set(Manner::Status(503));
    changes(1);
    receiver.wait(7);
    wait("the failure", || rig.shown(&id).health.failing_since);
    receiver.set(Manner::Status(200));
    first.store().end_lease("webhooks", "first").expect("ended");
    assert!(second.store().lease("webhooks", "second", 5).expect("a lease").held());
    receiver.wait(8);
    changes(2);
    receiver.wait(10);
    assert_eq!(by_second(7), [true; 3]);

    // It gives the lease back, so nobody has to wait for its end; and the first
    // does not wait for what it waited for before.
    waiting.stop();
    changes(3);
    let got = receiver.wait(13);
    assert_eq!(by_second(10), [false; 3]);
    delivering.stop();
    let mut ids: Vec<&String> = got.iter().map(|got| &got.id).collect();
    ids.dedup();
    assert_eq!((ids.len(), got.len()), (12, 13), "each in order, and the one that failed again");
    check_order(&receiver.versions());
}

#[test]
fn an_attempt_that_ends_after_anothers_changes_nothing() {
    let rig = Rig::new(WebhookSettings::default());
    let receiver = Receiver::new(Manner::Hang);
    let (slow, replica) = node(&rig, "slow", 0);
    let id = rig.hook(&receiver, &["account_create"]);
    let during = |what: &dyn Fn()| {
        replica.follow();
        receiver.set(Manner::Hang);
        let before = receiver.got().len();
        std::thread::scope(|scope| {
            let attempt = scope.spawn(|| slow.webhook_step(rig.key, &id, 0).expect("a step"));
            receiver.wait(before + 1);
            what();
            attempt.join().expect("it ended");
        });
    };
    // It was delivered, and the next one as well.
    rig.change();
    during(&|| {
        receiver.set(Manner::Status(200));
        rig.change();
        assert_eq!(rig.work(&id), NextTurn::Idle);
    });
    let health = rig.shown(&id).health;
    assert_eq!((health.pending, health.failing_since, health.next_attempt_at), (0, None, None));
    let (deliveries, _) = rig.service.webhook_deliveries(rig.key, &id, 0, 10).expect("deliveries");
    let told: Vec<_> = deliveries.iter().map(|shown| (shown.delivery.state, shown.delivery.attempts.len())).collect();
    assert_eq!(told, [(DeliveryState::Delivered, 1); 2]);
    // It failed, and is tried again as after one attempt.
    rig.change();
    during(&|| {
        receiver.set(Manner::Status(503));
        assert_eq!(wait_of(rig.work(&id)), START + RETRIES[0]);
    });
    assert_eq!(rig.shown(&id).health.next_attempt_at.map(Time::seconds), Some(START + RETRIES[0]));
}

#[test]
fn what_was_missed_is_told_within_bounds() {
    let rig = Rig::new(WebhookSettings { catch_up: 3, ..WebhookSettings::default() });
    let receiver = Receiver::new(Manner::Status(200));
    let id = rig.hook(&receiver, &["account_create"]);
    let enabled = |enabled| {
        let changes = WebhookChanges { enabled: Some(enabled), ..WebhookChanges::default() };
        rig.service.webhook_edit(rig.key, &id, &changes, &Expected::Anything).expect("edited");
    };
    rig.change();
    assert_eq!(rig.work(&id), NextTurn::Idle);
    let told = receiver.versions()[0];
    enabled(false);
    (0..7).for_each(|_| rig.change());
    assert_eq!(rig.work(&id), NextTurn::Gone);
    let last = rig.replica.snapshot(rig.key).expect("a partner").version;
    enabled(true);
    assert_eq!(rig.work(&id), NextTurn::Idle);
    assert_eq!(receiver.versions(), [told, last - 2, last - 1, last]);
    assert_eq!(rig.shown(&id).health.missed, Some((told, last - 3)));
}

#[test]
fn many_receivers_of_one_partner_that_hang_leave_room_for_another() {
    let rig = Rig::new(WebhookSettings { timeout: Duration::from_secs(5), ..WebhookSettings::default() });
    let hanging = Receiver::new(Manner::Hang);
    let hooks: Vec<String> = (0..8).map(|_| rig.hook(&hanging, &["account_create"])).collect();
    rig.service.partner_create("PA_2".parse().expect("an id"), "Two".into()).expect("created");
    rig.replica.follow();
    let other = rig.replica.nodes()[1].key;
    let good = Receiver::new(Manner::Status(200));
    let order = DeliveryOrder::Number;
    let new = NewWebhook { name: "Good".into(), url: good.url().into(), events: Vec::new(), order };
    rig.service.webhook_create(other, &new).expect("created");
    rig.change();
    let runner = WebhookRunner::start(&rig.service, rig.replica.clone(), 4);
    hanging.wait(2);
    let started = Instant::now();
    for at in 0..10 {
        let id = format!("MA_{at}").parse().expect("an id");
        rig.service.account_new(other, &id, &"Name".into()).expect("created");
    }
    good.wait(10);
    // Where the machine is not much too slow, none of the others had ended.
    if started.elapsed() < Duration::from_secs(3) {
        let failed = hooks.iter().filter(|id| rig.shown(id).health.last_failure_at.is_some()).count();
        assert_eq!(failed, 0);
    }
    check_order(&good.versions());
    runner.stop();
}

#[test]
fn proxies_of_the_environment_are_not_asked() {
    let database = Database::sample();
    let key = database.key("PA_ONE", &["--scope", "manage"]);
    let authority = database.write("authority.pem", &AUTHORITY.pem);
    let settings = format!("[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\nca_file = {authority:?}\n");
    let config = database.write("webhooks.toml", &settings).to_str().expect("a path").to_owned();
    let mut command = database.command(&["serve", "--listen", "127.0.0.1:0", "--config", &config]);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    let managed = Managed { server: Server::start_as(database, command), key, config };
    let receiver = Receiver::new(Manner::Status(200));
    managed.hook(&receiver.url(), &["tag"]);
    managed.change(1);
    receiver.wait(2);
}

#[test]
fn a_file_of_authorities_that_is_none_is_told_at_start() {
    let database = Database::sample();
    let file = database.write("none.pem", "nothing\n");
    let config = database.write("webhooks.toml", &format!("[webhooks]\nca_file = {file:?}\n"));
    let ran =
        database.run(&["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().expect("a path")]).check(78);
    assert!(ran.stderr.contains("none.pem"), "{}", ran.stderr);
}

#[test]
fn the_page_about_webhooks_says_what_holds() {
    let page = include_str!("../../docs/webhooks.md");
    for kind in rollcall::service::background::webhooks::event::kinds() {
        assert!(page.contains(&format!("`{kind}`")), "{kind}");
    }
    let span = |seconds: i64| match seconds {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds if seconds < 3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    };
    for (at, wait) in RETRIES.into_iter().enumerate() {
        assert!(page.contains(&format!("| {} | {} |", at + 2, span(wait))), "attempt {}", at + 2);
    }
    let settings = WebhookSettings::default();
    assert!(page.contains(&format!("the newest {},000", settings.keep / 1_000)));
    assert!(page.contains(&format!("last {},000 changes", settings.catch_up / 1_000)));
    assert!(page.contains(&format!("{REFUSED_MAX} refused events")));
    assert!(page.contains(&format!("at most {},000 in all", HELD_MAX / 1_000)));
    assert!(page.contains(&format!("for {} days", settings.failed_days)));
}
