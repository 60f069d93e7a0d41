//! The settings of HTTP that change while the server runs.
//!
//! Invariant: every request reads one whole value of each setting; a change
//! applies to the next request and closes no connection.
//! Deliberately absent: which settings these are ([`crate::config::LIVE`]), and
//! when they are read (`cli::serve`).

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use ipnet::IpNet;

use super::budget::{Budgets, quota};
use crate::config::{AccessLog, Config, Limits};

pub struct LiveSettings {
    trusted_proxies: ArcSwap<Vec<IpNet>>,
    /// Requests of each key; `None` is no limit.
    budgets: ArcSwapOption<Budgets>,
    /// Failed authentications of each address; `None` is no limit.
    failures: ArcSwapOption<DefaultKeyedRateLimiter<IpAddr>>,
    access: ArcSwap<AccessLog>,
}

impl LiveSettings {
    pub fn new(config: &Config) -> LiveSettings {
        LiveSettings {
            trusted_proxies: ArcSwap::from_pointee(config.http.trusted_proxies.clone()),
            budgets: ArcSwapOption::new(budgets(&config.limits)),
            failures: ArcSwapOption::new(failures(&config.limits)),
            access: ArcSwap::from_pointee(config.log.access),
        }
    }

    /// Takes over what differs between two settings. A limiter whose rate stays
    /// keeps what it has counted.
    pub fn change(&self, old: &Config, new: &Config) {
        self.trusted_proxies.store(Arc::new(new.http.trusted_proxies.clone()));
        self.access.store(Arc::new(new.log.access));
        let (before, now) = (&old.limits, &new.limits);
        if (before.requests_per_second, before.requests_burst) != (now.requests_per_second, now.requests_burst) {
            self.budgets.store(budgets(now));
        }
        let rates = |limits: &Limits| (limits.failed_auth_per_second, limits.failed_auth_burst);
        if rates(before) != rates(now) {
            self.failures.store(failures(now));
        }
    }

    pub fn trusted_proxies(&self) -> Guard<Arc<Vec<IpNet>>> {
        self.trusted_proxies.load()
    }

    pub(super) fn budgets(&self) -> Guard<Option<Arc<Budgets>>> {
        self.budgets.load()
    }

    pub(super) fn failures(&self) -> Guard<Option<Arc<DefaultKeyedRateLimiter<IpAddr>>>> {
        self.failures.load()
    }

    pub fn access(&self) -> AccessLog {
        **self.access.load()
    }

    /// Lets go of keys and addresses that have been quiet.
    pub(super) fn forget_quiet(&self) {
        if let Some(budgets) = &*self.budgets() {
            budgets.forget_quiet();
        }
        if let Some(failures) = &*self.failures() {
            failures.retain_recent();
        }
    }
}

fn budgets(limits: &Limits) -> Option<Arc<Budgets>> {
    Budgets::new(limits.requests_per_second, limits.requests_burst).map(Arc::new)
}

fn failures(limits: &Limits) -> Option<Arc<DefaultKeyedRateLimiter<IpAddr>>> {
    quota(limits.failed_auth_per_second, limits.failed_auth_burst).map(|quota| Arc::new(RateLimiter::keyed(quota)))
}
