//! Reads of the past: a number's history, the change log for people, and earlier
//! inventories.
//!
//! These query the store, so they block and belong on a thread that may. An answer
//! ends at a version of the caller's snapshot, so that answers about the past and
//! the present never disagree.
//! Deliberately absent: a second copy of the past. A past inventory is the present
//! one with later changes reverted, thousands of them together, so it costs as much
//! as they do, and shares unchanged parts with the present (copy-on-write).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::error;

use super::Replica;
use crate::domain::change::GENESIS;
use crate::domain::{E164, NumberRun, PartnerKey, RunChange, Time};
use crate::inventory::{Misfit, Snapshot};
use crate::service::{ServiceError, corrupt};
use crate::store::{LogPiece, Store, StoreError, follow};

pub use crate::store::{LogEntry, LoggedChange, Past};

/// How many past snapshots are kept for the next question.
const KEPT_MAX: usize = 4;
/// How long one is kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_secs(300);

impl Replica {
    /// A number's life within a partner, oldest first, as of a snapshot's
    /// version; empty if the partner never had it.
    pub fn history(&self, of: &Snapshot, number: E164) -> Result<Vec<Past>, ServiceError> {
        let mut past = self.store().history(of.key, number)?;
        past.retain(|past| past.version <= of.version);
        Ok(past)
    }

    /// A partner's changes after a version and up to the snapshot's, oldest
    /// first, at most `limit`, each with `numbers` of its numbers from the one
    /// at `skip`.
    pub fn changes(
        &self,
        of: &Snapshot,
        after: u64,
        limit: u64,
        skip: u64,
        numbers: usize,
    ) -> Result<Vec<LoggedChange>, ServiceError> {
        let limit = limit.min(of.version.saturating_sub(after));
        if limit == 0 {
            return Ok(Vec::new());
        }
        Ok(self.store().list(of.key, after, limit as usize, skip, numbers)?)
    }

    /// The partner as it was at the end of the second `time`. Its version is 0
    /// if it did not exist then. Gives up once the answer is not `wanted` any
    /// more.
    pub fn as_of(
        &self,
        current: Arc<Snapshot>,
        time: Time,
        wanted: &AtomicBool,
    ) -> Result<Arc<Snapshot>, ServiceError> {
        let key = current.key;
        let version = self.store().version_at(key, time)?;
        if version == 0 {
            return Ok(Arc::new(Snapshot::empty(key, 0, GENESIS, (*current.partner).clone())));
        }
        let mut from = current;
        if version > from.version {
            // Committed by another process a moment ago.
            self.follow();
            from = self.node(from.partner.auth_id.as_str()).map_or(from, |node| node.snapshot());
        }
        if from.damaged {
            return Err(StoreError::Damaged { partner: from.partner.auth_id.as_str().into() }.into());
        }
        if version > from.version {
            return Err(ServiceError::Behind);
        }
        let from = self.pasts.nearest(key, version, from);
        if from.version == version {
            return Ok(from);
        }
        let past = back(&**self.store(), from, version, wanted).inspect_err(|error| {
            if let ServiceError::Store(StoreError::Corrupt { .. }) = error {
                self.pasts.forget(key);
            }
        })?;
        let past = Arc::new(past);
        self.pasts.keep(past.clone());
        Ok(past)
    }

    /// Lets go of past snapshots that nobody has asked for in a while.
    pub fn forget_pasts(&self) {
        self.pasts.forget_unused(KEPT_FOR);
    }
}

/// A snapshot with the changes after a version taken back, newest first.
pub(in crate::service) fn back(
    store: &dyn Store,
    from: Arc<Snapshot>,
    version: u64,
    wanted: &AtomicBool,
) -> Result<Snapshot, ServiceError> {
    let mut past = (*from).clone();
    drop(from);
    let mut step = STEP_MAX;
    while past.version > version {
        if !wanted.load(Ordering::Relaxed) {
            return Err(ServiceError::Abandoned);
        }
        let to = past.version.saturating_sub(step).max(version);
        past = match before_many(store, &past, to) {
            Ok(before) => before,
            Err(Ended::Large) if past.version - to > 1 => {
                step = ((past.version - to) / 8).max(1);
                continue;
            }
            Err(Ended::Large) => before(store, past)?,
            Err(Ended::Failed(error)) => return Err(error),
        };
        step = (step * 2).min(STEP_MAX);
    }
    Ok(past)
}

