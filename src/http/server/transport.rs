//! A socket that knows where its connection stands.
//!
//! hyper tells nobody when a request begins, when an answer has left, or that it
//! is about to answer by itself. The socket sees the bytes and the service sees
//! the requests; together, in [`ConnectionProgress`], they know.
//!
//! What always holds: bytes that hyper writes while no request is in the
//! service's hands are its own bare answer to something unparseable. They are
//! withheld, and the connection sends the caller's refusal in their place.
//!
//! Deliberately absent: clocks. [`super::connection`] decides what is late.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    task::coop::unconstrained,
};
use tokio_rustls::server::TlsStream;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionStage {
    /// For the first byte of a request.
    Waiting,
    /// For the rest of a head.
    Head,
    /// The service has a request and has not answered.
    Handling,
    /// hyper takes the answer's body.
    Answering,
    /// hyper has the whole answer and may not have written it.
    Answered,
}

/// The notes of one connection, shared by its socket, its service calls and the
/// bodies. All but a request body that was given away live in one task, so
/// relaxed atomics do.
#[derive(Default)]
pub(super) struct ConnectionProgress {
    stage: AtomicU8,
    /// How many requests the service got; the last one's ordinal.
    requests: AtomicU64,
    /// The request whose body has not arrived completely, or 0.
    body_of: AtomicU64,
    /// How much of that body has been taken, in bytes.
    body_bytes: AtomicU64,
    body_late: AtomicBool,
    /// The last request that was answered without its body having been read.
    body_unread_of: AtomicU64,
    /// The rest of a small body that nobody wanted.
    rest: Mutex<Option<Incoming>>,
    /// Whether the answer under way is [`EndlessAnswer`](super::EndlessAnswer).
    endless: AtomicBool,
    writes: AtomicU64,
    stalled: AtomicBool,
    /// The status that was withheld, or 0.
    withheld: AtomicU16,
    /// The bytes read since the last answer left and before the next request
    /// began: usually one head and the start of its body.
    head: Mutex<Vec<u8>>,
}

impl ConnectionProgress {
    pub(super) fn stage(&self) -> ConnectionStage {
        const STAGES: [ConnectionStage; 5] = [
            ConnectionStage::Waiting,
            ConnectionStage::Head,
            ConnectionStage::Handling,
            ConnectionStage::Answering,
            ConnectionStage::Answered,
        ];
        STAGES[usize::from(self.stage.load(Relaxed))]
    }

    fn enter(&self, stage: ConnectionStage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The request whose body we wait for.
    pub(super) fn body_of(&self) -> Option<u64> {
        Some(self.body_of.load(Relaxed)).filter(|request| *request != 0)
    }

    /// How many bytes of that body have arrived.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Relaxed)
    }

    pub(super) fn body_is_late(&self) -> bool {
        self.body_late.load(Relaxed)
    }

    /// Gives up on the body: the service call answers 408 when polled next.
    pub(super) fn body_give_up(&self) {
        self.body_of.store(0, Relaxed);
        self.body_late.store(true, Relaxed);
    }

    /// Whether the present request's body is still to come and unwanted: hyper will then
    /// close after the answer.
    pub(super) fn body_is_unread(&self) -> bool {
        let request = self.requests();
        request != 0 && self.body_unread_of.load(Relaxed) == request
    }

    /// If a write waits for the peer, how many came before it.
    pub(super) fn stalled(&self) -> Option<u64> {
        self.stalled.load(Relaxed).then(|| self.writes.load(Relaxed))
    }

