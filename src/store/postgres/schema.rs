//! The migrations of the tables.
//!
//! The first process that opens the database migrates it, under a lock that others
//! wait for and that does not wait long itself. Nodes are upgraded one after
//! another (a rolling upgrade), so a schema may be newer than a program: migrations
//! first only add what older programs do not mind (expand), and a later release
//! removes what those need (contract). `rollcall_schema` has the release of the
//! schema, and the oldest release that a program must know.

use super::connect::Link;
use super::core::Core;
use crate::store::rows::{RowCells, corrupt};
use crate::store::{Open, StoreError};

/// Each with the schema that a program has to know at least once it is done.
const MIGRATIONS: &[(&str, i64)] = &[
    (include_str!("../../../migrations/postgres/0001_initial.sql"), 1),
    (include_str!("../../../migrations/postgres/0002_account_numbers.sql"), 1),
    (include_str!("../../../migrations/postgres/0004_destinations.sql"), 1),
    (include_str!("../../../migrations/postgres/0005_row_digest.sql"), 1),
    (include_str!("../../../migrations/postgres/0006_runs.sql"), 1),
    (include_str!("../../../migrations/postgres/0007_net_change.sql"), 1),
];

/// Brings a database whose numbers are copied, or that has none, to [`TableForm::Runs`].
pub(super) const SWITCH: &str = include_str!("../../../migrations/postgres/switch_to_runs.sql");

/// Keeps the form of the database as it is until the transaction ends. A statement
/// that reads `rollcall_schema` does the same.
pub(super) const FORM_LOCK: &str = "LOCK TABLE rollcall_schema IN ACCESS SHARE MODE";

/// In which tables the numbers of a database are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TableForm {
    /// One row a number, in `number` and `holder`, for nodes of the release before.
    Each,
    /// Neighbours as one row, in `number_run` and `holder_run`.
    Runs,
}

impl TableForm {
    pub fn read(row: &impl RowCells, at: usize) -> Result<TableForm, StoreError> {
        match row.int(at)? {
            0 => Ok(TableForm::Each),
            1 => Ok(TableForm::Runs),
            other => Err(corrupt(format!("form {other} of the tables of numbers"))),
        }
    }

    /// The form that a database has now.
    pub fn of(core: &Core, link: &Link) -> Result<TableForm, StoreError> {
        let rows = core.rows(link, "SELECT runs FROM rollcall_schema WHERE one = 1", &[])?;
        TableForm::read(rows.first().ok_or_else(|| corrupt("rollcall_schema is empty".to_owned()))?, 0)
    }
}

/// "Roll", "sche".
const LOCK: i64 = 0x526f_6c6c_7363_6865;

/// Makes sure that the database is ours and at a schema that this program
/// knows.
pub(super) fn prepare(core: &Core, open: Open) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    match found(core)? {
        Some((found, needs)) if needs > known => {
            Err(StoreError::Newer { database: core.address.to_string(), found, known })
        }
        Some((found, _)) if found >= known => Ok(()),
        None if open != Open::Create => Err(StoreError::Missing { path: core.address.to_string().into() }),
        Some(_) | None => migrate(core),
    }
}

/// The database's schema, and the oldest that a program has to know.
fn found(core: &Core) -> Result<Option<(i64, i64)>, StoreError> {
    core.read(|link| {
        let there = core.rows(link, "SELECT to_regclass('rollcall_schema') IS NOT NULL", &[])?;
        if !there.first().is_some_and(|row| row.get(0)) {
            return Ok(None);
        }
        let rows = core.rows(link, "SELECT version, needs FROM rollcall_schema", &[])?;
        let row = rows.first().ok_or_else(|| corrupt("rollcall_schema is empty".to_owned()))?;
        Ok(Some((row.int(0)?, row.int(1)?)))
    })
}

/// Brings the database to this program's schema, in one transaction.
fn migrate(core: &Core) -> Result<(), StoreError> {
    let mut link = core.writer()?;
    link.torn = true;
    core.batch(
        &link,
        &format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock({LOCK})"
        ),
    )?;
    let tables = "SELECT to_regclass('rollcall_schema') IS NOT NULL, to_regclass('partner') IS NOT NULL \
                  OR to_regclass('number') IS NOT NULL OR to_regclass('account') IS NOT NULL";
    let rows = core.rows(&link, tables, &[])?;
    let (ours, others) = rows.first().map_or((false, false), |row| (row.get(0), row.get(1)));
    let mut begun = 0;
    match (ours, others) {
        // Another process may have been here since.
        (true, _) => {
            let rows = core.rows(&link, "SELECT version, needs FROM rollcall_schema", &[])?;
            let row = rows.first().ok_or_else(|| corrupt("rollcall_schema is empty".to_owned()))?;
            let (found, needs, known) = (row.int(0)?, row.int(1)?, MIGRATIONS.len() as i64);
            if needs > known {
                return Err(StoreError::Newer { database: core.address.to_string(), found, known });
            }
            begun = found;
        }
        (false, true) => return Err(StoreError::Foreign { database: core.address.to_string() }),
        (false, false) => core.batch(
            &link,
            "CREATE TABLE rollcall_schema (one BIGINT PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL, \
             needs BIGINT NOT NULL); INSERT INTO rollcall_schema VALUES (1, 0, 0)",
        )?,
    }
    for (at, (migration, needs)) in MIGRATIONS.iter().enumerate().skip(begun as usize) {
        core.batch(&link, migration)?;
        let sql = format!("UPDATE rollcall_schema SET version = {}, needs = greatest(needs, {needs})", at + 1);
        core.batch(&link, &sql)?;
    }
    if begun == 0 {
        // No program of an earlier release has used it.
        core.batch(&link, SWITCH)?;
    }
    core.batch(&link, "COMMIT")?;
    link.torn = false;
    Ok(())
}
