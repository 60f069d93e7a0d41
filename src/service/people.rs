//! Users who sign in: passwords, second factors, sessions and links; below it,
//! who may manage whom (`administration`).
//!
//! Invariants:
//! - A token, a link, a recovery code, a code of the app: each is valid once, or
//!   until it expires, even if two requests use it at once. It is consumed in the
//!   transaction of the action.
//! - Every refused sign-in gets one text, after the same work.
//! - The end of a session is effective in this process when the call returns, and
//!   in others within two seconds.
//! - Every refusal and every action is in the audit trail; an action in its own
//!   transaction.
//!
//! Every method may wait for the database, and those that take a password for
//! a hash besides: call them where waiting is allowed.
//! Deliberately absent: cookies, pages, mail.

mod administration;
mod password;
mod scribe;
mod throttle;
mod totp;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Actor, FieldError, PartnerKey, Role, Time, User, UserId, user};
use crate::service::token;
use crate::store::people::{PeopleReads, PeopleWrites, Prune, SecretDigest, Standing, StoredSession, StoredUser, Totp};
use crate::store::{DraftError, Store, StoreError};
use password::Hasher;
use scribe::Scribe;
use throttle::{Throttle, owner};

pub use crate::store::people::{AuditEntry, Audited};
pub use totp::code_at;

/// How people sign in.
#[derive(Clone)]
pub struct SignInSettings {
    pub session_idle_seconds: i64,
    pub session_seconds: i64,
    pub hashing: Hashing,
    pub clock: Arc<dyn Clock>,
}

