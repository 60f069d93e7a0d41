//! One step of one webhook: the event that is next is found, sent, and how it
//! went is written down.
//!
//! An event is tried, and then again 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and
//! 10 h after the attempt before; then it has failed, and the next one is
//! tried. In order by number it is held back meanwhile ([`super::held`]), and
//! others go on. A webhook with nothing but failures for five days is switched
//! off, and so is one that answers 410.
//! Invariants: an event is tried only after those that it must not overtake
//! were delivered or given up; all that an attempt changes is one transaction,
//! made after it.
//! Deliberately absent: threads, waiting ([`super::runner`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::event::{self, EventEnvelope, SHOWN_MAX, Secrets};
use super::held::{EventScope, HeldEvent, HeldEvents, Tried};
use super::{
    Announced, Delivery, DeliveryAttempt, DeliveryState, EventSource, HEAD, RETRIES, WebhookCursor, change_delivery,
    change_of, deliveries_of, enqueue, failed_of, find, put_setting, webhook_ids,
};
use crate::domain::setting::{DeliveryOrder, Off, Webhook};
use crate::domain::{Actor, Choice, PartnerKey, Setting, Time, Verb};
use crate::inventory::Snapshot;
use crate::outbound::{self, May};
use crate::service::{Service, ServiceError, corrupt, token};
use crate::store::{DocumentWalk, LogEntry, WriteTarget};
use crate::trace;

/// After how many seconds of nothing but failures a webhook is switched off.
pub const GIVE_UP_SECONDS: i64 = 5 * 86_400;
/// Without an attempt for so many seconds, it is not known to have failed all
/// that time: longer than any retry waits.
const UNTRIED_SECONDS: i64 = 12 * 3_600;
/// How much of an answer is kept for people, in bytes.
const ANSWER_BYTES: usize = 500;
/// How many attempts of a delivery are kept.
const ATTEMPTS_KEPT: usize = 16;
/// How many changes are looked through at a time for one that is wanted.
const SCAN: usize = 128;
/// How many changes that are not wanted are passed before that is written.
const PASSED_MAX: u64 = 256;
/// How many deliveries are let go of at a time.
pub(super) const PRUNE_STEP: usize = 256;
/// How many more than wanted are kept before the oldest go.
const PRUNE_SLACK: u64 = 64;

/// How many numbers of a change are looked at one by one for what it touches.
const SCOPE_NUMBERS: usize = 1_000;
/// How many events are held back in one transaction.
const HOLD_STEP: usize = 64;
/// How many deliveries of a webhook that were given up are kept.
const FAILED_MAX: u64 = 10_000;

/// What is next for a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextTurn {
    /// Perhaps more, at once.
    Again,
    /// Nothing until something happens.
    Idle,
    /// A retry.
    Wait(Time),
    /// A retry of an event that holds up only some others.
    Held(Time),
    /// It is off, or no longer there.
    Gone,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worked {
    pub next: NextTurn,
    /// The version up to which there is nothing new to tell.
    pub cursor: u64,
    pub failing: bool,
    /// How many events are held back.
    pub held: u64,
    /// Whether it was a retry of one of those.
    pub retried: bool,
}

/// What a step begins with.
#[derive(Clone)]
pub(super) struct Begin {
    /// Changes up to this version are known not to be wanted.
    pub passed: u64,
    /// Whether the step before was a retry: then what is new comes first, so
    /// that retries of a receiver that hangs take at most every second turn.
    pub retried: bool,
    /// Whether an event may still be sent.
    pub may: May,
}

/// The event that is next.
struct Front {
    /// The id of its delivery.
    place: String,
    delivery: Delivery,
    /// Whether the delivery is written already.
    stored: bool,
    /// It is about the change after the cursor.
    change: Option<u64>,
    /// It is one of those that are held back.
    held: bool,
    /// What it touches, if somebody had to know.
    scope: Option<EventScope>,
}

/// What is new in order by number.
enum NewEvents {
    Free(Box<Front>),
    /// Nothing, up to this version.
    Nothing(u64),
    /// Another node was at it as well, or there is more to look through.
    Again,
    /// No more can be held back.
    Full,
}

impl Service {
    /// Does what is due for one webhook: at most one attempt. Changes up to
    /// `passed` are known not to be wanted.
    pub fn webhook_step(&self, key: PartnerKey, id: &str, passed: u64) -> Result<Worked, ServiceError> {
        self.webhook_step_as(key, id, &Begin { passed, retried: false, may: outbound::always() })
    }

