//! The first page: counts of numbers, urgent findings, expiries by week, and monthly
//! costs.
//!
//! Every figure links to the rows that it counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use http::Request;

use super::gate::{Visit, query_value};
use super::line::{Line, quoted};
use super::page::{Answer, Frame, html};
use super::show::Clock;
use super::{Console, show};
use crate::checks::{Check, CheckOptions, counts};
use crate::domain::change::Digest;
use crate::domain::{Currency, Money, Time};
use crate::inventory::{Order, Snapshot, Window};
use crate::service::checks::{ReportedFinding, findings};
use crate::wire::html::escape;

/// The views that everybody has, each with its filter line.
pub const TABS: [(&str, &str); 9] = [
    ("All", ""),
    ("Active", "status:active"),
    ("Suspended", "state:suspended"),
    ("Unrouted", "status:active no:application"),
    ("Expiring", "has:account expires:<14d sort:expires"),
    ("Unassigned", "no:account"),
    ("Available", "state:available"),
    ("Reserved", "state:reserved"),
    ("Quarantined", "state:quarantined"),
];
const WEEKS: i64 = 13;
const WEEK_SECONDS: i64 = 7 * 86_400;
/// For how long counts are shown again: time moves them too.
const KEPT_SECONDS: i64 = 10;
/// How many findings the first page has.
const FIRST_MAX: usize = 5;
/// How many customers the first page names.
const RENTAL_MAX: usize = 20;

/// What is counted over a whole inventory.
pub struct Tally {
    version: u64,
    head: Digest,
    at: Time,
    pub tabs: [u64; TABS.len()],
    /// How many numbers end in each of the next weeks.
    weeks: [u64; WEEKS as usize],
    checks: BTreeMap<Check, u64>,
    /// The first findings, the worst first.
    first: Vec<ReportedFinding>,
    /// Numbers and amount of each account, in the order of accounts.
    rental: Vec<BTreeMap<Currency, (u64, i64)>>,
}

