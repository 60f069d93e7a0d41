//! The moments at which time alone changes answers: expiry, the end of a
//! quarantine, the end of a reservation.
//!
//! Counted by moment, in buckets of a day within buckets of about a month, so that a
//! copy-on-write edit copies few of them: numbers of a platform's export have a moment
//! each. Invariant: no bucket and no count is empty, and a day's moments ascend.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::Time;

const DAY_S: i64 = 86_400;
const MONTH_S: i64 = 32 * DAY_S;

/// Days by their place, each with its moments and how many numbers have them.
type DueMonth = BTreeMap<i64, Arc<Vec<(i64, u64)>>>;

#[derive(Clone, Default)]
pub(super) struct Due {
    months: Arc<BTreeMap<i64, Arc<DueMonth>>>,
}

impl Due {
    /// Counts the moment of some numbers in (`step` above 0) or out (below).
    pub(super) fn note(&mut self, time: Time, step: i64) {
        let seconds = time.seconds();
        let (month, day) = (seconds.div_euclid(MONTH_S), seconds.div_euclid(DAY_S));
        let months = Arc::make_mut(&mut self.months);
        let days = Arc::make_mut(months.entry(month).or_default());
        let moments = Arc::make_mut(days.entry(day).or_default());
        let at = moments.partition_point(|(moment, _)| *moment < seconds);
        if moments.get(at).is_none_or(|(moment, _)| *moment != seconds) {
            moments.insert(at, (seconds, 0));
        }
        let count = &mut moments[at].1;
        *count = count.saturating_add_signed(step);
        if *count > 0 {
            return;
        }
        moments.remove(at);
        if moments.is_empty() {
            days.remove(&day);
            if days.is_empty() {
                months.remove(&month);
            }
        }
    }

    /// The last moment up to `now`.
    pub(super) fn last(&self, now: Time) -> Option<Time> {
        let seconds = now.seconds();
        let days = self.months.range(..=seconds.div_euclid(MONTH_S)).rev();
        let mut days = days.flat_map(|(_, days)| days.range(..=seconds.div_euclid(DAY_S)).rev());
        days.find_map(|(_, moments)| {
            let before = moments.partition_point(|(moment, _)| *moment <= seconds);
            Time::new(moments[..before].last()?.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_moment_is_that_of_all_that_are_in(
            steps in proptest::collection::vec((-4_000_000..4_000_000_i64, 1..3_i64, any::<bool>()), 0..60),
            asked in proptest::collection::vec(-5_000_000..5_000_000_i64, 10),
        ) {
            let (mut due, mut model) = (Due::default(), BTreeMap::<i64, i64>::new());
            let moment = |seconds| Time::new(1_770_000_000 + seconds).expect("a time");
            for (seconds, step, out) in steps {
                let of = model.entry(seconds).or_default();
                let step = if out { -step.min(*of) } else { step };
                *of += step;
                if step != 0 {
                    due.note(moment(seconds), step);
                }
                model.retain(|_, count| *count > 0);
            }
            for now in asked {
                let last = model.range(..=now).next_back().map(|(seconds, _)| moment(*seconds));
                prop_assert_eq!(due.last(moment(now)), last);
            }
        }
    }
}
