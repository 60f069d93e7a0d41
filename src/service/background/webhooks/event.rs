//! What a webhook is told: kinds of events, their ids, their bodies and their
//! signatures.
//!
//! An event about a change is made from the log when it is sent, and is the
//! same bytes each time; its id follows from the partner and the version.
//! Signatures are those of Standard Webhooks: HMAC-SHA256 over id, timestamp
//! and body, once with each secret that holds.
//! Invariant: a secret is shown by [`SigningSecret::reveal`] and by nothing else.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::domain::entity::hex_digest;
use crate::domain::{PartnerId, Time, Verb};
use crate::service::token;
use crate::store::LoggedChange;
use crate::wire::past::{self, EntryHead, ListedChange};

/// A digest of what the checks found.
pub const ALERT: &str = "alert";
/// Somebody wants to see whether events arrive.
pub const TEST: &str = "webhook.test";
/// A webhook was switched off by the server; the partner's others hear of it.
pub const OFF: &str = "webhook.off";

/// How many numbers, and how many entities, of a change an event shows.
pub const SHOWN_MAX: usize = 100;

/// Every kind of event: the verbs of the log by their own words, and these.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    Verb::ALL.iter().map(|verb| verb.as_str()).chain([ALERT, TEST, OFF])
}

/// When an event of a kind is sent, for the reference.
pub fn meaning(kind: &str) -> &'static str {
    match kind {
        "partner_create" => "The partner was created.",
        "partner_suspend" => "The partner was suspended: its keys and its calls are refused.",
        "partner_resume" => "The partner was resumed.",
        "account_create" => "A customer was created.",
        "account_edit" => "A customer was renamed, archived or restored.",
        "application_create" => "An application was created.",
        "application_edit" => "An application was renamed, archived, restored, or its destinations changed.",
        "trunk_create" => "A trunk was created.",
        "trunk_edit" => "A trunk was renamed, archived, restored, or its destinations changed.",
        "key_create" => "An API key was created.",
        "key_revoke" => "An API key was revoked.",
        "import" => "A file was imported, or a batch of it.",
        "stock" => "Numbers came into stock.",
        "assign" => "Numbers were given to a customer.",
        "transfer" => "Numbers moved to another customer.",
        "release" => "Numbers were taken back; they are in quarantine.",
        "suspend" => "Numbers were suspended.",
        "resume" => "Numbers were resumed.",
        "route" => "The application or the trunk of numbers changed.",
        "renew" => "The expiry of numbers changed.",
        "reserve" => "Numbers were reserved for a customer.",
        "unreserve" => "Reservations ended.",
        "retire" => "Numbers left the inventory permanently.",
        "tag" => "The tags of numbers changed.",
        "cost" => "The monthly cost of numbers changed.",
        "undo" => "An earlier change was undone.",
        "acknowledge" => "A finding was acknowledged, or an acknowledgement was withdrawn.",
        "webhook_create" => "A webhook was created.",
        "webhook_edit" => "A webhook was changed, or switched on or off.",
        "webhook_remove" => "A webhook was removed.",
        "schedule_create" => "A schedule was created.",
        "schedule_edit" => "A schedule was changed, or switched on or off.",
        "schedule_remove" => "A schedule was removed.",
        "settings_edit" => "A setting of the partner changed, such as its billing zone.",
        "sync" => "A mirror took over changes of its upstream server.",
        ALERT => "A schedule has run: the findings of its checks.",
        TEST => "A user or a client tests the webhook.",
        OFF => "The server switched another webhook of the partner off.",
        _ => "",
    }
}

pub fn known(kind: &str) -> bool {
    kinds().any(|known| known == kind)
}

/// The id of the event about a change: the same on every node and for every
/// attempt. The time is in it so that a database that was set back to a backup
/// and went another way does not use an id again.
pub fn change_id(partner: &PartnerId, version: u64, at: Time) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rollcall change\0");
    hash.update(partner.as_str().as_bytes());
    hash.update([0]);
    hash.update(version.to_le_bytes());
    hash.update(at.seconds().to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    format!("evt_{}", &hex_digest::text(&digest)[..32])
}

/// An event's body but for what it is about.
#[derive(Clone, Copy)]
pub struct EventEnvelope<'a> {
    pub id: &'a str,
    pub kind: &'a str,
    pub at: Time,
    pub partner: &'a PartnerId,
    /// The partner's version that the event belongs to.
    pub version: u64,
}

