//! A time zone by its IANA name, and what its clocks show.
//!
//! The names are those of the tables in this program, so that a machine's own
//! files add no others; their rules are the machine's if it has them, which may
//! be newer.
//!
//! A local time that happens twice is its first occurrence, and one that does
//! not exist is the first moment after the gap; [`Zone::exactly`] refuses both.
//! Months are counted on the calendar: 31 January and a month is the last day of
//! February.
//! Deliberately absent: which zone holds where.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use super::Time;

/// The zone where nothing else is said.
pub const UTC: &str = "UTC";

#[derive(Clone)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

/// Why a local time is no single moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLocal {
    #[error("occurs twice, because clocks go back; write it with its offset, such as 2026-02-01T15:30:00+05:30")]
    Twice,
    #[error("does not occur, because clocks go forward over it")]
    Never,
    #[error("is outside the years 0000 to 9999")]
    Range,
}

impl Zone {
    pub fn utc() -> Zone {
        Zone { name: UTC.into(), rules: TimeZone::UTC }
    }

    /// The zone of a name, or why there is none.
    pub fn find(name: &str) -> Result<Zone, String> {
        let tables = TimeZoneDatabase::bundled();
        let Ok(own) = tables.get(name) else {
            let wanted = name.trim().to_ascii_lowercase().replace(' ', "_");
            let alike = |zone: &str| {
                let zone = zone.to_ascii_lowercase();
                wanted.len() >= 3 && zone.rsplit('/').next().is_some_and(|city| city == wanted)
            };
            let meant = tables.available().map(|zone| zone.to_string()).find(|zone| alike(zone));
            let example = meant.as_deref().unwrap_or("Europe/Berlin");
            return Err(format!("is not a time zone; take an IANA name such as {example}"));
        };
        let spelled: Arc<str> = own.iana_name().unwrap_or(UTC).into();
        Ok(Zone { rules: TimeZone::get(&spelled).unwrap_or(own), name: spelled })
    }

