//! The verbs: all actions on an inventory.
//!
//! Console, command line and API call the same verb, and a verb validates
//! against the data inside the write transaction, never against an earlier
//! read. Reads are the [`Replica`]'s.
//!
//! A [`Service`] acts for one caller: its writes carry that actor into the
//! log, and with a [`Retry`] each is executed once however often it is retried.
//! The result of a verb is a [`VerbOutcome`], made inside the transaction, so that
//! the answer can be stored with the write (for idempotency keys).
//! Deliberately absent: SQL, HTTP, printing.

pub mod background;
pub mod people;
pub mod replica;
pub mod token;
pub mod verbs;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use self::verbs::numbers::Expected;
use crate::domain::change::Edit;
use crate::domain::quarantine::Quarantine;
use crate::domain::{
    Account, AccountId, Acknowledgement, Actor, Application, Choice, Dialect, E164, EntityChange, FieldError, Key,
    KeyId, Partner, PartnerId, PartnerKey, Scope, Setting, State, Time, Trunk, Verb, setting,
};
use crate::routing::Policy;
pub use crate::store::Done;
use crate::store::people::AuditEntry;
use crate::store::{
    Answered, Decision, DraftError, Load, Loaded, LogEntry, SideWrites, Store, Transaction, WriteTarget,
};

use crate::trace;

use crate::inventory::NumberAlone;
pub use crate::inventory::{NumberRef, Snapshot};
pub use crate::store::StoreError;
pub use crate::store::waiting::SERVING;
pub use replica::{Replica, past};
pub use token::Token;

/// How long an answer is kept for retries, in seconds.
pub const RETRY_SECONDS: i64 = 24 * 3_600;
/// How long a reader waits until this node shows what it read beside the log.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("there is no partner {partner}")]
    NoPartner { partner: PartnerId },
    #[error("partner {partner} has no key {key}")]
    NoKey { partner: PartnerId, key: KeyId },
    #[error("there is already a partner {partner}")]
    PartnerExists { partner: PartnerId },
    #[error("there is already {what} {id}")]
    Exists { what: &'static str, id: String },
    /// An id in the path that the partner does not have.
    #[error("this partner has no {what} {id}")]
    Unknown { what: &'static str, id: String },
    /// What was asked for is wrong in itself; nothing was changed.
    #[error("{}", describe(.0))]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    Conflict(Box<Conflict>),
    /// The number is not what the client last saw.
    #[error("number {} has changed since: it is at version {}", .0.number, .0.version)]
    Stale(Box<Stale>),
    /// Somebody else has it, or will not say; nobody's business who.
    #[error("number {number} is not free")]
    Taken { number: E164 },
    /// Its account would have no active number left.
    #[error(
        "number {number} is the last active number of account {account}; \
         {verb} it with confirm_last=true if the account shall have none"
    )]
    Last { number: E164, account: AccountId, since: Time, verb: Verb },
    /// A transfer would keep or set a route that the new account may not use.
    #[error("{0}")]
    Unusable(Box<Unusable>),
    #[error("{0}")]
    Refused(String),
    /// As many go on as may.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// A setting is not what the client last saw.
    #[error("{what} {id} has changed since")]
    Outdated { what: &'static str, id: String },
    /// A job's state does not allow what was asked.
    #[error("job {id} is {state}: {hint}")]
    Job { id: String, state: background::jobs::JobState, hint: &'static str },
    /// Not one of its numbers could be put back.
    #[error("version {version} cannot be undone: {}", not_undone(.stays))]
    NotUndone { version: u64, rows: Vec<verbs::undo::RefusedUndo>, stays: Vec<String> },
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// What was asked about is committed and not yet in this node's memory.
    #[error("this node has not caught up with the database")]
    Behind,
    #[error("nobody waits for the answer any more")]
    Abandoned,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DraftError for ServiceError {
    fn store(self) -> Result<StoreError, ServiceError> {
        match self {
            ServiceError::Store(error) => Ok(error),
            refusal => Err(refusal),
        }
    }
}

/// What stands for a partner's own quarantine, or for having none, where a form expects it.
pub fn quarantine_tag(setting: Option<&Setting>) -> u64 {
    verbs::entities::state_tag(&setting.and_then(Setting::quarantine))
}

fn describe(errors: &[FieldError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect();
    lines.join("; ")
}

fn not_undone(stays: &[String]) -> String {
    match stays {
        [] => "all that it did has been changed since".to_owned(),
        stays => stays.join("; "),
    }
}

/// A number's state does not allow what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    pub number: E164,
    pub state: State,
    pub since: Time,
    /// Who brought it into this state; `None` if time did, or nobody knows.
    pub by: Option<Actor>,
    /// When the state ends by itself.
    pub until: Option<Time>,
    /// What to do about it.
    pub hint: &'static str,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Conflict { number, state, since, hint, .. } = self;
        write!(f, "number {number} is {state} since {since}: {hint}")
    }
}

/// What the new account of a number may not use, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    pub number: E164,
    pub account: AccountId,
    /// A sentence for each: `application app_1 belongs to account MA_1`.
    pub why: Vec<String>,
    /// The same by field.
    pub errors: Vec<FieldError>,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unusable { number, account, why, errors } = self;
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let (why, fields) = (why.join(" and "), fields.join(" and "));
        write!(
            f,
            "account {account} cannot use the route of number {number}: {why}; give another {fields}, or null for none"
        )
    }
}

