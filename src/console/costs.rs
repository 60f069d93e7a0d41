//! The costs of a month: by customer and currency, as a file, and as an invoice to
//! print.
//!
//! Bills are computed from the log, in one queue with those of the API.
//! Invariants: an amount has its currency, and amounts of different currencies are
//! never added; a figure links to the lines that it sums.
//! Deliberately absent: calls. They are no part of the inventory; the command
//! `rollcall invoice` reads their records beside it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::chooser;
use super::gate::{Visit, query_value};
use super::page::{Frame, PageResult, Trouble, guard, html_as};
use super::{ConsoleState, download, show, unknown};
use crate::billing::{AccountBill, Bill, BillLine, Calendar, Day, Month, Proration};
use crate::domain::{AccountId, Currency, Sum};
use crate::http::costs;
use crate::service;
use crate::wire::costs::BillText;
use crate::wire::html::Html;
use crate::wire::paper;

/// How many customers a page has.
const ROWS: usize = 50;
/// How many lines of a customer are shown, in all currencies: so many stay below 100 kB.
/// A file has them all.
const LINES: usize = 90;
/// How many lines of an invoice are sent at a time.
const CHUNK_LINES: usize = 256;
/// Where the style of printed pages is.
pub const PAPER: &str = "/console/paper.css";

/// Which rental is looked at.
struct CostsView {
    calendar: Calendar,
    month: Month,
    account: Option<AccountId>,
    /// What was typed for a customer, and why it names none.
    misnamed: Option<(String, String)>,
    proration: Proration,
    currency: Option<Currency>,
    page: usize,
    /// What was not a month, and other words that mean nothing.
    mistyped: Option<String>,
    unknown: Option<String>,
}

impl CostsView {
    fn read(visit: &Visit, query: &str) -> Result<CostsView, Trouble> {
        let calendar = service::verbs::billing::calendar(&visit.snapshot)?;
        let month = calendar.month(visit.clock.now);
        let (account, misnamed, proration, currency, mistyped, unknown) = Default::default();
        let mut asked =
            CostsView { calendar, month, account, misnamed, proration, currency, page: 1, mistyped, unknown };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                "month" if value.is_empty() => {}
                "month" => match value.parse() {
                    Ok(month) => asked.month = month,
                    Err(_) => asked.mistyped = Some(value.chars().take(40).collect()),
                },
                "account" if value.is_empty() => {}
                "account" => match visit.snapshot.customer(value) {
                    Ok(id) => asked.account = Some(id),
                    Err(error) => asked.misnamed = Some((value.to_owned(), error.to_string())),
                },
                "proration" | "currency" if value.is_empty() => {}
                "proration" => match Proration::parse(value) {
                    Some(proration) => asked.proration = proration,
                    None => {
                        asked.unknown = Some(unknown::word(
                            "way to charge partial months",
                            value,
                            Proration::ALL.iter().map(|one| one.as_str()),
                        ))
                    }
                },
                "currency" => match value.to_ascii_uppercase().parse() {
                    Ok(currency) => asked.currency = Some(currency),
                    Err(_) => {
                        asked.unknown = Some(format!("“{}” is no currency code such as EUR", unknown::shown(value)))
                    }
                },
                "page" => asked.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        Ok(asked)
    }

    /// The same way of counting in an address, of all currencies.
    fn query(&self, month: Month, account: Option<&str>) -> String {
        let mut query = format!("month={month}");
        if let Some(account) = account {
            query.push_str("&account=");
            query.push_str(&query_value(account));
        }
        if self.proration != Proration::default() {
            query.push_str(&format!("&proration={}", self.proration));
        }
        query
    }

    /// The bill, or `None` where the month has not begun.
    async fn bill(&self, visit: &Visit) -> Result<Option<Arc<Bill>>, Trouble> {
        let now = visit.clock.now;
        if self.calendar.period(self.month).span(now).is_none() {
            return Ok(None);
        }
        let bill = costs::month(&visit.console.app, &visit.snapshot, self.month, self.proration, now).await;
        Ok(Some(bill.map_err(Trouble::Internal)??))
    }

    fn wanted(&self, bill: &Bill) -> Vec<usize> {
        let own = |place: &usize| {
            let AccountBill { account, total, .. } = &bill.groups[*place];
            self.account.as_ref().is_none_or(|id| account == id)
                && self.currency.is_none_or(|one| total.currency == one)
        };
        (0..bill.groups.len()).filter(own).collect()
    }
}

