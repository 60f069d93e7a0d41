//! One datagram, read as a SIP request.
//!
//! Compact names, folded lines, several Via on one line, quoted strings and bare
//! line feeds are read as RFC 3261 has them. A request that can be answered but
//! not obeyed has a [`RequestFault`]; a datagram that is never answered is a
//! [`Silence`].
//!
//! Invariants: nothing is allocated, nothing panics, and the work is linear in
//! the datagram.

use std::net::IpAddr;

use super::text::{is_space, is_token, number, parameter, split, trim};

/// The largest datagram that is read.
pub const DATAGRAM_MAX: usize = 65_535;
/// The most header lines, each Via of a line with several counted as one line.
pub const HEADERS_MAX: usize = 100;
/// The most Via, over all lines.
pub const VIAS_MAX: usize = 70;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Invite,
    Options,
    Other,
}

/// Why a datagram is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Nothing but line ends: it keeps a path through a NAT open.
    KeepAlive,
    Response,
    Ack,
    Cancel,
    /// No request line.
    NotSip,
    /// A request without a Via that an answer could go by.
    NoVia,
}

/// Why a request is refused before its called number is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestFault {
    /// 505.
    Version,
    /// 400, with what is wrong for the reason phrase.
    Malformed(&'static str),
    /// 405.
    Method,
    /// 416.
    Scheme,
    /// 420: the request requires an extension.
    Extension,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Sip,
    Tel,
    Other,
}

/// A Request-URI, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    pub scheme: Scheme,
    /// The user part as it was sent, without a password; a `tel` URI is one.
    pub user: &'a [u8],
}

/// The topmost Via.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// Protocol and sent-by.
    pub head: &'a [u8],
    /// The parameters, after the first semicolon.
    pub parameters: &'a [u8],
    /// A name or an address, without brackets.
    pub host: &'a [u8],
    pub port: Option<u16>,
    pub branch: &'a [u8],
    /// Whether the answer goes to the port that the request came from.
    pub rport: bool,
    pub maddr: Option<IpAddr>,
}

/// A request that is answered. What is missing is empty, and then there is a
/// fault.
pub struct Request<'a> {
    pub method: Method,
    pub fault: Option<RequestFault>,
    pub uri: Uri<'a>,
    pub top: Via<'a>,
    vias: FixedList<'a, VIAS_MAX>,
    pub from: &'a [u8],
    pub to: &'a [u8],
    pub call_id: &'a [u8],
    pub cseq: &'a [u8],
    pub from_tag: &'a [u8],
    pub to_tag: bool,
    /// Whether it is `rollcall route test` that asks: not a call that counts.
    pub trial: bool,
    required: FixedList<'a, REQUIRED_MAX>,
}

/// The most lines of required extensions that an answer repeats.
const REQUIRED_MAX: usize = 4;

impl<'a> Request<'a> {
    /// All Via, topmost first; the first is [`Request::top`].
    pub fn vias(&self) -> &[&'a [u8]] {
        self.vias.get()
    }

    /// The extensions that the request requires.
    pub fn required(&self) -> &[&'a [u8]] {
        self.required.get()
    }
}

/// A short list without a heap.
struct FixedList<'a, const MAX: usize> {
    items: [&'a [u8]; MAX],
    count: usize,
}

impl<'a, const MAX: usize> FixedList<'a, MAX> {
    const EMPTY: Self = FixedList { items: [&[]; MAX], count: 0 };

    /// Whether there was room.
    fn push(&mut self, item: &'a [u8]) -> bool {
        let Some(place) = self.items.get_mut(self.count) else { return false };
        *place = item;
        self.count += 1;
        true
    }

    fn get(&self) -> &[&'a [u8]] {
        &self.items[..self.count]
    }
}

