//! The fields of each number, in number order, in a few bytes a number.
//!
//! Rows are in leaves of up to 1,024 neighbours, and neighbours are similar: a
//! block that was assigned together has one account, one price, one date. So the
//! common values are stored once (dictionary encoding), as a [`Profile`] with an
//! id, and a leaf stores each column as its few distinct values and a code a row:
//! without codes where all rows agree, as exceptions where most do, and as the
//! values themselves where nearly every row has its own. Numbers that ascend by
//! one are stored as runs.
//!
//! A leaf also counts its rows by profile. A filter on a field of the profile is
//! evaluated once for each profile, and a whole leaf is answered by adding counts,
//! without reading its rows. A chunk has the earliest and the latest dates of each
//! of its leaves beside one another, so a leaf that is out of a range of dates is
//! not read at all.
//!
//! Everything is copy-on-write. Invariants: numbers ascend strictly; no leaf
//! and no chunk is empty.
//! Deliberately absent: the meaning of the ids.

use std::sync::{Arc, OnceLock};

use super::table::Index;
use crate::domain::dictionary::Dictionary;
use crate::domain::plan::{Doubt, Scan};
use crate::domain::row_digest::{DigestTerm, Moments, RowDigest, Weights};
use crate::domain::{Country, E164, Money, NumberType, State, Time};

/// How many rows a leaf has at the most.
const LEAF_ROWS: usize = 1_024;
/// How many rows a leaf is given when it is made, to leave room.
const LEAF_FILL: usize = 768;
/// How many leaves a chunk has at the most.
const CHUNK_LEAVES: usize = 128;

/// All of a number but its dates.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Profile {
    pub state: State,
    pub number_type: NumberType,
    pub country: Option<Country>,
    /// The holder, or whom a reserved number is promised to.
    pub account: Index,
    pub application: Index,
    pub trunk: Index,
    pub region: Index,
    pub tags: Index,
    pub cost: Option<Money>,
}

/// One number, unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UnpackedRow {
    pub number: E164,
    pub profile: Index,
    pub version: u64,
    pub assigned_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub since: Time,
    pub until: Option<Time>,
}

/// A column of a leaf: its distinct values, and which one each row has.
#[derive(Clone)]
pub(super) struct PackedColumn {
    values: Box<[i64]>,
    codes: Codes,
}

#[derive(Clone)]
enum Codes {
    /// All rows have the one value.
    Same,
    /// Each row has the value with its own index; some values may be equal.
    Own,
    /// Most rows have one value.
    Most(Box<Exceptions>),
    Byte(Box<[u8]>),
    Word(Box<[u16]>),
}

#[derive(Clone)]
struct Exceptions {
    /// The code of the rows that are none.
    common: u8,
    /// The others, ascending, and the code of each.
    rows: Box<[u16]>,
    codes: Box<[u8]>,
}

impl Exceptions {
    /// None where a code for each row takes less room.
    fn of(codes: &[u16], values: usize) -> Option<Exceptions> {
        let mut counts = vec![0; values];
        codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
        let common = (0..values).max_by_key(|&code| counts[code])?;
        let few = (codes.len() - counts[common]) * 4 + size_of::<Exceptions>() < codes.len();
        if !few || values > 256 {
            return None;
        }
        let others = || codes.iter().enumerate().filter(|(_, code)| usize::from(**code) != common);
        Some(Exceptions {
            common: common as u8,
            rows: others().map(|(row, _)| row as u16).collect(),
            codes: others().map(|(_, code)| *code as u8).collect(),
        })
    }

    fn code(&self, row: usize) -> usize {
        let code = self.rows.binary_search(&(row as u16)).map_or(self.common, |at| self.codes[at]);
        usize::from(code)
    }
}

/// No time; earlier than every time.
pub(super) const NEVER: i64 = i64::MIN;
/// The span of no times.
const NO_TIMES: (i64, i64) = (i64::MAX, i64::MIN);

