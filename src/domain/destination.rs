//! Where calls go: SIP URIs with a priority, a weight and a switch.
//!
//! A URI is parsed once and kept in one spelling: scheme, host and parameters
//! in lower case, everything else as it was written. Invariants: a [`SipUri`]
//! has a host, at most 200 bytes, no header, and no parameter but `transport`
//! and `user`; [`Destinations`] has at most eight entries, each URI once.
//! Deliberately absent: which hosts a partner may name (`routing::policy`), and
//! looking names up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use super::network::network;

/// The longest SIP URI, in bytes.
pub const URI_BYTES_MAX: usize = 200;
/// The most destinations of one application or trunk.
pub const DESTINATIONS_MAX: usize = 8;
/// The longest answer URL, in bytes.
pub const ANSWER_URL_BYTES_MAX: usize = 2_000;
/// The priority and the weight of a destination that names none.
pub const PRIORITY: u16 = 10;
pub const WEIGHT: u16 = 10;

const SCHEME: &str = "sip:";

/// Why text is no SIP URI that calls can go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    #[error("must begin with sip: as in sip:pbx.example; other schemes are not supported")]
    Scheme,
    #[error("is longer than {URI_BYTES_MAX} bytes")]
    Long,
    #[error("has a space, a control character or a character outside ASCII; write it without")]
    Character,
    #[error("has the user part {0:?}, which no SIP URI can have")]
    User(String),
    #[error("has a password; leave it out, because every caller's proxy would see it")]
    Password,
    #[error("has the host {0:?}; it must be a name, an IPv4 address or an IPv6 address in brackets")]
    Host(String),
    #[error("has the port {0:?}; it must be 1 to 65535")]
    Port(String),
    #[error("has headers after a '?'; leave them out")]
    Headers,
    #[error("has the parameter {0:?}; only transport=udp, transport=tcp, transport=tls and user=phone can be given")]
    Parameter(String),
    #[error("has the parameter {0:?} twice")]
    Twice(String),
}

/// A SIP URI that calls can go to.
#[derive(Clone)]
pub struct SipUri {
    text: Arc<str>,
    /// Where the host begins.
    host: u8,
    /// Of the text, for hashes that are fixed over releases.
    hash: u64,
}

/// The host of a [`SipUri`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    /// In lower case.
    Name(&'a str),
    Address(IpAddr),
}

impl SipUri {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn has_user(&self) -> bool {
        usize::from(self.host) > SCHEME.len()
    }

    /// What stands before the host, and the host with all after it. A number
    /// that a URI without a user part gets stands between the two, before `@`.
    pub fn parts(&self) -> (&str, &str) {
        self.text.split_at(usize::from(self.host))
    }

    pub fn host(&self) -> Host<'_> {
        let rest = self.parts().1;
        if let Some(inner) = rest.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let address = inner.parse::<Ipv6Addr>().unwrap_or(Ipv6Addr::UNSPECIFIED);
            return Host::Address(address.into());
        }
        let end = rest.find([':', ';']).unwrap_or(rest.len());
        match rest[..end].parse::<Ipv4Addr>() {
            Ok(address) => Host::Address(address.into()),
            Err(_) => Host::Name(&rest[..end]),
        }
    }

    /// The port, if it names one.
    pub fn port(&self) -> Option<u16> {
        let rest = self.parts().1;
        let after = rest.split(';').next().unwrap_or_default();
        let after = after.rsplit_once(']').map_or(after, |(_, after)| after);
        after.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// A number that names this URI in hashes; the same in every release.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// FNV-1a, 64 bits.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl FromStr for SipUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<SipUri, BadUri> {
        if text.len() > URI_BYTES_MAX {
            return Err(BadUri::Long);
        }
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(BadUri::Character);
        }
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(BadUri::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(BadUri::Scheme);
        }
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(check_user(user)?), rest),
            None => (None, rest),
        };
        if rest.contains('?') {
            return Err(BadUri::Headers);
        }
        let mut parts = rest.split(';');
        let place = check_place(parts.next().unwrap_or_default())?;
        let mut whole = match user {
            Some(user) => format!("{SCHEME}{user}@"),
            None => SCHEME.to_owned(),
        };
        let host = whole.len() as u8;
        whole.push_str(&place);
        let mut names: Vec<String> = Vec::new();
        for parameter in parts {
            let parameter = check_parameter(parameter)?;
            let name = parameter.split('=').next().unwrap_or_default().to_owned();
            if names.contains(&name) {
                return Err(BadUri::Twice(name));
            }
            whole.push(';');
            whole.push_str(&parameter);
            names.push(name);
        }
        let hash = fnv(whole.as_bytes());
        Ok(SipUri { text: whole.into(), host, hash })
    }
}

