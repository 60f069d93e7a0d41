//! Days and months of a partner: what rental is counted in.
//!
//! A [`Calendar`] is the partner's choices of a zone, one after the other. Each
//! counts from the month after the one in which it was made, and that month
//! begins at the moment at which the one before ended, on the clocks of the
//! zone before. So months, and the days within them, follow each other without
//! a gap or an overlap, whatever clocks and zones do:
//! - Hours between the end of the old zone's month and the first midnight of
//!   the new zone are part of the first day.
//! - A day begins with its first moment. A day that a zone left out, or that
//!   was over before the month began, is no day of the month.
//!
//! Invariant: a month that has begun is never changed by a later choice.
//! Deliberately absent: the clock, and what a day costs.

use std::fmt;
use std::str::FromStr;

use crate::domain::setting::{AfterExpiry, Billing};
use crate::domain::time::TEXT_BYTES;
use crate::domain::{Time, Zone};

const SECONDS: i64 = 86_400;

/// From a moment to the one after its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeSpan {
    pub from: Time,
    pub until: Time,
}

/// A date, counted from 1970-01-01. Invariant: a year of four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(i32);

impl Day {
    /// The date in UTC.
    pub fn utc(time: Time) -> Day {
        // Times have years of four digits, so their days fit.
        Day(time.seconds().div_euclid(SECONDS) as i32)
    }

    /// Its midnight in UTC, which spells it.
    fn text_time(self) -> Time {
        // The day after the last there is ends with it.
        Time::new(0).expect("the epoch").plus(i64::from(self.0) * SECONDS)
    }

    pub fn plus(self, days: i32) -> Day {
        Day(self.0 + days)
    }

    /// Which day of its month it is, from 1.
    pub fn of_month(self) -> u8 {
        let mut text = [0; TEXT_BYTES];
        self.text_time().ascii(&mut text);
        (text[8] - b'0') * 10 + (text[9] - b'0')
    }
}

/// `2026-02-01`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text_time().text(&mut [0; TEXT_BYTES])[..10])
    }
}

/// A month of the calendar on the wall. Which moments are in it is said by a
/// [`Period`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month {
    first: Day,
    days: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a month such as 2026-02")]
pub struct BadMonth;

impl Month {
    /// The month that a date is in.
    pub fn of(day: Day) -> Month {
        let first = day.plus(1 - i32::from(day.of_month()));
        // No month has fewer than 28 days or more than 31.
        let days = (28..31).find(|&days| first.plus(days).of_month() == 1).unwrap_or(31);
        Month { first, days: days as u8 }
    }

    fn dates(self) -> impl Iterator<Item = Day> {
        (0..i32::from(self.days)).map(move |day| self.first.plus(day))
    }

    fn first_of_next(self) -> Day {
        self.first.plus(i32::from(self.days))
    }

    pub fn next(self) -> Month {
        Month::of(self.first_of_next())
    }

    pub fn previous(self) -> Month {
        Month::of(self.first.plus(-1))
    }
}

impl FromStr for Month {
    type Err = BadMonth;

    /// `2026-02` and nothing else.
    fn from_str(text: &str) -> Result<Month, BadMonth> {
        let bytes = text.as_bytes();
        let plain = bytes.len() == 7 && bytes[4] == b'-';
        let digits = |range: std::ops::Range<usize>| -> Option<i16> {
            let part = text.get(range)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let (Some(year), Some(month), true) = (digits(0..4), digits(5..7), plain) else { return Err(BadMonth) };
        let first = Time::midnight(year, month as i8, 1).ok_or(BadMonth)?;
        Ok(Month::of(Day::utc(first)))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.first.to_string()[..7])
    }
}

/// A zone and a rule, and since when they count.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Era {
    /// The first month, and the moment at which it begins.
    first: Month,
    begins: Time,
    zone: Zone,
    after_expiry: AfterExpiry,
}

