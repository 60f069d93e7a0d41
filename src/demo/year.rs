//! The year before now, played: how the inventory became what it is.
//!
//! Every step is one of the service's own verbs at its time: a file comes in,
//! a job suspends, releases or renews, a list of prices changes what numbers
//! cost, a mistake is undone, findings are acknowledged, a schedule reports.
//! So the log, the jobs, the timelines and the bills are those of a real year.
//!
//! Always holds: at the end every number is as its row says, but for what the
//! transfer of [`Player::transfer`] moved; steps are in the order of time; the
//! year depends on the number of numbers and the day alone.
//! Deliberately absent: what is made up without a verb. Where the demo has
//! nothing real to show, such as emails that were sent, it shows nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::stream::{COLUMNS, DemoRow, DemoStream};
use super::tables::{PartnerProfile, SAMPLES};
use super::{DemoError, DemoPeople};
use crate::domain::action::Transfer;
use crate::domain::setting::DeliveryOrder;
use crate::domain::setting::ReportPolicy;
use crate::domain::{
    AccountId, Action, Actor, ApplicationId, Destination, Destinations, E164, PartnerId, PartnerKey, State, Time, Zone,
};
use crate::service::background::jobs::{BatchStep, JobSelection, LIST_MAX, NewJob};
use crate::service::background::schedules::SchedulePatch;
use crate::service::background::webhooks::NewWebhook;
use crate::service::verbs::checks::{Check, CheckOptions, findings};
use crate::service::verbs::import::{ImportOptions, ImportReport, Watch};
use crate::service::verbs::numbers::Expected;
use crate::service::{NumberRef, Replica, Service, ServiceError, Snapshot, VerbOutcome, WriteOutcome};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// How long ago the partner came.
const DAYS: i64 = 365;
/// How long before its end a term is renewed.
const RENEWED_DAYS: i64 = 10;
/// When the prices rose, and from what to what.
const PRICES_DAYS: i64 = 150;
const PRICES: &[(&str, &str, &str)] =
    &[("450.00", "INR", "420.00"), ("480.00", "INR", "455.00"), ("1.15", "USD", "1.10"), ("2.50", "EUR", "2.35")];
/// For how many days calls were counted, and how many of a hundred numbers were
/// called on one of them.
const CALLED_DAYS: usize = 10;
const CALLED_PERCENT: usize = 60;

