//! Waits for a condition. Deliberately absent: waits for a time, which guess.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Returns once `so` holds; after `patience` it fails with what `why` says.
#[track_caller]
pub fn until(patience: Duration, why: impl Fn() -> String, mut so: impl FnMut() -> bool) {
    found(patience, why, || so().then_some(()));
}

/// Returns what `look` finds; after `patience` it fails with what `why` says.
#[track_caller]
pub fn found<T>(patience: Duration, why: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "after {patience:?}: {}", why());
        std::thread::sleep(POLL);
    }
}