struct Total {
    amount: String,
    customers: String,
    /// The address of what it sums.
    query: String,
}

/// What customers owe in one currency, the largest amounts first.
struct InCurrency {
    code: String,
    customers: String,
    total: String,
    rows: Vec<CostsRow>,
    /// Whether rows of it are on the page before.
    continued: bool,
}

struct CostsRow {
    name: String,
    id: String,
    query: String,
    lines: String,
    amount: String,
    anchor: String,
}

struct ShownLine {
    number: String,
    plain: String,
    from: String,
    until: String,
    days: usize,
    rate: String,
    amount: String,
    expired: String,
}

/// One customer's lines in one currency.
struct Detail {
    anchor: String,
    currency: String,
    total: String,
    count: String,
    lines: Vec<ShownLine>,
    more: bool,
}

#[derive(Template)]
#[template(path = "costs.html")]
struct CostsPage {
    frame: Frame,
    month: String,
    month_name: String,
    proration: &'static str,
    rule: String,
    zone: String,
    /// Whether a word of the address means nothing, such as a customer's name.
    misnamed: bool,
    account: String,
    account_name: String,
    account_href: String,
    chooser: Html,
    previous: Option<(String, String)>,
    next: Option<(String, String)>,
    currency: String,
    /// The same without the customer; of all currencies; as it is.
    whole: String,
    every: String,
    query: String,
    this_month: String,
    future: bool,
    through: Option<String>,
    since: String,
    totals: Vec<Total>,
    currencies: Vec<InCurrency>,
    details: Vec<Detail>,
    groups: u64,
    page: usize,
    pages: usize,
}

/// GET /console/p/{partner}/costs
pub async fn page(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let asked = CostsView::read(&visit, request.uri().query().unwrap_or_default())?;
    let mut frame = visit.frame("Costs", "costs");
    let mut status = StatusCode::OK;
    if let Some(text) = &asked.mistyped {
        let said = format!("“{text}” is not a month such as 2026-02; this is {} instead", name_of(asked.month));
        (frame, status) = (frame.failed(said), StatusCode::UNPROCESSABLE_ENTITY);
    }
    if let Some(why) = asked.misnamed.as_ref().map(|(_, why)| why).or(asked.unknown.as_ref()) {
        (frame, status) = (frame.failed(why), StatusCode::UNPROCESSABLE_ENTITY);
    }
    let refused = asked.misnamed.is_some() || asked.unknown.is_some();
    let bill = if refused { None } else { asked.bill(&visit).await? };
    let groups = bill.as_ref().map_or(Vec::new(), |bill| asked.wanted(bill));
    let pages = groups.len().div_ceil(ROWS).max(1);
    let number = asked.page.min(pages);
    let current = asked.calendar.month(visit.clock.now);
    let account = asked.account.as_ref().map(AccountId::as_str);
    let known = account.and_then(|id| visit.snapshot.accounts.get(id));
    let step = |month: Month| (asked.query(month, account), name_of(month));
    let period = asked.calendar.period(asked.month);
    let draft = bill.as_ref().filter(|bill| bill.draft);
    let page = CostsPage {
        frame,
        month: asked.month.to_string(),
        month_name: name_of(asked.month),
        proration: asked.proration.as_str(),
        rule: bill.as_ref().map_or_else(String::new, |bill| paper::rule(bill)),
        zone: period.zone.to_string(),
        misnamed: refused,
        account: match &asked.misnamed {
            Some((typed, _)) => typed.clone(),
            None => account.unwrap_or_default().to_owned(),
        },
        account_name: known.map_or_else(|| account.unwrap_or_default().to_owned(), |one| one.name.to_string()),
        account_href: known.map_or(String::new(), |one| visit.href("customers", one.auth_id.as_str())),
        chooser: chooser::filter(
            &visit.snapshot,
            "account",
            account,
            asked.misnamed.as_ref().map(|(typed, _)| &**typed),
        ),
        // Nothing is older than telephones that computers keep.
        previous: (period.begins.seconds() > 0).then(|| step(asked.month.previous())),
        next: (asked.month < current).then(|| step(asked.month.next())),
        whole: asked.query(asked.month, None),
        every: asked.query(asked.month, account),
        query: format!("{}{}", asked.query(asked.month, account), of_currency(asked.currency)),
        currency: asked.currency.map_or(String::new(), |currency| currency.code().to_owned()),
        this_month: asked.query(current, account),
        future: bill.is_none() && !refused,
        through: draft.map(|bill| day(bill.through)),
        since: visit.clock.plain_day(visit.snapshot.partner.created_at),
        totals: bill.as_ref().map_or(Vec::new(), |bill| totals(&asked, bill, &groups)),
        currencies: match (&bill, account) {
            (Some(bill), None) => by_currency(&asked, bill, &groups, number),
            _ => Vec::new(),
        },
        details: match (&bill, account) {
            (Some(bill), Some(_)) => {
                let most = LINES / groups.len().max(1);
                groups.iter().map(|&place| detail(&visit, bill, place, most)).collect()
            }
            _ => Vec::new(),
        },
        groups: groups.len() as u64,
        page: number,
        pages,
    };
    html_as(status, &page)
}

