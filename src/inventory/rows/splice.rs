//! One edit of a leaf: its columns are copied with a few values changed, where
//! building them anew would look each value up.
//!
//! A verb on one number changes one leaf, which has hundreds of runs. What is before
//! and behind the edit is copied as it is, codes and all. What always holds: the leaf
//! says what one built from its runs would say (a test compares the two), and values
//! with codes are distinct. A column keeps the form that it had for as long as that fits.

use std::sync::OnceLock;

use super::*;

/// If an edit takes out more stretches than these, columns are packed anew.
const TAKEN_FEW: usize = 8;

/// What an edit leaves of the stretches of a leaf: those before `head`, `new` ones with
/// the edit's values, and those from `tail` on. One that the edit cuts in two is in both.
struct StretchCut {
    head: usize,
    new: usize,
    tail: usize,
    /// How many stretches there were.
    all: usize,
}

impl StretchCut {
    fn len(&self) -> usize {
        self.head + self.new + self.all - self.tail
    }

    /// The stretches that are gone.
    fn taken(&self) -> Range<usize> {
        self.head..self.tail.max(self.head)
    }

    /// A list with something for each stretch, as it is afterwards.
    fn joined<T: Copy>(&self, each: &[T], new: T) -> Vec<T> {
        let mut joined = Vec::with_capacity(self.len());
        joined.extend_from_slice(&each[..self.head]);
        joined.extend(std::iter::repeat_n(new, self.new));
        joined.extend_from_slice(&each[self.tail..]);
        joined
    }
}

/// Which codes the values of a column have after an edit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodesAfter {
    /// Those that they had.
    Same,
    /// The same; but the value of this code is gone, and the last one has it now.
    Without(usize),
    Others,
}

impl Leaf {
    /// The leaf after an edit; `None` where that is no leaf, or would be too large.
    pub(super) fn spliced(&self, edit: &RowEdit) -> Option<Leaf> {
        let (from, to) = (self.rank(edit.first), self.rank(edit.last + 1));
        let new = if edit.row.is_some() { edit.numbers() } else { 0 };
        let rows = self.len() - (to - from) + new;
        if rows == 0 || rows > LEAF_ROWS {
            return None;
        }
        let (cut, begins) = self.cut(edit, from..to, new);
        let same_numbers = new > 0 && to - from == new;
        let (first, last, numbers) = match same_numbers {
            true => (self.first, self.last, self.numbers.clone()),
            false => self.renumbered(edit, from..to, new, rows)?,
        };
        let column = |column: &PackedColumn, value: fn(UnpackedRow) -> i64| {
            column.spliced(&cut, edit.row.map_or(NEVER, value)).0
        };
        let (profiles, codes) = self.profiles.spliced(&cut, edit.row.map_or(-1, |row| profile_cell(row.profile)));
        let mut leaf = Leaf {
            first,
            last,
            len: rows as u16,
            numbers,
            begins: match cut.len() {
                1 => Begins::One,
                _ => begins,
            },
            profiles,
            profile_counts: Box::default(),
            version: column(&self.version, |row| row.version as i64),
            assigned_at: column(&self.assigned_at, |row| cell(row.assigned_at)),
            expires_at: column(&self.expires_at, |row| cell(row.expires_at)),
            since: column(&self.since, |row| row.since.seconds()),
            until: column(&self.until, |row| cell(row.until)),
            doubtful: if same_numbers { self.doubtful.clone() } else { OnceLock::new() },
        };
        if !leaf.has_room() {
            return None;
        }
        match codes {
            CodesAfter::Others => leaf.count_profiles(),
            CodesAfter::Same => leaf.profile_counts = self.recounted(&leaf, from..to, new, None),
            CodesAfter::Without(gone) => leaf.profile_counts = self.recounted(&leaf, from..to, new, Some(gone)),
        }
        Some(leaf.by_rows())
    }

