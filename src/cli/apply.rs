//! `rollcall apply FILE`: brings partners, accounts, applications, trunks, keys,
//! webhooks, schedules and users to the state that a TOML file declares.
//!
//! What always holds: every change is a verb of the service, as the other
//! commands call it; the whole file is rehearsed first ([`Rehearsal`]), and a
//! file that the rules refuse changes nothing; applying a file twice changes
//! nothing the second time; what the file does not name stays as it is. Each
//! verb is one transaction, so a database that fails in between leaves whole
//! changes, and a second run does the rest.
//! Exit codes: 0 done, or nothing to do; 3 with --dry-run, if it would change
//! something.
//! Deliberately absent: numbers (`rollcall import`), and secrets in the file.

mod file;
mod rehearsal;
mod steps;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use self::file::ApplyFile;
use self::rehearsal::Rehearsal;
use self::steps::{SecretFiles, Steps};
use super::{CliError, Global, Outcome, operator, output};
use crate::config::Config;
use crate::http;
use crate::service::Service;
use crate::service::background::webhooks::Hooks;
use crate::service::people::{self, People};
use crate::store::{self, Open, Store, StoreError};

#[derive(clap::Args)]
pub struct Apply {
    /// A TOML file; docs/apply.md explains it
    file: PathBuf,
    /// Show the changes and change nothing; exit code 3 if there are changes
    #[arg(long)]
    dry_run: bool,
}

/// One change.
#[derive(Clone, Debug, Serialize)]
struct ApplyChange {
    action: StepKind,
    kind: &'static str,
    /// The id, or the name that the file has.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<String>,
    fields: Vec<FieldDifference>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum StepKind {
    Create,
    Change,
    Remove,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct FieldDifference {
    field: &'static str,
    before: Value,
    after: Value,
}

impl Apply {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let file = ApplyFile::read(&self.file)?;
        let config = global.settings()?;
        let existing = match store::open(&config.location(), Open::Existing) {
            Ok(store) => Some(service(&config, store)),
            Err(StoreError::Missing { .. } | StoreError::Empty { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let rehearsal = Rehearsal::of(existing.as_ref())?;
        let rehearsed = steps(&config, service(&config, rehearsal.store.clone()), SecretFiles::Checked)?.all(&file);
        // The store's errors would name the temporary database.
        let changes = rehearsed.map_err(|error| match error {
            CliError::Service(crate::service::ServiceError::Store(error)) => {
                CliError::Other(format!("the rehearsal failed, and nothing was changed: {}", output::reasons(&error)))
            }
            error => error,
        })?;
        if self.dry_run {
            report(global, &changes, true)?;
            return Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Differs });
        }
        let real = match existing {
            Some(real) => real,
            None => service(&config, store::open(&config.location(), Open::Create)?),
        };
        let mut steps = steps(&config, real, SecretFiles::Written)?;
        let done = steps.all(&file);
        match done {
            Ok(changes) => report(global, &changes, false)?,
            Err(error) => {
                report(global, &steps.changes, false)?;
                output::note(
                    "the changes above were made, and the others were not; correct the cause and run it again",
                );
                return Err(error);
            }
        }
        Ok(Outcome::Done)
    }
}

fn service(config: &Config, store: Arc<dyn Store>) -> Service {
    Service::new(store, operator::actor(&config.location()))
        .quarantine(config.quarantine.policy())
        .destinations(config.destinations())
        .hooks(Hooks::new(http::webhooks::settings(config)))
}

fn steps(config: &Config, service: Service, secrets: SecretFiles) -> Result<Steps, CliError> {
    let people = People::new(service.store().clone(), people::SignInSettings::default());
    let base = config.console.base(config.http.listen, config.http.tls()?.is_some());
    Ok(Steps::new(service, people, base, secrets))
}

fn report(global: &Global, changes: &[ApplyChange], dry_run: bool) -> Result<(), CliError> {
    if global.json {
        return output::json(&serde_json::json!({ "dry_run": dry_run, "changes": changes }));
    }
    for ApplyChange { action, kind, name, partner, fields } in changes {
        let sign = match action {
            StepKind::Create => '+',
            StepKind::Change => '~',
            StepKind::Remove => '-',
        };
        let of = partner.as_ref().map_or(String::new(), |partner| format!(" of {partner}"));
        output::line(&format!("{sign} {kind} {name}{of}"))?;
        for FieldDifference { field, before, after } in fields {
            match before {
                Value::Null => output::line(&format!("    {field}: {}", shown(after)))?,
                before => output::line(&format!("    {field}: {} → {}", shown(before), shown(after)))?,
            }
        }
    }
    let count = changes.len();
    output::line(&match (count, dry_run) {
        (0, _) => "nothing to change".to_owned(),
        (_, true) => format!("{count} changes would be made"),
        (_, false) => format!("{count} changes made"),
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    }
}
