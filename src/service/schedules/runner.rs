//! The threads that look after schedules: one makes runs, some send letters.
//!
//! Both find what is due in the store, so commands beside the server and other
//! nodes need not tell. Of several nodes one looks and sends, which has the
//! lease. Sending is apart from looking: a slow mail server delays letters and
//! no look. Partners take turns at sending, letter by letter.
//! Deliberately absent: any state that matters after a crash, and what is done
//! (`schedules`).

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

use super::{MAIL, RunStep, SCHEDULE, SendOutcome};
use crate::domain::{PartnerKey, Time};
use crate::mail::Mailer;
use crate::service::lease::{self, Lease};
use crate::service::workers::Work;
use crate::service::{Service, ServiceError, WorkerClock};
use crate::trace;

/// How often the store is asked what is due.
const POLL: Duration = Duration::from_secs(1);
/// How long what could not be done rests, unless its document says longer.
const REST: Duration = Duration::from_secs(5);
/// How many due documents are looked at together.
const PAGE: usize = 1_000;
/// How many letters are sent at a time.
const SENDERS: usize = 2;
/// How long the end of a server waits for letters that are on their way.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Makes every run that is due at `now`; returns how many schedules told
/// something. What fails is logged, and left for later.
pub fn runs_due(service: &Service, now: Time, rests: &mut Rests) -> Result<usize, ServiceError> {
    let mut told = 0;
    let due = service.store().due(SCHEDULE, now, PAGE)?;
    let oldest = due.iter().filter_map(|(_, document)| document.due).min();
    service.workers.queue_since(Work::Schedules, due.len() as u64, oldest, now);
    for (key, document) in due {
        let id = document.id;
        if rests.rests(key, &id) {
            continue;
        }
        let span = trace::root("schedule run");
        span.set("rollcall.schedule", &id);
        match catch_unwind(AssertUnwindSafe(|| service.schedule_step(key, &id, now, false))) {
            Ok(Ok(RunStep::Told { .. })) => told += 1,
            Ok(Ok(RunStep::Quiet)) => {}
            Ok(Ok(RunStep::Idle | RunStep::Elsewhere)) => rests.rest(key, &id, POLL),
            Ok(Err(error)) => {
                let cause = &error as &dyn std::error::Error;
                warn!(partner.key = %key, schedule = %id, error = cause, "schedule {id} cannot run; trying again");
                rests.rest(key, &id, REST);
            }
            Err(_) => {
                error!(partner.key = %key, schedule = %id, "schedule {id} panicked; it rests for an hour");
                rests.rest(key, &id, Duration::from_secs(3_600));
            }
        }
    }
    Ok(told)
}

