//! Runs the open jobs of all partners, one batch after the other
//! ([`turns`](crate::service::background::turns)).
//!
//! Invariant: between two batches a job holds nothing of the database, so it can
//! stop, continue on another node, or be cancelled there.
//! Deliberately absent: what a batch does (`jobs`).

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::BatchStep;
use crate::service::background::lease;
use crate::service::background::turns::{Item, Next, Runner, Turn, TurnLimits, Worker};
use crate::service::background::workers::Work;
use crate::service::{Service, ServiceError};
use crate::store::StoreError;

/// How often the store is asked for jobs that commands and other nodes created.
const POLL: Duration = Duration::from_secs(1);
/// How long a stop waits for a batch: longer than any batch takes.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How many rows a batch has, where no setting says otherwise.
pub const BATCH_ROWS: usize = 2_000;

/// How many batches run at a time, and how many jobs of one partner take turns.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings {
    pub workers: usize,
    pub per_partner: usize,
}

/// Runs jobs until [`JobRunner::stop`].
pub struct JobRunner(Runner);

impl JobRunner {
    pub fn start(service: &Service, settings: JobSettings) -> JobRunner {
        let limits = TurnLimits { places: settings.workers, per_partner: settings.per_partner, leave_room: false };
        let lease = Arc::new(service.leases.keep("jobs", lease::SPAN));
        let (board, workers) = (service.board.clone(), service.workers.clone());
        JobRunner(Runner::start(JobWorker { service: service.clone() }, board, lease, limits, workers))
    }

    /// Lets the batches under way end. Another node, or this one after its next
    /// start, does the others.
    pub fn stop(self) {
        Runner::stop(vec![self.0], PATIENCE);
    }
}

struct JobWorker {
    service: Service,
}

impl Worker for JobWorker {
    fn work(&self) -> Work {
        Work::Jobs
    }

    fn poll(&self) -> Duration {
        POLL
    }

    fn list(&self) -> Result<Vec<Item>, ServiceError> {
        let open = self.service.store().open_jobs()?;
        Ok(open.into_iter().map(|(key, job)| Item::ready(key, &job.id)).collect())
    }

    fn step(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        match self.service.job_step(*key, id, turn.since) {
            Ok(BatchStep::More) => Next::Again,
            Ok(BatchStep::Over) => {
                info!(partner.key = %key, job = %id, "job {id} is over");
                Next::Over
            }
            Err(ServiceError::Store(error))
                if error.passing()
                    || matches!(error, StoreError::Sqlite(_) | StoreError::Postgres(_) | StoreError::Io(_)) =>
            {
                let cause = &error as &dyn std::error::Error;
                warn!(partner.key = %key, job = %id, error = cause, "job {id} waits for the database");
                Next::Retry(error.to_string())
            }
            Err(error) => self.give_up(turn, &error.to_string()),
        }
    }

    fn panicked(&self, turn: &Turn) -> Next {
        self.give_up(turn, "internal error")
    }
}

impl JobWorker {
    /// Ends a job that cannot continue, so that it is not tried for ever.
    fn give_up(&self, turn: &Turn, why: &str) -> Next {
        let (key, id) = &turn.id;
        error!(partner.key = %key, job = %id, cause = why, "job {id} cannot go on");
        match self.service.job_fail(*key, id, why) {
            Ok(()) => Next::Over,
            Err(error) => Next::Retry(error.to_string()),
        }
    }
}
