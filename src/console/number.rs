//! One number: details, the actions that its state allows, and its history.

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::diff::Called;
use super::form::{self, FormRefusal};
use super::gate::{Form, Needs, Visit, query_value};
use super::numbers::mark;
use super::page::{Frame, PageResult, Trouble, done, html_as};
use super::pieces::FactList;
use super::sign_in::blocking;
use super::verbs::{self, Choices, VerbFields};
use super::{ConsoleState, ItemPath, StepPath, diff, pieces, show};
use crate::checks::Check;
use crate::domain::{Actor, E164, NumberChange, State as Stored, Status, spelling};
use crate::inventory::names::NamedKind;
use crate::inventory::{Filter, NumberRef, Order};
use crate::routing::{Case, Explained, VerdictLine};
use crate::service::replica::refusals::RefusalCount;
use crate::service::{ServiceError, WriteOutcome};
use crate::wire;
use crate::wire::html::Html;

/// How many events are shown of a number's life, the newest first: so many stay below
/// 100 kB.
const EVENTS_MAX: usize = 80;

struct ShownVerb {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    grave: bool,
    reason: Option<String>,
    /// The version of the number that the form changes.
    version: u64,
    fields: Html,
    open: bool,
}

struct Event {
    summary: Html,
    /// What it changed, before and after.
    diff: Html,
    at: Html,
    by: String,
    version: u64,
}

#[derive(Template)]
#[template(path = "number.html")]
struct NumberPage {
    frame: Frame,
    plain: String,
    readable: String,
    mark: Html,
    facts: FactList,
    verbs: Vec<ShownVerb>,
    events: Vec<Event>,
    /// How many older events are not shown; empty if none.
    older: String,
    choices: Html,
    calls: Option<Calls>,
    /// What its calls get, where they do not get through.
    drops: Option<Drops>,
    /// What people come to such a number for.
    primary: Option<&'static verbs::VerbChoice>,
}

/// A number that is not in the inventory: nobody's, or another partner's.
#[derive(Template)]
#[template(path = "number_none.html")]
struct NoNumber {
    frame: Frame,
    plain: String,
    /// The same in an address.
    query: String,
}

/// Why calls do not get through, and the way to repair it.
struct Drops {
    text: String,
    /// The application that lacks a destination.
    application: Option<String>,
}

/// What becomes of a call to the number.
struct Calls {
    code: u16,
    reason: &'static str,
    cause: &'static str,
    routed: bool,
    routes: Vec<String>,
    steps: Vec<CallStep>,
    /// How often this node refused a call today, and why.
    refused: Vec<Html>,
}

struct CallStep {
    name: String,
    text: String,
    /// Since when it is so, and who made it so.
    aside: Html,
    stops: bool,
    remedy: Option<String>,
}

/// GET /console/p/{partner}/numbers/{number}
pub async fn page(State(console): ConsoleState, Path((partner, number)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let number = spelling::one(&number).map_err(|_| Trouble::NotFound)?;
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let frame = visit.frame("", "numbers").with(notice);
    // A finding leads to the verb that mends it.
    let asked = wire::parameter(request.uri().query().unwrap_or_default(), "do").and_then(|verb| verbs::find(&verb));
    let open = asked.map(|verb| OpenForm { verb: verb.name, refused: None });
    show_number(visit, number, frame, open, StatusCode::OK).await
}

/// The form that is open on a number's page.
struct OpenForm<'a> {
    verb: &'static str,
    /// The form as it was sent, if it was refused, and why.
    refused: Option<(&'a Form, &'a FormRefusal)>,
}