/// The user part of RFC 3261: escaped bytes are those of printable characters.
fn check_user(user: &str) -> Result<&str, BadUri> {
    if user.contains(':') {
        return Err(BadUri::Password);
    }
    let wrong = || BadUri::User(user.to_owned());
    let mut bytes = user.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or_else(wrong)?;
                if high * 16 + low < 0x20 || high * 16 + low == 0x7f {
                    return Err(BadUri::Character);
                }
            }
            byte if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) => {}
            _ => return Err(wrong()),
        }
    }
    if user.is_empty() { Err(wrong()) } else { Ok(user) }
}

/// Host and port, in the one spelling they are kept in.
fn check_place(text: &str) -> Result<String, BadUri> {
    let wrong = || BadUri::Host(text.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        return match port.strip_prefix(':') {
            Some(port) => Ok(format!("[{address}]:{}", check_port(port)?)),
            None if port.is_empty() => Ok(format!("[{address}]")),
            None => Err(wrong()),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(check_port(port)?)),
        None => (text, None),
    };
    let host = match host.parse::<Ipv4Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host_name(host).ok_or_else(|| BadUri::Host(host.to_owned()))?,
    };
    Ok(port.map_or(host.clone(), |port| format!("{host}:{port}")))
}

fn check_port(text: &str) -> Result<u16, BadUri> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|&port| digits && port > 0);
    port.ok_or_else(|| BadUri::Port(text.to_owned()))
}

/// A host name in lower case and without the dot of the root; `None` if it can
/// be none. The last label begins with a letter: what ends in digits is read as
/// an address by many programs (`127.1`, `0x7f000001`).
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    (name.split('.').all(label) && last.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(name)
}

fn check_parameter(text: &str) -> Result<String, BadUri> {
    let lower = text.to_ascii_lowercase();
    match &*lower {
        "transport=udp" | "transport=tcp" | "transport=tls" | "user=phone" => Ok(lower),
        _ => Err(BadUri::Parameter(text.to_owned())),
    }
}

impl PartialEq for SipUri {
    fn eq(&self, other: &SipUri) -> bool {
        self.text == other.text
    }
}

impl Eq for SipUri {}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl serde::Serialize for SipUri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for SipUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<SipUri, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One place where calls go.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Destination {
    pub uri: SipUri,
    /// Lower ones are tried first.
    pub priority: u16,
    /// The share among those of one priority; at least 1.
    pub weight: u16,
    pub enabled: bool,
}

impl Destination {
    /// With the priority and the weight that hold where none is named.
    pub fn new(uri: SipUri) -> Destination {
        Destination { uri, priority: PRIORITY, weight: WEIGHT, enabled: true }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { uri, priority, weight, enabled } = self;
        write!(f, "{uri} ({priority}/{weight}{})", if *enabled { "" } else { ", off" })
    }
}

/// Why destinations cannot be one list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDestinations {
    #[error("has {0} destinations; at most {DESTINATIONS_MAX} can be given")]
    Many(usize),
    #[error("has {uri} twice; give each URI once")]
    Twice { uri: SipUri, at: usize },
}

/// The destinations of an application or a trunk, in the order they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Destinations(Arc<[Destination]>);

