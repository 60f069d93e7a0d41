//! A partner's webhooks: create, edit, test, and their deliveries.
//!
//! For owners only, reading included: an address may contain a secret, and an
//! answer may reveal what is behind it. A signing secret is shown only on the page
//! that created it; a receiver's answer is shown as text.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, query_value};
use super::jobs::on_a_page;
use super::page::{Frame, Notice, PageResult, Trouble, html_as, redirect};
use super::pieces::FactList;
use super::sign_in::blocking;
use super::{ConsoleState, ItemPath, StepPath, diff, keys, pieces, show};
use crate::domain::setting::DeliveryOrder;
use crate::domain::{FieldError, Time, entity};
use crate::service::background::webhooks::event::{kinds, known};
use crate::service::background::webhooks::{
    DeliveryAttempt, DeliveryState, NewWebhook, ShownDelivery, ShownWebhook, WebhookChanges, WebhookHealth,
};
use crate::service::verbs::entities::state_tag;
use crate::service::verbs::numbers::Expected;
use crate::service::{ServiceError, VerbOutcome, WriteOutcome};
use crate::wire::html::Html;

/// How many deliveries a page has.
const ROWS: u64 = 25;
/// How many of those that were given up a page shows, the newest first.
const FAILED_ROWS: usize = 25;
/// For how long after it a page says how a test ended, in seconds.
const SAID_SECONDS: i64 = 120;

struct WebhookRow {
    id: String,
    name: String,
    url: String,
    events: String,
    health: Html,
    pending: String,
    on: bool,
}

/// A secret that was just made.
struct NewSecret {
    name: String,
    id: String,
    secret: String,
    /// Whether it takes the place of another.
    rotated: bool,
}

struct KindOption {
    name: &'static str,
    wanted: bool,
}

/// The fields of a form, as they were typed or as they are.
struct WebhookFields {
    name: String,
    url: String,
    kinds: Vec<KindOption>,
    by_number: bool,
    some: bool,
    wrongs: Wrongs,
    /// The version that a refused form goes on with; else it is the current one.
    version: Option<u64>,
}

impl WebhookFields {
    fn new(name: &str, url: &str, order: DeliveryOrder, wants: impl Fn(&str) -> bool) -> WebhookFields {
        let kinds: Vec<KindOption> = kinds().map(|name| KindOption { name, wanted: wants(name) }).collect();
        let some = kinds.iter().any(|kind| kind.wanted);
        let by_number = order == DeliveryOrder::Number;
        let (name, url, wrongs) = (name.to_owned(), url.to_owned(), Wrongs::default());
        WebhookFields { name, url, kinds, by_number, some, wrongs, version: None }
    }

    fn typed(form: &Form, refusal: FormRefusal) -> WebhookFields {
        let wants = |kind: &str| form.all("events").any(|wanted| wanted == kind);
        let fields = WebhookFields::new(form.get("name"), form.get("url"), order(form), wants);
        WebhookFields { version: refusal.version(form), wrongs: refusal.wrongs, ..fields }
    }
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct Webhooks {
    frame: Frame,
    rows: Vec<WebhookRow>,
    made: Option<NewSecret>,
    fields: WebhookFields,
}

struct Try {
    at: Html,
    ended: String,
    answer: String,
}

struct DeliveryRow {
    id: String,
    kind: String,
    event: String,
    at: Html,
    state: &'static str,
    mark: &'static str,
    /// The change that it tells.
    version: Option<u64>,
    again_of: bool,
    tries: Vec<Try>,
    resend: bool,
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    frame: Frame,
    id: String,
    name: String,
    on: bool,
    facts: FactList,
    /// The version that the form changes.
    tag: u64,
    /// Whether the form is open, because it was refused.
    open: bool,
    made: Option<NewSecret>,
    fields: WebhookFields,
    /// Each with when it is tried again.
    blocking: Vec<(DeliveryRow, String)>,
    failed: Vec<DeliveryRow>,
    failed_total: String,
    more: bool,
    deliveries: Vec<DeliveryRow>,
    total: String,
    page: u64,
    pages: u64,
}

/// GET /console/p/{partner}/checks/webhooks
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Owner)?;
    let notice = plain(diff::notice(&visit, request.uri().query().unwrap_or_default()));
    let frame = visit.frame("Webhooks", "webhooks").with(notice);
    render_list(&visit, frame, None, WebhookFields::new("", "", DeliveryOrder::Number, |_| false)).await
}

