//! Searches of groups that are mostly full, counted without a look at each group.
//!
//! In a full group every ending is there, so how many numbers have some digits is
//! decided by the group's own digits: all of them if the digits are in the group;
//! else the endings that have them, and those that go on with the group's last
//! digits. Hence a *solid part*, a run of chunks with up to 2,048 groups, keeps which
//! of its full groups end in which three digits, and which have which four digits
//! (grams) in them. Looking for `7126`:
//!
//! ```text
//! groups that              match            known by
//! end in 7, 71, 712        10, 100, 1,000   where three digits begin: no group is read
//! end in anything else     1                the same
//! have 7126 in them        10,000           the list of the gram: one group or two
//! ```
//!
//! Five digits and more are the same with other widths; the groups that have the first
//! four of them are read. Groups that are not full have lists of their own: those that
//! may have more than the ending itself are read as well. One digit to three are counted
//! by group. Counts of up to four digits are cached: there are 11,110 of them.
//!
//! The tables depend on nothing but the chunks, and an edited set takes over the parts
//! whose chunks it shares. Made by the first search. Deliberately absent: the numbers
//! of a page, which are listed by group.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::posting::{GRAM_DIGITS, GRAMS, group_grams, sorted};
use super::{ENDINGS, Endings, GroupMembers, MembersOf, SetChunk};
use crate::inventory::pattern::{DigitPattern, Hit};
use crate::inventory::sieve::Sieve;

/// How many groups a part has at the most, if it has more than one chunk.
const GROUPS_MAX: usize = 2_048;
/// Fewer groups than these are sooner read than their tables. Tests have few.
const GROUPS_MIN: usize = if cfg!(test) { 4 } else { 64 };
/// How many different last three digits there are.
const ENDS: usize = 1_000;
/// How many values one digit to four have.
const KNOWN_VALUES: usize = 10 + 100 + 1_000 + GRAMS;
/// A count that is not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Neighbouring chunks whose groups are mostly full.
pub struct SolidPart {
    pub(super) chunks: Vec<Arc<SetChunk>>,
    pub first: u64,
    pub last: u64,
    tables: OnceLock<Tables>,
}

/// Groups are named by their place in the part.
struct Tables {
    /// The place of the first group of each chunk.
    begins: Box<[usize]>,
    /// The groups that are full.
    full: GroupLists,
    /// The others, and how many of them have each ending.
    rest: GroupLists,
    rest_endings: Box<[u16]>,
    /// How many numbers have one digit to four, by their values.
    known: Box<[AtomicU32]>,
}

/// Some groups by their digits: where each list begins, and the groups.
struct GroupLists {
    /// By the last three digits, read backwards.
    ends: (Box<[u16]>, Box<[u16]>),
    /// By the grams inside of the group.
    grams: (Box<[u16]>, Box<[u16]>),
}

impl GroupLists {
    fn of(groups: &[(u16, u64)]) -> GroupLists {
        let ends: Vec<(u16, u16)> = groups.iter().map(|&(place, group)| (backwards(group, 3) as u16, place)).collect();
        let mut grams = Vec::new();
        for &(place, group) in groups {
            let mut inside: Vec<usize> = group_grams(group).collect();
            inside.sort_unstable();
            inside.dedup();
            grams.extend(inside.into_iter().map(|gram| (gram as u16, place)));
        }
        GroupLists { ends: sorted(&ends, ENDS), grams: sorted(&grams, GRAMS) }
    }

    fn ending(&self, range: &EndRange) -> &[u16] {
        let (begins, places) = &self.ends;
        &places[usize::from(begins[range.from])..usize::from(begins[range.to])]
    }

    fn with_gram(&self, gram: usize) -> &[u16] {
        let (begins, places) = &self.grams;
        &places[usize::from(begins[gram])..usize::from(begins[gram + 1])]
    }

    /// Those that may have more than what every group has.
    fn candidates<'s>(&'s self, search: &'s SolidSearch<'_>) -> impl Iterator<Item = u16> + 's {
        let some = search.ranges.iter().filter(|range| range.matches > search.plain());
        some.flat_map(|range| self.ending(range)).chain(self.with_gram(search.gram)).copied()
    }

    fn bytes(&self) -> usize {
        let lists = |(begins, places): &(Box<[u16]>, Box<[u16]>)| (begins.len() + places.len()) * 2;
        lists(&self.ends) + lists(&self.grams)
    }
}

/// The places of one part as bits.
fn marked(places: impl Iterator<Item = u16>, groups: usize) -> Vec<u64> {
    let mut words = vec![0_u64; groups.div_ceil(64)];
    places.for_each(|place| words[usize::from(place >> 6)] |= 1 << (place & 63));
    words
}

