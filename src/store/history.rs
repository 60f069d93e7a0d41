//! Reads the log: in order and in chunks for followers, in windows for people.
//! Memory is bounded by bytes, however large an entry is.
//!
//! The log never changes, so an earlier read stays valid. An engine fetches entries
//! and their parts ([`Shelf`]); this module decodes them.

use std::collections::HashSet;

use super::log::{self, Chain, Skimmed};
use super::rows::corrupt;
use super::{LogEntry, LogPiece, LoggedChange, Past, Replayed, StoreError};
use crate::domain::change::Digest;
use crate::domain::{E164, EntityChange, NumberChange, PartnerKey, RunChange};

/// How many entries are fetched at a time at the most.
const PAGE: usize = 256;
/// How many bytes of entities the entries that are fetched at a time have, but
/// for the last of them.
pub(super) const ENTRIES_BYTES: usize = 1 << 20;
/// From how many runs of numbers on a piece is handed over: a few megabytes. It has
/// at most a group of 10,000 more.
const PIECE_RUNS: usize = 4_096;

/// An entry of the log without what it did to numbers.
pub(super) struct BareEntry {
    pub version: u64,
    pub entry: LogEntry,
    pub entities: String,
    pub previous: Digest,
}

/// One partner's log as an engine has it.
pub(super) trait Shelf {
    /// The entries after a version up to another, oldest first, at most
    /// `limit`, and no more once they have [`ENTRIES_BYTES`].
    fn entries(&self, after: u64, through: u64, limit: usize) -> Result<Vec<BareEntry>, StoreError>;
    /// The entries up to a version whose entities have `mention` in their text,
    /// the latest first, until `take` returns that it has enough.
    fn mentions(
        &self,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>;
    /// The groups of 10,000 that have several parts in one of some versions:
    /// version and group. There are hardly any.
    fn split(&self, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError>;
    /// The parts of some versions, in their order: version, subject and body.
    fn parts(&self, after: u64, through: u64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError>;
    /// The parts of one version, in any order: part, subject and body.
    fn parts_of(&self, version: u64, take: TakePart<'_, (i64, i64)>) -> Result<(), StoreError>;
    /// Which parts one version has, in any order: part and subject.
    fn places(&self, version: u64) -> Result<Vec<(i64, i64)>, StoreError>;
    fn body(&self, version: u64, part: i64) -> Result<Option<String>, StoreError>;
    /// All parts of a subject, in any order: version, part and body.
    fn subject(&self, subject: i64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError>;
}

/// Is given the body of each part, with its place.
pub(super) type TakePart<'a, P> = &'a mut dyn FnMut(P, &str) -> Result<(), StoreError>;

/// Hands over entries after a version up to another, piece by piece.
pub(super) fn follow(
    shelf: &impl Shelf,
    key: PartnerKey,
    mut after: u64,
    through: u64,
    take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while after < through {
        let entries = shelf.entries(after, through, PAGE)?;
        let Some(last) = entries.last().map(|entry| entry.version) else { break };
        let split = shelf.split(after, last)?.into_iter().collect();
        let mut reading = EntryReader { key, split, entries: entries.into_iter(), open: None, take: &mut *take };
        shelf.parts(after, last, &mut |(version, subject), body| reading.part(version, subject, body))?;
        reading.finish()?;
        after = last;
    }
    Ok(())
}

/// Some entries whose parts are coming in.
struct EntryReader<'t> {
    key: PartnerKey,
    /// The groups that have several parts in a version.
    split: HashSet<(u64, u64)>,
    entries: std::vec::IntoIter<BareEntry>,
    open: Option<OpenEntry>,
    take: &'t mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
}

/// The entry whose parts are coming in.
struct OpenEntry {
    version: u64,
    entry: LogEntry,
    entities: String,
    previous: Digest,
    chain: Chain,
    /// What comes with the next piece.
    numbers: Vec<RunChange>,
    /// Of groups that have several parts, in each of which a number may be.
    split: Vec<RunChange>,
}

impl EntryReader<'_> {
    fn part(&mut self, version: u64, subject: i64, body: &str) -> Result<(), StoreError> {
        while self.open.as_ref().is_none_or(|open| open.version < version) {
            self.close()?;
            if !self.begin()? {
                break;
            }
        }
        let open = self.open.as_mut().filter(|open| open.version == version);
        let open = open.ok_or_else(|| corrupt(format!("version {version} in the log has parts, and no entry")))?;
        open.chain.part(subject, body);
        if self.split.contains(&(version, log::group(subject))) {
            return log::decode(body, &mut open.split);
        }
        log::decode(body, &mut open.numbers)?;
        match open.numbers.len() >= PIECE_RUNS {
            true => hand_over(&mut open.numbers, self.take),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.close()?;
        while self.begin()? {
            self.close()?;
        }
        Ok(())
    }

    /// Begins the next entry; whether there is one.
    fn begin(&mut self) -> Result<bool, StoreError> {
        let Some(BareEntry { version, entry, entities, previous }) = self.entries.next() else { return Ok(false) };
        let (chain, numbers, split) = Default::default();
        let decoded = log::decode_entities(&entities)?;
        (self.take)(LogPiece::Entry { version, entry: entry.clone(), entities: decoded, previous })?;
        self.open = Some(OpenEntry { version, entry, entities, previous, chain, numbers, split });
        Ok(true)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let OpenEntry { version, entry, entities, previous, chain, mut numbers, mut split } = open;
        log::merge_runs(&mut split);
        hand_over(&mut numbers, self.take)?;
        for piece in split.chunks(PIECE_RUNS) {
            (self.take)(LogPiece::Numbers(piece.to_vec()))?;
        }
        let digest = chain.finish(self.key, version, &entry, &entities, &previous);
        (self.take)(LogPiece::End { digest })
    }
}

fn hand_over(
    numbers: &mut Vec<RunChange>,
    take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    // A large change is written in batches, each in order.
    log::merge_runs(numbers);
    take(LogPiece::Numbers(std::mem::take(numbers)))
}

pub(super) fn history(shelf: &impl Shelf, number: E164) -> Result<Vec<Past>, StoreError> {
    let mut found: Vec<(u64, i64, NumberChange)> = Vec::new();
    for subject in log::subjects(number) {
        shelf.subject(subject, &mut |(version, part), body| {
            if let Some(change) = Skimmed::read(body)?.find(number)? {
                found.push((version, part, change));
            }
            Ok(())
        })?;
    }
    found.sort_by_key(|(version, part, _)| (*version, *part));
    let mut past = Vec::new();
    for same in found.chunk_by(|a, b| a.0 == b.0) {
        let version = same[0].0;
        let mut change = same[0].2.clone();
        change.after.clone_from(&same[same.len() - 1].2.after);
        let bare = shelf.entries(version - 1, version, 1)?.pop();
        let bare = bare.ok_or_else(|| corrupt(format!("version {version} in the log has parts, and no entry")))?;
        past.push(Past { version, entry: bare.entry, change });
    }
    Ok(past)
}

pub(super) fn mentions(
    shelf: &impl Shelf,
    through: u64,
    mention: &str,
    take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
) -> Result<(), StoreError> {
    shelf.mentions(through, mention, &mut |entry, entities| Ok(take(entry, log::decode_entities(entities)?)))
}

pub(super) fn list(
    shelf: &impl Shelf,
    after: u64,
    limit: usize,
    skip: u64,
    numbers: usize,
) -> Result<Vec<LoggedChange>, StoreError> {
    let entries = shelf.entries(after, u64::MAX, limit)?;
    let listed = |BareEntry { version, entry, entities, .. }: BareEntry| {
        let (numbers, total) = window(shelf, version, skip, numbers)?;
        Ok(LoggedChange { version, entry, entities: log::decode_entities(&entities)?, numbers, total })
    };
    entries.into_iter().map(listed).collect()
}

/// Hands over one group of 10,000 at a time, so a change of a million numbers
/// takes no more memory than one of them.
pub(super) fn replay(
    shelf: &impl Shelf,
    through: u64,
    take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let entries = shelf.entries(after, through, PAGE)?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.version;
        for BareEntry { version, entry, entities, .. } in &entries {
            take(entry, Replayed::Entities(&log::decode_entities(entities)?))?;
            replay_numbers(shelf, *version, &mut |replayed| take(entry, replayed))?;
        }
    }
}

fn replay_numbers(
    shelf: &impl Shelf,
    version: u64,
    take: &mut dyn FnMut(Replayed<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let places = shelf.places(version)?;
    let mut places: Vec<(u64, i64)> = places.into_iter().map(|(part, subject)| (log::group(subject), part)).collect();
    // Parts of a large change come in batches, each in order.
    places.sort_unstable();
    for group in places.chunk_by(|a, b| a.0 == b.0) {
        if let [(_, part)] = group {
            let body = body(shelf, version, *part)?;
            log::runs(&body, |first, count, after| take(Replayed::Numbers { first, count, after }))?;
            continue;
        }
        // In several parts, a number may have been put twice.
        let mut runs = Vec::new();
        for (_, part) in group {
            log::decode(&body(shelf, version, *part)?, &mut runs)?;
        }
        log::merge_runs(&mut runs);
        for RunChange { first, count, after, .. } in &runs {
            take(Replayed::Numbers { first: *first, count: *count, after: after.as_ref() })?;
        }
    }
    Ok(())
}

/// The numbers of a change from the one at `skip` on, at most `limit`, and how
/// many there are in all.
fn window(shelf: &impl Shelf, version: u64, skip: u64, limit: usize) -> Result<(Vec<NumberChange>, u64), StoreError> {
    // Of which group each part is, which it is, and how many numbers it has.
    let mut sizes: Vec<(u64, i64, u64)> = Vec::new();
    shelf.parts_of(version, &mut |(part, _), body| {
        let skimmed = Skimmed::read(body)?;
        sizes.push((skimmed.group(), part, skimmed.count()));
        Ok(())
    })?;
    // Parts of a large change come in batches, each in order.
    sizes.sort_unstable();
    let (mut shown, mut total) = (Vec::new(), 0);
    for group in sizes.chunk_by(|a, b| a.0 == b.0) {
        let skip = skip.saturating_sub(total);
        let room = limit - shown.len();
        let count = match group {
            [(_, _, count)] => *count,
            // In several parts, a number may have been put twice.
            parts => distinct(shelf, version, parts)?,
        };
        if skip < count && room > 0 {
            match group {
                [(_, part, _)] => Skimmed::read(&body(shelf, version, *part)?)?.window(skip, room, &mut shown)?,
                parts => {
                    let mut numbers = Vec::new();
                    for (_, part, count) in parts {
                        let body = body(shelf, version, *part)?;
                        Skimmed::read(&body)?.window(0, *count as usize, &mut numbers)?;
                    }
                    log::merge(&mut numbers);
                    shown.extend(numbers.into_iter().skip(skip as usize).take(room));
                }
            }
        }
        total += count;
    }
    Ok((shown, total))
}

/// How many numbers several parts have together.
fn distinct(shelf: &impl Shelf, version: u64, parts: &[(u64, i64, u64)]) -> Result<u64, StoreError> {
    let mut digits: Vec<u64> = Vec::new();
    for (_, part, _) in parts {
        digits.extend(Skimmed::read(&body(shelf, version, *part)?)?.digits());
    }
    digits.sort_unstable();
    digits.dedup();
    Ok(digits.len() as u64)
}

fn body(shelf: &impl Shelf, version: u64, part: i64) -> Result<String, StoreError> {
    shelf.body(version, part)?.ok_or_else(|| corrupt(format!("part {part} of version {version} is gone")))
}
