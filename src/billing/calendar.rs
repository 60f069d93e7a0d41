//! Days and months of UTC: what rental is counted in.
//!
//! A day is one integer and a month has exact borders, so nothing here drifts.
//! Deliberately absent: zones. A partner's month is the month in UTC, as every
//! time that Rollcall shows is.

use std::fmt;
use std::str::FromStr;

use crate::domain::Time;
use crate::domain::time::TEXT_BYTES;

const SECONDS: i64 = 86_400;

/// A day of UTC, counted from 1970-01-01. Invariant: a year of four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(i32);

impl Day {
    /// The day that a moment is in.
    pub fn of(time: Time) -> Day {
        // Times have years of four digits, so their days fit.
        Day(time.seconds().div_euclid(SECONDS) as i32)
    }

    /// Its first second.
    pub fn start(self) -> Time {
        // The day after the last there is ends with it.
        Time::new(0).expect("the epoch").plus(i64::from(self.0) * SECONDS)
    }

    pub fn plus(self, days: i32) -> Day {
        Day(self.0 + days)
    }

    /// How many days it is from `earlier` to this one.
    pub fn since(self, earlier: Day) -> i32 {
        self.0 - earlier.0
    }

    /// Which day of its month it is, from 1.
    pub fn of_month(self) -> u8 {
        let mut text = [0; TEXT_BYTES];
        self.start().ascii(&mut text);
        (text[8] - b'0') * 10 + (text[9] - b'0')
    }
}

/// `2026-02-01`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.start().text(&mut [0; TEXT_BYTES])[..10])
    }
}

/// A month of UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month {
    first: Day,
    days: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a month such as 2026-02")]
pub struct BadMonth;

impl Month {
    /// The month that a day is in.
    pub fn of(day: Day) -> Month {
        let first = day.plus(1 - i32::from(day.of_month()));
        // No month has fewer than 28 days or more than 31.
        let days = (28..31).find(|&days| first.plus(days).of_month() == 1).unwrap_or(31);
        Month { first, days: days as u8 }
    }

    pub fn first(self) -> Day {
        self.first
    }

    /// The day after its last.
    pub fn end(self) -> Day {
        self.first.plus(self.days())
    }

    pub fn days(self) -> i32 {
        i32::from(self.days)
    }

    /// The day on which a rental month begins that is anchored on this day of
    /// the month: that one, or the last where the month is too short for it.
    /// Always asked of the anchor itself, so a short month moves one beginning
    /// and none after it.
    pub fn anniversary(self, anchor: u8) -> Day {
        self.first.plus(i32::from(anchor.clamp(1, self.days)) - 1)
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
        Ok(Month::of(Day::of(first)))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.first.to_string()[..7])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(text: &str) -> Month {
        text.parse().expect("a month")
    }

    #[test]
    fn a_month_has_its_days() {
        for (text, days, end) in [
            ("2026-02", 28, "2026-03-01"),
            ("2028-02", 29, "2028-03-01"),
            ("1900-02", 28, "1900-03-01"),
            ("2000-02", 29, "2000-03-01"),
            ("2026-04", 30, "2026-05-01"),
            ("2026-12", 31, "2027-01-01"),
        ] {
            let month = month(text);
            assert_eq!((month.days(), month.end().to_string().as_str()), (days, end), "{text}");
            assert_eq!(month.to_string(), text);
        }
        assert_eq!(month("9999-12").days(), 31);
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
    fn an_anchor_does_not_drift_over_short_months() {
        let days = ["2026-01", "2026-02", "2026-03", "2026-04", "2028-02"];
        let of = |anchor| days.map(|text| month(text).anniversary(anchor).of_month());
        assert_eq!(of(31), [31, 28, 31, 30, 29]);
        assert_eq!(of(29), [29, 28, 29, 29, 29]);
        assert_eq!(of(1), [1, 1, 1, 1, 1]);
    }

    proptest! {
        #[test]
        fn days_are_those_of_jiff(seconds in -62_167_219_200_i64..=253_402_300_799) {
            let time = Time::new(seconds).expect("in range");
            let (day, date) = (Day::of(time), jiff::Timestamp::from_second(seconds).expect("in range"));
            let date = date.to_zoned(jiff::tz::TimeZone::UTC).date();
            prop_assert_eq!(day.to_string(), date.to_string());
            prop_assert_eq!(i32::from(day.of_month()), i32::from(date.day()));
            let month = Month::of(day);
            prop_assert_eq!(month.days(), i32::from(date.days_in_month()));
            prop_assert_eq!(month.first().to_string(), date.first_of_month().to_string());
            prop_assert!(month.first() <= day && day < month.end());
        }
    }
}