/// What a client that named a version did not know of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stale {
    pub number: E164,
    /// The version the number is at.
    pub version: u64,
    /// As the client knew it, where its version is one of the number's.
    pub then: Option<crate::domain::Record>,
    pub now: Option<crate::domain::Record>,
    /// Who changed it last, and when.
    pub by: Option<Actor>,
    pub at: Option<Time>,
}

/// An answer as it will be sent, now and to retries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendered {
    pub status: u16,
    pub etag: Option<String>,
    pub body: Vec<u8>,
}

/// What makes a write happen once, however often it is asked for.
#[derive(Clone, Debug)]
pub struct Retry {
    /// What the client calls this write: unique within the partner for a day.
    pub key: String,
    /// SHA-256 of what it asks for.
    pub fingerprint: [u8; 32],
    pub render: fn(&VerbOutcome) -> Rendered,
}

/// Where a background worker reads the time: the system's clock, or a test's.
pub type WorkerClock = Arc<dyn Fn() -> Time + Send + Sync>;

/// What a verb left, with all that showing it needs.
#[derive(Debug)]
pub enum VerbOutcome {
    Number(Box<ShownNumber>),
    /// Numbers that came into stock together.
    Block {
        first: E164,
        last: E164,
        numbers: u64,
        version: u64,
    },
    Account {
        account: Account,
        created: bool,
    },
    Application {
        application: Application,
        created: bool,
    },
    Trunk {
        trunk: Trunk,
        created: bool,
    },
    Undone(verbs::undo::Undone),
    Job {
        job: Box<background::jobs::Job>,
        created: bool,
    },
    Acknowledgement(Acknowledgement),
    Schedule {
        view: Box<background::schedules::ScheduleView>,
        created: bool,
    },
    Billing(Box<verbs::billing::BillingView>),
    Webhook(Box<background::webhooks::ShownWebhook>),
    Delivery(Box<background::webhooks::ShownDelivery>),
    /// Deliveries that were given up are queued again; some may be left.
    Resent {
        resent: u64,
        left: u64,
    },
}

/// One number after a verb.
pub struct ShownNumber {
    pub number: E164,
    pub version: u64,
    /// Whether it has just come in.
    pub created: bool,
    at: Time,
    alone: NumberAlone,
}

impl ShownNumber {
    pub fn row(&self) -> NumberRef<'_> {
        self.alone.row(self.at)
    }
}

impl std::fmt::Debug for ShownNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.number, self.version)
    }
}

