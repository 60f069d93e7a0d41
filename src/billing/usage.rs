//! Calls on an invoice: the account of each call, and the sums.
//!
//! A call belongs to the account that held its number when the call began: the
//! called number of an inbound call, the calling one of an outbound call. Calls of
//! numbers without a holder are listed separately, never dropped and never
//! guessed. Only calls that began within the span count; each id counts once. A record
//! that has the id of an earlier one and says something else is an error: one of them is
//! wrong, and nobody can say which.
//!
//! Costs are exact until an account's calls in one currency become one amount
//! on its invoice: that is rounded half up, once.
//!
//! Memory: 25 to 50 bytes for each call (10 million: at most 500 MB), 32 for
//! each holding, and about 150 for each number that has calls.
//! Deliberately absent: the calls themselves.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use super::{AccountBill, Bill, BillLine, Holdings, TimeSpan};
use crate::domain::{AccountId, Call, Currency, Decimal, E164, Sum, Time};

/// Some calls of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallTotals {
    pub calls: u64,
    pub seconds: u64,
    pub cost: Decimal,
}

impl CallTotals {
    fn add(&mut self, call: &Call) {
        self.with(CallTotals { calls: 1, seconds: call.seconds, cost: call.cost });
    }

    fn with(&mut self, other: CallTotals) {
        self.calls += other.calls;
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.cost += other.cost;
    }
}

/// Call records being added up.
pub struct Usage {
    span: TimeSpan,
    /// By number and time.
    tenures: Vec<Tenure>,
    seen: SeenCalls,
    of_numbers: HashMap<(u32, Currency, E164), CallTotals>,
    tally: CallTally,
}

struct Tenure {
    number: E164,
    from: Time,
    until: Time,
    account: u32,
}

/// All calls that were read, of all accounts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallTally {
    pub records: u64,
    /// Records that are equal to an earlier one.
    pub repeated: u64,
    /// Calls that began before or after the span.
    pub outside: u64,
    /// Calls whose total is not the sum of its parts.
    pub uneven: u64,
    /// All calls, each once, also those outside the span.
    pub all: BTreeMap<Currency, Decimal>,
    /// Calls within the span whose number nobody held.
    pub unattributed: BTreeMap<Currency, CallTotals>,
}

/// What one account owes in one currency.
#[derive(Clone, PartialEq, Debug)]
pub struct Invoice {
    pub account: AccountId,
    pub name: Arc<str>,
    /// The lines are the bill's.
    pub rental: Option<AccountBill>,
    /// By number.
    pub calls: Vec<(E164, CallTotals)>,
    /// All of its calls together, and their cost as an amount.
    pub used: CallTotals,
    pub usage: Sum,
    pub total: Sum,
}

impl Invoice {
    pub fn lines<'a>(&self, bill: &'a Bill) -> &'a [BillLine] {
        self.rental.as_ref().map_or(&[], |group| &bill.lines[group.lines.clone()])
    }
}

impl Usage {
    pub fn new(holdings: &Holdings, span: TimeSpan) -> Usage {
        let tenure = |holding: &super::Holding| Tenure {
            number: holding.number,
            from: holding.from,
            until: holding.until,
            account: holding.account,
        };
        let mut tenures: Vec<Tenure> = holdings.list.iter().map(tenure).collect();
        tenures.sort_unstable_by_key(|tenure| (tenure.number, tenure.from, tenure.until));
        Usage { span, tenures, seen: SeenCalls::default(), of_numbers: HashMap::new(), tally: CallTally::default() }
    }

    /// Adds the record that begins on a line.
    pub fn add(&mut self, line: u64, call: &Call) -> Result<(), OtherCall> {
        self.tally.records += 1;
        if let Some(earlier) = self.seen.put(line, call) {
            if earlier.content != content(call) {
                return Err(OtherCall { line: earlier.line.into() });
            }
            self.tally.repeated += 1;
            return Ok(());
        }
        *self.tally.all.entry(call.currency).or_default() += call.cost;
        self.tally.uneven += u64::from(!call.adds_up);
        if call.start < self.span.from || call.start >= self.span.until {
            self.tally.outside += 1;
            return Ok(());
        }
        let ours = call.ours().and_then(|number| Some((number, self.holder(number, call.start)?)));
        match ours {
            Some((number, account)) => {
                self.of_numbers.entry((account, call.currency, number)).or_default().add(call);
            }
            None => self.tally.unattributed.entry(call.currency).or_default().add(call),
        }
        Ok(())
    }

    fn holder(&self, number: E164, at: Time) -> Option<u32> {
        let after = self.tenures.partition_point(|tenure| (tenure.number, tenure.from) <= (number, at));
        let tenure = &self.tenures[after.checked_sub(1)?];
        (tenure.number == number && at < tenure.until).then_some(tenure.account)
    }

