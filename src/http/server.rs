//! The accept loop: sockets in, requests to a tower service, answers out.
//!
//! `axum::serve` installs no timer, so a client that sends half a header, or
//! nothing, keeps its connection for ever. Here every wait for a peer ends.
//!
//! What always holds:
//! - A connection waits for its peer only up to a limit: for a head, a body, the
//!   next request, or room to write. While the service works, nothing is cut, unless
//!   its answer is [`EndlessAnswer`] and the peer has closed its half.
//! - Every answer has the caller's envelope and headers, also those to requests
//!   that the service never saw, and those to a service that panicked.
//! - At most `connections_max` sockets are open. Further ones wait in the
//!   kernel's backlog: a burst then costs a delay, where refusing would cost
//!   each client an error and us an accept and a write for each retry. Whatever
//!   holds the places runs into a limit, so the wait ends.
//! - No buffer grows with what a peer sends or fails to read.
//! - A handshake of TLS is part of the wait for the first head, and its
//!   connection has its place among the others.
//! - `serve` returns at most `shutdown_grace` after `shutdown` resolves.
//!
//! Deliberately absent: HTTP/2 (a proxy's work), upgrades, and a timeout
//! for the service itself, which alone knows what may be cancelled half-way.

mod certificate;
mod connection;
mod transport;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::server::conn::http1;
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tower_service::Service;
use tracing::{debug, info, warn};

pub use certificate::{Certificate, CertificateError};

/// How long a peer may keep us waiting, and how much of us it may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a head to its last; for the first request of a
    /// connection, from the accept.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body; a second more for every
    /// 8 kB of it that have arrived.
    pub body_timeout: Duration,
    /// From an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Since the peer last made room for what we have to write.
    pub write_timeout: Duration,
    pub connections_max: usize,
    /// Addresses are IPv4 addresses and IPv6 /64 networks. `None` is no limit,
    /// which is right behind a proxy: all connections are then the proxy's.
    pub connections_per_address_max: Option<usize>,
    /// The request line and the headers together.
    pub header_bytes_max: usize,
    /// How long requests in progress may take to finish at shutdown.
    pub shutdown_grace: Duration,
}

/// The answer to a request that the service never gets: its status (400, 408,
/// 413, 414, 431, 500, 501 or 503; 426 for HTTP in the clear where TLS is spoken)
/// in, the envelope and its headers out. `content-length` and `connection` are
/// added here.
pub type RefusalResponse = fn(StatusCode) -> Response<Bytes>;

/// Hears of the requests that the service never gets.
pub type RefusedHook = Arc<dyn Fn(SocketAddr, StatusCode) + Send + Sync>;

/// The address of the peer, a request extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);

/// On an answer that goes on until one side ends it. A peer that closes its half of the
/// connection meanwhile ends it: with another answer, it would still wait for the rest.
#[derive(Clone, Copy, Debug)]
pub struct EndlessAnswer;

/// A request extension: it came over TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverTls;

/// How the server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Served {
    /// Connections still busy at the end of the grace.
    pub cut: usize,
}

#[derive(Clone)]
pub struct Server {
    /// The listener in the metrics.
    pub name: &'static str,
    pub limits: Limits,
    pub refusal: RefusalResponse,
    pub refused: Option<RefusedHook>,
    /// What is shown to who speaks TLS; without one, HTTP is in the clear.
    pub tls: Option<Arc<Certificate>>,
    /// The networks of the peers that are served; others are hung up on without
    /// a byte. `None` serves all.
    pub admitted: Option<Arc<[IpNet]>>,
}

impl Server {
    /// Serves until `shutdown` resolves, then finishes what is in progress.
    pub async fn serve<S>(self, listener: TcpListener, service: S, shutdown: impl Future<Output = ()>) -> Served
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let limits = self.limits;
        let http1 = self.http1();
        let connections_max = limits.connections_max.max(1);
        let per_address_max = limits.connections_per_address_max.unwrap_or(usize::MAX).max(1);
        let addresses = Addresses::default();
        let measures = Measures::register(self.name);
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut pause = Pause::default();
        let mut shutdown = pin!(shutdown);

