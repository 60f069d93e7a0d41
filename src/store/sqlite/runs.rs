//! The rows of numbers in SQLite.
//!
//! Invariants: those of `store::runs`, so the row of a number is the last one that
//! begins at or before it. A write splits each row of which it changes a part, and
//! inserts nothing where another row is. It merges only numbers that it changes
//! itself: those of other writes have other versions.

use std::collections::BTreeMap;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params, params_from_iter};

use super::sql::SqliteSql;
use crate::domain::change::GENESIS;
use crate::domain::{
    AccountId, ApplicationId, Country, NumberRun, Partner, PartnerKey, Record, RunChange, Time, TrunkId,
};
use crate::store::log::{Encoded, Readers};
use crate::store::rows::*;
use crate::store::runs::{COUNTS_INTEGRITY, ChangedRun, NO_END, OVERLAPS, RUN_MAX, TableDigest, possible};
use crate::store::sql::{Sql, bind};
use crate::store::transaction::{EntryRow, LogDraft, NumberRows};
use crate::store::{OwnedRun, Ownership, StoreError};

/// What `verify` counts, and what is wrong if there is any.
pub(super) const INTEGRITY: &[(&str, &str)] = &[
    (
        "numbers belong to no partner",
        "SELECT coalesce(sum(last - first + 1), 0) FROM number_run LEFT JOIN partner USING (partner) \
         WHERE partner.auth_id IS NULL",
    ),
    (
        "rows of numbers overlap the row before them",
        "SELECT count(*) FROM (SELECT first, max(last) OVER (ORDER BY first \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM number_run) WHERE first <= before",
    ),
    COUNTS_INTEGRITY,
];

/// How many rows a look-up steps over before it seeks the next wanted number.
const IDLE_ROWS_MAX: usize = 8;
/// The rows of a range, beginning with the last one that begins before it.
const FROM_THE_ROW_BEFORE: &str =
    "first >= coalesce((SELECT first FROM number_run WHERE first <= ?1 ORDER BY first DESC LIMIT 1), ?1)";

/// The numbers that are wanted and not found yet.
struct WantedRuns<'w> {
    runs: &'w [NumberRun],
    /// Of the first run, how many numbers are found.
    found: u64,
}

impl WantedRuns<'_> {
    /// The first of them.
    fn next(&self) -> Option<i64> {
        self.runs.first().map(|run| (run.first.digits() + self.found) as i64)
    }

    /// Takes off those up to a limit, which is included.
    fn until(&mut self, limit: i64) -> Vec<NumberRun> {
        let mut taken = Vec::new();
        while let (Some(first), Some(run)) = (self.next(), self.runs.first())
            && first <= limit
        {
            let last = (run.last().digits() as i64).min(limit);
            taken.extend(NumberRun::between(first as u64, last as u64));
            self.found += (last - first + 1) as u64;
            if self.found == run.count {
                (self.runs, self.found) = (&self.runs[1..], 0);
            }
        }
        taken
    }
}

