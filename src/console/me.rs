//! The user's own settings: name and zone, password, second factor, and sessions.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use http::StatusCode;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Person};
use super::page::{Frame, PageResult, Trouble, html_as, redirect};
use super::sign_in::blocking;
use super::{Console, ConsoleState, PREFIX};
use crate::service::people::{PeopleError, TotpOffer, UserActor, UserEdit};
use crate::wire::html::Html;

/// Zones that are offered; any other can be typed.
const ZONES: [&str; 24] = [
    "UTC",
    "Africa/Johannesburg",
    "Africa/Lagos",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Dubai",
    "Asia/Hong_Kong",
    "Asia/Jakarta",
    "Asia/Kolkata",
    "Asia/Manila",
    "Asia/Shanghai",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Madrid",
    "Europe/Paris",
    "Europe/Warsaw",
    "Pacific/Auckland",
];

struct Offer {
    secret_base32: String,
    /// A picture as an address of its own.
    picture: String,
}

impl Offer {
    fn of(offer: TotpOffer) -> Offer {
        let picture = format!("data:image/svg+xml,{}", super::gate::segment(&offer.qr_svg));
        Offer { secret_base32: offer.secret_base32, picture }
    }
}

struct OpenSession {
    from: String,
    seen: String,
    since: Html,
    current: bool,
}

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    frame: Frame,
    name: String,
    zone: String,
    zones: &'static [&'static str],
    two_factor: bool,
    offer: Option<Offer>,
    codes: Vec<String>,
    sessions: Vec<OpenSession>,
    wrongs: Wrongs,
}

/// What there is to say besides.
#[derive(Default)]
struct SelfNotice {
    refusal: Option<FormRefusal>,
    /// What was typed where it was refused.
    typed: Form,
    notice: Option<&'static str>,
    offer: Option<Offer>,
    codes: Vec<String>,
}

/// GET /console/me
pub async fn page(State(console): ConsoleState, request: Request) -> PageResult {
    let person = Person::enter(&console, &request)?;
    let done = request.uri().query().unwrap_or_default();
    let notice = match done {
        "done=me" => Some("saved"),
        "done=password" => Some("the password is changed; you are signed out everywhere else"),
        "done=totp" => Some("signing in takes your password only"),
        "done=sessions" => Some("you are signed out everywhere else"),
        _ => None,
    };
    show(&console, person, SelfNotice { notice, ..SelfNotice::default() }).await
}

/// POST /console/me
pub async fn edit(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    let edit = UserEdit {
        // The offer of a zone says nothing of the name.
        name: form.has("name").then(|| form.get("name").to_owned()),
        zone: Some(form.get("zone").to_owned()),
        ..UserEdit::default()
    };
    let (people, user, from) = (console.app.people.clone(), person.user().clone(), person.address);
    let result = blocking(move || {
        let by = UserActor::User { user: &user, from: Some(from), request_id: None };
        people.user_edit(by, &user.id, edit)
    });
    finish(&console, person, form, result.await?.map(drop), "me").await
}

/// POST /console/me/password
pub async fn password(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    if form.raw("new") != form.raw("again") {
        let refusal = Some(FormRefusal::field("again", "the new password was typed in two ways; type the same twice"));
        return show(&console, person, SelfNotice { refusal, ..SelfNotice::default() }).await;
    }
    let (old, new) = (form.raw("old").to_owned(), form.raw("new").to_owned());
    let (people, id, token) = (console.app.people.clone(), person.user().id.clone(), person.token.clone());
    let result = blocking(move || people.change_password(&id, &old, &new, &token)).await?;
    finish(&console, person, form, result, "password").await
}

/// POST /console/me/totp/begin
pub async fn totp_begin(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    let (people, id) = (console.app.people.clone(), person.user().id.clone());
    match blocking(move || people.totp_begin(&id)).await? {
        Ok(offer) => {
            let offer = Some(Offer::of(offer));
            show(&console, person, SelfNotice { offer, ..SelfNotice::default() }).await
        }
        Err(error) => finish(&console, person, form, Err(error), "").await,
    }
}

/// POST /console/me/totp
pub async fn totp(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    let (people, id, code) = (console.app.people.clone(), person.user().id.clone(), form.get("code").to_owned());
    match blocking(move || people.totp_confirm(&id, &code)).await? {
        Ok(codes) => {
            // Who is shown is who they were a moment ago.
            let person = Person::again(person)?;
            show(&console, person, SelfNotice { codes, ..SelfNotice::default() }).await
        }
        Err(error) => {
            // The authenticator has the secret already: it goes on with another code.
            let (people, id) = (console.app.people.clone(), person.user().id.clone());
            let pending = blocking(move || people.totp_pending(&id)).await??;
            let refusal = Some(FormRefusal::from_people(error, "old", "code")?);
            let offer = pending.map(Offer::of);
            show(&console, person, SelfNotice { refusal, offer, typed: form, ..SelfNotice::default() }).await
        }
    }
}

/// POST /console/me/totp/remove
pub async fn totp_remove(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    let (people, id, code) = (console.app.people.clone(), person.user().id.clone(), form.raw("code").to_owned());
    let result = blocking(move || people.totp_remove(&id, &code)).await?;
    finish(&console, person, form, result, "totp").await
}

/// POST /console/me/sessions/end
pub async fn sessions_end(State(console): ConsoleState, request: Request) -> PageResult {
    let (person, form) = post(&console, request).await?;
    let (people, id, token) = (console.app.people.clone(), person.user().id.clone(), person.token.clone());
    let result = blocking(move || people.end_sessions(&id, Some(&token))).await?;
    finish(&console, person, form, result, "sessions").await
}

async fn post(console: &Arc<Console>, request: Request) -> Result<(Person, Form), Trouble> {
    let person = Person::enter(console, &request)?;
    Ok((person, Form::read(request).await?))
}

async fn finish(
    console: &Arc<Console>,
    person: Person,
    typed: Form,
    result: Result<(), PeopleError>,
    what: &str,
) -> PageResult {
    match result {
        Ok(()) => redirect(&format!("{PREFIX}/me?done={what}")),
        Err(error) => {
            let refusal = Some(FormRefusal::from_people(error, "old", "code")?);
            show(console, person, SelfNotice { refusal, typed, ..SelfNotice::default() }).await
        }
    }
}

async fn show(console: &Arc<Console>, person: Person, said: SelfNotice) -> PageResult {
    let (people, id, session) = (console.app.people.clone(), person.user().id.clone(), person.session.id.clone());
    let open = blocking(move || people.sessions(&id)).await??;
    let sessions = open.into_iter().map(|one| OpenSession {
        from: one.from.to_string(),
        seen: person.clock.distance(one.seen_at),
        since: person.clock.time(one.created_at),
        current: one.id == session,
    });
    let status = if said.refusal.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let mut frame = person.frame("You", "me");
    let (error, wrongs) =
        said.refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    frame.error = error;
    let typed =
        |field: &str, now: &str| if said.typed.has(field) { said.typed.get(field).to_owned() } else { now.to_owned() };
    frame.notice = said.notice.map(super::page::Notice::plain);
    html_as(
        status,
        &Me {
            frame,
            name: typed("name", &person.user().name),
            zone: typed("zone", &person.user().zone),
            wrongs,
            zones: &ZONES,
            two_factor: person.user().two_factor,
            offer: said.offer,
            codes: said.codes,
            sessions: sessions.collect(),
        },
    )
}
