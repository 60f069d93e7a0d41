//! The description of the log: a number's history, and the changes of all.

use serde_json::{Map, Value, json};

use super::{column_schema, headers, list_of, object, parameters, path_parameter, responses, sample};
use crate::domain::Verb;
use crate::http::json::INLINE_MAX;
use crate::http::query::ListParameters;
use crate::wire::past::COLUMNS as PAST_COLUMNS;
use crate::wire::{self, Column};

pub(super) fn history() -> Value {
    let mut parameters = parameters(ListParameters::Paging);
    parameters.insert(0, path_parameter("e164", "The number in E.164, its + as it is or as %2B.", "+912271264217"));
    json!({
        "operationId": "number_history",
        "tags": ["The past"],
        "summary": "What happened to one phone number since this partner first had it, oldest first",
        "description": "Also of a number that was retired since. What other partners did with it is not shown.",
        "parameters": parameters,
        "responses": responses(&["401", "403", "404", "422", "429"], json!({
            "description": "A page of its history.",
            "headers": headers(false),
            "content": { "application/json": {
                "schema": list_of("HistoryEntry"),
                "example": { "data": [sample_entry()], "meta": { "total": 1, "page": 1, "per_page": 20 } },
            } },
        })),
    })
}

pub(super) fn changes() -> Value {
    let after = json!({
        "name": "after", "in": "query", "description": "Changes after this version.",
        "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX, "default": 0 },
    });
    let per_page = parameters(ListParameters::Paging).remove(1);
    let last = json!({
        "name": "Last-Event-ID", "in": "header",
        "description": "Of a stream: the last change that the client got, instead of `after`.",
        "schema": { "type": "integer", "minimum": 0 },
    });
    let example = sample_change();
    json!({
        "operationId": "changes",
        "tags": ["The past"],
        "summary": "What happened to the partner's inventory, oldest first, as pages or as a stream",
        "description": format!(
            "A change shows at most {INLINE_MAX} of its entities and of its numbers; the rest is at its own address. \
             With `Accept: text/event-stream`, all changes after `after` and those to come, as server-sent events \
             whose id is the version: a client that comes back with `Last-Event-ID` misses nothing."
        ),
        "parameters": [after, per_page, last],
        "responses": responses(&["401", "403", "422", "429"], json!({
            "description": "A page of changes, or the stream.",
            "headers": headers(false),
            "content": {
                "application/json": {
                    "schema": object(&[
                        ("data", json!({ "type": "array", "items": { "$ref": "#/components/schemas/Change" } })),
                        ("meta", object(&[
                            ("version", json!({ "type": "integer", "description": "The partner's last change." })),
                            ("next_after", json!({ "type": ["integer", "null"], "description": "The next page's `after`; null if there is no more yet." })),
                            ("per_page", json!({ "type": "integer" })),
                        ])),
                    ]),
                    "example": { "data": [example], "meta": { "version": 4, "next_after": 3, "per_page": 1 } },
                },
                "text/event-stream": {
                    "schema": { "type": "string" },
                    "example": format!("id: 3\nevent: change\ndata: {example}\n\n"),
                },
            },
        })),
    })
}

pub(super) fn change() -> Value {
    let mut parameters = parameters(ListParameters::Paging);
    parameters.insert(0, path_parameter("version", "The version that the change made.", "3"));
    json!({
        "operationId": "change",
        "tags": ["The past"],
        "summary": "One change, with all that it changed in pages",
        "parameters": parameters,
        "responses": responses(&["401", "403", "404", "422", "429"], json!({
            "description": "The change with a page of its entities and a page of its numbers; `total` counts the numbers.",
            "headers": headers(false),
            "content": { "application/json": {
                "schema": object(&[
                    ("data", json!({ "$ref": "#/components/schemas/Change" })),
                    ("meta", json!({ "$ref": "#/components/schemas/Meta" })),
                ]),
                "example": { "data": sample_change(), "meta": { "total": 1, "page": 1, "per_page": 20 } },
            } },
        })),
    })
}

/// What every entry of the log says of itself, then more.
pub(super) fn entry_schema(more: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
    let mut all = vec![
        (
            "version",
            json!({ "type": "integer", "description": "A partner's changes are numbered 1, 2, 3… without gaps." }),
        ),
        ("at", json!({ "type": "string", "format": "date-time" })),
        ("verb", json!({ "enum": verbs })),
        ("actor", json!({ "type": "string", "description": "key:ID, user:ID or command:USER." })),
        ("request_id", json!({ "type": ["string", "null"] })),
    ];
    all.extend_from_slice(more);
    all
}

/// A number as it was, by the names of [`Column`].
pub(super) fn number_schema() -> Value {
    let columns = PAST_COLUMNS.iter();
    let schemas: Vec<(&str, Value)> = columns.map(|&column| (column.name(), column_schema(column))).collect();
    object(&schemas)
}

pub(super) fn image() -> Value {
    json!({
        "oneOf": [{ "$ref": "#/components/schemas/PastNumber" }, { "type": "null" }],
        "description": "null where the partner did not have the number.",
    })
}

/// The import that brought the specification's sample number.
fn sample_change() -> Value {
    let mut change = sample_head();
    change["entities_total"] = json!(1);
    change["entities"] = json!([{
        "kind": "account",
        "id": "MA_48149cf4",
        "before": null,
        "after": { "name": "Credresolve", "created_at": "2026-02-01T10:00:00Z", "archived_at": null },
    }]);
    change["numbers_total"] = json!(1);
    let mut number = json!({ "number": "+912271264217" });
    sample_images(&mut number);
    change["numbers"] = json!([number]);
    change
}

fn sample_entry() -> Value {
    let mut entry = sample_head();
    sample_images(&mut entry);
    entry
}

fn sample_head() -> Value {
    json!({
        "version": 3,
        "at": "2026-02-01T10:00:00Z",
        "verb": "import",
        "actor": "command:asha",
        "request_id": null,
    })
}

fn sample_images(of: &mut Value) {
    let sample = sample(wire::EXPORT);
    let value = |column: &Column| match column {
        Column::State => json!("active"),
        Column::Since => json!("2026-02-01T10:00:00Z"),
        column => sample[column.name()].clone(),
    };
    let after: Map<String, Value> =
        PAST_COLUMNS.iter().map(|column| (column.name().to_owned(), value(column))).collect();
    let summary = "came into stock; assigned to MA_48149cf4; routed to app_abc123; on trunk trunk_xyz";
    of["summary"] = json!(summary);
    of["before"] = Value::Null;
    of["after"] = Value::Object(after);
}
