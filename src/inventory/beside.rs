//! The cache of one snapshot: filled when a reader first needs a value, and
//! dropped with the snapshot.
//!
//! Invariant: a cached value never belongs to another snapshot. A snapshot is
//! changed only in a clone that becomes the next one, and a clone starts empty.
//! Deliberately absent: the type of the values, which the reader defines.

use std::any::Any;
use std::sync::OnceLock;

#[derive(Default)]
pub struct RenderCache(OnceLock<Box<dyn Any + Send + Sync>>);

impl Clone for RenderCache {
    fn clone(&self) -> RenderCache {
        RenderCache::default()
    }
}

impl RenderCache {
    /// What is kept. There is one reader that keeps something, so one type.
    pub fn get_or_make<T: Default + Send + Sync + 'static>(&self) -> &T {
        let kept = self.0.get_or_init(|| Box::new(T::default()));
        kept.downcast_ref().expect("one type is kept beside snapshots")
    }
}
