//! What a partner has chosen for its bills, over HTTP: shown to every key,
//! chosen by keys with the scope `manage`.
//!
//! The command line shows it as this does (`json::billing`).
//! Deliberately absent: from when a choice counts (`billing::calendar`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::HeaderValue;
use http::{Request, StatusCode};
use serde_json::json;

use super::answer::{ListFormat, answer, hex, unchanged, with_state};
use super::error::HandlerResult;
use super::query;
use super::write::Write;
use super::{App, json};
use crate::domain::setting::AfterExpiry;
use crate::domain::{Scope, Time};
use crate::inventory::Snapshot;
use crate::service::verbs::billing::{BillingView, Wish, calendar};

/// GET /api/v1/partner/settings/billing
pub(super) async fn billing(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let (access, ()) = app.enter(&request, Scope::Read, |_, query| query::refuse_parameters(query)).await?;
    let view = BillingView::of(&calendar(&access.snapshot)?, Time::now());
    let tag = entity_tag(&access.snapshot, &view);
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let body = json!({ "data": json::billing(&view) }).to_string();
    Ok(answer(StatusCode::OK, Body::from(body), tag, Some(ListFormat::Json)))
}

/// What stands for the choices, the log up to its last change, the month that goes on,
/// and the program that wrote it.
fn entity_tag(snapshot: &Snapshot, view: &BillingView) -> HeaderValue {
    let head = u64::from_be_bytes(snapshot.head[..8].try_into().expect("eight bytes"));
    let mut tag = b"\"".to_vec();
    hex(&mut tag, snapshot.version, 1);
    tag.push(b'-');
    hex(&mut tag, head, 16);
    tag.extend_from_slice(format!("-{}-b-{}\"", view.current.month, crate::BUILD).as_bytes());
    let tag = HeaderValue::from_bytes(&tag).expect("hexadecimal digits, a month and a version");
    with_state(view.tag(), &tag)
}

/// PATCH /api/v1/manage/settings/billing
pub(super) async fn billing_edit(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let after_expiry = fields.read_word("after_expiry", AfterExpiry::parse, "must be charge or stop");
    let wish = Wish { zone: fields.text("zone"), after_expiry };
    if wish == Wish::default() {
        fields.needed_one_of("zone", "after_expiry");
    }
    fields.finish()?;
    Write::run(key, service, move |service, key| service.billing_choose(key, &wish)).await
}
