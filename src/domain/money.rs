//! Money: whole minor units and the currency they are of.
//!
//! Never a float. Amounts of two currencies are never added, so there is no
//! operator that could. Deliberately absent: exchange rates, and currencies
//! without a minor unit of their own (XXX, XTS, XAU…).

use std::fmt;
use std::str::FromStr;

/// A currency of ISO 4217 that has a defined number of decimals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: [u8; 3],
    decimals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a currency of ISO 4217 with a minor unit, such as INR")]
pub struct BadCurrency;

impl Currency {
    /// The codes of all of them.
    pub fn codes() -> Vec<String> {
        let letters = || (b'A'..=b'Z').map(char::from);
        let words = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        words.filter(|word| word.parse::<Currency>().is_ok()).collect()
    }

    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).expect("codes are ASCII")
    }

    /// How many decimals amounts of this currency have: 2 for INR, 0 for JPY.
    pub fn decimals(self) -> u8 {
        self.decimals
    }
}

impl FromStr for Currency {
    type Err = BadCurrency;

    fn from_str(text: &str) -> Result<Currency, BadCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| BadCurrency)?;
        let known = iso_currency::Currency::from_code(text).ok_or(BadCurrency)?;
        let decimals = known.exponent().ok_or(BadCurrency)?;
        let decimals = u8::try_from(decimals).map_err(|_| BadCurrency)?;
        Ok(Currency { code, decimals })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl serde::Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount that is not negative, in minor units of its currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    #[error("must be a plain decimal amount, such as 500.00")]
    Format,
    #[error("must not be negative")]
    Negative,
    #[error("has more decimals than {currency} has ({})", currency.decimals())]
    Decimals { currency: Currency },
    #[error("is too large")]
    TooLarge,
}

impl Money {
    /// Reads a plain decimal amount: digits, and at most as many decimals as
    /// the currency has. No sign, no separators, no exponent: never a guess.
    pub fn parse(text: &str, currency: Currency) -> Result<Money, BadAmount> {
        if let Some(rest) = text.strip_prefix('-') {
            let plausible = rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            return Err(if plausible && !rest.is_empty() { BadAmount::Negative } else { BadAmount::Format });
        }
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(BadAmount::Format),
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(BadAmount::Format);
        }
        if fraction.len() > usize::from(currency.decimals) {
            return Err(BadAmount::Decimals { currency });
        }
        let mut minor: i64 = 0;
        let padding = usize::from(currency.decimals) - fraction.len();
        for byte in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
            minor = minor
                .checked_mul(10)
                .and_then(|minor| minor.checked_add(i64::from(byte - b'0')))
                .ok_or(BadAmount::TooLarge)?;
        }
        Ok(Money { minor, currency })
    }

    /// The amount in ten-thousandths of the currency's unit, so that amounts
    /// of any currencies can be put in the order of their printed numbers.
    pub fn printed_order(self) -> i128 {
        i128::from(self.minor) * 10_i128.pow(4 - u32::from(self.currency.decimals.min(4)))
    }
}

/// The amount alone, with the currency's decimals: `500.00`, `500`, `1.250`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_i64.pow(u32::from(self.currency.decimals));
        write!(f, "{}", self.minor / unit)?;
        match usize::from(self.currency.decimals) {
            0 => Ok(()),
            width => write!(f, ".{:0width$}", self.minor % unit),
        }
    }
}

/// A sum of amounts of one currency, or of their differences: it can be beyond every
/// amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum {
    pub minor: i128,
    pub currency: Currency,
}

/// The amount alone, as [`Money`] prints it.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(u32::from(self.currency.decimals));
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match usize::from(self.currency.decimals) {
            0 => write!(f, "{sign}{minor}"),
            width => write!(f, "{sign}{}.{:0width$}", minor / unit, minor % unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, currency: &str, expected: Result<&str, BadAmount>) {
        let currency: Currency = currency.parse().expect("a currency");
        let printed = Money::parse(text, currency).map(|money| money.to_string());
        assert_eq!(printed, expected.map(str::to_owned), "input: {text:?} {currency}");
    }

    #[test]
    fn an_amount_has_its_currencys_decimals() {
        check("500.00", "INR", Ok("500.00"));
        check("500", "INR", Ok("500.00"));
        check("0.5", "INR", Ok("0.50"));
        check("500", "JPY", Ok("500"));
        check("1.25", "KWD", Ok("1.250"));
        let yen = "JPY".parse().expect("a currency");
        check("500.0", "JPY", Err(BadAmount::Decimals { currency: yen }));
    }

    #[test]
    fn what_is_not_a_plain_amount_is_refused() {
        for text in ["", ".", "5.", ".5", "1,000", "1e3", "+5", " 5", "5 ", "--5", "-", "₹5", "٥"] {
            check(text, "INR", Err(BadAmount::Format));
        }
        check("-0.01", "INR", Err(BadAmount::Negative));
        check("92233720368547758.08", "INR", Err(BadAmount::TooLarge));
    }

    #[test]
    fn a_currency_has_a_minor_unit() {
        for code in ["XXX", "XTS", "XAU", "XAG", "XDR", "inr", "IN", "INRR", "ABC", ""] {
            assert_eq!(code.parse::<Currency>(), Err(BadCurrency), "input: {code:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_undoes_printing(minor in 0..=i64::MAX, code in prop::sample::select(vec!["INR", "JPY", "KWD", "CLF"])) {
            let currency: Currency = code.parse().expect("a currency");
            let money = Money { minor, currency };
            prop_assert_eq!(Money::parse(&money.to_string(), currency), Ok(money));
        }
    }
}