/// Reads a datagram.
pub fn read(datagram: &[u8]) -> Result<Request<'_>, Silence> {
    let text = datagram.trim_ascii_start();
    if text.is_empty() {
        return Err(Silence::KeepAlive);
    }
    // Only line ends may stand before a message, but what is wrong with white
    // space there is nothing that an answer could not follow.
    let (first, mut rest) = line(text).ok_or(Silence::NotSip)?;
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    if first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return Err(Silence::Response);
    }
    let end = first.iter().position(|&byte| byte == b' ').ok_or(Silence::NotSip)?;
    let (method, target) = (&first[..end], &first[end + 1..]);
    match method {
        b"ACK" => return Err(Silence::Ack),
        b"CANCEL" => return Err(Silence::Cancel),
        _ if !is_token(method) => return Err(Silence::NotSip),
        _ => {}
    }
    let mut fields = HeaderFields::new();
    let ended = loop {
        let Some((header, after)) = header(rest) else { break false };
        rest = after;
        if header.is_empty() {
            break true;
        }
        if !fields.take(header) {
            break true;
        }
    };
    let top = fields.vias.get().first().and_then(|via| read_via(via)).ok_or(Silence::NoVia)?;
    if !ended {
        fields.wrong("no empty line after the header");
    }
    let kind = match method {
        b"INVITE" => Method::Invite,
        b"OPTIONS" => Method::Options,
        _ => Method::Other,
    };
    let (uri, version) = request_line(target, &mut fields);
    let (from_tag, to_tag) = fields.check(method, rest.len());
    let fault = match (version, fields.fault, kind, uri.scheme, fields.required.count) {
        (Version::Other, ..) => Some(RequestFault::Version),
        (_, Some(what), ..) => Some(RequestFault::Malformed(what)),
        (_, _, Method::Other, ..) => Some(RequestFault::Method),
        (.., Scheme::Other, _) => Some(RequestFault::Scheme),
        (.., 1..) => Some(RequestFault::Extension),
        _ => None,
    };
    let HeaderFields { vias, from, to, call_id, cseq, trial, required, .. } = fields;
    let value = Option::unwrap_or_default;
    Ok(Request {
        method: kind,
        fault,
        uri,
        top,
        vias,
        from: value(from),
        to: value(to),
        call_id: value(call_id),
        cseq: value(cseq),
        from_tag,
        to_tag,
        trial,
        required,
    })
}

/// The status of a response; none if the datagram is something else.
pub fn status(datagram: &[u8]) -> Option<u16> {
    let rest = datagram.strip_prefix(b"SIP/2.0 ")?;
    let code = number(rest.get(..3)?)?;
    (rest.get(3) == Some(&b' ') && (100..700).contains(&code)).then_some(code as u16)
}

/// The text up to the next line feed, and what follows.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    Some((&text[..end], &text[end + 1..]))
}

/// The next header with its folded lines, without its last line end, and what
/// follows; empty at the end of the header. None if there is no line end.
fn header(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        end += memchr::memchr(b'\n', &text[end..])?;
        let line = text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]);
        end += 1;
        let folded = matches!(text.get(end), Some(b' ' | b'\t'));
        if line.is_empty() || !folded {
            return Some((line, &text[end..]));
        }
    }
}

enum Version {
    Two,
    Other,
}

/// The Request-URI and the version.
fn request_line<'a>(target: &'a [u8], fields: &mut HeaderFields<'a>) -> (Uri<'a>, Version) {
    let end = target.iter().rposition(|&byte| byte == b' ');
    let (uri, version) = end.map_or((target, &[][..]), |end| (&target[..end], &target[end + 1..]));
    let nothing = Uri { scheme: Scheme::Sip, user: &[] };
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let rest = version.get(..4).filter(|name| name.eq_ignore_ascii_case(b"SIP/")).map(|_| &version[4..]);
        let dotted = |text: &[u8]| {
            let at = text.iter().position(|&byte| byte == b'.')?;
            number(&text[..at]).zip(number(&text[at + 1..]))
        };
        if rest.and_then(dotted).is_some() {
            return (nothing, Version::Other);
        }
        fields.wrong("the request line does not end in SIP/2.0");
        return (nothing, Version::Two);
    }
    match read_uri(uri) {
        Some(uri) => (uri, Version::Two),
        None => {
            fields.wrong("the Request-URI is malformed");
            (nothing, Version::Two)
        }
    }
}

fn read_uri(text: &[u8]) -> Option<Uri<'_>> {
    if text.iter().any(|&byte| byte <= b' ' || byte == 0x7f || b"<>\"".contains(&byte)) {
        return None;
    }
    let colon = text.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
    if !scheme.first()?.is_ascii_alphabetic() || rest.is_empty() {
        return None;
    }
    if !scheme.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return None;
    }
    let cut = |text: &'_ [u8], at: u8| text.iter().position(|&byte| byte == at);
    if scheme.eq_ignore_ascii_case(b"tel") {
        return Some(Uri { scheme: Scheme::Tel, user: rest });
    }
    if !scheme.eq_ignore_ascii_case(b"sip") && !scheme.eq_ignore_ascii_case(b"sips") {
        return Some(Uri { scheme: Scheme::Other, user: &[] });
    }
    let (user, host) = match cut(rest, b'@') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&[][..], rest),
    };
    let host = &host[..host.iter().position(|byte| b";?".contains(byte)).unwrap_or(host.len())];
    if host.is_empty() || host.contains(&b'@') {
        return None;
    }
    let user = &user[..cut(user, b':').unwrap_or(user.len())];
    Some(Uri { scheme: Scheme::Sip, user })
}