    pub(super) fn webhook_step_as(&self, key: PartnerKey, id: &str, begin: &Begin) -> Result<Worked, ServiceError> {
        let snapshot = self.known_snapshot(key, false)?;
        let now = self.hooks.now();
        let passed = begin.passed;
        let gone = Worked { next: NextTurn::Gone, cursor: passed, failing: false, held: 0, retried: false };
        let setting = snapshot.settings.get(id).filter(|setting| setting.removed_at.is_none());
        let Some(webhook) = setting.and_then(Setting::webhook).filter(|webhook| webhook.off.is_none()) else {
            return Ok(gone);
        };
        if snapshot.partner.suspended_at.is_some() {
            return Ok(gone);
        }
        let Some(head) = self.head(key, id)? else { return Ok(gone) };
        let worked = |next, cursor| {
            let (failing, held) = (head.failing_since.is_some(), head.held);
            Ok(Worked { next, cursor, failing, held, retried: false })
        };
        // An event that blocks all others is settled, or held back, first; and
        // so is what is held back where all others wait for it.
        let by_number = head.held > 0 || (webhook.order == DeliveryOrder::Number && head.front.is_none());
        let (front, passed) = if by_number {
            let held = if head.held > 0 { self.held(key, id)? } else { HeldEvents::default() };
            let retry = held.ready(now);
            let may_be_new = webhook.order == DeliveryOrder::Number && !held.full();
            let first = may_be_new && (retry.is_none() || begin.retried);
            let new = match first {
                true => self.new_event(&snapshot, id, webhook, &head, &held, passed)?,
                false => NewEvents::Full,
            };
            match (new, retry) {
                (NewEvents::Free(front), _) => (Some(*front), passed),
                (NewEvents::Again, _) => return worked(NextTurn::Again, head.cursor),
                (NewEvents::Nothing(_) | NewEvents::Full, Some(retry)) => {
                    (self.held_event(&snapshot, id, retry)?, passed)
                }
                (new, None) => {
                    let cursor = if let NewEvents::Nothing(passed) = new { passed } else { head.cursor };
                    return match held.due(now) {
                        Some(due) if may_be_new => {
                            self.pass_on(key, id, &head, Some(due), cursor)?;
                            worked(NextTurn::Held(due), cursor)
                        }
                        Some(due) => worked(NextTurn::Wait(due), cursor),
                        None => {
                            self.pass_on(key, id, &head, None, cursor)?;
                            Ok(Worked { next: NextTurn::Idle, cursor, failing: false, held: 0, retried: false })
                        }
                    };
                }
            }
        } else {
            if let Some(due) = head.due.filter(|&due| due > now) {
                return worked(NextTurn::Wait(due), head.cursor);
            }
            self.front(&snapshot, id, webhook, &head, passed)?
        };
        let Some(front) = front else {
            self.pass_on(key, id, &head, None, passed)?;
            return Ok(Worked {
                next: NextTurn::Idle,
                cursor: passed,
                failing: false,
                held: head.held,
                retried: false,
            });
        };
        let asked_for = front.delivery.resend_of.is_some();
        if !asked_for && !webhook.wants(&front.delivery.kind) {
            // It was, when it was first tried.
            self.webhook_drop(key, id, front)?;
            return worked(NextTurn::Again, passed);
        }
        let Some(secrets) = self.secrets(key, id)? else { return Ok(gone) };
        let body = self.body(&snapshot, &front.delivery)?;
        let (attempt, delivered) = self.attempt(&webhook.url, &secrets, &front.delivery.event, &body, &begin.may);
        if attempt.status.is_none() && !(begin.may)() {
            // Another node has the lease, or the server ends: it was perhaps not
            // sent to its end, which says nothing about the receiver. It is still to
            // be sent: here, if the lease turns out not to be lost.
            return worked(NextTurn::Again, passed);
        }
        self.webhook_record(&snapshot, (id, webhook.order), front, attempt, delivered)
    }

