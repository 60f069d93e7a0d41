//! Leases: work that one process does at a time.
//!
//! Each server on a database tries to acquire the leases of background work
//! ([`Leases::keep`]). The holder does the work and renews the lease; if the process
//! dies, another one acquires it after the lease has expired. Work with an end,
//! such as sending an email, is claimed for a fixed time ([`Leases::claim`]).
//!
//! Invariants: work that is started under a lease and finishes within its span
//! completes before another process can acquire the lease; a lease that is not
//! renewed ends within [`SURE`], its span and a second; acquiring, renewing and
//! releasing wait for other writers like any write, because a lease that was not
//! released refuses the next process.
//! A process that is paused and continues later does not know what it missed. So
//! correctness does not depend on leases: they save work and keep order, and each
//! write is conditional on the data that it was based on.
//! Deliberately absent: the work itself.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

use crate::service::token;
use crate::store::{Leased, Store, StoreError};

/// For how long who has a lease goes on beginning work without prolonging it.
pub const SURE: Duration = Duration::from_secs(7);
/// How often who does not have it asks for it.
const ASK: Duration = Duration::from_secs(2);
/// How much longer than asked for the engine's whole seconds make a lease.
const ROUNDING: Duration = Duration::from_secs(2);
/// How long a piece of work takes that waits for nobody but the database.
pub const SPAN: Duration = Duration::from_secs(5);

/// Under which name a process takes leases, and for how long.
#[derive(Clone)]
pub struct Leases {
    store: Arc<dyn Store>,
    /// `None` for the only server there can be: all work is its own.
    node: Option<Arc<str>>,
    sure: Duration,
}

impl Leases {
    /// Those of a server, under a name that no other process has.
    pub fn of_server(store: Arc<dyn Store>) -> Leases {
        let node = store.shared().then(|| name().into());
        Leases { store, node, sure: SURE }
    }

    /// Those of a process that is one of several on any database.
    pub fn of_process(store: Arc<dyn Store>) -> Leases {
        Leases::named(store, &name(), SURE)
    }

    pub fn named(store: Arc<dyn Store>, node: &str, sure: Duration) -> Leases {
        Leases { store, node: Some(node.into()), sure }
    }

    /// The name of this process among others.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Stands for a piece of work from now on. `span` is the longest time that
    /// anything takes that is begun while the lease is held.
    pub fn keep(&self, work: &str, span: Duration) -> Lease {
        let Some(node) = &self.node else { return Lease { kept: None } };
        let shared = self.share(work, node, span, true);
        // Here, so that who is alone need not wait for the thread.
        shared.ask_or_warn();
        Lease::kept(shared)
    }

    /// Claims a piece of work until the lease is dropped; `None` if another
    /// process, or this one, is at it. Once lost it stays lost.
    pub fn claim(&self, work: &str) -> Result<Option<Lease>, StoreError> {
        let shared = self.share(work, &name(), SPAN, false);
        Ok(shared.ask()?.then(|| Lease::kept(shared)))
    }

    fn share(&self, work: &str, holder: &str, span: Duration, standing: bool) -> Arc<SharedLease> {
        let (store, work, holder) = (self.store.clone(), work.to_owned(), holder.to_owned());
        let state = LeaseTerm { got: None, term: 0, failed: false, ended: false };
        let (state, woken) = (Mutex::new(state), Condvar::new());
        Arc::new(SharedLease { store, work, holder, sure: self.sure, span, standing, state, woken })
    }
}

/// The machine as it calls itself.
pub fn host() -> String {
    let read =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let host = read.unwrap_or_default().trim().to_owned();
    if host.is_empty() { "node".to_owned() } else { host }
}

/// A name that no other process has, and none of this one's past.
fn name() -> String {
    format!("{}-{}-{}", host(), std::process::id(), token::holder())
}

/// A lease, had or hoped for. Dropped, it is given back.
pub struct Lease {
    kept: Option<LeaseKeeper>,
}

