//! Applications and trunks: what numbers route to, and what they arrive on.
//!
//! Both are the same to people: a name, perhaps the one customer they are for,
//! and the numbers that they have. So they have the same pages.
//! Invariant: what is archived keeps its numbers and takes no new ones.
//! Deliberately absent: routing itself, which is a verb of numbers.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::chooser::Chooser;
use super::customers::{ListView, bad_name};
use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, asks_for_new, query_value};
use super::line::quoted;
use super::page::{Frame, PageResult, Trouble, done, html, html_as};
use super::search::did_you_mean;
use super::sign_in::blocking;
use super::verbs;
use super::{ConsoleState, ItemPath, StepPath, diff, numbers, show};
use crate::domain::field::code;
use crate::domain::{
    AccountId, ApplicationId, Destination, E164, FieldError, RouteEntity, RouteKind, SipUri, Time, destination, entity,
};
use crate::inventory::names::NamedKind;
use crate::inventory::{Filter, Order, Snapshot, Window};
use crate::routing;
use crate::service::verbs::entities::{CallTarget, DestinationEdit, EntityPatch};
use crate::service::{ServiceError, WriteOutcome};
use crate::wire::html::Html;

/// How many numbers a page of one shows.
const NUMBERS_MAX: usize = 50;

/// What the console says of a kind, and where it stands in addresses.
trait RoutePages: Sized {
    fn pick<T>(self, application: T, trunk: T) -> T;
    /// The kind whose page an address names.
    fn of(request: &Request) -> Self;
    fn all(self, snapshot: &Snapshot) -> Vec<RouteEntity>;
    fn filter(self, id: &str) -> Filter;
    /// In addresses.
    fn path(self) -> &'static str {
        self.pick("applications", "trunks")
    }

    fn title(self) -> &'static str {
        self.pick("Applications", "Trunks")
    }

    fn named(self) -> NamedKind {
        self.pick(NamedKind::Application, NamedKind::Trunk)
    }

    fn about(self) -> &'static str {
        self.pick(
            "An application is where calls go: a number that routes to none hangs up at once.",
            "A trunk is what calls to a number arrive on.",
        )
    }

    fn line(self, id: &str) -> String {
        format!("{}:{}", self.pick("application", "trunk"), quoted(id))
    }

    fn find(self, snapshot: &Snapshot, id: &str) -> Option<RouteEntity> {
        // Few are asked for one by one, so going through all of them will do.
        self.all(snapshot).into_iter().find(|one| &*one.id == id)
    }
}

impl RoutePages for RouteKind {
    fn pick<T>(self, application: T, trunk: T) -> T {
        match self {
            RouteKind::Application => application,
            RouteKind::Trunk => trunk,
        }
    }

    fn of(request: &Request) -> RouteKind {
        if request.uri().path().split('/').nth(4) == Some("trunks") { RouteKind::Trunk } else { RouteKind::Application }
    }

    fn all(self, snapshot: &Snapshot) -> Vec<RouteEntity> {
        match self {
            RouteKind::Application => snapshot.applications.iter().cloned().map(RouteEntity::from).collect(),
            RouteKind::Trunk => snapshot.trunks.iter().cloned().map(RouteEntity::from).collect(),
        }
    }

    fn filter(self, id: &str) -> Filter {
        match self {
            RouteKind::Application => Filter { application: Some(id.into()), ..Filter::default() },
            RouteKind::Trunk => Filter { trunk: Some(id.into()), ..Filter::default() },
        }
    }
}

/// The customer that something is for, by name and address.
struct Owner {
    name: String,
    href: String,
}

impl Owner {
    fn of(visit: &Visit, id: &AccountId) -> Owner {
        let known = visit.snapshot.accounts.get(id.as_str());
        let name = known.map_or_else(|| id.to_string(), |one| one.name.to_string());
        Owner { name, href: visit.href("customers", id.as_str()) }
    }
}

struct RouteTableRow {
    id: String,
    href: String,
    name: String,
    owner: Option<Owner>,
    numbers: String,
    query: String,
}

#[derive(Template)]
#[template(path = "routes.html")]
struct RouteList<'a> {
    frame: Frame,
    kind: RouteKind,
    q: &'a str,
    query: String,
    archived: bool,
    live_count: String,
    archived_count: String,
    none: bool,
    found: String,
    /// Suggestions, where nothing is found.
    near: Html,
    rows: Vec<RouteTableRow>,
    page: usize,
    pages: usize,
}

