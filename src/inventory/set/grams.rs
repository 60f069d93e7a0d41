//! The inverted index of a set whose numbers are scattered: for each four digits
//! (a *gram*), which numbers have them.
//!
//! A search of groups looks at every group, which is little where a group is a
//! block, and much where it has a dozen numbers. So runs of chunks with few
//! numbers a group are cut into *segments* of about ten thousand numbers, and a
//! segment has one posting list for each gram:
//!
//! ```text
//! +91 22 7126 4217     the group 91227126 has the grams 9122 1227 2271 2712 7126
//!                      the number has 1264 2642 6421 4217 besides, and ends in 217
//! ```
//!
//! A gram inside the group is posted once for the group, and never again for its
//! numbers, so the entries of a list are distinct and ascend. (In a sparse chunk,
//! where most groups have one number, it is posted for the numbers.) Four digits
//! are one list. Fewer digits are the lists of all grams that begin with them, and of the
//! endings that have them in their last three. More digits are the shortest list
//! of their grams, whose numbers are read.
//!
//! Segments depend on nothing but the members of the set. An edited set takes over
//! the segments whose chunks it shares. They are made by the searches that need
//! them, at most [`MADE_AT_ONCE`] by each search; groups stand in for the rest.
//! Deliberately absent: blocks, and small sets. Both are searched by group.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::posting::{GRAM_DIGITS, GRAMS, group_grams, sorted};
use super::solid::{self, SolidPart};
use super::{CHUNK_NUMBERS, Endings, GroupMembers, MembersOf, SetChunk, group_of};
use crate::inventory::pattern::{DigitPattern, Hit};
use crate::inventory::sieve::{ENDINGS, Sieve};

/// How many segments a search makes at most: some twenty milliseconds.
pub const MADE_AT_ONCE: usize = 32;
/// The most entries that the lists of a segment have, so that sixteen bits say
/// where a list begins.
const ENTRIES_MAX: usize = u16::MAX as usize;
/// Fewer numbers than these are searched by group: the table of lists would take
/// more room than their entries. Tests have few numbers and search them both ways.
const NUMBERS_MIN: usize = if cfg!(test) { 30 } else { 4 * CHUNK_NUMBERS };
/// Groups with more numbers than this on average are searched as groups.
const GROUP_NUMBERS_MAX: usize = 640;

/// The numbers of a group from which on so many digits are counted by group.
const CROWD: usize = 64;
const CROWDED_DIGITS_MAX: u32 = 2;

/// The last three digits of numbers.
const TAILS: usize = 1_000;
const TAIL_DIGITS: u32 = 3;
const LISTS: usize = GRAMS + TAILS;
/// How many entries a number has at most: the grams that reach into its ending,
/// and its tail.
const NUMBER_ENTRIES: usize = 5;
/// Marks an entry that is a group of the segment, and so all of its numbers.
const GROUP: u16 = 1 << 15;

/// A part of a set, as a search goes through it.
#[derive(Clone)]
pub struct SetPart {
    /// Its chunks in the set.
    pub from: usize,
    pub to: usize,
    /// None where the chunks are searched otherwise.
    pub segments: Vec<Arc<Segment>>,
    /// There is one if most groups are full; with neither, the chunks are searched by
    /// group.
    pub solid: Option<Arc<SolidPart>>,
    /// Whether its groups have so many numbers that a digit or two, which half of
    /// them have, are sooner counted by group.
    crowded: bool,
}

/// Groups of a chunk: indices of its groups, or of its numbers if it is sparse.
struct SegmentPiece {
    chunk: Arc<SetChunk>,
    from: usize,
    to: usize,
}

pub struct Segment {
    pieces: Vec<SegmentPiece>,
    pub first: u64,
    pub last: u64,
    lists: OnceLock<Lists>,
}

struct Lists {
    /// Where each list begins in `entries`, and where the last one ends.
    begins: Box<[u16]>,
    entries: Box<[u16]>,
    /// How many numbers there are before each group of the dense chunks, and up to
    /// the end of each piece.
    ranks: Box<[u16]>,
    numbers: u16,
    /// How many of those ranks and how many numbers there are before each piece.
    pieces: Box<[(u16, u16)]>,
}