/// POST /console/p/{partner}/checks/webhooks
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let made = match read(&form) {
        Ok((name, url, events)) => {
            let new = NewWebhook { name, url, events, order: order(&form) };
            visit.act("webhook.create", move |service, key| service.webhook_create(key, &new)).await
        }
        Err(errors) => Err(ServiceError::Invalid(errors)),
    };
    match made {
        Ok(outcome) => {
            keys::follow(&console).await?;
            let made = secret_of(outcome, false);
            render_list(
                &visit,
                visit.frame("Webhooks", "webhooks"),
                made,
                WebhookFields::new("", "", DeliveryOrder::Number, |_| false),
            )
            .await
        }
        Err(error) => {
            let refusal = told(error)?;
            let frame = visit.frame("Webhooks", "webhooks").failed(&refusal.text);
            render_list(&visit, frame, None, WebhookFields::typed(&form, refusal)).await
        }
    }
}

/// GET /console/p/{partner}/checks/webhooks/{id}
pub async fn page(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Owner)?;
    let query = request.uri().query().unwrap_or_default();
    let notice = plain(diff::notice(&visit, query));
    let frame = visit.frame("", "webhooks").with(notice);
    render(&visit, &id, frame, WebhookLookup { query, ..WebhookLookup::default() }).await
}

/// POST /console/p/{partner}/checks/webhooks/{id}/{verb}
pub async fn act(State(console): ConsoleState, Path((partner, id, verb)): StepPath, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let expected = visit.expected.clone();
    let about = id.clone();
    let page = visit.href("checks/webhooks", &id);
    let done = match verb.as_str() {
        "edit" => match read(&form) {
            Ok((name, url, events)) => {
                let (name, url, events, order) = (Some(name), Some(url), Some(events), Some(order(&form)));
                let changes = WebhookChanges { name, url, events, order, enabled: None };
                let edit = move |service: &crate::service::Service, key| {
                    service.webhook_edit(key, &about, &changes, &expected)
                };
                visit.act("webhook.edit", edit).await
            }
            Err(errors) => Err(ServiceError::Invalid(errors)),
        },
        "on" | "off" => {
            let changes = WebhookChanges { enabled: Some(verb == "on"), ..WebhookChanges::default() };
            let switch = move |service: &crate::service::Service, key| {
                service.webhook_edit(key, &about, &changes, &Expected::Anything)
            };
            visit.act("webhook.edit", switch).await
        }
        "rotate" => visit.act("webhook.rotate", move |service, key| service.webhook_rotate(key, &about)).await,
        "test" => visit.act("webhook.test", move |service, key| service.webhook_test(key, &about)).await,
        "resend" => {
            let delivery = form.get("delivery").to_owned();
            visit.act("webhook.resend", move |service, key| service.webhook_resend(key, &about, &delivery)).await
        }
        "resend-all" => {
            visit.act("webhook.resend", move |service, key| service.webhook_resend_failed(key, &about)).await
        }
        "skip" => {
            let delivery = form.get("delivery").to_owned();
            visit.act("webhook.skip", move |service, key| service.webhook_skip(key, &about, Some(&delivery))).await
        }
        "remove" => {
            let remove =
                move |service: &crate::service::Service, key| service.webhook_remove(key, &about, &Expected::Anything);
            visit.act("webhook.remove", remove).await
        }
        _ => return Err(Trouble::NotFound),
    };
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => {
            let refusal = told(error)?;
            let frame = visit.frame("", "webhooks").failed(&refusal.text);
            let fields = (verb == "edit").then(|| WebhookFields::typed(&form, refusal));
            return render(&visit, &id, frame, WebhookLookup { fields, ..WebhookLookup::default() }).await;
        }
    };
    keys::follow(&console).await?;
    match (verb.as_str(), outcome) {
        ("rotate", outcome) => {
            let made = secret_of(outcome, true);
            render(&visit, &id, visit.frame("", "webhooks"), WebhookLookup { made, ..WebhookLookup::default() }).await
        }
        (_, WriteOutcome::Done { shown: VerbOutcome::Delivery(delivery), .. }) => {
            redirect(&format!("{page}?delivery={}", query_value(&delivery.id)))
        }
        ("remove", WriteOutcome::Done { version, .. }) => {
            super::page::done(&format!("{}/checks/webhooks", visit.base), version)
        }
        (_, WriteOutcome::Done { shown: VerbOutcome::Resent { resent, .. }, .. }) => {
            redirect(&format!("{page}?resent={resent}"))
        }
        (_, WriteOutcome::Done { version, .. }) => super::page::done(&page, version),
        (_, WriteOutcome::Again(_)) => redirect(&page),
    }
}