/// How a write ended that was done.
#[derive(Debug)]
pub enum WriteOutcome {
    /// Now; no version if all was so already. If the answer is kept for retries, it is
    /// rendered.
    Done { shown: VerbOutcome, version: Option<u64>, rendered: Option<Rendered> },
    /// Before, by a request of which this is a retry.
    Again(Rendered),
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: Arc<str>,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<Time>,
    pub networks: Vec<IpNet>,
    pub dialect: Dialect,
}

/// Partners with their places and versions.
pub type Partners = Vec<(PartnerKey, u64, Partner)>;

#[derive(Clone)]
pub struct Service {
    store: Arc<dyn Store>,
    /// This node's index, where there is one.
    replica: Option<Arc<Replica>>,
    quarantine: Arc<Quarantine>,
    /// Which destinations may be named.
    destinations: Arc<Policy>,
    /// Where the job runner hears of new jobs.
    board: Arc<background::turns::Board>,
    /// How many rows a batch of a new job has.
    batch_rows: usize,
    hooks: Arc<background::webhooks::Hooks>,
    leases: background::lease::Leases,
    /// What the background workers of this process are doing.
    pub workers: Arc<background::workers::Workers>,
    actor: Actor,
    request_id: Option<String>,
    /// Where the request came from, for the audit trail.
    from: Option<IpAddr>,
    retry: Option<Retry>,
    /// What the caller knows of the entity or the number that a verb changes.
    expected: Expected,
    /// Say what would happen, and do nothing.
    dry_run: bool,
    /// The time of these verbs, if it is not the clock's.
    at: Option<Time>,
}

impl Service {
    pub fn new(store: Arc<dyn Store>, actor: Actor) -> Service {
        let quarantine = Arc::new(Quarantine { default_days: 90, ..Quarantine::default() });
        let hooks = Arc::new(background::webhooks::Hooks::new(background::webhooks::WebhookSettings::default()));
        let leases = background::lease::Leases::of_server(store.clone());
        let (replica, destinations, request_id, from, retry, expected, at) = Default::default();
        Service {
            store,
            replica,
            quarantine,
            destinations,
            board: Arc::default(),
            batch_rows: background::jobs::runner::BATCH_ROWS,
            hooks,
            leases,
            workers: Arc::default(),
            actor,
            request_id,
            from,
            retry,
            expected,
            dry_run: false,
            at,
        }
    }

    /// Which destinations may be named; without it, public ones.
    pub fn destinations(self, policy: Policy) -> Service {
        Service { destinations: Arc::new(policy), ..self }
    }

    pub fn quarantine(self, quarantine: Quarantine) -> Service {
        Service { quarantine: Arc::new(quarantine), ..self }
    }

    /// New jobs are done so many rows at a time.
    pub fn batch_rows(self, rows: usize) -> Service {
        Service { batch_rows: rows, ..self }
    }

    /// The verbs of a node that has an index: a write is in it when it returns.
    pub fn replica(self, replica: Arc<Replica>) -> Service {
        let follower = Arc::downgrade(&replica);
        self.store.after_shared_commits(Box::new(move || {
            if let Some(replica) = follower.upgrade() {
                replica.follow();
            }
        }));
        Service { replica: Some(replica), ..self }
    }

    /// The verbs of a process under this name.
    pub fn leases(self, leases: background::lease::Leases) -> Service {
        Service { leases, ..self }
    }

    /// How this process is called among the servers on its database, if there
    /// may be several.
    pub fn node(&self) -> Option<&str> {
        self.leases.node()
    }

    /// The same verbs, tried and not done: each answers as if it had been.
    pub fn dry_run(self, dry_run: bool) -> Service {
        Service { dry_run, ..self }
    }

    /// The same verbs, asked for by somebody else.
    pub fn asked(&self, actor: Actor, request_id: Option<String>, retry: Option<Retry>) -> Service {
        Service { actor, request_id, retry, ..self.clone() }
    }

    /// The same verbs, refused where what they change is in another state.
    pub fn expecting(self, expected: Expected) -> Service {
        Service { expected, ..self }
    }

    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// The same verbs, asked for from an address.
    pub fn asked_from(self, from: IpAddr) -> Service {
        Service { from: Some(from), ..self }
    }

