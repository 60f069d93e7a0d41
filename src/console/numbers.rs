//! The table of numbers: every list that the filter line can express, in pages.
//!
//! Rows are written by hand, because they are most of a page; common parts are
//! rendered once.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, StatusCode};

use super::gate::{Needs, Visit, asks_for_new, query_value};
use super::line::TABS;
use super::line::{self, FilterLine, Problem, TERMS, Term};
use super::page::{Frame, PageResult, Trouble, html_as, mendable, redirect};
use super::{Console, diff, show, stock, verbs};
use crate::domain::{State as Stored, Status, Time};
use crate::inventory::{Filter, NumberRef, Order, SortKey, Window};
use crate::service::ServiceError;
use crate::wire::html::escape;

/// How many rows a page has, until its reader chooses otherwise.
const ROWS: u64 = 50;
/// The most rows of a page: so many stay below 100 kB.
const ROWS_MAX: u64 = 100;
/// The sizes that are offered.
const SIZES: [u64; 3] = [25, 50, 100];
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

fn said(base: &str, problems: &[Problem]) -> String {
    if problems.is_empty() { String::new() } else { Misunderstood { base, problems }.render().unwrap_or_default() }
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
    problems_html: String,
    notes_html: String,
    found: String,
    total: u64,
    page: u64,
    pages: u64,
    heads: Vec<Head>,
    verbs: &'a [verbs::VerbChoice],
    /// The action that the list suggests.
    suggested: &'static str,
    sizes: [(u64, bool); SIZES.len()],
    rows: String,
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
pub async fn list(
    State(console): State<Arc<Console>>,
    Path(partner): Path<String>,
    request: Request<Body>,
) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    if asks_for_new(&request) {
        return stock::form(&visit, request.uri().query().unwrap_or_default());
    }
    let query = request.uri().query().unwrap_or_default();
    let (mut q, mut page, mut chosen, mut filters) = (String::new(), 1, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "q" => q = value.trim().to_owned(),
            "page" => page = value.parse().unwrap_or(1).max(1),
            "per_page" => chosen = value.parse().ok().map(|rows: u64| rows.clamp(1, ROWS_MAX)),
            // The filters of the API: the line says what it knows of them.
            name if !value.trim().is_empty() => filters.extend(line::of_parameter(name, value.trim())),
            _ => {}
        }
    }
    for filter in filters {
        q = format!("{q} {filter}").trim().to_owned();
    }
    let frame = visit.frame("Numbers", "numbers").with(diff::notice(&visit, query));
    let kept = PagePart::of(page, request.headers());
    let part = PagePart { rows: chosen.unwrap_or(kept.rows), ..kept };
    let mut answer = shown(visit, &q, part, frame, StatusCode::OK).await?;
    if let Some(rows) = chosen {
        let cookie = format!("{ROWS_COOKIE}={rows}; Path=/console; Max-Age=31536000; HttpOnly; SameSite=Lax");
        let cookie = HeaderValue::try_from(cookie).map_err(|error| Trouble::Internal(error.to_string()))?;
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// The page of a filter line.
pub async fn shown(visit: Visit, q: &str, part: PagePart, frame: Frame, status: StatusCode) -> PageResult {
    let PagePart { page, rows } = part;
    let now = visit.clock.now;
    let line = FilterLine::read(q, &visit.snapshot, &visit.clock);
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
        saves: !q.is_empty()
            && line.problems.is_empty()
            && !views.iter().any(|view| view.current)
            && !TABS.iter().any(|(_, text)| unsorted(text) == unsorted(q)),
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
        suggested: suggested(&line.filter),
        sizes: SIZES.map(|size| (size, size == rows)),
        rows: String::new(),
    };
    if !shown.problems.is_empty() {
        return html_as(status, &shown);
    }
    let skip = (page - 1).saturating_mul(rows);
    let window = Window::Page { skip, rows: rows as usize };
    let found = visit.snapshot.select(&line.filter, line.order, window, now);
    shown.total = found.total;
    shown.pages = found.total.div_ceil(rows);
    shown.found = show::count(found.total, "number", "numbers");
    let mut writer = Writer::new(&visit, shown.frame.manages);
    for row in &found.rows {
        writer.row(*row);
    }
    shown.rows = writer.out;
    html_as(status, &shown)
}

