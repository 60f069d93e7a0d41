//! The log, read back: whole for followers, in small pieces for people.
//!
//! Each function reads one moment: SQLite holds it while a statement runs, and
//! what is in the log never changes.

use rusqlite::{CachedStatement, Connection, Row, params};

use super::rows::*;
use crate::domain::{Actor, Change, E164, Logged, NumberChange, PartnerKey, Time, Verb};
use crate::store::log::{self, Chain, Skimmed};
use crate::store::{Entry, Listed, Past, Replayed, StoreError};

const ENTRY: &str = "at, actor, request_id, verb";

fn read_entry(row: &Row<'_>, at: usize) -> Result<Entry, StoreError> {
    let (actor, verb) = (text(row, at + 1)?, text(row, at + 3)?);
    Ok(Entry {
        at: time_of(row.get(at)?)?,
        actor: Actor::parse(actor).ok_or_else(|| corrupt(format!("actor {actor:?}")))?,
        request_id: row.get(at + 2)?,
        verb: Verb::parse(verb).ok_or_else(|| corrupt(format!("verb {verb:?}")))?,
    })
}

pub(super) fn log(
    connection: &Connection,
    key: PartnerKey,
    after: u64,
    limit: usize,
) -> Result<Vec<Logged>, StoreError> {
    let mut changes = connection.prepare_cached(&format!(
        "SELECT version, {ENTRY}, entities, previous FROM change \
         WHERE partner = ?1 AND version > ?2 ORDER BY version LIMIT ?3"
    ))?;
    let mut parts = connection
        .prepare_cached("SELECT subject, body FROM change_part WHERE partner = ?1 AND version = ?2 ORDER BY part")?;
    let mut log = Vec::new();
    let mut rows = changes.query(params![key.0, whole(after), whole(limit as u64)])?;
    while let Some(row) = rows.next()? {
        let version: i64 = row.get(0)?;
        let entry = read_entry(row, 1)?;
        let entities = text(row, 5)?;
        let previous = row.get(6)?;
        let mut chain = Chain::new();
        let mut numbers = Vec::new();
        let mut bodies = parts.query(params![key.0, version])?;
        while let Some(part) = bodies.next()? {
            let body = text(part, 1)?;
            chain.part(part.get(0)?, body);
            log::decode(body, &mut numbers)?;
        }
        log::merge(&mut numbers);
        let version = version as u64;
        let digest = chain.finish(key, version, &entry, entities, &previous);
        let entities = log::decode_entities(entities)?;
        let Entry { at, actor, request_id, verb } = entry;
        let change = Change { partner: key, version, at, actor, request_id, verb, entities, numbers };
        log.push(Logged { change, previous, digest });
    }
    Ok(log)
}

pub(super) fn history(connection: &Connection, key: PartnerKey, number: E164) -> Result<Vec<Past>, StoreError> {
    let mut parts = connection.prepare_cached(
        "SELECT version, part, body FROM change_part WHERE partner = ?1 AND subject = ?2 ORDER BY version, part",
    )?;
    let mut found: Vec<(i64, i64, NumberChange)> = Vec::new();
    for subject in log::subjects(number) {
        let mut rows = parts.query([key.0, subject])?;
        while let Some(row) = rows.next()? {
            if let Some(change) = Skimmed::read(text(row, 2)?)?.find(number)? {
                found.push((row.get(0)?, row.get(1)?, change));
            }
        }
    }
    found.sort_by_key(|(version, part, _)| (*version, *part));
    let mut entry = connection
        .prepare_cached(&format!("SELECT version, {ENTRY} FROM change WHERE partner = ?1 AND version = ?2"))?;
    let mut past = Vec::new();
    for same in found.chunk_by(|a, b| a.0 == b.0) {
        let version = same[0].0;
        let mut change = same[0].2.clone();
        change.after.clone_from(&same[same.len() - 1].2.after);
        let mut rows = entry.query([key.0, version])?;
        let row =
            rows.next()?.ok_or_else(|| corrupt(format!("version {version} in the log has parts, and no entry")))?;
        past.push(Past { version: version as u64, entry: read_entry(row, 1)?, change });
    }
    Ok(past)
}

pub(super) fn list(
    connection: &Connection,
    key: PartnerKey,
    after: u64,
    limit: usize,
    skip: u64,
    numbers: usize,
) -> Result<Vec<Listed>, StoreError> {
    let mut changes = connection.prepare_cached(&format!(
        "SELECT version, {ENTRY}, entities FROM change WHERE partner = ?1 AND version > ?2 ORDER BY version LIMIT ?3"
    ))?;
    let mut parts = Parts::new(connection, key)?;
    let mut list = Vec::new();
    let mut rows = changes.query(params![key.0, whole(after), whole(limit as u64)])?;
    while let Some(row) = rows.next()? {
        let version: i64 = row.get(0)?;
        let (numbers, total) = parts.window(version, skip, numbers)?;
        list.push(Listed {
            version: version as u64,
            entry: read_entry(row, 1)?,
            entities: log::decode_entities(text(row, 5)?)?,
            numbers,
            total,
        });
    }
    Ok(list)
}

