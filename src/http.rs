//! The HTTP side: the Partner API, and what operators need of a server.
//!
//! A handler translates: it takes a question apart, asks the index, and writes
//! the answer. Invariants: every answer to a tenant is made from the snapshot
//! that its credentials opened, so there is no other tenant's row to show; the
//! body of every error is the platform's envelope; every answer has an
//! `X-Request-Id`.
//! Deliberately absent: rules about numbers, SQL, writes.

pub mod access;
mod answer;
pub mod bodies;
pub mod body;
mod budget;
pub mod checks;
pub mod compress;
mod cors;
pub mod costs;
pub mod described;
pub mod docs;
mod entities;
pub mod error;
pub mod jobs;
pub mod json;
pub mod live;
pub(crate) mod manage;
pub mod openapi;
mod operations;
mod ops;
mod partner;
mod past;
pub mod places;
pub mod pull;
mod query;
pub mod routing;
pub mod schedules;
pub mod server;
pub mod settings;
mod stream;
mod told;
pub mod waiting;
pub mod webhooks;
mod write;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use governor::DefaultKeyedRateLimiter;
use governor::clock::{Clock, DefaultClock};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_service::Service;

use crate::config::{AccessLog, Config, ConsoleUrl, Origin};
use crate::domain::{Actor, Scope, Time};
use crate::service::SERVING;
use crate::service::background::uploads::Uploads;
use crate::service::people::{self, People, PeopleError};
use crate::service::replica::Node;
use crate::service::replica::access::{Access, Denied};
use crate::service::{self, Replica, token};
use crate::trace::{self, TracedRequest};
use bodies::{Allowance, Bodies};
use error::ApiError;
pub use error::causes;
use live::LiveSettings;
use server::{Certificate, Limits, Peer, Served, Server};
use told::{ResponseMeta, TOLD};

pub const X_AUTH_ID: HeaderName = HeaderName::from_static("x-auth-id");
pub const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The version that an answer must at least be made from.
const INVENTORY_VERSION_AT_LEAST: HeaderName = HeaderName::from_static("inventory-version-at-least");

/// From when on it is told how old an answer is although the database answers:
/// looking has become slow. Two looks, where they are farther apart.
const AGE_TOLD: Duration = Duration::from_secs(2);
/// How often what is over is looked for.
const DELETE_EVERY: Duration = Duration::from_secs(3_600);

/// The longest path and query, in bytes.
const URI_BYTES_MAX: usize = 8_000;

/// What every handler shares.
pub struct App {
    pub replica: Arc<Replica>,
    /// The verbs; each write is asked for under its own name.
    pub service: service::Service,
    /// Who signs in to the console.
    pub people: People,
    /// The files that people give the console to import.
    pub uploads: Uploads,
    pub metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
    costs: costs::BillCache,
    /// Whether letters can be sent at all.
    pub mail: bool,
    /// Where browsers find the console, if it is set.
    console_url: Option<ConsoleUrl>,
    /// The settings that change under way.
    pub live: Arc<LiveSettings>,
    /// How long a request waits for the version it names.
    wait_max: Duration,
    /// Whether `/metrics` and `/digest` have a listener of their own.
    private: bool,
    /// For how long what is known of keys and people is trusted without the
    /// database; `None` is for ever.
    stale_max: Option<Duration>,
    age_told: Duration,
    /// The renewals that `people` knows of.
    renewals: AtomicU64,
    past: past::Reads,
    /// What the settings say of answers to calls.
    pub(crate) routing: crate::routing::RoutingSettings,
    streams: Arc<stream::Streams>,
    /// How many long answers and uploads there may be at once.
    pub places: Arc<places::Places>,
    counted: checks::CachedCounts,
    retention: service::background::retention::Retention,
    /// When what is over was last deleted.
    deleted_over: parking_lot::Mutex<Option<Instant>>,
}

