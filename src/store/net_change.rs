//! The table of net changes: what the changes of a span of versions did together.
//!
//! It is derived from the log, and each row is sealed with a SHA-256 of all of it.
//! Invariant: a row is handed over only if its seal is whole and its ends are those
//! that the log has.
//! Deliberately absent: making net changes, and what is in their bodies
//! (`domain/net_change.rs`).

use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::log;
use super::rows::{RowCells, corrupt, digest, time_of};
use super::sql::{Sql, SqlStore, bind};
use crate::domain::change::Digest;
use crate::domain::{NetChange, PartnerKey};

/// From the partner and the last version of a row: its columns, and what the log has
/// at its ends.
const SEALED: &str = "SELECT first_version, net_change.at, net_change.previous, net_change.head, \
    net_change.entities, body, sha256, begun.at, begun.previous, coalesce(following.previous, partner.head) \
    FROM net_change \
    LEFT JOIN change AS begun ON begun.partner = net_change.partner AND begun.version = first_version \
    LEFT JOIN change AS following ON following.partner = net_change.partner \
        AND following.version = last_version + 1 \
    LEFT JOIN partner ON partner.partner = net_change.partner AND partner.version = last_version \
    WHERE net_change.partner = ?1 AND last_version = ?2";

/// The part of a store that keeps net changes.
pub trait NetChangeTable {
    /// The spans that have a row, with a net change or without: the last version of
    /// each, ascending.
    fn net_change_ends(&self, key: PartnerKey) -> Result<Vec<u64>, StoreError>;

    /// The spans of versions after one and up to another that have a net change:
    /// first and last version, ascending.
    fn net_change_spans(&self, key: PartnerKey, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError>;

    /// The net change that ends at a version. `None` if there is no such row, or one
    /// that says to read the log; `StoreError::Corrupt` if it is not as it was written,
    /// or the log is another.
    fn net_change(&self, key: PartnerKey, last: u64) -> Result<Option<NetChange>, StoreError>;

    /// Keeps a net change, unless its span has a row. In one short transaction that
    /// gives way to writers.
    fn put_net_change(&self, key: PartnerKey, net: &NetChange) -> Result<(), StoreError>;

    /// Keeps in the same way that the log is to be read from a version to another.
    fn put_log_span(&self, key: PartnerKey, first: u64, last: u64) -> Result<(), StoreError>;
}

impl<S: SqlStore> NetChangeTable for S {
    fn net_change_ends(&self, key: PartnerKey) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT last_version FROM net_change WHERE partner = ?1 ORDER BY last_version";
        self.read(|reader| reader.all(sql, bind![key], |row| Ok(row.int(0)? as u64)))
    }

    fn net_change_spans(&self, key: PartnerKey, after: u64, through: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let sql = "SELECT first_version, last_version FROM net_change WHERE partner = ?1 AND last_version > ?2 \
                   AND last_version <= ?3 AND first_version > ?2 AND body IS NOT NULL ORDER BY last_version";
        let span = |row: &dyn RowCells| Ok((row.int(0)? as u64, row.int(1)? as u64));
        self.read(|reader| reader.all(sql, bind![key, after, through], span))
    }

    fn net_change(&self, key: PartnerKey, last: u64) -> Result<Option<NetChange>, StoreError> {
        let read = |row: &dyn RowCells| read_sealed(row, key, last);
        Ok(self.read(|reader| reader.first(SEALED, bind![key, last], read))?.flatten())
    }

    fn put_net_change(&self, key: PartnerKey, net: &NetChange) -> Result<(), StoreError> {
        let NetChange { first, last, at, previous, head, entities, body } = net;
        let entities = log::encode_entities(entities);
        let seal = seal(key, net, &entities, body);
        let sql = "INSERT INTO net_change (partner, last_version, first_version, at, previous, head, entities, body, \
                   sha256) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (partner, last_version) DO NOTHING";
        let values = bind![key, *last, *first, *at, previous, head, &entities, body, &seal];
        self.housekeep(|writer| writer.run(sql, values)).map(|_| ())
    }

    fn put_log_span(&self, key: PartnerKey, first: u64, last: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO net_change (partner, last_version, first_version) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (partner, last_version) DO NOTHING";
        self.housekeep(|writer| writer.run(sql, bind![key, last, first])).map(|_| ())
    }
}

/// A row that is what was written and fits the log; `None` if it says to read the log.
fn read_sealed(row: &dyn RowCells, key: PartnerKey, last: u64) -> Result<Option<NetChange>, StoreError> {
    let Some(body) = row.bytes_if(5)? else { return Ok(None) };
    let wrong = |what: &str| corrupt(format!("the net change up to version {last} of partner {key} {what}"));
    let (at, entities) = (time_of(row.int(1)?)?, row.text(4)?);
    let (first, previous, head) = (row.int(0)? as u64, digest(row, 2)?, digest(row, 3)?);
    let mut net = NetChange { first, last, at, previous, head, entities: Vec::new(), body: Vec::new() };
    if digest(row, 6)? != seal(key, &net, entities, body) {
        return Err(wrong("is not what was written"));
    }
    // An end that the log does not have is a null.
    let logged = (row.int_if(7)?, row.bytes_if(8)?, row.bytes_if(9)?);
    if logged != (Some(at.seconds()), Some(&previous[..]), Some(&head[..])) {
        return Err(wrong("does not fit the log"));
    }
    (net.entities, net.body) = (log::decode_entities(entities)?, body.to_vec());
    Ok(Some(net))
}

/// SHA-256 of all that a row has.
fn seal(key: PartnerKey, net: &NetChange, entities: &str, body: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    [key.0, net.first as i64, net.last as i64, net.at.seconds()].iter().for_each(|int| hash.update(int.to_le_bytes()));
    hash.update(net.previous);
    hash.update(net.head);
    hash.update((entities.len() as u64).to_le_bytes());
    hash.update(entities);
    hash.update(body);
    hash.finalize().into()
}
