//! `rollcall schedule create | list | show | edit | remove | run | next`

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgAction, Subcommand};
use serde_json::{Value, json};

use super::check::parse_span;
use super::{CliError, Global, OfPartner, Outcome, mail, output, parse_name};
use crate::domain::setting::ReportPolicy;
use crate::domain::{PartnerKey, Time};
use crate::http::json::{email_delivery, next_runs, schedule as shown};
use crate::schedule::{UTC, WEEKLY};
use crate::service::background::schedules::{
    EmailDelivery, RunStep, SchedulePatch, ScheduleView, Sending, preview, runner,
};
use crate::service::{self, Service, VerbOutcome};
use crate::store::Open;

/// How long a command waits for letters that a server is sending.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub enum ScheduleCommand {
    /// Create a schedule that runs the checks: weekly by default
    Create {
        #[command(flatten)]
        of: OfPartner,
        /// The schedule's name
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
        #[command(flatten)]
        choice: ScheduleOptions,
    },
    /// List a partner's schedules
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Show a schedule, its next three runs and the delivery of its last emails
    Show {
        #[command(flatten)]
        of: OfPartner,
        /// The schedule's id, as `schedule list` shows it
        #[arg(value_name = "SCHEDULE")]
        id: String,
    },
    /// Change a schedule, or switch it off and on
    Edit {
        #[command(flatten)]
        of: OfPartner,
        /// The schedule's id, as `schedule list` shows it
        #[arg(value_name = "SCHEDULE")]
        id: String,
        /// The new name
        #[arg(long, value_parser = parse_name)]
        name: Option<Arc<str>>,
        #[command(flatten)]
        choice: ScheduleOptions,
        /// Remove all recipients
        #[arg(long, conflicts_with = "to")]
        to_nobody: bool,
        /// Run all checks
        #[arg(long, conflicts_with = "checks")]
        all_checks: bool,
        /// Switch it off
        #[arg(long)]
        off: bool,
        /// Switch it on
        #[arg(long, conflicts_with = "off")]
        on: bool,
    },
    /// Remove a schedule permanently
    Remove {
        #[command(flatten)]
        of: OfPartner,
        /// The schedule's id, as `schedule list` shows it
        #[arg(value_name = "SCHEDULE")]
        id: String,
    },
    /// Run the checks and send the report now, from this process
    Run {
        #[command(flatten)]
        of: OfPartner,
        /// The schedule's id, as `schedule list` shows it
        #[arg(value_name = "SCHEDULE")]
        id: String,
    },
    /// Show the next runs of a cron expression
    Next {
        /// Minute, hour, day of the month, month, day of the week
        #[arg(default_value = WEEKLY)]
        cron: String,
        /// The zone whose clocks it goes by, such as Asia/Kolkata
        #[arg(long, default_value = UTC)]
        zone: String,
    },
}

#[derive(clap::Args)]
pub struct ScheduleOptions {
    /// Minute, hour, day of the month, month, day of the week; Mondays at nine by default
    #[arg(long, value_name = "FIELDS")]
    cron: Option<String>,
    /// The zone of these, such as Europe/Berlin; UTC if not given
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// An email recipient; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    to: Vec<String>,
    /// Run only this check; may be repeated
    #[arg(long = "check", value_name = "CHECK", value_delimiter = ',')]
    checks: Vec<String>,
    /// How far ahead expiries are reported; 14d by default
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    within: Option<i64>,
    /// Whether a report is sent without findings: findings, always
    #[arg(long, value_parser = parse_report, value_name = "findings|always")]
    report: Option<ReportPolicy>,
    /// Whether alerts of new findings are sent between reports
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    alerts: Option<bool>,
}

fn parse_report(text: &str) -> Result<ReportPolicy, String> {
    ReportPolicy::parse(text).ok_or_else(|| "must be findings or always".to_owned())
}

impl ScheduleOptions {
    fn wanted(self, name: Option<Arc<str>>) -> SchedulePatch {
        let given = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let ScheduleOptions { cron, zone, to, checks, within, report, alerts } = self;
        SchedulePatch {
            name,
            cron,
            zone,
            recipients: given(to),
            checks: given(checks),
            within,
            report,
            alerts,
            off: None,
        }
    }
}

