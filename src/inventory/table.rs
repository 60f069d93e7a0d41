//! Interned objects that numbers refer to, each at a fixed index.
//!
//! An index never moves, so rows hold indices instead of ids: four bytes and
//! no hashing. Entities are added and replaced; only a snapshot that goes back in
//! time removes some, and their slots stay empty. Values without an id are released
//! with their last use.

use std::hash::Hash;
use std::sync::Arc;

use super::persistent::{Array, PersistentMap};
use crate::domain::{Account, Acknowledgement, Application, Key, Setting, Trunk};

/// An index into a [`Table`] or [`Interned`], or none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Index(u32);

impl Index {
    pub(super) const NONE: Index = Index(u32::MAX);

    pub(super) fn get(self) -> Option<usize> {
        if self == Index::NONE { None } else { Some(self.0 as usize) }
    }

    pub(super) fn at(at: usize) -> Index {
        assert!(at < u32::MAX as usize, "a table has fewer than 2^32 entries");
        Index(at as u32)
    }
}

/// What a table holds: something with an id of its own.
pub trait Identified {
    fn id(&self) -> &str;
}

impl Identified for Account {
    fn id(&self) -> &str {
        self.auth_id.as_str()
    }
}

impl Identified for Application {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Identified for Trunk {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Identified for Acknowledgement {
    fn id(&self) -> &str {
        &self.finding
    }
}

impl Identified for Setting {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Identified for Key {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// Entities of one kind, found by id or index.
#[derive(Clone)]
pub struct Table<T> {
    entries: Array<Arc<T>>,
    by_id: PersistentMap<Arc<str>, Index>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { entries: Array::default(), by_id: PersistentMap::default() }
    }
}

impl<T: Identified> Table<T> {
    /// Adds an entity, or replaces the one that has its id.
    pub fn put(&mut self, entity: T) {
        match self.by_id.get(entity.id()) {
            Some(&Index(at)) => self.entries.put(at as usize, Arc::new(entity)),
            None => {
                let at = self.entries.places();
                self.by_id.insert(entity.id().into(), Index::at(at));
                self.entries.put(at, Arc::new(entity));
            }
        }
    }

    /// Lets go of an entity, for a time at which it did not exist. No row may
    /// refer to it.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(at) = self.by_id.remove(id).and_then(Index::get) {
            self.entries.take(at);
        }
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.at(self.find(id)?)
    }

    pub(super) fn find(&self, id: &str) -> Option<Index> {
        self.by_id.get(id).copied()
    }

    pub(super) fn at(&self, index: Index) -> Option<&T> {
        self.entries.get(index.get()?).map(|entity| &**entity)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.len() == 0
    }

    /// In the order in which they came, which is that of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entity)| &**entity)
    }

    /// Something for each place in turn, without what is for an empty one.
    pub(super) fn taken<V>(&self, places: Vec<V>) -> Vec<V> {
        let mut taken = self.entries.iter().map(|(at, _)| at).peekable();
        places.into_iter().enumerate().filter_map(|(at, value)| taken.next_if_eq(&at).map(|_| value)).collect()
    }

    /// The rank of each place by name, in any case, and then by id.
    pub(super) fn ranks(&self, name: impl Fn(&T) -> &str) -> Vec<u32> {
        let mut all: Vec<(String, &str, usize)> =
            self.entries.iter().map(|(at, entity)| (name(entity).to_lowercase(), entity.id(), at)).collect();
        all.sort_unstable();
        let mut ranks = vec![0; self.entries.places()];
        for (rank, (_, _, at)) in all.into_iter().enumerate() {
            ranks[at] = rank as u32;
        }
        ranks
    }

    /// The rank of each place's entity in the order of ids.
    pub(super) fn ranks_by_id(&self) -> Vec<u32> {
        let mut all: Vec<(&str, usize)> = self.entries.iter().map(|(at, entity)| (entity.id(), at)).collect();
        all.sort_unstable();
        let mut ranks = vec![0; self.entries.places()];
        for (rank, (_, at)) in all.into_iter().enumerate() {
            ranks[at] = rank as u32;
        }
        ranks
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.entries.places()
    }

    /// In the order of their ids.
    pub fn sorted(&self) -> impl Iterator<Item = &T> {
        let mut all: Vec<&T> = self.iter().collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all.into_iter()
    }
}

/// Values without an id, each kept once, as long as something uses it. The
/// place of one that was given back is another's next.
#[derive(Clone)]
pub(super) struct Interned<T> {
    slots: Array<TableSlot<T>>,
    index: PersistentMap<Arc<T>, Index>,
    /// The place that was given back last, if it was not taken again.
    free: Index,
}

#[derive(Clone)]
enum TableSlot<T> {
    Taken {
        value: Arc<T>,
        uses: u64,
    },
    /// And the one that was given back before it.
    Free(Index),
}

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned { slots: Array::default(), index: PersistentMap::default(), free: Index::NONE }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    pub(super) fn at(&self, index: Index) -> Option<&T> {
        match self.slots.get(index.get()?)? {
            TableSlot::Taken { value, .. } => Some(value),
            TableSlot::Free(_) => None,
        }
    }

    pub(super) fn find(&self, value: &T) -> Option<Index> {
        self.index.get(value).copied()
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// More than the highest index that has a value.
    pub(super) fn places(&self) -> usize {
        self.slots.places()
    }

    /// The values with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        self.uses().map(|(index, value, _)| (index, value))
    }

    /// The values with their indices and how many uses each has.
    pub(super) fn uses(&self) -> impl Iterator<Item = (Index, &T, u64)> {
        self.slots.iter().filter_map(|(at, slot)| match slot {
            TableSlot::Taken { value, uses } => Some((Index::at(at), &**value, *uses)),
            TableSlot::Free(_) => None,
        })
    }

    /// The index of a value, and whether it is new: then it has no uses yet.
    pub(super) fn intern(&mut self, value: &T) -> (Index, bool) {
        if let Some(index) = self.find(value) {
            return (index, false);
        }
        let value = Arc::new(value.clone());
        let at = match self.free.get().and_then(|at| Some((at, self.slots.get(at)?))) {
            Some((at, TableSlot::Free(next))) => {
                self.free = *next;
                at
            }
            Some((_, TableSlot::Taken { .. })) | None => self.slots.places(),
        };
        self.index.insert(value.clone(), Index::at(at));
        self.slots.put(at, TableSlot::Taken { value, uses: 0 });
        (Index::at(at), true)
    }

    /// Counts uses in or out. The value, if it has no more and was given back.
    pub(super) fn count(&mut self, index: Index, step: i64) -> Option<Arc<T>> {
        let at = index.get()?;
        let Some(TableSlot::Taken { value, uses }) = self.slots.get_mut(at) else { return None };
        *uses = uses.saturating_add_signed(step);
        if *uses > 0 {
            return None;
        }
        let value = value.clone();
        self.index.remove(&value);
        self.slots.put(at, TableSlot::Free(self.free));
        self.free = index;
        Some(value)
    }
}