    /// Writes down that nothing up to a version is wanted, now and then, and when
    /// there is something to be done next.
    fn pass_on(
        &self,
        key: PartnerKey,
        id: &str,
        head: &WebhookCursor,
        due: Option<Time>,
        passed: u64,
    ) -> Result<(), ServiceError> {
        if head.due != due || passed >= head.cursor + PASSED_MAX {
            self.webhook_pass(key, id, passed)?;
        }
        Ok(())
    }

    /// The first new event that overtakes nothing. Those before it that must
    /// wait are held back.
    fn new_event(
        &self,
        snapshot: &Snapshot,
        id: &str,
        webhook: &Webhook,
        head: &WebhookCursor,
        held: &HeldEvents,
        passed: u64,
    ) -> Result<NewEvents, ServiceError> {
        let (mut ahead, mut passed) = (head.clone(), passed);
        let (mut blocked, mut holding) = (held.clone(), Vec::new());
        let found = loop {
            let (front, now_passed) = self.front(snapshot, id, webhook, &ahead, passed)?;
            passed = now_passed;
            let Some(front) = front else { break NewEvents::Nothing(passed) };
            if blocked.len() == 0 {
                break NewEvents::Free(Box::new(front));
            }
            let scope = self.scope(snapshot.key, &front.delivery)?;
            if !blocked.blocks(&scope) {
                break NewEvents::Free(Box::new(Front { scope: Some(scope), ..front }));
            }
            let event = HeldEvent { place: front.place.clone(), scope, tried: None };
            blocked.hold(event.clone());
            holding.push(event);
            ahead.settle(&front, self.hooks.now());
            if blocked.full() {
                break NewEvents::Full;
            }
            if holding.len() >= HOLD_STEP {
                break NewEvents::Again;
            }
        };
        if holding.is_empty() || self.hold(snapshot.key, id, head, &ahead, &holding)? {
            return Ok(found);
        }
        Ok(NewEvents::Again)
    }

    /// Holds events back; whether all was still as it was looked at.
    fn hold(
        &self,
        key: PartnerKey,
        id: &str,
        seen: &WebhookCursor,
        ahead: &WebhookCursor,
        holding: &[HeldEvent],
    ) -> Result<bool, ServiceError> {
        let now = self.hooks.now();
        let done = self.write_beside(key, |transaction| {
            if WebhookCursor::of(transaction, id)?.as_ref() != Some(seen) {
                return Ok(false);
            }
            let mut head = ahead.clone();
            let mut held = HeldEvents::in_transaction(transaction, id)?;
            holding.iter().for_each(|event| held.hold(event.clone()));
            head.put_held(transaction, id, (&held, true), now)?;
            head.put(transaction, id)?;
            Ok(true)
        })?;
        Ok(done)
    }

    /// What an event touches. Events about no change, and resends, come out of
    /// turn: they touch nothing.
    fn scope(&self, key: PartnerKey, delivery: &Delivery) -> Result<EventScope, ServiceError> {
        let (EventSource::Change(version), None) = (&delivery.source, &delivery.resend_of) else {
            return Ok(EventScope::default());
        };
        let list = |skip, numbers| {
            let listed = self.store.list(key, version - 1, 1, skip, numbers)?.pop();
            let listed = listed.filter(|listed| listed.version == *version);
            listed.ok_or_else(|| corrupt(format!("version {version} is not in the log")))
        };
        let change = list(0, SCOPE_NUMBERS)?;
        if change.total <= SCOPE_NUMBERS as u64 {
            return Ok(EventScope::of(&change.entities, &change.numbers));
        }
        let last = list(change.total - 1, 1)?;
        let (first, last) = (change.numbers.first(), last.numbers.last());
        let digits = |change: Option<&crate::domain::NumberChange>| change.map(|change| change.number.digits());
        Ok(EventScope::between(&change.entities, digits(first).unwrap_or_default(), digits(last).unwrap_or(u64::MAX)))
    }

    /// An event that is held back, as it is to be sent.
    fn held_event(&self, snapshot: &Snapshot, id: &str, event: &HeldEvent) -> Result<Option<Front>, ServiceError> {
        let key = snapshot.key;
        let place = event.place.clone();
        let front = |delivery, stored| {
            Some(Front { place: place.clone(), delivery, stored, change: None, held: true, scope: None })
        };
        if let Some(document) = self.store.document(key, &deliveries_of(id), &place)? {
            return Ok(front(Delivery::read(&document)?, true));
        }
        let missing = || corrupt(format!("webhook {id} lacks its delivery {place}"));
        let version = change_of(&place).ok_or_else(missing)?;
        // This node may not have heard of it yet.
        if version > snapshot.version {
            return Ok(None);
        }
        let change = self.store.entries(key, version - 1, 1)?.pop().filter(|(found, _)| *found == version);
        let (_, entry) = change.ok_or_else(missing)?;
        Ok(front(about(snapshot, version, &entry, self.hooks.now()), false))
    }

