//! The description of jobs.

use serde_json::{Map, Value, json};

use super::manage::{body, idempotency_key, text};
use super::{
    DescribedWrite, ERRORS_OF_LIST, ERRORS_OF_ONE, ERRORS_OF_WRITE, list_of, object, one_of, parameters,
    path_parameter, untagged,
};
use crate::http::manage::VERBS;
use crate::http::query::ListParameters;
use crate::inventory::PARAMETERS;
use crate::service::background::jobs::{JobState, LIST_MAX, RowResult};

const ID: &str = "job_7q2m4x9c1d5k";

pub fn operations() -> Vec<Value> {
    let page = json!({ "total": 1, "page": 1, "per_page": 20 });
    let create = write(
        "job_create",
        "Create a job: one verb on many numbers",
        &format!(
            "The numbers are fixed now: a list of at most {LIST_MAX}, each once, or what a filter lets through, however many; `{{}}` is all. With `preview` nothing happens: each row says what would, and `run` does it, deciding each row anew. Otherwise it begins at once. It is done in batches, each one change and durable; what is wrong with one row never stops the others."
        ),
        body(&[
            ("verb", json!({ "enum": VERBS }), true),
            (
                "numbers",
                json!({ "type": "array", "items": { "type": "string" }, "maxItems": LIST_MAX, "description": "In E.164. Either this or `filter`." }),
                false,
            ),
            ("filter", filter(), false),
            (
                "params",
                json!({ "type": "object", "description": "What the verb takes in its body for one number." }),
                false,
            ),
            (
                "preview",
                json!({ "type": "boolean", "default": false, "description": "Only say what would happen." }),
                false,
            ),
        ]),
        json!({
            "verb": "assign",
            "filter": { "assigned": false, "country": "IN" },
            "params": { "account_auth_id": "MA_48149cf4" },
            "preview": true,
        }),
        ("201", sample()),
    );
    let of = |operation: Value, more: Vec<Value>| {
        let mut operation = operation;
        let mut all = vec![path_parameter("id", "The job.", ID)];
        all.extend(more);
        operation["parameters"] = json!(all);
        operation
    };
    let order = |id: &str, summary: &str, about: &str| {
        of(write(id, summary, about, body(&[]), json!({}), ("200", sample())), vec![idempotency_key()])
    };
    let undo = write(
        "job_undo",
        "Undo a job that has ended",
        "Makes a job that puts back account, routing, status and expiry of the rows that changed, exactly. A number that somebody changed since stays as it is, with the reason. It can be undone as well.",
        body(&[("preview", json!({ "type": "boolean", "default": false }), false)]),
        json!({}),
        ("201", sample()),
    );
    let row = json!({
        "number": "+912271264217", "result": "would_change", "reason": null,
        "monthly_cost_change": { "INR": 500.00 }, "version": null,
    });
    let mut rows = parameters(ListParameters::Paging);
    rows.push(json!({
        "name": "result", "in": "query", "description": "Only rows with this result.",
        "schema": { "enum": words(RowResult::ALL.iter().map(|result| result.as_str())) },
        "example": "failed",
    }));
    vec![
        read(
            "jobs",
            "The partner's jobs, newest first",
            "A page of jobs.",
            parameters(ListParameters::Paging),
            list_of("Job"),
            json!({ "data": [sample()], "meta": page.clone() }),
            ERRORS_OF_LIST,
        ),
        create,
        read(
            "job",
            "How far a job is",
            "The job.",
            vec![path_parameter("id", "The job.", ID)],
            one_of("Job"),
            json!({ "data": sample() }),
            ERRORS_OF_ONE,
        ),
        of(
            read(
                "job_rows",
                "A job's rows, in the order of the number",
                "A page of rows.",
                Vec::new(),
                list_of("JobRow"),
                json!({ "data": [row], "meta": page }),
                ERRORS_OF_ONE,
            ),
            rows,
        ),
        order(
            "job_run",
            "Run a previewed job",
            "On one that is queued, running or done, nothing more happens; on one that was cancelled or has failed it is 409.",
        ),
        order(
            "job_cancel",
            "Stop a job",
            "It stops before its next batch. What it has done stays done, and can be undone; the other rows stay `pending`. On one that is done it is 409.",
        ),
        of(undo, vec![idempotency_key()]),
    ]
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let time = |about: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": about });
    let count = |about: &str| json!({ "type": "integer", "description": about });
    let cost = || {
        json!({
            "type": "object", "additionalProperties": { "type": "number" },
            "description": "What a month costs more, or less, in each currency; amounts of different currencies are never added.",
        })
    };
    let mut preview = object(&[
        ("would_change", count("")),
        ("unchanged", count("")),
        ("would_fail", count("")),
        ("monthly_cost_change", cost()),
    ]);
    preview["type"] = json!(["object", "null"]);
    let job = object(&[
        ("id", text("Its name.")),
        ("state", json!({ "enum": words(JobState::ALL.iter().map(|state| state.as_str())) })),
        ("verb", text("The verb, or `undo`.")),
        ("params", json!({ "type": "object", "description": "As they were sent." })),
        ("filter", json!({ "type": ["object", "null"], "description": "As it was sent; null for a list." })),
        ("total", count("All rows.")),
        ("done", count("Rows that are `changed`, `unchanged` or `failed`.")),
        ("changed", count("")),
        ("unchanged", count("Rows where all was so already.")),
        ("failed", count("Rows that were refused, each with its reason.")),
        ("monthly_cost_change", cost()),
        ("preview", preview),
        ("created_at", json!({ "type": "string", "format": "date-time" })),
        ("started_at", time("When its first batch was done.")),
        ("ended_at", time("When it was done, cancelled or failed.")),
        ("rate", json!({ "type": ["number", "null"], "description": "Rows a second, while it runs." })),
        ("seconds_left", json!({ "type": ["integer", "null"], "description": "At that rate." })),
        ("by", text("Who created it. The log has its changes under this name and, as request id, the job's.")),
        ("undo_of", json!({ "type": ["string", "null"], "description": "The job that this one undoes." })),
        ("error", json!({ "type": ["string", "null"], "description": "Why it failed, or what it waits for." })),
    ]);
    let row = object(&[
        ("number", text("In E.164.")),
        ("result", json!({ "enum": words(RowResult::ALL.iter().map(|result| result.as_str())) })),
        ("reason", json!({ "type": ["string", "null"], "description": "Why it failed, or would." })),
        ("monthly_cost_change", cost()),
        ("version", json!({ "type": ["integer", "null"], "description": "The version that changed the number." })),
    ]);
    vec![("Job", job), ("JobRow", row)]
}