// ---- parts of a set

/// The parts of a set of these chunks, with the segments of `older` that still
/// hold; none at all if nothing in it is scattered.
pub(super) fn parts(chunks: &[Arc<SetChunk>], older: &[SetPart]) -> Arc<[SetPart]> {
    let older: HashMap<*const SetChunk, &SetPart> =
        older.iter().filter_map(|part| Some((Arc::as_ptr(part.made_of().next()?), part))).collect();
    let begins_older = |chunk: &Arc<SetChunk>| older.contains_key(&Arc::as_ptr(chunk));
    let mut parts: Vec<SetPart> = Vec::new();
    let mut at = 0;
    while at < chunks.len() {
        let known = older.get(&Arc::as_ptr(&chunks[at])).filter(|part| part.is_of(&chunks[at..]));
        if let Some(&part) = known {
            parts.push(SetPart { from: at, to: at + part.to - part.from, ..part.clone() });
            at += part.to - part.from;
            continue;
        }
        if let Some(solid) = solid::part(&chunks[at..], |chunk| !begins_older(chunk)) {
            let to = at + solid.chunks.len();
            parts.push(SetPart { from: at, to, segments: Vec::new(), solid: Some(solid), crowded: true });
            at = to;
            continue;
        }
        let mut sum = 0;
        let fits = |(index, chunk): &(usize, &Arc<SetChunk>)| {
            sum += entries(chunk);
            let alone = *index == 0;
            scattered(chunk) && (alone || sum <= ENTRIES_MAX && !begins_older(chunk))
        };
        let count = chunks[at..].iter().enumerate().take_while(fits).count();
        let to = at + count.max(1);
        let numbers: usize = chunks[at..to].iter().map(|chunk| chunk.count()).sum();
        let segments = match count > 0 && numbers >= NUMBERS_MIN {
            true => segments(&chunks[at..to]),
            false => Vec::new(),
        };
        match parts.last_mut() {
            Some(last) if last.is_plain() && segments.is_empty() => last.to = to,
            _ => {
                let groups: usize = chunks[at..to].iter().map(|chunk| groups(chunk)).sum();
                parts.push(SetPart { from: at, to, segments, solid: None, crowded: numbers > groups * CROWD });
            }
        }
        at = to;
    }
    parts.into()
}

/// Whether groups of a chunk have few numbers, and those stand alone.
fn scattered(chunk: &SetChunk) -> bool {
    let SetChunk::Dense { count, groups, .. } = chunk else { return true };
    let in_runs = |(_, endings): &(u64, Endings)| match endings {
        Endings::Runs { count, .. } => usize::from(*count),
        Endings::Few { .. } | Endings::Array(_) | Endings::Bits { .. } => 0,
    };
    *count <= groups.len() * GROUP_NUMBERS_MAX && groups.iter().map(in_runs).sum::<usize>() * 2 <= *count
}

/// How many groups a chunk has at the most.
fn groups(chunk: &SetChunk) -> usize {
    match chunk {
        SetChunk::Dense { groups, .. } => groups.len(),
        SetChunk::Sparse(numbers) => numbers.len(),
    }
}

/// How many entries the lists of a chunk have at the most.
fn entries(chunk: &SetChunk) -> usize {
    chunk.count() * NUMBER_ENTRIES + groups(chunk) * group_grams(chunk.last_group()).count()
}

