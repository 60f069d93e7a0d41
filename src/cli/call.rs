//! `rollcall route …`: what a proxy would hear of a call.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Global, Outcome, output};
use crate::domain::shown::quoted;
use crate::sip;

#[derive(Subcommand)]
pub enum RouteCommand {
    /// Send an INVITE to a node's SIP listener, and print the answer
    Test(Test),
}

impl RouteCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            RouteCommand::Test(test) => test.run(global),
        }
    }
}

/// Exit codes: 0 if the call is routed, 3 if it is refused, 1 without an answer.
#[derive(Args)]
pub struct Test {
    /// The called number, as a proxy would write it
    #[arg(allow_hyphen_values = true)]
    number: String,
    /// Where the node listens (routing.sip in its settings)
    #[arg(long, value_name = "HOST:PORT")]
    at: String,
    /// The Call-ID, which orders destinations of one priority
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// How long to wait for the answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
}

/// SIP's T1: how long to wait before an INVITE is sent again.
const RETRY: Duration = Duration::from_millis(500);

impl Test {
    fn run(self, global: &Global) -> Result<Outcome, CliError> {
        if let Some(id) =
            self.call_id.as_ref().filter(|id| id.is_empty() || id.bytes().any(|byte| !byte.is_ascii_graphic()))
        {
            return Err(CliError::Usage(format!("the Call-ID {} must be ASCII without spaces", quoted(id))));
        }
        let node = self.node()?;
        let answer =
            self.ask(node).map_err(|source| CliError::Io { what: format!("cannot ask {}", self.at), source })?;
        let Some(answer) = answer else {
            let after = self.timeout_ms;
            return Err(CliError::Other(format!(
                "{} did not answer within {after} ms; is it the SIP listener of a node, and is this machine one of its \
                 routing.askers?",
                self.at
            )));
        };
        let text = String::from_utf8_lossy(&answer).into_owned();
        if global.json {
            output::json(&summary(&text))?;
        } else {
            for line in text.trim_end().lines() {
                output::line(line)?;
            }
        }
        Ok(if sip::status(&answer) == Some(302) { Outcome::Done } else { Outcome::Differs })
    }

    fn node(&self) -> Result<SocketAddr, CliError> {
        let wrong = |why: &str| {
            CliError::Usage(format!("--at {} {why}; give HOST:PORT, such as 127.0.0.1:5070", quoted(&self.at)))
        };
        match self.at.to_socket_addrs() {
            Ok(mut found) => found.next().ok_or_else(|| wrong("has no address")),
            Err(error) => Err(wrong(&format!("cannot be looked up ({error})"))),
        }
    }

    /// Sends the INVITE until a final answer comes. None if there is none.
    fn ask(&self, node: SocketAddr) -> std::io::Result<Option<Vec<u8>>> {
        let local: SocketAddr = match node {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(local)?;
        // A port that nobody listens on is then an error, and no silence.
        socket.connect(node)?;
        let call = TestCall::new(self, node, socket.local_addr()?);
        let end = Instant::now() + Duration::from_millis(self.timeout_ms);
        let mut buffer = vec![0; sip::DATAGRAM_MAX];
        let mut again = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(None);
            }
            if now >= again {
                socket.send(call.request("INVITE").as_bytes())?;
                again = now + RETRY;
            }
            let wait = again.min(end).saturating_duration_since(now).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(wait))?;
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let answer = &buffer[..length];
                    if sip::status(answer).is_some_and(|code| code >= 200) && call.is_answered_by(answer) {
                        socket.send(call.request("ACK").as_bytes())?;
                        return Ok(Some(answer.to_vec()));
                    }
                }
                Err(error) => match error.kind() {
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// What the requests of one call have in common.
struct TestCall {
    uri: String,
    local: SocketAddr,
    id: String,
    branch: String,
}

impl TestCall {
    fn new(test: &Test, node: SocketAddr, local: SocketAddr) -> TestCall {
        let mut random = [0_u8; 16];
        // Without random bytes two calls look alike, which harms nothing.
        let _ = getrandom::fill(&mut random);
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = test.call_id.clone().unwrap_or_else(|| format!("{random}@{}", local.ip()));
        TestCall { uri: format!("sip:{}@{node}", escaped(&test.number)), local, id, branch: format!("z9hG4bK{random}") }
    }

    fn request(&self, method: &str) -> String {
        let TestCall { uri, local, id, branch } = self;
        let ip = local.ip();
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:rollcall@{host}>;tag={}\r\nTo: <{uri}>\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:rollcall@{local}>\r\nX-Rollcall-Test: 1\r\nContent-Length: 0\r\n\r\n",
            &branch[7..15]
        )
    }

    fn is_answered_by(&self, answer: &[u8]) -> bool {
        let text = String::from_utf8_lossy(answer);
        header(&text, "Call-ID").next() == Some(&self.id)
    }
}

/// A user part of a SIP URI; escapes that are in it stay.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The values of a header of our own answers, which have one line each.
fn header<'a>(answer: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = answer.lines().skip(1).take_while(|line| !line.is_empty());
    headers
        .filter_map(|line| line.split_once(':'))
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn summary(answer: &str) -> serde_json::Value {
    let status = answer.lines().next().unwrap_or_default().splitn(3, ' ').collect::<Vec<_>>();
    let contact = |value: &str| {
        value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(uri, _)| json!({ "uri": uri }))
    };
    let q850 =
        header(answer, "Reason").find_map(|value| value.split("cause=").nth(1)?.split(';').next()?.parse::<u8>().ok());
    json!({
        "code": status.get(1).and_then(|code| code.parse::<u16>().ok()),
        "reason": status.get(2),
        "cause": header(answer, "X-Rollcall-Cause").next(),
        "q850": q850,
        "routes": header(answer, "Contact").filter_map(contact).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_summed_up_as_the_http_face_would() {
        let answer = "SIP/2.0 302 Moved Temporarily\r\nContact: <sip:+91@a.example;transport=tcp>;q=1.0\r\n\
                      Contact: <sip:b.example>;q=0.9\r\nX-Rollcall-Cause: routed\r\n\r\n";
        let expected = json!({
            "code": 302, "reason": "Moved Temporarily", "cause": "routed", "q850": null,
            "routes": [{ "uri": "sip:+91@a.example;transport=tcp" }, { "uri": "sip:b.example" }],
        });
        assert_eq!(summary(answer), expected);
        let answer =
            "SIP/2.0 480 Temporarily Unavailable\r\nReason: Q.850;cause=20\r\nX-Rollcall-Cause: expired\r\n\r\n";
        assert_eq!(summary(answer)["q850"], 20);
    }

    #[test]
    fn a_number_is_written_as_a_user_part() {
        for (text, expected) in
            [("+91 22", "+91%2022"), ("a@b", "a%40b"), ("%2B91", "%2B91"), ("é", "%C3%A9"), ("1:2", "1%3A2")]
        {
            assert_eq!(escaped(text), expected);
        }
    }
}
