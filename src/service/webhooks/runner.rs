//! Whose turn it is: the webhooks of all partners, each in its own order.
//!
//! A webhook that has something to be told gets a thread for its turn; one
//! that waits for a retry has none. Of the places for threads a partner takes
//! another only while more are free than it has, and so do the webhooks that
//! fail, all together: so neither a partner with many receivers that hang nor
//! a day on which many fail keeps the others from being told.
//!
//! Of several nodes one delivers, which has the lease. It is renewed by a
//! thread of its own, so it is as short however long an attempt may take, and
//! given back when the server ends; when a node dies, another has it within
//! [`lease::SURE`], [`lease::SPAN`] and a few seconds.
//! Invariant: a webhook has one turn at a time, and no request is sent without
//! the lease. A node that lost it may still wait for an answer when another
//! node sends that event again: the receiver knows it by its id.
//! Deliberately absent: what a turn does (`deliver`), and any state that
//! matters after a crash.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, warn};

use super::deliver::{Begin, NextTurn, Worked};
use crate::domain::{PartnerKey, Time};
use crate::service::lease::{self, Lease};
use crate::service::workers::Work;
use crate::service::{Replica, Service, ServiceError};

/// How often to look for changes, and how often to ask the store for what is
/// due: retries, and what commands beside the server queued.
const TICK: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(500);
/// How long a turn may be while others wait.
const TURN: Duration = Duration::from_secs(5);
/// How often deliveries that are too old are looked for.
const PRUNE: Duration = Duration::from_secs(3_600);
/// How long a webhook waits after the store failed, at first and at most.
const TROUBLE_MIN: Duration = Duration::from_millis(500);
const TROUBLE_MAX: Duration = Duration::from_secs(4);
/// How long to wait at the end for attempts that are being made. What is not
/// written down by then is made again after the next start.
const STOP: Duration = Duration::from_secs(2);

type Id = (PartnerKey, Arc<str>);

/// The threads that deliver, until [`WebhookRunner::stop`].
pub struct WebhookRunner {
    shared: Arc<WebhookShared>,
    thread: JoinHandle<()>,
}

struct WebhookShared {
    service: Service,
    replica: Arc<Replica>,
    places: usize,
    lease: Lease,
    stop: AtomicBool,
    turns: Mutex<WebhookTurns>,
}

/// The webhooks as this process knows them.
#[derive(Default)]
struct WebhookTurns {
    known: HashMap<Id, KnownWebhook>,
    /// Counts the turns.
    turn: u64,
}

struct KnownWebhook {
    busy: bool,
    /// Its last attempt failed.
    failing: bool,
    /// The partner's version, and the one up to which there is nothing to tell.
    version: u64,
    cursor: u64,
    wait: Option<Time>,
    /// What is new need not wait for that.
    open: bool,
    /// How many events are held back, and whether one was tried last.
    held: u64,
    retried: bool,
    /// Looked at even if nothing seems to be there.
    rung: bool,
    turn: u64,
    trouble: Option<(Instant, Duration)>,
    /// Since when it has waited for the next event without progress.
    waits: Option<Instant>,
}

/// How far a webhook had come when its turn began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TurnStart {
    cursor: u64,
    retried: bool,
}

impl Default for KnownWebhook {
    fn default() -> KnownWebhook {
        let (busy, failing, rung, open, held, retried) = (false, false, true, false, 0, false);
        let (wait, trouble, waits) = Default::default();
        KnownWebhook { busy, failing, version: 0, cursor: 0, wait, open, held, retried, rung, turn: 0, trouble, waits }
    }
}

impl KnownWebhook {
    /// How many changes and held events are not delivered yet.
    fn pending(&self) -> u64 {
        self.version.saturating_sub(self.cursor) + self.held
    }

    fn ready(&self, now: Time, instant: Instant) -> bool {
        let new = self.version > self.cursor;
        let waits = match self.wait {
            Some(until) => until > now && !(self.open && new) && !self.rung,
            None => !new && !self.rung,
        };
        !self.busy && !waits && self.trouble.is_none_or(|(again, _)| again <= instant)
    }
}

