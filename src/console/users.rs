//! Users: a partner's users for its owners, the administrators for each other, and
//! the audit trail.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Person, Visit};
use super::page::{Frame, PageResult, Trouble, html_as, redirect};
use super::sign_in::blocking;
use super::{Console, ConsoleState, ItemPath, PREFIX, pieces};
use crate::domain::user::{Role, User};
use crate::domain::{PartnerKey, UserId};
use crate::service::people::{Audited, NewUser, PeopleError, UserActor, UserEdit};
use crate::wire;
use crate::wire::html::Html;

/// How many entries of the trail a page has.
const TRAIL: usize = 50;

struct UserRow {
    id: String,
    email: String,
    name: String,
    role: &'static str,
    state: Html,
    two_factor: bool,
    seen: Html,
    disabled: bool,
    administrator: bool,
    me: bool,
}

struct Entry {
    at: Html,
    who: String,
    what: String,
    about: String,
    refused: String,
    from: String,
}

struct NewInvitation {
    email: String,
    link: String,
}

#[derive(Template)]
#[template(path = "users.html")]
struct Users<'a> {
    frame: Frame,
    /// Where forms go.
    action: String,
    users: Vec<UserRow>,
    /// What somebody can be made; empty where all are administrators.
    roles: &'a [&'a str],
    made: Option<NewInvitation>,
    trail: Vec<Entry>,
    before: Option<u64>,
    email: &'a str,
    name: &'a str,
    /// The role that is chosen for a new one.
    role: &'a str,
    /// What is wrong with the form for a new one.
    wrongs: Wrongs,
}

const ROLES: [&str; 3] = ["owner", "manager", "viewer"];

/// Whose people a page is about.
struct PeoplePlace {
    person: Person,
    frame: Frame,
    /// `None` is the platform's administrators.
    partner: Option<PartnerKey>,
    action: String,
    origin: String,
    wrongs: Wrongs,
}

/// GET /console/p/{partner}/users
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let place = of_partner(&console, &request, &partner)?;
    render(place, None, before(&request), &Form::default()).await
}

/// GET /console/administrators
pub async fn administrators(State(console): ConsoleState, request: Request) -> PageResult {
    let place = of_platform(&console, &request)?;
    render(place, None, before(&request), &Form::default()).await
}

/// POST /console/p/{partner}/users
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let place = of_partner(&console, &request, &partner)?;
    add(place, Form::read(request).await?).await
}

/// POST /console/administrators
pub async fn administrator_create(State(console): ConsoleState, request: Request) -> PageResult {
    let place = of_platform(&console, &request)?;
    add(place, Form::read(request).await?).await
}

/// POST /console/p/{partner}/users/{id}
pub async fn edit(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let place = of_partner(&console, &request, &partner)?;
    change(place, id, Form::read(request).await?).await
}

/// POST /console/administrators/{id}
pub async fn administrator_edit(State(console): ConsoleState, Path(id): Path<String>, request: Request) -> PageResult {
    let place = of_platform(&console, &request)?;
    change(place, id, Form::read(request).await?).await
}

fn of_partner(console: &Arc<Console>, request: &Request, partner: &str) -> Result<PeoplePlace, Trouble> {
    let visit = Visit::enter(console, request, partner)?;
    visit.need(Needs::Owner)?;
    let (frame, key) = (visit.frame("Users", "users"), visit.snapshot.key);
    let action = format!("{}/users", visit.base);
    Ok(PeoplePlace {
        origin: origin(console, request),
        person: visit.person,
        frame,
        partner: Some(key),
        action,
        wrongs: Wrongs::default(),
    })
}

fn of_platform(console: &Arc<Console>, request: &Request) -> Result<PeoplePlace, Trouble> {
    let person = administrator(console, request)?;
    let frame = person.frame("Administrators", "platform");
    Ok(PeoplePlace {
        origin: origin(console, request),
        person,
        frame,
        partner: None,
        action: format!("{PREFIX}/administrators"),
        wrongs: Wrongs::default(),
    })
}

