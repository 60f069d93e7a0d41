//! The partner's settings, for owners.

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use std::collections::BTreeMap;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit};
use super::page::{Frame, PageResult, Trouble, done, html_as};
use super::schedules::zones;
use super::{ConsoleState, diff};
use crate::billing::Period;
use crate::domain::field::code;
use crate::domain::quarantine::Quarantine;
use crate::domain::setting::AfterExpiry;
use crate::domain::{Country, FieldError, Setting, setting};
use crate::service::verbs::billing::{BillingView, Wish, calendar};
use crate::service::{WriteOutcome, quarantine_tag};
use crate::wire::html::Html;

/// The longest quarantine, in days.
const DAYS_MAX: u32 = 3_650;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    /// The version that the form of the quarantine changes.
    version: u64,
    days: String,
    countries: String,
    chosen: bool,
    default: String,
    billing: BillingForm,
    zones: Html,
    wrongs: Wrongs,
}

/// The zone and the rule of bills, as they are or as they were typed.
struct BillingForm {
    /// The version that the form changes.
    version: u64,
    zone: String,
    stop: bool,
    /// What counts this month, and since when another choice will.
    now: String,
    next: Option<String>,
}

/// GET /console/p/{partner}/settings
pub async fn page(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Owner)?;
    let mut notice = diff::notice(&visit, request.uri().query().unwrap_or_default());
    if let Some(notice) = &mut notice {
        notice.undo = None;
    }
    let frame = visit.frame("Settings", "settings").with(notice);
    render(&visit, frame, None, Wrongs::default())
}

/// POST /console/p/{partner}/settings/quarantine
pub async fn quarantine(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let chosen = match (form.has("reset"), read(&form)) {
        (true, _) => None,
        (false, Ok(chosen)) => Some(chosen),
        (false, Err(errors)) => return refused(&visit, &form, FormRefusal::of(errors)),
    };
    let act = visit.act("settings.quarantine", move |service, key| service.quarantine_choose(key, chosen.as_ref()));
    match act.await {
        Ok(changed) => {
            super::keys::follow(&console).await?;
            done(&format!("{}/settings", visit.base), changed.version)
        }
        Err(error) => refused(&visit, &form, FormRefusal::from_verb(error)?),
    }
}

/// POST /console/p/{partner}/settings/billing
pub async fn billing(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let after_expiry = AfterExpiry::parse(form.get("after_expiry"));
    if after_expiry.is_none() {
        return refused(
            &visit,
            &form,
            FormRefusal::field("after_expiry", "choose whether expired numbers are charged"),
        );
    }
    let wish = Wish { zone: Some(form.get("zone").trim().to_owned()), after_expiry };
    let act = visit.act("settings.billing", move |service, key| service.billing_choose(key, &wish));
    match act.await {
        Ok(outcome) => {
            super::keys::follow(&console).await?;
            let version = match outcome {
                WriteOutcome::Done { version, .. } => version,
                WriteOutcome::Again(_) => None,
            };
            done(&format!("{}/settings", visit.base), version)
        }
        Err(error) => refused(&visit, &form, FormRefusal::from_verb(error)?),
    }
}

/// The billing card: what was typed wrongly, or what is chosen.
fn billing_form(visit: &Visit, form: Option<&Form>, version: Option<u64>) -> Result<BillingForm, Trouble> {
    let view = BillingView::of(&calendar(&visit.newest())?, visit.clock.now);
    let latest = view.next.as_ref().unwrap_or(&view.current);
    let typed = form.filter(|form| form.has("zone"));
    let said = |period: &Period| {
        let rule = match period.after_expiry {
            AfterExpiry::Charge => "expired numbers are charged",
            AfterExpiry::Stop => "expired numbers are not charged",
        };
        format!("{}: days of {}, {rule}", period.month, period.zone)
    };
    Ok(BillingForm {
        zone: typed.map_or_else(|| latest.zone.to_string(), |form| form.get("zone").to_owned()),
        version: version.filter(|_| typed.is_some()).unwrap_or_else(|| view.tag()),
        stop: typed.map_or(latest.after_expiry == AfterExpiry::Stop, |form| form.get("after_expiry") == "stop"),
        now: said(&view.current),
        next: view.next.as_ref().map(|next| format!("{}; it begins on {}", said(next), next.zone.local(next.begins))),
    })
}

fn refused(visit: &Visit, form: &Form, refusal: FormRefusal) -> PageResult {
    let frame = visit.frame("Settings", "settings").failed(&refusal.text);
    render(visit, frame, Some((form, refusal.version(form))), refusal.wrongs)
}

fn read(form: &Form) -> Result<Quarantine, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: String, value: &str| {
        errors.push(FieldError::new(field, code::INVALID, message, value));
    };
    let days = |text: &str| text.parse::<u32>().ok().filter(|&days| days <= DAYS_MAX);
    let default_days = days(form.get("days"));
    if default_days.is_none() {
        wrong("days", format!("must be a whole number up to {DAYS_MAX}"), form.get("days"));
    }
    let mut countries: BTreeMap<Country, u32> = BTreeMap::new();
    for word in form.get("countries").split([',', ' ']).filter(|word| !word.is_empty()) {
        let pair = word.split_once('=').and_then(|(country, text)| {
            let country: Country = country.trim().to_ascii_uppercase().parse().ok()?;
            Some((country, days(text.trim())?))
        });
        match pair {
            Some((country, days)) => drop(countries.insert(country, days)),
            None => wrong("countries", format!("{word} is not a country and its days, such as IN=180"), word),
        }
    }
    match default_days {
        Some(default_days) if errors.is_empty() => Ok(Quarantine { default_days, countries }),
        _ => Err(errors),
    }
}

/// The page; a form that was refused goes on with a version.
fn render(visit: &Visit, frame: Frame, refused: Option<(&Form, Option<u64>)>, wrongs: Wrongs) -> PageResult {
    let form = refused.map(|(form, _)| form);
    let billing = billing_form(visit, form, refused.and_then(|(_, version)| version))?;
    let form = form.filter(|form| form.has("days"));
    let version = refused.filter(|_| form.is_some()).and_then(|(_, version)| version);
    let snapshot = visit.newest();
    let setting = snapshot.settings.get(setting::QUARANTINE);
    let chosen = setting.and_then(Setting::quarantine);
    let server = visit.console.app.service.quarantine_default();
    let now = chosen.unwrap_or(server);
    let list = |of: &Quarantine| {
        let pairs: Vec<String> =
            of.countries.iter().map(|(country, days)| format!("{}={days}", country.code())).collect();
        pairs.join(", ")
    };
    let default = match server.countries.is_empty() {
        true => format!("{} days", server.default_days),
        false => format!("{} days, {}", server.default_days, list(server)),
    };
    let status = if frame.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = SettingsPage {
        frame,
        version: version.unwrap_or_else(|| quarantine_tag(setting)),
        days: form.map_or_else(|| now.default_days.to_string(), |form| form.get("days").to_owned()),
        countries: form.map_or_else(|| list(now), |form| form.get("countries").to_owned()),
        chosen: chosen.is_some(),
        default,
        billing,
        zones: zones(),
        wrongs,
    };
    html_as(status, &page)
}