/// GET /console/p/{partner}/costs.csv
pub async fn csv(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let (asked, cells) = (CostsView::read(&visit, query)?, download::cells(query));
    let bill = asked.strict(&visit).await?;
    let groups = asked.wanted(&bill);
    let mut response = Response::new(costs::body(bill, groups, BillText::Csv(cells)));
    let headers = response.headers_mut();
    guard(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"costs-{}.csv\"", asked.month);
    let name = HeaderValue::try_from(name).map_err(|error| Trouble::Internal(error.to_string()))?;
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// GET /console/p/{partner}/costs/invoice
pub async fn invoice(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let asked = CostsView::read(&visit, request.uri().query().unwrap_or_default())?;
    if asked.account.is_none() && asked.misnamed.is_none() {
        return Err(Trouble::Bad("an invoice is for one customer; choose one under Costs".into()));
    }
    // An invoice says all that its customer owes.
    let asked = CostsView { currency: None, ..asked };
    let bill = asked.strict(&visit).await?;
    let groups = asked.wanted(&bill);
    if groups.is_empty() {
        // Another partner's customer, an unknown one, and one that held nothing.
        return Err(Trouble::NotFound);
    }
    let back =
        format!("{}/costs?{}", visit.base, asked.query(asked.month, asked.account.as_ref().map(AccountId::as_str)));
    let made_on = bill.period.date(visit.clock.now);
    let text = sheet(bill, groups, visit.snapshot.partner.name.clone(), made_on, back);
    let mut response = Response::new(Body::new(Pieces(text)));
    guard(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

impl CostsView {
    /// The bill of a file, which has no place for an explanation.
    async fn strict(&self, visit: &Visit) -> Result<Arc<Bill>, Trouble> {
        if let Some(text) = &self.mistyped {
            return Err(Trouble::Bad(format!("“{text}” is not a month such as 2026-02")));
        }
        if let Some(why) = self.misnamed.as_ref().map(|(_, why)| why).or(self.unknown.as_ref()) {
            return Err(Trouble::Bad(why.clone()));
        }
        let future = || Trouble::Bad(format!("{} has not begun yet, so nothing is owed for it", name_of(self.month)));
        self.bill(visit).await?.ok_or_else(future)
    }
}

/// The line above an invoice on a screen.
#[derive(Template)]
#[template(path = "on_screen.html")]
struct OnScreen<'a> {
    back: &'a str,
}

/// An invoice, a piece at a time: it may have a million lines.
fn sheet(
    bill: Arc<Bill>,
    groups: Vec<usize>,
    partner: Arc<str>,
    made_on: Day,
    back: String,
) -> impl Iterator<Item = String> + Send + Unpin {
    let first = &bill.groups[groups[0]];
    let title = paper::name("Invoice", &bill);
    let mut head = String::new();
    let style = format!("{PAPER}?{}", crate::BUILD);
    paper::begin(
        &mut head,
        &format!("{title} - {}", first.name),
        paper::Style::At { style: &style, icon: "/console/icon.svg" },
    );
    head.push_str(Html::of(&OnScreen { back: &back }).as_str());
    paper::head(&mut head, &bill, made_on, &partner, (&first.name, first.account.as_str()));
    let totals: Vec<Vec<Sum>> = groups.iter().map(|&place| vec![bill.groups[place].total]).collect();
    paper::totals(&mut head, &["Rental"], &totals);
    paper::terms(&mut head, &bill);
    let body = groups.into_iter().flat_map(move |place| {
        let lines = bill.groups[place].lines.clone();
        let (starts, bill) = (lines.clone().step_by(CHUNK_LINES), bill.clone());
        let mut starts: Vec<usize> = starts.collect();
        // A group without lines has a heading and a total all the same.
        if starts.is_empty() {
            starts.push(lines.start);
        }
        starts.into_iter().map(move |start| {
            let mut text = String::with_capacity(CHUNK_LINES * 160);
            let group = &bill.groups[place];
            if start == lines.start {
                let currency = group.total.currency;
                paper::section_begin(&mut text, &format!("Number rental in {currency}"));
                paper::lines_begin(&mut text);
            }
            let end = lines.end.min(start + CHUNK_LINES);
            for line in &bill.lines[start..end] {
                paper::line(&mut text, line);
            }
            if end == lines.end {
                paper::lines_end(&mut text, "Total", &group.total);
                paper::section_end(&mut text);
            }
            text
        })
    });
    let mut foot = String::new();
    paper::end(&mut foot);
    Box::new(std::iter::once(head).chain(body).chain(std::iter::once(foot)))
}

/// Text as a body, made as the client reads.
struct Pieces<I>(I);

impl<I: Iterator<Item = String> + Send + Unpin> http_body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.next().map(|text| Ok(http_body::Frame::data(text.into()))))
    }
}

