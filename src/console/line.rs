//! The filter line of the numbers page: one line of text that says which rows
//! are wanted, in the address, in links and in saved views.
//!
//! A line is words apart: digits are part of the number, and `name:value` is a
//! filter, with quotation marks around a value that has spaces. What is not
//! understood is said, and no rows are shown: a filter that is passed over
//! shows rows that nobody asked for.
//! Invariants: the same line at the same moment is the same filter; a line that
//! is read and written down again says the same.
//! Deliberately absent: reading rows.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::{State, Time};
use crate::inventory::{Filter, Order, several};

/// The most characters that are read.
pub const CHARS_MAX: usize = 500;

/// A line that was read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Line {
    pub filter: Filter,
    pub order: Order,
    /// What of it is not understood, word by word; with any, there are no rows.
    pub problems: Vec<Problem>,
}

/// A word that is not understood, and what would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub word: String,
    pub hint: String,
}

/// What a word can be, for the help beside the line.
pub struct Term {
    pub example: &'static str,
    pub about: &'static str,
}

pub const TERMS: &[Term] = &[
    Term { example: "2271", about: "these digits are part of the number; +91 begins it" },
    Term { example: "account:MA_48149cf4", about: "held by this customer" },
    Term { example: "application:app_abc123", about: "routed to this application" },
    Term { example: "trunk:trunk_xyz", about: "arrives on this trunk" },
    Term { example: "no:application", about: "active or not, with nowhere to go; has:application is the rest" },
    Term { example: "no:account", about: "held by nobody; has:account is the rest" },
    Term { example: "status:active", about: "calls get through; -status:active is the rest" },
    Term {
        example: "state:quarantined",
        about: "available, reserved, active, suspended or quarantined, whatever has expired",
    },
    Term { example: "expires:<14d", about: "ends within 14 days; >14d later, <2027-03-01 before a day" },
    Term { example: "assigned:<30d", about: "assigned less than 30 days ago; >2026-01-31 after a day" },
    Term { example: "country:IN", about: "of this country" },
    Term { example: "region:\"New Delhi\"", about: "of this region, exactly" },
    Term { example: "type:tollfree", about: "local, tollfree or mobile" },
    Term { example: "tag:support", about: "with this tag, exactly" },
    Term { example: "sort:-expires", about: "by number, assigned, expires or cost; - for the last first" },
];

impl Line {
    /// Reads a line at `now`; days are those of `zone`.
    pub fn read(text: &str, now: Time, zone: &TimeZone) -> Line {
        let mut line = Line::default();
        if text.chars().count() > CHARS_MAX {
            let hint = format!("a line has at most {CHARS_MAX} characters");
            line.problems.push(Problem { word: text.chars().take(20).collect(), hint });
            return line;
        }
        let mut search = String::new();
        let mut seen: Vec<String> = Vec::new();
        for word in words(text) {
            let (negated, rest) = match word.strip_prefix('-') {
                // `-2271` is a number with a dash, `-status:active` is not.
                Some(rest) if rest.contains(':') => (true, rest),
                _ => (false, word.as_str()),
            };
            let Some((name, value)) = rest.split_once(':') else {
                // The space is kept: numbers are written with spaces.
                if !search.is_empty() {
                    search.push(' ');
                }
                search.push_str(rest);
                continue;
            };
            let value = value.trim_matches('"');
            let kind = match (name, value.chars().next()) {
                ("no" | "has", _) => format!("has:{value}"),
                // From when and until when are two filters.
                ("expires" | "assigned", Some(side @ ('<' | '>'))) => format!("{name}:{side}"),
                _ => name.to_owned(),
            };
            let result = if value.is_empty() {
                Err("say what behind the colon".to_owned())
            } else if seen.contains(&kind) {
                Err("is said twice; one of them is enough".to_owned())
            } else {
                line.term(name, value, negated, now, zone)
            };
            seen.push(kind);
            if let Err(hint) = result {
                line.problems.push(Problem { word, hint });
            }
        }
        if !search.is_empty()
            && let Err(hint) = line.set("search", &search)
        {
            line.problems.push(Problem { word: search, hint });
        }
        line
    }