impl PackedColumn {
    fn of(cells: impl Iterator<Item = i64> + Clone) -> PackedColumn {
        let mut dictionary: Dictionary<i64, hashes::IntHasher> = Dictionary::default();
        let mut codes: Vec<u16> = Vec::new();
        for cell in cells.clone() {
            let last = codes.last().map(|&code| u32::from(code));
            codes.push(dictionary.place(cell, last) as u16);
        }
        let values = dictionary.into_values();
        // A value takes as much room as four codes.
        if values.len() > 256 && codes.len() * 4 < (values.len() * 4 + codes.len()) {
            return PackedColumn { values: cells.collect(), codes: Codes::Own };
        }
        let exceptions = Exceptions::of(&codes, values.len());
        let codes = match (values.len(), exceptions) {
            (0 | 1, _) => Codes::Same,
            (_, Some(exceptions)) => Codes::Most(Box::new(exceptions)),
            (2..=256, None) => Codes::Byte(codes.iter().map(|&code| code as u8).collect()),
            (_, None) => Codes::Word(codes.into()),
        };
        PackedColumn { values: values.into(), codes }
    }

    /// The first row of each of the values.
    fn first_rows(&self, rows: usize) -> Vec<usize> {
        let mut first = vec![0; self.values.len()];
        (0..rows).rev().for_each(|row| first[self.code(row)] = row);
        first
    }

    /// The earliest and the latest time in it; the first is later if there is none.
    fn span(&self) -> (i64, i64) {
        let times = self.values.iter().filter(|&&time| time != NEVER);
        times.fold(NO_TIMES, |(first, last), &time| (first.min(time), last.max(time)))
    }

    /// The values; distinct but where nearly every row has its own.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    pub(super) fn code(&self, row: usize) -> usize {
        match &self.codes {
            Codes::Same => 0,
            Codes::Own => row,
            Codes::Most(exceptions) => exceptions.code(row),
            Codes::Byte(codes) => usize::from(codes[row]),
            Codes::Word(codes) => usize::from(codes[row]),
        }
    }

    pub(super) fn value(&self, row: usize) -> i64 {
        self.values[self.code(row)]
    }

    /// The rows, of `rows` that there are, with one of the codes that are
    /// wanted. Few codes are searched for as bytes, which costs a tenth of
    /// looking at each row.
    pub(super) fn rows_where(
        &self,
        rows: usize,
        wanted: impl Fn(usize) -> bool,
        scratch: &mut Vec<bool>,
        take: &mut dyn FnMut(usize),
    ) {
        scratch.clear();
        scratch.extend((0..self.values.len()).map(wanted));
        let mut some = (0..scratch.len()).filter(|&code| scratch[code]);
        let first = [some.next(), some.next(), some.next(), some.next()];
        match (&self.codes, first) {
            (_, [None, ..]) => {}
            (Codes::Same, _) => (0..rows).for_each(take),
            (Codes::Own, _) => (0..rows).filter(|&row| scratch[row]).for_each(take),
            (Codes::Most(but), _) if scratch[usize::from(but.common)] => {
                let mut others = but.rows.iter().zip(&but.codes).peekable();
                let wanted = |row: &usize| match others.next_if(|(other, _)| usize::from(**other) == *row) {
                    Some((_, &code)) => scratch[usize::from(code)],
                    None => true,
                };
                (0..rows).filter(wanted).for_each(take);
            }
            (Codes::Most(but), _) => {
                let wanted = but.rows.iter().zip(&but.codes).filter(|(_, code)| scratch[usize::from(**code)]);
                wanted.for_each(|(&row, _)| take(usize::from(row)));
            }
            (Codes::Byte(codes), [Some(a), None, ..]) => memchr::memchr_iter(a as u8, codes).for_each(take),
            (Codes::Byte(codes), [Some(a), Some(b), None, _]) => {
                memchr::memchr2_iter(a as u8, b as u8, codes).for_each(take);
            }
            (Codes::Byte(codes), [Some(a), Some(b), Some(c), None]) => {
                memchr::memchr3_iter(a as u8, b as u8, c as u8, codes).for_each(take);
            }
            (Codes::Byte(codes), _) => {
                (0..rows).filter(|&row| scratch[usize::from(codes[row])]).for_each(take);
            }
            (Codes::Word(codes), _) => {
                (0..rows).filter(|&row| scratch[usize::from(codes[row])]).for_each(take);
            }
        }
    }

    /// The moments of the rows that have each value; `rows` are those of each
    /// row, `all` those of all.
    fn moments(&self, rows: &[Moments], all: Moments, sums: &mut Vec<Moments>) {
        sums.clear();
        match self.codes {
            Codes::Same => sums.push(all),
            Codes::Own => sums.extend_from_slice(rows),
            Codes::Most(_) | Codes::Byte(_) | Codes::Word(_) => {
                sums.resize(self.values.len(), Moments::default());
                rows.iter().enumerate().for_each(|(row, of)| sums[self.code(row)].add(*of));
            }
        }
    }

    fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Same | Codes::Own => 0,
            Codes::Most(exceptions) => size_of::<Exceptions>() + exceptions.rows.len() * 3,
            Codes::Byte(codes) => codes.len(),
            Codes::Word(codes) => codes.len() * 2,
        };
        self.values.len() * 8 + codes
    }
}

