//! Lines, totals and days against a calendar that is walked day by day.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{Account, Currency, NumberType, Record, State};

const DAY: i64 = 86_400;

fn time(text: &str) -> Time {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    text.parse().expect("a time")
}

fn month(text: &str) -> Month {
    text.parse().expect("a month")
}

fn number(digits: u64) -> E164 {
    E164::new(912_271_260_000 + digits).expect("a number")
}

fn money(minor: i64, currency: &str) -> Money {
    Money { minor, currency: currency.parse().expect("a currency") }
}

fn free() -> Record {
    Record { cost: Some(money(50_000, "INR")), ..Record::bare(State::Available, NumberType::Local, time("2026-01-01")) }
}

fn held(account: &str, rate: Money, assigned_at: Time) -> Record {
    Record {
        state: State::Active,
        account: Some(account.parse().expect("an id")),
        cost: Some(rate),
        assigned_at: Some(assigned_at),
        ..free()
    }
}

/// What an entry made of a number, and when.
type Event = (Time, E164, Option<Record>);

fn holdings(events: &[Event], span: TimeSpan) -> Holdings {
    let calendar = Calendar::default();
    let mut ledger = Ledger::new(&calendar, span);
    for (at, number, after) in events {
        ledger.numbers(*at, *number, 1, after.as_ref());
    }
    ledger.finish()
}

fn bill(events: &[Event], of: Month, proration: Proration) -> Bill {
    let calendar = Calendar::default();
    let span = calendar.period(of).whole();
    let bill = Bill::of(&calendar, of, proration, &holdings(events, span), time("9998-01-01"));
    check(&bill);
    bill
}

/// What holds of every bill.
fn check(bill: &Bill) {
    let mut next = 0;
    for group in &bill.groups {
        let lines = &bill.lines[group.lines.clone()];
        assert_eq!((group.lines.start, lines.is_empty()), (next, false), "groups cover the lines");
        next = group.lines.end;
        let sum: i128 = lines.iter().map(|line| i128::from(line.amount.minor)).sum();
        assert_eq!(sum, group.total.minor, "lines add up to totals");
        for line in lines {
            assert!(line.rate.currency == group.total.currency && line.amount.currency == group.total.currency);
            assert!(bill.period.day(0) <= line.from && line.from <= line.until && line.until <= bill.through);
            assert!(line.amount.minor <= line.rate.minor);
        }
    }
    assert_eq!(next, bill.lines.len());
    let mut days: Vec<(E164, Day)> = Vec::new();
    for line in &bill.lines {
        let all = (0..).map(|day| line.from.plus(day)).take_while(|day| *day <= line.until);
        days.extend(all.map(|day| (line.number, day)));
    }
    days.sort();
    assert!(days.windows(2).all(|two| two[0] != two[1]), "a day of a number is on one line");
}

/// Lines as `account number from until days amount`.
fn shown(bill: &Bill) -> Vec<String> {
    let mut out = Vec::new();
    for group in &bill.groups {
        for line in &bill.lines[group.lines.clone()] {
            let last = line.number.digits() % 10_000;
            let (from, until) = (line.from.of_month(), line.until.of_month());
            out.push(format!("{} {last} {from}-{until} {} {}", group.account, line.days, line.amount));
        }
    }
    out
}

#[track_caller]
fn check_lines(events: &[Event], of: &str, proration: Proration, expected: &[&str]) {
    assert_eq!(shown(&bill(events, month(of), proration)), expected, "{of} {proration}");
}

use Proration::{Days, Full};

