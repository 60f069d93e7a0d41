//! The rate limit of a key, and its headers.
//!
//! Each key has a burst that refills at a steady rate (the generic cell rate
//! algorithm). Every answer to the key has the remaining requests, in the fields
//! `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10:
//! a client can slow down before it is refused.
//! Deliberately absent: limits across nodes. Each counts its own.

use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use http::header::HeaderValue;

use super::error::ApiError;
use super::told::{self, Budget};
use crate::domain::{KeyId, PartnerKey};

type Key = (PartnerKey, KeyId);

/// A rate and its burst; `None` if the rate is 0, which is no limit.
pub fn quota(rate: u32, burst: u32) -> Option<Quota> {
    let rate = NonZeroU32::new(rate)?;
    Some(Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate)))
}

/// The requests of every key.
pub struct Budgets {
    limiter: RateLimiter<Key, DefaultKeyedStateStore<Key>, DefaultClock, StateInformationMiddleware>,
    rate: u32,
    burst: u32,
    policy: HeaderValue,
}

impl Budgets {
    pub fn new(rate: u32, burst: u32) -> Option<Budgets> {
        let quota = quota(rate, burst)?;
        let burst = quota.burst_size().get();
        let policy = format!("\"requests\";q={burst};w={}", burst.div_ceil(rate));
        let policy = HeaderValue::try_from(policy).expect("digits and punctuation");
        Some(Budgets { limiter: RateLimiter::keyed(quota).with_middleware(), rate, burst, policy })
    }

    /// Takes one request from a key's budget, or refuses it.
    pub fn take(&self, key: &Key) -> Result<(), ApiError> {
        // To a hundredth of the burst: precise enough to slow down by, and two
        // answers in a row are mostly alike to the byte.
        let step = (self.burst / 100).max(1);
        let budget = |left: u32| Budget {
            policy: self.policy.clone(),
            left: left / step * step,
            whole_in_s: (self.burst - left.min(self.burst)).div_ceil(self.rate),
        };
        match self.limiter.check_key(key) {
            Ok(state) => {
                told::budget(budget(state.remaining_burst_capacity()));
                Ok(())
            }
            Err(early) => {
                told::budget(budget(0));
                let wait = early.wait_time_from(DefaultClock::default().now());
                Err(ApiError::rate_limit(wait.as_secs() + 1))
            }
        }
    }

    /// Lets go of keys that have been quiet.
    pub fn forget_quiet(&self) {
        self.limiter.retain_recent();
    }
}