impl Destinations {
    pub fn new(all: Vec<Destination>) -> Result<Destinations, BadDestinations> {
        if all.len() > DESTINATIONS_MAX {
            return Err(BadDestinations::Many(all.len()));
        }
        match (1..all.len()).find(|&at| all[..at].iter().any(|one| one.uri == all[at].uri)) {
            Some(at) => Err(BadDestinations::Twice { uri: all[at].uri.clone(), at }),
            None => Ok(Destinations(all.into())),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[Destination] {
        &self.0
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Destination> {
        self.0.iter()
    }
}

impl fmt::Display for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.iter().enumerate() {
            write!(f, "{}{one}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The address of a web service that an application is answered by; Rollcall
/// hands it on and never calls it. An https URL without spaces and control
/// characters.
pub fn answer_url(text: &str) -> Result<Arc<str>, &'static str> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    if text.len() > ANSWER_URL_BYTES_MAX {
        return Err("is longer than 2000 bytes");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) || host.contains('@') {
        return Err("must be an address such as https://voice.example/answer, without spaces, user or password");
    }
    let port = |authority: &http::uri::Authority| match authority.as_str()[authority.host().len()..].strip_prefix(':') {
        Some(port) => check_port(port).is_ok(),
        None => true,
    };
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some_and(port) => Ok(text.into()),
        _ => Err("must be an address such as https://voice.example/answer, without spaces, user or password"),
    }
}

/// A host that no destination may name: a network, a name, or `*.name` for all
/// names below one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefusedHost {
    Network(IpNet),
    Name(String),
    Below(String),
}

impl RefusedHost {
    /// Whether it is about an address, written one way or the other.
    pub fn has_address(&self, address: IpAddr, as_written: IpAddr) -> bool {
        match self {
            RefusedHost::Network(network) => network.contains(&address) || network.contains(&as_written),
            RefusedHost::Name(_) | RefusedHost::Below(_) => false,
        }
    }

    /// Whether it is about a name, in lower case.
    pub fn has_name(&self, name: &str) -> bool {
        match self {
            RefusedHost::Network(_) => false,
            RefusedHost::Name(own) => own == name,
            RefusedHost::Below(own) => name.strip_suffix(&**own).is_some_and(|rest| rest.ends_with('.')),
        }
    }
}

impl FromStr for RefusedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<RefusedHost, String> {
        if let Some(network) = network(text) {
            return Ok(RefusedHost::Network(network));
        }
        let wrong = || format!("{text:?} must be a network, an address, a host name, or *. before a name");
        match text.strip_prefix("*.") {
            Some(name) => host_name(name).map(RefusedHost::Below).ok_or_else(wrong),
            None => host_name(text).map(RefusedHost::Name).ok_or_else(wrong),
        }
    }
}

