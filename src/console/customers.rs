//! Customers: who they are, what they have, what that costs, and what is wrong
//! with it.
//!
//! A new customer gets their first number and its route by the same form, in
//! one change: both are there, or neither. A number may be asked for by a part
//! of its digits; the form then offers the free ones that have it.
//! Invariants: archiving says how many numbers are released, and is refused if
//! that has become another count; amounts of different currencies stay apart.
//! Deliberately absent: what may be assigned (`domain::action`).

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, StatusCode};

use super::gate::{Form, Needs, Visit, query_value, segment};
use super::line::quoted;
use super::overview::check_name;
use super::page::{Answer, Frame, Trouble, done, html, html_as, mendable};
use super::sign_in::blocking;
use super::verbs::{self, Choices, VerbFields};
use super::{Console, numbers, show};
use crate::checks::{Check, Options};
use crate::domain::action::Assignment;
use crate::domain::{Account, AccountId, Action, Currency, E164, Money, State as Stored, entity};
use crate::inventory::{Counts, Filter, Order, Pattern, Window};
use crate::service::checks::findings;
use crate::service::entities::Changes;
use crate::service::numbers::Expected;
use crate::service::{Outcome, ServiceError, token};

/// How many customers, applications or trunks a page has.
pub const ROWS: usize = 100;
/// How many free numbers a form offers.
const OFFERED_MAX: usize = 50;
/// How many numbers a customer's page shows, and how many of each finding.
const NUMBERS_MAX: usize = 50;
const FINDINGS_MAX: usize = 6;

struct Row {
    id: String,
    path: String,
    name: String,
    active: String,
    suspended: String,
    query: String,
    amounts: Vec<String>,
    /// Nobody can call them.
    silent: bool,
    archived: Option<String>,
}

#[derive(Template)]
#[template(path = "customers.html")]
struct Customers<'a> {
    frame: Frame,
    q: &'a str,
    query: String,
    /// The archived ones, rather than those there are.
    archived: bool,
    live_count: String,
    archived_count: String,
    /// Whether there are any at all.
    none: bool,
    found: String,
    rows: Vec<Row>,
    page: usize,
    pages: usize,
}

/// What a list of customers, applications or trunks is asked for.
pub struct Asked {
    pub q: String,
    pub archived: bool,
    pub page: usize,
}

impl Asked {
    pub fn read(request: &Request<Body>) -> Asked {
        let mut asked = Asked { q: String::new(), archived: false, page: 1 };
        for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
            match &*name {
                "q" => asked.q = value.trim().to_owned(),
                "archived" => asked.archived = value == "1",
                "page" => asked.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        asked
    }

    /// Whether somebody who typed this means that.
    pub fn finds(&self, id: &str, name: &str) -> bool {
        let typed = self.q.to_lowercase();
        typed.is_empty() || name.to_lowercase().contains(&typed) || id.to_lowercase().contains(&typed)
    }

    /// The rows of the page that is asked for, sorted by name, and how many
    /// pages there are.
    pub fn page<T>(&self, rows: &mut Vec<T>, name: impl Fn(&T) -> (String, String)) -> usize {
        rows.sort_by_cached_key(name);
        let pages = rows.len().div_ceil(ROWS).max(1);
        let skip = (self.page.min(pages) - 1) * ROWS;
        rows.drain(..skip);
        rows.truncate(ROWS);
        pages
    }
}

/// GET /console/p/{partner}/customers
pub async fn list(State(console): State<Arc<Console>>, Path(partner): Path<String>, request: Request<Body>) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    let asked = Asked::read(&request);
    let frame = visit.frame("Customers", "customers").with(visit.notice(request.uri().query().unwrap_or_default()));
    let (snapshot, now) = (visit.snapshot.clone(), visit.clock.now);
    let (counts, rental) = blocking(move || (snapshot.counts(now), snapshot.rental())).await?;
    let all = visit.snapshot.accounts.iter().zip(counts).zip(rental);
    let (mut found, mut live, mut archived) = (Vec::new(), 0, 0);
    for ((account, counts), rental) in all {
        *if account.archived_at.is_some() { &mut archived } else { &mut live } += 1;
        let wanted = account.archived_at.is_some() == asked.archived;
        if wanted && asked.finds(account.auth_id.as_str(), &account.name) {
            found.push((account, counts, rental));
        }
    }
    let total = found.len() as u64;
    let pages = asked.page(&mut found, |(account, _, _)| (account.name.to_lowercase(), account.auth_id.to_string()));
    let rows = found.iter().map(|(account, counts, rental)| row(&visit, account, *counts, rental));
    html(&Customers {
        q: &asked.q,
        query: query_value(&asked.q),
        archived: asked.archived,
        live_count: show::thousands(live),
        archived_count: if archived > 0 { show::thousands(archived) } else { String::new() },
        none: live + archived == 0,
        found: show::count(total, "customer", "customers"),
        rows: rows.collect(),
        page: asked.page.min(pages),
        pages,
        frame,
    })
}

