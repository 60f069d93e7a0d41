//! One connection, from accept to close.
//!
//! hyper speaks HTTP; this decides when the peer is late, what is said last, and
//! how the socket is closed.
//!
//! What always holds: one timer serves all limits of a connection and moves only
//! when a deadline comes nearer or the timer fires, so a busy connection does
//! not touch it.

use std::{
    any::Any,
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::watch,
    task::coop::unconstrained,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tower_service::Service;
use tracing::{debug, error};

use super::{
    EndlessAnswer, Limits, OverTls, Peer, RefusalResponse, Server,
    transport::{self, AnswerBody, ConnectionProgress, ConnectionStage, SocketStream, Transport},
};

/// How a connection ends.
enum ConnectionEnd {
    /// All is said. The peer may still be sending.
    Said,
    /// This is still to be said.
    Refused(StatusCode),
    /// Nothing was under way.
    Quiet,
    /// An answer is left incomplete, which the peer must be able to tell.
    Cut(&'static str),
}

pub(super) async fn run<S>(
    stream: TcpStream,
    peer: Peer,
    server: Server,
    http1: http1::Builder,
    service: S,
    stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let accepted = Instant::now();
    let first_head = accepted + server.limits.header_timeout;
    let secured = secure(stream, peer, &server, stopped.clone());
    let Ok(Some(stream)) = timeout_at(first_head, secured).await else { return };
    let tls = matches!(stream, SocketStream::Tls(_));
    let Server { limits, refusal, .. } = server;
    let refused = server.refused.clone();
    let progress = Arc::new(ConnectionProgress::default());
    let service = TowerToHyperService::new(service);
    let noted = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let progress = Arc::clone(&noted);
        let request = admit(request, peer, tls, &progress);
        if let (Err(status), Some(refused)) = (&request, &refused) {
            refused(peer.0, *status);
        }
        // The service is called on first poll, so this cannot panic.
        let answer = request.map(|request| service.call(request));
        answer_to(answer, peer, progress, refusal)
    });
    let transport = Transport::new(stream, Arc::clone(&progress), limits.header_bytes_max);
    let mut http = http1.serve_connection(transport, service);

    let mut deadlines = Deadlines::new(limits, accepted);
    let mut timer_at = first_head;
    let mut timer = pin!(sleep_until(timer_at));
    let mut timer_new = true;
    // An error means that the server is gone, which is a stop as well.
    let mut stopped_wake = stopped.clone();
    let mut stop = pin!(stopped_wake.wait_for(|stop| *stop));
    let mut stop_new = true;
    let mut stopping = false;
    let mut idle_at_stop = false;

    let end = poll_fn(|cx| {
        loop {
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut http).poll(cx))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(Ok(()))) if idle_at_stop => return Poll::Ready(ConnectionEnd::Quiet),
                Ok(Poll::Ready(Ok(()))) => return Poll::Ready(ConnectionEnd::Said),
                Ok(Poll::Ready(Err(err))) => return Poll::Ready(failed(&err, peer, &progress)),
                Err(panic) => {
                    log_panic(&*panic, peer);
                    return Poll::Ready(ConnectionEnd::Cut("its answer panicked"));
                }
            }
            // Polled once to be woken, then only when there is news: it takes a lock.
            let news = !stopping && (stop_new || stopped.has_changed().unwrap_or(true));
            stop_new = false;
            if news && Pin::new(&mut unconstrained(stop.as_mut())).poll(cx).is_ready() {
                stopping = true;
                idle_at_stop = progress.stage() == ConnectionStage::Waiting && !progress.body_is_unread();
                Pin::new(&mut http).graceful_shutdown();
                continue;
            }
            let now = Instant::now();
            let Some((deadline, overdue)) = deadlines.next(&progress, now) else {
                return Poll::Pending; // The timer may fire for nothing once.
            };
            if deadline <= now {
                match overdue {
                    Overdue::Request if progress.stage() == ConnectionStage::Head => {
                        return Poll::Ready(ConnectionEnd::Refused(StatusCode::REQUEST_TIMEOUT));
                    }
                    Overdue::Request => return Poll::Ready(ConnectionEnd::Quiet),
                    Overdue::Body if progress.stage() == ConnectionStage::Handling => {
                        progress.body_give_up();
                        continue;
                    }
                    Overdue::Body => return Poll::Ready(ConnectionEnd::Cut("its body is late")),
                    Overdue::Write => return Poll::Ready(ConnectionEnd::Cut("it does not read")),
                }
            }
            if deadline < timer_at || timer_at <= now {
                timer_at = deadline;
                timer.as_mut().reset(deadline);
                timer_new = true;
            }
            // Once polled, the timer wakes this task until it is reset. A task that
            // has used up its budget must not be turned away from that one poll.
            if !timer_new {
                return Poll::Pending;
            }
            timer_new = false;
            if Pin::new(&mut unconstrained(timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;

    let stream = http.into_parts().io.into_stream();
    close(stream, end, peer, &server).await;
}

/// What the first byte of a handshake of TLS says.
const HANDSHAKE: u8 = 0x16;

/// Comes to terms with who speaks TLS, where that is spoken. `None` if there is
/// nobody to talk to any more.
async fn secure(
    stream: TcpStream,
    peer: Peer,
    server: &Server,
    mut stopped: watch::Receiver<bool>,
) -> Option<SocketStream> {
    let Some(certificate) = &server.tls else { return Some(SocketStream::Plain(stream)) };
    let mut first = [0];
    let handshake = async {
        match stream.peek(&mut first).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
        if first[0] != HANDSHAKE {
            // A browser that was sent to the wrong scheme gets an answer; what
            // is no HTTP either gets none.
            let http = first[0].is_ascii_uppercase();
            debug!(peer = %peer.0, http, "{} does not speak TLS", peer.0);
            let end = if http { ConnectionEnd::Refused(StatusCode::UPGRADE_REQUIRED) } else { ConnectionEnd::Quiet };
            close(SocketStream::Plain(stream), end, peer, server).await;
            return None;
        }
        match certificate.acceptor().accept(stream).await {
            Ok(stream) => Some(SocketStream::Tls(Box::new(stream))),
            Err(err) => {
                debug!(peer = %peer.0, %err, "the handshake of {} failed: {err}", peer.0);
                None
            }
        }
    };
    tokio::select! {
        secured = handshake => secured,
        // An error means that the server is gone, which is a stop as well.
        _ = stopped.wait_for(|stop| *stop) => None,
    }
}

/// Checks what hyper lets pass and attaches the peer, or names the refusal.
fn admit(
    request: Request<Incoming>,
    peer: Peer,
    tls: bool,
    progress: &Arc<ConnectionProgress>,
) -> Result<Request<Body>, StatusCode> {
    let expected = request.headers().contains_key(header::EXPECT);
    let mut request = request.map(|body| progress.request_begin(body, expected));
    judge(&request, &progress.head_values("content-length"))?;
    // Of two hosts the one in the target counts (RFC 9112, section 3.2.2).
    let target = request.uri().authority().filter(|_| request.uri().scheme().is_some());
    if let Some(host) = target.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    request.extensions_mut().insert(peer);
    if tls {
        request.extensions_mut().insert(OverTls);
    }
    Ok(request)
}

/// Refuses a head that two readers could understand in two ways, which is how
/// requests are smuggled past a proxy. `lengths` are the values of
/// `Content-Length` on the wire, since hyper drops all but one from the headers.
fn judge<B>(request: &Request<B>, lengths: &[Vec<u8>]) -> Result<(), StatusCode> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.as_bytes()),
        (None, None) if request.version() < Version::HTTP_11 => None,
        (_, _) => return Err(StatusCode::BAD_REQUEST),
    };
    // An empty host is allowed: the target may have no authority.
    let names_host = |host: &[u8]| host.is_empty() || Authority::try_from(host).is_ok() && !host.contains(&b'@');
    if !host.is_none_or(names_host) || lengths.len() > 1 {
        return Err(StatusCode::BAD_REQUEST);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), _) if !lengths.is_empty() => Err(StatusCode::BAD_REQUEST),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(StatusCode::NOT_IMPLEMENTED),
    }
}