    /// The first event that is not settled, and the version up to which no
    /// change is wanted before it.
    fn front(
        &self,
        snapshot: &Snapshot,
        id: &str,
        webhook: &Webhook,
        head: &WebhookCursor,
        passed: u64,
    ) -> Result<(Option<Front>, u64), ServiceError> {
        let key = snapshot.key;
        let stored = |place: &str| {
            let found = self.store.document(key, &deliveries_of(id), place)?;
            found.map(|document| Delivery::read(&document)).transpose()
        };
        let mut passed = passed.max(head.cursor);
        if let Some(place) = head.front.clone() {
            let delivery =
                stored(&place)?.ok_or_else(|| corrupt(format!("webhook {id} lacks its delivery {place}")))?;
            let change = (!head.queued.contains(&place)).then_some(delivery.version);
            return Ok((Some(Front { place, delivery, stored: true, change, held: false, scope: None }), head.cursor));
        }
        let waiting = head.queued.first();
        let change = loop {
            if passed >= snapshot.version {
                break None;
            }
            let limit = if webhook.events.is_empty() { 1 } else { SCAN };
            let entries = self.store.entries(key, passed, limit)?;
            let last = entries.last().map(|(version, _)| *version);
            let found = entries
                .into_iter()
                .find(|(version, entry)| *version <= snapshot.version && webhook.wants(entry.verb.as_str()));
            match (found, last) {
                (Some((version, entry)), _) => {
                    passed = version - 1;
                    break Some((version, entry));
                }
                (None, Some(last)) => passed = last.min(snapshot.version),
                (None, None) => break None,
            }
        };
        if let Some((version, entry)) = change {
            let place = change_delivery(version);
            if waiting.is_none_or(|waiting| place < *waiting) {
                let known: Option<Delivery> = stored(&place)?;
                let stored = known.is_some();
                let delivery = known.unwrap_or_else(|| about(snapshot, version, &entry, self.hooks.now()));
                return Ok((
                    Some(Front { place, delivery, stored, change: Some(version), held: false, scope: None }),
                    passed,
                ));
            }
        }
        // One that belongs behind a change that this node has not heard of yet
        // waits for it.
        let Some(place) = waiting.filter(|place| **place < change_delivery(snapshot.version + 1)).cloned() else {
            return Ok((None, passed));
        };
        let delivery = stored(&place)?.ok_or_else(|| corrupt(format!("webhook {id} lacks its delivery {place}")))?;
        Ok((Some(Front { place, delivery, stored: true, change: None, held: false, scope: None }), passed))
    }

    /// An event as it is sent.
    fn body(&self, snapshot: &Snapshot, delivery: &Delivery) -> Result<Vec<u8>, ServiceError> {
        let Delivery { event: id, kind, at, version, source, .. } = delivery;
        let envelope = EventEnvelope { id, kind, at: *at, partner: &snapshot.partner.auth_id, version: *version };
        match source {
            EventSource::Data(data) => Ok(envelope.body(data)),
            EventSource::Change(version) => {
                let listed = self.store.list(snapshot.key, version - 1, 1, 0, SHOWN_MAX)?.pop();
                let listed = listed.filter(|listed| listed.version == *version);
                let listed = listed.ok_or_else(|| corrupt(format!("version {version} is not in the log")))?;
                Ok(envelope.change(&listed))
            }
        }
    }

    /// Sends an event once; whether it was taken.
    pub(super) fn attempt(
        &self,
        url: &str,
        secrets: &Secrets,
        event: &str,
        body: &[u8],
        may: &May,
    ) -> (DeliveryAttempt, bool) {
        let span = trace::child("delivery");
        span.set("rollcall.event", &event);
        let headers = secrets.headers(event, self.hooks.now(), body);
        let reply = self.hooks.outbound.post(url, &headers, body, may);
        let delivered = reply.status.is_some_and(|status| (200..300).contains(&status));
        let error = match reply.status {
            Some(status @ 300..400) => Some(format!("it answered {status}; redirects are not followed")),
            Some(status) if !delivered => Some(format!("it answered {status}")),
            Some(_) | None => reply.error,
        };
        let attempt = DeliveryAttempt {
            at: self.hooks.now(),
            status: reply.status,
            took_ms: reply.took.as_millis() as u64,
            error,
            answer: Some(safe_text(&reply.body)).filter(|text| !text.is_empty()),
        };
        (attempt, delivered)
    }

