//! The fields of each number, in number order, in a few bytes a run of numbers.
//!
//! Neighbours are similar: a block that was assigned together has one account, one
//! price, one date. Rows that follow each other with equal values are a *stretch*,
//! whatever gaps their numbers have, and a leaf stores its values by stretch. The
//! common values are stored once (dictionary encoding), as a [`Profile`] with an
//! id, and a column is its few distinct values and a code a stretch: without codes
//! where all agree, as exceptions where most do, and as the values themselves where
//! nearly every stretch has its own. Numbers that ascend by one are stored as runs.
//! So the size of a leaf follows its runs: it has up to 1,024 of them, and up to
//! 16,384 numbers.
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

mod splice;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::table::Index;
use crate::domain::dictionary::Dictionary;
use crate::domain::plan::Scan;
use crate::domain::row_digest::{DigestTerm, Moments, RowDigest, Weights};
use crate::domain::{Country, E164, Money, NumberRun, NumberType, State, Time};

/// How many runs a leaf has at the most.
const LEAF_RUNS: usize = 1_024;
/// How many runs a leaf is given when it is made, to leave room.
const LEAF_FILL: usize = 768;
/// How many rows a leaf has at the most, so that a page that it is cut for costs
/// little.
const LEAF_ROWS: usize = 16_384;
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

impl UnpackedRow {
    /// Whether two numbers say the same.
    fn agrees(&self, other: &UnpackedRow) -> bool {
        UnpackedRow { number: other.number, ..*self } == *other
    }
}

/// Numbers that ascend by one and say the same, unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UnpackedRun {
    /// The first of them.
    pub row: UnpackedRow,
    pub count: u64,
}

impl UnpackedRun {
    fn next(&self) -> u64 {
        self.row.number.digits() + self.count
    }

    /// The run without its first numbers; at least one is left.
    fn without(&self, numbers: u64) -> UnpackedRun {
        let number = E164::new(self.row.number.digits() + numbers).expect("a number of the run");
        UnpackedRun { row: UnpackedRow { number, ..self.row }, count: self.count - numbers }
    }
}

/// Makes all numbers from `first` to `last` say what `row` says, or takes them out.
#[derive(Clone, Copy)]
pub(super) struct RowEdit {
    pub first: u64,
    pub last: u64,
    pub row: Option<UnpackedRow>,
}

impl RowEdit {
    fn numbers(&self) -> usize {
        (self.last - self.first + 1) as usize
    }
}

/// A column of a leaf: its distinct values, and which one each stretch has.
#[derive(Clone)]
pub(super) struct PackedColumn {
    values: Box<[i64]>,
    codes: Codes,
}

#[derive(Clone)]
enum Codes {
    /// All stretches have the one value.
    Same,
    /// Each stretch has the value with its own index; some values may be equal.
    Own,
    /// Most stretches have one value.
    Most(Box<Exceptions>),
    Byte(Box<[u8]>),
    Word(Box<[u16]>),
}

impl Codes {
    /// Whether so many values take less room as those of each stretch than with codes. A
    /// value takes as much as four codes.
    fn are_own(values: usize, stretches: usize) -> bool {
        values > 256 && stretches * 4 < values * 4 + stretches
    }
}

#[derive(Clone)]
struct Exceptions {
    /// The code of the stretches that are none.
    common: u8,
    /// The others, ascending, and the code of each.
    stretches: Box<[u16]>,
    codes: Box<[u8]>,
}

impl Exceptions {
    /// None where a code for each stretch takes less room.
    fn of(codes: &[u16], values: usize) -> Option<Exceptions> {
        let mut counts = vec![0; values];
        codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
        let common = (0..values).max_by_key(|&code| counts[code])?;
        if !Exceptions::few(codes.len() - counts[common], codes.len()) || values > 256 {
            return None;
        }
        let others = || codes.iter().enumerate().filter(|(_, code)| usize::from(**code) != common);
        Some(Exceptions {
            common: common as u8,
            stretches: others().map(|(stretch, _)| stretch as u16).collect(),
            codes: others().map(|(_, code)| *code as u8).collect(),
        })
    }

    /// Whether so many of all stretches take less room than a code for each.
    fn few(exceptions: usize, all: usize) -> bool {
        exceptions * 4 + size_of::<Exceptions>() < all
    }

    fn code(&self, stretch: usize) -> usize {
        let code = self.stretches.binary_search(&(stretch as u16)).map_or(self.common, |at| self.codes[at]);
        usize::from(code)
    }
}

