//! Schedules over HTTP: chosen, looked at, asked for a report now.
//!
//! The command line shows schedules as this does (`json::schedule`).
//! Deliberately absent: what is checked of a schedule (`service::background::schedules`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{Request, Response};
use serde_json::{Value, json};

use super::body::BodyFields;
use super::error::ApiError;
use super::error::HandlerResult;
use super::query::{ListParameters, ListQuery, parameters, unknown};
use super::write::{self, PathOf, Write, id_of};
use super::{App, answer, json};
use crate::domain::setting::ReportPolicy;
use crate::domain::span::{self, BadSpan};
use crate::domain::{Scope, Time};
use crate::schedule::{UTC, WEEKLY};
use crate::service::Rendered;
use crate::service::background::schedules::{SchedulePatch, preview};

/// POST /api/v1/manage/schedules
pub(super) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let wanted = read(&mut fields);
    if wanted.name.is_none() {
        fields.needed("name");
    }
    fields.finish()?;
    Write::run(key, service, move |service, key| service.schedule_create(key, &wanted)).await
}

/// PATCH /api/v1/manage/schedules/{id}
pub(super) async fn edit(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let wanted = SchedulePatch { off: fields.flag("off"), ..read(&mut fields) };
    if wanted == SchedulePatch::default() {
        fields.needed_one_of("name", "another field");
    }
    fields.finish()?;
    let id: String = id_of(path)?;
    Write::run(key, service, move |service, key| service.schedule_edit(key, &id, &wanted)).await
}

/// DELETE /api/v1/manage/schedules/{id}
pub(super) async fn remove(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.schedule_remove(key, id)).await
}

/// POST /api/v1/manage/schedules/{id}/run
pub(super) async fn run(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.schedule_ask(key, id)).await
}

/// GET /api/v1/manage/schedules
pub(super) async fn list(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let read = |_: &_, query: &str| ListQuery::parse(query, ListParameters::Paging);
    let (access, query) = app.enter(&request, Scope::Manage, read).await?;
    let key = access.snapshot.key;
    let (skip, limit) = (query.skip(), query.per_page as usize);
    let all = write::ask(&app, key, move |service| service.schedules(key, Time::now())).await?;
    let data: Vec<Value> = all.iter().skip(skip as usize).take(limit).map(|view| json::schedule(view, false)).collect();
    let meta = json!({ "total": all.len(), "page": query.page, "per_page": query.per_page });
    Ok(answer(&json!({ "data": data, "meta": meta })))
}

/// GET /api/v1/manage/schedules/{id}
pub(super) async fn one(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let view = write::one(&app, path, request, |service, key, id| service.schedule(key, id, Time::now())).await?;
    let body = json!({ "data": json::schedule(&view, true) }).to_string().into_bytes();
    let etag = Some(answer::state_tag("schedule", view.tag()));
    Ok(answer::respond(Rendered { status: 200, etag, body }))
}

/// GET /api/v1/manage/schedules/preview
pub(super) async fn next(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let (_, (cron, zone)) = app.enter(&request, Scope::Manage, |_, query| plan(query)).await?;
    let (plan, runs) = preview(&cron, &zone, Time::now())?;
    Ok(answer(&json!({ "data": { "cron": cron, "zone": plan.zone(), "next_runs": json::next_runs(&runs) } })))
}

/// The cron line and the zone that a query asks about.
fn plan(query: &str) -> Result<(String, String), ApiError> {
    let (mut cron, mut zone) = (None, None);
    let errors = parameters(query, |name, value| {
        match name {
            "cron" => cron = Some(value.into_owned()),
            "zone" => zone = Some(value.into_owned()),
            _ => return Err(unknown(name, &value, &["cron", "zone"])),
        }
        Ok(())
    });
    if !errors.is_empty() {
        return Err(ApiError::validation(errors));
    }
    Ok((cron.unwrap_or_else(|| WEEKLY.to_owned()), zone.unwrap_or_else(|| UTC.to_owned())))
}

fn answer(body: &Value) -> Response<Body> {
    answer::respond(Rendered { status: 200, etag: None, body: body.to_string().into_bytes() })
}

/// What a body says of a schedule.
fn read(fields: &mut BodyFields) -> SchedulePatch {
    let within = fields.text("within").and_then(|text| {
        let wrong = |error: BadSpan| fields.error("within", error.code(), error.to_string(), Some(&text));
        span::SCHEDULED.read(&text).map_err(wrong).ok()
    });
    SchedulePatch {
        name: fields.person_name("name"),
        cron: fields.text("cron"),
        zone: fields.text("zone"),
        recipients: texts(fields, "recipients"),
        checks: texts(fields, "checks"),
        within,
        report: fields.read_word("report", ReportPolicy::parse, "must be findings or always"),
        alerts: fields.flag("alerts"),
        off: None,
    }
}

fn texts(fields: &mut BodyFields, name: &'static str) -> Option<Vec<String>> {
    fields.items(name, |text| Ok(text.to_owned()))
}
