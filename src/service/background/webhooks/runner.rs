//! Delivers the events of all partners' webhooks, each webhook's in its own
//! order ([`turns`](crate::service::background::turns)).
//!
//! A turn sends several events of one webhook, for some seconds. A webhook that
//! waits for a retry takes no place. Receivers may hang, so a partner's webhooks,
//! and all that fail together, leave room for others ([`TurnLimits::leave_room`]).
//!
//! Invariant: no request is sent without the lease. A node that lost it may
//! still wait for an answer when another node sends that event again: the
//! receiver knows it by its id.
//! Deliberately absent: what a step does (`deliver`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, warn};

use super::deliver::{Begin, NextTurn, Worked};
use crate::domain::Time;
use crate::service::background::lease;
use crate::service::background::turns::{Item, ItemId, Next, Runner, Turn, TurnLimits, Worker};
use crate::service::background::workers::Work;
use crate::service::{Replica, Service, ServiceError};

/// How often to look for changes in memory, and how often to ask the store for
/// what is due: retries, and what commands beside the server queued.
const TICK: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(500);
/// How long a turn may be while others wait.
const TURN: Duration = Duration::from_secs(5);
/// How long a webhook rests that a step did not find, in seconds.
const GONE_REST: i64 = 60;
/// How often deliveries that are too old are deleted.
const PRUNE: Duration = Duration::from_secs(3_600);
/// How long a stop waits for attempts under way. An attempt whose outcome is not
/// stored by then is made again after the next start.
const PATIENCE: Duration = Duration::from_secs(2);

/// Delivers until [`WebhookRunner::stop`].
pub struct WebhookRunner(Runner);

impl WebhookRunner {
    /// At most `places` webhooks have a turn at a time. `replica` is this node's:
    /// no event is sent about what its lists do not show yet.
    pub fn start(service: &Service, replica: Arc<Replica>, places: usize) -> WebhookRunner {
        let lease = Arc::new(service.leases.keep("webhooks", lease::SPAN));
        let (board, workers) = (service.hooks.board.clone(), service.workers.clone());
        let limits = TurnLimits { places, per_partner: usize::MAX, leave_room: true };
        let worker = WebhookWorker { service: service.clone(), replica, progress: Mutex::default() };
        WebhookRunner(Runner::start(worker, board, lease, limits, workers))
    }

    /// Begins no more attempts, and waits a little for those under way.
    pub fn stop(self) {
        Runner::stop(vec![self.0], PATIENCE);
    }
}

struct WebhookWorker {
    service: Service,
    replica: Arc<Replica>,
    progress: Mutex<WebhookProgress>,
}

/// How far this process knows the webhooks to be.
#[derive(Default)]
struct WebhookProgress {
    known: HashMap<ItemId, KnownWebhook>,
    polled: Option<Instant>,
    pruned: Option<Instant>,
}

struct KnownWebhook {
    /// Its last attempt failed.
    failing: bool,
    /// The partner's version, and the one up to which there is nothing to send.
    version: u64,
    cursor: u64,
    wait: Option<Time>,
    /// New events need not wait for that.
    open: bool,
    /// How many events are held back, and whether one was tried last.
    held: u64,
    retried: bool,
    /// It has a step even if nothing seems to be there.
    rung: bool,
    /// Since when it has waited for the next event without progress.
    waits: Option<Instant>,
}

impl Default for KnownWebhook {
    fn default() -> KnownWebhook {
        let (failing, rung, open, held, retried) = (false, true, false, 0, false);
        KnownWebhook { failing, version: 0, cursor: 0, wait: None, open, held, retried, rung, waits: None }
    }
}

impl KnownWebhook {
    /// How many changes and held events are not delivered yet.
    fn pending(&self) -> u64 {
        self.version.saturating_sub(self.cursor) + self.held
    }

    fn ready(&self, now: Time) -> bool {
        let new = self.version > self.cursor;
        match self.wait {
            _ if self.rung => true,
            Some(until) => until <= now || (self.open && new),
            None => new,
        }
    }

