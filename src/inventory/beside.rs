//! What readers keep beside a snapshot: made from it when first wanted, and
//! gone with it.
//!
//! Invariant: it is never another snapshot's. A snapshot is changed only in a
//! clone that is to be the next one, and a clone begins with nothing.
//! Deliberately absent: what it is; that is the reader's.

use std::any::Any;
use std::sync::OnceLock;

#[derive(Default)]
pub struct Beside(OnceLock<Box<dyn Any + Send + Sync>>);

impl Clone for Beside {
    fn clone(&self) -> Beside {
        Beside::default()
    }
}

impl Beside {
    /// What is kept. There is one reader that keeps something, so one type.
    pub fn get_or_make<T: Default + Send + Sync + 'static>(&self) -> &T {
        let kept = self.0.get_or_init(|| Box::new(T::default()));
        kept.downcast_ref().expect("one type is kept beside snapshots")
    }
}
