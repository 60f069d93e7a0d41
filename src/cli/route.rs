//! `rollcall application …` and `rollcall trunk …`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::number::print;
use super::routing::DestinationCommand;
use super::{CliError, Global, OfPartner, Outcome, output, parse_name};
use crate::domain::{self, AccountId, ApplicationId, Destination, SipUri, Time, TrunkId, destination};
use crate::service::verbs::entities::{CallTarget, EntityPatch};
use crate::store::Open;

#[derive(Subcommand)]
pub enum ApplicationCommand {
    /// Create an application
    Create(NewApplication),
    /// List a partner's applications
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Change its destinations
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Rename an application
    Rename(Rename),
    /// Archive it: it gets no new numbers and keeps its own
    Archive(OneRoute),
    /// Restore it: it gets new numbers again
    Restore(OneRoute),
}

#[derive(Subcommand)]
pub enum TrunkCommand {
    /// Create a trunk
    Create(NewRoute<TrunkId>),
    /// List a partner's trunks
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Change its destinations
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Rename a trunk
    Rename(Rename),
    /// Archive it: it gets no new numbers and keeps its own
    Archive(OneRoute),
    /// Restore it: it gets new numbers again
    Restore(OneRoute),
}

#[derive(Args)]
pub struct OneRoute {
    /// Its id, or its name
    #[arg(value_name = "ID|NAME")]
    id: String,
    #[command(flatten)]
    of: OfPartner,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct NewRoute<T: Id> {
    /// Its id, which numbers refer to
    #[arg(value_name = "ID")]
    id: T,
    #[command(flatten)]
    of: OfPartner,
    /// Its name
    #[arg(long, value_parser = parse_name)]
    name: Arc<str>,
    /// The customer it belongs to, by id or by name; without one it serves all of the partner's
    #[arg(long, value_name = "ID|NAME")]
    account: Option<String>,
    /// Where its calls go, such as sip:pbx.example; may be given more than once, the first is tried first
    #[arg(long = "destination", value_name = "URI")]
    destinations: Vec<SipUri>,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct NewApplication {
    #[command(flatten)]
    new: NewRoute<ApplicationId>,
    /// An https address that is handed on to readers; Rollcall never calls it
    #[arg(long, value_name = "URL", value_parser = parse_answer_url)]
    answer_url: Option<Arc<str>>,
}

fn parse_answer_url(text: &str) -> Result<Arc<str>, String> {
    destination::answer_url(text).map_err(str::to_owned)
}

/// The destinations of something new, each tried when those before it fail.
fn calls(uris: Vec<SipUri>, answer_url: Option<Arc<str>>) -> Result<CallTarget, CliError> {
    let one = |(at, uri): (usize, SipUri)| {
        let priority = destination::PRIORITY.saturating_mul(u16::try_from(at + 1).unwrap_or(u16::MAX));
        Destination { priority, ..Destination::new(uri) }
    };
    let destinations = domain::Destinations::new(uris.into_iter().enumerate().map(one).collect());
    let destinations = destinations.map_err(|error| CliError::Usage(format!("--destination: it {error}")))?;
    Ok(CallTarget { destinations, answer_url })
}

#[derive(Args)]
pub struct Rename {
    /// Its id, or its present name
    #[arg(value_name = "ID|NAME")]
    id: String,
    #[command(flatten)]
    of: OfPartner,
    /// The new name
    #[arg(long, value_parser = parse_name)]
    name: Arc<str>,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What clap needs of an id.
pub trait Id: std::str::FromStr<Err = crate::domain::id::BadId> + Clone + Send + Sync + 'static {}
impl Id for ApplicationId {}
impl Id for TrunkId {}

/// The customer that something new shall belong to.
fn owner(global: &Global, of: &OfPartner, account: Option<&str>) -> Result<Option<AccountId>, CliError> {
    let Some(text) = account else { return Ok(None) };
    Ok(Some(global.names(of)?.customer(text)?))
}

fn archive(archived: bool) -> EntityPatch {
    EntityPatch { archived: Some(archived), ..EntityPatch::default() }
}

fn name(name: Arc<str>) -> EntityPatch {
    EntityPatch { name: Some(name), ..EntityPatch::default() }
}

impl ApplicationCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        let edit = |text: &str, of: &OfPartner, changes: &EntityPatch, dry_run: bool| {
            let id = global.names(of)?.application(text)?;
            let key = service.partner_key(&of.partner)?;
            print(global, service.clone().dry_run(dry_run).application_edit(key, &id, changes)?, dry_run)
        };
        match self {
            ApplicationCommand::Create(NewApplication {
                new: NewRoute { id, of, name, account, destinations, dry_run },
                answer_url,
            }) => {
                let calls = calls(destinations, answer_url)?;
                let account = owner(global, &of, account.as_deref())?;
                let key = service.partner_key(&of.partner)?;
                print(
                    global,
                    service.dry_run(dry_run).application_new(key, &id, &name, account.as_ref(), &calls)?,
                    dry_run,
                )
            }
            ApplicationCommand::Destination(destinations) => {
                let (text, of, change, dry_run) = destinations.edit();
                let id = global.names(&of)?.application(&text)?;
                let key = service.partner_key(&of.partner)?;
                print(global, service.dry_run(dry_run).application_destinations(key, &id, &change)?, dry_run)
            }
            ApplicationCommand::Rename(Rename { id, of, name: new, dry_run }) => edit(&id, &of, &name(new), dry_run),
            ApplicationCommand::Archive(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(true), dry_run),
            ApplicationCommand::Restore(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(false), dry_run),
            ApplicationCommand::List { of } => {
                let snapshot = service.snapshot(&of.partner, false)?;
                let rows = snapshot.applications.sorted();
                list(
                    global,
                    "application",
                    rows.map(|row| (row.id.as_str(), &*row.name, &row.account, row.archived_at, &row.destinations)),
                )
            }
        }
    }
}

impl TrunkCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        let edit = |text: &str, of: &OfPartner, changes: &EntityPatch, dry_run: bool| {
            let id = global.names(of)?.trunk(text)?;
            let key = service.partner_key(&of.partner)?;
            print(global, service.clone().dry_run(dry_run).trunk_edit(key, &id, changes)?, dry_run)
        };
        match self {
            TrunkCommand::Create(NewRoute { id, of, name, account, destinations, dry_run }) => {
                let calls = calls(destinations, None)?;
                let account = owner(global, &of, account.as_deref())?;
                let key = service.partner_key(&of.partner)?;
                print(global, service.dry_run(dry_run).trunk_new(key, &id, &name, account.as_ref(), &calls)?, dry_run)
            }
            TrunkCommand::Destination(destinations) => {
                let (text, of, change, dry_run) = destinations.edit();
                let id = global.names(&of)?.trunk(&text)?;
                let key = service.partner_key(&of.partner)?;
                print(global, service.dry_run(dry_run).trunk_destinations(key, &id, &change)?, dry_run)
            }
            TrunkCommand::Rename(Rename { id, of, name: new, dry_run }) => edit(&id, &of, &name(new), dry_run),
            TrunkCommand::Archive(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(true), dry_run),
            TrunkCommand::Restore(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(false), dry_run),
            TrunkCommand::List { of } => {
                let snapshot = service.snapshot(&of.partner, false)?;
                let rows = snapshot.trunks.sorted();
                list(
                    global,
                    "trunk",
                    rows.map(|row| (row.id.as_str(), &*row.name, &row.account, row.archived_at, &row.destinations)),
                )
            }
        }
    }
}

