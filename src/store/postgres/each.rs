//! One row a number: the form of databases that nodes of the release before may
//! use. `rollcall migrate-schema` ends it, and a later release removes this file.

use tokio_postgres::types::ToSql;

use super::connect::Link;
use super::core::{Core, rows};
use super::put::{ColumnArrays, Put, arrays, set_values, values};
use crate::domain::{E164, Group, NumberRun, PartnerKey, RunChange};
use crate::store::rows::*;
use crate::store::tally::RowTally;
use crate::store::{OwnedRun, Ownership, StoreError};

/// How many numbers are asked for or written in one statement, about.
const STEP: u64 = 5_000;

const HOLD: &str = "INSERT INTO holder (partner, number) SELECT $1, unnest($2::bigint[])";
const INSERT: &str = concat!(
    "INSERT INTO number (partner, version, number, ",
    values!(),
    ") SELECT $1, t.* FROM unnest(",
    arrays!(),
    ") AS t"
);
const UPDATE: &str = concat!(
    "UPDATE number ",
    set_values!(),
    " FROM (SELECT t.*, (SELECT ctid FROM number AS n WHERE n.partner = $1 AND n.number = t.number) AS place FROM unnest(",
    arrays!(),
    ") AS t (version, number, ",
    values!(),
    ") OFFSET 0) AS t WHERE number.ctid = t.place"
);
const DELETE: &str = "DELETE FROM number WHERE partner = $1 AND number = ANY ($2::bigint[])";
const RELEASE: &str = "DELETE FROM holder WHERE partner = $1 AND number = ANY ($2::bigint[])";

/// What `verify` counts, and what is wrong if there is any.
pub(super) const INTEGRITY: &[(&str, &str)] = &[
    (
        "numbers belong to no partner",
        "SELECT count(*) FROM number LEFT JOIN partner USING (partner) WHERE auth_id IS NULL",
    ),
    (
        "numbers are not held by the partner that has them, or held by one that has them not",
        "SELECT count(*) FROM number FULL JOIN holder USING (partner, number) \
         WHERE state IS NULL OR holder.number IS NULL",
    ),
    (
        "counts of accounts' numbers are not as the numbers say",
        "SELECT count(*) FROM (SELECT partner, account, state, \
         coalesce(expires_at, until, 9223372036854775807) AS ends, count(*) AS numbers FROM number \
         WHERE account IS NOT NULL GROUP BY 1, 2, 3, 4) AS real \
         FULL JOIN account_numbers AS counted USING (partner, account, state, ends) \
         WHERE real.numbers IS NULL OR counted.numbers IS NULL OR real.numbers <> counted.numbers",
    ),
];

/// The ownership of the wanted numbers, which are sorted, in runs of one owner.
pub(super) fn owners(
    core: &Core,
    link: &Link,
    key: PartnerKey,
    wanted: &[NumberRun],
) -> Result<Vec<OwnedRun>, StoreError> {
    let sql = format!(
        "SELECT holder.number, holder.partner, version, {RECORD} FROM holder LEFT JOIN number \
         ON number.partner = $1 AND number.number = holder.number AND holder.partner = $1 \
         WHERE holder.number = ANY ($2::bigint[]) ORDER BY holder.number"
    );
    let mut seen = LastValues::default();
    let mut out = Vec::with_capacity(wanted.len());
    let groups: Vec<NumberRun> = wanted.iter().flat_map(|run| run.by_group()).collect();
    for some in by_count(&groups, |run| *run) {
        let numbers: Vec<E164> = some.iter().flat_map(|run| run.numbers()).collect();
        let digits: Vec<i64> = numbers.iter().map(|number| number.digits() as i64).collect();
        let found = core.run(rows(link, &sql, &[&key.0, &digits]))?;
        let mut next = found.iter().peekable();
        let mut owners = Vec::with_capacity(numbers.len());
        for number in &digits {
            owners.push(match next.next_if(|row| matches!(row.int(0), Ok(found) if found == *number)) {
                None => Ownership::Free,
                Some(row) if row.int(1)? != key.0 => Ownership::Foreign,
                Some(row) => Ownership::Ours { version: row.int(2)? as u64, record: read_record(row, 3, &mut seen)? },
            });
        }
        out.extend(OwnedRun::all(&numbers, &owners));
    }
    Ok(out)
}

