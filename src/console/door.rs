//! What holds for every form of the console, whatever its handler does.
//!
//! Each form's address is an entry of the table in `console.rs` and says with
//! which page it belongs ([`Posted::page`]) and how it is guarded ([`Guard`]).
//! Invariants: a form comes from a page of ours, in a content type of forms; a
//! sensitive one asks for the password again where the sign-in is not recent; a
//! form that is sent twice is done once, and both get the first answer; a
//! refused form is a redirect to its page, which has what was typed and marks
//! what is wrong; a GET of a form's address leads to its page.
//! Deliberately absent: what a form does, and whether its visitor may do it.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use multer::Multipart;
use tokio::sync::watch;
use tracing::Instrument;

use super::gate::{self, Person, Visit};
use super::kept::{Doing, KeptAnswer, Turn};
use super::page::{self, Frame, ONCE, Told, Trouble, html_as};
use super::{Console, ConsoleState, show};
use crate::domain::Time;
use crate::http::waiting;
use crate::service::people::PeopleError;
use crate::service::token;
use crate::wire;

/// The parameter that names the kept page of a refused form.
const KEPT: &str = "said";
/// The field of the password that is asked for again.
const PASSWORD: &str = "confirm_password";
/// The longest sensitive form, in bytes: its fields are in the page that asks
/// for the password.
const SENSITIVE_BYTES_MAX: usize = 64 << 10;

/// Who may send a form, before its handler asks for a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// Anybody: signing in, signing out, set-up links.
    Anybody,
    /// Somebody who is signed in.
    Session,
    /// Somebody who gave the password within the last 15 minutes.
    Sensitive,
    /// The same for these verbs, which are the last part of the address.
    SensitiveVerbs(&'static [&'static str]),
}

impl Guard {
    fn asks(self, path: &str) -> bool {
        match self {
            Guard::Anybody | Guard::Session => false,
            Guard::Sensitive => true,
            Guard::SensitiveVerbs(verbs) => path.rsplit('/').next().is_some_and(|verb| verbs.contains(&verb)),
        }
    }
}

/// An address that takes a form.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub path: &'static str,
    /// The page that the form is on, with the same parameters; where a refused
    /// form and a GET of the address lead.
    pub page: &'static str,
    pub guard: Guard,
    /// Whether it takes files, whose bodies are read by the handler alone.
    pub files: bool,
}

impl Posted {
    pub const fn new(path: &'static str, page: &'static str, guard: Guard) -> Posted {
        Posted { path, page, guard, files: false }
    }
}

