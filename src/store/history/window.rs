//! The numbers of one change in windows.
//!
//! How many numbers a change has, and which part has the one at a place, only the bodies of
//! all its parts tell: those of a large import are a hundred megabytes. An entry is never
//! written again, so what was found about large ones is kept, within [`KEPT_PARTS_MAX`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::shelf::Shelf;
use crate::domain::{NumberChange, PartnerKey};
use crate::store::StoreError;
use crate::store::log::{self, Skimmed};
use crate::store::rows::corrupt;
use crate::store::sql::Sql;

/// From how many parts on what was found about a change is kept.
const LARGE_PARTS: usize = 16;
/// How many parts the changes have together that are kept: 6 MB.
const KEPT_PARTS_MAX: usize = 1 << 18;

/// A part, by the group of 10,000 that its numbers are of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PartSize {
    group: u64,
    part: i64,
    numbers: u64,
}

/// Which numbers of a change are in which of its parts.
struct ChangeSize {
    /// By group. Parts of a large change come in batches, each in order.
    parts: Vec<PartSize>,
    /// How many numbers the groups have that are in several parts, where a number may have
    /// been put twice.
    split: HashMap<u64, u64>,
    total: u64,
    /// The bodies of all parts, of a change that is not large.
    bodies: HashMap<i64, String>,
}

impl ChangeSize {
    fn read<S: Sql>(shelf: &Shelf<S>, version: u64) -> Result<ChangeSize, StoreError> {
        let mut parts: Vec<PartSize> = Vec::new();
        let mut bodies = HashMap::new();
        shelf.parts_of(version, &mut |at, body| {
            let skimmed = Skimmed::read(body)?;
            parts.push(PartSize { group: skimmed.group(), part: at.part, numbers: skimmed.count() });
            match parts.len() < LARGE_PARTS {
                true => drop(bodies.insert(at.part, body.to_owned())),
                false => bodies.clear(),
            }
            Ok(())
        })?;
        parts.sort_unstable();
        let (mut split, mut total) = (HashMap::new(), 0);
        for parts in parts.chunk_by(|a, b| a.group == b.group) {
            if parts.len() > 1 {
                split.insert(parts[0].group, distinct(shelf, version, parts)?);
            }
            total += split.get(&parts[0].group).copied().unwrap_or(parts[0].numbers);
        }
        Ok(ChangeSize { parts, split, total, bodies })
    }

    /// The numbers from the one at `skip` on, at most `limit`.
    fn window<S: Sql>(
        &self,
        shelf: &Shelf<S>,
        version: u64,
        skip: u64,
        limit: usize,
    ) -> Result<Vec<NumberChange>, StoreError> {
        let (wanted, mut skip) = self.groups(skip, limit);
        let read = match self.bodies.is_empty() {
            true => bodies(shelf, version, wanted.iter().copied().flatten().map(|of| of.part))?,
            false => HashMap::new(),
        };
        let bodies = if self.bodies.is_empty() { &read } else { &self.bodies };
        let part = |of: &PartSize| Skimmed::read(&bodies[&of.part]);
        let mut shown = Vec::new();
        for group in wanted {
            let room = limit - shown.len();
            match group {
                [only] => part(only)?.window(skip, room, &mut shown)?,
                parts => {
                    let mut merged = Vec::new();
                    parts.iter().try_for_each(|of| part(of)?.window(0, of.numbers as usize, &mut merged))?;
                    log::merge(&mut merged);
                    shown.extend(merged.into_iter().skip(skip as usize).take(room));
                }
            }
            skip = 0;
        }
        Ok(shown)
    }

    /// The groups that the numbers from the one at `skip` on are of, and how many numbers of
    /// the first of them come before it.
    fn groups(&self, mut skip: u64, limit: usize) -> (Vec<&[PartSize]>, u64) {
        let (mut wanted, mut room) = (Vec::new(), limit as u64);
        for group in self.parts.chunk_by(|a, b| a.group == b.group) {
            let numbers = self.split.get(&group[0].group).copied().unwrap_or(group[0].numbers);
            if room == 0 {
                break;
            }
            if wanted.is_empty() && numbers <= skip {
                skip -= numbers;
                continue;
            }
            let before = if wanted.is_empty() { skip } else { 0 };
            wanted.push(group);
            room = room.saturating_sub(numbers - before);
        }
        (wanted, skip)
    }
}

/// The bodies of parts; those that are neighbours are asked for together.
pub(super) fn bodies<S: Sql>(
    shelf: &Shelf<S>,
    version: u64,
    parts: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, String>, StoreError> {
    let mut parts: Vec<i64> = parts.collect();
    parts.sort_unstable();
    let mut bodies = HashMap::with_capacity(parts.len());
    for span in parts.chunk_by(|a, b| a + 1 == *b) {
        shelf.bodies(version, span[0], span[span.len() - 1], &mut |part, body| {
            bodies.insert(part, body.to_owned());
        })?;
    }
    match parts.iter().find(|part| !bodies.contains_key(part)) {
        Some(part) => Err(corrupt(format!("part {part} of version {version} is gone"))),
        None => Ok(bodies),
    }
}

/// A store that keeps what was found about large changes.
pub(in crate::store) trait LargeChangeStore {
    fn large_changes(&self) -> &LargeChanges;
}

/// What was found about large changes, the one that was asked for last at the end.
#[derive(Default)]
pub(in crate::store) struct LargeChanges(Mutex<Vec<(PartnerKey, u64, Arc<ChangeSize>)>>);

impl LargeChanges {
    /// The numbers of a change from the one at `skip` on, at most `limit`, and how many
    /// there are in all.
    pub(super) fn window<S: Sql>(
        &self,
        shelf: &Shelf<S>,
        version: u64,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<NumberChange>, u64), StoreError> {
        let size = match self.kept(shelf.key, version) {
            Some(size) => size,
            None => {
                let size = Arc::new(ChangeSize::read(shelf, version)?);
                self.keep(shelf.key, version, &size);
                size
            }
        };
        Ok((size.window(shelf, version, skip, limit)?, size.total))
    }

    fn kept(&self, key: PartnerKey, version: u64) -> Option<Arc<ChangeSize>> {
        let mut kept = self.0.lock();
        let at = kept.iter().position(|(of, kept, _)| (*of, *kept) == (key, version))?;
        let found = kept.remove(at);
        let size = Arc::clone(&found.2);
        kept.push(found);
        Some(size)
    }

    fn keep(&self, key: PartnerKey, version: u64, size: &Arc<ChangeSize>) {
        if !(LARGE_PARTS..=KEPT_PARTS_MAX).contains(&size.parts.len()) {
            return;
        }
        let mut kept = self.0.lock();
        kept.retain(|(of, kept, _)| (*of, *kept) != (key, version));
        kept.push((key, version, Arc::clone(size)));
        let mut parts: usize = kept.iter().map(|(_, _, size)| size.parts.len()).sum();
        while parts > KEPT_PARTS_MAX {
            parts -= kept.remove(0).2.parts.len();
        }
    }
}

/// How many numbers several parts have together.
fn distinct<S: Sql>(shelf: &Shelf<S>, version: u64, parts: &[PartSize]) -> Result<u64, StoreError> {
    let mut digits: Vec<u64> = Vec::new();
    for body in bodies(shelf, version, parts.iter().map(|of| of.part))?.values() {
        digits.extend(Skimmed::read(body)?.digits());
    }
    digits.sort_unstable();
    digits.dedup();
    Ok(digits.len() as u64)
}
