//! Statements that both engines run, each written once.
//!
//! The values of a statement are `?1`, `?2` and so on; an engine puts its own
//! placeholders there. A column `user` is quoted or has the alias of its table:
//! alone it is PostgreSQL's word for the connected role.
//! Deliberately absent: the rows of numbers, which each engine stores its own way.

use std::borrow::Cow;
use std::sync::Arc;

use super::health::Health;
use super::rows::{RowCells, whole};
use super::{Leased, StoreError};
use crate::domain::{PartnerKey, Time};

/// One value of a statement.
#[derive(Clone, Debug)]
pub(super) enum SqlValue<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

macro_rules! from {
    ($($type:ty: $value:ident => $made:expr;)*) => {
        $(impl<'a> From<$type> for SqlValue<'a> {
            fn from($value: $type) -> SqlValue<'a> {
                $made
            }
        })*
    };
}

from! {
    i64: value => SqlValue::Int(value);
    u64: value => SqlValue::Int(whole(value));
    usize: value => SqlValue::Int(whole(value as u64));
    bool: value => SqlValue::Int(i64::from(value));
    Time: value => SqlValue::Int(value.seconds());
    PartnerKey: value => SqlValue::Int(value.0);
    String: value => SqlValue::Text(value.into());
    &'a str: value => SqlValue::Text(value.into());
    &'a String: value => SqlValue::Text(value.into());
    &'a Arc<str>: value => SqlValue::Text(Cow::Borrowed(value));
    &'a [u8]: value => SqlValue::Bytes(Cow::Borrowed(value));
    &'a Vec<u8>: value => SqlValue::Bytes(Cow::Borrowed(value));
    &'a [u8; 32]: value => SqlValue::Bytes(Cow::Borrowed(value));
}

impl<'a, T: Into<SqlValue<'a>>> From<Option<T>> for SqlValue<'a> {
    fn from(value: Option<T>) -> SqlValue<'a> {
        value.map_or(SqlValue::Null, Into::into)
    }
}

impl SqlValue<'_> {
    /// The same, that may be kept.
    pub fn owned(&self) -> SqlValue<'static> {
        match self {
            SqlValue::Null => SqlValue::Null,
            SqlValue::Int(value) => SqlValue::Int(*value),
            SqlValue::Text(text) => SqlValue::Text(Cow::Owned(text.clone().into_owned())),
            SqlValue::Bytes(bytes) => SqlValue::Bytes(Cow::Owned(bytes.clone().into_owned())),
        }
    }
}

/// The values of a statement, in the order of their numbers.
macro_rules! bind {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::SqlValue::from($value)),*] };
}
pub(super) use bind;

/// Takes one row; whether the next one is wanted.
pub(super) type TakeRow<'a> = &'a mut dyn FnMut(&dyn RowCells) -> Result<bool, StoreError>;

/// The table of some rows, and what names one of them where it cannot be understood.
pub(super) type RowNames<'a> = (&'static str, &'a dyn Fn(&dyn RowCells) -> String);

/// A connection to a database, inside a transaction of the caller's or without.
pub(super) trait Sql {
    /// What a query ends with whose rows are about to be deleted: it leaves rows out
    /// that others have locked.
    const SKIP_LOCKED: &'static str;
    /// The function that finds a text in another; from 1, 0 if it is not in it.
    const FIND: &'static str;
    /// What follows `change_part` in a query for a subject, so that it is found by its index
    /// and not among all parts of the partner's log.
    const BY_SUBJECT: &'static str;

    /// Where rows that cannot be understood are counted.
    fn health(&self) -> &Health;

    /// Runs a statement and returns how many rows it changed.
    fn run(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, StoreError>;

    /// Runs statements in their order, sent together where that is faster, and
    /// returns how many rows they changed in all.
    fn run_all(&self, statements: &[(&str, Vec<SqlValue<'_>>)]) -> Result<u64, StoreError>;

    /// Hands over the rows that a query finds, as they come.
    fn query(&self, sql: &str, values: &[SqlValue<'_>], take: TakeRow<'_>) -> Result<(), StoreError>;

    /// Runs a statement of a write that changes what has a name, and of which nobody waits
    /// for the result: it may be sent later, together with others, at the latest before the
    /// commit.
    fn run_later(&self, _name: &str, sql: &str, values: &[SqlValue<'_>]) -> Result<(), StoreError> {
        self.run(sql, values).map(|_| ())
    }

    /// As [`Sql::query`], of what no statement but one with this name changes.
    fn query_named(
        &self,
        _name: &str,
        sql: &str,
        values: &[SqlValue<'_>],
        take: TakeRow<'_>,
    ) -> Result<(), StoreError> {
        self.query(sql, values, take)
    }

    /// Acquires or renews a lease, or leaves it with its holder.
    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError>;

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Runs a statement with each of these lists of values.
    fn run_each<'v>(&self, sql: &str, lists: impl Iterator<Item = Vec<SqlValue<'v>>>) -> Result<u64, StoreError> {
        let statements: Vec<_> = lists.map(|values| (sql, values)).collect();
        self.run_all(&statements)
    }

    /// The first row that a query finds.
    fn first<T>(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        first_of(read, |take| self.query(sql, values, take))
    }

    /// The same of what has a name, as [`Sql::query_named`].
    fn first_named<T>(
        &self,
        name: &str,
        sql: &str,
        values: &[SqlValue<'_>],
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        first_of(read, |take| self.query_named(name, sql, values, take))
    }

    fn all<T>(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.query(sql, values, &mut |row| {
            all.push(read(row)?);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Every row that can be understood; the others are counted, by their table and
    /// the name that `name` gives them.
    fn readable<T>(
        &self,
        (table, name): RowNames<'_>,
        sql: &str,
        values: &[SqlValue<'_>],
        read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let read = |row: &dyn RowCells| self.health().readable(table, || name(row), read(row));
        Ok(self.all(sql, values, read)?.into_iter().flatten().collect())
    }
}

/// The first row that `query` hands over.
fn first_of<T>(
    read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
    query: impl FnOnce(TakeRow<'_>) -> Result<(), StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut first = None;
    query(&mut |row| {
        first = Some(read(row)?);
        Ok(false)
    })?;
    Ok(first)
}

/// A store whose tables, but for those of numbers, are the same on both engines.
pub(super) trait SqlStore {
    type Sql<'c>: Sql;

    /// Runs a short read.
    fn read<T>(&self, work: impl FnOnce(Self::Sql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError>;

    /// Runs a write outside the log that waits for other writers as any write does.
    fn alone<T>(&self, work: impl FnOnce(Self::Sql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError>;

    /// Runs housekeeping: a small write outside the log, in a transaction of its own,
    /// that gives way to writers and is tried again later.
    fn housekeep<T>(&self, work: impl FnOnce(Self::Sql<'_>) -> Result<T, StoreError>) -> Result<T, StoreError>;
}
