//! Bulk work: one verb on many numbers, executed in batches by any process.
//!
//! The numbers of a job are fixed when it is created; a preview computes the result
//! of each from this node's index, by the real rules ([`trial`]). A run decides
//! again, inside the transaction. Each batch is one write and one version: the
//! numbers, their results and the job's progress commit together.
//!
//! Invariants: each row is executed once, whichever processes work on the job and
//! whenever they stop, because a batch commits only if the progress names it as
//! the next one; a job that has ended never changes again.
//! Deliberately absent: rules about numbers (`domain::action`, `desk`, `undo`);
//! the order of batches ([`turns`](crate::service::background::turns)).

pub mod batch;
pub mod runner;
mod trial;

use std::collections::HashMap;
use std::time::Instant;

use self::batch::{Brief, JobBatch, MonthlyCosts, RowOutcome, RowVerdict, Verdicts};
use self::trial::Trial;
use crate::domain::number::words;
use crate::domain::{Action, Actor, E164, FieldError, NumberChange, PartnerKey, Record, State, Time, Verb};
use crate::inventory::{Filter, Order};
use crate::service::verbs::desk::NumberWriter;
use crate::service::verbs::undo::{Reason, put_back};
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome, describe, token};
use crate::store::{Ownership, Store, StoredJob, WriteTarget};

/// The most numbers that a job takes as a list.
pub const LIST_MAX: usize = 10_000;
/// How many batches are read at a time when rows are looked for.
const SCAN: usize = 32;
/// How many rows are taken at least at a time from a filter.
const WALK_ROWS: usize = 2_000;
/// How many authors a batch of refused rows looks up.
const AUTHORS_MAX: usize = 100;

/// Where a job is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It says what would happen, and waits to be run.
    Previewed,
    Queued,
    Running,
    Done,
    /// By somebody; the rows that were done stay done.
    Cancelled,
    /// It cannot go on.
    Failed,
}

words!(JobState: Previewed "previewed", Queued "queued", Running "running", Done "done", Cancelled "cancelled", Failed "failed");

impl JobState {
    /// Whether there is work to do.
    pub fn open(self) -> bool {
        match self {
            JobState::Queued | JobState::Running => true,
            JobState::Previewed | JobState::Done | JobState::Cancelled | JobState::Failed => false,
        }
    }

    fn ended(self) -> bool {
        match self {
            JobState::Done | JobState::Cancelled | JobState::Failed => true,
            JobState::Previewed | JobState::Queued | JobState::Running => false,
        }
    }
}

/// What a job does to each of its numbers.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Act(Action),
    /// What the named job did to it is put back.
    Undo(String),
}

impl Task {
    pub fn verb(&self) -> Verb {
        match self {
            Task::Act(action) => action.verb(),
            Task::Undo(_) => Verb::Undo,
        }
    }

    pub fn undoes(&self) -> Option<&str> {
        match self {
            Task::Act(_) => None,
            Task::Undo(of) => Some(of),
        }
    }
}

/// How many rows ended how, and what that costs more a month.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct JobTally {
    pub changed: u64,
    pub unchanged: u64,
    pub failed: u64,
    #[serde(default, skip_serializing_if = "MonthlyCosts::is_empty")]
    pub cost: MonthlyCosts,
}

impl JobTally {
    fn add(&mut self, verdicts: &Verdicts) {
        for (verdict, rows) in verdicts.runs() {
            *match verdict.ending {
                RowOutcome::Changed => &mut self.changed,
                RowOutcome::Unchanged => &mut self.unchanged,
                RowOutcome::Failed => &mut self.failed,
            } += rows;
            for (&currency, &minor) in &verdict.cost {
                let all = self.cost.entry(currency).or_default();
                *all += minor * i128::from(rows);
            }
        }
        self.cost.retain(|_, minor| *minor != 0);
    }

    pub fn rows(&self) -> u64 {
        self.changed + self.unchanged + self.failed
    }
}