    fn term(&mut self, name: &str, value: &str, negated: bool, now: Time, zone: &TimeZone) -> Result<(), String> {
        let two = |yes: &str, no: &str| match (value == yes, value == no) {
            (true, _) => Ok(if negated { no } else { yes }.to_owned()),
            (_, true) => Ok(if negated { yes } else { no }.to_owned()),
            _ => Err(format!("is {yes} or {no}")),
        };
        if negated && !matches!(name, "status" | "no" | "has") {
            return Err("only status, no and has can be turned round with -".to_owned());
        }
        match name {
            "account" => self.set("account_auth_id", value),
            "application" | "app" => self.set("application_id", value),
            "trunk" => self.set("trunk_id", value),
            "country" => self.set("country", &value.to_ascii_uppercase()),
            "region" | "tag" => self.set(name, value),
            "type" => self.set("number_type", value),
            "status" if negated => {
                let value = two("active", "suspended")?;
                self.set("status", &value)
            }
            "status" => self.set("status", value),
            "no" | "has" => {
                let wanted = if (name == "has") == negated { "false" } else { "true" };
                match value {
                    "application" | "app" | "route" => self.set("routed", wanted),
                    "account" => self.set("assigned", wanted),
                    _ => Err("is application or account".to_owned()),
                }
            }
            "state" => {
                let all: Vec<&str> = State::STORED.iter().map(|state| state.as_str()).collect();
                let message = format!("is one of {}", all.join(", "));
                let stored = |word: &str| State::parse(word).filter(|state| *state != State::Retired);
                let states = several(name, value, &message, stored).map_err(|error| error.message)?;
                self.filter.state = states.into_iter().collect();
                Ok(())
            }
            "expires" => match bound(value, zone)? {
                // What has expired does not expire within 14 days.
                (Side::Less, Bound::Span(seconds)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(now));
                    self.filter.expires_before = Some(now.plus(seconds + 1));
                    Ok(())
                }
                (Side::More, Bound::Span(seconds)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(now.plus(seconds)));
                    Ok(())
                }
                (Side::Less, Bound::Day(day)) => {
                    self.filter.expires_before = Some(day.first);
                    Ok(())
                }
                (Side::More, Bound::Day(day)) => {
                    self.filter.expires_after = self.filter.expires_after.max(Some(day.last));
                    Ok(())
                }
            },
            "expired" => {
                self.filter.expires_before = Some(now.plus(1));
                two("yes", "yes").map(drop).map_err(|_| "is yes".to_owned())
            }
            "assigned" => {
                match bound(value, zone)? {
                    (Side::Less, Bound::Span(seconds)) => self.filter.assigned_after = Some(now.plus(-seconds)),
                    (Side::More, Bound::Span(seconds)) => self.filter.assigned_before = Some(now.plus(-seconds)),
                    (Side::Less, Bound::Day(day)) => self.filter.assigned_before = Some(day.first),
                    (Side::More, Bound::Day(day)) => self.filter.assigned_after = Some(day.last),
                }
                Ok(())
            }
            "sort" => {
                let (minus, key) = value.strip_prefix('-').map_or(("", value), |key| ("-", key));
                let key = match key {
                    "number" => "number",
                    "assigned" => "assigned_at",
                    "expires" => "expires_at",
                    "cost" => "monthly_cost",
                    _ => return Err("is number, assigned, expires or cost, with - for the last first".to_owned()),
                };
                self.set("sort", &format!("{minus}{key}"))
            }
            _ => Err("is not known; the help shows what is".to_owned()),
        }
    }

    /// Sets what the API has by its name there.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.filter.set(&mut self.order, name, value).map_err(|error| match error {
            crate::inventory::QueryError::Unknown => format!("{name} is not known"),
            crate::inventory::QueryError::Value(error) => error.message,
        })
    }
}

/// The words of a line; quotation marks keep spaces within one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A value as it stands in a line.
pub fn quoted(value: &str) -> String {
    if value.contains(char::is_whitespace) { format!("\"{value}\"") } else { value.to_owned() }
}

/// A line with one more filter, in the place of another of its name.
pub fn with(text: &str, name: &str, value: &str) -> String {
    let begin = format!("{name}:");
    let mut kept: Vec<String> = words(text).into_iter().filter(|word| !word.starts_with(&begin)).collect();
    if !value.is_empty() {
        kept.push(format!("{begin}{}", quoted(value)));
    }
    kept.join(" ")
}

enum Side {
    Less,
    More,
}

enum Bound {
    Span(i64),
    Day(Day),
}

/// A day as the first second of it and the last one.
struct Day {
    first: Time,
    last: Time,
}

