//! People who sign in: passwords, second factors, sessions, and who may see to
//! whom.
//!
//! Every method may wait for the database, and those that take a password for
//! a hash besides: call them where waiting is allowed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{FieldError, PartnerKey, Role, Time, User, UserId};
use crate::store::{Store, StoreError};

pub use crate::store::people::{AuditEntry, Audited};

/// How people sign in.
#[derive(Clone)]
pub struct Settings {
    pub session_idle_seconds: i64,
    pub session_seconds: i64,
    pub hashing: Hashing,
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            session_idle_seconds: 30 * 60,
            session_seconds: 12 * 3_600,
            hashing: Hashing::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What a password's hash costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hashing {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Default for Hashing {
    /// As OWASP advises for Argon2id.
    fn default() -> Hashing {
        Hashing { memory_kib: 19 * 1_024, passes: 2, lanes: 1 }
    }
}

/// Where the time comes from; tests move it.
pub trait Clock: Send + Sync {
    fn now(&self) -> Time;
    /// Lets somebody wait.
    fn pause(&self, length: Duration);
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::now()
    }

    fn pause(&self, length: Duration) {
        std::thread::sleep(length);
    }
}

/// The process's people. Cheap to clone; there is one for each process, since
/// what it counts it counts in memory.
#[derive(Clone)]
pub struct People {
    store: Arc<dyn Store>,
}

/// A session that was begun.
#[derive(Clone, PartialEq, Eq)]
pub struct SignIn {
    /// For the cookie.
    pub token: String,
    /// Whether it opens nothing until [`People::confirm_code`].
    pub needs_code: bool,
}

/// What a token opens.
#[derive(Clone, Debug)]
pub struct Session {
    /// As [`SessionInfo::id`]; not the token, nor a way to it.
    pub id: Arc<str>,
    pub user: Arc<User>,
    pub created_at: Time,
    /// Whether signed in within 15 minutes, for what is sensitive.
    pub recent: bool,
}

/// A session as its user sees it in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionInfo {
    pub id: Arc<str>,
    pub created_at: Time,
    pub seen_at: Time,
    pub from: IpAddr,
}

/// A second factor to be scanned, and then confirmed by its first code.
#[derive(Clone)]
pub struct TotpOffer {
    pub secret_base32: String,
    /// `otpauth://totp/…`
    pub uri: String,
    /// The same as a picture, without scripts or styles.
    pub qr_svg: String,
}

/// Who asks for something to be done to people.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// A command on the server's machine: may do all.
    Command,
    User {
        user: &'a User,
        from: Option<IpAddr>,
        request_id: Option<&'a str>,
    },
}

/// Somebody to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUser {
    pub email: String,
    /// By default what stands before the `@`.
    pub name: Option<String>,
    pub role: Role,
    /// For all but administrators.
    pub partner: Option<PartnerKey>,
    /// By default `UTC`.
    pub zone: Option<String>,
}

/// What shall be different; `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserEdit {
    pub name: Option<String>,
    pub role: Option<Role>,
    pub zone: Option<String>,
    pub disabled: Option<bool>,
}

#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// One text for unknown, wrong and disabled.
    #[error("the e-mail address or the password is wrong")]
    Refused,
    #[error("too many attempts; try again in {seconds} s")]
    Throttled { seconds: u64 },
    #[error("the code is wrong or was used already")]
    Code,
    /// Why, as a sentence's end: "the password …".
    #[error("the password {0}")]
    WeakPassword(String),
    /// Unknown, used or over: not told apart.
    #[error("this link is not valid; it may have been used already, or be over")]
    Link,
    #[error("somebody has this e-mail address already")]
    Exists,
    #[error("there is no such user")]
    Unknown,
    #[error("{}", super::describe(.0))]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

const NOT_YET: PeopleError = PeopleError::Forbidden("not built yet");

#[allow(unused_variables)]
impl People {
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> People {
        People { store }
    }

    /// Begins a session, if the password is right.
    pub fn sign_in(&self, email: &str, password: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        Err(NOT_YET)
    }

    /// Ends the wait of a session for a code, which is the app's or a recovery
    /// code. Gives a new token; the old one opens nothing.
    pub fn confirm_code(&self, token: &str, code: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        Err(NOT_YET)
    }

    /// What a token opens: nothing while the code is due, or if it is over.
    /// Somebody by their id.
    pub fn find(&self, id: &UserId) -> Result<Option<User>, PeopleError> {
        Err(NOT_YET)
    }

    pub fn session(&self, token: &str) -> Result<Option<Session>, PeopleError> {
        Err(NOT_YET)
    }

    pub fn sign_out(&self, token: &str) -> Result<(), PeopleError> {
        Err(NOT_YET)
    }

    /// Uses a link: chooses a first or a new password, and signs in with it.
    pub fn set_up(&self, link: &str, password: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        Err(NOT_YET)
    }

    /// Whose link it is.
    pub fn link_user(&self, link: &str) -> Result<Arc<User>, PeopleError> {
        Err(NOT_YET)
    }

    /// Ends all other sessions.
    pub fn change_password(&self, user: &UserId, old: &str, new: &str, keep_token: &str) -> Result<(), PeopleError> {
        Err(NOT_YET)
    }

    pub fn totp_begin(&self, user: &UserId) -> Result<TotpOffer, PeopleError> {
        Err(NOT_YET)
    }

    /// Turns on what was offered, and gives ten recovery codes, shown once.
    pub fn totp_confirm(&self, user: &UserId, code: &str) -> Result<Vec<String>, PeopleError> {
        Err(NOT_YET)
    }

    pub fn totp_remove(&self, user: &UserId, code_or_password: &str) -> Result<(), PeopleError> {
        Err(NOT_YET)
    }

    /// Somebody's sessions, newest first.
    pub fn sessions(&self, user: &UserId) -> Result<Vec<SessionInfo>, PeopleError> {
        Err(NOT_YET)
    }

    /// Ends somebody's sessions, all but that of one token.
    pub fn end_sessions(&self, user: &UserId, but: Option<&str>) -> Result<(), PeopleError> {
        Err(NOT_YET)
    }

    /// All people, or those of one partner, as far as `by` may see them.
    pub fn users(&self, by: &User, partner: Option<PartnerKey>) -> Result<Vec<User>, PeopleError> {
        Err(NOT_YET)
    }

    /// Somebody new, and the path of the link by which they choose a password.
    pub fn user_create(&self, by: By<'_>, new: NewUser) -> Result<(User, String), PeopleError> {
        Err(NOT_YET)
    }

    pub fn user_edit(&self, by: By<'_>, id: &UserId, edit: UserEdit) -> Result<User, PeopleError> {
        Err(NOT_YET)
    }

    /// The path of a new link, for who has forgotten the password. Using it
    /// ends all sessions.
    pub fn user_link(&self, by: By<'_>, id: &UserId) -> Result<String, PeopleError> {
        Err(NOT_YET)
    }

    /// Takes somebody's second factor away, for who has lost it.
    pub fn user_totp_remove(&self, by: By<'_>, id: &UserId) -> Result<(), PeopleError> {
        Err(NOT_YET)
    }

    /// Notes an action. Never fails the caller; logged if it cannot be written.
    pub fn audit(&self, entry: AuditEntry) {}

    /// The audit trail, newest first, before an id: all, or one partner's. Who
    /// may read it is for the caller to know.
    pub fn audit_list(
        &self,
        partner: Option<PartnerKey>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, PeopleError> {
        Err(NOT_YET)
    }
}
