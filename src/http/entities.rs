//! The lists beside numbers: a partner's accounts, applications and trunks, each
//! with its counts of numbers.
//!
//! Counts equal the totals of the lists of numbers under the same filter and at
//! the same moment. A list is in the order of ids. Accounts alone have a second
//! shape, for keys of the dialect `items`.
//! Deliberately absent: the past (`as_of`), CSV and NDJSON, writes (`manage`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use super::answer::{ListFormat, answer, list_tag, unchanged, with_state};
use super::error::ApiError;
use super::query::refuse_parameters;
use super::query::{ListParameters, ListQuery};
use crate::domain::{Account, Application, Dialect, Scope, Time, Trunk};
use crate::inventory::{Snapshot, StatusCounts};
use crate::service::replica::access::Access;
use crate::service::verbs::entities::state_tag;

type PathId = Result<Path<String>, axum::extract::rejection::PathRejection>;

/// What one list is of.
trait ListEntity: Sized + Serialize {
    fn id(&self) -> &str;
    fn name(&self) -> &str;
    fn find<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Self>;
    /// Every entity with its counts, in no order.
    fn all(snapshot: &Snapshot, now: Time) -> Vec<(&Self, StatusCounts)>;
    fn row(&self, counts: StatusCounts) -> Value;
}

impl ListEntity for Account {
    fn id(&self) -> &str {
        self.auth_id.as_str()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn find<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Account> {
        snapshot.accounts.get(id)
    }

    fn all(snapshot: &Snapshot, now: Time) -> Vec<(&Account, StatusCounts)> {
        snapshot.accounts.iter().zip(snapshot.counts(now)).collect()
    }

    fn row(&self, counts: StatusCounts) -> Value {
        let row = json!({ "account_auth_id": self.auth_id, "account_name": self.name });
        completed(row, self.created_at, counts, self.archived_at)
    }
}

impl ListEntity for Application {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn find<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Application> {
        snapshot.applications.get(id)
    }

    fn all(snapshot: &Snapshot, now: Time) -> Vec<(&Application, StatusCounts)> {
        snapshot.applications.iter().zip(snapshot.application_counts(now)).collect()
    }

    fn row(&self, counts: StatusCounts) -> Value {
        let mut row =
            json!({ "application_id": self.id, "application_name": self.name, "account_auth_id": self.account });
        row["destinations"] = json!(self.destinations);
        row["answer_url"] = json!(self.answer_url);
        completed(row, self.created_at, counts, self.archived_at)
    }
}

impl ListEntity for Trunk {
    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn find<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Trunk> {
        snapshot.trunks.get(id)
    }

    fn all(snapshot: &Snapshot, now: Time) -> Vec<(&Trunk, StatusCounts)> {
        snapshot.trunks.iter().zip(snapshot.trunk_counts(now)).collect()
    }