/// The signed-in user, if they are a platform administrator.
/// Others are told what they would be told of any address that is not there.
pub fn administrator(console: &Arc<Console>, request: &Request) -> Result<Person, Trouble> {
    let person = Person::enter(console, request)?;
    if person.role() == Role::Administrator { Ok(person) } else { Err(Trouble::NotFound) }
}

/// Where this console is: `console.url`, or the address that the browser asked.
pub fn origin(console: &Arc<Console>, request: &Request) -> String {
    use crate::http::Secure;
    if let Some(url) = console.app.console_url() {
        return url.to_owned();
    }
    let scheme = match console.app.secure(request) {
        Secure::Tls | Secure::TrustedProxy => "https",
        Secure::Loopback | Secure::Plain => "http",
    };
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}")
}

fn before(request: &Request) -> Option<u64> {
    wire::parameter(request.uri().query()?, "before")?.parse().ok()
}

async fn add(place: PeoplePlace, form: Form) -> PageResult {
    let role = match place.partner {
        Some(_) => Role::parse(form.get("role")).filter(|role| *role != Role::Administrator),
        None => Some(Role::Administrator),
    };
    let Some(role) = role else {
        let refusal = FormRefusal::field("role", "choose one of owner, manager and viewer");
        return failed(place, refusal, &form).await;
    };
    let new = NewUser {
        email: form.get("email").to_owned(),
        name: form.given("name").map(str::to_owned),
        role,
        partner: place.partner,
        zone: Some(place.person.user().zone.to_string()),
    };
    let made = with_people(&place, move |people, by| people.user_create(by, new)).await?;
    match made {
        Ok((user, link)) => {
            let link = absolute(&place, &link);
            let made = NewInvitation { email: user.email.to_string(), link };
            render(place, Some(made), None, &Form::default()).await
        }
        Err(error) => failed(place, FormRefusal::from_people(error, "password", "code")?, &form).await,
    }
}

async fn change(place: PeoplePlace, id: String, form: Form) -> PageResult {
    let id: UserId = id.parse().map_err(|_| Trouble::NotFound)?;
    let edit = match form.get("do") {
        "role" => match Role::parse(form.get("role")) {
            Some(role) => UserEdit { role: Some(role), ..UserEdit::default() },
            None => {
                return failed(place, FormRefusal::whole("choose one of owner, manager and viewer"), &Form::default())
                    .await;
            }
        },
        "disable" => UserEdit { disabled: Some(true), ..UserEdit::default() },
        "enable" => UserEdit { disabled: Some(false), ..UserEdit::default() },
        "link" => {
            let people = place.person.console.app.people.clone();
            let (named, asked) = (id.clone(), id.clone());
            let email = blocking(move || people.find(&named)).await??.map(|user| user.email.to_string());
            return match with_people(&place, move |people, by| people.user_link(by, &asked)).await? {
                Ok(link) => {
                    let made = NewInvitation { email: email.unwrap_or_default(), link: absolute(&place, &link) };
                    render(place, Some(made), None, &Form::default()).await
                }
                Err(error) => failed(place, unchanged(error)?, &Form::default()).await,
            };
        }
        "totp" => {
            return match with_people(&place, move |people, by| people.user_totp_remove(by, &id)).await? {
                Ok(()) => redirect(&place.action),
                Err(error) => failed(place, unchanged(error)?, &Form::default()).await,
            };
        }
        _ => return Err(Trouble::Bad("the form does not say what to do".into())),
    };
    match with_people(&place, move |people, by| people.user_edit(by, &id, edit)).await? {
        Ok(_) => redirect(&place.action),
        Err(error) => failed(place, unchanged(error)?, &Form::default()).await,
    }
}