fn row(visit: &Visit, account: &Account, counts: Counts, rental: &BTreeMap<Currency, (u64, i64)>) -> Row {
    let id = account.auth_id.as_str();
    Row {
        id: id.to_owned(),
        path: segment(id),
        name: account.name.to_string(),
        active: show::thousands(counts.active),
        suspended: if counts.suspended > 0 { show::thousands(counts.suspended) } else { String::new() },
        query: query_value(&line_of(id)),
        amounts: amounts(rental),
        silent: counts.active == 0 && account.archived_at.is_none(),
        archived: account.archived_at.map(|at| visit.clock.day(at)),
    }
}

/// One amount for each currency: they are never added.
fn amounts(rental: &BTreeMap<Currency, (u64, i64)>) -> Vec<String> {
    rental.iter().map(|(&currency, &(_, minor))| show::money(Money { minor, currency })).collect()
}

/// The filter line of a customer's numbers.
fn line_of(id: &str) -> String {
    format!("account:{}", quoted(id))
}

/// A number that nobody has, to choose.
struct Free {
    number: E164,
    readable: String,
    about: String,
    chosen: bool,
}

/// Where a form asks for a number, and offers some.
#[derive(Template)]
#[template(path = "pick.html")]
struct Pick<'a> {
    typed: &'a str,
    offered: Vec<Free>,
    /// The free numbers that have the digits that were typed, to choose one.
    matches: Vec<Free>,
    /// How many there are in all.
    total: String,
    must: bool,
}

/// What was typed where a form asks for a number.
enum Picked {
    Nothing,
    Number(E164),
    /// A part of a number.
    Part(Pattern),
}

impl Picked {
    fn read(form: &Form) -> Picked {
        let typed = form.get("number");
        let digits: String = typed.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '\u{a0}')).collect();
        if digits.is_empty() {
            return Picked::Nothing;
        }
        // A choice counts as long as it answers what is typed.
        if let (Ok(number), true) = (form.get("pick").parse(), form.get("asked") == typed) {
            return Picked::Number(number);
        }
        match digits.parse() {
            Ok(number) => Picked::Number(number),
            Err(_) => Pattern::parse(typed).map_or(Picked::Nothing, Picked::Part),
        }
    }
}

/// Free numbers, the first of those that have the digits, and how many there are.
fn free(visit: &Visit, search: Option<Pattern>, chosen: &str) -> (Vec<Free>, u64) {
    let filter = Filter { search, state: Stored::Available.into(), ..Filter::default() };
    let window = Window::Page { skip: 0, rows: OFFERED_MAX };
    let found = visit.snapshot.select(&filter, Order::default(), window, visit.clock.now);
    let only = found.total == 1;
    let offer = |row: &crate::inventory::NumberRef<'_>| {
        let number = row.number();
        let place = row.region().map(str::to_owned).or_else(|| row.country().map(|country| country.code().to_owned()));
        let parts = [place, Some(row.number_type().to_string()), row.cost().map(show::money)];
        Free {
            number,
            readable: visit.console.spaces.readable(number),
            about: parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
            chosen: only || number.to_string() == chosen,
        }
    };
    (found.rows.iter().map(offer).collect(), found.total)
}

