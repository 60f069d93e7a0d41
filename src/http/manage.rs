//! The management API: every verb on numbers, accounts, applications and
//! trunks, for keys with the scope `manage`.
//!
//! A handler reads the body, calls `service`, and writes the verb's result.
//! Invariants: a write that is answered with success is durable and is in this
//! node's index; under an `Idempotency-Key` it is executed once; an invalid request
//! is refused before anything is written.
//! Deliberately absent: rules about states (`domain::action`), jobs (`jobs`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::bodies::{Allowance, Caller};
use super::body::{self, BodyFields};
use super::error::ApiError;
use super::{App, RequestId, jobs, partner, peer, query, schedules, settings, told, waiting, webhooks};
use crate::domain::action::{self, Assignment, Price, Transfer};
use crate::domain::field::code;
use crate::domain::{
    Account, Action, Actor, Application, Country, E164, FieldError, Money, NumberType, PartnerKey, Scope, Time, Trunk,
    Zone, spelling,
};
use crate::inventory::NumberRef;
use crate::service::entities::{CallTarget, EntityPatch};
use crate::service::numbers::{BLOCK_MAX, Expected, Stock};
use crate::service::undo::{RefusedUndo, Undone};
use crate::service::{Rendered, Retry, Service, ServiceError, VerbOutcome, WriteOutcome};
use crate::wire;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The most characters of an idempotency key.
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

pub(super) type PathOf<T> = Result<Path<T>, PathRejection>;
pub(super) type HandlerResult = Result<Response<Body>, ApiError>;

/// An authorised write: its caller, and its body.
pub(super) struct Write {
    pub key: PartnerKey,
    pub service: Service,
    pub fields: BodyFields,
    pub expected: Expected,
}

impl Write {
    /// Lets a request in and reads it.
    pub async fn read(app: &App, request: Request<Body>) -> Result<Write, ApiError> {
        // It waits for no version: a write looks at what the database has.
        let access = app.admit(request.headers(), peer(request.extensions()), Scope::Manage)?;
        partner::refuse_parameters(request.uri().query().unwrap_or_default())?;
        let expected = expected(request.headers())?;
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
            Retry { key, fingerprint: hash.finalize().into(), render }
        });
        let request_id = head.extensions.get::<RequestId>().map(|id| id.0.to_string());
        let service = app.service.asked(Actor::Key { id: access.key }, request_id, retry);
        Ok(Write { key: access.snapshot.key, service, fields: BodyFields::parse(&body)?, expected })
    }

    /// Does it, away from the threads that serve others.
    pub async fn run(
        key: PartnerKey,
        service: Service,
        verb: impl FnOnce(&Service, PartnerKey) -> Result<WriteOutcome, ServiceError> + Send + 'static,
    ) -> HandlerResult {
        let asked = waiting::work(&waiting::WRITES, move || {
            let outcome = verb(&service, key);
            (outcome, service.version(key))
        });
        let (outcome, current) = asked.await?;
        // What a reader must have to see what this looked at, at least.
        if let Some(version) = current {
            told::version(version);
        }
        match outcome? {
            WriteOutcome::Done { shown, version } => {
                // And what it made, exactly.
                if let Some(version) = version {
                    told::version(version);
                }
                Ok(respond(render(&shown)))
            }
            WriteOutcome::Again(rendered) => Ok(respond(rendered)),
        }
    }
}

/// Reads what is kept beside the log, away from the threads that serve others.
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

/// POST /api/v1/manage/numbers
pub async fn stock(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields, .. } = Write::read(&app, request).await?;
    let stock = read_stock(fields).map_err(ApiError::validation)?;
    Write::run(key, service, move |service, key| service.stock(key, &stock)).await
}

