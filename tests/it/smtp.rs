//! A mail server for tests: real sockets, STARTTLS or TLS, AUTH, and answers as
//! a test wants them.
//!
//! It says `250` to what a test has not asked it to refuse, keeps every letter,
//! and every line that it was sent, with whether that was encrypted.

use crate::until::found;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const USER: &str = "rollcall";
pub const PASSWORD: &str = "correct horse";

/// How it behaves.
#[derive(Clone, Default)]
pub struct Manners {
    /// Offers no STARTTLS, as one whose offer somebody took out.
    pub stripped: bool,
    /// So many answers are put behind its word to begin with TLS.
    pub injected: usize,
    /// Speaks TLS from the first byte.
    pub wrapped: bool,
    /// Takes connections and never says a word.
    pub silent: bool,
    /// Says 550 to these recipients.
    pub refused: Vec<String>,
    /// Says 451 to these, so many times.
    pub busy: HashMap<String, usize>,
}

/// A letter that it took.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub encrypted: bool,
    pub user: Option<String>,
}

#[derive(Default)]
struct Kept {
    manners: Manners,
    taken: Vec<Taken>,
    /// Each with whether it came encrypted.
    lines: Vec<(bool, String)>,
    /// Connections to which it says no word.
    ignored: usize,
}

/// The server; it goes with the process.
pub struct Receiver {
    pub address: SocketAddr,
    /// Its certificate, which signs itself.
    pub pem: String,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    pub fn start(manners: Manners) -> Receiver {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let kept = Arc::new(Mutex::new(Kept { manners, ..Kept::default() }));
        let shared = kept.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, config) = (shared.clone(), config.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                    // Whoever breaks off has its reasons; tests look at what was kept.
                    let _ = Talk { kept, config, encrypted: false, user: None }.talk(Line::Open(stream));
                });
            }
        });
        Receiver { address, pem: made.cert.pem(), kept }
    }

    pub fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.kept.lock().expect("kept").manners);
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.kept.lock().expect("kept").taken.clone()
    }

    /// How many connections it has taken without a word.
    pub fn ignored(&self) -> usize {
        self.kept.lock().expect("kept").ignored
    }

    /// The lines that came open, or encrypted.
    pub fn lines(&self, encrypted: bool) -> Vec<String> {
        let kept = self.kept.lock().expect("kept");
        kept.lines.iter().filter(|(sealed, _)| *sealed == encrypted).map(|(_, line)| line.clone()).collect()
    }

    /// Waits until it has so many letters.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Taken> {
        let why = || format!("{} of {count} letters", self.taken().len());
        found(Duration::from_secs(30), why, || Some(self.taken()).filter(|taken| taken.len() >= count))
    }
}

