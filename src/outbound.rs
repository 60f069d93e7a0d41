//! One https POST to an address that a customer named.
//!
//! A customer chooses the address, so it is not trusted: the name is looked up
//! once for each attempt, each of its addresses is checked ([`address`]), and the
//! connection goes to those addresses and to no other. The certificate must be
//! valid for the name.
//! Invariants: no redirect is followed and no proxy of the environment is used;
//! an attempt ends at its deadline, whatever the other side does; at most
//! [`ANSWER_BYTES_MAX`] of an answer are read.
//! Deliberately absent: bodies and retries (`service::background::webhooks`), and connections
//! that are kept open: each attempt is checked again.

pub mod address;

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use http::Uri;
use ipnet::IpNet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::config::Config;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};

use crate::trace;

/// How much of an answer is read.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1_024;
/// The longest address that may be named.
pub const URL_BYTES_MAX: usize = 2_000;
/// How long the rest of an answer is waited for once its status is known.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// How much is written at a time.
const PIECE_BYTES: usize = 8 * 1_024;
/// How many addresses of a name are looked at. One that has more is refused,
/// because the others were not checked.
const ADDRESSES_MAX: usize = 16;

/// Whether a request may still be sent.
pub type May = Arc<dyn Fn() -> bool + Send + Sync>;

/// Looks up a name and a port.
pub type Lookup = Arc<dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("cannot use the authorities in {}: {reason}", path.display())]
    Authorities { path: PathBuf, reason: String },
}

/// How an attempt ended. An answer is one whatever its status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: Option<u16>,
    /// Why there was no answer, in words for people.
    pub error: Option<String>,
    /// The beginning of the answer.
    pub body: Vec<u8>,
    pub took: Duration,
}

