//! The table of numbers: every list that the filter line can express, in pages.

use std::collections::HashMap;
use std::hash::Hash;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::address::ROWS_MAX;
use super::gate::{Needs, Visit, asks_for_new, query_value};
use super::line::{self, AddressLine, FilterLine, Problem, TABS, TERMS, Term};
use super::page::{Frame, PageResult, Trouble, html_as, mendable, redirect};
use super::{ConsoleState, ItemPath, diff, pieces, show, stock, verbs};
use crate::domain::{State as Stored, Status};
use crate::inventory::{Filter, NumberRef, Order, SortKey, Window};
use crate::service::ServiceError;
use crate::wire;
use crate::wire::html::Html;

/// How many rows a page has, until its reader chooses otherwise.
const ROWS: u64 = 50;
/// The sizes that are offered.
const SIZES: [u64; 3] = [25, 50, 100];
/// What a row takes, about: a page of rows is then written without being moved.
const ROW_BYTES: usize = 800;
/// The cookie that keeps a reader's choice.
const ROWS_COOKIE: &str = "rollcall-rows";

struct NumberTab {
    name: &'static str,
    count: String,
    query: String,
    current: bool,
}

struct View {
    name: String,
    query: String,
    current: bool,
}

struct Head {
    name: &'static str,
    /// The line that sorts by this column; empty where nothing does.
    query: String,
    sorted: &'static str,
    number: bool,
}

/// The terms of a line that are not understood, with suggestions.
#[derive(Template)]
#[template(path = "problems.html")]
struct Misunderstood<'a> {
    base: &'a str,
    problems: &'a [Problem],
}

fn said(base: &str, problems: &[Problem]) -> Html {
    if problems.is_empty() { Html::default() } else { Html::of(&Misunderstood { base, problems }) }
}

#[derive(Template)]
#[template(path = "numbers.html")]
struct Numbers<'a> {
    frame: Frame,
    tabs: Vec<NumberTab>,
    views: Vec<View>,
    /// Whether the line is one that no view has.
    saves: bool,
    /// The filter line as it is typed, and as it stands in an address.
    q: &'a str,
    query: String,
    terms: &'a [Term],
    problems: Vec<Problem>,
    problems_html: Html,
    notes_html: Html,
    found: String,
    total: u64,
    page: u64,
    pages: u64,
    heads: Vec<Head>,
    verbs: &'a [verbs::VerbChoice],
    /// The action that the list suggests.
    suggested: &'static str,
    sizes: [(u64, bool); SIZES.len()],
    rows: Html,
    view: RefusedView,
}

impl Numbers<'_> {
    fn suggests(&self, verb: &verbs::VerbChoice) -> bool {
        verb.name == self.suggested
    }
}

/// Which part of a list is looked at.
#[derive(Clone, Copy)]
pub struct PagePart {
    /// From 1.
    pub page: u64,
    pub rows: u64,
}

impl Default for PagePart {
    fn default() -> PagePart {
        PagePart { page: 1, rows: ROWS }
    }
}

impl PagePart {
    /// A page of as many rows as the reader chose before.
    pub fn of(page: u64, headers: &HeaderMap) -> PagePart {
        let rows = kept_rows(headers).unwrap_or(ROWS);
        PagePart { page, rows }
    }
}

/// The rows that a reader's browser keeps.
fn kept_rows(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, rows) = pairs.find(|(name, _)| *name == ROWS_COOKIE)?;
    rows.parse().ok().map(|rows: u64| rows.clamp(1, ROWS_MAX))
}

