//! The pattern of `search`: a run of digits, anywhere or at the start.

use super::sieve::{ENDINGS, Sieve};
use crate::domain::E164;
use crate::domain::{nothing, spelling};

/// The most characters a search can have.
pub const SEARCH_CHARS_MAX: usize = 32;

/// A parsed `search`. The text matches as a substring of `+` and the digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Something that no number has in it.
    Nothing,
    /// `digits` consecutive digits with this value, leading zeros included.
    Digits { value: u64, digits: u32, anchored: bool },
}

impl Pattern {
    /// Reads a search as people type it. `None` means no filter.
    ///
    /// Spaces, dashes, `.()` and characters that nobody sees are dropped. A
    /// leading `+`, or the space that an unescaped `+` decodes to in a URL,
    /// anchors the digits at the start.
    pub fn parse(text: &str) -> Option<Pattern> {
        if text.is_empty() {
            return None;
        }
        let mut anchored = text.trim_start_matches(nothing::invisible).starts_with(' ');
        // A number has one `+`, at its start.
        let mut plus = false;
        let mut value = 0;
        let mut digits = 0;
        for c in text.chars().filter_map(spelling::plain) {
            match c {
                ' ' | '-' | '.' | '(' | ')' => {}
                '+' if digits == 0 && !plus => (plus, anchored) = (true, true),
                '0'..='9' if digits < 15 => {
                    value = value * 10 + u64::from(c as u8 - b'0');
                    digits += 1;
                }
                _ => return Some(Pattern::Nothing),
            }
        }
        Some(Pattern::Digits { value, digits, anchored })
    }

    pub fn matches(self, number: E164) -> bool {
        let Pattern::Digits { value, digits, anchored } = self else { return false };
        if digits == 0 {
            return true;
        }
        let rest = number.digits();
        if anchored {
            let length = rest.ilog10() + 1;
            return length >= digits && rest / 10_u64.pow(length - digits) == value;
        }
        has_digits(rest, value, digits)
    }
}

/// Whether `digits` digits of a number, at least one, have this value.
fn has_digits(number: u64, value: u64, digits: u32) -> bool {
    // The number's first digit is not zero, so it has `digits` digits left
    // exactly as long as it is at least this.
    let least = 10_u64.pow(digits - 1);
    let modulus = least * 10;
    let mut rest = number;
    while rest >= least {
        if rest % modulus == value {
            return true;
        }
        rest /= 10;
    }
    false
}

/// How many digits a number has at the most.
const NUMBER_DIGITS_MAX: u32 = 15;

/// How many of its digits are a number's ending, and its group at the most.
const ENDING_DIGITS: u32 = 4;
const GROUP_DIGITS_MAX: u32 = NUMBER_DIGITS_MAX - ENDING_DIGITS;

/// The first number from one on whose remainder is one of `count` from `first` on.
fn next_in(number: u64, modulus: u64, first: u64, count: u64) -> u64 {
    let rest = number % modulus;
    match rest {
        rest if rest < first => number - rest + first,
        rest if rest < first + count => number,
        _ => number - rest + modulus + first,
    }
}

/// A pattern prepared for sets: what it does to whole groups of numbers.
pub struct DigitPattern {
    value: u64,
    digits: u32,
    anchored: bool,
    /// The endings that have the digits in them, whatever the group.
    endings: Sieve,
    /// The ways in which the digits may straddle group and ending.
    straddles: Vec<Straddle>,
}

/// A group that ends in some of the digits, and the endings that go on with the
/// rest of them.
struct Straddle {
    /// Ten to the power of how many digits are the group's, and those digits.
    power: u64,
    before: u64,
    from: u16,
    to: u16,
}

/// The endings with four digits are one range, and there are four straddles.
const ENDING_RANGES_MAX: usize = 5;

/// Some endings as ranges that do not overlap, in no order.
#[derive(Clone, Copy)]
pub struct EndingRanges {
    ranges: [(u16, u16); ENDING_RANGES_MAX],
    count: usize,
}

impl EndingRanges {
    const ALL: EndingRanges = {
        let mut ranges = [(0, 0); ENDING_RANGES_MAX];
        ranges[0] = (0, ENDINGS as u16);
        EndingRanges { ranges, count: 1 }
    };

