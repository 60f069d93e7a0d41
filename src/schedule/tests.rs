//! Runs of real zones around their changes of clocks, and every minute of some
//! days against the walk.

use proptest::prelude::*;

use jiff::Timestamp;

use super::*;

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

#[track_caller]
fn plan(cron: &str, zone: &str) -> Recurrence {
    Recurrence::parse(cron, zone).unwrap_or_else(|errors| panic!("{cron:?} in {zone:?}: {errors:?}"))
}

/// The next runs after a moment, as the zone's clocks show them.
#[track_caller]
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    let plan = plan(cron, zone);
    let runs: Vec<String> = plan.upcoming(time(after), expected.len()).into_iter().map(|run| plan.local(run)).collect();
    assert_eq!(runs, expected, "{cron} in {zone} after {after}");
}

#[track_caller]
fn check_refused(cron: &str, zone: &str, field: &str, part: &str) {
    let errors = Recurrence::parse(cron, zone).err().unwrap_or_else(|| panic!("{cron:?} in {zone:?} was taken"));
    let error = errors.iter().find(|error| error.field == field);
    let message = &error.unwrap_or_else(|| panic!("{errors:?}")).message;
    assert!(message.contains(part), "{part:?} is not in {message:?}");
}

#[test]
fn plain_runs() {
    check(
        WEEKLY,
        "UTC",
        "2026-11-23T09:00:00Z",
        &["2026-11-30T09:00:00+00:00", "2026-12-07T09:00:00+00:00", "2026-12-14T09:00:00+00:00"],
    );
    check(WEEKLY, "UTC", "2026-11-23T08:59:59Z", &["2026-11-23T09:00:00+00:00"]);
    check(WEEKLY, "asia/kolkata", "2026-11-23T00:00:00Z", &["2026-11-23T09:00:00+05:30"]);
    check("@weekly", "UTC", "2026-11-23T09:00:00Z", &["2026-11-29T00:00:00+00:00"]);
    check("30 6 L * *", "UTC", "2026-02-01T00:00:00Z", &["2026-02-28T06:30:00+00:00", "2026-03-31T06:30:00+00:00"]);
    check("0 8 * * MON#1", "UTC", "2026-02-01T00:00:00Z", &["2026-02-02T08:00:00+00:00", "2026-03-02T08:00:00+00:00"]);
    // Either day will do, as in cron; with a plus it has to be both.
    check("0 0 13 * FRI", "UTC", "2026-02-11T00:00:00Z", &["2026-02-13T00:00:00+00:00", "2026-02-20T00:00:00+00:00"]);
    check("0 0 13 * +FRI", "UTC", "2026-02-14T00:00:00Z", &["2026-03-13T00:00:00+00:00", "2026-11-13T00:00:00+00:00"]);
    check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00+00:00"]);
    check("0 0 29 2 +MON", "UTC", "2080-01-01T00:00:00Z", &["2112-02-29T00:00:00+00:00"]);
}

#[test]
fn a_time_that_does_not_exist_is_the_first_moment_after_the_gap() {
    // Clocks go from 02:00 to 03:00.
    let berlin = ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
    check("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &berlin);
    let new_york = ["2026-03-07T02:30:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"];
    check("30 2 * * *", "America/New_York", "2026-03-07T00:00:00-05:00", &new_york);
    // From 02:00 to 02:30: half an hour.
    let lord_howe = ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"];
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T15:00:00Z", &lord_howe);
    check(
        "45 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T15:00:00Z",
        &["2026-10-04T02:45:00+11:00", "2026-10-05T02:45:00+11:00"],
    );
    // Four runs that fall into the gap are one, and so is the one at its end.
    let quarters = ["2026-03-29T01:45:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:15:00+02:00"];
    check("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", &quarters);
    // A whole day that was left out.
    check("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", &["2011-12-31T00:00:00+14:00"]);
    check(
        "30 2 * * *",
        "Asia/Kolkata",
        "2026-03-28T00:00:00Z",
        &["2026-03-29T02:30:00+05:30", "2026-03-30T02:30:00+05:30"],
    );
}

#[test]
fn a_time_that_happens_twice_is_its_first() {
    // From 03:00 back to 02:00.
    let berlin = ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
    check("30 2 * * *", "Europe/Berlin", "2026-10-23T22:00:00Z", &berlin);
    let new_york = ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"];
    check("30 1 * * *", "America/New_York", "2026-10-31T12:00:00-04:00", &new_york);
    // From 02:00 back to 01:30.
    let lord_howe = ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"];
    check("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &lord_howe);
    // Asked within the second pass: the first has been.
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", &["2026-10-26T02:30:00+01:00"]);
    let hours = ["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00"];
    check("0 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", &hours);
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    check_refused("", "UTC", "cron", "five fields");
    check_refused("0 9 * *", "UTC", "cron", "it has 4");
    check_refused("0 0 9 * * 1", "UTC", "cron", "it has 6");
    check_refused("60 9 * * 1", "UTC", "cron", "the minute \"60\"");
    check_refused("0 25 * * 1", "UTC", "cron", "the hour \"25\"");
    check_refused("0 9 0 * *", "UTC", "cron", "the day of the month \"0\"");
    check_refused("0 9 * FOO *", "UTC", "cron", "the month \"FOO\"");
    check_refused("0 9 * * 8", "UTC", "cron", "the day of the week \"8\"");
    check_refused("@often", "UTC", "cron", "@weekly");
    check_refused("0 9 ١ * *", "UTC", "cron", "ASCII");
    check_refused("0 0 30 2 *", "UTC", "cron", "never happens");
    check_refused("0 0 31 4,6,9,11 *", "UTC", "cron", "never happens");
    check_refused(WEEKLY, "Berlin", "zone", "Europe/Berlin");
    check_refused(WEEKLY, "new york", "zone", "America/New_York");
    check_refused(WEEKLY, "../etc/passwd", "zone", "IANA");
    check_refused(WEEKLY, "localtime", "zone", "IANA");
    check_refused(WEEKLY, "", "zone", "IANA");
    check_refused(WEEKLY, "+02:00", "zone", "IANA");
    assert_eq!(Recurrence::parse("x", "y").map_err(|errors| errors.len()).err(), Some(2));
}

#[test]
fn looks_between_runs_keep_the_minute_and_the_time_of_day() {
    let plan = plan("30 9 * * 1", "Asia/Kolkata");
    let now = time("2026-11-25T10:10:00Z");
    assert_eq!(plan.hourly(now).next(now), Some(time("2026-11-25T11:00:00Z")));
    assert_eq!(plan.daily(now).next(now), Some(time("2026-11-26T04:00:00Z")));
}

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Asia/Tehran",
];

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => (min..=max).prop_map(|one| one.to_string()),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (2..=15_u32).prop_map(|step| format!("*/{step}")),
    ]
}