/// The way out.
pub struct Outbound {
    allow: Vec<IpNet>,
    authorities: Option<PathBuf>,
    timeout: Duration,
    lookup: Lookup,
    /// Made when it is first needed: most commands send nothing.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("allow", &self.allow).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Outbound {
    /// `allow` may be reached although it is not public; `authorities` is a
    /// file of certificates that are trusted besides the usual ones.
    pub fn new(allow: Vec<IpNet>, authorities: Option<PathBuf>, timeout: Duration) -> Outbound {
        let lookup: Lookup = Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()));
        Outbound { allow, authorities, timeout, lookup, tls: OnceLock::new() }
    }

    /// The same with another way to look up names.
    pub fn lookup(self, lookup: Lookup) -> Outbound {
        Outbound { lookup, ..self }
    }

    /// The longest that sending takes.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether it can be used: says at start what is wrong with its file.
    pub fn ready(&self) -> Result<(), OutboundError> {
        let path = self.authorities.clone().unwrap_or_default();
        self.tls().map(drop).map_err(|reason| OutboundError::Authorities { path, reason })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        self.tls.get_or_init(|| client_config(self.authorities.as_deref())).clone()
    }

    /// What is wrong with an address as it stands, without looking it up.
    pub fn check(&self, url: &str) -> Result<(), &'static str> {
        let target = Endpoint::parse(url)?;
        let literals = match target.host.parse::<IpAddr>() {
            Ok(literal) => vec![literal],
            Err(_) => address::of_name(&target.host),
        };
        match literals.is_empty() || literals.iter().any(|&literal| address::permitted(literal, &self.allow)) {
            true => Ok(()),
            false => Err("must not be a private or special address, or a name of this machine"),
        }
    }

    /// Sends once, and waits for the answer. `may` is asked before each piece of
    /// the request: it is not sent to its end once that says no.
    pub fn post(&self, url: &str, headers: &[(&str, String)], body: &[u8], may: &May) -> Reply {
        let began = Instant::now();
        let deadline = began + self.timeout;
        let mut reply = Reply { status: None, error: None, body: Vec::new(), took: Duration::ZERO };
        let span = trace::outgoing("POST");
        span.set("http.request.method", &"POST");
        if let Err(error) = self.exchange(url, headers, body, (deadline, may, &span), &mut reply) {
            reply.error = Some(error);
        }
        reply.took = began.elapsed();
        if let Some(status) = reply.status {
            span.number("http.response.status_code", status.into());
        }
        if let Some(error) = &reply.error {
            span.failed(error);
        }
        reply
    }

    fn exchange(
        &self,
        url: &str,
        headers: &[(&str, String)],
        body: &[u8],
        (deadline, may, span): (Instant, &May, &trace::Span),
        reply: &mut Reply,
    ) -> Result<(), String> {
        let target = Endpoint::parse(url).map_err(|wrong| format!("the address {wrong}"))?;
        // The host alone: paths and queries may have secrets.
        span.set("server.address", &target.host);
        let addresses = self.resolve(&target, deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .https_only(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(left))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .max_idle_connections(0)
            // A piece at a time, since the time left is asked for with each.
            .output_buffer_size(PIECE_BYTES)
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector =
            ().chain(TcpConnector::default()).chain(TlsConnector { config: self.tls()?, deadline, may: may.clone() });
        let agent = ureq::Agent::with_parts(config, connector, Pinned(addresses));
        let mut request = agent.post(url).content_type("application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(parent) = span.parent_header() {
            request = request.header("traceparent", parent);
        }
        let mut answer = request.send(body).map_err(|error| describe(&error))?;
        reply.status = Some(answer.status().as_u16());
        // Whatever becomes of the rest, the status was said.
        let _ = answer.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut reply.body);
        Ok(())
    }

    /// Resolves an address, connects, and completes the TLS handshake. Sends no
    /// request.
    pub fn reach(&self, url: &str) -> Result<(), String> {
        let target = Endpoint::parse(url).map_err(|wrong| format!("the address {wrong}"))?;
        let deadline = Instant::now() + self.timeout;
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let addresses = self.resolve(&target, deadline)?;
        let mut connected = addresses.iter().map(|address| TcpStream::connect_timeout(address, left()));
        let mut stream = connected.find_map(Result::ok).ok_or("no address of the name accepts a connection")?;
        let times = stream.set_read_timeout(Some(left())).and_then(|()| stream.set_write_timeout(Some(left())));
        times.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(target.host.clone()).map_err(|_| BAD_HOST.to_owned())?;
        let mut tls = ClientConnection::new(self.tls()?, name).map_err(|error| error.to_string())?;
        tls.complete_io(&mut stream).map_err(|error| format!("the TLS handshake failed: {error}"))?;
        tls.send_close_notify();
        let _ = tls.complete_io(&mut stream);
        Ok(())
    }

    /// The addresses of a name, all of which may be reached. The system's
    /// look-up has no limit in time, so it has a thread, which ends by itself.
    fn resolve(&self, target: &Endpoint, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        let found = match target.host.parse::<IpAddr>() {
            Ok(literal) => vec![SocketAddr::new(literal, target.port)],
            Err(_) => {
                let (give, taken) = mpsc::sync_channel(1);
                let (lookup, host, port) = (self.lookup.clone(), target.host.clone(), target.port);
                std::thread::spawn(move || {
                    // Nobody may be waiting any more.
                    let _ = give.send(lookup(&host, port));
                });
                let left = deadline.saturating_duration_since(Instant::now());
                match taken.recv_timeout(left) {
                    Ok(Ok(found)) => found,
                    Ok(Err(_)) => return Err("the name was not found".to_owned()),
                    Err(_) => return Err("the name was not found in time".to_owned()),
                }
            }
        };
        if found.is_empty() {
            return Err("the name has no address".to_owned());
        }
        if found.len() > ADDRESSES_MAX {
            return Err(format!("the name has more than {ADDRESSES_MAX} addresses"));
        }
        // One that is not public is enough: which one is connected to would be
        // the name's owner's choice. Which it is stays unsaid; it may be ours.
        if found.iter().any(|found| !address::permitted(found.ip(), &self.allow)) {
            return Err("refused: the address is private or special, or the name leads to one that is".to_owned());
        }
        Ok(found)
    }
}

