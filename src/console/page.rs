//! The common parts of all pages: the frame, the headers, and error pages.

use askama::Template;
use axum::body::Body;
use axum::response::IntoResponse;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use memchr::memmem;

use super::PREFIX;
use super::pieces::MarkupPiece;
use super::show::{PageClock, in_console};
use crate::domain::field;
use crate::domain::{FieldError, Time};
use crate::http::bodies::BodyError;
use crate::http::places::{NoPlace, RETRY_SECONDS};
use crate::http::waiting::NotDone;
use crate::service::people::PeopleError;
use crate::service::token;
use crate::service::{ServiceError, StoreError};
use crate::wire::html::Html;

/// The field that names the page a form was sent from: a second click has the
/// name of the first, a second form has another.
pub const ONCE: &str = "once";
/// The code of an error whose message is a sentence of its own.
pub const SENTENCE: &str = "SENTENCE";

/// The title of a page that is not shown, because of a word of its address.
pub const BAD_ADDRESS: &str = "This address is not understood";

/// No script, style or picture but ours; nobody may frame a page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// What almost every page fits into, so that none is moved while it grows.
const PAGE_BYTES: usize = 65_536;

/// What a handler answers.
pub type PageResult = Result<Response<Body>, Trouble>;

/// Around every page of somebody who is signed in.
pub struct Frame {
    pub title: String,
    /// Which entry of the menu is the current one.
    pub section: &'static str,
    /// Where the partner's pages begin; empty on pages that are about none.
    pub base: String,
    pub partner_id: String,
    pub partner_name: String,
    pub email: String,
    /// Whose clock the page shows; the browser offers its own for UTC.
    pub zone: String,
    pub role: &'static str,
    pub administrator: bool,
    /// May do the verbs.
    pub manages: bool,
    /// May see to people, keys and settings.
    pub owns: bool,
    /// How old the data is, where that has to be said.
    pub stale: Option<String>,
    pub notice: Option<Notice>,
    /// What went wrong with what was sent.
    pub error: Option<String>,
    pub build: &'static str,
}

/// What has just been done.
pub struct Notice {
    pub text: Html,
    /// The version that can be undone.
    pub undo: Option<u64>,
}

impl Notice {
    pub fn plain(text: &str) -> Notice {
        Notice { text: text.into(), undo: None }
    }
}

impl Frame {
    pub fn with(mut self, notice: Option<Notice>) -> Frame {
        self.notice = notice;
        self
    }

    /// What went wrong, with the times in it as the reader's clock has them.
    pub fn failed(mut self, error: impl AsRef<str>) -> Frame {
        self.error = Some(PageClock::new(Time::now(), &self.zone).plain_told(error.as_ref()));
        self
    }

    /// For the menu: whether an entry is the current one.
    pub fn current(&self, section: &str) -> bool {
        self.section == section
    }
}

/// A page as an answer.
pub fn html(page: &impl Template) -> PageResult {
    html_as(StatusCode::OK, page)
}

