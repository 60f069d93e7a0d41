//! The JSON of what the management API shows; the command line prints the same.
//! Deliberately absent: numbers (`wire`), and how an answer is sent (`answer`).

use std::io::Write as _;

use http::StatusCode;
use serde_json::{Value, json};

use super::answer;
use crate::alert;
use crate::billing::Period;
use crate::domain::{Account, Application, EntityChange, Sum, Time, Trunk, Verb};
use crate::service::background::jobs::batch::MonthlyCosts;
use crate::service::background::jobs::{Job, JobRow, JobTally, Task};
use crate::service::background::schedules::{EmailDelivery, Ran, Recipient, ScheduleView};
use crate::service::background::webhooks::{Blocking, DeliveryAttempt, ShownDelivery, ShownWebhook, WebhookHealth};
use crate::service::past::{LogEntry, LoggedChange};
use crate::service::verbs::billing::BillingView;
use crate::service::verbs::entities::state_tag;
use crate::service::verbs::undo::{RefusedUndo, Undone};
use crate::service::{Rendered, VerbOutcome};
use crate::wire;
use crate::wire::past::{EntryHead, ListedChange};

/// How many numbers, and how many entities, of a change are shown where
/// changes are listed. The rest is behind its own address.
pub(super) const INLINE_MAX: usize = 100;

/// How what a verb left is answered.
pub(super) fn render(shown: &VerbOutcome) -> Rendered {
    let mut body = b"{\"data\":".to_vec();
    let mut status = StatusCode::OK;
    let mut etag = None;
    match shown {
        VerbOutcome::Number(shown) => {
            let row = shown.row();
            wire::record::number(&mut body, row);
            etag = Some(answer::number_tag(row));
            if shown.created {
                status = StatusCode::CREATED;
            }
        }
        VerbOutcome::Block { first, last, numbers, version } => {
            status = StatusCode::CREATED;
            write!(
                body,
                "{{\"number\":\"{first}\",\"number_end\":\"{last}\",\"numbers\":{numbers},\"version\":{version}}}"
            )
            .expect("writing to memory");
        }
        VerbOutcome::Account { account, created } => {
            etag = Some(answer::state_tag("account", state_tag(account)));
            let Account { auth_id, name, created_at, archived_at } = account;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            put_value(
                &mut body,
                &json!({
                    "account_auth_id": auth_id, "name": name, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at,
                }),
            );
        }
        VerbOutcome::Application { application, created } => {
            etag = Some(answer::state_tag("application", state_tag(application)));
            let Application { id, name, account, created_at, archived_at, destinations, answer_url } = application;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            put_value(
                &mut body,
                &json!({
                    "application_id": id, "name": name, "account_auth_id": account, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at, "destinations": destinations,
                    "answer_url": answer_url,
                }),
            );
        }
        VerbOutcome::Trunk { trunk, created } => {
            etag = Some(answer::state_tag("trunk", state_tag(trunk)));
            let Trunk { id, name, account, created_at, archived_at, destinations } = trunk;
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            put_value(
                &mut body,
                &json!({
                    "trunk_id": id, "name": name, "account_auth_id": account, "archived": archived_at.is_some(),
                    "created_at": created_at, "archived_at": archived_at, "destinations": destinations,
                }),
            );
        }
        VerbOutcome::Job { job, created } => {
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            self::job(&mut body, job, None);
        }
        VerbOutcome::Acknowledgement(one) => put_value(
            &mut body,
            &json!({
                "id": one.finding, "note": one.note, "until": one.until, "by": one.by, "at": one.at,
            }),
        ),
        VerbOutcome::Schedule { view, created } => {
            status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            etag = view.removed_at.is_none().then(|| answer::state_tag("schedule", view.tag()));
            put_value(&mut body, &schedule(view, false));
        }
        VerbOutcome::Billing(view) => {
            etag = Some(answer::state_tag("billing", view.tag()));
            put_value(&mut body, &billing(view));
        }
        VerbOutcome::Webhook(shown) => {
            status = if shown.created { StatusCode::CREATED } else { StatusCode::OK };
            etag = shown.setting.removed_at.is_none().then(|| answer::state_tag("webhook", state_tag(&shown.setting)));
            put_value(&mut body, &webhook(shown));
        }
        VerbOutcome::Delivery(shown) => {
            status = if shown.created { StatusCode::CREATED } else { StatusCode::OK };
            put_value(&mut body, &delivery(shown));
        }
        VerbOutcome::Resent { resent, left } => put_value(&mut body, &json!({ "resent": resent, "left": left })),
        VerbOutcome::Undone(Undone { of, version, undone, refused, rows, stays }) => put_value(
            &mut body,
            &json!({
                "undid": of, "version": version, "undone": undone, "refused": refused, "rows": refused_rows(rows),
                "stays": stays,
            }),
        ),
    }
    body.push(b'}');
    Rendered { status: status.as_u16(), etag, body }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// The numbers that an undo left as they are.
pub(super) fn refused_rows(rows: &[RefusedUndo]) -> Value {
    let row = |row: &RefusedUndo| {
        let by = row.by.as_ref().map(ToString::to_string);
        json!({
            "number": row.number, "result": "refused", "reason": row.reason, "by": by, "at": row.at,
        })
    };
    rows.iter().map(row).collect()
}

/// A job as it is shown; `trouble` is what it waits for on this node.
pub fn job(out: &mut Vec<u8>, job: &Job, trouble: Option<&str>) {
    let Job { id, state, task, params, filter, by, created_at, started_at, ended_at, total, preview, tally, .. } = job;
    let JobTally { changed, unchanged, failed, cost } = tally;
    text(out, "{\"id\":", Some(id));
    text(out, ",\"state\":", Some(state.as_str()));
    text(out, ",\"verb\":", Some(job_verb(task)));
    put(out, format_args!(",\"params\":{params},\"filter\":{}", filter.as_deref().unwrap_or("null")));
    let done = tally.rows();
    put(
        out,
        format_args!(
            ",\"total\":{total},\"done\":{done},\"changed\":{changed},\"unchanged\":{unchanged},\"failed\":{failed}"
        ),
    );
    put(out, format_args!(",\"monthly_cost_change\":"));
    costs(out, cost);
    match preview {
        None => put(out, format_args!(",\"preview\":null")),
        Some(JobTally { changed, unchanged, failed, cost }) => {
            put(
                out,
                format_args!(
                    ",\"preview\":{{\"would_change\":{changed},\"unchanged\":{unchanged},\"would_fail\":{failed},\
                     \"monthly_cost_change\":"
                ),
            );
            costs(out, cost);
            out.push(b'}');
        }
    }
    let time = |time: &Option<Time>| time.map(|time| time.to_string());
    text(out, ",\"created_at\":", Some(&created_at.to_string()));
    text(out, ",\"started_at\":", time(started_at).as_deref());
    text(out, ",\"ended_at\":", time(ended_at).as_deref());
    match job.rate() {
        Some(rate) => put(out, format_args!(",\"rate\":{}", rate.round())),
        None => put(out, format_args!(",\"rate\":null")),
    }
    match job.seconds_left() {
        Some(seconds) => put(out, format_args!(",\"seconds_left\":{seconds}")),
        None => put(out, format_args!(",\"seconds_left\":null")),
    }
    text(out, ",\"by\":", Some(by));
    text(out, ",\"undo_of\":", task.undoes());
    text(out, ",\"error\":", job.error.as_deref().or(trouble));
    out.push(b'}');
}

/// As in paths: `tags`, not `tag`.
pub fn job_verb(task: &Task) -> &'static str {
    match task.verb() {
        Verb::Tag => "tags",
        verb => verb.as_str(),
    }
}

