//! `rollcall sync --from URL --auth-id PA_UP --token-file FILE --partner PA_X`
//!
//! One sync with another server's inventory, or repeated ones. A failure there
//! changes nothing here: a single sync then fails, and repeated ones are retried
//! with backoff.
//!
//! One process at a time mirrors into a partner: a single sync beside another one
//! fails, and of several repeated ones, on whatever machines, one works and the
//! others stand by until it ends or dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::output::Bar;
use super::upstream::Upstream;
use super::{CliError, Global, OfPartner, Outcome, output};
use crate::domain::{Currency, Money, Time, span};
use crate::service::background::lease::{self, Lease, Leases};
use crate::service::background::mirror::{MirrorError, MirrorOptions, REFUSED_MAX, SyncReport};
use crate::service::verbs::import::{ImportProgress, Watch};
use crate::service::{Service, ServiceError};
use crate::store::Open;

/// After a failure, how long until the next look; it doubles with each further
/// one, up to the time between looks, or to [`WAIT_MAX`] if that is longer.
const WAIT_FIRST: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Exits with 0 if the mirror is as upstream is, 3 if something could not be
/// taken, 1 if it could not look or would not believe what it saw.
#[derive(clap::Args)]
pub struct Sync {
    /// The upstream server, such as https://api.example.com
    #[arg(long, value_name = "URL")]
    from: String,
    /// The X-Auth-ID there
    #[arg(long, value_name = "PA_UP")]
    auth_id: String,
    /// A file with the X-Auth-Token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    of: OfPartner,
    /// Repeat the sync at this interval, until Ctrl-C or SIGTERM
    #[arg(long, value_name = "SPAN", value_parser = parse_every)]
    every: Option<Duration>,
    /// How many of the mirror's numbers may be missing upstream before the sync fails
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "10%")]
    max_drop: u64,
    /// Accept that the numbers are gone upstream, however many
    #[arg(long, visible_alias = "yes", conflicts_with = "every")]
    allow_drop: bool,
    /// Mirror this inventory instead of the previous one
    #[arg(long)]
    switch: bool,
    /// The monthly cost of assigned numbers whose cost upstream does not return
    #[arg(long, value_name = "M", requires = "currency")]
    monthly_cost: Option<String>,
    /// The currency of --monthly-cost
    #[arg(long, value_name = "C", requires = "monthly_cost")]
    currency: Option<Currency>,
    /// How many attempts are made for a page before the sync fails
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Report what would change, and write nothing
    #[arg(long, conflicts_with = "every")]
    dry_run: bool,
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let seconds = span::REPEATED.read(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

fn parse_percent(text: &str) -> Result<u64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).parse().ok();
    percent.filter(|percent| *percent <= 100).ok_or_else(|| "must be a share from 0% to 100%".to_owned())
}

