//! How this engine runs the statements of both.

use std::time::Instant;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use crate::domain::Time;
use crate::store::health::Health;
use crate::store::rows::LEASE_SECONDS_MAX;
use crate::store::sql::{Sql, SqlValue, TakeRow, bind};
use crate::store::{Leased, StoreError};

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Int(value) => ValueRef::Integer(*value),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[derive(Clone, Copy)]
pub(in crate::store) struct SqliteSql<'c> {
    pub connection: &'c Connection,
    pub health: &'c Health,
}

impl Sql for SqliteSql<'_> {
    const SKIP_LOCKED: &'static str = "";
    const FIND: &'static str = "instr";
    // Without statistics, which it has none of, the engine takes a partner for as rare as a
    // subject, and the table for cheaper than the index.
    const BY_SUBJECT: &'static str = "INDEXED BY change_part_history";

    fn health(&self) -> &Health {
        self.health
    }

    fn run(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params_from_iter(values))? as u64)
    }

    fn run_all(&self, statements: &[(&str, Vec<SqlValue<'_>>)]) -> Result<u64, StoreError> {
        statements.iter().try_fold(0, |rows, (sql, values)| Ok(rows + self.run(sql, values)?))
    }

    fn query(&self, sql: &str, values: &[SqlValue<'_>], take: TakeRow<'_>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()?
            && take(row)?
        {}
        Ok(())
    }

    /// The clock is read here, after the wait for other writers.
    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        let (at, now) = (Instant::now(), Time::now());
        let until = now.plus(seconds);
        let renew = "UPDATE lease SET until = ?3 WHERE name = ?1 AND holder = ?2";
        if self.run(renew, bind![name, holder, until])? > 0 {
            return Ok(Leased::Renewed { at });
        }
        let acquire = "INSERT INTO lease (name, holder, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) \
                       DO UPDATE SET holder = ?2, until = ?3 WHERE until <= ?4 OR until > ?5";
        let acquired = self.run(acquire, bind![name, holder, until, now, now.plus(LEASE_SECONDS_MAX)])?;
        Ok(if acquired > 0 { Leased::Acquired { at } } else { Leased::Refused })
    }

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        let now = Time::now();
        let sql = "SELECT holder FROM lease WHERE name = ?1 AND until > ?2 AND until <= ?3";
        self.first(sql, bind![name, now, now.plus(LEASE_SECONDS_MAX)], |row| Ok(row.text(0)?.to_owned()))
    }
}
