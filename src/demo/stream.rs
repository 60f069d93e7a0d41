//! A partner's inventory as it is now, row by row.
//!
//! The inventory is made of pieces: neighbouring numbers in one situation. Each
//! situation has a quota, and the next piece is of the one furthest behind, so
//! that the quotas are met exactly and the situations are spread evenly.

use std::fmt;

use crate::domain::{Time, plan};

use super::tables::{APPLICATIONS, PartnerProfile, Range, Sample, TAGS};

/// The columns of a row in a file, in order.
pub const COLUMNS: &str = "number,number_end,account_auth_id,account_name,number_type,country,region,status,\
application_id,application_name,trunk_id,monthly_cost,currency,assigned_at,expires_at,tags,state,since,\
quarantine_ends_at,reserved_until,reserved_for";

const DAY: i64 = 86_400;
/// When numbers are suspended, and released, on their days.
const SUSPENDED_HOUR: i64 = 10 * 3_600;
const RELEASED_HOUR: i64 = 11 * 3_600;

/// What is said of a piece's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Situation {
    /// A block that an account holds and routes.
    Block,
    /// The same, of one number with a gap around it.
    Single,
    /// The same, with tags.
    Tagged,
    /// The same, but it ends in months.
    Term,
    /// The same, but it ends within these many days, and not much sooner.
    Expiring(i64),
    Expired,
    /// Held, with nowhere to route to.
    Unrouted,
    Suspended,
    /// Held by the account whose numbers are all suspended.
    Dormant,
    Reserved,
    Quarantined,
    Stock,
}

/// Each situation with its share of a thousand numbers, and the least that
/// shows in a small inventory. What remains is [`Situation::Block`].
const SHARES: &[(Situation, u64, u64)] = &[
    (Situation::Single, 30, 12),
    (Situation::Tagged, 20, 6),
    (Situation::Term, 40, 6),
    (Situation::Expiring(1), 1, 2),
    (Situation::Expiring(7), 2, 2),
    (Situation::Expiring(14), 2, 2),
    (Situation::Expired, 2, 2),
    (Situation::Unrouted, 10, 3),
    (Situation::Suspended, 10, 3),
    (Situation::Dormant, 2, 3),
    (Situation::Reserved, 4, 3),
    (Situation::Quarantined, 3, 3),
    (Situation::Stock, 80, 20),
];

/// How many numbers a situation shall have and has.
struct Quota {
    situation: Situation,
    numbers: u64,
    made: u64,
}

/// An account with what its numbers route to.
struct DemoAccount {
    id: String,
    name: String,
    applications: Vec<(String, &'static str)>,
    trunks: Vec<String>,
}

/// The holder of a number, and where its calls go: ids and names, empty where
/// there is none.
#[derive(Clone, Copy, Default)]
pub struct DemoHolding<'a> {
    pub account: (&'a str, &'a str),
    pub application: (&'a str, &'a str),
    pub trunk: &'a str,
}

/// Neighbouring numbers in one situation; an account without numbers if it has
/// none.
#[derive(Clone, Copy)]
pub struct DemoRow<'a> {
    pub numbers: Option<(u64, u64)>,
    pub holding: DemoHolding<'a>,
    /// The holding of a quarantined number before its release.
    pub earlier: DemoHolding<'a>,
    pub cost: &'a str,
    pub currency: &'a str,
    pub assigned_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub tags: &'a str,
    pub state: &'a str,
    pub since: Option<Time>,
    pub quarantine_ends_at: Option<Time>,
    pub reserved_until: Option<Time>,
    pub reserved_for: &'a str,
}

pub struct DemoStream {
    profile: &'static PartnerProfile,
    /// Midnight of the day that the inventory is of.
    today: Time,
    dice: Dice,
    accounts: Vec<DemoAccount>,
    dormant: DemoAccount,
    /// The whole partner's: what any account may route to.
    common: DemoAccount,
    quotas: Vec<Quota>,
    /// Numbers in all quotas together, and made.
    numbers: u64,
    made: u64,
    /// The largest block.
    block_max: u64,
    /// Which range is at work, its next number, and how many are still to come
    /// from it.
    range: usize,
    next: u64,
    left: u64,
    /// How often the holder has changed, and which account it is.
    turns: usize,
    holder: usize,
}

