//! The metrics of calls: answers by face, code and cause, dropped datagrams, and
//! the time of an answer. They contain no number and no tenant.
//!
//! Handles are looked up once, because a lookup hashes names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::routing::{Case, RoutingSettings};

/// One answer of so many is timed: every sample is kept until the next scrape.
const TIMED_ONE_IN: u64 = 16;

pub struct FaceMetrics {
    face: &'static str,
    /// By [`Case`].
    calls: Vec<Counter>,
    seconds: Histogram,
    seen: AtomicU64,
}

impl FaceMetrics {
    pub fn register(face: &'static str, settings: &RoutingSettings) -> FaceMetrics {
        let line = |case: &Case| answers(face, settings.line(*case).code, case.as_str());
        let seconds = metrics::histogram!("rollcall_route_seconds", "face" => face);
        FaceMetrics { face, calls: Case::ALL.iter().map(line).collect(), seconds, seen: AtomicU64::new(0) }
    }

    /// Counts an answer to a call.
    pub fn call(&self, case: Case) {
        if let Some(counter) = self.calls.get(case as usize) {
            counter.increment(1);
        }
    }

    /// Another answer, by what it is about.
    pub fn other(&self, code: u16, about: &'static str) -> Counter {
        answers(self.face, code, about)
    }

    /// What gets no answer, by the reason.
    pub fn dropped(&self, why: &'static str) -> Counter {
        metrics::counter!("rollcall_route_dropped_total", "face" => self.face, "why" => why)
    }

    /// Whether the next answer is timed.
    pub fn timed(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIMED_ONE_IN)
    }

    pub fn took(&self, elapsed: Duration) {
        self.seconds.record(elapsed.as_secs_f64());
    }
}

fn answers(face: &'static str, code: u16, cause: &'static str) -> Counter {
    metrics::counter!("rollcall_route_answers_total", "face" => face, "code" => code.to_string(), "cause" => cause)
}
