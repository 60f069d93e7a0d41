//! Reads the log: in order and in chunks for followers, in windows for people.
//! Memory is bounded by bytes, however large an entry is.
//!
//! The log never changes, so an earlier read stays valid. [`Shelf`] fetches entries
//! and their parts; this module decodes them.

mod shelf;
mod window;

use std::collections::HashSet;

use self::shelf::Shelf;
use self::window::bodies;
pub(super) use self::window::{LargeChangeStore, LargeChanges};
use super::log::{self, Chain, Skimmed};
use super::rows::{ENTRY, PARTNER, RowCells, corrupt, read_entry, read_partner};
use super::sql::{Sql, SqlStore, bind};
use super::{LogEntry, LogPiece, LoggedChange, Past, Replayed, StoreError};
use crate::domain::change::{Digest, GENESIS};
use crate::domain::{Change, E164, EntityChange, Logged, NumberChange, PartnerId, PartnerKey, RunChange, Time};

/// How many entries are fetched at a time at the most.
const PAGE: usize = 256;
/// How many bytes of entities the entries that are fetched at a time have, but
/// for the last of them.
const ENTRIES_BYTES: usize = 1 << 20;
/// From how many runs of numbers on a piece is handed over: a few megabytes. It has
/// at most a group of 10,000 more.
const PIECE_RUNS: usize = 4_096;
/// How many parts of an entry a replay asks for at a time: PostgreSQL answers a question
/// about sixteen as fast as one about one.
const REPLAYED_PARTS: usize = 16;

/// What `verify` counts that a replay from the first entry to the head would not
/// meet, and what is wrong if there is any.
pub(super) const LOG_INTEGRITY: [(&str, &str); 3] = [
    (
        "log entries are beyond their partner's version",
        "SELECT count(*) FROM change LEFT JOIN partner USING (partner) \
         WHERE change.version > coalesce(partner.version, 0)",
    ),
    (
        "parts of the log belong to no entry",
        "SELECT count(*) FROM change_part LEFT JOIN change USING (partner, version) WHERE change.verb IS NULL",
    ),
    (
        "batches belong to no job",
        "SELECT count(*) FROM job_batch LEFT JOIN job ON job.partner = job_batch.partner AND id = job \
         WHERE id IS NULL",
    ),
];

/// An entry of the log without what it did to numbers.
struct BareEntry {
    version: u64,
    entry: LogEntry,
    entities: String,
    previous: Digest,
}

/// The part of a store that reads the log.
pub trait LogReads {
    /// The place of the partner that has an id; `StoreError::Corrupt` if its row
    /// cannot be understood.
    fn partner(&self, auth_id: &PartnerId) -> Result<Option<PartnerKey>, StoreError>;

    /// The version that a partner has now; 0 if there is no such partner. What
    /// an earlier read of this process found beside the log was written with
    /// this version or an older one.
    fn version(&self, key: PartnerKey) -> Result<u64, StoreError>;

    /// The version that a partner had at the end of the second `time`; 0
    /// before its first change.
    fn version_at(&self, key: PartnerKey, time: Time) -> Result<u64, StoreError>;

