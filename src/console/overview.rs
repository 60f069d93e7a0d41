//! The first page: counts of numbers, urgent findings, expiries by week, and monthly
//! costs.
//!
//! Every figure links to the rows that it counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};

use super::chart::{self, Bar};
use super::gate::{Visit, query_value};
use super::line::{FilterLine, TABS, quoted};
use super::page::{Frame, PageResult, html};
use super::show::PageClock;
use super::{Console, ConsoleState, diff, show};
use crate::checks::{Check, CheckOptions};
use crate::domain::change::Digest;
use crate::domain::user::{Role, User};
use crate::domain::{Account, Currency, Sum, Time};
use crate::inventory::{Filter, Order, Snapshot, Window};
use crate::service::verbs::checks::{FindingsSummary, ReportedFinding, summary};
use crate::wire::html::Html;

const WEEKS: i64 = 13;
const WEEK_SECONDS: i64 = 7 * 86_400;
/// For how long counts are shown again: time moves them too.
const KEPT_SECONDS: i64 = 10;
/// How many findings the first page has.
const FIRST_MAX: usize = 5;
/// How many customers the first page names in each currency.
const RENTAL_MAX: usize = 5;

/// What is counted over a whole inventory.
pub struct Tally {
    version: u64,
    head: Digest,
    at: Time,
    pub tabs: [u64; TABS.len()],
    /// How many numbers end in each of the next weeks.
    weeks: [u64; WEEKS as usize],
    checks: BTreeMap<Check, u64>,
    /// Findings that somebody has acknowledged; the others are in `checks`.
    acknowledged: BTreeMap<Check, u64>,
    /// The first findings, the worst first.
    first: Vec<ReportedFinding>,
    /// Numbers and amount of each account, in the order of accounts.
    rental: Vec<BTreeMap<Currency, (u64, i128)>>,
}

impl Tally {
    pub fn of(snapshot: &Snapshot, now: Time) -> Tally {
        let total = |line: &FilterLine| {
            let none = Window::Page { skip: 0, rows: 0 };
            snapshot.select(&line.filter, Order::default(), none, now).total
        };
        let week = |at: usize| {
            let mut line = FilterLine::default();
            let begin = now.plus(at as i64 * WEEK_SECONDS);
            line.filter.expires_after = Some(begin);
            line.filter.expires_before = Some(begin.plus(WEEK_SECONDS + 1));
            line.filter.assigned = Some(true);
            total(&line)
        };
        let FindingsSummary { open, acknowledged, first } = summary(snapshot, &CheckOptions::default(), now, FIRST_MAX);
        // No tab has a day in it.
        let clock = PageClock::new(now, "UTC");
        Tally {
            version: snapshot.version,
            head: snapshot.head,
            at: now,
            tabs: TABS.map(|(_, text)| total(&FilterLine::read(text, snapshot, &clock))),
            weeks: std::array::from_fn(week),
            checks: open,
            acknowledged,
            first,
            rental: snapshot.rental(),
        }
    }

    pub fn findings(&self) -> u64 {
        self.checks.values().sum()
    }

    pub fn is_of(&self, snapshot: &Snapshot, now: Time) -> bool {
        (self.version, self.head) == (snapshot.version, snapshot.head)
            && (0..KEPT_SECONDS).contains(&(now.seconds() - self.at.seconds()))
    }
}

struct Tile {
    name: &'static str,
    count: String,
    query: String,
}

struct Attention {
    id: &'static str,
    name: String,
    severity: &'static str,
    count: String,
    /// How many more are acknowledged, where any are.
    acknowledged: Option<String>,
    meaning: &'static str,
    action: &'static str,
}

/// One finding, to be dealt with or set aside.
struct First {
    id: String,
    name: String,
    severity: &'static str,
    about: String,
    href: String,
}

struct Week {
    name: Html,
    count: String,
    query: String,
}

/// What customers owe in one currency: those that cost most, and all of them.
struct OfCurrency {
    code: String,
    rents: Vec<Rent>,
    /// How many customers are not named.
    more: usize,
    numbers: String,
    amount: String,
}

struct Rent {
    name: String,
    href: String,
    query: String,
    numbers: String,
    amount: String,
}

struct ShownTotals {
    all: u64,
}

struct FirstStep {
    name: &'static str,
    /// Below the partner's pages.
    href: &'static str,
    done: bool,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    tally: ShownTotals,
    /// What an owner has yet to do; empty once all of it is done.
    steps: Vec<FirstStep>,
    figures: Vec<Tile>,
    attention: Vec<Attention>,
    first: Vec<First>,
    chart: Html,
    weeks: Vec<Week>,
    rental: Vec<OfCurrency>,
}

/// GET /console/p/{partner}
pub async fn page(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let now = visit.clock.now;
    let (kept, snapshot) = (console.clone(), visit.snapshot.clone());
    let by = visit.user().clone();
    let look = move || (kept.tally(&snapshot, now), first_steps(&kept, &snapshot, &by, now));
    let (tally, steps) = super::sign_in::blocking(look).await?;
    let notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    let figures = TABS.iter().zip(tally.tabs).map(|(&(name, line), count)| Tile {
        name,
        count: show::thousands(count),
        query: query_value(line),
    });
    let weeks: Vec<Week> = (0..WEEKS).zip(tally.weeks).map(|(at, count)| week(&visit, at, count)).collect();
    html(&Overview {
        frame: visit.frame("Overview", "overview").with(notice),
        tally: ShownTotals { all: tally.tabs[0] },
        steps,
        figures: figures.collect(),
        attention: tally
            .checks
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(&check, &count)| attention(check, count, tally.acknowledged.get(&check).copied()))
            .collect(),
        first: tally.first.iter().map(|seen| first(&visit, seen)).collect(),
        chart: chart(&visit, &tally.weeks),
        weeks,
        rental: rental(&visit, &tally),
    })
}

