//! Webhooks: addresses that get each change, and the log of their deliveries.
//!
//! A webhook is a setting in the log. Outside the log are its secrets, its head
//! (its position in the log, and its retries) and its deliveries. The log is the
//! queue: a change becomes a delivery at its first attempt ([`deliver`]), so an
//! outage of days during a million changes keeps one delivery. Only events outside
//! the log, such as an alert or a resend, are queued as deliveries of their own.
//!
//! Invariants: deliveries are sent in the order of their ids, unless a webhook that
//! is in order by number holds some back ([`held`]); the result of an attempt is
//! stored after it, so an event arrives at least once; an announced event is queued
//! for all webhooks that subscribe to it, or for none; an event that was given up
//! or skipped is listed until it is sent again or its retention ends.
//! Deliberately absent: connections (`outbound`), the order of turns ([`turns`](crate::service::background::turns)), the
//! secret anywhere but in its document and in the answer that creates it.

pub mod deliver;
pub mod event;
mod held;
pub mod runner;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;

use self::event::{EventEnvelope, Secrets, SigningSecret};
use self::held::{HELD, HeldEvents};
pub use self::held::{HELD_MAX, REFUSED_MAX};
use crate::domain::change::Edit;
use crate::domain::field::code;
use crate::domain::number::words;
use crate::domain::setting::{DeliveryOrder, Off, Webhook};
use crate::domain::{Actor, Choice, EntityChange, FieldError, PartnerKey, Setting, Time, Verb};
use crate::inventory::Snapshot;
use crate::outbound::Outbound;
pub use crate::outbound::URL_BYTES_MAX;
use crate::service::background::turns::Board;
use crate::service::verbs::entities::state_tag;
use crate::service::verbs::numbers::Expected;
use crate::service::{Service, ServiceError, VerbOutcome, WorkerClock, WriteOutcome, corrupt, token};
use crate::store::{Document, DocumentWalk, PartnerReads, SideWrites, Transaction};

/// Heads: the state of each webhook. `due` says when it is to be looked at.
const HEAD: &str = "webhook";
const SECRET: &str = "webhook_secret";

/// How long after a failed attempt the next one is made, in seconds.
pub const RETRIES: [i64; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// How long a secret that was replaced goes on being used, in seconds.
pub const ROTATION_SECONDS: i64 = 24 * 3_600;
/// How many events that are about no change may wait, for each webhook.
const QUEUE_MAX: usize = 1_000;
/// The longest data of an event that is announced.
const DATA_BYTES_MAX: usize = 128 * 1_024;
/// Up to where waiting changes are counted by whether they are wanted.
const PENDING_EXACT: usize = 1_000;
/// How many test deliveries of one partner, and of all, are made at a time.
const TESTS_OF_ONE: usize = 2;
const TESTS_OF_ALL: usize = 16;

/// What an operator can choose about webhooks.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Networks that may be reached although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Certificates that are trusted besides the usual ones.
    pub authorities: Option<PathBuf>,
    pub timeout: Duration,
    /// How many webhooks a partner may have.
    pub per_partner: usize,
    /// How many deliveries of a webhook are kept, and for how many days.
    pub keep: u64,
    pub keep_days: i64,
    /// How many changes a webhook that was off is told of when it is on again.
    pub catch_up: u64,
    /// For how many days what was given up is kept; 0 is for ever.
    pub failed_days: i64,
}

impl Default for WebhookSettings {
    fn default() -> WebhookSettings {
        WebhookSettings {
            allow_networks: Vec::new(),
            authorities: None,
            timeout: Duration::from_secs(15),
            per_partner: 50,
            keep: 1_000,
            keep_days: 30,
            catch_up: 10_000,
            failed_days: 90,
        }
    }
}

/// What webhooks need of a process.
pub struct Hooks {
    pub outbound: Outbound,
    clock: WorkerClock,
    per_partner: usize,
    keep: u64,
    keep_days: i64,
    catch_up: u64,
    failed_days: i64,
    /// Rung when there may be something to deliver.
    board: Arc<Board>,
    /// Test deliveries in progress.
    tests: Mutex<HashMap<PartnerKey, usize>>,
    /// Set when the server ends: nobody waits for a test any more.
    closed: AtomicBool,
}

impl Hooks {
    pub fn new(settings: WebhookSettings) -> Hooks {
        let WebhookSettings {
            allow_networks,
            authorities,
            timeout,
            per_partner,
            keep,
            keep_days,
            catch_up,
            failed_days,
        } = settings;
        Hooks {
            outbound: Outbound::new(allow_networks, authorities, timeout),
            clock: Arc::new(Time::now),
            per_partner,
            keep,
            keep_days,
            catch_up,
            failed_days,
            board: Arc::default(),
            tests: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// The same by another clock: what waits, waits by it.
    pub fn clock(self, clock: WorkerClock) -> Hooks {
        Hooks { clock, ..self }
    }

    fn now(&self) -> Time {
        (self.clock)()
    }

    /// A place for a test delivery, which somebody waits for.
    fn test(&self, key: PartnerKey) -> Result<Testing<'_>, ServiceError> {
        let mut tests = self.tests.lock();
        if tests.get(&key).copied().unwrap_or_default() >= TESTS_OF_ONE || tests.values().sum::<usize>() >= TESTS_OF_ALL
        {
            return Err(ServiceError::TooMany("test deliveries at once; wait for those that go on"));
        }
        *tests.entry(key).or_default() += 1;
        Ok(Testing { hooks: self, key })
    }
}

struct Testing<'a> {
    hooks: &'a Hooks,
    key: PartnerKey,
}

