//! Dictionary encoding: distinct values, each stored once and named by its place.
//!
//! Invariant: equal values have one place; places count from 0 in the order in which values first came.
//! Deliberately absent: how a list of places is packed, which each user knows best.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug)]
pub struct Dictionary<T, S = RandomState> {
    values: Vec<T>,
    places: HashMap<T, u32, S>,
}

impl<T, S: Default> Default for Dictionary<T, S> {
    fn default() -> Self {
        Dictionary { values: Vec::new(), places: HashMap::default() }
    }
}

impl<T: Clone + Eq + Hash, S: BuildHasher + Default> Dictionary<T, S> {
    /// The place of a value, which is added if it is new. `near` is the place of its neighbour: neighbours are mostly
    /// equal, and comparing is cheaper than hashing.
    pub fn place(&mut self, value: T, near: Option<u32>) -> u32 {
        if let Some(near) = near
            && self.get(near) == Some(&value)
        {
            return near;
        }
        *self.places.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            self.values.len() as u32 - 1
        })
    }
}

impl<T, S> Dictionary<T, S> {
    pub fn get(&self, place: u32) -> Option<&T> {
        self.values.get(place as usize)
    }

    /// In the order of their places.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    pub fn into_values(self) -> Vec<T> {
        self.values
    }
}

impl<T: Serialize, S> Serialize for Dictionary<T, S> {
    fn serialize<Z: Serializer>(&self, out: Z) -> Result<Z::Ok, Z::Error> {
        self.values.serialize(out)
    }
}

/// A list from outside may repeat a value; its places stay as they are.
impl<'de, T: Deserialize<'de> + Clone + Eq + Hash, S: BuildHasher + Default> Deserialize<'de> for Dictionary<T, S> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let values = Vec::<T>::deserialize(from)?;
        let mut places = HashMap::default();
        for (place, value) in values.iter().enumerate() {
            places.entry(value.clone()).or_insert(place as u32);
        }
        Ok(Dictionary { values, places })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_lead_back_to_the_values(list in prop::collection::vec(0..6_u8, 0..60), near in any::<bool>()) {
            let mut dictionary: Dictionary<u8> = Dictionary::default();
            let mut last = None;
            let places: Vec<u32> = list
                .iter()
                .map(|&value| {
                    let place = dictionary.place(value, last.filter(|_| near));
                    last = Some(place);
                    place
                })
                .collect();
            let back: Vec<u8> = places.iter().filter_map(|&place| dictionary.get(place).copied()).collect();
            prop_assert_eq!(&back, &list);
            let mut distinct = list.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(dictionary.values().len(), distinct.len());
            let text = serde_json::to_string(&dictionary).expect("text");
            let mut read: Dictionary<u8> = serde_json::from_str(&text).expect("what was written");
            prop_assert!(list.iter().zip(&places).all(|(&value, &place)| read.place(value, None) == place));
            prop_assert_eq!(read.into_values(), dictionary.into_values());
        }
    }

    #[test]
    fn a_list_that_repeats_a_value_keeps_its_places() {
        let mut read: Dictionary<String> = serde_json::from_str(r#"["a","b","a"]"#).expect("a list");
        assert_eq!(read.get(2).map(String::as_str), Some("a"));
        assert_eq!((read.place("a".to_owned(), None), read.place("c".to_owned(), Some(7))), (0, 3));
    }
}