/// The numbers that a body brings into stock, or all that is wrong with it.
pub(crate) fn read_stock(mut fields: BodyFields) -> Result<Stock, Vec<FieldError>> {
    let block = fields.block("number");
    let end = fields.block_if("number_end");
    let cost = cost(&mut fields);
    let number_type = fields.read_word("number_type", NumberType::parse, "must be local, tollfree or mobile");
    let country: Option<Country> = fields.word_if("country");
    let region = fields.name_if("region");
    let tags = fields.tags("tags");
    if block.is_none() {
        fields.needed("number");
    }
    let block = match (block, end) {
        (Some((first, last)), None) => Some((first, last, "number")),
        (Some((first, same)), Some((end, last))) if first == same && end == last => Some((first, last, "number_end")),
        (Some(_), Some((_, last))) => {
            let message = "cannot be given beside a block; write the block in one field or in two";
            fields.error("number_end", code::CONFLICT, message, Some(&last.to_string()));
            None
        }
        (None, _) => None,
    };
    if let Some((first, last, field)) = block {
        let digits = |number: E164| number.digits().ilog10();
        let text = last.to_string();
        if last < first || digits(first) != digits(last) {
            let message = "must have as many digits as number and not come before it";
            fields.error(field, code::OUT_OF_RANGE, message, Some(&text));
        } else if last.digits() - first.digits() >= BLOCK_MAX {
            let message = format!("must be less than {BLOCK_MAX} numbers after number; take several blocks, or import");
            fields.error(field, code::OUT_OF_RANGE, message, Some(&text));
        }
    }
    let errors = fields.complete();
    match (block, cost) {
        (Some((first, last, _)), Some(cost)) if errors.is_empty() => {
            Ok(Stock { first, last, cost, number_type, country, region, tags })
        }
        _ => Err(errors),
    }
}

/// POST /api/v1/manage/numbers/{e164}/{verb}
pub async fn act(State(app): State<Arc<App>>, path: PathOf<(String, String)>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields, expected } = Write::read(&app, request).await?;
    let Path((number, verb)) = path.map_err(|_| ApiError::not_found())?;
    let action = action(&verb, &mut fields).ok_or_else(ApiError::not_found)?;
    fields.finish()?;
    let action = action.ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let number = spelling::one(&number).map_err(|_| ApiError::not_found())?;
    Write::run(key, service, move |service, key| service.act(key, number, &action, &expected)).await
}

pub(super) const UNREAD: &str = "a field without an error was not read";

/// What can be done to a number, by the names in paths and jobs.
pub(crate) const VERBS: [&str; 12] = [
    "assign",
    "transfer",
    "release",
    "suspend",
    "resume",
    "route",
    "renew",
    "reserve",
    "unreserve",
    "retire",
    "tags",
    "cost",
];

/// The action that a verb and its fields ask for. `None` if there is no such
/// verb; `Some(None)` if a field is wrong, which the fields then know.
pub(crate) fn action(verb: &str, fields: &mut BodyFields) -> Option<Option<Action>> {
    Some(match verb {
        // As `VERBS` has them.
        "assign" => {
            let account = fields.word("account_auth_id");
            if account.is_none() {
                fields.needed("account_auth_id");
            }
            let (application, trunk) = (fields.word_if("application_id"), fields.word_if("trunk_id"));
            let expires_at = fields.time_if("expires_at");
            let (amount, currency) = (fields.amount("monthly_cost"), fields.currency());
            let cost = (amount.is_some() || currency.is_some()).then_some(Price { amount, currency });
            account.map(|account| Action::Assign(Assignment { account, application, trunk, expires_at, cost }))
        }
        "transfer" => {
            let account = fields.word("account_auth_id");
            if account.is_none() {
                fields.needed("account_auth_id");
            }
            let (application, trunk) = (fields.word_or_null("application_id"), fields.word_or_null("trunk_id"));
            let confirm_last = fields.flag("confirm_last").unwrap_or(false);
            account.map(|account| Action::Transfer(Transfer { account, application, trunk, confirm_last }))
        }
        "release" => Some(Action::Release { confirm_last: fields.flag("confirm_last").unwrap_or(false) }),
        "suspend" => Some(Action::Suspend),
        "resume" => Some(Action::Resume),
        "route" => {
            let (application, trunk) = (fields.word_or_null("application_id"), fields.word_or_null("trunk_id"));
            if application.is_none() && trunk.is_none() {
                fields.needed_one_of("application_id", "trunk_id");
            }
            Some(Action::Route { application, trunk })
        }
        "renew" => renewal(fields),
        "reserve" => {
            let (account, until) = (fields.word("account_auth_id"), fields.word("until"));
            if account.is_none() {
                fields.needed("account_auth_id");
            }
            if until.is_none() {
                fields.needed("until");
            }
            account.zip(until).map(|(account, until)| Action::Reserve { account, until })
        }
        "unreserve" => Some(Action::Unreserve),
        "retire" => Some(Action::Retire),
        "tags" | "tag" => {
            let (add, remove) = (fields.tags("add"), fields.tags("remove"));
            if add.is_empty() && remove.is_empty() {
                fields.needed_one_of("add", "remove");
            }
            if let Some(both) = add.iter().find(|tag| remove.contains(tag)) {
                fields.error("remove", code::CONFLICT, "must not have what add has", Some(both));
            }
            Some(Action::Tag { add, remove })
        }
        "cost" => cost(fields).map(Action::Cost),
        _ => return None,
    })
}

