//! The session of a request, and the origin of a form.
//!
//! Invariants: a page about a partner is made from one snapshot, which its user may
//! see; another partner is answered like one that does not exist; a request from
//! another site changes nothing.
//! Deliberately absent: passwords, and the length of sessions (`service::people`).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{Method, Response};
use parking_lot::Mutex;

use super::page::{Frame, Trouble};
pub use super::page::{query_value, segment};
use super::show::PageClock;
use super::{Console, ConsoleState, PREFIX, show};
use crate::domain::user::{Role, User};
use crate::domain::{Actor, Time};
use crate::http::bodies::{Allowance, Caller};
use crate::http::places::{HeldPlace, NoPlace, PlaceKind, PlaceOwner};
use crate::http::{App, RequestId, Secure, peer, waiting};
use crate::inventory::Snapshot;
use crate::service::people::{AuditEntry, Session};
use crate::service::replica::Node;
use crate::service::verbs::numbers::Expected;
use crate::service::{Service, ServiceError};
use crate::wire;

/// The longest form, in bytes: a pasted file of some ten thousand numbers.
pub const FORM_BYTES_MAX: usize = 4 << 20;
/// The cookie over TLS; its name makes browsers refuse it from anywhere else.
const COOKIE_SECURE: &str = "__Host-rollcall";
/// The cookie on this machine without TLS.
const COOKIE_PLAIN: &str = "rollcall";
/// The field of a form that says which version of something it changes.
const VERSION: &str = "version";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Somebody who is signed in.
pub struct Person {
    pub console: Arc<Console>,
    pub session: Session,
    /// What the cookie says: names the session, and is nobody else's business.
    pub token: String,
    pub clock: PageClock,
    pub address: IpAddr,
    request_id: Option<String>,
}

/// Somebody who looks at a partner that they may see.
pub struct Visit {
    pub person: Person,
    pub node: Arc<Node>,
    pub snapshot: Arc<Snapshot>,
    /// Where the partner's pages begin: `/console/p/PA_X`.
    pub base: String,
    /// The state in which the sender of a form knows what the form changes.
    pub expected: Expected,
}

impl std::ops::Deref for Visit {
    type Target = Person;

    fn deref(&self) -> &Person {
        &self.person
    }
}

impl Person {
    /// The signed-in user, or a redirect to the sign-in form. The way back of a form is
    /// its page, which `door` knows.
    pub fn enter(console: &Arc<Console>, request: &Request) -> Result<Person, Trouble> {
        let form = !matches!(*request.method(), Method::GET | Method::HEAD);
        let back = request.uri().path_and_query().map_or("/", |uri| uri.as_str());
        let away = || Trouble::SignIn { back: if form { String::new() } else { back.to_owned() }, form };
        console.app.trusted().map_err(Trouble::Stale)?;
        let token = cookie(&console.app, request).ok_or_else(away)?;
        let session = match request.extensions().get::<Known>() {
            Some(Known(session)) => session.clone(),
            None => console.app.session(&token)?,
        };
        let session = session.ok_or_else(away)?;
        Allowance::known(request, Caller::User(session.user.id.clone()));
        let request_id = request.extensions().get::<RequestId>().map(|id| id.0.to_string());
        let address = console.app.client(request.headers(), peer(request.extensions()));
        let clock = PageClock::new(Time::now(), &session.user.zone);
        Ok(Person { console: console.clone(), session, token, clock, address, request_id })
    }

    /// The same person, as they are after something about them changed.
    pub fn again(self) -> Result<Person, Trouble> {
        let gone = || Trouble::SignIn { back: String::new(), form: false };
        let session = self.console.app.people.session(&self.token)?.ok_or_else(gone)?;
        Ok(Person { session, ..self })
    }

    pub fn user(&self) -> &Arc<User> {
        &self.session.user
    }

    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    pub fn role(&self) -> Role {
        self.session.user.role
    }

    /// The verbs, asked for by this person.
    pub fn service(&self) -> Service {
        let User { id, email, .. } = &**self.user();
        let actor = Actor::User { id: id.clone(), email: email.clone() };
        self.console.app.service.asked(actor, self.request_id.clone(), None).asked_from(self.address)
    }

    /// A page that is about no partner.
    pub fn frame(&self, title: &str, section: &'static str) -> Frame {
        frame(self, None, title, section)
    }

    /// Records an action or a refusal in the audit trail.
    pub fn audit(&self, partner: Option<crate::domain::PartnerKey>, what: &str, refused: Option<&str>) {
        self.console.app.people.audit(AuditEntry {
            at: Time::now(),
            partner,
            who: format!("user:{}", self.user().id).into(),
            what: what.into(),
            about: None,
            refused: refused.map(Into::into),
            from: Some(self.address),
            request_id: self.request_id.as_deref().map(Into::into),
        });
    }
}

