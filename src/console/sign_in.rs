//! Signing in and out, and choosing a password by a set-up link.
//!
//! Deliberately absent: whether a password is right, and how often one may try
//! (`service::people`).

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::gate::{self, Form, Person};
use super::page::{PageResult, Trouble, html, html_as, redirect};
use super::show::in_console;
use super::{ConsoleState, PREFIX};
use crate::http::{peer, waiting};
use crate::service::people::{PeopleError, SignIn};
use crate::wire;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    title: &'a str,
    build: &'static str,
    error: Option<String>,
    email: &'a str,
    back: &'a str,
    /// Whether a form was sent that nothing was done with.
    lost: bool,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    title: &'a str,
    build: &'static str,
    error: Option<String>,
    back: &'a str,
}

#[derive(Template)]
#[template(path = "set_up.html")]
struct SetUpPage<'a> {
    title: &'a str,
    build: &'static str,
    error: Option<String>,
    email: Option<&'a str>,
    link: &'a str,
}

/// Where to go after signing in: a page of ours, or the start page.
fn back(text: &str) -> &str {
    let ours = text.starts_with(PREFIX) && !text.contains(|c: char| c == '\\' || c.is_control() || !c.is_ascii());
    if ours { text } else { PREFIX }
}

fn query_back(request: &Request) -> String {
    wire::parameter(request.uri().query().unwrap_or_default(), "back").unwrap_or_default()
}

/// GET /console/sign-in
pub async fn form(State(console): ConsoleState, request: Request) -> PageResult {
    let to = query_back(&request);
    if Person::enter(&console, &request).is_ok() {
        return redirect(back(&to));
    }
    let lost = wire::parameter(request.uri().query().unwrap_or_default(), "form").is_some();
    html(&SignInPage { title: "Sign in", build: crate::BUILD, error: None, email: "", back: back(&to), lost })
}

/// POST /console/sign-in
pub async fn sign_in(State(console): ConsoleState, request: Request) -> PageResult {
    let secure = gate::secure(&console.app, &request);
    let from = console.app.client(request.headers(), peer(request.extensions()));
    let form = Form::read(request).await?;
    // Before a password is looked at: it would have come in the clear.
    gate::set_cookie(secure, "x")?;
    let (email, password) = (form.get("email").to_owned(), form.raw("password").to_owned());
    let people = console.app.people.clone();
    let signed = signing(move || people.sign_in(&email, &password, from)).await?;
    let to = back(form.get("back"));
    match signed {
        Ok(signed) => enter(secure, signed, to),
        Err(error) => {
            let (wait, (status, error)) = (wait_of(&error), told(error)?);
            let page = SignInPage {
                title: "Sign in",
                build: crate::BUILD,
                error: Some(error),
                email: form.get("email"),
                back: to,
                lost: form.has("form"),
            };
            with_wait(html_as(status, &page)?, wait)
        }
    }
}

/// POST /console/code
pub async fn code(State(console): ConsoleState, request: Request) -> PageResult {
    let secure = gate::secure(&console.app, &request);
    let from = console.app.client(request.headers(), peer(request.extensions()));
    let token = gate::cookie(&console.app, &request).unwrap_or_default();
    let form = Form::read(request).await?;
    let code = form.get("code").to_owned();
    let people = console.app.people.clone();
    let to = back(form.get("back"));
    match signing(move || people.confirm_code(&token, &code, from)).await? {
        Ok(signed) => enter(secure, signed, to),
        // The first half of signing in is over, or never was.
        Err(PeopleError::Refused) => redirect(&format!("{PREFIX}/sign-in")),
        Err(error) => {
            let (wait, (status, error)) = (wait_of(&error), told(error)?);
            let page = CodePage { title: "One more step", build: crate::BUILD, error: Some(error), back: to };
            with_wait(html_as(status, &page)?, wait)
        }
    }
}

/// GET /console/code
pub async fn code_form(request: Request) -> PageResult {
    let to = query_back(&request);
    html(&CodePage { title: "One more step", build: crate::BUILD, error: None, back: back(&to) })
}

/// POST /console/sign-out
pub async fn sign_out(State(console): ConsoleState, request: Request) -> PageResult {
    let secure = gate::secure(&console.app, &request);
    if let Some(token) = gate::cookie(&console.app, &request) {
        let people = console.app.people.clone();
        signing(move || people.sign_out(&token)).await??;
    }
    with_cookie(redirect(&format!("{PREFIX}/sign-in"))?, &gate::set_cookie(secure, "")?)
}

