//! The numbering plan: validity, type and place of a number, and the national
//! formats.
//!
//! The source is libphonenumber's public metadata, in three tables: of answers by
//! digits (`numbers`), of places by digits (`places`), and of how numbers are
//! read and written (`reading`).
//!
//! Invariants: `lookup` answers as the library does, save for the rules below;
//! a number is valid only if its own digits are. The library drops a trunk zero
//! before it judges, so an answer about other digits is none about these. Only a
//! number that the plan ties to a place has one. The library itself is part of
//! the tests only.
//! Deliberately absent: I/O, and refusals. Regulators allocate ahead of the
//! metadata, so "invalid" is an answer and not an error.

mod aliases;
mod doubt;
mod numbers;
mod places;
mod reading;

use std::fmt;

use self::numbers::NumberMetadata;
use self::reading::{Format, Length, ReadNumber};
use super::{Country, E164, NumberType};

pub use self::aliases::names_of;
pub use self::doubt::{Doubt, Scan, caution, doubt, glued_block};

/// What the numbering plan says of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub number_type: NumberType,
    /// ISO 3166 letters. None for non-geographic codes, and where the metadata
    /// cannot tell which of the countries that share a calling code it is.
    pub country: Option<[u8; 2]>,
    /// The name of the place, in English wherever it has an English name.
    pub region: Option<&'static str>,
    /// Whether these very digits are a number of the plan.
    pub valid: bool,
}

/// Whether digits are a number, as they are or only if some are changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    Valid,
    /// Not valid, and one known mistake away from a number that is.
    Misspelt(Misspelling),
    /// Not valid. It may have been allocated since the metadata was published.
    Invalid,
}

/// A number that is not valid, and the valid one that was probably meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misspelling {
    pub meant: E164,
    mistake: Mistake,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mistake {
    /// The 0 that is dialled before the area code within the country.
    TrunkZero,
    /// Other digits that are dialled there.
    TrunkPrefix,
    /// A digit that mobile numbers have, or had, between code and number.
    MobileDigit,
}

/// What is wrong with the number, and what was probably meant.
impl fmt::Display for Misspelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = match self.mistake {
            Mistake::TrunkZero => "has a trunk zero",
            Mistake::TrunkPrefix => "has a trunk prefix",
            Mistake::MobileDigit => "has a missing or needless mobile digit",
        };
        write!(f, "{wrong}; did you mean {}?", self.meant)
    }
}

/// Whether the digits of a number are valid as they stand, or only as others.
pub fn judge(number: E164) -> Judgement {
    let digits = NumberDigits::new(number.digits());
    let found = numbers::find(&digits);
    match found {
        Some(NumberMetadata { valid: true, .. }) => return Judgement::Valid,
        None if read(number.digits()).valid => return Judgement::Valid,
        Some(NumberMetadata { valid: false, .. }) | None => {}
    }
    let rewritten = match found {
        None => rewritten(number),
        Some(_) => None,
    };
    match rewritten.or_else(|| misspelt(&digits)) {
        Some(misspelling) => Judgement::Misspelt(misspelling),
        None => Judgement::Invalid,
    }
}

/// The number that is read from these digits, if it is another one and valid.
fn rewritten(number: E164) -> Option<Misspelling> {
    let read = reading::international(&number.digits().to_string())?;
    let code = read.code;
    let meant = E164::new(e164_digits(&read)?)?;
    if meant == number || !valid(meant.digits()) {
        return None;
    }
    let (before, after) = (number.digits().to_string(), meant.digits().to_string());
    let code = code.to_string();
    let dropped = before.strip_prefix(&code)?.strip_suffix(after.strip_prefix(&code)?);
    let mistake = match (dropped, &code[..]) {
        (Some("0"), _) => Mistake::TrunkZero,
        (None, _) | (Some("1"), "52") => Mistake::MobileDigit,
        (Some(_), _) => Mistake::TrunkPrefix,
    };
    Some(Misspelling { meant, mistake })
}

