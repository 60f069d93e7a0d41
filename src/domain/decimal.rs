//! An exact decimal number: what calls cost, which is less than a minor unit.
//!
//! Whole 10⁻¹⁸ units in one integer, so sums are exact in any order. Never a
//! float, and never rounded on the way in: more decimals than fit are refused.
//! An exponent (`1e-05`, as programs print small numbers) only moves the point.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use super::Currency;

/// How many decimals there are, and digits before them at the most.
const DECIMALS: usize = 18;
const WHOLE_DIGITS_MAX: usize = 12;
/// The most digits of an exponent.
const EXPONENT_DIGITS_MAX: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Decimal(i128);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDecimal {
    #[error("must be a plain decimal number, such as 0.0035")]
    Format,
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

    /// The number, if it is whole and not negative.
    pub fn whole(self) -> Option<u64> {
        let unit = 10_i128.pow(DECIMALS as u32);
        let whole = (self.0 % unit == 0).then_some(self.0 / unit)?;
        u64::try_from(whole).ok()
    }
}

impl FromStr for Decimal {
    type Err = BadDecimal;

    fn from_str(text: &str) -> Result<Decimal, BadDecimal> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (digits, point) = match digits.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent_of(exponent)?),
            None => (digits, 0),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(BadDecimal::Format),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) {
            return Err(BadDecimal::Format);
        }
        let all = [whole, fraction].concat();
        let significant = all.trim_end_matches('0');
        let zeros = significant.len() - significant.trim_start_matches('0').len();
        if significant.len() == zeros {
            return Ok(Decimal::ZERO);
        }
        // Where the point is among the digits, and how many are on each side.
        let point = whole.len() as isize + point;
        if point - zeros as isize > WHOLE_DIGITS_MAX as isize {
            return Err(BadDecimal::TooLarge);
        }
        if significant.len() as isize - point > DECIMALS as isize {
            return Err(BadDecimal::Decimals);
        }
        let padding = (DECIMALS as isize + point - significant.len() as isize) as usize;
        let value = significant.bytes().chain(std::iter::repeat_n(b'0', padding));
        let value = value.fold(0, |value: i128, byte| value * 10 + i128::from(byte - b'0'));
        Ok(Decimal(if text.starts_with('-') { -value } else { value }))
    }
}

/// By how many places an exponent moves the point.
fn exponent_of(text: &str) -> Result<isize, BadDecimal> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || digits.len() > EXPONENT_DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadDecimal::Format);
    }
    text.parse().map_err(|_| BadDecimal::Format)
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
    fn an_exponent_moves_the_point() {
        check("1e-05", Ok("0.00001"));
        check("1E3", Ok("1000"));
        check("1.5e2", Ok("150"));
        check("-2.5E-1", Ok("-0.25"));
        check("0e9999", Ok("0"));
        check("1e-18", Ok("0.000000000000000001"));
        check("9.99e+11", Ok("999000000000"));
        check("0.000001e6", Ok("1"));
        for (text, whole) in [("30.0", Some(30)), ("3e1", Some(30)), ("0", Some(0)), ("30.5", None), ("-1", None)] {
            assert_eq!(text.parse::<Decimal>().expect(text).whole(), whole, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", ".", ".5", "5.", "+5", " 5", "1,5", "0x1", "--1", "NaN", "٥", "1.2.3", "e5", "1e", "1e+", "1e1.5",
            "1e٥", "1e99999", "1e5e5", "1.e5", "1e--5",
        ] {
            check(text, Err(BadDecimal::Format));
        }
        check("0.0000000000000000001", Err(BadDecimal::Decimals));
        check("1e-19", Err(BadDecimal::Decimals));
        check("1.5e-18", Err(BadDecimal::Decimals));
        check("1000000000000", Err(BadDecimal::TooLarge));
        check("1e12", Err(BadDecimal::TooLarge));
        check("1e9999", Err(BadDecimal::TooLarge));
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
