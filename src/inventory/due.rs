//! The moments at which time alone changes answers: expiry, the end of a
//! quarantine, the end of a reservation.
//!
//! Counted by moment, in buckets of a day, so that a copy-on-write edit copies
//! a day and not all of them. Invariant: no bucket and no count is empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::Time;

const BUCKET_S: i64 = 86_400;

#[derive(Clone, Default)]
pub(super) struct Due {
    buckets: Arc<BTreeMap<i64, Arc<BTreeMap<i64, u64>>>>,
}

impl Due {
    /// Counts the moment of some numbers in (`step` above 0) or out (below).
    pub(super) fn note(&mut self, time: Time, step: i64) {
        let seconds = time.seconds();
        let buckets = Arc::make_mut(&mut self.buckets);
        let day = seconds.div_euclid(BUCKET_S);
        let bucket = Arc::make_mut(buckets.entry(day).or_default());
        let count = bucket.entry(seconds).or_default();
        *count = count.saturating_add_signed(step);
        if *count == 0 {
            bucket.remove(&seconds);
            if bucket.is_empty() {
                buckets.remove(&day);
            }
        }
    }

    /// The last moment up to `now`.
    pub(super) fn last(&self, now: Time) -> Option<Time> {
        let day = now.seconds().div_euclid(BUCKET_S);
        self.buckets.range(..=day).rev().find_map(|(_, bucket)| {
            let last = bucket.range(..=now.seconds()).next_back();
            last.and_then(|(&seconds, _)| Time::new(seconds))
        })
    }
}