impl Drop for Testing<'_> {
    fn drop(&mut self) {
        let mut tests = self.hooks.tests.lock();
        if let Some(count) = tests.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                tests.remove(&self.key);
            }
        }
    }
}

/// How far a webhook has come, and how it is.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
struct WebhookCursor {
    /// All changes up to this version are settled.
    cursor: u64,
    /// Deliveries that wait and are about no change after the cursor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queued: Vec<String>,
    /// Counts the deliveries that are about no change after the cursor.
    #[serde(default)]
    next: u64,
    /// How many deliveries are kept.
    #[serde(default)]
    stored: u64,
    /// How many events are held back; they are in a document of their own.
    #[serde(default)]
    held: u64,
    /// How many deliveries that were given up or skipped are kept.
    #[serde(default)]
    failed: u64,
    /// The delivery that failed and is tried again before any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    front: Option<String>,
    /// How many of its retries there were.
    #[serde(default)]
    step: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_success_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_failure_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Changes that it was not told of, after the first and up to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missed: Option<(u64, u64)>,
    /// When it is to be looked at; kept as the document's own.
    #[serde(skip)]
    due: Option<Time>,
}

impl WebhookCursor {
    fn new(cursor: u64) -> WebhookCursor {
        let (queued, next, stored, held, failed, front, step) = Default::default();
        let (failing_since, last_success_at, last_failure_at, last_error, missed, due) = Default::default();
        WebhookCursor {
            cursor,
            queued,
            next,
            stored,
            held,
            failed,
            front,
            step,
            failing_since,
            last_success_at,
            last_failure_at,
            last_error,
            missed,
            due,
        }
    }

    fn read(document: &Document) -> Result<WebhookCursor, ServiceError> {
        let head: WebhookCursor = document.read("the state of webhook")?;
        Ok(WebhookCursor { due: document.due, ..head })
    }

    fn of(transaction: &mut dyn SideWrites, id: &str) -> Result<Option<WebhookCursor>, ServiceError> {
        transaction.document(HEAD, id)?.map(|document| WebhookCursor::read(&document)).transpose()
    }

    fn put(&self, transaction: &mut dyn SideWrites, id: &str) -> Result<(), ServiceError> {
        Ok(transaction.put_document(HEAD, &Document::of(id, self.due, self))?)
    }

    /// What waits is tried at once, and by the whole table again.
    fn kick(&mut self, transaction: &mut dyn SideWrites, id: &str, now: Time) -> Result<(), ServiceError> {
        (self.due, self.step) = (Some(now), 0);
        if self.held > 0 {
            let mut held = HeldEvents::in_transaction(transaction, id)?;
            held.kick(now);
            held.put(transaction, id)?;
        }
        Ok(())
    }

    /// Takes over which events are held back, and writes that if it is news.
    fn put_held(
        &mut self,
        transaction: &mut dyn SideWrites,
        id: &str,
        (held, changed): (&HeldEvents, bool),
        now: Time,
    ) -> Result<(), ServiceError> {
        self.held = held.len() as u64;
        let queued = self.queued.first().map(|_| now);
        self.due = held.due(now).into_iter().chain(queued).min();
        if changed { held.put(transaction, id) } else { Ok(()) }
    }

    /// Lists a delivery with those that were given up.
    fn give_up(
        &mut self,
        transaction: &mut dyn SideWrites,
        webhook: &str,
        id: &str,
        delivery: &Delivery,
    ) -> Result<(), ServiceError> {
        let kind = failed_of(webhook);
        self.failed += u64::from(transaction.document(&kind, id)?.is_none());
        Ok(transaction.put_document(&kind, &Document::of(id, None, delivery))?)
    }

    /// Takes a delivery from that list, if it is there.
    fn forget_failed(
        &mut self,
        transaction: &mut dyn SideWrites,
        webhook: &str,
        id: &str,
    ) -> Result<Option<Delivery>, ServiceError> {
        let kind = failed_of(webhook);
        let Some(document) = transaction.document(&kind, id)? else { return Ok(None) };
        transaction.drop_document(&kind, id)?;
        self.failed = self.failed.saturating_sub(1);
        Delivery::read(&document).map(Some)
    }

    /// Queues a delivery's event again.
    fn resend(
        &mut self,
        transaction: &mut dyn SideWrites,
        webhook: &str,
        of: &str,
        again: Delivery,
        now: Time,
    ) -> Result<ShownDelivery, ServiceError> {
        let (state, attempts, resend_of) = (DeliveryState::Pending, Vec::new(), Some(of.to_owned()));
        let delivery = Delivery { state, attempts, resend_of, created_at: now, ..again };
        let version = transaction.version() - 1;
        let id = self.add(transaction, webhook, version, &delivery)?;
        Ok(ShownDelivery { id, delivery, created: true })
    }

    /// Puts a delivery into its place after `version`, and returns its id.
    fn add(
        &mut self,
        transaction: &mut dyn SideWrites,
        webhook: &str,
        version: u64,
        delivery: &Delivery,
    ) -> Result<String, ServiceError> {
        let id = format!("{}-{:08x}", change_delivery(version), self.next);
        self.next += 1;
        self.stored += 1;
        if delivery.state == DeliveryState::Pending {
            self.queued.push(id.clone());
        }
        delivery.put(transaction, webhook, &id)?;
        Ok(id)
    }
}