/// A webhook's change is not undone: it says what to do on its own page.
fn plain(notice: Option<Notice>) -> Option<Notice> {
    notice.map(|notice| Notice { undo: None, ..notice })
}

fn secret_of(outcome: WriteOutcome, rotated: bool) -> Option<NewSecret> {
    let WriteOutcome::Done { shown: VerbOutcome::Webhook(shown), .. } = outcome else { return None };
    let secret = shown.secret.as_ref()?.reveal().to_owned();
    Some(NewSecret { name: shown.webhook.name.to_string(), id: shown.setting.id.to_string(), secret, rotated })
}

/// What can be mended, in words and by field.
fn told(error: ServiceError) -> Result<FormRefusal, Trouble> {
    match error {
        ServiceError::Invalid(errors) => Ok(FormRefusal::below(errors)),
        ServiceError::Unknown { .. } => Err(Trouble::NotFound),
        other => FormRefusal::from_verb(other),
    }
}

/// The order that a form chose; the careful one if it says nothing known.
fn order(form: &Form) -> DeliveryOrder {
    if form.get("order") == DeliveryOrder::Number.as_str() { DeliveryOrder::Number } else { DeliveryOrder::Endpoint }
}

type Wanted = (Arc<str>, Arc<str>, Vec<Arc<str>>);

fn read(form: &Form) -> Result<Wanted, Vec<FieldError>> {
    let mut errors = Vec::new();
    let name = entity::name(form.get("name"));
    if name.is_none() {
        errors.push(FieldError::missing("name", "INVALID", "give the webhook a name of at most 200 characters"));
    }
    let url = form.get("url");
    if url.is_empty() {
        errors.push(FieldError::missing("url", "MISSING", "is needed: an https address of yours"));
    }
    let events: Vec<Arc<str>> = form.all("events").filter(|kind| known(kind)).map(Into::into).collect();
    match name {
        Some(name) if errors.is_empty() => Ok((name, url.into(), events)),
        _ => Err(errors),
    }
}

async fn render_list(visit: &Visit, frame: Frame, made: Option<NewSecret>, fields: WebhookFields) -> PageResult {
    let (service, key) = (visit.service(), visit.snapshot.key);
    let all = blocking(move || service.webhooks(key)).await??;
    let row = |shown: &ShownWebhook| WebhookRow {
        id: shown.setting.id.to_string(),
        name: shown.webhook.name.to_string(),
        url: shown.webhook.url.to_string(),
        events: match shown.webhook.events.len() {
            0 => "everything".to_owned(),
            1 => shown.webhook.events[0].to_string(),
            more => format!("{more} kinds"),
        },
        health: health(visit, shown),
        pending: show::thousands(shown.health.pending),
        on: shown.webhook.off.is_none(),
    };
    let rows = all.iter().map(row).collect();
    let status = if frame.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    html_as(status, &Webhooks { frame, rows, made, fields })
}

/// How it is, as a mark and a few words.
fn health(visit: &Visit, shown: &ShownWebhook) -> Html {
    let clock = &visit.clock;
    match (&shown.webhook.off, shown.health.failing_since, shown.health.last_success_at) {
        (Some(off), _, _) => pieces::mark("plain", "off") + " since " + clock.time(off.at),
        (None, Some(since), _) => pieces::mark("critical", "failing") + " since " + clock.time(since),
        (None, None, Some(at)) => pieces::mark("good", "works") + " last " + clock.time(at),
        (None, None, None) => pieces::mark("info", "nothing sent yet"),
    }
}

