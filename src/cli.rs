//! The command line: what was typed becomes what was meant, one verb is
//! called, and its result is printed.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done,
//! 1 failed, 2 usage, 3 rows were rejected or something differs, 78 the settings
//! are not usable. Secrets come
//! from files or stdin, never from flags.
//! Deliberately absent: rules about numbers.

mod account;
mod apply;
mod call;
mod check;
mod complete;
mod costs;
mod demo;
mod doctor;
mod export;
mod import;
mod invoice;
mod job;
mod key;
mod list;
mod log;
mod mail;
mod maintenance;
mod mcp;
mod migrate;
mod migrate_schema;
mod number;
mod only_partner;
mod operator;
mod output;
mod partner;
mod past;
mod reference;
mod refusal;
mod route;
mod routing;
mod schedule;
pub mod serve;
mod sync;
mod upstream;
mod user;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

use crate::client::ClientError;
use crate::config::{Config, ConfigError};
use crate::domain::{E164, PartnerId, spelling};
use crate::http::server::CertificateError;
use crate::intake::CallsError;
use crate::inventory::Snapshot;
use crate::inventory::names::Misnamed;
use crate::mail::MailError;
use crate::service::background::mirror::MirrorError;
use crate::service::background::webhooks::Hooks;
use crate::service::people::PeopleError;
use crate::service::verbs::import::ImportError;
use crate::service::{Service, ServiceError};
use crate::store::{self, Location, Open, StoreError};

/// The inventory of phone numbers: which customer has a number, where it routes,
/// what it costs and when it expires.
#[derive(Parser)]
#[command(name = "rollcall", version = crate::BUILD, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, clap::Args)]
pub struct Global {
    /// The database, such as sqlite:rollcall.db or postgres://rollcall@db.example/rollcall
    // Read by us: it may have a password, and what cannot be read is shown.
    #[arg(long, global = true, env = "ROLLCALL_DATABASE", hide_env_values = true)]
    #[arg(value_name = "sqlite:PATH|postgres://…")]
    database: Option<String>,
    /// A file of settings; `rollcall config defaults` prints all of them
    #[arg(long, global = true, env = "ROLLCALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the Partner API
    Serve(serve::Serve),
    /// Create a demo inventory, print how to use it, and serve it
    Demo(demo::Demo),
    /// Create, list, suspend and resume partners
    #[command(subcommand)]
    Partner(partner::PartnerCommand),
    /// Create, list, rename and archive a partner's customer accounts
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Create, list, rename and archive applications, which numbers route to
    #[command(subcommand)]
    Application(route::ApplicationCommand),
    /// Create, list, rename and archive trunks, on which calls arrive
    #[command(subcommand)]
    Trunk(route::TrunkCommand),
    /// Ask a node where a call goes
    #[command(subcommand)]
    Route(call::RouteCommand),
    /// Bring a number into stock, assign it, route it, release it…
    #[command(subcommand)]
    Number(number::NumberCommand),
    /// Apply one verb to many numbers: create, show, cancel and undo jobs
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Undo a change, except for numbers that were changed since
    Undo(number::Undo),
    /// Show the history of a number
    History(past::History),
    /// List the changes of a partner's inventory
    Changes(past::ChangesCommand),
    /// Create, list and revoke a partner's API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Create, list, disable and enable users
    #[command(subcommand)]
    User(user::UserCommand),
    /// Create, list, change, rotate and test webhooks
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Check an inventory: customers without numbers, expiries, active numbers without a route
    Check(check::CheckCommand),
    /// Mirror the inventory of another server into a partner
    Sync(sync::Sync),
    /// Run the checks on a schedule, and send the findings by email
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Test the mail server of the settings
    #[command(subcommand)]
    Mail(mail::Mail),
    /// Read an inventory from a CSV, NDJSON, JSON or .xlsx file, also packed with gzip
    Import(import::Import),
    /// Write a partner's inventory to stdout
    Export(Box<export::Export>),
    /// Show the costs of a month, by account and currency
    Costs(costs::CostsCommand),
    /// Create an invoice of rental and calls for each customer
    Invoice(invoice::Invoices),
    /// Check that the file, the log, the rows and a live index agree
    Verify(maintenance::Verify),
    /// Write a consistent copy of the database while it is in use
    Backup(maintenance::Backup),
    /// Restore a backup; the previous database is kept
    Restore(maintenance::Restore),
    /// Copy a database into PostgreSQL, for several servers
    Migrate(migrate::Migrate),
    /// Bring a PostgreSQL database to the tables of this release, once all nodes are upgraded
    MigrateSchema(migrate_schema::MigrateSchema),
    /// Bring partners, keys, users, routes, webhooks and schedules to what a TOML file says
    Apply(apply::Apply),
    /// Check the settings and what a server needs: disk, clock, database, certificates, mail, webhooks, DNS
    Doctor(doctor::Doctor),
    /// Check or print the settings
    #[command(subcommand)]
    Config(maintenance::ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell that is to read it
        shell: clap_complete::Shell,
    },
    /// Print what may complete the last of some words; completion scripts call it
    #[command(hide = true)]
    Complete(complete::Complete),
    /// Answer programs that speak the Model Context Protocol (MCP), on standard input and output
    Mcp(mcp::Mcp),
    /// Write the man pages of all commands into a folder
    Manpages {
        /// The folder; it must exist
        folder: PathBuf,
    },
    /// Write the documentation as HTML files into a folder, which needs no server
    Manual {
        /// The folder; it is made if it does not exist
        folder: PathBuf,
        /// Write the reference pages of docs/reference instead, as Markdown
        #[arg(long, hide = true)]
        reference: bool,
    },
    /// Print the description of the API
    #[command(hide = true)]
    Openapi,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    Failed,
    Usage,
    /// Rows were rejected, or something differs.
    Differs,
    /// The settings are not usable, so starting again does not help.
    Settings,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Differs => 3,
            // EX_CONFIG of sysexits.h, which service managers know.
            Outcome::Settings => 78,
        })
    }
}

