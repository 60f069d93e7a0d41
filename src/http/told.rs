//! The headers of every answer to a tenant: the version of the inventory that the
//! answer was made from, its age while this node cannot poll the database, and the
//! remaining requests of the key.
//!
//! The handler knows the tenant; the headers are added in one place, where answers
//! leave, so that errors have them as well. Unauthenticated callers get none.

use std::cell::Cell;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::domain::PartnerId;

/// The version of a partner's inventory, on every answer to it.
pub const INVENTORY_VERSION: HeaderName = HeaderName::from_static("inventory-version");

tokio::task_local! {
    /// What the answer under way tells.
    pub static TOLD: ResponseMeta;
}

#[derive(Default)]
pub struct ResponseMeta {
    version: Cell<Option<u64>>,
    age: Cell<Option<Duration>>,
    budget: Cell<Option<Budget>>,
    /// Not a header: the partner in the access log.
    partner: Cell<Option<PartnerId>>,
}

/// The answer is made from this version, or made it.
pub fn version(version: u64) {
    tell(|told| told.version.set(Some(version)));
}

/// For how long nothing has been heard that could be newer; `None` if that is
/// not worth saying.
pub fn age(age: Option<Duration>) {
    tell(|told| told.age.set(age));
}

/// The credentials opened this partner.
pub fn partner(partner: &PartnerId) {
    tell(|told| told.partner.set(Some(partner.clone())));
}

pub fn budget(budget: Budget) {
    tell(|told| told.budget.set(Some(budget)));
}

fn tell(what: impl FnOnce(&ResponseMeta)) {
    // A stream is answered long after its request; nobody listens then.
    let _ = TOLD.try_with(what);
}

impl ResponseMeta {
    pub fn partner(&self) -> Option<PartnerId> {
        self.partner.take()
    }

    pub fn put(&self, status: StatusCode, headers: &mut HeaderMap) {
        if let Some(version) = self.version.get() {
            headers.insert(INVENTORY_VERSION, HeaderValue::from(version));
        }
        if let Some(age) = self.age.get() {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        // A 404 is the same for every key, so it has no rate headers.
        if let Some(budget) = self.budget.take().filter(|_| status != StatusCode::NOT_FOUND) {
            budget.put(headers);
        }
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The remaining requests of a key.
#[derive(Clone)]
pub struct Budget {
    pub policy: HeaderValue,
    pub left: u32,
    /// Seconds until the budget is whole again.
    pub whole_in_s: u32,
}

impl Budget {
    fn put(self, headers: &mut HeaderMap) {
        let Budget { policy, left, whole_in_s } = self;
        if let Ok(value) = HeaderValue::try_from(format!("\"requests\";r={left};t={whole_in_s}")) {
            headers.insert(RATE_LIMIT, value);
            headers.insert(RATE_LIMIT_POLICY, policy);
        }
    }
}
