//! Who may come in: the one place that turns credentials into a partner.
//!
//! Everything a request can read hangs on the [`Access`] this gives out, so
//! the tenant comes from the credentials and from nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use subtle::{Choice, ConstantTimeEq};

use crate::domain::{Dialect, Key, KeyId, Scope, Time};
use crate::inventory::Snapshot;
use crate::service::replica::{Node, Replica};
use crate::service::token;

/// What valid credentials open: one partner, as of one version.
pub struct Access {
    pub node: Arc<Node>,
    pub snapshot: Arc<Snapshot>,
    pub key: KeyId,
    pub scopes: Vec<Scope>,
    /// How it is answered.
    pub dialect: Dialect,
}

/// Why credentials open nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// Missing, unknown, wrong, expired or revoked: not told apart.
    Credentials,
    /// They are right, but the partner is suspended.
    Suspended,
    /// They are right, but not from this network.
    Network,
    /// They are right, but the key lacks the scope.
    Scope,
    /// They are those of a key, but the partner's rows do not agree with their
    /// digest, so that nothing they say holds.
    Damaged,
}

impl Replica {
    /// Checks credentials. Takes the same time whether the partner, the key or
    /// neither exists: the token is hashed in any case and compared with every
    /// key of the partner; if the partner is unknown, one dummy comparison is made.
    pub fn authenticate(
        &self,
        auth_id: &str,
        auth_token: &[u8],
        from: IpAddr,
        wanted: Scope,
        now: Time,
    ) -> Result<Access, Denied> {
        let digest = token::sha256(auth_token);
        let node = self.node(auth_id);
        let snapshot = node.as_ref().map(|node| node.snapshot());
        let mut found: Option<&Key> = None;
        let nobody = [0; 32];
        let mut any: Choice = digest.ct_eq(&nobody);
        for key in snapshot.iter().flat_map(|snapshot| snapshot.keys.iter()) {
            let same = digest.ct_eq(&key.token_sha256);
            any |= same;
            if bool::from(same) && key.live(now) {
                found = Some(key);
            }
        }
        // The damage may be in the key itself: it identifies the caller and grants nothing.
        if bool::from(any) && snapshot.as_ref().is_some_and(|snapshot| snapshot.damaged) {
            return Err(Denied::Damaged);
        }
        let (Some(node), Some(snapshot), Some(key), true) = (&node, &snapshot, found, bool::from(any)) else {
            return Err(Denied::Credentials);
        };
        if snapshot.partner.suspended_at.is_some() {
            return Err(Denied::Suspended);
        }
        let from = from.to_canonical();
        // A network may have been written as IPv4 mapped into IPv6.
        let mapped = match from {
            IpAddr::V4(from) => IpAddr::V6(from.to_ipv6_mapped()),
            IpAddr::V6(_) => from,
        };
        let within = |network: &IpNet| network.contains(&from) || network.contains(&mapped);
        if !key.networks.is_empty() && !key.networks.iter().any(within) {
            return Err(Denied::Network);
        }
        if !key.allows(wanted) {
            return Err(Denied::Scope);
        }
        node.used(&key.id, now);
        let (key, scopes, dialect) = (key.id.clone(), key.scopes.clone(), key.dialect);
        Ok(Access { node: node.clone(), snapshot: snapshot.clone(), key, scopes, dialect })
    }
}