/// The topmost Via; none if no answer can go by it.
fn read_via(text: &[u8]) -> Option<Via<'_>> {
    let (head, parameters) = split(text, b';')?;
    let mut parts = head.splitn(3, |&byte| byte == b'/');
    let (name, version, rest) = (parts.next()?, parts.next()?, trim(parts.next()?));
    if !trim(name).eq_ignore_ascii_case(b"SIP") || !is_token(trim(version)) {
        return None;
    }
    let end = rest.iter().position(|&byte| is_space(byte))?;
    if !is_token(&rest[..end]) {
        return None;
    }
    let (host, port) = sent_by(trim(&rest[end..]))?;
    let parameters = parameters.unwrap_or_default();
    let mut via = Via { head: trim(head), parameters, host, port, branch: &[], rport: false, maddr: None };
    let mut rest = Some(parameters).filter(|text| !trim(text).is_empty());
    while let Some(text) = rest {
        let (one, after) = split(text, b';')?;
        rest = after;
        let (name, value) = parameter(one);
        if name.eq_ignore_ascii_case(b"branch") {
            via.branch = value.unwrap_or_default();
        } else if name.eq_ignore_ascii_case(b"rport") {
            via.rport = true;
        } else if name.eq_ignore_ascii_case(b"maddr") {
            let text = std::str::from_utf8(value?).ok()?;
            via.maddr = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
        }
    }
    Some(via)
}

/// Host and port, with white space around the colon.
fn sent_by(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = match text.strip_prefix(b"[") {
        Some(inner) => {
            let end = inner.iter().position(|&byte| byte == b']')?;
            std::str::from_utf8(&inner[..end]).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
            (&inner[..end], trim(&inner[end + 1..]))
        }
        None => {
            let end = text.iter().position(|&byte| byte == b':' || is_space(byte)).unwrap_or(text.len());
            (&text[..end], trim(&text[end..]))
        }
    };
    let allowed = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.iter().all(allowed) {
        return None;
    }
    match rest.strip_prefix(b":") {
        None if rest.is_empty() => Some((host, None)),
        None => None,
        Some(port) => {
            let port = u16::try_from(number(trim(port))?).ok().filter(|&port| port > 0)?;
            Some((host, Some(port)))
        }
    }
}

/// What is gathered of a header.
struct HeaderFields<'a> {
    vias: FixedList<'a, VIAS_MAX>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    hops: Option<&'a [u8]>,
    required: FixedList<'a, REQUIRED_MAX>,
    trial: bool,
    count: usize,
    /// The first thing that is wrong.
    fault: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum HeaderField {
    Via,
    From,
    To,
    CallId,
    CSeq,
    ContentLength,
    MaxForwards,
    Require,
    Trial,
}

/// The names of the header fields that are read; the others are skipped.
const NAMES: [(&[u8], HeaderField); 14] = [
    (b"via", HeaderField::Via),
    (b"v", HeaderField::Via),
    (b"from", HeaderField::From),
    (b"f", HeaderField::From),
    (b"to", HeaderField::To),
    (b"t", HeaderField::To),
    (b"call-id", HeaderField::CallId),
    (b"i", HeaderField::CallId),
    (b"cseq", HeaderField::CSeq),
    (b"content-length", HeaderField::ContentLength),
    (b"l", HeaderField::ContentLength),
    (b"max-forwards", HeaderField::MaxForwards),
    (b"require", HeaderField::Require),
    (b"x-rollcall-test", HeaderField::Trial),
];