impl App {
    pub fn new(replica: Arc<Replica>, config: &Config) -> App {
        let sessions = people::SignInSettings {
            session_idle_seconds: 60 * usize::from(config.console.session_idle_minutes) as i64,
            session_seconds: 3_600 * usize::from(config.console.session_hours) as i64,
            ..people::SignInSettings::default()
        };
        let people = People::new(replica.store().clone(), sessions);
        let service = service::Service::new(replica.store().clone(), Actor::Server)
            .quarantine(config.quarantine.policy())
            .destinations(config.destinations())
            .batch_rows(config.jobs.batch_rows.into())
            .hooks(service::background::webhooks::Hooks::new(webhooks::settings(config)))
            .replica(replica.clone());
        App {
            replica,
            service,
            people,
            uploads: Uploads::new(config.imports(), usize::from(config.console.import_bytes_max) as u64),
            metrics: None,
            costs: costs::BillCache::default(),
            mail: config.mail.settings().is_some(),
            console_url: config.console.url.set(),
            live: Arc::new(LiveSettings::new(config)),
            wait_max: config.follow.wait_max_ms.into(),
            private: config.http.private_listen.0.is_some(),
            stale_max: Some(config.follow.stale_keys_max).filter(|&max| max > 0).map(Duration::from_secs),
            age_told: AGE_TOLD.max(2 * Duration::from(config.follow.interval_ms)),
            renewals: AtomicU64::new(0),
            past: past::Reads::default(),
            routing: config.routing.settings(),
            streams: Arc::new(stream::Streams::new()),
            places: places::Places::new(&config.limits),
            counted: checks::CachedCounts::default(),
            retention: service::background::retention::Retention {
                jobs_days: config.retention.jobs_days,
                acknowledgements_days: config.retention.acknowledgements_days,
                settings_days: config.retention.settings_days,
            },
            deleted_over: parking_lot::Mutex::default(),
        }
    }

    /// Lets go of what the limiters remember of keys and addresses that have
    /// been quiet, of pasts that nobody asks for, and of what the store keeps
    /// for a time; called now and then, or all of it would only grow. Every node
    /// does so: what one has forgotten, another one finds nothing of.
    pub fn forget_quiet(&self) {
        self.replica.forget_pasts();
        self.uploads.forget_due(&self.service);
        if let Err(error) = self.service.forget_answered() {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot forget answers that nobody retries");
        }
        self.delete_over();
        if let Err(error) = self.people.forget() {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot forget sessions that are over");
        }
        self.live.forget_quiet();
    }

