//! Rows of this engine, read cell by cell.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::store::StoreError;
use crate::store::rows::{RowCells, corrupt};

fn cell<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<Option<T>, StoreError> {
    row.try_get(at).map_err(|error| corrupt(format!("column {at}: {error}")))
}

impl RowCells for Row {
    fn text_if(&self, at: usize) -> Result<Option<&str>, StoreError> {
        cell(self, at)
    }

    fn int_if(&self, at: usize) -> Result<Option<i64>, StoreError> {
        cell(self, at)
    }

    fn bytes_if(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        cell(self, at)
    }
}