/// All months of a partner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calendar {
    /// By time; the first is UTC, and begins with time.
    eras: Vec<Era>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the billing zone {zone:?} {problem}")]
pub struct BadZone {
    zone: String,
    problem: String,
}

impl Default for Calendar {
    /// That of a partner which chose nothing.
    fn default() -> Calendar {
        let begins = Time::new(0).expect("the epoch").plus(i64::MIN);
        let first = Month::of(Day::utc(begins));
        Calendar { eras: vec![Era { first, begins, zone: Zone::utc(), after_expiry: AfterExpiry::default() }] }
    }
}

impl Calendar {
    /// That of a partner which chose this; `None` is nothing.
    pub fn new(billing: Option<&Billing>) -> Result<Calendar, BadZone> {
        let mut calendar = Calendar::default();
        for choice in billing.into_iter().flat_map(|billing| &billing.choices) {
            let zone = Zone::find(&choice.zone)
                .map_err(|problem| BadZone { zone: choice.zone.chars().take(80).collect(), problem })?;
            calendar.choose(choice.chosen_at, zone, choice.after_expiry);
        }
        Ok(calendar)
    }

    /// A choice made at a time. It replaces one that does not count yet.
    fn choose(&mut self, at: Time, zone: Zone, after_expiry: AfterExpiry) {
        self.eras.retain(|era| era.begins <= at);
        let now = self.era(at);
        if (&now.zone, now.after_expiry) == (&zone, after_expiry) {
            return;
        }
        let first = self.month(at).next();
        let begins = now.zone.midnight(first.first.0);
        self.eras.push(Era { first, begins, zone, after_expiry });
    }

    fn era(&self, at: Time) -> &Era {
        let count = self.eras.partition_point(|era| era.begins <= at);
        &self.eras[count.max(1) - 1]
    }

    /// The day that a moment is in.
    pub fn day(&self, at: Time) -> Day {
        let Era { first, zone, .. } = self.era(at);
        let day = zone.day(at);
        // Clocks that went back over a midnight do not bring back its day.
        let day = if !zone.is_utc() && zone.midnight(day + 1) <= at { day + 1 } else { day };
        Day(day).max(first.first)
    }

    /// The month that a moment is in.
    pub fn month(&self, at: Time) -> Month {
        Month::of(self.day(at))
    }

    /// What becomes of expired numbers at a moment, and until when that is so.
    pub fn after_expiry(&self, at: Time) -> (AfterExpiry, Option<Time>) {
        let next = self.eras.iter().find(|era| era.begins > at);
        (self.era(at).after_expiry, next.map(|era| era.begins))
    }

    /// The moments and days of a month.
    pub fn period(&self, month: Month) -> Period {
        let count = self.eras.partition_point(|era| era.first <= month);
        let Era { first, begins, zone, after_expiry } = &self.eras[count.max(1) - 1];
        let begins = if *first == month { *begins } else { zone.midnight(month.first.0) };
        let ends = zone.midnight(month.first_of_next().0);
        let mut days = Vec::with_capacity(31);
        let mut from = begins;
        for day in month.dates() {
            let next = zone.midnight(day.0 + 1).max(begins);
            if from < next {
                days.push((day, from));
            }
            from = next;
        }
        Period { month, zone: zone.clone(), after_expiry: *after_expiry, begins, ends, days }
    }
}

/// One month of a partner. Invariant: it has at least one day, and its days
/// cover it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Period {
    pub month: Month,
    pub zone: Zone,
    pub after_expiry: AfterExpiry,
    pub begins: Time,
    /// The moment after its last.
    pub ends: Time,
    /// Each day with its first moment.
    days: Vec<(Day, Time)>,
}

impl Period {
    pub fn whole(&self) -> TimeSpan {
        TimeSpan { from: self.begins, until: self.ends }
    }