    /// What an edit leaves of the stretches, and the row with which each of them begins.
    fn cut(&self, edit: &RowEdit, rows: Range<usize>, new: usize) -> (StretchCut, Begins) {
        let (Range { start: from, end: to }, all) = (rows, self.stretches());
        if matches!(self.begins, Begins::Each) {
            return (StretchCut { head: from, new, tail: to, all }, Begins::Each);
        }
        let head = if from == 0 { 0 } else { self.stretch(from - 1) + 1 };
        let mut tail = if to == self.len() { all } else { self.stretch(to) };
        let agrees = |stretch: usize| edit.row.is_some_and(|row| self.values(stretch).agrees(&row));
        // Values that the stretch before or behind has too are no new ones.
        let goes_on = head > 0 && (edit.row.is_none() || agrees(head - 1));
        let begins_earlier = !goes_on && tail < all && agrees(tail);
        if goes_on {
            tail = tail.max(head);
        }
        let brings = edit.row.is_some() && !goes_on && !begins_earlier;
        let cut = StretchCut { head, new: usize::from(brings), tail, all };
        let mut begins = Vec::with_capacity(cut.len());
        begins.extend((0..head).map(|at| self.rows_of(at).start as u16));
        begins.extend(brings.then_some(from as u16));
        begins.extend((tail..all).map(|at| match at == tail && begins_earlier {
            true => from as u16,
            // Rows behind the edit move.
            false => (self.rows_of(at).start.max(to) + new - (to - from)) as u16,
        }));
        (cut, Begins::Rows(begins.into()))
    }

    /// The first number, the last, and all of them where an edit brings others than were
    /// there.
    fn renumbered(&self, edit: &RowEdit, of: Range<usize>, new: usize, rows: usize) -> Option<(u64, u64, LeafNumbers)> {
        let (mut numbers, mut next) = (Vec::new(), None);
        let mut add = |number: u64, row: usize, count: usize| {
            if next != Some(number) {
                numbers.push((number, row as u16));
            }
            next = Some(number + count as u64);
        };
        self.number_runs(0..of.start).for_each(|(number, rows)| add(number, rows.start, rows.len()));
        if new > 0 {
            add(edit.first, of.start, new);
        }
        let behind = self.number_runs(of.end..self.len());
        behind.for_each(|(number, rows)| add(number, rows.start + new - of.len(), rows.len()));
        let last = next? - 1;
        let first = numbers.first()?.0;
        numbers.iter_mut().for_each(|(number, _)| *number -= first);
        Some((first, last, LeafNumbers::packed(&numbers, last - first, rows)))
    }

    /// Whether it has no more runs of numbers that ascend by one and say the same than a
    /// leaf may have.
    fn has_room(&self) -> bool {
        let number_runs = match &self.numbers {
            LeafNumbers::Run => 1,
            LeafNumbers::Runs { rows, .. } => rows.len(),
            LeafNumbers::Each(_) => self.len(),
        };
        if self.len().min(self.stretches() + number_runs) <= LEAF_RUNS {
            return true;
        }
        let mut stretches = (0..self.stretches()).map(|at| self.rows_of(at).start).peekable();
        // Numbers that are stored one by one may go on as well.
        let mut next = None;
        let begins = |(number, rows): (u64, Range<usize>)| {
            let goes_on = next.replace(number + rows.len() as u64) == Some(number);
            (!goes_on).then_some(rows.start)
        };
        let mut numbers = self.number_runs(0..self.len()).filter_map(begins).peekable();
        let mut runs = 0;
        while let Some(row) = stretches.peek().into_iter().chain(numbers.peek()).min().copied() {
            stretches.next_if_eq(&row);
            numbers.next_if_eq(&row);
            runs += 1;
        }
        runs <= LEAF_RUNS
    }