impl DemoStream {
    pub fn new(profile: &'static PartnerProfile, numbers: u64, now: Time) -> DemoStream {
        let mut dice = Dice(profile.seed);
        let samples: u64 = profile.samples.iter().map(|sample| sample.last - sample.first + 1).sum();
        let numbers = numbers - samples;
        let mut quotas: Vec<Quota> = SHARES
            .iter()
            .map(|&(situation, share, least)| Quota {
                situation,
                numbers: (numbers * share / 1_000).max(least),
                made: 0,
            })
            .collect();
        let special: u64 = quotas.iter().map(|quota| quota.numbers).sum();
        quotas.push(Quota { situation: Situation::Block, numbers: numbers - special, made: 0 });
        let accounts = profile.accounts.iter().map(|name| account(name, &mut dice)).collect();
        let dormant = account(profile.suspended, &mut dice);
        let common = account("", &mut dice);
        // Larger ones only where they do not crowd out the others.
        let block_max = if numbers < 400_000 { (numbers / 10).clamp(10, 1_000) } else { 10_000 };
        DemoStream {
            profile,
            today: now.plus(-now.seconds().rem_euclid(DAY)),
            dice,
            accounts,
            dormant,
            common,
            quotas,
            numbers,
            made: 0,
            block_max,
            range: 0,
            next: profile.ranges[0].first,
            left: numbers * profile.ranges[0].weight / 100,
            turns: 0,
            holder: 0,
        }
    }

