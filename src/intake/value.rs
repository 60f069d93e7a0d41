//! Cells that hold anything but numbers, each parsed into its domain type.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Cell, TAG_CHARS_MAX, TAGS_READ_MAX};
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::money::BadAmount;
use crate::domain::time::BadTime;
use crate::domain::{Currency, Money, NumberType, State, Status, Tags, Time, label, nothing};

/// A cell as the file has it. CSV knows only text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Text(&'a str),
    /// A JSON number's literal, as it was written.
    Number(&'a str),
    Null,
    Bool(bool),
    /// A JSON array, as it was written.
    List(&'a str),
    Object,
    /// A JSON string with an escape that stands for no character.
    Broken,
}

impl Raw<'_> {
    /// Why this is not the text that was expected.
    pub fn not_text(self) -> CellFault {
        CellFault::Fixed(match self {
            Raw::Bool(_) => "must be text, not true or false",
            Raw::List(_) => "must be text, not an array",
            Raw::Object => "must be text, not an object",
            Raw::Broken => "has an escape that stands for no character",
            Raw::Text(_) | Raw::Number(_) | Raw::Null => "must be text",
        })
    }
}

/// What is wrong with a cell, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CellFault {
    Fixed(&'static str),
    Text(String),
}

impl CellFault {
    pub fn of(error: &impl fmt::Display) -> CellFault {
        CellFault::Text(error.to_string())
    }
}

impl fmt::Display for CellFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CellFault::Fixed(text) => f.write_str(text),
            CellFault::Text(text) => f.write_str(text),
        }
    }
}

/// A cell of text, without the spaces around it. A JSON number is its literal.
pub(super) fn cell<T>(raw: Raw<'_>, parse: impl FnOnce(&str) -> Result<T, CellFault>) -> Result<Cell<T>, CellFault> {
    match raw {
        Raw::Null => Ok(Cell::Empty),
        Raw::Text(text) | Raw::Number(text) => match text.trim() {
            "" => Ok(Cell::Empty),
            text => parse(text).map(Cell::Value).map_err(|fault| match nothing::certain(text) {
                true => CellFault::Fixed(nothing::REFUSED),
                false => fault,
            }),
        },
        Raw::Bool(_) | Raw::List(_) | Raw::Object | Raw::Broken => Err(raw.not_text()),
    }
}

/// Whether something is so.
pub(super) fn flag(raw: Raw<'_>) -> Result<Cell<bool>, CellFault> {
    if let Raw::Bool(flag) = raw {
        return Ok(Cell::Value(flag));
    }
    cell(raw, |text| match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(CellFault::Fixed("must be true or false")),
    })
}

/// Text that its type parses and explains itself.
pub(super) fn typed<T: FromStr>(text: &str) -> Result<T, CellFault>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error: T::Err| CellFault::Text(error.to_string()))
}

pub(super) fn name(text: &str) -> Result<Arc<str>, CellFault> {
    label(text, NAME_CHARS_MAX)
}

pub(super) fn region(text: &str) -> Result<Arc<str>, CellFault> {
    label::region_of(text).ok_or(CellFault::Fixed("must be text that can be read"))
}

