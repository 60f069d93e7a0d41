//! The snapshots of all partners in this node's memory, updated from the log.
//!
//! Loaded once, then patched from the log by [`Replica::follow`], which polls the
//! database: this node's own commits and those of other nodes take the same path, but
//! that its own need not be read back from there.
//! Readers take a snapshot and never wait. If the log does not match the snapshot
//! (a gap, a broken chain, a version that went back), the partner is loaded again
//! beside the old snapshot, then swapped; if another database answers than before,
//! all partners are.
//!
//! Unreadable data is isolated: a row is left out; a partner with an unreadable log
//! keeps its last snapshot. Both are reported and retried at a pace that costs
//! little, and everything else continues. Only a database that does not answer ends
//! a round.
//!
//! Invariant: a [`Node`]'s partner id never changes. A partner that takes another
//! one's place in the database gets a new node, so a holder of the old one never
//! sees another tenant in it.

pub mod access;
mod called;
mod directory;
pub(in crate::service) mod net_change;
pub mod past;
pub mod refusals;
pub mod routing;
pub mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info};

use self::directory::Directory;
use self::past::Pasts;
use crate::domain::change::GENESIS;
use crate::domain::{E164, KeptDigest, KeyId, PartnerId, PartnerKey, RowDigest, Time};
use crate::inventory::{Applying, Image, Loader, Misfit, Snapshot};
use crate::service::replica::refusals::Refusals;
use crate::store::{
    self, BatchRow, Incarnation, Load, Loaded, LogHead, LogPiece, NumberBatch, Store, StoreError, WholeEntry,
};

/// How many batches of rows may wait to be indexed while more are read.
const BATCHES_AHEAD: usize = 8;
/// How many rows that were left out are told of; the others are counted.
const TOLD_MAX: usize = 20;
/// How soon a partner that is not as the database has it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// And how many times longer than the attempt took, so that trying costs a
/// hundredth of a core, however large the partner is.
const AGAIN_TIMES: u32 = 100;

/// One partner on this node, under one id.
pub struct Node {
    pub key: PartnerKey,
    auth_id: PartnerId,
    current: ArcSwap<Snapshot>,
    /// The version of `current`, once readers can have it.
    published: watch::Sender<u64>,
    /// When each key was last used, in seconds; written to the store now and
    /// then by [`Replica::flush_key_uses`].
    uses: ArcSwap<HashMap<KeyId, AtomicI64>>,
    /// Since when its log cannot be followed, in seconds; 0 while it can.
    stuck_since: AtomicI64,
}

impl Node {
    fn new(snapshot: Snapshot) -> Node {
        let uses = ArcSwap::from_pointee(HashMap::new());
        let published = watch::Sender::new(snapshot.version);
        Node {
            key: snapshot.key,
            auth_id: snapshot.partner.auth_id.clone(),
            current: ArcSwap::from_pointee(snapshot),
            published,
            uses,
            stuck_since: AtomicI64::new(0),
        }
    }

    /// Whether its rows do not agree with the digest that is kept with them, so
    /// that nothing of it may be served.
    pub fn damaged(&self) -> bool {
        self.current().damaged
    }

    /// How long ago its log could last be followed, if it cannot be any more.
    pub fn stuck_for(&self) -> Option<Duration> {
        let since_seconds = self.stuck_since.load(Ordering::Relaxed);
        (since_seconds > 0).then(|| since(since_seconds))
    }

    /// The partner as it is now. Costs a reference count.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The same without a reference count, for a short look.
    pub(super) fn current(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Wakes whenever another version can be read.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Empties it: a remaining holder, such as a stream, finds no key in it.
    fn retire(&self) {
        let partner = (*self.snapshot().partner).clone();
        self.current.store(Arc::new(Snapshot::empty(self.key, 0, GENESIS, partner)));
        self.published.send_replace(0);
    }

    pub(super) fn used(&self, key: &KeyId, now: Time) {
        if let Some(last) = self.uses.load().get(key) {
            // Once a second, so that threads do not fight over it at each request.
            if last.load(Ordering::Relaxed) < now.seconds() {
                last.fetch_max(now.seconds(), Ordering::Relaxed);
            }
            return;
        }
        // The first use of a key since it came: once a key, so copying is fine.
        self.uses.rcu(|uses| {
            let copy = |(id, last): (&KeyId, &AtomicI64)| (id.clone(), AtomicI64::new(last.load(Ordering::Relaxed)));
            let mut uses: HashMap<KeyId, AtomicI64> = uses.iter().map(copy).collect();
            uses.entry(key.clone()).or_default().fetch_max(now.seconds(), Ordering::Relaxed);
            uses
        });
    }
}

type Nodes = HashMap<PartnerId, Arc<Node>>;

pub struct Replica {
    store: Arc<dyn Store>,
    nodes: ArcSwap<Nodes>,
    follower: Mutex<FollowerState>,
    /// Snapshots of earlier versions that were asked for.
    pub(super) pasts: Pasts,
    /// The last calls that were refused.
    pub refusals: Refusals,
    /// Which partners may have a number.
    directory: Directory,
    /// The numbers whose rows were left out.
    unreadable: ArcSwap<LeftOut>,
    /// Whether partners are not served because their rows do not agree with
    /// their digests.
    damaged: AtomicBool,
    began: Instant,
    /// When the store last answered, in milliseconds since `began`.
    heard_ms: AtomicU64,
    /// Whether the last attempt to follow succeeded.
    following: AtomicBool,
    /// Where the logs ended when that was last heard.
    heads: ArcSwap<Vec<LogHead>>,
    /// How much was not understood: rows, and partners' logs.
    poisoned: AtomicU64,
    /// The rows of that, by table.
    tables: ArcSwap<BTreeMap<&'static str, u64>>,
    /// How often partners went, or had their place taken by others.
    renewals: AtomicU64,
}

/// What only the following thread touches.
#[derive(Default)]
struct FollowerState {
    /// Whether the last attempt left something undone.
    behind: bool,
    /// The database that answered last.
    incarnation: Option<Incarnation>,
    /// When to load everything, where what is held is another database's.
    another: Option<Instant>,
    /// Partners that are not as the database has them.
    troubles: HashMap<PartnerKey, PartnerTrouble>,
    /// Rows that were left out and belong to no partner.
    strays: Poison,
    /// Snapshots that were replaced. They are freed here, when no reader has
    /// them any more, so that readers do not pay for it.
    replaced: Vec<Arc<Snapshot>>,
}

/// A partner that is not as the database has it.
struct PartnerTrouble {
    /// What was left out when it was last loaded.
    poison: Poison,
    /// Whether its log cannot be followed any further.
    stuck: bool,
    /// When it is tried again.
    again: Instant,
}

impl FollowerState {
    fn due(&self) -> bool {
        let now = Instant::now();
        self.troubles.values().any(|trouble| trouble.again <= now)
    }

