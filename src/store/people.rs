//! Users, their sessions and the audit trail, which are stored outside every
//! partner's log.
//!
//! Tokens, links and recovery codes are stored only as SHA-256; a password is an
//! Argon2id string. The secret of a second factor is stored unencrypted, because
//! codes are computed from it and an encryption key would be on the same machine.
//!
//! Invariant: one write at a time, over all processes, so that the data that a draft
//! has read still holds when it writes ("is this the last owner?"); a draft is
//! written completely or not at all.
//! Deliberately absent: permissions (`service::people`).

pub(super) mod tables;

use std::net::IpAddr;
use std::sync::Arc;

use super::{Abort, LogEntry, StoreError};
use crate::domain::change::Edit;
use crate::domain::{EntityChange, PartnerKey, Setting, Time, User, UserId};

/// SHA-256 of a secret.
pub type SecretDigest = [u8; 32];

/// Somebody as the store has them: with what signing in is checked against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredUser {
    /// Whose `two_factor` and `password_set` are told by the fields below.
    pub user: User,
    /// A PHC string; `None` until one was chosen.
    pub password: Option<String>,
    pub totp: Option<Totp>,
    /// A second factor that was offered and is not confirmed.
    pub totp_offer: Option<Vec<u8>>,
}

/// A second factor that is in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Totp {
    pub secret: Vec<u8>,
    /// The step of the last code that was accepted; codes up to it are used up.
    pub step: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredSession {
    /// Of its token.
    pub digest: SecretDigest,
    pub user: UserId,
    pub created_at: Time,
    /// To the minute.
    pub seen_at: Time,
    pub from: IpAddr,
    /// Whether a code is still due: such a session opens nothing yet.
    pub code_due: bool,
}

/// A set-up link, good for choosing a password once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLink {
    pub digest: SecretDigest,
    pub user: UserId,
    pub created_at: Time,
    pub expires_at: Time,
}

/// Whose password, session or link it is, and whether their partner is active.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub user: StoredUser,
    pub partner_suspended: bool,
}

/// One accepted or refused action. No secrets, and no names of what somebody
/// who is not let in asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    pub at: Time,
    /// Whose people may read it; without one, administrators only.
    pub partner: Option<PartnerKey>,
    /// As an actor is written in the log (`user:us_…`, `command:root`), or
    /// `anonymous`.
    pub who: Arc<str>,
    /// In short dotted words, such as `user.sign_in` or `number.assign`.
    pub what: Arc<str>,
    /// What it was done to, such as a user's id or a number.
    pub about: Option<Arc<str>>,
    /// Why it was refused; `None` if it was accepted.
    pub refused: Option<Arc<str>>,
    pub from: Option<IpAddr>,
    pub request_id: Option<Arc<str>>,
}

/// An entry with its place in the trail; higher is later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audited {
    pub id: u64,
    pub entry: AuditEntry,
}

/// The audit entry of a write to a partner's log that changes credentials: keys,
/// the secrets of webhooks, or whether the partner's keys open anything. Each
/// store writes it in the transaction of the change, whichever verb made it.
pub(super) fn audit_of(partner: PartnerKey, entry: &LogEntry, entities: &[EntityChange]) -> Option<AuditEntry> {
    let (what, about) = credentials(entities)?;
    Some(AuditEntry {
        at: entry.at,
        partner: Some(partner),
        who: entry.actor.to_string().into(),
        what: what.into(),
        about: Some(about.into()),
        refused: None,
        from: entry.from,
        request_id: entry.request_id.as_deref().map(Into::into),
    })
}

/// What was done to credentials, and to which. A key that is rotated is one
/// deed, though two keys change.
fn credentials(entities: &[EntityChange]) -> Option<(&'static str, String)> {
    match entities {
        [EntityChange::Key(Edit { before: Some(old), .. }), EntityChange::Key(Edit { before: None, after: new })] => {
            Some(("key.rotate", format!("{} to {}", old.id, new.id)))
        }
        entities => entities.iter().find_map(credential),
    }
}

fn credential(entity: &EntityChange) -> Option<(&'static str, String)> {
    match entity {
        EntityChange::Partner(Edit { before, after }) => {
            let was_suspended = before.as_ref().map(|before| before.suspended_at.is_some());
            let what = match (was_suspended, after.suspended_at.is_some()) {
                (None, _) => "partner.create",
                (Some(false), true) => "partner.suspend",
                (Some(true), false) => "partner.resume",
                (Some(true), true) | (Some(false), false) => return None,
            };
            Some((what, after.auth_id.to_string()))
        }
        EntityChange::Key(Edit { before, after }) => {
            let what = match before {
                None => "key.create",
                Some(before) if before.revoked_at != after.revoked_at => "key.revoke",
                Some(_) => "key.edit",
            };
            Some((what, after.id.to_string()))
        }
        EntityChange::Setting(Edit { before, after }) => {
            let (webhook, before) = (after.webhook()?, before.as_ref().and_then(Setting::webhook));
            let what = match before {
                None => "webhook.create",
                Some(_) if after.removed_at.is_some() => "webhook.remove",
                Some(before) if before.rotations != webhook.rotations => "webhook.rotate",
                Some(_) => return None,
            };
            Some((what, after.id.to_string()))
        }
        EntityChange::Account(_)
        | EntityChange::Application(_)
        | EntityChange::Trunk(_)
        | EntityChange::Acknowledgement(_) => None,
    }
}