impl WebhookTurns {
    /// Takes over which webhooks there are, and how far their partners have come.
    fn learn(&mut self, live: Vec<(Id, u64)>) {
        let ids: HashSet<&Id> = live.iter().map(|(id, _)| id).collect();
        self.known.retain(|id, known| known.busy || ids.contains(id));
        for (id, version) in live {
            let known = self.known.entry(id).or_default();
            known.version = version;
            // A log that was set back has other changes at these versions.
            known.cursor = known.cursor.min(version);
            known.waits = match known.pending() {
                0 => None,
                _ => known.waits.or_else(|| Some(Instant::now())),
            };
        }
    }

    /// Lets go of what was known of webhooks that another node has had since.
    fn forget(&mut self) {
        self.known.retain(|_, known| known.busy);
        self.known.values_mut().for_each(|known| known.rung = true);
    }

    /// Whose turn is next, if there is a place: those that do not fail first,
    /// then the partner with the fewest turns now, then who waited longest.
    fn take(&mut self, places: usize, now: Time) -> Option<(Id, TurnStart)> {
        let mut of_partner: HashMap<PartnerKey, usize> = HashMap::new();
        let (mut busy, mut failing) = (0, 0);
        for ((key, _), known) in self.known.iter().filter(|(_, known)| known.busy) {
            *of_partner.entry(*key).or_default() += 1;
            busy += 1;
            failing += usize::from(known.failing);
        }
        let free = places.saturating_sub(busy);
        let (of, instant) = (|id: &Id| of_partner.get(&id.0).copied().unwrap_or_default(), Instant::now());
        let may = |id: &Id, known: &KnownWebhook| of(id) < free && (!known.failing || failing < free);
        let ready = self.known.iter_mut().filter(|(id, known)| known.ready(now, instant) && may(id, known));
        let (id, known) = ready.min_by_key(|(id, known)| (known.failing, of(id), known.turn, (*id).clone()))?;
        self.turn += 1;
        (known.busy, known.rung, known.turn) = (true, false, self.turn);
        Some((id.clone(), TurnStart { cursor: known.cursor, retried: known.retried }))
    }

    fn end(&mut self, id: &Id, ended: Result<Worked, ()>) {
        let Some(known) = self.known.get_mut(id) else { return };
        known.busy = false;
        match ended {
            Ok(Worked { next, cursor, failing, held, retried }) => {
                if (cursor, held) != (known.cursor, known.held) {
                    known.waits = None;
                }
                (known.cursor, known.failing, known.trouble, known.wait) = (cursor, failing, None, None);
                (known.held, known.retried, known.open) = (held, retried, false);
                match next {
                    NextTurn::Again => known.rung = true,
                    NextTurn::Wait(until) => known.wait = Some(until),
                    NextTurn::Held(until) => (known.wait, known.open) = (Some(until), true),
                    NextTurn::Idle => {}
                    // The settings say so as well, in a moment.
                    NextTurn::Gone => known.cursor = known.version,
                }
            }
            Err(()) => {
                let wait = known.trouble.map_or(TROUBLE_MIN, |(_, wait)| (wait * 2).min(TROUBLE_MAX));
                (known.rung, known.trouble) = (true, Some((Instant::now() + wait, wait)));
            }
        }
    }

    fn ring(&mut self, due: Vec<(PartnerKey, String)>) {
        for (key, id) in due {
            if let Some(known) = self.known.get_mut(&(key, id.as_str().into())) {
                known.rung = true;
            }
        }
    }
}