    /// Adds endings. Of two such ranges one has the other in it, or they are apart:
    /// each is all endings that begin with some digits.
    fn add(&mut self, (from, to): (u16, u16)) {
        if self.iter().any(|(begin, end)| begin <= from && to <= end) {
            return;
        }
        let mut kept = 0;
        for at in 0..self.count {
            let (begin, end) = self.ranges[at];
            if begin < from || to < end {
                self.ranges[kept] = (begin, end);
                kept += 1;
            }
        }
        self.ranges[kept] = (from, to);
        self.count = kept + 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> {
        self.ranges[..self.count].iter().copied()
    }

    /// How many endings they are.
    pub fn len(&self) -> usize {
        self.iter().map(|(from, to)| usize::from(to - from)).sum()
    }
}

/// Which numbers of a group match.
pub enum Hit {
    None,
    All,
    /// Those of [`DigitPattern::endings`].
    Shared,
    /// Those of the sieve that the caller lent.
    Own,
}

impl DigitPattern {
    /// `None` for a pattern that matches nothing.
    pub fn of(pattern: Pattern) -> Option<DigitPattern> {
        let Pattern::Digits { value, digits, anchored } = pattern else { return None };
        let mut endings = Sieve::CLOSED;
        if !anchored && (1..=4).contains(&digits) {
            for after in 0..=4 - digits {
                // What stands before the digits, and what after them.
                let (high, low) = (10_u64.pow(4 - digits - after), 10_u64.pow(after));
                for before in 0..high {
                    let from = (before * 10_u64.pow(digits) + value) * low;
                    endings.open(from as u16, (from + low) as u16);
                }
            }
        }
        let straddle = |over: u32| {
            let (power, width) = (10_u64.pow(digits - over), 10_u64.pow(4 - over));
            let from = value % 10_u64.pow(over) * width;
            let (from, to) = (from as u16, (from + width) as u16);
            Straddle { power, before: value / 10_u64.pow(over), from, to }
        };
        let straddles = (1..=4.min(digits.saturating_sub(1))).map(straddle).collect();
        Some(DigitPattern { value, digits, anchored, endings, straddles })
    }

    pub fn endings(&self) -> &Sieve {
        &self.endings
    }

    pub fn digits(&self) -> u32 {
        self.digits
    }

    /// The value of the digits, if they may be anywhere.
    pub fn anywhere(&self) -> Option<u64> {
        (!self.anchored && self.digits > 0).then_some(self.value)
    }

    /// Whether a number has the digits of a search that may be anywhere.
    pub fn is_in(&self, number: u64) -> bool {
        has_digits(number, self.value, self.digits)
    }

    /// The numbers that begin with the digits, if those are anchored: a range for
    /// each length of a number, ascending, first and last.
    pub fn ranges(&self) -> Option<Vec<(u64, u64)>> {
        if !self.anchored || self.digits == 0 {
            return None;
        }
        // No number begins with a zero.
        let begins = self.value >= 10_u64.pow(self.digits - 1);
        let lengths = (self.digits..=NUMBER_DIGITS_MAX).filter(|_| begins);
        let powers = lengths.map(|length| 10_u64.pow(length - self.digits));
        Some(powers.map(|power| (self.value * power, (self.value + 1) * power - 1)).collect())
    }

    /// The first group from this one on that may have a number that matches.
    pub fn next_group(&self, group: u64) -> Option<u64> {
        if !self.anchored {
            return Some(self.next_group_anywhere(group));
        }
        let Some(ranges) = self.ranges() else { return Some(group) };
        let groups = ranges.iter().map(|(first, last)| (first / ENDINGS as u64, last / ENDINGS as u64));
        groups.filter(|&(_, last)| group <= last).map(|(first, _)| first.max(group)).min()
    }

    /// Digits that do not fit into an ending begin in the group: inside of it, or as
    /// its last digits.
    fn next_group_anywhere(&self, group: u64) -> u64 {
        if self.digits <= ENDING_DIGITS {
            return group;
        }
        let inside = (0..=GROUP_DIGITS_MAX.saturating_sub(self.digits)).map(|after| {
            let low = 10_u64.pow(after);
            next_in(group, 10_u64.pow(self.digits + after), self.value * low, low)
        });
        let straddling = self.straddles.iter().map(|one| next_in(group, one.power, one.before, 1));
        inside.chain(straddling).min().unwrap_or(group)
    }

    /// What the pattern does to the numbers of a group. `own` is scratch
    /// space, filled where the answer is [`Hit::Own`].
    pub fn in_group(&self, group: u64, own: &mut Sieve) -> Hit {
        if self.digits == 0 {
            return Hit::All;
        }
        if self.anchored {
            // Numbers have at least seven digits, so a group has at least three.
            let length = group.ilog10() + 1;
            if self.digits <= length {
                let begins = group / 10_u64.pow(length - self.digits) == self.value;
                return if begins { Hit::All } else { Hit::None };
            }
            let over = self.digits - length;
            if over > 4 || self.value / 10_u64.pow(over) != group {
                return Hit::None;
            }
            *own = Sieve::CLOSED;
            let Straddle { from, to, .. } = self.straddles[over as usize - 1];
            own.open(from, to);
            return Hit::Own;
        }
        if has_digits(group, self.value, self.digits) {
            return Hit::All;
        }
        match (self.straddles(group, own), self.digits <= 4) {
            (true, _) => Hit::Own,
            (false, true) => Hit::Shared,
            (false, false) => Hit::None,
        }
    }

    /// The endings of a group that match, for four digits anywhere or more.
    pub fn endings_in(&self, group: u64) -> EndingRanges {
        match has_digits(group, self.value, self.digits) {
            true => EndingRanges::ALL,
            false => self.open(|straddle| group % straddle.power == straddle.before && group >= straddle.power / 10),
        }
    }

