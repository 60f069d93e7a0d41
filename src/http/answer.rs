//! Answers to tenants: their formats, entity tags and headers.
//! Deliberately absent: errors (`error`), the JSON of each thing (`json`).

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::domain::{Dialect, Time};
use crate::inventory::{NumberRef, Snapshot};
use crate::service::Rendered;
use crate::wire::{self, TextForm};

pub const VARY: HeaderValue = HeaderValue::from_static("X-Auth-ID, X-Auth-Token, Accept");
const CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// In which form a list is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListFormat {
    Json,
    Csv,
    Ndjson,
}

impl ListFormat {
    /// What `Accept` may call them.
    const NAMES: [(&str, ListFormat); 5] = [
        ("application/json", ListFormat::Json),
        ("application/*", ListFormat::Json),
        ("*/*", ListFormat::Json),
        ("text/csv", ListFormat::Csv),
        ("application/x-ndjson", ListFormat::Ndjson),
    ];

    /// A row's; each of NDJSON's is a line.
    pub(super) fn form(self) -> TextForm {
        match self {
            ListFormat::Json | ListFormat::Ndjson => TextForm::Json,
            ListFormat::Csv => TextForm::Csv,
        }
    }

    /// What tells its entity tags from those of the others.
    pub(super) fn letter(self) -> char {
        match self {
            ListFormat::Json => 'j',
            ListFormat::Csv => 'c',
            ListFormat::Ndjson => 'n',
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            ListFormat::Json => "application/json",
            ListFormat::Csv => "text/csv; charset=utf-8; header=present",
            ListFormat::Ndjson => "application/x-ndjson",
        })
    }

    /// The streamed form that `Accept` prefers over JSON, else JSON: a client
    /// that asks for something else gets JSON, as one that asks for nothing.
    pub(super) fn negotiate(headers: &HeaderMap) -> ListFormat {
        let mut best = (ListFormat::Json, 0.0);
        for (range, quality) in accepted(headers) {
            let known = ListFormat::NAMES.iter().find(|(known, _)| range.eq_ignore_ascii_case(known));
            let Some(&(_, format)) = known else { continue };
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// What `Accept` names, each with how much it is wanted.
pub(super) fn accepted(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let lines = headers.get_all(header::ACCEPT).iter();
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        (name, quality.unwrap_or(0.0))
    })
}

/// Names the state of the view that an answer was made from: the log up to its
/// last change, the last moment at which the clock alone changed something,
/// the format, and the program that wrote it.
pub(super) fn entity_tag(snapshot: &Snapshot, format: ListFormat, now: Time) -> HeaderValue {
    list_tag(snapshot, format, Dialect::Data, now)
}

/// What an entity or a setting that changes by writes alone is named by where it is shown
/// with what the clock and others do to it: `If-Match` compares what stands for its state.
pub(super) fn state_tag(kind: &str, state: u64) -> String {
    format!("\"{state}-{kind}\"")
}

/// The tag of an answer about one entity: what stands for its state, which `If-Match`
/// compares, before what the rest of the answer was made from.
pub(super) fn with_state(state: u64, tag: &HeaderValue) -> HeaderValue {
    let rest = tag.to_str().unwrap_or_default().trim_start_matches('"');
    HeaderValue::try_from(format!("\"{state}-{rest}")).expect("digits before a tag")
}

/// The same of an answer that another dialect has in another shape.
pub(super) fn list_tag(snapshot: &Snapshot, format: ListFormat, dialect: Dialect, now: Time) -> HeaderValue {
    let head = u64::from_be_bytes(snapshot.head[..8].try_into().expect("eight bytes"));
    let epoch = snapshot.epoch(now).map_or(0, Time::seconds);
    // By hand: `format!` takes longer than looking up the page.
    let mut tag = Vec::with_capacity(64 + crate::BUILD.len());
    tag.push(b'"');
    hex(&mut tag, snapshot.version, 1);
    tag.push(b'-');
    hex(&mut tag, head, 16);
    tag.push(b'-');
    hex(&mut tag, epoch as u64, 1);
    tag.extend_from_slice(&[b'-', format.letter() as u8]);
    if dialect == Dialect::Items {
        tag.push(b'i');
    }
    tag.push(b'-');
    tag.extend_from_slice(crate::BUILD.as_bytes());
    tag.push(b'"');
    HeaderValue::from_bytes(&tag).expect("hexadecimal digits and a version")
}

/// A number in hexadecimal digits, at least `width` of them.
pub(super) fn hex(out: &mut Vec<u8>, value: u64, width: u32) {
    let digits = (u64::BITS - value.leading_zeros()).div_ceil(4).max(width);
    out.extend((0..digits).rev().map(|at| b"0123456789abcdef"[(value >> (at * 4)) as usize & 15]));
}

/// Whether the client has this already (RFC 9110, weak comparison).
pub(super) fn unchanged(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|wanted| wanted == "*" || wanted.strip_prefix("W/").unwrap_or(wanted).as_bytes() == tag.as_bytes())
}

pub(super) fn answer(status: StatusCode, body: Body, tag: HeaderValue, format: Option<ListFormat>) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(format) = format {
        headers.insert(header::CONTENT_TYPE, format.content_type());
    }
    headers.insert(header::ETAG, tag);
    headers.insert(header::CACHE_CONTROL, CACHE);
    headers.insert(header::VARY, VARY);
    response
}

/// The tag of one number: its version first, then what tells apart all that an
/// answer about it can say at that version (a name, an expiry that passed).
pub(super) fn number_tag(row: NumberRef<'_>) -> String {
    let mut text = Vec::with_capacity(wire::ROW_BYTES);
    wire::record::number(&mut text, row);
    text.extend_from_slice(crate::BUILD.as_bytes());
    format!("\"{}-{:08x}\"", row.version(), crc32fast::hash(&text))
}

pub(super) fn respond(rendered: Rendered) -> Response<Body> {
    let Rendered { status, etag, body } = rendered;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, VARY);
    if let Some(tag) = etag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    response
}