    /// Hands over a partner's log after a version up to another, oldest first,
    /// in pieces: an entry may change a million numbers. An entry that cannot be
    /// understood is `StoreError::Corrupt`. An error of `take` ends it.
    fn follow(
        &self,
        key: PartnerKey,
        after: u64,
        through: u64,
        take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The same, at most `limit` entries, each whole: for those that are known
    /// to be small, and for tests.
    fn log(&self, key: PartnerKey, after: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        let mut log: Vec<Logged> = Vec::new();
        self.follow(key, after, after.saturating_add(limit as u64), &mut |piece| {
            match (piece, log.last_mut()) {
                (LogPiece::Entry { version, entry, entities, previous }, _) => {
                    let LogEntry { at, actor, request_id, verb, from: _ } = entry;
                    let numbers = Vec::new();
                    let change = Change { partner: key, version, at, actor, request_id, verb, entities, numbers };
                    log.push(Logged { change, previous, digest: GENESIS });
                }
                (LogPiece::Numbers(runs), Some(last)) => {
                    last.change.numbers.extend(runs.iter().flat_map(RunChange::numbers));
                }
                (LogPiece::End { digest }, Some(last)) => {
                    last.change.numbers.sort_unstable_by_key(|change| change.number);
                    last.digest = digest;
                }
                (LogPiece::Numbers(_) | LogPiece::End { .. }, None) => {}
            }
            Ok(())
        })?;
        Ok(log)
    }

    /// Goes back through the changes of entities up to a version, the latest
    /// first, where the text of the entities has `mention` in it; until `take`
    /// says that it has enough. Reads nothing of numbers.
    fn mentions(
        &self,
        key: PartnerKey,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
    ) -> Result<(), StoreError>;

    /// A number's life within a partner, oldest first.
    fn history(&self, key: PartnerKey, number: E164) -> Result<Vec<Past>, StoreError>;

    /// The entries of a partner's log after a version, oldest first, at most `limit`:
    /// when, by whom and with which verb. Reads nothing of what they did.
    fn entries(&self, key: PartnerKey, after: u64, limit: usize) -> Result<Vec<(u64, LogEntry)>, StoreError>;

    /// A partner's log after a version, oldest first, at most `limit` entries,
    /// each with `numbers` of its numbers from the one at `skip`.
    fn list(
        &self,
        key: PartnerKey,
        after: u64,
        limit: usize,
        skip: u64,
        numbers: usize,
    ) -> Result<Vec<LoggedChange>, StoreError>;

    /// Replays a partner's log up to a version, oldest first, in pieces: for callers
    /// that read millions of numbers and keep little of each.
    fn replay(
        &self,
        key: PartnerKey,
        through: u64,
        take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
}

impl<S: SqlStore + LargeChangeStore> LogReads for S {
    fn partner(&self, auth_id: &PartnerId) -> Result<Option<PartnerKey>, StoreError> {
        let sql = format!("SELECT partner, {PARTNER} FROM partner WHERE auth_id = ?1");
        let read = |row: &dyn RowCells| read_partner(row, 1).and_then(|_| Ok(PartnerKey(row.int(0)?)));
        self.read(|reader| reader.first(&sql, bind![auth_id.as_str()], read))
    }

    fn version(&self, key: PartnerKey) -> Result<u64, StoreError> {
        let sql = "SELECT version FROM partner WHERE partner = ?1";
        Ok(self.read(|reader| reader.first(sql, bind![key], |row| row.int(0)))?.unwrap_or(0) as u64)
    }

    fn version_at(&self, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
        self.read(|sql| Shelf { sql, key }.version_at(time))
    }

    fn follow(
        &self,
        key: PartnerKey,
        after: u64,
        through: u64,
        take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.read(|sql| follow(&Shelf { sql, key }, after, through, take))
    }

    fn mentions(
        &self,
        key: PartnerKey,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, Vec<EntityChange>) -> bool,
    ) -> Result<(), StoreError> {
        let take = &mut |entry, entities: &str| Ok(take(entry, log::decode_entities(entities)?));
        self.read(|sql| Shelf { sql, key }.mentions(through, mention, take))
    }

    fn history(&self, key: PartnerKey, number: E164) -> Result<Vec<Past>, StoreError> {
        self.read(|sql| history(&Shelf { sql, key }, number))
    }

    fn entries(&self, key: PartnerKey, after: u64, limit: usize) -> Result<Vec<(u64, LogEntry)>, StoreError> {
        let sql = format!(
            "SELECT version, {ENTRY} FROM change WHERE partner = ?1 AND version > ?2 ORDER BY version LIMIT ?3"
        );
        let read = |row: &dyn RowCells| Ok((row.int(0)? as u64, read_entry(row, 1)?));
        self.read(|reader| reader.all(&sql, bind![key, after, limit], read))
    }

    fn list(
        &self,
        key: PartnerKey,
        after: u64,
        limit: usize,
        skip: u64,
        numbers: usize,
    ) -> Result<Vec<LoggedChange>, StoreError> {
        self.read(|sql| list(&Shelf { sql, key }, self.large_changes(), after, limit, skip, numbers))
    }

    fn replay(
        &self,
        key: PartnerKey,
        through: u64,
        take: &mut dyn FnMut(&LogEntry, Replayed<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.read(|sql| replay(&Shelf { sql, key }, through, take))
    }
}

/// Hands over entries after a version up to another, piece by piece.
fn follow<S: Sql>(
    shelf: &Shelf<S>,
    mut after: u64,
    through: u64,
    take: &mut dyn FnMut(LogPiece) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while after < through {
        let entries = shelf.entries(after, through, PAGE)?;
        let Some(last) = entries.last().map(|entry| entry.version) else { break };
        let split = shelf.split(after, last)?.into_iter().collect();
        let mut reading =
            EntryReader { key: shelf.key, split, entries: entries.into_iter(), open: None, take: &mut *take };
        shelf.parts(after, last, &mut |at, body| reading.part(at.version, at.subject, body))?;
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

fn history<S: Sql>(shelf: &Shelf<S>, number: E164) -> Result<Vec<Past>, StoreError> {
    let mut found: Vec<(u64, i64, NumberChange)> = Vec::new();
    for subject in log::subjects(number) {
        shelf.subject(subject, &mut |at, body| {
            if let Some(change) = Skimmed::read(body)?.find(number)? {
                found.push((at.version, at.part, change));
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

fn list<S: Sql>(
    shelf: &Shelf<S>,
    large: &LargeChanges,
    after: u64,
    limit: usize,
    skip: u64,
    numbers: usize,
) -> Result<Vec<LoggedChange>, StoreError> {
    let entries = shelf.entries(after, u64::MAX, limit)?;
    let listed = |BareEntry { version, entry, entities, .. }: BareEntry| {
        let (numbers, total) = large.window(shelf, version, skip, numbers)?;
        Ok(LoggedChange { version, entry, entities: log::decode_entities(&entities)?, numbers, total })
    };
    entries.into_iter().map(listed).collect()
}

/// Reads a few groups of 10,000 at a time, so a change of a million numbers takes no more
/// memory than some of them.
fn replay<S: Sql>(
    shelf: &Shelf<S>,
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

fn replay_numbers<S: Sql>(
    shelf: &Shelf<S>,
    version: u64,
    take: &mut dyn FnMut(Replayed<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let places = shelf.places(version)?;
    let mut places: Vec<(u64, i64)> = places.into_iter().map(|at| (log::group(at.subject), at.part)).collect();
    // Parts of a large change come in batches, each in order.
    places.sort_unstable();
    let mut groups = places.chunk_by(|a, b| a.0 == b.0).peekable();
    while groups.peek().is_some() {
        let (mut some, mut parts) = (Vec::new(), 0);
        while parts < REPLAYED_PARTS
            && let Some(group) = groups.next()
        {
            parts += group.len();
            some.push(group);
        }
        let bodies = bodies(shelf, version, some.iter().copied().flatten().map(|(_, part)| *part))?;
        for group in some {
            if let [(_, part)] = group {
                log::runs(&bodies[part], |first, count, after| take(Replayed::Numbers { first, count, after }))?;
                continue;
            }
            // In several parts, a number may have been put twice.
            let mut runs = Vec::new();
            group.iter().try_for_each(|(_, part)| log::decode(&bodies[part], &mut runs))?;
            log::merge_runs(&mut runs);
            for RunChange { first, count, after, .. } in &runs {
                take(Replayed::Numbers { first: *first, count: *count, after: after.as_ref() })?;
            }
        }
    }
    Ok(())
}