/// GET /console/p/{partner}/applications
pub async fn applications(console: ConsoleState, partner: Path<String>, request: Request) -> PageResult {
    list(RouteKind::Application, console, partner, request).await
}

/// GET /console/p/{partner}/trunks
pub async fn trunks(console: ConsoleState, partner: Path<String>, request: Request) -> PageResult {
    list(RouteKind::Trunk, console, partner, request).await
}

async fn list(
    kind: RouteKind,
    State(console): ConsoleState,
    Path(partner): Path<String>,
    request: Request,
) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    if asks_for_new(&request) {
        visit.need(Needs::Manager)?;
        return new_page(&visit, kind, &Form::default(), None, StatusCode::OK);
    }
    let asked = ListView::read(&request);
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let frame = visit.frame(kind.title(), kind.path()).with(notice);
    let all = kind.all(&visit.snapshot);
    let archived = all.iter().filter(|one| one.archived_at.is_some()).count();
    let live = all.len() - archived;
    let mut found: Vec<RouteEntity> = all
        .into_iter()
        .filter(|one| one.archived_at.is_some() == asked.archived && asked.finds(&one.id, &one.name))
        .collect();
    let total = found.len() as u64;
    let pages = asked.page(&mut found, |one| (one.name.to_lowercase(), one.id.to_string()));
    let (snapshot, now) = (visit.snapshot.clone(), visit.clock.now);
    // A trunk's numbers are counted by looking over the inventory.
    let counted = blocking(move || {
        let none = Window::Page { skip: 0, rows: 0 };
        let count = |one: RouteEntity| {
            let numbers = snapshot.select(&kind.filter(&one.id), Order::default(), none, now).total;
            (one, numbers)
        };
        found.into_iter().map(count).collect::<Vec<_>>()
    })
    .await?;
    let rows = counted.into_iter().map(|(one, numbers)| RouteTableRow {
        href: visit.href(kind.path(), &one.id),
        query: query_value(&kind.line(&one.id)),
        id: one.id.to_string(),
        name: one.name.to_string(),
        owner: one.account.map(|owner| Owner::of(&visit, &owner)),
        numbers: show::thousands(numbers),
    });
    let near = if total == 0 { did_you_mean(&visit, kind.named(), &asked.q) } else { Html::default() };
    html(&RouteList {
        kind,
        near,
        q: &asked.q,
        query: query_value(&asked.q),
        archived: asked.archived,
        live_count: show::thousands(live as u64),
        archived_count: if archived > 0 { show::thousands(archived as u64) } else { String::new() },
        none: live + archived == 0,
        found: show::count(total, kind.as_str(), kind.path()),
        rows: rows.collect(),
        page: asked.page.min(pages),
        pages,
        frame,
    })
}

#[derive(Template)]
#[template(path = "route_new.html")]
struct NewRoutePage<'a> {
    frame: Frame,
    kind: RouteKind,
    form: &'a Form,
    wrongs: Wrongs,
}

impl NewRoutePage<'_> {
    fn owner(&self) -> Html {
        let (name, value) = ("account_auth_id", self.form.get("account_auth_id"));
        let (label, what, wrongs) = ("Only for this customer", NamedKind::Customer, &self.wrongs);
        Html::of(&Chooser { what, label, name, value, required: false, wrongs })
    }
}

/// POST /console/p/{partner}/applications, and of trunks
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let kind = RouteKind::of(&request);
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let (id, name, owner) = match read(&form, &visit.snapshot) {
        Ok(read) => read,
        Err(errors) => {
            let refusal = Some(FormRefusal::of(errors));
            return new_page(&visit, kind, &form, refusal, StatusCode::UNPROCESSABLE_ENTITY);
        }
    };
    let to = visit.href(kind.path(), &id);
    let what = format!("{kind}.create");
    let made = visit
        .act(what, move |service, key| {
            service.route_new(key, (kind, &id), &name, owner.as_ref(), &CallTarget::default())
        })
        .await;
    match made {
        Ok(WriteOutcome::Done { version, .. }) => done(&to, version),
        Ok(WriteOutcome::Again(_)) => done(&to, None),
        Err(error) => {
            let refusal = match error {
                ServiceError::Exists { what, id } => {
                    let message = format!("there is already a {what} {id}");
                    FormRefusal::of(vec![FieldError::new("id", code::CONFLICT, message, &id)])
                }
                other => FormRefusal::from_verb(other)?.renamed(kind.id_field(), "id"),
            };
            new_page(&visit, kind, &form, Some(refusal), StatusCode::CONFLICT)
        }
    }
}

