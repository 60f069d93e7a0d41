//! Compression of answers for clients that take gzip.
//!
//! Invariants: a compressed answer has an entity tag of its own, and a client
//! that sends it back is answered 304 as with the other; caches keep both apart
//! (`Vary`); a page that shows a secret is never compressed, since the length of
//! a compressed page would say something of it.
//! Deliberately absent: streams that wait for events, short answers, answers to
//! writes, other codings.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::middleware::Next;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};

use super::pull::Packing;

/// Shorter answers gain nothing.
const BYTES_MIN: u64 = 1_024;
/// What the tag of a compressed answer ends with.
const SUFFIX: &str = "-gzip\"";
/// The parts of the console that show a secret once it is made.
const SECRET: [&str; 7] = ["keys", "users", "administrators", "webhooks", "me", "set-up", "code"];

/// Around all answers.
pub async fn layer(mut request: Request<Body>, next: Next) -> Response<Body> {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !read || shows_secrets(request.uri().path()) {
        return next.run(request).await;
    }
    let wanted = accepts_gzip(request.headers());
    let known = wanted && plain_tags(request.headers_mut());
    let mut response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let fits = match response.status() {
        StatusCode::OK => kind.is_some_and(compresses),
        status => status == StatusCode::NOT_MODIFIED,
    };
    if !fits || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    vary(response.headers_mut());
    match response.status() {
        StatusCode::NOT_MODIFIED if known => mark_tag(response.headers_mut()),
        StatusCode::OK if wanted && length(&response).is_none_or(|bytes| bytes >= BYTES_MIN) => {
            return compressed(response);
        }
        _ => {}
    }
    response
}

fn shows_secrets(path: &str) -> bool {
    path.starts_with("/console") && path.split('/').any(|part| SECRET.contains(&part))
}

/// Text, but no stream of events.
fn compresses(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    matches!(kind, "text/html" | "text/csv" | "text/css" | "text/javascript" | "application/json" | "image/svg+xml")
}

/// Whether gzip is among what a client takes, by RFC 9110; of equal weights it
/// goes before no coding at all.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut weights: [Option<f32>; 3] = [None; 3];
    for item in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse().ok()).unwrap_or(0.0);
        let at = match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => 0,
            "*" => 1,
            "identity" => 2,
            _ => continue,
        };
        weights[at] = Some(weight);
    }
    let gzip = weights[0].or(weights[1]).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weights[2].unwrap_or(0.0)
}

/// Gives the tags of compressed answers back as those of the others; whether
/// there was one.
fn plain_tags(headers: &mut HeaderMap) -> bool {
    let Some(tags) = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()) else { return false };
    if !tags.contains(SUFFIX) {
        return false;
    }
    let Ok(plain) = HeaderValue::try_from(tags.replace(SUFFIX, "\"")) else { return false };
    headers.insert(header::IF_NONE_MATCH, plain);
    true
}

fn mark_tag(headers: &mut HeaderMap) {
    let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).and_then(|tag| tag.strip_suffix('"'));
    if let Some(marked) = tag.and_then(|tag| HeaderValue::try_from(format!("{tag}{SUFFIX}")).ok()) {
        headers.insert(header::ETAG, marked);
    }
}

/// Says that the coding was chosen by what the client takes.
fn vary(headers: &mut HeaderMap) {
    let named = headers.get(header::VARY).and_then(|names| names.to_str().ok());
    let names = named.map_or_else(|| "Accept-Encoding".to_owned(), |names| format!("{names}, Accept-Encoding"));
    if let Ok(names) = HeaderValue::try_from(names) {
        // Of several lines, the first; the others stay.
        match headers.entry(header::VARY) {
            header::Entry::Occupied(mut line) => drop(std::mem::replace(line.get_mut(), names)),
            header::Entry::Vacant(line) => drop(line.insert(names)),
        }
    }
}

/// How long an answer is, if that is known before it is sent.
fn length(response: &Response<Body>) -> Option<u64> {
    let said = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    said.and_then(|length| length.parse().ok()).or_else(|| response.body().size_hint().exact())
}

fn compressed(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    mark_tag(headers);
    if let Some(packing) = response.extensions_mut().remove::<Packing>() {
        packing.begin();
        return response;
    }
    // Also to HEAD: how long the compressed body would be is known to nobody, and the
    // router would give the length of another one for it.
    response.map(|inner| Body::new(GzipBody::new(inner)))
}

/// A body that is compressed as it is read. What was read so far is sent when
/// the rest has to be waited for.
struct GzipBody {
    inner: Body,
    /// `None` once all was sent.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Whether the encoder holds something back.
    holds: bool,
}

impl GzipBody {
    fn new(inner: Body) -> GzipBody {
        GzipBody { inner, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())), holds: false }
    }

    /// What the encoder has ready.
    fn ready(&mut self) -> Option<Bytes> {
        let out = std::mem::take(self.encoder.as_mut()?.get_mut());
        (!out.is_empty()).then(|| out.into())
    }
}

impl http_body::Body for GzipBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.encoder.is_some() {
            match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.holds = true;
                    if let Some(Err(error)) = self.encoder.as_mut().map(|encoder| encoder.write_all(&data)) {
                        self.encoder = None;
                        return Poll::Ready(Some(Err(axum::Error::new(error))));
                    }
                    if let Some(out) = self.ready() {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
                // Cut off, so that the client sees that something is missing.
                Poll::Ready(Some(Err(error))) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    let end = self.encoder.take().map(GzEncoder::finish);
                    return Poll::Ready(
                        end.map(|end| end.map(|out| Frame::data(out.into())).map_err(axum::Error::new)),
                    );
                }
                Poll::Pending if self.holds => {
                    self.holds = false;
                    if let Some(Err(error)) = self.encoder.as_mut().map(Write::flush) {
                        self.encoder = None;
                        return Poll::Ready(Some(Err(axum::Error::new(error))));
                    }
                    match self.ready() {
                        Some(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                        None => return Poll::Pending,
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_where_it_is_wanted() {
        for (said, expected) in [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("GZip, deflate, br"), true),
            (Some("br, *;q=0.1"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip;q=0, *"), false),
            (Some("gzip; q=0.5"), true),
            (Some("identity, gzip;q=0.5"), false),
            (Some("identity;q=0.5, gzip;q=0.5"), true),
            (Some("br"), false),
            (Some("gzip;q=nonsense"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(said.map(|said| (header::ACCEPT_ENCODING, HeaderValue::from_static(said))));
            assert_eq!(accepts_gzip(&headers), expected, "{said:?}");
        }
    }

    #[test]
    fn secrets_and_streams_are_sent_as_they_are() {
        for path in ["/console/p/PA_X/keys", "/console/me", "/console/p/PA_X/checks/webhooks/wh_1", "/console/set-up/x"]
        {
            assert!(shows_secrets(path), "{path}");
        }
        for path in ["/console/p/PA_X/numbers", "/console/p/PA_X", "/api/v1/partner/numbers", "/api/v1/manage/webhooks"]
        {
            assert!(!shows_secrets(path), "{path}");
        }
        assert!(compresses("text/html; charset=utf-8") && compresses("application/json"));
        assert!(
            !compresses("text/event-stream") && !compresses("application/x-ndjson") && !compresses("application/zip")
        );
    }
}
