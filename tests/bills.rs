//! Bills against a model that shares no code with them: it walks the days of
//! each number on the clocks that `jiff` knows, and remembers moment by moment
//! who held what, at which rate, and what was paid.
//!
//! Numbers are assigned, moved, released, put back, suspended, renewed and left
//! to expire; the partner changes its zone and its rule for expired numbers, at
//! the borders of months too. What is compared is every line of every month:
//! whose it is, its days, its amount, and whether it says that it charges after
//! an expiry.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rollcall::billing::{Bill, Calendar, Ledger, Month, Proration};
use rollcall::domain::setting::{AfterExpiry, Billing, BillingChoice};
use rollcall::domain::{E164, Money, NumberType, Record, State, Tags, Time};

const FIRST: (i16, i8) = (2011, 1);
const MONTHS: usize = 30;
const NUMBERS: u64 = 60;
const SEEDS: u64 = 8;
const HOUR: i64 = 3_600;

/// Zones with daylight saving at midnight, a minute past it and by half an
/// hour, one that left out a day, and the two ends of the world.
const ZONES: [&str; 11] = [
    "UTC",
    "Asia/Kolkata",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
];
const RATES: [(i64, &str); 5] = [(50_000, "INR"), (99_999, "INR"), (333, "EUR"), (1_001, "KWD"), (7, "JPY")];
const ACCOUNTS: [&str; 3] = ["MA_1", "MA_2", "MA_3"];

// What happens.

/// What is known of a number from a moment on.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Held {
    account: &'static str,
    rate: (i64, &'static str),
    assigned_at: i64,
    expires_at: Option<i64>,
    suspended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: i64,
    after: Option<Held>,
}

/// A choice of the partner.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    at: i64,
    zone: &'static str,
    stop: bool,
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: i64) -> i64 {
        (self.next() % end as u64) as i64
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as i64) as usize]
    }

    /// A moment between two, often a whole hour, so that some are at midnight.
    fn moment(&mut self, from: i64, to: i64) -> i64 {
        let at = from + self.below(to - from);
        if self.below(2) == 0 { (at.div_euclid(HOUR) * HOUR).max(from) } else { at }
    }
}

fn lifecycle(random: &mut Random, from: i64, to: i64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut at = from;
    // What the number was before it was released, to be put back.
    let mut released: Option<Held> = None;
    loop {
        at += match random.below(4) {
            0 => 1 + random.below(30 * HOUR),
            _ => 1 + random.below(70 * 24 * HOUR),
        };
        at = random.moment(at, at + 2 * HOUR);
        if at >= to {
            return events;
        }
        let now = events.last().and_then(|event| event.after);
        let expiry = |random: &mut Random| match random.below(3) {
            0 => None,
            _ => Some(random.moment(at + 1, at + 100 * 24 * HOUR)),
        };
        let after = match now {
            None => {
                let put_back = released.filter(|_| random.below(2) == 0);
                let assigned_at = if events.is_empty() { at - random.below(60 * 24 * HOUR) } else { at };
                Some(put_back.unwrap_or(Held {
                    account: random.of(&ACCOUNTS),
                    rate: random.of(&RATES),
                    assigned_at,
                    expires_at: expiry(random),
                    suspended: false,
                }))
            }
            Some(held) => match random.below(9) {
                0 | 1 => None,
                2 | 3 => Some(Held { expires_at: expiry(random), ..held }),
                4 => Some(Held { rate: random.of(&RATES), ..held }),
                5 => Some(Held { suspended: !held.suspended, ..held }),
                // A move keeps price and expiry, also one that has passed.
                6 => Some(Held { account: random.of(&ACCOUNTS), assigned_at: at, ..held })
                    .filter(|to| to.account != held.account),
                7 => Some(Held { expires_at: held.expires_at.map(|_| at + 1), ..held }),
                _ => Some(held),
            },
        };
        released = if after.is_none() { now } else { None };
        events.push(Event { at, after });
    }
}

