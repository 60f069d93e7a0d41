//! `rollcall check`: what is wrong, fit for cron and CI; with a partner of this
//! database, or with an inventory that another server has.
//!
//! Of another server's inventory only what its Partner API tells is known. What
//! that leaves out is said, rather than taken for being in order.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;

use super::upstream::Upstream;
use super::{CliError, Global, Outcome, only_partner, output};
use crate::checks::{self, Check as Kind, CheckOptions};
use crate::domain::{PartnerId, Time, span};
use crate::http::checks::{IDLE_SPAN, Sums, idle_days, saves, shown};
use crate::inventory::Snapshot;
use crate::service::verbs::checks::{ReportedFinding, findings};
use crate::store::Open;
use crate::wire::report::CsvCells;

/// Exits with 0 if nothing is found, 3 if something is, 1 if it could not look.
#[derive(Args)]
#[command(group(ArgGroup::new("whose").args(["partner", "url"])))]
pub struct CheckCommand {
    /// The partner's id; not needed where there is one partner [env: ROLLCALL_PARTNER]
    #[arg(long, value_name = "PA_X")]
    partner: Option<PartnerId>,
    /// Check the inventory of another server instead, such as https://api.example.com
    #[arg(long, value_name = "URL", requires = "auth_id", requires = "token_file")]
    url: Option<String>,
    /// The X-Auth-ID there
    #[arg(long, value_name = "PA_X", requires = "url", conflicts_with = "partner")]
    auth_id: Option<PartnerId>,
    /// A file with the X-Auth-Token
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "partner")]
    token_file: Option<PathBuf>,
    /// How many attempts are made for a page before the check fails
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Run only this check; may be repeated
    #[arg(long = "check", value_parser = parse_check, value_name = "CHECK")]
    checks: Vec<Kind>,
    /// Only findings of this customer, by id or by name
    #[arg(long, value_name = "ID|NAME")]
    account: Option<String>,
    /// How far ahead expiries are reported; 14d by default
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    within: Option<i64>,
    /// How long a number may be suspended before it is reported; 30d by default
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    suspended_for: Option<i64>,
    /// With --check idle: for how many whole days nobody called; 90d by default
    #[arg(long, value_parser = parse_idle, value_name = "DAYS")]
    idle_for: Option<u32>,
    /// Show acknowledged findings as well
    #[arg(long)]
    all: bool,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = CheckFormat::Table)]
    format: CheckFormat,
    /// With csv: leave cells that a spreadsheet would take for formulas as they are, for scripts
    #[arg(long)]
    raw: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum CheckFormat {
    Table,
    Csv,
}

fn parse_check(text: &str) -> Result<Kind, String> {
    let all: Vec<&str> = Kind::ALL.iter().map(|check| check.as_str()).collect();
    Kind::parse(text).ok_or_else(|| format!("must be one of {}", all.join(", ")))
}

fn parse_idle(text: &str) -> Result<u32, String> {
    idle_days(text).ok_or_else(|| IDLE_SPAN.to_owned())
}

pub(super) fn parse_span(text: &str) -> Result<i64, String> {
    span::CHECKED.read(text).map_err(|error| error.to_string())
}

/// What `--json` prints.
#[derive(Serialize)]
struct CheckReport<'a> {
    #[serde(serialize_with = "one_by_one")]
    data: &'a [ReportedFinding],
    meta: CheckMeta,
}

/// Makes each row when it is written: a million of them together take gigabytes.
fn one_by_one<S: serde::Serializer>(found: &[ReportedFinding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.iter().map(shown))
}

#[derive(Serialize)]
struct CheckMeta {
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    saves_monthly: Option<Sums>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unseen: Vec<&'static str>,
}

/// What is said of a server that has no list of accounts.
const NO_ACCOUNTS: &str = "this server has no list of accounts: customers are those that numbers name, and customers \
     without numbers cannot be seen";

