//! What one write does to the digest of a partner's rows.
//!
//! What a row said is taken out and what it says now is added, so a write costs
//! what it touches. The version that a row had is in no change: it is what the
//! write has read of it, or is read once more.

use std::collections::BTreeMap;

use super::{OwnedRun, Ownership};
use crate::domain::row_digest::{DigestDelta, Scale};
use crate::domain::{E164, EntityChange, NumberRun, RunChange};

#[derive(Default)]
pub(super) struct RowTally {
    done: DigestDelta,
    /// The versions of the rows that were read last, or written since.
    versions: RunVersions,
    before: Scale,
    after: Scale,
}

impl RowTally {
    /// Remembers what was read of numbers, and nothing that was read before: a
    /// write of a million numbers reads them in pieces.
    pub fn read(&mut self, owned: &[OwnedRun]) {
        self.versions.0.clear();
        for OwnedRun { run, owner } in owned {
            if let Ownership::Ours { version, .. } = owner {
                self.learn(*run, *version);
            }
        }
    }

    /// The changed numbers whose versions are not known.
    pub fn unread(&self, changes: &[RunChange]) -> Vec<NumberRun> {
        let there = changes.iter().filter(|change| change.before.is_some());
        let pieces = there.flat_map(|change| self.versions.of(change.run()));
        pieces.filter(|(_, version)| version.is_none()).map(|(run, _)| run).collect()
    }

    pub fn learn(&mut self, run: NumberRun, version: u64) {
        self.versions.set(run, version);
    }

    /// Numbers change, and have `version` from now on.
    pub fn runs(&mut self, changes: &[RunChange], version: u64) {
        for change in changes {
            let known = self.versions.of(change.run());
            if let Some(record) = &change.before {
                let weights = self.before.weigh(record);
                for (run, version) in &known {
                    self.done.gone.numbers(bounds(*run), version.unwrap_or(0), weights, record.dates());
                }
            }
            if let Some(record) = &change.after {
                let weights = self.after.weigh(record);
                self.done.come.numbers(bounds(change.run()), version, weights, record.dates());
            }
            for (run, _) in known.into_iter().filter(|(_, version)| version.is_some()) {
                match change.after {
                    Some(_) => self.versions.set(run, version),
                    None => self.versions.forget(run),
                }
            }
        }
    }

    pub fn entity(&mut self, change: &EntityChange) {
        self.done.come.edit(change);
    }

    pub fn done(&self) -> DigestDelta {
        self.done
    }
}

/// Its first and its last number.
fn bounds(run: NumberRun) -> (E164, E164) {
    (run.first, run.last())
}

/// Versions by runs of numbers, which do not overlap: by the first number the last
/// and the version.
#[derive(Default)]
struct RunVersions(BTreeMap<E164, (E164, u64)>);

impl RunVersions {
    fn set(&mut self, run: NumberRun, version: u64) {
        self.forget(run);
        self.0.insert(run.first, (run.last(), version));
    }

    fn forget(&mut self, run: NumberRun) {
        let (first, last) = bounds(run);
        while let Some((&from, &(to, version))) = self.0.range(..=last).next_back()
            && to >= first
        {
            self.0.remove(&from);
            if let Some(before) = NumberRun::between(from.digits(), first.digits() - 1) {
                self.0.insert(before.first, (before.last(), version));
            }
            if let Some(behind) = NumberRun::between(last.digits() + 1, to.digits()) {
                self.0.insert(behind.first, (behind.last(), version));
            }
        }
    }

    /// The numbers of a run by their versions; none where that is not known.
    fn of(&self, run: NumberRun) -> Vec<(NumberRun, Option<u64>)> {
        let (first, last) = (run.first.digits(), run.last().digits());
        let begins = self.0.range(..=run.first).next_back().map_or(run.first, |(&from, _)| from);
        let (mut pieces, mut next) = (Vec::new(), first);
        for (from, (to, version)) in self.0.range(begins..=run.last()) {
            let (from, to) = (from.digits().max(first), to.digits().min(last));
            pieces.extend(NumberRun::between(next, from.saturating_sub(1)).map(|free| (free, None)));
            pieces.extend(NumberRun::between(from, to).map(|known| (known, Some(*version))));
            next = next.max(to + 1);
        }
        pieces.extend(NumberRun::between(next, last).map(|free| (free, None)));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, count: u64) -> NumberRun {
        NumberRun { first: E164::new(first).expect("a number"), count }
    }

    #[test]
    fn versions_are_kept_by_run() {
        let mut versions = RunVersions::default();
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let base = 912_271_260_000;
        for step in 0..400_u64 {
            let (first, count) = (base + step * 7_919 % 90, 1 + step * 31 % 17);
            match step % 3 {
                0 => {
                    versions.forget(run(first, count));
                    model.retain(|number, _| !(first..first + count).contains(number));
                }
                _ => {
                    versions.set(run(first, count), step);
                    model.extend((first..first + count).map(|number| (number, step)));
                }
            }
            let asked = run(base + step * 13 % 80, 1 + step % 40);
            let found = versions.of(asked);
            let numbers = found.iter().flat_map(|(run, version)| run.numbers().map(|number| (number, *version)));
            let expected = asked.numbers().map(|number| (number, model.get(&number.digits()).copied()));
            assert!(numbers.eq(expected), "step {step}");
        }
    }
}
