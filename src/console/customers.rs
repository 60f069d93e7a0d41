//! Customers: details, numbers, costs and findings.
//!
//! A new customer gets their first number and its route by the same form, in
//! one change: both are there, or neither. A number may be asked for by a part
//! of its digits; the form then offers the free ones that have it.
//! Invariants: archiving shows how many numbers it releases, and is refused if that
//! count has changed; amounts of different currencies are never added.
//! Deliberately absent: the rules of assignment (`domain::action`).

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use std::collections::BTreeMap;

use super::form::{self, FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, asks_for_new, query_value};
use super::line::quoted;
use super::page::{Frame, PageResult, Trouble, done, html, html_as};
use super::search::did_you_mean;
use super::sign_in::blocking;
use super::verbs::{self, Choices, VerbFields};
use super::{ConsoleState, ItemPath, StepPath, diff, numbers, show};
use crate::checks::CheckOptions;
use crate::domain::action::Assignment;
use crate::domain::field::code;
use crate::domain::{Account, AccountId, Action, Currency, E164, FieldError, State as Stored, Sum, entity};
use crate::inventory::names::NamedKind;
use crate::inventory::{Filter, Order, Pattern, StatusCounts, Window};
use crate::service::verbs::checks::{OpenFindings, open_by_check};
use crate::service::verbs::entities::{EntityPatch, state_tag};
use crate::service::verbs::numbers::Expected;
use crate::service::{ServiceError, WriteOutcome, token};
use crate::wire;
use crate::wire::html::Html;

/// How many customers, applications or trunks a page has.
pub const ROWS: usize = 100;
/// How many free numbers a form offers.
const OFFERED_MAX: usize = 50;
/// How many numbers a customer's page shows, and how many of each finding.
const NUMBERS_MAX: usize = 50;
const FINDINGS_MAX: usize = 6;

struct CustomerRow {
    id: String,
    href: String,
    name: String,
    active: String,
    suspended: String,
    query: String,
    amounts: Vec<String>,
    /// Nobody can call them.
    silent: bool,
    archived: Option<Html>,
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
    /// Suggestions, where nothing is found.
    near: Html,
    rows: Vec<CustomerRow>,
    page: usize,
    pages: usize,
}

/// What a list of customers, applications or trunks is asked for.
pub struct ListView {
    pub q: String,
    pub archived: bool,
    pub page: usize,
}

