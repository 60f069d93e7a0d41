//! The description of schedules.

use serde_json::{Value, json};

use super::manage::{body, idempotency_key, text};
use super::{
    DescribedWrite, ERRORS_OF_LIST, ERRORS_OF_ONE, ERRORS_OF_WRITE, list_of, object, one_of, parameters,
    path_parameter, untagged,
};
use crate::alert::Why;
use crate::checks::Check;
use crate::domain::setting::ReportPolicy;
use crate::http::query::ListParameters;
use crate::schedule::{UTC, WEEKLY};
use crate::service::background::schedules::{RECIPIENTS_MAX, Sending};

const ID: &str = "sc_7q2m4x9c1d5k";

pub fn operations() -> Vec<Value> {
    let id = || path_parameter("id", "The schedule.", ID);
    let create = write(
        "schedule_create",
        "Have the checks run by themselves, and people told what they find",
        "Weekly, on Mondays at nine in UTC, if nothing else is said. Each recipient gets one letter a run. Between reports, what is new is told: within the hour if calls fail or will within a day, and once a day otherwise; a number that expires is told within the window, and again at 14, 7 and 1 days.",
        (body(&fields(true)), wanted()),
        ("201", sample(false)),
        vec![idempotency_key()],
    );
    let edit = write(
        "schedule_edit",
        "Change a schedule, switch it off and on",
        "What is left out stays as it is.",
        (body(&fields(false)), json!({ "cron": "30 8 * * MON-FRI", "off": false })),
        ("200", sample(false)),
        vec![id(), idempotency_key()],
    );
    let mut removed = sample(false);
    removed["removed_at"] = json!("2026-02-01T10:00:00Z");
    let remove = write(
        "schedule_remove",
        "End a schedule for good",
        "Letters of it that still wait are not sent.",
        (body(&[]), json!({})),
        ("200", removed),
        vec![id(), idempotency_key()],
    );
    let run = write(
        "schedule_run",
        "Ask for the report now",
        "It is made and sent at once, also if nothing is found, but not twice within a minute; the next report stays where it is.",
        (body(&[]), json!({})),
        ("200", sample(false)),
        vec![id(), idempotency_key()],
    );
    let page = json!({ "total": 1, "page": 1, "per_page": 20 });
    let list = read(
        "schedules",
        "All schedules, oldest first",
        parameters(ListParameters::Paging),
        (list_of("Schedule"), json!({ "data": [sample(false)], "meta": page })),
        ERRORS_OF_LIST,
    );
    let single = read(
        "schedule",
        "A schedule, with its next three runs and how its last letters went",
        vec![id()],
        (one_of("Schedule"), json!({ "data": sample(true) })),
        ERRORS_OF_ONE,
    );
    let query = |name: &str, about: &str, example: &str| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" }, "example": example });
    let preview = read(
        "schedule_preview",
        "The next three runs of what you are about to choose",
        vec![
            query("cron", "Minute, hour, day of the month, month, day of the week.", WEEKLY),
            query("zone", "The IANA name of the zone.", "Europe/Berlin"),
        ],
        (
            one_of("SchedulePreview"),
            json!({ "data": { "cron": WEEKLY, "zone": "Europe/Berlin", "next_runs": next_runs() } }),
        ),
        ERRORS_OF_LIST,
    );
    vec![list, create, preview, single, edit, remove, run]
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let nullable = |about: &str| json!({ "type": ["string", "null"], "description": about });
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let time_or_null = |about: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": about });
    let whole = |about: &str| json!({ "type": "integer", "description": about });
    let texts = |about: &str| json!({ "type": "array", "items": { "type": "string" }, "description": about });
    let words = |words: Vec<&str>| json!({ "enum": words });
    let runs = json!({
        "type": "array",
        "items": object(&[
            ("at", time("In UTC.")),
            ("local", time("As the zone's clocks show it.")),
        ]),
    });
    let ran = [
        ("at", time("When it looked.")),
        ("why", words(Why::ALL.iter().map(|why| why.as_str()).collect())),
        ("findings", whole("How many were open.")),
        ("new", whole("How many of them had not been told.")),
        ("told", json!({ "type": "boolean", "description": "Whether anybody was told." })),
    ];
    let recipient = object(&[
        ("to", text("The address.")),
        ("state", words(Sending::ALL.iter().map(|state| state.as_str()).collect())),
        ("attempts", whole("How often it was tried.")),
        ("tried_at", time_or_null("When it was last tried.")),
        (
            "next_at",
            time_or_null(
                "When it is tried again: after 1 and 5 minutes, half an hour, 2 hours, and 4 again and again, for a day.",
            ),
        ),
        ("error", nullable("Why the last attempt failed.")),
    ]);
    let mut letters = ran.to_vec();
    letters.push(("recipients", json!({ "type": "array", "items": recipient })));
    let mut last = object(&ran);
    last["type"] = json!(["object", "null"]);
    let mut schedule = object(&[
        ("id", text("Its id.")),
        ("name", text("What people call it.")),
        ("cron", text("Minute, hour, day of the month, month, day of the week.")),
        ("zone", text("The IANA name of the zone that these are in.")),
        ("recipients", texts("Who gets letters.")),
        ("checks", texts("What is looked for; everything, if it is empty.")),
        ("within", text("How far ahead expiries are seen.")),
        ("report", words(ReportPolicy::ALL.iter().map(|report| report.as_str()).collect())),
        ("alerts", json!({ "type": "boolean", "description": "Whether what is new is told between reports." })),
        ("off", json!({ "type": ["object", "null"], "description": "Since when, and why, it rests." })),
        ("created_at", time("When it was created.")),
        ("removed_at", time_or_null("When it was removed.")),
        ("next_runs", runs.clone()),
        ("looked_at", time_or_null("When it last looked, also if there was nothing to tell.")),
        ("asked_by", nullable("Who asked for a report that is not made yet.")),
        ("last_run", last),
    ]);
    schedule["properties"]["runs"] = json!({ "type": "array", "items": object(&letters), "description": "The last runs that sent letters, newest first; where one schedule is asked for." });
    let preview =
        object(&[("cron", text("As asked for.")), ("zone", text("As the tables spell it.")), ("next_runs", runs)]);
    vec![("Schedule", schedule), ("SchedulePreview", preview)]
}