    /// What of the month is to be billed at `now`: all of it once it is over,
    /// before that the days up to today. `None` before it has begun.
    pub fn span(&self, now: Time) -> Option<TimeSpan> {
        let tomorrow = if now < self.ends { self.place(now) + 1 } else { self.days() };
        let until = self.days.get(tomorrow).map_or(self.ends, |(_, from)| *from);
        (self.begins <= now).then_some(TimeSpan { from: self.begins, until })
    }

    /// Whether it begins at another moment than its first midnight, because
    /// the month before was in another zone.
    pub fn moved(&self) -> bool {
        self.begins != self.zone.midnight(self.month.first.0)
    }

    /// The date that the clocks of its zone show.
    pub fn date(&self, at: Time) -> Day {
        Day(self.zone.day(at))
    }

    /// How many days it has.
    pub fn days(&self) -> usize {
        self.days.len()
    }

    pub fn day(&self, place: usize) -> Day {
        self.days[place.min(self.days.len() - 1)].0
    }

    /// The place among its days of the one that a moment is in; after the last,
    /// their number.
    pub fn place(&self, at: Time) -> usize {
        match at < self.ends {
            true => self.days.partition_point(|(_, from)| *from <= at).saturating_sub(1),
            false => self.days.len(),
        }
    }

    /// The place of the day on which a rental month begins that is anchored on
    /// this day of the month: that one, or the next that there is, or the last
    /// where the month is too short. Always asked of the anchor itself, so a
    /// short month moves one beginning and none after it.
    pub fn anniversary(&self, anchor: u8) -> usize {
        let anchored = self.month.first.plus(i32::from(anchor) - 1);
        let place = self.days.partition_point(|(day, _)| *day < anchored);
        place.min(self.days.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::setting::BillingChoice;
    use proptest::prelude::*;

    fn month(text: &str) -> Month {
        text.parse().expect("a month")
    }

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    /// The calendar of a partner that chose these zones at these times.
    fn calendar(choices: &[(&str, &str)]) -> Calendar {
        let choice = |(at, zone): &(&str, &str)| BillingChoice {
            chosen_at: time(at),
            zone: (*zone).into(),
            after_expiry: AfterExpiry::Charge,
        };
        let billing = Billing { choices: choices.iter().map(choice).collect() };
        Calendar::new(Some(&billing)).expect("zones")
    }

    #[test]
    fn a_month_has_its_days() {
        let utc = Calendar::default();
        for (text, days, ends) in [
            ("2026-02", 28, "2026-03-01T00:00:00Z"),
            ("2028-02", 29, "2028-03-01T00:00:00Z"),
            ("1900-02", 28, "1900-03-01T00:00:00Z"),
            ("2000-02", 29, "2000-03-01T00:00:00Z"),
            ("2026-04", 30, "2026-05-01T00:00:00Z"),
            ("2026-12", 31, "2027-01-01T00:00:00Z"),
        ] {
            let period = utc.period(month(text));
            assert_eq!((period.days(), period.ends), (days, time(ends)), "{text}");
            assert_eq!(month(text).to_string(), text);
            assert_eq!(month(text).next().previous(), month(text));
        }
        assert_eq!(utc.period(month("9999-12")).days(), 31);
    }

    #[test]
    fn a_zone_counts_from_the_next_month_which_begins_where_the_last_one_ended() {
        // Chosen, the month after, when it begins and ends, its days, the first.
        for (choices, text, begins, ends, days, first) in [
            (
                &[("2026-10-15T12:00:00Z", "Asia/Kolkata")][..],
                "2026-10",
                "2026-10-01T00:00:00Z",
                "2026-11-01T00:00:00Z",
                31,
                "2026-10-01",
            ),
            (
                &[("2026-10-15T12:00:00Z", "Asia/Kolkata")],
                "2026-11",
                "2026-11-01T00:00:00Z",
                "2026-11-30T18:30:00Z",
                30,
                "2026-11-01",
            ),
            (
                &[("2026-10-15T12:00:00Z", "Asia/Kolkata")],
                "2026-12",
                "2026-11-30T18:30:00Z",
                "2026-12-31T18:30:00Z",
                31,
                "2026-12-01",
            ),
            (
                &[("2026-10-15T12:00:00Z", "America/New_York")],
                "2026-11",
                "2026-11-01T00:00:00Z",
                "2026-12-01T05:00:00Z",
                30,
                "2026-11-01",
            ),
            // From the last zone to the first: the first day was over.
            (
                &[("2026-08-01T00:00:00Z", "Etc/GMT+12"), ("2026-10-15T12:00:00Z", "Pacific/Kiritimati")],
                "2026-11",
                "2026-11-01T12:00:00Z",
                "2026-11-30T10:00:00Z",
                29,
                "2026-11-02",
            ),
            // The last choice of a month counts, and one that is taken back does not.
            (
                &[("2026-10-15T12:00:00Z", "Asia/Tokyo"), ("2026-10-31T23:59:59Z", "Asia/Kolkata")],
                "2026-11",
                "2026-11-01T00:00:00Z",
                "2026-11-30T18:30:00Z",
                30,
                "2026-11-01",
            ),
            (
                &[("2026-10-15T12:00:00Z", "Asia/Tokyo"), ("2026-10-31T23:59:59Z", "UTC")],
                "2026-11",
                "2026-11-01T00:00:00Z",
                "2026-12-01T00:00:00Z",
                30,
                "2026-11-01",
            ),
            // At the first moment of November it counts from December.
            (
                &[("2026-11-01T00:00:00Z", "Asia/Kolkata")],
                "2026-11",
                "2026-11-01T00:00:00Z",
                "2026-12-01T00:00:00Z",
                30,
                "2026-11-01",
            ),
            // A day that the zone left out.
            (
                &[("2011-05-01T00:00:00Z", "Pacific/Apia")],
                "2011-12",
                "2011-12-01T10:00:00Z",
                "2011-12-31T10:00:00Z",
                30,
                "2011-12-01",
            ),
        ] {
            let period = calendar(choices).period(month(text));
            let found = (period.begins.to_string(), period.ends.to_string(), period.days(), period.day(0).to_string());
            assert_eq!(found, (begins.into(), ends.into(), days, first.into()), "{text} of {choices:?}");
        }
    }

    #[test]
    fn an_anchor_does_not_drift_over_short_months() {
        let days = ["2026-01", "2026-02", "2026-03", "2026-04", "2028-02"];
        let utc = Calendar::default();
        let on = |calendar: &Calendar, text: &str, anchor| {
            let period = calendar.period(month(text));
            period.day(period.anniversary(anchor)).of_month()
        };
        let of = |anchor| days.map(|text| on(&utc, text, anchor));
        assert_eq!(of(31), [31, 28, 31, 30, 29]);
        assert_eq!(of(29), [29, 28, 29, 29, 29]);
        assert_eq!(of(1), [1, 1, 1, 1, 1]);
        // The 30th did not exist there; the last day of 1994 did not here.
        let apia = calendar(&[("2011-05-01T00:00:00Z", "Pacific/Apia")]);
        assert_eq!([29, 30, 31].map(|anchor| on(&apia, "2011-12", anchor)), [29, 31, 31]);
        let kiritimati = calendar(&[("1994-05-01T00:00:00Z", "Pacific/Kiritimati")]);
        assert_eq!([30, 31].map(|anchor| on(&kiritimati, "1994-12", anchor)), [30, 30]);
    }

    #[test]
    fn what_is_not_a_month_is_refused() {
        for text in [
            "",
            "2026",
            "2026-2",
            "2026-13",
            "2026-00",
            "26-02",
            "2026-02-01",
            "2026/02",
            "+026-02",
            "février",
            "2026-0٢",
        ] {
            assert_eq!(text.parse::<Month>(), Err(BadMonth), "input: {text:?}");
        }
    }

    #[test]
    fn a_zone_that_is_not_known_is_said() {
        let choice = BillingChoice {
            chosen_at: time("2026-01-01T00:00:00Z"),
            zone: "Berlin".into(),
            after_expiry: AfterExpiry::Stop,
        };
        let error = Calendar::new(Some(&Billing { choices: vec![choice] })).expect_err("no such zone");
        assert!(error.to_string().contains("Europe/Berlin"), "{error}");
    }

    const ZONES: [&str; 12] = [
        "UTC",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Europe/Berlin",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Etc/GMT+12",
        "Africa/Casablanca",
        "Australia/Lord_Howe",
    ];

    proptest! {
        #[test]
        fn days_are_those_of_jiff(seconds in -62_167_219_200_i64..=253_402_300_799) {
            let time = Time::new(seconds).expect("in range");
            let (day, date) = (Calendar::default().day(time), jiff::Timestamp::from_second(seconds).expect("in range"));
            let date = date.to_zoned(jiff::tz::TimeZone::UTC).date();
            prop_assert_eq!(day.to_string(), date.to_string());
            prop_assert_eq!(i32::from(day.of_month()), i32::from(date.day()));
            let month = Month::of(day);
            prop_assert_eq!(i32::from(month.days), i32::from(date.days_in_month()));
            prop_assert_eq!(month.first.to_string(), date.first_of_month().to_string());
        }

        /// Whatever is chosen, months and days follow each other without a gap,
        /// and each moment is in the day and the month that say so.
        #[test]
        fn no_moment_is_twice_or_never(
            choices in prop::collection::vec((1_300_000_000_i64..1_330_000_000, prop::sample::select(&ZONES[..])), 0..6),
            moments in prop::collection::vec(1_290_000_000_i64..1_340_000_000, 20),
        ) {
            let mut choices: Vec<BillingChoice> = choices
                .iter()
                .map(|(at, zone)| BillingChoice {
                    chosen_at: Time::new(*at).expect("a time"),
                    zone: (*zone).into(),
                    after_expiry: AfterExpiry::Charge,
                })
                .collect();
            choices.sort_by_key(|choice| choice.chosen_at);
            let calendar = Calendar::new(Some(&Billing { choices: choices.clone() })).expect("zones");
            let (mut at, mut ended) = (month("2010-12"), None);
            while at < month("2012-12") {
                let period = calendar.period(at);
                prop_assert!(ended.is_none_or(|ended| ended == period.begins), "{at} begins where the last one ended");
                prop_assert!(period.days.windows(2).all(|two| two[0] < two[1] && two[0].1 < two[1].1));
                prop_assert!(period.days[0].1 == period.begins && period.days.last().expect("a day").1 < period.ends);
                (at, ended) = (at.next(), Some(period.ends));
            }
            for second in moments {
                let moment = Time::new(second).expect("a time");
                let period = calendar.period(calendar.month(moment));
                prop_assert!(period.begins <= moment && moment < period.ends);
                prop_assert_eq!(period.day(period.place(moment)), calendar.day(moment));
            }
            // A month that has begun is as it was, whatever is chosen in it.
            let later = BillingChoice {
                chosen_at: Time::new(1_335_000_000).expect("a time"),
                zone: "Asia/Tokyo".into(),
                after_expiry: AfterExpiry::Stop,
            };
            let begun = calendar.month(later.chosen_at);
            let all = [choices, vec![later]].concat();
            let changed = Calendar::new(Some(&Billing { choices: all })).expect("zones");
            for of in [month("2011-03"), month("2011-09"), begun] {
                prop_assert_eq!(changed.period(of), calendar.period(of));
            }
            prop_assert_eq!(changed.period(begun.next()).begins, calendar.period(begun).ends);
        }
    }
}
