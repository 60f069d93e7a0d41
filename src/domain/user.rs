//! Users who sign in: identity and role.
//!
//! An administrator belongs to no partner and sees all of them; every other user
//! belongs to exactly one. Invariant: `partner` is `None` exactly for
//! administrators. Deliberately absent: passwords and second factors; they never
//! leave `store::people` and `service::people`.

use std::sync::Arc;

use super::number::words;
use super::{PartnerKey, Time, UserId};

/// The most bytes an e-mail address can have (RFC 5321).
pub const EMAIL_BYTES_MAX: usize = 254;

/// What somebody may do. Each role but the first is within one partner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Of the platform: all partners, and their people.
    Administrator,
    /// All of a partner: its people, its keys, its settings.
    Owner,
    /// All verbs on a partner's numbers.
    Manager,
    /// Looks, and changes nothing.
    Viewer,
}

words!(Role: Administrator "administrator", Owner "owner", Manager "manager", Viewer "viewer");

impl Role {
    /// Higher may do more.
    pub fn rank(self) -> u8 {
        match self {
            Role::Administrator => 3,
            Role::Owner => 2,
            Role::Manager => 1,
            Role::Viewer => 0,
        }
    }

    /// Whether this role may do what a manager may.
    pub fn manages(self) -> bool {
        self.rank() >= Role::Manager.rank()
    }

    /// Whether this role may see to people, keys and settings.
    pub fn owns(self) -> bool {
        self.rank() >= Role::Owner.rank()
    }
}

/// Somebody who may sign in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub id: UserId,
    /// In lower case; unique over all partners.
    pub email: Arc<str>,
    pub name: Arc<str>,
    pub role: Role,
    /// `None` exactly for administrators.
    pub partner: Option<PartnerKey>,
    /// In which zone times are shown, by its IANA name.
    pub zone: Arc<str>,
    pub created_at: Time,
    pub disabled_at: Option<Time>,
    /// Whether signing in takes a code besides the password.
    pub two_factor: bool,
    /// Whether a password was chosen yet.
    pub password_set: bool,
    pub last_signed_in_at: Option<Time>,
}

/// An e-mail address as it is compared and stored: in lower case, without the
/// spaces around it. `None` if it is none. What lies behind it is found out by
/// nobody here: the address is a name to sign in with.
pub fn email(text: &str) -> Option<Arc<str>> {
    let email = text.trim().to_lowercase();
    let (local, domain) = email.rsplit_once('@')?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | ',' | ';' | ':');
    let fits = !local.is_empty()
        && !domain.is_empty()
        && !local.contains('@')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && email.len() <= EMAIL_BYTES_MAX
        && !email.chars().any(odd);
    fits.then(|| email.into())
}

/// A zone by its IANA name, if there is such a one.
pub fn zone(text: &str) -> Option<Arc<str>> {
    let text = text.trim();
    if text == "UTC" {
        return Some(text.into());
    }
    let zone = jiff::tz::TimeZone::get(text).ok()?;
    zone.iana_name().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_email(text: &str, expected: Option<&str>) {
        assert_eq!(email(text).as_deref(), expected, "input: {text:?}");
    }

    #[test]
    fn an_address_is_compared_in_lower_case() {
        check_email("a@b", Some("a@b"));
        check_email(" Ana.Lima@Example.COM ", Some("ana.lima@example.com"));
        check_email("Ünal@Example.com", Some("ünal@example.com"));
        for text in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n.c", "a@.b", "a@b.", "<a@b>", "a,c@b"] {
            check_email(text, None);
        }
        check_email(&format!("{}@b", "a".repeat(EMAIL_BYTES_MAX)), None);
    }

    #[test]
    fn a_zone_is_one_that_exists() {
        assert_eq!(zone("UTC").as_deref(), Some("UTC"));
        assert_eq!(zone("Nowhere/City"), None);
        assert_eq!(zone(""), None);
    }

    #[test]
    fn a_higher_role_may_do_more() {
        let may: Vec<_> = Role::ALL.iter().map(|role| (role.manages(), role.owns())).collect();
        assert_eq!(may, [(true, true), (true, true), (true, false), (false, false)]);
    }
}