/// Such places, ascending, each once.
fn ascending(words: Vec<u64>) -> impl Iterator<Item = u16> {
    words.into_iter().enumerate().flat_map(|(at, mut word)| {
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros() as u16)?;
            word &= word - 1;
            Some((at as u16) << 6 | bit)
        })
    })
}

fn dense(chunk: &SetChunk) -> &[(u64, Endings)] {
    match chunk {
        SetChunk::Dense { groups, .. } => groups,
        SetChunk::Sparse(_) => &[],
    }
}

fn is_solid(chunk: &SetChunk) -> bool {
    let groups = dense(chunk);
    !groups.is_empty() && groups.iter().filter(|(_, endings)| endings.is_full()).count() * 2 >= groups.len()
}

/// The solid part that some chunks begin with, if they begin with one: of chunks that
/// `may_join`.
pub(super) fn part(chunks: &[Arc<SetChunk>], may_join: impl Fn(&Arc<SetChunk>) -> bool) -> Option<Arc<SolidPart>> {
    let mut groups = 0;
    let fits = |(at, chunk): &(usize, &Arc<SetChunk>)| {
        let alone = *at == 0;
        let more = dense(chunk).len();
        let fits = (alone || groups + more <= GROUPS_MAX && may_join(chunk)) && is_solid(chunk);
        groups += if fits { more } else { 0 };
        fits
    };
    let count = chunks.iter().enumerate().take_while(fits).count();
    if groups < GROUPS_MIN {
        return None;
    }
    let chunks = chunks[..count].to_vec();
    let first = chunks[0].first_group() * ENDINGS as u64;
    let last = (chunks[count - 1].last_group() + 1) * ENDINGS as u64 - 1;
    Some(Arc::new(SolidPart { chunks, first, last, tables: OnceLock::new() }))
}

impl SolidPart {
    fn groups(&self) -> impl Iterator<Item = &(u64, Endings)> {
        self.chunks.iter().flat_map(|chunk| dense(chunk))
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| {
            let (mut full, mut rest, mut rest_endings) = (Vec::new(), Vec::new(), Vec::new());
            for (place, (group, endings)) in self.groups().enumerate() {
                if endings.is_full() {
                    full.push((place as u16, *group));
                    continue;
                }
                rest.push((place as u16, *group));
                rest_endings.resize(ENDINGS, 0);
                endings.for_each(|ending| rest_endings[usize::from(ending)] += 1);
            }
            let mut before = 0;
            let begins = self.chunks.iter().map(|chunk| {
                before += dense(chunk).len();
                before - dense(chunk).len()
            });
            Tables {
                begins: begins.collect(),
                full: GroupLists::of(&full),
                rest: GroupLists::of(&rest),
                rest_endings: rest_endings.into(),
                known: (0..KNOWN_VALUES).map(|_| AtomicU32::new(UNKNOWN)).collect(),
            }
        })
    }

    fn group(&self, tables: &Tables, place: u16) -> &(u64, Endings) {
        let chunk = tables.begins.partition_point(|&begin| begin <= usize::from(place)) - 1;
        &dense(&self.chunks[chunk])[usize::from(place) - tables.begins[chunk]]
    }

    /// How many of its numbers match.
    pub fn count(&self, search: &SolidSearch<'_>) -> usize {
        let tables = self.tables();
        let digits = search.digits;
        let Some(&before) = [0, 0, 10, 110, 1_110].get(digits.digits() as usize) else {
            return self.count_by_lists(tables, search);
        };
        let known = &tables.known[before + search.gram];
        match known.load(Ordering::Relaxed) {
            UNKNOWN => {
                let mut own = Sieve::CLOSED;
                let count = match digits.digits() {
                    GRAM_DIGITS => self.count_by_lists(tables, search),
                    _ => self.groups().map(|group| count_group(digits, group, &mut own)).sum(),
                };
                known.store(count as u32, Ordering::Relaxed);
                count
            }
            count => count as usize,
        }
    }

    /// The same, for four digits or more.
    fn count_by_lists(&self, tables: &Tables, search: &SolidSearch<'_>) -> usize {
        let digits = search.digits;
        let by_end: usize = search.ranges.iter().map(|range| tables.full.ending(range).len() * range.matches).sum();
        // A group that has the first four digits may have more than its end says.
        let more = |&place: &u16| {
            let group = self.group(tables, place).0;
            digits.endings_in(group).len() - digits.endings_by_end(group % ENDS as u64).len()
        };
        let by_gram: usize = tables.full.with_gram(search.gram).iter().map(more).sum();
        by_end + by_gram + self.count_rest(tables, search)
    }

    /// How many numbers of the groups that are not full match.
    fn count_rest(&self, tables: &Tables, search: &SolidSearch<'_>) -> usize {
        if tables.rest_endings.is_empty() {
            return 0;
        }
        let digits = search.digits;
        let ending = (digits.digits() == GRAM_DIGITS).then_some(search.gram as u16);
        let every = ending.map_or(0, |ending| usize::from(tables.rest_endings[usize::from(ending)]));
        let more = |place: u16| {
            let (group, endings) = self.group(tables, place);
            let plain = usize::from(ending.is_some_and(|ending| endings.contains(ending)));
            let ranges = digits.endings_in(*group);
            ranges.iter().map(|(from, to)| endings.count_between(from, to)).sum::<usize>() - plain
        };
        let marked = marked(tables.rest.candidates(search), self.len(tables));
        every + ascending(marked).map(more).sum::<usize>()
    }

    /// How many groups it has.
    fn len(&self, tables: &Tables) -> usize {
        let last = self.chunks.len() - 1;
        tables.begins[last] + dense(&self.chunks[last]).len()
    }

    /// The groups that may have a number with five digits or more, in order.
    pub fn candidates<'s>(
        &'s self,
        search: &SolidSearch<'_>,
    ) -> impl Iterator<Item = (u64, GroupMembers<'s>)> + use<'s> {
        let tables = self.tables();
        let all = tables.full.candidates(search).chain(tables.rest.candidates(search));
        ascending(marked(all, self.len(tables))).map(|place| {
            let (group, endings) = self.group(tables, place);
            (*group, GroupMembers(MembersOf::Endings(endings)))
        })
    }

    /// Bytes of what searches have made.
    pub(super) fn bytes(&self) -> usize {
        self.tables.get().map_or(0, |tables| {
            let known = tables.known.len() * size_of::<AtomicU32>();
            tables.full.bytes() + tables.rest.bytes() + tables.rest_endings.len() * 2 + known
        })
    }
}

