//! Errors as clients see them: the platform's envelope, and nothing of the
//! inside.

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{X_REQUEST_ID, partner};
use crate::domain::FieldError;

/// An error answer, before it has its request id.
///
/// As a response it is an empty body with itself as an extension; `Edge`
/// renders it there, because only there is the request id known.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Parts>);

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

    pub fn method_not_allowed() -> ApiError {
        let mut error =
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this takes GET and HEAD only");
        error.0.headers.push((header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        error
    }

    /// At least one thing is wrong with the parameters.
    pub fn validation(errors: Vec<FieldError>) -> ApiError {
        let message = match errors.first() {
            Some(first) => format!("{} {}", first.field, first.message),
            None => "the request is not valid".to_owned(),
        };
        let mut error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message);
        error.0.details = Some(json!({ "errors": errors }));
        error
    }

    pub fn rate_limit(retry_after_s: u64) -> ApiError {
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", "too many requests");
        error.0.details = Some(json!({ "retryAfter": retry_after_s }));
        error.0.headers.push((header::RETRY_AFTER, HeaderValue::from(retry_after_s)));
        error
    }

    pub fn unavailable(message: &str) -> ApiError {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
        error.0.headers.push((header::RETRY_AFTER, HeaderValue::from_static("1")));
        error
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
            StatusCode::REQUEST_TIMEOUT => {
                ApiError::new(status, "REQUEST_TIMEOUT", "the request did not arrive in time")
            }
            StatusCode::SERVICE_UNAVAILABLE => ApiError::unavailable("too many connections from this address"),
            StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal("a handler panicked".to_owned()),
            _ => ApiError::bad_request("this is not a well-formed HTTP request"),
        }
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
        headers.insert(header::VARY, partner::VARY);
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        response
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
