//! One thing that is wrong with one named input.
//!
//! Invariant: the list of problems in one answer is bounded ([`first`]), however
//! many there are.

use super::shown::{shown_to, without_credentials};

/// Which input is wrong, in a stable code, in words, and the value itself.
///
/// Serialises to an element of the error envelope's `details.errors`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    pub field: String,
    pub code: &'static str,
    pub message: String,
    /// Null where there was none, or none worth repeating. Never with a password: the
    /// value of an address is without who signs in there.
    pub value: Option<String>,
}

/// The codes a [`FieldError`] can have.
pub mod code {
    pub const INVALID: &str = "INVALID";
    pub const OUT_OF_RANGE: &str = "OUT_OF_RANGE";
    pub const TOO_LONG: &str = "TOO_LONG";
    pub const REPEATED: &str = "REPEATED";
    pub const CONFLICT: &str = "CONFLICT";
    pub const UNKNOWN: &str = "UNKNOWN";
    pub const MISSING: &str = "MISSING";

    /// All of them, with their meanings.
    pub const ALL: [(&str, &str); 7] = [
        (INVALID, "The value has another form or is not among the known ones."),
        (OUT_OF_RANGE, "The number or time is too small or too large."),
        (TOO_LONG, "The text is too long."),
        (REPEATED, "The parameter or the value is there more than once."),
        (CONFLICT, "The value does not go with another one, or with what is stored."),
        (UNKNOWN, "The parameter, the field or the id is unknown."),
        (MISSING, "The value is needed."),
    ];
}

/// How much of a wrong value and of a field's name is repeated back, in
/// characters.
const VALUE_CHARS_MAX: usize = 64;
/// The longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// How many problems of one request are listed, and in how many bytes of JSON.
const LISTED_MAX: usize = 100;
const LISTED_BYTES_MAX: usize = 10 << 10;
/// What stands before the list of what is known, which is given once.
const KNOWN: &str = "; known are ";

/// The first problems, as they may be told in one answer, and how many more
/// there are.
pub fn first(errors: Vec<FieldError>) -> (Vec<FieldError>, usize) {
    let (mut listed, mut bytes, total) = (Vec::new(), 0, errors.len());
    let mut said: Vec<String> = Vec::new();
    for mut error in errors.into_iter().take(LISTED_MAX) {
        error.field = shown_to(&error.field, VALUE_CHARS_MAX).to_string();
        if let Some((wrong, known)) = error.message.split_once(KNOWN) {
            if said.iter().any(|said| said == known) {
                error.message = wrong.to_owned();
            } else {
                said.push(known.to_owned());
            }
        }
        error.message = shown_to(&error.message, MESSAGE_CHARS_MAX).to_string();
        bytes += serde_json::to_vec(&error).map_or(0, |json| json.len() + 1);
        if bytes > LISTED_BYTES_MAX {
            break;
        }
        listed.push(error);
    }
    let more = total - listed.len();
    (listed, more)
}

/// How many problems are not listed, as the end of a sentence.
pub fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("; and {more} more") }
}

impl FieldError {
    pub fn new(field: &str, code: &'static str, message: impl Into<String>, value: &str) -> FieldError {
        FieldError {
            field: field.to_owned(),
            code,
            message: message.into(),
            value: Some(without_credentials(value).chars().take(VALUE_CHARS_MAX).collect()),
        }
    }

    /// The same of a field that has no value, or none worth repeating.
    pub fn missing(field: &str, code: &'static str, message: impl Into<String>) -> FieldError {
        FieldError { field: field.to_owned(), code, message: message.into(), value: None }
    }
}
