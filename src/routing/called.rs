//! The called number, from the user part of a SIP URI.
//!
//! `+digits`, `00digits` and bare digits are E.164. A percent-decoding is done
//! once, visual separators (RFC 3966: `-`, `.`, `(` and `)`) are dropped, and
//! parameters after a `;` are ignored. A national form is read only where a
//! country is given: digits are then a number of that country if they are
//! valid there, and its prefix for calls abroad counts.
//! Invariant: the formats are tried in the order above; other text is not a number.
//! Nothing is guessed, nothing panics.
//! Deliberately absent: the Request-URI around the user part (`sip`).

use crate::domain::{Country, E164, plan};

/// The most digits that are read: a number, and a prefix before it.
const DIGITS_MAX: usize = 24;

/// The called number, if the user part is one. Allocates nothing, but for bare
/// digits where there is a country.
pub fn called_number(user: &[u8], country: Option<Country>) -> Option<E164> {
    let user = user.split(|&byte| byte == b';').next().unwrap_or_default();
    let mut digits = [0_u8; DIGITS_MAX];
    let mut count = 0;
    let mut plus = false;
    let mut rest = user;
    while let Some((byte, after)) = decoded(rest)? {
        rest = after;
        match byte {
            b'0'..=b'9' => {
                *digits.get_mut(count)? = byte;
                count += 1;
            }
            b'+' if !plus && count == 0 => plus = true,
            b'-' | b'.' | b'(' | b')' => {}
            _ => return None,
        }
    }
    let digits = &digits[..count];
    if plus {
        return e164(digits);
    }
    if let Some(country) = country {
        let text = std::str::from_utf8(digits).ok()?;
        if let Some(number) = plan::dialled(text, country) {
            return Some(number);
        }
    }
    e164(digits.strip_prefix(b"00").unwrap_or(digits))
}

/// The first byte after one percent-decoding, and what follows; none at the end.
/// The whole is none where a `%` does not begin an escape.
#[expect(clippy::option_option, reason = "nothing left and nothing readable are two answers")]
fn decoded(rest: &[u8]) -> Option<Option<(u8, &[u8])>> {
    match rest {
        [] => Some(None),
        [b'%', high, low, after @ ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = digit(*high).zip(digit(*low))?;
            Some(Some(((high * 16 + low) as u8, after)))
        }
        [b'%', ..] => None,
        [byte, after @ ..] => Some(Some((*byte, after))),
    }
}

fn e164(digits: &[u8]) -> Option<E164> {
    if !(7..=15).contains(&digits.len()) || digits[0] == b'0' {
        return None;
    }
    E164::new(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, country: Option<&str>, expected: Option<u64>) {
        let country = country.map(|code| code.parse().expect("a country"));
        let read = called_number(user.as_bytes(), country).map(E164::digits);
        assert_eq!(read, expected, "{user:?} in {country:?}");
    }

    #[test]
    fn international_forms() {
        let number = Some(912_271_264_217);
        for user in [
            "+912271264217",
            "912271264217",
            "00912271264217",
            "+91-22-7126-4217",
            "+91(22)7126.4217",
            "%2B912271264217",
            "%2b91%32271264217",
            "+912271264217;phone-context=example.com",
            "+912271264217;user=phone;x=%zz",
            "-+912271264217",
        ] {
            check(user, None, number);
        }
        check("+1234567", None, Some(1_234_567));
        check("123456789012345", None, Some(123_456_789_012_345));
    }

    #[test]
    fn what_is_no_number() {
        for user in [
            "",
            ";",
            "+",
            "alice",
            "+91227126421x",
            "++912271264217",
            "91+2271264217",
            "+123456",
            "+1234567890123456",
            "+0912271264217",
            "0912271264217",
            "000912271264217",
            "00",
            "%252B912271264217",
            "+91%",
            "+91%4",
            "+91%4g2271264217",
            "+91 2271264217",
            "+91%002271264217",
            "+91%3B2271264217",
            "+\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}\u{667}",
            "*912271264217",
            "#912271264217",
            "912271264217:secret",
            "9122712642179122712642179122712642179122712642179",
        ] {
            check(user, None, None);
        }
    }

    #[test]
    fn national_forms_are_read_where_a_country_says_so() {
        for (user, country, expected) in [
            ("02271264217", "IN", Some(912_271_264_217)),
            ("2271264217", "IN", Some(912_271_264_217)),
            ("912271264217", "IN", Some(912_271_264_217)),
            ("+912271264217", "US", Some(912_271_264_217)),
            ("00912271264217", "IN", Some(912_271_264_217)),
            ("2125550100", "US", Some(12_125_550_100)),
            ("12125550100", "US", Some(12_125_550_100)),
            ("(212)555-0100", "US", Some(12_125_550_100)),
            ("011912271264217", "US", Some(912_271_264_217)),
            ("00912271264217", "US", Some(912_271_264_217)),
            ("02079460958", "GB", Some(442_079_460_958)),
            ("0612345678", "FR", Some(33_612_345_678)),
            ("0669821234", "IT", Some(390_669_821_234)),
            ("112", "IN", None),
            ("0000", "IN", None),
        ] {
            check(user, Some(country), expected);
        }
        // Bare digits are E.164 where they are no number of the country.
        check("442079460958", Some("US"), Some(442_079_460_958));
        // And nothing is national where no country says so.
        check("02271264217", None, None);
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics_and_reads_what_is_printed(user in ".{0,40}", digits in 1_000_000_u64..=999_999_999_999_999) {
            let _ = called_number(user.as_bytes(), None);
            let number = E164::new(digits).expect("in range");
            proptest::prop_assert_eq!(called_number(number.to_string().as_bytes(), None), Some(number));
        }
    }
}