        loop {
            let room = connections.len() < connections_max;
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, pause.until), if room => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    pause.lengthen(&err);
                    continue;
                }
            };
            pause = Pause::default();
            if self.admitted.as_ref().is_some_and(|admitted| !contains(admitted, peer.ip())) {
                measures.strangers.increment(1);
                continue;
            }
            let Some(place) = addresses.enter(peer.ip(), per_address_max) else {
                measures.turned_away.increment(1);
                self.turn_away(&stream, peer);
                continue;
            };
            // Answers leave at once: waiting to fill a packet costs up to 40 ms.
            if let Err(err) = stream.set_nodelay(true) {
                debug!(%peer, %err, "connection of {peer} was gone before it was served");
                continue;
            }
            let connection =
                connection::run(stream, Peer(peer), self.clone(), http1.clone(), service.clone(), stopped.clone());
            let open = measures.opened();
            connections.spawn(async move {
                connection.await;
                drop((place, open));
            });
        }

        drop(listener);
        stop.send_replace(true);
        let end = Instant::now() + limits.shutdown_grace;
        let open = connections.len();
        info!(open, "no longer accepting; {open} connections are open");
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout_at(end, finished).await.is_err() {
            // Not awaited: a service that blocks its thread must not keep us here.
            connections.abort_all();
        }
        Served { cut: connections.len() }
    }

    fn http1(&self) -> http1::Builder {
        let mut http1 = http1::Builder::new();
        // hyper's own header timeout would also run between requests, would
        // answer nothing, and would allocate a timer for each request.
        http1.header_read_timeout(None);
        http1.max_header_size(self.limits.header_bytes_max);
        // Bounds what is read ahead, and what is held for a slow reader.
        http1.max_buf_size(self.limits.header_bytes_max.max(BUFFER_BYTES));
        // A client that closes its half after asking still wants the answer.
        http1.half_close(true);
        http1
    }

    /// Says why, if that fits into the socket's buffer, and hangs up.
    fn turn_away(&self, stream: &TcpStream, peer: SocketAddr) {
        debug!(%peer, "too many connections from {peer}");
        let answer = transport::render((self.refusal)(StatusCode::SERVICE_UNAVAILABLE));
        let _ = stream.try_write(&answer);
    }
}

const BUFFER_BYTES: usize = 64 * 1024;

/// The metrics of a listener.
struct Measures {
    accepted: metrics::Counter,
    open: metrics::Gauge,
    /// Closed at once: peers that are not admitted, and addresses with too many
    /// connections.
    strangers: metrics::Counter,
    turned_away: metrics::Counter,
}

impl Measures {
    fn register(name: &'static str) -> Measures {
        let closed = |why| metrics::counter!("rollcall_connections_refused_total", "listener" => name, "why" => why);
        let (strangers, turned_away) = (closed("network"), closed("address"));
        strangers.increment(0);
        turned_away.increment(0);
        let accepted = metrics::counter!("rollcall_connections_total", "listener" => name);
        accepted.increment(0);
        let open = metrics::gauge!("rollcall_connections", "listener" => name);
        open.set(0.0);
        Measures { accepted, open, strangers, turned_away }
    }

    fn opened(&self) -> Opened {
        self.accepted.increment(1);
        self.open.increment(1.0);
        Opened(self.open.clone())
    }
}

/// An open connection in the metrics.
struct Opened(metrics::Gauge);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

async fn accept(listener: &TcpListener, not_before: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(not_before) = not_before {
        sleep_until(not_before).await;
    }
    listener.accept().await
}

/// Whether an address is in one of the networks.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The rest after a failed accept. Without it, a full table of descriptors,
/// which leaves the listener readable, would make the loop spin.
#[derive(Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    fn lengthen(&mut self, err: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(err.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return; // Only that one connection is gone.
        }
        self.length = (self.length * 2).clamp(Self::FIRST, Self::LONGEST);
        self.until = Some(Instant::now() + self.length);
        warn!(%err, pause_ms = self.length.as_millis(), "cannot accept connections: {err}");
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's share of its address, given back on drop.
struct AddressPlace {
    address: IpAddr,
    addresses: Addresses,
}

impl Addresses {
    /// `None` if the address has all its places taken.
    fn enter(&self, address: IpAddr, max: usize) -> Option<AddressPlace> {
        let address = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(AddressPlace { address, addresses: self.clone() })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What one peer is taken to own: an IPv4 address, or the /64 of an IPv6 one.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_network(address: &str, expected: &str) {
        let address = address.parse().expect("an address");
        assert_eq!(network(address).to_string(), expected);
    }

    #[test]
    fn peers_are_counted_by_what_they_own() {
        check_network("192.0.2.7", "192.0.2.7");
        check_network("::ffff:192.0.2.7", "192.0.2.7");
        check_network("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }

    #[test]
    fn pause_grows_to_its_limit_and_not_for_one_lost_connection() {
        let mut pause = Pause::default();
        pause.lengthen(&io::ErrorKind::ConnectionAborted.into());
        assert!(pause.until.is_none());
        let lengths = std::array::from_fn::<_, 9, _>(|_| {
            pause.lengthen(&io::ErrorKind::OutOfMemory.into());
            pause.length.as_millis()
        });
        assert_eq!(lengths, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }
}