fn words(words: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    words.collect()
}

/// The Partner API's filters by their names.
fn filter() -> Value {
    let property = |name: &str, about: &str| {
        let kind = if matches!(name, "routed" | "assigned") { "boolean" } else { "string" };
        json!({ "type": kind, "description": about })
    };
    let filters = PARAMETERS.iter().filter(|parameter| parameter.name != "sort");
    let properties: Map<String, Value> =
        filters.map(|parameter| (parameter.name.to_owned(), property(parameter.name, parameter.about))).collect();
    json!({
        "type": "object", "properties": properties, "additionalProperties": false,
        "description": "The Partner API's filters by their names. All must fit. Either this or `numbers`.",
    })
}

fn sample() -> Value {
    json!({
        "id": ID,
        "state": "previewed",
        "verb": "assign",
        "params": { "account_auth_id": "MA_48149cf4" },
        "filter": { "assigned": false, "country": "IN" },
        "total": 100,
        "done": 0,
        "changed": 0,
        "unchanged": 0,
        "failed": 0,
        "monthly_cost_change": {},
        "preview": {
            "would_change": 100, "unchanged": 0, "would_fail": 0, "monthly_cost_change": { "INR": 45000.00 },
        },
        "created_at": "2026-02-01T10:00:00Z",
        "started_at": null,
        "ended_at": null,
        "rate": null,
        "seconds_left": null,
        "by": "command:amara",
        "undo_of": null,
        "error": null,
    })
}

fn read(
    id: &str,
    summary: &str,
    about: &str,
    parameters: Vec<Value>,
    schema: Value,
    example: Value,
    errors: &[&str],
) -> Value {
    super::read("Jobs", id, summary, parameters, errors, untagged(about, schema, example))
}

fn write(id: &str, summary: &str, about: &str, body: Value, example: Value, (status, answer): (&str, Value)) -> Value {
    let ok = json!({
        "description": "The job.",
        "content": { "application/json": { "schema": one_of("Job"), "example": { "data": answer } } },
    });
    let (parameters, body, ok) = (vec![idempotency_key()], (body, example), (status, ok));
    DescribedWrite { tag: "Jobs", id, summary, about, parameters, body, ok, errors: ERRORS_OF_WRITE }.described()
}