/// A hasher of integers that is as fast as they are.
mod hashes {
    use std::hash::{BuildHasherDefault, Hasher};

    pub(super) type IntHasher = BuildHasherDefault<Mix>;

    #[derive(Default)]
    pub(super) struct Mix(u64);

    impl Hasher for Mix {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|&byte| self.write_i64(i64::from(byte)));
        }

        fn write_i64(&mut self, value: i64) {
            let mixed = (self.0 ^ value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ mixed >> 32;
        }
    }
}

/// The numbers of a leaf, as distances from its first.
#[derive(Clone)]
enum LeafNumbers {
    /// Each one more than the one before.
    Run,
    /// Several such runs: the distance and the row of the first of each.
    Runs(Box<[(u16, u16)]>),
    Word(Box<[u16]>),
    Long(Box<[u32]>),
    Wide(Box<[u64]>),
}

impl LeafNumbers {
    fn of_words(offsets: Box<[u16]>) -> LeafNumbers {
        let begins = |row: &usize| *row == 0 || offsets[*row - 1] + 1 != offsets[*row];
        let runs: Vec<(u16, u16)> = (0..offsets.len()).filter(begins).map(|row| (offsets[row], row as u16)).collect();
        // A run takes as much room as two distances, and a search for a row.
        if runs.len() * 4 <= offsets.len() { LeafNumbers::Runs(runs.into()) } else { LeafNumbers::Word(offsets) }
    }
}

/// Up to 1,024 neighbouring numbers.
#[derive(Clone)]
pub(super) struct Leaf {
    first: u64,
    last: u64,
    len: u16,
    numbers: LeafNumbers,
    pub profiles: PackedColumn,
    /// How many rows have each of the values of `profiles`.
    pub profile_counts: Box<[u16]>,
    version: PackedColumn,
    pub assigned_at: PackedColumn,
    pub expires_at: PackedColumn,
    since: PackedColumn,
    pub until: PackedColumn,
    /// Which of its rows have a doubtful number, and why, found at the first question.
    doubtful: OnceLock<Box<[(u16, Doubt)]>>,
}

fn cell(time: Option<Time>) -> i64 {
    time.map_or(NEVER, Time::seconds)
}

fn time(cell: i64) -> Option<Time> {
    if cell == NEVER { None } else { Time::new(cell) }
}

