//! Errors as clients see them: the platform's envelope, and nothing of the
//! inside.

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{X_REQUEST_ID, answer, json};
use crate::domain::field::{self, code};
use crate::domain::{FieldError, State};
use crate::service::{Conflict, ServiceError, Stale, StoreError, Unusable};

use crate::wire;

/// When to come back where others are still at it: the longest that one takes.
const TOO_MANY_RETRY_S: u64 = 15;

/// The codes of all errors, with their status and their meaning.
pub const CODES: &[(u16, &str, &str)] = &[
    (400, "BAD_REQUEST", "The request is not well-formed HTTP or JSON, or has a credential header twice."),
    (
        401,
        "INVALID_CREDENTIALS",
        "The credentials are missing, unknown, wrong, expired or revoked; the answer is the same.",
    ),
    (403, "ACCOUNT_INACTIVE", "The partner is suspended."),
    (403, "FORBIDDEN", "The key lacks the scope, or may not be used from this network."),
    (404, "NOT_FOUND", "The path or the id is unknown, or belongs to another partner; the answer is the same."),
    (405, "METHOD_NOT_ALLOWED", "The path takes the methods in `Allow` only."),
    (408, "REQUEST_TIMEOUT", "The request did not arrive in time."),
    (409, "CONFLICT", "The state of the number or of the entity does not allow this; `details` say why."),
    (
        412,
        "PRECONDITION_FAILED",
        "The number or entity has changed since the `ETag` in `If-Match`; of a number, `details` show the differences.",
    ),
    (413, "TOO_LARGE", "The body is too long."),
    (414, "TOO_LARGE", "The path and query are too long."),
    (415, "UNSUPPORTED_MEDIA_TYPE", "The body must be `application/json`."),
    (422, "VALIDATION_ERROR", "Parameters or fields are wrong; `details.errors` name each of them."),
    (
        429,
        "RATE_LIMIT_EXCEEDED",
        "The key has used up its requests, or an address has failed to authenticate too often.",
    ),
    (431, "TOO_LARGE", "The headers are too large."),
    (500, "INTERNAL", "The server failed; the log has the cause under the request's id."),
    (501, "NOT_IMPLEMENTED", "The transfer coding is another one than `chunked`."),
    (503, "UNAVAILABLE", "The node is overloaded, without its database, or not up to date; `message` says which."),
    (507, "STORAGE_FULL", "The disk of the database is full; reads go on."),
];

/// An error answer, before it has its request id.
///
/// As a response it is an empty body with itself as an extension; `Edge`
/// renders it there, because only there is the request id known.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Parts>);