/// The status of a head that hyper refused as malformed.
fn malformed(progress: &ConnectionProgress) -> StatusCode {
    let (lengths, codings) = (progress.head_values("content-length"), progress.head_values("transfer-encoding"));
    let digits = |length: &Vec<u8>| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    let number = |length: &Vec<u8>| std::str::from_utf8(length).ok().and_then(|length| length.parse::<u64>().ok());
    match (&lengths[..], &codings[..]) {
        // hyper takes no length that is over 64 bits, or near it.
        ([length], []) if digits(length) && number(length).is_none_or(|length| length > u64::MAX - 2) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        ([], [coding, rest @ ..]) if progress.head_is_http_1_1() => match rest {
            [] if coding.eq_ignore_ascii_case(b"chunked") => StatusCode::BAD_REQUEST,
            _ => StatusCode::NOT_IMPLEMENTED,
        },
        (_, _) => StatusCode::BAD_REQUEST,
    }
}

/// The service's answer, or ours if it panics or the body does not come.
async fn answer_to(
    answer: Result<impl Future<Output = Result<Response<Body>, Infallible>>, StatusCode>,
    peer: Peer,
    progress: Arc<ConnectionProgress>,
    refusal: RefusalResponse,
) -> Result<Response<AnswerBody>, Infallible> {
    let answer = match answer {
        Ok(answer) => {
            let mut answer = pin!(answer);
            poll_fn(|cx| {
                if progress.body_is_late() {
                    return Poll::Ready(Err(StatusCode::REQUEST_TIMEOUT));
                }
                match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(Ok(answer))) => Poll::Ready(Ok(answer)),
                    Err(panic) => {
                        log_panic(&*panic, peer);
                        Poll::Ready(Err(StatusCode::INTERNAL_SERVER_ERROR))
                    }
                }
            })
            .await
        }
        Err(status) => Err(status),
    };
    let mut answer = answer.unwrap_or_else(|status| {
        let (mut parts, body) = refusal(status).into_parts();
        parts.headers = transport::last_headers(parts.headers, body.len());
        Response::from_parts(parts, Body::from(body))
    });
    // Of a connection that ends, nobody waits for more.
    let goes_on = !answer.headers().contains_key(header::CONNECTION);
    progress.pass_rest(goes_on).await;
    if progress.body_is_unread() {
        answer.headers_mut().insert(header::CONNECTION, transport::CLOSE);
    }
    let endless = answer.extensions().get::<EndlessAnswer>().is_some();
    Ok(answer.map(|body| progress.answer_begin(body, endless)))
}

