//! Copies a whole database from SQLite into PostgreSQL: rows, log, users, and the
//! tables outside the log, under the same keys and versions.
//!
//! Invariants: the source is one snapshot and is not changed; each step is one
//! transaction of the target together with its progress, so an interrupted copy
//! can be resumed; no server opens an incomplete target. Deliberately absent: leases,
//! which belong to processes; net changes, which a server makes again from the log; and
//! the way back.

use bytes::Bytes;
use futures_util::SinkExt;
use rusqlite::types::ValueRef;

use super::postgres::{Address, PgStore};
use super::rows::{RowCells, corrupt};
use super::sqlite::SqliteStore;
use super::{Open, StoreError};

/// How many rows are one step, and how many bytes about.
const STEP: usize = 20_000;
const STEP_BYTES: usize = 32 << 20;
/// The first of the tables that change without the log.
const BESIDE: &str = "answered";

/// A table of the target; rows are read in the order of `key`.
struct CopiedTable {
    name: &'static str,
    columns: &'static str,
    key: &'static str,
    /// What the source has in its place.
    from: &'static str,
}

const fn table(name: &'static str, columns: &'static str, key: &'static str) -> CopiedTable {
    CopiedTable { name, columns, key, from: name }
}

/// Which partner has a number: in the source only its rows of numbers say so.
const HOLDERS: &str = "(SELECT min(first) AS first, max(last) AS last, partner FROM \
    (SELECT first, last, partner, sum(gap) OVER (ORDER BY first) AS island FROM \
    (SELECT first, last, partner, lag(last) OVER (ORDER BY first) IS NOT first - 1 \
    OR lag(partner) OVER (ORDER BY first) IS NOT partner AS gap FROM number_run)) GROUP BY island, partner)";

impl CopiedTable {
    /// The query of the rows that are left.
    fn source(&self, done: u64) -> String {
        let CopiedTable { columns, from, key, .. } = self;
        format!("SELECT {columns} FROM {from} ORDER BY {key} LIMIT -1 OFFSET {done}")
    }
}

/// Writes the next row as the target has it, as text, if there is one.
fn write_next(rows: &mut rusqlite::Rows<'_>, columns: usize, out: &mut Vec<u8>) -> Result<bool, StoreError> {
    let Some(row) = rows.next()? else { return Ok(false) };
    for at in 0..columns {
        write(out, row.get_ref(at)?, at + 1 == columns);
    }
    Ok(true)
}

/// What others refer to comes before them.
const TABLES: [CopiedTable; 21] = [
    table("partner", "partner, auth_id, name, created_at, suspended_at, version, head, row_digest", "partner"),
    table("account", "partner, auth_id, name, created_at, archived_at, lost_at", "partner, auth_id"),
    table(
        "application",
        "partner, id, name, account, created_at, archived_at, destinations, answer_url",
        "partner, id",
    ),
    table("trunk", "partner, id, name, account, created_at, archived_at, destinations", "partner, id"),
    table(
        "api_key",
        "partner, id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at, last_used_at, dialect",
        "partner, id",
    ),
    table("acknowledgement", "partner, finding, note, until, by, at", "partner, finding"),
    table("setting", "partner, id, body", "partner, id"),
    table(
        "number_run",
        "partner, first, last, version, assigned_at, expires_at, since, until, cost, state, account, application, \
         trunk, number_type, country, region, currency, tags",
        "first",
    ),
    CopiedTable { name: "holder_run", columns: "first, last, partner", key: "first", from: HOLDERS },
    table("change", "partner, version, at, actor, request_id, verb, entities, previous", "partner, version"),
    table("change_part", "partner, version, part, subject, body", "partner, version, part"),
    table("answered", "partner, key, fingerprint, at, status, etag, body", "partner, key"),
    table("job", "partner, id, created_at, open, body", "partner, id"),
    table("job_batch", "partner, job, batch, body", "partner, job, batch"),
    table("document", "partner, kind, id, due, body", "partner, kind, id"),
    table(
        "app_user",
        "id, email, name, role, partner, zone, created_at, disabled_at, last_signed_in_at, password, totp_secret, \
         totp_step, totp_offer",
        "id",
    ),
    table("recovery_code", "\"user\", sha256", "\"user\", sha256"),
    table("session", "sha256, \"user\", created_at, seen_at, address, code_due", "sha256"),
    table("set_up_link", "sha256, \"user\", created_at, expires_at", "sha256"),
    table("sign_in_source", "\"user\", address, at", "\"user\", address"),
    table("audit", "id, at, partner, who, what, about, refused, address, request_id", "id"),
];