    /// The same for somebody who waits, and who need not wait for it at the end
    /// of the server.
    pub(super) fn attempt_apart(
        &self,
        url: &str,
        secrets: &Secrets,
        event: &str,
        body: &[u8],
    ) -> Result<(DeliveryAttempt, bool), ServiceError> {
        const LOOK: Duration = Duration::from_millis(100);
        let (give, taken) = mpsc::sync_channel(1);
        let (service, secrets, body) = (self.clone(), secrets.clone(), body.to_vec());
        let (url, event) = (url.to_owned(), event.to_owned());
        std::thread::spawn(move || {
            // Nobody may be waiting any more.
            let _ = give.send(service.attempt(&url, &secrets, &event, &body, &outbound::always()));
        });
        loop {
            match taken.recv_timeout(LOOK) {
                Ok(ended) => return Ok(ended),
                Err(RecvTimeoutError::Timeout) if !self.hooks.closed.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(ServiceError::Abandoned);
                }
            }
        }
    }

    /// Writes down that nothing up to a version is wanted.
    fn webhook_pass(&self, key: PartnerKey, id: &str, version: u64) -> Result<(), ServiceError> {
        let now = self.hooks.now();
        self.write_beside(key, |transaction| {
            let Some(mut head) = WebhookCursor::of(transaction, id)? else { return Ok(()) };
            // Something may have been queued or held back meanwhile.
            if head.queued.is_empty() {
                let held =
                    if head.held > 0 { HeldEvents::in_transaction(transaction, id)? } else { HeldEvents::default() };
                head.due = held.due(now);
            }
            head.cursor = head.cursor.max(version);
            head.put(transaction, id)
        })?;
        Ok(())
    }

    /// Gives up an event that is not wanted any more.
    fn webhook_drop(&self, key: PartnerKey, id: &str, front: Front) -> Result<(), ServiceError> {
        let now = self.hooks.now();
        self.write_beside(key, |transaction| {
            let Some(mut head) = WebhookCursor::of(transaction, id)? else { return Ok(()) };
            let mut held =
                if head.held > 0 { HeldEvents::in_transaction(transaction, id)? } else { HeldEvents::default() };
            let waits = if front.held { held.get(&front.place).is_some() } else { head.waits(&front) };
            if !waits {
                return Ok(()); // Another node was at it as well.
            }
            if front.stored {
                let state = DeliveryState::Dropped;
                Delivery { state, ..front.delivery.clone() }.put(transaction, id, &front.place)?;
            }
            match front.held {
                true => held.release(&front.place),
                false => head.settle(&front, now),
            }
            head.put_held(transaction, id, (&held, front.held), now)?;
            head.put(transaction, id)
        })?;
        count("dropped");
        Ok(())
    }

    /// Writes down how an attempt went, and what follows from it.
    fn webhook_record(
        &self,
        snapshot: &Snapshot,
        (id, order): (&str, DeliveryOrder),
        front: Front,
        attempt: DeliveryAttempt,
        delivered: bool,
    ) -> Result<Worked, ServiceError> {
        let (key, now) = (snapshot.key, attempt.at);
        let others: Vec<Arc<str>> = webhook_ids(snapshot).into_iter().filter(|other| **other != *id).collect();
        let notice = token::event_id();
        let by_number = front.held || order == DeliveryOrder::Number;
        let scope = match &front.scope {
            Some(scope) => scope.clone(),
            None if by_number && !front.held && !delivered => self.scope(key, &front.delivery)?,
            None => EventScope::default(),
        };
        let entry = LogEntry { at: now, actor: Actor::Server, request_id: None, verb: Verb::WebhookEdit, from: None };
        let done = self.write_as(WriteTarget::Partner(key), entry, |transaction| {
            let Some(mut head) = WebhookCursor::of(transaction, id)? else {
                return Ok(RecordedAttempt::gone(front.change));
            };
            let known = Delivery::of(transaction, id, &front.place)?;
            let tried = known.as_ref().is_some_and(|known| known.attempts.last() != front.delivery.attempts.last());
            let mut held =
                if head.held > 0 { HeldEvents::in_transaction(transaction, id)? } else { HeldEvents::default() };
            let before = held.clone();
            let waits = if front.held { held.get(&front.place).is_some() } else { head.waits(&front) };
            if !waits || (tried && !delivered) {
                return Ok(RecordedAttempt::new(&head, "again", NextTurn::Again)); // Another node was at it as well.
            }
            let mut delivery = known.clone().unwrap_or_else(|| front.delivery.clone());
            delivery.attempts.push(attempt.clone());
            let surplus = delivery.attempts.len().saturating_sub(ATTEMPTS_KEPT);
            delivery.attempts.drain(..surplus);
            head.stored += u64::from(known.is_none());
            let (mut ended, mut off, mut why) = ("delivered", None, String::new());
            if delivered {
                delivery.state = DeliveryState::Delivered;
                held.release(&front.place);
                held.back(head.last_success_at, now);
                if !front.held {
                    head.settle(&front, now);
                }
                (head.last_success_at, head.failing_since, head.last_error) = (Some(now), None, None);
            } else {
                let tried = head.last_failure_at.is_some_and(|last| now.seconds() - last.seconds() <= UNTRIED_SECONDS);
                let since = head.failing_since.filter(|_| tried).unwrap_or(now);
                let error = attempt.error.clone().unwrap_or_default();
                (head.last_failure_at, head.last_error) = (Some(now), Some(error.clone()));
                head.failing_since = Some(since);
                let end = since.plus(GIVE_UP_SECONDS);
                if attempt.status == Some(410) {
                    off = Some("it answered 410 Gone".to_owned());
                } else if now >= end {
                    off = Some(format!("nothing but failures since {since}; the last one: {error}"));
                } else if by_number {
                    let before = held.get(&front.place).and_then(|held| held.tried);
                    let before = before.or_else(|| {
                        // It blocked all others until now.
                        let due = head.front.as_ref().filter(|place| **place == front.place).map(|_| now)?;
                        Some(Tried { step: head.step, due, since })
                    });
                    let tried = Tried::again(before, head.last_success_at, now, end);
                    if !front.held {
                        head.settle(&front, now);
                        let place = front.place.clone();
                        held.hold(HeldEvent { place, scope: scope.clone(), tried: None });
                    }
                    match tried {
                        Some(tried) => {
                            ended = "retried";
                            held.retry(&front.place, tried);
                        }
                        None => {
                            ended = "failed";
                            held.release(&front.place);
                            delivery.state = DeliveryState::Failed;
                        }
                    }
                } else if let Some(wait) = RETRIES.get(head.step) {
                    ended = "retried";
                    head.step += 1;
                    head.front = Some(front.place.clone());
                    head.due = Some(now.plus(*wait).min(end));
                } else {
                    ended = "failed";
                    delivery.state = DeliveryState::Failed;
                    head.settle(&front, now);
                }
            }
            if by_number && off.is_none() {
                head.put_held(transaction, id, (&held, held != before), now)?;
            }
            if delivery.state == DeliveryState::Failed {
                head.give_up(transaction, id, &front.place, &delivery)?;
            }
            // In order by number, something else may be next.
            let due = head.due.filter(|&due| due > now && !by_number);
            let mut next = due.map_or(NextTurn::Again, NextTurn::Wait);
            // Removed or switched off while we waited for the answer: it stays
            // that way.
            let live = find(transaction, id).ok().filter(|(_, webhook)| webhook.off.is_none());
            if let Some(reason) = off {
                ended = "off";
                // Switched on again, it goes on with this one.
                if !front.held {
                    head.front = Some(front.place.clone());
                }
                (head.due, head.step, next) = (None, 0, NextTurn::Gone);
                why = reason.clone();
                if let Some((before, was)) = live {
                    let reason: Arc<str> = reason.into();
                    let webhook = Webhook { off: Some(Off { at: now, reason: reason.clone() }), ..was };
                    let after = Setting { choice: Choice::Webhook(webhook.clone()), ..before.clone() };
                    let version = transaction.version();
                    put_setting(transaction, &before, &after)?;
                    let data = serde_json::json!({
                        "webhook_id": id, "name": webhook.name, "url": webhook.url, "at": now, "reason": reason,
                    });
                    let event =
                        Announced { id: notice.clone(), kind: event::OFF.to_owned(), at: now, data: data.to_string() };
                    enqueue(transaction, &others, version, &event)?;
                }
            } else if live.is_none() {
                (head.due, next) = (None, NextTurn::Gone);
            }
            delivery.put(transaction, id, &front.place)?;
            head.put(transaction, id)?;
            Ok(RecordedAttempt { why, ..RecordedAttempt::new(&head, ended, next) })
        })?;
        let RecordedAttempt { outcome, next, cursor, failing, held, stored, why } = done.value;
        if done.version.is_some() {
            if let Some(replica) = &self.replica {
                replica.follow();
            }
            metrics::counter!("rollcall_webhooks_switched_off_total").increment(1);
            warn!(partner.key = %key, webhook = %id, why, "webhook {id} was switched off: {why}");
        } else if delivered {
            debug!(partner.key = %key, webhook = %id, delivery = %front.place, "webhook {id}: delivered");
        } else {
            info!(partner.key = %key, webhook = %id, delivery = %front.place, outcome, "webhook {id}: {outcome}");
        }
        count(outcome);
        if stored > self.hooks.keep + PRUNE_SLACK {
            self.webhook_prune(key, id)?;
        }
        Ok(Worked { next, cursor, failing, held, retried: front.held })
    }

    /// Lets go of deliveries that are too many or too old, and of all that is
    /// left of a webhook that was removed.
    pub fn webhook_prune(&self, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        self.prune_failed(key, id)?;
        let kind = deliveries_of(id);
        let oldest = self.hooks.now().plus(-self.hooks.keep_days * 86_400);
        loop {
            let head = self.head(key, id)?;
            let list = self.store.documents(key, &kind, DocumentWalk::Up { after: None }, PRUNE_STEP)?;
            let mut surplus = head.map(|head| head.stored.saturating_sub(self.hooks.keep));
            let mut let_go = Vec::new();
            for document in &list {
                let delivery = Delivery::read(document)?;
                let waits = delivery.state == DeliveryState::Pending;
                let last = delivery.attempts.last().map_or(delivery.created_at, |attempt| attempt.at);
                match &mut surplus {
                    None => let_go.push(&document.id),
                    Some(_) if waits => {}
                    Some(surplus) if *surplus > 0 || last < oldest => {
                        *surplus = surplus.saturating_sub(1);
                        let_go.push(&document.id);
                    }
                    Some(_) => {}
                }
            }
            if let_go.is_empty() {
                return Ok(());
            }
            self.write_beside(key, |transaction| {
                let mut head = WebhookCursor::of(transaction, id)?;
                for place in &let_go {
                    if transaction.document(&kind, place)?.is_some() {
                        transaction.drop_document(&kind, place)?;
                        if let Some(head) = &mut head {
                            head.stored = head.stored.saturating_sub(1);
                        }
                    }
                }
                head.map_or(Ok(()), |head| head.put(transaction, id))
            })?;
        }
    }

    /// Lets go of what was given up too long ago, or is too much.
    fn prune_failed(&self, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        let (kind, days) = (failed_of(id), self.hooks.failed_days);
        let oldest = (days > 0).then(|| self.hooks.now().plus(-days * 86_400));
        let mut after: Option<String> = None;
        loop {
            let mut surplus = self.head(key, id)?.map(|head| head.failed.saturating_sub(FAILED_MAX));
            let walk = DocumentWalk::Up { after: after.as_deref() };
            let list = self.store.documents(key, &kind, walk, PRUNE_STEP)?;
            let mut let_go = Vec::new();
            for document in &list {
                let delivery = Delivery::read(document)?;
                let last = delivery.attempts.last().map_or(delivery.created_at, |attempt| attempt.at);
                let over = match &mut surplus {
                    // Of a webhook that was removed.
                    None => true,
                    Some(surplus) if *surplus > 0 => {
                        *surplus -= 1;
                        true
                    }
                    Some(_) => oldest.is_some_and(|oldest| last < oldest),
                };
                if over {
                    let_go.push(document.id.clone());
                }
            }
            if !let_go.is_empty() {
                self.write_beside(key, |transaction| {
                    let mut head = WebhookCursor::of(transaction, id)?;
                    for place in &let_go {
                        match &mut head {
                            Some(head) => drop(head.forget_failed(transaction, id, place)?),
                            None => transaction.drop_document(&kind, place)?,
                        }
                    }
                    head.map_or(Ok(()), |head| head.put(transaction, id))
                })?;
            }
            if list.len() < PRUNE_STEP {
                return Ok(());
            }
            after = list.last().map(|document| document.id.clone());
        }
    }

    /// The webhooks whose heads are due, of all partners.
    pub(super) fn webhooks_due(&self) -> Result<Vec<(PartnerKey, String)>, ServiceError> {
        const MAX: usize = 10_000;
        let due = self.store.due(HEAD, self.hooks.now(), MAX)?;
        Ok(due.into_iter().map(|(key, document)| (key, document.id)).collect())
    }
}