/// No time; earlier than every time.
pub(super) const NEVER: i64 = i64::MIN;
/// The span of no times.
const NO_TIMES: (i64, i64) = (i64::MAX, i64::MIN);

impl PackedColumn {
    fn of(cells: impl Iterator<Item = i64>) -> PackedColumn {
        let mut dictionary: Dictionary<i64, hashes::IntHasher> = Dictionary::default();
        let mut codes: Vec<u16> = Vec::new();
        for cell in cells {
            let last = codes.last().map(|&code| u32::from(code));
            codes.push(dictionary.place(cell, last) as u16);
        }
        PackedColumn::packed(dictionary.into_values(), codes)
    }

    /// Of distinct values, and which of them each stretch has.
    fn packed(values: Vec<i64>, codes: Vec<u16>) -> PackedColumn {
        if Codes::are_own(values.len(), codes.len()) {
            let each = codes.iter().map(|&code| values[usize::from(code)]);
            return PackedColumn { values: each.collect(), codes: Codes::Own };
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

    /// The first of the stretches that has each of the values.
    fn first_stretches(&self, stretches: usize) -> Vec<usize> {
        let mut first = vec![0; self.values.len()];
        (0..stretches).rev().for_each(|stretch| first[self.code(stretch)] = stretch);
        first
    }

    /// The earliest and the latest time in it; the first is later if there is none.
    fn span(&self) -> (i64, i64) {
        let times = self.values.iter().filter(|&&time| time != NEVER);
        times.fold(NO_TIMES, |(first, last), &time| (first.min(time), last.max(time)))
    }

    /// The values; distinct but where nearly every stretch has its own.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    pub(super) fn code(&self, stretch: usize) -> usize {
        match &self.codes {
            Codes::Same => 0,
            Codes::Own => stretch,
            Codes::Most(exceptions) => exceptions.code(stretch),
            Codes::Byte(codes) => usize::from(codes[stretch]),
            Codes::Word(codes) => usize::from(codes[stretch]),
        }
    }

    pub(super) fn value(&self, stretch: usize) -> i64 {
        self.values[self.code(stretch)]
    }

    /// The stretches, of all that there are, with one of the codes that are
    /// wanted. Few codes are searched for as bytes, which costs a tenth of
    /// looking at each stretch.
    pub(super) fn stretches_where(
        &self,
        all: usize,
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
            (Codes::Same, _) => (0..all).for_each(take),
            (Codes::Own, _) => (0..all).filter(|&stretch| scratch[stretch]).for_each(take),
            (Codes::Most(but), _) if scratch[usize::from(but.common)] => {
                let mut others = but.stretches.iter().zip(&but.codes).peekable();
                let wanted = |stretch: &usize| match others.next_if(|(other, _)| usize::from(**other) == *stretch) {
                    Some((_, &code)) => scratch[usize::from(code)],
                    None => true,
                };
                (0..all).filter(wanted).for_each(take);
            }
            (Codes::Most(but), _) => {
                let wanted = but.stretches.iter().zip(&but.codes).filter(|(_, code)| scratch[usize::from(**code)]);
                wanted.for_each(|(&stretch, _)| take(usize::from(stretch)));
            }
            (Codes::Byte(codes), [Some(a), None, ..]) => memchr::memchr_iter(a as u8, codes).for_each(take),
            (Codes::Byte(codes), [Some(a), Some(b), None, _]) => {
                memchr::memchr2_iter(a as u8, b as u8, codes).for_each(take);
            }
            (Codes::Byte(codes), [Some(a), Some(b), Some(c), None]) => {
                memchr::memchr3_iter(a as u8, b as u8, c as u8, codes).for_each(take);
            }
            (Codes::Byte(codes), _) => {
                (0..all).filter(|&stretch| scratch[usize::from(codes[stretch])]).for_each(take);
            }
            (Codes::Word(codes), _) => {
                (0..all).filter(|&stretch| scratch[usize::from(codes[stretch])]).for_each(take);
            }
        }
    }

    /// The moments of the rows that have each value; `stretches` are those of each
    /// stretch, `all` those of all.
    fn moments(&self, stretches: &[Moments], all: Moments, sums: &mut Vec<Moments>) {
        sums.clear();
        match self.codes {
            Codes::Same => sums.push(all),
            Codes::Own => sums.extend_from_slice(stretches),
            Codes::Most(_) | Codes::Byte(_) | Codes::Word(_) => {
                sums.resize(self.values.len(), Moments::default());
                stretches.iter().enumerate().for_each(|(stretch, of)| sums[self.code(stretch)].add(*of));
            }
        }
    }

    fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Same | Codes::Own => 0,
            Codes::Most(exceptions) => size_of::<Exceptions>() + exceptions.stretches.len() * 3,
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

/// Distances from the first number of a leaf, ascending.
#[derive(Clone)]
enum Distances {
    Word(Box<[u16]>),
    Long(Box<[u32]>),
    Wide(Box<[u64]>),
}

impl Distances {
    fn of(distances: impl Iterator<Item = u64>, span: u64) -> Distances {
        match span {
            span if span <= u64::from(u16::MAX) => Distances::Word(distances.map(|one| one as u16).collect()),
            span if span <= u64::from(u32::MAX) => Distances::Long(distances.map(|one| one as u32).collect()),
            _ => Distances::Wide(distances.collect()),
        }
    }

    fn at(&self, at: usize) -> u64 {
        match self {
            Distances::Word(distances) => u64::from(distances[at]),
            Distances::Long(distances) => u64::from(distances[at]),
            Distances::Wide(distances) => distances[at],
        }
    }

    /// How many are below a distance.
    fn below(&self, distance: u64) -> usize {
        match self {
            Distances::Word(distances) => distances.partition_point(|&have| u64::from(have) < distance),
            Distances::Long(distances) => distances.partition_point(|&have| u64::from(have) < distance),
            Distances::Wide(distances) => distances.partition_point(|&have| have < distance),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Distances::Word(distances) => distances.len() * 2,
            Distances::Long(distances) => distances.len() * 4,
            Distances::Wide(distances) => distances.len() * 8,
        }
    }
}

/// The numbers of a leaf.
#[derive(Clone)]
enum LeafNumbers {
    /// Each one more than the one before.
    Run,
    /// Several such runs: the first number and the first row of each.
    Runs {
        numbers: Distances,
        rows: Box<[u16]>,
    },
    Each(Distances),
}

impl LeafNumbers {
    /// Of runs of numbers that ascend by one and perhaps go on in the next run.
    fn of(runs: &[UnpackedRun], rows: usize) -> LeafNumbers {
        let first = runs[0].row.number.digits();
        let span = runs[runs.len() - 1].next() - 1 - first;
        let (mut begins, mut row, mut next): (Vec<(u64, u16)>, u64, u64) = (Vec::new(), 0, 0);
        for run in runs {
            let number = run.row.number.digits();
            if begins.is_empty() || number != next {
                begins.push((number - first, row as u16));
            }
            (row, next) = (row + run.count, run.next());
        }
        LeafNumbers::packed(&begins, span, rows)
    }

    /// Of runs of numbers, by the distance and the row of the first of each.
    fn packed(begins: &[(u64, u16)], span: u64, rows: usize) -> LeafNumbers {
        if begins.len() == 1 {
            return LeafNumbers::Run;
        }
        // A run takes as much room as two distances, and a search for a row.
        if begins.len() * 4 <= rows {
            let numbers = Distances::of(begins.iter().map(|(number, _)| *number), span);
            return LeafNumbers::Runs { numbers, rows: begins.iter().map(|(_, row)| *row).collect() };
        }
        let ends = begins.iter().skip(1).map(|(_, row)| u64::from(*row)).chain([rows as u64]);
        let each = begins.iter().zip(ends).flat_map(|(&(number, row), end)| number..number + end - u64::from(row));
        LeafNumbers::Each(Distances::of(each, span))
    }

