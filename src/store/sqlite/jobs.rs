//! Tables outside the log: stored answers for retries, and jobs.

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::{PartnerKey, Time};
use crate::store::health::{Health, row_name};
use crate::store::rows::*;
use crate::store::{Answered, Over, StoreError, StoredJob};

/// How many answers are let go of in one transaction.
const FORGET: u32 = 1_000;

pub(super) fn answered(
    connection: &Connection,
    partner: PartnerKey,
    key: &str,
    since: Time,
) -> Result<Option<Answered>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT fingerprint, status, etag, body FROM answered WHERE partner = ?1 AND key = ?2 AND at >= ?3",
        )?
        .query_row(params![partner.0, key, since.seconds()], |row| {
            Ok(Answered { fingerprint: row.get(0)?, status: row.get(1)?, etag: row.get(2)?, body: row.get(3)? })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn put_answered(
    connection: &Connection,
    partner: PartnerKey,
    key: &str,
    at: Time,
    answered: &Answered,
) -> Result<(), StoreError> {
    let Answered { fingerprint, status, etag, body } = answered;
    connection
        .prepare_cached(
            "INSERT INTO answered (partner, key, fingerprint, at, status, etag, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (partner, key) DO UPDATE SET fingerprint = ?3, at = ?4, status = ?5, etag = ?6, body = ?7",
        )?
        .execute(params![partner.0, key, fingerprint, at.seconds(), status, etag, body])?;
    Ok(())
}

/// How many jobs are deleted in one transaction, and how many batches of their
/// rows.
const FORGET_JOBS: u32 = 100;
/// Ended jobs of partners that have no open one. A job's head is JSON, in which
/// a quoted text has its quotes escaped.
const ENDED: &str = "SELECT partner, id FROM job WHERE open = 0 AND created_at < ?1 \
                     AND body NOT LIKE '%\"state\":\"previewed\"%' \
                     AND NOT EXISTS (SELECT 1 FROM job AS busy WHERE busy.open = 1 AND busy.partner = job.partner)";

/// Deletes some of what is over; how many rows.
pub(super) fn delete_over(connection: &Connection, over: &Over) -> rusqlite::Result<usize> {
    match over {
        Over::Jobs { created_before } => {
            let batches = format!(
                "DELETE FROM job_batch WHERE (partner, job, batch) IN (SELECT job_batch.partner, job, batch \
                 FROM job_batch JOIN ({ENDED}) AS ended ON ended.partner = job_batch.partner AND ended.id = job LIMIT ?2)"
            );
            let before = created_before.seconds();
            let deleted = connection.prepare_cached(&batches)?.execute(params![before, FORGET_JOBS])?;
            if deleted > 0 {
                return Ok(deleted);
            }
            // Those that are left have no rows any more.
            let jobs = format!("DELETE FROM job WHERE (partner, id) IN ({ENDED} LIMIT ?2)");
            connection.prepare_cached(&jobs)?.execute(params![before, FORGET_JOBS])
        }
        Over::Acknowledgements { ended_before } => connection
            .prepare_cached(
                "DELETE FROM acknowledgement WHERE (partner, finding) IN \
                 (SELECT partner, finding FROM acknowledgement WHERE until < ?1 LIMIT ?2)",
            )?
            .execute(params![ended_before.seconds(), FORGET]),
        Over::Settings { partner, ids } => {
            let mut statement = connection.prepare_cached("DELETE FROM setting WHERE partner = ?1 AND id = ?2")?;
            ids.iter().map(|id| statement.execute(params![partner.0, id])).sum()
        }
    }
}

/// Lets go of some of the answers kept before `before`; how many.
pub(super) fn forget(connection: &Connection, before: Time) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM answered WHERE rowid IN (SELECT rowid FROM answered WHERE at < ?1 LIMIT ?2)")?
        .execute(params![before.seconds(), FORGET])
}

pub(super) fn job(connection: &Connection, partner: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
    let sql = format!("SELECT {JOB} FROM job WHERE partner = ?1 AND id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![partner.0, id])?;
    rows.next()?.map(|row| read_job(row, 0)).transpose()
}

pub(super) fn put_job(connection: &Connection, partner: PartnerKey, job: &StoredJob) -> Result<(), StoreError> {
    let StoredJob { id, created_at, open, body } = job;
    connection
        .prepare_cached(
            "INSERT INTO job (partner, id, created_at, open, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (partner, id) DO UPDATE SET created_at = ?3, open = ?4, body = ?5",
        )?
        .execute(params![partner.0, id, created_at.seconds(), open, body])?;
    Ok(())
}

/// Newest first, `limit` after `skip`, and how many there are.
pub(super) fn jobs(
    connection: &Connection,
    health: &Health,
    partner: PartnerKey,
    skip: u64,
    limit: usize,
) -> Result<(Vec<StoredJob>, u64), StoreError> {
    // Page and total are one moment.
    let transaction = connection.unchecked_transaction()?;
    let total: i64 = transaction
        .prepare_cached("SELECT count(*) FROM job WHERE partner = ?1")?
        .query_row([partner.0], |row| row.get(0))?;
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {JOB} FROM job WHERE partner = ?1 ORDER BY created_at DESC, id DESC LIMIT ?3 OFFSET ?2"
    ))?;
    let mut rows = statement.query(params![partner.0, whole(skip), whole(limit as u64)])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.extend(health.readable("job", || row_name(row, &[0]), read_job(row, 0))?);
    }
    Ok((jobs, total as u64))
}

/// The open ones of all partners, oldest first.
pub(super) fn open(connection: &Connection, health: &Health) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError> {
    let sql = format!("SELECT partner, {JOB} FROM job WHERE open = 1 ORDER BY created_at, id, partner");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let read = row.int(0).and_then(|key| Ok((PartnerKey(key), read_job(row, 1)?)));
        jobs.extend(health.readable("job", || row_name(row, &[1]), read)?);
    }
    Ok(jobs)
}

pub(super) fn batch(
    connection: &Connection,
    partner: PartnerKey,
    job: &str,
    batch: u64,
) -> Result<Option<String>, StoreError> {
    let body = connection
        .prepare_cached("SELECT body FROM job_batch WHERE partner = ?1 AND job = ?2 AND batch = ?3")?
        .query_row(params![partner.0, job, whole(batch)], |row| row.get(0))
        .optional()?;
    Ok(body)
}

pub(super) fn put_batch(
    connection: &Connection,
    partner: PartnerKey,
    job: &str,
    batch: u64,
    body: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO job_batch (partner, job, batch, body) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (partner, job, batch) DO UPDATE SET body = ?4",
        )?
        .execute(params![partner.0, job, whole(batch), body])?;
    Ok(())
}

/// A job's batches from one on, each with its place.
pub(super) fn batches(
    connection: &Connection,
    partner: PartnerKey,
    job: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT batch, body FROM job_batch WHERE partner = ?1 AND job = ?2 AND batch >= ?3 ORDER BY batch LIMIT ?4",
    )?;
    let mut rows = statement.query(params![partner.0, job, whole(from), whole(limit as u64)])?;
    let mut batches = Vec::new();
    while let Some(row) = rows.next()? {
        batches.push((row.get::<_, i64>(0)? as u64, row.get(1)?));
    }
    Ok(batches)
}