    /// The same verbs at a time of the past: what they write has it. The demo
    /// plays its year so, and nothing else may: an entry of the log has the time
    /// at which it was written. Times of one partner never decrease: the store
    /// gives an entry at least the time of the one before.
    pub(crate) fn at(&self, at: Time) -> Service {
        Service { at: Some(at), ..self.clone() }
    }

    /// The time of these verbs.
    fn now(&self) -> Time {
        self.at.unwrap_or_else(Time::now)
    }

    /// The actor of these verbs.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The version of a partner that readers of this node have.
    pub fn version(&self, key: PartnerKey) -> Option<u64> {
        Some(self.replica.as_ref()?.snapshot(key)?.version)
    }

    /// Reads what is kept beside the log, such as jobs and documents, and lets
    /// this node's snapshot come to the version that the read may tell of. So
    /// nothing that is read here is ahead of the lists. Every reader that shows
    /// people what is beside the log comes through here; background work, which
    /// shows nothing, need not.
    fn beside<T>(
        &self,
        key: PartnerKey,
        read: impl FnOnce(&dyn Store) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let found = read(&*self.store)?;
        self.catch_up(key)?;
        Ok(found)
    }

    /// Lets this node's snapshot come to what the database has now.
    fn catch_up(&self, key: PartnerKey) -> Result<(), ServiceError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let version = self.store.version(key)?;
        match replica.reach_within(key, version, CATCH_UP) {
            true => Ok(()),
            false => Err(ServiceError::Behind),
        }
    }

    fn entry(&self, verb: Verb) -> LogEntry {
        let (actor, request_id) = (self.actor.clone(), self.request_id.clone());
        LogEntry { at: self.now(), actor, request_id, verb, from: self.from }
    }

    /// Runs one write and returns what it decided.
    fn write<T: Send>(
        &self,
        target: WriteTarget,
        verb: Verb,
        draft: impl FnMut(&mut dyn Transaction) -> Result<T, ServiceError> + Send,
    ) -> Result<Done<T>, ServiceError> {
        self.write_as(target, self.entry(verb), draft)
    }

    /// The same under an entry of the caller's making.
    fn write_as<T: Send>(
        &self,
        target: WriteTarget,
        entry: LogEntry,
        mut draft: impl FnMut(&mut dyn Transaction) -> Result<T, ServiceError> + Send,
    ) -> Result<Done<T>, ServiceError> {
        self.decide(target, entry, |transaction| draft(transaction).map(Decision::Commit))
    }

    /// The same of a draft that may leave all as it is.
    fn decide<T: Send>(
        &self,
        target: WriteTarget,
        entry: LogEntry,
        draft: impl FnMut(&mut dyn Transaction) -> Result<Decision<T>, ServiceError> + Send,
    ) -> Result<Done<T>, ServiceError> {
        let span = trace::child("verb");
        span.set("rollcall.verb", &entry.verb);
        let done = self.store.draft(target.clone(), entry, draft);
        ended(&span, done.as_ref().err());
        if let Ok(Done { version: Some(version), .. }) = &done {
            span.number("rollcall.version", *version as i64);
        }
        match (done, target) {
            (Err(ServiceError::Store(StoreError::Exists)), WriteTarget::New(partner)) => {
                Err(ServiceError::PartnerExists { partner })
            }
            (done, _) => done,
        }
    }

    /// Runs one write beside the log and returns what it decided.
    fn write_beside<T: Send>(
        &self,
        key: PartnerKey,
        mut draft: impl FnMut(&mut dyn SideWrites) -> Result<T, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        self.decide_beside(key, |transaction| draft(transaction).map(Decision::Commit))
    }

    fn decide_beside<T: Send>(
        &self,
        key: PartnerKey,
        draft: impl FnMut(&mut dyn SideWrites) -> Result<Decision<T>, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        let span = trace::child("verb");
        let done = self.store.draft_beside(key, self.now(), draft);
        ended(&span, done.as_ref().err());
        done
    }

    /// Runs a verb of the management API: once, if it may be retried, and seen
    /// by the next read on this node.
    fn manage(
        &self,
        key: PartnerKey,
        verb: Verb,
        mut draft: impl FnMut(&mut dyn Transaction) -> Result<VerbOutcome, ServiceError> + Send,
    ) -> Result<WriteOutcome, ServiceError> {
        let done = self.decide(WriteTarget::Partner(key), self.entry(verb), |transaction| {
            if let Some(before) = self.answered(transaction)? {
                return Ok(Decision::Commit(before));
            }
            let shown = draft(transaction)?;
            self.answer(transaction, shown)
        });
        self.managed(key, done)
    }

    /// The same of a verb that changes only what is beside the log.
    fn manage_beside(
        &self,
        key: PartnerKey,
        mut draft: impl FnMut(&mut dyn SideWrites) -> Result<VerbOutcome, ServiceError> + Send,
    ) -> Result<WriteOutcome, ServiceError> {
        let done = self.decide_beside(key, |transaction| {
            if let Some(before) = self.answered(transaction)? {
                return Ok(Decision::Commit(before));
            }
            let shown = draft(transaction)?;
            self.answer(transaction, shown)
        });
        self.managed(key, done.map(|value| Done { value, version: None }))
    }

    /// The answer to the request of which this is a retry.
    fn answered(&self, transaction: &mut dyn SideWrites) -> Result<Option<WriteOutcome>, ServiceError> {
        let Some(retry) = self.retry.as_ref().filter(|_| !self.dry_run) else { return Ok(None) };
        let since = Time::now().plus(-RETRY_SECONDS);
        let Some(Answered { fingerprint, status, etag, body }) = transaction.answered(&retry.key, since)? else {
            return Ok(None);
        };
        match fingerprint == retry.fingerprint {
            true => Ok(Some(WriteOutcome::Again(Rendered { status, etag, body }))),
            false => Err(ServiceError::KeyReused),
        }
    }

    /// Keeps the answer of a verb for retries.
    fn answer(
        &self,
        transaction: &mut dyn SideWrites,
        shown: VerbOutcome,
    ) -> Result<Decision<WriteOutcome>, ServiceError> {
        if self.dry_run {
            return Ok(Decision::RollBack(WriteOutcome::Done { shown, version: None, rendered: None }));
        }
        let rendered = self.retry.as_ref().map(|retry| (retry, (retry.render)(&shown)));
        if let Some((retry, rendered)) = &rendered {
            let (fingerprint, Rendered { status, etag, body }) = (retry.fingerprint, rendered.clone());
            transaction.put_answered(&retry.key, &Answered { fingerprint, status, etag, body })?;
        }
        let rendered = rendered.map(|(_, rendered)| rendered);
        Ok(Decision::Commit(WriteOutcome::Done { shown, version: None, rendered }))
    }

    /// Lets this node's reads see what a verb did.
    fn managed(
        &self,
        key: PartnerKey,
        done: Result<Done<WriteOutcome>, ServiceError>,
    ) -> Result<WriteOutcome, ServiceError> {
        let Done { value, version } = match done {
            Ok(done) => done,
            Err(error @ ServiceError::Store(_)) => return Err(error),
            // A refusal says how things stand in the database, which may be news
            // to this node. It is the answer even where the node is behind.
            Err(refusal) => {
                let _ = self.catch_up(key);
                return Err(refusal);
            }
        };
        match (&self.replica, version) {
            (_, None) if self.dry_run => self.catch_up(key)?,
            (Some(replica), Some(version)) => replica.reach(key, version),
            (Some(replica), None) => replica.follow(),
            (None, _) => {}
        }
        Ok(match value {
            WriteOutcome::Done { shown, rendered, .. } => WriteOutcome::Done { shown, version, rendered },
            again => again,
        })
    }

    /// Lets go of answers that no retry gets any more; an hour later, since
    /// nodes' clocks are not alike.
    pub fn forget_answered(&self) -> Result<(), StoreError> {
        self.store.forget_answered(Time::now().plus(-RETRY_SECONDS - 3_600))
    }

    /// All partners, in the order in which they were created. One that cannot be
    /// understood is a failure.
    pub fn partners(&self) -> Result<Partners, ServiceError> {
        let (partners, unknown) = self.partners_known()?;
        unknown.map_or(Ok(partners), |what| Err(corrupt(what)))
    }

    /// The same for a list, without a partner that cannot be understood.
    pub fn partners_listed(&self) -> Result<Partners, ServiceError> {
        let (partners, unknown) = self.partners_known()?;
        if let Some(what) = unknown {
            tracing::warn!(what, "a row of the database cannot be understood and is left out: {what}");
        }
        Ok(partners)
    }

    /// The partners that can be understood, and what is wrong with another.
    fn partners_known(&self) -> Result<(Partners, Option<String>), ServiceError> {
        let (mut partners, mut unknown) = (Partners::new(), None);
        self.store.load(Load { only: None, numbers: false }, &mut |loaded| {
            match loaded {
                Loaded::Partner { head, partner, .. } => partners.push((head.key, head.version, partner)),
                // Partners come first, so it is one, or belongs to one that is unknown.
                Loaded::Poison { key, what, .. } if partners.iter().all(|(known, ..)| Some(*known) != key) => {
                    unknown.get_or_insert(what);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok((partners, unknown))
    }

    /// Looks one partner up; only where it is not found are all of them read, to
    /// say whether one of them cannot be understood.
    pub fn partner_key(&self, auth_id: &PartnerId) -> Result<PartnerKey, ServiceError> {
        if let Some(key) = self.store.partner(auth_id)? {
            return Ok(key);
        }
        self.partner_named(auth_id).map(|(key, _, _)| key)
    }

    /// One partner, with its version.
    pub fn partner_named(&self, auth_id: &PartnerId) -> Result<(PartnerKey, u64, Partner), ServiceError> {
        let (partners, unknown) = self.partners_known()?;
        match (partners.into_iter().find(|(_, _, partner)| partner.auth_id == *auth_id), unknown) {
            (Some(found), _) => Ok(found),
            // It may be this one.
            (None, Some(what)) => Err(corrupt(what)),
            (None, None) => Err(ServiceError::NoPartner { partner: auth_id.clone() }),
        }
    }

    /// One partner as the store has it now; without `numbers`, its entities.
    pub fn snapshot(&self, auth_id: &PartnerId, numbers: bool) -> Result<Snapshot, ServiceError> {
        let key = self.partner_key(auth_id)?;
        let mut snapshots = replica::load(&*self.store, Load { only: Some(key), numbers })?;
        snapshots.remove(&key).ok_or_else(|| ServiceError::NoPartner { partner: auth_id.clone() })
    }

    /// A partner as it is now: this node's snapshot, once it has caught up, or one
    /// that is read for this. Only the latter may lack the numbers.
    fn partner_snapshot(&self, key: PartnerKey, numbers: bool) -> Result<Arc<Snapshot>, ServiceError> {
        if let Some(replica) = &self.replica {
            replica.follow();
        }
        self.known_snapshot(key, numbers)
    }

    /// The same without catching up first.
    fn known_snapshot(&self, key: PartnerKey, numbers: bool) -> Result<Arc<Snapshot>, ServiceError> {
        if let Some(snapshot) = self.replica.as_ref().and_then(|replica| replica.snapshot(key)) {
            return Ok(snapshot);
        }
        let mut loaded = replica::load(&*self.store, Load { only: Some(key), numbers })?;
        loaded.remove(&key).map(Arc::new).ok_or_else(|| corrupt(format!("partner {key} is gone")))
    }

    pub fn partner_create(&self, auth_id: PartnerId, name: Arc<str>) -> Result<Done<Partner>, ServiceError> {
        verbs::entities::check_new("auth_id", auth_id.as_str(), &name)?;
        let partner = Partner { auth_id: auth_id.clone(), name, created_at: self.now(), suspended_at: None };
        self.write(WriteTarget::New(auth_id), Verb::PartnerCreate, |transaction| {
            transaction.put_entity(EntityChange::Partner(Edit::created(partner.clone())))?;
            Ok(partner.clone())
        })
    }

    /// Suspends a partner, so that its keys open nothing, or resumes it.
    /// Setting what is already so changes nothing.
    pub fn partner_suspend(&self, auth_id: &PartnerId, suspend: bool) -> Result<Done<Partner>, ServiceError> {
        let key = self.partner_key(auth_id)?;
        let verb = if suspend { Verb::PartnerSuspend } else { Verb::PartnerResume };
        self.write(WriteTarget::Partner(key), verb, |transaction| {
            let before = transaction.partner()?.ok_or_else(|| ServiceError::NoPartner { partner: auth_id.clone() })?;
            if before.suspended_at.is_some() == suspend {
                return Ok(before);
            }
            let after = Partner { suspended_at: suspend.then(|| self.now()), ..before.clone() };
            transaction.put_entity(EntityChange::Partner(Edit { before: Some(before), after: after.clone() }))?;
            Ok(after)
        })
    }

    /// Notes in the audit trail why credentials were not changed; that they were
    /// is noted by the store, with the change. The console notes its own refusals.
    fn audit_refusal<T>(&self, key: PartnerKey, what: &str, about: &KeyId, done: &Result<Done<T>, ServiceError>) {
        let (Err(error), Actor::Command { .. } | Actor::Key { .. } | Actor::Server) = (done, &self.actor) else {
            return;
        };
        self.note_in_audit(key, what, about.as_str(), Some(error.to_string().into()));
    }

    fn audit_entry(&self, key: PartnerKey, what: &str, about: &str, refused: Option<Arc<str>>) -> AuditEntry {
        AuditEntry {
            at: self.now(),
            partner: Some(key),
            who: self.actor.to_string().into(),
            what: what.into(),
            about: Some(about.into()),
            refused,
            from: self.from,
            request_id: self.request_id.as_deref().map(Into::into),
        }
    }

    fn note_in_audit(&self, key: PartnerKey, what: &str, about: &str, refused: Option<Arc<str>>) {
        let entry = self.audit_entry(key, what, about, refused);
        let noted: Result<(), StoreError> = self.store.draft_people(|people| people.put_audit(&entry));
        if let Err(error) = noted {
            tracing::error!(error = &error as &dyn std::error::Error, what, about, "not written to the audit trail");
        }
    }

    /// Makes a key. The token in the answer is the only copy there will be.
    pub fn key_create(&self, partner: &PartnerId, new: NewKey) -> Result<Done<(Key, Token)>, ServiceError> {
        self.key_install(partner, new, Token::generate())
    }

    /// Creates a key with a token that was generated before.
    pub fn key_install(
        &self,
        partner: &PartnerId,
        new: NewKey,
        token: Token,
    ) -> Result<Done<(Key, Token)>, ServiceError> {
        let partner = self.partner_key(partner)?;
        let key = Key {
            id: KeyId::stored(&token::key_id()),
            name: new.name,
            token_sha256: token.sha256(),
            scopes: new.scopes,
            created_at: self.now(),
            expires_at: new.expires_at,
            networks: new.networks,
            revoked_at: None,
            dialect: new.dialect,
        };
        let done = self.write(WriteTarget::Partner(partner), Verb::KeyCreate, |transaction| {
            transaction.put_entity(EntityChange::Key(Edit::created(key.clone())))?;
            Ok(())
        });
        self.audit_refusal(partner, "key.create", &key.id, &done);
        let version = done?.version;
        Ok(Done { value: (key, token), version })
    }

    /// Makes a key that may do what another one may, and lets the other one go
    /// on for `overlap` seconds, so that nobody is locked out meanwhile.
    pub fn key_rotate(
        &self,
        partner: &PartnerId,
        id: &KeyId,
        overlap: i64,
    ) -> Result<Done<(Key, Token)>, ServiceError> {
        let of = self.partner_key(partner)?;
        let token = Token::generate();
        let done = self.write(WriteTarget::Partner(of), Verb::KeyCreate, |transaction| {
            let now = transaction.at();
            let before = transaction
                .key(id)?
                .ok_or_else(|| ServiceError::NoKey { partner: partner.clone(), key: id.clone() })?;
            if !before.live(now) {
                return Err(ServiceError::Refused(format!("key {id} has ended; create another")));
            }
            let ends = now.plus(overlap);
            let expires_at = Some(before.expires_at.map_or(ends, |end| end.min(ends)));
            let ending = Key { expires_at, ..before.clone() };
            let id = KeyId::stored(&token::key_id());
            let new = Key { id, token_sha256: token.sha256(), created_at: now, ..before.clone() };
            transaction.put_entity(EntityChange::Key(Edit { before: Some(before), after: ending }))?;
            transaction.put_entity(EntityChange::Key(Edit::created(new.clone())))?;
            Ok(new)
        });
        self.audit_refusal(of, "key.rotate", id, &done);
        let done = done?;
        Ok(Done { value: (done.value, token), version: done.version })
    }

    /// For how long the partner's released numbers are kept from reuse; `None`
    /// is as the server has it. Numbers in quarantine stay as they are.
    pub fn quarantine_choose(&self, key: PartnerKey, chosen: Option<&Quarantine>) -> Result<Done<()>, ServiceError> {
        self.write(WriteTarget::Partner(key), Verb::SettingsEdit, |transaction| {
            let before = transaction.setting(setting::QUARANTINE)?;
            self.expected.check("setting", setting::QUARANTINE, quarantine_tag(before.as_ref()))?;
            if before.as_ref().and_then(Setting::quarantine) == chosen {
                return Ok(());
            }
            let now = transaction.at();
            let last = before.as_ref().map(|setting| setting.choice.clone());
            let choice = chosen.cloned().map(Choice::Quarantine).or(last);
            let Some(choice) = choice else { return Ok(()) };
            let created_at = before.as_ref().map_or(now, |setting| setting.created_at);
            let removed_at = chosen.is_none().then_some(now);
            let after = Setting { id: setting::QUARANTINE.into(), created_at, removed_at, choice };
            Ok(transaction.put_entity(EntityChange::Setting(Edit { before, after }))?)
        })
    }

    /// How long the server keeps released numbers where a partner has not
    /// chosen.
    pub fn quarantine_default(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Ends a key for good. Revoking a revoked key changes nothing.
    pub fn key_revoke(&self, partner: &PartnerId, id: &KeyId) -> Result<Done<Key>, ServiceError> {
        let of = self.partner_key(partner)?;
        let done = self.write(WriteTarget::Partner(of), Verb::KeyRevoke, |transaction| {
            let before = transaction
                .key(id)?
                .ok_or_else(|| ServiceError::NoKey { partner: partner.clone(), key: id.clone() })?;
            if before.revoked_at.is_some() {
                return Ok(before);
            }
            let after = Key { revoked_at: Some(self.now()), ..before.clone() };
            transaction.put_entity(EntityChange::Key(Edit { before: Some(before), after: after.clone() }))?;
            Ok(after)
        });
        self.audit_refusal(of, "key.revoke", id, &done);
        done
    }
}

/// Notes how the span of a write ended.
fn ended(span: &trace::Span, error: Option<&ServiceError>) {
    match error {
        None | Some(ServiceError::Store(StoreError::Exists)) => {}
        Some(ServiceError::Store(error)) => span.failed(error),
        Some(_) => span.set("rollcall.outcome", &"refused"),
    }
}

impl ServiceError {
    /// There is no such thing in this partner.
    fn unknown(what: &'static str, id: &str) -> ServiceError {
        ServiceError::Unknown { what, id: id.to_owned() }
    }
}

fn corrupt(what: impl Into<String>) -> ServiceError {
    StoreError::Corrupt { what: what.into() }.into()
}
