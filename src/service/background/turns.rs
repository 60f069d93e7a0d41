//! One fair queue for the background work of all partners: jobs, schedules,
//! emails and webhooks.
//!
//! Each kind of work has a [`Worker`]: it lists its items, and does one step of
//! one item. This module decides which item is next ([`Board`]), and runs the
//! steps ([`Runner`]): one thread lists, and each step has a thread of its own
//! while there are places.
//!
//! Items that fail come last. Then comes the partner with the fewest steps
//! under way, then the partner and the item that have waited longest. So a job
//! of a million rows delays another partner's job by one batch, and a thousand
//! emails of one partner delay another's by one email.
//!
//! Of several nodes, the one that has the lease works. Items are found in the
//! store: those from before a restart, those that this process created (it
//! rings the board), and those that commands and other nodes created (the list
//! is polled).
//! Invariants: an item has one step at a time; no step begins without the
//! lease; a failed item waits for its own retry and delays no other.
//! Deliberately absent: the work itself, and any state that matters after a
//! crash.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{error, warn};

use crate::domain::PartnerKey;
use crate::outbound::May;
use crate::service::ServiceError;
use crate::service::background::lease::Lease;
use crate::service::background::workers::{Work, Workers};
use crate::trace;

/// How long an item waits after the store failed: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long an item rests whose step panicked: it would panic again.
const PANIC_REST: Duration = Duration::from_secs(3_600);

/// The partner and the id of an item. Ids of two partners may be equal.
pub type ItemId = (PartnerKey, Arc<str>);

/// How many steps run at a time.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Of all partners together.
    pub places: usize,
    /// How many items of one partner take turns; its other items wait until one
    /// of these is over.
    pub per_partner: usize,
    /// Whether steps may hang: then a partner takes another place only while
    /// more places are free than it has, and so do the items that fail, all
    /// together.
    pub leave_room: bool,
}

/// An item as its task lists it, the oldest first.
#[derive(Clone, Debug)]
pub struct Item {
    pub id: ItemId,
    /// Whether a step has something to do.
    pub ready: bool,
    /// Whether its last step failed at something other than the store.
    pub failing: bool,
    /// How much waits, for the metric of the queue.
    pub waiting: u64,
    /// Since when, where the worker knows it better than the queue.
    pub since: Option<Instant>,
}

impl Item {
    /// One thing to do, from now on.
    pub fn ready(key: PartnerKey, id: &str) -> Item {
        Item { id: (key, id.into()), ready: true, failing: false, waiting: 1, since: None }
    }
}

/// What comes after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another step.
    Again,
    /// The list says whether there is another step, and when.
    Listed,
    /// Another step, but not before this time has passed.
    Rest(Duration),
    /// The same step, after a wait that doubles each time. The reason is kept
    /// for [`Board::trouble`].
    Retry(String),
    /// None: the item is over.
    Over,
}

/// One step of one item.
pub struct Turn {
    pub id: ItemId,
    /// Since when the item was ready.
    pub since: Instant,
    /// Whether it may begin something that others notice: false once the lease is
    /// lost or the runner stops.
    pub may: May,
}

/// Does one kind of background work.
pub trait Worker: Send + Sync + 'static {
    fn work(&self) -> Work;
    /// How often the items are listed, unless the board is rung.
    fn poll(&self) -> Duration;
    /// All items there are, also those that wait.
    fn list(&self) -> Result<Vec<Item>, ServiceError>;
    fn step(&self, turn: &Turn) -> Next;
    /// The step panicked.
    fn panicked(&self, turn: &Turn) -> Next {
        let (key, id) = &turn.id;
        error!(partner.key = %key, item = %id, "a step of {id} ({}) panicked; it rests for an hour", self.work().as_str());
        Next::Rest(PANIC_REST)
    }
    /// The lease was acquired, perhaps from another node that did some of the
    /// work.
    fn acquired(&self) {}
    /// Another node has the lease.
    fn elsewhere(&self) {}
}

/// The items of one kind of work, as this process knows them.
#[derive(Default)]
pub struct Board {
    state: Mutex<BoardState>,
    /// Rung by new items, by the end of a step, and by a stop.
    bell: Condvar,
}

#[derive(Default)]
struct BoardState {
    queue: TurnQueue,
    /// Whether to list again before the next poll.
    rung: bool,
    stop: bool,
}

impl Board {
    /// Says that there is something new to do.
    pub fn ring(&self) {
        self.state.lock().rung = true;
        self.bell.notify_all();
    }