struct LeaseKeeper {
    shared: Arc<SharedLease>,
    thread: Option<JoinHandle<()>>,
}

struct SharedLease {
    store: Arc<dyn Store>,
    work: String,
    holder: String,
    sure: Duration,
    span: Duration,
    /// Whether it is asked for again once it was lost.
    standing: bool,
    state: Mutex<LeaseTerm>,
    woken: Condvar,
}

struct LeaseTerm {
    /// From when it lasts, while it is held.
    got: Option<Instant>,
    /// Counts how often it was acquired, perhaps from another holder.
    term: u64,
    /// The store did not answer the last time; that is said once.
    failed: bool,
    ended: bool,
}

impl Lease {
    fn kept(shared: Arc<SharedLease>) -> Lease {
        let own = shared.clone();
        let thread = Some(std::thread::spawn(move || own.keep()));
        Lease { kept: Some(LeaseKeeper { shared, thread }) }
    }

    /// Whether other processes may do the same work; without them, it is always
    /// held.
    pub fn needed(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether a piece of work may be begun.
    pub fn held(&self) -> bool {
        self.term().is_some()
    }

    /// The same; it is another term when somebody else may have done some of
    /// the work in between.
    pub fn term(&self) -> Option<u64> {
        let Some(kept) = &self.kept else { return Some(0) };
        let state = kept.shared.state.lock();
        state.got.filter(|_| !state.ended).filter(|got| got.elapsed() < kept.shared.sure).map(|_| state.term)
    }

    /// The same, but asks the store where the last answer is too old. A renewal
    /// waits for other writers, so a lease may still be held although it was
    /// not renewed in time.
    pub fn confirm(&self) -> Result<Option<u64>, StoreError> {
        let term = self.term();
        match &self.kept {
            Some(kept) if term.is_none() && kept.shared.state.lock().got.is_some() => {
                kept.shared.ask()?;
                Ok(self.term())
            }
            Some(_) | None => Ok(term),
        }
    }

    /// Gives it back at once, while others still refer to it: from now on it is
    /// not held, and not asked for again.
    pub fn give_back(&self) {
        if let Some(kept) = &self.kept {
            kept.shared.give_back();
        }
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.state.lock().ended = true;
        shared.woken.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            let work = &shared.work;
            warn!(work, "a thread that kept a lease panicked");
        }
        // Again, since an answer may have come in between.
        shared.give_back();
    }
}

impl SharedLease {
    fn give_back(&self) {
        let SharedLease { store, work, holder, sure, span, state, woken, .. } = self;
        let got = {
            let mut state = state.lock();
            state.ended = true;
            state.got.take()
        };
        woken.notify_all();
        let lasts = got.is_some_and(|got| got.elapsed() <= *sure + *span + ROUNDING);
        if lasts && let Err(error) = store.end_lease(work, holder) {
            let error = &error as &dyn std::error::Error;
            warn!(error, work, "cannot give back the lease of {work}; it ends by time");
        }
    }

    fn keep(&self) {
        loop {
            let mut state = self.state.lock();
            let prolong = self.sure / 3;
            let fresh = state.got.map(|got| prolong.saturating_sub(got.elapsed()));
            let wait = fresh.filter(|left| !left.is_zero()).unwrap_or(ASK.min(prolong));
            if !state.ended {
                self.woken.wait_for(&mut state, wait);
            }
            if state.ended {
                return;
            }
            drop(state);
            self.ask_or_warn();
            if !self.standing && self.state.lock().got.is_none() {
                return;
            }
        }
    }

    fn ask_or_warn(&self) {
        let asked = self.ask();
        let failed_before = std::mem::replace(&mut self.state.lock().failed, asked.is_err());
        if let (Err(error), false) = (asked, failed_before) {
            let (work, error) = (&self.work, &error as &dyn std::error::Error);
            warn!(error, work, "cannot ask for the lease of {work}; retrying until the database answers");
        }
    }

