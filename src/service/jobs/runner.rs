//! Whose turn it is: the jobs of all partners, batch by batch.
//!
//! A worker takes one batch of one job, then looks again. The partner that has
//! waited longest is next, so a job of a million rows delays another partner's
//! by a batch; of one partner, a set number of jobs go on at a time, oldest
//! first. Between two batches nobody holds the database.
//!
//! Open jobs are found in the store: those of before a restart, those created
//! here (the [`JobQueue`] is rung), and those that commands and other nodes
//! created (the store is asked now and then). Of several nodes one does jobs,
//! which has the lease; so turns are those of all jobs there are.
//! Deliberately absent: what a batch does (`jobs`), and any state that matters
//! after a crash.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{error, info, warn};

use super::BatchStep;
use crate::domain::PartnerKey;
use crate::service::lease::{self, Lease};
use crate::service::workers::{self, Work};
use crate::service::{Service, ServiceError};
use crate::store::{StoreError, StoredJob};

/// How often the store is asked for jobs that others created.
const POLL: Duration = Duration::from_secs(1);
/// How long a job waits after the store failed, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How many rows a batch has, where no setting says otherwise.
pub const BATCH_ROWS: usize = 2_000;

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings {
    pub workers: usize,
    pub per_partner: usize,
}

/// The open jobs as this process knows them.
pub struct JobQueue {
    pub batch_rows: usize,
    turns: Mutex<JobTurns>,
    rung: Condvar,
}

struct JobTurns {
    stop: bool,
    /// Whether the store may have jobs that are not here.
    rung: bool,
    asked: Instant,
    /// Oldest first.
    open: Vec<OpenJob>,
    /// Counts the turns.
    turn: u64,
    /// When each partner had its last one.
    partners: HashMap<PartnerKey, u64>,
}

struct OpenJob {
    key: PartnerKey,
    id: String,
    /// Whether it is one of those of its partner that go on.
    admitted: bool,
    busy: bool,
    turn: u64,
    /// Since when its next batch waits.
    since: Instant,
    trouble: Option<JobTrouble>,
}

/// The store failed; the job is tried again.
struct JobTrouble {
    text: String,
    again: Instant,
    wait: Duration,
}

/// One batch's worth of work.
struct JobTurn {
    key: PartnerKey,
    id: String,
    since: Instant,
}

/// How a turn ended.
enum TurnEnd {
    Step(BatchStep),
    Trouble(String),
}

impl JobQueue {
    pub fn new(batch_rows: usize) -> JobQueue {
        let (open, partners) = Default::default();
        let turns = JobTurns { stop: false, rung: true, asked: Instant::now(), open, turn: 0, partners };
        JobQueue { batch_rows, turns: Mutex::new(turns), rung: Condvar::new() }
    }

    /// Says that a job was created or let run.
    pub fn ring(&self) {
        self.turns.lock().rung = true;
        self.rung.notify_one();
    }

    pub fn trouble(&self, key: PartnerKey, id: &str) -> Option<String> {
        let turns = self.turns.lock();
        let open = turns.open.iter().find(|open| (open.key, &*open.id) == (key, id))?;
        open.trouble.as_ref().map(|trouble| trouble.text.clone())
    }

    fn stop(&self) {
        self.turns.lock().stop = true;
        self.rung.notify_all();
    }

    /// Waits for a turn; `None` when there will be no more.
    fn next(&self, service: &Service, lease: &Lease, per_partner: usize, own: &workers::Turns) -> Option<JobTurn> {
        let mut turns = self.turns.lock();
        loop {
            if turns.stop {
                return None;
            }
            own.begin();
            service.workers.lease(Work::Jobs, lease);
            let waiting = turns.open.iter().filter(|open| !open.busy);
            service.workers.queue(Work::Jobs, waiting.clone().count() as u64, waiting.map(|open| open.since).min());
            if !lease.held() {
                self.rung.wait_for(&mut turns, POLL);
                continue;
            }
            if std::mem::take(&mut turns.rung) || turns.asked.elapsed() >= POLL {
                turns.asked = Instant::now();
                match MutexGuard::unlocked(&mut turns, || service.store().open_jobs()) {
                    Ok(open) => turns.learn(open),
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "cannot look for jobs; trying again");
                    }
                }
                continue;
            }
            if let Some(turn) = turns.take(per_partner) {
                // Where one is due, another may be.
                self.rung.notify_one();
                return Some(turn);
            }
            let pause = turns.pause();
            self.rung.wait_for(&mut turns, pause);
        }
    }

    fn end(&self, turn: &JobTurn, ended: TurnEnd) {
        let mut turns = self.turns.lock();
        let Some(at) = turns.open.iter().position(|open| (open.key, &open.id) == (turn.key, &turn.id)) else { return };
        match ended {
            TurnEnd::Step(BatchStep::Over) => {
                turns.open.remove(at);
            }
            TurnEnd::Step(BatchStep::More) => {
                let open = &mut turns.open[at];
                (open.busy, open.since, open.trouble) = (false, Instant::now(), None);
            }
            TurnEnd::Trouble(text) => {
                let open = &mut turns.open[at];
                let wait = open.trouble.as_ref().map_or(RETRY_MIN, |trouble| (trouble.wait * 2).min(RETRY_MAX));
                open.busy = false;
                open.trouble = Some(JobTrouble { text, again: Instant::now() + wait, wait });
            }
        }
    }
}

