//! Spans by OpenTelemetry's SDK, exported by a thread of their own.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, Tracer, TracerProvider,
};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider};
use tracing::{info, warn};

use super::{TraceSettings, TracedRequest};

/// Whether this program can send traces.
pub const BUILT: bool = true;

/// How long the collector may take for one batch of spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take at the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// The most of a collector's answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

struct Recorder {
    tracer: SdkTracer,
    ratio: f64,
    calls_ratio: f64,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Sends what is recorded until it is stopped.
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Sends the last spans.
    pub fn stop(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(STOP_TIMEOUT)
        {
            warn!(error = &error as &dyn std::error::Error, "the last traces were not sent");
        }
    }
}

/// Begins to record, if the settings name a collector.
pub fn start(settings: TraceSettings) -> Result<Exporter, String> {
    if settings.endpoint.is_empty() {
        return Ok(Exporter(None));
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(settings.endpoint.clone()))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder()
        .with_service_name("rollcall")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", settings.node))
        .build();
    // What is not to be recorded has no span at all, so the SDK records all.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    let (ratio, calls_ratio) = (settings.ratio, settings.calls_ratio);
    let tracer = provider.tracer("rollcall");
    if RECORDER.set(Recorder { tracer, ratio, calls_ratio }).is_err() {
        return Err("traces are recorded already".to_owned());
    }
    info!(endpoint = settings.endpoint, "sending traces to {}", settings.endpoint);
    Ok(Exporter(Some(provider)))
}

pub fn on() -> bool {
    RECORDER.get().is_some()
}

/// Whether chance picks a trace that begins now.
fn drawn(ratio: f64) -> bool {
    if ratio <= 0.0 || ratio >= 1.0 {
        return ratio >= 1.0;
    }
    let random = u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes());
    (random as f64) < ratio * (u64::MAX as f64)
}

/// A span that ends when it is dropped. Until then it is the parent of the spans
/// that begin on this thread.
pub struct Span {
    context: Option<Context>,
    _entered: Option<ContextGuard>,
}

impl Span {
    const NONE: Span = Span { context: None, _entered: None };

    fn begin(recorder: &Recorder, name: &'static str, kind: SpanKind, parent: &Context) -> Span {
        let builder = recorder.tracer.span_builder(name).with_kind(kind);
        let context = parent.with_span(recorder.tracer.build_with_context(builder, parent));
        Span { _entered: Some(context.clone().attach()), context: Some(context) }
    }

    pub fn set(&self, key: &'static str, value: &dyn Display) {
        if let Some(context) = &self.context {
            context.span().set_attribute(KeyValue::new(key, value.to_string()));
        }
    }