impl WebhookCursor {
    /// Whether an event is still to be told.
    fn waits(&self, front: &Front) -> bool {
        let queued = || self.queued.contains(&front.place);
        self.front.as_ref() == Some(&front.place) || front.change.map_or_else(queued, |version| version > self.cursor)
    }

    /// An event is done with.
    fn settle(&mut self, front: &Front, now: Time) {
        match front.change {
            Some(version) => self.cursor = self.cursor.max(version),
            None => self.queued.retain(|place| *place != front.place),
        }
        (self.front, self.step) = (None, 0);
        // So that the next query for due work finds the rest.
        self.due = self.queued.first().map(|_| now);
    }
}

/// What recording an attempt came to.
struct RecordedAttempt {
    outcome: &'static str,
    next: NextTurn,
    cursor: u64,
    failing: bool,
    held: u64,
    stored: u64,
    /// Why it was switched off.
    why: String,
}

impl RecordedAttempt {
    fn new(head: &WebhookCursor, outcome: &'static str, next: NextTurn) -> RecordedAttempt {
        let (cursor, failing) = (head.cursor, head.failing_since.is_some());
        let (held, stored, why) = (head.held, head.stored, String::new());
        RecordedAttempt { outcome, next, cursor, failing, held, stored, why }
    }

    /// The webhook was removed meanwhile.
    fn gone(change: Option<u64>) -> RecordedAttempt {
        let cursor = change.unwrap_or_default();
        RecordedAttempt {
            outcome: "gone",
            next: NextTurn::Gone,
            cursor,
            failing: false,
            held: 0,
            stored: 0,
            why: String::new(),
        }
    }
}

