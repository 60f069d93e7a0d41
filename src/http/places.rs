//! How many long answers, streams, uploads and searches there may be at once: of a
//! session or key, of a partner, and of an address.
//!
//! Each of them holds memory, disk or a processor for as long as its client or
//! its inventory likes, so that requests per second are no limit to them.
//! Invariant: a place that was taken is given back when its owner is dropped.
//! Deliberately absent: limits across nodes. Each counts its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::ApiError;
use crate::config;
use crate::domain::{KeyId, PartnerKey};

/// What there may be so many of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PlaceKind {
    /// Whole lists of numbers: CSV and NDJSON.
    Export,
    /// Files of the console.
    Download,
    Upload,
    /// Changes as they happen.
    Stream,
    /// Searches by name, which compare all names of a partner.
    Search,
}

impl PlaceKind {
    fn many(self) -> &'static str {
        match self {
            PlaceKind::Export => "exports",
            PlaceKind::Download => "downloads",
            PlaceKind::Upload => "uploads",
            PlaceKind::Stream => "change streams",
            PlaceKind::Search => "searches",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PlaceOwner {
    Session(Arc<str>),
    Key(PartnerKey, KeyId),
    Partner(PartnerKey),
    Address(IpAddr),
}

impl PlaceOwner {
    fn text(&self) -> &'static str {
        match self {
            PlaceOwner::Session(_) => "this session",
            PlaceOwner::Key(..) => "this key",
            PlaceOwner::Partner(_) => "this partner",
            PlaceOwner::Address(_) => "this address",
        }
    }
}

/// Searches end by themselves, so these are no settings.
const SEARCHES: Most = Most { own: 3, partner: 4, address: 0 };

/// The most of a kind; 0 is no limit.
#[derive(Clone, Copy, Default, Debug)]
struct Most {
    own: usize,
    partner: usize,
    address: usize,
}

/// The places of this process.
pub struct Places {
    most: [Most; 5],
    open: Mutex<HashMap<(PlaceKind, PlaceOwner), usize>>,
}

/// Why there is no place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{owner} has {max} {what} open already, and may have no more; let one end first", owner = owner.text(), what = kind.many())]
pub struct NoPlace {
    kind: PlaceKind,
    owner: PlaceOwner,
    max: usize,
}

/// When to ask again, in seconds.
pub const RETRY_SECONDS: u64 = 5;

impl From<NoPlace> for ApiError {
    fn from(taken: NoPlace) -> ApiError {
        ApiError::rate_limit_because(RETRY_SECONDS, taken.to_string())
    }
}

impl Places {
    pub fn new(limits: &config::Limits) -> Arc<Places> {
        let exports = Most {
            own: limits.exports_per_session,
            partner: limits.exports_per_partner,
            address: limits.exports_per_address,
        };
        let downloads = Most {
            own: limits.downloads_per_session,
            partner: limits.downloads_per_partner,
            address: limits.downloads_per_address,
        };
        let uploads = Most {
            own: limits.uploads_per_session,
            partner: limits.uploads_per_partner,
            address: limits.uploads_per_address,
        };
        let streams = Most {
            own: limits.streams_per_key,
            partner: limits.streams_per_partner,
            address: limits.streams_per_address,
        };
        Arc::new(Places { most: [exports, downloads, uploads, streams, SEARCHES], open: Mutex::default() })
    }

    /// A place for all three, or the first owner that has all of its places
    /// taken.
    pub fn enter(
        self: &Arc<Places>,
        kind: PlaceKind,
        own: PlaceOwner,
        partner: PartnerKey,
        address: IpAddr,
    ) -> Result<HeldPlace, NoPlace> {
        let most = self.most[kind as usize];
        let owners = [own, PlaceOwner::Partner(partner), PlaceOwner::Address(address)];
        let mut open = self.open.lock();
        for (owner, max) in owners.iter().zip([most.own, most.partner, most.address]) {
            if max > 0 && open.get(&(kind, owner.clone())).is_some_and(|count| *count >= max) {
                return Err(NoPlace { kind, owner: owner.clone(), max });
            }
        }
        for owner in &owners {
            *open.entry((kind, owner.clone())).or_default() += 1;
        }
        Ok(HeldPlace { places: self.clone(), kind, owners })
    }

    #[cfg(test)]
    pub fn unlimited() -> Arc<Places> {
        Arc::new(Places { most: [Most::default(); 5], open: Mutex::default() })
    }

    #[cfg(test)]
    pub fn test_place(self: &Arc<Places>) -> HeldPlace {
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        self.enter(PlaceKind::Export, PlaceOwner::Address(nowhere), PartnerKey(1), nowhere).expect("a place")
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }
}

/// A place that is given back on drop.
pub struct HeldPlace {
    places: Arc<Places>,
    kind: PlaceKind,
    owners: [PlaceOwner; 3],
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let mut open = self.places.open.lock();
        for owner in &self.owners {
            let of = (self.kind, owner.clone());
            if let Some(count) = open.get_mut(&of) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&of);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_its_own_limit_and_places_come_back() {
        let most = Most { own: 1, partner: 2, address: 3 };
        let places = Arc::new(Places { most: [most; 5], open: Mutex::default() });
        let enter = |kind, session: &str, partner, host| {
            let own = PlaceOwner::Session(session.into());
            places.enter(kind, own, PartnerKey(partner), IpAddr::from([192, 0, 2, host]))
        };
        let first = enter(PlaceKind::Download, "a", 1, 1).expect("a place");
        let text = |taken: Result<HeldPlace, NoPlace>| taken.map(drop).expect_err("no place").to_string();
        assert!(text(enter(PlaceKind::Download, "a", 1, 2)).starts_with("this session has 1 downloads open"));
        let second = enter(PlaceKind::Download, "b", 1, 1).expect("a place");
        assert!(text(enter(PlaceKind::Download, "c", 1, 2)).starts_with("this partner has 2 downloads"));
        let third = enter(PlaceKind::Download, "d", 2, 1).expect("a place");
        assert!(text(enter(PlaceKind::Download, "e", 3, 1)).starts_with("this address has 3 downloads"));
        // Another kind is counted apart.
        drop(enter(PlaceKind::Upload, "a", 1, 1).expect("a place"));
        drop((first, second, third));
        assert_eq!(places.count(), 0);
        enter(PlaceKind::Download, "a", 1, 1).expect("a place again");
    }
}