/// POST /console/p/{partner}/numbers/views/{verb}: save, or remove.
pub async fn views(
    State(console): State<Arc<Console>>,
    Path((partner, verb)): Path<(String, String)>,
    request: Request<Body>,
) -> PageResult {
    let part = PagePart::of(1, request.headers());
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let (name, line) = (form.get("name").to_owned(), form.get("q").to_owned());
    let done = match &*verb {
        "save" if FilterLine::read(&line, &visit.snapshot, &visit.clock).problems.is_empty() => {
            visit.act("view.save", move |service, key| service.view_save(key, &name, &line)).await
        }
        "save" => Err(ServiceError::Refused("a part of the filter is not understood, so it cannot be saved".into())),
        "remove" => visit.act("view.remove", move |service, key| service.view_remove(key, &name)).await,
        _ => return Err(Trouble::NotFound),
    };
    match done {
        Ok(()) => redirect(&format!("{}/numbers?q={}", visit.base, query_value(form.get("q")))),
        Err(error) => {
            let frame = visit.frame("Numbers", "numbers").failed(mendable(error)?);
            shown(visit, form.get("q"), part, frame, StatusCode::UNPROCESSABLE_ENTITY).await
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

/// Writes rows.
pub struct Writer<'v> {
    visit: &'v Visit,
    pick: bool,
    pub out: String,
    /// Cells that many rows have alike, by what they are made of.
    links: HashMap<(&'static str, *const u8), String>,
    days: HashMap<Time, String>,
}

impl<'v> Writer<'v> {
    pub fn new(visit: &'v Visit, pick: bool) -> Writer<'v> {
        let (links, days) = Default::default();
        Writer { visit, pick, out: String::with_capacity(40_000), links, days }
    }

    pub fn row(&mut self, row: NumberRef<'_>) {
        let number = row.number();
        let mut buffer = [0; 16];
        let plain = number.text(&mut buffer);
        let readable = self.visit.console.spaces.readable(number);
        self.out.push_str("<tr>");
        if self.pick {
            for part in [
                "<td class=\"pick\"><input type=\"checkbox\" name=\"n\" value=\"",
                plain,
                "\" aria-label=\"",
                &readable,
                "\">",
            ] {
                self.out.push_str(part);
            }
        }
        for part in [
            "<th scope=\"row\"><a href=\"",
            &self.visit.base,
            "/numbers/",
            plain,
            "\" data-copy=\"",
            plain,
            "\">",
            &readable,
            "</a><td>",
        ] {
            self.out.push_str(part);
        }
        self.out.push_str(mark(row));
        self.out.push_str("<td>");
        let account = row.account().or_else(|| row.reserved_for());
        self.link("customers", account.map(|one| (one.auth_id.as_str(), &*one.name)));
        self.out.push_str("<td>");
        self.link("applications", row.application().map(|one| (one.id.as_str(), &*one.name)));
        self.out.push_str("<td>");
        self.link("trunks", row.trunk().map(|one| (one.id.as_str(), &*one.name)));
        self.out.push_str("<td>");
        self.place(row);
        self.out.push_str("<td class=\"number\">");
        match row.cost() {
            Some(cost) => self.out.push_str(&show::money(cost)),
            None => self.out.push_str(show::NONE),
        }
        self.out.push_str("<td>");
        match row.until().or(row.expires_at()) {
            Some(time) => {
                let clock = &self.visit.clock;
                let day = self.days.entry(time).or_insert_with(|| clock.day(time));
                self.out.push_str(day);
            }
            None if row.account().is_some() => {
                for part in ["<span class=\"none\">", show::AUTO_RENEWS, "</span>"] {
                    self.out.push_str(part);
                }
            }
            None => self.out.push_str(show::NONE),
        }
        self.out.push('\n');
    }

    fn link(&mut self, kind: &'static str, to: Option<(&str, &str)>) {
        let Some((id, name)) = to else { return self.out.push_str(show::NONE) };
        // One snapshot, so what is at one address is one name.
        let html = self.links.entry((kind, id.as_ptr())).or_insert_with(|| {
            let href = self.visit.href(kind, id);
            format!("<a href=\"{href}\" title=\"{}\">{}</a>", escape(id), escape(name))
        });
        self.out.push_str(html);
    }

    fn place(&mut self, row: NumberRef<'_>) {
        if let Some(region) = row.region() {
            self.out.push_str(&escape(region));
            self.out.push_str(", ");
        }
        let country = row.country();
        self.out.push_str(country.as_ref().map_or("", |country| country.code()));
        self.out.push_str(" <small>");
        self.out.push_str(row.number_type().as_str());
        self.out.push_str("</small>");
    }
}

/// The state of a number, as a mark that does not hang on its colour.
pub fn mark(row: NumberRef<'_>) -> &'static str {
    match (row.state(), row.status()) {
        (Stored::Active, Status::Active) if row.application().is_none() => {
            "<span class=\"mark critical\">active, unrouted</span>"
        }
        (Stored::Active, Status::Active) => "<span class=\"mark good\">active</span>",
        (Stored::Active, Status::Suspended) => "<span class=\"mark critical\">expired</span>",
        (Stored::Suspended, _) => "<span class=\"mark warning\">suspended</span>",
        (Stored::Available, _) => "<span class=\"mark plain\">available</span>",
        (Stored::Reserved, _) => "<span class=\"mark info\">reserved</span>",
        (Stored::Quarantined, _) => "<span class=\"mark info\">quarantined</span>",
        (Stored::Retired, _) => "<span class=\"mark plain\">retired</span>",
    }
}