/// The segments of chunks that fit into one, or of one chunk that does not.
fn segments(chunks: &[Arc<SetChunk>]) -> Vec<Arc<Segment>> {
    let whole = |chunk: &Arc<SetChunk>| SegmentPiece { chunk: chunk.clone(), from: 0, to: groups(chunk) };
    match (chunks, chunks.first().map(|chunk| &**chunk)) {
        ([chunk], Some(SetChunk::Dense { groups, .. })) if entries(chunk) > ENTRIES_MAX => {
            let (mut segments, mut from, mut sum) = (Vec::new(), 0, 0);
            let all = entries(chunk);
            let share = all.div_ceil(all.div_ceil(ENTRIES_MAX));
            for (at, (group, endings)) in groups.iter().enumerate() {
                let more = endings.count() * NUMBER_ENTRIES + group_grams(*group).count();
                if sum >= share || sum + more > ENTRIES_MAX {
                    segments.push(Segment::of(vec![SegmentPiece { chunk: chunk.clone(), from, to: at }]));
                    (from, sum) = (at, 0);
                }
                sum += more;
            }
            segments.push(Segment::of(vec![SegmentPiece { chunk: chunk.clone(), from, to: groups.len() }]));
            segments
        }
        _ => vec![Segment::of(chunks.iter().map(whole).collect())],
    }
}

impl SetPart {
    /// Whether it is searched by group.
    fn is_plain(&self) -> bool {
        self.segments.is_empty() && self.solid.is_none()
    }

    /// The chunks that its segments or its tables are made of; those of a part that is
    /// searched by group are not known.
    fn made_of(&self) -> impl Iterator<Item = &Arc<SetChunk>> {
        let pieces = self.segments.iter().flat_map(|segment| segment.pieces.iter().map(|piece| &piece.chunk));
        pieces.chain(self.solid.iter().flat_map(|solid| &solid.chunks))
    }

    /// Whether it is made of the first of these chunks.
    fn is_of(&self, chunks: &[Arc<SetChunk>]) -> bool {
        let mut ours: Vec<&Arc<SetChunk>> = self.made_of().collect();
        ours.dedup_by(|a, b| Arc::ptr_eq(a, b));
        ours.len() <= chunks.len() && ours.iter().zip(chunks).all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
    }

    /// Bytes of what searches have made.
    pub(super) fn bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(|segment| segment.bytes()).sum();
        segments + self.solid.as_ref().map_or(0, |solid| solid.bytes())
    }

    /// Whether its segments are the way to search for so many digits, and are
    /// there or may be made: then there are that many fewer to make.
    pub fn serves(&self, digits: u32, may_make: &mut usize) -> bool {
        if self.segments.is_empty() || (self.crowded && digits <= CROWDED_DIGITS_MAX) {
            return false;
        }
        let missing = self.segments.iter().filter(|segment| segment.lists.get().is_none()).count();
        if missing > 0 && *may_make == 0 {
            return false;
        }
        *may_make = may_make.saturating_sub(missing);
        true
    }
}

/// The ranges of numbers of `width` digits, leading zeros included, that have
/// `digits` digits of this value in them.
fn having(value: usize, digits: u32, width: u32) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..=width - digits).flat_map(move |after| {
        let (high, low) = (10_usize.pow(width - digits - after), 10_usize.pow(after));
        (0..high).map(move |before| {
            let from = (before * 10_usize.pow(digits) + value) * low;
            from..from + low
        })
    })
}

// ---- a segment

impl Segment {
    fn of(pieces: Vec<SegmentPiece>) -> Arc<Segment> {
        let ends = |piece: &SegmentPiece| match &*piece.chunk {
            SetChunk::Dense { groups, .. } => {
                let [first, last] = [piece.from, piece.to - 1].map(|at| groups[at].0 * ENDINGS as u64);
                (first, last + ENDINGS as u64 - 1)
            }
            SetChunk::Sparse(numbers) => (numbers[piece.from], numbers[piece.to - 1]),
        };
        let (first, last) = (ends(&pieces[0]).0, ends(&pieces[pieces.len() - 1]).1);
        Arc::new(Segment { pieces, first, last, lists: OnceLock::new() })
    }

    /// The ranks in it of the numbers that match, ascending; `value` is that of
    /// the digits, which may be anywhere in the number.
    pub fn matches(&self, digits: &DigitPattern, value: u64, out: &mut Vec<u16>) {
        out.clear();
        let lists = self.lists.get_or_init(|| self.make());
        match digits.digits() {
            0..GRAM_DIGITS => lists.union(value as usize, digits.digits(), out),
            GRAM_DIGITS => lists.list(value as usize).iter().for_each(|&entry| out.extend(lists.numbers(entry))),
            _ => self.shortest(lists, digits, value, out),
        }
    }