/// One thing that happened.
enum YearStep {
    /// A file.
    Import(String),
    /// A job on these numbers.
    Job(Action, serde_json::Value, Vec<E164>),
    /// A choice among the numbers that there are by then.
    Event(fn(&Player<'_>, Time) -> Result<(), DemoError>),
}

/// The year of one partner, in the making: what happened when.
pub struct DemoYear {
    now: Time,
    start: Time,
    imports: BTreeMap<Time, String>,
    prices: String,
    suspended: BTreeMap<Time, Vec<E164>>,
    released: BTreeMap<Time, Vec<E164>>,
    renewed: BTreeMap<Time, Vec<E164>>,
}

/// When a partner of the demo came, as of the day of `now`.
pub fn start(now: Time) -> Time {
    midnight(now).plus(9 * HOUR - DAYS * DAY)
}

fn midnight(now: Time) -> Time {
    now.plus(-now.seconds().rem_euclid(DAY))
}

impl DemoYear {
    pub fn of(profile: &'static PartnerProfile, numbers: u64, now: Time) -> DemoYear {
        let (imports, suspended, released, renewed) = Default::default();
        let prices = "number,number_end,monthly_cost,currency\n".to_owned();
        let mut year = DemoYear { now, start: start(now), imports, prices, suspended, released, renewed };
        DemoStream::new(profile, numbers, now).rows(&mut |row| year.take(row));
        year
    }

    /// Notes how one row came to be.
    fn take(&mut self, row: DemoRow<'_>) {
        let mut first = row;
        let came = match row.state {
            "reserved" => row.since,
            _ => row.assigned_at.filter(|at| *at <= self.now),
        };
        let came = came.unwrap_or(self.start).max(self.start);
        let numbers = || {
            let (first, last) = row.numbers.unwrap_or((1, 0));
            (first..=last).filter_map(E164::new)
        };
        match (row.state, row.since) {
            ("suspended", Some(at)) => {
                (first.state, first.since) = ("active", row.assigned_at);
                self.suspended.entry(at).or_default().extend(numbers());
            }
            ("quarantined", Some(at)) => {
                (first.state, first.since, first.quarantine_ends_at) = ("active", row.assigned_at, None);
                first.holding = row.earlier;
                self.released.entry(at).or_default().extend(numbers());
            }
            _ => {}
        }
        // A term of a year that began before the partner came was renewed once.
        if let Some(end) = row.expires_at.filter(|_| came == self.start) {
            let renewed = end.plus(-(DAYS + RENEWED_DAYS) * DAY + HOUR);
            if renewed > self.start.plus(DAY) && renewed < midnight(self.now) {
                first.expires_at = Some(end.plus(-DAYS * DAY));
                self.renewed.entry(end).or_default().extend(numbers());
            }
        }
        let cost = PRICES.iter().find(|(cost, currency, _)| (*cost, *currency) == (row.cost, row.currency));
        if let Some((cost, currency, before)) = cost.filter(|_| came < self.risen())
            && let Some((begin, end)) = row.numbers
        {
            first.cost = before;
            writeln!(self.prices, "+{begin},+{end},{cost},{currency}").expect("memory can be written to");
        }
        let file = self.imports.entry(came).or_insert_with(|| format!("{COLUMNS}\n"));
        write!(file, "{first}").expect("memory can be written to");
    }

    fn risen(&self) -> Time {
        midnight(self.now).plus(8 * HOUR - PRICES_DAYS * DAY)
    }

    /// The first file, and what follows in the order of time.
    fn steps(self) -> (String, Vec<(Time, YearStep)>) {
        let today = midnight(self.now);
        let (start, risen, now) = (self.start, self.risen(), self.now);
        let day = |days: i64, hour: i64| today.plus(days * DAY + hour * HOUR);
        let mut imports = self.imports;
        let base = imports.remove(&start).unwrap_or_else(|| format!("{COLUMNS}\n"));
        let mut steps: Vec<(Time, YearStep)> =
            imports.into_iter().map(|(at, file)| (at, YearStep::Import(file))).collect();
        if self.prices.lines().nth(1).is_some() {
            steps.push((risen, YearStep::Import(self.prices)));
        }
        let none = serde_json::json!({});
        let suspend = |(at, numbers)| (at, YearStep::Job(Action::Suspend, none.clone(), numbers));
        steps.extend(self.suspended.into_iter().map(suspend));
        for (at, numbers) in self.released {
            let params = serde_json::json!({ "confirm_last": true });
            steps.push((at, YearStep::Job(Action::Release { confirm_last: true }, params, numbers)));
        }
        for (end, numbers) in self.renewed {
            let params = serde_json::json!({ "expires_at": end });
            let at = end.plus(-(DAYS + RENEWED_DAYS) * DAY + 10 * HOUR);
            steps.push((at, YearStep::Job(Action::Renew { expires_at: Some(end) }, params, numbers)));
        }
        // Days are counted from a Thursday.
        let monday = -(today.seconds().div_euclid(DAY) + 3).rem_euclid(7);
        type Play = fn(&Player<'_>, Time) -> Result<(), DemoError>;
        let events: [(Time, Play); 13] = [
            (day(-120, 13), |it, at| it.sample_tried(at)),
            (day(-90, 8), |it, at| it.filters(at)),
            (day(-61, 14), |it, at| it.transfer(at)),
            (day(-45, 15), |it, at| it.mistake(at)),
            (day(-36, 8), |it, at| it.schedule(at)),
            (day(monday - 21, 6), |it, at| it.report(at)),
            (day(monday - 14, 6), |it, at| it.report(at)),
            (day(monday - 7, 6), |it, at| it.report(at)),
            (day(monday, 6), |it, at| it.report(at)),
            (day(-6, 12), |it, at| it.webhook(at)),
            (day(-3, 9), |it, at| it.sample_paused(at)),
            (day(-2, 16), |it, at| it.acknowledge(at)),
            (day(-1, 17), |it, at| it.preview(at)),
        ];
        steps.extend(events.map(|(at, event)| (at, YearStep::Event(event))));
        steps.retain(|(at, _)| *at <= now);
        steps.sort_by_key(|(at, _)| *at);
        (base, steps)
    }

    /// Plays the year. The numbers that are there from the beginning come in
    /// under the eyes of `watch`, which may stop that; the rest is short.
    pub fn play(
        self,
        service: &Service,
        partner: &PartnerId,
        people: &DemoPeople,
        watch: &Watch<'_>,
    ) -> Result<Vec<ImportReport>, DemoError> {
        let (start, now) = (self.start, self.now);
        let (base, steps) = self.steps();
        let mut reports = vec![import(&service.at(start), partner, &base, watch)?];
        let key = service.partner_key(partner)?;
        give_destinations(&service.at(start), partner)?;
        let replica = Arc::new(Replica::load(service.store().clone()).map_err(ServiceError::from)?);
        let service = service.clone().replica(replica.clone());
        let player = Player { service: &service, replica: &replica, key, people };
        let uninterrupted = AtomicBool::new(false);
        let watch = Watch { progress: &|_| {}, cancel: &uninterrupted };
        for (at, step) in steps {
            match step {
                YearStep::Import(file) => {
                    reports.push(import(&service.at(at), partner, &file, &watch)?);
                    give_destinations(&service.at(at), partner)?;
                }
                YearStep::Job(action, params, numbers) => player.job(at, action, &params, &numbers)?,
                YearStep::Event(event) => event(&player, at)?,
            }
        }
        player.calls(now)?;
        Ok(reports)
    }
}

fn import(service: &Service, partner: &PartnerId, file: &str, watch: &Watch<'_>) -> Result<ImportReport, DemoError> {
    let source = || Ok(Box::new(io::Cursor::new(file.as_bytes().to_vec())) as Box<dyn io::Read>);
    let report = service.import(partner, &source, &ImportOptions::default(), watch)?;
    match report.errors.first() {
        Some(first) => Err(DemoError::Rejected {
            partner: partner.clone(),
            rejected: report.rejected,
            first: Box::new(first.clone()),
        }),
        None => Ok(report),
    }
}

/// Gives every application that has none two places where its calls go: the
/// second is tried when the first does not answer.
fn give_destinations(service: &Service, partner: &PartnerId) -> Result<(), DemoError> {
    let snapshot = service.snapshot(partner, false)?;
    let mut all = Vec::new();
    for application in snapshot.applications.iter().filter(|application| application.destinations.is_empty()) {
        let mut destinations = Vec::new();
        for (at, priority) in [(1_u8, 10), (2, 20)] {
            let uri = format!("sip:ivr-{at}.demo.example").parse();
            destinations.extend(uri.map(|uri| Destination { priority, ..Destination::new(uri) }));
        }
        all.extend(Destinations::new(destinations).map(|list| (application.id.clone(), list)));
    }
    if !all.is_empty() {
        service.applications_destinations(snapshot.key, &all)?;
    }
    Ok(())
}

/// Whether the specification shows this number, so that it has to stay as it is.
fn is_sample(number: E164) -> bool {
    SAMPLES.iter().any(|sample| (sample.first..=sample.last).contains(&number.digits()))
}

/// Plays steps.
struct Player<'a> {
    service: &'a Service,
    replica: &'a Replica,
    key: PartnerKey,
    people: &'a DemoPeople,
}

impl Player<'_> {
    fn by(&self, actor: &Actor, at: Time) -> Service {
        self.service.asked(actor.clone(), None, None).at(at)
    }

    fn manager(&self, at: Time) -> Service {
        self.by(&self.people.manager, at)
    }

    fn owner(&self, at: Time) -> Service {
        self.by(&self.people.owner, at)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, DemoError> {
        // An import does not wait for the index.
        self.replica.follow();
        let found = self.replica.snapshot(self.key);
        Ok(found.ok_or(ServiceError::Unknown { what: "partner", id: self.key.to_string() })?)
    }

    /// A job that the manager made, done to its end.
    fn job(&self, at: Time, action: Action, params: &serde_json::Value, numbers: &[E164]) -> Result<(), DemoError> {
        for numbers in numbers.chunks(LIST_MAX) {
            self.job_of(at, action.clone(), params, numbers)?;
        }
        Ok(())
    }

    fn job_of(
        &self,
        at: Time,
        action: Action,
        params: &serde_json::Value,
        numbers: &[E164],
    ) -> Result<Option<String>, DemoError> {
        let wanted = JobSelection::List(numbers.to_vec());
        let new = NewJob { action, params: params.to_string(), wanted, preview: false };
        self.run(at, self.manager(at).job_create(self.key, &new)?)
    }

    /// Does a job's batches, two seconds after it was made.
    fn run(&self, at: Time, made: WriteOutcome) -> Result<Option<String>, DemoError> {
        let WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. } = made else { return Ok(None) };
        let service = self.manager(at.plus(2));
        while service.job_step(self.key, &job.id, Instant::now())? == BatchStep::More {}
        Ok(Some(job.id))
    }

    /// The first numbers that are fit for something.
    fn some(&self, at: Time, count: usize, fit: impl Fn(&NumberRef<'_>) -> bool) -> Result<Vec<E164>, DemoError> {
        let snapshot = self.snapshot()?;
        let found = snapshot.iter(at).filter(|row| fit(row)).map(|row| row.number()).take(count).collect();
        Ok(found)
    }

    /// The specification's number, if this partner has it and it routes.
    fn sample(&self, at: Time) -> Result<Option<E164>, DemoError> {
        let wanted = E164::new(SAMPLES[0].first);
        let found = self.some(at, 1, |row| Some(row.number()) == wanted && row.application().is_some())?;
        Ok(found.first().copied())
    }

    /// Its calls go elsewhere for an hour, and the change is undone.
    fn sample_tried(&self, at: Time) -> Result<(), DemoError> {
        let Some(number) = self.sample(at)? else { return Ok(()) };
        let other = ApplicationId::stored(SAMPLES[1].application.0);
        if self.snapshot()?.applications.sorted().all(|application| application.id != other) {
            return Ok(());
        }
        let action = Action::Route { application: Some(Some(other)), trunk: None };
        let done = self.manager(at).act(self.key, number, &action, &Expected::Anything)?;
        if let WriteOutcome::Done { version: Some(version), .. } = done {
            self.manager(at.plus(HOUR)).undo(self.key, version)?;
        }
        Ok(())
    }

    /// It is suspended over a day, and resumed.
    fn sample_paused(&self, at: Time) -> Result<(), DemoError> {
        let Some(number) = self.sample(at)? else { return Ok(()) };
        for (at, action) in [(at, Action::Suspend), (at.plus(DAY + HOUR), Action::Resume)] {
            self.manager(at).act(self.key, number, &action, &Expected::Anything)?;
        }
        Ok(())
    }

    /// Filters that people keep.
    fn filters(&self, at: Time) -> Result<(), DemoError> {
        let service = self.manager(at);
        for (name, line) in [("Vip", "tag:vip"), ("Toll-free, unrouted", "type:tollfree no:application")] {
            service.view_save(self.key, name, line, false)?;
        }
        Ok(())
    }

    /// The customers with more than twenty active numbers.
    fn large(&self, at: Time) -> Result<Vec<AccountId>, DemoError> {
        let snapshot = self.snapshot()?;
        let accounts = snapshot.accounts.iter().map(|account| account.auth_id.clone());
        let large = accounts.zip(snapshot.counts(at)).filter(|(_, count)| count.active > 20);
        Ok(large.map(|(account, _)| account).collect())
    }

    /// Active numbers of a customer.
    fn active(&self, at: Time, count: usize, holder: &AccountId, auto_renews: bool) -> Result<Vec<E164>, DemoError> {
        self.some(at, count, |row| {
            row.state() == State::Active
                && !is_sample(row.number())
                && (!auto_renews || row.expires_at().is_none())
                && row.account().is_some_and(|account| account.auth_id == *holder)
        })
    }

    /// Five numbers move from one customer to another.
    fn transfer(&self, at: Time) -> Result<(), DemoError> {
        let [.., giver, taker] = &self.large(at)?[..] else { return Ok(()) };
        let numbers = self.active(at, 5, giver, true)?;
        let params = serde_json::json!({ "account_auth_id": taker });
        let to = Transfer { account: taker.clone(), application: None, trunk: None, confirm_last: false };
        self.job(at, Action::Transfer(to), &params, &numbers)
    }

    /// A customer's numbers are suspended by mistake, and the job is undone.
    fn mistake(&self, at: Time) -> Result<(), DemoError> {
        let Some(wrong) = self.large(at)?.into_iter().next() else { return Ok(()) };
        let numbers = self.active(at, 40, &wrong, false)?;
        if let Some(id) = self.job_of(at, Action::Suspend, &serde_json::json!({}), &numbers)? {
            let soon = at.plus(11 * 60);
            self.run(soon, self.manager(soon).job_undo(self.key, &id, false)?)?;
        }
        Ok(())
    }

    /// A report every Monday, without recipients: its runs and what they found
    /// are on its page.
    fn schedule(&self, at: Time) -> Result<(), DemoError> {
        let wanted = SchedulePatch {
            name: Some("Weekly report".into()),
            cron: Some("0 6 * * 1".into()),
            report: Some(ReportPolicy::Always),
            alerts: Some(false),
            ..SchedulePatch::default()
        };
        self.owner(at).schedule_create(self.key, &wanted)?;
        Ok(())
    }

    /// The runs that are due by then.
    fn report(&self, at: Time) -> Result<(), DemoError> {
        let service = self.by(&Actor::Server, at);
        for schedule in service.schedules(self.key, at)? {
            service.schedule_step(self.key, &schedule.id, at, false)?;
        }
        Ok(())
    }

    /// An address for releases and suspensions. Names below `.example` never
    /// resolve, so its deliveries fail, as its page says.
    fn webhook(&self, at: Time) -> Result<(), DemoError> {
        let new = NewWebhook {
            name: "Billing".into(),
            url: "https://billing.demo.example/rollcall".into(),
            events: vec!["release".into(), "suspend".into()],
            order: DeliveryOrder::Number,
        };
        self.owner(at).webhook_create(self.key, &new)?;
        Ok(())
    }

    /// Findings of several kinds: one seen for good, the others for a while.
    fn acknowledge(&self, at: Time) -> Result<(), DemoError> {
        let snapshot = self.snapshot()?;
        let found = findings(&snapshot, &CheckOptions::default(), None, at);
        let service = self.manager(at);
        let notes = [
            (Check::Unrouted, "The customer connects these in the new year", Some(30)),
            (Check::Expiring, "Renewal is agreed, the order is on its way", Some(7)),
            (Check::Suspended, "Unpaid; the customer knows", None),
        ];
        for (check, note, days) in notes {
            let until = days.map(|days: i64| at.plus(days * DAY));
            for seen in found.iter().filter(|seen| seen.finding.check == check).take(2) {
                service.acknowledge(self.key, &seen.id, Some(&note.into()), until)?;
            }
        }
        Ok(())
    }

    /// A job that is ready to run: what it will change is on its page.
    fn preview(&self, at: Time) -> Result<(), DemoError> {
        let soon = at.plus(15 * DAY);
        let numbers = self.some(at, 12, |row| {
            row.state() == State::Active && row.expires_at().is_some_and(|end| end > at && end < soon)
        })?;
        let action = Action::Extend { months: 12, zone: Zone::utc() };
        let params = serde_json::json!({ "months": 12 }).to_string();
        let new = NewJob { action, params, wanted: JobSelection::List(numbers), preview: true };
        self.manager(at).job_create(self.key, &new)?;
        Ok(())
    }

    /// Calls on the last days, counted as a node counts them: each number on
    /// one of them, or never.
    fn calls(&self, now: Time) -> Result<(), DemoError> {
        let snapshot = self.snapshot()?;
        let mut days: Vec<Vec<E164>> = vec![Vec::new(); CALLED_DAYS];
        for row in snapshot.iter(now).filter(|row| row.application().is_some()) {
            let chance = (row.number().digits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize;
            if chance % 100 < CALLED_PERCENT || is_sample(row.number()) {
                days[chance / 100 % CALLED_DAYS].push(row.number());
            }
        }
        for (ago, numbers) in days.into_iter().enumerate().rev() {
            let at = now.plus(-(ago as i64) * DAY);
            for number in numbers {
                snapshot.called.record(number, at);
            }
            self.replica.keep_called(Some(("demo", true)), at).map_err(ServiceError::from)?;
        }
        Ok(())
    }
}
