//! Small things that numbers refer to, each at a fixed index.
//!
//! An index never moves, so rows hold indices instead of ids: four bytes and
//! no hashing. Entries are added and replaced. Only a snapshot that goes back
//! in time forgets some; their places stay empty.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

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
pub trait Entry {
    fn id(&self) -> &str;
}

impl Entry for Account {
    fn id(&self) -> &str {
        self.auth_id.as_str()
    }
}

impl Entry for Application {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Entry for Trunk {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Entry for Acknowledgement {
    fn id(&self) -> &str {
        &self.finding
    }
}

impl Entry for Setting {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Entry for Key {
    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// Entities of one kind, found by id or index.
#[derive(Clone)]
pub struct Table<T> {
    entries: Vec<Option<Arc<T>>>,
    by_id: HashMap<Arc<str>, Index>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { entries: Vec::new(), by_id: HashMap::new() }
    }
}

impl<T: Entry> Table<T> {
    /// Adds an entity, or replaces the one that has its id.
    pub fn put(&mut self, entity: T) {
        match self.by_id.get(entity.id()) {
            Some(&Index(at)) => self.entries[at as usize] = Some(Arc::new(entity)),
            None => {
                self.by_id.insert(entity.id().into(), Index::at(self.entries.len()));
                self.entries.push(Some(Arc::new(entity)));
            }
        }
    }

    /// Lets go of an entity, for a time at which it did not exist. No row may
    /// refer to it.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(at) = self.by_id.remove(id).and_then(Index::get) {
            self.entries[at] = None;
        }
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.at(self.find(id)?)
    }

    pub(super) fn find(&self, id: &str) -> Option<Index> {
        self.by_id.get(id).copied()
    }

    pub(super) fn at(&self, index: Index) -> Option<&T> {
        self.entries[index.get()?].as_deref()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// In the order in which they came, which is that of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten().map(|entity| &**entity)
    }

    /// Something for each place in turn, without what is for an empty one.
    pub(super) fn taken<V>(&self, places: Vec<V>) -> Vec<V> {
        let taken = self.entries.iter().map(Option::is_some);
        places.into_iter().zip(taken).filter_map(|(value, taken)| taken.then_some(value)).collect()
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// In the order of their ids.
    pub fn sorted(&self) -> impl Iterator<Item = &T> {
        let mut all: Vec<&T> = self.iter().collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all.into_iter()
    }
}

/// Values without an id, each kept once.
#[derive(Clone)]
pub(super) struct Interned<T> {
    values: Vec<T>,
    index: HashMap<T, Index>,
}

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned { values: Vec::new(), index: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    pub(super) fn at(&self, index: Index) -> Option<&T> {
        index.get().map(|at| &self.values[at])
    }

    pub(super) fn find(&self, value: &T) -> Option<Index> {
        self.index.get(value).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The values with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        self.values.iter().enumerate().map(|(at, value)| (Index::at(at), value))
    }
}

/// The index of a value, which is added if it is new; nothing has no index.
pub(super) fn intern<T: Clone + Eq + Hash>(all: &mut Arc<Interned<T>>, value: Option<&T>) -> Index {
    let Some(value) = value else { return Index::NONE };
    if let Some(index) = all.find(value) {
        return index;
    }
    let all = Arc::make_mut(all);
    let index = Index::at(all.values.len());
    all.values.push(value.clone());
    all.index.insert(value.clone(), index);
    index
}