#[test]
fn a_number_is_charged_from_the_day_it_is_assigned_each_month_on_that_day() {
    let rate = money(50_000, "INR");
    let at = time("2026-01-31T10:00:00Z");
    let events = [(at, number(1), Some(held("MA_1", rate, at)))];
    check_lines(&events, "2025-12", Full, &[]);
    check_lines(&events, "2026-01", Full, &["MA_1 1 31-31 1 500.00"]);
    check_lines(&events, "2026-02", Full, &["MA_1 1 1-28 28 500.00"]);
    check_lines(&events, "2026-03", Full, &["MA_1 1 1-31 31 500.00"]);
    check_lines(&events, "2026-01", Days, &["MA_1 1 31-31 1 16.13"]);
    check_lines(&events, "2026-02", Days, &["MA_1 1 1-28 28 500.00"]);
    let until = |day: &str| [events[0].clone(), (time(day), number(1), Some(free()))];
    // The rental month of January 31 reaches to February 27.
    check_lines(&until("2026-02-28"), "2026-02", Full, &["MA_1 1 1-27 27 0.00"]);
    check_lines(&until("2026-03-01"), "2026-02", Full, &["MA_1 1 1-28 28 500.00"]);
    check_lines(&until("2026-03-31"), "2026-03", Full, &["MA_1 1 1-30 30 0.00"]);
}

#[test]
fn the_first_entry_says_since_when_and_later_ones_count_from_their_time() {
    let rate = money(30_000, "INR");
    let since = time("2026-02-10T09:00:00Z");
    // Imported in November, of a number that was stock in the log till then.
    let import = (time("2026-11-23T14:00:00Z"), number(1), Some(held("MA_1", rate, since)));
    let events = [(time("2026-01-01"), number(1), Some(free())), import.clone()];
    check_lines(&events, "2026-02", Full, &["MA_1 1 10-28 19 300.00"]);
    check_lines(&events, "2026-03", Days, &["MA_1 1 1-31 31 300.00"]);
    // Correcting the date later moves nothing.
    let corrected = (time("2026-11-24"), number(1), Some(held("MA_1", rate, time("2026-01-01"))));
    check_lines(&[import.clone(), corrected], "2026-02", Full, &["MA_1 1 10-28 19 300.00"]);
    // Nor does another account that claims the past: it has it from the entry on.
    let moved = (time("2026-11-25T12:00:00Z"), number(1), Some(held("MA_2", rate, since)));
    let events = [import.clone(), moved];
    check_lines(&events, "2026-02", Full, &["MA_1 1 10-28 19 300.00"]);
    check_lines(&events, "2026-11", Full, &["MA_1 1 1-24 24 300.00", "MA_2 1 25-30 6 300.00"]);
    // A rate counts from its entry.
    let dearer = (time("2026-11-20T23:59:59Z"), number(1), Some(held("MA_1", money(60_000, "INR"), since)));
    let events = [(time("2026-11-01"), number(1), import.2.clone()), dearer];
    check_lines(&events, "2026-11", Days, &["MA_1 1 1-19 19 190.00", "MA_1 1 20-30 11 220.00"]);
    check_lines(&events, "2026-11", Full, &["MA_1 1 1-19 19 300.00", "MA_1 1 20-30 11 0.00"]);
}

#[test]
fn a_day_belongs_to_its_end() {
    let rate = money(2_800, "EUR");
    let at = |text: &str| time(&format!("2026-02-{text}Z"));
    let give = |text: &str, account: &str| (at(text), number(1), Some(held(account, rate, at(text))));
    let take = |text: &str| (at(text), number(1), Some(free()));
    let day = [give("03T08:00:00", "MA_1"), give("10T12:00:00", "MA_2"), take("20T23:00:00")];
    check_lines(&day, "2026-02", Days, &["MA_1 1 3-9 7 7.00", "MA_2 1 10-19 10 10.00"]);
    // All on one day: the last one has it; given back, nobody.
    let busy = [give("05T01:00:00", "MA_1"), give("05T02:00:00", "MA_2"), give("05T03:00:00", "MA_3")];
    check_lines(&busy, "2026-02", Days, &["MA_3 1 5-28 24 24.00"]);
    let mistake = [give("05T01:00:00", "MA_1"), take("05T02:00:00")];
    check_lines(&mistake, "2026-02", Full, &[]);
    // Midnight ends the day before.
    let midnight = [give("05T00:00:00", "MA_1"), take("06T00:00:00")];
    check_lines(&midnight, "2026-02", Full, &["MA_1 1 5-5 1 28.00"]);
}