impl EventEnvelope<'_> {
    fn begin(self) -> Vec<u8> {
        let EventEnvelope { id, kind, at, partner, version } = self;
        let head = serde_json::json!({
            "id": id, "type": kind, "at": at, "partner_auth_id": partner, "version": version,
        });
        let mut body = head.to_string().into_bytes();
        body.pop();
        body.extend_from_slice(b",\"data\":");
        body
    }

    /// `data` is JSON.
    pub fn body(self, data: &str) -> Vec<u8> {
        let mut body = self.begin();
        body.extend_from_slice(data.as_bytes());
        body.push(b'}');
        body
    }

    /// With a change as the changes of a partner show it.
    pub fn change(self, change: &LoggedChange) -> Vec<u8> {
        let mut body = self.begin();
        let entry = &change.entry;
        let head = EntryHead {
            version: change.version,
            at: entry.at,
            verb: entry.verb,
            actor: &entry.actor,
            request_id: entry.request_id.as_deref(),
        };
        past::change(
            &mut body,
            ListedChange {
                head,
                entities_total: change.entities.len() as u64,
                entities: &change.entities[..change.entities.len().min(SHOWN_MAX)],
                numbers_total: change.total,
                numbers: &change.numbers[..change.numbers.len().min(SHOWN_MAX)],
            },
        );
        body.push(b'}');
        body
    }
}

/// What a webhook's events are signed with. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

impl SigningSecret {
    const PREFIX: &str = "whsec_";
    const BYTES: usize = 32;

    pub fn generate() -> SigningSecret {
        let bytes: [u8; SigningSecret::BYTES] = token::bytes();
        SigningSecret(format!("{}{}", SigningSecret::PREFIX, BASE64.encode(bytes)))
    }

    /// The secret's text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `v1,` and the signature in base64.
    fn sign(&self, id: &str, at: Time, body: &[u8]) -> String {
        let key =
            self.0.strip_prefix(SigningSecret::PREFIX).and_then(|text| BASE64.decode(text).ok()).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{}.", at.seconds()).as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secrets of a webhook, as they are kept beside the log.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Secrets {
    pub current: SigningSecret,
    /// The one before, and until when it is used as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<(SigningSecret, Time)>,
}

impl Secrets {
    /// The headers that go with a body.
    pub fn headers(&self, id: &str, at: Time, body: &[u8]) -> [(&'static str, String); 3] {
        let mut signatures = self.current.sign(id, at, body);
        if let Some((previous, until)) = &self.previous
            && at < *until
        {
            signatures.push(' ');
            signatures.push_str(&previous.sign(id, at, body));
        }
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at.seconds().to_string()),
            ("webhook-signature", signatures),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Time {
        Time::new(seconds).expect("a time")
    }

    /// The example of the Standard Webhooks specification's own libraries.
    #[test]
    fn a_signature_is_the_one_that_others_make() {
        let secret = SigningSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time(1_614_265_330), br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn both_secrets_sign_until_the_old_one_ends() {
        let (current, previous) = (SigningSecret::generate(), SigningSecret::generate());
        assert_ne!(current, previous);
        assert_eq!(BASE64.decode(&current.reveal()["whsec_".len()..]).map(|key| key.len()), Ok(32));
        let secrets = Secrets { current: current.clone(), previous: Some((previous.clone(), time(1_000))) };
        let both = format!("{} {}", current.sign("evt_1", time(999), b"{}"), previous.sign("evt_1", time(999), b"{}"));
        assert_eq!(secrets.headers("evt_1", time(999), b"{}")[2].1, both);
        assert_eq!(secrets.headers("evt_1", time(1_000), b"{}")[2].1, current.sign("evt_1", time(1_000), b"{}"));
        assert!(!format!("{secrets:?}").contains(&current.reveal()[6..]), "{secrets:?}");
    }

    #[test]
    fn ids_follow_from_the_change() {
        let partner: PartnerId = "PA_1".parse().expect("an id");
        let other: PartnerId = "PA_2".parse().expect("an id");
        let id = change_id(&partner, 7, time(5));
        assert_eq!(id, change_id(&partner, 7, time(5)));
        assert_eq!(id.len(), "evt_".len() + 32);
        for different in
            [change_id(&partner, 8, time(5)), change_id(&other, 7, time(5)), change_id(&partner, 7, time(6))]
        {
            assert_ne!(id, different);
        }
    }
}
