//! A set of numbers, counted, ranked and searched by its decimal digits.
//!
//! A number is split as people read it: the last four digits (its *ending*)
//! and what comes before (its *group*, `number / 10_000`). Telephone numbers
//! are handed out in blocks, so groups are full or nearly so, and a set is a
//! sorted list of groups, each with a small container of endings, whichever of
//! four forms takes the least room:
//!
//! ```text
//! +91 22 7126 4217        group 91227126, ending 4217
//!
//! 91227126 → Runs   [(0000, 10000)]          a whole block: 4 bytes
//! 91227127 → Few    [0017, 1265]             up to seven: no allocation
//! 91227130 → Array  [0003, 0008, … ]         2 bytes each
//! 91227131 → Bits   10,000 bits              1,256 bytes
//! ```
//!
//! Groups stand in chunks with their counts, so the n-th number is found by
//! skipping chunks, then groups, then endings. Numbers that are scattered, so
//! that a group has one or two, would pay 32 bytes each for that; a chunk of
//! those is a plain sorted array.
//!
//! **A search is arithmetic on the split.** Digits that are looked for lie in
//! the group, or in the ending, or straddle the two. Looking for `7126` in the
//! groups above:
//!
//! ```text
//! group      its digits                       endings that match     counted
//! 91227126   have 7126 in them                all                    10,000, as stored
//! 91227127   end in 7, so 126x completes it   1260..1270, 7126       1: 1265
//! 91227130   no part of it at the end         7126                   0: not in the array
//! 91227131   no part of it at the end         7126                   1: the bit is set
//!                                                                    total 10,002
//! ```
//!
//! (In a group that ends in `71` it would be 2600..2700, in one that ends in
//! `712` 6000..7000.) The endings that match whatever the group are made once
//! for the whole search; each group is then tested once, by its digits, and its
//! container is counted between a few endings. It works on every set, so on every
//! account and application too. Where numbers are scattered there are many groups
//! for few numbers; those have an inverted index ([`grams`]). Where most groups are
//! full, digits are counted by the last digits of groups ([`solid`]).
//!
//! Everything is copy-on-write: an edited set shares all chunks it did not
//! touch with the one before. Invariants: chunks, groups and endings ascend
//! strictly; no container and no chunk is empty; counts are exact.
//! Deliberately absent: what a number is, other than its digits.

mod grams;
mod posting;
mod solid;

use std::sync::{Arc, OnceLock};

use super::sieve::{ENDINGS, Mask, Sieve, WORDS};

pub use grams::{MADE_AT_ONCE, Segment, SetPart};
pub use solid::{SolidPart, SolidSearch};

/// How many groups a chunk has at the most.
const CHUNK_GROUPS: usize = 256;
/// How many numbers a sparse chunk has at the most.
const CHUNK_NUMBERS: usize = 1_024;
/// Below this many numbers a group, an array of whole numbers is smaller and
/// faster than groups.
const DENSE_FROM: usize = 6;

/// The calling code that the numbers of a group begin with. The plan of calling
/// codes has two codes of one digit and these of two; the others have three.
pub fn calling_code(group: u64) -> u16 {
    let digits = group.to_string();
    let first = |count: usize| digits.get(..count).and_then(|code| code.parse().ok()).unwrap_or(0);
    match (first(1), first(2)) {
        (one @ (1 | 7), _) => one,
        (
            _,
            two @ (20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98),
        ) => two,
        _ => first(3),
    }
}

pub fn group_of(number: u64) -> u64 {
    number / ENDINGS as u64
}

fn ending_of(number: u64) -> u16 {
    (number % ENDINGS as u64) as u16
}

/// How many of some endings, ascending, are below `from`. Scattered ones stand
/// about where their share of all says, which is one look at memory instead of
/// one for each halving; if they do not, halving it is.
fn first_from(endings: &[u16], from: u16) -> usize {
    const NEAR: usize = 16;
    let about = usize::from(from) * endings.len() / ENDINGS;
    let (low, high) = (about.saturating_sub(NEAR), (about + NEAR).min(endings.len()));
    let near = (low == 0 || endings[low - 1] < from) && (high == endings.len() || endings[high] >= from);
    let (low, within) = if near { (low, &endings[low..high]) } else { (0, endings) };
    low + within.partition_point(|&ending| ending < from)
}

/// The endings of one group. Invariant: at least one.
#[derive(Clone)]
enum Endings {
    Few {
        count: u8,
        endings: [u16; 7],
    },
    Array(Arc<[u16]>),
    /// Starts and lengths.
    Runs {
        count: u16,
        runs: Arc<[(u16, u16)]>,
    },
    Bits {
        count: u16,
        bits: Arc<Mask>,
    },
}