fn count_group(digits: &DigitPattern, (group, endings): &(u64, Endings), own: &mut Sieve) -> usize {
    match digits.in_group(*group, own) {
        Hit::None => 0,
        Hit::All => endings.count(),
        Hit::Shared => endings.count_in(digits.endings()),
        Hit::Own => endings.count_in(own),
    }
}

/// So many last digits of a number read backwards.
fn backwards(number: u64, digits: u32) -> usize {
    (0..digits).fold(0, |read, at| read * 10 + (number / 10_u64.pow(at) % 10) as usize)
}

/// A search of digits anywhere, over many parts.
pub struct SolidSearch<'d> {
    digits: &'d DigitPattern,
    /// The first four digits.
    gram: usize,
    ranges: Vec<EndRange>,
}

/// Full groups whose last three digits, read backwards, are in `from..to`.
struct EndRange {
    from: usize,
    to: usize,
    /// How many numbers of each of them match, at least.
    matches: usize,
}

impl<'d> SolidSearch<'d> {
    /// None for digits at the start.
    pub fn of(digits: &'d DigitPattern) -> Option<SolidSearch<'d>> {
        let value = digits.anywhere()?;
        let gram = value / 10_u64.pow(digits.digits().saturating_sub(GRAM_DIGITS));
        // Groups that end in the same of the first digits are neighbours when read
        // backwards.
        let mut cuts = vec![0, ENDS];
        for before in (1..=3).filter(|&count| digits.digits() >= GRAM_DIGITS.max(count + 1)) {
            let own = value / 10_u64.pow(digits.digits() - before);
            let width = 10_usize.pow(3 - before);
            let from = backwards(own, before) * width;
            cuts.extend([from, from + width]);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let range = |cut: &[usize]| {
            let matches = digits.endings_by_end(backwards(cut[0] as u64, 3) as u64).len();
            EndRange { from: cut[0], to: cut[1], matches }
        };
        let ranges = cuts.windows(2).map(range).filter(|range| range.matches > 0);
        Some(SolidSearch { digits, gram: gram as usize, ranges: ranges.collect() })
    }

    /// How many numbers of every full group match.
    fn plain(&self) -> usize {
        usize::from(self.digits.digits() == GRAM_DIGITS)
    }

    /// Whether [`SolidPart::candidates`] are fewer than all groups.
    pub fn reads_candidates(&self) -> bool {
        self.digits.digits() > GRAM_DIGITS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Set, SetEdit};
    use super::*;
    use crate::inventory::Pattern;

    /// Compares the count of each solid part with that of each of its groups, and the
    /// candidates with the groups that have something; how many parts there are.
    fn check(set: &Set, search: &str) -> usize {
        let digits = DigitPattern::of(Pattern::parse(search).expect("a pattern")).expect("digits");
        let solid = SolidSearch::of(&digits).expect("digits anywhere");
        let (mut parts, mut own) = (0, Sieve::CLOSED);
        for part in set.parts().iter().filter_map(|part| part.solid.as_ref()) {
            let counts = part.groups().map(|group| (group.0, count_group(&digits, group, &mut own)));
            let counts: Vec<(u64, usize)> = counts.filter(|(_, count)| *count > 0).collect();
            let expected: usize = counts.iter().map(|(_, count)| count).sum();
            assert_eq!(part.count(&solid), expected, "search: {search}");
            // What is remembered is the same.
            assert_eq!(part.count(&solid), expected, "search: {search}");
            if solid.reads_candidates() {
                let candidates: Vec<u64> = part.candidates(&solid).map(|(group, _)| group).collect();
                assert!(candidates.is_sorted_by(|a, b| a < b), "search: {search}");
                assert!(counts.iter().all(|(group, _)| candidates.contains(group)), "search: {search}");
            }
            parts += 1;
        }
        parts
    }

    fn full(groups: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        groups.start * 10_000..groups.end * 10_000
    }

    /// Groups that are full, some with holes, and some with repeated digits.
    fn inventory() -> Set {
        let mut numbers: Vec<u64> = full(331_420..331_900).collect();
        numbers.retain(|number| number % 1_234_567 != 3);
        numbers.extend(full(3_333_333..3_333_400));
        numbers.extend(full(33_142_680..33_142_760));
        Set::of(numbers)
    }

    #[test]
    fn full_groups_are_counted_as_each_of_them_is() {
        let set = inventory();
        let mut parts = 0;
        for value in (0..10_000).step_by(7).chain([3_333, 3_314, 1_414, 3_142, 0, 9_999, 3_133]) {
            parts += check(&set, &format!("{value:04}"));
        }
        assert!(parts > 1_400, "{parts}");
    }

    #[test]
    fn every_length_of_digits_is_counted() {
        let set = inventory();
        for (search, _) in [("33142687000", ()), ("33333333333", ()), ("000000000", ()), ("142142142", ())] {
            for length in 1..=search.len() {
                (0..=search.len() - length).for_each(|from| {
                    assert!(check(&set, &search[from..from + length]) > 0);
                });
            }
        }
    }

    #[test]
    fn an_edit_keeps_the_parts_that_it_does_not_touch() {
        let set = Set::of(full(331_000..339_500).chain(full(341_000..341_300)));
        let parts = |set: &Set| -> Vec<*const SolidPart> {
            set.parts().iter().filter_map(|part| part.solid.as_ref().map(Arc::as_ptr)).collect()
        };
        let before = parts(&set);
        assert!(before.len() >= 3, "{}", before.len());
        for number in [331_000 * 10_000, 335_000 * 10_000 + 77, 341_299 * 10_000 + 9_999] {
            let edited = set.edited(&[SetEdit::of(number, false)]);
            let kept = parts(&edited).iter().filter(|part| before.contains(part)).count();
            assert_eq!(kept, before.len() - 1, "without {number}");
            ["0000", "7126", "99993", "31"].iter().for_each(|search| assert!(check(&edited, search) > 0));
            let back = edited.edited(&[SetEdit::of(number, true)]);
            assert_eq!(parts(&back).len(), before.len());
        }
    }

    proptest! {
        #[test]
        fn groups_of_any_length_are_counted(
            first in prop_oneof![100_u64..900, 1_000_u64..9_000, 33_000_u64..99_000, 10_000_000_000_u64..99_999_000_000],
            holes in prop::collection::vec(0_u64..300_000, 0..9),
            search in prop_oneof!["[0-9]{1,9}", "[0-2]{3,7}", "[19]{4,6}"],
            inside in any::<prop::sample::Index>(),
            length in 1_usize..9,
        ) {
            let set = Set::of(full(first..first + 30).filter(|number| !holes.contains(&(number - first * 10_000))));
            check(&set, &search);
            // Digits that some number has.
            let number = (first * 10_000 + inside.index(300_000) as u64).to_string();
            let from = inside.index(number.len());
            check(&set, &number[from..(from + length).min(number.len())]);
        }
    }
}