/// The part of a form that asks for a number; `must` it be given.
fn pick(visit: &Visit, form: &Form, must: bool) -> Result<(String, Option<String>), Trouble> {
    let part = match Picked::read(form) {
        Picked::Part(pattern) => Some(pattern),
        Picked::Nothing | Picked::Number(_) => None,
    };
    let (offered, _) = free(visit, None, "");
    let (matches, total) = match &part {
        Some(pattern) => free(visit, Some(*pattern), form.get("pick")),
        None => (Vec::new(), 0),
    };
    let typed = form.get("number");
    let told = part.map(|_| match total {
        0 => format!("No free number has {typed} in it. Type other digits, or add numbers to stock first."),
        _ => {
            let have = show::count(total, "free number has these digits", "free numbers have these digits");
            format!("{have}; choose one below. Nothing was done yet.")
        }
    });
    let total = show::count(total, "free number", "free numbers");
    let html = Pick { typed, offered, matches, total, must }.render();
    Ok((html.map_err(|error| Trouble::Internal(error.to_string()))?, told))
}

/// The fields of an assignment but for whose and which number.
fn route_fields(form: &Form) -> Result<String, Trouble> {
    VerbFields::typed("first", form, false).render().map_err(|error| Trouble::Internal(error.to_string()))
}

fn choices(visit: &Visit) -> Result<String, Trouble> {
    Choices::of(visit).render().map_err(|error| Trouble::Internal(error.to_string()))
}

#[derive(Template)]
#[template(path = "customer_new.html")]
struct NewCustomer<'a> {
    frame: Frame,
    name: &'a str,
    id: &'a str,
    pick: String,
    fields: String,
    choices: String,
}

/// GET /console/p/{partner}/customers/new
pub async fn new_form(
    State(console): State<Arc<Console>>,
    Path(partner): Path<String>,
    request: Request<Body>,
) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Manager)?;
    let query = request.uri().query().unwrap_or_default();
    let number = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "number");
    let form = Form::default().with("number", &number.map_or(String::new(), |(_, number)| number.into_owned()));
    new_page(&visit, &form, None, StatusCode::OK)
}

/// POST /console/p/{partner}/customers/new
pub async fn create(
    State(console): State<Arc<Console>>,
    Path(partner): Path<String>,
    request: Request<Body>,
) -> Answer {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let wrong = |error: String| new_page(&visit, &form, Some(error), StatusCode::UNPROCESSABLE_ENTITY);
    let Some(name) = entity::name(form.get("name")) else {
        return wrong(format!("name: must be 1 to {} characters on one line", entity::NAME_CHARS_MAX));
    };
    let id = form.given("id").map_or_else(token::account_id, str::to_owned);
    let id: AccountId = match id.parse() {
        Ok(id) => id,
        Err(error) => return wrong(format!("id: {error}")),
    };
    let first = match Picked::read(&form) {
        Picked::Part(_) => return new_page(&visit, &form, None, StatusCode::UNPROCESSABLE_ENTITY),
        Picked::Nothing => {
            let about = ["application_id", "trunk_id", "expires_at", "monthly_cost", "currency"];
            if about.iter().any(|field| form.given(field).is_some()) {
                return wrong("number: choose one, or leave application, trunk, last day and cost empty".to_owned());
            }
            None
        }
        Picked::Number(number) => match assignment(&visit, &form, &id) {
            Ok(to) => Some((number, to)),
            Err(error) => return wrong(error),
        },
    };
    let account = id.clone();
    let made = visit.act("account.create", move |service, key| match &first {
        Some((number, to)) => service.account_open(key, &account, &name, *number, to),
        None => service.account_new(key, &account, &name),
    });
    match made.await {
        Ok(Outcome::Done { version, .. }) => {
            done(&format!("{}/customers/{}", visit.base, segment(id.as_str())), version)
        }
        Ok(Outcome::Again(_)) => done(&format!("{}/customers/{}", visit.base, segment(id.as_str())), None),
        Err(error) => {
            let error = refused(error)?;
            new_page(&visit, &form, Some(format!("{error}. Nothing was done.")), StatusCode::CONFLICT)
        }
    }
}

