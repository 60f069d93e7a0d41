//! Which place a number's first digits belong to.
//!
//! The table is `places.bin`, which `scripts/places.py` generates. It is
//! unpacked once, at the first question, into a trie of digits: a question then
//! costs at most nine steps, and names are borrowed from the table.
//!
//! Invariant: the answer is the name of the longest prefix in the table.
//! Deliberately absent: a choice of language, and countries.

use std::io::Read;
use std::sync::LazyLock;

use super::NumberDigits;

static PLACES: LazyLock<PlaceTable> = LazyLock::new(|| PlaceTable::unpack(PACKED).expect("places.bin is whole"));

const PACKED: &[u8] = include_bytes!("places.bin");

/// The place of a number, from the longest prefix that the table has for it.
pub fn place(digits: &NumberDigits) -> Option<&'static str> {
    let places = &*PLACES;
    match places.trie.find(digits) {
        NO_NAME => None,
        name => Some(places.name(name)),
    }
}

/// Whether the place of all numbers that begin with these digits is one.
pub fn is_decided(digits: &[u8]) -> bool {
    PLACES.trie.is_decided(digits)
}

const NO_NAME: u16 = u16::MAX;
const PREFIX_DIGITS_MAX: u32 = 9;

struct PlaceTable {
    names: String,
    /// Where each name ends in `names`: one newline follows it.
    ends: Vec<u32>,
    trie: Trie,
}

impl PlaceTable {
    fn unpack(packed: &[u8]) -> std::io::Result<PlaceTable> {
        let (names, rows) = read_table(packed)?;
        let ends = names.match_indices('\n').map(|(end, _)| end as u32).collect();
        let mut trie = Trie::new();
        for row in rows {
            trie.insert(row);
        }
        Ok(PlaceTable { names, ends, trie })
    }

    fn name(&self, index: u16) -> &str {
        let index = usize::from(index);
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize + 1 };
        &self.names[start..self.ends[index] as usize]
    }
}

struct PlaceRow {
    prefix: u32,
    prefix_digits: u32,
    name: u16,
}

/// The names, each ended by a newline, and the rows in order of length.
fn read_table(packed: &[u8]) -> std::io::Result<(String, Vec<PlaceRow>)> {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let names_bytes = take_varint(&mut rest) as usize;
    let (names, mut rest) = rest.split_at(names_bytes);
    let names = String::from_utf8(names.to_vec()).map_err(std::io::Error::other)?;

    let mut rows = Vec::new();
    for prefix_digits in 1..=PREFIX_DIGITS_MAX {
        let count = take_varint(&mut rest);
        let first = rows.len();
        let mut prefix = 0;
        for _ in 0..count {
            prefix += take_varint(&mut rest);
            rows.push(PlaceRow { prefix, prefix_digits, name: NO_NAME });
        }
        let mut name: u32 = 0;
        for row in &mut rows[first..] {
            let distance = take_varint(&mut rest);
            // Zigzag: the lowest bit is the sign.
            let magnitude = distance >> 1;
            name = if distance & 1 == 0 { name + magnitude } else { name - magnitude };
            row.name = u16::try_from(name).map_err(std::io::Error::other)?;
        }
    }
    Ok((names, rows))
}

fn take_varint(rest: &mut &[u8]) -> u32 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u32::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// What follows a node by one digit: a node, or nothing longer and so a name.
#[derive(Clone, Copy)]
struct TrieStep(u32);

impl TrieStep {
    const NAME_FLAG: u32 = 1 << 31;

    fn to_name(name: u16) -> TrieStep {
        TrieStep(TrieStep::NAME_FLAG | u32::from(name))
    }

    fn to_node(node: usize) -> TrieStep {
        TrieStep(node as u32)
    }

    fn target(self) -> Result<usize, u16> {
        if self.0 & TrieStep::NAME_FLAG == 0 { Ok(self.0 as usize) } else { Err(self.0 as u16) }
    }
}

/// Prefixes by their digits.
///
/// A node also knows the name of the longest prefix on the way to it, its own
/// included, so a walk may stop anywhere and needs no way back.
struct Trie {
    steps: Vec<[TrieStep; 10]>,
    names: Vec<u16>,
}

impl Trie {
    fn new() -> Trie {
        Trie { steps: vec![[TrieStep::to_name(NO_NAME); 10]], names: vec![NO_NAME] }
    }

    /// Adds a prefix. Prefixes come in order of length: a longer one passes
    /// through shorter ones, and takes over their names where it branches.
    fn insert(&mut self, PlaceRow { prefix, prefix_digits, name }: PlaceRow) {
        let mut node = 0;
        for place in (1..prefix_digits).rev() {
            let digit = (prefix / 10u32.pow(place) % 10) as usize;
            node = match self.steps[node][digit].target() {
                Ok(next) => next,
                Err(inherited) => {
                    let next = self.steps.len();
                    self.steps.push([TrieStep::to_name(inherited); 10]);
                    self.names.push(inherited);
                    self.steps[node][digit] = TrieStep::to_node(next);
                    next
                }
            };
        }
        let last = &mut self.steps[node][(prefix % 10) as usize];
        debug_assert!(last.target().is_err(), "prefixes come in order of length");
        *last = TrieStep::to_name(name);
    }

    fn find(&self, digits: &NumberDigits) -> u16 {
        let mut node = 0;
        for &digit in digits.as_slice() {
            match self.steps[node][usize::from(digit)].target() {
                Ok(next) => node = next,
                Err(name) => return name,
            }
        }
        self.names[node]
    }

    /// Whether nothing that follows these digits makes another name.
    fn is_decided(&self, digits: &[u8]) -> bool {
        let step = |node: usize, digit: &u8| self.steps[node][usize::from(*digit)].target().ok();
        digits.iter().try_fold(0, step).is_none()
    }
}

/// Every prefix of the table with its name.
#[cfg(test)]
pub fn all() -> Vec<(u64, &'static str)> {
    let (_, rows) = read_table(PACKED).expect("places.bin is whole");
    rows.into_iter().map(|row| (u64::from(row.prefix), PLACES.name(row.name))).collect()
}