/// What every handler returns.
pub(super) type HandlerResult = Result<Response<Body>, ApiError>;

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Option<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        let message = message.into();
        ApiError(Box::new(Parts { status, code, message, details: None, headers: Vec::new(), cause: None }))
    }

    pub fn bad_request(message: &str) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub fn credentials() -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS", "invalid or missing credentials")
    }

    pub fn suspended() -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "ACCOUNT_INACTIVE", "this partner account is suspended")
    }

    pub fn forbidden(message: &str) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// Unknown path, unknown id, another tenant's id: the same words.
    pub fn not_found() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here")
    }

    /// The same in other words.
    pub fn saying(mut self, message: &str) -> ApiError {
        message.clone_into(&mut self.0.message);
        self
    }

    /// `allow` as in the header: `GET, HEAD`.
    pub fn method_not_allowed(allow: &str) -> ApiError {
        let message = format!("this takes {} only", allow.replace(", ", " and "));
        let mut error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        error.0.headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (header::ALLOW, allow)));
        error
    }

    pub fn too_large(message: String) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", message)
    }

    pub fn unsupported_media_type() -> ApiError {
        let message = "the body must be application/json";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    }

    fn conflict(message: String, details: Value) -> ApiError {
        let mut error = ApiError::new(StatusCode::CONFLICT, "CONFLICT", message);
        error.0.details = Some(details);
        error
    }

    /// At least one thing is wrong with the parameters. The first problems are
    /// listed; how many more there are is said. The message names the first one and
    /// counts all others.
    pub fn validation(errors: Vec<FieldError>) -> ApiError {
        let others = errors.len().saturating_sub(1);
        let (errors, more) = field::first(errors);
        let message = match errors.first() {
            Some(first) => format!("{} {}{}", first.field, first.message, field::and_more(others)),
            None => "the request is not valid".to_owned(),
        };
        let mut error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message);
        let mut details = json!({ "errors": errors });
        if more > 0 {
            details["more"] = json!(more);
        }
        error.0.details = Some(details);
        error
    }

    pub fn rate_limit(retry_after_s: u64) -> ApiError {
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", "too many requests");
        error.0.details = Some(json!({ "retryAfter": retry_after_s }));
        error.0.headers.push((header::RETRY_AFTER, HeaderValue::from(retry_after_s)));
        error
    }

    /// The same, for another reason than requests a second.
    pub fn rate_limit_because(retry_after_s: u64, message: String) -> ApiError {
        let mut error = ApiError::rate_limit(retry_after_s);
        error.0.message = message;
        error
    }

    pub fn unavailable(message: &str) -> ApiError {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
        error.0.headers.push((header::RETRY_AFTER, HeaderValue::from_static("1")));
        error
    }

    /// Asking again does not help, so it does not say when.
    pub fn damaged() -> ApiError {
        let message = "the data of this partner is damaged and not served until it is repaired";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub fn internal(cause: String) -> ApiError {
        let mut error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error");
        error.0.cause = Some(cause);
        error
    }

    /// The answer to a request that no handler saw.
    pub fn refusal(status: StatusCode) -> ApiError {
        match status {
            StatusCode::URI_TOO_LONG => ApiError::new(status, "TOO_LARGE", "the path and query are too long"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ApiError::new(status, "TOO_LARGE", "the headers are too large")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("the body is too long".to_owned()),
            StatusCode::NOT_IMPLEMENTED => {
                let message = "chunked is the only transfer coding that this server takes, and only once";
                ApiError::new(status, "NOT_IMPLEMENTED", message)
            }
            StatusCode::REQUEST_TIMEOUT => {
                ApiError::new(status, "REQUEST_TIMEOUT", "the request did not arrive in time")
            }
            StatusCode::SERVICE_UNAVAILABLE => ApiError::unavailable("too many connections from this address"),
            StatusCode::UPGRADE_REQUIRED => ApiError::bad_request("this port speaks TLS; ask it by https"),
            StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal("a handler panicked".to_owned()),
            _ => ApiError::bad_request("this is not a well-formed HTTP request"),
        }
    }

    /// What is listed of what is wrong, a line each, for readers who do not read JSON.
    pub fn lines(&self) -> Vec<String> {
        let Some(details) = &self.0.details else { return vec![self.0.message.clone()] };
        let Some(errors) = details["errors"].as_array() else { return vec![self.0.message.clone()] };
        let text = |error: &Value, key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let line = |error: &Value| format!("{} {}", text(error, "field"), text(error, "message"));
        let more = details["more"].as_u64().map(|more| format!("and {more} more"));
        errors.iter().map(line).chain(more).collect()
    }

    /// What is listed of what is wrong, where the error is about fields.
    pub fn fields(&self) -> Option<Vec<FieldError>> {
        let text = |error: &Value, key: &str| error[key].as_str().map(str::to_owned);
        let field = |error: &Value| {
            let code = code::ALL.iter().find(|(known, _)| error["code"] == *known)?.0;
            let (field, message) = (text(error, "field")?, text(error, "message")?);
            Some(FieldError { field, code, message, value: text(error, "value") })
        };
        self.0.details.as_ref()?["errors"].as_array()?.iter().map(field).collect()
    }

    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The whole answer, under a request id.
    pub fn into_bytes(self, request_id: &str) -> Response<Bytes> {
        let Parts { status, code, message, details, headers: own, cause: _ } = *self.0;
        let mut error = json!({ "code": code, "message": message });
        if let Some(details) = details {
            error["details"] = details;
        }
        let timestamp = format!("{:.3}", jiff::Timestamp::now());
        let body = json!({ "status": "error", "error": error, "timestamp": timestamp, "requestId": request_id });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.extend(own);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(header::VARY, answer::VARY);
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        response
    }
}

/// What a verb refuses, as clients see it.
impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> ApiError {
        let message = error.to_string();
        match error {
            ServiceError::Unknown { .. } => ApiError::not_found(),
            ServiceError::Exists { what, id } => ApiError::conflict(message, json!({ "kind": what, "id": id })),
            ServiceError::Invalid(errors) => ApiError::validation(errors),
            ServiceError::Conflict(conflict) => {
                let Conflict { number, state, since, by, until, hint } = *conflict;
                let by = by.map(|by| by.to_string());
                let details = json!({
                    "number": number, "state": state, "since": since, "by": by, "until": until, "hint": hint,
                });
                ApiError::conflict(message, details)
            }
            ServiceError::Unusable(unusable) => {
                let Unusable { number, account, why: _, errors } = *unusable;
                ApiError::conflict(message, json!({ "number": number, "account_auth_id": account, "errors": errors }))
            }
            ServiceError::Last { number, account, since, verb: _ } => {
                let details = json!({
                    "number": number, "state": State::Active, "since": since, "account_auth_id": account,
                    "needs": "confirm_last",
                });
                ApiError::conflict(message, details)
            }
            ServiceError::Stale(stale) => {
                let Stale { number, version, then, now, by, at } = *stale;
                let changed = match (&then, &now) {
                    (Some(then), Some(now)) => wire::record::differences(then, now),
                    (_, _) => Vec::new(),
                };
                let changed: Vec<Value> = changed
                    .into_iter()
                    .map(|(field, was, is)| json!({ "field": field, "was": was, "is": is }))
                    .collect();
                let mut error = ApiError::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message);
                error.0.details = Some(json!({
                    "number": number, "version": version, "changed": changed,
                    "by": by.map(|by| by.to_string()), "at": at,
                }));
                error
            }
            ServiceError::Taken { number } => ApiError::conflict(message, json!({ "number": number })),
            ServiceError::Job { id, state, hint } => {
                ApiError::conflict(message, json!({ "job": id, "state": state, "hint": hint }))
            }
            ServiceError::Refused(_) => ApiError::conflict(message, json!({})),
            ServiceError::TooMany(_) => ApiError::rate_limit_because(TOO_MANY_RETRY_S, message),
            ServiceError::Outdated { what, id } => {
                let mut error = ApiError::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message);
                error.0.details = Some(json!({ "kind": what, "id": id }));
                error
            }
            ServiceError::NotUndone { version, rows, stays } => {
                let rows = json::refused_rows(&rows);
                ApiError::conflict(message, json!({ "version": version, "rows": rows, "stays": stays }))
            }
            ServiceError::KeyReused => {
                let message = "was used for another request; take a new one";
                ApiError::validation(vec![FieldError::missing("Idempotency-Key", code::CONFLICT, message)])
            }
            ServiceError::Behind => ApiError::unavailable("this node has not caught up yet"),
            ServiceError::Abandoned => ApiError::unavailable("the answer was not waited for"),
            ServiceError::Store(StoreError::Busy | StoreError::Again { .. }) => {
                ApiError::unavailable("the database is busy with other requests")
            }
            ServiceError::Store(StoreError::Stopped { .. } | StoreError::ReadOnly { .. }) => {
                ApiError::unavailable("the database does not take writes at the moment; reads are answered")
            }
            ServiceError::Store(StoreError::Unreachable { .. }) => ApiError::unavailable(
                "the database does not answer at the moment; the inventory as it is can be read, and nothing changed",
            ),
            ServiceError::Store(StoreError::Unknown { .. }) => ApiError::unavailable(
                "whether this was done is not known: the database went away while it was being written; \
                 asking again with the same Idempotency-Key is safe",
            ),
            ServiceError::Store(StoreError::Damaged { .. }) => ApiError::damaged(),
            ServiceError::Store(StoreError::Full) => {
                let mut error =
                    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", "there is no room to store this");
                error.0.headers.push((header::RETRY_AFTER, HeaderValue::from_static("60")));
                error
            }
            ServiceError::NoPartner { .. }
            | ServiceError::NoKey { .. }
            | ServiceError::PartnerExists { .. }
            | ServiceError::Store(_) => ApiError::internal(causes(&error)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// An error with its causes, on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_an_answer_is_listed() {
        let source = include_str!("error.rs");
        let code = source.split("#[cfg(test)]").next().expect("the code");
        let mut count = 0;
        for made in code.split("ApiError::new(").skip(1) {
            let arguments = made.split(';').next().unwrap_or_default();
            let upper = |word: &&str| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let Some(named) = arguments.split('"').skip(1).step_by(2).find(upper) else { continue };
            count += 1;
            assert!(CODES.iter().any(|(_, code, _)| *code == named), "{named} is not in CODES");
        }
        assert!(count > 15, "{count}");
        assert!(CODES.is_sorted(), "by status, then code");
    }
}
