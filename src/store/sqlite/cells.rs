//! Rows of this engine: read cell by cell, and told apart by their bytes.

use std::collections::HashMap;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::domain::PartnerKey;
use crate::store::rows::{LastValues, RowCells, corrupt, read_dates, read_record};
use crate::store::runs::bounds;
use crate::store::{BatchRow, NumberBatch, StoreError};

impl RowCells for Row<'_> {
    fn text_if(&self, at: usize) -> Result<Option<&str>, StoreError> {
        match self.get_ref(at)? {
            ValueRef::Null => Ok(None),
            value => value.as_str().map(Some).map_err(|_| corrupt(format!("column {at} is not text"))),
        }
    }

    fn int_if(&self, at: usize) -> Result<Option<i64>, StoreError> {
        Ok(self.get(at)?)
    }

    fn bytes_if(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.get_ref(at)? {
            ValueRef::Null => Ok(None),
            value => value.as_bytes().map(Some).map_err(|_| corrupt(format!("column {at} is not bytes"))),
        }
    }
}

/// Which of the images of a batch a row has, told by the bytes of its columns:
/// they are compared before anything is made of them.
#[derive(Default)]
pub(super) struct RowImages {
    seen: LastValues,
    places: HashMap<Vec<u8>, u32>,
    /// The row before, which is mostly alike; no bytes if there is none.
    last: (Vec<u8>, u32),
    bytes: Vec<u8>,
}

impl RowImages {
    /// From the columns `first, partner, version`, those of [`RECORD`], and `last`.
    ///
    /// [`RECORD`]: crate::store::rows::RECORD
    pub(super) fn number(&mut self, row: &Row<'_>, batch: &mut NumberBatch) -> Result<BatchRow, StoreError> {
        let image = self.place(row, batch)?;
        let ((first, last), version) = (bounds(row, 0, 17)?, row.int(2)? as u64);
        Ok(BatchRow { first, last, version, image, dates: read_dates(row, 3)? })
    }

    /// From the same columns.
    fn place(&mut self, row: &Row<'_>, batch: &mut NumberBatch) -> Result<u32, StoreError> {
        self.bytes.clear();
        // How much of the row before it has been equal to; none once it differs.
        let mut same = Some(0);
        // All but the dates, of which almost every row has its own.
        for at in std::iter::once(1).chain(3..12).chain(std::iter::once(16)) {
            // Whatever the file holds, two rows with these bytes are the same.
            let (kind, cell) = match row.get_ref(at)? {
                ValueRef::Null => (0, &[][..]),
                ValueRef::Integer(value) => (1, &value.to_le_bytes()[..]),
                ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()[..]),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(bytes) => (4, bytes),
            };
            let [a, b, c, d] = (cell.len() as u32).to_le_bytes();
            let head = [kind, a, b, c, d];
            if let Some(from) = same {
                let last = &self.last.0;
                let middle = from + head.len();
                let end = middle + cell.len();
                if last.get(from..middle) == Some(&head) && last.get(middle..end) == Some(cell) {
                    same = Some(end);
                    continue;
                }
                self.bytes.extend_from_slice(&last[..from]);
                same = None;
            }
            self.bytes.extend_from_slice(&head);
            self.bytes.extend_from_slice(cell);
        }
        if same.is_some() {
            return Ok(self.last.1);
        }
        let place = match self.places.get(&self.bytes) {
            Some(place) => *place,
            None => {
                let place = batch.images.len() as u32;
                batch.images.push((PartnerKey(row.int(1)?), read_record(row, 3, &mut self.seen)?));
                self.places.insert(self.bytes.clone(), place);
                place
            }
        };
        std::mem::swap(&mut self.last.0, &mut self.bytes);
        self.last.1 = place;
        Ok(place)
    }

    /// The next batch has images of its own.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.last.0.clear();
    }
}
