//! A moment in UTC, to the second.
//!
//! Every time Rollcall stores or shows is a whole second of UTC, so a moment
//! is one integer. Deliberately absent: zones and calendars (see `jiff`).

use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z. Invariant: a year of four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(i64);

const MIN: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
const MAX: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z

/// The length of the text of a moment, in bytes.
pub const TEXT_BYTES: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 2026-02-01T10:00:00Z")]
pub struct BadTime;

impl Time {
    /// The moment this many seconds after the epoch, if its year has four digits.
    pub const fn new(seconds: i64) -> Option<Time> {
        if seconds >= MIN && seconds <= MAX { Some(Time(seconds)) } else { None }
    }

    /// The system clock, cut to the second.
    pub fn now() -> Time {
        Time(jiff::Timestamp::now().as_second())
    }

    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// This moment moved by whole seconds, held within four-digit years.
    pub const fn plus(self, seconds: i64) -> Time {
        let moved = self.0.saturating_add(seconds);
        Time(if moved < MIN {
            MIN
        } else if moved > MAX {
            MAX
        } else {
            moved
        })
    }

    /// Midnight UTC at the start of a day, if the day exists.
    pub fn midnight(year: i16, month: i8, day: i8) -> Option<Time> {
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Time::new(zoned.timestamp().as_second())
    }

    /// `2026-02-01T10:00:00Z`, written into `buffer`.
    pub fn text(self, buffer: &mut [u8; TEXT_BYTES]) -> &str {
        std::str::from_utf8(self.ascii(buffer)).expect("digits and punctuation are ASCII")
    }

    /// The same, as bytes.
    pub fn ascii(self, buffer: &mut [u8; TEXT_BYTES]) -> &[u8] {
        // Days to civil date by the era arithmetic of Howard Hinnant's
        // "chrono-Compatible Low-Level Date Algorithms"; jiff agrees (tested).
        let days = self.0.div_euclid(86_400);
        let second = self.0.rem_euclid(86_400);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);

        let mut put = |at: usize, width: usize, mut value: i64| {
            for place in (at..at + width).rev() {
                buffer[place] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, second / 3_600);
        put(14, 2, second / 60 % 60);
        put(17, 2, second % 60);
        for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')] {
            buffer[at] = byte;
        }
        buffer
    }
}

impl FromStr for Time {
    type Err = BadTime;

    /// RFC 3339: date, `T`, time, then `Z` or an offset. A fraction of a
    /// second is dropped. Anything less says less than a moment and is refused.
    fn from_str(text: &str) -> Result<Time, BadTime> {
        let bytes = text.as_bytes();
        let shape = b"dddd-dd-ddTdd:dd:dd";
        if bytes.len() < shape.len() + 1 {
            return Err(BadTime);
        }
        for (byte, expected) in bytes.iter().zip(shape) {
            let fits = match expected {
                b'd' => byte.is_ascii_digit(),
                _ => byte.eq_ignore_ascii_case(expected),
            };
            if !fits {
                return Err(BadTime);
            }
        }
        let two = |at: usize| i64::from(bytes[at] - b'0') * 10 + i64::from(bytes[at + 1] - b'0');
        let year = (two(0) * 100 + two(2)) as i16;
        let midnight = Time::midnight(year, two(5) as i8, two(8) as i8).ok_or(BadTime)?;
        let (hour, minute, second) = (two(11), two(14), two(17));
        if hour > 23 || minute > 59 || second > 59 {
            return Err(BadTime);
        }
        let offset = offset_seconds(&bytes[shape.len()..]).ok_or(BadTime)?;
        Time::new(midnight.0 + hour * 3_600 + minute * 60 + second - offset).ok_or(BadTime)
    }
}

/// The offset in seconds of `[.fraction](Z|±HH:MM)`.
fn offset_seconds(mut rest: &[u8]) -> Option<i64> {
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        rest = &fraction[digits..];
    }
    match rest {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            let hours = i64::from(h1 - b'0') * 10 + i64::from(h2 - b'0');
            let minutes = i64::from(m1 - b'0') * 10 + i64::from(m2 - b'0');
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_parse(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<Time>().ok().map(|time| time.to_string());
        assert_eq!(parsed.as_deref(), expected, "input: {text:?}");
    }

    #[test]
    fn rfc_3339_and_nothing_less() {
        check_parse("2026-02-01T10:00:00Z", Some("2026-02-01T10:00:00Z"));
        check_parse("2026-02-01t10:00:00z", Some("2026-02-01T10:00:00Z"));
        check_parse("2026-02-01T10:00:00.999Z", Some("2026-02-01T10:00:00Z"));
        check_parse("2026-02-01T10:00:00+05:30", Some("2026-02-01T04:30:00Z"));
        check_parse("2026-02-01T10:00:00-05:00", Some("2026-02-01T15:00:00Z"));
        for text in [
            "",
            "2026-02-01",
            "2026-02-01T10:00:00",
            "2026-02-01 10:00:00Z",
            "2026-02-30T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-02-01T24:00:00Z",
            "2026-02-01T10:00:60Z",
            "2026-02-01T10:00:00.Z",
            "2026-02-01T10:00:00+0530",
            "2026-02-01T10:00:00 05:30",
            "01/02/2026",
            "tomorrow",
        ] {
            check_parse(text, None);
        }
    }

    proptest! {
        #[test]
        fn prints_what_jiff_prints(seconds in MIN..=MAX) {
            let time = Time::new(seconds).expect("in range");
            let jiff = jiff::Timestamp::from_second(seconds).expect("in range");
            prop_assert_eq!(time.to_string(), jiff.to_string());
            prop_assert_eq!(time.to_string().parse::<Time>(), Ok(time));
        }
    }
}
