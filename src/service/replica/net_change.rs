//! What the log's changes from one version to another did together.
//!
//! Inventories of the past take these back, and background work keeps them for whole
//! spans of versions, so that the log need not be read again.
//! Deliberately absent: taking them back (`inventory`), and keeping them (`store`).

use std::collections::BTreeMap;

use crate::domain::net_change::net_body;
use crate::domain::{E164, NetChange, NumberRun, PartnerKey, RunChange};
use crate::inventory::Misfit;
use crate::service::{ServiceError, corrupt};
use crate::store::{LogPiece, Store, StoreError, follow};

/// How many runs of numbers changes have together at most: they are held in memory.
const RUNS_MAX: usize = 131_072;
/// How many edits of runs they may be made of, which bounds the time.
const EDITS_MAX: usize = 4 * RUNS_MAX;

/// What changes did together, as runs that do not overlap, by their first numbers.
#[derive(Default)]
struct NetRunChanges(BTreeMap<E164, RunChange>);

impl NetRunChanges {
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

/// Why changes were not put together.
#[derive(Debug)]
pub(in crate::service) enum NotNet {
    /// They have too many numbers.
    Large,
    Failed(ServiceError),
}

impl From<StoreError> for NotNet {
    fn from(error: StoreError) -> NotNet {
        NotNet::Failed(error.into())
    }
}

/// The changes of a partner after a version and up to another, put together from the
/// log. `wanted` is asked at each of them.
pub(in crate::service) fn net_change(
    store: &dyn Store,
    key: PartnerKey,
    (after, through): (u64, u64),
    wanted: &dyn Fn() -> bool,
) -> Result<NetChange, NotNet> {
    let (mut begun, mut entities, mut head) = (None, Vec::new(), None);
    let (mut net, mut edits) = (NetRunChanges::default(), 0);
    follow(store, key, (after, through), |piece| {
        match piece {
            LogPiece::Entry { version, entry, entities: changed, previous } => {
                if !wanted() {
                    return Err(NotNet::Failed(ServiceError::Abandoned));
                }
                if head.is_some_and(|head| head != previous) {
                    return Err(NotNet::Failed(corrupt(Misfit::Chain { version }.to_string())));
                }
                begun.get_or_insert((entry.at, previous));
                entities.extend(changed);
            }
            LogPiece::Numbers(changes) => {
                edits += changes.len();
                changes.into_iter().for_each(|change| net.add(change));
                if net.0.len() > RUNS_MAX || edits > EDITS_MAX {
                    return Err(NotNet::Large);
                }
            }
            LogPiece::End { digest } => head = Some(digest),
        }
        Ok(())
    })?;
    let gone = || NotNet::Failed(corrupt(format!("version {} of partner {key} is gone", after + 1)));
    let ((at, previous), head) = begun.zip(head).ok_or_else(gone)?;
    let body = net_body(at, net.0.values());
    Ok(NetChange { first: after + 1, last: through, at, previous, head, entities, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, Record, State, Time};

    fn record(tag: u64) -> Record {
        Record {
            region: Some(tag.to_string().into()),
            ..Record::bare(State::Available, NumberType::Local, Time::new(1_770_000_000).expect("a time"))
        }
    }

    #[test]
    fn changes_together_are_from_the_first_image_to_the_last() {
        let base = 912_271_260_000;
        let mut net = NetRunChanges::default();
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
