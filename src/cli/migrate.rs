//! `rollcall migrate`: copies SQLite into PostgreSQL.

use serde_json::json;

use super::output::{self, Bar};
use super::{CliError, Global, Outcome, location, of_file};
use crate::service::replica::verify;
use crate::store::migrate::{CopyEnd, migrate};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Location, Open, Store, StoreError};

/// Copy a database into PostgreSQL and compare both; go on if it was cut off
#[derive(clap::Args)]
pub struct Migrate {
    /// The source; no server may be running on it
    #[arg(long, value_name = "sqlite:PATH")]
    from: String,
    /// The target: an empty database, or one with an interrupted copy
    #[arg(long, value_name = "postgres://…")]
    to: String,
}

impl Migrate {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let settings = global.settings()?;
        let (from, to) = (location(&self.from)?, settings.complete(location(&self.to)?));
        let (Location::Sqlite(path), Location::Postgres(address)) = (&from, &to) else {
            return Err(CliError::Usage("migrate goes from sqlite:PATH to postgres://…".to_owned()));
        };
        let named = |error| of_file(error, "database", path);
        // What the target refuses is not about the database of the settings, and the
        // source's engine has errors of its own.
        let target_failed = |error: StoreError| match error {
            error @ StoreError::Sqlite(_) => named(error),
            error => CliError::from(error).of(to.clone()),
        };
        let source = SqliteStore::open(path, Open::Existing).map_err(named)?;
        // What a server writes meanwhile would stay behind.
        let Some(lock) = source.serve_lock().map_err(named)? else {
            return Err(CliError::Other(format!("a server is using {from}; stop it first")));
        };
        let interrupted = output::interrupt()?;
        let bar = Bar::new(None, "rows");
        let ended = migrate(&source, address, &mut |table, rows, total| bar.set(table, rows, Some(total)), &|| {
            interrupted.load(std::sync::atomic::Ordering::SeqCst)
        })
        .map_err(target_failed)?;
        bar.finish();
        let CopyEnd::Whole { rows } = ended else {
            return Err(CliError::Other("stopped; the same command goes on from there".to_owned()));
        };
        let bar = Bar::new(None, "changes");
        let target = store::open(&to, Open::Existing).map_err(target_failed)?;
        let report = verify::verify(&*target, &mut |changes| bar.set("replaying the log", changes, None));
        let report = report.map_err(target_failed)?;
        let mut differences = report.differences.clone();
        if verify::digests(&source).map_err(named)? != report.digests {
            differences.push(format!("the inventories in {from} and {to} differ"));
        }
        bar.finish();
        drop(lock);
        if global.json {
            let (partners, numbers, changes) = (report.partners, report.numbers, report.changes);
            output::json(&json!({
                "rows": rows, "partners": partners, "numbers": numbers, "changes": changes, "differences": differences,
            }))?;
        } else {
            for difference in &differences {
                output::line(difference)?;
            }
            output::line(&format!(
                "copied {rows} rows: {} partners, {} numbers, {} changes: {}",
                report.partners,
                report.numbers,
                report.changes,
                if differences.is_empty() {
                    "all agree".to_owned()
                } else {
                    format!("{} differences", differences.len())
                }
            ))?;
        }
        Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Differs })
    }
}