impl Endings {
    /// The smallest form of some runs of endings, starts and lengths, that ascend
    /// and do not touch; at least one.
    fn of(runs: &[(u16, u16)]) -> Endings {
        let each = || runs.iter().flat_map(|&(start, length)| start..start + length);
        let count: usize = runs.iter().map(|run| usize::from(run.1)).sum();
        if count <= 7 {
            let mut few = [0; 7];
            few.iter_mut().zip(each()).for_each(|(place, ending)| *place = ending);
            return Endings::Few { count: count as u8, endings: few };
        }
        let (as_runs, array, bits) = (runs.len() * 4, count * 2, WORDS * 8);
        if as_runs <= array.min(bits) {
            Endings::Runs { count: count as u16, runs: runs.into() }
        } else if array <= bits {
            Endings::Array(each().collect())
        } else {
            let mut mask = Mask::EMPTY;
            runs.iter().for_each(|&(start, length)| mask.insert_range(start, start + length));
            Endings::Bits { count: count as u16, bits: Arc::new(mask) }
        }
    }

    fn count(&self) -> usize {
        match self {
            Endings::Few { count, .. } => usize::from(*count),
            Endings::Array(endings) => endings.len(),
            Endings::Runs { count, .. } | Endings::Bits { count, .. } => usize::from(*count),
        }
    }

    /// Whether these are all endings.
    fn is_full(&self) -> bool {
        self.count() == ENDINGS
    }

    fn contains(&self, ending: u16) -> bool {
        match self {
            Endings::Few { count, endings } => endings[..usize::from(*count)].contains(&ending),
            Endings::Array(endings) => endings.binary_search(&ending).is_ok(),
            Endings::Runs { runs, .. } => {
                let at = runs.partition_point(|&(start, _)| start <= ending);
                at > 0 && ending - runs[at - 1].0 < runs[at - 1].1
            }
            Endings::Bits { bits, .. } => bits.contains(ending),
        }
    }

    fn for_each(&self, mut take: impl FnMut(u16)) {
        match self {
            Endings::Few { count, endings } => endings[..usize::from(*count)].iter().copied().for_each(take),
            Endings::Array(endings) => endings.iter().copied().for_each(take),
            Endings::Runs { runs, .. } => {
                runs.iter().for_each(|&(start, length)| (start..start + length).for_each(&mut take));
            }
            Endings::Bits { bits, .. } => bits.iter().for_each(take),
        }
    }

    fn mask(&self) -> Mask {
        match self {
            Endings::Bits { bits, .. } => Mask::clone(bits),
            Endings::Runs { runs, .. } => {
                let mut mask = Mask::EMPTY;
                runs.iter().for_each(|&(start, length)| mask.insert_range(start, start + length));
                mask
            }
            Endings::Few { .. } | Endings::Array(_) => {
                let mut mask = Mask::EMPTY;
                self.for_each(|ending| mask.insert(ending));
                mask
            }
        }
    }

    /// How many a search lets through.
    fn count_in(&self, sieve: &Sieve) -> usize {
        if let Some(ranges) = sieve.ranges() {
            return ranges.iter().map(|&(from, to)| self.count_between(from, to)).sum();
        }
        let mask = &sieve.mask;
        match self {
            Endings::Bits { bits, .. } => bits.count_and(mask),
            Endings::Runs { count, .. } if usize::from(*count) == ENDINGS => mask.count(),
            Endings::Runs { .. } => self.mask().count_and(mask),
            Endings::Few { .. } | Endings::Array(_) => {
                let mut count = 0;
                self.for_each(|ending| count += usize::from(mask.contains(ending)));
                count
            }
        }
    }
}

impl Endings {
    /// The ending with this rank, from 0. There are more than that.
    fn nth(&self, rank: u16) -> u16 {
        match self {
            Endings::Few { endings, .. } => endings[usize::from(rank)],
            Endings::Array(endings) => endings[usize::from(rank)],
            Endings::Runs { runs, .. } => {
                let mut rank = rank;
                let within = |&&(_, length): &&(u16, u16)| {
                    let here = rank < length;
                    rank -= if here { 0 } else { length };
                    here
                };
                let run = runs.iter().find(within).map_or(0, |run| run.0);
                run + rank
            }
            Endings::Bits { bits, .. } => bits.iter().nth(usize::from(rank)).unwrap_or_default(),
        }
    }