impl Visit {
    /// The signed-in user, at a partner that they may see.
    pub fn enter(console: &Arc<Console>, request: &Request, partner: &str) -> Result<Visit, Trouble> {
        // Looked up first: who somebody is must not be older than what it opens.
        let node = console.app.replica.node(partner);
        let person = Person::enter(console, request)?;
        let node = node.ok_or(Trouble::NotFound)?;
        let own = match person.role() {
            Role::Administrator => true,
            Role::Owner | Role::Manager | Role::Viewer => person.user().partner == Some(node.key),
        };
        if !own {
            return Err(Trouble::NotFound);
        }
        let snapshot = node.snapshot();
        if snapshot.damaged {
            return Err(Trouble::Damaged);
        }
        if snapshot.partner.suspended_at.is_some() && person.role() != Role::Administrator {
            return Err(Trouble::Forbidden(
                "this partner is suspended; the platform's administrators can tell why".into(),
            ));
        }
        let base = format!("{PREFIX}/p/{}", segment(partner));
        Ok(Visit { person, node, snapshot, base, expected: Expected::Anything })
    }

    /// The same for a form that changes something, and what it says.
    pub async fn post(
        console: &Arc<Console>,
        request: Request,
        partner: &str,
        needs: Needs,
    ) -> Result<(Visit, Form), Trouble> {
        let visit = Visit::enter(console, &request, partner)?;
        let form = Form::read(request).await?;
        visit.need(needs)?;
        let expected = form.version().map_or(Expected::Anything, |version| Expected::Versions(vec![version]));
        Ok((Visit { expected, ..visit }, form))
    }

    /// Refuses, and notes, what somebody's role does not allow.
    pub fn need(&self, needs: Needs) -> Result<(), Trouble> {
        let may = match needs {
            Needs::Manager => self.role().manages(),
            Needs::Owner => self.role().owns(),
        };
        if may {
            return Ok(());
        }
        let reason = format!("your role, {}, does not allow this; {}", self.role(), needs.who());
        self.audit(Some(self.snapshot.key), "console.refused", Some(&reason));
        Err(Trouble::Forbidden(reason))
    }

    pub fn frame(&self, title: &str, section: &'static str) -> Frame {
        frame(self, Some(self), title, section)
    }

    /// The address of the page of something, by its kind and its id, whatever
    /// characters the id has.
    pub fn href(&self, kind: &str, id: &str) -> String {
        match id {
            // Browsers take these two for folders, however they are encoded. No
            // new id is so; an old one is found in its list.
            "." | ".." => format!("{}/{kind}?q={id}", self.base),
            _ => format!("{}/{kind}/{}", self.base, segment(id)),
        }
    }

    /// The partner as it is now: a verb that was refused may have been so for
    /// what came since the page was asked for.
    pub fn newest(&self) -> Arc<Snapshot> {
        self.console.app.replica.snapshot(self.snapshot.key).unwrap_or_else(|| self.snapshot.clone())
    }

    /// A place for a long answer or an upload.
    pub fn place(&self, kind: PlaceKind) -> Result<HeldPlace, NoPlace> {
        let own = PlaceOwner::Session(self.session.id.clone());
        self.console.app.places.enter(kind, own, self.snapshot.key, self.address)
    }

    /// Does a verb away from the threads that serve others, and notes what was
    /// refused; what was done is in the log. The version of the form is held against
    /// the stored one inside the verb's transaction.
    pub async fn act<T: Send + 'static>(
        &self,
        what: impl AsRef<str>,
        verb: impl FnOnce(&Service, crate::domain::PartnerKey) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (service, key) = (self.service().expecting(self.expected.clone()), self.snapshot.key);
        let done = waiting::work(&waiting::WRITES, move || verb(&service, key)).await;
        let done = done.unwrap_or_else(|error| Err(error.into()));
        if let Err(error) = &done {
            self.audit(Some(key), what.as_ref(), Some(&error.to_string()));
        }
        done
    }
}

/// The frame of a page, within a partner or without.
fn frame(person: &Person, visit: Option<&Visit>, title: &str, section: &'static str) -> Frame {
    let role = person.role();
    let (following, age) = person.console.app.replica.freshness();
    let old = !following || age.as_secs() > 10;
    let stale = old.then(|| {
        let age = show::span(age.as_secs());
        format!("This server has not heard from its database for {age}. What you see may have changed; nothing can be changed now.")
    });
    // A page about no partner keeps the way back to one's own.
    let own = person.user().partner.and_then(|key| person.console.app.replica.snapshot(key));
    let snapshot = visit.map(|visit| visit.snapshot.clone()).or(own);
    let partner = snapshot.as_ref().map(|snapshot| &snapshot.partner);
    let home = || partner.map(|partner| format!("{PREFIX}/p/{}", segment(partner.auth_id.as_str())));
    Frame {
        title: title.to_owned(),
        section,
        base: visit.map(|visit| visit.base.clone()).or_else(home).unwrap_or_default(),
        partner_id: partner.map_or(String::new(), |partner| partner.auth_id.to_string()),
        partner_name: partner.map_or(String::new(), |partner| partner.name.to_string()),
        email: person.user().email.to_string(),
        zone: person.user().zone.to_string(),
        role: role.as_str(),
        administrator: role == Role::Administrator,
        manages: role.manages(),
        owns: role.owns(),
        stale,
        notice: None,
        error: None,
        build: crate::BUILD,
    }
}