impl ScheduleCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let open = |of: &OfPartner| -> Result<(Service, PartnerKey), CliError> {
            let service = global.service(Open::Existing)?;
            let key = service.partner_key(&of.partner)?;
            Ok((service, key))
        };
        match self {
            ScheduleCommand::Create { of, name, choice } => {
                let (service, key) = open(&of)?;
                let view = view(service.schedule_create(key, &choice.wanted(Some(name)))?)?;
                print(global, &view, "created")?;
                let mail = global.settings()?.mail;
                if !view.schedule.recipients.is_empty() && mail.host.is_empty() {
                    output::note("no mail server is set up yet, so nothing can be sent; see [mail] in the settings");
                }
            }
            ScheduleCommand::List { of } => {
                let (service, key) = open(&of)?;
                let all = service.schedules(key, Time::now())?;
                if global.json {
                    let rows: Vec<Value> = all.iter().map(|view| shown(view, false)).collect();
                    output::json(&json!({ "data": rows }))?;
                } else if all.is_empty() {
                    output::note("there are no schedules; create one with `rollcall schedule create`");
                } else {
                    let row = |view: &ScheduleView| {
                        let schedule = &view.schedule;
                        let next = view.next_runs.first().map_or("off".to_owned(), |(_, local)| local.clone());
                        let to = schedule.recipients.len().to_string();
                        let (name, cron, zone) = (&schedule.name, &schedule.cron, &schedule.zone);
                        vec![view.id.to_string(), name.to_string(), cron.to_string(), zone.to_string(), next, to]
                    };
                    let rows: Vec<_> = all.iter().map(row).collect();
                    output::table(&["ID", "NAME", "CRON", "ZONE", "NEXT RUN", "RECIPIENTS"], &rows)?;
                }
            }
            ScheduleCommand::Show { of, id } => {
                let (service, key) = open(&of)?;
                let view = service.schedule(key, &id, Time::now())?;
                if global.json {
                    output::json(&shown(&view, true))?;
                } else {
                    print(global, &view, "is")?;
                    view.runs.iter().try_for_each(letters)?;
                }
            }
            ScheduleCommand::Edit { of, id, name, choice, to_nobody, all_checks, off, on } => {
                let mut wanted = choice.wanted(name);
                if to_nobody {
                    wanted.recipients = Some(Vec::new());
                }
                if all_checks {
                    wanted.checks = Some(Vec::new());
                }
                wanted.off = (off || on).then_some(off);
                if wanted == SchedulePatch::default() {
                    return Err(CliError::Usage("say what shall be different".to_owned()));
                }
                let (service, key) = open(&of)?;
                print(global, &view(service.schedule_edit(key, &id, &wanted)?)?, "is now")?;
            }
            ScheduleCommand::Remove { of, id } => {
                let (service, key) = open(&of)?;
                let view = view(service.schedule_remove(key, &id)?)?;
                match global.json {
                    true => output::json(&shown(&view, false))?,
                    false => output::line(&format!("removed schedule {} ({})", view.id, view.schedule.name))?,
                }
            }
            ScheduleCommand::Run { of, id } => {
                let (service, key) = open(&of)?;
                return run(global, &service, key, &id);
            }
            ScheduleCommand::Next { cron, zone } => {
                let (plan, runs) = preview(&cron, &zone, Time::now())?;
                if global.json {
                    output::json(&json!({ "cron": cron, "zone": plan.zone(), "next_runs": next_runs(&runs) }))?;
                } else {
                    for (at, local) in runs {
                        output::line(&format!("{local}  {at}"))?;
                    }
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn view(outcome: service::WriteOutcome) -> Result<ScheduleView, CliError> {
    match outcome {
        service::WriteOutcome::Done { shown: VerbOutcome::Schedule { view, .. }, .. } => Ok(*view),
        _ => Err(CliError::Other("the schedule was not shown".to_owned())),
    }
}

fn print(global: &Global, view: &ScheduleView, verb: &str) -> Result<(), CliError> {
    if global.json {
        return output::json(&shown(view, false));
    }
    let schedule = &view.schedule;
    output::line(&format!("schedule {} {verb} {:?}: {} in {}", view.id, schedule.name, schedule.cron, schedule.zone))?;
    let list = |all: &[Arc<str>], none: &str| match all.is_empty() {
        true => none.to_owned(),
        false => all.join(", "),
    };
    output::line(&format!("  looks for  {}", list(&schedule.checks, "everything")))?;
    output::line(&format!("  writes to  {}", list(&schedule.recipients, "nobody")))?;
    if let Some(off) = &schedule.off {
        output::line(&format!("  off since  {}: {}", off.at, off.reason))?;
    }
    for (at, (moment, local)) in view.next_runs.iter().enumerate() {
        output::line(&format!("  {}  {local}  ({moment})", if at == 0 { "next runs" } else { "         " }))?;
    }
    if let Some(ran) = view.state.as_ref().and_then(|state| state.last.as_ref()) {
        let told = if ran.told { "told" } else { "nothing to tell" };
        let text = format!("{} ({}): {} findings, {} new, {told}", ran.at, ran.why, ran.findings, ran.news);
        output::line(&format!("  last run   {text}"))?;
    }
    Ok(())
}

/// How the letters of a run went.
fn letters(delivery: &EmailDelivery) -> Result<(), CliError> {
    output::line(&format!("emails of {} ({}):", delivery.ran.at, delivery.ran.why))?;
    let row = |one: &crate::service::background::schedules::Recipient| {
        let next = one.next.map(|next| format!("again at {next}"));
        let error = one.error.clone().unwrap_or_default();
        vec![format!("  {}", one.to), one.state.to_string(), next.unwrap_or_default(), error]
    };
    let rows: Vec<_> = delivery.recipients.iter().map(row).collect();
    output::table(&["  TO", "STATE", "NEXT", "WHY"], &rows)
}

/// Makes the report and sends its letters; what cannot be sent now is left to
/// a server.
fn run(global: &Global, service: &Service, key: PartnerKey, id: &str) -> Result<Outcome, CliError> {
    let mailer = mail::open(global)?;
    let mut tries = 0;
    let (ran, delivery_id) = loop {
        match service.schedule_step(key, id, Time::now(), true)? {
            RunStep::Told { ran, delivery } => break (Some(ran), delivery),
            RunStep::Quiet => break (None, None),
            RunStep::Idle => return Err(service::ServiceError::Unknown { what: "schedule", id: id.to_owned() }.into()),
            RunStep::Elsewhere if tries < 10 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(300));
            }
            RunStep::Elsewhere => {
                return Err(CliError::Other(format!("schedule {id} is being run by another process; try again")));
            }
        }
    };
    let Some(ran) = ran else {
        output::note("the partner is suspended, so no emails are sent");
        return Ok(Outcome::Done);
    };
    let mut sent = None;
    if let Some(delivery_id) = &delivery_id {
        if mailer.is_none() {
            output::note("these settings name no mail server; a server with one sends the emails");
        }
        let asked = Instant::now();
        loop {
            if mailer.is_some() {
                runner::letters_of(service, mailer.as_ref(), key, delivery_id, Time::now())?;
            }
            sent = service.delivery(key, delivery_id)?;
            // A server beside this may be at one of them.
            let untried = sent.iter().flat_map(|sent| &sent.recipients).any(|one| one.attempts == 0);
            if !untried || mailer.is_none() || asked.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let complete = sent.iter().flat_map(|sent| &sent.recipients).all(|one| one.state == Sending::Sent);
    match (&sent, global.json) {
        (Some(sent), true) => output::json(&email_delivery(sent))?,
        (None, true) => {
            output::json(&json!({ "at": ran.at, "findings": ran.findings, "new": ran.news, "recipients": [] }))?
        }
        (sent, false) => {
            output::line(&format!("{} findings, {} of them new", ran.findings, ran.news))?;
            match sent {
                Some(sent) => letters(sent)?,
                None => output::note("it writes to nobody; give it recipients with `rollcall schedule edit --to`"),
            }
        }
    }
    Ok(if complete { Outcome::Done } else { Outcome::Differs })
}
