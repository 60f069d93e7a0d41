//! `rollcall partner create | list | suspend | resume`

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CliError, Global, Outcome, output, parse_name};
use crate::domain::{self, PartnerId};
use crate::store::Open;

#[derive(Subcommand)]
pub enum Partner {
    /// Create a partner, and the database if there is none
    Create {
        /// The partner's id, which it sends as X-Auth-ID
        #[arg(long, value_name = "PA_X")]
        auth_id: PartnerId,
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
    },
    /// List all partners
    List,
    /// Suspend a partner: its keys open nothing until it is resumed
    Suspend(Named),
    /// Resume a suspended partner
    Resume(Named),
}

/// A partner, named with or without the flag.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Named {
    /// The partner's id
    #[arg(value_name = "PA_X")]
    partner: Option<PartnerId>,
    #[arg(long, value_name = "PA_X", visible_alias = "partner", hide = true)]
    auth_id: Option<PartnerId>,
}

impl Named {
    fn id(self) -> Result<PartnerId, CliError> {
        self.partner.or(self.auth_id).ok_or_else(|| CliError::Usage("name the partner".to_owned()))
    }
}

impl Partner {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            Partner::Create { auth_id, name } => {
                let done = global.service(Open::Create)?.partner_create(auth_id, name)?;
                report(global, &done.value, "created")?;
            }
            Partner::List => {
                let partners = global.service(Open::Existing)?.partners()?;
                if global.json {
                    let list: Vec<Value> = partners.iter().map(|(_, _, partner)| shown(partner)).collect();
                    output::json(&json!({ "data": list }))?;
                } else if partners.is_empty() {
                    output::note("there are no partners; create one with `rollcall partner create`");
                } else {
                    let row = |(_, version, partner): &(_, u64, domain::Partner)| {
                        vec![
                            partner.auth_id.to_string(),
                            partner.name.to_string(),
                            partner.created_at.to_string(),
                            partner.suspended_at.map_or("active".to_owned(), |since| format!("suspended {since}")),
                            version.to_string(),
                        ]
                    };
                    let rows: Vec<_> = partners.iter().map(row).collect();
                    output::table(&["AUTH ID", "NAME", "CREATED", "STATUS", "VERSION"], &rows)?;
                }
            }
            Partner::Suspend(named) => {
                let done = global.service(Open::Existing)?.partner_suspend(&named.id()?, true)?;
                report(global, &done.value, "suspended")?;
            }
            Partner::Resume(named) => {
                let done = global.service(Open::Existing)?.partner_suspend(&named.id()?, false)?;
                report(global, &done.value, "resumed")?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn shown(partner: &domain::Partner) -> Value {
    json!({
        "auth_id": partner.auth_id,
        "name": partner.name,
        "created_at": partner.created_at,
        "suspended_at": partner.suspended_at,
    })
}

fn report(global: &Global, partner: &domain::Partner, done: &str) -> Result<(), CliError> {
    if global.json {
        output::json(&shown(partner))
    } else {
        output::line(&format!("{done} partner {} ({})", partner.auth_id, partner.name))
    }
}