/// A job but for its rows.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub id: String,
    pub state: JobState,
    pub task: Task,
    /// The verb's parameters and the filter as they were sent, in JSON.
    pub params: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Who created it: the log has its changes under this name.
    pub by: String,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    pub total: u64,
    batches: u64,
    /// How many rows a batch has, but for the last one; an undo's batches have
    /// as many as it undoes.
    batch_rows: u64,
    /// The first batch that is not done.
    next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<JobTally>,
    pub tally: JobTally,
    /// How long its batches took, waiting included.
    pub spent_ms: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Job {
    fn read(stored: &StoredJob) -> Result<Job, ServiceError> {
        serde_json::from_str(&stored.body)
            .map_err(|error| crate::service::corrupt(format!("job {}: {error}", stored.id)))
    }

    fn stored(&self) -> StoredJob {
        let body = serde_json::to_string(self).expect("a job serialises");
        StoredJob { id: self.id.clone(), created_at: self.created_at, open: self.state.open(), body }
    }

    /// Rows a second, while it runs.
    pub fn rate(&self) -> Option<f64> {
        let known = self.state == JobState::Running && self.spent_ms > 0;
        known.then(|| self.tally.rows() as f64 * 1_000.0 / self.spent_ms as f64)
    }

    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.total.saturating_sub(self.tally.rows()) as f64;
        self.rate().filter(|&rate| rate > 0.0).map(|rate| (left / rate).ceil() as u64)
    }

    fn refuse(&self, hint: &'static str) -> ServiceError {
        ServiceError::Job { id: self.id.clone(), state: self.state, hint }
    }
}

/// Which numbers a job is about.
#[derive(Clone, Debug)]
pub enum JobSelection {
    List(Vec<E164>),
    /// What the filter lets through now; the text is how it was asked for.
    Filter(Box<Filter>, String),
}

/// What a new job shall be.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub action: Action,
    /// The verb's parameters as they were sent, in JSON.
    pub params: String,
    pub wanted: JobSelection,
    pub preview: bool,
}

/// What a row of a job says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowResult {
    Changed,
    Unchanged,
    Failed,
    /// Not done, or not yet.
    Pending,
    WouldChange,
    WouldFail,
}

words!(RowResult: Changed "changed", Unchanged "unchanged", Failed "failed", Pending "pending", WouldChange "would_change", WouldFail "would_fail");