/// The version that a form made, as [`super::page::done`] hands it on.
pub fn made(query: &str) -> Option<u64> {
    wire::parameter(query, "done")?.parse().ok()
}

/// Whose session a request's cookie names. It is looked up once, before all
/// else.
#[derive(Clone)]
struct Known(Option<Session>);

/// Looks up the session of a request's cookie: in the cache, else on a thread
/// that may wait. An address that has sent too many unknown cookies is refused.
pub async fn known(State(console): ConsoleState, mut request: Request, next: Next) -> Response<Body> {
    // A node that may trust nothing says so, whatever the cookie.
    if console.app.trusted().is_ok()
        && let Some(token) = cookie(&console.app, &request)
    {
        let address = console.app.client_of(request.extensions(), request.headers());
        match look_up(&console, address, token).await {
            Ok(session) => request.extensions_mut().insert(Known(session)),
            Err(trouble) => return trouble.into_response(),
        };
    }
    next.run(request).await
}

async fn look_up(console: &Arc<Console>, address: IpAddr, token: String) -> Result<Option<Session>, Trouble> {
    if let Some(session) = console.app.session_known(&token) {
        return Ok(Some(session));
    }
    console.strangers.check(address)?;
    let app = console.app.clone();
    let found = waiting::work(&waiting::SESSIONS, move || app.session(&token)).await??;
    if found.is_none() {
        console.strangers.failed(address);
    }
    Ok(found)
}

/// Addresses whose cookies were unknown lately. An address over its quota waits
/// for a second, and nothing is looked up for it meanwhile.
pub struct Strangers {
    failures: DefaultKeyedRateLimiter<IpAddr>,
    refused: Mutex<HashMap<IpAddr, Instant>>,
}

/// How many unknown cookies an address may send in a second, and for how long
/// it is refused then.
const UNKNOWN_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
const REFUSED: Duration = Duration::from_secs(1);
/// How many addresses are remembered.
const REFUSED_MAX: usize = 10_000;

impl Default for Strangers {
    fn default() -> Strangers {
        Strangers { failures: RateLimiter::keyed(Quota::per_second(UNKNOWN_PER_SECOND)), refused: Mutex::default() }
    }
}

impl Strangers {
    fn check(&self, address: IpAddr) -> Result<(), Trouble> {
        let refused = self.refused.lock().get(&address).is_some_and(|since| since.elapsed() < REFUSED);
        if !refused {
            return Ok(());
        }
        let text = "this address has sent too many sessions that are unknown; try again in a second";
        Err(Trouble::TooMany { text: text.to_owned(), seconds: 1 })
    }

    fn failed(&self, address: IpAddr) {
        if self.failures.check_key(&address).is_ok() {
            return;
        }
        self.failures.retain_recent();
        let mut refused = self.refused.lock();
        if refused.len() >= REFUSED_MAX {
            refused.retain(|_, since| since.elapsed() < REFUSED);
        }
        if refused.len() < REFUSED_MAX {
            refused.insert(address, Instant::now());
        }
    }
}

/// Runs a handler on a thread that may wait, since pages look at the database.
/// Forms are whole in memory by then.
pub async fn apart(request: Request, next: Next) -> Response<Body> {
    match waiting::page(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Trouble::from(error).into_response(),
    }
}

/// Holds the page after a form until it can show the result, which may have been
/// written on another node. It waits only for users who may see the page.
pub async fn caught_up(
    State(console): ConsoleState,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response<Body> {
    let partner = params.iter().find(|(name, _)| *name == "partner").map(|(_, partner)| partner);
    let made = made(request.uri().query().unwrap_or_default());
    if let (Some(partner), Some(version), &Method::GET) = (partner, made, request.method()) {
        let behind = |visit: Visit| (visit.snapshot.version < version).then(|| visit.node.published());
        if let Some(published) = Visit::enter(&console, &request, partner).ok().and_then(behind) {
            console.app.caught_up(published, version).await;
        }
    }
    next.run(request).await
}

/// What somebody has to be to do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    Manager,
    Owner,
}