    /// Why the item is retried, if it is.
    pub fn trouble(&self, id: &ItemId) -> Option<String> {
        let state = self.state.lock();
        let entry = state.queue.entries.iter().find(|entry| entry.id == *id)?;
        entry.trouble.as_ref().map(|trouble| trouble.why.clone())
    }
}

/// The items and their order. Pure: it knows neither threads nor the store.
#[derive(Default)]
struct TurnQueue {
    /// As they were listed.
    entries: Vec<TurnEntry>,
    /// Counts the turns.
    turn: u64,
    /// The last turn of each partner.
    partners: HashMap<PartnerKey, u64>,
}

struct TurnEntry {
    id: ItemId,
    listed: Item,
    /// Whether it is one of those of its partner that take turns.
    admitted: bool,
    busy: bool,
    /// Its last turn.
    turn: u64,
    /// Since when its next step could begin.
    since: Instant,
    rest: Option<Instant>,
    trouble: Option<TurnTrouble>,
}

/// Why an item is retried, and the wait before its next retry.
struct TurnTrouble {
    why: String,
    wait: Duration,
}

impl TurnEntry {
    fn new(listed: Item, now: Instant) -> TurnEntry {
        let id = listed.id.clone();
        TurnEntry { id, listed, admitted: false, busy: false, turn: 0, since: now, rest: None, trouble: None }
    }

    fn waits(&self) -> bool {
        !self.busy && self.listed.ready
    }

    fn due(&self, now: Instant) -> bool {
        self.admitted && self.waits() && self.rest.is_none_or(|until| until <= now)
    }
}

impl TurnQueue {
    /// Takes over the items that there are, and keeps what is known of them.
    fn learn(&mut self, items: Vec<Item>, now: Instant) {
        let mut known: HashMap<ItemId, TurnEntry> =
            self.entries.drain(..).map(|entry| (entry.id.clone(), entry)).collect();
        for item in items {
            let entry = match known.remove(&item.id) {
                Some(entry) => TurnEntry { listed: item, ..entry },
                None => TurnEntry::new(item, now),
            };
            self.entries.push(entry);
        }
        // An item that is being worked on leaves when its step ends.
        self.entries.extend(known.into_values().filter(|entry| entry.busy));
        let there: HashSet<PartnerKey> = self.entries.iter().map(|entry| entry.id.0).collect();
        self.partners.retain(|key, _| there.contains(key));
    }

    /// Admits the oldest items of each partner, up to its limit.
    fn admit(&mut self, per_partner: usize, now: Instant) {
        let mut seen: HashMap<PartnerKey, usize> = HashMap::new();
        for entry in &mut self.entries {
            let count = seen.entry(entry.id.0).or_default();
            if *count < per_partner && !entry.admitted {
                // Until now it waited for its partner's own items, and for nothing else.
                (entry.admitted, entry.since) = (true, now);
            }
            // An item that is retried takes no other item's place.
            *count += usize::from(entry.trouble.is_none());
        }
    }

    /// The next item, and since when it has been ready.
    fn take(&mut self, limits: TurnLimits, now: Instant) -> Option<(ItemId, Instant)> {
        self.admit(limits.per_partner, now);
        let mut of_partner: HashMap<PartnerKey, usize> = HashMap::new();
        let (mut busy, mut failing) = (0, 0);
        for entry in self.entries.iter().filter(|entry| entry.busy) {
            *of_partner.entry(entry.id.0).or_default() += 1;
            busy += 1;
            failing += usize::from(entry.listed.failing);
        }
        let free = limits.places.saturating_sub(busy);
        if free == 0 {
            return None;
        }
        let of = |entry: &TurnEntry| of_partner.get(&entry.id.0).copied().unwrap_or_default();
        let room =
            |entry: &TurnEntry| !limits.leave_room || (of(entry) < free && (!entry.listed.failing || failing < free));
        let partners = &self.partners;
        let order = |entry: &TurnEntry| {
            let last = partners.get(&entry.id.0).copied().unwrap_or_default();
            (entry.listed.failing, of(entry), last, entry.turn)
        };
        // Of equals, the first: the oldest.
        let entry =
            self.entries.iter_mut().filter(|entry| entry.due(now) && room(entry)).min_by_key(|entry| order(entry))?;
        self.turn += 1;
        (entry.busy, entry.turn) = (true, self.turn);
        self.partners.insert(entry.id.0, self.turn);
        Some((entry.id.clone(), entry.since))
    }