impl Leaf {
    fn of(rows: &[UnpackedRow]) -> Leaf {
        let (first, last) = (rows[0].number.digits(), rows[rows.len() - 1].number.digits());
        let offsets = rows.iter().map(|row| row.number.digits() - first);
        let numbers = match last - first {
            span if span as usize == rows.len() - 1 => LeafNumbers::Run,
            span if span <= u64::from(u16::MAX) => LeafNumbers::of_words(offsets.map(|offset| offset as u16).collect()),
            span if span <= u64::from(u32::MAX) => LeafNumbers::Long(offsets.map(|offset| offset as u32).collect()),
            _ => LeafNumbers::Wide(offsets.collect()),
        };
        let profiles = PackedColumn::of(rows.iter().map(|row| row.profile.get().map_or(-1, |at| at as i64)));
        let mut profile_counts = vec![0; profiles.values.len()];
        (0..rows.len()).for_each(|row| profile_counts[profiles.code(row)] += 1);
        Leaf {
            first,
            last,
            len: rows.len() as u16,
            numbers,
            profiles,
            profile_counts: profile_counts.into(),
            version: PackedColumn::of(rows.iter().map(|row| row.version as i64)),
            assigned_at: PackedColumn::of(rows.iter().map(|row| cell(row.assigned_at))),
            expires_at: PackedColumn::of(rows.iter().map(|row| cell(row.expires_at))),
            since: PackedColumn::of(rows.iter().map(|row| row.since.seconds())),
            until: PackedColumn::of(rows.iter().map(|row| cell(row.until))),
            doubtful: OnceLock::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn number(&self, row: usize) -> u64 {
        self.first
            + match &self.numbers {
                LeafNumbers::Run => row as u64,
                LeafNumbers::Runs(runs) => {
                    let (offset, begin) = runs[runs.partition_point(|run| usize::from(run.1) <= row) - 1];
                    u64::from(offset) + row as u64 - u64::from(begin)
                }
                LeafNumbers::Word(offsets) => u64::from(offsets[row]),
                LeafNumbers::Long(offsets) => u64::from(offsets[row]),
                LeafNumbers::Wide(offsets) => offsets[row],
            }
    }

    /// How many of its rows have a number below this one.
    pub(super) fn rank(&self, number: u64) -> usize {
        let Some(offset) = number.checked_sub(self.first) else { return 0 };
        match &self.numbers {
            LeafNumbers::Run => (offset as usize).min(self.len()),
            LeafNumbers::Runs(runs) => {
                let after = runs.partition_point(|run| u64::from(run.0) <= offset);
                let (begins, row) = runs[after - 1];
                let end = runs.get(after).map_or(self.len(), |run| usize::from(run.1));
                (usize::from(row) + (offset - u64::from(begins)) as usize).min(end)
            }
            LeafNumbers::Word(offsets) => offsets.partition_point(|&have| u64::from(have) < offset),
            LeafNumbers::Long(offsets) => offsets.partition_point(|&have| u64::from(have) < offset),
            LeafNumbers::Wide(offsets) => offsets.partition_point(|&have| have < offset),
        }
    }

    pub(super) fn find(&self, number: u64) -> Option<usize> {
        let row = self.rank(number);
        (row < self.len() && self.number(row) == number).then_some(row)
    }

    pub(super) fn row(&self, row: usize) -> UnpackedRow {
        UnpackedRow {
            number: E164::new(self.number(row)).expect("what came in as a number"),
            profile: Index::at(self.profiles.value(row) as usize),
            version: self.version.value(row) as u64,
            assigned_at: time(self.assigned_at.value(row)),
            expires_at: time(self.expires_at.value(row)),
            since: Time::new(self.since.value(row)).expect("what came in as a time"),
            until: time(self.until.value(row)),
        }
    }

    /// Adds the rows to a digest; `weights` are those of a profile, of which a
    /// row is named. A leaf of neighbours that say the same costs what one row
    /// costs.
    pub(super) fn weigh(&self, digest: &mut RowDigest, mut weights: impl FnMut(usize, UnpackedRow) -> Weights) {
        let columns = [
            (DigestTerm::Version, &self.version),
            (DigestTerm::AssignedAt, &self.assigned_at),
            (DigestTerm::ExpiresAt, &self.expires_at),
            (DigestTerm::Since, &self.since),
            (DigestTerm::Until, &self.until),
        ];
        let same = |column: &PackedColumn| matches!(column.codes, Codes::Same);
        let alike = same(&self.profiles) && columns.iter().all(|(_, column)| same(column));
        let (rows, all) = match &self.numbers {
            LeafNumbers::Run if alike => (Vec::new(), Moments::run(self.first, u64::from(self.len))),
            LeafNumbers::Runs(runs) if alike => {
                let ends = runs[1..].iter().map(|run| run.1).chain([self.len]);
                let mut all = Moments::default();
                for (&(offset, row), end) in runs.iter().zip(ends) {
                    all.add(Moments::run(self.first + u64::from(offset), u64::from(end - row)));
                }
                (Vec::new(), all)
            }
            _ => {
                let rows: Vec<Moments> = (0..self.len()).map(|row| Moments::of(self.number(row))).collect();
                let mut all = Moments::default();
                rows.iter().for_each(|of| all.add(*of));
                (rows, all)
            }
        };
        let mut sums = Vec::new();
        self.profiles.moments(&rows, all, &mut sums);
        let first_rows = self.profiles.first_rows(self.len());
        for (code, (of, row)) in sums.iter().zip(first_rows).enumerate() {
            let weights = weights(self.profiles.values[code] as usize, self.row(row));
            digest.words(weights, *of, u64::from(self.profile_counts[code]));
        }
        for (figure, column) in columns {
            column.moments(&rows, all, &mut sums);
            for (of, &cell) in sums.iter().zip(&column.values) {
                let value = match figure {
                    DigestTerm::Version => cell as u64,
                    DigestTerm::AssignedAt | DigestTerm::ExpiresAt | DigestTerm::Since | DigestTerm::Until => {
                        DigestTerm::of_time(time(cell))
                    }
                };
                digest.figure(figure, value, *of);
            }
        }
    }

    /// The rows whose number is probably not what was meant (`plan::doubt`).
    fn doubtful(&self, scan: &mut Scan) -> &[(u16, Doubt)] {
        self.doubtful.get_or_init(|| {
            let doubt = |row: u16| {
                let number = E164::new(self.number(usize::from(row))).expect("what came in as a number");
                Some((row, scan.doubt(number)?))
            };
            (0..self.len).filter_map(doubt).collect()
        })
    }

    fn bytes(&self) -> usize {
        let numbers = match &self.numbers {
            LeafNumbers::Run => 0,
            LeafNumbers::Runs(runs) => runs.len() * 4,
            LeafNumbers::Word(offsets) => offsets.len() * 2,
            LeafNumbers::Long(offsets) => offsets.len() * 4,
            LeafNumbers::Wide(offsets) => offsets.len() * 8,
        };
        let columns = [&self.profiles, &self.version, &self.assigned_at, &self.expires_at, &self.since, &self.until];
        let columns: usize = columns.iter().map(|column| column.bytes()).sum();
        size_of::<Leaf>() + 16 + numbers + columns + self.profile_counts.len() * 2
    }
}

#[derive(Clone)]
struct RowChunk {
    len: usize,
    leaves: Vec<Arc<Leaf>>,
    /// How many rows the chunk has before each of its leaves.
    before: Vec<usize>,
    /// The last number of each leaf, beside one another for searches.
    lasts: Vec<u64>,
    dates: Vec<LeafDates>,
    /// Which of its leaves have a doubtful number, found at the first question.
    doubtful: OnceLock<Box<[u16]>>,
}

/// The earliest and the latest dates of a leaf; the first is later where no row
/// has one.
#[derive(Clone, Copy)]
pub(super) struct LeafDates {
    pub assigned_at: (i64, i64),
    pub expires_at: (i64, i64),
    pub since: (i64, i64),
}

impl RowChunk {
    fn of(leaves: &[Arc<Leaf>]) -> RowChunk {
        let (before, len) = sums(leaves.iter().map(|leaf| leaf.len()));
        let lasts = leaves.iter().map(|leaf| leaf.last).collect();
        let dates = |leaf: &Arc<Leaf>| LeafDates {
            assigned_at: leaf.assigned_at.span(),
            expires_at: leaf.expires_at.span(),
            since: leaf.since.span(),
        };
        RowChunk {
            len,
            leaves: leaves.to_vec(),
            before,
            lasts,
            dates: leaves.iter().map(dates).collect(),
            doubtful: OnceLock::new(),
        }
    }

    fn first(&self) -> u64 {
        self.leaves[0].first
    }

    fn last(&self) -> u64 {
        self.lasts[self.lasts.len() - 1]
    }

    /// The leaf that may have a number above this.
    fn leaf_after(&self, number: u64) -> usize {
        self.lasts.partition_point(|&last| last <= number)
    }
}

/// The sum before each of some lengths, and of all.
fn sums(lengths: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut sum = 0;
    let before = |length| {
        sum += length;
        sum - length
    };
    let before = lengths.map(before).collect();
    (before, sum)
}

/// All rows of a partner.
#[derive(Clone, Default)]
pub(super) struct RowStore {
    chunks: Vec<Arc<RowChunk>>,
    /// How many rows there are before each chunk.
    before: Vec<usize>,
    len: usize,
}

impl RowStore {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.chunks.iter().flat_map(|chunk| chunk.leaves.iter().map(|leaf| &**leaf))
    }

    /// The leaves and their dates. A leaf that is passed over is not read.
    pub(super) fn dated_leaves(&self) -> impl Iterator<Item = (&Leaf, LeafDates)> {
        self.dated_leaves_after(None)
    }

    /// The same from the one that may have a number above `after`.
    pub(super) fn dated_leaves_after(&self, after: Option<u64>) -> impl Iterator<Item = (&Leaf, LeafDates)> {
        let after = after.unwrap_or(0);
        let chunk = self.chunks.partition_point(|chunk| chunk.last() <= after);
        let chunks = self.chunks[chunk..].iter();
        chunks.flat_map(move |chunk| {
            let leaf = chunk.leaf_after(after);
            let leaves = chunk.leaves[leaf..].iter().map(|leaf| &**leaf);
            leaves.zip(chunk.dates[leaf..].iter().copied())
        })
    }

    /// The rows with a doubtful number, by leaf, and why.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = (&Leaf, &[(u16, Doubt)])> {
        self.chunks.iter().flat_map(|chunk| {
            let leaves = chunk.doubtful.get_or_init(|| {
                let mut scan = Scan::default();
                let mut doubtful = |at: &usize| !chunk.leaves[*at].doubtful(&mut scan).is_empty();
                (0..chunk.leaves.len()).filter(|at| doubtful(at)).map(|at| at as u16).collect()
            });
            leaves.iter().map(|&at| {
                let leaf = &*chunk.leaves[usize::from(at)];
                (leaf, leaf.doubtful(&mut Scan::default()))
            })
        })
    }

