//! The access log: one line for each request, written when its answer ends.
//!
//! Invariants: a line has no credential: no header's value but the user agent,
//! no value of a parameter that is named like a secret, and no text as long as
//! a token, a session or a link, wherever it stands; the body of an answer is
//! counted and not kept; the thread that serves a request never waits for the
//! reader of the log.
//! Deliberately absent: the answers of the routing listeners, which `/metrics`
//! counts by cause; and the destination of the lines ([`send_to`]).

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use jiff::Timestamp;
use serde_json::json;

use crate::config::AccessLog;
use crate::domain::PartnerId;
use crate::domain::shown::shown;

/// Takes one line with its end.
pub type Sink = fn(Vec<u8>);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Where this process writes its lines. Before it is set, there are none.
pub fn send_to(sink: Sink) {
    let _ = SINK.set(sink);
}

/// A run of so many letters, digits, `_`, `-`, `.` and escapes may be a secret:
/// tokens have 48 characters, sessions and links 52.
const SECRET_CHARS_MIN: usize = 40;
/// The longest target and user agent of a line, in characters.
const TARGET_CHARS_MAX: usize = 2_000;
const HIDDEN: &str = "[hidden]";

/// The line of a request; written when it is dropped.
pub struct AccessLine(Facts);

/// The facts of a request that its line is made of.
struct Facts {
    format: AccessLog,
    began: Instant,
    at: Timestamp,
    client: IpAddr,
    request_id: String,
    method: String,
    target: String,
    version: &'static str,
    agent: Option<String>,
    partner: Option<PartnerId>,
    /// `None` if the client was gone, or too slow, before there was an answer.
    status: Option<StatusCode>,
    bytes: u64,
    /// Whether all of the answer was handed to the connection.
    complete: bool,
}

impl AccessLine {
    pub fn begin<B>(
        format: AccessLog,
        request: &Request<B>,
        client: IpAddr,
        request_id: &str,
    ) -> Option<Box<AccessLine>> {
        if format == AccessLog::Off || SINK.get().is_none() {
            return None;
        }
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        Some(Box::new(AccessLine(Facts {
            method: shown(request.method().as_str()).to_string(),
            target: without_secrets(target),
            version: version(request.version()),
            agent: agent(request.headers()),
            ..Facts::new(format, client, request_id)
        })))
    }
}

impl Facts {
    fn new(format: AccessLog, client: IpAddr, request_id: &str) -> Facts {
        Facts {
            format,
            began: Instant::now(),
            at: Timestamp::now(),
            client,
            request_id: request_id.to_owned(),
            method: String::new(),
            target: String::new(),
            version: "",
            agent: None,
            partner: None,
            status: None,
            bytes: 0,
            complete: false,
        }
    }

    fn text(&self) -> String {
        match self.format {
            AccessLog::Off => String::new(),
            AccessLog::Common => self.common(),
            AccessLog::Json => self.json(),
        }
    }

    /// The Common Log Format, as web servers have it.
    fn common(&self) -> String {
        let request = match self.method.is_empty() {
            true => "-".to_owned(),
            false => format!("{} {} {}", self.method, self.target, self.version),
        };
        let request = request.replace('\\', "\\\\").replace('"', "\\\"");
        let partner =
            self.partner.as_ref().map_or("-".to_owned(), |id| shown(id.as_str()).to_string().replace(' ', "_"));
        let status = self.status.map_or("-".to_owned(), |status| status.as_u16().to_string());
        let bytes = if self.bytes == 0 { "-".to_owned() } else { self.bytes.to_string() };
        let at = self.at.strftime("%d/%b/%Y:%H:%M:%S +0000");
        format!("{} - {partner} [{at}] \"{request}\" {status} {bytes}\n", self.client)
    }

