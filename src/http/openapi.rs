//! The description of the API, for people's tools.
//!
//! Made from the same tables that parse and write, so that it cannot say
//! something else; `openapi.json` in the repository is a copy that a test
//! compares with this.

use serde_json::{Map, Value, json};

use super::query::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Takes};
use crate::inventory::PARAMETERS;
use crate::wire::{self, Column};

/// The whole description, as pretty JSON.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a document serialises");
    text.push('\n');
    text
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rollcall Partner API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which customer has which phone number, where it routes, what it costs and when it expires. Read-only. Every time is UTC; every amount is a JSON number with its currency's decimals.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "AuthId": [], "AuthToken": [] }],
        "tags": [
            { "name": "Phone numbers", "description": "The inventory." },
            { "name": "Operations", "description": "For those who run the server. No credentials, no tenant's data." },
        ],
        "paths": {
            "/api/v1/partner/accounts/{customer_auth_id}/numbers": { "get": list_of_numbers(
                "customer_numbers",
                "All phone numbers of one customer account",
                Takes::Customer,
                "CustomerNumber",
                wire::CUSTOMER,
            ) },
            "/api/v1/partner/numbers": { "get": list_of_numbers(
                "numbers",
                "All phone numbers of the partner, assigned or not",
                Takes::Global,
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
            "/api/v1/partner/accounts": { "get": {
                "operationId": "accounts",
                "tags": ["Phone numbers"],
                "summary": "The partner's customer accounts, each with its counts of numbers by status",
                "parameters": parameters(Takes::Paging),
                "responses": responses(&["401", "403", "422", "429"], json!({
                    "description": "A page of accounts, in the order of their ids.",
                    "headers": headers(false),
                    "content": { "application/json": {
                        "schema": list_of("Account"),
                        "example": {
                            "data": [{
                                "account_auth_id": "MA_48149cf4",
                                "account_name": "Credresolve",
                                "created_at": "2026-01-05T08:00:00Z",
                                "numbers": { "total": 3, "active": 2, "suspended": 1 },
                            }],
                            "meta": { "total": 1, "page": 1, "per_page": 20 },
                        },
                    } },
                })),
            } },
            "/livez": { "get": operation("livez", "Whether the process answers", "application/json", json!({ "status": "ok" })) },
            "/readyz": { "get": operation("readyz", "Whether the index is loaded, and how fresh it is", "application/json",
                json!({ "status": "ok", "degraded": false, "age_seconds": 0, "writable": true, "build": "0.1.0" })) },
            "/metrics": { "get": operation("metrics", "Metrics in the Prometheus text format", "text/plain", json!("rollcall_numbers 25000\n")) },
            "/openapi.json": { "get": operation("openapi", "This description", "application/json", json!({})) },
        },
        "components": {
            "securitySchemes": {
                "AuthId": { "type": "apiKey", "in": "header", "name": "X-Auth-ID", "description": "The partner's id." },
                "AuthToken": { "type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "The token of one of its keys." },
            },
            "schemas": {
                "CustomerNumber": row_schema(wire::CUSTOMER),
                "Number": row_schema(wire::GLOBAL),
                "SingleNumber": row_schema(wire::SINGLE),
                "Account": object(&[
                    ("account_auth_id", json!({ "type": "string" })),
                    ("account_name", json!({ "type": "string" })),
                    ("created_at", json!({ "type": "string", "format": "date-time" })),
                    ("numbers", object(&[
                        ("total", json!({ "type": "integer" })),
                        ("active", json!({ "type": "integer" })),
                        ("suspended", json!({ "type": "integer" })),
                    ])),
                ]),
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

fn list_of_numbers(id: &str, summary: &str, takes: Takes, schema: &str, columns: &[Column]) -> Value {
    let mut all = parameters(takes);
    let mut errors = vec!["401", "403", "422", "429"];
    if takes == Takes::Customer {
        all.insert(0, path_parameter("customer_auth_id", "The customer account.", "MA_48149cf4"));
        errors.insert(2, "404");
    }
    let header: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let ok = json!({
        "description": "A page of numbers in ascending order of the number, or of `sort`. As CSV or NDJSON, all of them.",
        "headers": headers(true),
        "content": {
            "application/json": {
                "schema": list_of(schema),
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
        "parameters": all,
        "responses": responses,
    })
}

/// The parameters of a list, paging first.
fn parameters(takes: Takes) -> Vec<Value> {
    let describe = |name: &str| match name {
        "page" => json!({
            "name": name, "in": "query", "description": "Page number, from 1.",
            "schema": { "type": "integer", "minimum": 1, "default": 1 },
        }),
        "per_page" => json!({
            "name": name, "in": "query", "description": "Rows on a page.",
            "schema": { "type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX, "default": PER_PAGE_DEFAULT },
        }),
        "after" => json!({
            "name": name, "in": "query",
            "description": "Rows after this number, instead of `page`; `Link` has the next one.",
            "schema": { "type": "string" }, "example": "+912271264217",
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

fn path_parameter(name: &str, about: &str, example: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" }, "example": example })
}

fn responses(errors: &[&str], ok: Value) -> Value {
    let mut all = Map::new();
    all.insert("200".to_owned(), ok);
    for status in errors {
        let (about, code, message) = match *status {
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
            (*status).to_owned(),
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
        Column::AssignedAt | Column::Since => {
            json!({ "type": ["string", "null"], "format": "date-time", "description": "When it was assigned to this customer." })
        }
        Column::ExpiresAt | Column::QuarantineEndsAt | Column::ReservedUntil => json!({
            "type": ["string", "null"], "format": "date-time",
            "description": "When it stops routing calls; null if it renews itself.",
        }),
        Column::Tags => json!({ "type": "array", "items": { "type": "string" } }),
        Column::State => json!({ "type": "string" }),
        Column::ReservedFor => nullable("The account it is promised to."),
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
        Column::ExpiresAt
        | Column::State
        | Column::Since
        | Column::QuarantineEndsAt
        | Column::ReservedUntil
        | Column::ReservedFor => Value::Null,
    };
    let row: Map<String, Value> = columns.iter().map(|&column| (column.name().to_owned(), value(column))).collect();
    Value::Object(row)
}