/// For a request that nothing takes back.
pub fn always() -> May {
    Arc::new(|| true)
}

/// Where an address leads.
#[derive(Debug)]
struct Endpoint {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

impl Endpoint {
    fn parse(url: &str) -> Result<Endpoint, &'static str> {
        if url.len() > URL_BYTES_MAX {
            return Err("must be at most 2000 characters long");
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be visible ASCII; write other names as xn--…");
        }
        if url.contains('#') {
            return Err("must not have a fragment");
        }
        let uri: Uri = url.parse().map_err(|_| "must be an address such as https://example.com/hook")?;
        if uri.scheme_str() != Some("https") {
            return Err("must begin with https://");
        }
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            return Err("must not have a user or password");
        }
        let host = authority.host();
        let said = &authority.as_str()[host.len()..];
        let port = match said.strip_prefix(':') {
            None => 443,
            Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or("must have a port from 1 to 65535")?,
        };
        let bare = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().map(|_| literal).map_err(|_| BAD_HOST)?,
            None => host,
        };
        // `127.1`, `2130706433` and `0x7f000001` are addresses to some.
        let last = bare.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let number = last.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        if bare.parse::<IpAddr>().is_err() && (number || ServerName::try_from(bare).is_err()) {
            return Err(BAD_HOST);
        }
        Ok(Endpoint { host: bare.to_owned(), port })
    }
}

const BAD_HOST: &str = "must name a host, or an address such as 192.0.2.1 or [2001:db8::1]";

/// Gives the addresses that were checked, whatever is asked for.
#[derive(Debug)]
struct Pinned(Vec<SocketAddr>);

impl Resolver for Pinned {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        self.0.iter().for_each(|&address| addresses.push(address));
        Ok(addresses)
    }
}

