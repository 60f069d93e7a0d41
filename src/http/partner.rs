//! The Partner API: the two endpoints of the specification, in the dialect of
//! the key, and one number on its own, which has one shape only.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};

use super::answer::{ListFormat, answer, list_tag, number_tag, unchanged};
use super::error::ApiError;
use super::places::{HeldPlace, PlaceKind, PlaceOwner};
use super::pull::{self, Pulled};
use super::query::{ListParameters, ListQuery, refuse_parameters};
use super::{App, past};
use crate::domain::{KeyId, PartnerKey, Scope, Time, spelling};
use crate::inventory::{NumberWalk, Snapshot};
use crate::service::replica::access::Access;
use crate::wire::{self, RowWriter, Shape, TextForm};

/// GET /api/v1/partner/accounts/{customer_auth_id}/numbers
pub async fn customer(
    State(app): State<Arc<App>>,
    account: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let id = account.ok().map(|Path(id)| id);
    let known = |access: &Access| id.as_ref().and_then(|id| access.snapshot.accounts.get(id.as_str()).cloned());
    let read = |access: &Access, query: &str| {
        let query = ListQuery::parse_in(query, ListParameters::Customer, access.dialect);
        // Of a customer that is unknown, nothing is said but that.
        query.map_err(|error| if known(access).is_some() { error } else { ApiError::not_found() })
    };
    let (access, mut query) = app.enter(&request, Scope::Read, read).await?;
    let account = known(&access).ok_or_else(ApiError::not_found)?.auth_id.clone();
    let dialect = access.dialect;
    query.filter.account = Some(account.as_str().into());
    let place = export_place(&app, &request, access.snapshot.key, access.key)?;
    let snapshot = past::inventory(&app, access.snapshot, query.as_of).await?;
    // It may not have existed then.
    snapshot.accounts.get(account.as_str()).ok_or_else(ApiError::not_found)?;
    list(snapshot, query, Shape::customer(dialect), account.as_str(), &request, place)
}

/// GET /api/v1/partner/numbers
pub async fn global(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let read = |access: &Access, query: &str| ListQuery::parse_in(query, ListParameters::Global, access.dialect);
    let (access, query) = app.enter(&request, Scope::Read, read).await?;
    let dialect = access.dialect;
    let owner = access.snapshot.partner.auth_id.clone();
    let place = export_place(&app, &request, access.snapshot.key, access.key)?;
    let snapshot = past::inventory(&app, access.snapshot, query.as_of).await?;
    list(snapshot, query, Shape::global(dialect), owner.as_str(), &request, place)
}

/// A place for a whole list, if that is what `Accept` prefers.
fn export_place(
    app: &App,
    request: &Request<Body>,
    partner: PartnerKey,
    key: KeyId,
) -> Result<Option<HeldPlace>, ApiError> {
    if ListFormat::negotiate(request.headers()) == ListFormat::Json {
        return Ok(None);
    }
    let address = app.client_of(request.extensions(), request.headers());
    Ok(Some(app.places.enter(PlaceKind::Export, PlaceOwner::Key(partner, key), partner, address)?))
}

/// Answers a list. `snapshot` is of the time that the query asks about, `owner`
/// is whose numbers they are.
fn list(
    snapshot: Arc<Snapshot>,
    query: ListQuery,
    shape: Shape,
    owner: &str,
    request: &Request<Body>,
    place: Option<HeldPlace>,
) -> Result<Response<Body>, ApiError> {
    // What time alone does has happened up to then, and no further.
    let now = query.as_of.unwrap_or_else(Time::now);
    let format = ListFormat::negotiate(request.headers());
    let mut tag = list_tag(&snapshot, format, shape.dialect, now);
    if query.filter.called.is_some() {
        // A call is no change.
        tag = past::tag_of_calls(&tag, snapshot.called.tag());
    }
    if let Some(time) = query.as_of {
        // The present may be the same version; it shows another moment.
        tag = past::tag(&tag, time);
    }
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    if let Some(place) = place {
        let mut rows = NumberStream::new(snapshot, query, shape, format, now);
        let stream = Pulled::new(&pull::ROWS, place, Box::new(move || Ok(rows.next())));
        let packing = stream.packing();
        let mut response = answer(StatusCode::OK, Body::new(stream), tag, Some(format));
        response.extensions_mut().insert(packing);
        return Ok(response);
    }
    let selection = snapshot.select(&query.filter, query.order, query.window(), now);
    let mut out = Vec::with_capacity(128 + selection.rows.len() * shape.row_bytes());
    shape.begin(&mut out);
    let mut writer = RowWriter::new(&snapshot, format.form(), shape.columns);
    for (at, &row) in selection.rows.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        writer.row(&mut out, row);
    }
    shape.end(&mut out, selection.total, query.page, query.per_page, owner);
    let links = query.links(request.uri().path(), &selection);
    let mut response = answer(StatusCode::OK, Body::from(out), tag, Some(format));
    if let Ok(links) = HeaderValue::from_maybe_shared(Bytes::from(links)) {
        response.headers_mut().insert(header::LINK, links);
    }
    Ok(response)
}