impl CheckCommand {
    /// Refuses a span of a check that does not run.
    fn check_spans(&self, options: &CheckOptions) -> Result<(), CliError> {
        let spans = [
            ("--within", self.within.is_some(), Kind::Expiring),
            ("--suspended-for", self.suspended_for.is_some(), Kind::Suspended),
            ("--idle-for", self.idle_for.is_some(), Kind::Idle),
        ];
        match spans.iter().find(|(_, given, check)| *given && !options.wants(*check)) {
            None => Ok(()),
            Some((option, _, check)) => Err(CliError::Usage(format!(
                "{option} is about the check {check}, which is not run; add --check {check}"
            ))),
        }
    }

    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let usual = CheckOptions::default();
        let idle_for = self.idle_for.unwrap_or(usual.idle_days);
        let mut options = CheckOptions {
            checks: self.checks.clone(),
            account: None,
            within: self.within.unwrap_or(usual.within),
            suspended_for: self.suspended_for.unwrap_or(usual.suspended_for),
            idle_days: idle_for,
        };
        self.check_spans(&options)?;
        let partner = match (&self.partner, &self.url) {
            (None, None) => Some(only_partner::of(global)?),
            (partner, _) => partner.clone(),
        };
        let Seeing { snapshot, at, remark, unseen } = match (&partner, &self.url) {
            (Some(partner), _) => Seeing {
                snapshot: global.service(Open::Existing)?.snapshot(partner, true)?,
                at: Time::now(),
                remark: None,
                unseen: Vec::new(),
            },
            (None, Some(url)) => self.ask(url, &mut options)?,
            (None, None) => return Err(CliError::Usage("give --partner PA_X or --url URL".to_owned())),
        };
        options.account = self.account.as_ref().map(|text| snapshot.customer(text)).transpose()?;
        let mut found = findings(&snapshot, &options, (!self.all).then_some(false), at);
        if self.url.is_some() {
            // Asked for with no span at all: all that are, since whenever.
            let suspended = found.iter_mut().filter(|seen| seen.finding.check == Kind::Suspended);
            suspended.for_each(|seen| seen.finding.since = None);
        }
        if global.json {
            let unseen: Vec<&str> = unseen.iter().map(|check| check.as_str()).collect();
            let saves_monthly = self.checks.contains(&Kind::Idle).then(|| saves(&snapshot, &found));
            let meta = CheckMeta { total: found.len(), saves_monthly, remark, unseen };
            output::json(&CheckReport { data: &found, meta })?;
        } else if self.format == CheckFormat::Csv {
            csv(&found, CsvCells::raw(self.raw))?;
        } else if found.is_empty() {
            output::note(if self.all { "No findings" } else { "No open findings" });
        } else {
            table(&found)?;
        }
        if !global.json {
            if self.checks.contains(&Kind::Idle) {
                idle_note(&snapshot, &found, idle_for, at);
            }
            if let Some(remark) = remark {
                output::note(remark);
            }
            if !unseen.is_empty() {
                let unseen: Vec<&str> = unseen.iter().map(|check| check.as_str()).collect();
                output::note(&format!("not looked for, since a Partner API does not tell it: {}", unseen.join(", ")));
            }
        }
        Ok(if found.is_empty() { Outcome::Done } else { Outcome::Differs })
    }

    /// The inventory of another server, and what of it cannot be checked.
    fn ask(&self, url: &str, options: &mut CheckOptions) -> Result<Seeing, CliError> {
        let (Some(auth_id), Some(token_file)) = (&self.auth_id, &self.token_file) else {
            return Err(CliError::Usage("--url needs --auth-id PA_X and --token-file FILE".to_owned()));
        };
        let tells = |check: Kind| match check {
            // What is archived is not told either, nor are destinations.
            Kind::Vanished | Kind::Appeared | Kind::ArchivedRoute | Kind::NoDestination | Kind::Idle => false,
            // Who is suspended is told, and not since when.
            Kind::Suspended => options.suspended_for == 0,
            Kind::NoActiveNumber | Kind::Expired | Kind::Unrouted | Kind::Expiring | Kind::DoubtfulNumber => true,
        };
        let asked = if options.checks.is_empty() { Kind::ALL.to_vec() } else { options.checks.clone() };
        let (seen, unseen): (Vec<Kind>, Vec<Kind>) = asked.into_iter().partition(|&check| tells(check));
        if seen.is_empty() {
            return Err(CliError::Usage(
                "the Partner API tells neither what came and went, nor what is archived, nor since when a number is \
                 suspended; --suspended-for 0s finds all that are suspended now"
                    .to_owned(),
            ));
        }
        options.checks = seen;
        let upstream = Upstream::new(url, auth_id.as_str(), token_file, self.attempts)?;
        let look = upstream.look(output::interrupt()?)?;
        let at = Time::now();
        let snapshot = look.snapshot(auth_id.clone(), at).map_err(|misfit| CliError::Other(misfit.to_string()))?;
        let remark = (!look.lists_accounts()).then_some(NO_ACCOUNTS);
        Ok(Seeing { snapshot, at, remark, unseen })
    }
}

/// What the idle numbers cost, or why none can be found yet.
fn idle_note(snapshot: &Snapshot, found: &[ReportedFinding], days: u32, now: Time) {
    let recording = snapshot.called.recording();
    if !recording.records(now, days) {
        let known = recording.whole_days(now);
        output::note(&format!(
            "idle is silent: it needs {days} whole days of calls that all nodes recorded, and has {known}"
        ));
        return;
    }
    let sums = checks::savings(snapshot, found.iter().map(|seen| &seen.finding), now);
    let sums: Vec<String> = sums.iter().map(|sum| format!("{sum} {}", sum.currency.code())).collect();
    if !sums.is_empty() {
        output::note(&format!("releasing the idle numbers would save {} a month", sums.join(" and ")));
    }
}

/// What is looked at.
struct Seeing {
    snapshot: Snapshot,
    at: Time,
    remark: Option<&'static str>,
    /// What was asked for and cannot be found.
    unseen: Vec<Kind>,
}

const HEADINGS: [&str; 7] = ["check", "severity", "account_auth_id", "number", "since", "meaning", "action"];

fn cells(seen: &ReportedFinding) -> [String; 7] {
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

fn csv(found: &[ReportedFinding], style: CsvCells) -> Result<(), CliError> {
    let mut out = Vec::new();
    style.header(&mut out, &[&["id"][..], &HEADINGS].concat());
    for seen in found {
        let mut line = style.line(&mut out);
        line.text(&seen.id);
        cells(seen).iter().for_each(|cell| line.text(cell));
        line.end();
    }
    output::print(&out)
}

/// What each finding is about; what it means is said once for each check.
fn table(found: &[ReportedFinding]) -> Result<(), CliError> {
    for same in found.chunk_by(|a, b| a.finding.check == b.finding.check) {
        let check = same[0].finding.check;
        output::line(&format!("{check} ({}): {}", same.len(), check.meaning()))?;
        output::line(&format!("  {}", check.action()))?;
        let rows: Vec<Vec<String>> = same
            .iter()
            .map(|seen| {
                let [_, _, account, mut number, since, ..] = cells(seen);
                let evidence = seen.finding.evidence();
                let meant = evidence.iter().find(|(name, _)| *name == "probably_meant");
                if let Some((_, meant)) = meant {
                    number.push_str(&format!(" (probably {meant})"));
                }
                vec!["  ".to_owned() + &account, number, since, seen.id.clone()]
            })
            .collect();
        output::table(&["  ACCOUNT", "NUMBER", "SINCE", "ID"], &rows)?;
    }
    Ok(())
}