enum Line {
    Open(TcpStream),
    Sealed(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Line {
    fn read(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            match self {
                Line::Open(stream) => stream.read_exact(&mut byte)?,
                Line::Sealed(stream) => stream.read_exact(&mut byte)?,
            }
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        let bytes = format!("{text}\r\n");
        match self {
            Line::Open(stream) => stream.write_all(bytes.as_bytes()),
            Line::Sealed(stream) => {
                stream.write_all(bytes.as_bytes())?;
                stream.flush()
            }
        }
    }

    fn seal(self, config: Arc<ServerConfig>) -> std::io::Result<Line> {
        let Line::Open(stream) = self else { return Ok(self) };
        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
        Ok(Line::Sealed(Box::new(StreamOwned::new(connection, stream))))
    }
}

struct Talk {
    kept: Arc<Mutex<Kept>>,
    config: Arc<ServerConfig>,
    encrypted: bool,
    user: Option<String>,
}

impl Talk {
    fn talk(mut self, mut line: Line) -> std::io::Result<()> {
        let manners = self.kept.lock().expect("kept").manners.clone();
        if manners.silent {
            self.kept.lock().expect("kept").ignored += 1;
            std::thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        if manners.wrapped {
            line = line.seal(self.config.clone())?;
            self.encrypted = true;
        }
        line.say("220 test ESMTP")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let said = line.read()?;
            self.kept.lock().expect("kept").lines.push((self.encrypted, said.clone()));
            let (verb, rest) = said.split_once(' ').unwrap_or((&said, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    line.say("250-test")?;
                    if self.encrypted {
                        line.say("250-AUTH PLAIN LOGIN")?;
                    } else if !manners.stripped {
                        line.say("250-STARTTLS")?;
                    }
                    line.say("250-8BITMIME")?;
                    line.say("250 SMTPUTF8")?;
                }
                "STARTTLS" => {
                    let injected = "\r\n250 AUTH PLAIN".repeat(manners.injected);
                    line.say(&format!("220 go ahead{injected}"))?;
                    line = line.seal(self.config.clone())?;
                    self.encrypted = true;
                }
                "AUTH" => {
                    let token = rest.strip_prefix("PLAIN ").map(unbase64).unwrap_or_default();
                    if token == format!("\0{USER}\0{PASSWORD}").into_bytes() {
                        self.user = Some(USER.to_owned());
                        line.say("235 welcome")?;
                    } else {
                        line.say("535 5.7.8 wrong password")?;
                    }
                }
                "MAIL" => {
                    from = path(rest);
                    to.clear();
                    line.say("250 ok")?;
                }
                "RCPT" => {
                    let recipient = path(rest);
                    let answer = {
                        let mut kept = self.kept.lock().expect("kept");
                        let refused = kept.manners.refused.contains(&recipient);
                        let busy = kept.manners.busy.get_mut(&recipient).filter(|times| **times > 0);
                        match busy {
                            Some(times) => {
                                *times -= 1;
                                "451 4.2.1 mailbox busy"
                            }
                            None if refused => "550 5.1.1 no such user",
                            None => "250 ok",
                        }
                    };
                    if answer.starts_with("250") {
                        to.push(recipient);
                    }
                    line.say(answer)?;
                }
                "DATA" => {
                    line.say("354 go on")?;
                    let mut data = String::new();
                    loop {
                        let part = line.read()?;
                        if part == "." {
                            break;
                        }
                        data.push_str(part.strip_prefix('.').unwrap_or(&part));
                        data.push_str("\r\n");
                    }
                    let (from, to) = (from.clone(), to.clone());
                    let taken = Taken { from, to, data, encrypted: self.encrypted, user: self.user.clone() };
                    self.kept.lock().expect("kept").taken.push(taken);
                    line.say("250 2.0.0 queued as TEST1")?;
                }
                "QUIT" => return line.say("221 bye"),
                _ => line.say("250 ok")?,
            }
        }
    }
}

/// `FROM:<a@b> BODY=8BITMIME`: the address.
fn path(text: &str) -> String {
    let inner = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(address, _)| address.to_owned()).unwrap_or_default()
}

// Letters taken apart.

/// One part of a letter, or all of it.
#[derive(Clone, Debug)]
pub struct Part {
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Part {
    pub fn parse(text: &str) -> Part {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers: Vec<_> = head.split("\r\n").map(header).collect();
        let mut part = Part { headers, body: body.to_owned() };
        match part.header("content-transfer-encoding").unwrap_or_default() {
            "base64" => part.body = String::from_utf8(unbase64(&part.body)).expect("UTF-8"),
            "quoted-printable" => part.body = unquoted(&part.body),
            _ => {}
        }
        part
    }

    /// The one value of a header; two are a failure.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all: Vec<&str> = self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| &**value).collect();
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied()
    }

    /// A header with its encoded words read.
    #[track_caller]
    pub fn words(&self, name: &str) -> String {
        let mut text = String::new();
        let value = self.header(name).expect("the header").replace("?= =?", "?==?");
        let mut rest = value.as_str();
        while let Some((before, word)) = rest.split_once("=?utf-8?b?") {
            let (word, after) = word.split_once("?=").expect("the end of a word");
            text.push_str(before);
            text.push_str(&String::from_utf8(unbase64(word)).expect("UTF-8"));
            rest = after;
        }
        text + rest
    }

    /// All parts below, by kind.
    pub fn leaves(&self) -> Vec<(String, String)> {
        let kind = self.header("content-type").unwrap_or("text/plain").to_owned();
        let Some((_, boundary)) = kind.split_once("boundary=\"") else { return vec![(kind, self.body.clone())] };
        let boundary = boundary.split('"').next().expect("its end");
        let mark = format!("--{boundary}");
        let parts = self.body.split(&mark).skip(1).filter(|part| !part.starts_with("--"));
        parts.flat_map(|part| Part::parse(part.trim_start_matches("\r\n").trim_end_matches("\r\n")).leaves()).collect()
    }

    #[track_caller]
    pub fn leaf(&self, kind: &str) -> String {
        let leaves = self.leaves();
        let found = leaves.iter().find(|(have, _)| have.starts_with(kind));
        found.unwrap_or_else(|| panic!("no {kind} in {leaves:?}")).1.replace("\r\n", "\n")
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for value in text.bytes().filter_map(|byte| digits.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

fn unquoted(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'=' => {
                let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(hex.expect("two hexadecimal digits"));
                at += 3;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).expect("UTF-8")
}