    /// How much was not understood.
    fn poisoned(&self) -> u64 {
        let troubles = self.troubles.values();
        self.strays.rows + troubles.map(|trouble| trouble.poison.rows + u64::from(trouble.stuck)).sum::<u64>()
    }

    /// Whether a partner's rows do not agree with their digest.
    fn damaged(&self, key: PartnerKey) -> bool {
        self.troubles.get(&key).is_some_and(|trouble| trouble.poison.damaged.is_some())
    }

    /// How many rows of each table were left out of what is served.
    fn tables(&self) -> BTreeMap<&'static str, u64> {
        let mut tables = BTreeMap::new();
        let poisons = self.troubles.values().map(|trouble| &trouble.poison).chain([&self.strays]);
        for (table, rows) in poisons.flat_map(|poison| &poison.tables) {
            *tables.entry(*table).or_default() += rows;
        }
        tables
    }

    /// Leaves a partner as it is served.
    fn hold(&mut self, key: PartnerKey, node: Option<&Arc<Node>>, why: &str, again: Instant) {
        let trouble = self.troubles.entry(key).or_insert_with(|| PartnerTrouble {
            poison: Poison::default(),
            stuck: false,
            again,
        });
        trouble.again = again;
        if !std::mem::replace(&mut trouble.stuck, true) {
            error!(partner.key = %key, why, "partner {key} stays as it is, because it cannot be followed: {why}");
            if let Some(node) = node {
                node.stuck_since.store(Time::now().seconds(), Ordering::Relaxed);
            }
        }
    }

    /// The partner can be followed, again or still.
    fn free(&mut self, key: PartnerKey, node: Option<&Arc<Node>>) {
        let Some(trouble) = self.troubles.get_mut(&key) else { return };
        if std::mem::take(&mut trouble.stuck) {
            info!(partner.key = %key, "partner {key} can be followed again");
            if let Some(node) = node {
                node.stuck_since.store(0, Ordering::Relaxed);
            }
        }
        if trouble.poison.rows == 0 {
            self.troubles.remove(&key);
        }
    }

    /// Notes what was left out of a partner; whether that is not what was left
    /// out before.
    fn left_out(&mut self, key: PartnerKey, poison: Poison, again: Instant) -> bool {
        let trouble = self.troubles.get_mut(&key);
        let news = trouble.as_ref().map_or(poison.rows > 0, |trouble| trouble.poison != poison);
        if news && poison.rows == 0 {
            info!(partner.key = %key, "all rows of partner {key} can be understood again");
        } else if news {
            poison.tell();
        }
        match trouble {
            Some(trouble) => (trouble.poison, trouble.again) = (poison, again),
            None if poison.rows > 0 => {
                self.troubles.insert(key, PartnerTrouble { poison, stuck: false, again });
            }
            None => {}
        }
        news
    }
}

/// How much of what was committed is on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaProgress {
    /// The sum of all partners' versions.
    pub version: u64,
    /// How many changes are known to be committed and are not applied.
    pub lag: u64,
    /// Rows that were left out because they cannot be understood, and partners
    /// whose log cannot be followed.
    pub poisoned: u64,
    pub writable: bool,
}

/// Rows that could not be understood.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Poison {
    /// Each number of a row of numbers counts, so the count is the same on both
    /// engines.
    pub rows: u64,
    pub tables: BTreeMap<&'static str, u64>,
    /// The first of them, in words: one sentence each.
    pub first: Vec<String>,
    /// How many sentences there would be.
    sentences: u64,
    /// The numbers of all of them that have numbers.
    numbers: LeftOut,
    /// In words, that a partner's rows do not agree with their digest; counted
    /// as a row of the digest.
    pub damaged: Option<Arc<str>>,
}

