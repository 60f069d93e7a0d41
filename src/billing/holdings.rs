//! Who held which number when, and at which rate: the log, folded.
//!
//! Fed the changes of one partner, oldest first, a [`Ledger`] keeps what
//! touches one [`TimeSpan`] and lets go of the rest, so its memory follows the
//! numbers held and not the length of the log: up to 200 bytes for each number
//! held at the moment, and 64 for each holding in the span.
//!
//! When a holding begins and ends:
//! - The first entry that shows an account with a number says since when:
//!   `assigned_at`, also where that is earlier than the entry (an import tells
//!   of the past) or later. It never reaches into somebody else's holding.
//! - All later changes count from the time they were logged: another account,
//!   another rate, a release, a retirement, an undo. So an import next week
//!   cannot move what an account paid for last week.
//! - A suspended or expired number is still held: nobody else can have it. A
//!   holding is divided where it expires. What comes after is in the list and
//!   says so, since its calls are still the holder's.
//! - A holding that is put back as it was (an undone release, with the
//!   `assigned_at` it had) before its rental month was over goes on with its
//!   rental months where they stood. Any other begins one on its first day. The
//!   same holds of an expired number that is charged again (because it was
//!   renewed, or because the partner charges expired numbers from now on) after
//!   time that was not charged.

use std::collections::HashMap;
use std::sync::Arc;

use super::calendar::{Calendar, Day, Month, TimeSpan};
use crate::domain::dictionary::Dictionary;
use crate::domain::setting::AfterExpiry;
use crate::domain::{Account, AccountId, E164, Money, Record, Time};

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
    /// When the number expired, if all of this came after.
    pub expired: Option<Time>,
}

/// All holdings of a span, by account, currency, number and time.
#[derive(Clone, PartialEq, Debug)]
pub struct Holdings {
    pub span: TimeSpan,
    /// In the order of their ids, under the names they had at the span's end.
    pub accounts: Vec<(AccountId, Arc<str>)>,
    pub list: Vec<Holding>,
}

impl Holdings {
    /// What of them lies within a part of their span. Accounts keep the names
    /// that they had at the end of the whole.
    pub fn within(&self, part: TimeSpan) -> Holdings {
        let clip = |holding: &Holding| {
            let (from, until) = (holding.from.max(part.from), holding.until.min(part.until));
            (from < until).then_some(Holding { from, until, ..*holding })
        };
        Holdings { span: part, accounts: self.accounts.clone(), list: self.list.iter().filter_map(clip).collect() }
    }
}

/// A log being folded.
pub struct Ledger<'c> {
    calendar: &'c Calendar,
    span: TimeSpan,
    accounts: Dictionary<AccountId>,
    /// What each account is called.
    names: Vec<Option<Arc<str>>>,
    open: HashMap<E164, OpenHolding>,
    /// For numbers that were once given back: each account that held it, as it
    /// was and when it last ended, the latest last.
    ended: HashMap<E164, Vec<(OpenHolding, Time)>>,
    list: Vec<Holding>,
}

/// What an entry says of a number that is held.
#[derive(Clone, Copy)]
struct HeldNumber {
    account: u32,
    rate: Money,
    assigned_at: Time,
    expires_at: Option<Time>,
}

/// A number that is held.
#[derive(Clone, Copy)]
struct OpenHolding {
    held: HeldNumber,
    /// The day of this moment is that on which its rental months begin.
    began: Time,
    /// Since when nothing is in the list yet.
    from: Time,
    /// Since when it is not charged, if it was not just before `from`.
    paused: Option<Time>,
}