/// The id of the delivery of a change: ids are in the order of sending.
fn change_delivery(version: u64) -> String {
    format!("dl_{version:016x}")
}

/// The version of the change that a delivery's id is of, if it is of one.
fn change_of(place: &str) -> Option<u64> {
    let digits = place.strip_prefix("dl_").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The kind of the documents that are a webhook's deliveries.
fn deliveries_of(webhook: &str) -> String {
    format!("delivery:{webhook}")
}

/// The kind of the documents that are its deliveries that were given up, each
/// as it was then.
fn failed_of(webhook: &str) -> String {
    format!("failed_delivery:{webhook}")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Given up, after the last retry.
    Failed,
    /// Given up before: it is not wanted any more, or too many wait.
    Dropped,
    /// Given up on request, so that it blocks no other.
    Skipped,
}

words!(DeliveryState:
    Pending "pending", Delivered "delivered", Failed "failed", Dropped "dropped", Skipped "skipped"
);

/// Where an event's data come from.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventSource {
    /// The log, at this version.
    Change(u64),
    /// Here, as JSON.
    Data(String),
}

/// One event on its way to one webhook.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Delivery {
    /// The event's id, under which the receiver knows it.
    pub event: String,
    pub kind: String,
    pub at: Time,
    pub version: u64,
    pub state: DeliveryState,
    source: EventSource,
    /// The delivery that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend_of: Option<String>,
    pub created_at: Time,
    /// The latest ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<DeliveryAttempt>,
}

/// How telling it went.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DeliveryAttempt {
    pub at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub took_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer, as text that is safe to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl Delivery {
    fn read(document: &Document) -> Result<Delivery, ServiceError> {
        Ok(document.read("delivery")?)
    }

    fn of(transaction: &mut dyn SideWrites, webhook: &str, id: &str) -> Result<Option<Delivery>, ServiceError> {
        transaction.document(&deliveries_of(webhook), id)?.map(|document| Delivery::read(&document)).transpose()
    }

    fn put(&self, transaction: &mut dyn SideWrites, webhook: &str, id: &str) -> Result<(), ServiceError> {
        Ok(transaction.put_document(&deliveries_of(webhook), &Document::of(id, None, self))?)
    }
}

/// What a new webhook shall be.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    pub name: Arc<str>,
    pub url: Arc<str>,
    /// All kinds, if there are none.
    pub events: Vec<Arc<str>>,
    pub order: DeliveryOrder,
}

/// What shall be different about a webhook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebhookChanges {
    pub name: Option<Arc<str>>,
    pub url: Option<Arc<str>>,
    pub events: Option<Vec<Arc<str>>>,
    pub order: Option<DeliveryOrder>,
    pub enabled: Option<bool>,
}

/// How a webhook is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookHealth {
    /// How many events wait: exact up to a thousand changes, beyond that with
    /// those that it does not want.
    pub pending: u64,
    /// How many of them are held back, because they were refused or must not
    /// overtake one that was.
    pub held: u64,
    /// How many that were given up or skipped can be sent again.
    pub failed: u64,
    pub failing_since: Option<Time>,
    pub next_attempt_at: Option<Time>,
    pub last_success_at: Option<Time>,
    pub last_failure_at: Option<Time>,
    pub last_error: Option<String>,
    /// Changes that it was not told of, after the first and up to the second.
    pub missed: Option<(u64, u64)>,
}

/// A webhook as it is shown.
#[derive(Clone, Debug)]
pub struct ShownWebhook {
    pub setting: Setting,
    pub webhook: Webhook,
    pub health: WebhookHealth,
    /// Only where it was just made.
    pub secret: Option<SigningSecret>,
    pub created: bool,
}

/// A delivery as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownDelivery {
    pub id: String,
    pub delivery: Delivery,
    pub created: bool,
}

/// An event that was refused, and is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocking {
    pub delivery: ShownDelivery,
    pub next_attempt_at: Option<Time>,
}

/// An event that is about no change.
struct Announced {
    id: String,
    kind: String,
    at: Time,
    data: String,
}

/// A webhook that is there, inside a transaction.
fn find(transaction: &mut dyn PartnerReads, id: &str) -> Result<(Setting, Webhook), ServiceError> {
    let setting = transaction.setting(id)?.filter(|setting| setting.removed_at.is_none());
    let setting = setting.ok_or_else(|| ServiceError::unknown("webhook", id))?;
    let webhook = setting.webhook().cloned().ok_or_else(|| ServiceError::unknown("webhook", id))?;
    Ok((setting, webhook))
}

fn put_setting(transaction: &mut dyn Transaction, before: &Setting, after: &Setting) -> Result<(), ServiceError> {
    let edit = Edit { before: Some(before.clone()), after: after.clone() };
    Ok(transaction.put_entity(EntityChange::Setting(edit))?)
}

impl Service {
    /// The same verbs with another way to reach webhooks.
    pub fn hooks(self, hooks: Hooks) -> Service {
        Service { hooks: Arc::new(hooks), ..self }
    }