impl JobTurns {
    /// How long nothing can be due, unless somebody rings.
    fn pause(&self) -> Duration {
        let again = self.open.iter().filter(|open| !open.busy).filter_map(|open| open.trouble.as_ref());
        let soonest = again.map(|trouble| trouble.again.saturating_duration_since(Instant::now())).min();
        soonest.unwrap_or(POLL).clamp(Duration::from_millis(1), POLL)
    }

    /// Takes over what the store has, keeping what is known.
    fn learn(&mut self, stored: Vec<(PartnerKey, StoredJob)>) {
        let known = self.open.drain(..).map(|open| ((open.key, open.id.clone()), open));
        let mut known: HashMap<(PartnerKey, String), OpenJob> = known.collect();
        for (key, StoredJob { id, .. }) in stored {
            let open = known.remove(&(key, id.clone())).unwrap_or_else(|| OpenJob {
                key,
                id,
                admitted: false,
                busy: false,
                turn: 0,
                since: Instant::now(),
                trouble: None,
            });
            self.open.push(open);
        }
        // What somebody is at leaves when it is over.
        self.open.extend(known.into_values().filter(|open| open.busy));
    }

    fn take(&mut self, per_partner: usize) -> Option<JobTurn> {
        let mut admitted: HashMap<PartnerKey, usize> = HashMap::new();
        for open in self.open.iter().filter(|open| open.admitted) {
            *admitted.entry(open.key).or_default() += 1;
        }
        for open in self.open.iter_mut().filter(|open| !open.admitted) {
            let count = admitted.entry(open.key).or_default();
            if *count < per_partner {
                *count += 1;
                // It was not slow before: it was not its turn.
                (open.admitted, open.since) = (true, Instant::now());
            }
        }
        let now = Instant::now();
        let due = |open: &&mut OpenJob| {
            open.admitted && !open.busy && open.trouble.as_ref().is_none_or(|trouble| trouble.again <= now)
        };
        let partners = &self.partners;
        let waited = |open: &&mut OpenJob| (partners.get(&open.key).copied().unwrap_or_default(), open.turn);
        let open = self.open.iter_mut().filter(due).min_by_key(waited)?;
        self.turn += 1;
        (open.busy, open.turn) = (true, self.turn);
        self.partners.insert(open.key, self.turn);
        Some(JobTurn { key: open.key, id: open.id.clone(), since: open.since })
    }
}

/// The threads that do jobs, until [`JobRunner::stop`].
pub struct JobRunner {
    service: Service,
    threads: Vec<JoinHandle<()>>,
}

impl JobRunner {
    pub fn start(service: &Service, settings: JobSettings) -> JobRunner {
        // Given back when the last thread has ended.
        let lease = Arc::new(service.leases.keep("jobs", lease::SPAN));
        let worker = |_| {
            let (service, lease) = (service.clone(), lease.clone());
            std::thread::spawn(move || work(&service, &lease, settings.per_partner))
        };
        let threads = (0..settings.workers).map(worker).collect();
        JobRunner { service: service.clone(), threads }
    }

    /// Lets the batches in work end; what is left is another node's, or is done
    /// after the next start.
    pub fn stop(self) {
        self.service.board.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a thread that did jobs panicked");
            }
        }
    }
}

fn work(service: &Service, lease: &Lease, per_partner: usize) {
    let board = &service.board;
    let own = service.workers.join(Work::Jobs);
    while let Some(turn) = board.next(service, lease, per_partner, &own) {
        let ended = match catch_unwind(AssertUnwindSafe(|| service.job_step(turn.key, &turn.id, turn.since))) {
            Ok(Ok(step)) => {
                if step == BatchStep::Over {
                    info!(partner.key = %turn.key, job = %turn.id, "job {} is over", turn.id);
                }
                TurnEnd::Step(step)
            }
            Ok(Err(ServiceError::Store(error)))
                if error.passing()
                    || matches!(error, StoreError::Sqlite(_) | StoreError::Postgres(_) | StoreError::Io(_)) =>
            {
                warn!(
                    partner.key = %turn.key, job = %turn.id, error = &error as &dyn std::error::Error,
                    "job {} waits for the database", turn.id
                );
                TurnEnd::Trouble(error.to_string())
            }
            Ok(Err(error)) => give_up(service, &turn, &error.to_string()),
            // It would panic again, for ever.
            Err(_) => give_up(service, &turn, "internal error"),
        };
        board.end(&turn, ended);
    }
}