fn client_config(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = authorities {
        let wrong = |error: rustls::pki_types::pem::Error| error.to_string();
        let mut added = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
            roots.add(certificate.map_err(wrong)?).map_err(|error| error.to_string())?;
            added += 1;
        }
        if added == 0 {
            return Err("it has no certificate".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Wraps a connection in TLS, with our roots and within our time: ureq's own
/// takes either the usual roots or others, and not both.
struct TlsConnector {
    config: Arc<ClientConfig>,
    deadline: Instant,
    may: May,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = TlsTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<TlsTransport>, ureq::Error> {
        let Some(below) = chained else { return Err(ureq::Error::ConnectionFailed) };
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ureq::Error::Tls("the host is not a name"))?;
        let mut tls = ClientConnection::new(self.config.clone(), name)?;
        let mut socket = TransportAdapter::new(below.boxed(), details.current_time.clone());
        let left = self.deadline.saturating_duration_since(Instant::now());
        socket.set_timeout(NextTimeout { after: left.into(), ..details.timeout });
        tls.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(TlsTransport { buffers, stream: StreamOwned::new(tls, socket), may: self.may.clone() }))
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    may: May,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        use std::io::Write;
        if !(self.may)() {
            return Err(std::io::Error::new(std::io::ErrorKind::Interrupted, "not sent").into());
        }
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Why there was no answer, without what only we need to know.
fn describe(error: &ureq::Error) -> String {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => format!("TLS: {error}"),
            None => match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer in time".to_owned(),
                ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                    "the connection was closed".to_owned()
                }
                _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                    Some(inner) => describe(inner),
                    None => format!("the connection failed: {}", error.kind()),
                },
            },
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(url: &str, expected: Result<(), &str>) {
        let allow = vec!["10.1.0.0/16".parse().expect("a network")];
        let outbound = Outbound::new(allow, None, Duration::from_secs(1));
        let found = outbound.check(url);
        match expected {
            Ok(()) => assert_eq!(found, Ok(()), "{url}"),
            Err(part) => assert!(found.is_err_and(|found| found.contains(part)), "{url}: {found:?}"),
        }
    }

    #[test]
    fn addresses_as_they_stand() {
        check_url("https://example.com/hook?token=1", Ok(()));
        check_url("HTTPS://example.com:8443", Ok(()));
        check_url("https://xn--bcher-kva.example/", Ok(()));
        check_url("https://8.8.8.8/", Ok(()));
        check_url("https://[2606:4700::1111]/", Ok(()));
        check_url("https://10.1.2.3/", Ok(()));
        // Where another name leads is seen when it is looked up.
        for name in ["localhost", "LocalHost.", "a.localhost"] {
            check_url(&format!("https://{name}/"), Err("this machine"));
        }
        check_url("https://localhost.example/", Ok(()));
        for (url, part) in [
            ("http://example.com/", "https"),
            ("ftp://example.com/", "https"),
            ("example.com", "https"),
            ("/hook", "https"),
            ("", "such as"),
            ("https://", "such as"),
            ("https:///hook", "such as"),
            ("https://user@example.com/", "user"),
            ("https://user:password@example.com/", "user"),
            ("https://example.com/#part", "fragment"),
            ("https://example.com/a b", "visible"),
            ("https://bücher.example/", "visible"),
            ("https://example.com:0/", "port"),
            ("https://example.com:/", "port"),
            ("https://example.com:70000/", "port"),
            ("https://127.0.0.1/", "private"),
            ("https://10.2.0.1/", "private"),
            ("https://169.254.169.254/latest/meta-data", "private"),
            ("https://[::1]/", "private"),
            ("https://[::ffff:127.0.0.1]/", "private"),
            ("https://[fd00::1]/", "private"),
            ("https://[fe80::1%25eth0]/", ""),
            ("https://127.1/", "name a host"),
            ("https://2130706433/", "name a host"),
            ("https://0x7f000001/", "name a host"),
            ("https://0177.0.0.1/", "name a host"),
            ("https://1.2.3.0x4/", "name a host"),
            ("https://127.0.0.1./", "name a host"),
            ("https://a..b/", "name a host"),
        ] {
            check_url(url, Err(part));
        }
        check_url(&format!("https://example.com/{}", "x".repeat(2_000)), Err("2000"));
    }

    #[track_caller]
    fn check_refused(addresses: &[&str]) {
        let found: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let outbound = Outbound::new(Vec::new(), None, Duration::from_secs(1));
        let outbound = outbound.lookup(Arc::new(move |_, _| Ok(found.clone())));
        let reply = outbound.post("https://receiver.example/", &[], b"{}", &always());
        assert_eq!(reply.status, None);
        assert!(reply.error.as_deref().is_some_and(|error| error.starts_with("refused")), "{addresses:?}: {reply:?}");
    }

    #[test]
    fn a_name_that_leads_inside_is_refused() {
        check_refused(&["127.0.0.1:443"]);
        check_refused(&["[::1]:443"]);
        check_refused(&["[::ffff:10.0.0.1]:443"]);
        check_refused(&["[64:ff9b::10.0.0.1]:443"]);
        // A public one beside it does not help, in either order.
        check_refused(&["93.184.215.14:443", "192.168.0.1:443"]);
        check_refused(&["192.168.0.1:443", "93.184.215.14:443"]);
        check_refused(&["93.184.215.14:443", "[fd00::7]:443"]);
    }

    #[test]
    fn a_look_up_that_hangs_ends_in_time() {
        let outbound = Outbound::new(Vec::new(), None, Duration::from_millis(50));
        let outbound = outbound.lookup(Arc::new(|_, _| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(Vec::new())
        }));
        let reply = outbound.post("https://receiver.example/", &[], b"{}", &always());
        assert_eq!(reply.error.as_deref(), Some("the name was not found in time"));
        assert!(reply.took < Duration::from_secs(4), "{:?}", reply.took);
    }
}
