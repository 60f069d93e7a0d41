//! A mutex for writers that wait for as long as a sync takes.
//!
//! Who waits sleeps at once. A mutex that first spins and yields suits what is held for
//! a moment; here some ten writers wait for each sync, and their yields took a tenth of
//! all processor time. Who comes when it is free takes it, without waking anybody,
//! unless a writer has waited too long for that.
//!
//! Deliberately absent: the order of those that wait.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// For how long others may come before one that waits.
const PASSED: Duration = Duration::from_millis(20);

pub(super) struct TurnMutex<T> {
    turns: Mutex<TurnState>,
    freed: Condvar,
    /// Locked by who has the turn alone.
    value: Mutex<T>,
}

#[derive(Default)]
struct TurnState {
    taken: bool,
    waiting: usize,
    /// How many of those have waited for too long.
    passed: usize,
}

/// The value, until this is dropped.
pub(super) struct TurnGuard<'t, T> {
    // Dropped in this order.
    value: MutexGuard<'t, T>,
    _turn: HeldTurn<'t>,
}

struct HeldTurn<'t> {
    turns: &'t Mutex<TurnState>,
    freed: &'t Condvar,
}

impl<T> TurnMutex<T> {
    pub fn new(value: T) -> TurnMutex<T> {
        TurnMutex { turns: Mutex::default(), freed: Condvar::new(), value: Mutex::new(value) }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.turns.lock().waiting
    }

    pub fn try_lock(&self) -> Option<TurnGuard<'_, T>> {
        let turns = self.turns.lock();
        (!turns.taken && turns.passed == 0).then(|| self.taken(turns))
    }

    /// `None` if others had it all the time.
    pub fn try_lock_for(&self, patience: Duration) -> Option<TurnGuard<'_, T>> {
        let mut turns = self.turns.lock();
        if turns.taken || turns.passed > 0 {
            let (began, mut passed) = (Instant::now(), false);
            turns.waiting += 1;
            let free = loop {
                let until = if passed { patience } else { patience.min(PASSED) };
                let timed_out = self.freed.wait_until(&mut turns, began + until).timed_out();
                if !turns.taken {
                    break true;
                }
                if timed_out && began.elapsed() >= patience {
                    break false;
                }
                if timed_out && !passed {
                    passed = true;
                    turns.passed += 1;
                }
            };
            turns.waiting -= 1;
            turns.passed -= usize::from(passed);
            if !free {
                return None;
            }
        }
        Some(self.taken(turns))
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn taken(&self, mut turns: MutexGuard<'_, TurnState>) -> TurnGuard<'_, T> {
        turns.taken = true;
        drop(turns);
        TurnGuard { value: self.value.lock(), _turn: HeldTurn { turns: &self.turns, freed: &self.freed } }
    }
}

impl Drop for HeldTurn<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        turns.taken = false;
        if turns.waiting > 0 {
            self.freed.notify_one();
        }
    }
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{scope, sleep};

    use super::*;

    #[test]
    fn many_take_turns_and_none_is_passed_for_ever() {
        let mutex = TurnMutex::new(0_u64);
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        *mutex.try_lock_for(Duration::from_secs(60)).expect("a turn") += 1;
                    }
                });
            }
            // These two leave it free for no more than a moment.
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut value = mutex.try_lock_for(Duration::from_secs(60)).expect("a turn");
                        sleep(Duration::from_millis(1));
                        *value += 1;
                    }
                });
            }
        });
        assert_eq!((*mutex.try_lock().expect("free"), mutex.waiting()), (16_100, 0));
    }

    #[test]
    fn patience_ends() {
        let mutex = TurnMutex::new(());
        let held = mutex.try_lock().expect("free");
        assert!(mutex.try_lock().is_none());
        for patience in [Duration::ZERO, Duration::from_millis(1), 2 * PASSED] {
            assert!(mutex.try_lock_for(patience).is_none());
        }
        assert_eq!(mutex.waiting(), 0);
        drop(held);
        assert!(mutex.try_lock().is_some());
        assert!(mutex.try_lock_for(Duration::ZERO).is_some());
    }
}