    /// Deletes what has been over for as long as the settings say, once an hour.
    fn delete_over(&self) {
        let mut last = self.deleted_over.lock();
        if last.is_some_and(|last| last.elapsed() < DELETE_EVERY) {
            return;
        }
        match self.service.delete_over(&self.replica, self.retention, Time::now()) {
            Ok(()) => *last = Some(Instant::now()),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot delete what is over; trying again");
            }
        }
    }

    /// Waits for what asks the server to stop, and then ends the answers that
    /// have no end of their own, so that nobody has to wait for them.
    pub async fn ending(&self, asked: impl Future<Output = ()>) {
        asked.await;
        self.streams.close();
        self.service.webhooks_close();
    }

    /// Opens a partner's inventory to a question that `read` takes apart, or says
    /// why not. Only a question that can be answered waits for the version it
    /// names; it is then let in anew, because its key may have been revoked
    /// meanwhile. An id may be made by that version, so an unknown one is no
    /// reason not to wait.
    fn enter<'a, T: Send + 'a>(
        &'a self,
        request: &'a Request<Body>,
        wanted: Scope,
        read: impl FnOnce(&Access, &str) -> Result<T, ApiError> + Send + 'a,
    ) -> impl Future<Output = Result<(Access, T), ApiError>> + Send + 'a {
        // Not of the request itself, whose body is no other thread's to look at.
        let (headers, peer) = (request.headers(), peer(request.extensions()));
        let query = request.uri().query().unwrap_or_default();
        async move {
            let access = self.admit(headers, peer, wanted)?;
            let least = query::version_header(headers, &INVENTORY_VERSION_AT_LEAST, "Inventory-Version-At-Least")?;
            let question = read(&access, query)?;
            let Some(least) = least.filter(|&least| access.snapshot.version < least) else {
                return Ok((access, question));
            };
            let published = access.node.published();
            // A request that waits keeps no old version in memory.
            drop(access);
            self.caught_up(published, least).await;
            let access = self.authenticate(headers, peer, wanted)?;
            match access.snapshot.version {
                version if version >= least => Ok((access, question)),
                version => Err(ApiError::unavailable(&format!(
                    "this node has version {version} of the inventory and not {least} yet; ask again, or another node"
                ))),
            }
        }
    }

    /// Waits until a version can be read, for as long as that may take.
    pub(crate) async fn caught_up(&self, mut published: watch::Receiver<u64>, least: u64) {
        // After the wait, the caller checks again: it may have timed out, or the
        // partner may be gone.
        let _ = tokio::time::timeout(self.wait_max, published.wait_for(|&version| version >= least)).await;
    }

    /// Lets a request in, and takes it from its key's budget.
    fn admit(&self, headers: &HeaderMap, peer: IpAddr, wanted: Scope) -> Result<Access, ApiError> {
        let access = self.authenticate(headers, peer, wanted)?;
        if let Some(budgets) = &*self.live.budgets() {
            budgets.take(&(access.snapshot.key, access.key.clone()))?;
        }
        Ok(access)
    }

    fn authenticate(&self, headers: &HeaderMap, peer: IpAddr, wanted: Scope) -> Result<Access, ApiError> {
        self.trusted().map_err(|why| ApiError::unavailable(&why))?;
        let auth_id = only(headers, &X_AUTH_ID)?.and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
        let auth_id = auth_id.unwrap_or_default();
        let auth_token = only(headers, &X_AUTH_TOKEN)?.map_or(&b""[..], HeaderValue::as_bytes);
        let address = self.client(headers, peer);
        match self.replica.authenticate(auth_id, auth_token, address, wanted, Time::now()) {
            Ok(access) => {
                told::partner(&access.snapshot.partner.auth_id);
                self.tell(&access.node, access.snapshot.version);
                Ok(access)
            }
            Err(Denied::Credentials) => {
                metrics::counter!("rollcall_auth_failures_total").increment(1);
                check(self.live.failures().as_deref(), &address)?;
                Err(ApiError::credentials())
            }
            Err(Denied::Damaged) => Err(ApiError::damaged()),
            // From elsewhere it may be anybody.
            Err(Denied::Network) => Err(ApiError::forbidden("this key may not be used from this network")),
            Err(denied @ (Denied::Suspended | Denied::Scope)) => {
                if let Some(node) = self.replica.node(auth_id) {
                    self.tell(&node, node.snapshot().version);
                }
                Err(match denied {
                    Denied::Suspended => ApiError::suspended(),
                    _ => ApiError::forbidden("this key lacks the scope that this needs"),
                })
            }
        }
    }

    /// Notes for the answer which version it is of, and how old that is where
    /// following is interrupted.
    fn tell(&self, node: &Node, version: u64) {
        let (following, age) = self.replica.freshness();
        let age = Some(age).filter(|&age| !following || age > self.age_told);
        told::version(version);
        told::age(age.max(node.stuck_for()));
    }

    /// Whether what is known of keys and people may still be believed, or why
    /// not: revoking happens in the database.
    pub(crate) fn trusted(&self) -> Result<(), String> {
        let Some(max) = self.stale_max else { return Ok(()) };
        let (_, age) = self.replica.freshness();
        if age <= max {
            return Ok(());
        }
        let (age, max) = (age.as_secs(), max.as_secs());
        Err(format!(
            "this node has not heard from its database for {age} seconds, and trusts what it knows of keys for {max}"
        ))
    }

    /// Whose session this is. After partners changed places, nothing that was
    /// known before is trusted; the caller looks the partner up first.
    pub(crate) fn session(&self, token: &str) -> Result<Option<people::Session>, PeopleError> {
        self.renew_sessions();
        self.people.session(token)
    }

    /// The same if it is in the cache, without waiting.
    pub(crate) fn session_known(&self, token: &str) -> Option<people::Session> {
        self.renew_sessions();
        self.people.session_known(token)
    }

    fn renew_sessions(&self) {
        let renewals = self.replica.renewals();
        if self.renewals.load(Ordering::SeqCst) != renewals {
            self.people.forget_cached();
            self.renewals.store(renewals, Ordering::SeqCst);
        }
    }

    /// `console.url`, if it is set: what links begin with.
    pub fn console_url(&self) -> Option<&str> {
        self.console_url.as_ref().map(ConsoleUrl::as_str)
    }

    /// Its origin, as browsers send it.
    pub fn console_origin(&self) -> Option<&str> {
        self.console_url.as_ref().map(ConsoleUrl::origin)
    }

    /// How private the way is that a request came. A cookie that opens
    /// something is given and taken only if it is not [`Secure::Plain`].
    pub fn secure<B>(&self, request: &Request<B>) -> Secure {
        self.secure_of(request.extensions(), request.headers())
    }

    /// The same, of a request that was taken apart.
    pub fn secure_of(&self, extensions: &http::Extensions, headers: &HeaderMap) -> Secure {
        if extensions.get::<server::OverTls>().is_some() {
            return Secure::Tls;
        }
        let peer = peer(extensions).to_canonical();
        let trusted = self.live.trusted_proxies().iter().any(|network| network.contains(&peer));
        // The last one is the nearest proxy's own.
        let proto = headers.get_all(X_FORWARDED_PROTO).iter().next_back().map(HeaderValue::as_bytes);
        let proto = proto.and_then(|line| line.rsplit(|byte| *byte == b',').next()).unwrap_or_default();
        let proto = proto.trim_ascii();
        // A proxy that does not say how it was reached was reached at `console.url`.
        let unsaid = proto.is_empty() && self.console_origin().is_some_and(|origin| origin.starts_with("https://"));
        if trusted && (unsaid || proto.eq_ignore_ascii_case(b"https")) {
            return Secure::TrustedProxy;
        }
        // Behind a proxy that nobody named, everybody comes from this machine.
        let forwarded = [X_FORWARDED_FOR, X_FORWARDED_PROTO, header::FORWARDED];
        let through = !trusted && forwarded.iter().any(|name| headers.contains_key(name));
        if peer.is_loopback() && !through && self.client(headers, peer).is_loopback() {
            return Secure::Loopback;
        }
        Secure::Plain
    }

    /// The client's address, of a request that was taken apart.
    pub fn client_of(&self, extensions: &http::Extensions, headers: &HeaderMap) -> IpAddr {
        self.client(headers, peer(extensions))
    }

    /// The client's address: the peer's, or what trusted proxies say it is.
    /// Anything further left in `X-Forwarded-For` than the first address that
    /// is not a trusted proxy's was written by strangers.
    pub(crate) fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        client(&self.live.trusted_proxies(), headers, peer)
    }
}