/// Numbers whose rows were left out, as ranges that do not overlap: by the first
/// number the last.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct LeftOut(BTreeMap<E164, E164>);

impl LeftOut {
    fn add(&mut self, (mut first, mut last): (E164, E164)) {
        while let Some((&other, &end)) = self.0.range(..=last).next_back()
            && end >= first
        {
            self.0.remove(&other);
            (first, last) = (first.min(other), last.max(end));
        }
        self.0.insert(first, last);
    }

    fn contains(&self, number: E164) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }
}

/// What a digest that rows do not agree with is counted under.
const ROW_DIGEST: &str = "row_digest";

impl Poison {
    fn add(&mut self, table: &'static str, numbers: Option<(E164, E164)>, what: impl FnOnce() -> String) {
        let rows = numbers.map_or(1, |(first, last)| last.digits() - first.digits() + 1);
        self.rows += rows;
        self.sentences += 1;
        *self.tables.entry(table).or_default() += rows;
        numbers.into_iter().for_each(|numbers| self.numbers.add(numbers));
        if self.first.len() < TOLD_MAX {
            self.first.push(what());
        }
    }

    fn and(mut self, more: Poison) -> Poison {
        self.rows += more.rows;
        self.sentences += more.sentences;
        for (table, rows) in more.tables {
            *self.tables.entry(table).or_default() += rows;
        }
        self.first.extend(more.first);
        self.first.truncate(TOLD_MAX);
        more.numbers.0.into_iter().for_each(|numbers| self.numbers.add(numbers));
        self.damaged = self.damaged.or(more.damaged);
        self
    }

    fn damage(&mut self, what: String) {
        self.rows += 1;
        *self.tables.entry(ROW_DIGEST).or_default() += 1;
        self.damaged = Some(what.into());
    }

    /// How many rows were left out beyond those in words.
    pub fn more(&self) -> u64 {
        self.sentences - self.first.len() as u64
    }

    fn tell(&self) {
        if let Some(what) = &self.damaged {
            error!("{what}; the partner is not served: restore a backup, or see `rollcall verify`");
        }
        for what in &self.first {
            error!(what, "a row of the database cannot be understood and is left out: {what}");
        }
        let more = self.more();
        if more > 0 {
            error!(rows = more, "{more} more rows cannot be understood and are left out");
        }
    }
}

/// What could be loaded of what there is.
pub struct Salvaged {
    pub snapshots: HashMap<PartnerKey, Snapshot>,
    /// What was left out, by whose it is; without a key, nobody knows.
    pub poison: HashMap<Option<PartnerKey>, Poison>,
    /// The digests of partners that had none kept with them.
    pub undigested: Vec<(LogHead, RowDigest)>,
}

/// Every partner's snapshot as the store has it now. A row that cannot be
/// understood is a failure.
pub fn load(store: &dyn Store, what: Load) -> Result<HashMap<PartnerKey, Snapshot>, StoreError> {
    let Salvaged { snapshots, poison, .. } = salvage(store, what)?;
    if let Some(what) = poison.values().flat_map(|poison| &poison.first).next() {
        return Err(StoreError::Corrupt { what: what.clone() });
    }
    let damaged = |(key, poison): (&Option<PartnerKey>, &Poison)| poison.damaged.is_some().then_some((*key)?);
    if let Some(snapshot) = poison.iter().find_map(damaged).and_then(|key| snapshots.get(&key)) {
        return Err(StoreError::Damaged { partner: snapshot.partner.auth_id.as_str().into() });
    }
    for snapshot in snapshots.values().filter(|_| what.numbers) {
        called::load(store, snapshot.key, &snapshot.called, snapshot.len())?;
    }
    Ok(snapshots)
}

/// The same without the rows that cannot be understood. One thread reads rows
/// while this one puts what was read into the index.
pub fn salvage(store: &dyn Store, what: Load) -> Result<Salvaged, StoreError> {
    let (give, taken) = mpsc::sync_channel(BATCHES_AHEAD);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let gone = |_| StoreError::Corrupt { what: "what was read cannot be indexed".to_owned() };
            store.load(what, &mut |loaded| give.send(loaded).map_err(gone))
        });
        let mut loading = Loading::default();
        let indexed = taken.iter().try_for_each(|loaded| loading.take(loaded));
        // Without a taker the reader stops.
        drop(taken);
        let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        indexed?;
        read?;
        let Loading { loaders, poison, row_digests, .. } = loading;
        let snapshots = loaders.into_iter().map(|loader| (loader.snapshot.key, loader.finish())).collect();
        let mut salvaged = Salvaged { snapshots, poison, undigested: Vec::new() };
        if what.numbers {
            salvaged.agree(&row_digests);
        }
        Ok(salvaged)
    })
}

