//! The state of the background workers of this process: the last turn of each
//! thread, the queue of each kind of work, and its lease.
//!
//! Invariants: a thread that ended on purpose is not missed; a kind of work is
//! stuck when one of its threads has begun no turn for longer than a turn may
//! take ([`Work::turn_max`]).
//! Deliberately absent: the work itself, and any repair. `/readyz` names stuck
//! kinds, `/metrics` has the numbers, an operator decides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::Time;
use crate::service::background::lease::Lease;

/// A kind of background work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Polls the database for new changes.
    Follower,
    /// Stores last uses of keys, deletes finished data, looks for unreadable rows.
    Housekeeping,
    Jobs,
    Schedules,
    Emails,
    Webhooks,
}

impl Work {
    pub const ALL: [Work; 6] =
        [Work::Follower, Work::Housekeeping, Work::Jobs, Work::Schedules, Work::Emails, Work::Webhooks];

    pub fn as_str(self) -> &'static str {
        match self {
            Work::Follower => "follower",
            Work::Housekeeping => "housekeeping",
            Work::Jobs => "jobs",
            Work::Schedules => "schedules",
            Work::Emails => "emails",
            Work::Webhooks => "webhooks",
        }
    }

    /// The longest time of one turn, with room for a busy machine: a batch of a
    /// job, a poll, all steps of one email.
    fn turn_max(self) -> Duration {
        match self {
            Work::Follower | Work::Webhooks => Duration::from_secs(60),
            Work::Jobs | Work::Schedules => Duration::from_secs(120),
            Work::Housekeeping | Work::Emails => Duration::from_secs(300),
        }
    }
}

/// Says that one thread still moves. Dropped when the thread ends.
pub struct Heartbeat {
    work: Work,
    origin: Instant,
    /// Milliseconds from the origin to the beginning of the last turn.
    last_ms: AtomicU64,
}

impl Heartbeat {
    /// A turn begins.
    pub fn begin(&self) {
        self.last_ms.store(self.origin.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn since_last(&self, now: Instant) -> Duration {
        let now = now.saturating_duration_since(self.origin);
        now.saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

#[derive(Default)]
struct WorkerState {
    threads: Vec<Weak<Heartbeat>>,
    /// Items that wait, and since when the oldest of them waits.
    waiting: u64,
    oldest: Option<Instant>,
    /// `None` where the work needs no lease.
    leased: Option<bool>,
}

/// The workers of one process.
pub struct Workers {
    origin: Instant,
    states: [Mutex<WorkerState>; Work::ALL.len()],
}

impl Default for Workers {
    fn default() -> Workers {
        Workers { origin: Instant::now(), states: Default::default() }
    }
}

impl Workers {
    /// A thread that does this kind of work begins.
    pub fn join(&self, work: Work) -> Arc<Heartbeat> {
        let heartbeat = Arc::new(Heartbeat { work, origin: self.origin, last_ms: AtomicU64::new(0) });
        heartbeat.begin();
        let mut state = self.states[work as usize].lock();
        // Short-lived threads join too, so the ended ones go at once.
        state.threads.retain(|thread| thread.strong_count() > 0);
        state.threads.push(Arc::downgrade(&heartbeat));
        heartbeat
    }

    /// How much work waits, and since when.
    pub fn queue(&self, work: Work, waiting: u64, oldest: Option<Instant>) {
        let mut state = self.states[work as usize].lock();
        (state.waiting, state.oldest) = (waiting, oldest);
    }

    pub fn lease(&self, work: Work, lease: &Lease) {
        self.states[work as usize].lock().leased = lease.needed().then(|| lease.held());
    }

    /// The kinds of work with a thread that begins no more turns.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.stuck_at(Instant::now())
    }

    fn stuck_at(&self, now: Instant) -> Vec<&'static str> {
        let stuck = |work: &Work| {
            let state = self.states[*work as usize].lock();
            let mut threads = state.threads.iter().filter_map(Weak::upgrade);
            threads.any(|thread| thread.since_last(now) > thread.work.turn_max())
        };
        Work::ALL.iter().filter(|work| stuck(work)).map(|work| work.as_str()).collect()
    }

    /// Sets the gauges of `/metrics`.
    pub fn measure(&self) {
        let (now, clock) = (Instant::now(), Time::now().seconds() as f64);
        let stuck = self.stuck_at(now);
        for work in Work::ALL {
            let name = work.as_str();
            let mut state = self.states[work as usize].lock();
            state.threads.retain(|thread| thread.strong_count() > 0);
            let last = state.threads.iter().filter_map(Weak::upgrade).map(|thread| thread.since_last(now)).max();
            let Some(last) = last else { continue };
            let oldest = state.oldest.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
            metrics::gauge!("rollcall_worker_threads", "worker" => name).set(state.threads.len() as f64);
            metrics::gauge!("rollcall_worker_last_run_timestamp_seconds", "worker" => name)
                .set(clock - last.as_secs_f64());
            metrics::gauge!("rollcall_worker_stuck", "worker" => name).set(f64::from(u8::from(stuck.contains(&name))));
            metrics::gauge!("rollcall_worker_queue", "worker" => name).set(state.waiting as f64);
            metrics::gauge!("rollcall_worker_oldest_seconds", "worker" => name).set(oldest);
            // Work without a lease is always this process's own.
            let leased = state.leased.unwrap_or(true);
            metrics::gauge!("rollcall_worker_lease", "worker" => name).set(f64::from(u8::from(leased)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_turns_is_stuck_and_one_that_ended_is_not() {
        let workers = Workers::default();
        let (moves, hangs) = (workers.join(Work::Jobs), workers.join(Work::Jobs));
        let mail = workers.join(Work::Emails);
        let after = |seconds| workers.origin + Duration::from_secs(seconds);
        assert_eq!(workers.stuck_at(after(119)), Vec::<&str>::new());
        // One of two threads is enough.
        moves.last_ms.store(100_000, Ordering::Relaxed);
        assert_eq!(workers.stuck_at(after(130)), ["jobs"]);
        assert_eq!(workers.stuck_at(after(310)), ["jobs", "emails"]);
        drop(hangs);
        assert_eq!(workers.stuck_at(after(130)), Vec::<&str>::new());
        drop((moves, mail));
        assert_eq!(workers.stuck_at(after(10_000)), Vec::<&str>::new());
    }
}