#[test]
fn an_undone_release_goes_on_where_it_stood() {
    let rate = money(1_000, "EUR");
    let at = time("2026-02-05T08:00:00Z");
    let had = Some(held("MA_1", rate, at));
    let events = |end: &str, back: &str| {
        [(at, number(1), had.clone()), (time(end), number(1), Some(free())), (time(back), number(1), had.clone())]
    };
    // Within a day: as if nothing had been.
    let events_same = events("2026-02-10T08:00:00Z", "2026-02-10T09:00:00Z");
    check_lines(&events_same, "2026-02", Full, &["MA_1 1 5-28 24 10.00"]);
    // The days between are nobody's, and the paid month is not paid again.
    let days = events("2026-02-10T08:00:00Z", "2026-02-20T08:00:00Z");
    check_lines(&days, "2026-02", Full, &["MA_1 1 5-9 5 10.00", "MA_1 1 20-28 9 0.00"]);
    check_lines(&days, "2026-03", Full, &["MA_1 1 1-31 31 10.00"]);
    // After the paid month, it begins anew.
    let weeks = events("2026-02-10T08:00:00Z", "2026-03-20T08:00:00Z");
    check_lines(&weeks, "2026-03", Full, &["MA_1 1 20-31 12 10.00"]);
    check_lines(&weeks, "2026-04", Full, &["MA_1 1 1-30 30 10.00"]);
}

#[test]
fn currencies_and_accounts_have_totals_of_their_own() {
    let at = time("2026-02-15T00:00:00Z");
    let with = |digits, account: &str, minor, currency: &str| {
        (at, number(digits), Some(held(account, money(minor, currency), at)))
    };
    let events = [
        with(1, "MA_2", 500, "JPY"),
        with(2, "MA_1", 1_250, "KWD"),
        with(3, "MA_1", 99_999, "INR"),
        with(4, "MA_1", 1, "INR"),
        with(5, "MA_1", 0, "EUR"),
    ];
    let bill = bill(&events, month("2026-02"), Days);
    let totals: Vec<String> =
        bill.groups.iter().map(|group| format!("{} {} {}", group.account, group.total.currency, group.total)).collect();
    // 14 of 28 days; half a paisa is a paisa.
    assert_eq!(totals, ["MA_1 EUR 0.00", "MA_1 INR 500.01", "MA_1 KWD 0.625", "MA_2 JPY 250"]);
    let all: Vec<String> =
        Bill::totals(bill.groups.iter()).iter().map(|sum| format!("{} {sum}", sum.currency)).collect();
    assert_eq!(all, ["EUR 0.00", "INR 500.01", "JPY 250", "KWD 0.625"]);
}

#[test]
fn a_month_that_is_not_over_counts_to_today() {
    let at = time("2026-02-02T10:00:00Z");
    let events = [(at, number(1), Some(held("MA_1", money(2_800, "EUR"), at)))];
    let of = month("2026-02");
    let calendar = Calendar::default();
    let period = calendar.period(of);
    let now = time("2026-02-10T13:00:00Z");
    let bill = Bill::of(&calendar, of, Days, &holdings(&events, period.span(now).expect("begun")), now);
    assert_eq!(
        (bill.through.to_string().as_str(), shown(&bill), bill.draft),
        ("2026-02-10", vec!["MA_1 1 2-10 9 9.00".to_owned()], true)
    );
    assert_eq!(period.span(time("2026-01-31T23:59:59Z")), None);
    assert!(period.span(time("2026-02-01T00:00:00Z")).is_some());
    // On its last day it is whole, and a draft; then it is neither.
    for (now, draft) in [("2026-02-28T23:59:59Z", true), ("2026-03-01T00:00:00Z", false)] {
        assert_eq!(period.span(time(now)), Some(period.whole()));
        let bill = Bill::of(&calendar, of, Days, &holdings(&events, period.whole()), time(now));
        assert_eq!((bill.draft, bill.through.to_string().as_str()), (draft, "2026-02-28"), "{now}");
    }
}

