//! Which partners may have a number: a small directory over all of them, so
//! that a call costs the same with one partner and with a hundred.
//!
//! It knows groups of 10,000 numbers. Invariant: a node whose snapshot has a
//! number of a group is listed under it before readers get that snapshot; a
//! node may be listed that has none any more, so the snapshot has the last
//! word.
//! Deliberately absent: the numbers themselves.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Node;

/// So many parts, each behind a lock of its own, that a writer of one holds up
/// few readers.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<u64, Vec<Arc<Node>>>>;

pub(in crate::service) struct Directory(Vec<Shard>);

impl Default for Directory {
    fn default() -> Directory {
        Directory((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl Directory {
    fn shard(&self, group: u64) -> &Shard {
        &self.0[(group % SHARDS as u64) as usize]
    }

    /// Lists a node under groups.
    pub fn list(&self, node: &Arc<Node>, groups: impl Iterator<Item = u64>) {
        for group in groups {
            let listed = |nodes: &Vec<Arc<Node>>| nodes.iter().any(|one| Arc::ptr_eq(one, node));
            let shard = self.shard(group);
            if shard.read().get(&group).is_some_and(listed) {
                continue;
            }
            let mut shard = shard.write();
            let nodes = shard.entry(group).or_default();
            if !listed(nodes) {
                // Most groups are one partner's.
                nodes.reserve_exact(1);
                nodes.push(node.clone());
            }
        }
    }

    /// Strikes nodes out that are not served any more.
    pub fn strike(&self, gone: &[Arc<Node>]) {
        if gone.is_empty() {
            return;
        }
        for shard in &self.0 {
            shard.write().retain(|_, nodes| {
                nodes.retain(|node| !gone.iter().any(|gone| Arc::ptr_eq(gone, node)));
                !nodes.is_empty()
            });
        }
    }

    /// What `find` finds first in the nodes that are listed under a group.
    pub fn find<T>(&self, group: u64, find: impl FnMut(&Arc<Node>) -> Option<T>) -> Option<T> {
        self.shard(group).read().get(&group)?.iter().find_map(find)
    }
}
