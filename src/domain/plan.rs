//! What the numbering plan says of a number, and how to read the way a country
//! writes its own numbers.
//!
//! The source is libphonenumber's public metadata, in three forms: a table of
//! answers by digits (`numbers`), a table of places by digits (`places`), and
//! the library `rlibphonenumber` for what the first leaves open and for parsing.
//!
//! Invariant: `lookup` answers as the library does, save for the rules below; only
//! a number that the plan ties to a place has one.
//! Deliberately absent: I/O, and any refusal. Regulators allocate ahead of the
//! metadata, so an invalid number is an answer like another.

mod doubt;
mod numbers;
mod places;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

use self::numbers::Answer;
use super::NumberType;

pub use self::doubt::{Doubt, Scan, doubt};

/// What the numbering plan says of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub number_type: NumberType,
    /// ISO 3166 letters. None for non-geographic codes, and where the metadata
    /// cannot tell which of the countries that share a calling code it is.
    pub country: Option<[u8; 2]>,
    /// The name of the place, in English wherever it has an English name.
    pub region: Option<&'static str>,
    pub valid: bool,
}

/// What the numbering plan says of a number, given as its E.164 digits.
pub fn lookup(number: u64) -> Plan {
    let digits = Digits::new(number);
    let answer = numbers::find(&digits).unwrap_or_else(|| ask_library(number));
    let Answer { mut number_type, country, geographic, valid } = answer;
    // India's 1600 and 1601 are for calls by banks and authorities. The metadata
    // files them under mobile, but no handset has one.
    if digits.start_with(&[9, 1, 1, 6, 0, 0]) || digits.start_with(&[9, 1, 1, 6, 0, 1]) {
        number_type = NumberType::Local;
    }
    // Other numbers are reached from the whole country, whatever place their
    // digits resemble.
    let region = if geographic { place(number) } else { None };
    Plan { number_type, country, region, valid }
}

/// The place of a number, given as its E.164 digits: the name of the longest
/// prefix that the table has for it.
pub fn place(number: u64) -> Option<&'static str> {
    let digits = Digits::new(number);
    // An Argentine mobile number has a 9 before the area code of its place.
    if digits.start_with(&[5, 4, 9]) {
        let rest = 10_u64.pow(digits.count as u32 - 3);
        return places::place(&Digits::new(54 * rest + number % rest));
    }
    places::place(&digits)
}

/// Reads a number as a country writes its own, like "020 7946 0000" in GB, and
/// returns its E.164 digits.
///
/// None if the text cannot be such a number: wrong in length, a local number
/// without its area, or one of another calling code. The own calling code is
/// understood where the rest cannot be a number otherwise ("91 98765 43210").
/// Letters are refused: a number here is never a word, so they are a mistake.
pub fn national(text: &str, country: [u8; 2]) -> Option<u64> {
    if !text.chars().all(|char| char.is_ascii_digit() || is_separator(char)) {
        return None;
    }
    let country: Region = std::str::from_utf8(&country).ok()?.parse().ok()?;
    // The library knows fewer spaces than people use.
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number = PHONE_NUMBER_UTIL.parse(&digits, Some(country)).ok()?;
    // The prefix for calls abroad may have led to another calling code.
    let same_code = PHONE_NUMBER_UTIL.get_country_code_for_region(country) == Some(number.country_code);
    let complete = PHONE_NUMBER_UTIL.is_possible_number_with_reason(&number) == Ok(NumberLengthType::IsPossible);
    if !same_code || !complete {
        return None;
    }
    let digits = format!("{}{}", number.country_code, number.get_national_significant_number());
    let is_e164 = (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len());
    digits.parse().ok().filter(|_| is_e164)
}

/// A number, given as its E.164 digits, as people write it for readers of any
/// country: `+91 22 7126 4217`. None if no plan knows its calling code.
pub fn readable(number: u64) -> Option<String> {
    let parsed = PHONE_NUMBER_UTIL.parse(format!("+{number}"), None).ok()?;
    Some(PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::International).into_owned())
}

/// What people put between the digits of a number.
fn is_separator(char: char) -> bool {
    char.is_whitespace() || matches!(char, '(' | ')' | '-' | '.' | '/' | '\u{2010}'..='\u{2015}')
}

const E164_DIGITS_MIN: usize = 7;
const E164_DIGITS_MAX: usize = 15;

/// A number's digits, most significant first. At most 15, as in E.164.
struct Digits {
    /// The digits are the last `count` of these.
    array: [u8; E164_DIGITS_MAX],
    count: usize,
}

impl Digits {
    fn new(number: u64) -> Digits {
        let mut array = [0; E164_DIGITS_MAX];
        let mut count = 0;
        let mut rest = number;
        while rest != 0 && count < E164_DIGITS_MAX {
            count += 1;
            array[E164_DIGITS_MAX - count] = (rest % 10) as u8;
            rest /= 10;
        }
        Digits { array, count }
    }

    fn as_slice(&self) -> &[u8] {
        &self.array[E164_DIGITS_MAX - self.count..]
    }

    fn start_with(&self, prefix: &[u8]) -> bool {
        self.as_slice().starts_with(prefix)
    }
}

fn ask_library(number: u64) -> Answer {
    // From text, because that is what finds the calling code and keeps the zeros
    // at the start of an Italian number.
    let Ok(parsed) = PHONE_NUMBER_UTIL.parse(format!("+{number}"), None) else {
        return Answer { number_type: NumberType::Local, country: None, geographic: false, valid: false };
    };
    Answer {
        number_type: number_type(&parsed),
        country: country(&parsed),
        geographic: PHONE_NUMBER_UTIL.is_number_geographical(&parsed),
        valid: PHONE_NUMBER_UTIL.is_valid_number(&parsed),
    }
}

fn number_type(number: &PhoneNumber) -> NumberType {
    match PHONE_NUMBER_UTIL.get_number_type(number) {
        PhoneNumberType::TollFree => NumberType::Tollfree,
        PhoneNumberType::Mobile | PhoneNumberType::Pager | PhoneNumberType::PersonalNumber => NumberType::Mobile,
        PhoneNumberType::FixedLine
        | PhoneNumberType::FixedLineOrMobile
        | PhoneNumberType::PremiumRate
        | PhoneNumberType::SharedCost
        | PhoneNumberType::VoIP
        | PhoneNumberType::UAN
        | PhoneNumberType::VoiceMail
        | PhoneNumberType::Unknown => NumberType::Local,
    }
}

fn country(number: &PhoneNumber) -> Option<[u8; 2]> {
    let region = PHONE_NUMBER_UTIL.get_region_for_number(number)?;
    // "001" stands for the world.
    region.as_region_str().as_bytes().try_into().ok()
}

#[cfg(test)]
mod tests;