    /// The leaf with a stretch for each row, if stretches are that short.
    fn by_rows(self) -> Leaf {
        let Begins::Rows(begins) = &self.begins else { return self };
        if begins.len() * 2 <= self.len() {
            return self;
        }
        let column = |column: &PackedColumn| {
            let stretches = (0..begins.len()).flat_map(|at| std::iter::repeat_n(at, self.rows_of(at).len()));
            match column.codes {
                Codes::Own => {
                    PackedColumn { values: stretches.map(|at| column.values[at]).collect(), codes: Codes::Own }
                }
                Codes::Same | Codes::Most(_) | Codes::Byte(_) | Codes::Word(_) => {
                    let codes = stretches.map(|at| column.code(at) as u16).collect();
                    PackedColumn::packed(column.values.to_vec(), codes)
                }
            }
        };
        let mut leaf = Leaf {
            profiles: column(&self.profiles),
            version: column(&self.version),
            assigned_at: column(&self.assigned_at),
            expires_at: column(&self.expires_at),
            since: column(&self.since),
            until: column(&self.until),
            begins: Begins::Each,
            ..self
        };
        // With a value for each row, it has a count for each row.
        leaf.count_profiles();
        leaf
    }

    /// Counts the rows of each profile.
    pub(super) fn count_profiles(&mut self) {
        let mut counts = vec![0; self.profiles.values.len()];
        (0..self.stretches()).for_each(|at| counts[self.profiles.code(at)] += self.rows_of(at).len() as u16);
        self.profile_counts = counts.into();
    }

    /// The counts of the leaf after an edit of some of the rows, that are `new` there, and
    /// without the profile of a code. The others have the codes that they have here.
    fn recounted(&self, after: &Leaf, rows: Range<usize>, new: usize, gone: Option<usize>) -> Box<[u16]> {
        let mut counts = self.profile_counts.to_vec();
        let mut row = rows.start;
        while row < rows.end {
            let stretch = self.stretch(row);
            let end = self.rows_of(stretch).end.min(rows.end);
            counts[self.profiles.code(stretch)] -= (end - row) as u16;
            row = end;
        }
        if let Some(gone) = gone {
            counts.swap_remove(gone);
        }
        counts.resize(after.profiles.values.len(), 0);
        if new > 0 {
            counts[after.profiles.code(after.stretch(rows.start))] += new as u16;
        }
        counts.into()
    }
}

impl PackedColumn {
    /// The column after an edit that brings a value.
    fn spliced(&self, cut: &StretchCut, value: i64) -> (PackedColumn, CodesAfter) {
        if matches!(self.codes, Codes::Own) {
            let values = cut.joined(&self.values, value);
            return (PackedColumn { values: values.into(), codes: Codes::Own }, CodesAfter::Others);
        }
        self.spliced_few(cut, value).unwrap_or_else(|| (self.repacked(cut, value), CodesAfter::Others))
    }

    /// The same, if it need not be packed otherwise.
    fn spliced_few(&self, cut: &StretchCut, value: i64) -> Option<(PackedColumn, CodesAfter)> {
        if cut.taken().len() > TAKEN_FEW {
            return None;
        }
        let mut unused = cut
            .taken()
            .map(|stretch| self.code(stretch))
            .filter(|&code| !self.has(code, 0..cut.head) && !self.has(code, cut.tail..cut.all));
        let (unused, more) = (unused.next(), unused.next());
        let known = self.values.iter().position(|&known| known == value).filter(|_| cut.new > 0);
        let mut values = self.values.clone();
        let (place, gone) = match (known, unused) {
            _ if more.is_some() => return None,
            (None, gone) if cut.new == 0 => (0, gone),
            // What no stretch has any more makes room for the new value.
            (None, Some(place)) => {
                values[place] = value;
                (place, None)
            }
            (None, None) => {
                values = values.iter().copied().chain([value]).collect();
                (values.len() - 1, None)
            }
            (Some(place), gone) => (place, gone.filter(|gone| *gone != place)),
        };
        let count = cut.len();
        let mut codes = match &self.codes {
            Codes::Same if values.len() == 1 => Codes::Same,
            Codes::Byte(codes) if values.len() <= 256 => Codes::Byte(cut.joined(codes, place as u8).into()),
            Codes::Word(codes) if !Codes::are_own(values.len(), count) => {
                Codes::Word(cut.joined(codes, place as u16).into())
            }
            Codes::Most(exceptions) if values.len() <= 256 => {
                let exceptions = exceptions.spliced(cut, place as u8);
                Exceptions::few(exceptions.stretches.len(), count).then_some(Codes::Most(Box::new(exceptions)))?
            }
            Codes::Same | Codes::Own | Codes::Most(_) | Codes::Byte(_) | Codes::Word(_) => return None,
        };
        let Some(gone) = gone else { return Some((PackedColumn { values, codes }, CodesAfter::Same)) };
        if values.len() <= 2 {
            return None;
        }
        let mut values = Vec::from(values);
        codes.rename(values.len() - 1, gone);
        values.swap_remove(gone);
        Some((PackedColumn { values: values.into(), codes }, CodesAfter::Without(gone)))
    }