/// A form on its way to its handler.
pub async fn form(
    State((console, posted)): State<(Arc<Console>, Posted)>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response<Body> {
    let page = page_of(posted.page, &params);
    let way_back = with_query(&page, request.uri().query());
    let entered = enter(&console, posted, &params, request, &page).await;
    match entered {
        Ok(Entered::Pass(request)) => next.run(request).await,
        Ok(Entered::Answer(answer)) => answer,
        Ok(Entered::Once { person, request, key }) => {
            let to = with_query(&page, request.uri().query());
            once(&console, person, request, key, to, next).await
        }
        // The session has ended, or was never there: nothing is kept of the form, and the
        // sign-in page says so and leads back to the form's page.
        Err(Trouble::SignIn { form, .. }) => Trouble::SignIn { back: way_back, form }.into_response(),
        Err(trouble) => trouble.into_response(),
    }
}

enum Entered {
    /// Of somebody who is not known: nothing is kept of it.
    Pass(Request),
    Answer(Response<Body>),
    Once {
        person: Box<Person>,
        request: Request,
        /// What a second click has too; `None` if the form has no token.
        key: Option<[u8; 32]>,
    },
}

async fn enter(
    console: &Arc<Console>,
    posted: Posted,
    params: &RawPathParams,
    request: Request,
    page: &str,
) -> Result<Entered, Trouble> {
    if posted.guard == Guard::Anybody {
        gate::from_ours(&console.app, &request)?;
        let kind = FormType::of(&request)?;
        return Ok(Entered::Pass(fields_only(request, kind).await?.0));
    }
    let partner = params.iter().find(|(name, _)| *name == "partner").map(|(_, partner)| partner);
    let visit = partner.and_then(|partner| Visit::enter(console, &request, partner).ok());
    let (person, frame) = match visit {
        Some(visit) => (Person::enter(console, &request)?, Some(visit.frame("", ""))),
        None => (Person::enter(console, &request)?, None),
    };
    gate::from_ours(&console.app, &request)?;
    let kind = FormType::of(&request)?;
    let path = request.uri().path().to_owned();
    if posted.files && kind == FormType::Multipart {
        let token = request.uri().query().and_then(|query| wire::parameter(query, ONCE));
        let key = token.map(|token| digest(&[&person.session.id, &path, &token]));
        return Ok(Entered::Once { person: Box::new(person), request, key });
    }
    let (request, mut fields) = fields_only(request, kind).await?;
    let confirmed = take(&mut fields, PASSWORD);
    if posted.guard.asks(&path) && !person.session.recent {
        let asked = match confirmed {
            None => Some(None),
            Some(password) => confirm(console, &person, password).await?.map(Some),
        };
        if let Some(error) = asked {
            let frame = frame.unwrap_or_else(|| person.frame("", ""));
            let answer = ask(&person, frame, error, &request, &fields, page)?;
            return Ok(Entered::Answer(kept(console, &person, answer, page).await));
        }
    }
    let token = take(&mut fields, ONCE);
    let body = encode(&fields);
    let key = token.map(|token| digest(&[&person.session.id, &path, &token, &body]));
    let request = request.map(|_| Body::from(body));
    Ok(Entered::Once { person: Box::new(person), request, key })
}

/// Checks the password again; what is wrong, if it is not right.
async fn confirm(console: &Arc<Console>, person: &Person, password: String) -> Result<Option<String>, Trouble> {
    let (people, token, user) = (console.app.people.clone(), person.token.clone(), person.user().id.clone());
    match waiting::work(&waiting::SIGN_INS, move || people.confirm(&user, &token, &password)).await? {
        Ok(()) => Ok(None),
        Err(PeopleError::Refused) => Ok(Some("the password is wrong".to_owned())),
        Err(error @ PeopleError::Throttled { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm<'a> {
    frame: Frame,
    /// Where the form was on its way to.
    action: &'a str,
    fields: &'a [(String, String)],
    since: String,
    back: &'a str,
}

/// The page that asks for the password, and carries the form's fields on.
fn ask(
    person: &Person,
    mut frame: Frame,
    error: Option<String>,
    request: &Request,
    fields: &[(String, String)],
    back: &str,
) -> Result<Response<Body>, Trouble> {
    if encode(fields).len() > SENSITIVE_BYTES_MAX {
        return Err(Trouble::Bad("this form is too long; send it in parts".into()));
    }
    frame.title = "Confirm your password".to_owned();
    frame.error = error;
    let action = request.uri().path_and_query().map_or_else(|| request.uri().path(), |uri| uri.as_str());
    let since = show::span(Time::now().seconds().abs_diff(person.session.created_at.seconds()));
    let fields: Vec<(String, String)> = fields.iter().filter(|(name, _)| name != ONCE).cloned().collect();
    html_as(StatusCode::UNPROCESSABLE_ENTITY, &Confirm { frame, action, fields: &fields, since, back })
}

/// Does a form once for all clicks that send it, also if the browser gave the
/// first of them up meanwhile.
async fn once(
    console: &Arc<Console>,
    person: Box<Person>,
    request: Request,
    key: Option<[u8; 32]>,
    to: String,
    next: Next,
) -> Response<Body> {
    let Some(key) = key else {
        let response = next.run(request).await;
        return kept(console, &person, response, &to).await;
    };
    let waiting = match console.answers.turn(key) {
        Turn::Again(waiting) => waiting,
        Turn::First(doing, waiting) => {
            let console = console.clone();
            let work = async move {
                let response = next.run(request).await;
                let refused = response.status().is_client_error() || response.status().is_server_error();
                let response = kept(&console, &person, response, &to).await;
                give(doing, response, !refused).await;
            };
            tokio::spawn(waiting::SERVING.scope((), work).in_current_span());
            waiting
        }
    };
    match answered(waiting).await {
        Some(answer) => answer.response(),
        None => Trouble::Internal("a form's work broke off".into()).into_response(),
    }
}

async fn give(doing: Doing, response: Response<Body>, keep: bool) {
    let (head, body) = response.into_parts();
    // Pages are made whole, so their bodies cannot fail.
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else { return };
    let told = head.extensions.get::<Told>().cloned();
    doing.answer(KeptAnswer { status: head.status, headers: head.headers, body, told }, keep);
}

async fn answered(mut waiting: watch::Receiver<Option<Arc<KeptAnswer>>>) -> Option<Arc<KeptAnswer>> {
    waiting.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone())
}

/// The page of a refused form becomes a redirect to it.
async fn kept(console: &Arc<Console>, person: &Person, response: Response<Body>, to: &str) -> Response<Body> {
    let refused = matches!(response.status(), StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT);
    if !refused || response.extensions().get::<Told>().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
        return Trouble::Internal("a page broke off".into()).into_response();
    };
    let path = to.split('?').next().unwrap_or(to);
    let Some(id) = console.pages.keep(&person.session.id, path, body.clone()) else {
        return Response::from_parts(head, Body::from(body));
    };
    let glue = if to.contains('?') { '&' } else { '?' };
    page::redirect(&format!("{to}{glue}{KEPT}={id}")).unwrap_or_else(IntoResponse::into_response)
}

/// Around every page: shows the kept page of a refused form, and gives trouble
/// the menu of somebody who is signed in.
pub async fn pages(
    State(console): ConsoleState,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response<Body> {
    let mut asked = Request::new(Body::empty());
    *asked.method_mut() = request.method().clone();
    *asked.uri_mut() = request.uri().clone();
    *asked.headers_mut() = request.headers().clone();
    *asked.extensions_mut() = request.extensions().clone();
    if let Some(page) = kept_page(&console, &asked) {
        return page;
    }
    let response = next.run(request).await;
    let Some(told) = response.extensions().get::<Told>() else { return response };
    let partner = params.iter().find(|(name, _)| *name == "partner").map(|(_, partner)| partner);
    let visit = partner.and_then(|partner| Visit::enter(&console, &asked, partner).ok());
    let frame = match visit {
        Some(visit) => visit.frame(told.title, ""),
        None => match Person::enter(&console, &asked) {
            Ok(person) => person.frame(told.title, ""),
            Err(_) => return response,
        },
    };
    let (status, text) = (response.status(), told.text.clone());
    let plain = Some(asked.uri().path()).filter(|_| told.title == page::BAD_ADDRESS);
    let Ok(framed) = html_as(status, &page::FramedTrouble { frame, text: &text, plain }) else { return response };
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, framed.into_body())
}

fn kept_page(console: &Arc<Console>, asked: &Request) -> Option<Response<Body>> {
    if asked.method() != Method::GET && asked.method() != Method::HEAD {
        return None;
    }
    let id = wire::parameter(asked.uri().query()?, KEPT)?;
    let person = Person::enter(console, asked).ok()?;
    let body = console.pages.find(&person.session.id, asked.uri().path(), &id)?;
    let mut response = Response::new(Body::from(body));
    page::guard(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Some(response)
}

/// GET of an address that takes a form only: to the form's page.
pub async fn to_page(State(posted): State<Posted>, params: RawPathParams, request: Request) -> page::PageResult {
    page::redirect(&with_query(&page_of(posted.page, &params), request.uri().query()))
}

/// The address of a form's page: its pattern with the parameters of this one.
fn page_of(pattern: &str, params: &RawPathParams) -> String {
    let mut page = pattern.to_owned();
    for (name, value) in params {
        page = page.replace(&format!("{{{name}}}"), &gate::segment(value));
    }
    page
}

/// A page's address with what the form's address asks for besides.
fn with_query(page: &str, query: Option<&str>) -> String {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let rest = pairs.filter(|(name, _)| name != ONCE && name != KEPT);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(rest).finish();
    let glue = if page.contains('?') { '&' } else { '?' };
    if query.is_empty() { page.to_owned() } else { format!("{page}{glue}{query}") }
}

/// The content types that browsers send forms in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FormType {
    Fields,
    Multipart,
}

impl FormType {
    fn of(request: &Request) -> Result<FormType, Trouble> {
        let line = request.headers().get(header::CONTENT_TYPE);
        let kind = line.and_then(|line| line.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Ok(FormType::Fields),
            "multipart/form-data" => Ok(FormType::Multipart),
            _ => Err(Trouble::Kind(kind.chars().take(100).collect())),
        }
    }
}

/// A form's fields, and the request without a body that handlers would read
/// otherwise: they get fields in one content type, whatever the browser sent.
async fn fields_only(request: Request, kind: FormType) -> Result<(Request, Vec<(String, String)>), Trouble> {
    let boundary = match kind {
        FormType::Fields => None,
        FormType::Multipart => {
            let line = request.headers().get(header::CONTENT_TYPE).and_then(|line| line.to_str().ok());
            let boundary = multer::parse_boundary(line.unwrap_or_default());
            Some(boundary.map_err(|_| Trouble::Bad("the form's content type has no boundary".into()))?)
        }
    };
    let (mut head, body) = request.into_parts();
    let bytes = gate::body(&head, body).await?;
    let fields = match boundary {
        None => form_urlencoded::parse(&bytes).into_owned().collect(),
        Some(boundary) => parts(bytes, boundary).await?,
    };
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    head.headers.remove(header::CONTENT_LENGTH);
    let body = encode(&fields);
    Ok((Request::from_parts(head, Body::from(body)), fields))
}

async fn parts(bytes: Bytes, boundary: String) -> Result<Vec<(String, String)>, Trouble> {
    let broken = |error: multer::Error| Trouble::Bad(format!("the form cannot be read: {error}"));
    let body = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
    let mut parts = Multipart::new(body, boundary);
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        fields.push((name, part.text().await.map_err(broken)?));
    }
    Ok(fields)
}

fn encode(fields: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn take(fields: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let found = fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    fields.retain(|(key, _)| key != name);
    found
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    token::sha256(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_page_names_it() {
        let page = "<form method=\"get\" action=\"/a\"></form><form method=\"post\" action=\"/b\" class=\"x\"><input>\
                    </form><form class=\"y\" method=\"post\" action=\"/c\" enctype=\"multipart/form-data\">";
        let named = page::named(page.to_owned());
        let name = named.split("name=\"once\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("one");
        let expected = format!(
            "<form method=\"get\" action=\"/a\"></form><form method=\"post\" action=\"/b\" class=\"x\"><input type=\"\
             hidden\" name=\"once\" value=\"{name}\"><input></form><form class=\"y\" method=\"post\" \
             action=\"/c?once={name}\" enctype=\"multipart/form-data\">"
        );
        assert_eq!(named, expected);
        for same in ["<form method=\"get\">", "<form method=\"post\" action=\"/console/sign-out\">"] {
            assert_eq!(page::named(same.to_owned()), same);
        }
    }

    #[test]
    fn verbs_that_are_sensitive_are_the_last_part_of_an_address() {
        let guard = Guard::SensitiveVerbs(&["rotate"]);
        assert!(guard.asks("/console/p/PA_1/checks/webhooks/wh_1/rotate"));
        assert!(!guard.asks("/console/p/PA_1/checks/webhooks/rotate/test"));
        assert!(!Guard::Session.asks("/x/rotate") && Guard::Sensitive.asks("/x"));
    }

    #[test]
    fn a_way_back_keeps_what_the_address_asks_for() {
        assert_eq!(with_query("/a", None), "/a");
        assert_eq!(with_query("/a?new", Some("once=1&severity=x&said=2")), "/a?new&severity=x");
        assert_eq!(with_query("/a", Some("q=%2B91")), "/a?q=%2B91");
    }

    #[test]
    fn digests_tell_where_a_part_ends() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
