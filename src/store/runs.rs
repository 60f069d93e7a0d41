//! Neighbouring numbers with equal values, which both engines store as one row,
//! `first` to `last`: the rules that do not depend on SQL.
//!
//! Invariants: rows never overlap; a row has one partner and one version, and at
//! most [`RUN_MAX`] numbers. Deliberately absent: finding and writing rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::StoreError;
use super::rows::{LastValues, RECORD_COLUMNS, RowCells, corrupt, number_of, read_record};
use crate::domain::row_digest::{RowDigest, Scale};
use crate::domain::{E164, Record, RunChange};

/// How many numbers a row has at most. A damaged `last` then claims no more.
pub(super) const RUN_MAX: i64 = 1_000_000;

/// What is wrong with rows that claim the same numbers.
pub(super) const OVERLAPS: &str = "another row has some of its numbers";
/// Why a number behind a damaged row is not used.
pub(super) const NO_END: &str = "the row before it has an impossible end";

/// The first and the last number of a row, or of numbers that follow each other.
pub(super) type Span = (i64, i64);

/// Whether a row may have these bounds.
pub(super) fn possible(first: i64, last: i64) -> bool {
    matches!(last.checked_sub(first), Some(0..RUN_MAX))
}

/// The numbers of a row whose bounds are in two columns.
pub(super) fn bounds(row: &(impl RowCells + ?Sized), first: usize, last: usize) -> Result<(E164, E164), StoreError> {
    numbers_of(row.int(first)?, row.int(last)?)
}

/// The numbers of a row with these bounds.
pub(super) fn numbers_of(first: i64, last: i64) -> Result<(E164, E164), StoreError> {
    let numbers = (number_of(first)?, number_of(last)?);
    match possible(first, last) {
        true => Ok(numbers),
        false => Err(corrupt(format!("a row from number {first} to {last}"))),
    }
}

/// Some numbers that follow each other, as one write changes them.
#[derive(Clone, Copy)]
pub(super) struct ChangedRun<'a> {
    pub first: i64,
    pub last: i64,
    pub stored: bool,
    pub after: Option<&'a Record>,
}

impl<'a> ChangedRun<'a> {
    /// Changes, sorted, each number's once, as what becomes of rows: neighbours that
    /// come to say the same are one, of at most [`RUN_MAX`] numbers.
    pub fn all(changes: &'a [RunChange]) -> Vec<ChangedRun<'a>> {
        let mut all: Vec<ChangedRun<'a>> = Vec::with_capacity(changes.len());
        for change in changes {
            let (mut first, end) = (change.first.digits() as i64, change.next() as i64);
            let (stored, after) = (change.before.is_some(), change.after.as_ref());
            if let Some(last) = all.last_mut()
                && (last.last + 1, last.stored, last.after) == (first, stored, after)
            {
                last.last = (end - 1).min(last.first + RUN_MAX - 1);
                first = last.last + 1;
            }
            while first < end {
                let last = (end - 1).min(first + RUN_MAX - 1);
                all.push(ChangedRun { first, last, stored, after });
                first = last + 1;
            }
        }
        all
    }

    pub fn count(&self) -> i64 {
        self.last - self.first + 1
    }

    /// How many of a row's numbers it has.
    pub fn within(&self, (first, last): Span) -> i64 {
        last.min(self.last) - first.max(self.first) + 1
    }

    /// What is left of a row without these numbers, before them and behind them.
    pub fn remains(&self, (first, last): Span) -> (Option<Span>, Option<Span>) {
        ((first < self.first).then_some((first, self.first - 1)), (last > self.last).then_some((self.last + 1, last)))
    }

    /// Whether a row that was just written, with these values, can have these
    /// numbers as well.
    pub fn continues(&self, (first, last): Span, record: &Record) -> bool {
        last + 1 == self.first && self.last - first < RUN_MAX && self.after == Some(record)
    }

    pub fn conflict(&self) -> StoreError {
        corrupt(format!("number {} changed under a write lock", self.first))
    }
}

/// The digest of each partner's numbers in a table, and how many numbers are in
/// rows that this program cannot understand. It does not depend on how rows are
/// cut.
#[derive(Default)]
pub(super) struct TableDigest {
    pub digests: HashMap<i64, RowDigest>,
    pub unreadable: i64,
    scale: Scale,
    seen: LastValues,
}

impl TableDigest {
    /// From the columns `first, partner, version`, those of `RECORD`, and `last`.
    pub fn add(&mut self, row: &impl RowCells) -> Result<(), StoreError> {
        const LAST: usize = 3 + RECORD_COLUMNS;
        let read = bounds(row, 0, LAST).and_then(|numbers| Ok((numbers, read_record(row, 3, &mut self.seen)?)));
        match read {
            Ok(((first, last), record)) => {
                let digest = match self.digests.entry(row.int(1)?) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(RowDigest::default()),
                };
                let weights = self.scale.weigh(&record);
                digest.numbers((first, last), row.int(2)? as u64, weights, record.dates());
                Ok(())
            }
            Err(StoreError::Corrupt { .. }) => {
                self.unreadable += row.int(LAST)? - row.int(0)? + 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether two tables have the same numbers with the same values.
    pub fn agrees(&self, other: &TableDigest) -> bool {
        self.digests == other.digests && self.unreadable == other.unreadable
    }
}

/// What `verify` counts of the counts that are kept with numbers.
pub(super) const COUNTS_INTEGRITY: (&str, &str) = (
    "counts of accounts' numbers are not as the numbers say",
    "SELECT count(*) FROM (SELECT partner, account, state, \
         coalesce(expires_at, until, 9223372036854775807) AS ends, sum(last - first + 1) AS numbers FROM number_run \
         WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4) AS real \
         FULL JOIN account_numbers AS counted USING (partner, account, state, ends) \
         WHERE real.numbers IS NULL OR counted.numbers IS NULL OR real.numbers <> counted.numbers",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_some_of_its_numbers() {
        let run = ChangedRun { first: 3, last: 5, stored: true, after: None };
        for (row, expected, within) in [
            ((0, 9), (Some((0, 2)), Some((6, 9))), 3),
            ((3, 9), (None, Some((6, 9))), 3),
            ((0, 5), (Some((0, 2)), None), 3),
            ((3, 5), (None, None), 3),
            ((4, 4), (None, None), 1),
            ((5, 8), (None, Some((6, 8))), 1),
        ] {
            assert_eq!((run.remains(row), run.within(row)), (expected, within), "{row:?}");
        }
    }

    #[test]
    fn a_row_has_bounds_that_are_possible() {
        for ((first, last), expected) in [
            ((4_930_000_001, 4_930_000_001), true),
            ((4_930_000_001, 4_931_000_000), true),
            ((4_930_000_001, 4_931_000_001), false),
            ((4_930_000_002, 4_930_000_001), false),
            ((i64::MIN, i64::MAX), false),
        ] {
            assert_eq!(
                (possible(first, last), numbers_of(first, last).is_ok()),
                (expected, expected),
                "{first} {last}"
            );
        }
        assert!(possible(-5, -5) && numbers_of(-5, -5).is_err(), "no number");
    }
}