fn fields(new: bool) -> Vec<(&'static str, Value, bool)> {
    let all: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
    let mut fields = vec![
        ("name", text("What people call it."), new),
        (
            "cron",
            json!({ "type": "string", "description": "Five fields, or @daily and the like.", "default": WEEKLY }),
            false,
        ),
        (
            "zone",
            json!({ "type": "string", "description": "An IANA name. A time that clocks skip is taken as the first moment after the gap; one that they repeat, as its first.", "default": UTC }),
            false,
        ),
        (
            "recipients",
            json!({ "type": "array", "items": { "type": "string", "format": "email" }, "maxItems": RECIPIENTS_MAX }),
            false,
        ),
        (
            "checks",
            json!({ "type": "array", "items": { "enum": all }, "description": "Everything, if it is empty." }),
            false,
        ),
        (
            "within",
            json!({ "type": "string", "description": "How far ahead expiries are seen.", "default": "14d" }),
            false,
        ),
        (
            "report",
            json!({ "enum": ReportPolicy::ALL.iter().map(|report| report.as_str()).collect::<Vec<_>>(), "default": "findings", "description": "always: a report is sent if nothing is found as well." }),
            false,
        ),
        (
            "alerts",
            json!({ "type": "boolean", "default": true, "description": "Whether what is new is told between reports." }),
            false,
        ),
    ];
    if !new {
        fields.push(("off", json!({ "type": "boolean", "description": "Whether it rests." }), false));
    }
    fields
}

fn wanted() -> Value {
    json!({ "name": "Weekly check", "zone": "Europe/Berlin", "recipients": ["desk@example.net"] })
}

fn next_runs() -> Value {
    json!([
        { "at": "2026-02-02T08:00:00Z", "local": "2026-02-02T09:00:00+01:00" },
        { "at": "2026-02-09T08:00:00Z", "local": "2026-02-09T09:00:00+01:00" },
        { "at": "2026-02-16T08:00:00Z", "local": "2026-02-16T09:00:00+01:00" },
    ])
}

fn sample(alone: bool) -> Value {
    let ran = json!({ "at": "2026-01-26T08:00:00Z", "why": "report", "findings": 3, "new": 1, "told": true });
    let mut sample = json!({
        "id": ID,
        "name": "Weekly check",
        "cron": WEEKLY,
        "zone": "Europe/Berlin",
        "recipients": ["desk@example.net"],
        "checks": [],
        "within": "14d",
        "report": "findings",
        "alerts": true,
        "off": null,
        "created_at": "2026-01-20T10:00:00Z",
        "removed_at": null,
        "next_runs": next_runs(),
        "looked_at": "2026-02-01T09:00:00Z",
        "asked_by": null,
        "last_run": ran,
    });
    if alone {
        let mut letters = ran;
        letters["recipients"] = json!([{
            "to": "desk@example.net", "state": "sent", "attempts": 1, "tried_at": "2026-01-26T08:00:00Z",
            "next_at": null, "error": null,
        }]);
        sample["runs"] = json!([letters]);
    }
    sample
}

fn read(id: &str, summary: &str, parameters: Vec<Value>, (schema, example): (Value, Value), errors: &[&str]) -> Value {
    super::read("Schedules", id, summary, parameters, errors, untagged("As it is now.", schema, example))
}

fn write(
    id: &str,
    summary: &str,
    about: &str,
    body: (Value, Value),
    (status, answer): (&str, Value),
    parameters: Vec<Value>,
) -> Value {
    let ok = json!({
        "description": "The schedule.",
        "content": { "application/json": { "schema": one_of("Schedule"), "example": { "data": answer } } },
    });
    let ok = (status, ok);
    DescribedWrite { tag: "Schedules", id, summary, about, parameters, body, ok, errors: ERRORS_OF_WRITE }.described()
}