impl<'de> serde::Deserialize<'de> for RefusedHost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<RefusedHost, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_uri(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<SipUri>(), expected) {
            (Ok(uri), Ok(expected)) => assert_eq!(uri.as_str(), expected, "{text:?}"),
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part), "{text:?}: {error}");
            }
            (parsed, expected) => panic!("{text:?}: {parsed:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_sip_uri_is_kept_in_one_spelling() {
        for (text, expected) in [
            ("sip:pbx.example", "sip:pbx.example"),
            ("SIP:PBX.Example.", "sip:pbx.example"),
            ("sip:Main@pbx.example:5080", "sip:Main@pbx.example:5080"),
            ("sip:198.51.100.7", "sip:198.51.100.7"),
            ("sip:198.51.100.7:05060", "sip:198.51.100.7:5060"),
            ("sip:[2001:DB8:0::1]", "sip:[2001:db8::1]"),
            ("sip:+91%2B22;phone=1@[2001:db8::1]:5060", "sip:+91%2B22;phone=1@[2001:db8::1]:5060"),
            ("sip:pbx.example;transport=TCP;user=phone", "sip:pbx.example;transport=tcp;user=phone"),
            ("sip:a.b-c.d_e.x1", "sip:a.b-c.d_e.x1"),
        ] {
            check_uri(text, Ok(expected));
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_the_reason() {
        let long = format!("sip:{}.example", "a".repeat(URI_BYTES_MAX));
        for (text, part) in [
            ("", "begin with sip:"),
            ("pbx.example", "begin with sip:"),
            ("sips:pbx.example", "begin with sip:"),
            ("tel:+912271264217", "begin with sip:"),
            ("http://pbx.example", "begin with sip:"),
            ("é", "outside ASCII"),
            ("sip:", "host"),
            ("sip:@pbx.example", "user part"),
            ("sip:a@", "host"),
            ("sip:a@b@pbx.example", "user part"),
            ("sip:a:secret@pbx.example", "password"),
            ("sip:a%0d%0ab@pbx.example", "control character"),
            ("sip:a%4@pbx.example", "user part"),
            ("sip:a<b@pbx.example", "user part"),
            ("sip:pbx.example?Subject=x", "headers"),
            ("sip:pbx.example;lr", "parameter"),
            ("sip:pbx.example;maddr=10.0.0.1", "parameter"),
            ("sip:pbx.example;transport=ws", "parameter"),
            ("sip:pbx.example;transport=udp;transport=tcp", "twice"),
            ("sip:pbx.example;", "parameter"),
            ("sip:pbx.example:", "port"),
            ("sip:pbx.example:0", "port"),
            ("sip:pbx.example:65536", "port"),
            ("sip:pbx.example:+80", "port"),
            ("sip:127.1", "host"),
            ("sip:0x7f000001", "host"),
            ("sip:2130706433", "host"),
            ("sip:10.0.0.256", "host"),
            ("sip:-a.example", "host"),
            ("sip:a..example", "host"),
            ("sip:[::1", "host"),
            ("sip:[::1]x", "host"),
            ("sip:::1", "port"),
            ("sip:[fe80::1%25eth0]", "host"),
            ("sip:pbx.example/path", "host"),
            ("sip:pbx .example", "space"),
            ("sip:pbx.example\r\n", "control character"),
            ("sip:pbx.exämple", "outside ASCII"),
            (&long, "longer"),
        ] {
            check_uri(text, Err(part));
        }
    }

    #[test]
    fn a_uri_says_what_it_has() {
        for (text, host, port, user) in [
            ("sip:pbx.example", Host::Name("pbx.example"), None, false),
            ("sip:a@pbx.example:5080;transport=udp", Host::Name("pbx.example"), Some(5080), true),
            ("sip:192.0.2.1:5061", Host::Address([192, 0, 2, 1].into()), Some(5061), false),
            ("sip:[::1]", Host::Address(Ipv6Addr::LOCALHOST.into()), None, false),
            ("sip:[::1]:5060;user=phone", Host::Address(Ipv6Addr::LOCALHOST.into()), Some(5060), false),
        ] {
            let uri: SipUri = text.parse().expect("a URI");
            assert_eq!((uri.host(), uri.port(), uri.has_user()), (host, port, user), "{text}");
        }
    }

    #[test]
    fn a_list_has_each_uri_once_and_at_most_eight() {
        let one = |text: String| Destination::new(text.parse().expect("a URI"));
        let all = |count: usize| (0..count).map(|at| one(format!("sip:pbx-{at}.example"))).collect::<Vec<_>>();
        assert!(Destinations::new(all(8)).is_ok());
        assert_eq!(Destinations::new(all(9)), Err(BadDestinations::Many(9)));
        let twice = vec![one("sip:a.example".to_owned()), one("sip:A.example".to_owned())];
        assert!(matches!(Destinations::new(twice), Err(BadDestinations::Twice { at: 1, .. })));
    }

    #[test]
    fn an_answer_url_is_https() {
        assert!(answer_url("https://voice.example/answer?x=1").is_ok());
        for text in ["", "http://voice.example", "https://", "https:///x", "https://a b", "https://u@x/", "ftp://x"] {
            assert!(answer_url(text).is_err(), "{text:?}");
        }
    }
}