/// `expires_at`, or `months` with a `zone` whose calendar counts them.
fn renewal(fields: &mut BodyFields) -> Option<Action> {
    let (ends, extends) = (fields.has("expires_at"), fields.has("months"));
    let expires_at: Option<Option<Time>> = fields.word_or_null("expires_at");
    let months = fields.whole_within("months", 1, action::MONTHS_MAX as u16);
    let zone = fields.zone("zone");
    match (ends, extends) {
        (true, true) => fields.conflict("months", "expires_at"),
        (true, false) if zone.is_some() => fields.conflict("zone", "expires_at"),
        (true, false) | (false, true) => {}
        (false, false) => fields.needed_one_of("expires_at", "months"),
    }
    let extend = |months: u16| Action::Extend { months: months.into(), zone: zone.unwrap_or_else(Zone::utc) };
    expires_at.map(|expires_at| Action::Renew { expires_at }).or_else(|| months.map(extend))
}

/// `monthly_cost` and `currency`, both needed.
fn cost(fields: &mut BodyFields) -> Option<Money> {
    let (amount, currency) = (fields.amount("monthly_cost"), fields.currency());
    if amount.is_none() {
        fields.needed("monthly_cost");
    }
    if currency.is_none() {
        fields.needed("currency");
    }
    let (amount, currency) = amount.zip(currency)?;
    match Money::parse(&amount, currency) {
        Ok(cost) => Some(cost),
        Err(error) => {
            fields.error("monthly_cost", code::INVALID, error.to_string(), Some(&amount));
            None
        }
    }
}

/// POST /api/v1/manage/accounts
pub async fn account_new(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields, .. } = Write::read(&app, request).await?;
    let (id, name) = (fields.word("account_auth_id"), fields.person_name("name"));
    if id.is_none() {
        fields.needed("account_auth_id");
    }
    if name.is_none() {
        fields.needed("name");
    }
    fields.finish()?;
    let (id, name) = id.zip(name).ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    Write::run(key, service, move |service, key| service.account_new(key, &id, &name)).await
}

/// PATCH /api/v1/manage/accounts/{id}
pub async fn account_edit(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields, .. } = Write::read(&app, request).await?;
    let changes = changes(fields, &["name", "archived"])?;
    let id = id_of(path)?;
    Write::run(key, service, move |service, key| service.account_edit(key, &id, &changes)).await
}

/// POST /api/v1/manage/applications
pub async fn application_new(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields, .. } = Write::read(&app, request).await?;
    let (id, name) = (fields.word("application_id"), fields.person_name("name"));
    let account = fields.word_if("account_auth_id");
    let destinations = fields.destinations("destinations").unwrap_or_default();
    let answer_url = fields.answer_url("answer_url").flatten();
    if id.is_none() {
        fields.needed("application_id");
    }
    if name.is_none() {
        fields.needed("name");
    }
    fields.finish()?;
    let (id, name) = id.zip(name).ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let calls = CallTarget { destinations, answer_url };
    Write::run(key, service, move |service, key| service.application_new(key, &id, &name, account.as_ref(), &calls))
        .await
}

