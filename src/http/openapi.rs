//! The description of the API, for people's tools.
//!
//! Made from the same tables that parse and write, so that it cannot say
//! something else; `openapi.json` in the repository is a copy that a test
//! compares with this.

mod checks;
mod costs;
mod entities;
mod jobs;
mod manage;
mod numbers;
mod ops;
mod past;
mod routing;
mod schedules;
mod settings;
mod strict;
mod webhooks;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation};
use super::query::{ListParameters, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::domain::State;
use crate::domain::entity::NAME_CHARS_MAX;
use crate::inventory::{PARAMETERS, SEARCH_CHARS_MAX};
use crate::wire::{self, Column};

/// The whole description, as pretty JSON.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a document serialises");
    text.push('\n');
    text
}

pub(crate) fn document() -> Value {
    let mut document = described();
    document["paths"] = paths().into();
    document["components"]["schemas"]["Finding"] = checks::schema();
    document["components"]["schemas"]["ManagedNumber"] = manage::schema();
    let others = schedules::schemas().into_iter().chain(webhooks::schemas()).chain(settings::schemas());
    for (name, schema) in jobs::schemas().into_iter().chain(others) {
        document["components"]["schemas"][name] = schema;
    }
    document
}

/// Each operation of the table under its path and method.
fn paths() -> Map<String, Value> {
    let mut described = operations();
    let mut paths = Map::new();
    for Operation { method, path, ids, .. } in OPERATIONS {
        for id in *ids {
            let Some(mut operation) = described.remove(*id) else { continue };
            if operation["security"].is_null() {
                of_a_node(method, &mut operation);
            }
            strict::operation(method, &mut operation);
            let path = path.replace("{verb}", id);
            let methods = paths.entry(path).or_insert_with(|| json!({}));
            methods[*method] = operation;
        }
    }
    paths
}

/// What is said of each operation, by its id.
fn operations() -> HashMap<String, Value> {
    let mut all = numbers::operations();
    all.extend([past::history(), past::changes(), past::change(), routing::explain(), costs::costs()]);
    all.extend(entities::operations());
    all.extend(ops::operations());
    all.extend(checks::operations());
    all.extend(manage::operations());
    all.extend(jobs::operations());
    all.extend(schedules::operations());
    all.extend(webhooks::operations());
    all.extend(settings::operations());
    let id = |operation: &Value| operation["operationId"].as_str().unwrap_or_default().to_owned();
    all.into_iter().map(|operation| (id(&operation), operation)).collect()
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
                "PastNumber": past::number_schema(),
                "HistoryEntry": object(&past::entry_schema(&[
                    ("summary", json!({ "type": "string", "description": "In words, for people; the wording may change." })),
                    ("before", past::image()),
                    ("after", past::image()),
                ])),
                "Change": object(&past::entry_schema(&[
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
                    ("before", past::image()),
                    ("after", past::image()),
                ]),
                "Costs": costs::schema(),
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

/// What a filter is about.
fn about(name: &str) -> &'static str {
    PARAMETERS.iter().find(|parameter| parameter.name == name).map_or("", |parameter| parameter.about)
}

/// The parameters of a list, paging first.
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

fn path_parameter(name: &str, about: &str, example: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" }, "example": example })
}

/// What an operation answers: success, and the errors it can have.
fn responses(errors: &[&str], ok: Value) -> Value {
    let mut all = Map::new();
    all.insert("200".to_owned(), ok);
    all.extend(error_responses(errors));
    Value::Object(all)
}

fn error_responses(errors: &[&str]) -> impl Iterator<Item = (String, Value)> {
    let shared = |status: &&str| json!({ "$ref": format!("#/components/responses/{status}") });
    errors.iter().map(move |status| ((*status).to_owned(), shared(status)))
}

/// An operation that reads. `ok` is its whole answer.
fn read(tag: &str, id: &str, summary: &str, parameters: Vec<Value>, errors: &[&str], ok: Value) -> Value {
    json!({
        "operationId": id,
        "tags": [tag],
        "summary": summary,
        "parameters": parameters,
        "responses": responses(errors, ok),
    })
}

/// An answer of JSON without an `ETag`: it changes by itself.
fn untagged(about: &str, schema: Value, example: Value) -> Value {
    let mut head = headers(false);
    if let Some(head) = head.as_object_mut() {
        head.remove("ETag");
    }
    json!({
        "description": about,
        "headers": head,
        "content": { "application/json": { "schema": schema, "example": example } },
    })
}

/// The errors of a read of what may be unknown, and of a list.
const ERRORS_OF_ONE: &[&str] = &["401", "403", "404", "422", "429"];
const ERRORS_OF_LIST: &[&str] = &["401", "403", "422", "429"];
/// The errors of a write, without and with a condition.
const ERRORS_OF_WRITE: &[&str] = &["400", "401", "403", "404", "409", "422", "429"];
const ERRORS_OF_CONDITIONAL: &[&str] = &["400", "401", "403", "404", "409", "412", "422", "429"];

/// An operation that writes.
struct DescribedWrite<'a> {
    tag: &'a str,
    id: &'a str,
    summary: &'a str,
    about: &'a str,
    parameters: Vec<Value>,
    /// The body's schema, and an example of it.
    body: (Value, Value),
    /// The status of its success, and that answer.
    ok: (&'a str, Value),
    errors: &'a [&'a str],
}

impl DescribedWrite<'_> {
    fn described(self) -> Value {
        let (schema, example) = self.body;
        let mut answers = Map::new();
        answers.insert(self.ok.0.to_owned(), self.ok.1);
        answers.extend(error_responses(self.errors));
        json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.about,
            "parameters": self.parameters,
            "requestBody": { "required": false, "content": { "application/json": { "schema": schema, "example": example } } },
            "responses": answers,
        })
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_table_is_described_and_no_other() {
        let ids: Vec<&str> = OPERATIONS.iter().flat_map(|operation| operation.ids).copied().collect();
        let described = operations();
        assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), described.keys().map(|id| &**id).collect());
        assert_eq!(ids.len(), described.len(), "an id stands for one operation");
    }

    #[test]
    fn the_verbs_on_one_number_are_those_of_jobs() {
        let act = OPERATIONS.iter().find(|operation| operation.path.ends_with("{verb}")).expect("the verbs");
        let ids: BTreeSet<&str> = act.ids.iter().copied().collect();
        assert_eq!(ids, crate::http::manage::VERBS.into_iter().collect());
    }
}
