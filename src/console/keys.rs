//! A partner's API keys: create, rotate, revoke, and their last use.
//!
//! A token is shown only on the page that created it, which stays in memory for up
//! to ten minutes so that a double click gets the same answer.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::form::{self, FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit};
use super::page::{Frame, PageResult, Trouble, done, html_as, mendable};
use super::sign_in::blocking;
use super::users;
use super::{Console, ConsoleState, ItemPath, diff, pieces};
use crate::domain::field::code;
use crate::domain::{Dialect, FieldError, Key, KeyId, Scope, Time, entity, network};
use crate::service::{NewKey, ServiceError, Token};
use crate::wire::html::Html;

/// For how long a rotated key goes on, in seconds.
const OVERLAP: i64 = 86_400;

struct KeyRow {
    id: String,
    name: String,
    scopes: String,
    networks: String,
    dialect: &'static str,
    state: Html,
    used: Html,
    live: bool,
}

struct NewToken {
    name: String,
    token: String,
    /// A command that asks with it.
    curl: String,
    /// Until when the key that it replaces goes on.
    until: Option<Html>,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys<'a> {
    frame: Frame,
    keys: Vec<KeyRow>,
    made: Option<NewToken>,
    /// What was typed where a key was refused.
    form: &'a Form,
    wrongs: &'a Wrongs,
    /// Of which moment days are, as their labels say it.
    midnight: String,
}

/// GET /console/p/{partner}/keys
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Owner)?;
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let mut frame = visit.frame("Keys", "keys").with(notice);
    // A key that is revoked stays so.
    if let Some(notice) = &mut frame.notice {
        notice.undo = None;
    }
    render(visit, frame, None, TypedKey::default()).await
}

/// What was typed into the form, and what is wrong with it.
#[derive(Default)]
struct TypedKey {
    form: Form,
    wrongs: Wrongs,
}

/// POST /console/p/{partner}/keys
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let origin = users::origin(&console, &request);
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let new = match read(&visit, &form) {
        Ok(new) => new,
        Err(errors) => {
            let FormRefusal { text, wrongs, .. } = FormRefusal::of(errors);
            let frame = visit.frame("Keys", "keys").failed(text);
            return render(visit, frame, None, TypedKey { form, wrongs }).await;
        }
    };
    let id = visit.snapshot.partner.auth_id.clone();
    let made = visit.act("key.create", move |service, _| service.key_create(&id, new)).await;
    finish(&console, visit, &origin, made.map(|done| (done.value, None)), form).await
}

/// POST /console/p/{partner}/keys/{id}/rotate
pub async fn rotate(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let origin = users::origin(&console, &request);
    let (visit, _) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let id: KeyId = id.parse().map_err(|_| Trouble::NotFound)?;
    let partner = visit.snapshot.partner.auth_id.clone();
    let made = visit.act("key.rotate", move |service, _| service.key_rotate(&partner, &id, OVERLAP)).await;
    let until = visit.clock.time(visit.clock.now.plus(OVERLAP));
    finish(&console, visit, &origin, made.map(|done| (done.value, Some(until))), Form::default()).await
}

/// POST /console/p/{partner}/keys/{id}/revoke
pub async fn revoke(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let (visit, _) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let id: KeyId = id.parse().map_err(|_| Trouble::NotFound)?;
    let partner = visit.snapshot.partner.auth_id.clone();
    match visit.act("key.revoke", move |service, _| service.key_revoke(&partner, &id)).await {
        Ok(revoked) => {
            follow(&console).await?;
            done(&format!("{}/keys", visit.base), revoked.version)
        }
        Err(ServiceError::NoKey { .. }) => Err(Trouble::NotFound),
        Err(error) => {
            let frame = visit.frame("Keys", "keys").failed(mendable(error)?);
            render(visit, frame, None, TypedKey::default()).await
        }
    }
}

/// The page with a token that was made, once; or with what was typed into
/// `form`, if none was.
async fn finish(
    console: &Arc<Console>,
    visit: Visit,
    origin: &str,
    made: Result<((Key, Token), Option<Html>), ServiceError>,
    form: Form,
) -> PageResult {
    match made {
        Ok(((key, token), until)) => {
            follow(console).await?;
            let token = token.reveal().to_owned();
            let curl = format!(
                "curl -H 'X-Auth-ID: {}' -H 'X-Auth-Token: {token}' '{origin}/api/v1/partner/numbers?per_page=5'",
                visit.snapshot.partner.auth_id
            );
            let made = NewToken { name: key.name.to_string(), token, curl, until };
            let frame = visit.frame("Keys", "keys");
            render(visit, frame, Some(made), TypedKey::default()).await
        }
        Err(ServiceError::NoKey { .. }) => Err(Trouble::NotFound),
        Err(error) => {
            let FormRefusal { text, wrongs, .. } = FormRefusal::from_verb(error)?;
            let frame = visit.frame("Keys", "keys").failed(text);
            render(visit, frame, None, TypedKey { form, wrongs }).await
        }
    }
}

