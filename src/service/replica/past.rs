//! Reads of the past: a number's history, the change log for people, and earlier
//! inventories.
//!
//! These query the store, so they block and belong on a thread that may. An answer
//! ends at a version of the caller's snapshot, so that answers about the past and
//! the present never disagree.
//! A past inventory is the present one with later changes taken back together, and
//! shares unchanged parts with the present (copy-on-write). Whole spans of versions are
//! taken back by what they did together, which is kept beside the log (`NetChange`); the
//! changes before, between and after such spans are read from the log, as all of them
//! are where nothing is kept or what is kept does not fit.
//! Deliberately absent: a second copy of the past. Net changes say what to take back
//! from the present, are derived from the log, and are made again if they are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::error;

use super::Replica;
use super::net_change::{NotNet, net_change};
use crate::domain::change::{Digest, GENESIS};
use crate::domain::field::code;
use crate::domain::{E164, FieldError, NetChange, PartnerKey, Time};
use crate::inventory::{Misfit, Snapshot};
use crate::service::{ServiceError, corrupt};
use crate::store::{LogPiece, Store, StoreError, follow};

pub use crate::store::{LogEntry, LoggedChange, Past};

/// How many past snapshots are kept for the next question.
const KEPT_MAX: usize = 4;
/// How long one is kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Refuses a moment to come, about which nothing can be said.
pub fn check(as_of: Time) -> Result<(), FieldError> {
    if as_of <= Time::now() {
        return Ok(());
    }
    Err(FieldError::new("as_of", code::OUT_OF_RANGE, "must not be in the future", &as_of.to_string()))
}

impl Replica {
    /// A number's life within a partner, oldest first, as of a snapshot's
    /// version; empty if the partner never had it.
    pub fn history(&self, of: &Snapshot, number: E164) -> Result<Vec<Past>, ServiceError> {
        let mut past = self.store().history(of.key, number)?;
        past.retain(|past| past.version <= of.version);
        Ok(past)
    }

    /// The entries of a partner's changes after a version and up to the snapshot's, oldest
    /// first, at most `limit`.
    pub fn entries(&self, of: &Snapshot, after: u64, limit: u64) -> Result<Vec<(u64, LogEntry)>, ServiceError> {
        let limit = limit.min(of.version.saturating_sub(after));
        Ok(self.store().entries(of.key, after, limit as usize)?)
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
        check(time).map_err(|error| ServiceError::Invalid(vec![error]))?;
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
    let spans = store.net_change_spans(from.key, version, from.version)?;
    if spans.is_empty() {
        return Rewinding::new(store, &from, spans).back(version, wanted);
    }
    match Rewinding::new(store, &from, spans).back(version, wanted) {
        // The log is the truth, and what is derived from it may be wrong.
        Err(ServiceError::Store(StoreError::Corrupt { what })) => {
            error!(partner.key = %from.key, "cannot go back by net changes, so the log is read: {what}");
            Rewinding::new(store, &from, Vec::new()).back(version, wanted)
        }
        done => done,
    }
}

/// How many changes are taken back together at most. A number is then edited
/// once, however often they changed it.
const STEP_MAX: u64 = 131_072;
/// How many bytes of net changes are taken back together, but for the last of them.
const BYTES_MAX: usize = 32 << 20;

/// A snapshot on its way back.
struct Rewinding<'s> {
    store: &'s dyn Store,
    past: Snapshot,
    /// The spans that have a net change, ascending.
    spans: Vec<(u64, u64)>,
    /// What is taken back next, the latest first.
    pending: Vec<NetChange>,
    bytes: usize,
}

impl<'s> Rewinding<'s> {
    fn new(store: &'s dyn Store, from: &Snapshot, spans: Vec<(u64, u64)>) -> Rewinding<'s> {
        Rewinding { store, past: from.clone(), spans, pending: Vec::new(), bytes: 0 }
    }

    fn back(mut self, version: u64, wanted: &AtomicBool) -> Result<Snapshot, ServiceError> {
        let wanted = || wanted.load(Ordering::Relaxed);
        let mut step = STEP_MAX;
        loop {
            if !wanted() {
                return Err(ServiceError::Abandoned);
            }
            let (at, _) = self.end();
            if at <= version {
                self.take_back()?;
                return Ok(self.past);
            }
            if let Some(kept) = self.kept()? {
                self.push(kept)?;
                continue;
            }
            let next = self.spans.last().map_or(version, |&(_, last)| last);
            let to = at.saturating_sub(step).max(next);
            match net_change(self.store, self.past.key, (to, at), &wanted) {
                Ok(net) => {
                    self.push(net)?;
                    step = (step * 2).min(STEP_MAX);
                }
                Err(NotNet::Large) if at - to > 1 => step = ((at - to) / 8).max(1),
                Err(NotNet::Large) => {
                    self.take_back()?;
                    self.past = before(self.store, self.past)?;
                }
                Err(NotNet::Failed(error)) => return Err(error),
            }
        }
    }

    /// The version that what is pending leads back to, and its digest.
    fn end(&self) -> (u64, Digest) {
        self.pending.last().map_or((self.past.version, self.past.head), |net| (net.first - 1, net.previous))
    }

    /// The net change that ends here, if one is kept that is whole and fits.
    fn kept(&mut self) -> Result<Option<NetChange>, ServiceError> {
        let (at, head) = self.end();
        while self.spans.pop_if(|(_, last)| *last > at).is_some() {}
        let Some((first, last)) = self.spans.pop_if(|(_, last)| *last == at) else { return Ok(None) };
        let key = self.past.key;
        match self.store.net_change(key, last) {
            Ok(Some(net)) if net.head == head && net.first == first && first <= last => Ok(Some(net)),
            Ok(Some(_)) => {
                error!(partner.key = %key, "the net change up to version {last} does not fit, so the log is read");
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(StoreError::Corrupt { what }) => {
                error!(partner.key = %key, "{what}, so the log is read; `rollcall verify` says more");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn push(&mut self, net: NetChange) -> Result<(), ServiceError> {
        self.bytes += net.body.len();
        self.pending.push(net);
        if self.bytes > BYTES_MAX { self.take_back() } else { Ok(()) }
    }

    /// Takes back what is pending, together.
    fn take_back(&mut self) -> Result<(), ServiceError> {
        self.bytes = 0;
        let key = self.past.key;
        let rewound = self.past.clone().rewound(std::mem::take(&mut self.pending));
        self.past = rewound.map_err(|misfit| {
            error!(partner.key = %key, %misfit, "the log does not lead back from what is in memory: {misfit}");
            corrupt(misfit.to_string())
        })?;
        Ok(())
    }
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