    fn bytes(&self) -> usize {
        match self {
            LeafNumbers::Run => 0,
            LeafNumbers::Runs { numbers, rows } => numbers.bytes() + rows.len() * 2,
            LeafNumbers::Each(distances) => distances.bytes(),
        }
    }
}

/// With which row each stretch of a leaf begins.
#[derive(Clone)]
enum Begins {
    /// All rows are one stretch.
    One,
    /// Each row is a stretch of its own.
    Each,
    Rows(Box<[u16]>),
}

impl Begins {
    /// And one row of each stretch.
    fn of(runs: &[UnpackedRun], rows: usize) -> (Begins, Vec<UnpackedRow>) {
        let (mut begins, mut firsts, mut row): (Vec<u16>, Vec<UnpackedRow>, u64) = (Vec::new(), Vec::new(), 0);
        for run in runs {
            if firsts.last().is_none_or(|last: &UnpackedRow| !last.agrees(&run.row)) {
                begins.push(row as u16);
                firsts.push(run.row);
            }
            row += run.count;
        }
        if begins.len() == 1 {
            (Begins::One, firsts)
        } else if begins.len() * 2 <= rows {
            (Begins::Rows(begins.into()), firsts)
        } else {
            (Begins::Each, runs.iter().flat_map(|run| std::iter::repeat_n(run.row, run.count as usize)).collect())
        }
    }
}

/// Up to 1,024 runs of neighbours.
#[derive(Clone)]
pub(super) struct Leaf {
    first: u64,
    last: u64,
    len: u16,
    numbers: LeafNumbers,
    begins: Begins,
    pub profiles: PackedColumn,
    /// How many rows have each of the values of `profiles`.
    pub profile_counts: Box<[u16]>,
    version: PackedColumn,
    pub assigned_at: PackedColumn,
    pub expires_at: PackedColumn,
    pub since: PackedColumn,
    pub until: PackedColumn,
    /// Which of its rows have a doubtful number, found at the first question.
    doubtful: OnceLock<Box<[u16]>>,
}

fn cell(time: Option<Time>) -> i64 {
    time.map_or(NEVER, Time::seconds)
}

fn profile_cell(profile: Index) -> i64 {
    profile.get().map_or(-1, |at| at as i64)
}

fn time(cell: i64) -> Option<Time> {
    if cell == NEVER { None } else { Time::new(cell) }
}

impl Leaf {
    fn of(runs: &[UnpackedRun]) -> Leaf {
        let rows = runs.iter().map(|run| run.count as usize).sum();
        let (begins, firsts) = Begins::of(runs, rows);
        let mut leaf = Leaf {
            first: runs[0].row.number.digits(),
            last: runs[runs.len() - 1].next() - 1,
            len: rows as u16,
            numbers: LeafNumbers::of(runs, rows),
            begins,
            profiles: PackedColumn::of(firsts.iter().map(|row| profile_cell(row.profile))),
            profile_counts: Box::default(),
            version: PackedColumn::of(firsts.iter().map(|row| row.version as i64)),
            assigned_at: PackedColumn::of(firsts.iter().map(|row| cell(row.assigned_at))),
            expires_at: PackedColumn::of(firsts.iter().map(|row| cell(row.expires_at))),
            since: PackedColumn::of(firsts.iter().map(|row| row.since.seconds())),
            until: PackedColumn::of(firsts.iter().map(|row| cell(row.until))),
            doubtful: OnceLock::new(),
        };
        leaf.count_profiles();
        leaf
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

    /// How many stretches its rows are.
    pub(super) fn stretches(&self) -> usize {
        match &self.begins {
            Begins::One => 1,
            Begins::Each => self.len(),
            Begins::Rows(rows) => rows.len(),
        }
    }

    /// The stretch of a row.
    pub(super) fn stretch(&self, row: usize) -> usize {
        match &self.begins {
            Begins::One => 0,
            Begins::Each => row,
            Begins::Rows(rows) => rows.partition_point(|&begin| usize::from(begin) <= row) - 1,
        }
    }

    /// The rows of a stretch.
    pub(super) fn rows_of(&self, stretch: usize) -> Range<usize> {
        match &self.begins {
            Begins::One => 0..self.len(),
            Begins::Each => stretch..stretch + 1,
            Begins::Rows(rows) => {
                let end = rows.get(stretch + 1).map_or(self.len(), |&next| usize::from(next));
                usize::from(rows[stretch])..end
            }
        }
    }

    pub(super) fn number(&self, row: usize) -> u64 {
        self.first
            + match &self.numbers {
                LeafNumbers::Run => row as u64,
                LeafNumbers::Runs { numbers, rows } => {
                    let run = rows.partition_point(|&begin| usize::from(begin) <= row) - 1;
                    numbers.at(run) + row as u64 - u64::from(rows[run])
                }
                LeafNumbers::Each(distances) => distances.at(row),
            }
    }

    /// Some rows as runs of numbers that ascend by one: the first number and the
    /// rows of each.
    pub(super) fn number_runs(&self, rows: Range<usize>) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut run = match &self.numbers {
            LeafNumbers::Runs { rows: begins, .. } => {
                begins.partition_point(|&begin| usize::from(begin) <= rows.start).saturating_sub(1)
            }
            LeafNumbers::Run | LeafNumbers::Each(_) => 0,
        };
        let mut at = rows.start;
        std::iter::from_fn(move || {
            if at >= rows.end {
                return None;
            }
            let from = at;
            let (number, end) = match &self.numbers {
                LeafNumbers::Run => (from as u64, self.len()),
                LeafNumbers::Each(distances) => (distances.at(from), from + 1),
                LeafNumbers::Runs { numbers, rows: begins } => {
                    let number = numbers.at(run) + from as u64 - u64::from(begins[run]);
                    run += 1;
                    (number, begins.get(run).map_or(self.len(), |&next| usize::from(next)))
                }
            };
            at = end.min(rows.end);
            Some((self.first + number, from..at))
        })
    }

