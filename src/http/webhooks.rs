//! Webhooks over HTTP: made, looked at, changed, rotated, tried, and what
//! became of their deliveries.
//!
//! Invariant: a secret is in the answers to creation and rotation, and in no
//! other. Deliberately absent: what is sent, when and how
//! (`service::background::webhooks`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::Request;
use serde_json::{Value, json};

use super::body::BodyFields;
use super::error::ApiError;
use super::error::HandlerResult;
use super::query::{ListParameters, ListQuery};
use super::write::{self, PathOf, UNREAD, Write, id_of};
use super::{App, answer, json, query};
use crate::config::Config;
use crate::domain::field::code;
use crate::domain::setting::DeliveryOrder;
use crate::domain::{PartnerKey, Scope};
use crate::service::background::webhooks::{NewWebhook, ShownDelivery, WebhookChanges, WebhookSettings};
use crate::service::verbs::entities::state_tag;
use crate::service::{Rendered, Service, ServiceError};

/// What the settings say of webhooks.
pub fn settings(config: &Config) -> WebhookSettings {
    let webhooks = &config.webhooks;
    WebhookSettings {
        allow_networks: webhooks.allow_networks.clone(),
        authorities: Some(webhooks.ca_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        timeout: webhooks.timeout_ms.into(),
        per_partner: webhooks.per_partner.into(),
        keep: usize::from(webhooks.keep) as u64,
        keep_days: usize::from(webhooks.keep_days) as i64,
        catch_up: webhooks.catch_up,
        failed_days: config.retention.failed_deliveries_days.into(),
    }
}

/// GET /api/v1/manage/webhooks
pub(super) async fn list(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let (access, ()) = app.enter(&request, Scope::Manage, |_, query| query::refuse_parameters(query)).await?;
    let key = access.snapshot.key;
    let all = write::ask(&app, key, move |service| service.webhooks(key)).await?;
    let data: Vec<Value> = all.iter().map(json::webhook).collect();
    let body = json!({ "data": data, "meta": { "total": data.len() } });
    Ok(answer(body, None))
}

/// POST /api/v1/manage/webhooks
pub(super) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let (name, url) = (fields.person_name("name"), fields.text("url"));
    let events = events(&mut fields).unwrap_or_default();
    let order = order(&mut fields).unwrap_or(DeliveryOrder::Number);
    if name.is_none() {
        fields.needed("name");
    }
    if url.is_none() {
        fields.needed("url");
    }
    fields.finish()?;
    let (name, url) = name.zip(url).ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let new = NewWebhook { name, url: url.into(), events, order };
    Write::run(key, service, move |service, key| service.webhook_create(key, &new)).await
}

/// GET /api/v1/manage/webhooks/{id}
pub(super) async fn one(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let webhook = write::one(&app, path, request, Service::webhook).await?;
    Ok(answer(
        json!({ "data": json::webhook(&webhook) }),
        Some(answer::state_tag("webhook", state_tag(&webhook.setting))),
    ))
}

/// PATCH /api/v1/manage/webhooks/{id}
pub(super) async fn edit(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let changes = WebhookChanges {
        name: fields.person_name("name"),
        url: fields.text("url").map(Into::into),
        events: events(&mut fields),
        order: order(&mut fields),
        enabled: fields.flag("enabled"),
    };
    if changes == WebhookChanges::default() {
        fields.needed_one_of("name", "url, events, order or enabled");
    }
    fields.finish()?;
    let id: String = id_of(path)?;
    Write::run(key, service, move |service, key| service.webhook_edit(key, &id, &changes, service.expected())).await
}

/// DELETE /api/v1/manage/webhooks/{id}
pub(super) async fn remove(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields } = Write::read(&app, request).await?;
    fields.finish()?;
    let id: String = id_of(path)?;
    Write::run(key, service, move |service, key| service.webhook_remove(key, &id, service.expected())).await
}

/// POST /api/v1/manage/webhooks/{id}/rotate
pub(super) async fn rotate(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.webhook_rotate(key, id)).await
}

/// POST /api/v1/manage/webhooks/{id}/test
pub(super) async fn test(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.webhook_test(key, id)).await
}

/// GET /api/v1/manage/webhooks/{id}/deliveries
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    path: PathOf<String>,
    request: Request<Body>,
) -> HandlerResult {
    page(&app, path, request, Service::webhook_deliveries).await
}

/// GET /api/v1/manage/webhooks/{id}/failed
pub(super) async fn failed(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    page(&app, path, request, Service::webhook_failed).await
}

/// POST /api/v1/manage/webhooks/{id}/deliveries/{delivery}/resend
pub(super) async fn resend(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    request: Request<Body>,
) -> HandlerResult {
    write::verb(&app, path, request, |service, key, (id, delivery)| service.webhook_resend(key, id, delivery)).await
}

/// POST /api/v1/manage/webhooks/{id}/deliveries/{delivery}/skip
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    request: Request<Body>,
) -> HandlerResult {
    write::verb(&app, path, request, |service, key, (id, delivery)| service.webhook_skip(key, id, Some(delivery))).await
}

/// POST /api/v1/manage/webhooks/{id}/failed/resend
pub(super) async fn resend_failed(
    State(app): State<Arc<App>>,
    path: PathOf<String>,
    request: Request<Body>,
) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.webhook_resend_failed(key, id)).await
}

/// GET /api/v1/manage/webhooks/{id}/blocking
pub(super) async fn blocking(
    State(app): State<Arc<App>>,
    path: PathOf<String>,
    request: Request<Body>,
) -> HandlerResult {
    let all = write::one(&app, path, request, Service::webhook_blocking).await?;
    let data: Vec<Value> = all.iter().map(json::blocking).collect();
    Ok(answer(json!({ "data": data, "meta": { "total": data.len() } }), None))
}

/// A page of one webhook's deliveries, and how many there are.
type DeliveryPage = Result<(Vec<ShownDelivery>, u64), ServiceError>;

async fn page(
    app: &Arc<App>,
    path: PathOf<String>,
    request: Request<Body>,
    list: fn(&Service, PartnerKey, &str, u64, usize) -> DeliveryPage,
) -> HandlerResult {
    let read = |_: &_, query: &str| ListQuery::parse(query, ListParameters::Paging);
    let (access, query) = app.enter(&request, Scope::Manage, read).await?;
    let key = access.snapshot.key;
    let id: String = id_of(path)?;
    let (skip, limit) = (query.skip(), query.per_page as usize);
    let (list, total) = write::ask(app, key, move |service| list(service, key, &id, skip, limit)).await?;
    let data: Vec<Value> = list.iter().map(json::delivery).collect();
    let meta = json!({ "total": total, "page": query.page, "per_page": query.per_page });
    Ok(answer(json!({ "data": data, "meta": meta }), None))
}

fn answer(body: Value, etag: Option<String>) -> http::Response<Body> {
    answer::respond(Rendered { status: 200, etag, body: body.to_string().into_bytes() })
}

/// The kinds of events; `None` if nothing was said, or something wrong.
fn events(fields: &mut BodyFields) -> Option<Vec<Arc<str>>> {
    fields.items("events", |text| Ok(text.into()))
}

/// What an event waits for; `None` if nothing was said, or something wrong.
fn order(fields: &mut BodyFields) -> Option<DeliveryOrder> {
    let text = fields.text("order")?;
    let order = DeliveryOrder::ALL.iter().copied().find(|order| order.as_str() == text);
    if order.is_none() {
        fields.error("order", code::INVALID, "must be number or endpoint", Some(&text));
    }
    order
}
