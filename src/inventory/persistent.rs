//! Copy-on-write arrays and maps: a copy shares its unchanged parts with the
//! original, so a write to a snapshot costs the same with a hundred entries and
//! with a million.
//!
//! Both are trees of small nodes behind reference counts. A change copies the
//! nodes on one path; a node without other owners is changed in place, so filling
//! a new structure copies nothing.
//! Invariant: a copy never changes with its original.
//! Deliberately absent: freeing the inner nodes of a map after its entries were
//! removed; there are as many as it once had entries for.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// Bits of an index that choose among the children of an array's node.
const ARRAY_BITS: usize = 5;
const ARRAY_FAN: usize = 1 << ARRAY_BITS;
/// Bits of a hash that choose among the children of a map's node.
const MAP_BITS: u32 = 3;
const MAP_FAN: usize = 1 << MAP_BITS;
/// How many entries a leaf of a map has before it is split.
const LEAF_MAX: usize = 16;

/// Values at indices, some of which may be empty.
#[derive(Clone)]
pub(super) struct Array<T> {
    root: Option<Arc<TreeNode<T>>>,
    /// How many levels of branches there are.
    height: usize,
    places: usize,
}

#[derive(Clone)]
enum TreeNode<T> {
    Leaf(Vec<Option<T>>),
    Branch(Vec<Option<Arc<TreeNode<T>>>>),
}

impl<T> Default for Array<T> {
    fn default() -> Array<T> {
        Array { root: None, height: 0, places: 0 }
    }
}

impl<T> Array<T> {
    /// One more than the highest index that ever had a value.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.leaf(at).get(at % ARRAY_FAN)?.as_ref()
    }

    /// The slots of the leaf that an index is in; none at its end if empty.
    fn leaf(&self, at: usize) -> &[Option<T>] {
        if at >= self.places {
            return &[];
        }
        let mut node = self.root.as_deref();
        let mut level = self.height;
        loop {
            match node {
                Some(TreeNode::Branch(children)) => {
                    node = children.get((at >> (ARRAY_BITS * level)) % ARRAY_FAN).and_then(Option::as_deref);
                    level -= 1;
                }
                Some(TreeNode::Leaf(slots)) => return slots,
                None => return &[],
            }
        }
    }

    /// The values with their indices, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        (0..self.places).step_by(ARRAY_FAN).flat_map(|first| {
            let slots = self.leaf(first).iter().enumerate();
            slots.filter_map(move |(at, value)| Some((first + at, value.as_ref()?)))
        })
    }
}

impl<T: Clone> Array<T> {
    pub(super) fn put(&mut self, at: usize, value: T) {
        *self.slot(at) = Some(value);
    }

    pub(super) fn take(&mut self, at: usize) -> Option<T> {
        self.get(at)?;
        self.slot(at).take()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.get(at)?;
        self.slot(at).as_mut()
    }

    fn slot(&mut self, at: usize) -> &mut Option<T> {
        self.places = self.places.max(at + 1);
        while at >> (ARRAY_BITS * (self.height + 1)) > 0 {
            self.root = self.root.take().map(|root| Arc::new(TreeNode::Branch(vec![Some(root)])));
            self.height += 1;
        }
        let mut level = self.height;
        let new = |level| Arc::new(if level == 0 { TreeNode::Leaf(Vec::new()) } else { TreeNode::Branch(Vec::new()) });
        let mut node = self.root.get_or_insert_with(|| new(level));
        loop {
            let child = (at >> (ARRAY_BITS * level)) % ARRAY_FAN;
            match Arc::make_mut(node) {
                TreeNode::Leaf(slots) => {
                    if slots.len() <= child {
                        slots.resize_with(child + 1, || None);
                    }
                    return &mut slots[child];
                }
                TreeNode::Branch(children) => {
                    if children.len() <= child {
                        children.resize_with(child + 1, || None);
                    }
                    level -= 1;
                    node = children[child].get_or_insert_with(|| new(level));
                }
            }
        }
    }
}

