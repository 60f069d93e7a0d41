//! Which users may manage which users.
//!
//! Commands on the machine and administrators manage all users, owners the users of
//! their partner, and all users their own name and zone. A user of another partner
//! is answered like one that does not exist. No user can raise their own role, and
//! the last owner of a partner and the last administrator cannot be removed.
//!
//! The actor is looked up again inside the transaction, so a role that was just
//! taken away no longer counts.

use std::sync::Arc;

use super::{AuditEntry, LINK_PATH, LINK_SECONDS, NewUser, People, PeopleError, UserActor, UserEdit, actor};
use crate::domain::field::code;
use crate::domain::{FieldError, PartnerKey, Role, User, UserId, entity, user};
use crate::service::token;
use crate::store::people::{PeopleWrites, StoredLink, StoredUser};

const OWNERS_ONLY: PeopleError =
    PeopleError::Forbidden("only administrators, and the owners of a partner, see to its people");

impl UserActor<'_> {
    /// An entry of this one's, about somebody.
    fn entry(&self, people: &People, what: &str, about: &str, partner: Option<PartnerKey>) -> AuditEntry {
        let (who, from, request_id) = match self {
            UserActor::Command(actor) => ((*actor).clone(), None, None),
            UserActor::User { user, from, request_id } => (actor(user), *from, *request_id),
        };
        AuditEntry {
            at: people.now(),
            partner,
            who: who.to_string().into(),
            what: what.into(),
            about: Some(about.into()),
            refused: None,
            from,
            request_id: request_id.map(Into::into),
        }
    }

    /// The partner in whose audit trail a refusal is: the actor's.
    fn partner(&self) -> Option<PartnerKey> {
        match self {
            UserActor::Command(_) => None,
            UserActor::User { user, .. } => user.partner,
        }
    }
}

/// The actor, as stored now.
enum Asker {
    Machine,
    User(User),
}

impl Asker {
    fn of(by: UserActor<'_>, people: &mut dyn PeopleWrites) -> Result<Asker, PeopleError> {
        match by {
            UserActor::Command(_) => Ok(Asker::Machine),
            UserActor::User { user, .. } => match people.user(&user.id)? {
                Some(now) if super::barred(&now).is_none() => Ok(Asker::User(now.user.user)),
                Some(_) | None => Err(OWNERS_ONLY),
            },
        }
    }

    /// Whether somebody of this partner, or an administrator, exists for them.
    fn sees(&self, partner: Option<PartnerKey>) -> bool {
        match self {
            Asker::Machine => true,
            Asker::User(User { role: Role::Administrator, .. }) => true,
            Asker::User(user) => user.partner == partner,
        }
    }

    fn owns(&self) -> bool {
        match self {
            Asker::Machine => true,
            Asker::User(user) => user.role.owns(),
        }
    }

    fn is(&self, id: &UserId) -> bool {
        match self {
            Asker::Machine => false,
            Asker::User(user) => user.id == *id,
        }
    }
}

/// A name and a zone, or what is wrong with them.
fn checked(
    name: Option<&str>,
    zone: Option<&str>,
    wrong: &mut Vec<FieldError>,
) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let name = name.and_then(|text| {
        let name = entity::name(text);
        if name.is_none() {
            let message = format!("must be 1 to {} characters without control characters", entity::NAME_CHARS_MAX);
            wrong.push(FieldError::new("name", code::INVALID, message, text));
        }
        name
    });
    let zone = zone.and_then(|text| {
        let zone = user::zone(text);
        if zone.is_none() {
            wrong.push(FieldError::new("zone", code::INVALID, "must be a time zone such as Asia/Kolkata", text));
        }
        zone
    });
    (name, zone)
}

impl People {
    /// Runs a write of this one's; a refusal is in the audit trail.
    fn administer<T>(
        &self,
        by: UserActor<'_>,
        what: &str,
        about: &str,
        mut draft: impl FnMut(&mut dyn PeopleWrites, &Asker) -> Result<T, PeopleError>,
    ) -> Result<T, PeopleError> {
        let done = self.write_ending(|people| {
            let asker = Asker::of(by, people)?;
            draft(people, &asker)
        });
        if let Err(error) = &done {
            let reason = match error {
                PeopleError::Store(_) => "the database failed".to_owned(),
                error => error.to_string(),
            };
            self.refused(by.entry(self, what, about, by.partner()), &reason);
        }
        done
    }

