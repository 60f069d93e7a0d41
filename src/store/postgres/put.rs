//! Statements that a write sends together, and the columns of numbers as they take
//! them.

use deadpool_postgres::ClientWrapper;
use futures_util::future::join_all;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::trouble::trouble;
use crate::domain::{AccountId, ApplicationId, Country, Record, TrunkId};
use crate::store::StoreError;
use crate::store::rows::{corrupt, seconds};
use crate::store::runs::Span;

/// A statement that changes exactly so many rows, or that many at most.
pub(super) struct Put<'a> {
    pub sql: &'a str,
    pub params: Vec<&'a (dyn ToSql + Sync)>,
    pub rows: Option<u64>,
}

/// Statements that can be sent.
pub(super) struct Prepared<'a>(Vec<(Statement, Put<'a>)>);

impl<'a> Prepared<'a> {
    pub async fn of(client: &ClientWrapper, puts: Vec<Put<'a>>) -> Result<Prepared<'a>, StoreError> {
        let mut prepared = Vec::with_capacity(puts.len());
        for put in puts {
            prepared.push((client.prepare_cached(put.sql).await.map_err(trouble)?, put));
        }
        Ok(Prepared(prepared))
    }

    /// Sends them together, all when this is first polled, checks what each has
    /// changed, and returns the sum.
    pub async fn send(self, client: &ClientWrapper) -> Result<u64, StoreError> {
        let sent = self.0.iter().map(|(statement, put)| client.execute(statement, &put.params));
        // All of them, so that the error is that of the first that failed: those
        // after it only say that something had.
        let ended = join_all(sent).await;
        let mut sum = 0;
        for ((_, put), ended) in self.0.iter().zip(ended) {
            let changed = ended.map_err(trouble)?;
            sum += changed;
            if put.rows.is_some_and(|rows| rows != changed) {
                return Err(corrupt("numbers changed under a write lock".to_owned()));
            }
        }
        Ok(sum)
    }
}

/// Values of several rows, each column in an array of its own, as one statement
/// takes them.
#[derive(Default)]
pub(super) struct ColumnArrays<'a> {
    version: Vec<i64>,
    pub first: Vec<i64>,
    pub last: Vec<i64>,
    assigned_at: Vec<Option<i64>>,
    expires_at: Vec<Option<i64>>,
    since: Vec<i64>,
    until: Vec<Option<i64>>,
    cost: Vec<Option<i64>>,
    state: Vec<&'a str>,
    account: Vec<Option<&'a str>>,
    application: Vec<Option<&'a str>>,
    trunk: Vec<Option<&'a str>>,
    number_type: Vec<&'a str>,
    country: Vec<Option<&'a str>>,
    region: Vec<Option<&'a str>>,
    currency: Vec<Option<&'a str>>,
    tags: Vec<Option<String>>,
}

impl<'a> ColumnArrays<'a> {
    pub fn push(&mut self, (first, last): Span, version: i64, record: &'a Record) {
        self.version.push(version);
        self.first.push(first);
        self.last.push(last);
        self.assigned_at.push(seconds(record.assigned_at));
        self.expires_at.push(seconds(record.expires_at));
        self.since.push(record.since.seconds());
        self.until.push(seconds(record.until));
        self.cost.push(record.cost.map(|cost| cost.minor));
        self.state.push(record.state.as_str());
        self.account.push(record.account.as_ref().map(AccountId::as_str));
        self.application.push(record.application.as_ref().map(ApplicationId::as_str));
        self.trunk.push(record.trunk.as_ref().map(TrunkId::as_str));
        self.number_type.push(record.number_type.as_str());
        self.country.push(record.country.as_ref().map(Country::code));
        self.region.push(record.region.as_deref());
        self.currency.push(record.cost.as_ref().map(|cost| cost.currency.code()));
        let tags = || serde_json::to_string(&record.tags).expect("tags serialise");
        self.tags.push((!record.tags.is_empty()).then(tags));
    }

    pub fn count(&self) -> Option<u64> {
        (!self.first.is_empty()).then_some(self.first.len() as u64)
    }

    /// As `$2` and on: the versions, the first numbers, and the values.
    pub fn params(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.version,
            &self.first,
            &self.assigned_at,
            &self.expires_at,
            &self.since,
            &self.until,
            &self.cost,
            &self.state,
            &self.account,
            &self.application,
            &self.trunk,
            &self.number_type,
            &self.country,
            &self.region,
            &self.currency,
            &self.tags,
        ]
    }
}

/// The columns of [`ColumnArrays::params`] behind the first number.
macro_rules! values {
    () => {
        "assigned_at, expires_at, since, until, cost, state, account, application, trunk, number_type, country, \
         region, currency, tags"
    };
}
/// The types of [`ColumnArrays::params`].
macro_rules! arrays {
    () => {
        "$2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], \
         $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[]"
    };
}
/// Gives a row the values of another, `t`.
macro_rules! set_values {
    () => {
        "SET version = t.version, assigned_at = t.assigned_at, expires_at = t.expires_at, since = t.since, \
         until = t.until, cost = t.cost, state = t.state, account = t.account, application = t.application, \
         trunk = t.trunk, number_type = t.number_type, country = t.country, region = t.region, \
         currency = t.currency, tags = t.tags"
    };
}
pub(super) use {arrays, set_values, values};