    /// How many are in `from..to`.
    fn count_between(&self, from: u16, to: u16) -> usize {
        match self {
            // Nothing else need be read of it.
            Endings::Runs { count, .. } if usize::from(*count) == ENDINGS => usize::from(to - from),
            Endings::Few { count, endings } => {
                endings[..usize::from(*count)].iter().filter(|&&ending| from <= ending && ending < to).count()
            }
            Endings::Array(endings) => {
                let first = first_from(endings, from);
                endings[first..].iter().take_while(|&&ending| ending < to).count()
            }
            Endings::Runs { runs, .. } => {
                let first = runs.partition_point(|&(start, length)| start + length <= from);
                let within = runs[first..].iter().take_while(|&&(start, _)| start < to);
                within.map(|&(start, length)| usize::from((start + length).min(to) - start.max(from))).sum()
            }
            Endings::Bits { bits, .. } => bits.count_between(from, to),
        }
    }
}

#[derive(Clone)]
enum SetChunk {
    Dense { count: usize, groups: Vec<(u64, Endings)> },
    Sparse(Vec<u64>),
}

impl SetChunk {
    fn count(&self) -> usize {
        match self {
            SetChunk::Dense { count, .. } => *count,
            SetChunk::Sparse(numbers) => numbers.len(),
        }
    }

    /// The first group that the chunk has a number of.
    fn first_group(&self) -> u64 {
        match self {
            SetChunk::Dense { groups, .. } => groups[0].0,
            SetChunk::Sparse(numbers) => group_of(numbers[0]),
        }
    }

    fn last_group(&self) -> u64 {
        match self {
            SetChunk::Dense { groups, .. } => groups[groups.len() - 1].0,
            SetChunk::Sparse(numbers) => group_of(numbers[numbers.len() - 1]),
        }
    }
}

/// The groups of a chunk.
fn groups_of(chunk: &SetChunk) -> Vec<u64> {
    match chunk {
        SetChunk::Dense { groups, .. } => groups.iter().map(|(group, _)| *group).collect(),
        SetChunk::Sparse(numbers) => {
            let mut groups: Vec<u64> = numbers.iter().map(|&number| group_of(number)).collect();
            groups.dedup();
            groups
        }
    }
}

impl Set {
    /// The groups of chunks that are not shared with an earlier set: all that
    /// are new, and some that are not.
    pub fn groups_beyond<'a>(&'a self, before: Option<&'a Set>) -> impl Iterator<Item = u64> + 'a {
        let mut old = before.map(|before| before.chunks.iter()).into_iter().flatten().peekable();
        self.chunks
            .iter()
            .filter(move |chunk| {
                while old.next_if(|old| old.last_group() < chunk.first_group()).is_some() {}
                old.next_if(|old| Arc::ptr_eq(old, chunk)).is_none()
            })
            .flat_map(|chunk| groups_of(chunk))
    }
}

/// The numbers of one group, as a walk over sets meets them.
#[derive(Clone, Copy)]
pub struct GroupMembers<'a>(MembersOf<'a>);

#[derive(Clone, Copy)]
enum MembersOf<'a> {
    Endings(&'a Endings),
    Numbers(&'a [u64]),
}

impl GroupMembers<'_> {
    pub fn count(self) -> usize {
        match self.0 {
            MembersOf::Endings(endings) => endings.count(),
            MembersOf::Numbers(numbers) => numbers.len(),
        }
    }

    pub fn contains(self, ending: u16) -> bool {
        match self.0 {
            MembersOf::Endings(endings) => endings.contains(ending),
            MembersOf::Numbers(numbers) => numbers.iter().any(|&number| ending_of(number) == ending),
        }
    }

    pub fn for_each(self, mut take: impl FnMut(u16)) {
        match self.0 {
            MembersOf::Endings(endings) => endings.for_each(take),
            MembersOf::Numbers(numbers) => numbers.iter().for_each(|&number| take(ending_of(number))),
        }
    }

    pub fn mask(self) -> Mask {
        match self.0 {
            MembersOf::Endings(endings) => endings.mask(),
            MembersOf::Numbers(_) => {
                let mut mask = Mask::EMPTY;
                self.for_each(|ending| mask.insert(ending));
                mask
            }
        }
    }

    /// Hands over those that a search lets through, ascending.
    pub fn for_each_in(self, sieve: &Sieve, mut take: impl FnMut(u16)) {
        match (self.0, sieve.ranges()) {
            (MembersOf::Endings(endings), Some(ranges)) if endings.is_full() => {
                ranges.iter().for_each(|&(from, to)| (from..to).for_each(&mut take));
            }
            (MembersOf::Endings(Endings::Runs { .. } | Endings::Bits { .. }), _) => {
                let mut mask = self.mask();
                mask.keep(&sieve.mask);
                mask.iter().for_each(take);
            }
            (MembersOf::Endings(_) | MembersOf::Numbers(_), _) => self.for_each(|ending| {
                if sieve.contains(ending) {
                    take(ending);
                }
            }),
        }
    }

    pub fn count_in(self, sieve: &Sieve) -> usize {
        match self.0 {
            MembersOf::Endings(endings) => endings.count_in(sieve),
            MembersOf::Numbers(numbers) => numbers.iter().filter(|&&number| sieve.contains(ending_of(number))).count(),
        }
    }
}

