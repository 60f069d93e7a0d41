//! Why calls to one number end as they do, now or at a moment of the past.
//!
//! Invariants: only the partner's own numbers and log are read, so another
//! partner's number and an unknown one are answered alike.
//! Deliberately absent: the faces that answer calls; they have listeners of
//! their own.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::answer::{ListFormat, answer, unchanged};
use super::error::ApiError;
use super::write::PathOf;
use super::{App, past, query};
use crate::domain::{Scope, Time, spelling};
use crate::routing::Explained;

/// GET /api/v1/partner/numbers/{e164}/routing
pub async fn explain(
    State(app): State<Arc<App>>,
    number: PathOf<String>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let number = number.ok().and_then(|axum::extract::Path(text)| spelling::one(&text).ok());
    let read = |_: &_, query: &str| Ok((number.ok_or_else(ApiError::not_found)?, query::moment(query)?));
    let (access, (number, as_of)) = app.enter(&request, Scope::Read, read).await?;
    let snapshot = past::inventory(&app, access.snapshot, as_of).await?;
    let now = as_of.unwrap_or_else(Time::now);
    let (replica, settings) = (app.replica.clone(), app.routing);
    let found = app.past.read(move || replica.explain_route(&settings, &snapshot, number, now)).await?;
    let explained = found.ok_or_else(ApiError::not_found)?;
    let age = app.replica.freshness().1.as_secs();
    let body = json!({ "data": shown(&explained, age, as_of) }).to_string();
    let tag = format!("\"{}-{:08x}\"", explained.version, crc32fast::hash(body.as_bytes()));
    let tag = HeaderValue::try_from(tag).map_err(|error| ApiError::internal(error.to_string()))?;
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    Ok(answer(StatusCode::OK, Body::from(body), tag, Some(ListFormat::Json)))
}

/// An explanation as the API and the command write it.
pub fn shown(explained: &Explained, age: u64, as_of: Option<Time>) -> Value {
    let Explained { number, line, routes, steps, version } = explained;
    let routes: Vec<Value> = routes.iter().map(|uri| json!({ "uri": uri })).collect();
    json!({
        "number": number, "code": line.code, "reason": line.reason, "cause": line.case.as_str(), "q850": line.q850,
        "routes": routes, "steps": steps, "inventory_version": version, "age": age, "as_of": as_of,
    })
}