    /// All people, or those of one partner, as far as `by` may see them.
    pub fn users(&self, by: &User, partner: Option<PartnerKey>) -> Result<Vec<User>, PeopleError> {
        let now = self.read(|people| people.user(&by.id))?.filter(|now| super::barred(now).is_none());
        let by = now.ok_or(OWNERS_ONLY)?.user.user;
        match (by.role, by.partner, partner) {
            (Role::Administrator, _, wanted) => self.everybody(wanted),
            (Role::Owner, Some(own), None) => self.everybody(Some(own)),
            (Role::Owner, Some(own), Some(wanted)) if own == wanted => self.everybody(Some(own)),
            (Role::Owner, _, _) => Err(PeopleError::Unknown),
            (Role::Manager | Role::Viewer, _, _) => Err(OWNERS_ONLY),
        }
    }

    /// The same for a command on the machine.
    pub fn everybody(&self, partner: Option<PartnerKey>) -> Result<Vec<User>, PeopleError> {
        self.read(|people| people.users(partner))
    }

    /// Somebody new, and the path of the link by which they choose a password.
    pub fn user_create(&self, by: UserActor<'_>, new: NewUser) -> Result<(User, String), PeopleError> {
        let NewUser { email, name, role, partner, zone } = new;
        let mut wrong = Vec::new();
        let (name, zone) = checked(name.as_deref(), zone.as_deref(), &mut wrong);
        let parsed = user::email(&email);
        if parsed.is_none() {
            wrong.push(FieldError::new("email", code::INVALID, "must be an e-mail address", &email));
        }
        if (role == Role::Administrator) != partner.is_none() {
            let message = "is missing: all but administrators belong to one partner";
            let message = if partner.is_some() { "is one too many: administrators belong to none" } else { message };
            wrong.push(FieldError::missing("partner", code::CONFLICT, message));
        }
        let id = UserId::stored(&token::user_id());
        let secret = token::secret();
        self.administer(by, "user.create", id.as_str(), |people, asker| {
            if !asker.owns() {
                return Err(OWNERS_ONLY);
            }
            if role == Role::Administrator && !asker.sees(None) {
                return Err(PeopleError::Forbidden("only administrators make administrators"));
            }
            if !asker.sees(partner) {
                return Err(PeopleError::Unknown);
            }
            let Some(email) = parsed.clone().filter(|_| wrong.is_empty()) else {
                return Err(PeopleError::Invalid(wrong.clone()));
            };
            if people.user_by_email(&email)?.is_some() {
                return Err(PeopleError::Exists);
            }
            let local = email.rsplit_once('@').map_or(&*email, |(local, _)| local);
            let user = User {
                id: id.clone(),
                name: name.clone().or_else(|| entity::name(local)).unwrap_or_else(|| email.clone()),
                email,
                role,
                partner,
                zone: zone.clone().unwrap_or_else(|| "UTC".into()),
                created_at: self.now(),
                disabled_at: None,
                two_factor: false,
                password_set: false,
                last_signed_in_at: None,
            };
            people.put_user(&StoredUser { user: user.clone(), password: None, totp: None, totp_offer: None })?;
            people.put_audit(&by.entry(self, "user.create", id.as_str(), partner))?;
            Ok((user, self.put_link(people, &id, &secret)?))
        })
    }

    fn put_link(&self, people: &mut dyn PeopleWrites, id: &UserId, secret: &str) -> Result<String, PeopleError> {
        let now = self.now();
        people.put_link(&StoredLink {
            digest: token::sha256(secret.as_bytes()),
            user: id.clone(),
            created_at: now,
            expires_at: now.plus(LINK_SECONDS),
        })?;
        Ok(format!("{LINK_PATH}{secret}"))
    }

    /// Somebody that this one may see to.
    fn seen_to(&self, people: &mut dyn PeopleWrites, asker: &Asker, id: &UserId) -> Result<StoredUser, PeopleError> {
        let found = people.user(id)?.map(|standing| standing.user);
        found.filter(|stored| asker.sees(stored.user.partner)).ok_or(PeopleError::Unknown)
    }

    /// Whether somebody of the same kind would be left who can sign in.
    fn another(&self, people: &mut dyn PeopleWrites, user: &User) -> Result<bool, PeopleError> {
        let like = |other: &User| {
            other.id != user.id
                && (other.role, other.partner) == (user.role, user.partner)
                && other.disabled_at.is_none()
                && (other.password_set || !user.password_set)
        };
        Ok(people.users(user.partner)?.iter().any(like))
    }