/// GET /console/paper.css
pub fn style() -> &'static str {
    paper::STYLE
}

/// `February 2026`.
pub fn name_of(month: Month) -> String {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let text = month.to_string();
    let name = text[5..].parse::<usize>().ok().and_then(|month| NAMES.get(month.wrapping_sub(1)));
    format!("{} {}", name.unwrap_or(&"?"), &text[..4])
}

/// `23 Nov 2026`: days of a bill are those of its zone, not of the reader's.
fn day(day: Day) -> String {
    show::plain_day(&day.to_string())
}

fn of_currency(currency: Option<Currency>) -> String {
    currency.map_or(String::new(), |currency| format!("&currency={}", currency.code()))
}

fn totals(asked: &CostsView, bill: &Bill, groups: &[usize]) -> Vec<Total> {
    let own = || groups.iter().map(|&place| &bill.groups[place]);
    let total = |sum: Sum| {
        let customers = own().filter(|group| group.total.currency == sum.currency).count() as u64;
        Total {
            amount: show::sum(sum),
            customers: show::count(customers, "customer", "customers"),
            query: format!(
                "{}{}",
                asked.query(asked.month, asked.account.as_ref().map(AccountId::as_str)),
                of_currency(Some(sum.currency))
            ),
        }
    };
    Bill::totals(own()).into_iter().map(total).collect()
}

/// A page of what customers owe, by currency: amounts of different currencies
/// are never compared.
fn by_currency(asked: &CostsView, bill: &Bill, groups: &[usize], page: usize) -> Vec<InCurrency> {
    let group = |place: usize| &bill.groups[place];
    let mut order = groups.to_vec();
    order.sort_by_key(|&place| (group(place).total.currency, std::cmp::Reverse(group(place).total.minor)));
    let start = (page - 1) * ROWS;
    let window = &order[start..order.len().min(start + ROWS)];
    let currency = |place: usize| group(place).total.currency;
    let shown = |rows: &[usize]| {
        let code = currency(rows[0]);
        let own = || groups.iter().filter(|&&place| currency(place) == code).map(|&place| group(place));
        InCurrency {
            code: code.code().to_owned(),
            customers: show::count(own().count() as u64, "customer", "customers"),
            total: Bill::totals(own()).first().map_or_else(String::new, |&sum| show::sum(sum)),
            rows: rows.iter().map(|&place| row(asked, group(place))).collect(),
            continued: start > 0 && rows[0] == window[0] && currency(order[start - 1]) == code,
        }
    };
    window.chunk_by(|&a, &b| currency(a) == currency(b)).map(shown).collect()
}

fn row(asked: &CostsView, group: &AccountBill) -> CostsRow {
    CostsRow {
        name: group.name.to_string(),
        id: group.account.to_string(),
        query: asked.query(asked.month, Some(group.account.as_str())),
        lines: show::thousands(group.lines.len() as u64),
        amount: show::sum(group.total),
        anchor: format!("in-{}", group.total.currency.code()),
    }
}

