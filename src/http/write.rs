//! One write over HTTP: who may do it, its body, its conditions, and its answer.
//!
//! Invariants: a write that is answered with success is durable and is in this
//! node's index; under an `Idempotency-Key` it is executed once; an invalid request
//! is refused before anything is written; `If-Match` is compared inside the write's
//! transaction, or refused where there is no entity to compare, and never ignored.
//! Deliberately absent: which write (`manage`, `jobs`, `schedules`, `webhooks`).

use std::future::Future;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::Request;
use http::header::{self, HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::bodies::{Allowance, Caller};
use super::body::{self, BodyFields};
use super::error::{ApiError, HandlerResult};
use super::waiting::{self, NotDone};
use super::{App, RequestId, answer, json, peer, query, told};
use crate::domain::field::code;
use crate::domain::{Actor, FieldError, PartnerKey, Scope};
use crate::service::verbs::numbers::Expected;
use crate::service::{Retry, Service, ServiceError, WriteOutcome};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most characters of an idempotency key.
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

pub(super) type PathOf<T> = Result<Path<T>, PathRejection>;

/// An authorised write: its caller, and its body.
pub(super) struct Write {
    pub key: PartnerKey,
    pub service: Service,
    pub fields: BodyFields,
}

impl Write {
    /// Lets a request in and reads it.
    pub async fn read(app: &App, request: Request<Body>) -> Result<Write, ApiError> {
        // It waits for no version: a write looks at what the database has.
        let access = app.admit(request.headers(), peer(request.extensions()), Scope::Manage)?;
        query::refuse_parameters(request.uri().query().unwrap_or_default())?;
        let expected = expected(&request)?;
        let name = idempotency_key(request.headers())?;
        Allowance::known(&request, Caller::Partner(access.snapshot.key));
        let (head, body) = request.into_parts();
        let body = body::read(&head, body).await?;
        let retry = name.map(|key| {
            let mut hash = Sha256::new();
            for part in [head.method.as_str().as_bytes(), head.uri.path().as_bytes(), &body] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            Retry { key, fingerprint: hash.finalize().into(), render: json::render }
        });
        let request_id = head.extensions.get::<RequestId>().map(|id| id.0.to_string());
        let service = app.service.asked(Actor::Key { id: access.key }, request_id, retry).expecting(expected);
        Ok(Write { key: access.snapshot.key, service, fields: BodyFields::parse(&body)? })
    }

    /// Does it, away from the threads that serve others.
    pub fn run(
        key: PartnerKey,
        service: Service,
        verb: impl FnOnce(&Service, PartnerKey) -> Result<WriteOutcome, ServiceError> + Send + 'static,
    ) -> impl Future<Output = HandlerResult> + Send {
        answered(waiting::work(&waiting::WRITES, move || {
            let outcome = verb(&service, key);
            (outcome, service.version(key))
        }))
    }
}

/// Answers what a write left, with the version that a reader must have to see it.
async fn answered(
    asked: impl Future<Output = Result<(Result<WriteOutcome, ServiceError>, Option<u64>), NotDone>>,
) -> HandlerResult {
    let (outcome, current) = asked.await?;
    // What a reader must have to see what this looked at, at least.
    if let Some(version) = current {
        told::version(version);
    }
    match outcome? {
        WriteOutcome::Done { shown, version, rendered } => {
            // And what it made, exactly.
            if let Some(version) = version {
                told::version(version);
            }
            Ok(answer::respond(rendered.unwrap_or_else(|| json::render(&shown))))
        }
        WriteOutcome::Again(rendered) => Ok(answer::respond(rendered)),
    }
}

/// Runs a verb on what the path names; it takes no fields.
pub(super) async fn verb<P: Send + 'static>(
    app: &App,
    path: PathOf<P>,
    request: Request<Body>,
    verb: fn(&Service, PartnerKey, &P) -> Result<WriteOutcome, ServiceError>,
) -> HandlerResult {
    let Write { key, service, fields } = Write::read(app, request).await?;
    fields.finish()?;
    let Path(named) = path.map_err(|_| ApiError::not_found())?;
    Write::run(key, service, move |service, key| verb(service, key, &named)).await
}

