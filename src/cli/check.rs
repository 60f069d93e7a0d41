//! `rollcall check`: what is wrong, fit for cron and CI.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{CliError, Global, OfPartner, Outcome, output};
use crate::checks::{Check as Kind, Options};
use crate::domain::{AccountId, Time};
use crate::http::checks::{shown, span};
use crate::service::checks::{Seen, findings};
use crate::store::Open;

/// Exits with 0 if nothing is found, 3 if something is, 1 if it could not look.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    of: OfPartner,
    /// Look for this only; may be given more than once
    #[arg(long = "check", value_parser = parse_check, value_name = "CHECK")]
    checks: Vec<Kind>,
    /// Only what is about this account
    #[arg(long, value_name = "MA_Y")]
    account: Option<AccountId>,
    /// How far ahead expiries are seen
    #[arg(long, value_parser = parse_span, default_value = "14d", value_name = "SPAN")]
    within: i64,
    /// How long a number may be suspended
    #[arg(long, value_parser = parse_span, default_value = "30d", value_name = "SPAN")]
    suspended_for: i64,
    /// Show what somebody has acknowledged as well
    #[arg(long)]
    all: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Table,
    Csv,
}

fn parse_check(text: &str) -> Result<Kind, String> {
    let all: Vec<&str> = Kind::ALL.iter().map(|check| check.as_str()).collect();
    Kind::parse(text).ok_or_else(|| format!("must be one of {}", all.join(", ")))
}

pub(super) fn parse_span(text: &str) -> Result<i64, String> {
    span(text).ok_or_else(|| "must be a span of time such as 14d, 36h or 90m".to_owned())
}

impl Check {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let snapshot = global.service(Open::Existing)?.snapshot(&self.of.partner, true)?;
        let options = Options {
            checks: self.checks,
            account: self.account,
            within: self.within,
            suspended_for: self.suspended_for,
        };
        let found = findings(&snapshot, &options, (!self.all).then_some(false), Time::now());
        if global.json {
            let rows: Vec<_> = found.iter().map(shown).collect();
            output::json(&json!({ "data": rows, "meta": { "total": found.len() } }))?;
        } else if self.format == Format::Csv {
            csv(&found)?;
        } else if found.is_empty() {
            output::note("nothing was found");
        } else {
            table(&found)?;
        }
        Ok(if found.is_empty() { Outcome::Done } else { Outcome::Differs })
    }
}

const HEADINGS: [&str; 7] = ["check", "severity", "account_auth_id", "number", "since", "meaning", "action"];

fn cells(seen: &Seen) -> [String; 7] {
    let finding = &seen.finding;
    let check = finding.check;
    [
        check.to_string(),
        check.severity().to_string(),
        finding.account.as_ref().map(ToString::to_string).unwrap_or_default(),
        finding.number.map(|number| number.to_string()).unwrap_or_default(),
        finding.since.map(|since| since.to_string()).unwrap_or_default(),
        check.meaning().to_owned(),
        check.action().to_owned(),
    ]
}

fn csv(found: &[Seen]) -> Result<(), CliError> {
    let mut out = format!("id,{}\r\n", HEADINGS.join(",")).into_bytes();
    for seen in found {
        crate::wire::csv_text(&mut out, &seen.id);
        for cell in cells(seen) {
            out.push(b',');
            crate::wire::csv_text(&mut out, &cell);
        }
        out.extend_from_slice(b"\r\n");
    }
    output::print(&out)
}

/// What each finding is about; what it means is said once for each check.
fn table(found: &[Seen]) -> Result<(), CliError> {
    for same in found.chunk_by(|a, b| a.finding.check == b.finding.check) {
        let check = same[0].finding.check;
        output::line(&format!("{check} ({}): {}", same.len(), check.meaning()))?;
        output::line(&format!("  {}", check.action()))?;
        let rows: Vec<Vec<String>> = same
            .iter()
            .map(|seen| {
                let [_, _, account, number, since, ..] = cells(seen);
                vec!["  ".to_owned() + &account, number, since, seen.id.clone()]
            })
            .collect();
        output::table(&["  ACCOUNT", "NUMBER", "SINCE", "ID"], &rows)?;
    }
    Ok(())
}