    pub(super) fn leaf_count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.leaves.len()).sum()
    }

    pub(super) fn get(&self, number: u64) -> Option<UnpackedRow> {
        let chunk = self.chunks.partition_point(|chunk| chunk.last() < number);
        let chunk = self.chunks.get(chunk)?;
        let leaf = &chunk.leaves[chunk.lasts.partition_point(|&last| last < number)];
        leaf.find(number).map(|row| leaf.row(row))
    }

    /// How many rows have a number of at most this.
    pub(super) fn rank(&self, number: u64) -> usize {
        let at = self.chunks.partition_point(|chunk| chunk.last() <= number);
        let Some(chunk) = self.chunks.get(at) else { return self.len };
        let leaf = chunk.leaf_after(number);
        self.before[at] + chunk.before[leaf] + chunk.leaves[leaf].rank(number + 1)
    }

    /// The rows from the one with this rank on.
    pub(super) fn slice(&self, rank: usize, count: usize) -> Vec<UnpackedRow> {
        let mut out = Vec::with_capacity(count.min(self.len.saturating_sub(rank)));
        if rank >= self.len || count == 0 {
            return out;
        }
        let mut chunk = self.before.partition_point(|&before| before <= rank) - 1;
        let mut from = rank - self.before[chunk];
        let mut leaf = self.chunks[chunk].before.partition_point(|&before| before <= from) - 1;
        from -= self.chunks[chunk].before[leaf];
        while let Some(leaves) = self.chunks.get(chunk).map(|chunk| &chunk.leaves) {
            let here = &leaves[leaf];
            let end = from.saturating_add(count - out.len()).min(here.len());
            out.extend((from..end).map(|row| here.row(row)));
            if out.len() == count {
                break;
            }
            (from, leaf) = (0, leaf + 1);
            if leaf == leaves.len() {
                (chunk, leaf) = (chunk + 1, 0);
            }
        }
        out
    }

    /// A cursor for look-ups in ascending order.
    pub(super) fn seeker(&self) -> Seeker<'_> {
        Seeker { rows: self, chunk: 0, leaf: 0, next: 0 }
    }

    /// The rows with some put in, replaced or taken out, ascending strictly.
    pub(super) fn edited(&self, edits: &[(u64, Option<UnpackedRow>)]) -> RowStore {
        let mut builder = RowStoreBuilder::default();
        let mut edits = edits;
        if self.chunks.is_empty() {
            builder.rows.extend(edits.iter().filter_map(|(_, row)| *row));
            return builder.finish();
        }
        for (at, chunk) in self.chunks.iter().enumerate() {
            // A chunk takes the edits up to where the next one begins.
            let next = self.chunks.get(at + 1).map_or(u64::MAX, |next| next.first());
            let (now, later) = edits.split_at(edits.partition_point(|(number, _)| *number < next));
            edits = later;
            if now.is_empty() {
                builder.share_chunk(chunk);
            } else {
                edit_chunk(chunk, now, &mut builder);
            }
        }
        builder.finish()
    }

    pub(super) fn bytes(&self) -> usize {
        self.leaves().map(Leaf::bytes).sum::<usize>() + self.leaf_count() * (24 + size_of::<LeafDates>())
    }
}