    /// The invoices of all accounts, by account and currency.
    pub fn finish(self, bill: &Bill, holdings: &Holdings) -> (Vec<Invoice>, CallTally) {
        let mut used: BTreeMap<(AccountId, Currency), Vec<(E164, CallTotals)>> = BTreeMap::new();
        for ((account, currency, number), calls) in self.of_numbers {
            let account = holdings.accounts[account as usize].0.clone();
            used.entry((account, currency)).or_default().push((number, calls));
        }
        let mut rentals: BTreeMap<(AccountId, Currency), AccountBill> = BTreeMap::new();
        for group in &bill.groups {
            rentals.insert((group.account.clone(), group.total.currency), group.clone());
            used.entry((group.account.clone(), group.total.currency)).or_default();
        }
        let names: HashMap<&AccountId, &Arc<str>> = holdings.accounts.iter().map(|(id, name)| (id, name)).collect();
        let invoice = |((account, currency), mut calls): ((AccountId, Currency), Vec<(E164, CallTotals)>)| {
            calls.sort_unstable_by_key(|(number, _)| *number);
            let mut used = CallTotals::default();
            for (_, calls) in &calls {
                used.with(*calls);
            }
            let rental = rentals.remove(&(account.clone(), currency));
            let usage = Sum { minor: used.cost.minor(currency), currency };
            let rented = rental.as_ref().map_or(0, |group| group.total.minor);
            let total = Sum { minor: rented + usage.minor, currency };
            let name = names.get(&account).map_or_else(|| account.as_str().into(), |name| Arc::clone(name));
            Invoice { account, name, rental, calls, used, usage, total }
        };
        (used.into_iter().map(invoice).collect(), self.tally)
    }
}

/// A record has the id of an earlier one, and says something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("its uuid is that of line {line}, which says something else; correct one of them")]
pub struct OtherCall {
    pub line: u64,
}

/// Records that have come, by their ids. In parts, so that growing one does not need
/// all of it twice.
struct SeenCalls(Vec<HashMap<SeenId, SeenCall>>);

/// An id in a form that needs no padding beside [`SeenCall`].
type SeenId = [u32; 4];

#[derive(Clone, Copy)]
struct SeenCall {
    /// The last number there is stands for all lines beyond it.
    line: u32,
    content: u32,
}

const PARTS: usize = 256;

impl Default for SeenCalls {
    fn default() -> SeenCalls {
        SeenCalls(vec![HashMap::new(); PARTS])
    }
}