fn label(text: &str, chars_max: usize) -> Result<Arc<str>, CellFault> {
    if text.chars().nth(chars_max).is_some() {
        return Err(CellFault::Text(format!("must have at most {chars_max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(CellFault::Fixed("must not have control characters, such as line ends"));
    }
    Ok(text.into())
}

pub(super) fn status(text: &str) -> Result<Status, CellFault> {
    Status::parse(&text.to_ascii_lowercase()).ok_or(CellFault::Fixed("must be active or suspended"))
}

/// A state; none is the `no_number` of a row about an account.
pub(super) fn state(text: &str) -> Result<Option<State>, CellFault> {
    match text.to_ascii_lowercase().as_str() {
        "no_number" => Ok(None),
        "retired" => Err(CellFault::Fixed("is history, which cannot be imported; leave the row out")),
        word => State::parse(word).map(Some).ok_or(CellFault::Fixed(
            "must be available, reserved, active, suspended or quarantined, or no_number for an account without numbers",
        )),
    }
}

pub(super) fn number_type(text: &str) -> Result<NumberType, CellFault> {
    NumberType::parse(&text.to_ascii_lowercase()).ok_or(CellFault::Fixed("must be local, tollfree or mobile"))
}

/// A moment, or a day, which is its first moment in `zone`.
pub(super) fn time(text: &str, zone: &TimeZone) -> Result<Time, CellFault> {
    let problem = match text.parse() {
        Ok(time) => return Ok(time),
        Err(BadTime::Form) => match Time::day(text, zone) {
            Ok(time) => return Ok(time),
            Err(BadTime::Day) => return Err(CellFault::Fixed("is a day that does not exist")),
            Err(problem) => problem,
        },
        Err(problem) => problem,
    };
    let digits_and = |others: &str| text.chars().all(|c| c.is_ascii_digit() || others.contains(c));
    let never = || ["9999", "31", "12"].iter().all(|part| text.contains(part));
    Err(CellFault::Fixed(match problem {
        BadTime::Never => NEVER,
        BadTime::Form if digits_and("/.- ") && never() => NEVER,
        BadTime::Day => "is on a day that does not exist",
        BadTime::Clock => "is at a time of day that does not exist",
        BadTime::Zone => {
            "must be a time with its zone, such as 2026-02-01T10:00:00Z or 2026-02-01T15:30:00+05:30, or a day, such as 2026-02-01"
        }
        BadTime::Form if digits_and("") => {
            "is a bare number, perhaps a spreadsheet's count of days; write a day as 2026-02-01 or a time as 2026-02-01T10:00:00Z"
        }
        BadTime::Form if digits_and("/.- ") => "could be more than one day; write a day as 2026-02-01",
        BadTime::Form if text.get(..10).is_some_and(|day| Time::day(day, zone) != Err(BadTime::Form)) => {
            "must be a time with its zone, such as 2026-02-01T10:00:00Z or 2026-02-01T15:30:00+05:30, or a day, such as 2026-02-01"
        }
        BadTime::Form => "must be a day, such as 2026-02-01, or a time, such as 2026-02-01T10:00:00Z",
    }))
}

const NEVER: &str = "stands for no end; leave the cell empty, and the number auto-renews";

/// The same of something that is no end: there, a day that stands for none is
/// one that is not known.
pub(super) fn past(text: &str, zone: &TimeZone) -> Result<Time, CellFault> {
    time(text, zone).map_err(|fault| match fault {
        CellFault::Fixed(NEVER) => {
            CellFault::Fixed("is later than any time that is kept; leave the cell empty if it is not known")
        }
        fault => fault,
    })
}

/// A plain amount, as far as can be told without its currency.
pub(super) fn amount(text: &str) -> Result<Arc<str>, CellFault> {
    const DIGITS_MAX: usize = 20;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        return if text.len() <= DIGITS_MAX { Ok(text.into()) } else { Err(CellFault::Fixed("is too large")) };
    }
    if let Some(rest) = text.strip_prefix('-')
        && amount(rest).is_ok()
    {
        return Err(CellFault::Fixed("must not be negative"));
    }
    Err(CellFault::Fixed(if text.contains(',') {
        "must be a plain amount: a point before the decimals and nothing between thousands, such as 1000.00"
    } else {
        "must be a plain decimal amount, such as 500.00, without currency sign or exponent"
    }))
}

/// Whether the amount fits its currency.
pub(super) fn check_amount(amount: &str, currency: Currency) -> Result<(), CellFault> {
    match Money::parse(amount, currency) {
        Ok(_) => Ok(()),
        Err(BadAmount::Decimals { currency }) => Err(CellFault::Text(match currency.decimals() {
            0 => format!("has decimals, and {currency} has none"),
            decimals => format!("has more decimals than the {decimals} of {currency}"),
        })),
        Err(error) => Err(CellFault::Text(error.to_string())),
    }
}

/// Labels: text divided by `;` or `|`, or a JSON array of texts.
pub(super) fn tags(raw: Raw<'_>) -> Result<Cell<Tags>, CellFault> {
    let Raw::List(array) = raw else {
        return match cell(raw, |text| tags_of(text.split([';', '|'])))? {
            Cell::Value(tags) if tags.is_empty() => Ok(Cell::Empty),
            cell => Ok(cell),
        };
    };
    let labels: Vec<String> =
        serde_json::from_str(array).map_err(|_| CellFault::Fixed("must be an array of texts, or text divided by ;"))?;
    if labels.iter().any(|label| label.contains([';', '|'])) {
        return Err(CellFault::Fixed("must not have ; or | within a tag"));
    }
    let tags = tags_of(labels.iter().map(String::as_str))?;
    Ok(if tags.is_empty() { Cell::Empty } else { Cell::Value(tags) })
}

fn tags_of<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Tags, CellFault> {
    let mut checked = Vec::new();
    for label in labels.map(str::trim).filter(|label| !label.is_empty()) {
        if checked.len() == TAGS_READ_MAX {
            return Err(CellFault::Text(format!("must be at most {TAGS_READ_MAX} tags")));
        }
        if label.chars().nth(TAG_CHARS_MAX).is_some() {
            return Err(CellFault::Text(format!("must be tags of at most {TAG_CHARS_MAX} characters")));
        }
        if label.chars().any(char::is_control) {
            return Err(CellFault::Fixed("must not have control characters in a tag"));
        }
        checked.push(label);
    }
    Ok(Tags::new(checked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: fmt::Display>(parse: impl Fn(&str) -> Result<T, CellFault>, text: &str, expected: &str) {
        let shown = match parse(text) {
            Ok(value) => value.to_string(),
            Err(fault) => fault.to_string(),
        };
        assert!(shown.starts_with(expected), "input: {text:?}, expected: {expected}, got: {shown}");
    }

    #[test]
    fn a_time_is_a_moment_or_a_day() {
        let check = |text: &str, expected: &str| check(|text| time(text, &TimeZone::UTC), text, expected);
        check("2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z");
        check("2026-02-01T10:00:00+05:30", "2026-02-01T04:30:00Z");
        check("2026-02-01 10:00:00 UTC", "2026-02-01T10:00:00Z");
        check("2026-02-01 10:00:00+00", "2026-02-01T10:00:00Z");
        check("2026-02-01 10:00:00 +0530", "2026-02-01T04:30:00Z");
        check("2026-02-01", "2026-02-01T00:00:00Z");
        check("2026-02-30", "is a day that does not exist");
        check("2026-02-30T10:00:00Z", "is on a day that does not exist");
        check("2026-02-01 25:00:00Z", "is at a time of day that does not exist");
        for text in [
            "9999-12-31",
            "9999-12-31T00:00:00Z",
            "9999-12-31 23:59:59",
            "31.12.9999",
            "12/31/9999",
            "99991231",
            "10000-01-01",
        ] {
            check(text, "stands for no end; leave the cell empty");
        }
        check("02/03/2026", "could be more than one day");
        check("2.3.2026", "could be more than one day");
        check("02-03-2026", "could be more than one day");
        check("2026/02/01", "could be more than one day");
        check("1 Feb 2026", "must be a day");
        check("46054", "is a bare number");
        check("20260201", "is a bare number");
        check("1769940000", "is a bare number");
        check("2026-02-01 10:00:00", "must be a time with its zone");
        check("2026-02-01T10:00:00", "must be a time with its zone");
        check("2026-02-01 10:00", "must be a time with its zone");
        check("tomorrow", "must be a day");
        check("2026-02-0é", "must be a day");
        let assigned = past("9999-12-31", &TimeZone::UTC).map(|time| time.to_string());
        assert!(assigned.is_err_and(|fault| fault.to_string().contains("later than any time")));
    }

    #[test]
    fn a_day_is_that_of_the_zone() {
        let zone = TimeZone::get("Asia/Kolkata").expect("a zone");
        assert_eq!(time("2027-03-01", &zone).map(|time| time.to_string()).as_deref(), Ok("2027-02-28T18:30:00Z"));
        assert_eq!(
            time("2027-03-01T00:00:00Z", &zone).map(|time| time.to_string()).as_deref(),
            Ok("2027-03-01T00:00:00Z")
        );
    }

    #[test]
    fn words_for_nothing_are_refused_with_what_to_do() {
        for raw in ["NULL", "n/a", "#N/A", "-", "None"] {
            let fault = cell::<crate::domain::Country>(Raw::Text(raw), typed).expect_err(raw);
            assert_eq!(fault, CellFault::Fixed(nothing::REFUSED), "{raw}");
            let fault = cell(Raw::Text(raw), |text| time(text, &TimeZone::UTC)).expect_err(raw);
            assert_eq!(fault, CellFault::Fixed(nothing::REFUSED), "{raw}");
        }
    }

    #[test]
    fn an_amount_is_plain() {
        for text in ["500.00", "500", "0", "0.5", "00500"] {
            check(amount, text, text);
        }
        for text in ["₹500", "1e3", "1E3", "500 INR", ".5", "5.", "+5", "5.0.0", "--5", "٥"] {
            check(amount, text, "must be a plain decimal amount");
        }
        check(amount, "1,000", "must be a plain amount: a point");
        check(amount, "500,00", "must be a plain amount: a point");
        check(amount, "-1.00", "must not be negative");
        check(amount, "123456789012345678901", "is too large");
    }

    #[test]
    fn an_amount_fits_its_currency() {
        let check = |amount: &str, currency: &str, expected: Option<&str>| {
            let fault =
                check_amount(amount, currency.parse().expect("a currency")).err().map(|fault| fault.to_string());
            assert_eq!(fault.as_deref(), expected, "input: {amount} {currency}");
        };
        check("500.00", "INR", None);
        check("1.250", "KWD", None);
        check("500.001", "INR", Some("has more decimals than the 2 of INR"));
        check("500.0", "JPY", Some("has decimals, and JPY has none"));
        check("99999999999999999999", "INR", Some("is too large"));
    }

    #[test]
    fn words_in_any_case() {
        check(status, "Active", "active");
        check(status, "expired", "must be active or suspended");
        check(number_type, "TOLLFREE", "tollfree");
        check(number_type, "toll free", "must be local");
        let state = |text: &str| state(text).map(|state| state.map_or("no_number", State::as_str));
        check(state, "Quarantined", "quarantined");
        check(state, "no_number", "no_number");
        check(state, "retired", "is history");
        check(state, "free", "must be available");
    }

    #[test]
    fn tags_are_few_and_short() {
        let check = |raw: Raw<'_>, expected: &str| {
            let shown = match tags(raw) {
                Ok(Cell::Value(tags)) => tags.iter().collect::<Vec<_>>().join(" "),
                Ok(Cell::Empty) => "empty".to_owned(),
                Ok(Cell::Absent) => "absent".to_owned(),
                Err(fault) => fault.to_string(),
            };
            assert!(shown.starts_with(expected), "input: {raw:?}, expected: {expected}, got: {shown}");
        };
        let many = |count: usize| (0..count).map(|at| format!("t{at}")).collect::<Vec<_>>().join(";");
        check(Raw::Text("vip; b|a;;a"), "a b vip");
        check(Raw::Text(" ; "), "empty");
        check(Raw::Null, "empty");
        check(Raw::List(r#"["vip", "a"]"#), "a vip");
        check(Raw::List("[]"), "empty");
        check(Raw::List("[1]"), "must be an array of texts");
        check(Raw::List("[[[]]]"), "must be an array of texts");
        check(Raw::List(r#"["a;b"]"#), "must not have ; or |");
        check(Raw::Bool(true), "must be text");
        check(Raw::Text(&many(50)), "t0 t1");
        check(Raw::Text(&many(TAGS_READ_MAX)), "t0 t1");
        check(Raw::Text(&many(TAGS_READ_MAX + 1)), "must be at most 1000 tags");
        check(Raw::Text(&"é".repeat(64)), "é");
        check(Raw::Text(&"é".repeat(65)), "must be tags of at most 64");
        check(Raw::Text("a\nb"), "must not have control characters");
    }

    #[test]
    fn names_are_printable_and_short() {
        let name = |text: &str| name(text).map(|name| name.to_string());
        check(name, "Crédit, \"Inc\"", "Crédit, \"Inc\"");
        check(name, "a\tb", "must not have control characters");
        assert!(name(&"é".repeat(NAME_CHARS_MAX)).is_ok());
        check(name, &"é".repeat(NAME_CHARS_MAX + 1), "must have at most 200 characters");
        check(|text| region(text).map(|region| region.to_string()), "New\nDelhi", "New Delhi");
    }
}
