//! Fetches the entries of a partner's log and their parts.

use super::{BareEntry, ENTRIES_BYTES};
use crate::domain::{Group, PartnerKey, Time};
use crate::store::rows::*;
use crate::store::sql::{Sql, SqlValue, bind};
use crate::store::{LogEntry, StoreError};

/// Groups of 10,000 that have several parts in one version: version and group.
const SPLIT_GROUPS: &str = "SELECT version, CASE WHEN subject < 0 THEN -subject ELSE subject / ?4 END AS of \
                            FROM change_part WHERE partner = ?1 AND version > ?2 AND version <= ?3 \
                            GROUP BY version, of HAVING count(*) > 1";

/// Takes the body of each part, with its place.
pub(super) type TakePart<'a> = &'a mut dyn FnMut(PartPlace, &str) -> Result<(), StoreError>;

/// Where a part is: in which entry, and as which of its parts.
#[derive(Clone, Copy)]
pub(super) struct PartPlace {
    pub version: u64,
    pub part: i64,
    /// The group or the number that it is about.
    pub subject: i64,
}

/// One partner's log, on a connection of the caller's.
pub(in crate::store) struct Shelf<S> {
    pub sql: S,
    pub key: PartnerKey,
}

impl<S: Sql> Shelf<S> {
    /// The entries after a version up to another, oldest first, at most
    /// `limit`, and no more once they have [`ENTRIES_BYTES`].
    pub fn entries(&self, after: u64, through: u64, limit: usize) -> Result<Vec<BareEntry>, StoreError> {
        let sql = format!(
            "SELECT version, {ENTRY}, entities, previous FROM change \
             WHERE partner = ?1 AND version > ?2 AND version <= ?3 ORDER BY version LIMIT ?4"
        );
        let (mut entries, mut bytes) = (Vec::new(), 0);
        self.sql.query(&sql, bind![self.key, after, through, limit], &mut |row| {
            let entities = row.text(5)?.to_owned();
            bytes += entities.len();
            entries.push(BareEntry {
                version: row.int(0)? as u64,
                entry: read_entry(row, 1)?,
                entities,
                previous: digest(row, 6)?,
            });
            Ok(bytes < ENTRIES_BYTES)
        })?;
        Ok(entries)
    }

    /// The entries up to a version whose entities have `mention` in their text,
    /// the latest first, until `take` returns that it has enough.
    pub fn mentions(
        &self,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let find = S::FIND;
        let sql = format!(
            "SELECT version, {ENTRY}, entities FROM change \
             WHERE partner = ?1 AND version <= ?2 AND {find}(entities, ?3) > 0 ORDER BY version DESC"
        );
        let values = bind![self.key, through, mention];
        self.sql.query(&sql, values, &mut |row| Ok(!take(read_entry(row, 1)?, row.text(5)?)?))
    }

    /// The groups of 10,000 that have several parts in one of some versions:
    /// version and group. There are hardly any.
    pub fn split(&self, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let values = bind![self.key, after, through, Group::SIZE];
        self.sql.all(SPLIT_GROUPS, values, |row| Ok((row.int(0)? as u64, row.int(1)? as u64)))
    }

    /// The parts that the end of a query names, with their bodies.
    fn parts_of_query(&self, end: &str, values: &[SqlValue<'_>], take: TakePart<'_>) -> Result<(), StoreError> {
        let sql = format!("SELECT version, part, subject, body FROM change_part {end}");
        self.sql.query(&sql, values, &mut |row| take(part_place(row)?, row.text(3)?).map(|()| true))
    }

    /// The parts of some versions, in their order.
    pub fn parts(&self, after: u64, through: u64, take: TakePart<'_>) -> Result<(), StoreError> {
        let values = bind![self.key, after, through];
        let end = "WHERE partner = ?1 AND version > ?2 AND version <= ?3 ORDER BY version, part";
        self.parts_of_query(end, values, take)
    }

    /// The parts of one version, in any order.
    pub fn parts_of(&self, version: u64, take: TakePart<'_>) -> Result<(), StoreError> {
        self.parts_of_query("WHERE partner = ?1 AND version = ?2", bind![self.key, version], take)
    }

    /// All parts of a subject, in any order.
    pub fn subject(&self, subject: i64, take: TakePart<'_>) -> Result<(), StoreError> {
        let end = format!("{} WHERE partner = ?1 AND subject = ?2", S::BY_SUBJECT);
        self.parts_of_query(&end, bind![self.key, subject], take)
    }

    /// Which parts one version has, in any order.
    pub fn places(&self, version: u64) -> Result<Vec<PartPlace>, StoreError> {
        let sql = "SELECT version, part, subject FROM change_part WHERE partner = ?1 AND version = ?2";
        self.sql.all(sql, bind![self.key, version], part_place)
    }

    /// The bodies of neighbours among the parts of one version.
    pub fn bodies(
        &self,
        version: u64,
        first: i64,
        last: i64,
        take: &mut dyn FnMut(i64, &str),
    ) -> Result<(), StoreError> {
        let sql = "SELECT part, body FROM change_part WHERE partner = ?1 AND version = ?2 AND part BETWEEN ?3 AND ?4";
        self.sql.query(sql, bind![self.key, version, first, last], &mut |row| {
            take(row.int(0)?, row.text(1)?);
            Ok(true)
        })
    }

    /// The version at the end of a second; 0 before the first change. Times of a
    /// partner's entries never decrease, so it is searched for by halves, from the
    /// latest entry in steps that double, because most questions are about lately.
    pub fn version_at(&self, time: Time) -> Result<u64, StoreError> {
        let Some((mut above, at)) = self.entry_time(u64::MAX)? else { return Ok(0) };
        if at <= time {
            return Ok(above);
        }
        // The entries up to `below` are not later than the second, and the last of them
        // is `found`; that of `above` is later.
        let (mut below, mut found, mut step) = (0, 0, 1);
        while above - below > 1 {
            let half = (above - below) / 2;
            let Some((version, at)) = self.entry_time(above - half.min(step))? else { return Ok(found) };
            if at <= time {
                (below, found, step) = (above - half.min(step), version, u64::MAX);
            } else {
                (above, step) = (version.max(below + 1), step.saturating_mul(2));
            }
        }
        Ok(found)
    }

    /// The last entry up to a version, and its time.
    fn entry_time(&self, through: u64) -> Result<Option<(u64, Time)>, StoreError> {
        let sql = "SELECT version, at FROM change WHERE partner = ?1 AND version <= ?2 ORDER BY version DESC LIMIT 1";
        self.sql.first(sql, bind![self.key, through], |row| Ok((row.int(0)? as u64, time_of(row.int(1)?)?)))
    }
}

fn part_place(row: &dyn RowCells) -> Result<PartPlace, StoreError> {
    Ok(PartPlace { version: row.int(0)? as u64, part: row.int(1)?, subject: row.int(2)? })
}
