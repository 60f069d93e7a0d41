//! Stored numbers that are probably not what was meant: a number that the plan
//! finds valid only with other digits, such as one with the zero that is dialled
//! inside its country, and the two ends of a block run together.
//!
//! [`Scan`] goes through numbers in order and reads only the digits in which a
//! number differs from the one before it, since a partner may have millions.
//! Invariant: a number that the plan finds valid as it stands is not doubtful.
//! Deliberately absent: refusals of stored numbers. [`caution`] is for new ones.

use std::fmt;

use super::numbers::PlanWalk;
use super::reading::{self, Length};
use super::{E164_DIGITS_MIN, Judgement, Misspelling, Mistake, e164_digits, judge, valid};
use crate::domain::{E164, NumberRun};

/// Why a stored number is doubtful.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    Misspelt(Misspelling),
    Block { first: E164, last: E164 },
}

/// What was probably meant, as people write it.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Misspelt(misspelling) => write!(f, "{}", misspelling.meant),
            Doubt::Block { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Whether a stored number is doubtful, and why.
pub fn doubt(number: E164) -> Option<Doubt> {
    Scan::default().doubt(number)
}

/// The block that the digits of an invalid number may be, with its two ends run
/// together: `+912271264200` and `99` as `+91227126420099`.
pub fn glued_block(number: E164) -> Option<(E164, E164)> {
    let mut scan = Scan::default();
    scan.walk.to(number.digits());
    scan.block()
}

/// What the numbering plan does not know of new numbers: the first of them that is not
/// valid, and why.
pub fn caution(first: E164, last: E164) -> Option<(E164, String)> {
    let count = last.digits() - first.digits() + 1;
    let alike = super::alike(first.digits(), last.digits());
    let mut wrong = alike.filter(|(first, _)| !super::lookup(*first).valid).peekable();
    let found = E164::new(wrong.peek()?.0)?;
    let more = wrong.map(|(first, last)| last - first + 1).sum::<u64>() - 1;
    let mut reason = match (more, count) {
        (0, 1) => "is not valid by the numbering plan".to_owned(),
        (0, count) => format!("is not valid by the numbering plan; the other {} of the block are", count - 1),
        (more, count) if more + 1 == count => {
            format!("is not valid by the numbering plan, like all {count} numbers of the block")
        }
        (more, count) => format!("is not valid by the numbering plan, like {more} more of the block's {count} numbers"),
    };
    if let Judgement::Misspelt(misspelling) = judge(found) {
        reason = misspelling.to_string();
    } else if let Some((first, last)) = glued_block(found) {
        reason.push_str(&format!("; probably a block, which is written {first}..{last}"));
    }
    Some((found, reason))
}

/// Numbers that are asked about one after the other, ascending for speed.
#[derive(Default)]
pub struct Scan {
    walk: PlanWalk,
}

impl Scan {
    /// The doubtful numbers of a run. A range of the plan whose numbers are all valid
    /// is looked up once.
    pub fn doubts(&mut self, run: NumberRun, mut take: impl FnMut(E164, Doubt)) {
        for (first, last) in super::alike(run.first.digits(), run.last().digits()) {
            if first == last || !super::lookup(first).valid {
                for number in (first..=last).filter_map(E164::new) {
                    self.doubt(number).into_iter().for_each(|doubt| take(number, doubt));
                }
            }
        }
    }

    pub fn doubt(&mut self, number: E164) -> Option<Doubt> {
        self.walk.to(number.digits());
        if self.walk.answer(self.walk.digits()).is_some_and(|answer| answer.valid) {
            return None;
        }
        match judge(number) {
            Judgement::Valid => None,
            Judgement::Misspelt(misspelling) => Some(Doubt::Misspelt(misspelling)),
            Judgement::Invalid => match self.block() {
                Some((first, last)) => Some(Doubt::Block { first, last }),
                None => self.trunk_zero().map(Doubt::Misspelt),
            },
        }
    }

    /// A zero that reading drops, before digits that the plan does not know.
    fn trunk_zero(&self) -> Option<Misspelling> {
        if self.walk.answer(self.walk.digits()).is_some() {
            return None;
        }
        let number = self.walk.number().to_string();
        let read = reading::international(&number)?;
        let meant = E164::new(e164_digits(&read)?)?;
        let rest = number.strip_prefix(&format!("{}0", read.code))?;
        (rest == read.national).then_some(Misspelling { meant, mistake: Mistake::TrunkZero })
    }

    /// The second end of a block replaces as many digits of the first, and makes
    /// a larger number. The first is a number of the plan; where the digits are
    /// more than any of its numbers has, it may also be one that the plan does
    /// not know yet.
    fn block(&self) -> Option<(E164, E164)> {
        let (number, digits) = (self.walk.number(), self.walk.digits());
        let too_long = length(number) == Some(Length::TooLong);
        let known = |first: u64, first_digits: usize| match self.walk.answer(first_digits) {
            Some(answer) if answer.valid => true,
            Some(_) => too_long && length(first) == Some(Length::Possible),
            None => valid(first),
        };
        let end_digits_max = digits.saturating_sub(E164_DIGITS_MIN).min(END_DIGITS_MAX);
        (1..=end_digits_max).find_map(|end_digits| {
            let power = 10_u64.pow(end_digits as u32);
            let (first, end) = (number / power, number % power);
            let last = first - first % power + end;
            (last > first && known(first, digits - end_digits)).then_some((E164::new(first)?, E164::new(last)?))
        })
    }
}

/// A block that is written short has at most ten thousand numbers.
const END_DIGITS_MAX: usize = 4;

/// How a number of so many digits stands to its plan.
fn length(number: u64) -> Option<Length> {
    let digits = number.to_string();
    let (code, count) = reading::calling_code(&digits)?;
    reading::length(code, digits.len() - count)
}

#[cfg(test)]
mod tests {
    use rlibphonenumber::PHONE_NUMBER_UTIL;

    use super::*;

    #[test]
    fn what_is_stored_and_was_not_meant() {
        for (number, meant) in [
            // The zero that is dialled inside the country, and a lost mobile digit.
            (4402079460958, Some("+442079460958")),
            (9102271264217, Some("+912271264217")),
            (490305550001, Some("+49305550001")),
            (330142687614, Some("+33142687614")),
            (610412345678, Some("+61412345678")),
            (4401632960000, Some("+441632960000")),
            (551181234567, Some("+5511981234567")),
            // Both ends of a block.
            (44163296000099, Some("+441632960000-+441632960099")),
            (91227126421799, Some("+912271264217-+912271264299")),
            (912271264217220, Some("+912271264217-+912271264220")),
            (3314268700099, Some("+33142687000-+33142687099")),
            (3314268800409, Some("+33142688004-+33142688009")),
            (121255501234, Some("+12125550123-+12125550124")),
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
            let found = doubt(E164::new(number).expect("a number")).map(|doubt| doubt.to_string());
            assert_eq!(found.as_deref(), meant, "number: {number}");
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
            let number = E164::new(number).expect("a number");
            assert_eq!(scan.doubt(number), doubt(number), "number: {number}");
        }
    }

    #[test]
    fn every_example_of_the_plan_is_beyond_doubt() {
        for region in PHONE_NUMBER_UTIL.get_supported_regions() {
            let Ok(example) = PHONE_NUMBER_UTIL.get_example_number(region) else { continue };
            let text = format!("{}{}", example.country_code, example.get_national_significant_number());
            let number: u64 = text.parse().expect("digits");
            assert_eq!(doubt(E164::new(number).expect("a number")), None, "number: {number}");
        }
    }
}
