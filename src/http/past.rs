//! Queries about the past: a number's history, the changes of a partner,
//! and earlier inventories.
//!
//! Invariants: an answer ends at the version of the snapshot that the credentials
//! opened, so a client never sees a change that the lists do not show yet; the
//! database is read on threads that may block, a few at a time, so that many such
//! queries do not delay other answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::header::HeaderValue;
use http::{Request, StatusCode};
use tokio::sync::Semaphore;

use super::answer::{ListFormat, answer, entity_tag, unchanged};
use super::error::{ApiError, HandlerResult};
use super::query::{self, ChangesQuery, ListParameters, ListQuery};
use super::waiting::{self, NotDone};
use super::{App, json, stream, told};
use crate::domain::field::code;
use crate::domain::{FieldError, Scope, Time, spelling};
use crate::inventory::Snapshot;
use crate::service::ServiceError;
use crate::service::past::Past;
use crate::wire::past as wire;

/// How many questions are put to the database at once.
const READS: usize = 8;
/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many past inventories are made at once; each keeps a core busy.
const REBUILDS: usize = 2;

type PathOf<T> = Result<Path<T>, PathRejection>;

/// The places for questions that wait for the database.
pub(super) struct Reads {
    reads: Arc<Semaphore>,
    rebuilds: Arc<Semaphore>,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads { reads: Arc::new(Semaphore::new(READS)), rebuilds: Arc::new(Semaphore::new(REBUILDS)) }
    }
}

impl Reads {
    /// Asks away from the threads that serve others.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        ask(&self.reads, question).await
    }
}

async fn ask<T: Send + 'static>(
    places: &Arc<Semaphore>,
    question: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = tokio::time::timeout(PATIENCE, places.clone().acquire_owned()).await;
    let place = place.map_err(|_| NotDone::Busy)?.map_err(|error| ApiError::internal(error.to_string()))?;
    let asked = waiting::work(&waiting::READS, move || {
        let answer = question();
        // The place is held until here, even if the client has disconnected.
        drop(place);
        answer
    });
    Ok(asked.await??)
}

/// The inventory at the end of a second, or as it is.
pub(super) async fn inventory(
    app: &Arc<App>,
    current: Arc<Snapshot>,
    as_of: Option<Time>,
) -> Result<Arc<Snapshot>, ApiError> {
    let Some(time) = as_of else { return Ok(current) };
    let replica = app.replica.clone();
    let waiting = Waiting(Arc::new(AtomicBool::new(true)));
    let wanted = waiting.0.clone();
    let past = ask(&app.past.rebuilds, move || replica.as_of(current, time, &wanted)).await?;
    told::version(past.version);
    Ok(past)
}

/// A client that waits for an answer; dropping it cancels the work, which takes
/// as long as there are changes to revert. The server must not wait for that when
/// it stops.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The tag of an answer about a time.
pub(super) fn tag(present: &HeaderValue, time: Time) -> HeaderValue {
    let text = present.to_str().unwrap_or_default().trim_end_matches('"');
    HeaderValue::try_from(format!("{text}-at-{:x}\"", time.seconds())).expect("hexadecimal digits")
}

/// The tag of an answer that also depends on the latest calls.
pub(super) fn tag_of_calls(present: &HeaderValue, calls: u32) -> HeaderValue {
    let text = present.to_str().unwrap_or_default().trim_end_matches('"');
    HeaderValue::try_from(format!("{text}-c{calls:x}\"")).expect("hexadecimal digits")
}

/// GET /api/v1/partner/numbers/{e164}/history
pub async fn history(State(app): State<Arc<App>>, number: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let number = number.ok().and_then(|Path(text)| spelling::one(&text).ok());
    let read = |_: &_, query: &str| {
        let number = number.ok_or_else(ApiError::not_found)?;
        Ok((number, ListQuery::parse(query, ListParameters::Paging)?))
    };
    let (access, (number, query)) = app.enter(&request, Scope::Read, read).await?;
    let snapshot = access.snapshot;
    let (replica, of) = (app.replica.clone(), snapshot.clone());
    let past = app.past.read(move || replica.history(&of, number)).await?;
    if past.is_empty() {
        return Err(ApiError::not_found());
    }
    let tag = entity_tag(&snapshot, ListFormat::Json, Time::now());
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let total = past.len() as u64;
    let skip = (query.page - 1).saturating_mul(query.per_page).min(total);
    let mut out = b"{\"data\":[".to_vec();
    for (at, past) in past.iter().skip(skip as usize).take(query.per_page as usize).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let Past { version, entry, change } = past;
        wire::history_entry(&mut out, json::entry_head(*version, entry), change);
    }
    crate::wire::json_meta(&mut out, total, query.page, query.per_page);
    Ok(answer(StatusCode::OK, Body::from(out), tag, Some(ListFormat::Json)))
}

