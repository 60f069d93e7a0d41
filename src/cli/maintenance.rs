//! `rollcall verify`, `rollcall backup`, `rollcall restore`, `rollcall config`

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{self, Bar};
use super::{CliError, Global, Outcome, of_file};
use crate::config;
use crate::service::replica::verify::{self, VerifyReport};
use crate::store::sqlite::{SqliteStore, brought_up, restore};
use crate::store::{Location, Open, Store, StoreError};

#[derive(clap::Args)]
pub struct Verify {
    /// Also compare with the index of the server at this address (on this machine)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Verify {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let store = global.store(Open::Read)?;
        let bar = Bar::new(None, "changes");
        let mut report = verify::verify(&*store, &mut |changes| bar.set("replaying the log", changes, None))?;
        bar.finish();
        if let Some(url) = &self.url {
            compare_live(&*store, url.trim_end_matches('/'), &mut report)?;
        }
        if report.partners == 0 && report.differences.is_empty() {
            refuse_empty(&*store, global)?;
        }
        if global.json {
            output::json(&report)?;
        } else {
            for difference in &report.differences {
                output::line(difference)?;
            }
            let verdict = match report.differences.len() {
                0 => "all agree".to_owned(),
                count => format!("{count} differences"),
            };
            output::line(&format!(
                "{} partners, {} numbers, {} changes: {verdict}",
                report.partners, report.numbers, report.changes
            ))?;
        }
        Ok(if report.differences.is_empty() { Outcome::Done } else { Outcome::Differs })
    }
}

/// Refuses a database without partners and people: where one is expected, its
/// contents are lost.
fn refuse_empty(store: &dyn Store, global: &Global) -> Result<(), CliError> {
    let people = store.read_people(|read| Ok(!read.users(None)?.is_empty()))?;
    if people || !store.heads(true)?.unwrap_or_default().is_empty() {
        return Ok(());
    }
    let database = super::shown(&global.settings()?.database);
    Err(CliError::Other(format!(
        "the database {database} is empty: it has no partners and no people. If it should have some, restore a backup \
         with `rollcall restore`"
    )))
}

/// Compares a server's index with the rows. Both move while others write, so
/// they are compared at the same versions, with a few attempts to meet.
fn compare_live(store: &dyn Store, url: &str, report: &mut VerifyReport) -> Result<(), CliError> {
    const ATTEMPTS: usize = 20;
    for attempt in 1..=ATTEMPTS {
        let live = live_digests(url)?;
        let mut met = live.len() == report.digests.len();
        let mut differences = Vec::new();
        for (partner, version, digest) in &live {
            match report.digests.get(&crate::domain::PartnerKey(*partner)) {
                Some((rows, _)) if rows != version => met = false,
                Some((_, rows)) if rows == digest => {}
                Some(_) => differences.push(format!(
                    "the live index of partner {partner} differs from the rows, both at version {version}"
                )),
                None => met = false,
            }
        }
        if met || attempt == ATTEMPTS {
            report.differences.extend(differences);
            if !met {
                report.differences.push("the live index did not come to the versions of the rows".to_owned());
            }
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
        report.digests = verify::digests(store)?;
    }
    Ok(())
}

fn live_digests(url: &str) -> Result<Vec<(i64, u64, String)>, CliError> {
    let failed = |reason: String| CliError::Other(format!("cannot ask the server at {url}: {reason}"));
    let mut response = ureq::get(format!("{url}/digest")).call().map_err(|error| failed(error.to_string()))?;
    let text = response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let one = |item: &Value| {
        Some((item["partner"].as_i64()?, item["version"].as_u64()?, item["digest"].as_str()?.to_owned()))
    };
    let list = answer["data"].as_array().and_then(|list| list.iter().map(one).collect());
    list.ok_or_else(|| failed("this is not a Rollcall server's answer".to_owned()))
}

#[derive(clap::Args)]
pub struct Backup {
    /// The file to write; it must not exist
    file: PathBuf,
}

impl Backup {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let store = global.store(Open::Existing)?;
        if self.file.exists() {
            return Err(CliError::Other(format!("{} exists; a backup does not overwrite", self.file.display())));
        }
        refuse_empty(&*store, global)?;
        store.backup(&self.file)?;
        let bytes = std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        if global.json {
            output::json(&json!({ "file": self.file, "bytes": bytes }))?;
        } else {
            output::line(&format!("wrote {} ({bytes} bytes)", self.file.display()))?;
        }
        Ok(Outcome::Done)
    }
}

#[derive(clap::Args)]
pub struct Restore {
    /// A file that `rollcall backup` wrote
    file: PathBuf,
}

impl Restore {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let location = global.settings()?.location();
        let Location::Sqlite(path) = &location else {
            return Err(CliError::Usage(
                "restore is for a database that is a file; for PostgreSQL use pg_restore".to_owned(),
            ));
        };
        let file = self.file.display().to_string();
        let named = |error: StoreError| of_file(error, "backup", &self.file);
        let (_copy, backup) = match SqliteStore::open(&self.file, Open::Read) {
            Err(StoreError::Older { .. }) => {
                let (store, copy) = brought_up(&self.file, path).map_err(named)?;
                (Some(copy), store)
            }
            opened => (None, opened.map_err(named)?),
        };
        let bar = Bar::new(None, "changes");
        let mut progress = |changes| bar.set("checking the backup", changes, None);
        let report = verify::verify(&backup, &mut progress).map_err(named)?;
        bar.finish();
        if let Some(first) = report.differences.first() {
            let count = report.differences.len();
            return Err(CliError::Other(format!(
                "the backup {file} does not agree with itself ({count} differences; the first: {first}); nothing was \
                 changed"
            )));
        }
        let Some(restored) = restore(&backup, path)? else {
            return Err(CliError::Other(format!("a server is using {}; stop it first", path.display())));
        };
        let (partners, numbers) = (report.partners, report.numbers);
        if global.json {
            let kept = restored.kept;
            output::json(&json!({ "database": path, "partners": partners, "numbers": numbers, "kept": kept }))?;
            return Ok(Outcome::Done);
        }
        output::line(&format!("restored {} from {file}: {partners} partners, {numbers} numbers", path.display()))?;
        if let Some(kept) = restored.kept {
            output::line(&format!("the database that was there is kept as {}", kept.display()))?;
        }
        Ok(Outcome::Done)
    }
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check the settings that a server would start with
    Check,
    /// Print every setting with its default and its explanation
    Defaults,
}

impl ConfigCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            ConfigCommand::Check => {
                let config = global.settings()?;
                config.http.tls()?;
                super::mail::open(global)?;
                if global.json {
                    output::json(&json!({ "valid": true, "database": config.database.to_string() }))?;
                } else {
                    let file =
                        global.config.as_ref().map_or("the defaults".to_owned(), |path| path.display().to_string());
                    output::line(&format!("{file}: the settings are good; the database is {}", config.database))?;
                }
            }
            ConfigCommand::Defaults => output::print(config::DEFAULTS.as_bytes())?,
        }
        Ok(Outcome::Done)
    }
}