    pub fn user_edit(&self, by: UserActor<'_>, id: &UserId, edit: UserEdit) -> Result<User, PeopleError> {
        let mut wrong = Vec::new();
        let (name, zone) = checked(edit.name.as_deref(), edit.zone.as_deref(), &mut wrong);
        let what = match (edit.disabled, edit.role) {
            (Some(true), _) => "user.disable",
            (Some(false), _) => "user.enable",
            (None, Some(_)) => "user.role",
            (None, None) => "user.edit",
        };
        self.administer(by, what, id.as_str(), |people, asker| {
            let stored = self.seen_to(people, asker, id)?;
            let before = &stored.user;
            let role = edit.role.filter(|role| *role != before.role);
            let disabled = edit.disabled.filter(|disabled| *disabled != before.disabled_at.is_some());
            // Everybody has a name and a zone of their own.
            if !(asker.owns() || asker.is(id) && role.is_none() && disabled.is_none()) {
                return Err(OWNERS_ONLY);
            }
            if !wrong.is_empty() {
                return Err(PeopleError::Invalid(wrong.clone()));
            }
            if let Some(role) = role {
                if asker.is(id) && role.rank() > before.role.rank() {
                    return Err(PeopleError::Forbidden("nobody raises their own role"));
                }
                if (role == Role::Administrator) != before.partner.is_none() {
                    let message = "must be another: administrators belong to no partner, and all others to one";
                    let wrong = FieldError::new("role", code::CONFLICT, message, role.as_str());
                    return Err(PeopleError::Invalid(vec![wrong]));
                }
            }
            let leaves = disabled == Some(true) || role.is_some() && before.disabled_at.is_none();
            if leaves && before.role.owns() && !self.another(people, before)? {
                return Err(PeopleError::Forbidden(match before.role {
                    Role::Administrator => "the last administrator stays; make another one first",
                    _ => "the last owner of a partner stays; make another one first",
                }));
            }
            let mut after = stored.clone();
            after.user.name = name.clone().unwrap_or_else(|| before.name.clone());
            after.user.zone = zone.clone().unwrap_or_else(|| before.zone.clone());
            after.user.role = role.unwrap_or(before.role);
            if let Some(disabled) = disabled {
                after.user.disabled_at = disabled.then(|| self.now());
            }
            if after == stored {
                return Ok(after.user);
            }
            people.put_user(&after)?;
            if role.is_some() || disabled == Some(true) {
                people.end_sessions(id, None)?;
            }
            if disabled == Some(true) {
                people.end_links(id)?;
            }
            let mut entry = |what: &str| people.put_audit(&by.entry(self, what, id.as_str(), before.partner));
            if let Some(disabled) = disabled {
                entry(if disabled { "user.disable" } else { "user.enable" })?;
            }
            if let Some(role) = role {
                entry(&format!("user.role.{role}"))?;
            }
            if (&after.user.name, &after.user.zone) != (&before.name, &before.zone) {
                entry("user.edit")?;
            }
            Ok(after.user)
        })
    }

    /// The path of a new link, for a user who has forgotten the password; earlier
    /// links end. Using it ends all sessions.
    pub fn user_link(&self, by: UserActor<'_>, id: &UserId) -> Result<String, PeopleError> {
        let secret = token::secret();
        self.administer(by, "user.link", id.as_str(), |people, asker| {
            let stored = self.seen_to(people, asker, id)?;
            if !asker.owns() {
                return Err(OWNERS_ONLY);
            }
            if stored.user.disabled_at.is_some() {
                return Err(PeopleError::Forbidden("this user is disabled; enable them first"));
            }
            people.end_links(id)?;
            people.put_audit(&by.entry(self, "user.link", id.as_str(), stored.user.partner))?;
            self.put_link(people, id, &secret)
        })
    }

    /// Removes the second factor of a user who has lost it, and ends their
    /// sessions.
    pub fn user_totp_remove(&self, by: UserActor<'_>, id: &UserId) -> Result<(), PeopleError> {
        self.administer(by, super::what::TOTP_OFF, id.as_str(), |people, asker| {
            let stored = self.seen_to(people, asker, id)?;
            if !asker.owns() {
                return Err(OWNERS_ONLY);
            }
            if asker.is(id) {
                return Err(PeopleError::Forbidden("take your own second factor off with a code or your password"));
            }
            if stored.totp.is_none() && stored.totp_offer.is_none() {
                return Ok(());
            }
            let partner = stored.user.partner;
            self.totp_off(people, stored)?;
            people.end_sessions(id, None)?;
            people.put_audit(&by.entry(self, super::what::TOTP_OFF, id.as_str(), partner))?;
            Ok(())
        })
    }
}