/// The ownership of the wanted numbers, which are sorted, in runs of one owner.
///
/// # Errors
/// `Corrupt` for a number of which the rows do not tell the owner: two rows have
/// it, or it is behind a row whose end is impossible. A load leaves the same rows
/// out.
fn owners(connection: &Connection, key: PartnerKey, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
    let mut out = Vec::with_capacity(wanted.len());
    let Some(end) = wanted.last().map(|run| run.last()) else { return Ok(out) };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT first, partner, version, {RECORD}, last FROM number_run WHERE {FROM_THE_ROW_BEFORE} AND first <= ?2 \
         ORDER BY first"
    ))?;
    let mut seen = LastValues::default();
    let mut left = WantedRuns { runs: wanted, found: 0 };
    let unclear = |number: i64, why: &str| corrupt(format!("number {number}: {why}"));
    let owned = |runs: Vec<NumberRun>, owner: Ownership| {
        runs.into_iter().map(move |run| OwnedRun { run, owner: owner.clone() })
    };
    // The last of the wanted numbers that a row has; and, where the end of the
    // row before is impossible, below which number it may have any.
    let (mut taken, mut doubtful) = (i64::MIN, i64::MIN);
    while let Some(next) = left.next() {
        let mut rows = statement.query([next, end.digits() as i64])?;
        let mut idle = 0;
        loop {
            let row = rows.next()?;
            let first = row.map_or(Ok(i64::MAX), |row| row.int(0))?;
            if first <= taken {
                return Err(unclear(taken, OVERLAPS));
            }
            if let Some(number) = left.next().filter(|number| *number < first && *number < doubtful) {
                return Err(unclear(number, NO_END));
            }
            out.extend(owned(left.until(first - 1), Ownership::Free));
            let Some(row) = row else { return Ok(out) };
            let last = row.int(17)?;
            let whole = possible(first, last);
            doubtful = if whole { i64::MIN } else { first.saturating_add(RUN_MAX) };
            let held = if whole { left.until(last) } else { Vec::new() };
            if let Some(end) = held.last() {
                taken = end.last().digits() as i64;
                let owner = match row.int(1)? == key.0 {
                    true => Ownership::Ours { version: row.int(2)? as u64, record: read_record(row, 3, &mut seen)? },
                    false => Ownership::Foreign,
                };
                out.extend(owned(held, owner));
                idle = 0;
            }
            idle += 1;
            if idle > IDLE_ROWS_MAX && left.next().is_some() {
                break;
            }
        }
    }
    Ok(out)
}

/// The versions that last changed the numbers of a run, as runs; those that no row
/// has are left out.
fn versions(connection: &Connection, run: NumberRun) -> Result<Vec<(NumberRun, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT first, last, version FROM number_run WHERE {FROM_THE_ROW_BEFORE} AND first <= ?2 ORDER BY first"
    ))?;
    let (first, last) = (run.first.digits(), run.last().digits());
    let mut rows = statement.query([first as i64, last as i64])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let (from, to) = (row.int(0)? as u64, row.int(1)? as u64);
        let inside = NumberRun::between(from.max(first), to.min(last));
        versions.extend(inside.zip(Some(row.int(2)? as u64)));
    }
    Ok(versions)
}

/// Writes the rows of one transaction.
#[derive(Default)]
pub(super) struct RunWriter {
    /// The row that was written last, as long as nothing else changes it.
    written: Option<(i64, i64, Record)>,
}

impl NumberRows<SqliteSql<'_>> for RunWriter {
    fn table(&self) -> (&'static str, &'static str) {
        ("first, last", "number_run")
    }

    fn owners(
        &mut self,
        sql: &SqliteSql<'_>,
        key: PartnerKey,
        wanted: &[NumberRun],
    ) -> Result<Vec<OwnedRun>, StoreError> {
        owners(sql.connection, key, wanted)
    }

    fn put_entry(&mut self, sql: &SqliteSql<'_>, row: EntryRow<'_>) -> Result<(), StoreError> {
        let EntryRow { partner, version, entry, entities, previous, digest, row_digest } = row;
        let (actor, request_id, verb) = (entry.actor.to_string(), entry.request_id.as_ref(), entry.verb.as_str());
        sql.run(
            "INSERT INTO change (partner, version, at, actor, request_id, verb, entities, previous) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            bind![partner, version, entry.at, actor, request_id, verb, entities, previous],
        )?;
        let moved = sql.run(
            "UPDATE partner SET version = ?2, head = ?3, row_digest = ?4 WHERE partner = ?1",
            bind![partner, version, digest, row_digest],
        )?;
        match moved {
            1 => Ok(()),
            _ => Err(corrupt(format!("partner {partner} is gone"))),
        }
    }

    fn put(&mut self, sql: &SqliteSql<'_>, log: &mut LogDraft, changes: &[RunChange]) -> Result<(), StoreError> {
        let (key, version) = (log.head.key, log.version());
        for unread in log.tally.unread(changes) {
            for (run, version) in versions(sql.connection, unread)? {
                log.tally.learn(run, version);
            }
        }
        log.tally.runs(changes, version);
        self.put_rows(sql.connection, key, version, changes)?;
        let lost = "UPDATE account SET lost_at = ?3 WHERE partner = ?1 AND auth_id = ?2 \
                    AND (lost_at IS NULL OR lost_at < ?3)";
        for (account, at) in log.losses(changes) {
            sql.run(lost, bind![key, account, at])?;
        }
        put_counts(sql.connection, key, changes)?;
        let part = "INSERT INTO change_part (partner, version, part, subject, body) VALUES (?1, ?2, ?3, ?4, ?5)";
        for (at, Encoded { subject, body }) in log.parts(changes, Readers::OfLikeImages) {
            sql.run(part, bind![key, version, at, subject, &body])?;
        }
        Ok(())
    }

    fn create(sql: &SqliteSql<'_>, partner: &Partner) -> Result<PartnerKey, StoreError> {
        let Partner { auth_id, name, created_at, suspended_at } = partner;
        sql.run(
            "INSERT INTO partner (auth_id, name, created_at, suspended_at, version, head) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
            bind![auth_id.as_str(), name, *created_at, *suspended_at, &GENESIS],
        )?;
        Ok(PartnerKey(sql.connection.last_insert_rowid()))
    }
}