    fn end(&mut self, id: &ItemId, next: Next, now: Instant) {
        let Some(at) = self.entries.iter().position(|entry| entry.id == *id) else { return };
        let entry = &mut self.entries[at];
        (entry.busy, entry.since) = (false, now);
        let trouble = entry.trouble.take();
        entry.rest = None;
        match next {
            Next::Again => {}
            Next::Listed => entry.listed.ready = false,
            Next::Rest(wait) => entry.rest = Some(now + wait),
            Next::Retry(why) => {
                let wait = trouble.map_or(RETRY_MIN, |trouble| (trouble.wait * 2).min(RETRY_MAX));
                entry.rest = Some(now + wait);
                entry.trouble = Some(TurnTrouble { why, wait });
            }
            Next::Over => {
                self.entries.remove(at);
            }
        }
    }

    /// How much waits, and since when the oldest of it waits.
    fn waiting(&self) -> (u64, Option<Instant>) {
        let waiting = || self.entries.iter().filter(|entry| !entry.busy && entry.listed.waiting > 0);
        let since = waiting().map(|entry| entry.listed.since.unwrap_or(entry.since)).min();
        (waiting().map(|entry| entry.listed.waiting).sum(), since)
    }

    /// How long nothing new is due, at most `longest`.
    fn pause(&self, longest: Duration, now: Instant) -> Duration {
        let rests = self.entries.iter().filter(|entry| entry.waits()).filter_map(|entry| entry.rest);
        // One that is past waits for a place, and the end of a step rings.
        let soonest = rests.filter(|until| *until > now).min();
        soonest.map_or(longest, |until| until.saturating_duration_since(now).min(longest)).max(Duration::from_millis(1))
    }

    fn busy(&self) -> bool {
        self.entries.iter().any(|entry| entry.busy)
    }
}

/// Does one kind of work, until [`Runner::stop`].
pub struct Runner {
    shared: Arc<RunnerShared>,
    thread: JoinHandle<()>,
}

struct RunnerShared {
    worker: Box<dyn Worker>,
    board: Arc<Board>,
    lease: Arc<Lease>,
    limits: TurnLimits,
    workers: Arc<Workers>,
}

impl Runner {
    pub fn start(
        worker: impl Worker,
        board: Arc<Board>,
        lease: Arc<Lease>,
        limits: TurnLimits,
        workers: Arc<Workers>,
    ) -> Runner {
        // The service of a test starts more than one, one after the other.
        board.state.lock().stop = false;
        let shared = Arc::new(RunnerShared { worker: Box::new(worker), board, lease, limits, workers });
        let own = shared.clone();
        Runner { shared, thread: std::thread::spawn(move || own.run()) }
    }

    /// Begins no more steps, and waits for those under way, but no longer than
    /// `patience`. Then the leases are released, so that another node goes on at
    /// once.
    pub fn stop(runners: Vec<Runner>, patience: Duration) {
        let until = Instant::now() + patience;
        for Runner { shared, .. } in &runners {
            shared.board.state.lock().stop = true;
            shared.board.bell.notify_all();
        }
        for Runner { shared, thread } in runners {
            let work = shared.worker.work().as_str();
            if thread.join().is_err() {
                error!("the thread of {work} panicked");
            }
            let mut state = shared.board.state.lock();
            while state.queue.busy() && !shared.board.bell.wait_until(&mut state, until).timed_out() {}
            if state.queue.busy() {
                warn!("a step of {work} takes longer than the stop waits; it is done again after the next start");
            }
            drop(state);
            shared.lease.give_back();
        }
    }
}

impl RunnerShared {
    fn run(self: Arc<RunnerShared>) {
        let (work, board) = (self.worker.work(), &self.board);
        let heartbeat = self.workers.join(work);
        let (mut term, mut listed) = (None, None::<Instant>);
        let mut state = board.state.lock();
        while !state.stop {
            heartbeat.begin();
            self.workers.lease(work, &self.lease);
            let (held, poll) = (self.lease.term(), self.worker.poll());
            if held.is_none() {
                self.worker.elsewhere();
                self.workers.queue(work, 0, None);
                board.bell.wait_for(&mut state, poll);
                continue;
            }
            if held != term {
                (term, listed) = (held, None);
                self.worker.acquired();
            }
            let age = listed.map(|listed| listed.elapsed());
            if std::mem::take(&mut state.rung) || age.is_none_or(|age| age >= poll) {
                listed = Some(Instant::now());
                self.list(&mut state);
                continue;
            }
            let now = Instant::now();
            if let Some((id, since)) = state.queue.take(self.limits, now) {
                self.begin(&mut state, id, since);
                continue;
            }
            let pause = state.queue.pause(poll.saturating_sub(age.unwrap_or_default()), now);
            board.bell.wait_for(&mut state, pause);
        }
    }