fn choices(random: &mut Random, from: i64, to: i64) -> Vec<Chosen> {
    let mut all = Vec::new();
    let mut at = from;
    loop {
        at += random.below(150 * 24 * HOUR);
        // Sometimes at the first moment of a month of UTC.
        if random.below(4) == 0 {
            let date = Timestamp::from_second(at).expect("a moment").to_zoned(TimeZone::UTC).date();
            let first = date.first_of_month().checked_add(1.month()).expect("a month");
            at = first.to_zoned(TimeZone::UTC).expect("a moment").timestamp().as_second();
        }
        if at >= to {
            return all;
        }
        all.push(Chosen { at, zone: random.of(&ZONES), stop: random.below(2) == 0 });
    }
}

// The model.

/// A month as the model has it: its days, each with the moment after its last.
struct ModelMonth {
    zone: String,
    stop: bool,
    begins: i64,
    days: Vec<(Date, i64)>,
}

impl ModelMonth {
    fn ends(&self) -> i64 {
        self.days.last().expect("a day").1
    }

    fn date(&self, at: i64) -> Option<Date> {
        let inside = self.begins <= at && at < self.ends();
        inside.then(|| self.days.iter().find(|(_, end)| at < *end).expect("a day").0)
    }

    /// On which of its days a rental month begins.
    fn anniversary(&self, anchor: i8) -> Date {
        let later = self.days.iter().find(|(date, _)| date.day() >= anchor);
        later.unwrap_or(self.days.last().expect("a day")).0
    }
}

fn midnight(date: Date, zone: &str) -> i64 {
    date.to_zoned(TimeZone::get(zone).expect("a zone")).expect("a moment").timestamp().as_second()
}

/// All months, one after the other, from some years before the first.
fn months(chosen: &[Chosen]) -> Vec<ModelMonth> {
    let mut first = Date::new(FIRST.0 - 1, FIRST.1, 1).expect("a date");
    let mut begins = midnight(first, "UTC");
    let mut months = Vec::new();
    for _ in 0..MONTHS + 16 {
        let latest = chosen.iter().rev().find(|choice| choice.at < begins);
        let (zone, stop) = latest.map_or(("UTC", false), |choice| (choice.zone, choice.stop));
        let mut days: Vec<(Date, i64)> = Vec::new();
        let next = first.checked_add(1.month()).expect("a month");
        let mut date = first;
        while date < next {
            let tomorrow = date.tomorrow().expect("a day");
            let end = midnight(tomorrow, zone);
            if end > days.last().map_or(begins, |(_, end)| *end) {
                days.push((date, end));
            }
            date = tomorrow;
        }
        let month = ModelMonth { zone: zone.to_owned(), stop, begins, days };
        (first, begins) = (next, month.ends());
        months.push(month);
    }
    months
}

/// A number over a stretch of time in which nothing changes.
#[derive(Clone, Copy)]
struct Moment {
    from: i64,
    held: Option<Held>,
    expired: bool,
    billed: bool,
    anchor: i8,
}

/// What was last paid by an account: when that ended, and how it was held.
#[derive(Clone, Copy)]
struct Paid {
    holding: usize,
    assigned_at: i64,
    anchor: i8,
    until: i64,
}

fn date_of(months: &[ModelMonth], at: i64) -> Date {
    months.iter().find_map(|month| month.date(at)).expect("a month")
}

/// The first day on which a rental month begins, at or after the moment.
fn due(months: &[ModelMonth], anchor: i8, at: i64) -> Date {
    let day = date_of(months, at);
    let place = months.iter().position(|month| month.date(at).is_some()).expect("a month");
    let due = months[place].anniversary(anchor);
    if due >= day { due } else { months[place + 1].anniversary(anchor) }
}

