//! Filter and sort order of a query, with the same names in a URL, on the command
//! line and in every link.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::domain::country::BadCountry;
use crate::domain::field::code;
use crate::domain::time::BadTime;
use crate::domain::{Country, E164, FieldError, NumberType, State, Status, Time};

use super::called::{CalledBefore, FoundOnce};
use super::{Pattern, SEARCH_CHARS_MAX};

/// What a row must have to be let through. The default lets all through.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filter {
    pub search: Option<Pattern>,
    pub account: Option<Box<str>>,
    pub application: Option<Box<str>>,
    pub trunk: Option<Box<str>>,
    pub region: Option<Box<str>>,
    pub tag: Option<Box<str>>,
    /// Not both: every row has one of them.
    pub status: Option<Status>,
    pub number_type: Among<NumberType>,
    pub country: Among<Country>,
    /// Whether `application_id` is there.
    pub routed: Option<bool>,
    /// Whether an account holds it.
    pub assigned: Option<bool>,
    pub expires_before: Option<Time>,
    pub expires_after: Option<Time>,
    pub assigned_before: Option<Time>,
    pub assigned_after: Option<Time>,
    /// When it was last called, of now.
    pub called: Option<CalledBefore>,
    /// The numbers that `called` lets through, once they were wanted.
    pub called_found: FoundOnce,
    /// These numbers only, ascending. Nothing that a URL can ask for.
    pub numbers: Option<Arc<[E164]>>,
    /// The stored state, as of now. Nothing that a URL can ask for: the Partner
    /// API knows only the status.
    pub state: Among<State>,
}

/// Some values of a closed set, as bits. None of them is no filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Among<T> {
    bits: [u64; AMONG_WORDS],
    of: PhantomData<T>,
}

/// Enough for the pairs of letters.
const AMONG_WORDS: usize = 11;

/// A value of a closed set, by its place there.
pub trait Closed: Copy {
    /// Less than 26 times 26.
    fn ordinal(self) -> usize;
}

impl Closed for NumberType {
    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Closed for State {
    fn ordinal(self) -> usize {
        self as usize
    }
}

impl Closed for Country {
    fn ordinal(self) -> usize {
        let [first, second] = self.bytes().map(|letter| usize::from(letter - b'A'));
        first * 26 + second
    }
}

impl<T> Default for Among<T> {
    fn default() -> Among<T> {
        Among { bits: [0; AMONG_WORDS], of: PhantomData }
    }
}

impl<T: Closed> Among<T> {
    /// Whether all values are let through.
    pub fn is_all(&self) -> bool {
        self.bits == [0; AMONG_WORDS]
    }

    /// Whether a value is one of these.
    pub fn contains(&self, value: T) -> bool {
        let at = value.ordinal();
        self.bits[at / 64] & (1 << (at % 64)) != 0
    }

    /// Whether a value, or its absence, is let through.
    pub fn lets(&self, value: Option<T>) -> bool {
        self.is_all() || value.is_some_and(|value| self.contains(value))
    }
}

impl<T: Closed> FromIterator<T> for Among<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Among<T> {
        let mut among = Among::default();
        for value in values {
            let at = value.ordinal();
            among.bits[at / 64] |= 1 << (at % 64);
        }
        among
    }
}

impl<T: Closed> From<T> for Among<T> {
    fn from(value: T) -> Among<T> {
        Among::from_iter([value])
    }
}

