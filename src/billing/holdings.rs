//! Who held which number when, and at which rate: the log, folded.
//!
//! Fed the changes of one partner, oldest first, a [`Ledger`] keeps what
//! touches one [`Span`] and lets go of the rest, so its memory follows the
//! numbers held and not the length of the log: up to 120 bytes for each number
//! held at the moment, and 48 for each holding in the span.
//!
//! When a holding begins and ends:
//! - The first entry that shows an account with a number says since when:
//!   `assigned_at`, also where that is earlier than the entry (an import tells
//!   of the past) or later. It never reaches into somebody else's holding.
//! - All later changes count from the time they were logged: another account,
//!   another rate, a release, a retirement, an undo. So an import next week
//!   cannot move what an account paid for last week.
//! - A suspended or expired number is still held: nobody else can have it.
//! - A holding that is put back as it was (an undone release, with the
//!   `assigned_at` it had) before its rental month was over goes on with its
//!   rental months where they stood. Any other begins one on its first day.

use std::collections::HashMap;
use std::sync::Arc;

use super::calendar::{Day, Month};
use crate::domain::{Account, AccountId, E164, Money, Record, Time};

/// From a moment to the one after its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub from: Time,
    pub until: Time,
}

/// A number held by one account at one rate, within the span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    pub number: E164,
    /// The place of the account among [`Holdings::accounts`].
    pub account: u32,
    /// The day of the month on which its rental months begin.
    pub anchor: u8,
    pub rate: Money,
    pub from: Time,
    /// The moment after its last.
    pub until: Time,
}

/// All holdings of a span, by account, currency, number and time.
#[derive(Clone, PartialEq, Debug)]
pub struct Holdings {
    pub span: Span,
    /// In the order of their ids, under the names they had at the span's end.
    pub accounts: Vec<(AccountId, Arc<str>)>,
    pub list: Vec<Holding>,
}

/// A log being folded.
pub struct Ledger {
    span: Span,
    places: HashMap<AccountId, u32>,
    accounts: Vec<(AccountId, Option<Arc<str>>)>,
    open: HashMap<E164, Open>,
    /// For numbers that were once given back: each account that held it, as it
    /// was and when it last ended, the latest last.
    ended: HashMap<E164, Vec<(Open, Time)>>,
    list: Vec<Holding>,
}

/// A number that is held.
#[derive(Clone, Copy)]
struct Open {
    account: u32,
    anchor: u8,
    rate: Money,
    /// Since when at this rate.
    from: Time,
    assigned_at: Time,
}

impl Open {
    /// When the next rental month would begin of a holding that ended then.
    fn paid_until(&self, end: Time) -> Day {
        let month = Month::of(Day::of(end));
        let due = month.anniversary(self.anchor);
        if due >= Day::of(end) { due } else { Month::of(month.end()).anniversary(self.anchor) }
    }
}

impl Ledger {
    pub fn new(span: Span) -> Ledger {
        Ledger {
            span,
            places: HashMap::new(),
            accounts: Vec::new(),
            open: HashMap::new(),
            ended: HashMap::new(),
            list: Vec::new(),
        }
    }

    /// An account as an entry of this time shows it.
    pub fn account(&mut self, at: Time, account: &Account) {
        let place = self.place(&account.auth_id);
        let name = &mut self.accounts[place as usize].1;
        // A name given later does not rename last month.
        if at < self.span.until || name.is_none() {
            *name = Some(account.name.clone());
        }
    }

    /// What an entry of this time made of `count` numbers from `first` on;
    /// `None` if they are no longer there. Times never decrease.
    pub fn numbers(&mut self, at: Time, first: E164, count: u64, after: Option<&Record>) {
        let held = after.and_then(|record| {
            let (account, rate) = (record.holder()?, record.cost?);
            Some((self.place(account), rate, record.assigned_at.unwrap_or(at)))
        });
        for number in (first.digits()..first.digits() + count).filter_map(E164::new) {
            self.number(at, number, held);
        }
    }

    fn number(&mut self, at: Time, number: E164, held: Option<(u32, Money, Time)>) {
        let before = self.open.get(&number).copied();
        if let (Some(open), Some((account, rate, assigned_at))) = (before, held)
            && open.account == account
        {
            let mut from = open.from;
            if open.rate != rate {
                self.close(number, open, at);
                from = from.max(at);
            }
            // A date that is corrected moves nothing, but an undo names it.
            self.open.insert(number, Open { rate, from, assigned_at, ..open });
            return;
        }
        if let Some(open) = before {
            self.close(number, open, at);
            self.open.remove(&number);
            let ended = self.ended.entry(number).or_default();
            ended.retain(|(holder, _)| holder.account != open.account);
            ended.push((open, at));
        }
        if let Some((account, rate, assigned_at)) = held {
            let open = self.begin(at, number, account, rate, assigned_at);
            self.open.insert(number, open);
        }
    }

    fn begin(&self, at: Time, number: E164, account: u32, rate: Money, assigned_at: Time) -> Open {
        let ended = self.ended.get(&number).map_or(&[][..], Vec::as_slice);
        let earliest = match ended.iter().find(|(holder, _)| holder.account == account) {
            Some((holder, end)) if holder.assigned_at == assigned_at && holder.paid_until(*end) >= Day::of(at) => {
                return Open { rate, from: holder.from.max(at), ..*holder };
            }
            // Not the first entry that shows it with this account.
            Some(_) => Some(at),
            None => ended.last().map(|(_, end)| *end),
        };
        let from = earliest.map_or(assigned_at, |earliest| earliest.max(assigned_at));
        Open { account, anchor: Day::of(from).of_month(), rate, from, assigned_at }
    }

    /// Notes what of a holding lies in the span, if it ended at this time.
    fn close(&mut self, number: E164, open: Open, at: Time) {
        let (from, until) = (open.from.max(self.span.from), at.min(self.span.until));
        if from < until {
            let Open { account, anchor, rate, .. } = open;
            self.list.push(Holding { number, account, anchor, rate, from, until });
        }
    }

    fn place(&mut self, id: &AccountId) -> u32 {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let place = self.accounts.len() as u32;
        self.places.insert(id.clone(), place);
        self.accounts.push((id.clone(), None));
        place
    }

    /// What is held still is held to the span's end.
    pub fn finish(mut self) -> Holdings {
        let end = self.span.until;
        for (number, open) in std::mem::take(&mut self.open) {
            self.close(number, open, end);
        }
        let mut order: Vec<u32> = (0..self.accounts.len() as u32).collect();
        order.sort_by(|&a, &b| self.accounts[a as usize].0.cmp(&self.accounts[b as usize].0));
        let mut ranks = vec![0; order.len()];
        for (rank, &place) in order.iter().enumerate() {
            ranks[place as usize] = rank as u32;
        }
        for holding in &mut self.list {
            holding.account = ranks[holding.account as usize];
        }
        self.list.sort_unstable_by_key(|holding| {
            (holding.account, holding.rate.currency, holding.number, holding.from, holding.until)
        });
        let named = |&place: &u32| {
            let (id, name) = self.accounts[place as usize].clone();
            let name = name.unwrap_or_else(|| id.as_str().into());
            (id, name)
        };
        Holdings { span: self.span, accounts: order.iter().map(named).collect(), list: self.list }
    }
}
