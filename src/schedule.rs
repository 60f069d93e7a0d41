//! Computes the next run of a schedule: cron's five fields in a time zone.
//!
//! Clock changes:
//! - A local time that does not exist, because clocks go forward over it, is
//!   taken as the first moment after the gap. Several such times are one run.
//! - A local time that happens twice, because clocks go back, is its first
//!   occurrence only. So `*/15 * * * *` rests while an hour is repeated.
//!
//! So the moment of a local time never comes before that of an earlier local
//! time, and the walk to the next run goes over local times.
//!
//! Where day of the month and day of the week are both given, either will do;
//! `+` before the day of the week asks for both. `L`, `W`, `#`, names and
//! `@weekly` are as in the `croner` crate, which reads the fields.
//! Deliberately absent: the clock, who runs what (`service::background::schedules`).

use std::fmt;
use std::sync::Arc;

use croner::parser::{CronParser, Seconds, Year};
use croner::time::Weekday;
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

use crate::domain::field::code;
use crate::domain::{FieldError, Time, Zone};

pub use crate::domain::zone::UTC;

/// The guide's rhythm: on Mondays, before people need their numbers.
pub const WEEKLY: &str = "0 9 * * 1";
/// The longest text of the five fields, in bytes.
const CRON_BYTES_MAX: usize = 200;
/// After so many days, days of the month and of the week come again alike.
const DAYS: usize = 146_097;

/// The five fields, taken apart. Invariant: they mean some day of some year.
#[derive(Clone, Debug)]
struct Cron(croner::Cron);

/// The names of the five fields and what each may be, for people.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L or 15W"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of the week", "0 to 7 or SUN to SAT, such as MON#1 or FRIL"),
];

impl Cron {
    fn parse(text: &str) -> Result<Cron, String> {
        let text = text.trim();
        if text.len() > CRON_BYTES_MAX || !text.is_ascii() {
            return Err(format!("must be at most {CRON_BYTES_MAX} ASCII characters"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let named = fields.first().is_some_and(|field| field.starts_with('@'));
        if fields.len() != 5 && !named {
            return Err(format!(
                "must be five fields (minute, hour, day of the month, month, day of the week), such as {WEEKLY:?} for \
                 Mondays at nine; it has {}",
                fields.len()
            ));
        }
        let Ok(parsed) = parser().parse(text) else { return Err(misread(&fields, named)) };
        let cron = Cron(parsed);
        let start = Date::constant(2000, 1, 1);
        if !start.series(1.day()).take(DAYS).any(|date| cron.on(date)) {
            return Err("never happens: no month has such a day".to_owned());
        }
        Ok(cron)
    }

    fn on(&self, date: Date) -> bool {
        let pattern = &self.0.pattern;
        let weekday = Weekday::from_days_from_sunday(u32::from(date.weekday().to_sunday_zero_offset().unsigned_abs()));
        let (year, month) = (i32::from(date.year()), u32::from(date.month().unsigned_abs()));
        let day = u32::from(date.day().unsigned_abs());
        pattern.month_match(month).unwrap_or(false) && pattern.day_match(year, month, day, weekday).unwrap_or(false)
    }

    fn in_hour(&self, hour: i8) -> bool {
        self.0.pattern.hour_match(u32::from(hour.unsigned_abs())).unwrap_or(false)
    }

    fn in_minute(&self, minute: i8) -> bool {
        self.0.pattern.minute_match(u32::from(minute.unsigned_abs())).unwrap_or(false)
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

/// Which field cannot be read, found by reading each beside four stars.
fn misread(fields: &[&str], named: bool) -> String {
    if named {
        return "must be @yearly, @monthly, @weekly, @daily or @hourly, or five fields".to_owned();
    }
    for (at, (field, (name, range))) in fields.iter().zip(FIELDS).enumerate() {
        let mut alone = ["*"; 5];
        alone[at] = field;
        if parser().parse(&alone.join(" ")).is_err() {
            let shape = "a list such as 1,3, a range such as 1-5, or steps such as */2";
            return format!("the {name} {field:?} cannot be read: it is * or {range}, or {shape}");
        }
    }
    format!("cannot be read as cron's five fields, such as {WEEKLY:?}")
}

/// Moments that come again: what people wrote, understood.
#[derive(Clone)]
pub struct Recurrence {
    cron: Cron,
    zone: Zone,
}

impl fmt::Debug for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({} {})", self.cron.0.as_str(), self.zone)
    }
}

impl Recurrence {
    /// Reads both, and says all that is wrong with either.
    pub fn parse(cron: &str, zone: &str) -> Result<Recurrence, Vec<FieldError>> {
        let cron = Cron::parse(cron).map_err(|message| FieldError::new("cron", code::INVALID, message, cron));
        let zone = Zone::find(zone).map_err(|message| FieldError::new("zone", code::INVALID, message, zone));
        match (cron, zone) {
            (Ok(cron), Ok(zone)) => Ok(Recurrence { cron, zone }),
            (cron, zone) => Err(cron.err().into_iter().chain(zone.err()).collect()),
        }
    }

    /// The zone as the tables spell it.
    pub fn zone(&self) -> &Arc<str> {
        self.zone.name()
    }

    /// The first run after a moment; `None` if it is past the last year there is.
    pub fn next(&self, after: Time) -> Option<Time> {
        let start = self.zone.civil(after)?;
        let mut date = start.date();
        // What comes before on its day was before; what comes later that day
        // may still be, if that local time had happened already.
        let (mut hour_from, mut minute_from) = (start.hour(), start.minute());
        for _ in 0..=DAYS {
            if self.cron.on(date) {
                for hour in (hour_from..24).filter(|&hour| self.cron.in_hour(hour)) {
                    let from = if hour == hour_from { minute_from } else { 0 };
                    for minute in (from..60).filter(|&minute| self.cron.in_minute(minute)) {
                        let at = self.zone.moment(date.at(hour, minute, 0, 0))?;
                        if at > after {
                            return Some(at);
                        }
                    }
                }
            }
            date = date.tomorrow().ok()?;
            (hour_from, minute_from) = (0, 0);
        }
        None
    }

    /// The next runs, in order.
    pub fn upcoming(&self, after: Time, count: usize) -> Vec<Time> {
        std::iter::successors(self.next(after), |&last| self.next(last)).take(count).collect()
    }

    /// Every hour, at the minute at which this one runs next.
    pub fn hourly(&self, after: Time) -> Recurrence {
        let minute = self.next_local(after).map_or(0, |local| local.minute());
        self.like(&format!("{minute} * * * *"))
    }

    /// Every day, at the time of day at which this one runs next.
    pub fn daily(&self, after: Time) -> Recurrence {
        let (hour, minute) = self.next_local(after).map_or((0, 0), |local| (local.hour(), local.minute()));
        self.like(&format!("{minute} {hour} * * *"))
    }

    fn next_local(&self, after: Time) -> Option<DateTime> {
        self.zone.civil(self.next(after)?)
    }

    fn like(&self, cron: &str) -> Recurrence {
        let cron = parser().parse(cron).map_or_else(|_| self.cron.clone(), Cron);
        Recurrence { cron, zone: self.zone.clone() }
    }

    /// A moment on the zone's clocks: `2026-03-29T09:00:00+02:00`.
    pub fn local(&self, time: Time) -> String {
        self.zone.local(time)
    }

    /// The same for people, to the minute: `2026-03-29 09:00`.
    pub fn clock(&self, time: Time) -> String {
        match self.zone.civil(time) {
            Some(civil) => civil.strftime("%Y-%m-%d %H:%M").to_string(),
            None => time.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