pub fn job_row(out: &mut Vec<u8>, row: &JobRow) {
    put(out, format_args!("{{\"number\":\"{}\",\"result\":\"{}\"", row.number, row.result));
    text(out, ",\"reason\":", row.reason.as_deref());
    put(out, format_args!(",\"monthly_cost_change\":"));
    costs(out, &row.cost);
    match row.version {
        Some(version) => put(out, format_args!(",\"version\":{version}}}")),
        None => put(out, format_args!(",\"version\":null}}")),
    }
}

/// Amounts by currency: never added, never rounded.
fn costs(out: &mut Vec<u8>, costs: &MonthlyCosts) {
    out.push(b'{');
    for (at, (&currency, &minor)) in costs.iter().enumerate() {
        let separator = if at > 0 { "," } else { "" };
        put(out, format_args!("{separator}\"{currency}\":{}", Sum { minor, currency }));
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    out.extend_from_slice(key.as_bytes());
    match value {
        Some(value) => wire::json_text(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory");
}

/// A schedule as everybody shows it; with its last runs where it is looked at
/// alone.
pub fn schedule(view: &ScheduleView, alone: bool) -> Value {
    let ScheduleView { id, created_at, removed_at, schedule, next_runs, state, runs } = view;
    let off = schedule.off.as_ref().map(|off| json!({ "at": off.at, "reason": off.reason }));
    let mut value = json!({
        "id": id,
        "name": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "recipients": schedule.recipients,
        "checks": schedule.checks,
        "within": alert::span(schedule.within),
        "report": schedule.report.as_str(),
        "alerts": schedule.alerts,
        "off": off,
        "created_at": created_at,
        "removed_at": removed_at,
        "next_runs": self::next_runs(next_runs),
        "looked_at": state.as_ref().and_then(|state| state.looked_at),
        "asked_by": state.as_ref().and_then(|state| state.asked_by.as_ref()),
        "last_run": state.as_ref().and_then(|state| state.last.as_ref()).map(ran),
    });
    if alone {
        value["runs"] = runs.iter().map(email_delivery).collect();
    }
    value
}

/// Moments, each with what the zone's clocks show then.
pub fn next_runs(runs: &[(Time, String)]) -> Value {
    runs.iter().map(|(at, local)| json!({ "at": at, "local": local })).collect()
}

fn ran(ran: &Ran) -> Value {
    let Ran { at, why, findings, news, told } = ran;
    json!({ "at": at, "why": why.as_str(), "findings": findings, "new": news, "told": told })
}

/// The letters of a run, and how they went.
pub fn email_delivery(delivery: &EmailDelivery) -> Value {
    let recipient = |one: &Recipient| {
        let Recipient { to, state, attempts, at, next, error } = one;
        json!({
            "to": to, "state": state.as_str(), "attempts": attempts, "tried_at": at, "next_at": next, "error": error,
        })
    };
    let mut value = ran(&delivery.ran);
    value["recipients"] = delivery.recipients.iter().map(recipient).collect();
    value
}

/// What counts, and what will.
pub fn billing(view: &BillingView) -> Value {
    let of = |period: &Period| {
        json!({
            "month": period.month.to_string(), "begins_at": period.begins, "ends_at": period.ends,
            "zone": period.zone.name(), "after_expiry": period.after_expiry.as_str(),
        })
    };
    let mut shown = of(&view.current);
    shown["next"] = view.next.as_ref().map_or(Value::Null, of);
    shown
}

/// An event that blocks others, with when it is tried again.
pub fn blocking(shown: &Blocking) -> Value {
    let mut value = delivery(&shown.delivery);
    value["next_attempt_at"] = json!(shown.next_attempt_at);
    value
}

/// A webhook as everybody shows it.
pub fn webhook(shown: &ShownWebhook) -> Value {
    let ShownWebhook { setting, webhook, health, secret, created: _ } = shown;
    if let Some(removed_at) = setting.removed_at {
        return json!({ "id": setting.id, "name": webhook.name, "removed_at": removed_at });
    }
    let WebhookHealth { pending, held, failed, failing_since, next_attempt_at, .. } = health;
    let WebhookHealth { last_success_at, last_failure_at, last_error, missed, .. } = health;
    let mut value = json!({
        "id": setting.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events,
        "order": webhook.order.as_str(),
        "enabled": webhook.off.is_none(),
        "off": webhook.off,
        "created_at": setting.created_at,
        "rotated_at": webhook.rotated_at,
        "health": {
            "pending": pending,
            "held": held,
            "failed": failed,
            "failing_since": failing_since,
            "next_attempt_at": next_attempt_at,
            "last_success_at": last_success_at,
            "last_failure_at": last_failure_at,
            "last_error": last_error,
            "missed": missed.map(|(after, through)| json!({ "after": after, "through": through })),
        },
    });
    if let Some(secret) = secret {
        value["secret"] = json!(secret.reveal());
    }
    value
}

/// A delivery as everybody shows it.
pub fn delivery(shown: &ShownDelivery) -> Value {
    let ShownDelivery { id, delivery, created: _ } = shown;
    let attempt = |attempt: &DeliveryAttempt| {
        let DeliveryAttempt { at, status, took_ms, error, answer } = attempt;
        json!({ "at": at, "status": status, "took_ms": took_ms, "error": error, "answer": answer })
    };
    json!({
        "id": id,
        "event_id": delivery.event,
        "type": delivery.kind,
        "at": delivery.at,
        "version": delivery.version,
        "state": delivery.state.as_str(),
        "resend_of": delivery.resend_of,
        "created_at": delivery.created_at,
        "attempts": delivery.attempts.iter().map(attempt).collect::<Vec<_>>(),
    })
}

/// A change with the first of what it changed.
pub(super) fn change(out: &mut Vec<u8>, change: &LoggedChange) {
    wire::past::change(out, listed(change, &change.entities, INLINE_MAX));
}

/// The same with as many of its entities as `max`.
pub(super) fn listed<'a>(change: &'a LoggedChange, entities: &'a [EntityChange], max: usize) -> ListedChange<'a> {
    ListedChange {
        head: entry_head(change.version, &change.entry),
        entities_total: change.entities.len() as u64,
        entities: &entities[..entities.len().min(max)],
        numbers_total: change.total,
        numbers: &change.numbers,
    }
}

pub(super) fn entry_head(version: u64, entry: &LogEntry) -> EntryHead<'_> {
    EntryHead { version, at: entry.at, verb: entry.verb, actor: &entry.actor, request_id: entry.request_id.as_deref() }
}