/// Ends a job that cannot go on, so that it is not tried for ever.
fn give_up(service: &Service, turn: &JobTurn, why: &str) -> TurnEnd {
    error!(partner.key = %turn.key, job = %turn.id, cause = why, "job {} cannot go on", turn.id);
    match service.job_fail(turn.key, &turn.id, why) {
        Ok(()) => TurnEnd::Step(BatchStep::Over),
        Err(error) => TurnEnd::Trouble(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;

    fn learn(turns: &mut JobTurns, jobs: &[(i64, &str)]) {
        let job = |&(key, id): &(i64, &str)| {
            let created_at = Time::new(1_770_000_000).expect("a time");
            (PartnerKey(key), StoredJob { id: id.to_owned(), created_at, open: true, body: String::new() })
        };
        turns.learn(jobs.iter().map(job).collect());
    }

    fn taken(turns: &mut JobTurns, per_partner: usize) -> String {
        turns.take(per_partner).map_or_else(|| "nothing".to_owned(), |turn| turn.id)
    }

    #[track_caller]
    fn check_order(jobs: &[(i64, &str)], per_partner: usize, expected: &[&str]) {
        let board = JobQueue::new(1);
        for (at, expected) in expected.iter().enumerate() {
            let mut turns = board.turns.lock();
            learn(&mut turns, jobs);
            let turn = turns.take(per_partner).expect("a turn");
            assert_eq!(turn.id, *expected, "turn {at}");
            drop(turns);
            board.end(&turn, TurnEnd::Step(BatchStep::More));
        }
    }

    #[test]
    fn partners_take_turns_however_many_jobs_they_have() {
        check_order(&[(1, "a"), (1, "b"), (1, "c"), (2, "x")], 2, &["a", "x", "b", "x", "a", "x", "b"]);
        check_order(&[(1, "a"), (1, "b"), (2, "x")], 1, &["a", "x", "a", "x"]);
    }

    #[test]
    fn what_is_in_work_is_not_taken_twice() {
        let board = JobQueue::new(1);
        let mut turns = board.turns.lock();
        learn(&mut turns, &[(1, "a"), (1, "b"), (1, "c")]);
        assert_eq!(taken(&mut turns, 2), "a");
        assert_eq!(taken(&mut turns, 2), "b");
        assert_eq!(taken(&mut turns, 2), "nothing");
        // Somebody else has ended one of them.
        learn(&mut turns, &[(1, "b"), (1, "c")]);
        assert_eq!(taken(&mut turns, 2), "nothing");
        drop(turns);
        board.end(
            &JobTurn { key: PartnerKey(1), id: "a".to_owned(), since: Instant::now() },
            TurnEnd::Step(BatchStep::Over),
        );
        assert_eq!(taken(&mut board.turns.lock(), 2), "c");
    }

    #[test]
    fn jobs_of_two_partners_with_one_id_are_two_jobs() {
        let board = JobQueue::new(1);
        learn(&mut board.turns.lock(), &[(1, "a"), (2, "a")]);
        let first = board.turns.lock().take(1).expect("a turn");
        let second = board.turns.lock().take(1).expect("a turn");
        assert_eq!((first.key, second.key), (PartnerKey(1), PartnerKey(2)));
        board.end(&second, TurnEnd::Trouble("full".to_owned()));
        assert_eq!(board.trouble(PartnerKey(1), "a"), None);
        assert_eq!(board.trouble(PartnerKey(2), "a").as_deref(), Some("full"));
        // One of them ends; the other stays as it is.
        learn(&mut board.turns.lock(), &[(1, "a"), (2, "a")]);
        board.end(&first, TurnEnd::Step(BatchStep::Over));
        let turns = board.turns.lock();
        assert_eq!(turns.open.iter().map(|open| open.key).collect::<Vec<_>>(), [PartnerKey(2)]);
    }

    #[test]
    fn trouble_waits_longer_and_longer_and_holds_nobody_else_up() {
        let board = JobQueue::new(1);
        learn(&mut board.turns.lock(), &[(1, "a"), (2, "x")]);
        let turn = board.turns.lock().take(2).expect("a turn");
        board.end(&turn, TurnEnd::Trouble("full".to_owned()));
        assert_eq!(board.trouble(PartnerKey(1), "a").as_deref(), Some("full"));
        assert_eq!(taken(&mut board.turns.lock(), 2), "x");
        assert_eq!(taken(&mut board.turns.lock(), 2), "nothing");
        board.end(&turn, TurnEnd::Trouble("full".to_owned()));
        let wait = board.turns.lock().open[0].trouble.as_ref().map(|trouble| trouble.wait);
        assert_eq!(wait, Some(RETRY_MIN * 2));
    }
}