/// Hands over one group of 10,000 at a time, so a change of a million numbers
/// takes no more memory than one of them.
pub(super) fn replay(
    connection: &Connection,
    key: PartnerKey,
    through: u64,
    take: &mut dyn FnMut(&Entry, Replayed<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut changes = connection.prepare_cached(&format!(
        "SELECT version, {ENTRY}, entities FROM change WHERE partner = ?1 AND version <= ?2 ORDER BY version"
    ))?;
    let mut subjects =
        connection.prepare_cached("SELECT subject, part FROM change_part WHERE partner = ?1 AND version = ?2")?;
    let mut parts = Parts::new(connection, key)?;
    let mut rows = changes.query(params![key.0, whole(through)])?;
    while let Some(row) = rows.next()? {
        let version: i64 = row.get(0)?;
        let entry = read_entry(row, 1)?;
        take(&entry, Replayed::Entities(&log::decode_entities(text(row, 5)?)?))?;
        let mut places: Vec<(u64, i64)> = Vec::new();
        let mut found = subjects.query(params![key.0, version])?;
        while let Some(part) = found.next()? {
            places.push((log::group(part.get(0)?), part.get(1)?));
        }
        // Parts of a large change come in batches, each in order.
        places.sort_unstable();
        for group in places.chunk_by(|a, b| a.0 == b.0) {
            if let [(_, part)] = group {
                parts.body(version, *part, |body| {
                    log::runs(body, |first, count, after| take(&entry, Replayed::Numbers { first, count, after }))
                })?;
                continue;
            }
            // In several parts, a number may have been put twice.
            let mut numbers = Vec::new();
            for (_, part) in group {
                parts.body(version, *part, |body| log::decode(body, &mut numbers))?;
            }
            log::merge(&mut numbers);
            for change in &numbers {
                let after = change.after.as_ref();
                take(&entry, Replayed::Numbers { first: change.number, count: 1, after })?;
            }
        }
    }
    Ok(())
}

/// Reads the parts of changes without making all their numbers at once.
struct Parts<'c> {
    key: PartnerKey,
    all: CachedStatement<'c>,
    one: CachedStatement<'c>,
}

impl<'c> Parts<'c> {
    fn new(connection: &'c Connection, key: PartnerKey) -> Result<Parts<'c>, StoreError> {
        Ok(Parts {
            key,
            all: connection.prepare_cached("SELECT part, body FROM change_part WHERE partner = ?1 AND version = ?2")?,
            one: connection
                .prepare_cached("SELECT body FROM change_part WHERE partner = ?1 AND version = ?2 AND part = ?3")?,
        })
    }

    /// The numbers of a change from the one at `skip` on, at most `limit`, and
    /// how many there are in all.
    fn window(&mut self, version: i64, skip: u64, limit: usize) -> Result<(Vec<NumberChange>, u64), StoreError> {
        // Of which group each part is, which it is, and how many numbers it has.
        let mut sizes: Vec<(u64, i64, u64)> = Vec::new();
        let mut rows = self.all.query([self.key.0, version])?;
        while let Some(row) = rows.next()? {
            let part = Skimmed::read(text(row, 1)?)?;
            sizes.push((part.group(), row.get(0)?, part.count()));
        }
        drop(rows);
        // Parts of a large change come in batches, each in order.
        sizes.sort_unstable();
        let (mut shown, mut total) = (Vec::new(), 0);
        for group in sizes.chunk_by(|a, b| a.0 == b.0) {
            let skip = skip.saturating_sub(total);
            let room = limit - shown.len();
            let count = match group {
                [(_, _, count)] => *count,
                // In several parts, a number may have been put twice.
                parts => self.distinct(version, parts)?,
            };
            if skip < count && room > 0 {
                match group {
                    [(_, part, _)] => self.part(version, *part, |part| part.window(skip, room, &mut shown))?,
                    parts => {
                        let mut numbers = Vec::new();
                        for (_, part, count) in parts {
                            self.part(version, *part, |part| part.window(0, *count as usize, &mut numbers))?;
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
    fn distinct(&mut self, version: i64, parts: &[(u64, i64, u64)]) -> Result<u64, StoreError> {
        let mut digits: Vec<u64> = Vec::new();
        for (_, part, _) in parts {
            self.part(version, *part, |part| {
                digits.extend(part.digits());
                Ok(())
            })?;
        }
        digits.sort_unstable();
        digits.dedup();
        Ok(digits.len() as u64)
    }

    fn part(
        &mut self,
        version: i64,
        part: i64,
        read: impl FnOnce(Skimmed<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.body(version, part, |body| read(Skimmed::read(body)?))
    }

    fn body(
        &mut self,
        version: i64,
        part: i64,
        read: impl FnOnce(&str) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rows = self.one.query([self.key.0, version, part])?;
        let row = rows.next()?.ok_or_else(|| corrupt(format!("part {part} of version {version} is gone")))?;
        read(text(row, 0)?)
    }
}

pub(super) fn version_at(connection: &Connection, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT version FROM change WHERE partner = ?1 AND at <= ?2 ORDER BY version DESC LIMIT 1")?;
    let mut rows = statement.query([key.0, time.seconds()])?;
    match rows.next()? {
        Some(row) => Ok(row.get::<_, i64>(0)? as u64),
        None => Ok(0),
    }
}