/// The life of a number, cut at every moment at which anything may change.
fn timeline(events: &[Event], months: &[ModelMonth], end: i64) -> Vec<Moment> {
    let mut states: Vec<(i64, Option<Held>)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        // The first entry tells since when.
        let from = match (place, event.after) {
            (0, Some(held)) => held.assigned_at,
            _ => event.at,
        };
        states.push((from, event.after));
    }
    let mut cuts: Vec<i64> = states.iter().map(|(at, _)| *at).collect();
    cuts.extend(states.iter().filter_map(|(_, held)| held.as_ref()?.expires_at));
    cuts.extend(months.iter().map(|month| month.begins));
    cuts.retain(|at| states.first().is_some_and(|(first, _)| first <= at) && *at < end);
    cuts.sort_unstable();
    cuts.dedup();
    let mut all: Vec<Moment> = Vec::new();
    let mut paid: HashMap<&str, Paid> = HashMap::new();
    let mut holding = 0;
    for (place, &from) in cuts.iter().enumerate() {
        let until = cuts.get(place + 1).copied().unwrap_or(end);
        let held = states.iter().rev().find(|(at, _)| *at <= from).and_then(|(_, held)| *held);
        let before = all.last().and_then(|moment| moment.held);
        if held.map(|held| held.account) != before.map(|held| held.account) {
            holding += 1;
        }
        let Some(now) = held else {
            all.push(Moment { from, held, expired: false, billed: false, anchor: 0 });
            continue;
        };
        let expired = now.expires_at.is_some_and(|end| end <= from);
        let stop = months.iter().rev().find(|month| month.begins <= from).expect("a month").stop;
        let billed = !(expired && stop);
        let mut anchor = 0;
        if billed {
            let known = paid.get(now.account).copied();
            let goes_on = known.is_some_and(|paid| paid.holding == holding && paid.until == from);
            let again = known.filter(|paid| {
                let same = paid.holding == holding || paid.assigned_at == now.assigned_at;
                same && due(months, paid.anchor, paid.until) >= date_of(months, from)
            });
            anchor = match (goes_on, again, known) {
                (true, _, Some(paid)) => paid.anchor,
                (_, Some(paid), _) => paid.anchor,
                _ => date_of(months, from).day(),
            };
            paid.insert(now.account, Paid { holding, assigned_at: now.assigned_at, anchor, until });
        }
        all.push(Moment { from, held, expired, billed, anchor });
    }
    all
}

/// A line as text: everything that is on it.
fn model_lines(
    number: u64,
    moments: &[Moment],
    months: &[ModelMonth],
    place: usize,
    proration: Proration,
) -> Vec<String> {
    let month = &months[place];
    // Each day with what was so at its end.
    let mut runs: Vec<Vec<(Date, Moment)>> = Vec::new();
    let mut open = false;
    for (date, end) in &month.days {
        let last = moments.iter().rev().find(|moment| moment.from < *end);
        let Some(moment) = last.filter(|moment| moment.billed) else {
            open = false;
            continue;
        };
        let like = |moment: &Moment| moment.held.map(|held| (held.account, held.rate, moment.anchor));
        match runs.last_mut() {
            Some(run) if open && like(&run[0].1) == like(moment) => run.push((*date, *moment)),
            _ => runs.push(vec![(*date, *moment)]),
        }
        open = true;
    }
    let line = |run: &Vec<(Date, Moment)>| {
        let (first, last) = (run[0], run[run.len() - 1]);
        let held = first.1.held.expect("held");
        let begins = run.iter().find(|(date, _)| *date == month.anniversary(first.1.anchor));
        let (minor, after) = match proration {
            Proration::Full => (begins.map_or(0, |_| held.rate.0), begins.filter(|(_, moment)| moment.expired)),
            Proration::Days => {
                let part = held.rate.0 as f64 * run.len() as f64 / month.days.len() as f64;
                ((part + 0.5 + 1e-9).floor() as i64, run.iter().find(|(_, moment)| moment.expired))
            }
        };
        let expired_on = after.map(|(_, moment)| {
            date_of(months, moment.held.and_then(|held| held.expires_at).expect("an expiry")).to_string()
        });
        let expired_on = expired_on.unwrap_or_default();
        let (from, until, days) = (first.0, last.0, run.len());
        format!("{} {number} {from} {until} {days} {} {minor} {} {expired_on}", held.account, held.rate.0, held.rate.1)
    };
    runs.iter().map(line).collect()
}

// The bill.

fn time(second: i64) -> Time {
    Time::new(second).expect("a time")
}

fn record(held: Option<Held>) -> Option<Record> {
    let held = held?;
    Some(Record {
        state: if held.suspended { State::Suspended } else { State::Active },
        account: Some(held.account.parse().expect("an id")),
        application: None,
        trunk: None,
        number_type: NumberType::Local,
        country: None,
        region: None,
        cost: Some(Money { minor: held.rate.0, currency: held.rate.1.parse().expect("a currency") }),
        assigned_at: Some(time(held.assigned_at)),
        expires_at: held.expires_at.map(time),
        since: time(held.assigned_at),
        until: None,
        tags: Tags::default(),
    })
}

