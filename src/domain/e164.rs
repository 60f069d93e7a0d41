//! A telephone number in the international form of ITU-T E.164.
//!
//! Held as one integer, so comparing, sorting and storing it costs what an
//! integer costs. Deliberately absent: guessing. National digits, scientific
//! notation and spaces are somebody else's problem (see `intake`).

use std::fmt;
use std::str::FromStr;

/// A number in E.164 form. Invariant: 7 to 15 digits, the first not zero.
///
/// Ordered as an integer, so shorter numbers come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(u64);

/// The smallest and the largest value an [`E164`] can have.
const MIN: u64 = 1_000_000;
const MAX: u64 = 999_999_999_999_999;

/// The length of the longest number with its `+`, in bytes.
pub const TEXT_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be + and 7 to 15 digits, the first not 0, such as +912271264217")]
pub struct BadNumber;

impl E164 {
    /// The number with these digits, if there are 7 to 15 of them.
    pub const fn new(digits: u64) -> Option<E164> {
        if digits >= MIN && digits <= MAX { Some(E164(digits)) } else { None }
    }

    /// The digits as an integer, without the `+`.
    pub const fn digits(self) -> u64 {
        self.0
    }

    /// The next number up, if it is still a number.
    pub const fn next(self) -> Option<E164> {
        E164::new(self.0 + 1)
    }

    /// The text form, `+` first, written into `buffer`.
    pub fn text(self, buffer: &mut [u8; TEXT_MAX]) -> &str {
        std::str::from_utf8(self.ascii(buffer)).expect("digits are ASCII")
    }

    /// The same, as bytes.
    pub fn ascii(self, buffer: &mut [u8; TEXT_MAX]) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(self.0).as_bytes();
        buffer[0] = b'+';
        buffer[1..=digits.len()].copy_from_slice(digits);
        &buffer[..=digits.len()]
    }
}

impl FromStr for E164 {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<E164, BadNumber> {
        let digits = text.strip_prefix('+').ok_or(BadNumber)?.as_bytes();
        if !(7..=15).contains(&digits.len()) || digits[0] == b'0' {
            return Err(BadNumber);
        }
        let mut value = 0;
        for &byte in digits {
            if !byte.is_ascii_digit() {
                return Err(BadNumber);
            }
            value = value * 10 + u64::from(byte - b'0');
        }
        Ok(E164(value))
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text(&mut [0; TEXT_MAX]))
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl serde::Serialize for E164 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_MAX]))
    }
}

impl<'de> serde::Deserialize<'de> for E164 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<E164, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_parse(text: &str, expected: Option<u64>) {
        let parsed = text.parse::<E164>().ok().map(E164::digits);
        assert_eq!(parsed, expected, "input: {text:?}");
    }

    #[test]
    fn seven_to_fifteen_digits_after_a_plus() {
        check_parse("+1234567", Some(1_234_567));
        check_parse("+123456", None);
        check_parse("+999999999999999", Some(999_999_999_999_999));
        check_parse("+9999999999999990", None);
        check_parse("+0123456789", None);
    }

    #[test]
    fn national_and_decorated_forms_are_refused() {
        for text in [
            "",
            "+",
            "02079460000",
            "912271264217",
            "+91 2271264217",
            "+91-2271264217",
            "++912271264217",
            "+9.12271E+11",
            "+٩١٢٢٧١٢٦٤٢١٧",
        ] {
            check_parse(text, None);
        }
    }

    proptest! {
        #[test]
        fn parsing_undoes_printing(digits in MIN..=MAX) {
            let number = E164::new(digits).expect("in range");
            prop_assert_eq!(number.to_string().parse::<E164>(), Ok(number));
        }
    }
}