/// A set of numbers.
#[derive(Clone, Default)]
pub struct Set {
    chunks: Vec<Arc<SetChunk>>,
    len: usize,
    searched: Arc<Searched>,
}

/// How a set is searched, made at the first search.
#[derive(Default)]
struct Searched {
    parts: OnceLock<Arc<[SetPart]>>,
    /// The parts of the last set before this one that had any.
    older: Option<Arc<[SetPart]>>,
}

impl Searched {
    /// Of the set after this one.
    fn next(&self) -> Arc<Searched> {
        let older = self.parts.get().or(self.older.as_ref()).cloned();
        Arc::new(Searched { parts: OnceLock::new(), older })
    }
}

impl Set {
    /// The set of some numbers, ascending strictly.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Set {
        let mut building = Building::default();
        numbers.into_iter().for_each(|number| building.push(number));
        building.finish()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, number: u64) -> bool {
        let group = group_of(number);
        let at = self.chunks.partition_point(|chunk| chunk.first_group() <= group);
        let Some(chunk) = at.checked_sub(1).map(|at| &*self.chunks[at]) else { return false };
        match chunk {
            SetChunk::Sparse(numbers) => numbers.binary_search(&number).is_ok(),
            SetChunk::Dense { groups, .. } => {
                let found = groups.binary_search_by_key(&group, |(group, _)| *group);
                found.is_ok_and(|at| groups[at].1.contains(ending_of(number)))
            }
        }
    }

    /// How many of its numbers are at most `number`.
    pub fn rank(&self, number: u64) -> usize {
        let group = group_of(number);
        let mut rank = 0;
        for chunk in &self.chunks {
            if chunk.last_group() < group {
                rank += chunk.count();
                continue;
            }
            match &**chunk {
                SetChunk::Sparse(numbers) => rank += numbers.partition_point(|&have| have <= number),
                SetChunk::Dense { groups, .. } => {
                    for (have, endings) in groups {
                        if *have < group {
                            rank += endings.count();
                        } else if *have == group {
                            rank += endings.count_between(0, ending_of(number) + 1);
                        }
                    }
                }
            }
            break;
        }
        rank
    }

    /// The numbers from the one with this rank on, at most `count` of them.
    pub fn slice(&self, mut rank: usize, count: usize) -> Vec<u64> {
        let mut out = Vec::with_capacity(count.min(self.len.saturating_sub(rank)));
        for chunk in &self.chunks {
            if out.len() >= count {
                break;
            }
            if rank >= chunk.count() {
                rank -= chunk.count();
                continue;
            }
            match &**chunk {
                SetChunk::Sparse(numbers) => {
                    out.extend(numbers[rank..].iter().take(count - out.len()));
                    rank = 0;
                }
                SetChunk::Dense { groups, .. } => {
                    for (group, endings) in groups {
                        if out.len() >= count {
                            break;
                        }
                        if rank >= endings.count() {
                            rank -= endings.count();
                            continue;
                        }
                        let base = group * ENDINGS as u64;
                        match endings {
                            Endings::Runs { runs, .. } => {
                                for &(start, length) in runs.iter() {
                                    let skipped = rank.min(usize::from(length));
                                    rank -= skipped;
                                    let from = start + skipped as u16;
                                    let left = (count - out.len()).min(usize::from(length) - skipped);
                                    out.extend((from..from + left as u16).map(|ending| base + u64::from(ending)));
                                }
                            }
                            _ => endings.for_each(|ending| {
                                if rank > 0 {
                                    rank -= 1;
                                } else if out.len() < count {
                                    out.push(base + u64::from(ending));
                                }
                            }),
                        }
                    }
                }
            }
        }
        out
    }

    /// The set with some numbers added or taken out: edits ascend and do not
    /// overlap. What they do not touch is shared.
    pub fn edited(&self, edits: &[SetEdit]) -> Set {
        if edits.is_empty() {
            return self.clone();
        }
        let edits: Vec<GroupEdit> = edits.iter().flat_map(GroupEdit::of).collect();
        let mut builder = SetBuilder::default();
        let mut edits = &edits[..];
        let mut at = 0;
        while at < self.chunks.len() || !edits.is_empty() {
            // A chunk takes the edits up to where the next one begins.
            let next = self.chunks.get(at + 1).map_or(u64::MAX, |next| next.first_group());
            let (now, later) = edits.split_at(edits.partition_point(|edit| edit.group < next));
            edits = later;
            match self.chunks.get(at) {
                Some(chunk) if now.is_empty() => builder.share(chunk),
                Some(chunk) => edit_chunk(chunk, now, &mut builder),
                None => edit_chunk(&Arc::new(SetChunk::Sparse(Vec::new())), now, &mut builder),
            }
            at += 1;
        }
        Set { searched: self.searched.next(), ..builder.finish() }
    }

    /// A walk over the groups.
    pub fn groups(&self) -> SetGroups<'_> {
        SetGroups { chunks: &self.chunks, chunk: 0, at: 0 }
    }

    /// The parts that a search goes through.
    pub fn parts(&self) -> &[SetPart] {
        self.searched
            .parts
            .get_or_init(|| grams::parts(&self.chunks, self.searched.older.as_deref().unwrap_or_default()))
    }

    /// A walk over the groups of one part.
    pub fn groups_of(&self, part: &SetPart) -> SetGroups<'_> {
        SetGroups { chunks: &self.chunks[part.from..part.to], chunk: 0, at: 0 }
    }

    /// Bytes it takes, with all it shares.
    pub fn bytes(&self) -> usize {
        let chunk = |chunk: &Arc<SetChunk>| match &**chunk {
            SetChunk::Sparse(numbers) => numbers.capacity() * 8,
            SetChunk::Dense { groups, .. } => {
                let own = |(_, endings): &(u64, Endings)| match endings {
                    Endings::Few { .. } => 0,
                    Endings::Array(endings) => endings.len() * 2 + 16,
                    Endings::Runs { runs, .. } => runs.len() * 4 + 16,
                    Endings::Bits { .. } => size_of::<Mask>() + 16,
                };
                groups.capacity() * size_of::<(u64, Endings)>() + groups.iter().map(own).sum::<usize>()
            }
        };
        self.chunks.iter().map(|one| chunk(one) + size_of::<SetChunk>() + 24).sum::<usize>() + self.search_bytes()
    }

    /// Bytes of what searches have made.
    pub fn search_bytes(&self) -> usize {
        let parts = self.searched.parts.get().into_iter().flat_map(|parts| parts.iter());
        parts.map(SetPart::bytes).sum()
    }
}

