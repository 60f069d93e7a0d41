//! The entries that this process has committed and that its follower has not asked for
//! yet, so that it need not read back and decode what was in memory a moment ago.
//!
//! Invariants: an entry is handed over only after its commit, and as the log had it
//! then; those of a partner have versions without a gap; all together have at most
//! [`RUNS_MAX`] runs. Deliberately absent: any promise. Whatever is not here is in the
//! log, and entries of other processes are only there. A database may have forgotten a
//! commit, so a follower compares where it got to with the head, and reads the log if
//! that is another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{FollowNow, LogEntry, LogPiece};
use crate::domain::change::Digest;
use crate::domain::{EntityChange, PartnerKey, RunChange};

/// How many runs of numbers wait at the most, where an entry and a change of an entity
/// count as one: some megabytes.
const RUNS_MAX: usize = 16_384;
/// How much of that an entry may have.
const ENTRY_MAX: usize = RUNS_MAX / 2;

/// An entry of the log with all that it has.
#[derive(Clone, PartialEq, Debug)]
pub struct WholeEntry {
    pub version: u64,
    pub entry: LogEntry,
    pub entities: Vec<EntityChange>,
    /// The digest of the entry before it, and its own.
    pub previous: Digest,
    pub digest: Digest,
    /// Sorted, each number once, each run within a group.
    pub numbers: Vec<RunChange>,
}

impl WholeEntry {
    /// What [`super::LogReads::follow`] hands over of it.
    pub fn pieces(self) -> impl Iterator<Item = LogPiece> {
        let WholeEntry { version, entry, entities, previous, digest, numbers } = self;
        let numbers = (!numbers.is_empty()).then_some(LogPiece::Numbers(numbers));
        std::iter::once(LogPiece::Entry { version, entry, entities, previous })
            .chain(numbers)
            .chain([LogPiece::End { digest }])
    }

    fn size(&self) -> usize {
        1 + self.entities.len() + self.numbers.len()
    }
}

/// The changes of numbers of an entry in the making, for as long as they are few, and
/// come as the log has them.
pub(super) struct EntryChanges(Option<Vec<RunChange>>);

impl Default for EntryChanges {
    fn default() -> Self {
        EntryChanges(Some(Vec::new()))
    }
}

impl EntryChanges {
    /// Adds changes, sorted, each number once.
    pub fn add(&mut self, changes: &[RunChange]) {
        let Some(kept) = &mut self.0 else { return };
        // A number that is put again is one change in the log.
        let after = kept.last().map_or(0, RunChange::next);
        let ascend = changes.first().is_none_or(|change| change.first.digits() >= after);
        let room = ENTRY_MAX - kept.len();
        let within = changes.iter().flat_map(|change| change.run().by_group().map(|run| change.of(run)));
        // A run may have very many groups.
        kept.extend(within.take(room + 1));
        if !ascend || kept.len() > ENTRY_MAX {
            self.0 = None;
        }
    }

    /// All of them, unless some were not kept.
    pub fn all(self) -> Option<Vec<RunChange>> {
        self.0
    }
}

/// Who follows the log in this process, and what was committed for it.
#[derive(Default)]
pub(super) struct OwnEntries {
    follow: ArcSwapOption<FollowNow>,
    waiting: Mutex<KeptEntries>,
}

/// Entries by their partners, in the order of their versions.
#[derive(Default)]
pub(super) struct KeptEntries {
    entries: HashMap<PartnerKey, VecDeque<WholeEntry>>,
    size: usize,
}

impl OwnEntries {
    /// From now on there is a follower, which this calls.
    pub fn followed_by(&self, follow: FollowNow) {
        self.follow.store(Some(Arc::new(follow)));
    }

    /// Has the follower follow, if there is one.
    pub fn follow(&self) {
        if let Some(follow) = &*self.follow.load() {
            follow();
        }
    }

    /// Keeps entries that were committed.
    pub fn add(&self, committed: KeptEntries) {
        if committed.size == 0 || self.follow.load().is_none() {
            return;
        }
        let mut waiting = self.waiting.lock();
        for (key, entries) in committed.entries {
            entries.into_iter().for_each(|entry| waiting.add(key, entry));
        }
    }

    /// Hands over a partner's entries that directly follow a version, up to another,
    /// and forgets those up to there.
    pub fn take(&self, key: PartnerKey, after: u64, through: u64) -> Vec<WholeEntry> {
        let mut waiting = self.waiting.lock();
        let KeptEntries { entries, size } = &mut *waiting;
        let Some(known) = entries.get_mut(&key) else { return Vec::new() };
        let there = known.partition_point(|entry| entry.version <= through);
        let mut taken: Vec<WholeEntry> = known.drain(..there).collect();
        *size -= taken.iter().map(WholeEntry::size).sum::<usize>();
        if known.is_empty() {
            entries.remove(&key);
        }
        taken.retain(|entry| entry.version > after);
        match taken.first() {
            Some(first) if first.version == after + 1 => taken,
            Some(_) | None => Vec::new(),
        }
    }
}

impl KeptEntries {
    /// Adds a partner's next entry, if it is not too large.
    pub fn add(&mut self, key: PartnerKey, entry: WholeEntry) {
        if entry.size() > ENTRY_MAX {
            return;
        }
        if self.size + entry.size() > RUNS_MAX {
            // The follower is behind, and reads the log.
            *self = KeptEntries::default();
        }
        let known = self.entries.entry(key).or_default();
        if known.back().is_some_and(|last| last.version + 1 != entry.version) {
            self.size -= known.drain(..).map(|entry| entry.size()).sum::<usize>();
        }
        self.size += entry.size();
        known.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{E164, Group, NumberType, Record, State, Time};

    #[test]
    fn changes_are_kept_within_groups_and_while_they_are_few() {
        let record = Record::bare(State::Available, NumberType::Local, Time::new(1_770_000_000).expect("a time"));
        let change = |first: u64, count: u64| RunChange {
            first: E164::new(first).expect("a number"),
            count,
            before: None,
            after: Some(record.clone()),
        };
        let of = |puts: &[(u64, u64)]| {
            let mut kept = EntryChanges::default();
            puts.iter().for_each(|&(first, count)| kept.add(&[change(first, count)]));
            kept.all()
        };
        let most = ENTRY_MAX as u64 * Group::SIZE;
        let base = 910_000_000_000;
        assert_eq!(
            of(&[(base + 9_999, 10_002)]),
            Some(vec![change(base + 9_999, 1), change(base + 10_000, 10_000), change(base + 20_000, 1),])
        );
        assert_eq!(of(&[(base, most)]).map(|kept| kept.len()), Some(ENTRY_MAX));
        // One group more, at once or afterwards; or back.
        for puts in [&[(base, most + 1)][..], &[(base, most), (base + most, 1)], &[(base + 1, 1), (base, 1)]] {
            assert_eq!(of(puts), None, "{puts:?}");
        }
    }
}