/// Brings what was just written into this node's memory.
pub async fn follow(console: &Arc<Console>) -> Result<(), Trouble> {
    let replica = console.app.replica.clone();
    blocking(move || replica.follow()).await
}

fn read(visit: &Visit, form: &Form) -> Result<NewKey, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: &str, value: &str| {
        errors.push(FieldError::new(field, code::INVALID, message, value));
    };
    let name = entity::name(form.get("name"));
    if name.is_none() {
        wrong("name", "must be 1 to 200 characters that say what the key is for", form.get("name"));
    }
    let scope = Scope::parse(form.get("scope"));
    if scope.is_none() {
        wrong("scope", "must be read or manage", form.get("scope"));
    }
    let dialect = Dialect::parse(form.get("dialect")).unwrap_or_default();
    let expires_at = form.given("expires").and_then(|day| match form::moment(day, &visit.clock) {
        Ok(end) if end > visit.clock.now => Some(end),
        Ok(_) => {
            wrong("expires", "must be a later day: this one has begun already", day);
            None
        }
        Err(form::BadDay::Never) => {
            wrong("expires", "must be a day before 9999-12-31; leave it empty for a key without expiry", day);
            None
        }
        Err(bad @ form::BadDay::NotADay) => {
            wrong("expires", bad.message(), day);
            None
        }
    });
    let words = form.get("networks").split([',', ' ']).filter(|word| !word.is_empty());
    let mut networks = Vec::new();
    for word in words {
        match network::network(word) {
            Some(network) => networks.push(network),
            None => wrong("networks", &format!("{word} is no network such as 192.0.2.0/24"), word),
        }
    }
    match (name, scope) {
        (Some(name), Some(scope)) if errors.is_empty() => {
            Ok(NewKey { name, scopes: vec![scope], expires_at, networks, dialect })
        }
        _ => Err(errors),
    }
}

async fn render(visit: Visit, frame: Frame, made: Option<NewToken>, typed: TypedKey) -> PageResult {
    let store = visit.console.app.replica.store().clone();
    let key = visit.snapshot.key;
    let uses = blocking(move || store.key_uses()).await?.map_err(ServiceError::from)?;
    let uses: HashMap<KeyId, Time> =
        uses.into_iter().filter(|(partner, _, _)| *partner == key).map(|(_, id, at)| (id, at)).collect();
    // As it is after what was just done.
    let snapshot = visit.newest();
    let clock = &visit.clock;
    let mut keys: Vec<&Key> = snapshot.keys.iter().collect();
    // Those that open something first, newest first.
    keys.sort_by_key(|key| (!key.live(clock.now), std::cmp::Reverse(key.created_at)));
    let rows = keys.into_iter().map(|key| {
        let networks: Vec<String> = key.networks.iter().map(ToString::to_string).collect();
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => pieces::mark("plain", "revoked") + " " + clock.day(at),
            (None, Some(end)) if end <= clock.now => pieces::mark("plain", "over") + " " + clock.day(end),
            (None, Some(end)) => pieces::mark("good", "live") + " until " + clock.time(end),
            (None, None) => pieces::mark("good", "live"),
        };
        let ago = |at: &Time| pieces::titled(&at.to_string(), &clock.distance(*at));
        let used = uses.get(&key.id).map_or_else(|| Html::from("never"), ago);
        KeyRow {
            id: key.id.to_string(),
            name: key.name.to_string(),
            scopes: scopes.join(", "),
            networks: if networks.is_empty() { "anywhere".to_owned() } else { networks.join(", ") },
            dialect: key.dialect.as_str(),
            state,
            used,
            live: key.live(clock.now),
        }
    });
    let keys = rows.collect();
    let status = if frame.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (form, wrongs) = (&typed.form, &typed.wrongs);
    html_as(status, &Keys { frame, keys, made, form, wrongs, midnight: form::midnight(clock) })
}