fn bill_lines(
    log: &[(i64, u64, Option<Record>)],
    calendar: &Calendar,
    month: Month,
    proration: Proration,
) -> Vec<String> {
    let period = calendar.period(month);
    let mut ledger = Ledger::new(calendar, period.whole());
    for (at, number, after) in log {
        ledger.numbers(time(*at), E164::new(*number).expect("a number"), 1, after.as_ref());
    }
    let bill = Bill::of(calendar, month, proration, &ledger.finish(), period.ends);
    let mut lines = Vec::new();
    for group in &bill.groups {
        for line in &bill.lines[group.lines.clone()] {
            let number = line.number.digits();
            let expired = line.expired_on.map_or_else(String::new, |day| day.to_string());
            let (days, minor) = (line.days, line.amount.minor);
            lines.push(format!(
                "{} {number} {} {} {days} {} {minor} {} {expired}",
                group.account, line.from, line.until, line.rate.minor, line.rate.currency
            ));
        }
    }
    lines
}

#[test]
fn every_line_of_every_month_is_the_models() {
    let from = midnight(Date::new(FIRST.0, FIRST.1, 1).expect("a date"), "UTC");
    let to = from + MONTHS as i64 * 30 * 24 * HOUR;
    let end = to + 400 * 24 * HOUR;
    let (mut number_months, mut lines, mut after, mut zoned, mut disagreements) = (0, 0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let chosen = choices(&mut random, from, to);
        let lives: Vec<(u64, Vec<Event>)> =
            (0..NUMBERS).map(|number| (912_271_260_000 + number, lifecycle(&mut random, from, to))).collect();
        let mut log: Vec<(i64, u64, Option<Record>)> = lives
            .iter()
            .flat_map(|(number, events)| events.iter().map(|event| (event.at, *number, record(event.after))))
            .collect();
        log.sort_by_key(|(at, number, _)| (*at, *number));
        let choice = |one: &Chosen| BillingChoice {
            chosen_at: time(one.at),
            zone: one.zone.into(),
            after_expiry: if one.stop { AfterExpiry::Stop } else { AfterExpiry::Charge },
        };
        let billing = Billing { choices: chosen.iter().map(choice).collect() };
        let calendar = Calendar::new(Some(&billing)).expect("zones");
        let months = months(&chosen);
        let moments: Vec<Vec<Moment>> = lives.iter().map(|(_, events)| timeline(events, &months, end)).collect();
        for (place, month) in months.iter().enumerate().take(MONTHS + 12).skip(10) {
            let name: Month = month.days[15].0.strftime("%Y-%m").to_string().parse().expect("a month");
            for proration in [Proration::Full, Proration::Days] {
                let mut found = bill_lines(&log, &calendar, name, proration);
                let mut expected: Vec<String> = Vec::new();
                for ((number, _), moments) in lives.iter().zip(&moments) {
                    let lines = model_lines(*number, moments, &months, place, proration);
                    number_months += usize::from(proration == Proration::Full && !lines.is_empty());
                    after += lines.iter().filter(|line| !line.ends_with(' ')).count();
                    expected.extend(lines);
                }
                lines += expected.len();
                zoned += if month.zone == "UTC" { 0 } else { expected.len() };
                found.sort();
                expected.sort();
                let differ = |one: &[String], other: &[String]| {
                    one.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>()
                };
                let (more, fewer) = (differ(&found, &expected), differ(&expected, &found));
                if !more.is_empty() || !fewer.is_empty() || found.len() != expected.len() {
                    disagreements += more.len().max(fewer.len()).max(1);
                    println!("seed {seed} {name} {proration} in {}: bill {more:#?} model {fewer:#?}", month.zone);
                }
            }
        }
    }
    println!(
        "{number_months} number-months, {lines} lines, {zoned} of them in zones other than UTC, {after} after an \
         expiry: {disagreements} disagreements"
    );
    assert!(number_months >= 10_000 && zoned > 10_000 && after > 1_000);
    assert_eq!(disagreements, 0);
}