    fn reached(&mut self, version: u64) {
        self.version = version;
        // A log that was set back has other changes at these versions.
        self.cursor = self.cursor.min(version);
        self.waits = match self.pending() {
            0 => None,
            _ => self.waits.or_else(|| Some(Instant::now())),
        };
    }

    fn worked(&mut self, worked: Worked, now: Time) {
        let Worked { next, cursor, failing, held, retried } = worked;
        if (cursor, held) != (self.cursor, self.held) {
            self.waits = None;
        }
        (self.cursor, self.failing, self.wait) = (cursor, failing, None);
        (self.held, self.retried, self.open) = (held, retried, false);
        match next {
            NextTurn::Again => self.rung = true,
            NextTurn::Wait(until) => self.wait = Some(until),
            NextTurn::Held(until) => (self.wait, self.open) = (Some(until), true),
            NextTurn::Idle => {}
            // The settings say so as well, in a moment. Nothing is passed: switched on
            // again, it goes on where it was.
            NextTurn::Gone => self.wait = Some(now.plus(GONE_REST)),
        }
    }
}

impl WebhookProgress {
    fn learn(&mut self, live: &[(ItemId, u64)]) {
        let ids: HashSet<&ItemId> = live.iter().map(|(id, _)| id).collect();
        self.known.retain(|id, _| ids.contains(id));
        for (id, version) in live {
            self.known.entry(id.clone()).or_default().reached(*version);
        }
    }

    fn items(&self, live: Vec<(ItemId, u64)>, now: Time) -> Vec<Item> {
        let item = |(id, _): (ItemId, u64)| {
            let known = self.known.get(&id)?;
            let (ready, failing, waiting) = (known.ready(now), known.failing, known.pending());
            Some(Item { id, ready, failing, waiting, since: known.waits })
        };
        live.into_iter().filter_map(item).collect()
    }
}

impl Worker for WebhookWorker {
    fn work(&self) -> Work {
        Work::Webhooks
    }

    fn poll(&self) -> Duration {
        if self.progress.lock().known.is_empty() { POLL } else { TICK }
    }

    fn list(&self) -> Result<Vec<Item>, ServiceError> {
        let live = self.live();
        let mut progress = self.progress.lock();
        progress.learn(&live);
        let over = |last: Option<Instant>, span: Duration| last.is_none_or(|last| last.elapsed() >= span);
        let (poll, prune) = (over(progress.polled, POLL), over(progress.pruned, PRUNE));
        drop(progress);
        if poll && !live.is_empty() {
            self.ring_due()?;
        }
        if prune && !live.is_empty() {
            self.prune();
        }
        let progress = self.progress.lock();
        let items = progress.items(live, self.service.hooks.now());
        measure(items.iter().map(|item| item.waiting).sum(), items.iter().filter(|item| item.failing).count());
        Ok(items)
    }

    /// Sends events of one webhook, for a while.
    fn step(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        let began = Instant::now();
        let mut begin = {
            let mut progress = self.progress.lock();
            let known = progress.known.entry(turn.id.clone()).or_default();
            known.rung = false;
            Begin { passed: known.cursor, retried: known.retried, may: turn.may.clone() }
        };
        loop {
            let worked = match self.service.webhook_step_as(*key, id, &begin) {
                Ok(worked) => worked,
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    warn!(partner.key = %key, webhook = %id, error = cause, "webhook {id} waits for the database");
                    return self.again(turn, error.to_string());
                }
            };
            (begin.passed, begin.retried) = (worked.cursor, worked.retried);
            if worked.next != NextTurn::Again || began.elapsed() >= TURN || !(turn.may)() {
                if let Some(known) = self.progress.lock().known.get_mut(&turn.id) {
                    known.worked(worked, self.service.hooks.now());
                }
                return Next::Listed;
            }
        }
    }

    fn panicked(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        error!(partner.key = %key, webhook = %id, "a delivery of webhook {id} panicked");
        self.again(turn, "internal error".to_owned())
    }

    /// Another node may have delivered since: its progress is in the store.
    fn acquired(&self) {
        *self.progress.lock() = WebhookProgress::default();
    }

    fn elsewhere(&self) {
        measure(0, 0);
    }
}

