//! One entry of the append-only change log: actor, verb, numbers, time, and the
//! values before and after.
//!
//! A partner's changes are numbered 1, 2, 3… without gaps; the number is the
//! partner's version. Every node builds its index from the same entries by the
//! same path, so an entry holds all that a follower needs.

use std::fmt;
use std::sync::Arc;

use super::{
    Account, AccountId, Acknowledgement, Application, E164, Key, KeyId, NumberRun, Partner, PartnerKey, Record,
    Setting, State, Time, Trunk, UserId,
};

/// SHA-256 of a log entry; each entry holds its predecessor's.
pub type Digest = [u8; 32];

/// The predecessor's digest of a partner's first change.
pub const GENESIS: Digest = [0; 32];

/// Everything that one version of a partner changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub partner: PartnerKey,
    pub version: u64,
    pub at: Time,
    pub actor: Actor,
    pub request_id: Option<String>,
    pub verb: Verb,
    pub entities: Vec<EntityChange>,
    /// Sorted by number, each number once.
    pub numbers: Vec<NumberChange>,
}

/// One entry of the log with its place in the chain.
#[derive(Clone, PartialEq, Debug)]
pub struct Logged {
    pub change: Change,
    /// The digest of the partner's change before this one.
    pub previous: Digest,
    /// The digest of this one, computed from what was read.
    pub digest: Digest,
}

/// Who did it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A command on the server's machine: the user of that machine who ran it,
    /// and who logged in, if that was somebody else (`cli::operator`).
    Command { user: String },
    /// A request to the management API, under one of the partner's keys.
    Key { id: KeyId },
    /// Somebody who signed in. The log holds the id alone, so the address is
    /// empty in what was read from it.
    User { id: UserId, email: Arc<str> },
    /// Nobody asked: the server did it by itself.
    Server,
}

impl Actor {
    pub fn parse(text: &str) -> Option<Actor> {
        if text == "server" {
            return Some(Actor::Server);
        }
        match text.split_once(':')? {
            ("command", user) => Some(Actor::Command { user: user.to_owned() }),
            ("key", id) => Some(Actor::Key { id: KeyId::stored(id) }),
            ("user", id) => Some(Actor::User { id: UserId::stored(id), email: "".into() }),
            _ => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Command { user } => write!(f, "command:{user}"),
            Actor::Key { id } => write!(f, "key:{id}"),
            Actor::User { id, .. } => write!(f, "user:{id}"),
            Actor::Server => f.write_str("server"),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    PartnerCreate,
    PartnerSuspend,
    PartnerResume,
    AccountCreate,
    KeyCreate,
    KeyRevoke,
    Import,
    /// Numbers come into stock.
    Stock,
    Assign,
    /// A held number moves to another account.
    Transfer,
    Release,
    Suspend,
    Resume,
    Route,
    Renew,
    Reserve,
    Unreserve,
    Retire,
    Tag,
    Cost,
    /// A name changes, or something is archived or brought back.
    AccountEdit,
    ApplicationCreate,
    ApplicationEdit,
    TrunkCreate,
    TrunkEdit,
    Undo,
    Acknowledge,
    WebhookCreate,
    WebhookEdit,
    WebhookRemove,
    ScheduleCreate,
    ScheduleEdit,
    ScheduleRemove,
    /// What the partner has chosen for all of its numbers.
    SettingsEdit,
    /// A look at the inventory that this one mirrors.
    Sync,
}

super::number::words!(Verb:
    PartnerCreate "partner_create", PartnerSuspend "partner_suspend", PartnerResume "partner_resume",
    AccountCreate "account_create", KeyCreate "key_create", KeyRevoke "key_revoke", Import "import",
    Stock "stock", Assign "assign", Transfer "transfer", Release "release", Suspend "suspend", Resume "resume", Route "route",
    Renew "renew", Reserve "reserve", Unreserve "unreserve", Retire "retire", Tag "tag", Cost "cost",
    AccountEdit "account_edit", ApplicationCreate "application_create", ApplicationEdit "application_edit",
    TrunkCreate "trunk_create", TrunkEdit "trunk_edit", Undo "undo", Acknowledge "acknowledge",
    WebhookCreate "webhook_create", WebhookEdit "webhook_edit", WebhookRemove "webhook_remove",
    ScheduleCreate "schedule_create", ScheduleEdit "schedule_edit", ScheduleRemove "schedule_remove", SettingsEdit "settings_edit", Sync "sync"
);

/// One entity before and after; `before` is absent where it was created.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntityChange {
    Partner(Edit<Partner>),
    Account(Edit<Account>),
    Application(Edit<Application>),
    Trunk(Edit<Trunk>),
    Key(Edit<Key>),
    Acknowledgement(Edit<Acknowledgement>),
    Setting(Edit<Setting>),
}

#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Edit<T> {
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub before: Option<T>,
    pub after: T,
}

