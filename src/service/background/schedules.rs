//! Schedules: checks that run at fixed times, and the emails with their findings.
//!
//! The schedule is a setting in the log. Its progress is outside the log, in
//! documents:
//!
//! | kind | id | content |
//! |---|---|---|
//! | `schedule` | the schedule's | its next run and its last; due when there is work |
//! | `told` | the schedule's | the reported findings, and how near their expiry was |
//! | `mail` | the run's | the recipients of its email, and the result for each; due at the next attempt |
//! | `digest` | the run's | the email, until each recipient has it or it is given up |
//!
//! What always holds:
//! - A run, the findings that it reports, and its emails are one transaction, which
//!   fails if the schedule's document has changed since it was read. So a run
//!   happens once, with any number of processes, and an interrupted run has not
//!   happened. A lease saves the double work.
//! - A missed run happens once, at the next chance; the next run is the first one
//!   after that.
//! - An email is sent at least once: the result is stored after the delivery, so a
//!   crash between the two sends it again, under the same Message-ID. An email that
//!   is stored as sent is not sent again.
//!
//! Deliberately absent: the clock (it is an argument), threads
//! ([`runner`]), SMTP (`mail`), the wording (`alert`).

pub mod runner;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::{debug, info, warn};

use crate::alert::{self, AlertDigest, Content, DigestItem, News, Why};
use crate::checks::{self, Check, CheckOptions, Finding, Severity};
use crate::domain::change::Edit;
use crate::domain::entity::hex_digest;
use crate::domain::field::code;
use crate::domain::setting::{Off, ReportPolicy, Schedule};
use crate::domain::{Choice, EntityChange, FieldError, PartnerKey, Setting, Time, Verb, span};
use crate::inventory::Snapshot;
use crate::mail::{self, Email, MailFailure, Mailer};
use crate::schedule::{self, Recurrence};
use crate::service::verbs::checks::{ReportedFinding, findings};
use crate::service::verbs::entities::state_tag;
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome, token};
use crate::store::{Document, DocumentWalk, PartnerReads, SideWrites, StoreError};

/// The most schedules of a partner.
pub const SCHEDULES_MAX: usize = 50;
/// The most recipients of a schedule.
pub const RECIPIENTS_MAX: usize = 20;
/// An expiring number is told again when it ends within so many days.
const NEARER_DAYS: [i64; 3] = [14, 7, 1];
/// How many of the next runs are shown.
pub const NEXT_RUNS: usize = 3;
/// How many runs that sent letters are kept for each schedule.
const RUNS_KEPT: usize = 20;
/// How many of them are shown.
const RUNS_SHOWN: usize = 5;
/// How long after a report that was asked for another may be, in seconds: who
/// may ask shall not be able to fill other people's mailboxes.
const ASK_SECONDS: i64 = 60;
/// How long after each attempt a letter is tried again; the last goes on.
const RETRY_SECONDS: [i64; 5] = [60, 300, 1_800, 7_200, 14_400];
/// After so long, a letter is given up.
const GIVE_UP_SECONDS: i64 = 86_400;

const SCHEDULE: &str = "schedule";
const TOLD: &str = "told";
const MAIL: &str = "mail";
const DIGEST: &str = "digest";
/// What the error of a damaged document of that kind says of it.
const EMAILS: &str = "the emails of run";

/// What shall be different about a schedule, or what a new one shall be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchedulePatch {
    pub name: Option<Arc<str>>,
    pub cron: Option<String>,
    pub zone: Option<String>,
    pub recipients: Option<Vec<String>>,
    pub checks: Option<Vec<String>>,
    /// In seconds.
    pub within: Option<i64>,
    pub report: Option<ReportPolicy>,
    pub alerts: Option<bool>,
    pub off: Option<bool>,
}

/// How far a schedule has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScheduleState {
    /// The next report; `None` while it is switched off.
    pub next: Option<Time>,
    /// When it last looked.
    pub looked_at: Option<Time>,
    /// When it last told all that was new, or found that nothing was.
    pub daily_at: Time,
    /// Who asked for a report that is not made yet.
    pub asked_by: Option<Arc<str>>,
    pub last: Option<Ran>,
}

/// One run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ran {
    pub at: Time,
    pub why: Why,
    /// How many findings were open.
    pub findings: u64,
    /// How many of them had not been told.
    pub news: u64,
    /// Whether anybody was told.
    pub told: bool,
}

/// The letters of one run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmailDelivery {
    pub schedule: Arc<str>,
    pub ran: Ran,
    pub recipients: Vec<Recipient>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    pub to: Arc<str>,
    pub state: Sending,
    pub attempts: u32,
    /// When it was last tried.
    pub at: Option<Time>,
    /// When it is tried again.
    pub next: Option<Time>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    Waiting,
    Sent,
    Failed,
}

crate::domain::number::words!(Sending: Waiting "waiting", Sent "sent", Failed "failed");

impl EmailDelivery {
    /// When somebody has to look at it.
    fn due(&self) -> Option<Time> {
        self.recipients.iter().filter(|one| one.state == Sending::Waiting).filter_map(|one| one.next).min()
    }
}