impl ListView {
    pub fn read(request: &Request) -> ListView {
        let mut asked = ListView { q: String::new(), archived: false, page: 1 };
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

/// GET /console/p/{partner}/customers, and ?new for the form
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    if asks_for_new(&request) {
        return new_form(&visit, &request);
    }
    let asked = ListView::read(&request);
    let frame =
        visit.frame("Customers", "customers").with(diff::notice(&visit, request.uri().query().unwrap_or_default()));
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
        near: if found.is_empty() { did_you_mean(&visit, NamedKind::Customer, &asked.q) } else { Html::default() },
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

fn row(
    visit: &Visit,
    account: &Account,
    counts: StatusCounts,
    rental: &BTreeMap<Currency, (u64, i128)>,
) -> CustomerRow {
    let id = account.auth_id.as_str();
    CustomerRow {
        id: id.to_owned(),
        href: visit.href("customers", id),
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
fn amounts(rental: &BTreeMap<Currency, (u64, i128)>) -> Vec<String> {
    rental.iter().map(|(&currency, &(_, minor))| show::sum(Sum { minor, currency })).collect()
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
struct NumberPick<'a> {
    typed: &'a str,
    offered: Vec<Free>,
    /// The free numbers that have the digits that were typed, to choose one.
    matches: Vec<Free>,
    /// How many there are in all.
    total: String,
    must: bool,
    wrongs: &'a Wrongs,
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
fn pick(visit: &Visit, form: &Form, wrongs: &Wrongs, must: bool) -> (Html, Option<String>) {
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
    (Html::of(&NumberPick { typed, offered, matches, total, must, wrongs }), told)
}

/// The fields of an assignment but for whose and which number.
fn route_fields(visit: &Visit, form: &Form, wrongs: &Wrongs) -> Html {
    Html::of(&VerbFields::typed("first", form, &visit.clock, wrongs, false))
}

#[derive(Template)]
#[template(path = "customer_new.html")]
struct NewCustomer<'a> {
    frame: Frame,
    name: &'a str,
    id: &'a str,
    pick: Html,
    fields: Html,
    choices: Html,
    wrongs: Wrongs,
}

fn new_form(visit: &Visit, request: &Request) -> PageResult {
    visit.need(Needs::Manager)?;
    let number = wire::parameter(request.uri().query().unwrap_or_default(), "number");
    let form = Form::default().with("number", &number.unwrap_or_default());
    new_page(visit, &form, None, StatusCode::OK)
}

/// POST /console/p/{partner}/customers
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let wrong = |refusal: FormRefusal| new_page(&visit, &form, Some(refusal), StatusCode::UNPROCESSABLE_ENTITY);
    let Some(name) = entity::name(form.get("name")) else {
        return wrong(FormRefusal::of(vec![bad_name()]));
    };
    let id = form.given("id").map_or_else(token::account_id, str::to_owned);
    let id: AccountId = match id.parse() {
        Ok(id) => id,
        Err(error) => {
            return wrong(FormRefusal::of(vec![FieldError::new("id", code::INVALID, error.to_string(), &id)]));
        }
    };
    let first = match Picked::read(&form) {
        Picked::Part(_) => return new_page(&visit, &form, None, StatusCode::UNPROCESSABLE_ENTITY),
        Picked::Nothing => {
            let about = ["application_id", "trunk_id", "expires_at", "monthly_cost", "currency"];
            if about.iter().any(|field| form.given(field).is_some()) {
                let message = "choose one, or leave application, trunk, expiry and cost empty";
                return wrong(FormRefusal::of(vec![FieldError::missing("number", code::MISSING, message)]));
            }
            None
        }
        Picked::Number(number) => match assignment(&visit, &form, &id) {
            Ok(to) => Some((number, to)),
            Err(error) => return wrong(FormRefusal::of(error)),
        },
    };
    let account = id.clone();
    let made = visit.act("account.create", move |service, key| match &first {
        Some((number, to)) => service.account_open(key, &account, &name, *number, to),
        None => service.account_new(key, &account, &name),
    });
    match made.await {
        Ok(WriteOutcome::Done { version, .. }) => done(&visit.href("customers", id.as_str()), version),
        Ok(WriteOutcome::Again(_)) => done(&visit.href("customers", id.as_str()), None),
        Err(error) => {
            let mut refusal = refused(error)?;
            refusal.text.push_str(". Nothing was done.");
            new_page(&visit, &form, Some(refusal), StatusCode::CONFLICT)
        }
    }
}

/// What the form says of a number's assignment.
fn assignment(visit: &Visit, form: &Form, id: &AccountId) -> Result<Assignment, Vec<FieldError>> {
    let mut sent = Form::default();
    for field in ["application_id", "trunk_id", "expires_at", "monthly_cost", "currency"] {
        sent = sent.with(field, form.get(field));
    }
    verbs::first(&sent, id, &visit.clock, &visit.snapshot)
}

pub fn bad_name() -> FieldError {
    let message = format!("must be 1 to {} characters on one line", entity::NAME_CHARS_MAX);
    FieldError::missing("name", code::INVALID, message)
}

/// A refusal by the names that people know fields by.
fn refused(error: ServiceError) -> Result<FormRefusal, Trouble> {
    let one = |field: &str, message: String, value: &str| {
        Ok(FormRefusal::of(vec![FieldError::new(field, code::CONFLICT, message, value)]))
    };
    match error {
        ServiceError::Unknown { what: "number", id } => one("number", format!("{id} is not in the inventory"), &id),
        ServiceError::Exists { id, .. } => one("id", format!("there is already a customer {id}"), &id),
        // The id of a new customer is the one that this form gives.
        other => Ok(FormRefusal::from_verb(other)?.renamed("account_auth_id", "id")),
    }
}

fn new_page(visit: &Visit, form: &Form, refusal: Option<FormRefusal>, status: StatusCode) -> PageResult {
    let mut frame = visit.frame("New customer", "customers");
    let (error, wrongs) = refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    let (pick, told) = pick(visit, form, &wrongs, false);
    frame.error = error.or(told);
    let page = NewCustomer {
        frame,
        name: form.get("name"),
        id: form.get("id"),
        pick,
        fields: route_fields(visit, form, &wrongs),
        choices: Html::of(&Choices::of(visit)),
        wrongs,
    };
    html_as(status, &page)
}

/// What a check finds, said once for all that it is about.
struct CustomerFinding {
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

impl CustomerFinding {
    fn of(visit: &Visit, found: &OpenFindings) -> CustomerFinding {
        let OpenFindings { check, total, first } = found;
        let check = *check;
        // One that is about the customer has no number.
        let numbers: Vec<E164> = first.iter().filter_map(|finding| finding.number).collect();
        let more = if numbers.is_empty() { 0 } else { total - numbers.len() as u64 };
        CustomerFinding {
            severity: check.severity().as_str(),
            id: check.as_str(),
            name: show::check_name(check),
            meaning: check.meaning(),
            action: check.action(),
            numbers: numbers.iter().map(|one| (visit.console.spaces.readable(*one), one.to_string())).collect(),
            more: if more > 0 { show::thousands(more) } else { String::new() },
        }
    }
}

#[derive(Template)]
#[template(path = "customer.html")]
struct Customer {
    frame: Frame,
    id: String,
    /// Its own address.
    href: String,
    /// Its id as it stands in an address.
    account: String,
    name: String,
    /// As it was typed where it shall have another.
    new_name: String,
    /// The version that the form for another name changes.
    version: u64,
    wrongs: Wrongs,
    created: Html,
    archived: Option<Html>,
    active: String,
    suspended: String,
    reserved: String,
    /// How many numbers archiving releases, to be told and to be held against.
    releases: u64,
    releases_text: String,
    amounts: Vec<String>,
    findings: Vec<CustomerFinding>,
    query: String,
    numbers: u64,
    numbers_text: String,
    rows: Html,
    pick: Html,
    fields: Html,
    choices: Html,
    /// Which form is open, because something is to be mended in it.
    open: &'static str,
}

/// GET /console/p/{partner}/customers/{id}
pub async fn page(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let frame = visit.frame("", "customers").with(notice);
    customer(visit, &id, &Form::default(), frame, OpenCustomerForm::default(), StatusCode::OK).await
}

/// The form that is open on a customer's page, since something is to be mended
/// in it.
#[derive(Default)]
struct OpenCustomerForm {
    verb: &'static str,
    wrongs: Wrongs,
    /// The version that it goes on with; else it is the current one.
    version: Option<u64>,
}

async fn customer(
    visit: Visit,
    id: &str,
    form: &Form,
    mut frame: Frame,
    open: OpenCustomerForm,
    status: StatusCode,
) -> PageResult {
    let snapshot = visit.newest();
    let account = snapshot.accounts.get(id).ok_or(Trouble::NotFound)?.clone();
    let now = visit.clock.now;
    let (asked, of) = (snapshot.clone(), account.auth_id.clone());
    let (counts, rental, reserved, found) = blocking(move || {
        let at = asked.accounts.iter().position(|one| one.auth_id == of).unwrap_or_default();
        let options = CheckOptions { account: Some(of.clone()), ..CheckOptions::default() };
        let counts = asked.counts(now).get(at).copied().unwrap_or_default();
        let rental = asked.rental().into_iter().nth(at).unwrap_or_default();
        (counts, rental, reserved_for(&asked, &of, now), open_by_check(&asked, &options, now, FINDINGS_MAX))
    })
    .await?;
    let filter = Filter { account: Some(id.into()), ..Filter::default() };
    let held = snapshot.select(&filter, Order::default(), Window::Page { skip: 0, rows: NUMBERS_MAX }, now);
    let rows = numbers::rows(&visit, &held.rows, false);
    frame.title = account.name.to_string();
    let (pick, told) = pick(&visit, form, &open.wrongs, true);
    frame.error = frame.error.take().or(told);
    let releases = counts.active + counts.suspended;
    let page = Customer {
        id: id.to_owned(),
        href: visit.href("customers", id),
        account: query_value(id),
        name: account.name.to_string(),
        new_name: if open.verb == "rename" { form.get("name").to_owned() } else { account.name.to_string() },
        version: open.version.filter(|_| open.verb == "rename").unwrap_or_else(|| state_tag(&account)),
        created: visit.clock.day(account.created_at),
        archived: account.archived_at.map(|at| visit.clock.day(at)),
        active: show::thousands(counts.active),
        suspended: show::thousands(counts.suspended),
        reserved: if reserved > 0 { show::thousands(reserved) } else { String::new() },
        releases,
        releases_text: show::count(releases, "number", "numbers"),
        amounts: amounts(&rental),
        findings: found.iter().map(|found| CustomerFinding::of(&visit, found)).collect(),
        query: query_value(&line_of(id)),
        numbers: held.total,
        numbers_text: show::count(held.total, "number", "numbers"),
        rows,
        pick,
        fields: route_fields(&visit, form, &open.wrongs),
        choices: Html::of(&Choices::of(&visit)),
        open: open.verb,
        wrongs: open.wrongs,
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
pub async fn act(State(console): ConsoleState, Path((partner, id, verb)): StepPath, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let account = visit.snapshot.accounts.get(&id).ok_or(Trouble::NotFound)?.auth_id.clone();
    let verb = match &*verb {
        "rename" => "rename",
        "archive" => "archive",
        "restore" => "restore",
        "assign" => "assign",
        _ => return Err(Trouble::NotFound),
    };
    let made = match wanted(&form, verb) {
        Ok(CustomerForm::Edit(changes)) => {
            visit.act("account.edit", move |service, key| service.account_edit(key, &account, &changes)).await
        }
        Ok(CustomerForm::Archive(releases)) => {
            visit.act("account.archive", move |service, key| service.account_archive(key, &account, releases)).await
        }
        Ok(CustomerForm::Assign(number)) => match assignment(&visit, &form, &account) {
            Ok(to) => {
                let action = Action::Assign(to);
                let does = move |service: &crate::service::Service, key| {
                    service.act(key, number, &action, &Expected::Anything)
                };
                visit.act("number.assign", does).await
            }
            Err(errors) => Err(ServiceError::Invalid(errors)),
        },
        Ok(CustomerForm::Choose) => {
            let frame = visit.frame("", "customers");
            let open = OpenCustomerForm { verb, ..OpenCustomerForm::default() };
            return customer(visit, &id, &form, frame, open, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
        Err(error) => Err(ServiceError::Invalid(vec![error])),
    };
    let to = visit.href("customers", &id);
    match made {
        Ok(WriteOutcome::Done { version, .. }) => done(&to, version),
        Ok(WriteOutcome::Again(_)) => done(&to, None),
        Err(error) => {
            let status = match error {
                ServiceError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::CONFLICT,
            };
            let refusal = refused(error)?;
            let frame = visit.frame("", "customers").failed(&refusal.text);
            let open = OpenCustomerForm { verb, version: refusal.version(&form), wrongs: refusal.wrongs };
            customer(visit, &id, &form, frame, open, status).await
        }
    }
}

/// What a form of a customer's page asks for.
enum CustomerForm {
    Edit(EntityPatch),
    /// As long as that releases so many numbers.
    Archive(u64),
    Assign(E164),
    /// There are several numbers that were meant.
    Choose,
}

fn wanted(form: &Form, verb: &str) -> Result<CustomerForm, FieldError> {
    match verb {
        "rename" => {
            let name = entity::name(form.get("name")).ok_or_else(bad_name)?;
            Ok(CustomerForm::Edit(EntityPatch { name: Some(name), ..EntityPatch::default() }))
        }
        "restore" => Ok(CustomerForm::Edit(EntityPatch { archived: Some(false), ..EntityPatch::default() })),
        "archive" => {
            let releases = form.get("releases").parse();
            let broken =
                |_| FieldError::missing("releases", form::SENTENCE, "The form is not whole; load the page again");
            releases.map(CustomerForm::Archive).map_err(broken)
        }
        _ => match Picked::read(form) {
            Picked::Number(number) => Ok(CustomerForm::Assign(number)),
            Picked::Part(_) => Ok(CustomerForm::Choose),
            Picked::Nothing => {
                Err(FieldError::missing("number", code::MISSING, "choose one, or type some of its digits"))
            }
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
        let asked = |q: &str| ListView { q: q.to_owned(), archived: false, page: 1 };
        assert!(asked("").finds("MA_1", "Crédit"));
        assert!(asked("CRÉD").finds("MA_1", "Crédit"));
        assert!(asked("ma_").finds("MA_1", "Crédit"));
        assert!(!asked("MA_2").finds("MA_1", "Crédit"));
    }
}