impl Salvaged {
    /// Compares what was loaded with the digests that are kept with it. Where
    /// rows were left out they cannot agree, and that is known already.
    fn agree(&mut self, kept: &HashMap<PartnerKey, KeptDigest>) {
        let strays = self.poison.iter().any(|(key, poison)| {
            let theirs = key.is_some_and(|key| self.snapshots.contains_key(&key));
            !theirs && poison.rows > 0
        });
        for (&key, snapshot) in &mut self.snapshots {
            if self.poison.get(&Some(key)).is_some_and(|poison| poison.rows > 0) {
                continue;
            }
            let found = snapshot.row_digest();
            let name = &snapshot.partner.auth_id;
            let what = match kept.get(&key) {
                None | Some(KeptDigest::None) => {
                    let head = LogHead { key, version: snapshot.version, digest: snapshot.head };
                    // What a row without an owner was is not made the truth.
                    self.undigested.extend((!strays).then_some((head, found)));
                    continue;
                }
                Some(KeptDigest::Sealed(kept)) if *kept == found => continue,
                // It may be the one whose rows have no owner any more.
                Some(KeptDigest::Sealed(kept)) if strays && found.count < kept.count => continue,
                Some(KeptDigest::Sealed(kept)) if kept.count != found.count => {
                    format!(
                        "partner {name} has {} rows where its digest has {}: {kept} is kept, {found} was computed",
                        found.count, kept.count
                    )
                }
                Some(KeptDigest::Sealed(kept)) => format!(
                    "the rows of partner {name} do not agree with the digest that is kept with them: {kept} is kept, \
                     {found} was computed"
                ),
                Some(KeptDigest::Broken(kept)) => format!(
                    "the digest of the rows of partner {name} is not that of its version {}: {kept} is kept, {found} \
                     was computed",
                    snapshot.version
                ),
            };
            snapshot.damaged = true;
            self.poison.entry(Some(key)).or_default().damage(what);
        }
    }
}

/// Snapshots in the making.
#[derive(Default)]
struct Loading {
    loaders: Vec<Loader>,
    places: HashMap<PartnerKey, usize>,
    row_digests: HashMap<PartnerKey, KeptDigest>,
    poison: HashMap<Option<PartnerKey>, Poison>,
}

impl Loading {
    fn take(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        match loaded {
            Loaded::Partner { head, row_digest, partner } => {
                self.row_digests.insert(head.key, row_digest);
                self.places.insert(head.key, self.loaders.len());
                self.loaders.push(Loader::new(Snapshot::empty(head.key, head.version, head.digest, partner)));
            }
            Loaded::Account(key, account, lost_at) => self.put("account", key, |snapshot| {
                if let Some(at) = lost_at {
                    snapshot.note_lost(&account.auth_id, at);
                }
                Arc::make_mut(&mut snapshot.accounts).put(account);
            }),
            Loaded::Application(key, application) => {
                self.put("application", key, |snapshot| Arc::make_mut(&mut snapshot.applications).put(application));
            }
            Loaded::Trunk(key, trunk) => {
                self.put("trunk", key, |snapshot| Arc::make_mut(&mut snapshot.trunks).put(trunk))
            }
            Loaded::Key(of, key) => self.put("api_key", of, |snapshot| Arc::make_mut(&mut snapshot.keys).put(key)),
            Loaded::Acknowledgement(key, one) => {
                self.put("acknowledgement", key, |snapshot| Arc::make_mut(&mut snapshot.acknowledgements).put(one));
            }
            Loaded::Setting(key, setting) => {
                self.put("setting", key, |snapshot| Arc::make_mut(&mut snapshot.settings).put(setting))
            }
            Loaded::Numbers(batch) => self.numbers(&batch)?,
            Loaded::Poison { key, table, numbers, what } => {
                self.poison.entry(key).or_default().add(table, numbers, || what);
            }
        }
        Ok(())
    }

    fn put(&mut self, table: &'static str, key: PartnerKey, put: impl FnOnce(&mut Snapshot)) {
        match self.places.get(&key) {
            Some(&place) => put(&mut self.loaders[place].snapshot),
            None => self
                .poison
                .entry(Some(key))
                .or_default()
                .add(table, None, || format!("a row of partner {key}, which does not exist")),
        }
    }