/// A schedule with all that showing it needs.
#[derive(Clone, PartialEq, Debug)]
pub struct ScheduleView {
    pub id: Arc<str>,
    pub created_at: Time,
    pub removed_at: Option<Time>,
    pub schedule: Schedule,
    /// The next runs, each with what its zone's clocks show.
    pub next_runs: Vec<(Time, String)>,
    pub state: Option<ScheduleState>,
    /// The last runs that sent letters, newest first; only where one schedule
    /// is looked at.
    pub runs: Vec<EmailDelivery>,
}

impl ScheduleView {
    /// What stands for it in entity tags.
    pub fn tag(&self) -> u64 {
        let ScheduleView { id, created_at, removed_at, schedule, .. } = self;
        let (created_at, removed_at, choice) = (*created_at, *removed_at, Choice::Schedule(schedule.clone()));
        state_tag(&Setting { id: id.clone(), created_at, removed_at, choice })
    }
}

/// How a look at a schedule ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunStep {
    /// Nothing was due.
    Idle,
    /// Somebody else is at it, or it was changed meanwhile.
    Elsewhere,
    /// It looked; nobody had to be told.
    Quiet,
    /// It told. The letters are under this id, if there are any.
    Told { ran: Ran, delivery: Option<String> },
}

/// How an attempt to send a letter ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    Idle,
    Elsewhere,
    Sent,
    Later,
    Failed,
}

/// The next runs of what somebody is about to choose.
pub fn preview(cron: &str, zone: &str, now: Time) -> Result<(Recurrence, Vec<(Time, String)>), ServiceError> {
    let plan = Recurrence::parse(cron, zone).map_err(ServiceError::Invalid)?;
    let runs = upcoming(&plan, now);
    Ok((plan, runs))
}

fn upcoming(plan: &Recurrence, now: Time) -> Vec<(Time, String)> {
    plan.upcoming(now, NEXT_RUNS).into_iter().map(|run| (run, plan.local(run))).collect()
}

/// A partner's schedules, oldest first.
fn live(snapshot: &Snapshot) -> Vec<&Setting> {
    let mut all: Vec<&Setting> = snapshot
        .settings
        .sorted()
        .filter(|setting| setting.removed_at.is_none() && setting.schedule().is_some())
        .collect();
    all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    all
}

impl SchedulePatch {
    /// A schedule with these changes, all of it checked.
    fn over(&self, before: &Schedule, by: &str, now: Time) -> Result<(Schedule, Recurrence), ServiceError> {
        let mut errors = Vec::new();
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name = name.clone();
        }
        let cron = self.cron.as_deref().map_or(&*before.cron, str::trim);
        let zone = self.zone.as_deref().map_or(&*before.zone, str::trim);
        let plan = Recurrence::parse(cron, zone).map_err(|wrong| errors.extend(wrong)).ok();
        after.cron = cron.into();
        if let Some(plan) = &plan {
            after.zone = plan.zone().clone();
        }
        if let Some(recipients) = &self.recipients {
            after.recipients = addresses(recipients, &mut errors);
        }
        if let Some(checks) = &self.checks {
            after.checks = Vec::new();
            for (at, word) in checks.iter().enumerate() {
                match Check::parse(word) {
                    Some(check) if after.checks.iter().any(|have| **have == *check.as_str()) => {}
                    Some(check) => after.checks.push(check.as_str().into()),
                    None => {
                        let all: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
                        let message = format!("must be one of {}", all.join(", "));
                        errors.push(FieldError::new(&format!("checks[{at}]"), code::INVALID, message, word));
                    }
                }
            }
        }
        if let Some(within) = self.within {
            if let Err(error) = span::SCHEDULED.check(within) {
                errors.push(FieldError::new("within", error.code(), error.to_string(), &alert::span(within)));
            }
            after.within = within;
        }
        after.report = self.report.unwrap_or(after.report);
        after.alerts = self.alerts.unwrap_or(after.alerts);
        after.off = match (self.off, after.off) {
            (Some(true), None) => Some(Off { at: now, reason: format!("switched off by {by}").into() }),
            (Some(false), _) => None,
            (Some(true) | None, off) => off,
        };
        match plan {
            Some(plan) if errors.is_empty() => Ok((after, plan)),
            _ => Err(ServiceError::Invalid(errors)),
        }
    }
}

/// Addresses, each there once however it is written.
fn addresses(texts: &[String], errors: &mut Vec<FieldError>) -> Vec<Arc<str>> {
    let mut all: Vec<Arc<str>> = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match mail::address(text) {
            Ok(address) if all.iter().any(|have| have.to_lowercase() == address.to_lowercase()) => {}
            Ok(address) => all.push(address.into()),
            Err(message) => {
                errors.push(FieldError::new(&format!("recipients[{at}]"), code::INVALID, message, text));
            }
        }
    }
    if all.len() > RECIPIENTS_MAX {
        let message = format!("must be at most {RECIPIENTS_MAX}; take the address of a list");
        errors.push(FieldError::missing("recipients", code::TOO_LONG, message));
    }
    all
}