/// PATCH /api/v1/manage/applications/{id}
pub async fn application_edit(
    State(app): State<Arc<App>>,
    path: PathOf<String>,
    request: Request<Body>,
) -> HandlerResult {
    let Write { key, service, fields, .. } = Write::read(&app, request).await?;
    let changes = changes(fields, &["name", "archived", "destinations", "answer_url"])?;
    let id = id_of(path)?;
    Write::run(key, service, move |service, key| service.application_edit(key, &id, &changes)).await
}

/// POST /api/v1/manage/trunks
pub async fn trunk_new(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields, .. } = Write::read(&app, request).await?;
    let (id, name) = (fields.word("trunk_id"), fields.person_name("name"));
    let account = fields.word_if("account_auth_id");
    let destinations = fields.destinations("destinations").unwrap_or_default();
    if id.is_none() {
        fields.needed("trunk_id");
    }
    if name.is_none() {
        fields.needed("name");
    }
    fields.finish()?;
    let (id, name) = id.zip(name).ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let calls = CallTarget { destinations, answer_url: None };
    Write::run(key, service, move |service, key| service.trunk_new(key, &id, &name, account.as_ref(), &calls)).await
}

/// PATCH /api/v1/manage/trunks/{id}
pub async fn trunk_edit(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields, .. } = Write::read(&app, request).await?;
    let changes = changes(fields, &["name", "archived", "destinations"])?;
    let id = id_of(path)?;
    Write::run(key, service, move |service, key| service.trunk_edit(key, &id, &changes)).await
}

/// POST /api/v1/manage/changes/{version}/undo
pub async fn undo(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields, .. } = Write::read(&app, request).await?;
    fields.finish()?;
    let version: u64 = id_of(path)?;
    Write::run(key, service, move |service, key| service.undo(key, version)).await
}

/// What a PATCH asks for, of the fields that its kind of entity has.
fn changes(mut fields: BodyFields, takes: &[&str]) -> Result<EntityPatch, ApiError> {
    let mut changes =
        EntityPatch { name: fields.person_name("name"), archived: fields.flag("archived"), ..EntityPatch::default() };
    if takes.contains(&"destinations") {
        changes.destinations = fields.destinations("destinations");
    }
    if takes.contains(&"answer_url") {
        changes.answer_url = fields.answer_url("answer_url");
    }
    if let ([first, others @ ..], true) = (takes, changes == EntityPatch::default()) {
        fields.needed_one_of(first, &others.join(", "));
    }
    fields.finish()?;
    Ok(changes)
}

/// What the path names; anything that cannot be an id is not found.
pub(super) fn id_of<T: std::str::FromStr>(path: PathOf<String>) -> Result<T, ApiError> {
    path.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(ApiError::not_found)
}

/// What the client says it knows of the number (RFC 9110: strong comparison).
/// A number's tag begins with the version that last changed it.
fn expected(headers: &HeaderMap) -> Result<Expected, ApiError> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(Expected::Anything);
    }
    let mut versions = Vec::new();
    for line in headers.get_all(header::IF_MATCH) {
        let tags = line.to_str().ok().and_then(entity_tags).ok_or_else(|| {
            let message = "must be * or entity tags in quotes, as an ETag has them, with commas between";
            ApiError::validation(vec![FieldError::missing("If-Match", code::INVALID, message)])
        })?;
        let IfMatchTags::These(tags) = tags else { return Ok(Expected::Anything) };
        let version = |tag: &str| query::bounded(tag.split('-').next().unwrap_or_default(), 0, u64::MAX);
        versions.extend(tags.into_iter().filter_map(version));
    }
    Ok(Expected::Versions(versions))
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

/// The tag of one number: its version first, then what tells apart all that an
/// answer about it can say at that version (a name, an expiry that passed).
pub(super) fn number_tag(row: NumberRef<'_>) -> String {
    let mut text = Vec::with_capacity(wire::ROW_BYTES);
    wire::record::number(&mut text, row);
    text.extend_from_slice(crate::BUILD.as_bytes());
    format!("\"{}-{:08x}\"", row.version(), crc32fast::hash(&text))
}