/// Changes in pieces, as statements with a value a number take them: of some
/// thousands of numbers each, and of whole groups, so that each is one part of the
/// log.
pub(super) fn pieces(changes: &[RunChange]) -> Vec<Vec<RunChange>> {
    let groups: Vec<RunChange> =
        changes.iter().flat_map(|change| change.run().by_group().map(|run| change.of(run))).collect();
    by_count(&groups, RunChange::run).into_iter().map(<[RunChange]>::to_vec).collect()
}

/// Cuts what has runs within groups into pieces of about [`STEP`] numbers.
fn by_count<T>(all: &[T], run: impl Fn(&T) -> NumberRun) -> Vec<&[T]> {
    let (mut pieces, mut begin, mut numbers) = (Vec::new(), 0, 0);
    for at in 0..all.len() {
        let (this, before) = (run(&all[at]), at.checked_sub(1).map(|at| run(&all[at])));
        let begins = before.is_none_or(|before| Group::of(before.first) != Group::of(this.first));
        if begins && numbers >= STEP {
            pieces.push(&all[begin..at]);
            (begin, numbers) = (at, 0);
        }
        numbers += this.count;
    }
    pieces.push(&all[begin..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Tells `tally` the versions of changed numbers that were not read.
pub(super) fn read_stored(
    core: &Core,
    link: &Link,
    key: PartnerKey,
    changes: &[RunChange],
    tally: &mut RowTally,
) -> Result<(), StoreError> {
    let unread = tally.unread(changes);
    let unread: Vec<i64> = unread.iter().flat_map(|run| run.numbers()).map(|number| number.digits() as i64).collect();
    if unread.is_empty() {
        return Ok(());
    }
    let sql = "SELECT number, version FROM number WHERE partner = $1 AND number = ANY ($2::bigint[])";
    for row in core.rows(link, sql, &[&key.0, &unread])? {
        let run = NumberRun { first: number_of(row.int(0)?)?, count: 1 };
        tally.learn(run, row.int(1)? as u64);
    }
    Ok(())
}

/// The rows of some changes, by what happens to them.
#[derive(Default)]
pub(super) struct EachEdits<'a> {
    come: ColumnArrays<'a>,
    stay: ColumnArrays<'a>,
    go: Vec<i64>,
}

impl<'a> EachEdits<'a> {
    pub fn of(changes: &'a [RunChange], version: i64) -> EachEdits<'a> {
        let mut edits = EachEdits::default();
        for change in changes {
            for number in change.run().numbers().map(|number| number.digits() as i64) {
                match (&change.before, &change.after) {
                    (None, Some(record)) => edits.come.push((number, number), version, record),
                    (Some(_), Some(record)) => edits.stay.push((number, number), version, record),
                    (Some(_), None) => edits.go.push(number),
                    (None, None) => {}
                }
            }
        }
        edits
    }

    pub fn puts(&'a self, key: &'a i64) -> Vec<Put<'a>> {
        let mut put = Vec::new();
        let values = |rows: &'a ColumnArrays<'a>| {
            let key: &(dyn ToSql + Sync) = key;
            std::iter::once(key).chain(rows.params()).collect()
        };
        // Numbers in order, so that two partners after the same numbers wait for
        // each other rather than for ever.
        if let rows @ Some(_) = self.come.count() {
            put.push(Put { sql: HOLD, params: vec![key, &self.come.first], rows });
            put.push(Put { sql: INSERT, params: values(&self.come), rows });
        }
        if let rows @ Some(_) = self.stay.count() {
            put.push(Put { sql: UPDATE, params: values(&self.stay), rows });
        }
        if !self.go.is_empty() {
            let rows = Some(self.go.len() as u64);
            put.push(Put { sql: DELETE, params: vec![key, &self.go], rows });
            put.push(Put { sql: RELEASE, params: vec![key, &self.go], rows });
        }
        put
    }
}