impl ScheduleState {
    fn new(schedule: &Schedule, plan: &Recurrence, now: Time) -> ScheduleState {
        let next = schedule.off.is_none().then(|| plan.next(now)).flatten();
        ScheduleState { next, looked_at: None, daily_at: now, asked_by: None, last: None }
    }

    /// When somebody has to look.
    fn due(&self, schedule: &Schedule, plan: &Recurrence, now: Time) -> Option<Time> {
        if self.asked_by.is_some() {
            let asked = self.last.as_ref().filter(|last| last.why == Why::Asked);
            return Some(asked.map_or(now, |last| last.at.plus(ASK_SECONDS).max(now)));
        }
        if schedule.off.is_some() {
            return None;
        }
        let look = schedule.alerts.then(|| plan.hourly(now).next(now)).flatten();
        self.next.into_iter().chain(look).min()
    }

    fn document(&self, id: &str, due: Option<Time>) -> Document {
        Document::of(id, due, self)
    }

    fn read(document: &Document) -> Result<ScheduleState, ServiceError> {
        Ok(document.read("the state of schedule")?)
    }
}

/// Which findings were told, and how near they were: by the first twelve digits
/// of their ids, which are 48 bits, so two of a million are alike once in
/// hundreds of runs of a million new ones each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct ReportedFindings(BTreeMap<u64, u8>);

impl ReportedFindings {
    fn name(id: &str) -> u64 {
        id.get(3..15).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
    }

    fn read(body: &str) -> ReportedFindings {
        let line = |line: &str| {
            let (name, stage) = line.split_at_checked(12)?;
            Some((u64::from_str_radix(name, 16).ok()?, stage.parse().ok()?))
        };
        ReportedFindings(body.lines().filter_map(line).collect())
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, stage)| format!("{name:012x}{stage}\n")).collect()
    }
}

/// How near a finding is: 1, and for a number that expires, one more for each
/// of the days before its end that has come since it was within the window.
fn stage(finding: &Finding, within: i64, now: Time) -> (u8, Option<i64>) {
    let (Check::Expiring, Some(end)) = (finding.check, finding.since) else { return (1, None) };
    let left = end.seconds() - now.seconds();
    let come = NEARER_DAYS.iter().filter(|&&days| days * 86_400 < within && left <= days * 86_400);
    let nearest = come.clone().min().copied();
    (1 + come.count() as u8, nearest)
}

/// Whether people should hear of it within the hour: calls fail, or will within
/// a day.
fn urgent(finding: &Finding, now: Time) -> bool {
    let soon = |end: Time| end.seconds() - now.seconds() <= 86_400;
    finding.check.severity() == Severity::Critical
        || (finding.check == Check::Expiring && finding.since.is_some_and(soon))
}

/// The counters of `/metrics` that begin at 0.
pub fn measure() {
    for result in ["sent", "later", "failed"] {
        metrics::counter!("rollcall_mails_total", "result" => result).increment(0);
    }
    for why in [Why::Report, Why::Alert, Why::Asked] {
        metrics::counter!("rollcall_schedule_runs_total", "why" => why.as_str()).increment(0);
    }
}

impl Service {
    pub fn schedule_create(&self, key: PartnerKey, wanted: &SchedulePatch) -> Result<WriteOutcome, ServiceError> {
        let snapshot = self.partner_snapshot(key, false)?;
        self.manage(key, Verb::ScheduleCreate, |transaction| {
            // Two at once may both pass; it is a limit of good manners.
            if live(&snapshot).len() >= SCHEDULES_MAX {
                return Err(ServiceError::Refused(format!("a partner has at most {SCHEDULES_MAX} schedules")));
            }
            let now = transaction.at();
            let start = Schedule {
                name: "".into(),
                cron: schedule::WEEKLY.into(),
                zone: schedule::UTC.into(),
                recipients: Vec::new(),
                checks: Vec::new(),
                within: checks::WITHIN_SECONDS,
                report: ReportPolicy::Findings,
                alerts: true,
                off: None,
            };
            let (schedule, plan) = wanted.over(&start, &self.actor.to_string(), now)?;
            let id: Arc<str> = token::schedule_id().into();
            let state = ScheduleState::new(&schedule, &plan, now);
            let due = state.due(&schedule, &plan, now);
            let choice = Choice::Schedule(schedule);
            let setting = Setting { id: id.clone(), created_at: now, removed_at: None, choice };
            transaction.put_entity(EntityChange::Setting(Edit::created(setting.clone())))?;
            transaction.put_document(SCHEDULE, &state.document(&id, due))?;
            shown(&setting, Some(state), now, true)
        })
    }

