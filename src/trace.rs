//! Traces: what a request, a verb, a write, a job, a delivery or a call took, as
//! spans for an OpenTelemetry collector.
//!
//! The collector is reached by OTLP over HTTP. All of it is the cargo feature
//! `otlp`; without the feature each function here is empty.
//!
//! What always holds:
//! - A trace is recorded as a whole or not at all: the decision is made once,
//!   where the trace begins, and every span below it follows.
//! - A caller's `traceparent` joins this server's spans to the caller's trace. Its
//!   wish to be recorded counts only from this machine and from trusted proxies, so
//!   strangers cannot fill the collector.
//! - No span holds a credential, a query or the body of a request.
//! - Recording waits for nothing: spans that the collector does not take in time
//!   are dropped.
//!
//! Deliberately absent: metrics and logs by OTLP (`/metrics` and the log have
//! them), and baggage.

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod on;

#[cfg(not(feature = "otlp"))]
pub use off::*;
#[cfg(feature = "otlp")]
pub use on::*;

/// Where traces go, and how many.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The full address, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: String,
    /// The share of requests and of background work that is recorded, 0 to 1.
    pub ratio: f64,
    /// The share of calls that is recorded, 0 to 1.
    pub calls_ratio: f64,
    /// The name of this node.
    pub node: String,
}

/// A request as its span names it.
pub struct TracedRequest<'a> {
    pub headers: &'a http::HeaderMap,
    pub method: &'a http::Method,
    /// The id that answers and the log have.
    pub id: &'a str,
    /// Whether the caller may decide that its trace is recorded.
    pub trusted: bool,
}
