//! How this engine fetches what [`crate::store::history`] reads.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;

use super::connect::Link;
use super::core::{Core, Params};
use super::trouble::trouble;
use crate::domain::{Group, PartnerKey, Time};
use crate::store::history::{BareEntry, ENTRIES_BYTES, Shelf, TakePart};
use crate::store::rows::*;
use crate::store::{LogEntry, StoreError};

/// Groups of 10,000 that have several parts in one version: version and group.
const SPLIT_GROUPS: &str = "SELECT version, CASE WHEN subject < 0 THEN -subject ELSE subject / $4 END AS of \
                            FROM change_part WHERE partner = $1 AND version > $2 AND version <= $3 \
                            GROUP BY version, of HAVING count(*) > 1";

/// One partner's log, on a connection of the caller's.
pub(super) struct PgShelf<'c> {
    pub core: &'c Core,
    pub link: &'c Link,
    pub key: PartnerKey,
}

impl PgShelf<'_> {
    /// Hands over rows as they come: their bodies may be large.
    fn each(
        &self,
        sql: &str,
        params: Params<'_>,
        mut take: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.while_wanted(sql, params, |row| take(row).map(|()| true))
    }

    /// The same until `take` returns that it has enough.
    fn while_wanted(
        &self,
        sql: &str,
        params: Params<'_>,
        mut take: impl FnMut(&Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.core.run(async {
            let client = &self.link.client;
            let statement = client.prepare_cached(sql).await.map_err(trouble)?;
            let mut rows = pin!(client.query_raw(&statement, params.iter().copied()).await.map_err(trouble)?);
            while let Some(row) = rows.try_next().await.map_err(trouble)?
                && take(&row)?
            {}
            Ok(())
        })
    }
}

impl Shelf for PgShelf<'_> {
    fn entries(&self, after: u64, through: u64, limit: usize) -> Result<Vec<BareEntry>, StoreError> {
        let sql = format!(
            "SELECT version, {ENTRY}, entities, previous FROM change \
             WHERE partner = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4"
        );
        let params: Params<'_> = &[&self.key.0, &whole(after), &whole(through), &whole(limit as u64)];
        let (mut entries, mut bytes) = (Vec::new(), 0);
        self.while_wanted(&sql, params, |row| {
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

    fn mentions(
        &self,
        through: u64,
        mention: &str,
        take: &mut dyn FnMut(LogEntry, &str) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT version, {ENTRY}, entities FROM change \
             WHERE partner = $1 AND version <= $2 AND strpos(entities, $3) > 0 ORDER BY version DESC"
        );
        let params: Params<'_> = &[&self.key.0, &whole(through), &mention];
        self.while_wanted(&sql, params, |row| Ok(!take(read_entry(row, 1)?, row.text(5)?)?))
    }

    fn split(&self, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let params: Params<'_> = &[&self.key.0, &whole(after), &whole(through), &(Group::SIZE as i64)];
        let rows = self.core.rows(self.link, SPLIT_GROUPS, params)?;
        rows.iter().map(|row| Ok((row.int(0)? as u64, row.int(1)? as u64))).collect()
    }

    fn parts(&self, after: u64, through: u64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError> {
        self.each(
            "SELECT version, subject, body FROM change_part \
             WHERE partner = $1 AND version > $2 AND version <= $3 ORDER BY version, part",
            &[&self.key.0, &whole(after), &whole(through)],
            |row| take((row.int(0)? as u64, row.int(1)?), row.text(2)?),
        )
    }

    fn parts_of(&self, version: u64, take: TakePart<'_, (i64, i64)>) -> Result<(), StoreError> {
        self.each(
            "SELECT part, subject, body FROM change_part WHERE partner = $1 AND version = $2",
            &[&self.key.0, &whole(version)],
            |row| take((row.int(0)?, row.int(1)?), row.text(2)?),
        )
    }

    fn places(&self, version: u64) -> Result<Vec<(i64, i64)>, StoreError> {
        let sql = "SELECT part, subject FROM change_part WHERE partner = $1 AND version = $2";
        let rows = self.core.rows(self.link, sql, &[&self.key.0, &whole(version)])?;
        rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
    }

    fn body(&self, version: u64, part: i64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM change_part WHERE partner = $1 AND version = $2 AND part = $3";
        let rows = self.core.rows(self.link, sql, &[&self.key.0, &whole(version), &part])?;
        rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
    }

    fn subject(&self, subject: i64, take: TakePart<'_, (u64, i64)>) -> Result<(), StoreError> {
        self.each(
            "SELECT version, part, body FROM change_part WHERE partner = $1 AND subject = $2",
            &[&self.key.0, &subject],
            |row| take((row.int(0)? as u64, row.int(1)?), row.text(2)?),
        )
    }
}

pub(super) fn version_at(core: &Core, link: &Link, key: PartnerKey, time: Time) -> Result<u64, StoreError> {
    let sql = "SELECT version FROM change WHERE partner = $1 AND at <= $2 ORDER BY version DESC LIMIT 1";
    let rows = core.rows(link, sql, &[&key.0, &time.seconds()])?;
    rows.first().map_or(Ok(0), |row| Ok(row.int(0)? as u64))
}