#[test]
fn names_are_those_of_the_month() {
    let account = |name: &str| Account {
        auth_id: "MA_1".parse().expect("an id"),
        name: name.into(),
        created_at: time("2026-01-01"),
        archived_at: None,
    };
    let calendar = Calendar::default();
    let mut ledger = Ledger::new(&calendar, calendar.period(month("2026-02")).whole());
    for (at, name) in [("2026-01-01", "First"), ("2026-02-28", "Second"), ("2026-03-01", "Third")] {
        ledger.account(time(at), &account(name));
    }
    assert_eq!(&*ledger.finish().accounts[0].1, "Second");
}

#[derive(Clone, Debug)]
enum Step {
    Assign(u8),
    Release,
    Rate(u8),
    Suspend,
    Retire,
    /// Back to how the number was before its last change.
    Undo,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Assign),
        2 => Just(Step::Release),
        2 => (0..4_u8).prop_map(Step::Rate),
        1 => Just(Step::Suspend),
        1 => Just(Step::Retire),
        2 => Just(Step::Undo),
    ]
}

const RATES: [(i64, &str); 4] = [(50_000, "INR"), (99_999, "INR"), (333, "EUR"), (1_001, "KWD")];

/// A year of changes to three numbers, as verbs make them.
fn history() -> impl Strategy<Value = Vec<Event>> {
    let start = time("2027-06-01").seconds();
    // Few distinct hours, so that changes share a day and a moment.
    let when = (0..366_i64, prop::sample::select(vec![0, 1, DAY / 2, DAY - 1]));
    prop::collection::vec((when, 0..3_u64, step()), 0..40).prop_map(move |steps| {
        let mut steps: Vec<(Time, u64, Step)> = steps
            .into_iter()
            .map(|((day, second), digits, step)| (Time::new(start + day * DAY + second).expect("a time"), digits, step))
            .collect();
        steps.sort_by_key(|(at, ..)| *at);
        let mut events: Vec<Event> = Vec::new();
        for (at, digits, step) in steps {
            let past: Vec<&Event> = events.iter().filter(|(_, of, _)| *of == number(digits)).collect();
            let now = past.last().and_then(|event| event.2.clone());
            let before = past.len().checked_sub(2).and_then(|place| past[place].2.clone());
            let had = now.clone().unwrap_or_else(free);
            let after = match step {
                Step::Assign(account) => {
                    Some(held(&format!("MA_{account}"), had.cost.expect("priced"), at)).filter(|_| !had.state.held())
                }
                Step::Release => Some(Record { cost: had.cost, ..free() }),
                Step::Rate(rate) => {
                    let (minor, currency) = RATES[usize::from(rate)];
                    Some(Record { cost: Some(money(minor, currency)), ..had })
                }
                Step::Suspend if had.state.held() => Some(Record { state: State::Suspended, ..had }),
                Step::Suspend => Some(had),
                Step::Retire => None,
                Step::Undo => before,
            };
            events.push((at, number(digits), after));
        }
        events
    })
}

fn months() -> Vec<Month> {
    let mut months = vec![month("2027-06")];
    while months.len() < 13 {
        months.push(months[months.len() - 1].next());
    }
    months
}

/// By account, number and rate: days, and minor units times days.
type Daily = BTreeMap<(String, E164, i64, Currency), (i64, i128)>;

