//! `rollcall number routing` and `rollcall application|trunk destination`

use clap::{Args, Subcommand};

use super::{CliError, Global, OfPartner, Outcome, output};
use crate::domain::{Actor, E164, SipUri, Time};
use crate::inventory::Snapshot;
use crate::routing::{Explained, RouteStep, day};
use crate::service::ServiceError;
use crate::service::verbs::entities::DestinationEdit;
use crate::store::Open;

/// Changes where calls go
#[derive(Subcommand)]
pub enum DestinationCommand {
    /// Add a destination, or change its priority and weight
    Add {
        #[command(flatten)]
        at: At,
        /// Lower ones are tried first; 10 if not given
        #[arg(long, value_name = "N")]
        priority: Option<u16>,
        /// Its share of the calls among those of one priority; 10 if not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        weight: Option<u16>,
    },
    /// Remove a destination
    Remove(At),
    /// Switch a destination on
    Enable(At),
    /// Switch a destination off: calls go to the others
    Disable(At),
}

/// A destination of an application or a trunk.
#[derive(Args)]
pub struct At {
    /// The application or trunk: its id, or its name
    #[arg(value_name = "ID|NAME")]
    id: String,
    /// Such as sip:pbx.example, which gets the called number, or sip:ivr@198.51.100.7:5080
    #[arg(value_name = "URI")]
    uri: SipUri,
    #[command(flatten)]
    of: OfPartner,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl DestinationCommand {
    /// The id or name of the application or trunk, its partner, the change, and
    /// whether it is a dry run.
    pub fn edit(self) -> (String, OfPartner, DestinationEdit, bool) {
        let (At { id, uri, of, dry_run }, edit): (At, fn(SipUri) -> DestinationEdit) = match self {
            DestinationCommand::Add { at: At { id, uri, of, dry_run }, priority, weight } => {
                return (id, of, DestinationEdit::Add { uri, priority, weight }, dry_run);
            }
            DestinationCommand::Remove(at) => (at, DestinationEdit::Remove),
            DestinationCommand::Enable(at) => (at, |uri| DestinationEdit::Enable(uri, true)),
            DestinationCommand::Disable(at) => (at, |uri| DestinationEdit::Enable(uri, false)),
        };
        (id, of, edit(uri), dry_run)
    }
}

/// Prints what becomes of a call to a number, step by step.
pub fn explain(global: &Global, number: E164, of: &OfPartner, as_of: Option<Time>) -> Result<Outcome, CliError> {
    let settings = global.settings()?.routing.settings();
    let service = global.service(Open::Existing)?;
    let (snapshot, found) = service.explain_route(&settings, &of.partner, number, as_of)?;
    let explained = found.ok_or_else(|| ServiceError::Unknown { what: "number", id: number.to_string() })?;
    if global.json {
        output::json(&serde_json::json!({ "data": crate::http::routing::shown(&explained, 0, as_of) }))?;
        return Ok(Outcome::Done);
    }
    let Explained { line, routes, steps, .. } = &explained;
    output::line(&format!("{number}  →  {} {} ({})", line.code, line.reason, line.case))?;
    let texts: Vec<String> = steps.iter().map(|step| text(&snapshot, step)).collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    for (step, text) in steps.iter().zip(&texts) {
        let remedy = step.remedy.as_deref().unwrap_or_default();
        let verdict = match (step.ok, step.stops) {
            (true, _) => "ok".to_owned(),
            (false, true) => format!("stops here: {remedy}"),
            (false, false) => format!("would stop here: {remedy}"),
        };
        output::line(&format!("  {:<12}  {text:<width$}  {verdict}", step.step.replace('_', " ")))?;
    }
    for uri in routes {
        output::line(&format!("  goes to       {uri}"))?;
    }
    Ok(Outcome::Done)
}

/// A step with its time and its author, where they tell something.
fn text(snapshot: &Snapshot, step: &RouteStep) -> String {
    let mut text = step.text.clone();
    let timed = matches!(step.step, "held_by" | "partner" | "status");
    if let Some(since) = step.since.filter(|_| timed) {
        text.push_str(&format!(", since {}", day(since)));
    }
    if let Some(by) = step.by.as_deref().filter(|_| !step.ok) {
        text.push_str(&format!(", by {}", who(snapshot, by)));
    }
    text
}

/// Keys are known by their names.
fn who(snapshot: &Snapshot, by: &str) -> String {
    match Actor::parse(by) {
        Some(Actor::Key { id }) => match snapshot.keys.get(id.as_str()) {
            Some(key) => format!("key {}", key.name),
            None => by.to_owned(),
        },
        _ => by.to_owned(),
    }
}