/// What the form says of a number's assignment.
fn assignment(visit: &Visit, form: &Form, id: &AccountId) -> Result<Assignment, String> {
    let mut sent = Form::default().with("account_auth_id", id.as_str());
    for field in ["application_id", "trunk_id", "expires_at", "monthly_cost", "currency"] {
        sent = sent.with(field, form.get(field));
    }
    match verbs::assign(&sent, &visit.clock) {
        Ok(to) => Ok(Assignment { account: id.clone(), ..to }),
        Err(errors) => Err(verbs::told(&errors)),
    }
}

/// A refusal by the names that people know fields by.
fn refused(error: ServiceError) -> Result<String, Trouble> {
    match error {
        ServiceError::Invalid(errors) => Ok(verbs::told(&errors)),
        ServiceError::Unknown { what: "number", id } => Ok(format!("number: {id} is not in the inventory")),
        ServiceError::Exists { id, .. } => Ok(format!("id: there is already a customer {id}")),
        other => mendable(other),
    }
}

fn new_page(visit: &Visit, form: &Form, error: Option<String>, status: StatusCode) -> Answer {
    let mut frame = visit.frame("New customer", "customers");
    let (pick, told) = pick(visit, form, false)?;
    frame.error = error.or(told);
    let page = NewCustomer {
        frame,
        name: form.get("name"),
        id: form.get("id"),
        pick,
        fields: route_fields(form)?,
        choices: choices(visit)?,
    };
    html_as(status, &page)
}

/// What a check finds, said once for all that it is about.
struct Finding {
    severity: &'static str,
    id: &'static str,
    name: String,
    meaning: &'static str,
    action: &'static str,
    /// The first of its numbers, as they are written and in the address.
    numbers: Vec<(String, String)>,
    /// How many more there are; empty if none.
    more: String,
}

impl Finding {
    fn of(visit: &Visit, check: Check, numbers: &[E164]) -> Finding {
        let named = numbers.iter().take(FINDINGS_MAX);
        let more = numbers.len().saturating_sub(FINDINGS_MAX) as u64;
        Finding {
            severity: check.severity().as_str(),
            id: check.as_str(),
            name: check_name(check),
            meaning: check.meaning(),
            action: check.action(),
            numbers: named.map(|one| (visit.console.spaces.readable(*one), one.to_string())).collect(),
            more: if more > 0 { show::thousands(more) } else { String::new() },
        }
    }
}

#[derive(Template)]
#[template(path = "customer.html")]
struct Customer {
    frame: Frame,
    id: String,
    path: String,
    name: String,
    created: String,
    archived: Option<String>,
    active: String,
    suspended: String,
    reserved: String,
    /// How many numbers archiving releases, to be told and to be held against.
    releases: u64,
    releases_text: String,
    amounts: Vec<String>,
    findings: Vec<Finding>,
    query: String,
    numbers: u64,
    numbers_text: String,
    rows: String,
    pick: String,
    fields: String,
    choices: String,
    /// Which form is open, because something is to be mended in it.
    open: &'static str,
}

/// GET /console/p/{partner}/customers/{id}
pub async fn page(
    State(console): State<Arc<Console>>,
    Path((partner, id)): Path<(String, String)>,
    request: Request<Body>,
) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    let notice = visit.notice(request.uri().query().unwrap_or_default());
    let frame = visit.frame("", "customers").with(notice);
    customer(visit, &id, &Form::default(), frame, "", StatusCode::OK).await
}