    /// Says at start what would keep every delivery from being made.
    pub fn webhooks_ready(&self) -> Result<(), crate::outbound::OutboundError> {
        self.hooks.outbound.ready()
    }

    /// Releases callers that wait for a test delivery, because the server stops.
    pub fn webhooks_close(&self) {
        self.hooks.closed.store(true, Ordering::Relaxed);
    }

    fn head(&self, key: PartnerKey, id: &str) -> Result<Option<WebhookCursor>, ServiceError> {
        self.store.document(key, HEAD, id)?.map(|document| WebhookCursor::read(&document)).transpose()
    }

    fn held(&self, key: PartnerKey, id: &str) -> Result<HeldEvents, ServiceError> {
        let document = self.store.document(key, HELD, id)?;
        document.map_or_else(|| Ok(HeldEvents::default()), |document| HeldEvents::read(&document))
    }

    fn secrets(&self, key: PartnerKey, id: &str) -> Result<Option<Secrets>, ServiceError> {
        let Some(document) = self.store.document(key, SECRET, id)? else { return Ok(None) };
        // Not with the parser's words: they may have the text in them.
        let secrets = serde_json::from_str(&document.body);
        secrets.map(Some).map_err(|_| corrupt(format!("the secret of webhook {id}")))
    }

    /// What is wrong with an address and a choice of events.
    fn check_webhook(&self, url: Option<&str>, events: Option<&[Arc<str>]>) -> Result<(), ServiceError> {
        let mut errors = Vec::new();
        if let Some(url) = url
            && let Err(wrong) = self.hooks.outbound.check(url)
        {
            errors.push(FieldError::new("url", code::INVALID, wrong, url));
        }
        for (at, kind) in events.unwrap_or_default().iter().enumerate() {
            let field = format!("events[{at}]");
            if !event::known(kind) {
                let message = "is not a kind of event; the documentation lists them";
                errors.push(FieldError::new(&field, code::UNKNOWN, message, kind));
            } else if events.unwrap_or_default()[..at].contains(kind) {
                errors.push(FieldError::new(&field, code::REPEATED, "is there already", kind));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
    }

    /// Creates a webhook. It is told of what happens from now on. The secret
    /// in the answer is the only copy that is shown.
    pub fn webhook_create(&self, key: PartnerKey, new: &NewWebhook) -> Result<WriteOutcome, ServiceError> {
        self.check_webhook(Some(&new.url), Some(&new.events))?;
        let snapshot = self.known_snapshot(key, false)?;
        let live = snapshot.settings.iter().filter(|one| one.removed_at.is_none() && one.webhook().is_some()).count();
        let (id, secret) = (token::webhook_id(), SigningSecret::generate());
        let max = self.hooks.per_partner;
        let outcome = self.manage(key, Verb::WebhookCreate, |transaction| {
            // Here, so that a retry of the last one that fits is answered.
            if live >= max {
                return Err(ServiceError::Refused(format!(
                    "this partner has {max} webhooks already, and may have no more"
                )));
            }
            let NewWebhook { name, url, events, order } = new.clone();
            let webhook = Webhook { name, url, events, order, off: None, rotated_at: None, rotations: 0 };
            let created_at = transaction.at();
            let choice = Choice::Webhook(webhook.clone());
            let setting = Setting { id: id.as_str().into(), created_at, removed_at: None, choice };
            transaction.put_entity(EntityChange::Setting(Edit::created(setting.clone())))?;
            put_secrets(transaction, &id, &Secrets { current: secret.clone(), previous: None })?;
            let head = WebhookCursor::new(transaction.version());
            head.put(transaction, &id)?;
            let (health, secret) = (health(&head, 0), Some(secret.clone()));
            Ok(VerbOutcome::Webhook(Box::new(ShownWebhook { setting, webhook, health, secret, created: true })))
        })?;
        self.hooks.board.ring();
        Ok(outcome)
    }

    /// The partner's webhooks, oldest first.
    pub fn webhooks(&self, key: PartnerKey) -> Result<Vec<ShownWebhook>, ServiceError> {
        let snapshot = self.known_snapshot(key, false)?;
        let live = snapshot.settings.iter().filter(|setting| setting.removed_at.is_none());
        let mut live: Vec<&Setting> = live.filter(|setting| setting.webhook().is_some()).collect();
        live.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        self.beside(key, |_| live.into_iter().map(|setting| self.show(&snapshot, setting)).collect())
    }

    pub fn webhook(&self, key: PartnerKey, id: &str) -> Result<ShownWebhook, ServiceError> {
        let snapshot = self.known_snapshot(key, false)?;
        let setting = snapshot.settings.get(id).filter(|setting| setting.removed_at.is_none());
        let setting = setting.ok_or_else(|| ServiceError::unknown("webhook", id))?;
        self.beside(key, |_| self.show(&snapshot, setting))
    }

    fn show(&self, snapshot: &Snapshot, setting: &Setting) -> Result<ShownWebhook, ServiceError> {
        let webhook = setting.webhook().cloned().ok_or_else(|| ServiceError::unknown("webhook", &setting.id))?;
        let head = self.head(snapshot.key, &setting.id)?.unwrap_or_else(|| WebhookCursor::new(snapshot.version));
        let pending = self.pending(snapshot, &webhook, &head)?;
        let health = health(&head, pending);
        Ok(ShownWebhook { setting: setting.clone(), webhook, health, secret: None, created: false })
    }

    /// How many events wait for a webhook.
    fn pending(&self, snapshot: &Snapshot, webhook: &Webhook, head: &WebhookCursor) -> Result<u64, ServiceError> {
        let mut pending = head.queued.len() as u64 + head.held;
        if head.cursor >= snapshot.version {
            return Ok(pending);
        }
        if webhook.events.is_empty() {
            return Ok(pending + snapshot.version - head.cursor);
        }
        let entries = self.store.entries(snapshot.key, head.cursor, PENDING_EXACT)?;
        let heard = entries.iter().filter(|(version, _)| *version <= snapshot.version);
        pending += heard.filter(|(_, entry)| webhook.wants(entry.verb.as_str())).count() as u64;
        if let Some((last, _)) = entries.last().filter(|_| entries.len() == PENDING_EXACT) {
            pending += snapshot.version.saturating_sub(*last);
        }
        Ok(pending)
    }

    /// Changes a webhook. Switched on again, or sent elsewhere, it is tried at
    /// once; what it missed while it was off it is told of, within bounds.
    pub fn webhook_edit(
        &self,
        key: PartnerKey,
        id: &str,
        changes: &WebhookChanges,
        expected: &Expected,
    ) -> Result<WriteOutcome, ServiceError> {
        self.check_webhook(changes.url.as_deref(), changes.events.as_deref())?;
        let seen = self.known_snapshot(key, false)?.version;
        // Whether it is there is asked inside, where a retry has its answer.
        let pending = self.webhook(key, id).map_or(0, |shown| shown.health.pending);
        let now = self.hooks.now();
        let outcome = self.manage(key, Verb::WebhookEdit, |transaction| {
            let (before, was) = find(transaction, id)?;
            expected.check("webhook", id, state_tag(&before))?;
            let WebhookChanges { name, url, events, order, enabled } = changes.clone();
            let off = match enabled {
                None => was.off.clone(),
                Some(true) => None,
                Some(false) => {
                    was.off.clone().or(Some(Off { at: transaction.at(), reason: "switched off on request".into() }))
                }
            };
            let webhook = Webhook {
                name: name.unwrap_or_else(|| was.name.clone()),
                url: url.unwrap_or_else(|| was.url.clone()),
                events: events.unwrap_or_else(|| was.events.clone()),
                order: order.unwrap_or(was.order),
                off,
                rotated_at: was.rotated_at,
                rotations: was.rotations,
            };
            let setting = Setting { choice: Choice::Webhook(webhook.clone()), ..before.clone() };
            let version = transaction.version();
            let mut head = WebhookCursor::of(transaction, id)?.unwrap_or_else(|| WebhookCursor::new(version));
            if setting != before {
                let head_before = head.clone();
                if was.off.is_some() && webhook.off.is_none() {
                    let from = head.cursor.max((version - 1).saturating_sub(self.hooks.catch_up));
                    if from > head.cursor {
                        head.missed = Some((head.cursor, from));
                        head.cursor = from;
                    }
                    head.failing_since = None;
                    head.kick(transaction, id, now)?;
                } else if webhook.off.is_some() {
                    head.due = None;
                } else if was.url != webhook.url {
                    head.failing_since = None;
                    head.kick(transaction, id, now)?;
                } else if was.order != webhook.order {
                    // An event that blocks all others may block only its own.
                    head.kick(transaction, id, now)?;
                }
                // Another choice is about what comes, and about what waits.
                if was.events != webhook.events && pending == 0 {
                    head.cursor = head.cursor.max(seen);
                }
                if head != head_before {
                    head.put(transaction, id)?;
                }
                put_setting(transaction, &before, &setting)?;
            }
            let health = health(&head, pending);
            Ok(VerbOutcome::Webhook(Box::new(ShownWebhook { setting, webhook, health, secret: None, created: false })))
        })?;
        self.hooks.board.ring();
        Ok(outcome)
    }

    /// Removes a webhook with its secrets and deliveries. The log keeps that
    /// it was there.
    pub fn webhook_remove(&self, key: PartnerKey, id: &str, expected: &Expected) -> Result<WriteOutcome, ServiceError> {
        let (kind, failed) = (deliveries_of(id), failed_of(id));
        let (kept, given_up) = (self.document_ids(key, &kind)?, self.document_ids(key, &failed)?);
        self.manage(key, Verb::WebhookRemove, |transaction| {
            let (before, webhook) = find(transaction, id)?;
            expected.check("webhook", id, state_tag(&before))?;
            let setting = Setting { removed_at: Some(transaction.at()), ..before.clone() };
            put_setting(transaction, &before, &setting)?;
            transaction.drop_document(SECRET, id)?;
            transaction.drop_document(HEAD, id)?;
            transaction.drop_document(HELD, id)?;
            for delivery in &kept {
                transaction.drop_document(&kind, delivery)?;
            }
            for delivery in &given_up {
                transaction.drop_document(&failed, delivery)?;
            }
            let health = health(&WebhookCursor::new(0), 0);
            Ok(VerbOutcome::Webhook(Box::new(ShownWebhook { setting, webhook, health, secret: None, created: false })))
        })
    }

    fn document_ids(&self, key: PartnerKey, kind: &str) -> Result<Vec<String>, ServiceError> {
        let mut ids: Vec<String> = Vec::new();
        loop {
            let walk = DocumentWalk::Up { after: ids.last().map(String::as_str) };
            let more = self.store.documents(key, kind, walk, deliver::PRUNE_STEP)?;
            let last = more.len() < deliver::PRUNE_STEP;
            ids.extend(more.into_iter().map(|document| document.id));
            if last {
                return Ok(ids);
            }
        }
    }

    /// Gives a webhook a new secret. Events are signed with the old one as
    /// well for a day.
    pub fn webhook_rotate(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        // Whether it is there is asked inside, where a retry has its answer.
        let pending = self.webhook(key, id).map_or(0, |shown| shown.health.pending);
        let until = self.hooks.now().plus(ROTATION_SECONDS);
        let secret = SigningSecret::generate();
        self.manage(key, Verb::WebhookEdit, |transaction| {
            let (before, was) = find(transaction, id)?;
            let document = transaction.document(SECRET, id)?;
            let old = document.and_then(|document| serde_json::from_str::<Secrets>(&document.body).ok());
            let previous = old.map(|old| (old.current, until));
            put_secrets(transaction, id, &Secrets { current: secret.clone(), previous })?;
            let (rotated_at, rotations) = (Some(transaction.at()), was.rotations + 1);
            let webhook = Webhook { rotated_at, rotations, ..was };
            let setting = Setting { choice: Choice::Webhook(webhook.clone()), ..before.clone() };
            put_setting(transaction, &before, &setting)?;
            let version = transaction.version();
            let head = WebhookCursor::of(transaction, id)?.unwrap_or_else(|| WebhookCursor::new(version));
            let (health, secret) = (health(&head, pending), Some(secret.clone()));
            Ok(VerbOutcome::Webhook(Box::new(ShownWebhook { setting, webhook, health, secret, created: false })))
        })
    }

    /// Sends a test event now, past whatever waits, and says how that went.
    /// A success lets what waits be tried at once.
    pub fn webhook_test(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        let _place = self.hooks.test(key)?;
        let snapshot = self.known_snapshot(key, false)?;
        let shown = self.webhook(key, id)?;
        let secrets = self.secrets(key, id)?.ok_or_else(|| ServiceError::unknown("webhook", id))?;
        let (event, at) = (token::event_id(), self.hooks.now());
        let data = serde_json::json!({ "webhook_id": id, "name": shown.webhook.name }).to_string();
        let envelope = EventEnvelope {
            id: &event,
            kind: event::TEST,
            at,
            partner: &snapshot.partner.auth_id,
            version: snapshot.version,
        };
        let body = envelope.body(&data);
        let (attempt, delivered) = self.attempt_apart(&shown.webhook.url, &secrets, &event, &body)?;
        deliver::count("test");
        let outcome = self.manage_beside(key, |transaction| {
            find(transaction, id)?;
            let mut head = WebhookCursor::of(transaction, id)?.ok_or_else(|| ServiceError::unknown("webhook", id))?;
            let delivery = Delivery {
                event: event.clone(),
                kind: event::TEST.to_owned(),
                at,
                version: snapshot.version,
                state: if delivered { DeliveryState::Delivered } else { DeliveryState::Failed },
                source: EventSource::Data(data.clone()),
                resend_of: None,
                created_at: at,
                attempts: vec![attempt.clone()],
            };
            let version = transaction.version() - 1;
            let place = head.add(transaction, id, version, &delivery)?;
            if delivered && head.due.is_some() {
                head.kick(transaction, id, self.hooks.now())?;
            }
            head.put(transaction, id)?;
            Ok(VerbOutcome::Delivery(Box::new(ShownDelivery { id: place, delivery, created: true })))
        })?;
        self.hooks.board.ring();
        Ok(outcome)
    }

    /// A webhook's deliveries, the one that was or will be sent last first, and
    /// how many there are.
    pub fn webhook_deliveries(
        &self,
        key: PartnerKey,
        id: &str,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<ShownDelivery>, u64), ServiceError> {
        self.delivery_list(key, id, &deliveries_of(id), |head| head.stored, skip, limit)
    }

    /// The deliveries that were given up or skipped, and can be sent again, the
    /// newest event first, and how many there are.
    pub fn webhook_failed(
        &self,
        key: PartnerKey,
        id: &str,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<ShownDelivery>, u64), ServiceError> {
        self.delivery_list(key, id, &failed_of(id), |head| head.failed, skip, limit)
    }

    fn delivery_list(
        &self,
        key: PartnerKey,
        id: &str,
        kind: &str,
        count: fn(&WebhookCursor) -> u64,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<ShownDelivery>, u64), ServiceError> {
        self.webhook(key, id)?;
        let (total, skip, list) = self.beside(key, |store| {
            let total = self.head(key, id)?.map_or(0, |head| count(&head));
            let skip = skip.min(total) as usize;
            Ok((total, skip, store.documents(key, kind, DocumentWalk::Down { before: None }, skip + limit)?))
        })?;
        let show = |document: &Document| {
            let delivery = Delivery::read(document)?;
            Ok(ShownDelivery { id: document.id.clone(), delivery, created: false })
        };
        Ok((list.iter().skip(skip).map(show).collect::<Result<_, ServiceError>>()?, total))
    }

    /// The events that were refused and are tried again, oldest first: those
    /// that block others.
    pub fn webhook_blocking(&self, key: PartnerKey, id: &str) -> Result<Vec<Blocking>, ServiceError> {
        self.webhook(key, id)?;
        self.beside(key, |store| {
            let Some(head) = self.head(key, id)? else { return Ok(Vec::new()) };
            let mut blocking: Vec<(String, Option<Time>)> = Vec::new();
            blocking.extend(head.front.clone().map(|place| (place, head.due)));
            if head.held > 0 {
                let held = self.held(key, id)?;
                blocking.extend(held.refused().map(|(event, tried)| (event.place.clone(), Some(tried.due))));
            }
            let mut shown = Vec::new();
            for (place, next_attempt_at) in blocking {
                // An attempt may have settled it in between.
                if let Some(document) = store.document(key, &deliveries_of(id), &place)? {
                    let delivery = ShownDelivery { delivery: Delivery::read(&document)?, id: place, created: false };
                    shown.push(Blocking { delivery, next_attempt_at });
                }
            }
            Ok(shown)
        })
    }

    /// Gives up an event that was refused, so that what it blocks is sent; it is
    /// listed with those that were given up. Without a delivery it is the one
    /// that blocks, if there is only one.
    pub fn webhook_skip(
        &self,
        key: PartnerKey,
        id: &str,
        delivery: Option<&str>,
    ) -> Result<WriteOutcome, ServiceError> {
        let now = self.hooks.now();
        let skipped = self.manage_beside(key, |transaction| {
            find(transaction, id)?;
            let mut head = WebhookCursor::of(transaction, id)?.ok_or_else(|| ServiceError::unknown("webhook", id))?;
            let mut held = HeldEvents::in_transaction(transaction, id)?;
            let mut blocking: Vec<String> = head.front.iter().cloned().collect();
            blocking.extend(held.refused().map(|(event, _)| event.place.clone()));
            let place = match (delivery, &blocking[..]) {
                (Some(delivery), _) => delivery.to_owned(),
                (None, [only]) => only.clone(),
                (None, []) => return Err(ServiceError::Refused("no event blocks this webhook".to_owned())),
                (None, several) => {
                    let why = format!("{} events block this webhook; say which one to skip", several.len());
                    return Err(ServiceError::Refused(why));
                }
            };
            let missing = || ServiceError::Unknown { what: "delivery", id: place.clone() };
            let known = Delivery::of(transaction, id, &place)?.ok_or_else(missing)?;
            if !blocking.contains(&place) {
                let why = format!(
                    "delivery {place} is {} and blocks no other; only one that does can be skipped",
                    known.state
                );
                return Err(ServiceError::Refused(why));
            }
            let skipped = Delivery { state: DeliveryState::Skipped, ..known };
            skipped.put(transaction, id, &place)?;
            head.give_up(transaction, id, &place, &skipped)?;
            if head.front.as_ref() == Some(&place) {
                match head.queued.contains(&place) {
                    true => head.queued.retain(|queued| *queued != place),
                    false => head.cursor = head.cursor.max(skipped.version),
                }
                (head.front, head.step) = (None, 0);
            }
            held.release(&place);
            head.put_held(transaction, id, (&held, true), now)?;
            head.due = Some(now);
            head.put(transaction, id)?;
            transaction.put_audit(&self.audit_entry(key, "webhook.skip", &format!("{id} {place}"), None))?;
            Ok(VerbOutcome::Delivery(Box::new(ShownDelivery { id: place, delivery: skipped, created: false })))
        });
        self.audit_delivery_refusal(key, "webhook.skip", (id, delivery), &skipped);
        deliver::count("skipped");
        self.hooks.board.ring();
        skipped
    }

    /// Queues an event again, under the same id, behind what waits.
    pub fn webhook_resend(&self, key: PartnerKey, id: &str, delivery: &str) -> Result<WriteOutcome, ServiceError> {
        let now = self.hooks.now();
        let outcome = self.manage_beside(key, |transaction| {
            let mut head = self.may_resend(transaction, id)?;
            let given_up = head.forget_failed(transaction, id, delivery)?;
            let again = match Delivery::of(transaction, id, delivery)? {
                Some(again) => Some(again),
                None => given_up,
            };
            let again = again.ok_or_else(|| ServiceError::Unknown { what: "delivery", id: delivery.to_owned() })?;
            if again.state == DeliveryState::Pending {
                return Err(ServiceError::Refused("this delivery waits to be sent as it is".to_owned()));
            }
            if head.queued.len() >= QUEUE_MAX {
                return Err(ServiceError::Refused("too many deliveries wait already".to_owned()));
            }
            let shown = head.resend(transaction, id, delivery, again, now)?;
            head.kick(transaction, id, now)?;
            head.put(transaction, id)?;
            transaction.put_audit(&self.audit_entry(key, "webhook.resend", &format!("{id} {delivery}"), None))?;
            Ok(VerbOutcome::Delivery(Box::new(shown)))
        });
        self.audit_delivery_refusal(key, "webhook.resend", (id, Some(delivery)), &outcome);
        self.hooks.board.ring();
        outcome
    }

    /// Queues again what was given up, oldest first, as far as there is room.
    pub fn webhook_resend_failed(&self, key: PartnerKey, id: &str) -> Result<WriteOutcome, ServiceError> {
        let now = self.hooks.now();
        // What is gone again meanwhile is passed.
        let list = self.store.documents(key, &failed_of(id), DocumentWalk::Up { after: None }, QUEUE_MAX)?;
        let outcome = self.manage_beside(key, |transaction| {
            let mut head = self.may_resend(transaction, id)?;
            let room = QUEUE_MAX.saturating_sub(head.queued.len());
            let mut resent = 0;
            for document in list.iter().take(room) {
                if let Some(again) = head.forget_failed(transaction, id, &document.id)? {
                    head.resend(transaction, id, &document.id, again, now)?;
                    resent += 1;
                }
            }
            if resent > 0 {
                head.kick(transaction, id, now)?;
                head.put(transaction, id)?;
            }
            let about = format!("{id}, {resent} deliveries");
            transaction.put_audit(&self.audit_entry(key, "webhook.resend", &about, None))?;
            Ok(VerbOutcome::Resent { resent, left: head.failed })
        });
        self.audit_delivery_refusal(key, "webhook.resend", (id, None), &outcome);
        self.hooks.board.ring();
        outcome
    }

    fn may_resend(&self, transaction: &mut dyn SideWrites, id: &str) -> Result<WebhookCursor, ServiceError> {
        let (_, webhook) = find(transaction, id)?;
        if webhook.off.is_some() {
            return Err(ServiceError::Refused("this webhook is switched off; switch it on first".to_owned()));
        }
        WebhookCursor::of(transaction, id)?.ok_or_else(|| ServiceError::unknown("webhook", id))
    }

    /// Notes in the audit trail why nothing was done about deliveries; what was
    /// done is noted with it. The console notes its own refusals.
    fn audit_delivery_refusal(
        &self,
        key: PartnerKey,
        what: &str,
        (id, delivery): (&str, Option<&str>),
        done: &Result<WriteOutcome, ServiceError>,
    ) {
        let Err(error) = done else { return };
        if matches!(self.actor, Actor::User { .. }) {
            return;
        }
        let about = delivery.map_or_else(|| id.to_owned(), |delivery| format!("{id} {delivery}"));
        self.note_in_audit(key, what, &about, Some(error.to_string().into()));
    }

    /// Tells the partner's webhooks of something that is in no log: queued
    /// with each that wants it, once for each call, durable on return. While a
    /// webhook is off it is not told.
    pub fn announce(&self, key: PartnerKey, kind: &str, data: serde_json::Value) -> Result<(), ServiceError> {
        let data = data.to_string();
        if !event::known(kind) || data.len() > DATA_BYTES_MAX {
            return Err(ServiceError::Refused(format!("the event {kind} of {} bytes cannot be announced", data.len())));
        }
        let ids = webhook_ids(&*self.known_snapshot(key, false)?);
        if ids.is_empty() {
            return Ok(());
        }
        let event = Announced { id: token::event_id(), kind: kind.to_owned(), at: self.hooks.now(), data };
        self.write_beside(key, |transaction| {
            let version = transaction.version() - 1;
            enqueue(transaction, &ids, version, &event)
        })?;
        self.hooks.board.ring();
        Ok(())
    }
}

fn webhook_ids(snapshot: &Snapshot) -> Vec<Arc<str>> {
    let live = snapshot.settings.sorted().filter(|setting| setting.removed_at.is_none());
    live.filter(|setting| setting.webhook().is_some()).map(|setting| setting.id.clone()).collect()
}

/// Queues an event, after `version`, with each of these webhooks that wants it.
fn enqueue(
    transaction: &mut dyn SideWrites,
    ids: &[Arc<str>],
    version: u64,
    event: &Announced,
) -> Result<(), ServiceError> {
    for id in ids {
        let Ok((_, webhook)) = find(transaction, id) else { continue };
        if webhook.off.is_some() || !webhook.wants(&event.kind) {
            continue;
        }
        let Some(mut head) = WebhookCursor::of(transaction, id)? else { continue };
        let room = head.queued.len() < QUEUE_MAX;
        let delivery = Delivery {
            event: event.id.clone(),
            kind: event.kind.clone(),
            at: event.at,
            version,
            state: if room { DeliveryState::Pending } else { DeliveryState::Dropped },
            source: EventSource::Data(event.data.clone()),
            resend_of: None,
            created_at: event.at,
            attempts: Vec::new(),
        };
        let place = head.add(transaction, id, version, &delivery)?;
        if !room {
            head.give_up(transaction, id, &place, &delivery)?;
        }
        // What waits for a retry goes on waiting, and all others with it unless
        // only its own numbers wait.
        head.due = match webhook.order {
            DeliveryOrder::Endpoint => head.due.or(Some(event.at)),
            DeliveryOrder::Number => head.due.into_iter().chain([event.at]).min(),
        };
        head.put(transaction, id)?;
    }
    Ok(())
}

fn put_secrets(transaction: &mut dyn SideWrites, id: &str, secrets: &Secrets) -> Result<(), ServiceError> {
    Ok(transaction.put_document(SECRET, &Document::of(id, None, secrets))?)
}

fn health(head: &WebhookCursor, pending: u64) -> WebhookHealth {
    WebhookHealth {
        pending,
        held: head.held,
        failed: head.failed,
        failing_since: head.failing_since,
        next_attempt_at: head.due,
        last_success_at: head.last_success_at,
        last_failure_at: head.last_failure_at,
        last_error: head.last_error.clone(),
        missed: head.missed,
    }
}
