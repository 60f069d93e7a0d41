//! The cost of held numbers: from holdings to lines and totals.
//!
//! Rental is counted in the days of the partner's zone ([`calendar`]), and a day
//! belongs to the holder of the number at its end. So a number counts from the
//! day it is assigned, not on the day it is given back, and on the day it moves
//! for the new account only: each day once, and a mistake that is undone on the
//! same day costs nothing. The same holds of the rate, and of an expiry: a day
//! has the rate of its end, and is after the expiry if its end is.
//!
//! A line is one number with one account at one rate within the month.
//! - [`Proration::Full`]: rental months run from the day of the month on which
//!   the number was assigned (31 is the last day of shorter months, and 31
//!   again after them). A line costs the whole rate if a rental month begins on
//!   one of its days, and nothing if it lies in one that began before.
//! - [`Proration::Days`]: the rate by the line's days over those of the month.
//!
//! Days after the expiry are charged or not, as the partner has chosen for the
//! month ([`AfterExpiry`]). A line that charges them says when the number
//! expired.
//!
//! Always holds: amounts are whole minor units, rounded half up once for each
//! line, and a total is the sum of its lines; currencies are never added;
//! nothing depends on when it is asked, but for a month that has not ended,
//! whose bill is a draft.
//! Deliberately absent: I/O, taxes, discounts, exchange rates.

pub mod calendar;
pub mod holdings;
#[cfg(test)]
mod tests;
pub mod usage;

use std::ops::Range;
use std::sync::Arc;

use crate::domain::number::words;
use crate::domain::setting::AfterExpiry;
use crate::domain::{AccountId, E164, Money, Sum, Time};

pub use calendar::{BadMonth, Calendar, Day, Month, Period, TimeSpan};
pub use holdings::{Holding, Holdings, Ledger};
pub use usage::{CallTally, CallTotals, Invoice, OtherCall, Stated, Usage};

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
pub struct BillLine {
    pub number: E164,
    pub from: Day,
    /// The last day.
    pub until: Day,
    /// How many there are.
    pub days: usize,
    pub rate: Money,
    pub amount: Money,
    /// The day on which the number expired, if days after that are charged.
    pub expired_on: Option<Day>,
}

/// What one account owes in one currency.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountBill {
    pub account: AccountId,
    pub name: Arc<str>,
    pub total: Sum,
    /// Where its lines are among [`Bill::lines`], by number and time.
    pub lines: Range<usize>,
}

/// A month's rental of all accounts.
#[derive(Clone, PartialEq, Debug)]
pub struct Bill {
    pub period: Period,
    /// The last day that is counted: the month's, or today where that is yet
    /// to come.
    pub through: Day,
    /// Whether the month has not ended, so that the bill may change.
    pub draft: bool,
    pub proration: Proration,
    /// By account and currency.
    pub groups: Vec<AccountBill>,
    pub lines: Vec<BillLine>,
}

impl Bill {
    /// What the holdings of (a part of) a month cost, as it is at `now`.
    pub fn of(calendar: &Calendar, month: Month, proration: Proration, holdings: &Holdings, now: Time) -> Bill {
        let period = calendar.period(month);
        let through = period.day(period.place(holdings.span.until.plus(-1)));
        let draft = now < period.ends;
        let mut bill = Bill { period, through, draft, proration, groups: Vec::new(), lines: Vec::new() };
        let of_group = |a: &Holding, b: &Holding| a.account == b.account && a.rate.currency == b.rate.currency;
        for group in holdings.list.chunk_by(of_group) {
            let start = bill.lines.len();
            for stretch in stretches(group, &bill.period, proration) {
                bill.lines.push(line(&stretch, &bill.period, proration, calendar));
            }
            let lines = start..bill.lines.len();
            if lines.is_empty() {
                continue;
            }
            let minor = bill.lines[start..].iter().map(|line| i128::from(line.amount.minor)).sum();
            let (account, name) = holdings.accounts[group[0].account as usize].clone();
            bill.groups.push(AccountBill {
                account,
                name,
                total: Sum { minor, currency: group[0].rate.currency },
                lines,
            });
        }
        bill
    }

    pub fn month(&self) -> Month {
        self.period.month
    }

    /// What all of these groups come to, by currency.
    pub fn totals<'a>(groups: impl Iterator<Item = &'a AccountBill>) -> Vec<Sum> {
        let mut totals: Vec<Sum> = Vec::new();
        for AccountBill { total, .. } in groups {
            match totals.iter_mut().find(|sum| sum.currency == total.currency) {
                Some(sum) => sum.minor += total.minor,
                None => totals.push(*total),
            }
        }
        totals.sort_by_key(|sum| sum.currency);
        totals
    }
}

/// Holdings that follow each other without a day between them, alike. Days are
/// places among those of the month.
#[derive(Clone, Copy)]
struct Stretch {
    number: E164,
    anchor: u8,
    rate: Money,
    from: usize,
    end: usize,
    /// When the number expired, if days after that are charged.
    expired: Option<Time>,
}

/// An account's holdings as whole days, those that abut alike put together:
/// what was changed and changed back within a day leaves no trace.
fn stretches(holdings: &[Holding], period: &Period, proration: Proration) -> Vec<Stretch> {
    let mut list: Vec<Stretch> = Vec::with_capacity(holdings.len());
    for &Holding { number, anchor, rate, from, until, expired, .. } in holdings {
        // The end of the day that a moment is in is the next day's beginning.
        let (from, end) = (period.place(from), period.place(until));
        if from >= end || (expired.is_some() && period.after_expiry == AfterExpiry::Stop) {
            continue;
        }
        let expired = expired.filter(|_| match proration {
            Proration::Full => (from..end).contains(&period.anniversary(anchor)),
            Proration::Days => true,
        });
        match list.last_mut() {
            Some(last) if (last.number, last.anchor, last.rate, last.end) == (number, anchor, rate, from) => {
                last.end = end;
                last.expired = last.expired.or(expired);
            }
            _ => list.push(Stretch { number, anchor, rate, from, end, expired }),
        }
    }
    list
}

fn line(stretch: &Stretch, period: &Period, proration: Proration, calendar: &Calendar) -> BillLine {
    let &Stretch { number, rate, from, end, expired, .. } = stretch;
    let amount = Money { minor: charge(stretch, period, proration), currency: rate.currency };
    let (first, until) = (period.day(from), period.day(end - 1));
    let expired_on = expired.map(|at| calendar.day(at));
    BillLine { number, from: first, until, days: end - from, rate, amount, expired_on }
}

fn charge(stretch: &Stretch, period: &Period, proration: Proration) -> i64 {
    match proration {
        Proration::Full => {
            let begins = period.anniversary(stretch.anchor);
            if stretch.from <= begins && begins < stretch.end { stretch.rate.minor } else { 0 }
        }
        Proration::Days => {
            let (days, all) = ((stretch.end - stretch.from) as i128, period.days() as i128);
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