impl<'a> HeaderFields<'a> {
    fn new() -> HeaderFields<'a> {
        HeaderFields {
            vias: FixedList::EMPTY,
            from: None,
            to: None,
            call_id: None,
            cseq: None,
            length: None,
            hops: None,
            required: FixedList::EMPTY,
            trial: false,
            count: 0,
            fault: None,
        }
    }

    fn wrong(&mut self, what: &'static str) {
        self.fault.get_or_insert(what);
    }

    /// Takes a header. Whether more can follow.
    fn take(&mut self, header: &'a [u8]) -> bool {
        self.count += 1;
        if self.count > HEADERS_MAX {
            self.wrong("more than 100 header lines");
            return false;
        }
        let Some(colon) = memchr::memchr(b':', header) else {
            self.wrong("a header line without a colon");
            return true;
        };
        let (name, value) = (trim(&header[..colon]), trim(&header[colon + 1..]));
        let Some((_, field)) = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) else { return true };
        let place = match field {
            HeaderField::Via => return self.take_vias(value),
            HeaderField::Trial => {
                self.trial = true;
                return true;
            }
            HeaderField::Require => {
                if !value.is_empty() {
                    self.required.push(value);
                }
                return true;
            }
            HeaderField::From => &mut self.from,
            HeaderField::To => &mut self.to,
            HeaderField::CallId => &mut self.call_id,
            HeaderField::CSeq => &mut self.cseq,
            HeaderField::ContentLength => &mut self.length,
            HeaderField::MaxForwards => &mut self.hops,
        };
        match place {
            None => *place = Some(value),
            Some(_) => self.wrong("a header field that may stand once stands twice"),
        }
        true
    }

    fn take_vias(&mut self, value: &'a [u8]) -> bool {
        let mut rest = Some(value);
        while let Some(text) = rest {
            let Some((via, after)) = split(text, b',') else {
                self.wrong("a quoted string in a Via does not end");
                return true;
            };
            rest = after;
            let via = trim(via);
            if via.is_empty() {
                self.wrong("an empty Via");
            } else if !self.vias.push(via) {
                self.wrong("more than 70 Via");
                return true;
            }
        }
        true
    }

    /// Checks what an answer is made of. The tag of From, and whether To has one.
    fn check(&mut self, method: &[u8], body: usize) -> (&'a [u8], bool) {
        let (from_tag, to_tag) = (self.party(self.from, "From"), self.party(self.to, "To"));
        match self.call_id {
            Some([_, ..]) => {}
            _ => self.wrong("the Call-ID is missing"),
        }
        if self.call_id.is_some_and(|id| id.iter().any(|&byte| is_space(byte) || byte.is_ascii_control())) {
            self.wrong("the Call-ID has a space");
        }
        let cseq = self.cseq.unwrap_or_default();
        let end = cseq.iter().position(|&byte| is_space(byte)).unwrap_or(cseq.len());
        if number(&cseq[..end]).is_none_or(|number| number >= 1 << 31) {
            self.wrong("the CSeq is missing or no number below 2147483648");
        } else if trim(&cseq[end..]) != method {
            self.wrong("the CSeq names another method");
        }
        if let Some(length) = self.length {
            match number(length) {
                Some(length) if length <= body as u64 => {}
                Some(_) => self.wrong("the body is shorter than the Content-Length"),
                None => self.wrong("the Content-Length is no number"),
            }
        }
        if self.hops.is_some_and(|hops| number(hops).is_none_or(|hops| hops > 255)) {
            self.wrong("Max-Forwards is no number up to 255");
        }
        (from_tag.unwrap_or_default(), to_tag.is_some())
    }

    /// The tag of a From or a To.
    fn party(&mut self, value: Option<&'a [u8]>, name: &'static str) -> Option<&'a [u8]> {
        let wrong = match name {
            "From" => "the From is missing or malformed",
            _ => "the To is missing or malformed",
        };
        match value.and_then(tag) {
            Some(tag) => tag,
            None => {
                self.wrong(wrong);
                None
            }
        }
    }
}

/// The tag of a name-addr or addr-spec with parameters, if it has one; none if
/// it is malformed.
#[expect(clippy::option_option, reason = "malformed and without a tag are two answers")]
fn tag(value: &[u8]) -> Option<Option<&[u8]>> {
    let (address, mut rest) = split(value, b';')?;
    let address = trim(address);
    if address.is_empty() || address.iter().any(|&byte| byte.is_ascii_control() && !is_space(byte)) {
        return None;
    }
    if !address.contains(&b':') {
        return None;
    }
    let mut found = None;
    while let Some(text) = rest {
        let (one, after) = split(text, b';')?;
        rest = after;
        let (name, value) = parameter(one);
        if name.eq_ignore_ascii_case(b"tag") && found.is_none() {
            found = Some(value.filter(|value| is_token(value))?);
        }
    }
    Some(found)
}
