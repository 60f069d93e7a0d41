//! All partners, for the platform's administrators: created, suspended, and
//! how each is.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Person, segment};
use super::page::{Frame, PageResult, Trouble, html_as, mendable, redirect};
use super::sign_in::blocking;
use super::users::administrator;
use super::{ConsoleState, ItemPath, PREFIX, pieces, show};
use crate::domain::field::code;
use crate::domain::{FieldError, PartnerId, entity};
use crate::service::ServiceError;
use crate::wire::html::Html;

struct PartnerRow {
    id: String,
    path: String,
    name: String,
    numbers: String,
    customers: String,
    findings: String,
    state: Html,
    suspended: bool,
}

#[derive(Template)]
#[template(path = "platform.html")]
struct Platform<'a> {
    frame: Frame,
    partners: Vec<PartnerRow>,
    name: &'a str,
    id: &'a str,
    wrongs: Wrongs,
}

/// GET /console/platform
pub async fn page(State(console): ConsoleState, request: Request) -> PageResult {
    let person = administrator(&console, &request)?;
    render(person, None, &Form::default()).await
}

/// POST /console/platform
pub async fn create(State(console): ConsoleState, request: Request) -> PageResult {
    let person = administrator(&console, &request)?;
    let form = Form::read(request).await?;
    let (id, name) = match read(&form) {
        Ok(read) => read,
        Err(errors) => return render(person, Some(FormRefusal::of(errors)), &form).await,
    };
    let (service, replica, path) = (person.service(), console.app.replica.clone(), segment(id.as_str()));
    let made = blocking(move || {
        let made = service.partner_create(id, name);
        replica.follow();
        made
    });
    match made.await? {
        Ok(_) => redirect(&format!("{PREFIX}/p/{path}")),
        Err(error) => {
            person.audit(None, "partner.create", Some(&error.to_string()));
            render(person, Some(refusal(error)?), &form).await
        }
    }
}

/// POST /console/platform/{partner}/suspend and …/resume
pub async fn suspend(State(console): ConsoleState, Path((partner, verb)): ItemPath, request: Request) -> PageResult {
    let person = administrator(&console, &request)?;
    Form::read(request).await?;
    let suspend = match verb.as_str() {
        "suspend" => true,
        "resume" => false,
        _ => return Err(Trouble::NotFound),
    };
    let id: PartnerId = partner.parse().map_err(|_| Trouble::NotFound)?;
    let (service, replica) = (person.service(), console.app.replica.clone());
    let done = blocking(move || {
        let done = service.partner_suspend(&id, suspend);
        replica.follow();
        done
    });
    match done.await? {
        Ok(_) => redirect(&format!("{PREFIX}/platform")),
        Err(ServiceError::NoPartner { .. }) => Err(Trouble::NotFound),
        Err(error) => render(person, Some(FormRefusal::whole(mendable(error)?)), &Form::default()).await,
    }
}

/// The auth id and the name of a new partner.
fn read(form: &Form) -> Result<(PartnerId, Arc<str>), Vec<FieldError>> {
    let mut errors = Vec::new();
    let id = form.get("id").parse::<PartnerId>();
    if let Err(error) = &id {
        errors.push(FieldError::new("id", code::INVALID, error.to_string(), form.get("id")));
    }
    let name = entity::name(form.get("name"));
    if name.is_none() {
        errors.push(super::customers::bad_name());
    }
    match (id, name) {
        (Ok(id), Some(name)) => Ok((id, name)),
        _ => Err(errors),
    }
}

/// A partner that there is already is a matter of its id.
fn refusal(error: ServiceError) -> Result<FormRefusal, Trouble> {
    match error {
        error @ ServiceError::Exists { .. } => Ok(FormRefusal::field("id", error.to_string())),
        error => FormRefusal::from_verb(error),
    }
}

async fn render(person: Person, refusal: Option<FormRefusal>, form: &Form) -> PageResult {
    let (console, now) = (person.console.clone(), person.clock.now);
    let partners = blocking(move || {
        let row = |node: Arc<crate::service::replica::Node>| {
            let snapshot = node.snapshot();
            let tally = console.tally(&snapshot, now);
            let suspended = snapshot.partner.suspended_at.is_some();
            PartnerRow {
                id: snapshot.partner.auth_id.to_string(),
                path: segment(snapshot.partner.auth_id.as_str()),
                name: snapshot.partner.name.to_string(),
                numbers: show::thousands(tally.tabs[0]),
                customers: show::thousands(snapshot.accounts.len() as u64),
                findings: show::thousands(tally.findings()),
                state: match suspended {
                    true => pieces::mark("critical", "suspended"),
                    false => pieces::mark("good", "active"),
                },
                suspended,
            }
        };
        console.app.replica.nodes().into_iter().map(row).collect::<Vec<_>>()
    });
    let partners = partners.await?;
    let mut frame = person.frame("Platform", "platform");
    let status = if refusal.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (error, wrongs) = refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    frame.error = error;
    html_as(status, &Platform { frame, partners, name: form.get("name"), id: form.get("id"), wrongs })
}
