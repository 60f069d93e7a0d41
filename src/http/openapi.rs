//! The description of the API, for people's tools.
//!
//! Made from the same tables that parse and write, so that it cannot say
//! something else; `openapi.json` in the repository is a copy that a test
//! compares with this.

mod checks;
mod entities;
mod jobs;
mod manage;
mod routing;
mod schedules;
mod settings;
mod strict;
mod webhooks;

use serde_json::{Map, Value, json};

use super::json::INLINE_MAX;
use super::query::{CostsQuery, ListParameters, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::billing::Proration;
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::{State, Verb};
use crate::inventory::{PARAMETERS, SEARCH_CHARS_MAX};
use crate::wire::past::COLUMNS as PAST_COLUMNS;
use crate::wire::{self, Column};

/// The whole description, as pretty JSON.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a document serialises");
    text.push('\n');
    text
}

pub(crate) fn document() -> Value {
    let mut document = described();
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.extend(checks::paths());
        paths.extend(manage::paths());
        paths.extend(jobs::paths());
        paths.extend(schedules::paths());
        paths.extend(webhooks::paths());
        paths.extend(settings::paths());
    }
    document["components"]["schemas"]["Finding"] = checks::schema();
    document["components"]["schemas"]["ManagedNumber"] = manage::schema();
    let others = schedules::schemas().into_iter().chain(webhooks::schemas()).chain(settings::schemas());
    for (name, schema) in jobs::schemas().into_iter().chain(others) {
        document["components"]["schemas"][name] = schema;
    }
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (method, operation) in paths.flat_map(|(_, methods)| methods.as_object_mut().into_iter().flatten()) {
        if operation["security"].is_null() {
            of_a_node(method, operation);
        }
        strict::operation(method, operation);
    }
    document
}

/// What holds of every operation on a partner's inventory, because a node
/// answers it.
fn of_a_node(method: &str, operation: &mut Value) {
    operation["responses"]["503"] = json!({ "$ref": "#/components/responses/503" });
    if method != "get" {
        return;
    }
    let least = json!({
        "name": "Inventory-Version-At-Least", "in": "header",
        "description": "The `Inventory-Version` of an answer, from whichever node: this one is made from that version or a later one. It is waited for a set time (2 seconds, if nobody changed it); then 503.",
        "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX },
    });
    match operation.get_mut("parameters").and_then(Value::as_array_mut) {
        Some(parameters) => parameters.push(least),
        None => operation["parameters"] = json!([least]),
    }
}