/// Values by key.
#[derive(Clone)]
pub(super) struct PersistentMap<K, V> {
    root: Arc<Bucket<K, V>>,
    hasher: RandomState,
    len: usize,
}

#[derive(Clone)]
enum Bucket<K, V> {
    Leaf(Vec<MapEntry<K, V>>),
    Branch([Arc<Bucket<K, V>>; MAP_FAN]),
}

#[derive(Clone)]
struct MapEntry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> PersistentMap<K, V> {
        PersistentMap { root: Arc::new(Bucket::Leaf(Vec::new())), hasher: RandomState::new(), len: 0 }
    }
}

impl<K, V> PersistentMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> Vec<&V> {
        let mut values = Vec::with_capacity(self.len);
        let mut buckets = vec![&*self.root];
        while let Some(bucket) = buckets.pop() {
            match bucket {
                Bucket::Leaf(entries) => values.extend(entries.iter().map(|entry| &entry.value)),
                Bucket::Branch(children) => buckets.extend(children.iter().map(|child| &**child)),
            }
        }
        values
    }
}

impl<K: Hash + Eq + Clone, V: Clone> PersistentMap<K, V> {
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let (mut bucket, mut rest) = (&*self.root, hash);
        loop {
            match bucket {
                Bucket::Leaf(entries) => {
                    let found = entries.iter().find(|entry| entry.hash == hash && entry.key.borrow() == key);
                    return found.map(|entry| &entry.value);
                }
                Bucket::Branch(children) => {
                    bucket = &children[rest as usize % MAP_FAN];
                    rest >>= MAP_BITS;
                }
            }
        }
    }

    /// Adds a value, or replaces the one that has its key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let hash = self.hasher.hash_one(&key);
        let (entries, depth) = self.leaf(hash);
        match entries.iter_mut().find(|entry| entry.hash == hash && entry.key == key) {
            Some(entry) => entry.value = value,
            None => {
                entries.push(MapEntry { hash, key, value });
                let full = entries.len() > LEAF_MAX;
                self.len += 1;
                if full && depth * MAP_BITS < u64::BITS {
                    self.split(hash);
                }
            }
        }
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // What is not there copies nothing.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let (entries, _) = self.leaf(hash);
        let at = entries.iter().position(|entry| entry.hash == hash && entry.key.borrow() == key)?;
        let entry = entries.swap_remove(at);
        self.len -= 1;
        Some(entry.value)
    }

    /// The leaf that a hash belongs to, and how deep it is.
    fn leaf(&mut self, hash: u64) -> (&mut Vec<MapEntry<K, V>>, u32) {
        let (mut bucket, mut depth) = (Arc::make_mut(&mut self.root), 0);
        loop {
            match bucket {
                Bucket::Leaf(entries) => return (entries, depth),
                Bucket::Branch(children) => {
                    bucket = Arc::make_mut(&mut children[child(hash, depth)]);
                    depth += 1;
                }
            }
        }
    }

    /// Makes a branch of the leaf that a hash belongs to.
    fn split(&mut self, hash: u64) {
        let (mut bucket, mut depth) = (Arc::make_mut(&mut self.root), 0);
        while let Bucket::Branch(children) = bucket {
            bucket = Arc::make_mut(&mut children[child(hash, depth)]);
            depth += 1;
        }
        let Bucket::Leaf(entries) = bucket else { return };
        let mut parts: [Vec<MapEntry<K, V>>; MAP_FAN] = Default::default();
        for entry in std::mem::take(entries) {
            parts[child(entry.hash, depth)].push(entry);
        }
        *bucket = Bucket::Branch(parts.map(|entries| Arc::new(Bucket::Leaf(entries))));
    }
}