fn client(trusted_proxies: &[IpNet], headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let trusted = |address: &IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if !trusted(&peer) {
        return peer;
    }
    let mut client = peer;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for hop in line.to_str().unwrap_or_default().rsplit(',') {
            let Ok(address) = hop.trim().parse::<IpAddr>() else { return client };
            client = address.to_canonical();
            if !trusted(&client) {
                return client;
            }
        }
    }
    client
}

/// How private the way is that a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secure {
    /// TLS up to here.
    Tls,
    /// TLS up to a trusted proxy, which says so.
    TrustedProxy,
    /// No TLS, and from this machine to itself.
    Loopback,
    /// Anybody on the way can read it: no session cookies.
    Plain,
}

/// A credential header's value; sent twice, it is ambiguous.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(ApiError::bad_request("a credential header was sent more than once")),
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    limiter: Option<&DefaultKeyedRateLimiter<K>>,
    key: &K,
) -> Result<(), ApiError> {
    let Some(limiter) = limiter else { return Ok(()) };
    limiter.check_key(key).map_err(|early| {
        let wait = early.wait_time_from(DefaultClock::default().now());
        ApiError::rate_limit(wait.as_secs() + 1)
    })
}

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    operations::public().with_state(app)
}

/// What is not for the public, for a listener of its own.
pub fn private_router(app: Arc<App>) -> Router {
    operations::private().layer(axum::Extension(ops::Private)).with_state(app)
}

/// Serves until `shutdown` resolves, which is [`App::ending`]'s. `name` is the
/// listener's in the metrics.
pub async fn serve(
    name: &'static str,
    router: Router,
    listener: TcpListener,
    (config, live): (&Config, &Arc<LiveSettings>),
    tls: Option<Arc<Certificate>>,
    shutdown: impl Future<Output = ()>,
) -> Served {
    let http = &config.http;
    let origins = http.cors_origins.as_slice().into();
    let service = Edge {
        router,
        measures: Arc::new(RequestMetrics::register()),
        origins,
        bodies: Arc::new(Bodies::new(&config.limits)),
        live: live.clone(),
        hsts: Some(http.hsts_seconds)
            .filter(|&seconds| seconds > 0)
            .and_then(|seconds| HeaderValue::try_from(format!("max-age={seconds}")).ok()),
    };
    let live = live.clone();
    let refused: server::RefusedHook = Arc::new(move |peer, status| access::refused(live.access(), peer, status));
    Server { name, limits: limits(config), refusal, refused: Some(refused), tls, admitted: None }
        .serve(listener, service, shutdown)
        .await
}

/// What the settings let a peer take.
pub(crate) fn limits(config: &Config) -> Limits {
    let http = &config.http;
    Limits {
        header_timeout: http.header_timeout_ms.into(),
        body_timeout: http.body_timeout_ms.into(),
        idle_timeout: http.idle_timeout_ms.into(),
        write_timeout: http.write_timeout_ms.into(),
        connections_max: http.connections_max.into(),
        connections_per_address_max: Some(http.connections_per_address_max).filter(|&max| max > 0),
        header_bytes_max: http.header_bytes_max.into(),
        shutdown_grace: http.shutdown_grace_ms.into(),
    }
}

/// The answer to what never reached a handler.
pub(crate) fn refusal(status: StatusCode) -> Response<Bytes> {
    ApiError::refusal(status).into_bytes(&token::request_id())
}