async fn customer(
    visit: Visit,
    id: &str,
    form: &Form,
    mut frame: Frame,
    open: &'static str,
    status: StatusCode,
) -> Answer {
    // As it is now: what was refused may have been so for what came since.
    let snapshot = visit.console.app.replica.snapshot(visit.snapshot.key).unwrap_or_else(|| visit.snapshot.clone());
    let account = snapshot.accounts.get(id).ok_or(Trouble::NotFound)?.clone();
    let now = visit.clock.now;
    let (asked, of) = (snapshot.clone(), account.auth_id.clone());
    let (counts, rental, reserved, found) = blocking(move || {
        let at = asked.accounts.iter().position(|one| one.auth_id == of).unwrap_or_default();
        let options = Options { account: Some(of.clone()), ..Options::default() };
        let counts = asked.counts(now).get(at).copied().unwrap_or_default();
        let rental = asked.rental().into_iter().nth(at).unwrap_or_default();
        (counts, rental, reserved_for(&asked, &of, now), findings(&asked, &options, Some(false), now))
    })
    .await?;
    let filter = Filter { account: Some(id.into()), ..Filter::default() };
    let held = snapshot.select(&filter, Order::default(), Window::Page { skip: 0, rows: NUMBERS_MAX }, now);
    let mut writer = numbers::Writer::new(&visit, false);
    held.rows.iter().for_each(|row| writer.row(*row));
    let rows = writer.out;
    let mut by_check: BTreeMap<Check, Vec<E164>> = BTreeMap::new();
    for seen in &found {
        by_check.entry(seen.finding.check).or_default().extend(seen.finding.number);
    }
    frame.title = account.name.to_string();
    let (pick, told) = pick(&visit, form, true)?;
    frame.error = frame.error.take().or(told);
    let releases = counts.active + counts.suspended;
    let page = Customer {
        id: id.to_owned(),
        path: segment(id),
        name: account.name.to_string(),
        created: visit.clock.day(account.created_at),
        archived: account.archived_at.map(|at| visit.clock.day(at)),
        active: show::thousands(counts.active),
        suspended: show::thousands(counts.suspended),
        reserved: if reserved > 0 { show::thousands(reserved) } else { String::new() },
        releases,
        releases_text: show::count(releases, "number", "numbers"),
        amounts: amounts(&rental),
        findings: by_check.iter().map(|(&check, numbers)| Finding::of(&visit, check, numbers)).collect(),
        query: query_value(&line_of(id)),
        numbers: held.total,
        numbers_text: show::count(held.total, "number", "numbers"),
        rows,
        pick,
        fields: route_fields(form)?,
        choices: choices(&visit)?,
        open,
        frame,
    };
    html_as(status, &page)
}

/// How many numbers are kept for an account.
fn reserved_for(snapshot: &crate::inventory::Snapshot, id: &AccountId, now: crate::domain::Time) -> u64 {
    let filter = Filter { state: Stored::Reserved.into(), ..Filter::default() };
    let mut walk = snapshot.walk(filter, Order::default(), None, now);
    let mut count = 0;
    while !walk.done() {
        let rows = walk.next(snapshot, 4_096);
        count += rows.iter().filter(|row| row.reserved_for().is_some_and(|account| account.auth_id == *id)).count();
    }
    count as u64
}