/// The same for mistakes that the library lets stand: a trunk zero where the
/// country has none, and mobile digits that came or went with a reform.
fn misspelt(digits: &NumberDigits) -> Option<Misspelling> {
    let code = calling_code(digits)?;
    let (code, national) = digits.as_slice().split_at(code);
    let with = |parts: [&[u8]; 2], mistake: Mistake| {
        let number = number_of(&[code, parts[0], parts[1]])?;
        valid(number.digits()).then_some(Misspelling { meant: number, mistake })
    };
    if let [0, rest @ ..] = national {
        return with([rest, &[]], Mistake::TrunkZero);
    }
    match (code, national.len()) {
        // Brazil put a 9 before its mobile numbers, behind the area code.
        ([5, 5], 10) => {
            let (area, rest) = national.split_at(2);
            let number = number_of(&[code, area, &[9], rest])?;
            let plan = lookup(number.digits());
            (plan.valid && plan.number_type == NumberType::Mobile)
                .then_some(Misspelling { meant: number, mistake: Mistake::MobileDigit })
        }
        // Mexico had a 1 before them, for calls from abroad.
        ([5, 2], 11) if national[0] == 1 => with([&national[1..], &[]], Mistake::MobileDigit),
        // Argentina has a 9 before them for calls from abroad, and a 15 behind
        // the area code within the country.
        ([5, 4], 10) => with([&[9], national], Mistake::MobileDigit),
        ([5, 4], 12 | 13) => (2..=5)
            .filter(|&at| national.get(at..at + 2) == Some(&[1, 5]))
            .find_map(|at| with([&national[..at], &national[at + 2..]], Mistake::MobileDigit)),
        _ => None,
    }
}

/// Whether these digits are a number of the plan.
fn valid(number: u64) -> bool {
    numbers::find(&NumberDigits::new(number)).unwrap_or_else(|| read(number)).valid
}

/// How many digits at the start are the calling code.
fn calling_code(digits: &NumberDigits) -> Option<usize> {
    reading::calling_code(&value(digits.as_slice()).to_string()).map(|(_, count)| count)
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, &digit| value * 10 + u64::from(digit))
}

/// The number whose digits are these, one part after the other.
fn number_of(parts: &[&[u8]]) -> Option<E164> {
    let digits = parts.concat();
    if digits.len() > E164_DIGITS_MAX { None } else { E164::new(value(&digits)) }
}

/// What the numbering plan says of a number, given as its E.164 digits.
pub fn lookup(number: u64) -> Plan {
    let digits = NumberDigits::new(number);
    let answer = numbers::find(&digits).unwrap_or_else(|| read(number));
    let NumberMetadata { mut number_type, country, geographic, valid } = answer;
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

/// The numbers from one to another as ranges, first and last, of which [`lookup`] and
/// [`judge`] say the same. A block of an operator is a few of them, so it costs a few
/// look-ups however many numbers it has.
pub fn alike(first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut next = first;
    std::iter::from_fn(move || {
        let from = next;
        let to = if from < last { alike_until(from).min(last) } else { last };
        next = to + 1;
        (from <= last).then_some((from, to))
    })
}

/// The last of the numbers after this one, without a gap, of which [`lookup`] and
/// [`judge`] say for sure what they say of this one.
fn alike_until(number: u64) -> u64 {
    /// More digits than the rules of `lookup` look at.
    const PREFIX_DIGITS: usize = 6;
    const REST_DIGITS_MAX: usize = 6;
    let digits = NumberDigits::new(number);
    let rest_max = digits.count.saturating_sub(PREFIX_DIGITS).min(REST_DIGITS_MAX);
    let alike = |&rest: &usize| {
        let prefix = &digits.as_slice()[..digits.count - rest];
        numbers::find_all(prefix, rest).is_some_and(|answer| {
            // `place` reads some numbers of Argentina otherwise.
            let placed = !prefix.starts_with(&[5, 4]) && places::is_decided(prefix);
            (placed || !answer.geographic) && (answer.valid || never_misspelt(&digits))
        })
    };
    let rest = (1..=rest_max).rev().find(alike).unwrap_or(0);
    let numbers = 10_u64.pow(rest as u32);
    number - number % numbers + numbers - 1
}

/// Whether a number that is not valid is no other one misspelt, by its first digits.
fn never_misspelt(digits: &NumberDigits) -> bool {
    calling_code(digits).is_some_and(|count| {
        let (code, national) = digits.as_slice().split_at(count);
        !matches!(code, [5, 2 | 4 | 5]) && !national.starts_with(&[0])
    })
}

/// The place of a number, given as its E.164 digits: the name of the longest
/// prefix that the table has for it.
pub fn place(number: u64) -> Option<&'static str> {
    let digits = NumberDigits::new(number);
    // An Argentine mobile number has a 9 before the area code of its place.
    if digits.start_with(&[5, 4, 9]) {
        let rest = 10_u64.pow(digits.count as u32 - 3);
        return places::place(&NumberDigits::new(54 * rest + number % rest));
    }
    places::place(&digits)
}