impl RowResult {
    /// A preview speaks of what would happen only until the job is run.
    fn of(state: JobState, done: bool, ending: Option<RowOutcome>) -> RowResult {
        match (ending, state) {
            (None, _) => RowResult::Pending,
            (Some(RowOutcome::Changed), _) if done => RowResult::Changed,
            (Some(RowOutcome::Unchanged), _) if done => RowResult::Unchanged,
            (Some(RowOutcome::Failed), _) if done => RowResult::Failed,
            (Some(RowOutcome::Changed), JobState::Previewed) => RowResult::WouldChange,
            (Some(RowOutcome::Unchanged), JobState::Previewed) => RowResult::Unchanged,
            (Some(RowOutcome::Failed), JobState::Previewed) => RowResult::WouldFail,
            (Some(_), _) => RowResult::Pending,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRow {
    pub number: E164,
    pub result: RowResult,
    pub reason: Option<String>,
    pub cost: MonthlyCosts,
    /// The version that changed it.
    pub version: Option<u64>,
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchStep {
    More,
    Over,
}

/// What a batch is done by.
enum BatchWork<'a> {
    Act(&'a Action),
    Undo { version: u64, edits: &'a HashMap<E164, NumberChange> },
}

impl Service {
    /// Creates a job: its rows are fixed from now on.
    pub fn job_create(&self, key: PartnerKey, new: &NewJob) -> Result<WriteOutcome, ServiceError> {
        let snapshot = self.partner_snapshot(key, true)?;
        let mut trial = Trial::new(snapshot.clone(), self.now());
        let mut desk = NumberWriter::new(&mut trial, key, &self.quarantine);
        desk.check(&new.action).map_err(of_params)?;
        let filter = match &new.wanted {
            JobSelection::List(_) => None,
            JobSelection::Filter(_, text) => Some(text.clone()),
        };
        let mut making = Making::new(self, Task::Act(new.action.clone()), new.params.clone(), filter, new.preview);
        let work = BatchWork::Act(&new.action);
        match &new.wanted {
            JobSelection::List(numbers) => {
                let mut numbers = numbers.clone();
                numbers.sort_unstable();
                numbers.dedup();
                for numbers in numbers.chunks(self.batch_rows) {
                    making.add(&mut desk, numbers, &work, None)?;
                }
            }
            JobSelection::Filter(filter, _) => {
                let mut walk = snapshot.walk((**filter).clone(), Order::default(), None, self.now());
                // Each step of a walk finds its place anew, so several small
                // batches are taken from one.
                let batch = self.batch_rows;
                let step = batch * WALK_ROWS.div_ceil(batch);
                while !walk.done() {
                    let rows = walk.next(&snapshot, step);
                    let numbers: Vec<E164> = rows.iter().map(|row| row.number()).collect();
                    for numbers in numbers.chunks(batch) {
                        making.add(&mut desk, numbers, &work, None)?;
                    }
                }
            }
        }
        self.job_put(key, making)
    }

    /// Creates a job that puts back what another one did.
    pub fn job_undo(&self, key: PartnerKey, id: &str, preview: bool) -> Result<WriteOutcome, ServiceError> {
        let undone = stored(&*self.store, key, id)?;
        if !undone.state.ended() {
            return Err(undone.refuse("only a job that has ended can be undone; cancel it first"));
        }
        if undone.tally.changed == 0 {
            return Err(undone.refuse("it changed nothing, so there is nothing to undo"));
        }
        let mut trial = Trial::new(self.partner_snapshot(key, true)?, self.now());
        let mut desk = NumberWriter::new(&mut trial, key, &self.quarantine);
        let mut making = Making::new(self, Task::Undo(id.to_owned()), "{}".to_owned(), None, preview);
        for at in 0..undone.next {
            let Some((_, text)) = self.store.job_batches(key, id, at, 1)?.pop() else { break };
            let batch = JobBatch::read(&text)?;
            let Some(version) = batch.version else { continue };
            let changed =
                |verdict: Option<&RowVerdict>| verdict.is_some_and(|verdict| verdict.ending == RowOutcome::Changed);
            let rows = batch.rows().into_iter();
            let numbers: Vec<E164> = rows.filter(|(_, verdict)| changed(*verdict)).map(|(number, _)| number).collect();
            let edits = if preview { self.edits(key, version, numbers.len())? } else { HashMap::new() };
            making.add(&mut desk, &numbers, &BatchWork::Undo { version, edits: &edits }, Some(version))?;
        }
        self.job_put(key, making)
    }

    fn job_put(&self, key: PartnerKey, making: Making<'_>) -> Result<WriteOutcome, ServiceError> {
        let Making { job, batches, .. } = making;
        let outcome = self.manage_beside(key, |transaction| {
            transaction.put_job(&job.stored())?;
            for (at, batch) in batches.iter().enumerate() {
                transaction.put_job_batch(&job.id, at as u64, batch)?;
            }
            Ok(VerbOutcome::Job { job: Box::new(job.clone()), created: true })
        })?;
        self.board.ring();
        Ok(outcome)
    }

    /// Lets a previewed job run.
    pub fn job_run(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        let outcome = self.job_edit(key, id, |job, _| match job.state {
            JobState::Previewed => {
                job.state = JobState::Queued;
                Ok(())
            }
            // Asked for twice, it runs once.
            JobState::Queued | JobState::Running | JobState::Done => Ok(()),
            JobState::Cancelled | JobState::Failed => Err(job.refuse("it has ended; create another")),
        })?;
        self.board.ring();
        Ok(outcome)
    }

    /// Stops a job before its next batch.
    pub fn job_cancel(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        self.job_edit(key, id, |job, now| match job.state {
            JobState::Previewed | JobState::Queued | JobState::Running => {
                job.state = JobState::Cancelled;
                job.ended_at = Some(now);
                Ok(())
            }
            JobState::Cancelled => Ok(()),
            JobState::Done | JobState::Failed => Err(job.refuse("it has ended; undo it instead")),
        })
    }

    /// Ends a job that cannot go on.
    fn job_fail(&self, key: PartnerKey, id: &str, error: &str) -> Result<(), ServiceError> {
        self.job_edit(key, id, |job, now| {
            if !job.state.ended() {
                job.state = JobState::Failed;
                job.ended_at = Some(now);
                job.error = Some(error.to_owned());
            }
            Ok(())
        })
        .map(drop)
    }

    fn job_edit(
        &self,
        key: PartnerKey,
        id: &str,
        edit: impl Fn(&mut Job, Time) -> Result<(), ServiceError> + Sync,
    ) -> Result<WriteOutcome, ServiceError> {
        self.manage_beside(key, |transaction| {
            let stored = transaction.job(id)?.ok_or_else(|| ServiceError::unknown("job", id))?;
            let mut job = Job::read(&stored)?;
            edit(&mut job, transaction.at())?;
            let now = job.stored();
            if now != stored {
                transaction.put_job(&now)?;
            }
            Ok(VerbOutcome::Job { job: Box::new(job), created: false })
        })
    }

    pub fn job(&self, key: PartnerKey, id: &str) -> Result<Job, ServiceError> {
        self.beside(key, |store| stored(store, key, id))
    }

    /// The partner's jobs, newest first, and how many there are.
    pub fn jobs(&self, key: PartnerKey, skip: u64, limit: usize) -> Result<(Vec<Job>, u64), ServiceError> {
        self.beside(key, |store| {
            let (stored, total) = store.jobs(key, skip, limit)?;
            Ok((stored.iter().map(Job::read).collect::<Result<_, _>>()?, total))
        })
    }

    /// Why a job waits on this node, where it does.
    pub fn job_trouble(&self, key: PartnerKey, id: &str) -> Option<String> {
        self.board.trouble(&(key, id.into()))
    }

    /// Rows of a job in number order, and how many there are.
    pub fn job_rows(
        &self,
        key: PartnerKey,
        id: &str,
        wanted: Option<RowResult>,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<JobRow>, u64), ServiceError> {
        self.beside(key, |store| rows(store, key, id, wanted, skip, limit))
    }

    /// What a job does to numbers that it changes: of a preview, what it would do
    /// to them now; else what it did. Numbers that it does not change are left out.
    pub fn job_changes(&self, key: PartnerKey, job: &Job, rows: &[JobRow]) -> Result<Vec<NumberChange>, ServiceError> {
        let mut trial = Trial::new(self.partner_snapshot(key, true)?, self.now());
        let mut desk = NumberWriter::new(&mut trial, key, &self.quarantine);
        let mut changes = Vec::new();
        for row in rows {
            let change = match (row.result, &job.task, row.version) {
                (RowResult::WouldChange, Task::Act(action), _) => trial_of(&mut desk, row.number, action),
                (RowResult::WouldChange, Task::Undo(of), _) => {
                    let past = self.store().history(key, row.number)?.into_iter().rev();
                    let mut done = past.filter(|past| past.entry.request_id.as_deref() == Some(of));
                    done.next().map(|past| {
                        let NumberChange { number, before, after } = past.change;
                        NumberChange { number, before: after, after: before }
                    })
                }
                (RowResult::Changed, _, Some(version)) => {
                    let past = self.store().history(key, row.number)?;
                    past.into_iter().find(|past| past.version == version).map(|past| past.change)
                }
                _ => None,
            };
            changes.extend(change);
        }
        Ok(changes)
    }

    /// Executes a job's next batch; other processes may work on the same job. The
    /// duration is counted from `since`.
    pub fn job_step(&self, key: PartnerKey, id: &str, since: Instant) -> Result<BatchStep, ServiceError> {
        let job = stored(&*self.store, key, id)?;
        if !job.state.open() {
            return Ok(BatchStep::Over);
        }
        // What an undo puts back is read before anybody has to wait for it.
        let mut past = None;
        if let (Task::Undo(_), Some((_, text))) = (&job.task, self.store.job_batches(key, id, job.next, 1)?.pop()) {
            let batch = JobBatch::read(&text)?;
            let version = batch.of.ok_or_else(|| crate::service::corrupt(format!("job {id} undoes nothing")))?;
            past = Some((version, self.edits(key, version, batch.count() as usize)?));
        }
        let actor =
            Actor::parse(&job.by).ok_or_else(|| crate::service::corrupt(format!("job {id} was created by nobody")))?;
        let worker = self.asked(actor, Some(id.to_owned()), None);
        let done = worker.write(WriteTarget::Partner(key), job.task.verb(), |transaction| {
            let mut now = Job::read(&transaction.job(id)?.ok_or_else(|| ServiceError::unknown("job", id))?)?;
            if !now.state.open() {
                return Ok(BatchStep::Over);
            }
            if now.next != job.next {
                return Ok(BatchStep::More); // Somebody else has done it.
            }
            let at = transaction.at();
            if now.state == JobState::Queued {
                now.state = JobState::Running;
                now.started_at = Some(at);
            }
            if now.next < now.batches {
                let text = transaction.job_batch(id, now.next)?;
                let text =
                    text.ok_or_else(|| crate::service::corrupt(format!("job {id} lacks its batch {}", now.next)))?;
                let mut batch = JobBatch::read(&text)?;
                let version = transaction.version();
                let work = match (&now.task, &past) {
                    (Task::Act(action), _) => BatchWork::Act(action),
                    (Task::Undo(_), Some((version, edits))) => BatchWork::Undo { version: *version, edits },
                    (Task::Undo(_), None) => return Err(crate::service::corrupt(format!("job {id} undoes nothing"))),
                };
                let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
                let verdicts = self.verdicts(&mut desk, key, &work, &batch.numbers())?;
                desk.flush()?;
                let before = now.tally.changed;
                now.tally.add(&verdicts);
                batch.version = (now.tally.changed > before).then_some(version);
                batch.done = Some(verdicts);
                transaction.put_job_batch(id, now.next, &batch.text())?;
                now.next += 1;
            }
            if now.next >= now.batches {
                now.state = JobState::Done;
                now.ended_at = Some(at);
            }
            now.spent_ms = job.spent_ms + since.elapsed().as_millis().max(1) as u64;
            transaction.put_job(&now.stored())?;
            Ok(if now.state.open() { BatchStep::More } else { BatchStep::Over })
        })?;
        if let Some(replica) = &self.replica {
            replica.follow();
        }
        Ok(done.value)
    }

    /// What a version did to numbers.
    fn edits(&self, key: PartnerKey, version: u64, rows: usize) -> Result<HashMap<E164, NumberChange>, ServiceError> {
        let listed = self.store.list(key, version - 1, 1, 0, rows)?.pop();
        let listed = listed.filter(|listed| listed.version == version);
        let listed = listed.ok_or_else(|| crate::service::corrupt(format!("version {version} is not in the log")))?;
        Ok(listed.numbers.into_iter().map(|change| (change.number, change)).collect())
    }

    /// Decides rows and notes at the desk what changes.
    fn verdicts(
        &self,
        desk: &mut NumberWriter<'_>,
        key: PartnerKey,
        work: &BatchWork<'_>,
        numbers: &[E164],
    ) -> Result<Verdicts, ServiceError> {
        let mut verdicts = Verdicts::default();
        let mut authors: HashMap<u64, String> = HashMap::new();
        let holdings = desk.transaction.numbers(numbers)?;
        for (&number, holding) in numbers.iter().zip(holdings) {
            verdicts.push(match work {
                BatchWork::Act(action) => self.act_on_row(desk, number, holding, action)?,
                BatchWork::Undo { version, edits } => {
                    let held = match &holding {
                        Ownership::Ours { version, .. } => Some(*version),
                        Ownership::Free | Ownership::Foreign => None,
                    };
                    let edit = edits.get(&number);
                    let edit = edit
                        .ok_or_else(|| crate::service::corrupt(format!("version {version} did not change {number}")))?;
                    match put_back(desk, &edit.clone().into(), holding, *version)? {
                        Ok(()) => changed(edit.after.as_ref(), edit.before.as_ref()),
                        Err(Reason::Other(reason)) => failed(reason),
                        Err(Reason::Changed) => failed(match held {
                            Some(held) => self.changed_since(key, held, &mut authors)?,
                            None => "changed since".to_owned(),
                        }),
                    }
                }
            });
        }
        Ok(verdicts)
    }

    /// Does the action to one number, as the verb on that number alone does it.
    fn act_on_row(
        &self,
        desk: &mut NumberWriter<'_>,
        number: E164,
        holding: Ownership,
        action: &Action,
    ) -> Result<RowVerdict, ServiceError> {
        let unchanged = |reason| RowVerdict { ending: RowOutcome::Unchanged, reason, cost: MonthlyCosts::new() };
        let done = match holding {
            Ownership::Ours { record, .. } => desk.act(number, &record, action).map(|after| {
                let before = record.as_of(desk.transaction.at());
                match after == before {
                    true => unchanged(left_out(action)),
                    false => changed(Some(&before), Some(&after)),
                }
            }),
            Ownership::Free | Ownership::Foreign => {
                self.act_on_missing(desk.key(), number, action).map(|_| unchanged(None))
            }
        };
        match done {
            Err(ServiceError::Store(error)) => Err(error.into()),
            done => Ok(done.unwrap_or_else(|refusal| failed(reason(&refusal)))),
        }
    }

    /// Who made the version that is in an undo's way. Of very many, only the
    /// version is told, so that nobody waits for the others to be looked up.
    fn changed_since(
        &self,
        key: PartnerKey,
        version: u64,
        authors: &mut HashMap<u64, String>,
    ) -> Result<String, ServiceError> {
        if let Some(known) = authors.get(&version) {
            return Ok(known.clone());
        }
        let found = match authors.len() < AUTHORS_MAX {
            true => self.store.entries(key, version - 1, 1)?.pop().filter(|(found, _)| *found == version),
            false => None,
        };
        let text = match found {
            Some((_, entry)) => format!("changed since, by {} ({}) at version {version}", entry.actor, entry.verb),
            None => format!("changed since, at version {version}"),
        };
        authors.insert(version, text.clone());
        Ok(text)
    }
}

/// What an action would make of a number, if it may be done to it.
fn trial_of(desk: &mut NumberWriter<'_>, number: E164, action: &Action) -> Option<NumberChange> {
    let (before, _) = desk.find(number).ok()?;
    let after = desk.act(number, &before, action).ok()?;
    let stored = (after.state != State::Retired).then_some(after);
    Some(NumberChange { number, before: Some(before), after: stored })
}

impl Job {
    /// How many rows have a result.
    fn rows_with(&self, wanted: Option<RowResult>) -> u64 {
        let would = self.preview.as_ref().filter(|_| self.state == JobState::Previewed);
        match (wanted, would) {
            (None, _) => self.total,
            (Some(RowResult::WouldChange), would) => would.map_or(0, |tally| tally.changed),
            (Some(RowResult::WouldFail), would) => would.map_or(0, |tally| tally.failed),
            (Some(RowResult::Unchanged), Some(would)) => would.unchanged,
            (Some(RowResult::Changed | RowResult::Failed | RowResult::Pending), Some(_)) => 0,
            (Some(RowResult::Changed), None) => self.tally.changed,
            (Some(RowResult::Unchanged), None) => self.tally.unchanged,
            (Some(RowResult::Failed), None) => self.tally.failed,
            (Some(RowResult::Pending), None) => self.total.saturating_sub(self.tally.rows()),
        }
    }
}

/// A job in the making: its batches as they will be stored.
struct Making<'s> {
    service: &'s Service,
    job: Job,
    batches: Vec<String>,
}

impl<'s> Making<'s> {
    fn new(service: &'s Service, task: Task, params: String, filter: Option<String>, preview: bool) -> Making<'s> {
        let job = Job {
            id: token::job_id(),
            state: if preview { JobState::Previewed } else { JobState::Queued },
            task,
            params,
            filter,
            by: service.actor.to_string(),
            created_at: service.now(),
            started_at: None,
            ended_at: None,
            total: 0,
            batches: 0,
            batch_rows: service.batch_rows as u64,
            next: 0,
            preview: preview.then(JobTally::default),
            tally: JobTally::default(),
            spent_ms: 0,
            error: None,
        };
        Making { service, job, batches: Vec::new() }
    }

    fn add(
        &mut self,
        desk: &mut NumberWriter<'_>,
        numbers: &[E164],
        work: &BatchWork<'_>,
        of: Option<u64>,
    ) -> Result<(), ServiceError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut batch = JobBatch::new(numbers.iter().copied());
        batch.of = of;
        if let Some(tally) = &mut self.job.preview {
            let verdicts = self.service.verdicts(desk, desk.key(), work, numbers)?;
            desk.flush()?;
            tally.add(&verdicts);
            batch.preview = Some(verdicts);
        }
        self.job.total += batch.count();
        self.job.batches += 1;
        self.batches.push(batch.text());
        Ok(())
    }
}

/// Why a row stays as it is, where that is not plain.
fn left_out(action: &Action) -> Option<String> {
    matches!(action, Action::Extend { .. }).then(|| "auto-renews, so it has no expiry to extend".to_owned())
}

fn changed(before: Option<&Record>, after: Option<&Record>) -> RowVerdict {
    let mut cost = MonthlyCosts::new();
    for (record, sign) in [(before, -1), (after, 1)] {
        // Only a number that an account holds is paid for.
        if let Some(paid) = record.filter(|record| record.state.held()).and_then(|record| record.cost) {
            *cost.entry(paid.currency).or_default() += sign * i128::from(paid.minor);
        }
    }
    cost.retain(|_, minor| *minor != 0);
    RowVerdict { ending: RowOutcome::Changed, reason: None, cost }
}

fn failed(reason: String) -> RowVerdict {
    RowVerdict { ending: RowOutcome::Failed, reason: Some(reason), cost: MonthlyCosts::new() }
}

/// Why a row failed, without its number, so that rows with the same fault say
/// the same.
fn reason(refusal: &ServiceError) -> String {
    match refusal {
        ServiceError::Conflict(conflict) => {
            format!("is {} since {}: {}", conflict.state, conflict.since, conflict.hint)
        }
        ServiceError::Last { account, .. } => {
            format!("is the last active number of account {account}; confirm_last takes it too")
        }
        ServiceError::Invalid(errors) => describe(errors),
        ServiceError::Unknown { .. } => "is not one of yours".to_owned(),
        ServiceError::Unusable(unusable) => {
            format!("account {} cannot use its route: {}", unusable.account, unusable.why.join(" and "))
        }
        other => other.to_string(),
    }
}

fn stored(store: &dyn Store, key: PartnerKey, id: &str) -> Result<Job, ServiceError> {
    Job::read(&store.job(key, id)?.ok_or_else(|| ServiceError::unknown("job", id))?)
}

/// Rows of a job as they are stored.
fn rows(
    store: &dyn Store,
    key: PartnerKey,
    id: &str,
    wanted: Option<RowResult>,
    skip: u64,
    limit: usize,
) -> Result<(Vec<JobRow>, u64), ServiceError> {
    let job = stored(store, key, id)?;
    let total = job.rows_with(wanted);
    let (mut rows, mut skip) = (Vec::new(), skip);
    let mut at = match wanted {
        // Batches have the same size, so the right one is known.
        None if job.task.undoes().is_none() => {
            let first = skip / job.batch_rows;
            skip %= job.batch_rows;
            first
        }
        Some(RowResult::Pending) => job.next,
        _ => 0,
    };
    while skip < total && rows.len() < limit && at < job.batches {
        let batches = store.job_batches(key, id, at, SCAN)?;
        let Some(&(last, _)) = batches.last() else { break };
        for (_, text) in &batches {
            let brief = Brief::read(text)?;
            let fits = |ending| wanted.is_none_or(|wanted| RowResult::of(job.state, brief.is_done(), ending) == wanted);
            let count = brief.count(fits);
            if skip >= count {
                skip -= count;
                continue;
            }
            let batch = JobBatch::read(text)?;
            let done = batch.done.is_some();
            let found = batch.rows().into_iter().map(|(number, verdict)| {
                let result = RowResult::of(job.state, done, verdict.map(|verdict| verdict.ending));
                let said = verdict.filter(|_| result != RowResult::Pending);
                JobRow {
                    number,
                    result,
                    reason: said.and_then(|verdict| verdict.reason.clone()),
                    cost: said.map(|verdict| verdict.cost.clone()).unwrap_or_default(),
                    version: batch.version.filter(|_| result == RowResult::Changed),
                }
            });
            let fitting = found.filter(|row| wanted.is_none_or(|wanted| row.result == wanted));
            rows.extend(fitting.skip(skip as usize).take(limit - rows.len()));
            skip = 0;
            if rows.len() == limit {
                break;
            }
        }
        at = last + 1;
    }
    Ok((rows, total))
}

/// What is wrong with an action, under the name it has in a job.
fn of_params(error: ServiceError) -> ServiceError {
    let within = |error: FieldError| FieldError { field: format!("params.{}", error.field), ..error };
    match error {
        ServiceError::Invalid(errors) => ServiceError::Invalid(errors.into_iter().map(within).collect()),
        error => error,
    }
}