pub fn html_as(status: StatusCode, page: &impl Template) -> PageResult {
    let mut text = String::with_capacity(PAGE_BYTES);
    page.render_into(&mut text).map_err(|error| Trouble::Internal(error.to_string()))?;
    let text = named(text);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    guard(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

/// What keeps pages to themselves.
pub fn guard(headers: &mut http::HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
}

/// To another page, by GET. `to` is a path of ours.
pub fn redirect(to: &str) -> PageResult {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    guard(response.headers_mut());
    let to = HeaderValue::try_from(to).map_err(|_| Trouble::Internal(format!("{to:?} is no address")))?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

/// To a page that says what was just done, and can undo it.
pub fn done(to: &str, version: Option<u64>) -> PageResult {
    match version {
        Some(version) => {
            let glue = if to.contains('?') { '&' } else { '?' };
            redirect(&format!("{to}{glue}done={version}"))
        }
        None => redirect(to),
    }
}

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// Unknown, or another partner's: one answer.
    NotFound,
    SignIn {
        back: String,
        /// Whether a form was sent, and nothing was done with it.
        form: bool,
    },
    Forbidden(String),
    Bad(String),
    /// A word of the address that its page does not read.
    Address(String),
    /// The form was not taken in: it is too long, or there is no memory for it.
    Body(BodyError),
    /// A form in a content type that forms do not have.
    Kind(String),
    /// More at once, or more often, than there may be.
    TooMany {
        text: String,
        seconds: u64,
    },
    /// The server has more to do than it can.
    Busy,
    /// The database does not answer; reading goes on.
    Unavailable,
    /// The partner's rows do not agree with their digest.
    Damaged,
    /// It has not answered for so long that nobody is let in any more.
    Stale(String),
    Internal(String),
}

impl From<NotDone> for Trouble {
    fn from(error: NotDone) -> Trouble {
        match error {
            NotDone::Busy => Trouble::Busy,
            NotDone::Panicked => Trouble::Internal("work on a thread that may wait panicked".into()),
        }
    }
}

impl From<NoPlace> for Trouble {
    fn from(taken: NoPlace) -> Trouble {
        Trouble::TooMany { text: taken.to_string(), seconds: RETRY_SECONDS }
    }
}

impl From<BodyError> for Trouble {
    fn from(error: BodyError) -> Trouble {
        Trouble::Body(error)
    }
}

impl From<PeopleError> for Trouble {
    fn from(error: PeopleError) -> Trouble {
        match error {
            PeopleError::Unknown => Trouble::NotFound,
            PeopleError::Store(error) if error.passing() => Trouble::Unavailable,
            PeopleError::Forbidden(why) => Trouble::Forbidden(why.to_owned()),
            other => Trouble::Internal(other.to_string()),
        }
    }
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Trouble {
        match error {
            ServiceError::Unknown { .. } | ServiceError::NoPartner { .. } => Trouble::NotFound,
            ServiceError::Behind => Trouble::Unavailable,
            ServiceError::Store(error) if error.passing() => Trouble::Unavailable,
            ServiceError::Store(StoreError::Damaged { .. }) => Trouble::Damaged,
            ServiceError::Store(error) => Trouble::Internal(error.to_string()),
            other => Trouble::Bad(other.to_string()),
        }
    }
}

/// What a verb's refusal says to the person, or trouble where there is nothing
/// that they can mend.
pub fn mendable(error: ServiceError) -> Result<String, Trouble> {
    match error {
        ServiceError::Invalid(errors) => Ok(told(&errors)),
        ServiceError::Store(_) | ServiceError::Behind => Err(error.into()),
        other => Ok(in_console(&other.to_string())),
    }
}

/// What went wrong, beside the answer that says it, so that it can be said with
/// the menu around it.
#[derive(Clone, Debug)]
pub struct Told {
    pub title: &'static str,
    pub text: String,
}

/// The same with the menu of somebody who is signed in.
#[derive(Template)]
#[template(path = "trouble_framed.html")]
pub struct FramedTrouble<'a> {
    pub frame: Frame,
    pub text: &'a str,
    /// The same page without the words of its address, where those are wrong.
    pub plain: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    title: &'a str,
    text: &'a str,
    build: &'static str,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response<Body> {
        let body = if let Trouble::Body(error) = &self { error.to_string() } else { String::new() };
        let unread = if let Trouble::Kind(kind) = &self { no_form(kind) } else { String::new() };
        let (status, title, text) = match &self {
            Trouble::SignIn { back, form } => {
                let lost = form.then(|| "form=lost".to_owned());
                let back = Some(back).filter(|back| !back.is_empty()).map(|back| format!("back={}", query_value(back)));
                let words: Vec<String> = lost.into_iter().chain(back).collect();
                let glue = if words.is_empty() { "" } else { "?" };
                let to = format!("{PREFIX}/sign-in{glue}{}", words.join("&"));
                return redirect(&to).unwrap_or_else(|_| Response::new(Body::empty()));
            }
            Trouble::NotFound => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "The address may be mistyped, or what it named is gone.",
            ),
            Trouble::Forbidden(why) => (StatusCode::FORBIDDEN, "This is not for you to do", why.as_str()),
            Trouble::Bad(why) => (StatusCode::UNPROCESSABLE_ENTITY, "That did not work", why.as_str()),
            Trouble::Address(why) => (StatusCode::UNPROCESSABLE_ENTITY, BAD_ADDRESS, why.as_str()),
            Trouble::Body(error) => (error.status(), "The form was not taken", body.as_str()),
            Trouble::Kind(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "That is not a form", unread.as_str()),
            Trouble::TooMany { text, .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many at once", text.as_str()),
            Trouble::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is busy",
                "It has more to do than it can. Nothing was changed; try again in a few seconds.",
            ),
            Trouble::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database does not answer",
                "Nothing was changed. Try again in a few seconds; what was loaded before can still be looked at.",
            ),
            Trouble::Damaged => (
                StatusCode::SERVICE_UNAVAILABLE,
                "This partner is not served",
                "The data of this partner is damaged. Nothing of it is shown or changed until the server's operator \
                 has repaired it.",
            ),
            Trouble::Stale(why) => (StatusCode::SERVICE_UNAVAILABLE, "The database does not answer", why.as_str()),
            Trouble::Internal(cause) => {
                tracing::error!(cause, "a page of the console failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something broke",
                    "Nothing is lost. The log of the server has the cause.",
                )
            }
        };
        let page = TroublePage { title, text, build: crate::BUILD };
        let mut response = html_as(status, &page).unwrap_or_else(|_| Response::new(Body::from(text.to_owned())));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Trouble::TooMany { seconds, .. } = &self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
        }
        response.extensions_mut().insert(Told { title, text: text.to_owned() });
        response
    }
}