/// Reads what the path names from tables beside the log; there are no parameters.
pub(super) async fn one<T: Send + 'static>(
    app: &App,
    path: PathOf<String>,
    request: Request<Body>,
    read: fn(&Service, PartnerKey, &str) -> Result<T, ServiceError>,
) -> Result<T, ApiError> {
    let (access, ()) = app.enter(&request, Scope::Manage, |_, query| query::refuse_parameters(query)).await?;
    let key = access.snapshot.key;
    let id: String = id_of(path)?;
    ask(app, key, move |service| read(service, key, &id)).await
}

/// Reads tables beside the log, away from the threads that serve requests.
pub(super) async fn ask<T: Send + 'static>(
    app: &App,
    key: PartnerKey,
    question: impl FnOnce(&Service) -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ApiError> {
    let service = app.service.clone();
    let asked = waiting::work(&waiting::READS, move || {
        let answer = question(&service);
        (answer, service.version(key))
    });
    let (answer, current) = asked.await?;
    // The version that a node must have to show as much.
    if let Some(version) = current {
        told::version(version);
    }
    Ok(answer?)
}

pub(super) const UNREAD: &str = "a field without an error was not read";

/// What the path names; anything that cannot be an id is not found.
pub(super) fn id_of<T: std::str::FromStr>(path: PathOf<String>) -> Result<T, ApiError> {
    path.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(ApiError::not_found)
}

/// Marks requests whose operation writes one entity with a tag of its own.
#[derive(Clone)]
pub struct ObeysIfMatch;

/// What the client says it knows of the number or the entity (RFC 9110: strong
/// comparison). A tag begins with the version that last changed a number, or with what
/// stands for the state of an entity. A write that has no such entity refuses the header:
/// a client that sends it would take an ignored one for protection.
fn expected(request: &Request<Body>) -> Result<Expected, ApiError> {
    let headers = request.headers();
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(Expected::Anything);
    }
    let (mut any, mut versions) = (false, Vec::new());
    for line in headers.get_all(header::IF_MATCH) {
        let tags = line.to_str().ok().and_then(entity_tags).ok_or_else(|| {
            let message = "must be * or entity tags in quotes, as an ETag has them, with commas between";
            ApiError::validation(vec![FieldError::missing("If-Match", code::INVALID, message)])
        })?;
        let version = |tag: &str| query::bounded(tag.split('-').next().unwrap_or_default(), 0, u64::MAX);
        match tags {
            IfMatchTags::Any => any = true,
            IfMatchTags::These(tags) => versions.extend(tags.into_iter().filter_map(version)),
        }
    }
    if request.extensions().get::<ObeysIfMatch>().is_none() {
        let message = "cannot be compared with anything here, because this request changes no single entity that has \
                       an ETag; leave the header out";
        return Err(ApiError::validation(vec![FieldError::missing("If-Match", code::UNKNOWN, message)]));
    }
    Ok(if any { Expected::Anything } else { Expected::Versions(versions) })
}

/// What a line of `If-Match` names.
enum IfMatchTags<'a> {
    Any,
    These(Vec<&'a str>),
}

/// The strong tags of a line, without their quotes; a weak one matches nothing
/// (RFC 9110, section 13.1.1). `None` if the line is not well formed.
fn entity_tags(line: &str) -> Option<IfMatchTags<'_>> {
    if line.trim() == "*" {
        return Some(IfMatchTags::Any);
    }
    let mut strong = Vec::new();
    let mut rest = line.trim();
    loop {
        let weak = rest.strip_prefix("W/");
        // There may be commas in a tag.
        let (opaque, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        if weak.is_none() {
            strong.push(opaque);
        }
        match after.trim_start() {
            "" => return Some(IfMatchTags::These(strong)),
            after => rest = after.strip_prefix(',')?.trim_start(),
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err(ApiError::bad_request("the header Idempotency-Key was sent more than once"));
    };
    let Some(value) = value else { return Ok(None) };
    let visible = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
    match value.to_str().ok().filter(visible) {
        Some(key) if !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_CHARS_MAX => Ok(Some(key.to_owned())),
        _ => {
            let message = format!("must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters");
            Err(ApiError::validation(vec![FieldError::missing("Idempotency-Key", code::INVALID, message)]))
        }
    }
}
