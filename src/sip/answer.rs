//! Answers: the request's Via, From, To, Call-ID and CSeq, and what is said.
//!
//! One Via and one Contact a line, so that simple readers count them. The tag of
//! To is a hash of the deployment's seed and the call, so a retransmission and
//! another node get the same one (RFC 3261, 8.2.7).

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};

use super::message::{Request, RequestFault, Via};
use super::text::{parameter, put, split, trim};

/// How much larger than its request and its Contact lines an answer can be. Most
/// of it is for 70 Via of one line, which get a line each.
pub const ANSWER_EXTRA_MAX: usize = 1_024;

/// The port of an address that names none.
const SIP_PORT: u16 = 5060;

/// What the nodes of a deployment share, so that they give one call one tag.
#[derive(Clone)]
pub struct TagSeed(pub [u8; 32]);

/// What is said to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SipAnswer {
    pub code: u16,
    pub reason: &'static str,
    /// For the header X-Rollcall-Cause.
    pub cause: Option<&'static str>,
    /// The cause of Q.850, for the header Reason (RFC 6432).
    pub q850: Option<u8>,
    /// Whether there is a Retry-After.
    pub later: bool,
}

impl SipAnswer {
    pub const fn plain(code: u16, reason: &'static str) -> SipAnswer {
        SipAnswer { code, reason, cause: None, q850: None, later: false }
    }
}

impl From<RequestFault> for SipAnswer {
    fn from(fault: RequestFault) -> SipAnswer {
        match fault {
            RequestFault::Malformed(_) => SipAnswer::plain(400, "Bad Request"),
            RequestFault::Method => SipAnswer::plain(405, "Method Not Allowed"),
            RequestFault::Scheme => SipAnswer::plain(416, "Unsupported URI Scheme"),
            RequestFault::Extension => SipAnswer::plain(420, "Bad Extension"),
            RequestFault::Version => SipAnswer::plain(505, "Version Not Supported"),
        }
    }
}

/// Where the answer goes (RFC 3261, 18.2.2, and RFC 3581). `reachable` says
/// which addresses may get one; a `maddr` elsewhere is not followed.
pub fn destination(top: &Via<'_>, source: SocketAddr, reachable: impl FnOnce(IpAddr) -> bool) -> SocketAddr {
    let port = top.port.unwrap_or(SIP_PORT);
    if let Some(address) = top.maddr.filter(|address| !address.is_multicast())
        && reachable(address)
    {
        return SocketAddr::new(address, port);
    }
    let mut to = source;
    if !top.rport {
        to.set_port(port);
    }
    to
}

/// Writes the answer to `request`, which came from `source`, in place of what
/// `out` held. Contacts are tried in their order.
pub fn write(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    source: SocketAddr,
    seed: &TagSeed,
    answer: &SipAnswer,
    contacts: impl ExactSizeIterator<Item: Display>,
) {
    out.clear();
    let SipAnswer { code, reason, cause, q850, later } = *answer;
    put_text(out, format_args!("SIP/2.0 {code} {reason}"));
    if let Some(RequestFault::Malformed(what)) = request.fault {
        put_text(out, format_args!(": {what}"));
    }
    out.extend_from_slice(b"\r\nVia: ");
    put_top(out, &request.top, source);
    for via in request.vias().iter().skip(1) {
        field(out, b"\r\nVia: ", via);
    }
    for (name, value) in [
        (&b"\r\nFrom: "[..], request.from),
        (b"\r\nTo: ", request.to),
        (b"\r\nCall-ID: ", request.call_id),
        (b"\r\nCSeq: ", request.cseq),
    ] {
        if value.is_empty() {
            continue;
        }
        field(out, name, value);
        if name == b"\r\nTo: " && !request.to_tag {
            out.extend_from_slice(b";tag=");
            put_tag(out, request, seed);
        }
    }
    for (place, contact) in contacts.enumerate() {
        let q = 10_usize.saturating_sub(place);
        let (whole, tenths) = (q / 10, q % 10);
        put_text(out, format_args!("\r\nContact: <{contact}>;q={whole}.{tenths}"));
    }
    match request.fault {
        Some(RequestFault::Extension) => {
            for required in request.required() {
                field(out, b"\r\nUnsupported: ", required);
            }
        }
        Some(RequestFault::Method) => out.extend_from_slice(ALLOW),
        None if code == 200 => out.extend_from_slice(ALLOW),
        _ => {}
    }
    if later {
        out.extend_from_slice(b"\r\nRetry-After: 1");
    }
    if let Some(q850) = q850 {
        put_text(out, format_args!("\r\nReason: Q.850;cause={q850}"));
    }
    if let Some(cause) = cause {
        put_text(out, format_args!("\r\nX-Rollcall-Cause: {cause}"));
    }
    out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
}

const ALLOW: &[u8] = b"\r\nAllow: INVITE, ACK, CANCEL, OPTIONS";

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    put(out, value);
}

fn put_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

/// The topmost Via, with where its request really came from.
fn put_top(out: &mut Vec<u8>, top: &Via<'_>, source: SocketAddr) {
    let address = source.ip().to_canonical();
    put(out, top.head);
    let mut rest = Some(top.parameters).filter(|text| !trim(text).is_empty());
    while let Some(text) = rest {
        let Some((one, after)) = split(text, b';') else { break };
        rest = after;
        let (name, _) = parameter(one);
        if !name.eq_ignore_ascii_case(b"rport") && !name.eq_ignore_ascii_case(b"received") && !name.is_empty() {
            field(out, b";", one);
        }
    }
    let named = std::str::from_utf8(top.host).ok().and_then(|host| host.parse::<IpAddr>().ok());
    if top.rport || named != Some(address) {
        put_text(out, format_args!(";received={address}"));
    }
    if top.rport {
        put_text(out, format_args!(";rport={}", source.port()));
    }
}

fn put_tag(out: &mut Vec<u8>, request: &Request<'_>, seed: &TagSeed) {
    let mut hash = Sha256::new_with_prefix(seed.0);
    for part in [request.call_id, request.from_tag, request.top.branch] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    for byte in &hash.finalize()[..8] {
        for digit in [byte >> 4, byte & 15] {
            out.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
}