impl<T> Edit<T> {
    pub fn created(after: T) -> Edit<T> {
        Edit { before: None, after }
    }
}

/// One number before and after: absent before it came in and after it retired.
#[derive(Clone, PartialEq, Debug)]
pub struct NumberChange {
    pub number: E164,
    pub before: Option<Record>,
    pub after: Option<Record>,
}

impl NumberChange {
    /// The account that loses an active number by this, and since when it has
    /// not been active.
    pub fn loss(&self, at: Time) -> Option<(&AccountId, Time)> {
        loss(self.before.as_ref(), self.after.as_ref(), at)
    }
}

/// Numbers that ascend by one and changed alike.
#[derive(Clone, PartialEq, Debug)]
pub struct RunChange {
    pub first: E164,
    pub count: u64,
    pub before: Option<Record>,
    pub after: Option<Record>,
}

impl From<NumberChange> for RunChange {
    fn from(change: NumberChange) -> RunChange {
        let NumberChange { number, before, after } = change;
        RunChange { first: number, count: 1, before, after }
    }
}

impl RunChange {
    /// Changes, sorted, each number once, with neighbours that changed alike as one.
    pub fn all(changes: impl IntoIterator<Item = NumberChange>) -> Vec<RunChange> {
        let mut runs: Vec<RunChange> = Vec::new();
        for NumberChange { number, before, after } in changes {
            match runs.last_mut() {
                Some(run) if run.next() == number.digits() && run.before == before && run.after == after => {
                    run.count += 1;
                }
                _ => runs.push(RunChange { first: number, count: 1, before, after }),
            }
        }
        runs
    }

    pub fn run(&self) -> NumberRun {
        NumberRun { first: self.first, count: self.count }
    }

    /// The same change of some of its numbers.
    pub fn of(&self, run: NumberRun) -> RunChange {
        RunChange { first: run.first, count: run.count, before: self.before.clone(), after: self.after.clone() }
    }

    /// The digits after its last number.
    pub fn next(&self) -> u64 {
        self.first.digits() + self.count
    }

    /// Each of its numbers.
    pub fn numbers(&self) -> impl Iterator<Item = NumberChange> {
        let change = |number| NumberChange { number, before: self.before.clone(), after: self.after.clone() };
        (self.first.digits()..self.next()).filter_map(E164::new).map(change)
    }

    /// As [`NumberChange::loss`], of any of its numbers.
    pub fn loss(&self, at: Time) -> Option<(&AccountId, Time)> {
        loss(self.before.as_ref(), self.after.as_ref(), at)
    }
}

fn loss<'a>(before: Option<&'a Record>, after: Option<&'a Record>, at: Time) -> Option<(&'a AccountId, Time)> {
    let before = before.filter(|record| record.state == State::Active)?;
    let account = before.holder()?;
    let keeps = after.filter(|record| record.state == State::Active).and_then(Record::holder) == Some(account);
    (!keeps).then(|| (account, before.expires_at.map_or(at, |end| end.min(at))))
}
