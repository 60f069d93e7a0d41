//! What held numbers cost: from who held what to lines and totals.
//!
//! Rental is counted in days of UTC, and a day belongs to whoever holds the
//! number at its end. So a number counts from the day it is assigned, not on
//! the day it is given back, and on the day it moves for the new account only:
//! each day once, and a mistake that is undone on the same day costs nothing.
//! The same holds of the rate: a day has the rate of its end.
//!
//! A line is one number with one account at one rate within the month.
//! - [`Proration::Full`]: rental months run from the day of the month on which
//!   the number was assigned (31 is the last day of shorter months, and 31
//!   again after them). A line costs the whole rate if a rental month begins on
//!   one of its days, and nothing if it lies in one that began before.
//! - [`Proration::Days`]: the rate by the line's days over those of the month.
//!
//! Always holds: amounts are whole minor units, rounded half up once for each
//! line, and a total is the sum of its lines; currencies are never added;
//! nothing depends on when it is asked, but for a month that is not over.
//! Deliberately absent: I/O, taxes, discounts, exchange rates.

pub mod calendar;
pub mod holdings;
#[cfg(test)]
mod tests;
pub mod usage;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::number::words;
use crate::domain::{AccountId, Currency, E164, Money, Time};

pub use calendar::{BadMonth, Day, Month};
pub use holdings::{Holding, Holdings, Ledger, Span};
pub use usage::{Calls, Invoice, Stated, Tally, Usage};

/// How a month that a number was held in part is charged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Proration {
    /// A rental month that begins is charged whole.
    #[default]
    Full,
    /// By the days.
    Days,
}

words!(Proration: Full "full", Days "days");

/// One number with one account at one rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    pub number: E164,
    pub from: Day,
    /// The day after the last one.
    pub end: Day,
    pub rate: Money,
    pub amount: Money,
}

impl Line {
    pub fn days(&self) -> i32 {
        self.end.since(self.from)
    }

    /// The last day.
    pub fn until(&self) -> Day {
        self.end.plus(-1)
    }
}

/// A sum of amounts of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    pub minor: i128,
    pub currency: Currency,
}

/// The amount alone, as [`Money`] prints it.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(u32::from(self.currency.decimals()));
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match usize::from(self.currency.decimals()) {
            0 => write!(f, "{sign}{minor}"),
            width => write!(f, "{sign}{}.{:0width$}", minor / unit, minor % unit),
        }
    }
}

/// What one account owes in one currency.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    pub account: AccountId,
    pub name: Arc<str>,
    pub total: Sum,
    /// Where its lines are among [`Bill::lines`], by number and time.
    pub lines: Range<usize>,
}

/// A month's rental of all accounts.
#[derive(Clone, PartialEq, Debug)]
pub struct Bill {
    pub month: Month,
    /// The last day that is counted: the month's, or today where that is yet
    /// to come.
    pub through: Day,
    pub proration: Proration,
    /// By account and currency.
    pub groups: Vec<Group>,
    pub lines: Vec<Line>,
}

impl Month {
    /// What of the month is to be billed at `now`: all of it once it is over,
    /// before that the days up to today. `None` before it has begun.
    pub fn span(self, now: Time) -> Option<Span> {
        let whole = self.whole();
        let until = whole.until.min(Day::of(now).plus(1).start());
        (whole.from < until).then_some(Span { until, ..whole })
    }

    pub fn whole(self) -> Span {
        Span { from: self.first().start(), until: self.end().start() }
    }
}

impl Bill {
    /// What the holdings of (a part of) a month cost.
    pub fn of(month: Month, proration: Proration, holdings: &Holdings) -> Bill {
        let last = holdings.span.until.plus(-1);
        let mut bill = Bill { month, through: Day::of(last), proration, groups: Vec::new(), lines: Vec::new() };
        let of_group = |a: &Holding, b: &Holding| a.account == b.account && a.rate.currency == b.rate.currency;
        for group in holdings.list.chunk_by(of_group) {
            let start = bill.lines.len();
            for stretch in stretches(group) {
                let Stretch { number, rate, from, end, .. } = stretch;
                let amount = Money { minor: charge(&stretch, month, proration), currency: rate.currency };
                bill.lines.push(Line { number, from, end, rate, amount });
            }
            let lines = start..bill.lines.len();
            if lines.is_empty() {
                continue;
            }
            let minor = bill.lines[start..].iter().map(|line| i128::from(line.amount.minor)).sum();
            let (account, name) = holdings.accounts[group[0].account as usize].clone();
            bill.groups.push(Group { account, name, total: Sum { minor, currency: group[0].rate.currency }, lines });
        }
        bill
    }

    /// What all of these groups come to, by currency.
    pub fn totals<'a>(groups: impl Iterator<Item = &'a Group>) -> Vec<Sum> {
        let mut totals: Vec<Sum> = Vec::new();
        for Group { total, .. } in groups {
            match totals.iter_mut().find(|sum| sum.currency == total.currency) {
                Some(sum) => sum.minor += total.minor,
                None => totals.push(*total),
            }
        }
        totals.sort_by_key(|sum| sum.currency);
        totals
    }
}

/// Holdings that follow each other without a day between them, alike.
#[derive(Clone, Copy)]
struct Stretch {
    number: E164,
    anchor: u8,
    rate: Money,
    from: Day,
    end: Day,
}

/// An account's holdings as whole days, those that abut alike put together:
/// what was changed and changed back within a day leaves no trace.
fn stretches(holdings: &[Holding]) -> Vec<Stretch> {
    let mut list: Vec<Stretch> = Vec::with_capacity(holdings.len());
    for &Holding { number, anchor, rate, from, until, .. } in holdings {
        // The end of the day that a moment is in is the next midnight.
        let (from, end) = (Day::of(from), Day::of(until));
        if from >= end {
            continue;
        }
        match list.last_mut() {
            Some(last) if (last.number, last.anchor, last.rate, last.end) == (number, anchor, rate, from) => {
                last.end = end;
            }
            _ => list.push(Stretch { number, anchor, rate, from, end }),
        }
    }
    list
}

fn charge(stretch: &Stretch, month: Month, proration: Proration) -> i64 {
    match proration {
        Proration::Full => {
            let begins = month.anniversary(stretch.anchor);
            if stretch.from <= begins && begins < stretch.end { stretch.rate.minor } else { 0 }
        }
        Proration::Days => {
            let (days, all) = (i128::from(stretch.end.since(stretch.from)), i128::from(month.days()));
            let minor = half_up(i128::from(stretch.rate.minor) * days, all);
            // At most the rate, which is one.
            i64::try_from(minor).expect("a part of an amount is an amount")
        }
    }
}

/// `amount / by`, rounded half up. Neither is negative.
fn half_up(amount: i128, by: i128) -> i128 {
    (2 * amount + by) / (2 * by)
}
