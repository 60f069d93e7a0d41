//! Stored numbers that are probably not what was meant: a number that the plan
//! finds valid only with other digits, such as one with the zero that is dialled
//! inside its country, and the two ends of a block run together.
//!
//! [`Scan`] goes through numbers in order and reads only the digits in which a
//! number differs from the one before it, since a partner may have millions.
//! Invariant: a number that the plan finds valid as it stands is not doubtful.
//! Deliberately absent: refusals. These numbers are stored already.

use std::sync::LazyLock;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber};

use super::numbers::Walk;
use super::{E164_DIGITS_MAX, E164_DIGITS_MIN};

/// Why a stored number is doubtful.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// The plan reads it as another number: `+4402079460958` as `+442079460958`.
    Rewritten { meant: u64 },
    /// It begins with a number, and ends with the last digits of a later one:
    /// `+91227126421799` is `+912271264217-99` without its dash.
    Block { first: u64, end_digits: u32 },
}

impl Doubt {
    /// What was probably meant, as people write it.
    pub fn meant(self, number: u64) -> String {
        match self {
            Doubt::Rewritten { meant } => format!("+{meant}"),
            Doubt::Block { first, end_digits } => {
                let end = number % 10_u64.pow(end_digits);
                format!("+{first}-{end:0width$}", width = end_digits as usize)
            }
        }
    }
}

/// Whether a stored number, given as its E.164 digits, is doubtful, and why.
pub fn doubt(number: u64) -> Option<Doubt> {
    let mut scan = Scan::default();
    scan.walk.to(number);
    scan.doubt()
}

/// Numbers that are asked about one after the other, ascending for speed.
#[derive(Default)]
pub struct Scan {
    walk: Walk,
}

impl Scan {
    pub fn doubtful(&mut self, number: u64) -> bool {
        self.walk.to(number);
        self.doubt().is_some()
    }

    fn doubt(&self) -> Option<Doubt> {
        let number = self.walk.number();
        match self.walk.answer(self.walk.digits()) {
            Some(answer) if answer.valid => None,
            Some(_) => self.block(),
            None => match library(number) {
                Reading::Valid => None,
                Reading::Rewritten { meant } => Some(Doubt::Rewritten { meant }),
                Reading::Invalid => self.block(),
            },
        }
    }

    /// The number as the two ends of a block. The second end replaces as many
    /// digits of the first, and is larger.
    fn block(&self) -> Option<Doubt> {
        let (number, digits) = (self.walk.number(), self.walk.digits());
        let too_long = LENGTHS.of(number, digits) == Length::TooLong;
        let is_end = |end_digits: usize| {
            let power = 10_u64.pow(end_digits as u32);
            let (first, end) = (number / power, number % power);
            let first_digits = digits - end_digits;
            let known = || match self.walk.answer(first_digits) {
                Some(answer) if answer.valid => true,
                Some(_) => too_long && LENGTHS.of(first, first_digits) == Length::Possible,
                None => library(first) == Reading::Valid,
            };
            (end > first % power && known()).then_some(Doubt::Block { first, end_digits: end_digits as u32 })
        };
        let end_digits_max = digits.saturating_sub(E164_DIGITS_MIN).min(END_DIGITS_MAX);
        (1..=end_digits_max).find_map(is_end)
    }
}

/// A block has at most a million numbers, and its end as many digits.
const END_DIGITS_MAX: usize = 6;

/// How the library reads a number where its digits alone do not say.
#[derive(PartialEq, Eq)]
enum Reading {
    Valid,
    Invalid,
    Rewritten { meant: u64 },
}

fn library(number: u64) -> Reading {
    let text = format!("+{number}");
    let Ok(parsed) = PHONE_NUMBER_UTIL.parse(&text, None) else { return Reading::Invalid };
    let national = parsed.get_national_significant_number();
    let read = format!("+{}{national}", parsed.country_code);
    let valid = PHONE_NUMBER_UTIL.is_valid_number(&parsed);
    if read == text {
        return if valid { Reading::Valid } else { Reading::Invalid };
    }
    // No number of a country that dials zero inside begins with it, whether the
    // plan knows the rest or not.
    let zero = text.strip_prefix(&format!("+{}0", parsed.country_code)).is_some_and(|rest| rest.ends_with(&national));
    match read[1..].parse() {
        Ok(meant) if valid || zero => Reading::Rewritten { meant },
        _ => Reading::Invalid,
    }
}

