//! How this engine fetches what [`crate::store::history`] reads.

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::{Group, PartnerKey, Time};
use crate::store::history::{BareEntry, ENTRIES_BYTES, Shelf, TakePart};
use crate::store::rows::*;
use crate::store::{LogEntry, StoreError};

/// Groups of 10,000 that have several parts in one version: version and group.
const SPLIT_GROUPS: &str = "SELECT version, CASE WHEN subject < 0 THEN -subject ELSE subject / ?4 END AS of \
                            FROM change_part WHERE partner = ?1 AND version > ?2 AND version <= ?3 \
                            GROUP BY version, of HAVING count(*) > 1";

/// One partner's log, on a connection of the caller's.
pub(super) struct SqliteShelf<'c> {
    pub connection: &'c Connection,
    pub key: PartnerKey,
}

impl Shelf for SqliteShelf<'_> {
    fn entries(&self, after: u64, through: u64, limit: usize) -> Result<Vec<BareEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version, {ENTRY}, entities, previous FROM change \
             WHERE partner = ?1 AND version > ?2 AND version <= ?3 ORDER BY version LIMIT ?4"
        ))?;
        let mut rows = statement.query(params![self.key.0, whole(after), whole(through), whole(limit as u64)])?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < ENTRIES_BYTES
            && let Some(row) = rows.next()?
        {
            let entities = row.text(5)?.to_owned();
            bytes += entities.len();
            entries.push(BareEntry {
                version: row.int(0)? as u64,
                entry: read_entry(row, 1)?,
                entities,
                previous: digest(row, 6)?,
            });
        }
        Ok(entries)
    }

    fn mentions(
        &self,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT version, {ENTRY}, entities FROM change \
             WHERE partner = ?1 AND version <= ?2 AND instr(entities, ?3) > 0 ORDER BY version DESC"
        ))?;
        let mut rows = statement.query(params![self.key.0, whole(through), mention])?;
        while let Some(row) = rows.next()?
            && !take(read_entry(row, 1)?, row.text(5)?)?
        {}
        Ok(())
    }

    fn split(&self, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut statement = self.connection.prepare_cached(SPLIT_GROUPS)?;
        let rows = statement
            .query_map(params![self.key.0, whole(after), whole(through), Group::SIZE as i64], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
            })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn parts(&self, after: u64, through: u64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT version, subject, body FROM change_part \
             WHERE partner = ?1 AND version > ?2 AND version <= ?3 ORDER BY version, part",
        )?;
        let mut rows = statement.query([self.key.0, whole(after), whole(through)])?;
        while let Some(row) = rows.next()? {
            take((row.int(0)? as u64, row.int(1)?), row.text(2)?)?;
        }
        Ok(())
    }

    fn parts_of(&self, version: u64, take: TakePart<'_, (i64, i64)>) -> Result<(), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT part, subject, body FROM change_part WHERE partner = ?1 AND version = ?2")?;
        let mut rows = statement.query([self.key.0, whole(version)])?;
        while let Some(row) = rows.next()? {
            take((row.int(0)?, row.int(1)?), row.text(2)?)?;
        }
        Ok(())
    }

    fn places(&self, version: u64) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT part, subject FROM change_part WHERE partner = ?1 AND version = ?2")?;
        let rows = statement.query_map([self.key.0, whole(version)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn body(&self, version: u64, part: i64) -> Result<Option<String>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT body FROM change_part WHERE partner = ?1 AND version = ?2 AND part = ?3")?;
        Ok(statement.query_row([self.key.0, whole(version), part], |row| row.get(0)).optional()?)
    }

    fn subject(&self, subject: i64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT version, part, body FROM change_part WHERE partner = ?1 AND subject = ?2")?;
        let mut rows = statement.query([self.key.0, subject])?;
        while let Some(row) = rows.next()? {
            take((row.int(0)? as u64, row.int(1)?), row.text(2)?)?;
        }
        Ok(())
    }
}

pub(super) fn version_at(connection: &Connection, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT version FROM change WHERE partner = ?1 AND at <= ?2 ORDER BY version DESC LIMIT 1")?;
    let version = statement.query_row([key.0, time.seconds()], |row| row.get::<_, i64>(0)).optional()?;
    Ok(version.unwrap_or(0) as u64)
}