    fn numbers(&mut self, batch: &NumberBatch) -> Result<(), StoreError> {
        let misfit = |misfit: Misfit| StoreError::Corrupt { what: misfit.to_string() };
        // Where numbers with each image go; or why they go nowhere.
        let mut images: Vec<Option<Result<(usize, Image), String>>> = vec![None; batch.images.len()];
        for &BatchRow { first, last, version, image, dates } in &batch.rows {
            let (key, record) = &batch.images[image as usize];
            let known = &mut images[image as usize];
            if known.is_none() {
                *known = Some(match self.places.get(key) {
                    None => Err(format!("is of partner {key}, which does not exist")),
                    Some(&place) => match self.loaders[place].image(first, record) {
                        Ok(image) => Ok((place, image)),
                        Err(Misfit::Dangling { what, id, .. }) => {
                            Err(format!("refers to {what} {id}, which does not exist"))
                        }
                        Err(other) => return Err(misfit(other)),
                    },
                });
            }
            match known {
                Some(Ok((place, image))) => {
                    self.loaders[*place].place((first, last), version, *image, dates).map_err(misfit)?;
                }
                Some(Err(why)) => {
                    let what = || format!("{} {why}", store::numbers_named((first, last)));
                    self.poison.entry(Some(*key)).or_default().add("number", Some((first, last)), what);
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl Replica {
    /// All that can be understood of what the store has; the rest is told.
    pub fn load(store: Arc<dyn Store>) -> Result<Replica, StoreError> {
        let began = Instant::now();
        let salvaged = salvage(&*store, Load { only: None, numbers: true })?;
        let follower = FollowerState { incarnation: store.incarnation(), ..FollowerState::default() };
        let replica = Replica {
            store,
            nodes: ArcSwap::default(),
            follower: Mutex::new(follower),
            pasts: Pasts::default(),
            refusals: Refusals::default(),
            directory: Directory::default(),
            unreadable: ArcSwap::default(),
            damaged: AtomicBool::new(false),
            began,
            heard_ms: AtomicU64::new(began.elapsed().as_millis() as u64),
            following: AtomicBool::new(true),
            heads: ArcSwap::default(),
            poisoned: AtomicU64::new(0),
            tables: ArcSwap::default(),
            renewals: AtomicU64::new(0),
        };
        let mut follower = replica.follower.lock();
        replica.renew(&mut follower, salvaged, again(began));
        replica.count_poisoned(&follower);
        drop(follower);
        for node in replica.nodes() {
            let snapshot = node.snapshot();
            called::load(&*replica.store, node.key, &snapshot.called, snapshot.len())?;
        }
        Ok(replica)
    }

    pub fn node(&self, auth_id: &str) -> Option<Arc<Node>> {
        self.nodes.load().get(auth_id).cloned()
    }

    /// The partners that are served.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.all_nodes();
        nodes.retain(|node| !node.damaged());
        nodes
    }

    /// The same with those whose rows do not agree with their digest.
    pub fn all_nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<Arc<Node>> = self.nodes.load().values().cloned().collect();
        nodes.sort_by_key(|node| node.key);
        nodes
    }

    /// One partner as it is now, by its place in the store; none while its rows
    /// do not agree with their digest.
    pub fn snapshot(&self, key: PartnerKey) -> Option<Arc<Snapshot>> {
        let nodes = self.nodes.load();
        let snapshot = nodes.values().find(|node| node.key == key).map(|node| node.snapshot());
        snapshot.filter(|snapshot| !snapshot.damaged)
    }

    /// Whether partners are not served because their rows do not agree with
    /// their digests.
    pub fn any_damaged(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    /// How many those are.
    pub fn damaged_partners(&self) -> usize {
        self.all_nodes().iter().filter(|node| node.damaged()).count()
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether the last look at the store succeeded, and how long ago one did.
    pub fn freshness(&self) -> (bool, Duration) {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        (self.following.load(Ordering::Relaxed), self.began.elapsed().saturating_sub(heard))
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether a number's row was left out, because it cannot be understood.
    pub fn left_out(&self, number: E164) -> bool {
        self.unreadable.load().contains(number)
    }

    /// How much was not understood. A row that was left out of what is served
    /// may have been met by a survey as well; it counts once.
    fn poisoned(&self) -> u64 {
        let left_out: u64 = self.tables.load().values().sum();
        let stuck = self.poisoned.load(Ordering::Relaxed).saturating_sub(left_out);
        stuck + self.unreadable_rows().values().sum::<u64>()
    }

    /// Tells readers how much was not understood, and of which numbers.
    fn count_poisoned(&self, follower: &FollowerState) {
        self.poisoned.store(follower.poisoned(), Ordering::Relaxed);
        self.tables.store(Arc::new(follower.tables()));
        self.refuse_damaged(follower);
        let of_partners = follower.troubles.values().map(|trouble| &trouble.poison.numbers);
        let mut left_out = LeftOut::default();
        for numbers in of_partners.chain([&follower.strays.numbers]) {
            numbers.0.iter().for_each(|(&first, &last)| left_out.add((first, last)));
        }
        if left_out != **self.unreadable.load() {
            self.unreadable.store(Arc::new(left_out));
        }
    }

    /// Has the store refuse writes to partners whose rows do not agree with
    /// their digests.
    fn refuse_damaged(&self, follower: &FollowerState) {
        let nodes = self.nodes.load();
        let damaged = nodes.values().filter(|node| follower.damaged(node.key));
        let named: BTreeMap<PartnerKey, Arc<str>> =
            damaged.map(|node| (node.key, node.auth_id.as_str().into())).collect();
        self.damaged.store(!named.is_empty(), Ordering::SeqCst);
        if named != self.store.health().damaged() {
            self.store.health().set_damaged(named);
        }
    }

    /// How much of what was committed is here.
    pub fn progress(&self) -> ReplicaProgress {
        let applied: HashMap<PartnerKey, u64> =
            self.nodes.load().values().map(|node| (node.key, node.snapshot().version)).collect();
        let heads = self.heads.load();
        let behind = |head: &LogHead| head.version.saturating_sub(applied.get(&head.key).copied().unwrap_or(0));
        ReplicaProgress {
            version: applied.values().sum(),
            lag: heads.iter().map(behind).sum(),
            poisoned: self.poisoned(),
            writable: self.following.load(Ordering::Relaxed) && self.store.writable(),
        }
    }

    /// How many rows of each table cannot be understood: those that were left
    /// out of what is served, and those that the store has met beside.
    pub fn unreadable_rows(&self) -> BTreeMap<&'static str, u64> {
        let mut tables = self.store.health().unreadable();
        for (table, rows) in self.tables.load().iter() {
            let count = tables.entry(*table).or_default();
            *count = (*count).max(*rows);
        }
        tables
    }

    /// Grows before a partner is gone, or under another id.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::SeqCst)
    }

    /// Applies what was committed since the last call, by anyone. A store that
    /// fails leaves everything as it was; the next call catches up.
    pub fn follow(&self) {
        self.follow_with(&mut self.follower.lock());
    }

    /// The same unless a partner has come to a version by now: of many who wrote
    /// together, one asks the store.
    pub fn reach(&self, key: PartnerKey, version: u64) {
        if !self.has_reached(key, version) {
            self.reach_with(key, version, &mut self.follower.lock());
        }
    }

    /// The same, but waits for other threads that follow for at most `patience`.
    /// Whether the partner is at the version, or after it.
    pub fn reach_within(&self, key: PartnerKey, version: u64, patience: Duration) -> bool {
        if !self.has_reached(key, version)
            && let Some(mut follower) = self.follower.try_lock_for(patience)
        {
            self.reach_with(key, version, &mut follower);
        }
        self.has_reached(key, version)
    }

    fn has_reached(&self, key: PartnerKey, version: u64) -> bool {
        let nodes = self.nodes.load();
        nodes.values().find(|node| node.key == key).is_some_and(|node| node.current().version >= version)
            || version == 0
    }

    fn reach_with(&self, key: PartnerKey, version: u64, follower: &mut FollowerState) {
        if !self.has_reached(key, version) {
            self.follow_with(follower);
        }
    }

    fn follow_with(&self, follower: &mut FollowerState) {
        follower.replaced.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        let caught_up = self.catch_up(follower);
        self.count_poisoned(follower);
        match caught_up {
            Ok(()) => {
                self.heard_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
                if !self.following.swap(true, Ordering::Relaxed) {
                    info!("the database answers again; caught up");
                }
            }
            Err(error) => {
                if self.following.swap(false, Ordering::Relaxed) {
                    error!(
                        error = &error as &dyn std::error::Error,
                        "cannot follow the database; serving what is in memory"
                    );
                }
            }
        }
    }

    fn catch_up(&self, follower: &mut FollowerState) -> Result<(), StoreError> {
        let heads = self.store.heads(follower.behind || follower.due())?;
        if let Some(heads) = &heads {
            self.heads.store(Arc::new(heads.clone()));
        }
        self.recognise(follower);
        if let Some(due) = follower.another {
            follower.behind = true;
            let began = Instant::now();
            if began < due {
                return Err(StoreError::Corrupt { what: "another database could not be loaded".to_owned() });
            }
            let salvaged = salvage(&*self.store, Load { only: None, numbers: true });
            let again = again(began);
            if matches!(salvaged, Err(StoreError::Corrupt { .. })) {
                follower.another = Some(again);
            }
            self.renew(follower, salvaged?, again);
            follower.another = None;
            return Ok(());
        }
        let Some(heads) = heads else { return Ok(()) };
        follower.behind = true;
        let nodes: HashMap<PartnerKey, Arc<Node>> = self.all_nodes().into_iter().map(|node| (node.key, node)).collect();
        let mut fresh = Vec::new();
        for &head in &heads {
            let node = nodes.get(&head.key);
            if let Some(snapshot) = self.reached(follower, head, node)? {
                fresh.extend(self.publish(follower, node, snapshot));
            }
        }
        let there: HashSet<PartnerKey> = heads.iter().map(|head| head.key).collect();
        self.settle(follower, fresh, |key| there.contains(&key));
        // Rows of a partner that is not there are nobody's.
        for (_, mut trouble) in follower.troubles.extract_if(|key, _| !there.contains(key)) {
            // Its own row is gone with it.
            trouble.poison.rows -= trouble.poison.tables.remove("partner").unwrap_or(0);
            follower.strays = std::mem::take(&mut follower.strays).and(trouble.poison);
        }
        follower.behind = false;
        Ok(())
    }

    /// Notes which database it was that answered.
    fn recognise(&self, follower: &mut FollowerState) {
        let Some(now) = self.store.incarnation() else { return };
        let Some(before) = follower.incarnation.replace(now) else { return };
        if now.system != before.system || now.timeline < before.timeline {
            error!(?before, ?now, "another database answers than before; loading all partners again");
            metrics::counter!("rollcall_resyncs_total").increment(1);
            follower.another = Some(Instant::now());
        } else if now.timeline > before.timeline {
            info!(timeline = now.timeline, "following a new primary");
        }
    }

    /// Gives a partner's readers its next snapshot; gives it back where it has to
    /// have a node of its own.
    fn publish(&self, follower: &mut FollowerState, node: Option<&Arc<Node>>, snapshot: Snapshot) -> Option<Snapshot> {
        let Some(node) = node.filter(|node| node.auth_id == snapshot.partner.auth_id) else { return Some(snapshot) };
        let version = snapshot.version;
        // One that was loaded afresh knows of no call.
        let mut snapshot = snapshot;
        snapshot.called = node.current().called.clone();
        self.directory.list(node, snapshot.groups_beyond(Some(&node.current())));
        follower.replaced.push(node.current.swap(Arc::new(snapshot)));
        node.stuck_since.store(0, Ordering::Relaxed);
        node.published.send_replace(version);
        None
    }

    /// The partner as the database has it, if that is to be served from now on.
    /// An error is the connection's, not this partner's.
    fn reached(
        &self,
        follower: &mut FollowerState,
        head: LogHead,
        node: Option<&Arc<Node>>,
    ) -> Result<Option<Snapshot>, StoreError> {
        let key = head.key;
        let began = Instant::now();
        let current = node.map(|node| node.snapshot());
        let same =
            current.as_ref().is_some_and(|current| (current.version, current.head) == (head.version, head.digest));
        if same {
            follower.free(key, node);
        }
        let trouble = follower.troubles.get(&key);
        let (due, stuck) = trouble.map_or((true, false), |trouble| (trouble.again <= began, trouble.stuck));
        match (same, trouble.is_some()) {
            (true, false) => return Ok(None),
            (true, true) if !due => return Ok(None),
            (true, true) => return self.reloaded(follower, key, node),
            (false, _) if stuck && !due => return Ok(None),
            (false, _) => {}
        }
        match self.advanced(head, current) {
            Ok(next) => {
                follower.free(key, node);
                Ok(Some(next))
            }
            Err(Setback::Store(StoreError::Corrupt { what })) => {
                follower.hold(key, node, &what, again(began));
                Ok(None)
            }
            Err(Setback::Store(error)) => Err(error),
            Err(Setback::Log(reason)) => {
                // It was loaded a moment ago, and is not whole.
                if let Some(trouble) = trouble.filter(|_| !due) {
                    let again = trouble.again;
                    follower.hold(key, node, &reason, again);
                    return Ok(None);
                }
                if !stuck {
                    error!(partner.key = %key, reason, "the log does not fit the index; loading the partner again");
                }
                metrics::counter!("rollcall_resyncs_total").increment(1);
                // What was made by going back from the old log is not its past.
                self.pasts.forget(key);
                self.reloaded(follower, key, node)
            }
        }
    }

    /// The partner loaded anew, if that is not what there is already.
    fn reloaded(
        &self,
        follower: &mut FollowerState,
        key: PartnerKey,
        node: Option<&Arc<Node>>,
    ) -> Result<Option<Snapshot>, StoreError> {
        let began = Instant::now();
        let salvaged = salvage(&*self.store, Load { only: Some(key), numbers: true });
        let again = again(began);
        let (mut snapshots, poison) = match salvaged {
            Ok(Salvaged { snapshots, poison, undigested }) => {
                self.keep(&undigested);
                (snapshots, poison)
            }
            Err(StoreError::Corrupt { what }) => {
                follower.hold(key, node, &what, again);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // It was asked for alone, so all that was left out is its own.
        let poison = poison.into_values().reduce(Poison::and).unwrap_or_default();
        let news = follower.left_out(key, poison, again);
        let Some(snapshot) = snapshots.remove(&key) else {
            if follower.troubles.contains_key(&key) {
                follower.hold(key, node, "the partner itself cannot be understood", again);
            }
            return Ok(None);
        };
        follower.free(key, node);
        let known = node.map(|node| node.snapshot()).is_some_and(|current| {
            (current.version, current.head, current.len()) == (snapshot.version, snapshot.head, snapshot.len())
        });
        Ok(Some(snapshot).filter(|_| news || !known))
    }

    /// Serves what was loaded of all partners, and nothing else.
    fn renew(&self, follower: &mut FollowerState, salvaged: Salvaged, again: Instant) {
        let Salvaged { snapshots, poison, undigested } = salvaged;
        self.keep(&undigested);
        follower.strays = Poison::default();
        follower.troubles.clear();
        for (key, poison) in poison {
            match key {
                Some(key) => {
                    follower.left_out(key, poison, again);
                }
                None => {
                    poison.tell();
                    follower.strays = std::mem::take(&mut follower.strays).and(poison);
                }
            }
        }
        let nodes: HashMap<PartnerKey, Arc<Node>> = self.all_nodes().into_iter().map(|node| (node.key, node)).collect();
        let there: HashSet<PartnerKey> = snapshots.keys().copied().collect();
        let mut fresh = Vec::new();
        for (key, snapshot) in snapshots {
            self.pasts.forget(key);
            fresh.extend(self.publish(follower, nodes.get(&key), snapshot));
        }
        self.settle(follower, fresh, |key| there.contains(&key));
    }

    /// Keeps digests of what a release before this one has written. What cannot
    /// be kept now is made again at the next load.
    fn keep(&self, undigested: &[(LogHead, RowDigest)]) {
        if undigested.is_empty() {
            return;
        }
        match self.store.keep_row_digests(undigested, false) {
            Ok(kept) => info!(partners = kept, "digests of the rows are kept from now on"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the digests of rows cannot be kept now; the next start makes them again");
            }
        }
    }

    /// Lets go of partners that are not there any more, and takes in those that
    /// need a node of their own, at one moment.
    fn settle(&self, follower: &mut FollowerState, fresh: Vec<Snapshot>, there: impl Fn(PartnerKey) -> bool) {
        let before = self.nodes.load_full();
        if fresh.is_empty() && before.values().all(|node| there(node.key)) {
            return;
        }
        let mut nodes = Nodes::clone(&before);
        nodes.retain(|auth_id, node| {
            if !there(node.key) {
                error!(partner.key = %node.key, "the database has no partner {auth_id} any more; it is not served");
                metrics::counter!("rollcall_resyncs_total").increment(1);
                self.pasts.forget(node.key);
                follower.troubles.remove(&node.key);
            }
            there(node.key) && fresh.iter().all(|snapshot| snapshot.key != node.key)
        });
        for snapshot in fresh {
            let node = Arc::new(Node::new(snapshot));
            self.directory.list(&node, node.current().groups_beyond(None));
            nodes.insert(node.auth_id.clone(), node);
        }
        let stays = |node: &Arc<Node>| nodes.get(&node.auth_id).is_some_and(|now| Arc::ptr_eq(now, node));
        let retired: Vec<Arc<Node>> = before.values().filter(|node| !stays(node)).cloned().collect();
        self.renewals.fetch_add(retired.len() as u64, Ordering::SeqCst);
        self.nodes.store(Arc::new(nodes));
        retired.iter().for_each(|node| node.retire());
        self.directory.strike(&retired);
    }

    /// The partner brought to its head, by the log.
    fn advanced(&self, head: LogHead, current: Option<Arc<Snapshot>>) -> Result<Snapshot, Setback> {
        let before = || current.as_ref().map(|snapshot| Snapshot::clone(snapshot));
        let version = current.as_ref().map_or(0, |snapshot| snapshot.version);
        // What was committed since the heads were read has its turn later.
        let own = self.store.own_entries(head.key, version, head.version);
        if !own.is_empty() {
            match self.advanced_by(head, before(), own) {
                // A database that another one took over from may have forgotten them.
                Err(Setback::Log(_)) => {}
                ended => return ended,
            }
        }
        self.advanced_by(head, before(), Vec::new())
    }

    /// The same, beginning with entries that are known.
    fn advanced_by(&self, head: LogHead, before: Option<Snapshot>, own: Vec<WholeEntry>) -> Result<Snapshot, Setback> {
        let version = before.as_ref().map_or(0, |snapshot| snapshot.version);
        let next = replayed(&*self.store, head.key, (before, own), head.version, &mut || ())?;
        match next {
            // Usually just reached; a log that was set back, or rewritten,
            // shows here.
            Some(next) if (next.version, next.head) == (head.version, head.digest) => Ok(next),
            Some(next) if version < head.version && next.version < head.version => {
                Err(Setback::Log(format!("the log ends at {}, before {}", next.version, head.version)))
            }
            Some(Snapshot { version, .. }) => {
                Err(Setback::Log(format!("version {version} is not what the log has at {}", head.version)))
            }
            None => Err(Setback::Log(format!("the log ends at 0, before {}", head.version))),
        }
    }

    /// Writes down when keys were last used.
    pub fn flush_key_uses(&self) -> Result<(), StoreError> {
        let mut uses = Vec::new();
        for node in self.nodes() {
            for (id, last) in node.uses.load().iter() {
                let seconds = last.swap(0, Ordering::Relaxed);
                if let Some(time) = Time::new(seconds).filter(|_| seconds > 0) {
                    uses.push((node.key, id.clone(), time));
                }
            }
        }
        if uses.is_empty() {
            return Ok(());
        }
        self.store.put_key_uses(&uses).inspect_err(|_| {
            // They are written with the next ones.
            for node in self.nodes() {
                for (_, id, time) in uses.iter().filter(|(key, _, _)| *key == node.key) {
                    node.used(id, *time);
                }
            }
        })
    }
}

/// When to try again what was begun then and has just ended.
fn again(began: Instant) -> Instant {
    let took = began.elapsed();
    began + took + AGAIN.max(took * AGAIN_TIMES)
}

/// How long ago that was, in seconds since the epoch.
fn since(seconds: i64) -> Duration {
    Duration::from_secs((Time::now().seconds() - seconds).max(0) as u64)
}

/// Why a partner could not be brought to its head.
pub(super) enum Setback {
    Store(StoreError),
    /// What is held and what the log says do not fit.
    Log(String),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Setback {
        Setback::Store(error)
    }
}

impl From<Misfit> for Setback {
    fn from(misfit: Misfit) -> Setback {
        Setback::Log(misfit.to_string())
    }
}

/// A partner with its log applied up to a version, or up to its end; none where
/// there is no entry and was no snapshot. `own` are the entries that come first, if
/// they are known. `progress` is called at each entry.
pub(super) fn replayed(
    store: &dyn Store,
    key: PartnerKey,
    (mut snapshot, own): (Option<Snapshot>, Vec<WholeEntry>),
    through: u64,
    progress: &mut dyn FnMut(),
) -> Result<Option<Snapshot>, Setback> {
    let known = snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
    let after = own.last().map_or(known, |entry| entry.version);
    let mut applying: Option<Applying> = None;
    let mut take = |piece| {
        match piece {
            LogPiece::Entry { version, entry, entities, previous } => {
                progress();
                match &mut applying {
                    Some(applying) => applying.apply(version, entry.at, &entities, &previous)?,
                    None => {
                        let before = match snapshot.take() {
                            Some(before) => before,
                            None => Snapshot::uncreated(key, &entities)?,
                        };
                        applying = Some(before.apply(version, entry.at, &entities, &previous)?);
                    }
                }
            }
            LogPiece::Numbers(numbers) => {
                if let Some(applying) = &mut applying {
                    applying.numbers(&numbers)?;
                }
            }
            LogPiece::End { digest } => {
                if let Some(applying) = &mut applying {
                    applying.end(digest);
                }
            }
        }
        Ok::<(), Setback>(())
    };
    own.into_iter().flat_map(WholeEntry::pieces).try_for_each(&mut take)?;
    store::follow(store, key, (after, through), take)?;
    match applying {
        Some(applying) => Ok(Some(applying.finish()?)),
        None => Ok(snapshot),
    }
}