/// A group of a customer, with the first of its lines.
fn detail(visit: &Visit, bill: &Bill, place: usize, most: usize) -> Detail {
    let group = &bill.groups[place];
    let shown = |line: &BillLine| ShownLine {
        number: visit.console.spaces.readable(line.number),
        plain: line.number.to_string(),
        from: day(line.from),
        until: day(line.until),
        days: line.days,
        rate: show::money(line.rate),
        amount: show::money(line.amount),
        expired: line.expired_on.map_or_else(String::new, |on| format!("charged after it expired on {}", day(on))),
    };
    Detail {
        anchor: format!("in-{}", group.total.currency.code()),
        currency: group.total.currency.code().to_owned(),
        total: show::sum(group.total),
        count: show::count(group.lines.len() as u64, "line", "lines"),
        lines: bill.lines[group.lines.clone()].iter().take(most).map(shown).collect(),
        more: group.lines.len() > most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::Ledger;
    use crate::domain::{E164, Money, NumberType, Record, State, Time};

    fn bill(count: u64, now: Time) -> Arc<Bill> {
        let at: Time = "2026-03-01T00:00:00Z".parse().expect("a time");
        let month: Month = "2026-03".parse().expect("a month");
        let calendar = Calendar::default();
        let mut ledger = Ledger::new(&calendar, calendar.period(month).whole());
        let record = Record {
            account: Some("MA_<1>".parse().expect("an id")),
            cost: Some(Money { minor: 1_250, currency: "KWD".parse().expect("a currency") }),
            assigned_at: Some(at),
            ..Record::bare(State::Active, NumberType::Local, at)
        };
        ledger.numbers(at, E164::new(442_079_460_000).expect("a number"), count, Some(&record));
        Arc::new(Bill::of(&calendar, month, Proration::Full, &ledger.finish(), now))
    }

    fn sheet_of(bill: Arc<Bill>) -> String {
        let made_on = bill.period.date("2026-11-29T12:00:00Z".parse().expect("a time"));
        sheet(bill, vec![0], "Partner & Sons".into(), made_on, "/x?a=1&b=2".into()).collect()
    }

    #[test]
    fn an_invoice_says_what_it_is_before_its_lines() {
        let at = |text: &str| text.parse().expect("a time");
        let last = sheet_of(bill(2, at("2026-04-01T00:00:00Z")));
        assert!(last.contains("<h1>Invoice 2026-03</h1>") && !last.contains("raft"), "{last}");
        let draft = sheet_of(bill(2, at("2026-03-31T23:59:59Z")));
        assert!(draft.contains("<h1>Draft invoice 2026-03</h1>") && draft.contains("<title>Draft invoice"), "{draft}");
        for part in ["2026-03 has not ended", "Date: 2026-11-29 (UTC)", "Period: 2026-03-01 to 2026-03-31, days of UTC"]
        {
            assert!(draft.contains(part), "{part} in {draft}");
        }
        let (total, line) = (draft.find("<strong>2.500 KWD</strong>"), draft.find("+442079460000"));
        assert!(total.expect("a total") < line.expect("a line"), "{draft}");
    }

    #[test]
    fn an_invoice_has_every_line_once_and_its_total() {
        for count in [1, CHUNK_LINES as u64, CHUNK_LINES as u64 + 1, 1_000] {
            let bill = bill(count, "2026-04-01T00:00:00Z".parse().expect("a time"));
            let text = sheet_of(bill);
            assert_eq!(text.matches("<tr><td>+").count() as u64, count);
            assert_eq!(text.matches("<table").count(), 2);
            let total = format!("{}.{:03} KWD", show::thousands(count * 1_250 / 1_000), count * 1_250 % 1_000);
            assert!(text.contains(&total), "{total}");
            assert!(text.contains("Partner &amp; Sons") && text.contains("MA_&lt;1&gt;") && !text.contains("MA_<1>"));
            assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("<script"));
            assert!(text.ends_with("</html>\n"));
        }
    }

    #[test]
    fn months_have_names() {
        assert_eq!(name_of("2026-02".parse().expect("a month")), "February 2026");
        assert_eq!(name_of("1999-12".parse().expect("a month")), "December 1999");
    }
}