    /// The numbers of the shortest list of the grams in more than four digits, if
    /// they have the rest as well.
    fn shortest(&self, lists: &Lists, digits: &DigitPattern, value: u64, out: &mut Vec<u16>) {
        let grams = (0..=digits.digits() - GRAM_DIGITS).map(|after| value / 10_u64.pow(after) % GRAMS as u64);
        let all = grams.map(|gram| lists.list(gram as usize));
        let mut own = Sieve::CLOSED;
        for &entry in all.min_by_key(|list| list.len()).unwrap_or_default() {
            if entry & GROUP != 0 {
                let at = lists.numbers(entry).start;
                match digits.in_group(group_of(self.number(at)), &mut own) {
                    Hit::All => out.extend(lists.numbers(entry)),
                    Hit::None => {}
                    Hit::Shared | Hit::Own => {
                        out.extend(lists.numbers(entry).filter(|&at| digits.is_in(self.number(at))));
                    }
                }
            } else if digits.is_in(self.number(entry)) {
                out.push(entry);
            }
        }
    }

    /// The number of a rank that `matches` gave.
    pub fn number(&self, rank: u16) -> u64 {
        let Some(lists) = self.lists.get() else { return self.first };
        let at = lists.pieces.partition_point(|&(_, before)| before <= rank) - 1;
        let (piece, (groups_before, before)) = (&self.pieces[at], lists.pieces[at]);
        match &*piece.chunk {
            SetChunk::Sparse(numbers) => numbers[piece.from + usize::from(rank - before)],
            SetChunk::Dense { groups, .. } => {
                let group = lists.ranks.partition_point(|&before| before <= rank) - 1;
                let (number, endings) = &groups[piece.from + group - usize::from(groups_before)];
                number * ENDINGS as u64 + u64::from(endings.nth(rank - lists.ranks[group]))
            }
        }
    }

    fn make(&self) -> Lists {
        let mut posted: Vec<(u16, u16)> = Vec::with_capacity(ENTRIES_MAX);
        let (mut ranks, mut pieces) = (Vec::new(), Vec::new());
        let mut rank = 0_u16;
        for piece in &self.pieces {
            pieces.push((ranks.len() as u16, rank));
            let dense = matches!(&*piece.chunk, SetChunk::Dense { .. });
            piece.for_each_group(|group, members| {
                let mut own: Vec<usize> = group_grams(group).collect();
                own.sort_unstable();
                own.dedup();
                let post_group = |entry: u16, posted: &mut Vec<(u16, u16)>| {
                    posted.extend(own.iter().map(|&gram| (gram as u16, entry)))
                };
                if dense {
                    post_group(GROUP | ranks.len() as u16, &mut posted);
                    ranks.push(rank);
                }
                let before = (group % 1_000) as usize * ENDINGS;
                members.for_each(|ending| {
                    if !dense {
                        post_group(rank, &mut posted);
                    }
                    let ending = usize::from(ending);
                    let end = before + ending;
                    let grams = [end / 1_000, end / 100, end / 10, end].map(|digits| digits % GRAMS);
                    for (at, gram) in grams.iter().enumerate() {
                        if !grams[..at].contains(gram) && own.binary_search(gram).is_err() {
                            posted.push((*gram as u16, rank));
                        }
                    }
                    posted.push(((GRAMS + ending % TAILS) as u16, rank));
                    rank += 1;
                });
            });
            // Where the last of its groups ends.
            ranks.push(rank);
        }
        let (begins, entries) = sorted(&posted, LISTS);
        Lists { begins, entries, ranks: ranks.into(), numbers: rank, pieces: pieces.into() }
    }

    /// Bytes that its lists take.
    pub fn bytes(&self) -> usize {
        let lists =
            |lists: &Lists| (lists.begins.len() + lists.entries.len() + lists.ranks.len()) * 2 + lists.pieces.len() * 4;
        self.lists.get().map_or(0, lists) + size_of::<Segment>() + self.pieces.len() * size_of::<SegmentPiece>()
    }
}