fn described() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rollcall Partner API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which customer has which phone number, where it routes, what it costs and when it expires. Every time is UTC; every amount is a JSON number with its currency's decimals.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "AuthId": [], "AuthToken": [] }],
        "tags": [
            { "name": "Phone numbers", "description": "The inventory." },
            { "name": "The past", "description": "What happened, and what comes." },
            { "name": "Checks", "description": "What is wrong: the Number Management Guide as answers." },
            { "name": "Management", "description": "The verbs on numbers, accounts, applications and trunks, for keys with the scope `manage`. A write that is answered is durable." },
            { "name": "Jobs", "description": "One verb on many numbers: previewed, run in batches, stopped, undone. For keys with the scope `manage`." },
            { "name": "Schedules", "description": "When the checks run by themselves, and who hears of what they find. For keys with the scope `manage`." },
            { "name": "Webhooks", "description": "Addresses that are told what happens, and what became of telling them. For keys with the scope `manage`." },
            { "name": "Operations", "description": "For those who run the server. No credentials, no tenant's data." },
        ],
        "paths": {
            "/api/v1/partner/accounts/{id}/numbers": { "get": list_of_numbers(
                "customer_numbers",
                "All phone numbers of one customer account",
                ListParameters::Customer,
                "CustomerNumber",
                wire::CUSTOMER,
            ) },
            "/api/v1/partner/numbers": { "get": list_of_numbers(
                "numbers",
                "All phone numbers of the partner, assigned or not",
                ListParameters::Global,
                "Number",
                wire::GLOBAL,
            ) },
            "/api/v1/partner/numbers/{e164}": { "get": {
                "operationId": "number",
                "tags": ["Phone numbers"],
                "summary": "One phone number, with its tags",
                "parameters": [path_parameter("e164", "The number in E.164, its + as it is or as %2B.", "+912271264217")],
                "responses": responses(&["401", "403", "404", "422", "429"], json!({
                    "description": "The number.",
                    "headers": headers(false),
                    "content": { "application/json": {
                        "schema": one_of("SingleNumber"),
                        "example": { "data": sample(wire::SINGLE) },
                    } },
                })),
            } },
            "/api/v1/partner/numbers/{e164}/history": { "get": history() },
            "/api/v1/partner/numbers/{e164}/routing": { "get": routing::explain() },
            "/api/v1/partner/changes": { "get": changes() },
            "/api/v1/partner/changes/{version}": { "get": one_change() },
            "/api/v1/partner/accounts": { "get": entities::accounts() },
            "/api/v1/partner/accounts/{id}": { "get": entities::account() },
            "/api/v1/partner/applications": { "get": entities::applications() },
            "/api/v1/partner/applications/{id}": { "get": entities::application() },
            "/api/v1/partner/trunks": { "get": entities::trunks() },
            "/api/v1/partner/trunks/{id}": { "get": entities::trunk() },
            "/api/v1/partner/costs": { "get": costs() },
            "/livez": { "get": operation("livez", "Whether the process answers", "application/json", json!({ "status": "ok" })) },
            "/readyz": { "get": operation("readyz", "Whether the index is loaded, and how fresh it is", "application/json",
                json!({
                    "status": "ok", "degraded": false, "role": "writer", "version": 4711, "lag": 0, "age_seconds": 0,
                    "poisoned": 0, "unreadable": {}, "writable": true, "build": "0.1.0",
                    "stuck_workers": [],
                })) },
            "/metrics": { "get": operation("metrics", "Metrics in the Prometheus text format", "text/plain", json!("rollcall_numbers 25000\n")) },
            "/openapi.json": { "get": operation("openapi", "This description", "application/json", json!({})) },
        },
        "components": {
            "securitySchemes": {
                "AuthId": { "type": "apiKey", "in": "header", "name": "X-Auth-ID", "description": "The partner's id." },
                "AuthToken": { "type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "The token of one of its keys." },
            },
            "responses": shared_responses(),
            "schemas": {
                "CustomerNumber": row_schema(wire::CUSTOMER),
                "Number": row_schema(wire::GLOBAL),
                "Item": row_schema(wire::ITEMS),
                "ItemPage": item_page(),
                "SingleNumber": row_schema(wire::SINGLE),
                "Account": entities::account_schema(),
                "AccountItem": entities::account_item_schema(),
                "Destination": routing::destination_schema(),
                "RouteExplanation": routing::explanation_schema(),
                "Application": entities::application_schema(),
                "Trunk": entities::trunk_schema(),
                "PastNumber": past_number(),
                "HistoryEntry": object(&entry_schema(&[
                    ("summary", json!({ "type": "string", "description": "In words, for people; the wording may change." })),
                    ("before", past_image()),
                    ("after", past_image()),
                ])),
                "Change": object(&entry_schema(&[
                    ("entities_total", json!({ "type": "integer", "description": "How many accounts, applications, trunks and keys it changed." })),
                    ("entities", json!({ "type": "array", "items": { "$ref": "#/components/schemas/EntityChange" } })),
                    ("numbers_total", json!({ "type": "integer", "description": "How many numbers it changed." })),
                    ("numbers", json!({ "type": "array", "items": { "$ref": "#/components/schemas/NumberChange" } })),
                ])),
                "EntityChange": object(&[
                    ("kind", json!({ "enum": ["partner", "account", "application", "trunk", "key", "acknowledgement", "webhook", "schedule", "mirror", "quarantine", "billing"] })),
                    ("id", json!({ "type": "string" })),
                    ("before", json!({ "type": ["object", "null"], "description": "null where it was created." })),
                    ("after", json!({ "type": "object" })),
                ]),
                "NumberChange": object(&[
                    ("number", json!({ "type": "string" })),
                    ("summary", json!({ "type": "string" })),
                    ("before", past_image()),
                    ("after", past_image()),
                ]),
                "Costs": costs_schema(),
                "Meta": object(&[
                    ("total", json!({ "type": "integer", "description": "All matching rows on all pages, exactly." })),
                    ("page", json!({ "type": "integer" })),
                    ("per_page", json!({ "type": "integer" })),
                ]),
                "Error": object(&[
                    ("status", json!({ "const": "error" })),
                    ("error", json!({
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {
                            "code": { "type": "string" },
                            "message": { "type": "string" },
                            "details": { "type": "object" },
                        },
                    })),
                    ("timestamp", json!({ "type": "string", "format": "date-time" })),
                    ("requestId", json!({ "type": "string" })),
                ]),
            },
        },
    })
}