/// Id, name, and the customer that it is for.
fn read(form: &Form, snapshot: &Snapshot) -> Result<(String, Arc<str>, Option<AccountId>), Vec<FieldError>> {
    let mut errors = Vec::new();
    // Application and trunk ids have the rules of all ids.
    let id = form.get("id").parse::<ApplicationId>().map_err(|error| {
        errors.push(FieldError::new("id", code::INVALID, error.to_string(), form.get("id")));
    });
    let name = if form.get("name").is_empty() { form.get("id") } else { form.get("name") };
    let name = entity::name(name).ok_or_else(|| errors.push(bad_name()));
    let owner = form.given("account_auth_id").map(|text| {
        let field = "account_auth_id";
        verbs::named(field, text, NamedKind::Customer, snapshot).map_err(|error| errors.push(error))
    });
    match (id, name, owner.transpose()) {
        (Ok(id), Ok(name), Ok(owner)) => Ok((id.to_string(), name, owner.map(|id| AccountId::stored(&id)))),
        _ => Err(errors),
    }
}

fn new_page(
    visit: &Visit,
    kind: RouteKind,
    form: &Form,
    refusal: Option<FormRefusal>,
    status: StatusCode,
) -> PageResult {
    let mut frame = visit.frame(&format!("New {kind}"), kind.path());
    let (error, wrongs) = refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    frame.error = error;
    html_as(status, &NewRoutePage { frame, kind, form, wrongs })
}

/// The fields of a new destination.
#[derive(Clone, Default)]
struct TypedDestination {
    uri: String,
    priority: String,
    weight: String,
}

/// A destination that shall be another, as it was typed.
struct TypedEdit {
    was: String,
    typed: TypedDestination,
    wrongs: Wrongs,
}

impl TypedEdit {
    fn of(form: &Form, wrongs: Wrongs) -> TypedEdit {
        let [was, uri, priority, weight] = ["was", "uri", "priority", "weight"].map(|name| form.get(name).to_owned());
        TypedEdit { was, typed: TypedDestination { uri, priority, weight }, wrongs }
    }
}

impl RoutePage {
    /// What the form of a destination shows, what is wrong with it, and whether it was refused.
    fn form_of(&self, one: &Destination) -> (TypedDestination, Wrongs, bool) {
        let uri = one.uri.to_string();
        match self.edited.as_ref().filter(|edited| edited.was == uri) {
            Some(edited) => (edited.typed.clone(), edited.wrongs.clone(), true),
            None => {
                let (priority, weight) = (one.priority.to_string(), one.weight.to_string());
                (TypedDestination { uri, priority, weight }, Wrongs::default(), false)
            }
        }
    }
}

/// A form of the page that was refused.
struct TypedRoute<'a> {
    verb: &'a str,
    form: &'a Form,
    wrongs: Wrongs,
}

#[derive(Template)]
#[template(path = "route.html")]
struct RoutePage {
    frame: Frame,
    kind: RouteKind,
    id: String,
    /// Its own address.
    href: String,
    name: String,
    /// As it was typed where it shall have another.
    new_name: String,
    /// In the order in which they are tried.
    destinations: Vec<Destination>,
    answer_url: String,
    /// A destination as it was typed, where it was refused.
    typed: TypedDestination,
    /// The same of one that shall be another.
    edited: Option<TypedEdit>,
    /// What is wrong with any other form.
    wrongs: Wrongs,
    owner: Option<Owner>,
    created: Html,
    archived: Option<Html>,
    numbers: u64,
    numbers_text: String,
    /// Those whose calls use the destinations.
    calls: String,
    /// How many of the numbers others are, and why; empty if there are none.
    other_calls: String,
    query: String,
    rows: Html,
    open: String,
}

/// GET /console/p/{partner}/applications/{id}
pub async fn application(console: ConsoleState, path: ItemPath, request: Request) -> PageResult {
    page(RouteKind::Application, console, path, request).await
}

/// GET /console/p/{partner}/trunks/{id}
pub async fn trunk(console: ConsoleState, path: ItemPath, request: Request) -> PageResult {
    page(RouteKind::Trunk, console, path, request).await
}

async fn page(
    kind: RouteKind,
    State(console): ConsoleState,
    Path((partner, id)): ItemPath,
    request: Request,
) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let frame = visit.frame("", kind.path()).with(notice);
    route(&visit, kind, &id, frame, None, StatusCode::OK).await
}