    /// The status that hyper answered by itself.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.withheld.load(Relaxed)).ok()
    }

    /// The service gets a request. The body to give it tells when it is complete.
    /// `expected` is whether the client waits for a word before it sends the body.
    pub(super) fn request_begin(self: &Arc<ConnectionProgress>, body: Incoming, expected: bool) -> Body {
        let request = self.requests() + 1;
        self.requests.store(request, Relaxed);
        self.enter(ConnectionStage::Handling);
        if body.is_end_stream() {
            return Body::empty();
        }
        self.body_of.store(request, Relaxed);
        self.body_bytes.store(0, Relaxed);
        Body::new(RequestBody { body: Some(body), request, expected, complete: false, progress: Arc::clone(self) })
    }

    /// Waits for the rest of a small body that nobody wanted. Many clients send it in a packet
    /// of its own: hyper would not find it yet, and close the connection without having said so.
    /// Without `wait` it is given up at once.
    pub(super) async fn pass_rest(&self, wait: bool) {
        let request = self.requests();
        if self.body_of() != Some(request) {
            return;
        }
        let Some(mut rest) = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let passed = poll_fn(|cx| {
            loop {
                if !wait || self.body_is_late() {
                    return Poll::Ready(false);
                }
                match ready!(Pin::new(&mut rest).poll_frame(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return Poll::Ready(false),
                    None => return Poll::Ready(true),
                }
            }
        });
        if !passed.await {
            self.body_unread_of.store(request, Relaxed);
        }
        self.body_end(request);
    }

    /// The service has answered. The body to give to hyper tells when it is taken.
    pub(super) fn answer_begin(self: Arc<ConnectionProgress>, body: Body, endless: bool) -> AnswerBody {
        self.enter(ConnectionStage::Answering);
        self.endless.store(endless, Relaxed);
        AnswerBody { body, progress: self }
    }

    /// The values that the head has on the wire for a header, of the head that
    /// was read since the last answer. Of pipelined heads only the first is known.
    pub(super) fn head_values(&self, name: &str) -> Vec<Vec<u8>> {
        // As hyper does, pass over empty lines before the request line.
        let head = self.head();
        let lines = head.trim_ascii_start().split(|byte| *byte == b'\n').skip(1);
        let lines = lines.take_while(|line| !line.trim_ascii().is_empty());
        let value = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let named = line[..colon].eq_ignore_ascii_case(name.as_bytes());
            named.then(|| line[colon + 1..].trim_ascii().to_vec())
        };
        lines.filter_map(value).collect()
    }

    /// Whether the request line of that head says HTTP/1.1.
    pub(super) fn head_is_http_1_1(&self) -> bool {
        let head = self.head();
        let line = head.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.trim_ascii_end().ends_with(b" HTTP/1.1")
    }

    /// Whether what was read is a request line without an end.
    pub(super) fn head_is_one_line(&self) -> bool {
        !self.head().trim_ascii_start().contains(&b'\n')
    }

    fn head(&self) -> MutexGuard<'_, Vec<u8>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn body_end(&self, request: u64) {
        // A body that outlives its request must not end another one's wait.
        let _ = self.body_of.compare_exchange(request, 0, Relaxed, Relaxed);
    }

    fn read(&self, bytes: &[u8], head_bytes_max: usize) {
        // At the end of the stream hyper knows what to do; and a body that was
        // given away may still be arriving after the answer.
        if bytes.is_empty() || self.body_of().is_some() {
            return;
        }
        // An empty line after a body, which old clients send, begins nothing.
        if self.stage() == ConnectionStage::Waiting && bytes.trim_ascii().is_empty() {
            return;
        }
        self.enter(ConnectionStage::Head);
        let mut head = self.head();
        if head.len() < head_bytes_max {
            head.extend_from_slice(bytes);
        }
    }

    fn flushed(&self) {
        if self.stage() != ConnectionStage::Answered {
            return;
        }
        self.enter(ConnectionStage::Waiting);
        let mut head = self.head();
        head.clear();
        head.shrink_to(READ_BYTES);
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Pending => self.stalled.store(true, Relaxed),
            Poll::Ready(_) => {
                self.stalled.store(false, Relaxed);
                self.writes.store(self.writes.load(Relaxed) + 1, Relaxed);
            }
        }
    }

    fn stalled_at_flush(&self, stalled: bool) {
        self.stalled.store(stalled, Relaxed);
    }

    /// Takes note of an answer that hyper writes by itself, to be dropped.
    fn withhold(&self, bytes: &[u8]) -> bool {
        match self.stage() {
            ConnectionStage::Handling | ConnectionStage::Answering | ConnectionStage::Answered => return false,
            ConnectionStage::Waiting | ConnectionStage::Head => {}
        }
        let status = bytes.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
        match status {
            // "100 Continue", for a body that was given away before the answer.
            Some(status) if status.is_informational() => false,
            Some(status) => {
                self.withheld.store(status.as_u16(), Relaxed);
                true
            }
            // Not the start of an answer, so not hyper's own.
            None => false,
        }
    }
}

pub(super) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// How much is read at once while a head is awaited.
const READ_BYTES: usize = 4096;

/// A socket, in the clear or within TLS.
pub(super) enum SocketStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl SocketStream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            SocketStream::Plain(stream) => stream,
            SocketStream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            SocketStream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            SocketStream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            SocketStream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            SocketStream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            SocketStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            SocketStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            SocketStream::Plain(stream) => stream.is_write_vectored(),
            SocketStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            SocketStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            SocketStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            SocketStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            SocketStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The socket as hyper sees it.
