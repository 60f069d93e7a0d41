//! The settings of a partner: its webhooks, its schedules, the inventory that it
//! mirrors.
//!
//! Settings are changes in the log, so their actor is known and every node sees
//! them.
//! Invariant: a setting has no secrets; those are documents outside the log, where
//! they can be replaced and deleted. Deliberately absent: the work of a setting, and
//! its progress.

use std::sync::Arc;

use super::quarantine::Quarantine;
use super::runs::NumberRun;
use super::{AccountId, Time};

/// The ids of settings that a partner has one of at most.
pub const QUARANTINE: &str = "quarantine";
pub const BILLING: &str = "billing";

/// One thing that was chosen.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Setting {
    /// Unique within the partner, and never used again.
    pub id: Arc<str>,
    pub created_at: Time,
    /// Set once it is removed; it stays in the log's reach, and in no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Time>,
    #[serde(flatten)]
    pub choice: Choice,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Choice {
    Webhook(Webhook),
    Schedule(Schedule),
    Mirror(Mirror),
    /// For how long the partner's released numbers are kept from reuse; where
    /// it is not chosen, the server's own setting holds.
    Quarantine(Quarantine),
    /// In whose days and months the partner's bills are, and what of an expired
    /// number is charged.
    Billing(Billing),
}

impl Choice {
    /// What it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Choice::Webhook(_) => "webhook",
            Choice::Schedule(_) => "schedule",
            Choice::Mirror(_) => "mirror",
            Choice::Quarantine(_) => "quarantine",
            Choice::Billing(_) => "billing",
        }
    }
}

/// What was chosen for bills, oldest first. Each choice counts from the month
/// after the one in which it was made, so all of them are kept: last year's
/// bills follow last year's choice. Before the first, the zone is UTC and
/// expired numbers are charged.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Billing {
    pub choices: Vec<BillingChoice>,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct BillingChoice {
    pub chosen_at: Time,
    /// The IANA name of the zone.
    pub zone: Arc<str>,
    pub after_expiry: AfterExpiry,
}

/// What becomes of the rental of a number that has expired and is still held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterExpiry {
    /// It is charged on, and its lines say so.
    #[default]
    Charge,
    /// It ends with the day before the one on which the number expired.
    Stop,
}

super::number::words!(AfterExpiry: Charge "charge", Stop "stop");

/// An address that is told what happens.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Webhook {
    pub name: Arc<str>,
    /// An https address, as it was given.
    pub url: Arc<str>,
    /// The kinds of events it wants; all, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "DeliveryOrder::is_default")]
    pub order: DeliveryOrder,
    /// Set while nothing is sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Off>,
    /// When its secret was last replaced; the secret itself is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Time>,
    /// How often it was, so that each time is a change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rotations: u64,
}

/// What an event of a webhook waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryOrder {
    /// Earlier events of the same numbers, and of entities.
    Number,
    /// All earlier events. So are webhooks that were made before there was a
    /// choice.
    #[default]
    Endpoint,
}

super::number::words!(DeliveryOrder: Number "number", Endpoint "endpoint");

impl DeliveryOrder {
    fn is_default(&self) -> bool {
        *self == DeliveryOrder::default()
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Webhook {
    /// Whether it wants events of this kind.
    pub fn wants(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|wanted| &**wanted == event)
    }
}

/// Since when, and why, something is switched off.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Off {
    pub at: Time,
    pub reason: Arc<str>,
}

/// When the checks are run, and who hears of what they find.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    pub name: Arc<str>,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: Arc<str>,
    /// The IANA name of the zone that the fields are in.
    pub zone: Arc<str>,
    /// Email addresses, each of which gets one digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Arc<str>>,
    /// What is looked for; everything, if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Arc<str>>,
    /// How far ahead expiries are seen, in seconds.
    pub within: i64,
    pub report: ReportPolicy,
    /// Whether what is new is told between runs as well.
    pub alerts: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Off>,
}

/// When a run is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportPolicy {
    /// If anything is found.
    #[default]
    Findings,
    /// Also if nothing is: a sign of life.
    Always,
}

super::number::words!(ReportPolicy: Findings "findings", Always "always");

/// The inventory elsewhere that this one is a copy of.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Mirror {
    pub url: Arc<str>,
    /// Whose inventory it is there.
    pub auth_id: Arc<str>,
    /// When it was last looked at and found to differ.
    pub looked_at: Time,
    /// What came and went of late, for the checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MovedNumbers>,
    /// What came and went and is not named, because it is too much: at most
    /// one of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<Unnamed>,
}

/// Whether numbers came into a mirrored inventory or went from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Movement {
    Vanished,
    Appeared,
}

/// Numbers of one account that one look at the original found to have moved.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct MovedNumbers {
    pub way: Movement,
    pub at: Time,
    /// Who held them when they went, or when they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    pub runs: Vec<NumberRun>,
}

/// How many numbers moved that no [`MovedNumbers`] names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Unnamed {
    pub way: Movement,
    /// When the last of them did.
    pub at: Time,
    pub count: u64,
}

impl Setting {
    pub fn webhook(&self) -> Option<&Webhook> {
        match &self.choice {
            Choice::Webhook(webhook) => Some(webhook),
            Choice::Schedule(_) | Choice::Mirror(_) | Choice::Quarantine(_) | Choice::Billing(_) => None,
        }
    }

    pub fn schedule(&self) -> Option<&Schedule> {
        match &self.choice {
            Choice::Schedule(schedule) => Some(schedule),
            Choice::Webhook(_) | Choice::Mirror(_) | Choice::Quarantine(_) | Choice::Billing(_) => None,
        }
    }

    pub fn mirror(&self) -> Option<&Mirror> {
        match &self.choice {
            Choice::Mirror(mirror) => Some(mirror),
            Choice::Webhook(_) | Choice::Schedule(_) | Choice::Quarantine(_) | Choice::Billing(_) => None,
        }
    }

    pub fn quarantine(&self) -> Option<&Quarantine> {
        match &self.choice {
            Choice::Quarantine(quarantine) => Some(quarantine).filter(|_| self.removed_at.is_none()),
            Choice::Webhook(_) | Choice::Schedule(_) | Choice::Mirror(_) | Choice::Billing(_) => None,
        }
    }

    pub fn billing(&self) -> Option<&Billing> {
        match &self.choice {
            Choice::Billing(billing) => Some(billing),
            Choice::Webhook(_) | Choice::Schedule(_) | Choice::Mirror(_) | Choice::Quarantine(_) => None,
        }
    }
}
