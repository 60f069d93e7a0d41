//! The entities of a partner besides numbers: accounts, applications, trunks,
//! keys, and the partner itself.

use std::sync::Arc;

use ipnet::IpNet;

use super::number::words;
use super::{AccountId, ApplicationId, Destinations, KeyId, PartnerId, Time, TrunkId};

/// The most characters a name can have.
pub const NAME_CHARS_MAX: usize = 200;

/// A name as people give it, without the spaces around it; `None` if it is
/// empty, too long, or has control characters.
pub fn name(text: &str) -> Option<Arc<str>> {
    let fits = !text.trim().is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    (fits && !text.chars().any(char::is_control)).then(|| text.trim().into())
}

/// A reseller: the tenant that everything else belongs to.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Partner {
    pub auth_id: PartnerId,
    pub name: Arc<str>,
    pub created_at: Time,
    /// Set while the partner is suspended: its keys then open nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_at: Option<Time>,
}

/// A customer of a partner.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Account {
    pub auth_id: AccountId,
    pub name: Arc<str>,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Time>,
}

/// What a number routes to.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Application {
    pub id: ApplicationId,
    pub name: Arc<str>,
    /// The account it belongs to; without one it serves all of the partner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Time>,
    /// Where calls to its numbers go. As with all fields that came later, the
    /// log has it only where there is one, so older entries keep their bytes.
    #[serde(default, skip_serializing_if = "Destinations::is_empty")]
    pub destinations: Destinations,
    /// An https address that is handed on to readers and never called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_url: Option<Arc<str>>,
}

/// The SIP trunk that calls to a number arrive on.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Trunk {
    pub id: TrunkId,
    pub name: Arc<str>,
    /// As in [`Application`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Time>,
    /// Where calls go whose application has no destination.
    #[serde(default, skip_serializing_if = "Destinations::is_empty")]
    pub destinations: Destinations,
}

/// Which of the two a [`RouteEntity`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    Application,
    Trunk,
}

words!(RouteKind: Application "application", Trunk "trunk");

impl RouteKind {
    /// What its id is called where numbers refer to it.
    pub fn id_field(self) -> &'static str {
        match self {
            RouteKind::Application => "application_id",
            RouteKind::Trunk => "trunk_id",
        }
    }
}

/// An application or a trunk, which have the same life: a name, perhaps the one
/// account that they are for, and destinations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteEntity {
    pub kind: RouteKind,
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub account: Option<AccountId>,
    pub created_at: Time,
    pub archived_at: Option<Time>,
    pub destinations: Destinations,
    /// Of applications only.
    pub answer_url: Option<Arc<str>>,
}

impl From<Application> for RouteEntity {
    fn from(application: Application) -> RouteEntity {
        let Application { id, name, account, created_at, archived_at, destinations, answer_url } = application;
        let (kind, id) = (RouteKind::Application, id.as_str().into());
        RouteEntity { kind, id, name, account, created_at, archived_at, destinations, answer_url }
    }
}

impl From<Trunk> for RouteEntity {
    fn from(trunk: Trunk) -> RouteEntity {
        let Trunk { id, name, account, created_at, archived_at, destinations } = trunk;
        let (kind, id, answer_url) = (RouteKind::Trunk, id.as_str().into(), None);
        RouteEntity { kind, id, name, account, created_at, archived_at, destinations, answer_url }
    }
}

impl From<RouteEntity> for Application {
    fn from(route: RouteEntity) -> Application {
        let RouteEntity { id, name, account, created_at, archived_at, destinations, answer_url, .. } = route;
        let id = ApplicationId::stored(&id);
        Application { id, name, account, created_at, archived_at, destinations, answer_url }
    }
}

impl From<RouteEntity> for Trunk {
    fn from(route: RouteEntity) -> Trunk {
        let RouteEntity { id, name, account, created_at, archived_at, destinations, .. } = route;
        Trunk { id: TrunkId::stored(&id), name, account, created_at, archived_at, destinations }
    }
}

/// Somebody has seen a finding of the checks and wants no more of it, for now.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Acknowledgement {
    /// The id of the finding.
    pub finding: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// When the finding comes back; never, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Who did it, as the log names them.
    pub by: Arc<str>,
    pub at: Time,
}

impl Acknowledgement {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Time) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// What a key may do. `manage` includes `read`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Read,
    Manage,
}

words!(Scope: Read "read", Manage "manage");

/// In which of the platform's two shapes lists of numbers are answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// `data` and `meta`: the specification's.
    #[default]
    Data,
    /// `items`, with the paging beside them: what the platform's SDKs read.
    Items,
}

words!(Dialect: Data "data", Items "items");

/// One of a partner's credentials. The token itself is not kept, only its
/// SHA-256, so it is shown once and can only be replaced.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Key {
    pub id: KeyId,
    pub name: Arc<str>,
    #[serde(with = "hex_digest")]
    pub token_sha256: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The networks it may be used from; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Time>,
    /// How it is answered. The log says it only where it is not the default,
    /// so that entries of before there was a choice have the bytes they had.
    #[serde(default, skip_serializing_if = "Dialect::is_default")]
    pub dialect: Dialect,
}

impl Dialect {
    fn is_default(&self) -> bool {
        *self == Dialect::default()
    }
}

impl Key {
    /// Whether the key opens anything at `now`.
    pub fn live(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }

    pub fn allows(&self, wanted: Scope) -> bool {
        self.scopes.iter().any(|&scope| scope >= wanted)
    }
}

/// 32 bytes as 64 hexadecimal digits.
pub mod hex_digest {
    use serde::Deserialize;

    pub fn text(bytes: &[u8]) -> String {
        let digits = b"0123456789abcdef";
        bytes
            .iter()
            .flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]])
            .map(char::from)
            .collect()
    }

    pub fn parse(text: &str) -> Option<[u8; 32]> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(bytes)
    }

    pub fn serialize<S: serde::Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(bytes))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| serde::de::Error::custom("must be 64 hexadecimal digits"))
    }
}