/// How what a verb left is answered.
pub(super) fn render(shown: &VerbOutcome) -> Rendered {
    use std::io::Write;
    let mut body = b"{\"data\":".to_vec();
    let mut status = StatusCode::OK;
    let mut etag = None;
    match shown {
        VerbOutcome::Number(shown) => {
            let row = shown.row();
            wire::record::number(&mut body, row);
            etag = Some(number_tag(row));
            if shown.created {
                status = StatusCode::CREATED;
            }
        }
        VerbOutcome::Block { first, last, numbers, version } => {
            status = StatusCode::CREATED;
            write!(
                body,
                "{{\"number\":\"{first}\",\"number_end\":\"{last}\",\"numbers\":{numbers},\"version\":{version}}}"
            )
            .expect("writing to memory");
        }
        VerbOutcome::Account { account, created } => {
            let Account { auth_id, name, created_at, archived_at } = account;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            json(
                &mut body,
                &serde_json::json!({
                    "account_auth_id": auth_id, "name": name, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at,
                }),
            );
        }
        VerbOutcome::Application { application, created } => {
            let Application { id, name, account, created_at, archived_at, destinations, answer_url } = application;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            json(
                &mut body,
                &serde_json::json!({
                    "application_id": id, "name": name, "account_auth_id": account, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at, "destinations": destinations,
                    "answer_url": answer_url,
                }),
            );
        }
        VerbOutcome::Trunk { trunk, created } => {
            let Trunk { id, name, account, created_at, archived_at, destinations } = trunk;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            json(
                &mut body,
                &serde_json::json!({
                    "trunk_id": id, "name": name, "account_auth_id": account, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at, "destinations": destinations,
                }),
            );
        }
        VerbOutcome::Job { job, created } => {
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            jobs::json(&mut body, job, None);
        }
        VerbOutcome::Acknowledgement(one) => json(
            &mut body,
            &serde_json::json!({
                "id": one.finding, "note": one.note, "until": one.until, "by": one.by, "at": one.at,
            }),
        ),
        VerbOutcome::Schedule { view, created } => {
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            json(&mut body, &schedules::shown(view, false));
        }
        VerbOutcome::Billing(view) => json(&mut body, &settings::shown(view)),
        VerbOutcome::Webhook(shown) => {
            status = if shown.created { StatusCode::CREATED } else { StatusCode::OK };
            etag = shown.setting.removed_at.is_none().then(|| webhooks::etag(shown));
            json(&mut body, &webhooks::shown(shown));
        }
        VerbOutcome::Delivery(shown) => {
            status = if shown.created { StatusCode::CREATED } else { StatusCode::OK };
            json(&mut body, &webhooks::delivery(shown));
        }
        VerbOutcome::Resent { resent, left } => json(&mut body, &serde_json::json!({ "resent": resent, "left": left })),
        VerbOutcome::Undone(Undone { of, version, undone, refused, rows, stays }) => json(
            &mut body,
            &serde_json::json!({
                "undid": of, "version": version, "undone": undone, "refused": refused, "rows": refused_rows(rows),
                "stays": stays,
            }),
        ),
    }
    body.push(b'}');
    Rendered { status: status.as_u16(), etag, body }
}

fn json(out: &mut Vec<u8>, value: &serde_json::Value) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// The numbers that an undo left as they are.
pub(super) fn refused_rows(rows: &[RefusedUndo]) -> serde_json::Value {
    let row = |row: &RefusedUndo| {
        let by = row.by.as_ref().map(ToString::to_string);
        serde_json::json!({
            "number": row.number, "result": "refused", "reason": row.reason, "by": by, "at": row.at,
        })
    };
    rows.iter().map(row).collect()
}

pub(super) fn respond(rendered: Rendered) -> Response<Body> {
    let Rendered { status, etag, body } = rendered;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, partner::VARY);
    if let Some(tag) = etag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    response
}
