//! What is stored of one number, and what the Partner API makes of it.

use std::sync::Arc;

use super::{AccountId, ApplicationId, Country, Money, Time, TrunkId};

/// Where a number is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In stock: no account holds it, anyone may have it.
    Available,
    /// Promised to an account until a set time, then `available` again.
    Reserved,
    /// Held by an account and routing calls.
    Active,
    /// Held by an account and paused.
    Suspended,
    /// Released, and kept from reuse until a set time, then `available`.
    Quarantined,
    /// Gone from the inventory, free for anyone. Never stored: a retired number
    /// has no row, only a history.
    Retired,
}

/// What the Partner API says of a number: these two and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    Active,
    Suspended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    Local,
    Tollfree,
    Mobile,
}

/// A closed set of words: its members in the order they are documented.
macro_rules! words {
    ($name:ident: $($variant:ident $word:literal),+) => {
        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub fn parse(text: &str) -> Option<$name> {
                match text { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words!(State: Available "available", Reserved "reserved", Active "active", Suspended "suspended", Quarantined "quarantined", Retired "retired");
words!(Status: Active "active", Suspended "suspended");
words!(NumberType: Local "local", Tollfree "tollfree", Mobile "mobile");

impl State {
    /// Those that a stored number can be in: all but `retired`.
    pub const STORED: &[State] = State::ALL.split_at(State::ALL.len() - 1).0;

    /// Whether an account holds a number in this state.
    pub fn held(self) -> bool {
        match self {
            State::Active | State::Suspended => true,
            State::Available | State::Reserved | State::Quarantined | State::Retired => false,
        }
    }

    /// The state as of `now`: reservation and quarantine end by time, with no
    /// job having to run.
    pub fn at(self, until: Option<Time>, now: Time) -> State {
        match self {
            State::Reserved | State::Quarantined if until.is_some_and(|end| end <= now) => State::Available,
            state => state,
        }
    }
}

/// The most tags a number can have, and the most characters of one.
pub const TAGS_MAX: usize = 50;
pub const TAG_CHARS_MAX: usize = 64;

/// A tag as people give it, if it can be one: files separate tags by `;` and
/// `|`, so a tag has neither.
pub fn tag(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= TAG_CHARS_MAX;
    let plain = !text.chars().any(|c| c.is_control() || c == ';' || c == '|');
    (fits && plain).then(|| text.to_owned())
}

/// Labels on a number: sorted, each once.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Tags(Arc<[Arc<str>]>);

impl Tags {
    pub fn new(labels: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Tags {
        let mut labels: Vec<Arc<str>> = labels.into_iter().map(Into::into).collect();
        labels.sort();
        labels.dedup();
        Tags(labels.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|label| &**label)
    }

    /// The same, to be kept elsewhere without a copy of their text.
    pub fn shared(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }

    pub fn contains(&self, label: &str) -> bool {
        self.0.iter().any(|have| &**have == label)
    }
}

/// Everything that is stored of one number, but for the number itself and the
/// version that last changed it. This is also its image in the log.
///
/// Invariant: a number that an account holds (`state.held()`) has `account`,
/// `cost` and `assigned_at`; a reserved one has `account` (the one it is
/// promised to) and `until`; a quarantined one has `until`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Record {
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<TrunkId>,
    #[serde(rename = "type")]
    pub number_type: NumberType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the number came into its state.
    pub since: Time,
    /// When a reservation or a quarantine ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The moments of a record: what a number does not share with its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dates {
    pub assigned_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub since: Time,
    pub until: Option<Time>,
}

impl Record {
    /// A number in a state, of which nothing else is known.
    pub fn bare(state: State, number_type: NumberType, since: Time) -> Record {
        let (account, application, trunk, country, region) = (None, None, None, None, None);
        let (cost, assigned_at, expires_at, until, tags) = (None, None, None, None, Tags::default());
        Record {
            state,
            account,
            application,
            trunk,
            number_type,
            country,
            region,
            cost,
            assigned_at,
            expires_at,
            since,
            until,
            tags,
        }
    }

    pub fn dates(&self) -> Dates {
        let Record { assigned_at, expires_at, since, until, .. } = *self;
        Dates { assigned_at, expires_at, since, until }
    }

    /// The account that holds the number, if one does.
    pub fn holder(&self) -> Option<&AccountId> {
        if self.state.held() { self.account.as_ref() } else { None }
    }

    /// The record as a reader sees it at `now`: a reservation or quarantine that
    /// has ended by then has left the number available.
    pub fn as_of(&self, now: Time) -> Record {
        if self.state.at(self.until, now) == self.state {
            return self.clone();
        }
        let since = self.until.unwrap_or(self.since);
        Record { state: State::Available, account: None, since, until: None, ..self.clone() }
    }
}

/// The status on the wire: an expired number is suspended from that instant.
pub fn status(state: State, expires_at: Option<Time>, now: Time) -> Status {
    match state {
        State::Active if expires_at.is_none_or(|end| end > now) => Status::Active,
        State::Active | State::Suspended | State::Available | State::Reserved | State::Quarantined | State::Retired => {
            Status::Suspended
        }
    }
}