/// The day (UTC) on which a number was last called, where that is known.
const LAST_CALLED_AT: HeaderName = HeaderName::from_static("last-called-at");

/// GET /api/v1/partner/numbers/{e164}
pub async fn number(
    State(app): State<Arc<App>>,
    number: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let number = number.ok().and_then(|Path(text)| spelling::one(&text).ok());
    let read = |access: &Access, query: &str| {
        let number = number.ok_or_else(ApiError::not_found)?;
        let known = access.snapshot.get(number, Time::now()).is_some();
        // No parameters: an unknown one is refused as everywhere.
        refuse_parameters(query).map_err(|error| if known { error } else { ApiError::not_found() })?;
        Ok(number)
    };
    let (access, number) = app.enter(&request, Scope::Read, read).await?;
    let now = Time::now();
    let row = access.snapshot.get(number, now).ok_or_else(ApiError::not_found)?;
    let tag = HeaderValue::try_from(number_tag(row)).expect("digits and a dash");
    // A header, since a call changes neither the number nor its tag.
    let last = access.snapshot.called.last(number);
    let with_call = |mut response: Response<Body>| {
        if let Some(value) = last.and_then(|day| HeaderValue::try_from(day.to_string()).ok()) {
            response.headers_mut().insert(LAST_CALLED_AT, value);
        }
        response
    };
    if unchanged(request.headers(), &tag) {
        return Ok(with_call(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None)));
    }
    let mut out = b"{\"data\":".to_vec();
    RowWriter::new(&access.snapshot, TextForm::Json, wire::SINGLE).row(&mut out, row);
    out.push(b'}');
    Ok(with_call(answer(StatusCode::OK, Body::from(out), tag, Some(ListFormat::Json))))
}

/// A whole filtered result, written a chunk at a time as the client
/// reads. Holds its snapshot, so it is one moment however slow the client is.
struct NumberStream {
    snapshot: Arc<Snapshot>,
    walk: NumberWalk,
    shape: Shape,
    format: ListFormat,
    begun: bool,
}

/// How many rows a chunk of a stream has.
const CHUNK_ROWS: usize = 256;

impl NumberStream {
    fn new(snapshot: Arc<Snapshot>, query: ListQuery, shape: Shape, format: ListFormat, now: Time) -> NumberStream {
        let walk = snapshot.walk(query.filter, query.order, query.after, now);
        NumberStream { snapshot, walk, shape, format, begun: false }
    }

    /// The next chunk; `None` at the end.
    fn next(&mut self) -> Option<Bytes> {
        let rows = self;
        let mut out = Vec::with_capacity(CHUNK_ROWS * rows.shape.row_bytes());
        if !rows.begun && rows.format == ListFormat::Csv {
            wire::csv_header(&mut out, rows.shape.columns);
        }
        rows.begun = true;
        let next = if rows.walk.done() { Vec::new() } else { rows.walk.next(&rows.snapshot, CHUNK_ROWS) };
        let mut writer = RowWriter::new(&rows.snapshot, rows.format.form(), rows.shape.columns);
        for row in next {
            writer.row(&mut out, row);
            if rows.format != ListFormat::Csv {
                out.push(b'\n');
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}
