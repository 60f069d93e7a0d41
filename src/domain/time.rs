//! A moment in UTC, to the second.
//!
//! Every time Rollcall stores or shows is a whole second of UTC, so a moment
//! is one integer. A day is its first moment in a zone that the caller names.
//! Deliberately absent: the rules of zones and calendars (see `jiff`).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Seconds since 1970-01-01T00:00:00Z. Invariant: a year of four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time(i64);

const MIN: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
const MAX: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z

/// The length of the text of a moment, in bytes.
pub const TEXT_BYTES: usize = 20;

/// Where the last day begins that a time can be written on. Other products write
/// it for "never", so it and all that is later is taken from nobody.
const LAST_DAY: i64 = 253_402_214_400; // 9999-12-31T00:00:00Z

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    #[error("must be a time such as 2026-02-01T10:00:00Z")]
    Form,
    #[error(
        "must be a time with its zone, such as 2026-02-01T10:00:00Z or 2026-02-01T15:30:00+05:30 (in an address, + is written %2B)"
    )]
    Zone,
    #[error("is on a day that does not exist")]
    Day,
    #[error("is at a time of day that does not exist")]
    Clock,
    #[error("must be earlier than 9999-12-31")]
    Never,
}

impl BadTime {
    /// Why a text is not when a number expires. `empty` is how nothing is said there:
    /// other products write the last day for that.
    pub fn of_expiry(self, empty: &str) -> String {
        match self {
            BadTime::Never => format!("stands for no end; {empty}, and the number auto-renews"),
            error => error.to_string(),
        }
    }
}

impl Time {
    /// The moment this many seconds after the epoch, if its year has four digits.
    pub const fn new(seconds: i64) -> Option<Time> {
        if seconds >= MIN && seconds <= MAX { Some(Time(seconds)) } else { None }
    }

    /// The first second that begins at the moment of a text or later: whole seconds are
    /// earlier than the moment exactly if they are earlier than this. Reading the text
    /// as a time cuts it, which is right for "later than".
    pub fn upper_bound(text: &str) -> Result<Time, BadTime> {
        cut(text).map(|(time, within)| time.plus(i64::from(within)))
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
        let date = Date::new(year, month, day).ok()?;
        first_moment(date, &TimeZone::UTC)
    }

    /// The first moment of a day such as `2027-03-01` in a zone. Where the
    /// clocks skip midnight, the day begins later; where they show it twice,
    /// with the first.
    pub fn day(text: &str, zone: &TimeZone) -> Result<Time, BadTime> {
        if never(text) {
            return Err(BadTime::Never);
        }
        let digits = text.as_bytes();
        if digits.len() != DAY.len() || !shaped(digits, DAY) {
            return Err(BadTime::Form);
        }
        let date = date(digits).ok_or(BadTime::Day)?;
        first_moment(date, zone).ok_or(BadTime::Day)
    }