/// The groups of a set, in order.
pub struct SetGroups<'a> {
    chunks: &'a [Arc<SetChunk>],
    chunk: usize,
    /// In the chunk: which group, or which number.
    at: usize,
}

impl<'a> Iterator for SetGroups<'a> {
    type Item = (u64, GroupMembers<'a>);

    fn next(&mut self) -> Option<(u64, GroupMembers<'a>)> {
        loop {
            match &**self.chunks.get(self.chunk)? {
                SetChunk::Dense { groups, .. } => {
                    if let Some((group, endings)) = groups.get(self.at) {
                        self.at += 1;
                        return Some((*group, GroupMembers(MembersOf::Endings(endings))));
                    }
                }
                SetChunk::Sparse(numbers) => {
                    if let Some(&number) = numbers.get(self.at) {
                        let group = group_of(number);
                        let rest = &numbers[self.at..];
                        let count = rest.iter().take_while(|&&number| group_of(number) == group).count();
                        self.at += count;
                        return Some((group, GroupMembers(MembersOf::Numbers(&rest[..count]))));
                    }
                }
            }
            self.chunk += 1;
            self.at = 0;
        }
    }
}

impl<'a> SetGroups<'a> {
    /// Lets the group that was met last be met again.
    pub fn back(&mut self) {
        match self.chunks.get(self.chunk).map(|chunk| &**chunk) {
            Some(SetChunk::Dense { .. }) => self.at -= 1,
            Some(SetChunk::Sparse(numbers)) => {
                let group = group_of(numbers[self.at - 1]);
                self.at -= numbers[..self.at].iter().rev().take_while(|&&number| group_of(number) == group).count();
            }
            None => {}
        }
    }