/// Whether local minute by local minute the fields ask for it, read with no
/// help from `croner`.
fn wants(cron: &str, local: DateTime) -> bool {
    let fields: Vec<&str> = cron.split(' ').collect();
    let fits = |text: &str, value: u32, min: u32| {
        text.split(',').any(|part| match (part, part.split_once('-'), part.strip_prefix("*/")) {
            ("*", _, _) => true,
            (_, Some((a, b)), _) => (a.parse().expect("digits")..=b.parse().expect("digits")).contains(&value),
            (_, _, Some(step)) => (value - min).is_multiple_of(step.parse().expect("digits")),
            (one, None, None) => one.parse() == Ok(value),
        })
    };
    let number = |value: i8| u32::from(value.unsigned_abs());
    let weekday = number(local.weekday().to_sunday_zero_offset());
    let (day, week) = (fits(fields[2], number(local.day()), 1), fits(fields[4], weekday, 0));
    let on_day = if fields[2] != "*" && fields[4] != "*" { day || week } else { day && week };
    on_day
        && fits(fields[0], number(local.minute()), 0)
        && fits(fields[1], number(local.hour()), 0)
        && fits(fields[3], number(local.month()), 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Against every minute of some days, most of them around a change of clocks.
    #[test]
    fn no_run_is_left_out_and_none_is_made_up(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), week in field(0, 6),
        zone in proptest::sample::select(&ZONES[..]), change in 0..400_usize, offset in -1_500..1_500_i64,
    ) {
        let cron = format!("{minute} {hour} {day} * {week}");
        let plan = plan(&cron, zone);
        let change = plan.zone.rules().following(time("1995-01-01T00:00:00Z").seconds_stamp()).nth(change % 60);
        let around = change.map_or(1_790_000_000, |change| change.timestamp().as_second());
        let first = (around + offset * 60).div_euclid(60) * 60;
        let after = Time::new(first).expect("a time");
        let minutes = 4 * 1_440;
        let civil = |second: i64| plan.zone.civil(Time::new(second).expect("a time")).expect("a local time");

        // The moments that are wanted: the first pass of a wanted local minute,
        // or the end of a gap that one was in.
        let mut expected = Vec::new();
        let mut latest = civil(first - 2 * 86_400);
        for second in ((first - 2 * 86_400)..=(first + minutes * 60)).step_by(60) {
            let local = civil(second);
            let mut wanted = false;
            let mut each = latest;
            while each < local {
                each = each.checked_add(1.minute()).expect("a local time");
                wanted |= wants(&cron, each);
            }
            latest = latest.max(local);
            if wanted && second > first {
                expected.push(second);
            }
        }
        let found: Vec<i64> = std::iter::successors(plan.next(after), |&last| plan.next(last))
            .map(Time::seconds)
            .take_while(|&second| second <= first + minutes * 60)
            .collect();
        prop_assert!(found.iter().all(|&second| second > first));
        prop_assert_eq!(found, expected, "{} in {} after {}", cron, zone, plan.local(after));
    }

    #[test]
    fn no_text_panics(cron in "[0-9*/,#LW?+@A-Z -]{0,24}", zone in "[A-Za-z/_+.0-9-]{0,20}") {
        if let Ok(plan) = Recurrence::parse(&cron, &zone).or_else(|_| Recurrence::parse(&cron, UTC)) {
            let now = time("2026-11-23T09:00:00Z");
            prop_assert!(plan.next(now).is_some_and(|next| next > now));
        }
    }
}

trait Stamp {
    fn seconds_stamp(self) -> Timestamp;
}

impl Stamp for Time {
    fn seconds_stamp(self) -> Timestamp {
        Timestamp::from_second(self.seconds()).expect("a moment")
    }
}