    /// As the tables spell it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn is_utc(&self) -> bool {
        *self.name == *UTC
    }

    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }

    /// What the clocks show; `None` at the ends of the last year there is.
    pub fn civil(&self, time: Time) -> Option<DateTime> {
        Some(Timestamp::from_second(time.seconds()).ok()?.to_zoned(self.rules.clone()).datetime())
    }

    /// `2026-03-29T09:00:00+02:00`.
    pub fn local(&self, time: Time) -> String {
        let Ok(moment) = Timestamp::from_second(time.seconds()) else { return time.to_string() };
        moment.to_zoned(self.rules.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The date that the clocks show, in days since 1970-01-01.
    pub fn day(&self, time: Time) -> i32 {
        let offset = Timestamp::from_second(time.seconds()).map_or(0, |at| self.rules.to_offset(at).seconds());
        // Times have years of four digits, so their days fit.
        (time.seconds() + i64::from(offset)).div_euclid(86_400) as i32
    }

    /// The first moment of a date, in days since 1970-01-01. A date that the
    /// zone skipped begins with the one after it, and ends there too.
    pub fn midnight(&self, day: i32) -> Time {
        let utc = Time::new(0).expect("the epoch").plus(i64::from(day) * 86_400);
        if self.is_utc() {
            return utc;
        }
        let date = Date::constant(1970, 1, 1).checked_add(day.days());
        let moment = date.ok().and_then(|date| self.moment(date.to_datetime(jiff::civil::Time::midnight())));
        moment.unwrap_or(utc)
    }

    /// A moment some months later: the same time of day on the same day of the
    /// month, or on the month's last day. The beginning of a day stays the
    /// beginning of a day. `None` outside the years there are.
    pub fn months_later(&self, time: Time, months: u32) -> Option<Time> {
        let local = self.civil(time)?;
        let later = local.checked_add(i64::from(months).months()).ok()?;
        if self.midnight(self.day(time)) != time {
            return self.moment(later);
        }
        let epoch = Date::constant(1970, 1, 1);
        let days = epoch.until(later.date()).ok()?.get_days();
        self.moment(later).map(|_| self.midnight(days))
    }

    /// The moment of a local time, as the top of this file says; `None` outside
    /// the years there are.
    pub fn moment(&self, local: DateTime) -> Option<Time> {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
        let moment = match self.rules.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset)?,
            AmbiguousOffset::Fold { before, .. } => at(before)?,
            AmbiguousOffset::Gap { after, .. } => {
                // Read with the later offset, it is before the change.
                let changes = self.rules.following(at(after)?);
                let change = changes.into_iter().find(|change| change.offset() == after)?;
                change.timestamp()
            }
        };
        Time::new(moment.as_second())
    }

    /// The one moment of a local time.
    pub fn exactly(&self, local: DateTime) -> Result<Time, BadLocal> {
        match self.rules.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { .. } => self.moment(local).ok_or(BadLocal::Range),
            AmbiguousOffset::Fold { .. } => Err(BadLocal::Twice),
            AmbiguousOffset::Gap { .. } => Err(BadLocal::Never),
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl serde::Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> serde::Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zone, D::Error> {
        let name = String::deserialize(deserializer)?;
        Zone::find(&name).map_err(|error| serde::de::Error::custom(format!("{name} {error}")))
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::find(name).unwrap_or_else(|error| panic!("{name} {error}"))
    }

    fn day(date: &str) -> i32 {
        let midnight: Time = format!("{date}T00:00:00Z").parse().expect("a day");
        midnight.seconds().div_euclid(86_400) as i32
    }

    #[test]
    fn a_day_begins_with_its_first_moment() {
        for (name, date, first) in [
            ("UTC", "2026-03-29", "2026-03-29T00:00:00Z"),
            ("Asia/Kolkata", "2026-10-01", "2026-09-30T18:30:00Z"),
            ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"),
            ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"),
            // Clocks went from 00:00 to 01:00, and from 00:00 back to 23:00.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
            ("America/Sao_Paulo", "2019-02-17", "2019-02-17T03:00:00Z"),
            // From 23:30 to 00:30, so the day began at 00:30.
            ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z"),
            // From 00:01 back to 23:01: midnight came twice.
            ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"),
            // A day that was left out begins with the one after it.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2012-01-01", "2011-12-31T10:00:00Z"),
        ] {
            let day = day(date);
            assert_eq!(zone(name).midnight(day).to_string(), first, "{date} in {name}");
            let shown = zone(name).day(first.parse().expect("a time"));
            assert!(shown == day || name == "Pacific/Apia", "{date} in {name}: {shown} {day}");
        }
    }

    #[test]
    fn months_are_counted_on_the_calendar() {
        for (name, from, months, to) in [
            ("UTC", "2027-01-15T10:00:00Z", 1, Some("2027-02-15T10:00:00Z")),
            ("UTC", "2027-01-31T00:00:00Z", 1, Some("2027-02-28T00:00:00Z")),
            ("UTC", "2028-01-31T00:00:00Z", 1, Some("2028-02-29T00:00:00Z")),
            ("UTC", "2027-01-29T00:00:00Z", 1, Some("2027-02-28T00:00:00Z")),
            ("UTC", "2027-03-31T23:59:59Z", 1, Some("2027-04-30T23:59:59Z")),
            ("UTC", "2027-12-31T00:00:00Z", 2, Some("2028-02-29T00:00:00Z")),
            ("UTC", "2028-02-29T00:00:00Z", 12, Some("2029-02-28T00:00:00Z")),
            ("UTC", "2026-12-11T00:00:00Z", 12, Some("2027-12-11T00:00:00Z")),
            ("UTC", "2026-12-11T00:00:00Z", 120, Some("2036-12-11T00:00:00Z")),
            // The reader's month, whatever UTC makes of it.
            ("Asia/Kolkata", "2027-01-30T18:30:00Z", 1, Some("2027-02-27T18:30:00Z")),
            ("America/New_York", "2027-01-31T05:00:00Z", 1, Some("2027-02-28T05:00:00Z")),
            // The clocks go forward between, and the day begins where it does.
            ("America/New_York", "2027-03-01T05:00:00Z", 1, Some("2027-04-01T04:00:00Z")),
            ("Europe/Berlin", "2027-02-28T11:00:00Z", 1, Some("2027-03-28T10:00:00Z")),
            // Midnight does not occur, neither before nor after.
            ("America/Sao_Paulo", "2018-10-04T03:00:00Z", 1, Some("2018-11-04T03:00:00Z")),
            ("America/Sao_Paulo", "2018-11-04T03:00:00Z", 1, Some("2018-12-04T02:00:00Z")),
            // A time of day in the gap is the first moment after it.
            ("Europe/Berlin", "2027-02-28T01:30:00Z", 1, Some("2027-03-28T01:00:00Z")),
            ("UTC", "9999-11-30T00:00:00Z", 1, Some("9999-12-30T00:00:00Z")),
            ("UTC", "9999-12-01T00:00:00Z", 1, None),
            ("UTC", "9999-01-01T00:00:00Z", 120, None),
        ] {
            let later = zone(name).months_later(from.parse().expect("a time"), months);
            assert_eq!(later.map(|time| time.to_string()).as_deref(), to, "{from} and {months} months in {name}");
        }
    }

    #[test]
    fn what_is_no_single_moment_is_refused() {
        let at = |name: &str, text: &str| {
            let found = zone(name).exactly(text.parse().expect("a local time"));
            found.map(|time| time.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(at("Asia/Kolkata", "2026-10-01T01:30:00"), Ok("2026-09-30T20:00:00Z".to_owned()));
        assert!(at("Europe/Berlin", "2026-10-25T02:30:00").expect_err("a fold").contains("twice"));
        assert!(at("Europe/Berlin", "2026-03-29T02:30:00").expect_err("a gap").contains("does not occur"));
        assert!(at("Pacific/Apia", "2011-12-30T12:00:00").expect_err("a gap").contains("does not occur"));
        assert_eq!(at("Europe/Berlin", "2026-10-25T03:00:00"), Ok("2026-10-25T02:00:00Z".to_owned()));
    }

    #[test]
    fn zones_are_found_by_their_names() {
        assert_eq!(&**zone("europe/berlin").name(), "Europe/Berlin");
        for (name, part) in [("Berlin", "Europe/Berlin"), ("+02:00", "IANA"), ("", "IANA"), ("localtime", "IANA")] {
            assert!(Zone::find(name).expect_err(name).contains(part), "{name}");
        }
    }
}