/// The values of a closed set in a text such as `active,suspended`: each one
/// once. `message` says what they can be.
pub fn several<T: PartialEq>(
    name: &str,
    text: &str,
    message: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FieldError> {
    let many = text.contains(',');
    let mut values = Vec::new();
    for word in text.split(',') {
        let value = parse(word).ok_or_else(|| {
            let message = match (many, word.is_empty()) {
                (true, true) => format!("has an empty value; {message}, divided by single commas"),
                (true, false) => format!("{message}; {word:?} is not"),
                (false, _) => message.to_owned(),
            };
            FieldError::new(name, code::INVALID, message, text)
        })?;
        if values.contains(&value) {
            return Err(FieldError::new(name, code::REPEATED, format!("has {word:?} twice"), text));
        }
        values.push(value);
    }
    Ok(values)
}

/// The value that is asked for of two, unless both are.
fn one_of_two<T: Copy>(values: &[T]) -> Option<T> {
    match values {
        [value] => Some(*value),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortKey {
    #[default]
    Number,
    AssignedAt,
    ExpiresAt,
    MonthlyCost,
    /// The state that people see: expired and unrouted ones apart.
    State,
    /// The name of the customer that holds the number, or that it is reserved for.
    Customer,
    /// The name of the application.
    Application,
}

/// The place of a number's state among those that people see: what loses calls
/// first.
pub(super) fn stage(state: State, routed: bool, expired: bool) -> u8 {
    match state {
        State::Active if expired => 2,
        State::Active if routed => 1,
        State::Active => 0,
        State::Suspended => 3,
        State::Reserved => 4,
        State::Available => 5,
        State::Quarantined => 6,
        State::Retired => 7,
    }
}

/// The order of rows. What is absent sorts last; the number breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Order {
    pub key: SortKey,
    pub descending: bool,
}

impl Order {
    /// By number, ascending: the order in which `after` makes sense.
    pub fn by_number(self) -> bool {
        self == Order::default()
    }

    fn parse(text: &str) -> Option<Order> {
        let (descending, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let key = match name {
            "number" => SortKey::Number,
            "assigned_at" => SortKey::AssignedAt,
            "expires_at" => SortKey::ExpiresAt,
            "monthly_cost" => SortKey::MonthlyCost,
            _ => return None,
        };
        Some(Order { key, descending })
    }
}

/// A parameter that a list of numbers takes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    pub example: &'static str,
}

macro_rules! parameters {
    ($($name:literal, $about:literal, $example:literal;)+) => {
        /// Every filter and `sort`, in the order they are documented. Paging
        /// (`page`, `per_page`, `after`) is the HTTP layer's.
        pub const PARAMETERS: &[Parameter] =
            &[$(Parameter { name: $name, about: $about, example: $example }),+];
    };
}

parameters! {
    "search", "Part of the number; a leading + anchors at the start. Spaces, dashes, . ( ) and characters that nobody sees are dropped. At most 32 characters.", "9122712";
    "application_id", "Numbers routed to this application.", "app_abc123";
    "status", "active or suspended. An expired number is suspended. Several values: active,suspended.", "active";
    "number_type", "local, tollfree or mobile. Several values: local,mobile.", "local";
    "country", "Two-letter country code. Several values: IN,FR.", "IN";
    "region", "The region, exactly, or another name of the same place: Delhi finds New Delhi.", "Mumbai";
    "trunk_id", "Numbers on this trunk.", "trunk_xyz";
    "account_auth_id", "Numbers held by this account.", "MA_48149cf4";
    "routed", "true: application_id is not null; false: it is null.", "false";
    "assigned", "true: an account holds the number; false: none does.", "true";
    "expires_before", "expires_at earlier than this time.", "2026-02-15T00:00:00Z";
    "expires_after", "expires_at later than this time.", "2026-02-01T00:00:00Z";
    "assigned_before", "assigned_at earlier than this time.", "2026-02-01T00:00:00Z";
    "assigned_after", "assigned_at later than this time.", "2026-01-01T00:00:00Z";
    "called_before", "Last called on a day (UTC) that began before this time; never: not called in the last 90 days; or both, divided by a comma. Only calls that asked this server count.", "2026-02-01T00:00:00Z";
    "tag", "Numbers with this tag, exactly.", "support";
    "sort", "number, assigned_at, expires_at or monthly_cost; - in front for descending.", "-expires_at";
}

/// Why a filter could not be set.
#[derive(Debug)]
pub enum QueryError {
    /// There is no such parameter.
    Unknown,
    /// Its value is not one it can have.
    Value(FieldError),
}

impl Filter {
    /// Whether the search lets everything through.
    pub fn search_is_all(&self) -> bool {
        matches!(self.search, None | Some(Pattern::Digits { digits: 0, .. }))
    }

    /// Sets one parameter by its name. An empty value means no filter.
    pub fn set(&mut self, order: &mut Order, name: &str, value: &str) -> Result<(), QueryError> {
        let known = PARAMETERS.iter().any(|parameter| parameter.name == name);
        if !known {
            return Err(QueryError::Unknown);
        }
        if value.is_empty() {
            return Ok(());
        }
        let invalid = |message: &str| QueryError::Value(FieldError::new(name, code::INVALID, message, value));
        let time = |read: fn(&str) -> Result<Time, BadTime>| {
            read(value).map(Some).map_err(|error| invalid(&error.to_string()))
        };
        // Stored times are whole seconds, and a bound may have a fraction.
        let (before, after) = (|| time(Time::upper_bound), || time(str::parse));
        let flag = || {
            let word = |word: &str| word.parse::<bool>().ok();
            several(name, value, "must be true or false", word).map_err(QueryError::Value)
        };
        match name {
            "search" => {
                if value.chars().count() > SEARCH_CHARS_MAX {
                    let message = format!("must be at most {SEARCH_CHARS_MAX} characters");
                    return Err(QueryError::Value(FieldError::new(name, code::TOO_LONG, message, value)));
                }
                self.search = Pattern::parse(value);
            }
            "application_id" => self.application = Some(value.into()),
            "trunk_id" => self.trunk = Some(value.into()),
            "account_auth_id" => self.account = Some(value.into()),
            "region" => self.region = Some(value.into()),
            "tag" => self.tag = Some(value.into()),
            "status" => {
                let statuses = several(name, value, "must be active or suspended", Status::parse);
                self.status = one_of_two(&statuses.map_err(QueryError::Value)?);
            }
            "number_type" => {
                let types = several(name, value, "must be local, tollfree or mobile", NumberType::parse);
                self.number_type = types.map_err(QueryError::Value)?.into_iter().collect();
            }
            "country" => {
                let message = BadCountry.to_string();
                let countries = several(name, value, &message, |word| word.parse::<Country>().ok());
                self.country = countries.map_err(QueryError::Value)?.into_iter().collect();
            }
            "routed" => self.routed = one_of_two(&flag()?),
            "assigned" => self.assigned = one_of_two(&flag()?),
            "expires_before" => self.expires_before = before()?,
            "expires_after" => self.expires_after = after()?,
            "assigned_before" => self.assigned_before = before()?,
            "assigned_after" => self.assigned_after = after()?,
            "called_before" => self.called = Some(CalledBefore::parse(name, value).map_err(QueryError::Value)?),
            "sort" => {
                *order = Order::parse(value).ok_or_else(|| {
                    invalid("must be number, assigned_at, expires_at or monthly_cost, with - in front for descending")
                })?;
            }
            _ => unreachable!("{name} is in PARAMETERS"),
        }
        Ok(())
    }
}

/// Reads `after`: a number, whose `+` may have become a space in a URL.
pub fn parse_after(value: &str) -> Result<E164, FieldError> {
    let text = match value.strip_prefix(' ') {
        Some(digits) => format!("+{digits}"),
        None => value.to_owned(),
    };
    text.parse().map_err(|error: crate::domain::e164::BadNumber| {
        FieldError::new("after", code::INVALID, error.to_string(), value)
    })
}
