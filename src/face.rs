//! The listeners for SIP proxies: a SIP redirect server and an HTTP service with
//! the same answers.
//!
//! What always holds: nothing is bound before the index is loaded; peers outside
//! the askers get no byte; at shutdown, calls are answered for [`DRAIN`] while
//! OPTIONS get 503, then the sockets close.
//! Deliberately absent: the rules of routing (`routing`), and TLS, because both
//! listeners are for the operator's own network.

mod http;
mod measures;
mod sip;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use crate::config::Config;
use crate::domain::Time;
use crate::http::server::contains;
use crate::routing::{Answer, RoutingSettings};
use crate::service::Replica;
use crate::service::replica::routing::RouteRequest;
use crate::trace;

/// For how long calls are answered after the process was asked to end, so that
/// proxies see the 503 to their OPTIONS first.
pub const DRAIN: Duration = Duration::from_secs(2);

/// What both faces answer from.
struct Responder {
    replica: Arc<Replica>,
    settings: RoutingSettings,
    askers: Arc<[IpNet]>,
    /// When the process was asked to end.
    drain_began: OnceLock<Instant>,
    stopped: AtomicBool,
}

impl Responder {
    fn admits(&self, address: IpAddr) -> bool {
        contains(&self.askers, address)
    }

    /// Whether a proxy should go on asking here.
    fn ready(&self) -> bool {
        self.drain_began.get().is_none() && self.replica.can_route(&self.settings)
    }

    /// Answers a call. A trial is answered like a call and is not counted as one.
    fn route<T>(&self, call: &Call<'_>, now: Time, give: impl FnOnce(&Answer<'_>) -> T) -> T {
        let span = trace::call(call.headers);
        let request = RouteRequest { user: call.user, call_id: call.call_id, now };
        self.replica.route(&self.settings, request, |answer| {
            if let Some(span) = &span {
                span.set("rollcall.cause", &answer.line.case.as_str());
                span.number("rollcall.code", answer.line.code.into());
                span.number("rollcall.routes", answer.routes.iter().count() as i64);
            }
            if !call.trial {
                self.replica.refusals.record(answer, now);
                if let Some(row) = answer.row.filter(|row| row.account().is_some()) {
                    row.snapshot().called.record(row.number(), now);
                }
            }
            give(answer)
        })
    }
}

/// A call as a face received it.
struct Call<'a> {
    user: &'a [u8],
    call_id: Option<&'a [u8]>,
    trial: bool,
    /// The headers of a request over HTTP, which may name a trace.
    headers: Option<&'a ::http::HeaderMap>,
}

/// The listeners of a process.
pub struct Faces {
    desk: Arc<Responder>,
    sip: Vec<sip::Listener>,
    http: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    /// Where each face listens.
    pub sip_at: Vec<SocketAddr>,
    pub http_at: Vec<SocketAddr>,
}

impl Faces {
    /// Binds and starts what the settings name. Needs a Tokio runtime.
    pub fn start(replica: &Arc<Replica>, config: &Config) -> io::Result<Faces> {
        let routing = &config.routing;
        let desk = Arc::new(Responder {
            replica: replica.clone(),
            settings: routing.settings(),
            askers: routing.askers().into(),
            drain_began: OnceLock::new(),
            stopped: AtomicBool::new(false),
        });
        let (stop, stopping) = watch::channel(false);
        let mut faces =
            Faces { desk, sip: Vec::new(), http: Vec::new(), stop, sip_at: Vec::new(), http_at: Vec::new() };
        for &address in &routing.http {
            let failed = |error| named(error, "http", address);
            let listener = std::net::TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            info!(%address, "listening on http://{address}/route/ for calls");
            faces.http_at.push(address);
            faces.http.push(http::start(faces.desk.clone(), listener, config, stopping.clone()));
        }
        for &address in &routing.sip {
            let failed = |error| named(error, "sip", address);
            let listener = sip::Listener::start(&faces.desk, address).map_err(failed)?;
            let address = listener.address;
            info!(%address, "listening on sip:{address} (UDP) for calls");
            faces.sip_at.push(address);
            faces.sip.push(listener);
        }
        Ok(faces)
    }

    /// From now on OPTIONS get 503; calls are answered as before.
    pub fn drain(&self) {
        self.desk.drain_began.get_or_init(Instant::now);
    }

    /// Waits for the end of [`DRAIN`], if calls are answered at all.
    pub async fn drained(&self) {
        let began = *self.desk.drain_began.get_or_init(Instant::now);
        if !self.sip.is_empty() || !self.http.is_empty() {
            tokio::time::sleep_until((began + DRAIN).into()).await;
        }
    }

    /// Closes the sockets once what was received is answered.
    pub async fn stop(self) {
        self.desk.stopped.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        for served in self.http {
            // A panic there was logged by its hook.
            let _ = served.await;
        }
        for listener in self.sip {
            listener.join();
        }
    }
}

fn named(error: io::Error, face: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("routing.{face} cannot listen on {address}: {error}"))
}
