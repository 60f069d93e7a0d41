//! What becomes of rows of numbers and of their holders, and the statements that make
//! it so: each kind of row by one, whatever the number of rows.
//!
//! Deliberately absent: the rows as they are (`runs.rs`), and when the statements are
//! sent.

use tokio_postgres::types::ToSql;

use super::put::{ColumnArrays, Put, arrays, set_values, values};
use crate::domain::Record;
use crate::store::runs::Span;

const INSERT: &str = concat!(
    "INSERT INTO number_run (partner, version, first, ",
    values!(),
    ", last) SELECT $1, t.* FROM unnest(",
    arrays!(),
    ", $18::bigint[]) AS t"
);
const REPLACE: &str = concat!(
    "UPDATE number_run ",
    set_values!(),
    " FROM (SELECT t.*, (SELECT ctid FROM number_run AS r WHERE r.partner = $1 AND r.first = t.first AND r.last = t.last) \
     AS place FROM unnest(",
    arrays!(),
    ", $18::bigint[]) AS t (version, first, ",
    values!(),
    ", last) OFFSET 0) AS t WHERE number_run.ctid = t.place"
);
/// Numbers of a row, with its values, as a row of their own.
const SPLIT: &str = concat!(
    "INSERT INTO number_run (partner, first, last, version, ",
    values!(),
    ") SELECT partner, a, b, version, ",
    values!(),
    " FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS t (origin, a, b) \
     CROSS JOIN LATERAL (SELECT * FROM number_run WHERE partner = $1 AND first = origin OFFSET 0) AS r"
);
const MOVE_END: &str = "UPDATE number_run SET last = b FROM ( \
                        SELECT b, (SELECT ctid FROM number_run WHERE partner = $1 AND first = a) AS place \
                        FROM unnest($2::bigint[], $3::bigint[]) AS t (a, b) OFFSET 0) AS t \
                        WHERE number_run.ctid = place";
const DELETE: &str = "DELETE FROM number_run WHERE partner = $1 AND first = ANY ($2::bigint[])";
const RELEASE: &str = "DELETE FROM holder_run WHERE partner = $1 AND first = ANY ($2::bigint[])";
const HOLD_UNTIL: &str = "UPDATE holder_run SET last = b FROM ( \
                          SELECT b, (SELECT ctid FROM holder_run WHERE partner = $1 AND first = a) AS place \
                          FROM unnest($2::bigint[], $3::bigint[]) AS t (a, b) OFFSET 0) AS t \
                          WHERE holder_run.ctid = place";
const HOLD: &str = "INSERT INTO holder_run (partner, first, last) \
                    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[])";

/// The values of a row.
pub(super) struct RowValues {
    pub span: Span,
    pub version: i64,
    pub record: Record,
}

/// What becomes of the rows that have some numbers.
#[derive(Default)]
pub(super) struct RunEdits {
    /// Pieces of rows that become rows, and the first numbers of those rows.
    pub origins: Vec<i64>,
    pub split_firsts: Vec<i64>,
    pub split_lasts: Vec<i64>,
    /// Rows that end elsewhere.
    pub moved: Vec<i64>,
    pub moved_lasts: Vec<i64>,
    pub deleted: Vec<i64>,
    pub replaced: Vec<RowValues>,
    pub come: Vec<RowValues>,
}

/// What becomes of rows of holders: they go, end elsewhere, and come.
#[derive(Default)]
pub(super) struct HolderEdits {
    pub released: Vec<i64>,
    pub held_until: (Vec<i64>, Vec<i64>),
    pub held: (Vec<i64>, Vec<i64>),
}

impl HolderEdits {
    /// Numbers in order, so that two partners after the same numbers wait for
    /// each other rather than for ever.
    pub fn puts<'a>(&'a self, key: &'a i64) -> Vec<Put<'a>> {
        let HolderEdits { released, held_until, held } = self;
        let all: [(&str, usize, Vec<&(dyn ToSql + Sync)>); 3] = [
            (RELEASE, released.len(), vec![key, released]),
            (HOLD_UNTIL, held_until.0.len(), vec![key, &held_until.0, &held_until.1]),
            (HOLD, held.0.len(), vec![key, &held.0, &held.1]),
        ];
        let some = all.into_iter().filter(|(_, count, _)| *count > 0);
        some.map(|(sql, count, params)| Put { sql, params, rows: Some(count as u64) }).collect()
    }
}

/// Rows as statements take their values.
pub(super) struct SentRows<'a> {
    replaced: ColumnArrays<'a>,
    come: ColumnArrays<'a>,
}

impl RunEdits {
    /// The numbers of all rows that it changes.
    pub fn touched(&self) -> impl Iterator<Item = Span> {
        let moved = self.moved.iter().zip(&self.moved_lasts);
        let split = self.split_firsts.iter().zip(&self.split_lasts);
        let ends = moved.chain(split).map(|(first, last)| (*first, *last));
        let values = self.replaced.iter().chain(&self.come).map(|row| row.span);
        self.deleted.iter().map(|first| (*first, *first)).chain(ends).chain(values)
    }

    /// Adds what becomes of other rows.
    pub fn append(&mut self, other: RunEdits) {
        self.origins.extend(other.origins);
        self.split_firsts.extend(other.split_firsts);
        self.split_lasts.extend(other.split_lasts);
        self.moved.extend(other.moved);
        self.moved_lasts.extend(other.moved_lasts);
        self.deleted.extend(other.deleted);
        self.replaced.extend(other.replaced);
        self.come.extend(other.come);
    }

    pub fn sent(&self) -> SentRows<'_> {
        fn arrays(rows: &[RowValues]) -> ColumnArrays<'_> {
            let mut arrays = ColumnArrays::default();
            rows.iter().for_each(|row| arrays.push(row.span, row.version, &row.record));
            arrays
        }
        SentRows { replaced: arrays(&self.replaced), come: arrays(&self.come) }
    }

    /// The statements, in the order in which they must be sent: what shrinks comes
    /// before what needs its place.
    pub fn puts<'a>(&'a self, key: &'a i64, rows: &'a SentRows<'a>, put: &mut Vec<Put<'a>>) {
        let values = |rows: &'a ColumnArrays<'a>| {
            let key: &(dyn ToSql + Sync) = key;
            std::iter::once(key).chain(rows.params()).chain([&rows.last as _]).collect()
        };
        let all: [(&str, usize, Vec<&(dyn ToSql + Sync)>); 5] = [
            (SPLIT, self.origins.len(), vec![key, &self.origins, &self.split_firsts, &self.split_lasts]),
            (REPLACE, self.replaced.len(), values(&rows.replaced)),
            // A replaced row may have got further numbers.
            (MOVE_END, self.moved.len(), vec![key, &self.moved, &self.moved_lasts]),
            (DELETE, self.deleted.len(), vec![key, &self.deleted]),
            (INSERT, self.come.len(), values(&rows.come)),
        ];
        let some = all.into_iter().filter(|(_, count, _)| *count > 0);
        put.extend(some.map(|(sql, count, params)| Put { sql, params, rows: Some(count as u64) }));
    }
}