impl<'c> Ledger<'c> {
    pub fn new(calendar: &'c Calendar, span: TimeSpan) -> Ledger<'c> {
        Ledger {
            calendar,
            span,
            accounts: Dictionary::default(),
            names: Vec::new(),
            open: HashMap::new(),
            ended: HashMap::new(),
            list: Vec::new(),
        }
    }

    /// An account as an entry of this time shows it.
    pub fn account(&mut self, at: Time, account: &Account) {
        let place = self.place(&account.auth_id);
        let name = &mut self.names[place as usize];
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
            let assigned_at = record.assigned_at.unwrap_or(at);
            Some(HeldNumber { account: self.place(account), rate, assigned_at, expires_at: record.expires_at })
        });
        for number in (first.digits()..first.digits() + count).filter_map(E164::new) {
            self.number(at, number, held);
        }
    }

    fn number(&mut self, at: Time, number: E164, held: Option<HeldNumber>) {
        let before = self.open.get(&number).copied();
        if let (Some(mut open), Some(held)) = (before, held)
            && open.held.account == held.account
        {
            if (open.held.rate, open.held.expires_at) != (held.rate, held.expires_at) {
                self.advance(number, &mut open, at);
            }
            // A date that is corrected moves nothing, but an undo names it.
            self.open.insert(number, OpenHolding { held, ..open });
            return;
        }
        if let Some(mut open) = before {
            self.advance(number, &mut open, at);
            self.open.remove(&number);
            let ended = self.ended.entry(number).or_default();
            ended.retain(|(holder, _)| holder.held.account != open.held.account);
            ended.push((open, at));
        }
        if let Some(held) = held {
            let open = self.begin(at, number, held);
            self.open.insert(number, open);
        }
    }

    fn begin(&self, at: Time, number: E164, held: HeldNumber) -> OpenHolding {
        let ended = self.ended.get(&number).map_or(&[][..], Vec::as_slice);
        let earliest = match ended.iter().find(|(holder, _)| holder.held.account == held.account) {
            Some((holder, end))
                if holder.held.assigned_at == held.assigned_at
                    && self.paid_until(holder.began, holder.paused.unwrap_or(*end)) >= self.calendar.day(at) =>
            {
                return OpenHolding { held, from: holder.from.max(at), ..*holder };
            }
            // Not the first entry that shows it with this account.
            Some(_) => Some(at),
            None => ended.last().map(|(_, end)| *end),
        };
        let from = earliest.map_or(held.assigned_at, |earliest| earliest.max(held.assigned_at));
        OpenHolding { held, began: from, from, paused: None }
    }

    /// When the next rental month would begin of a holding that was charged
    /// until `end`.
    fn paid_until(&self, began: Time, end: Time) -> Day {
        let anchor = self.calendar.day(began).of_month();
        let end = self.calendar.day(end);
        let due = |month: Month| {
            let period = self.calendar.period(month);
            period.day(period.anniversary(anchor))
        };
        let month = Month::of(end);
        Some(due(month)).filter(|due| *due >= end).unwrap_or_else(|| due(month.next()))
    }

    /// Puts into the list what of a holding lies in the span, up to a moment.
    fn advance(&mut self, number: E164, open: &mut OpenHolding, until: Time) {
        let HeldNumber { account, rate, expires_at, .. } = open.held;
        while open.from < until {
            let from = open.from;
            let (after_expiry, next) = self.calendar.after_expiry(from);
            let expired = expires_at.filter(|end| *end <= from);
            let end = expires_at.filter(|_| expired.is_none());
            open.from = [next, end].into_iter().flatten().fold(until, Time::min);
            match (expired, after_expiry) {
                (Some(_), AfterExpiry::Stop) => _ = open.paused.get_or_insert(from),
                (None, _) | (_, AfterExpiry::Charge) => {
                    if let Some(paused) = open.paused.take()
                        && self.paid_until(open.began, paused) < self.calendar.day(from)
                    {
                        open.began = from;
                    }
                }
            }
            let (from, until) = (from.max(self.span.from), open.from.min(self.span.until));
            if from < until {
                let anchor = self.calendar.day(open.began).of_month();
                self.list.push(Holding { number, account, anchor, rate, from, until, expired });
            }
        }
    }

    fn place(&mut self, id: &AccountId) -> u32 {
        let place = self.accounts.place(id.clone(), None);
        self.names.resize(self.accounts.values().len(), None);
        place
    }

    /// What is held still is held to the span's end.
    pub fn finish(mut self) -> Holdings {
        let end = self.span.until;
        for (number, mut open) in std::mem::take(&mut self.open) {
            self.advance(number, &mut open, end);
        }
        let ids = self.accounts.values();
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by(|&a, &b| ids[a as usize].cmp(&ids[b as usize]));
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
            let (id, name) = (ids[place as usize].clone(), self.names[place as usize].clone());
            let name = name.unwrap_or_else(|| id.as_str().into());
            (id, name)
        };
        Holdings { span: self.span, accounts: order.iter().map(named).collect(), list: self.list }
    }
}
