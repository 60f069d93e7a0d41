//! How a change is written down: the text of its parts, and the chain of
//! digests that makes a rewritten past visible.
//!
//! A part holds what one change did to the numbers of one group of 10,000:
//! `{"images":[RECORD,…],"runs":[[FIRST,COUNT,BEFORE,AFTER],…]}`. BEFORE and
//! AFTER point into `images` counting from 1; 0 means that the number was not
//! there. A block of 10,000 that comes into stock is one run.
//!
//! Readable on purpose: the log outlives the program that wrote it.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{Entry, StoreError};
use crate::domain::change::Digest;
use crate::domain::{E164, EntityChange, NumberChange, PartnerKey, Record};

/// How many numbers share a group: those that differ in the last four digits.
const GROUP: u64 = 10_000;

#[derive(serde::Serialize, serde::Deserialize)]
struct Part {
    images: Vec<Record>,
    runs: Vec<(u64, u32, u32, u32)>,
}

/// One part ready to be stored.
pub struct Encoded {
    pub subject: i64,
    pub body: String,
}

/// The subject of a part that has one number, or minus its group.
pub fn subjects(number: E164) -> [i64; 2] {
    let digits = number.digits() as i64;
    [digits, -(digits / GROUP as i64)]
}

/// Splits sorted changes into parts.
pub fn encode(changes: &[NumberChange]) -> impl Iterator<Item = Encoded> {
    changes.chunk_by(|a, b| a.number.digits() / GROUP == b.number.digits() / GROUP).map(|group| {
        let [number, minus_group] = subjects(group[0].number);
        let subject = if group.len() == 1 { number } else { minus_group };
        let body = serde_json::to_string(&part(group)).expect("records serialise");
        Encoded { subject, body }
    })
}

fn part(group: &[NumberChange]) -> Part {
    let mut images = Images::default();
    let mut runs: Vec<(u64, u32, u32, u32)> = Vec::new();
    for change in group {
        let before = images.place(0, change.before.as_ref());
        let after = images.place(1, change.after.as_ref());
        let number = change.number.digits();
        match runs.last_mut() {
            Some((first, count, b, a)) if *first + u64::from(*count) == number && (*b, *a) == (before, after) => {
                *count += 1;
            }
            _ => runs.push((number, 1, before, after)),
        }
    }
    Part { images: images.all.into_iter().cloned().collect(), runs }
}

/// The distinct records of a part.
#[derive(Default)]
struct Images<'a> {
    all: Vec<&'a Record>,
    places: HashMap<&'a Record, u32>,
    /// The last one on either side: neighbours mostly look alike, and
    /// comparing is cheaper than hashing.
    last: [Option<(&'a Record, u32)>; 2],
}

impl<'a> Images<'a> {
    fn place(&mut self, side: usize, image: Option<&'a Record>) -> u32 {
        let Some(image) = image else { return 0 };
        if let Some((last, place)) = self.last[side]
            && last == image
        {
            return place;
        }
        let place = *self.places.entry(image).or_insert_with(|| {
            self.all.push(image);
            self.all.len() as u32
        });
        self.last[side] = Some((image, place));
        place
    }
}

/// Reads a part back into changes, in number order.
pub fn decode(body: &str, out: &mut Vec<NumberChange>) -> Result<(), StoreError> {
    let corrupt = |what: String| StoreError::Corrupt { what };
    let part: Part = serde_json::from_str(body).map_err(|error| corrupt(format!("a part of the log: {error}")))?;
    let image = |at: u32| match at {
        0 => Ok(None),
        at => match part.images.get(at as usize - 1) {
            Some(image) => Ok(Some(image.clone())),
            None => Err(corrupt(format!("a part of the log refers to image {at}, which it does not have"))),
        },
    };
    for &(first, count, before, after) in &part.runs {
        // A damaged count must not fill the memory, nor a damaged first number
        // overflow.
        if u64::from(count) > GROUP || E164::new(first).is_none() {
            return Err(corrupt(format!("a part of the log has a run of {count} numbers from {first}")));
        }
        for digits in first..first + u64::from(count) {
            let number = E164::new(digits).ok_or_else(|| corrupt(format!("number {digits} in the log")))?;
            out.push(NumberChange { number, before: image(before)?, after: image(after)? });
        }
    }
    Ok(())
}

/// The digest of one change, fed its parts as they are written or read.
pub struct Chain {
    hash: Sha256,
}

impl Chain {
    pub fn new() -> Chain {
        Chain { hash: Sha256::new() }
    }

    pub fn part(&mut self, subject: i64, body: &str) {
        self.hash.update(subject.to_le_bytes());
        self.hash.update((body.len() as u64).to_le_bytes());
        self.hash.update(body.as_bytes());
    }

    pub fn finish(mut self, key: PartnerKey, version: u64, entry: &Entry, entities: &str, previous: &Digest) -> Digest {
        let header = serde_json::json!([
            key.0,
            version,
            entry.at.seconds(),
            entry.actor.to_string(),
            entry.request_id,
            entry.verb.as_str(),
            entities,
        ]);
        self.hash.update(header.to_string().as_bytes());
        self.hash.update(previous);
        self.hash.finalize().into()
    }
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::new()
    }
}

/// The text of a change's entities.
pub fn encode_entities(entities: &[EntityChange]) -> String {
    serde_json::to_string(entities).expect("entities serialise")
}

pub fn decode_entities(text: &str) -> Result<Vec<EntityChange>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { what: format!("the entities of a change: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, State, Tags, Time};
    use proptest::prelude::*;

    fn record(cost: i64, tag: &str) -> Record {
        let currency = "INR".parse().expect("a currency");
        Record {
            state: State::Available,
            account: None,
            application: None,
            trunk: None,
            number_type: NumberType::Local,
            country: None,
            region: Some("Mumbai".into()),
            cost: Some(crate::domain::Money { minor: cost, currency }),
            assigned_at: None,
            expires_at: None,
            since: Time::new(1_770_000_000).expect("a time"),
            until: None,
            tags: Tags::new([tag]),
        }
    }

    #[test]
    fn a_block_is_one_run() {
        let image = record(1, "a");
        let changes: Vec<NumberChange> = (912_271_260_000..912_271_270_000)
            .map(|digits| NumberChange {
                number: E164::new(digits).expect("a number"),
                before: None,
                after: Some(image.clone()),
            })
            .collect();
        let parts: Vec<Encoded> = encode(&changes).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].subject, -91_227_126);
        assert!(parts[0].body.len() < 400, "{}", parts[0].body);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            edits in prop::collection::btree_map(912_271_260_000_u64..912_271_290_000, (0..3_i64, 0..3_i64), 0..200)
        ) {
            let image = |cost: i64| (cost > 0).then(|| record(cost, "t"));
            let changes: Vec<NumberChange> = edits
                .into_iter()
                .map(|(digits, (before, after))| NumberChange {
                    number: E164::new(digits).expect("a number"),
                    before: image(before),
                    after: image(after),
                })
                .collect();
            let mut back = Vec::new();
            for part in encode(&changes) {
                decode(&part.body, &mut back).expect("what was encoded");
            }
            prop_assert_eq!(back, changes);
        }
    }
}