fn edit_chunk(chunk: &RowChunk, mut edits: &[(u64, Option<UnpackedRow>)], builder: &mut RowStoreBuilder) {
    for (at, leaf) in chunk.leaves.iter().enumerate() {
        let next = chunk.leaves.get(at + 1).map_or(u64::MAX, |next| next.first);
        let (now, later) = edits.split_at(edits.partition_point(|(number, _)| *number < next));
        edits = later;
        if now.is_empty() {
            builder.share(leaf);
            continue;
        }
        let mut from = 0;
        for (number, row) in now {
            let to = leaf.rank(*number);
            builder.rows.extend((from..to).map(|row| leaf.row(row)));
            from = to + usize::from(to < leaf.len() && leaf.number(to) == *number);
            builder.rows.extend(*row);
        }
        builder.rows.extend((from..leaf.len()).map(|row| leaf.row(row)));
    }
}

/// Makes leaves and chunks out of rows that come in order.
#[derive(Default)]
pub(super) struct RowStoreBuilder {
    rows: Vec<UnpackedRow>,
    leaves: Vec<Arc<Leaf>>,
    chunks: Vec<Arc<RowChunk>>,
}

impl RowStoreBuilder {
    pub(super) fn push(&mut self, row: UnpackedRow) {
        self.rows.push(row);
        if self.rows.len() == LEAF_ROWS {
            self.pack();
        }
    }

