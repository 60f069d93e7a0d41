//! An exact decimal number: what calls cost, which is less than a minor unit.
//!
//! Whole 10⁻¹⁸ units in one integer, so sums are exact in any order. Never a
//! float, and never rounded on the way in: more decimals than fit, and
//! exponents, are refused.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use super::Currency;

/// How many decimals there are, and digits before them at the most.
const DECIMALS: usize = 18;
const WHOLE_DIGITS_MAX: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Decimal(i128);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDecimal {
    #[error("must be a plain decimal number, such as 0.0035")]
    Format,
    #[error("has an exponent; write it as a plain decimal number, such as 0.00001")]
    Exponent,
    #[error("has more than {DECIMALS} decimals")]
    Decimals,
    #[error("is too large")]
    TooLarge,
}

impl Decimal {
    pub const ZERO: Decimal = Decimal(0);

    /// In minor units of a currency, rounded half up.
    pub fn minor(self, currency: Currency) -> i128 {
        let unit = 10_i128.pow(DECIMALS as u32 - u32::from(currency.decimals()));
        (2 * self.0 + unit).div_euclid(2 * unit)
    }
}

impl FromStr for Decimal {
    type Err = BadDecimal;

    fn from_str(text: &str) -> Result<Decimal, BadDecimal> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(BadDecimal::Format),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            let exponent = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains(['e', 'E']);
            return Err(if exponent { BadDecimal::Exponent } else { BadDecimal::Format });
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DECIMALS {
            return Err(BadDecimal::Decimals);
        }
        if whole.trim_start_matches('0').len() > WHOLE_DIGITS_MAX {
            return Err(BadDecimal::TooLarge);
        }
        let padding = std::iter::repeat_n(b'0', DECIMALS - fraction.len());
        let value = whole.bytes().chain(fraction.bytes()).chain(padding);
        let value = value.fold(0, |value: i128, byte| value * 10 + i128::from(byte - b'0'));
        Ok(Decimal(if text.starts_with('-') { -value } else { value }))
    }
}

/// Without needless zeros: `0.3`, `12`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(DECIMALS as u32);
        let (whole, fraction) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let mut text = format!("{}{whole}", if self.0 < 0 { "-" } else { "" });
        if fraction > 0 {
            let fraction = format!("{fraction:0DECIMALS$}");
            text.push('.');
            text.push_str(fraction.trim_end_matches('0'));
        }
        f.pad(&text)
    }
}

// A hundred million of the largest there are can be added.
impl Add for Decimal {
    type Output = Decimal;

    fn add(self, other: Decimal) -> Decimal {
        Decimal(self.0 + other.0)
    }
}

impl AddAssign for Decimal {
    fn add_assign(&mut self, other: Decimal) {
        *self = *self + other;
    }
}

impl Sub for Decimal {
    type Output = Decimal;

    fn sub(self, other: Decimal) -> Decimal {
        Decimal(self.0 - other.0)
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Decimal>>(all: I) -> Decimal {
        all.fold(Decimal::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, BadDecimal>) {
        let printed = text.parse::<Decimal>().map(|value| value.to_string());
        assert_eq!(printed, expected.map(str::to_owned), "input: {text:?}");
    }

    #[test]
    fn plain_decimals_are_exact() {
        check("0.3", Ok("0.3"));
        check("0", Ok("0"));
        check("-0.10", Ok("-0.1"));
        check("007.0350", Ok("7.035"));
        check("0.000000000000000001", Ok("0.000000000000000001"));
        check("0.30000000000000000000000", Ok("0.3"));
        check("999999999999.999999999999999999", Ok("999999999999.999999999999999999"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", ".", ".5", "5.", "+5", " 5", "1,5", "0x1", "--1", "NaN", "٥", "1.2.3", "e5"] {
            check(text, Err(BadDecimal::Format));
        }
        for text in ["1e-05", "1E3", "1.5e2"] {
            check(text, Err(BadDecimal::Exponent));
        }
        check("0.0000000000000000001", Err(BadDecimal::Decimals));
        check("1000000000000", Err(BadDecimal::TooLarge));
    }

    #[test]
    fn rounding_is_half_up() {
        for (text, currency, minor) in [
            ("0.005", "INR", 1),
            ("0.004999999999999999", "INR", 0),
            ("1.0045", "KWD", 1_005),
            ("0.5", "JPY", 1),
            ("-0.005", "INR", 0),
            ("-0.006", "INR", -1),
        ] {
            let value: Decimal = text.parse().expect("a number");
            assert_eq!(value.minor(currency.parse().expect("a currency")), minor, "{text} {currency}");
        }
    }

    proptest! {
        #[test]
        fn parsing_undoes_printing(value in -10_i128.pow(30) + 1..10_i128.pow(30)) {
            let value = Decimal(value);
            prop_assert_eq!(value.to_string().parse::<Decimal>(), Ok(value));
        }
    }
}
