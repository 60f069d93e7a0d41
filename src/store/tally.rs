//! What one write does to the digest of a partner's rows.
//!
//! What a row said is taken out and what it says now is added, so a write costs
//! what it touches. The version that a row had is in no change: it is what the
//! write has read of it, or is read once more.

use std::collections::HashMap;

use super::Ownership;
use crate::domain::row_digest::{DigestDelta, Scale};
use crate::domain::{E164, EntityChange, NumberChange};

#[derive(Default)]
pub(super) struct RowTally {
    done: DigestDelta,
    /// The versions of the rows that were read last, or written since.
    versions: HashMap<E164, u64>,
    before: Scale,
    after: Scale,
}

impl RowTally {
    /// Remembers what was read of numbers, and nothing that was read before: a
    /// write of a million numbers reads them in pieces.
    pub fn read(&mut self, wanted: &[E164], holdings: &[Ownership]) {
        self.versions.clear();
        for (number, holding) in wanted.iter().zip(holdings) {
            if let Ownership::Ours { version, .. } = holding {
                self.versions.insert(*number, *version);
            }
        }
    }

    /// The changed rows whose versions are not known.
    pub fn unread(&self, changes: &[NumberChange]) -> Vec<E164> {
        let there = changes.iter().filter(|change| change.before.is_some()).map(|change| change.number);
        there.filter(|number| !self.versions.contains_key(number)).collect()
    }

    pub fn learn(&mut self, number: E164, version: u64) {
        self.versions.insert(number, version);
    }

    /// Numbers change, and have `version` from now on.
    pub fn numbers(&mut self, changes: &[NumberChange], version: u64) {
        for NumberChange { number, before, after } in changes {
            if let Some(record) = before {
                let version = self.versions.get(number).copied().unwrap_or(0);
                self.done.gone.number(*number, version, self.before.weigh(record), record.dates());
            }
            match after {
                Some(record) => {
                    self.done.come.number(*number, version, self.after.weigh(record), record.dates());
                    self.versions.entry(*number).and_modify(|known| *known = version);
                }
                None => drop(self.versions.remove(number)),
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
