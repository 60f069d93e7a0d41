//! Changes as they happen, over server-sent events.
//!
//! A stream is a cursor in the log: it reads a few entries after the last one that
//! it sent, sends them, and sleeps until its node publishes another version.
//! So nothing is lost or sent twice, across reconnects and restarts, as long as
//! the client sends the id of the last event that it got.
//!
//! What always holds:
//! - Entries are read as the client reads them; the buffer is bounded, and a client
//!   that does not read is cut by the server's write timeout.
//! - A stream ends when its key is no longer valid, when the server stops, and as soon as
//!   its client closes the connection, which gives its place back.
//! - A change in a stream is already in the node's lists.
//!
//! Deliberately absent: filters, and a queue for each stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::error::ApiError;
use super::places::{HeldPlace, PlaceKind, PlaceOwner};
use super::server::EndlessAnswer;
use super::{App, answer, json, query};
use crate::domain::{Key, KeyId, Scope, Time};
use crate::inventory::Snapshot;
use crate::service::replica::Node;
use crate::service::replica::access::Access;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks nginx not to collect a stream before passing it on.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How long a stream may say nothing. Proxies take longer silence for a death.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many changes are read at a time.
const CHANGES_AT_ONCE: u64 = 8;
/// How soon a client that was cut off should come back.
const BEGINNING: Bytes = Bytes::from_static(b"retry: 1000\n\n");
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The streams of this process.
pub(super) struct Streams {
    closing: watch::Sender<bool>,
}

impl Streams {
    pub fn new() -> Streams {
        Streams { closing: watch::Sender::new(false) }
    }

    /// Ends all of them, and those to come.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// Whether a client would rather have a stream than a page.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let (mut stream, mut page) = (0.0_f32, 0.0_f32);
    for (range, quality) in answer::accepted(headers) {
        let is = |name: &str| range.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            stream = stream.max(quality);
        } else if is("application/json") || is("application/*") {
            page = page.max(quality);
        }
    }
    stream > 0.0 && stream >= page
}

/// The last change that the client got, if it says so.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    query::version_header(headers, &LAST_EVENT_ID, "Last-Event-ID")
}

/// All changes after a version, and those to come.
pub(super) fn answer(app: &Arc<App>, access: Access, after: u64, address: IpAddr) -> Result<Response<Body>, ApiError> {
    let Access { node, snapshot, key, .. } = access;
    let own = PlaceOwner::Key(snapshot.key, key.clone());
    let place = app.places.enter(PlaceKind::Stream, own, snapshot.key, address)?;
    let (published, closing) = (node.published(), app.streams.closing.subscribe());
    let ready = VecDeque::from([BEGINNING]);
    let changes = ChangeStream { app: app.clone(), node, key, after, ready, published, closing, _place: place };
    let mut response = Response::new(Body::new(Events { step: changes.step() }));
    *response.status_mut() = StatusCode::OK;
    response.extensions_mut().insert(EndlessAnswer);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::VARY, answer::VARY);
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Where one stream is.
struct ChangeStream {
    app: Arc<App>,
    node: Arc<Node>,
    key: KeyId,
    /// The last change that was read.
    after: u64,
    /// What was read and not yet told.
    ready: VecDeque<Bytes>,
    published: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    _place: HeldPlace,
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, ChangeStream)>> + Send>>;

impl ChangeStream {
    fn step(mut self) -> Step {
        Box::pin(async move { self.next().await.map(|bytes| (bytes, self)) })
    }

    /// What is to be said next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + HEARTBEAT;
        loop {
            // Before the snapshot is taken, so that one which comes after it wakes.
            self.published.borrow_and_update();
            let snapshot = self.node.snapshot();
            let expires_at = live(&snapshot, &self.key)?;
            if *self.closing.borrow_and_update() || snapshot.damaged || snapshot.version < self.after {
                return None; // A log that was set back is not the one we told of.
            }
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if snapshot.version > self.after {
                self.read(snapshot).await?;
                continue;
            }
            drop(snapshot);
            let now = Instant::now();
            if now >= quiet_until {
                return Some(COMMENT);
            }
            let expiry = expires_at.map_or(quiet_until, |time| now + until(time));
            tokio::select! {
                changed = self.published.changed() => changed.ok()?,
                changed = self.closing.changed() => changed.ok()?,
                () = tokio::time::sleep_until(quiet_until.min(expiry)) => {}
            }
        }
    }

    /// Reads the next few changes. `None` if they cannot be had: the client
    /// comes back and is told why.
    async fn read(&mut self, snapshot: Arc<Snapshot>) -> Option<()> {
        let (replica, after) = (self.app.replica.clone(), self.after);
        let read = move || {
            let list = replica.changes(&snapshot, after, CHANGES_AT_ONCE, 0, json::INLINE_MAX)?;
            let last = list.last().map(|change| change.version);
            Ok((last, list.iter().map(event).collect::<VecDeque<Bytes>>()))
        };
        match self.app.past.read(read).await {
            Ok((last, events)) => {
                self.after = last?;
                self.ready = events;
                Some(())
            }
            Err(error) => {
                warn!(cause = error.cause(), "a change stream ends because the log cannot be read");
                None
            }
        }
    }
}

fn event(change: &crate::service::past::LoggedChange) -> Bytes {
    let mut out = format!("id: {}\nevent: change\ndata: ", change.version).into_bytes();
    json::change(&mut out, change);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// When the key ends, if it would still be let in; else `None`.
fn live(snapshot: &Snapshot, key: &KeyId) -> Option<Option<Time>> {
    let now = Time::now();
    let opens = |key: &&Key| key.live(now) && key.allows(Scope::Read) && snapshot.partner.suspended_at.is_none();
    snapshot.keys.get(key.as_str()).filter(opens).map(|key| key.expires_at)
}

/// How long it is until a time, by the clock on the wall.
fn until(time: Time) -> Duration {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(time.seconds().max(0) as u64).saturating_sub(since_epoch)
}

/// A stream as a body: one step after the other, as the client reads.
struct Events {
    step: Step,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match ready!(self.step.as_mut().poll(cx)) {
            Some((bytes, changes)) => {
                self.step = changes.step();
                Some(Ok(Frame::data(bytes)))
            }
            None => {
                // Polled again, it has still ended.
                self.step = Box::pin(std::future::ready(None));
                None
            }
        })
    }
}