    pub fn schedule_edit(
        &self,
        key: PartnerKey,
        id: &str,
        wanted: &SchedulePatch,
    ) -> Result<WriteOutcome, ServiceError> {
        self.manage(key, Verb::ScheduleEdit, |transaction| {
            let now = transaction.at();
            let (setting, before) = setting_of(transaction, id)?;
            self.expected.check("schedule", id, state_tag(&setting))?;
            let (after, plan) = wanted.over(&before, &self.actor.to_string(), now)?;
            let state = state_of(transaction, id)?;
            if after == before {
                return shown(&setting, state, now, false);
            }
            let mut state = state.unwrap_or_else(|| ScheduleState::new(&after, &plan, now));
            if (&after.cron, &after.zone, &after.off) != (&before.cron, &before.zone, &before.off) {
                state = ScheduleState { next: ScheduleState::new(&after, &plan, now).next, ..state };
            }
            let due = state.due(&after, &plan, now);
            let edited = Setting { choice: Choice::Schedule(after), ..setting.clone() };
            transaction.put_entity(EntityChange::Setting(Edit { before: Some(setting), after: edited.clone() }))?;
            transaction.put_document(SCHEDULE, &state.document(id, due))?;
            shown(&edited, Some(state), now, false)
        })
    }

    /// Ends a schedule for good, and with it the letters that still wait.
    pub fn schedule_remove(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        let deliveries = self.deliveries(key, id, usize::MAX)?;
        self.manage(key, Verb::ScheduleRemove, |transaction| {
            let now = transaction.at();
            let (setting, _) = setting_of(transaction, id)?;
            self.expected.check("schedule", id, state_tag(&setting))?;
            let removed = Setting { removed_at: Some(now), ..setting.clone() };
            transaction.put_entity(EntityChange::Setting(Edit { before: Some(setting), after: removed.clone() }))?;
            for kind in [SCHEDULE, TOLD] {
                transaction.drop_document(kind, id)?;
            }
            for (delivery, _) in &deliveries {
                transaction.drop_document(MAIL, delivery)?;
                transaction.drop_document(DIGEST, delivery)?;
            }
            shown(&removed, None, now, false)
        })
    }

    /// Requests a report now; the runner of schedules creates it.
    pub fn schedule_ask(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        self.manage_beside(key, |transaction| {
            let now = transaction.at();
            let (setting, schedule) = setting_of(transaction, id)?;
            let plan = Recurrence::parse(&schedule.cron, &schedule.zone).map_err(ServiceError::Invalid)?;
            let state = state_of(transaction, id)?.unwrap_or_else(|| ScheduleState::new(&schedule, &plan, now));
            let state = ScheduleState { asked_by: Some(self.actor.to_string().into()), ..state };
            let due = state.due(&schedule, &plan, now);
            transaction.put_document(SCHEDULE, &state.document(id, due))?;
            shown(&setting, Some(state), now, false)
        })
    }

    /// A partner's schedules, oldest first.
    pub fn schedules(&self, key: PartnerKey, now: Time) -> Result<Vec<ScheduleView>, ServiceError> {
        let snapshot = self.partner_snapshot(key, false)?;
        self.beside(key, |store| {
            let view = |setting: &Setting| {
                let document = store.document(key, SCHEDULE, &setting.id)?;
                view(setting, document.as_ref().map(ScheduleState::read).transpose()?, now)
            };
            live(&snapshot).into_iter().map(view).collect()
        })
    }

    pub fn schedule(&self, key: PartnerKey, id: &str, now: Time) -> Result<ScheduleView, ServiceError> {
        let mut all = self.schedules(key, now)?;
        let at = all.iter().position(|view| &*view.id == id).ok_or_else(|| ServiceError::unknown("schedule", id))?;
        let runs = self.beside(key, |_| self.deliveries(key, id, RUNS_SHOWN))?;
        let runs = runs.into_iter().map(|(_, delivery)| delivery).collect();
        Ok(ScheduleView { runs, ..all.swap_remove(at) })
    }

    /// The letters of one run.
    pub fn delivery(&self, key: PartnerKey, id: &str) -> Result<Option<EmailDelivery>, ServiceError> {
        let document = self.store.document(key, MAIL, id)?;
        Ok(document.as_ref().map(|document| document.read(EMAILS)).transpose()?)
    }

    /// The runs of a schedule that sent letters, newest first.
    fn deliveries(
        &self,
        key: PartnerKey,
        id: &str,
        limit: usize,
    ) -> Result<Vec<(String, EmailDelivery)>, ServiceError> {
        let mut all = Vec::new();
        // Ids are the schedule's, a dot and digits; a colon comes after digits.
        let mut before = format!("{id}.:");
        while all.len() < limit {
            let page = self.store.documents(key, MAIL, DocumentWalk::Down { before: Some(&before) }, 100)?;
            let own = page.iter().take_while(|document| document.id.starts_with(&format!("{id}.")));
            let mut count = 0;
            for document in own {
                count += 1;
                all.push((document.id.clone(), document.read(EMAILS)?));
            }
            if count < 100 {
                break;
            }
            before.clone_from(&page[99].id);
        }
        all.truncate(limit);
        Ok(all)
    }

    /// Makes a schedule's run, if it is due at `now` or asked for, and leaves its
    /// letters to be sent.
    pub fn schedule_step(&self, key: PartnerKey, id: &str, now: Time, asked: bool) -> Result<RunStep, ServiceError> {
        match self.leases.claim(&format!("schedule:{key}:{id}"))? {
            Some(_claim) => self.schedule_step_held(key, id, now, asked),
            None => Ok(RunStep::Elsewhere),
        }
    }