/// POST /console/p/{partner}/numbers/{number}/{verb}
pub async fn act(
    State(console): ConsoleState,
    Path((partner, number, verb)): StepPath,
    request: Request,
) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let number = spelling::one(&number).map_err(|_| Trouble::NotFound)?;
    let verb = verbs::find(&verb).ok_or(Trouble::NotFound)?;
    let action = match verbs::read(verb.name, &form, &visit.clock, &visit.snapshot) {
        Ok(action) => action,
        Err(errors) => {
            let refusal = FormRefusal::of(errors);
            return refused(visit, number, verb.name, &form, refusal, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let expected = visit.expected.clone();
    let what = format!("number.{}", verb.name);
    let outcome = visit.act(what, move |service, key| service.act(key, number, &action, &expected)).await;
    match outcome {
        Ok(WriteOutcome::Done { version, .. }) => done(&format!("{}/numbers/{number}", visit.base), version),
        Ok(WriteOutcome::Again(_)) => done(&format!("{}/numbers/{number}", visit.base), None),
        Err(error) => {
            let refusal = match error {
                ServiceError::Stale(stale) => {
                    let by = stale.by.as_ref().map_or(String::new(), |by| format!(" by {}", who(&visit, by)));
                    FormRefusal::outdated("number", &by)
                }
                other => FormRefusal::from_verb(other)?,
            };
            refused(visit, number, verb.name, &form, refusal, StatusCode::CONFLICT).await
        }
    }
}

/// The number's page with a form that was refused.
async fn refused(
    visit: Visit,
    number: E164,
    verb: &'static str,
    form: &Form,
    refusal: FormRefusal,
    status: StatusCode,
) -> PageResult {
    let frame = visit.frame("", "numbers").failed(&refusal.text);
    let open = OpenForm { verb, refused: Some((form, &refusal)) };
    show_number(visit, number, frame, Some(open), status).await
}

async fn show_number(
    visit: Visit,
    number: E164,
    mut frame: Frame,
    open: Option<OpenForm<'_>>,
    status: StatusCode,
) -> PageResult {
    let (replica, snapshot) = (visit.console.app.replica.clone(), visit.snapshot.clone());
    let (settings, now) = (visit.console.app.routing, visit.clock.now);
    let (past, explained) = blocking(move || {
        let past = replica.history(&snapshot, number)?;
        let explained = replica.explain_route(&settings, &snapshot, number, now)?;
        Ok::<_, ServiceError>((past, explained))
    })
    .await??;
    let readable = visit.console.spaces.readable(number);
    frame.title = readable.clone();
    let snapshot = visit.newest();
    let row = snapshot.get(number, visit.clock.now);
    if row.is_none() && past.is_empty() {
        frame.title = "Not in your inventory".to_owned();
        return html_as(
            StatusCode::NOT_FOUND,
            &NoNumber { frame, query: query_value(&number.to_string()), plain: number.to_string() },
        );
    }
    let state = row.map_or(Stored::Retired, |row| row.state());
    let shown = verbs::ALL.iter().map(|verb| ShownVerb {
        name: verb.name,
        title: verb.title,
        about: verb.about,
        grave: verb.grave,
        reason: verbs::reason(verb.verb, state).map(show::in_console),
        version: row.map_or(0, |row| version(verb.name, row, open.as_ref())),
        fields: row.map_or_else(Html::default, |row| fields(&visit, verb.name, row, open.as_ref())),
        open: open.as_ref().map_or(row.and_then(first_action), |open| Some(open.verb)) == Some(verb.name),
    });
    let clock = &visit.clock;
    let called = Called::of(&snapshot);
    let events = past.iter().rev().take(EVENTS_MAX).map(|past| Event {
        summary: diff::said(&visit, &called, past.entry.verb, &past.change, past.entry.at),
        diff: {
            let NumberChange { before, after, .. } = &past.change;
            diff::records(&visit, &called, before.as_ref(), after.as_ref(), past.entry.at)
        },
        at: clock.time(past.entry.at),
        by: who(&visit, &past.entry.actor),
        version: past.version,
    });
    let page = NumberPage {
        plain: number.to_string(),
        readable,
        mark: row.map_or_else(|| pieces::mark("plain", "retired"), mark),
        drops: explained.as_ref().and_then(|explained| drops(&visit, row?, explained.line)),
        primary: row.and_then(first_action).and_then(verbs::find),
        facts: row.map_or(Vec::new(), |row| facts(&visit, row, explained.as_ref().map(|one| one.line))),
        verbs: shown.collect(),
        events: events.collect(),
        older: match past.len().saturating_sub(EVENTS_MAX) as u64 {
            0 => String::new(),
            older => show::count(older, "older event", "older events"),
        },
        choices: Html::of(&Choices::of(&visit)),
        calls: explained.map(|explained| calls(&visit, number, explained)),
        frame,
    };
    html_as(status, &page)
}

/// The action that a number waits for: one in stock for its customer, one whose
/// calls go nowhere for its route.
fn first_action(row: NumberRef<'_>) -> Option<&'static str> {
    match (row.state(), row.status()) {
        (Stored::Available, _) => Some("assign"),
        (Stored::Active, Status::Suspended) => Some("renew"),
        (Stored::Suspended, _) => Some("resume"),
        (Stored::Active, Status::Active) if row.application().is_none() => Some("route"),
        _ => None,
    }
}

/// What a caller of the number gets, in the words of the checks.
fn caller_gets(line: &VerdictLine) -> String {
    match line.case {
        Case::Routed => "calls get through".to_owned(),
        Case::Unrouted => Check::Unrouted.meaning().to_owned(),
        Case::Expired => Check::Expired.meaning().to_owned(),
        Case::NoDestination => Check::NoDestination.meaning().to_owned(),
        _ => format!("calls to this number are refused: {}", line.when),
    }
}

/// Why the calls of a number that a customer holds do not get through.
fn drops(visit: &Visit, row: NumberRef<'_>, line: &VerdictLine) -> Option<Drops> {
    if line.case == Case::Routed || row.account().is_none() {
        return None;
    }
    let text = caller_gets(line);
    let mut chars = text.chars();
    let text = chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect());
    let silent = matches!(line.case, Case::NoDestination | Case::DestinationsOff);
    let application = row.application().filter(|_| silent).map(|one| visit.href("applications", one.id.as_str()));
    Some(Drops { text, application })
}

/// What becomes of a call, with times and names as people know them.
fn calls(visit: &Visit, number: E164, explained: Explained) -> Calls {
    let Explained { line, routes, steps, .. } = explained;
    let aside = |step: &crate::routing::RouteStep| {
        let since = step.since.map(|since| Html::from("since ") + visit.clock.time(since));
        let by =
            step.by.as_deref().and_then(Actor::parse).map(|actor| Html::from(format!("by {}", who(visit, &actor))));
        Html::join(since.into_iter().chain(by), ", ")
    };
    let step = |step: crate::routing::RouteStep| CallStep {
        name: step.step.replace('_', " "),
        aside: aside(&step),
        text: step.text,
        stops: step.stops,
        remedy: step.remedy,
    };
    Calls {
        code: line.code,
        reason: line.reason,
        cause: line.case.as_str(),
        routed: line.case == Case::Routed,
        routes,
        steps: steps.into_iter().map(step).collect(),
        refused: refusals(visit, number),
    }
}

/// `14 times: suspended, the last at 23 Nov 2026 17:30`, since the reader's
/// midnight.
fn refusals(visit: &Visit, number: E164) -> Vec<Html> {
    let clock = &visit.clock;
    let today = form::moment(&clock.iso_day(clock.now), clock).unwrap_or(clock.now);
    let counts = visit.console.app.replica.refusals.of(visit.snapshot.key, number, today);
    let words = |one: RefusalCount| {
        let times = show::count(one.calls as u64, "time", "times");
        let case = one.case.as_str().replace('_', " ");
        Html::from(format!("{times}: {case}, the last at ")) + clock.time(one.last)
    };
    counts.into_iter().map(words).collect()
}

/// Who did something, as people know them.
pub fn who(visit: &Visit, actor: &Actor) -> String {
    match actor {
        Actor::Command { user } => format!("{user}, on the command line"),
        Actor::Key { id } => {
            let name = visit.snapshot.keys.get(id.as_str()).map(|key| key.name.to_string());
            name.map_or_else(|| format!("the key {id}"), |name| format!("the key {name}"))
        }
        Actor::Server => "the server itself".to_owned(),
        Actor::User { id, .. } if id == &visit.user().id => "you".to_owned(),
        Actor::User { id, .. } => {
            let name = visit.console.user_name(id);
            name.unwrap_or_else(|| format!("the user {id}"))
        }
    }
}

fn facts(visit: &Visit, row: NumberRef<'_>, line: Option<&VerdictLine>) -> FactList {
    let clock = &visit.clock;
    let base = &visit.base;
    let entity = |kind: &str, id: &str, name: &str| pieces::beside(pieces::link(&visit.href(kind, id), name), id);
    let mut facts = FactList::new();
    let when = |time| clock.moment(time);
    facts.push(("State", {
        let calls = line.map_or(String::new(), |line| format!("; {}", caller_gets(line)));
        pieces::beside(row.state().as_str(), Html::from("since ") + clock.time(row.since()) + calls)
    }));
    if let Some(account) = row.account() {
        facts.push(("Customer", entity("customers", account.auth_id.as_str(), &account.name)));
    }
    if let Some(account) = row.reserved_for() {
        facts.push(("Reserved for", entity("customers", account.auth_id.as_str(), &account.name)));
    }
    if let Some(until) = row.until() {
        facts.push((if row.state() == Stored::Reserved { "Reserved until" } else { "Until" }, when(until)));
    }
    let application = row.application().map(|one| entity("applications", one.id.as_str(), &one.name));
    facts.push(("Application", application.unwrap_or_else(pieces::none)));
    facts.push((
        "Trunk",
        row.trunk().map(|one| entity("trunks", one.id.as_str(), &one.name)).unwrap_or_else(pieces::none),
    ));
    facts.push(("Monthly cost", row.cost().map_or_else(pieces::none, |cost| show::money(cost).into())));
    let last = row.snapshot().called.last(row.number());
    let last = last
        .map_or_else(|| Html::from("not in 90 days"), |day| pieces::beside(show::plain_day(&day.to_string()), "UTC"));
    facts.push(("Last called", last));
    facts.push(("Assigned", row.assigned_at().map_or_else(pieces::none, when)));
    let expires = || if row.account().is_some() { show::AUTO_RENEWS.into() } else { pieces::none() };
    facts.push(("Expires", row.expires_at().map_or_else(expires, when)));
    facts.push(("Type", row.number_type().as_str().into()));
    facts.push(("Country", row.country().map_or_else(pieces::none, |country| country.code().into())));
    facts.push(("Region", row.region().map_or_else(pieces::none, Html::escape)));
    let tag = |tag: &str| {
        let line = format!("tag:{}", super::line::quoted(tag));
        pieces::link(&format!("{base}/numbers?q={}", query_value(&line)), tag)
    };
    let tags = Html::join(row.tags().iter().map(tag), ", ");
    facts.push(("Tags", if tags.is_empty() { pieces::none() } else { tags }));
    facts
}

/// A verb's form as it was sent and refused.
fn refused_form<'a>(verb: &str, open: Option<&OpenForm<'a>>) -> Option<(&'a Form, &'a FormRefusal)> {
    open.filter(|open| open.verb == verb).and_then(|open| open.refused)
}

/// The version that a verb's form changes.
fn version(verb: &str, row: NumberRef<'_>, open: Option<&OpenForm<'_>>) -> u64 {
    refused_form(verb, open).and_then(|(form, refusal)| refusal.version(form)).unwrap_or_else(|| row.version())
}

/// The fields of a verb's form, with what was typed or what the number has now.
fn fields(visit: &Visit, verb: &'static str, row: NumberRef<'_>, open: Option<&OpenForm<'_>>) -> Html {
    let clock = &visit.clock;
    let cost = row.cost().filter(|_| verb == "cost");
    let route = verb == "route";
    let shown = |what, id: &str| visit.snapshot.shown(what, id);
    // Who loses a number is asked whether it may be the last.
    let last = matches!(verb, "release" | "transfer")
        && row.status() == Status::Active
        && row.account().is_some_and(|account| {
            let account = Some(account.auth_id.as_str().into());
            let filter = Filter { account, status: Some(Status::Active), ..Filter::default() };
            let mut active = row.snapshot().walk(filter, Order::default(), None, visit.clock.now);
            active.next(row.snapshot(), 2).len() == 1
        });
    let renews = verb == "renew";
    let now = match row.expires_at().filter(|_| renews) {
        Some(time) => Html::from("It expires on ") + clock.time(time) + " now.",
        None if renews => Html::from(format!("{} now.", show::AUTO_RENEWS)),
        None => Html::default(),
    };
    if let Some((form, refusal)) = refused_form(verb, open) {
        return Html::of(&VerbFields { last, now, ..VerbFields::typed(verb, form, clock, &refusal.wrongs, false) });
    }
    Html::of(&VerbFields {
        verb,
        midnight: form::midnight(clock),
        now,
        account: row.reserved_for().map_or(String::new(), |one| shown(NamedKind::Customer, one.auth_id.as_str())),
        application: row
            .application()
            .filter(|_| route)
            .map_or(String::new(), |one| shown(NamedKind::Application, one.id.as_str())),
        trunk: row.trunk().filter(|_| route).map_or(String::new(), |one| shown(NamedKind::Trunk, one.id.as_str())),
        renew_by: if row.expires_at().is_some() { verbs::YEAR } else { "day" }.to_owned(),
        amount: cost.map_or(String::new(), |cost| cost.to_string()),
        currency: cost.map_or(String::new(), |cost| cost.currency.code().to_owned()),
        last,
        ..VerbFields::default()
    })
}