/// Reads a number as a country writes its own, like "020 7946 0000" in GB, and
/// says its international form.
///
/// It is none if the text cannot be such a number: wrong in length, a local number
/// without its area, or one of another calling code. The own calling code is
/// understood where the rest cannot be a number otherwise ("91 98765 43210").
/// Letters are refused: a number here is never a word, so they are a mistake.
pub fn national(text: &str, country: Country) -> National {
    if !text.chars().all(|char| char.is_ascii_digit() || is_separator(char)) {
        return National::No;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    read_national(&digits, country).unwrap_or(National::No)
}

/// Whether the plan knows a country and so its national numbers.
pub fn has_country(country: Country) -> bool {
    reading::code_of(country.code()).is_some()
}

/// The number that a telephone in a country reaches by dialling some digits:
/// one of its own if the digits are valid as that, or one abroad behind the
/// country's prefix for calls abroad.
pub fn dialled(digits: &str, country: Country) -> Option<E164> {
    if let Some(National::Is(number)) = read_national(digits, country)
        && valid(number.digits())
    {
        return Some(number);
    }
    let number = E164::new(e164_digits(&reading::national(digits, country.code())?)?)?;
    let abroad = digits.strip_suffix(number.to_string().strip_prefix('+')?);
    abroad.filter(|prefix| prefix.len() >= 2).map(|_| number)
}

/// What the digits of a text are as a number of a country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum National {
    Is(E164),
    /// Only with other digits than the country writes its number with.
    Meant(E164),
    No,
}

fn read_national(digits: &str, country: Country) -> Option<National> {
    let read = reading::national(digits, country.code())?;
    // The prefix for calls abroad may have led to another calling code.
    let same_code = reading::code_of(country.code()) == Some(read.code);
    let complete = reading::length(read.code, read.national.len()) == Some(Length::Possible);
    let number = E164::new(e164_digits(&read)?).filter(|_| same_code && complete)?;
    let dropped = digits.strip_suffix(&*read.national);
    let spelt = dropped.is_some_and(|dropped| is_prefix(dropped, &read.code.to_string()))
        || read.format(Format::National).chars().filter(char::is_ascii_digit).eq(digits.chars());
    Some(if spelt { National::Is(number) } else { National::Meant(number) })
}

/// Whether digits that were dropped are dialled before a number within
/// its country, or are the calling code, perhaps behind the prefix for calls
/// abroad: one of these, and not a trunk zero behind the calling code.
fn is_prefix(dropped: &str, code: &str) -> bool {
    match dropped.strip_suffix(code) {
        Some(abroad) => abroad.is_empty() || abroad.len() >= 2,
        None => !dropped.contains(code),
    }
}

/// The E.164 digits of a number that was read, if they are as many as may be.
fn e164_digits(read: &ReadNumber) -> Option<u64> {
    let digits = format!("{}{}", read.code, read.national);
    let is_e164 = (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len());
    digits.parse().ok().filter(|_| is_e164)
}

/// A number, given as its E.164 digits, as people write it for readers of any
/// country: `+91 22 7126 4217`. None if no plan knows its calling code.
pub fn readable(number: u64) -> Option<String> {
    let read = reading::international(&number.to_string())?;
    Some(format!("+{} {}", read.code, read.format(Format::International)))
}

/// What people put between the digits of a number.
fn is_separator(char: char) -> bool {
    char.is_whitespace() || matches!(char, '(' | ')' | '-' | '.' | '/' | '\u{2010}'..='\u{2015}')
}

const E164_DIGITS_MIN: usize = 7;
const E164_DIGITS_MAX: usize = 15;

/// A number's digits, most significant first. At most 15, as in E.164.
struct NumberDigits {
    /// The digits are the last `count` of these.
    array: [u8; E164_DIGITS_MAX],
    count: usize,
}

impl NumberDigits {
    fn new(number: u64) -> NumberDigits {
        let mut array = [0; E164_DIGITS_MAX];
        let mut count = 0;
        let mut rest = number;
        while rest != 0 && count < E164_DIGITS_MAX {
            count += 1;
            array[E164_DIGITS_MAX - count] = (rest % 10) as u8;
            rest /= 10;
        }
        NumberDigits { array, count }
    }

    fn as_slice(&self) -> &[u8] {
        &self.array[E164_DIGITS_MAX - self.count..]
    }

    fn start_with(&self, prefix: &[u8]) -> bool {
        self.as_slice().starts_with(prefix)
    }
}

/// What the plan says of a number from which a prefix may have to be taken off.
fn read(number: u64) -> NumberMetadata {
    let Some(read) = reading::international(&number.to_string()) else {
        return NumberMetadata { number_type: NumberType::Local, country: None, geographic: false, valid: false };
    };
    let answer = numbers::as_it_is(&format!("{}{}", read.code, read.national));
    // The answer may be about other digits than these.
    let own = e164_digits(&read) == Some(number);
    NumberMetadata { geographic: own && answer.geographic, valid: own && answer.valid, ..answer }
}

#[cfg(test)]
mod tests;
