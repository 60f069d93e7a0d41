//! `rollcall application …` and `rollcall trunk …`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::number::print;
use super::routing::DestinationCommand;
use super::{CliError, Global, OfPartner, Outcome, output, parse_name};
use crate::domain::{self, AccountId, ApplicationId, Destination, RouteEntity, RouteKind, SipUri, destination};
use crate::service::verbs::entities::{CallTarget, EntityPatch};
use crate::store::Open;

/// The commands of applications, or of trunks.
#[derive(Subcommand)]
pub enum RouteEntityCommand<K: RouteCommands> {
    #[command(about = K::CREATE)]
    Create(K::New),
    #[command(about = K::LIST)]
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Change its destinations
    #[command(subcommand)]
    Destination(DestinationCommand),
    #[command(about = K::RENAME)]
    Rename(Rename),
    /// Archive it: it gets no new numbers and keeps its own
    Archive(OneRoute),
    /// Restore it: it gets new numbers again
    Restore(OneRoute),
}

pub type ApplicationCommand = RouteEntityCommand<Applications>;
pub type TrunkCommand = RouteEntityCommand<Trunks>;

/// What is different about the commands of applications and those of trunks.
pub trait RouteCommands {
    const KIND: RouteKind;
    const CREATE: &str;
    const LIST: &str;
    const RENAME: &str;
    type New: Args + Into<NewApplication>;
}

pub struct Applications;
pub struct Trunks;

impl RouteCommands for Applications {
    const KIND: RouteKind = RouteKind::Application;
    const CREATE: &str = "Create an application";
    const LIST: &str = "List a partner's applications";
    const RENAME: &str = "Rename an application";
    type New = NewApplication;
}

impl RouteCommands for Trunks {
    const KIND: RouteKind = RouteKind::Trunk;
    const CREATE: &str = "Create a trunk";
    const LIST: &str = "List a partner's trunks";
    const RENAME: &str = "Rename a trunk";
    type New = NewRoute;
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
pub struct NewRoute {
    /// Its id, which numbers refer to
    #[arg(value_name = "ID")]
    id: ApplicationId,
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
    new: NewRoute,
    /// An https address that is handed on to readers; Rollcall never calls it
    #[arg(long, value_name = "URL", value_parser = parse_answer_url)]
    answer_url: Option<Arc<str>>,
}

impl From<NewRoute> for NewApplication {
    fn from(new: NewRoute) -> NewApplication {
        NewApplication { new, answer_url: None }
    }
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

impl<K: RouteCommands> RouteEntityCommand<K> {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let (kind, service) = (K::KIND, global.service(Open::Existing)?);
        let edit = |text: &str, of: &OfPartner, changes: &EntityPatch, dry_run: bool| {
            let (id, key) = (named(global, of, kind, text)?, service.partner_key(&of.partner)?);
            print(global, service.clone().dry_run(dry_run).route_edit(key, (kind, &id), changes)?, dry_run)
        };
        match self {
            RouteEntityCommand::Create(new) => {
                let NewApplication { new, answer_url } = new.into();
                let NewRoute { id, of, name, account, destinations, dry_run } = new;
                let calls = calls(destinations, answer_url)?;
                let account = owner(global, &of, account.as_deref())?;
                let key = service.partner_key(&of.partner)?;
                let service = service.dry_run(dry_run);
                let made = service.route_new(key, (kind, id.as_str()), &name, account.as_ref(), &calls)?;
                print(global, made, dry_run)
            }
            RouteEntityCommand::Destination(destinations) => {
                let (text, of, change, dry_run) = destinations.edit();
                let (id, key) = (named(global, &of, kind, &text)?, service.partner_key(&of.partner)?);
                print(global, service.dry_run(dry_run).route_destinations(key, (kind, &id), &change)?, dry_run)
            }
            RouteEntityCommand::Rename(Rename { id, of, name: new, dry_run }) => edit(&id, &of, &name(new), dry_run),
            RouteEntityCommand::Archive(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(true), dry_run),
            RouteEntityCommand::Restore(OneRoute { id, of, dry_run }) => edit(&id, &of, &archive(false), dry_run),
            RouteEntityCommand::List { of } => {
                let snapshot = service.snapshot(&of.partner, false)?;
                let rows = match kind {
                    RouteKind::Application => snapshot.applications.sorted().cloned().map(RouteEntity::from).collect(),
                    RouteKind::Trunk => snapshot.trunks.sorted().cloned().map(RouteEntity::from).collect(),
                };
                list(global, kind, rows)
            }
        }
    }
}

/// The id of an application or a trunk that is named by its id or its name.
fn named(global: &Global, of: &OfPartner, kind: RouteKind, text: &str) -> Result<String, CliError> {
    let names = global.names(of)?;
    Ok(match kind {
        RouteKind::Application => names.application(text)?.to_string(),
        RouteKind::Trunk => names.trunk(text)?.to_string(),
    })
}

fn list(global: &Global, what: RouteKind, rows: Vec<RouteEntity>) -> Result<Outcome, CliError> {
    if global.json {
        let one = |row: &RouteEntity| {
            json!({
                what.id_field(): row.id, "name": row.name, "account_auth_id": row.account,
                "archived_at": row.archived_at, "destinations": row.destinations,
            })
        };
        output::json(&json!({ "data": rows.iter().map(one).collect::<Vec<Value>>() }))?;
    } else if rows.is_empty() {
        output::note(&format!("there is no {what}; create one with `rollcall {what} create`"));
    } else {
        let row = |row: &RouteEntity| {
            let account = row.account.as_ref().map_or("all", |account| account.as_str()).to_owned();
            let archived = row.archived_at.map(|at| at.to_string()).unwrap_or_default();
            vec![row.id.to_string(), row.name.to_string(), account, archived, row.destinations.to_string()]
        };
        output::table(
            &["ID", "NAME", "ACCOUNT", "ARCHIVED", "DESTINATIONS"],
            &rows.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    Ok(Outcome::Done)
}