/// How many changes are taken back together at most. A number is then edited
/// once, however often they changed it.
const STEP_MAX: u64 = 131_072;
/// How many runs of numbers they have at most: what is taken back together is held
/// in memory.
const STEP_RUNS_MAX: usize = 131_072;

/// What changes did together, as runs that do not overlap, by their first numbers.
#[derive(Default)]
struct NetChanges(BTreeMap<E164, RunChange>);

impl NetChanges {
    /// Adds a change that came after those that are here.
    fn add(&mut self, change: RunChange) {
        let (mut next, end) = (change.first.digits(), change.next());
        self.split(next);
        self.split(end);
        let mut new = Vec::new();
        for known in self.0.range_mut(change.first..=change.run().last()).map(|(_, known)| known) {
            new.extend(NumberRun::between(next, known.first.digits() - 1));
            known.after.clone_from(&change.after);
            next = known.next();
        }
        new.extend(NumberRun::between(next, end - 1));
        self.0.extend(new.into_iter().map(|run| (run.first, change.of(run))));
    }

    /// Makes two of a run that has numbers before and from some digits on.
    fn split(&mut self, at: u64) {
        let Some(first) = E164::new(at) else { return };
        let Some((_, run)) = self.0.range_mut(..first).next_back().filter(|(_, run)| run.next() > at) else { return };
        let behind = RunChange { first, count: run.next() - at, ..run.clone() };
        run.count -= behind.count;
        self.0.insert(first, behind);
    }
}

/// Why changes were not taken back together.
enum Ended {
    /// They have too many numbers.
    Large,
    Failed(ServiceError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Ended {
        Ended::Failed(error.into())
    }
}

/// A snapshot with its changes after version `to` taken back together.
fn before_many(store: &dyn Store, last: &Snapshot, to: u64) -> Result<Snapshot, Ended> {
    let key = last.key;
    let misfits = |misfit: Misfit| {
        error!(partner.key = %key, %misfit, "the log does not lead back from what is in memory: {misfit}");
        Ended::Failed(corrupt(misfit.to_string()))
    };
    let (mut first, mut all_entities, mut head) = (None, Vec::new(), None);
    let mut net = NetChanges::default();
    follow(store, key, (to, last.version), |piece| {
        match piece {
            LogPiece::Entry { version, entry, entities, previous } => {
                if head.is_some_and(|head| head != previous) {
                    return Err(misfits(Misfit::Chain { version }));
                }
                first.get_or_insert((entry.at, previous));
                all_entities.extend(entities);
            }
            LogPiece::Numbers(edits) => {
                edits.into_iter().for_each(|edit| net.add(edit));
                if net.0.len() > STEP_RUNS_MAX {
                    return Err(Ended::Large);
                }
            }
            LogPiece::End { digest } => head = Some(digest),
        }
        Ok(())
    })?;
    let gone = || Ended::Failed(corrupt(format!("version {} of partner {key} is gone", to + 1)));
    let ((at, previous), head) = first.zip(head).ok_or_else(gone)?;
    let mut reverting = last.clone().revert_to(to, at, all_entities, previous);
    reverting.numbers(&mut net.0.into_values().collect::<Vec<_>>()).map_err(misfits)?;
    reverting.finish(head).map_err(misfits)
}

/// A snapshot without its last change, which is taken back in pieces: it may be
/// as large as the inventory.
fn before(store: &dyn Store, last: Snapshot) -> Result<Snapshot, ServiceError> {
    let (key, version) = (last.key, last.version);
    let misfits = |misfit: Misfit| {
        error!(partner.key = %key, %misfit, "the log does not lead back from what is in memory: {misfit}");
        corrupt(misfit.to_string())
    };
    let (mut last, mut reverting, mut before) = (Some(last), None, None);
    follow(store, key, (version - 1, version), |piece| {
        match piece {
            LogPiece::Entry { version, entry, entities, previous } => {
                let revert = last.take().map(|last| last.revert(version, entry.at, entities, previous));
                reverting = revert.transpose().map_err(misfits)?;
            }
            LogPiece::Numbers(mut numbers) => {
                reverting.iter_mut().try_for_each(|one| one.numbers(&mut numbers)).map_err(misfits)?;
            }
            LogPiece::End { digest } => {
                before = reverting.take().map(|one| one.finish(digest)).transpose().map_err(misfits)?;
            }
        }
        Ok::<(), ServiceError>(())
    })?;
    before.ok_or_else(|| corrupt(format!("version {version} of partner {key} is gone")))
}

/// The past snapshots that were asked for last.
#[derive(Default)]
pub(in crate::service) struct Pasts(Mutex<Vec<CachedSnapshot>>);

struct CachedSnapshot {
    snapshot: Arc<Snapshot>,
    used: Instant,
}

impl Pasts {
    /// The snapshot at a version, or else the least later one that is at hand.
    fn nearest(&self, key: PartnerKey, version: u64, current: Arc<Snapshot>) -> Arc<Snapshot> {
        let mut kept = self.0.lock();
        // One may have been begun before the key became another partner's.
        let whose = &current.partner.auth_id;
        let fits = |snapshot: &Snapshot| {
            (snapshot.key, &snapshot.partner.auth_id) == (key, whose)
                && (version..current.version).contains(&snapshot.version)
        };
        let found = kept.iter_mut().filter(|kept| fits(&kept.snapshot)).min_by_key(|kept| kept.snapshot.version);
        match found {
            Some(kept) => {
                kept.used = Instant::now();
                kept.snapshot.clone()
            }
            None => current,
        }
    }