impl Needs {
    fn who(self) -> &'static str {
        match self {
            Needs::Manager => "a manager or an owner can do it",
            Needs::Owner => "an owner can do it",
        }
    }
}

/// What a form says, in its order.
#[derive(Default, Debug)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form that came through [`super::door`].
    pub async fn read(request: Request) -> Result<Form, Trouble> {
        let (head, sent) = request.into_parts();
        let bytes = body(&head, sent).await?;
        Ok(Form(form_urlencoded::parse(&bytes).into_owned().collect()))
    }

    /// The same form with one field that the address says rather than it.
    pub fn with(mut self, name: &str, value: &str) -> Form {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a field says, without the spaces around it; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// The same, if it says something.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// What a field says, to the letter.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The version of what the form changes, as its page had it.
    pub fn version(&self) -> Option<u64> {
        self.get(VERSION).parse().ok()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The body of a form, up to [`FORM_BYTES_MAX`]; without a session, up to
/// [`STRANGER_BYTES_MAX`].
///
/// [`STRANGER_BYTES_MAX`]: crate::http::bodies::STRANGER_BYTES_MAX
pub async fn body(head: &Parts, body: Body) -> Result<Bytes, Trouble> {
    Ok(Allowance::read(&head.extensions, body, FORM_BYTES_MAX).await?.into())
}

/// Refuses what another site made a browser send. Browsers say where a request
/// comes from; one that does not is asked for its origin.
///
/// The origin must be that of `console.url`, whatever `Host` a proxy made of
/// it. Without that setting it must be the `Host`; with it, that will do only on
/// the machine itself, by a name that no site can have.
pub fn from_ours(app: &App, request: &Request) -> Result<(), Trouble> {
    let headers = request.headers();
    let refused = || Trouble::Forbidden("this form was not sent by a page of this console; load the page again".into());
    match headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes()) {
        Some(b"same-origin") => {}
        Some(_) => return Err(refused()),
        None if headers.get(header::ORIGIN).is_none() => return Err(refused()),
        None => {}
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().map_err(|_| refused())?;
    if app.console_origin() == Some(origin) {
        return Ok(());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let named = origin.split_once("://").map(|(_, host)| host);
    let here =
        app.console_origin().is_none() || (app.secure(request) == Secure::Loopback && host.is_some_and(is_loopback));
    if here && named.is_some() && named == host { Ok(()) } else { Err(refused()) }
}

/// Whether a `Host` can only be this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    let address = address.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>());
    address.is_ok_and(|address| address.is_loopback()) || host.split(':').next() == Some("localhost")
}

/// The session's token, if a cookie has one that may be believed here.
pub fn cookie(app: &App, request: &Request) -> Option<String> {
    let name = cookie_name(app.secure(request))?;
    // A browser that reached this machine through a proxy on it may have either.
    let names = if name == COOKIE_PLAIN { [COOKIE_SECURE, COOKIE_PLAIN] } else { [name, name] };
    let lines = request.headers().get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let pairs: Vec<(&str, &str)> = pairs.filter(|(key, _)| names.contains(key)).collect();
    names.iter().find_map(|name| pairs.iter().find(|(key, _)| key == name)).map(|(_, value)| (*value).to_owned())
}

/// How private the way is that a form came, for the cookie that it is answered
/// with: a browser that says that it is at an `https` address is.
pub fn secure(app: &App, request: &Request) -> Secure {
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let https = origin.is_some_and(|origin| origin.starts_with("https://")) && app.console_origin() == origin;
    match app.secure(request) {
        Secure::Loopback if https => Secure::TrustedProxy,
        secure => secure,
    }
}

/// What the cookie is called; nothing where it could be overheard.
fn cookie_name(secure: Secure) -> Option<&'static str> {
    match secure {
        Secure::Tls | Secure::TrustedProxy => Some(COOKIE_SECURE),
        Secure::Loopback => Some(COOKIE_PLAIN),
        Secure::Plain => None,
    }
}

/// The header that gives a browser its session; or takes it, if `token` is
/// empty.
pub fn set_cookie(secure: Secure, token: &str) -> Result<String, Trouble> {
    let name = cookie_name(secure).ok_or_else(|| {
        let why =
            "the connection is not encrypted, so users cannot sign in; use https, or a browser on the server itself";
        Trouble::Forbidden(why.into())
    })?;
    let guard = if name == COOKIE_SECURE { "; Secure" } else { "" };
    let end = if token.is_empty() { "; Max-Age=0" } else { "" };
    Ok(format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{guard}{end}"))
}

/// Whether an address asks for the form for something new: `?new`. An id may be
/// the word `new`, so no path is.
pub fn asks_for_new(request: &Request) -> bool {
    request.uri().query().is_some_and(|query| wire::parameter(query, "new").is_some())
}