/// Asks `people` for something in the name of who is signed in.
async fn with_people<T: Send + 'static>(
    place: &PeoplePlace,
    ask: impl FnOnce(&crate::service::people::People, UserActor<'_>) -> Result<T, PeopleError> + Send + 'static,
) -> Result<Result<T, PeopleError>, Trouble> {
    let (people, user) = (place.person.console.app.people.clone(), place.person.user().clone());
    let (from, request_id) = (place.person.address, place.person.request_id().map(str::to_owned));
    blocking(move || {
        let by = UserActor::User { user: &user, from: Some(from), request_id: request_id.as_deref() };
        ask(&people, by)
    })
    .await
}

/// Why somebody was not changed: none of it is about the form for a new one.
fn unchanged(error: PeopleError) -> Result<FormRefusal, Trouble> {
    Ok(FormRefusal::whole(FormRefusal::from_people(error, "password", "code")?.text))
}

async fn failed(mut place: PeoplePlace, refusal: FormRefusal, form: &Form) -> PageResult {
    place.frame.error = Some(refusal.text);
    place.wrongs = refusal.wrongs;
    render(place, None, None, form).await
}

fn absolute(place: &PeoplePlace, link: &str) -> String {
    if link.starts_with('/') { format!("{}{link}", place.origin) } else { link.to_owned() }
}

async fn render(place: PeoplePlace, made: Option<NewInvitation>, before: Option<u64>, form: &Form) -> PageResult {
    let (people, by, partner) = (place.person.console.app.people.clone(), place.person.user().clone(), place.partner);
    let (users, trail) = blocking(move || {
        let users = people.users(&by, partner)?;
        let trail = people.audit_list(partner, before, TRAIL + 1)?;
        Ok::<_, PeopleError>((users, trail))
    })
    .await??;
    let more = trail.len() > TRAIL;
    let last = trail.get(TRAIL.saturating_sub(1)).filter(|_| more).map(|one| one.id);
    let clock = &place.person.clock;
    let me = place.person.user();
    // On the platform's page, partners' people are not listed: they have their own.
    let shown: Vec<&User> = users.iter().filter(|user| user.partner == partner).collect();
    let rows = shown.iter().map(|user| UserRow {
        id: user.id.to_string(),
        email: user.email.to_string(),
        name: user.name.to_string(),
        role: user.role.as_str(),
        state: match (user.disabled_at, user.password_set) {
            (Some(_), _) => pieces::mark("critical", "locked out"),
            (None, false) => pieces::mark("warning", "no password yet"),
            (None, true) => pieces::mark("good", "active"),
        },
        two_factor: user.two_factor,
        seen: user.last_signed_in_at.map_or_else(|| "never".into(), |at| clock.time(at)),
        disabled: user.disabled_at.is_some(),
        administrator: user.role == Role::Administrator,
        me: user.id == me.id,
    });
    let named = |who: &str| {
        let id = who.strip_prefix("user:");
        let known = id.and_then(|id| users.iter().find(|user| user.id.as_str() == id));
        known.map_or_else(|| who.to_owned(), |user| user.email.to_string())
    };
    let entry = |Audited { entry, .. }: &Audited| Entry {
        at: clock.time(entry.at),
        who: named(&entry.who),
        what: entry.what.to_string(),
        about: entry.about.as_deref().map_or(String::new(), |about| {
            let known = users.iter().find(|user| user.id.as_str() == about);
            known.map_or_else(|| about.to_owned(), |user| user.email.to_string())
        }),
        refused: entry.refused.as_deref().unwrap_or_default().to_owned(),
        from: entry.from.map_or(String::new(), |from| from.to_string()),
    };
    let page = Users {
        users: rows.collect(),
        trail: trail.iter().take(TRAIL).map(entry).collect(),
        before: last,
        roles: if partner.is_some() { &ROLES } else { &[] },
        made,
        action: place.action,
        email: form.get("email"),
        name: form.get("name"),
        role: form.given("role").unwrap_or("viewer"),
        wrongs: place.wrongs,
        frame: place.frame,
    };
    let status = if page.frame.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    html_as(status, &page)
}