/// GET /console/set-up/{link}
pub async fn set_up_form(State(console): ConsoleState, Path(link): Path<String>) -> PageResult {
    let people = console.app.people.clone();
    let asked = link.clone();
    match signing(move || people.link_user(&asked)).await? {
        Ok(user) => html(&SetUpPage {
            title: "Choose a password",
            build: crate::BUILD,
            error: None,
            email: Some(&user.email),
            link: &link,
        }),
        Err(error) => {
            let (status, error) = told(error)?;
            let title = "This link does not work";
            html_as(status, &SetUpPage { title, build: crate::BUILD, error: Some(error), email: None, link: "" })
        }
    }
}

/// POST /console/set-up/{link}
pub async fn set_up(State(console): ConsoleState, Path(link): Path<String>, request: Request) -> PageResult {
    let secure = gate::secure(&console.app, &request);
    let from = console.app.client(request.headers(), peer(request.extensions()));
    let form = Form::read(request).await?;
    gate::set_cookie(secure, "x")?;
    let (people, asked) = (console.app.people.clone(), link.clone());
    let user = signing(move || people.link_user(&asked)).await?;
    let (password, again) = (form.raw("password").to_owned(), form.raw("again"));
    let result = if password == again {
        let (people, asked) = (console.app.people.clone(), link.clone());
        signing(move || people.set_up(&asked, &password, from)).await?
    } else {
        Err(PeopleError::WeakPassword("was typed in two ways; type the same twice".to_owned()))
    };
    match result {
        Ok(signed) => enter(secure, signed, PREFIX),
        Err(error) => {
            let (wait, (status, error)) = (wait_of(&error), told(error)?);
            let email = user.as_ref().ok().map(|user| &*user.email);
            let title = "Choose a password";
            let page = SetUpPage { title, build: crate::BUILD, error: Some(error), email, link: &link };
            with_wait(html_as(status, &page)?, wait)
        }
    }
}

/// After how many seconds to try again.
fn wait_of(error: &PeopleError) -> Option<u64> {
    if let PeopleError::Throttled { seconds } = error { Some(*seconds) } else { None }
}

fn with_wait(mut response: http::Response<Body>, wait: Option<u64>) -> PageResult {
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// Somebody whose password was right: in, or on to their code.
fn enter(secure: crate::http::Secure, signed: SignIn, to: &str) -> PageResult {
    let cookie = gate::set_cookie(secure, &signed.token)?;
    let to = if signed.needs_code { format!("{PREFIX}/code?back={}", gate::query_value(to)) } else { to.to_owned() };
    with_cookie(redirect(&to)?, &cookie)
}

fn with_cookie(mut response: http::Response<Body>, cookie: &str) -> PageResult {
    let value = HeaderValue::try_from(cookie).map_err(|_| Trouble::Internal("a token is no cookie".into()))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

/// What somebody who signs in can do something about.
fn told(error: PeopleError) -> Result<(StatusCode, String), Trouble> {
    let status = match error {
        PeopleError::Refused | PeopleError::Code => StatusCode::UNAUTHORIZED,
        PeopleError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        PeopleError::Link => StatusCode::NOT_FOUND,
        PeopleError::WeakPassword(_) => StatusCode::UNPROCESSABLE_ENTITY,
        other => return Err(other.into()),
    };
    Ok((status, in_console(&error.to_string())))
}

/// Work of strangers, which may hash: a flood of it holds up nobody else.
async fn signing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    Ok(waiting::work(&waiting::SIGN_INS, work).await?)
}

/// A short look at the database, on a thread that may wait.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    Ok(waiting::work(&waiting::READS, work).await?)
}

#[cfg(test)]
mod tests {
    use super::back;

    #[test]
    fn the_way_back_leads_to_a_page_of_ours() {
        assert_eq!(back("/console/p/PA_1/numbers?q=22"), "/console/p/PA_1/numbers?q=22");
        for text in [
            "",
            "//evil.example",
            "https://evil.example",
            "/api",
            "/console\\..\\x",
            "/console\r\nX: y",
            "/console\u{1}",
            "/console\u{7f}",
        ] {
            assert_eq!(back(text), "/console", "{text:?}");
        }
    }
}