    /// Whether the set has a number; those that are asked for ascend.
    pub fn has(&mut self, number: u64) -> bool {
        let group = group_of(number);
        let Some((found, members)) = self.seek(group) else { return false };
        self.back();
        found == group && members.contains(ending_of(number))
    }

    /// The first group from `group` on; never goes back.
    pub fn seek(&mut self, group: u64) -> Option<(u64, GroupMembers<'a>)> {
        while self.chunks.get(self.chunk)?.last_group() < group {
            self.chunk += 1;
            self.at = 0;
        }
        match &**self.chunks.get(self.chunk)? {
            SetChunk::Dense { groups, .. } => {
                self.at += groups[self.at..].partition_point(|(have, _)| *have < group);
            }
            SetChunk::Sparse(numbers) => {
                self.at += numbers[self.at..].partition_point(|&number| group_of(number) < group);
            }
        }
        self.next()
    }
}

/// Adds the numbers from `first` to `last`, or takes out those that are there.
#[derive(Clone, Copy, Debug)]
pub struct SetEdit {
    pub first: u64,
    pub last: u64,
    pub present: bool,
}

impl SetEdit {
    pub fn of(number: u64, present: bool) -> SetEdit {
        SetEdit { first: number, last: number, present }
    }
}

/// The part of an edit that is in one group: the endings `from..to`.
struct GroupEdit {
    group: u64,
    from: u16,
    to: u16,
    present: bool,
}

impl GroupEdit {
    fn of(edit: &SetEdit) -> impl Iterator<Item = GroupEdit> + use<> {
        let present = edit.present;
        by_group(edit.first, edit.last).map(move |(group, from, to)| GroupEdit { group, from, to, present })
    }
}

/// The groups from one number to another, and which of their endings, `from..to`.
fn by_group(first: u64, last: u64) -> impl Iterator<Item = (u64, u16, u16)> {
    (group_of(first)..=group_of(last)).map(move |group| {
        let base = group * ENDINGS as u64;
        let (from, to) = (first.max(base), last.min(base + ENDINGS as u64 - 1));
        (group, (from - base) as u16, (to - base) as u16 + 1)
    })
}

/// Puts edits into a chunk.
fn edit_chunk(chunk: &Arc<SetChunk>, edits: &[GroupEdit], builder: &mut SetBuilder) {
    let mut groups = SetGroups { chunks: std::slice::from_ref(chunk), chunk: 0, at: 0 };
    let mut pending = groups.next();
    for edits in edits.chunk_by(|a, b| a.group == b.group) {
        let group = edits[0].group;
        while let Some((have, members)) = pending.filter(|(have, _)| *have < group) {
            builder.keep(have, members);
            pending = groups.next();
        }
        let members = pending.filter(|(have, _)| *have == group).map(|(_, members)| members);
        edit_group(group, members, edits, builder);
        if members.is_some() {
            pending = groups.next();
        }
    }
    while let Some((have, members)) = pending {
        builder.keep(have, members);
        pending = groups.next();
    }
}

fn edit_group(group: u64, members: Option<GroupMembers<'_>>, edits: &[GroupEdit], builder: &mut SetBuilder) {
    if let [GroupEdit { from: 0, to, present, .. }] = edits
        && usize::from(*to) == ENDINGS
    {
        if *present {
            builder.push(group, &[(0, *to)]);
        }
        return;
    }
    let mut mask = members.map_or(Mask::EMPTY, GroupMembers::mask);
    for &GroupEdit { from, to, present, .. } in edits {
        match present {
            true => mask.insert_range(from, to),
            false => mask.remove_range(from, to),
        }
    }
    let runs: Vec<(u16, u16)> = mask.runs().collect();
    if !runs.is_empty() {
        builder.push(group, &runs);
    }
}

/// A set in the making, of numbers that ascend strictly.
#[derive(Default)]
pub struct Building {
    builder: SetBuilder,
    group: u64,
    /// The endings of that group, as starts and lengths.
    runs: Vec<(u16, u16)>,
}

impl Building {
    pub fn push(&mut self, number: u64) {
        self.push_run(number, number);
    }

    /// Adds the numbers from `first` to `last`.
    pub fn push_run(&mut self, first: u64, last: u64) {
        for (group, from, to) in by_group(first, last) {
            if group != self.group {
                self.close();
                self.group = group;
            }
            match self.runs.last_mut() {
                Some((start, length)) if *start + *length == from => *length += to - from,
                _ => self.runs.push((from, to - from)),
            }
        }
    }

