//! Every partner's inventory in this node's memory, kept up with the log.
//!
//! Loaded once, then patched from the log by [`Replica::follow`]: this node's
//! own commits and everybody else's come by the same path. Readers take a
//! snapshot and never wait. When the log does not fit what is held (a gap, a
//! broken chain, a version that went back), the partner is loaded afresh
//! beside the one that serves, then swapped.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info};

use crate::domain::{KeyId, PartnerId, PartnerKey, Time};
use crate::inventory::{Image, Loader, Snapshot};
use crate::service::past::Pasts;
use crate::store::{Batch, BatchRow, Head, Load, Loaded, Store, StoreError};

/// How many log entries are read at a time.
const LOG_PAGE: usize = 256;
/// How many batches of rows may wait to be indexed while more are read.
const BATCHES_AHEAD: usize = 8;

/// One partner on this node.
pub struct Node {
    pub key: PartnerKey,
    current: ArcSwap<Snapshot>,
    /// The version of `current`, once readers can have it.
    published: watch::Sender<u64>,
    /// When each key was last used, in seconds; written to the store now and
    /// then by [`Replica::flush_key_uses`].
    uses: ArcSwap<HashMap<KeyId, AtomicI64>>,
}

impl Node {
    fn new(snapshot: Snapshot) -> Node {
        let uses = ArcSwap::from_pointee(HashMap::new());
        let published = watch::Sender::new(snapshot.version);
        Node { key: snapshot.key, current: ArcSwap::from_pointee(snapshot), published, uses }
    }

    /// The partner as it is now. Costs a reference count.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Wakes whenever another version can be read.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
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
    follower: Mutex<Follower>,
    /// Snapshots of earlier versions that were asked for.
    pub(super) pasts: Pasts,
    /// When the store last answered, in seconds since the epoch.
    heard_at: AtomicI64,
    /// Whether the last attempt to follow succeeded.
    following: AtomicBool,
}

/// What only the following thread touches.
#[derive(Default)]
struct Follower {
    /// Whether the last attempt left something undone.
    behind: bool,
    /// Snapshots that were replaced. They are freed here, when no reader has
    /// them any more, so that readers do not pay for it.
    replaced: Vec<Arc<Snapshot>>,
}

/// Every partner's snapshot as the store has it now. One thread reads rows
/// while this one puts what was read into the index.
pub fn load(store: &dyn Store, what: Load) -> Result<HashMap<PartnerKey, Snapshot>, StoreError> {
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
        Ok(loading.loaders.into_iter().map(|loader| (loader.snapshot.key, loader.finish())).collect())
    })
}

/// Snapshots in the making.
#[derive(Default)]
struct Loading {
    loaders: Vec<Loader>,
    places: HashMap<PartnerKey, usize>,
}

impl Loading {
    fn take(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        match loaded {
            Loaded::Partner { head, partner } => {
                self.places.insert(head.key, self.loaders.len());
                self.loaders.push(Loader::new(Snapshot::empty(head.key, head.version, head.digest, partner)));
            }
            Loaded::Account(key, account, lost_at) => {
                let snapshot = self.snapshot(key)?;
                if let Some(at) = lost_at {
                    Arc::make_mut(&mut snapshot.lost).insert(account.auth_id.clone(), at);
                }
                Arc::make_mut(&mut snapshot.accounts).put(account);
            }
            Loaded::Application(key, application) => {
                Arc::make_mut(&mut self.snapshot(key)?.applications).put(application);
            }
            Loaded::Trunk(key, trunk) => Arc::make_mut(&mut self.snapshot(key)?.trunks).put(trunk),
            Loaded::Key(partner, key) => Arc::make_mut(&mut self.snapshot(partner)?.keys).put(key),
            Loaded::Acknowledgement(key, one) => Arc::make_mut(&mut self.snapshot(key)?.acknowledgements).put(one),
            Loaded::Setting(key, setting) => Arc::make_mut(&mut self.snapshot(key)?.settings).put(setting),
            Loaded::Numbers(batch) => self.numbers(&batch)?,
        }
        Ok(())
    }

    fn place(&self, key: PartnerKey) -> Result<usize, StoreError> {
        let missing = || StoreError::Corrupt { what: format!("a row of partner {key}, which does not exist") };
        self.places.get(&key).copied().ok_or_else(missing)
    }

    fn snapshot(&mut self, key: PartnerKey) -> Result<&mut Snapshot, StoreError> {
        let place = self.place(key)?;
        Ok(&mut self.loaders[place].snapshot)
    }

    fn numbers(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let misfit = |misfit| StoreError::Corrupt { what: format!("{misfit}") };
        let mut images: Vec<Option<(usize, Image)>> = vec![None; batch.images.len()];
        for &BatchRow { number, version, image, dates } in &batch.rows {
            let known = &mut images[image as usize];
            let (place, image) = match *known {
                Some(known) => known,
                None => {
                    let (key, record) = &batch.images[image as usize];
                    let place = self.place(*key)?;
                    *known.insert((place, self.loaders[place].image(number, record).map_err(misfit)?))
                }
            };
            self.loaders[place].place(number, version, image, dates).map_err(misfit)?;
        }
        Ok(())
    }
}