impl SegmentPiece {
    fn for_each_group(&self, mut take: impl FnMut(u64, GroupMembers<'_>)) {
        match &*self.chunk {
            SetChunk::Dense { groups, .. } => {
                let groups = groups[self.from..self.to].iter();
                groups.for_each(|(group, endings)| take(*group, GroupMembers(MembersOf::Endings(endings))));
            }
            SetChunk::Sparse(numbers) => {
                let groups = numbers[self.from..self.to].chunk_by(|a, b| group_of(*a) == group_of(*b));
                groups.for_each(|of| take(group_of(of[0]), GroupMembers(MembersOf::Numbers(of))));
            }
        }
    }
}

impl Lists {
    fn list(&self, list: usize) -> &[u16] {
        self.lists(list..list + 1)
    }

    fn lists(&self, lists: std::ops::Range<usize>) -> &[u16] {
        &self.entries[usize::from(self.begins[lists.start])..usize::from(self.begins[lists.end])]
    }

    /// The ranks of the numbers that an entry stands for.
    fn numbers(&self, entry: u16) -> std::ops::Range<u16> {
        if entry & GROUP == 0 {
            return entry..entry + 1;
        }
        let group = usize::from(entry & !GROUP);
        self.ranks[group]..self.ranks[group + 1]
    }

    /// The numbers that have fewer digits than a gram in them.
    fn union(&self, value: usize, digits: u32, out: &mut Vec<u16>) {
        let width = 10_usize.pow(GRAM_DIGITS - digits);
        let grams = std::iter::once(value * width..(value + 1) * width);
        let tails = having(value, digits, TAIL_DIGITS).map(|tails| GRAMS + tails.start..GRAMS + tails.end);
        let mut found = vec![0_u64; usize::from(self.numbers).div_ceil(64)];
        for &entry in grams.chain(tails).flat_map(|lists| self.lists(lists)) {
            self.numbers(entry).for_each(|rank| found[usize::from(rank >> 6)] |= 1 << (rank & 63));
        }
        for (at, &word) in found.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                out.push((at as u16) << 6 | rest.trailing_zeros() as u16);
                rest &= rest - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Set, SetEdit};
    use super::*;
    use crate::inventory::Pattern;

    /// What the segments of a set find, and what the numbers outside of them are.
    fn found(set: &Set, digits: &DigitPattern) -> (Vec<u64>, BTreeSet<u64>) {
        let (mut found, mut outside, mut ranks) = (Vec::new(), BTreeSet::new(), Vec::new());
        let value = digits.anywhere().expect("digits anywhere");
        for part in set.parts() {
            for segment in &part.segments {
                segment.matches(digits, value, &mut ranks);
                found.extend(ranks.iter().map(|&rank| segment.number(rank)));
            }
            if part.segments.is_empty() {
                for (group, members) in set.groups_of(part) {
                    outside.extend(members.mask().iter().map(|ending| group * ENDINGS as u64 + u64::from(ending)));
                }
            }
        }
        (found, outside)
    }

    fn check(set: &Set, numbers: &BTreeSet<u64>, searches: &[&str]) {
        for search in searches {
            let pattern = Pattern::parse(search).expect("digits");
            let (found, outside) = found(set, &DigitPattern::of(pattern).expect("digits"));
            let matches = |number: &&u64| number.to_string().contains(search) && !outside.contains(number);
            let expected: Vec<u64> = numbers.iter().filter(matches).copied().collect();
            assert_eq!(found, expected, "search: {search}");
        }
    }