fn facts(visit: &Visit, shown: &ShownWebhook) -> FactList {
    let clock = &visit.clock;
    let WebhookHealth { pending, next_attempt_at, last_success_at, last_failure_at, last_error, missed, .. } =
        &shown.health;
    let events: Vec<&str> = shown.webhook.events.iter().map(|kind| &**kind).collect();
    let mut facts = vec![
        ("Address", pieces::code(&shown.webhook.url)),
        ("Hears of", if events.is_empty() { "everything".into() } else { events.join(", ").into() }),
        ("Health", health(visit, shown)),
    ];
    if let Some(off) = &shown.webhook.off {
        facts.push(("Why it is off", (&*off.reason).into()));
    }
    facts.push((
        "Order",
        match shown.webhook.order {
            DeliveryOrder::Number => "kept for each number".into(),
            DeliveryOrder::Endpoint => "kept for all events".into(),
        },
    ));
    let waiting = match (pending, next_attempt_at) {
        (0, _) => "nothing".to_owned(),
        (_, Some(at)) => {
            format!("{}; tried next: {}", show::count(*pending, "event", "events"), clock.distance(*at))
        }
        (_, None) => show::count(*pending, "event", "events"),
    };
    facts.push(("Waits", waiting.into()));
    if shown.health.held > 0 {
        facts.push(("Held back", show::count(shown.health.held, "event", "events").into()));
    }
    facts.push(("Last taken", clock.time_if(*last_success_at)));
    if let Some(at) = last_failure_at {
        let error = last_error.as_deref().unwrap_or("no reason was kept");
        facts.push(("Last failure", clock.time(*at) + ": " + error));
    }
    if let Some((after, through)) = missed {
        let count = show::count(through - after, "change", "changes");
        let href = format!("{}/changes?before={through}", visit.base);
        let link = pieces::link(&href, &format!("versions {} to {through}", after + 1));
        let said = Html::from(format!("{count} while it was off, ")) + link;
        facts.push(("Not told of", said));
    }
    facts.push(("Made", clock.time(shown.setting.created_at)));
    if let Some(at) = shown.webhook.rotated_at {
        facts.push(("Secret replaced", clock.time(at)));
    }
    facts
}

/// What a look at one webhook is about, beside the webhook.
#[derive(Default)]
struct WebhookLookup<'a> {
    query: &'a str,
    made: Option<NewSecret>,
    fields: Option<WebhookFields>,
}

