//! The health of the database as this process knows it: unreadable rows, and the
//! result of the last write.
//!
//! Invariant: an unreadable row is left out, counted by table, and logged once;
//! everything else continues.
//! Deliberately absent: repair. `rollcall verify` names the errors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::rows::RowCells;
use super::{Abort, StoreError, WriteTarget};
use crate::domain::PartnerKey;

/// How many unreadable rows of a table are known by name; more are counted.
const NAMED_MAX: usize = 1_000;
/// How long a row counts that no survey looks at, after it was last met.
const MET_FOR: Duration = Duration::from_secs(3_600);

#[derive(Default)]
pub struct Health {
    tables: Mutex<BTreeMap<&'static str, Unreadable>>,
    /// How many rows are known by name, so that reads need no lock while all
    /// is well.
    named: AtomicUsize,
    /// Partners whose rows do not agree with their digest, by key, and whether
    /// there are any.
    damaged: Mutex<BTreeMap<PartnerKey, Arc<str>>>,
    any_damaged: AtomicBool,
    /// Why the last write failed, if it was the engine's doing.
    unwritable: Mutex<Option<Arc<str>>>,
}

#[derive(Default)]
struct Unreadable {
    rows: BTreeMap<String, Instant>,
    /// Beyond those, as the last survey counted them.
    more: u64,
    surveyed: bool,
}

impl Unreadable {
    fn count(&self) -> u64 {
        let counts = |met: &Instant| self.surveyed || met.elapsed() < MET_FOR;
        self.rows.values().filter(|met| counts(met)).count() as u64 + self.more
    }
}

/// Rows of one table that a survey could not read.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Surveyed {
    pub rows: u64,
    /// The first of them, each with the reason.
    pub named: BTreeMap<String, String>,
}

impl Surveyed {
    pub fn add(&mut self, row: String, why: String) {
        self.rows += 1;
        if self.named.len() < NAMED_MAX {
            self.named.insert(row, why);
        }
    }
}