    fn schedule_step_held(&self, key: PartnerKey, id: &str, now: Time, asked: bool) -> Result<RunStep, ServiceError> {
        let found = self.store.document(key, SCHEDULE, id)?;
        let Some(document) = found.filter(|document| asked || document.due.is_some_and(|due| due <= now)) else {
            return Ok(RunStep::Idle);
        };
        let snapshot = self.partner_snapshot(key, true)?;
        let setting = snapshot.settings.get(id).filter(|setting| setting.removed_at.is_none());
        let Some((setting, schedule)) = setting.and_then(|setting| Some((setting, setting.schedule()?))) else {
            // This node has not heard of it, or has heard of its end before the
            // document went.
            return Ok(RunStep::Elsewhere);
        };
        let plan = Recurrence::parse(&schedule.cron, &schedule.zone).map_err(ServiceError::Invalid)?;
        let state = ScheduleState::read(&document)?;
        let asked = asked || state.asked_by.is_some();
        let look = CheckContext { snapshot: &snapshot, setting, schedule, plan: &plan, state: &state, now, asked };
        let run = self.look(&look)?;
        if run.delivery.is_some() && self.store.document(key, MAIL, &run.delivery_id)?.is_some() {
            // There was a run in this very second.
            return Ok(RunStep::Elsewhere);
        }
        if let Some(event) = &run.event {
            // Before it is written down, so that it is told at least once.
            self.announce(key, "alert", event.clone())?;
        }
        // Those that still wait are kept however old they are.
        let outdated: Vec<String> = match &run.delivery {
            Some(_) => self
                .deliveries(key, id, usize::MAX)?
                .into_iter()
                .skip(RUNS_KEPT - 1)
                .filter(|(_, delivery)| delivery.due().is_none())
                .map(|(id, _)| id)
                .collect(),
            None => Vec::new(),
        };
        let done = self.write_beside(key, |transaction| {
            let same = transaction.document(SCHEDULE, id)?.as_ref() == Some(&document)
                && transaction.setting(id)?.as_ref() == Some(setting);
            if !same {
                return Ok(false);
            }
            transaction.put_document(SCHEDULE, &run.state.document(id, run.state.due(schedule, &plan, now)))?;
            if let Some(told) = &run.told {
                transaction.put_document(TOLD, &Document { id: id.to_owned(), due: None, body: told.text() })?;
            }
            if let Some((delivery, content)) = &run.delivery {
                let body = Document::of(&run.delivery_id, delivery.due(), delivery);
                transaction.put_document(MAIL, &body)?;
                transaction.put_document(DIGEST, &Document::of(&run.delivery_id, None, content))?;
            }
            for old in &outdated {
                transaction.drop_document(MAIL, old)?;
                transaction.drop_document(DIGEST, old)?;
            }
            Ok(true)
        })?;
        if !done {
            return Ok(RunStep::Elsewhere);
        }
        let Some(ran) = run.ran else { return Ok(RunStep::Quiet) };
        let Ran { why, findings, news, told, .. } = ran.clone();
        metrics::counter!("rollcall_schedule_runs_total", "why" => why.as_str()).increment(1);
        let letters = run.delivery.as_ref().map_or(0, |(delivery, _)| delivery.recipients.len());
        info!(
            partner.key = %key, schedule = %id, findings, news, letters,
            "schedule {id}: {why} of {findings} findings, {news} of them new, in {letters} emails"
        );
        match told {
            true => Ok(RunStep::Told { ran, delivery: run.delivery.map(|_| run.delivery_id) }),
            false => Ok(RunStep::Quiet),
        }
    }

