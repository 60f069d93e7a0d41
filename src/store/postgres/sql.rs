//! How this engine runs the statements of both.

use std::error::Error;
use std::pin::pin;
use std::time::Instant;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::connect::Link;
use super::core::Core;
use super::put::Put;
use super::trouble::trouble;
use crate::store::health::Health;
use crate::store::rows::LEASE_SECONDS_MAX;
use crate::store::sql::{Sql, SqlValue, TakeRow, bind};
use crate::store::{Leased, StoreError};

impl ToSql for SqlValue<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            SqlValue::Null => Ok(IsNull::Yes),
            SqlValue::Int(value) => value.to_sql_checked(ty, out),
            SqlValue::Text(text) => text.to_sql_checked(ty, out),
            SqlValue::Bytes(bytes) => bytes.to_sql_checked(ty, out),
        }
    }

    /// Each kind of value accepts its own types.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[derive(Clone, Copy)]
pub(in crate::store) struct PgSql<'c> {
    pub core: &'c Core,
    pub link: &'c Link,
}

impl PgSql<'_> {
    async fn rows(&self, sql: &str, values: &[SqlValue<'_>], take: TakeRow<'_>) -> Result<(), StoreError> {
        let client = &self.link.client;
        let statement = client.prepare_cached(&placed(sql)).await.map_err(trouble)?;
        let mut rows = pin!(client.query_raw(&statement, values).await.map_err(trouble)?);
        while let Some(row) = rows.try_next().await.map_err(trouble)?
            && take(&row)?
        {}
        Ok(())
    }
}

/// A statement with this engine's placeholders.
fn placed(sql: &str) -> String {
    sql.replace('?', "$")
}

impl Sql for PgSql<'_> {
    const SKIP_LOCKED: &'static str = "FOR UPDATE SKIP LOCKED";
    const FIND: &'static str = "strpos";
    const BY_SUBJECT: &'static str = "";

    fn health(&self) -> &Health {
        &self.core.health
    }

    fn run(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, StoreError> {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        self.core.execute(self.link, &placed(sql), &values)
    }

    fn run_all(&self, statements: &[(&str, Vec<SqlValue<'_>>)]) -> Result<u64, StoreError> {
        let sql: Vec<String> = statements.iter().map(|(sql, _)| placed(sql)).collect();
        let all = sql.iter().zip(statements).map(|(sql, (_, values))| Put {
            sql,
            params: values.iter().map(|value| value as _).collect(),
            rows: None,
        });
        self.core.puts(self.link, all.collect())
    }

    fn query(&self, sql: &str, values: &[SqlValue<'_>], take: TakeRow<'_>) -> Result<(), StoreError> {
        self.core.run(self.link.behind(self.rows(sql, values, take)))
    }

    fn run_later(&self, name: &str, sql: &str, values: &[SqlValue<'_>]) -> Result<(), StoreError> {
        self.link.ahead.lock().own.add_statement(name, placed(sql), values);
        Ok(())
    }

    fn query_named(&self, name: &str, sql: &str, values: &[SqlValue<'_>], take: TakeRow<'_>) -> Result<(), StoreError> {
        self.core.run(self.link.behind_if(|unsent| unsent.has_name(name), self.rows(sql, values, take)))
    }

    fn lease(&self, name: &str, holder: &str, seconds: i64) -> Result<Leased, StoreError> {
        // Before the statements, so that the lease lasts at least from then.
        let at = Instant::now();
        let renew = "UPDATE lease SET until = at, runs_until = at \
                     FROM (SELECT clock_timestamp() + CAST(?3 AS bigint) * interval '1 second' AS at) AS term \
                     WHERE name = ?1 AND holder = ?2";
        if self.run(renew, bind![name, holder, seconds])? > 0 {
            return Ok(Leased::Renewed { at });
        }
        let acquire = "INSERT INTO lease (name, holder, until, runs_until) SELECT ?1, ?2, at, at \
                       FROM (SELECT clock_timestamp() + CAST(?3 AS bigint) * interval '1 second' AS at) AS term \
                       ON CONFLICT (name) DO UPDATE SET holder = ?2, until = excluded.until, runs_until = excluded.until \
                       WHERE lease.until <= clock_timestamp() \
                       OR lease.until > clock_timestamp() + CAST(?4 AS bigint) * interval '1 second'";
        let acquired = self.run(acquire, bind![name, holder, seconds, LEASE_SECONDS_MAX])?;
        Ok(if acquired > 0 { Leased::Acquired { at } } else { Leased::Refused })
    }

    fn leaseholder(&self, name: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT holder FROM lease WHERE name = ?1 AND until > clock_timestamp() \
                   AND until <= clock_timestamp() + CAST(?2 AS bigint) * interval '1 second'";
        self.first(sql, bind![name, LEASE_SECONDS_MAX], |row| Ok(row.text(0)?.to_owned()))
    }
}