    /// Whether it is on the last day there is, which other products write for
    /// "never".
    pub const fn is_last_day(self) -> bool {
        self.0 >= LAST_DAY
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

const DAY: &[u8] = b"dddd-dd-dd";
const CLOCK: &[u8] = b"dd:dd:dd";

/// Whether a text has a shape, where `d` is a digit.
fn shaped(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
}

/// Whether a text begins with the last day that can be written, or a later one.
fn never(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-') else { return false };
    let digits = !year.is_empty() && year.bytes().all(|byte| byte.is_ascii_digit());
    let dated = rest.len() >= 5 && shaped(&rest.as_bytes()[..5], &DAY[5..]);
    digits && dated && (year.len() > 4 && !year.starts_with('0') || year == "9999" && rest.starts_with("12-31"))
}

/// The day of ten bytes of the shape [`DAY`].
fn date(text: &[u8]) -> Option<Date> {
    let two = |at: usize| i16::from(text[at] - b'0') * 10 + i16::from(text[at + 1] - b'0');
    Date::new(two(0) * 100 + two(2), two(5) as i8, two(8) as i8).ok()
}

/// The first moment of a day in a zone; `None` if the zone went over the whole
/// day, or if the moment is out of range.
pub fn first_moment(date: Date, zone: &TimeZone) -> Option<Time> {
    let midnight = date.to_zoned(zone.clone()).ok()?;
    if midnight.date() != date {
        // The zone went over the whole day.
        return None;
    }
    let mut first = midnight.timestamp();
    if midnight.datetime() != date.to_datetime(jiff::civil::Time::midnight()) {
        // The clocks may have gone over midnight by less than the hour that
        // midnight was moved by.
        let jump = zone.preceding(first).next().map(|jump| jump.timestamp());
        first = jump.filter(|&jump| zone.to_datetime(jump).date() == date).unwrap_or(first);
    }
    Time::new(first.as_second())
}

impl FromStr for Time {
    type Err = BadTime;

    /// RFC 3339, and what databases and spreadsheets write of it: a space for
    /// the `T`, ` UTC` for the `Z`, an offset without its colon or its minutes.
    /// A fraction of a second is dropped. Anything less says less than a moment
    /// and is refused.
    fn from_str(text: &str) -> Result<Time, BadTime> {
        cut(text).map(|(time, _)| time)
    }
}

/// The second that a moment lies in, and whether the moment is later than its begin.
fn cut(text: &str) -> Result<(Time, bool), BadTime> {
    if never(text) {
        return Err(BadTime::Never);
    }
    let bytes = text.as_bytes();
    let fits = bytes.len() >= 19
        && shaped(&bytes[..10], DAY)
        && matches!(bytes[10], b'T' | b't' | b' ')
        && shaped(&bytes[11..19], CLOCK);
    if !fits {
        return Err(BadTime::Form);
    }
    let (within, zone) = fraction(&bytes[19..])?;
    let offset = offset_seconds(zone)?;
    let midnight = date(bytes).and_then(|date| first_moment(date, &TimeZone::UTC)).ok_or(BadTime::Day)?;
    let two = |at: usize| i64::from(bytes[at] - b'0') * 10 + i64::from(bytes[at + 1] - b'0');
    let (hour, minute, second) = (two(11), two(14), two(17));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(BadTime::Clock);
    }
    let seconds = midnight.0 + hour * 3_600 + minute * 60 + second - offset;
    if seconds >= LAST_DAY {
        return Err(BadTime::Never);
    }
    Ok((Time::new(seconds).ok_or(BadTime::Form)?, within))
}

/// Whether `[.fraction]` is more than nothing, and what follows it.
fn fraction(rest: &[u8]) -> Result<(bool, &[u8]), BadTime> {
    let Some(fraction) = rest.strip_prefix(b".") else { return Ok((false, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(BadTime::Form);
    }
    let (fraction, rest) = fraction.split_at(digits);
    Ok((fraction.iter().any(|digit| *digit != b'0'), rest))
}

/// The offset in seconds of `[ ](Z|UTC|GMT|±HH[[:]MM])`.
fn offset_seconds(rest: &[u8]) -> Result<i64, BadTime> {
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    if rest.eq_ignore_ascii_case(b"Z") || rest.eq_ignore_ascii_case(b"UTC") || rest.eq_ignore_ascii_case(b"GMT") {
        return Ok(0);
    }
    let (sign, digits) = match rest {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return Err(BadTime::Zone),
    };
    let (hours, minutes) = match digits {
        [h1, h2] => ([h1, h2], [&b'0', &b'0']),
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => ([h1, h2], [m1, m2]),
        _ => return Err(BadTime::Zone),
    };
    if !hours.iter().chain(&minutes).all(|byte| byte.is_ascii_digit()) {
        return Err(BadTime::Zone);
    }
    let two = |[tens, ones]: [&u8; 2]| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (two(hours), two(minutes));
    if hours > 23 || minutes > 59 { Err(BadTime::Zone) } else { Ok(sign * (hours * 3_600 + minutes * 60)) }
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
    fn check_parse(text: &str, expected: &str) {
        let parsed = match text.parse::<Time>() {
            Ok(time) => time.to_string(),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(parsed, expected, "input: {text:?}");
    }

    #[test]
    fn a_moment_has_a_zone() {
        check_parse("2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01t10:00:00z", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01T10:00:00.999Z", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01T10:00:00+05:30", "2026-02-01T04:30:00Z");
        check_parse("2026-02-01T10:00:00-05:00", "2026-02-01T15:00:00Z");
        check_parse("2026-02-01 10:00:00Z", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01 10:00:00 UTC", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01 10:00:00.123456 utc", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01T10:00:00 GMT", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01 10:00:00+00", "2026-02-01T10:00:00Z");
        check_parse("2026-02-01 10:00:00 +0530", "2026-02-01T04:30:00Z");
        check_parse("2026-02-01 10:00:00 +05:30", "2026-02-01T04:30:00Z");
        check_parse("2026-02-01T10:00:00-0330", "2026-02-01T13:30:00Z");
        for text in
            ["2026-02-01T10:00:00", "2026-02-01 10:00:00", "2026-02-01 10:00:00 IST", "2026-02-01T10:00:00 05:30"]
        {
            check_parse(text, "Zone");
        }
        for text in ["2026-02-01T10:00:00+5:30", "2026-02-01T10:00:00+24", "2026-02-01T10:00:00+"] {
            check_parse(text, "Zone");
        }
        for text in ["", "2026-02-01", "2026-02-01T10:00:00.Z", "01/02/2026", "tomorrow", "2026-02-01_10:00:00Z"] {
            check_parse(text, "Form");
        }
        check_parse("2026-02-30T10:00:00Z", "Day");
        check_parse("2026-13-01T10:00:00Z", "Day");
        check_parse("2026-02-01T24:00:00Z", "Clock");
        check_parse("2026-02-01T10:00:60Z", "Clock");
    }

    #[test]
    fn an_upper_bound_keeps_the_seconds_before_it() {
        for (text, expected) in [
            ("2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z"),
            ("2026-02-01T10:00:00.000Z", "2026-02-01T10:00:00Z"),
            ("2026-02-01T10:00:00.0000000001Z", "2026-02-01T10:00:01Z"),
            ("2026-02-01T10:00:59.5Z", "2026-02-01T10:01:00Z"),
            ("2026-02-01T10:00:00.5+05:30", "2026-02-01T04:30:01Z"),
            ("9999-12-30T23:59:59.5Z", "9999-12-31T00:00:00Z"),
        ] {
            assert_eq!(Time::upper_bound(text).map(|time| time.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["2026-02-01T10:00:00.Z", "2026-02-01T10:00:00", "9999-12-31T00:00:00.5Z", "tomorrow"] {
            assert_eq!(Time::upper_bound(text), text.parse(), "{text}");
        }
    }

    #[test]
    fn the_last_day_is_never() {
        for text in [
            "9999-12-31T00:00:00Z",
            "9999-12-31T23:59:59.999Z",
            "9999-12-31 00:00:00",
            "9999-12-31",
            "10000-01-01T00:00:00Z",
            "99999-12-31",
            "9999-12-30T23:00:00-05:00",
        ] {
            check_parse(text, "Never");
        }
        check_parse("9999-12-30T23:59:59Z", "9999-12-30T23:59:59Z");
        assert_eq!(Time::day("9999-12-31", &TimeZone::UTC), Err(BadTime::Never));
        assert_eq!(
            Time::day("9999-12-30", &TimeZone::UTC).map(|time| time.to_string()).as_deref(),
            Ok("9999-12-30T00:00:00Z")
        );
    }

    #[test]
    fn a_day_begins_with_its_first_moment() {
        let check = |day: &str, zone: &str, expected: &str| {
            let zone = TimeZone::get(zone).expect("a zone");
            let found = match Time::day(day, &zone) {
                Ok(time) => time.to_string(),
                Err(error) => format!("{error:?}"),
            };
            assert_eq!(found, expected, "{day} in {zone:?}");
        };
        check("2027-03-01", "UTC", "2027-03-01T00:00:00Z");
        check("2027-03-01", "Asia/Kolkata", "2027-02-28T18:30:00Z");
        check("2027-03-01", "America/New_York", "2027-03-01T05:00:00Z");
        // The clocks go from midnight to one.
        check("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z");
        check("2024-04-26", "Africa/Cairo", "2024-04-25T22:00:00Z");
        // From 23:30 to 00:30, over midnight.
        check("1919-03-31", "America/Toronto", "1919-03-31T04:30:00Z");
        // Midnight comes twice.
        check("2024-11-03", "America/Havana", "2024-11-03T04:00:00Z");
        // The zone went over the date line, and over a day.
        check("2011-12-30", "Pacific/Apia", "Day");
        check("2026-02-30", "UTC", "Day");
        check("2026-2-3", "UTC", "Form");
    }

    proptest! {
        #[test]
        fn prints_what_jiff_prints(seconds in MIN..=LAST_DAY - 86_400) {
            let time = Time::new(seconds).expect("in range");
            let jiff = jiff::Timestamp::from_second(seconds).expect("in range");
            prop_assert_eq!(time.to_string(), jiff.to_string());
            prop_assert_eq!(time.to_string().parse::<Time>(), Ok(time));
        }
    }
}