    fn close(&mut self) {
        if !self.runs.is_empty() {
            self.builder.push(self.group, &self.runs);
            self.runs.clear();
        }
    }

    pub fn finish(mut self) -> Set {
        self.close();
        self.builder.finish()
    }
}

/// Makes chunks out of groups that come in order.
#[derive(Default)]
struct SetBuilder {
    chunks: Vec<Arc<SetChunk>>,
    len: usize,
    groups: Vec<(u64, Endings)>,
    /// How many numbers `groups` have.
    pending: usize,
}

impl SetBuilder {
    /// Adds a group of some runs of endings, starts and lengths.
    fn push(&mut self, group: u64, runs: &[(u16, u16)]) {
        self.place(group, Endings::of(runs));
    }

    fn keep(&mut self, group: u64, members: GroupMembers<'_>) {
        match members.0 {
            MembersOf::Endings(endings) => self.place(group, endings.clone()),
            MembersOf::Numbers(numbers) => {
                let breaks = |a: &u64, b: &u64| a + 1 == *b;
                let runs = numbers.chunk_by(breaks).map(|run| (ending_of(run[0]), run.len() as u16));
                self.push(group, &runs.collect::<Vec<_>>());
            }
        }
    }

    fn place(&mut self, group: u64, endings: Endings) {
        self.pending += endings.count();
        self.groups.push((group, endings));
        if self.groups.len() == 2 * CHUNK_GROUPS {
            self.flush();
        }
    }

    fn share(&mut self, chunk: &Arc<SetChunk>) {
        self.flush();
        self.len += chunk.count();
        self.chunks.push(chunk.clone());
    }

    /// Turns the groups at hand into chunks of the smaller form and of about
    /// the same size: a full chunk and a tiny one would leave tiny ones all
    /// over after many edits.
    fn flush(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let groups = std::mem::take(&mut self.groups);
        let count = std::mem::take(&mut self.pending);
        self.len += count;
        if count >= groups.len() * DENSE_FROM {
            let chunks = groups.len().div_ceil(CHUNK_GROUPS);
            for groups in groups.chunks(groups.len().div_ceil(chunks)) {
                let count = groups.iter().map(|(_, endings)| endings.count()).sum();
                self.chunks.push(Arc::new(SetChunk::Dense { count, groups: groups.to_vec() }));
            }
            return;
        }
        let mut numbers = Vec::with_capacity(count);
        for (group, endings) in &groups {
            endings.for_each(|ending| numbers.push(group * ENDINGS as u64 + u64::from(ending)));
        }
        // No group may stand in two chunks, so cut between groups.
        let chunk_numbers = count.div_ceil(count.div_ceil(CHUNK_NUMBERS));
        let mut rest = &numbers[..];
        while !rest.is_empty() {
            let mut end = chunk_numbers.min(rest.len());
            while end < rest.len() && group_of(rest[end]) == group_of(rest[end - 1]) {
                end += 1;
            }
            let (now, later) = rest.split_at(end);
            self.chunks.push(Arc::new(SetChunk::Sparse(now.to_vec())));
            rest = later;
        }
    }

