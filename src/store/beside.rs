//! Tables outside the log: stored answers for retries, jobs, documents, leases, and
//! the last uses of keys.

use std::collections::BTreeMap;

use super::entities::ENTITIES;
use super::health::{Surveyed, row_name};
use super::rows::*;
use super::sql::{Sql, SqlStore, SqlValue, bind};
use super::{Answered, Document, DocumentWalk, Leased, Over, StoreError, StoredJob};
use crate::domain::{KeyId, PartnerKey, Time};

/// Whether a row can be understood.
type Understood<'a> = &'a dyn Fn(&dyn RowCells) -> Result<(), StoreError>;

/// How many answers or acknowledgements are deleted in one transaction.
const STEP: usize = 1_000;
/// How many jobs are deleted in one transaction, and how many batches of their
/// rows.
const STEP_JOBS: usize = 100;

/// Ended jobs of partners that have no open one. A job's head is JSON, in which
/// a quoted text has its quotes escaped.
const ENDED: &str = "SELECT partner, id FROM job WHERE open = 0 AND created_at < ?1 \
                     AND body NOT LIKE '%\"state\":\"previewed\"%' \
                     AND NOT EXISTS (SELECT 1 FROM job AS busy WHERE busy.open = 1 AND busy.partner = job.partner)";

