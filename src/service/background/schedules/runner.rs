//! Runs due schedules and sends due emails ([`turns`](crate::service::background::turns)).
//!
//! Both are found in the store, so commands and other nodes need not report what
//! they created. Emails have a queue of their own: a slow mail server delays
//! emails and no run.
//! Deliberately absent: what a run does (`schedules`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

use super::{MAIL, RunStep, SCHEDULE, SendOutcome};
use crate::domain::{PartnerKey, Time};
use crate::mail::Mailer;
use crate::service::background::lease;
use crate::service::background::turns::{Item, Next, Runner, Turn, TurnLimits, Worker};
use crate::service::background::workers::Work;
use crate::service::{Service, ServiceError, WorkerClock};

/// How often the store is asked what is due.
const POLL: Duration = Duration::from_secs(1);
/// How many due documents are read together.
const PAGE: usize = 1_000;
/// How many emails are sent at a time.
const SENDERS: usize = 2;
/// How long a stop waits for emails that are being sent. The next holder of the
/// lease sends an email again that takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs schedules and sends emails until [`ScheduleRunner::stop`].
pub struct ScheduleRunner {
    runs: Runner,
    emails: Runner,
}

impl ScheduleRunner {
    pub fn start(service: &Service, mailer: Option<Mailer>, clock: WorkerClock) -> ScheduleRunner {
        let lease = Arc::new(service.leases.keep("schedules", lease::SPAN));
        let runs = ScheduleWorker { service: service.clone(), clock: clock.clone(), settled: AtomicBool::new(false) };
        let emails = EmailWorker { service: service.clone(), clock, mailer };
        let limits = |places| TurnLimits { places, per_partner: usize::MAX, leave_room: false };
        let workers = &service.workers;
        ScheduleRunner {
            runs: Runner::start(runs, Arc::default(), lease.clone(), limits(1), workers.clone()),
            emails: Runner::start(emails, Arc::default(), lease, limits(SENDERS), workers.clone()),
        }
    }

    pub fn stop(self) {
        Runner::stop(vec![self.runs, self.emails], PATIENCE);
    }
}

/// The due documents of a kind, as items.
fn due(service: &Service, kind: &str, now: Time) -> Result<Vec<Item>, ServiceError> {
    let due = service.store().due(kind, now, PAGE)?;
    let since = |due: Time| {
        let age = Duration::from_secs((now.seconds() - due.seconds()).max(0) as u64);
        Instant::now().checked_sub(age)
    };
    let item = |(key, document): (PartnerKey, crate::store::Document)| Item {
        since: document.due.and_then(since),
        ..Item::ready(key, &document.id)
    };
    Ok(due.into_iter().map(item).collect())
}

/// The schedules.
struct ScheduleWorker {
    service: Service,
    clock: WorkerClock,
    /// Whether the schedules of before this start have a next run.
    settled: AtomicBool,
}

impl Worker for ScheduleWorker {
    fn work(&self) -> Work {
        Work::Schedules
    }

    fn poll(&self) -> Duration {
        POLL
    }

    fn list(&self) -> Result<Vec<Item>, ServiceError> {
        let now = (self.clock)();
        if !self.settled.load(Ordering::Relaxed) {
            self.service.schedules_settle(now)?;
            self.settled.store(true, Ordering::Relaxed);
        }
        due(&self.service, SCHEDULE, now)
    }

    fn step(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        match self.service.schedule_step(*key, id, (self.clock)(), false) {
            Ok(RunStep::Told { .. } | RunStep::Quiet) => Next::Listed,
            Ok(RunStep::Idle | RunStep::Elsewhere) => Next::Rest(POLL),
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                warn!(partner.key = %key, schedule = %id, error = cause, "schedule {id} cannot run; trying again");
                Next::Retry(error.to_string())
            }
        }
    }
}

/// The emails.
struct EmailWorker {
    service: Service,
    clock: WorkerClock,
    mailer: Option<Mailer>,
}

impl Worker for EmailWorker {
    fn work(&self) -> Work {
        Work::Emails
    }

    fn poll(&self) -> Duration {
        POLL
    }

    fn list(&self) -> Result<Vec<Item>, ServiceError> {
        due(&self.service, MAIL, (self.clock)())
    }

    fn step(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        match self.service.mail_step(*key, id, (self.clock)(), self.mailer.as_ref()) {
            Ok(SendOutcome::Sent) => Next::Again,
            Ok(SendOutcome::Later | SendOutcome::Failed) => Next::Listed,
            Ok(SendOutcome::Idle | SendOutcome::Elsewhere) => Next::Rest(POLL),
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                warn!(partner.key = %key, delivery = %id, error = cause, "emails {id} cannot be sent; trying again");
                Next::Retry(error.to_string())
            }
        }
    }
}

/// Runs every schedule that is due at `now`, one after the other, and returns how
/// many reported something. For tests, which have no threads.
pub fn runs_due(service: &Service, now: Time) -> Result<usize, ServiceError> {
    let mut told = 0;
    for Item { id: (key, id), .. } in due(service, SCHEDULE, now)? {
        match service.schedule_step(key, &id, now, false) {
            Ok(RunStep::Told { .. }) => told += 1,
            Ok(RunStep::Quiet | RunStep::Idle | RunStep::Elsewhere) => {}
            Err(error) => warn!(error = &error as &dyn std::error::Error, schedule = %id, "schedule {id} cannot run"),
        }
    }
    Ok(told)
}

/// Sends every email that is due at `now`, one after the other, and returns
/// how many were delivered. For commands and tests, which have no threads.
pub fn letters_due(service: &Service, mailer: Option<&Mailer>, now: Time) -> Result<usize, ServiceError> {
    let mut sent = 0;
    for Item { id: (key, id), .. } in due(service, MAIL, now)? {
        sent += letters_of(service, mailer, key, &id, now)?;
    }
    Ok(sent)
}

/// The same for one run.
pub fn letters_of(
    service: &Service,
    mailer: Option<&Mailer>,
    key: PartnerKey,
    id: &str,
    now: Time,
) -> Result<usize, ServiceError> {
    let mut sent = 0;
    loop {
        match service.mail_step(key, id, now, mailer)? {
            SendOutcome::Sent => sent += 1,
            SendOutcome::Later | SendOutcome::Failed => {}
            SendOutcome::Idle | SendOutcome::Elsewhere => return Ok(sent),
        }
    }
}