/// How many numbers' calls use the destinations of an application or a trunk, by the
/// rule that answers calls.
fn count_calls(snapshot: &Snapshot, kind: RouteKind, id: &str, now: Time) -> u64 {
    let mut calls = 0;
    snapshot.held_numbers(&kind.filter(id), now, &mut |numbers| {
        let count = numbers.count();
        // They say the same, so the first stands for all.
        let first = numbers.runs().next().and_then(|run| E164::new(run.first));
        let row = first.and_then(|number| snapshot.get(number, now));
        calls += row.filter(|row| routing::uses(*row, kind, now)).map_or(0, |_| count);
    });
    calls
}

/// The page; `typed` is a form that was refused, and why.
async fn route(
    visit: &Visit,
    kind: RouteKind,
    id: &str,
    mut frame: Frame,
    typed: Option<TypedRoute<'_>>,
    status: StatusCode,
) -> PageResult {
    let snapshot = visit.newest();
    let one = kind.find(&snapshot, id).ok_or(Trouble::NotFound)?;
    let (counted, of, now) = (snapshot.clone(), id.to_owned(), visit.clock.now);
    let calls = blocking(move || count_calls(&counted, kind, &of, now)).await?;
    let window = Window::Page { skip: 0, rows: NUMBERS_MAX };
    let found = snapshot.select(&kind.filter(id), Order::default(), window, visit.clock.now);
    let rows = numbers::rows(visit, &found.rows, false);
    frame.title = one.name.to_string();
    let of = |verb: &str| typed.as_ref().filter(|typed| typed.verb == verb).map(|typed| typed.form);
    let said = |form: Option<&Form>, field: &str| form.map(|form| form.get(field).to_owned());
    let new_name = said(of("rename"), "name").unwrap_or_else(|| one.name.to_string());
    let answer_url = said(of("answer-url"), "answer_url")
        .unwrap_or_else(|| one.answer_url.as_deref().unwrap_or_default().to_owned());
    let added = of("destination-add");
    let field = |name: &str, default: u16| said(added, name).unwrap_or_else(|| default.to_string());
    let typed_destination = TypedDestination {
        uri: said(added, "uri").unwrap_or_default(),
        priority: field("priority", destination::PRIORITY),
        weight: field("weight", destination::WEIGHT),
    };
    let mut destinations = one.destinations.as_slice().to_vec();
    destinations.sort_by_key(|one| (one.priority, std::cmp::Reverse(one.weight)));
    let edit = of("destination-edit");
    let (open, mut wrongs) =
        typed.as_ref().map_or_else(Default::default, |typed| (typed.verb.to_owned(), typed.wrongs.clone()));
    let edited = edit.map(|form| TypedEdit::of(form, std::mem::take(&mut wrongs)));
    let page = RoutePage {
        frame,
        kind,
        href: visit.href(kind.path(), id),
        new_name,
        destinations,
        answer_url,
        typed: typed_destination,
        edited,
        wrongs,
        name: one.name.to_string(),
        owner: one.account.as_ref().map(|owner| Owner::of(visit, owner)),
        created: visit.clock.day(one.created_at),
        archived: one.archived_at.map(|at| visit.clock.day(at)),
        numbers: found.total,
        numbers_text: show::count(found.total, "number", "numbers"),
        calls: show::count(calls, "number", "numbers"),
        other_calls: match found.total.saturating_sub(calls) {
            0 => String::new(),
            others => {
                let why = match kind {
                    _ if snapshot.partner.suspended_at.is_some() => "the partner is suspended",
                    RouteKind::Application => "not active",
                    RouteKind::Trunk => {
                        "not active, without an application, or with an application that has destinations of its own"
                    }
                };
                format!("{} ({why})", show::count(others, "number", "numbers"))
            }
        },
        query: query_value(&kind.line(id)),
        rows,
        open,
        id: one.id.to_string(),
    };
    html_as(status, &page)
}

/// What a form of the page asks for.
enum RouteForm {
    Edit(EntityPatch),
    Destination(DestinationEdit),
}