/// What an owner of a new partner does first. What cannot be read is taken as
/// done: the list is a help, and no page fails for it.
fn first_steps(console: &Console, snapshot: &Snapshot, user: &Arc<User>, now: Time) -> Vec<FirstStep> {
    if user.role != Role::Owner {
        return Vec::new();
    }
    let any =
        |filter: Filter| snapshot.select(&filter, Order::default(), Window::Page { skip: 0, rows: 0 }, now).total > 0;
    let users = console.app.people.users(user, Some(snapshot.key));
    let alerts = console.app.service.schedules(snapshot.key, now);
    let steps = [
        ("Import your numbers", "import", any(Filter::default())),
        ("Route a number to an application", "applications", any(Filter { routed: Some(true), ..Filter::default() })),
        ("Invite a user", "users#new", users.map_or(true, |users| users.len() > 1)),
        ("Set up alerts by email", "checks/schedules?new", alerts.map_or(true, |alerts| !alerts.is_empty())),
    ];
    if steps.iter().all(|(_, _, done)| *done) {
        return Vec::new();
    }
    steps.into_iter().map(|(name, href, done)| FirstStep { name, href, done }).collect()
}

fn first(visit: &Visit, seen: &ReportedFinding) -> First {
    let finding = &seen.finding;
    let account = finding.account.as_ref();
    let customer = account.and_then(|id| visit.snapshot.accounts.get(id.as_str())).map(|one| one.name.to_string());
    let (about, href) = match finding.number {
        Some(number) => (visit.console.spaces.readable(number), format!("{}/numbers/{number}", visit.base)),
        None => {
            let href = account.map_or(String::new(), |id| visit.href("customers", id.as_str()));
            (customer.unwrap_or_default(), href)
        }
    };
    let (name, severity) = (show::check_name(finding.check), finding.check.severity().as_str());
    First { id: seen.id.clone(), name, severity, about, href }
}

fn attention(check: Check, count: u64, acknowledged: Option<u64>) -> Attention {
    Attention {
        id: check.as_str(),
        name: show::check_name(check),
        severity: check.severity().as_str(),
        count: show::thousands(count),
        acknowledged: acknowledged.filter(|count| *count > 0).map(show::thousands),
        meaning: check.meaning(),
        action: check.action(),
    }
}

/// A week from `at` weeks ahead, and the line that finds the same numbers.
fn week(visit: &Visit, at: i64, count: u64) -> Week {
    let begin = visit.clock.now.plus(at * WEEK_SECONDS);
    let line = match at {
        0 => "has:account expires:<7d".to_owned(),
        _ => format!("has:account expires:>{}d expires:<{}d", at * 7, (at + 1) * 7),
    };
    Week { name: visit.clock.day(begin), count: show::thousands(count), query: query_value(&line) }
}

/// Bars, one a week. The table beside it says the same in figures.
fn chart(visit: &Visit, weeks: &[u64]) -> Html {
    let bar = |(at, &count): (usize, &u64)| {
        let day = visit.clock.plain_day(visit.clock.now.plus(at as i64 * WEEK_SECONDS));
        let name = day.rsplit_once(' ').map_or("", |(day, _)| day).to_owned();
        Bar { name, value: count, text: show::thousands(count) }
    };
    let bars: Vec<Bar> = weeks.iter().enumerate().map(bar).collect();
    let title = format!("Numbers that end in each of the next {} weeks", weeks.len());
    let highest = weeks.iter().copied().max().unwrap_or_default();
    let about = format!(
        "{} in all; the highest week has {}.",
        show::count(weeks.iter().sum(), "number ends", "numbers end"),
        show::thousands(highest)
    );
    chart::bars("chart", &title, &about, bars)
}

/// The customers that cost most in each currency, and the sum of all of them.
fn rental(visit: &Visit, tally: &Tally) -> Vec<OfCurrency> {
    let mut currencies: BTreeMap<Currency, Vec<(&Account, u64, i128)>> = BTreeMap::new();
    for (account, sums) in visit.snapshot.accounts.iter().zip(&tally.rental) {
        for (&currency, &(numbers, minor)) in sums {
            currencies.entry(currency).or_default().push((account, numbers, minor));
        }
    }
    let of_currency = |(currency, mut rows): (Currency, Vec<(&Account, u64, i128)>)| {
        rows.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.auth_id.cmp(&b.0.auth_id)));
        let money = |minor| show::sum(Sum { minor, currency });
        let sum = rows.iter().map(|row| row.2).sum();
        let rent = |&(account, numbers, minor): &(&Account, u64, i128)| Rent {
            name: account.name.to_string(),
            href: visit.href("customers", account.auth_id.as_str()),
            query: query_value(&format!("account:{}", quoted(account.auth_id.as_str()))),
            numbers: show::thousands(numbers),
            amount: money(minor),
        };
        OfCurrency {
            code: currency.code().to_owned(),
            more: rows.len().saturating_sub(RENTAL_MAX),
            numbers: show::thousands(rows.iter().map(|row| row.1).sum()),
            amount: money(sum),
            rents: rows.iter().take(RENTAL_MAX).map(rent).collect(),
        }
    };
    currencies.into_iter().map(of_currency).collect()
}
