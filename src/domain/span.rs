//! Spans of time as people write them: `14d`, `36h`, `90m`.
//!
//! One rule says for every door how long a span may be and what is wrong with
//! another one. Deliberately absent: how spans are written out (`alert`).

use super::field::code;

/// The longest span, in seconds: ten years.
pub const SECONDS_MAX: i64 = 3_650 * 86_400;

/// How long a span may be.
#[derive(Clone, Copy, Debug)]
pub struct SpanRange {
    /// In seconds.
    pub min: i64,
    min_text: &'static str,
}

/// For how long something has been so, and how far ahead somebody looks once.
pub const CHECKED: SpanRange = SpanRange { min: 0, min_text: "0s" };
/// How far ahead a schedule looks.
pub const SCHEDULED: SpanRange = SpanRange { min: 60, min_text: "1m" };

/// How often something is done again.
pub const REPEATED: SpanRange = SpanRange { min: 1, min_text: "1s" };

/// Why a text is no span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSpan {
    #[error("must be a span of time such as 14d, 36h or 90m")]
    Form,
    #[error("must be from {0} to 3650d")]
    Range(&'static str),
}

impl BadSpan {
    pub fn code(self) -> &'static str {
        match self {
            BadSpan::Form => code::INVALID,
            BadSpan::Range(_) => code::OUT_OF_RANGE,
        }
    }
}

impl SpanRange {
    /// A span in seconds: a whole number and `d`, `h`, `m` or `s`.
    pub fn read(self, text: &str) -> Result<i64, BadSpan> {
        let unit = match text.chars().last() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(BadSpan::Form),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadSpan::Form);
        }
        // More digits than a number can have are too many.
        let seconds = digits.parse::<i64>().ok().and_then(|count| count.checked_mul(unit));
        self.check(seconds.unwrap_or(i64::MAX))
    }

    pub fn check(self, seconds: i64) -> Result<i64, BadSpan> {
        match (self.min..=SECONDS_MAX).contains(&seconds) {
            true => Ok(seconds),
            false => Err(BadSpan::Range(self.min_text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_at_most_ten_years() {
        for (text, checked, scheduled) in [
            ("14d", Ok(14 * 86_400), Ok(14 * 86_400)),
            ("36h", Ok(129_600), Ok(129_600)),
            ("1m", Ok(60), Ok(60)),
            ("59s", Ok(59), Err(BadSpan::Range("1m"))),
            ("0d", Ok(0), Err(BadSpan::Range("1m"))),
            ("3650d", Ok(SECONDS_MAX), Ok(SECONDS_MAX)),
            ("5256000m", Ok(SECONDS_MAX), Ok(SECONDS_MAX)),
            ("3651d", Err(BadSpan::Range("0s")), Err(BadSpan::Range("1m"))),
            ("315360001s", Err(BadSpan::Range("0s")), Err(BadSpan::Range("1m"))),
            ("99999999999999999999d", Err(BadSpan::Range("0s")), Err(BadSpan::Range("1m"))),
        ] {
            assert_eq!(CHECKED.read(text), checked, "{text}");
            assert_eq!(SCHEDULED.read(text), scheduled, "{text}");
        }
        for text in ["", "14", "d", "-1d", "+1d", "1.5d", "14 d", "14w", "1é", "١d"] {
            assert_eq!(CHECKED.read(text), Err(BadSpan::Form), "{text:?}");
        }
        assert_eq!(CHECKED.read("3651d").expect_err("too long").to_string(), "must be from 0s to 3650d");
    }
}