impl WebhookWorker {
    /// The webhooks that are on, of partners that are not suspended, each with
    /// its partner's version.
    fn live(&self) -> Vec<(ItemId, u64)> {
        let mut live = Vec::new();
        for node in self.replica.nodes() {
            let snapshot = node.snapshot();
            if snapshot.settings.is_empty() || snapshot.partner.suspended_at.is_some() {
                continue;
            }
            let on = snapshot.settings.iter().filter(|setting| {
                setting.removed_at.is_none() && setting.webhook().is_some_and(|webhook| webhook.off.is_none())
            });
            live.extend(on.map(|setting| ((node.key, setting.id.clone()), snapshot.version)));
        }
        live
    }

    /// Finds what is due in the store: retries, and what commands queued.
    fn ring_due(&self) -> Result<(), ServiceError> {
        self.progress.lock().polled = Some(Instant::now());
        let due = self.service.webhooks_due()?;
        let mut progress = self.progress.lock();
        for (key, id) in due {
            if let Some(known) = progress.known.get_mut(&(key, id.as_str().into())) {
                known.rung = true;
            }
        }
        Ok(())
    }

    fn prune(&self) {
        self.progress.lock().pruned = Some(Instant::now());
        for node in self.replica.nodes() {
            let snapshot = node.snapshot();
            // Also those that were removed: a delivery may have been under way.
            for setting in snapshot.settings.iter().filter(|setting| setting.webhook().is_some()) {
                if let Err(error) = self.service.webhook_prune(node.key, &setting.id) {
                    warn!(error = &error as &dyn std::error::Error, webhook = %setting.id, "cannot prune deliveries");
                    // The others are pruned, unless the database fails all of them.
                    if matches!(&error, ServiceError::Store(error) if error.passing()) {
                        return;
                    }
                }
            }
        }
    }

    /// The step did not happen.
    fn again(&self, turn: &Turn, why: String) -> Next {
        if let Some(known) = self.progress.lock().known.get_mut(&turn.id) {
            known.rung = true;
        }
        Next::Retry(why)
    }
}

fn measure(waiting: u64, failing: usize) {
    metrics::gauge!("rollcall_webhook_pending").set(waiting as f64);
    metrics::gauge!("rollcall_webhooks_failing").set(failing as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_ready_when_there_is_more_or_its_wait_is_over() {
        let now = Time::new(1_770_000_000).expect("a time");
        let ended = |next, cursor| Worked { next, cursor, failing: false, held: 0, retried: false };
        let mut known = KnownWebhook::default();
        assert!(known.ready(now), "nothing is known of it");
        known.rung = false;
        known.reached(7);
        assert!(known.ready(now));
        known.worked(ended(NextTurn::Idle, 7), now);
        assert!(!known.ready(now));
        known.reached(8);
        assert!(known.ready(now));
        known.worked(ended(NextTurn::Wait(now.plus(5)), 7), now);
        assert!(!known.ready(now.plus(4)));
        assert!(known.ready(now.plus(5)));
        known.rung = true;
        assert!(known.ready(now), "it was rung");
        known.rung = false;
        // New events wait for a retry, unless the retry delays only its own number's.
        known.worked(ended(NextTurn::Wait(now.plus(300)), 8), now);
        known.reached(9);
        assert!(!known.ready(now));
        known.worked(ended(NextTurn::Held(now.plus(300)), 9), now);
        assert!(!known.ready(now));
        known.reached(10);
        assert!(known.ready(now));
        // One that was gone for a moment has passed nothing.
        known.worked(ended(NextTurn::Gone, 9), now);
        assert!(!known.ready(now) && known.ready(now.plus(GONE_REST)));
        assert_eq!(known.cursor, 9);
        // A log that was set back has other changes.
        known.worked(ended(NextTurn::Idle, 10), now);
        known.reached(4);
        assert_eq!((known.cursor, known.pending()), (4, 0));
    }
}