/// Copies everything, or what is left of it. `progress` hears the table, how
/// many of all rows are there, and how many there will be; `stop` is asked
/// between steps.
///
/// # Errors
/// `Unsupported` if the target has another inventory, or what was begun in
/// it was begun from another state of the source; the store's errors.
pub fn migrate(
    source: &SqliteStore,
    target: &Address,
    progress: &mut dyn FnMut(&'static str, u64, u64),
    stop: &dyn Fn() -> bool,
) -> Result<CopyEnd, StoreError> {
    let connection = source.reader()?;
    // One moment for all tables.
    let moment = connection.unchecked_transaction()?;
    let heads = heads(&moment)?;
    let target = PgStore::open_to_fill(target.clone(), Open::Create)?;
    if !target.stores_runs()? {
        let what = "the target database was made by an earlier release; copy into an empty one, or run \
                    `rollcall migrate-schema` on it first";
        return Err(StoreError::Unsupported { what });
    }
    if !begin(&target, &heads)? {
        return Ok(CopyEnd::Whole { rows: 0 });
    }
    let count = |table: &CopiedTable| -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", table.from);
        Ok(moment.query_row(&sql, [], |row| row.get::<_, i64>(0))? as u64)
    };
    let counts = TABLES.iter().map(count).collect::<Result<Vec<_>, _>>()?;
    let total = counts.iter().sum();
    let mut before = 0;
    for (table, count) in TABLES.iter().zip(counts) {
        let mut done = done(&target, table.name)?;
        progress(table.name, before + done, total);
        let mut statement = moment.prepare(&table.source(done))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while done < count {
            if stop() {
                return Ok(CopyEnd::Stopped);
            }
            let (mut text, mut step) = (Vec::new(), 0);
            while step < STEP && text.len() < STEP_BYTES && write_next(&mut rows, columns, &mut text)? {
                step += 1;
            }
            if step == 0 {
                return Err(corrupt(format!("table {} has fewer rows than it said", table.name)));
            }
            put(&target, table, text, done, step as u64)?;
            done += step as u64;
            progress(table.name, before + done, total);
        }
        before += count;
    }
    finish(&target)?;
    Ok(CopyEnd::Whole { rows: total })
}

/// How a copy ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyEnd {
    /// All is there; so many rows, or none if it was there before.
    Whole { rows: u64 },
    /// Between two steps; the next call goes on there.
    Stopped,
}

/// Where all partners' logs end, as text.
fn heads(source: &rusqlite::Connection) -> Result<String, StoreError> {
    let sql = "SELECT coalesce(group_concat(partner || ':' || version || ':' || hex(head), ' '), '') FROM \
               (SELECT partner, version, head FROM partner ORDER BY partner)";
    Ok(source.query_row(sql, [], |row| row.get(0))?)
}