    /// Works out what a run has to say; changes nothing.
    fn look(&self, look: &CheckContext<'_>) -> Result<CheckRun, ServiceError> {
        let &CheckContext { snapshot, setting, schedule, plan, state, now, asked } = look;
        let id = &setting.id;
        let report = schedule.off.is_none() && state.next.is_some_and(|next| next <= now);
        let daily = plan.daily(state.daily_at).next(state.daily_at).is_some_and(|look| look <= now);
        let why = match (asked, report) {
            (true, _) => Why::Asked,
            (false, true) => Why::Report,
            (false, false) => Why::Alert,
        };
        let next = match schedule.off.is_some() {
            true => None,
            false if report => plan.next(now),
            false => state.next,
        };
        let mut after = ScheduleState {
            next,
            looked_at: Some(now),
            daily_at: state.daily_at,
            asked_by: None,
            last: state.last.clone(),
        };
        let quiet =
            |state| CheckRun { state, ran: None, told: None, delivery: None, delivery_id: String::new(), event: None };
        // Its keys open nothing, and nobody is told of it either.
        let told_at_all = why != Why::Alert || (schedule.alerts && schedule.off.is_none());
        if snapshot.partner.suspended_at.is_some() || !told_at_all {
            return Ok(quiet(after));
        }

        let checks: Vec<Check> = schedule.checks.iter().filter_map(|word| Check::parse(word)).collect();
        let options = CheckOptions { checks: checks.clone(), within: schedule.within, ..CheckOptions::default() };
        let seen = findings(snapshot, &options, Some(false), now);
        let before = self
            .store
            .document(snapshot.key, TOLD, id)?
            .map(|told| ReportedFindings::read(&told.body))
            .unwrap_or_default();
        let mut open: BTreeMap<Check, u64> = checks::counts(seen.iter().map(|seen| &seen.finding));
        open.retain(|check, _| checks.is_empty() || checks.contains(check));

        let mut pressing = false;
        let mut all = ReportedFindings::default();
        let mut still = ReportedFindings::default();
        let mut items = Vec::with_capacity(seen.len());
        for ReportedFinding { id, finding, .. } in seen {
            let (stage, days) = stage(&finding, schedule.within, now);
            let name = ReportedFindings::name(&id);
            let news = match before.0.get(&name) {
                None => News::New,
                Some(&told) if told < stage => days.map_or(News::New, |days| News::Nearer { days }),
                Some(_) => News::Known,
            };
            pressing |= news != News::Known && urgent(&finding, now);
            all.0.insert(name, stage);
            if let Some(&told) = before.0.get(&name) {
                still.0.insert(name, told);
            }
            items.push(DigestItem { finding, id, news });
        }
        let findings = items.len() as u64;
        if why == Why::Alert {
            items.retain(|item| item.news != News::Known);
        }
        let tell = match why {
            Why::Asked => true,
            Why::Report => !items.is_empty() || schedule.report == ReportPolicy::Always,
            Why::Alert => !items.is_empty() && (daily || pressing),
        };
        // What is no longer there is forgotten, so that it is new if it comes back.
        let told = if tell { all } else { still };
        if report || daily {
            after.daily_at = now;
        }
        if !tell && why == Why::Alert {
            return Ok(CheckRun { told: (told != before).then_some(told), ..quiet(after) });
        }

        let digest = AlertDigest {
            snapshot,
            schedule_id: id,
            schedule: &schedule.name,
            plan,
            at: now,
            next,
            why,
            within: schedule.within,
            open,
            items,
        };
        let ran = Ran { at: now, why, findings, news: digest.news(), told: tell };
        after.last = Some(ran.clone());
        let recipient = |to: &Arc<str>| Recipient {
            to: to.clone(),
            state: Sending::Waiting,
            attempts: 0,
            at: None,
            next: Some(now),
            error: None,
        };
        let recipients: Vec<Recipient> = schedule.recipients.iter().map(recipient).collect();
        let delivery = (tell && !recipients.is_empty())
            .then(|| (EmailDelivery { schedule: id.clone(), ran: ran.clone(), recipients }, digest.content()));
        Ok(CheckRun {
            state: after,
            event: tell.then(|| digest.event()),
            ran: Some(ran),
            told: (told != before).then_some(told),
            delivery,
            delivery_id: format!("{id}.{:012}", now.seconds()),
        })
    }

    /// Sends one of a run's letters, if one is due.
    pub fn mail_step(
        &self,
        key: PartnerKey,
        id: &str,
        now: Time,
        mailer: Option<&Mailer>,
    ) -> Result<SendOutcome, ServiceError> {
        match self.leases.claim(&format!("mail:{key}:{id}"))? {
            Some(_claim) => self.mail_step_held(key, id, now, mailer),
            None => Ok(SendOutcome::Elsewhere),
        }
    }

    fn mail_step_held(
        &self,
        key: PartnerKey,
        id: &str,
        now: Time,
        mailer: Option<&Mailer>,
    ) -> Result<SendOutcome, ServiceError> {
        let due = |one: &&Recipient| one.state == Sending::Waiting && one.next.is_none_or(|next| next <= now);
        let Some(delivery) = self.delivery(key, id)? else { return Ok(SendOutcome::Idle) };
        let Some(recipient) = delivery.recipients.iter().find(due) else { return Ok(SendOutcome::Idle) };
        let to = &recipient.to;
        // An email whose sending cannot be stored would be sent for ever; a damaged
        // partner takes no writes, for one.
        self.write_beside(key, |_| Ok(()))?;
        let snapshot = self.partner_snapshot(key, false)?;
        let schedule = snapshot.settings.get(&delivery.schedule).and_then(Setting::schedule);
        let content = self.store.document(key, DIGEST, id)?;
        let content: Option<Content> =
            content.as_ref().map(|content| content.read("the text of the emails of run")).transpose()?;
        let result = match (mailer, content) {
            _ if schedule.is_none_or(|schedule| !schedule.recipients.contains(to)) => {
                Err(MailFailure::Never("it is no longer a recipient".to_owned()))
            }
            // Somebody may set one up within the day.
            (None, _) => {
                let what = "no mail server is set up here";
                Err(MailFailure::Server { what, why: "see [mail] in the settings".to_owned() })
            }
            (_, None) => Err(MailFailure::Never("the email is gone".to_owned())),
            (Some(mailer), Some(Content { subject, text, html, csv })) => {
                let name = &hex_digest::text(&<[u8; 32]>::from(Sha256::digest(to.to_lowercase().as_bytes())))[..12];
                let letter = Email {
                    to,
                    subject: &subject,
                    text: &text,
                    html: Some(&html),
                    csv: csv.as_deref().map(|csv| ("findings.csv", csv)),
                    id: &format!("{id}.{name}"),
                };
                mailer.send(&letter, &mut |step| debug!(delivery = %id, "{step}"))
            }
        };
        if let Err(failure) = &result {
            // Addresses are nobody's business who reads logs.
            let why = failure.to_string().replace(&**to, "the recipient");
            warn!(partner.key = %key, delivery = %id, cause = why, "an email of {id} was not sent: {why}");
        }
        let attempt = self.mail_written(key, id, to, now, &result)?;
        let word = match attempt {
            SendOutcome::Sent => "sent",
            SendOutcome::Later => "later",
            SendOutcome::Failed => "failed",
            // The schedule was removed meanwhile.
            SendOutcome::Idle | SendOutcome::Elsewhere => return Ok(attempt),
        };
        metrics::counter!("rollcall_mails_total", "result" => word).increment(1);
        Ok(attempt)
    }