    fn finish(mut self) -> Set {
        self.flush();
        self.chunks.shrink_to_fit();
        Set { chunks: self.chunks, len: self.len, searched: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::E164;
    use crate::inventory::Pattern;
    use crate::inventory::pattern::{DigitPattern, Hit};
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Numbers as inventories have them: blocks, scattered ones, all lengths.
    fn numbers() -> impl Strategy<Value = BTreeSet<u64>> {
        let block = (100_000_u64..100_050, 0_u64..10_000, 1_u64..12_000).prop_map(|(group, from, count)| {
            (group * 10_000 + from..group * 10_000 + from + count).collect::<Vec<_>>()
        });
        let scattered = btree_set(1_000_000_u64..999_999_999_999_999, 0..50).prop_map(|set| set.into_iter().collect());
        let near = btree_set(1_000_000_000_u64..1_000_400_000, 0..800).prop_map(|set| set.into_iter().collect());
        let short = btree_set(1_000_000_u64..1_030_000, 0..50).prop_map(|set| set.into_iter().collect());
        vec(prop_oneof![block, scattered, near, short], 0..6).prop_map(|all| all.into_iter().flatten().collect())
    }

    /// How many numbers match, by a look at each group.
    fn count_matches(set: &Set, digits: &DigitPattern) -> usize {
        let mut own = Sieve::CLOSED;
        let mut count = |(group, members): (u64, GroupMembers<'_>)| match digits.in_group(group, &mut own) {
            Hit::None => 0,
            Hit::All => members.count(),
            Hit::Shared => members.count_in(digits.endings()),
            Hit::Own => members.count_in(&own),
        };
        set.groups().map(&mut count).sum()
    }

    fn check(set: &Set, model: &BTreeSet<u64>) {
        assert_eq!(set.len(), model.len());
        let all: Vec<u64> = model.iter().copied().collect();
        assert_eq!(set.slice(0, usize::MAX), all);
        let mut walked = Vec::new();
        for (group, members) in set.groups() {
            members.for_each(|ending| walked.push(group * 10_000 + u64::from(ending)));
            assert_eq!(members.mask().count(), members.count());
        }
        assert_eq!(walked, all);
        for pair in set.chunks.windows(2) {
            assert!(pair[0].last_group() < pair[1].first_group());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_set_is_its_numbers(model in numbers(), probes in vec(0_usize..40_000, 8)) {
            let set = Set::of(model.iter().copied());
            check(&set, &model);
            let all: Vec<u64> = model.iter().copied().collect();
            let mut building = Building::default();
            for run in all.chunk_by(|a, b| a + 1 == *b) {
                building.push_run(run[0], run[run.len() - 1]);
            }
            check(&building.finish(), &model);
            for probe in probes {
                let expected: Vec<u64> = all.iter().skip(probe).take(7).copied().collect();
                prop_assert_eq!(set.slice(probe, 7), expected);
                if let Some(&number) = all.get(probe) {
                    prop_assert!(set.contains(number));
                    prop_assert_eq!(set.rank(number), probe + 1);
                    prop_assert_eq!(set.contains(number + 1), model.contains(&(number + 1)));
                    prop_assert_eq!(set.rank(number + 1), model.range(..=number + 1).count());
                }
            }
        }

        #[test]
        fn editing_is_what_it_is_in_a_model(model in numbers(), added in numbers(), keep in 0_u64..5) {
            let set = Set::of(model.iter().copied());
            let mut edits: std::collections::BTreeMap<u64, bool> = added.iter().map(|&number| (number, true)).collect();
            for &number in model.iter().filter(|&&number| number % 5 < keep) {
                edits.entry(number).or_insert(false);
            }
            let edits: Vec<(u64, bool)> = edits.into_iter().collect();
            let mut after = model.clone();
            for &(number, present) in &edits {
                if present { after.insert(number); } else { after.remove(&number); }
            }
            let one = |edits: &[(u64, bool)]| {
                let (first, last) = (edits[0].0, edits[edits.len() - 1].0);
                SetEdit { first, last, present: edits[0].1 }
            };
            let single: Vec<SetEdit> = edits.iter().map(|edit| one(std::slice::from_ref(edit))).collect();
            check(&set.edited(&single), &after);
            check(&set, &model);
            // Neighbours in one edit come to the same.
            let alike = |a: &(u64, bool), b: &(u64, bool)| a.0 + 1 == b.0 && a.1 == b.1;
            let runs: Vec<SetEdit> = edits.chunk_by(alike).map(one).collect();
            check(&set.edited(&runs), &after);
            // One at a time comes to the same.
            let mut step = set.clone();
            for edit in single.iter().take(50) {
                step = step.edited(std::slice::from_ref(edit));
            }
            let mut model = model;
            for &(number, present) in edits.iter().take(50) {
                if present { model.insert(number); } else { model.remove(&number); }
            }
            check(&step, &model);
        }

        #[test]
        fn seeking_finds_what_walking_finds(model in numbers(), targets in vec(0_u64..120_000, 6)) {
            let set = Set::of(model.iter().copied());
            let mut targets = targets;
            targets.sort_unstable();
            let mut groups = set.groups();
            let mut floor = 0;
            for target in targets {
                let wanted = floor.max(target);
                let expected = model.iter().map(|&number| group_of(number)).find(|&group| group >= wanted);
                let found = groups.seek(target).map(|(group, _)| group);
                prop_assert_eq!(found, expected);
                match found { Some(group) => floor = group + 1, None => break }
            }
        }

        #[test]
        fn a_search_counts_what_reading_the_text_counts(model in numbers(), search in "[+]?[0-9]{1,6}") {
            let set = Set::of(model.iter().copied());
            let Some(pattern) = Pattern::parse(&search) else { unreachable!("not empty") };
            let digits = DigitPattern::of(pattern).expect("digits");
            let expected = model.iter().filter(|&&number| {
                E164::new(number).expect("a number").to_string().contains(&search)
            }).count();
            prop_assert_eq!(count_matches(&set, &digits), expected);
        }
    }
}