pub(super) struct Transport {
    io: TokioIo<SocketStream>,
    progress: Arc<ConnectionProgress>,
    head_bytes_max: usize,
}

impl Transport {
    pub(super) fn new(stream: SocketStream, progress: Arc<ConnectionProgress>, head_bytes_max: usize) -> Transport {
        Transport { io: TokioIo::new(stream), progress, head_bytes_max }
    }

    pub(super) fn into_stream(self) -> SocketStream {
        self.io.into_inner()
    }
}

impl Read for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.progress.stage() {
            ConnectionStage::Handling | ConnectionStage::Answering | ConnectionStage::Answered => {
                return Pin::new(&mut self.io).poll_read(cx, buf);
            }
            ConnectionStage::Waiting | ConnectionStage::Head => {}
        }
        // By way of the stack, since what hyper's buffer got cannot be seen.
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let room = buf.remaining().min(READ_BYTES);
        let mut bytes = ReadBuf::uninit(&mut bytes[..room]);
        ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut bytes))?;
        self.progress.read(bytes.filled(), self.head_bytes_max);
        buf.put_slice(bytes.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.progress.withhold(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.progress.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.first().map_or(&[][..], |buf| buf);
        if self.progress.withhold(first) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.progress.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Called by hyper once all that it had to write is written; TLS may have
    /// kept some of it.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.progress.stalled_at_flush(flushed.is_pending());
        if flushed.is_ready() {
            self.progress.flushed();
        }
        // hyper does not read while it answers, so it would notice at the next write
        // that nobody is there. It flushes whenever it is polled.
        if self.progress.endless.load(Relaxed) && peer_has_closed(self.io.inner().tcp(), cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        flushed
    }

    /// The connection closes the socket, after what it may have to add.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether the peer has closed its half; if not, the task is woken when that may have
/// changed. Takes no byte: what a peer sends meanwhile, within TLS or not, stays.
fn peer_has_closed(stream: &TcpStream, cx: &mut Context<'_>) -> bool {
    for _ in 0..2 {
        match stream.poll_read_ready(cx) {
            Poll::Pending => return false,
            Poll::Ready(Err(_)) => return true,
            Poll::Ready(Ok(())) => {}
        }
        let state = pin!(unconstrained(stream.ready(Interest::READABLE))).poll(cx);
        if matches!(state, Poll::Ready(Ok(state)) if state.is_read_closed()) {
            return true;
        }
        // There are bytes. A read that finds nothing makes the next event wake the task;
        // that the peer has closed is never forgotten.
        let _ = stream.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
    }
    false
}

/// A request's body, which notes when it is complete or nobody wants it.
struct RequestBody {
    /// Until it is dropped.
    body: Option<Incoming>,
    request: u64,
    /// Whether the client waits for a word before it sends the body.
    expected: bool,
    /// Or failed. A chunked `Incoming` does not know its end once it is past.
    complete: bool,
    progress: Arc<ConnectionProgress>,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let ended = !matches!(frame, Some(Ok(_))) || body.is_end_stream();
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && self.progress.body_of() == Some(self.request)
        {
            self.progress.body_bytes.fetch_add(data.len() as u64, Relaxed);
        }
        if ended {
            self.complete = true;
            self.progress.body_end(self.request);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|_| !self.complete) else {
            return self.progress.body_end(self.request);
        };
        let small = body.size_hint().upper().is_some_and(|rest| rest <= READ_BYTES as u64);
        let unanswered = self.progress.stage() == ConnectionStage::Handling;
        if small && unanswered && !self.expected && self.progress.body_of() == Some(self.request) {
            *self.progress.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            return;
        }
        self.progress.body_end(self.request);
        self.progress.body_unread_of.store(self.request, Relaxed);
    }
}

/// An answer's body, which notes when hyper has taken all it wants.
pub(super) struct AnswerBody {
    body: Body,
    progress: Arc<ConnectionProgress>,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.progress.endless.store(false, Relaxed);
        self.progress.enter(ConnectionStage::Answered);
    }
}

/// A complete answer in bytes, the last of its connection.
pub(super) fn render(answer: Response<Bytes>) -> Vec<u8> {
    let (parts, body) = answer.into_parts();
    let reason = parts.status.canonical_reason().unwrap_or("Error");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &last_headers(parts.headers, body.len()) {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// The headers of an answer after which the connection closes.
pub(super) fn last_headers(mut headers: HeaderMap, body_bytes: usize) -> HeaderMap {
    headers.insert(header::CONTENT_LENGTH, body_bytes.into());
    headers.insert(header::CONNECTION, CLOSE);
    headers
}