impl Replica {
    pub fn load(store: Arc<dyn Store>) -> Result<Replica, StoreError> {
        let nodes = load(&*store, Load { only: None, numbers: true })?
            .into_values()
            .map(|snapshot| (snapshot.partner.auth_id.clone(), Arc::new(Node::new(snapshot))))
            .collect::<Nodes>();
        Ok(Replica {
            store,
            nodes: ArcSwap::from_pointee(nodes),
            follower: Mutex::default(),
            pasts: Pasts::default(),
            heard_at: AtomicI64::new(Time::now().seconds()),
            following: AtomicBool::new(true),
        })
    }

    pub fn node(&self, auth_id: &str) -> Option<Arc<Node>> {
        self.nodes.load().get(auth_id).cloned()
    }

    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<Arc<Node>> = self.nodes.load().values().cloned().collect();
        nodes.sort_by_key(|node| node.key);
        nodes
    }

    /// One partner as it is now, by its place in the store.
    pub fn snapshot(&self, key: PartnerKey) -> Option<Arc<Snapshot>> {
        let nodes = self.nodes.load();
        nodes.values().find(|node| node.key == key).map(|node| node.snapshot())
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether the last look at the store succeeded, and how long ago one did.
    pub fn freshness(&self) -> (bool, Duration) {
        let age = Time::now().seconds() - self.heard_at.load(Ordering::Relaxed);
        (self.following.load(Ordering::Relaxed), Duration::from_secs(age.max(0) as u64))
    }

    /// Applies what was committed since the last call, by anyone. A store that
    /// fails leaves everything as it was; the next call catches up.
    pub fn follow(&self) {
        let mut follower = self.follower.lock();
        follower.replaced.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        match self.catch_up(&mut follower) {
            Ok(()) => {
                self.heard_at.store(Time::now().seconds(), Ordering::Relaxed);
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

    fn catch_up(&self, follower: &mut Follower) -> Result<(), StoreError> {
        let Some(heads) = self.store.heads(follower.behind)? else { return Ok(()) };
        follower.behind = true;
        let nodes: HashMap<PartnerKey, Arc<Node>> = self.nodes().into_iter().map(|node| (node.key, node)).collect();
        for head in heads {
            let node = nodes.get(&head.key);
            let current = node.map(|node| node.snapshot());
            if current.as_ref().is_some_and(|current| (current.version, current.head) == (head.version, head.digest)) {
                continue;
            }
            let next = match self.advanced(head, current) {
                Ok(next) => Some(next),
                Err(Setback::Store(error)) => return Err(error),
                Err(Setback::Log(reason)) => {
                    error!(partner.key = %head.key, reason, "the log does not fit the index; loading the partner afresh");
                    metrics::counter!("rollcall_resyncs_total").increment(1);
                    // What was made by going back from the old log is not its past.
                    self.pasts.forget(head.key);
                    load(&*self.store, Load { only: Some(head.key), numbers: true })?.remove(&head.key)
                }
            };
            if let Some(next) = next {
                self.publish(follower, node, next);
            }
        }
        follower.behind = false;
        Ok(())
    }

    /// The partner brought to its head, by the log.
    fn advanced(&self, head: Head, current: Option<Arc<Snapshot>>) -> Result<Snapshot, Setback> {
        let mut snapshot: Option<Snapshot> = current.map(|snapshot| (*snapshot).clone());
        loop {
            let version = snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
            if version >= head.version {
                // Usually just reached; a log that was set back, or rewritten,
                // shows here.
                return match snapshot {
                    Some(snapshot) if (version, snapshot.head) == (head.version, head.digest) => Ok(snapshot),
                    _ => Err(Setback::Log(format!("version {version} is not what the log has at {}", head.version))),
                };
            }
            let log = self.store.log(head.key, version, LOG_PAGE).map_err(Setback::Store)?;
            if log.is_empty() {
                return Err(Setback::Log(format!("the log ends at {version}, before {}", head.version)));
            }
            // What was committed since the heads were read has its turn later.
            for logged in log.iter().filter(|logged| logged.change.version <= head.version) {
                let next = match &snapshot {
                    Some(snapshot) => snapshot.applied(logged),
                    None => Snapshot::created(logged),
                };
                snapshot = Some(next.map_err(|misfit| Setback::Log(misfit.to_string()))?);
            }
        }
    }

    fn publish(&self, follower: &mut Follower, node: Option<&Arc<Node>>, snapshot: Snapshot) {
        match node {
            Some(node) => {
                let version = snapshot.version;
                follower.replaced.push(node.current.swap(Arc::new(snapshot)));
                node.published.send_replace(version);
            }
            None => {
                let node = Arc::new(Node::new(snapshot));
                self.nodes.rcu(|nodes| {
                    let mut nodes = Nodes::clone(nodes);
                    nodes.insert(node.snapshot().partner.auth_id.clone(), node.clone());
                    nodes
                });
            }
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

/// Why a partner could not be brought to its head.
enum Setback {
    Store(StoreError),
    /// What is held and what the log says do not fit.
    Log(String),
}