/// Around every request: its id, the envelope of its error, its measure.
#[derive(Clone)]
struct Edge {
    router: Router,
    measures: Arc<RequestMetrics>,
    /// Whose web pages may call the API.
    origins: Arc<[Origin]>,
    /// Memory for request bodies.
    bodies: Arc<Bodies>,
    live: Arc<LiveSettings>,
    /// What answers over TLS say of it.
    hsts: Option<HeaderValue>,
}

/// What is counted of requests. Looked up once: a look-up hashes names.
struct RequestMetrics {
    /// By the hundreds of the status, from 2 to 5.
    requests: [metrics::Counter; 4],
    seconds: metrics::Histogram,
}

impl RequestMetrics {
    fn register() -> RequestMetrics {
        let requests = ["2xx", "3xx", "4xx", "5xx"];
        RequestMetrics {
            requests: requests.map(|class| metrics::counter!("rollcall_http_requests_total", "status" => class)),
            seconds: metrics::histogram!("rollcall_http_request_seconds"),
        }
    }

    fn note(&self, status: StatusCode, elapsed: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5);
        self.requests[class - 2].increment(1);
        self.seconds.record(elapsed.as_secs_f64());
    }
}

impl Service<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let started = Instant::now();
        let id = token::request_id();
        let from = || client(&self.live.trusted_proxies(), request.headers(), peer(request.extensions()));
        let format = self.live.access();
        let line = match format {
            AccessLog::Off => None,
            AccessLog::Common | AccessLog::Json => access::AccessLine::begin(format, &request, from(), &id),
        };
        // Only writes need them: the id goes into the log, and they have bodies.
        if !request.method().is_safe() {
            let from = from();
            request.extensions_mut().insert(RequestId(id.as_str().into()));
            request.extensions_mut().insert(Allowance::new(self.bodies.clone(), from));
        }
        let tls = request.extensions().get::<server::OverTls>().is_some();
        let hsts = self.hsts.clone().filter(|_| tls);
        let mut router = self.router.clone();
        let measures = self.measures.clone();
        let origin = cors::allowed(&self.origins, &request);
        let method = line.as_ref().map(|_| request.method().clone()).unwrap_or_default();
        let preflight = origin.as_ref().and_then(|_| cors::preflight(&request));
        let peer = peer(request.extensions()).to_canonical();
        let span = trace::request(&TracedRequest {
            headers: request.headers(),
            method: request.method(),
            id: &id,
            trusted: peer.is_loopback() || server::contains(&self.live.trusted_proxies(), peer),
        });
        let answer = async move {
            let uri_bytes = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
            let mut response = if uri_bytes > URI_BYTES_MAX {
                axum::response::IntoResponse::into_response(ApiError::refusal(StatusCode::URI_TOO_LONG))
            } else if let Some(preflight) = preflight {
                preflight
            } else {
                span.within(Service::call(&mut router, request)).await?
            };
            span.answered(response.status());
            if let Some(error) = response.extensions_mut().remove::<ApiError>() {
                if let Some(cause) = error.cause() {
                    tracing::error!(request.id = %id, cause, "request {id} failed");
                }
                response = error.into_bytes(&id).map(Body::from);
            } else if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(X_REQUEST_ID, id);
            }
            TOLD.with(|told| told.put(response.status(), response.headers_mut()));
            if let Some(origin) = origin {
                cors::put(origin, response.headers_mut());
            }
            if let Some(hsts) = hsts {
                response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
            }
            response.headers_mut().entry(header::SERVER).or_insert(HeaderValue::from_static("rollcall"));
            measures.note(response.status(), started.elapsed());
            let status = response.status().as_u16();
            tracing::debug!(request.id = %id, status, "answered {status}");
            let partner = TOLD.with(|told| told.partner());
            Ok(access::answer(line, partner, &method, response))
        };
        Box::pin(SERVING.scope((), TOLD.scope(ResponseMeta::default(), answer)))
    }
}

/// Names the span of a request by its route, which the router knows.
pub async fn name_span(request: Request<Body>, next: axum::middleware::Next) -> Response<Body> {
    if let Some(route) = request.extensions().get::<axum::extract::MatchedPath>() {
        trace::route(request.method(), route.as_str());
    }
    next.run(request).await
}

/// The request's id, for the log entry of a write.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// The address of the connection, as the accept loop noted it.
pub(crate) fn peer(extensions: &http::Extensions) -> IpAddr {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    extensions.get::<Peer>().map_or(unknown, |peer| peer.0).ip()
}
