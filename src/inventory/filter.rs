//! Which numbers a reader wants, and in what order: the same names in a URL,
//! on the command line and in every link.

use crate::domain::field::code;
use crate::domain::{Country, E164, FieldError, NumberType, State, Status, Time};

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
    pub status: Option<Status>,
    pub number_type: Option<NumberType>,
    pub country: Option<Country>,
    /// Whether `application_id` is there.
    pub routed: Option<bool>,
    /// Whether an account holds it.
    pub assigned: Option<bool>,
    pub expires_before: Option<Time>,
    pub expires_after: Option<Time>,
    pub assigned_before: Option<Time>,
    pub assigned_after: Option<Time>,
    /// The stored state, as of now. Nothing that a URL can ask for: the Partner
    /// API knows only the status.
    pub state: Option<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortKey {
    #[default]
    Number,
    AssignedAt,
    ExpiresAt,
    MonthlyCost,
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
    "search", "Part of the number; a leading + anchors at the start. Spaces and - . ( ) are dropped.", "9122712";
    "application_id", "Numbers routed to this application.", "app_abc123";
    "status", "active or suspended. An expired number is suspended.", "active";
    "number_type", "local, tollfree or mobile.", "local";
    "country", "Two-letter country code.", "IN";
    "region", "The region, exactly, or another name of the same place: Delhi finds New Delhi.", "Mumbai";
    "trunk_id", "Numbers on this trunk.", "trunk_xyz";
    "account_auth_id", "Numbers held by this account.", "MA_48149cf4";
    "routed", "true: application_id is not null; false: it is null.", "false";
    "assigned", "true: an account holds the number; false: none does.", "true";
    "expires_before", "expires_at earlier than this time.", "2026-02-15T00:00:00Z";
    "expires_after", "expires_at later than this time.", "2026-02-01T00:00:00Z";
    "assigned_before", "assigned_at earlier than this time.", "2026-02-01T00:00:00Z";
    "assigned_after", "assigned_at later than this time.", "2026-01-01T00:00:00Z";
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
        let time = || value.parse::<Time>().map(Some).map_err(|error| invalid(&error.to_string()));
        let flag = || match value {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(invalid("must be true or false")),
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
                let status = Status::parse(value).ok_or_else(|| invalid("must be active or suspended"))?;
                self.status = Some(status);
            }
            "number_type" => {
                let kind = NumberType::parse(value).ok_or_else(|| invalid("must be local, tollfree or mobile"))?;
                self.number_type = Some(kind);
            }
            "country" => self.country = Some(value.parse::<Country>().map_err(|error| invalid(&error.to_string()))?),
            "routed" => self.routed = flag()?,
            "assigned" => self.assigned = flag()?,
            "expires_before" => self.expires_before = time()?,
            "expires_after" => self.expires_after = time()?,
            "assigned_before" => self.assigned_before = time()?,
            "assigned_after" => self.assigned_after = time()?,
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