    fn share(&mut self, leaf: &Arc<Leaf>) {
        self.pack();
        self.place(leaf.clone());
    }

    fn share_chunk(&mut self, chunk: &Arc<RowChunk>) {
        self.pack();
        self.close();
        self.chunks.push(chunk.clone());
    }

    /// Turns the rows at hand into leaves of about the same size.
    fn pack(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return;
        }
        let leaves = if rows.len() <= LEAF_ROWS { 1 } else { rows.len().div_ceil(LEAF_FILL) };
        for part in rows.chunks(rows.len().div_ceil(leaves)) {
            self.place(Arc::new(Leaf::of(part)));
        }
        self.rows = rows;
        self.rows.clear();
    }

    fn place(&mut self, leaf: Arc<Leaf>) {
        self.leaves.push(leaf);
        if self.leaves.len() == 2 * CHUNK_LEAVES {
            self.close();
        }
    }

    /// Turns the leaves at hand into chunks of about the same size: a full
    /// chunk and a tiny one would leave tiny ones all over after many edits.
    fn close(&mut self) {
        let leaves = std::mem::take(&mut self.leaves);
        let chunks = leaves.len().div_ceil(CHUNK_LEAVES).max(1);
        for leaves in leaves.chunks(leaves.len().div_ceil(chunks).max(1)) {
            self.chunks.push(Arc::new(RowChunk::of(leaves)));
        }
    }

    pub(super) fn finish(mut self) -> RowStore {
        self.pack();
        self.close();
        let (before, len) = sums(self.chunks.iter().map(|chunk| chunk.len));
        RowStore { chunks: self.chunks, before, len }
    }
}

/// Looks numbers up in ascending order, remembering where it is.
pub(super) struct Seeker<'a> {
    rows: &'a RowStore,
    chunk: usize,
    leaf: usize,
    /// The row after the one found last: neighbours are often asked for.
    next: usize,
}

impl<'a> Seeker<'a> {
    pub(super) fn find(&mut self, number: u64) -> Option<(&'a Leaf, usize)> {
        if self.rows.chunks.get(self.chunk)?.last() < number {
            self.chunk += self.rows.chunks[self.chunk..].partition_point(|chunk| chunk.last() < number);
            self.leaf = 0;
        }
        let chunk = self.rows.chunks.get(self.chunk)?;
        if chunk.lasts[self.leaf] < number {
            self.leaf += chunk.lasts[self.leaf..].partition_point(|&last| last < number);
        }
        let leaf = &chunk.leaves[self.leaf];
        let is_next = self.next < leaf.len() && leaf.number(self.next) == number;
        let row = if is_next { self.next } else { leaf.find(number)? };
        self.next = row + 1;
        Some((leaf, row))
    }
}
