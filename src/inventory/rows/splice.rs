//! One edit of a leaf: its columns are copied with a few values changed, where
//! building them anew would look each value up.
//!
//! A verb on one number changes one leaf, which has hundreds of runs. What always
//! holds: the leaf is as if it had been built from its runs (a test compares the two
//! by what they say), but that columns whose stretches nearly all had values of their
//! own stay so.

use std::sync::OnceLock;

use super::*;

/// In a list of stretches: the one that the edit brings.
const NEW: u16 = u16::MAX;

/// A leaf cut at an edit: which stretches it has afterwards, and where each begins.
struct LeafCut {
    /// The row with which each stretch begins, and the stretch of the leaf before
    /// from which its values are.
    stretches: Vec<(u16, u16)>,
    /// The first number of each run of numbers, as a distance, and its first row.
    numbers: Vec<(u64, u16)>,
    first: u64,
    last: u64,
    rows: usize,
}

impl Leaf {
    /// The leaf after an edit; `None` where that is no leaf, or would be too large.
    pub(super) fn spliced(&self, edit: &RowEdit) -> Option<Leaf> {
        let cut = self.cut(edit)?;
        let starts = cut.stretches.len();
        let (begins, sources): (Begins, Vec<u16>) = if starts == 1 {
            (Begins::One, vec![cut.stretches[0].1])
        } else if starts * 2 <= cut.rows {
            let (begins, sources): (Vec<u16>, Vec<u16>) = cut.stretches.into_iter().unzip();
            (Begins::Rows(begins.into()), sources)
        } else {
            let ends = cut.stretches.iter().skip(1).map(|(begin, _)| usize::from(*begin)).chain([cut.rows]);
            let each = cut.stretches.iter().zip(ends);
            let rows = each.flat_map(|(&(begin, source), end)| std::iter::repeat_n(source, end - usize::from(begin)));
            (Begins::Each, rows.collect())
        };
        let column = |column: &PackedColumn, value: fn(UnpackedRow) -> i64| {
            column.spliced(&sources, edit.row.map_or(NEVER, value))
        };
        let same_numbers = edit.row.is_some() && self.rank(edit.last + 1) - self.rank(edit.first) == edit.numbers();
        let mut leaf = Leaf {
            first: cut.first,
            last: cut.last,
            len: cut.rows as u16,
            numbers: LeafNumbers::packed(&cut.numbers, cut.last - cut.first, cut.rows),
            begins,
            profiles: column(&self.profiles, |row| profile_cell(row.profile)),
            profile_counts: Box::default(),
            version: column(&self.version, |row| row.version as i64),
            assigned_at: column(&self.assigned_at, |row| cell(row.assigned_at)),
            expires_at: column(&self.expires_at, |row| cell(row.expires_at)),
            since: column(&self.since, |row| row.since.seconds()),
            until: column(&self.until, |row| cell(row.until)),
            doubtful: if same_numbers { self.doubtful.clone() } else { OnceLock::new() },
        };
        leaf.count_profiles();
        Some(leaf)
    }

    fn cut(&self, edit: &RowEdit) -> Option<LeafCut> {
        let (from, to) = (self.rank(edit.first), self.rank(edit.last + 1));
        let new = if edit.row.is_some() { edit.numbers() } else { 0 };
        let rows = self.len() - (to - from) + new;
        if rows == 0 || rows > LEAF_ROWS {
            return None;
        }
        // Rows behind the edit move by so many.
        let moved = |row: usize| row + new - (to - from);
        let stretches = self.cut_stretches(edit, (from, to), moved);
        let (mut numbers, mut next) = (Vec::new(), None);
        let mut add = |number: u64, row: usize, count: usize| {
            if next != Some(number) {
                numbers.push((number, row as u16));
            }
            next = Some(number + count as u64);
        };
        self.number_runs(0..from).for_each(|(number, rows)| add(number, rows.start, rows.len()));
        if new > 0 {
            add(edit.first, from, new);
        }
        self.number_runs(to..self.len()).for_each(|(number, rows)| add(number, moved(rows.start), rows.len()));
        let last = next? - 1;
        let first = numbers.first()?.0;
        numbers.iter_mut().for_each(|(number, _)| *number -= first);
        let cut = LeafCut { stretches, numbers, first, last, rows };
        (cut.runs() <= LEAF_RUNS).then_some(cut)
    }

