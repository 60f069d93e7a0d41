//! A year of rental, month by month: for each currency the amount and the
//! numbers that are charged, as a chart and as its table.
//!
//! Each month is a bill of its own, worked out in the queue of the bills from one
//! reading of the log, so figures are those of the costs and of the invoices.
//! Invariant: no chart has two currencies. Deliberately absent: forecasts.

use askama::Template;
use axum::extract::{Path, Request, State};

use super::chart::{self, Bar};
use super::costs::name_of;
use super::gate::Visit;
use super::page::{Frame, PageResult, Trouble, html};
use super::{ConsoleState, show};
use crate::domain::Currency;
use crate::domain::Sum;
use crate::http::costs::{self, MonthRental};
use crate::wire::html::Html;

/// How many months are shown, with the one that goes on.
const MONTHS: usize = 12;

struct Row {
    month: String,
    /// The costs of the month in this currency.
    query: String,
    draft: bool,
    amount: String,
    numbers: String,
}

/// A year in one currency.
struct Year {
    code: String,
    rental: Html,
    numbers: Html,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "trend.html")]
struct Trend {
    frame: Frame,
    years: Vec<Year>,
}

/// The rental of one month in one currency.
#[derive(Clone, Copy)]
struct Charged {
    sum: Sum,
    numbers: u64,
}

/// GET /console/p/{partner}/costs/trend
pub async fn page(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let billed = costs::year(&visit.console.app, &visit.snapshot, MONTHS, visit.clock.now).await;
    let billed = billed.map_err(Trouble::Internal)??;
    let mut currencies: Vec<Currency> = billed.iter().flat_map(|one| one.charged.keys().copied()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let years = currencies.into_iter().map(|currency| year(&billed, currency)).collect();
    html(&Trend { frame: visit.frame("A year of rental", "costs"), years })
}

fn year(billed: &[MonthRental], currency: Currency) -> Year {
    let nothing = Charged { sum: Sum { minor: 0, currency }, numbers: 0 };
    let of = |one: &MonthRental| {
        let charged = one.charged.get(&currency);
        charged.map_or(nothing, |&(sum, numbers)| Charged { sum, numbers })
    };
    let code = currency.code();
    let chart = |id: &str, what: &str, value: &dyn Fn(Charged) -> (u64, u64)| {
        let bars: Vec<Bar> = billed
            .iter()
            .map(|one| {
                let (value, shown) = value(of(one));
                Bar { name: name_of(one.month)[..3].to_owned(), value, text: chart::short(shown) }
            })
            .collect();
        let first_and_last =
            [billed.first(), billed.last()].map(|one| one.map_or(String::new(), |one| name_of(one.month)));
        let about = format!("From {} to {}; the table has the figures.", first_and_last[0], first_and_last[1]);
        chart::bars(&format!("{id}-{code}"), what, &about, bars)
    };
    let units = 10_u64.saturating_pow(u32::from(currency.decimals()));
    let rental = |charged: Charged| {
        let minor = u64::try_from(charged.sum.minor).unwrap_or_default();
        (minor, minor / units)
    };
    Year {
        rental: chart("rental", &format!("Rental by month in {code}"), &rental),
        numbers: chart("numbers", &format!("Numbers charged by month in {code}"), &|charged| {
            (charged.numbers, charged.numbers)
        }),
        rows: billed
            .iter()
            .rev()
            .map(|one| Row {
                month: name_of(one.month),
                query: format!("month={}&currency={code}", one.month),
                draft: one.draft,
                amount: show::sum(of(one).sum),
                numbers: show::thousands(of(one).numbers),
            })
            .collect(),
        code: code.to_owned(),
    }
}