/// The part of a store that keeps what is outside the log.
pub trait SideTables {
    /// A partner's jobs, newest first, `limit` of them after `skip`, and how
    /// many there are.
    fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<StoredJob>, u64), StoreError>;
    fn job(&self, key: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError>;
    /// A job's batches from one on, at most `limit`, each with its place.
    fn job_batches(&self, key: PartnerKey, id: &str, from: u64, limit: usize)
    -> Result<Vec<(u64, String)>, StoreError>;
    /// The open jobs of all partners, oldest first.
    fn open_jobs(&self) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError>;

    fn document(&self, key: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError>;
    /// A partner's documents of a kind, at most `limit`.
    fn documents(
        &self,
        key: PartnerKey,
        kind: &str,
        walk: DocumentWalk<'_>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;
    /// The documents of a kind, of all partners, that are due at `now`, longest
    /// due first, at most `limit`.
    fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<(PartnerKey, Document)>, StoreError>;

    /// Acquires a lease for so many seconds, or renews it for its holder.
    /// Times are the engine's own, so processes with different clocks agree.
    /// Waits for other writers as any write does.
    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError>;
    /// Gives a lease back before its time. Waits for other writers as any write
    /// does.
    fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError>;
    /// Who has a lease now, if anybody.
    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Deletes some of what is over, in one short transaction that gives way to
    /// writers, and returns how many rows it deleted. Called until that is 0.
    fn delete_over(&self, over: &Over) -> Result<u64, StoreError>;

    /// Lets go of answers kept before `before`.
    fn forget_answered(&self, before: Time) -> Result<(), StoreError>;

    /// Reads every row of every table but numbers and the log, and counts in
    /// `Store::health` those that cannot be understood. Costs what the tables are
    /// large.
    fn survey(&self) -> Result<(), StoreError>;

    /// When each key was last used; outside the log.
    fn key_uses(&self) -> Result<Vec<(PartnerKey, KeyId, Time)>, StoreError>;
    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Result<(), StoreError>;
}

impl<S: SqlStore> SideTables for S {
    fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<StoredJob>, u64), StoreError> {
        // Page and total are one moment, so they are one statement; a page
        // beyond the end is a row of nulls.
        let sql = format!(
            "SELECT total, {JOB} FROM (SELECT count(*) AS total FROM job WHERE partner = ?1) AS counted LEFT JOIN \
             (SELECT {JOB} FROM job WHERE partner = ?1 ORDER BY created_at DESC, id DESC LIMIT ?3 OFFSET ?2) AS page \
             ON true ORDER BY created_at DESC, id DESC"
        );
        let (mut jobs, mut total) = (Vec::new(), 0);
        self.read(|reader| {
            reader.query(&sql, bind![key, skip, limit], &mut |row| {
                total = row.int(0)? as u64;
                if !matches!(row.text_if(1), Ok(None)) {
                    let read = read_job(row, 1);
                    jobs.extend(reader.health().readable("job", || row_name(row, &[1]), read)?);
                }
                Ok(true)
            })
        })?;
        Ok((jobs, total))
    }

    fn job(&self, key: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
        self.read(|sql| sql.job(key, id))
    }

    fn job_batches(
        &self,
        key: PartnerKey,
        id: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT batch, body FROM job_batch WHERE partner = ?1 AND job = ?2 AND batch >= ?3 \
                   ORDER BY batch LIMIT ?4";
        let read = |row: &dyn RowCells| Ok((row.int(0)? as u64, row.text(1)?.to_owned()));
        self.read(|reader| reader.all(sql, bind![key, id, from, limit], read))
    }

    fn open_jobs(&self) -> Result<Vec<(PartnerKey, StoredJob)>, StoreError> {
        let sql = format!("SELECT partner, {JOB} FROM job WHERE open = 1 ORDER BY created_at, id, partner");
        let read = |row: &dyn RowCells| Ok((PartnerKey(row.int(0)?), read_job(row, 1)?));
        self.read(|reader| reader.readable(("job", &|row| row_name(row, &[1])), &sql, &[], read))
    }

    fn document(&self, key: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.read(|sql| sql.document(key, kind, id))
    }

    fn documents(
        &self,
        key: PartnerKey,
        kind: &str,
        walk: DocumentWalk<'_>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        // No id is empty, and none is as high as the last character there is.
        let (bound, beyond) = match walk {
            DocumentWalk::Up { after } => (after.unwrap_or(""), "id > ?3 ORDER BY id"),
            DocumentWalk::Down { before } => (before.unwrap_or("\u{10ffff}"), "id < ?3 ORDER BY id DESC"),
        };
        let sql =
            format!("SELECT {DOCUMENT} FROM document WHERE partner = ?1 AND kind = ?2 AND {beyond} LIMIT ?4 OFFSET ?5");
        let values = bind![key, kind, bound];
        self.read(|reader| page(&reader, kind, &sql, values, limit, (0, |row| read_document(row, 0))))
    }

    fn due(&self, kind: &str, now: Time, limit: usize) -> Result<Vec<(PartnerKey, Document)>, StoreError> {
        let sql = format!(
            "SELECT partner, {DOCUMENT} FROM document WHERE kind = ?1 AND due IS NOT NULL AND due <= ?2 \
             ORDER BY due, partner, id LIMIT ?3 OFFSET ?4"
        );
        let read = |row: &dyn RowCells| Ok((PartnerKey(row.int(0)?), read_document(row, 1)?));
        self.read(|reader| page(&reader, kind, &sql, bind![kind, now], limit, (1, read)))
    }

    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        self.alone(|sql| sql.lease(name, holder, seconds))
    }

    fn end_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.alone(|sql| sql.run("DELETE FROM lease WHERE name = ?1 AND holder = ?2", bind![name, holder])).map(|_| ())
    }

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read(|sql| sql.leaseholder(name))
    }

    fn delete_over(&self, over: &Over) -> Result<u64, StoreError> {
        self.housekeep(|sql| delete_over(&sql, over))
    }

    fn forget_answered(&self, before: Time) -> Result<(), StoreError> {
        let lock = <S::Sql<'_> as Sql>::SKIP_LOCKED;
        let sql = format!(
            "DELETE FROM answered WHERE (partner, key) IN \
             (SELECT partner, key FROM answered WHERE at < ?1 LIMIT {STEP} {lock})"
        );
        // In steps, so that writers wait for no more than one of them.
        while self.housekeep(|writer| writer.run(&sql, bind![before]))? > 0 {}
        Ok(())
    }

    fn survey(&self) -> Result<(), StoreError> {
        self.read(|sql| survey(&sql))
    }

    fn key_uses(&self) -> Result<Vec<(PartnerKey, KeyId, Time)>, StoreError> {
        let sql = "SELECT partner, id, last_used_at FROM api_key WHERE last_used_at IS NOT NULL ORDER BY partner, id";
        let read =
            |row: &dyn RowCells| Ok((PartnerKey(row.int(0)?), KeyId::stored(row.text(1)?), time_of(row.int(2)?)?));
        self.read(|reader| reader.readable(("api_key", &|row| row_name(row, &[0, 1])), sql, &[], read))
    }

    fn put_key_uses(&self, uses: &[(PartnerKey, KeyId, Time)]) -> Result<(), StoreError> {
        let sql = "UPDATE api_key SET last_used_at = ?3 WHERE partner = ?1 AND id = ?2 \
                   AND (last_used_at IS NULL OR last_used_at < ?3)";
        let uses = uses.iter().map(|(key, id, at)| bind![*key, id.as_str(), *at].to_vec());
        self.housekeep(|writer| writer.run_each(sql, uses)).map(|_| ())
    }
}