/// A month's rental.
fn costs() -> Value {
    let line = json!({
        "number": "+912271264217", "from": "2026-02-01", "until": "2026-02-28", "days": 28, "rate": 500.00, "amount": 500.00,
    });
    let mut line_shown = line.clone();
    line_shown["expired_on"] = Value::Null;
    let of_account = |currency_last: bool| {
        let mut row = json!({ "account_auth_id": "MA_48149cf4", "account_name": "Credresolve" });
        if !currency_last {
            row["currency"] = json!("INR");
            row["total"] = json!(500.00);
            row["lines"] = json!([line_shown]);
        }
        row
    };
    let mut single = of_account(true);
    for (name, value) in line.as_object().into_iter().flatten() {
        single[name] = value.clone();
    }
    single["currency"] = json!("INR");
    single["expired_on"] = Value::Null;
    let parameter = |name: &str| match name {
        "month" => json!({
            "name": name, "in": "query", "required": true,
            "description": "The month in the partner's billing zone. One that has not ended is counted up to today, as a draft; one that has not begun is refused.",
            "schema": { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$" }, "example": "2026-02",
        }),
        "account_auth_id" => json!({
            "name": name, "in": "query", "description": "Only this account's.",
            "schema": { "type": "string" }, "example": "MA_48149cf4",
        }),
        "proration" => json!({
            "name": name, "in": "query",
            "description": "full: a rental month is charged whole in the month in which it begins, on the day of the month on which the number was assigned. days: the rate by the days held over those of the month.",
            "schema": { "enum": Proration::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>(), "default": "full" },
            "example": "days",
        }),
        "page" => json!({
            "name": name, "in": "query", "description": "Page number, from 1.",
            "schema": { "type": "integer", "minimum": 1, "default": 1 },
        }),
        _ => json!({
            "name": name, "in": "query", "description": "Accounts and currencies on a page, each with all of its lines.",
            "schema": { "type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX, "default": PER_PAGE_DEFAULT },
        }),
    };
    let mut responses = responses(
        &["401", "403", "422", "429"],
        json!({
            "description": "What each account pays in each currency, worked out from the log: by account, currency, number and day. As CSV or NDJSON, all lines.",
            "headers": headers(false),
            "content": {
                "application/json": {
                    "schema": { "$ref": "#/components/schemas/Costs" },
                    "example": {
                        "data": [of_account(false)],
                        "meta": {
                            "total": 1, "page": 1, "per_page": 20, "month": "2026-02", "through": "2026-02-28",
                            "proration": "full", "after_expiry": "charge", "zone": "UTC",
                            "begins_at": "2026-02-01T00:00:00Z", "ends_at": "2026-03-01T00:00:00Z", "draft": false,
                            "totals": [{ "currency": "INR", "amount": 500.00 }],
                        },
                    },
                },
                "text/csv": { "schema": { "type": "string" }, "example": format!("{}\r\n", wire::costs::COLUMNS.join(",")) },
                "application/x-ndjson": { "schema": { "type": "string" }, "example": format!("{single}\n") },
            },
        }),
    );
    responses["304"] = json!({ "description": "Not changed since the given `If-None-Match`." });
    json!({
        "operationId": "costs",
        "tags": ["Phone numbers"],
        "summary": "What held numbers cost in a month",
        "description": "Days and months are those of the partner's billing zone, and a day belongs to the account that holds the number at its end. Suspended numbers are charged; expired ones as the partner has chosen (`/api/v1/partner/settings/billing`). Each line is one number with one account at one rate. Lines are rounded half up to the currency's decimals and add up to totals; currencies are never added.",
        "parameters": CostsQuery::NAMES.iter().map(|name| parameter(name)).collect::<Vec<_>>(),
        "responses": responses,
    })
}

fn costs_schema() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let day = |about: &str| json!({ "type": "string", "format": "date", "description": about });
    let amount = |about: &str| json!({ "type": "number", "description": about });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let line = object(&[
        ("number", text("In E.164.")),
        ("from", day("Its first day in this month.")),
        ("until", day("Its last day in this month.")),
        ("days", json!({ "type": "integer", "description": "How many there are from the first to the last." })),
        ("rate", amount("Rental a month.")),
        ("amount", amount("What is charged, with the currency's own decimals.")),
        (
            "expired_on",
            json!({
                "type": ["string", "null"], "format": "date",
                "description": "The day on which the number expired, if days after that are charged.",
            }),
        ),
    ]);
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let group = object(&[
        ("account_auth_id", text("The customer.")),
        ("account_name", text("The customer's name at the end of the month.")),
        ("currency", text("ISO 4217.")),
        ("total", amount("The sum of the lines.")),
        ("lines", list(line)),
    ]);
    let meta = object(&[
        ("total", json!({ "type": "integer", "description": "Accounts and currencies on all pages." })),
        ("page", json!({ "type": "integer" })),
        ("per_page", json!({ "type": "integer" })),
        ("month", text("As asked for.")),
        ("through", day("The last day that is counted.")),
        ("proration", json!({ "enum": Proration::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>() })),
        ("after_expiry", json!({ "enum": ["charge", "stop"], "description": "What became of expired numbers." })),
        ("zone", text("The IANA name of the zone whose days these are.")),
        ("begins_at", time("The first moment of the month, where the month before ended.")),
        ("ends_at", time("The moment after its last.")),
        (
            "draft",
            json!({ "type": "boolean", "description": "Whether the month has not ended, so that the bill may change." }),
        ),
        ("totals", list(object(&[("currency", text("ISO 4217.")), ("amount", amount("On all pages."))]))),
    ]);
    object(&[("data", list(group)), ("meta", meta)])
}

fn list_of_numbers(id: &str, summary: &str, takes: ListParameters, schema: &str, columns: &[Column]) -> Value {
    let mut all = parameters(takes);
    let mut errors = vec!["401", "403", "422", "429"];
    if takes == ListParameters::Customer {
        all.insert(0, path_parameter("id", "The customer account.", "MA_48149cf4"));
        errors.insert(2, "404");
    }
    let header: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let own = list_of(schema);
    let ok = json!({
        "description": "A page of numbers in ascending order of the number, or of `sort`. As CSV or NDJSON, all of them.",
        "headers": headers(true),
        "content": {
            "application/json": {
                "schema": { "oneOf": [own, { "$ref": "#/components/schemas/ItemPage" }] },
                "example": { "data": [sample(columns)], "meta": { "total": 1, "page": 1, "per_page": 20 } },
            },
            "text/csv": { "schema": { "type": "string" }, "example": format!("{}\r\n", header.join(",")) },
            "application/x-ndjson": { "schema": { "type": "string" }, "example": format!("{}\n", sample(columns)) },
        },
    });
    let mut responses = responses(&errors, ok);
    responses["304"] = json!({ "description": "Not changed since the given `If-None-Match`." });
    json!({
        "operationId": id,
        "tags": ["Phone numbers"],
        "summary": summary,
        "description": format!(
            "A key that was made with `--dialect items` is answered in the shape that the platform's SDKs read (`ItemPage`), and may \
             also send their parameters: `limit` and `offset`, a multiple of it, instead of `per_page` and `page`, and \
             `include_subaccounts`{}. The two shapes are never mixed.",
            if takes == ListParameters::Customer { ", which changes nothing here" } else { "=true" }
        ),
        "parameters": all,
        "responses": responses,
    })
}

/// The parameters of a list, paging first.
/// What a filter is about.
fn about(name: &str) -> &'static str {
    PARAMETERS.iter().find(|parameter| parameter.name == name).map_or("", |parameter| parameter.about)
}

