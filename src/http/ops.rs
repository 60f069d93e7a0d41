//! The endpoints for operators: liveness, readiness, metrics.
//!
//! They name no tenant and no number.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use serde_json::json;

use super::error::ApiError;
use super::{App, docs, peer, waiting};
use crate::domain::entity::hex_digest;
use crate::service::background::workers::Work;
use crate::service::replica::ReplicaProgress;

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The process answers. Depends on nothing.
pub async fn livez() -> Response<Body> {
    text(StatusCode::OK, "application/json", "{\"status\":\"ok\"}")
}

/// The index is loaded, so reads are answered. A node that cannot follow its
/// database, or has a background worker that does not move, is degraded, not
/// unready: its index is better than nothing.
pub async fn readyz(State(app): State<Arc<App>>) -> Response<Body> {
    let (following, age) = app.replica.freshness();
    let ReplicaProgress { version, lag, poisoned, writable } = app.replica.progress();
    let stuck = app.service.workers.stuck();
    let degraded = !following || !stuck.is_empty();
    let unreadable: BTreeMap<&str, u64> =
        app.replica.unreadable_rows().into_iter().filter(|(_, rows)| *rows > 0).collect();
    let body = json!({
        "status": if degraded { "degraded" } else { "ok" },
        "degraded": degraded,
        "role": if writable { "writer" } else { "reader" },
        "version": version,
        "lag": lag,
        "age_seconds": age.as_secs(),
        "poisoned": poisoned,
        "unreadable": unreadable,
        "writable": writable,
        "build": crate::BUILD,
        "stuck_workers": stuck,
    });
    text(StatusCode::OK, "application/json", body.to_string())
}

/// A request extension: it came by the listener that is not public.
#[derive(Clone, Copy, Debug)]
pub struct Private;

/// Whether a request comes from this machine itself. A proxy on this machine
/// speaks for others.
fn local(request: &Request<Body>) -> bool {
    let proxied = request.headers().contains_key(super::X_FORWARDED_FOR) || request.headers().contains_key("forwarded");
    !proxied && peer(request.extensions()).to_canonical().is_loopback()
}

fn private(request: &Request<Body>) -> bool {
    request.extensions().get::<Private>().is_some()
}

/// What is counted. Public, unless there is a listener that is not.
pub async fn metrics(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    if app.private && !private(&request) && !local(&request) {
        return Err(ApiError::not_found());
    }
    // Its body is nothing to keep while the answer is made.
    drop(request);
    let nodes = app.replica.nodes();
    let numbers: usize = nodes.iter().map(|node| node.snapshot().len()).sum();
    let (following, age) = app.replica.freshness();
    let counted = app.clone();
    let counted = waiting::work(&waiting::LOOKS, move || counted.counted.of(&counted.replica)).await?;
    for (check, count) in counted {
        metrics::gauge!("rollcall_findings", "check" => check.as_str()).set(count as f64);
    }
    metrics::gauge!("rollcall_partners").set(nodes.len() as f64);
    metrics::gauge!("rollcall_numbers").set(numbers as f64);
    metrics::gauge!("rollcall_following").set(if following { 1.0 } else { 0.0 });
    metrics::gauge!("rollcall_age_seconds").set(age.as_secs_f64());
    let ReplicaProgress { version, lag, poisoned, writable } = app.replica.progress();
    metrics::gauge!("rollcall_version").set(version as f64);
    metrics::gauge!("rollcall_lag_changes").set(lag as f64);
    metrics::gauge!("rollcall_poisoned_rows").set(poisoned as f64);
    // Shown as 0 before the first survey of the tables.
    metrics::gauge!("rollcall_unreadable_rows", "table" => "number").set(0.0);
    for (table, rows) in app.replica.unreadable_rows() {
        metrics::gauge!("rollcall_unreadable_rows", "table" => table).set(rows as f64);
    }
    metrics::gauge!("rollcall_damaged_partners").set(app.replica.damaged_partners() as f64);
    metrics::gauge!("rollcall_writable").set(if writable { 1.0 } else { 0.0 });
    let ready = app.replica.can_route(&app.routing);
    metrics::gauge!("rollcall_route_ready").set(if ready { 1.0 } else { 0.0 });
    app.service.workers.queue(Work::Follower, lag, None);
    app.service.workers.measure();
    waiting::measure();
    // Shown as 0 before the first.
    metrics::counter!("rollcall_resyncs_total").increment(0);
    metrics::counter!("rollcall_auth_failures_total").increment(0);
    metrics::counter!("rollcall_webhooks_switched_off_total").increment(0);
    metrics::counter!("rollcall_log_lines_dropped_total").increment(0);
    crate::service::background::schedules::measure();
    crate::service::background::webhooks::deliver::measure();
    let Some(handle) = &app.metrics else { return Err(ApiError::not_found()) };
    handle.run_upkeep();
    Ok(text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", handle.render()))
}

/// The digest of every partner's index, for `rollcall verify --url` on this
/// machine or by the private listener; elsewhere there is nothing here. It reads everything, so it is not
/// for strangers.
pub async fn digest(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    if !private(&request) && !local(&request) {
        return Err(ApiError::not_found());
    }
    let digests = waiting::work(&waiting::LOOKS, move || {
        let digest = |node: Arc<crate::service::replica::Node>| {
            let snapshot = node.snapshot();
            json!({ "partner": node.key.0, "version": snapshot.version, "digest": hex_digest::text(&snapshot.digest()) })
        };
        app.replica.nodes().into_iter().map(digest).collect::<Vec<_>>()
    });
    let digests = digests.await?;
    Ok(text(StatusCode::OK, "application/json", json!({ "data": digests }).to_string()))
}

/// The description of this API, as committed in the repository.
pub async fn openapi() -> Response<Body> {
    text(StatusCode::OK, "application/json", docs::DESCRIPTION)
}