/// Moves the counts of accounts' numbers on.
fn put_counts(connection: &Connection, key: PartnerKey, changes: &[RunChange]) -> Result<(), StoreError> {
    let mut steps: BTreeMap<(&str, &str, i64), i64> = BTreeMap::new();
    for change in changes {
        for (record, step) in [(&change.before, -1), (&change.after, 1)] {
            if let Some(record) = record
                && let Some(account) = &record.account
            {
                let ends = record.expires_at.or(record.until).map_or(i64::MAX, Time::seconds);
                let steps = steps.entry((account.as_str(), record.state.as_str(), ends)).or_default();
                *steps += step * change.count as i64;
            }
        }
    }
    let mut add = connection.prepare_cached(
        "INSERT INTO account_numbers (partner, account, state, ends, numbers) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET numbers = numbers + ?5",
    )?;
    let mut forget = connection.prepare_cached(
        "DELETE FROM account_numbers WHERE partner = ?1 AND account = ?2 AND state = ?3 AND ends = ?4 \
         AND numbers = 0",
    )?;
    for ((account, state, ends), step) in steps.into_iter().filter(|(_, step)| *step != 0) {
        add.execute(params![key.0, account, state, ends, step])?;
        if step < 0 {
            forget.execute(params![key.0, account, state, ends])?;
        }
    }
    Ok(())
}