    /// Keeps one, in the place of the one that was longest not asked for.
    fn keep(&self, snapshot: Arc<Snapshot>) {
        let mut kept = self.0.lock();
        kept.retain(|kept| (kept.snapshot.key, kept.snapshot.version) != (snapshot.key, snapshot.version));
        if kept.len() >= KEPT_MAX
            && let Some(oldest) = (0..kept.len()).min_by_key(|&at| kept[at].used)
        {
            kept.swap_remove(oldest);
        }
        kept.push(CachedSnapshot { snapshot, used: Instant::now() });
    }

    pub(super) fn forget(&self, key: PartnerKey) {
        self.0.lock().retain(|kept| kept.snapshot.key != key);
    }

    fn forget_unused(&self, longest: Duration) {
        self.0.lock().retain(|kept| kept.used.elapsed() < longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, Record, State};

    fn record(tag: u64) -> Record {
        Record {
            region: Some(tag.to_string().into()),
            ..Record::bare(State::Available, NumberType::Local, Time::new(1_770_000_000).expect("a time"))
        }
    }

    #[test]
    fn changes_together_are_from_the_first_image_to_the_last() {
        let base = 912_271_260_000;
        let mut net = NetChanges::default();
        let mut model: BTreeMap<u64, (Option<Record>, Option<Record>)> = BTreeMap::new();
        for step in 0..300_u64 {
            let (first, count) = (base + step * 7_919 % 120, 1 + step * 31 % 23);
            let change = RunChange {
                first: E164::new(first).expect("a number"),
                count,
                before: (step > 7).then(|| record(step - 1)),
                after: (step % 5 > 0).then(|| record(step)),
            };
            for number in first..first + count {
                model.entry(number).or_insert_with(|| (change.before.clone(), None)).1.clone_from(&change.after);
            }
            net.add(change);
            let numbers = net.0.values().flat_map(RunChange::numbers);
            let found: Vec<_> = numbers.map(|one| (one.number.digits(), (one.before, one.after))).collect();
            assert!(found == model.clone().into_iter().collect::<Vec<_>>(), "step {step}");
        }
    }
}