/// Why a command did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The reason has lines that point into the file.
    #[error("the file {} is not usable:\n{reason}", path.display())]
    ApplyFile { path: PathBuf, reason: String },
    /// A setting names something that is not there or cannot be used.
    #[error("{0}")]
    Settings(String),
    /// The store's errors say what happened; this says to which database.
    #[error("the database {}", shown(database))]
    Database {
        database: Location,
        #[source]
        source: StoreError,
    },
    #[error("the mail settings are not usable")]
    Mail(#[source] MailError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    People(PeopleError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Mirror(MirrorError),
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
    /// An option names no customer, application or trunk, or several.
    #[error(transparent)]
    Misnamed(#[from] Misnamed),
    #[error("the call records in {}", path.display())]
    Calls {
        path: PathBuf,
        #[source]
        source: CallsError,
    },
    /// `what` names the thing; the cause follows.
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The reader of our output has gone.
    #[error("the output was closed")]
    Closed,
    #[error("{0}")]
    Other(String),
}

/// A database for a command, which says if its log is missing.
fn opened(location: &Location, open: Open) -> Result<Arc<dyn store::Store>, CliError> {
    if let Some(lost) = store::lost_log(location) {
        output::note(&format!("warning: {lost}"));
    }
    Ok(store::open(location, open)?)
}

/// The errors of a file that an option names, which is to be there: it is not the
/// database of the settings, and a new one would not help.
fn of_file(error: StoreError, what: &str, path: &Path) -> CliError {
    match error {
        StoreError::Missing { .. } => CliError::Other(format!("there is no {what} at {}", path.display())),
        StoreError::Empty { .. } => CliError::Other(format!("{} is empty and no {what}", path.display())),
        error => CliError::from(error).of(Location::Sqlite(path.to_owned())),
    }
}

/// Where a database is, as somebody typed it.
fn location(text: &str) -> Result<Location, CliError> {
    text.parse().map_err(CliError::Usage)
}

/// A file by its path; anything else as it was named.
fn shown(database: &Location) -> String {
    match database {
        Location::Sqlite(path) => path.display().to_string(),
        Location::Postgres(address) => address.to_string(),
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> CliError {
        CliError::Service(error.into())
    }
}

impl From<PeopleError> for CliError {
    fn from(error: PeopleError) -> CliError {
        match error {
            PeopleError::Store(error) => error.into(),
            error => CliError::People(error),
        }
    }
}

impl From<MirrorError> for CliError {
    fn from(error: MirrorError) -> CliError {
        match error {
            MirrorError::Service(error) => CliError::Service(error),
            error => CliError::Mirror(error),
        }
    }
}

impl CliError {
    /// Whether the command line, the settings or what happened is at fault.
    fn outcome(&self) -> Outcome {
        match self {
            CliError::Usage(_) | CliError::ApplyFile { .. } => Outcome::Usage,
            CliError::Config(_)
            | CliError::Certificate(_)
            | CliError::Mail(_)
            | CliError::Settings(_)
            | CliError::Service(ServiceError::Store(StoreError::NoFolder { .. })) => Outcome::Settings,
            _ => Outcome::Failed,
        }
    }

    /// Names the database, if that is what failed and its error does not.
    fn of(self, database: Location) -> CliError {
        match self {
            CliError::Service(ServiceError::Store(source))
            | CliError::Import(ImportError::Service(ServiceError::Store(source))) => match source {
                StoreError::Missing { .. }
                | StoreError::Empty { .. }
                | StoreError::Owner { .. }
                | StoreError::ForeignLog { .. }
                | StoreError::OtherName { .. }
                | StoreError::Older { .. }
                | StoreError::NoFolder { .. }
                | StoreError::Unopened { .. }
                | StoreError::Foreign { .. }
                | StoreError::Newer { .. }
                | StoreError::Unsupported { .. }
                | StoreError::Damaged { .. }
                | StoreError::Exists
                | StoreError::Backup { .. } => CliError::Service(source.into()),
                StoreError::Busy
                | StoreError::Again { .. }
                | StoreError::Full
                | StoreError::Sqlite(_)
                | StoreError::Postgres(_)
                | StoreError::Io(_)
                | StoreError::Corrupt { .. }
                | StoreError::TakenBack { .. }
                | StoreError::Unreachable { .. }
                | StoreError::ReadOnly { .. }
                | StoreError::Unknown { .. }
                | StoreError::Stopped { .. } => CliError::Database { database, source },
            },
            error => error,
        }
    }
}

/// Runs the program with its own arguments.
pub fn run() -> Outcome {
    let cli = match Cli::try_parse().or_else(only_partner::parse) {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let global = cli.global.clone();
    let result = execute(cli).map_err(|error| match global.settings() {
        Ok(settings) => error.of(settings.database),
        Err(_) => error,
    });
    log::flush();
    match result {
        Ok(outcome) => outcome,
        // `rollcall export | head` is not a failure.
        Err(CliError::Closed) => Outcome::Done,
        Err(error) => {
            match &error {
                // The settings are the reader's own, and their errors point into them.
                CliError::Config(_) | CliError::ApplyFile { .. } => {
                    output::notes(&format!("error: {}", output::reasons(&error)))
                }
                error => match refusal::text(error, &refusal::typed()) {
                    Some(text) => output::refusal(&text),
                    None => output::error(error),
                },
            }
            error.outcome()
        }
    }
}

/// Prints why the command line is not usable, or the help that was asked for.
fn refused(error: &clap::Error) -> Outcome {
    match cleaned(error) {
        None => drop(error.print()),
        Some(text) => output::notes(&text),
    }
    if error.use_stderr() { Outcome::Usage } else { Outcome::Done }
}

/// The text of an error that repeats arguments, if these have to be cut or
/// cleaned; otherwise the error can be printed with its colours.
fn cleaned(error: &clap::Error) -> Option<String> {
    let text = error.to_string();
    let safe = output::safe(&text);
    let plain = safe == text && text.lines().all(|line| output::plain(line) == line);
    (error.use_stderr() && !plain).then_some(safe)
}

fn execute(cli: Cli) -> Result<Outcome, CliError> {
    let global = cli.global;
    match cli.command {
        Command::Serve(command) => command.run(&global),
        Command::Demo(command) => command.run(&global),
        Command::Partner(command) => command.run(&global),
        Command::Account(command) => command.run(&global),
        Command::Application(command) => command.run(&global),
        Command::Trunk(command) => command.run(&global),
        Command::Number(command) => command.run(&global),
        Command::Route(command) => command.run(&global),
        Command::Job(command) => command.run(&global),
        Command::Undo(command) => command.run(&global),
        Command::History(command) => command.run(&global),
        Command::Changes(command) => command.run(&global),
        Command::Key(command) => command.run(&global),
        Command::User(command) => command.run(&global),
        Command::Webhook(command) => command.run(&global),
        Command::Check(command) => command.run(&global),
        Command::Sync(command) => command.run(&global),
        Command::Schedule(command) => command.run(&global),
        Command::Mail(command) => command.run(&global),
        Command::Import(command) => command.run(&global),
        Command::Export(command) => command.run(&global),
        Command::Costs(command) => command.run(&global),
        Command::Invoice(command) => command.run(&global),
        Command::Verify(command) => command.run(&global),
        Command::Backup(command) => command.run(&global),
        Command::Restore(command) => command.run(&global),
        Command::Migrate(command) => command.run(&global),
        Command::MigrateSchema(command) => command.run(&global),
        Command::Apply(command) => command.run(&global),
        Command::Doctor(command) => command.run(&global),
        Command::Config(command) => command.run(&global),
        Command::Completions { shell } => {
            output::print(&complete::script(shell))?;
            Ok(Outcome::Done)
        }
        Command::Complete(command) => {
            output::print(command.text().as_bytes())?;
            Ok(Outcome::Done)
        }
        Command::Mcp(command) => command.run(&global),
        Command::Manpages { folder } => {
            let written = clap_mangen::generate_to(Cli::command(), &folder);
            let what = format!("cannot write the man pages into {}", folder.display());
            written.map_err(|source| CliError::Io { what, source })?;
            Ok(Outcome::Done)
        }
        Command::Manual { folder, reference } => {
            let written = if reference { reference_pages(&folder) } else { manual(&folder) };
            written
                .map_err(|source| CliError::Io { what: format!("cannot write into {}", folder.display()), source })?;
            Ok(Outcome::Done)
        }
        Command::Openapi => {
            output::print(crate::http::openapi::text().as_bytes())?;
            Ok(Outcome::Done)
        }
    }
}

fn reference_pages(folder: &std::path::Path) -> std::io::Result<()> {
    let write = |(name, text): &(&str, String)| std::fs::write(folder.join(format!("{name}.md")), text);
    reference::pages().iter().try_for_each(write)
}

/// Writes the guide as files that link to each other.
fn manual(folder: &std::path::Path) -> std::io::Result<()> {
    use crate::http::docs::guide::{IMAGES, Site, all, names, page_of, search_page, style_sheet};
    std::fs::create_dir_all(folder.join("images"))?;
    for (name, image) in IMAGES {
        std::fs::write(folder.join("images").join(name), image)?;
    }
    std::fs::write(folder.join("search.html"), search_page())?;
    for name in names() {
        std::fs::write(folder.join(format!("{name}.html")), page_of(Site::Files, name).unwrap_or_default())?;
    }
    std::fs::write(folder.join("index.html"), page_of(Site::Files, "").unwrap_or_default())?;
    std::fs::write(folder.join("all.html"), all(Site::Files))?;
    std::fs::write(folder.join("style.css"), style_sheet())
}

impl Global {
    /// The settings, with flags and environment laid over them.
    fn settings(&self) -> Result<Config, CliError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(database) = &self.database {
            config.database = location(database)?;
        }
        Ok(config)
    }

    fn store(&self, open: Open) -> Result<Arc<dyn store::Store>, CliError> {
        opened(&self.settings()?.location(), open)
    }

    /// What options may name: a partner's customers, applications and trunks.
    fn names(&self, of: &OfPartner) -> Result<Snapshot, CliError> {
        Ok(self.service(Open::Existing)?.snapshot(&of.partner, false)?)
    }

    /// The verbs, over the database that the flags name.
    fn service(&self, open: Open) -> Result<Service, CliError> {
        let settings = self.settings()?;
        let store = opened(&settings.location(), open)?;
        Ok(Service::new(store, operator::actor(&settings.location()))
            .quarantine(settings.quarantine.policy())
            .destinations(settings.destinations())
            .batch_rows(settings.jobs.batch_rows.into())
            .hooks(Hooks::new(crate::http::webhooks::settings(&settings))))
    }
}

/// `--partner PA_X`, on every command about one partner.
#[derive(clap::Args)]
struct OfPartner {
    /// The partner's id; not needed where there is one partner only
    #[arg(long, env = "ROLLCALL_PARTNER", value_name = "PA_X", hide_env_values = true)]
    partner: PartnerId,
}

/// Asks before something that is hard to take back; without a terminal to ask
/// on, `--yes` must have answered.
fn confirm(what: &str, yes: bool) -> Result<(), CliError> {
    use std::io::{BufRead, IsTerminal};
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(format!("this would {what}; say --yes to do it without being asked")));
    }
    output::prompt(&format!("{what}? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(CliError::Other("nothing was done".to_owned())),
    }
}

/// A number that is there, in any spelling.
fn parse_number(text: &str) -> Result<E164, String> {
    spelling::one(text).map_err(|error| error.to_string())
}

/// A name as people give it.
fn parse_name(text: &str) -> Result<Arc<str>, String> {
    use crate::domain::entity::{NAME_CHARS_MAX, name};
    name(text).ok_or_else(|| format!("must be 1 to {NAME_CHARS_MAX} characters without control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, path: &[String], see: &mut dyn FnMut(Vec<String>)) {
        for argument in command.get_arguments().filter(|one| one.get_action().takes_values()) {
            let name = argument.get_long().map(|long| format!("--{long}"));
            see(path.iter().cloned().chain(name).collect());
        }
        for below in command.get_subcommands() {
            walk(below, &[path, &[below.get_name().to_owned()]].concat(), see);
        }
    }

    /// Every option and argument of every command.
    #[test]
    fn errors_of_arguments_are_bounded_and_repeat_no_password() {
        let hostile = [
            format!("\u{1b}[2J\u{202e}{}", "x".repeat(20_000)),
            format!("a {}", "b ".repeat(10_000)),
            "https://user:hunter2@host.example/a".to_owned(),
        ];
        let (mut places, mut errors) = (Vec::new(), 0);
        let mut command = Cli::command();
        walk(&command, &["rollcall".to_owned()], &mut |place| places.push(place));
        for place in &places {
            for value in &hostile {
                let line = place.iter().chain([value]);
                let Err(error) = command.try_get_matches_from_mut(line) else { continue };
                let text = cleaned(&error).unwrap_or_else(|| error.to_string());
                assert!(text.chars().count() <= output::ERROR_CHARS_MAX + 1, "{place:?}: {} bytes", text.len());
                assert!(!text.contains("hunter2"), "{place:?}: {text}");
                errors += 1;
            }
        }
        assert!(errors > places.len(), "{errors} errors of {} places", places.len());
    }
}