impl SeenCalls {
    /// Keeps a record whose id comes for the first time; else the earlier one.
    fn put(&mut self, line: u64, call: &Call) -> Option<SeenCall> {
        let id = call.id;
        // Ids that count up, or begin with a time, differ at one end only.
        let mixed = (id as u64 ^ (id >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = [0, 32, 64, 96].map(|bits| (id >> bits) as u32);
        match self.0[(mixed >> 56) as usize % PARTS].entry(id) {
            Entry::Occupied(earlier) => Some(*earlier.get()),
            Entry::Vacant(place) => {
                place.insert(SeenCall { line: u32::try_from(line).unwrap_or(u32::MAX), content: content(call) });
                None
            }
        }
    }
}

/// What a record says, as a number that is the same for equal records.
fn content(call: &Call) -> u32 {
    let mut hasher = DefaultHasher::new();
    call.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

/// What a summary that came with the calls says, and what they add up to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stated {
    pub stated: Decimal,
    /// `None` if the calls are of several currencies, which nobody can add.
    pub found: Option<Decimal>,
}

impl Stated {
    /// The last page's summary is about all pages; where each page has one of
    /// its own, they are together.
    pub fn new(last: Decimal, together: Decimal, tally: &CallTally) -> Stated {
        let mut sums = tally.all.values();
        let found = match (sums.next(), sums.next()) {
            (sum, None) => Some(sum.copied().unwrap_or_default()),
            (_, Some(_)) => None,
        };
        let stated = if found == Some(together) { together } else { last };
        Stated { stated, found }
    }

    pub fn agrees(&self) -> bool {
        self.found == Some(self.stated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::{Calendar, Ledger, Month, Proration};
    use crate::domain::{Direction, Money, NumberType, Record, State};

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    fn number(digits: u64) -> E164 {
        E164::new(digits).expect("a number")
    }

    const OURS: u64 = 912_271_260_001;

    fn held(account: &str, at: Time) -> Record {
        Record {
            account: Some(account.parse().expect("an id")),
            cost: Some(Money { minor: 10_000, currency: "INR".parse().expect("a currency") }),
            assigned_at: Some(at),
            ..Record::bare(State::Active, NumberType::Local, at)
        }
    }

    fn call(id: u128, start: &str, direction: Direction, cost: &str, currency: &str) -> Call {
        let other = Some(number(919_000_000_000));
        let (from, to) = match direction {
            Direction::Inbound => (other, Some(number(OURS))),
            Direction::Outbound => (Some(number(OURS)), other),
        };
        let (cost, currency) = (cost.parse().expect("a cost"), currency.parse().expect("a currency"));
        let direction = Some(direction);
        Call { id, start: time(start), direction, from, to, seconds: 30, cost, currency, adds_up: true }
    }

    #[test]
    fn a_call_is_of_who_held_its_number_when_it_began() {
        use Direction::{Inbound, Outbound};
        let month: Month = "2026-03".parse().expect("a month");
        let (calendar, now) = (Calendar::default(), time("2026-12-01T00:00:00Z"));
        let span = calendar.period(month).whole();
        let mut ledger = Ledger::new(&calendar, span);
        for (account, at) in [("MA_1", "2026-03-05T10:00:00Z"), ("MA_2", "2026-03-05T12:00:00Z")] {
            ledger.numbers(time(at), number(OURS), 1, Some(&held(account, time(at))));
        }
        ledger.numbers(time("2026-03-20T00:00:00Z"), number(OURS), 1, None);
        let holdings = ledger.finish();
        let bill = Bill::of(&calendar, month, Proration::Full, &holdings, now);
        let mut usage = Usage::new(&holdings, span);
        let calls = [
            call(1, "2026-03-05T09:59:59Z", Inbound, "1", "INR"),
            call(2, "2026-03-05T10:00:00Z", Inbound, "0.004", "INR"),
            call(3, "2026-03-05T11:59:59Z", Outbound, "0.001", "INR"),
            call(3, "2026-03-05T11:59:59Z", Outbound, "0.001", "INR"),
            call(4, "2026-03-05T12:00:00Z", Inbound, "0.0049", "INR"),
            call(5, "2026-03-05T13:00:00Z", Outbound, "0.07", "EUR"),
            call(6, "2026-03-20T00:00:00Z", Outbound, "5", "INR"),
            call(7, "2026-02-28T23:59:59Z", Outbound, "7", "INR"),
            call(8, "2026-04-01T00:00:00Z", Outbound, "8", "INR"),
        ];
        for (line, call) in (2..).zip(&calls) {
            assert_eq!(usage.add(line, call), Ok(()));
        }
        // Whatever differs, it is another record, and counts nowhere.
        for (differs, line) in [
            (Call { cost: "0.002".parse().expect("a cost"), ..calls[2] }, 4),
            (Call { seconds: 31, ..calls[0] }, 2),
            (Call { start: time("2026-02-28T23:59:58Z"), ..calls[7] }, 9),
            (Call { from: None, ..calls[6] }, 8),
            (Call { direction: Some(Inbound), ..calls[5] }, 7),
        ] {
            assert_eq!(usage.add(20, &differs), Err(OtherCall { line }), "{differs:?}");
        }
        let (invoices, tally) = usage.finish(&bill, &holdings);
        let shown: Vec<String> = invoices
            .iter()
            .map(|invoice| {
                let Invoice { account, usage, total, used, .. } = invoice;
                let rental = invoice.rental.as_ref().map_or(0, |group| group.total.minor);
                format!("{account} {} {rental} {} {} {usage} {total}", total.currency, used.calls, used.cost)
            })
            .collect();
        // The one who had it for two hours pays no rental, but its calls.
        assert_eq!(
            shown,
            ["MA_1 INR 0 2 0.005 0.01 0.01", "MA_2 EUR 0 1 0.07 0.07 0.07", "MA_2 INR 10000 1 0.0049 0.00 100.00"]
        );
        let inr = tally.unattributed.values().next().expect("one currency");
        assert_eq!((inr.calls, inr.cost.to_string().as_str()), (2, "6"));
        assert_eq!((tally.records, tally.repeated, tally.outside), (14, 1, 2));
        let all: Vec<String> = tally.all.iter().map(|(currency, sum)| format!("{currency} {sum}")).collect();
        assert_eq!(all, ["EUR 0.07", "INR 21.0099"]);
        let stated = Stated::new("21".parse().expect("a sum"), "21".parse().expect("a sum"), &tally);
        assert!(stated.found.is_none() && !stated.agrees());
    }

    #[test]
    fn a_summary_is_of_all_pages_or_of_each() {
        let decimal = |text: &str| text.parse::<Decimal>().expect("a number");
        let tally = CallTally {
            all: BTreeMap::from([("INR".parse().expect("a currency"), decimal("3"))]),
            ..CallTally::default()
        };
        assert!(Stated::new(decimal("3"), decimal("6"), &tally).agrees());
        assert!(Stated::new(decimal("1"), decimal("3"), &tally).agrees());
        let other = Stated::new(decimal("2"), decimal("4"), &tally);
        assert_eq!((other.agrees(), other.stated), (false, decimal("2")));
    }
}