fn log_panic(panic: &(dyn Any + Send), Peer(peer): Peer) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    error!(%peer, "the service panicked at a request of {peer}: {text}");
}

/// What hyper's error means for the peer.
fn failed(err: &hyper::Error, Peer(peer): Peer, progress: &ConnectionProgress) -> ConnectionEnd {
    debug!(%peer, %err, "connection of {peer} failed: {err}");
    match progress.stage() {
        ConnectionStage::Waiting | ConnectionStage::Head => {}
        ConnectionStage::Handling | ConnectionStage::Answering | ConnectionStage::Answered => {
            return ConnectionEnd::Cut("it failed");
        }
    }
    match progress.withheld() {
        // To hyper, a line that does not end is a head too large.
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) if progress.head_is_one_line() => {
            ConnectionEnd::Refused(StatusCode::URI_TOO_LONG)
        }
        Some(StatusCode::BAD_REQUEST) => ConnectionEnd::Refused(malformed(progress)),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => match malformed(progress) {
            StatusCode::PAYLOAD_TOO_LARGE => ConnectionEnd::Refused(StatusCode::PAYLOAD_TOO_LARGE),
            _ => ConnectionEnd::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        },
        Some(status) => ConnectionEnd::Refused(status),
        // The preface of HTTP/2 gets no answer from hyper.
        None if err.is_parse() => ConnectionEnd::Refused(StatusCode::BAD_REQUEST),
        None => ConnectionEnd::Quiet,
    }
}