fn parameters(takes: ListParameters) -> Vec<Value> {
    let describe = |name: &str| match name {
        "page" => json!({
            "name": name, "in": "query", "description": "Page number, from 1, which is the first.",
            "schema": { "type": "integer", "minimum": 1, "maximum": u64::MAX },
        }),
        "per_page" => json!({
            "name": name, "in": "query", "description": "Rows on a page.",
            "schema": { "type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX, "default": PER_PAGE_DEFAULT },
        }),
        "search" if takes == ListParameters::Entities => json!({
            "name": name, "in": "query", "description": "Part of the name or of the id, in any case.",
            "schema": { "type": "string", "maxLength": NAME_CHARS_MAX }, "example": "app",
        }),
        "after" => json!({
            "name": name, "in": "query",
            "description": "Rows after this number, in place of a `page` other than 1; `Link` has the next one.",
            "schema": { "type": "string", "pattern": strict::E164_OR_NOT }, "example": "+912271264217",
        }),
        "search" => json!({
            "name": name, "in": "query", "description": about(name),
            "schema": { "type": "string", "maxLength": SEARCH_CHARS_MAX }, "example": "9122712",
        }),
        "as_of" => json!({
            "name": name, "in": "query",
            "description": "The inventory as it was at the end of this second, with the names of then. Not in the future.",
            "schema": { "type": "string", "format": "date-time" }, "example": "2026-02-01T10:00:00Z",
        }),
        name => {
            let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name).expect("a known parameter");
            json!({
                "name": name, "in": "query", "description": parameter.about,
                "schema": { "type": "string" }, "example": parameter.example,
            })
        }
    };
    takes.names().map(describe).collect()
}