impl WebhookRunner {
    /// At most `places` webhooks are told something at a time. `replica` is
    /// this node's: no one is told of what its lists do not show yet.
    pub fn start(service: &Service, replica: Arc<Replica>, places: usize) -> WebhookRunner {
        let lease = service.leases.keep("webhooks", lease::SPAN);
        let (service, stop, turns) = (service.clone(), AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(WebhookShared { service, replica, places, lease, stop, turns });
        let own = shared.clone();
        WebhookRunner { shared, thread: std::thread::spawn(move || own.run()) }
    }

    /// Begins no more attempts, and waits a little for those that go on.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.service.hooks.bell.ring();
        if self.thread.join().is_err() {
            error!("the thread that looks after webhooks panicked");
        }
        let asked = Instant::now();
        while self.shared.turns.lock().known.values().any(|known| known.busy) && asked.elapsed() < STOP {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nothing more is sent from here. An answer that still comes is not
        // written down, so the next node sends that event again.
        self.shared.lease.give_back();
    }
}

impl WebhookShared {
    fn run(self: Arc<WebhookShared>) {
        let bell = &self.service.hooks.bell;
        let (mut term, mut polled, mut pruned) = (None, None::<Instant>, None::<Instant>);
        let over = |last: Option<Instant>, span: Duration| last.is_none_or(|last| last.elapsed() >= span);
        let turns = self.service.workers.join(Work::Webhooks);
        while !self.stop.load(Ordering::SeqCst) {
            turns.begin();
            let live = self.live();
            let anything = !live.is_empty();
            self.turns.lock().learn(live);
            let now = self.lease.term();
            if now.is_some() && now != term {
                term = now;
                self.turns.lock().forget();
                continue;
            }
            if anything && self.sure() {
                if over(polled, POLL) {
                    polled = Some(Instant::now());
                    match self.service.webhooks_due() {
                        Ok(due) => self.turns.lock().ring(due),
                        Err(error) => {
                            warn!(error = &error as &dyn std::error::Error, "cannot look for due webhooks");
                        }
                    }
                }
                if over(pruned, PRUNE) {
                    pruned = Some(Instant::now());
                    self.prune();
                }
                self.begin_turns();
            }
            self.measure();
            bell.wait(if anything { TICK } else { POLL });
        }
    }

