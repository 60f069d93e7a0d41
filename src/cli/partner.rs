//! `rollcall partner create | list | suspend | resume | billing`

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CliError, Global, Outcome, output, parse_name};
use crate::billing::Period;
use crate::domain::setting::AfterExpiry;
use crate::domain::{self, PartnerId, Time};
use crate::http::json;
use crate::service::verbs::billing::{BillingView, Wish};
use crate::service::{self, VerbOutcome};
use crate::store::Open;

#[derive(Subcommand)]
pub enum PartnerCommand {
    /// Create a partner, and the database if there is none
    Create {
        /// The partner's id, which it sends as X-Auth-ID
        #[arg(long, value_name = "PA_X")]
        auth_id: PartnerId,
        /// The partner's name
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
    },
    /// List all partners
    List,
    /// Suspend a partner: its keys are refused until it is resumed
    Suspend(Named),
    /// Resume a suspended partner
    Resume(Named),
    /// Show or set the billing zone of a partner and the rule for expired numbers, from the next month on
    Billing {
        #[command(flatten)]
        named: Named,
        /// The zone whose days and months are billed, such as Asia/Kolkata
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// charge: an expired number is charged until it is released; stop: until it expires
        #[arg(long, value_parser = parse_after_expiry, value_name = "charge|stop")]
        after_expiry: Option<AfterExpiry>,
    },
}

fn parse_after_expiry(text: &str) -> Result<AfterExpiry, String> {
    AfterExpiry::parse(text).ok_or_else(|| "must be charge or stop".to_owned())
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

impl PartnerCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            PartnerCommand::Create { auth_id, name } => {
                let done = global.service(Open::Create)?.partner_create(auth_id, name)?;
                report(global, &done.value, "created")?;
            }
            PartnerCommand::List => {
                let partners = global.service(Open::Existing)?.partners_listed()?;
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
            PartnerCommand::Suspend(named) => {
                let done = global.service(Open::Existing)?.partner_suspend(&named.id()?, true)?;
                report(global, &done.value, "suspended")?;
            }
            PartnerCommand::Resume(named) => {
                let done = global.service(Open::Existing)?.partner_suspend(&named.id()?, false)?;
                report(global, &done.value, "resumed")?;
            }
            PartnerCommand::Billing { named, zone, after_expiry } => {
                let service = global.service(Open::Existing)?;
                let key = service.partner_key(&named.id()?)?;
                let wish = Wish { zone, after_expiry };
                let view = match wish == Wish::default() {
                    true => BillingView::of(&service.billing_calendar(key)?, Time::now()),
                    false => chosen(service.billing_choose(key, &wish)?)?,
                };
                billing(global, &view)?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn chosen(outcome: service::WriteOutcome) -> Result<BillingView, CliError> {
    match outcome {
        service::WriteOutcome::Done { shown: VerbOutcome::Billing(view), .. } => Ok(*view),
        _ => Err(CliError::Other("the billing setting was not shown".to_owned())),
    }
}

fn billing(global: &Global, view: &BillingView) -> Result<(), CliError> {
    if global.json {
        return output::json(&json::billing(view));
    }
    let said = |period: &Period| {
        let expired = match period.after_expiry {
            AfterExpiry::Charge => "expired numbers are charged until they are given back",
            AfterExpiry::Stop => "numbers are charged until they expire",
        };
        format!("{}: months and days of {}; {expired}", period.month, period.zone)
    };
    output::line(&said(&view.current))?;
    if let Some(next) = &view.next {
        output::line(&format!("{}, from {} on", said(next), next.begins))?;
    }
    Ok(())
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