impl Tally {
    pub fn of(snapshot: &Snapshot, now: Time) -> Tally {
        let total = |line: &Line| {
            let none = Window::Page { skip: 0, rows: 0 };
            snapshot.select(&line.filter, Order::default(), none, now).total
        };
        let week = |at: usize| {
            let mut line = Line::default();
            let begin = now.plus(at as i64 * WEEK_SECONDS);
            line.filter.expires_after = Some(begin);
            line.filter.expires_before = Some(begin.plus(WEEK_SECONDS + 1));
            line.filter.assigned = Some(true);
            total(&line)
        };
        let options = CheckOptions::default();
        let found = findings(snapshot, &options, Some(false), now);
        // No tab has a day in it.
        let clock = Clock::new(now, "UTC");
        Tally {
            version: snapshot.version,
            head: snapshot.head,
            at: now,
            tabs: TABS.map(|(_, text)| total(&Line::read(text, snapshot, &clock))),
            weeks: std::array::from_fn(week),
            checks: counts(found.iter().map(|seen| &seen.finding)),
            first: found.into_iter().take(FIRST_MAX).collect(),
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

struct Figure {
    name: &'static str,
    count: String,
    query: String,
}

struct Attention {
    id: &'static str,
    name: String,
    severity: &'static str,
    count: String,
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
    name: String,
    count: String,
    query: String,
}

struct Rent {
    name: String,
    href: String,
    query: String,
    numbers: String,
    amount: String,
}

struct Sum {
    numbers: String,
    amount: String,
}

struct Shown {
    all: u64,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    tally: Shown,
    figures: Vec<Figure>,
    attention: Vec<Attention>,
    first: Vec<First>,
    chart: String,
    weeks: Vec<Week>,
    rental: Vec<Rent>,
    totals: Vec<Sum>,
    more_rental: usize,
}

/// GET /console/p/{partner}
pub async fn page(State(console): State<Arc<Console>>, Path(partner): Path<String>, request: Request<Body>) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    let now = visit.clock.now;
    let (kept, snapshot) = (console.clone(), visit.snapshot.clone());
    let tally = super::sign_in::blocking(move || kept.tally(&snapshot, now)).await?;
    let notice = visit.notice(request.uri().query().unwrap_or_default());
    let figures = TABS.iter().zip(tally.tabs).map(|(&(name, line), count)| Figure {
        name,
        count: show::thousands(count),
        query: query_value(line),
    });
    let weeks: Vec<Week> = (0..WEEKS).zip(tally.weeks).map(|(at, count)| week(&visit, at, count)).collect();
    let (rental, totals, more_rental) = rental(&visit, &tally);
    html(&Overview {
        frame: visit.frame("Overview", "overview").with(notice),
        tally: Shown { all: tally.tabs[0] },
        figures: figures.collect(),
        attention: tally
            .checks
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(&check, &count)| attention(check, count))
            .collect(),
        first: tally.first.iter().map(|seen| first(&visit, seen)).collect(),
        chart: chart(&visit, &tally.weeks),
        weeks,
        rental,
        totals,
        more_rental,
    })
}

/// A check by its name, for people.
pub fn check_name(check: Check) -> String {
    let text = check.as_str().replace('_', " ");
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
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
    let (name, severity) = (check_name(finding.check), finding.check.severity().as_str());
    First { id: seen.id.clone(), name, severity, about, href }
}

fn attention(check: Check, count: u64) -> Attention {
    Attention {
        id: check.as_str(),
        name: check_name(check),
        severity: check.severity().as_str(),
        count: show::thousands(count),
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
fn chart(visit: &Visit, weeks: &[u64]) -> String {
    let highest = weeks.iter().copied().max().unwrap_or_default().max(1);
    let (wide, high, gap) = (48_u64, 120_u64, 8_u64);
    let width = weeks.len() as u64 * (wide + gap) + gap;
    let all: u64 = weeks.iter().sum();
    let mut svg = String::with_capacity(4_096);
    let _ = write!(
        svg,
        "<svg class=\"chart\" viewBox=\"0 0 {width} {}\" role=\"img\" aria-labelledby=\"chart-title chart-text\">\
         <title id=\"chart-title\">Numbers that end in each of the next {} weeks</title>\
         <desc id=\"chart-text\">{} in all; the highest week has {}.</desc>",
        high + 44,
        weeks.len(),
        show::count(all, "number ends", "numbers end"),
        show::thousands(highest)
    );
    for (at, &count) in weeks.iter().enumerate() {
        let x = gap + at as u64 * (wide + gap);
        let tall = (count * high).div_ceil(highest);
        let y = high - tall + 18;
        let day = visit.clock.plain_day(visit.clock.now.plus(at as i64 * WEEK_SECONDS));
        let day = day.rsplit_once(' ').map_or("", |(day, _)| day);
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{tall}\" rx=\"2\"/>\
             <text x=\"{mid}\" y=\"{label}\" class=\"value\">{count}</text>\
             <text x=\"{mid}\" y=\"{foot}\">{day}</text>",
            mid = x + wide / 2,
            label = y - 5,
            foot = high + 36,
            count = show::thousands(count),
            day = escape(day),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The customers that cost most, and the sum of all of them by currency.
fn rental(visit: &Visit, tally: &Tally) -> (Vec<Rent>, Vec<Sum>, usize) {
    let mut totals: BTreeMap<Currency, (u64, i64)> = BTreeMap::new();
    let mut rows = Vec::new();
    for (account, sums) in visit.snapshot.accounts.iter().zip(&tally.rental) {
        for (&currency, &(numbers, minor)) in sums {
            let (all, sum) = totals.entry(currency).or_default();
            (*all, *sum) = (*all + numbers, sum.saturating_add(minor));
            rows.push((account, currency, numbers, minor));
        }
    }
    rows.sort_by(|a, b| b.3.cmp(&a.3).then_with(|| a.0.auth_id.cmp(&b.0.auth_id)));
    let more = rows.len().saturating_sub(RENTAL_MAX);
    let rents = rows.into_iter().take(RENTAL_MAX).map(|(account, currency, numbers, minor)| Rent {
        name: account.name.to_string(),
        href: visit.href("customers", account.auth_id.as_str()),
        query: query_value(&format!("account:{}", quoted(account.auth_id.as_str()))),
        numbers: show::thousands(numbers),
        amount: show::money(Money { minor, currency }),
    });
    let sums = totals.into_iter().map(|(currency, (numbers, minor))| Sum {
        numbers: show::thousands(numbers),
        amount: show::money(Money { minor, currency }),
    });
    (rents.collect(), sums.collect(), more)
}