fn no_form(kind: &str) -> String {
    let kind = if kind.is_empty() { "no content type".to_owned() } else { format!("the content type {kind}") };
    format!("The form came with {kind}. Send it as application/x-www-form-urlencoded or multipart/form-data.")
}

/// A page whose forms name it, each in a field; a form with files in its
/// address, since its body is not read here. Signing out twice is signing out,
/// so a page without another form is the same each time.
pub fn named(html: String) -> String {
    const POST: &str = "method=\"post\"";
    const SIGN_OUT: &str = "action=\"/console/sign-out\"";
    if !html.contains(POST) {
        return html;
    }
    let name = token::holder();
    let mut out = String::with_capacity(html.len() + 1_000);
    let mut rest = html.as_str();
    let forms = memmem::Finder::new("<form ");
    while let Some(at) = forms.find(rest.as_bytes()) {
        let (before, form) = rest.split_at(at);
        let (tag, after) = form.split_at(form.find('>').map_or(form.len(), |end| end + 1));
        out.push_str(before);
        if !tag.contains(POST) || tag.contains(SIGN_OUT) {
            out.push_str(tag);
        } else if tag.contains("multipart/form-data") {
            let action = tag.split_once("action=\"").and_then(|(_, rest)| rest.split_once('"'));
            let action = action.map_or("", |(action, _)| action);
            out.push_str(&tag.replacen(&format!("\"{action}\""), &format!("\"{action}?{ONCE}={name}\""), 1));
        } else {
            out.push_str(tag);
            out.push_str(Html::of(&MarkupPiece::Hidden { name: ONCE, value: &name }).as_str());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A field's errors in one sentence.
pub fn told(errors: &[FieldError]) -> String {
    let name = |error: &FieldError| match error.field.as_str() {
        "account_auth_id" => "customer".to_owned(),
        "application_id" => "application".to_owned(),
        "trunk_id" => "trunk".to_owned(),
        "expires_at" | "expires" => "expires on".to_owned(),
        "until" => "reserved until".to_owned(),
        field => field.replace('_', " "),
    };
    let line = |error: &FieldError| match error.code {
        SENTENCE => error.message.clone(),
        _ => format!("{}: {}", name(error), in_console(&error.message)),
    };
    let (errors, more) = field::first(errors.to_vec());
    let lines: Vec<String> = errors.iter().map(line).collect();
    match lines.is_empty() {
        true => "the form could not be read; load the page again".to_owned(),
        false => lines.join("; ") + &field::and_more(more),
    }
}

/// Text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Text as a value in a query.
pub fn query_value(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