    /// Whether one of some stretches has a code.
    fn has(&self, code: usize, stretches: Range<usize>) -> bool {
        match &self.codes {
            Codes::Same => !stretches.is_empty(),
            Codes::Own => stretches.contains(&code),
            Codes::Most(exceptions) => {
                let within = exceptions.within(&stretches);
                match code == usize::from(exceptions.common) {
                    true => within.len() < stretches.len(),
                    false => exceptions.codes[within].contains(&(code as u8)),
                }
            }
            Codes::Byte(codes) => memchr::memchr(code as u8, &codes[stretches]).is_some(),
            Codes::Word(codes) => codes[stretches].contains(&(code as u16)),
        }
    }

    /// The column after an edit, packed anew.
    fn repacked(&self, cut: &StretchCut, value: i64) -> PackedColumn {
        let mut values = self.values.to_vec();
        let place = values.iter().position(|&known| known == value).unwrap_or_else(|| {
            values.push(value);
            values.len() - 1
        });
        let before: Vec<u16> = (0..cut.all).map(|stretch| self.code(stretch) as u16).collect();
        let mut codes = cut.joined(&before, place as u16);
        let mut uses = vec![0_u16; values.len()];
        codes.iter().for_each(|&code| uses[usize::from(code)] = 1);
        if uses.contains(&0) {
            let mut used = uses.iter();
            values.retain(|_| used.next() == Some(&1));
            let mut places = 0;
            for use_count in &mut uses {
                (*use_count, places) = (places, places + *use_count);
            }
            codes.iter_mut().for_each(|code| *code = uses[usize::from(*code)]);
        }
        PackedColumn::packed(values, codes)
    }
}

impl Codes {
    /// Gives what has one code another one.
    fn rename(&mut self, from: usize, to: usize) {
        match self {
            Codes::Same | Codes::Own => {}
            Codes::Most(exceptions) => {
                renamed(std::slice::from_mut(&mut exceptions.common), from as u8, to as u8);
                renamed(&mut exceptions.codes, from as u8, to as u8);
            }
            Codes::Byte(codes) => renamed(codes, from as u8, to as u8),
            Codes::Word(codes) => renamed(codes, from as u16, to as u16),
        }
    }
}

fn renamed<T: Copy + Eq>(codes: &mut [T], from: T, to: T) {
    codes.iter_mut().filter(|code| **code == from).for_each(|code| *code = to);
}

impl Exceptions {
    /// Which of them are of these stretches.
    fn within(&self, stretches: &Range<usize>) -> Range<usize> {
        let at = |stretch: usize| self.stretches.partition_point(|&have| usize::from(have) < stretch);
        at(stretches.start)..at(stretches.end)
    }