    fn row(&self, counts: StatusCounts) -> Value {
        let mut row = json!({ "trunk_id": self.id, "trunk_name": self.name, "account_auth_id": self.account });
        row["destinations"] = json!(self.destinations);
        completed(row, self.created_at, counts, self.archived_at)
    }
}

/// A row with what all kinds of entity have. `archived_at` is there only where
/// the entity is archived.
fn completed(mut row: Value, created_at: Time, counts: StatusCounts, archived_at: Option<Time>) -> Value {
    let StatusCounts { active, suspended } = counts;
    row["created_at"] = json!(created_at);
    row["numbers"] = json!({ "total": active + suspended, "active": active, "suspended": suspended });
    if let Some(archived_at) = archived_at {
        row["archived_at"] = json!(archived_at);
    }
    row
}

/// An account in the dialect `items`: the keys of the platform's SDKs that
/// Rollcall has a value for, and no others.
fn item(account: &Account, snapshot: &Snapshot) -> Value {
    json!({
        "name": account.name,
        "id": account.auth_id,
        "auth_id": account.auth_id,
        "is_active": account.archived_at.is_none(),
        "created_at": account.created_at,
        "partner_id": snapshot.partner.auth_id,
    })
}

/// One page of the entities whose name or id contains the search text, and how
/// many there are on all pages.
fn page<'s, T: ListEntity>(
    snapshot: &'s Snapshot,
    query: &ListQuery,
    now: Time,
) -> (Vec<(&'s T, StatusCounts)>, usize) {
    let mut found = T::all(snapshot, now);
    if let Some(search) = &query.search {
        let matches = |text: &str| text.to_lowercase().contains(search);
        found.retain(|(entity, _)| matches(entity.id()) || matches(entity.name()));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.id().cmp(b.id()));
    let total = found.len();
    let skip = usize::try_from(query.skip()).unwrap_or(usize::MAX);
    let rows = found.into_iter().skip(skip).take(query.per_page as usize).collect();
    (rows, total)
}

fn list_body<T: ListEntity>(snapshot: &Snapshot, query: &ListQuery, now: Time) -> Value {
    let (rows, total) = page::<T>(snapshot, query, now);
    let rows: Vec<Value> = rows.into_iter().map(|(entity, counts)| entity.row(counts)).collect();
    json!({ "data": rows, "meta": { "total": total, "page": query.page, "per_page": query.per_page } })
}

fn items_body(snapshot: &Snapshot, query: &ListQuery, now: Time) -> Value {
    let (rows, total) = page::<Account>(snapshot, query, now);
    let rows: Vec<Value> = rows.into_iter().map(|(account, _)| item(account, snapshot)).collect();
    json!({ "accounts": rows, "total": total, "page": query.page, "size": query.per_page })
}

/// Answers a list with what `body` makes of the query, unless the client has it.
async fn list(
    app: &App,
    request: Request<Body>,
    body: fn(&Snapshot, &ListQuery, Time, Dialect) -> Value,
    dialects: bool,
) -> Result<Response<Body>, ApiError> {
    let read = |_: &_, query: &str| ListQuery::parse(query, ListParameters::Entities);
    let (access, query) = app.enter(&request, Scope::Read, read).await?;
    let dialect = if dialects { access.dialect } else { Dialect::Data };
    let now = Time::now();
    let tag = list_tag(&access.snapshot, ListFormat::Json, dialect, now);
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let body = body(&access.snapshot, &query, now, dialect).to_string();
    Ok(answer(StatusCode::OK, Body::from(body), tag, Some(ListFormat::Json)))
}

/// Answers one entity; an unknown one and another partner's are alike.
async fn one<T: ListEntity>(app: &App, id: PathId, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let read = |access: &Access, query: &str| {
        let id = id.ok().map(|Path(id)| id).ok_or_else(ApiError::not_found)?;
        let known = T::find(&access.snapshot, &id).is_some();
        refuse_parameters(query).map_err(|error| if known { error } else { ApiError::not_found() })?;
        Ok(id)
    };
    let (access, id) = app.enter(&request, Scope::Read, read).await?;
    let now = Time::now();
    let known = T::find(&access.snapshot, &id).ok_or_else(ApiError::not_found)?;
    let tag = with_state(state_tag(known), &list_tag(&access.snapshot, ListFormat::Json, Dialect::Data, now));
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let counted = T::all(&access.snapshot, now).into_iter().find(|(entity, _)| entity.id() == known.id());
    let counts = counted.map(|(_, counts)| counts).unwrap_or_default();
    let body = json!({ "data": known.row(counts) }).to_string();
    Ok(answer(StatusCode::OK, Body::from(body), tag, Some(ListFormat::Json)))
}

/// GET /api/v1/partner/accounts
pub async fn accounts(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let body = |snapshot: &Snapshot, query: &ListQuery, now, dialect| match dialect {
        Dialect::Data => list_body::<Account>(snapshot, query, now),
        Dialect::Items => items_body(snapshot, query, now),
    };
    list(&app, request, body, true).await
}

/// GET /api/v1/partner/accounts/{id}
pub async fn account(
    State(app): State<Arc<App>>,
    id: PathId,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    one::<Account>(&app, id, request).await
}

/// GET /api/v1/partner/applications
pub async fn applications(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    list(&app, request, |snapshot, query, now, _| list_body::<Application>(snapshot, query, now), false).await
}

/// GET /api/v1/partner/applications/{id}
pub async fn application(
    State(app): State<Arc<App>>,
    id: PathId,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    one::<Application>(&app, id, request).await
}

/// GET /api/v1/partner/trunks
pub async fn trunks(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    list(&app, request, |snapshot, query, now, _| list_body::<Trunk>(snapshot, query, now), false).await
}

/// GET /api/v1/partner/trunks/{id}
pub async fn trunk(
    State(app): State<Arc<App>>,
    id: PathId,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    one::<Trunk>(&app, id, request).await
}