fn survey(sql: &impl Sql) -> Result<(), StoreError> {
    let mut found: BTreeMap<&str, Surveyed> = BTreeMap::new();
    let mut look = |table: &'static str, query: String, name: &[usize], understood: Understood<'_>| {
        let surveyed = found.entry(table).or_default();
        sql.query(&query, &[], &mut |row| match understood(row) {
            Ok(()) => Ok(true),
            Err(StoreError::Corrupt { what }) => {
                surveyed.add(row_name(row, name), what);
                Ok(true)
            }
            Err(error) => Err(error),
        })
    };
    for entity in ENTITIES {
        let query = format!("SELECT {} FROM {}", entity.all(), entity.table);
        look(entity.table, query, &[0, 1], &|row| read_entity(entity.table, row).map(|_| ()))?;
    }
    for SideTable { table, from, columns, name } in BESIDE {
        look(table, format!("SELECT {columns} FROM {from}"), name, &|row| understood(table, row))?;
    }
    sql.health().surveyed(found);
    Ok(())
}

/// Deletes some of what is over, and returns how many rows that were.
fn delete_over(sql: &impl Sql, over: &Over) -> Result<u64, StoreError> {
    match over {
        Over::Jobs { created_before } => {
            let batches = format!(
                "DELETE FROM job_batch WHERE (partner, job, batch) IN (SELECT job_batch.partner, job, batch \
                 FROM job_batch JOIN ({ENDED}) AS ended ON ended.partner = job_batch.partner AND ended.id = job \
                 LIMIT {STEP_JOBS})"
            );
            let deleted = sql.run(&batches, bind![*created_before])?;
            if deleted > 0 {
                return Ok(deleted);
            }
            // Those that are left have no rows any more.
            let jobs = format!("DELETE FROM job WHERE (partner, id) IN ({ENDED} LIMIT {STEP_JOBS})");
            sql.run(&jobs, bind![*created_before])
        }
        Over::Acknowledgements { ended_before } => {
            let acknowledgements = format!(
                "DELETE FROM acknowledgement WHERE (partner, finding) IN \
                 (SELECT partner, finding FROM acknowledgement WHERE until < ?1 LIMIT {STEP})"
            );
            sql.run(&acknowledgements, bind![*ended_before])
        }
        Over::Settings { partner, ids } => {
            let settings = ids.iter().map(|id| bind![*partner, id].to_vec());
            sql.run_each("DELETE FROM setting WHERE partner = ?1 AND id = ?2", settings)
        }
    }
}