/// GET /console/p/{partner}/numbers, and ?new for the form
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    if asks_for_new(&request) {
        return stock::form(&visit, request.uri().query().unwrap_or_default());
    }
    let query = request.uri().query().unwrap_or_default();
    let AddressLine { q, problems } = line::of_address(query);
    let whole = |name| wire::parameter(query, name).and_then(|value| value.trim().parse::<u64>().ok());
    let (page, chosen) = (whole("page").unwrap_or(1), whole("per_page"));
    let frame = visit.frame("Numbers", "numbers").with(diff::notice(&visit, query));
    let kept = PagePart::of(page, request.headers());
    let part = PagePart { rows: chosen.unwrap_or(kept.rows), ..kept };
    let list = NumberList { problems, ..NumberList::of(&q, part) };
    let mut answer = show(visit, list, frame, StatusCode::OK).await?;
    if let Some(rows) = chosen {
        let cookie = format!("{ROWS_COOKIE}={rows}; Path=/console; Max-Age=31536000; HttpOnly; SameSite=Lax");
        let cookie = HeaderValue::try_from(cookie).map_err(|error| Trouble::Internal(error.to_string()))?;
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// A list of numbers, as an address or a form asks for it.
#[derive(Default)]
pub struct NumberList<'a> {
    /// The filter line.
    q: &'a str,
    part: PagePart,
    /// What is wrong besides the line; with any, there are no rows.
    problems: Vec<Problem>,
    /// The view that could not be saved, and whether it would replace another.
    view: RefusedView,
    /// The action that was chosen where nothing was selected.
    verb: &'a str,
}

/// A view that could not be saved.
#[derive(Default)]
struct RefusedView {
    name: String,
    /// Whether there is another one of the name, which may be replaced.
    exists: bool,
}