    /// Writes down how an attempt went. A letter that was taken and is not
    /// written down would be sent again, so this is tried more than once.
    fn mail_written(
        &self,
        key: PartnerKey,
        id: &str,
        to: &Arc<str>,
        now: Time,
        result: &Result<(), MailFailure>,
    ) -> Result<SendOutcome, ServiceError> {
        let mut tries = 0;
        loop {
            let noted = self.write_beside(key, |transaction| {
                let Some(document) = transaction.document(MAIL, id)? else { return Ok(SendOutcome::Idle) };
                let mut delivery: EmailDelivery = document.read(EMAILS)?;
                let began = delivery.ran.at;
                let mut attempt = SendOutcome::Idle;
                for one in delivery.recipients.iter_mut().filter(|one| one.state == Sending::Waiting) {
                    // If the server could not be used, then for nobody.
                    let whole = matches!(result, Err(MailFailure::Server { .. }));
                    if one.to == *to {
                        attempt = one.note(result, began, now);
                    } else if whole && one.next.is_none_or(|next| next <= now) {
                        one.note(result, began, now);
                    }
                }
                let due = delivery.due();
                transaction.put_document(MAIL, &Document::of(&document.id, due, &delivery))?;
                if due.is_none() {
                    transaction.drop_document(DIGEST, id)?;
                }
                Ok(attempt)
            });
            match noted {
                Err(ServiceError::Store(error)) if tries < 3 => {
                    tries += 1;
                    warn!(error = &error as &dyn std::error::Error, "cannot record how email {id} went; trying again");
                    std::thread::sleep(std::time::Duration::from_millis(200 << tries));
                }
                noted => return noted,
            }
        }
    }