/// Reads a form of the page; `None` for a verb that there is not.
fn read_act(kind: RouteKind, verb: &str, form: &Form) -> Option<Result<RouteForm, Vec<FieldError>>> {
    let edit = |changes| Some(Ok(RouteForm::Edit(changes)));
    let uri = || read_uri(form).map_err(|error| vec![error]);
    let destination = |edit: Result<DestinationEdit, Vec<FieldError>>| Some(edit.map(RouteForm::Destination));
    match verb {
        "rename" => Some(match entity::name(form.get("name")) {
            Some(name) => Ok(RouteForm::Edit(EntityPatch { name: Some(name), ..EntityPatch::default() })),
            None => Err(vec![bad_name()]),
        }),
        "archive" => edit(EntityPatch { archived: Some(true), ..EntityPatch::default() }),
        "restore" => edit(EntityPatch { archived: Some(false), ..EntityPatch::default() }),
        "answer-url" if kind == RouteKind::Application => {
            let url = form.given("answer_url").map(destination::answer_url).transpose();
            Some(match url {
                Ok(url) => Ok(RouteForm::Edit(EntityPatch { answer_url: Some(url), ..EntityPatch::default() })),
                Err(message) => {
                    Err(vec![FieldError::new("answer_url", code::INVALID, message, form.get("answer_url"))])
                }
            })
        }
        "destination-add" => destination(read_destination(form)),
        "destination-edit" => destination(read_edit(form)),
        "destination-remove" => destination(uri().map(DestinationEdit::Remove)),
        "destination-on" => destination(uri().map(|uri| DestinationEdit::Enable(uri, true))),
        "destination-off" => destination(uri().map(|uri| DestinationEdit::Enable(uri, false))),
        _ => None,
    }
}

fn read_uri(form: &Form) -> Result<SipUri, FieldError> {
    let text = form.get("uri");
    text.parse().map_err(|error: destination::BadUri| FieldError::new("uri", code::INVALID, error.to_string(), text))
}

fn read_destination(form: &Form) -> Result<DestinationEdit, Vec<FieldError>> {
    let mut errors = Vec::new();
    let uri = read_uri(form).map_err(|error| errors.push(error)).ok();
    let mut whole = |field: &str, min: u16| {
        let text = form.given(field)?;
        let number = text.parse::<u16>().ok().filter(|&number| number >= min);
        if number.is_none() {
            let message = format!("must be a whole number from {min} to {}", u16::MAX);
            errors.push(FieldError::new(field, code::OUT_OF_RANGE, message, text));
        }
        number
    };
    let (priority, weight) = (whole("priority", 0), whole("weight", 1));
    match uri {
        Some(uri) if errors.is_empty() => Ok(DestinationEdit::Add { uri, priority, weight }),
        _ => Err(errors),
    }
}

/// What a destination shall be instead; a field that is left empty has its
/// usual value.
fn read_edit(form: &Form) -> Result<DestinationEdit, Vec<FieldError>> {
    let was = form.get("was");
    let was: SipUri = was
        .parse()
        .map_err(|error: destination::BadUri| vec![FieldError::new("uri", code::INVALID, error.to_string(), was)])?;
    match read_destination(form)? {
        DestinationEdit::Add { uri, priority, weight } => Ok(DestinationEdit::Replace {
            uri: was,
            to: uri,
            priority: priority.unwrap_or(destination::PRIORITY),
            weight: weight.unwrap_or(destination::WEIGHT),
        }),
        other => Ok(other),
    }
}

/// POST /console/p/{partner}/applications/{id}/{verb}, and of trunks: rename,
/// archive, restore, and what is done to destinations.
pub async fn act(State(console): ConsoleState, Path((partner, id, verb)): StepPath, request: Request) -> PageResult {
    let kind = RouteKind::of(&request);
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    kind.find(&visit.snapshot, &id).ok_or(Trouble::NotFound)?;
    let again = async |refusal: FormRefusal, status| {
        let frame = visit.frame("", kind.path()).failed(refusal.text);
        let typed = TypedRoute { verb: &verb, form: &form, wrongs: refusal.wrongs };
        route(&visit, kind, &id, frame, Some(typed), status).await
    };
    let wanted = match read_act(kind, &verb, &form).ok_or(Trouble::NotFound)? {
        Ok(wanted) => wanted,
        Err(errors) => return again(FormRefusal::of(errors), StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    let to = visit.href(kind.path(), &id);
    let (asked, what) = (id.clone(), format!("{kind}.{verb}"));
    let done_now = visit.act(what, move |service, key| match &wanted {
        RouteForm::Edit(changes) => service.route_edit(key, (kind, &asked), changes),
        RouteForm::Destination(edit) => service.route_destinations(key, (kind, &asked), edit),
    });
    match done_now.await {
        Ok(WriteOutcome::Done { version, .. }) => done(&to, version),
        Ok(WriteOutcome::Again(_)) => done(&to, None),
        Err(ServiceError::Invalid(mut errors)) => {
            // The form has one destination, not the list.
            for error in &mut errors {
                if error.field.starts_with("destinations") {
                    error.field = "uri".to_owned();
                }
            }
            again(FormRefusal::of(errors), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => again(FormRefusal::from_verb(error)?, StatusCode::CONFLICT).await,
    }
}