impl<'a> NumberList<'a> {
    pub fn of(q: &'a str, part: PagePart) -> NumberList<'a> {
        NumberList { q, part, ..NumberList::default() }
    }

    pub fn choosing(self, verb: &'a str) -> NumberList<'a> {
        NumberList { verb, ..self }
    }
}

/// The page of a list.
pub async fn show(visit: Visit, list: NumberList<'_>, frame: Frame, status: StatusCode) -> PageResult {
    let NumberList { q, part: PagePart { page, rows }, problems, view, verb } = list;
    let now = visit.clock.now;
    let mut line = FilterLine::read(q, &visit.snapshot, &visit.clock);
    line.problems.splice(0..0, problems);
    let (kept, snapshot) = (visit.console.clone(), visit.snapshot.clone());
    // A whole inventory is looked over where nothing is kept of it. Views are
    // a convenience: without the database, the page is shown without them.
    let look = move || (kept.tally(&snapshot, now), kept.app.service.views(snapshot.key).unwrap_or_default());
    let (tally, views) = super::sign_in::blocking(look).await?;
    let views: Vec<View> = views
        .into_iter()
        .map(|view| View { query: query_value(&view.line), current: view.line == q, name: view.name })
        .collect();
    let tabs = TABS.iter().zip(tally.tabs).map(|(&(name, text), count)| NumberTab {
        name,
        count: show::thousands(count),
        query: query_value(text),
        current: unsorted(text) == unsorted(q),
    });
    let mut shown = Numbers {
        frame,
        tabs: tabs.collect(),
        // A form that was refused stays.
        saves: !view.name.is_empty()
            || (!q.is_empty()
                && line.problems.is_empty()
                && !views.iter().any(|view| view.current)
                && !TABS.iter().any(|(_, text)| unsorted(text) == unsorted(q))),
        views,
        query: query_value(q),
        q,
        terms: TERMS,
        problems_html: said(&visit.base, &line.problems),
        notes_html: said(&visit.base, &line.notes),
        problems: line.problems,
        found: String::new(),
        total: 0,
        page,
        pages: 0,
        heads: heads(q, line.order),
        verbs: verbs::ALL,
        suggested: verbs::find(verb).map_or_else(|| suggested(&line.filter), |verb| verb.name),
        view,
        sizes: SIZES.map(|size| (size, size == rows)),
        rows: Html::default(),
    };
    if !shown.problems.is_empty() {
        return html_as(status, &shown);
    }
    let select = |page: u64| {
        let window = Window::Page { skip: (page - 1).saturating_mul(rows), rows: rows as usize };
        visit.snapshot.select(&line.filter, line.order, window, now)
    };
    let mut found = select(page);
    shown.total = found.total;
    shown.pages = found.total.div_ceil(rows);
    // Beyond the last page, the last one is shown, as in every list.
    shown.page = page.min(shown.pages.max(1));
    if shown.page != page {
        found = select(shown.page);
    }
    shown.found = show::count(found.total, "number", "numbers");
    shown.rows = self::rows(&visit, &found.rows, shown.frame.manages);
    html_as(status, &shown)
}

/// POST /console/p/{partner}/numbers/views/{verb}: save, or remove.
pub async fn views(State(console): ConsoleState, Path((partner, verb)): ItemPath, request: Request) -> PageResult {
    let part = PagePart::of(1, request.headers());
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let (name, line, replace) = (form.get("name").to_owned(), form.get("q").to_owned(), form.has("replace"));
    let own = TABS.iter().find(|(tab, _)| tab.to_lowercase() == name.to_lowercase());
    let done = match &*verb {
        "save" if let Some((tab, _)) = own => {
            Err(ServiceError::Refused(format!("{tab} is a tab that everybody has; give the view another name")))
        }
        "save" if FilterLine::read(&line, &visit.snapshot, &visit.clock).problems.is_empty() => {
            visit.act("view.save", move |service, key| service.view_save(key, &name, &line, replace)).await
        }
        "save" => Err(ServiceError::Refused("a part of the filter is not understood, so it cannot be saved".into())),
        "remove" => visit.act("view.remove", move |service, key| service.view_remove(key, &name)).await,
        _ => return Err(Trouble::NotFound),
    };
    match done {
        Ok(()) => redirect(&format!("{}/numbers?q={}", visit.base, query_value(form.get("q")))),
        Err(error) => {
            let exists = matches!(error, ServiceError::Exists { .. });
            let text = match error {
                ServiceError::Exists { id, .. } => {
                    format!("There is a view {id} already. Replace it for all users, or give this one another name.")
                }
                error => mendable(error)?,
            };
            let frame = visit.frame("Numbers", "numbers").failed(text);
            let view = RefusedView { name: form.get("name").to_owned(), exists };
            let list = NumberList { view, ..NumberList::of(form.get("q"), part) };
            show(visit, list, frame, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

/// A line without its order.
fn unsorted(q: &str) -> String {
    line::with(q, "sort", "")
}

/// The action that people come to a list for.
fn suggested(filter: &Filter) -> &'static str {
    let only = |state: Stored| Stored::ALL.iter().all(|&one| filter.state.contains(one) == (one == state));
    match filter {
        Filter { expires_before: Some(_), .. } => "renew",
        Filter { routed: Some(false), .. } => "route",
        _ if only(Stored::Suspended) => "resume",
        _ if only(Stored::Reserved) => "unreserve",
        _ => "assign",
    }
}

fn heads(q: &str, order: Order) -> Vec<Head> {
    let head = |name, sort: &str, key: Option<SortKey>, number| {
        let current = key == Some(order.key);
        // The first click sorts up, the next one down.
        let next = if current && !order.descending { format!("-{sort}") } else { sort.to_owned() };
        let sorted = match (current, order.descending) {
            (true, false) => "ascending",
            (true, true) => "descending",
            (false, _) => "",
        };
        let query = if key.is_some() { query_value(&line::with(q, "sort", &next)) } else { String::new() };
        Head { name, query, sorted, number }
    };
    vec![
        head("Number", "number", Some(SortKey::Number), false),
        head("State", "state", Some(SortKey::State), false),
        head("Customer", "customer", Some(SortKey::Customer), false),
        head("Application", "application", Some(SortKey::Application), false),
        head("Trunk", "", None, false),
        head("Region", "", None, false),
        head("Monthly cost", "cost", Some(SortKey::MonthlyCost), true),
        head("Expires", "expires", Some(SortKey::ExpiresAt), false),
    ]
}

/// A number in a list.
#[derive(Template)]
#[template(path = "number_row.html")]
struct NumberListRow<'a> {
    base: &'a str,
    /// Whether it can be selected.
    pick: bool,
    number: &'a str,
    readable: &'a str,
    mark: &'a Html,
    customer: &'a Html,
    application: &'a Html,
    trunk: &'a Html,
    place: &'a Html,
    cost: &'a Html,
    ends: &'a Html,
}

/// The cells of a column. Many numbers of a page say the same in one, and it is rendered once.
struct Cells<K>(HashMap<K, Html>);

impl<K: Eq + Hash> Cells<K> {
    fn new() -> Cells<K> {
        Cells(HashMap::new())
    }

    fn cell(&mut self, key: K, render: impl FnOnce() -> Html) -> &Html {
        self.0.entry(key).or_insert_with(render)
    }
}

/// Cells that name something, by its id.
impl<'a> Cells<Option<&'a str>> {
    fn link(&mut self, visit: &Visit, kind: &str, to: Option<(&'a str, &str)>) -> &Html {
        self.cell(to.map(|(id, _)| id), || {
            to.map_or_else(pieces::none, |(id, name)| pieces::titled_link(&visit.href(kind, id), id, name))
        })
    }
}

/// The rows of a list of numbers. With `pick`, they can be selected.
pub fn rows(visit: &Visit, rows: &[NumberRef<'_>], pick: bool) -> Html {
    let (mut marks, mut costs, mut places, mut ends) = (Cells::new(), Cells::new(), Cells::new(), Cells::new());
    let (mut customers, mut applications, mut trunks) = (Cells::new(), Cells::new(), Cells::new());
    let mut html = Html::with_capacity(rows.len() * ROW_BYTES);
    for row in rows {
        let account = row.account().or_else(|| row.reserved_for()).map(|one| (one.auth_id.as_str(), &*one.name));
        let application = row.application().map(|one| (one.id.as_str(), &*one.name));
        let trunk = row.trunk().map(|one| (one.id.as_str(), &*one.name));
        let (region, country, kind) = (row.region(), row.country(), row.number_type());
        let (until, renews) = (row.until().or(row.expires_at()), row.account().is_some());
        let (class, text) = mark_of(*row);
        html.push_template(&NumberListRow {
            base: &visit.base,
            pick,
            number: &row.number().to_string(),
            readable: &visit.console.spaces.readable(row.number()),
            mark: marks.cell(text, || pieces::mark(class, text)),
            customer: customers.link(visit, "customers", account),
            application: applications.link(visit, "applications", application),
            trunk: trunks.link(visit, "trunks", trunk),
            place: places.cell((region, country, kind), || {
                let code = country.as_ref().map_or("", |country| country.code());
                let place = region.map_or_else(|| code.to_owned(), |region| format!("{region}, {code}"));
                pieces::beside(place, kind.as_str())
            }),
            cost: costs.cell(row.cost(), || row.cost().map_or_else(pieces::none, |cost| show::money(cost).into())),
            ends: ends.cell((until, renews), || match until {
                Some(time) => visit.clock.day(time),
                None if renews => pieces::nothing(show::AUTO_RENEWS),
                None => pieces::none(),
            }),
        });
    }
    html
}

/// The state of a number, as a mark that does not hang on its colour.
pub fn mark(row: NumberRef<'_>) -> Html {
    let (class, text) = mark_of(row);
    pieces::mark(class, text)
}

/// The mark's class and its text, which no other class has.
fn mark_of(row: NumberRef<'_>) -> (&'static str, &'static str) {
    match (row.state(), row.status()) {
        (Stored::Active, Status::Active) if row.application().is_none() => ("critical", "active, unrouted"),
        (Stored::Active, Status::Active) => ("good", "active"),
        (Stored::Active, Status::Suspended) => ("critical", "expired"),
        (Stored::Suspended, _) => ("warning", "suspended"),
        (Stored::Available, _) => ("plain", "available"),
        (Stored::Reserved, _) => ("info", "reserved"),
        (Stored::Quarantined, _) => ("info", "quarantined"),
        (Stored::Retired, _) => ("plain", "retired"),
    }
}