fn add(daily: &mut Daily, bill: &Bill) {
    for group in &bill.groups {
        for line in &bill.lines[group.lines.clone()] {
            let key = (group.account.to_string(), line.number, line.rate.minor, line.rate.currency);
            let (days, units) = daily.entry(key).or_default();
            *days += line.days as i64;
            *units += i128::from(line.rate.minor) * line.days as i128;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The days of a month and what they come to before rounding; in full
    /// months, where nothing is rounded, the amounts.
    #[test]
    fn a_year_by_the_month_is_a_year_by_the_day(events in history()) {
        for of in months() {
            let (mut by_month, mut by_day, mut naive) = (Daily::new(), Daily::new(), Daily::new());
            add(&mut by_month, &bill(&events, of, Days));
            let mut whole: BTreeMap<(AccountId, Currency), i128> = BTreeMap::new();
            let calendar = Calendar::default();
            let period = calendar.period(of);
            for day in 0..period.days() as i64 {
                let (start, end) = (period.begins.plus(day * DAY), period.begins.plus((day + 1) * DAY));
                let held = holdings(&events, TimeSpan { from: start, until: end });
                let days = Bill::of(&calendar, of, Days, &held, end);
                prop_assert!(days.lines.iter().all(|line| line.days == 1));
                add(&mut by_day, &days);
                for group in Bill::of(&calendar, of, Full, &held, end).groups {
                    *whole.entry((group.account, group.total.currency)).or_default() += group.total.minor;
                }
                // Without any ledger: how each number was at the day's end.
                for digits in 0..3 {
                    let last = events.iter().rfind(|(at, of, _)| *of == number(digits) && *at < end);
                    let Some(record) = last.and_then(|event| event.2.as_ref()) else { continue };
                    let (Some(account), Some(rate)) = (record.holder(), record.cost) else { continue };
                    let key = (account.to_string(), number(digits), rate.minor, rate.currency);
                    let (days, units) = naive.entry(key).or_default();
                    *days += 1;
                    *units += i128::from(rate.minor);
                }
            }
            prop_assert_eq!(&by_month, &by_day);
            prop_assert_eq!(&by_month, &naive);
            let full = bill(&events, of, Full);
            let full: BTreeMap<_, _> =
                full.groups.into_iter().map(|group| ((group.account, group.total.currency), group.total.minor)).collect();
            prop_assert_eq!(full, whole);
        }
    }

    /// Months that are cut out of a year are the months alone.
    #[test]
    fn a_month_of_a_year_is_that_month(events in history()) {
        let calendar = Calendar::default();
        let period = |of: Month| calendar.period(of).whole();
        let all = months();
        let whole = TimeSpan { from: period(all[0]).from, until: period(all[all.len() - 1]).until };
        let year = holdings(&events, whole);
        for of in all {
            for proration in [Full, Days] {
                let part = Bill::of(&calendar, of, proration, &year.within(period(of)), time("9998-01-01"));
                prop_assert_eq!(part, bill(&events, of, proration));
            }
        }
    }

    /// Each line is its days' part of the rate, rounded half up.
    #[test]
    fn a_line_is_rounded_once(minor in 0..=i64::MAX, from in 1..=31_i64, days in 1..=31_i64) {
        let start = time("2026-03-01").plus((from - 1) * DAY);
        let rate = money(minor, "INR");
        let events = [
            (start, number(1), Some(held("MA_1", rate, start))),
            (start.plus(days * DAY), number(1), Some(free())),
        ];
        let bill = bill(&events, month("2026-03"), Days);
        let line = bill.lines[0];
        let exact = i128::from(minor) * line.days as i128;
        let error = i128::from(line.amount.minor) * 31 - exact;
        prop_assert!(-31 < 2 * error && 2 * error <= 31, "{line:?}");
    }

    #[test]
    fn assigned_moved_and_released_covers_each_day_once(
        mut seconds in prop::collection::vec(0..31 * DAY, 3),
    ) {
        seconds.sort_unstable();
        let at = |second: i64| time("2026-03-01").plus(second);
        let rate = money(100, "EUR");
        let events = [
            (at(seconds[0]), number(1), Some(held("MA_1", rate, at(seconds[0])))),
            (at(seconds[1]), number(1), Some(held("MA_2", rate, at(seconds[1])))),
            (at(seconds[2]), number(1), Some(free())),
        ];
        let bill = bill(&events, month("2026-03"), Days);
        let days: usize = bill.lines.iter().map(|line| line.days).sum();
        prop_assert_eq!(days as i64, seconds[2] / DAY - seconds[0] / DAY);
    }
}