    fn spliced(&self, cut: &StretchCut, new: u8) -> Exceptions {
        let [head, tail] = [cut.head, cut.tail].map(|stretch| self.within(&(0..stretch)).end);
        let others = if new == self.common { 0 } else { cut.new };
        let behind = cut.head + cut.new;
        let mut stretches = self.stretches[..head].to_vec();
        stretches.extend((cut.head..cut.head + others).map(|stretch| stretch as u16));
        stretches
            .extend(self.stretches[tail..].iter().map(|&stretch| (usize::from(stretch) + behind - cut.tail) as u16));
        let mut codes = self.codes[..head].to_vec();
        codes.extend(std::iter::repeat_n(new, others));
        codes.extend_from_slice(&self.codes[tail..]);
        Exceptions { common: self.common, stretches: stretches.into(), codes: codes.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 912_271_260_000;

    /// A row whose values follow from a seed: mostly common ones, or all its own.
    fn row(number: u64, seed: u64, common: bool) -> UnpackedRow {
        let at = |seed: u64| Time::new(1_770_000_000 + seed as i64).expect("a time");
        let values = if common { seed % 3 } else { seed };
        UnpackedRow {
            number: E164::new(number).expect("a number"),
            profile: Index::at(if common { seed % 4 } else { seed } as usize),
            version: values,
            assigned_at: (values % 2 == 0).then(|| at(values)),
            expires_at: (values % 5 == 0).then(|| at(values + 9)),
            since: at(values / 2),
            until: None,
        }
    }

    proptest! {
        #[test]
        fn single_edits_leave_what_a_map_has(
            filled in 0..2_500_u64,
            kind in 0..4_u64,
            edits in prop::collection::vec((0..3_000_u64, prop_oneof![9 => 1..40_u64, 1 => 1..900_u64], prop::option::of(0..1_000_u64)), 1..120),
        ) {
            let mut builder = RowStoreBuilder::default();
            let mut model: BTreeMap<u64, UnpackedRow> = BTreeMap::new();
            for number in (BASE..BASE + filled).filter(|number| number % 7 != 0) {
                // Blocks of few values or of many, pairs and numbers with values of their own.
                let seed = match kind {
                    0 | 1 => number / 50 * 31 % 97,
                    2 => (number - BASE) / 2,
                    _ => number - BASE,
                };
                let row = row(number, seed, kind == 0);
                builder.push(UnpackedRun { row, count: 1 });
                model.insert(number, row);
            }
            let mut store = builder.finish();
            for (from, count, seed) in edits {
                let (first, last) = (BASE + from, BASE + from + count - 1);
                let new = seed.map(|seed| row(first, seed, kind == 0));
                store = store.edited(&[RowEdit { first, last, row: new }]);
                for number in first..=last {
                    model.remove(&number);
                    let number_of = |new| UnpackedRow { number: E164::new(number).expect("a number"), ..new };
                    model.extend(new.map(|new| (number, number_of(new))));
                }
            }
            prop_assert_eq!(store.len(), model.len());
            let mut seeker = store.seeker();
            let rows = store.slice(0, usize::MAX).into_iter().map(|number| seeker.row(number));
            prop_assert!(rows.eq(model.values().map(|row| Some(*row))));
            // Of numbers that are not all neighbours, there or not.
            let mut seeker = store.seeker();
            for number in (BASE..BASE + 3_000).step_by(5) {
                prop_assert_eq!(seeker.row(number), model.get(&number).copied());
            }
            for leaf in store.leaves() {
                let rows: Vec<UnpackedRow> = (0..leaf.len()).map(|at| leaf.row(at)).collect();
                prop_assert_eq!((leaf.first, leaf.last), (rows[0].number.digits(), rows[rows.len() - 1].number.digits()));
                let begins = |two: &[UnpackedRow]| {
                    two[0].number.digits() + 1 != two[1].number.digits() || !two[0].agrees(&two[1])
                };
                // Beside the first one.
                prop_assert!(rows.windows(2).filter(|two| begins(two)).count() < LEAF_RUNS);
                let cells = leaf.profiles.values();
                prop_assert_eq!(leaf.profile_counts.len(), cells.len());
                let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
                for (&cell, &count) in cells.iter().zip(&leaf.profile_counts) {
                    *counts.entry(cell).or_default() += usize::from(count);
                }
                for (&cell, &count) in &counts {
                    prop_assert_eq!(count, rows.iter().filter(|row| profile_cell(row.profile) == cell).count());
                }
                prop_assert!(counts.values().all(|count| *count > 0));
                // Where codes are few, they are of distinct values.
                let each = matches!(leaf.profiles.codes, Codes::Own) || cells.len() > 256;
                prop_assert!(each || counts.len() == cells.len());
            }
            for (leaf, dates) in store.dated_leaves() {
                prop_assert_eq!(dates.since, leaf.since.span());
            }
        }
    }
}
