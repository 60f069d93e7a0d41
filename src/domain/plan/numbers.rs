//! Country, type and validity of a number, by its digits.
//!
//! The table is `numbers.bin`, which `scripts/numbers.py` generates from the
//! numbering-plan metadata of the version that the library `rlibphonenumber`
//! carries: an automaton that reads a number digit by digit and ends in the
//! answer. It is here for speed only, and is dozens of times faster. A new
//! version of the library needs a new table: a test compares the two.
//!
//! Invariant: an answer is the library's own; where that depends on a national
//! prefix that the library would take off, there is no answer here.

use std::io::Read;
use std::sync::LazyLock;

use super::Digits;
use crate::domain::NumberType;

static NUMBERS: LazyLock<Numbers> =
    LazyLock::new(|| Numbers::unpack(include_bytes!("numbers.bin")).expect("numbers.bin is whole"));

/// What the metadata says of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    pub number_type: NumberType,
    pub country: Option<[u8; 2]>,
    pub valid: bool,
}

/// The answer for a number, or `None` where only the library can tell.
pub fn find(digits: &Digits) -> Option<Answer> {
    let numbers = &*NUMBERS;
    let first_node = numbers.answers.len();
    let mut target = first_node;
    for &digit in digits.as_slice() {
        match target.checked_sub(first_node) {
            Some(node) => target = usize::from(numbers.nodes[node].next[usize::from(digit)]),
            None => break,
        }
    }
    if let Some(node) = target.checked_sub(first_node) {
        target = usize::from(numbers.nodes[node].here);
    }
    numbers.answers[target]
}

/// Targets below the number of answers are answers, the others are nodes.
struct Numbers {
    answers: Vec<Option<Answer>>,
    nodes: Vec<Node>,
}

struct Node {
    /// The answer for a number that ends here.
    here: u16,
    /// What follows by the next digit.
    next: [u16; 10],
}

impl Numbers {
    fn unpack(packed: &[u8]) -> std::io::Result<Numbers> {
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes)?;
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter().map(|word| u16::from_le_bytes(*word));
        let mut take = || words.next().ok_or_else(|| std::io::Error::other("the table is cut off"));

        let mut answers = Vec::new();
        for _ in 0..take()? {
            let [country, letter, state] = [take()?, take()?, take()?];
            let number_type = match u8::try_from(letter) {
                Ok(b'L') => NumberType::Local,
                Ok(b'T') => NumberType::Tollfree,
                Ok(b'M') => NumberType::Mobile,
                _ => return Err(std::io::Error::other("no such number type")),
            };
            let country = (country != 0).then(|| country.to_le_bytes());
            answers.push((state != 2).then_some(Answer { number_type, country, valid: state == 1 }));
        }
        let mut nodes = Vec::new();
        for _ in 0..take()? {
            let here = take()?;
            let mut next = [0; 10];
            for step in &mut next {
                *step = take()?;
            }
            nodes.push(Node { here, next });
        }
        Ok(Numbers { answers, nodes })
    }
}
