//! Endings, the last four digits of numbers, as bits and as what a search lets
//! through. Deliberately absent: which groups of numbers have them (`set`).

/// How many endings a group has.
pub const ENDINGS: usize = 10_000;
pub(super) const WORDS: usize = ENDINGS.div_ceil(64);

/// 10,000 bits, one for each ending.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask([u64; WORDS]);

impl Mask {
    pub const EMPTY: Mask = Mask([0; WORDS]);

    pub fn insert(&mut self, ending: u16) {
        self.0[usize::from(ending >> 6)] |= 1 << (ending & 63);
    }

    /// Takes out `from..to`.
    pub(super) fn remove_range(&mut self, from: u16, to: u16) {
        words_of(from, to).for_each(|(word, bits)| self.0[word] &= !bits);
    }

    pub fn contains(&self, ending: u16) -> bool {
        self.0[usize::from(ending >> 6)] >> (ending & 63) & 1 == 1
    }

    /// Adds `from..to`.
    pub fn insert_range(&mut self, from: u16, to: u16) {
        words_of(from, to).for_each(|(word, bits)| self.0[word] |= bits);
    }

    /// The first ending from `from` on that is in it, or is not; 10,000 if there is
    /// none.
    fn next(&self, from: u16, present: bool) -> u16 {
        let flip = if present { 0 } else { u64::MAX };
        let mut at = from;
        while usize::from(at) < ENDINGS {
            let rest = (self.0[usize::from(at >> 6)] ^ flip) >> (at & 63);
            if rest != 0 {
                return (at + rest.trailing_zeros() as u16).min(ENDINGS as u16);
            }
            at = (at | 63) + 1;
        }
        ENDINGS as u16
    }

    /// The starts and lengths of its runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u16, u16)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, true);
            at = self.next(start, false);
            (start < at).then_some((start, at - start))
        })
    }

    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many are in `from..to`.
    pub(super) fn count_between(&self, from: u16, to: u16) -> usize {
        let (first, last) = (usize::from(from >> 6), usize::from((to - 1) >> 6));
        let below = |ending: u16| (1_u64 << (ending & 63)) - 1;
        let mut count = 0;
        for at in first..=last {
            let mut word = self.0[at];
            if at == first {
                word &= !below(from);
            }
            if at == last && to & 63 != 0 {
                word &= below(to);
            }
            count += word.count_ones() as usize;
        }
        count
    }

    /// Leaves what another mask has as well.
    pub(super) fn keep(&mut self, other: &Mask) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= b);
    }

    pub(super) fn count_and(&self, other: &Mask) -> usize {
        self.0.iter().zip(&other.0).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some((at as u16) << 6 | bit as u16)
            })
        })
    }
}

/// The words of a mask that have `from..to`, and which of their bits.
fn words_of(from: u16, to: u16) -> impl Iterator<Item = (usize, u64)> {
    let (mut at, to) = (u32::from(from), u32::from(to));
    std::iter::from_fn(move || {
        if at >= to {
            return None;
        }
        let end = to.min((at | 63) + 1);
        let ones = end - at;
        let bits = if ones == 64 { u64::MAX } else { ((1_u64 << ones) - 1) << (at & 63) };
        let word = (at >> 6) as usize;
        at = end;
        Some((word, bits))
    })
}

/// How many ranges a sieve keeps apart.
const RANGES_MAX: usize = 16;

/// The endings that a search lets through: as bits, and as ranges where they
/// are few. They mostly are: four digits inside the ending are one number, and
/// digits that begin in the group leave a range. Counting a container between
/// two endings looks at a word or two of it, counting it under bits at all.
#[derive(Clone)]
pub struct Sieve {
    pub(super) mask: Mask,
    /// Ascending, none touching the next; beyond `RANGES_MAX` not kept.
    ranges: [(u16, u16); RANGES_MAX],
    count: usize,
}

impl Sieve {
    /// Lets nothing through.
    pub const CLOSED: Sieve = Sieve { mask: Mask::EMPTY, ranges: [(0, 0); RANGES_MAX], count: 0 };

    /// Lets `from..to` through as well.
    pub fn open(&mut self, from: u16, to: u16) {
        self.mask.insert_range(from, to);
        let Some(ranges) = self.ranges() else { return };
        // Those it touches become one with it.
        let first = ranges.partition_point(|&(_, end)| end < from);
        let after = ranges.partition_point(|&(start, _)| start <= to);
        let touched = &ranges[first..after];
        let start = touched.first().map_or(from, |&(start, _)| start.min(from));
        let end = touched.last().map_or(to, |&(_, end)| end.max(to));
        let count = self.count - touched.len() + 1;
        if count <= RANGES_MAX {
            self.ranges.copy_within(after..self.count, first + 1);
            self.ranges[first] = (start, end);
        }
        self.count = count;
    }

    pub fn contains(&self, ending: u16) -> bool {
        self.mask.contains(ending)
    }

    pub(super) fn ranges(&self) -> Option<&[(u16, u16)]> {
        self.ranges.get(..self.count)
    }
}
