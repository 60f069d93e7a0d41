//! Which partners may have a number: a small directory over all of them, so
//! that a call costs the same with one partner and with a hundred.
//!
//! It knows groups of 10,000 numbers, each in eight bytes: scattered numbers are in
//! about as many groups. Invariant: a node whose snapshot has a number of a group is
//! listed under it before readers get that snapshot; a node may be listed that has none
//! any more, so the snapshot has the last word.
//! Deliberately absent: the numbers themselves.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::Node;

/// So many parts, each behind a lock of its own, that a writer of one holds up
/// few readers.
const SHARDS: usize = 64;

pub(in crate::service) struct Directory<N = Node>(Vec<RwLock<Shard<N>>>);

struct Shard<N> {
    groups: HashSet<GroupPlace, RandomState>,
    /// The nodes that are listed, each at a place that stays.
    nodes: Vec<Option<Arc<N>>>,
    /// Who is listed under groups of several partners.
    shared: HashMap<u64, Vec<Arc<N>>, RandomState>,
}

/// A group, which is all that it is compared by, and in the lowest bits the place of
/// its node. Groups are below 10^11.
#[derive(Clone, Copy)]
struct GroupPlace(u64);

impl GroupPlace {
    const BITS: u32 = 24;
    /// Of a group of several partners. There are no more places than this.
    const SHARED: usize = (1 << GroupPlace::BITS) - 1;

    fn of(group: u64, place: usize) -> GroupPlace {
        GroupPlace(group << GroupPlace::BITS | place as u64)
    }

    fn group(self) -> u64 {
        self.0 >> GroupPlace::BITS
    }

    fn place(self) -> usize {
        self.0 as usize & GroupPlace::SHARED
    }
}

impl PartialEq for GroupPlace {
    fn eq(&self, other: &GroupPlace) -> bool {
        self.group() == other.group()
    }
}

impl Eq for GroupPlace {}

impl Hash for GroupPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.group());
    }
}

impl<N> Default for Shard<N> {
    fn default() -> Shard<N> {
        Shard { groups: HashSet::default(), nodes: Vec::new(), shared: HashMap::default() }
    }
}

impl<N> Default for Directory<N> {
    fn default() -> Directory<N> {
        Directory((0..SHARDS).map(|_| RwLock::default()).collect())
    }
}

impl<N> Shard<N> {
    /// The nodes that are listed under a group.
    fn listed(&self, group: u64) -> &[Arc<N>] {
        let Some(found) = self.groups.get(&GroupPlace::of(group, 0)) else { return &[] };
        match self.nodes.get(found.place()) {
            Some(node) => node.as_slice(),
            None => self.shared.get(&group).map_or(&[], Vec::as_slice),
        }
    }

    fn has(&self, group: u64, node: &Arc<N>) -> bool {
        self.listed(group).iter().any(|one| Arc::ptr_eq(one, node))
    }

    fn list(&mut self, group: u64, node: &Arc<N>) {
        if self.has(group, node) {
            return;
        }
        if self.listed(group).is_empty()
            && let Some(place) = self.place(node)
        {
            self.groups.insert(GroupPlace::of(group, place));
            return;
        }
        let several = self.listed(group).iter().chain([node]).cloned().collect();
        self.shared.insert(group, several);
        self.groups.replace(GroupPlace::of(group, GroupPlace::SHARED));
    }

    /// The place of a node, which it gets if it has none and there is one.
    fn place(&mut self, node: &Arc<N>) -> Option<usize> {
        // The newest are last.
        let same = |one: &Option<Arc<N>>| one.as_ref().is_some_and(|one| Arc::ptr_eq(one, node));
        if let Some(place) = self.nodes.iter().rposition(same) {
            return Some(place);
        }
        let free = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        if free == GroupPlace::SHARED {
            return None;
        }
        self.nodes.resize_with(self.nodes.len().max(free + 1), || None);
        self.nodes[free] = Some(node.clone());
        Some(free)
    }

    fn strike(&mut self, gone: &[Arc<N>]) {
        let is_gone = |node: &Arc<N>| gone.iter().any(|gone| Arc::ptr_eq(gone, node));
        for place in &mut self.nodes {
            place.take_if(|node| is_gone(node));
        }
        self.shared.retain(|_, nodes| {
            nodes.retain(|node| !is_gone(node));
            !nodes.is_empty()
        });
        let Shard { groups, nodes, shared } = self;
        groups.retain(|group| match nodes.get(group.place()) {
            Some(node) => node.is_some(),
            None => shared.contains_key(&group.group()),
        });
    }
}

impl<N> Directory<N> {
    fn shard(&self, group: u64) -> &RwLock<Shard<N>> {
        &self.0[(group % SHARDS as u64) as usize]
    }

    /// Lists a node under groups.
    pub fn list(&self, node: &Arc<N>, groups: impl Iterator<Item = u64>) {
        for group in groups {
            let shard = self.shard(group);
            if !shard.read().has(group, node) {
                shard.write().list(group, node);
            }
        }
    }

    /// Strikes nodes out that are not served any more.
    pub fn strike(&self, gone: &[Arc<N>]) {
        if !gone.is_empty() {
            self.0.iter().for_each(|shard| shard.write().strike(gone));
        }
    }

    /// What `find` finds first in the nodes that are listed under a group.
    pub fn find<T>(&self, group: u64, find: impl FnMut(&Arc<N>) -> Option<T>) -> Option<T> {
        self.shard(group).read().listed(group).iter().find_map(find)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nodes_are_found_under_their_groups(
            steps in prop::collection::vec((0..4_usize, 0..12_usize, prop::collection::vec(0..300_u64, 0..40)), 1..60),
        ) {
            let directory: Directory<usize> = Directory::default();
            let mut nodes: Vec<Arc<usize>> = (0..12).map(Arc::new).collect();
            let mut model: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
            for (kind, at, groups) in steps {
                // Groups of one shard, and of others, up to the greatest.
                let group = |group: u64| match group % 3 {
                    0 => 99_999_999_999 - group,
                    1 => group * SHARDS as u64,
                    _ => group,
                };
                if kind == 0 {
                    directory.strike(&[nodes[at].clone()]);
                    model.values_mut().for_each(|nodes| _ = nodes.remove(&at));
                    // Another node has the name then.
                    nodes[at] = Arc::new(at);
                } else {
                    directory.list(&nodes[at], groups.iter().copied().map(group));
                    groups.iter().for_each(|&one| _ = model.entry(group(one)).or_default().insert(at));
                }
                for (&group, wanted) in &model {
                    let mut found = BTreeSet::new();
                    let mut look = |node: &Arc<usize>| {
                        assert!(Arc::ptr_eq(node, &nodes[**node]), "a node that is gone");
                        assert!(found.insert(**node), "twice");
                        None::<()>
                    };
                    let _ = directory.find(group, &mut look);
                    prop_assert_eq!(&found, wanted);
                }
            }
            directory.strike(&nodes);
            for shard in &directory.0 {
                let shard = shard.read();
                prop_assert!(shard.groups.is_empty() && shard.shared.is_empty());
                prop_assert!(shard.nodes.iter().all(Option::is_none));
            }
        }
    }
}
