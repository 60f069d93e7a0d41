//! The management API: every verb on numbers, accounts, applications and
//! trunks, for keys with the scope `manage`.
//!
//! A handler reads the body (`write`), calls `service`, and answers with the
//! verb's result.
//! Deliberately absent: rules about states (`domain::action`), jobs (`jobs`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;

use super::App;
use super::body::BodyFields;
use super::error::{ApiError, HandlerResult};
use super::write::{PathOf, UNREAD, Write, id_of};
use crate::domain::action::{self, Assignment, Price, Transfer};
use crate::domain::field::code;
use crate::domain::{Action, ApplicationId, Country, E164, FieldError, Money, NumberType, RouteKind, Zone, spelling};
use crate::service::verbs::entities::{CallTarget, EntityPatch};
use crate::service::verbs::numbers::{BLOCK_MAX, Stock};

/// POST /api/v1/manage/numbers
pub async fn stock(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields } = Write::read(&app, request).await?;
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
            let count = last.digits() - first.digits() + 1;
            let message = format!(
                "makes a block of {count} numbers; at most {BLOCK_MAX} come in at once, so take several blocks, or import"
            );
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
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let Path((number, verb)) = path.map_err(|_| ApiError::not_found())?;
    let action = action(&verb, &mut fields).ok_or_else(ApiError::not_found)?;
    fields.finish()?;
    let action = action.ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let number = spelling::one(&number).map_err(|_| ApiError::not_found())?;
    Write::run(key, service, move |service, key| service.act(key, number, &action, service.expected())).await
}

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
            let expires_at = fields.expiry_or_null().flatten();
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
    let expires_at = fields.expiry_or_null();
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
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
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
    let Write { key, service, fields } = Write::read(&app, request).await?;
    let changes = changes(fields, &["name", "archived"])?;
    let id = id_of(path)?;
    Write::run(key, service, move |service, key| service.account_edit(key, &id, &changes)).await
}

/// POST /api/v1/manage/applications
pub async fn application_new(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    route_new(&app, RouteKind::Application, request).await
}

/// POST /api/v1/manage/trunks
pub async fn trunk_new(State(app): State<Arc<App>>, request: Request<Body>) -> HandlerResult {
    route_new(&app, RouteKind::Trunk, request).await
}

async fn route_new(app: &App, kind: RouteKind, request: Request<Body>) -> HandlerResult {
    let Write { key, service, mut fields } = Write::read(app, request).await?;
    let (id, name): (Option<ApplicationId>, _) = (fields.word(kind.id_field()), fields.person_name("name"));
    let account = fields.word_if("account_auth_id");
    let destinations = fields.destinations("destinations").unwrap_or_default();
    let answer_url = match kind {
        RouteKind::Application => fields.answer_url("answer_url").flatten(),
        RouteKind::Trunk => None,
    };
    if id.is_none() {
        fields.needed(kind.id_field());
    }
    if name.is_none() {
        fields.needed("name");
    }
    fields.finish()?;
    let (id, name) = id.zip(name).ok_or_else(|| ApiError::internal(UNREAD.to_owned()))?;
    let calls = CallTarget { destinations, answer_url };
    Write::run(key, service, move |service, key| {
        service.route_new(key, (kind, id.as_str()), &name, account.as_ref(), &calls)
    })
    .await
}

/// PATCH /api/v1/manage/applications/{id}
pub async fn application_edit(
    State(app): State<Arc<App>>,
    path: PathOf<String>,
    request: Request<Body>,
) -> HandlerResult {
    route_edit(&app, RouteKind::Application, path, request).await
}

/// PATCH /api/v1/manage/trunks/{id}
pub async fn trunk_edit(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    route_edit(&app, RouteKind::Trunk, path, request).await
}

async fn route_edit(app: &App, kind: RouteKind, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields } = Write::read(app, request).await?;
    let takes = match kind {
        RouteKind::Application => &["name", "archived", "destinations", "answer_url"][..],
        RouteKind::Trunk => &["name", "archived", "destinations"],
    };
    let changes = changes(fields, takes)?;
    let id: ApplicationId = id_of(path)?;
    Write::run(key, service, move |service, key| service.route_edit(key, (kind, id.as_str()), &changes)).await
}

/// POST /api/v1/manage/changes/{version}/undo
pub async fn undo(State(app): State<Arc<App>>, path: PathOf<String>, request: Request<Body>) -> HandlerResult {
    let Write { key, service, fields } = Write::read(&app, request).await?;
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
