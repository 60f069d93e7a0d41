//! Country, type and validity of a number, by its digits.
//!
//! The table is `numbers.bin`, which `scripts/numbers.py` generates from the
//! metadata of libphonenumber: an automaton that reads a number digit by digit and
//! ends in the answer. A new version of the metadata needs a new table: a test
//! compares the table with the library `rlibphonenumber`.
//!
//! Invariant: an answer is the library's own. Where that depends on a national
//! prefix that may have to be taken off, [`find`] has none; [`as_it_is`] answers
//! for digits from which nothing is to be taken off.

use std::io::Read;
use std::sync::LazyLock;

use super::{E164_DIGITS_MAX, NumberDigits};
use crate::domain::NumberType;

static NUMBERS: LazyLock<NumberTable> =
    LazyLock::new(|| NumberTable::unpack(include_bytes!("numbers.bin")).expect("numbers.bin is whole"));

/// What the metadata says of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberMetadata {
    pub number_type: NumberType,
    pub country: Option<[u8; 2]>,
    /// Whether it is valid and belongs to a place: a fixed line, or a mobile
    /// number where the plan ties those to places.
    pub geographic: bool,
    pub valid: bool,
}

/// The answer for a number, or `None` where a prefix may have to be taken off.
pub fn find(digits: &NumberDigits) -> Option<NumberMetadata> {
    NUMBERS.answer(NUMBERS.end(digits.as_slice().iter().copied())).sure()
}

/// The answer for these digits, a number from which no prefix is taken off.
pub fn as_it_is(digits: &str) -> NumberMetadata {
    NUMBERS.answer(NUMBERS.end(digits.bytes().map(|digit| digit - b'0'))).metadata
}

/// The answer that all numbers have which these digits and so many more make, if
/// they have one for sure.
pub fn find_all(digits: &[u8], more: usize) -> Option<NumberMetadata> {
    let target = NUMBERS.after_any(NUMBERS.end(digits.iter().copied()), more)?;
    NUMBERS.answer(target).sure()
}

/// The way of a number through the automaton, kept for the next number: of two
/// that begin alike, only what differs is read.
pub struct PlanWalk {
    number: u64,
    digits: usize,
    /// Where the first digits lead: none of them, one, two…
    targets: [u16; E164_DIGITS_MAX + 1],
}

impl Default for PlanWalk {
    fn default() -> PlanWalk {
        PlanWalk { number: 0, digits: 0, targets: [NUMBERS.start(); E164_DIGITS_MAX + 1] }
    }
}

impl PlanWalk {
    /// Goes to a number of at most 15 digits.
    pub fn to(&mut self, number: u64) {
        let digits = number.checked_ilog10().map_or(0, |power| power as usize + 1);
        debug_assert!(digits <= E164_DIGITS_MAX, "{number} is no E.164 number");
        let alike = if digits == self.digits { digits - digits_apart(number, self.number) } else { 0 };
        for place in alike..digits {
            let digit = number / POWERS[digits - 1 - place] % 10;
            self.targets[place + 1] = NUMBERS.after(self.targets[place], digit as usize);
        }
        (self.number, self.digits) = (number, digits);
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many digits the number has.
    pub fn digits(&self) -> usize {
        self.digits
    }

    /// The answer for the number's first `digits` digits, as [`find`] gives it.
    pub fn answer(&self, digits: usize) -> Option<NumberMetadata> {
        NUMBERS.answer(self.targets[digits]).sure()
    }
}

/// How many of the last digits of two numbers of one length differ.
fn digits_apart(mut a: u64, mut b: u64) -> usize {
    let mut apart = 0;
    while a != b {
        (a, b, apart) = (a / 10, b / 10, apart + 1);
    }
    apart
}

const POWERS: [u64; E164_DIGITS_MAX] = {
    let mut powers = [1; E164_DIGITS_MAX];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Targets below the number of answers are answers, the others are nodes.
struct NumberTable {
    answers: Vec<TableAnswer>,
    nodes: Vec<AutomatonNode>,
}

#[derive(Clone, Copy)]
struct TableAnswer {
    metadata: NumberMetadata,
    /// A prefix may have to be taken off, and the answer is about the digits as
    /// they are.
    prefixed: bool,
}

impl TableAnswer {
    fn sure(self) -> Option<NumberMetadata> {
        (!self.prefixed).then_some(self.metadata)
    }
}

struct AutomatonNode {
    /// The answer for a number that ends here.
    here: u16,
    /// What follows by the next digit.
    next: [u16; 10],
}

impl NumberTable {
    fn start(&self) -> u16 {
        self.answers.len() as u16
    }

    fn node(&self, target: u16) -> Option<&AutomatonNode> {
        usize::from(target).checked_sub(self.answers.len()).map(|node| &self.nodes[node])
    }

    /// Where a digit leads; an answer stays, whatever follows.
    fn after(&self, target: u16, digit: usize) -> u16 {
        self.node(target).map_or(target, |node| node.next[digit])
    }

    /// Where digits lead.
    fn end(&self, digits: impl Iterator<Item = u8>) -> u16 {
        digits.fold(self.start(), |target, digit| self.after(target, usize::from(digit)))
    }

    /// Where so many more digits lead, whatever they are; none where that depends
    /// on them.
    fn after_any(&self, target: u16, more: usize) -> Option<u16> {
        (0..more).try_fold(target, |target, _| match self.node(target) {
            Some(node) => node.next.iter().all(|next| *next == node.next[0]).then_some(node.next[0]),
            None => Some(target),
        })
    }

    fn answer(&self, target: u16) -> TableAnswer {
        let answer = self.node(target).map_or(target, |node| node.here);
        self.answers[usize::from(answer)]
    }

    fn unpack(packed: &[u8]) -> std::io::Result<NumberTable> {
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes)?;
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().map(|word| u16::from_le_bytes(*word));
        let mut take = || words.next().ok_or_else(|| std::io::Error::other("the table is cut off"));

        let mut answers = Vec::new();
        for _ in 0..take()? {
            let [country, letter, state] = [take()?, take()?, take()?];
            let (number_type, geographic) = match u8::try_from(letter) {
                Ok(b'L') => (NumberType::Local, false),
                Ok(b'G') => (NumberType::Local, true),
                Ok(b'T') => (NumberType::Tollfree, false),
                Ok(b'M') => (NumberType::Mobile, false),
                Ok(b'P') => (NumberType::Mobile, true),
                _ => return Err(std::io::Error::other("no such number type")),
            };
            let country = (country != 0).then(|| country.to_le_bytes());
            let metadata = NumberMetadata { number_type, country, geographic, valid: state & 1 == 1 };
            answers.push(TableAnswer { metadata, prefixed: state & 2 == 2 });
        }
        let mut nodes = Vec::new();
        for _ in 0..take()? {
            let here = take()?;
            let mut next = [0; 10];
            for step in &mut next {
                *step = take()?;
            }
            nodes.push(AutomatonNode { here, next });
        }
        Ok(NumberTable { answers, nodes })
    }
}