impl Default for SignInSettings {
    fn default() -> SignInSettings {
        SignInSettings {
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
    inner: Arc<PeopleState>,
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
    /// Whether the password was given within 15 minutes, for what is sensitive.
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

/// The actor of a change of users.
#[derive(Clone, Copy)]
pub enum UserActor<'a> {
    /// A command on the server's machine, and who ran it: may do all.
    Command(&'a Actor),
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
    #[error("another user has this e-mail address already")]
    Exists,
    #[error("there is no such user")]
    Unknown,
    #[error("{}", crate::service::describe(.0))]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DraftError for PeopleError {
    fn store(self) -> Result<StoreError, PeopleError> {
        match self {
            PeopleError::Store(error) => Ok(error),
            refusal => Err(refusal),
        }
    }
}

/// How long a code may take to come.
const CODE_SECONDS: i64 = 10 * 60;
/// How long a link is good.
pub const LINK_SECONDS: i64 = 24 * 3_600;
/// How long a session counts as just begun.
const RECENT_SECONDS: i64 = 15 * 60;
/// How long an address is known after somebody signed in from it.
const SOURCE_SECONDS: i64 = 30 * 86_400;
/// How long the audit trail is kept.
const AUDIT_SECONDS: i64 = 400 * 86_400;
/// How often a session's use is written.
const SEEN_SECONDS: i64 = 60;
/// How long what was read of a session holds: as long as an ending in another
/// process may go unnoticed here.
const CACHED: Duration = Duration::from_secs(2);
const CACHED_MAX: usize = 10_000;
/// The most sessions that somebody has; the oldest ends.
const SESSIONS_MAX: usize = 50;
/// The most that wait for a code, of one address.
const WAITING_MAX: usize = 5;
/// The longest token or link that is looked up.
const TOKEN_BYTES_MAX: usize = 200;
const RECOVERY_CODES: usize = 10;
/// Where the console takes links.
pub const LINK_PATH: &str = "/console/set-up/";
/// Who did it, where nobody knows.
const ANONYMOUS: &str = "anonymous";

/// What the words of the audit trail are about signing in.
mod what {
    pub const SIGN_IN: &str = "user.sign_in";
    pub const PASSWORD: &str = "user.sign_in.password";
    pub const SIGN_OUT: &str = "user.sign_out";
    pub const SET_UP: &str = "user.set_up";
    pub const PASSWORD_CHANGE: &str = "user.password";
    pub const TOTP_ON: &str = "user.totp.on";
    pub const TOTP_OFF: &str = "user.totp.off";
    pub const SESSIONS_END: &str = "user.sessions.end";
    pub const CONFIRM: &str = "user.confirm";
    pub const RECOVERY: &str = "user.recovery_code";
}

struct PeopleState {
    store: Arc<dyn Store>,
    settings: SignInSettings,
    hasher: Hasher,
    throttle: Throttle,
    scribe: Scribe,
    cache: Mutex<HashMap<SecretDigest, Cached>>,
    /// When the password was given again within a session. In memory alone:
    /// another process asks for it once more.
    confirmed: Mutex<HashMap<SecretDigest, Time>>,
    /// Counts what may have ended a session, so that nobody puts into the cache
    /// what was read before.
    endings: AtomicU64,
}

/// What a token opened a moment ago.
struct Cached {
    id: Arc<str>,
    session: StoredSession,
    user: Arc<User>,
    read: Instant,
}

/// Why somebody may not be signed in at all, in the words of the audit trail.
fn barred(standing: &Standing) -> Option<&'static str> {
    if standing.user.user.disabled_at.is_some() {
        return Some("disabled");
    }
    standing.partner_suspended.then_some("partner suspended")
}

fn digest(token: &str) -> Option<SecretDigest> {
    (!token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then(|| token::sha256(token.as_bytes()))
}

/// What a session is called where its user sees it.
fn session_id(digest: &SecretDigest) -> Arc<str> {
    let bits = token::sha256(digest);
    let hex: String = bits[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("se_{hex}").into()
}

impl From<password::Full> for PeopleError {
    fn from(_: password::Full) -> PeopleError {
        PeopleError::Throttled { seconds: 1 }
    }
}

impl People {
    pub fn new(store: Arc<dyn Store>, settings: SignInSettings) -> People {
        People {
            inner: Arc::new(PeopleState {
                hasher: Hasher::new(settings.hashing),
                throttle: Throttle::new(),
                scribe: Scribe::new(store.clone()),
                cache: Mutex::default(),
                confirmed: Mutex::default(),
                endings: AtomicU64::new(0),
                store,
                settings,
            }),
        }
    }

    fn now(&self) -> Time {
        self.inner.settings.clock.now()
    }

    /// Reads as of one moment.
    fn read<T>(&self, look: impl FnMut(&mut dyn PeopleReads) -> Result<T, StoreError>) -> Result<T, PeopleError> {
        Ok(self.inner.store.read_people(look)?)
    }

    /// Runs one write and returns what it decided.
    fn write<T>(&self, draft: impl FnMut(&mut dyn PeopleWrites) -> Result<T, PeopleError>) -> Result<T, PeopleError> {
        self.inner.store.draft_people(draft)
    }

    /// The same, of what may end sessions: this process then knows at once.
    fn write_ending<T>(
        &self,
        draft: impl FnMut(&mut dyn PeopleWrites) -> Result<T, PeopleError>,
    ) -> Result<T, PeopleError> {
        let done = self.write(draft);
        self.inner.endings.fetch_add(1, Ordering::SeqCst);
        self.inner.cache.lock().clear();
        done
    }

    /// An entry about signing in: by somebody who is known, or not.
    fn entry(&self, what: &str, standing: Option<&Standing>, from: Option<IpAddr>) -> AuditEntry {
        let user = standing.map(|standing| &standing.user.user);
        AuditEntry {
            at: self.now(),
            partner: user.and_then(|user| user.partner),
            who: ANONYMOUS.into(),
            what: what.into(),
            about: user.map(|user| user.id.as_str().into()),
            refused: None,
            from,
            request_id: None,
        }
    }

    /// The same by the person themselves.
    fn own_entry(&self, what: &str, standing: &Standing, from: Option<IpAddr>) -> AuditEntry {
        let who = actor(&standing.user.user).to_string();
        AuditEntry { who: who.into(), ..self.entry(what, Some(standing), from) }
    }

    fn refused(&self, entry: AuditEntry, reason: &str) {
        self.inner.scribe.audit(AuditEntry { refused: Some(reason.into()), ..entry });
    }

    /// Notes that an address was sent away, once a minute, and says so.
    fn throttled(&self, entry: AuditEntry, seconds: u64) -> PeopleError {
        if entry.from.is_none_or(|from| self.inner.throttle.tell(from, self.now())) {
            self.refused(entry, "throttled");
        }
        PeopleError::Throttled { seconds }
    }

    /// Whether somebody signed in from an address lately.
    fn known(&self, people: &mut dyn PeopleReads, user: &UserId, from: IpAddr) -> Result<bool, StoreError> {
        let since = self.now().plus(-SOURCE_SECONDS);
        Ok(people.source(user, owner(from))?.is_some_and(|at| at >= since))
    }

    /// Begins a session, if the password is right.
    pub fn sign_in(&self, email: &str, password: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        let typed = user::email(email);
        // Known or not, what was typed is counted alike.
        let account = token::sha256(typed.as_deref().unwrap_or(email).as_bytes());
        let (standing, known) = self.read(|people| {
            let Some(email) = &typed else { return Ok((None, false)) };
            let standing = people.user_by_email(email)?;
            let known = match &standing {
                Some(standing) => self.known(people, &standing.user.user.id, from)?,
                None => false,
            };
            Ok((standing, known))
        })?;
        let throttle = &self.inner.throttle;
        let entry = || self.entry(what::SIGN_IN, standing.as_ref(), Some(from));
        let attempt =
            throttle.attempt(from, account, known, self.now()).map_err(|wait| self.throttled(entry(), wait))?;
        if attempt.delayed {
            let Some(delay) = throttle.delay(account) else {
                throttle.forgive(&attempt);
                return Err(self.throttled(entry(), throttle::DELAY_S));
            };
            self.inner.settings.clock.pause(Duration::from_secs(throttle::DELAY_S));
            drop(delay);
        }
        let hash = standing.as_ref().and_then(|standing| standing.user.password.as_deref());
        let line = if known { password::QueueKind::Known } else { password::QueueKind::Stranger };
        let right = self.inner.hasher.verify(password, hash, line).map_err(|password::Full| {
            throttle.forgive(&attempt);
            self.throttled(entry(), 1)
        })?;
        let reason = match &standing {
            None => Some("unknown"),
            Some(standing) if standing.user.password.is_none() => Some("no password yet"),
            Some(_) if !right => Some("wrong password"),
            Some(standing) => barred(standing),
        };
        let (Some(standing), None) = (&standing, reason) else {
            self.refused(entry(), reason.unwrap_or_default());
            return Err(PeopleError::Refused);
        };
        let signed_in = self.write(|people| {
            // It may have changed while it was hashed.
            let now = people.user(&standing.user.user.id)?.ok_or(PeopleError::Refused)?;
            if now.user.password != standing.user.password || barred(&now).is_some() {
                return Err(PeopleError::Refused);
            }
            let needs_code = now.user.totp.is_some();
            let what = if needs_code { what::PASSWORD } else { what::SIGN_IN };
            self.begin(people, now, from, needs_code, what)
        });
        match &signed_in {
            Ok(_) => throttle.forgive(&attempt),
            Err(PeopleError::Refused) => self.refused(entry(), "changed meanwhile"),
            Err(_) => {}
        }
        signed_in
    }

    /// Puts a new session and what goes with it.
    fn begin(
        &self,
        people: &mut dyn PeopleWrites,
        standing: Standing,
        from: IpAddr,
        needs_code: bool,
        what: &str,
    ) -> Result<SignIn, PeopleError> {
        let now = self.now();
        people.put_audit(&self.own_entry(what, &standing, Some(from)))?;
        let mut stored = standing.user;
        let id = stored.user.id.clone();
        if !needs_code {
            stored.user.last_signed_in_at = Some(now);
            people.put_user(&stored)?;
            people.put_source(&id, owner(from), now)?;
        }
        // Who has only the password ends no session, and nobody else's wait
        // for a code.
        let alike = |session: &StoredSession| {
            session.code_due == needs_code && (!needs_code || owner(session.from) == owner(from))
        };
        let most = if needs_code { WAITING_MAX } else { SESSIONS_MAX };
        for old in people.sessions(&id)?.into_iter().filter(alike).skip(most - 1) {
            people.end_session(&old.digest)?;
        }
        let token = token::secret();
        let digest = token::sha256(token.as_bytes());
        let from = from.to_canonical();
        people.put_session(&StoredSession {
            digest,
            user: id,
            created_at: now,
            seen_at: now,
            from,
            code_due: needs_code,
        })?;
        Ok(SignIn { token, needs_code })
    }

    /// Ends the wait of a session for a code, which is the app's or a recovery
    /// code. Gives a new token; the old one opens nothing.
    pub fn confirm_code(&self, token: &str, code: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        let digest = digest(token).ok_or(PeopleError::Refused)?;
        let found = self.read(|people| {
            let Some((session, standing)) = people.session(&digest)? else { return Ok(None) };
            let known = self.known(people, &session.user, from)?;
            Ok(Some((session, standing, known)))
        })?;
        let (session, standing, known) = found.ok_or(PeopleError::Refused)?;
        if !session.code_due || self.over(&session, &standing) {
            return Err(PeopleError::Refused);
        }
        let (throttle, id) = (&self.inner.throttle, &session.user);
        let entry = || self.own_entry(what::SIGN_IN, &standing, Some(from));
        let typed = totp::typed(code);
        // A recovery code is too long to be guessed, so others' guesses at
        // codes do not hold it up.
        let trusted = known || !totp::is_code(&typed);
        throttle.code(from, id, trusted, self.now()).map_err(|wait| self.throttled(entry(), wait))?;
        let signed_in = self.write_ending(|people| {
            let Some((session, standing)) = people.session(&digest)? else { return Err(PeopleError::Refused) };
            if !session.code_due || self.over(&session, &standing) {
                return Err(PeopleError::Refused);
            }
            let standing = self.use_code(people, standing, &typed, Some(from))?.ok_or(PeopleError::Code)?;
            people.end_session(&digest)?;
            self.begin(people, standing, from, false, what::SIGN_IN)
        });
        match &signed_in {
            Ok(_) => throttle.forgive_code(from, id, trusted),
            Err(PeopleError::Code) => self.refused(entry(), "wrong code"),
            Err(_) => {}
        }
        signed_in
    }

    /// Uses up a code or a recovery code; who has it, if it was right.
    fn use_code(
        &self,
        people: &mut dyn PeopleWrites,
        mut standing: Standing,
        typed: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<Standing>, PeopleError> {
        let Some(used) = &mut standing.user.totp else { return Ok(None) };
        if totp::is_code(typed) {
            let Some(step) = totp::accept(&used.secret, typed, used.step, self.now()) else { return Ok(None) };
            used.step = step;
            people.put_user(&standing.user)?;
            return Ok(Some(standing));
        }
        if !people.take_recovery_code(&standing.user.user.id, &token::sha256(typed.as_bytes()))? {
            return Ok(None);
        }
        people.put_audit(&self.own_entry(what::RECOVERY, &standing, from))?;
        Ok(Some(standing))
    }

    /// Whether a session has ended by time, or its user may not be here.
    fn over(&self, session: &StoredSession, standing: &Standing) -> bool {
        self.timed_out(session) || barred(standing).is_some()
    }

    fn timed_out(&self, session: &StoredSession) -> bool {
        let now = self.now();
        let SignInSettings { session_idle_seconds, session_seconds, .. } = self.inner.settings;
        now >= session.seen_at.plus(session_idle_seconds)
            || now >= session.created_at.plus(session_seconds)
            || (session.code_due && now >= session.created_at.plus(CODE_SECONDS))
    }

    /// Somebody by their id, to say who did something.
    pub fn find(&self, id: &UserId) -> Result<Option<User>, PeopleError> {
        Ok(self.read(|people| people.user(id))?.map(|standing| standing.user.user))
    }

    /// What a token opens, if that was read a moment ago. It waits for nothing.
    pub fn session_known(&self, token: &str) -> Option<Session> {
        let digest = digest(token)?;
        let mut cache = self.inner.cache.lock();
        let cached = cache.get_mut(&digest).filter(|cached| cached.read.elapsed() < CACHED)?;
        self.open(cached)
    }

    /// What a token opens: nothing while the code is due, or if it is over.
    pub fn session(&self, token: &str) -> Result<Option<Session>, PeopleError> {
        let Some(digest) = digest(token) else { return Ok(None) };
        if let Some(cached) = self.inner.cache.lock().get_mut(&digest)
            && cached.read.elapsed() < CACHED
        {
            return Ok(self.open(cached));
        }
        let endings = self.inner.endings.load(Ordering::SeqCst);
        let found = self.read(|people| people.session(&digest));
        let mut cache = self.inner.cache.lock();
        if let (Err(PeopleError::Store(error)), Some(cached)) = (&found, cache.get_mut(&digest))
            && error.passing()
        {
            // As with keys: what is known stays good while nobody can be asked.
            cached.read = Instant::now();
            return Ok(self.open(cached));
        }
        cache.remove(&digest);
        drop(cache);
        let Some((session, standing)) = found? else { return Ok(None) };
        if session.code_due || barred(&standing).is_some() {
            return Ok(None);
        }
        let (id, user) = (session_id(&digest), Arc::new(standing.user.user));
        let mut cached = Cached { id, session, user, read: Instant::now() };
        let opened = self.open(&mut cached);
        let mut cache = self.inner.cache.lock();
        if opened.is_some() && self.inner.endings.load(Ordering::SeqCst) == endings {
            if cache.len() >= CACHED_MAX {
                cache.retain(|_, cached| cached.read.elapsed() < CACHED);
            }
            if cache.len() < CACHED_MAX {
                cache.insert(digest, cached);
            }
        }
        Ok(opened)
    }

    /// Asks for every session anew.
    pub fn forget_cached(&self) {
        self.inner.endings.fetch_add(1, Ordering::SeqCst);
        self.inner.cache.lock().clear();
    }

    /// A session that is not over; it is kept alive.
    fn open(&self, cached: &mut Cached) -> Option<Session> {
        if self.timed_out(&cached.session) {
            return None;
        }
        let now = self.now();
        if now >= cached.session.seen_at.plus(SEEN_SECONDS) {
            cached.session.seen_at = now;
            self.inner.scribe.seen(cached.session.digest, now);
        }
        let created_at = cached.session.created_at;
        let confirmed_at = self.inner.confirmed.lock().get(&cached.session.digest).copied();
        let recent = now < created_at.max(confirmed_at.unwrap_or(created_at)).plus(RECENT_SECONDS);
        Some(Session { id: cached.id.clone(), user: cached.user.clone(), created_at, recent })
    }

    pub fn sign_out(&self, token: &str) -> Result<(), PeopleError> {
        let Some(digest) = digest(token) else { return Ok(()) };
        self.write_ending(|people| {
            let Some((session, standing)) = people.session(&digest)? else { return Ok(()) };
            people.end_session(&digest)?;
            people.put_audit(&self.own_entry(what::SIGN_OUT, &standing, Some(session.from)))?;
            Ok(())
        })
    }

    /// A link that can be used, with whose it is.
    fn good_link(
        &self,
        people: &mut (impl PeopleReads + ?Sized),
        digest: &SecretDigest,
    ) -> Result<Option<Standing>, StoreError> {
        let found = people.link(digest)?;
        let good = found.filter(|(link, standing)| self.now() < link.expires_at && barred(standing).is_none());
        Ok(good.map(|(_, standing)| standing))
    }

    /// Whose link it is.
    pub fn link_user(&self, link: &str) -> Result<Arc<User>, PeopleError> {
        let digest = digest(link).ok_or(PeopleError::Link)?;
        let standing = self.read(|people| self.good_link(people, &digest))?.ok_or(PeopleError::Link)?;
        Ok(Arc::new(standing.user.user))
    }

    /// Uses a link: chooses a first or a new password, and signs in with it.
    pub fn set_up(&self, link: &str, password: &str, from: IpAddr) -> Result<SignIn, PeopleError> {
        let refused = |standing: Option<&Standing>| {
            self.refused(self.entry(what::SET_UP, standing, Some(from)), "the link is not valid");
            PeopleError::Link
        };
        // Counted like sign-ins: a caller that tries links is not authenticated.
        let digest = digest(link).ok_or(PeopleError::Link)?;
        let attempt = self
            .inner
            .throttle
            .attempt(from, digest, false, self.now())
            .map_err(|wait| self.throttled(self.entry(what::SET_UP, None, Some(from)), wait))?;
        let Some(standing) = self.read(|people| self.good_link(people, &digest))? else { return Err(refused(None)) };
        self.inner.throttle.forgive(&attempt);
        if let Some(weakness) = password::weakness(password, &standing.user.user.email) {
            return Err(PeopleError::WeakPassword(weakness));
        }
        let hash = self.inner.hasher.hash(password)?;
        let signed_in = self.write_ending(|people| {
            let mut standing = self.good_link(people, &digest)?.ok_or(PeopleError::Link)?;
            let id = standing.user.user.id.clone();
            people.end_links(&id)?;
            people.end_sessions(&id, None)?;
            standing.user.password = Some(hash.clone());
            people.put_user(&standing.user)?;
            people.put_audit(&self.own_entry(what::SET_UP, &standing, Some(from)))?;
            let needs_code = standing.user.totp.is_some();
            let what = if needs_code { what::PASSWORD } else { what::SIGN_IN };
            self.begin(people, standing, from, needs_code, what)
        });
        if let Err(PeopleError::Link) = signed_in {
            return Err(refused(Some(&standing)));
        }
        signed_in
    }

    /// Who is signed in, as the store has them now.
    fn myself(&self, user: &UserId) -> Result<Standing, PeopleError> {
        self.read(|people| people.user(user))?.ok_or(PeopleError::Unknown)
    }

    /// Checks a password within a session; guesses are counted.
    fn prove(&self, what: &'static str, standing: &Standing, password: &str) -> Result<(), PeopleError> {
        let (user, throttle) = (&standing.user.user.id, &self.inner.throttle);
        let entry = || self.own_entry(what, standing, None);
        throttle.proof(user, self.now()).map_err(|wait| self.throttled(entry(), wait))?;
        let hash = standing.user.password.as_deref();
        let right = self.inner.hasher.verify(password, hash, password::QueueKind::Known);
        if !right.inspect_err(|_| throttle.forgive_proof(user))? {
            self.refused(entry(), "wrong password");
            return Err(PeopleError::Refused);
        }
        throttle.forgive_proof(user);
        Ok(())
    }

    /// Takes the password again within a session, which is recent then.
    pub fn confirm(&self, user: &UserId, session_token: &str, password: &str) -> Result<(), PeopleError> {
        let digest = digest(session_token).ok_or(PeopleError::Refused)?;
        self.prove(what::CONFIRM, &self.myself(user)?, password)?;
        let now = self.now();
        let mut confirmed = self.inner.confirmed.lock();
        confirmed.retain(|_, at| now < at.plus(RECENT_SECONDS));
        if confirmed.len() < CACHED_MAX {
            confirmed.insert(digest, now);
        }
        Ok(())
    }

    /// Ends all other sessions.
    pub fn change_password(&self, user: &UserId, old: &str, new: &str, keep_token: &str) -> Result<(), PeopleError> {
        let standing = self.myself(user)?;
        self.prove(what::PASSWORD_CHANGE, &standing, old)?;
        if let Some(weakness) = password::weakness(new, &standing.user.user.email) {
            return Err(PeopleError::WeakPassword(weakness));
        }
        if new == old {
            return Err(PeopleError::WeakPassword("is the one you have".to_owned()));
        }
        let hash = self.inner.hasher.hash(new)?;
        let keep = digest(keep_token);
        self.write_ending(|people| {
            let mut now = people.user(user)?.ok_or(PeopleError::Unknown)?;
            if now.user.password != standing.user.password || barred(&now).is_some() {
                return Err(PeopleError::Refused);
            }
            now.user.password = Some(hash.clone());
            people.put_user(&now.user)?;
            people.end_sessions(user, keep.as_ref())?;
            people.end_links(user)?;
            people.put_audit(&self.own_entry(what::PASSWORD_CHANGE, &now, None))?;
            Ok(())
        })
    }

    /// A second factor to be confirmed. One that is in use stays in use until
    /// then.
    pub fn totp_begin(&self, user: &UserId) -> Result<TotpOffer, PeopleError> {
        let mut secret = [0; totp::SECRET_BYTES];
        token::fill(&mut secret);
        let email = self.write(|people| {
            let mut standing = people.user(user)?.ok_or(PeopleError::Unknown)?;
            standing.user.totp_offer = Some(secret.to_vec());
            people.put_user(&standing.user)?;
            Ok(standing.user.user.email)
        })?;
        Ok(totp::offer(&secret, &email))
    }

    /// The second factor that waits to be confirmed, for a code that was mistyped.
    pub fn totp_pending(&self, user: &UserId) -> Result<Option<TotpOffer>, PeopleError> {
        let StoredUser { user, totp_offer, .. } = self.myself(user)?.user;
        Ok(totp_offer.map(|secret| totp::offer(&secret, &user.email)))
    }

    /// Turns on what was offered, and gives ten recovery codes, shown once.
    pub fn totp_confirm(&self, user: &UserId, code: &str) -> Result<Vec<String>, PeopleError> {
        let typed = totp::typed(code);
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| token::recovery_code()).collect();
        let digests: Vec<SecretDigest> = codes.iter().map(|code| token::sha256(totp::typed(code).as_bytes())).collect();
        self.write_ending(|people| {
            let mut standing = people.user(user)?.ok_or(PeopleError::Unknown)?;
            let secret = standing.user.totp_offer.take().ok_or(PeopleError::Code)?;
            let step = totp::accept(&secret, &typed, i64::MIN, self.now()).ok_or(PeopleError::Code)?;
            standing.user.totp = Some(Totp { secret, step });
            people.put_user(&standing.user)?;
            people.put_recovery_codes(user, &digests)?;
            people.put_audit(&self.own_entry(what::TOTP_ON, &standing, None))?;
            Ok(())
        })?;
        Ok(codes)
    }

    /// Turns the second factor off. A code is the app's or a recovery code.
    pub fn totp_remove(&self, user: &UserId, code_or_password: &str) -> Result<(), PeopleError> {
        let standing = self.myself(user)?;
        let entry = || self.own_entry(what::TOTP_OFF, &standing, None);
        let throttle = &self.inner.throttle;
        throttle.proof(user, self.now()).map_err(|wait| self.throttled(entry(), wait))?;
        let typed = totp::typed(code_or_password);
        // What looks like a code is none that anybody may have as a password.
        let hash = standing.user.password.as_deref().filter(|_| !totp::is_code(&typed));
        let password = match hash {
            Some(hash) => self.inner.hasher.verify(code_or_password, Some(hash), password::QueueKind::Known),
            None => Ok(false),
        };
        let password = password.inspect_err(|_| throttle.forgive_proof(user))?;
        let removed = self.write_ending(|people| {
            let now = people.user(user)?.ok_or(PeopleError::Unknown)?;
            if now.user.totp.is_none() {
                return Ok(());
            }
            let proved = match password && now.user.password == standing.user.password {
                true => Some(now),
                false => self.use_code(people, now, &typed, None)?,
            };
            let proved = proved.ok_or(PeopleError::Code)?;
            self.totp_off(people, proved.user.clone())?;
            people.put_audit(&self.own_entry(what::TOTP_OFF, &proved, None))?;
            Ok(())
        });
        match &removed {
            Ok(()) => throttle.forgive_proof(user),
            Err(PeopleError::Code) => self.refused(entry(), "wrong code or password"),
            Err(_) => {}
        }
        removed
    }

    fn totp_off(&self, people: &mut dyn PeopleWrites, mut stored: StoredUser) -> Result<(), PeopleError> {
        stored.totp = None;
        stored.totp_offer = None;
        people.put_user(&stored)?;
        people.put_recovery_codes(&stored.user.id, &[])?;
        Ok(())
    }

    /// How many recovery codes somebody has left.
    pub fn recovery_codes(&self, user: &UserId) -> Result<u64, PeopleError> {
        self.read(|people| people.recovery_codes(user))
    }

    /// Somebody's sessions, newest first.
    pub fn sessions(&self, user: &UserId) -> Result<Vec<SessionInfo>, PeopleError> {
        let sessions = self.read(|people| people.sessions(user))?;
        let live = sessions.into_iter().filter(|session| !session.code_due && !self.timed_out(session));
        let info = |session: StoredSession| {
            let StoredSession { digest, created_at, seen_at, from, .. } = session;
            SessionInfo { id: session_id(&digest), created_at, seen_at, from }
        };
        Ok(live.map(info).collect())
    }

    /// Ends somebody's sessions, all but that of one token.
    pub fn end_sessions(&self, user: &UserId, but: Option<&str>) -> Result<(), PeopleError> {
        let but = but.and_then(digest);
        self.write_ending(|people| {
            let standing = people.user(user)?.ok_or(PeopleError::Unknown)?;
            if people.end_sessions(user, but.as_ref())? > 0 {
                people.put_audit(&self.own_entry(what::SESSIONS_END, &standing, None))?;
            }
            Ok(())
        })
    }

    /// Ends one of somebody's sessions, by its id in [`People::sessions`].
    pub fn end_session(&self, user: &UserId, id: &str) -> Result<(), PeopleError> {
        self.write_ending(|people| {
            let standing = people.user(user)?.ok_or(PeopleError::Unknown)?;
            let found = people.sessions(user)?.into_iter().find(|session| *session_id(&session.digest) == *id);
            let Some(session) = found else { return Ok(()) };
            people.end_session(&session.digest)?;
            people.put_audit(&self.own_entry(what::SESSIONS_END, &standing, None))?;
            Ok(())
        })
    }

    /// Notes an action. Never fails the caller; logged if it cannot be written.
    pub fn audit(&self, entry: AuditEntry) {
        self.inner.scribe.audit(entry);
    }

    /// The audit trail, newest first, before an id: all, or one partner's. Who
    /// may read it is for the caller to know.
    pub fn audit_list(
        &self,
        partner: Option<PartnerKey>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, PeopleError> {
        // So that an action is in the list at once.
        self.flush();
        self.read(|people| people.audit(partner, before, limit))
    }

    /// Waits until all that was noted is written.
    pub fn flush(&self) {
        self.inner.scribe.flush();
    }

    /// How many passwords were hashed at once, at the most.
    pub fn hashes_at_once(&self) -> usize {
        self.inner.hasher.peak()
    }

    /// Forgets what is over; called now and then.
    pub fn forget(&self) -> Result<(), PeopleError> {
        let now = self.now();
        self.inner.throttle.forget_quiet(now);
        self.inner.cache.lock().retain(|_, cached| cached.read.elapsed() < CACHED);
        let SignInSettings { session_idle_seconds, session_seconds, .. } = self.inner.settings;
        Ok(self.inner.store.people_prune(&Prune {
            sessions_created: now.plus(-session_seconds),
            // Beside those that are over by now: another process may keep one
            // alive and not have written it yet.
            sessions_seen: now.plus(-session_idle_seconds - 2 * SEEN_SECONDS),
            sessions_due: now.plus(-CODE_SECONDS),
            links: now,
            sources: now.plus(-SOURCE_SECONDS),
            audit: now.plus(-AUDIT_SECONDS),
        })?)
    }
}

/// How the log and the audit trail call somebody.
pub fn actor(user: &User) -> Actor {
    Actor::User { id: user.id.clone(), email: user.email.clone() }
}
