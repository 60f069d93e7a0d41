//! What another server says of its numbers and accounts, in either dialect.
//!
//! `None` is null there, or nothing. Deliberately absent: how it is read, and what
//! becomes of it.

use std::sync::Arc;

use super::{AccountId, ApplicationId, Country, E164, Money, NumberType, Status, Tags, Time, TrunkId};

/// What many numbers say alike.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamFields {
    /// Whose it is; on an account's own list the server need not say.
    pub account: Option<AccountId>,
    pub account_name: Option<Arc<str>>,
    pub status: Status,
    pub application: Option<ApplicationId>,
    pub application_name: Option<Arc<str>>,
    pub trunk: Option<TrunkId>,
    pub number_type: Option<NumberType>,
    pub country: Option<Country>,
    pub region: Option<Arc<str>>,
    pub cost: Option<Money>,
    /// The dialect `data` has none in its lists.
    pub tags: Option<Tags>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamNumber {
    pub number: E164,
    pub assigned_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub said: UpstreamFields,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamAccount {
    pub auth_id: AccountId,
    pub name: Arc<str>,
    pub created_at: Option<Time>,
    /// Set if it is archived: then it has no numbers, and wants none.
    pub archived_at: Option<Time>,
    /// How many numbers it holds, if the server says so.
    pub numbers: Option<u64>,
}
