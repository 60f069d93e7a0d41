//! `rollcall webhook create | list | show | edit (set) | remove | rotate | test |
//! deliveries | failed | resend | blocking | skip`
//!
//! A running server delivers; what is created and queued here it finds by
//! itself. A test delivery is sent from here, the way the server sends.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Global, OfPartner, Outcome, confirm, output, parse_name, refusal};
use crate::domain::PartnerKey;
use crate::domain::setting::DeliveryOrder;
use crate::http::json;
use crate::service::background::webhooks::{
    Blocking, DeliveryState, NewWebhook, ShownDelivery, ShownWebhook, WebhookChanges,
};
use crate::service::verbs::numbers::Expected;
use crate::service::{self, Service, ServiceError, VerbOutcome};
use crate::store::Open;

#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Create a webhook; its secret is shown once
    Create {
        #[command(flatten)]
        of: OfPartner,
        /// The name of the webhook
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
        /// Where events are sent, such as https://example.com/hook
        #[arg(long)]
        url: Arc<str>,
        /// An event type to send; may be repeated; by default all types
        #[arg(long = "event", value_name = "KIND")]
        events: Vec<Arc<str>>,
        /// What an event waits for: earlier ones of the same `number`, or all
        /// earlier ones of the `endpoint`
        #[arg(long, value_parser = parse_order, default_value = "number")]
        order: DeliveryOrder,
    },
    /// List a partner's webhooks with their health
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Show one webhook
    Show(OneWebhook),
    /// Change a webhook, or switch it off or on
    #[command(alias = "set")]
    Edit {
        #[command(flatten)]
        one: OneWebhook,
        /// The new name
        #[arg(long, value_parser = parse_name)]
        name: Option<Arc<str>>,
        /// The new address that events are posted to
        #[arg(long)]
        url: Option<Arc<str>>,
        /// An event type to send instead of the present ones; may be repeated
        #[arg(long = "event", value_name = "KIND", conflicts_with = "all_events")]
        events: Vec<Arc<str>>,
        /// Send all event types
        #[arg(long)]
        all_events: bool,
        /// What an event waits for: earlier ones of the same `number`, or all
        /// earlier ones of the `endpoint`
        #[arg(long, value_parser = parse_order)]
        order: Option<DeliveryOrder>,
        /// Switch it on
        #[arg(long, conflicts_with = "off")]
        on: bool,
        /// Switch it off
        #[arg(long)]
        off: bool,
    },
    /// Remove a webhook, its secret and its deliveries
    Remove {
        #[command(flatten)]
        one: OneWebhook,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Give a webhook a new secret; the old one signs as well for a day
    Rotate(OneWebhook),
    /// Send a test event now, and report the result
    Test(OneWebhook),
    /// List a webhook's deliveries, newest first
    Deliveries {
        #[command(flatten)]
        one: OneWebhook,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// List the deliveries that were given up or skipped, newest first
    Failed {
        #[command(flatten)]
        one: OneWebhook,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Queue a delivery's event again, under the same id
    Resend {
        #[command(flatten)]
        one: OneWebhook,
        /// The delivery's id, as `webhook deliveries` and `webhook failed` show it
        #[arg(value_name = "DELIVERY_ID", required_unless_present = "all")]
        delivery: Option<String>,
        /// All that were given up or skipped, oldest first, up to 1,000 at a time
        #[arg(long, conflicts_with = "delivery")]
        all: bool,
    },
    /// List the events that were refused and block others
    Blocking(OneWebhook),
    /// Give up an event that blocks others; it can be sent again later
    Skip {
        #[command(flatten)]
        one: OneWebhook,
        /// The delivery's id, as `webhook blocking` shows it; without, the only
        /// one that blocks
        #[arg(value_name = "DELIVERY_ID")]
        delivery: Option<String>,
    },
}

fn parse_order(text: &str) -> Result<DeliveryOrder, String> {
    let found = DeliveryOrder::ALL.iter().copied().find(|order| order.as_str() == text);
    found.ok_or_else(|| "must be number or endpoint".to_owned())
}

#[derive(Args)]
pub struct OneWebhook {
    /// The webhook's id, as `webhook list` shows it
    #[arg(value_name = "WEBHOOK_ID")]
    id: String,
    #[command(flatten)]
    of: OfPartner,
}

impl OneWebhook {
    fn open(&self, global: &Global) -> Result<(Service, PartnerKey), CliError> {
        open(global, &self.of)
    }
}

fn open(global: &Global, of: &OfPartner) -> Result<(Service, PartnerKey), CliError> {
    let service = global.service(Open::Existing)?;
    let key = service.partner_key(&of.partner)?;
    Ok((service, key))
}

impl WebhookCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            WebhookCommand::Create { of, name, url, events, order } => {
                let (service, key) = open(global, &of)?;
                let new = NewWebhook { name, url, events, order };
                print_made(global, &webhook(usage(service.webhook_create(key, &new)))?)?;
            }
            WebhookCommand::List { of } => {
                let (service, key) = open(global, &of)?;
                list(global, &service.webhooks(key)?)?;
            }
            WebhookCommand::Show(one) => {
                let (service, key) = one.open(global)?;
                print(global, &service.webhook(key, &one.id)?)?;
            }
            WebhookCommand::Edit { one, name, url, events, all_events, order, on, off } => {
                let (service, key) = one.open(global)?;
                let events = (all_events || !events.is_empty()).then_some(events);
                let enabled = (on || off).then_some(on);
                let changes = WebhookChanges { name, url, events, order, enabled };
                if changes == WebhookChanges::default() {
                    return Err(CliError::Usage("say what shall be different".to_owned()));
                }
                let edited = usage(service.webhook_edit(key, &one.id, &changes, &Expected::Anything));
                print(global, &webhook(edited)?)?;
            }
            WebhookCommand::Remove { one, yes } => {
                let (service, key) = one.open(global)?;
                let shown = service.webhook(key, &one.id)?;
                confirm(&format!("remove webhook {} ({})", one.id, shown.webhook.name), yes)?;
                let removed = webhook(Ok(service.webhook_remove(key, &one.id, &Expected::Anything)?))?;
                match global.json {
                    true => output::json(&json::webhook(&removed))?,
                    false => output::line(&format!("removed webhook {} ({})", one.id, removed.webhook.name))?,
                }
            }
            WebhookCommand::Rotate(one) => {
                let (service, key) = one.open(global)?;
                print_made(global, &webhook(Ok(service.webhook_rotate(key, &one.id)?))?)?;
            }
            WebhookCommand::Test(one) => {
                let (service, key) = one.open(global)?;
                let shown = delivery(service.webhook_test(key, &one.id)?)?;
                print_delivery(global, &shown)?;
                let good = shown.delivery.state == DeliveryState::Delivered;
                return Ok(if good { Outcome::Done } else { Outcome::Differs });
            }
            WebhookCommand::Deliveries { one, limit } => {
                let (service, key) = one.open(global)?;
                deliveries(global, service.webhook_deliveries(key, &one.id, 0, limit)?, "there are no deliveries")?;
            }
            WebhookCommand::Failed { one, limit } => {
                let (service, key) = one.open(global)?;
                let none = "nothing was given up or skipped";
                deliveries(global, service.webhook_failed(key, &one.id, 0, limit)?, none)?;
            }
            WebhookCommand::Resend { one, delivery: Some(id), .. } => {
                let (service, key) = one.open(global)?;
                print_delivery(global, &delivery(service.webhook_resend(key, &one.id, &id)?)?)?;
            }
            WebhookCommand::Resend { one, delivery: None, .. } => {
                let (service, key) = one.open(global)?;
                match service.webhook_resend_failed(key, &one.id)? {
                    service::WriteOutcome::Done { shown: VerbOutcome::Resent { resent, left }, .. } if global.json => {
                        output::json(&json!({ "resent": resent, "left": left }))?;
                    }
                    service::WriteOutcome::Done { shown: VerbOutcome::Resent { resent, left }, .. } => {
                        output::line(&format!("{resent} deliveries are sent again; {left} are left"))?;
                    }
                    _ => return Err(CliError::Other("the deliveries were not counted".to_owned())),
                }
            }
            WebhookCommand::Blocking(one) => {
                let (service, key) = one.open(global)?;
                blocking(global, &service.webhook_blocking(key, &one.id)?)?;
            }
            WebhookCommand::Skip { one, delivery: id } => {
                let (service, key) = one.open(global)?;
                print_delivery(global, &delivery(service.webhook_skip(key, &one.id, id.as_deref())?)?)?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// What was typed wrong is a matter of usage.
fn usage(result: Result<service::WriteOutcome, ServiceError>) -> Result<service::WriteOutcome, CliError> {
    result.map_err(|error| match error {
        ServiceError::Invalid(errors) => CliError::Usage(refusal::fields(&errors, &refusal::typed())),
        other => other.into(),
    })
}

fn webhook(outcome: Result<service::WriteOutcome, CliError>) -> Result<ShownWebhook, CliError> {
    match outcome? {
        service::WriteOutcome::Done { shown: VerbOutcome::Webhook(shown), .. } => Ok(*shown),
        _ => Err(CliError::Other("the webhook was not shown".to_owned())),
    }
}

fn delivery(outcome: service::WriteOutcome) -> Result<ShownDelivery, CliError> {
    match outcome {
        service::WriteOutcome::Done { shown: VerbOutcome::Delivery(shown), .. } => Ok(*shown),
        _ => Err(CliError::Other("the delivery was not shown".to_owned())),
    }
}

/// With the secret, this once.
fn print_made(global: &Global, shown: &ShownWebhook) -> Result<(), CliError> {
    if global.json {
        return output::json(&json::webhook(shown));
    }
    let secret = shown.secret.as_ref().map(|secret| secret.reveal()).unwrap_or_default();
    output::line(&format!("webhook: {}", shown.setting.id))?;
    output::line(&format!("secret:  {secret}"))?;
    output::note("keep the secret now: it will not be shown again");
    Ok(())
}

fn status(shown: &ShownWebhook) -> String {
    match (&shown.webhook.off, shown.health.failing_since) {
        (Some(off), _) => format!("off since {}: {}", off.at, off.reason),
        (None, Some(since)) => format!("failing since {since}"),
        (None, None) => "on".to_owned(),
    }
}

fn print(global: &Global, shown: &ShownWebhook) -> Result<(), CliError> {
    if global.json {
        return output::json(&json::webhook(shown));
    }
    let ShownWebhook { setting, webhook, health, .. } = shown;
    output::line(&format!("webhook {} ({}) is {}", setting.id, webhook.name, status(shown)))?;
    let time = |time: Option<crate::domain::Time>| time.map(|time| time.to_string());
    let events = (!webhook.events.is_empty()).then(|| webhook.events.join(", "));
    let missed = health.missed.map(|(after, through)| format!("changes {} to {through}", after + 1));
    for (name, value) in [
        ("url", Some(webhook.url.to_string())),
        ("order", Some(webhook.order.to_string())),
        ("events", Some(events.unwrap_or_else(|| "all".to_owned()))),
        ("created", Some(setting.created_at.to_string())),
        ("secret replaced", time(webhook.rotated_at)),
        ("waiting", Some(health.pending.to_string())),
        ("held back", (health.held > 0).then(|| health.held.to_string())),
        ("given up", (health.failed > 0).then(|| health.failed.to_string())),
        ("next attempt", time(health.next_attempt_at)),
        ("last success", time(health.last_success_at)),
        ("last failure", time(health.last_failure_at)),
        ("last error", health.last_error.clone()),
        ("missed", missed),
    ] {
        if let Some(value) = value {
            output::line(&format!("  {name:<16} {value}"))?;
        }
    }
    Ok(())
}

fn list(global: &Global, all: &[ShownWebhook]) -> Result<(), CliError> {
    if global.json {
        let data: Vec<_> = all.iter().map(json::webhook).collect();
        return output::json(&json!({ "data": data }));
    }
    if all.is_empty() {
        output::note("there are no webhooks; create one with `rollcall webhook create`");
        return Ok(());
    }
    let row = |shown: &ShownWebhook| {
        let last = shown.health.last_success_at.map_or_else(|| "never".to_owned(), |time| time.to_string());
        vec![
            shown.setting.id.to_string(),
            shown.webhook.name.to_string(),
            shown.webhook.url.to_string(),
            shown.health.pending.to_string(),
            last,
            status(shown),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    output::table(&["WEBHOOK", "NAME", "URL", "WAITING", "LAST SUCCESS", "STATUS"], &rows)
}

fn outcome(shown: &ShownDelivery) -> String {
    let Some(last) = shown.delivery.attempts.last() else { return "not tried yet".to_owned() };
    let answer = last.status.map(|status| format!("answered {status}"));
    format!("{} after {} ms", last.error.clone().or(answer).unwrap_or_default(), last.took_ms)
}

fn print_delivery(global: &Global, shown: &ShownDelivery) -> Result<(), CliError> {
    if global.json {
        return output::json(&json::delivery(shown));
    }
    let ShownDelivery { id, delivery, .. } = shown;
    let state = delivery.state;
    output::line(&format!("delivery {id} of {} ({}) is {state}: {}", delivery.event, delivery.kind, outcome(shown)))
}

fn blocking(global: &Global, all: &[Blocking]) -> Result<(), CliError> {
    if global.json {
        let data: Vec<_> = all.iter().map(json::blocking).collect();
        return output::json(&json!({ "data": data }));
    }
    if all.is_empty() {
        output::note("no event blocks this webhook");
        return Ok(());
    }
    let row = |one: &Blocking| {
        let delivery = &one.delivery.delivery;
        vec![
            one.delivery.id.clone(),
            delivery.event.clone(),
            delivery.kind.clone(),
            delivery.attempts.len().to_string(),
            one.next_attempt_at.map(|time| time.to_string()).unwrap_or_default(),
            outcome(&one.delivery),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    output::table(&["DELIVERY", "EVENT", "KIND", "ATTEMPTS", "NEXT ATTEMPT", "LAST"], &rows)
}

fn deliveries(global: &Global, (list, total): (Vec<ShownDelivery>, u64), none: &str) -> Result<(), CliError> {
    if global.json {
        let data: Vec<_> = list.iter().map(json::delivery).collect();
        return output::json(&json!({ "data": data, "meta": { "total": total } }));
    }
    if list.is_empty() {
        output::note(none);
        return Ok(());
    }
    let row = |shown: &ShownDelivery| {
        let delivery = &shown.delivery;
        vec![
            shown.id.clone(),
            delivery.event.clone(),
            delivery.kind.clone(),
            delivery.state.to_string(),
            delivery.attempts.len().to_string(),
            outcome(shown),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output::table(&["DELIVERY", "EVENT", "KIND", "STATE", "ATTEMPTS", "LAST"], &rows)
}