    fn list(&self, state: &mut MutexGuard<'_, BoardState>) {
        let work = self.worker.work();
        match MutexGuard::unlocked(state, || self.worker.list()) {
            Ok(items) => state.queue.learn(items, Instant::now()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "cannot look for {}; trying again", work.as_str());
            }
        }
        let (waiting, since) = state.queue.waiting();
        self.workers.queue(work, waiting, since);
    }

    fn begin(self: &Arc<RunnerShared>, state: &mut BoardState, id: ItemId, since: Instant) {
        let (own, alive, work) = (self.clone(), self.clone(), self.worker.work());
        let turn = Turn { id: id.clone(), since, may: Arc::new(move || alive.may()) };
        let started = std::thread::Builder::new().name(work.as_str().to_owned()).spawn(move || own.step(&turn));
        if let Err(error) = started {
            warn!(error = &error as &dyn std::error::Error, "cannot start a thread for {}", work.as_str());
            state.queue.end(&id, Next::Retry(error.to_string()), Instant::now());
        }
    }

    fn may(&self) -> bool {
        self.lease.held() && !self.board.state.lock().stop
    }

    fn step(&self, turn: &Turn) {
        let _heartbeat = self.workers.join(self.worker.work());
        let span = trace::root(self.worker.work().as_str());
        span.set("rollcall.item", &turn.id.1);
        let step = || self.worker.step(turn);
        let next = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| self.worker.panicked(turn));
        let mut state = self.board.state.lock();
        state.rung |= next == Next::Listed;
        state.queue.end(&turn.id, next, Instant::now());
        drop(state);
        self.board.bell.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 32;

    fn limits(places: usize, per_partner: usize, leave_room: bool) -> TurnLimits {
        TurnLimits { places, per_partner, leave_room }
    }

    fn id(partner: i64, name: &str) -> ItemId {
        (PartnerKey(partner), name.into())
    }

    fn learn(queue: &mut TurnQueue, items: &[(i64, &str)]) {
        let items = items.iter().map(|&(partner, name)| Item::ready(PartnerKey(partner), name));
        queue.learn(items.collect(), Instant::now());
    }

    fn of(items: &[(i64, &str)]) -> TurnQueue {
        let mut queue = TurnQueue::default();
        learn(&mut queue, items);
        queue
    }

    /// `count` items of one partner, with names of equal length.
    fn many(partner: i64, count: usize) -> impl Iterator<Item = Item> {
        (0..count).map(move |at| Item::ready(PartnerKey(partner), &format!("{at:03}")))
    }

    /// Every item that is taken before one ends.
    fn taken(queue: &mut TurnQueue, limits: TurnLimits) -> Vec<ItemId> {
        std::iter::from_fn(|| queue.take(limits, Instant::now())).map(|(id, _)| id).collect()
    }

    fn names(ids: &[ItemId]) -> Vec<&str> {
        ids.iter().map(|(_, name)| &**name).collect()
    }

    #[track_caller]
    fn check_order(items: &[(i64, &str)], per_partner: usize, expected: &[&str]) {
        let mut queue = TurnQueue::default();
        for (at, expected) in expected.iter().enumerate() {
            learn(&mut queue, items);
            let (id, _) = queue.take(limits(1, per_partner, false), Instant::now()).expect("a turn");
            assert_eq!(&*id.1, *expected, "turn {at}");
            queue.end(&id, Next::Again, Instant::now());
        }
    }

    #[test]
    fn partners_take_turns_however_many_items_they_have() {
        check_order(&[(1, "a"), (1, "b"), (1, "c"), (2, "x")], 2, &["a", "x", "b", "x", "a", "x", "b"]);
        check_order(&[(1, "a"), (1, "b"), (2, "x")], 1, &["a", "x", "a", "x"]);
    }

    #[test]
    fn an_item_has_one_step_at_a_time_and_the_partners_limit_holds() {
        let items = [(1, "a"), (1, "b"), (1, "c"), (2, "a")];
        let mut queue = of(&items);
        assert_eq!(names(&taken(&mut queue, limits(9, 2, false))), ["a", "a", "b"]);
        // Another process ended one of them; its step still goes on here.
        learn(&mut queue, &items[1..]);
        queue.end(&id(1, "a"), Next::Over, Instant::now());
        assert_eq!(taken(&mut queue, limits(9, 2, false)), [id(1, "c")]);
        queue.end(&id(1, "b"), Next::Over, Instant::now());
        queue.end(&id(1, "c"), Next::Over, Instant::now());
        learn(&mut queue, &items[3..]);
        assert_eq!(taken(&mut queue, limits(9, 2, false)), []);
    }

    #[test]
    fn an_item_in_trouble_waits_longer_and_longer_and_delays_no_other() {
        let mut queue = of(&[(1, "a"), (2, "x")]);
        let all = limits(1, 9, false);
        let (a, _) = queue.take(all, Instant::now()).expect("a turn");
        queue.end(&a, Next::Retry("full".to_owned()), Instant::now());
        assert_eq!(queue.entries[0].trouble.as_ref().map(|trouble| &*trouble.why), Some("full"));
        let later = Instant::now();
        assert_eq!(queue.take(all, later).map(|(id, _)| id), Some(id(2, "x")));
        queue.end(&id(2, "x"), Next::Rest(Duration::from_secs(60)), later);
        assert_eq!(queue.take(all, later), None);
        assert!(queue.pause(RETRY_MAX, later) <= RETRY_MIN);
        for expected in [2, 4, 8, 16, 25, 25].map(|times| RETRY_MIN * times) {
            queue.end(&a, Next::Retry("full".to_owned()), later);
            assert_eq!(queue.entries[0].trouble.as_ref().map(|trouble| trouble.wait), Some(expected));
        }
        assert!(queue.take(all, later + RETRY_MAX).is_some());
        queue.end(&a, Next::Again, later);
        assert!(queue.entries[0].trouble.is_none());
    }

    #[test]
    fn an_item_in_trouble_takes_no_place_of_its_partners_others() {
        let mut queue = of(&[(1, "a"), (1, "b"), (1, "c")]);
        let one = limits(9, 1, false);
        assert_eq!(names(&taken(&mut queue, one)), ["a"]);
        queue.end(&id(1, "a"), Next::Retry("unreadable".to_owned()), Instant::now());
        assert_eq!(names(&taken(&mut queue, one)), ["b"]);
    }

    #[test]
    fn a_listed_item_waits_for_the_list() {
        let mut queue = of(&[(1, "a")]);
        let all = limits(1, 9, false);
        assert_eq!(taken(&mut queue, all).len(), 1);
        queue.end(&id(1, "a"), Next::Listed, Instant::now());
        assert_eq!(taken(&mut queue, all), []);
        learn(&mut queue, &[(1, "a")]);
        assert_eq!(taken(&mut queue, all).len(), 1);
    }

    #[test]
    fn steps_that_hang_leave_places_for_other_partners() {
        let room = limits(PLACES, usize::MAX, true);
        let mut queue = TurnQueue::default();
        let mut listed: Vec<Item> = many(1, 100).collect();
        queue.learn(listed.clone(), Instant::now());
        // A hundred steps of one partner, all hanging, have half the places.
        assert_eq!(taken(&mut queue, room).len(), PLACES / 2);
        listed.extend(many(2, 100).chain(many(3, 3)));
        queue.learn(listed.clone(), Instant::now());
        let second: Vec<i64> = taken(&mut queue, room).iter().map(|(key, _)| key.0).collect();
        assert!(!second.contains(&1), "{second:?}");
        assert!(second.contains(&2) && second.iter().filter(|&&key| key == 3).count() == 3, "{second:?}");
        // There is still a place for a new partner.
        listed.extend(many(4, 100));
        queue.learn(listed, Instant::now());
        assert!(taken(&mut queue, room).iter().any(|(key, _)| key.0 == 4));
    }

    #[test]
    fn items_that_fail_come_last_and_take_no_more_than_half() {
        let mut items: Vec<Item> = (1..=3).flat_map(|partner| many(partner, 20)).collect();
        items.iter_mut().for_each(|item| item.failing = true);
        items.extend(many(4, 1));
        let mut queue = TurnQueue::default();
        queue.learn(items, Instant::now());
        let order = taken(&mut queue, limits(PLACES, usize::MAX, true));
        assert_eq!(order[0].0, PartnerKey(4));
        assert!(order.len() <= PLACES / 2 + 1, "{order:?}");
    }

    #[test]
    fn the_queue_tells_how_much_waits_and_since_when() {
        let (early, now) = (Instant::now(), Instant::now() + Duration::from_secs(9));
        let mut queue = TurnQueue::default();
        let listed = |name: &str, waiting, since| Item { waiting, since, ..Item::ready(PartnerKey(1), name) };
        queue.learn(vec![listed("a", 3, Some(early)), listed("b", 2, None), listed("c", 0, Some(early))], now);
        assert_eq!(queue.waiting(), (5, Some(early)));
        assert!(queue.take(limits(1, 9, false), now).is_some());
        assert_eq!(queue.waiting(), (2, Some(now)));
    }
}
