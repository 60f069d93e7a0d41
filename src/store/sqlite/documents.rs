//! Documents and leases: the tables outside the log that background work uses.

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::{PartnerKey, Time};
use crate::store::health::{Health, row_name};
use crate::store::rows::*;
use crate::store::{Document, DocumentWalk, Leased, StoreError};

pub(super) fn get(
    connection: &Connection,
    partner: PartnerKey,
    kind: &str,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let sql = format!("SELECT {DOCUMENT} FROM document WHERE partner = ?1 AND kind = ?2 AND id = ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![partner.0, kind, id])?;
    rows.next()?.map(|row| read_document(row, 0)).transpose()
}

pub(super) fn list(
    connection: &Connection,
    health: &Health,
    partner: PartnerKey,
    kind: &str,
    walk: DocumentWalk<'_>,
    limit: usize,
) -> Result<Vec<Document>, StoreError> {
    // No id is empty, and none is as high as the last character there is.
    let (bound, beyond) = match walk {
        DocumentWalk::Up { after } => (after.unwrap_or(""), "id > ?3 ORDER BY id"),
        DocumentWalk::Down { before } => (before.unwrap_or("\u{10ffff}"), "id < ?3 ORDER BY id DESC"),
    };
    let sql = format!("SELECT {DOCUMENT} FROM document WHERE partner = ?1 AND kind = ?2 AND {beyond}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![partner.0, kind, bound])?;
    let mut documents = Vec::new();
    // Not cut off by the engine: rows that are left out must not fill a page.
    while documents.len() < limit
        && let Some(row) = rows.next()?
    {
        documents.extend(health.readable(
            "document",
            || format!("{kind}/{}", row_name(row, &[0])),
            read_document(row, 0),
        )?);
    }
    Ok(documents)
}

/// Those of all partners that are due, longest first.
pub(super) fn due(
    connection: &Connection,
    health: &Health,
    kind: &str,
    now: Time,
    limit: usize,
) -> Result<Vec<(PartnerKey, Document)>, StoreError> {
    let sql = format!(
        "SELECT partner, {DOCUMENT} FROM document WHERE kind = ?1 AND due IS NOT NULL AND due <= ?2 \
         ORDER BY due, partner, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![kind, now.seconds()])?;
    let mut documents = Vec::new();
    while documents.len() < limit
        && let Some(row) = rows.next()?
    {
        let read = row.int(0).and_then(|key| Ok((PartnerKey(key), read_document(row, 1)?)));
        documents.extend(health.readable("document", || format!("{kind}/{}", row_name(row, &[1])), read)?);
    }
    Ok(documents)
}

pub(super) fn put(
    connection: &Connection,
    partner: PartnerKey,
    kind: &str,
    document: &Document,
) -> Result<(), StoreError> {
    let Document { id, due, body } = document;
    connection
        .prepare_cached(
            "INSERT INTO document (partner, kind, id, due, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (partner, kind, id) DO UPDATE SET due = ?4, body = ?5",
        )?
        .execute(params![partner.0, kind, id, seconds(*due), body])?;
    Ok(())
}

pub(super) fn drop(connection: &Connection, partner: PartnerKey, kind: &str, id: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM document WHERE partner = ?1 AND kind = ?2 AND id = ?3")?
        .execute(params![partner.0, kind, id])?;
    Ok(())
}

/// Acquires or renews a lease, or leaves it with its holder. The clock is read
/// here, after the wait for other writers.
pub(super) fn lease(connection: &Connection, name: &str, holder: &str, seconds: i64) -> rusqlite::Result<Leased> {
    let (at, now) = (Instant::now(), Time::now());
    let until = now.plus(seconds).seconds();
    let renewed = connection
        .prepare_cached("UPDATE lease SET until = ?3 WHERE name = ?1 AND holder = ?2")?
        .execute(params![name, holder, until])?;
    if renewed > 0 {
        return Ok(Leased::Renewed { at });
    }
    let acquired = connection
        .prepare_cached(
            "INSERT INTO lease (name, holder, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) \
             DO UPDATE SET holder = ?2, until = ?3 WHERE until <= ?4 OR until > ?5",
        )?
        .execute(params![name, holder, until, now.seconds(), now.plus(LEASE_SECONDS_MAX).seconds()])?;
    Ok(if acquired > 0 { Leased::Acquired { at } } else { Leased::Refused })
}

pub(super) fn end_lease(connection: &Connection, name: &str, holder: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM lease WHERE name = ?1 AND holder = ?2")?.execute(params![name, holder])?;
    Ok(())
}

pub(super) fn leaseholder(connection: &Connection, name: &str, now: Time) -> rusqlite::Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT holder FROM lease WHERE name = ?1 AND until > ?2 AND until <= ?3")?;
    statement
        .query_row(params![name, now.seconds(), now.plus(LEASE_SECONDS_MAX).seconds()], |row| row.get(0))
        .optional()
}