/// Sends every email that is due at `now`, one after the other, and returns
/// how many were delivered. For commands and tests, which have no threads.
pub fn letters_due(service: &Service, mailer: Option<&Mailer>, now: Time) -> Result<usize, ServiceError> {
    let mut sent = 0;
    for (key, document) in service.store().due(MAIL, now, PAGE)? {
        sent += letters_of(service, mailer, key, &document.id, now)?;
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

/// What is not to be tried again at once, in this process.
#[derive(Default)]
pub struct Rests(HashMap<(PartnerKey, String), Instant>);

impl Rests {
    fn rest(&mut self, key: PartnerKey, id: &str, wait: Duration) {
        self.0.retain(|_, until| *until > Instant::now());
        self.0.insert((key, id.to_owned()), Instant::now() + wait);
    }

    fn rests(&self, key: PartnerKey, id: &str) -> bool {
        self.0.get(&(key, id.to_owned())).is_some_and(|until| *until > Instant::now())
    }
}

/// What the threads share.
struct ScheduleShared {
    service: Service,
    mailer: Option<Mailer>,
    clock: WorkerClock,
    lease: Lease,
    board: Mutex<ScheduleQueue>,
    woken: Condvar,
}

#[derive(Default)]
struct ScheduleQueue {
    stop: bool,
    /// Whose letters somebody is at.
    busy: HashSet<(PartnerKey, String)>,
    rests: Rests,
    /// Counts letters, to know whose turn was when.
    turn: u64,
    partners: HashMap<PartnerKey, u64>,
}

/// The threads, until [`ScheduleRunner::stop`].
pub struct ScheduleRunner {
    shared: Arc<ScheduleShared>,
    threads: Vec<JoinHandle<()>>,
}

impl ScheduleRunner {
    pub fn start(service: &Service, mailer: Option<Mailer>, clock: WorkerClock) -> ScheduleRunner {
        let (board, woken) = (Mutex::default(), Condvar::new());
        let lease = service.leases.keep("schedules", lease::SPAN);
        let shared = Arc::new(ScheduleShared { service: service.clone(), mailer, clock, lease, board, woken });
        let spawn = |work: fn(&ScheduleShared)| {
            let shared = shared.clone();
            std::thread::spawn(move || work(&shared))
        };
        let threads = std::iter::once(spawn(make_runs)).chain((0..SENDERS).map(|_| spawn(send_letters)));
        ScheduleRunner { threads: threads.collect(), shared: shared.clone() }
    }

    /// Lets running work finish, if it does so soon. An email that takes longer is
    /// left to its lease; the next holder sends it again.
    pub fn stop(self) {
        self.shared.board.lock().stop = true;
        self.shared.woken.notify_all();
        let asked = Instant::now();
        for thread in self.threads {
            while !thread.is_finished() && asked.elapsed() < LAST_WAIT {
                std::thread::sleep(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                warn!("the mail server is slow; leaving a letter that is on its way");
            } else if thread.join().is_err() {
                error!("a thread that looked after schedules panicked");
            }
        }
    }
}

impl ScheduleShared {
    /// Waits for a while; whether to go on.
    fn pause(&self) -> bool {
        let mut board = self.board.lock();
        if !board.stop {
            self.woken.wait_for(&mut board, POLL);
        }
        !board.stop
    }

    /// The letters whose turn it is: those of the partner that has waited
    /// longest, and of those, the longest due.
    fn next(&self) -> Result<Option<(PartnerKey, String)>, ServiceError> {
        if !self.lease.held() {
            return Ok(None);
        }
        let now = (self.clock)();
        let due = self.service.store().due(MAIL, now, PAGE)?;
        let oldest = due.iter().filter_map(|(_, document)| document.due).min();
        self.service.workers.queue_since(Work::Emails, due.len() as u64, oldest, now);
        let mut board = self.board.lock();
        let free = due
            .into_iter()
            .map(|(key, document)| (key, document.id))
            .filter(|(key, id)| !board.rests.rests(*key, id) && !board.busy.contains(&(*key, id.clone())));
        // The first of those that waited alike is the longest due.
        let Some((key, id)) = free.min_by_key(|(key, _)| board.partners.get(key).copied().unwrap_or_default()) else {
            return Ok(None);
        };
        board.turn += 1;
        let turn = board.turn;
        board.partners.insert(key, turn);
        board.busy.insert((key, id.clone()));
        Ok(Some((key, id)))
    }
}

fn make_runs(shared: &ScheduleShared) {
    let mut rests = Rests::default();
    let mut settled = false;
    let turns = shared.service.workers.join(Work::Schedules);
    loop {
        turns.begin();
        shared.service.workers.lease(Work::Schedules, &shared.lease);
        let now = (shared.clock)();
        if !shared.lease.held() {
            match shared.pause() {
                true => continue,
                false => return,
            }
        }
        if !settled {
            match shared.service.schedules_settle(now) {
                Ok(()) => settled = true,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot look for schedules; trying again");
                }
            }
        }
        if let Err(error) = runs_due(&shared.service, now, &mut rests) {
            warn!(error = &error as &dyn std::error::Error, "cannot look for schedules; trying again");
        }
        if !shared.pause() {
            return;
        }
    }
}

fn send_letters(shared: &ScheduleShared) {
    let turns = shared.service.workers.join(Work::Emails);
    loop {
        turns.begin();
        shared.service.workers.lease(Work::Emails, &shared.lease);
        let next = shared.next().unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "cannot look for letters; trying again");
            None
        });
        let Some((key, id)) = next else {
            if !shared.pause() {
                return;
            }
            continue;
        };
        let (now, mailer) = ((shared.clock)(), shared.mailer.as_ref());
        let _span = trace::root("email");
        let attempt = catch_unwind(AssertUnwindSafe(|| shared.service.mail_step(key, &id, now, mailer)));
        let mut board = shared.board.lock();
        board.busy.remove(&(key, id.clone()));
        match attempt {
            Ok(Ok(SendOutcome::Sent | SendOutcome::Later | SendOutcome::Failed)) => {}
            Ok(Ok(SendOutcome::Idle | SendOutcome::Elsewhere)) => board.rests.rest(key, &id, POLL),
            Ok(Err(error)) => {
                let cause = &error as &dyn std::error::Error;
                warn!(partner.key = %key, delivery = %id, error = cause, "letters {id} cannot be sent; trying again");
                board.rests.rest(key, &id, REST);
            }
            Err(_) => {
                error!(partner.key = %key, delivery = %id, "sending letters {id} panicked; they rest for an hour");
                board.rests.rest(key, &id, Duration::from_secs(3_600));
            }
        }
        if board.stop {
            return;
        }
    }
}