    fn drawn(count: u64, from: u64, width: u64) -> BTreeSet<u64> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from + (state >> 20) % width
        };
        (0..count).map(|_| next()).collect()
    }

    fn segments_of(set: &Set) -> Vec<*const Segment> {
        set.parts().iter().flat_map(|part| part.segments.iter().map(Arc::as_ptr)).collect()
    }

    const SEARCHES: [&str; 14] = [
        "7",
        "0",
        "71",
        "00",
        "712",
        "000",
        "999",
        "7126",
        "0000",
        "9122",
        "22712",
        "912271",
        "2271264",
        "91227126421",
    ];

    #[test]
    fn numbers_in_every_density_are_found() {
        // A dozen a group, hundreds a group, and one each, of several lengths.
        for (count, from, width) in [
            (30_000, 912_200_000_000, 100_000_000),
            (120_000, 912_271_000_000, 3_000_000),
            (20_000, 10_000_000_000, 900_000_000_000),
            (9_000, 1_000_000, 9_000_000),
            (15_000, 100_000_000_000_000, 899_999_999_999_999),
        ] {
            let numbers = drawn(count, from, width);
            let set = Set::of(numbers.iter().copied());
            assert!(segments_of(&set).len() as u64 > count / 40_000, "{count} from {from}");
            check(&set, &numbers, &SEARCHES);
        }
    }

    /// A dense chunk, sparse ones and blocks beside one another.
    #[test]
    fn numbers_of_mixed_density_are_found() {
        let mut numbers = drawn(30_000, 912_200_000_000, 60_000_000);
        numbers.extend(drawn(15_000, 912_271_000_000, 3_000_000));
        numbers.extend(drawn(15_000, 10_000_000_000, 900_000_000_000));
        numbers.extend(912_245_000_000..912_245_012_000);
        let set = Set::of(numbers.iter().copied());
        assert!(segments_of(&set).len() > 3);
        check(&set, &numbers, &SEARCHES);
    }

    #[test]
    fn an_edit_keeps_the_segments_that_it_does_not_touch() {
        let mut numbers = drawn(200_000, 912_200_000_000, 800_000_000);
        let mut set = Set::of(numbers.iter().copied());
        let before = segments_of(&set);
        for round in 0..40 {
            let (gone, come) = (*numbers.iter().nth(round * 4_000).expect("there"), 912_900_000_000 + round as u64 * 3);
            numbers.remove(&gone);
            numbers.insert(come);
            set = set.edited(&[SetEdit::of(gone, false), SetEdit::of(come, true)]);
            if round % 8 == 0 {
                let last = segments_of(&set);
                set = set.edited(&[SetEdit::of(912_200_000_000, true)]);
                numbers.insert(912_200_000_000);
                let now = segments_of(&set);
                let kept = now.iter().filter(|one| last.contains(one)).count();
                assert!(kept + 3 >= last.len(), "{kept} of {} kept", last.len());
                check(&set, &numbers, &["7126", "12", "22712"]);
            }
        }
        assert!(segments_of(&set).len() <= before.len() + 10);
    }

    #[test]
    fn blocks_and_small_sets_have_no_lists() {
        let blocks =
            Set::of((0..200_u64).flat_map(|block| (0..100).map(move |at| 912_271_000_000 + block * 10_000 + at)));
        assert!(blocks.parts().iter().all(|part| part.segments.is_empty()));
        let whole = Set::of(912_271_000_000..912_271_900_000);
        assert!(whole.parts().iter().all(|part| part.segments.is_empty()));
        assert_eq!(whole.search_bytes(), 0, "nothing was searched");
    }

    #[test]
    fn lists_take_little_room() {
        for (count, from, width) in
            [(300_000, 912_200_000_000, 800_000_000), (100_000, 10_000_000_000, 900_000_000_000)]
        {
            let numbers = drawn(count, from, width);
            let set = Set::of(numbers.iter().copied());
            check(&set, &numbers, &["7126"]);
            let bytes = set.search_bytes() as f64 / numbers.len() as f64;
            assert!(bytes < 25.0, "{bytes} bytes a number");
        }
    }

    proptest! {
        #[test]
        fn lists_find_what_reading_the_text_finds(
            scattered in prop::collection::btree_set(1_000_000_u64..999_999_999_999_999, 0..200),
            near in prop::collection::btree_set(1_000_000_000_u64..1_000_400_000, 0..800),
            search in "[0-9]{1,7}",
        ) {
            let numbers: BTreeSet<u64> = scattered.into_iter().chain(near).collect();
            check(&Set::of(numbers.iter().copied()), &numbers, &[&search]);
        }
    }
}
