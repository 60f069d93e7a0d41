//! Tables outside the log: stored answers for retries, jobs, documents, leases.

use std::time::Instant;

use tokio_postgres::types::ToSql;

use super::connect::Link;
use super::core::{Core, Params};
use crate::domain::{PartnerKey, Time};
use crate::store::health::row_name;
use crate::store::rows::*;
use crate::store::{Answered, Document, DocumentWalk, Leased, Over, StoreError, StoredJob};

/// How many answers are let go of in one transaction.
const FORGET: i64 = 1_000;

/// A connection, within a transaction of its caller's or without.
pub(super) struct SideTables<'c> {
    pub core: &'c Core,
    pub link: &'c Link,
}

/// Ended jobs of partners that have no open one. A job's head is JSON, in which
/// a quoted text has its quotes escaped.
const ENDED: &str = "SELECT partner, id FROM job WHERE open = 0 AND created_at < $1 \
                     AND body NOT LIKE '%\"state\":\"previewed\"%' \
                     AND NOT EXISTS (SELECT 1 FROM job AS busy WHERE busy.open = 1 AND busy.partner = job.partner)";

impl SideTables<'_> {
    /// Deletes some of what is over; how many rows.
    pub fn delete_over(&self, over: &Over) -> Result<u64, StoreError> {
        match over {
            Over::Jobs { created_before } => {
                let batches = format!(
                    "DELETE FROM job_batch WHERE (partner, job, batch) IN (SELECT job_batch.partner, job, batch \
                     FROM job_batch JOIN ({ENDED}) AS ended ON ended.partner = job_batch.partner AND ended.id = job \
                     LIMIT 100)"
                );
                let before = created_before.seconds();
                let deleted = self.core.execute(self.link, &batches, &[&before])?;
                if deleted > 0 {
                    return Ok(deleted);
                }
                // Those that are left have no rows any more.
                let jobs = format!("DELETE FROM job WHERE (partner, id) IN ({ENDED} LIMIT 100)");
                self.core.execute(self.link, &jobs, &[&before])
            }
            Over::Acknowledgements { ended_before } => self.core.execute(
                self.link,
                "DELETE FROM acknowledgement WHERE (partner, finding) IN \
                 (SELECT partner, finding FROM acknowledgement WHERE until < $1 LIMIT 1000)",
                &[&ended_before.seconds()],
            ),
            Over::Settings { partner, ids } => {
                let sql = "DELETE FROM setting WHERE partner = $1 AND id = ANY($2)";
                self.core.execute(self.link, sql, &[&partner.0, ids])
            }
        }
    }

    pub fn answered(&self, partner: PartnerKey, key: &str, since: Time) -> Result<Option<Answered>, StoreError> {
        let sql = "SELECT fingerprint, status, etag, body FROM answered WHERE partner = $1 AND key = $2 AND at >= $3";
        let rows = self.core.rows(self.link, sql, &[&partner.0, &key, &since.seconds()])?;
        let read = |row: &tokio_postgres::Row| {
            Ok(Answered {
                fingerprint: digest(row, 0)?,
                status: row.int(1)? as u16,
                etag: row.text_if(2)?.map(str::to_owned),
                body: row.bytes_if(3)?.unwrap_or_default().to_vec(),
            })
        };
        rows.first().map(read).transpose()
    }

    pub fn put_answered(
        &self,
        partner: PartnerKey,
        key: &str,
        at: Time,
        answered: &Answered,
    ) -> Result<(), StoreError> {
        let Answered { fingerprint, status, etag, body } = answered;
        self.core.execute(
            self.link,
            "INSERT INTO answered (partner, key, fingerprint, at, status, etag, body) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (partner, key) DO UPDATE SET fingerprint = $3, at = $4, status = $5, etag = $6, body = $7",
            &[&partner.0, &key, &&fingerprint[..], &at.seconds(), &i64::from(*status), etag, body],
        )?;
        Ok(())
    }

    /// Lets go of some of the answers kept before `before`; how many.
    pub fn forget(&self, before: Time) -> Result<u64, StoreError> {
        let sql = "DELETE FROM answered WHERE (partner, key) IN \
                   (SELECT partner, key FROM answered WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        self.core.execute(self.link, sql, &[&before.seconds(), &FORGET])
    }

    pub fn job(&self, partner: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
        let sql = format!("SELECT {JOB} FROM job WHERE partner = $1 AND id = $2");
        let rows = self.core.rows(self.link, &sql, &[&partner.0, &id])?;
        rows.first().map(|row| read_job(row, 0)).transpose()
    }

    pub fn put_job(&self, partner: PartnerKey, job: &StoredJob) -> Result<(), StoreError> {
        let StoredJob { id, created_at, open, body } = job;
        self.core.execute(
            self.link,
            "INSERT INTO job (partner, id, created_at, open, body) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (partner, id) DO UPDATE SET created_at = $3, open = $4, body = $5",
            &[&partner.0, id, &created_at.seconds(), &i64::from(*open), body],
        )?;
        Ok(())
    }

    /// Newest first, `limit` after `skip`, and how many there are.
    pub fn jobs(&self, partner: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<StoredJob>, u64), StoreError> {
        // Page and total are one moment, so they are one statement; a page
        // beyond the end is a row of nulls.
        let sql = format!(
            "SELECT total, {JOB} FROM (SELECT count(*) AS total FROM job WHERE partner = $1) AS counted LEFT JOIN \
             (SELECT {JOB} FROM job WHERE partner = $1 ORDER BY created_at DESC, id DESC OFFSET $2 LIMIT $3) AS page \
             ON true ORDER BY created_at DESC, id DESC"
        );
        let rows = self.core.rows(self.link, &sql, &[&partner.0, &whole(skip), &whole(limit as u64)])?;
        let total = rows.first().map_or(Ok(0), |row| row.int(0))?;
        let there = rows.iter().filter(|row| !matches!(row.text_if(1), Ok(None)));
        let mut jobs = Vec::new();
        for row in there {
            jobs.extend(self.core.health.readable("job", || row_name(row, &[1]), read_job(row, 1))?);
        }
        Ok((jobs, total as u64))
    }

    /// The open ones of all partners, oldest first.
    pub fn open_jobs(&self) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError> {
        let sql = format!("SELECT partner, {JOB} FROM job WHERE open = 1 ORDER BY created_at, id, partner");
        let rows = self.core.rows(self.link, &sql, &[])?;
        let mut jobs = Vec::new();
        for row in &rows {
            let read = row.int(0).and_then(|key| Ok((PartnerKey(key), read_job(row, 1)?)));
            jobs.extend(self.core.health.readable("job", || row_name(row, &[1]), read)?);
        }
        Ok(jobs)
    }

    pub fn batch(&self, partner: PartnerKey, job: &str, batch: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM job_batch WHERE partner = $1 AND job = $2 AND batch = $3";
        let rows = self.core.rows(self.link, sql, &[&partner.0, &job, &whole(batch)])?;
        rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
    }

    pub fn put_batch(&self, partner: PartnerKey, job: &str, batch: u64, body: &str) -> Result<(), StoreError> {
        self.core.execute(
            self.link,
            "INSERT INTO job_batch (partner, job, batch, body) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (partner, job, batch) DO UPDATE SET body = $4",
            &[&partner.0, &job, &whole(batch), &body],
        )?;
        Ok(())
    }

    /// A job's batches from one on, each with its place.
    pub fn batches(
        &self,
        partner: PartnerKey,
        job: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT batch, body FROM job_batch WHERE partner = $1 AND job = $2 AND batch >= $3 \
                   ORDER BY batch LIMIT $4";
        let rows = self.core.rows(self.link, sql, &[&partner.0, &job, &whole(from), &whole(limit as u64)])?;
        rows.iter().map(|row| Ok((row.int(0)? as u64, row.text(1)?.to_owned()))).collect()
    }

    pub fn document(&self, partner: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let sql = format!("SELECT {DOCUMENT} FROM document WHERE partner = $1 AND kind = $2 AND id = $3");
        let rows = self.core.rows(self.link, &sql, &[&partner.0, &kind, &id])?;
        rows.first().map(|row| read_document(row, 0)).transpose()
    }

    pub fn documents(
        &self,
        partner: PartnerKey,
        kind: &str,
        walk: DocumentWalk<'_>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        // No id is empty, and none is as high as the last character there is.
        let (bound, beyond) = match walk {
            DocumentWalk::Up { after } => (after.unwrap_or(""), "id > $3 ORDER BY id"),
            DocumentWalk::Down { before } => (before.unwrap_or("\u{10ffff}"), "id < $3 ORDER BY id DESC"),
        };
        let sql =
            format!("SELECT {DOCUMENT} FROM document WHERE partner = $1 AND kind = $2 AND {beyond} LIMIT $4 OFFSET $5");
        self.page(kind, &sql, &[&partner.0, &kind, &bound], limit, (0, |row| read_document(row, 0)))
    }

    /// Those of all partners that are due, longest first.
    pub fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<(PartnerKey, Document)>, StoreError> {
        let sql = format!(
            "SELECT partner, {DOCUMENT} FROM document WHERE kind = $1 AND due IS NOT NULL AND due <= $2 \
             ORDER BY due, partner, id LIMIT $3 OFFSET $4"
        );
        let read = |row: &tokio_postgres::Row| Ok((PartnerKey(row.int(0)?), read_document(row, 1)?));
        self.page(kind, &sql, &[&kind, &now.seconds()], limit, (1, read))
    }

    /// As many documents as are wanted, however many are left out; the last two
    /// parameters of `sql` are its limit and its offset. `read` makes a document of
    /// a row, whose id is in the column `id`.
    fn page<T>(
        &self,
        kind: &str,
        sql: &str,
        params: Params<'_>,
        limit: usize,
        (id, read): (usize, impl Fn(&tokio_postgres::Row) -> Result<T, StoreError>),
    ) -> Result<Vec<T>, StoreError> {
        let (mut documents, mut skip) = (Vec::new(), 0);
        loop {
            let wanted = limit - documents.len();
            let (count, offset) = (whole(wanted as u64), whole(skip));
            let params: Vec<&(dyn ToSql + Sync)> =
                params.iter().copied().chain([&count as &(dyn ToSql + Sync), &offset]).collect();
            let rows = self.core.rows(self.link, sql, &params)?;
            for row in &rows {
                // As a survey names it, or one row would count twice.
                let name = || format!("{kind}/{}", row_name(row, &[id]));
                documents.extend(self.core.health.readable("document", name, read(row))?);
            }
            skip += rows.len() as u64;
            if rows.len() < wanted || documents.len() == limit {
                return Ok(documents);
            }
        }
    }

    pub fn put_document(&self, partner: PartnerKey, kind: &str, document: &Document) -> Result<(), StoreError> {
        let Document { id, due, body } = document;
        self.core.execute(
            self.link,
            "INSERT INTO document (partner, kind, id, due, body) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (partner, kind, id) DO UPDATE SET due = $4, body = $5",
            &[&partner.0, &kind, id, &seconds(*due), body],
        )?;
        Ok(())
    }

    pub fn drop_document(&self, partner: PartnerKey, kind: &str, id: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM document WHERE partner = $1 AND kind = $2 AND id = $3";
        self.core.execute(self.link, sql, &[&partner.0, &kind, &id])?;
        Ok(())
    }

    /// Acquires or renews a lease, or leaves it with its holder.
    pub fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        // Before the statements, so that the lease lasts at least from then.
        let (at, seconds) = (Instant::now(), seconds as f64);
        let renewed = self.core.execute(
            self.link,
            "UPDATE lease SET until = at, runs_until = at \
             FROM (SELECT clock_timestamp() + make_interval(secs => $3) AS at) AS term WHERE name = $1 AND holder = $2",
            &[&name, &holder, &seconds],
        )?;
        if renewed > 0 {
            return Ok(Leased::Renewed { at });
        }
        let acquired = self.core.execute(
            self.link,
            "INSERT INTO lease (name, holder, until, runs_until) \
             SELECT $1, $2, at, at FROM (SELECT clock_timestamp() + make_interval(secs => $3) AS at) AS term \
             ON CONFLICT (name) DO UPDATE SET holder = $2, until = excluded.until, runs_until = excluded.until \
             WHERE lease.until <= clock_timestamp() \
             OR lease.until > clock_timestamp() + make_interval(secs => $4)",
            &[&name, &holder, &seconds, &(LEASE_SECONDS_MAX as f64)],
        )?;
        Ok(if acquired > 0 { Leased::Acquired { at } } else { Leased::Refused })
    }

    pub fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT holder FROM lease WHERE name = $1 AND until > clock_timestamp() \
                   AND until <= clock_timestamp() + make_interval(secs => $2)";
        let rows = self.core.rows(self.link, sql, &[&name, &(LEASE_SECONDS_MAX as f64)])?;
        rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
    }

    pub fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.core.execute(self.link, "DELETE FROM lease WHERE name = $1 AND holder = $2", &[&name, &holder])?;
        Ok(())
    }
}