/// The delivery of a change that was not tried yet.
fn about(snapshot: &Snapshot, version: u64, entry: &LogEntry, now: Time) -> Delivery {
    Delivery {
        event: event::change_id(&snapshot.partner.auth_id, version, entry.at),
        kind: entry.verb.to_string(),
        at: entry.at,
        version,
        state: DeliveryState::Pending,
        source: EventSource::Change(version),
        resend_of: None,
        created_at: now,
        attempts: Vec::new(),
    }
}

/// The counters of `/metrics` that begin at 0.
pub fn measure() {
    metrics::counter!("rollcall_webhook_deliveries_total", "outcome" => "delivered").increment(0);
}

pub(super) fn count(outcome: &'static str) {
    metrics::counter!("rollcall_webhook_deliveries_total", "outcome" => outcome).increment(1);
}

/// The beginning of what a stranger wrote, on one line, without what changes
/// how text is shown.
fn safe_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(ANSWER_BYTES)]);
    let invisible =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().filter(|&c| !invisible(c)).map(safe).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_is_made_safe() {
        assert_eq!(safe_text(b"ok\r\n\x1b[31mred\0"), "ok   [31mred");
        assert_eq!(safe_text("a\u{202e}b\u{200b}c".as_bytes()), "abc");
        assert_eq!(safe_text(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(safe_text(&vec![b'x'; 70_000]).len(), 500);
        assert_eq!(safe_text(b"  \n "), "");
    }

    #[test]
    fn the_table_of_retries_lasts_about_28_hours() {
        let total: i64 = RETRIES.iter().sum();
        assert_eq!(total, 27 * 3_600 + 35 * 60 + 5);
        assert!(RETRIES.iter().all(|&wait| wait < UNTRIED_SECONDS));
    }
}