/// Notes what is being copied, or finds it noted; false if all of it is there.
fn begin(target: &PgStore, heads: &str) -> Result<bool, StoreError> {
    let core = target.core();
    let mut link = core.writer()?;
    link.torn = true;
    core.batch(
        &link,
        "BEGIN; CREATE TABLE IF NOT EXISTS rollcall_copy (name TEXT PRIMARY KEY, rows BIGINT, heads TEXT)",
    )?;
    let noted = core.rows(&link, "SELECT heads FROM rollcall_copy WHERE name = ''", &[])?;
    match noted.first() {
        Some(row) if row.text(0)? == heads => {
            // What is beside the log may have changed since, and nothing tells.
            let beside = TABLES.iter().skip_while(|table| table.name != BESIDE);
            for table in beside.collect::<Vec<_>>().into_iter().rev() {
                core.execute(&link, &format!("DELETE FROM {}", table.name), &[])?;
                core.execute(&link, "DELETE FROM rollcall_copy WHERE name = $1", &[&table.name])?;
            }
        }
        Some(_) => {
            let what = "the source has changed since this copy was begun; begin again with an empty database";
            return Err(StoreError::Unsupported { what });
        }
        None => {
            let there = "SELECT string_agg(partner || ':' || version || ':' || upper(encode(head, 'hex')), ' ' \
                         ORDER BY partner) FROM partner";
            let there = core.rows(&link, there, &[])?;
            match there.first().map_or(Ok(None), |row| row.text_if(0))? {
                None => {
                    let some = TABLES.map(|table| format!("EXISTS (SELECT 1 FROM {})", table.name)).join(" OR ");
                    let some = core.rows(&link, &format!("SELECT {some}"), &[])?;
                    if some.first().is_some_and(|row| row.get(0)) {
                        return Err(StoreError::Unsupported { what: "the target database is not empty" });
                    }
                }
                // Cut off after the last step.
                Some(there) if there == heads => return Ok(false),
                Some(_) => {
                    return Err(StoreError::Unsupported {
                        what: "the target database has another inventory, or this one as it was before",
                    });
                }
            }
            core.execute(&link, "INSERT INTO rollcall_copy VALUES ('', 0, $1)", &[&heads])?;
        }
    }
    core.batch(&link, "COMMIT")?;
    link.torn = false;
    Ok(true)
}

/// How many rows of a table are there.
fn done(target: &PgStore, table: &str) -> Result<u64, StoreError> {
    let core = target.core();
    let rows = core.read(|link| core.rows(link, "SELECT rows FROM rollcall_copy WHERE name = $1", &[&table]))?;
    rows.first().map_or(Ok(0), |row| Ok(row.int(0)? as u64))
}

/// Writes some rows, and that they are there.
fn put(target: &PgStore, table: &CopiedTable, text: Vec<u8>, done: u64, step: u64) -> Result<(), StoreError> {
    let core = target.core();
    let mut link = core.writer()?;
    link.torn = true;
    core.batch(&link, "BEGIN")?;
    // A second copy of the same table waits here, and then finds it done.
    let sql = "INSERT INTO rollcall_copy VALUES ($1, $2, NULL) ON CONFLICT (name) DO UPDATE SET rows = $2 \
               WHERE rollcall_copy.rows = $3";
    let next = (done + step) as i64;
    if core.execute(&link, sql, &[&table.name, &next, &(done as i64)])? != 1 {
        return Err(StoreError::Unsupported { what: "another process is copying into this database" });
    }
    let copy = format!("COPY {} ({}) FROM STDIN", table.name, table.columns);
    let copied = core.run(async {
        let sink = link.client.copy_in::<_, Bytes>(&copy).await.map_err(super::postgres::trouble)?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(text)).await.map_err(super::postgres::trouble)?;
        sink.finish().await.map_err(super::postgres::trouble)
    })?;
    if copied != step {
        return Err(corrupt(format!("{copied} of {step} rows of table {} arrived", table.name)));
    }
    core.batch(&link, "COMMIT")?;
    link.torn = false;
    Ok(())
}

/// Places in the trail go on after the last, statistics are made, and the database is
/// whole.
fn finish(target: &PgStore) -> Result<(), StoreError> {
    let core = target.core();
    let mut link = core.writer()?;
    link.torn = true;
    core.batch(
        &link,
        "BEGIN; \
         SELECT setval(pg_get_serial_sequence('audit', 'id'), max(id)) FROM audit; \
         DROP TABLE rollcall_copy; COMMIT; ANALYZE",
    )?;
    link.torn = false;
    Ok(())
}

/// One cell in the text format of `COPY`.
///
/// <https://www.postgresql.org/docs/current/sql-copy.html> (Text Format)
fn write(out: &mut Vec<u8>, cell: ValueRef<'_>, last: bool) {
    match cell {
        ValueRef::Null => out.extend_from_slice(b"\\N"),
        ValueRef::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
        // There are none; the target would refuse it.
        ValueRef::Real(value) => out.extend_from_slice(value.to_string().as_bytes()),
        ValueRef::Text(text) => {
            for &byte in text {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    byte => out.push(byte),
                }
            }
        }
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(b"\\\\x");
            for byte in bytes {
                let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                out.extend([digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out.push(if last { b'\n' } else { b'\t' });
}