/// As many documents as are wanted, however many are left out. The last two values
/// of the statement are its limit and its offset, and the id of a row is in the
/// column `id`.
fn page<T>(
    reader: &impl Sql,
    kind: &str,
    sql: &str,
    values: &[SqlValue<'_>],
    limit: usize,
    (id, read): (usize, impl Fn(&dyn RowCells) -> Result<T, StoreError>),
) -> Result<Vec<T>, StoreError> {
    let (mut documents, mut skip) = (Vec::new(), 0);
    loop {
        let wanted = limit - documents.len();
        let values = [values, bind![wanted, skip]].concat();
        // As a survey names it, or one row would count twice.
        let name = |row: &dyn RowCells| format!("{kind}/{}", row_name(row, &[id]));
        let read = |row: &dyn RowCells| reader.health().readable("document", || name(row), read(row));
        let rows = reader.all(sql, &values, read)?;
        skip += rows.len();
        let last = rows.len() < wanted;
        documents.extend(rows.into_iter().flatten());
        if last || documents.len() == limit {
            return Ok(documents);
        }
    }
}

/// The answer that is kept for a retry, as the name of what its statement changes.
fn answered_name(key: &str) -> String {
    format!("answered/{key}")
}

/// The rows of these tables, on a connection.
pub(super) trait SideRows: Sql {
    fn answered(&self, partner: PartnerKey, key: &str, since: Time) -> Result<Option<Answered>, StoreError> {
        let sql = "SELECT fingerprint, status, etag, body FROM answered WHERE partner = ?1 AND key = ?2 AND at >= ?3";
        self.first_named(&answered_name(key), sql, bind![partner, key, since], |row| {
            Ok(Answered {
                fingerprint: digest(row, 0)?,
                status: row.int(1)? as u16,
                etag: row.text_if(2)?.map(str::to_owned),
                body: row.bytes_if(3)?.unwrap_or_default().to_vec(),
            })
        })
    }

    fn put_answered(&self, partner: PartnerKey, key: &str, at: Time, answered: &Answered) -> Result<(), StoreError> {
        let Answered { fingerprint, status, etag, body } = answered;
        self.run_later(
            &answered_name(key),
            "INSERT INTO answered (partner, key, fingerprint, at, status, etag, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (partner, key) DO UPDATE SET fingerprint = ?3, at = ?4, status = ?5, etag = ?6, body = ?7",
            bind![partner, key, fingerprint, at, i64::from(*status), etag.as_ref(), body],
        )
    }

    fn job(&self, partner: PartnerKey, id: &str) -> Result<Option<StoredJob>, StoreError> {
        let sql = format!("SELECT {JOB} FROM job WHERE partner = ?1 AND id = ?2");
        self.first(&sql, bind![partner, id], |row| read_job(row, 0))
    }

    fn put_job(&self, partner: PartnerKey, job: &StoredJob) -> Result<(), StoreError> {
        let StoredJob { id, created_at, open, body } = job;
        self.run(
            "INSERT INTO job (partner, id, created_at, open, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (partner, id) DO UPDATE SET created_at = ?3, open = ?4, body = ?5",
            bind![partner, id, *created_at, *open, body],
        )?;
        Ok(())
    }

    fn batch(&self, partner: PartnerKey, job: &str, batch: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM job_batch WHERE partner = ?1 AND job = ?2 AND batch = ?3";
        self.first(sql, bind![partner, job, batch], |row| Ok(row.text(0)?.to_owned()))
    }

    fn put_batch(&self, partner: PartnerKey, job: &str, batch: u64, body: &str) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO job_batch (partner, job, batch, body) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (partner, job, batch) DO UPDATE SET body = ?4",
            bind![partner, job, batch, body],
        )?;
        Ok(())
    }

    fn document(&self, partner: PartnerKey, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let sql = format!("SELECT {DOCUMENT} FROM document WHERE partner = ?1 AND kind = ?2 AND id = ?3");
        self.first(&sql, bind![partner, kind, id], |row| read_document(row, 0))
    }

    fn put_document(&self, partner: PartnerKey, kind: &str, document: &Document) -> Result<(), StoreError> {
        let Document { id, due, body } = document;
        self.run(
            "INSERT INTO document (partner, kind, id, due, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (partner, kind, id) DO UPDATE SET due = ?4, body = ?5",
            bind![partner, kind, id, *due, body],
        )?;
        Ok(())
    }

    fn drop_document(&self, partner: PartnerKey, kind: &str, id: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM document WHERE partner = ?1 AND kind = ?2 AND id = ?3", bind![partner, kind, id])?;
        Ok(())
    }
}

impl<S: Sql> SideRows for S {}