    fn json(&self) -> String {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let line = json!({
            "access": self.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            "request_id": self.request_id,
            "client": self.client.to_string(),
            "partner": self.partner.as_ref().map(|id| id.as_str()),
            "method": known(&self.method),
            "path": known(path),
            "query": known(query),
            "version": known(self.version),
            "status": self.status.map(|status| status.as_u16()),
            "bytes": self.bytes,
            "seconds": (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e6,
            "complete": self.complete,
            "user_agent": self.agent,
        });
        format!("{line}\n")
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let AccessLine(facts) = self;
        if facts.status.is_none() && std::thread::panicking() {
            facts.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        }
        if let Some(sink) = SINK.get() {
            sink(facts.text().into_bytes());
        }
    }
}

/// Writes the line of a request that was refused before it could be read.
pub fn refused(format: AccessLog, peer: SocketAddr, status: StatusCode) {
    if format != AccessLog::Off {
        drop(AccessLine(Facts { status: Some(status), ..Facts::new(format, peer.ip().to_canonical(), "-") }));
    }
}

/// Attaches the line to the answer; it is written when the answer has ended.
pub fn answer(
    line: Option<Box<AccessLine>>,
    partner: Option<PartnerId>,
    method: &Method,
    response: Response<Body>,
) -> Response<Body> {
    let Some(mut line) = line else { return response };
    let whole = response.body().size_hint().exact();
    line.0.status = Some(response.status());
    line.0.partner = partner;
    line.0.complete = *method == Method::HEAD || whole == Some(0);
    response.map(|body| Body::new(Counted { body, whole, line }))
}

/// The body of an answer, counted.
struct Counted {
    body: Body,
    /// Its length, where that is known.
    whole: Option<u64>,
    line: Box<AccessLine>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.line.0.complete = true,
            Some(Ok(frame)) => {
                self.line.0.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.whole == Some(self.line.0.bytes) || self.body.is_end_stream() {
                    self.line.0.complete = true;
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()).into_owned();
    Some(shown(&hide_runs(&text)).to_string())
}

/// The target of a request as it may be logged.
fn without_secrets(target: &str) -> String {
    let target = match target.split_once('?') {
        None => hide_runs(target),
        Some((path, query)) => {
            let pairs: Vec<String> = query.split('&').map(parameter).collect();
            format!("{}?{}", hide_runs(path), pairs.join("&"))
        }
    };
    crate::domain::shown::shown_to(&target, TARGET_CHARS_MAX).to_string()
}

/// One parameter, without its value if its name says that it is a secret.
fn parameter(pair: &str) -> String {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let plain = form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name.to_lowercase());
    match plain.is_some_and(|name| names_a_secret(&name)) {
        true if !value.is_empty() => format!("{}={HIDDEN}", hide_runs(name)),
        true | false => hide_runs(pair),
    }
}

fn names_a_secret(name: &str) -> bool {
    const PARTS: [&str; 9] =
        ["token", "secret", "pass", "pwd", "key", "credential", "signature", "session", "authorization"];
    PARTS.iter().any(|part| name.contains(part)) || matches!(name, "auth" | "code" | "otp" | "sig" | "jwt")
}

/// A text with every run that is as long as a secret hidden.
fn hide_runs(text: &str) -> String {
    let of_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '%' | '+');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = of_run(first);
        let end = rest.find(|c: char| of_run(c) != run).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        let secret = run && (piece.len() >= SECRET_CHARS_MIN || piece.contains("rollcall_"));
        out.push_str(if secret { HIDDEN } else { piece });
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_target_has_no_secret() {
        const SECRET: &str = "0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjk";
        const TOKEN: &str = "rollcall_0123456789abcdefghjkmnpqrstvwxyz0123456";
        for (target, logged) in [
            ("/", "/".to_owned()),
            ("/api/v1/partner/numbers?status=active&page=2", "/api/v1/partner/numbers?status=active&page=2".to_owned()),
            ("/api/v1/partner/numbers/%2B912271264217", "/api/v1/partner/numbers/%2B912271264217".to_owned()),
            ("/x?account_auth_id=MA_1&auth_id=PA_1", "/x?account_auth_id=MA_1&auth_id=PA_1".to_owned()),
            ("/x?token=a&page=1", format!("/x?token={HIDDEN}&page=1")),
            ("/x?Auth_Token=a", format!("/x?Auth_Token={HIDDEN}")),
            ("/x?tok%65n=a", format!("/x?tok%65n={HIDDEN}")),
            (
                "/x?PASSWORD=hunter2&api_key=b&code=123456",
                format!("/x?PASSWORD={HIDDEN}&api_key={HIDDEN}&code={HIDDEN}"),
            ),
            ("/x?token=&secret", "/x?token=&secret".to_owned()),
            (&format!("/console/set-up/{SECRET}"), format!("/console/set-up/{HIDDEN}")),
            (&format!("/x?search={TOKEN}"), format!("/x?search={HIDDEN}")),
            (&format!("/x?{TOKEN}"), format!("/x?{HIDDEN}")),
            (&format!("/x?{TOKEN}=1"), format!("/x?{HIDDEN}=1")),
            ("/x?search=rollcall_short", format!("/x?search={HIDDEN}")),
            (&format!("/x/rollcall%5f{}", &TOKEN[9..]), format!("/x/{HIDDEN}")),
        ] {
            assert_eq!(without_secrets(target), logged, "{target}");
        }
    }

    #[test]
    fn a_line_is_one_line_of_its_format() {
        let line = Facts {
            method: "GET".to_owned(),
            target: "/a?b=\"c\\".to_owned(),
            version: "HTTP/1.1",
            status: Some(StatusCode::OK),
            at: "2026-02-01T10:00:00.25Z".parse().expect("a time"),
            bytes: 12,
            ..Facts::new(AccessLog::Common, IpAddr::from([192, 0, 2, 7]), "req_1")
        };
        assert_eq!(
            line.common(),
            "192.0.2.7 - - [01/Feb/2026:10:00:00 +0000] \"GET /a?b=\\\"c\\\\ HTTP/1.1\" 200 12\n"
        );
        let value: serde_json::Value = serde_json::from_str(&line.json()).expect("JSON");
        assert_eq!(value["access"], "2026-02-01T10:00:00.250Z");
        assert_eq!((&value["status"], &value["bytes"], &value["path"]), (&200.into(), &12.into(), &"/a".into()));
        assert_eq!(value["query"], "b=\"c\\");
    }
}