impl RunWriter {
    /// Changes are sorted, each number's once.
    fn put_rows(
        &mut self,
        connection: &Connection,
        key: PartnerKey,
        version: u64,
        changes: &[RunChange],
    ) -> Result<(), StoreError> {
        for run in ChangedRun::all(changes) {
            let stored = if run.stored { stored_rows(connection, key, run)? } else { Vec::new() };
            if self.written.as_ref().is_some_and(|(first, last, _)| *first <= run.last && run.first <= *last) {
                self.written = None;
            }
            match (run.after, &stored[..]) {
                (Some(record), [(first, last)])
                    if (*first, *last) == (run.first, run.last) && !self.continued_by(run) =>
                {
                    replace(connection, key, version, run, record)?;
                    self.written = Some((run.first, run.last, record.clone()));
                }
                (after, _) => {
                    stored.iter().try_for_each(|row| cut(connection, *row, run))?;
                    if let Some(record) = after {
                        self.insert(connection, key, version, run, record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the row that was written last can have these numbers as well.
    fn continued_by(&self, run: ChangedRun<'_>) -> bool {
        self.written.as_ref().is_some_and(|(first, last, record)| run.continues((*first, *last), record))
    }

    fn insert(
        &mut self,
        connection: &Connection,
        key: PartnerKey,
        version: u64,
        run: ChangedRun<'_>,
        record: &Record,
    ) -> Result<(), StoreError> {
        // A statement that reads the table that it writes to would put what it read into a
        // temporary one first, so another row in the way is looked for by itself.
        let before = row_up_to(connection, run.last)?;
        if self.continued_by(run)
            && let Some((first, last, _)) = &mut self.written
        {
            if before.is_none_or(|(before, _)| before != *first) {
                return Err(run.conflict());
            }
            let mut extend = connection.prepare_cached("UPDATE number_run SET last = ?2 WHERE first = ?1")?;
            *last = run.last;
            return one(extend.execute([*first, run.last])?, run);
        }
        if before.is_some_and(|(_, last)| last >= run.first) {
            return Err(run.conflict());
        }
        one(execute(&mut insertion(connection)?, key, version, run, record)?, run)?;
        self.written = Some((run.first, run.last, record.clone()));
        Ok(())
    }
}

/// Inserts a row; takes all columns.
fn insertion(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(&format!(
        "INSERT INTO number_run (first, last, partner, version, {RECORD}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
    ))
}

/// The bounds of the last row that begins at a number or before it.
fn row_up_to(connection: &Connection, number: i64) -> Result<Option<(i64, i64)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT first, last FROM number_run WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

fn one(rows: usize, run: ChangedRun<'_>) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(run.conflict()) }
}

/// The partner's rows that have the numbers of a run, all of which are stored.
fn stored_rows(connection: &Connection, key: PartnerKey, run: ChangedRun<'_>) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT first, last, partner FROM number_run WHERE first <= ?1 ORDER BY first DESC")?;
    let mut rows = statement.query([run.last])?;
    let mut found = Vec::new();
    let mut left = run.count();
    while left > 0 {
        let Some(row) = rows.next()? else { return Err(run.conflict()) };
        let (first, last, partner) = (row.int(0)?, row.int(1)?, row.int(2)?);
        let inside = run.within((first, last));
        if partner != key.0 || inside < 1 || inside > left {
            return Err(run.conflict());
        }
        left -= inside;
        found.push((first, last));
    }
    Ok(found)
}

/// Takes the numbers of a run out of a row.
fn cut(connection: &Connection, row: (i64, i64), run: ChangedRun<'_>) -> Result<(), StoreError> {
    let first = row.0;
    let (before, behind) = run.remains(row);
    if let (Some(_), Some((next, _))) = (before, behind) {
        let mut whole = connection
            .prepare_cached(&format!("SELECT ?2, last, partner, version, {RECORD} FROM number_run WHERE first = ?1"))?;
        let columns = 0..whole.column_count();
        let read = |row: &Row<'_>| columns.map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>();
        let values = whole.query_row([first, next], read).optional()?.ok_or_else(|| run.conflict())?;
        one(insertion(connection)?.execute(params_from_iter(values))?, run)?;
    }
    let changed = match (before, behind) {
        (Some((_, last)), _) => {
            let mut shrink = connection.prepare_cached("UPDATE number_run SET last = ?2 WHERE first = ?1")?;
            shrink.execute([first, last])?
        }
        (None, Some((next, _))) => {
            let mut shrink = connection.prepare_cached("UPDATE number_run SET first = ?2 WHERE first = ?1")?;
            shrink.execute([first, next])?
        }
        (None, None) => connection.prepare_cached("DELETE FROM number_run WHERE first = ?1")?.execute([first])?,
    };
    one(changed, run)
}

/// Gives the row of exactly these numbers other values.
fn replace(
    connection: &Connection,
    key: PartnerKey,
    version: u64,
    run: ChangedRun<'_>,
    record: &Record,
) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(&format!(
        "UPDATE number_run SET (version, {RECORD}) = \
         (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
         WHERE first = ?1 AND last = ?2 AND partner = ?3"
    ))?;
    one(execute(&mut update, key, version, run, record)?, run)
}

/// Runs a statement that takes the columns of `number_run` in their order.
fn execute(
    statement: &mut CachedStatement<'_>,
    key: PartnerKey,
    version: u64,
    run: ChangedRun<'_>,
    record: &Record,
) -> Result<usize, StoreError> {
    let tags = (!record.tags.is_empty()).then(|| serde_json::to_string(&record.tags).expect("tags serialise"));
    Ok(statement.execute(params![
        run.first,
        run.last,
        key.0,
        version as i64,
        record.state.as_str(),
        record.account.as_ref().map(AccountId::as_str),
        record.application.as_ref().map(ApplicationId::as_str),
        record.trunk.as_ref().map(TrunkId::as_str),
        record.number_type.as_str(),
        record.country.as_ref().map(Country::code),
        record.region.as_deref(),
        record.cost.map(|cost| cost.minor),
        record.cost.as_ref().map(|cost| cost.currency.code()),
        seconds(record.assigned_at),
        seconds(record.expires_at),
        record.since.seconds(),
        record.until.map(Time::seconds),
        tags,
    ])?)
}

/// Brings numbers from one row each to one row for neighbours with equal values.
/// A file whose schema version was set back by hand has these already.
pub(super) fn migrate(connection: &Connection, tables: &str) -> Result<(), StoreError> {
    let mut made = connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = 'number'")?;
    if made.exists([])? {
        return Ok(());
    }
    connection.execute_batch(tables)?;
    fill(connection)
}

/// Fills `number_run` from the table of an older schema, which has one row a
/// number, and drops that. Rows that this program cannot understand are copied
/// as they are.
///
/// # Errors
/// `Corrupt` if the digests of the two tables differ; the store's errors. The
/// caller then rolls back.
fn fill(connection: &Connection) -> Result<(), StoreError> {
    let mut before = TableDigest::default();
    {
        let mut statement = connection
            .prepare(&format!("SELECT number, partner, version, {RECORD}, number FROM number_each ORDER BY number"))?;
        let mut insert = connection.prepare(&format!(
            "INSERT INTO number_run (first, last, partner, version, {RECORD}) \
             SELECT number, ?2, partner, version, {RECORD} FROM number_each WHERE number = ?1"
        ))?;
        let mut rows = statement.query([])?;
        let mut open: Option<(i64, i64)> = None;
        let (mut values, mut last_values) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            before.add(row)?;
            let number: i64 = row.get(0)?;
            read_values(row, &mut values)?;
            open = match open {
                // What is no number is in no row of numbers: none of it could be read.
                Some((first, last))
                    if last + 1 == number
                        && number - first < RUN_MAX
                        && number_of(last).is_ok() == number_of(number).is_ok()
                        && values == last_values =>
                {
                    Some((first, number))
                }
                ended => {
                    ended.map(|(first, last)| insert.execute([first, last])).transpose()?;
                    Some((number, number))
                }
            };
            std::mem::swap(&mut values, &mut last_values);
        }
        open.map(|(first, last)| insert.execute([first, last])).transpose()?;
        let mut after = TableDigest::default();
        let mut statement = connection
            .prepare(&format!("SELECT first, partner, version, {RECORD}, last FROM number_run ORDER BY first"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            after.add(row)?;
        }
        if !before.agrees(&after) {
            return Err(corrupt("the migrated rows of numbers differ from the earlier ones".to_owned()));
        }
    }
    if !before.digests.is_empty() {
        tracing::info!(partners = before.digests.len(), "the numbers of the file are stored as rows of neighbours now");
    }
    Ok(connection.execute_batch("DROP TABLE number_each")?)
}

/// All of a row but its numbers, as bytes: equal bytes are equal values.
fn read_values(row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), StoreError> {
    out.clear();
    for at in 1..17 {
        let (kind, cell) = match row.get_ref(at)? {
            ValueRef::Null => (0, &[][..]),
            ValueRef::Integer(value) => (1, &value.to_le_bytes()[..]),
            ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()[..]),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(bytes) => (4, bytes),
        };
        out.push(kind);
        out.extend((cell.len() as u32).to_le_bytes());
        out.extend(cell);
    }
    Ok(())
}