    /// Hands over every row: the samples and the accounts without numbers
    /// first, then the pieces in the order of their ranges.
    pub fn rows(mut self, take: &mut dyn FnMut(DemoRow<'_>)) {
        for sample in self.profile.samples {
            take(sample_row(sample));
        }
        for name in self.profile.empty {
            let DemoAccount { id, name, .. } = account(name, &mut self.dice);
            let holding = DemoHolding { account: (&id, &name), ..DemoHolding::default() };
            take(DemoRow { state: "no_number", ..DemoRow::of(holding) });
        }
        while self.piece(take) {}
    }

    /// Makes the next piece; false if there is none.
    fn piece(&mut self, take: &mut dyn FnMut(DemoRow<'_>)) -> bool {
        while self.left == 0 || self.next >= self.range().first + self.range().size {
            // What a range has no room for, the next one has.
            let Some(range) = self.profile.ranges.get(self.range + 1) else { return false };
            self.range += 1;
            self.next = range.first;
            let weight = |ranges: &[Range]| ranges.iter().map(|range| range.weight).sum::<u64>();
            self.left = self.numbers * weight(&self.profile.ranges[..=self.range]) / 100 - self.made;
        }
        let Some(due) = self.due() else { return false };
        let quota = &self.quotas[due];
        let (situation, wanted) = (quota.situation, quota.numbers - quota.made);
        let mut count = self.length(situation).min(wanted).min(self.left);
        if situation == Situation::Single {
            self.next += self.dice.below(9) + 1;
        } else if matches!(situation, Situation::Block | Situation::Tagged | Situation::Term | Situation::Stock) {
            // Blocks begin at round numbers, and some of what is between them
            // was never bought.
            if self.dice.below(4) == 0 {
                self.next += self.dice.below(count) + 1;
            }
            self.next = self.next.next_multiple_of(10_u64.pow(count.ilog10()));
        }
        let range = self.range();
        let end = range.first + range.size;
        count = count.min(end.saturating_sub(self.next));
        // A range has stretches that the numbering plan does not know.
        let valid = |number: u64| plan::lookup(number).valid;
        if count == 0 || !valid(self.next) || !valid(self.next + count - 1) {
            self.next = (self.next + 1).next_multiple_of(if self.next.is_multiple_of(1_000) { 1_000 } else { 10 });
            return true;
        }
        let (first, last) = (self.next, self.next + count - 1);
        self.next += count;
        if situation == Situation::Single {
            self.next += self.dice.below(9) + 1;
        }
        self.left -= count;
        self.made += count;
        self.quotas[due].made += count;
        self.row(take, situation, (first, last));
        true
    }

    fn range(&self) -> &'static Range {
        &self.profile.ranges[self.range]
    }

    /// The quota that is furthest behind, if one is not met.
    fn due(&self) -> Option<usize> {
        let behind =
            |quota: &Quota| quota.numbers as i64 * (self.made as i64 + 1) - quota.made as i64 * self.numbers as i64;
        let open = self.quotas.iter().enumerate().filter(|(_, quota)| quota.made < quota.numbers);
        open.max_by_key(|(_, quota)| behind(quota)).map(|(at, _)| at)
    }

    /// How many numbers a piece shall have.
    fn length(&mut self, situation: Situation) -> u64 {
        const LENGTHS: [u64; 10] = [10, 20, 50, 100, 100, 200, 500, 1_000, 5_000, 10_000];
        let fit = LENGTHS.iter().filter(|&&length| length <= self.block_max).count() as u64;
        let mut block = |most: u64| LENGTHS[self.dice.below(fit) as usize].min(most);
        match situation {
            Situation::Block => block(10_000),
            Situation::Tagged | Situation::Term | Situation::Stock => block(500),
            Situation::Single => 1,
            Situation::Expiring(_) | Situation::Expired | Situation::Quarantined => self.dice.below(4) + 1,
            Situation::Unrouted | Situation::Suspended | Situation::Dormant | Situation::Reserved => {
                self.dice.below(10) + 1
            }
        }
    }

    fn row(&mut self, take: &mut dyn FnMut(DemoRow<'_>), situation: Situation, numbers: (u64, u64)) {
        if matches!(situation, Situation::Block | Situation::Single) {
            // Everyone has a turn, then large accounts have more of them.
            let count = self.accounts.len() as u64;
            self.holder = match self.turns {
                turn if turn < self.accounts.len() => turn,
                _ => self.dice.below(count).min(self.dice.below(count)) as usize,
            };
            self.turns += 1;
        }
        let today = self.today;
        let day = |days: i64| today.plus(days * DAY);
        // Months or years ago, in steps, so that rows repeat.
        let assigned_days = -(90 + 14 * self.dice.below(80) as i64);
        let mut assigned_at = Some(day(assigned_days).plus(9 * 3_600));
        let mut since = assigned_at;
        let (mut expires_at, mut quarantine_ends_at, mut reserved_until) = (None, None, None);
        let mut routed = true;
        let mut state = "active";
        match situation {
            Situation::Block | Situation::Single | Situation::Tagged => {}
            Situation::Term => expires_at = Some(day(30 * (1 + self.dice.below(12) as i64))),
            // Tomorrow at midnight is within a day whatever the hour is.
            Situation::Expiring(1) => expires_at = Some(day(1)),
            Situation::Expiring(days) => expires_at = Some(day(days - self.dice.below(5) as i64)),
            Situation::Expired => expires_at = Some(day(-(self.dice.below(30) as i64))),
            Situation::Unrouted => routed = false,
            Situation::Suspended | Situation::Dormant => {
                state = "suspended";
                // In steps, so that several are suspended on one day.
                since = Some(day(-1 - 5 * self.dice.below(12) as i64).plus(SUSPENDED_HOUR));
            }
            Situation::Reserved => {
                state = "reserved";
                since = Some(day(-2));
                reserved_until = Some(day(3 + self.dice.below(27) as i64));
            }
            Situation::Quarantined => {
                state = "quarantined";
                let days = 1 + 8 * self.dice.below(11) as i64;
                since = Some(day(days - 90).plus(RELEASED_HOUR));
                quarantine_ends_at = Some(day(days).plus(RELEASED_HOUR));
            }
            Situation::Stock => state = "available",
        }
        let held = matches!(state, "active" | "suspended");
        let before = assigned_at;
        if !held {
            (assigned_at, routed) = (None, false);
        }
        let dice = (self.dice.next(), self.dice.next());
        let account = if situation == Situation::Dormant { &self.dormant } else { &self.accounts[self.holder] };
        // An eighth goes where the whole partner's does.
        let routes = if dice.0.is_multiple_of(8) { &self.common } else { account };
        let (application, application_name) =
            &routes.applications[(dice.1 % routes.applications.len() as u64) as usize];
        let whole = DemoHolding {
            account: (&account.id, &account.name),
            application: (application, application_name),
            trunk: &routes.trunks[(dice.1 % routes.trunks.len() as u64) as usize],
        };
        let application = if routed { whole.application } else { ("", "") };
        let holding = if held { DemoHolding { application, ..whole } } else { DemoHolding::default() };
        let earlier = if situation == Situation::Quarantined { whole } else { DemoHolding::default() };
        let Range { cost, currency, .. } = self.range();
        take(DemoRow {
            numbers: Some(numbers),
            holding,
            earlier,
            cost,
            currency,
            assigned_at: if situation == Situation::Quarantined { before } else { assigned_at },
            expires_at,
            tags: if situation == Situation::Tagged { TAGS[(dice.0 % TAGS.len() as u64) as usize] } else { "" },
            state,
            since,
            quarantine_ends_at,
            reserved_until,
            reserved_for: if reserved_until.is_some() { &account.id } else { "" },
        });
    }
}

impl<'a> DemoRow<'a> {
    /// A row that says nothing but this.
    pub fn of(holding: DemoHolding<'a>) -> DemoRow<'a> {
        let (numbers, earlier, cost, currency, tags, state) = Default::default();
        let (assigned_at, expires_at, since, quarantine_ends_at, reserved_until, reserved_for) = Default::default();
        DemoRow {
            numbers,
            holding,
            earlier,
            cost,
            currency,
            assigned_at,
            expires_at,
            tags,
            state,
            since,
            quarantine_ends_at,
            reserved_until,
            reserved_for,
        }
    }
}

/// The row as a line of a file; what a number had earlier is in none.
impl fmt::Display for DemoRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DemoHolding { account, application, trunk } = self.holding;
        writeln!(
            f,
            "{},{},{},{},,,,,{},{},{trunk},{},{},{},{},{},{},{},{},{},{}",
            Maybe(self.numbers.map(|(first, _)| format!("+{first}"))),
            Maybe(self.numbers.filter(|(first, last)| last > first).map(|(_, last)| format!("+{last}"))),
            account.0,
            CsvQuoted(account.1),
            application.0,
            CsvQuoted(application.1),
            self.cost,
            self.currency,
            Maybe(self.assigned_at.filter(|_| self.state != "quarantined")),
            Maybe(self.expires_at),
            self.tags,
            self.state,
            Maybe(self.since),
            Maybe(self.quarantine_ends_at),
            Maybe(self.reserved_until),
            self.reserved_for,
        )
    }
}

fn sample_row(sample: &Sample) -> DemoRow<'_> {
    let Sample { first, last, account, application, trunk, cost, currency, assigned_at } = sample;
    let at = assigned_at.parse().ok();
    let holding = DemoHolding { account: *account, application: *application, trunk };
    let row = DemoRow::of(holding);
    DemoRow { numbers: Some((*first, *last)), cost, currency, assigned_at: at, state: "active", since: at, ..row }
}

/// An account with ids by the dice; the whole partner's if it has no name.
fn account(name: &str, dice: &mut Dice) -> DemoAccount {
    let id = |kind: &str, dice: &mut Dice| format!("{kind}{:06x}", dice.next() >> 40);
    let applications = (0..2 + dice.below(3))
        .map(|_| (id("app_", dice), APPLICATIONS[dice.below(APPLICATIONS.len() as u64) as usize]))
        .collect();
    let trunks = (0..1 + dice.below(3)).map(|_| id("trunk_", dice)).collect();
    DemoAccount { id: format!("MA_{:08x}", dice.next() >> 32), name: name.to_owned(), applications, trunks }
}

/// A value, or an empty cell.
struct Maybe<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

/// A name as a cell, in quotes if it needs them.
struct CsvQuoted<'a>(&'a str);

impl std::fmt::Display for CsvQuoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.contains([',', '"', '\n']) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for (at, part) in self.0.split('"').enumerate() {
            f.write_str(if at == 0 { "" } else { "\"\"" })?;
            f.write_str(part)?;
        }
        f.write_str("\"")
    }
}

/// SplitMix64, so that the same numbers come out everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly enough for a demo.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