fn child(hash: u64, depth: u32) -> usize {
    (hash >> (MAP_BITS * depth)) as usize % MAP_FAN
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use proptest::prelude::*;

    /// How many nodes two arrays share, of how many the first has.
    fn shared<T>(a: &Array<T>, b: &Array<T>) -> (usize, usize) {
        fn nodes<T>(node: &Arc<TreeNode<T>>, out: &mut Vec<*const TreeNode<T>>) {
            out.push(Arc::as_ptr(node));
            if let TreeNode::Branch(children) = &**node {
                children.iter().flatten().for_each(|child| nodes(child, out));
            }
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        a.root.iter().for_each(|root| nodes(root, &mut ours));
        b.root.iter().for_each(|root| nodes(root, &mut theirs));
        let same = ours.iter().filter(|node| theirs.contains(node)).count();
        (same, ours.len())
    }

    fn shared_buckets<K, V>(a: &PersistentMap<K, V>, b: &PersistentMap<K, V>) -> (usize, usize) {
        fn buckets<K, V>(bucket: &Arc<Bucket<K, V>>, out: &mut Vec<*const Bucket<K, V>>) {
            out.push(Arc::as_ptr(bucket));
            if let Bucket::Branch(children) = &**bucket {
                children.iter().for_each(|child| buckets(child, out));
            }
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        buckets(&a.root, &mut ours);
        buckets(&b.root, &mut theirs);
        theirs.sort_unstable();
        let same = ours.iter().filter(|bucket| theirs.binary_search(bucket).is_ok()).count();
        (same, ours.len())
    }

    #[test]
    fn a_change_copies_a_path_however_many_entries_there_are() {
        for size in [100, 100_000] {
            let mut array = Array::default();
            let mut map = PersistentMap::default();
            for at in 0..size {
                array.put(at, at);
                map.insert(at, at);
            }
            let (mut changed, mut edited) = (array.clone(), map.clone());
            changed.put(size / 2, 0);
            edited.insert(size / 2, 0);
            let (same, all) = shared(&changed, &array);
            assert!(all - same <= 4, "{} of {all} nodes copied beside {size}", all - same);
            let (same, all) = shared_buckets(&edited, &map);
            assert!(all - same <= 8, "{} of {all} nodes copied beside {size}", all - same);
            assert_eq!((array.get(size / 2), map.get(&(size / 2))), (Some(&(size / 2)), Some(&(size / 2))));
        }
    }

    proptest! {
        #[test]
        fn an_array_is_like_a_map_of_indices(edits in prop::collection::vec((0..5_000_usize, prop::option::of(0..9_u8)), 0..300)) {
            let (mut array, mut model) = (Array::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (at, value) in edits {
                match value {
                    Some(value) => {
                        array.put(at, value);
                        model.insert(at, value);
                    }
                    None => prop_assert_eq!(array.take(at), model.remove(&at)),
                }
                copies.push((array.clone(), model.clone()));
            }
            for (array, model) in copies.iter().step_by(37) {
                prop_assert!(array.iter().eq(model.iter().map(|(at, value)| (*at, value))));
                prop_assert!(model.keys().all(|&at| array.get(at) == model.get(&at)));
                prop_assert!(array.places() > model.keys().next_back().copied().unwrap_or(0) || model.is_empty());
            }
        }

        #[test]
        fn a_map_is_like_any_other(edits in prop::collection::vec((0..400_u32, prop::option::of(0..9_u8)), 0..900)) {
            let (mut map, mut model) = (PersistentMap::default(), HashMap::new());
            let mut copies = Vec::new();
            for (key, value) in edits {
                match value {
                    Some(value) => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                copies.push((map.clone(), model.clone()));
            }
            for (map, model) in copies.iter().step_by(101) {
                prop_assert!((0..400).all(|key| map.get(&key) == model.get(&key)));
                prop_assert_eq!((map.len(), map.values().len()), (model.len(), model.len()));
            }
        }
    }
}