static LENGTHS: LazyLock<Lengths> = LazyLock::new(Lengths::new);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Possible,
    TooLong,
    Other,
}

/// How many digits the numbers of a calling code may have: for each code, a bit
/// for each count of digits after it.
struct Lengths {
    by_code: [u16; 1_000],
}

impl Lengths {
    fn new() -> Lengths {
        let mut by_code = [0; 1_000];
        for code in PHONE_NUMBER_UTIL.get_supported_calling_codes() {
            let mut number = PhoneNumber { country_code: code, ..PhoneNumber::default() };
            for digits in 2..E164_DIGITS_MAX {
                number.national_number = 2 * 10_u64.pow(digits as u32 - 1);
                if PHONE_NUMBER_UTIL.is_possible_number_with_reason(&number) == Ok(NumberLengthType::IsPossible) {
                    by_code[code as usize] |= 1 << digits;
                }
            }
        }
        Lengths { by_code }
    }

    /// How a number of so many digits stands to its plan.
    fn of(&self, number: u64, digits: usize) -> Length {
        for code_digits in 1..=3.min(digits) {
            let lengths = self.by_code[(number / 10_u64.pow((digits - code_digits) as u32)) as usize];
            if lengths != 0 {
                let after = digits - code_digits;
                return match lengths >> after {
                    0 => Length::TooLong,
                    rest if rest & 1 == 1 => Length::Possible,
                    _ => Length::Other,
                };
            }
        }
        Length::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_and_was_not_meant() {
        for (number, meant) in [
            // The zero that is dialled inside the country.
            (4402079460958, Some("+442079460958")),
            (9102271264217, Some("+912271264217")),
            (490305550001, Some("+49305550001")),
            (330142687614, Some("+33142687614")),
            (4401632960000, Some("+441632960000")),
            (610412345678, Some("+61412345678")),
            // Both ends of a block.
            (44163296000099, Some("+441632960000-99")),
            (91227126421799, Some("+912271264217-99")),
            (912271264217220, Some("+912271264217-220")),
            (3314268700099, Some("+33142687000-99")),
            (3314268800409, Some("+33142688004-09")),
            (121255501234, Some("+12125550123-4")),
            // The second end is not the larger one.
            (44163299999911, None),
            (91227126421711, None),
            // As they should be.
            (442079460958, None),
            (912271264217, None),
            (39066982, None),
            (390236618300, None),
            (49305550009, None),
            (491701234567, None),
            (5491123456789, None),
            (541115234567, None),
            (79161234567, None),
            (78121234567, None),
            (9118001234567, None),
            (80012345678, None),
            // Invalid, and like nothing else.
            (441632960000, None),
            (999123456789, None),
            (1234567, None),
        ] {
            assert_eq!(doubt(number).map(|doubt| doubt.meant(number)).as_deref(), meant, "number: {number}");
        }
    }

    /// A scan answers as each number alone does, whatever came before.
    #[test]
    fn a_scan_is_its_numbers() {
        let mut numbers: Vec<u64> = (0..40_000).map(|at| 441_632_900_000 + at * 7_919_993 % 99_999_999).collect();
        numbers.extend((0..2_000).map(|at| 4_402_079_460_000 + at));
        numbers.extend((0..2_000).map(|at| 912_271_264_217_000 + at));
        numbers.sort_unstable();
        let mut scan = Scan::default();
        for &number in numbers.iter().chain(numbers.iter().rev().step_by(97)) {
            assert_eq!(scan.doubtful(number), doubt(number).is_some(), "number: {number}");
        }
    }

    #[test]
    fn every_example_of_the_plan_is_beyond_doubt() {
        for region in PHONE_NUMBER_UTIL.get_supported_regions() {
            let Ok(example) = PHONE_NUMBER_UTIL.get_example_number(region) else { continue };
            let text = format!("{}{}", example.country_code, example.get_national_significant_number());
            let number = text.parse().expect("digits");
            assert_eq!(doubt(number), None, "number: {number}");
            let answer = super::super::numbers::find(&super::super::Digits::new(number));
            assert!(answer.is_none_or(|answer| answer.valid), "number: {number}");
        }
    }
}