    fn cut_stretches(
        &self,
        edit: &RowEdit,
        (from, to): (usize, usize),
        moved: impl Fn(usize) -> usize,
    ) -> Vec<(u16, u16)> {
        let mut stretches: Vec<(u16, u16)> = Vec::with_capacity(self.stretches() + 2);
        let before = if from == 0 { 0 } else { self.stretch(from - 1) + 1 };
        stretches.extend((0..before).map(|at| (self.rows_of(at).start as u16, at as u16)));
        if let Some(row) = edit.row {
            // Values that the stretch before or behind has too are no new ones.
            let beside = |row: usize| (row < self.len()).then(|| self.stretch(row));
            let known = [from.checked_sub(1).and_then(beside), beside(to)].into_iter().flatten();
            let source = known.into_iter().find(|&at| self.values(at).agrees(&row)).map_or(NEW, |at| at as u16);
            push_stretch(&mut stretches, from, source);
        }
        if to < self.len() {
            for at in self.stretch(to)..self.stretches() {
                push_stretch(&mut stretches, moved(self.rows_of(at).start.max(to)), at as u16);
            }
        }
        stretches
    }

    /// Counts the rows of each profile.
    pub(super) fn count_profiles(&mut self) {
        let mut counts = vec![0; self.profiles.values.len()];
        (0..self.stretches()).for_each(|at| counts[self.profiles.code(at)] += self.rows_of(at).len() as u16);
        self.profile_counts = counts.into();
    }
}

/// Adds a stretch, unless the one before it has the same values.
fn push_stretch(stretches: &mut Vec<(u16, u16)>, begin: usize, source: u16) {
    if stretches.last().is_none_or(|(_, last)| *last != source) {
        stretches.push((begin as u16, source));
    }
}

impl LeafCut {
    /// How many runs of numbers that ascend by one and say the same.
    fn runs(&self) -> usize {
        let (mut stretches, mut numbers) = (self.stretches.iter().peekable(), self.numbers.iter().peekable());
        let mut runs = 0;
        loop {
            let [stretch, number] = [stretches.peek().map(|one| one.0), numbers.peek().map(|one| one.1)];
            let Some(row) = stretch.into_iter().chain(number).min() else { return runs };
            stretches.next_if(|one| one.0 == row);
            numbers.next_if(|one| one.1 == row);
            runs += 1;
        }
    }
}

impl PackedColumn {
    /// The column of other stretches: each has the value of one of these, or the new one.
    fn spliced(&self, sources: &[u16], new: i64) -> PackedColumn {
        if matches!(self.codes, Codes::Own) {
            let value = |&source: &u16| if source == NEW { new } else { self.values[usize::from(source)] };
            return PackedColumn { values: sources.iter().map(value).collect(), codes: Codes::Own };
        }
        let mut values = self.values.to_vec();
        let place = values.iter().position(|&value| value == new).unwrap_or_else(|| {
            values.push(new);
            values.len() - 1
        });
        let mut uses = vec![0_u16; values.len()];
        let mut code = |&source: &u16| {
            let code = if source == NEW { place } else { self.code(usize::from(source)) };
            uses[code] = 1;
            code as u16
        };
        let mut codes: Vec<u16> = sources.iter().map(&mut code).collect();
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
            profile: Index::at(seed as usize % 4),
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
            common in any::<bool>(),
            edits in prop::collection::vec((0..3_000_u64, 1..40_u64, prop::option::of(0..1_000_u64)), 1..120),
        ) {
            let mut builder = RowStoreBuilder::default();
            let mut model: BTreeMap<u64, UnpackedRow> = BTreeMap::new();
            for number in (BASE..BASE + filled).filter(|number| number % 7 != 0) {
                let row = row(number, number / 50 * 31 % 97, common);
                builder.push(UnpackedRun { row, count: 1 });
                model.insert(number, row);
            }
            let mut store = builder.finish();
            for (from, count, seed) in edits {
                let (first, last) = (BASE + from, BASE + from + count - 1);
                let new = seed.map(|seed| row(first, seed, common));
                store = store.edited(&[RowEdit { first, last, row: new }]);
                for number in first..=last {
                    model.remove(&number);
                    let number_of = |new| UnpackedRow { number: E164::new(number).expect("a number"), ..new };
                    model.extend(new.map(|new| (number, number_of(new))));
                }
            }
            prop_assert_eq!(store.len(), model.len());
            prop_assert!(store.slice(0, usize::MAX).iter().eq(model.values()));
            for leaf in store.leaves() {
                let rows: Vec<UnpackedRow> = (0..leaf.len()).map(|at| leaf.row(at)).collect();
                prop_assert_eq!((leaf.first, leaf.last), (rows[0].number.digits(), rows[rows.len() - 1].number.digits()));
                prop_assert!(leaf.runs(0..leaf.len()).count() <= LEAF_RUNS);
                for (code, &cell) in leaf.profiles.values().iter().enumerate() {
                    let counted = rows.iter().filter(|row| profile_cell(row.profile) == cell).count();
                    prop_assert_eq!(usize::from(leaf.profile_counts[code]), counted);
                }
                let distinct: std::collections::BTreeSet<i64> = leaf.profiles.values().iter().copied().collect();
                prop_assert_eq!(distinct.len(), leaf.profiles.values().len());
            }
            for (leaf, dates) in store.dated_leaves() {
                prop_assert_eq!(dates.since, leaf.since.span());
            }
        }
    }
}
