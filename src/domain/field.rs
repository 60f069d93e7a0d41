//! One thing that is wrong with one named input.

/// Which input is wrong, in a stable code, in words, and the value itself.
///
/// Serialises to an element of the error envelope's `details.errors`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    pub field: String,
    pub code: &'static str,
    pub message: String,
    /// Null where there was none, or none worth repeating.
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
}

/// How much of a wrong value is repeated back, in characters.
const VALUE_CHARS_MAX: usize = 64;

impl FieldError {
    pub fn new(field: &str, code: &'static str, message: impl Into<String>, value: &str) -> FieldError {
        FieldError {
            field: field.to_owned(),
            code,
            message: message.into(),
            value: Some(value.chars().take(VALUE_CHARS_MAX).collect()),
        }
    }

    /// The same of a field that has no value, or none worth repeating.
    pub fn missing(field: &str, code: &'static str, message: impl Into<String>) -> FieldError {
        FieldError { field: field.to_owned(), code, message: message.into(), value: None }
    }
}