/// Says what is left to say and closes the socket so that it arrives.
async fn close(mut stream: SocketStream, end: ConnectionEnd, Peer(peer): Peer, server: &Server) {
    match end {
        ConnectionEnd::Quiet => {
            if let SocketStream::Tls(_) = &stream {
                // Without a last word a peer cannot tell this from a cut.
                let _ = timeout(LINGER, stream.shutdown()).await;
            }
            return;
        }
        ConnectionEnd::Cut(reason) => {
            debug!(%peer, "cut the connection of {peer}: {reason}");
            // A reset, since an answer without a length would seem complete.
            let _ = stream.tcp().set_zero_linger();
            return;
        }
        ConnectionEnd::Refused(status) => {
            debug!(%peer, %status, "refused a request of {peer} with {status}");
            if let Some(refused) = &server.refused {
                refused(peer, status);
            }
            let answer = transport::render((server.refusal)(status));
            let write = stream.write_all(&answer);
            if !matches!(timeout(server.limits.write_timeout, write).await, Ok(Ok(()))) {
                return;
            }
        }
        ConnectionEnd::Said => {}
    }
    let shut = timeout(server.limits.write_timeout, stream.shutdown());
    if matches!(shut.await, Ok(Ok(()))) {
        let _ = timeout(LINGER, discard(stream.tcp())).await;
    }
}

/// How long a peer may take to see that we closed, and how much it may send
/// until then.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 8 << 20;

/// Reads until the peer closes. Closing over unread bytes resets the connection,
/// and the peer could lose the answer.
async fn discard(stream: &TcpStream) {
    let mut left = LINGER_BYTES_MAX;
    while left > 0 && stream.readable().await.is_ok() {
        let mut bytes = [0; 4096];
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read),
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// What the peer failed to do in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overdue {
    Request,
    Body,
    Write,
}

/// What we wait for. Equal values are one wait; the number tells two apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// The first request, since the accept.
    First,
    /// A request after this many.
    Next(u64),
    /// The rest of a head after this many requests.
    Head(u64),
    /// Room to write after this many writes.
    Write(u64),
    /// The service, which has no deadline.
    Service,
}

/// How much of a body gives it a second more. A large file on a slow line is
/// not cut while it comes; what dribbles is, as if it did not.
const BODY_BYTES_PER_SECOND: u64 = 8 * 1024;

/// When each wait began.
struct Deadlines {
    limits: Limits,
    wait: Wait,
    since: Instant,
    /// The body awaited last: that of this request, since then.
    body: (u64, Instant),
}

impl Deadlines {
    fn new(limits: Limits, accepted: Instant) -> Deadlines {
        Deadlines { limits, wait: Wait::First, since: accepted, body: (0, accepted) }
    }

    /// The nearest deadline, and what is overdue then.
    fn next(&mut self, progress: &ConnectionProgress, now: Instant) -> Option<(Instant, Overdue)> {
        let wait = Wait::of(progress);
        if wait != self.wait {
            self.wait = wait;
            self.since = now;
        }
        let deadline = match wait {
            Wait::First | Wait::Head(_) => Some((self.since + self.limits.header_timeout, Overdue::Request)),
            Wait::Next(_) => Some((self.since + self.limits.idle_timeout, Overdue::Request)),
            Wait::Write(_) => Some((self.since + self.limits.write_timeout, Overdue::Write)),
            Wait::Service => None,
        };
        let body = progress.body_of().map(|request| {
            if self.body.0 != request {
                self.body = (request, now);
            }
            let earned = Duration::from_secs(progress.body_bytes() / BODY_BYTES_PER_SECOND);
            (self.body.1 + self.limits.body_timeout + earned, Overdue::Body)
        });
        match (deadline, body) {
            (Some(deadline), Some(body)) if body.0 < deadline.0 => Some(body),
            (None, body) => body,
            (deadline, _) => deadline,
        }
    }
}

impl Wait {
    fn of(progress: &ConnectionProgress) -> Wait {
        if let Some(writes) = progress.stalled() {
            return Wait::Write(writes);
        }
        match (progress.stage(), progress.requests()) {
            (ConnectionStage::Waiting | ConnectionStage::Head, 0) => Wait::First,
            (ConnectionStage::Waiting, requests) => Wait::Next(requests),
            (ConnectionStage::Head, requests) => Wait::Head(requests),
            (ConnectionStage::Handling | ConnectionStage::Answering | ConnectionStage::Answered, _) => Wait::Service,
        }
    }
}
