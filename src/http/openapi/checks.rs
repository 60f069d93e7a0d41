//! The description of the checks.

use serde_json::{Value, json};

use super::{headers, list_of, object, path_parameter, responses};
use crate::checks::{Check, Severity};

/// The findings, and their acknowledgement.
pub fn operations() -> Vec<Value> {
    let query = |name: &str, about: &str, example: &str| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" }, "example": example });
    let whole = |name: &str, about: &str| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "integer", "minimum": 1 } });
    let asked = [
        query("check", "Findings of this check only; all but `idle` if not given.", "unrouted"),
        query("account_auth_id", "Only what is about this account.", "MA_48149cf4"),
        query("within", "How far ahead `expiring` sees, suspended numbers too; 14d if not given.", "14d"),
        query("suspended_for", "How long a number is suspended before that is a finding; 30d if not given.", "30d"),
        query(
            "idle_for",
            "With check=idle: for how many whole days nobody called; 90d if not given, and at most.",
            "90d",
        ),
        query(
            "acknowledged",
            "true: only findings that somebody has acknowledged; false, if not given: only others.",
            "false",
        ),
    ];
    let paged: Vec<Value> = [whole("page", "Page number, from 1."), whole("per_page", "Findings on a page.")]
        .into_iter()
        .chain(asked.clone())
        .collect();
    let mut list = json!({
        "operationId": "checks",
        "tags": ["Checks"],
        "summary": "What is wrong with the inventory",
        "description": "Customers without an active number, numbers that have expired or will, numbers with nowhere to route or routed to what is archived, numbers that were probably stored wrongly, and long suspended ones; in a mirrored inventory, for 14 days, numbers that left it or came into it upstream. With check=idle, numbers that are paid for and that nobody has called through this server: silent until all nodes have recorded calls for that long; `meta.saves_monthly` is what they cost a month, by currency. A finding's id names one occurrence.",
        "parameters": paged,
        "responses": responses(&["401", "403", "422", "429"], json!({
            "description": "A page of findings, by check, account and number.",
            "headers": headers(false),
            "content": { "application/json": {
                "schema": list_of("Finding"),
                "example": {
                    "data": [{
                        "id": "fi_0c9d1f8e2b7a65430c9d",
                        "check": "unrouted",
                        "severity": "critical",
                        "account_auth_id": "MA_48149cf4",
                        "number": "+912271264219",
                        "since": "2026-02-01T10:00:00Z",
                        "meaning": Check::Unrouted.meaning(),
                        "action": Check::Unrouted.action(),
                        "evidence": { "state": "active" },
                    }],
                    "meta": { "total": 1, "page": 1, "per_page": 20 },
                },
            } },
        })),
    });
    let mut counts = json!({});
    for check in Check::ALL {
        if *check != Check::Idle {
            counts[check.as_str()] = json!(0);
        }
    }
    let mut meta = object(&[
        ("total", json!({ "type": "integer", "description": "All findings on all pages, exactly." })),
        ("page", json!({ "type": "integer" })),
        ("per_page", json!({ "type": "integer" })),
    ]);
    meta["properties"]["saves_monthly"] = json!({
        "type": "object", "additionalProperties": { "type": "number" },
        "description": "With check=idle: what the numbers found cost a month, by currency.",
    });
    list["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["meta"] = meta;
    let summary = json!({
        "operationId": "checks_summary",
        "tags": ["Checks"],
        "summary": "How many findings each check has, exactly",
        "parameters": asked,
        "responses": responses(&["401", "403", "422", "429"], json!({
            "description": "The counts by check.",
            "headers": headers(false),
            "content": { "application/json": { "schema": {}, "example": { "data": counts, "meta": { "total": 0 } } } },
        })),
    });
    vec![list, summary, acknowledge()]
}

fn acknowledge() -> Value {
    let id = "fi_0c9d1f8e2b7a65430c9d";
    let mut responses = responses(&["400", "401", "403", "404", "422", "429"], Value::Null);
    responses["200"] = json!({
        "description": "Noted. The finding is quiet until then.",
        "content": { "application/json": {
            "schema": {},
            "example": { "data": {
                "id": id, "note": "the route comes on Monday", "until": "2098-01-01T00:00:00Z",
                "by": "key:key_7a8b9c", "at": "2026-02-01T10:00:00Z",
            } },
        } },
    });
    json!({
        "operationId": "acknowledge",
        "tags": ["Checks"],
        "summary": "Acknowledge a finding",
        "description": "It is not shown until the time given, or for good; then it is back.",
        "parameters": [path_parameter("id", "The finding's id.", id)],
        "requestBody": { "required": false, "content": { "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "note": { "type": ["string", "null"], "description": "Why, for the others." },
                    "until": { "type": ["string", "null"], "format": "date-time", "description": "When it comes back." },
                },
                "additionalProperties": false,
            },
            "example": { "note": "the route comes on Monday", "until": "2098-01-01T00:00:00Z" },
        } } },
        "responses": responses,
    })
}

pub fn schema() -> Value {
    let nullable = |about: &str| json!({ "type": ["string", "null"], "description": about });
    let words = |words: Vec<&str>| json!({ "enum": words });
    object(&[
        ("id", json!({ "type": "string", "description": "Names this occurrence, the same at every look." })),
        ("check", words(Check::ALL.iter().map(|check| check.as_str()).collect())),
        ("severity", words(Severity::ALL.iter().map(|severity| severity.as_str()).collect())),
        ("account_auth_id", nullable("The customer it is about.")),
        (
            "number",
            nullable("The number it is about; null if it is about the customer, or about more numbers than are named."),
        ),
        (
            "since",
            json!({ "type": ["string", "null"], "format": "date-time", "description": "Since when it is so; for `expiring`, when the number ends." }),
        ),
        ("meaning", json!({ "type": "string", "description": "What it means for callers." })),
        ("action", json!({ "type": "string", "description": "What to do." })),
        ("evidence", json!({ "type": "object", "description": "What shows it, and who has acknowledged it." })),
    ])
}
