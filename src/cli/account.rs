//! `rollcall account create | list | rename | archive | restore`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::number::{print, remark};
use super::{CliError, Global, OfPartner, Outcome, confirm, output, parse_name};
use crate::domain::{Account, AccountId, Time};
use crate::inventory::StatusCounts;
use crate::service::verbs::entities::EntityPatch;
use crate::service::{VerbOutcome, WriteOutcome};
use crate::store::Open;
use crate::wire::html::thousands;

#[derive(Subcommand)]
pub enum AccountCommand {
    /// Create a customer account
    Create {
        #[command(flatten)]
        of: OfPartner,
        /// The account's id
        #[arg(long, value_name = "MA_Y")]
        auth_id: AccountId,
        /// The customer's name
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
        /// Show what would change, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Rename an account
    Rename {
        #[command(flatten)]
        one: OneAccount,
        /// The new name
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
    },
    /// Release all numbers of an account, and refuse new ones
    Archive {
        #[command(flatten)]
        one: OneAccount,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Restore an archived account, without its numbers
    Restore(OneAccount),
    /// List a partner's accounts with their numbers
    List {
        #[command(flatten)]
        of: OfPartner,
    },
}

#[derive(Args)]
pub struct OneAccount {
    #[command(flatten)]
    of: OfPartner,
    /// The customer, by id or by name
    #[arg(long, value_name = "ID|NAME")]
    auth_id: String,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl AccountCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            AccountCommand::Create { of, auth_id, name, dry_run } => {
                let service = global.service(Open::Existing)?.dry_run(dry_run);
                let outcome = service.account_new(service.partner_key(&of.partner)?, &auth_id, &name)?;
                let WriteOutcome::Done { shown: VerbOutcome::Account { account, .. }, .. } = outcome else {
                    return Err(CliError::Other("creating an account gave no account".to_owned()));
                };
                if global.json {
                    let created = json!({
                        "account_auth_id": account.auth_id,
                        "account_name": account.name,
                        "created_at": account.created_at,
                    });
                    output::outcome(&created, dry_run)?;
                } else if dry_run {
                    output::line(&format!("would create account {} ({})", account.auth_id, account.name))?;
                    output::note("this was a dry run; nothing was done");
                } else {
                    output::line(&format!("created account {} ({})", account.auth_id, account.name))?;
                    output::note("it has no number yet, so it cannot receive calls");
                }
            }
            AccountCommand::Rename { one, name } => {
                return edit(global, &one, &EntityPatch { name: Some(name), ..EntityPatch::default() });
            }
            AccountCommand::Archive { one, yes } => {
                return archive(global, &one, yes);
            }
            AccountCommand::Restore(one) => {
                return edit(global, &one, &EntityPatch { archived: Some(false), ..EntityPatch::default() });
            }
            AccountCommand::List { of } => {
                let snapshot = global.service(Open::Existing)?.snapshot(&of.partner, true)?;
                let mut accounts: Vec<_> = snapshot.accounts.iter().zip(snapshot.counts(Time::now())).collect();
                accounts.sort_by(|(a, _), (b, _)| a.auth_id.cmp(&b.auth_id));
                if global.json {
                    let one = |(account, counts): &(&crate::domain::Account, StatusCounts)| {
                        json!({
                            "account_auth_id": account.auth_id,
                            "account_name": account.name,
                            "created_at": account.created_at,
                            "numbers": {
                                "total": counts.active + counts.suspended,
                                "active": counts.active,
                                "suspended": counts.suspended,
                            },
                        })
                    };
                    let list: Vec<Value> = accounts.iter().map(one).collect();
                    output::json(&json!({ "data": list }))?;
                } else if accounts.is_empty() {
                    output::note("there are no accounts; create one with `rollcall account create`");
                } else {
                    let row = |(account, counts): &(&crate::domain::Account, StatusCounts)| {
                        vec![
                            account.auth_id.to_string(),
                            account.name.to_string(),
                            thousands(counts.active),
                            thousands(counts.suspended),
                        ]
                    };
                    let rows: Vec<_> = accounts.iter().map(row).collect();
                    output::table(&["AUTH ID", "NAME", "ACTIVE", "SUSPENDED"], &rows)?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}

/// An archived account, and how many numbers it had.
#[derive(serde::Serialize)]
struct ArchivedAccount<'a> {
    #[serde(flatten)]
    account: &'a Account,
    releases: u64,
}

/// Archives an account, whose numbers are released. Refused if it has others than the
/// question said.
fn archive(global: &Global, OneAccount { of, auth_id, dry_run }: &OneAccount, yes: bool) -> Result<Outcome, CliError> {
    let service = global.service(Open::Existing)?.dry_run(*dry_run);
    let (key, snapshot) = (service.partner_key(&of.partner)?, service.snapshot(&of.partner, true)?);
    let id = snapshot.customer(auth_id)?;
    let mut accounts = snapshot.accounts.iter().zip(snapshot.counts(Time::now()));
    let counts = accounts.find(|(account, _)| account.auth_id == id).map(|(_, counts)| counts);
    let releases = counts.map_or(0, |counts| counts.active + counts.suspended);
    let numbers = if releases == 1 { "number" } else { "numbers" };
    confirm(&format!("archive account {id} and release its {releases} {numbers}"), yes || *dry_run)?;
    let outcome = service.account_archive(key, &id, releases)?;
    let WriteOutcome::Done { shown: VerbOutcome::Account { account, .. }, version, .. } = &outcome else {
        return Err(CliError::Other("archiving an account gave no account".to_owned()));
    };
    if global.json {
        output::outcome(&ArchivedAccount { account, releases }, *dry_run)?;
        remark(*dry_run, *version);
        return Ok(Outcome::Done);
    }
    if version.is_some() || *dry_run {
        let verb = if *dry_run { "would be" } else { "were" };
        output::line(&format!("{releases} {numbers} {verb} released"))?;
    }
    print(global, outcome, *dry_run)
}

fn edit(
    global: &Global,
    OneAccount { of, auth_id, dry_run }: &OneAccount,
    changes: &EntityPatch,
) -> Result<Outcome, CliError> {
    let id = global.names(of)?.customer(auth_id)?;
    let service = global.service(Open::Existing)?.dry_run(*dry_run);
    let key = service.partner_key(&of.partner)?;
    print(global, service.account_edit(key, &id, changes)?, *dry_run)
}