    /// The same, as far as the last three digits of a group say.
    pub fn endings_by_end(&self, end: u64) -> EndingRanges {
        self.open(|straddle| straddle.power <= 1_000 && end % straddle.power == straddle.before)
    }

    /// What some of the straddles leave, with the endings that have four digits.
    fn open(&self, straddles: impl Fn(&Straddle) -> bool) -> EndingRanges {
        let mut ranges = EndingRanges { ranges: [(0, 0); ENDING_RANGES_MAX], count: 0 };
        if self.digits == ENDING_DIGITS {
            ranges.add((self.value as u16, self.value as u16 + 1));
        }
        self.straddles.iter().filter(|one| straddles(one)).for_each(|one| ranges.add((one.from, one.to)));
        ranges
    }

    /// Whether the last digits of a group and the first of the ending may be those
    /// that are looked for. `own` is then what matches.
    pub fn straddles(&self, group: u64, own: &mut Sieve) -> bool {
        let mut straddles = false;
        for &Straddle { power, before, from, to } in &self.straddles {
            if group % power == before && group >= power / 10 {
                if !straddles {
                    own.clone_from(&self.endings);
                    straddles = true;
                }
                own.open(from, to);
            }
        }
        straddles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(search: &str, number: u64, expected: bool) {
        let number = E164::new(number).expect("a number");
        let found = Pattern::parse(search).is_none_or(|pattern| pattern.matches(number));
        assert_eq!(found, expected, "search {search:?} in {number}");
    }

    #[test]
    fn digits_match_anywhere_and_a_plus_anchors() {
        check("", 912_271_264_217, true);
        check("9122712", 912_271_264_217, true);
        check("4217", 912_271_264_217, true);
        check("+4217", 912_271_264_217, false);
        check("+91", 912_271_264_217, true);
        check(" 91", 912_271_264_217, true);
        check(" 22", 912_271_264_217, false);
        check("+", 912_271_264_217, true);
        check(" ", 912_271_264_217, true);
        check("912271264217", 912_271_264_217, true);
        check("9122712642170", 912_271_264_217, false);
    }

    #[test]
    fn separators_are_dropped() {
        check("(022) 7126-4217", 9_102_271_264_217, true);
        check("22 71.26-42", 912_271_264_217, true);
        check("(+91) 22", 912_271_264_217, true);
        check("-91", 912_271_264_217, true);
        check("-+22", 912_271_264_217, false);
        check("22\u{a0}71", 912_271_264_217, true);
        check("22\u{2011}71\u{2013}26", 912_271_264_217, true);
    }

    #[test]
    fn what_nobody_sees_is_dropped() {
        check("\u{202a}+912271264217\u{202c}", 912_271_264_217, true);
        check("\u{202a}+22\u{202c}", 912_271_264_217, false);
        check("\u{200e} 91", 912_271_264_217, true);
        check("\u{200e} 22", 912_271_264_217, false);
        check("9\u{200b}12\u{ad}2\u{feff}71", 912_271_264_217, true);
        check("\u{ff0b}91", 912_271_264_217, true);
        check("\u{ff0b}22", 912_271_264_217, false);
        check("\u{200b}", 912_271_264_217, true);
    }

    #[test]
    fn leading_zeros_count() {
        check("0022", 91_002_271, true);
        check("00022", 91_002_271, false);
        check("0", 1_111_111, false);
        check("00", 91_022_710, false);
    }

    #[test]
    fn what_cannot_occur_in_a_number_matches_nothing() {
        for search in ["abc", "%", "9%2", "९१", "9+1", "++91", "+91+", "91_", "1e3", "９１", "2/2", "1234567890123456"]
        {
            check(search, 912_271_264_217, false);
            assert_eq!(Pattern::parse(search), Some(Pattern::Nothing), "search {search:?}");
        }
    }

    proptest! {
        #[test]
        fn groups_that_are_passed_over_have_nothing(group in 100..99_999_999_999_u64, search in "[0-9]{1,9}") {
            let digits = DigitPattern::of(Pattern::parse(&search).expect("a pattern")).expect("digits");
            let next = digits.next_group(group).expect("a group");
            prop_assert!(next >= group);
            let mut own = Sieve::CLOSED;
            for passed in (group..next).take(2_000) {
                prop_assert!(matches!(digits.in_group(passed, &mut own), Hit::None), "{} in {}", search, passed);
            }
        }

        #[test]
        fn agrees_with_text(number in 1_000_000..=999_999_999_999_999_u64, search in "[+ ]?[0-9]{0,5}") {
            let number = E164::new(number).expect("in range");
            let text = number.to_string();
            let found = Pattern::parse(&search).is_none_or(|pattern| pattern.matches(number));
            let expected = text.contains(&search.replace(' ', "+"));
            prop_assert_eq!(found, expected);
        }
    }
}