/// What shall be forgotten: all that happened at or before these times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prune {
    /// By when a session was created,
    pub sessions_created: Time,
    /// or last seen,
    pub sessions_seen: Time,
    /// or created, if its code is still due.
    pub sessions_due: Time,
    /// By when a link is over.
    pub links: Time,
    /// By when somebody last signed in from an address.
    pub sources: Time,
    pub audit: Time,
}

/// What a look at people can read, as of one moment.
pub trait PeopleReads {
    fn user(&mut self, id: &UserId) -> Result<Option<Standing>, StoreError>;
    /// By an address in lower case.
    fn user_by_email(&mut self, email: &str) -> Result<Option<Standing>, StoreError>;
    /// All, or those of one partner, in the order of their addresses.
    fn users(&mut self, partner: Option<PartnerKey>) -> Result<Vec<User>, StoreError>;
    fn session(&mut self, digest: &SecretDigest) -> Result<Option<(StoredSession, Standing)>, StoreError>;
    /// Somebody's, newest first.
    fn sessions(&mut self, user: &UserId) -> Result<Vec<StoredSession>, StoreError>;
    fn link(&mut self, digest: &SecretDigest) -> Result<Option<(StoredLink, Standing)>, StoreError>;
    /// When somebody last signed in from an address.
    fn source(&mut self, user: &UserId, from: IpAddr) -> Result<Option<Time>, StoreError>;
    /// How many recovery codes somebody has left.
    fn recovery_codes(&mut self, user: &UserId) -> Result<u64, StoreError>;
    /// The audit trail, newest first, before an id: all, or one partner's.
    fn audit(
        &mut self,
        partner: Option<PartnerKey>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, StoreError>;
}

/// What a write to people can do besides.
pub trait PeopleWrites: PeopleReads {
    /// Writes somebody, new or changed. The partner must be there, and the
    /// address nobody else's: ask first.
    fn put_user(&mut self, user: &StoredUser) -> Result<(), StoreError>;
    fn put_session(&mut self, session: &StoredSession) -> Result<(), StoreError>;
    /// A session was used; moves forward only.
    fn seen(&mut self, digest: &SecretDigest, at: Time) -> Result<(), StoreError>;
    /// Whether it was there.
    fn end_session(&mut self, digest: &SecretDigest) -> Result<bool, StoreError>;
    /// Ends somebody's sessions, all `but` one; how many there were.
    fn end_sessions(&mut self, user: &UserId, but: Option<&SecretDigest>) -> Result<u64, StoreError>;
    fn put_link(&mut self, link: &StoredLink) -> Result<(), StoreError>;
    /// Ends somebody's links.
    fn end_links(&mut self, user: &UserId) -> Result<(), StoreError>;
    /// Somebody signed in from an address.
    fn put_source(&mut self, user: &UserId, from: IpAddr, at: Time) -> Result<(), StoreError>;
    /// In the place of those there were.
    fn put_recovery_codes(&mut self, user: &UserId, codes: &[SecretDigest]) -> Result<(), StoreError>;
    /// Uses up a recovery code; whether it was there.
    fn take_recovery_code(&mut self, user: &UserId, code: &SecretDigest) -> Result<bool, StoreError>;
    fn put_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError>;
}

/// A look. It may run again from the start.
pub type PeopleLook<'a> = &'a mut dyn FnMut(&mut dyn PeopleReads) -> Result<(), StoreError>;

/// A write. It may run again from the start if the engine has to retry, so it
/// keeps nothing from an earlier run.
pub type PeopleDraft<'a> = &'a mut dyn FnMut(&mut dyn PeopleWrites) -> Result<(), Abort>;

/// The part of a store that keeps people.
pub trait PeopleStore {
    fn people_read(&self, look: PeopleLook<'_>) -> Result<(), StoreError>;
    /// Returns once what was put is durable.
    fn people_write(&self, draft: PeopleDraft<'_>) -> Result<(), Abort>;
    /// Forgets what is over; waits for nobody for long.
    fn people_prune(&self, prune: &Prune) -> Result<(), StoreError>;
}
