//! Jobs over HTTP: create, show, run, cancel, undo.
//!
//! The command line creates jobs by the same bodies ([`read`]), so that a verb
//! and its parameters are understood in one place.
//! Invariant: an empty value in a filter is refused, because a filter that is empty
//! by mistake would match all numbers.
//! Deliberately absent: the verbs' parameters (`manage::action`), the execution of a
//! job (`service::background::jobs`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{Request, Response};

use super::body::{BodyFields, Json};
use super::error::ApiError;
use super::error::HandlerResult;
use super::query::{ListParameters, ListQuery};
use super::write::{self, PathOf, Write, id_of};
use super::{App, answer, json, manage};
use crate::domain::Scope;
use crate::domain::field::code;
use crate::inventory::{Filter, Order, PARAMETERS, QueryError};
use crate::service::Rendered;
use crate::service::background::jobs::{JobSelection, LIST_MAX, NewJob};
use crate::wire;

/// POST /api/v1/manage/jobs
pub(super) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields } = Write::read(&app, request).await?;
    let new = read(fields)?;
    Write::run(key, service, move |service, key| service.job_create(key, &new)).await
}

/// POST /api/v1/manage/jobs/{id}/run
pub(super) async fn run(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.job_run(key, id)).await
}

/// POST /api/v1/manage/jobs/{id}/cancel
pub(super) async fn cancel(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    write::verb(&app, path, request, |service, key, id| service.job_cancel(key, id)).await
}

/// POST /api/v1/manage/jobs/{id}/undo
pub(super) async fn undo(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let preview = fields.flag("preview").unwrap_or(false);
    fields.finish()?;
    let id: String = id_of(path)?;
    Write::run(key, service, move |service, key| service.job_undo(key, &id, preview)).await
}

/// GET /api/v1/manage/jobs
pub(super) async fn list(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let read = |_: &_, query: &str| ListQuery::parse(query, ListParameters::Paging);
    let (access, query) = app.enter(&request, Scope::Manage, read).await?;
    let key = access.snapshot.key;
    let (skip, limit) = (query.skip(), query.per_page as usize);
    let (jobs, total) = write::ask(&app, key, move |service| service.jobs(key, skip, limit)).await?;
    let mut body = b"{\"data\":[".to_vec();
    for (at, job) in jobs.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        json::job(&mut body, job, app.service.job_trouble(key, &job.id).as_deref());
    }
    wire::json_meta(&mut body, total, query.page, query.per_page);
    Ok(answer(body))
}

/// GET /api/v1/manage/jobs/{id}
pub(super) async fn one(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let (job, trouble) =
        write::one(&app, path, request, |service, key, id| Ok((service.job(key, id)?, service.job_trouble(key, id))))
            .await?;
    let mut body = b"{\"data\":".to_vec();
    json::job(&mut body, &job, trouble.as_deref());
    body.push(b'}');
    Ok(answer(body))
}

/// GET /api/v1/manage/jobs/{id}/rows
pub(super) async fn rows(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let read = |_: &_, query: &str| ListQuery::parse(query, ListParameters::JobRows);
    let (access, query) = app.enter(&request, Scope::Manage, read).await?;
    let key = access.snapshot.key;
    let id: String = id_of(path)?;
    let (result, skip, limit) = (query.result, query.skip(), query.per_page as usize);
    let (rows, total) = write::ask(&app, key, move |service| service.job_rows(key, &id, result, skip, limit)).await?;
    let mut body = b"{\"data\":[".to_vec();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        json::job_row(&mut body, row);
    }
    wire::json_meta(&mut body, total, query.page, query.per_page);
    Ok(answer(body))
}

fn answer(body: Vec<u8>) -> Response<Body> {
    answer::respond(Rendered { status: 200, etag: None, body })
}

/// The job that a body asks for.
pub fn read(mut fields: BodyFields) -> Result<NewJob, ApiError> {
    let verb = fields.text("verb");
    if verb.is_none() {
        fields.needed("verb");
    }
    let text = fields.sent("params");
    let mut params = fields.object_or_empty("params");
    let action = match verb.as_deref().map(|verb| (verb, manage::action(verb, &mut params))) {
        Some((_, Some(action))) => {
            fields.adopt(params);
            action
        }
        Some((verb, None)) => {
            let message = format!("must be one of {}", manage::VERBS.join(", "));
            fields.error("verb", code::INVALID, message, Some(verb));
            None
        }
        None => None,
    };
    let wanted = wanted(&mut fields);
    let preview = fields.flag("preview").unwrap_or(false);
    fields.finish()?;
    let (action, wanted) = action.zip(wanted).ok_or_else(|| ApiError::internal(write::UNREAD.to_owned()))?;
    Ok(NewJob { action, params: text, wanted, preview })
}

/// `numbers` or `filter`.
fn wanted(fields: &mut BodyFields) -> Option<JobSelection> {
    let (list, chosen) = (fields.has("numbers"), fields.has("filter"));
    match (list, chosen) {
        (true, true) => {
            fields.error("filter", code::CONFLICT, "cannot be given together with numbers", None);
        }
        (false, false) => {
            fields.error("numbers", code::MISSING, "or filter is needed; the filter {} is all numbers", None);
        }
        (true, false) | (false, true) => {}
    }
    let numbers = fields.numbers("numbers", LIST_MAX);
    let text = fields.sent("filter");
    let filter = fields.object("filter").and_then(|inner| filter(fields, inner));
    match (list, numbers, filter) {
        (true, Some(numbers), _) => Some(JobSelection::List(numbers)),
        (false, _, Some(filter)) => Some(JobSelection::Filter(Box::new(filter), text)),
        _ => None,
    }
}

fn filter(fields: &mut BodyFields, mut inner: BodyFields) -> Option<Filter> {
    let mut filter = Filter::default();
    let mut wrong = false;
    for (name, value) in inner.rest() {
        let flag = matches!(&*name, "routed" | "assigned");
        let known = name != "sort" && PARAMETERS.iter().any(|parameter| parameter.name == name);
        let text = match (&value, flag) {
            _ if !known => {
                let known: Vec<&str> =
                    PARAMETERS.iter().map(|known| known.name).filter(|name| *name != "sort").collect();
                let message = format!("is not a filter; known are {}", known.join(", "));
                inner.error(&name, code::UNKNOWN, message, value.told().as_deref());
                wrong = true;
                continue;
            }
            (Json::Bool(flag), true) => flag.to_string(),
            (Json::Text(text), false) if !text.is_empty() => text.clone(),
            (_, true) => {
                inner.error(&name, code::INVALID, "must be true or false", value.told().as_deref());
                wrong = true;
                continue;
            }
            (_, false) => {
                let message = "must be text, and not empty; leave it out for no filter";
                inner.error(&name, code::INVALID, message, value.told().as_deref());
                wrong = true;
                continue;
            }
        };
        let set = filter.set(&mut Order::default(), &name, &text);
        match set {
            // Some texts are no filter, such as a lone "+".
            Ok(()) if name == "search" && filter.search_is_all() => {
                inner.error(&name, code::INVALID, "must have a digit; leave it out for no filter", Some(&text));
            }
            Ok(()) => continue,
            Err(QueryError::Value(error)) => inner.error(&name, error.code, error.message, error.value.as_deref()),
            Err(QueryError::Unknown) => inner.error(&name, code::UNKNOWN, "is not a filter", None),
        }
        wrong = true;
    }
    fields.adopt(inner);
    (!wrong).then_some(filter)
}