    pub fn number(&self, key: &'static str, value: i64) {
        if let Some(context) = &self.context {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    pub fn failed(&self, why: &dyn Display) {
        if let Some(context) = &self.context {
            context.span().set_status(Status::error(why.to_string()));
        }
    }

    /// The `traceparent` of a request that is sent within this span.
    pub fn parent_header(&self) -> Option<String> {
        let context = self.context.clone().unwrap_or_else(Context::current);
        let mut headers = std::collections::HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut headers);
        headers.remove("traceparent")
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.context {
            context.span().end();
        }
    }
}

/// The recorder and the current context, where that belongs to a trace.
fn current() -> Option<(&'static Recorder, Context)> {
    let recorder = RECORDER.get()?;
    let context = Context::current();
    context.has_active_span().then_some((recorder, context))
}

/// A part of what is going on. Nothing outside a trace that is recorded.
pub fn child(name: &'static str) -> Span {
    begin_child(name, SpanKind::Internal).unwrap_or(Span::NONE)
}

fn begin_child(name: &'static str, kind: SpanKind) -> Option<Span> {
    let (recorder, context) = current()?;
    context.span().span_context().is_sampled().then(|| Span::begin(recorder, name, kind, &context))
}

/// A piece of background work, which begins a trace unless it is part of one.
pub fn root(name: &'static str) -> Span {
    begin_root(name, SpanKind::Internal)
}

/// A request to another server.
pub fn outgoing(name: &'static str) -> Span {
    begin_root(name, SpanKind::Client)
}

fn begin_root(name: &'static str, kind: SpanKind) -> Span {
    let Some(recorder) = RECORDER.get() else { return Span::NONE };
    if current().is_some() {
        return begin_child(name, kind).unwrap_or(Span::NONE);
    }
    if drawn(recorder.ratio) { Span::begin(recorder, name, kind, &Context::new()) } else { Span::NONE }
}

/// The answer to a call. The proxies that ask are named in the settings, so a
/// proxy's own decision to record its trace counts.
pub fn call(headers: Option<&HeaderMap>) -> Option<Span> {
    let recorder = RECORDER.get()?;
    let parent = headers.and_then(parent_of);
    let recorded = match &parent {
        Some(parent) => parent.is_sampled(),
        None => drawn(recorder.calls_ratio),
    };
    let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    recorded.then(|| Span::begin(recorder, "call", SpanKind::Server, &context))
}

/// The caller's span, if the request names one in a valid `traceparent`.
fn parent_of(headers: &HeaderMap) -> Option<SpanContext> {
    // Two of them are none: which one would count?
    let mut all = headers.get_all("traceparent").iter();
    let (Some(named), None) = (all.next(), all.next()) else { return None };
    if !well_formed(named.as_bytes()) {
        return None;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Whether a `traceparent` has its fields in full length. The SDK's reader takes
/// shorter ones, which name another trace than the caller meant.
fn well_formed(text: &[u8]) -> bool {
    let fields: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    let hex = |field: &[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths = fields.iter().take(4).map(|field| field.len());
    // A version to come may have more fields.
    lengths.eq([2, 32, 16, 2])
        && fields.iter().take(4).all(|field| hex(field))
        && (fields.len() == 4 || fields[0] != b"00")
}

/// The span of a request. It ends when the head of the answer is ready.
pub struct RequestSpan(Option<Context>);

pub fn request(request: &TracedRequest<'_>) -> RequestSpan {
    let Some(recorder) = RECORDER.get() else { return RequestSpan(None) };
    let parent = parent_of(request.headers);
    let recorded = match &parent {
        Some(parent) if request.trusted => parent.is_sampled(),
        _ => drawn(recorder.ratio),
    };
    let joined = parent.map(|parent| {
        let (trace, span, state) = (parent.trace_id(), parent.span_id(), parent.trace_state().clone());
        let flags = if recorded { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
    });
    if !recorded {
        // Even so, what is sent on carries the caller's trace.
        return RequestSpan(joined);
    }
    let joined = joined.unwrap_or_default();
    // Unknown methods are any text, and a name should be one of few.
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = if known.contains(request.method) { request.method.as_str().to_owned() } else { "HTTP".to_owned() };
    let builder = recorder.tracer.span_builder(method.clone()).with_kind(SpanKind::Server).with_attributes([
        KeyValue::new("http.request.method", method),
        KeyValue::new("rollcall.request_id", request.id.to_owned()),
    ]);
    RequestSpan(Some(joined.with_span(recorder.tracer.build_with_context(builder, &joined))))
}

impl RequestSpan {
    pub async fn within<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    pub fn answered(&self, status: StatusCode) {
        let Some(context) = &self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(status.to_string()));
        }
        span.end();
    }
}

/// Names the current request's span by the route that it matched, such as
/// `/api/v1/partner/numbers/{number}`.
pub fn route(method: &Method, route: &str) {
    if let Some((_, context)) = current() {
        context.span().update_name(format!("{method} {route}"));
        context.span().set_attribute(KeyValue::new("http.route", route.to_owned()));
    }
}

/// The current trace, to be gone on with on another thread.
#[derive(Clone)]
pub struct Carried(Option<Context>);

pub fn carry() -> Carried {
    Carried(current().map(|(_, context)| context))
}

impl Carried {
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.clone().map(Context::attach);
        work()
    }
}

/// The way to the collector.
#[derive(Debug)]
struct Collector {
    agent: ureq::Agent,
    endpoint: String,
    /// Whether the last batch was not taken, so that the log says it once.
    failing: AtomicBool,
}

impl Collector {
    fn new(endpoint: String) -> Collector {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(EXPORT_TIMEOUT))
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build();
        Collector { agent: config.into(), endpoint, failing: AtomicBool::new(false) }
    }

    fn note(&self, failure: Option<&dyn Display>) {
        let outcome = if failure.is_some() { "failed" } else { "sent" };
        metrics::counter!("rollcall_trace_batches_total", "outcome" => outcome).increment(1);
        let failing = failure.is_some();
        match (failure, self.failing.swap(failing, Ordering::Relaxed)) {
            (Some(why), false) => warn!("the collector at {} takes no traces: {why}", self.endpoint),
            (None, true) => info!("the collector at {} takes traces again", self.endpoint),
            (Some(_), true) | (None, false) => {}
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut answer = self.agent.run(http::Request::from_parts(parts, body.to_vec()))?;
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(answer.map(|_| Bytes::from(read)))
    }
}

/// The SDK calls this on the thread that exports and nowhere else, so that it may
/// wait there.
impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let answer = self.send(request);
        match &answer {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(&answer.status())),
            Err(error) => self.note(Some(error)),
        }
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_whole_or_ignored() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, expected) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}-ff"), Some(true)),
            (format!("cc-{trace}-{span}-01-more"), Some(true)),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", &trace[1..]), None),
            (format!("00-{trace}-{}-01", &span[1..]), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{trace}-{span}-1"), None),
            (String::new(), None),
            ("-".repeat(5_000), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().expect("a value"));
            assert_eq!(parent_of(&headers).map(|parent| parent.is_sampled()), expected, "{text:.80}");
        }
        let mut twice = HeaderMap::new();
        for flag in ["00", "01"] {
            twice.append("traceparent", format!("00-{trace}-{span}-{flag}").parse().expect("a value"));
        }
        assert!(parent_of(&twice).is_none());
    }

    #[test]
    fn chance_follows_the_ratio() {
        assert!((0..1_000).all(|_| !drawn(0.0) && drawn(1.0)));
        let picked = (0..10_000).filter(|_| drawn(0.2)).count();
        assert!((1_500..2_500).contains(&picked), "{picked} of 10000");
    }
}