impl Sync {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let options = self.options()?;
        self.upstream()?;
        let service = global.service(Open::Existing)?.dry_run(self.dry_run);
        let cancel = output::interrupt()?;
        service.mirror_check(&self.of.partner, &options).map_err(|error| match error {
            MirrorError::Service(ServiceError::NoPartner { partner }) => CliError::Other(format!(
                "there is no partner {partner} to mirror into; make it with \
                 `rollcall partner create --auth-id {partner} --name NAME`"
            )),
            error => error.into(),
        })?;
        let leases = Leases::of_process(service.store().clone());
        let work = format!("sync:{}", self.of.partner);
        match self.every {
            Some(every) => {
                let lease = leases.keep(&work, lease::SPAN);
                self.repeat(global, every, &service, &options, cancel, &lease)
            }
            None => {
                let Some(lease) = leases.claim(&work)? else {
                    let holder = service.store().leaseholder(&work)?.unwrap_or_else(|| "another process".to_owned());
                    return Err(CliError::Other(format!(
                        "{holder} is mirroring into partner {} already; nothing was changed. Wait until that has \
                         ended; if it was killed, it counts as ended within 20 seconds",
                        self.of.partner
                    )));
                };
                let report = self.look(&service, &options, cancel, &lease)?;
                for refused in &report.errors {
                    output::note(&format!("{}: {}", refused.number, refused.reason));
                }
                if report.refused > REFUSED_MAX as u64 {
                    output::note(&format!("… and {} more numbers", report.refused - REFUSED_MAX as u64));
                }
                for refused in &report.entity_errors {
                    output::note(&format!("{} {:?}: {}", refused.kind, refused.id, refused.reason));
                }
                if report.refused_entities > REFUSED_MAX as u64 {
                    let more = report.refused_entities - REFUSED_MAX as u64;
                    output::note(&format!("… and {more} more accounts, applications and trunks"));
                }
                self.show(global, &report)?;
                if !report.lists_accounts {
                    output::note("upstream has no list of accounts: customers without numbers cannot be seen");
                }
                Ok(if report.refused + report.refused_entities > 0 { Outcome::Differs } else { Outcome::Done })
            }
        }
    }

    fn options(&self) -> Result<MirrorOptions, CliError> {
        let cost = match (&self.monthly_cost, self.currency) {
            (Some(amount), Some(currency)) => Some(
                Money::parse(amount, currency)
                    .map_err(|error| CliError::Usage(format!("--monthly-cost {amount} {error}")))?,
            ),
            (_, _) => None,
        };
        Ok(MirrorOptions {
            url: Arc::from(self.from.trim_end_matches('/')),
            auth_id: Arc::from(self.auth_id.as_str()),
            switch: self.switch,
            max_drop: self.max_drop,
            allow_drop: self.allow_drop,
            cost,
        })
    }

    fn look(
        &self,
        service: &Service,
        options: &MirrorOptions,
        cancel: &AtomicBool,
        lease: &Lease,
    ) -> Result<SyncReport, CliError> {
        let term = lease.confirm()?;
        let look = self.upstream()?.look(cancel)?;
        if term.is_none() || lease.confirm()? != term {
            // What it said may be older than what is here by now.
            return Err(CliError::Other("another process has mirrored meanwhile, perhaps".to_owned()));
        }
        let bar = Bar::new(Some(0), "numbers");
        let progress = |progress: ImportProgress| match progress {
            ImportProgress::Reading { .. } => {}
            ImportProgress::Writing { numbers, total } => bar.set("writing", numbers, Some(total)),
        };
        let report = service.mirror(&self.of.partner, &look, options, &Watch { progress: &progress, cancel });
        bar.finish();
        Ok(report?)
    }

    /// Made for each look, so that a token that was replaced is used.
    fn upstream(&self) -> Result<Upstream, CliError> {
        Upstream::new(&self.from, &self.auth_id, &self.token_file, self.attempts)
    }

    /// Looks until it is told to stop, whatever happens upstream.
    fn repeat(
        &self,
        global: &Global,
        every: Duration,
        service: &Service,
        options: &MirrorOptions,
        cancel: &AtomicBool,
        lease: &Lease,
    ) -> Result<Outcome, CliError> {
        let first = every.min(WAIT_FIRST);
        let mut failed = first;
        let mut standing_by = false;
        loop {
            // Without an answer of the database there is no upstream to ask yet.
            if !lease.confirm().is_ok_and(|term| term.is_some()) {
                if !std::mem::replace(&mut standing_by, true) {
                    output::note(&format!("{}: another process mirrors into it; standing by", self.of.partner));
                }
                if cancel.load(Ordering::Relaxed) {
                    return Ok(Outcome::Done);
                }
                thread::sleep(Duration::from_millis(100));
                continue;
            }
            standing_by = false;
            let wait = match self.look(service, options, cancel, lease) {
                Ok(report) => {
                    self.show(global, &report)?;
                    failed = first;
                    every
                }
                Err(_) if cancel.load(Ordering::Relaxed) => return Ok(Outcome::Done),
                Err(error) => {
                    self.show_failure(global, &error)?;
                    let wait = failed;
                    failed = failed.saturating_mul(2).min(every.max(WAIT_MAX));
                    wait
                }
            };
            let slept = Instant::now();
            while slept.elapsed() < wait {
                if cancel.load(Ordering::Relaxed) {
                    return Ok(Outcome::Done);
                }
                thread::sleep(Duration::from_millis(100).min(wait.saturating_sub(slept.elapsed())));
            }
        }
    }

    fn show(&self, global: &Global, report: &SyncReport) -> Result<(), CliError> {
        if global.json {
            return output::outcome(report, self.dry_run);
        }
        let SyncReport { at, numbers, came, went, changed, refused, entities, .. } = report;
        let what = match (report.differs(), self.dry_run) {
            (false, _) => "nothing differs".to_owned(),
            (true, dry_run) => {
                let [come, go, change, others] = match dry_run {
                    true => ["would come", "would go", "would change", "would be made or changed"],
                    false => ["came", "went", "changed", "were made or changed"],
                };
                let others = match entities {
                    0 => String::new(),
                    _ => format!("; {entities} accounts, applications and trunks {others}"),
                };
                format!("{came} {come}, {went} {go}, {changed} {change}{others}")
            }
        };
        let mut unable = String::new();
        if *refused > 0 {
            unable.push_str(&format!("; {refused} cannot be taken"));
        }
        if report.refused_entities > 0 {
            unable
                .push_str(&format!("; {} accounts, applications and trunks cannot be taken", report.refused_entities));
        }
        let version = report.version.map_or(String::new(), |version| format!("; version {version}"));
        output::line(&format!("{at} {}: {numbers} numbers upstream: {what}{unable}{version}", self.of.partner))
    }

    fn show_failure(&self, global: &Global, error: &CliError) -> Result<(), CliError> {
        let (at, reasons) = (Time::now(), output::reasons(error));
        if global.json {
            return output::outcome(&json!({ "at": at, "failed": reasons }), self.dry_run);
        }
        output::note(&format!("{at} {}: synchronization failed and nothing was changed: {reasons}", self.of.partner));
        Ok(())
    }
}