    /// Makes the state of schedules that have none, such as those of a log that
    /// was brought here without what is beside it.
    fn schedules_settle(&self, now: Time) -> Result<(), ServiceError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        for node in replica.nodes() {
            for setting in live(&node.snapshot()) {
                match self.schedule_settle(node.key, &setting.id, now) {
                    Ok(()) => {}
                    // It is this schedule's fault alone: the others run.
                    Err(
                        error @ (ServiceError::Invalid(_)
                        | ServiceError::Unknown { .. }
                        | ServiceError::Store(StoreError::Corrupt { .. } | StoreError::Damaged { .. })),
                    ) => {
                        let cause = &error as &dyn std::error::Error;
                        let id = &setting.id;
                        warn!(partner.key = %node.key, schedule = %id, error = cause, "schedule {id} has no next run");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn schedule_settle(&self, key: PartnerKey, id: &str, now: Time) -> Result<(), ServiceError> {
        if self.store.document(key, SCHEDULE, id)?.is_some() {
            return Ok(());
        }
        self.write_beside(key, |transaction| {
            let (_, schedule) = setting_of(transaction, id)?;
            let plan = Recurrence::parse(&schedule.cron, &schedule.zone).map_err(ServiceError::Invalid)?;
            if transaction.document(SCHEDULE, id)?.is_none() {
                let state = ScheduleState::new(&schedule, &plan, now);
                let due = state.due(&schedule, &plan, now);
                transaction.put_document(SCHEDULE, &state.document(id, due))?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// What a look at a schedule looks at.
struct CheckContext<'a> {
    snapshot: &'a Snapshot,
    setting: &'a Setting,
    schedule: &'a Schedule,
    plan: &'a Recurrence,
    state: &'a ScheduleState,
    now: Time,
    /// Whether somebody asked for a report.
    asked: bool,
}

/// What it leaves.
struct CheckRun {
    state: ScheduleState,
    ran: Option<Ran>,
    /// Only if it has changed.
    told: Option<ReportedFindings>,
    delivery: Option<(EmailDelivery, Content)>,
    delivery_id: String,
    event: Option<Value>,
}

impl Recipient {
    fn note(&mut self, result: &Result<(), MailFailure>, began: Time, now: Time) -> SendOutcome {
        self.attempts += 1;
        (self.at, self.next) = (Some(now), None);
        let (why, forever) = match result {
            Ok(()) => {
                (self.state, self.error) = (Sending::Sent, None);
                return SendOutcome::Sent;
            }
            Err(MailFailure::Never(why)) => (why.clone(), true),
            Err(MailFailure::Later(why)) => (why.clone(), false),
            Err(MailFailure::Server { what, .. }) => ((*what).to_owned(), false),
        };
        let wait = RETRY_SECONDS[(self.attempts as usize - 1).min(RETRY_SECONDS.len() - 1)];
        let next = now.plus(wait);
        if forever || next > began.plus(GIVE_UP_SECONDS) {
            let given_up = if forever { "" } else { "given up after a day: " };
            (self.state, self.error) = (Sending::Failed, Some(format!("{given_up}{why}")));
            return SendOutcome::Failed;
        }
        (self.next, self.error) = (Some(next), Some(why));
        SendOutcome::Later
    }
}

fn setting_of(transaction: &mut dyn PartnerReads, id: &str) -> Result<(Setting, Schedule), ServiceError> {
    let setting = transaction.setting(id)?.filter(|setting| setting.removed_at.is_none());
    let setting = setting.ok_or_else(|| ServiceError::unknown("schedule", id))?;
    let schedule = setting.schedule().cloned().ok_or_else(|| ServiceError::unknown("schedule", id))?;
    Ok((setting, schedule))
}

fn state_of(transaction: &mut dyn SideWrites, id: &str) -> Result<Option<ScheduleState>, ServiceError> {
    transaction.document(SCHEDULE, id)?.as_ref().map(ScheduleState::read).transpose()
}

fn view(setting: &Setting, state: Option<ScheduleState>, now: Time) -> Result<ScheduleView, ServiceError> {
    let schedule = setting.schedule().ok_or_else(|| ServiceError::unknown("schedule", &setting.id))?.clone();
    let runs = schedule.off.is_none() && setting.removed_at.is_none();
    let plan = Recurrence::parse(&schedule.cron, &schedule.zone).ok().filter(|_| runs);
    let next_runs = plan.map(|plan| upcoming(&plan, now)).unwrap_or_default();
    let Setting { id, created_at, removed_at, .. } = setting.clone();
    Ok(ScheduleView { id, created_at, removed_at, schedule, next_runs, state, runs: Vec::new() })
}

fn shown(
    setting: &Setting,
    state: Option<ScheduleState>,
    now: Time,
    created: bool,
) -> Result<VerbOutcome, ServiceError> {
    Ok(VerbOutcome::Schedule { view: Box::new(view(setting, state, now)?), created })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Time {
        Time::new(seconds).expect("a time")
    }

    #[test]
    fn an_expiring_number_comes_nearer_in_steps() {
        let now = time(1_770_000_000);
        let (second, day) = (1, 86_400);
        let stage = |left: i64, within: i64| {
            let (number, account, evidence) = (None, None, Vec::new());
            stage(&Finding::new(Check::Expiring, account, number, Some(now.plus(left)), evidence), within, now)
        };
        assert_eq!(stage(14 * day, 14 * day), (1, None));
        assert_eq!(stage(7 * day + second, 14 * day), (1, None));
        assert_eq!(stage(7 * day, 14 * day), (2, Some(7)));
        assert_eq!(stage(day + second, 14 * day), (2, Some(7)));
        assert_eq!(stage(day, 14 * day), (3, Some(1)));
        assert_eq!(stage(14 * day, 30 * day), (2, Some(14)));
        assert_eq!(stage(3 * day, 3 * day), (1, None));
    }

    #[test]
    fn what_was_told_is_written_and_read() {
        let told = ReportedFindings(
            [
                (ReportedFindings::name("fi_0c9d1f8e2b7a65430c9d"), 1),
                (ReportedFindings::name("fi_ffffffffffffffffffff"), 3),
            ]
            .into(),
        );
        assert_eq!(told.text(), "0c9d1f8e2b7a1\nffffffffffff3\n");
        assert_eq!(ReportedFindings::read(&told.text()), told);
        assert_eq!(ReportedFindings::read("nonsense\n"), ReportedFindings::default());
    }

    #[test]
    fn letters_are_tried_again_for_a_day() {
        let began = time(1_770_000_000);
        let mut now = began;
        let to = "desk@example.net".into();
        let mut one = Recipient { to, state: Sending::Waiting, attempts: 0, at: None, next: Some(now), error: None };
        let mut waits = Vec::new();
        while one.note(&Err(MailFailure::Later("busy".to_owned())), began, now) == SendOutcome::Later {
            let next = one.next.expect("a next attempt");
            waits.push(next.seconds() - now.seconds());
            now = next;
        }
        assert_eq!(waits[..5], [60, 300, 1_800, 7_200, 14_400]);
        assert!(now <= began.plus(GIVE_UP_SECONDS) && one.state == Sending::Failed);
        assert_eq!(one.error.as_deref(), Some("given up after a day: busy"));
    }

    #[test]
    fn recipients_are_there_once() {
        let mut errors = Vec::new();
        let texts = ["Desk@example.net", " desk@EXAMPLE.net", "b@example.net"].map(str::to_owned);
        assert_eq!(addresses(&texts, &mut errors).len(), 2);
        assert!(errors.is_empty());
        addresses(&["x".to_owned()], &mut errors);
        let many: Vec<String> = (0..21).map(|at| format!("{at}@example.net")).collect();
        addresses(&many, &mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["recipients[0]", "recipients"]);
    }
}