    /// The webhooks that are on, of partners that are, each with its partner's
    /// version.
    fn live(&self) -> Vec<(Id, u64)> {
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

    /// Whether this node may begin an attempt.
    fn sure(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.lease.held()
    }

    fn prune(&self) {
        for node in self.replica.nodes() {
            let snapshot = node.snapshot();
            // Also those that were removed: a delivery may have been under way.
            for setting in snapshot.settings.iter().filter(|setting| setting.webhook().is_some()) {
                if let Err(error) = self.service.webhook_prune(node.key, &setting.id) {
                    warn!(error = &error as &dyn std::error::Error, webhook = %setting.id, "cannot prune deliveries");
                    return;
                }
            }
        }
    }

    fn begin_turns(self: &Arc<WebhookShared>) {
        let now = self.service.hooks.now();
        let mut turns = self.turns.lock();
        while let Some((id, taken)) = turns.take(self.places, now) {
            let (shared, own) = (self.clone(), id.clone());
            let thread = std::thread::Builder::new().name("webhook".to_owned());
            let started = thread.spawn(move || {
                let ended = shared.turn(&own, taken);
                shared.turns.lock().end(&own, ended);
                shared.service.hooks.bell.ring();
            });
            if let Err(error) = started {
                warn!(error = &error as &dyn std::error::Error, "cannot start a thread for a webhook");
                turns.end(&id, Err(()));
                break;
            }
        }
    }

    fn measure(&self) {
        let (turns, held) = (self.turns.lock(), self.lease.held());
        // Another node knows how far it has come, and says so.
        let own = || turns.known.values().filter(|_| held);
        let waiting = own().map(KnownWebhook::pending).sum::<u64>();
        let failing = own().filter(|known| known.failing).count();
        self.service.workers.queue(Work::Webhooks, waiting, own().filter_map(|known| known.waits).min());
        self.service.workers.lease(Work::Webhooks, &self.lease);
        metrics::gauge!("rollcall_webhook_pending").set(waiting as f64);
        metrics::gauge!("rollcall_webhooks_failing").set(failing as f64);
    }

    /// Tells one webhook what there is, for a while.
    fn turn(self: &Arc<WebhookShared>, id: &Id, taken: TurnStart) -> Result<Worked, ()> {
        let began = Instant::now();
        let shared = self.clone();
        let TurnStart { cursor, retried } = taken;
        let mut begin = Begin { passed: cursor, retried, may: Arc::new(move || shared.sure()) };
        loop {
            let step = || self.service.webhook_step_as(id.0, &id.1, &begin);
            let worked = match catch_unwind(AssertUnwindSafe(step)) {
                Ok(Ok(worked)) => worked,
                Ok(Err(error)) => {
                    log(id, &error);
                    return Err(());
                }
                Err(_) => {
                    error!(partner.key = %id.0, webhook = %id.1, "a delivery panicked");
                    return Err(());
                }
            };
            (begin.passed, begin.retried) = (worked.cursor, worked.retried);
            if worked.next != NextTurn::Again || began.elapsed() >= TURN || !self.sure() {
                return Ok(worked);
            }
        }
    }
}

fn log(id: &Id, error: &ServiceError) {
    let (key, webhook) = id;
    let error = error as &dyn std::error::Error;
    warn!(partner.key = %key, webhook = %webhook, error, "webhook {webhook} waits for the database");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 32;

    fn now() -> Time {
        Time::new(1_770_000_000).expect("a time")
    }

    fn id(partner: i64, webhook: usize) -> Id {
        (PartnerKey(partner), format!("wh_{webhook:03}").into())
    }

    fn turns(partners: &[(i64, usize)]) -> WebhookTurns {
        let mut turns = WebhookTurns::default();
        let all = partners.iter().flat_map(|&(partner, count)| (0..count).map(move |at| (id(partner, at), 7)));
        turns.learn(all.collect());
        turns
    }

    fn taken(turns: &mut WebhookTurns) -> Vec<i64> {
        std::iter::from_fn(|| turns.take(PLACES, now())).map(|((key, _), _)| key.0).collect()
    }

    #[test]
    fn receivers_that_hang_leave_places_for_other_partners() {
        // Of a hundred receivers of one partner, all hanging, half the places.
        let mut turns = turns(&[(1, 100)]);
        assert_eq!(taken(&mut turns).len(), PLACES / 2);
        let more = (0..100).map(|at| (id(2, at), 7)).chain((0..100).map(|at| (id(1, at), 7)));
        turns.learn(more.chain((0..3).map(|at| (id(3, at), 7))).collect());
        let second = taken(&mut turns);
        assert!(!second.contains(&1), "{second:?}");
        assert!(second.contains(&2) && second.iter().filter(|&&key| key == 3).count() == 3, "{second:?}");
        // And still there is room for somebody new.
        let all = (0..100).flat_map(|at| [(id(1, at), 7), (id(2, at), 7), (id(4, at), 7)]);
        turns.learn(all.chain((0..3).map(|at| (id(3, at), 7))).collect());
        assert!(taken(&mut turns).contains(&4));
    }

    #[test]
    fn those_that_fail_come_last_and_take_no_more_than_half() {
        let mut turns = turns(&[(1, 20), (2, 20), (3, 20), (4, 1)]);
        for ((key, _), known) in &mut turns.known {
            known.failing = key.0 != 4;
        }
        let order = taken(&mut turns);
        assert_eq!(order[0], 4);
        assert!(order.len() <= PLACES / 2 + 1, "{order:?}");
    }

    #[test]
    fn a_turn_is_taken_once_and_again_when_there_is_more() {
        let mut turns = turns(&[(1, 1)]);
        let one = id(1, 0);
        assert_eq!(turns.take(PLACES, now()), Some((one.clone(), TurnStart { cursor: 0, retried: false })));
        assert_eq!(turns.take(PLACES, now()), None);
        let ended = |next, cursor| Ok(Worked { next, cursor, failing: false, held: 0, retried: false });
        turns.end(&one, ended(NextTurn::Idle, 7));
        assert_eq!(turns.take(PLACES, now()), None);
        turns.learn(vec![(one.clone(), 8)]);
        assert_eq!(turns.take(PLACES, now()), Some((one.clone(), TurnStart { cursor: 7, retried: false })));
        turns.end(&one, ended(NextTurn::Wait(now().plus(5)), 7));
        assert_eq!(turns.take(PLACES, now().plus(4)), None);
        assert!(turns.take(PLACES, now().plus(5)).is_some());
        turns.end(&one, ended(NextTurn::Wait(now().plus(300)), 7));
        turns.ring(vec![(one.0, one.1.to_string())]);
        assert!(turns.take(PLACES, now()).is_some(), "somebody said so");
        // What is new waits for a retry, unless the retry holds up only its own.
        turns.end(&one, ended(NextTurn::Wait(now().plus(300)), 8));
        turns.learn(vec![(one.clone(), 9)]);
        assert_eq!(turns.take(PLACES, now()), None);
        turns.known.values_mut().for_each(|known| known.rung = true);
        assert!(turns.take(PLACES, now()).is_some());
        turns.end(&one, ended(NextTurn::Held(now().plus(300)), 9));
        assert_eq!(turns.take(PLACES, now()), None);
        turns.learn(vec![(one.clone(), 10)]);
        assert!(turns.take(PLACES, now()).is_some());
        turns.end(&one, Err(()));
        assert_eq!(turns.take(PLACES, now()), None, "the store failed a moment ago");
    }
}