    /// Some rows as runs of numbers that ascend by one and say the same.
    fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = UnpackedRun> {
        let mut stretch = if rows.is_empty() { 0 } else { self.stretch(rows.start) };
        let mut values = self.values(stretch);
        let (mut numbers, mut left) = (self.number_runs(rows), None);
        std::iter::from_fn(move || {
            let (number, rows) = left.take().or_else(|| numbers.next())?;
            while self.rows_of(stretch).end <= rows.start {
                stretch += 1;
                values = self.values(stretch);
            }
            let end = self.rows_of(stretch).end.min(rows.end);
            let count = (end - rows.start) as u64;
            left = (end < rows.end).then_some((number + count, end..rows.end));
            let number = E164::new(number).expect("what came in as a number");
            Some(UnpackedRun { row: UnpackedRow { number, ..values }, count })
        })
    }

    /// Adds the numbers of some rows to a list.
    pub(super) fn list(&self, rows: Range<usize>, out: &mut Vec<u64>) {
        self.number_runs(rows).for_each(|(number, rows)| out.extend(number..number + rows.len() as u64));
    }

    /// How many of its rows have a number below this one.
    pub(super) fn rank(&self, number: u64) -> usize {
        let Some(distance) = number.checked_sub(self.first) else { return 0 };
        match &self.numbers {
            LeafNumbers::Run => usize::try_from(distance).unwrap_or(usize::MAX).min(self.len()),
            LeafNumbers::Runs { numbers, rows } => {
                let after = numbers.below(distance.saturating_add(1));
                let row = usize::from(rows[after - 1]);
                let end = rows.get(after).map_or(self.len(), |&next| usize::from(next));
                let into = distance - numbers.at(after - 1);
                usize::try_from(into).unwrap_or(usize::MAX).saturating_add(row).min(end)
            }
            LeafNumbers::Each(distances) => distances.below(distance),
        }
    }

    pub(super) fn find(&self, number: u64) -> Option<usize> {
        let (first, rows) = self.run_with(number)?;
        Some(rows.start + (number - first) as usize)
    }

    /// The run of numbers that a number is in: its first, and its rows.
    fn run_with(&self, number: u64) -> Option<(u64, Range<usize>)> {
        let distance = number.checked_sub(self.first)?;
        let (first, rows) = match &self.numbers {
            LeafNumbers::Run => (0, 0..self.len()),
            LeafNumbers::Runs { numbers, rows } => {
                let run = numbers.below(distance + 1) - 1;
                let end = rows.get(run + 1).map_or(self.len(), |&next| usize::from(next));
                (numbers.at(run), usize::from(rows[run])..end)
            }
            LeafNumbers::Each(distances) => {
                let row = distances.below(distance);
                if row == self.len() {
                    return None;
                }
                (distances.at(row), row..row + 1)
            }
        };
        (distance.wrapping_sub(first) < rows.len() as u64).then_some((self.first + first, rows))
    }

    pub(super) fn row(&self, row: usize) -> UnpackedRow {
        let number = E164::new(self.number(row)).expect("what came in as a number");
        UnpackedRow { number, ..self.values(self.stretch(row)) }
    }

    /// What the rows of a stretch say; the number is that of one of them.
    fn values(&self, stretch: usize) -> UnpackedRow {
        UnpackedRow {
            number: E164::new(self.first).expect("what came in as a number"),
            profile: Index::at(self.profiles.value(stretch) as usize),
            version: self.version.value(stretch) as u64,
            assigned_at: time(self.assigned_at.value(stretch)),
            expires_at: time(self.expires_at.value(stretch)),
            since: Time::new(self.since.value(stretch)).expect("what came in as a time"),
            until: time(self.until.value(stretch)),
        }
    }

