//! Waits for a condition. Deliberately absent: waits for a time, which guess.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Returns once `so` holds; after `patience` it fails with what `why` says.
#[track_caller]
pub fn until(patience: Duration, why: impl Fn() -> String, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < patience, "after {patience:?}: {}", why());
        std::thread::sleep(POLL);
    }
}
