//! Cross-origin requests: which web pages of other origins may call the API.
//!
//! Only the origins that `http.cors_origins` lists get the headers, and only on
//! the API and its description, never on the console, whose cookies must not
//! be used by another origin. A preflight is answered here, before any handler
//! and without credentials, as the Fetch standard sends it.
//! Deliberately absent: `*` and credentials; a key is a header of ours, so no
//! cookie is needed.

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::config::Origin;

/// What a page may send besides what the Fetch standard always allows.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "X-Auth-ID, X-Auth-Token, Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, \
     Inventory-Version-At-Least, Last-Event-ID",
);
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
/// What a page may read besides what the Fetch standard always shows.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "ETag, Link, Age, Allow, Retry-After, X-Request-Id, Inventory-Version, Last-Called-At, RateLimit, RateLimit-Policy",
);
/// For how many seconds a browser may remember a preflight's answer.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// The origin of a request, if the settings let it call this address.
pub(super) fn allowed<B>(origins: &[Origin], request: &Request<B>) -> Option<HeaderValue> {
    let path = request.uri().path();
    let callable = path.starts_with("/api/") || path == "/openapi.json";
    let origin = request.headers().get(header::ORIGIN).filter(|_| callable)?;
    origins.iter().any(|known| known.as_str().as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// The answer to a preflight, if the request is one.
pub(super) fn preflight<B>(request: &Request<B>) -> Option<Response<Body>> {
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || request.method() != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    Some(response)
}

/// Lets the page read the answer; a cache must not give it to another origin.
pub(super) fn put(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
}