async fn render(visit: &Visit, id: &str, mut frame: Frame, looked: WebhookLookup<'_>) -> PageResult {
    let (mut page, mut wanted, mut resent) = (1_u64, None, None);
    for (name, value) in form_urlencoded::parse(looked.query.as_bytes()) {
        match &*name {
            "page" => page = value.parse().unwrap_or(1).max(1),
            "delivery" => wanted = Some(value.into_owned()),
            "resent" => resent = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    let (service, key, about) = (visit.service(), visit.snapshot.key, id.to_owned());
    let look = move || {
        let shown = service.webhook(key, &about)?;
        let read = |skip| service.webhook_deliveries(key, &about, skip, ROWS as usize);
        let ((list, total), page) = on_a_page(page, ROWS, read, |(_, total)| *total)?;
        let blocked = service.webhook_blocking(key, &about)?;
        let failed = service.webhook_failed(key, &about, 0, FAILED_ROWS)?;
        Ok::<_, ServiceError>((shown, list, (page, total), blocked, failed))
    };
    let (shown, list, (page, total), blocked, (given_up, failed_total)) = blocking(look).await??;
    if let Some(resent) = resent {
        let text = match resent {
            0 => "Nothing was left to send again.".to_owned(),
            _ => format!("{} sent again, behind what waits.", show::count(resent, "event is", "events are")),
        };
        frame = frame.with(Some(Notice::plain(&text)));
    }
    let on = shown.webhook.off.is_none();
    let known = || list.iter().chain(&given_up);
    if let Some(sent) = wanted.and_then(|id| known().find(|one| one.id == id)) {
        frame = ended(frame, visit.clock.now, sent);
    }
    let failed = frame.error.is_some() && (looked.fields.is_some() || looked.query.is_empty());
    let open = looked.fields.is_some();
    let fields = looked.fields.unwrap_or_else(|| {
        let webhook = &shown.webhook;
        let wants = |kind: &str| webhook.events.iter().any(|wanted| **wanted == *kind);
        WebhookFields::new(&webhook.name, &webhook.url, webhook.order, wants)
    });
    frame.title = shown.webhook.name.to_string();
    let page = WebhookPage {
        id: id.to_owned(),
        name: shown.webhook.name.to_string(),
        on: shown.webhook.off.is_none(),
        facts: facts(visit, &shown),
        tag: fields.version.unwrap_or_else(|| state_tag(&shown.setting)),
        made: looked.made,
        fields,
        open,
        blocking: blocked
            .iter()
            .map(|one| {
                let next = one.next_attempt_at.map(|at| visit.clock.distance(at)).unwrap_or_default();
                (delivery(visit, &one.delivery, on), next)
            })
            .collect(),
        failed: given_up.iter().map(|one| delivery(visit, one, on)).collect(),
        failed_total: show::count(failed_total, "event was", "events were"),
        more: failed_total > FAILED_ROWS as u64,
        deliveries: list.iter().map(|one| delivery(visit, one, on)).collect(),
        total: show::count(total, "delivery", "deliveries"),
        page,
        pages: total.div_ceil(ROWS),
        frame,
    };
    html_as(if failed { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &page)
}

/// Says how what was just sent went.
fn ended(frame: Frame, now: Time, sent: &ShownDelivery) -> Frame {
    if now.seconds() - sent.delivery.created_at.seconds() > SAID_SECONDS {
        return frame;
    }
    let last = sent.delivery.attempts.last().map(told_of).unwrap_or_default();
    let say = |text: String| Some(Notice::plain(&text));
    match sent.delivery.state {
        DeliveryState::Delivered => frame.with(say(format!("It was taken: {last}."))),
        DeliveryState::Pending if sent.delivery.attempts.is_empty() => {
            frame.with(say("It is sent again, behind what waits; load the page again to see how it went.".to_owned()))
        }
        DeliveryState::Pending => frame.failed(format!("It was not taken, and is tried again: {last}.")),
        DeliveryState::Failed => frame.failed(format!("It was not taken: {last}.")),
        DeliveryState::Skipped => frame.with(say("It was skipped; what it blocked is sent.".to_owned())),
        DeliveryState::Dropped => frame.failed("It was dropped without being sent."),
    }
}

/// `answered 200 after 41 ms`.
fn told_of(attempt: &DeliveryAttempt) -> String {
    let took = attempt.took_ms;
    match (attempt.status, &attempt.error) {
        (Some(status), None) => format!("answered {status} after {took} ms"),
        (Some(status), Some(error)) => format!("answered {status} after {took} ms; {error}"),
        (None, Some(error)) => format!("{error}, after {took} ms"),
        (None, None) => format!("no answer after {took} ms"),
    }
}

fn delivery(visit: &Visit, shown: &ShownDelivery, on: bool) -> DeliveryRow {
    let one = &shown.delivery;
    let tries = one.attempts.iter().rev().map(|attempt| Try {
        at: visit.clock.time(attempt.at),
        ended: told_of(attempt),
        answer: attempt.answer.clone().unwrap_or_default(),
    });
    DeliveryRow {
        id: shown.id.clone(),
        kind: one.kind.clone(),
        event: one.event.clone(),
        at: visit.clock.time(one.at),
        state: one.state.as_str(),
        mark: match one.state {
            DeliveryState::Pending => "info",
            DeliveryState::Delivered => "good",
            DeliveryState::Failed => "critical",
            DeliveryState::Dropped | DeliveryState::Skipped => "plain",
        },
        // An event that is no change has the version before it.
        version: (!one.kind.contains('.') && one.kind != "alert").then_some(one.version),
        again_of: one.resend_of.is_some(),
        tries: tries.collect(),
        resend: on && one.state != DeliveryState::Pending,
    }
}