/// GET /api/v1/partner/changes, as a page or as a stream
pub async fn changes(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    use std::io::Write;
    let (access, query) = app.enter(&request, Scope::Read, |_, query| ChangesQuery::parse(query)).await?;
    if stream::wanted(request.headers()) {
        let (field, after) = match stream::last_event_id(request.headers())? {
            Some(last) => ("Last-Event-ID", last),
            None => ("after", query.after),
        };
        reached(&app, access.snapshot.clone(), field, after).await?;
        let address = app.client_of(request.extensions(), request.headers());
        return stream::answer(&app, access, after, address);
    }
    let snapshot = reached(&app, access.snapshot, "after", query.after).await?;
    let tag = entity_tag(&snapshot, ListFormat::Json, Time::now());
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let (replica, of) = (app.replica.clone(), snapshot.clone());
    let ChangesQuery { after, per_page } = query;
    let list = app.past.read(move || replica.changes(&of, after, per_page, 0, json::INLINE_MAX)).await?;
    let mut out = b"{\"data\":[".to_vec();
    for (at, change) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::change(&mut out, change);
    }
    let version = snapshot.version;
    let last = list.last().map(|change| change.version).filter(|&last| last < version);
    let next = last.map_or_else(|| "null".to_owned(), |last| last.to_string());
    write!(out, "],\"meta\":{{\"version\":{version},\"next_after\":{next},\"per_page\":{per_page}}}}}")
        .expect("writing to memory");
    Ok(answer(StatusCode::OK, Body::from(out), tag, Some(ListFormat::Json)))
}

/// GET /api/v1/partner/changes/{version}: one change, with all that it changed
/// in pages.
pub async fn change(State(app): State<Arc<App>>, version: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let version = version.ok().and_then(|Path(text)| query::version("version", &text).ok());
    let after = version.and_then(|version| version.checked_sub(1));
    let read = |_: &_, query: &str| {
        let after = after.ok_or_else(ApiError::not_found)?;
        Ok((after, ListQuery::parse(query, ListParameters::Paging)?))
    };
    let (access, (after, query)) = app.enter(&request, Scope::Read, read).await?;
    let snapshot = access.snapshot;
    let skip = (query.page - 1).saturating_mul(query.per_page);
    let (replica, of, rows) = (app.replica.clone(), snapshot.clone(), query.per_page as usize);
    let mut list = app.past.read(move || replica.changes(&of, after, 1, skip, rows)).await?;
    let change = list.pop().ok_or_else(ApiError::not_found)?;
    let tag = entity_tag(&snapshot, ListFormat::Json, Time::now());
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(change.entities.len());
    let mut out = b"{\"data\":".to_vec();
    wire::change(&mut out, json::listed(&change, &change.entities[skip..], rows));
    write_meta(&mut out, change.total, &query);
    Ok(answer(StatusCode::OK, Body::from(out), tag, Some(ListFormat::Json)))
}

/// The end of an answer that is not a list and yet has pages.
fn write_meta(out: &mut Vec<u8>, total: u64, query: &ListQuery) {
    use std::io::Write;
    let (page, per_page) = (query.page, query.per_page);
    write!(out, ",\"meta\":{{\"total\":{total},\"page\":{page},\"per_page\":{per_page}}}}}")
        .expect("writing to memory");
}

/// A snapshot that has come as far as `after`, or the error that nothing has.
async fn reached(app: &Arc<App>, snapshot: Arc<Snapshot>, field: &str, after: u64) -> Result<Arc<Snapshot>, ApiError> {
    if after <= snapshot.version {
        return Ok(snapshot);
    }
    // A command may have said a version that this node has not heard of yet.
    let replica = app.replica.clone();
    let follow = move || {
        replica.follow();
        Ok(replica.node(snapshot.partner.auth_id.as_str()).map_or(snapshot, |node| node.snapshot()))
    };
    let snapshot = app.past.read(follow).await?;
    if snapshot.damaged {
        return Err(ApiError::damaged());
    }
    told::version(snapshot.version);
    if after <= snapshot.version {
        return Ok(snapshot);
    }
    let message = format!("must not be after the last change, which is {}", snapshot.version);
    Err(ApiError::validation(vec![FieldError::new(field, code::OUT_OF_RANGE, message, &after.to_string())]))
}