    /// Adds the rows to a digest; `weights` are those of a profile, of which a
    /// row is named. A run of numbers costs what one number costs.
    pub(super) fn weigh(&self, digest: &mut RowDigest, mut weights: impl FnMut(usize, UnpackedRow) -> Weights) {
        let columns = [
            (DigestTerm::Version, &self.version),
            (DigestTerm::AssignedAt, &self.assigned_at),
            (DigestTerm::ExpiresAt, &self.expires_at),
            (DigestTerm::Since, &self.since),
            (DigestTerm::Until, &self.until),
        ];
        let of = |(number, rows): (u64, Range<usize>)| match rows.len() {
            1 => Moments::of(number),
            count => Moments::run(number, count as u64),
        };
        let sum = |moments: &mut dyn Iterator<Item = Moments>| {
            let mut sum = Moments::default();
            moments.for_each(|of| sum.add(of));
            sum
        };
        let stretch = |at: usize| sum(&mut self.number_runs(self.rows_of(at)).map(of));
        let stretches: Vec<Moments> = (0..self.stretches()).map(stretch).collect();
        let all = sum(&mut stretches.iter().copied());
        let mut sums = Vec::new();
        self.profiles.moments(&stretches, all, &mut sums);
        let firsts = self.profiles.first_stretches(self.stretches());
        for (code, (of, stretch)) in sums.iter().zip(firsts).enumerate() {
            let weights = weights(self.profiles.values[code] as usize, self.values(stretch));
            digest.words(weights, *of, u64::from(self.profile_counts[code]));
        }
        for (figure, column) in columns {
            column.moments(&stretches, all, &mut sums);
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
    fn doubtful(&self, scan: &mut Scan) -> &[u16] {
        self.doubtful.get_or_init(|| {
            let mut found = Vec::new();
            for (number, rows) in self.number_runs(0..self.len()) {
                let run =
                    NumberRun { first: E164::new(number).expect("what came in as a number"), count: rows.len() as u64 };
                scan.doubts(run, |doubtful, _| found.push((rows.start as u64 + doubtful.digits() - number) as u16));
            }
            found.into()
        })
    }

    fn bytes(&self) -> usize {
        let begins = match &self.begins {
            Begins::One | Begins::Each => 0,
            Begins::Rows(rows) => rows.len() * 2,
        };
        let columns = [&self.profiles, &self.version, &self.assigned_at, &self.expires_at, &self.since, &self.until];
        let columns: usize = columns.iter().map(|column| column.bytes()).sum();
        size_of::<Leaf>() + 16 + self.numbers.bytes() + begins + columns + self.profile_counts.len() * 2
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
    fn of(leaves: &[(Arc<Leaf>, LeafDates)]) -> RowChunk {
        let (before, len) = sums(leaves.iter().map(|(leaf, _)| leaf.len()));
        RowChunk {
            len,
            before,
            lasts: leaves.iter().map(|(leaf, _)| leaf.last).collect(),
            dates: leaves.iter().map(|(_, dates)| *dates).collect(),
            leaves: leaves.iter().map(|(leaf, _)| leaf.clone()).collect(),
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

    /// All numbers in the longest runs that ascend by one and say the same, however
    /// they are cut into leaves.
    pub(super) fn runs(&self) -> impl Iterator<Item = UnpackedRun> {
        let mut pieces = self.leaves().flat_map(|leaf| leaf.runs(0..leaf.len())).peekable();
        std::iter::from_fn(move || {
            let mut run = pieces.next()?;
            let goes_on = |run: UnpackedRun, next: &UnpackedRun| {
                run.next() == next.row.number.digits() && run.row.agrees(&next.row)
            };
            while let Some(next) = pieces.next_if(|next| goes_on(run, next)) {
                run.count += next.count;
            }
            Some(run)
        })
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

    /// The rows with a doubtful number, by leaf.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = (&Leaf, &[u16])> {
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

    /// The numbers from the one with this rank on.
    pub(super) fn slice(&self, rank: usize, count: usize) -> Vec<u64> {
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
            here.list(from..end, &mut out);
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
        Seeker { rows: self, chunk: 0, leaf: 0, run: None, stretch: None }
    }

    /// The rows with some put in, replaced or taken out: edits ascend and do not
    /// overlap.
    pub(super) fn edited(&self, edits: &[RowEdit]) -> RowStore {
        let mut builder = RowStoreBuilder::default();
        let mut edits = PendingEdits { head: None, rest: edits };
        if self.chunks.is_empty() {
            edits.before(u64::MAX).iter().for_each(|edit| builder.edit(edit));
            return builder.finish();
        }
        for (at, chunk) in self.chunks.iter().enumerate() {
            // A chunk takes the edits up to where the next one begins.
            let now = edits.before(self.chunks.get(at + 1).map_or(u64::MAX, |next| next.first()));
            if now.is_empty() {
                builder.share_chunk(chunk);
            } else {
                edit_chunk(chunk, &now, &mut builder);
            }
        }
        builder.finish()
    }

    pub(super) fn bytes(&self) -> usize {
        self.leaves().map(Leaf::bytes).sum::<usize>() + self.leaf_count() * (24 + size_of::<LeafDates>())
    }
}

/// Edits that are still to be made.
struct PendingEdits<'e> {
    /// The rest of one of which the beginning is made.
    head: Option<RowEdit>,
    rest: &'e [RowEdit],
}

impl PendingEdits<'_> {
    /// Those of numbers below a limit.
    fn before(&mut self, limit: u64) -> Vec<RowEdit> {
        let mut now = Vec::new();
        while let Some(edit) = self.head.or_else(|| self.rest.first().copied()).filter(|edit| edit.first < limit) {
            if self.head.take().is_none() {
                self.rest = &self.rest[1..];
            }
            if edit.last >= limit {
                now.push(RowEdit { last: limit - 1, ..edit });
                self.head = Some(RowEdit { first: limit, ..edit });
                break;
            }
            now.push(edit);
        }
        now
    }
}

fn edit_chunk(chunk: &RowChunk, edits: &[RowEdit], builder: &mut RowStoreBuilder) {
    let mut edits = PendingEdits { head: None, rest: edits };
    for (at, leaf) in chunk.leaves.iter().enumerate() {
        let now = edits.before(chunk.leaves.get(at + 1).map_or(u64::MAX, |next| next.first));
        if now.is_empty() {
            builder.share(leaf, chunk.dates[at]);
            continue;
        }
        if let [edit] = &now[..]
            && let Some(spliced) = leaf.spliced(edit)
        {
            builder.pack();
            builder.place(spliced);
            continue;
        }
        let mut from = 0;
        for edit in &now {
            let to = leaf.rank(edit.first);
            if from < to {
                leaf.runs(from..to).for_each(|run| builder.add(run));
            }
            from = leaf.rank(edit.last + 1);
            builder.edit(edit);
        }
        leaf.runs(from..leaf.len()).for_each(|run| builder.add(run));
    }
}

/// Makes leaves and chunks out of runs that come in order.
#[derive(Default)]
pub(super) struct RowStoreBuilder {
    runs: Vec<UnpackedRun>,
    /// How many rows they are.
    rows: usize,
    leaves: Vec<(Arc<Leaf>, LeafDates)>,
    chunks: Vec<Arc<RowChunk>>,
}

impl RowStoreBuilder {
    pub(super) fn push(&mut self, run: UnpackedRun) {
        self.add(run);
        if self.runs.len() == LEAF_RUNS || self.rows >= LEAF_ROWS {
            self.pack();
        }
    }

    fn edit(&mut self, edit: &RowEdit) {
        if let Some(row) = edit.row {
            let number = E164::new(edit.first).expect("a number of the edit");
            self.add(UnpackedRun { row: UnpackedRow { number, ..row }, count: edit.last - edit.first + 1 });
        }
    }

    fn add(&mut self, run: UnpackedRun) {
        self.rows += run.count as usize;
        match self.runs.last_mut() {
            Some(last) if last.next() == run.row.number.digits() && last.row.agrees(&run.row) => {
                last.count += run.count
            }
            _ => self.runs.push(run),
        }
    }

    fn share(&mut self, leaf: &Arc<Leaf>, dates: LeafDates) {
        self.pack();
        self.place_dated(leaf.clone(), dates);
    }

    fn share_chunk(&mut self, chunk: &Arc<RowChunk>) {
        self.pack();
        self.close();
        self.chunks.push(chunk.clone());
    }

    /// Turns the runs at hand into leaves of about the same size.
    fn pack(&mut self) {
        let (mut runs, rows) = (std::mem::take(&mut self.runs), std::mem::take(&mut self.rows));
        let by_runs = if runs.len() <= LEAF_RUNS { 1 } else { runs.len().div_ceil(LEAF_FILL) };
        let leaves = by_runs.max(rows.div_ceil(LEAF_ROWS));
        if leaves <= 1 {
            if !runs.is_empty() {
                self.place(Leaf::of(&runs));
            }
        } else {
            let (most_runs, most_rows) = (runs.len().div_ceil(leaves), rows.div_ceil(leaves) as u64);
            let (mut part, mut room): (Vec<UnpackedRun>, u64) = (Vec::with_capacity(most_runs), most_rows);
            for mut run in runs.drain(..) {
                while run.count > room {
                    part.extend((room > 0).then_some(UnpackedRun { count: room, ..run }));
                    run = run.without(room);
                    self.place(Leaf::of(&part));
                    part.clear();
                    room = most_rows;
                }
                room -= run.count;
                part.push(run);
                if part.len() == most_runs {
                    self.place(Leaf::of(&part));
                    part.clear();
                    room = most_rows;
                }
            }
            if !part.is_empty() {
                self.place(Leaf::of(&part));
            }
        }
        runs.clear();
        self.runs = runs;
    }

    fn place(&mut self, leaf: Leaf) {
        let dates = LeafDates {
            assigned_at: leaf.assigned_at.span(),
            expires_at: leaf.expires_at.span(),
            since: leaf.since.span(),
        };
        self.place_dated(Arc::new(leaf), dates);
    }

    fn place_dated(&mut self, leaf: Arc<Leaf>, dates: LeafDates) {
        self.leaves.push((leaf, dates));
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

/// Looks numbers up in ascending order, remembering where it is: neighbours are often
/// asked for, and often say the same.
pub(super) struct Seeker<'a> {
    rows: &'a RowStore,
    chunk: usize,
    leaf: usize,
    /// The run of numbers with the one found last: its leaf, first number and rows.
    run: Option<(&'a Leaf, u64, Range<usize>)>,
    /// The stretch unpacked last: its leaf, its rows and what they say.
    stretch: Option<(&'a Leaf, Range<usize>, UnpackedRow)>,
}

impl<'a> Seeker<'a> {
    pub(super) fn find(&mut self, number: u64) -> Option<(&'a Leaf, usize)> {
        if let Some((leaf, first, rows)) = &self.run {
            let (leaf, into, next) = (*leaf, number.wrapping_sub(*first), rows.end);
            if into < rows.len() as u64 {
                return Some((leaf, rows.start + into as usize));
            }
            // Where numbers are in no runs, it is often that of the next row.
            let runless = matches!(leaf.numbers, LeafNumbers::Each(_));
            if runless && next < leaf.len() && leaf.number(next) == number {
                self.run = Some((leaf, number, next..next + 1));
                return Some((leaf, next));
            }
        }
        let leaf = self.leaf_from(number)?;
        let (first, rows) = leaf.run_with(number)?;
        let row = rows.start + (number - first) as usize;
        self.run = Some((leaf, first, rows));
        Some((leaf, row))
    }

    /// What the row of a number says.
    pub(super) fn row(&mut self, number: u64) -> Option<UnpackedRow> {
        let (leaf, row) = self.find(number)?;
        let said = match &self.stretch {
            Some((of, rows, said)) if std::ptr::eq(*of, leaf) && rows.contains(&row) => *said,
            _ => {
                let stretch = leaf.stretch(row);
                let said = leaf.values(stretch);
                self.stretch = Some((leaf, leaf.rows_of(stretch), said));
                said
            }
        };
        Some(UnpackedRow { number: E164::new(number)?, ..said })
    }

    /// The numbers from `first` to `last` that there are, as runs, added to a list.
    pub(super) fn runs(&mut self, first: u64, last: u64, out: &mut Vec<UnpackedRun>) {
        let mut from = first;
        while let Some(leaf) = self.leaf_from(from).filter(|leaf| leaf.first <= last) {
            out.extend(leaf.runs(leaf.rank(from)..leaf.rank(last + 1)));
            if leaf.last >= last {
                break;
            }
            from = leaf.last + 1;
        }
    }

    /// The first leaf that ends at a number or after it.
    fn leaf_from(&mut self, number: u64) -> Option<&'a Leaf> {
        if self.rows.chunks.get(self.chunk)?.last() < number {
            self.chunk += self.rows.chunks[self.chunk..].partition_point(|chunk| chunk.last() < number);
            self.leaf = 0;
        }
        let chunk = self.rows.chunks.get(self.chunk)?;
        if chunk.lasts[self.leaf] < number {
            self.leaf += chunk.lasts[self.leaf..].partition_point(|&last| last < number);
        }
        Some(&chunk.leaves[self.leaf])
    }
}