fn bound(value: &str, zone: &TimeZone) -> Result<(Side, Bound), String> {
    let hint = || "is < or > and a span such as 14d or a day such as 2027-03-01".to_owned();
    let (side, rest) = match (value.strip_prefix('<'), value.strip_prefix('>')) {
        (Some(rest), _) => (Side::Less, rest),
        (_, Some(rest)) => (Side::More, rest),
        _ => return Err(hint()),
    };
    if let Some(seconds) = crate::http::checks::span(rest) {
        return Ok((side, Bound::Span(seconds)));
    }
    let date: Date = rest.parse().map_err(|_| hint())?;
    let begin = |date: Date| {
        let begin = date.to_zoned(zone.clone()).ok()?;
        Time::new(begin.timestamp().as_second())
    };
    let next = date.tomorrow().ok().and_then(begin);
    match (begin(date), next) {
        (Some(first), Some(next)) => Ok((side, Bound::Day(Day { first, last: next.plus(-1) }))),
        _ => Err(hint()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Status;

    fn now() -> Time {
        "2026-11-23T12:00:00Z".parse().expect("a time")
    }

    fn read(text: &str) -> Line {
        Line::read(text, now(), &TimeZone::UTC)
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)], rest: impl Fn(&mut Filter)) {
        let (mut filter, mut order) = (Filter::default(), Order::default());
        for (name, value) in expected {
            filter.set(&mut order, name, value).expect(name);
        }
        rest(&mut filter);
        let line = read(text);
        assert_eq!(line.problems, [], "{text}");
        assert_eq!((line.filter, line.order), (filter, order), "{text}");
    }

    #[test]
    fn words_are_filters() {
        check("", &[], |_| {});
        check("+91 22", &[("search", "+91 22")], |_| {});
        check("22-71", &[("search", "2271")], |_| {});
        check(
            "account:MA_1 no:application -status:suspended",
            &[("account_auth_id", "MA_1"), ("routed", "false"), ("status", "active")],
            |_| {},
        );
        check("has:account -has:application", &[("assigned", "true"), ("routed", "false")], |_| {});
        check("region:\"New Delhi\" country:in", &[("region", "New Delhi"), ("country", "IN")], |_| {});
        check("state:quarantined", &[], |filter| filter.state = State::Quarantined.into());
        check("state:available,reserved", &[], |filter| {
            filter.state = [State::Available, State::Reserved].into_iter().collect();
        });
        check("type:local,mobile country:in,fr", &[("number_type", "local,mobile"), ("country", "IN,FR")], |_| {});
        check("status:active,suspended", &[], |_| {});
        check(
            "expires:<14d",
            &[("expires_after", "2026-11-23T12:00:00Z"), ("expires_before", "2026-12-07T12:00:01Z")],
            |_| {},
        );
        for text in ["expires:>7d expires:<14d", "expires:<14d expires:>7d"] {
            check(
                text,
                &[("expires_after", "2026-11-30T12:00:00Z"), ("expires_before", "2026-12-07T12:00:01Z")],
                |_| {},
            );
        }
        check("expires:>2027-03-01", &[("expires_after", "2027-03-01T23:59:59Z")], |_| {});
        check("assigned:<30d", &[("assigned_after", "2026-10-24T12:00:00Z")], |_| {});
        check("sort:-expires", &[("sort", "-expires_at")], |_| {});
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, word, hint) in [
            ("owner:me", "owner:me", "not known"),
            ("status:running", "status:running", "active or suspended"),
            ("-account:MA_1", "-account:MA_1", "turned round"),
            ("account:", "account:", "behind the colon"),
            ("status:active status:suspended", "status:suspended", "twice"),
            ("expires:<14d expires:<7d", "expires:<7d", "twice"),
            ("no:application has:application", "has:application", "twice"),
            ("expires:14d", "expires:14d", "< or >"),
            ("state:retired", "state:retired", "one of available"),
            ("state:active,retired", "state:active,retired", "one of available"),
            ("type:local,", "type:local,", "empty value"),
            ("type:local,local", "type:local,local", "twice"),
            ("country:India", "country:India", "two"),
        ] {
            let problems = read(text).problems;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert_eq!(problems[0].word, word);
            assert!(problems[0].hint.contains(hint), "{text}: {}", problems[0].hint);
        }
        assert_eq!(read(&"1".repeat(33)).problems.len(), 1);
        assert_eq!(read(&"a".repeat(501)).problems.len(), 1);
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let zone = TimeZone::get("Asia/Kolkata").expect("a zone");
        let line = Line::read("expires:<2027-03-01", now(), &zone);
        assert_eq!(line.filter.expires_before.map(|at| at.to_string()).as_deref(), Some("2027-02-28T18:30:00Z"));
    }

    #[test]
    fn a_filter_takes_the_place_of_another() {
        assert_eq!(with("2271 sort:expires", "sort", "-cost"), "2271 sort:-cost");
        assert_eq!(with("region:\"New Delhi\"", "region", ""), "");
        assert_eq!(with("", "region", "New Delhi"), "region:\"New Delhi\"");
        assert_eq!(read("status:active").filter.status, Some(Status::Active));
    }
}