type Listed<'a> = (&'a str, &'a str, &'a Option<AccountId>, Option<Time>, &'a domain::Destinations);

fn list<'a>(global: &Global, what: &str, rows: impl Iterator<Item = Listed<'a>>) -> Result<Outcome, CliError> {
    let rows: Vec<Listed<'_>> = rows.collect();
    if global.json {
        let id = format!("{what}_id");
        let one = |(row, name, account, archived_at, destinations): &Listed<'_>| {
            json!({
                &*id: row, "name": name, "account_auth_id": account, "archived_at": archived_at,
                "destinations": destinations,
            })
        };
        output::json(&json!({ "data": rows.iter().map(one).collect::<Vec<Value>>() }))?;
    } else if rows.is_empty() {
        output::note(&format!("there is no {what}; create one with `rollcall {what} create`"));
    } else {
        let row = |(id, name, account, archived_at, destinations): &Listed<'_>| {
            let account = account.as_ref().map_or("all", |account| account.as_str()).to_owned();
            let archived = archived_at.map(|at| at.to_string()).unwrap_or_default();
            vec![(*id).to_owned(), (*name).to_owned(), account, archived, destinations.to_string()]
        };
        output::table(
            &["ID", "NAME", "ACCOUNT", "ARCHIVED", "DESTINATIONS"],
            &rows.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    Ok(Outcome::Done)
}