/// POST /console/p/{partner}/customers/{id}/{verb}: rename, archive, restore or
/// assign.
pub async fn act(
    State(console): State<Arc<Console>>,
    Path((partner, id, verb)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Answer {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let account: AccountId = id.parse().map_err(|_| Trouble::NotFound)?;
    visit.snapshot.accounts.get(account.as_str()).ok_or(Trouble::NotFound)?;
    let open = match &*verb {
        "rename" => "rename",
        "archive" => "archive",
        "restore" => "restore",
        "assign" => "assign",
        _ => return Err(Trouble::NotFound),
    };
    let made = match wanted(&form, open) {
        Ok(Wanted::Edit(changes)) => {
            visit.act("account.edit", move |service, key| service.account_edit(key, &account, &changes)).await
        }
        Ok(Wanted::Archive(releases)) => {
            visit.act("account.archive", move |service, key| service.account_archive(key, &account, releases)).await
        }
        Ok(Wanted::Assign(number)) => match assignment(&visit, &form, &account) {
            Ok(to) => {
                let action = Action::Assign(to);
                let does = move |service: &crate::service::Service, key| {
                    service.act(key, number, &action, &Expected::Anything)
                };
                visit.act("number.assign", does).await
            }
            Err(error) => Err(ServiceError::Refused(error)),
        },
        Ok(Wanted::Choose) => {
            let frame = visit.frame("", "customers");
            return customer(visit, &id, &form, frame, open, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
        Err(error) => Err(ServiceError::Refused(error)),
    };
    let to = format!("{}/customers/{}", visit.base, segment(&id));
    match made {
        Ok(Outcome::Done { version, .. }) => done(&to, version),
        Ok(Outcome::Again(_)) => done(&to, None),
        Err(error) => {
            let frame = visit.frame("", "customers").failed(refused(error)?);
            customer(visit, &id, &form, frame, open, StatusCode::CONFLICT).await
        }
    }
}

/// What a form of a customer's page asks for.
enum Wanted {
    Edit(Changes),
    /// As long as that releases so many numbers.
    Archive(u64),
    Assign(E164),
    /// There are several numbers that were meant.
    Choose,
}

fn wanted(form: &Form, verb: &str) -> Result<Wanted, String> {
    match verb {
        "rename" => {
            let name = entity::name(form.get("name"))
                .ok_or_else(|| format!("name: must be 1 to {} characters on one line", entity::NAME_CHARS_MAX))?;
            Ok(Wanted::Edit(Changes { name: Some(name), ..Changes::default() }))
        }
        "restore" => Ok(Wanted::Edit(Changes { archived: Some(false), ..Changes::default() })),
        "archive" => {
            let releases = form.get("releases").parse();
            releases.map(Wanted::Archive).map_err(|_| "the form is not whole; load the page again".to_owned())
        }
        _ => match Picked::read(form) {
            Picked::Number(number) => Ok(Wanted::Assign(number)),
            Picked::Part(_) => Ok(Wanted::Choose),
            Picked::Nothing => Err("number: choose one, or type some of its digits".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        fields.iter().fold(Form::default(), |form, (name, value)| form.with(name, value))
    }

    #[test]
    fn a_number_is_typed_whole_or_in_part_or_chosen() {
        let read = |fields: &[(&str, &str)]| match Picked::read(&form(fields)) {
            Picked::Nothing => "nothing".to_owned(),
            Picked::Number(number) => number.to_string(),
            Picked::Part(_) => "part".to_owned(),
        };
        assert_eq!(read(&[]), "nothing");
        assert_eq!(read(&[("number", " ")]), "nothing");
        assert_eq!(read(&[("number", "+91 22 7126-4217")]), "+912271264217");
        assert_eq!(read(&[("number", "4217")]), "part");
        assert_eq!(read(&[("number", "nine")]), "part");
        assert_eq!(read(&[("number", "4217"), ("asked", "4217"), ("pick", "+912271264217")]), "+912271264217");
        // Other digits since it was chosen.
        assert_eq!(read(&[("number", "4218"), ("asked", "4217"), ("pick", "+912271264217")]), "part");
    }

    #[test]
    fn customers_are_found_by_name_and_id() {
        let asked = |q: &str| Asked { q: q.to_owned(), archived: false, page: 1 };
        assert!(asked("").finds("MA_1", "Crédit"));
        assert!(asked("CRÉD").finds("MA_1", "Crédit"));
        assert!(asked("ma_").finds("MA_1", "Crédit"));
        assert!(!asked("MA_2").finds("MA_1", "Crédit"));
    }
}