fn history() -> Value {
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

fn changes() -> Value {
    let after = json!({
        "name": "after", "in": "query", "description": "Changes after this version.",
        "schema": { "type": "integer", "minimum": 0, "default": 0 },
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

fn one_change() -> Value {
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
fn entry_schema(more: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
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
fn past_number() -> Value {
    let columns = PAST_COLUMNS.iter();
    let schemas: Vec<(&str, Value)> = columns.map(|&column| (column.name(), column_schema(column))).collect();
    object(&schemas)
}

fn past_image() -> Value {
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

fn path_parameter(name: &str, about: &str, example: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" }, "example": example })
}

/// What an operation answers: success, and the errors it can have.
fn responses(errors: &[&str], ok: Value) -> Value {
    let mut all = Map::new();
    all.insert("200".to_owned(), ok);
    for status in errors {
        let shared = json!({ "$ref": format!("#/components/responses/{status}") });
        all.insert((*status).to_owned(), shared);
    }
    Value::Object(all)
}

/// Every error that operations share, by its status.
fn shared_responses() -> Value {
    let mut all = Map::new();
    for status in ["400", "401", "403", "404", "409", "412", "422", "429", "503"] {
        let (about, code, message) = match status {
            "400" => (
                "Not JSON, a key twice, nested too deep; or a header sent twice.",
                "BAD_REQUEST",
                "the body is not usable JSON: EOF while parsing an object at line 1 column 1",
            ),
            "409" => (
                "The number is in a state that does not allow this: `details` say in which, since when and by whom.",
                "CONFLICT",
                "number +912271264217 is active since 2026-02-01T10:00:00Z: release it first",
            ),
            "412" => (
                "`If-Match` is stale: `details` say what has changed.",
                "PRECONDITION_FAILED",
                "number +912271264217 has changed since: it is at version 7",
            ),
            "401" => (
                "Missing, unknown, wrong, expired or revoked credentials.",
                "INVALID_CREDENTIALS",
                "invalid or missing credentials",
            ),
            "403" => (
                "The partner is suspended, or the key may not do this.",
                "FORBIDDEN",
                "this key lacks the scope that this needs",
            ),
            "503" => (
                "This node cannot do it now: it does not have the version that was named, or its database does not answer or takes no writes. `Retry-After` says when to come back.",
                "UNAVAILABLE",
                "this node has version 7 of the inventory and not 9 yet; ask again, or another node",
            ),
            "404" => ("There is no such thing in this partner's inventory.", "NOT_FOUND", "there is nothing here"),
            "422" => (
                "A parameter has a value it cannot have, or is not known.",
                "VALIDATION_ERROR",
                "per_page must be between 1 and 100",
            ),
            _ => {
                ("Too many requests; `Retry-After` says when to come back.", "RATE_LIMIT_EXCEEDED", "too many requests")
            }
        };
        all.insert(
            status.to_owned(),
            json!({
                "description": about,
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Error" },
                    "example": {
                        "status": "error",
                        "error": { "code": code, "message": message },
                        "timestamp": "2026-02-01T10:00:00.000Z",
                        "requestId": "req_7a8b9c0d1e2f",
                    },
                } },
            }),
        );
    }
    Value::Object(all)
}

fn headers(links: bool) -> Value {
    let text = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
    let mut headers = json!({
        "ETag": text("Changes whenever the answer could."),
        "X-Request-Id": text("Names this request in the log."),
        "Inventory-Version": text("The version of the inventory that this was made from; of a write, the one that shows it."),
        "Age": text("Where the node does not hear from its database: how many seconds ago it last did."),
        "RateLimit": text("How many requests the key has left (r), and in how many seconds all of them again (t)."),
        "RateLimit-Policy": text("How many requests the key may have at once (q), which it has again after w seconds."),
    });
    if links {
        headers["Link"] = text("next, prev, first, last (RFC 8288), relative, with the filters.");
    }
    headers
}

fn operation(id: &str, summary: &str, content_type: &str, example: Value) -> Value {
    json!({
        "operationId": id,
        "tags": ["Operations"],
        "summary": summary,
        "security": [],
        "responses": { "200": { "description": summary, "content": { content_type: { "schema": {}, "example": example } } } },
    })
}

fn one_of(schema: &str) -> Value {
    object(&[("data", json!({ "$ref": format!("#/components/schemas/{schema}") }))])
}

fn list_of(schema: &str) -> Value {
    object(&[
        ("data", json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{schema}") } })),
        ("meta", json!({ "$ref": "#/components/schemas/Meta" })),
    ])
}

/// A list in the second dialect. Its example stands in the schema, for the
/// operations have the first dialect's.
fn item_page() -> Value {
    let mut page = object(&[
        ("items", json!({ "type": "array", "items": { "$ref": "#/components/schemas/Item" } })),
        ("page", json!({ "type": "integer" })),
        ("per_page", json!({ "type": "integer" })),
        ("total", json!({ "type": "integer", "description": "All matching rows on all pages, exactly." })),
        (
            "account_auth_id",
            json!({ "type": "string", "description": "Whose numbers these are: the customer's id, or the partner's." }),
        ),
    ]);
    page["description"] = json!("How a list of numbers is answered to a key of the dialect `items`.");
    page["examples"] = json!([{
        "items": [sample(wire::ITEMS)], "page": 1, "per_page": 20, "total": 1, "account_auth_id": "MA_48149cf4",
    }]);
    page
}

/// An object that has exactly these keys.
fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

fn row_schema(columns: &[Column]) -> Value {
    let schemas: Vec<(&str, Value)> = columns.iter().map(|&column| (column.name(), column_schema(column))).collect();
    object(&schemas)
}

fn column_schema(column: Column) -> Value {
    let nullable = |about: &str| json!({ "type": ["string", "null"], "description": about });
    let time = |about: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": about });
    match column {
        Column::Number => json!({ "type": "string", "description": "In E.164.", "pattern": "^\\+[1-9][0-9]{6,14}$" }),
        Column::AccountAuthId => nullable("The customer that holds it; null if none does."),
        Column::AccountName => nullable("The customer's name."),
        Column::NumberType => json!({ "enum": ["local", "tollfree", "mobile"] }),
        Column::Country => nullable("ISO country code; null for numbers of no country."),
        Column::Region => nullable("Geographic region or area."),
        Column::Status => json!({
            "enum": ["active", "suspended"],
            "description": "active: assigned and routing calls. suspended: paused, expired or not assigned.",
        }),
        Column::ApplicationId => nullable("The application it routes to; null if calls have nowhere to go."),
        Column::ApplicationName => nullable("The application's name."),
        Column::TrunkId => nullable("The SIP trunk it is on."),
        Column::MonthlyCost => json!({
            "type": ["number", "null"],
            "description": "Rental a month, with the currency's own decimals: 500.00 INR, 500 JPY, 1.250 KWD.",
        }),
        Column::Currency => nullable("ISO 4217."),
        Column::AssignedAt => time("When it was assigned to this customer."),
        Column::ExpiresAt => time("When it stops routing calls; null if it auto-renews."),
        Column::Since => time("When it came into its state."),
        Column::QuarantineEndsAt => time("When a quarantined number is available again."),
        Column::ReservedUntil => time("When a reserved number is available again."),
        Column::Tags => json!({ "type": "array", "items": { "type": "string" } }),
        Column::State => json!({
            "enum": State::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>(),
            "description": "Where it is in its life.",
        }),
        Column::ReservedFor => nullable("The account it is promised to."),
        Column::Id => json!({ "type": "string", "description": "What names the number: the same as `e164`." }),
        Column::AccountId => nullable("The customer that holds it; null if none does."),
        Column::E164 => column_schema(Column::Number),
        Column::Capabilities => {
            object(&["voice", "sms", "mms", "fax"].map(|name| (name, json!({ "const": name == "voice" }))))
        }
        Column::SetupFee => json!({ "type": ["number", "null"], "description": "Always 0, in the number's currency." }),
        Column::MonthlyFee => column_schema(Column::MonthlyCost),
        Column::TrunkGroupId => nullable("The SIP trunk it is on."),
        Column::VoiceEnabled => json!({ "const": true }),
        Column::PurchasedAt => time("When it was assigned to this customer."),
        Column::CreatedAt => time("The first moment that is kept of it: assigned, or come into its state."),
        Column::UpdatedAt => time("The last such moment. A new price or route does not move it."),
        Column::IsBlocked => json!({ "type": "boolean", "description": "Whether `status` is suspended." }),
        Column::LastBillingDate | Column::NextBillingDate => json!({ "type": "null", "description": "Not kept here." }),
        Column::Source => json!({ "const": "rollcall" }),
    }
}

/// The specification's sample number, in a shape.
fn sample(columns: &[Column]) -> Value {
    let value = |column: Column| match column {
        Column::Number => json!("+912271264217"),
        Column::AccountAuthId => json!("MA_48149cf4"),
        Column::AccountName => json!("Credresolve"),
        Column::NumberType => json!("local"),
        Column::Country => json!("IN"),
        Column::Region => json!("Mumbai"),
        Column::Status => json!("active"),
        Column::ApplicationId => json!("app_abc123"),
        Column::ApplicationName => json!("Main IVR"),
        Column::TrunkId => json!("trunk_xyz"),
        Column::MonthlyCost => json!(500.00),
        Column::Currency => json!("INR"),
        Column::AssignedAt => json!("2026-02-01T10:00:00Z"),
        Column::Tags => json!(["support"]),
        Column::State => json!("active"),
        Column::Since => json!("2026-02-01T10:00:00Z"),
        Column::Id | Column::E164 => json!("+912271264217"),
        Column::AccountId => json!("MA_48149cf4"),
        Column::Capabilities => json!({ "voice": true, "sms": false, "mms": false, "fax": false }),
        Column::SetupFee => json!(0.00),
        Column::MonthlyFee => json!(500.00),
        Column::TrunkGroupId => json!("trunk_xyz"),
        Column::VoiceEnabled => json!(true),
        Column::PurchasedAt | Column::CreatedAt | Column::UpdatedAt => json!("2026-02-01T10:00:00Z"),
        Column::IsBlocked => json!(false),
        Column::Source => json!("rollcall"),
        Column::ExpiresAt
        | Column::QuarantineEndsAt
        | Column::ReservedUntil
        | Column::ReservedFor
        | Column::LastBillingDate
        | Column::NextBillingDate => Value::Null,
    };
    let row: Map<String, Value> = columns.iter().map(|&column| (column.name().to_owned(), value(column))).collect();
    Value::Object(row)
}