impl Health {
    /// The row that was read, or `None` in the place of one that cannot be
    /// understood. `row` names it.
    pub fn readable<T>(
        &self,
        table: &'static str,
        row: impl FnOnce() -> String,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Ok(value) => {
                if self.named.load(Ordering::Relaxed) > 0 {
                    self.mended(table, &row());
                }
                Ok(Some(value))
            }
            Err(StoreError::Corrupt { what }) => {
                self.met(table, row(), &what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Counts a row that cannot be understood.
    pub fn met(&self, table: &'static str, row: String, why: &str) {
        let mut tables = self.tables.lock();
        let rows = &mut tables.entry(table).or_default().rows;
        if rows.len() < NAMED_MAX && rows.insert(row.clone(), Instant::now()).is_none() {
            self.named.fetch_add(1, Ordering::Relaxed);
            error!(table, row, why, "a row of table {table} cannot be understood and is left out: {row}: {why}");
        }
    }

    fn mended(&self, table: &'static str, row: &str) {
        let mut tables = self.tables.lock();
        let Some(unreadable) = tables.get_mut(table) else { return };
        if unreadable.rows.remove(row).is_some() {
            self.named.fetch_sub(1, Ordering::Relaxed);
            info!(table, row, "a row of table {table} can be understood again: {row}");
        }
    }

    /// Replaces what is known of tables by what a survey of all their rows
    /// found.
    pub fn surveyed(&self, found: BTreeMap<&'static str, Surveyed>) {
        for (table, Surveyed { rows, named }) in found {
            let known: BTreeSet<String> =
                self.tables.lock().get(table).map(|known| known.rows.keys().cloned().collect()).unwrap_or_default();
            for gone in known.iter().filter(|row| !named.contains_key(*row)) {
                self.mended(table, gone);
            }
            let more = rows - named.len() as u64;
            for (row, why) in named {
                self.met(table, row, &why);
            }
            let mut tables = self.tables.lock();
            if rows > 0 || tables.contains_key(table) {
                let unreadable = tables.entry(table).or_default();
                (unreadable.more, unreadable.surveyed) = (more, true);
            }
        }
    }

    /// How many rows of each table cannot be understood; tables that had any
    /// stay in the list.
    pub fn unreadable(&self) -> BTreeMap<&'static str, u64> {
        self.tables.lock().iter().map(|(table, unreadable)| (*table, unreadable.count())).collect()
    }

    /// Takes no writes to these partners any more, and to others again.
    pub fn set_damaged(&self, damaged: BTreeMap<PartnerKey, Arc<str>>) {
        let mut known = self.damaged.lock();
        self.any_damaged.store(!damaged.is_empty(), Ordering::Relaxed);
        *known = damaged;
    }

    /// The partners that take no writes, by the id that they had.
    pub fn damaged(&self) -> BTreeMap<PartnerKey, Arc<str>> {
        self.damaged.lock().clone()
    }

    /// Refuses a write to a partner whose rows do not agree with their digest.
    pub(super) fn undamaged(&self, target: &WriteTarget) -> Result<(), StoreError> {
        let (true, WriteTarget::Partner(key)) = (self.any_damaged.load(Ordering::Relaxed), target) else {
            return Ok(());
        };
        match self.damaged.lock().get(key) {
            Some(partner) => Err(StoreError::Damaged { partner: partner.clone() }),
            None => Ok(()),
        }
    }

    /// Records how a write ended. A draft's refusal and a wait for other writers
    /// say nothing of the database.
    pub fn wrote(&self, failed: Option<&StoreError>) {
        use StoreError::*;
        let reason: Option<Arc<str>> = match failed {
            None => None,
            Some(Busy | Again { .. } | Corrupt { .. } | Damaged { .. } | Unsupported { .. }) => return,
            Some(error) => Some(error.to_string().into()),
        };
        let before = std::mem::replace(&mut *self.unwritable.lock(), reason.clone());
        match (before, reason) {
            (None, Some(reason)) => warn!(%reason, "a write failed; this server counts as a reader until one succeeds"),
            (Some(_), None) => info!("writes succeed again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// The same, if it failed; that something small was written says little.
    pub(super) fn wrote_unless(&self, failed: Option<&StoreError>) {
        if failed.is_some() {
            self.wrote(failed);
        }
    }

    /// The same of a write's result; `wrote` says whether anything was written.
    pub(super) fn ended<T>(&self, result: &Result<T, Abort>, wrote: bool) {
        match result {
            Ok(_) if wrote => self.wrote(None),
            Ok(_) | Err(Abort::Refused) => {}
            Err(Abort::Store(error)) => self.wrote(Some(error)),
        }
    }

    /// Whether the last write succeeded, as far as it was up to the database.
    pub fn writable(&self) -> bool {
        self.unwritable.lock().is_none()
    }
}

/// A row's name from some of its columns: texts and numbers as they are, bytes
/// by their beginning.
pub(super) fn row_name(row: &(impl RowCells + ?Sized), columns: &[usize]) -> String {
    let cell = |at: &usize| match (row.text_if(*at), row.int_if(*at), row.bytes_if(*at)) {
        (Ok(Some(text)), _, _) => text.chars().take(80).collect(),
        (_, Ok(Some(number)), _) => number.to_string(),
        (_, _, Ok(Some(bytes))) => {
            let shown = bytes.iter().take(8).map(|byte| format!("{byte:02x}"));
            format!("{}…", shown.collect::<String>())
        }
        _ => "?".to_owned(),
    };
    columns.iter().map(cell).collect::<Vec<String>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupt() -> Result<(), StoreError> {
        Err(StoreError::Corrupt { what: "time -1".to_owned() })
    }

    #[test]
    fn unreadable_rows_are_counted_by_table_until_they_can_be_read() {
        let health = Health::default();
        assert!(health.readable("job", || "1/a".to_owned(), Ok(())).expect("read").is_some());
        for _ in 0..2 {
            assert!(health.readable("job", || "1/a".to_owned(), corrupt()).expect("left out").is_none());
        }
        assert!(health.readable("session", || "x".to_owned(), corrupt()).expect("left out").is_none());
        assert_eq!(health.unreadable(), BTreeMap::from([("job", 1), ("session", 1)]));
        assert!(health.readable("job", || "1/a".to_owned(), Ok(())).expect("read").is_some());
        let mut found = Surveyed::default();
        (0..NAMED_MAX + 5).for_each(|at| found.add(format!("row {at}"), "wrong".to_owned()));
        health.surveyed(BTreeMap::from([("session", Surveyed::default()), ("audit", found)]));
        assert_eq!(health.unreadable(), BTreeMap::from([("audit", NAMED_MAX as u64 + 5), ("job", 0), ("session", 0)]));
        let error = health.readable("job", || "1/a".to_owned(), Err::<(), _>(StoreError::Busy));
        assert!(matches!(error, Err(StoreError::Busy)), "only what cannot be understood is left out");
    }

    #[test]
    fn the_last_write_says_whether_more_are_taken() {
        let health = Health::default();
        let reason = || "it is so".into();
        for (error, writable) in [
            (None, true),
            (Some(StoreError::Full), false),
            (Some(StoreError::Busy), false),
            (None, true),
            (Some(StoreError::Busy), true),
            (Some(StoreError::Again { reason: reason() }), true),
            (Some(StoreError::ReadOnly { reason: reason() }), false),
            (None, true),
            (Some(StoreError::Stopped { reason: reason() }), false),
        ] {
            health.wrote(error.as_ref());
            assert_eq!(health.writable(), writable, "{error:?}");
        }
    }
}
