//! Keeps net changes: for each complete span of versions, what its changes did together,
//! so that inventories of the past need not read the log (`replica::past`).
//!
//! The latest span that has no row comes first, since most questions go back from the
//! present. Each call makes one row, and its caller pauses between calls, so a long
//! log after an upgrade takes a share of a core and holds nobody up.
//! Invariant: rows follow from the log alone, so it does not matter which process makes
//! them, nor how often.
//! Deliberately absent: the replacement of damaged rows. `verify` names them; once a row
//! is deleted, it is made again.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::debug;

use crate::domain::PartnerKey;
use crate::service::replica::net_change::{NotNet, net_change};
use crate::service::{Replica, Service, ServiceError};
use crate::store::Store;

/// How many versions a span has. At each end of a question, half of one is read from
/// the log on average.
pub const SPAN: u64 = 8_192;
/// How many entities a net change has at most, and how large its body is.
const ENTITIES_MAX: usize = 8_192;
const BYTES_MAX: usize = 16 << 20;

/// What a call found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetChangesMade {
    One,
    /// There is nothing to do until more is written, or another process is at it.
    None,
}

impl Service {
    /// Makes the row of one span that has none, unless `stop` comes true meanwhile.
    pub fn keep_net_change(&self, replica: &Replica, stop: &AtomicBool) -> Result<NetChangesMade, ServiceError> {
        if !self.store().health().writable() {
            return Ok(NetChangesMade::None);
        }
        for node in replica.nodes() {
            let snapshot = node.snapshot();
            // What does not agree with its digest is not taken for the truth.
            if snapshot.damaged {
                continue;
            }
            let Some(last) = latest_without(&**self.store(), node.key, snapshot.version, SPAN)? else { continue };
            // The only server there can be needs no leave.
            let lease = if self.store().shared() { self.leases.claim("net changes")? } else { None };
            if lease.is_none() && self.store().shared() {
                return Ok(NetChangesMade::None);
            }
            let wanted = || !stop.load(Ordering::Relaxed);
            return match keep(&**self.store(), node.key, (last - SPAN, last), &wanted) {
                Err(ServiceError::Abandoned) => Ok(NetChangesMade::None),
                done => done.map(|()| NetChangesMade::One),
            };
        }
        Ok(NetChangesMade::None)
    }
}

/// Makes the rows of all complete spans up to a version, latest first.
pub fn keep_all(store: &dyn Store, key: PartnerKey, version: u64, span: u64) -> Result<(), ServiceError> {
    while let Some(last) = latest_without(store, key, version, span)? {
        keep(store, key, (last - span, last), &|| true)?;
    }
    Ok(())
}

/// The last version of the latest complete span that has no row.
fn latest_without(store: &dyn Store, key: PartnerKey, version: u64, span: u64) -> Result<Option<u64>, ServiceError> {
    let complete = version / span;
    if complete == 0 {
        return Ok(None);
    }
    let ends = store.net_change_ends(key)?;
    let missing = |last: &u64| ends.binary_search(last).is_err();
    Ok((1..=complete).rev().map(|at| at * span).find(missing))
}

/// Keeps what the changes after a version and up to another did together; where that is
/// too large, that the log is to be read: its entries are large then, and as quick.
fn keep(
    store: &dyn Store,
    key: PartnerKey,
    (after, through): (u64, u64),
    wanted: &dyn Fn() -> bool,
) -> Result<(), ServiceError> {
    let net = match net_change(store, key, (after, through), wanted) {
        Ok(net) => Some(net).filter(|net| net.entities.len() <= ENTITIES_MAX && net.body.len() <= BYTES_MAX),
        Err(NotNet::Large) => None,
        Err(NotNet::Failed(error)) => return Err(error),
    };
    match &net {
        Some(net) => store.put_net_change(key, net)?,
        None => store.put_log_span(key, after + 1, through)?,
    }
    let bytes = net.map(|net| net.body.len());
    debug!(partner.key = %key, bytes, "kept the net change up to version {through}");
    Ok(())
}
