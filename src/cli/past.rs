//! `rollcall history +91…` and `rollcall changes`

use super::output;
use super::{CliError, Global, OfPartner, Outcome};
use crate::domain::{E164, summary};
use crate::service::ServiceError;
use crate::service::past::{LogEntry, LoggedChange, Past};
use crate::store::Open;
use crate::wire::past::{self as wire, EntryHead, ListedChange};

/// How many numbers of a change are shown.
const NUMBERS_MAX: usize = 100;

#[derive(clap::Args)]
pub struct History {
    /// The number in E.164, such as +912271264217
    #[arg(value_parser = super::parse_number)]
    number: E164,
    #[command(flatten)]
    of: OfPartner,
}

#[derive(clap::Args)]
pub struct ChangesCommand {
    #[command(flatten)]
    of: OfPartner,
    /// Only changes after this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    after: u64,
    /// The highest number of changes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

impl History {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        let key = service.partner_key(&self.of.partner)?;
        let past = service.store().history(key, self.number)?;
        if past.is_empty() {
            // Gone or never there: a retired number has a history.
            return Err(ServiceError::Unknown { what: "number", id: self.number.to_string() }.into());
        }
        if global.json {
            let mut out = b"{\"data\":[".to_vec();
            for (at, Past { version, entry, change }) in past.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                wire::history_entry(&mut out, head(*version, entry), change);
            }
            out.extend_from_slice(b"]}\n");
            output::print(&out)?;
        } else {
            let row =
                |Past { version, entry, change }: &Past| cells(*version, entry, summary::number(change, entry.at));
            output::table(&HEADINGS, &past.iter().map(row).collect::<Vec<_>>())?;
        }
        Ok(Outcome::Done)
    }
}

impl ChangesCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        let (key, version, _) = service.partner_named(&self.of.partner)?;
        let numbers = if global.json { NUMBERS_MAX } else { 1 };
        let list = service.store().list(key, self.after, self.limit.into(), 0, numbers)?;
        let last = list.last().map_or(version, |change| change.version);
        // One that came since the version was read is not "more".
        let more = last < version;
        if global.json {
            let mut out = b"{\"data\":[".to_vec();
            for (at, change) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let LoggedChange { version, entry, entities, numbers, total } = change;
                let head = head(*version, entry);
                let entities_total = entities.len() as u64;
                wire::change(&mut out, ListedChange { head, entities_total, entities, numbers_total: *total, numbers });
            }
            let next = if more { last.to_string() } else { "null".to_owned() };
            let version = version.max(last);
            out.extend_from_slice(format!("],\"meta\":{{\"version\":{version},\"next_after\":{next}}}}}\n").as_bytes());
            output::print(&out)?;
        } else if list.is_empty() {
            output::note(&format!("nothing came after version {}; the last one is {version}", self.after));
        } else {
            let rows: Vec<_> = list.iter().map(|change| cells(change.version, &change.entry, what(change))).collect();
            output::table(&HEADINGS, &rows)?;
            if more {
                output::note(&format!("there is more; go on with --after {last}"));
            }
        }
        Ok(Outcome::Done)
    }
}

const HEADINGS: [&str; 5] = ["VERSION", "AT", "VERB", "BY", "WHAT"];

fn cells(version: u64, entry: &LogEntry, what: String) -> Vec<String> {
    vec![version.to_string(), entry.at.to_string(), entry.verb.to_string(), entry.actor.to_string(), what]
}

/// A change in a line: what it did to entities, and to the first number.
fn what(change: &LoggedChange) -> String {
    let mut said: Vec<String> = Vec::new();
    if let Some(first) = change.entities.first() {
        said.push(summary::entity(first));
    }
    if change.entities.len() > 1 {
        said.push(format!("and {} more of accounts, applications, trunks and keys", change.entities.len() - 1));
    }
    if let Some(first) = change.numbers.first() {
        said.push(format!("{} {}", first.number, summary::number(first, change.entry.at)));
    }
    if change.total > 1 {
        said.push(format!("and {} more numbers", change.total - 1));
    }
    said.join("; ")
}

fn head(version: u64, entry: &LogEntry) -> EntryHead<'_> {
    EntryHead { version, at: entry.at, verb: entry.verb, actor: &entry.actor, request_id: entry.request_id.as_deref() }
}