    /// Acquires or renews the lease; whether it is held.
    fn ask(&self) -> Result<bool, StoreError> {
        // The engine counts whole seconds, and the first of them has begun.
        let seconds = (self.sure + self.span).as_secs_f64().ceil() as i64 + 1;
        let answer = self.store.lease(&self.work, &self.holder, seconds)?;
        let mut state = self.state.lock();
        let before = state.got;
        state.got = match answer {
            // Two answers may arrive in either order.
            Leased::Renewed { at } => before.max(Some(at)),
            Leased::Acquired { at } if self.standing || state.term == 0 => {
                state.term += 1;
                Some(at)
            }
            // Another process may have done the work: a claim is not made twice.
            Leased::Acquired { .. } | Leased::Refused => None,
        };
        let held = state.got.is_some();
        drop(state);
        let work = &self.work;
        match (before.is_some(), held) {
            (false, true) if self.standing => info!(work, "this node does {work}"),
            (true, false) => warn!(work, "another node does {work}"),
            (false | true, _) => {}
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, Location, Open};

    const SHORT: Duration = Duration::from_secs(1);

    fn soon(what: &str, wanted: impl Fn() -> bool) {
        let asked = Instant::now();
        while !wanted() {
            assert!(asked.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_lease_is_prolonged_given_back_and_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store::open(&Location::Sqlite(folder.path().join("a.db")), Open::Create).expect("a store");
        let node = |name| Leases::named(store.clone(), name, SHORT);
        let (one, two) = (node("one").keep("work", SHORT), node("two").keep("work", SHORT));
        soon("the first has it", || one.held());
        assert!(!two.held());
        // Longer than it would last by itself.
        let asked = Instant::now();
        while asked.elapsed() < SHORT * 5 {
            assert!(!two.held());
            std::thread::sleep(Duration::from_millis(20));
        }
        let term = one.confirm().expect("asked");
        assert!(term.is_some());
        // Taken away, it is another term when it comes back. The thread that keeps
        // it may ask between the two.
        soon("it is taken away", || {
            store.end_lease("work", "one").expect("ended");
            store.lease("work", "two", 5).expect("a lease").held()
        });
        soon("it is noticed", || !one.held() && two.held());
        drop(two);
        soon("it comes back", || one.held());
        assert_ne!(one.term(), term);
        // Given back, it is another's at once, although it is still referred to.
        one.give_back();
        assert!(!one.held() && node("three").keep("work", SHORT).held());
    }

    #[test]
    fn a_claim_is_one_processs_until_it_is_dropped_or_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store::open(&Location::Sqlite(folder.path().join("a.db")), Open::Create).expect("a store");
        let leases = Leases::named(store.clone(), "node", SHORT);
        let claim = |what| leases.claim(what).expect("asked");
        let first = claim("letter").expect("free");
        assert!(claim("letter").is_none() && claim("another letter").is_some());
        drop(first);
        let lost = claim("letter").expect("free again");
        let holder = store.leaseholder("letter").expect("asked").expect("somebody");
        soon("it is taken away", || {
            store.end_lease("letter", &holder).expect("ended");
            store.lease("letter", "thief", 60).expect("a lease").held()
        });
        soon("it is noticed", || !lost.held());
        store.end_lease("letter", "thief").expect("ended");
        // The time is the test: a renewal would come within it.
        std::thread::sleep(SHORT);
        assert!(!lost.held(), "once lost it stays lost");
    }

    #[test]
    fn the_only_server_there_can_be_has_all_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store::open(&Location::Sqlite(folder.path().join("a.db")), Open::Create).expect("a store");
        let leases = Leases::of_server(store.clone());
        assert!(leases.node().is_none() && leases.keep("work", SPAN).held());
        assert_eq!(store.leaseholder("work").expect("asked"), None);
    }
}
