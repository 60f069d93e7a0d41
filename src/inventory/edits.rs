//! Edits of rows, and what they do to everything else that a snapshot has of numbers:
//! its sets, the uses of its profiles, and the moments that are due.
//!
//! They are collected for many rows and made together, since all of it is
//! copy-on-write.
//! Invariants: edits ascend and do not overlap; each was checked against the rows.
//! Deliberately absent: where edits come from.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::persistent::Array;
use super::rows::{RowEdit, UnpackedRow};
use super::set::{Set, SetEdit};
use super::table::Index;
use super::{Snapshot, Tagged, due_moments, memberships, merged};
use crate::domain::Time;

/// From how many edits on the rows are made on a thread of their own.
const THREADS_MIN: usize = 4_096;

/// Sets of some numbers each, by the index of what they belong to.
type Memberships = Vec<(usize, SetEdit)>;

#[derive(Default)]
pub(super) struct IndexEdits {
    rows: Vec<RowEdit>,
    all: Vec<SetEdit>,
    accounts: Memberships,
    applications: Memberships,
    tags: BTreeMap<Arc<str>, Vec<SetEdit>>,
    /// How many numbers a profile gets or loses.
    uses: Vec<(usize, i64)>,
    /// And a moment that is due.
    due: Vec<(Time, i64)>,
}

impl IndexEdits {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Makes numbers that all say what `was` says, or that are not there, say what `is`
    /// says.
    pub(super) fn add(
        &mut self,
        of: &Snapshot,
        (first, last): (u64, u64),
        was: Option<UnpackedRow>,
        is: Option<UnpackedRow>,
    ) {
        let set_edit = |present: bool| SetEdit { first, last, present };
        if was.is_some() != is.is_some() {
            self.all.push(set_edit(is.is_some()));
        }
        // Numbers with equal records have equal profiles.
        let [left, came] = [&was, &is].map(|row| row.as_ref().map(|row| of.profile(row.profile)));
        if left != came {
            let [of_left, of_came] = [left, came].map(|profile| profile.map(memberships).unwrap_or_default());
            let kinds = [(&mut self.accounts, of_left.0, of_came.0), (&mut self.applications, of_left.1, of_came.1)];
            for (sets, left, came) in kinds {
                if left != came {
                    sets.extend(left.map(|at| (at, set_edit(false))));
                    sets.extend(came.map(|at| (at, set_edit(true))));
                }
            }
            let tags = [left, came].map(|profile| profile.map_or(Index::NONE, |profile| profile.tags));
            if tags[0] != tags[1] {
                for (tags, present) in [(tags[0], false), (tags[1], true)] {
                    let all = of.tags.at(tags).into_iter().flat_map(|tags| tags.shared());
                    all.for_each(|tag| self.tags.entry(tag.clone()).or_default().push(set_edit(present)));
                }
            }
        }
        let count = (last - first + 1) as i64;
        for (row, profile, step) in [(&was, left, -count), (&is, came, count)] {
            let (Some(row), Some(profile)) = (row, profile) else { continue };
            self.uses.extend(row.profile.get().map(|at| (at, step)));
            self.due.extend(due_moments(profile, row).map(|time| (time, step)));
        }
        self.rows.push(RowEdit { first, last, row: is });
    }

    /// Makes the edits.
    pub(super) fn make(self, snapshot: &mut Snapshot) {
        let IndexEdits { rows, all, accounts, applications, tags, uses, due } = self;
        if rows.is_empty() {
            return;
        }
        let stored = snapshot.rows.clone();
        let others = |snapshot: &mut Snapshot| {
            snapshot.all = snapshot.all.edited(&all);
            let nothing = snapshot.nothing.clone();
            edit_sets(&mut snapshot.by_account, &nothing, accounts);
            edit_sets(&mut snapshot.by_application, &nothing, applications);
            for (tag, edits) in tags {
                let before = snapshot.by_tag.get(&*tag).map(Tagged::numbers).unwrap_or_default();
                match Tagged::of(before.edited(&merged(&edits))) {
                    Some(tagged) => snapshot.by_tag.insert(tag, tagged),
                    None => drop(snapshot.by_tag.remove(&*tag)),
                }
            }
            summed(uses).into_iter().for_each(|(at, step)| snapshot.count_uses(Index::at(at), step));
            summed(due).into_iter().for_each(|(time, step)| snapshot.due.note(time, step));
        };
        snapshot.rows = if rows.len() < THREADS_MIN {
            others(snapshot);
            stored.edited(&rows)
        } else {
            thread::scope(|scope| {
                let edited = scope.spawn(|| stored.edited(&rows));
                others(snapshot);
                edited.join().unwrap_or_else(|panic| resume_unwind(panic))
            })
        };
    }
}

/// Edits several sets, each by its own edits, in their order.
fn edit_sets(sets: &mut Array<Arc<Set>>, nothing: &Set, mut edits: Memberships) {
    edits.sort_by_key(|(at, _)| *at);
    for edits in edits.chunk_by(|a, b| a.0 == b.0) {
        let at = edits[0].0;
        let edits: Vec<SetEdit> = edits.iter().map(|(_, edit)| *edit).collect();
        let edited = sets.get(at).map_or(nothing, |set| &**set).edited(&edits);
        match edited.is_empty() {
            true => drop(sets.take(at)),
            false => sets.put(at, Arc::new(edited)),
        }
    }
}

/// Each key once, with the sum of its steps; none whose sum is nothing.
fn summed<K: Copy + Ord>(mut steps: Vec<(K, i64)>) -> Vec<(K, i64)> {
    steps.sort_unstable_by_key(|(key, _)| *key);
    steps.dedup_by(|later, first| {
        let same = later.0 == first.0;
        if same {
            first.1 += later.1;
        }
        same
    });
    steps.retain(|(_, step)| *step != 0);
    steps
}
